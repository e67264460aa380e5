"""The types of a mapping: how a value of a record becomes one of an access event, or None where it does not."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Final

from stream.decode._verbs import verb
from stream.decode.accesslog import NO_REQUEST, request, time_ms
from stream.events import BadRecord

Value = str | int | float | None

_NUMBER: Final = re.compile(r"\d{1,18}(?:\.\d{1,18})?", re.ASCII)
_LOG: Final = re.compile(r"\[?(\d\d/[A-Za-z]{3}/\d{4}:\d\d:\d\d):(\d\d) ([+-]\d{4})\]?", re.ASCII)
_NAIVE: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?", re.ASCII)


def _text(value: object) -> Value:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else None


def _number(value: object) -> int | float | None:
    if isinstance(value, str):
        found = _NUMBER.fullmatch(value.strip())
        return None if not found else float(found[0]) if "." in found[0] else int(found[0])
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _length(value: object) -> Value:
    return len(value) if isinstance(value, list | dict) else None


def _path(value: object) -> Value:
    if not isinstance(value, str) or not value:
        return None
    found = request(f"GET {value} HTTP/1.1")
    return None if found is NO_REQUEST else found.resource


def _verb(value: object) -> Value:
    return verb(value[:256]) if isinstance(value, str) else None


def _epoch(to_ms: int | Fraction) -> Callable[[object], Value]:
    def read(value: object) -> Value:
        number = _number(value)
        if number is None:
            return None
        ms = number * to_ms
        if isinstance(ms, float) and not math.isfinite(ms):  # it may become so by being multiplied
            return None
        return int(ms)  # a fraction of a millisecond is dropped

    return read


def _rfc3339(value: object) -> Value:
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def _utc(value: object) -> Value:
    """A time without a zone, which is said to be UTC."""
    if isinstance(value, str) and _NAIVE.fullmatch(value):
        return value.replace(",", ".") + "Z"
    return _rfc3339(value)


def _log(value: object) -> Value:
    """The time of an access log, 24/Jun/2025:07:00:00 +0000."""
    found = _LOG.fullmatch(value) if isinstance(value, str) else None
    try:
        return time_ms(*found.groups()) if found else _rfc3339(value)
    except BadRecord:
        return _rfc3339(value)  # `columns` says what is wrong with it


READERS: Final[dict[str, Callable[[object], Value]]] = {
    "text": _text, "number": _number, "length": _length, "path": _path, "verb": _verb, "rfc3339": _rfc3339,
    "utc": _utc, "log": _log, "seconds": _epoch(1_000), "milliseconds": _epoch(1),
    "microseconds": _epoch(Fraction(1, 1_000)), "nanoseconds": _epoch(Fraction(1, 1_000_000)),
}  # fmt: skip
