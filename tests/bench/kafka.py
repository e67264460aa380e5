"""`make bench-kafka`: events/s of one worker on one core, from an access topic to signals, on a real broker beside it.

The events wait in the topic; the clock runs from the first that is ingested to the last that is scored, transactions
and snapshots included. The broker has the other cores.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from stream.config import Config
from tests.bench.__main__ import _machine, _write
from tests.kafka.cluster import Cluster
from tests.kafka.deployment import Deployment


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench-kafka", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--accounts", type=int, default=240_000)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("out"))
    given = parser.parse_args()
    given.out.mkdir(exist_ok=True)
    log = given.out / f"bench-{given.events}-{given.accounts}.jsonl"
    if not log.exists():
        _write(log, given.events, given.accounts)
    cores = sorted(os.sched_getaffinity(0))
    with Cluster(jvm=("-XX:TieredStopAtLevel=4", "-Xmx1g")) as cluster, tempfile.TemporaryDirectory() as folder:
        deployment = Deployment(
            cluster.bootstrap, Path(folder), Config(), given.partitions, given.partitions, fetch_bytes_max=2_097_152
        )
        deployment.poll_s = 1.0
        deployment.produce(log.read_bytes().splitlines(), run=2_000)
        os.sched_setaffinity(0, {cores[-1]})
        worker = deployment.start()
        os.sched_setaffinity(0, set(cores))
        try:
            deployment.wait_until_left(given.events - 1)
            began = time.perf_counter()
            deployment.wait_until_done()
            seconds = time.perf_counter() - began
        finally:
            worker.kill()
            worker.wait()
    rate = given.events / seconds
    print(f"{given.events:,} events, {given.partitions} partitions, one worker on one core: {rate:,.0f} events/s")
    print(_machine())


if __name__ == "__main__":
    main()
