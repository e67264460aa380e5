"""How many subjects: the estimate is within its stated error, counts nobody twice a day, and starts anew the next."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.base import TOUCH, Array
from detectors.catalog.fan_out import REGISTERS, FanOut, _new_subjects
from stream.events import AccessEvent
from stream.siphash import hash_column, hash_key
from tests.detectors.scenes import WHEN, entities, judged
from tests.streams import DAY_MS, HOUR_MS, START_MS, event

STANDARD_ERROR = 0.15  # as the module states
SEEDS = 20


def fresh() -> Array:
    return np.zeros(3, FanOut(4.0).columns["account"])


def count(state: Array, hashes: Array, slot: int = 1, opens_at: int | None = 0) -> Array:
    """The new subjects that each event stands for; the day opens with event `opens_at`."""
    touch = np.zeros(len(hashes), TOUCH)
    touch["slot"] = slot
    if opens_at is not None and len(hashes):
        touch["opens"][opens_at, 1] = 1
    x = np.empty((1, len(hashes), 1))
    _new_subjects((state,), (touch,), (np.asarray(hashes, np.uint64),), x)
    return x[0, :, 0]


def people(n: int, seed: int) -> Array:
    return hash_column([f"person-{i}" for i in range(n)], hash_key(str(seed)))


@pytest.mark.parametrize("n", [10, 100, 1_000, 30_000])
def test_the_estimate_is_unbiased_and_within_its_standard_error(n: int) -> None:
    """Over 20 hash keys: the root mean square error is not above the stated one by more than 20 draws allow (1.4),
    the mean error not by more than their standard error (2.5 of them), and no draw is out by four."""
    errors = np.array([count(fresh(), people(n, seed)).sum() / n - 1.0 for seed in range(SEEDS)])
    assert np.sqrt((errors**2).mean()) <= 1.4 * STANDARD_ERROR
    assert abs(errors.mean()) <= 2.5 * STANDARD_ERROR / np.sqrt(SEEDS)
    assert np.abs(errors).max() <= 4.0 * STANDARD_ERROR


@given(st.lists(st.integers(0, 2**64 - 1), max_size=60), st.randoms(use_true_random=False))
def test_nobody_counts_twice_in_a_day_and_no_subject_counts_as_nobody(hashes: list[int], random: object) -> None:
    state = fresh()
    first = count(state, np.array(hashes, np.uint64))
    assert (first[np.array(hashes, np.uint64) == 0] == 0.0).all()
    assert ((first == 0.0) | (first >= 1.0)).all()
    assert len(first[first > 0.0]) <= len(set(hashes) - {0})
    again = np.array(sorted(hashes), np.uint64)
    assert not count(state, again, opens_at=None).any()


@given(st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=40), st.integers(0, 40))
def test_the_cut_of_a_batch_changes_nothing(hashes: list[int], cut: int) -> None:
    values = np.array(hashes, np.uint64)
    whole, parts = fresh(), fresh()
    expected = count(whole, values, opens_at=None)
    got = [count(parts, values[:cut], opens_at=None), count(parts, values[cut:], opens_at=None)]
    assert (np.concatenate(got) == expected).all()
    assert (whole == parts).all()


def test_a_day_starts_anew_and_entities_do_not_mix() -> None:
    state = fresh()
    first = count(state, people(200, 1))
    count(state, people(500, 2), slot=2)
    assert (count(state, people(200, 1)) == first).all()
    assert not count(state, people(500, 2), slot=2, opens_at=None).any()
    assert not state["registers"][0].any()


def test_an_event_that_names_no_entity_counts_nothing_and_is_learned_nowhere() -> None:
    state = fresh()
    assert not count(state, people(50, 1), slot=-1).any()
    assert not state["registers"].any()


def test_every_register_full_is_still_finite() -> None:
    state = fresh()
    state["registers"][1] = 57
    x = count(state, np.array([1 << 63, 1 << 62, 0xFFFF], np.uint64), opens_at=None)
    assert np.isfinite(x).all()
    assert state["registers"][1].max() <= 58
    assert len(state["registers"][1]) == REGISTERS


def staff(files: list[str]) -> list[AccessEvent]:
    """Forty employees who open three files a day, and one of them who opens these within the hour."""
    place = {"account_kind": "employee", "subject": "", "source_ip": "10.1.0.7", "user_agent": "Chrome/141"}
    events = [
        event(START_MS + day * DAY_MS + (9 + n % 6) * HOUR_MS + k * 900_000, f"emp-{n}", resource="/files",
              object=f"file-{n}-{day}-{k}", credential=f"e-{n}-{day}", **place)
        for day in range(8) for n in range(40) for k in range(3)
    ]  # fmt: skip
    return events + [
        event(WHEN + k * 30_000, "emp-7", resource="/files", object=name, credential="e-7-6", **place)
        for k, name in enumerate(files)
    ]


def test_where_no_person_is_named_an_employee_is_judged_by_the_things_that_it_reads() -> None:
    assert ("account", "emp-7") in entities(judged("fan_out", staff([f"file-x-{k}" for k in range(90)])))


def test_who_reads_one_thing_again_and_again_is_not() -> None:
    """The benign twin: a file that is saved and opened, saved and opened."""
    assert judged("fan_out", staff(["file-7-6-0"] * 90)) == []
