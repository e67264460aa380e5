"""Which event ids came by lately, so that what is delivered twice counts once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from detectors.kernels import AHEAD, kernel, prefetch
from stream.siphash import I64, U8, U64


@kernel
def _seen_before(hashes: U64, tables: U64, used: I64, repeated: U8) -> None:
    half = tables.shape[1]
    mask = np.uint64(half - 1)
    for i in range(hashes.shape[0]):
        if i + AHEAD < hashes.shape[0]:
            prefetch(tables[0], hashes[i + AHEAD] & mask)
            prefetch(tables[1], hashes[i + AHEAD] & mask)
        h = hashes[i]
        repeated[i] = 0
        if h == np.uint64(0):
            continue
        p = h & mask
        while tables[0, p] != np.uint64(0) and tables[0, p] != h:
            p = (p + np.uint64(1)) & mask
        if tables[0, p] == h:
            repeated[i] = 1
            continue
        p = h & mask
        while tables[1, p] != np.uint64(0) and tables[1, p] != h:
            p = (p + np.uint64(1)) & mask
        if tables[1, p] == h:  # and goes on into the newer generation, as what is new does
            repeated[i] = 1
        if used[0] >= half // 2:
            for q in range(half):
                tables[1, q] = tables[0, q]
                tables[0, q] = np.uint64(0)
            used[0] = 0
        p = h & mask
        while tables[0, p] != np.uint64(0):
            p = (p + np.uint64(1)) & mask
        tables[0, p] = h
        used[0] += 1


class RecentIds:
    """Which event ids came by lately: two generations of hashes, exact over at least the last `capacity` ids.

    Memory: 32 bytes for each id of `capacity`, which is rounded up to a power of two. A repeat farther back than that
    is not seen as one.
    """

    def __init__(self, capacity: int = 131_072) -> None:
        self._tables = np.zeros((2, 2 << (capacity - 1).bit_length()), np.uint64)
        self._used = np.zeros(1, np.int64)

    def repeated(self, hashes: U64) -> npt.NDArray[np.bool_]:
        """True where the id was seen before, in this call or an earlier one; an absent id (0) never is."""
        out = np.empty(len(hashes), np.uint8)
        _seen_before(hashes, self._tables, self._used, out)
        return out.astype(np.bool_)

    def save(self) -> dict[str, npt.NDArray[np.generic]]:
        """The arrays to continue from."""
        return {"tables": self._tables, "used": self._used}

    def load(self, arrays: dict[str, npt.NDArray[np.generic]]) -> None:
        """Become what `save` described; ValueError where it did not: a generation without room would never be left."""
        tables = arrays["tables"]
        used = np.count_nonzero(tables, axis=-1)
        if tables.shape != self._tables.shape or used.max() > tables.shape[1] // 2 or arrays["used"] != used[:1]:
            raise ValueError("the ids that came by are of another form")
        self._tables[:] = tables
        self._used[:] = used[:1]
