"""Avro values to JSON text, by the schema that they were written with.

Field names stay as they are; a union is the value that is in it, an enumeration its symbol, a timestamp RFC 3339, bytes
and fixed are text as Avro's own JSON has them, one character a byte.

fastavro reads what it is told to read, however deep and however much: a schema that contains itself would let one
record overflow the stack, and a list of things of no bytes would let one of ten bytes fill the memory. Neither is used.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import fastavro
import orjson

from stream.checks import BadRecord

if TYPE_CHECKING:
    from stream.registry import Decode, Registered

DEPTH_MAX: Final = 64


def decoder(registered: Registered, references: Sequence[tuple[str, Registered]]) -> Decode:
    """What reads values of this schema; BadRecord where it cannot be used."""
    named: dict[str, Any] = {}
    try:
        for _, each in references:
            fastavro.parse_schema(orjson.loads(each.schema), named)
        schema = fastavro.parse_schema(orjson.loads(registered.schema), named)
        _least(schema, named, (), {})
    except Exception as why:  # noqa: BLE001 - as below: it takes a schema for what it should be
        raise BadRecord("unusable_schema", f"not an Avro schema that can be used: {why!r:.200}") from None
    read = fastavro.schemaless_reader

    def decode(value: bytes) -> bytes:
        file = io.BytesIO(value)
        try:
            record = read(file, schema, None)
            text = orjson.dumps(record, default=_plain)
        except Exception as why:  # noqa: BLE001 - it raises whatever the bytes lead it to
            raise BadRecord("schema_mismatch", f"not a value of its schema: {why!r:.200}") from None
        if file.tell() != len(value):
            raise BadRecord("schema_mismatch", f"{len(value) - file.tell()} bytes behind a value of its schema")
        return text

    return decode


def _plain(value: object) -> object:
    """What orjson has no form for."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"{type(value).__name__} has no JSON")


def _least(schema: Any, named: dict[str, Any], above: tuple[str, ...], known: dict[str, int]) -> int:
    """The fewest bytes that a value takes; ValueError where a value could be endless."""
    if len(above) > DEPTH_MAX:
        raise ValueError(f"deeper than {DEPTH_MAX}")
    if isinstance(schema, list):
        return 1 + min((_least(each, named, (*above, ""), known) for each in schema), default=0)
    if isinstance(schema, str):
        if schema in above:
            raise ValueError(f"{schema} contains itself")
        if schema in known or schema not in named:
            return known.get(schema, {"null": 0, "float": 4, "double": 8}.get(schema, 1))
        return _least(named[schema], named, above, known)
    kind = schema["type"]
    if kind in ("record", "error"):
        name = schema["name"]
        if name in above:
            raise ValueError(f"{name} contains itself")
        known[name] = sum(_least(field["type"], named, (*above, name), known) for field in schema["fields"])
        return known[name]
    if kind == "array":
        if _least(schema["items"], named, (*above, ""), known) == 0:
            raise ValueError("a list of things of no bytes")
        return 1
    if kind == "map":
        _least(schema["values"], named, (*above, ""), known)
        return 1
    if kind == "fixed":
        return int(schema["size"])
    return 1 if kind == "enum" else _least(kind, named, (*above, ""), known)
