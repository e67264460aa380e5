"""A block of observations comes back from the wire as it was, or is refused with a reason."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.blocks import EVENTS_MAX, NUMBERS, TEXTS, BadBlock, PackedBlock, decode, encode, joined, packed
from stream.events import ACTIONS, AccessEvent
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


@given(EVENTS)
def test_what_is_sent_arrives(events: list[AccessEvent]) -> None:
    sent = packed(block(events, origin="kafka:access/3"))
    arrived = decode(encode(sent, START_MS, True))
    assert rows(arrived.block) == rows(sent)
    assert arrived.block.origins == ("kafka:access/3",)
    assert (arrived.watermark_ms, arrived.more) == (START_MS, True)


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


def test_columns_can_be_written_to_and_lie_as_kernels_want_them() -> None:
    """A kernel is compiled for one layout: what comes off the wire has the layout of what was decoded here."""
    here = packed(block([AccessEvent(START_MS, "a", "read", "r") for _ in range(3)]))
    there = decode(encode(here)).block
    for name, _ in NUMBERS:
        for array in (getattr(here, name), getattr(there, name)):
            assert array.flags.aligned and array.flags.writeable and array.flags.c_contiguous
    for column in (here, there, there.take(np.array([1, 0]))):
        assert not column.text["account"].buffer.flags.writeable


GOOD = encode(packed(block([AccessEvent(START_MS + i, "ann", "read", "r", source_ip="192.0.2.1") for i in range(4)])))


def forged(**changes: object) -> bytes:
    """The good message with fields replaced."""
    names = ("version", "origins", "watermark_ms", "more", "events", "numbers", "lengths", "buffers")
    fields = dict(zip(names, msgspec.msgpack.decode(GOOD), strict=True))
    for name, value in changes.items():
        if isinstance(value, dict):
            fields[name].update(value)
        else:
            fields[name] = value
    return msgspec.msgpack.encode(list(fields.values()))


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\xc1", b"{}", GOOD[:-1], GOOD + b"\0", b"\x91" * 10_000, forged(version=2), forged(events=5),
        forged(events=-1), forged(events=EVENTS_MAX + 1), forged(numbers={"time": b"\0" * 31}),
        forged(numbers={"action": b"\x7f" * 4}), forged(numbers={"action": b"\xff" * 4}),
        forged(numbers={"records": np.array([1, np.nan, 1, 1]).tobytes()}),
        forged(numbers={"bytes": np.array([1, -1, 1, 1.0]).tobytes()}),
        forged(numbers={"records": np.array([1, 2.0**64, 1, 1.0]).tobytes()}),
        forged(numbers={"time": np.array([1, 2, 3, 4]).tobytes()}), forged(lengths={"account": b"\xff" * 8}),
        forged(lengths={"account": b"\0" * 6}), forged(buffers={"account": b"ann"}),
        forged(lengths={"country": b"\0\0"}), forged(buffers={"subject": b"x"}),
    ],
)  # fmt: skip
def test_what_is_no_block_is_refused(message: bytes) -> None:
    with pytest.raises(BadBlock):
        decode(message)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_byte_changed_is_another_block_or_none(place: int, value: int) -> None:
    changed = bytearray(GOOD)
    changed[place] = value
    try:
        made = decode(bytes(changed))
    except BadBlock:
        return
    assert len(rows(made.block)) == len(made.block)


def test_more_events_than_a_block_holds_is_a_mistake_of_ours() -> None:
    one = packed(block([AccessEvent(START_MS, "a", "read", "r")]))
    with pytest.raises(ValueError, match="limit"):
        encode(one.take(np.zeros(EVENTS_MAX + 1, np.int64)))
