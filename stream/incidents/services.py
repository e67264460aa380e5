"""Machines: backups, batch jobs, a service that is new, partners' programs, a crawler."""

from __future__ import annotations

from typing import Final

import numpy as np

from stream.incidents.rows import EXPORT, I64, LIST, PARTNER, READ, SERVICE, Rows, at, empty, pick
from stream.incidents.setting import Setting, Trait, cumulated_lognormal, secrets
from stream.incidents.staff import days_begun
from stream.incidents.timeline import DAY_MS, HOUR_MS, SECOND_MS

_PURPOSE: Final = 4
_BACKUP_HOUR: Final = 2.0
_BACKUP_TABLE_S: Final = 150.0
_BYTES_PER_RECORD: Final = 240.0
_POLL_MS: Final = 300_000  # of the new service
_SLOTS: Final = 1_000  # numbers set aside for each kind of machine: the limit of the counts in the figures


def _accounts(setting: Setting, prefix: str, count: int) -> I64:
    return np.array([setting.vocabulary.account(f"{prefix}-{i + 1}") for i in range(count)], np.int64)


def _machine(setting: Setting, account: I64, slot: I64, *, issuer: str, group: str, client: str, outside: bool) -> Rows:
    """One row for each machine with what never changes: its key, its one address, its client."""
    rows = empty(len(account))
    names, networks = setting.vocabulary, setting.networks
    rows["account"] = account
    rows["account_kind"] = PARTNER if issuer == "partner-keys" else SERVICE
    rows["issuer"] = names.code("issuer", issuer)
    rows["group"] = names.code("group", group)
    rows["user_agent"] = names.code("user_agent", client)
    rows["credential"] = secrets(slot, setting.salt + Trait.SERVER)
    kind = networks.hosting if outside else networks.offices
    network = networks.choose(kind, slot, setting.salt + Trait.SERVER)
    rows["network"] = network
    rows["source_ip"] = networks.address(network, slot, setting.salt + Trait.ADDRESS)
    return rows


def _ticks(interval_ms: int, start_ms: int, stop_ms: int) -> I64:
    """Multiples of the interval in [start_ms, stop_ms)."""
    return np.arange(-(-start_ms // interval_ms), -(-stop_ms // interval_ms), dtype=np.int64) * interval_ms


class Services:
    """The retailer's own jobs: regular, with jitter, and now and then run twice."""

    def __init__(self, setting: Setting) -> None:
        figures = setting.world.services
        self._setting, self._figures = setting, figures

        def machines(prefix: str, count: int, base: int, client: str) -> Rows:
            slots = base * _SLOTS + np.arange(count)
            return _machine(
                setting,
                _accounts(setting, prefix, count),
                slots,
                issuer="iam",
                group="platform",
                client=client,
                outside=False,
            )

        self._backups = machines("svc-backup", figures.backups, 0, "pg_dump/16.2")
        self._jobs = machines("svc-batch", figures.batch_jobs, 1, "batch-runner/3.4")
        self._new = machines("svc-recommend", figures.new_services, 2, "recommend/0.1")
        code = setting.vocabulary.code
        self._tables = np.array(
            [code("resource", f"db/table-{i + 1:02d}") for i in range(figures.backup_tables)], np.int16
        )
        self._feeds = np.array([code("resource", f"feed/{i + 1}") for i in range(figures.batch_jobs)], np.int16)
        self._feature = code("resource", "feature-store")
        self._sizes = setting.rng(_PURPOSE).lognormal(-1.0, 1.0, figures.backup_tables)

    def rows(self, start_ms: int, stop_ms: int, rng: np.random.Generator) -> Rows:
        """Runs that begin in [start_ms, stop_ms); backups of the local days that do."""
        nights = [self._night(day, rng) for day in days_begun(self._setting.timeline, start_ms, stop_ms)]
        return np.concatenate(
            [empty(0), *nights, self._batches(start_ms, stop_ms, rng), self._polls(start_ms, stop_ms, rng)]
        )

    def _night(self, day: int, rng: np.random.Generator) -> Rows:
        """Every backup reads all tables one after the other; a rerun does so again an hour later."""
        n, tables = len(self._backups), len(self._tables)
        again = np.flatnonzero(rng.random(n) < self._figures.rerun_share)
        backup = np.append(np.arange(n), again)
        hour = _BACKUP_HOUR + 0.5 * backup + (np.arange(len(backup)) >= n)
        jitter = rng.normal(0, self._figures.jitter_s * SECOND_MS, len(backup))
        begins = self._setting.timeline.midnight(day) + hour * HOUR_MS + jitter
        rows = np.repeat(self._backups[backup], tables)
        table = np.tile(np.arange(tables), len(backup))
        step = _BACKUP_TABLE_S * SECOND_MS * table + rng.uniform(0, self._figures.jitter_s * SECOND_MS, len(rows))
        at(rows, (np.repeat(begins, tables) + step).astype(np.int64))
        rows["action"] = EXPORT
        rows["resource"] = self._tables[table]
        size = self._setting.accounts * self._figures.backup_records_per_account * self._sizes[table]
        rows["records"] = np.ceil(size * rng.lognormal(0, 0.01, len(rows)))
        rows["bytes"] = np.rint(rows["records"] * _BYTES_PER_RECORD)
        return rows

    def _batches(self, start_ms: int, stop_ms: int, rng: np.random.Generator) -> Rows:
        ticks = _ticks(int(self._figures.batch_interval_s * SECOND_MS), start_ms, stop_ms)
        jobs = len(self._jobs)
        rows = np.repeat(self._jobs, len(ticks))
        job = np.repeat(np.arange(jobs), len(ticks))
        jitter = rng.uniform(0, self._figures.jitter_s * SECOND_MS, len(rows)) + job * 20_000
        at(rows, np.tile(ticks, jobs) + jitter.astype(np.int64))
        rows["action"] = LIST
        rows["resource"] = self._feeds[job]
        rows["records"] = np.rint(rng.normal(200 + 50 * job, 12)).clip(1)
        rows["bytes"] = rows["records"] * _BYTES_PER_RECORD
        return rows

    def _polls(self, start_ms: int, stop_ms: int, rng: np.random.Generator) -> Rows:
        ticks = _ticks(_POLL_MS, max(start_ms, self._setting.timeline.new_service_ms), stop_ms)
        rows = np.repeat(self._new, len(ticks))
        at(rows, np.tile(ticks, len(self._new)) + rng.integers(0, 2_000, len(rows)))
        rows["action"] = READ
        rows["resource"] = self._feature
        rows["records"] = np.rint(rng.normal(80, 6, len(rows))).clip(1)
        rows["bytes"] = rows["records"] * _BYTES_PER_RECORD
        return rows


class Partners:
    """Programs of other companies: a key that no login issued, a server, a rate of their own."""

    def __init__(self, setting: Setting) -> None:
        figures = setting.world.services
        count = max(figures.partners_min, round(setting.accounts * figures.partners_per_account))
        self._setting = setting
        self._per_day = count * figures.partner_requests_per_day
        self._machines = _machine(
            setting,
            _accounts(setting, "partner", count),
            np.arange(count) + 4 * _SLOTS,
            issuer="partner-keys",
            group="partners",
            client="python-requests/2.32.3",
            outside=True,
        )
        self._activity = cumulated_lognormal(max(1, count), figures.partner_sigma, setting.rng(_PURPOSE, 1))
        self._orders = setting.vocabulary.code("resource", "/partner/v1/orders")

    def rows(self, start_ms: int, stop_ms: int, rng: np.random.Generator) -> Rows:
        """Requests in [start_ms, stop_ms), with the customers' season."""
        time = self._setting.timeline.arrivals(self._per_day, start_ms, stop_ms, rng)
        rows = at(self._machines[pick(self._activity, rng.random(len(time)))], time)
        rows["action"] = READ
        rows["resource"] = self._orders
        rows["subject"] = self._setting.member(rng.integers(0, self._setting.accounts, len(time)))
        rows["bytes"] = np.rint(rng.lognormal(7.2, 0.4, len(time)))
        return rows


class Crawlers:
    """Marketing's crawler: reads product pages at an even rate, day and night."""

    def __init__(self, setting: Setting) -> None:
        figures = setting.world.services
        self._per_day = figures.crawler_requests_per_account_day * setting.accounts * figures.crawlers
        self._machines = _machine(
            setting,
            _accounts(setting, "svc-crawler", figures.crawlers),
            np.arange(figures.crawlers) + 3 * _SLOTS,
            issuer="iam",
            group="marketing",
            client="PriceWatch/2.1",
            outside=True,
        )
        self._pages = setting.pages
        self._product = setting.pages.catalogue

    def rows(self, start_ms: int, stop_ms: int, rng: np.random.Generator) -> Rows:
        """Requests in [start_ms, stop_ms)."""
        n = int(rng.poisson(self._per_day * (stop_ms - start_ms) / DAY_MS))
        rows = at(self._machines[rng.integers(0, max(1, len(self._machines)), n)], rng.integers(start_ms, stop_ms, n))
        self._pages.fill(rows, np.full(n, self._product), rng)
        return rows
