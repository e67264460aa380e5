"""Records as they lie in what was read: one buffer and their places in it, so that nothing is cut out unread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, overload

import numpy as np
import numpy.typing as npt

from detectors.kernels import kernel, word
from stream.words import ONES, equal, lowest

I64 = npt.NDArray[np.int64]
NEWLINE: Final = 10
LINE_BYTES: Final = 32  # so short no line is, on the whole; else they are counted first
NEWLINES: Final = np.uint64(NEWLINE) * ONES


@kernel
def _newlines(data: npt.NDArray[np.uint8], places: I64) -> int:
    """How many newlines there are; places: of as many as it has room for."""
    size, p, found = np.uint64(data.shape[0]), np.uint64(0), 0
    while p < size:
        if p + np.uint64(8) <= size:
            marks = equal(word(data, p), NEWLINES)
            if marks == np.uint64(0):
                p += np.uint64(8)
                continue
            p += lowest(marks)
        if data[p] == NEWLINE:
            if found < places.shape[0]:
                places[found] = np.int64(p)
            found += 1
        p += np.uint64(1)
    return found


class Records(Sequence[bytes]):
    """n records: record i is data[starts[i]:stops[i]] (int64[n]), and a byte below 32 comes after each.

    That byte is what lets a compiled loop look for the end of a text without asking at each step whether it is there.
    """

    __slots__ = ("data", "starts", "stops")

    def __init__(self, data: bytes, starts: I64, stops: I64) -> None:
        self.data, self.starts, self.stops = data, starts, stops

    @classmethod
    def of(cls, records: Sequence[bytes]) -> Records:
        """The records, one after the other."""
        if isinstance(records, Records):
            return records
        ends = np.cumsum(np.fromiter(map(len, records), np.int64, len(records)) + 1)
        starts = np.zeros(len(records), np.int64)
        starts[1:] = ends[:-1]
        return cls(b"\n".join([*records, b""]), starts, ends - 1)

    @classmethod
    def joined(cls, parts: Sequence[Records]) -> Records:
        """Records one after the other, each buffer whole."""
        before = np.cumsum([0, *(len(part.data) for part in parts)]).tolist()
        starts = np.concatenate([part.starts + at for part, at in zip(parts, before, strict=False)])
        stops = np.concatenate([part.stops + at for part, at in zip(parts, before, strict=False)])
        return cls(b"".join([part.data for part in parts]), starts, stops)

    @classmethod
    def lines(cls, data: bytes) -> Records:
        """The lines of data, which ends with a newline; empty ones too.

        >>> list(Records.lines(b"one\\n\\ntwo\\n"))
        [b'one', b'', b'two']
        """
        stops: I64 = np.empty(len(data) // LINE_BYTES + 1, np.int64)
        found = _newlines(np.frombuffer(data, np.uint8), stops)
        if found > len(stops):
            stops = np.empty(found, np.int64)
            _newlines(np.frombuffer(data, np.uint8), stops)
        stops = stops[:found]
        starts = np.zeros(len(stops), np.int64)
        starts[1:] = stops[:-1] + 1
        return cls(data, starts, stops)

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> bytes | Records:
        if isinstance(index, slice):
            return Records(self.data, self.starts[index], self.stops[index])
        return self.data[self.starts[index] : self.stops[index]]

    def __iter__(self) -> Iterator[bytes]:
        data = self.data
        for start, stop in zip(self.starts.tolist(), self.stops.tolist(), strict=True):
            yield data[start:stop]

    def take(self, index: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Records:
        """The records at `index`, where they lie."""
        return Records(self.data, self.starts[index], self.stops[index])
