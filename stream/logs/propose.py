"""A mapping proposed from a sample: which path of a house format looks like which field of an access event.

Each path is judged for each field by two things: what it is called, and what its values are (a share of them must be
times, addresses, verbs). The best takes it; what is left open is said. It is a beginning to be read by who knows the
logs, not a guess to be run: `tripline check --sample` shows what comes of it.
"""

from __future__ import annotations

import csv
import tomllib
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from stream.cells import clean
from stream.decode import Format, detect
from stream.decode._json import peek
from stream.decode._mapping import CODES, REQUIRED, Mapping, made, pairs_of
from stream.decode._values import READERS
from stream.errors import UsageError
from stream.events import BadRecord
from stream.logs.shapes import RULES, Rule, time_type
from stream.source import inputs, open_source

RECORDS_MAX: Final = 2_000
PATHS_MAX: Final = 500
DEPTH_MAX: Final = 6
VALUES_MAX: Final = 40  # of a table
SHARE_MIN: Final = 0.5  # of the records have it
_SEPARATORS: Final = ("\t", ";", "|", ",")


class Proposal(NamedTuple):
    """The mapping as TOML, and what to say about it."""

    text: str
    remarks: list[str]


Values = dict[str, list[Any]]


def proposed(path: str, record_bytes_max: int) -> Proposal:
    """The mapping for the file; UsageError where its records are of no kind that a mapping takes apart by itself."""
    raw = _records(path, record_bytes_max)
    known = Counter(fmt.name for fmt in map(_format, raw) if fmt is not None).most_common(1)
    if known and known[0][1] > len(raw) / 2:
        return Proposal("", [f"{path}: format {known[0][0]}; no mapping is needed"])
    head, values, count = _taken_apart(path, raw)
    lines, remarks, used = [], [], set[str]()
    for rule in RULES:
        choice = _best(rule, values, count, used)
        if choice is None:
            if rule.field in REQUIRED:
                lines.append(f"# {rule.field} = ...  # nothing looks like it; an event needs one")
                remarks.append(f"{rule.field}: nothing looks like it; name a path, or {{ constant = ... }}")
            continue
        used.add(choice)
        held = values[choice]
        shown = "" if rule.field == "credential" else f", such as {clean(str(held[0]), 40)!r}"
        lines.append(f"{rule.field} = {_spec(rule, choice, held)}  # {len(held) / count:.0%} of records{shown}")
    text = "\n".join([*head, "", "[fields]", *lines, ""])
    return Proposal(text, remarks or [_tried(text, path, raw)])


def _format(record: bytes) -> Format | None:
    return detect([record])


def _records(path: str, record_bytes_max: int) -> list[bytes]:
    """The first records of the file, whatever they are."""
    raw: list[bytes] = []
    for chunk in open_source(inputs([path]), "auto", record_bytes_max=record_bytes_max):
        raw += chunk.records
        raw += [letter.raw for letter in chunk.dead if letter.reason == "unknown_format"]
        if len(raw) >= RECORDS_MAX:
            break
    return raw[:RECORDS_MAX]


def _taken_apart(path: str, raw: list[bytes]) -> tuple[list[str], Values, int]:
    """The head of the mapping, the values by their paths, and of how many records."""
    objects = [each for each in map(peek, raw) if each]
    if len(objects) > len(raw) / 2:
        return ['record = "json"'], _flat(objects), len(objects)
    for separator in _SEPARATORS:
        rows = _rows(raw, separator)
        if (
            len(rows) > 1
            and len(rows[0]) >= 4
            and len({len(row) for row in rows}) == 1
            and len(set(rows[0])) == len(rows[0])
        ):
            head = ['record = "csv"', f"columns = {_toml(rows[0])}", f"separator = {_toml(separator)}"]
            return head, _flat([dict(zip(rows[0], row, strict=True)) for row in rows[1:]]), len(rows) - 1
    found = [fields for fields in map(_pairs, raw) if len(fields) >= 3]
    if len(found) > len(raw) / 2:
        return ['record = "pairs"'], _flat(found), len(found)
    raise UsageError(
        f"{path}: neither JSON, key=value nor separated values with a line of names; write a mapping with "
        "record = \"line\" and line = '(?P<at>[^ ]+) (?P<user>[^ ]+) ...', whose groups are the paths"
    )


def _rows(raw: list[bytes], separator: str) -> list[list[str]]:
    """The records as separated values; none where one of them is not."""
    try:
        return list(csv.reader((each.decode(errors="replace") for each in raw), delimiter=separator))
    except csv.Error:
        return []


def _pairs(record: bytes) -> dict[str, Any]:
    try:
        return pairs_of(record)
    except BadRecord:
        return {}


def _flat(records: list[dict[str, Any]]) -> Values:
    values: Values = {}
    for record in records:
        for path, value in _walk(record, "", 0):
            if path in values or len(values) < PATHS_MAX:
                values.setdefault(path, []).append(value)
    return values


def _walk(value: object, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Every value that is text or a number, by its path; of a list the first, and the list itself for its length."""
    if isinstance(value, dict) and depth < DEPTH_MAX:
        for key, inner in value.items():
            yield from _walk(inner, (path + "." if path else "") + key.replace(".", "\\."), depth + 1)
    elif isinstance(value, list) and value and depth < DEPTH_MAX:
        yield path, value
        yield from _walk(value[0], f"{path}.0", depth + 1)
    elif isinstance(value, str | int | float) and value not in ("", "-"):
        yield path, value


def _best(rule: Rule, values: Values, count: int, used: set[str]) -> str | None:
    """The path that is most like the field, None where none is."""
    scored = [
        (score, -path.count("."), path)
        for path, held in values.items()
        if path not in used and len(held) >= SHARE_MIN * count and (score := rule.score(path, held)) > 0
    ]
    return max(scored)[2] if scored else None


def _spec(rule: Rule, path: str, held: list[Any]) -> str:
    """How the field is written in the mapping."""
    if rule.field == "time":
        kind = time_type(held)
        return _toml(path) if kind == "rfc3339" else f"{{ path = {_toml(path)}, type = {_toml(kind)} }}"
    if rule.field in CODES:
        return _table(rule, path, held)
    if isinstance(held[0], list):
        return f'{{ path = {_toml(path)}, type = "length" }}'
    if rule.field == "resource" and str(held[0]).startswith("/"):
        return f'{{ path = {_toml(path)}, type = "path" }}'
    return _toml(path)


def _table(rule: Rule, path: str, held: list[Any]) -> str:
    told = Counter(READERS["text"](each) for each in held)
    table = {str(value): code for value, _ in told.most_common(VALUES_MAX) if (code := rule.code(str(value)))}
    pairs = ", ".join(f"{_toml(value)} = {_toml(code)}" for value, code in table.items())
    return f"{{ path = {_toml(path)}, values = {{ {pairs} }}, default = {_toml(rule.default)} }}"


def _toml(value: str | list[str]) -> str:
    return orjson.dumps(value).decode().replace("\x7f", "\\u007f")  # a JSON string is a TOML string


def _tried(text: str, path: str, raw: list[bytes]) -> str:
    """What the mapping makes of the sample."""
    fmt = made(msgspec.convert(tomllib.loads(text), Mapping), path)
    read = sum(map(fmt.matches, raw))
    return f"{read:,} of {len(raw):,} records make an event; see `tripline check --sample {path} --format mapping:FILE`"
