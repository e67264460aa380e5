"""When things happen in a world: the season, the sale, and the moments that the seed moves about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np

from stream.incidents.figures import Window, World
from stream.incidents.rows import F64, I64

SECOND_MS: Final = 1_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
NEVER: Final = 2**62  # later than every event
_GRID_MS: Final = 300_000  # the season is taken as even within five minutes


@dataclass(frozen=True, slots=True)
class Timeline:
    """Season and moments of one run. Times are epoch ms; NEVER where a figure switches the event off."""

    start_ms: int
    end_ms: int
    utc_offset_ms: int
    sale_ms: int
    sale_end_ms: int
    rotation_ms: int
    release_ms: int
    new_service_ms: int
    _hours: F64
    _weekdays: F64
    _sale_factor: float
    _sale_ramp_ms: float

    def local_day(self, time_ms: I64) -> I64:
        """Days since 1970-01-01 on the wall calendar."""
        return (time_ms + self.utc_offset_ms) // DAY_MS

    def midnight(self, day: int) -> int:
        """Epoch ms at which a local day begins."""
        return day * DAY_MS - self.utc_offset_ms

    def season(self, time_ms: I64) -> F64:
        """Customers' activity by hour and weekday, mean 1 over a week, times the sale."""
        hour = (time_ms + self.utc_offset_ms) % DAY_MS / HOUR_MS
        weekday = (self.local_day(time_ms) + 3) % 7  # day 0 was a Thursday
        level = np.interp(hour, np.arange(24) + 0.5, self._hours, period=24) * self._weekdays[weekday]
        rise = np.clip((time_ms - self.sale_ms) / self._sale_ramp_ms, 0.0, 1.0)
        fall = np.clip((self.sale_end_ms - time_ms) / self._sale_ramp_ms, 0.0, 1.0)
        factors: F64 = level * (1.0 + (self._sale_factor - 1.0) * np.minimum(rise, fall))
        return factors

    def arrivals(self, per_day: float, start_ms: int, stop_ms: int, rng: np.random.Generator) -> I64:
        """Sorted times of a Poisson process in [start_ms, stop_ms) that follows the season; `per_day` is its mean."""
        edges = np.append(np.arange(start_ms, stop_ms, _GRID_MS), stop_ms)
        expected = np.diff(edges) / DAY_MS * per_day * self.season(edges[:-1])
        cumulated = np.append(0.0, np.cumsum(expected))
        n = rng.poisson(cumulated[-1])
        times: I64 = np.interp(np.sort(rng.random(n)) * cumulated[-1], cumulated, edges).astype(np.int64)
        return times


def make_timeline(world: World, days: float, seed: int) -> Timeline:
    """The moments of this seed."""
    rng = np.random.default_rng([seed, 1])
    first = datetime.strptime(world.first_day, "%Y-%m-%d").replace(tzinfo=UTC)
    start = int(first.timestamp()) * 1_000 + int(rng.integers(7)) * DAY_MS
    span = int(days * DAY_MS)

    def moment(window: Window, happens: bool) -> int:
        at = start + int(rng.uniform(min(window), max(window)) * span) // 60_000 * 60_000
        return at if happens else NEVER

    sale = moment(world.sale.window, world.sale.factor > 1)
    hours, weekdays = np.array(world.hours), np.array(world.weekdays)
    return Timeline(
        start_ms=start,
        end_ms=start + span,
        utc_offset_ms=int(world.utc_offset_h * HOUR_MS),
        sale_ms=sale,
        sale_end_ms=sale + int(world.sale.duration_h * HOUR_MS),
        rotation_ms=moment(world.keys.window, world.keys.rotation),
        release_ms=moment(world.release.window, bool(world.release.version)),
        new_service_ms=moment(world.services.new_service_window, world.services.new_services > 0),
        _hours=hours / hours.mean(),
        _weekdays=weekdays / weekdays.mean(),
        _sale_factor=world.sale.factor,
        _sale_ramp_ms=world.sale.ramp_h * HOUR_MS,
    )
