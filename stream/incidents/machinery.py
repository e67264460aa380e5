"""Programs of a company: jobs on the clock, nightly runs, clients that poll, a migration."""

from __future__ import annotations

from typing import Final

import numpy as np

from stream.incidents.company import Machines
from stream.incidents.drafts import ACCOUNT_KIND, ACTION, Draft, draft, joined, names, refuse, take, texts
from stream.incidents.places import Places, keys
from stream.incidents.rows import F64, I64, chance, pick
from stream.incidents.timeline import DAY_MS, HOUR_MS
from stream.incidents.workforce import Calendar

_GROWTH: Final = 0.003  # of a table, a day
_MIGRATION_RECORDS: Final = 200  # a call
_RETRIES: Final = 3


class Machinery:
    """Programs of one kind, each with its key, its place and its sizes."""

    def __init__(
        self, figures: Machines, calendar: Calendar, places: Places, scale: float, rng: np.random.Generator
    ) -> None:
        self._figures, self._calendar = figures, calendar
        once = figures.schedule in ("nightly", "once")
        self._n = n = figures.count if once else max(1, round(figures.count * scale))
        self._scale = scale
        self._salt = int(rng.integers(1 << 20))
        self._accounts = names(f"{figures.name}-", n, 3)
        self._places = places
        inside = places.networks["company"]
        self._network = (
            inside[np.arange(n) % len(inside)] if figures.place == "inside"
            else places.choose("hosting", np.arange(n), self._salt)
        )  # fmt: skip
        self._size = np.exp(figures.size_sigma * rng.standard_normal(n))
        self._table = np.exp(figures.records_sigma * rng.standard_normal((n, max(1, round(figures.calls)))))
        low, high = sorted(figures.start)
        self._first_day = int(rng.uniform(low, high) * calendar.days) if high > 0 else -1
        self._new_key_day = np.where(figures.rotation, rng.integers(2, max(calendar.days, 3), n), calendar.days + 1)
        self._numbers = np.zeros(n, np.int64)  # how far each has walked

    def day(self, day: int, rng: np.random.Generator) -> Draft:
        """All calls of the runs that begin on a local day."""
        figures = self._figures
        if day < self._first_day or (figures.schedule == "once" and day != self._first_day):
            return joined([])
        who, time, call = getattr(self, f"_{figures.schedule}")(rng)
        if not len(who):
            return joined([])
        time = time + self._calendar.midnight(day)
        order = np.argsort(time, kind="stable")
        who, time, call = who[order], time[order], call[order]
        events = draft(
            time, account=self._accounts[who], account_kind=ACCOUNT_KIND[figures.kind], group=figures.group,
            action=ACTION[figures.action], user_agent=figures.client, issuer=f"{figures.kind}-keys",
            resource=texts(figures.resource.replace("{n}", f"{c:02d}") for c in call.tolist()),
        )  # fmt: skip
        events["records"] = self._records(who, call, day, rng)
        events["bytes"] = np.rint(events["records"] * figures.bytes_per_record * rng.uniform(0.95, 1.05, len(who)))
        self._places.put(events, self._network[who], who * 13 + self._salt)
        events["credential"] = keys(who * 2 + (day >= self._new_key_day[who]), self._salt)
        if figures.walk:
            events["object"] = texts(f"page-{number}" for number in self._walked(who).tolist())
        return joined([events, self._retried(events, who, day, rng)])

    def _interval(self, rng: np.random.Generator) -> tuple[I64, I64, I64]:
        figures = self._figures
        per_day = int(86_400 / figures.interval_s)
        who, turn = np.repeat(np.arange(self._n), per_day), np.tile(np.arange(per_day), self._n)
        phase = chance(np.arange(self._n), self._salt)[who]
        jitter = np.abs(rng.normal(0, figures.jitter_s, len(who)))
        return (
            who,
            (((turn + phase) * figures.interval_s + jitter) * 1000).astype(np.int64),
            np.zeros(len(who), np.int64),
        )

    def _nightly(self, rng: np.random.Generator) -> tuple[I64, I64, I64]:
        figures, calls = self._figures, max(1, round(self._figures.calls))
        runs = np.flatnonzero(rng.random(self._n) >= figures.skip_share)
        begins = figures.at_h * HOUR_MS + rng.exponential(figures.jitter_s * 1000, len(runs))
        again = rng.random(len(runs)) < figures.rerun_share
        runs = np.concatenate([runs, runs[again]])
        begins = np.concatenate([begins, begins[again] + rng.uniform(1, 3, int(again.sum())) * HOUR_MS])
        gaps = figures.gap_s * 1000 * rng.uniform(0.8, 1.2, (len(runs), calls))
        time = (begins[:, None] + np.cumsum(gaps, axis=1)).ravel().astype(np.int64)
        return np.repeat(runs, calls), time, np.tile(np.arange(calls), len(runs))

    def _poll(self, rng: np.random.Generator) -> tuple[I64, I64, I64]:
        count = rng.poisson(self._figures.calls * self._size * np.exp(0.2 * rng.standard_normal(self._n)))
        who = np.repeat(np.arange(self._n), count)
        hours = np.cumsum(np.sqrt(self._calendar.company.hours))
        hour = pick(hours / hours[-1], rng.random(len(who))) + rng.random(len(who))
        return who, (hour * HOUR_MS).astype(np.int64), np.zeros(len(who), np.int64)

    def _once(self, rng: np.random.Generator) -> tuple[I64, I64, I64]:
        calls = max(1, round(self._calendar.company.subjects * self._scale / _MIGRATION_RECORDS))
        gaps = self._figures.gap_s * 1000 * rng.uniform(0.7, 1.3, calls)
        time = (self._figures.at_h * HOUR_MS + np.cumsum(gaps)).astype(np.int64)
        return np.zeros(calls, np.int64), time[time < DAY_MS], np.zeros(calls, np.int64)

    def _records(self, who: I64, call: I64, day: int, rng: np.random.Generator) -> F64:
        figures, n = self._figures, len(who)
        if figures.schedule == "once":
            return np.full(n, float(_MIGRATION_RECORDS))
        if figures.schedule == "nightly":
            size = self._table[who, call % self._table.shape[1]] * (1 + _GROWTH * day)
            records: F64 = np.ceil(figures.records_median * self._scale * size * rng.normal(1.0, 0.01, n).clip(0.9))
            return records
        calls: F64 = np.ceil(figures.records_median * np.exp(figures.records_sigma * rng.standard_normal(n)))
        return calls

    def _walked(self, who: I64) -> I64:
        """The next number of each; who is in the order of time."""
        order = np.argsort(who, kind="stable")
        counts = np.bincount(who, minlength=self._n)
        place = np.empty(len(who), np.int64)
        place[order] = np.arange(len(who)) - np.repeat(np.cumsum(counts) - counts, counts)
        number = self._numbers[who] + place
        self._numbers += counts
        return number

    def _retried(self, events: Draft, who: I64, day: int, rng: np.random.Generator) -> Draft:
        """An hour in which most calls fail and are tried again."""
        bad = rng.random(self._n) < self._figures.retry_share
        begin = self._calendar.midnight(day) + rng.integers(0, 23 * HOUR_MS, self._n)
        within = bad[who] & (events["time"] >= begin[who]) & (events["time"] < begin[who] + HOUR_MS)
        failed = take(events, np.repeat(np.flatnonzero(within), _RETRIES))
        failed["time"] = failed["arrival"] = failed["time"] + rng.integers(500, 60_000, len(failed["time"]))
        refuse(failed, np.ones(len(failed["time"]), np.bool_))
        return failed
