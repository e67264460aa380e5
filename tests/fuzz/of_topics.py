"""What comes from topics and by webhook: records as producers packed them, blocks, signals, incidents, feedback."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Final

import msgspec
import numpy as np
import orjson
from aiokafka.errors import KafkaError

from detectors import catalog
from detectors.base import Detector
from stream import blocks, feedback, signals, wire
from stream.alerts import Alert, alert_of
from stream.alerts import encode as encode_alert
from stream.align import Aligner
from stream.analyst.told import Unread, decoded
from stream.batch import Batch
from stream.blocks import PackedBlock
from stream.config import Config, Kafka
from stream.decode import detect
from stream.desk import Desk
from stream.encode import alert_formats
from stream.enrich.enricher import Enricher
from stream.enrich.settings import Enrich, Identity, Named
from stream.events import BadRecord
from stream.feedback import Entry, Mute, encode, sealed
from stream.feedback_topic import Chain
from stream.fetch import HEAD, Head, _varint, decompressed
from stream.ingest import Ingest
from stream.kept import BadGroup, Group, pack, unpack
from stream.merge import Merger
from stream.pipeline import Pipeline
from stream.respond import words
from stream.siphash import hash_key
from stream.subscribers import alertmanager, email, pagerduty, slack
from stream.texts import TEXTS, last_numbers
from stream.wire import BadBlock
from tests.broker import Record
from tests.formats.test_contract import FIXTURES
from tests.fuzz.target import PART, Target, parts
from tests.kafka.deployment import Counts
from tests.signals import signal
from tests.streams import START_MS, block, event
from tests.test_blocks import rows
from tests.test_feedback_webhook import ALERT, KEY, NOW_S, SAID, Log, body_of, headers, webhook
from tests.test_fetch import GZIP, LZ4, NONE, SNAPPY, ZSTD, Row, built, log_of, ours, signed, theirs
from tests.test_wire import FIRST, GOOD

MAIL: Final = email.Settings(
    name="m", kind="email", host="127.0.0.1", sent_from="a@b.example", sent_to=("c@d.example",)
)
NOW: Final = datetime(2025, 1, 1, tzinfo=UTC)
CONFIG: Final = Config(kafka=Kafka(topics=("access",), partitions=3), record_bytes_max=4_096)


def fetched(data: bytes) -> None:
    """A batch whose checksum is right: whatever lies in it, it gives what the client's own reader gives."""
    raw = bytearray(data)
    if len(raw) < 61 or raw[16] != 2:
        return
    raw[8:12] = (len(raw) - 12).to_bytes(4)
    log = bytes(signed(raw))
    due = found = None
    with suppress(KafkaError):
        found = ours(log, 0)
    with suppress(Exception):  # whatever the client refuses a batch with: it is not what is tested
        due = theirs(log, 0)
    assert found == due or due is None or found is None or attributed(log)


def attributed(log: bytes) -> bool:
    """Whether a record has attributes of 128 or more, which mean nothing: aiokafka reads two bytes for the one."""
    head, data = decompressed(Head(*HEAD.unpack_from(log)), memoryview(log))
    at = 0
    for _ in range(head.records):
        length, at = _varint(np.frombuffer(data, np.uint8), at)
        if data[at] >= 128:
            return True
        at += length
    return False


def batches() -> list[bytes]:
    """One of each compression."""
    made = [Row(0, START_MS, b"k", b'{"a": 1}', [("h", b"v")]), Row(1, START_MS + 1, None, None, [])]
    return [log_of([built(made, kind)], 0) for kind in (NONE, GZIP, SNAPPY, LZ4, ZSTD)]


def ingested(data: bytes) -> None:
    """Every record of a topic becomes an event or a dead letter, and what is sent can be read by who detects."""
    records = [Record(n, value, START_MS) for n, value in enumerate(data.split(PART)[:8])]
    told: set[int] = set()
    for message in Ingest(CONFIG, "access", 0, Counts()).take(Batch.of(records), silent=False, more=False):
        if message.partition is None:
            told.add(msgspec.json.decode(message.value)["offset"])
        else:
            told |= set(wire.decode(message.value).block.line.tolist())
    silent = {n for n, record in enumerate(records) if _may_be_nothing(record.value)}
    assert told | silent == {record.offset for record in records}


def _may_be_nothing(value: bytes) -> bool:
    """Whether some format says of the record that there is neither an event nor a mistake in it."""
    found = detect([value])
    with suppress(BadRecord):
        return found is not None and found.decode(value) == []
    return False


def values() -> list[bytes]:
    """Records of several formats together."""
    lines = [path.read_bytes().splitlines()[0] for path in sorted(FIXTURES.iterdir())]
    return [*lines, PART.join(lines[:4]), PART.join([lines[-1], b"", b"\0\0\0\0\1x"])]


def observed(data: bytes) -> None:
    """A message is refused or is a block; it can be sent again, hashed, cut and joined, and scored."""
    try:
        sent = wire.decode(data)
    except BadBlock:
        return
    given = sent.block
    again = wire.decode(wire.encode(given, sent.watermark_ms, sent.more))
    assert rows(again.block) == rows(given)
    assert again.origin == sent.origin
    given.hashes(TEXTS, hash_key("k"))
    assert all(len(last_numbers(column)) == len(given) for column in given.text.values())
    half = len(given) // 2
    assert rows(blocks.joined([given.part(0, half), given.part(half, len(given)).columns()])) == rows(given)
    score([given], sent.watermark_ms)


def filled(data: bytes) -> None:
    """Whatever names and addresses a block has, it is filled in, and is a block that can be sent."""
    try:
        given = wire.decode(data).block
    except BadBlock:
        return
    made = enricher().fill(given)
    assert len(made) == len(given)
    assert rows(wire.decode(wire.encode(made)).block) == rows(made)


@cache
def enricher() -> Enricher:
    """With a rule, families of clients and ranges."""
    rule = Identity(pattern="(?P<who>[a-z0-9]+)@(?P<where>.*)", account="{who}", role="{where}")
    ranges: Named = {"office": ("203.0.113.0/24", "private", "2001:db8::/32")}
    return Enricher(Enrich(networks=ranges, identities=(rule,), client_families=True), "k", lambda _said: None)


def score(given: list[PackedBlock], watermark_ms: int) -> None:
    """Take blocks in as a worker does, and come to the end; what it found can be told."""
    found: list[signals.Signal] = []
    pipeline = Pipeline(CONFIG, lambda _alert: None, on_signal=found.append, partition=0)
    aligner = Aligner()
    for each in given:
        for ready in aligner.add(each, each.origins[0] if each.origins else "", watermark_ms, False):
            pipeline.take(ready)
    pipeline.finish()
    msgspec.json.encode(pipeline.save()[0])
    for each_found in found:
        signals.decode(signals.encode(each_found))


@cache
def messages() -> list[bytes]:
    """Blocks with something in every column."""
    events = [
        event(
            START_MS + 1000 * n, f"a{n % 3}", ("login", "read", "export")[n % 3], f"/r/{n}", subject=f"s-{n}",
            object=f"o-{n}.pdf", country="SE", group="g", asn=64_500, records=n,
        )
        for n in range(12)
    ]  # fmt: skip
    return [GOOD, FIRST, wire.encode(blocks.packed(block(events, "kafka:access/0")), START_MS, True)]


def merged(data: bytes) -> None:
    """Signals are refused, or merged, told and kept as `stream.respond` does it, over one partition and over four."""
    alert = None
    for partitions in (1, 4):
        desk, merger = Desk(), Merger(msgspec.structs.replace(CONFIG, kafka=Kafka(partitions=partitions)))
        for line in data.split(b"\n")[:6]:
            try:
                given = signals.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            desk.tick(given.told)
            _, told = merger.take(given)
            if told is not None:
                alert = alert_of(told, words_of_all(), "")
                encode_alert(alert)
                desk.decide(alert, told.told)
        Merger(CONFIG).put(unpack(value) for value in merger.changes().values() if value is not None)
    if alert is not None:
        deliver(alert)


def deliver(alert: Alert) -> None:
    """An alert can be read back, and can be put as every subscriber wants it."""
    assert list(decoded([("t", encode_alert(alert))], Unread())) == [alert]
    for fmt in alert_formats().values():
        assert b"\n" not in fmt.encode(alert)
        orjson.loads(fmt.encode(alert))
    for made in (slack.message(alert), pagerduty.event(alert, "k"), alertmanager.posted(alert, NOW)):
        msgspec.json.encode(made)
    assert email.written(alert, MAIL).as_bytes()


@cache
def words_of_all() -> dict[str, Detector]:
    """Every detector, for its words."""
    return {name: words(CONFIG, name) for name in catalog.detector_ids()}


def found_signals() -> list[bytes]:
    """Of several partitions about one key, and their end."""
    opened = [signal(n, related=(("network", "AS64500"),)) for n in range(3)]
    closed = [signal(n, revision=2, status="closed") for n in range(2)]
    return [b"\n".join(map(signals.encode, each)) for each in (opened, opened + closed, [signal(0, "fleet", "fleet")])]


def kept(data: bytes) -> None:
    """What the changelog holds of an incident is one, with which another process goes on, or is refused."""
    merger = Merger(CONFIG)
    try:
        group = unpack(data)
    except BadGroup:
        return
    merger.put([group])


def groups() -> list[bytes]:
    """One, packed and not."""
    made = Group(id="tl-1", parts={"tl-1": signal(0)}, opened=True, revision=1, told_score=3.0)
    return [pack(made), msgspec.json.encode(made)]


def chained(data: bytes) -> None:
    """A record follows from the log of feedback or is counted; what it says is heeded. The first byte says whether the
    hashes are made right."""  # fmt: skip
    chain, seal = Chain(), data[:1] == b"+"
    for line in data[1:].split(b"\n")[:6]:
        chain.add(_sealed(line, chain) if seal else line, "topic/0 offset 1")
    desk = Desk()
    desk.take(chain.entries)
    for now_ms in (0, START_MS, 2**62):
        desk.tick(now_ms)
        desk.decide(ALERT, now_ms)
        desk.ranking.bits([("volume", "account", 1200.0)])


def _sealed(line: bytes, chain: Chain) -> bytes:
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, TypeError):
        return encode(sealed(msgspec.json.decode(line, type=Entry), chain.entries))
    return line


def entries() -> list[bytes]:
    """Verdicts, a mute and its end, with hashes that are made and that are there."""
    about = feedback.about(ALERT, {"volume on account": 1.0})
    mute = Mute((ALERT.entity,), ("volume",), START_MS, START_MS + 10)
    said = [
        Entry(feedback.SCHEMA, 0, START_MS, "ann", "", **each)
        for each in ({"verdict": "false", "note": "n", "about": about}, {"mute": mute}, {"revokes": 2}, {"reset_ms": 5})
    ]
    chain: list[Entry] = []
    for each in said:
        chain.append(sealed(each, chain))
    return [b"+" + b"\n".join(map(encode, said)), b"-" + b"\n".join(map(encode, chain))]


def posted(data: bytes) -> None:
    """A request is answered, whatever its body is and whoever signed it; what was kept is an entry of the log."""
    signed_by, body = data[:1], data[1:]
    log, answers = Log(), list[str]()
    given = headers(body, key=KEY if signed_by != b"-" else "whsec_b3RoZXI=")
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in given.items()}
    if signed_by == b"?":  # headers of their own
        line, body = parts(body, 2)
        names = ("HTTP_WEBHOOK_ID", "HTTP_WEBHOOK_TIMESTAMP", "HTTP_WEBHOOK_SIGNATURE", "CONTENT_LENGTH")
        environ |= dict(zip(names, line.decode("latin-1").split("\n"), strict=False))
    environ = {"CONTENT_LENGTH": str(len(body)), **environ, "PATH_INFO": "/feedback", "REQUEST_METHOD": "POST"}
    out = webhook(log)({**environ, "wsgi.input": Body(body)}, lambda status, _headers: answers.append(status))
    answer = msgspec.json.decode(b"".join(out))
    assert answers[0][:3] == "200" or "error" in answer
    chain = Chain()
    assert all(chain.add(encode(entry), "t") for entry in log.entries)


class Body:
    """As a server hands a body over."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, count: int) -> bytes:
        return self._data[:count]


def requests() -> list[bytes]:
    """Bodies that are heard and that are not."""
    mute = SAID | {"mute": {"for_s": 60.0, "entities": [{"kind": "account", "value": "ann"}], "detectors": ["volume"]}}
    own = f"msg-1\n{NOW_S}\nv1,abc v1,def\n9".encode()
    return [b"+" + body_of(SAID), b"+" + body_of(mute), b"-" + body_of(SAID), b"?" + own + PART + body_of(SAID)]


TARGETS: Final = [
    Target("fetch", fetched, batches, compiled=True), Target("ingest", ingested, values, compiled=True),
    Target("blocks", observed, messages, compiled=True),
    Target("enrich", filled, messages, compiled=True),
    Target("signals", merged, found_signals),
    Target("kept", kept, groups), Target("feedback", chained, entries), Target("webhook", posted, requests),
]  # fmt: skip
