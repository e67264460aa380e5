"""Levels: the kernel against a plain twin on every event, what is learned against River, and the documented rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import stats

from detectors.base import CLASSES, DAY_MS, EMPLOYEE, ENTITY, HOUR_MS, KINDS, TOUCH, Array, ByOnes, Feature, Frame
from detectors.baselines.buckets import UNIT, expect, level_dtype
from detectors.baselines.level import FEW, LevelDetector
from detectors.baselines.surprise import deviates, surprise
from detectors.catalog.fan_out import FanOut
from detectors.kernels import student_tail_bits
from stream.state import RATES_MS, _touch
from tests.detectors.twins import GATE, Twin, likeliest

START = 20_000 * DAY_MS
KIND = "account"
F32 = np.float32
STATE = FanOut(4.0).columns[KIND]  # of one feature: the kernels are compiled for it anyway


class Probe(LevelDetector):
    """One feature, one kind, and every score worth reporting above a fixed gate."""

    features = (Feature("n", "n", "{observed} {expected} {window}"),)
    kinds: tuple[str, ...] = (KIND,)


class Counting(Probe):
    """The same, of something that is counted one by one."""

    features = (Feature("n", "n", "{observed} {expected} {window}", by_ones="always"),)


class WithFleet(Probe):
    """The same, beside the fleet."""

    kinds = ("fleet", KIND)


def engine(by_ones: bool = False) -> tuple[Probe, Array]:
    probe = Counting(4.0) if by_ones else Probe(4.0)
    probe._survival.gate[:] = GATE
    return probe, np.zeros(1, STATE)


def frame(times: list[int], entities: Array, suspect: bool = False, learn: list[int] | None = None) -> Frame:
    """A frame in which one entity makes every event."""
    n = len(times)
    touch = np.zeros(n, TOUCH)
    entities["suspect"] = suspect
    time = np.array(times, np.int64)
    _touch(entities, np.zeros(n, np.int32), time, RATES_MS, touch)
    flags = np.ones(n, np.bool_)
    return Frame(
        start=0, time=time, action=np.full(n, 2, np.int8), klass=np.ones(n, np.int8), succeeded=flags, reads=flags,
        records=np.ones(n), bytes=np.zeros(n), learn=np.array(learn or [1] * n, np.int8),
        touch={KIND: touch, "fleet": touch}, hashes={}, number=np.full(n, -1), marks=np.zeros(n, np.uint16),
        late=np.zeros(n, np.bool_), feed=np.zeros(n, np.uint64),
    )  # fmt: skip


def run(probe: Probe, state: Array, times: list[int], x: list[float], entities: Array | None = None) -> Array:
    entities = np.zeros(1, ENTITY) if entities is None else entities
    return probe.score(frame(times, entities), {KIND: state}, np.array(x, np.float64)[None, :, None], 0)


Draw = Callable[[np.random.Generator, int], Array]
STREAMS: dict[str, tuple[Draw, Draw]] = {
    "constants": (lambda rng, n: np.full(n, 5.0), lambda rng, n: rng.integers(0, 2 * HOUR_MS, n)),
    "zeros": (lambda rng, n: rng.integers(0, 2, n) * 1.0, lambda rng, n: rng.integers(0, HOUR_MS, n)),
    "huge": (lambda rng, n: 10.0 ** rng.integers(0, 13, n), lambda rng, n: rng.integers(0, 2 * HOUR_MS, n)),
    "long gaps": (lambda rng, n: rng.lognormal(2, 1, n), lambda rng, n: rng.integers(0, 40 * DAY_MS, n)),
    "random": (lambda rng, n: rng.lognormal(3, 1, n), lambda rng, n: rng.exponential(1e7, n).astype(np.int64)),
    "a burst": (lambda rng, n: rng.lognormal(6, 2, n), lambda rng, n: rng.integers(0, 4_000_000, n) ** (n % 2 + 1)),
}
POPULATIONS = {"no peers yet": [0.0] * 5, "peers": [500.0, 2.0, 0.8, 0.3, 400.0]}


@pytest.mark.parametrize("by_ones", [False, True])
@pytest.mark.parametrize("pop", POPULATIONS)
@pytest.mark.parametrize("stream", STREAMS)
def test_every_prefix_is_as_the_twin_has_it(stream: str, pop: str, by_ones: bool) -> None:
    """Sums, peaks, records, baselines, levels, population, counts and findings after each of 250 events, with season,
    spells of suspicion and times that are not trusted."""
    rng = np.random.default_rng(len(stream))
    values, gaps = STREAMS[stream]
    x, times = values(rng, 250), (START + np.cumsum(gaps(rng, 250))).tolist()
    suspect, learn = rng.random(250) < 0.1, (rng.random(250) > 0.05).astype(int).tolist()
    probe, state = engine(by_ones)
    number, entities = KINDS.index(KIND), np.zeros(1, ENTITY)
    probe._population[number, 1, :, 0] = POPULATIONS[pop]
    probe._season[number, 1, :, 0] = rng.normal(0, 0.2, (2, 31))
    twins = [
        Twin(steps, probe._season[number, 1, h, 0].tolist(), [*POPULATIONS[pop]], hourly=h == 0, by_ones=by_ones)
        for h, steps in enumerate((200, 21))
    ]
    for i, now in enumerate(times):
        f = frame([now], entities, bool(suspect[i]), [learn[i]])
        found = probe.score(f, {KIND: state}, x[None, i : i + 1, None], 0)
        raw = [twin.event(f.touch[KIND][0], h, now, float(x[i]), learn[i]) for h, twin in enumerate(twins)]
        for h, twin in enumerate(twins):
            row = {name: float(state[0][name][h, 0]) for name in level_dtype(1).names or ()}
            assert row["peak"] == np.array([twin.peak], F32).view(np.uint32)[0] >> 16
            assert abs(row["record"] - twin.record) <= 1
            assert (row["sum"], row["n"], row["level"]) == (twin.sum, twin.n, twin.level)
            assert np.allclose([row["mean"], row["var"]], [twin.mean, twin.var], 1e-5, 1e-6)
            assert abs(row["ref"] / 1024 - twin.ref) <= 1.5 / 1024
            assert np.allclose(probe._population[number, 1, h, 0], twin.pop, rtol=1e-6, atol=1e-9)
            assert probe._survival.today[number, 1, h, 0].tolist() == twin.survival
        assert found["horizon"].tolist() == [h for h, bits in enumerate(raw) if bits is not None]
        assert np.allclose(found["bits"], [bits for bits in raw if bits is not None], rtol=1e-3)


@pytest.mark.parametrize("klass", range(CLASSES))
@pytest.mark.parametrize("kind", ["account", "network"])
def test_what_employees_do_by_hand_comes_one_by_one_of_their_accounts_alone(kind: str, klass: int) -> None:
    def surprises(by_ones: ByOnes) -> Array:
        class Told(Probe):
            features = (Feature("n", "n", "{observed} {expected} {window}", by_ones=by_ones),)
            kinds = (kind,)

        probe = Told(4.0)
        probe._survival.gate[:] = GATE
        probe._population[KINDS.index(kind), klass, :, 0] = [500.0, 2.0, 0.2, 0.1, 400.0]
        f = frame([START + n * 1000 for n in range(90)], np.zeros(1, ENTITY))
        f.klass[:] = klass
        found = probe.score(replace(f, touch={kind: f.touch[KIND]}), {kind: np.zeros(1, STATE)}, np.ones((1, 90, 1)), 0)
        return found["bits"]

    by_hand = kind == "account" and klass == EMPLOYEE
    assert surprises("always").max() > 2 * surprises("never").max()
    assert surprises("of employees").tolist() == surprises("always" if by_hand else "never").tolist()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(HOUR_MS, 30 * HOUR_MS), st.integers(0, 250)), min_size=2, max_size=60))
def test_what_is_learned_is_rivers_mean_and_variance(events: list[tuple[int, int]]) -> None:
    """One event an hour at most, a population too small to clip by: the baseline of the n samples y, whose peaks are
    whole numbers below 256 and so exact but for the decayed rest, is River's Mean and Var(ddof=0) of them."""
    probe, state = engine()
    entities, mean, var = np.zeros(1, ENTITY), stats.Mean(), stats.Var(ddof=0)
    now, number = START, KINDS.index(KIND)
    for gap, x in events:
        now += gap
        peak = float((state["peak"][0, 0, 0].astype(np.uint32) << 16).view(F32))
        if peak > 0:
            mean.update(math.log(1.0 + peak))
            var.update(math.log(1.0 + peak))
        run(probe, state, [now], [float(x)], entities)
        probe._population[number, 1, :, 0, 0] = 0.0  # never enough peers to clip by
        if mean.n:
            assert state["n"][0, 0, 0] == mean.n
            assert math.isclose(state["mean"][0, 0, 0], mean.get(), rel_tol=1e-5, abs_tol=1e-6)
            assert math.isclose(state["var"][0, 0, 0], var.get(), rel_tol=1e-4, abs_tol=1e-6)


def test_past_its_window_the_mean_is_rivers_exponential_one() -> None:
    """After N = 21 days each day weighs 1 / 22, as in River's EWMean with that fading factor."""
    probe, state = engine()
    entities, number, rng = np.zeros(1, ENTITY), KINDS.index(KIND), np.random.default_rng(3)
    mean = stats.EWMean(1 / 22)
    for day in range(90):
        peak = float((state["peak"][0, 1, 0].astype(np.uint32) << 16).view(F32))
        run(probe, state, [START + day * DAY_MS], [float(rng.integers(1, 200))], entities)
        probe._population[number, 1, :, 0, 0] = 0.0
        if day == 22:
            mean.update(float(state["mean"][0, 1, 0]))  # the first value is taken as it is
        if day > 22:
            mean.update(math.log(1.0 + peak))
            assert math.isclose(state["mean"][0, 1, 0], mean.get(), rel_tol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, HOUR_MS), st.floats(0.0, 1e12)), max_size=40), st.integers(0, 40))
def test_the_cut_of_a_frame_changes_nothing(events: list[tuple[int, float]], cut: int) -> None:
    times, x = (START + np.cumsum([e[0] for e in events], dtype=np.int64)).tolist(), [e[1] for e in events]
    (whole, one), (parts, two) = engine(), engine()
    for probe in (whole, parts):
        probe._population[KINDS.index(KIND), 1, :, 0] = POPULATIONS["peers"]
    entities = np.zeros(1, ENTITY)
    a = run(whole, one, times, x)
    b = [run(parts, two, times[p], x[p], entities) for p in (slice(0, cut), slice(cut, None))]
    assert a["bits"].tolist() == np.concatenate(b)["bits"].tolist()
    assert (one == two).all()
    assert all(np.array_equal(whole.state[name], parts.state[name]) for name in whole.state)


def daily(probe: Probe, state: Array, values: list[float], per_day: int) -> None:
    """The same total each day, in one go or spread evenly over the day."""
    step = DAY_MS // per_day
    times = [START + day * DAY_MS + i * step for day in range(len(values)) for i in range(per_day)]
    run(probe, state, times, [value / per_day for value in values for _ in range(per_day)])


def test_the_reference_of_a_busy_entity_follows_as_fast_as_that_of_a_quiet_one() -> None:
    """Ln 2 in seven days is the pace: 30 days after a lasting rise by e^2 it has long arrived."""
    for per_day in (1, 288):
        probe, state = engine()
        daily(probe, state, [100.0] * 10 + [740.0] * 50, per_day)
        assert abs(state["mean"][0, 1, 0] - state["ref"][0, 1, 0] / 1024) < 0.1


def test_the_record_of_a_busy_entity_fades_in_28_days() -> None:
    probe, state = engine()
    daily(probe, state, [100_000.0] + [100.0] * 56, 288)
    left = state["record"][0, 1, 0] / 1024 - state["mean"][0, 1, 0]
    assert left < 0.4 * math.log(1_000.0)


def test_a_record_rises_by_at_most_a_fifth_a_day() -> None:
    probe, state = engine()
    entities = np.zeros(1, ENTITY)
    hours = [START + hour * HOUR_MS for hour in range(11 * 24)]
    run(probe, state, hours[:-24], [10.0] * (len(hours) - 24), entities)
    before = int(state["record"][0, 0, 0])
    run(probe, state, hours[-24:], [10.0 * math.exp(0.4 * i) for i in range(24)], entities)
    assert (int(state["record"][0, 0, 0]) - before) / 1024 <= 0.2 * 1.05


def test_more_windows_exist_than_reach_any_level() -> None:
    """A place that people of two classes share: employees open its hours, a customer makes them loud."""
    probe, state = engine()
    number, entities = KINDS.index(KIND), np.zeros(1, ENTITY)
    probe._population[number, :, :, 0] = POPULATIONS["peers"]
    times = [START + hour * HOUR_MS + minute for hour in range(20) for minute in (0, 60_000)]
    f = frame(times, entities)
    f.klass[1::2] = 2
    probe.score(f, {KIND: state}, np.array([1.0, 1e6] * 20)[None, :, None], 0)
    probe._survival.roll(times[-1])
    probe._survival.refresh(times[-1], 0.0)
    assert (np.diff(probe._survival.counts, axis=-1) <= 0).all()
    assert probe._survival.bits((number, 2, 0, 0), 200.0) >= 0.0


def test_a_rise_of_the_whole_fleet_accuses_no_one() -> None:
    """The same hundredfold is a finding of an entity alone, and none where the rest of the fleet rose as much."""
    found = []
    for others in (1.0, 100.0):
        probe = WithFleet(4.0)
        probe._survival.gate[:] = GATE
        probe._population[KINDS.index(KIND), 1, :, 0] = [500.0, math.log(11.0), 0.3, 0.1, 400.0]
        probe._population[KINDS.index("fleet"), 0, :, 0] = [500.0, math.log(1_001.0), 0.3, 0.1, 400.0]
        state = {kind: np.zeros(1, STATE) for kind in probe.kinds}
        x = np.array([1_000.0 * others, 1_000.0]).reshape(2, 1, 1)
        rows = probe.score(frame([START], np.zeros(1, ENTITY)), state, x, 0)
        found.append(int((rows["kind"] == KINDS.index(KIND)).sum()))
    assert found == [2, 0]


class Used(Probe):
    """The account, and a session that it uses."""

    kinds = (KIND, "credential")


@pytest.mark.parametrize(("habit", "expected"), [(11.0, 2), (1_001.0, 0)])
def test_a_session_is_expected_to_show_what_its_account_does(habit: float, expected: int) -> None:
    """A fresh session of an account that reads little is a finding where it reads much; a heavy user's is not."""
    probe = Used(4.0)
    probe._survival.gate[:] = GATE
    for kind in probe.kinds:
        probe._population[KINDS.index(kind), 1, :, 0] = [500.0, math.log(11.0), 0.3, 0.1, 400.0]
    state = {kind: np.zeros(2, STATE) for kind in probe.kinds}
    state[KIND]["mean"][1], state[KIND]["n"][1] = math.log(habit), 100
    state[KIND]["ref"][1] = int(math.log(habit) * 1024)
    f = frame([START], np.zeros(1, ENTITY))
    f.touch = {kind: f.touch[KIND].copy() for kind in probe.kinds}
    for touch in f.touch.values():
        touch["slot"] = 1
    rows = probe.score(f, state, np.full((1, 1, 1), 1_000.0), 0)
    assert int((rows["kind"] == KINDS.index("credential")).sum()) == expected


@given(
    st.integers(0, 250), st.floats(-2.0, 12.0), st.floats(-2.0, 12.0), st.floats(0.0, 9.0), st.floats(0.0, 12.0),
    st.floats(0.0, 9.0), st.floats(0.0, 9.0), st.floats(0.0, 12.0), st.floats(-3.0, 3.0),
)  # fmt: skip
def test_what_is_too_few_to_look_at_is_never_surprising(
    n: int, mean: float, ref: float, var: float, record: float, between: float, within: float, usual: float,
    season: float,
) -> None:  # fmt: skip
    """For no past and no population is FEW, or less, 1.5 deviates above what is expected."""
    row = np.zeros(1, STATE)[0]
    row["n"], row["mean"], row["var"], row["ref"], row["record"] = n, mean, var, int(ref * UNIT), int(record * UNIT)
    expected, spread, *_ = expect(row, 0, 0, season, np.array([100.0, usual, between, within, 50.0]))
    assert math.log1p(FEW) <= expected + 1.5 * spread + 1e-12


@given(st.floats(0.2, 4.0), st.floats(0.0, 8.0), st.floats(0.15, 2.0), st.floats(1.0, 50.0))
def test_a_deviate_is_the_lognormals_where_much_is_read_and_poissons_where_little_is(
    above: float, expected: float, own: float, unit: float
) -> None:
    """Never more than either alone makes of it; the one for 10^9 events, the other for what never varies."""
    rate = math.exp(expected)
    poisson = math.sqrt(2.0 / unit * rate * ((above - 1.0) * math.exp(above) + 1.0))
    both = deviates(above, rate, own, unit)
    assert both <= min(above / own, poisson) + 1e-6
    assert math.isclose(deviates(above, 1e9, own, unit), above / own, rel_tol=1e-3)
    assert math.isclose(deviates(above, rate, 1e-4, unit), poisson, rel_tol=1e-2)
    assert math.isclose(both, likeliest(above, rate, own, unit), rel_tol=1e-6, abs_tol=1e-6)


THOUSANDTHS = st.integers(0, 9_000).map(lambda n: n / 1000.0)  # rounding turns around what lies closer together


@given(st.floats(0.0, 8.0), st.floats(0.15, 2.0), st.floats(0.0, 5.0), st.lists(THOUSANDTHS, min_size=2))
def test_the_more_it_is_the_more_it_surprises(expected: float, own: float, reach: float, above: list[float]) -> None:
    """Counted or measured, and whatever the record is, which itself is worth three deviates at most."""
    spread = max(own, reach / 3.0)
    for unit in (0.0, 1.0):
        bits = [surprise(each, expected, spread, own, reach, 12.0, unit) for each in sorted(above)]
        assert bits == sorted(bits)
        known = surprise(reach, expected, spread, own, reach, 12.0, unit)
        assert known <= student_tail_bits(3.0, 12.0) + 1e-9
