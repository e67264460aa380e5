"""What holds for every alert format that is found."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings

from stream.alerts import Alert
from stream.encode import alert_format, alert_formats
from stream.errors import UsageError
from tests.encode.alerts import alerts


def texts(value: Any) -> set[str]:
    """Every text anywhere in a document."""
    if isinstance(value, dict):
        return set().union(*map(texts, value.values()))
    if isinstance(value, list):
        return set().union(*map(texts, value))
    return {value} if isinstance(value, str) else set()


@pytest.mark.parametrize("name", alert_formats())
@settings(max_examples=30)
@given(alert=alerts)
def test_a_format_is_one_line_of_json_that_names_everybody(name: str, alert: Alert) -> None:
    """Whoever an analyst would block or look up is there by name, and so are the words."""
    line = alert_format(name).encode(alert)
    assert b"\n" not in line
    said = texts(orjson.loads(line))
    named = {alert.entity.value, *(r.value for r in alert.related), *(e.entity.value for e in alert.evidence)}
    assert named | {alert.summary, alert.title, alert.id, *alert.detectors} <= said


@settings(max_examples=30)
@given(alert=alerts)
def test_native_reads_back_as_it_was(alert: Alert) -> None:
    assert msgspec.json.decode(alert_format("native").encode(alert), type=Alert) == alert


def test_a_format_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"cef.*ecs, native, ocsf"):
        alert_format("cef")
