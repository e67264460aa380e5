"""exports: data taken out in bulk, and what nobody took out before."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray

from detectors import catalog
from detectors.base import DAILY, EMPLOYEE, FINDING, KINDS, TOUCH
from detectors.baselines.buckets import PEOPLE_MIN
from detectors.baselines.export_days import EXPORTER, EXPORTERS, FIRST, PLACE, score
from detectors.catalog import exports
from detectors.catalog.exports import FILL_AFTER, IDLE_D, Exports
from detectors.kernels import level_of
from stream.alerts import Alert
from stream.config import Config
from stream.events import AccessEvent
from stream.pipeline import Pipeline
from tests.detectors.scenes import entities
from tests.streams import DAY_MS, HOUR_MS, START_MS, block, event, part, run, state

ALONE = Config(
    detectors={each: each == "exports" for each in catalog.detector_ids()},
    warmup_h=72.0,
    tick_s=3_600,
    alerts_per_day_max=0.17,  # chance: one in half a year
)
DAYS, ANALYSTS = 16, 14
FAMILY = (KINDS.index("account"), EMPLOYEE, 0, 0)
EVENING = 17 * HOUR_MS
Log = list[AccessEvent]


def use(who: str, at: float, action: str, table: str, records: float, **fields: Any) -> AccessEvent:
    """One statement of an analyst."""
    given: dict[str, Any] = {"account_kind": "employee", "group": "data", "subject": "", "credential": f"sql-{who}"}
    given |= {"source_ip": "10.1.0.7", "records": int(records), "bytes": int(records) * 120}
    return event(int(at), who, action, table, **(given | fields))


def on(day: int, after_ms: float) -> float:
    """A moment of a day."""
    return START_MS + day * DAY_MS + after_ms


@cache
def usual(seed: int = 1, days: int = DAYS) -> tuple[AccessEvent, ...]:
    """Analysts who read tables by the row and by the million, and now and then take a report out."""
    rng = np.random.default_rng(seed)
    log: Log = []
    for day in range(days):
        for n in range(ANALYSTS):
            who = f"ana-{n}"
            for at in rng.integers(9 * HOUR_MS, EVENING, rng.poisson(12)):
                log.append(use(who, on(day, at), "list", f"table-{rng.integers(6)}", rng.lognormal(6, 2.4)))
            for at in rng.integers(9 * HOUR_MS, EVENING, rng.poisson(0.6)):
                log.append(use(who, on(day, at), "export", f"report-{(n + rng.integers(2)) % 9}", rng.lognormal(6, 1)))
    return tuple(log)


def staged(who: str, days: Iterable[int], pieces: int, table: str) -> Log:
    """Pieces of a table, as large as many a query, written to another and then taken out."""
    days = list(days)
    steps = ("list", "table-1"), ("write", table)
    log = [
        use(who, on(day, (9 + n) * HOUR_MS + step * 60_000), action, of, 5_000)
        for day in days for n in range(pieces) for step, (action, of) in enumerate(steps)
    ]  # fmt: skip
    total = 5_000 * pieces * len(days)
    return [*log, *(use(who, on(days[-1], EVENING + n * 60_000), "export", table, total / 3) for n in range(3))]


def opened(events: Iterable[AccessEvent], config: Config = ALONE) -> list[Alert]:
    """The alerts that this detector opens."""
    return [alert for alert in run([block(events)], config)[1] if alert.status == "open"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_who_stages_data_and_takes_it_out_is_found_at_the_export(seed: int) -> None:
    alerts = opened([*usual(seed), *staged("ana-3", range(9, 13), 5, "scratch-7")])
    assert ("account", "ana-3") in entities(alerts) and len(alerts) == 1
    assert alerts[0].time >= str(np.datetime64(int(on(12, EVENING)), "ms"))
    assert "taken out in bulk" in alerts[0].title
    assert alerts[0].evidence[0].feature.startswith("nobodys_exports")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_who_stages_as_much_and_keeps_it_is_not(seed: int) -> None:
    """The benign twin: the same pieces and tables, of which a report of the usual size goes out."""
    kept = [e for e in staged("ana-3", range(9, 13), 5, "scratch-7") if e.action != "export"]
    assert opened([*usual(seed), *kept, use("ana-3", on(12, EVENING), "export", "scratch-7", 700)]) == []


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_analysts_at_their_work_open_nothing(seed: int) -> None:
    assert opened(usual(seed)) == []


@pytest.mark.parametrize(("days", "found"), [(3, False), (9, True)])
def test_before_thirty_days_of_exports_are_known_none_is_told(days: int, found: bool) -> None:
    """Cold start: the same theft, once nothing else holds it back, on the third day and on the ninth."""
    config = replace(ALONE, warmup_h=0.0, alerts_per_day_max=1.0)
    alerts = opened([*usual(1, days), *staged("ana-3", [days - 1], 12, "scratch-7")], config)
    assert (("account", "ana-3") in entities(alerts)) == found


def test_pieces_of_the_usual_size_are_not_found() -> None:
    """The admitted evasion: 800 records a day; `drip` is for that."""
    pieces = [use("ana-3", on(day, EVENING), "export", "report-3", 800) for day in range(6, DAYS)]
    assert opened([*usual(), *pieces]) == []


@pytest.mark.parametrize("more", [1, 400])
def test_who_always_takes_much_out_may_and_no_more_than_that(more: int) -> None:
    """Three of the analysts make the large files, every evening and under one name; on the last day one is larger."""
    large = [
        use(f"ana-{n}", on(day, EVENING), "export", f"feed-{n}", 50_000 * (more if n == 1 and day == DAYS - 1 else 1))
        for day in range(DAYS) for n in range(3)
    ]  # fmt: skip
    assert (("account", "ana-1") in entities(opened([*usual(), *large]))) == (more > 1)


def test_what_is_new_is_counted_where_a_log_tells_bytes_alone() -> None:
    log = [use(e.account, int(e.time), e.action, e.resource, 0, bytes=e.bytes) for e in usual()]
    pipeline, _ = run([block(log)], ALONE)
    (found,) = pipeline.detectors
    assert isinstance(found, Exports)
    assert found._days[EMPLOYEE, 0] > 10


@pytest.mark.parametrize("kind", ["service", "customer", "partner"])
def test_what_is_no_employee_is_not_looked_at(kind: str) -> None:
    changed = [e for e in staged("ana-3", range(9, 13), 5, "scratch-7") if e.action == "export"]
    for each in changed:
        each.account_kind = kind  # type: ignore[assignment]
    assert opened([*usual(), *changed]) == []


@pytest.mark.parametrize("heavy", [False, True])
def test_on_ordinary_days_bits_come_no_more_often_than_they_say(heavy: bool) -> None:
    """Days of b raw bits are at most 2^-b of all where amounts are lognormal, give or take what counting allows. Where
    they are a power law there are more; what is told is calibrated, and no alert is opened either way."""  # fmt: skip
    rng = np.random.default_rng(5)

    def amount() -> float:
        return float(300 * rng.pareto(1.2) + 1 if heavy else rng.lognormal(6, 1))

    log = [
        use(f"ana-{n}", on(day, at), "export", f"report-{n % 9}", amount())
        for day in range(40) for n in range(60) for at in rng.integers(9 * HOUR_MS, EVENING, rng.poisson(0.7))
    ]  # fmt: skip
    pipeline, alerts = run([block(log)], ALONE)
    (found,) = pipeline.detectors
    assert isinstance(found, Exports)
    days = found._survival.today[FAMILY] + found._survival.days[:, *FAMILY].sum(axis=0)
    assert days[0] > 400
    for bits in (4.0, 6.0, 8.0):
        most = 1.5 * days[0] * 2.0**-bits
        assert heavy or days[level_of(bits)] <= most + 3.0 * math.sqrt(most)
    assert not alerts


class Twin:
    """The sums of each account's day, and how new what it exports is, with sets that forget nothing."""

    def __init__(self) -> None:
        self.known: dict[int, set[int]] = defaultdict(set)
        self.first: dict[int, tuple[int, int]] = {}
        self.day: dict[int, int] = {}
        self.today: dict[int, set[int]] = defaultdict(set)
        self.sums: dict[int, NDArray[np.float64]] = {}
        self.new: dict[int, int] = {}

    def take(self, account: int, resource: int, day: int, records: float, volume: float) -> None:
        if self.day.get(account) != day:
            self.known[account] |= self.today.pop(account, set())
            self.day[account], self.sums[account], self.new[account] = day, np.zeros((3, 2)), 0
        by = self.first.setdefault(resource, (day, account))
        if resource in self.known[account]:
            new = 0
        else:
            new = 2 if by == (day, account) else 1
            self.today[account].add(resource)
        self.new[account] = max(self.new[account], new)
        self.sums[account][: new + 1] += records, volume


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(0, 30), st.integers(0, 9)), max_size=60))
def test_sums_and_what_is_new_are_those_of_the_twin(drawn: list[tuple[int, int, int, int]]) -> None:
    """At most four resources, so that none is forgotten on either side."""
    twin, hour = Twin(), 0
    log: Log = []
    for account, resource, gap_h, records in drawn:
        hour += gap_h
        twin.take(account, resource, (START_MS + hour * HOUR_MS) // DAY_MS, records, 120.0 * records)
        log.append(use(f"a{account}", START_MS + hour * HOUR_MS + len(log), "export", f"r{resource}", records))
    pipeline, _ = run([block(log)], replace(ALONE, clock_jump_max_s=2 * 86_400.0), finish=False)
    (found,) = pipeline.detectors
    assert isinstance(found, Exports)
    table = pipeline.tables["account"]
    for account, sums in twin.sums.items():
        slot = table.slot(f"a{account}")
        row = found._rows[table.columns["exports"]["exporter"][slot]]
        assert row["slot"] == slot
        assert row["sum"].tolist() == sums.tolist()
        assert row["new"] == twin.new[account]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 400), max_size=4))
def test_where_it_is_cut_does_not_matter(cuts: list[int]) -> None:
    events = block([*usual(1, 8), *staged("ana-3", range(4, 7), 4, "scratch-7")])
    whole, alerts = run([events], ALONE)
    edges = sorted({0, *(cut * len(events) // 401 for cut in cuts), len(events)})
    cut, same = run([part(events, a, b) for a, b in pairwise(edges)], ALONE)
    assert state(cut) == state(whole)
    assert [a.id for a in same] == [a.id for a in alerts]


def test_what_is_saved_goes_on() -> None:
    log = [*usual(), *staged("ana-3", range(9, 13), 5, "scratch-7")]
    events = block(log)
    half = int(np.searchsorted(events.time, on(11, 0)))
    first, _ = run([part(events, 0, half)], ALONE, finish=False)
    meta, arrays = first.save()
    alerts: list[Alert] = []
    second = Pipeline(ALONE, alerts.append)
    second.load(meta, {name: array.copy() for name, array in arrays.items()})
    second.process(part(events, half, len(events)))
    second.finish()
    assert [a.id for a in alerts if a.status == "open"] == [a.id for a in opened(log)]


def test_rows_of_who_is_idle_or_gone_are_used_again() -> None:
    """And for whom there is none, that is counted; where all are busy, who exported last stays."""
    found = Exports(0.0)
    places, resources = np.zeros(EXPORTERS + 10, PLACE), np.zeros(4, FIRST)
    day = 20_000

    def export(slots: Iterable[int], day: int) -> None:
        touch = np.zeros(len(list(slots)), TOUCH)
        touch["slot"] = list(slots)
        n = len(touch)
        exports._observe(
            places, resources, touch, np.zeros(n, TOUCH), np.ones(n, np.bool_), np.zeros(n, np.uint64), np.ones(n),
            np.ones(n), np.full(n, day * DAY_MS), np.zeros(n, np.int8), np.ones(n, np.int8), found._rows, found._count,
            found._population, found._days, found._survival.today[0, :, 0, 0], found._survival.gate[0, :, 0, 0],
            np.uint16(1), np.zeros(n, np.uint16), np.empty(n, FINDING),
        )  # fmt: skip

    export(range(1, EXPORTERS + 3), day)
    assert found.overflowed == 3
    places[7] = 0  # forgotten by its table
    export([5], day + IDLE_D + 1)
    found._forget(day + IDLE_D + 1, places["exporter"])
    assert found._count[0] == 1
    assert np.flatnonzero(places["exporter"]).tolist() == [5]
    assert found._rows["slot"][1] == 5
    assert not found._rows["day"][2:].any()
    export(range(10, EXPORTERS), day + IDLE_D + 2)
    export([11, 12], day + IDLE_D + 3)  # of whom a day is known
    found._forget(day + IDLE_D + 3, places["exporter"])
    assert found._count[0] == int(FILL_AFTER * EXPORTERS)
    assert found._rows["slot"][places["exporter"][[11, 12]]].tolist() == [11, 12]


@given(st.floats(0.0, 30.0), st.integers(0, 400))
def test_what_is_new_is_more_unusual_and_of_what_too_little_is_known_nothing_is(above: float, known: int) -> None:
    row, pop = np.zeros(1, EXPORTER), np.zeros((2, 2, 5))
    pop[DAILY, 0] = known, 6.0, 1.0, 0.5, known
    row["sum"][0, :, 0] = math.expm1(6.0 + above)
    bits = [score(row[0], 0, new, pop, np.array([100.0, 10.0, 1.0]))[0] for new in range(3)]
    if known < PEOPLE_MIN:
        assert bits == [0.0] * 3
    elif above > 6.0:
        assert 5.0 < bits[0] < bits[2]
        assert bits[1] < bits[2]
    elif above < 1.0:
        assert bits == [0.0] * 3
