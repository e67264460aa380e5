"""What any process tells: which version it is, its memory, and how much it may have."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric

from stream.config import Config, fingerprint
from stream.metrics.families import gauge, gauges

CGROUP_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class InfoCollector:
    """A collector for the version, the configuration and the memory limit of this process."""

    def __init__(self, config: Config) -> None:
        self._labels = version("tripline"), fingerprint(config)
        self._limit = memory_limit_bytes()

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        yield gauges(
            "tripline_build_info", "Version, and fingerprint of the configuration; always 1.",
            ["version", "configuration"], {self._labels: 1.0},
        )  # fmt: skip
        yield gauge("tripline_memory_limit_bytes", "Memory that the process may have.", self._limit)


def process_registry(config: Config) -> CollectorRegistry:
    """A registry with what any process tells, for more to be added."""
    registry = CollectorRegistry()
    registry.register(InfoCollector(config))
    ProcessCollector(namespace="tripline", registry=registry)
    return registry


def memory_limit_bytes() -> float:
    """The container's limit, or the machine's memory where there is none."""
    machine = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in CGROUP_LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            return min(float(text), machine)
    return machine
