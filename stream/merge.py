"""From the signals of all partitions to alerts: what is one thing to an analyst is told once, within the budget.

Partitions split the accounts, so each sees its own share of what a campaign does with an issuer, a network or a client.
Signals that name the same entity, or name each other's, are one incident. Counts add, sketches merge, and the evidence
of k partitions on one entity is combined by Fisher's method, which is valid because they share no account:

    x = sum of bits;   bits = x - log2(sum of (x ln 2)^j / j! for j < k);   score = bits - what tests and families cost

less log2 of the partitions where only one of them has found anything. With one partition the signals pass as they are.
Source: Fisher, "Statistical Methods for Research Workers" (1932), section 21.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
import numpy as np

from detectors.base import DAY_MS
from detectors.fusion import Entity, Evidence, fisher_bits
from stream.alerts import severity_of
from stream.budget import Budget
from stream.config import Config
from stream.correlate import GROWTH_STEP
from stream.incident import RELATED_MAX, member, strength
from stream.signals import Place, Related, Signal, smallest

PARTS_MAX: Final = 4_096  # signals of one incident: some for each partition
GROUPS_MAX: Final = 100_000  # that are open or were lately; beyond, the oldest is forgotten
AFTER_MS: Final = DAY_MS  # a signal that starts this much after an incident has ended is another incident's
COMMON: Final = ("fleet",)  # what every event shares names no incident


class Group(msgspec.Struct):
    """Signals that are one incident, and what was told of it. `opened`: whether anybody was told."""

    id: str
    parts: dict[str, Signal] = {}
    opened: bool = False
    revision: int = 0
    told_score: float | None = None  # until it is told: JSON has no infinity
    told_at: int = 0
    told_records: float = 0.0
    status: str = "open"

    @property
    def last(self) -> int:
        """Time of its latest event, ms."""
        return max(part.last for part in self.parts.values())


class Merger:
    """The incidents of all partitions. Bounded by GROUPS_MAX groups of PARTS_MAX parts."""

    def __init__(self, config: Config) -> None:
        self._partitions = config.kafka.partitions
        self._update_ms = int(config.update_after_s * 1000)
        self.budget = Budget(config.alerts_per_day_max)
        self.rank: Callable[[list[tuple[str, str, float]]], float] = lambda _pieces: 0.0  # bits that verdicts add
        self.groups: dict[str, Group] = {}
        self._of: dict[str, str] = {}  # signal id -> group id
        self._named: dict[Entity, dict[str, None]] = {}  # entity -> groups that name it

    def take(self, signal: Signal) -> tuple[Group, Signal | None]:
        """Take one in; the group that it belongs to, and the merged signal if it is worth telling now."""
        self.budget.refill(signal.told)
        known = self._of.get(signal.id)
        group = self.groups[known] if known else self._match(signal)
        before = group.parts.get(signal.id)
        if before is not None and before.revision >= signal.revision:  # delivered once more
            return group, None
        if len(group.parts) < PARTS_MAX or before is not None:
            group.parts[signal.id] = signal
            self._index(group, signal)
        if self._partitions == 1:
            return group, signal
        return group, self._worth_telling(group, signal.told)

    def put(self, group: Group) -> None:
        """Know a group that was kept, when a process starts again."""
        self.groups[group.id] = group
        for part in group.parts.values():
            self._index(group, part)

    def _index(self, group: Group, signal: Signal) -> None:
        self._of[signal.id] = group.id
        for entity in _named(signal):
            self._named.setdefault(entity, {})[group.id] = None

    def _match(self, signal: Signal) -> Group:
        """The open group that this signal is about, or a new one."""
        about = {signal.entity, *((e.kind, e.value) for e in signal.members)} - {(kind, kind) for kind in COMMON}
        named = _named(signal)
        for entity in sorted(named):
            for group_id in self._named.get(entity, ()):
                group = self.groups[group_id]
                if not -AFTER_MS <= signal.start - group.last <= AFTER_MS or len(group.parts) >= PARTS_MAX:
                    continue
                theirs = {part.entity for part in group.parts.values()}
                if theirs & about or (theirs & named and any(signal.entity in _named(p) for p in group.parts.values())):
                    return group
        group = Group(id=signal.id)
        self.groups[group.id] = group
        if len(self.groups) > GROUPS_MAX:
            self._forget(next(iter(self.groups)))
        return group

    def _forget(self, group_id: str) -> None:
        group = self.groups.pop(group_id)
        for part in group.parts.values():
            self._of.pop(part.id, None)
            for entity in _named(part):
                self._named.get(entity, {}).pop(group_id, None)
                if not self._named.get(entity):
                    self._named.pop(entity, None)

    def _worth_telling(self, group: Group, now_ms: int) -> Signal | None:
        merged = merge(group, self._partitions)
        if not group.opened:
            if merged.status == "closed" or not self._may_open(group, merged):
                return None
            group.opened, group.status = True, "open"
            return self._tell(group, merged, "open", now_ms)
        if merged.status == "closed":
            return self._tell(group, merged, "closed", now_ms) if group.status != "closed" else None
        before = group.told_score or 0.0  # what was opened was told
        risen = merged.score > before and severity_of(merged.score) != severity_of(before)
        grown = merged.records >= GROWTH_STEP * max(group.told_records, 1.0)
        due = grown and now_ms - group.told_at >= self._update_ms
        return self._tell(group, merged, "update", now_ms) if risen or due or group.status == "closed" else None

    def _may_open(self, group: Group, merged: Signal) -> bool:
        rank = self.rank([(e.detector, e.kind, e.window_s) for e in merged.members])
        return self.budget.afford(next(iter(group.parts.values())).entity, merged.score, rank)

    def _tell(self, group: Group, merged: Signal, status: str, now_ms: int) -> Signal:
        group.revision += 1
        group.status = status
        group.told_score, group.told_at, group.told_records = merged.score, now_ms, merged.records
        return msgspec.structs.replace(merged, status=status, revision=group.revision)


def _named(signal: Signal) -> set[Entity]:
    """Entities that the signal is about or says its events have in common."""
    found = {signal.entity, *((e.kind, e.value) for e in signal.members), *((r.kind, r.value) for r in signal.related)}
    return {entity for entity in found if entity[0] not in COMMON}


def merge(group: Group, partitions: int) -> Signal:
    """All parts of a group as one signal."""
    parts = sorted(group.parts.values(), key=lambda p: (p.crossed, p.id))
    first = parts[0]
    members = _members(parts, math.log2(partitions))
    alone = max(p.score for p in parts) - math.log2(partitions)
    subjects, sources = _sketch(p.subjects for p in parts), _sketch(p.sources for p in parts)
    return Signal(
        schema=first.schema, id=group.id, partition=-1, revision=group.revision,
        status="closed" if all(p.status == "closed" for p in parts) else "open",
        kind=first.kind, value=first.value, score=max([alone, *(e.score for e in members)]), crossed=first.crossed,
        start=min(p.start for p in parts), last=max(p.last for p in parts), told=max(p.told for p in parts),
        records=sum(p.records for p in parts), bytes=sum(p.bytes for p in parts), subjects=subjects, sources=sources,
        members=members[:RELATED_MAX], related=_related(parts), places=_places(parts),
    )  # fmt: skip


def _members(parts: Sequence[Signal], cost: float) -> list[Evidence]:
    """The evidence of all parts; that of several partitions on one entity and measure as one."""
    by_measure: dict[tuple[str, int, int], dict[int, Evidence]] = {}
    for part in parts:
        for each in part.members:
            found = by_measure.setdefault((member(each), each.feature, each.horizon), {})
            if part.partition not in found or each.score > found[part.partition].score:
                found[part.partition] = each
    return sorted((_combined(list(found.values()), cost) for found in by_measure.values()), key=strength)


def _combined(evidence: Sequence[Evidence], cost: float) -> Evidence:
    best = max(evidence, key=lambda e: e.score)
    if len(evidence) == 1:
        return msgspec.structs.replace(best, score=best.score - cost)
    bits = max(fisher_bits([e.bits for e in evidence]), best.bits)
    return msgspec.structs.replace(
        best, bits=bits, score=best.score + bits - best.bits, time=min(e.time for e in evidence),
        observed=sum(e.observed for e in evidence), expected=sum(e.expected for e in evidence),
    )  # fmt: skip


def _sketch(sketches: Iterable[list[int]]) -> list[int]:
    known: list[int] = []
    for each in sketches:
        known = smallest(known, np.array(each, np.uint64))
    return known


def _related(parts: Sequence[Signal]) -> list[Related]:
    counts: dict[Entity, int] = {}
    for part in parts:
        for each in part.related:
            counts[each.kind, each.value] = counts.get((each.kind, each.value), 0) + each.count
    kinds = dict.fromkeys(kind for kind, _ in counts)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [
        Related(*entity, count)
        for kind in kinds
        for entity, count in [each for each in ranked if each[0][0] == kind][:RELATED_MAX]
    ]


def _places(parts: Sequence[Signal]) -> list[Place]:
    spans: dict[str, tuple[int, int]] = {}
    for place in (place for part in parts for place in part.places):
        first, last = spans.get(place.origin, (place.first, place.last))
        spans[place.origin] = (min(first, place.first), max(last, place.last))
    return [Place(origin, *span) for origin, span in sorted(spans.items())]
