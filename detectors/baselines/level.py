"""How high a level is for this entity: decayed sums against its own baseline, its peers and the common mode.

For each horizon h (time constants 20 min and 1 d) and feature f an entity keeps an exponentially decayed sum

    c <- c exp(-dt / tau_h) + x

whose highest value in each active bucket (hour, day) is one sample y = ln(1 + max c). A window that decays has no
edge, so a job that runs early or late gives the same sample. Baseline in log scale, once a bucket, so that flooding
cannot speed it up:

    e = clip(y - m - season, 3 s);  m <- m + w e;  v <- (1 - w)(v + w e^2),  w = 1 / (min(n, N_h) + 1)

(Welford's recurrence while n < N_h; the incremental form of an exponential window after; N = 200 hours, 21 days), a
tenth of w under suspicion. Two clocks: a reference r follows m by at most ln 2 in seven days and m is believed only
within ln 1.5 of it. Few samples are stretched by the population's (normal-inverse-gamma shrinkage), so a newcomer is
judged as its peers are:

    E = (k mu0 + n m) / (k + n) + season + common
    v' = (nu w0 + n v) / (nu + n) (1 + 1 / (k + n)),   p = (e^E - 1/2) / e^2E
    t = (y - E) / sqrt(v' + p)
    raw bits = -log2 P(T_{nu + n} > t), beyond four deviates along its tangent

p is the scatter that few events have by Poisson's law alone. How t is told for what is counted one by one, and what an
entity's record does to it (its highest sample, fading in 28 days, rising by at most 0.2 a day once the entity is five
days old), is in `detectors.baselines.surprise`.
What an account uses (a session, an address, a network) is expected to show at least what that account is: a session
has no past of its own, and a heavy user's is not a light user's.
`season` is the population's hour-of-day and day-of-week profile; `common` is how far the fleet without this entity is
above its own expectation now, so that a sale, which lifts everyone, accuses no one.
Source: Student's predictive for a normal sample with conjugate prior (Gelman et al., BDA3, section 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.base import CLASSES, DAY_MS, EMPLOYEE, FINDING, HOUR_MS, KINDS, Array, Columns, Feature, Frame
from detectors.baselines.calibration import LEVELS, Survival
from detectors.baselines.surprise import RECORD_DEVIATES, surprise
from detectors.kernels import (
    AHEAD,
    inline,
    kernel,
    level_of,
    prefetch,
)

FLEET: Final = KINDS.index("fleet")
ACCOUNT: Final = KINDS.index("account")
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
PEAK_STEP: Final = 1.02  # a peak is looked at again once it has risen by this factor
SUSPECT_WEIGHT: Final = 0.1
SEASON_BINS: Final = 24 + 7
# Never 1.5 s above anyone's E: of counts near 0, Poisson's part of s alone is ln 2 and more.
FEW: Final = math.expm1(1.5 * math.sqrt(0.5 + SPREAD_MIN * SPREAD_MIN))


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
def _season(season: Array, ms: int, h: int, f: int) -> Any:
    return season[h, f, (ms // HOUR_MS) % 24] + season[h, f, 24 + (ms // DAY_MS + 3) % 7]


@inline
def _believed(mean: float, ref: float) -> float:
    return min(max(mean, ref - SLACK), ref + SLACK)


@inline
def _half(x: float) -> Any:
    return np.uint16(np.float32(x).view(np.uint32) >> np.uint32(16))


@inline
def _whole(half: int) -> Any:
    return np.uint32(np.uint32(half) << np.uint32(16)).view(np.float32)


@inline
def _rounded(x: float) -> Any:
    return np.int16(min(max(math.floor(x * UNIT + 0.5), -32_768), 32_767))


@inline
def _learn(
    r: Array, h: int, f: int, days: float, young: bool, season: float, weight: float, pop: Array
) -> float:  # fmt: skip
    """Close a bucket of entity `r`: one sample into its baseline and into its population; the clipped residual."""
    y = math.log(1.0 + np.float64(_whole(r["peak"][h, f])))
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
def _expect(r: Array, h: int, f: int, season: float, pop: Array) -> tuple[float, float, float, float, float]:
    """Expected sample, its spread, what of that is the entity's own, how far its record is, degrees of freedom."""
    n = np.float64(r["n"][h, f])
    within = max(pop[3], SPREAD_MIN * SPREAD_MIN)
    between = max(pop[2] - pop[3], 0.1 * within)
    k = within / between
    known = _believed(np.float64(r["mean"][h, f]), r["ref"][h, f] / UNIT) if n > 0.0 else 0.0
    expected = (k * pop[1] + n * known) / (k + n) + season
    expected = max(expected, 0.0)
    var = (PRIOR_DOF * within + n * np.float64(r["var"][h, f])) / (PRIOR_DOF + n) * (1.0 + 1.0 / (k + n))
    rate = math.exp(min(expected, 60.0))  # 1 + the expected count: few events scatter as Poisson's do
    scatter = (rate - 0.5) / (rate * rate)
    own = math.sqrt(max(var - scatter, SPREAD_MIN * SPREAD_MIN))  # samples have scattered so already
    reach = max(r["record"][h, f] / UNIT - expected, 0.0) if n > 0.0 else 0.0
    spread = math.sqrt(max(var, SPREAD_MIN * SPREAD_MIN) + scatter)
    return expected, max(spread, reach / RECORD_DEVIATES), own, reach, PRIOR_DOF + n


@kernel
def _expect_all(r: Array, now: int, season: Array, pop: Array, expected: Array) -> None:
    for h in range(expected.shape[0]):
        for f in range(expected.shape[1]):
            expected[h, f] = _expect(r, h, f, _season(season, now, h, f), pop[h, f])[0]


@kernel
def _observe_all(
    kinds: npt.NDArray[np.int64], states: tuple[Array, ...], touches: tuple[Array, ...], x: Array, by_ones: Array,
    time: Array, klass: Array, learn: Array, mark: Any, season: Array, gathered: Array, pop: Array, survival: Array,
    gate: Array, fleet: Array, expected_fleet: Array, users_pop: Array, marks: Array, out: Array,
) -> int:  # fmt: skip
    found = 0
    user = -1  # where among the kinds the account is
    for k in range(kinds.shape[0]):
        if kinds[k] == ACCOUNT:
            user = k
    for k in range(kinds.shape[0]):
        kind = kinds[k]
        used = user >= 0 and kind not in (FLEET, ACCOUNT)
        found = _observe(
            states[k], touches[k], x[k if x.shape[0] > 1 else 0], by_ones, time, klass, learn, mark, kind, season[kind],
            gathered[kind], pop[kind], survival[kind], gate[kind], fleet, expected_fleet, kind == FLEET, marks,
            used, states[max(user, 0)], touches[max(user, 0)], season[ACCOUNT], users_pop, out, found,
        )  # fmt: skip
    return found


@inline
def _observe(
    state: Array, touch: Array, x: Array, by_ones: Array, time: Array, klass: Array, learn: Array, mark: Any, kind: int,
    season: Array, gathered: Array, pop: Array, survival: Array, gate: Array, fleet: Array, expected_fleet: Array,
    is_fleet: bool, marks: Array, used: bool, users: Array, user_touch: Array, user_season: Array, user_pop: Array,
    out: Array, found: int,
) -> int:  # fmt: skip
    features = x.shape[1]
    for i in range(touch.shape[0]):
        if i + AHEAD < touch.shape[0]:
            prefetch(state, touch[i + AHEAD]["slot"])
        t = touch[i]
        slot = t["slot"]
        if slot < 0:
            continue
        now = time[i]
        r = state[slot]
        k = 0 if is_fleet else klass[i]
        weight = SUSPECT_WEIGHT if t["suspect"] else 1.0
        lit = False
        for h in range(2):
            opens = t["opens"][h]
            for f in range(features):
                if opens and not t["fresh"] and r["peak"][h, f] > 0:
                    before = t["before"]
                    days = (now - before) / DAY_MS
                    e = _learn(
                        r,
                        h,
                        f,
                        max(days, 1.0 / 24.0 if h == 0 else 1.0),
                        t["age_h"] < YOUNG_H,
                        _season(season[k], before, h, f),
                        weight,
                        pop[k, h, f],
                    )
                    if weight == 1.0:
                        gathered[k, h, f, (before // HOUR_MS) % 24, 0] += e
                        gathered[k, h, f, (before // HOUR_MS) % 24, 1] += 1.0
                        gathered[k, h, f, 24 + (before // DAY_MS + 3) % 7, 0] += e
                        gathered[k, h, f, 24 + (before // DAY_MS + 3) % 7, 1] += 1.0
                c = r["sum"][h, f] * t["decay"][h]
                if opens:
                    r["peak"][h, f] = 0
                    if r["level"][h, f] > 0:  # what is left of the last bucket's sum is no news
                        expected, spread, own, reach, dof = _expect(
                            r, h, f, _season(season[k], now, h, f), pop[k, h, f]
                        )
                        unit = 1.0 if by_ones[kind, k, f] else 0.0
                        left = surprise(math.log(1.0 + c) - expected, expected, spread, own, reach, dof, unit)
                        r["level"][h, f] = min(r["level"][h, f], level_of(left))
                    if weight == 1.0:
                        for step in range(r["level"][h, f] + 1):
                            survival[k, h, f, step] += 1
                if learn[i] or is_fleet:
                    c += np.float32(x[i, f])
                r["sum"][h, f] = c
                if is_fleet:
                    fleet[i, h, f] = c
                level = r["level"][h, f]
                if level >= gate[k, h, f]:
                    lit = True
                if c <= _whole(r["peak"][h, f]) * PEAK_STEP and not opens:
                    continue
                r["peak"][h, f] = _half(c)
                if c <= FEW or x[i, f] <= 0.0 or pop[k, h, f, 0] < PEOPLE_MIN:
                    continue
                y = math.log(1.0 + c)
                expected, spread, own, reach, dof = _expect(r, h, f, _season(season[k], now, h, f), pop[k, h, f])
                if y <= expected + 1.5 * spread:
                    continue
                if not is_fleet and fleet.shape[0] > 0:
                    common = _common(fleet[i, h, f], expected_fleet[h, f], c, expected)
                    expected += common
                    reach = max(reach - common, 0.0)
                    if y <= expected + 1.5 * spread:
                        continue
                user = user_touch[i]["slot"]
                if used and user > 0:  # what its user always does is no news of a session or a place
                    s = _season(user_season[k], now, h, f)
                    its, its_spread, its_own, its_reach, _ = _expect(users[user], h, f, s, user_pop[k, h, f])
                    if its > expected:
                        reach = max(reach - (its - expected), its_reach)
                        expected = its
                        own = max(own, its_own)
                        spread = max(spread, its_spread)
                        if y <= expected + 1.5 * spread:
                            continue
                unit = max(x[i, f], 1.0) if by_ones[kind, k, f] else 0.0
                bits = surprise(y - expected, expected, spread, own, reach, dof, unit)
                reached = min(level_of(bits), LEVELS - 1)
                if reached > level:
                    if weight == 1.0:
                        for step in range(level + 1, reached + 1):
                            survival[k, h, f, step] += 1
                    r["level"][h, f] = reached
                    if reached >= gate[k, h, f]:
                        lit = True
                        if found < out.shape[0]:
                            o = out[found]
                            o["event"] = i
                            o["time"] = now
                            o["slot"] = slot
                            o["kind"] = kind
                            o["klass"] = k
                            o["horizon"] = h
                            o["feature"] = f
                            o["bits"] = np.float32(bits)
                            o["observed"] = c
                            o["expected"] = math.exp(expected) - 1.0
                        found += 1
        if lit:
            marks[i] |= mark
    return found


@inline
def _common(fleet: float, expected_fleet: float, own: float, expected_own: float) -> float:
    """How far the rest of the fleet is above its expectation now, in nats, at least 0."""
    rest = max(fleet - own, 0.0)
    usual = math.exp(expected_fleet)
    usual_rest = max(usual - math.exp(min(expected_own, 80.0)), 0.1 * usual)
    return max(math.log((1.0 + rest) / (1.0 + usual_rest)), 0.0)


class LevelDetector:
    """The engine behind `volume` and `fan_out`: levels of some features over entities of any kind.

    Shared state: 5 numbers for each population (twice for accounts), 31 bins of season, 60 bytes x 96 of survival
    counts a family.
    """

    id: str
    features: tuple[Feature, ...]
    kinds: tuple[str, ...]  # the fleet first, since the others subtract its common mode
    retold = ("fleet", "users")  # of the state: what the next tick tells anew

    def __init__(self, offset_bits: float) -> None:
        count = len(self.features)
        shape = (len(KINDS), CLASSES, 2, count)
        self._offset_bits = offset_bits
        self._survival = Survival(len(KINDS), 2, count)
        self._population = np.zeros((*shape, 5))
        self._season = np.zeros((*shape, SEASON_BINS))
        self._visits = np.zeros((*shape, SEASON_BINS))
        self._gathered = np.zeros((*shape, SEASON_BINS, 2))
        self._hour = np.zeros(1, np.int64)
        self._numbers = np.array([KINDS.index(kind) for kind in self.kinds], np.int64)
        self._by_ones = np.zeros((len(KINDS), CLASSES, count), np.bool_)
        for f, feature in enumerate(self.features):
            self._by_ones[..., f] = feature.by_ones == "always"
            self._by_ones[ACCOUNT, EMPLOYEE, f] = feature.by_ones != "never"
        # Both as of the latest tick: what one kind is judged by, of another, may not depend on where a pass ends.
        self._expected_fleet = np.zeros((2, count))
        self._users = np.zeros((*shape[1:], 5))  # the accounts' population
        self.state: Columns = {
            "population": self._population, "season": self._season, "visits": self._visits,
            "gathered": self._gathered, "hour": self._hour, "fleet": self._expected_fleet, "users": self._users,
            **self._survival.arrays(),
        }  # fmt: skip

    def score(self, frame: Frame, columns: Mapping[str, Array], x: npt.NDArray[np.float64], bit: int) -> Array:
        """Score and learn each kind with increments x[kinds, n, features], or x[1, n, features]; FINDING rows."""
        count = len(self.features)
        fleet = np.zeros((len(frame) if "fleet" in self.kinds else 0, 2, count), np.float32)
        out = np.empty(2 * count * len(self.kinds) * len(frame), FINDING)
        found = _observe_all(
            self._numbers, tuple(columns[kind] for kind in self.kinds), tuple(frame.touch[kind] for kind in self.kinds),
            x, self._by_ones, frame.time, frame.klass, frame.learn, np.uint16(1 << bit), self._season, self._gathered,
            self._population, self._survival.today, self._survival.gate, fleet, self._expected_fleet, self._users,
            frame.marks, out,
        )  # fmt: skip
        return out[:found]

    def tick(self, now_ms: int, columns: Mapping[str, Array]) -> list[Array]:
        """What the fleet is to show now; hourly, fold the residuals into the season and read the calibration anew."""
        hour = now_ms // HOUR_MS
        if hour != self._hour[0]:
            self._hour[0] = hour
            sums, counts = self._gathered[..., 0], self._gathered[..., 1]
            seen = counts > 0
            self._visits[seen] += 1
            step = np.maximum(0.25, 1.0 / (self._visits + 1.0)) * np.sqrt(counts / (counts + 1.0))
            self._season[seen] += 0.5 * (step * sums / np.maximum(counts, 1.0))[seen]
            self._gathered[:] = 0.0
            self._survival.roll(now_ms)
            self._survival.refresh(now_ms, self._offset_bits)
        self._users[...] = self._population[ACCOUNT]
        if "fleet" in self.kinds:
            _expect_all(
                columns["fleet"][0], now_ms, self._season[FLEET, 0], self._population[FLEET, 0], self._expected_fleet
            )
        return []

    def band(self, kind: str, klass: int, state: Array, slot: int, now_ms: int) -> tuple[Array, Array, Array]:
        """What a person is shown: the sums at the latest event, expected, expected + 3 s; each float64[2, features]."""
        number = KINDS.index(kind)
        row = state[slot]
        expected, upper = np.zeros((2, len(self.features))), np.zeros((2, len(self.features)))
        for h in range(2):
            for f in range(len(self.features)):
                season = _season(self._season[number, klass], now_ms, h, f)
                e, spread, *_ = _expect(row, h, f, season, self._population[number, klass, h, f])
                expected[h, f], upper[h, f] = math.exp(e) - 1.0, math.exp(min(e + 3.0 * spread, 60.0)) - 1.0
        return row["sum"].astype(np.float64), expected, upper

    def bits(self, finding: Any) -> tuple[float, float]:
        """Calibrated bits of a finding, and how many such entity-windows a day there are."""
        family = int(finding["kind"]), int(finding["klass"]), int(finding["horizon"]), int(finding["feature"])
        return self._survival.bits(family, float(finding["bits"])), self._survival.per_day(family)

    def stands(self, credentials: npt.NDArray[np.int32], columns: Mapping[str, Array]) -> npt.NDArray[np.bool_]:
        """What was measured once stays so."""
        return np.ones(len(credentials), np.bool_)

    def save(self) -> Columns:
        """What belongs to no entity: populations, season, survival counts."""
        return dict(self.state)

    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from what `save` gave."""
        for name, array in self.state.items():
            array[...] = state[name]
