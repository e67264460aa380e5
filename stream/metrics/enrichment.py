"""Metrics of enrichment: what was filled in, and whether its files are read again when they change."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from stream.enrich.enricher import Enricher
from stream.metrics.families import counter, counters


class EnrichmentCollector:
    """A collector over the one enricher of a process."""

    def __init__(self, enricher: Enricher) -> None:
        self._enricher = enricher

    def collect(self) -> Iterator[Metric]:
        """Every metric of enrichment."""
        enricher = self._enricher
        yield counters(
            "tripline_enriched_events", "Events in which a field was filled in.", ["field"],
            {(field,): count for field, count in list(enricher.filled.items())},
        )  # fmt: skip
        yield counters(
            "tripline_enrichment_reloads", "Files of [enrich] that changed, by what became of them.", ["result"],
            {(result,): count for result, count in list(enricher.reloads.items())},
        )  # fmt: skip
        yield counter("tripline_enrichment_seconds", "Time spent filling in events.", enricher.seconds)
