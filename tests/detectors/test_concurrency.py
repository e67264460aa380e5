"""concurrency: one credential, or one account, used from two places at the same time."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import catalog
from detectors.base import KINDS
from detectors.baselines.calibration import LEVELS
from stream.config import Config
from stream.events import AccessEvent
from stream.pipeline import Pipeline
from tests.detectors.scenes import WHEN, entities, judged, usual
from tests.streams import DAY_MS, HOUR_MS, START_MS, block, event, part, regulars, run, state

ALONE = Config(detectors={each: each == "concurrency" for each in catalog.detector_ids()}, warmup_h=72.0)
THIEF: dict[str, Any] = {"source_ip": "203.0.113.9", "asn": 64_500, "user_agent": "curl/8"}
CARRIER: dict[str, Any] = {"source_ip": "192.0.2.44", "asn": 64_800}
STAFF: dict[str, Any] = {"account_kind": "employee", "issuer": "sso", "subject": ""}


def session(name: str, start: int = WHEN, pages: int = 12, gap_ms: int = 40_000, **fields: Any) -> list[AccessEvent]:
    """A customer who reads for some minutes."""
    given: dict[str, Any] = {"credential": f"late-{name}", "source_ip": "198.51.7.8"} | fields
    return [event(start + i * gap_ms, name, **given) for i in range(pages)]


def staff(days: int = 8, people: int = 40) -> list[AccessEvent]:
    """Employees who read a page every six minutes, for eight hours."""
    return [
        event(START_MS + day * DAY_MS + (8 * 60 + 6 * i) * 60_000 + n * 911, f"emp-{n}", resource="/crm",
              credential=f"shift-{n}-{day}", source_ip=f"10.1.0.{n}", user_agent="Chrome/134", **STAFF)
        for day in range(days) for n in range(people) for i in range(80)
    ]  # fmt: skip


def hosts(name: str, start: int, stop: int, places: int, gap_ms: int = 120_000) -> list[AccessEvent]:
    """A service whose key is used from several networks, by a program of its own in each."""
    return [
        event(at, name, "list", "/feed", credential=f"key-{name}", issuer="iam", account_kind="service", subject="",
              source_ip=f"10.{i % places}.0.5", user_agent=f"worker-{i % places}/1")
        for i, at in enumerate(range(start, stop, gap_ms))
    ]  # fmt: skip


def test_a_stolen_session_is_found_while_its_owner_uses_it() -> None:
    """Twelve pages of the customer, and in between a thief's with the same token from a server overseas."""
    stolen = session("user-7") + session("user-7", WHEN + 20_000, pages=30, gap_ms=15_000, **THIEF)
    alerts = judged("concurrency", usual() + stolen)
    assert ("credential", "late-user-7") in entities(alerts)
    assert "AS64500" in {value for _, value in entities(alerts)}


def test_a_telephone_that_changes_networks_is_not() -> None:
    """The benign twin: back and forth between home and the carrier, with the same app."""
    roaming = session("user-7") + session("user-7", WHEN + 20_000, pages=30, gap_ms=15_000, **CARRIER)
    assert judged("concurrency", usual() + roaming) == []


def test_a_new_version_of_the_app_on_the_way_is_not() -> None:
    """A telephone leaves home and has a new version from then on."""
    moved = session("user-7") + session("user-7", WHEN + 500_000, user_agent="Mozilla/6.0", **CARRIER)
    assert judged("concurrency", usual() + moved) == []


def test_an_app_that_calls_itself_two_names_is_known_by_it() -> None:
    """Every third customer's pages and pictures are fetched by two clients; roaming then looks like two places."""
    events = usual()
    for i, each in enumerate(events):
        if each.account.startswith("user-") and int(each.account[5:]) % 3 == 0 and i % 2:
            each.user_agent = "webview/1"
    flapping = [
        event(WHEN + i * 15_000, "user-6", credential="late-user-6", user_agent=("Mozilla/5.0", "webview/1")[i % 2],
              **((CARRIER, {"source_ip": "198.51.7.8"})[i // 3 % 2]))
        for i in range(60)
    ]  # fmt: skip
    assert judged("concurrency", events + flapping) == []


def roaming() -> list[AccessEvent]:
    """The usual company, where every third customer leaves home in the middle of a session, with the same app."""
    events = usual()
    seen: Counter[str] = Counter()
    for each in events:
        if each.account.startswith("user-") and int(each.account[5:]) % 3 == 0:
            seen[str(each.credential)] += 1
            if seen[str(each.credential)] > 3:
                each.source_ip, each.asn = CARRIER["source_ip"], CARRIER["asn"]
    return events


@pytest.mark.parametrize("elsewhere", [CARRIER | {"user_agent": "Phone/1"}, THIEF])
def test_two_devices_are_told_from_two_people_by_where_the_other_one_is(elsewhere: dict[str, Any]) -> None:
    """They take turns as often, and nobody had two devices before; but peers go to the one network and not to the
    other. One session alone is no more than a medium alert, however often it goes back and forth."""
    double = session("user-7", pages=90) + session("user-7", WHEN + 20_000, pages=90, **elsewhere)
    alerts = judged("concurrency", roaming() + double)
    if elsewhere is not THIEF:
        assert alerts == []
        return
    about = [alert for alert in alerts if alert.entity.value == "late-user-7"]
    assert about
    assert {alert.severity for alert in about} <= {"low", "medium"}


def test_tunnels_that_go_on_and_off_make_tunnels_ordinary() -> None:
    """Where a tenth of the customers use one of many servers overseas, a browser beside an app there is no theft."""
    events = usual()
    rng = np.random.default_rng(3)
    for each in events:
        if each.account.startswith("user-") and int(each.account[5:]) % 10 == 1 and rng.random() < 0.4:
            each.source_ip, each.asn = f"203.0.{rng.integers(40)}.7", None
    double = session("user-7", pages=60) + session("user-7", WHEN + 20_000, pages=60, **THIEF)
    assert judged("concurrency", events + double) == []


def test_sessions_that_appear_elsewhere_are_found_by_the_network_that_they_share() -> None:
    """Forty stolen sessions, four pages each, just after their owners' last; each on its own is a thief's one visit."""
    events = usual()
    for n in range(40):
        events += session(f"user-{n}", WHEN + n * 60_000, pages=4, source_ip=f"198.51.{n}.{n + 1}")
        events += session(f"user-{n}", WHEN + n * 60_000 + 180_000, pages=4, gap_ms=5_000, **THIEF)
    assert ("network", "AS64500") in entities(judged("concurrency", events))


def test_an_employee_in_two_places_is_found_and_one_with_two_devices_is_not() -> None:
    """A stolen password works from overseas while its owner is at the desk; a colleague has always used two devices."""
    late = WHEN + 4 * 60_000
    stolen = [
        event(late + i * 60_000, "emp-3", resource="/crm", credential="other", **(STAFF | THIEF)) for i in range(90)
    ]  # fmt: skip
    tablet = [
        event(START_MS + day * DAY_MS + (8 * 60 + 5 * i) * 60_000, "emp-4", resource="/crm", credential=f"tab-{day}",
              user_agent="Tablet/2", **(STAFF | CARRIER))
        for day in range(8) for i in range(96)
    ]  # fmt: skip
    named = {value for _, value in entities(judged("concurrency", usual() + staff() + stolen + tablet))}
    assert "emp-3" in named
    assert "emp-4" not in named


def test_a_key_that_many_hosts_share_is_not_accused() -> None:
    """From the first day on, and one that begins on the sixth: what a machine does first is its habit."""
    shared = [
        each for n in range(6) for each in hosts(f"svc-{n}", START_MS + n * 1_000, START_MS + 8 * DAY_MS, 2, 240_000)
    ]
    new = hosts("svc-new", WHEN - 12 * HOUR_MS, START_MS + 8 * DAY_MS, 2)
    assert judged("concurrency", usual() + shared + new) == []


def test_a_key_with_one_home_is_found_in_two() -> None:
    """Services that have been in one place, and one of them in two from an hour on."""
    homes = [
        each for n in range(12) for each in hosts(f"svc-{n}", START_MS + n * 1_000, START_MS + 8 * DAY_MS, 1, 300_000)
    ]
    stolen = [
        event(WHEN + i * 90_000, "svc-3", "list", "/feed", credential="key-svc-3", issuer="iam", account_kind="service",
              subject="", **THIEF)
        for i in range(40)
    ]  # fmt: skip
    named = {value for _, value in entities(judged("concurrency", usual() + homes + stolen))}
    assert named & {"svc-3", "key-svc-3"}


@pytest.mark.parametrize("client", ["feeder/1", ""])
def test_a_key_is_found_in_two_places_though_the_program_is_the_same(client: str) -> None:
    """Used from a rented host, by what calls itself as its owner does or not at all; and the owner goes on."""

    def feed(n: int, start: int, stop: int, every_ms: int, **place: Any) -> list[AccessEvent]:
        return [
            event(at, f"partner-{n}", "list", "/feed", credential=f"key-{n}", issuer="iam", account_kind="partner",
                  subject="", user_agent=client, **place)
            for at in range(start, stop, every_ms)
        ]  # fmt: skip

    homes = [
        each for n in range(12)
        for each in feed(n, START_MS + n * 1_000, START_MS + 8 * DAY_MS, 300_000, source_ip=f"10.{n}.0.5")
    ]  # fmt: skip
    rented = {"source_ip": "203.0.113.9", "asn": 64_500}
    stolen = feed(3, WHEN + 7_000, WHEN + 2 * HOUR_MS, 300_000, **rented)
    named = {value for _, value in entities(judged("concurrency", usual() + homes + stolen))}
    assert named & {"partner-3", "key-3"}
    moved = [each for each in homes if each.account != "partner-3" or int(each.time) < WHEN]
    moved += feed(3, WHEN + 7_000, START_MS + 8 * DAY_MS, 300_000, **rented)
    assert judged("concurrency", usual() + moved) == []


def test_a_thief_who_waits_for_the_session_to_be_idle_is_not_found() -> None:
    """The evasion that its docstring admits."""
    later = session("user-7") + session("user-7", WHEN + HOUR_MS, pages=30, gap_ms=15_000, **THIEF)
    assert judged("concurrency", usual() + later) == []


@settings(max_examples=8, deadline=None)
@given(edges=st.lists(st.integers(0, 2_500), max_size=8))
def test_where_batches_are_cut_changes_nothing(edges: list[int]) -> None:
    """Over three days of people, machines and a theft."""
    early = [each for each in staff(3, 8) if int(each.time) < START_MS + 3 * DAY_MS]
    stolen = session("user-7", WHEN - 4 * DAY_MS) + session("user-7", WHEN - 4 * DAY_MS + 9_000, gap_ms=9_000, **THIEF)
    whole = block([*regulars(3, 60, np.random.default_rng(4)), *early, *stolen])
    bounds = [0, *sorted({min(e, len(whole)) for e in edges}), len(whole)]
    one, _ = run([whole], ALONE)
    two, _ = run([part(whole, a, b) for a, b in pairwise(bounds) if b > a], ALONE)
    assert state(one) == state(two)


@pytest.mark.parametrize("seed", [5, 6])
def test_bits_are_no_larger_than_chance_warrants(seed: int) -> None:
    """Attack-free, some customers sharing a session between two homes: on the last day no level is reached more often
    than 2^-bits says, beyond what counting allows, and nothing is told."""
    rng = np.random.default_rng(seed)
    events = regulars(8, 400, rng)
    for each in events:
        number = int(each.account[5:])
        if number % 5 == 0 and rng.random() < 0.02 * (number % 7):
            each.source_ip, each.user_agent = f"203.0.{number % 250}.1", "Other/1"
    until = START_MS + 8 * DAY_MS - 2 * HOUR_MS
    pipeline, alerts = run([block([e for e in events if int(e.time) < until])], ALONE, finish=False)
    survival = pipeline.detectors[0]._survival  # type: ignore[attr-defined]
    family = KINDS.index("credential"), 1, 0, 0
    windows = survival.today[family]
    assert windows[0] > 300
    assert windows[1] > 0
    for level in range(1, LEVELS):
        p = 2.0 ** -survival.bits(family, (level / 4.0) ** 2 / (2.0 * math.log(2.0)) * (1.0 + 1e-12))
        expected = windows[0] * p
        assert windows[level] <= 1.3 * expected + 4.0 * math.sqrt(expected) + 2.0, level
    assert [a for a in alerts if a.status == "open"] == []


def naive(events: list[tuple[int, int, int]], machine: bool) -> float:
    """Decayed returns after the last of (time, network, client), from the whole past."""
    visits: list[tuple[int, int, int, int]] = []  # network, client, first and last time
    returns: list[int] = []
    for time, network, client in events:
        if visits and time // 1000 - visits[-1][3] // 1000 > 600:
            visits = []
        if visits and visits[-1][:2] == (network, client):
            visits[-1] = (network, client, visits[-1][2], time)
            continue
        back = len(visits) > 1 and visits[-2][:2] == (network, client) and time // 1000 - visits[-2][3] // 1000 <= 600
        if back and network != visits[-1][0] and (machine or client != visits[-1][1]):
            returns.append(time)
        visits.append((network, client, time, time))
    return sum(math.exp((at - events[-1][0]) / 1_200_000) for at in returns)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 90_000) | st.integers(0, 900_000), st.integers(0, 2), st.integers(0, 2)),
                max_size=30), st.sampled_from(["customer", "partner"]))  # fmt: skip
def test_every_prefix_counts_as_the_twin_does(drawn: list[tuple[int, int, int]], kind: str) -> None:
    """One session between three networks and three clients, with gaps and hours that end.

    A machine is judged from its ninth active hour on.
    """
    pipeline = Pipeline(ALONE, lambda _alert: None)
    past: list[tuple[int, int, int]] = []
    now = START_MS
    for gap, network, client in [*[(HOUR_MS, 0, 0)] * 10, *drawn]:
        now += gap
        past.append((now, network, client))
        fields: dict[str, Any] = {"source_ip": f"10.0.{network}.1", "user_agent": f"c{client}", "account_kind": kind}
        pipeline.process(block([event(now, "a", **fields)]))
        row = pipeline.tables["credential"].columns["concurrency"][pipeline.tables["credential"].slot("t-a")]
        assert np.isclose(row["returns"], naive(past, kind == "partner"), rtol=1e-4, atol=1e-6)
