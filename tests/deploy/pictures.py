"""A dashboard as a picture, from its file and a Prometheus that watched a run: SVG, in the places of the panels.

Not Grafana, but what it would have been asked, answered and in its order; `make stack` writes both into out/.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

COLUMN, ROW = 46, 25  # pixels of a unit of the grid
GAP: Final = 5
EDGE: Final = 12
COLOURS: Final = ("#3b6fb6", "#d9822b", "#4f9a5b", "#b5495b", "#7d62b3", "#7a6a58", "#3a9aa5", "#a0a13c")
LEGENDS: Final = 6  # lines that are named
POINTS: Final = 120
# What a picture over minutes can show of rates and increases that a dashboard shows over hours.
VARIABLES: Final = {"$__rate_interval": "30s", "$__range": "1h"}

Series = tuple[str, list[tuple[float, float]]]  # legend; (s, value) in order
Ask = Callable[[str], list[Any]]


@dataclass(frozen=True)
class Span:
    """From and to, epoch seconds."""

    start: float
    end: float


def picture(dashboard: dict[str, Any], ask: Ask, ask_range: Callable[[str, Span, float], list[Any]], span: Span) -> str:
    """All panels of a dashboard. ask and ask_range: the results of an instant query and of one over a span."""
    panels = dashboard["panels"]
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    width, height = 24 * COLUMN + 2 * EDGE, bottom * ROW + 2 * EDGE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" '
        f'font-size="11" role="img" aria-label="{escape(dashboard["title"])}">',
        f'<rect width="{width}" height="{height}" fill="#f3f4f6"/>',
    ]
    return "".join([*parts, *(_panel(panel, ask, ask_range, span) for panel in panels), "</svg>\n"])


def _panel(panel: dict[str, Any], ask: Ask, ask_range: Callable[[str, Span, float], list[Any]], span: Span) -> str:
    at = panel["gridPos"]
    x, y = EDGE + at["x"] * COLUMN, EDGE + at["y"] * ROW
    w, h = at["w"] * COLUMN - GAP, at["h"] * ROW - GAP
    title = escape(panel["title"])
    if panel["type"] == "row":
        return f'<text x="{x + 2}" y="{y + 17}" font-size="13" font-weight="600" fill="#333">{title}</text>'
    unit = panel["fieldConfig"]["defaults"].get("unit", "short")
    if panel["type"] == "timeseries":
        step = max((span.end - span.start) / POINTS, 5.0)
        found = [_named(t, each, each["values"]) for t in _queries(panel) for each in ask_range(t[0], span, step)]
        body = _lines(found, unit, w, h, span)
    else:
        found = [_named(t, each, [each["value"]]) for t in _queries(panel) for each in ask(t[0])]
        body = _stat(found, unit, w, h) if panel["type"] == "stat" else _bars(found, unit, w)
    return (
        f'<g transform="translate({x} {y})"><rect width="{w}" height="{h}" rx="3" fill="#fff" stroke="#d7dade"/>'
        f'<text x="8" y="17" font-weight="600" fill="#333">{title}</text>{body}</g>'
    )


def _queries(panel: dict[str, Any]) -> list[tuple[str, str]]:
    out = []
    for target in panel["targets"]:
        expression = target["expr"]
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        out.append((expression, target["legendFormat"]))
    return out


def _named(query: tuple[str, str], found: dict[str, Any], values: Sequence[Sequence[Any]]) -> Series:
    legend = re.sub(r"{{(\w+)}}", lambda label: str(found["metric"].get(label[1], "")), query[1])
    return legend, [(float(at), float(value)) for at, value in values if math.isfinite(float(value))]


def _stat(found: Sequence[Series], unit: str, w: int, h: int) -> str:
    value = figure(found[0][1][-1][1], unit) if found and found[0][1] else "none"
    return f'<text x="{w / 2}" y="{h * 0.68:.0f}" font-size="25" text-anchor="middle" fill="#1f5fa8">{value}</text>'


def _bars(found: Sequence[Series], unit: str, w: int) -> str:
    ranked = sorted(((values[-1][1], legend) for legend, values in found if values), reverse=True)[:8]
    most = max([value for value, _ in ranked], default=0.0) or 1.0
    parts = []
    for n, (value, legend) in enumerate(ranked):
        y = 30 + 19 * n
        parts.append(
            f'<text x="8" y="{y + 10}" fill="#444">{escape(legend)}</text>'
            f'<rect x="120" y="{y}" width="{(w - 190) * value / most:.1f}" height="12" fill="{COLOURS[0]}"/>'
            f'<text x="{w - 8}" y="{y + 10}" text-anchor="end" fill="#222">{figure(value, unit)}</text>'
        )
    return "".join(parts)


def _lines(found: Sequence[Series], unit: str, w: int, h: int, span: Span) -> str:
    drawn = [each for each in found if each[1]]
    named = sorted(drawn, key=lambda each: -each[1][-1][1])[:LEGENDS]
    left, top, foot = 52, 28, 20 + 14 * ((len(named) + 1) // 2)
    floor, most = h - foot, max([v for _, values in drawn for _, v in values], default=0.0) or 1.0
    least = min([v for _, values in drawn for _, v in values] + [0.0])
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = floor - share * (floor - top)
        parts.append(
            f'<path d="M{left} {y:.1f}H{w - 8}" stroke="#e6e8eb"/><text x="{left - 5}" y="{y + 4:.1f}" '
            f'text-anchor="end" fill="#777">{figure(least + share * (most - least), unit)}</text>'
        )
    for n, (_, values) in enumerate(named + [each for each in drawn if each not in named]):
        path = " ".join(
            f"{left + (w - 8 - left) * (at - span.start) / (span.end - span.start):.1f},"
            f"{floor - (value - least) / (most - least) * (floor - top):.1f}"
            for at, value in values
        )
        colour = COLOURS[n % len(COLOURS)]
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.4"/>')
    for n, (legend, values) in enumerate(named):
        x, y = 10 + (n % 2) * (w // 2), floor + 16 + 14 * (n // 2)
        last = figure(values[-1][1], unit)
        parts.append(
            f'<rect x="{x}" y="{y - 4}" width="10" height="3" fill="{COLOURS[n % len(COLOURS)]}"/>'
            f'<text x="{x + 14}" y="{y + 1}" fill="#444">{escape(legend[:22])}  {last}</text>'
        )
    return "".join(parts)


def figure(value: float, unit: str) -> str:
    """A value as Grafana writes its unit.

    >>> figure(0.25, "percentunit"), figure(1536.0, "bytes"), figure(90.0, "s"), figure(12_345.0, "eps")
    ('25 %', '1.54 kB', '1.5 min', '12.3k/s')
    """
    if unit == "percentunit":
        return f"{100.0 * value:.3g} %"
    if unit == "s":
        for name, length in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0), ("s", 1.0)):
            if abs(value) >= length:
                return f"{value / length:.3g} {name}"
        return f"{1000.0 * value:.3g} ms" if value else "0 s"
    for name, power in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= power:
            return f"{value / power:.3g}{' ' if unit == 'bytes' else ''}{name}{_ending(unit)}"
    return f"{value:.3g}{' ' if unit == 'bytes' else ''}{_ending(unit)}"


def _ending(unit: str) -> str:
    return {"bytes": "B", "eps": "/s", "cps": "/s"}.get(unit, "")


def load(path: Any) -> dict[str, Any]:
    """A dashboard's file."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found
