"""Metrics of `tripline worker`: how far it is behind, its batches, its feeds, its snapshots."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from stream.alerts import SEVERITIES, STATUSES
from stream.ingest import Ingest
from stream.metrics.enrichment import EnrichmentCollector
from stream.metrics.families import counter, counters, gauges, histograms
from stream.metrics.pipeline import PipelineCollector
from stream.metrics.process import process_registry

if TYPE_CHECKING:
    from stream.detect import Detect
    from stream.group import Group
    from stream.transact import Lane
    from stream.worker import Worker

_SNAPSHOTS: Final[tuple[tuple[str, str, Callable[[Detect], float]], ...]] = (
    (
        "tripline_snapshot_age_seconds", "Age of a partition's latest snapshot, or of its work where there is none.",
        lambda stage: stage.snapshot_age_s,
    ),
    ("tripline_snapshot_bytes", "Bytes of a partition's latest snapshot.", lambda stage: stage.snapshot_bytes),
    (
        "tripline_snapshot_chain_bytes", "Bytes of a partition's latest snapshot and of all that it rests on.",
        lambda stage: stage.snapshot_chain_bytes,
    ),
    ("tripline_snapshot_seconds", "Time that a partition's latest snapshot took.", lambda stage: stage.snapshot_s),
)  # fmt: skip
# A rate needs what it rises from: those that were not seen yet are at 0.
ALL_SIGNALS: Final = dict.fromkeys(product(STATUSES, (*dict(SEVERITIES), "low")), 0)


class WorkerCollector:
    """A collector over one worker of the data plane."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        """Every metric of the worker that is not one of its pipelines."""
        worker = self._worker
        yield from _groups(worker.groups)
        yield from self._feeds()
        yield counter("tripline_future_events", "Events ahead of their arrival, scored at it.", worker.future)
        yield counters(
            "tripline_signals_sent", "Revisions of a partition's incidents, passed on.", ["status", "severity"],
            ALL_SIGNALS | worker.alerts,
        )  # fmt: skip
        if worker.registry is not None:
            for name, text, count in (
                ("requests", "Schemas that a registry was asked for.", worker.registry.requests),
                ("failures", "Times that the registry did not answer as one.", worker.registry.failures),
            ):
                yield counter(f"tripline_registry_{name}", text, count)
        for name, text, value in _SNAPSHOTS:
            by_partition = {(str(stage.partition),): value(stage) for stage in worker.detecting()}
            yield gauges(name, text, ["partition"], by_partition)

    def _feeds(self) -> Iterator[Metric]:
        """What each access topic gave, and when it last did; topics are as many as the configuration lists."""
        records: dict[tuple[str], float] = {}
        events: dict[tuple[str], float] = {}
        for lane in (lane for group in self._worker.groups for lane in list(group.lanes.values())):
            if isinstance(lane.stage, Ingest):
                feed = (lane.partition.topic,)
                if lane.append_ms:
                    records[feed] = max(records.get(feed, 0.0), lane.append_ms / 1000)
                if lane.stage.watermark_ms:
                    events[feed] = max(events.get(feed, 0.0), lane.stage.watermark_ms / 1000)
        yield counters(
            "tripline_ingested_events", "Access events decoded and passed on.", ["feed"],
            {(feed,): count for feed, count in list(self._worker.ingested.items())},
        )  # fmt: skip
        yield gauges(
            "tripline_feed_record_timestamp_seconds", "When the feed's newest record was appended.", ["feed"], records
        )
        yield gauges("tripline_feed_event_timestamp_seconds", "Time of the feed's newest event.", ["feed"], events)


def _groups(groups: list[Group]) -> Iterator[Metric]:
    now_ms = time.time() * 1000
    lanes = {group.name: list(group.lanes.values()) for group in groups}
    for name, text, value in (
        ("tripline_partitions", "Partitions that are worked on.", lambda g: len(lanes[g.name])),
        (
            "tripline_partitions_waiting", "Partitions whose records wait for a schema registry.",
            lambda g: g.waiting,
        ),
        (
            "tripline_lag_records", "Records that are there and not taken in.",
            lambda g: sum(g.lag(lane) for lane in lanes[g.name]),
        ),
        (
            "tripline_lag_seconds", "Age of the newest record taken in, of the partition farthest behind, or 0.",
            lambda g: max((_behind_s(lane, now_ms) for lane in lanes[g.name] if g.lag(lane)), default=0.0),
        ),
        (
            "tripline_recovery_seconds", "Time to open the partition that took longest.",
            lambda g: max((lane.recovery_s for lane in lanes[g.name]), default=0.0),
        ),
    ):  # fmt: skip
        yield gauges(name, text, ["group"], {(g.name,): value(g) for g in groups})
    for name, text, value in (
        ("tripline_rebalances", "Assignments that were received.", lambda g: g.rebalances),
        ("tripline_recoveries", "Partitions that were opened anew after a failure.", lambda g: g.recoveries),
        ("tripline_records", "Records taken in.", lambda g: g.taken),
    ):
        yield counters(name, text, ["group"], {(g.name,): value(g) for g in groups})
    yield histograms(
        "tripline_batch_seconds", "Time that a partition's batch took, commit included.", ["group"],
        {(g.name,): g.batches for g in groups},
    )  # fmt: skip


def _behind_s(lane: Lane, now_ms: float) -> float:
    return max(now_ms - lane.append_ms, 0.0) / 1000 if lane.append_ms else 0.0


def worker_registry(worker: Worker) -> CollectorRegistry:
    """A registry with this worker's metrics and those of its partitions."""
    registry = process_registry(worker.config)
    registry.register(PipelineCollector(lambda: [stage.pipeline for stage in worker.detecting()], worker))
    registry.register(WorkerCollector(worker))
    if worker.enricher is not None:
        registry.register(EnrichmentCollector(worker.enricher))
    return registry
