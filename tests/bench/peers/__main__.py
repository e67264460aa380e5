"""`make bench-peers`: one worker beside what a user could take instead, on the same real broker and events, in turn.

Each has a process of its own on one core; rates are events by second of that process on the processor, all threads, as
in `make bench-kafka`. Two are told: of all events, and of the second half, when Java has compiled itself and accounts
are known. Whoever is not through within --seconds of it is measured by what it did until then. What each program told
is held against what the job should give. The worker does more: four detectors, each event exactly once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from detectors import catalog
from stream.config import Config
from tests.bench.__main__ import _machine, _write
from tests.bench.kafka import FOUR, Bench, Result
from tests.bench.peers import job, streams
from tests.bench.plane import Span, peak_bytes
from tests.kafka.cluster import Cluster

ROOT: Final = Path(__file__).parents[3]
READY: Final = ROOT / ".venv-bench" / ".ready"  # of the environment that only these programs have
OTHER_PYTHON: Final = READY.parent / "bin" / "python"
OURS: Final = {"worker": "Tripline, four detectors", "consume": "consume only", "decode": "consume and decode"}
ERRORS: Final = "errors"
BUSY_S: Final = 2.0  # of the processor since it last said more: it is still at something
TICKS: Final = os.sysconf("SC_CLK_TCK")

Rows = dict[str, list[Result]]


class Peer(NamedTuple):
    """A program: its name, where it keeps its state, the command that runs it, and what is missing for that."""

    name: str
    state: str
    command: Callable[..., list[str]]
    missing: Callable[[], str | None] = lambda: None


def _module(name: str, python: Path | str = sys.executable) -> Callable[..., list[str]]:
    return lambda *arguments: [str(python), "-m", f"tests.bench.peers.{name}", *arguments]


def _java(kind: str) -> Callable[..., list[str]]:
    return lambda *arguments: streams.command(*arguments, kind)


def _other() -> str | None:
    return None if READY.exists() else "its packages are missing: make .venv-bench/.ready"


PEERS: Final = {
    "by_hand": Peer("aiokafka, orjson, River", "process", _module("by_hand")),
    "faust_river": Peer("Faust, River", "memory, changelog", _module("faust_river")),
    "bytewax_river": Peer("bytewax, River", "process", _module("bytewax_river", OTHER_PYTHON), _other),
    "quix_river": Peer("quixstreams, River", "RocksDB, changelog", _module("quix_river", OTHER_PYTHON), _other),
    "streams_memory": Peer("Kafka Streams (Java)", "memory, changelog", _java("memory"), streams.missing),
    "streams_rocksdb": Peer("Kafka Streams (Java)", "RocksDB, changelog", _java("rocksdb"), streams.missing),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench-peers", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--accounts", type=int, default=5_000_000, help="that many give 400 events/s of log")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the processor, at most, of each run of a peer")
    parser.add_argument("--only", default=",".join(PEERS), metavar="NAMES", help="peers, by a comma between them")
    parser.add_argument("--out", type=Path, default=Path("out"))
    given = parser.parse_args()
    given.out.mkdir(exist_ok=True)
    log = given.out / f"bench-{given.events}-{given.accounts}.jsonl"
    if not log.exists():
        _write(log, given.events, given.accounts)
    asked = {name: PEERS[name] for name in given.only.split(",")}
    lacking = {name: why for name, peer in asked.items() if (why := peer.missing())}
    config = Config(format="native", detectors={each: each in FOUR for each in catalog.detector_ids()})
    settings = {"broker.session.timeout.ms": 30_000}
    rows: Rows = {name: [] for name in (*OURS, *asked) if name not in lacking}
    with Cluster(settings=settings, jvm=("-XX:TieredStopAtLevel=4", "-Xmx1g")) as cluster:
        bench = PeerBench(cluster.bootstrap, config, log)
        for _ in range(given.runs):
            for name, found in rows.items():
                found.append(bench.piece(name) if name in OURS else bench.peer(PEERS[name], given.seconds))
    result = {"machine": _machine(), "events": given.events, "missing": lacking, "rows": rows}
    (given.out / "bench-peers.json").write_text(json.dumps(result, indent=1))
    print(table(result))


class PeerBench(Bench):
    """The same, with an access topic that is keyed by account, and other people's programs."""

    def __init__(self, bootstrap: str, config: Config, log: Path) -> None:
        super().__init__(bootstrap, config, log, job.PARTITIONS)
        self._alerts = (f"alerts-{number}" for number in count(1))
        self._due = due(self._lines)

    def _fill(self) -> None:
        asyncio.run(fill(self._bootstrap, self._source.access, self._lines))

    def peer(self, peer: Peer, seconds: float) -> Result:
        """One run of a peer on the last core, with folders and topics of its own."""
        alerts = next(self._alerts)
        asyncio.run(create(self._bootstrap, alerts))
        with tempfile.TemporaryDirectory() as folder:
            before = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {self._cores[-1]})  # which the process inherits, with all of its threads
            process = begun(peer, self._bootstrap, self._source.access, alerts, folder)
            os.sched_setaffinity(0, before)
            found = watched(process, seconds)
            if not found["events"]:
                sys.exit(f"{peer.name} did nothing; it said\n{Path(folder, ERRORS).read_text()}")
        if found["events"] == len(self._lines):
            found["wrong"] = len(asyncio.run(told(self._bootstrap, alerts)) ^ self._due)
        return found


def begun(peer: Peer, bootstrap: str, access: str, alerts: str, folder: str) -> subprocess.Popen[bytes]:
    """A peer's process; what it keeps and what it complains of goes into the folder."""
    with Path(folder, ERRORS).open("wb") as errors:
        command = peer.command(bootstrap, access, alerts, folder)
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors)


def watched(process: subprocess.Popen[bytes], seconds: float) -> Result:
    """What a process says that it has done, until it does no more or has worked for so long; then it is ended."""
    assert process.stdout is not None
    span = Span(clock=lambda: _cpu_s(process.pid))
    peak = 0
    try:
        for line in process.stdout:
            events, subjects = map(int, line.split())
            peak = max(peak, peak_bytes(process.pid))
            due = span.at(events, subjects)
            used = _cpu_s(process.pid)  # a snapshot may take a while of which it says nothing
            if not (due or used - span.ended[0] > BUSY_S) or (span.count and used - span.began[0] > seconds):
                break
    finally:
        process.kill()
        process.communicate()
    return span.told() | {"subjects": span.beside, "peak_bytes": peak}


def _cpu_s(pid: int) -> float:
    """What all threads of a process have used of the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def create(bootstrap: str, topic: str) -> None:
    """Create a topic with one partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()


async def fill(bootstrap: str, topic: str, lines: Iterable[bytes]) -> None:
    """Append events, keyed by account."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, compression_type="lz4") as producer:
        for line in lines:
            await producer.send(topic, line, key=orjson.loads(line)["account"].encode())


async def told(bootstrap: str, topic: str) -> set[Any]:
    """The alerts of a topic, each as `due` has it."""
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as reader:
        place = TopicPartition(topic, 0)
        reader.assign([place])
        end, found = (await reader.end_offsets([place]))[place], set()
        while await reader.position(place) < end:
            for records in (await reader.getmany(timeout_ms=1_000)).values():
                found |= {named(record.value) for record in records}
        return found


def named(value: bytes) -> tuple[str, int]:
    """What an alert is about."""
    alert = orjson.loads(value)
    return (alert["account"], alert["time"]) if "account" in alert else (alert["address"], alert["subjects"])


def due(lines: Iterable[bytes]) -> set[tuple[str, int]]:
    """What the job gives of these events: (account, time) and (address, subjects) of each alert."""
    found: set[tuple[str, int]] = set()
    accounts: dict[str, job.Models] = {}
    addresses: dict[str, set[str]] = {}
    for event in map(orjson.loads, lines):
        models = accounts.setdefault(event["account"], job.models())
        if job.surprise(models, event["records"], event["bytes"]) > job.DEVIATIONS:
            found.add((event["account"], event["time"]))
        if "subject" in event:
            addresses.setdefault(event["source_ip"], set()).add(event["subject"])
    crowds = {(address, job.SUBJECTS_MAX) for address, seen in addresses.items() if len(seen) >= job.SUBJECTS_MAX}
    return found | crowds


def rate(run: Result, half: bool = False) -> float:
    """Events by second of the processor, of all or of the second half."""
    events, cpu_s = 0, 0.0
    if half:
        events, cpu_s = next((at for at in run["curve"] if at[0] >= run["events"] / 2), (0, 0.0))
    return float((run["events"] - events) / max(run["cpu_s"] - cpu_s, 1e-9))


def table(result: dict[str, Any]) -> str:
    """What was measured, as text."""
    rows: Rows = result["rows"]
    runs = len(rows["worker"])
    names = OURS | {name: f"{peer.name}: {peer.state}" for name, peer in PEERS.items()}
    ours = median(rate(run, half=True) for run in rows["worker"])
    lines = [
        f"{result['events']:,} events, {job.PARTITIONS} partitions, medians of {runs} runs in turn",
        result["machine"],
        "",
        f"{'events/s a core':44}{'all':>10}{'second half':>13}{'(min to max)':>25}{'worker':>9}{'peak MB':>9}",
    ]
    for name, title in names.items():
        if why := result["missing"].get(name):
            lines.append(f"{title:44}left out: {why}")
        if found := rows.get(name):
            late = sorted(rate(run, half=True) for run in found)
            spread = f"{late[0]:,.0f} to {late[-1]:,.0f}"
            lines.append(
                f"{title:44}{median(map(rate, found)):>10,.0f}{median(late):>13,.0f}{spread:>25}"
                f"{ours / median(late):>8.1f}x{median(run['peak_bytes'] for run in found) / 1e6:>9,.0f}"
                f"{_said(found, result['events'])}"
            )
    return "\n".join(lines)


def _said(found: list[Result], events: int) -> str:
    """What has to be known of a row."""
    done = min(run["events"] for run in found)
    wrong = max(run.get("wrong", 0) for run in found)
    parts = [f"  {done:,} of {events:,} in the time"] if done < events else []
    return ";".join([*parts, *([f"  {wrong} alerts are not as they should be"] if wrong else [])])


if __name__ == "__main__":
    main()
