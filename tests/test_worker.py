"""A worker ends when it should, whatever its threads are doing, and says why."""

from __future__ import annotations

import subprocess
import sys

RUN = """
import asyncio, time
import stream.worker as w
from stream.config import Config, Kafka, Worker
from stream.errors import TriplineError

class Stuck:
    name, lanes, rebalances, opening, waiting_for = "ingest", {}, 1, False, ""
    async def run(self):
        await asyncio.to_thread(time.sleep, 600)

class Failed(Stuck):
    async def run(self):
        raise TriplineError("the disk is full")

w.warm, w.LEAVE_S = lambda config: None, 0.1
async def main():
    config = Config(kafka=Kafka(topics=("a",)), worker=Worker(metrics_port=0))
    worker = w.Worker(config, lambda s: print(s, flush=True))
    worker.groups = [Stuck(), Failed()]
    worker._authorized = lambda: asyncio.sleep(0)  # there is no broker
    await worker.run()
asyncio.run(main())
"""


def test_a_thread_that_does_not_end_does_not_keep_the_worker() -> None:
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1, done.stderr[-2000:]
    why, what = done.stdout.splitlines()
    assert why == "the disk is full"
    assert "ending at once" in what
