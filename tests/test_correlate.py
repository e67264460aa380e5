"""What belongs together is one alert, and what does not is not hidden by it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from functools import cache

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors import catalog
from detectors.fusion import Entity, Evidence, Fusion
from stream.belonging import _share
from stream.config import Config
from stream.correlate import Correlator
from stream.events import AccessEvent
from stream.incident import Incident, member
from stream.trace import TRACED
from tests.detectors.scenes import WHEN, usual
from tests.streams import DAY_MS, HOUR_MS, START_MS, block, event, run

VOLUME = Config(detectors={each: each == "volume" for each in catalog.detector_ids()}, warmup_h=72.0)


def export(at: int, name: str, records: int, **more: str) -> AccessEvent:
    """Something that one of the support takes out at home, with a session of the day."""
    fields = {
        "account_kind": "employee", "subject": "", "credential": f"e-{name}-{at // DAY_MS}", "records": records,
        "bytes": 300 * records, "source_ip": f"203.{name.partition('-')[2]}.113.7",
    }  # fmt: skip
    return event(at, name, "export", "/support/audit-log", **(fields | more))


@cache
def office() -> tuple[AccessEvent, ...]:
    """Customers, and twenty-four agents who export a little all day."""
    rng = np.random.default_rng(3)
    agents = [
        export(
            START_MS + day * DAY_MS + int(rng.uniform(9, 17) * HOUR_MS) + j * 600_000, f"agent-{n}",
            int(30 * rng.lognormal(0, 1.3)),
        )
        for day in range(8) for n in range(24) for j in range(12)
    ]  # fmt: skip
    return (*usual(), *agents)


def opened(events: Iterable[AccessEvent]) -> list[tuple[str, str, float]]:
    """What alerts were opened about, and how many hours after WHEN."""
    _, alerts = run([block(events)], VOLUME)
    return [
        (a.entity.kind, a.entity.value, (datetime.fromisoformat(a.time).timestamp() * 1000 - WHEN) / HOUR_MS)
        for a in alerts
        if a.status == "open"
    ]


def test_a_page_that_everybody_reads_does_not_hide_who_comes_later() -> None:
    """Support is busy as never before, which is told of their page; later one of them takes a lot."""
    rush = [export(WHEN + n * 40_000 + j * 5_000, f"agent-{n}", 60) for n in range(20) for j in range(60)]
    theft = [export(WHEN + 100 * 60_000 + j * 20_000, "agent-23", 60) for j in range(60)]
    told = opened([*office(), *rush, *theft])
    assert [each[:2] for each in told if each[2] < 1.5] == [("resource", "/support/audit-log")]
    assert ("account", "agent-23") in [each[:2] for each in told if each[2] < 2.5]


def test_an_account_and_its_only_key_are_one_and_its_page_is_another() -> None:
    """So that what was told of the one is not told again of the other a day later."""
    burst = [
        event(WHEN + j * 10_000, "job-3", "export", "warehouse", account_kind="service", credential="key-3",
              issuer="iam", source_ip="10.0.0.3", user_agent="batch/1", subject="", records=50_000)
        for j in range(60)
    ]  # fmt: skip
    pipeline, _ = run([block([*usual(), *burst])], VOLUME)
    correlator = pipeline.correlator
    account, key = ("account", "job-3"), ("credential", "key-3")
    (closed,) = [i for i in correlator._closed if i.entity in (account, key)]
    for entity, told in ((account, closed), (key, closed), (("resource", "/api"), None), (("account", "job-4"), None)):
        assert correlator._told(entity, [seen("volume", *entity, 5.0)])[0] is told
    rows = correlator._belonging.rows(*key, 1)
    half = rows & (np.cumsum(rows) <= np.count_nonzero(rows) // 2)
    assert correlator._belonging.alias(rows, account, 1)
    assert not correlator._belonging.alias(half, account, 1)  # what has half of its events is no other name for it


@pytest.mark.parametrize(
    ("hours", "strongest", "joins"), [(4, "first_seen", False), (4, "volume", True), (0, "first_seen", True)]
)
def test_where_many_are_does_not_hide_one_that_does_something_else(hours: int, strongest: str, joins: bool) -> None:
    """The machines' network is busy for hours; then a key of theirs is used elsewhere, for more than ever."""
    correlator, fusion, now = machines_are_busy()
    busy = incident(correlator, ("network", "10.0.0.0/24"), "volume", now - hours * HOUR_MS)
    other = "volume" if strongest == "first_seen" else "first_seen"
    new = [seen(strongest, "account", "job-3", 9.0), seen(other, "account", "job-3", 8.0)]
    assert correlator._belonging.same(busy, new, fusion, now) == joins


@pytest.mark.parametrize("hours", [0, 4])
@pytest.mark.parametrize(("found_by", "joins"), [("first_seen", False), ("volume", True)])
def test_all_traffic_takes_in_only_what_it_was_told_for(found_by: str, joins: bool, hours: int) -> None:
    """Something about all traffic was told, just now or hours ago; it is busier than usual too, and one of the machines
    more so."""  # fmt: skip
    correlator, fusion, now = machines_are_busy()
    others = correlator._belonging.rows("account", "job-2", correlator._belonging.mask([seen("volume", "", "", 0.0)]))
    correlator._trace.rows["marks"][others] |= np.uint16(correlator._belonging.mask([seen("first_seen", "", "", 0.0)]))
    everything = incident(correlator, ("fleet", "fleet"), found_by, now - hours * HOUR_MS)
    fusion.add(seen("volume", "fleet", "fleet", 1.0))
    assert correlator._belonging.same(everything, [seen("volume", "account", "job-3", 5.0)], fusion, now) == joins


@pytest.mark.parametrize(("kind", "value"), [("network", "10.3.0.0/24"), ("account", "job-3")])
def test_a_crowd_within_a_crowd_is_no_other_matter(kind: str, value: str) -> None:
    """Hours later a network of those is found to be new; one account that does something else is another matter."""
    correlator, fusion, now = machines_are_busy(apart=True)
    correlator._trace.rows["marks"] |= np.uint16(correlator._belonging.mask([seen("first_seen", "", "", 0.0)]))
    busy = incident(correlator, ("issuer", "iam"), "volume", now - 4 * HOUR_MS)
    assert correlator._belonging.same(busy, [seen("first_seen", kind, value, 5.0)], fusion, now) == (kind == "network")


@pytest.mark.parametrize(
    ("kind", "score", "hours", "joins"),
    [("network", 6.0, 2, True), ("network", 15.5, 2, False), ("network", 6.0, 7, False), ("account", 6.0, 2, False)],
)
def test_crowds_that_come_for_one_page_are_one(kind: str, score: float, hours: int, joins: bool) -> None:
    """From two networks that have nothing else in common; of two accounts it would say nothing."""
    correlator, fusion, now = machines_are_busy(apart=True)
    correlator._trace.rows["marks"] |= np.uint16(correlator._belonging.mask([seen("first_seen", "", "", 0.0)]))
    one, other = ("10.2.0.0/24", "10.3.0.0/24") if kind == "network" else ("job-2", "job-3")
    first = incident(correlator, (kind, one), "first_seen", now - 2 * HOUR_MS)
    first.last = now - hours * HOUR_MS
    assert correlator._belonging.same(first, [seen("first_seen", kind, other, score)], fusion, now) == joins


def test_who_is_forgotten_has_no_rows() -> None:
    """Else those without an address, say, would be those of an address that is known no more."""
    correlator, _, _ = machines_are_busy()
    correlator._trace.rows["slots"][:, TRACED.index("source")] = -1
    assert not correlator._belonging.rows("source", "192.0.2.1", 3).any()


def machines_are_busy(apart: bool = False) -> tuple[Correlator, Fusion, int]:
    """Four machines, of one network or apart, that take more than ever, and ten minutes after they began."""
    burst = [
        event(WHEN + j * 10_000 + n, f"job-{n}", "export", "warehouse", account_kind="service", credential=f"key-{n}",
              issuer="iam", source_ip=f"10.{n}.0.1" if apart else f"10.0.0.{n}", user_agent="batch/1", subject="",
              records=50_000)
        for n in range(2, 6) for j in range(60)
    ]  # fmt: skip
    two = msgspec.structs.replace(VOLUME, detectors=VOLUME.detectors | {"first_seen": True})
    pipeline, _ = run([block([*usual(), *burst])], two)
    return pipeline.correlator, pipeline.fusion, WHEN + 600_000


def seen(detector: str, kind: str, value: str, score: float) -> Evidence:
    """What that detector found, ten minutes after."""
    return Evidence(detector, kind, value, 0, 0, WHEN + 600_000, 20.0, score, 60.0, 1.0)


def incident(correlator: Correlator, entity: Entity, detector: str, since: int) -> Incident:
    """One about the entity, of a score of 7, that goes on since then."""
    rests_on = seen(detector, *entity, 7.0)
    return Incident(
        id="tl-1", kind=entity[0], value=entity[1], mask=correlator._belonging.mask([rests_on]), start=WHEN,
        crossed=since, last=rests_on.time, opened_at=since, share=0.01, score=7.0, members={member(rests_on): rests_on},
    )  # fmt: skip


@pytest.mark.parametrize(("size", "told"), [(60_000, False), (60_000_000, True)])
def test_of_a_little_that_is_more_than_usual_nobody_is_told(size: int, told: bool) -> None:
    """One answer of a partner's program that is as rare as it is small; the same where it is large."""
    rng = np.random.default_rng(6)

    def feed(n: int, at: int, nbytes: int) -> AccessEvent:
        return event(at, f"partner-{n}", "list", "/feed", account_kind="partner", credential=f"key-{n}", issuer="iam",
                     source_ip=f"10.7.{n}.1", user_agent="feeder/1", subject="", bytes=nbytes)  # fmt: skip

    daily = [
        feed(n, START_MS + step * 900_000 + n * 1_000, int(800 * rng.lognormal(0, 0.05)))
        for step in range(8 * 96) for n in range(30)
    ]  # fmt: skip
    pipeline, alerts = run([block([*usual(), *daily, feed(3, WHEN + 60_000, size)])], VOLUME)
    opened_about = {a.entity.value for a in alerts if a.status == "open"}
    assert bool(opened_about & {"partner-3", "key-3", "10.7.3.1"}) == told
    assert (pipeline.correlator.budget.held_back.get("little", 0) > 0) != told


@given(st.lists(st.tuples(st.floats(0, 1e9), st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_overlap_is_by_weight_and_by_number_where_nothing_weighs(rows: list[tuple[float, bool, bool]]) -> None:
    """One export of 60,000 among a hundred small ones is nearly all of what was taken."""
    weight, own, among = (np.array(column) for column in zip(*rows, strict=True))
    share = _share(weight, own, among)
    assert 0.0 <= share <= 1.0
    assert _share(weight, own, own) == (1.0 if own.any() else 0.0)
    assert np.isclose(_share(np.zeros(len(own)), own, among) * own.sum(), (own & among).sum())
    one = np.arange(101) == 100
    assert _share(np.where(one, 60_000.0, 10.0), np.ones(101, np.bool_), one) > 0.98


def teams() -> tuple[Correlator, Fusion, int]:
    """The same, where two and two of them are of one team."""
    correlator, fusion, now = machines_are_busy()
    accounts = correlator._trace.rows["slots"][:, 0]
    correlator._trace.rows["marks"] |= np.uint16(correlator._belonging.mask([seen("first_seen", "", "", 0.0)]))
    for n, team in ((2, 7), (3, 7), (4, 8), (5, 8)):
        correlator._trace.rows["group"][accounts == correlator._tables["account"].slot(f"job-{n}")] = team
    correlator._trace.rows["group"][correlator._trace.rows["group"] == 0] = np.arange(
        100, 100 + np.count_nonzero(correlator._trace.rows["group"] == 0)
    )
    return correlator, fusion, now


@pytest.mark.parametrize(
    ("name", "found_by", "score", "hours", "joins"),
    [
        ("job-3", "volume", 6.0, 2, True),
        ("job-4", "volume", 6.0, 2, False),  # of another team
        ("job-3", "first_seen", 6.0, 2, False),  # another side of it
        ("job-3", "volume", 7.5, 2, False),  # stronger: it would be hidden
        ("job-3", "volume", 6.0, 7, False),  # long after
    ],
)
def test_what_a_team_does_is_one_alert(name: str, found_by: str, score: float, hours: int, joins: bool) -> None:
    """Two of a team have nothing in common but that, and what is found of them."""
    correlator, fusion, now = teams()
    first = incident(correlator, ("account", "job-2"), "volume", now - 2 * HOUR_MS)
    first.last = now - hours * HOUR_MS
    assert correlator._belonging.same(first, [seen(found_by, "account", name, score)], fusion, now) == joins


def test_what_everybody_is_in_is_no_team() -> None:
    correlator, fusion, now = teams()
    first = incident(correlator, ("account", "job-2"), "volume", now - 2 * HOUR_MS)
    new = [seen("volume", "account", "job-3", 6.0)]
    assert correlator._belonging.same(first, new, fusion, now)
    correlator._trace.rows["group"] = 7
    assert not correlator._belonging.same(first, new, fusion, now)


def test_what_was_told_of_a_side_is_not_told_again_by_another_detector_of_that_side() -> None:
    """`drip` adds up what `volume` told; where the account is from is another matter."""
    config = msgspec.structs.replace(VOLUME, detectors={})
    pipeline, _ = run([block(usual())], config)
    correlator = pipeline.correlator
    known = incident(correlator, ("account", "user-3"), "volume", WHEN)
    known.members["fan_out account user-4"] = seen("fan_out", "account", "user-4", 3.0)  # was named beside it
    correlator._closed.append(known)
    for found_by, name, told in (
        ("drip", "user-3", 7.0), ("volume", "user-3", 7.0), ("first_seen", "user-3", None), ("drip", "user-4", 3.0),
        ("first_seen", "user-4", None), ("drip", "user-5", None),
    ):  # fmt: skip
        entity = ("account", name)
        expected = (None, -math.inf) if told is None else (known, told)
        assert correlator._told(entity, [seen(found_by, *entity, 5.0)]) == expected, (found_by, name)


@pytest.mark.parametrize(("score", "opened"), [(2.0, 0), (9.0, 1)])
def test_a_little_more_of_what_is_told_opens_nothing(score: float, opened: int) -> None:
    """Of an address all that was found before is told already; what is new would not do by itself, or would."""
    correlator, fusion, now = machines_are_busy()
    source, told = ("source", "10.0.0.3"), seen("first_seen", "source", "10.0.0.3", 12.0)
    first = incident(correlator, ("issuer", "iam"), "first_seen", now - 3 * HOUR_MS)
    first.members[member(told)] = told
    correlator.open[:] = [first]
    fusion.expire(now + DAY_MS)
    fusion.add(told)
    fusion.add(seen("volume", *source, score))
    before = correlator.opened
    correlator._place(source, fusion, now)
    assert correlator.opened - before == opened
    assert first.joined(seen("volume", *source, score)) == (not opened)
    assert all(each.score < 12.0 for each in correlator.open if each is not first)  # what is told counts once


@pytest.mark.parametrize(("pages", "last", "alerts"), [(1, 40, 1), (2, 40, 2), (1, 800, 2)])
def test_who_guess_on_one_page_one_after_the_other_are_one_alert(pages: int, last: int, alerts: int) -> None:
    """Accounts that have nothing in common: not a network, a program or a session. On another page it is another, and
    so is who does it far more than those before."""  # fmt: skip
    guesses = [
        event(WHEN + n * 45 * 60_000 + j * 400_000 // many, f"thief-{n}", "read", f"/receipts-{n % pages}",
              outcome="failure", credential=f"stolen-{n}", issuer="", source_ip=f"198.{18 + n}.7.9",
              user_agent=f"phone/{n}", subject="", object=f"r{n * 1_000 + j}", records=0)
        for n, many in enumerate([8, 8, 8, 8, 8, last]) for j in range(many)
    ]  # fmt: skip
    honest = [
        event(START_MS + k * 120_000, f"c{k % 500}", "read", f"/receipts-{k % 2}", object=f"r{k}", records=1)
        for k in range((WHEN - START_MS) // 120_000)
    ]
    guessing = msgspec.structs.replace(VOLUME, detectors={each: each == "miss_rate" for each in catalog.detector_ids()})
    _, told = run([block([*usual(), *honest, *guesses])], guessing)
    assert len([a for a in told if a.status == "open"]) == alerts
    named = {e.value for a in told for e in (a.entity, *a.related)}
    assert {f"thief-{n}" for n in range(6)} <= named, "what each of them did is counted"
    assert not any(a.impact.subjects for a in told if a.impact), "of whom nothing was read, nothing left"
