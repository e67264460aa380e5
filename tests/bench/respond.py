"""`make bench-respond`: the alert plane on a real broker, from signals on their topic to alerts on theirs.

One process of `tripline respond`, in this order: it drains a topic full of signals that are each an incident of their
own; it is ended, and started again with all those incidents; it is sent a flood that merges, at a steady rate; it is
sent signals that are told at once, at a low rate, and what is measured then is the time from the append of the signal
until a reader of the alerts has the alert. Every alert that is due must come: one that does not is an error. Last, how
much memory incidents take, by a merger in a process of its own. Sender, reader, broker and `respond` share the
machine. The table goes to stdout, everything to out/bench-respond.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from detectors.fusion import Evidence
from stream import signals
from stream.config import Config
from stream.merge import Merger
from stream.signals import SCHEMA, Place, Related, Signal
from tests.bench.__main__ import _machine
from tests.kafka.cluster import Cluster
from tests.kafka.deployment import READY_S, Deployment
from tests.kafka.node import free_ports

PARTITIONS: Final = 8
FLOOD: Final = 200  # incidents of the flood
STEP_S: Final = 0.01
LOOK_S: Final = 0.5  # a scrape takes the process 20 ms
AT: Final = 1_743_638_400_000  # stream time of the first signal, ms

Result = dict[str, Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench-respond", description=__doc__)
    parser.add_argument("--incidents", type=int, default=100_000, help="when it is started again")
    parser.add_argument("--rate", type=float, default=5_000.0, help="signals/s of the flood")
    parser.add_argument("--slow", type=float, default=100.0, help="signals/s that are told at once")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the flood, and of the slow ones")
    parser.add_argument("--kept", type=int, default=1_000_000, help="incidents in memory, at most; 0: none")
    parser.add_argument("--out", type=Path, default=Path("out"))
    given = parser.parse_args()
    given.out.mkdir(exist_ok=True)
    result: Result = {"machine": _machine(), "load": os.getloadavg()}
    with Cluster(jvm=("-XX:TieredStopAtLevel=4", "-Xmx1g")) as cluster, tempfile.TemporaryDirectory() as folder:
        config = Config(alerts_per_day_max=10_000.0)
        bench = Bench(Deployment(cluster.bootstrap, Path(folder), config, PARTITIONS))
        try:
            result["drain"] = bench.drain(given.incidents)
            result["restart"] = bench.restart(given.incidents)
            result["flood"] = bench.flood(given.rate, given.seconds)
            result["slow"] = bench.slow(given.slow, given.seconds)
        finally:
            bench.deployment.close()
    if given.kept:
        command = [sys.executable, "-m", "tests.bench.respond_memory", str(given.kept)]
        result["memory"] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    (given.out / "bench-respond.json").write_text(json.dumps(result, indent=1))
    print(table(result))


def made(name: str, partition: int, revision: int, at: int, score: float = 16.0, status: str = "open") -> Signal:
    """A signal about a network with three findings, five related entities and 64 subjects: about 2.5 kB."""
    rng = np.random.default_rng(hash((name, partition)) & 0xFFFFFFFF)
    related = [("client", "curl/8.5"), ("issuer", "key-7"), *(("resource", f"/v1/{name}/{n}") for n in range(3))]
    return Signal(
        schema=SCHEMA, id=f"tl-{name}-{partition}", partition=partition, revision=revision, status=status,
        kind="network", value=name, score=score, crossed=at, start=at, last=at + 60_000, told=at + 60_000,
        records=10.0 * revision, bytes=1e4 * revision, subjects=np.sort(rng.integers(1, 2**63, 64)).tolist(),
        sources=np.sort(rng.integers(1, 2**63, 4)).tolist(),
        members=[Evidence(d, "network", name, 0, 0, at, score + 12.0, score, 80.0, 0.5)
                 for d in ("fan_out", "volume", "first_seen")],
        related=[Related(*each, 3) for each in related], places=[Place(f"kafka:access/{partition}", 5, 9 + revision)],
    )  # fmt: skip


def alone(prefix: str, count: int, score: float, at: int) -> Iterator[Signal]:
    """Signals that are each an incident of their own."""
    return (made(f"AS{prefix}{n}", n % PARTITIONS, 1, at + n, score) for n in range(count))


def flooding(count: int, at: int) -> Iterator[Signal]:
    """Signals of FLOOD incidents that all partitions find, again and again, and that grow."""
    rng, revisions = random.Random(1), dict[tuple[int, int], int]()
    for n in range(count):
        key = n % FLOOD, rng.randrange(PARTITIONS)
        revisions[key] = revisions.get(key, 0) + 1
        yield made(f"ASflood{key[0]}", key[1], revisions[key], at)


class Bench:
    """A deployment, and one process of the alert plane that is sent signals."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.merger = Merger(deployment.config)  # what must be told
        self.expected: set[tuple[str, int]] = set()
        self.sent = 0
        self._port = next(free_ports())
        self._process: subprocess.Popen[bytes]

    def drain(self, count: int) -> Result:
        """Everything is there before the process starts."""
        given = list(self._due(alone("", count, 9.0, AT)))
        asyncio.run(self._send(given, rate=0.0))
        began = self._start()
        return self._work(lambda: None) | {"ready_s": self._ready - began}

    def restart(self, incidents: int) -> Result:
        """End it and start it again; until it is ready, and until it has taken one more signal in."""
        self._process.terminate()
        self._process.wait()
        asyncio.run(self._send(list(self._due(alone("more", 1, 9.0, AT + incidents))), rate=0.0))
        self.sent = 1
        began = self._start()
        self._wait_until_taken(1)
        return {"incidents": incidents, "ready_s": self._ready - began, "first_s": time.monotonic() - began,
                "memory_bytes": self._memory()}  # fmt: skip

    def flood(self, rate: float, seconds: float) -> Result:
        """A steady rate of signals that merge."""
        given = list(self._due(flooding(int(rate * seconds), AT + 86_400_000)))
        return self._work(lambda: asyncio.run(self._send(given, rate))) | {"rate": rate}

    def slow(self, rate: float, seconds: float) -> Result:
        """Signals that open an alert each; how long that takes, and that every alert that was due has come."""
        given = list(self._due(alone("slow", int(rate * seconds), 25.0, AT + 10 * 86_400_000)))
        delays = asyncio.run(self._timed(given, rate))
        found = {(a["id"], a["revision"]) for a in map(_loaded, self.deployment.read(self._alerts))}
        if found != self.expected:
            sys.exit(f"{len(self.expected - found)} alerts are missing, {len(found - self.expected)} were not due")
        cuts = np.percentile(delays, [50, 99, 100]) * 1000
        return {"rate": rate, "alerts": len(delays), "p50_ms": cuts[0], "p99_ms": cuts[1], "max_ms": cuts[2]}

    @property
    def _alerts(self) -> str:
        return self.deployment.config.kafka.alerts

    def _due(self, given: Iterator[Signal]) -> Iterator[Signal]:
        for signal in given:
            _, told = self.merger.take(signal)
            if told is not None:
                self.expected.add((told.id, told.revision))
            yield signal

    def _start(self) -> float:
        began = time.monotonic()
        self._process = self.deployment.start("respond", metrics_port=self._port, instance_id="r")
        self.deployment.wait_until_ready(self._port)
        self._ready = time.monotonic()
        return began

    def _work(self, send: Callable[[], None]) -> Result:
        """What it takes in between now, or its start, and the last of all that was sent."""
        before, cpu, began = self._taken(), self._cpu(), time.monotonic()
        send()
        sent_s = time.monotonic() - began
        behind = self.sent - self._taken()
        self._wait_until_taken(self.sent)
        seconds, count = time.monotonic() - began, self.sent - before
        return {"signals": count, "seconds": seconds, "sent_s": sent_s, "behind": behind,
                "cpu_s": self._cpu() - cpu, "memory_bytes": self._memory()}  # fmt: skip

    def _wait_until_taken(self, count: int) -> None:
        deadline = time.monotonic() + READY_S
        while self._taken() < count:
            if self._process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{self._taken()} of {count} signals were taken in\n{self.deployment.log()[-4000:]}")
            time.sleep(LOOK_S)

    def _taken(self) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return int(float(next(line for line in lines if line.startswith("tripline_signals_total")).split()[-1]))

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _memory(self) -> int:
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024

    async def _send(self, given: Sequence[Signal], rate: float) -> None:
        """Append at a rate, or as fast as it goes (0)."""
        values = [signals.encode(signal) for signal in given]
        settings = {"bootstrap_servers": self.deployment.config.kafka.bootstrap_servers, "linger_ms": 5}
        self.sent += len(values)
        async with AIOKafkaProducer(**settings, max_batch_size=500_000) as producer:
            began, at = time.monotonic(), 0
            while at < len(values):
                end = int(rate * (time.monotonic() - began)) if rate else at + 1_000
                for value in values[at:end]:
                    await producer.send(self.deployment.config.kafka.signals, value, partition=0)
                at = max(at, end)
                await asyncio.sleep(STEP_S if rate else 0)

    async def _timed(self, given: Sequence[Signal], rate: float) -> list[float]:
        """Append at a rate; for each, the seconds from its append to the reading of its alert."""
        servers = self.deployment.config.kafka.bootstrap_servers
        sent: dict[str, float] = {}
        delays: dict[str, float] = {}
        reader = AIOKafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False)
        async with AIOKafkaProducer(bootstrap_servers=servers) as producer, reader:
            reader.assign([TopicPartition(self._alerts, 0)])
            await reader.seek_to_end()

            async def read() -> None:
                while len(delays) < len(given):
                    for record in [r for found in (await reader.getmany(timeout_ms=1_000)).values() for r in found]:
                        delays.setdefault(_loaded(record)["id"], time.monotonic() - sent[record.key.decode()])

            reading = asyncio.create_task(read())
            began = time.monotonic()
            for n, signal in enumerate(given):
                await asyncio.sleep(max(began + n / rate - time.monotonic(), 0.0))
                sent[signal.id] = time.monotonic()
                await producer.send(self.deployment.config.kafka.signals, signals.encode(signal), partition=0)
            await asyncio.wait_for(reading, READY_S)
        self.sent += len(given)
        return list(delays.values())


def _loaded(record: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = orjson.loads(record.value)
    return loaded


def table(result: Result) -> str:
    """What was measured, as text."""
    drain, restart, flood, slow = (result[name] for name in ("drain", "restart", "flood", "slow"))
    lines = [
        f"{result['machine']}; load when it began {result['load'][0]:.1f}",
        "",
        f"{'':34}{'signals/s':>12}{'CPU µs each':>14}{'peak MB':>10}",
        _row("new incidents, from a full topic", drain, drain["seconds"]),
        _row(f"a flood at {flood['rate']:,.0f}/s that merges", flood, flood["seconds"]),
        f"  of it {flood['behind']:,} of {flood['signals']:,} were behind when the last was sent",
        f"signal to alert at {slow['rate']:,.0f}/s: p50 {slow['p50_ms']:,.0f}, p99 {slow['p99_ms']:,.0f}, "
        f"highest {slow['max_ms']:,.0f} ms ({slow['alerts']:,} alerts)",
        f"started again with {restart['incidents']:,} incidents: ready after {restart['ready_s']:.1f} s, "
        f"the next signal taken in after {restart['first_s']:.1f} s",
    ]
    if memory := result.get("memory"):
        each = memory["bytes"] / memory["incidents"]
        lines += [
            f"{memory['incidents']:,} incidents of one signal of {memory['signal_bytes']:,} B take {each:,.0f} B each, "
            f"{memory['bytes'] / 2**30:.2f} GiB"
        ]
    return "\n".join(lines)


def _row(name: str, run: Result, seconds: float) -> str:
    each = run["cpu_s"] / run["signals"] * 1e6
    return f"{name:34}{run['signals'] / seconds:>12,.0f}{each:>14,.0f}{run['memory_bytes'] / 1e6:>10,.0f}"


if __name__ == "__main__":
    main()
