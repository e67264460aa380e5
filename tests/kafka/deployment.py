"""A deployment for a test: topics of its own, worker processes that can be killed, and what came of it, read back."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import KafkaError

from stream import kafka, signals
from stream.batch import Batch
from stream.checkpoint import StateDirectory
from stream.config import Config, Kafka, fingerprint
from stream.config import Respond as RespondSettings
from stream.config import Worker as WorkerSettings
from stream.detect import Detect
from stream.signals import Signal
from tests.streams import raw

TRIPLINE = str(Path(sys.executable).with_name("tripline"))
READY_S = 300.0
_numbers = count(1)


@dataclass
class Counts:
    """As a worker counts."""

    dead_letters: Counter[str] = field(default_factory=Counter)
    alerts: Counter[tuple[str, str]] = field(default_factory=Counter)
    ingested: Counter[str] = field(default_factory=Counter)
    future: int = 0
    stage_s: dict[str, float] = field(default_factory=dict)


class Deployment:
    """Topics named after a number of its own, a configuration in a file, and the processes that were started."""

    def __init__(
        self, bootstrap: str, folder: Path, settings: Config, partitions: int = 2, inputs: int = 3,
        fetch_bytes_max: int = 65_536, replication: int = 1,
    ) -> None:  # fmt: skip
        name = f"t{next(_numbers)}"
        self.folder = folder
        self.elsewhere = folder / "elsewhere"  # where processes are started: they leave nothing there
        self.elsewhere.mkdir(exist_ok=True)
        self.access = f"{name}.access"
        self.inputs = inputs
        self.config = msgspec.structs.replace(
            settings,
            kafka=Kafka(
                bootstrap_servers=bootstrap, topics=(self.access,), group=name, partitions=partitions,
                replication=replication,
                observations=f"{name}.observations", signals=f"{name}.signals", alerts=f"{name}.alerts",
                feedback=f"{name}.feedback", dead_letters=f"{name}.dead-letters", session_timeout_s=6.0,
                fetch_bytes_max=fetch_bytes_max,
            ),
            worker=WorkerSettings(state=str(folder / "state"), metrics_port=0),
            respond=RespondSettings(metrics_port=0),
        )  # fmt: skip
        self.poll_s = 0.05  # between two looks: a look is a consumer of its own
        self.processes: list[subprocess.Popen[bytes]] = []
        asyncio.run(self._create())

    async def _create(self) -> None:
        await kafka.create_topics(self.config.kafka)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.config.kafka.bootstrap_servers)
        await admin.start()
        await admin.create_topics([NewTopic(self.access, self.inputs, self.config.kafka.replication)])
        while not {self.access, *kafka.own_topics(self.config.kafka)} <= set(await admin.list_topics()):
            await asyncio.sleep(self.poll_s)  # a broker may know a moment later than the controller
        await admin.close()

    def produce(self, records: Sequence[bytes], run: int = 50) -> None:
        """Write the records in runs that go round the partitions."""
        asyncio.run(self._produce(records, run))

    async def _produce(self, records: Sequence[bytes], run: int) -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=self.config.kafka.bootstrap_servers,
            linger_ms=5,
            compression_type="lz4",
            enable_idempotence=True,
        ) as producer:
            for i, record in enumerate(records):
                await producer.send(self.access, record, partition=i // run % self.inputs)

    def start(self, command: str = "worker", **changes: Any) -> subprocess.Popen[bytes]:
        """Start a process; `changes` are of [kafka], and of [worker] or [respond]."""
        path = self.folder / f"{command}-{len(self.processes)}.toml"
        config = msgspec.to_builtins(self.config)
        for table in ("kafka", "respond" if command == "respond" else "worker"):
            config[table] |= {name: value for name, value in changes.items() if name in config[table]}
        path.touch(0o600)  # a key may be in it
        path.write_text(_toml(config))
        log = (self.folder / f"{command}-{len(self.processes)}.log").open("wb")
        with log:
            process = subprocess.Popen(
                [TRIPLINE, command, "--config", str(path)], stderr=log, stdout=log, cwd=self.elsewhere
            )
        self.processes.append(process)
        return process

    def log(self) -> str:
        """What the processes said."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def status(self, process: subprocess.Popen[bytes]) -> int:
        """With what a process ended by itself; where it does not, an error with what it said."""
        self.wait_until(lambda: process.poll() is not None)
        return process.wait()

    def close(self) -> None:
        """End what still runs."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()

    def wait_until_left(self, records: int) -> None:
        """Wait until no more than so many access records are left; a deployment without a process is an error."""
        asyncio.run(self._wait(lambda: self._behind("ingest", self.access, self.inputs), records))

    def wait_until_done(self) -> None:
        """Wait until every record was ingested and every observation scored."""
        self.wait_until_left(0)
        observed = self.config.kafka.observations, self.config.kafka.partitions
        asyncio.run(self._wait(lambda: self._behind("detect", *observed), 0))

    def wait_until_ready(self, port: int) -> None:
        """Wait until the worker that serves its metrics there has partitions and works."""

        def ready() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                    return bool(answer.status == HTTPStatus.OK)
            except OSError:
                return False

        self.wait_until(ready)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; a deployment without a process is an error."""

        async def left() -> int:
            return int(not holds())

        asyncio.run(self._wait(left, 0))

    async def _wait(self, left: Callable[[], Awaitable[int]], most: int) -> None:
        deadline = time.monotonic() + READY_S
        while await self._more(left, most):
            assert any(p.poll() is None for p in self.processes), self.log()[-4000:]
            assert time.monotonic() < deadline, self.log()[-4000:]
            await asyncio.sleep(self.poll_s)

    async def _more(self, left: Callable[[], Awaitable[int]], most: int) -> bool:
        """Whether more is left, or the brokers are not well enough to tell."""
        try:
            return await left() > most
        except KafkaError:
            return True

    async def reset(self, group: str, topic: str, offsets: Sequence[int]) -> None:
        """Set a group's offsets, partition by partition, as an administrator does while no worker runs."""
        name = f"{self.config.kafka.group}-{group}"
        async with AIOKafkaConsumer(
            bootstrap_servers=self.config.kafka.bootstrap_servers, group_id=name, enable_auto_commit=False
        ) as setting:  # fmt: skip
            setting.assign([TopicPartition(topic, n) for n in range(len(offsets))])
            await setting.commit({TopicPartition(topic, n): offset for n, offset in enumerate(offsets)})

    async def committed(self, group: str, topic: str, count: int) -> list[int]:
        """A group's offsets, partition by partition."""
        name = f"{self.config.kafka.group}-{group}"
        async with AIOKafkaConsumer(
            bootstrap_servers=self.config.kafka.bootstrap_servers, group_id=name, enable_auto_commit=False
        ) as asking:  # fmt: skip
            asking.assign([TopicPartition(topic, n) for n in range(count)])
            return [await asking.committed(TopicPartition(topic, n)) or 0 for n in range(count)]

    async def forget(self, topic: str, before: Sequence[int]) -> None:
        """Drop what a topic holds before these offsets, partition by partition, as retention does."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.config.kafka.bootstrap_servers)
        await admin.start()
        try:
            await admin.delete_records(
                {TopicPartition(topic, n): RecordsToDelete(before_offset=offset) for n, offset in enumerate(before)}
            )
        finally:
            await admin.close()

    async def _behind(self, group: str, topic: str, partitions: int) -> int:
        """How far a group is behind the last record that it could read."""
        name = f"{self.config.kafka.group}-{group}"
        wanted = [TopicPartition(topic, n) for n in range(partitions)]
        reader = AIOKafkaConsumer(
            bootstrap_servers=self.config.kafka.bootstrap_servers, group_id=name, enable_auto_commit=False,
            isolation_level="read_committed",
        )  # fmt: skip
        await reader.start()
        try:
            reader.assign(wanted)
            ends = await reader.end_offsets(wanted)
            left = 0
            for partition, end in ends.items():
                at = await reader.committed(partition) or 0
                reader.seek(partition, at)
                left += max(end - at, 0)
            if 0 < left <= 4 * len(wanted) and not await reader.getmany(timeout_ms=300):
                return 0  # only the markers of transactions are left
            return left
        finally:
            await reader.stop()

    def read(self, topic: str) -> list[Any]:
        """Every committed record of a topic, partition by partition."""
        return asyncio.run(self._read(topic))

    async def _read(self, topic: str) -> list[Any]:
        reader = AIOKafkaConsumer(
            bootstrap_servers=self.config.kafka.bootstrap_servers, isolation_level="read_committed",
            auto_offset_reset="earliest", enable_auto_commit=False,
        )  # fmt: skip
        await reader.start()
        try:
            count = {self.access: self.inputs, self.config.kafka.observations: self.config.kafka.partitions}.get(
                topic, 1
            )
            partitions = [TopicPartition(topic, n) for n in range(count)]
            reader.assign(partitions)
            ends = await reader.end_offsets(partitions)
            found: dict[TopicPartition, list[Any]] = {partition: [] for partition in partitions}
            for partition in partitions:
                while await reader.position(partition) < ends[partition]:
                    for records in (await reader.getmany(partition, timeout_ms=200)).values():
                        found[partition] += records
            return [record for partition in partitions for record in found[partition]]
        finally:
            await reader.stop()

    def signals(self) -> list[Signal]:
        """Every signal that was committed."""
        return [signals.decode(record.value) for record in self.read(self.config.kafka.signals)]

    def scored(self) -> tuple[list[Signal], dict[int, Any]]:
        """What an uninterrupted run over the same observations gives: its signals, and the state of each partition."""
        found: list[Signal] = []
        states: dict[int, Any] = {}
        observations = self.read(self.config.kafka.observations)
        config = msgspec.structs.replace(
            self.config, worker=WorkerSettings(state=str(self.folder / "reference"), metrics_port=0)
        )
        for number in range(self.config.kafka.partitions):
            stage = Detect(config, number, Counts(), lambda _message: None)
            stage.recover(None, 0, 0)
            mine = Batch.of(record for record in observations if record.partition == number)
            if mine:
                messages = stage.take(mine, silent=False, more=False)
                found += [signals.decode(m.value) for m in messages if m.topic == config.kafka.signals]
                stage.save(mine[-1].offset + 1)
            stage.close()
            states[number] = self.state(number, config)
        return found, states

    def state(self, number: int, config: Config | None = None) -> Any:
        """The newest snapshot of a partition, comparable bit for bit; of the deployment's own unless told otherwise."""
        config = config or self.config
        path = Path(config.worker.state) / f"partition-{number}"
        if not path.exists():
            return None
        with StateDirectory(path, fingerprint(config)) as directory:
            snapshot, refused = directory.load()
        assert snapshot is not None
        assert refused == []
        return snapshot.meta, {name: raw(array) for name, array in snapshot.arrays.items()}


def _toml(values: dict[str, Any]) -> str:
    plain = {name: value for name, value in values.items() if not isinstance(value, dict)}
    subscribers = plain.pop("subscribers")
    lines = [f"{name} = {msgspec.json.encode(value).decode()}" for name, value in plain.items()]
    tables = [(f"[{name}]", table) for name, table in values.items() if isinstance(table, dict)]
    for head, table in [*tables, *(("[[subscribers]]", table) for table in subscribers)]:
        lines.append(head)
        lines += [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in table.items()]
    return "\n".join(lines) + "\n"
