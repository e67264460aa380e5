"""Framed values are the records that they were before; what cannot be read is a dead letter, what cannot be known yet
waits, and neither costs another record anything."""

from __future__ import annotations

import base64
import io
import ssl
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import orjson
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from stream import avro, endpoint, registry, wire
from stream.batch import Batch
from stream.config import Config, Kafka
from stream.config import Registry as Settings
from stream.errors import TriplineError, UsageError
from stream.events import BadRecord
from stream.ingest import Ingest
from stream.registry import SCHEMAS_MAX, Registry
from stream.transact import Message, NotNow
from tests.broker import Record
from tests.kafka.deployment import Counts
from tests.kafka.security import make_certificates
from tests.streams import START_MS
from tests.webserver import RegistryApi, Reply, Request, serving

CONFIG = Config(kafka=Kafka(topics=("access",), partitions=3))
AVRO, PROTO, JSON, UNKNOWN = 1, 2, 3, 4
FIELDS = {"time": "long", "account": "string", "action": "string", "resource": "string"}
OPTIONAL = {"source_ip": "string", "subject": "string", "records": "long", "bytes": "double"}


def avro_schema(**changed: Any) -> dict[str, Any]:
    fields: list[dict[str, Any]] = [{"name": name, "type": kind} for name, kind in FIELDS.items()]
    fields += [{"name": name, "type": ["null", kind], "default": None} for name, kind in OPTIONAL.items()]
    return {"type": "record", "name": "Access", "fields": fields} | changed


def proto_file() -> Any:
    kinds = {"long": 3, "string": 9, "double": 1}  # int64, string, double
    file = descriptor_pb2.FileDescriptorProto(name="access.proto", package="shop", syntax="proto3")
    file.message_type.add(name="Other")
    outer = file.message_type.add(name="Outer")
    message = outer.nested_type.add(name="Access")
    for number, (name, kind) in enumerate((FIELDS | OPTIONAL).items(), 1):
        message.field.add(name=name, number=number, type=kinds[kind], label=1)
    message.field[3].name = "resource"
    return file


PROTO_FILE = proto_file()
_pool = descriptor_pool.DescriptorPool()
_pool.AddSerializedFile(PROTO_FILE.SerializeToString())
ACCESS = message_factory.GetMessageClass(_pool.FindMessageTypeByName("shop.Outer.Access"))
PARSED = fastavro.parse_schema(avro_schema())
SCHEMAS: dict[int, dict[str, Any]] = {
    AVRO: {"schema": orjson.dumps(avro_schema()).decode()},
    PROTO: {
        "schemaType": "PROTOBUF", "schema": "syntax = ...",
        "serialized": base64.b64encode(PROTO_FILE.SerializeToString()).decode(),
    },
    JSON: {"schemaType": "JSON", "schema": '{"type": "object"}'},
}  # fmt: skip


def framed(number: int, body: bytes) -> bytes:
    return b"\0" + number.to_bytes(4) + body


def as_avro(event: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, PARSED, event)
    return framed(AVRO, out.getvalue())


def as_proto(event: dict[str, Any]) -> bytes:
    return framed(PROTO, b"\x04\x02\x00" + ACCESS(**event).SerializeToString())  # the first type within the second


def as_json(event: dict[str, Any]) -> bytes:
    return framed(JSON, orjson.dumps(event))


@pytest.fixture
def api() -> RegistryApi:
    return RegistryApi(dict(SCHEMAS))


@pytest.fixture
def url(api: RegistryApi) -> Iterator[str]:
    with serving(api) as there:
        yield there


@pytest.fixture(scope="module")
def steady() -> Registry:
    """A registry that nothing happens to, and that has been asked."""
    with serving(RegistryApi(dict(SCHEMAS))) as there:
        known = Registry(config(there))
        known.decoders([framed(number, b"") for number in SCHEMAS])
    return known


def config(url: str, **more: Any) -> Config:
    return msgspec.structs.replace(CONFIG, registry=Settings(url=url, **more))


class Taken:
    """What ingest makes of values: (offset, account) of each observation, and reasons by offset."""

    def __init__(self, config: Config, shared: Registry | None = None) -> None:
        self.counts = Counts()
        self.registry = shared or Registry(config)
        self.stage = Ingest(config, "access", 0, self.counts, self.registry)

    def __call__(self, values: Sequence[bytes]) -> tuple[list[tuple[int, str]], dict[int, str]]:
        records = Batch.of(Record(n, value, START_MS) for n, value in enumerate(values))
        return told(self.stage.take(records, silent=False, more=False))


def told(messages: Sequence[Message]) -> tuple[list[tuple[int, str]], dict[int, str]]:
    seen, letters = [], {}
    for message in messages:
        if message.topic == CONFIG.kafka.observations:
            block = wire.decode(message.value).block
            seen += list(zip(block.line.tolist(), block.text["account"].texts(), strict=True))
        else:
            letter = orjson.loads(message.value)
            letters[letter["offset"]] = letter["reason"]
    return sorted(seen), letters


words = st.text(st.characters(min_codepoint=33, max_codepoint=0x24F), min_size=1, max_size=12)
events = st.fixed_dictionaries(
    {
        "time": st.integers(START_MS - 10**6, START_MS), "account": words, "resource": words,
        "action": st.sampled_from(["read", "login", "export"]),
    },
    optional={
        "source_ip": st.just("198.51.100.7"), "subject": words, "records": st.integers(1, 10**9),
        "bytes": st.floats(1, 1e12),
    },
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(events, min_size=1, max_size=8), data=st.data())
def test_a_framed_record_is_the_record_in_the_frame(steady: Registry, rows: list[dict[str, Any]], data: Any) -> None:
    """Bit for bit what plain JSON of the same events gives, however they are framed and mixed."""
    plain, mixed = Taken(CONFIG, steady).stage, Taken(CONFIG, steady).stage
    kinds = [data.draw(st.sampled_from([as_avro, as_proto, as_json, orjson.dumps])) for _ in rows]
    due = plain.take(Batch.of(Record(n, orjson.dumps(row), START_MS) for n, row in enumerate(rows)), False, False)
    got = mixed.take(Batch.of(Record(n, kinds[n](row), START_MS) for n, row in enumerate(rows)), False, False)
    assert got == due


EVENT = {"time": START_MS, "account": "ada", "action": "read", "resource": "/orders"}


def test_what_no_schema_reads_is_a_dead_letter_with_its_reason(api: RegistryApi, url: str) -> None:
    api.schemas |= {
        5: {"schema": '{"type": "record"'}, 6: {"schemaType": "THRIFT", "schema": ""},
        7: {"schemaType": "PROTOBUF", "schema": "", "serialized": "AAAA"},
    }  # fmt: skip
    values = [
        as_avro(EVENT), framed(UNKNOWN, b"{}"), framed(AVRO, b"\x02"), as_avro(EVENT) + b"x",
        framed(PROTO, b"\x04\x08\x00"), framed(PROTO, b""), b"\0", b"\0\0\0",
        framed(5, b"{}"), framed(6, b"{}"), framed(7, b"{}"), framed(JSON, b"{"),
        orjson.dumps(EVENT), framed(JSON, b""),
    ]  # fmt: skip
    taken = Taken(config(url))
    for _ in range(2):
        seen, letters = taken(values)
        assert [offset for offset, _ in seen] == [0, 12]
        assert letters == {
            1: "unknown_schema", 2: "schema_mismatch", 3: "schema_mismatch", 4: "schema_mismatch",
            5: "schema_mismatch", 6: "schema_mismatch", 7: "schema_mismatch", 8: "unusable_schema",
            9: "unusable_schema", 10: "unusable_schema", 11: "not_json", 13: "schema_mismatch",
        }  # fmt: skip
    assert max(Counter(api.asked).values()) == 1, "an answer is kept, also that there is none"


@pytest.mark.parametrize("number", [AVRO, PROTO])
@settings(max_examples=150, deadline=None)
@given(bodies=st.lists(st.binary(max_size=40), min_size=1, max_size=20))
def test_whatever_is_in_a_frame_each_record_is_used_or_a_dead_letter(
    steady: Registry, number: int, bodies: list[bytes]
) -> None:
    seen, letters = Taken(CONFIG, steady)([framed(number, body) for body in bodies])
    assert sorted([offset for offset, _ in seen] + list(letters)) == list(range(len(bodies)))


@pytest.mark.parametrize(
    "schema",
    [
        '{"type": "record", "name": ["a"], "fields": []}',
        '{"type": "record", "name": "R", "fields": 7}',
        '{"type": []}',
        "7",
    ],
)
def test_a_schema_that_is_made_otherwise_than_any_should_be_is_a_reason(schema: str) -> None:
    with pytest.raises(BadRecord) as caught:
        avro.decoder(registry.Registered(schema), [])
    assert caught.value.reason == "unusable_schema"


def test_a_record_without_end_is_no_record(api: RegistryApi, url: str) -> None:
    """A schema that contains itself would overflow the stack, a list of nothing would fill the memory."""
    chain: dict[str, Any] = {"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}
    hollow: dict[str, Any] = {"type": "record", "name": "H", "fields": []}
    api.schemas |= {
        10: {"schema": orjson.dumps(chain).decode()},
        11: {"schema": '{"type": "array", "items": "null"}'},
        12: {"schema": orjson.dumps({"type": "array", "items": hollow}).decode()},
        13: {"schema": orjson.dumps({"type": "map", "values": chain}).decode()},
    }
    bomb = b"\x02" * 900_000
    _, letters = Taken(config(url))([framed(n, bomb) for n in (10, 11, 12, 13)])
    assert letters == dict.fromkeys(range(4), "unusable_schema")


DOWN: list[Reply] = [
    (500, b""), (503, b"<html>"), (401, b'{"error_code":401}'), (403, b"{}"), (404, b"<html>not here</html>"),
    (404, b'{"error_code":404}'), (200, b"<html>"), (200, b"{}"), (302, b"http://127.0.0.1:9/"),
    (200, b'{"schema":"' + b"x" * endpoint.ANSWER_BYTES_MAX + b'"}'),
]  # fmt: skip


@pytest.mark.parametrize("down", DOWN, ids=range(len(DOWN)))
def test_a_registry_that_does_not_answer_as_one_is_waited_for(
    api: RegistryApi, url: str, down: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is taken, counted or dead-lettered meanwhile, and afterwards all is as if it had answered at once."""
    monkeypatch.setattr(registry, "REST_S", 0.0)
    values = [as_avro(EVENT), b"", b"poison", as_json(EVENT)]
    uninterrupted = Taken(config(url))
    due = uninterrupted(values)
    taken = Taken(config(url))
    api.down = down
    for _ in range(2):
        with pytest.raises(NotNow, match=r"127\.0\.0\.1"):
            taken(values)
    assert not taken.counts.dead_letters
    api.down = None
    assert taken(values) == due
    assert taken.counts.dead_letters == uninterrupted.counts.dead_letters
    assert taken.counts.ingested == uninterrupted.counts.ingested


def test_a_registry_that_is_gone_slow_or_endless_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(_request: Request) -> Reply:
        time.sleep(3)
        return 200, b""

    with pytest.raises(NotNow, match="refused"):
        Taken(config("http://127.0.0.1:9"))([as_avro(EVENT)])
    with serving(endless) as url:
        began = time.monotonic()
        taken = Taken(config(url, timeout_s=0.1))
        with pytest.raises(NotNow, match=r"within 0.1 s"):
            taken([as_avro(EVENT)])
        with pytest.raises(NotNow):  # at once: it was asked a moment ago
            taken([as_avro(EVENT)])
        assert taken.registry.requests == 1
        assert time.monotonic() - began < 3


def test_schemas_are_kept_and_no_more_than_so_many(api: RegistryApi, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "SCHEMAS_MAX", 8)
    assert SCHEMAS_MAX >= 256
    api.schemas = dict.fromkeys(range(30), SCHEMAS[JSON])
    taken = Taken(config(url))
    for _ in range(3):
        seen, _ = taken([framed(n, orjson.dumps(EVENT)) for n in range(30)])
        assert len(seen) == 30
    assert len(taken.registry._decoders) == 8
    asked = len(api.asked)
    taken([framed(29, orjson.dumps(EVENT))] * 100)
    assert len(api.asked) == asked


def test_an_id_that_was_unknown_is_asked_for_again(api: RegistryApi, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "UNKNOWN_S", 0.0)
    taken = Taken(config(url))
    value = framed(UNKNOWN, orjson.dumps(EVENT))
    assert taken([value])[1] == {0: "unknown_schema"}
    api.schemas[UNKNOWN] = SCHEMAS[JSON]
    assert taken([value])[1] == {}


def test_schemas_may_be_made_of_others(api: RegistryApi, url: str) -> None:
    """And one that is made of itself, or of one that is missing, is a dead letter."""
    kind: dict[str, Any] = {"type": "enum", "name": "Action", "symbols": ["read", "login"]}
    api.subjects["acts", 2] = {"schema": orjson.dumps(kind).decode()}
    api.subjects["loop", 1] = {
        "schema": '"int"', "references": [{"name": "Loop", "subject": "loop", "version": 1}]
    }  # fmt: skip
    schema = avro_schema()
    schema["fields"][2]["type"] = "Action"
    for number, name, subject, version in ((20, "Action", "acts", 2), (21, "Loop", "loop", 1), (22, "No", "gone", 1)):
        reference = {"name": name, "subject": subject, "version": version}
        api.schemas[number] = {"schema": orjson.dumps(schema).decode(), "references": [reference]}
    out = io.BytesIO()
    named: dict[str, Any] = {}
    fastavro.parse_schema(kind, named)
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema, named), EVENT)
    seen, letters = Taken(config(url))([framed(n, out.getvalue()) for n in (20, 21, 22)])
    assert seen == [(0, "ada")]
    assert letters == {1: "unusable_schema", 2: "unknown_schema"}


def test_protobuf_in_its_own_style_is_a_native_record(api: RegistryApi, url: str) -> None:
    """Enumerations, timestamps, wrappers and schemas of others come out as a native record has them."""
    common = descriptor_pb2.FileDescriptorProto(name="x", package="shop", syntax="proto3")
    action = common.enum_type.add(name="AccessAction")
    for number, name in enumerate(("UNSPECIFIED", "READ", "EXPORT")):
        action.value.add(name=f"ACCESS_ACTION_{name}", number=number)
    file = descriptor_pb2.FileDescriptorProto(name="y", package="shop", syntax="proto3")
    file.dependency.extend(["shop/common.proto", "google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto"])
    message = file.message_type.add(name="Access")
    kinds = {
        "time": ".google.protobuf.Timestamp", "account": "", "action": ".shop.AccessAction", "resource": "",
        "subject": ".google.protobuf.StringValue",
    }  # fmt: skip
    for number, (name, kind) in enumerate(kinds.items(), 1):
        form = {"": 9, ".shop.AccessAction": 14}.get(kind, 11)
        message.field.add(name=name, number=number, type=form, type_name=kind or None, label=1)
    api.subjects["common", 1] = {
        "schemaType": "PROTOBUF", "schema": "", "serialized": base64.b64encode(common.SerializeToString()).decode()
    }  # fmt: skip
    references = [
        {"name": "shop/common.proto", "subject": "common", "version": 1},
        {"name": "google/protobuf/timestamp.proto", "subject": "common", "version": 1},
    ]
    api.schemas[30] = {
        "schemaType": "PROTOBUF", "schema": "", "references": references,
        "serialized": base64.b64encode(file.SerializeToString()).decode(),
    }  # fmt: skip
    body = b"\x00\x0a\x06\x08" + bytes(_varint(START_MS // 1000)) + b"\x12\x03ada\x18\x02\x22\x02/x\x2a\x05\x0a\x03eve"
    messages = Taken(config(url)).stage.take(Batch.of([Record(0, framed(30, body), START_MS)]), False, False)
    seen = [wire.decode(m.value).block for m in messages]
    (block,) = [each for each in seen if len(each)]
    assert block.time.tolist() == [START_MS]
    assert block.text["subject"].texts() == ["eve"]
    assert block.action.tolist() == [4]  # export


def _varint(number: int) -> Iterator[int]:
    while number > 127:
        yield number & 127 | 128
        number >>= 7
    yield number


@pytest.mark.parametrize("module, number", [("stream.avro", AVRO), ("stream.protobuf", PROTO)])
def test_what_is_not_installed_is_named(url: str, module: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("stream." + module.rpartition(".")[2], raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TriplineError, match=r"pip install 'tripline\["):
        Taken(config(url))([framed(number, b"")])


def test_without_a_registry_a_framed_value_is_a_dead_letter() -> None:
    counts = Counts()
    stage = Ingest(CONFIG, "access", 0, counts)
    seen, letters = told(
        stage.take(Batch.of([Record(0, as_avro(EVENT)), Record(1, orjson.dumps(EVENT))]), False, False)
    )
    assert (seen, letters) == ([(1, "ada")], {0: "no_registry"})


def test_a_password_goes_to_a_registry_whose_certificate_is_right(api: RegistryApi, tmp_path: Path) -> None:
    make_certificates(tmp_path / "certificates")
    folder, password = tmp_path / "certificates", tmp_path / "password"
    password.write_text("hunter2")
    password.chmod(0o600)
    api.password = "hunter2"

    def context(shown: str) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(folder / f"{shown}.pem")
        made.load_verify_locations(folder / "ca.pem")
        made.verify_mode = ssl.CERT_REQUIRED
        return made

    pem = str(folder / "client.pem")
    given = {"username": "reader", "password_file": str(password), "ca_file": str(folder / "ca.pem"), "cert_file": pem}
    with ExitStack() as stack:
        urls = {name: stack.enter_context(serving(api, context(name))) for name in ("broker", "expired", "stranger")}
        assert Taken(config(urls["broker"], **given))([as_avro(EVENT)])[0] == [(0, "ada")]
        for name in ("expired", "stranger"):
            asked = len(api.asked)
            with pytest.raises(NotNow, match="certificate is refused"):
                Taken(config(urls[name], **given))([as_avro(EVENT)])
            assert len(api.asked) == asked
        with pytest.raises(NotNow):  # without a certificate of its own
            Taken(config(urls["broker"], **given | {"cert_file": ""}))([as_avro(EVENT)])
        taken = Taken(config(urls["broker"], **given))
        password.write_text("letmein")
        with pytest.raises(NotNow, match=r"401.*registry.username") as error:
            taken([as_avro(EVENT)])
        assert "letmein" not in str(error.value)
        assert "401" in taken.registry.check()


@pytest.mark.parametrize(
    "url, part",
    [
        ("http://registry.example", "in the clear"), ("ftp://127.0.0.1", "https://HOST"), ("127.0.0.1:8081", "https://"),
        ("https://u:p4ss@registry.example", "name or password"), ("https://registry.example/?a", "[?] or #"),
        ("https://registry.example:x", "not an address"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_right_is_refused(url: str, part: str) -> None:
    with pytest.raises(UsageError, match=part) as error:
        Registry(config(url))
    assert "p4ss" not in str(error.value)


def test_check_tells_a_registry_from_what_is_none(api: RegistryApi, url: str) -> None:
    assert Registry(config(url)).check() == ""
    api.down = (404, b"<html>")
    assert "registry.url" in Registry(config(url)).check()
    assert "refused" in Registry(config("http://127.0.0.1:9")).check()
