"""Events in columns are chosen, joined and cut as their rows would be, wherever their texts lie."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.blocks import NUMBERS, PackedBlock, joined, packed
from stream.events import ACTIONS, AccessEvent
from stream.texts import TEXTS
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
    whole = packed(block(events)).compact()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=4)))
    parts = [whole.part(a, b) for a, b in pairwise([0, *cuts, len(events)])]
    again = joined(parts)
    assert rows(again) == rows(whole)
    assert again.text.buffers[0] is whole.text.buffers[0]
    moved = [data.draw(st.sampled_from([part, part.compact(), joined([part, packed(block([]))])])) for part in parts]
    assert rows(joined(moved)) == rows(whole)


@given(EVENTS, st.data())
def test_in_one_piece_are_the_texts_and_nothing_else(events: list[AccessEvent], data: st.DataObject) -> None:
    index = np.array(data.draw(st.permutations(range(len(events)))), np.int64)
    whole = packed(block(events)).take(index)
    piece = whole.compact()
    assert rows(piece) == rows(whole)
    assert piece.text.compact() is piece.text
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(events))] * 2)))
    part = piece.part(start, stop).text
    texts = [part[name][i] for i in range(stop - start) for name in TEXTS]
    assert part.piece().tobytes() == "".join(texts).encode()
    assert part.lengths().T.ravel().tolist() == [len(text.encode()) for text in texts]


def test_the_columns_of_one_log_keep_one_memory() -> None:
    """What is held of a fetch is counted once, however many blocks and columns lie in it."""
    whole = packed(block([AccessEvent(START_MS, "ann", "read", "/r")] * 3)).compact()
    assert whole.part(0, 1).text.kept() | whole.part(1, 3).text.kept() == {
        id(whole.text.buffers[0]): len(whole.text.piece())
    }


@given(EVENTS, st.data())
def test_texts_of_their_own_keep_nothing_else(events: list[AccessEvent], data: st.DataObject) -> None:
    whole = packed(block(events))
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(events))] * 2)))
    part = data.draw(st.sampled_from([whole, whole.compact()])).part(start, stop)
    own = replace(part, text=part.text.own())
    assert rows(own) == rows(part)
    assert sum(own.text.kept().values()) == int(own.text.lengths().sum())
