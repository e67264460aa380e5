"""How large a share of an entity's trials are hits, within a day and over a run of days.

An entity keeps decayed counts of trials n and hits k (time constant 1 d), those of the current day n_d and k_d, long
sums for its usual share q, and S, evidence in nats that its odds are ODDS times the usual ones:

    raw bits = max(n KL(k / n || q') / (1 + n / STEADY), S) / ln 2
    S <- max(0, S + min((k_d ln h + (n_d - k_d) ln(h / ODDS)) / (1 + n_d / STEADY), GAIN_MAX)),
    h = ODDS / (1 + (ODDS - 1) q'),   q' = max(q + its standard error, its peers' share now)

A finished day adds no more hits to the long sums than its share and one deviation allow; while the entity is young, all
of them. What is counted for calibration is when a level is reached and not how long it lasts.
Source: Chernoff's bound; Kish, "Survey Sampling" (1965), for trials that are correlated; Page, "Continuous inspection
schemes" (1954), for the run.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from detectors.base import Array
from detectors.baselines.calibration import LEVELS
from detectors.baselines.share import TRIALS_MIN
from detectors.kernels import LN2, inline, level_of, share_bits

DAY_S: Final = 86_400
SLOW_S: Final = 7.0 * DAY_S, 28.0 * DAY_S  # while memory fills, and then
PRIOR_TRIALS: Final = 3.0  # of its class: more would be a bias that a run adds up
SHARE_LEAST: Final = 0.01
STEADY: Final = 200.0  # trials beyond which a share says no more: it drifts by itself
ODDS: Final = 3.0
GAIN_MAX: Final = 3.0  # nats that a day adds to a run: one odd day is none
PEERS_TRIALS: Final = 10.0  # by which the share of the others is shrunk
HITS_MIN: Final = 4.5  # decayed: fewer than five are not worth a word
POPULATION_TRIALS: Final = 100_000.0
VOICE: Final = 50.0  # trials a day with which one speaks for its class


def daily_share(features: int) -> np.dtype[Any]:
    """Of an entity: 33 bytes a feature."""
    shape = (features,)
    return np.dtype(
        [
            ("seen", np.uint32, shape),  # s, its latest trial
            ("trials", np.float32, shape), ("hits", np.float32, shape),  # decayed over a day
            ("day_trials", np.float32, shape), ("day_hits", np.float32, shape),  # of the current day
            ("long_trials", np.float32, shape), ("long_hits", np.float32, shape),  # decayed over weeks
            ("run", np.float32, shape),  # nats, of the finished days
            ("level", np.uint8, shape),
        ]
    )  # fmt: skip


@inline
def count(peers: Array, now: int, hit: int, crowd: Array) -> None:
    """Add a trial to what peers show; peers: float64[3], when (s), decayed trials and hits; crowd: the two with it."""
    fade = math.exp(-max(np.float64(now) - peers[0], 0.0) / DAY_S)
    peers[0] = np.float64(now)
    peers[1] = peers[1] * fade + 1.0
    peers[2] = peers[2] * fade + hit
    crowd[0], crowd[1] = peers[1], peers[2]


@inline
def usual(r: Array, f: int, pop: Array) -> float:
    """The share of hits that is usual of the entity, of its own and of its class."""
    base = (pop[1] + 0.5) / (pop[0] + 1.0)
    own: float = (r["long_hits"][f] + PRIOR_TRIALS * base) / (r["long_trials"][f] + PRIOR_TRIALS)
    return max(own, SHARE_LEAST)


@inline
def _expected(r: Array, f: int, pop: Array, crowd: Array, shared: bool) -> float:
    """The same with its standard error, or what its peers show now. crowd: their decayed trials and hits, its own
    included; who is most of them, and shared by many, has no others to be told from."""
    own = usual(r, f, pop)
    n, k = crowd[0], crowd[1]
    if not shared or 2.0 * r["trials"][f] < n:
        n = max(n - np.float64(r["trials"][f]), 0.0)
        k = max(k - np.float64(r["hits"][f]), 0.0)
    own += math.sqrt(own * (1.0 - own) / (r["long_trials"][f] + PRIOR_TRIALS))
    share: float = min(max(own, (k + PEERS_TRIALS * own) / (n + PEERS_TRIALS)), 1.0)
    return share


@inline
def _run(r: Array, f: int, expected: float) -> float:
    """Nats of the finished days and of this one, which tells no more than GAIN_MAX."""
    n, k = np.float64(r["day_trials"][f]), np.float64(r["day_hits"][f])
    hit = math.log(ODDS / (1.0 + (ODDS - 1.0) * expected))
    gain = (k * hit + (n - k) * (hit - math.log(ODDS))) / (1.0 + n / STEADY)
    return max(np.float64(r["run"][f]) + min(gain, GAIN_MAX), 0.0)


@inline
def _bits(r: Array, f: int, expected: float) -> float:
    """Raw bits of the day or of the run."""
    n = np.float64(r["trials"][f])
    return max(share_bits(np.float64(r["hits"][f]), n, expected) / (1.0 + n / STEADY), _run(r, f, expected) / LN2)


@inline
def _close(
    r: Array, f: int, gap: float, weight: float, slow_s: float, young: bool, pop: Array, crowd: Array, shared: bool,
) -> None:  # fmt: skip
    """Learn the finished day, no more of its hits than its share and a deviation allow."""
    n, k, q = np.float64(r["day_trials"][f]), np.float64(r["day_hits"][f]), usual(r, f, pop)
    r["run"][f] = np.float32(0.0 if young else _run(r, f, _expected(r, f, pop, crowd, shared)))
    if not young:
        k = min(k, n * q + math.sqrt(n * q * (1.0 - q) * (1.0 + n / STEADY)) + 0.5)
    fade = math.exp(-max(gap, np.float64(DAY_S)) / slow_s)
    r["long_trials"][f] = np.float32(fade * (r["long_trials"][f] + weight * n))
    r["long_hits"][f] = np.float32(fade * (r["long_hits"][f] + weight * k))
    r["day_trials"][f], r["day_hits"][f] = np.float32(0.0), np.float32(0.0)
    if weight == 1.0 and n > 0.0:
        voice = min(1.0, VOICE / n)
        bulk = min(1.0, POPULATION_TRIALS / (pop[0] + voice * n + 1.0))
        pop[0] = bulk * (pop[0] + voice * n)
        pop[1] = bulk * (pop[1] + voice * k)


@inline
def trial(
    r: Array, f: int, now: int, hit: int, weight: float, learn: int, slow_s: float, young: bool, pop: Array,
    crowd: Array, shared: bool, survival: Array,
) -> float:  # fmt: skip
    """Take one trial in; raw bits where it lifts the day to a new level, else 0."""
    before = np.int64(r["seen"][f])
    opens = now // DAY_S != before // DAY_S
    gap = np.float64(now - before)
    if before != 0 and opens:
        _close(r, f, gap, weight, slow_s, young, pop, crowd, shared)
    if gap > 0.0:
        fade = np.float32(math.exp(-gap / DAY_S)) if before != 0 else np.float32(0.0)
        r["trials"][f] *= fade
        r["hits"][f] *= fade
        r["seen"][f] = np.uint32(now)
    if opens and not young:
        if r["level"][f] > 0:  # what is left of yesterday's hits is no news
            r["level"][f] = min(r["level"][f], level_of(_bits(r, f, _expected(r, f, pop, crowd, shared))))
        if weight == 1.0:
            survival[0] += 1
    r["trials"][f] += np.float32(1.0)
    r["hits"][f] += np.float32(hit)
    if learn:
        r["day_trials"][f] += np.float32(1.0)
        r["day_hits"][f] += np.float32(hit)
    if hit == 0 or young or pop[0] < TRIALS_MIN or r["hits"][f] < HITS_MIN:
        return 0.0
    bits = _bits(r, f, _expected(r, f, pop, crowd, shared))
    reached = min(level_of(bits), LEVELS - 1)
    if reached <= r["level"][f]:
        return 0.0
    if weight == 1.0:
        for level in range(np.int64(r["level"][f]) + 1, reached + 1):
            survival[level] += 1
    r["level"][f] = reached
    return bits


@inline
def take_back(r: Array, f: int, left: float, pop: Array, peers: Array, crowd: Array, shared: bool) -> None:
    """A hit of the same day has turned out to be none; left: what of it has not decayed yet. Its peers lose it too."""
    r["hits"][f] = np.float32(max(r["hits"][f] - left, 0.0))
    r["day_hits"][f] = max(r["day_hits"][f] - np.float32(1.0), np.float32(0.0))
    peers[2] = max(peers[2] - left, 0.0)
    crowd[0], crowd[1] = peers[1], peers[2]
    r["level"][f] = min(r["level"][f], level_of(_bits(r, f, _expected(r, f, pop, crowd, shared))))
