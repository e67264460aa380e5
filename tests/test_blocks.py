"""Events in columns are chosen, joined and cut as their rows would be, wherever their texts lie."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.blocks import EVENT_BYTES, NUMBERS, PackedBlock, joined, packed
from stream.events import ACTIONS, AccessEvent
from stream.rows import LENGTH_MAX, Rows
from stream.texts import TEXTS, Columns, Packed
from tests.streams import START_MS, block

TEXT = st.text(max_size=12).filter(lambda t: not any(0xD800 <= ord(c) < 0xE000 for c in t))
EVENTS = st.lists(
    st.builds(
        AccessEvent, time=st.integers(START_MS, START_MS + 10**9), account=TEXT.filter(bool),
        action=st.sampled_from(ACTIONS), resource=TEXT.filter(bool), id=TEXT, credential=TEXT, source_ip=TEXT,
        user_agent=TEXT, subject=TEXT, records=st.integers(0, 10**9), bytes=st.integers(0, 2**60),
    ),
    max_size=20,
)  # fmt: skip


def rows(given: PackedBlock) -> list[tuple[object, ...]]:
    numbers = [getattr(given, name).tolist() for name, _ in NUMBERS]
    texts = [[given.text[name][i] for i in range(len(given))] for name in TEXTS]
    return list(zip(*numbers, *texts, strict=True))


@given(st.lists(EVENTS, min_size=1, max_size=4))
def test_joining_blocks_is_joining_their_rows(parts: list[list[AccessEvent]]) -> None:
    made = [packed(block(events, origin=f"log-{i % 2}")) for i, events in enumerate(parts)]
    whole = joined(made)
    named = [(part.origins[0], *row[1:]) for part in made for row in rows(part)]
    assert [(whole.origins[int(whole.origin[i])], *row[1:]) for i, row in enumerate(rows(whole))] == named


@given(EVENTS, st.data())
def test_taking_events_is_indexing_every_column(events: list[AccessEvent], data: st.DataObject) -> None:
    whole = packed(block(events))
    places = st.lists(st.integers(0, max(len(events) - 1, 0)), max_size=30 if events else 0)
    index = data.draw(places)
    assert rows(whole.take(np.array(index, np.int64))) == [rows(whole)[i] for i in index]


@given(EVENTS, st.data())
def test_parts_of_one_memory_are_joined_where_they_lie(events: list[AccessEvent], data: st.DataObject) -> None:
    """Copied or not, what was cut apart and joined again is what it was."""
    whole = packed(block(events)).rows()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=4)))
    parts = [whole.part(a, b) for a, b in pairwise([0, *cuts, len(events)])]
    again = joined(parts)
    assert rows(again) == rows(whole)
    assert texts(again).buffer is texts(whole).buffer
    moved = [data.draw(st.sampled_from([part, owned(part), joined([part, packed(block([]))])])) for part in parts]
    assert rows(joined(moved)) == rows(whole)


@given(EVENTS, st.data())
def test_rows_are_the_texts_of_each_event_and_nothing_else(events: list[AccessEvent], data: st.DataObject) -> None:
    """In one piece when they are made of columns, and in any part of that; a piece is made of what lies elsewhere."""
    index = np.array(data.draw(st.permutations(range(len(events)))), np.int64)
    came = packed(block(events))
    whole = came.rows(index)
    assert rows(whole) == rows(came.take(index)) == rows(whole.columns())
    assert texts(whole).own() is texts(whole)
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(events))] * 2)))
    for part in (whole.part(start, stop), came.rows().take(index[start:stop]), came.rows(index[start:stop])):
        said = [[part.text[name][i].encode() for name in TEXTS] for i in range(stop - start)]
        assert texts(part).piece().tobytes() == b"".join(each for row in said for each in row)
        assert texts(part).lengths.tolist() == [[len(each) for each in row] for row in said]
        assert (part.sizes() - EVENT_BYTES).tolist() == [sum(map(len, row)) for row in said]
        assert rows(part.columns()) == rows(part) == rows(owned(part))
        assert len(texts(owned(part)).buffer) == sum(len(each) for row in said for each in row)


def test_what_fills_its_memory_in_another_order_is_put_in_order() -> None:
    whole = packed(block([AccessEvent(START_MS, name, "read", "r") for name in ("ann", "bob", "cat")])).rows()
    turned = whole.take(np.array([2, 1, 0]))
    assert texts(turned).piece().tobytes() == b"catrbobrannr"
    assert rows(owned(turned)) == rows(turned)


def test_more_origins_than_can_be_told_apart_lose_their_names() -> None:
    """Nobody has so many, but whoever may write observations can say so: no worker ends of it."""
    one = packed(block([AccessEvent(START_MS, "a", "read", "r")]))
    parts = [replace(one, origins=tuple(f"{n}-{i}" for i in range(4_096)), origin=one.origin + 7) for n in range(17)]
    whole = joined(parts)
    assert [whole.origins[n] for n in whole.origin.tolist()] == [f"{n}-7" for n in range(16)] + [""]


@pytest.mark.parametrize("size", [LENGTH_MAX, LENGTH_MAX + 1])
def test_a_text_that_the_wire_has_no_length_for_is_refused(size: int) -> None:
    columns = {name: Packed.of(["x" * size if name == "object" else ""]) for name in TEXTS}
    if size > LENGTH_MAX:
        with pytest.raises(ValueError, match="more than 65535 bytes"):
            Rows.of(Columns.of(columns))
    else:
        assert Rows.of(Columns.of(columns)).sizes().tolist() == [size]


def test_a_column_of_its_own_keeps_nothing_else() -> None:
    column = Packed.of(["ann", "", "böb", "x" * 20])
    part = Packed(column.buffer, column.starts[1:], column.stops[1:]).compact()
    assert part.texts() == ["", "böb", "x" * 20]
    assert len(part.buffer) == 24


def texts(given: PackedBlock) -> Rows:
    assert isinstance(given.text, Rows)
    return given.text


def owned(given: PackedBlock) -> PackedBlock:
    return replace(given, text=texts(given).own())
