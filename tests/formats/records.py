"""Records for the tests of formats: a fixture's, changed in places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from stream.decode import format_named
from stream.events import AccessEvent, BadRecord

FIXTURES = Path(__file__).parent / "fixtures"
Json = dict[str, Any]


def fixture(name: str, place: int = 0) -> Json:
    """The record on that line of the format's fixture, counted from 0."""
    loaded: Json = orjson.loads((FIXTURES / f"{name}.jsonl").read_bytes().splitlines()[place])
    return loaded


def changed(record: Json, changes: Json) -> Json:
    """A copy with other values at dotted paths; a list's items are named by their number."""
    copy: Json = orjson.loads(orjson.dumps(record))
    for path, value in changes.items():
        *way, last = path.split(".")
        holder: Any = copy
        for part in way:
            holder = holder[int(part)] if isinstance(holder, list) else holder.setdefault(part, {})
        holder[int(last) if isinstance(holder, list) else last] = value
    return copy


def event(name: str, record: Json, changes: Json | None = None) -> AccessEvent:
    """The one event of the record with those changes."""
    (found,) = format_named(name).decode(orjson.dumps(changed(record, changes or {})))
    return found


def reason(name: str, record: Json, changes: Json | None = None) -> str:
    """Why the record with those changes is none."""
    with pytest.raises(BadRecord) as caught:
        format_named(name).decode(orjson.dumps(changed(record, changes or {})))
    return caught.value.reason
