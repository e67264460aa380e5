"""A batch is the records that it was made of, however it is cut and joined."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.batch import Batch, Record

ROWS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2**41), st.none() | st.binary(max_size=6)), max_size=8)


def records(rows: list[tuple[int, int, bytes | None]]) -> list[Record]:
    """Records with gaps between their offsets; those without a value have an empty one."""
    offsets = np.cumsum([gap for gap, _, _ in rows]).tolist()
    return [Record(offset, time, value or b"") for offset, (_, time, value) in zip(offsets, rows, strict=True)]


@given(ROWS, st.integers(0, 30), st.integers(0, 8))
def test_a_batch_is_cut_as_a_list(rows: list[tuple[int, int, bytes | None]], offset: int, at: int) -> None:
    due = records(rows)
    batch = Batch.of(due)
    assert list(batch) == due
    assert [batch[i] for i in range(len(batch))] == due
    assert list(batch[at:]) == due[at:]
    assert batch.before(offset) == sum(record.offset < offset for record in due)
    assert list(Batch.joined([batch[:at], batch[at:]])) == due
    assert list(batch.take(np.arange(len(due))[::-1])) == due[::-1]
    assert Batch.of(batch) is batch
