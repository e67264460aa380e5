"""Metric families from plain values, and counters out of counts that may go back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from stream.durations import Durations

Labels = tuple[str, ...]
T = TypeVar("T")


def counter(name: str, text: str, value: float) -> Metric:
    """A counter without labels."""
    return CounterMetricFamily(name, text, value=value)


def gauge(name: str, text: str, value: float) -> Metric:
    """A gauge without labels."""
    return GaugeMetricFamily(name, text, value=value)


def counters(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    """A counter for each tuple of label values."""
    return _labelled(CounterMetricFamily, name, text, labels, values)


def gauges(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    """A gauge for each tuple of label values."""
    return _labelled(GaugeMetricFamily, name, text, labels, values)


def histograms(name: str, text: str, labels: list[str], values: Mapping[Any, Durations]) -> Metric:
    """A histogram of seconds for each tuple of label values."""
    family = HistogramMetricFamily(name, text, labels=labels)
    for key, durations in sorted(values.items()):
        family.add_metric(list(key), durations.cumulative(), durations.sum_s)
    return family


def _labelled(family: type[Any], name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    metric: Metric = family(name, text, labels=labels)
    for key, value in sorted(values.items()):
        metric.add_metric(list(key), value)  # type: ignore[attr-defined]  # every family that is passed has it
    return metric


def summed(parts: Iterable[Mapping[Labels, float]]) -> dict[Labels, float]:
    """The values of all parts, added up by labels."""
    total: Counter[Labels] = Counter()
    for part in parts:
        for key, value in part.items():
            total[key] += value  # type: ignore[assignment]  # a Counter counts seconds as well
    return dict(total)


class Growth(Generic[T]):
    """Counts that are kept in the state of some owners, told as counters.

    They go back when an owner leaves or its state is read from a snapshot, which Prometheus would take for a restart
    and count twice. So what is told is what was added while somebody looked; an owner that was read back (`resumed`)
    begins at what it had. Bounded by the owners that live and their labels.
    """

    def __init__(self, resumed: Callable[[T], bool]) -> None:
        self._resumed = resumed
        self._seen: WeakKeyDictionary[T, dict[str, Mapping[Labels, float]]] = WeakKeyDictionary()
        self._totals: dict[str, Counter[Labels]] = {}
        self._lock = Lock()  # two may scrape at a time

    def __call__(self, name: str, owners: Iterable[T], counts: Callable[[T], Mapping[Labels, float]]) -> Any:
        """The counter of this name by labels, after a look at its owners."""
        with self._lock:
            total = self._totals.setdefault(name, Counter())
            for owner in owners:
                now, seen = dict(counts(owner)), self._seen.setdefault(owner, {})
                before = seen.get(name, now if self._resumed(owner) else {})
                for labels, value in now.items():
                    total[labels] += max(value - before.get(labels, 0.0), 0.0)  # type: ignore[assignment]  # or seconds
                seen[name] = now
            return dict(total)
