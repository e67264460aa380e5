"""What one entity shows in its buckets of time, learned in log scale, and what is therefore to be expected of it next.

The highest value of a decayed sum c in each active bucket (hour, day) is one sample y = ln(1 + max c). A window that
decays has no edge, so a job that runs early or late gives the same sample. Baseline, once a bucket, so that flooding
cannot speed it up:

    e = clip(y - m - season, 3 s);  m <- m + w e;  v <- (1 - w)(v + w e^2),  w = 1 / (min(n, N_h) + 1)

(Welford's recurrence while n < N_h; the incremental form of an exponential window after; N = 200 hours, 21 days), a
tenth of w under suspicion. Two clocks: a reference r follows m by at most ln 2 in seven days and m is believed only
within ln 1.5 of it. An entity's record, its highest sample, fades in 28 days and rises by at most 0.2 a day once the
entity is five days old. Few samples are stretched by the population's (normal-inverse-gamma shrinkage), so a newcomer
is judged as its peers are:

    E = (k mu0 + n m) / (k + n) + season
    v' = (nu w0 + n v) / (nu + n) (1 + 1 / (k + n)),   p = (e^E - 1/2) / e^2E,   spread^2 = v' + p

p is the scatter that few events have by Poisson's law alone.
Source: Student's predictive for a normal sample with conjugate prior (Gelman et al., BDA3, section 3.3).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from detectors.base import DAY_MS, HOUR_MS, Array
from detectors.baselines.surprise import RECORD_DEVIATES
from detectors.kernels import inline

SPREAD_MIN: Final = 0.15  # of s: below this two samples of one machine are not told apart
PRIOR_DOF: Final = 4.0
STEPS: Final = np.array([200.0, 21.0])  # N_h: how many buckets the baseline remembers
SLEW_D: Final = math.log(2.0) / 7.0  # of the reference, for each day
SLACK: Final = math.log(1.5)  # between the two clocks
CLIP: Final = 3.0
YOUNG_H: Final = 120.0  # an entity this young sets its reference and its record freely
UNIT: Final = 1024.0  # of records and references, for each nat
RECORD_D: Final = 28.0  # in which a record that is not repeated falls back to the mean
RECORD_SLEW_D: Final = 0.2  # how far a record may rise in a day, in nats
PEOPLE_MIN: Final = 30.0  # samples of a population before it judges anyone
POPULATION_STEPS: Final = 20_000.0


def level_dtype(features: int) -> np.dtype[Any]:
    """An entity's state: 40 bytes for each feature."""
    shape = (2, features)
    return np.dtype(
        [
            ("sum", np.float32, shape),
            ("peak", np.uint16, shape),  # of the sum in this bucket: the upper half of a float32
            ("record", np.uint16, shape),  # highest sample of late, in 1/1024
            ("mean", np.float32, shape),
            ("var", np.float32, shape),
            ("ref", np.int16, shape),  # in 1/1024
            ("level", np.uint8, shape),
            ("n", np.uint8, shape),  # samples in the baseline, at most 250
        ]
    )


@inline
def bins_of(ms: int) -> tuple[int, int]:
    """Where in a season the hour of its day is, and the day of its week."""
    return (ms // HOUR_MS) % 24, 24 + (ms // DAY_MS + 3) % 7


@inline
def season_of(season: Array, bins: tuple[int, int], h: int, f: int) -> Any:
    return season[h, f, bins[0]] + season[h, f, bins[1]]


@inline
def _believed(mean: float, ref: float) -> float:
    return min(max(mean, ref - SLACK), ref + SLACK)


@inline
def half(x: float) -> Any:
    return np.uint16(np.float32(x).view(np.uint32) >> np.uint32(16))


@inline
def whole(half: int) -> Any:
    return np.uint32(np.uint32(half) << np.uint32(16)).view(np.float32)


@inline
def _rounded(x: float) -> Any:
    return np.int16(min(max(math.floor(x * UNIT + 0.5), -32_768), 32_767))


@inline
def close_bucket(
    r: Array, h: int, f: int, days: float, young: bool, season: float, weight: float, pop: Array
) -> float:  # fmt: skip
    """Close a bucket of entity `r`: one sample into its baseline and into its population; the clipped residual."""
    y = math.log(1.0 + np.float64(whole(r["peak"][h, f])))
    n = np.float64(r["n"][h, f])
    r["n"][h, f] = min(r["n"][h, f] + 1, 250)
    mean = np.float64(r["mean"][h, f])
    var = np.float64(r["var"][h, f])
    e = y - season - (mean if n > 0.0 else pop[1])
    spread = math.sqrt(max((PRIOR_DOF * pop[3] + n * var) / (PRIOR_DOF + n), SPREAD_MIN * SPREAD_MIN))
    if pop[0] >= PEOPLE_MIN:
        bound = CLIP * (spread if n > 0.0 else math.sqrt(max(pop[2], SPREAD_MIN * SPREAD_MIN)))
        e = min(max(e, -bound), bound)
    if n <= 0.0:
        r["mean"][h, f] = np.float32(y - season)
        r["ref"][h, f] = _rounded(y - season)
        r["var"][h, f] = np.float32(0.0)
    else:
        w = weight / (min(n, STEPS[h]) + 1.0)
        mean += w * e
        r["mean"][h, f] = np.float32(mean)
        r["var"][h, f] = np.float32((1.0 - w) * (var + w * e * e))
        if young:
            r["ref"][h, f] = _rounded(mean)
        else:
            bound = SLEW_D * min(days, 7.0)
            ref = r["ref"][h, f] / UNIT
            r["ref"][h, f] = _rounded(ref + weight * min(max(mean - ref, -bound), bound))
    record = r["record"][h, f] / UNIT
    centre = np.float64(r["mean"][h, f]) + season
    record = max(record - (record - centre) * min(days, 7.0) / RECORD_D, 0.0)
    if young:
        record = max(record, y)
    elif y > record:
        record = min(y, record + weight * RECORD_SLEW_D * days)
    r["record"][h, f] = min(np.int64(record * UNIT), 65_535)
    # The population: mean and variance of samples, and the variance within an entity.
    if weight == 1.0:
        d = y - season - pop[1]
        if pop[0] >= PEOPLE_MIN:
            bound = 2.0 * CLIP * math.sqrt(max(pop[2], SPREAD_MIN * SPREAD_MIN))
            d = min(max(d, -bound), bound)
        w0 = 1.0 / (min(pop[0], POPULATION_STEPS) + 1.0)
        pop[0] += 1.0
        pop[1] += w0 * d
        pop[2] = (1.0 - w0) * (pop[2] + w0 * d * d)
        if n >= 1.0:
            w1 = 1.0 / (min(pop[4], POPULATION_STEPS) + 1.0)
            pop[4] += 1.0
            pop[3] += w1 * (e * e * n / (n + 1.0) - pop[3])
    return e


@inline
def centre(r: Array, h: int, f: int, season: float, pop: Array) -> tuple[float, float]:
    """Expected sample, and k, in samples of its own, of what is known of its population."""
    n = np.float64(r["n"][h, f])
    within = max(pop[3], SPREAD_MIN * SPREAD_MIN)
    between = max(pop[2] - pop[3], 0.1 * within)
    k = within / between
    known = _believed(np.float64(r["mean"][h, f]), r["ref"][h, f] / UNIT) if n > 0.0 else 0.0
    return max((k * pop[1] + n * known) / (k + n) + season, 0.0), k


@inline
def expect(r: Array, h: int, f: int, season: float, pop: Array) -> tuple[float, float, float, float, float]:
    """Expected sample, its spread (SPREAD_MIN at least), what of that is the entity's own, how far its record is,
    degrees of freedom."""  # fmt: skip
    expected, k = centre(r, h, f, season, pop)
    n = np.float64(r["n"][h, f])
    within = max(pop[3], SPREAD_MIN * SPREAD_MIN)
    var = (PRIOR_DOF * within + n * np.float64(r["var"][h, f])) / (PRIOR_DOF + n) * (1.0 + 1.0 / (k + n))
    rate = math.exp(min(expected, 60.0))  # 1 + the expected count: few events scatter as Poisson's do
    scatter = (rate - 0.5) / (rate * rate)
    own = math.sqrt(max(var - scatter, SPREAD_MIN * SPREAD_MIN))  # samples have scattered so already
    reach = max(r["record"][h, f] / UNIT - expected, 0.0) if n > 0.0 else 0.0
    spread = math.sqrt(max(var, SPREAD_MIN * SPREAD_MIN) + scatter)
    return expected, max(spread, reach / RECORD_DEVIATES), own, reach, PRIOR_DOF + n
