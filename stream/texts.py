"""Columns of text as they lie in memory: bytes, and where in them each text begins and ends.

What is read is not cut apart: a column is a pair of places for each text, and to choose, order or join events is to
choose, order or join places. Only what is sent is copied, event by event, so that a part of it is one piece as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np

from detectors.kernels import kernel
from stream.events import TEXT_FIELDS
from stream.siphash import I64, U8, pack

TEXTS: Final = (*TEXT_FIELDS, "network")
DIGITS_MAX: Final = 18  # what an int64 holds
_PLACE: Final = {name: place for place, name in enumerate(TEXTS)}


@kernel
def _gather(
    buffers: tuple[U8, ...], starts: tuple[I64, ...], stops: tuple[I64, ...], out: U8, at_starts: I64, at_stops: I64
) -> None:
    """out = the texts of the first event, column by column, those of the second, ...; at_*[c, i]: where they lie then.

    Event by event: where the columns lie in one log, its memory is fetched once and not for each of them.
    """
    at = 0
    for i in range(at_starts.shape[1]):
        for c in range(at_starts.shape[0]):
            source = buffers[c]
            p, stop = starts[c][i], stops[c][i]
            at_starts[c, i] = at
            while p + 8 <= stop:  # each of these two loops is one instruction when compiled
                word = np.uint64(0)
                for j in range(8):
                    word |= np.uint64(source[p + j]) << np.uint64(8 * j)
                for j in range(8):
                    out[at + j] = np.uint8(word >> np.uint64(8 * j))
                p += 8
                at += 8
            while p < stop:
                out[at] = source[p]
                p += 1
                at += 1
            at_stops[c, i] = at


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
        buffer, starts, stops = _gathered((self.buffer,), (self.starts,), (self.stops,))
        return Packed(buffer, starts[0], stops[0])


class Texts(Mapping[str, Packed]):
    """A column of n texts for each name of TEXTS: their buffers, mostly one and the same, and int64[columns, n] places.

    in_piece: the texts fill one buffer without a gap from the first to the last, event by event.
    """

    __slots__ = ("buffers", "in_piece", "starts", "stops")

    def __init__(self, buffers: tuple[U8, ...], starts: I64, stops: I64, in_piece: bool = False) -> None:
        self.buffers, self.starts, self.stops, self.in_piece = buffers, starts, stops, in_piece

    @classmethod
    def of(cls, columns: Mapping[str, Packed]) -> Texts:
        """The columns, which have as many texts each."""
        chosen = [columns[name] for name in TEXTS]
        return cls(
            tuple(c.buffer for c in chosen), np.stack([c.starts for c in chosen]), np.stack([c.stops for c in chosen])
        )

    @classmethod
    def filling(cls, buffer: U8, start: int, lengths: I64) -> Texts:
        """Texts that lie in a buffer from `start` on, event by event; lengths: of any integers, [n, columns]."""
        ends = np.cumsum(lengths, dtype=np.int64).reshape(lengths.shape) + start
        return cls((buffer,) * len(TEXTS), (ends - lengths).T.copy(), ends.T.copy(), in_piece=True)

    def __getitem__(self, name: str) -> Packed:
        place = _PLACE[name]
        return Packed(self.buffers[place], self.starts[place], self.stops[place])

    def __iter__(self) -> Iterator[str]:
        return iter(TEXTS)

    def __len__(self) -> int:
        return len(TEXTS)

    def take(self, index: I64) -> Texts:
        """The texts of the events at `index`, where they lie."""
        return Texts(self.buffers, self.starts.take(index, axis=1), self.stops.take(index, axis=1))

    def part(self, start: int, stop: int) -> Texts:
        """The texts of the events from one place to another."""
        return Texts(self.buffers, self.starts[:, start:stop], self.stops[:, start:stop], self.in_piece)

    def compact(self) -> Texts:
        """The same texts in one piece."""
        if self.in_piece:
            return self
        buffer, starts, stops = _gathered(self.buffers, tuple(self.starts), tuple(self.stops))
        return Texts((buffer,) * len(TEXTS), starts, stops, in_piece=True)

    def own(self) -> Texts:
        """The same texts in one piece, and nothing else in its buffer."""
        piece = self.compact()
        buffer = piece.piece()
        if len(buffer) == len(piece.buffers[0]):
            return piece
        buffer = buffer.copy()
        buffer.setflags(write=False)
        shift = piece.starts[0, 0] if piece.starts.size else 0
        return Texts((buffer,) * len(TEXTS), piece.starts - shift, piece.stops - shift, in_piece=True)

    def piece(self) -> U8:
        """The bytes of all texts, of texts that are in one piece."""
        if not self.starts.size:
            return self.buffers[0][:0]
        return self.buffers[0][self.starts[0, 0] : self.stops[-1, -1]]

    def lengths(self) -> I64:
        """Bytes of each text: int64[columns, n]."""
        return self.stops - self.starts

    def kept(self) -> dict[int, int]:
        """The bytes of each buffer that is kept in memory, by what it is."""
        return {id(buffer): len(buffer) for buffer in self.buffers}

    @classmethod
    def joined(cls, parts: Sequence[Texts]) -> Texts:
        """The texts of several, one after the other; at least one. Nothing is copied where they share their buffers."""
        if any(a is not b for part in parts[1:] for a, b in zip(part.buffers, parts[0].buffers, strict=True)):
            parts = _on_one_buffer(parts)
        starts = np.concatenate([part.starts for part in parts], axis=1)
        return cls(parts[0].buffers, starts, np.concatenate([part.stops for part in parts], axis=1))


def _on_one_buffer(parts: Sequence[Texts]) -> list[Texts]:
    """The parts with places in a buffer that holds those of all, and little else."""
    parts = [part if len(part.kept()) == 1 else part.compact() for part in parts]
    used = Counter[int]()
    for part in parts:
        used[id(part.buffers[0])] += int(part.lengths().sum())
    parts = [part if len(part.buffers[0]) <= 2 * used[id(part.buffers[0])] else part.own() for part in parts]
    held = {id(part.buffers[0]): part.buffers[0] for part in parts}
    at = dict(zip(held, accumulate(map(len, held.values()), initial=0), strict=False))
    buffer = np.concatenate(list(held.values()))
    buffer.setflags(write=False)
    shifts = [at[id(part.buffers[0])] for part in parts]
    return [
        Texts((buffer,) * len(TEXTS), part.starts + shift, part.stops + shift)
        for part, shift in zip(parts, shifts, strict=True)
    ]


def _gathered(buffers: tuple[U8, ...], starts: tuple[I64, ...], stops: tuple[I64, ...]) -> tuple[U8, I64, I64]:
    size = sum(int((stop - start).sum()) for start, stop in zip(starts, stops, strict=True))
    buffer = np.empty(size, np.uint8)
    at_starts, at_stops = np.empty((2, len(starts), len(starts[0])), np.int64)
    _gather(buffers, starts, stops, buffer, at_starts, at_stops)
    buffer.setflags(write=False)  # as all packed text is: kernels are compiled for one kind of array
    return buffer, at_starts, at_stops


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
