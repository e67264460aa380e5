"""volume: how much is read, against one's own past, one's peers and everybody's present."""

from __future__ import annotations

from tests.detectors.scenes import WHEN, entities, judged, usual
from tests.streams import DAY_MS, HOUR_MS, START_MS, event

TAKEN = [
    event(WHEN + i * 3_000, "user-7", credential="t-user-7-6", source_ip="198.51.7.8", records=50) for i in range(100)
]


def test_an_account_that_reads_a_thousand_times_its_usual_is_found() -> None:
    alerts = judged("volume", usual() + TAKEN)
    assert alerts
    assert ("account", "user-7") in entities(alerts)
    assert max(a.impact.records for a in alerts) > 0


def test_what_is_usual_is_not() -> None:
    """The benign twin: the same records read by a job that reads as many every night."""
    assert judged("volume", usual()) == []


def test_a_sale_accuses_no_one() -> None:
    """Everybody reads four times as much on one day."""
    busy = [
        event(WHEN + n * 100_000 // 150 + i * 20_000, f"user-{n}", credential=f"t-{n}-6",
              source_ip=f"198.51.{n % 100}.{n % 250 + 1}")
        for n in range(150) for i in range(20)
    ]  # fmt: skip
    assert not [a for a in judged("volume", usual() + busy) if a.entity.kind in ("account", "source", "credential")]


def test_nothing_is_said_while_it_learns() -> None:
    """The cold start: the same theft in the first hours is not told."""
    early = [event(START_MS + 20 * HOUR_MS + i * 3_000, "user-7", records=50) for i in range(100)]
    assert judged("volume", usual() + early) == []


def test_growing_slowly_is_not_found() -> None:
    """The evasion that its docstring admits: less than a doubling a week drags the baseline along."""
    slow = [
        event(START_MS + day * DAY_MS + 11 * HOUR_MS + i * 60_000, "grower", records=round(20 * 1.08**day))
        for day in range(28) for i in range(10)
    ]  # fmt: skip
    assert ("account", "grower") not in entities(judged("volume", usual(days=28) + slow))
