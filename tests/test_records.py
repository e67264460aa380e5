"""Records are where they lie: however they are cut out, joined or chosen, they are the bytes that they were."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.records import Records

TEXTS = st.lists(st.binary(max_size=6).filter(lambda text: b"\n" not in text), max_size=8)


@given(TEXTS)
def test_lines_are_what_was_joined(texts: list[bytes]) -> None:
    records = Records.lines(b"".join(text + b"\n" for text in texts))
    assert list(records) == texts
    assert [records[i] for i in range(len(records))] == texts
    assert list(Records.of(texts)) == texts


@given(TEXTS.filter(bool), st.data())
def test_what_is_taken_is_what_was_there(texts: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.lists(st.integers(0, len(texts) - 1)))
    records = Records.of(texts)
    assert list(records.take(np.array(index, np.int64))) == [texts[i] for i in index]
    assert list(records[1:]) == texts[1:]


@given(TEXTS)
def test_a_control_character_comes_after_each_record(texts: list[bytes]) -> None:
    """Compiled loops run up to it."""
    records = Records.of(texts)
    assert all(records.data[stop] < 32 for stop in records.stops.tolist())
