"""`make bench-kafka`: what one worker does on one core on a real broker, from an access topic to signals.

In the same run, on the same events: the ceilings (what a client takes to consume, and to consume and decode), and the
embedded run from a file. Rates are events by second of the processor, transactions and snapshots included, so that
what else this machine does counts little; the broker has another core where there is one. Then two workers that share
the partitions; and, at half of the measured rate, how long an event takes from its append until it is scored and what
it signals is committed. The table goes to stdout, everything to out/bench-kafka.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer

from detectors import catalog
from stream.config import Config
from tests.bench.__main__ import _machine, _write
from tests.kafka.cluster import Cluster
from tests.kafka.deployment import Deployment, _toml

FOUR = ("volume", "fan_out", "unissued", "first_seen")
STAGES = ("decode", "shuffle", "key", "resolve", *catalog.detector_ids(), "trace", "tick")
STEP_S = 0.02
BATCH_BYTES = 500_000
HEAD = len(b'{"time":1743638400067')  # as the generator writes it

Result = dict[str, Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench-kafka", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--accounts", type=int, default=5_000_000, help="that many give 400 events/s of log")
    parser.add_argument("--partitions", type=int, default=8, help="of the access topic, and of the observations")
    parser.add_argument("--detectors", default=",".join(FOUR), metavar="IDS", help="by a comma between them, or all")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0, help="of the run at half load; 0: leave out")
    parser.add_argument("--out", type=Path, default=Path("out"))
    given = parser.parse_args()
    given.out.mkdir(exist_ok=True)
    log = given.out / f"bench-{given.events}-{given.accounts}.jsonl"
    if not log.exists():
        _write(log, given.events, given.accounts)
    chosen = catalog.detector_ids() if given.detectors == "all" else given.detectors.split(",")
    config = Config(format="native", detectors={each: each in chosen for each in catalog.detector_ids()})
    settings = {"broker.session.timeout.ms": 30_000, "group.initial.rebalance.delay.ms": 3_000}
    with Cluster(settings=settings, jvm=("-XX:TieredStopAtLevel=4", "-Xmx1g")) as cluster:
        bench = Bench(cluster.bootstrap, config, log, given.partitions)
        runs: dict[str, list[Result]] = {name: [] for name in ("consume", "decode", "embedded", "worker", "two")}
        for _ in range(given.runs):
            for name, results in runs.items():
                results.append(bench.both() if name == "two" else bench.piece(name))
        rate = 1.0 / median(map(_us, runs["worker"])) * 1e6
        late = bench.late(rate / 2, given.seconds) if given.seconds else None
    result = {"machine": _machine(), "detectors": chosen, "partitions": given.partitions, "half_load": late, **runs}
    (given.out / "bench-kafka.json").write_text(json.dumps(result, indent=1))
    print(table(result))


class Bench:
    """A broker with the events of a log in it, and work on them in processes of their own."""

    def __init__(self, bootstrap: str, config: Config, log: Path, partitions: int) -> None:
        self._bootstrap, self._config, self._log, self._partitions = bootstrap, config, log, partitions
        self._cores = sorted(os.sched_getaffinity(0))
        self.tree = Path.cwd()  # whose code is measured
        self._source = self.deployed(Path(tempfile.mkdtemp()))
        self._lines = log.read_bytes().splitlines()
        self._fill()

    def _fill(self) -> None:
        self._source.produce(self._lines, run=2_000)

    def piece(self, name: str) -> Result:
        """One piece of work, on the last core; the worker on topics of its own."""
        with tempfile.TemporaryDirectory() as folder:
            path = self._written(self.deployed(Path(folder)), self._source.access)
            return _done(self._begun(name, path, -1, *([str(self._log.absolute())] if name == "embedded" else [])))

    def both(self) -> Result:
        """Two workers that share the partitions, each on a core of its own, as one."""
        with tempfile.TemporaryDirectory() as folder:
            path = self._written(self.deployed(Path(folder)), self._source.access)
            found = [_done(process) for process in [self._begun("worker", path, core) for core in (-1, -2)]]
        return {
            "events": sum(each["events"] for each in found), "cpu_s": sum(each["cpu_s"] for each in found),
            "wall_s": max(each["wall_s"] for each in found),
        }  # fmt: skip

    def late(self, rate: float, seconds: float) -> Result:
        """A worker while events are appended at a rate, each with the moment as its time."""
        with tempfile.TemporaryDirectory() as folder:
            deployment = self.deployed(Path(folder))
            process = self._begun("delay", self._written(deployment, deployment.access), -1)
            assert process.stdout is not None
            process.stdout.readline()  # it is ready
            asyncio.run(self.append(deployment.access, rate, seconds))
            return _done(process) | {"rate": rate}

    def deployed(self, folder: Path) -> Deployment:
        """Topics of its own."""
        return Deployment(self._bootstrap, folder, self._config, self._partitions, self._partitions, 2_097_152)

    def _written(self, deployment: Deployment, topic: str) -> Path:
        kafka = msgspec.structs.replace(deployment.config.kafka, topics=(topic,), session_timeout_s=45.0)
        path = deployment.folder / "bench.toml"
        path.touch(0o600)
        path.write_text(_toml(msgspec.to_builtins(msgspec.structs.replace(deployment.config, kafka=kafka))))
        return path

    def _begun(self, name: str, config: Path, core: int, *more: str) -> subprocess.Popen[bytes]:
        number = self._cores[max(core, -len(self._cores))]
        command = [sys.executable, "-m", "tests.bench.plane", name, str(config), str(number), *more]
        environment = os.environ | {"PYTHONPATH": str(self.tree)}
        return subprocess.Popen(
            command, cwd=self.tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    async def append(self, topic: str, rate: float, seconds: float) -> None:
        """Append the log's events, again and again, to one partition after the other, and no faster than the rate."""
        at = turn = 0
        async with AIOKafkaProducer(bootstrap_servers=self._bootstrap, max_batch_size=BATCH_BYTES) as producer:
            began = time.monotonic()
            while (now := time.monotonic() - began) < seconds:
                batch = producer.create_batch()
                stamp = b'{"time":%d' % int(time.time() * 1000)
                while at < int(rate * now):
                    line = self._lines[at % len(self._lines)]
                    if batch.append(key=None, value=stamp + line[HEAD:], timestamp=None) is None:
                        break
                    at += 1
                batch.close()
                if batch.record_count():
                    await producer.send_batch(batch, topic, partition=turn % self._partitions)
                turn += 1
                await asyncio.sleep(STEP_S if at >= int(rate * now) - 1 else 0)


def _done(process: subprocess.Popen[bytes]) -> Result:
    answer, _ = process.communicate()
    if process.returncode:
        sys.exit(f"{process.args!r} ended with {process.returncode}")
    told: Result = json.loads(answer.splitlines()[-1])
    return told


def _us(run: Result) -> float:
    return float(run["cpu_s"] / run["events"] * 1e6)


def table(result: Result) -> str:
    """What was measured, as text."""
    names = {"consume": "consume", "decode": "consume, decode", "embedded": "embedded, from a file", "worker": "worker"}
    names |= {"two": "two workers"}
    worker: Sequence[Result] = result["worker"]
    us = {name: median(map(_us, result[name])) for name in names}
    lines = [
        f"{worker[0]['events']:,} events, {result['partitions']} partitions, {', '.join(result['detectors'])}",
        f"medians of {len(worker)} runs; {result['machine']}",
        "",
        f"{'':24}{'µs an event':>14}{'events/s a core':>18}{'of it, worker':>16}",
        *(f"{names[n]:24}{us[n]:>14.2f}{1e6 / us[n]:>18,.0f}{us[n] / us['worker']:>16.2f}" for n in names),
        "",
        f"two workers on two cores do {2 * us['worker'] / us['two']:.2f} times the work of one by the processor's time",
        "",
        "µs an event by stage of the worker",
    ]
    stages = {n: median(run["stages"].get(n, 0.0) / run["events"] * 1e6 for run in worker) for n in STAGES}
    stages["broker, both ways"] = us["worker"] - sum(stages.values())
    lines += [f"  {name:22}{value:>14.2f}" for name, value in stages.items() if value]
    lines += ["", f"peak memory, MB{median(run['peak_bytes'] for run in worker) / 1e6:>23,.0f}"]
    if late := result["half_load"]:
        p50, p99 = late["delay_ms"]["50"], late["delay_ms"]["99"]
        took = late["cpu_s"] / late["wall_s"]
        rate = late["events"] / late["wall_s"]
        lines += [
            f"from append to commit, at {rate:,.0f} events/s ({took:.0%} of a core): p50 {p50:,.0f}, p99 {p99:,.0f} ms"
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
