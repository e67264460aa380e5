"""What a run tells Prometheus: read from the pipeline when it is scraped, so that the hot path counts nothing twice.

Labels are bounded and never an identity: entity kind, reason, severity, stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from stream.errors import TriplineError
from stream.pipeline import Pipeline


class Counts(Protocol):
    """What the runner counts beside the pipeline."""

    @property
    def dead_letters(self) -> Mapping[str, int]:
        """By reason."""
        ...

    @property
    def alerts(self) -> Mapping[tuple[str, str], int]:
        """By status and severity."""
        ...


class PipelineCollector:
    """A prometheus_client collector over one pipeline and its runner."""

    def __init__(self, pipeline: Pipeline, counts: Counts) -> None:
        self._pipeline = pipeline
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Every metric of the run."""
        pipeline, counts = self._pipeline, self._counts
        yield CounterMetricFamily("tripline_events", "Access events scored.", value=pipeline.events)
        yield CounterMetricFamily(
            "tripline_duplicates", "Events left out because their id came before.", value=pipeline.duplicates
        )
        yield CounterMetricFamily(
            "tripline_late_events", "Events more than five minutes behind the stream.", value=pipeline.late
        )
        yield GaugeMetricFamily(
            "tripline_stream_time_seconds", "Stream time of the latest event.", value=pipeline.now_ms / 1000
        )
        yield GaugeMetricFamily(
            "tripline_incidents_open", "Incidents that are open.", value=len(pipeline.correlator.open)
        )
        yield GaugeMetricFamily(
            "tripline_alert_threshold_bits", "Score that opens an alert now.", value=pipeline.correlator.threshold()
        )
        dead = CounterMetricFamily("tripline_dead_letters", "Records that could not be used.", labels=["reason"])
        for reason, count in sorted(counts.dead_letters.items()):
            dead.add_metric([reason], count)
        yield dead
        alerts = CounterMetricFamily("tripline_alerts", "Alert revisions emitted.", labels=["status", "severity"])
        for (status, severity), count in sorted(counts.alerts.items()):
            alerts.add_metric([status, severity], count)
        yield alerts
        held = CounterMetricFamily(
            "tripline_alerts_held_back", "Entities above the threshold that opened no alert.", labels=["reason"]
        )
        for reason, count in sorted(pipeline.correlator.held_back.items()):
            held.add_metric([reason], count)
        yield held
        yield from self._tables()
        stages = CounterMetricFamily("tripline_stage_seconds", "Time spent by stage.", labels=["stage"])
        for stage, seconds in sorted(pipeline.stage_s.items()):
            stages.add_metric([stage], seconds)
        yield stages

    def _tables(self) -> Iterator[Metric]:
        entities = GaugeMetricFamily("tripline_entities", "Entities that are kept.", labels=["kind"])
        limit = GaugeMetricFamily("tripline_entities_max", "Entities that may be kept.", labels=["kind"])
        evicted = CounterMetricFamily(
            "tripline_entities_evicted", "Entities forgotten for want of room.", labels=["kind"]
        )
        overflow = CounterMetricFamily(
            "tripline_entities_overflowed", "Events whose entity found no room.", labels=["kind"]
        )
        held = GaugeMetricFamily(
            "tripline_state_bytes", "Bytes of keyed state, room to grow included.", labels=["kind"]
        )
        for kind, table in self._pipeline.tables.items():
            entities.add_metric([kind], len(table))
            limit.add_metric([kind], table.index.limit - 1)
            evicted.add_metric([kind], table.evicted)
            overflow.add_metric([kind], table.index.overflowed)
            held.add_metric([kind], table.nbytes())
        yield from (entities, limit, evicted, overflow, held)


def registry_of(pipeline: Pipeline, counts: Counts) -> CollectorRegistry:
    """A registry with this run's metrics and nothing else."""
    registry = CollectorRegistry()
    registry.register(PipelineCollector(pipeline, counts))
    return registry


def serve(registry: CollectorRegistry, port: int, address: str = "127.0.0.1") -> Callable[[], None]:
    """Serve the metrics over HTTP until the returned function is called; TriplineError when the port cannot be had."""
    try:
        server, thread = start_http_server(port, address, registry)
    except OSError as error:
        raise TriplineError(f"--metrics-port {port}: {error.strerror}; choose a port that is free") from error

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


def write(registry: CollectorRegistry, path: Path) -> None:
    """Write the metrics to a file for node_exporter's textfile collector, atomically."""
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        raise TriplineError(
            f"{path}: metrics cannot be written ({error.strerror}); name a file in a writable directory"
        ) from error
