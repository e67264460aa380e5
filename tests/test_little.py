"""What is not worth a word is told to nobody, and counted."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from detectors import catalog
from detectors.fusion import Evidence
from stream.config import Config
from stream.events import AccessEvent
from stream.pipeline import Pipeline
from tests.detectors.scenes import WHEN, usual
from tests.streams import HOUR_MS, START_MS, block, event, run

AMOUNTS = Config(detectors={each: each in ("volume", "fan_out") for each in catalog.detector_ids()}, warmup_h=72.0)
PROBE = {"probe", "key-probe", "10.9.0.99", "uptime/1", "uptime"}
BLIND = Config(detectors={each: each == "volume" for each in catalog.detector_ids()}, warmup_h=72.0)


def probe(at: int, whose: str, records: int = 1) -> AccessEvent:
    """Sees whether the service answers."""
    return event(at, "probe", "read", "/api", account_kind="service", credential="key-probe", issuer="uptime",
                 source_ip="10.9.0.99", user_agent="uptime/1", subject=whose, records=records, bytes=5_000)  # fmt: skip


def probes() -> list[AccessEvent]:
    """Every five minutes, eight customers that are none in turn; nearly as many machines do something else."""
    return [
        probe(START_MS + n * 300_000, f"test-{n % 8}") for n in range((WHEN - START_MS) // 300_000 + 60)
    ]  # fmt: skip


def more(count: int, people: int, records: int = 1) -> list[AccessEvent]:
    """So many requests more within the hour."""
    return [probe(WHEN + n * HOUR_MS // count, f"test-{n % people}", records) for n in range(count)]


def opened(events: Iterable[AccessEvent], config: Config = AMOUNTS) -> tuple[Pipeline, set[str]]:
    """The pipeline, and whom alerts were opened about."""
    pipeline, alerts = run([block([*usual(), *probes(), *events])], config)
    return pipeline, {alert.entity.value for alert in alerts if alert.status == "open"}


def test_a_probe_that_asks_more_often_about_the_same_few_is_no_alert() -> None:
    """It has a new interval; it is counted as what was little."""
    pipeline, about = opened(more(2_000, 8))
    assert about == set()
    assert pipeline.correlator.budget.held_back["little"] >= 1


@pytest.mark.parametrize(("records", "size"), [(0, 0), (1, 0), (0, 5_000)])
def test_a_probe_that_reads_nothing_is_no_alert_however_often_it_asks(records: int, size: int) -> None:
    """It has a new interval; what it reads now is a record or some bytes where it read nothing."""
    asks = [
        replace(each, subject="", records=records * (int(each.time) >= WHEN), bytes=size * (int(each.time) >= WHEN))
        for each in (*probes(), *more(4_000, 1))
    ]  # fmt: skip
    pipeline, alerts = run([block([*usual(), *asks])], AMOUNTS)
    assert bool({alert.entity.value for alert in alerts if alert.status == "open"} & PROBE) == bool(records or size)
    assert records or size or pipeline.correlator.budget.held_back["little"] >= 1
    entity = "account", "probe"
    volume, fan_out = (Evidence(each, *entity, 0, 0, WHEN, 20.0, 5.0, 400.0, 1.0) for each in ("volume", "fan_out"))
    little = pipeline.correlator._little
    assert little.routine(entity, [volume]) == (not (records or size))
    assert not little.routine(entity, [volume, fan_out])  # what is not about how much is asked is told


@pytest.mark.parametrize(("people", "records"), [(500, 1), (8, 400)])
def test_the_key_of_a_probe_that_reads_others_is(people: int, records: int) -> None:
    """Or much of the few, which can only be others as well."""
    _, about = opened(more(2_000, people, records))
    assert about & PROBE


def test_who_guesses_is_not_little_for_the_few_that_were_guessed() -> None:
    """Hundreds of passwords are tried from one address; three of them are right, and those accounts are read."""
    guesses = [
        event(WHEN + n * 5_000, f"user-{n % 150}", "login", "/login", credential="", source_ip="203.0.113.5", records=0,
              outcome="success" if n in (90, 180, 270) else "failure")
        for n in range(400)
    ]  # fmt: skip
    reads = [
        event(WHEN + n * 5_000 + 1_000 + k, f"user-{n % 150}", credential=f"g-{n}", source_ip="203.0.113.5")
        for n in (90, 180, 270) for k in range(3)
    ]  # fmt: skip
    on = ("volume", "fan_out", "miss_rate")
    config = replace(AMOUNTS, detectors={each: each in on for each in catalog.detector_ids()})
    pipeline, about = opened([*guesses, *reads], config)
    assert about & {"203.0.113.5", "203.0.113.0/24"}
    entity = "source", "203.0.113.5"
    found = {each: Evidence(each, *entity, 0, 0, WHEN, 20.0, 5.0, 400.0, 1.0) for each in ("volume", "miss_rate")}
    little = pipeline.correlator._little
    assert little.routine(entity, [found["volume"]])  # there are few, and many requests
    assert not little.routine(entity, [found["volume"], found["miss_rate"]])


def test_without_what_knows_how_many_people_it_is_told() -> None:
    """`fan_out` may be switched off."""
    _, about = opened(more(2_000, 8), BLIND)
    assert about != set()
