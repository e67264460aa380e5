"""drip: a little more each day, against a pace that the present cannot drag."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import catalog
from detectors.baselines.frozen import BLOCK_DAYS, DAILY, FIRST_DAYS, UNIT, learn
from detectors.baselines.sequential import LAMBDAS, Z_MAX, bits, grown, needed, psi
from detectors.catalog.drip import _findings
from stream.config import Config
from stream.events import AccessEvent
from tests.detectors.scenes import entities
from tests.streams import DAY_MS, HOUR_MS, START_MS, block, event, part, run, state

DAYS = 56
SINCE = 35  # a Wednesday
ONLY = Config(detectors={d: d == "drip" for d in catalog.detector_ids()}, warmup_h=24.0, tick_s=3_600)
THIEF = ("account", "emp-7")


def staff(seed: int, pace: Callable[[int, int], float], days: int = DAYS, scatter: float = 0.15) -> list[AccessEvent]:
    """Sixty employees who export from Monday to Friday, each at a pace of their own with lognormal days, some on leave;
    pace(who, day) is the factor of that day, 0 where they are not there."""
    rng = np.random.default_rng(seed)
    own = 40.0 * rng.lognormal(0.0, 0.5, 60)
    events = []
    for day in range(days):
        if (day + 2) % 7 > 4:
            continue
        for who in range(60):
            away, noise, start = rng.random() < 0.1, rng.lognormal(0.0, scatter), int(rng.integers(0, HOUR_MS))
            records = round(own[who] * pace(who, day) * noise / 4.0)
            events += [
                event(
                    START_MS + day * DAY_MS + (9 + n) * HOUR_MS + start, f"emp-{who}", "export", "crm",
                    account_kind="employee", credential=f"s-{who}-{day}", issuer="sso", subject="",
                    source_ip=f"10.0.0.{who}", records=max(records, 1), bytes=200 * max(records, 1),
                )
                for n in range(4) if not away and pace(who, day) > 0.0
            ]  # fmt: skip
    return events


def told(events: list[AccessEvent]) -> list[tuple[tuple[str, str], float]]:
    """What alerts were opened on, and on which day."""
    _, alerts = run([block(events)], ONLY)
    opened = [a for a in alerts if a.status == "open"]
    start, day = np.datetime64(START_MS, "ms"), np.timedelta64(DAY_MS, "ms")
    return [
        ((a.entity.kind, a.entity.value), float((np.datetime64(a.time.rstrip("Z"), "ms") - start) / day))
        for a in opened
    ]  # fmt: skip


def test_twice_its_pace_is_found_within_a_working_week() -> None:
    """And nobody else is accused."""
    for seed in (1, 3):
        found = told(staff(seed, lambda who, day: 2.0 if who == 7 and day >= SINCE else 1.0))
        assert [entity for entity, _ in found] == [THIEF]
        assert SINCE < found[0][1] <= SINCE + 7


def test_what_grows_five_percent_a_day_is_found() -> None:
    """The boiling frog: the reference does not follow."""
    found = told(staff(1, lambda who, day: 1.05 ** max(day - 20, 0) if who == 7 else 1.0))
    assert THIEF in [entity for entity, _ in found]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("scatter", [0.15, 0.3])
def test_a_quiet_company_opens_nothing(seed: int, scatter: float) -> None:
    """Calibration: eight weeks with week-ends and leave, where five alerts a day are allowed."""
    assert told(staff(seed, lambda who, day: 1.0, scatter=scatter)) == []


def test_a_week_in_which_everybody_does_twice_as_much_accuses_no_one() -> None:
    """The benign twin: the same doubling, of all."""
    assert told(staff(1, lambda who, day: 2.0 if SINCE <= day < SINCE + 7 else 1.0)) == []


def test_a_new_hire_is_not_judged_in_the_first_days() -> None:
    """The cold start: five times the others' pace from the first day on is a pace of its own."""
    assert told(staff(2, lambda who, day: 1.0 if who != 7 else 5.0 * (day >= SINCE))) == []


def test_growing_one_percent_a_day_is_not_found() -> None:
    """The evasion that its docstring admits: less than a doubling in 28 active days."""
    assert told(staff(2, lambda who, day: 1.01**day if who == 7 else 1.0)) == []


def test_where_the_stream_is_cut_changes_nothing() -> None:
    """Alerts and state, bit for bit."""
    whole = block(staff(1, lambda who, day: 2.0 if who == 7 and day >= SINCE else 1.0, days=44))
    cuts = [0, 1, 777, 3_001, 5_000, len(whole)]
    one, alerts = run([whole], ONLY)
    two, others = run([part(whole, a, b) for a, b in pairwise(cuts)], ONLY)
    assert THIEF in entities(alerts)
    assert [a.id for a in alerts] == [a.id for a in others]
    assert state(one)[1] == state(two)[1]


@given(st.lists(st.floats(-Z_MAX, Z_MAX), min_size=1, max_size=12))
def test_evidence_is_as_the_plain_recurrence_has_it(days: list[float]) -> None:
    """M <- (M + 1) e on every prefix, for each lambda."""
    log, m, cost = np.zeros((1, 3)), np.zeros(3), psi(np.zeros(3))
    for z in days:
        log = grown(log, np.array([z]), cost[None])
        m = (m + 1.0) * np.exp(LAMBDAS * z - LAMBDAS**2 / 2.0)
        if log.max() < 60.0:
            assert np.allclose(np.expm1(log[0]), m, rtol=1e-6)
            assert math.isclose(bits(log)[0], max(math.log2(max(m.mean(), 1e-9)), 0.0), rel_tol=1e-6, abs_tol=1e-6)


@given(st.lists(st.floats(0.0, 20.0), min_size=3, max_size=3), st.floats(1.0, 40.0))
def test_the_deviate_that_is_needed_is_just_enough(start: list[float], wanted: float) -> None:
    log, cost = np.array([start]), psi(np.zeros((1, 3)))
    z = needed(log, cost, np.array([wanted]))
    if np.isinf(z[0]):
        assert bits(grown(log, np.array([Z_MAX]), cost))[0] < wanted
    else:
        assert bits(grown(log, z, cost))[0] >= wanted
        assert z[0] <= -Z_MAX + 1e-4 or bits(grown(log, z - 1e-4, cost))[0] < wanted


def test_chance_needs_as_many_days_as_the_bits_say() -> None:
    """Average run length, on Gaussian days: of 4,000 runs of 64 days no more than 64 / 2^b reach b bits."""
    rng, log, cost = np.random.default_rng(1), np.zeros((4_000, 3)), psi(np.zeros((1, 3)))
    top = np.zeros(4_000)
    for _ in range(64):
        log = grown(log, rng.standard_normal(4_000), cost)
        top = np.maximum(top, bits(log))
    for b in (7.0, 8.0, 9.0, 10.0):
        assert np.mean(top >= b) <= 64.0 / 2.0**b


@settings(max_examples=50)
@given(st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=80), st.floats(0.0, 20.0))
def test_the_reference_is_the_first_days_and_then_moves_in_blocks(days: list[float], pace: float) -> None:
    """A plain twin on every prefix; and never more than ln 2 in 28 active days."""
    rows, twin = np.zeros(1, DAILY), 0.0
    blocked: list[float] = []
    for seen, day in enumerate(days):
        sample, s, n = np.array([pace + day]), np.array([0.5]), np.array([float(seen)])
        ref = rows["ref"][:, 0] / UNIT
        learn(rows, 0, sample, ref, sample - ref, s, n, np.ones(1))
        before = twin
        if seen < FIRST_DAYS:
            twin += (pace + day - twin) / (seen + 1)
        else:
            blocked.append(pace + day)
            if len(blocked) == BLOCK_DAYS:
                mean = (twin + sum(blocked)) / (BLOCK_DAYS + 1)
                twin += min(max(mean - twin, -math.log(2.0)), math.log(2.0))
                blocked = []
            assert abs(twin - before) <= math.log(2.0) + 1e-9
            rows["block"] = (rows["block"] + 1) % BLOCK_DAYS
        assert math.isclose(rows["ref"][0, 0] / UNIT, twin, abs_tol=0.03)


@given(st.lists(st.floats(-5.0, 20.0), min_size=1, max_size=5))
def test_no_less_than_nothing_is_expected(expected: list[float]) -> None:
    """Of those who mostly show nothing, and whose peers show less, the logarithm may be below zero."""
    n = len(expected)
    rows = np.zeros(n, [("klass", np.int8), ("sum", np.float64, (3,))])
    found = _findings(np.arange(n), rows, np.arange(n), 0, 2, 0, np.ones(n), np.array(expected))
    assert found["expected"] == pytest.approx([math.exp(max(x, 0.0)) - 1.0 for x in expected])
