"""What the consumer gives as columns is what aiokafka gives as records, whatever lies in the log."""

from __future__ import annotations

import asyncio
import logging
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import aiokafka
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError, UnsupportedForMessageFormatError
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from stream import fetch, kafka
from stream.config import Kafka
from stream.decode import detect
from stream.fetch import consumer_of, fetcher_of, gather

TP = TopicPartition("access", 0)
NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
LOG_APPEND_TIME, CONTROL = 8, 32
ABORT, COMMIT = b"\x00\x00\x00\x00", b"\x00\x00\x00\x01"
BASE, ATTRIBUTES, CRC, MAX_TIME = 0, 21, 17, 35
Rows = list[tuple[int, int, bytes]]


class Row(NamedTuple):
    """One record to be; gap: offsets before it that compaction took away."""

    gap: int
    time: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def built(rows: list[Row], compression: int, producer: int = -1, flags: int = 0, behind: int = 0) -> bytearray:
    """A record batch at offset 0; flags: more attributes; behind: offsets at its end that compaction took away."""
    builder = DefaultRecordBatchBuilder(2, compression, producer >= 0, producer, 0, 0, 1 << 20)
    offset = 0
    for row in rows:
        offset += row.gap
        builder.append(offset, row.time, row.key, row.value, row.headers)
        offset += 1
    raw = builder.build()
    struct.pack_into(">i", raw, 23, offset + behind - 1)
    struct.pack_into(">h", raw, ATTRIBUTES, struct.unpack_from(">h", raw, ATTRIBUTES)[0] | flags)
    return signed(raw)


def signed(raw: bytearray) -> bytearray:
    """The batch with the checksum that is right for it."""
    struct.pack_into(">I", raw, CRC, calc_crc32c(bytes(raw[ATTRIBUTES:])))
    return raw


def ending(producer: int, key: bytes) -> bytearray:
    """A control batch: the end of a transaction."""
    return built([Row(0, 0, key, b"\x00" * 6, [])], NONE, producer, CONTROL)


def log_of(batches: list[bytearray], offset: int) -> bytes:
    """The batches one behind the other, from an offset on."""
    for raw in batches:
        struct.pack_into(">q", raw, BASE, offset)
        offset += struct.unpack_from(">i", raw, 23)[0] + 1
    return b"".join(batches)


def theirs(data: bytes, position: int, aborted: Any = None) -> tuple[Rows, int] | None:
    """What aiokafka gives: records, and the position behind; None where it refuses."""
    records = PartitionRecords(TP, MemoryRecords(data), aborted, position, None, None, True, READ_COMMITTED)
    try:
        rows = [(r.offset, r.timestamp, r.value or b"") for r in records]
    except (CorruptRecordException, UnsupportedCodecError, UnicodeDecodeError):
        return None
    return rows, records.next_fetch_offset


def ours(
    data: bytes, position: int, aborted: Any = None, most: Callable[[], int] = lambda: 1 << 60,
    stops: list[tuple[int, int]] | None = None,
) -> tuple[Rows, int] | None:  # fmt: skip
    """What we give; into `stops`, after each time how many there were until then, and the position."""
    fetcher: Any = fetcher_of()
    fetched = fetcher.MemoryRecords(data)
    records = fetcher.PartitionRecords(TP, fetched, aborted, position, None, None, True, READ_COMMITTED)
    rows: Rows = []
    try:
        while not records.done:
            size = most()
            batch = records.take(size)
            assert len(batch) <= size
            assert all(batch.values.data[stop] < 32 for stop in batch.values.stops.tolist())
            rows += batch
            if stops is not None:
                stops.append((len(rows), records.next_fetch_offset))
    except (CorruptRecordException, UnsupportedCodecError):
        assert records.done
        return None
    return rows, records.next_fetch_offset


values = st.none() | st.binary(max_size=40)
headers = st.lists(st.tuples(st.text(max_size=4), values), max_size=20)
rows = st.builds(Row, st.integers(0, 3), st.integers(0, 2**41), values, values, headers)
batches = st.builds(
    built, st.lists(rows, min_size=1, max_size=6), st.sampled_from([NONE, GZIP, SNAPPY, LZ4, ZSTD]),
    st.integers(-1, 2), st.sampled_from([0, LOG_APPEND_TIME]), st.integers(0, 2),
)  # fmt: skip
endings = st.builds(ending, st.integers(0, 2), st.sampled_from([ABORT, COMMIT]))
logs = st.builds(log_of, st.lists(batches | endings, max_size=6), st.integers(0, 2**40))


@settings(deadline=None)
@given(log=logs, data=st.data())
def test_records_and_positions_are_aiokafkas(log: bytes, data: st.DataObject) -> None:
    """However few are asked for at a time, from wherever in the first batch, whichever transactions are taken back."""
    first, last = struct.unpack_from(">q15xi", log) if log else (0, 0)
    position = first + data.draw(st.integers(0, last))
    aborted = data.draw(st.lists(st.tuples(st.integers(0, 2), st.integers(first, first + 8)), max_size=3))
    due = theirs(log, position, list(aborted))
    assert due is not None
    assert ours(log, position, list(aborted)) == due
    stops: list[tuple[int, int]] = []
    assert ours(log, position, list(aborted), lambda: data.draw(st.integers(1, 4)), stops) == due
    offsets = [offset for offset, _, _ in due[0]]
    for count, behind in stops:  # whoever begins anew there gets the rest
        assert all(offset < behind for offset in offsets[:count])
        assert all(offset >= behind for offset in offsets[count:])


@pytest.mark.parametrize("kind", [GZIP, ZSTD])
def test_a_batch_that_unpacks_to_gigabytes_is_left_out_and_says_so(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The partition goes on behind it, and no more memory is taken than may be."""
    monkeypatch.setattr(fetch, "UNPACKED_BYTES_MAX", 1 << 20)
    small, large = Row(0, 7, None, b"{}", []), Row(0, 9, b"k", bytes(8 << 20), [("h", b"v")])
    log = log_of([built([small], kind), built([large], kind, behind=1), built([small], kind)], 5)
    ours(log, 0)  # compiles what is not yet compiled, which takes memory of its own
    tracemalloc.start()
    found = ours(log, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is not None
    rows, behind = found
    assert [(offset, time) for offset, time, _ in rows] == [(5, 7), (6, 9), (8, 7)]
    assert rows[1][2].startswith(b"left out: offsets 6 to 7, whose ")
    assert behind == 9
    assert peak < 4 << 20
    assert detect([rows[1][2]]) is None


@pytest.mark.parametrize("kind", [NONE, GZIP, SNAPPY, LZ4, ZSTD])
def test_what_is_taken_at_once_has_a_limit_and_all_of_it_comes(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "UNPACKED_BYTES_MAX", 1 << 20)
    log = log_of([built([Row(0, n, None, bytes([n]) * 400_000, [])], kind) for n in range(9)], 0)
    sizes: list[tuple[int, int]] = []
    assert ours(log, 0, stops=sizes) == theirs(log, 0)
    assert [count for count, _ in sizes] == [3, 6, 9]


@pytest.mark.parametrize("key", [ABORT, b"\x00", None])
def test_an_end_of_a_transaction_that_is_none_is_damage(key: bytes | None) -> None:
    raw = built([Row(0, 0, key, b"\x00" * 6, [("é", None)])], NONE, 1, CONTROL)
    if key == ABORT:
        raw = raw.replace("é".encode(), b"\xc9\x20")
    assert ours(log_of([signed(raw)], 0), 0) is None


@pytest.mark.parametrize("offset", [-(2**63), -1, 2**62])
def test_an_offset_that_no_log_has_is_damage(offset: int) -> None:
    """Those of its records would wrap around."""
    raw = built([Row(0, 0, None, b"value", [])] * 2, NONE)
    assert ours(log_of([raw], 2**62 - 1), 0) is not None
    assert ours(log_of([raw], offset), 0) is None


@pytest.mark.parametrize("most_ms", [-1, 0, 2**40])
def test_the_time_of_the_append_is_the_batchs_whatever_it_is(most_ms: int) -> None:
    """No producer's own time stands in for one that a broker did not know."""
    raw = built([Row(0, 7, None, b"value", [])], NONE, flags=LOG_APPEND_TIME)
    struct.pack_into(">q", raw, MAX_TIME, most_ms)
    log = bytes(signed(raw))
    assert ours(log, 0) == theirs(log, 0) == ([(0, most_ms, b"value")], 1)


@settings(deadline=None)
@given(log=logs, cut=st.floats(0, 1))
def test_what_is_cut_off_is_fetched_again(log: bytes, cut: float) -> None:
    """A broker cuts where it has sent enough."""
    part = log[: int(cut * len(log))]
    assert ours(part, 0) == theirs(part, 0)


@settings(deadline=None)
@given(raw=batches, at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused(raw: bytearray, at: float, bit: int) -> None:
    """Where the checksum covers it."""
    raw[CRC + int(at * (len(raw) - CRC))] ^= 1 << bit
    assert ours(bytes(raw), 0) is None
    assert theirs(bytes(raw), 0) is None


plain = st.builds(Row, st.integers(0, 3), st.integers(0, 2**41), values, values, st.just([]))


@settings(deadline=None)
@given(
    raw=st.builds(built, st.lists(plain, min_size=1, max_size=6), st.just(NONE)), at=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)  # fmt: skip
def test_a_batch_that_lies_is_never_read_beyond_its_end(raw: bytearray, at: float, bit: int) -> None:
    """A checksum that is right proves nothing about lengths: clients write both."""
    place = 61 + int(at * (len(raw) - 61))
    raw[place] ^= 1 << bit
    got = ours(bytes(signed(raw)), 0)
    due = theirs(bytes(raw), 0)
    assert got is None or due is None or got == due
    if got is not None:
        assert all(len(value) < len(raw) for _, _, value in got[0])


@pytest.mark.parametrize("compression", [GZIP, SNAPPY, LZ4, ZSTD, 5])
def test_what_no_library_can_decompress_is_refused(compression: int) -> None:
    """Not an error of a library's own, which nobody would expect."""
    raw = built([Row(0, 0, None, b"value", [])], NONE, flags=compression)
    assert ours(bytes(raw), 0) is None


@pytest.mark.parametrize("magic", [0, 1, 3])
def test_a_format_that_is_not_known_is_no_damage(magic: int) -> None:
    """To fetch it again does not help: a person has to see to it."""
    raw = built([Row(0, 0, None, b"value", [])], NONE)
    raw[16] = magic
    with pytest.raises(UnsupportedForMessageFormatError, match=f"format {magic}") as why:
        ours(bytes(raw), 0)
    assert not why.value.retriable


def test_the_version_that_is_installed_is_known_and_another_is_told_about(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever raises aiokafka's version sees that its insides have to be looked at again."""
    assert consumer_of() is not aiokafka.AIOKafkaConsumer
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "tripline"):
        assert consumer_of("99.0") is aiokafka.AIOKafkaConsumer
    assert "aiokafka 99.0" in caplog.text


def test_how_long_brokers_gather_is_what_they_are_asked_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a consumer whose insides are known; another is left as it was made."""

    async def asked(wait_ms: int) -> Any:
        consumer = kafka.consumer(Kafka(topics=("access",)), "group", "", consumer_of())
        consumer._subscription.subscribe(topics={"access"})
        consumer._subscription.assign_from_subscribed([TP])
        monkeypatch.setattr(consumer._client.cluster, "leader_for_partition", lambda _tp: 1)
        assignment = consumer._subscription.subscription.assignment
        consumer._fetcher = fetcher_of().Fetcher(consumer._client, consumer._subscription, fetch_max_wait_ms=200)
        assignment.state_value(TP).seek(0)
        gather(consumer, wait_ms)
        [(_, request)], *_ = consumer._fetcher._get_actions_per_node(assignment)
        await consumer._fetcher.close()
        consumer._closed = True  # it was never started
        return request._max_wait_ms

    assert [asyncio.run(asked(ms)) for ms in (7, 400)] == [7, 400]
    monkeypatch.setattr(fetch, "VERSIONS", ())
    assert asyncio.run(asked(7)) == 200
