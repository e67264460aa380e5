"""rhythm: machines that were regular and are not."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from detectors import catalog
from detectors.catalog.rhythm import ANSWERS, EARNED, STEP
from detectors.fusion import Evidence
from stream.alerts import Alert
from stream.config import Config
from stream.events import AccessEvent
from stream.pipeline import Pipeline
from tests.detectors.scenes import entities
from tests.streams import DAY_MS, HOUR_MS, START_MS, block, event, part, run, state

ONLY = {each: each == "rhythm" for each in catalog.detector_ids()}
ALONE = Config(detectors=ONLY, warmup_h=72.0, tick_s=3_600, alerts_per_day_max=0.17)  # chance: one in half a year
DAYS = 22
TABLES = "table-1", "table-2"  # of which no size has the place in the filter that one of the other has
LAST = START_MS + 20 * DAY_MS  # a Tuesday; everything is learned by then


def use(at: float, name: str, resource: str, size: float, **fields: Any) -> AccessEvent:
    """One request of a machine."""
    given: dict[str, Any] = {"account_kind": "service", "subject": "", "credential": f"key-{name}", "issuer": "iam"}
    given |= {"source_ip": "10.0.0.7", "user_agent": "job/1", "bytes": int(size), "records": 1 + int(size) // 200}
    return event(int(at), name, "export", resource, **(given | fields))


def backup(name: str, begin_ms: float, rng: np.random.Generator, **fields: Any) -> list[AccessEvent]:
    """A run over twelve tables, whose sizes are the job's own and nearly constant."""
    sizes = np.random.default_rng(sum(map(ord, name))).lognormal(13, 1, 12)
    at = begin_ms + np.cumsum(rng.uniform(80_000, 120_000, 12))
    noise = rng.normal(1.0, 0.005, 12)
    return [use(at[k], name, f"db/{k}", sizes[k] * noise[k], **fields) for k in range(12)]


def poll(name: str, begin_ms: float, end_ms: float, every_s: float, rng: np.random.Generator) -> list[AccessEvent]:
    """Requests on the clock, up to a tenth of the interval late, of any size."""
    ticks = np.arange(begin_ms, end_ms, every_s * 1000)
    late = rng.uniform(0, 100 * every_s, len(ticks))
    sizes = rng.lognormal(8, 1, len(ticks))
    return [use(at, name, "queue", size) for at, size in zip(ticks + late, sizes, strict=True)]


def irregular(name: str, per_day: float, rng: np.random.Generator) -> list[AccessEvent]:
    """A machine that people ask: no rhythm at all."""
    at = START_MS + rng.random(rng.poisson(per_day * DAYS)) * DAYS * DAY_MS
    return [use(t, name, f"api/{rng.integers(5)}", rng.lognormal(8, 1)) for t in at]


@cache
def world(seed: int = 1) -> tuple[AccessEvent, ...]:
    """Backups, one in twenty of which runs twice a night; pollers; machines that people ask."""
    rng = np.random.default_rng(seed)
    events: list[AccessEvent] = []
    for n in range(4):
        for day in range(DAYS):
            begin = START_MS + day * DAY_MS + (1.5 + n) * HOUR_MS + rng.exponential(60_000)
            events += backup(f"backup-{n}", begin, rng)
            if rng.random() < 0.05:
                events += backup(f"backup-{n}", begin + rng.uniform(1, 5) * HOUR_MS, rng)
        events += poll(f"poller-{n}", START_MS + n * 37_000, START_MS + DAYS * DAY_MS, 1_800.0, rng)
        events += irregular(f"gateway-{n}", 20.0, rng)
    return tuple(events)


def judged(events: Iterable[AccessEvent]) -> list[Alert]:
    """The alerts that this detector alone opens."""
    return [alert for alert in run([block(events)], ALONE)[1] if alert.status == "open"]


def without(name: str, since: float, until: float = math.inf) -> list[AccessEvent]:
    """The world while one machine does nothing."""
    return [e for e in world() if e.account != name or not since <= float(e.time) < until]


def test_a_key_that_is_used_beside_its_poller_is_found() -> None:
    """Twenty requests in two hours from the poller's own host, of a size that it has: only the pace is wrong."""
    at = LAST + 10 * HOUR_MS + np.random.default_rng(5).random(20) * 2 * HOUR_MS
    alerts = judged([*world(), *(use(t, "poller-1", "queue", 3_000) for t in at)])
    assert ("account", "poller-1") in entities(alerts)
    assert {each.feature for each in alerts[0].evidence} == {"pace"}


def dressed_up() -> list[AccessEvent]:
    """A run of a backup that takes from half to twice as much of each table."""
    rng = np.random.default_rng(6)
    run_of_it = backup("backup-1", LAST + 3.6 * HOUR_MS, rng)
    return [replace(e, bytes=int((e.bytes or 0) * rng.uniform(0.4, 2.0))) for e in run_of_it]


def test_a_theft_that_dresses_up_as_the_backup_is_found() -> None:
    """An hour after the backup, from its own host, at its own pace, about as much: the sizes are not its own."""
    assert ("account", "backup-1") in entities(judged([*world(), *dressed_up()]))


def test_a_backup_that_is_run_again_is_not() -> None:
    """The benign twin: byte for byte, at an hour at which it never runs."""
    assert judged([*world(), *backup("backup-1", LAST + 14 * HOUR_MS, np.random.default_rng(6))]) == []


def test_hardly_anything_is_found_where_all_is_well() -> None:
    assert [alert for seed in (1, 2) for alert in judged(world(seed))] == []


def moved(events: Iterable[AccessEvent], by_ms: int, since: float, name: str = "") -> list[AccessEvent]:
    """The events with those of one machine, or of all, at another time from `since` on."""
    return [
        replace(e, time=int(e.time) + by_ms) if float(e.time) >= since and name in ("", e.account) else e
        for e in events
    ]  # fmt: skip


def test_a_clock_that_is_put_forward_is_not_found() -> None:
    """Daylight saving: everything runs an hour earlier from one day on."""
    assert judged(moved(world(), -HOUR_MS, LAST)) == []


def test_a_schedule_that_changes_for_good_is_told_once_at_most() -> None:
    """A backup that runs seven hours later from the twelfth day on."""
    assert len(judged(moved(world(), 7 * HOUR_MS, START_MS + 12 * DAY_MS, "backup-2"))) <= 1


def test_what_an_outage_left_out_may_be_caught_up_with() -> None:
    """A poller that was held up for ten hours does twenty runs at once."""
    since, until = LAST + 4 * HOUR_MS, LAST + 14 * HOUR_MS
    queued = [use(until + n * 700, "poller-2", "queue", 3_000) for n in range(19)]
    assert judged([*without("poller-2", since, until), *queued]) == []


def test_as_many_at_once_without_an_outage_are_found() -> None:
    """Its twin: nobody was held up."""
    queued = [use(LAST + 14 * HOUR_MS + n * 700, "poller-2", "queue", 3_000) for n in range(19)]
    assert ("account", "poller-2") in entities(judged([*world(), *queued]))


def test_what_has_no_rhythm_is_never_found() -> None:
    """What it admits to missing: a machine that people ask does four times as much for an hour, at night."""
    rng = np.random.default_rng(8)
    at = LAST + 3 * HOUR_MS + rng.random(40) * HOUR_MS
    assert judged([*world(), *(use(t, "gateway-1", "api/1", rng.lognormal(8, 1)) for t in at)]) == []


def test_a_machine_of_less_than_a_week_has_no_rhythm_yet() -> None:
    """The cold start: the theft of above, from a backup that began five days ago."""
    young = [e for e in world() if e.account != "backup-1" or float(e.time) >= LAST - 5 * DAY_MS]
    assert judged([*young, *dressed_up()]) == []


def test_a_copy_that_is_the_backup_byte_for_byte_is_not_found() -> None:
    """The evasion that its docstring admits: in place of the usual run, from elsewhere."""
    night = LAST + 2.4 * HOUR_MS, LAST + 4 * HOUR_MS
    copy = backup("backup-1", LAST + 2.5 * HOUR_MS, np.random.default_rng(6), source_ip="203.0.113.9")
    assert judged([*without("backup-1", *night), *copy]) == []


def test_people_are_not_expected_to_have_a_rhythm() -> None:
    employees = [replace(e, account_kind="employee") for e in world() if e.account.startswith("poller")]
    assert evidence_of(employees) == []


@settings(max_examples=2, deadline=None)
@given(edges=st.lists(st.integers(0, 4_000), max_size=8))
def test_where_batches_are_cut_changes_nothing(edges: list[int]) -> None:
    whole = block([e for e in world() if e.account.endswith("-1") and float(e.time) < START_MS + 12 * DAY_MS])
    bounds = [0, *sorted({min(e, len(whole)) for e in edges}), len(whole)]
    one, _ = run([whole], ALONE)
    two, _ = run([part(whole, a, b) for a, b in pairwise(bounds) if b > a], ALONE)
    assert state(one) == state(two)


def evidence_of(events: Iterable[AccessEvent]) -> list[Evidence]:
    """All that was found, however little."""
    found: list[Evidence] = []
    pipeline = Pipeline(ALONE, lambda _alert: None)
    (rhythm,) = pipeline.detectors
    rhythm._offset_bits = -60.0  # type: ignore[attr-defined]  # report everything

    def held(evidence: Evidence) -> None:
        found.append(evidence)

    pipeline.fusion.add = held  # type: ignore[method-assign]
    pipeline.process(block(events))
    return found


@pytest.mark.parametrize("seed", [3, 4])
def test_bits_are_no_larger_than_chance_warrants(seed: int) -> None:
    """Attack-free, after five days of calibration: b bits in no more than one of 2^b active hours."""
    since = START_MS + 12 * DAY_MS
    bits = [e.bits for e in evidence_of(world(seed)) if e.time >= since]
    hours = len({(e.account, int(e.time) // HOUR_MS) for e in world(seed) if float(e.time) >= since})
    for level in range(1, 24):
        expected = hours * 2.0**-level
        assert sum(b >= level for b in bits) <= 1.5 * expected + 4.0 * math.sqrt(expected) + 2.0, level


@dataclass
class Twin:
    """One machine in plain Python, its memory whole: what of it is forgotten is tested by the filters' own test."""

    past: list[tuple[int, str, int]] = field(default_factory=list)  # s, resource, bytes
    usual: float = 0.0
    bits: float = 0.0
    answers: list[list[bool]] = field(default_factory=lambda: [[], [], []])

    def log2_e(self, question: int, missed: bool) -> float:
        """By Krichevsky and Trofimov's estimate from all answers so far."""
        known = self.answers[question]
        q = (sum(known) + 0.5) / (len(known) + 1)
        known.append(missed)
        if q > EARNED:
            return 0.0
        return -0.5 * math.log2(q) if missed else -math.log2(1 + math.sqrt(q))

    def event(self, now: int, resource: str, size: int) -> None:
        """The next request."""
        warm = bool(self.past) and now - self.past[0][0] >= 7 * 86_400
        opens = not self.past or now // 3600 != self.past[-1][0] // 3600
        total = 0.0
        if self.past:
            y = math.log(max(now - self.past[-1][0], 0.5))
            rushed = y < self.usual - math.log(2)
            step = STEP + 1 / (len(self.answers[0]) + 10)
            if not self.answers[0] and self.usual == 0.0:
                self.usual = y
            else:
                self.usual += step if y > self.usual else -step
            if warm:
                total += self.log2_e(0, rushed)
                total += self.log2_e(1, (resource, size) not in {each[1:] for each in self.past})
        if opens and warm:
            hours = {(each[0] // 3600 + d) % 24 for each in self.past for d in (-1, 0, 1)}
            days = {each[0] // 86_400 % 7 for each in self.past}
            total += self.log2_e(2, now // 3600 % 24 not in hours or now // 86_400 % 7 not in days)
        gap = now - self.past[-1][0] if self.past else 0
        self.past.append((now, resource, size))
        self.bits = max(self.bits * math.exp(-gap / 86_400) + total, 0.0)


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.sampled_from([1, 40, 280, 300, 300, 300, 330, 500]), min_size=40, max_size=80),
    st.lists(st.integers(0, 5), min_size=81, max_size=81),
)
def test_every_prefix_is_as_the_twin_has_it(gaps: list[int], what: list[int]) -> None:
    """A machine with a pace, sizes of a few kinds, and now and then something else; nothing to catch up with."""
    began = START_MS // 1000
    times = [began, *(began + 7 * 86_400 + int(s) for s in np.cumsum(gaps))]
    pipeline, twin = Pipeline(ALONE, lambda _alert: None), Twin()
    for time, w in zip(times, what, strict=False):
        others = [use(time * 1000, f"other-{n}", "queue", 1) for n in range(2)]  # who agree on the time
        pipeline.process(block([*others, use(time * 1000, "job-1", TABLES[w % 2], 10 ** (2 + w))]))
        twin.event(time, TABLES[w % 2], 10 ** (2 + w))
        row = pipeline.tables["account"].columns["rhythm"][pipeline.tables["account"].slot("job-1")]
        assert math.isclose(row["bits"], twin.bits, abs_tol=1e-3)
        assert [int(n) for n in row["answers"]] == [min(len(known), ANSWERS) for known in twin.answers]
