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
import sys
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from typing import Final

import msgspec

from detectors.base import DAY_MS
from detectors.fusion import Entity, Evidence, fisher_bits
from stream.alerts import severity_of
from stream.budget import Budget
from stream.config import Config
from stream.incident import RELATED_MAX, accused, has_grown, strength
from stream.kept import Group, Kept
from stream.sensitivity import highest
from stream.signals import SKETCH, Place, Related, Signal

PARTS_MAX: Final = 4_096  # signals of one incident: some for each partition
AFTER_MS: Final = DAY_MS  # a signal that starts this much after an incident has ended is another incident's
ONE_FACT: Final = ("silence",)  # a feed that stops does so for every partition: that is no evidence more than once
COMMON: Final = ("fleet",)  # what every event shares names no incident


class Merger:
    """The incidents of all partitions: at most `respond.incidents_max` groups of PARTS_MAX parts.

    Beyond, the group that has taken no signal for longest is forgotten, in the table too. Memory: about 2 kB a group.
    encoded: where the groups are kept; `put` those that are there already. `changes` says what is to be written.
    """

    def __init__(self, config: Config, encoded: MutableMapping[bytes, bytes] | None = None) -> None:
        self._partitions = config.kafka.partitions
        self._update_ms = int(config.update_after_s * 1000)
        self._groups_max = config.respond.incidents_max
        self.budget = Budget(config.alerts_per_day_max)
        self.rank: Callable[[list[tuple[str, str, float]]], float] = lambda _pieces: 0.0  # bits that verdicts add
        self.groups = Kept({} if encoded is None else encoded)
        self.open: set[str] = set()  # ids of those that people were told of, and not of their end
        self.forgotten = 0  # of those
        self._turn = 0
        self._of: dict[str, str] = {}  # signal id -> group id, where they differ
        self._about: dict[Entity, tuple[str, ...]] = {}  # entity -> groups with a signal about it

    def take(self, signal: Signal) -> tuple[Group, Signal | None]:
        """Take one in; the group that it belongs to, and the merged signal if it is worth telling now."""
        self.budget.refill(signal.told)
        known = signal.id if signal.id in self.groups else self._of.get(signal.id)
        group = self.groups[known] if known else self._match(signal) or Group(id=signal.id)
        before = group.parts.get(signal.id)
        if before is not None and before.revision >= signal.revision:  # delivered once more
            return group, None
        self._turn += 1
        group.turn = self._turn
        self.groups.touch(group)
        if len(group.parts) < PARTS_MAX or before is not None:
            group.parts[signal.id] = msgspec.structs.replace(signal, subjects=[], sources=[])
            group.subjects = _smallest(group.subjects, signal.subjects)
            group.sources = _smallest(group.sources, signal.sources)
            if before is None:
                self._index(group, signal)
        told = signal if self._partitions == 1 else self._worth_telling(group, signal.told)
        if group.is_open:
            self.open.add(group.id)
        else:
            self.open.discard(group.id)
        while len(self.groups) > self._groups_max:
            self._forget(self.groups.quietest())
        return group, told

    def put(self, groups: Iterable[Group]) -> None:
        """Know groups that were kept, when a process starts again."""
        turns = {}
        for group in groups:
            turns[group.id] = group.turn
            for part in group.parts.values():
                self._index(group, part)
            if group.is_open:
                self.open.add(group.id)
        for group_id in sorted(turns, key=lambda each: (turns[each], each)):
            self.groups.known(group_id)
        self._turn = max(turns.values(), default=0)

    def changes(self) -> dict[bytes, bytes | None]:
        """Groups that have changed since the last time, as they are to be written; None: forgotten."""
        return self.groups.changes()

    def _index(self, group: Group, signal: Signal) -> None:
        if signal.id != group.id:
            self._of[signal.id] = group.id
        entity = sys.intern(signal.kind), signal.value
        about = self._about.get(entity, ())
        if group.id not in about:
            self._about[entity] = (*about, group.id)

    def _match(self, signal: Signal) -> Group | None:
        """The group that this signal is about: of several, the one that began first."""
        about = {signal.entity, *((e.kind, e.value) for e in signal.members)} - {(kind, kind) for kind in COMMON}
        named = _named(signal)
        ids = dict.fromkeys(group_id for entity in named for group_id in self._about.get(entity, ()))
        matching = [group for group in map(self.groups.__getitem__, ids) if _belongs(signal, about, named, group)]
        return min(matching, key=lambda group: (group.first, group.id), default=None)

    def _forget(self, group: Group) -> None:
        self.groups.forget(group.id)
        self.forgotten += group.id in self.open
        self.open.discard(group.id)
        for part in group.parts.values():
            self._of.pop(part.id, None)
            left = tuple(each for each in self._about.get(part.entity, ()) if each != group.id)
            if left:
                self._about[part.entity] = left
            else:
                self._about.pop(part.entity, None)

    def _worth_telling(self, group: Group, now_ms: int) -> Signal | None:
        parts = list(group.parts.values())
        closed, records = all(p.status == "closed" for p in parts), sum(p.records for p in parts)
        if not group.opened:
            if closed or not self._may_open(group):
                return None
            group.opened = True
            return self._tell(group, "open", now_ms)
        if closed:
            return self._tell(group, "closed", now_ms) if group.status != "closed" else None
        before = group.told_score or 0.0  # what was opened was told
        risen = severity_of(before) != "critical" and self._risen(parts, before)
        named = (each for part in parts for each in part.members)
        due = now_ms - group.told_at >= self._update_ms and has_grown(
            records, group.told_records, named, group.told_accused
        )
        return self._tell(group, "update", now_ms) if risen or due or group.status == "closed" else None

    def _risen(self, parts: Sequence[Signal], before: float) -> bool:
        score = _score(parts, self._partitions)
        return score > before and severity_of(score) != severity_of(before)

    def _may_open(self, group: Group) -> bool:
        members = _members(_in_order(group), math.log2(self._partitions))[:RELATED_MAX]
        rank = self.rank([(e.detector, e.kind, e.window_s) for e in members])
        first, *_ = parts = list(group.parts.values())
        return self.budget.afford(first.entity, _score(parts, self._partitions), rank)

    def _tell(self, group: Group, status: str, now_ms: int) -> Signal:
        merged = merge(group, self._partitions)
        group.revision += 1
        group.status = status
        group.told_score, group.told_at, group.told_records = merged.score, now_ms, merged.records
        group.told_accused = accused(each for part in group.parts.values() for each in part.members)
        return msgspec.structs.replace(merged, status=status, revision=group.revision)


def _belongs(signal: Signal, about: set[Entity], named: set[Entity], group: Group) -> bool:
    """Whether the group is about what the signal is about, or each names the other's entity."""
    if not -AFTER_MS <= signal.start - group.last <= AFTER_MS or len(group.parts) >= PARTS_MAX:
        return False
    theirs = {part.entity for part in group.parts.values()}
    return bool(theirs & about) or (
        bool(theirs & named) and any(signal.entity in _named(part) for part in group.parts.values())
    )


def _named(signal: Signal) -> set[Entity]:
    """Entities that the signal is about or says its events have in common."""
    found = {signal.entity, *((e.kind, e.value) for e in signal.members), *((r.kind, r.value) for r in signal.related)}
    return {entity for entity in found if entity[0] not in COMMON}


def _in_order(group: Group) -> list[Signal]:
    return sorted(group.parts.values(), key=lambda p: (p.crossed, p.id))


def _score(parts: Sequence[Signal], partitions: int) -> float:
    """Of all parts: that of the strongest alone, or of the strongest evidence joined."""
    cost = math.log2(partitions)
    joined = (_joined(evidence, cost)[1] for evidence in _by_measure(parts))
    return max([max(p.score for p in parts) - cost, *joined])


def merge(group: Group, partitions: int) -> Signal:
    """All parts of a group as one signal."""
    parts = _in_order(group)
    first = parts[0]
    members = _members(parts, math.log2(partitions))
    return Signal(
        schema=first.schema, id=group.id, partition=-1, revision=group.revision,
        status="closed" if all(p.status == "closed" for p in parts) else "open",
        kind=first.kind, value=first.value, score=_score(parts, partitions), crossed=first.crossed,
        start=min(p.start for p in parts), last=max(p.last for p in parts), told=max(p.told for p in parts),
        records=sum(p.records for p in parts), bytes=sum(p.bytes for p in parts),
        subjects=sorted(_smallest(set(group.subjects), *(p.subjects for p in parts))),  # parts of an old version have
        sources=sorted(_smallest(set(group.sources), *(p.sources for p in parts))),  # sketches of their own
        members=members[:RELATED_MAX], related=_related(parts), places=_places(parts),
        sensitivity=highest(p.sensitivity for p in parts),
    )  # fmt: skip


def _by_measure(parts: Sequence[Signal]) -> list[list[Evidence]]:
    """The evidence of all parts, that on one entity and measure together, the strongest of each partition."""
    by_measure: dict[tuple[str, str, str, int, int], dict[int, Evidence]] = {}
    for part in parts:
        for each in part.members:
            found = by_measure.setdefault((each.detector, each.kind, each.value, each.feature, each.horizon), {})
            if part.partition not in found or each.score > found[part.partition].score:
                found[part.partition] = each
    return [list(found.values()) for found in by_measure.values()]


def _joined(evidence: Sequence[Evidence], cost: float) -> tuple[float, float]:
    """Bits and score of what several partitions found of one entity and measure."""
    best = max(evidence, key=lambda e: e.score)
    if len(evidence) == 1 or best.detector in ONE_FACT:
        return best.bits, best.score - cost
    bits = max(fisher_bits([e.bits for e in evidence]), best.bits)
    return bits, best.score + bits - best.bits


def _members(parts: Sequence[Signal], cost: float) -> list[Evidence]:
    """The evidence of all parts; that of several partitions on one entity and measure as one."""
    return sorted((_combined(evidence, cost) for evidence in _by_measure(parts)), key=strength)


def _combined(evidence: Sequence[Evidence], cost: float) -> Evidence:
    best = max(evidence, key=lambda e: e.score)
    bits, score = _joined(evidence, cost)
    if len(evidence) == 1:
        return msgspec.structs.replace(best, score=score)
    return msgspec.structs.replace(
        best, bits=bits, score=score, time=min(e.time for e in evidence),
        observed=sum(e.observed for e in evidence), expected=sum(e.expected for e in evidence),
    )  # fmt: skip


def _smallest(known: set[int], *sketches: list[int]) -> set[int]:
    """`known` with what is in the sketches, of all of it the SKETCH smallest."""
    known.update(*sketches)
    return known if len(known) <= SKETCH else set(sorted(known)[:SKETCH])


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
