"""Records of one partition as columns: what a consumer hands to a lane, and a lane to its stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np

from stream.records import I64, Records


class Record(NamedTuple):
    """One record: its offset, its append time (ms), and its value; one without a value has an empty one."""

    offset: int
    timestamp: int
    value: bytes


class Batch(Sequence[Record]):
    """n records in the order of their offsets: offsets and append times (int64[n]), and their values where they lie."""

    __slots__ = ("offsets", "timestamps", "values")

    def __init__(self, offsets: I64, timestamps: I64, values: Records) -> None:
        self.offsets, self.timestamps, self.values = offsets, timestamps, values

    @classmethod
    def of(cls, records: Iterable[Any]) -> Batch:
        """Records that have offset, timestamp and value, in columns; value: bytes or None."""
        if isinstance(records, Batch):
            return records
        rows = list(records)
        offsets, timestamps = np.array([(r.offset, r.timestamp) for r in rows], np.int64).reshape(-1, 2).T.copy()
        return cls(offsets, timestamps, Records.of([r.value or b"" for r in rows]))

    @classmethod
    def joined(cls, parts: Sequence[Batch]) -> Batch:
        """Batches one after the other; at least one."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.offsets for part in parts]), np.concatenate([part.timestamps for part in parts]),
            Records.joined([part.values for part in parts]),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Batch: ...
    def __getitem__(self, index: int | slice) -> Record | Batch:
        if isinstance(index, slice):
            return Batch(self.offsets[index], self.timestamps[index], self.values[index])
        return Record(int(self.offsets[index]), int(self.timestamps[index]), self.values[index])

    def __iter__(self) -> Iterator[Record]:
        return map(Record, self.offsets.tolist(), self.timestamps.tolist(), self.values)

    def take(self, index: I64) -> Batch:
        """The records at `index`, in its order."""
        return Batch(self.offsets[index], self.timestamps[index], self.values.take(index))

    def before(self, offset: int) -> int:
        """How many have a smaller offset."""
        return int(np.searchsorted(self.offsets, offset))
