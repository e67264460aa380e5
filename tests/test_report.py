"""The page: one file, and true."""

from __future__ import annotations

import io
import math
from functools import cache

import msgspec
import numpy as np
import pytest

from stream import summary
from stream.alerts import EntityRef, EvidenceItem, Impact, rfc3339
from stream.case import Case, threads_of
from stream.console import Console
from stream.incidents import load_incident
from stream.markup import duration
from stream.pipeline import Pipeline
from stream.record import Recorder, Story
from stream.replay import Replay, Score
from stream.report import page
from tests.pages import CONFIG, Reader, alert, looked_at, made, of_run, theft, told
from tests.streams import HOUR_MS, START_MS, regulars

# It is one file


@cache
def stolen() -> tuple[str, Reader]:
    """The page of a run with alerts."""
    recorder, pipeline = looked_at(theft())
    facts = summary.of_run(pipeline, {}, None, CONFIG.warmup_h, 1.0)
    html = page(Case("access.jsonl", facts, recorder, threads_of(recorder.alerts, recorder)))
    return html, Reader(html)


def test_a_page_runs_nothing_and_asks_for_nothing() -> None:
    """Its policy forbids scripts and everything from elsewhere, and it has none: no address stands in it."""
    html, _ = stolen()
    assert "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'" in html
    assert html.startswith("<!doctype html>")
    for part in ("<script", "javascript:", "http:", "https:", "//", "url(", "@import", "@font-face", "src=", "href="):
        assert part not in html.lower(), part


# It is true


def test_the_head_says_what_happened_since_when_how_sure_and_what_left() -> None:
    """In the words of the first and the latest revision."""
    first = alert(impact=Impact(50, 700, 4), score_bits=5.0, severity="medium")
    last = alert(revision=2, status="update", impact=Impact(5000, 70_000, 40), score_bits=12.0)
    text = made([first, last]).text
    for part in (
        "Unusual volume read by account ann", "high", "1 Jan 2025 01:00",
        "1 h after its first access", "when 50 records had left", "Still open.", "1 Jan 00:00", "once in 11 years",
        "5,000", "records of 40 people left (70 kB), 1.0% before the alert",
    ):  # fmt: skip
        assert part in text, part


def test_an_alert_that_was_opened_before_this_run_is_not_told_as_if_it_was_opened_now() -> None:
    """What had left at its opening is not known here, and its time is that of its evidence."""
    text = made([alert(revision=3, status="update")]).text
    assert "Told 1 Jan 2025 01:00 UTC" in text
    assert "had left" not in text.partition("Against")[0]
    assert "before the alert" not in text


def test_a_closed_alert_is_called_closed() -> None:
    recorder, _ = looked_at(theft())
    threads = threads_of(recorder.alerts, recorder)
    assert any(thread.closed_ms for thread in threads)
    for thread in threads:
        assert (thread.closed_ms is not None) == (thread.last.status == "closed")
        assert thread.closed_ms is None or thread.closed_ms > thread.told_ms
    case = Case("log", (), recorder, threads)
    assert case.lead is not None
    assert ("Still open." in Reader(page(case)).text) == (case.lead.closed_ms is None)


def test_a_run_with_alerts_shows_the_strongest_against_its_band_its_evidence_and_who_was_read() -> None:
    _, reader = stolen()
    recorder, _ = looked_at(theft())
    strongest = max(recorder.alerts, key=lambda each: each.score_bits)
    assert strongest.title in reader.text
    for part in (
        "Against what is usual", "beyond what is usual", "How the evidence added up", "What left meanwhile",
        "Who was read, and by what", "of 150 people", "The evidence", "Other alerts", "The run", "How to read this",
    ):  # fmt: skip
        assert part in reader.text, part
    assert sum(each[0] == "figure" for each in reader.skeleton) >= 3


def test_what_left_since_the_last_revision_is_on_the_page() -> None:
    """A theft that goes on where the log ends: all that is known of it, not what was worth another message."""
    end = START_MS + 57 * HOUR_MS + 400_000
    recorder, pipeline = looked_at([each for each in theft() if each.time < end])
    case = Case("log", (), recorder, threads_of(recorder.alerts, recorder))
    assert case.lead is not None
    (records,) = {int(each.records) for each in pipeline.correlator.open if each.id == case.lead.last.id}
    assert records > max(each.impact.records for each in recorder.alerts if each.id == case.lead.last.id)
    assert f"{records:,} records of" in Reader(page(case)).text


def test_a_run_without_alerts_says_so_and_shows_all_traffic() -> None:
    reader = of_run(regulars(3, 150, np.random.default_rng(1)))
    assert "Nothing was unusual enough to tell of." in reader.text
    assert "All traffic" in reader.text
    assert "The evidence" not in reader.text
    assert sum(each[0] == "figure" for each in reader.skeleton) == 2


def test_a_run_that_only_learned_does_not_say_that_all_is_well() -> None:
    reader = of_run(regulars(0.5, 50, np.random.default_rng(1)))
    assert "Still learning." in reader.text
    assert "not judged yet" in reader.text
    assert "Nothing was unusual" not in reader.text
    assert "within what is usual" not in reader.text


def test_an_empty_run_says_that_nothing_was_read() -> None:
    for reader in (of_run([]), made([], Recorder())):
        assert "No event was read." in reader.text
        assert "Nothing was unusual" not in reader.text


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e300, 0.0])
def test_figures_without_measure_are_told_in_words(value: float) -> None:
    """In evidence, scores and what left by time; none stands on the page as `inf` or `nan`."""
    recorder = Recorder()
    recorder.bind(Pipeline(CONFIG, recorder.alert))
    items = [
        EvidenceItem(detector, EntityRef("account", "ann"), feature, value, value, each.unit, 1200.0, value)
        for (detector, feature), each in recorder.features.items()
    ]
    alerts = [alert(evidence=tuple(items), score_bits=value), alert(id="tl-2", score_bits=value)]
    story = recorder.stories.setdefault("tl-1", Story())
    story.course.add(START_MS + HOUR_MS, [[12.0], [5000.0]])
    story.course.add(START_MS + 2 * HOUR_MS, [[value], [value]])
    html = page(Case("log", (), recorder, threads_of(alerts, recorder)))
    words = Reader(html).text.lower().split()
    assert not {"inf", "-inf", "nan", "nan%", "infinity"} & set(words)
    assert 'nan"' not in html
    assert 'inf"' not in html


def test_more_alerts_than_there_is_room_for_are_counted() -> None:
    alerts = [alert(id=f"tl-{n}") for n in range(600)]
    assert "99 more are not on this page." in made(alerts).text
    recorder = told("ann", alerts)
    recorder.dropped = 7
    assert "7 later revisions of alerts" in made(alerts, recorder).text


# A replay knows the attack


@cache
def replayed() -> tuple[Recorder, Score, Pipeline]:
    incident = load_incident("forged-token")
    attack = msgspec.structs.replace(incident.attack, requests_per_day_min=40_000.0)
    recorder = Recorder()
    replay = Replay(
        msgspec.structs.replace(incident, attack=attack), CONFIG, accounts=300, days=3.0, seed=1,
        on_alert=recorder.alert, on_tick=recorder.tick,
    )  # fmt: skip
    recorder.bind(replay.pipeline)
    return recorder, replay.go(), replay.pipeline


def test_a_replay_tells_how_long_the_attack_went_unnoticed() -> None:
    """In the minutes of its own score, with the attack in the pictures."""
    recorder, score, pipeline = replayed()
    assert score.found
    facts = summary.of_replay(score, Console(io.StringIO()), pipeline, attack=True)
    truth = score.truth.start_ms, score.truth.end_ms
    found = {each.alert.id for each in score.found}
    html = page(Case("x", facts, recorder, threads_of(recorder.alerts, recorder), truth, found))
    reader = Reader(html)
    assert score.minutes is not None
    assert f"{duration(score.minutes * 60_000)} after the attack's first request" in reader.text
    assert f"{score.records_out:,} of {score.truth.records:,} records" in reader.text
    assert 'class="attack"' in html
    assert "The replay, which knows the attack" in reader.text


def test_an_alert_about_something_else_does_not_find_the_attack() -> None:
    """Told in the attack's time, by an account that has no part in it."""
    other = alert()
    truth = START_MS, START_MS + 5 * HOUR_MS
    assert "The attack was not found." in made([other], attack=truth, about=()).text
    assert "The attack was not found." in made([other], attack=(START_MS + 2 * HOUR_MS, truth[1])).text
    assert "The attack was not found." in made([], attack=truth).text
    assert "The attack was not found." not in made([other], attack=truth).text


def test_a_replay_leads_with_the_alert_that_found_the_attack_first() -> None:
    """And not with a stronger one that came later, or that is about something else."""
    first, later = alert("first"), alert("later", id="tl-2", time=rfc3339(START_MS + 2 * HOUR_MS), score_bits=50.0)
    other = alert("other", id="tl-3", time=rfc3339(START_MS), score_bits=90.0)
    alerts = [other, first, later]
    case = Case(
        "x", (), Recorder(), threads_of(alerts, Recorder()), (START_MS, START_MS + 5 * HOUR_MS), {"tl-1", "tl-2"}
    )
    assert case.lead is not None
    assert case.lead.last is first
    case = Case("x", (), Recorder(), threads_of(alerts, Recorder()))
    assert case.lead is not None
    assert case.lead.last is other
