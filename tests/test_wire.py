"""A block of observations comes back from the wire as it was, or is refused with a reason."""

from __future__ import annotations

import base64

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.blocks import NUMBERS, joined, packed
from stream.events import AccessEvent
from stream.texts import TEXTS
from stream.wire import EVENTS_MAX, VERSION, BadBlock, NewerBlock, decode, decode_at, encode
from tests.streams import START_MS, block
from tests.test_blocks import EVENTS, rows, texts

# What version 1 wrote of two reads by ann: its texts lie column by column.
FIRST = base64.b85decode(
    "m;sTlYhh+<VLD-BV`X!5FEh^o00ERADSQCK0*R(?a%pF2Zo~ut0001_Y-w&~#1H`h000000006200000005+PX>Dc15CD8BACv(A00Dd{ACv(A"
    "0H$GMbZKvH!~y~WtYKqgZ*^{TUu$V@WW)jh0H<$tbYpLAWyAsi0H<<gV{dX~bHoq;0000000000000000PsJhVtI6BbHoq;000000000000000"
    "0001|baHibbY*130s#Sqr(t7bZ*^{T!~_EX0|2OUWpi(Ja${x01Ofm80I73tb#h~6Uukf}1PK5M0H<?xVrpe$bi@P$00RK0Ze?_LZ*ptI1PlNS"
    "0EMSvV`Fc1Zgj*3VQy|=Zf>Y@Wpi(Ja${x01TS(ga;bA~b#h~6Uukf}5-~Y4E-)@KE-^7VGA=MKGA=Qvb9G{BWn*;226HVib1gBaZe?_LZ*ptI"
    "7%@3AE-)@KE-)`LG%-0cE-)@KE-)`LGy"
)


def test_what_the_first_version_wrote_is_read() -> None:
    events = [
        AccessEvent(START_MS + n, "ann", "read", "/r", subject=f"s-{n}", source_ip="192.0.2.1", records=n)
        for n in range(2)
    ]
    sent = decode(FIRST)
    assert rows(sent.block) == rows(packed(block(events, origin="kafka:access/3")))
    assert (sent.origin, sent.watermark_ms, sent.more) == ("kafka:access/3", START_MS, True)


@given(st.lists(st.tuples(EVENTS, st.binary(max_size=3)), min_size=1, max_size=4))
def test_messages_of_one_fetch_are_read_where_they_lie(fetched: list[tuple[list[AccessEvent], bytes]]) -> None:
    """And are joined without a copy of their texts."""
    data, places = b"", []
    for events, between in fetched:
        message = encode(packed(block(events)))
        places.append((len(data), len(data) + len(message)))
        data += message + between
    memory = np.frombuffer(data, np.uint8)
    found = [decode_at(memory, start, stop).block for start, stop in places]
    assert [rows(each) for each in found] == [rows(packed(block(events))) for events, _ in fetched]
    assert texts(joined(found)).buffer is memory


@given(EVENTS)
def test_what_is_sent_arrives(events: list[AccessEvent]) -> None:
    sent = packed(block(events, origin="kafka:access/3"))
    arrived = decode(encode(sent, START_MS, True))
    assert rows(arrived.block) == rows(sent)
    assert arrived.block.origins == ("kafka:access/3",)
    assert (arrived.watermark_ms, arrived.more) == (START_MS, True)


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
    names = ("version", "origins", "watermark_ms", "more", "events", "numbers", "lengths", "text")
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
        b"", b"\xc1", b"{}", GOOD[:-1], GOOD + b"\0", b"\x91" * 10_000, FIRST[:-1], forged(version=0),
        forged(version=1), forged(events=5), forged(events=-1), forged(events=EVENTS_MAX + 1),
        forged(numbers={"time": b"\0" * 31}), forged(numbers={"action": b"\x7f" * 4}),
        forged(numbers={"action": b"\xff" * 4}), forged(numbers={"records": np.array([1, np.nan, 1, 1]).tobytes()}),
        forged(numbers={"bytes": np.array([1, -1, 1, 1.0]).tobytes()}),
        forged(numbers={"records": np.array([1, 2.0**64, 1, 1.0]).tobytes()}),
        forged(numbers={"time": np.array([1, 2, 3, 4]).tobytes()}), forged(lengths=b""),
        forged(lengths=b"\0" * (2 * 4 * len(TEXTS))), forged(lengths=b"\xff" * (2 * 4 * len(TEXTS))),
        forged(lengths=b"\0" * 7), forged(text=b""), forged(text=b"ann"), forged(origins=[]),
        msgspec.msgpack.encode([*msgspec.msgpack.decode(GOOD), b"more"]),
        msgspec.msgpack.encode([2, ["log"], 0, False, 1, *[{}] * 2, b""]),
    ],
)  # fmt: skip
def test_what_is_no_block_is_refused(message: bytes) -> None:
    with pytest.raises(BadBlock):
        decode(message)


def test_a_newer_version_is_named() -> None:
    with pytest.raises(NewerBlock, match=f"wire version {VERSION + 1}, this program reads up to {VERSION}"):
        decode(forged(version=VERSION + 1))


@pytest.mark.parametrize("good", [GOOD, FIRST], ids=["now", "first"])
@given(place=st.integers(0, len(FIRST) - 1), value=st.integers(0, 255))
def test_a_byte_changed_is_another_block_or_none(good: bytes, place: int, value: int) -> None:
    changed = bytearray(good)
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
