"""Evidence of one entity, added up in one currency.

A finding's calibrated bits say how rare it is among its like; less log2 of how many such tests a day there are, and
of how many families of tests share the budget, they say how long chance needs for one:

    score = bits - log2(tests a day) - log2(families) = log2(days until chance alone shows this once)

Families have one part each of what chance may spend, and where machines are has eight, so for it the last term is three
bits less: tests may be weighted by what is thought of them before anything is seen, if the weights add up (Genovese,
Roeder and Wasserman, "False discovery control with p-value weighting", 2006).
Scores of different detectors on one entity are joined by the sum of their 2^score, the union bound read backwards:
valid however the detectors depend on each other (Vovk and Wang, "E-values", 2021; Wilson's harmonic mean p, 2019).

Detectors look at an entity from different sides: how much, whose, where from, how it failed. On who acts (an account, a
credential, an address) what m sides show within the hour is no coincidence twice over, and is joined by Fisher's
method: x = sum over sides of (bits of its strongest finding - log2 of its measures),

    together = x - log2(sum of (x ln 2)^j / j! for j < m) - (m - 1) - log2(least tests a day)

a bit for each further side, whose evidence is held for more than one window; the larger of the two counts. What many
share (a network, a resource) changes on all sides at once when a service is new, so there only the first applies. An
entity's evidence is held for an hour after a short finding and for six after a daily one.
Source: Fisher, "Statistical Methods for Research Workers" (1932), section 21.1.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from detectors.base import HOUR_MS, WINDOW_NAMES, WINDOWS_S, Detector

HOLD_MS: Final = (HOUR_MS, 6 * HOUR_MS, HOUR_MS, HOUR_MS)
NEAR_BITS: Final = (0, 2, 4, 6)
ENTITIES_MAX: Final = 20_000  # with evidence at once; beyond, the weakest is dropped
ACTORS: Final = ("account", "credential", "source")
AMOUNT_MAX: Final = 2.0**100  # of what a message may say: above any sum of counts, and thousands of them are finite

Number = Annotated[float, Meta(ge=-AMOUNT_MAX, le=AMOUNT_MAX)]


class Evidence(msgspec.Struct, frozen=True):
    """What one detector found on one entity. tests: how many such tests a day there are."""

    detector: str
    kind: str
    value: str
    feature: Annotated[int, Meta(ge=0, le=255)]
    horizon: Annotated[int, Meta(ge=0, lt=len(WINDOWS_S))]
    time: Annotated[int, Meta(ge=0, lt=1 << 53)]  # ms
    bits: Number
    score: Number
    observed: Number
    expected: Number
    tests: Annotated[float, Meta(gt=0.0, le=AMOUNT_MAX)] = 1.0

    @property
    def window_s(self) -> float:
        """Seconds that the observed figure covers, about: the time constant of its horizon."""
        return WINDOWS_S[self.horizon]

    @property
    def window(self) -> str:
        """The same in words."""
        return WINDOW_NAMES[self.horizon]

    @property
    def until(self) -> int:
        """The last ms at which it is held."""
        return self.time + HOLD_MS[self.horizon]


Entity = tuple[str, str]  # kind, value


def score_of(bits: float, tests_per_day: float, families: float) -> float:
    """log2 of the days that chance needs for one such finding.

    >>> score_of(20.0, 1024.0, 8)
    7.0
    """
    return bits - math.log2(max(tests_per_day, 1.0)) - math.log2(max(families, 1))


def fisher_bits(bits: Sequence[float]) -> float:
    """Bits of k independent findings together.

    >>> fisher_bits([12.0]), round(fisher_bits([12.0, 12.0]), 1)
    (12.0, 19.9)
    """
    x = math.log(2.0) * sum(bits)
    if x <= 0.0:
        return 0.0
    terms = [j * math.log(x) - math.lgamma(j + 1) for j in range(len(bits))]
    top = max(terms)
    return max(x - top - math.log(sum(math.exp(term - top) for term in terms)), 0.0) / math.log(2.0)


class Fusion:
    """The latest evidence by entity. Memory: at most 20,000 entities with one Evidence a detector."""

    def __init__(self, detectors: Iterable[Detector] = ()) -> None:
        self._held: dict[Entity, dict[str, Evidence]] = {}
        self._scores: dict[Entity, float] = {}
        self._due: list[tuple[int, Entity, str]] = []  # a heap: when evidence is to be looked at for its age
        self._aspects = {d.id: d.aspect for d in detectors}
        self._measures: dict[tuple[str, str], int] = {}  # by aspect and kind
        for d in detectors:
            for kind in d.kinds:
                key = d.aspect, kind
                self._measures[key] = self._measures.get(key, 0) + d.measures(kind)
        self.dropped = 0

    def add(self, evidence: Evidence) -> None:
        """Hold this evidence; of one detector on one entity the strongest that still holds stays."""
        entity = evidence.kind, evidence.value
        held = self._held.setdefault(entity, {})
        known = held.get(evidence.detector)
        if known is None or evidence.score >= known.score or known.until < evidence.time:
            held[evidence.detector] = evidence
            heapq.heappush(self._due, (evidence.until, entity, evidence.detector))
            self._scores[entity] = self.joint(list(held.values()))

    def expire(self, now_ms: int) -> None:
        """Forget what no longer holds, and the weakest beyond the limit."""
        while self._due and self._due[0][0] < now_ms:
            _, entity, detector = heapq.heappop(self._due)
            held = self._held.get(entity, {})
            if detector in held and held[detector].until < now_ms:
                del held[detector]
                self._settle(entity)
        surplus = len(self._held) - ENTITIES_MAX
        if surplus > 0:
            for entity in sorted(self._held, key=lambda e: (self._scores[e], e))[:surplus]:
                self._held[entity].clear()
                self._settle(entity)
            self.dropped += surplus

    def _settle(self, entity: Entity) -> None:
        if self._held[entity]:
            self._scores[entity] = self.joint(list(self._held[entity].values()))
        else:
            del self._held[entity], self._scores[entity]

    def joint(self, evidence: Sequence[Evidence]) -> float:
        """The score of pieces of evidence on one entity together; -inf of none."""
        if not evidence:
            return -math.inf
        evidence = sorted(
            evidence, key=lambda e: e.detector
        )  # sums round by their order: it may not matter who came first
        top = max(e.score for e in evidence)
        union = top + math.log2(sum(2.0 ** (e.score - top) for e in evidence))
        return max(union, self._together(evidence)) if evidence[0].kind in ACTORS else union

    def _together(self, evidence: Sequence[Evidence]) -> float:
        kind = evidence[0].kind
        best: dict[str, Evidence] = {}
        for each in evidence:
            aspect = self._aspects.get(each.detector, each.detector)
            if aspect not in best or each.bits > best[aspect].bits:
                best[aspect] = each
        bits = [e.bits - math.log2(self._measures.get((aspect, kind), 1)) for aspect, e in best.items()]
        if len(bits) < 2 or min(bits) <= 0.0:
            return -math.inf
        tests = max(min(e.tests for e in best.values()), 1.0)
        return fisher_bits(bits) - (len(bits) - 1) - math.log2(tests)

    def score(self, entity: Entity) -> float:
        """The entity's joint score over its detectors; -inf without evidence."""
        return self._scores.get(entity, -math.inf)

    def evidence(self, entity: Entity) -> list[Evidence]:
        """The entity's evidence, strongest first."""
        return sorted(self._held.get(entity, {}).values(), key=lambda e: (-e.score, e.detector))

    def above(self, least: float) -> list[Entity]:
        """Every entity whose score is at least this, strongest first."""
        found = [entity for entity, score in self._scores.items() if score >= least]
        return sorted(found, key=lambda entity: (-self._scores[entity], entity))

    def near(self, threshold: float) -> dict[str, float]:
        """How many entities have evidence that is at most 0, 2, 4, 6 bits below the threshold, each by itself."""
        best = sorted(threshold - max(e.score for e in held.values()) for held in self._held.values())
        return {str(bits): float(bisect_right(best, bits)) for bits in NEAR_BITS}

    def save(self) -> list[Evidence]:
        """All that is held, as values, by entity and detector: in whatever order they came."""
        return sorted(
            (evidence for held in self._held.values() for evidence in held.values()),
            key=lambda e: (e.kind, e.value, e.detector),
        )

    def load(self, evidence: list[Evidence]) -> None:
        """Continue from what `save` gave."""
        self._held, self._scores, self._due = {}, {}, []
        for each in evidence:
            self.add(each)
