"""JSON read straight into typed fields: what is not asked for is skipped, which costs a fraction of a parse."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from stream.decode._json import load
from stream.events import BadRecord

Number = int | float | str | None  # as loggers write one: bare, quoted, "-" or null

_T = TypeVar("_T")


def parsed(read: Callable[[bytes], _T], record: bytes) -> _T:
    """What msgspec's `read` makes of the record; raises BadRecord and nothing else."""
    try:
        return read(record)
    except RecursionError:
        raise BadRecord("too_deep", "JSON nested too deep to be an event") from None
    except UnicodeDecodeError as why:
        raise BadRecord("not_utf8", str(why)) from None
    except msgspec.ValidationError as why:
        raise BadRecord("missing_field" if "missing required" in str(why) else "wrong_type", str(why)) from None
    except msgspec.DecodeError as why:
        load(record)  # says what is wrong with the JSON more plainly
        raise BadRecord("not_json", str(why)) from None


def count(value: Number) -> int | float:
    """The number, or 0 where there is none.

    >>> count("12"), count(3), count("-"), count(None)
    (12, 3, 0, 0)
    """
    if isinstance(value, str):
        return int(value) if len(value) <= 20 and value.isascii() and value.isdigit() else 0
    return 0 if value is None else value


def host(address: str) -> str:
    """The address without a port.

    >>> host("192.0.2.1:443"), host("[2001:db8::1]:443"), host("2001:db8::1"), host("192.0.2.1(5432)")
    ('192.0.2.1', '2001:db8::1', '2001:db8::1', '192.0.2.1')
    """
    if address.endswith(")"):
        return address.partition("(")[0]
    before, colon, port = address.rpartition(":")
    if colon and port.isdigit() and (":" not in before or before.endswith("]")):
        return before.strip("[]")
    return address
