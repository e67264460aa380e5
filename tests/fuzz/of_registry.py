"""Values that a schema registry describes, its schemas, and its answers."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import fastavro
import orjson

from stream import avro, protobuf
from stream.config import Config
from stream.config import Registry as Settings
from stream.endpoint import Answer, NoAnswer
from stream.events import BadRecord
from stream.registry import Registered, Registry, is_framed, unframed
from tests.fuzz.target import PART, Target, parts
from tests.test_registry import AVRO, PROTO_FILE, SCHEMAS, as_avro, as_json, as_proto, avro_schema

BYTES_MAX: Final = 1 << 20
EVENT: Final[dict[str, Any]] = {
    "time": 1_735_689_600_000,
    "account": "ann",
    "action": "read",
    "resource": "/a",
    "records": 3,
}
HEAD: Final = 5  # bytes of a frame
REASONS: Final = ("unusable_schema", "schema_mismatch", "unknown_schema", "record_too_long")


def read(decoder: Callable[[], Callable[[bytes], bytes]], value: bytes) -> None:
    """A schema can be used or not, a value is one of it or not; what comes of it is JSON."""
    try:
        text = decoder()(value)
    except BadRecord as why:
        assert why.reason in REASONS
    else:
        orjson.loads(text)


def of_avro(data: bytes) -> None:
    """A schema as JSON, and a value."""
    schema, value = parts(data, 2)
    read(lambda: avro.decoder(Registered(schema.decode(errors="replace")), []), value)


def of_protobuf(data: bytes) -> None:
    """A length in two bytes, a file's descriptor of that many, and a value."""
    size = int.from_bytes(data[:2])
    schema = base64.b64encode(data[2 : 2 + size]).decode()
    read(lambda: protobuf.decoder(Registered(schema, "PROTOBUF"), []), data[2 + size :])


class Answering:
    """In the place of an endpoint: what a registry answers, whatever it is asked."""

    def __init__(self, answers: list[bytes]) -> None:
        self._answers = answers

    def ask(self, _method: str, path: str, *_more: Any) -> Answer:
        body = self._answers[hash(path.encode()) % len(self._answers) if len(self._answers) > 1 else 0]
        status = 404 if b"error_code" in body else 200
        return Answer(status, body)


def answered(data: bytes) -> None:
    """A framed value, and a registry's answers: JSON text, a reason, or nothing that can be said yet."""
    answer, other, value = parts(data, 3)
    registry = Registry(Config(registry=Settings(url="http://127.0.0.1:1")))
    registry._endpoint = Answering([answer, other][: 1 + bool(other)])  # type: ignore[assignment]  # as it is used
    if not is_framed(value):
        return
    try:
        orjson.loads(unframed(value, registry.decoders([value]), BYTES_MAX)) if answer[:1] == b"{" else None
    except BadRecord as why:
        assert why.reason in REASONS
    except NoAnswer:
        pass
    except orjson.JSONDecodeError:
        assert b"JSON" in answer + other  # is handed over as it is


def avro_values() -> list[bytes]:
    """Schemas of most kinds, each with a value."""
    wide = {"type": "record", "name": "W", "fields": [
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "sum", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "in", "type": {"type": "array", "items": {"type": "enum", "name": "E", "symbols": ["A", "B"]}}},
        {"name": "by", "type": {"type": "map", "values": ["null", "E", {"type": "fixed", "name": "F", "size": 2}]}},
        {"name": "on", "type": "boolean"}, {"name": "x", "type": "float"}, {"name": "y", "type": "double"},
    ]}  # fmt: skip
    told = {
        "at": datetime(2025, 1, 1, tzinfo=UTC), "day": date(2025, 1, 1), "sum": Decimal("7.25"), "id": UUID(int=7),
        "in": ["A"], "by": {"k": b"\xff\xfe", "none": None}, "on": True, "x": 0.5, "y": 1e300,
    }  # fmt: skip
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(wide), told)
    return [
        orjson.dumps(avro_schema()) + PART + as_avro(EVENT)[HEAD:],
        orjson.dumps(wide) + PART + out.getvalue(),
        b'["null","string"]' + PART + b"\x02\x02a",
    ]


def protobuf_values() -> list[bytes]:
    """The schema of the tests with a value of it."""
    file = PROTO_FILE.SerializeToString()
    return [len(file).to_bytes(2) + file + as_proto(EVENT)[HEAD:]]


def answers() -> list[bytes]:
    """Of each kind of schema, and of none."""
    told = {number: orjson.dumps({k: v for k, v in SCHEMAS[number].items() if k != "serialized"}) for number in SCHEMAS}
    proto = orjson.dumps({"schemaType": "PROTOBUF", "schema": SCHEMAS[2]["serialized"]})
    refers = orjson.loads(told[AVRO]) | {"references": [{"name": "a", "subject": "s", "version": 1}]}
    unknown = b'{"error_code": 40403, "message": "no"}'
    return [
        PART.join(each)
        for each in (
            (told[AVRO], b"", as_avro(EVENT)), (proto, b"", as_proto(EVENT)), (told[3], b"", as_json(EVENT)),
            (orjson.dumps(refers), told[AVRO], as_avro(EVENT)), (unknown, b"", as_avro(EVENT)),
        )
    ]  # fmt: skip


TARGETS: Final = [
    Target("registry.avro", of_avro, avro_values), Target("registry.protobuf", of_protobuf, protobuf_values),
    Target("registry.answers", answered, answers),
]  # fmt: skip
