"""The alert plane on a real broker: every alert that is due is told, at least once, by stable ids and revisions."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from aiokafka import AIOKafkaProducer

from stream import signals
from stream.cli import main
from stream.config import Config
from stream.merge import Merger
from stream.signals import Signal
from stream.subscribers import kinds
from tests.kafka.cluster import Cluster
from tests.kafka.deployment import READY_S, Deployment
from tests.signals import signal
from tests.streams import DAY_MS, HOUR_MS, START_MS

CONFIG = Config(alerts_per_day_max=50.0)
SEED = int(os.environ.get("TEST_SEED", random.SystemRandom().randrange(10**6)))

KILLS = int(os.environ.get("TEST_KILLS", "5"))  # each is a start of the process: 20 take minutes

Told = tuple[str, int]


@pytest.fixture
def deploy(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[[], Deployment]]:
    made: list[Deployment] = []

    def make() -> Deployment:
        made.append(Deployment(cluster.bootstrap, tmp_path, CONFIG, partitions=4))
        return made[-1]

    yield make
    for deployment in made:
        deployment.close()


def history(count: int) -> list[Signal]:
    """Incidents of many networks, each found by some partitions, growing and closing."""
    rng = random.Random(5)
    out = []
    for n in range(count):
        at = START_MS + n * HOUR_MS
        parts = rng.sample(range(4), rng.randint(1, 4))
        for revision, status in ((1, "open"), (2, "update"), (3, "closed")):
            out += [
                signal(p, "network", f"AS{n}", revision=revision, status=status, score=14.0 + 4 * revision,
                       records=10.0**revision, at=at)
                for p in parts
            ]  # fmt: skip
    return out


def due(given: list[Signal]) -> set[Told]:
    merger = Merger(config=_partitioned(CONFIG))
    told = [merger.take(each)[1] for each in given]
    return {(t.id, t.revision) for t in told if t is not None}


def _partitioned(config: Config) -> Config:
    return msgspec.structs.replace(config, kafka=msgspec.structs.replace(config.kafka, partitions=4))


def send(deployment: Deployment, values: list[bytes]) -> None:
    async def sent() -> None:
        async with AIOKafkaProducer(bootstrap_servers=deployment.config.kafka.bootstrap_servers) as producer:
            for value in values:
                await producer.send(deployment.config.kafka.signals, value)

    asyncio.run(sent())


def told(deployment: Deployment) -> list[dict[str, Any]]:
    return [orjson.loads(record.value) for record in deployment.read(deployment.config.kafka.alerts)]


def wait_until_told(deployment: Deployment, count: int) -> list[dict[str, Any]]:
    """Wait until so many revisions were told; the process must live, and not take for ever."""
    deadline = time.monotonic() + READY_S
    while True:
        found = told(deployment)
        if len({(a["id"], a["revision"]) for a in found}) >= count:
            return found
        assert any(p.poll() is None for p in deployment.processes), deployment.log()[-4000:]
        if time.monotonic() > deadline:
            return found


def subscribe(deployment: Deployment) -> Path:
    """A subscriber that writes a file; the file."""
    path = deployment.folder / "delivered.jsonl"
    to_file = kinds()["file"].settings(name="f", kind="file", path=str(path))
    deployment.config = msgspec.structs.replace(deployment.config, subscribers=(to_file,))
    return path


def wait_until_delivered(deployment: Deployment, path: Path, expected: set[Told]) -> None:
    """Wait until a subscriber has had all of these; nothing else may come to it."""
    deadline = time.monotonic() + READY_S
    seen: set[Told] = set()
    while seen != expected:
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        seen = {(a["id"], a["revision"]) for a in map(orjson.loads, lines)}
        assert seen <= expected
        assert time.monotonic() < deadline, f"{len(seen)} of {len(expected)}, seed {SEED}; {deployment.log()[-4000:]}"


def test_killed_at_random_points_it_repeats_but_never_loses_or_invents(deploy: Callable[[], Deployment]) -> None:
    """As somebody sees it who reads the topic, and as a subscriber does who is told."""
    rng = random.Random(SEED)
    deployment = deploy()
    delivered = subscribe(deployment)
    given = history(60)
    expected = due(given)
    assert len(expected) > 150
    send(deployment, [signals.encode(s) for s in given])
    for share in sorted(rng.uniform(0.0, 0.95) for _ in range(KILLS)):
        process = deployment.start("respond", instance_id="r")  # so that it need not wait until the dead one is missed
        wait_until_told(deployment, int(share * len(expected)))
        process.kill()
        process.wait()
    deployment.start("respond", instance_id="r")
    found = wait_until_told(deployment, len(expected))
    assert {(a["id"], a["revision"]) for a in found} == expected, f"seed {SEED}"
    wait_until_delivered(deployment, delivered, expected)
    by_name: dict[Told, dict[str, Any]] = {}
    for alert in found:
        alert.pop("emitted_at")
        assert by_name.setdefault((alert["id"], alert["revision"]), alert) == alert, f"seed {SEED}"
    assert not list(deployment.elsewhere.iterdir())


def test_a_process_that_goes_on_from_the_first_signal_takes_all_of_them(deploy: Callable[[], Deployment]) -> None:
    """As after one that ended before it had committed anything: incidents are kept, and no place among the signals."""
    deployment = deploy()
    given = [signal(0, "network", f"AS{n}", score=20.0) for n in range(6)]
    send(deployment, [signals.encode(s) for s in given[:2]])
    process = deployment.start("respond")
    wait_until_told(deployment, 2)
    process.terminate()
    process.wait()
    asyncio.run(deployment.reset("respond", deployment.config.kafka.signals, [0]))
    send(deployment, [signals.encode(s) for s in given[2:]])
    deployment.start("respond")
    found = wait_until_told(deployment, len(given))
    assert {a["id"] for a in found} == {s.id for s in given}


def test_what_was_held_back_is_reported_by_day_and_listed(
    deploy: Callable[[], Deployment], capsys: pytest.CaptureFixture[str]
) -> None:
    deployment = deploy()
    deployment.config = msgspec.structs.replace(deployment.config, alerts_per_day_max=1.0)
    given = [signal(0, "network", f"AS{n}", score=15.0) for n in range(4)]
    later = signal(0, "network", "AS9", score=15.0, at=START_MS + 2 * DAY_MS)
    send(deployment, [signals.encode(s) for s in [*given, later]])
    deployment.start("respond")
    wait_until_told(deployment, 2)
    config = str(next(deployment.folder.glob("respond-*.toml")))
    assert main(["alerts", "held", "--config", config]) == 0
    counts, *strongest = capsys.readouterr().out.splitlines()
    assert counts == "held back so far: 3 beyond the day's budget (alerts_per_day_max)"
    assert [line.split()[-2:] for line in strongest] == [["network", f"AS{n}"] for n in (1, 2, 3)]
    assert deployment.log().count("held back since the last report: 3 beyond the day's budget") == 1


def test_what_cannot_be_read_is_a_dead_letter_and_the_next_signal_is_told(deploy: Callable[[], Deployment]) -> None:
    deployment = deploy()
    send(deployment, [b"{", b"\xff", b"null", b"[" * 100_000, signals.encode(signal(1, score=20.0))])
    deployment.start("respond")
    (alert,) = wait_until_told(deployment, 1)
    assert alert["status"] == "open"
    assert alert["source"] == [{"topic": "access", "partition": 1, "first_offset": 5, "last_offset": 9}]
    letters = [orjson.loads(record.value) for record in deployment.read(deployment.config.kafka.dead_letters)]
    assert [(letter["reason"], letter["offset"]) for letter in letters] == [("bad_signal", n) for n in range(4)]
