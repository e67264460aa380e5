"""The days on which an account exports: what left, how new that is to it and to everybody, and how surprising.

What a day's sum is expected to be is told by `detectors.baselines.buckets`, of the days of export alone. What an
account exported on an earlier day is known to it (15 bits of the name's hash, the last eight), and a resource is new to
everybody on the day on which it is first exported. Formulas are in `detectors.catalog.exports`.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from detectors.base import DAILY, DAY_MS, Array
from detectors.baselines.buckets import PEOPLE_MIN, close_bucket, expect, half, level_dtype
from detectors.kernels import LN2, inline, student_tail_bits

AMOUNTS: Final = 2  # records, bytes
NOVELTY: Final = 3  # exported before by the account, by others alone, by nobody
EXPORTERS: Final = 16_384  # rows; the first stands for nobody
KNOWN: Final = 8  # resources that an account exported on earlier days
TODAY: Final = 4
DOF_MAX: Final = 24.0  # of a class: its logarithms are not so normal
DAYS_MAX: Final = 1_000.0  # of a class, before old ones fade
SEASON: Final = 0.0  # days of export are too few to have one

EXPORTER: Final = np.dtype(
    [
        ("slot", np.int32),
        ("day", np.uint32),  # of the sums, since 1970
        ("sum", np.float32, (NOVELTY, AMOUNTS)),  # of what is at least so new
        ("known", np.uint16, (KNOWN,)), ("today", np.uint16, (TODAY,)),  # names of resources, as hashes
        ("new", np.uint8), ("seen", np.uint8),  # the newest of the day; the level that was counted
        *((name, level_dtype(AMOUNTS)[name]) for name in level_dtype(AMOUNTS).names or () if name != "sum"),
    ],
    align=True,
)  # fmt: skip
PLACE: Final = np.dtype([("exporter", np.uint16)], align=True)
# Of a resource: when it was first exported, and by whom.
FIRST: Final = np.dtype([("day", np.uint32), ("by", np.int32)], align=True)


@inline
def row_of(places: Array, rows: Array, count: Array, slot: int) -> Any:
    """The row of an account, a new one where it has none; 0 where there is no room."""
    p = np.int64(places[slot]["exporter"])
    if p > 0 and rows[p]["slot"] == slot:
        return p
    if count[0] + 1 >= rows.shape[0]:
        count[1] += 1
        return 0
    count[0] += 1
    p = count[0]
    rows[p]["slot"] = slot
    places[slot]["exporter"] = p
    return p


@inline
def close_day(r: Any, now: int, young: bool, weight: float, pop: Array) -> None:
    """Learn the day that is over."""
    days = max(np.float64(now // DAY_MS) - r["day"], 1.0)
    for f in range(AMOUNTS):
        if r["sum"][0, f] > 0.0:
            r["peak"][DAILY, f] = half(r["sum"][0, f])
            close_bucket(r, DAILY, f, days, young, SEASON, weight, pop[DAILY, f])
        for c in range(NOVELTY):
            r["sum"][c, f] = 0.0
    for t in range(TODAY - 1, -1, -1):
        if r["today"][t] != 0:
            for p in range(KNOWN - 1, 0, -1):
                r["known"][p] = r["known"][p - 1]
            r["known"][0] = r["today"][t]
            r["today"][t] = 0
    r["new"], r["seen"] = 0, 0


@inline
def novelty(r: Array, resources: Array, at: int, slot: int, day: int, name: Any) -> int:
    """How new an export of this resource is to the account, which remembers it from the next day on."""
    if at < 0:
        return 0
    for p in range(KNOWN):
        if r["known"][p] == name:
            for m in range(p, 0, -1):
                r["known"][m] = r["known"][m - 1]
            r["known"][0] = name
            return 0
    new = True
    for t in range(TODAY):
        new = new and r["today"][t] != name
    if new:
        for t in range(TODAY - 1, 0, -1):
            r["today"][t] = r["today"][t - 1]
        r["today"][0] = name
    if at == 0:  # found no room: whether others exported it nobody knows
        return 1
    q = resources[at]
    if q["day"] == 0:
        q["day"], q["by"] = day, slot
    return 2 if q["day"] == day and q["by"] == slot else 1


@inline
def count_day(days: Array, new: int, pop: Array) -> None:
    """One day more on which something so new was exported; at first everything is, and that says nothing."""
    if max(pop[DAILY, 0, 0], pop[DAILY, 1, 0]) < PEOPLE_MIN:
        return
    if new == 0 and days[0] >= DAYS_MAX:
        for c in range(NOVELTY):
            days[c] *= 0.5
    days[new] += 1.0


@inline
def score(r: Array, f: int, c: int, pop: Array, days: Array) -> tuple[float, float]:
    """Raw bits of the day's sum of what is at least so new, and the sum that is expected."""
    expected, spread, _, _, dof = expect(r, DAILY, f, SEASON, pop[DAILY, f])
    known = pop[DAILY, f, 0]
    t = (math.log(1.0 + r["sum"][c, f]) - expected) / spread
    if known < PEOPLE_MIN or t < 1.5:
        return 0.0, 0.0
    bits = student_tail_bits(t, max(dof, min(0.5 * known, DOF_MAX)))
    if c > 0:
        bits += max(math.log((days[0] + 1.0) / (days[c] + 0.5)) / LN2, 0.0)
        bits -= math.log(1.0 + LN2 * bits) / LN2
    return bits, math.exp(expected) - 1.0
