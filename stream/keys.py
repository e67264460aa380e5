"""From hashes of names to slots: a bounded open-addressing index, and an arena for the names themselves.

All of it is flat arrays, so that ten million entities are saved and loaded as a handful of blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.kernels import AHEAD, kernel, prefetch
from stream.errors import TriplineError
from stream.siphash import I64, U8, U64, hash_column
from stream.texts import Packed

I32 = npt.NDArray[np.int32]
U16 = npt.NDArray[np.uint16]

ABSENT: Final = -1  # slot of an event that does not name this kind of entity
OVERFLOW: Final = 0  # slot that stands for every name that found no room
LOAD_MAX: Final = 0.7  # of the index, before it doubles


COUNT, FREE, LIMIT, OVERFLOWED, NEW = range(5)  # an index's tally: slots handed out, free, at most; the last call's


@kernel
def _resolve(
    hashes: U64, lookups: tuple[I32, ...], owners: tuple[U64, ...], frees: tuple[I32, ...], tallies: tuple[I64, ...],
    slots: I32, fresh: I64,
) -> None:  # fmt: skip
    for k in range(hashes.shape[0]):
        lookup, owner, tally = lookups[k], owners[k], tallies[k]
        mask = np.uint64(lookup.shape[0] - 1)
        tally[NEW] = 0
        n = hashes.shape[1]
        for i in range(n):
            if i + 2 * AHEAD < n:
                prefetch(lookup, hashes[k, i + 2 * AHEAD] & mask)
            if i + AHEAD < n:
                prefetch(owner, lookup[hashes[k, i + AHEAD] & mask])
            h = hashes[k, i]
            if h == np.uint64(0):
                slots[k, i] = ABSENT
                continue
            p = h & mask
            while lookup[p] != 0 and owner[lookup[p]] != h:
                p = (p + np.uint64(1)) & mask
            if lookup[p] != 0:
                slots[k, i] = lookup[p]
                continue
            if tally[FREE] > 0:
                tally[FREE] -= 1
                slot = frees[k][tally[FREE]]
            elif tally[COUNT] < tally[LIMIT]:
                slot = np.int32(tally[COUNT])
                tally[COUNT] += 1
            else:
                slots[k, i] = OVERFLOW
                tally[OVERFLOWED] += 1
                continue
            lookup[p] = slot
            owner[slot] = h
            slots[k, i] = slot
            fresh[k, tally[NEW]] = i
            tally[NEW] += 1


@kernel
def _rebuild(owner: U64, count: int, lookup: I32) -> None:
    mask = np.uint64(lookup.shape[0] - 1)
    for slot in range(1, count):
        h = owner[slot]
        if h == np.uint64(0):
            continue
        p = h & mask
        while lookup[p] != 0:
            p = (p + np.uint64(1)) & mask
        lookup[p] = np.int32(slot)


@kernel
def _copy_names(
    source: U8, starts: I64, stops: I64, slots: I32, arena: U8, used: int, name_start: I64, name_length: U16
) -> int:
    for i in range(slots.shape[0]):
        slot = slots[i]
        name_start[slot] = used
        name_length[slot] = np.uint16(stops[i] - starts[i])
        for p in range(starts[i], stops[i]):
            arena[used] = source[p]
            used += 1
    return used


class Index:
    """Names of one kind to slots 1..limit; slot 0 takes what finds no room.

    Memory: 18 bytes a slot and the name itself, 4 bytes for each place of the lookup, which is at most 70 % full.
    """

    def __init__(self, limit: int, key: U64) -> None:
        self._key = key
        self._tally: I64 = np.array([1, 0, limit + 1, 0, 0], np.int64)
        self.owner: U64 = np.zeros(16, np.uint64)
        self._lookup: I32 = np.zeros(32, np.int32)  # 0: a free place, since no name owns slot 0
        self._free: I32 = np.zeros(0, np.int32)
        self._name_start: I64 = np.zeros(16, np.int64)
        self._name_length: U16 = np.zeros(16, np.uint16)
        self._arena: U8 = np.zeros(1024, np.uint8)
        self._arena_used = 0

    def __len__(self) -> int:
        return self.count - 1 - int(self._tally[FREE])

    @property
    def count(self) -> int:
        """Slots handed out so far, the overflow slot included."""
        return int(self._tally[COUNT])

    @property
    def limit(self) -> int:
        """Slots that there may be, the overflow slot included."""
        return int(self._tally[LIMIT])

    @property
    def overflowed(self) -> int:
        """Events that found no room."""
        return int(self._tally[OVERFLOWED])

    @property
    def capacity(self) -> int:
        """Slots that arrays beside this index must have room for."""
        return len(self.owner)

    def _learn(self, new: I32, buffer: U8, starts: I64, stops: I64) -> None:
        """Keep the names of new slots."""
        room = self._arena_used + int((stops - starts).sum())
        if room > len(self._arena):
            self._arena = grown(self._arena, room)
        self._arena_used = _copy_names(
            buffer, starts, stops, new, self._arena, self._arena_used, self._name_start, self._name_length
        )

    def name(self, slot: int) -> str:
        """The name that owns a slot."""
        if slot == OVERFLOW:
            return "(overflow)"
        start = int(self._name_start[slot])
        return self._arena[start : start + int(self._name_length[slot])].tobytes().decode("utf-8", "replace")

    def slot(self, name: str) -> int:
        """The slot of a name, ABSENT when it has none."""
        h = hash_column([name], self._key)[0]
        mask = len(self._lookup) - 1
        p = int(h) & mask
        while self._lookup[p] and self.owner[self._lookup[p]] != h:
            p = (p + 1) & mask
        return int(self._lookup[p]) or ABSENT

    def release(self, slots: I32) -> None:
        """Forget the names of `slots`; each may be handed out again, to another name."""
        self.owner[slots] = 0
        self._free = np.concatenate([self._free[: self._tally[FREE]], slots[::-1].astype(np.int32)])
        self._tally[FREE] = len(self._free)
        kept = np.flatnonzero(self.owner[: self.count]).astype(np.int32)
        starts = self._name_start[kept]
        old, self._arena = self._arena, np.zeros_like(self._arena)
        self._arena_used = _copy_names(
            old, starts, starts + self._name_length[kept], kept, self._arena, 0, self._name_start, self._name_length
        )
        self._relookup(len(self._lookup))

    def save(self) -> dict[str, npt.NDArray[np.generic]]:
        """The arrays that this index is made of (the lookup is rebuilt on load)."""
        return {
            "owner": self.owner[: self.count], "free": self._free[: self._tally[FREE]],
            "name_start": self._name_start[: self.count], "name_length": self._name_length[: self.count],
            "arena": self._arena[: self._arena_used], "overflowed": np.array([self.overflowed], np.int64),
        }  # fmt: skip

    def load(self, arrays: dict[str, npt.NDArray[np.generic]]) -> None:
        """Become the index that `save` described, of arrays that nobody else uses from now on."""
        self.owner = taken(arrays["owner"], np.uint64)
        self._free = taken(arrays["free"], np.int32)
        self._name_start = taken(arrays["name_start"], np.int64)
        self._name_length = taken(arrays["name_length"], np.uint16)
        self._arena = taken(arrays["arena"], np.uint8)
        self._arena_used = len(self._arena)
        self._tally[COUNT], self._tally[FREE] = len(self.owner), len(self._free)
        self._tally[OVERFLOWED] = arrays["overflowed"][0]
        if not self._fits():
            raise TriplineError("the snapshot's index does not fit itself; start with a new state directory")
        size = 32
        while size * LOAD_MAX < self.count:
            size *= 2
        self._relookup(size)

    def row_bytes(self) -> float:
        """Bytes of one name when the index is full, without the name itself."""
        return 18.0 + 4.0 / LOAD_MAX

    def nbytes(self) -> int:
        """Bytes in use: room to grow is not memory before it is written to."""
        rows = sum(array.itemsize for array in (self.owner, self._name_start, self._name_length))
        return self.count * rows + self._lookup.nbytes + self._free.nbytes + self._arena_used

    def _fits(self) -> bool:
        """Whether no name and no free slot lies outside: what was loaded goes to compiled loops."""
        if not (len(self._name_start) == len(self._name_length) == self.count and 1 <= self.count <= self.limit):
            return False
        owned = self.owner != 0
        starts, lengths = self._name_start[owned], self._name_length[owned]
        inside = (starts >= 0) & (starts <= self._arena_used - lengths.astype(np.int64))
        return bool(inside.all() and ((self._free > 0) & (self._free < self.count)).all())

    def _reserve(self, new: int) -> None:
        wanted = min(self.count + new, self.limit)
        if wanted > len(self.owner):
            self.owner = grown(self.owner, wanted, self.limit)
            self._name_start = grown(self._name_start, len(self.owner))
            self._name_length = grown(self._name_length, len(self.owner))
        size = len(self._lookup)
        while size * LOAD_MAX < wanted:
            size *= 2
        if size != len(self._lookup):
            self._relookup(size)

    def _relookup(self, size: int) -> None:
        self._lookup = np.zeros(size, np.int32)
        _rebuild(self.owner, self.count, self._lookup)


def resolve(indexes: Sequence[Index], hashes: U64, names: Sequence[Packed], first: int = 0) -> I32:
    """The slot of each event in each index: int32[indexes, n], ABSENT where it names nothing, OVERFLOW when full.

    hashes: uint64[indexes, n]. names: for each index, those of these events from number `first` on.
    """
    n = hashes.shape[1]
    for index in indexes:
        index._reserve(n)
    slots, fresh = np.empty(hashes.shape, np.int32), np.empty(hashes.shape, np.int64)
    _resolve(
        hashes, tuple(i._lookup for i in indexes), tuple(i.owner for i in indexes), tuple(i._free for i in indexes),
        tuple(i._tally for i in indexes), slots, fresh,
    )  # fmt: skip
    for k, index in enumerate(indexes):
        if count := index._tally[NEW]:
            new = fresh[k, :count]
            text, at = names[k], new + first
            index._learn(slots[k, new], text.buffer, text.starts[at], text.stops[at])
    return slots


def taken(array: npt.NDArray[np.generic], dtype: npt.DTypeLike) -> Any:
    """An array that its giver uses no more, as one of this dtype: it is copied only where it has to be."""
    usable = array.dtype == dtype and array.flags.carray
    return array.view(dtype) if usable else array.astype(dtype)


def grown(array: npt.NDArray[np.generic], wanted: int, limit: int | None = None) -> Any:
    """`array` with room for `wanted` rows and as many more, the new ones zero, but for no more than `limit`.

    Room that was never written to is the kernel's promise and not yet memory.
    """
    size = 2 * max(wanted, 16)
    out = np.zeros(size if limit is None else max(wanted, min(size, limit)), array.dtype)
    out[: len(array)] = array
    return out
