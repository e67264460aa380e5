"""House formats without code: a TOML file says where each field of an access event lies in a record.

    record = "json"                                     # or "line", "csv", "pairs" (key=value)
    when = { path = "kind", values = ["access"] }       # other records are not_an_access_event

    [fields]
    time = { path = "ts", type = "seconds" }
    account = ["user.email", "user.id"]                 # the first that is there
    action = { path = "op", values = { GET = "read", DL = "export" }, default = "list" }
    resource = { path = "url", type = "path" }          # identifiers folded: /users/17 is /users/{id}
    subject = { path = "url", pattern = "/users/(\\d+)" }
    records = { path = "items", type = "length" }
    account_kind = { constant = "employee" }

A path goes down by dots; a number counts in a list; "\\." is a dot in a key. Lines are taken apart by `line`, a pattern
whose groups are the paths; csv by `columns` and `separator`. Of a field, in this order: the first path that is there
and matches `pattern` (its group "value", or its first), `lower`, `values`, `type`, and `default` where nothing is left.
Patterns cannot be made slow by what they are given (`stream.patterns`). Mistakes are told all at once, with what to
write.
"""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from stream.checks import shown
from stream.decode import MAPPING, Format
from stream.decode._json import Record, load
from stream.decode._values import READERS, Value
from stream.errors import UsageError
from stream.events import ACCOUNT_KINDS, ACTIONS, OUTCOMES, AccessEvent, BadRecord
from stream.patterns import CHARS_MAX, LINE_CHARS_MAX, compiled

FILE_BYTES_MAX: Final = 1 << 18
REQUIRED: Final = ("time", "account", "action", "resource")
CODES: Final = {"action": ACTIONS, "account_kind": ACCOUNT_KINDS, "outcome": OUTCOMES}
NUMBERS: Final = ("records", "bytes", "asn")
_DOT: Final = re.compile(r"(?<!\\)\.")
_PAIR: Final = re.compile(r'(?<![\w.@-])([A-Za-z_@][\w.@-]{0,63}+)=(?:"((?:[^"\\]|\\.)*+)"|([^\s"]*+))')

Text = Annotated[str, Meta(max_length=1_000)]
Type = Literal[
    "text", "number", "length", "path", "verb", "seconds", "milliseconds", "microseconds", "nanoseconds", "rfc3339",
    "utc", "log",
]  # fmt: skip


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where one field of the event comes from."""

    path: Text = ""
    paths: Annotated[tuple[Text, ...], Meta(max_length=16)] = ()
    constant: Text | int | None = None
    pattern: Text = ""
    lower: bool = False
    values: dict[str, Text | int] = {}
    type: Type | None = None
    default: Text | int | None = None


class When(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which records are about an access: the value at the path is one of these, or just there where none is named."""

    path: Text
    values: tuple[Text, ...] = ()


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    fields: dict[str, Text | tuple[Text, ...] | Field]
    record: Literal["json", "line", "csv", "pairs"] = "json"
    line: Text = ""
    columns: tuple[Text, ...] = ()
    separator: Annotated[str, Meta(pattern=r'^[^\r\n"]$')] = ","
    when: When | None = None


Path_ = tuple[str, ...]
_Reader = Callable[[Record], Value]


def load_mapping(path: str) -> Format:
    """The format that the file describes, named "mapping:FILE"; UsageError that lists every mistake."""
    return made(_read(Path(path)), path)


def made(mapping: Mapping, path: str) -> Format:
    """The format of a mapping; UsageError that lists every mistake."""
    mistakes: list[str] = []
    taken = _taker(mapping, mistakes)
    readers = {name: _reader(name, _field(given), mistakes) for name, given in mapping.fields.items()}
    mistakes += [f"fields.{name}: missing; an event needs one" for name in REQUIRED if name not in readers]
    if mistakes:
        raise UsageError("\n".join((f"{path}: {len(mistakes)} to mend", *(f"  {each}" for each in mistakes))))
    when = _split(mapping.when.path) if mapping.when else None
    wanted = frozenset(mapping.when.values) if mapping.when else frozenset()

    def decode(record: bytes) -> list[AccessEvent]:
        fields = taken(record)
        if fields is None:
            return []
        if when is not None:
            kind = walked(fields, when)
            if kind is None or (wanted and str(kind) not in wanted):
                raise BadRecord("not_an_access_event", f"{'.'.join(when)}: {shown(kind)} is not among `when`")
        values: dict[str, Any] = {}
        for name, read in readers.items():
            value = read(fields)
            if value is not None:
                values[name] = value
            elif name in REQUIRED:
                raise BadRecord("missing_field", f"{name}: nothing where fields.{name} looks")
        return [AccessEvent(**values)]

    def matches(record: bytes) -> bool:
        try:
            return bool(decode(record))
        except BadRecord:
            return False

    return Format(MAPPING + path, matches, decode)


def walked(record: object, path: Path_) -> object:
    """The value at the path through objects and lists, None where the way ends."""
    for key in path:
        if isinstance(record, dict):
            record = record.get(key)
        elif isinstance(record, list) and key.isdecimal() and len(key) < 6 and int(key) < len(record):
            record = record[int(key)]
        else:
            return None
    return record


def _read(path: Path) -> Mapping:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
        if len(raw) > FILE_BYTES_MAX:
            raise UsageError(f"{path}: more than {FILE_BYTES_MAX} bytes; a mapping is a page")
        return msgspec.convert(tomllib.loads(raw.decode()), Mapping)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror}); write mapping:FILE with the mapping's file"
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {error}") from error


def _field(given: str | tuple[str, ...] | Field) -> Field:
    if isinstance(given, Field):
        return given
    return Field(path=given) if isinstance(given, str) else Field(paths=given)


def _split(path: str) -> Path_:
    return tuple(part.replace("\\.", ".") for part in _DOT.split(path))


def _reader(name: str, field: Field, mistakes: list[str]) -> _Reader:
    """What gets one field out of a record: a value for AccessEvent, or None."""
    before = len(mistakes)
    if name not in AccessEvent.__struct_fields__:
        mistakes.append(
            f"fields.{name}: no field of an access event; there are {', '.join(AccessEvent.__struct_fields__)}"
        )
    paths = tuple(map(_split, (*((field.path,) if field.path else ()), *field.paths)))
    if bool(paths) == (field.constant is not None):
        mistakes.append(f"fields.{name}: write either path (or paths) or constant")
    for value in (*field.values.values(), field.default, field.constant):
        if value is not None and name in CODES and value not in CODES[name]:
            mistakes.append(f"fields.{name}: {value!r} is none of {', '.join(CODES[name])}")
        if value is not None and name in NUMBERS and not isinstance(value, int):
            mistakes.append(f"fields.{name}: {value!r} is not a whole number")
    kind = field.type or ("number" if name in NUMBERS else "rfc3339" if name == "time" else "text")
    pattern: re.Pattern[str] | None = None
    if field.pattern:
        try:
            pattern = compiled(field.pattern)
        except ValueError as why:
            mistakes.append(f"fields.{name}.pattern: {why}")
    if len(mistakes) > before:
        return lambda _record: None
    constant, table, default = field.constant, field.values, field.default
    if constant is not None:
        return lambda _record: constant
    convert, lower = READERS[kind], field.lower
    wanted = None if pattern is None else ("value" if "value" in pattern.groupindex else min(pattern.groups, 1))

    def read(record: Record) -> Value:
        for path in paths:
            value = walked(record, path)
            if value is None or value == "":
                continue
            if pattern is not None and wanted is not None:
                found = pattern.match(_written(value)[:CHARS_MAX])
                value = found[wanted] if found else None
                if not value:
                    continue
            if lower:
                value = _written(value).lower()
            if table:
                value = table.get(_written(value))
                if value is None:
                    continue
                return value
            made = convert(value)
            if made is not None:
                return made
        return default

    return read


def _written(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int | float) else ""


def _taker(mapping: Mapping, mistakes: list[str]) -> Callable[[bytes], Record | None]:
    """What takes a record apart into its fields; None of a line that only names the columns."""
    if mapping.record == "json":
        return load
    if mapping.record == "pairs":
        return pairs_of
    if mapping.record == "csv":
        if not mapping.columns:
            mistakes.append("columns: name the columns in their order, such as columns = ['time', 'user']")
        return _csv(mapping.columns, mapping.separator)
    try:
        pattern = compiled(mapping.line)
    except ValueError as why:
        mistakes.append(f"line: {why}")
        return load
    if not pattern.groupindex:
        mistakes.append("line: a pattern with named groups, such as '(?P<at>[^ ]+) (?P<user>[^ ]+)', is wanted here")

    def take(record: bytes) -> Record:
        found = pattern.match(record.decode(errors="backslashreplace")[:LINE_CHARS_MAX])
        if not found:
            raise BadRecord("unknown_format", f"the pattern `line` does not match: {shown(record[:80])}")
        return found.groupdict()

    return take


def pairs_of(record: bytes) -> Record:
    """The values of key=value, key="a value", the first of each key; raises BadRecord where there is none."""
    fields: Record = {}
    for key, quoted, bare in _PAIR.findall(record.decode(errors="backslashreplace")):
        fields.setdefault(key, quoted.replace('\\"', '"') or bare)
    if not fields:
        raise BadRecord("unknown_format", f"no key=value: {shown(record[:80])}")
    return fields


def _csv(columns: tuple[str, ...], separator: str) -> Callable[[bytes], Record | None]:
    def take(record: bytes) -> Record | None:
        try:
            values = next(csv.reader((record.decode(errors="backslashreplace"),), delimiter=separator), [])
        except csv.Error as why:
            raise BadRecord("unknown_format", f"not separated values: {why}") from None
        if len(values) < len(columns):
            raise BadRecord("missing_field", f"{len(values)} values, `columns` names {len(columns)}")
        return None if tuple(values[: len(columns)]) == columns else dict(zip(columns, values, strict=False))

    return take
