"""How high a level is for this entity: decayed sums against its own baseline, its peers and the common mode.

For each horizon h (time constants 20 min and 1 d) and feature f an entity keeps an exponentially decayed sum

    c <- c exp(-dt / tau_h) + x

and, of its highest value in each hour and day, a baseline: `detectors.baselines.buckets` tells the expected sample E of
y = ln(1 + c), its spread and its degrees of freedom nu + n. With what the hour does to everybody,

    t = (y - E - common) / spread
    raw bits = -log2 P(T_{nu + n} > t), beyond four deviates along its tangent

How t is told for what is counted one by one, and what an entity's record does to it, is in
`detectors.baselines.surprise`. What an account uses (a session, an address, a network) is expected to show at least
what that account is: a session has no past of its own, and a heavy user's is not a light user's.
`season` is the population's hour-of-day and day-of-week profile; `common` is how far the fleet without this entity is
above its own expectation now, so that a sale, which lifts everyone, accuses no one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.base import CLASSES, DAY_MS, EMPLOYEE, FINDING, HOUR_MS, KINDS, Array, Feature, Frame
from detectors.baselines.buckets import (
    PEOPLE_MIN,
    SPREAD_MIN,
    YOUNG_H,
    bins_of,
    centre,
    close_bucket,
    expect,
    half,
    season_of,
    whole,
)
from detectors.baselines.calibrated import Calibrated
from detectors.baselines.calibration import LEVELS
from detectors.baselines.surprise import surprise
from detectors.kernels import AHEAD, inline, kernel, level_of, prefetch

FLEET: Final = KINDS.index("fleet")
ACCOUNT: Final = KINDS.index("account")
PEAK_STEP: Final = 1.02  # a peak is looked at again once it has risen by this factor
SUSPECT_WEIGHT: Final = 0.1
SEASON_BINS: Final = 24 + 7
# Never 1.5 s above anyone's E: of counts near 0, Poisson's part of s alone is ln 2 and more.
FEW: Final = math.expm1(1.5 * math.sqrt(0.5 + SPREAD_MIN * SPREAD_MIN))


@kernel
def _expect_all(r: Array, now: int, season: Array, pop: Array, expected: Array) -> None:
    bins = bins_of(now)
    for h in range(expected.shape[0]):
        for f in range(expected.shape[1]):
            expected[h, f] = expect(r, h, f, season_of(season, bins, h, f), pop[h, f])[0]


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
    begins, bins = -HOUR_MS, (0, 0)  # of the hour that it is
    for i in range(touch.shape[0]):
        if i + AHEAD < touch.shape[0]:
            prefetch(state, touch[i + AHEAD]["slot"])
        t = touch[i]
        slot = t["slot"]
        if slot < 0:
            continue
        now = time[i]
        if not begins <= now < begins + HOUR_MS:
            begins = now // HOUR_MS * HOUR_MS
            bins = bins_of(now)
        r = state[slot]
        k = 0 if is_fleet else klass[i]
        weight = SUSPECT_WEIGHT if t["suspect"] else 1.0
        lit = False
        for h in range(2):
            opens = t["opens"][h]
            for f in range(features):
                if opens and not t["fresh"] and r["peak"][h, f] > 0:
                    before = t["before"]
                    past = bins_of(before)
                    days = (now - before) / DAY_MS
                    e = close_bucket(
                        r,
                        h,
                        f,
                        max(days, 1.0 / 24.0 if h == 0 else 1.0),
                        t["age_h"] < YOUNG_H,
                        season_of(season[k], past, h, f),
                        weight,
                        pop[k, h, f],
                    )
                    if weight == 1.0:
                        for b in range(2):
                            gathered[k, h, f, past[b], 0] += e
                            gathered[k, h, f, past[b], 1] += 1.0
                c = r["sum"][h, f] * t["decay"][h]
                if opens:
                    r["peak"][h, f] = 0
                    if r["level"][h, f] > 0:  # what is left of the last bucket's sum is no news
                        expected, spread, own, reach, dof = expect(
                            r, h, f, season_of(season[k], bins, h, f), pop[k, h, f]
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
                if c <= whole(r["peak"][h, f]) * PEAK_STEP and not opens:
                    continue
                r["peak"][h, f] = half(c)
                if c <= FEW or x[i, f] <= 0.0 or pop[k, h, f, 0] < PEOPLE_MIN:
                    continue
                y = math.log(1.0 + c)
                seasonal = season_of(season[k], bins, h, f)
                if y <= centre(r, h, f, seasonal, pop[k, h, f])[0] + 1.5 * SPREAD_MIN:
                    continue  # as nearly all, and a spread is costly
                expected, spread, own, reach, dof = expect(r, h, f, seasonal, pop[k, h, f])
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
                    s = season_of(user_season[k], bins, h, f)
                    its, its_spread, its_own, its_reach, _ = expect(users[user], h, f, s, user_pop[k, h, f])
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


class LevelDetector(Calibrated):
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
        super().__init__(offset_bits, count, horizons=2)
        self._population = np.zeros((*shape, 5))
        self._season = np.zeros((*shape, SEASON_BINS))
        self._visits = np.zeros((*shape, SEASON_BINS))
        self._gathered = np.zeros((*shape, SEASON_BINS, 2))
        self._numbers = np.array([KINDS.index(kind) for kind in self.kinds], np.int64)
        self._by_ones = np.zeros((len(KINDS), CLASSES, count), np.bool_)
        for f, feature in enumerate(self.features):
            self._by_ones[..., f] = feature.by_ones == "always"
            self._by_ones[ACCOUNT, EMPLOYEE, f] = feature.by_ones != "never"
        # Both as of the latest tick: what one kind is judged by, of another, may not depend on where a pass ends.
        self._expected_fleet = np.zeros((2, count))
        self._users = np.zeros((*shape[1:], 5))  # the accounts' population
        self.state.update(
            population=self._population, season=self._season, visits=self._visits, gathered=self._gathered,
            hour=self._hour, fleet=self._expected_fleet, users=self._users,
        )  # fmt: skip

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
        if self.upkeep(now_ms):
            sums, counts = self._gathered[..., 0], self._gathered[..., 1]
            seen = counts > 0
            self._visits[seen] += 1
            step = np.maximum(0.25, 1.0 / (self._visits + 1.0)) * np.sqrt(counts / (counts + 1.0))
            self._season[seen] += 0.5 * (step * sums / np.maximum(counts, 1.0))[seen]
            self._gathered[:] = 0.0
        self._users[...] = self._population[ACCOUNT]
        if "fleet" in self.kinds:
            _expect_all(
                columns["fleet"][0], now_ms, self._season[FLEET, 0], self._population[FLEET, 0], self._expected_fleet
            )
        return []

    def band(self, kind: str, klass: int, state: Array, slot: int, now_ms: int) -> tuple[Array, Array, Array]:
        """What a person is shown: the sums at the latest event, expected, expected + 3 s; each float64[2, features]."""
        number = KINDS.index(kind)
        row, bins = state[slot], bins_of(now_ms)
        expected, upper = np.zeros((2, len(self.features))), np.zeros((2, len(self.features)))
        for h in range(2):
            for f in range(len(self.features)):
                season = season_of(self._season[number, klass], bins, h, f)
                e, spread, *_ = expect(row, h, f, season, self._population[number, klass, h, f])
                expected[h, f], upper[h, f] = math.exp(e) - 1.0, math.exp(min(e + 3.0 * spread, 60.0)) - 1.0
        return row["sum"].astype(np.float64), expected, upper
