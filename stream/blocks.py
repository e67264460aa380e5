"""Events as the pipeline takes them: columns of numbers and packed text, and their form on the wire.

A `PackedBlock` is an `EventBlock` whose text is bytes and offsets instead of Python strings: what is hashed, split by
account and sent without a loop over events. On the wire it is one msgpack array whose columns are raw little-endian
bytes; `decode` checks every length and code before anything is believed, because topics can be written by others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.kernels import kernel
from stream.checks import COUNT_MAX, TIME_MS_END, TIME_MS_MIN
from stream.events import ACCOUNT_KINDS, ACTIONS, OUTCOMES, TEXT_FIELDS, EventBlock
from stream.networks import network_names
from stream.origins import unstamped
from stream.siphash import I64, U8, U64, hash_texts, pack

TEXTS: Final = (*TEXT_FIELDS, "network")
VERSION: Final = 1
EVENTS_MAX: Final = 1 << 17
DIGITS_MAX: Final = 18  # what an int64 holds
ORIGINS_MAX: Final = 4_096
NUMBERS: Final = (
    ("origin", "<u2"), ("line", "<i8"), ("time", "<i8"), ("action", "i1"), ("account_kind", "i1"), ("outcome", "i1"),
    ("records", "<f8"), ("bytes", "<f8"), ("trusted", "i1"),
)  # fmt: skip
EVENT_BYTES: Final = sum(np.dtype(dtype).itemsize for _, dtype in NUMBERS) + 2 * len(TEXTS)  # its texts come on top
_CODES: Final = {"action": len(ACTIONS), "account_kind": len(ACCOUNT_KINDS), "outcome": len(OUTCOMES), "trusted": 2}


class BadBlock(Exception):  # noqa: N818 - it is a verdict on a message
    """A message that is no block of observations, and why."""


@kernel
def _gather(
    buffers: tuple[U8, ...], starts: tuple[I64, ...], stops: tuple[I64, ...], offsets: I64, out: tuple[U8, ...]
) -> None:
    """out[c][offsets[c, i]:] = text i of column c.

    Event by event: where the columns lie in one log, its memory is fetched once and not for each of them.
    """
    for i in range(offsets.shape[1] - 1):
        for c in range(offsets.shape[0]):
            source, target = buffers[c], out[c]
            at, p, stop = offsets[c, i], starts[c][i], stops[c][i]
            while p + 8 <= stop:  # each of these two loops is one instruction when compiled
                word = np.uint64(0)
                for j in range(8):
                    word |= np.uint64(source[p + j]) << np.uint64(8 * j)
                for j in range(8):
                    target[at + j] = np.uint8(word >> np.uint64(8 * j))
                p += 8
                at += 8
            while p < stop:
                target[at] = source[p]
                p += 1
                at += 1


@dataclass(frozen=True, slots=True)
class Packed:
    """n texts: where each begins and ends (int64[n]) in UTF-8 (uint8) that may hold more than them, as a log does."""

    buffer: U8
    starts: I64
    stops: I64

    @classmethod
    def of(cls, texts: list[str]) -> Packed:
        """The texts, one after the other."""
        return cls.along(*pack(texts))

    @classmethod
    def along(cls, buffer: U8, offsets: I64) -> Packed:
        """The texts that fill the buffer, by their offsets in it (int64[n + 1])."""
        return cls(buffer, offsets[:-1], offsets[1:])

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, i: int) -> str:
        return self.buffer[self.starts[i] : self.stops[i]].tobytes().decode("utf-8", "replace")

    def texts(self) -> list[str]:
        """All of them."""
        return [self[i] for i in range(len(self))]

    def take(self, index: I64) -> Packed:
        """The texts at `index`, where they lie."""
        return Packed(self.buffer, self.starts[index], self.stops[index])

    def part(self, start: int, stop: int) -> Packed:
        """The texts from one place to another."""
        return Packed(self.buffer, self.starts[start:stop], self.stops[start:stop])

    def compact(self) -> Packed:
        """The same texts with nothing else in the buffer, in their order."""
        return compacted([self])[0]


def compacted(columns: Sequence[Packed]) -> list[Packed]:
    """Columns of as many texts each, with nothing else in their buffers, in their order; at least one."""
    offsets = np.zeros((len(columns), len(columns[0]) + 1), np.int64)
    for column, ends in zip(columns, offsets, strict=True):
        np.cumsum(column.stops - column.starts, out=ends[1:])
    if all(map(_lies, columns)):
        return [
            Packed.along(c.buffer[c.starts[0] : c.stops[-1]] if ends[-1] else c.buffer[:0], ends)
            for c, ends in zip(columns, offsets, strict=True)
        ]
    buffers = tuple(np.empty(int(ends[-1]), np.uint8) for ends in offsets)
    _gather(
        tuple(c.buffer for c in columns), tuple(c.starts for c in columns), tuple(c.stops for c in columns), offsets,
        buffers,
    )  # fmt: skip
    for buffer in buffers:
        buffer.setflags(write=False)  # as all packed text is: kernels are compiled for one kind of array
    return list(map(Packed.along, buffers, offsets))


def _lies(column: Packed) -> bool:
    """Whether its texts lie in its buffer one behind the other."""
    return bool((column.starts[1:] == column.stops[:-1]).all())


@kernel
def _last_numbers(buffer: U8, starts: I64, stops: I64, out: I64) -> None:
    for i in range(out.shape[0]):
        out[i] = -1
        p = stops[i] - 1
        while p >= starts[i] and not 48 <= buffer[p] <= 57:
            p -= 1
        scale, value, digits = 1, 0, 0
        while p >= starts[i] and 48 <= buffer[p] <= 57 and digits < DIGITS_MAX:
            value += scale * (int(buffer[p]) - 48)
            scale *= 10
            digits += 1
            p -= 1
        if digits > 0:
            out[i] = value


def last_numbers(column: Packed) -> I64:
    """The last digits in each text as a number, the least significant DIGITS_MAX of them; -1 where there are none.

    >>> last_numbers(Packed.of(["order-0042.pdf", "", "none", "a1b22"])).tolist()
    [42, -1, -1, 22]
    """
    out: I64 = np.full(len(column), -1, np.int64)
    if len(column.buffer):
        _last_numbers(column.buffer, column.starts, column.stops, out)
    return out


@dataclass(slots=True)
class PackedBlock:
    """n accepted events, in the order of the log; columns as in `EventBlock`.

    origin: uint16[n], the place in `origins` of where each event came from. trusted: int8[n], 0 where the event's own
    time was not believed and `time` is that of its arrival: it is scored and not learned from. text: Packed[n] for
    each of TEXTS.
    """

    origins: tuple[str, ...]
    origin: npt.NDArray[np.uint16]
    line: npt.NDArray[np.int64]
    time: npt.NDArray[np.int64]
    action: npt.NDArray[np.int8]
    account_kind: npt.NDArray[np.int8]
    outcome: npt.NDArray[np.int8]
    records: npt.NDArray[np.float64]
    bytes: npt.NDArray[np.float64]
    trusted: npt.NDArray[np.int8]
    text: dict[str, Packed] = field(repr=False)

    def __len__(self) -> int:
        return len(self.time)

    def hashes(self, names: Sequence[str], key: U64) -> U64:
        """The keyed hash of each text of some columns, 0 where it is empty: uint64[names, n]."""
        columns = [self.text[name] for name in names]
        out: U64 = np.empty((len(columns), len(self)), np.uint64)
        hash_texts(
            tuple(c.buffer for c in columns),
            tuple(c.starts for c in columns),
            tuple(c.stops for c in columns),
            key,
            out,
        )
        return out

    def take(self, index: I64) -> PackedBlock:
        """The events at `index` (int64[m]), in its order."""
        numbers: dict[str, Any] = {name: getattr(self, name)[index] for name, _ in NUMBERS}
        text = {name: column.take(index) for name, column in self.text.items()}
        return PackedBlock(self.origins, **numbers, text=text)

    def part(self, start: int, stop: int) -> PackedBlock:
        """The events from one place to another, in the memory of all."""
        numbers: dict[str, Any] = {name: getattr(self, name)[start:stop] for name, _ in NUMBERS}
        text = {name: column.part(start, stop) for name, column in self.text.items()}
        return PackedBlock(self.origins, **numbers, text=text)

    def compact(self) -> PackedBlock:
        """The same events with nothing but their texts in memory: what `part` gives of it is compact as well."""
        numbers: dict[str, Any] = {name: getattr(self, name) for name, _ in NUMBERS}
        text = dict(zip(self.text, compacted(list(self.text.values())), strict=True))
        return PackedBlock(self.origins, **numbers, text=text)

    def sizes(self) -> I64:
        """Bytes that each event takes on the wire: int64[n]."""
        texts = sum(column.stops - column.starts for column in self.text.values())
        return np.asarray(texts + EVENT_BYTES, np.int64)


def joined(parts: Sequence[PackedBlock]) -> PackedBlock:
    """Blocks one after the other; at least one."""
    if len(parts) == 1:
        return parts[0]
    origins = tuple(dict.fromkeys(name for part in parts for name in part.origins))
    numbers: dict[str, Any] = {name: np.concatenate([getattr(p, name) for p in parts]) for name, _ in NUMBERS}
    places = [np.array([origins.index(name) for name in part.origins], np.uint16)[part.origin] for part in parts]
    numbers["origin"] = np.concatenate(places)
    text = {}
    for name in parts[0].text:
        columns = [_dense(part.text[name]) for part in parts]
        buffer = np.concatenate([column.buffer for column in columns])
        buffer.setflags(write=False)
        before = np.cumsum([0, *(len(column.buffer) for column in columns)]).tolist()
        starts = np.concatenate([column.starts + at for column, at in zip(columns, before, strict=False)])
        stops = np.concatenate([column.stops + at for column, at in zip(columns, before, strict=False)])
        text[name] = Packed(buffer, starts, stops)
    return PackedBlock(origins, **numbers, text=text)


def _dense(column: Packed) -> Packed:
    """The column, compact where most of its buffer is not its own: less is not worth a look at each text."""
    used = int((column.stops - column.starts).sum())
    return column if len(column.buffer) <= 2 * used else column.compact()


def none(origin: str) -> PackedBlock:
    """A block of no events, which only says how far its origin is."""
    numbers: dict[str, Any] = {name: np.zeros(0, dtype) for name, dtype in NUMBERS}
    return PackedBlock((origin,), **numbers, text={name: Packed.of([]) for name in TEXTS})


def packed(block: EventBlock) -> PackedBlock:
    """A block of decoded events, packed, with the network of each; every time is trusted."""
    text = {name: Packed.of(block.text[name]) for name in TEXT_FIELDS}
    text["network"] = Packed.of(network_names(block.text["source_ip"], block.asn))
    return PackedBlock(
        (block.origin,), np.zeros(len(block), np.uint16), block.line, block.time, block.action, block.account_kind,
        block.outcome, block.records, block.bytes, np.ones(len(block), np.int8), text,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sent:
    """A block as it was sent, with the latest time that its origin has come to, and whether more was waiting there."""

    block: PackedBlock
    watermark_ms: int = 0
    more: bool = False

    @property
    def origin(self) -> str:
        """Who sent it: a block has one origin when it is sent, and may have several while it is held."""
        return unstamped(self.block.origins[0])[0] if self.block.origins else ""


Origins = Annotated[tuple[Annotated[str, msgspec.Meta(max_length=1024)], ...], msgspec.Meta(max_length=ORIGINS_MAX)]


class _Wire(msgspec.Struct, array_like=True, frozen=True):
    """version, origins, events, then raw columns by name; a text column that is empty throughout is left out."""

    version: int
    origins: Origins
    watermark_ms: Annotated[int, msgspec.Meta(ge=0, lt=TIME_MS_END)]
    more: bool
    events: Annotated[int, msgspec.Meta(ge=0, le=EVENTS_MAX)]
    numbers: dict[str, memoryview]
    lengths: dict[str, memoryview]  # uint16 of each text
    buffers: dict[str, memoryview]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Wire)


def encode(block: PackedBlock, watermark_ms: int = 0, more: bool = False) -> bytes:
    """The block as one message; ValueError beyond EVENTS_MAX events."""
    if len(block) > EVENTS_MAX:
        raise ValueError(f"{len(block)} events in one block, the limit is {EVENTS_MAX}")
    lengths, buffers = {}, {}
    for name, column in block.text.items():
        dense = column.compact()
        if len(dense.buffer):
            lengths[name] = (dense.stops - dense.starts).astype("<u2").data.cast("B")
            buffers[name] = np.ascontiguousarray(dense.buffer).data
    numbers = {name: np.ascontiguousarray(getattr(block, name), dtype).view(np.uint8).data for name, dtype in NUMBERS}
    return _encoder.encode(_Wire(VERSION, block.origins, watermark_ms, more, len(block), numbers, lengths, buffers))


def decode(message: bytes) -> Sent:
    """The block in a message, its text still lying in the message's memory; raises BadBlock."""
    try:
        wire = _decoder.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as why:
        raise BadBlock(f"not a block of observations: {why}") from None
    if wire.version != VERSION:
        raise BadBlock(f"wire version {wire.version}, this program reads {VERSION}; upgrade who detects first")
    numbers: dict[str, Any] = {name: _numbers(wire, name, np.dtype(dtype)) for name, dtype in NUMBERS}
    for name, count in _CODES.items():
        if wire.events and not (numbers[name].min() >= 0 and numbers[name].max() < count):
            raise BadBlock(f"{name}: a code that is none of 0 to {count - 1}")
    for name in ("records", "bytes"):
        if not ((numbers[name] >= 0) & (numbers[name] <= COUNT_MAX)).all():
            raise BadBlock(f"{name}: a count that is not between 0 and {COUNT_MAX}")
    if wire.events and not (numbers["time"].min() >= TIME_MS_MIN and numbers["time"].max() < TIME_MS_END):
        raise BadBlock("time: outside the years 2000 to 9999")
    if wire.events and numbers["origin"].max() >= len(wire.origins):
        raise BadBlock(f"origin: none of the {len(wire.origins)} that are named")
    text = {name: _text(wire, name) for name in TEXTS}
    return Sent(PackedBlock(wire.origins, **numbers, text=text), wire.watermark_ms, wire.more)


def _numbers(wire: _Wire, name: str, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    raw = wire.numbers.get(name)
    if raw is None or len(raw) != wire.events * dtype.itemsize:
        raise BadBlock(f"{name}: not {wire.events} values of {dtype.itemsize} bytes")
    return np.frombuffer(raw, dtype).astype(dtype.newbyteorder("="))  # aligned and writable, as kernels know arrays


def _text(wire: _Wire, name: str) -> Packed:
    if name not in wire.buffers and name not in wire.lengths:
        return Packed.along(np.frombuffer(b"", np.uint8), np.zeros(wire.events + 1, np.int64))
    lengths, buffer = wire.lengths.get(name, memoryview(b"")), wire.buffers.get(name, memoryview(b""))
    if len(lengths) != 2 * wire.events:
        raise BadBlock(f"{name}: not {wire.events} lengths")
    offsets = np.zeros(wire.events + 1, np.int64)
    np.cumsum(np.frombuffer(lengths, "<u2"), out=offsets[1:])
    if offsets[-1] != len(buffer):
        raise BadBlock(f"{name}: {len(buffer)} bytes of text, the lengths come to {offsets[-1]}")
    return Packed.along(np.frombuffer(buffer, np.uint8), offsets)
