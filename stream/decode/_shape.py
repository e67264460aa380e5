"""Records of a known shape: parsed straight into structs, and field by field where one is not as its format says.

A format names what it reads as a dictionary of types, nested as the records are; what else a record holds is skipped
by the parser, and null is the same as absent. A record with another type somewhere, without a field that is required,
or with its names in another case (as some warehouses and shippers write them) is read once more with care: a number
stands for a text, a text of digits for a number, one object for a list of one, and what fits in no way is absent.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, Final, cast

import msgspec
from msgspec import inspect

from stream.decode import Format
from stream.decode._json import Record, load, number, text
from stream.events import AccessEvent, BadRecord

# A type without None is required. An object is a dictionary, a list of objects such a dictionary in a list.
Text: Final[Any] = str | None
Time: Final[Any] = int | float | str | None
Count: Final[Any] = int | None
Flag: Final[Any] = bool | None
Table: Final[Any] = dict[str, Any] | None
Part: Final[Any] = (
    msgspec.Raw
)  # its bytes, none where it is absent, for who reads it later or never; only with `strict`

Parser = Callable[[bytes], Any]
_Read = Callable[[object], Any]

_ADDRESS: Final = re.compile(r"\[([0-9A-Fa-f:.%]+)\](?::\d+)?|([\d.]+):\d+", re.ASCII)
_FLAGS: Final = {"true": True, "false": False}
_WRITTEN: Final = re.compile(
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?)(?: ?([+-]\d\d):?(\d\d)| UTC)?", re.ASCII
)


def shape(fields: Record) -> type[msgspec.Struct]:
    """The struct of those fields; an absent object is one whose fields are all absent, an absent list an empty one.

    >>> event = shape({"id": str, "@at": Time, "who": {"name": Text}, "targets": [{"id": Text}]})
    >>> msgspec.json.decode(b'{"id": "e-1", "who": {"name": "mara"}, "more": 1}', type=event)
    _(id='e-1', at=None, who=_(name='mara'), targets=())
    """
    rows: list[Any] = []
    empty: dict[str, Any] = {}
    for key, kind in fields.items():
        name = key.lstrip("@")
        if isinstance(kind, dict | list):
            inner: Any = shape(kind) if isinstance(kind, dict) else kind[0]
            if isinstance(kind, list):
                item: Any = shape(inner) if isinstance(inner, dict) else inner
                inner = tuple.__class_getitem__((item, ...))
            empty[name] = () if isinstance(kind, list) else inner()
            rows.append((name, inner | None, empty[name]))
        elif kind is Part:
            rows.append((name, kind, kind()))  # no bytes
        else:
            rows.append((name, kind, None) if inspect.type_info(kind) in _OPTIONAL else (name, kind))
    rows.sort(key=len)  # those that are required first
    renamed = {key.lstrip("@"): key for key in fields}
    space = {"__post_init__": _filling(empty)} if empty else {}
    return msgspec.defstruct("_", rows, frozen=True, gc=False, rename=renamed, namespace=space)


def _filling(empty: dict[str, Any]) -> Callable[[msgspec.Struct], None]:
    """What puts what is empty in the place of a null."""
    first, *others = empty
    inner = attrgetter(first, *(others or [first]))  # a tuple, whatever their number

    def fill(record: msgspec.Struct) -> None:
        if None in inner(record):
            for name, value in empty.items():
                if getattr(record, name) is None:
                    msgspec.structs.force_setattr(record, name, value)

    return fill


_OPTIONAL: Final = [inspect.type_info(kind) for kind in (Text, Time, Count, Flag, Table, Any)]


def strict(fields: Record) -> Parser:
    """What parses a record that is as its format says into `shape(fields)`; it raises what msgspec raises."""
    return msgspec.json.Decoder(shape(fields)).decode


def reader(fields: Record) -> Parser:
    """What parses a record into `shape(fields)`; it raises BadRecord."""
    kind = shape(fields)
    plain = msgspec.json.Decoder(kind).decode

    def read(raw: bytes) -> Any:
        try:
            return plain(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return fitted(kind, load(raw))

    return read


def fitted(kind: type[msgspec.Struct], record: Record) -> Any:
    """The struct with what fits of the record, whatever the case of its names; raises BadRecord for what is missing."""
    names = {key.lower(): value for key, value in record.items()}
    values = {}
    for field, name, read, required in _fields(kind):
        value = record.get(name)
        value = read(names.get(name.lower()) if value is None else value)
        if value is not None:
            values[field] = value
        elif required:
            raise BadRecord("missing_field", f"{name}: not there, or not as it should be")
    return kind(**values)


@cache
def _fields(kind: type[msgspec.Struct]) -> list[tuple[str, str, _Read, bool]]:
    """Of each field its name in the struct and in a record, what reads it, and whether it must be there."""
    info = cast("inspect.StructType", inspect.type_info(kind))
    return [(each.name, each.encode_name, _reading(each.type), each.required) for each in info.fields]


def _reading(kind: inspect.Type) -> _Read:
    """What makes a value one of that type, or None."""
    each = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    kinds = [one for one in each if not isinstance(one, inspect.NoneType)]
    if len(kinds) > 1:  # a time: whatever is written
        return lambda value: value if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    (one,) = kinds
    if isinstance(one, inspect.StructType):
        cls = one.cls
        return lambda value: fitted(cls, value) if isinstance(value, dict) else None
    if isinstance(one, inspect.VarTupleType):
        return _reading_items(_reading(one.item_type))
    if isinstance(one, inspect.StrType):
        return lambda value: text(value) or None
    if isinstance(one, inspect.IntType):
        return lambda value: read if isinstance(read := number(value), int) else None
    if isinstance(one, inspect.BoolType):
        return lambda value: value if isinstance(value, bool) else _FLAGS.get(text(value).lower())
    if isinstance(one, inspect.DictType):
        return lambda value: value if isinstance(value, dict) else None
    return lambda value: value


def _reading_items(item: _Read) -> _Read:
    def read(value: object) -> tuple[Any, ...] | None:
        values = value if isinstance(value, list) else [value]
        return None if value is None else tuple(found for each in values if (found := item(each)) is not None)

    return read


def utc(at: float | str | None, name: str) -> int | float | str:
    """The time as `columns` wants it, in UTC where no zone is written; raises BadRecord where there is none.

    >>> utc("2022-01-25 16:17:47.388", "at"), utc("2022-01-25 16:17:47 -0700", "at")
    ('2022-01-25 16:17:47.388Z', '2022-01-25 16:17:47-07:00')
    """
    if at is None or at == "":
        raise BadRecord("missing_field", f"{name}: no time there")
    if isinstance(at, str) and at[-1] != "Z" and (found := _WRITTEN.fullmatch(at)):
        written, hours, minutes = found.groups()
        return f"{written}{hours}:{minutes}" if hours and (hours, minutes) != ("+00", "00") else f"{written}Z"
    return at


@lru_cache(maxsize=4096)
def address(written: str) -> str:
    """The address without a port.

    >>> address("192.0.2.14:51544"), address("[2001:db8::14]:443"), address("2001:db8::14")
    ('192.0.2.14', '2001:db8::14', '2001:db8::14')
    """
    found = _ADDRESS.fullmatch(written)
    return found[1] or found[2] if found else written


def about(resource: str, named: str) -> str:
    """What stands for whose data was read, in a log that knows no people: each object for one."""
    return f"{resource}/{named}" if named and named != resource else resource


def single(name: str, matches: Callable[[bytes], bool], event: Callable[[bytes], AccessEvent]) -> Format:
    """The format of that name whose every record is one event."""
    return Format(name, matches, lambda record: [event(record)], fast=event)


def mostly_single(name: str, matches: Callable[[bytes], bool], decode: Callable[[bytes], list[AccessEvent]]) -> Format:
    """The format of that name whose records are mostly one event each."""

    def fast(record: bytes) -> AccessEvent:
        events = decode(record)
        if len(events) != 1:
            raise BadRecord("wrong_type", f"{len(events)} events in one record")
        return events[0]

    return Format(name, matches, decode, fast=fast)
