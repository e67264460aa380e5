"""`make soak`: a worker at a steady load for half an hour; whether its memory grows, and whether it keeps up.

First the worker's rate on one core, as `make bench-kafka` has it; then a worker as it is deployed, while events are
appended at a share of that rate, each with the moment as its time, the same accounts again and again. What it holds in
memory is looked at every LOOK_S, and its slope is the median of the slopes between all pairs of looks, after a third of
the time in which it comes to know the accounts. Exit status 1 where it grows by SLOPE_MB_MAX in ten minutes or more, or
where it does not keep up. Everything goes to out/soak.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from detectors import catalog
from stream.config import Config
from tests.bench.__main__ import _machine, _write
from tests.bench.kafka import FOUR, Bench, _us
from tests.kafka.cluster import Cluster
from tests.kafka.node import free_ports

LOOK_S: Final = 10.0
SLOPE_MB_MAX: Final = 1.0  # in ten minutes
LAG_S_MAX: Final = 30.0
PARTITION_BYTES: Final = 256 << 20  # that the broker keeps: half an hour is more than a disk may have
BROKER: Final = {
    "broker.session.timeout.ms": 30_000, "group.initial.rebalance.delay.ms": 3_000,
    "log.retention.bytes": PARTITION_BYTES, "log.segment.bytes": PARTITION_BYTES // 4,
    "log.retention.check.interval.ms": 10_000,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """What the worker said of itself after so many seconds."""

    at_s: float
    resident_mb: float
    cpu_s: float
    events: float
    lag_s: float


def main() -> int:
    """Measure and print; 1 where it did not hold."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--load", type=float, default=0.7, help="share of the worker's rate on a core")
    parser.add_argument("--rate", type=float, default=0.0, help="events a second, instead of a share")
    parser.add_argument("--events", type=int, default=1_000_000, help="of the log that is appended again and again")
    parser.add_argument("--accounts", type=int, default=5_000_000)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("out"))
    given = parser.parse_args()
    given.out.mkdir(exist_ok=True)
    log = given.out / f"bench-{given.events}-{given.accounts}.jsonl"
    if not log.exists():
        _write(log, given.events, given.accounts)
    config = Config(format="native", detectors={each: each in FOUR for each in catalog.detector_ids()})
    with Cluster(settings=BROKER, jvm=("-XX:TieredStopAtLevel=4", "-Xmx1g")) as cluster:
        bench = Bench(cluster.bootstrap, config, log, given.partitions)
        rate = given.rate or given.load * 1e6 / _us(bench.piece("worker"))
        print(f"{rate:,.0f} events/s for {given.minutes:g} minutes", flush=True)
        looks = soaked(bench, rate, 60 * given.minutes)
    slope = slope_mb(looks)
    result = {"machine": _machine(), "rate": rate, "slope_mb": slope, "looks": [asdict(look) for look in looks]}
    (given.out / "soak.json").write_text(json.dumps(result, indent=1))
    print(table(looks))
    return 1 if slope >= SLOPE_MB_MAX or looks[-1].lag_s > LAG_S_MAX else 0


def soaked(bench: Bench, rate: float, seconds: float) -> list[Look]:
    """What a worker says of itself while events are appended at a rate."""
    port = next(free_ports())
    with tempfile.TemporaryDirectory() as folder:
        deployment = bench.deployed(Path(folder))
        deployment.start(metrics_port=port, session_timeout_s=45.0)
        try:
            deployment.wait_until_ready(port)
            return asyncio.run(_looked_at(bench, deployment.access, rate, seconds, f"http://127.0.0.1:{port}/metrics"))
        finally:
            deployment.close()


async def _looked_at(bench: Bench, topic: str, rate: float, seconds: float, url: str) -> list[Look]:
    looks: list[Look] = []
    began = time.monotonic()
    appending = asyncio.create_task(bench.append(topic, rate, seconds))
    while not appending.done():
        await asyncio.wait([appending], timeout=LOOK_S)
        looks.append(await asyncio.to_thread(_look, url, time.monotonic() - began))
    await appending
    return looks


def _look(url: str, at_s: float) -> Look:
    with urllib.request.urlopen(url, timeout=LOOK_S) as answer:
        told: defaultdict[str, float] = defaultdict(float)
        for family in text_string_to_metric_families(answer.read().decode()):
            for sample in family.samples:
                told[sample.name] += sample.value
    return Look(
        at_s, told["tripline_process_resident_memory_bytes"] / 1e6, told["tripline_process_cpu_seconds_total"],
        told["tripline_events_total"], told["tripline_lag_seconds"],
    )  # fmt: skip


def slope_mb(looks: Sequence[Look]) -> float:
    """How much the memory grows in ten minutes, in MB, after the first third: the median of all slopes; nan of few.

    >>> slope_mb([Look(60.0 * n, 100.0 + n % 2, 0.0, 0.0, 0.0) for n in range(30)])
    0.0
    """
    settled = [look for look in looks if look.at_s >= looks[-1].at_s / 3]
    slopes = [(b.resident_mb - a.resident_mb) / (b.at_s - a.at_s) for a, b in combinations(settled, 2)]
    return 600 * median(slopes) if slopes else float("nan")


def table(looks: Sequence[Look]) -> str:
    """What was seen, as text: a line for each tenth of the time."""
    lines = [f"{'minutes':>8}{'MB':>8}{'events':>14}{'of a core':>11}{'behind, s':>11}"]
    last = looks[0]
    for look in looks[max(len(looks) // 10, 1) - 1 :: max(len(looks) // 10, 1)]:
        share = (look.cpu_s - last.cpu_s) / max(look.at_s - last.at_s, LOOK_S)
        lines.append(f"{look.at_s / 60:8.1f}{look.resident_mb:8.0f}{look.events:14,.0f}{share:11.0%}{look.lag_s:11.1f}")
        last = look
    return "\n".join([*lines, "", f"memory grows by {slope_mb(looks):+.2f} MB in ten minutes (limit {SLOPE_MB_MAX:g})"])


if __name__ == "__main__":
    sys.exit(main())
