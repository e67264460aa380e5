"""What tells of the same incident: by the events that the evidence rests on, and not by names alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.base import HOUR_MS, Detector
from detectors.fusion import ACTORS, Entity, Evidence, Fusion
from stream.incident import Incident, strength
from stream.state import Table
from stream.trace import TRACED, Trace

COVERED_MIN: Final = 0.5  # of an incident's events, by an entity that joins it ...
EXPLAINED_MIN: Final = 0.1  # ... when so much of the entity's own evidence is the incident's
ALIKE_MIN: Final = 0.3  # the same, where a detector has found both
BEFORE_MS: Final = 600_000  # an incident's first events may be earlier than its first evidence
WITHIN_MIN: Final = 0.5  # of an entity's evidence, in the events of an incident that it joins
BROAD_MIN: Final = 0.05  # of all traffic: who has that in common with an incident may well have nothing to do with it
TARGETS: Final = ("resource", "fleet")  # what many read without knowing of each other
CROWDS: Final = ("issuer", "client", "network")  # where one that does something else is another matter
ALIAS_MIN: Final = 0.9  # of the events of either: two names of one thing
TEAM_MIN: Final = 0.9  # of an entity's events, that are of its team
TEAM_MAX: Final = 0.25  # of all accounts: who has that in common with another has nothing in common
FRESH_MS: Final = HOUR_MS  # two campaigns do not begin on the same events within the hour
LEAP: Final = 8.0  # bits by which what has the same cause is so much stronger that it is told by itself
CAUSES_MAX: Final = 8  # of an incident's findings, the strongest, whose cause is looked up
CAUSE_MS: Final = 6 * HOUR_MS  # findings of one cause belong together while they are not farther apart


class Belonging:
    """Looks evidence and incidents up in the trace of marked events."""

    def __init__(self, detectors: Sequence[Detector], tables: Mapping[str, Table], trace: Trace) -> None:
        self._detectors = list(detectors)
        self._bit = {d.id: bit for bit, d in enumerate(detectors)}
        self._aspects = {d.id: d.aspect for d in detectors}
        self._units = {d.id: [f.unit for f in d.features] for d in detectors}
        self._tables = tables
        self._trace = trace

    def mask(self, evidence: Iterable[Evidence]) -> int:
        """Which detectors found it, a bit each."""
        mask = 0
        for each in evidence:
            mask |= 1 << self._bit[each.detector]
        return mask

    def beside(self, evidence: Iterable[Evidence]) -> list[str]:
        """The detectors that look at a side of an entity of which this evidence is, its own among them."""
        sides = {self._aspects[each.detector] for each in evidence}
        return [detector for detector, side in self._aspects.items() if side in sides]

    def rows(self, kind: str, value: str, mask: int, start: int = 0) -> npt.NDArray[np.bool_]:
        """The rows of the trace from `start` on that these detectors' evidence on this entity rests on: bool[rows]."""
        slot = self._tables[kind].slot(value)
        if slot < 0:  # evicted: rows without one of this kind are not its
            return np.zeros(max(len(self._trace.rows) - start, 0), np.bool_)
        asked = [d for bit, d in enumerate(self._detectors) if mask >> bit & 1]
        columns = {d.id: {k: self._tables[k].columns[d.id] for k in d.columns} for d in asked}
        return self._trace.of(kind, slot, mask, self._detectors, columns, start)

    def of(self, incident: Incident, start: int = 0) -> npt.NDArray[np.bool_]:
        """The rows of the trace from `start` on that are the incident's, and others' who do the same."""
        rows = self.rows(*incident.entity, incident.mask, start)
        for other in incident.also:
            rows |= self.rows(*other, start)
        return rows

    def share(self, entity: Entity) -> float:
        """The entity's share of all traffic over about a day."""
        table = self._tables[entity[0]]
        slot = table.slot(entity[1])
        return float(table.entities["events"][slot]) / max(float(self._tables["fleet"].entities["events"][0]), 1.0)

    def same(self, incident: Incident, new: list[Evidence], fusion: Fusion, now_ms: int) -> bool:
        """Whether this evidence tells of the incident: their events are the same, and not by coincidence.

        Either the entity has a good part of the incident's events and is explained by them, or most of its events are
        the incident's. Then the incident has to be fresh, or be about what thieves have in common and few others have:
        a page that everybody reads, a usual browser takes in what comes later only while it goes on in the same way,
        and nothing that is stronger than itself, so that it hides no other theft.
        """
        entity = new[0].kind, new[0].value
        fresh = now_ms - incident.crossed <= FRESH_MS
        if incident.entity == entity:
            return fresh
        if self.alike(incident, new, fusion, now_ms):
            return True
        recent = self._trace.rows["time"] >= incident.start - BEFORE_MS
        mine = self.rows(*entity, self.mask(new)) & recent
        theirs = self.rows(*incident.entity, incident.mask) & recent
        if not mine.any() or not theirs.any():
            return False
        weight = self._weight(new[0])
        # Of all traffic everything is a part, so there it takes events that the incident was told for.
        within = _share(weight, mine, theirs if incident.kind == "fleet" else self._touching(incident.entity))
        covered = _share(weight, theirs, self._touching(entity))
        if covered >= COVERED_MIN and within >= EXPLAINED_MIN:
            return True
        known = {m.detector for m in incident.members.values()}
        if fresh or not (incident.kind in TARGETS or incident.share >= BROAD_MIN):
            if not fresh and incident.kind in CROWDS and new[0].detector not in known:
                return entity[0] in CROWDS and within >= ALIAS_MIN  # one alone stands out among its own
            return within >= (ALIKE_MIN if any(e.detector in known for e in new) else WITHIN_MIN)
        goes_on = known & {e.detector for e in fusion.evidence(incident.entity)}
        stronger = fusion.joint(new) > incident.score
        return within >= ALIKE_MIN and not stronger and any(e.detector in goes_on for e in new)

    def alike(self, incident: Incident, new: list[Evidence], fusion: Fusion, now_ms: int) -> bool:
        """Whether somebody else does the same with events of their own: of one team, or for one cause."""
        if self._one_team(incident, new, fusion, now_ms):
            return True
        return fusion.joint(new) <= incident.score + LEAP and any(self._one_cause(incident, e, now_ms) for e in new)

    def alias(self, mine: npt.NDArray[np.bool_], known: Entity, mask: int) -> bool:
        """Whether nearly all rows of either are the other's: two names of one thing. mine: bool[rows]."""
        theirs = self.rows(*known, mask)
        both = int(np.count_nonzero(mine & theirs))
        return both > 0 and both >= ALIAS_MIN * max(int(np.count_nonzero(mine)), int(np.count_nonzero(theirs)))

    def actor(self, entity: Entity, evidence: Iterable[Evidence]) -> Entity:
        """The account that most of the events of this evidence are of; where there is none, the entity itself."""
        rows = self.rows(*entity, self.mask(evidence))
        slot = self.foremost("account", rows)
        theirs = np.count_nonzero(self._trace.rows["slots"][rows, TRACED.index("account")] == slot)
        if slot <= 0 or theirs <= COVERED_MIN * np.count_nonzero(rows):
            return entity
        return "account", self._tables["account"].name(slot)

    def foremost(self, kind: str, rows: npt.NDArray[np.bool_]) -> int:
        """The slot of this kind that most of the rows have; -1 where there are none."""
        slots = self._trace.rows["slots"][:, TRACED.index(kind)][rows]
        found, counts = np.unique(slots[slots > 0], return_counts=True)
        return int(found[np.argmax(counts)]) if len(found) else -1

    def _weight(self, evidence: Evidence) -> npt.NDArray[np.float64]:
        """What each row of the trace counts for, by what the evidence measures: one export may be all there is."""
        unit = self._units[evidence.detector][evidence.feature]
        rows = self._trace.rows
        return rows[unit] if unit in ("records", "bytes") else np.ones(len(rows))

    def _one_cause(self, incident: Incident, evidence: Evidence, now_ms: int) -> bool:
        """Whether the incident rests on findings of the same detector behind which there has to be the same cause."""
        detector = next(d for d in self._detectors if d.id == evidence.detector)
        cause = detector.cause.get(evidence.kind)
        if cause is None or now_ms - incident.last > CAUSE_MS:
            return False
        known = [
            m for m in incident.members.values() if m.detector == detector.id and detector.cause.get(m.kind) == cause
        ]
        mask = self.mask([evidence])
        mine = self.foremost(cause, self.rows(evidence.kind, evidence.value, mask))
        return mine > 0 and any(
            mine == self.foremost(cause, self.rows(m.kind, m.value, mask))
            for m in sorted(known, key=strength)[:CAUSES_MAX]
        )

    def _one_team(self, incident: Incident, new: list[Evidence], fusion: Fusion, now_ms: int) -> bool:
        """Whether the incident is about another of the same team, of whom the same was found, and no less, just now.

        What a team is told to do, all of it does; and who steals together works together.
        """
        kind, value = new[0].kind, new[0].value
        alike = incident.told(incident.entity, self.beside(new)) > -math.inf
        if not alike or kind not in ACTORS or incident.kind not in ACTORS:
            return False
        if now_ms - incident.last > CAUSE_MS or fusion.joint(new) > incident.score:
            return False
        team = self._team(self.rows(kind, value, self.mask(new)))
        return team != 0 and team == self._team(self.rows(*incident.entity, incident.mask))

    def _team(self, found: npt.NDArray[np.bool_]) -> int:
        """The group that these rows are of, by its hash; 0 where they are of several, or most of everybody is in it."""
        rows = self._trace.rows
        groups, counts = np.unique(rows["group"][found], return_counts=True)
        if not len(groups) or groups[np.argmax(counts)] == 0 or counts.max() < TEAM_MIN * counts.sum():
            return 0
        team = groups[np.argmax(counts)]
        accounts = rows["slots"][:, TRACED.index("account")]
        ours = len(np.unique(accounts[rows["group"] == team]))
        return int(team) if ours <= max(TEAM_MAX * len(np.unique(accounts)), 2) else 0

    def _touching(self, entity: Entity) -> npt.NDArray[np.bool_]:
        return self._trace.touching(entity[0], self._tables[entity[0]].slot(entity[1]))


def _share(weight: npt.NDArray[np.float64], rows: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> float:
    """How much of what the rows weigh is among others, by weight; by number where they weigh nothing."""
    whole = float(weight[rows].sum())
    if whole <= 0.0:
        return int(np.count_nonzero(rows & among)) / max(int(np.count_nonzero(rows)), 1)
    return float(weight[rows & among].sum()) / whole
