"""Workers on a real broker may be killed, frozen and joined at any time: every record is scored or dead-lettered once,
the signals and the state are those of an uninterrupted run over the same observations."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from stream.config import Config
from stream.incidents import generate, load_incident
from stream.incidents.jsonl import lines_of
from tests.kafka.cluster import Cluster
from tests.kafka.deployment import Deployment
from tests.kafka.node import free_ports

CONFIG = Config(warmup_h=12.0, session_lifetime_h=12.0, tick_s=300, snapshot_every_s=0.0)
POISON = (b"\xff\xfe", b'{"time": "yesterday"}', b"", b"[" * 5_000)
SEED = int(os.environ.get("TEST_SEED", random.SystemRandom().randrange(10**6)))

Make = Callable[..., Deployment]


@pytest.fixture(scope="session")
def records() -> list[bytes]:
    """Two days of a small retailer with a theft; one record in fifty is none."""
    incident = load_incident("forged-token")
    attack = msgspec.structs.replace(incident.attack, requests_per_day_min=40_000.0)
    whole = generate(msgspec.structs.replace(incident, attack=attack), accounts=150, days=2.0, seed=4)
    found = [line for block in whole for line in lines_of(block)]
    rng = random.Random(3)
    for i in range(0, len(found), 50):
        found[i] = rng.choice(POISON)
    return found


@pytest.fixture
def deploy(cluster: Cluster, tmp_path: Path) -> Iterator[Make]:
    """deploy(records, ...): topics with these records in them, and nothing running yet."""
    made: list[Deployment] = []

    def make(records: list[bytes], **options: Any) -> Deployment:
        deployment = Deployment(cluster.bootstrap, tmp_path, CONFIG, **options)
        made.append(deployment)
        deployment.produce(records)
        return deployment

    yield make
    for deployment in made:
        deployment.close()


def ended(deployment: Deployment, process: Any) -> float:
    """Ask a worker to end, as soon as it can be asked; the seconds that it took."""
    deployment.wait_until(lambda: process.poll() is not None or _listens(process.pid, signal.SIGTERM))
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0, deployment.log()[-4000:]
    return time.monotonic() - began


def _listens(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal: before, it ends by the signal, as every process does."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def check(deployment: Deployment, records: list[bytes]) -> None:
    """L: each offset is in the observations or the dead letters, once. A: the signals are due, once. B: so is the
    state."""
    from stream import wire

    given = [record.value for record in deployment.read(deployment.access)]
    assert Counter(given) == Counter(records), "the test's own producer lost records"
    places: Counter[tuple[str, int]] = Counter()
    for record in deployment.read(deployment.config.kafka.observations):
        block = wire.decode(record.value).block
        places.update((block.origins[o], n) for o, n in zip(block.origin.tolist(), block.line.tolist(), strict=True))
    letters = [orjson.loads(record.value) for record in deployment.read(deployment.config.kafka.dead_letters)]
    places.update((letter["origin"], letter["offset"]) for letter in letters)
    assert len(places) == len(records), f"seed {SEED}"
    assert set(places.values()) == {1}, f"seed {SEED}"
    assert len(letters) == sum(record in POISON for record in records)
    due, states = deployment.scored()
    assert due, "nothing was found in the reference run: choose other records"
    assert Counter(s.id + f" {s.revision}" for s in deployment.signals()) == Counter(
        s.id + f" {s.revision}" for s in due
    ), f"seed {SEED}"
    for number, state in states.items():
        assert deployment.state(number) == state, f"partition {number}, seed {SEED}"


def test_a_worker_scores_everything_and_leaves_within_ten_seconds(deploy: Make, records: list[bytes]) -> None:
    deployment = deploy(records)
    worker = deployment.start()
    deployment.wait_until_done()
    assert ended(deployment, worker) < 10.0
    check(deployment, records)


def test_killed_at_random_points_nothing_is_lost_doubled_or_invented(deploy: Make, records: list[bytes]) -> None:
    """kill -9, again and again, wherever it finds the worker; then one that may finish."""
    rng = random.Random(SEED)
    deployment = deploy(records)
    for _ in range(5):
        worker = deployment.start()
        deployment.wait_until_left(int(rng.uniform(0.1, 0.95) * len(records)))
        worker.kill()
        worker.wait()
    last = deployment.start()
    deployment.wait_until_done()
    ended(deployment, last)
    check(deployment, records)


def test_a_frozen_worker_is_fenced_when_it_wakes(deploy: Make, records: list[bytes]) -> None:
    """SIGSTOP beyond the session timeout: another takes over, and what the first wakes up with is not written."""
    deployment = deploy(records)
    first = deployment.start(state=str(deployment.folder / "first"))
    deployment.wait_until_left(len(records) // 2)
    first.send_signal(signal.SIGSTOP)
    second = deployment.start()
    deployment.wait_until_done()
    first.send_signal(signal.SIGCONT)
    deployment.produce(records[-200:])
    deployment.wait_until_done()
    for worker in (first, second):
        ended(deployment, worker)
    assert len(deployment.signals()) == len({(s.id, s.revision) for s in deployment.signals()})


def test_two_workers_share_the_partitions_and_one_takes_over(deploy: Make, records: list[bytes]) -> None:
    """The second joins in the middle, the first leaves: state goes with the partitions, by the shared directory."""
    half = len(records) // 2
    deployment = deploy(records[:half])
    first = deployment.start()
    deployment.wait_until_left(half // 2)
    port = next(free_ports())
    second = deployment.start(metrics_port=port)
    deployment.wait_until_ready(port)
    deployment.produce(records[half:])
    deployment.wait_until_left(half // 2)
    ended(deployment, first)
    deployment.wait_until_done()
    ended(deployment, second)
    check(deployment, records)


def test_what_a_person_has_to_see_to_ends_the_worker_with_a_word(deploy: Make) -> None:
    """No topic, no state that fits, offsets that were reset: said at once, exit 1, nothing skipped."""
    deployment = deploy([])
    nowhere = deployment.start(bootstrap_servers="127.0.0.1:9")
    assert deployment.status(nowhere) == 1
    assert "no broker answers" in deployment.log()
