"""Metrics of delivery: what each subscriber accepted, how often it did not and why, and what waits for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from prometheus_client.core import Metric

from stream.delivery.courier import Courier
from stream.metrics.families import counters, gauges, histograms


class Delivers(Protocol):
    """Whoever has couriers."""

    @property
    def couriers(self) -> Sequence[Courier]:
        """One for each subscriber."""
        ...


class DeliveryCollector:
    """A collector over the couriers of a process; subscribers are as many as the configuration lists."""

    def __init__(self, delivers: Delivers) -> None:
        self._delivers = delivers

    def collect(self) -> Iterator[Metric]:
        """Every metric of delivery."""
        couriers = self._delivers.couriers
        yield counters(
            "tripline_deliveries", "Alert revisions that were dealt with, by what became of them.",
            ["subscriber", "result"],
            {(c.name, result): count for c in couriers for result, count in list(c.tally.results.items())},
        )  # fmt: skip
        yield counters(
            "tripline_delivery_failures", "Attempts that failed, by reason.", ["subscriber", "reason"],
            {(c.name, reason): count for c in couriers for reason, count in list(c.tally.failures.items())},
        )  # fmt: skip
        yield gauges(
            "tripline_delivery_waiting", "Alert revisions that wait for the subscriber.", ["subscriber"],
            {(c.name,): float(c.log.waiting) for c in couriers},
        )  # fmt: skip
        yield gauges(
            "tripline_delivery_circuit_open", "1 while the subscriber has failed several times in a row.",
            ["subscriber"], {(c.name,): float(c.tally.broken) for c in couriers},
        )  # fmt: skip
        yield histograms(
            "tripline_delivery_delay_seconds", "From the telling of an alert to its acceptance.", ["subscriber"],
            {(c.name,): c.tally.delays for c in couriers},
        )  # fmt: skip
