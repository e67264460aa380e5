"""What every detector promises, checked over all that discovery finds."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from detectors import catalog
from detectors.base import ENTITY, KINDS, Detector
from stream.config import Config
from stream.pipeline import Pipeline
from stream.trace import TRACED
from tests.streams import START_MS, block, event, regulars, run

IDS = catalog.detector_ids()
SECTIONS = ("Statistic", "Entities:", "Unit", "Memory:", "Cold start:", "Evasion:", "Misses:", "ATT&CK:")


def detector(name: str) -> Detector:
    """The detector alone in a pipeline."""
    pipeline = Pipeline(Config(detectors={each: each == name for each in IDS}), lambda _alert: None)
    (found,) = pipeline.detectors
    return found


@pytest.mark.parametrize("name", IDS)
def test_its_docstring_says_what_an_analyst_asks(name: str) -> None:
    """Statistic and source, entities, units, bytes of state, cold start, how to dodge it, what it misses, ATT&CK."""
    text = inspect.getdoc(inspect.getmodule(type(detector(name)))) or ""
    assert not [section for section in SECTIONS if section not in text]
    for technique in detector(name).techniques:
        assert technique in text


@pytest.mark.parametrize("name", IDS)
def test_its_columns_are_plain_numbers_of_fixed_size(name: str) -> None:
    """Nothing in them is an object, and everything is within the memory target."""
    found = detector(name)
    assert found.columns or name == "canary"  # which knows what it looks for and learns nothing
    for kind, dtype in found.columns.items():
        assert kind in KINDS
        assert not dtype.hasobject
        assert dtype.itemsize + ENTITY.itemsize <= 300


@pytest.mark.parametrize("name", IDS)
def test_its_kinds_features_and_words_fit_together(name: str) -> None:
    found = detector(name)
    assert found.id == name
    assert set(found.kinds) <= set(KINDS)
    assert set(found.cause) <= set(found.kinds) and set(found.cause.values()) <= set(TRACED)
    assert found.features
    assert found.title.format(kind="account", value="a")
    for feature in found.features:
        said = feature.sentence.format(observed=feature.observed(3.0), expected=feature.expected(0.1), window="1 d")
        assert "{" not in said


@pytest.mark.parametrize("name", IDS)
def test_nothing_is_found_before_there_is_anything_to_compare_with(name: str) -> None:
    """The first events of a stream, and the first of everything in it, are evidence of nothing."""
    config = Config(detectors={each: each == name for each in IDS}, warmup_h=0.0, session_lifetime_h=0.0)
    events = [event(START_MS + i * 1000, f"user-{i}", credential=f"t-{i}", records=1 + i % 3) for i in range(40)]
    _, alerts = run([block(events)], config)
    assert alerts == []


@pytest.mark.parametrize("name", IDS)
def test_without_it_the_others_go_on(name: str) -> None:
    config = Config(detectors={name: False}, warmup_h=0.0)
    pipeline, _ = run([block(regulars(2, 30, np.random.default_rng(3)))], config)
    assert name not in [each.id for each in pipeline.detectors]
    assert pipeline.events > 100


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("value", [0, 1, 1e12])
def test_constants_are_no_surprise(name: str, value: Any) -> None:
    """The same thing every quarter of an hour for a week, nothing or a lot: no alert."""
    config = Config(detectors={each: each == name for each in IDS}, warmup_h=24.0, session_lifetime_h=24.0, tick_s=600)
    crowd = [
        event(START_MS + i * 900_000 + n, f"job-{n}", records=value, bytes=value, account_kind="service")
        for n in range(40) for i in range(7 * 96)
    ]  # fmt: skip
    _, alerts = run([block(crowd)], config)
    assert alerts == []
