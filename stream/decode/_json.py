"""What the JSON formats share: a parser that says why, fields read with care: nothing in a record is certain."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson

from stream.checks import shown
from stream.events import BadRecord

Record = dict[str, Any]


def load(raw: bytes) -> Record:
    """The JSON object in `raw`; raises BadRecord."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as why:
        raise BadRecord(_reason(str(why)), str(why)) from None
    if not isinstance(value, dict):
        raise BadRecord("wrong_type", f"expected a JSON object, got {shown(value)}")
    return value


def _reason(message: str) -> str:
    if "UTF-8" in message:
        return "not_utf8"
    if "depth limit" in message:
        return "too_deep"
    return "text_not_unicode" if "surrogate" in message else "not_json"


@lru_cache(maxsize=1)
def peek(raw: bytes) -> Record:
    """The JSON object in `raw`, or an empty one; one for all the formats that are asked about a record in turn."""
    try:
        return load(raw)
    except BadRecord:
        return {}


def walk(record: object, *path: str) -> object:
    """The value at the path through nested objects, None where the way ends."""
    for key in path:
        if not isinstance(record, dict):
            return None
        record = record.get(key)
    return record


def text(record: object, *path: str) -> str:
    """The string at the path; a number as it is written; otherwise ""."""
    value = record
    for key in path:  # as `walk` does, without the call: a record's every field comes by here
        if not isinstance(value, dict):
            return ""
        value = value.get(key)
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return ""


def number(record: object, *path: str) -> int | float | None:
    """The number at the path, or in the string there; None where there is none."""
    value = walk(record, *path)
    if isinstance(value, str) and len(value) <= 20 and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return None


def items(record: object, *path: str) -> Iterator[Record]:
    """The objects of the list at the path, or the one object there."""
    value = walk(record, *path)
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            yield item


def time(record: object, *path: str) -> int | float | str:
    """The time at the path as `columns` wants it; raises BadRecord where there is none."""
    value = walk(record, *path)
    if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
        return value
    raise BadRecord("missing_field", f"{'.'.join(path)}: no time there")
