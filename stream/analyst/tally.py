"""Exact counts of what was read: by distinct keyed hash, so that a million people take eight megabytes.

Only what was handed out counts as read: successful reads, lists, exports and shares. Where an event names no subject,
the data is the account's own.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from stream.alerts import rfc3339
from stream.blocks import PackedBlock
from stream.pipeline import READS, SUCCESS
from stream.siphash import U64

I64 = npt.NDArray[np.int64]
COUNTED: Final = ("subject", "account", "resource", "object", "credential", "source", "network", "client", "country")
COLUMNS: Final = {"source": "source_ip", "client": "user_agent"}  # where the column has another name than its kind
PENDING_MAX: Final = 1 << 20  # hashes before they are merged
PEOPLE_MAX: Final = 2_000_000  # who are listed by name, about 500 MB; beyond, they are counted all the same
NAMES_MAX: Final = 100_000  # of places and programs, of each kind
LISTED: Final = ("resource", "network", "country", "source", "client", "account")


class Counts(msgspec.Struct):
    """What was read within some time: how much, how many different of each kind, first and last read (RFC 3339)."""

    name: str
    events: int
    reads: int
    failures: int
    records: float
    bytes: float
    subjects: int
    accounts: int
    resources: int
    objects: int
    credentials: int
    sources: int
    networks: int
    clients: int
    countries: int
    first: str
    last: str


class Person(msgspec.Struct):
    """Whose data was read. phases: reads by phase; evidence: reads that are evidence of the alert."""

    subject: str
    reads: int
    records: float
    bytes: float
    first_ms: int
    last_ms: int
    phases: list[int]
    evidence: int


class Distinct:
    """How many different hashes there were. Memory: 8 bytes for each."""

    def __init__(self) -> None:
        self._known: U64 = np.zeros(0, np.uint64)
        self._pending: list[U64] = []
        self._waiting = 0

    def add(self, hashes: U64) -> None:
        """Know these; absent ones (0) are left out."""
        fresh = np.unique(hashes[hashes != 0])
        self._pending.append(fresh)
        self._waiting += len(fresh)
        if self._waiting > PENDING_MAX:
            self._merge()

    def __len__(self) -> int:
        self._merge()
        return len(self._known)

    def _merge(self) -> None:
        if self._pending:
            self._known = np.unique(np.concatenate([self._known, *self._pending]))
            self._pending, self._waiting = [], 0


class Tally:
    """Counts of the events that it is given."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.events = self.reads = self.failures = 0
        self.records = self.bytes = 0.0
        self.first_ms, self.last_ms = 0, 0
        self._distinct = {kind: Distinct() for kind in COUNTED}

    def add(self, block: PackedBlock, hashes: dict[str, U64], index: I64) -> None:
        """Count the events at `index`; hashes: uint64[n] by COUNTED."""
        if not len(index):
            return
        self.events += len(index)
        self.failures += int((block.outcome[index] != SUCCESS).sum())
        reads = index[read_of(block)[index]]
        if not len(reads):
            return
        self.reads += len(reads)
        self.records += float(block.records[reads].sum())
        self.bytes += float(block.bytes[reads].sum())
        times = block.time[reads]
        self.first_ms = min(self.first_ms or int(times.min()), int(times.min()))
        self.last_ms = max(self.last_ms, int(times.max()))
        for kind, distinct in self._distinct.items():
            distinct.add(hashes[kind][reads])

    def counts(self) -> Counts:
        """As numbers."""
        n = {kind: len(distinct) for kind, distinct in self._distinct.items()}
        return Counts(
            name=self.name, events=self.events, reads=self.reads, failures=self.failures, records=self.records,
            bytes=self.bytes, subjects=n["subject"], accounts=n["account"], resources=n["resource"],
            objects=n["object"], credentials=n["credential"], sources=n["source"], networks=n["network"],
            clients=n["client"], countries=n["country"],
            first=rfc3339(self.first_ms) if self.reads else "", last=rfc3339(self.last_ms) if self.reads else "",
        )  # fmt: skip


class Named:
    """Who was read, and by what, by name."""

    def __init__(self, phases: int) -> None:
        self._phases = phases
        self.people: dict[int, Person] = {}
        self.unlisted = False
        self.names: dict[str, dict[str, list[float]]] = {kind: {} for kind in LISTED}  # reads and records by name

    def add(self, block: PackedBlock, hashes: dict[str, U64], index: I64, phase: I64, evidence: I64) -> None:
        """Note the reads at `index`; phase, evidence: int64[n], the phase and whether the event is evidence."""
        reads = index[read_of(block)[index]]
        if not len(reads):
            return
        own = hashes["own"][reads]
        people, first, which = np.unique(hashes["subject"][reads], return_index=True, return_inverse=True)
        records = np.bincount(which, block.records[reads], len(people))
        size = np.bincount(which, block.bytes[reads], len(people))
        by_phase = np.zeros((len(people), self._phases), np.int64)
        np.add.at(by_phase, (which, phase[reads]), 1)
        marked = np.bincount(which, evidence[reads], len(people)).astype(np.int64)
        begin = np.full(len(people), np.iinfo(np.int64).max)
        end = np.zeros(len(people), np.int64)
        np.minimum.at(begin, which, block.time[reads])
        np.maximum.at(end, which, block.time[reads])
        accounts, subjects = block.text["account"], block.text["subject"]
        for i, person in enumerate(people.tolist()):
            known = self.people.get(person)
            if known is None:
                if len(self.people) >= PEOPLE_MAX:
                    self.unlisted = True
                    continue
                row = int(reads[first[i]])
                name = (subjects if own[first[i]] else accounts)[row]
                known = Person(name, 0, 0.0, 0.0, int(begin[i]), int(end[i]), [0] * self._phases, 0)
                self.people[person] = known
            known.reads += int(by_phase[i].sum())
            known.records += float(records[i])
            known.bytes += float(size[i])
            known.first_ms, known.last_ms = min(known.first_ms, int(begin[i])), max(known.last_ms, int(end[i]))
            known.phases = [a + b for a, b in zip(known.phases, by_phase[i].tolist(), strict=True)]
            known.evidence += int(marked[i])
        for kind, names in self.names.items():
            self._count(names, block, kind, hashes[kind][reads], reads)

    def _count(self, names: dict[str, list[float]], block: PackedBlock, kind: str, hashes: U64, reads: I64) -> None:
        found, first, which = np.unique(hashes, return_index=True, return_inverse=True)
        records = np.bincount(which, block.records[reads], len(found))
        counts = np.bincount(which, minlength=len(found))
        column = block.text[COLUMNS.get(kind, kind)]
        for i, value in enumerate(found.tolist()):
            if value == 0:
                continue
            name = column[int(reads[first[i]])]
            if name in names or len(names) < NAMES_MAX:
                known = names.setdefault(name, [0.0, 0.0])
                known[0] += float(counts[i])
                known[1] += float(records[i])


def read_of(block: PackedBlock) -> npt.NDArray[np.bool_]:
    """Which events handed data out: bool[n]."""
    found: npt.NDArray[np.bool_] = (block.outcome == SUCCESS) & READS[block.action]
    return found


def hashed(block: PackedBlock, key: U64) -> dict[str, U64]:
    """The hashes that are counted, by COUNTED; "own": those of the subjects that are named (0 where none is)."""
    rows: Any = block.hashes([COLUMNS.get(kind, kind) for kind in COUNTED], key)
    out = dict(zip(COUNTED, rows, strict=True))
    out["own"] = out["subject"]
    out["subject"] = np.where(out["own"] != 0, out["own"], out["account"])
    return out
