"""Pictures are whole whatever the figures are, and higher is more."""

from __future__ import annotations

import math
import re
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detectors.base import Feature
from detectors.fusion import Evidence
from stream.alerts import EntityRef
from stream.pictures import Gauged, Moments, band_legend, band_picture, records_picture, score_picture
from stream.plot import LEFT, TOP, WIDTH, Plot, key, short, steps
from stream.record import Story

NOW = 1_700_000_000_000.0
TIMES = st.floats(NOW - 1e10, NOW + 1e10)
FIGURES = st.one_of(st.floats(), st.floats(0.0, 1e6))
NAMES = st.one_of(
    st.text(max_size=30), st.sampled_from(["</svg><script>alert(1)</script>", '" onload="x', "\u202eabc", "]]>"])
)
FEATURE = Feature("records", "records", "{observed} records read in {window}, where {expected} are usual")
MOMENTS = st.builds(
    Moments,
    learned=st.none() | TIMES, first=st.none() | TIMES, told=st.none() | TIMES,
    attack=st.none() | st.tuples(TIMES, TIMES).map(lambda pair: (min(pair), max(pair))),
)  # fmt: skip


def parsed(html: str) -> ET.Element:
    """The markup as a tree; every coordinate in it is a number within the frame."""
    tree = ET.fromstring(f"<x>{html}</x>")
    assert {each.tag for each in tree.iter()} <= {
        "x", "svg", "path", "line", "rect", "text", "title", "figure", "figcaption", "p", "ul", "li", "i", "span",
        "bdi",
    }  # fmt: skip
    for svg in tree.iter("svg"):
        for each in svg.iter():
            for name in ("x", "x1", "x2", "cx"):
                assert -10 <= float(each.get(name, 0)) <= WIDTH + 10
            for name in ("y", "y1", "y2", "height"):
                assert 0 <= float(each.get(name, 0)) <= 400
            numbers = re.findall(r"[^\sMLZmlhvaz,-]+", each.get("d", ""))
            assert all(math.isfinite(float(number)) for number in numbers)
    return tree


@st.composite
def series(draw: st.DrawFn, width: int) -> Any:
    """Rows by rising time, of any figures."""
    count = draw(st.integers(2, 30))
    times = NOW + np.cumsum(draw(arrays(np.float64, count, elements=st.floats(1.0, 1e8))))
    return np.column_stack([times, draw(arrays(np.float64, (count, width), elements=FIGURES))])


@given(rows=series(3), moments=MOMENTS, name=NAMES)
def test_an_entity_against_its_band_is_a_whole_picture(rows: Any, moments: Moments, name: str) -> None:
    """Of any figures, infinite ones and none among them, at any times, under any name."""
    gauged = Gauged(EntityRef("account", name), FEATURE, 1200.0, rows)
    tree = parsed(band_picture(gauged, moments) + band_legend([gauged], moments))
    assert len(list(tree.iter("svg"))) == 1


@given(rows=series(2), moments=MOMENTS, name=NAMES, scores=st.lists(st.floats(-5, 1e4), max_size=5))
def test_a_story_is_two_whole_pictures(rows: Any, moments: Moments, name: str, scores: list[float]) -> None:
    """The score with its findings, and the records."""
    story = Story()
    for ms, *figures in rows.tolist():
        story.course.add(ms, [[figure] for figure in figures])
    for n, score in enumerate(scores):
        story.dots[n, name, "account", name] = Evidence(name, "account", name, 0, 0, int(NOW) + n, 9.0, score, 1.0, 1.0)
    parsed(score_picture(story, moments, 2.7) + records_picture(story, None, moments))


@given(
    most=FIGURES, logarithmic=st.booleans(), values=st.tuples(FIGURES, FIGURES), unit=st.sampled_from(["", "bytes"]),
    span=st.tuples(TIMES, TIMES), times=st.tuples(TIMES, TIMES),
)  # fmt: skip
def test_more_is_higher_and_later_is_further_right(
    most: float, logarithmic: bool, values: tuple[float, float], unit: str, span: Any, times: tuple[float, float]
) -> None:
    """Within the frame always; the axes are labelled whatever their scale."""
    plot = Plot((min(span), max(span)), most, 200, logarithmic=logarithmic, unit=unit)
    low, high = (plot.y(value) for value in sorted(0.0 if math.isnan(value) else value for value in values))
    assert TOP <= high <= low <= 200
    assert LEFT <= plot.x(min(times)) <= plot.x(max(times)) <= WIDTH
    labels = [each.text for each in parsed(plot.svg("")).iter("text")]
    assert 2 <= len(labels) <= 24
    assert all(labels)


def test_a_score_holds_until_the_picture_ends() -> None:
    """A rise beyond the edge is not drawn at it."""
    story = Story()
    for ms, score in ((NOW, 3.0), (NOW + 60_000, 9.0), (NOW + 1e10, 50.0)):
        story.course.add(ms, [[score], [1.0]])
    (line,) = [
        each for each in parsed(score_picture(story, Moments(told=NOW), 2.7)).iter("path") if each.get("class") == "sum"
    ]
    points = [tuple(map(float, point.split())) for point in line.get("d", "").removeprefix("M").split("L")]
    assert points[-1][0] == WIDTH
    assert points[-1][1] == points[-2][1] == min(y for _, y in points)
    assert len({y for _, y in points}) == 2


def test_what_is_no_number_is_a_gap() -> None:
    """A line over 1, nothing, 2 is two strokes; a field the same."""
    plot = Plot((0.0, 4e6), 10.0, 200)
    times, values = np.linspace(0.0, 4e6, 5), np.array([1.0, 1.0, np.nan, 2.0, 2.0])
    plot.line(times, values, "seen")
    plot.area(times, np.zeros(5), values)
    paths = [each.get("d", "") for each in parsed(plot.svg("")).iter("path")]
    assert [path.count("M") for path in paths] == [2, 1, 1]


def test_moments_out_of_sight_are_not_drawn() -> None:
    plot = Plot((1e12, 2e12), 10.0, 200)
    for ms in (None, 0.5e12, 2.5e12):
        plot.upright(ms, "told", "alert", row=0)
    plot.zone(0.0, 1e11, "attack")
    assert "told" not in plot.svg("")
    assert "attack" not in plot.svg("")
    plot.upright(1.5e12, "told", "alert", row=0)
    plot.zone(0.0, 1.5e12, "attack")
    assert plot.svg("").count("told") == 2
    assert plot.svg("").count("attack") == 1


def test_levels_that_would_hide_each_other_are_named_once() -> None:
    plot = Plot((0.0, 1e6), 100.0, 200)
    for value in (2.7, 4.0, 50.0):
        plot.level(value, f"level {value}")
    assert re.findall(r"level [\d.]+", plot.svg("")) == ["level 2.7", "level 50.0"]


def test_a_departure_is_sought_in_the_time_of_the_alert() -> None:
    """Not in the learning before it, however far beyond its band the entity was then."""
    rows = np.array([[0, 900, 1, 2], [1, 1, 1, 2], [2, 30, 1, 2], [3, 20, 1, 2]], np.float64)
    gauged = Gauged(EntityRef("account", "ann"), FEATURE, 1200.0, rows)
    excess, row = gauged.departure(Moments(learned=1.0, told=1.5))
    assert row == 2
    assert excess == pytest.approx(math.log1p(30) - math.log1p(2))
    assert gauged.sentence(row) == "30 records read in 20 min, where 1 are usual (1 Jan 1970 00:00)"
    assert gauged.sentence(1) == "1 records in 20 min came closest, where up to 2 pass (1 Jan 1970 00:00)"


def test_steps_hold_each_value_until_the_next() -> None:
    times, values = steps(np.array([1.0, 2.0, 4.0]), np.array([5.0, 6.0, 7.0]))
    assert list(zip(times, values, strict=True)) == [(1, 5), (2, 5), (2, 6), (4, 6), (4, 7)]


def test_kinds_of_marks_differ_in_shape_too() -> None:
    """For those who do not see the colours."""
    shapes = [re.search(r'd="([^"]+)"', key(number, "x")) for number in range(6)]
    assert len({found[1] for found in shapes if found}) == 6


@given(value=st.floats(0.001, 1e15))
def test_figures_at_an_axis_are_short(value: float) -> None:
    assert len(short(float(f"{value:.1g}"))) <= 6
