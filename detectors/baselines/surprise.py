"""How surprising a level is: a sample y = ln(1 + sum) against the expected one E, in raw bits.

What comes in lumps (requests in sessions, records in exports, bytes) scatters as a lognormal: t = (y - E) / spread.
What is counted one by one (distinct people, what an employee asks for by hand) has a far thinner tail where it is few:
a hundred where five are usual is no ordinary day's luck. There t is the likeliest way to y, by an entity that is busier
than usual by w, and by Poisson's law, in the steps u in which it is counted, for the rest:

    t^2 = least over w of (w / s)^2 + 2 / u (e^y (y - E - w) - e^y + e^(E + w))

s is what the entity scatters beyond Poisson's law; of sums that are large t is (y - E) / s again. An entity's record is
at most three deviates: what it did before surprises little when it does it again. Then

    raw bits = -log2 P(T_dof > t), beyond four deviates along its tangent in z.

Source: Laplace's approximation of the Poisson-lognormal tail (Aitchison and Ho, "The multivariate Poisson-log normal
distribution", 1989); Gelman et al., BDA3, section 3.3.
"""

from __future__ import annotations

import math
from typing import Final

from detectors.kernels import inline, normal_tail_bits, student_tail_bits, student_to_normal

STRAIGHT: Final = 4.0  # deviates up to which the model's tail is believed; the calibration measures what is beyond
RECORD_DEVIATES: Final = 3.0  # reaching one's own record again is this surprising


@inline
def deviates(above: float, rate: float, own: float, unit: float) -> float:
    """How far `above` (nats) the expected `rate` is, as a normal deviate: the likeliest way to have got there.

    The rate itself went up by w nats, by its own scatter, and Poisson's, in steps of `unit`, did the rest: the least of
    w^2 / own^2 + 2 / unit deviance, at w = own^2 rate (e^above - e^w) / unit. Newton's steps come from above, where
    they cannot overshoot.
    """
    reached = rate * math.exp(above)
    scale = own * own / unit
    w = min(above, scale * (reached - rate))
    for _ in range(6):
        there = scale * rate * math.exp(w)
        w -= (w + there - scale * reached) / (1.0 + there)
    w = min(max(w, 0.0), above)
    deviance = reached * (above - w) - reached + rate * math.exp(w)
    return math.sqrt((w * w / scale + 2.0 * max(deviance, 0.0)) / unit)


@inline
def surprise(
    above: float, expected: float, spread: float, own: float, reach: float, dof: float, unit: float
) -> float:  # fmt: skip
    """Raw bits of a sample `above` the expected one: Student's tail, and beyond STRAIGHT deviates its tangent in z.

    unit: in how large steps it is counted; 0 where it is not counted but measured.
    """
    if above <= 0.0:
        return 0.0
    t = above / spread
    if unit > 0.0:
        rate = math.exp(min(expected, 60.0))
        t = deviates(above, rate, own, unit)
        record = deviates(reach, rate, own, unit) if reach > 0.0 else 0.0
        if record > RECORD_DEVIATES:
            t *= RECORD_DEVIATES / record
    if t <= STRAIGHT:
        return student_tail_bits(t, dof)
    bend = student_to_normal(STRAIGHT, dof)
    slope = STRAIGHT * dof / ((dof + STRAIGHT * STRAIGHT) * bend)
    return normal_tail_bits(bend + slope * (t - STRAIGHT))
