"""What a report shows of a run: how the fleet, the issuers and the entities of alerts went, by time.

The recorder looks on. It is called at each tick, reads a few rows of state each `every_s` of stream time and changes
nothing, so a run with a report gives the alerts of one without. When a run is long, neighbouring samples are merged:
what is kept is bounded, and no peak is lost.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.base import DAY_MS, HOUR_MS, Feature
from detectors.fusion import Evidence
from stream.alerts import Alert, alert_of
from stream.budget import OPEN_SHARE
from stream.gauges import NOTHING, Figure, Gauge, gauges
from stream.incident import Incident
from stream.pipeline import Pipeline

POINTS_MAX: Final = 1000  # of a series, an even number; a page is about as many pixels wide
ALERTS_MAX: Final = 5000  # revisions; beyond, the report is of the first ones, and counts the rest
STORIES_MAX: Final = 500  # incidents whose score is followed
DOTS_MAX: Final = 400  # pieces of evidence of one incident
WATCHED: Final = ("fleet", "issuer")  # kinds of few, followed before there is evidence
STRONGEST: Final = 3  # pieces of evidence of an incident whose entities are followed beside its own

F64 = npt.NDArray[np.float64]
Name = tuple[str, str]  # kind, value


class Series:
    """Samples by time, `figures` figures of `width` numbers each, merged in runs so that there are POINTS_MAX at most.

    Of each figure the one of a run stays whose first number is the greatest, at the time of the run's last sample.
    """

    def __init__(self, figures: int, width: int) -> None:
        self._width, self._row = width, 1 + figures * width
        self._flat = array("d")
        self._run = 1  # samples in a row
        self._last = 1  # ... in the last row

    def __len__(self) -> int:
        return len(self._flat) // self._row

    @property
    def last_ms(self) -> float:
        """Time of the latest sample; -inf where there is none."""
        return self._flat[-self._row] if self._flat else -math.inf

    def add(self, ms: float, figures: Iterable[Iterable[float]]) -> None:
        """Take a sample that is later than those before."""
        self._flat.extend([ms, *chain.from_iterable(figures)])
        if self._last < self._run:
            self._last += 1
            rows = np.array(self._flat[-2 * self._row :]).reshape(2, -1)
            del self._flat[-2 * self._row :]
            self._flat.extend(self._merged(rows[:1], rows[1:])[0].tolist())
        elif len(self) > POINTS_MAX:
            rows = self.rows()
            self._flat = array("d", self._merged(rows[:-1:2], rows[1:-1:2]).ravel().tolist())
            self._flat.extend(rows[-1].tolist())
            self._run *= 2
            self._last = 1
        else:
            self._last = 1

    def rows(self) -> F64:
        """float64[n, 1 + figures * width], a copy; the time in ms comes first."""
        return np.array(self._flat, np.float64).reshape(-1, self._row)

    def of(self, figure: int) -> F64:
        """float64[n, 1 + width]: times and one figure."""
        start = 1 + figure * self._width
        return self.rows()[:, [0, *range(start, start + self._width)]]

    def _merged(self, earlier: F64, later: F64) -> F64:
        merged = later.copy()
        for start in range(1, self._row, self._width):
            higher = (earlier[:, start] > later[:, start]) | np.isnan(later[:, start])
            merged[higher, start : start + self._width] = earlier[higher, start : start + self._width]
        return merged


@dataclass(slots=True)
class Story:
    """One incident by time. `course`: ms, score, records so far. `dots`: evidence by (ms, detector, kind, value)."""

    course: Series = field(default_factory=lambda: Series(2, 1))
    dots: dict[tuple[int, str, str, str], Evidence] = field(default_factory=dict)
    told: tuple[float, int] = (-math.inf, 0)  # score and pieces of evidence when it was last looked at


@dataclass(slots=True)
class Track:
    """An entity followed by its gauges."""

    gauges: list[Gauge]
    series: Series


class Recorder:
    """Samples of a pipeline: at most 1,000 each of 1 + 3 `entities_max` entities and 500 incidents, 40 MB in all."""

    def __init__(self, every_s: int = 600, entities_max: int = 64) -> None:
        self.every_s = every_s
        self.alerts: list[Alert] = []
        self.dropped = 0
        self.threshold = 0.0  # score that opens an incident while the day's budget is whole
        self.stories: dict[str, Story] = {}
        self.features: dict[tuple[str, str], Feature] = {}  # by detector and name
        self.pipeline: Pipeline | None = None
        self._tracks: dict[Name, Track] = {}
        self._told: dict[tuple[str, int], int] = {}
        self._entities_max = entities_max
        self._followed: dict[str, int] = {}  # how many entities, by the reason for it
        self._sampled = -1

    def bind(self, pipeline: Pipeline) -> None:
        """Look at this pipeline from now on."""
        self.pipeline = pipeline
        self.threshold = math.log2(OPEN_SHARE / pipeline.config.alerts_per_day_max)
        self.features = {(d.id, feature.name): feature for d in pipeline.detectors for feature in d.features}

    def follow(self, kind: str, value: str) -> None:
        """Follow this entity from the beginning, whether or not there will be evidence; after `bind`."""
        if self.pipeline is not None:
            self._follow(self.pipeline, kind, value, "asked for")

    def tick(self, now_ms: int) -> None:
        """Look at the incidents, and take a sample of everything when one is due; before `bind`, nothing."""
        if self.pipeline is None:
            return
        due = now_ms // (self.every_s * 1000) != self._sampled
        for incident in self.pipeline.correlator.open:
            self._hear(self.pipeline, incident, now_ms, due)
        if not due:
            return
        self._sampled = now_ms // (self.every_s * 1000)
        for kind in WATCHED:
            self._discover(self.pipeline, kind)
        for name, track in self._tracks.items():
            if track.series.last_ms < now_ms:
                track.series.add(now_ms, self._figures(self.pipeline, name, track, now_ms))

    def alert(self, alert: Alert) -> None:
        """Keep a revision, and the stream time at which it was told."""
        if len(self.alerts) >= ALERTS_MAX:
            self.dropped += 1
            return
        self.alerts.append(alert)
        if self.pipeline is not None:
            self._told[alert.id, alert.revision] = self.pipeline.tick_ms

    def told_ms(self, alert: Alert) -> int | None:
        """Stream time at which this revision was told, epoch ms; None where it was not seen here."""
        return self._told.get((alert.id, alert.revision))

    def standing(self, alert: Alert) -> Alert:
        """The alert as it would be told now; as it was told, where its incident is closed or not of this pipeline."""
        if self.pipeline is not None:
            detectors = {d.id: d for d in self.pipeline.detectors}
            correlator = self.pipeline.correlator
            for incident in correlator.open:
                if incident.id == alert.id:
                    runbook = self.pipeline.config.runbook_url
                    return alert_of(correlator.signal(incident, 0), detectors, runbook)
        return alert

    def figures(self, kind: str, value: str) -> dict[tuple[str, str], tuple[Feature, float, F64]]:
        """What was recorded of an entity, by detector and feature: the feature, the seconds that a figure covers, and
        float64[n, 4] of ms, observed, expected and the most that surprises no one."""  # fmt: skip
        track = self._tracks.get((kind, value))
        if track is None:
            return {}
        named = [(gauge, feature) for gauge in track.gauges for feature in gauge.features]
        return {
            (gauge.id, feature.name): (feature, gauge.window_s, track.series.of(place))
            for place, (gauge, feature) in enumerate(named)
        }

    def _hear(self, pipeline: Pipeline, incident: Incident, now_ms: int, due: bool) -> None:
        if incident.id not in self.stories and len(self.stories) >= STORIES_MAX:
            return
        story = self.stories.setdefault(incident.id, Story())
        stands = incident.score, len(incident.members)
        if stands == story.told and not due:
            return
        story.told = stands
        story.course.add(now_ms, [[incident.score], [incident.records]])
        for each in incident.members.values():
            if len(story.dots) < DOTS_MAX:
                story.dots[each.time, each.detector, each.kind, each.value] = each
        self._follow(pipeline, incident.kind, incident.value, "incident", now_ms)
        for each in sorted(incident.members.values(), key=lambda e: -e.score)[:STRONGEST]:
            self._follow(pipeline, each.kind, each.value, "evidence", now_ms)

    def _follow(self, pipeline: Pipeline, kind: str, value: str, reason: str, now_ms: int | None = None) -> None:
        """Begin a track; from `now_ms` at once, with the band of the day before."""
        if (kind, value) in self._tracks or self._followed.get(reason, 0) >= self._entities_max:
            return
        self._followed[reason] = self._followed.get(reason, 0) + 1
        found = gauges(pipeline.detectors, kind)
        track = Track(found, Series(sum(len(gauge.features) for gauge in found), len(NOTHING)))
        self._tracks[kind, value] = track
        table = pipeline.tables[kind]
        slot = table.slot(value)
        if now_ms is None or slot < 0:
            return
        born_ms = 1000 * int(table.entities[slot]["born"])
        step = max(self.every_s * 1000, HOUR_MS // 2)
        for ms in range(max(now_ms - DAY_MS, born_ms), now_ms, step):
            track.series.add(ms, [figure for gauge in found for figure in gauge.foretell(table, slot, ms)])
        track.series.add(now_ms, self._figures(pipeline, (kind, value), track, now_ms))

    def _discover(self, pipeline: Pipeline, kind: str) -> None:
        table = pipeline.tables[kind]
        if kind == "fleet":
            self._follow(pipeline, kind, table.name(0), kind)
        elif self._followed.get(kind, 0) < self._entities_max:
            for slot in np.flatnonzero(table.index.owner[: table.index.count])[: 2 * self._entities_max].tolist():
                self._follow(pipeline, kind, table.name(slot), kind)

    def _figures(self, pipeline: Pipeline, name: Name, track: Track, now_ms: int) -> list[Figure]:
        table = pipeline.tables[name[0]]
        slot = table.slot(name[1])
        if slot < 0:  # forgotten by its table
            return [NOTHING for gauge in track.gauges for _ in gauge.features]
        return [figure for gauge in track.gauges for figure in gauge.read(table, slot, now_ms)]
