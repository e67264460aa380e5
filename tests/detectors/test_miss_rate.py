"""miss_rate: who asks for what is not there, or not theirs."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import catalog
from detectors.base import KINDS
from detectors.baselines.calibration import LEVELS
from detectors.catalog.miss_rate import REGISTERS
from stream.config import Config
from stream.events import AccessEvent
from stream.pipeline import Pipeline
from stream.siphash import hash_column, hash_key
from tests.detectors.scenes import WHEN, entities, judged
from tests.streams import DAY_MS, HOUR_MS, START_MS, block, event, part, run, state

ACCOUNTS, DAYS, PARTNERS = 120, 8, 25
ALONE = Config(detectors={each: each == "miss_rate" for each in catalog.detector_ids()}, warmup_h=0.0)


def customers(seed: int, days: int = DAYS, accounts: int = ACCOUNTS) -> list[AccessEvent]:
    """Sessions through the day; one login in twenty is mistyped first, one page in fifty fails."""
    rng = np.random.default_rng(seed)
    events = []
    for session in range(days * accounts * 2):
        n = int(rng.integers(accounts))
        at = START_MS + int(rng.integers(days)) * DAY_MS + int(rng.normal(13, 3.5) % 24 * HOUR_MS)
        common = {"credential": f"t-{n}-{session}", "source_ip": f"198.51.{n % 40}.{n + 1}"}
        if rng.random() < 0.05:
            events.append(event(at, f"user-{n}", "login", "/login", records=0, outcome="failure", **common))
        events.append(event(at + 9_000, f"user-{n}", "login", "/login", records=0, **common))
        for view in range(int(rng.poisson(5)) + 1):
            page = f"/{('orders', 'address', 'profile')[int(rng.integers(3))]}"
            failed = rng.random() < 0.02
            when = at + 12_000 + 20_000 * view
            events.append(event(when, f"user-{n}", "read", page, outcome="failure" if failed else "success", **common))
    return events


def partners(seed: int, days: int = DAYS) -> list[AccessEvent]:
    """Partners who look up tags that their customers read out; one in twelve is misread and gives nothing."""
    rng = np.random.default_rng(seed)
    return [
        lookup(
            START_MS + int(rng.integers(days)) * DAY_MS + int(rng.normal(12, 3) % 24 * HOUR_MS),
            f"partner-{int(rng.integers(PARTNERS))}", f"tag-{seed}-{i}", hit=rng.random() > 0.08,
        )
        for i in range(days * PARTNERS * 20)
    ]  # fmt: skip


def lookup(time: int, account: str, tag: str, hit: bool) -> AccessEvent:
    number = int(account.rpartition("-")[2])
    return event(
        time, account, "read", "/tags", account_kind="partner", credential=f"key-{account}", issuer="portal",
        source_ip=f"192.0.2.{number + 1}", user_agent="portal/3", subject="", object=tag, records=int(hit),
    )  # fmt: skip


@cache
def world() -> tuple[AccessEvent, ...]:
    return (*customers(1), *partners(1))


def guesses(misses: Callable[[int], bool], count: int = 600, account: str = "partner-7") -> list[AccessEvent]:
    """Tags tried out, two a second."""
    return [lookup(WHEN + i * 500, account, f"guess-{i}", hit=not misses(i)) for i in range(count)]


def stuffing(tries: int = 300, known: int = 100) -> list[AccessEvent]:
    """Passwords of another shop tried out from one network, one try an account; one account in fifty opens."""
    return [
        event(
            WHEN + i * 2_000, f"user-{i}" if i < known else f"stranger-{i}", "login", "/login", records=0,
            credential="", source_ip=f"203.0.113.{i % 50}", outcome="failure" if i % 50 else "success",
        )
        for i in range(tries)
    ]  # fmt: skip


def changed(broken: Callable[[AccessEvent], bool]) -> list[AccessEvent]:
    """The world with some requests failing."""
    events = [copy(each) for each in world()]
    for each in events:
        if broken(each):
            each.outcome, each.records = "failure", 0
    return events


def within(each: AccessEvent, hours: float) -> bool:
    return WHEN <= int(each.time) < WHEN + hours * HOUR_MS


def test_a_partner_who_guesses_is_found_and_what_it_got_is_told() -> None:
    """Two tags in three do not exist; the alert counts the ones that do."""
    alerts = judged("miss_rate", [*world(), *guesses(lambda i: i % 3 != 0)])
    assert ("account", "partner-7") in entities(alerts)
    assert max(alert.impact.records for alert in alerts) > 0


def test_stolen_passwords_tried_out_are_found_by_the_network() -> None:
    """Six tries an address and one an account, a third of the accounts being real: nobody known excuses them."""
    assert ("network", "203.0.113.0/24") in entities(judged("miss_rate", [*world(), *stuffing()]))


@pytest.mark.parametrize(
    "twin",
    [
        lambda: list(world()),
        lambda: changed(lambda e: within(e, 2)),  # everything is down
        lambda: changed(lambda e: within(e, 6) and e.resource == "/orders"),  # one page is
        lambda: changed(lambda e: int(e.time) >= WHEN - 6 * HOUR_MS and e.resource == "/address"),  # and stays so
        lambda: changed(lambda e: within(e, 12) and int(e.time) // 7 % 3 == 0),  # a third of everything
    ],
    ids=["usual", "outage", "page", "gone", "partly"],
)
def test_what_is_broken_for_those_who_are_known_accuses_no_one(twin: Callable[[], list[AccessEvent]]) -> None:
    assert judged("miss_rate", twin()) == []


def test_a_client_whose_new_release_is_broken_is_not_accused() -> None:
    """Half of the customers get it, and two of three pages fail with it."""
    events = changed(lambda e: int(e.time) >= WHEN and _updated(e) and e.resource in ("/profile", "/orders"))
    for each in events:
        if int(each.time) >= WHEN and _updated(each):
            each.user_agent = "Mozilla/6.0"
    assert judged("miss_rate", events) == []


def _updated(each: AccessEvent) -> bool:
    return each.account.startswith("user-") and int(each.account[5:]) % 2 == 1


def test_a_job_that_tries_again_and_again_is_not_accused() -> None:
    """Three thousand times for three tags that are not there: three misses an hour."""
    again = [lookup(WHEN + i * 5_000, "partner-7", f"lost-{i % 3}", hit=False) for i in range(3_000)]
    assert judged("miss_rate", [*world(), *again]) == []


def test_a_newcomer_is_judged_as_its_peers_are() -> None:
    """The cold start: a new partner misreads as often as others do and is none; one that guesses at once is found."""
    honest = guesses(lambda i: i % 12 == 5, 60, "partner-90")
    assert judged("miss_rate", [*world(), *honest]) == []
    assert ("account", "partner-91") in entities(
        judged("miss_rate", [*world(), *guesses(lambda i: True, 60, "partner-91")])
    )


def test_asking_only_for_what_exists_is_not_found() -> None:
    """The evasion that its docstring admits: a list of known tags, wrong no more often than usual."""
    assert judged("miss_rate", [*world(), *guesses(lambda i: i % 12 == 5)]) == []


@settings(max_examples=8, deadline=None)
@given(edges=st.lists(st.integers(0, 1_500), max_size=8))
def test_where_batches_are_cut_changes_nothing(edges: list[int]) -> None:
    """Over an hour of trying passwords in a small world."""
    whole = block([*customers(3, 2, 60), *_early(stuffing(500))])
    bounds = [0, *sorted({min(e, len(whole)) for e in edges}), len(whole)]
    one, _ = run([whole], ALONE)
    two, _ = run([part(whole, a, b) for a, b in pairwise(bounds) if b > a], ALONE)
    assert state(one) == state(two)


def _early(events: list[AccessEvent]) -> list[AccessEvent]:
    for each in events:
        each.time = int(each.time) - 5 * DAY_MS
    return events


@pytest.mark.parametrize("seed", [5, 6])
def test_bits_are_no_larger_than_chance_warrants(seed: int) -> None:
    """Attack-free, each customer and partner at a rate of its own: on the last day no level is reached more often than
    2^-bits says, beyond what counting allows, and nothing is told."""
    rng = np.random.default_rng(seed)
    habit = rng.beta(0.5, 8.0, ACCOUNTS)
    events = [*customers(seed), *partners(seed)]
    for each in events:
        if rng.random() < habit[int(each.account.rpartition("-")[2])]:
            each.outcome, each.records = "failure", 0
    until = START_MS + DAYS * DAY_MS - 2 * HOUR_MS
    pipeline, alerts = run([block([e for e in events if int(e.time) < until])], ALONE, finish=False)
    survival = pipeline.detectors[0]._survival  # type: ignore[attr-defined]
    for kind, klass in (("account", 1), ("source", 1), ("account", 4), ("network", 1), ("resource", 1)):
        family = KINDS.index(kind), klass, 0, 0
        windows = survival.today[family]
        for level in range(1, LEVELS):
            p = 2.0 ** -survival.bits(family, (level / 4.0) ** 2 / (2.0 * math.log(2.0)) * (1.0 + 1e-12))
            expected = windows[0] * p
            assert windows[level] <= 1.3 * expected + 4.0 * math.sqrt(expected) + 2.0, (kind, klass, level)
    assert len([a for a in alerts if a.status == "open"]) <= 5


def naive(events: list[tuple[int, bool, int]]) -> list[tuple[float, float]]:
    """Trials and misses after each event, from all of its past at once; of (time, missed, hash of the target)."""
    weights: list[float] = []
    registers = [0] * REGISTERS
    out = []
    for i, (time, missed, target) in enumerate(events):
        if i and time // HOUR_MS != events[i - 1][0] // HOUR_MS:
            registers = [0] * REGISTERS
        own, rest = target % REGISTERS, target // REGISTERS
        rank = (rest & -rest).bit_length()
        weights.append(1.0)
        if missed:
            weights[i] = REGISTERS / sum(2.0**-r for r in registers) if rank > registers[own] else 0.0
            registers[own] = max(registers[own], rank)
        aged = [w * math.exp((t - time) / 1_200_000) for w, (t, _, _) in zip(weights, events, strict=False)]
        out.append((sum(aged), sum(a for a, (_, m, _) in zip(aged, events, strict=False) if m)))
    return out


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60_000) | st.integers(0, HOUR_MS), st.booleans(), st.integers(0, 9)), max_size=30)
)
def test_every_prefix_counts_as_the_twin_does(drawn: list[tuple[int, bool, int]]) -> None:
    """One address and one page, an account an event: retries, new targets, long gaps, hours that end."""
    key = hash_key(ALONE.hash_key)
    (page,) = hash_column(["/tags"], key)
    pipeline = Pipeline(ALONE, lambda _alert: None)
    past: list[tuple[int, bool, int]] = []
    now = START_MS
    for gap, missed, tag in drawn:
        now += gap
        account, target = hash_column([f"partner-{tag}", f"tag-{tag}"], key)
        mixed = int(account) ^ int(page) * 3 ^ int(target) * 5
        past.append((now, missed, mixed % 2**64))
        each = lookup(now, f"partner-{tag}", f"tag-{tag}", not missed)
        each.source_ip = "192.0.2.1"
        pipeline.process(block([each]))
        row = pipeline.tables["source"].columns["miss_rate"][pipeline.tables["source"].slot("192.0.2.1")]
        assert np.allclose((row["tries"], row["misses"]), naive(past)[-1], rtol=1e-4, atol=1e-5)
