"""One node of a cluster: its folder, its process."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.kafka import wire
from tests.kafka.release import KafkaError, Release

PLAIN, SCRAM, MTLS, CONTROLLER = "PLAIN", "SCRAM", "MTLS", "CONTROLLER"
PORTS: Final = range(20_000, 32_000)  # below those of clients' own ends: none can take the port of a node that is down
CLASH: Final = "Address already in use"
STOP_S: Final = 60.0
LOG_LINES: Final = 15
SETTLE_S: Final = 1.5  # a node that was paused for long is shut out by the controller, but only when that looks again


class PortTakenError(KafkaError):
    """Another process listens where a node was to."""


class Node:
    """A node that is not started yet.

    number and cluster: its id and the cluster's; home: its folder; group: the process group to run in; jvm: options of
    java.
    """

    def __init__(self, number: int, cluster: str, home: Path, release: Release, group: int, jvm: Sequence[str]) -> None:
        self.number = number
        self._cluster = cluster
        self.data = home / "data"
        self.log = home / "log"
        self.ports: dict[str, int] = {}
        self._home = home
        self._properties = home / "server.properties"
        self._classes = home / "classes.jsa"
        self._release = release
        self._group = group
        self._jvm = tuple(jvm)
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self._settled = 0.0
        self._log_offset = 0  # of what it has written since it was last started

    def lay_out(self, properties: Mapping[str, str | int], users: Sequence[str] | None) -> None:
        """Write what it starts from; formatted storage has users, as StorageTool's options, where they are not None."""
        shutil.rmtree(self._home, ignore_errors=True)
        self.data.mkdir(parents=True)
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        if users is not None:
            self._release.format(self._properties, self._cluster, *users)
            return
        shutil.copyfile(self._release.checkpoint, self.data / self._release.checkpoint.name)
        (self.data / "meta.properties").write_text(f"version=1\ncluster.id={self._cluster}\nnode.id={self.number}\n")

    @property
    def expected(self) -> bool:
        """Whether it should answer: it was started, and nobody has ended or paused it."""
        return self._process is not None and not self._paused

    def start(self) -> None:
        """Start the process."""
        if self._process is not None and self._process.poll() is None:
            raise KafkaError(f"node {self.number} runs already")
        archive = self._release.archive
        option = f"-XX:SharedArchiveFile={archive}" if archive.exists() else f"-XX:ArchiveClassesAtExit={self._classes}"
        command = self._release.command("kafka.Kafka", str(self._properties), options=(option, *self._jvm))
        with self.log.open("ab") as log:
            self._log_offset = log.tell()
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=self._group
            )

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self.resume()
        process = self.process
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired as why:
            raise KafkaError(
                f"node {self.number} has not stopped within {STOP_S:g} s (it cannot without most of the controllers: "
                f"kill it then); its log says\n{self._log_says()}"
            ) from why
        self._process = None
        self._release.keep_archive(self._classes)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()
        self._process, self._paused = None, False

    def pause(self) -> None:
        """Hold it still, all of it: a signal is only on its way when it has been sent."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self._paused = True

    def resume(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)
        self._paused, self._settled = False, time.monotonic() + SETTLE_S

    def forget(self) -> None:
        """Take notice that the guard has killed it."""
        if self._process is not None:
            self._process.wait()
            self._process = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process; KafkaError where it does not run."""
        if self._process is None or self._process.poll() is not None:
            raise KafkaError(f"node {self.number} does not run")
        return self._process

    def check(self) -> None:
        """Raise KafkaError if it ended by itself, PortTakenError if that was for want of a port."""
        if self._process is not None and self._process.poll() is not None:
            log = self._log_says()
            kind = PortTakenError if CLASH in log else KafkaError
            raise kind(f"node {self.number} ended with status {self._process.returncode}; its log says\n{log}")

    def known(self) -> set[int]:
        """The numbers of the live nodes that it knows; none while it does not answer, or another cluster does."""
        with suppress(OSError):
            told = wire.metadata(self.ports[PLAIN])
            if told.cluster == self._cluster and time.monotonic() > self._settled:
                return told.brokers
        return set()

    def late(self, timeout_s: float) -> KafkaError:
        """The error for a node that has not become ready."""
        return KafkaError(f"node {self.number} is not ready after {timeout_s:g} s; its log says\n{self._log_says()}")

    def _log_says(self) -> str:
        """What it told since it was started: from the first error on, or last."""
        lines = self.log.read_bytes()[self._log_offset :].decode(errors="replace").splitlines()
        errors = (number for number, line in enumerate(lines) if " ERROR " in line)
        first = next(errors, max(0, len(lines) - LOG_LINES))
        return "\n".join(f"  {line}" for line in lines[first : first + LOG_LINES])


def free_ports() -> Iterator[int]:
    """Ports that nothing listens on, in an order that no other process has."""
    return filter(is_free, random.SystemRandom().sample(PORTS, len(PORTS)))


def is_free(port: int) -> bool:
    """Whether nothing listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # java too may have one that lately was in use
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
