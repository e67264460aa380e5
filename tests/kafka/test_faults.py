"""Three brokers, a worker, and what happens to both: whatever it is, nothing is lost, doubled or invented.

A few faults that a seed draws run in the suite; TEST_LONG=1 runs all of them, each at another point of the history.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kafka.cluster import Cluster
from tests.kafka.deployment import Deployment
from tests.kafka.node import free_ports
from tests.kafka.test_worker import CONFIG, SEED, check, ended, records

__all__ = ["records"]  # a fixture

LONG = os.environ.get("TEST_LONG") == "1"
SAMPLE = 2
SMALL_BYTES = 8 << 20  # less than any snapshot, and more than the log, which would end as well


@pytest.fixture(scope="module")
def three(kafka: None) -> Iterator[Cluster]:
    with Cluster(brokers=3) as cluster:
        yield cluster


@dataclass
class History:
    """A deployment on three brokers, and the worker that it has now."""

    cluster: Cluster
    deployment: Deployment
    rng: random.Random
    worker: subprocess.Popen[bytes]

    def snapshots(self) -> list[Path]:
        """The newest of each partition."""
        found = (sorted(folder.glob("*.tripline")) for folder in self.deployment.folder.glob("state/partition-*"))
        return [each[-1] for each in found if len(each) > 1]

    def again(self) -> None:
        """kill -9, and another worker."""
        self.worker.kill()
        self.worker.wait()
        self.worker = self.deployment.start()


Fault = Callable[[History], None]


def each_broker_is_killed(history: History) -> None:
    """Among them the leaders, the coordinators of the groups and those of the transactions."""
    for node in (1, 2, 3):
        history.cluster.kill(node)
        history.cluster.start(node)
        history.cluster.wait_ready()


def each_broker_is_restarted(history: History) -> None:
    for node in (1, 2, 3):
        history.cluster.stop(node)
        history.cluster.start(node)
        history.cluster.wait_ready()


def a_broker_stands_still(history: History) -> None:
    """Its connections stay open and say nothing, until the others go on without it."""
    node = history.rng.randint(1, 3)
    history.cluster.pause(node)
    history.deployment.wait_until_left(0)
    history.cluster.resume(node)
    history.cluster.wait_ready()


def the_worker_is_killed(history: History) -> None:
    history.again()


def a_broker_and_the_worker_are_killed(history: History) -> None:
    node = history.rng.randint(1, 3)
    history.cluster.kill(node)
    history.again()
    history.cluster.start(node)
    history.cluster.wait_ready()


def a_newest_snapshot_is_damaged(history: History) -> None:
    history.worker.kill()
    history.worker.wait()
    for path in history.snapshots():
        whole = bytearray(path.read_bytes())
        match history.rng.randrange(3):
            case 0:
                whole[history.rng.randrange(len(whole))] ^= 1 << history.rng.randrange(8)
                path.write_bytes(whole)
            case 1:
                path.write_bytes(whole[: history.rng.randrange(len(whole))])
            case _:
                path.unlink()
    history.worker = history.deployment.start()


def the_disk_is_full(history: History) -> None:
    """Snapshots fail for a while, and the worker goes on."""
    _, hard = resource.prlimit(history.worker.pid, resource.RLIMIT_FSIZE)
    before = history.deployment.log().count("no snapshot")
    resource.prlimit(history.worker.pid, resource.RLIMIT_FSIZE, (SMALL_BYTES, hard))
    history.deployment.wait_until(lambda: history.deployment.log().count("no snapshot") > before)
    assert history.worker.poll() is None
    resource.prlimit(history.worker.pid, resource.RLIMIT_FSIZE, (hard, hard))


def another_joins_and_leaves(history: History) -> None:
    port = next(free_ports())
    other = history.deployment.start(metrics_port=port)
    history.deployment.wait_until_ready(port)
    history.deployment.wait_until_left(0)
    ended(history.deployment, other)


def another_comes_under_the_same_name(history: History) -> None:
    """A static member's name is held by the last who came: the one before may end, and must not write."""
    history.worker.kill()
    history.worker.wait()
    first = history.deployment.start(instance_id="worker-0")
    history.deployment.wait_until(lambda: bool(history.snapshots()))
    history.worker = history.deployment.start(instance_id="worker-0")
    history.deployment.wait_until_done()
    first.kill()
    first.wait()


def the_worker_is_frozen(history: History) -> None:
    """Beyond its session, and woken after another has taken over."""
    old = history.worker
    old.send_signal(signal.SIGSTOP)
    history.worker = history.deployment.start()
    history.deployment.wait_until_left(0)
    old.send_signal(signal.SIGCONT)
    ended(history.deployment, old)


FAULTS: list[Fault] = [
    each_broker_is_killed, each_broker_is_restarted, a_broker_stands_still, the_worker_is_killed,
    a_broker_and_the_worker_are_killed,
    a_newest_snapshot_is_damaged, the_disk_is_full, another_joins_and_leaves, another_comes_under_the_same_name,
    the_worker_is_frozen,
]  # fmt: skip


def test_whatever_happens_nothing_is_lost_doubled_or_invented(
    three: Cluster, tmp_path: Path, records: list[bytes]
) -> None:
    rng = random.Random(SEED)
    rest = rng.sample(FAULTS[1:], len(FAULTS) - 1)
    faults = [FAULTS[0], *(rest if LONG else rest[: SAMPLE - 1])]
    rng.shuffle(faults)
    deployment = Deployment(three.bootstrap, tmp_path, CONFIG, replication=3)
    try:
        part = len(records) // (len(faults) + 1)
        deployment.produce(records[:part])
        history = History(three, deployment, rng, deployment.start())
        for number, fault in enumerate(faults, 1):
            deployment.wait_until_left(part // 2)
            start = number * part
            deployment.produce(records[start : start + part] if number < len(faults) else records[start:])
            fault(history)
        deployment.wait_until_done()
        ended(deployment, history.worker)
        check(deployment, records)
    except BaseException as why:
        why.add_note(f"seed {SEED}: {', '.join(fault.__name__ for fault in faults)}\n{deployment.log()[-3000:]}")
        raise
    finally:
        deployment.close()
