"""Columns of RFC 3339 times in UTC, read all at once: most logs write most times in one form.

2025-06-24T07:00:00Z, with up to nine digits of a second's fraction and "T" or a blank in the middle. Whatever else
RFC 3339 allows is left to who reads value by value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_SHORTEST: Final = len("2025-06-24T07:00:00Z")
_LONGEST: Final = _SHORTEST + len(".123456789")
_DAYS: Final = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_EPOCH_DAY: Final = 719_468  # of 1970-01-01, counted from 0000-03-01


def utc_ms(values: Sequence[Any]) -> npt.NDArray[np.int64] | None:
    """int64[n], epoch ms rounded down; None where any value is not of that form or no time.

    Days are counted in years that begin in March, so that the leap day is the last (Richards, "Explanatory
    Supplement to the Astronomical Almanac", 3rd ed., section 15.11).

    >>> utc_ms(["1970-01-02T00:00:00Z", "2024-02-29 12:00:00.1239Z"]).tolist()
    [86400000, 1709208000123]
    """
    try:
        sizes = np.fromiter(map(len, values), np.int64, len(values))
        if not "".join(values).isascii():  # a TypeError where not all are text
            return None
    except TypeError:
        return None
    if not len(values) or sizes.min() < _SHORTEST or sizes.max() > _LONGEST:
        return None
    text = np.array(values, f"S{_LONGEST}")
    raw = text.view(np.uint8).reshape(len(values), _LONGEST)
    at = np.arange(_LONGEST)
    digit = (raw >= 48) & (raw <= 57)
    in_fraction = (at >= _SHORTEST) & (at < (sizes - 1)[:, None])
    wanted = np.isin(at, (4, 7, 10, 13, 16), invert=True) & (at < 19) | in_fraction
    formed = (
        (digit | ~wanted).all()
        and (raw[:, [4, 7]] == ord("-")).all()
        and (raw[:, [13, 16]] == ord(":")).all()
        and np.isin(raw[:, 10], (ord("T"), ord(" "))).all()
        and (raw[np.arange(len(values)), sizes - 1] == ord("Z")).all()
        and ((sizes == _SHORTEST) | ((raw[:, 19] == ord(".")) & (sizes > _SHORTEST + 1))).all()
    )
    if not formed:
        return None
    number = np.where(wanted, raw - 48, 0).astype(np.int64)
    year, month, day = number[:, :4] @ [1000, 100, 10, 1], number[:, 5:7] @ [10, 1], number[:, 8:10] @ [10, 1]
    hour, minute, second = (number[:, i : i + 2] @ [10, 1] for i in (11, 14, 17))
    leap = (month == 2) & (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    real = (year > 0) & (month > 0) & (month < 13) & (day > 0) & (hour < 24) & (minute < 60) & (second < 60)
    if not (real & (day <= _DAYS[np.minimum(month, 12)] + leap)).all():
        return None
    march = year - (month <= 2)
    days = march * 365 + march // 4 - march // 100 + march // 400 + (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    seconds = (days - _EPOCH_DAY) * 86_400 + hour * 3_600 + minute * 60 + second
    milliseconds = seconds * 1000 + number[:, 20:23] @ [100, 10, 1]
    return np.asarray(milliseconds, np.int64)
