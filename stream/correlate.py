"""From evidence to incidents: what belongs together becomes one alert, opened, updated and closed within a budget.

An entity whose joint score passes the threshold joins an open incident when the events that its evidence rests on are
those of the incident; else it opens one of its own, if the day's budget allows. The budget is a bucket of
`alerts_per_day_max` tokens that fills over a day: the emptier it is, the stronger the evidence must be, and criticals
have a reserve.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.base import AT_ONCE, DAY_MS, HOUR_MS, Array, Detector
from detectors.fusion import Entity, Evidence, Fusion
from stream.alerts import severity_of
from stream.belonging import TARGETS, Belonging
from stream.budget import Budget, Spent
from stream.incident import ALSO_MAX, MEMBERS_MAX, Incident, accused, has_grown, member
from stream.little import Little
from stream.signals import Signal
from stream.state import Table
from stream.trace import Trace

SIGNALS_MAX: Final = 200  # looked at in one tick, strongest first
INCIDENTS_MAX: Final = 500  # open at once; beyond, nothing opens and what was held back is counted
REOPEN_MS: Final = 7 * DAY_MS
SURE: Final = 25.0  # score beyond which entities are ranked by how much they explain
SEVERITY_STEP: Final = 4.0
NEAR: Final = 2.0  # what is new of an entity may lie so far below what opens an alert, where all of it reaches that
EXPLAINS: Final = ("issuer", "account", "credential", "client", "network", "source", "resource", "fleet")


class Saved(msgspec.Struct):
    """The correlator between two runs."""

    open: list[Incident]
    closed: list[Incident]
    opened: int
    spent: Spent


class Correlator:
    """Holds the open incidents; `tick` turns evidence into signals. Bounded by INCIDENTS_MAX open and as many closed.

    scope: what keeps the ids of one stream apart from those of another with the same entities.
    """

    def __init__(
        self, detectors: list[Detector], tables: Mapping[str, Table], trace: Trace, scope: str, partition: int,
        alerts_per_day_max: float, warmup_h: float, close_after_s: float, update_after_s: float,
    ) -> None:  # fmt: skip
        self.free: Callable[[str, str, int], bool] = lambda _kind, _value, _at_ms: False  # costs no budget
        self.sensitivity: Callable[[Iterable[str]], str] = lambda _resources: ""  # the highest of some resources'
        self._little = Little(detectors, tables)
        self._belonging = Belonging(detectors, tables, trace)
        self._tables = tables
        self._trace = trace
        self._scope = scope
        self._partition = partition
        self._warmup_ms = int(warmup_h * HOUR_MS)
        self._close_ms = int(close_after_s * 1000)
        self._update_ms = int(update_after_s * 1000)
        self.origins: dict[str, str] = {}
        self.open: list[Incident] = []
        self._closed: list[Incident] = []
        self.budget = Budget(alerts_per_day_max)
        self.opened = 0
        self.on_absorb: Callable[[Incident, Array], None] = lambda _incident, _rows: None  # is told which events
        self.rank: Callable[[list[tuple[str, str, float]]], float] = lambda _pieces: 0.0  # bits that verdicts add

    def tick(self, now_ms: int, since_ms: int, fusion: Fusion, emit: Callable[[Signal], None]) -> None:
        """Absorb what happened since the last tick: join, open, update, close. `since_ms`: start of the stream."""
        self.budget.refill(now_ms)
        fresh = max(len(self._trace.rows) - self._trace.fresh, 0)
        for incident in self.open if self._trace.fresh else ():
            self._absorb(incident, self._belonging.of(incident, fresh))
        self._trace.fresh = 0
        least = self.budget.least()
        signals = fusion.above(least)
        if now_ms - since_ms < self._warmup_ms:
            signals = [e for e in signals if any(each.horizon == AT_ONCE for each in fusion.evidence(e))]
        del signals[SIGNALS_MAX:]
        signals.sort(key=lambda e: (-min(fusion.score(e), SURE), EXPLAINS.index(e[0]), -fusion.score(e), e))
        for entity in signals:
            self._place(entity, fusion, now_ms)
        for incident in list(self.open):
            if self._worth_telling(incident, now_ms):
                self._tell(incident, "open" if incident.revision == 0 else "update", now_ms, emit)
            if now_ms - max(incident.last, incident.opened_at) > self._close_ms:
                self._close(incident, now_ms, emit)

    def _place(self, entity: Entity, fusion: Fusion, now_ms: int) -> None:
        evidence = fusion.evidence(entity)
        score = fusion.score(entity)
        new, homes = [], []
        for each in evidence:
            home = next((i for i in self.open if i.joined(each)), None)
            if home is not None:
                self._join(home, each, score)
                homes.append(home)
            elif not any(
                i.joined(each) and each.time <= i.last for i in self._closed
            ):  # told, and held on to for longer
                new.append(each)
        alone = fusion.joint(new)
        if homes and alone < self.budget.least():  # a little more of what is told already
            for each in new:
                self._join(homes[0], each, score)
            return
        if alone < self.budget.least() - NEAR:
            return
        score = alone if homes else score
        for incident in self.open:
            if self._belonging.same(incident, new, fusion, now_ms):
                if self._belonging.alike(incident, new, fusion, now_ms):
                    self._take_in(incident, entity, new)
                for each in new:
                    self._join(incident, each, score)
                return
        again, before = self._told(entity, new)
        crossed = max(e.time for e in new)
        if again is not None and now_ms - again.last <= REOPEN_MS and score < before + SEVERITY_STEP:
            if crossed <= again.last:  # what closed it is all there is
                return
            self._closed.remove(again)
            again.status = "open"
            self.open.append(again)
        elif not self.free(*entity, crossed) and not self._afford(entity, score, new, fusion):
            return
        else:
            again = Incident(
                id=self._id(entity, min(e.time for e in new)), kind=entity[0], value=entity[1],
                mask=self._belonging.mask(new[:1]), start=crossed, crossed=crossed, last=crossed, opened_at=now_ms,
                share=self._belonging.share(entity),
            )  # fmt: skip
            self.open.append(again)
            self.opened += 1
            self._absorb(again, self._belonging.rows(*entity, again.mask) & self._since(new))
        for each in new:
            self._join(again, each, score)

    def _take_in(self, incident: Incident, entity: Entity, new: list[Evidence]) -> None:
        """Count what left with somebody else who does the same, so far and from now on."""
        mask = self._belonging.mask(new)
        rows = self._belonging.rows(*entity, mask) & self._since(new) & ~self._belonging.of(incident)
        if rows.any() and entity[0] not in TARGETS and len(incident.also) < ALSO_MAX:
            incident.also.append((*entity, mask))
            self._absorb(incident, rows)

    def _since(self, new: list[Evidence]) -> npt.NDArray[np.bool_]:
        """The rows of the trace that are no older than this evidence: bool[rows]."""
        found: npt.NDArray[np.bool_] = self._trace.rows["time"] >= min(e.time - int(e.window_s * 1000) for e in new)
        return found

    def _told(self, entity: Entity, new: list[Evidence]) -> tuple[Incident | None, float]:
        """The closed incident that told of this side of the entity, or of what is one with it (an account and its only
        key), and the score at which it did."""  # fmt: skip
        mask, beside = self._belonging.mask(new), self._belonging.beside(new)
        scores = [(each.told(entity, beside), n) for n, each in enumerate(self._closed)]
        score, n = max(scores, default=(-math.inf, 0))
        if score > -math.inf:
            return self._closed[n], score
        closed = [i for i in self._closed if i.mask & mask]
        if not closed:
            return None, -math.inf
        mine = self._belonging.rows(*entity, mask)
        slots = {kind: self._belonging.foremost(kind, mine) for kind in {i.kind for i in closed}}
        names = {kind: self._tables[kind].name(slot) for kind, slot in slots.items() if slot > 0}
        for other in closed:
            if names.get(other.kind) == other.value and self._belonging.alias(mine, other.entity, mask):
                return other, other.score
        return None, -math.inf

    def _join(self, incident: Incident, evidence: Evidence, score: float) -> None:
        name = member(evidence)
        known = incident.members.get(name)
        if known is None and len(incident.members) >= MEMBERS_MAX:
            return
        if known is None or evidence.score >= known.score:
            incident.members[name] = evidence
        if incident.entity == (evidence.kind, evidence.value):
            incident.mask |= self._belonging.mask([evidence])
        incident.score = max(incident.score, score)
        incident.last = max(incident.last, evidence.time)
        self._suspect(evidence.kind, evidence.value, 1)

    def _absorb(self, incident: Incident, rows: npt.NDArray[np.bool_]) -> None:
        absorbed = self._trace.rows[len(self._trace.rows) - len(rows) :][rows]
        incident.absorb(absorbed, self._tables)
        self.on_absorb(incident, absorbed)

    def _suspect(self, kind: str, value: str, flag: int) -> None:
        slot = self._tables[kind].slot(value)
        if slot >= 0:
            self._tables[kind].entities[slot]["suspect"] = flag

    def _id(self, entity: Entity, first_ms: int) -> str:
        text = "\x00".join((self._scope, *entity, str(first_ms)))
        return "tl-" + hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def _afford(self, entity: Entity, score: float, evidence: list[Evidence], fusion: Fusion) -> bool:
        """Whether an incident may be opened; if not, it is counted why."""
        much = fusion.joint([e for e in evidence if self._little.is_much(e)]) >= self.budget.least() - NEAR
        actor = self._belonging.actor(entity, evidence)
        if not much or any(self._little.routine(each, evidence) for each in (entity, actor)):
            self.budget.hold_back(entity, "little", score)
            return False
        if len(self.open) < INCIDENTS_MAX:
            return self.budget.afford(entity, score, self.rank([(e.detector, e.kind, e.window_s) for e in evidence]))
        self.budget.hold_back(entity, "incidents_max", score)
        return False

    def _worth_telling(self, incident: Incident, now_ms: int) -> bool:
        if incident.revision == 0:
            return True
        if severity_of(incident.score) != severity_of(incident.told_score) and incident.score > incident.told_score:
            return True
        if now_ms - incident.told_at < self._update_ms:
            return False
        return has_grown(incident.records, incident.told_records, incident.members.values(), incident.told_accused)

    def _close(self, incident: Incident, now_ms: int, emit: Callable[[Signal], None]) -> None:
        self.open.remove(incident)
        for evidence in incident.members.values():
            if not any(i.joined(evidence) for i in self.open):
                self._suspect(evidence.kind, evidence.value, 0)
        self._closed = [i for i in self._closed if now_ms - i.last <= REOPEN_MS][-INCIDENTS_MAX:]
        self._closed.append(incident)
        self._tell(incident, "closed", now_ms, emit)

    def _tell(self, incident: Incident, status: str, now_ms: int, emit: Callable[[Signal], None]) -> None:
        incident.status = status
        incident.revision += 1
        incident.told_score, incident.told_at, incident.told_records = incident.score, now_ms, incident.records
        incident.told_accused = accused(incident.members.values())
        emit(self.signal(incident, now_ms))

    def signal(self, incident: Incident, now_ms: int) -> Signal:
        """The incident as it stands, for whoever is told."""
        level = self.sensitivity(incident.related.get("resource", {}))
        signal = incident.signal(now_ms, self._partition, self._tables, self.origins)
        return msgspec.structs.replace(signal, sensitivity=level)

    def save(self) -> Saved:
        """Everything that the next tick depends on."""
        return Saved(open=self.open, closed=self._closed, opened=self.opened, spent=self.budget.spent)

    def load(self, saved: Saved) -> None:
        """Continue from what `save` gave."""
        self.open, self._closed = saved.open, saved.closed
        self.opened, self.budget.spent = saved.opened, saved.spent
