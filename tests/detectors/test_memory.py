"""What was read when: as a plain dictionary has it, within a size that does not grow."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import Array
from detectors.baselines.memory import DAYS, KNOWN, NEW, TODAY, UNSEEN, cells, recall
from detectors.kernels import kernel

READS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 20), st.integers(0, 20)), max_size=80)


@kernel
def _answers(table: Array, lost: Array, readers: Array, subjects: Array, days: Array, out: Array) -> None:
    for i in range(len(out)):
        out[i] = recall(table, lost, readers[i], subjects[i], days[i])


def answers(table: Array, lost: Array, readers: Array, subjects: Array, days: Array) -> Array:
    """What is known of each pair, in order."""
    out = np.empty(len(subjects), np.int64)
    _answers(table, lost, readers.astype(np.uint64), subjects, days.astype(np.int64), out)
    return out


def names(n: int, seed: int = 1) -> Array:
    """n hashes."""
    return np.random.default_rng(seed).integers(1, 2**63, n).astype(np.uint64)


@settings(max_examples=60)
@given(READS)
def test_a_pair_is_known_for_as_long_as_a_dictionary_remembers_it(reads: list[tuple[int, int, int]]) -> None:
    """(days since the last, reader, subject): on every prefix."""
    (tables, lost), hashes = cells(1), names(21)
    last: dict[tuple[int, int], int] = {}
    day, expected, days = 20_000, [], []
    for gap, reader, subject in reads:
        day += gap * 7
        age = day - last.get((reader, subject), -(10**6))
        expected.append(TODAY if age == 0 else KNOWN if age <= DAYS else NEW)
        last[reader, subject] = day
        days.append(day)
    readers, subjects = (np.array([r[k] for r in reads], np.int64) for k in (1, 2))
    assert answers(tables[0], lost[0], readers, hashes[subjects], np.array(days)).tolist() == expected
    assert lost[0].tolist() == [0, 0]


def test_when_there_is_more_than_fits_it_looks_at_fewer_subjects_and_knows_those() -> None:
    """A population of four times the cells, read day after day: what is still looked at is known again."""
    tables, lost = cells(1)
    people = names(4 * tables[0].size)
    for day in range(8):
        seen = answers(tables[0], lost[0], np.zeros(len(people)), people, np.full(len(people), 20_000 + day))
    looked = seen != UNSEEN
    assert 0.1 < looked.mean() < 0.3
    assert np.mean(seen[looked] == KNOWN) > 0.9


def test_the_oldest_goes_first() -> None:
    """What is read every day is known, however many others come once."""
    tables, lost = cells(1)
    regular = names(1_000, 2)
    for day in range(40):
        once = names(20_000, 100 + day)
        at = np.full(len(once), 20_000 + day)
        answers(tables[0], lost[0], np.zeros(len(once)), once, at)
        known = answers(tables[0], lost[0], np.zeros(len(regular)), regular, at[: len(regular)])
    looked = known != UNSEEN
    assert looked.any()
    assert np.mean(known[looked] == KNOWN) > 0.99
