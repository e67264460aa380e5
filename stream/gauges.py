"""What detectors measure of an entity now, beside what they would let pass: for people to look at, read from state.

A figure is what was observed, what was expected and the most that surprises no one: three deviates, or as many bits.
All three are NaN where there is nothing to tell: before the population has samples enough to judge anyone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, Protocol

import numpy as np

from detectors.base import CLASSES, HORIZONS_S, HOUR_MS, KINDS, Detector, Feature
from detectors.baselines.buckets import PEOPLE_MIN, SPREAD_MIN
from detectors.baselines.level import LevelDetector
from detectors.baselines.share import FAST_MS, SHARE, TRIALS_MIN, ShareDetector
from detectors.kernels import normal_tail_bits, share_bits
from stream.state import Table

SHORT: Final = 0  # place of the short horizon in HORIZONS_S
DEVIATES: Final = 3.0  # of the band, as in LevelDetector.band
BITS: Final = normal_tail_bits(DEVIATES)  # as surprising
HALVINGS: Final = 20

Figure = tuple[float, float, float]  # observed, expected, upper
NOTHING: Final[Figure] = (math.nan, math.nan, math.nan)


class Gauge(Protocol):
    """A detector, looked at for one entity at a time."""

    id: str  # the detector's
    window_s: float  # that its figures cover, about
    features: tuple[Feature, ...]

    def read(self, table: Table, slot: int, now_ms: int) -> list[Figure]:
        """A figure for each feature."""
        ...

    def foretell(self, table: Table, slot: int, ms: int) -> list[Figure]:
        """The same for a time at which nobody looked: as far as it can be told, with nothing observed."""
        ...


def gauges(detectors: Iterable[Detector], kind: str) -> list[Gauge]:
    """The gauges that there are for entities of this kind."""
    found: list[Gauge] = []
    for detector in detectors:
        if isinstance(detector, LevelDetector) and kind in detector.kinds:
            found.append(LevelGauge(detector))
        elif isinstance(detector, ShareDetector) and _keeps_shares(detector, kind):
            found.append(ShareGauge(detector, detector.id, detector.features[-1]))  # the last is the one of crowds
    return found


def _keeps_shares(detector: Detector, kind: str) -> bool:
    """Whether its rows of this kind begin as `SHARE` has them: some detectors keep shares of their own."""
    if kind not in detector.kinds:
        return False
    row = detector.columns[kind]
    return all(name in (row.names or ()) and row[name] == SHARE[name] for name in SHARE.names or ())


class LevelGauge:
    """Decayed sums of the short horizon against the level's band."""

    window_s = HORIZONS_S[SHORT]

    def __init__(self, detector: LevelDetector) -> None:
        self.id, self.features = detector.id, detector.features
        self._detector = detector
        self._hour = -1
        self._band: list[tuple[float, float]] = []

    def read(self, table: Table, slot: int, now_ms: int) -> list[Figure]:
        """A figure for each feature; the band is that of the hour's first reading, since buckets are hours."""
        if now_ms // HOUR_MS != self._hour:
            self._hour, self._band = now_ms // HOUR_MS, self._bands(table, slot, now_ms)
        fade = math.exp(-max(now_ms - int(table.entities["seen"][slot]), 0) / (1000.0 * self.window_s))
        sums = table.columns[self.id]["sum"][slot, SHORT].tolist()
        return [(fade * seen, *band) for seen, band in zip(sums, self._band, strict=True)]

    def foretell(self, table: Table, slot: int, ms: int) -> list[Figure]:
        """The band of that hour and day of the week."""
        return [(math.nan, *band) for band in self._bands(table, slot, ms)]

    def _bands(self, table: Table, slot: int, ms: int) -> list[tuple[float, float]]:
        detector, state = self._detector, table.columns[self.id]
        klass = likely_class(detector, table.kind, float(state["mean"][slot, SHORT, 0]))
        people = detector.state["population"][KINDS.index(table.kind), klass, SHORT, :, 0].tolist()
        _, expected, upper = (each[SHORT].tolist() for each in detector.band(table.kind, klass, state, slot, ms))
        return [(e, u) if n >= PEOPLE_MIN else NOTHING[1:] for n, e, u in zip(people, expected, upper, strict=True)]


class ShareGauge:
    """Hits among the trials of an hour against their expected share."""

    window_s = FAST_MS / 1000.0

    def __init__(self, detector: ShareDetector, detector_id: str, feature: Feature) -> None:
        self.id = detector_id
        self.features: tuple[Feature, ...] = (feature,)
        self._detector = detector

    def read(self, table: Table, slot: int, now_ms: int) -> list[Figure]:
        """The figure of its feature."""
        row = table.columns[self.id][slot : slot + 1]
        fade = math.exp(-max(now_ms - int(row["seen"][0]), 0) / FAST_MS)
        trials, hits, excuse = (fade * float(row[name][0]) for name in ("trials", "hits", "excuse"))
        if self._detector.state["population"][KINDS.index(table.kind), 0] < TRIALS_MIN:
            return [(hits, *NOTHING[1:])]
        share = float(self._detector.shares(table.kind, row)[0])
        share += min(excuse / trials, 1.0) * (1.0 - share) if trials > 0.0 else 0.0
        return [(hits, trials * share, most_hits(trials, share))]

    def foretell(self, table: Table, slot: int, ms: int) -> list[Figure]:  # noqa: ARG002 - it knows no trials of then
        """Nothing: how many trials there were is not known."""
        return [NOTHING]


def most_hits(trials: float, share: float) -> float:
    """How many hits of `trials` surprise no more than three deviates of a normal do, at most all of them.

    >>> round(most_hits(1000.0, 0.01), 1), most_hits(2.0, 0.2)
    (23.3, 2.0)
    """
    low, high = trials * share, trials
    if share_bits(high, trials, share) <= BITS:
        return high
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if share_bits(middle, trials, share) < BITS else (low, middle)
    return low


def likely_class(detector: LevelDetector, kind: str, mean: float) -> int:
    """The account kind whose population an entity with this mean of its first feature's logs most likely belongs to.

    Rows of state do not say whose they are. Each population has a size, a mean and a variance: its share times the
    normal density at the entity's own mean is the weight of the class, up to a constant.
    """
    if kind == "fleet":
        return 0
    population = detector.state["population"][KINDS.index(kind), :CLASSES, SHORT, 0]
    size, centre, variance = population[:, 0], population[:, 1], np.maximum(population[:, 2], SPREAD_MIN**2)
    weight = np.log(np.maximum(size, 1e-9)) - 0.5 * (np.log(variance) + (mean - centre) ** 2 / variance)
    weight[size < PEOPLE_MIN] -= 1e6
    return int(np.argmax(weight))
