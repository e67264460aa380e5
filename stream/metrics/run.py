"""Metrics of `tripline run`: those of its one pipeline, and the alerts that it wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from detectors import catalog
from stream.alerts import SEVERITIES
from stream.enrich.enricher import Enricher
from stream.metrics.delivery import Delivers, DeliveryCollector
from stream.metrics.enrichment import EnrichmentCollector
from stream.metrics.families import counters
from stream.metrics.pipeline import Counts, PipelineCollector
from stream.metrics.process import process_registry
from stream.pipeline import Pipeline


class Told(Protocol):
    """What is counted where alerts are written."""

    @property
    def alerts(self) -> Mapping[tuple[str, str], int]:
        """By status and severity."""
        ...

    @property
    def detected(self) -> Mapping[tuple[str, str], int]:
        """Opened alerts, by detector that has evidence in it and severity."""
        ...


class RunCounts(Counts, Told, Protocol):
    """All that a run counts beside its pipeline."""


class AlertsCollector:
    """A collector for the alerts that were told; zeros are told too, for the first of a kind to be seen as one more."""

    def __init__(self, told: Told) -> None:
        self._told = told
        severities = (*(name for name, _ in SEVERITIES), "low")
        self._alerts = dict.fromkeys(product(("open", "update", "closed"), severities), 0)
        self._detected = dict.fromkeys(product(catalog.detector_ids(), severities), 0)

    def collect(self) -> Iterator[Metric]:
        """Alerts by status and severity, and by detector."""
        yield counters(
            "tripline_alerts", "Alert revisions emitted.", ["status", "severity"],
            self._alerts | dict(self._told.alerts),
        )  # fmt: skip
        yield counters(
            "tripline_detector_alerts", "Alerts opened that rest on a finding of the detector.",
            ["detector", "severity"], self._detected | dict(self._told.detected),
        )  # fmt: skip


def registry_of(
    pipeline: Pipeline, counts: RunCounts, deliveries: Delivers | None = None, enricher: Enricher | None = None
) -> CollectorRegistry:
    """A registry with this run's metrics and nothing else."""
    registry = process_registry(pipeline.config)
    registry.register(PipelineCollector(lambda: [pipeline], counts))
    registry.register(AlertsCollector(counts))
    if deliveries is not None:
        registry.register(DeliveryCollector(deliveries))
    if enricher is not None:
        registry.register(EnrichmentCollector(enricher))
    return registry
