"""Evidence that grows day by day: a mixture of e-detectors on daily deviates, normalised by the population's own law.

A day's deviate z moves three processes, one for each size lambda of shift that it looks for:

    M <- (M + 1) exp(lambda z - psi),  psi = max(ln mean exp(lambda z), lambda^2 / 2)

the mean over the population's ordinary days, so that heavy tails are paid for where they are seen. Were the days
independent, exp(..) would be an e-value and an alarm at M >= 1 / alpha would have an average run length of at least
1 / alpha days; the mean over lambda is an e-detector as well. Kept is S = ln(1 + M), 0 at the start.
Source: Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential change detection" (2023).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

LAMBDAS: Final[F64] = np.array([0.75, 1.5, 2.5])
Z_MAX: Final = 4.0  # one day counts at most this: a single big report is no run
LOG_MAX: Final = 63.0  # of S, in nats
HALVINGS: Final = 20


def psi(moments: F64) -> F64:
    """What a day costs: from the population's means of exp(lambda z), [..., 3]; where there are none, a Gaussian's."""
    out: F64 = np.maximum(np.log(np.maximum(moments, 1e-9)), LAMBDAS**2 / 2.0)
    return out


def grown(log: F64, z: F64, cost: F64) -> F64:
    """S[n, 3] after a day of deviates z[n] at the cost psi[n, 3]."""
    out: F64 = np.minimum(np.logaddexp(0.0, log + z[:, None] * LAMBDAS - cost), LOG_MAX)
    return out


def bits(log: F64) -> F64:
    """Nominal bits of S[n, 3]: log2 of the mean of M, at least 0."""
    out: F64 = np.maximum(np.log2(np.maximum(np.expm1(log).mean(axis=1), 1e-9)), 0.0)
    return out


def needed(log: F64, cost: F64, wanted: F64) -> F64:
    """The deviate of the next day that takes S[n, 3] to the wanted bits[n]; inf where no day does."""
    low, high = np.full(len(log), -Z_MAX), np.full(len(log), Z_MAX)
    within = bits(grown(log, high, cost)) >= wanted
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        enough = bits(grown(log, middle, cost)) >= wanted
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(within, high, np.inf)


def fold(mean: Any, count: float, sample: F64, steps: float) -> tuple[Any, float]:
    """A mean that remembers about `steps` samples, after a batch of them along the first axis."""
    if not len(sample):
        return mean, count
    held = min(count, steps)
    return mean + (sample.mean(axis=0) - mean) * (len(sample) / (held + len(sample))), count + len(sample)
