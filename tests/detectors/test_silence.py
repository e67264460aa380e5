"""silence: feeds and issuers of which nothing comes while everything else goes on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from detectors import catalog
from detectors.base import ACTION_LOGIN, FINDING, KINDS
from detectors.catalog.silence import BELOW_BITS, Silence
from detectors.fusion import Evidence, Fusion
from stream.alerts import Alert
from stream.blocks import PackedBlock, packed
from stream.config import Config
from stream.events import AccessEvent
from stream.incident import member
from stream.kept import Group
from stream.merge import merge
from stream.pipeline import Pipeline
from tests.signals import signal
from tests.streams import DAY_MS, HOUR_MS, START_MS, block, event, state

ALONE = Config(
    detectors={each: each == "silence" for each in catalog.detector_ids()}, warmup_h=72.0, tick_s=300,
    alerts_per_day_max=1.25,
)  # fmt: skip
DAYS = 10
STOP = START_MS + 9 * DAY_MS + 10 * HOUR_MS  # a Friday
AWAY_MS = 6 * HOUR_MS
Kept = Callable[[AccessEvent], bool]


@cache
def world(seed: int = 1) -> tuple[AccessEvent, ...]:
    """Two issuers, of customers and of staff, whose days have nights and whose weeks have ends."""
    rng = np.random.default_rng(seed)
    events = []
    for issuer, pace in (("app", 60.0), ("idp", 30.0)):
        for hour in range(DAYS * 24):
            at = START_MS + hour * HOUR_MS
            day = 1.0 if 7 <= hour % 24 < 20 else 0.07
            week = 0.4 if (at // DAY_MS + 3) % 7 >= 5 else 1.0
            times = np.sort(rng.integers(0, HOUR_MS, rng.poisson(pace * day * week * rng.lognormal(0.0, 0.3))))
            for t in times.tolist():
                action = "login" if rng.random() < 0.25 else "read"
                events.append(event(at + t, f"{issuer}-{rng.integers(50)}", action, issuer=issuer, subject=""))
    return tuple(sorted(events, key=lambda e: e.time))


def feeds(events: Iterable[AccessEvent]) -> PackedBlock:
    """The events as they come by two topics: logins by their own."""
    made = packed(block(events))
    by = np.where(made.action == ACTION_LOGIN, 1, 0).astype(np.uint16)
    return dataclasses.replace(made, origins=("kafka:access/0", "kafka:logins/0"), origin=by)


def watched(whole: PackedBlock) -> tuple[Pipeline, list[Evidence], list[Alert]]:
    """The pipeline after the events, what was found on the way and what was opened."""
    alerts: list[Alert] = []
    pipeline = Pipeline(ALONE, alerts.append)
    found = heard(pipeline)
    pipeline.take(whole)
    return pipeline, found, alerts


def heard(pipeline: Pipeline) -> list[Evidence]:
    """What a pipeline finds from now on."""
    found: list[Evidence] = []
    add = pipeline.fusion.add

    def both(evidence: Evidence) -> None:
        found.append(evidence)
        add(evidence)

    pipeline.fusion.add = both  # type: ignore[method-assign]
    return found


def strong(found: Iterable[Evidence], since: int = 0) -> set[tuple[str, str, int]]:
    """What was as strong as it ever gets."""
    return {(e.kind, e.value, e.feature) for e in found if e.score >= least() - BELOW_BITS - 0.01 and e.time >= since}


def least() -> float:
    return Pipeline(ALONE, lambda _alert: None).correlator.budget.least()


def kept(drop: Kept, since: int = STOP, until: int = STOP + AWAY_MS) -> list[AccessEvent]:
    """The world up to the end of a silence, in which some events do not come."""
    return [e for e in world() if int(e.time) < until and not (since <= int(e.time) and drop(e))]


def test_an_issuer_that_stops_is_found_and_opens_nothing_by_itself() -> None:
    """On a Friday morning; the other one goes on."""
    pipeline, found, alerts = watched(feeds(kept(lambda e: e.issuer == "app")))
    (silence,) = pipeline.detectors
    assert isinstance(silence, Silence)
    assert ("issuer", "app", 0) in strong(found, STOP)
    assert silence.silent == {"feed": 0.0, "issuer": 1.0}
    assert not any(value == "idp" for _, value, _ in strong(found, STOP))
    assert alerts == []
    assert max(e.score for e in found) < least() - 2.0


def test_a_login_feed_that_stops_is_found() -> None:
    """Use goes on, and no login is told of any more."""
    pipeline, found, alerts = watched(feeds(kept(lambda e: e.action == "login")))
    (silence,) = pipeline.detectors
    assert isinstance(silence, Silence)
    assert ("fleet", "fleet", 0) in strong(found, STOP)
    assert max(e.bits for e in found if (e.value, e.feature) == ("app", 1)) >= 4.0
    assert silence.silent["feed"] == 1.0
    assert alerts == []


def test_a_feed_that_lags_is_as_silent_as_one_that_stopped() -> None:
    """Logins come an hour after they happened: while everything else is of now, each of them is late."""
    events = kept(lambda _: False)
    order = [int(e.time) + (HOUR_MS if e.action == "login" and int(e.time) >= STOP else 0) for e in events]
    lagging = feeds(events).take(np.argsort(order, kind="stable"))
    _, found, alerts = watched(lagging)
    assert ("fleet", "fleet", 0) in strong(found, STOP + 3 * HOUR_MS)
    assert alerts == []


def test_it_adds_to_what_barely_opens_nothing() -> None:
    """Forged tokens that by themselves are a tenth of a bit short of an alert."""
    pipeline, found, _ = watched(feeds(kept(lambda e: e.issuer == "app" and e.action == "login")))
    silent = max((e for e in found if e.value == "app"), key=lambda e: e.score)
    forged = Evidence("unissued", "issuer", "app", 0, 2, silent.time, 16.0, least() - 0.1, 9.0, 0.5)
    fusion = Fusion(pipeline.detectors)
    fusion.add(forged)
    assert fusion.score(("issuer", "app")) < least()
    fusion.add(silent)
    assert fusion.score(("issuer", "app")) >= least()


@pytest.mark.parametrize("left", [0.0, 0.3])
def test_an_outage_or_a_holiday_of_everything_is_no_silence(left: float) -> None:
    """The benign twin: as many hours of nothing, or of a third, by every feed and of every issuer."""
    rng = np.random.default_rng(5)
    _, found, _ = watched(feeds(kept(lambda _: bool(rng.random() >= left))))
    assert not strong(found, STOP)


def test_nights_and_weekends_are_no_silence() -> None:
    """Ten days of ordinary life: nobody is told to be silent, and nothing reaches what a stop reaches."""
    pipeline, found, _ = watched(feeds(world()))
    (silence,) = pipeline.detectors
    assert isinstance(silence, Silence)
    assert not strong(found, START_MS + 5 * DAY_MS)
    assert silence.silent == {"feed": 0.0, "issuer": 0.0}


def test_the_first_three_days_are_not_judged() -> None:
    """The cold start: an issuer that comes for a day and goes."""
    day = START_MS + DAY_MS
    _, found, _ = watched(feeds(kept(lambda e: e.issuer == "app", since=day, until=day + 2 * DAY_MS)))
    assert found == []


def test_who_lets_some_through_is_not_found() -> None:
    """The evasion that its docstring admits: every second login."""
    rng = np.random.default_rng(5)
    _, found, _ = watched(feeds(kept(lambda e: e.action == "login" and bool(rng.random() >= 0.5))))
    assert not any(kind == "fleet" for kind, *_ in strong(found, STOP))


@pytest.mark.parametrize("seed", [2, 3])
def test_bits_are_no_larger_than_chance_warrants(seed: int) -> None:
    """Where nothing stops: of the hours of all series, at most about one in 2^b reaches b bits."""
    pipeline = Pipeline(ALONE, lambda _alert: None)
    (silence,) = pipeline.detectors
    silence._offset_bits = -60.0  # type: ignore[attr-defined]  # report everything
    best: dict[tuple[str, str, int, int], float] = {}

    def held(evidence: Evidence) -> None:
        if evidence.time >= START_MS + 5 * DAY_MS:
            key = evidence.kind, evidence.value, evidence.feature, evidence.time // HOUR_MS
            best[key] = max(best.get(key, 0.0), evidence.bits)

    pipeline.fusion.add = held  # type: ignore[method-assign]
    pipeline.take(feeds(world(seed)))
    hours = 5 * 24 * (2 * 2 + 2)
    for bits in range(1, 12):
        expected = hours * 2.0**-bits
        reached = sum(b >= bits for b in best.values())
        assert reached <= 1.5 * expected + 4.0 * math.sqrt(expected) + 2.0, bits


@cache
def stopped() -> tuple[Pipeline, list[Evidence], PackedBlock]:
    whole = feeds(kept(lambda e: e.issuer == "app"))
    pipeline, found, _ = watched(whole)
    return pipeline, found, whole


@pytest.mark.parametrize("cut", [1, 3_000, -40])
def test_a_snapshot_and_a_cut_change_nothing(cut: int) -> None:
    """In the middle of anything, also of the silence."""
    one, found, whole = stopped()
    cut %= len(whole)
    first, before, _ = watched(whole.take(np.arange(cut)))
    meta, arrays = first.save()
    two = Pipeline(ALONE, lambda _alert: None)
    two.load(msgspec.json.decode(msgspec.json.encode(meta)), {name: a.copy() for name, a in arrays.items()})
    after = heard(two)
    two.take(whole.take(np.arange(cut, len(whole))))
    assert before + after == found
    assert state(two)[1] == state(one)[1]


def test_more_feeds_than_there_is_room_for_change_nothing_for_the_others() -> None:
    """A hundred files that are told apart by letters: the first 64 are followed."""
    names = tuple(f"{chr(97 + n // 26)}{chr(97 + n % 26)}.log" for n in range(100))
    made = packed(block(world()[:200]))
    many = dataclasses.replace(made, origins=names, origin=(np.arange(200) % 100).astype(np.uint16))
    pipeline, _, _ = watched(many)
    (silence,) = pipeline.detectors
    rows = silence.save()
    assert np.count_nonzero(rows["names"]) == 64
    assert rows["feeds"]["look"][0, 0] > 0
    assert set(rows["feeds"]["seen"][1:, 0] > 0) == {True}


def test_a_feed_that_stops_for_every_partition_is_evidence_once() -> None:
    """Eight partitions miss the same issuer: no more is believed than one of them says."""

    def part(number: int, detector: str) -> Any:
        silent = Evidence(detector, "issuer", "key-7", 0, 2, START_MS, 9.0, 0.2, 0.0, 300.0)
        given = signal(number, score=0.5)
        return msgspec.structs.replace(given, members=[silent])

    for detector, once in (("silence", True), ("unissued", False)):
        parts = [part(n, detector) for n in range(8)]
        group = Group(id="g", parts={p.id: p for p in parts})
        (evidence,) = merge(group, 8).members
        assert member(evidence) and (evidence.bits == 9.0) is once


def test_it_takes_no_part_of_what_chance_may_spend() -> None:
    """Who opens nothing makes nobody else's threshold higher."""
    assert math.isfinite(score(Config()))
    assert score(Config()) == score(Config(detectors={"silence": False}))
    others = [d for d in catalog.detector_ids() if d not in ("silence", "volume")]
    assert all(score(Config()) < score(Config(detectors={each: False})) for each in others)


def score(config: Config) -> float:
    """What a volume of 20 bits is worth."""
    pipeline = Pipeline(config, lambda _alert: None)
    row = np.zeros(1, FINDING)
    volume = next(d for d in pipeline.detectors if d.id == "volume")
    volume.bits = lambda finding: (20.0, float(finding["bits"]))  # type: ignore[method-assign]
    row["time"], row["kind"], row["bits"] = START_MS, KINDS.index("fleet"), 64.0
    pipeline._gather(volume, row)
    return pipeline.fusion.score(("fleet", "fleet"))
