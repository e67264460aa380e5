"""Starting a cluster says what is missing or wrong, and ending it, however that comes, leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest

from tests.kafka import wire
from tests.kafka.clients import WITHIN_S
from tests.kafka.cluster import Cluster, KafkaError
from tests.kafka.node import free_ports

ROOT = Path(__file__).parents[2]


def test_a_node_that_cannot_start_says_why(kafka: None, tmp_path: Path) -> None:
    """With the end of its log; nothing is left of it."""
    with pytest.raises(KafkaError, match=r"(?s)node 1 ended with status 1; its log says.*few.*log.segment.bytes"):
        Cluster(folder=tmp_path, settings={"log.segment.bytes": "few"}).__enter__()
    assert not list(tmp_path.iterdir())


def test_a_port_that_is_taken_is_an_error_if_it_was_asked_for(cluster: Cluster) -> None:
    port = int(cluster.bootstrap.split(":")[1])
    with pytest.raises(KafkaError, match=f"port {port} is taken: end what .* or name another"), Cluster(port=port):
        pass


def test_a_port_that_was_taken_in_between_is_exchanged(
    cluster: Cluster, new_cluster: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = int(cluster.bootstrap.split(":")[1])
    tries = iter([[taken]])
    monkeypatch.setattr("tests.kafka.cluster.free_ports", lambda: chain(next(tries, []), free_ports()))
    other = new_cluster()
    assert other.bootstrap != cluster.bootstrap
    assert wire.metadata(int(other.bootstrap.split(":")[1])).brokers == {1}


OWNER = """
import subprocess, sys
from itertools import chain
from pathlib import Path
from tests.kafka.guard import Guard
folder = Path(sys.argv[1])
(folder / "data").write_text("data")
guard = Guard(folder)
ward = subprocess.Popen(["sleep", "300"], stdout=subprocess.DEVNULL, process_group=guard.group)
print("guarded", flush=True)
sys.stdin.read()
"""


def test_nothing_outlives_an_owner_that_was_killed(tmp_path: Path) -> None:
    """Neither the processes of a cluster nor its data: kill -9 of the tests leaves no Kafka behind."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as owner:
        assert owner.stdout and owner.stdout.readline() == b"guarded\n"
        owner.kill()
        owner.communicate(timeout=WITHIN_S)  # the end of standard error, which ward and guard have from the owner
    assert not folder.exists()


def test_the_foreground_says_the_address_and_ends_cleanly(kafka: None, tmp_path: Path) -> None:
    """On Ctrl-C, with everything gone."""
    command = [sys.executable, "-m", "tests.kafka.cluster", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path)}
    ) as process:
        assert process.stdout and process.stderr
        port = int(process.stdout.readline().split(b":")[1])
        assert wire.metadata(port).brokers == {1}
        process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN_S) == 0
        assert b"Ctrl-C" in process.stderr.read()
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConnectionRefusedError):
        wire.metadata(port)


@pytest.mark.parametrize(
    ("programs", "says"),
    [
        ({}, "java is missing: install Java 17"),
        ({"java": "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2"}, "java is version 11.0.2: Kafka needs Java 17"),
        ({"java": "echo 'openjdk version \"21.0.2\" 2024-01-16' >&2"}, "mvn is missing: install Maven"),
        ({"java": "echo 'openjdk version \"17\" 2021-09-14' >&2", "mvn": ""}, None),
    ],
)
def test_what_is_missing_is_told_in_a_sentence(tmp_path: Path, programs: dict[str, str], says: str | None) -> None:
    """Of Java, and of Maven while the jars are not in the cache."""
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o700)
    ask = "from tests.kafka.cluster import requirements; print(requirements())"
    done = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, check=True, cwd=ROOT,
        env={"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.stdout.startswith(str(says))


@pytest.mark.parametrize(("environment", "outcome"), [({}, "1 skipped"), ({"CI": "true"}, "1 error")])
def test_missing_programs_skip_a_users_tests_and_fail_those_of_ci(
    tmp_path: Path, environment: dict[str, str], outcome: str
) -> None:
    name = "test_a_port_that_is_taken_is_an_error_if_it_was_asked_for"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"{__file__}::{name}", "-rs"], capture_output=True, text=True, check=False,
        cwd=ROOT, env={"PATH": str(tmp_path)} | environment,
    )  # fmt: skip
    assert outcome in done.stdout
    assert "java is missing" in done.stdout
