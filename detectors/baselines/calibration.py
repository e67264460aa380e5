"""How surprising a raw score is here: its bits, from how often this population reaches it.

A detector's raw score is a number of nominal bits under its model. Models are wrong in their tails, so each *family*
(entity kind, account kind, horizon, feature) counts how many entity-windows reach each level z of raw surprise
(quarters of the normal deviate, z^2 / 2 = raw ln 2), day by day. Then

    bits(raw) = -log2 P(an entity-window of this family reaches z(raw))

is read off the last fourteen days, from the fifth on without the worst of them (an attack is not allowed to make
itself ordinary). Beyond what was seen at least ten times it is extrapolated along a straight line in z at the slope
of the observed tail: a power law of volumes, which real logs have, not the model's Gaussian. Source: the
peaks-over-threshold idea of Siffer et al., "Anomaly Detection in Streams with Extreme Value Theory" (2017), with an
exponential tail in z.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.base import CLASSES, DAY_MS, Array, Columns
from detectors.kernels import inline, kernel

LEVELS: Final = 96  # quarters of z that are told apart, up to z = 24; beyond, the line goes on
DAYS: Final = 14
SEEN_MIN: Final = 10  # a level reached less often than this is extrapolated
SLOPE_MIN: Final = 0.25  # bits a level
SLOPE_MAX: Final = 1.0
SLOPE_UNKNOWN: Final = 0.4  # before there is a tail to measure
GATE_NONE: Final = 255
NOTHING: Final = -1e9  # bits that nothing makes up for


class Survival:
    """Daily counts of entity-windows by family and level; families are [kind, class, horizon, feature].

    Memory: 15 days x 96 levels x 4 bytes a family, allocated once.
    """

    def __init__(self, kinds: int, horizons: int, features: int) -> None:
        self.shape = (kinds, CLASSES, horizons, features)
        self.today: npt.NDArray[np.int32] = np.zeros((*self.shape, LEVELS), np.int32)
        self.days: npt.NDArray[np.int32] = np.zeros((DAYS, *self.shape, LEVELS), np.int32)
        self.clock: npt.NDArray[np.int64] = np.zeros(3, np.int64)  # first ms seen, current day, complete days
        self.gate: npt.NDArray[np.uint8] = np.full(self.shape, GATE_NONE, np.uint8)
        self.counts: npt.NDArray[np.float64] = np.zeros((*self.shape, LEVELS))  # what bits are read from
        self.span_d: npt.NDArray[np.float64] = np.zeros(1)

    def arrays(self) -> Columns:
        """What is saved, and loaded in place."""
        return {
            "today": self.today, "days": self.days, "clock": self.clock,
            "gate": self.gate, "counts": self.counts, "span_d": self.span_d,
        }  # fmt: skip

    def roll(self, now_ms: int) -> None:
        """Close the day when it is over."""
        day = now_ms // DAY_MS
        if self.clock[0] == 0:
            self.clock[0], self.clock[1] = now_ms, day
        if day > self.clock[1]:
            # A day that passed without a tick was a day without events: nothing to learn from it.
            self.days[1:] = self.days[:-1].copy()
            self.days[0] = self.today
            self.today[:] = 0
            self.clock[1] = day
            self.clock[2] += 1

    def refresh(self, now_ms: int, offset_bits: float) -> None:
        """Recompute the counts to read from and the gates: the level from which a finding is worth reporting.

        offset_bits: a finding whose calibrated bits less log2(tests a day) stay below this is not.
        """
        complete = int(min(self.clock[2], DAYS))
        counts = self.days[:complete].sum(axis=0, dtype=np.float64)
        span = float(complete)
        if complete >= 5:
            counts -= self.days[:complete].max(axis=0)
            span -= 1.0
        elif complete < 2:
            counts += self.today
            span += max((now_ms - max(int(self.clock[0]), int(self.clock[1]) * DAY_MS)) / DAY_MS, 1.0 / 24.0)
        # A window is counted in the class that opens it, a level in the class that reaches it: where classes share a
        # place, more may reach a level than have opened. There are at least as many windows as reach any level.
        self.counts[:] = counts = np.maximum.accumulate(counts[..., ::-1], axis=-1)[..., ::-1]
        self.span_d[0] = span
        self.gate[:] = GATE_NONE
        _gates(self.counts.reshape(-1, LEVELS), span, offset_bits, self.gate.reshape(-1))

    def listen(self, kind: int, offset_bits: float) -> None:
        """Lower the gates of a kind: what is little by itself may still be told to whoever adds it up."""
        counts = self.counts[kind].reshape(-1, LEVELS)
        _gates(counts, float(self.span_d[0]), offset_bits, self.gate[kind].reshape(-1))

    def per_day(self, family: tuple[int, ...]) -> float:
        """Entity-windows a day of this family."""
        return float(self.counts[family][0] / self.span_d[0]) if self.span_d[0] else 0.0

    def bits(self, family: tuple[int, ...], raw: float) -> float:
        """-log2 P(an entity-window of this family reaches `raw`); 0 while the family has no history."""
        return _bits(self.counts[family], _level(raw))

    def seen_bits(self, family: tuple[int, ...], raw: float) -> float:
        """The same, where the model's tail is not to be trusted: no rarer than once in all that was seen."""
        return min(self.bits(family, raw), math.log2(max(self.counts[family][0], 1.0)))

    def has_tail(self, family: tuple[int, ...]) -> bool:
        """Whether the slope of its tail was seen, and is not the one that is taken before."""
        counts = self.counts[family]
        known, bulk = (int(np.count_nonzero(counts >= least)) - 1 for least in (SEEN_MIN, 8 * SEEN_MIN))
        return known > bulk >= 0

    def share(self, family: tuple[int, ...], raw: float) -> float:
        """Of the entity-windows of this family, those that reached `raw`."""
        counts = self.counts[family]
        return float(counts[min(int(_level(raw)), LEVELS - 1)] / max(counts[0], 1.0))

    def worth(self, family: tuple[int, ...], offset_bits: float) -> npt.NDArray[np.float64]:
        """`seen_bits` at each level less what a finding needs to be worth reporting: float64[LEVELS]."""
        worth = np.full(LEVELS, NOTHING)
        counts = self.counts[family]
        if counts[0] >= SEEN_MIN:
            wanted = offset_bits + math.log2(max(self.per_day(family), 1.0))
            most = math.log2(counts[0])
            worth[1:] = [min(_bits(counts, float(level)), most) - wanted for level in range(1, LEVELS)]
        return worth


def _level(raw: float) -> float:
    return 4.0 * math.sqrt(2.0 * math.log(2.0) * max(raw, 0.0))


@inline
def _last(counts: Array, least: float) -> int:
    """The highest level that was reached so often, -1 where none was; counts fall with the level."""
    low, high = 0, counts.shape[0]
    while low < high:
        middle = (low + high) // 2
        if counts[middle] >= least:
            low = middle + 1
        else:
            high = middle
    return low - 1


@inline
def _surprise(counts: Array, level: float) -> float:
    total = counts[0]
    if total < SEEN_MIN or level < 1.0:
        return 0.0
    whole = min(int(level), LEVELS - 1)
    if counts[whole] >= SEEN_MIN:
        return math.log2(total / counts[whole])
    known, bulk = _last(counts, SEEN_MIN), _last(counts, 8 * SEEN_MIN)
    slope = SLOPE_UNKNOWN
    if known > bulk >= 0:
        slope = min(max(math.log2(counts[bulk] / counts[known]) / (known - bulk), SLOPE_MIN), SLOPE_MAX)
    # The next level was reached less than SEEN_MIN times: that much is known of it, and the line begins there.
    bits = max(math.log2(total / SEEN_MIN), 0.0) + slope * (level - known - 1)
    if counts[whole] > 0.0:  # seen, though seldom: it is no rarer than that
        bits = min(bits, math.log2(total / counts[whole]))
    return bits


@kernel
def _bits(counts: Array, level: float) -> float:
    return _surprise(counts, level)


@kernel
def _gates(counts: Array, span: float, offset_bits: float, gate: Array) -> None:
    """gate[family] = the least level whose bits reach the offset; bits do not fall with the level, so halving finds it.

    A family that was not seen is left as it is.
    """
    for f in range(counts.shape[0]):
        if counts[f, 0] < SEEN_MIN:
            continue
        wanted = offset_bits + math.log2(max(counts[f, 0] / span, 1.0))
        low, high = 1, LEVELS
        while low < high:
            middle = (low + high) // 2
            if _surprise(counts[f], float(middle)) >= wanted:
                high = middle
            else:
                low = middle + 1
        gate[f] = low if low < LEVELS else GATE_NONE
