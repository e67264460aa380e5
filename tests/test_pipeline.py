"""The pipeline is a function of the log: how it is cut, stopped and repeated changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.base import CLASSES, FINDING, KINDS
from stream.config import Config
from stream.events import ACCOUNT_KINDS, EventBlock
from stream.incidents import generate, load_incident
from stream.pipeline import Pipeline
from tests.streams import DAY_MS, HOUR_MS, START_MS, block, event, part, plain, raw, regulars, run, state

CONFIG = Config(warmup_h=24.0, session_lifetime_h=12.0, tick_s=120)


@cache
def retailer(seed: int = 1, attack: bool = True, accounts: int = 300, days: float = 3.0) -> EventBlock:
    """Some days of a small retailer as one block."""
    incident = load_incident("forged-token")
    (whole,) = generate(incident, accounts=accounts, days=days, seed=seed, attack=attack, block_events=1_000_000)
    return whole


def cuts(whole: EventBlock, edges: list[int]) -> Iterator[EventBlock]:
    bounds = [0, *sorted({min(e, len(whole)) for e in edges}), len(whole)]
    return (part(whole, a, b) for a, b in pairwise(bounds) if b > a)


def test_batches_of_one_are_batches_of_ten_thousand() -> None:
    """Bit for bit, over the busiest part of an attack."""
    whole = retailer()
    start = len(whole) * 2 // 3
    pipelines = []
    for size in (1, 10_000):
        pipeline, alerts = run([part(whole, 0, start)], CONFIG, finish=False)
        edges = list(range(start, start + 1500, size))
        for each in cuts(part(whole, start, start + 1500), [e - start for e in edges]):
            pipeline.process(each)
        pipelines.append((state(pipeline), plain(alerts)))
    assert pipelines[0] == pipelines[1]


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(edges=st.lists(st.integers(0, 12_000), max_size=12))
def test_where_batches_are_cut_changes_nothing(edges: list[int]) -> None:
    """The same state and the same alerts."""
    whole = retailer()
    pipeline, alerts = run(cuts(whole, edges), CONFIG)
    expected, told = whole_run()
    assert plain(alerts) == told
    assert state(pipeline) == expected


@cache
def busy_hours(seed: int) -> EventBlock:
    """Two days of people who all work in the ten seconds before and after each full hour, from a new session each."""
    rng = np.random.default_rng(seed)
    rates = np.exp(rng.normal(1.0, 1.0, 60))
    events = []
    for hour in range(1, 48):
        for a in np.flatnonzero(rng.random(len(rates)) < 0.7).tolist():
            much = rng.lognormal(0.0, 0.3) * (6.0 if rng.random() < 0.1 else 1.0)
            times = START_MS + hour * HOUR_MS + rng.integers(-10_000, 10_000, 1 + rng.poisson(rates[a] * much))
            events += [
                event(int(t), f"a{a}", credential=f"t-{a}-{hour}", subject=f"s{rng.integers(200)}") for t in times
            ]
    return block(events)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("tick_s", [30, 1001])  # the one ends with the hour, the other does not
def test_what_one_kind_is_judged_by_of_another_does_not_depend_on_cuts(tick_s: int, seed: int) -> None:
    """Many events between two ticks, of sessions that are judged by what their accounts did a moment ago."""
    whole, config = busy_hours(seed), msgspec.structs.replace(CONFIG, tick_s=tick_s)
    expected, _ = run([whole], config, finish=False)
    cut, _ = run(cuts(whole, list(range(0, len(whole), 97))), config, finish=False)
    assert state(cut) == state(expected)


@cache
def whole_run() -> tuple[Any, list[dict[str, Any]]]:
    pipeline, alerts = run([retailer()], CONFIG)
    assert any(a.status == "open" for a in alerts)
    return state(pipeline), plain(alerts)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.7, 0.75, 0.9])
def test_saved_and_loaded_it_goes_on_as_if_nothing_had_happened(share: float) -> None:
    """At any point, also in the middle of an incident."""
    whole = retailer()
    at = int(len(whole) * share)
    first, before = run([part(whole, 0, at)], CONFIG, finish=False)
    meta, arrays = first.save()
    meta = msgspec.json.decode(msgspec.json.encode(meta))
    alerts = list(before)
    second = Pipeline(CONFIG, alerts.append)
    second.load(meta, {name: array.copy() for name, array in arrays.items()})
    second.process(part(whole, at, len(whole)))
    second.finish()
    expected, told = whole_run()
    assert plain(alerts) == told
    assert state(second) == expected


def test_names_do_not_matter_but_the_key_is_its_own() -> None:
    """Another hash key gives the same alerts under other ids."""
    other = msgspec.structs.replace(CONFIG, hash_key="0" * 31 + "1")
    _, alerts = run([retailer()], other)
    told = plain(alerts)
    expected = whole_run()[1]
    assert [a["entity"] for a in told if a["status"] == "open"] == [
        a["entity"] for a in expected if a["status"] == "open"
    ]


def test_an_id_that_comes_again_is_left_out_and_counted() -> None:
    events = [event(START_MS + i, "a", id=f"e{i % 3}") for i in range(9)]
    pipeline = Pipeline(CONFIG, lambda _alert: None)
    repeated = pipeline.process(block(events))
    assert repeated.tolist() == [False] * 3 + [True] * 6
    assert pipeline.duplicates == 6
    assert pipeline.events == 3
    assert pipeline.process(block(events)).all()


def test_events_without_an_id_are_never_repeats() -> None:
    events = [event(START_MS, "a") for _ in range(5)]
    assert not Pipeline(CONFIG, lambda _alert: None).process(block(events)).any()


def test_no_event_no_alert_no_error() -> None:
    pipeline, alerts = run([block([])], CONFIG)
    assert alerts == []
    assert pipeline.events == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"account": "a" * 256, "user_agent": "", "source_ip": "", "credential": "", "issuer": "", "subject": ""},
        {"records": 2**62, "bytes": 2**62},
        {"records": 0, "bytes": 0},
        {"source_ip": "not an address", "asn": 2**32 - 1, "country": "ZZ"},
        {"account": "\u202e\x00'\"<script>", "subject": "\U0001f4a9" * 60},
    ],
)
def test_odd_values_are_scored_like_others(fields: dict[str, Any]) -> None:
    """No value that passes the checks raises a warning, a NaN or an exception, however often it comes."""
    account = fields.pop("account", "a")
    events = [event(START_MS + i * 60_000, account, **fields) for i in range(3_000)]
    pipeline, _ = run([block(regulars(3, 40, np.random.default_rng(1)) + events)], CONFIG)
    _, arrays = pipeline.save()
    for name, array in arrays.items():
        for column in _floats(array):
            assert np.isfinite(column).all(), name


def _floats(array: Any) -> Iterator[Any]:
    if array.dtype.names:
        for name in array.dtype.names:
            yield from _floats(array[name])
    elif array.dtype.kind == "f":
        yield array


def test_a_stream_that_jumps_in_time_is_followed() -> None:
    """Years of silence between two events: one tick for the gap, not a million."""
    ticks: list[int] = []
    pipeline = Pipeline(CONFIG, lambda _alert: None, ticks.append)
    for year in range(3):
        at = START_MS + year * 365 * DAY_MS
        pipeline.process(block([event(at + i * HOUR_MS // 10, "a") for i in range(30)]))
    assert len(ticks) < 300


def test_tables_keep_to_their_limits_and_what_finds_no_room_is_scored() -> None:
    """A flood of made-up accounts: memory stands still, every event counts, the overflow says so."""
    limits = msgspec.structs.replace(CONFIG.entities_max, account=500, credential=500, source=300, network=50)
    config = msgspec.structs.replace(CONFIG, entities_max=limits)
    sizes = []
    pipeline = Pipeline(config, lambda _alert: None)
    for round_ in range(10):
        events = [
            event(START_MS + round_ * HOUR_MS + i * 300, f"made-up-{round_}-{i}", source_ip=f"10.{i % 200}.{round_}.1")
            for i in range(2_000)
        ]
        pipeline.process(block(events))
        sizes.append(pipeline.nbytes())
    assert pipeline.events == 20_000
    assert all(len(pipeline.tables[kind]) <= getattr(limits, kind) for kind in ("account", "credential", "source"))
    assert sizes[-1] <= 1.3 * sizes[2]
    accounts = pipeline.tables["account"]
    assert accounts.evicted + accounts.index.overflowed > 0


def test_the_budget_is_kept_by_noise_and_what_is_held_back_is_counted() -> None:
    """Every account goes wild on its own, hundreds of incidents: the day's budget opens, the others are counted."""
    rng = np.random.default_rng(5)
    events = regulars(6, 400, rng)
    wild = START_MS + 5 * DAY_MS
    events += [
        event(wild + n * 1_500_000 + i * 500, f"user-{n}", credential=f"t-{n}-5", subject=f"s-{n}-{i}", records=900,
              resource=f"/r{n}", issuer=f"k{n}", user_agent=f"ua{n}", source_ip=f"203.{n}.113.5")
        for n in range(50) for i in range(120)
    ]  # fmt: skip
    config = msgspec.structs.replace(CONFIG, alerts_per_day_max=1.0)
    pipeline, alerts = run([block(events)], config)
    opened = [a for a in alerts if a.status == "open"]
    criticals = [a for a in opened if a.severity == "critical"]
    assert 1 <= len(opened) <= 2 + 2  # what a day and the one before leave, and as many criticals
    assert len(opened) - len(criticals) <= 2
    assert sum(pipeline.correlator.budget.held_back.values()) > 0


def test_every_alert_has_what_an_analyst_needs() -> None:
    """An id that a replay repeats, revisions that count up, one opening, evidence, related entities, impact, lines."""
    _, alerts = run([retailer()], CONFIG)
    assert raw(np.zeros(1)) == b"\0" * 8
    revisions: dict[str, int] = {}
    for alert in alerts:
        assert alert.revision == revisions.get(alert.id, 0) + 1
        assert (alert.status == "open") == (alert.revision == 1)
        revisions[alert.id] = alert.revision
        assert alert.evidence
        assert alert.detectors
        assert alert.techniques
        assert alert.window.start <= alert.window.end
        assert all(each.observed >= 0 and each.bits >= 0 for each in alert.evidence)
        assert alert.title
        assert alert.entity.value in alert.summary
    told = [a for a in alerts if a.impact.records > 20]
    assert told
    for alert in told:
        assert alert.related
        lines = alert.source[0]
        assert 0 < (lines.first_line or 0) <= (lines.last_line or 0)


def test_only_two_that_agree_move_the_clock_into_the_future() -> None:
    """One record from the future neither ticks nor teaches; the events after it are scored as before."""
    events = regulars(2, 20, np.random.default_rng(2))
    whole = block(events)
    future = block([event(START_MS + 300 * DAY_MS, "user-1")])
    pipeline, _ = run([whole], CONFIG, finish=False)
    now = pipeline.now_ms
    pipeline.process(future)
    assert pipeline.now_ms == now
    pipeline.process(block([event(now + 1_000, "user-2")]))
    assert pipeline.now_ms == now + 1_000


def test_parts_of_what_chance_may_spend_are_no_more_than_the_whole() -> None:
    """One for each measure of a kind of entity, and more for some: together all that there is, and less for nobody."""
    pipeline = Pipeline(Config(), lambda _alert: None)
    spent = 0.0
    for detector in pipeline.detectors:
        for kind in detector.kinds:
            parts = [detector.parts(kind, klass) for klass in range(CLASSES)]
            assert min(parts) >= 1.0
            assert 1 <= detector.measures(kind) <= len(detector.features)
            spent += max(parts) * detector.measures(kind) * (detector.weight >= 0)
    assert spent == pipeline._families


def test_where_a_machine_is_counts_for_more_than_where_a_person_is() -> None:
    """Of the same findings, by three bits; a network that both use has no kind."""
    pipeline = Pipeline(Config(), lambda _alert: None)
    pipeline.process(block([event(START_MS, "ann"), event(START_MS + 1, "job")]))
    first_seen = next(d for d in pipeline.detectors if d.id == "first_seen")
    first_seen.bits = lambda finding: (30.0, 1.0)  # type: ignore[method-assign]
    found = np.zeros(3, FINDING)
    found["slot"], found["time"], found["bits"] = (1, 2, 1), START_MS, 30.0
    found["klass"] = [ACCOUNT_KINDS.index(kind) for kind in ("employee", "service", "service")]
    found["kind"] = [KINDS.index(kind) for kind in ("account", "account", "network")]
    found["feature"] = (0, 0, 1)
    pipeline._gather(first_seen, found)
    score = {e.value: e.score for e in pipeline.fusion.save()}
    assert score["job"] == pytest.approx(score["ann"] + 3.0)
    assert min(score.values()) == score["ann"] == pytest.approx(30.0 - np.log2(pipeline._families))
    assert len(score) == 3
