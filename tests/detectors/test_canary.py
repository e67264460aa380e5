"""canary: what was planted is read."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import catalog
from stream.alerts import Alert
from stream.config import Canary, Config
from stream.events import AccessEvent
from tests.detectors.scenes import WHEN, usual
from tests.streams import DAY_MS, HOUR_MS, START_MS, block, event, part, plain, run, state

PLANTED = Canary(
    objects=("card-4711",),
    subjects=("nobody@shop.example",),
    resources=("/backup/old",),
    exempt_accounts=("svc-check",),
)
ALONE = Config(detectors={each: each == "canary" for each in catalog.detector_ids()}, canary=PLANTED)
PLACES = [{"object": "card-4711"}, {"subject": "nobody@shop.example"}, {"resource": "/backup/old"}]


def opened(events: list[AccessEvent], config: Config = ALONE) -> list[Alert]:
    return [alert for alert in run([block(events)], config)[1] if alert.status == "open"]


@pytest.mark.parametrize("where", PLACES, ids=lambda where: next(iter(where)))
def test_one_read_is_a_critical_alert_about_who_read(where: dict[str, str]) -> None:
    """Told by the next tick, with its place in the log, and naming the account."""
    (alert,) = opened([*usual(), event(WHEN, "user-3", records=3, **where)])
    assert (alert.entity.kind, alert.entity.value, alert.severity) == ("account", "user-3", "critical")
    assert alert.impact.records == 3
    assert alert.source[0].first_line == alert.source[0].last_line


def test_the_first_event_of_a_stream_is_enough() -> None:
    """While everything else is still learning; and the usual traffic of those hours is no alert."""
    config = msgspec.structs.replace(ALONE, detectors={})
    events = [event(START_MS, "user-3", object="card-4711"), *usual(20, days=1)]
    (alert,) = opened(events, config)
    assert alert.detectors == ("canary",)


def test_what_is_like_it_is_not_planted() -> None:
    """The benign twin: other names, a planted name in another field, a read that was refused, a login."""
    events = [
        event(WHEN, "user-3", object="card-4712"),
        event(WHEN, "card-4711"),
        event(WHEN, "user-3", "login", "/backup/old"),
        event(WHEN, "user-3", object="card-4711", outcome="failure"),
        event(WHEN, "svc-check", object="card-4711"),
    ]
    assert opened([*usual(), *events]) == []


def test_nothing_planted_is_no_work_and_no_alert() -> None:
    config = msgspec.structs.replace(ALONE, canary=Canary())
    assert opened([*usual(20), event(WHEN, "user-3", object="card-4711")], config) == []


def test_reading_it_every_day_makes_it_no_custom() -> None:
    """What cannot be learned cannot be dragged: the tenth reader is told as the first was."""
    reads = [event(START_MS + day * DAY_MS, f"user-{day}", object="card-4711") for day in range(10)]
    assert [alert.severity for alert in opened(reads)] == ["critical"] * 10


def test_who_knows_what_is_planted_is_not_found() -> None:
    """The evasion that its docstring admits: everything but the planted record."""
    everything = [event(WHEN + n * 1_000, "user-3", object=f"card-{n}") for n in range(4_000, 4_711)]
    assert opened([*usual(), *everything]) == []


def test_state_outlives_a_change_of_what_is_planted() -> None:
    """A new decoy is no reason to learn anew."""
    pipeline, _ = run([block(usual(20))], ALONE, finish=False)
    meta, arrays = pipeline.save()
    more = msgspec.structs.replace(ALONE, canary=Canary(objects=("card-1",)))
    later, alerts = run([], more, finish=False)
    later.load(meta, {name: array.copy() for name, array in arrays.items()})
    later.process(block([event(WHEN + 3 * DAY_MS, "user-3", object="card-1")]))
    later.finish()
    assert [alert.entity.value for alert in alerts if alert.status == "open"] == ["user-3"]


@settings(max_examples=10, deadline=None)
@given(edges=st.lists(st.integers(0, 600), max_size=8))
def test_where_batches_are_cut_changes_nothing(edges: list[int]) -> None:
    """Several accounts, several times within a tick."""
    reads = [event(START_MS + HOUR_MS + i * 7_000, f"user-{i % 5}", object="card-4711") for i in range(40)]
    whole = block([*usual(20, days=2), *reads])
    bounds = [0, *sorted({min(e, len(whole)) for e in edges}), len(whole)]
    one, told = run([whole], ALONE)
    two, again = run([part(whole, a, b) for a, b in pairwise(bounds) if b > a], ALONE)
    assert state(one) == state(two)
    assert plain(told) == plain(again)
