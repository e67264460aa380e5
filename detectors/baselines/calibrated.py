"""What detectors have in common whose findings are calibrated by how often their own population shows the like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.base import HOUR_MS, KINDS, SERVICE, Array, Columns, Feature
from detectors.baselines.calibration import Survival

MACHINES_PARTS: Final = 8.0  # of what chance may spend, for where machines are
NEAR_LEVELS: Final = 8  # below the gate: from here on what adds up over days marks its events, for an alert to show


def parts_by_place(kind: str, klass: int) -> float:
    """Machines do not travel, and a key that does is what thieves want most: theirs is a larger part."""
    return MACHINES_PARTS if klass >= SERVICE and kind in ("account", "credential") else 1.0


class Calibrated:
    """Keeps the survival counts, reads them anew every hour, and saves what belongs to no entity.

    features, horizons: how many are counted apart; where it is one, all share it.
    capped: whether a finding's own bits hold by themselves, as those of an e-process do: then no more are told.
    state: the arrays that belong to no entity; who has more adds them, and `load` fills all of them in place.
    """

    features: tuple[Feature, ...] = ()
    capped = False

    def __init__(self, offset_bits: float, features: int = 1, horizons: int = 1) -> None:
        self._offset_bits = offset_bits
        self._survival = Survival(len(KINDS), horizons, features)
        self._hour = np.zeros(1, np.int64)
        self.state: Columns = dict(self._survival.arrays())

    @property
    def overflowed(self) -> int:
        """How often something was not judged for want of room."""
        return 0

    def upkeep(self, now_ms: int) -> bool:
        """Hourly: roll the day and read the calibration anew; whether it did."""
        if now_ms // HOUR_MS == self._hour[0]:
            return False
        self._hour[0] = now_ms // HOUR_MS
        self._survival.roll(now_ms)
        self._survival.refresh(now_ms, self._offset_bits)
        return True

    def tick(self, now_ms: int, columns: Mapping[str, Array]) -> list[Array]:
        """Nothing but upkeep is due by the clock."""
        self.upkeep(now_ms)
        return []

    def bits(self, finding: Any) -> tuple[float, float]:
        """Calibrated bits of a finding, and how many such entity-windows a day there are."""
        wanted = (int(finding[name]) for name in ("kind", "klass", "horizon", "feature"))
        family = tuple(min(at, apart - 1) for at, apart in zip(wanted, self._survival.shape, strict=True))
        raw = float(finding["bits"])
        bits = self._survival.bits(family, raw)
        return min(bits, raw) if self.capped else bits, self._survival.per_day(family)

    def measures(self, kind: str) -> int:
        """All its features."""
        return len(self.features)

    def parts(self, kind: str, klass: int) -> float:
        """One, as everybody's."""
        return 1.0

    def stands(self, credentials: npt.NDArray[np.int32], columns: Mapping[str, Array]) -> npt.NDArray[np.bool_]:
        """What was measured once stays so."""
        return np.ones(len(credentials), np.bool_)

    def save(self) -> Columns:
        """What belongs to no entity."""
        return dict(self.state)

    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from what `save` gave."""
        for name, array in self.state.items():
            array[...] = state[name]
