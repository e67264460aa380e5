"""Whose data was read, and when last: a table of fixed size that forgets the oldest.

A pair (reader, subject) is a 20-bit fingerprint in a bucket of four cells, beside the day on which it was last read,
modulo 4,096. A new pair takes the oldest cell of its bucket. Where that cell is younger than DAYS, the table is too
small for what it is shown: once as many as it has cells were lost so, it looks at half of all subjects from then on,
chosen by their hash, then at a quarter, and so on. Shares among subjects stay what they are.

Source: the aging of a set-associative cache; sampling by hash is Gibbons and Tirthapura, "Estimating simple functions
on the union of data streams" (2001). A pair that was never read is taken for known once in 250,000.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from detectors.base import Array
from detectors.kernels import inline

DAYS: Final = 28  # after which something is as good as never read
BUCKETS: Final = 1 << 16
WAYS: Final = 4
UNSEEN, TODAY, KNOWN, NEW = -1, 0, 1, 2  # what is known of a pair; UNSEEN: its subject is not looked at
_DAY_BITS: Final = 12
_DAY_MASK: Final = (1 << _DAY_BITS) - 1
_LOST_MAX: Final = BUCKETS * WAYS  # what is not looked at any more has to leave, too


def cells(tables: int) -> tuple[Array, Array]:
    """Empty tables: cells uint32[tables, BUCKETS, WAYS], 1 MiB each, and lost and halvings int64[tables, 2]."""
    return np.zeros((tables, BUCKETS, WAYS), np.uint32), np.zeros((tables, 2), np.int64)


@inline
def recall(table: Array, account: Array, reader: Any, subject: Any, day: int) -> int:
    """What is known of the pair: TODAY, KNOWN (within DAYS) or NEW; from now on it was read on this day."""
    mixed = subject * np.uint64(0x9E3779B97F4A7C15)
    if (mixed >> np.uint64(40)) & ((np.uint64(1) << np.uint64(account[1])) - np.uint64(1)) != np.uint64(0):
        return UNSEEN
    h = (mixed ^ reader) * np.uint64(0xC2B2AE3D27D4EB4F)
    h ^= h >> np.uint64(32)
    bucket = table[np.int64(h & np.uint64(BUCKETS - 1))]
    mark = np.int64((h >> np.uint64(44)) | np.uint64(1))
    today = day & _DAY_MASK
    oldest, age_max = 0, np.int64(-1)
    for w in range(WAYS):
        cell = np.int64(bucket[w])
        age: Any = (today - cell) & _DAY_MASK if cell != 0 else _DAY_MASK
        if cell >> _DAY_BITS == mark:
            bucket[w] = np.uint32((mark << _DAY_BITS) | today)
            if age == 0:
                return TODAY
            return KNOWN if age <= DAYS else NEW
        if age > age_max:
            oldest, age_max = w, age
    if age_max <= DAYS:
        account[0] += 1
        if account[0] > _LOST_MAX and account[1] < 16:
            account[0] = 0
            account[1] += 1
    bucket[oldest] = np.uint32((mark << _DAY_BITS) | today)
    return NEW
