"""Metrics of pipelines: what was scored, what is known, how near the threshold things are, how far learning is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import numpy as np
from prometheus_client.core import Metric

from detectors.base import HOUR_MS
from detectors.baselines.calibration import SEEN_MIN
from detectors.catalog.silence import Silence
from stream.budget import REASONS
from stream.metrics.families import Growth, Labels, counters, gauge, gauges, summed
from stream.pipeline import Pipeline
from stream.state import Table


class Counts(Protocol):
    """What the runner counts beside the pipelines, since it started."""

    @property
    def dead_letters(self) -> Mapping[str, int]:
        """By reason."""
        ...

    @property
    def stage_s(self) -> Mapping[str, float]:
        """Seconds by stage, outside the pipelines."""
        ...


Count = tuple[str, str, list[str], Callable[[Pipeline], Mapping[Labels, float]]]


def _learned(pipeline: Pipeline) -> dict[str, float]:
    """Entity-windows in each detector's calibration; of a detector that keeps none, nothing."""
    kept = {d.id: d.save() for d in pipeline.detectors}
    return {
        name: float(arrays["today"][..., 0].sum() + arrays["days"][..., 0].sum())
        for name, arrays in kept.items()
        if "today" in arrays and "days" in arrays
    }


def _calibrated(pipeline: Pipeline) -> dict[str, float]:
    kept = {d.id: d.save() for d in pipeline.detectors}
    return {
        name: float(np.count_nonzero(arrays["counts"][..., 0] >= SEEN_MIN))
        for name, arrays in kept.items()
        if "counts" in arrays and "days" in arrays
    }


def _silent(pipeline: Pipeline) -> dict[str, float]:
    return next((d.silent for d in pipeline.detectors if isinstance(d, Silence)), {})


def _by_kind(value: Callable[[Table], float]) -> Callable[[Pipeline], Mapping[Labels, float]]:
    return lambda pipeline: {(kind,): value(table) for kind, table in pipeline.tables.items()}


def _by_name(values: Callable[[Pipeline], Mapping[str, float]]) -> Callable[[Pipeline], Mapping[Labels, float]]:
    return lambda pipeline: {(name,): value for name, value in list(values(pipeline).items())}


_COUNTS: Final[tuple[Count, ...]] = (
    ("tripline_events", "Access events scored.", [], lambda p: {(): p.events}),
    ("tripline_duplicates", "Events left out because their id came before.", [], lambda p: {(): p.duplicates}),
    ("tripline_late_events", "Events more than five minutes behind the stream.", [], lambda p: {(): p.late}),
    ("tripline_incidents_opened", "Incidents opened.", [], lambda p: {(): p.correlator.opened}),
    ("tripline_evidence_dropped", "Entities whose evidence found no room.", [], lambda p: {(): p.fusion.dropped}),
    (
        "tripline_alerts_held_back", "Entities above the threshold that opened no alert.", ["reason"],
        _by_name(lambda p: dict.fromkeys(REASONS, 0.0) | p.correlator.budget.held_back),
    ),
    ("tripline_entities_evicted", "Entities forgotten for want of room.", ["kind"], _by_kind(lambda t: t.evicted)),
    (
        "tripline_entities_overflowed", "Events whose entity found no room.", ["kind"],
        _by_kind(lambda t: t.index.overflowed),
    ),
    (
        "tripline_detector_overflowed", "What a detector did not judge for want of room.", ["detector"],
        _by_name(lambda p: {d.id: getattr(d, "overflowed", 0) for d in p.detectors}),
    ),
    (
        "tripline_learned_windows", "Windows of an entity that entered a detector's calibration.", ["detector"],
        _by_name(_learned),
    ),
)  # fmt: skip

_GAUGES: Final[tuple[Count, ...]] = (
    ("tripline_incidents_open", "Incidents that are open.", [], lambda p: {(): len(p.correlator.open)}),
    (
        "tripline_alert_budget_left", "Alerts that may be opened now.", [],
        lambda p: {(): p.correlator.budget.spent.tokens},
    ),
    ("tripline_alert_budget_max", "Alerts that may be opened a day.", [], lambda p: {(): p.config.alerts_per_day_max}),
    (
        "tripline_feeds_silent", "Feeds, and issuers, of which nothing comes while the rest of the stream goes on.",
        ["of"], _by_name(_silent),
    ),
    ("tripline_entities", "Entities that are kept.", ["kind"], _by_kind(len)),
    ("tripline_entities_max", "Entities that may be kept.", ["kind"], _by_kind(lambda t: t.index.limit - 1)),
    ("tripline_state_bytes", "Bytes of keyed state in use.", ["kind"], _by_kind(lambda t: t.nbytes())),
    (
        "tripline_evidence_entities", "Entities whose strongest evidence is so many bits below the threshold at most.",
        ["below_bits"], _by_name(lambda p: p.near),
    ),
    (
        "tripline_calibrated_families", "Families of tests with enough history to judge anyone.", ["detector"],
        _by_name(_calibrated),
    ),
)  # fmt: skip


class PipelineCollector:
    """A prometheus_client collector over the pipelines of a process: a run has one, a worker one for each partition."""

    def __init__(self, pipelines: Callable[[], Sequence[Pipeline]], counts: Counts) -> None:
        self._pipelines = pipelines
        self._counts = counts
        self._growth: Growth[Pipeline] = Growth(lambda pipeline: pipeline.resumed)

    def collect(self) -> Iterator[Metric]:
        """Every metric of the pipelines."""
        pipelines, counts = self._pipelines(), self._counts
        for name, text, labels, value in _COUNTS:
            yield counters(name, text, labels, self._growth(name, pipelines, value) or ({} if labels else {(): 0.0}))
        stages = self._growth("tripline_stage_seconds", pipelines, _by_name(lambda p: p.stage_s))
        outside: dict[Labels, float] = {(stage,): seconds for stage, seconds in list(counts.stage_s.items())}
        yield counters("tripline_stage_seconds", "Time spent by stage.", ["stage"], summed([stages, outside]))
        yield counters(
            "tripline_dead_letters", "Records that could not be used.", ["reason"],
            {(reason,): count for reason, count in list(counts.dead_letters.items())},
        )  # fmt: skip
        for name, text, labels, value in _GAUGES:
            yield gauges(name, text, labels, summed(map(value, pipelines)) or ({} if labels else {(): 0.0}))
        yield gauge(
            "tripline_stream_time_seconds", "Stream time of the latest event, of the partition farthest behind.",
            min((p.now_ms / 1000 for p in pipelines if p.now_ms), default=0.0),
        )  # fmt: skip
        yield gauge(
            "tripline_warmup_seconds_left", "Stream time until alerts may open, of the partition that began last.",
            max(map(_warmup_s, pipelines), default=0.0),
        )  # fmt: skip
        yield gauge(
            "tripline_alert_threshold_score",
            "Score that opens an alert now, log2 of the days that chance needs for one.",
            max((p.correlator.budget.threshold() for p in pipelines), default=0.0),
        )  # fmt: skip


def _warmup_s(pipeline: Pipeline) -> float:
    since_h = (pipeline.now_ms - pipeline.began_ms) / HOUR_MS if pipeline.began_ms else 0.0
    return max(pipeline.config.warmup_h - since_h, 0.0) * HOUR_MS / 1000
