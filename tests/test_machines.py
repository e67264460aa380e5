"""Who is a machine where the log does not say."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.base import SERVICE
from stream.config import Config
from stream.events import ACCOUNT_KINDS
from stream.machines import UNKNOWN
from stream.pipeline import Pipeline
from tests.streams import DAY_MS, HOUR_MS, START_MS, block, event


def classes(hours: range, days: int, kind: str, each_h: int = 1) -> list[int]:
    """The kind of account that detectors see of each event of one that works in these hours of the day."""
    seen: list[int] = []
    pipeline = Pipeline(Config(), lambda _alert: None)
    observe = pipeline.detectors[0].observe

    def noted(frame: object, columns: object, bit: int) -> object:
        seen.extend(frame.klass.tolist())  # type: ignore[attr-defined]
        return observe(frame, columns, bit)  # type: ignore[arg-type]

    pipeline.detectors[0].observe = noted  # type: ignore[method-assign, assignment]
    times = [START_MS + day * DAY_MS + hour * HOUR_MS for day in range(days) for hour in hours if hour % each_h == 0]
    pipeline.process(block([event(at, "somebody", account_kind=kind) for at in times]))
    return seen


def test_what_never_rests_is_a_machine_from_its_fourth_day_on() -> None:
    seen = classes(range(24), 6, "unknown")
    assert seen == [UNKNOWN] * 72 + [SERVICE] * 72


@pytest.mark.parametrize("hours", [range(6, 20), range(2, 4)])
def test_who_sleeps_is_not_and_nor_is_what_runs_at_night_alone(hours: range) -> None:
    assert set(classes(hours, 12, "unknown")) == {UNKNOWN}


@pytest.mark.parametrize("kind", [kind for kind in ACCOUNT_KINDS if kind != "unknown"])
def test_what_the_log_says_stands(kind: str) -> None:
    assert set(classes(range(24), 6, kind)) == {ACCOUNT_KINDS.index(kind)}


def test_hours_at_work_are_what_counts_and_not_requests() -> None:
    """One every second hour is twelve hours a day."""
    assert set(classes(range(24), 8, "unknown", each_h=2)) == {UNKNOWN}
    assert np.int8(SERVICE) == ACCOUNT_KINDS.index("service")
