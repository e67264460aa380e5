"""Shares: the recurrences as a plain twin computes them, calibration by windows, and no baseline bought in a stroke."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import DAY_MS, HOUR_MS, KINDS, Array
from detectors.baselines.share import PRIOR_TRIALS, SHARE, SHARE_LEAST, TRIAL, TRIALS_MIN, YOUNG_MS, ShareDetector

START = 20_000 * DAY_MS
KIND = "source"
NUMBER = KINDS.index(KIND)
SLOTS = 3
GATE = 9


def bits_of(hits: float, trials: float, share: float) -> float:
    """n KL(k / n || share) / ln 2."""
    observed = min(hits / trials, 1.0) if trials > 0.0 else 0.0
    share = min(max(share, 1e-6), 1.0 - 1e-6)
    if observed <= share:
        return 0.0
    nats = observed * math.log(observed / share)
    nats += (1.0 - observed) * math.log((1.0 - observed) / (1.0 - share)) if observed < 1.0 else 0.0
    return trials * nats / math.log(2.0)


@dataclass
class Entity:
    """One entity: the fields of its state, in double precision."""

    seen: int = 0
    trials: float = 0.0
    hits: float = 0.0
    excuse: float = 0.0
    hour_trials: float = 0.0
    hour_hits: float = 0.0
    long_trials: float = 0.0
    long_hits: float = 0.0
    level: int = 0


@dataclass
class Twin:
    """The whole kind: its entities, their population and what was counted, one trial at a time."""

    young_until: int

    def __post_init__(self) -> None:
        self.entities = [Entity() for _ in range(SLOTS)]
        self.population = [0.0, 0.0]
        self.survival = [0] * 96

    def share(self, e: Entity) -> float:
        q0 = (self.population[1] + 0.5) / (self.population[0] + 1.0)
        return max((e.long_hits + PRIOR_TRIALS * q0) / (e.long_trials + PRIOR_TRIALS), SHARE_LEAST)

    def raw(self, e: Entity) -> float:
        q = self.share(e)
        q += min(e.excuse / e.trials, 1.0) * (1.0 - q) if e.trials > 0.0 else 0.0
        return bits_of(e.hits, e.trials, q)

    def close_hour(self, e: Entity, gap: int, weight: float) -> None:
        n, q = e.hour_trials, self.share(e)
        bound = n * q + 2.0 * math.sqrt(n * q * (1.0 - q)) + 0.5
        k = e.hour_hits if e.seen < self.young_until else min(e.hour_hits, bound)
        fade = math.exp(-max(gap, HOUR_MS) / (7.0 * DAY_MS))
        e.long_trials = fade * (e.long_trials + weight * n)
        e.long_hits = fade * (e.long_hits + weight * k)
        if weight == 1.0:
            bulk = min(1.0, 100_000.0 / (self.population[0] + n + 1.0))
            self.population = [bulk * (self.population[0] + n), bulk * (self.population[1] + k)]

    def settle(self, now: int, slot: int, hit: int, suspect: bool, excuse: float) -> float | None:
        """Raw bits where the trial is a finding."""
        e = self.entities[slot]
        weight = 0.1 if suspect else 1.0
        opens = now // HOUR_MS != e.seen // HOUR_MS
        if opens and e.seen:
            self.close_hour(e, now - e.seen, weight)
        if opens:
            e.hour_trials = e.hour_hits = 0.0
        if e.seen:
            fade = math.exp(-(now - e.seen) / HOUR_MS)
            e.trials, e.hits, e.excuse = e.trials * fade, e.hits * fade, e.excuse * fade
        if opens:
            e.level = min(e.level, level_of(self.raw(e)))
            for level in range(e.level + 1):
                self.survival[level] += not suspect
        e.seen = now
        if hit >= 0:
            e.trials, e.hour_trials, e.excuse = e.trials + 1.0, e.hour_trials + 1.0, e.excuse + excuse
        e.hits, e.hour_hits = max(e.hits + hit, 0.0), max(e.hour_hits + hit, 0.0)
        if hit <= 0 or self.population[0] < TRIALS_MIN:
            return None
        raw = self.raw(e)
        reached = min(level_of(raw), 95)
        if reached <= e.level:
            return None
        for level in range(e.level + 1, reached + 1):
            self.survival[level] += not suspect
        e.level = reached
        return raw if reached >= GATE else None


def level_of(bits: float) -> int:
    return int(4.0 * math.sqrt(2.0 * math.log(2.0) * bits))


def trials_of(rows: list[tuple[int, int, int, bool, float]]) -> Array:
    out = np.zeros(len(rows), TRIAL)
    for i, (now, slot, hit, suspect, excuse) in enumerate(rows):
        out[i] = (now, i, slot, hit, suspect, excuse)
    return out


def engine() -> tuple[ShareDetector, Array]:
    detector = ShareDetector(4.0)
    detector._survival.gate[NUMBER] = GATE
    return detector, np.zeros(SLOTS, SHARE)


GAPS = st.integers(0, 5_000) | st.integers(0, 2 * HOUR_MS) | st.integers(0, 30 * DAY_MS)
ROWS = st.lists(
    st.tuples(
        st.one_of(GAPS, st.integers(0, 60_000)), st.integers(-1, SLOTS - 1), st.sampled_from([0, 0, 1, 1, -1]),
        st.sampled_from([False] * 5 + [True]), st.sampled_from([0.0, 0.0, 0.5, 1.0]),
    ),
    max_size=60,
)  # fmt: skip


def timed(rows: list[tuple[int, int, int, bool, float]]) -> list[tuple[int, int, int, bool, float]]:
    times = (START + np.cumsum([r[0] for r in rows], dtype=np.int64)).tolist()
    return [(now, *row[1:]) for now, row in zip(times, rows, strict=True)]


@settings(max_examples=200)
@given(ROWS, st.tuples(st.floats(0.0, 5_000.0), st.floats(0.0, 1.0)), st.sampled_from([0, DAY_MS, 9 * DAY_MS]))
def test_every_prefix_is_as_the_twin_has_it(
    drawn: list[tuple[int, int, int, bool, float]], pop: tuple[float, float], age: int
) -> None:
    """State, population, counts of windows and findings, trial by trial, from an empty and from a known population, in
    a stream that is young, ages meanwhile, or is old."""
    rows = timed(drawn)
    detector, state = engine()
    detector.state["clock"][0] = START - age
    twin = Twin(START - age + YOUNG_MS)
    twin.population = [pop[0], pop[0] * pop[1]]
    detector.state["population"][NUMBER] = twin.population
    for row in rows:
        found = detector.settle(KIND, state, trials_of([row]), 0, 0, np.zeros(1, np.uint8))
        raw = twin.settle(*row) if row[1] >= 0 else None
        for slot, entity in enumerate(twin.entities):
            got = [float(state[slot][name]) for name in vars(entity)]
            assert np.allclose(got, list(vars(entity).values()), rtol=2e-5, atol=1e-6), vars(entity)
        assert np.allclose(detector.state["population"][NUMBER], twin.population, rtol=2e-5)
        assert detector.state["today"][NUMBER, 0, 0, 0].tolist() == twin.survival
        assert len(found) == (raw is not None)
        if raw is not None:
            assert math.isclose(found["bits"][0], raw, rel_tol=1e-3, abs_tol=1e-3)
            assert (found["slot"][0], found["time"][0]) == (row[1], row[0])


@given(ROWS, st.integers(0, 60))
def test_where_trials_are_cut_changes_nothing(drawn: list[tuple[int, int, int, bool, float]], cut: int) -> None:
    rows = timed(drawn)
    (whole, one), (parts, two) = engine(), engine()
    for detector in (whole, parts):
        detector.state["population"][NUMBER] = (1_000.0, 10.0)
    marks = np.zeros(len(rows), np.uint16)
    cut = min(cut, len(rows))
    a = whole.settle(KIND, one, trials_of(rows), 0, 3, marks)
    b = [parts.settle(KIND, two, trials_of(p), 0, 3, np.zeros(len(p), np.uint8)) for p in (rows[:cut], rows[cut:])]
    assert a["bits"].tolist() == np.concatenate(b)["bits"].tolist()
    assert (one == two).all()
    assert all((whole.state[name] == parts.state[name]).all() for name in whole.state)
    assert set(marks.tolist()) <= {0, 8}
    assert (marks[a["event"]] == 8).all()


def test_an_attack_cannot_buy_itself_a_baseline_in_one_stroke() -> None:
    """A thousand hits in one hour teach at most the share, two standard deviations and a half."""
    detector, state = engine()
    detector.state["population"][NUMBER] = (10_000.0, 100.0)
    usual = [(START + i * 30_000, 0, 0, False, 0.0) for i in range(1_000)]
    storm = [(START + DAY_MS + i * 1_000, 0, 1, False, 0.0) for i in range(1_000)]
    after = [(START + DAY_MS + HOUR_MS, 0, 0, False, 0.0)]
    detector.settle(KIND, state, trials_of(usual), 0, 0, np.zeros(1_000, np.uint8))
    found = detector.settle(KIND, state, trials_of(storm), 0, 0, np.zeros(1_000, np.uint8))
    detector.settle(KIND, state, trials_of(after), 0, 0, np.zeros(1, np.uint8))
    assert found["bits"].max() > 400.0  # levels, and so findings, end at 407
    assert detector.shares(KIND, state)[0] < 0.02


def test_an_excuse_explains_hits_away() -> None:
    """Where a broken feed makes every trial a hit, every trial is one and none is reported."""
    rows = [(START + i * 1_000, 0, 1, False, 1.0) for i in range(500)]
    detector, state = engine()
    detector.state["population"][NUMBER] = (10_000.0, 10.0)
    assert len(detector.settle(KIND, state, trials_of(rows), 0, 0, np.zeros(500, np.uint8))) == 0
    detector, state = engine()
    detector.state["population"][NUMBER] = (10_000.0, 10.0)
    bare = [(*row[:4], 0.0) for row in rows]
    assert len(detector.settle(KIND, state, trials_of(bare), 0, 0, np.zeros(500, np.uint8))) > 0


def test_the_long_sums_fade_in_seven_days_also_when_an_entity_is_never_idle() -> None:
    """A trial a minute for 60 days: the decayed sum of a seven-day time constant settles at 7 x 1440 trials."""
    detector, state = engine()
    times = START + np.arange(60 * 1_440) * 60_000
    trials = np.zeros(len(times), TRIAL)
    trials["time"], trials["event"] = times, -1
    detector.settle(KIND, state, trials, 0, 0, np.zeros(0, np.uint16))
    assert math.isclose(state[0]["long_trials"], 7 * 1_440, rel_tol=0.05)
