"""The recorder looks on: it changes nothing, keeps little, and what it keeps is true."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.base import HORIZONS_S
from detectors.kernels import share_bits
from stream import record
from stream.alerts import Alert
from stream.config import Config
from stream.events import EventBlock
from stream.gauges import BITS, gauges, most_hits
from stream.incidents import generate, load_incident
from stream.pipeline import READS, SUCCESS, Pipeline
from stream.record import Recorder, Series
from tests.streams import HOUR_MS, START_MS, block, event, plain, regulars, run, state

CONFIG = Config(warmup_h=24.0, session_lifetime_h=12.0, tick_s=120)


@cache
def retailer() -> EventBlock:
    """Three days of a small retailer with a theft, as one block."""
    (whole,) = generate(load_incident("forged-token"), accounts=300, days=3.0, seed=1, block_events=1_000_000)
    return whole


@cache
def unseen() -> tuple[Any, list[dict[str, Any]]]:
    """What comes of it where nobody looks."""
    pipeline, alerts = run([retailer()], CONFIG)
    assert any(alert.status == "open" for alert in alerts)
    return state(pipeline), plain(alerts)


def recorded(whole: EventBlock, recorder: Recorder, config: Config = CONFIG) -> Pipeline:
    """A run that is looked at."""
    pipeline = Pipeline(config, recorder.alert, recorder.tick)
    recorder.bind(pipeline)
    pipeline.process(whole)
    pipeline.finish()
    return pipeline


@cache
def looked_at() -> tuple[Recorder, Pipeline]:
    recorder = Recorder()
    return recorder, recorded(retailer(), recorder)


# It changes nothing


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(every_s=st.sampled_from([1, 600, 7_200]), entities_max=st.sampled_from([1, 64]))
def test_a_run_that_is_looked_at_is_a_run_that_is_not(every_s: int, entities_max: int) -> None:
    """The same alerts and the same state, bit for bit, however closely it looks."""
    recorder = Recorder(every_s, entities_max)
    pipeline = recorded(retailer(), recorder)
    for alert in recorder.alerts:
        recorder.standing(alert)
        recorder.figures(alert.entity.kind, alert.entity.value)
    assert (state(pipeline), plain(recorder.alerts)) == unseen()


def test_before_it_is_bound_it_looks_at_nothing() -> None:
    recorder = Recorder()
    recorder.tick(START_MS)
    assert recorder.figures("fleet", "fleet") == {}


# It keeps little

FIGURE = st.tuples(st.one_of(st.floats(), st.sampled_from([math.nan, 1.0, 2.0])), st.integers(0, 9))


@given(samples=st.lists(st.tuples(FIGURE, FIGURE), min_size=1, max_size=60))
def test_a_series_keeps_its_bound_and_every_peak(samples: list[Any]) -> None:
    """No more rows than the limit; of each figure the greatest stays, as it was, and so does the latest time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(record, "POINTS_MAX", 8)
        series = Series(2, 2)
        for ms, figures in enumerate(samples):
            series.add(ms, figures)
            assert len(series) <= 8
            assert series.last_ms == ms
    assert np.all(np.diff(series.rows()[:, 0]) > 0)
    for place in range(2):
        given_figures = [sample[place] for sample in samples]
        known = [seen for seen, _ in given_figures if not math.isnan(seen)]
        rows = series.of(place)[:, 1:].tolist()
        assert all(_in(tuple(row), given_figures) for row in rows)
        if known:
            assert np.nanmax([seen for seen, _ in rows]) == max(known)


def _in(figure: tuple[float, ...], figures: list[tuple[float, float]]) -> bool:
    return any(np.array_equal(figure, each, equal_nan=True) for each in figures)


@given(count=st.integers(1, 200))
def test_rows_of_a_series_are_of_like_length(count: int) -> None:
    """A long picture is equally fine from its beginning to its end."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(record, "POINTS_MAX", 8)
        series = Series(1, 1)
        for ms in range(count):
            series.add(ms, [[0.0]])
    lengths = np.diff(series.rows()[:, 0], prepend=-1.0)
    assert len(set(lengths[:-1])) <= 1
    assert len(series) > 4 or count <= 4


def test_a_recorder_keeps_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entities, samples, incidents, findings and revisions; what is left out is counted."""
    whole, pipeline = looked_at()
    limits = {"POINTS_MAX": 16, "ALERTS_MAX": 2, "STORIES_MAX": 1, "DOTS_MAX": 3}
    for name, limit in limits.items():
        monkeypatch.setattr(record, name, limit)
    recorder = Recorder(entities_max=1)
    recorded(retailer(), recorder)
    followed = [
        (kind, table.name(slot))
        for kind, table in pipeline.tables.items()
        for slot in range(1 if kind == "fleet" else table.index.count)
        if kind == "fleet" or slot > 0
    ]
    tracks = [found for each in followed if (found := recorder.figures(*each))]
    assert 0 < len(tracks) <= 1 + 3 * 1 < sum(bool(whole.figures(*each)) for each in followed)
    assert all(len(rows) <= 16 for figures in tracks for _, _, rows in figures.values())
    assert len(recorder.stories) == 1
    assert all(len(s.course) <= 16 and len(s.dots) <= 3 for s in recorder.stories.values())
    assert len(recorder.alerts) == 2
    assert recorder.dropped == len(whole.alerts) - 2
    _, _, few = recorder.figures("fleet", "fleet")["volume", "requests"]
    _, _, many = whole.figures("fleet", "fleet")["volume", "requests"]
    assert few[:, 1].max() == many[:, 1].max()


# What it keeps is true


def test_the_fleet_is_what_a_decayed_sum_of_its_events_is() -> None:
    """Twin: requests and records of twenty minutes, from the log."""
    recorder, _ = looked_at()
    whole = retailer()
    read = (whole.outcome == SUCCESS) & READS[whole.action]
    for name, amounts in (("requests", np.ones(len(whole))), ("records", np.where(read, whole.records, 0.0))):
        _, window_s, rows = recorder.figures("fleet", "fleet")["volume", name]
        assert window_s == HORIZONS_S[0]
        for ms, seen, _, _ in rows[[20, 200, -2]].tolist():
            past = whole.time < ms
            expected = (amounts[past] * np.exp(-(ms - whole.time[past]) / (1000.0 * window_s))).sum()
            assert seen == pytest.approx(float(expected), rel=1e-3)


def test_credentials_that_no_login_issued_are_counted_over_an_hour() -> None:
    """Twin: ten forged tokens, one a minute, in a stream of logins; and all of them are beyond what passes."""
    rng = np.random.default_rng(1)
    start = START_MS + 34 * HOUR_MS
    forged = [event(start + n * 60_000, f"user-{n}", credential=f"forged-{n}") for n in range(10)]
    recorder = Recorder(every_s=60)
    recorded(block(regulars(3, 100, rng) + forged), recorder, msgspec.structs.replace(CONFIG, tick_s=60))
    _, window_s, rows = recorder.figures("issuer", "key-1")["unissued", "unissued"]
    assert window_s == 3600.0
    settled = start + np.arange(10) * 60_000 + CONFIG.join_grace_s * 1000
    for ms, seen, _, _ in rows[(rows[:, 0] >= settled[0]) & (rows[:, 0] < start + 2 * HOUR_MS)].tolist():
        assert seen == pytest.approx(float(np.exp(-(ms - settled[settled <= ms]) / 3_600_000).sum()), rel=1e-3)
    _, seen, expected, upper = rows[np.argmax(rows[:, 1])].tolist()
    assert expected < 1 < upper < seen


def test_nothing_is_called_usual_before_anyone_is_judged() -> None:
    """A first hour has sums and no band."""
    recorder = Recorder()
    recorded(block(event(START_MS + n * 1000, f"user-{n % 5}") for n in range(3_000)), recorder)
    for _, _, rows in recorder.figures("fleet", "fleet").values():
        assert np.isnan(rows[:, 2:]).all()
    assert recorder.figures("fleet", "fleet")["volume", "requests"][2][-1, 1] > 100


@given(trials=st.floats(0.0, 1e6), share=st.floats(0.002, 0.999))
def test_what_passes_surprises_about_as_much_as_three_deviates(trials: float, share: float) -> None:
    """No more, and hardly less unless it is all there is."""
    most = most_hits(trials, share)
    assert trials * share * (1 - 1e-12) <= most <= trials
    assert share_bits(most, trials, share) <= BITS
    assert most == trials or share_bits(most + 1e-5 * trials, trials, share) >= BITS


def test_an_entity_is_followed_from_its_alert_on_with_the_band_of_the_day_before() -> None:
    """The account of a theft: one day of what was usual, and the first observation where it was told."""
    recorder = Recorder()
    rng = np.random.default_rng(1)
    start = START_MS + 57 * HOUR_MS
    theft = [event(start + n * 3_000, "user-7", credential="t-user-7-2", records=50, subject="") for n in range(200)]
    recorded(block(regulars(3, 150, rng) + theft), recorder)
    (first, *_) = [alert for alert in recorder.alerts if ("account", "user-7") in names(alert)]
    _, _, rows = recorder.figures("account", "user-7")["volume", "records"]
    told = recorder.told_ms(first)
    assert told is not None and told % 120_000 == 0
    before = rows[rows[:, 0] < told]
    assert np.isnan(before[:, 1]).all()
    assert told - before[0, 0] == 24 * HOUR_MS
    assert (before[:, 3] >= before[:, 2]).all()
    at = rows[rows[:, 0] >= told][0]
    assert at[1] > at[3] > 0


def names(alert: Alert) -> set[tuple[str, str]]:
    """What the evidence of an alert is about."""
    return {(item.entity.kind, item.entity.value) for item in alert.evidence}


def test_an_open_alert_stands_as_its_incident_does_and_a_closed_one_as_it_was_told() -> None:
    """At every tick; what left since the last revision is in it."""
    recorder, grown, closed = Recorder(), 0, 0

    def tick(_: int) -> None:
        nonlocal grown, closed
        incidents = {incident.id: incident for incident in pipeline.correlator.open}
        for alert in {alert.id: alert for alert in recorder.alerts}.values():
            standing = recorder.standing(alert)
            if incident := incidents.get(alert.id):
                assert (standing.id, standing.revision, standing.status) == (alert.id, alert.revision, alert.status)
                assert standing.impact.records == int(incident.records)
                grown += standing.impact.records > alert.impact.records
            else:
                assert standing is alert
                closed += 1

    pipeline = Pipeline(CONFIG, recorder.alert, tick)
    recorder.bind(pipeline)
    pipeline.process(retailer())
    assert grown and closed


def test_a_story_rises_and_ends_where_its_alert_does() -> None:
    """Score and records never fall, no finding is above the score of its time, and the last of both is the alert's."""
    recorder, _ = looked_at()
    for alert in {alert.id: alert for alert in recorder.alerts}.values():
        story = recorder.stories[alert.id]
        rows = story.course.rows()
        assert (np.diff(rows, axis=0) >= -0.01).all()
        standing = recorder.standing(alert)
        assert rows[-1, 1] == pytest.approx(standing.score_bits, abs=0.01)
        assert int(rows[-1, 2]) == standing.impact.records
        late_ms = CONFIG.tick_s * 1000
        for (ms, *_), each in story.dots.items():
            assert each.time == ms
            assert each.score <= rows[rows[:, 0] <= max(ms + late_ms, rows[0, 0]), 1].max() + 0.01


def test_every_detector_may_be_looked_at() -> None:
    """All that discovery finds, in one pipeline with a recorder: what keeps rows of its own kind has no gauge."""
    pipeline, recorder = Pipeline(Config(warmup_h=0.0), lambda _alert: None), Recorder()
    recorder.bind(pipeline)
    pipeline.process(block(regulars(2, 30, np.random.default_rng(1))))
    for kind, table in pipeline.tables.items():
        for gauge in gauges(pipeline.detectors, kind):
            for slot in range(min(table.index.count, 3)):
                assert len(gauge.read(table, slot, pipeline.now_ms)) == len(gauge.features)
