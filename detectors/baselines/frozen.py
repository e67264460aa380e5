"""The days of an entity, and a reference that the present cannot drag.

Sums of three features over a day, y = ln(1 + sum). The reference r is the mean of the first 14 active days; then it
stands still for 28 active days at a time, and moves at the end of each to their mean, by at most ln 2:

    r <- r + clip(mean of the block - r, ln 2)

so r follows no faster than a doubling in 28 days, and not at all for up to 28. The variance is Welford's, of residuals
clipped at two deviates. What is under suspicion teaches a tenth.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from detectors.base import Array
from detectors.baselines.sequential import F64
from detectors.kernels import LN2, inline, kernel

FIRST_DAYS: Final = 14  # active days that make the reference
BLOCK_DAYS: Final = 28  # active days for which it then stands still
CLIP: Final = 2.0  # deviates that a day may teach the scatter
UNIT: Final = 1024.0  # of what is kept in 16 bits, for each nat
SUSPECT_WEIGHT: Final = 0.1
FIRED: Final = np.float32(-1.0)

DAILY: Final = np.dtype(
    [
        ("sum", np.float64, (3,)),  # of the day
        ("limit", np.float32, (3,)),  # that crosses at once; 0: none does, FIRED: it did
        ("var", np.float32, (3,)),
        ("ref", np.int16, (3,)), ("next", np.int16, (3,)),  # in 1/1024
        ("log", np.uint16, (3, 3)),  # S, in 1/1024
        ("level", np.uint8, (3,)), ("target", np.uint8, (3,)),
        ("days", np.uint8), ("block", np.uint8),  # active days, at most 250, and those of the current block
        ("klass", np.uint8), ("active", np.uint8), ("suspect", np.uint8), ("warm", np.uint8),
    ],
)  # fmt: skip


@kernel
def lift_of(klass: Array, counts: Array, x: Array, totals: Array, usual: Array, lift: Array) -> None:
    """Add each event to its class; lift[i] = how far the class is above a whole usual day by then, at least 1."""
    for i in range(klass.shape[0]):
        if counts[i]:
            k = klass[i]
            for f in range(3):
                totals[k, f] += x[i, f]
                lift[i, f] = max((1.0 + totals[k, f]) * math.exp(-usual[k, f]), 1.0)


@kernel
def add(
    states: tuple[Array, ...], touches: tuple[Array, ...], kinds: Array, ages_min_h: Array, klass: Array,
    counts: Array, x: Array, lift: Array, time: Array, mark: Any, marks: Array, out: Array,
) -> int:  # fmt: skip
    """Add each event to its entities' days, kind by kind; findings where the day alone is enough."""
    found = 0
    for j in range(len(states)):
        found = _add(
            states[j], touches[j], kinds[j], ages_min_h[j], klass, counts, x, lift, time, mark, marks, out, found
        )
    return found


@inline
def _add(
    state: Array, touch: Array, kind: int, age_min_h: float, klass: Array, counts: Array, x: Array, lift: Array,
    time: Array, mark: Any, marks: Array, out: Array, found: int,
) -> int:  # fmt: skip
    for i in range(touch.shape[0]):
        t = touch[i]
        slot = t["slot"]
        if slot <= 0 or not counts[i] or t["age_h"] < age_min_h:
            continue
        r = state[slot]
        if not r["active"]:
            r["active"] = 1
            if r["days"] == 0:
                r["klass"] = klass[i]
        if t["suspect"]:
            r["suspect"] = 1
        for f in range(3):
            r["sum"][f] += x[i, f]
            limit = r["limit"][f]
            if limit > 0.0 and r["sum"][f] > limit * lift[i, f]:
                r["limit"][f] = FIRED
                r["warm"] = 1
                level = np.float64(r["target"][f])
                o = out[found]
                o["event"] = i
                o["time"] = time[i]
                o["slot"] = slot
                o["kind"] = kind
                o["klass"] = r["klass"]
                o["horizon"] = 1
                o["feature"] = f
                o["bits"] = np.float32(level * level / (32.0 * LN2))
                o["observed"] = r["sum"][f]
                o["expected"] = math.exp(r["ref"][f] / UNIT) - 1.0
                found += 1
        if r["warm"]:
            marks[i] |= mark
    return found


def learn(rows: Array, f: int, sample: F64, ref: F64, e: F64, s: F64, n: F64, weight: F64) -> F64:
    """One day into reference, block and scatter of each row; the reference after it."""
    first, block = n < FIRST_DAYS, rows["block"].astype(np.float64)
    young = np.where(n > 0.0, ref + weight * e / (n + 1.0), sample)
    block_mean = np.where(block > 0.0, rows["next"][:, f] / UNIT, ref)
    block_mean = block_mean + weight * (sample - block_mean) / (block + 2.0)
    over = block == BLOCK_DAYS - 1
    after = np.where(first, young, np.where(over, ref + np.clip(block_mean - ref, -LN2, LN2), ref))
    w = weight / (np.minimum(n, BLOCK_DAYS - 1) + 1.0)
    var = (1.0 - w) * (rows["var"][:, f] + w * np.clip(e, -CLIP * s, CLIP * s) ** 2)
    rows["var"][:, f] = np.where(n > 0.0, var, 0.0)
    rows["next"][:, f] = np.clip(np.rint(block_mean * UNIT), -32_768, 32_767)
    rows["ref"][:, f] = np.clip(np.rint(after * UNIT), -32_768, 32_767)
    return after
