"""How long something took, as a histogram of fixed bounds: what a scrape reads, and nothing that grows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

BATCH_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# From the access that gave an alert its evidence to the telling: a tick of stream time is 30 s, a backlog is hours.
DELAY_S: Final = (15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 21_600.0, 86_400.0)


class Durations:
    """Counts by upper bound, in seconds, and their sum.

    >>> taken = Durations((1.0, 10.0))
    >>> for seconds in (0.5, 1.0, 3.0, 99.0):
    ...     taken.add(seconds)
    >>> taken.cumulative(), taken.sum_s
    ([('1.0', 2), ('10.0', 3), ('+Inf', 4)], 103.5)
    """

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds_s = tuple(bounds_s)
        self._counts = [0] * (len(self._bounds_s) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one; below zero, as clocks of two machines may have it, is zero."""
        self._counts[bisect_left(self._bounds_s, seconds)] += 1
        self.sum_s += max(seconds, 0.0)

    def cumulative(self) -> list[tuple[str, int]]:
        """How many took at most each bound, as Prometheus wants them; the last is all."""
        total, out = 0, []
        for bound, count in zip((*map(str, self._bounds_s), "+Inf"), self._counts, strict=True):
            total += count
            out.append((bound, total))
        return out
