"""The report's pictures: an entity against its band, how the evidence of an alert added up, and what left meanwhile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.base import Feature
from stream.alerts import SEVERITIES, Alert, EntityRef
from stream.markup import amount, duration, entity, moment, people, plural, text, who
from stream.plot import F64, HOUR_MS, Plot, Span, key, steps
from stream.record import Story

LOG_FROM: Final = 12.0  # the top of a scale over what is usual, from which it is logarithmic
BAND_SHOWN: Final = 0.98  # of the band's heights are within the scale; a few at the start may be far beyond
AFTER: Final = 6.0  # how much longer than it took to tell is shown of what came after
AFTER_MIN_MS: Final = HOUR_MS / 4
PAD: Final = 0.03  # of a picture's width before its first event


@dataclass(frozen=True, slots=True)
class Moments:
    """When things happened, epoch ms, as far as it is known. attack: what a replay knows to be one."""

    learned: float | None = None  # before it nothing is told
    first: float | None = None  # access that the alert rests on
    told: float | None = None
    attack: Span | None = None

    @property
    def begin(self) -> float | None:
        """When it began."""
        return self.attack[0] if self.attack else self.first


@dataclass(frozen=True, slots=True)
class Gauged:
    """A figure of an entity by time. rows: float64[n, 4] of ms, observed, expected, the most that surprises no one."""

    entity: EntityRef
    feature: Feature
    window_s: float
    rows: F64

    def departure(self, moments: Moments) -> tuple[float, int]:
        """How far it left its band at most, in nats (negative: it stayed within), and in which row.

        Of the time of the alert where there is one, else of all the time after the learning.
        """
        times, seen, upper = self.rows[:, 0], self.rows[:, 1], self.rows[:, 3]
        since = min((ms for ms in (moments.begin, moments.told) if ms is not None), default=moments.learned)
        with np.errstate(invalid="ignore"):  # infinitely much where as much was allowed is no departure
            excess = np.log1p(np.maximum(seen, 0.0)) - np.log1p(np.maximum(upper, 0.0))
        excess[np.isnan(excess) | (times < (since if since is not None else times[0]))] = -np.inf
        row = int(np.argmax(excess))
        return float(excess[row]), row

    def sentence(self, row: int) -> str:
        """What a row says: what was beyond, in the detector's words, or how much more would have passed."""
        ms, seen, expected, upper = self.rows[row].tolist()
        unit, window = self.feature.unit, duration(1000.0 * self.window_s)
        whole = float(round(seen)) if math.isfinite(seen) else seen  # things are whole, the sum of them decays
        counted = amount(whole, unit)
        if seen > upper:
            told = self.feature.sentence.format(observed=counted, expected=amount(expected, unit), window=window)
        else:
            what = counted if unit == "bytes" else f"{counted} {unit}"
            told = f"{what} in {window} came closest, where up to {amount(upper, unit)} pass"
        since = self.rows[int(np.argmax(~np.isnan(self.rows[:, 1]))), 0]
        followed = f"; followed since {moment(since)}, before it the band alone" if since > self.rows[0, 0] else ""
        return f"{told} ({moment(ms)}){followed}"


def band_picture(gauged: Gauged, moments: Moments) -> str:
    """An entity against its band, over the whole stream."""
    times, seen, expected, upper = gauged.rows.T
    heights, known = upper[np.isfinite(upper)], seen[np.isfinite(seen)]
    band = float(np.quantile(heights, BAND_SHOWN, method="lower")) if len(heights) else 0.0
    usual = float(np.quantile(known, 0.5, method="lower")) if len(known) else 0.0
    most = max(float(np.max(known, initial=1.0)), band)
    plot = Plot(
        (times[0], times[-1]), most * 1.08, 250, logarithmic=most > LOG_FROM * max(usual, 1.0), unit=gauged.feature.unit
    )
    if moments.learned is not None:
        plot.zone(times[0], moments.learned, "learning")
    if moments.attack:
        plot.zone(*moments.attack, "attack")
    plot.area(times, np.where(np.isnan(upper), np.nan, 0.0), upper)
    plot.line(times, expected, "expect")
    plot.line(times, seen, "seen")
    _mark(plot, moments)
    excess, row = gauged.departure(moments)
    style, where, what = "within", "within what is usual", gauged.sentence(row)
    if excess > 0:
        style, where = "beyond", "beyond what is usual"
    elif excess == -math.inf:
        where, what = "not judged yet", "Too little was seen of its like to say what is usual."
    feature = f"{gauged.feature.name.replace('_', ' ')} in {duration(1000.0 * gauged.window_s)}"
    caption = (
        f'{entity(gauged.entity)} <span class="kind">· {text(feature)}</span> <span class="{style}">{where}</span>'
    )
    label = f"{gauged.entity.kind} {who(gauged.entity)}, {feature}, {where}: {what}"
    return f"<figure><figcaption>{caption}<p>{text(what, 512)}</p></figcaption>{plot.svg(label)}</figure>"


def band_legend(gauged: Sequence[Gauged], moments: Moments) -> str:
    """What the lines and fields of these pictures are."""
    items = [("s-seen", "observed"), ("s-expect", "expected"), ("s-band", "what its past, peers and the hour allow")]
    if moments.learned is not None and any(each.rows[0, 0] < moments.learned for each in gauged):
        items.append(("s-learning", "learning: nothing is told yet"))
    if moments.attack:
        items.append(("s-attack", "the attack, as the replay knows it"))
    return _legend([f'<li><i class="{style}"></i>{text(label)}</li>' for style, label in items])


def score_picture(story: Story, moments: Moments, threshold: float) -> str:
    """How an alert's score rose, and the findings that it rose by, around the time when it was told."""
    rows = story.course.rows()
    begin, told = _start(rows, moments)
    end = told + max(AFTER * (told - begin), AFTER_MIN_MS)
    begin -= PAD * (end - begin)
    near = rows[rows[:, 0] <= max(end, rows[0, 0])]
    times, scores = steps(np.append(near[:, 0], end), np.append(near[:, 1], near[-1, 1]))
    dots = [e for _, e in sorted(story.dots.items()) if begin <= e.time <= end and e.score > 0]
    most = max(each for each in (threshold, 1.0, *scores.tolist(), *(e.score for e in dots)) if each < math.inf)
    plot = Plot((begin, end), most * 1.12, 320)
    plot.level(threshold, f"an alert opens: {amount(threshold)}")
    for severity, least in reversed(SEVERITIES):
        plot.level(least, f"{severity}: {amount(least)}")
    plot.line(times, scores, "sum")
    names = list(dict.fromkeys(e.detector for e in dots))
    for each in dots:
        label = f"{each.detector}: {each.kind} {each.value}, score {each.score:.1f}, {moment(each.time)}"
        plot.dot(each.time, each.score, names.index(each.detector), label)
    _mark(plot, moments)
    label = f"score by time: it passes {threshold:.1f} at {moment(told)} and reaches {most:.1f} by {moment(end)}"
    legend = ['<li><i class="s-sum"></i>the alert</li>', *(key(i, n) for i, n in enumerate(names))]
    return f"<figure>{plot.svg(label)}</figure>{_legend(legend)}"


def records_picture(story: Story, opened: Alert | None, moments: Moments) -> str:
    """What had left by when, to the end of the stream."""
    rows = story.course.rows()
    begin, told = _start(rows, moments)
    end = max(rows[-1, 0], told + AFTER_MIN_MS)
    times, records = steps(np.append(begin, rows[:, 0]), np.append(0.0, rows[:, 2]))
    most = float(np.max(records[np.isfinite(records)], initial=1.0))
    plot = Plot((begin - PAD * (end - begin), end), most * 1.1, 220)
    plot.area(times, np.zeros(len(times)), records)
    plot.line(times, records, "seen")
    impact = opened.impact if opened else None
    out = f": {plural(impact.records, 'record')} of {people(impact.subjects)} had left" if impact else ""
    _mark(plot, moments, f"alert{out}")
    label = f"records by time{out} at the alert, {amount(float(rows[-1, 2]))} at the end"
    return f"<figure>{plot.svg(label)}</figure>"


def _start(rows: F64, moments: Moments) -> Span:
    """When an incident began and when it was told, as far as that is known."""
    told = moments.told if moments.told is not None else float(rows[0, 0])
    return min(told, float(rows[0, 0]), told if moments.begin is None else moments.begin), told


def _mark(plot: Plot, moments: Moments, told: str = "alert") -> None:
    begin = "the attack begins" if moments.attack else "first access"
    plot.upright(moments.begin, "begin", begin, row=0)
    plot.upright(moments.told, "told", told, row=1)


def _legend(items: list[str]) -> str:
    return f'<ul class="legend">{"".join(items)}</ul>'
