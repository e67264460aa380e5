"""The alert budget: a bucket that fills by `alerts_per_day_max` a day and holds a day's worth.

The emptier it is, the stronger evidence must be to open an alert; criticals have a bucket of their own beside it. A
flood of false alerts empties both, so what is stronger than all that was opened lately opens whatever is left: whoever
floods would have to fake evidence as strong as their own. That costs little: each such opening raises the mark by
OUTSTANDING_BITS, and the mark falls by as much in a day, so there are a handful of them. What was held back is counted,
once for each entity, and the strongest of it is kept by name.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from detectors.base import DAY_MS
from detectors.fusion import Entity
from stream.alerts import severity_of

# The threshold lets chance spend a 32nd of the budget: models err, and the rest is for what is real.
OPEN_SHARE: Final = 32.0
REASONS: Final = ("budget", "incidents_max", "ranked", "muted", "little")  # why an entity's evidence opens nothing
REMEMBERED_MAX: Final = 500  # entities that were held back and have been counted
OUTSTANDING_BITS: Final = 6.0  # above all that was opened lately; 64 times rarer
LISTED_MAX: Final = 20  # of what was held back, by name


class Held(msgspec.Struct, frozen=True):
    """An entity whose evidence opened nothing, with its highest score and when it was first held back, ms."""

    kind: str
    value: str
    score: float
    time: int


class Spent(msgspec.Struct):
    """What is left of the budget, and what was held back."""

    tokens: float
    reserve: float
    refilled: int = 0
    held_back: dict[str, int] = {}
    held: list[Entity] = []
    mark: float = 0.0  # score that was opened lately
    strongest: list[Held] = []


class Budget:
    """Decides on openings, by event time."""

    def __init__(self, alerts_per_day_max: float) -> None:
        self._per_day = alerts_per_day_max
        self._full = max(alerts_per_day_max, 1.0)  # below one a day it takes more than a day to fill
        self.spent = Spent(tokens=self._full, reserve=self._full)

    @property
    def held_back(self) -> dict[str, int]:
        """Entities whose evidence sufficed and that opened nothing, by reason."""
        return self.spent.held_back

    def least(self) -> float:
        """The score that opens an alert while the bucket is full: log2 of the days between chance openings."""
        return math.log2(OPEN_SHARE / self._per_day)

    def threshold(self) -> float:
        """The score that opens an alert now."""
        return self.least() + math.log2(max(self._full / (2.0 * max(self.spent.tokens, 0.01)), 1.0))

    def refill(self, now_ms: int) -> None:
        """Fill up for the time that has passed."""
        spent = self.spent
        if spent.refilled:
            filled = self._per_day * max(now_ms - spent.refilled, 0) / DAY_MS
            spent.tokens = min(spent.tokens + filled, self._full)
            spent.reserve = min(spent.reserve + filled, self._full)
            spent.mark = max(spent.mark - OUTSTANDING_BITS * max(now_ms - spent.refilled, 0) / DAY_MS, 0.0)
        spent.refilled = max(now_ms, spent.refilled)

    def afford(self, entity: Entity, score: float, rank: float = 0.0) -> bool:
        """Spend a token on an opening, or count that it was held back; `rank`: bits that verdicts add to the score."""
        spent = self.spent
        severity, least = severity_of(score), self.threshold()
        critical = severity == "critical"  # no verdict lowers one
        worth = score if critical else score + rank
        if (worth >= least or critical) and spent.tokens >= 1.0:
            spent.tokens -= 1.0
        elif critical and spent.reserve >= 1.0:
            spent.reserve -= 1.0
        elif severity not in ("high", "critical") or worth < spent.mark + OUTSTANDING_BITS:
            self.hold_back(entity, "ranked" if score + rank < least <= score else "budget", score)
            return False
        spent.mark = max(spent.mark, score)
        return True

    def refund(self, entity: Entity) -> None:
        """Take an opening back that is not told because it is muted."""
        self.spent.tokens = min(self.spent.tokens + 1.0, self._full)
        self.hold_back(entity, "muted")

    def hold_back(self, entity: Entity, reason: str, score: float = 0.0) -> None:
        """Count what opened nothing: once for each entity, not at every look."""
        spent = self.spent
        if score > 0.0:
            self._list(Held(*entity, score, spent.refilled))
        if entity not in spent.held:
            if len(spent.held) >= REMEMBERED_MAX:
                spent.held.clear()
            spent.held.append(entity)
            spent.held_back[reason] = spent.held_back.get(reason, 0) + 1

    def _list(self, held: Held) -> None:
        """Keep the strongest of a day by name."""
        strongest = {(h.kind, h.value): h for h in self.spent.strongest if held.time - h.time <= DAY_MS}
        before = strongest.get((held.kind, held.value), held)
        strongest[held.kind, held.value] = before if before.score >= held.score else held
        ranked = sorted(strongest.values(), key=lambda h: (-h.score, h.kind, h.value))
        self.spent.strongest = ranked[:LISTED_MAX]
