"""A small company before something happens, and what one detector alone says of it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from detectors import catalog
from stream.alerts import Alert
from stream.config import Config
from stream.events import AccessEvent
from tests.streams import DAY_MS, HOUR_MS, START_MS, block, event, regulars, run

DAYS = 8
WHEN = START_MS + 6 * DAY_MS + 11 * HOUR_MS  # in the middle of a working day, when everything is learned


def usual(accounts: int = 150, seed: int = 1, days: int = DAYS, jobs: int = 8) -> list[AccessEvent]:
    """Customers who log in about nine and read a few pages of their own, and nightly jobs of a service."""
    rng = np.random.default_rng(seed)
    events = regulars(days, accounts, rng)
    for day in range(days):
        at = START_MS + day * DAY_MS + 2 * HOUR_MS
        events += [
            event(
                at + job * 60_000, f"job-{job}", "export", "warehouse", account_kind="service", credential=f"key-{job}",
                issuer="iam", source_ip=f"10.0.0.{job}", user_agent="batch/1", subject="", bytes=10**6,
                records=int(3_000 * rng.lognormal(0, 0.2)),
            )
            for job in range(jobs)
        ]  # fmt: skip
    return events


def judged(detector: str, events: Iterable[AccessEvent], warmup_h: float = 72.0, budget: float = 5.0) -> list[Alert]:
    """The alerts that this detector alone opens."""
    only = {each: each == detector for each in catalog.detector_ids()}
    config = Config(alerts_per_day_max=budget, detectors=only, warmup_h=warmup_h, session_lifetime_h=24.0)
    _, alerts = run([block(events)], config)
    assert all(alert.detectors == (detector,) for alert in alerts)
    return [alert for alert in alerts if alert.status == "open"]


def entities(alerts: Iterable[Alert]) -> set[tuple[str, str]]:
    """What the alerts are about, and what they name beside it."""
    return {(e.kind, e.value) for alert in alerts for e in (alert.entity, *alert.related)}
