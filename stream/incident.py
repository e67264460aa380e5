"""An incident: evidence that belongs together, what left with it, and the alert that tells of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from detectors.base import Array
from detectors.fusion import Entity, Evidence, Number
from stream.signals import SCHEMA, Amount, Count, Hashes, Line, Ms, Place, Related, Signal, smallest
from stream.state import Table
from stream.trace import TRACED

MEMBERS_MAX: Final = 500
ALSO_MAX: Final = 64  # of those who do the same: what more of them take is not counted, they are only named
RELATED_MAX: Final = 20  # of each kind in an alert; four times as many are counted
LIFT_MIN: Final = 3.0  # how much more often than in all traffic an entity must be seen to be called related
SHARE_MIN: Final = 0.02
GROWTH_STEP: Final = 4.0  # of what left, or of who is named, since the last revision
ALONE: Final = ("account", "credential", "source")  # kinds that are blocked one by one


class Incident(msgspec.Struct):
    """What is known of one incident between its revisions. Times in ms."""

    id: str
    kind: str
    value: str
    mask: Count  # detectors whose marks are its evidence
    start: Ms
    crossed: Ms
    last: Ms
    opened_at: Ms
    share: Number = 0.0  # of all traffic that its entity had when it was opened
    status: str = "open"
    revision: Count = 0
    score: Number = 0.0
    told_score: float = -math.inf
    told_at: Ms = 0
    told_records: Amount = 0.0
    told_accused: Count = 0
    records: Amount = 0.0
    bytes: Amount = 0.0
    subjects: Hashes = msgspec.field(default_factory=list)
    sources: Hashes = msgspec.field(default_factory=list)
    lines: dict[str, tuple[Line, Line]] = msgspec.field(default_factory=dict)
    members: dict[str, Evidence] = msgspec.field(default_factory=dict)  # by detector, kind and value
    related: dict[str, dict[str, Count]] = msgspec.field(default_factory=dict)
    also: list[tuple[str, str, Count]] = msgspec.field(default_factory=list)  # kind, value and detectors of others

    @property
    def entity(self) -> Entity:
        """The entity that it is about."""
        return self.kind, self.value

    def joined(self, evidence: Evidence) -> bool:
        """Whether this entity and detector are part of it."""
        return member(evidence) in self.members

    def told(self, entity: Entity, detectors: Sequence[str]) -> float:
        """The score at which one of these detectors' evidence on an entity was told; -inf where none was."""
        found = (self.members.get(f"{detector} {entity[0]} {entity[1]}") for detector in detectors)
        scores = [self.score if entity == self.entity else each.score for each in found if each is not None]
        return max(scores, default=-math.inf)

    def absorb(self, rows: Array, tables: Mapping[str, Table]) -> None:
        """Add rows of the trace to what left and to what is related."""
        if not len(rows):
            return
        self.start = min(self.start, int(rows["time"].min()))
        self.last = max(self.last, int(rows["time"].max()))
        self.records += float(rows["records"].sum(dtype=np.float64))
        self.bytes += float(rows["bytes"].sum(dtype=np.float64))
        self.subjects = smallest(self.subjects, rows["subject"])
        sources = rows["slots"][:, TRACED.index("source")]
        self.sources = smallest(self.sources, tables["source"].index.owner[sources[sources > 0]])
        for origin in np.unique(rows["origin"]).tolist():
            lines = rows["line"][rows["origin"] == origin]
            first, last = self.lines.get(str(origin), (int(lines.min()), 0))
            self.lines[str(origin)] = (min(first, int(lines.min())), max(last, int(lines.max())))
        for k, kind in enumerate(TRACED[:-1]):
            slots, counts = np.unique(rows["slots"][:, k], return_counts=True)
            strongest = np.argsort(-counts, kind="stable")[: 4 * RELATED_MAX]
            known = self.related.setdefault(kind, {})
            for slot, count in zip(slots[strongest].tolist(), counts[strongest].tolist(), strict=True):
                if slot > 0:
                    name = tables[kind].name(slot)
                    known[name] = known.get(name, 0) + count
            if len(known) > 4 * RELATED_MAX:
                self.related[kind] = dict(ranked(known)[: 4 * RELATED_MAX])

    def signal(self, now_ms: int, partition: int, tables: Mapping[str, Table], origins: Mapping[str, str]) -> Signal:
        """The incident as it stands, for whoever is told."""
        places = sorted((origins.get(o, o), a, b) for o, (a, b) in self.lines.items())
        return Signal(
            schema=SCHEMA, id=self.id, partition=partition, revision=self.revision, status=self.status, kind=self.kind,
            value=self.value, score=self.score, crossed=self.crossed, start=self.start, last=self.last, told=now_ms,
            records=self.records, bytes=self.bytes, subjects=self.subjects, sources=self.sources,
            members=sorted(self.members.values(), key=strength)[:RELATED_MAX],
            related=self.in_common(tables), places=[Place(*place) for place in places[:RELATED_MAX]],
        )  # fmt: skip

    def in_common(self, tables: Mapping[str, Table]) -> list[Related]:
        """Who has evidence of its own; what the events share far more often than all traffic; whom they touched."""
        everything = max(float(tables["fleet"].entities["events"][0]), 1.0)
        strongest = sorted(self.members.values(), key=strength)[:RELATED_MAX]
        accused = dict.fromkeys((e.kind, e.value) for e in strongest if e.kind != "fleet")
        accused.pop(self.entity, None)
        out = [Related(*entity, self.related.get(entity[0], {}).get(entity[1], 0)) for entity in accused]
        for kind, known in self.related.items():
            total = sum(known.values())
            chosen = []
            for name, count in ranked(known):
                slot = tables[kind].slot(name)
                usual = float(tables[kind].entities["events"][slot]) / everything if slot > 0 else 0.0
                share = count / total
                if (kind, name) not in (self.entity, *accused) and (
                    kind in ALONE or (share >= SHARE_MIN and share >= LIFT_MIN * usual)
                ):
                    chosen.append(Related(kind, name, count))
            out += chosen[:RELATED_MAX]
        return out


def member(evidence: Evidence) -> str:
    """The key of a piece of evidence in an incident: one for each detector and entity."""
    return f"{evidence.detector} {evidence.kind} {evidence.value}"


def accused(members: Iterable[Evidence]) -> int:
    """How many of those that are blocked one by one it names."""
    return len({(each.kind, each.value) for each in members if each.kind in ALONE})


def has_grown(records: float, told_records: float, members: Iterable[Evidence], told_accused: int) -> bool:
    """Whether so much more left, or so many more are named, than when it was last told, that it is told again."""
    return records >= GROWTH_STEP * max(told_records, 1.0) or accused(members) >= GROWTH_STEP * max(told_accused, 1)


def strength(evidence: Evidence) -> tuple[float, str, str, str]:
    """The order in which evidence is told: strongest first, and always the same."""
    return -evidence.score, evidence.detector, evidence.kind, evidence.value


def ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Names by their counts, the most frequent first."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
