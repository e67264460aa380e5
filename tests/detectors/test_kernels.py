"""Tail probabilities in bits, against the exact ones, never overstated, by how much understated; how it is compiled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from detectors.base import Array
from detectors.kernels import (
    LN2,
    kernel,
    level_of,
    normal_tail_bits,
    prefetch,
    share_bits,
    student_tail_bits,
)

DEVIATES = st.floats(1.5, 200.0)
DOF = st.integers(4, 254).map(float)  # four of the prior and up to 250 samples


def normal_exact(z: float) -> float:
    return float(-scipy.stats.norm.logsf(z) / LN2)


def student_exact(t: float, dof: float) -> float:
    return float(-scipy.stats.t.logsf(t, dof) / LN2)


def binomial_exact(hits: int, trials: int, share: float) -> float:
    return float(-scipy.stats.binom.logsf(hits - 1, trials, share) / LN2)


@given(DEVIATES)
def test_normal_bits_are_a_bound_and_close(z: float) -> None:
    """The probability is never understated; the bits are within 0.38 everywhere, and 0.2 from z = 2.35 on."""
    short = normal_exact(z) - normal_tail_bits(z)
    assert -1e-9 * normal_exact(z) <= short <= (0.38 if z < 2.35 else 0.2)


def test_normal_bits_are_within_what_the_docstring_says() -> None:
    assert max(normal_exact(z) - normal_tail_bits(z) for z in np.linspace(1.5, 6.0, 100)) <= 0.4


@given(st.floats(1.5, 1e8), DOF)
def test_student_bits_never_overstate_and_lose_a_tenth_at_most(t: float, dof: float) -> None:
    """Wallace's deviate is a bound from below: short by at most 0.45 bits and 10 % of the exact bits, out to 1e8
    deviations; where it says 0 the exact value is below 4.3 bits."""
    exact = student_exact(t, dof)
    assume(math.isfinite(exact))  # the reference itself underflows
    bits = student_tail_bits(t, dof)
    if bits == 0.0:
        assert exact < 4.3
    else:
        assert -1e-6 * exact <= exact - bits <= 0.45 + 0.10 * exact


@given(st.floats(1.5, 8.0), st.floats(20.0, 254.0))
def test_student_bits_are_close_where_most_decisions_are_made(t: float, dof: float) -> None:
    bits = student_tail_bits(t, dof)
    assert bits == 0.0 or abs(student_exact(t, dof) - bits) <= 0.4


@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12), DOF)
def test_bits_are_finite_not_negative_and_do_not_fall(a: float, b: float, dof: float) -> None:
    low, high = sorted((a, b))
    assert 0.0 <= student_tail_bits(low, dof) <= student_tail_bits(high, dof) < math.inf
    assert 0.0 <= normal_tail_bits(low) <= normal_tail_bits(high) < math.inf


@given(st.floats(0.0, 5_000.0))
def test_a_level_is_a_quarter_of_the_deviate(bits: float) -> None:
    """Level l is reached from the bits z^2 / 2 ln 2 of z = l / 4 on."""
    level = level_of(bits)
    assert (level / 4) ** 2 / 2 / LN2 <= bits * (1 + 1e-12) + 1e-12
    assert bits <= ((level + 1) / 4) ** 2 / 2 / LN2 * (1 + 1e-12)


TRIALS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(TRIALS, st.floats(1e-6, 1.0 - 1e-6))
def test_share_bits_bound_the_exact_binomial_tail(counts: tuple[int, int], share: float) -> None:
    """P(X >= k) <= 2^-bits, and not by more than the method of types allows: a factor sqrt(8 k (n - k) / n)."""
    hits, trials = counts
    bits = share_bits(float(hits), float(trials), share)
    assert bits >= 0.0
    if hits / trials <= share:
        assert bits == 0.0
        return
    exact = binomial_exact(hits, trials, share)
    loss = 0.5 * math.log2(8.0 * hits * (trials - hits) / trials) if hits < trials else 0.0
    assert bits - 1e-6 * (1 + exact) <= exact <= bits + loss + 1e-6 * (1 + exact)


@given(st.lists(st.floats(0.001, 0.999), min_size=1, max_size=30))
def test_share_bits_hold_for_trials_of_unequal_chances(chances: list[float]) -> None:
    """Hoeffding: the bound at the mean chance holds for every number of hits."""
    law = np.ones(1)
    for p in chances:
        law = np.convolve(law, [1.0 - p, p])
    for hits in range(len(law)):
        bits = share_bits(float(hits), float(len(chances)), float(np.mean(chances)))
        assert law[hits:].sum() <= 2.0**-bits * (1 + 1e-9) + 1e-15


@given(st.floats(0.0, 1e9), st.floats(0.0, 1e9), st.floats(-1.0, 2.0))
def test_share_bits_take_any_counts(hits: float, trials: float, share: float) -> None:
    """Decayed counts are fractions, and hits may pass the trials by rounding: finite and not negative all the same."""
    assert 0.0 <= share_bits(hits, trials, share) < math.inf
    assert share_bits(hits, 0.0, share) == 0.0


@kernel
def _ask(rows: Array, indexes: Array) -> None:
    for i in indexes:
        prefetch(rows, i)


@pytest.mark.parametrize("dtype", [np.dtype(np.uint8), np.dtype(np.int64), np.dtype([("a", np.float32, (50,))])])
def test_asking_ahead_changes_nothing_wherever_it_points(dtype: np.dtype[Any]) -> None:
    rows = np.ones(10, dtype)
    _ask(rows, np.array([0, 9, 10, -1, 2**40, -(2**40), 2**62], np.int64))
    assert (rows == np.ones(10, dtype)).all()


def test_what_allocates_does_not_compile() -> None:
    """So nothing is counted: that costs two atomic steps for each array that a helper is handed."""

    def copied(array: Array) -> float:
        found: float = np.zeros(array.shape[0])[0]
        return found

    with pytest.raises(Exception, match="Failed in nopython mode"):
        kernel(copied)(np.ones(3))
