"""What a run tells Prometheus: read from the pipeline when it is scraped, so that the hot path counts nothing twice.

Labels are bounded and never an identity: entity kind, reason, severity, stage.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from socketserver import ThreadingMixIn
from threading import Thread
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from stream.errors import TriplineError
from stream.pipeline import Pipeline
from stream.state import Table

if TYPE_CHECKING:
    from stream.respond import Respond
    from stream.transact import Lane
    from stream.worker import Worker


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
    """A prometheus_client collector over the pipelines of a process: a run has one, a worker one for each partition."""

    def __init__(self, pipelines: Callable[[], Sequence[Pipeline]], counts: Counts) -> None:
        self._pipelines = pipelines
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Every metric of the pipelines."""
        pipelines, counts = self._pipelines(), self._counts
        yield _counter("tripline_events", "Access events scored.", sum(p.events for p in pipelines))
        yield _counter(
            "tripline_duplicates", "Events left out because their id came before.", sum(p.duplicates for p in pipelines)
        )
        yield _counter(
            "tripline_late_events", "Events more than five minutes behind the stream.", sum(p.late for p in pipelines)
        )
        yield _gauge(
            "tripline_stream_time_seconds", "Stream time of the latest event, of the partition farthest behind.",
            min((p.now_ms / 1000 for p in pipelines), default=0.0),
        )  # fmt: skip
        incidents = sum(len(p.correlator.open) for p in pipelines)
        yield _gauge("tripline_incidents_open", "Incidents that are open.", incidents)
        yield _gauge(
            "tripline_alert_threshold_bits", "Score that opens an alert now.",
            max((p.correlator.budget.threshold() for p in pipelines), default=0.0),
        )  # fmt: skip
        yield _labelled(
            CounterMetricFamily, "tripline_dead_letters", "Records that could not be used.", ["reason"],
            {(reason,): count for reason, count in counts.dead_letters.items()},
        )  # fmt: skip
        yield _labelled(
            CounterMetricFamily, "tripline_alerts", "Alert revisions emitted.", ["status", "severity"], counts.alerts
        )
        held = _summed({(k,): v for k, v in p.correlator.budget.held_back.items()} for p in pipelines)
        yield _labelled(
            CounterMetricFamily, "tripline_alerts_held_back", "Entities above the threshold that opened no alert.",
            ["reason"], held,
        )  # fmt: skip
        yield from _tables(pipelines)
        stages = _summed({(k,): v for k, v in p.stage_s.items()} for p in pipelines)
        yield _labelled(CounterMetricFamily, "tripline_stage_seconds", "Time spent by stage.", ["stage"], stages)


_TABLES: Final[tuple[tuple[type[Metric], str, str, Callable[[Table], float]], ...]] = (
    (GaugeMetricFamily, "tripline_entities", "Entities that are kept.", len),
    (GaugeMetricFamily, "tripline_entities_max", "Entities that may be kept.", lambda t: t.index.limit - 1),
    (CounterMetricFamily, "tripline_entities_evicted", "Entities forgotten for want of room.", lambda t: t.evicted),
    (
        CounterMetricFamily, "tripline_entities_overflowed", "Events whose entity found no room.",
        lambda t: t.index.overflowed,
    ),
    (GaugeMetricFamily, "tripline_state_bytes", "Bytes of keyed state in use.", lambda t: t.nbytes()),
)  # fmt: skip


def _tables(pipelines: Sequence[Pipeline]) -> Iterator[Metric]:
    for family, name, text, value in _TABLES:
        yield _labelled(
            family, name, text, ["kind"], _summed({(k,): value(t) for k, t in p.tables.items()} for p in pipelines)
        )


class WorkerCollector:
    """A collector over one worker of the data plane."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        """Every metric of the worker that is not one of its pipelines."""
        worker = self._worker
        lanes = {group.name: list(group.lanes.values()) for group in worker.groups}
        now_ms = time.time() * 1000
        for name, text, value in (
            ("tripline_partitions", "Partitions that are worked on.", lambda g: len(lanes[g.name])),
            (
                "tripline_lag_records", "Records that are there and not taken in.",
                lambda g: sum(g.lag(lane) for lane in lanes[g.name]),
            ),
            (
                "tripline_lag_seconds", "Age of the newest record taken in, of the partition farthest behind, or 0.",
                lambda g: max((_behind_s(lane, now_ms) for lane in lanes[g.name] if g.lag(lane)), default=0.0),
            ),
            ("tripline_batch_seconds", "Time that the latest batch took, commit included.", lambda g: g.batch_s),
            (
                "tripline_recovery_seconds", "Time to open the partition that took longest.",
                lambda g: max((lane.recovery_s for lane in lanes[g.name]), default=0.0),
            ),
        ):  # fmt: skip
            yield _labelled(GaugeMetricFamily, name, text, ["group"], {(g.name,): value(g) for g in worker.groups})
        rebalances = {(g.name,): g.rebalances for g in worker.groups}
        yield _labelled(
            CounterMetricFamily, "tripline_rebalances", "Assignments that were received.", ["group"], rebalances
        )
        taken = {(g.name,): g.taken for g in worker.groups}
        yield _labelled(CounterMetricFamily, "tripline_records", "Records taken in.", ["group"], taken)
        yield _counter("tripline_ingested_events", "Access events decoded and passed on.", worker.ingested)
        yield _counter("tripline_future_events", "Events ahead of their arrival, scored at it.", worker.future)
        stages = worker.detecting()
        yield _gauge(
            "tripline_snapshot_age_seconds", "Age of the oldest latest snapshot.",
            max((stage.snapshot_age_s for stage in stages), default=0.0),
        )  # fmt: skip
        yield _gauge("tripline_snapshot_bytes", "Bytes of the latest snapshots.", sum(s.snapshot_bytes for s in stages))
        yield _gauge(
            "tripline_snapshot_seconds", "Time that the slowest of the latest snapshots took.",
            max((stage.snapshot_s for stage in stages), default=0.0),
        )  # fmt: skip


def _behind_s(lane: Lane, now_ms: float) -> float:
    return max(now_ms - lane.append_ms, 0.0) / 1000 if lane.append_ms else 0.0


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _labelled(family: type[Any], name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    metric: Metric = family(name, text, labels=labels)
    for key, value in sorted(values.items()):
        metric.add_metric(list(key), value)  # type: ignore[attr-defined]  # every family that is passed has it
    return metric


def _summed(parts: Iterable[Mapping[tuple[str, ...], float]]) -> dict[tuple[str, ...], float]:
    total: Counter[tuple[str, ...]] = Counter()
    for part in parts:
        for key, value in part.items():
            total[key] += value  # type: ignore[assignment]  # a Counter counts seconds as well
    return dict(total)


def registry_of(pipeline: Pipeline, counts: Counts) -> CollectorRegistry:
    """A registry with this run's metrics and nothing else."""
    registry = CollectorRegistry()
    registry.register(PipelineCollector(lambda: [pipeline], counts))
    return registry


def worker_registry(worker: Worker) -> CollectorRegistry:
    """A registry with this worker's metrics and those of its partitions."""
    registry = CollectorRegistry()
    registry.register(PipelineCollector(lambda: [stage.pipeline for stage in worker.detecting()], worker))
    registry.register(WorkerCollector(worker))
    return registry


class RespondCollector:
    """A collector over one process of the alert plane, with what Faust's own monitor counts."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond

    def collect(self) -> Iterator[Metric]:
        """Every metric of the process."""
        respond, monitor = self._respond, self._respond.app.monitor
        yield _counter("tripline_signals", "Signals taken in.", respond.signals)
        yield _labelled(
            CounterMetricFamily, "tripline_alerts", "Alert revisions emitted.", ["status", "severity"], respond.alerts
        )
        yield _labelled(
            CounterMetricFamily, "tripline_dead_letters", "Records that could not be used.", ["reason"],
            {(reason,): count for reason, count in respond.dead_letters.items()},
        )  # fmt: skip
        held = {(reason,): count for reason, count in respond.merger.budget.held_back.items()}
        yield _labelled(
            CounterMetricFamily, "tripline_alerts_held_back", "Entities above the threshold that opened no alert.",
            ["reason"], held,
        )  # fmt: skip
        groups = list(respond.merger.groups.values())
        still = sum(g.opened and g.status != "closed" for g in groups)
        yield _gauge("tripline_incidents", "Incidents that are kept.", len(groups))
        yield _gauge("tripline_incidents_open", "Incidents that are open.", still)
        threshold = respond.merger.budget.threshold()
        yield _gauge("tripline_alert_threshold_bits", "Score that opens an alert now.", threshold)
        for name, text, value in (
            ("messages_received", "Messages that Faust received.", monitor.messages_received_total),
            ("messages_sent", "Messages that Faust sent.", monitor.messages_sent),
            ("rebalances", "Rebalances that Faust went through.", monitor.rebalances),
            ("send_errors", "Messages that Faust could not send.", monitor.send_errors),
        ):
            yield _counter(f"tripline_faust_{name}", text, value)


def respond_registry(respond: Respond) -> CollectorRegistry:
    """A registry with the metrics of the alert plane."""
    registry = CollectorRegistry()
    registry.register(RespondCollector(respond))
    return registry


def serve(
    registry: CollectorRegistry, port: int, address: str = "127.0.0.1", *, setting: str = "--metrics-port",
    health: Mapping[str, Callable[[], str]] = MappingProxyType({}),
) -> Callable[[], None]:  # fmt: skip
    """Serve /metrics over HTTP until the returned function is called; TriplineError when the port cannot be had.

    health: by path, what says why the answer is 503, or nothing for 200.
    """
    exposition = make_wsgi_app(registry)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            return exposition(environ, start_response)
        answer = health.get(path)
        reason = answer() if answer else "metrics are at /metrics"
        status = "404 Not Found" if answer is None else "503 Service Unavailable" if reason else "200 OK"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{reason or 'ok'}\n".encode()]

    try:
        server = make_server(address, port, application, _Server, _Silent)
    except OSError as error:
        raise TriplineError(f"{setting} {port}: {error.strerror}; choose a port that is free") from error
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


class _Server(ThreadingMixIn, WSGIServer):
    """A scrape that stalls does not hold up the next."""

    daemon_threads = True


class _Silent(WSGIRequestHandler):
    """No line on stderr for each scrape, and no connection that lasts for ever."""

    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def write(registry: CollectorRegistry, path: Path) -> None:
    """Write the metrics to a file for node_exporter's textfile collector, atomically."""
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        raise TriplineError(
            f"{path}: metrics cannot be written ({error.strerror}); name a file in a writable directory"
        ) from error
