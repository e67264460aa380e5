"""How large a share of an entity's trials are hits: decayed counts against its own share, its peers' and a known
excuse.

An entity keeps decayed counts of trials n and hits k (time constant 1 h) and long sums N and K (7 d), to which each
finished hour adds at most what its share plus two standard deviations allows, so that an attack cannot buy itself a
baseline in one stroke; in the stream's first two days it adds all, because then everything is new.

    q = max((K + a q0) / (N + a), 0.002),  a = 10,  q0 = the population's share
    raw bits = n KL(k / n || q + f / n (1 - q)) / ln 2

f is the decayed sum of excuses: for each trial the chance that something known to be broken (a login feed that fell
silent) made it a hit. Source: Chernoff's bound for a binomial; Hoeffding (1963) for unequal chances.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from detectors.base import DAY_MS, FINDING, HOUR_MS, HOURLY, KINDS, Array
from detectors.baselines.calibrated import Calibrated
from detectors.baselines.calibration import LEVELS
from detectors.kernels import inline, kernel, level_of, share_bits

FAST_MS: Final = float(HOUR_MS)
SLOW_MS: Final = 7.0 * DAY_MS
PRIOR_TRIALS: Final = 10.0
SHARE_LEAST: Final = 0.002  # no log is so complete that a share is taken to be less
YOUNG_MS: Final = 2 * DAY_MS  # of the stream
TRIALS_MIN: Final = 30.0  # of the population, before it judges anyone
SUSPECT_WEIGHT: Final = 0.1
NOTHING: Final = np.zeros(0, FINDING)

SHARE_FIELDS: Final = (
    ("seen", np.int64),  # ms, its latest trial
    ("trials", np.float32), ("hits", np.float32), ("excuse", np.float32),  # decayed over an hour
    ("hour_trials", np.float32), ("hour_hits", np.float32),  # of the current hour
    ("long_trials", np.float32), ("long_hits", np.float32),  # decayed over seven days
    ("level", np.uint8),
)  # fmt: skip
SHARE: Final = np.dtype([*SHARE_FIELDS], align=True)

# One trial of one entity; `event` is its index in the frame, or -1 for one that was settled by the clock.
TRIAL: Final = np.dtype(
    [
        ("time", np.int64), ("event", np.int64), ("slot", np.int32),
        ("hit", np.int8), ("suspect", np.uint8), ("excuse", np.float32),
    ],
    align=True,
)  # fmt: skip


@inline
def _share(trials: float, hits: float, pop: Array) -> float:
    base = (pop[1] + 0.5) / (pop[0] + 1.0)
    share: float = max((hits + PRIOR_TRIALS * base) / (trials + PRIOR_TRIALS), SHARE_LEAST)
    return share


@inline
def _expected(trials: float, excuse: float, share: float) -> float:
    """The share of hits to expect, given what is known to be broken."""
    return share + min(excuse / trials, 1.0) * (1.0 - share) if trials > 0.0 else share


@kernel
def _settle(
    state: Array, trials: Array, pop: Array, survival: Array, gate: Array, number: int, feature: int,
    young_until: int, mark: Any, marks: Array, out: Array,
) -> int:  # fmt: skip
    """Take `trials` in order: learn the finished hour, score, and report what crosses the gate; findings written."""
    found = 0
    for i in range(trials.shape[0]):
        t = trials[i]
        slot = t["slot"]
        if slot < 0:
            continue
        r = state[slot]
        now = t["time"]
        weight = SUSPECT_WEIGHT if t["suspect"] else 1.0
        before = r["seen"]
        if before == 0 or now // HOUR_MS != before // HOUR_MS:
            if before != 0:
                n = np.float64(r["hour_trials"])
                q = _share(r["long_trials"], r["long_hits"], pop)
                bound = n * q + 2.0 * math.sqrt(n * q * (1.0 - q)) + 0.5
                k = np.float64(r["hour_hits"])
                if before >= young_until:
                    k = min(k, bound)
                fade = math.exp(-np.float64(max(now - before, HOUR_MS)) / SLOW_MS)
                r["long_trials"] = np.float32(fade * (r["long_trials"] + weight * n))
                r["long_hits"] = np.float32(fade * (r["long_hits"] + weight * k))
                if weight == 1.0:
                    bulk = min(1.0, 100_000.0 / (pop[0] + n + 1.0))
                    pop[0] = bulk * (pop[0] + n)
                    pop[1] = bulk * (pop[1] + k)
            r["hour_trials"] = np.float32(0.0)
            r["hour_hits"] = np.float32(0.0)
        if before != 0:
            d = np.float32(math.exp(-np.float64(now - before) / FAST_MS))
            r["trials"] *= d
            r["hits"] *= d
            r["excuse"] *= d
        if before == 0 or now // HOUR_MS != before // HOUR_MS:
            if r["level"] > 0:  # what is left of the last hour's hits is no news
                q = _share(r["long_trials"], r["long_hits"], pop)
                bits = share_bits(
                    np.float64(r["hits"]), np.float64(r["trials"]), _expected(r["trials"], r["excuse"], q)
                )
                r["level"] = min(r["level"], level_of(bits))
            if weight == 1.0:
                for step in range(r["level"] + 1):
                    survival[step] += 1
        r["seen"] = now
        hit = np.float32(t["hit"])
        if t["hit"] >= 0:
            r["trials"] += np.float32(1.0)
            r["hour_trials"] += np.float32(1.0)
            r["excuse"] += t["excuse"]
        r["hits"] = max(r["hits"] + hit, np.float32(0.0))
        r["hour_hits"] = max(r["hour_hits"] + hit, np.float32(0.0))
        if t["hit"] > 0 and pop[0] >= TRIALS_MIN:
            q = _share(r["long_trials"], r["long_hits"], pop)
            expected = _expected(r["trials"], r["excuse"], q)
            bits = share_bits(np.float64(r["hits"]), np.float64(r["trials"]), expected)
            reached = min(level_of(bits), LEVELS - 1)
            if reached > r["level"]:
                if weight == 1.0:
                    for step in range(np.int64(r["level"]) + 1, reached + 1):
                        survival[step] += 1
                r["level"] = reached
                if reached >= gate:
                    o = out[found]
                    o["event"] = t["event"]
                    o["time"] = now
                    o["slot"] = slot
                    o["kind"] = number
                    o["klass"] = 0
                    o["horizon"] = HOURLY
                    o["feature"] = feature
                    o["bits"] = np.float32(bits)
                    o["observed"] = r["hits"]
                    o["expected"] = np.float64(r["trials"]) * expected
                    found += 1
        if t["event"] >= 0 and t["hit"] > 0 and r["level"] >= gate:
            marks[t["event"]] |= mark
    return found


class ShareDetector(Calibrated):
    """The engine behind `unissued` and `first_seen`: shares of one feature over entities of any kind."""

    def __init__(self, offset_bits: float, horizons: int = 1) -> None:
        super().__init__(offset_bits, horizons=horizons)
        self._population = np.zeros((len(KINDS), 2))
        self.state.update(population=self._population, hour=self._hour)

    def settle(self, kind: str, state: Array, trials: Array, feature: int, bit: int, marks: Array) -> Array:
        """Take the trials of one entity kind, in order of time; FINDING rows."""
        if not len(trials):
            return NOTHING
        number, horizon = KINDS.index(kind), min(HOURLY, self._survival.shape[2] - 1)
        out = np.empty(len(trials), FINDING)
        found = _settle(
            state, trials, self._population[number], self._survival.today[number, 0, horizon, 0],
            self._survival.gate[number, 0, horizon, 0], number, feature, int(self._survival.clock[0]) + YOUNG_MS,
            np.uint16(1 << bit), marks, out,
        )  # fmt: skip
        return out[:found]

    def shares(self, kind: str, state: Array) -> Array:
        """The expected share of each entity of a kind: float64[entities]."""
        trials, hits = self._population[KINDS.index(kind)]
        base = (hits + 0.5) / (trials + 1.0)
        shares: Array = (state["long_hits"] + PRIOR_TRIALS * base) / (state["long_trials"] + PRIOR_TRIALS)
        return np.maximum(shares, SHARE_LEAST)
