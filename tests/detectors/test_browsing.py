"""browsing: accounts that look at people without the traces that work leaves."""

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
from detectors.base import CLASSES
from detectors.baselines.visits import TEAMS as ROWS
from detectors.baselines.visits import VISIT, VISITS_MAX
from detectors.catalog.browsing import (
    CERTAIN,
    CLASS_MIN,
    DOUBT_BITS,
    HITS_MIN,
    KNOWN_MIN,
    LOG_MAX,
    LONG_S,
    PRIOR,
    RECENT_S,
    THETAS,
    UNIT,
    Browsing,
)
from detectors.fusion import Evidence
from stream.alerts import Alert
from stream.config import Config
from stream.events import AccessEvent
from stream.pipeline import Pipeline
from tests.detectors.scenes import entities
from tests.streams import DAY_MS, HOUR_MS, START_MS, block, event, part, run, state

ALONE = Config(
    detectors={each: each == "browsing" for each in catalog.detector_ids()},
    warmup_h=72.0,
    tick_s=3_600,
    alerts_per_day_max=1.0,
)
DAYS, SINCE = 16, 10
TEAMS, MEMBERS = 3, 8
Log = list[AccessEvent]


def visit(who: str, team: str, at: int, person: str, pages: int, worked: bool, **fields: Any) -> Log:
    """What somebody does with one person's data within some minutes."""
    given: dict[str, Any] = {
        "account_kind": "employee", "group": team, "credential": f"s-{who}", "source_ip": "10.1.0.7",
        "subject": person, "records": 1,
    }  # fmt: skip
    events = [event(at + n * 20_000, who, "read", f"/page-{n}", **(given | fields)) for n in range(pages)]
    if worked:
        events.append(event(at + 300_000, who, "write", "/page-0", **(given | fields)))
    return events


def case(who: str, team: str, at: int, rng: np.random.Generator, **fields: Any) -> Log:
    """A case: now and then one page is enough, and in a third of them there is nothing to write."""
    pages = 1 + int(rng.random() > 0.08) * int(rng.integers(1, 4))
    return visit(who, team, at, f"person-{rng.integers(10**6)}", pages, bool(rng.random() > 0.35), **fields)


def day_of(who: str, team: str, day: int, count: int, rng: np.random.Generator, **fields: Any) -> Log:
    """A working day's cases."""
    begin = START_MS + day * DAY_MS + 8 * HOUR_MS
    return [e for at in rng.integers(0, 9 * HOUR_MS, count) for e in case(who, team, begin + int(at), rng, **fields)]


@cache
def usual(seed: int = 1) -> tuple[AccessEvent, ...]:
    """Three teams at their cases."""
    rng = np.random.default_rng(seed)
    return tuple(
        e for day in range(DAYS) for team in range(TEAMS) for n in range(MEMBERS)
        for e in day_of(f"emp-{team}-{n}", f"team-{team}", day, int(rng.poisson(12)), rng)
    )  # fmt: skip


def looking(who: str, team: str, day: int, count: int, pages: int = 1, worked: bool = False, **fields: Any) -> Log:
    """Strangers, looked at through a day."""
    begin = START_MS + day * DAY_MS + 8 * HOUR_MS
    return [
        e for n in range(count)
        for e in visit(who, team, begin + n * 8 * HOUR_MS // count, f"vip-{day}-{n}", pages, worked, **fields)
    ]  # fmt: skip


def stamp(day: int) -> str:
    """The beginning of a day as alerts tell it."""
    return str(np.datetime64(START_MS + day * DAY_MS, "ms"))


def judged(events: Iterable[AccessEvent], config: Config = ALONE) -> list[Alert]:
    """The alerts that this detector opens."""
    return [alert for alert in run([block(events)], config)[1] if alert.status == "open"]


def test_who_looks_at_a_few_strangers_a_day_beside_their_work_is_found() -> None:
    """Six a day where a dozen are usual: no figure of theirs is unusual but what they do with them."""
    events = [*usual(), *(e for day in range(SINCE, DAYS) for e in looking("emp-1-3", "team-1", day, 6))]
    alerts = judged(events)
    assert {("account", "emp-1-3")} == {(a.entity.kind, a.entity.value) for a in alerts}
    assert "without working" in alerts[0].title
    assert stamp(SINCE) < alerts[0].time < stamp(SINCE + 4)


def test_who_has_as_many_more_cases_is_not() -> None:
    """The benign twin: as many strangers more, worked on as always."""
    rng = np.random.default_rng(9)
    more = [e for day in range(SINCE, DAYS) for e in day_of("emp-1-3", "team-1", day, 5, rng)]
    assert judged([*usual(), *more]) == []


def test_who_opens_other_pages_but_never_writes_is_found_by_that() -> None:
    """The other kind of trace alone."""
    events = [*usual(), *(e for day in range(SINCE, DAYS) for e in looking("emp-1-3", "team-1", day, 30, pages=3))]
    assert entities(judged(events)) >= {("account", "emp-1-3")}


@pytest.mark.parametrize("seed", [2, 3])
def test_teams_at_their_work_open_nothing(seed: int) -> None:
    assert judged(usual(seed)) == []


def test_what_the_whole_team_does_from_one_day_on_accuses_no_one() -> None:
    """A new page shows all at once, so that nobody opens a second: two of eight may be told of."""
    change = START_MS + SINCE * DAY_MS
    events = [
        msgspec.structs.replace(e, resource="/page-0") if e.group == "team-1" and int(e.time) >= change else e
        for e in usual()
    ]  # fmt: skip
    assert len(judged(events)) <= 2


def test_a_newcomer_is_judged_as_its_team_is() -> None:
    """The cold start: one who works as they do is no surprise; one who only looks is, on the first day."""
    rng = np.random.default_rng(9)
    works = [e for day in range(SINCE, DAYS) for e in day_of("new", "team-1", day, 40, rng)]
    assert judged([*usual(), *works]) == []
    alerts = judged([*usual(), *looking("new", "team-1", SINCE, 40)])
    assert entities(alerts) >= {("account", "new")}
    assert alerts[0].time < stamp(SINCE + 1)


def test_a_team_that_only_ever_looks_is_not_found() -> None:
    """Auditors: their own share is what they are judged by, and a new one's is the team's."""
    audit = [e for day in range(DAYS) for n in range(4) for e in looking(f"audit-{n}", "audit", day, 20)]
    late = [e for day in range(SINCE, DAYS) for e in looking("audit-new", "audit", day, 20)]
    assert judged([*usual(), *audit, *late]) == []


@pytest.mark.parametrize(("kind", "counted"), [("service", 0), ("customer", 0), ("partner", 40), ("unknown", 40)])
def test_machines_and_customers_are_not_judged(kind: str, counted: int) -> None:
    """A service reads one page of each by its nature; a customer reads their own, as does whoever has no kind."""
    own = [event(START_MS + n * 3 * HOUR_MS, "it", subject="it", account_kind=kind) for n in range(6)]
    after = [event(START_MS + DAY_MS + n * HOUR_MS, "clock", "login") for n in range(6)]
    pipeline, _ = run([block([*looking("it", "", 0, 40, account_kind=kind), *own, *after])], ALONE)
    found = pipeline.tables["account"].columns["browsing"]["long"][:, 0].max()
    assert found == pytest.approx(counted, rel=0.05)


def test_who_only_writes_is_no_trial() -> None:
    """A visit without a read says nothing of how one looks."""
    notes = [e for e in looking("it", "", 0, 40, worked=True) if e.action == "write"]
    pipeline, _ = run([block(notes)], ALONE)
    assert pipeline.tables["account"].columns["browsing"]["long"].max() == 0


def test_a_note_on_each_is_not_found() -> None:
    """The evasion that its docstring admits."""
    events = [*usual(), *(e for d in range(SINCE, DAYS) for e in looking("emp-1-3", "team-1", d, 5, 2, worked=True))]
    assert judged(events) == []


def test_work_that_came_before_the_read_counts() -> None:
    """A ticket is opened, then the person's page."""

    def turned(events: Iterable[AccessEvent]) -> Log:
        return [
            msgspec.structs.replace(e, time=int(e.time) - 600_000) if e.action == "write" else e for e in events
        ]  # fmt: skip

    more = [e for d in range(SINCE, DAYS) for e in looking("emp-1-3", "team-1", d, 12, pages=2, worked=True)]
    assert judged(turned([*usual(), *more])) == []


@pytest.mark.parametrize(("strangers", "told"), [(HITS_MIN - 1, False), (HITS_MIN + 1, True)])
def test_of_few_people_nobody_is_told(strangers: int, told: bool) -> None:
    """Where everybody always writes something, one reader who does not is surprising at once; ten are worth a word."""
    rng = np.random.default_rng(3)
    diligent = [
        e for day in range(DAYS) for n in range(MEMBERS) for k in range(int(rng.poisson(12)))
        for e in visit(f"emp-0-{n}", "team-0", START_MS + day * DAY_MS + (8 * 60 + 40 * k) * 60_000 + n,
                       f"person-{rng.integers(10**6)}", 2, worked=True)
    ]  # fmt: skip
    few = looking("emp-0-3", "team-0", SINCE, strangers, pages=2)
    assert bool(judged([*diligent, *few])) == told


def alone(config: Config = ALONE) -> tuple[Pipeline, Browsing]:
    pipeline = Pipeline(config, lambda _alert: None)
    (found,) = pipeline.detectors
    assert isinstance(found, Browsing)
    return pipeline, found


@pytest.mark.parametrize("seed", [4, 5])
def test_bits_are_no_larger_than_chance_warrants(seed: int) -> None:
    """Attack-free: M itself, before it is calibrated, reaches b bits no more often than once in 2^b visits."""
    found: list[Evidence] = []
    pipeline, mine = alone()
    mine._offset_bits = -60.0  # report everything
    mine.bits = lambda finding: (float(finding["bits"]), 1.0)  # type: ignore[method-assign]

    def held(evidence: Evidence) -> None:
        found.append(evidence)

    pipeline.fusion.add = held  # type: ignore[method-assign]
    pipeline.process(block(usual(seed)))
    trials = 2 * TEAMS * MEMBERS * 12 * DAYS
    for level in range(2, 14):
        expected = trials * 2.0**-level
        assert sum(e.bits >= level for e in found) <= expected + 4.0 * math.sqrt(expected) + 2.0, level


@settings(max_examples=4, deadline=None)
@given(cuts=st.lists(st.integers(1, 12_000), min_size=1, max_size=3))
def test_a_snapshot_and_a_cut_change_nothing(cuts: list[int]) -> None:
    """Everything is loaded from arrays, visits that go on among it, and what follows is the same to the last bit."""
    whole, one = uncut()
    bounds = [0, *sorted({min(cut, len(whole)) for cut in cuts}), len(whole)]
    pipeline = Pipeline(ALONE, lambda _alert: None)
    for start, stop in pairwise(bounds):
        meta, arrays = pipeline.save()
        pipeline = Pipeline(ALONE, lambda _alert: None)
        pipeline.load(msgspec.json.decode(msgspec.json.encode(meta)), {n: a.copy() for n, a in arrays.items()})
        assert pipeline.anew == []
        pipeline.process(part(whole, start, stop))
    assert state(pipeline)[1] == state(one)[1]


@cache
def uncut():  # type: ignore[no-untyped-def]
    whole = block([*usual(), *looking("emp-1-3", "team-1", SINCE, 20)])
    return whole, run([whole], ALONE, finish=False)[0]


class Twin:
    """One account without a group in plain floats, when its class's shares are what they are."""

    def __init__(self) -> None:
        self.recent, self.long = [0.0] * 3, [0.0] * 3
        self.log = [[0.0] * len(THETAS) for _ in range(2)]
        self.seen = 0.0

    def see(self, at_s: int, hits: tuple[bool, bool], shares: list[float]) -> None:
        gap, self.seen = at_s - self.seen, at_s
        self.recent = [x * math.exp(-gap / RECENT_S) for x in self.recent]
        self.long = [x * math.exp(-gap / LONG_S) for x in self.long]
        doubt = False
        for f, hit in enumerate(hits):
            own = (self.long[1 + f] + PRIOR * shares[f]) / (self.long[0] + PRIOR)
            q = min(own + math.sqrt(own * (1 - own) / (min(self.long[0], CERTAIN) + PRIOR)), 1 - 1e-9)
            for j, theta in enumerate(THETAS):
                q1 = theta * q / (1 - q + theta * q)
                step = math.log(q1 / q) if hit else math.log((1 - q1) / (1 - q))
                self.log[f][j] = min(max(self.log[f][j] + step, 0.0), LOG_MAX)
            doubt |= math.log2(sum(math.exp(log) for log in self.log[f]) / len(THETAS)) >= DOUBT_BITS
        counted = [1.0, float(hits[0]), float(hits[1])]
        self.recent = [a + b for a, b in zip(self.recent, counted, strict=True)]
        weight = 0.1 if doubt and self.long[0] >= KNOWN_MIN else 1.0
        self.long = [a + b * weight for a, b in zip(self.long, counted, strict=True)]


@settings(max_examples=25, deadline=None)
@given(
    gaps_h=st.lists(st.integers(3, 40), min_size=1, max_size=50), data=st.data(),
    shares=st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95)),
)  # fmt: skip
def test_it_counts_as_its_naive_twin_does(gaps_h: list[int], data: st.DataObject, shares: tuple[float, float]) -> None:
    """One account, visits hours apart, of a class whose shares are so well known that it does not move them."""
    pipeline, mine = alone()
    twin, at, events = Twin(), START_MS, []
    known = 40_000.0
    mine._classes[2] = known, known * shares[0], known * shares[1]
    for n, gap_h in enumerate(gaps_h):
        at += gap_h * HOUR_MS
        idle, bare = data.draw(st.tuples(st.booleans(), st.booleans()))
        events += visit("ann", "", at, f"p-{n}", 1 if bare else 2, not idle)
        twin.see(at // 1000, (idle, bare), list(shares))
    clock = [event(time, "clock", "login") for time in range(START_MS, at + 5 * HOUR_MS, HOUR_MS // 4)]
    pipeline.process(block([*events, *clock]))
    table = pipeline.tables["account"]
    row = table.columns["browsing"][table.slot("ann")]
    assert row["recent"] == pytest.approx(twin.recent, rel=1e-3, abs=1e-4)
    assert row["long"] == pytest.approx(twin.long, rel=1e-3, abs=1e-4)
    assert row["log"] / UNIT == pytest.approx(np.array(twin.log), abs=0.05 + 0.01 * len(gaps_h))


def test_who_never_does_anything_else_cannot_do_more_of_it() -> None:
    """A program that always reads one page: what is certain is no evidence, however often it comes."""
    pipeline, mine = alone()
    mine._classes[2] = 40_000.0, 39_990.0, 39_990.0
    pipeline.process(
        block(e for n in range(20_000) for e in visit("ann", "", START_MS + n * 60_000, f"p-{n}", 1, False))
    )
    table = pipeline.tables["account"]
    row = table.columns["browsing"][table.slot("ann")]
    assert row["long"][0] > 10_000.0
    assert not row["log"].any()


def test_of_more_visits_than_are_held_the_rest_is_not_judged_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.baselines.visits.VISITS_MAX", 64)
    pipeline, mine = alone()
    begin = START_MS + 8 * HOUR_MS
    pipeline.process(block(e for n in range(100) for e in visit("ann", "", begin + n, f"p-{n}", 1, False)))
    assert len(mine.save()["visits"]) == 64
    assert mine._visits.overflowed == 36


@pytest.mark.parametrize("wrong", ["count", "team", "klass"])
def test_visits_that_cannot_be_are_refused(wrong: str) -> None:
    _, mine = alone()
    visits = np.zeros(VISITS_MAX + 1 if wrong == "count" else 1, VISIT)
    visits["team"][-1] = ROWS if wrong == "team" else -1
    visits["klass"][-1] = CLASSES if wrong == "klass" else 2
    with pytest.raises(ValueError, match="visits"):
        mine.load({**mine.save(), "visits": visits})


def test_a_class_is_judged_once_it_has_shown_enough() -> None:
    """The cold start of everything."""
    rng = np.random.default_rng(1)
    few = [e for n in range(4) for e in day_of(f"emp-{n}", "team-1", 3, int(CLASS_MIN) // 5, rng)]
    assert judged([*few, *looking("new", "team-1", 4, 100)]) == []
