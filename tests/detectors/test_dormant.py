"""dormant: accounts and keys that were silent for long, wake up and read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import catalog
from detectors.base import CUSTOMER, EMPLOYEE, SERVICE
from detectors.baselines.absence import pace_of
from detectors.catalog.dormant import RETURNED
from detectors.fusion import Evidence
from stream.alerts import Alert
from stream.config import Config
from stream.events import AccessEvent
from stream.pipeline import Pipeline
from tests.detectors.scenes import entities
from tests.streams import DAY_MS, HOUR_MS, START_MS, block, event, part, run, state

ALONE = Config(detectors={each: each == "dormant" for each in catalog.detector_ids()}, warmup_h=72.0, tick_s=3_600)
DAYS = 60
BACK = START_MS + 57 * DAY_MS + 10 * HOUR_MS  # a Thursday
AWAY: dict[str, Any] = {"source_ip": "203.0.113.9", "asn": 64_500, "user_agent": "curl/8"}


def hour(at: int, kind: str, name: str, records: int, **fields: Any) -> AccessEvent:
    """What an account reads in an hour, as one event."""
    home = "10.1.0.7" if kind == "employee" else f"198.51.{int(name.partition('-')[2]) % 40}.9"
    place = {"source_ip": home, "user_agent": "Chrome/134"}
    given: dict[str, Any] = {"account_kind": kind, "subject": "", "credential": f"{name}-{at // DAY_MS}"}
    if kind == "service":
        given["credential"] = f"key-{name}"
    return event(at, name, resource="/crm", records=records, **(given | place | fields))


@cache
def world(seed: int = 1) -> tuple[AccessEvent, ...]:
    """Employees on weekdays, services every night, customers now and then; some people are on leave for weeks."""
    rng = np.random.default_rng(seed)
    events = []
    for n in range(80):
        leave = int(rng.integers(20, 45)) if n % 4 == 0 else DAYS
        back = leave + int(rng.integers(10, 25))
        for day in range(DAYS):
            if (day + 2) % 7 < 5 and not leave <= day < back and rng.random() > 0.04:
                for h in (9, 11, 14):
                    at = START_MS + day * DAY_MS + h * HOUR_MS + int(rng.integers(HOUR_MS))
                    events.append(hour(at, "employee", f"emp-{n}", int(20 * rng.lognormal(0, 0.7))))
    for n in range(10):
        for day in range(DAYS):
            at = START_MS + day * DAY_MS + 2 * HOUR_MS + n * 60_000
            events.append(hour(at, "service", f"svc-{n}", int(500 * rng.lognormal(0, 0.1))))
    for n in range(200):
        pace = rng.lognormal(1.0, 1.0)
        for at in np.cumsum(rng.exponential(pace, 200)):
            if at < DAYS:
                time = START_MS + int(at * DAY_MS)
                events.append(hour(time, "customer", f"user-{n}", 1 + int(rng.poisson(5)), subject=f"user-{n}"))
    return tuple(events)


def judged(events: Iterable[AccessEvent]) -> list[Alert]:
    """The alerts that this detector opens."""
    return [alert for alert in run([block(events)], ALONE)[1] if alert.status == "open"]


def silent(events: Iterable[AccessEvent], name: str, from_day: int = 25) -> list[AccessEvent]:
    """The world with one account falling silent for good."""
    return [e for e in events if e.account != name or int(e.time) < START_MS + from_day * DAY_MS]


def wakes(kind: str, name: str, records: int, **fields: Any) -> list[AccessEvent]:
    """A login's worth of reading within half an hour."""
    return [hour(BACK + i * 90_000, kind, name, records // 20, **fields) for i in range(20)]


def test_a_dormant_employee_who_reads_a_lot_from_elsewhere_is_found() -> None:
    """Silent for a month; then a thousand records from a network and a client of somebody else's."""
    alerts = judged([*silent(world(), "emp-7"), *wakes("employee", "emp-7", 1_000, **AWAY)])
    assert ("account", "emp-7") in entities(alerts)
    assert min(alert.impact.records for alert in alerts) > 0


def test_a_return_from_leave_is_not() -> None:
    """The benign twin: as long a silence, a new laptop, and an hour's work as usual."""
    back = wakes("employee", "emp-7", 40, user_agent="Chrome/135")
    assert judged([*silent(world(), "emp-7"), *back]) == []


@pytest.mark.parametrize("exports", [False, True])
def test_who_takes_out_now_and_then_as_others_do_is_back_from_leave(exports: bool) -> None:
    """A thousand records an hour after a leave, at the usual place: where every tenth hour of such people has as many,
    and where none has."""  # fmt: skip
    events = [*silent(world(), "emp-7"), *wakes("employee", "emp-7", 4_000)]
    for n, e in enumerate(events):
        if exports and e.account_kind == "employee" and n % 10 == 0 and int(e.time) < BACK - DAY_MS:
            events[n] = msgspec.structs.replace(e, records=4_000)
    assert (("account", "emp-7") in entities(judged(events))) == (not exports)


def test_hardly_anybody_is_accused_where_all_is_well() -> None:
    """Leaves of weeks, customers of the season, twice over two months: far below chance's share of the budget."""
    assert len([alert for seed in (1, 2) for alert in judged(world(seed))]) <= 1


def test_a_customers_return_is_worth_little() -> None:
    """A customer of two months ago, on a new telephone, who reads three times as much as usual."""
    back = wakes("customer", "user-7", 60, user_agent="Mozilla/6.0", subject="user-7")
    assert judged([*silent(world(), "user-7", 10), *back]) == []


def test_a_service_that_was_shut_down_is_found_when_it_reads_from_elsewhere() -> None:
    """Its key lay in a drawer for a month; machines do not come back with new laptops."""
    alerts = judged([*silent(world(), "svc-3"), *wakes("service", "svc-3", 20_000, **AWAY)])
    assert ("account", "svc-3") in entities(alerts)


def test_an_old_key_of_a_service_that_works_is_found() -> None:
    """The service has had a new key for a month and reads every night; somebody reads with the old one."""
    events = [e for e in world() if e.account != "svc-3"]
    for day in range(DAYS):
        key = "key-old" if day < 25 else "key-new"
        events.append(hour(START_MS + day * DAY_MS + 2 * HOUR_MS, "service", "svc-3", 500, credential=key))
    old = wakes("service", "svc-3", 20_000, credential="key-old", **AWAY)
    assert ("credential", "key-old") in entities(judged(events + old))


def test_a_crowd_of_dormant_accounts_is_found_by_the_network_that_it_shares() -> None:
    """Sixty customers who have not been seen for a month come within the hour from one network."""
    names = [f"user-{n}" for n in range(60)]
    kept = [e for e in world() if e.account not in names or int(e.time) < START_MS + 25 * DAY_MS]
    crowd = [hour(BACK + n * 30_000, "customer", name, 6, **AWAY) for n, name in enumerate(names)]
    assert ("network", "AS64500") in entities(judged(kept + crowd))


def test_a_sale_that_wakes_customers_up_accuses_no_place() -> None:
    """The benign twin: as many come back within the hour, each from home."""
    names = [f"user-{n}" for n in range(60)]
    kept = [e for e in world() if e.account not in names or int(e.time) < START_MS + 25 * DAY_MS]
    sale = [hour(BACK + n * 30_000, "customer", name, 6) for n, name in enumerate(names)]
    assert judged(kept + sale) == []


def young(kind: str, name: str, until: int, days: int) -> list[AccessEvent]:
    """The first days of the world, with an account that is silent from the third on and reads when they are over."""
    early = [e for e in silent(world(), name, until) if int(e.time) < START_MS + days * DAY_MS]
    back = wakes(kind, name, 4_000, **AWAY)
    for each in back:
        each.time = int(each.time) - (57 - days) * DAY_MS
    return early + back


def test_a_young_log_knows_nobody_who_is_dormant() -> None:
    """The cold start: ten days."""
    assert judged(young("employee", "emp-7", 2, 9)) == []


def test_who_was_seen_on_two_days_and_not_since_is_judged_by_its_like() -> None:
    """A contractor who left in the first week of the log: most employees come every day. A customer might come back."""
    assert ("account", "emp-7") in entities(judged(young("employee", "emp-7", 2, 17)))
    assert [e.account for e in world() if e.account == "user-3"][2:]
    assert ("account", "user-3") not in entities(judged(young("customer", "user-3", 2, 17)))


def test_a_class_has_the_pace_of_its_accounts() -> None:
    """Employees come on five days of seven but for leaves, services every night, customers as rarely as they do."""
    pipeline = Pipeline(ALONE, lambda _alert: None)
    (dormant,) = pipeline.detectors
    events = world()
    pipeline.process(block(events))
    paces = dormant._paces[0]  # type: ignore[attr-defined]
    classes = {"employee": EMPLOYEE, "service": SERVICE, "customer": CUSTOMER}
    for kind, k in classes.items():
        seen = {(e.account, int(e.time) // DAY_MS) for e in events if e.account_kind == kind}
        accounts = {account for account, _ in seen}
        assert math.isclose(pace_of(paces[k]), len(seen) / len(accounts) / DAYS, rel_tol=0.15)


def test_who_keeps_the_account_warm_is_not_found() -> None:
    """The evasion that its docstring admits: a login every six days."""
    warm = [hour(BACK - k * 6 * DAY_MS, "employee", "emp-7", 0, **AWAY) for k in range(1, 5)]
    assert judged([*silent(world(), "emp-7"), *warm, *wakes("employee", "emp-7", 1_000, **AWAY)]) == []


def test_a_failed_login_wakes_nobody_up() -> None:
    """Trying passwords a day before does not spoil the evidence."""
    tries = [hour(BACK - DAY_MS + i * 60_000, "employee", "emp-7", 0, outcome="failure", **AWAY) for i in range(9)]
    events = [*silent(world(), "emp-7"), *tries, *wakes("employee", "emp-7", 1_000, **AWAY)]
    assert ("account", "emp-7") in entities(judged(events))


@settings(max_examples=4, deadline=None)
@given(edges=st.lists(st.integers(0, 3_000), max_size=8))
def test_where_batches_are_cut_changes_nothing(edges: list[int]) -> None:
    """Over six weeks of few people, some of whom come back."""
    few = [e for e in world() if int(e.account.partition("-")[2]) % 10 == 0 and int(e.time) < START_MS + 40 * DAY_MS]
    whole = block(few)
    bounds = [0, *sorted({min(e, len(whole)) for e in edges}), len(whole)]
    one, _ = run([whole], ALONE)
    two, _ = run([part(whole, a, b) for a, b in pairwise(bounds) if b > a], ALONE)
    assert state(one) == state(two)


@pytest.mark.parametrize("seed", [3, 4])
def test_bits_are_no_larger_than_chance_warrants(seed: int) -> None:
    """Attack-free: over all that was judged, wake-ups reach b bits no more often than once in 2^b active days."""
    found: list[tuple[str, float]] = []
    pipeline = Pipeline(ALONE, lambda _alert: None)
    (dormant,) = pipeline.detectors
    dormant._offset_bits = -60.0  # type: ignore[attr-defined]  # report everything

    def held(evidence: Evidence) -> None:
        found.append((evidence.kind, evidence.bits))

    pipeline.fusion.add = held  # type: ignore[method-assign]
    pipeline.process(block(world(seed)))
    days = {"account": 39 * (80 * 5 / 7 + 10 + 200 / 8), "credential": 39 * 10}
    for kind, n in days.items():
        bits = [b for k, b in found if k == kind]
        for level in range(1, 24):
            expected = n * 2.0**-level
            assert sum(b >= level for b in bits) <= 1.5 * expected + 4.0 * math.sqrt(expected) + 2.0, (kind, level)


def naive(events: list[tuple[int, int, bool]]) -> tuple[int, float, int]:
    """Days, records of the hour and hours awake after the last of (time, records, success), from the whole past."""
    born, days, awake, records = events[0][0], 0, 0, 0.0
    past = [each for each in events if each[2]]
    for i, (time, n, _) in enumerate(past):
        if i and time // HOUR_MS != past[i - 1][0] // HOUR_MS:
            records, awake = 0.0, max(awake - 1, 0)
            if time // DAY_MS != past[i - 1][0] // DAY_MS:
                days += 1
                gap = (time // 1000 - past[i - 1][0] // 1000) / 86_400
                life = (time // 1000 - born // 1000) / 86_400 - gap
                if gap >= 7 and days * math.log2(1 + gap / (life + 7)) >= 4:
                    awake = 3
        records += n
    return days, records, awake


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, HOUR_MS) | st.integers(0, 2 * DAY_MS) | st.integers(5 * DAY_MS, 60 * DAY_MS),
                          st.integers(0, 50), st.booleans()), min_size=1, max_size=20))  # fmt: skip
def test_every_prefix_is_awake_as_the_twin_is(drawn: list[tuple[int, int, bool]]) -> None:
    """An account with silences of all lengths, and failures that are none of its doing; its like is not known."""
    pipeline = Pipeline(ALONE, lambda _alert: None)
    (dormant,) = pipeline.detectors
    past: list[tuple[int, int, bool]] = []
    now = START_MS
    for gap, records, success in drawn:
        now += gap
        past.append((now, records, success))
        outcome = "success" if success else "failure"
        pipeline.process(block([hour(now, "employee", f"two-{i}", 1) for i in range(2)]))  # who agree on the time
        dormant._paces[:] = 0.0  # type: ignore[attr-defined]
        pipeline.process(block([hour(now, "employee", "emp-1", records, outcome=outcome)]))
        row = pipeline.tables["account"].columns["dormant"][pipeline.tables["account"].slot("emp-1")]
        assert (int(row["days"]), float(row["records"]), int(row["awake"])) == naive(past)


def returned(events: Iterable[AccessEvent], name: str) -> list[Evidence]:
    """What is told of an account's returns after BACK, for others to add to."""
    found: list[Evidence] = []
    pipeline = Pipeline(ALONE, lambda _alert: None)
    pipeline.fusion.add = found.append  # type: ignore[method-assign, assignment]
    pipeline.process(block(events))
    return [e for e in found if e.value == name and e.time >= BACK and e.feature == RETURNED]


@pytest.mark.parametrize("place", [{}, AWAY])
def test_a_return_is_told_for_others_to_add_to(place: dict[str, Any]) -> None:
    """A month's absence, and how often the account came before; where it comes from now is no part of that."""
    (found,) = returned([*silent(world(), "emp-7"), *wakes("employee", "emp-7", 20, **place)], "emp-7")
    (other,) = returned([*silent(world(), "emp-7"), *wakes("employee", "emp-7", 20)], "emp-7")
    last = max(int(e.time) for e in silent(world(), "emp-7") if e.account == "emp-7")
    assert math.isclose(found.observed, (BACK - last) / DAY_MS, abs_tol=0.01)
    assert 1.0 <= found.expected <= 2.0
    assert found.bits == other.bits > 3.0
    assert found.score < 0.0  # far below what opens an alert


def test_a_long_week_end_is_no_return() -> None:
    """The benign twin."""
    assert returned([*silent(world(), "emp-7", 53), *wakes("employee", "emp-7", 20)], "emp-7") == []
