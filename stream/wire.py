"""A block of observations as a message, and back.

One msgpack array: what the block is of, its columns of numbers as raw little-endian bytes, the length of every text,
and the texts in one piece, event by event. `decode` checks every length and code before anything is believed, because
topics can be written by others; the texts stay in the memory of what was read, so that blocks of one fetch are joined
without a copy. Version 1 had its texts column by column, and is still read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from stream.blocks import NUMBERS, PackedBlock
from stream.checks import COUNT_MAX, TIME_MS_END, TIME_MS_MIN
from stream.events import ACCOUNT_KINDS, ACTIONS, OUTCOMES
from stream.origins import unstamped
from stream.rows import Rows
from stream.siphash import U8
from stream.texts import TEXTS, Columns, Packed

VERSION: Final = 2
EVENTS_MAX: Final = 1 << 17
ORIGINS_MAX: Final = 4_096
_ARRAY: Final = 0x98  # how a message begins: an array of eight, whose first is the version
_CODES: Final = {"action": len(ACTIONS), "account_kind": len(ACCOUNT_KINDS), "outcome": len(OUTCOMES), "trusted": 2}


class BadBlock(Exception):  # noqa: N818 - it is a verdict on a message
    """A message that is no block of observations, and why."""


class NewerBlock(BadBlock):
    """A message that a newer version of this program wrote: it is good, and not for us."""


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


class _Head(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What all versions begin with; numbers: raw columns by name."""

    version: int
    origins: Origins
    watermark_ms: Annotated[int, msgspec.Meta(ge=0, lt=TIME_MS_END)]
    more: bool
    events: Annotated[int, msgspec.Meta(ge=0, le=EVENTS_MAX)]
    numbers: dict[str, memoryview]


class _Wire(_Head, array_like=True, frozen=True, forbid_unknown_fields=True):
    """lengths: uint16[events, TEXTS]. text: the last of the message, so that its place in it is known."""

    lengths: memoryview
    text: memoryview


class _Wire1(_Head, array_like=True, frozen=True, forbid_unknown_fields=True):
    """lengths: uint16[events] of each column, and its buffer; a column that is empty throughout is left out."""

    lengths: dict[str, memoryview]
    buffers: dict[str, memoryview]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Wire)
_decoder1 = msgspec.msgpack.Decoder(_Wire1)


def encode(block: PackedBlock, watermark_ms: int = 0, more: bool = False) -> bytes:
    """The block as one message; ValueError beyond EVENTS_MAX events."""
    if len(block) > EVENTS_MAX:
        raise ValueError(f"{len(block)} events in one block, the limit is {EVENTS_MAX}")
    numbers = {name: np.ascontiguousarray(getattr(block, name), dtype).view(np.uint8).data for name, dtype in NUMBERS}
    text = Rows.of(block.text)
    lengths = np.ascontiguousarray(text.lengths, "<u2").reshape(-1).view(np.uint8).data
    return _encoder.encode(
        _Wire(VERSION, block.origins, watermark_ms, more, len(block), numbers, lengths, text.piece().data)
    )


def decode(message: bytes) -> Sent:
    """The block in a message, its texts still lying in the message's memory; raises BadBlock."""
    return decode_at(np.frombuffer(message, np.uint8), 0, len(message))


def decode_at(data: U8, start: int, stop: int) -> Sent:
    """The block in the message at data[start:stop], its texts still lying there; raises BadBlock."""
    message = data.data[start:stop]
    version = message[1] if len(message) > 1 and message[0] == _ARRAY else VERSION
    if version > VERSION:
        raise NewerBlock(f"wire version {version}, this program reads up to {VERSION}")
    try:
        wire = (_decoder1 if version == 1 else _decoder).decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as why:
        raise BadBlock(f"not a block of observations: {why}") from None
    numbers = _numbers(wire)
    text = _texts1(wire) if isinstance(wire, _Wire1) else _texts(wire, data, stop)
    return Sent(PackedBlock(wire.origins, **numbers, text=text), wire.watermark_ms, wire.more)


def _numbers(wire: _Head) -> dict[str, Any]:
    if wire.version not in (1, VERSION):
        raise BadBlock(f"wire version {wire.version}, this program reads 1 to {VERSION}")
    numbers: dict[str, Any] = {name: _column(wire, name, np.dtype(dtype)) for name, dtype in NUMBERS}
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
    return numbers


def _column(wire: _Head, name: str, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    raw = wire.numbers.get(name)
    if raw is None or len(raw) != wire.events * dtype.itemsize:
        raise BadBlock(f"{name}: not {wire.events} values of {dtype.itemsize} bytes")
    return np.frombuffer(raw, dtype).astype(dtype.newbyteorder("="))  # aligned and writable, as kernels know arrays


def _texts(wire: _Wire, data: U8, stop: int) -> Rows:
    if len(wire.lengths) != 2 * len(TEXTS) * wire.events:
        raise BadBlock(f"texts: not {wire.events} lengths of {len(TEXTS)} columns")
    lengths = np.frombuffer(wire.lengths, "<u2").astype(np.uint16).reshape(-1, len(TEXTS))  # aligned
    if (come := int(lengths.sum(dtype=np.int64))) != len(wire.text):
        raise BadBlock(f"texts: {len(wire.text)} bytes, the lengths come to {come}")
    return Rows.filling(data, stop - len(wire.text), lengths)


def _texts1(wire: _Wire1) -> Rows:
    return Rows.of(Columns.of({name: _text1(wire, name) for name in TEXTS}))


def _text1(wire: _Wire1, name: str) -> Packed:
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
