"""Protobuf values to JSON text, by the descriptor that the registry has compiled.

Fields keep the names of the schema; what is unset or a default is left out, as Protobuf's own JSON does (so a count of
zero that matters needs `optional`); numbers of 64 bits are numbers. An enumeration's value is told as a native record
tells it: ACTION_READ of Action is "read". Timestamps are RFC 3339, wrappers what they wrap, bytes one character a byte.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson
from google.protobuf import (  # type: ignore[import-untyped]  # it has no types
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]  # as above
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # as above

from stream.checks import BadRecord

if TYPE_CHECKING:
    from stream.registry import Decode, Registered

INDEXES_MAX: Final = 16  # how deep a message type may lie within others
_COMMON: Final = (duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)  # what schemas import without a reference
_WRAPPED: Final = {f"google.protobuf.{name}" for name in wrappers_pb2.DESCRIPTOR.message_types_by_name}
_OWN_JSON: Final = {f"google.protobuf.{name}" for name in ("Timestamp", "Duration", "Struct", "Value", "ListValue")}


def decoder(registered: Registered, references: Sequence[tuple[str, Registered]]) -> Decode:
    """What reads values of this schema; BadRecord where it cannot be used."""
    pool = descriptor_pool.DescriptorPool()
    try:
        for module in _COMMON:
            pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        for name, each in references:
            if not name.startswith("google/protobuf/"):
                _added(pool, each, name)
        top = pool.FindFileByName(_added(pool, registered, "tripline/value.proto"))
    except (binascii.Error, ValueError, TypeError, KeyError, DecodeError) as why:
        raise BadRecord("unusable_schema", f"not a Protobuf schema that can be used: {why!r:.200}") from None
    messages = list(top.message_types_by_name.values())

    def decode(value: bytes) -> bytes:
        try:
            indexes, body = _indexes(value)
            descriptor = messages[indexes[0]]
            for index in indexes[1:]:
                descriptor = descriptor.nested_types[index]
            message = message_factory.GetMessageClass(descriptor)()
            message.ParseFromString(body)
            return orjson.dumps(_plain(message))
        except (DecodeError, IndexError, UnicodeDecodeError, ValueError, RecursionError, orjson.JSONEncodeError) as why:
            raise BadRecord("schema_mismatch", f"not a value of its schema: {why!r:.200}") from None

    return decode


def _added(pool: Any, registered: Registered, name: str) -> str:
    """Add a file under the name that others import it by."""
    file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(registered.schema, validate=True))
    file.name = name
    pool.AddSerializedFile(file.SerializeToString())
    return name


def _indexes(value: bytes) -> tuple[list[int], bytes]:
    """Which message type of the file it is, as indexes from the outside in, and the message; ValueError."""
    count, at = _varint(value, 0)
    if count == 0:
        return [0], value[at:]
    if not 0 < count <= INDEXES_MAX:
        raise ValueError(f"{count} message indexes")
    indexes = []
    for _ in range(count):
        index, at = _varint(value, at)
        if index < 0:
            raise ValueError(f"message index {index}")
        indexes.append(index)
    return indexes, value[at:]


def _varint(value: bytes, at: int) -> tuple[int, int]:
    """A number in zigzag, and where it ends."""
    number = shift = 0
    while shift < 35:
        byte = value[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return (number >> 1) ^ -(number & 1), at
    raise ValueError("a number that does not end")


def _plain(message: Any) -> Any:
    name = message.DESCRIPTOR.full_name
    if name in _WRAPPED:
        return _value(message.DESCRIPTOR.fields_by_name["value"], message.value)
    if name in _OWN_JSON:
        return MessageToDict(message)
    out: dict[str, Any] = {}
    for field, value in message.ListFields():
        if not field.is_repeated:
            out[field.name] = _value(field, value)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name["value"]
            out[field.name] = {str(key): _value(inner, value[key]) for key in value}
        else:
            out[field.name] = [_value(field, each) for each in value]
    return out


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _plain(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else _word(field.enum_type.name, known.name)
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _word(enum: str, symbol: str) -> str:
    """READ of ACTION_READ.

    >>> _word("AccountKind", "ACCOUNT_KIND_SERVICE"), _word("Action", "READ")
    ('service', 'read')
    """
    prefix = "".join(f"_{c}" if c.isupper() and i else c for i, c in enumerate(enum)).upper() + "_"
    return symbol.removeprefix(prefix).lower()
