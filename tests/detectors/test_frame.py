"""A part of a frame shows its own events, and what is told of events is worked out once for all parts."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detectors.base import ENTITY, Array, Frame
from tests.detectors.test_level import START, frame

HASHED = ("account", "object")


def events(n: int) -> Frame:
    whole = frame([START + 1000 * i for i in range(n)], np.zeros(1, ENTITY))
    whole.records = np.arange(n, dtype=np.float64)
    whole.hashes = {name: np.arange(n, dtype=np.uint64) + np.uint64(at) for at, name in enumerate(HASHED)}
    return whole


@given(st.integers(1, 30), st.data())
def test_a_part_is_its_events(n: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, n - 1))
    stop = data.draw(st.integers(start + 1, n))
    whole = events(n)
    part = whole.part(start, stop, {})
    assert len(part) == stop - start
    assert part.start == whole.start + start
    assert part.records.tolist() == list(range(start, stop))
    for name in HASHED:
        assert part.hashes[name].tolist() == whole.hashes[name][start:stop].tolist()
    part.marks[:] = 1
    assert np.flatnonzero(whole.marks).tolist() == list(range(start, stop))


def test_what_is_derived_is_worked_out_once_and_cut_as_the_part_is() -> None:
    calls = []

    def doubled(of: Frame) -> Array:
        calls.append(len(of))
        twice: Array = 2.0 * of.records
        return twice

    whole = events(10)
    parts = [whole.part(start, stop, {}) for start, stop in ((0, 3), (3, 4), (4, 10))]
    assert [part.of(doubled).tolist() for part in parts] == [[0, 2, 4], [6], [8, 10, 12, 14, 16, 18]]
    assert whole.of(doubled).tolist() == [2.0 * i for i in range(10)]
    assert calls == [10]
