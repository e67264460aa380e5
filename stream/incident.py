"""An incident: evidence that belongs together, what left with it, and the alert that tells of it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.base import Array, Detector, number
from detectors.fusion import Entity, Evidence
from stream.alerts import (
    SCHEMA,
    Alert,
    EntityRef,
    Impact,
    Lines,
    Window,
    chance,
    evidence_item,
    rfc3339,
    sentence,
    severity_of,
    title_of,
)  # fmt: skip
from stream.state import Table
from stream.trace import TRACED

MEMBERS_MAX: Final = 500
RELATED_MAX: Final = 20  # of each kind in an alert; four times as many are counted
LIFT_MIN: Final = 3.0  # how much more often than in all traffic an entity must be seen to be called related
SHARE_MIN: Final = 0.02
ALONE: Final = ("account", "credential", "source")  # kinds that are blocked one by one
SKETCH: Final = 1024  # smallest hashes kept to count distinct ones: exact below, within 3 % beyond


class Incident(msgspec.Struct):
    """What is known of one incident between its revisions. Times in ms."""

    id: str
    kind: str
    value: str
    mask: int  # detectors whose marks are its evidence
    start: int
    crossed: int
    last: int
    status: str = "open"
    revision: int = 0
    score: float = 0.0
    told_score: float = -math.inf
    told_at: int = 0
    told_records: float = 0.0
    records: float = 0.0
    bytes: float = 0.0
    subjects: list[int] = msgspec.field(default_factory=list)
    sources: list[int] = msgspec.field(default_factory=list)
    lines: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    members: dict[str, Evidence] = msgspec.field(default_factory=dict)  # by detector, kind and value
    related: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)

    @property
    def entity(self) -> Entity:
        """The entity that it is about."""
        return self.kind, self.value

    def joined(self, evidence: Evidence) -> bool:
        """Whether this entity and detector are part of it."""
        return member(evidence) in self.members

    def absorb(self, rows: Array, tables: Mapping[str, Table]) -> None:
        """Add rows of the trace to what left and to what is related."""
        if not len(rows):
            return
        self.start = min(self.start, int(rows["time"].min()))
        self.last = max(self.last, int(rows["time"].max()))
        self.records += float(rows["records"].sum(dtype=np.float64))
        self.bytes += float(rows["bytes"].sum(dtype=np.float64))
        self.subjects = _smallest(self.subjects, rows["subject"])
        sources = rows["slots"][:, TRACED.index("source")]
        self.sources = _smallest(self.sources, tables["source"].index.owner[sources[sources > 0]])
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
                self.related[kind] = dict(_ranked(known)[: 4 * RELATED_MAX])

    def related_entities(self, tables: Mapping[str, Table]) -> tuple[EntityRef, ...]:
        """What its events share far more often than all traffic does, and whom it touched, most frequent first."""
        everything = max(float(tables["fleet"].entities["events"][0]), 1.0)
        out: list[EntityRef] = []
        for kind, known in self.related.items():
            total = sum(known.values())
            chosen = []
            for name, count in _ranked(known):
                slot = tables[kind].slot(name)
                usual = float(tables[kind].entities["events"][slot]) / everything if slot > 0 else 0.0
                share = count / total
                if (kind, name) != self.entity and (
                    kind in ALONE or (share >= SHARE_MIN and share >= LIFT_MIN * usual)
                ):
                    chosen.append(EntityRef(kind, name))
            out += chosen[:RELATED_MAX]
        return tuple(out)


def describe(
    incident: Incident, detectors: Mapping[str, tuple[int, Detector]], tables: Mapping[str, Table], runbook: str,
    origins: Mapping[str, str],
) -> Alert:  # fmt: skip
    """The alert that tells of the incident as it stands."""
    ranked = sorted(incident.members.values(), key=lambda e: (-e.score, e.detector, e.kind, e.value))
    about = [e for e in ranked if (e.kind, e.value) == incident.entity] or ranked
    used = tuple(dict.fromkeys(e.detector for e in ranked))
    subjects = _distinct(incident.subjects)
    impact = Impact(records=int(incident.records), bytes=int(incident.bytes), subjects=subjects)
    found = "; ".join(sentence(e, detectors[e.detector][1]) for e in about[:3])
    sources = _distinct(incident.sources)
    summary = (
        f"{incident.kind} {incident.value}: {found}. "
        f"So far {number(incident.records)} records of {number(subjects)} people, from {number(sources)} "
        f"address{'' if sources == 1 else 'es'}. Evidence like this comes {chance(incident.score)}."
    )
    return Alert(
        schema=SCHEMA, id=incident.id, revision=incident.revision, status=incident.status,
        time=rfc3339(incident.crossed), emitted_at=rfc3339(int(time.time() * 1000)),
        severity=severity_of(incident.score), score_bits=round(incident.score, 2),
        title=title_of([(e, detectors[e.detector][1]) for e in about], incident.kind, incident.value), summary=summary,
        entity=EntityRef(incident.kind, incident.value), related=incident.related_entities(tables), detectors=used,
        techniques=tuple(dict.fromkeys(t for d in used for t in detectors[d][1].techniques)),
        evidence=tuple(evidence_item(e, detectors[e.detector][1]) for e in ranked[:RELATED_MAX]), impact=impact,
        window=Window(rfc3339(incident.start), rfc3339(incident.last)),
        source=tuple(Lines(origins.get(o, o), a, b) for o, (a, b) in sorted(incident.lines.items())),
        runbook=runbook,
    )  # fmt: skip


def member(evidence: Evidence) -> str:
    """The key of a piece of evidence in an incident: one for each detector and entity."""
    return f"{evidence.detector} {evidence.kind} {evidence.value}"


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _smallest(known: list[int], hashes: npt.NDArray[np.uint64]) -> list[int]:
    """The k smallest of the distinct hashes so far (Bar-Yossef et al., 2002)."""
    merged = np.unique(np.concatenate([np.array(known, np.uint64), hashes[hashes != 0].astype(np.uint64)]))
    smallest: list[int] = merged[:SKETCH].tolist()
    return smallest


def _distinct(smallest: list[int]) -> int:
    if len(smallest) < SKETCH:
        return len(smallest)
    return round((SKETCH - 1) * 2.0**64 / smallest[-1])
