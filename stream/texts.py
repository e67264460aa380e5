"""Columns of text as they lie in memory: bytes, and where in them each text begins and ends.

What is read is not cut apart: a column is a pair of places for each text, and to choose or order events is to choose or
order places.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from detectors.kernels import kernel
from stream.events import TEXT_FIELDS
from stream.siphash import I64, U8, pack

TEXTS: Final = (*TEXT_FIELDS, "network")
DIGITS_MAX: Final = 18  # what an int64 holds
PLACE: Final = {name: place for place, name in enumerate(TEXTS)}


@kernel
def _copy(buffer: U8, starts: I64, offsets: I64, out: U8) -> None:
    for i in range(starts.shape[0]):
        p = starts[i]
        for at in range(offsets[i], offsets[i + 1]):
            out[at] = buffer[p]
            p += 1


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

    def compact(self) -> Packed:
        """The same texts with nothing else in the buffer, in their order."""
        offsets = np.zeros(len(self) + 1, np.int64)
        np.cumsum(self.stops - self.starts, out=offsets[1:])
        buffer = np.empty(offsets[-1], np.uint8)
        _copy(self.buffer, self.starts, offsets, buffer)
        buffer.setflags(write=False)  # as all packed text is: kernels are compiled for one kind of array
        return Packed.along(buffer, offsets)


class Texts(Mapping[str, Packed]):
    """A column of n texts for each name of TEXTS, wherever they lie."""

    __slots__ = ()

    def __iter__(self) -> Iterator[str]:
        return iter(TEXTS)

    def __len__(self) -> int:
        return len(TEXTS)

    @abstractmethod
    def take(self, index: I64) -> Self:
        """The texts of the events at `index`, where they lie."""

    @abstractmethod
    def part(self, start: int, stop: int) -> Self:
        """The texts of the events from one place to another."""

    @abstractmethod
    def columns(self) -> Columns:
        """The same texts, with a place for each."""


class Columns(Texts):
    """Texts as they are read and hashed: their buffers, mostly one and the same, and int64[columns, n] places."""

    __slots__ = ("buffers", "starts", "stops")

    def __init__(self, buffers: tuple[U8, ...], starts: I64, stops: I64) -> None:
        self.buffers, self.starts, self.stops = buffers, starts, stops

    @classmethod
    def of(cls, columns: Mapping[str, Packed]) -> Columns:
        """The columns, which have as many texts each."""
        chosen = [columns[name] for name in TEXTS]
        return cls(
            tuple(c.buffer for c in chosen), np.stack([c.starts for c in chosen]), np.stack([c.stops for c in chosen])
        )

    def __getitem__(self, name: str) -> Packed:
        place = PLACE[name]
        return Packed(self.buffers[place], self.starts[place], self.stops[place])

    def take(self, index: I64) -> Columns:
        """The texts of the events at `index`, where they lie."""
        return Columns(self.buffers, self.starts.take(index, axis=1), self.stops.take(index, axis=1))

    def part(self, start: int, stop: int) -> Columns:
        """The texts of the events from one place to another."""
        return Columns(self.buffers, self.starts[:, start:stop], self.stops[:, start:stop])

    def columns(self) -> Columns:
        """These."""
        return self


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
