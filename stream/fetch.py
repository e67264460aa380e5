"""A consumer whose `getmany` gives each partition's records as a `Batch`: aiokafka's, but for how records are unpacked.

aiokafka makes an object of every record, which takes longer than to decode and to score it. Here a compiled loop finds
where the values lie in the record batches of a fetch (Kafka's format v2). All else remains aiokafka's: what is fetched
and when, positions, and which transactions were taken back. To this end aiokafka's fetcher is loaded a second time,
with three of its names replaced, and no other consumer in the process notices.

The versions whose insides are known are VERSIONS; with any other the consumer is aiokafka's own, and slower.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import logging
import struct
import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, Final, NamedTuple

import aiokafka
import cramjam
import numpy as np
import zstandard
from aiokafka import codec
from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    UnsupportedCodecError,
    UnsupportedForMessageFormatError,
)
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from detectors.kernels import inline, kernel
from stream.batch import Batch
from stream.records import I64, Records
from stream.siphash import U8

log = logging.getLogger("tripline")

VERSIONS: Final = ("0.14.0",)
LENGTH: Final = struct.Struct(">8xi")  # how a record batch begins: the number of bytes behind this
MAGIC_AT: Final = 16  # the version of the format
BYTES_MIN: Final = 26  # of a record batch in the oldest format
V2: Final = 2
HEAD: Final = struct.Struct(">q4x4xxIhiqqq2x4xi")  # of version 2, as in `Head`
CRC_FROM: Final = 21
CODEC, LOG_APPEND_TIME, TRANSACTIONAL, CONTROL = 7, 8, 16, 32  # bits of the attributes
RECORD_BYTES_MIN: Final = 7
UNPACKED_BYTES_MAX: Final = 64 << 20  # of a record batch, which is some megabytes at most where somebody sends events
BEYOND: Final = 1 << 62  # a place behind all data: where something was cut off
CORRUPT: Final = -1

Data = bytes | memoryview


class Head(NamedTuple):
    """Of a record batch."""

    offset: int
    crc: int
    attributes: int
    last_delta: int
    first_ms: int
    most_ms: int
    producer: int
    records: int

    @property
    def next_offset(self) -> int:
        """What comes behind it; records that it had may be gone."""
        return self.offset + self.last_delta + 1


@inline
def _varint(data: U8, at: int) -> tuple[int, int]:
    """The zigzag number at a place, and the place behind it; BEYOND where it is cut off or has more than 64 bits."""
    value, shift = np.uint64(0), np.uint64(0)
    while at < data.shape[0] and shift < np.uint64(64):
        byte = np.uint64(data[at])
        at += 1
        value |= (byte & np.uint64(127)) << shift
        if byte < np.uint64(128):
            return int(np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1))), at
        shift += np.uint64(7)
    return 0, BEYOND


@inline
def _field(data: U8, at: int) -> tuple[int, int]:
    """Where the bytes begin and end whose length stands at a place; there are none where it is negative."""
    length, at = _varint(data, at)
    if length > data.shape[0] - at:
        return BEYOND, BEYOND
    return at, at + max(length, 0)


@kernel
def _unpack(data: U8, heads: I64, position: int, columns: I64) -> tuple[int, int]:
    """columns[:, i] = offset, time, and where its value begins and ends, of the i-th record from `position` on.

    heads: int64[n, 6], of each record batch where its records end in data, their number, the offset and the time that
    theirs are counted from, the time of all, and whether that holds. columns: int64[4, sum of the numbers]. How many
    there are from `position` on, or CORRUPT; and the most headers that one has.
    """
    at, found, headers_most = 0, 0, 0
    for batch in range(heads.shape[0]):
        for _ in range(heads[batch, 1]):
            length, at = _varint(data, at)
            end = at + length
            delta_ms, at = _varint(data, at + 1)  # behind its attributes, which mean nothing yet
            delta, at = _varint(data, at)
            _, at = _field(data, at)
            start, stop = _field(data, at)
            headers, at = _varint(data, stop)
            if headers < 0:
                return CORRUPT, 0
            for _ in range(headers):
                size, at = _varint(data, at)
                if size < 0 or size > data.shape[0] - at:
                    return CORRUPT, 0
                _, at = _field(data, at + size)
            if at != end:
                return CORRUPT, 0
            offset = heads[batch, 2] + delta
            if offset >= position:
                columns[0, found] = offset
                columns[1, found] = heads[batch, 4] if heads[batch, 5] else heads[batch, 3] + delta_ms
                columns[2, found] = start
                columns[3, found] = stop
                position = offset + 1
                found += 1
                headers_most = max(headers_most, headers)
        if at != heads[batch, 0]:
            return CORRUPT, 0
    return found, headers_most


def unpacked(batches: list[tuple[Head, Data]], position: int) -> Batch:
    """The records from `position` on of record batches, each with the bytes of its records, decompressed.

    Raises CorruptRecordException.
    """
    data = b"".join([part for _, part in batches])
    heads = np.empty((len(batches), 6), np.int64)
    end = 0
    for row, (head, part) in zip(heads, batches, strict=True):
        if not 0 <= head.records <= len(part) // RECORD_BYTES_MIN:
            raise CorruptRecordException(f"offset {head.offset}: {head.records} records in {len(part)} bytes")
        if not 0 <= head.offset < BEYOND:  # an offset that its records' would wrap around is none of a broker's
            raise CorruptRecordException(f"offset {head.offset}: a log has none below 0 or from {BEYOND} on")
        end += len(part)
        row[:] = (
            end, head.records, head.offset, head.first_ms, head.most_ms, head.attributes & LOG_APPEND_TIME
        )  # fmt: skip
    columns = np.empty((4, int(heads[:, 1].sum())), np.int64)
    found, headers = _unpack(np.frombuffer(data, np.uint8), heads, position, columns)
    if found == CORRUPT:
        raise CorruptRecordException(f"offset {batches[0][0].offset} and behind: no records of format v2")
    offsets, times, starts, stops = columns[:, :found]
    values = Records(data, starts, stops)
    # Behind each value lies twice the number of headers: a control character, as `Records` wants it, up to 15 of them.
    return Batch(offsets, times, values if 2 * headers < 32 else Records.of(list(values)))


def decompressed(head: Head, raw: memoryview) -> tuple[Head, Data]:
    """A record batch with the bytes of its records. Raises CorruptRecordException, UnsupportedCodecError.

    One that unpacks to more than UNPACKED_BYTES_MAX, as a megabyte of a producer's can to thirty gigabytes, gets a
    record in the place of its own, which says so: no format reads it, and so it is a dead letter, and the partition
    goes on.
    """
    number, payload = head.attributes & CODEC, raw[HEAD.size :]
    if number == 0:
        return head, payload
    if number not in CODECS:
        raise UnsupportedCodecError(f"compression {number} is none of {sorted(CODECS)}")
    try:
        data = CODECS[number](payload)
    except Exception as why:  # each of the libraries has errors of its own
        raise CorruptRecordException(f"compression {number}: {why}") from why
    if len(data) <= UNPACKED_BYTES_MAX:
        return head, data
    said = (
        f"left out: offsets {head.offset} to {head.next_offset - 1}, whose {len(payload)} bytes unpack to more than "
        f"{UNPACKED_BYTES_MAX}"
    )
    return head._replace(records=1, attributes=head.attributes & ~CODEC), _record(said.encode())


def _record(value: bytes) -> bytes:
    """A record of format v2 of 64 to 8191 bytes, without a key, at the offset and the time of its batch."""
    size = 2 * len(value)
    body = b"\0\0\0\1" + bytes([size & 127 | 128, size >> 7]) + value + b"\0"
    size = 2 * len(body)
    return bytes([size & 127 | 128, size >> 7]) + body


def _gzip(payload: memoryview) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(payload)) as file:
        return file.read(UNPACKED_BYTES_MAX + 1)


def _zstd(payload: memoryview) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(payload, read_across_frames=True) as file:
        return file.read(UNPACKED_BYTES_MAX + 1)


def _lz4(payload: memoryview) -> Data:
    return memoryview(cramjam.lz4.decompress(payload))


# gzip and zstd are told where to stop; snappy's bytes become 22 times as many at most, and those of lz4 255 times.
CODECS: Final[dict[int, Callable[[memoryview], Data]]] = {1: _gzip, 2: codec.snappy_decode, 3: _lz4, 4: _zstd}


class _Fetched(MemoryRecords):  # type: ignore[misc]  # aiokafka has no types
    """What came of a partition in an answer of a broker."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


def _loaded(name: str) -> ModuleType:
    """A module of aiokafka once more, which nobody else has."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def fetcher_of() -> Any:
    """aiokafka's fetcher, which keeps records as they came and hands them out as batches."""
    fetcher: Any = _loaded("aiokafka.consumer.fetcher")

    class Unpacked(fetcher.PartitionRecords):  # type: ignore[misc]
        """What was fetched of a partition and not yet asked for; `next_fetch_offset` is behind what was."""

        def __init__(self, tp: Any, records: _Fetched, *more: Any) -> None:
            super().__init__(tp, records, *more)
            self._data = memoryview(records.data)
            self._at = 0
            self._left: Batch | None = None  # of what was unpacked
            self._behind = 0  # the offset behind that

        @property
        def done(self) -> bool:
            """Nothing is left."""
            return self._left is None and self._at == len(self._data)

        def take(self, most: int) -> Batch:
            """The next records, `most` at most; none where there are no more, and sometimes before.

            Raises KafkaError for what is damaged or unknown: nothing is left then, and all is fetched again.
            """
            try:
                whole = self._left or self._pulled(most)
            except KafkaError:
                self._at = len(self._data)
                raise
            except (ValueError, TypeError, struct.error) as why:  # by aiokafka's reader of how a transaction ends
                self._at = len(self._data)
                raise CorruptRecordException(f"{self._tp}: the end of a transaction that is none: {why}") from why
            self._left = whole[most:] or None
            self.next_fetch_offset = int(whole.offsets[most]) if self._left else self._behind
            return whole[:most]

        def _pulled(self, most: int) -> Batch:
            """The records of as many record batches as it takes for `most`."""
            batches: list[tuple[Head, Data]] = []
            count, size, self._behind = 0, 0, self.next_fetch_offset
            while count < most and size < UNPACKED_BYTES_MAX and (raw := self._next()):
                if raw[MAGIC_AT] != V2:
                    raise UnsupportedForMessageFormatError(
                        f"{self._tp}: records of format {raw[MAGIC_AT]}; only {V2} is read, which is Kafka's since 0.11"
                    )
                if len(raw) < HEAD.size:
                    raise CorruptRecordException(f"{self._tp}: a record batch of {len(raw)} bytes")
                head = Head(*HEAD.unpack_from(raw))
                if self._check_crcs and calc_crc32c(raw[CRC_FROM:]) != head.crc:
                    raise CorruptRecordException(f"{self._tp}: the record batch at offset {head.offset} is damaged")
                if not self._passed_over(head, raw):
                    batches.append(decompressed(head, raw))
                    count += batches[-1][0].records
                    size += len(batches[-1][1])
                self._behind = head.next_offset
            return unpacked(batches, self.next_fetch_offset) if batches else Batch.of(())

        def _next(self) -> memoryview:
            """All bytes of the next record batch; none where there is no whole one."""
            start, self._at = self._at, len(self._data)
            if self._at - start < LENGTH.size:
                return self._data[:0]
            end = start + LENGTH.size + LENGTH.unpack_from(self._data, start)[0]
            if end - start < BYTES_MIN:
                raise CorruptRecordException(f"{self._tp}: a record batch of {end - start} bytes")
            if end > len(self._data):
                return self._data[:0]
            self._at = end
            return self._data[start:end]

        def _passed_over(self, head: Head, raw: memoryview) -> bool:
            """Whether a record batch has no records for us: a transaction's end, or of one that was taken back."""
            control = bool(head.attributes & CONTROL)
            if self._isolation_level == fetcher.READ_COMMITTED:
                self._consume_aborted_up_to(head.offset)
                if control and self._contains_abort_marker(DefaultRecordBatch(bytes(raw))):
                    self._aborted_producers.discard(head.producer)
                if head.attributes & TRANSACTIONAL and head.producer in self._aborted_producers:
                    return True
            return control

    class Result(fetcher.FetchResult):  # type: ignore[misc]
        """As aiokafka's, but for what it gives."""

        _partition_records: Unpacked | None

        def getall(self, max_records: int | None = None) -> Batch:
            records = self._partition_records
            if records is None or not self.check_assignment(self._topic_partition):
                return Batch.of(())
            batch = records.take(max_records or sys.maxsize)
            self._update_position()
            if records.done:
                self._partition_records = None
            return batch

    fetcher.MemoryRecords, fetcher.PartitionRecords, fetcher.FetchResult = _Fetched, Unpacked, Result
    return fetcher


@cache
def consumer_of(version: str = aiokafka.__version__) -> Any:
    """The class of consumers that give `Batch`es; where aiokafka's insides are not known, its own."""
    if version not in VERSIONS:
        log.warning(
            "aiokafka %s is none of %s, whose insides are known: records are taken one by one, and take longer",
            version, ", ".join(VERSIONS),
        )  # fmt: skip
        return aiokafka.AIOKafkaConsumer
    consumer: Any = _loaded("aiokafka.consumer.consumer")
    consumer.Fetcher = fetcher_of().Fetcher
    return consumer.AIOKafkaConsumer


def gather(consumer: Any, wait_ms: int) -> None:
    """Let the brokers wait that long for a lot to come together, from the next fetch on.

    aiokafka has no setting for it once a consumer is made. One whose insides are not known keeps what it was made with.
    """
    if aiokafka.__version__ in VERSIONS and isinstance(consumer, consumer_of()):
        consumer._fetcher._fetch_max_wait_ms = wait_ms
