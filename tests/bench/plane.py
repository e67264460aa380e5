"""One measured piece of work of the data plane, in a process of its own on one core; prints a line of JSON.

The work lies in a topic before it begins. It is over when nothing has come for IDLE_S, and was over when the last
came: what is told is the processor's time from the first to the last, all threads, and the time on the wall.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from stream import kafka, wire
from stream.batch import Batch
from stream.checks import TIME_MS_END
from stream.config import Config, load
from stream.decode import decode_packed, format_named
from stream.detect import Detect
from stream.fetch import consumer_of
from stream.group import RECORDS_MAX
from stream.run import Options, Run
from stream.transact import Lane
from stream.warm import warm
from stream.worker import Worker

IDLE_S: Final = 5.0
LOOK_S: Final = 0.01
FIRST_S: Final = 120.0  # until the first has come
READY: Final = "ready"  # a line before the one of JSON, where somebody waits for it


@dataclass
class Span:
    """From the first of something to the last: how many, and what they took of the processor."""

    clock: Callable[[], float] = time.process_time
    count: int = 0
    beside: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)  # how many after how long on the processor
    began: tuple[float, float] = (0.0, 0.0)  # process time, wall
    ended: tuple[float, float] = (0.0, 0.0)
    since: float = field(default_factory=time.monotonic)

    def at(self, count: int, beside: int = 0, begun: bool = False) -> bool:
        """So many have come until now, and so many of what they bring with them; False once nothing more does.

        It begins with the last look that saw none.
        """
        now = self.clock(), time.monotonic()
        if not (count or begun):
            self.began = now
        if count > self.count or beside > self.beside:
            self.count, self.beside, self.ended, self.since = count, beside, now, now[1]
            self.curve.append((count, now[0] - self.began[0]))
        return now[1] - self.since < (IDLE_S if self.count else FIRST_S)

    def told(self) -> dict[str, Any]:
        """As numbers."""
        cpu_s, wall_s = (end - begin for begin, end in zip(self.began, self.ended, strict=True))
        return {
            "events": self.count, "cpu_s": cpu_s, "wall_s": wall_s, "peak_bytes": peak_bytes(), "curve": self.curve
        }  # fmt: skip


def peak_bytes(pid: int | str = "self") -> int:
    """The most memory that a process has had; unlike `ru_maxrss`, without its parent's when it was started."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def embedded(config: Config, log: str) -> dict[str, Any]:
    """`tripline run` over the same events in a file."""
    run = Run(config, Options(paths=[log], alerts=os.devnull))
    span = Span()
    span.at(0)
    run.go()
    span.at(run.pipeline.events)
    return span.told() | {"stages": run.counts.stage_s | run.pipeline.stage_s}


async def _consumed(config: Config, take: Callable[[str, Batch], int]) -> dict[str, Any]:
    """Every record of the access topic handed to `take`, which says how many events there were."""
    reading = kafka.consumer(config.kafka, f"bench-{os.getpid()}", "", consumer_of(), auto_offset_reset="earliest")
    reading.subscribe(list(config.kafka.topics))
    span, count = Span(), 0
    async with reading:
        while span.at(count):
            for tp, records in (await reading.getmany(timeout_ms=100, max_records=RECORDS_MAX)).items():
                count += take(f"{tp.topic}/{tp.partition}", Batch.of(records))
    return span.told()


def consume(config: Config) -> dict[str, Any]:
    """The client's records, looked at no further."""
    return asyncio.run(_consumed(config, lambda _origin, records: len(records)))


def decode(config: Config) -> dict[str, Any]:
    """The client's records, and their typed columns."""
    native = format_named("native")

    def take(origin: str, records: Batch) -> int:
        block, _ = decode_packed(native, records.values, origin, records.offsets, TIME_MS_END - 1)
        return len(block)

    return asyncio.run(_consumed(config, take))


def _timed(delays_ms: list[np.ndarray[Any, np.dtype[np.int64]]]) -> None:
    """Note how long it is from the time of each event, which is when it was appended, until it is scored for good."""
    take = Lane.take

    async def timed(lane: Lane, records: Sequence[Any]) -> None:
        await take(lane, records)
        if isinstance(lane.stage, Detect):
            now = int(time.time() * 1000)
            delays_ms.extend(now - wire.decode(record.value).block.time for record in records)

    setattr(Lane, "take", timed)  # noqa: B010 - the bench looks into the product, the product does not look back


async def _worked(config: Config) -> dict[str, Any]:
    work = Worker(config, lambda said: print(said, file=sys.stderr))
    running = asyncio.create_task(work.run())
    span = Span()
    begun = False
    while not running.done() and span.at(_scored(work), begun=begun):
        if not begun and all(group.rebalances and not group.opening for group in work.groups):
            begun = True
            print(READY, flush=True)
        await asyncio.sleep(LOOK_S)
    stages = dict(work.stage_s)
    for stage in work.detecting():
        for name, seconds in stage.pipeline.stage_s.items():
            stages[name] = stages.get(name, 0.0) + seconds
    work.stopping.set()
    await running
    return span.told() | {"stages": stages}


def _scored(work: Worker) -> int:
    return sum(stage.pipeline.events + stage.pipeline.duplicates for stage in work.detecting())


def worker(config: Config) -> dict[str, Any]:
    """`tripline worker` in this process, from the access topic to the signals."""
    return asyncio.run(_worked(config))


def delay(config: Config) -> dict[str, Any]:
    """The same, with how long each event took."""
    delays_ms: list[np.ndarray[Any, np.dtype[np.int64]]] = []
    _timed(delays_ms)
    told = asyncio.run(_worked(config))
    every = np.concatenate(delays_ms)
    settled = every[len(every) // 5 :]  # without the start
    told["delay_ms"] = {str(q): float(np.percentile(settled, q)) for q in (50, 99)}
    return told


def main(name: str, path: str, core: str, *more: str) -> None:
    """Do the work of that name with the configuration in a file, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core)})
    time.perf_counter = time.thread_time  # the clock of the product's stages: what others do meanwhile does not count
    config = load(Path(path), {})
    works: dict[str, Callable[..., dict[str, Any]]] = {
        "embedded": embedded, "consume": consume, "decode": decode, "worker": worker, "delay": delay
    }  # fmt: skip
    warm(config)
    gc.collect()
    print(json.dumps(works[name](config, *more)))


if __name__ == "__main__":
    main(*sys.argv[1:])
