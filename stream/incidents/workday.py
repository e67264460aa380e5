"""A company's log, one local day after the other, in the order in which its lines are written."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import numpy as np

from stream.errors import UsageError
from stream.incidents.company import Company
from stream.incidents.drafts import Draft, in_order, joined, take
from stream.incidents.machinery import Machinery
from stream.incidents.places import Places
from stream.incidents.timeline import DAY_MS, HOUR_MS
from stream.incidents.workforce import Calendar, Workforce

SCALE_MAX: Final = 1_000.0
DAYS_MAX: Final = 400
_NEVER: Final = 1 << 20


def calendar_of(company: Company, days: int, seed: int) -> Calendar:
    """When this seed's oddities happen."""
    rng = np.random.default_rng([seed, 11])
    first = datetime.strptime(company.first_day, "%Y-%m-%d").replace(tzinfo=UTC)
    start = int(first.timestamp()) * 1000 + int(rng.integers(7)) * DAY_MS
    odd = company.oddities

    def moment(window: tuple[float, float]) -> float:
        return float(rng.uniform(min(window), max(window)) * days)

    return Calendar(
        company=company, start_ms=start, days=days, surge_day=int(moment(odd.surge)),
        outage_ms=start + int(moment(odd.outage) * DAY_MS) if odd.outage_h else 0, release_day=moment(odd.release),
        move_day=int(moment(odd.move)) if odd.moves else _NEVER,
    )  # fmt: skip


def workdays(company: Company, *, scale: float, days: int, seed: int) -> Iterator[tuple[int, Draft]]:
    """The stream's days: epoch ms at which each begins, and its events in the order of the log.

    The same arguments give the same events. What a session leaves for the next day comes with that day. UsageError
    where an argument is out of its limits.
    """
    if not 0 < scale <= SCALE_MAX:
        raise UsageError(f"scale = {scale}: must be above 0 and at most {SCALE_MAX:g}")
    if not 1 <= days <= DAYS_MAX:
        raise UsageError(f"days = {days}: must be from 1 to {DAYS_MAX}")
    if not 0 <= seed < 2**63:
        raise UsageError(f"seed = {seed}: must be from 0 to 2^63 - 1")
    calendar = calendar_of(company, days, seed)
    teams = max((people.teams for people in company.people if people.site == "team"), default=1)
    places = Places(company.offices, teams, company.country, np.random.default_rng([seed, 12]))
    crews: list[Workforce | Machinery] = [
        Workforce(people, calendar, places, scale, np.random.default_rng([seed, 13, i]))
        for i, people in enumerate(company.people)
    ]
    crews += [
        Machinery(machines, calendar, places, scale, np.random.default_rng([seed, 14, i]))
        for i, machines in enumerate(company.machines)
    ]
    offset = int(company.utc_offset_h * HOUR_MS)
    rest = joined([])
    for day in range(-1, days):  # whoever works at night began the day before
        drafts = [crew.day(day, np.random.default_rng([seed, 15, i, day + 1])) for i, crew in enumerate(crews)]
        whole = in_order(joined([rest, *drafts]))
        begin, end = calendar.start_ms + day * DAY_MS - offset, calendar.start_ms + (day + 1) * DAY_MS - offset
        cut = np.searchsorted(whole["arrival"], end)
        if day >= 0:
            first = int(np.searchsorted(whole["arrival"], begin))
            yield begin, take(whole, np.arange(first, cut))
        rest = take(whole, np.arange(cut, len(whole["arrival"])))
