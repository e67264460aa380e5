"""Employees: support agents who read customers' records, and analysts whose exports are heavy-tailed."""

from __future__ import annotations

from typing import Final

import numpy as np

from stream.incidents.rows import EMPLOYEE, EXPORT, I64, LOGIN, READ, Bool, Rows, at, chance, empty, mix
from stream.incidents.setting import Setting, Trait, secrets
from stream.incidents.timeline import HOUR_MS, Timeline

_SUPPORT_DAY: Final = 7.5  # hours after midnight at which the early and the late shift of support begin
_SUPPORT_LATE: Final = 12.5
_ANALYST_DAY: Final = 9.0
_BYTES_PER_RECORD: Final = 180.0
_MORE_PAGES: Final = 0.6  # of the tickets that need the second page, and the third
_WAREHOUSE: Final = ("orders", "baskets", "stock", "visits")


class Staff:
    """Support and analytics, planned a local day at a time."""

    def __init__(self, setting: Setting) -> None:
        figures = setting.world.staff
        self._setting, self._figures = setting, figures
        support = max(figures.support_agents_min, round(setting.accounts * figures.support_agents_per_account))
        analysts = max(figures.analysts_min, round(setting.accounts * figures.analysts_per_account))
        self._support = np.arange(support + analysts) < support
        name = setting.vocabulary
        self._accounts = np.array([name.account(f"emp-{i:05d}") for i in range(support + analysts)], np.int64)
        self._groups = np.where(self._support, name.code("group", "support"), name.code("group", "analytics"))
        self._issuer = name.code("issuer", "sso")
        self._login = name.code("resource", "/sso/login")
        self._records = np.array([name.code("resource", f"/crm/{page}") for page in ("customer", "orders", "address")])
        self._tables = np.array(
            [name.code("resource", f"warehouse/{t}") for t in ("orders", "baskets", "stock", "visits")]
        )
        self._client = name.code(
            "user_agent",
            setting.world.clients.browsers[0].replace("{v}", setting.world.clients.browser_versions[0]),
        )
        self._hired_ms = _hired(setting, support + analysts)

    def rows(self, start_ms: int, stop_ms: int, rng: np.random.Generator) -> Rows:
        """All work of the local days that begin in [start_ms, stop_ms)."""
        days = days_begun(self._setting.timeline, start_ms, stop_ms)
        return np.concatenate([empty(0), *(self._day(day, rng) for day in days)])

    def _day(self, day: int, rng: np.random.Generator) -> Rows:
        people = np.flatnonzero(self._at_work(day))
        support = self._support[people]
        shift = self._shifts(people, day, rng)
        logins = shift[rng.random(len(people)) >= self._setting.world.customers.lost_login_share]
        logins["action"] = LOGIN
        logins["resource"] = self._login
        logins["records"] = 0.0
        return np.concatenate([logins, self._tickets(shift[support], rng), self._exports(shift[~support], rng)])

    def _at_work(self, day: int) -> Bool:
        people = np.arange(len(self._support))
        salt = self._setting.salt
        weekday = (day + 3) % 7
        first_off = (mix(people, salt + Trait.SHIFT) % np.uint64(7)).astype(np.int64)
        off = np.where(self._support, (weekday - first_off) % 7 < 2, weekday >= 5)
        away = chance((people << 20) + day, salt + Trait.LEAVE) < self._figures.leave_share
        return ~off & ~away & (self._hired_ms <= self._setting.timeline.midnight(day))

    def _shifts(self, people: I64, day: int, rng: np.random.Generator) -> Rows:
        """One row each, at the start of the day's work."""
        setting, salt = self._setting, self._setting.salt
        late = chance(people, salt + Trait.SHIFT) < 0.5
        hour = np.where(self._support[people], np.where(late, _SUPPORT_LATE, _SUPPORT_DAY), _ANALYST_DAY)
        begins = setting.timeline.midnight(day) + (hour + rng.normal(0, 0.2, len(people))) * HOUR_MS
        rows = at(empty(len(people)), begins.astype(np.int64))
        rows["account"] = self._accounts[people]
        rows["account_kind"] = EMPLOYEE
        rows["group"] = self._groups[people]
        rows["credential"] = secrets((people << 20) + day, salt + Trait.SECRET)
        rows["issuer"] = self._issuer
        rows["user_agent"] = self._client
        rows["bytes"] = np.rint(rng.uniform(700, 1_100, len(people)))
        remote = chance((people << 20) + day, salt + Trait.REMOTE) < self._figures.remote_share
        office = setting.networks.offices[people % len(setting.networks.offices)]
        network = np.where(remote, setting.networks.choose(setting.networks.home, people, salt + Trait.HIRE), office)
        rows["network"] = network
        rows["source_ip"] = setting.networks.address(network, people, salt + Trait.REMOTE)
        return rows

    def _tickets(self, shift: Rows, rng: np.random.Generator) -> Rows:
        """Each ticket reads up to three pages of one customer."""
        figures = self._figures
        tickets = rng.lognormal(np.log(figures.tickets_median), figures.tickets_sigma, len(shift)).astype(np.int64)
        per_ticket = np.repeat(shift, tickets)
        n = len(per_ticket)
        per_ticket["subject"] = self._setting.member(rng.integers(0, self._setting.accounts, n))
        per_ticket["time"] += self._within_shift(n, rng)
        rows = np.repeat(per_ticket, len(self._records))
        page = np.tile(np.arange(len(self._records)), n)
        at(rows, rows["time"] + page * rng.integers(3_000, 40_000, len(rows)))
        rows["action"] = READ
        rows["resource"] = self._records[page]
        rows["bytes"] = np.rint(rng.lognormal(8, 0.5, len(rows)))
        return rows.take(np.flatnonzero((page == 0) | (rng.random(len(rows)) < _MORE_PAGES)))

    def _exports(self, shift: Rows, rng: np.random.Generator) -> Rows:
        figures = self._figures
        rows = np.repeat(shift, rng.poisson(figures.exports_per_day, len(shift)))
        n = len(rows)
        at(rows, rows["time"] + self._within_shift(n, rng))
        rows["action"] = EXPORT
        rows["resource"] = self._tables[rng.integers(0, len(self._tables), n)]
        rows["records"] = np.ceil(rng.lognormal(np.log(figures.export_records_median), figures.export_records_sigma, n))
        rows["bytes"] = np.rint(rows["records"] * _BYTES_PER_RECORD * rng.uniform(0.8, 1.2, n))
        return rows

    def _within_shift(self, n: int, rng: np.random.Generator) -> I64:
        return (60_000 + rng.random(n) * self._figures.shift_h * HOUR_MS).astype(np.int64)


def _hired(setting: Setting, people: int) -> I64:
    """When each began: most before the stream."""
    numbers, timeline = np.arange(people), setting.timeline
    new = chance(numbers, setting.salt + Trait.HIRE) < setting.world.staff.new_hire_share
    span = timeline.end_ms - timeline.start_ms
    begins = timeline.start_ms + chance(numbers, setting.salt + Trait.HIRE_TIME) * span
    return np.where(new, begins, 0.0).astype(np.int64)


def days_begun(timeline: Timeline, start_ms: int, stop_ms: int) -> range:
    """Local days whose midnight is in [start_ms, stop_ms); the stream's first step also has the day under way."""
    first, last = (timeline.local_day(np.array([start_ms - 1, stop_ms - 1]))).tolist()
    return range(first if start_ms == timeline.start_ms else first + 1, last + 1)
