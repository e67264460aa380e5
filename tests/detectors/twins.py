"""The level baseline of one entity in plain Python, one event at a time: what its kernel must agree with."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from detectors.base import DAY_MS, HOUR_MS

GATE = 9  # the level from which a twin reports
F32 = np.float32


def upper_half(value: float) -> float:
    """A float32 cut to its upper sixteen bits, as peaks are kept."""
    bits = np.array([value], F32).view(np.uint32) >> 16 << 16
    return float(bits.view(F32)[0])


def student_bits(t: float, dof: float) -> float:
    """Wallace's deviate z(t), its tangent beyond t = 4, and the normal tail of it."""

    def deviate(u: float) -> float:
        return (8.0 * dof + 1.0) / (8.0 * dof + 3.0) * math.sqrt(dof * math.log(1.0 + u * u / dof))

    if t < 1.5:
        return 0.0
    z = deviate(t) if t <= 4.0 else deviate(4.0) + 4.0 * dof / ((dof + 16.0) * deviate(4.0)) * (t - 4.0)
    return 0.0 if z < 1.5 else (z * z / 2.0 + math.log(z) + math.log(2.0 * math.pi) / 2.0) / math.log(2.0)


def likeliest(above: float, rate: float, own: float, unit: float) -> float:
    """The least deviate by which a rate that scatters by `own` nats gives `above` nats more, counted in units."""

    def squared(w: float) -> float:
        return (w / own) ** 2 + 2.0 / unit * rate * math.exp(w) * ((above - w - 1.0) * math.exp(above - w) + 1.0)

    low, high = 0.0, above
    for _ in range(200):  # convex: halving by thirds
        third = (high - low) / 3.0
        low, high = (low + third, high) if squared(low + third) > squared(high - third) else (low, high - third)
    return math.sqrt(max(squared((low + high) / 2.0), 0.0))


def rounded(value: float) -> float:
    """To 1/1024, as references are kept."""
    return math.floor(value * 1024 + 0.5) / 1024


@dataclass
class Twin:
    """One entity at one horizon and its population. Rounded where the state is narrow, in plain floats elsewhere."""

    steps: float
    season: list[float]
    pop: list[float]
    sum: float = 0.0
    peak: float = 0.0
    record: int = 0
    mean: float = 0.0
    var: float = 0.0
    ref: float = 0.0
    level: int = 0
    n: int = 0
    hourly: bool = True
    by_ones: bool = False
    survival: list[int] = field(default_factory=lambda: [0] * 96)

    def season_at(self, ms: int) -> float:
        return self.season[ms // HOUR_MS % 24] + self.season[24 + (ms // DAY_MS + 3) % 7]

    def learn(self, before: int, now: int, young: bool, weight: float) -> None:
        season, days = self.season_at(before), max((now - before) / DAY_MS, 1 / 24 if self.hourly else 1.0)
        y, n, pop = math.log(1.0 + self.peak), self.n, self.pop
        e = y - season - (self.mean if n else pop[1])
        if pop[0] >= 30:
            within = (4 * pop[3] + n * self.var) / (4 + n)
            bound = 3 * math.sqrt(max(within if n else pop[2], 0.15**2))
            e = min(max(e, -bound), bound)
        if n == 0:
            self.mean, self.ref = float(F32(y - season)), rounded(y - season)
            self.var = 0.0
        else:
            w = weight / (min(n, self.steps) + 1)
            mean = self.mean + w * e
            self.mean, self.var = float(F32(mean)), float(F32((1 - w) * (self.var + w * e * e)))
            slew = math.log(2) / 7 * min(days, 7)
            step = min(max(mean - self.ref, -slew), slew)
            self.ref = rounded(mean) if young else rounded(self.ref + weight * step)
        self.n = min(n + 1, 250)
        record = self.record / 1024
        record = max(record - (record - self.mean - season) * min(days, 7) / 28, 0.0)
        if young:
            record = max(record, y)
        elif y > record:
            record = min(y, record + weight * 0.2 * days)
        self.record = min(int(record * 1024), 65_535)
        if weight == 1.0:
            self.learn_population(y - season, e)

    def learn_population(self, y: float, e: float) -> None:
        pop, n = self.pop, self.n - 1
        d = y - pop[1]
        if pop[0] >= 30:
            bound = 6 * math.sqrt(max(pop[2], 0.15**2))
            d = min(max(d, -bound), bound)
        w = 1 / (min(pop[0], 20_000) + 1)
        pop[0], pop[1], pop[2] = pop[0] + 1, pop[1] + w * d, (1 - w) * (pop[2] + w * d * d)
        if n >= 1:
            w = 1 / (min(pop[4], 20_000) + 1)
            pop[4], pop[3] = pop[4] + 1, pop[3] + w * (e * e * n / (n + 1) - pop[3])

    def deviates(self, y: float, now: int, unit: float) -> tuple[float, float, float]:
        """How many deviates y is above what is expected now; how many spreads it is; the degrees of freedom."""
        n, pop = self.n, self.pop
        within = max(pop[3], 0.15**2)
        k = within / max(pop[2] - pop[3], 0.1 * within)
        known = min(max(self.mean, self.ref - math.log(1.5)), self.ref + math.log(1.5)) if n else 0.0
        expected = max((k * pop[1] + n * known) / (k + n) + self.season_at(now), 0.0)
        var = (4 * within + n * self.var) / (4 + n) * (1 + 1 / (k + n))
        rate = math.exp(min(expected, 60))
        scatter = (rate - 0.5) / rate**2
        reach = max(self.record / 1024 - expected, 0.0) if n else 0.0
        spreads = (y - expected) / max(math.sqrt(max(var, 0.15**2) + scatter), reach / 3)
        if not self.by_ones or y <= expected:
            return max(spreads, 0.0), spreads, 4.0 + n
        own = math.sqrt(max(var - scatter, 0.15**2))
        deviates = likeliest(y - expected, rate, own, unit)
        record = likeliest(reach, rate, own, unit)
        return deviates * min(3 / max(record, 1e-9), 1.0), spreads, 4.0 + n

    def event(self, t: np.void, h: int, now: int, x: float, learn: int) -> float | None:
        """Raw bits where the event is a finding."""
        weight = 0.1 if t["suspect"] else 1.0
        opens = bool(t["opens"][h])
        if opens and not t["fresh"] and self.peak > 0:
            self.learn(int(t["before"]), now, bool(t["age_h"] < 120), weight)
        c = F32(self.sum) * t["decay"][h]
        if opens:
            self.peak = 0.0
            if self.level:
                deviates, _, dof = self.deviates(math.log(1.0 + float(c)), now, 1.0)
                left = student_bits(deviates, dof)
                self.level = min(self.level, int(4 * math.sqrt(2 * math.log(2) * left)))
            for level in range(self.level + 1):
                self.survival[level] += weight == 1.0
        c = F32(c + F32(x)) if learn else c
        self.sum = float(c)
        if float(c) <= self.peak * 1.02 and not opens:
            return None
        self.peak = upper_half(float(c))
        if x <= 0 or self.pop[0] < 30:
            return None
        deviates, spreads, dof = self.deviates(math.log(1.0 + float(c)), now, max(x, 1.0))
        bits = student_bits(deviates, dof) if spreads > 1.5 else 0.0
        reached = min(int(4 * math.sqrt(2 * math.log(2) * bits)), 95)
        for level in range(self.level + 1, reached + 1):
            self.survival[level] += weight == 1.0
        if reached <= self.level:
            return None
        self.level = reached
        return bits if reached >= GATE else None
