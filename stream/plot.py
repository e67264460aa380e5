"""Pictures by time, as SVG within the page: no script, nothing from elsewhere, values escaped by `stream.markup`.

Figures may be infinite or NaN: what is beyond the scale is drawn at its edge, what is no number is not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.markup import amount, text

WIDTH: Final = 1040
LEFT: Final = 58
TOP: Final = 40  # room for two rows of labels, so that two moments close together can be told apart
BOTTOM: Final = 24
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
TICKS_MS: Final = (
    MINUTE_MS, 2 * MINUTE_MS, 5 * MINUTE_MS, 10 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS, 3 * HOUR_MS, 6 * HOUR_MS,
    12 * HOUR_MS, DAY_MS, 2 * DAY_MS, 7 * DAY_MS, 14 * DAY_MS, 30 * DAY_MS, 90 * DAY_MS, 365 * DAY_MS,
)  # fmt: skip
TICKS_MAX: Final = 9
YEAR_FROM_MS: Final = 300 * DAY_MS  # a longer picture names years, not days
LEAST: Final = 1e-9  # a scale that ends below has nothing to show
SHORT_FROM: Final = 10_000.0  # figures at an axis are written in thousands
THOUSANDS: Final = ("k", "M", "G", "T")
LABEL_GAP: Final = 14.0  # pixels between two labels of levels
# Shapes as well as colours, for those who do not see the colours: circle, square, diamond, triangle, bar, cross.
SHAPES: Final = (
    "m-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z", "m-4-4h8v8h-8z", "m0-5.5l5.5 5.5-5.5 5.5-5.5-5.5z",
    "m0-5l5 9h-10z", "m-2-5.5h4v11h-4z", "m-5-1.5h3.5v-3.5h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5z",
)  # fmt: skip

F64 = npt.NDArray[np.float64]
Span = tuple[float, float]  # from, to, ms


class Plot:
    """An SVG with time across and one scale up; parts are drawn in the order in which they are added."""

    def __init__(self, span: Span, most: float, height: int, *, logarithmic: bool = False, unit: str = "") -> None:
        self._from, self._to = span[0], max(span[1], span[0] + MINUTE_MS)
        self._most = most if LEAST <= most < math.inf else 1.0
        self._height, self._floor = height, height - BOTTOM
        self._scale: Callable[[float], float] = math.log1p if logarithmic else float
        self._log = logarithmic
        self._parts: list[str] = []
        self._labelled: list[float] = []  # heights that have a label
        self._grid(unit)

    def x(self, ms: float) -> float:
        """Pixels from the left, within the plot."""
        share = (ms - self._from) / (self._to - self._from)
        return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT)

    def y(self, value: float) -> float:
        """Pixels from the top, within the plot; NaN is at the bottom."""
        inside = 0.0 if math.isnan(value) else min(max(value, 0.0), self._most)
        return TOP + (1.0 - self._scale(inside) / self._scale(self._most)) * (self._floor - TOP)

    def zone(self, start: float, end: float, style: str) -> None:
        """A stretch of time, as far as it is in sight."""
        if start < self._to and end > self._from:
            a, b = self.x(start), self.x(end)
            size = f'width="{max(b - a, 1.0):.1f}" height="{self._floor - TOP}"'
            self._parts.append(f'<rect class="{style}" x="{a:.1f}" y="{TOP}" {size}/>')

    def upright(self, ms: float | None, style: str, label: str, *, row: int) -> None:
        """A moment, labelled in row 0 or 1 above the plot; nothing where it is unknown or out of sight."""
        if ms is None or not self._from <= ms <= self._to:
            return
        x, baseline = self.x(ms), TOP - 22 + 14 * row
        anchor, shift = ("end", -5) if x > LEFT + 0.6 * (WIDTH - LEFT) else ("start", 5)
        self._parts.append(
            f'<line class="{style}" x1="{x:.1f}" x2="{x:.1f}" y1="{baseline - 9}" y2="{self._floor}"/>'
            f'<text class="t-{style}" x="{x + shift:.1f}" y="{baseline}" text-anchor="{anchor}">{text(label)}</text>'
        )

    def area(self, times: F64, low: F64, high: F64) -> None:
        """The space between two curves, where both are numbers."""
        for run in _runs(~np.isnan(low) & ~np.isnan(high)):
            there, back = self._points(times[run], high[run]), self._points(times[run][::-1], low[run][::-1])
            self._parts.append(f'<path class="band" d="M{there}L{back}Z"/>')

    def line(self, times: F64, values: F64, style: str) -> None:
        """A curve, with gaps where it is no number."""
        runs = [self._points(times[run], values[run]) for run in _runs(~np.isnan(values))]
        if runs:
            self._parts.append(f'<path class="{style}" d="M{"M".join(runs)}"/>')

    def level(self, value: float, label: str) -> None:
        """A height that matters; nothing where another one has its label."""
        y = self.y(value)
        if value <= self._most and all(abs(y - other) >= LABEL_GAP for other in self._labelled):
            self._labelled.append(y)
            self._parts.append(
                f'<line class="limit" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text x="{WIDTH}" y="{y - 4:.1f}" text-anchor="end">{text(label)}</text>'
            )

    def dot(self, ms: float, value: float, number: int, label: str) -> None:
        """A point in the shape and colour of a number, with words to hover over."""
        self._parts.append(
            f'<path class="k{number % len(SHAPES)}" d="M{self.x(ms):.1f} {self.y(value):.1f}{_shape(number)}">'
            f"<title>{text(label, 512)}</title></path>"
        )

    def svg(self, label: str) -> str:
        """The picture; `label` is what a screen reader says."""
        head = f'<svg viewBox="0 0 {WIDTH} {self._height}" role="img" aria-label="{text(label, 1000)}">'
        return head + "".join(self._parts) + "</svg>"

    def _points(self, times: F64, values: F64) -> str:
        return "L".join(
            f"{self.x(t):.1f} {self.y(v):.1f}" for t, v in zip(times.tolist(), values.tolist(), strict=True)
        )

    def _grid(self, unit: str) -> None:
        below = math.inf
        for value in _ticks(self._most, self._log):
            y = self.y(value)
            self._parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
            if below - y >= LABEL_GAP:
                below = y
                self._parts.append(
                    f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{short(value, unit)}</text>'
                )
        for count, (ms, label) in enumerate(_moments(self._from, self._to)):
            x = self.x(ms)
            anchor = "start" if x < LEFT + 20 else "end" if x > WIDTH - 24 else "middle"
            style = "time odd" if count % 2 else "time"  # every other one is left out where there is little room
            self._parts.append(
                f'<text class="{style}" x="{x:.1f}" y="{self._floor + 18}" text-anchor="{anchor}">{label}</text>'
            )


def key(number: int, label: str) -> str:
    """An entry of a legend for dots."""
    return (
        f'<li><svg class="key k{number % len(SHAPES)}" viewBox="-6 -6 12 12" aria-hidden="true">'
        f'<path d="M0 0{_shape(number)}"/></svg>{text(label)}</li>'
    )


def short(value: float, unit: str = "") -> str:
    """A figure at an axis.

    >>> short(0.0), short(0.5), short(2500.0), short(20_000.0), short(3e6), short(5e6, "bytes")
    ('0', '0.5', '2,500', '20k', '3M', '5 MB')
    """
    if unit == "bytes" or value < SHORT_FROM:
        return amount(value, unit if value else "")
    thousands = min(int(math.log10(value)) // 3, len(THOUSANDS))
    return f"{value / 1000.0**thousands:g}{THOUSANDS[thousands - 1]}"


def steps(times: F64, values: F64) -> tuple[F64, F64]:
    """A curve that holds each value until the next."""
    return np.repeat(times, 2)[1:], np.repeat(values, 2)[:-1]


def _shape(number: int) -> str:
    return SHAPES[number % len(SHAPES)]


def _runs(mask: npt.NDArray[np.bool_]) -> Iterator[slice]:
    """Each stretch of the mask that is True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))).tolist()
    return (slice(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True))


def _moments(start: float, end: float) -> Iterator[tuple[float, str]]:
    """Round times of day between two, and how each is written: the day at midnight and first, else the hour."""
    span = end - start
    step = next((s for s in TICKS_MS if span / s <= TICKS_MAX), span)
    ms = math.ceil(start / step) * step
    first = True
    while ms <= end:
        day = "%b %Y" if span > YEAR_FROM_MS else "%-d %b"
        form = day if ms % DAY_MS == 0 else f"{day} %H:%M" if first else "%H:%M"
        yield ms, datetime.fromtimestamp(ms / 1000, UTC).strftime(form)
        ms += step
        first = False


def _ticks(most: float, logarithmic: bool) -> list[float]:
    """Round figures from 0 to at most `most`, about five."""
    if logarithmic:
        decades = max(math.ceil(math.log10(most + 1)), 1)
        return [0.0] + [10.0**d for d in range(0, decades + 1, 1 + decades // 6) if 10.0**d <= most]
    step = 10.0 ** math.floor(math.log10(most))
    step = next(s for s in (step / 5, step / 2, step, 2 * step) if most / s <= 5)
    return [i * step for i in range(int(most / step) + 1)]
