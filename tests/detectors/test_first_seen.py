"""first_seen: accounts where they never were, and crowds of newcomers."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from detectors import catalog
from detectors.base import DAILY
from detectors.catalog.first_seen import (
    CLIENT,
    COUNTRY,
    CROWDS,
    HOST,
    HOUR,
    NETWORK,
    NEW_TO_ALL,
    RESOURCE,
    ROUTINE_HOURS,
    WARM_HOURS,
)
from detectors.fusion import Evidence
from stream.config import Config
from stream.events import ACCOUNT_KINDS, AccessEvent
from stream.pipeline import Pipeline
from tests.detectors.scenes import WHEN, entities, judged, usual
from tests.streams import DAY_MS, HOUR_MS, START_MS, block, event

ALONE = Config(detectors={each: each == "first_seen" for each in catalog.detector_ids()}, clock_jump_max_s=1e9)
EMPLOYEE, SERVICE = (ACCOUNT_KINDS.index(kind) for kind in ("employee", "service"))


def test_a_crowd_of_accounts_new_to_one_network_is_found() -> None:
    """Thirty customers arrive within ten minutes from one network overseas that none of them ever used."""
    crowd = [
        event(WHEN + n * 20_000, f"user-{n}", credential=f"x-{n}", source_ip=f"203.0.113.{n}", asn=64_500, country="XX")
        for n in range(30)
    ]  # fmt: skip
    found = entities(judged("first_seen", usual() + crowd))
    assert ("network", "AS64500") in found


def test_travellers_are_not() -> None:
    """The benign twin: every day some customers turn up at places of their own."""
    away = [
        event(START_MS + day * DAY_MS + n * 7_000_000, f"user-{(31 * day + 7 * n) % 150}", credential=f"x-{day}-{n}",
              source_ip=f"203.{n + 10 * day}.113.7")
        for day in range(8) for n in range(8)
    ]  # fmt: skip
    assert judged("first_seen", usual() + away) == []


def test_a_page_where_everybody_logs_in_is_no_place() -> None:
    """A morning on which sixty work from homes of their own: nobody has anything in common but the page."""
    storm = [
        event(WHEN + n * 30_000 + step * 5_000, f"user-{n}", "read" if step else "login", "/api" if step else "/login",
              credential=f"x-{n}", source_ip=f"203.{n}.113.7", asn=65_000 + n)
        for n in range(60) for step in range(2)
    ]  # fmt: skip
    assert ("resource", "/login") not in {
        (a.entity.kind, a.entity.value) for a in judged("first_seen", usual() + storm)
    }


def test_a_new_version_of_the_app_accuses_no_one() -> None:
    """Everybody has a new client from one day on."""
    events = usual()
    for each in events:
        if int(each.time) >= WHEN - 11 * HOUR_MS and each.account.startswith("user-"):
            each.user_agent = "Mozilla/6.0"
    assert judged("first_seen", events) == []


def test_a_service_in_a_network_where_it_never_was_is_found() -> None:
    """Its key works from a hosting network; services do not travel."""
    common = {"account_kind": "service", "issuer": "iam", "subject": ""}
    events = [
        event(START_MS + hour * HOUR_MS + job * 20_000, f"job-{job}", "export", "warehouse", credential=f"key-{job}",
              source_ip=f"10.0.0.{job}", user_agent="batch/1", **common)
        for hour in range(8 * 24) for job in range(80)
    ]  # fmt: skip
    moved = [
        event(
            WHEN + i * 60_000, "job-3", "export", "warehouse", credential="key-3", source_ip="203.0.113.77",
            asn=64_501, user_agent="curl/8", country="XX", **common,
        )
        for i in range(5)
    ]  # fmt: skip
    assert ("account", "job-3") in entities(judged("first_seen", events + moved, budget=10.0))


def machines(moves: int = 0) -> list[AccessEvent]:
    """Eighty jobs that run every hour on hosts of one network; `moves` of them on another host every time."""
    return [
        event(
            START_MS + hour * HOUR_MS + job * 20_000, f"job-{job}", "export", "warehouse", account_kind="service",
            credential=f"key-{job}", issuer="iam", subject="", user_agent="batch/1",
            source_ip=f"10.0.{hour % 250 if job < moves else 0}.{job}", asn=64_501,
        )
        for hour in range(8 * 24) for job in range(80)
    ]  # fmt: skip


def elsewhere(job: int) -> list[AccessEvent]:
    """A job on a host where it never was, a few steps from its own."""
    return [
        event(
            WHEN + i * 60_000, f"job-{job}", "export", "warehouse", account_kind="service", credential=f"key-{job}",
            issuer="iam", subject="", user_agent="batch/1", source_ip="10.0.0.251", asn=64_501,
        )
        for i in range(5)
    ]  # fmt: skip


def test_a_machine_on_another_host_of_its_network_is_found() -> None:
    """Its key works from a host where it never was, with the same client."""
    assert ("account", "job-50") in entities(judged("first_seen", machines() + elsewhere(50), budget=10.0))


def test_a_machine_that_has_another_host_every_time_is_not() -> None:
    """The benign twin: jobs that run wherever there is room."""
    assert judged("first_seen", machines(moves=40) + elsewhere(7), budget=10.0) == []


def test_a_session_replayed_from_home_is_not_found() -> None:
    """The evasion that its docstring admits."""
    home = [
        event(WHEN + n * 20_000, f"user-{n}", credential=f"x-{n}", source_ip=f"198.51.{n}.{n + 1}") for n in range(30)
    ]  # fmt: skip
    assert judged("first_seen", usual() + home) == []


def replaced(each: AccessEvent, time: int, **fields: Any) -> AccessEvent:
    """The same with another time and other fields."""
    return replace(each, time=time, **fields)


@dataclass
class Twin:
    """Accounts in plain Python that forget no place; of a class, how many hours showed which pattern."""

    known: dict[str, set[tuple[int, Any]]] = field(default_factory=dict)  # of an account, by what it is
    born: dict[str, int] = field(default_factory=dict)  # first time, of networks
    seen: dict[str, int] = field(default_factory=dict)
    active: dict[str, list[int]] = field(default_factory=dict)  # hours
    shown: dict[str, int] = field(default_factory=dict)
    novel: Counter[str] = field(default_factory=Counter)
    hours: Counter[int] = field(default_factory=Counter)
    patterns: Counter[tuple[int, int]] = field(default_factory=Counter)

    def event(self, e: AccessEvent, asn: int) -> None:
        """The next success of an account."""
        now, klass = int(e.time) // 1000, ACCOUNT_KINDS.index(e.account_kind)
        places = {
            NETWORK: str(asn),
            CLIENT: e.user_agent,
            RESOURCE: e.resource,
            COUNTRY: str(e.country),
        }
        if klass == SERVICE:
            places[HOST] = e.source_ip
        known = self.known.setdefault(e.account, set())
        pattern = sum(bit for bit, name in places.items() if (bit, name) not in known)
        if pattern & CLIENT and now - self.seen.get(e.account, now) >= 7 * 86_400:
            pattern -= CLIENT
        self.seen[e.account] = now
        known |= set(places.items())
        born = self.born.setdefault(str(asn), now)
        if pattern & NETWORK and now - born < 24 * 3600:
            pattern |= NEW_TO_ALL
        hours = self.active.setdefault(e.account, [])
        opens = not hours or now // 3600 != hours[-1]
        before = len(hours) - (not opens)
        if opens:
            hours.append(now // 3600)
            here = {(HOUR, now // 3600 % 24), (HOUR, "end" if (now // 86_400 + 3) % 7 >= 5 else "week")}
            if not here <= known and before >= ROUTINE_HOURS and klass == EMPLOYEE:
                pattern |= HOUR
            known |= here | {(HOUR, (now // 3600 + step) % 24) for step in (-1, 1)}
            self.shown[e.account] = 0
        if before < WARM_HOURS:
            return
        self.hours[klass] += opens
        shown = self.shown[e.account]
        if pattern | shown == shown:
            return
        self.patterns[klass, pattern | shown] += 1
        if shown:
            self.patterns[klass, shown] -= 1
        else:
            self.novel[e.account] += 1
        self.shown[e.account] = pattern | shown


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([2, 2, 50, 90, 90, 400, 1_500, 12_000]),  # minutes since the one before
            st.integers(0, 3),  # who
            st.sampled_from([0, 0, 0, 0, 1, 2]), st.sampled_from([0, 0, 0, 1]), st.sampled_from([0, 0, 0, 1, 2, 3]),
        ),
        min_size=60, max_size=250,
    )
)  # fmt: skip
def test_hours_show_the_patterns_that_the_twin_counts(rows: list[tuple[int, ...]]) -> None:
    """Two employees and two machines, with no more places than are remembered."""
    now, events, twin = START_MS, [], Twin()
    for gap, who, network, client, resource in rows:
        now += gap * 60_000
        each = event(
            now, f"a-{who}", "read", f"/page-{resource}", account_kind="employee" if who < 2 else "service",
            source_ip=f"10.0.{network}.7", asn=64_500 + network, user_agent=f"client/{client}",
            country="DE" if network else "FR",
        )  # fmt: skip
        events.append(each)
        twin.event(each, 64_500 + network)
    pipeline = Pipeline(replace(ALONE, warmup_h=8_760.0), lambda _alert: None)  # who is suspected teaches nothing
    pipeline.process(block(events))
    state = pipeline.detectors[0].save()
    hours, patterns = state["hours"], state["patterns"]
    assert {k: hours[k] for k in np.flatnonzero(hours)} == {k: n for k, n in twin.hours.items() if n}
    found = {(int(k), int(p)): float(patterns[k, p]) for k, p in np.argwhere(patterns)}
    assert found == {key: n for key, n in twin.patterns.items() if n}
    table = pipeline.tables["account"]
    for name in twin.known:
        row = table.columns["first_seen"][table.slot(name)]
        assert (int(row["novel"]), int(row["shown"])) == (twin.novel[name], twin.shown[name]), name


def found_in(events: list[AccessEvent]) -> list[Evidence]:
    """All that is found, however little."""
    found: list[Evidence] = []
    pipeline = Pipeline(ALONE, lambda _alert: None)
    pipeline.detectors[0]._offset_bits = -60.0  # type: ignore[attr-defined]  # report everything
    pipeline.fusion.add = found.append  # type: ignore[method-assign, assignment]
    pipeline.process(block(events))
    return found


def evidence(events: list[AccessEvent]) -> list[Evidence]:
    """Of it what is about accounts."""
    return [e for e in found_in(events) if e.kind == "account"]


def of_days(events: list[AccessEvent]) -> list[Evidence]:
    """Of it what is about places over a day."""
    return [e for e in found_in(events) if e.kind in CROWDS and e.horizon == DAILY]


def clerks(seed: int) -> list[AccessEvent]:
    """Sixty employees, each at its own hours on its own pages; a few of their hours show something new."""
    rng = np.random.default_rng(seed)
    events = []
    for day in range(20):
        for who in range(60):
            for hour in range(6):
                late = 9 * int(rng.random() < 0.003)
                at = START_MS + day * DAY_MS + (7 + who % 6 + hour + late) * HOUR_MS + int(rng.integers(3_000_000))
                strange = rng.random(3) < 0.01
                events.append(
                    event(
                        at, f"clerk-{who}", "read", f"/odd-{rng.integers(10**6)}" if strange[0] else f"/page-{who % 5}",
                        subject="", account_kind="employee", asn=64_500 + int(rng.integers(1, 900) * strange[1]),
                        user_agent=f"browser/{rng.integers(1, 900) * strange[2]}",
                    )
                )  # fmt: skip
    return events


@pytest.mark.parametrize("seed", [1, 2])
def test_bits_are_no_larger_than_chance_warrants(seed: int) -> None:
    """Attack-free, after five days of calibration: b bits in no more than one of 2^b active hours."""
    since = START_MS + 8 * DAY_MS
    bits = [e.bits for e in evidence(clerks(seed)) if e.time >= since]
    hours = len({(e.account, int(e.time) // HOUR_MS) for e in clerks(seed) if int(e.time) >= since})
    assert bits
    for level in range(1, 24):
        expected = hours * 2.0**-level
        assert sum(b >= level for b in bits) <= 1.5 * expected + 4.0 * math.sqrt(expected) + 2.0, level


def test_what_somebody_never_did_adds_up_within_the_hour() -> None:
    """A clerk at night, and on a page that it never had: each of it alone says less."""
    at = START_MS + 16 * DAY_MS + 1 * HOUR_MS
    night = [event(at, "clerk-7", "read", "/page-2", account_kind="employee", subject="", user_agent="browser/0",
                   asn=64_500)]  # fmt: skip
    elsewhere = [replaced(each, at + 60_000, resource="/all") for each in night]
    best = {}
    for name, more in {"night": night, "both": night + elsewhere}.items():
        found = [e for e in evidence(clerks(1) + more) if e.value == "clerk-7" and at <= e.time <= at + HOUR_MS]
        best[name] = max((e.bits, int(e.observed)) for e in found)
    assert best["night"][1] == HOUR
    assert best["both"][1] == HOUR | RESOURCE
    assert best["both"][0] > best["night"][0]


def roaming(seed: int, days: int = 9) -> list[AccessEvent]:
    """Customers who look in now and then, one time in eight from a network where they never were."""
    rng = np.random.default_rng(seed)
    events = []
    for day in range(days):
        for who in range(400):
            for hour in rng.choice(14, 3, replace=False).tolist():
                asn = 65_000 + (int(rng.integers(10**6)) if rng.random() < 0.125 else who % 20)
                at = START_MS + day * DAY_MS + (7 + hour) * HOUR_MS + int(rng.integers(3_000_000))
                events.append(event(at, f"user-{who}", asn=asn, user_agent=f"browser/{who % 5}"))
    return events


def victims(places: int) -> list[AccessEvent]:
    """Five sessions an hour, each of another customer, in `places` networks where none of them ever was."""
    return [
        event(WHEN + n * HOUR_MS // 5, f"user-{3 * n}", asn=64_000 + n % places, user_agent=f"browser/{3 * n % 5}")
        for n in range(120)
    ]  # fmt: skip


def test_newcomers_that_are_few_an_hour_are_found_by_their_day() -> None:
    """Five an hour are no crowd where one session in eight is somewhere new; a hundred and twenty a day are."""
    alerts = judged("first_seen", roaming(1) + victims(places=1))
    (alert,) = [each for each in alerts if (each.entity.kind, each.entity.value) == ("network", "AS64000")]
    assert alert.evidence[0].window_s == 86_400.0


def test_as_many_who_go_each_somewhere_else_are_not() -> None:
    """The benign twin."""
    assert judged("first_seen", roaming(1) + victims(places=120)) == []


def test_a_day_on_which_everybody_is_somewhere_new_accuses_no_program() -> None:
    """A holiday, and the same day when it is the people of one program alone."""
    away = [
        event(WHEN + n * 20_000, f"user-{n}", asn=70_000 + n, user_agent=f"browser/{n % 5}") for n in range(400)
    ]  # fmt: skip
    alone = [each for each in away if each.user_agent == "browser/1"]
    most = {}
    for name, events in {"holiday": away, "alone": alone}.items():
        found = of_days(roaming(1) + events)
        most[name] = max((e.bits for e in found if e.kind == "client" and e.time >= WHEN), default=0.0)
    assert most["holiday"] < 6.0 < most["alone"]


@pytest.mark.parametrize("seed", [1, 2])
def test_days_of_newcomers_are_no_rarer_than_chance_warrants(seed: int) -> None:
    """Attack-free, once days are known: b bits on no more than one of 2^b places and days."""
    since = START_MS + 7 * DAY_MS
    late = [e for e in roaming(seed, days=16) if int(e.time) >= since]
    windows = {
        (kind, value, int(e.time) // DAY_MS)
        for e in late for kind, value in (("client", e.user_agent), ("network", str(e.asn)), ("resource", e.resource))
    }  # fmt: skip
    bits = [e.bits for e in of_days(roaming(seed, days=16)) if e.time >= since]
    assert bits
    for level in range(1, 20):
        expected = len(windows) * 2.0**-level
        assert sum(b >= level for b in bits) <= 1.5 * expected + 4.0 * math.sqrt(expected) + 2.0, level


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 500), st.integers(0, 3), st.integers(0, 2)), min_size=40, max_size=120)
)  # fmt: skip
def test_arrivals_of_a_day_are_those_that_the_twin_counts(rows: list[tuple[int, int, int]]) -> None:
    """Each hour of an account is an arrival, and each network that is new to it; faded by a day's time constant."""
    now, events, known = START_MS, [], set[tuple[int, int]]()
    hours: dict[int, list[int]] = {}
    sums = {network: [0.0, 0.0, now // 1000] for network in range(3)}
    for gap, who, network in rows:
        now += gap * 60_000
        events.append(event(now, f"a-{who}", asn=65_000 + network))
        new = (who, network) not in known
        known.add((who, network))
        mine = hours.setdefault(who, [])
        opens = not mine or mine[-1] != now // HOUR_MS
        before = len(mine) - (not opens)
        mine += [now // HOUR_MS] * opens
        if before >= WARM_HOURS and (opens or new):
            place = sums[network]
            fade = math.exp((place[2] - now // 1000) / 86_400)
            place[:] = [place[0] * fade + 1.0, place[1] * fade + new, now // 1000]
    pipeline = Pipeline(ALONE, lambda _alert: None)
    pipeline.process(block(events))
    table = pipeline.tables["network"]
    for network, (trials, hits, _) in sums.items():
        if (slot := table.slot(f"AS{65_000 + network}")) >= 0:
            row = table.columns["first_seen"][slot]["day"]
            assert (float(row["trials"][0]), float(row["hits"][0])) == pytest.approx((trials, hits), abs=1e-3)
