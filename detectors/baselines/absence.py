"""How long an entity has been silent, how surprising that is, and what it reads when it is back.

The silence of an entity with d active days in a life of L days before it is measured by an exponential hazard, whose
rate is not known but has a gamma prior of a week at its class's pace of m active days a day. Such a gap is longer than
G days with the probability ((L + 7) / (L + 7 + G))^(d + 7 m), of which -log2 are the bits (Lomax, "Business failures",
Journal of the American Statistical Association 49, 1954; Cox and Oakes, "Analysis of Survival Data", 1984). So who was
seen on two days only is judged by its like.

A usual hour is the running mean of ln(1 + records), residuals clipped at three of the class's standard deviations.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from detectors.base import DAY_MS, HOUR_MS, Array
from detectors.baselines.places import difference
from detectors.baselines.share import SHARE_FIELDS
from detectors.kernels import LN2, inline

GAP_D: Final = 7.0  # the least gap that is looked at, and what the prior of a pace weighs
DORMANT_BITS: Final = 4.0
CLUMP: Final = 4.0  # wake-ups that nobody has seen: long absences come in clumps
NEW_BITS_MAX: Final = 8.0
PEOPLE_MOVE: Final = 0.25  # of wake-ups of people that are elsewhere, before any were seen
PRIOR_WAKES: Final = 8.0
READ_BITS_MAX: Final = 24.0
PRIOR_HOURS: Final = 3.0
SCATTER_MIN: Final = 0.25  # variance of an hour's logarithm
OWN_HOURS: Final = 50.0
CLASS_HOURS: Final = 100_000.0
UNIT: Final = 1024.0  # of what is kept in 16 bits

AWAKE_FIELDS: Final = (
    ("records", np.float32),  # of the current active hour
    ("base", np.uint16),  # raw bits of the wake-up itself, in 1/1024
    ("level", np.uint8), ("awake", np.uint8),  # hours for which it still counts as just woken up
)  # fmt: skip
KEY: Final = np.dtype([*AWAKE_FIELDS], align=True)
CROWD: Final = np.dtype(
    [
        *SHARE_FIELDS,
        ("arrivals", np.float32), ("woken", np.float32),  # decayed over an hour
        ("week", np.float32),  # arrivals, decayed over a week
        ("arrived", np.int64),  # ms, the latest
    ],
    align=True,
)  # fmt: skip
LIFE: Final = np.dtype(
    [
        ("here", np.uint32), ("before", np.uint32),  # its last two places: 16 bits of the network, 16 of the client
        ("seen", np.uint32),  # s, its latest success
        *AWAKE_FIELDS,
        ("usual", np.uint16),  # mean of ln(1 + records) of its active hours, in 1/1024
        ("days", np.uint16),  # active ones
    ],
    align=True,
)  # fmt: skip


@inline
def elsewhere(r: Array, place: Any) -> int:
    """What of a place is new to an account: NETWORK, CLIENT, both or 0."""
    return difference(r["here"], place) & difference(r["before"], place)


@inline
def gap_bits(days: float, life_d: float, gap_d: float, pace: float) -> float:
    """The surprise of a silence where the class has so many active days a day; 0 where it is none."""
    if gap_d < GAP_D:
        return 0.0
    bits: float = (days + GAP_D * pace) * math.log(1.0 + gap_d / (max(life_d, 0.0) + GAP_D)) / LN2
    return bits if bits >= DORMANT_BITS else 0.0


@inline
def pace_of(returns: Array) -> float:
    """Active days a day, of those of a class who come again; returns: days until they did, and how often."""
    pace: float = min(returns[1] / (returns[0] + 1.0), 1.0)
    return pace


@inline
def _alike(patterns: Array, pattern: int) -> float:
    """How many were new in at least this way."""
    count = 0.0
    for p in range(4):
        if p & pattern == pattern:
            count += patterns[p]
    return count


@inline
def woken(active: float, wakes: float, days: Array, moved: Array, pattern: int, machine: bool) -> float:
    """Raw bits of a wake-up: how rare they are in the class, and how rare its place is among them."""
    bits = max(math.log((active + 1.0) / (wakes + CLUMP)) / LN2, 0.0)
    if pattern == 0:
        return bits
    usual = (_alike(days, pattern) + 0.5) / (days[0] + days[1] + days[2] + days[3] + 1.0)
    if not machine:
        usual = max(usual, PEOPLE_MOVE)
    seen = moved[0] + moved[1] + moved[2] + moved[3]
    share = (_alike(moved, pattern) + PRIOR_WAKES * usual) / (seen + PRIOR_WAKES)
    return bits + min(-math.log(share) / LN2, NEW_BITS_MAX)


@inline
def read_bits(records: float, usual: float, hours: float, law: Array) -> float:
    """Bits of what is read in an hour, beyond one deviation above the account's usual hour."""
    n = min(hours, OWN_HOURS)
    expected = (n * usual + PRIOR_HOURS * law[1]) / (n + PRIOR_HOURS)
    over = math.log(1.0 + records) - expected - math.sqrt(max(law[2], SCATTER_MIN))
    bits: float = min(max(2.0 * over / LN2, 0.0), READ_BITS_MAX)
    return bits


@inline
def learn_hour(r: Array, hours: float, law: Array) -> None:
    """Close an active hour of an account: what it read, into its usual hour and into its class's law."""
    y = min(math.log(1.0 + float(r["records"])), 60.0)
    usual = float(r["usual"]) / UNIT
    n = min(hours, OWN_HOURS)
    bound = 3.0 * math.sqrt(max(law[2], SCATTER_MIN))
    e = y - usual if n <= 1.0 else min(max(y - usual, -bound), bound)
    r["usual"] = np.uint16((usual + e / max(n, 1.0)) * UNIT)
    law[0] = min(law[0] + 1.0, CLASS_HOURS)
    law[1] += (y - law[1]) / law[0]
    if n > 1.0:
        law[2] += (e * e - law[2]) / law[0]


@inline
def arrive(fleet: Array, now: int, hit: float) -> None:
    """Count an arrival anywhere: over an hour and over a week."""
    gap = np.float64(now) - fleet[2, 0]
    fleet[2, 0] = now
    for horizon in range(2):
        fade = math.exp(-gap / (HOUR_MS if horizon == 0 else 7.0 * DAY_MS))
        fleet[horizon, 0] = fleet[horizon, 0] * fade + 1.0
        fleet[horizon, 1] = fleet[horizon, 1] * fade + hit


@inline
def excuse(fleet: Array, r: Array, now: int, hit: float) -> float:
    """How far the share of wake-ups is above its usual everywhere but at place `r`, where this is one arrival more; -1
    where most of everybody arrives: there is no elsewhere."""
    gap = np.float64(now - r["arrived"]) if r["arrived"] > 0 else 0.0
    fade = math.exp(-gap / HOUR_MS)
    r["arrivals"] = np.float32(r["arrivals"] * fade + 1.0)
    r["woken"] = np.float32(r["woken"] * fade + hit)
    r["week"] = np.float32(r["week"] * math.exp(-gap / (7.0 * DAY_MS)) + 1.0)
    r["arrived"] = now
    if 2.0 * r["week"] > fleet[1, 0]:
        return -1.0
    usual = (fleet[1, 1] + 0.5) / (fleet[1, 0] + 1.0)
    present = max(fleet[0, 1] - r["woken"], 0.0) / max(fleet[0, 0] - r["arrivals"], 1.0)
    excess: float = min(max(present - usual, 0.0), 1.0)
    return excess
