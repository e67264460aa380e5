"""The texts of events as they are sent: event by event, those of one without a gap, in the order of TEXTS.

To choose, order or join events is to move their beginnings and lengths, 36 bytes of each; a pair of places for every
text is six times as much, and is made once, for those who score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.kernels import kernel, word
from stream.siphash import I64, U8
from stream.texts import PLACE, TEXTS, Columns, Packed, Texts
from stream.words import BYTES

U16 = npt.NDArray[np.uint16]
LENGTH_MAX: Final = 0xFFFF  # bytes of a text
TOGETHER: Final = 64  # events whose places are laid out column by column before the next


@kernel
def _measure(starts: I64, stops: I64, order: I64, lengths: U16, begins: I64) -> int:
    """lengths[i, c] = bytes of text c of event order[i]; begins[i]: where its first lies when all are in one piece.

    The bytes of all, or -1 where a text is longer than LENGTH_MAX.
    """
    at = np.int64(0)
    for i in range(order.shape[0]):
        begins[i] = at
        for c in range(starts.shape[0]):
            length = stops[c, order[i]] - starts[c, order[i]]
            if length > LENGTH_MAX:
                return -1
            lengths[i, c] = length
            at += length
    return int(at)


@kernel
def _gather(buffers: tuple[U8, ...], starts: I64, order: I64, lengths: U16, begins: I64, out: U8) -> None:
    """out[begins[i]:] = the texts of event order[i]; behind the last, out has room for BYTES more, which mean nothing.

    Eight bytes at a time, beyond the end of a text too: what comes next is written over it.
    """
    for i in range(order.shape[0]):
        at = np.uint64(begins[i])
        for c in range(starts.shape[0]):
            source, p, length = buffers[c], np.uint64(starts[c, order[i]]), np.uint64(lengths[i, c])
            done, size = np.uint64(0), np.uint64(source.shape[0])
            while done < length and p + done + np.uint64(8) <= size:
                eight = word(source, p + done)
                for j in range(8):  # one instruction when compiled
                    out[at + done + np.uint64(j)] = np.uint8(eight >> np.uint64(8 * j))
                done += np.uint64(8)
            while done < length:
                out[at + done] = source[p + done]
                done += np.uint64(1)
            at += length


@kernel
def _regather(source: U8, starts: I64, begins: I64, ends: I64, out: U8) -> None:
    """out[begins[i]:ends[i]] = the bytes of event i, which lie in one piece each; room behind as in `_gather`."""
    size = np.uint64(source.shape[0])
    for i in range(starts.shape[0]):
        p, at, length = np.uint64(starts[i]), np.uint64(begins[i]), np.uint64(ends[i] - begins[i])
        done = np.uint64(0)
        while done < length and p + done + np.uint64(8) <= size:
            eight = word(source, p + done)
            for j in range(8):
                out[at + done + np.uint64(j)] = np.uint8(eight >> np.uint64(8 * j))
            done += np.uint64(8)
        while done < length:
            out[at + done] = source[p + done]
            done += np.uint64(1)


@kernel
def _ends(lengths: U16, first: int, ends: I64) -> None:
    """ends[i]: where event i ends when the first begins at `first` and there are no gaps."""
    at = np.int64(first)
    for i in range(lengths.shape[0]):
        for c in range(lengths.shape[1]):
            at += np.int64(lengths[i, c])
        ends[i] = at


@kernel
def _lay_out(begins: I64, lengths: U16, starts: I64, stops: I64) -> None:
    """starts[c, i], stops[c, i]: where text c of event i lies."""
    for first in range(0, begins.shape[0], TOGETHER):
        last = min(first + TOGETHER, begins.shape[0])
        for i in range(first, last):
            starts[0, i] = begins[i]
            stops[0, i] = begins[i] + np.int64(lengths[i, 0])
        for c in range(1, starts.shape[0]):
            for i in range(first, last):
                starts[c, i] = stops[c - 1, i]
                stops[c, i] = starts[c, i] + np.int64(lengths[i, c])


class Rows(Texts):
    """Those of event i lie in `buffer` from begins[i] on (int64[n]); lengths: uint16[n, TEXTS]."""

    __slots__ = ("begins", "buffer", "lengths")

    def __init__(self, buffer: U8, begins: I64, lengths: U16) -> None:
        self.buffer, self.begins, self.lengths = buffer, begins, lengths

    @classmethod
    def of(cls, texts: Texts, order: I64 | None = None) -> Rows:
        """The texts of the events at `order`, of all by default; copied into one piece where they are no rows yet.

        Raises ValueError where a text is longer than LENGTH_MAX.
        """
        if isinstance(texts, Rows):
            return texts if order is None else texts.take(order)
        columns = texts.columns()
        if order is None:
            order = np.arange(columns.starts.shape[1])
        lengths, begins = np.empty((len(order), len(TEXTS)), np.uint16), np.empty(len(order), np.int64)
        size = _measure(columns.starts, columns.stops, order, lengths, begins)
        if size < 0:
            raise ValueError(f"a text of more than {LENGTH_MAX} bytes in a block of events")
        buffer = np.empty(size + BYTES, np.uint8)
        _gather(columns.buffers, columns.starts, order, lengths, begins, buffer)
        return cls(_read_only(buffer[:size]), begins, lengths)

    @classmethod
    def filling(cls, buffer: U8, start: int, lengths: U16) -> Rows:
        """Texts that lie in a buffer from `start` on, one event's behind the other's."""
        begins = np.empty(len(lengths) + 1, np.int64)
        begins[0] = start
        _ends(lengths, start, begins[1:])
        return cls(buffer, begins[:-1], lengths)

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """The texts of several, one after the other; at least one. They stay where they lie, if that is one memory."""
        if any(part.buffer is not parts[0].buffer for part in parts):
            parts = _on_one_buffer(parts)
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(parts[0].buffer, np.concatenate([part.begins for part in parts]), lengths)

    def __getitem__(self, name: str) -> Packed:
        starts = self.begins + self.lengths[:, : PLACE[name]].sum(1, np.int64)
        return Packed(self.buffer, starts, starts + self.lengths[:, PLACE[name]])

    def take(self, index: I64) -> Rows:
        """The texts of the events at `index`, where they lie."""
        return Rows(self.buffer, self.begins.take(index), self.lengths.take(index, axis=0))

    def part(self, start: int, stop: int) -> Rows:
        """The texts of the events from one place to another."""
        return Rows(self.buffer, self.begins[start:stop], self.lengths[start:stop])

    def columns(self) -> Columns:
        """The same texts, with a place for each."""
        starts, stops = np.empty((2, len(TEXTS), len(self.begins)), np.int64)
        _lay_out(self.begins, self.lengths, starts, stops)
        return Columns((self.buffer,) * len(TEXTS), starts, stops)

    def sizes(self) -> I64:
        """Bytes of each event: int64[n]."""
        ends = self._ends(0)
        ends[1:] -= ends[:-1].copy()
        return ends

    def piece(self) -> U8:
        """The bytes of all, one event's behind the other's: a view of the buffer where they lie so."""
        if not len(self.begins):
            return self.buffer[:0]
        ends = self._ends(int(self.begins[0]))
        if (self.begins[1:] == ends[:-1]).all():
            return self.buffer[self.begins[0] : ends[-1]]
        return self.own().buffer

    def own(self) -> Rows:
        """The same texts in their order in a buffer with nothing else; themselves where it is so."""
        ends = self._ends(0)
        size = int(ends[-1]) if len(ends) else 0
        begins = np.zeros(len(ends), np.int64)
        begins[1:] = ends[:-1]
        if size == len(self.buffer) and (begins == self.begins).all():
            return self
        buffer = np.empty(size + BYTES, np.uint8)
        _regather(self.buffer, self.begins, begins, ends, buffer)
        return Rows(_read_only(buffer[:size]), begins, self.lengths)

    def _ends(self, first: int) -> I64:
        ends: I64 = np.empty(len(self.begins), np.int64)
        _ends(self.lengths, first, ends)
        return ends


def _on_one_buffer(parts: Sequence[Rows]) -> list[Rows]:
    """The parts in a buffer that holds those of all, and little else."""
    used = Counter[int]()
    for part in parts:
        used[id(part.buffer)] += int(part.lengths.sum(dtype=np.int64))
    parts = [part if len(part.buffer) <= 2 * used[id(part.buffer)] else part.own() for part in parts]
    held = {id(part.buffer): part.buffer for part in parts}
    at = dict(zip(held, accumulate(map(len, held.values()), initial=0), strict=False))
    buffer = _read_only(np.concatenate(list(held.values())))
    return [Rows(buffer, part.begins + at[id(part.buffer)], part.lengths) for part in parts]


def _read_only(buffer: U8) -> U8:
    """As all packed text is: kernels are compiled for one kind of array."""
    buffer.setflags(write=False)
    return buffer
