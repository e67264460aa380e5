"""Bits are what this population's history says: a level that a fraction p of windows reaches has -log2 p."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import DAY_MS
from detectors.baselines.calibration import DAYS, GATE_NONE, LEVELS, SEEN_MIN, SLOPE_MAX, SLOPE_MIN, Survival

FAMILY = (1, 2, 0, 0)
START = 20_000 * DAY_MS
OFFSET = 4.0
Counts = npt.NDArray[np.int64]


def reaching(levels: npt.NDArray[np.int64]) -> Counts:
    """How many windows reach each level, given the highest level of each window."""
    at = np.bincount(np.minimum(levels, LEVELS - 1), minlength=LEVELS)
    return at[::-1].cumsum()[::-1]


def after(days: Sequence[Counts]) -> Survival:
    """A survival function that has lived through `days`, and is read as the next one begins."""
    survival = Survival(2, 1, 1)
    for i, counts in enumerate(days):
        survival.roll(START + i * DAY_MS)
        survival.today[FAMILY] += counts.astype(np.int32)
    survival.roll(START + len(days) * DAY_MS)
    survival.refresh(START + len(days) * DAY_MS, OFFSET)
    return survival


def raw_of(level: float) -> float:
    """The least raw bits of a level, and a little more against rounding."""
    return (level / 4.0) ** 2 / (2.0 * math.log(2.0)) * (1.0 + 1e-12)


def bits_of(survival: Survival, level: float) -> float:
    return survival.bits(FAMILY, raw_of(level))


FALLING = st.lists(st.integers(0, 40), min_size=1, max_size=LEVELS).map(lambda steps: np.array(steps, np.int64))
DAY = st.tuples(FALLING, st.integers(0, 5_000)).map(
    lambda drawn: (
        reaching(np.repeat(np.arange(len(drawn[0])), drawn[0])) + np.eye(1, LEVELS, dtype=np.int64)[0] * drawn[1]
    )
)
HISTORY = st.lists(DAY, min_size=1, max_size=18)


@pytest.mark.parametrize("days", [2, 8, 14])
def test_a_level_that_a_fraction_p_reaches_has_minus_log2_p(days: int) -> None:
    """On a population whose deviates are normal, to within what counting allows (three standard errors)."""
    rng = np.random.default_rng(days)
    per_day = 40_000
    levels = [(4.0 * np.maximum(rng.standard_normal(per_day), 0.0)).astype(np.int64) for _ in range(days)]
    survival = after([reaching(day) for day in levels])
    windows = per_day * (days if days < 5 else days - 1)
    for level in range(1, 12):
        p = 0.5 * math.erfc(level / 4.0 / math.sqrt(2.0))
        bias = 0.02 if days >= 5 else 0.0  # the worst day is left out
        assert abs(bits_of(survival, level) + math.log2(p)) <= 3.0 / math.sqrt(windows * p) / math.log(2.0) + bias


@given(HISTORY)
def test_where_enough_was_seen_bits_are_the_observed_frequency(days: list[Counts]) -> None:
    """Of the last fourteen days, without the worst at each level once there are five."""
    kept = np.stack(days[-DAYS:])
    counts = kept.sum(axis=0) - (kept.max(axis=0) if len(kept) >= 5 else 0)
    survival = after(days)
    for level in range(1, LEVELS):
        bits = bits_of(survival, level)
        if counts[0] < SEEN_MIN:
            assert bits == 0.0
        elif counts[level] >= SEEN_MIN:
            assert math.isclose(bits, math.log2(counts[0] / counts[level]), abs_tol=1e-9)
        elif counts[level] > 0:
            assert bits <= math.log2(counts[0] / counts[level]) + 1e-9


@given(HISTORY, st.floats(0.0, 5_000.0), st.floats(0.0, 5_000.0))
def test_bits_do_not_fall_with_the_raw_score(days: list[Counts], a: float, b: float) -> None:
    survival = after(days)
    low, high = sorted((a, b))
    assert 0.0 <= survival.bits(FAMILY, low) <= survival.bits(FAMILY, high) + 1e-9
    assert math.isfinite(survival.bits(FAMILY, high))


@given(DAY, st.integers(5, DAYS), st.data())
def test_an_attack_of_one_day_does_not_make_itself_ordinary(day: Counts, days: int, data: st.DataObject) -> None:
    quiet = after([day] * days)
    attack = reaching(np.full(data.draw(st.integers(1, 500)), data.draw(st.integers(1, LEVELS - 1))))
    history = [day] * days
    history[data.draw(st.integers(0, days - 1))] = day + attack
    attacked = after(history)
    assert (attacked.counts == quiet.counts).all()
    assert (attacked.gate == quiet.gate).all()


@given(HISTORY)
def test_beyond_what_was_seen_bits_rise_along_a_line_of_bounded_slope(days: list[Counts]) -> None:
    survival = after(days)
    counts = survival.counts[FAMILY]
    if counts[0] < SEEN_MIN:
        return
    known = int(np.flatnonzero(counts >= SEEN_MIN)[-1])
    unseen = [level for level in range(known + 1, LEVELS + 40) if counts[min(level, LEVELS - 1)] == 0.0]
    bits = np.array([bits_of(survival, level) for level in unseen])
    slope = np.diff(bits)
    assert (slope >= SLOPE_MIN - 1e-6).all()
    assert (slope <= SLOPE_MAX + 1e-6).all()
    assert np.ptp(slope) <= 1e-6 if len(slope) else True
    assert (bits >= math.log2(counts[0] / SEEN_MIN) - 1e-6).all()  # unseen is rarer than what was seen ten times


def test_an_exponential_tail_is_extrapolated_to_its_own_law() -> None:
    """Deviates whose tail falls by half a bit a level: twenty levels past the data the bits are within 15 %."""
    rng = np.random.default_rng(1)
    days = [reaching((2.0 * rng.exponential(1.0 / math.log(2.0), 3_000)).astype(np.int64)) for _ in range(10)]
    assert math.isclose(bits_of(after(days), 42.0), 0.5 * 42.0, rel_tol=0.15)


@settings(max_examples=40)
@given(HISTORY)
def test_the_gate_is_the_least_level_worth_reporting(days: list[Counts]) -> None:
    """As a scan of all levels finds it: bits less log2(tests a day) reach the offset."""
    survival = after(days)
    wanted = OFFSET + math.log2(max(survival.per_day(FAMILY), 1.0))
    gate = int(survival.gate[FAMILY])
    if survival.counts[FAMILY][0] < SEEN_MIN:
        assert gate == GATE_NONE
    else:  # a tie may fall either way by rounding
        assert all(bits_of(survival, level) < wanted + 1e-9 for level in range(1, min(gate, LEVELS)))
        assert all(bits_of(survival, level) > wanted - 1e-9 for level in range(gate, LEVELS))
    assert (np.delete(survival.gate.ravel(), np.ravel_multi_index(FAMILY, survival.shape)) == GATE_NONE).all()


def test_without_history_nothing_is_surprising_and_nothing_is_reported() -> None:
    survival = Survival(2, 1, 1)
    assert (survival.bits(FAMILY, 1e6), survival.per_day(FAMILY)) == (0.0, 0.0)
    assert (survival.gate == GATE_NONE).all()
    survival = after([reaching(np.zeros(SEEN_MIN - 1, np.int64))])
    assert survival.bits(FAMILY, 1e6) == 0.0
    assert (survival.gate == GATE_NONE).all()


def test_the_first_day_is_read_while_it_runs_and_old_days_are_forgotten() -> None:
    survival = Survival(2, 1, 1)
    survival.roll(START)
    survival.today[FAMILY] += reaching(np.repeat([0, 8], [75, 25])).astype(np.int32)
    survival.refresh(START + DAY_MS // 2, OFFSET)
    assert math.isclose(bits_of(survival, 8), 2.0)
    assert math.isclose(survival.per_day(FAMILY), 200.0)
    flood, quiet = reaching(np.full(500, 40)), reaching(np.repeat([0, 8], [75, 25]))
    assert math.isclose(bits_of(after([flood] * 3 + [quiet] * DAYS), 8), 2.0)


def test_saved_arrays_continue_the_count() -> None:
    old = after([reaching(np.repeat([0, 8], [75, 25]))] * 3)
    new = Survival(2, 1, 1)
    for name, array in new.arrays().items():
        array[...] = old.arrays()[name]
    assert bits_of(new, 8) == bits_of(old, 8)
    for survival in (old, new):
        survival.roll(START + 9 * DAY_MS)
        survival.refresh(START + 9 * DAY_MS, OFFSET)
    assert (new.counts == old.counts).all()
