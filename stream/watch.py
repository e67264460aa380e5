"""How a worker is: lag, progress, health, served over HTTP; and the end of a worker that stands still.

Ready: every group has been assigned its partitions and has opened them, and none waits for a registry. Alive: no
partition has stood still for `stall_s` while there was something to read. A worker that is not alive ends itself,
because what started it can start it again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from stream import metrics
from stream.errors import TriplineError
from stream.metrics.worker import worker_registry

if TYPE_CHECKING:
    from stream.worker import Worker

LOOK_S: Final = 1.0


class Watch:
    """Looks at one worker. Lags are those of the latest look."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    @contextmanager
    def served(self) -> Iterator[None]:
        """Serve metrics and health as long as this lasts; TriplineError where the port cannot be had."""
        stop = metrics.serve_worker(
            worker_registry(self._worker), self._worker.config.worker, {"/livez": self.alive, "/readyz": self.ready}
        )
        try:
            yield
        finally:
            stop()

    async def run(self) -> None:
        """Look every second; raises TriplineError once a partition stands still for too long."""
        worker = self._worker
        while not worker.stopping.is_set():
            if stalled := self.stalled():
                raise TriplineError(
                    f"{stalled}: no progress for {worker.config.kafka.stall_s:g} s (kafka.stall_s) although there is "
                    "something to read; ending, to be started again"
                )
            try:
                await asyncio.wait_for(worker.stopping.wait(), LOOK_S)
            except TimeoutError:
                continue

    def stalled(self) -> str:
        """The partition that stands still, or nothing."""
        limit = self._worker.config.kafka.stall_s
        for group in self._worker.groups:
            for lane in list(group.lanes.values()):
                if group.lag(lane) == 0:
                    lane.progress_at = time.monotonic()
                elif time.monotonic() - lane.progress_at > limit:
                    return f"{group.name} {lane.partition.topic}/{lane.partition.partition}"
        return ""

    def alive(self) -> str:
        """Why it is not alive, or nothing."""
        return self.stalled()

    def ready(self) -> str:
        """Why it is not ready, or nothing."""
        waiting = [group.name for group in self._worker.groups if not group.rebalances or group.opening]
        if waiting:
            return f"waiting for partitions: {', '.join(waiting)}"
        return next((group.waiting_for for group in self._worker.groups if group.waiting_for), "")
