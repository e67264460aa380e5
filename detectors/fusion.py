"""Evidence of one entity, added up in one currency.

A finding's calibrated bits say how rare it is among its like; less log2 of how many such tests a day there are, and
of how many families of tests share the budget, they say how long chance needs for one:

    score = bits - log2(tests a day) - log2(families) = log2(days until chance alone shows this once)

Scores of different detectors on one entity are joined by the sum of their 2^score, the union bound read backwards:
valid however the detectors depend on each other (Vovk and Wang, "E-values", 2021; Wilson's harmonic mean p, 2019). An
entity's evidence is held for an hour after a short finding and for six after a daily one.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Final

import msgspec

from detectors.base import HOUR_MS, WINDOW_NAMES, WINDOWS_S

HOLD_MS: Final = (HOUR_MS, 6 * HOUR_MS, HOUR_MS, HOUR_MS)
NEAR_BITS: Final = (0, 2, 4, 6)
ENTITIES_MAX: Final = 20_000  # with evidence at once; beyond, the weakest is dropped


class Evidence(msgspec.Struct, frozen=True):
    """What one detector found on one entity."""

    detector: str
    kind: str
    value: str
    feature: int
    horizon: int
    time: int  # ms
    bits: float
    score: float
    observed: float
    expected: float

    @property
    def window_s(self) -> float:
        """Seconds that the observed figure covers, about: the time constant of its horizon."""
        return WINDOWS_S[self.horizon]

    @property
    def window(self) -> str:
        """The same in words."""
        return WINDOW_NAMES[self.horizon]


Entity = tuple[str, str]  # kind, value


def score_of(bits: float, tests_per_day: float, families: int) -> float:
    """log2 of the days that chance needs for one such finding.

    >>> score_of(20.0, 1024.0, 8)
    7.0
    """
    return bits - math.log2(max(tests_per_day, 1.0)) - math.log2(max(families, 1))


class Fusion:
    """The latest evidence by entity. Memory: at most 20,000 entities with one Evidence a detector."""

    def __init__(self) -> None:
        self._held: dict[Entity, dict[str, Evidence]] = {}
        self.dropped = 0

    def add(self, evidence: Evidence) -> None:
        """Hold this evidence; of one detector on one entity the strongest that still holds stays."""
        held = self._held.setdefault((evidence.kind, evidence.value), {})
        known = held.get(evidence.detector)
        if known is None or evidence.score >= known.score or not _holds(known, evidence.time):
            held[evidence.detector] = evidence

    def expire(self, now_ms: int) -> None:
        """Forget what no longer holds, and the weakest beyond the limit."""
        for entity, held in list(self._held.items()):
            for detector, evidence in list(held.items()):
                if not _holds(evidence, now_ms):
                    del held[detector]
            if not held:
                del self._held[entity]
        surplus = len(self._held) - ENTITIES_MAX
        if surplus > 0:
            for entity in sorted(self._held, key=self.score)[:surplus]:
                del self._held[entity]
            self.dropped += surplus

    def score(self, entity: Entity) -> float:
        """The entity's joint score over its detectors; -inf without evidence."""
        held = self._held.get(entity)
        if not held:
            return -math.inf
        top = max(e.score for e in held.values())
        return top + math.log2(sum(2.0 ** (e.score - top) for e in held.values()))

    def evidence(self, entity: Entity) -> list[Evidence]:
        """The entity's evidence, strongest first."""
        return sorted(self._held.get(entity, {}).values(), key=lambda e: (-e.score, e.detector))

    def entities(self) -> list[Entity]:
        """Every entity with evidence, strongest first."""
        return sorted(self._held, key=lambda entity: (-self.score(entity), entity))

    def near(self, threshold: float) -> dict[str, float]:
        """How many entities have evidence that is at most 0, 2, 4, 6 bits below the threshold, each by itself."""
        best = sorted(threshold - max(e.score for e in held.values()) for held in self._held.values())
        return {str(bits): float(bisect_right(best, bits)) for bits in NEAR_BITS}

    def save(self) -> list[Evidence]:
        """All that is held, as values."""
        return [evidence for held in self._held.values() for evidence in held.values()]

    def load(self, evidence: list[Evidence]) -> None:
        """Continue from what `save` gave."""
        self._held = {}
        for each in evidence:
            self._held.setdefault((each.kind, each.value), {})[each.detector] = each


def _holds(evidence: Evidence, now_ms: int) -> bool:
    return now_ms - evidence.time <= HOLD_MS[evidence.horizon]
