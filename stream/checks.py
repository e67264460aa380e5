"""The checks of an event's values, column by column, for every format alike.

A check accepts a column whole where one look over all of it succeeds, and otherwise goes through it value by value, so
that one bad value costs the others a second look and not their place. What fails is noted in `bad` by its index.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final, TypeVar, cast

import numpy as np
import numpy.typing as npt

from stream.rfc3339 import utc_ms

TEXT_BYTES_MAX: Final = 256  # an identity longer than this is not one
TIME_MS_MIN: Final = 946_684_800_000  # 2000-01-01: an epoch in seconds falls before it and is told apart
TIME_MS_END: Final = 253_402_300_800_000  # the year 10000: an epoch in micro- or nanoseconds falls behind it
COUNT_MAX: Final = 2**63 - 1
ASN_MAX: Final = 2**32 - 1

REASONS: Final = (
    "not_utf8", "not_json", "too_deep", "record_too_long", "truncated_file", "corrupt_file", "unknown_format",
    "missing_field", "wrong_type", "not_an_access_event", "time_unreadable", "time_out_of_range", "time_in_future",
    "empty_field", "text_too_long", "text_not_unicode", "unknown_action", "unknown_account_kind", "unknown_outcome",
    "count_out_of_range", "asn_out_of_range",
)  # fmt: skip

_T = TypeVar("_T")
_N = TypeVar("_N", np.int64, np.float64)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class BadRecord(Exception):  # noqa: N818 - it is a value: the record is bad, the program is not
    """A record that cannot be used: `reason` is one of REASONS (a metric label), `detail` is for who mends it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def _each(
    values: Sequence[object], convert: Callable[[object], _T], instead: _T, bad: dict[int, BadRecord]
) -> list[_T]:
    """The way of the column that failed as a whole: value by value, the first reason of an event is kept."""
    converted = []
    for index, value in enumerate(values):
        try:
            converted.append(convert(value))
        except BadRecord as why:
            bad.setdefault(index, why)
            converted.append(instead)
    return converted


def texts(name: str, values: Sequence[object], bad: dict[int, BadRecord], *, required: bool) -> list[str]:
    """str[n], "" where the value is None; the account must fit TEXT_BYTES_MAX, other text is shortened to it."""
    if not required:
        values = _filled(values, "")
    if _fit(values) and (not required or all(values)):
        return cast("list[str]", list(values))

    def convert(value: object) -> str:
        if value is None:
            value = ""
        if not isinstance(value, str):
            raise BadRecord("wrong_type", f"{name}: expected a string, got {shown(value)}")
        if required and not value:
            raise BadRecord("empty_field", f"{name}: empty, but required")
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise BadRecord("text_not_unicode", f"{name}: a lone surrogate, which no text holds") from None
        if size > TEXT_BYTES_MAX and name == "account":
            raise BadRecord("text_too_long", f"{name}: {size} bytes of UTF-8, the limit is {TEXT_BYTES_MAX}")
        return shortened(value)

    return _each(values, convert, "", bad)


def _filled(values: Sequence[object], default: object) -> Sequence[object]:
    """The values, the default in the place of each None: at once, for formats whose records seldom have them all."""
    if None not in values:
        return values
    return [default if value is None else value for value in values]


def _fit(values: Sequence[object]) -> bool:
    """Whether all are text of at most TEXT_BYTES_MAX bytes: one encoding of the joined column tells the gaps."""
    try:
        data = ("\0" + "\0".join(cast("Sequence[str]", values)) + "\0").encode()
    except (TypeError, UnicodeEncodeError):
        return False
    bounds = np.flatnonzero(np.frombuffer(data, np.uint8) == 0)
    return len(bounds) == len(values) + 1 and int(np.diff(bounds).max()) <= TEXT_BYTES_MAX + 1


def shortened(text: str) -> str:
    """The text itself, or its beginning and a digest of it, TEXT_BYTES_MAX bytes together."""
    data = text.encode()
    if len(data) <= TEXT_BYTES_MAX:
        return text
    tail = "…" + blake2b(data, digest_size=8).hexdigest()
    return data[: TEXT_BYTES_MAX - len(tail.encode())].decode(errors="ignore") + tail


def times(values: Sequence[object], time_ms_max: int, bad: dict[int, BadRecord]) -> npt.NDArray[np.int64]:
    """int64[n], epoch ms between TIME_MS_MIN and `time_ms_max`."""
    if set(map(type, values)) == {int}:
        column = _column(values, np.int64)
        if column is not None and column.min() >= TIME_MS_MIN and column.max() <= time_ms_max:
            return column
    elif (read := utc_ms(values)) is not None and read.min() >= TIME_MS_MIN and read.max() <= time_ms_max:
        return read
    return np.array(_each(values, lambda value: _time_ms(value, time_ms_max), 0, bad), np.int64)


def _column(values: Sequence[Any], dtype: type[_N]) -> npt.NDArray[_N] | None:
    try:
        return np.fromiter(values, dtype, len(values))
    except (TypeError, ValueError, OverflowError):
        return None


def _time_ms(value: object, time_ms_max: int) -> int:
    """Epoch ms of an int or float of epoch ms or an RFC 3339 string; raises BadRecord."""
    if isinstance(value, str):
        time = _read_rfc3339(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, float) and not math.isfinite(value):
            raise BadRecord("time_out_of_range", f"time: {value} is not a time")
        time = int(value)
    else:
        raise BadRecord("wrong_type", f"time: expected milliseconds or RFC 3339, got {shown(value)}")
    if not TIME_MS_MIN <= time < TIME_MS_END:
        hint = ""
        if TIME_MS_MIN <= time * 1000 < TIME_MS_END:
            hint = "; looks like seconds; the field wants milliseconds"
        elif time > 0 and TIME_MS_MIN <= time // 1000 <= time_ms_max:
            hint = "; looks like microseconds; the field wants milliseconds"
        elif time > 0 and TIME_MS_MIN <= time // 1_000_000 <= time_ms_max:
            hint = "; looks like nanoseconds; the field wants milliseconds"
        raise BadRecord("time_out_of_range", f"time: {shown(value)} is not between the years 2000 and 9999{hint}")
    if time > time_ms_max:
        ahead_s = (time - time_ms_max) // 1000
        raise BadRecord("time_in_future", f"time: {shown(value)} is {ahead_s} s later than the latest time believed")
    return time


def _read_rfc3339(text: str) -> int:
    if not _RFC3339.fullmatch(text):
        raise BadRecord("time_unreadable", f"time: {shown(text)} is not RFC 3339, such as 2025-06-24T07:00:00.000Z")
    try:
        return (datetime.fromisoformat(text.upper()) - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError) as why:
        raise BadRecord("time_unreadable", f"time: {shown(text)}: {why}") from None


def codes(
    name: str, values: Sequence[object], known: tuple[str, ...], bad: dict[int, BadRecord], *, optional: bool = False
) -> npt.NDArray[np.int8]:
    """int8[n], indexes into `known`; where `optional`, None is the first of them."""
    index: dict[str | None, int] = {value: code for code, value in enumerate(known)}
    if optional:
        index[None] = 0
    try:
        return np.fromiter(map(index.__getitem__, cast("Sequence[str]", values)), np.int8, len(values))
    except (KeyError, TypeError):
        pass

    def convert(value: object) -> int:
        if (value is None or isinstance(value, str)) and value in index:
            return index[value]
        raise BadRecord(f"unknown_{name}", f"{name}: {shown(value)} is none of {', '.join(known)}")

    return np.array(_each(values, convert, 0, bad), np.int8)


def counts(name: str, values: Sequence[object], default: int, bad: dict[int, BadRecord]) -> npt.NDArray[np.float64]:
    """float64[n] >= 0, `default` where the value is None."""
    values = _filled(values, default)
    column = _column(values, np.float64)
    if column is not None and ((column >= 0) & (column < float(COUNT_MAX))).all():
        return column

    def convert(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadRecord("wrong_type", f"{name}: expected a number, got {shown(value)}")
        if not 0 <= value <= COUNT_MAX:
            raise BadRecord("count_out_of_range", f"{name}: {shown(value)} is not between 0 and {COUNT_MAX}")
        return float(value)

    return np.array(_each(values, convert, 0.0, bad), np.float64)


def asns(values: Sequence[object], bad: dict[int, BadRecord]) -> npt.NDArray[np.int64]:
    """int64[n], -1 where the value is None."""
    values = _filled(values, -1)
    column = _column(values, np.int64)
    if column is not None and ((column >= -1) & (column <= ASN_MAX)).all():
        return column

    def convert(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadRecord("wrong_type", f"asn: expected a number, got {shown(value)}")
        if not -1 <= value <= ASN_MAX:
            raise BadRecord("asn_out_of_range", f"asn: {shown(value)} is not between 0 and {ASN_MAX}")
        return value

    return np.array(_each(values, convert, -1, bad), np.int64)


def shown(value: object) -> str:
    """A value as a message quotes it: short, and of one line."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, dict | list):  # of any depth
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
