"""The log, read once more: the same events in the same order as `tripline run` or the workers read them.

Files are read as they are named; a topic's partitions, each from an offset to another, are put in the order of time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import msgspec
import numpy as np

from stream import wire
from stream.alerts import Alert
from stream.batch import Batch
from stream.blocks import PackedBlock, joined
from stream.config import Config
from stream.decode import decode_packed
from stream.enrich.enricher import enricher_of
from stream.errors import UsageError
from stream.ingest import Ingest
from stream.source import STDIN, inputs, open_source

BATCH: Final = 2_048  # records of a topic decoded at once


@dataclass(slots=True)
class Read:
    """What was read: events, what could not be used by reason, and from where."""

    events: int = 0
    unused: Counter[str] = field(default_factory=Counter)
    origins: dict[str, None] = field(default_factory=dict)


class Log(Protocol):
    """A log that can be read as often as it is needed."""

    def pairs(self, read: Read) -> Iterator[tuple[PackedBlock, PackedBlock]]:
        """Its events from the beginning, as they came and as they were filled in; what was read is noted. Raises
        TriplineError."""
        ...

    def blocks(self, read: Read) -> Iterator[PackedBlock]:
        """As they were filled in: what the detectors see."""
        ...


class _Filled:
    """What logs have in common."""

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        self._config, self._say = config, say
        self._enricher = enricher_of(config, say)

    def _came(self, read: Read) -> Iterator[PackedBlock]:
        raise NotImplementedError

    def pairs(self, read: Read) -> Iterator[tuple[PackedBlock, PackedBlock]]:
        """Its events from the beginning, as they came and as they were filled in."""
        return ((came, self._enricher.fill(came) if self._enricher else came) for came in self._came(read))

    def blocks(self, read: Read) -> Iterator[PackedBlock]:
        """As they were filled in."""
        return (filled for _, filled in self.pairs(read))


class FileLog(_Filled):
    """Files and directories; UsageError where one cannot be read, or only once."""

    def __init__(self, paths: Sequence[str], fmt: str, config: Config, say: Callable[[str], None]) -> None:
        if STDIN in paths or any(Path(p).exists() and not (Path(p).is_file() or Path(p).is_dir()) for p in paths):
            raise UsageError("--input: a pipe can be read only once, and this needs the log twice; name a file")
        super().__init__(config, say)
        self._files = inputs(paths)
        self._format = fmt

    def _came(self, read: Read) -> Iterator[PackedBlock]:
        """The events of the files in their order."""
        time_ms_max = int((time.time() + self._config.future_max_s) * 1000)
        limit = self._config.record_bytes_max
        for chunk in open_source(self._files, self._format, record_bytes_max=limit, say=self._say):
            read.origins.setdefault(chunk.origin)
            read.unused.update(letter.reason for letter in chunk.dead)
            if chunk.format is None or not chunk.records:
                continue
            block, rejected = decode_packed(
                chunk.format, chunk.records, chunk.origin, chunk.lines, time_ms_max, mixed=self._format == "auto"
            )
            read.unused.update(each.reason for each in rejected)
            read.events += len(block)
            yield block
        self._say = _silent  # the formats are told once


class TopicLog(_Filled):
    """Partitions of access topics, from the first offset that is kept to the last there is.

    needed: by (topic, partition), an offset that must still be there.
    """

    def __init__(self, config: Config, needed: dict[tuple[str, int], int]) -> None:
        super().__init__(
            msgspec.structs.replace(config, kafka=msgspec.structs.replace(config.kafka, partitions=1)), _silent
        )
        self._needed = needed

    def _came(self, read: Read) -> Iterator[PackedBlock]:
        """The events of all partitions in the order of their time."""
        return in_order([self._partition(*name, read) for name in sorted(self._needed)])

    def _partition(self, topic: str, number: int, read: Read) -> Iterator[PackedBlock]:
        from stream.analyst import topic as topics  # noqa: PLC0415 - what needs no broker starts without its client

        counts = _Counts(read.unused)
        ingest = Ingest(self._config, topic, number, counts)  # what the workers read the topic with
        read.origins.setdefault(f"kafka:{topic}/{number}")
        records = topics.records(self._config.kafka, topic, needed={number: self._needed[topic, number]})
        while batch := Batch.of(islice(records, BATCH)):
            for message in ingest.take(batch, silent=False, more=False):
                if message.topic == self._config.kafka.observations:
                    block = wire.decode(message.value).block
                    read.events += len(block)
                    yield block


@dataclass(slots=True)
class _Counts:
    """As a worker counts."""

    dead_letters: Counter[str]
    alerts: Counter[tuple[str, str]] = field(default_factory=Counter)
    ingested: Counter[str] = field(default_factory=Counter)
    future: int = 0
    stage_s: dict[str, float] = field(default_factory=dict)


def log_of(
    alert: Alert | None, paths: Sequence[str] | None, fmt: str | None, config: Config, say: Callable[[str], None]
) -> Log:
    """The log that is named, or else the one in which the alert says its events are; UsageError where there is none."""
    if paths:
        return FileLog(paths, fmt or config.format, config, say)
    if alert is None:
        raise UsageError("no log: name the files with --input, as they were given to `tripline run`")
    needed = {(s.topic, s.partition or 0): s.first_offset or 0 for s in alert.source if s.topic is not None}
    if needed:
        return TopicLog(config, needed)
    files = [s.file for s in alert.source if s.file is not None]
    missing = [file for file in files if not Path(file).exists()]
    if not files or missing:
        where = f"{missing[0]} is not there" if missing else "the alert names no file"
        raise UsageError(f"no log: {where}; name the files with --input, in the order in which they were read")
    return FileLog(files, fmt or config.format, config, say)


def in_order(parts: Sequence[Iterator[PackedBlock]]) -> Iterator[PackedBlock]:
    """Blocks of several origins as one stream in the order of time, each origin's own order kept.

    An origin whose times fall back is taken at the latest time that it has come to.
    """
    heads: dict[int, PackedBlock] = {}
    waiting = dict(enumerate(parts))
    while True:
        for number in [n for n in waiting if n not in heads]:
            block = next(waiting[number], None)
            while block is not None and not len(block):
                block = next(waiting[number], None)
            if block is None:
                del waiting[number]
            else:
                heads[number] = block
        if not heads:
            return
        risen = {n: np.maximum.accumulate(block.time) for n, block in heads.items()}
        bound = min(int(times[-1]) for times in risen.values())
        taken, keys = [], []
        for number, block in list(heads.items()):
            count = int(np.searchsorted(risen[number], bound, side="right"))
            taken.append(block.take(np.arange(count)))
            keys.append(risen[number][:count])
            if count == len(block):
                del heads[number]
            else:
                heads[number] = block.take(np.arange(count, len(block)))
        whole = joined([part for part in taken if len(part)])
        yield whole.take(np.argsort(np.concatenate(keys), kind="stable"))


def _silent(_message: str) -> None:
    """Say nothing."""


def unusable(read: Read) -> str:
    """What could not be used, in words; nothing where all could."""
    lost = sum(read.unused.values())
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(read.unused.items()) if count)
    return f"{lost:,} records could not be used ({reasons})" if lost else ""
