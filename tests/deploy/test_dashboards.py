"""Every panel of both dashboards shows something of a real run, and asks for nothing that does not exist."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from itertools import combinations
from typing import Any, Final
from urllib.error import HTTPError
from xml.etree import ElementTree

import pytest

from tests.deploy.stack import DEPLOY, Stack

GRAFANA: Final = DEPLOY / "grafana"
NAMES: Final = ("analyst", "operator")
VARIABLES: Final = {"$__rate_interval": "5m", "$__range": "1h"}
# What is no series of Tripline's, and what only rules make.
FOREIGN: Final = {"up", "ALERTS"}


def dashboard(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GRAFANA / f"{name}.json").read_text())
    return found


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Any]:
    for name in NAMES:
        for panel in panels(name):
            for target in panel["targets"]:
                expression = target["expr"]
                for variable, value in VARIABLES.items():
                    expression = expression.replace(variable, value)
                yield pytest.param(expression, target["legendFormat"], id=f"{name}: {panel['title']}")


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_what_the_program_writes(name: str) -> None:
    """`python deploy/grafana/dashboards.py` after a change."""
    assert (GRAFANA / f"{name}.json").read_text() == runpy.run_path(str(GRAFANA / "dashboards.py"))["text"](name)


@pytest.mark.parametrize("name", NAMES)
def test_panels_are_named_explained_and_do_not_overlap(name: str) -> None:
    every = dashboard(name)["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    assert len({panel["title"] for panel in panels(name)}) == len(panels(name))
    assert all(panel["title"] and panel["description"] for panel in panels(name))
    for one, other in combinations([panel["gridPos"] for panel in every], 2):
        assert one["x"] + one["w"] <= 24
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


@pytest.mark.parametrize(("expression", "legend"), list(queries()))
def test_a_panel_shows_something(stack: Stack, expression: str, legend: str) -> None:
    """Prometheus takes the query, there is an answer, every series in it exists, and its legend names what it has."""
    try:
        found = stack.query(expression)
    except HTTPError as why:
        pytest.fail(f"{expression}: {why.read().decode()}")
    assert found, expression
    for label in re.findall(r"{{(\w+)}}", legend):
        assert all(each["metric"].get(label) for each in found), (expression, label)
    for series in set(re.findall(r"(?<![\w:])(?:tripline[\w:]+|up|ALERTS)(?![\w:(])", expression)):
        assert stack.query(f"count({series})"), f"{series}: there is no such series"


def test_both_are_drawn_whole(stack: Stack) -> None:
    """Every panel by its title, and something in each."""
    for name, svg in stack.pictures().items():
        root = ElementTree.fromstring(svg)
        drawn = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
        assert {panel["title"] for panel in dashboard(name)["panels"]} <= set(drawn)
        assert "none" not in drawn


def test_a_query_that_is_misspelt_or_empty_would_be_seen(stack: Stack) -> None:
    with pytest.raises(HTTPError):
        stack.query("sum(rate(tripline_events_total[5m])")
    assert not stack.query("sum(rate(tripline_event_total[5m]))")
