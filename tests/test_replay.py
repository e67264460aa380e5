"""What the product promises of the thefts that it was made for, on worlds that differ by seed."""

from __future__ import annotations

import os

import pytest

from stream.errors import UsageError
from stream.incidents import list_incidents, load_incident
from tests.replays import Job, Result, replay_all, replayed

LONG = os.environ.get("TEST_LONG") == "1"
SEEDS = range(10 if LONG else 3)
QUIET_SEEDS = range(20, 24 if LONG else 22)


@pytest.fixture(scope="module")
def results() -> dict[Job, Result]:
    """All replays of this file, two at a time."""
    jobs = [Job(name, seed, attack=True) for name in list_incidents() for seed in SEEDS]
    jobs += [Job("forged-token", seed, attack=False) for seed in QUIET_SEEDS]
    return dict(zip(jobs, replay_all(jobs), strict=True))


def of(results: dict[Job, Result], name: str) -> list[Result]:
    return [results[Job(name, seed, attack=True)] for seed in SEEDS]


def test_the_forged_tokens_are_found_within_ten_minutes_on_every_seed(results: dict[Job, Result]) -> None:
    """... in at most three alerts, before one in a hundred records is out."""
    for result in of(results, "forged-token"):
        assert result.minutes is not None
        assert result.minutes <= 10.0
        assert 1 <= result.found <= 3
        assert result.records_out <= 0.05 * result.records


def test_the_careful_thief_is_found_within_the_hour_on_eight_seeds_of_ten(results: dict[Job, Result]) -> None:
    """The key in use, homes of customers, one request in ninety seconds from each."""
    minutes = [result.minutes for result in of(results, "forged-token-residential")]
    assert sum(m is not None and m <= 60.0 for m in minutes) >= int(0.8 * len(minutes)), minutes


def test_false_alerts_keep_to_one_a_day(results: dict[Job, Result]) -> None:
    """On each seed at most one a day, attacked or not; over all of them far fewer."""
    for job, result in results.items():
        assert result.false <= max(result.watched_days, 1.0), job
    assert sum(r.false for r in results.values()) <= 0.5 * sum(r.watched_days for r in results.values())


def test_a_replay_repeats_its_ids(results: dict[Job, Result]) -> None:
    job = Job("forged-token", 0, attack=True)
    assert replayed(job) == results[job]


def test_an_incident_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(UsageError, match="forged-token"):
        load_incident("forged-tokens")
