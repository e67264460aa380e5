"""Metrics of `tripline respond`: what was told and how late, what is left of the budget, and Faust's own monitor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import faust
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from stream.budget import REASONS
from stream.config import Kafka
from stream.durations import BATCH_S, Durations
from stream.metrics.delivery import DeliveryCollector
from stream.metrics.families import counter, counters, gauge, gauges, histograms
from stream.metrics.process import process_registry
from stream.metrics.run import AlertsCollector
from stream.selftest import SelfTest

if TYPE_CHECKING:
    from stream.respond import Respond


class Monitor(faust.Monitor):
    """Faust's monitor, with durations as histograms: it keeps the latest of each, which cannot be added up."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.durations = {name: Durations(BATCH_S) for name in ("event", "commit", "send", "rebalance")}

    def on_stream_event_out(self, tp: Any, offset: int, stream: Any, event: Any, state: Any = None) -> None:
        """A message has been worked on."""
        super().on_stream_event_out(tp, offset, stream, event, state)
        if state is not None:
            self.durations["event"].add(state["time_total"])

    def on_commit_completed(self, consumer: Any, state: Any) -> None:
        """Offsets were committed."""
        super().on_commit_completed(consumer, state)
        self.durations["commit"].add(self.time() - state)

    def on_send_completed(self, producer: Any, state: Any, metadata: Any) -> None:
        """A message was written."""
        super().on_send_completed(producer, state, metadata)
        self.durations["send"].add(self.time() - state)

    def on_rebalance_end(self, app: Any, state: Any) -> None:
        """Partitions were assigned and the table read back."""
        super().on_rebalance_end(app, state)
        self.durations["rebalance"].add(state["latency_end"])


class RespondCollector:
    """A collector over one process of the alert plane. Make it in that process's event loop."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        # Faust takes the loop of whoever first asks for its monitor. A scrape asks from a thread of its own, whose loop
        # never runs: one that came before Faust had started left it waiting for ever.
        self._monitor: Monitor = respond.app.monitor

    def collect(self) -> Iterator[Metric]:
        """Every metric of the process."""
        respond = self._respond
        yield counter("tripline_signals", "Signals taken in.", respond.signals)
        yield histograms(
            "tripline_alert_delay_seconds", "From the access that an opened alert rests on to its telling.", [],
            {(): respond.delays},
        )  # fmt: skip
        yield counters(
            "tripline_dead_letters", "Records that could not be used.", ["reason"],
            {(reason,): count for reason, count in list(respond.dead_letters.items())},
        )  # fmt: skip
        said = respond.said.chain
        yield counter("tripline_feedback_entries", "Entries of the feedback log that are heeded.", len(said.entries))
        yield counter("tripline_feedback_refused", "Records of its topic that do not follow from it.", said.refused)
        yield counters(
            "tripline_feedback_requests", "Requests to its webhook, by the status of the answer.", ["status"],
            {(str(status),): count for status, count in list(respond.webhook.answers.items())},
        )  # fmt: skip
        budget = respond.merger.budget
        yield counters(
            "tripline_alerts_held_back", "Entities above the threshold that opened no alert.", ["reason"],
            {(reason,): budget.held_back.get(reason, 0) for reason in REASONS},
        )  # fmt: skip
        yield gauge("tripline_alert_budget_left", "Alerts that may be opened now.", budget.spent.tokens)
        yield gauge("tripline_alert_budget_max", "Alerts that may be opened a day.", respond.config.alerts_per_day_max)
        yield gauge(
            "tripline_alert_threshold_score",
            "Score that opens an alert now, log2 of the days that chance needs for one.",
            budget.threshold(),
        )
        yield gauge("tripline_incidents", "Incidents that are kept.", len(respond.merger.groups))
        yield gauge("tripline_incidents_open", "Incidents that are open.", len(respond.merger.open))
        yield counter("tripline_incidents_forgotten", "Open ones that others displaced.", respond.merger.forgotten)
        yield from _selftest(respond.selftest)
        yield from _faust(self._monitor, respond.config.kafka)


def _selftest(tests: SelfTest) -> Iterator[Metric]:
    yield counter("tripline_selftests_sent", "Marked thefts of our own that were sent.", tests.sent)
    yield counter("tripline_selftests_detected", "Marked thefts of our own that were found.", tests.detected)
    yield gauge("tripline_selftest_interval_seconds", "Time between two self-tests; 0 without.", tests.every_s)
    yield gauge(
        "tripline_selftest_detected_timestamp_seconds", "When one was last found, or the process began.",
        tests.detected_at,
    )  # fmt: skip
    yield histograms(
        "tripline_selftest_detection_seconds", "From a self-test's access to its signal.", [], {(): tests.delays}
    )


def _faust(monitor: Monitor, kafka: Kafka) -> Iterator[Metric]:
    for name, text, by_topic, first in (
        ("messages_received", "Messages that Faust received.", monitor.messages_received_by_topic, kafka.signals),
        ("messages_sent", "Messages that Faust sent.", monitor.messages_sent_by_topic, kafka.alerts),
    ):
        # From 0 on: of a series that begins with its first message, no rate tells of it.
        counts = {first: 0} | dict(by_topic)
        yield counters(f"tripline_faust_{name}", text, ["topic"], {(topic,): count for topic, count in counts.items()})
    for name, text, value in (
        ("events", "Messages that agents were given.", monitor.events_total),
        ("send_errors", "Messages that Faust could not send.", monitor.send_errors),
        ("rebalances", "Rebalances that Faust went through.", monitor.rebalances or 0),
        ("assignments", "Assignments that Faust completed.", monitor.assignments_completed),
        ("assignments_failed", "Assignments that failed.", monitor.assignments_failed),
        ("buffer_full", "Times that a topic's buffer was full.", sum(monitor.topic_buffer_full.values())),
    ):
        yield counter(f"tripline_faust_{name}", text, value)
    yield gauge("tripline_faust_messages_active", "Messages that are not acknowledged yet.", monitor.messages_active)
    behind: Counter[tuple[str]] = Counter()
    for tp, end in list(monitor.tp_end_offsets.items()):
        behind[(tp.topic,)] += max(end - monitor.tp_read_offsets.get(tp, -1) - 1, 0)
    yield gauges("tripline_faust_lag_records", "Records that are there and not taken in.", ["topic"], behind)
    yield histograms(
        "tripline_faust_duration_seconds", "How long signals, a commit, a send and a rebalance take.", ["of"],
        {(of,): durations for of, durations in monitor.durations.items()},
    )  # fmt: skip


def respond_registry(respond: Respond) -> CollectorRegistry:
    """A registry with the metrics of the alert plane."""
    registry = process_registry(respond.config)
    registry.register(RespondCollector(respond))
    registry.register(AlertsCollector(respond))
    registry.register(DeliveryCollector(respond.deliveries))
    return registry
