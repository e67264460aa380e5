"""enumeration: identifiers walked in order, and data of others read where one's own is the rule."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.baselines.share import SUSPECT_WEIGHT
from detectors.catalog.enumeration import (
    GAP,
    KNOWN_TRIALS,
    NUMBER_MASK,
    REPEAT,
    STEPS,
    _close,
    _inflation,
    step,
    walk_dtype,
)  # fmt: skip
from stream.config import Config
from stream.events import AccessEvent
from tests.detectors.scenes import WHEN, entities, judged
from tests.streams import DAY_MS, HOUR_MS, START_MS, block, event, part, plain, run, state

ORDERS = 100_000


def shop(seed: int = 1, days: int = 8, accounts: int = 150) -> list[AccessEvent]:
    """Customers who look at their own orders and leaf through lists, agents, a nightly export, a crawler."""
    rng = np.random.default_rng(seed)
    events: list[AccessEvent] = []

    def at(day: int, hour: float) -> int:
        return START_MS + day * DAY_MS + int(hour % 24 * HOUR_MS)

    for day in range(days):
        for n in range(accounts):
            own = {"credential": f"t-{n}-{day}", "source_ip": f"198.51.{n % 100}.{n % 250 + 1}"}
            begin = at(day, rng.normal(12, 3))
            events += [
                event(begin + i * 15_000, f"user-{n}", resource="/orders", object=f"order-{order:06}", **own)
                for i, order in enumerate(rng.integers(0, ORDERS, int(rng.poisson(4))))
            ]
            if rng.random() < 0.3:
                events += [
                    event(begin + 60_000 + i * 5_000, f"user-{n}", "list", "/search", object=f"page-{i + 1}", **own)
                    for i in range(int(rng.integers(2, 20)))
                ]  # fmt: skip
        for n in range(6):
            desk = {"account_kind": "employee", "issuer": "sso", "source_ip": f"10.1.0.{n}", "user_agent": "desk/2"}
            first = int(rng.integers(0, ORDERS))
            events += [
                event(at(day, 9) + n * 7_000 + i * 400_000, f"agent-{n}", resource="/tickets",
                      object=f"ticket-{first + i}", subject=f"user-{rng.integers(accounts)}", **desk)
                for i in range(60)
            ]  # fmt: skip
        for name, hour, resource in (("nightly", 2.0, "/orders"), ("crawler", 4.0 + rng.random(), "/product")):
            job = {"account_kind": "service", "issuer": "iam", "source_ip": f"10.0.0.{len(name)}", "user_agent": name}
            events += [
                event(at(day, hour) + i * 2_000, name, "export", resource, object=f"{i:06}", subject="", **job)
                for i in range(300)
            ]
    return events


def walk(count: int, stride: int = 1, account: str = "user-7", **fields: Any) -> list[AccessEvent]:
    """Orders one after the other, by a customer in the middle of the day."""
    thief = {"credential": "t-7-6", "source_ip": "198.51.7.8", "resource": "/orders"} | fields
    return [event(WHEN + i * 10_000, account, object=f"order-{40_000 + i * stride:06}", **thief) for i in range(count)]


def shared(count: int) -> list[AccessEvent]:
    """The same walk, each order by another account at another address of one network."""
    return [
        event(WHEN + i * 10_000, f"user-{i % 150}", resource="/orders", object=f"order-{40_000 + i:06}",
              credential=f"x-{i}", source_ip=f"203.0.113.{i % 250}", asn=64_500, user_agent="okhttp/4")
        for i in range(count)
    ]  # fmt: skip


def test_orders_read_in_order_are_found() -> None:
    alerts = judged("enumeration", shop() + walk(80))
    assert ("account", "user-7") in entities(alerts)
    assert any(e.feature == "steps" for a in alerts for e in a.evidence)


def test_a_walk_shared_out_among_many_is_one_walk_in_what_they_share() -> None:
    """Each account and each address reads one order."""
    assert entities(judged("enumeration", shop() + shared(120))) & {("network", "AS64500"), ("client", "okhttp/4")}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_quiet_shop_accuses_no_one(seed: int) -> None:
    """Tickets, exports and sitemaps are read in order, lists are leafed through: six days judged, no alert."""
    assert judged("enumeration", shop(seed)) == []


def test_leafing_far_through_a_list_is_not_a_walk() -> None:
    """The benign twin: as many pages as were orders, where everybody leafs."""
    own = {"credential": "t-7-6", "source_ip": "198.51.7.8"}
    pages = [event(WHEN + i * 10_000, "user-7", "list", "/search", object=f"page-{i + 1}", **own) for i in range(80)]
    assert judged("enumeration", shop() + pages) == []


def test_data_of_others_is_found_where_own_is_the_rule() -> None:
    """A customer reads orders of sixty others, in no order."""
    rng = np.random.default_rng(5)
    others = [
        event(WHEN + i * 10_000, "user-7", resource="/orders", object=f"order-{rng.integers(ORDERS)}",
              subject=f"user-{n}", credential="t-7-6", source_ip="198.51.7.8")
        for i, n in enumerate(rng.permutation(60))
    ]  # fmt: skip
    alerts = judged("enumeration", shop() + others)
    assert ("account", "user-7") in entities(alerts)
    assert any(e.feature == "foreign" for a in alerts for e in a.evidence)


def test_a_new_agent_is_judged_as_agents_are() -> None:
    """The cold start: on the first day, tickets of others, in order."""
    desk = {"account_kind": "employee", "issuer": "sso", "source_ip": "10.1.0.77", "user_agent": "desk/2"}
    tickets = [
        event(WHEN + i * 200_000, "agent-77", resource="/tickets", object=f"ticket-{i}", subject=f"user-{i}",
              credential="k", **desk)
        for i in range(60)
    ]  # fmt: skip
    assert judged("enumeration", shop() + tickets) == []


def office(seed: int, days: int = 8) -> list[AccessEvent]:
    """One network and client: people who look orders up, and a job that reads as many in order as there are to do."""
    rng = np.random.default_rng(seed)
    there = {"issuer": "sso", "asn": 64_501, "user_agent": "office/1", "subject": ""}
    events: list[AccessEvent] = []
    for hour in (START_MS + day * DAY_MS + h * HOUR_MS for day in range(days) for h in range(8, 19)):
        due, first = int(60 * rng.lognormal(0, 0.7)), int(rng.integers(ORDERS))
        events += [
            event(int(hour + rng.uniform(0, HOUR_MS)), f"clerk-{n % 20}", resource="/orders",
                  object=f"order-{rng.integers(ORDERS):06}", credential=f"c-{n % 20}", source_ip=f"10.2.0.{n % 20}",
                  account_kind="employee", **there)
            for n in range(90)
        ] + [
            event(int(hour + i * HOUR_MS / due), "job", resource="/orders", object=f"order-{first + i:06}",
                  credential="job", source_ip="10.2.0.99", account_kind="service", **there)
            for i in range(due)
        ]  # fmt: skip
    return events


def test_a_walk_from_a_place_that_walks_now_more_and_now_less_is_found() -> None:
    """What that place's hits scatter by is no cover for its people."""
    thief: dict[str, Any] = {"account_kind": "employee", "issuer": "sso", "asn": 64_501, "user_agent": "office/1"}
    walked = walk(120, account="clerk-7", credential="c-7", source_ip="10.2.0.7", subject="", **thief)
    assert ("account", "clerk-7") in entities(judged("enumeration", office(1) + walked))


def test_long_strides_are_not_found() -> None:
    """The evasion that its docstring admits."""
    assert judged("enumeration", shop() + walk(80, GAP + 2)) == []


def test_where_batches_are_cut_changes_nothing() -> None:
    events = block(shop(days=3, accounts=20) + walk(1))
    config = Config(detectors=dict.fromkeys(("drip", "fan_out", "first_seen", "unissued", "volume"), False))
    whole, told = run([events], config)
    cuts = [0, 1, 700, 701, 1_900, len(events)]
    parts, again = run([part(events, a, b) for a, b in pairwise(cuts)], config)
    assert plain(told) == plain(again)
    assert {n: v for n, v in state(whole)[1].items() if "enumeration" in n} == {
        n: v for n, v in state(parts)[1].items() if "enumeration" in n
    }


@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
@pytest.mark.parametrize("alike", [0.0, 0.02, 0.2])
def test_hits_are_taken_to_scatter_as_they_do(share: float, alike: float) -> None:
    """Hours of 20 to 200 trials, whose share of hits is an hour's own and scatters so that two trials of one correlate
    by `alike`: three thousand of them teach by how much wider than a binomial's that is, less what the clip cuts."""
    rng = np.random.default_rng(int(1000 * (share + alike)))
    population, state = np.array([1e5, 1e5 * share, 0.0, 0.0]), np.zeros(1, walk_dtype(4))
    for _ in range(3000):
        n = rng.integers(20, 200)
        of_hour = rng.beta(share * (1 / alike - 1), (1 - share) * (1 / alike - 1)) if alike else share
        state["hour_trials"][0, STEPS], state["hour_hits"][0, STEPS] = n, rng.binomial(n, of_hour)
        state["long_trials"][0, STEPS], state["long_hits"][0, STEPS] = 1e6, 1e6 * share
        _close(state[0], STEPS, 3600.0, 1.0, population)
    assert _inflation(1.0, population) == 1.0
    assert 50 * alike - 0.3 <= _inflation(101.0, population) - 1.0 <= 120 * alike + 0.3


def test_what_scatters_so_is_not_learned_under_suspicion_nor_of_newcomers() -> None:
    population, state = np.array([1e5, 1e4, 0.0, 0.0]), np.zeros(1, walk_dtype(4))
    for known, weight in ((1e6, SUSPECT_WEIGHT), (KNOWN_TRIALS - 1.0, 1.0)):
        state["hour_trials"], state["hour_hits"], state["long_trials"] = 100.0, 100.0, known
        _close(state[0], STEPS, 3600.0, weight, population)
        assert population[2:].tolist() == [0.0, 0.0]


LOOKED = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12) | st.integers(0, 10**18 - 1)), max_size=60)


class Twin:
    """Heads as a list, the one that was stepped on last first; a new one enters in the middle."""

    def __init__(self, size: int) -> None:
        self.heads: list[Any] = [None] * size

    def step(self, key: int, number: int) -> int:
        number &= NUMBER_MASK
        alike = [head for head in self.heads if head and head[0] == key]
        if any(head[1] == number for head in alike):
            return REPEAT
        for head in alike:
            gap = number - head[1]
            way = 1 if gap > 0 else -1
            if abs(gap) <= GAP and head[2] in (0, way):
                self.heads.remove(head)
                self.heads.insert(0, (key, number, way))
                return 1
        self.heads.pop()
        self.heads.insert((len(self.heads) + 1) // 2, (key, number, 0))
        return 0 if alike else REPEAT


@given(LOOKED, st.sampled_from([4, 16]))
def test_every_prefix_steps_as_the_twin_does(looked: list[tuple[int, int]], size: int) -> None:
    """Both directions, several resources, numbers of 18 digits."""
    heads, twin = np.zeros(size, np.int64), Twin(size)
    for key, number in looked:
        assert step(heads, key, number) == twin.step(key, number)


@given(st.lists(st.integers(0, 1), max_size=40))
def test_going_to_and_fro_between_two_neighbours_is_no_walk(toggles: list[int]) -> None:
    heads = np.zeros(4, np.int64)
    assert sum(step(heads, 1, 70 + each) == 1 for each in toggles) <= 1
