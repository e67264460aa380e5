"""What an entity did, hour by hour, counted plainly from the log: no decay, no model, nothing forgotten.

A naive twin of what the detectors keep, for people to check them by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.base import EMPLOYEE, HOUR_MS
from stream.alerts import EntityRef, rfc3339
from stream.blocks import PackedBlock
from stream.pipeline import FIELDS, READS, SUCCESS
from stream.signals import distinct, smallest
from stream.siphash import U64, hash_column

Bool = npt.NDArray[np.bool_]
HOURS_MAX: Final = 20_000  # of one entity, more than two years; beyond, the first ones are kept and the rest counted


class Hour(msgspec.Struct):
    """An hour of an entity, from `start` (RFC 3339).

    people: whose data was read, within 3 % beyond 1,023; of an employee's reads that name nobody, the things read.
    """

    start: str
    requests: int = 0
    reads: int = 0
    records: float = 0.0
    bytes: float = 0.0
    failures: int = 0
    people: int = 0


class History(msgspec.Struct):
    """The hours in which an entity did anything, in their order."""

    entity: EntityRef
    hours: list[Hour]


class Histories:
    """Counts of some entities, by hour. Memory: 100 bytes and up to 8 kB of sketch for each of their hours."""

    def __init__(self, entities: Sequence[EntityRef], key: U64) -> None:
        self._key = key
        self._entities = list(entities)
        self._hashes = {ref: hash_column([ref.value], key)[0] for ref in entities}
        self._hours: dict[EntityRef, dict[int, tuple[Hour, list[int]]]] = {ref: {} for ref in entities}

    def take(self, block: PackedBlock) -> None:
        """Count a block's events."""
        reads = (block.outcome == SUCCESS) & READS[block.action]
        kinds = sorted({ref.kind for ref in self._entities} - {"fleet"})
        wanted = ("subject", "account", "object", *(FIELDS[kind] for kind in kinds))
        subjects, accounts, objects, *named = block.hashes(wanted, self._key)
        people = np.where(subjects != 0, subjects, accounts)
        nobody = (subjects == 0) & (objects != 0) & (block.account_kind == EMPLOYEE)
        things = np.where(nobody, objects, people)
        columns = dict(zip(kinds, named, strict=True))
        hour = block.time // HOUR_MS
        for ref in self._entities:
            mine = np.ones(len(block), np.bool_) if ref.kind == "fleet" else columns[ref.kind] == self._hashes[ref]
            reached = things if ref.kind == "account" else people
            for which in np.unique(hour[mine]).tolist():
                self._count(ref, which, block, mine & (hour == which), reads, reached)

    def _count(self, ref: EntityRef, hour: int, block: PackedBlock, rows: Bool, reads: Bool, subjects: U64) -> None:
        known = self._hours[ref]
        if hour not in known:
            if len(known) >= HOURS_MAX:
                return
            known[hour] = Hour(rfc3339(hour * HOUR_MS)), []
        told, people = known[hour]
        mine = rows & reads
        told.requests += int(rows.sum())
        told.reads += int(mine.sum())
        told.records += float(block.records[mine].sum())
        told.bytes += float(block.bytes[mine].sum())
        told.failures += int((block.outcome[rows] != SUCCESS).sum())
        known[hour] = told, smallest(people, subjects[mine])

    def told(self) -> list[History]:
        """The histories so far."""
        out = []
        for ref, hours in self._hours.items():
            for told, people in hours.values():
                told.people = distinct(people)
            out.append(History(ref, [hours[hour][0] for hour in sorted(hours)]))
        return out


def spark(values: Sequence[float]) -> str:
    """A row of bars.

    >>> spark([0, 1, 4, 8])
    '·▁▄█'
    """
    most = max(values, default=0.0)
    bars = "▁▂▃▄▅▆▇█"
    return "".join("·" if not v else bars[min(max(round(v / most * len(bars)), 1), len(bars)) - 1] for v in values)


def by_hour(history: History, feature: str, last_ms: int, hours: int) -> list[float]:
    """A figure of the last `hours` hours up to the one of `last_ms`, 0 where nothing was done."""
    known: Mapping[str, Hour] = {hour.start: hour for hour in history.hours}
    starts = [rfc3339((last_ms // HOUR_MS - back) * HOUR_MS) for back in reversed(range(hours))]
    return [float(getattr(known[start], feature)) if start in known else 0.0 for start in starts]
