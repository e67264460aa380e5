"""Ingest: records of an access topic become observations, split by account, or dead letters.

An account's events go to one partition of the observations, and with them its credentials and most of its addresses.
What accounts share (an issuer, a network, a page) is seen by each partition as a sample of its traffic, and what the
partitions find of it is added up where alerts are made.
"""

from __future__ import annotations

import base64
import time
from collections import Counter
from itertools import pairwise
from typing import Final, Protocol

import numpy as np
import orjson

from stream import blocks, wire
from stream.batch import Batch, Record
from stream.blocks import PackedBlock
from stream.checks import TIME_MS_END
from stream.config import Config
from stream.deadletters import RAW_BYTES_MAX
from stream.decode import Format, decode_packed, detect, format_named
from stream.endpoint import NoAnswer
from stream.enrich.enricher import Enricher
from stream.errors import TriplineError
from stream.events import BadRecord, Rejected
from stream.records import Records
from stream.registry import Decode, Registry, is_framed, unframed
from stream.siphash import I64, hash_key
from stream.transact import Message, NotNow

BLOCK_EVENTS: Final = 8_192
BLOCK_BYTES_MAX: Final = 800_000  # well below what a broker takes as one message: clients choose how long texts are
APPENDED_MIN: Final = 946_684_800_000


class Counts(Protocol):
    """What the stages of a worker count together."""

    dead_letters: Counter[str]  # by reason
    alerts: Counter[tuple[str, str]]  # by status and severity
    ingested: Counter[str]  # events by topic
    future: int
    stage_s: dict[str, float]  # seconds by stage


class Ingest:
    """The stage of one partition of an access topic: a function of its records, but for the format that it was told."""

    stateless = True

    def __init__(
        self, config: Config, topic: str, partition: int, counts: Counts, registry: Registry | None = None,
        enricher: Enricher | None = None,
    ) -> None:  # fmt: skip
        self._config = config
        self._topic = topic
        self._registry = registry
        self._enricher = enricher
        self._origin = f"kafka:{topic}/{partition}"
        self._key = hash_key(config.hash_key)
        self._format: Format | None = None if config.format == "auto" else format_named(config.format)
        self._counts = counts
        self.watermark_ms = 0
        self._behind = False  # the partitions were told that more was waiting

    def recover(self, committed: int | None, beginning: int, end: int) -> int:
        """There is no state: what was committed is where to go on."""
        if committed is not None and committed < beginning:
            raise TriplineError(
                f"{self._origin}: offset {committed} is committed, but the broker has nothing before {beginning} any "
                "more: records are lost. Nothing is skipped by itself: reset the group's offsets to go on with the rest"
            )
        if committed is not None:
            return committed
        return beginning if self._config.kafka.start == "earliest" else end

    def announced(self, more: bool) -> list[Message]:
        """Where there is something to catch up with, a word to every partition: this origin is not there yet.

        And another when there is nothing, after all, but the end of a transaction or what was taken back.
        """
        told, self._behind = self._behind, more
        if not (more or told):
            return []
        empty = wire.encode(blocks.none(self._origin), self.watermark_ms, more)
        topic, count = self._config.kafka.observations, self._config.kafka.partitions
        return [Message(topic, empty, partition=number) for number in range(count)]

    def take(self, records: Batch, silent: bool, more: bool) -> list[Message]:  # noqa: ARG002 - the contract
        """Blocks for the observations, one at least for each partition that must hear how far this is; dead letters."""
        began = time.perf_counter()
        good, values, letters = records, records.values, list[Message]()
        if not self._plain(values):
            schemas = self._schemas(values)  # first of all: where it has to wait, nothing has been counted
            good = self._sized(records, letters)
            values = good.values
            if schemas is not None:
                good, values = self._unframed(good, schemas, letters)
        if self._format is None:
            self._format = detect(values)
        if self._format is None:
            return letters + [self._letter(r, "unknown_format", "no format recognises it; set `format`") for r in good]
        out, rejected = decode_packed(
            self._format, values, self._origin, good.offsets, TIME_MS_END - 1,
            mixed=self._config.format == "auto",
        )  # fmt: skip
        letters += [self._rejected(good[r.index], r) for r in rejected]
        began = self._spent("decode", began)
        self._believe(out, good)
        self._counts.ingested[self._topic] += len(out)
        messages = self._shuffled(self._enricher.fill(out) if self._enricher else out, more)
        self._spent("shuffle", began)
        return messages + letters

    def committed(self, offset: int) -> None:
        """Nothing to keep."""

    def close(self) -> None:
        """Nothing to let go of."""

    def _plain(self, values: Records) -> bool:
        """Whether no record is empty, too long or framed: as it mostly is, and needs no look at each."""
        lengths = values.stops - values.starts
        first = np.frombuffer(values.data, np.uint8)[values.starts]
        return bool(lengths.min() > 0 and lengths.max() <= self._config.record_bytes_max and first.min() > 0)

    def _sized(self, records: Batch, letters: list[Message]) -> Batch:
        """The records that are neither empty nor too long; the others are added to the letters."""
        limit = self._config.record_bytes_max
        lengths = records.values.stops - records.values.starts
        good = (lengths > 0) & (lengths <= limit)
        for record in records.take(np.flatnonzero(~good)):
            if not record.value:
                letters.append(self._letter(record, "empty_record", "a record without a value"))
            else:
                detail = f"{len(record.value)} bytes, the limit is {limit}; raise record_bytes_max if it is a record"
                letters.append(self._letter(record, "record_too_long", detail))
        return records.take(np.flatnonzero(good))

    def _schemas(self, values: Records) -> dict[int, Decode | BadRecord] | None:
        """What reads the schemas that the values name; None where no value has a frame. Raises NotNow."""
        framed = [value for value in values if is_framed(value)]
        if not framed:
            return None
        try:
            return self._registry.decoders(framed) if self._registry else {}
        except NoAnswer as why:
            raise NotNow(str(why)) from why

    def _unframed(
        self, records: Batch, schemas: dict[int, Decode | BadRecord], letters: list[Message]
    ) -> tuple[Batch, Records]:
        """The records that have a value without a frame, and those values; the others are added to the letters."""
        good, values = [], []
        for number, record in enumerate(records):
            value = record.value
            try:
                if is_framed(value):
                    if self._registry is None:
                        raise BadRecord("no_registry", "framed with the id of a schema, and registry.url is empty")
                    value = unframed(value, schemas, self._config.record_bytes_max)
            except BadRecord as why:
                letters.append(self._letter(record, why.reason, why.detail))
            else:
                good.append(number)
                values.append(value)
        return records.take(np.array(good, np.int64)), Records.of(values)

    def _believe(self, block: PackedBlock, records: Batch) -> None:
        """A time far behind its own append is not believed: the event is scored at its arrival, not learned from."""
        appended = records.timestamps
        now = np.where(appended >= APPENDED_MIN, appended, int(time.time() * 1000))
        arrival = now[np.searchsorted(records.offsets, block.line)] if len(block) else now[:0]
        future = block.time > arrival + int(self._config.future_max_s * 1000)
        if future.any():
            block.time = np.where(future, arrival, block.time)
            block.trusted = np.where(future, 0, block.trusted).astype(np.int8)
            self._counts.future += int(future.sum())

    def _shuffled(self, block: PackedBlock, more: bool) -> list[Message]:
        """The block in parts, each to its partition; an empty one where it matters that all hear how far this is.

        Of several parts for a partition only the last may say so: what it speaks of has arrived with it.
        """
        before = self.watermark_ms
        if len(block):
            self.watermark_ms = max(before, int(block.time.max()))
        tell_all = more or self._behind
        self._behind = more
        topic = self._config.kafka.observations
        order, bounds = self._split(block)
        whole = block.rows(order)  # once for all, so that every part lies in one piece
        ends = np.cumsum(whole.sizes())
        messages = []
        for number, (first, end) in enumerate(pairwise(bounds)):
            parts = list(pairwise(_cuts(ends, first, end))) or [(first, end)] * tell_all
            for start, stop in parts:
                told = (self.watermark_ms, more) if stop == end else (before, True)
                messages.append(Message(topic, wire.encode(whole.part(start, stop), *told), partition=number))
        return messages

    def _split(self, block: PackedBlock) -> tuple[I64, list[int]]:
        """The places of the events, those of one partition together and in their order; where each one's begin."""
        count = self._config.kafka.partitions
        owner = (block.hashes(["account"], self._key)[0] >> np.uint64(32)) % np.uint64(count)
        order = np.argsort(owner.astype(np.uint16), kind="stable")
        return order, np.searchsorted(owner[order], np.arange(count + 1, dtype=np.uint64)).tolist()

    def _rejected(self, record: Record, why: Rejected) -> Message:
        return self._letter(record, why.reason, why.detail)

    def _letter(self, record: Record, reason: str, detail: str) -> Message:
        self._counts.dead_letters[reason] += 1
        return letter(self._config.kafka.dead_letters, self._origin, record.offset, reason, detail, record.value)

    def _spent(self, stage: str, began: float) -> float:
        now = time.perf_counter()
        self._counts.stage_s[stage] = self._counts.stage_s.get(stage, 0.0) + now - began
        return now


def _cuts(ends: I64, start: int, stop: int) -> list[int]:
    """Where to cut the events from `start` to `stop` into messages that a broker takes; ends: their bytes, summed."""
    cuts = [start]
    while cuts[-1] < stop:
        at = cuts[-1]
        room = int(np.searchsorted(ends, BLOCK_BYTES_MAX + (int(ends[at - 1]) if at else 0), "right"))
        cuts.append(min(at + BLOCK_EVENTS, max(room, at + 1), stop))
    return cuts


def letter(topic: str, origin: str, offset: int, reason: str, detail: str, raw: bytes) -> Message:
    """A dead letter as a message: where the record was, why it is not used, and how it begins."""
    head = raw[:RAW_BYTES_MAX]
    try:
        shown = {"raw": head.decode()}
    except UnicodeDecodeError:
        shown = {"raw_base64": base64.b64encode(head).decode()}
    fields = {"origin": origin, "offset": offset, "reason": reason, "detail": detail, "raw_bytes": len(raw)}
    return Message(topic, orjson.dumps(fields | shown), key=f"{origin}:{offset}".encode(), reason=reason)
