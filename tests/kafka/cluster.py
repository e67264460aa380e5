"""Apache Kafka on this machine, for development and tests.

    with Cluster(brokers=3) as cluster:
        producer = AIOKafkaProducer(bootstrap_servers=cluster.bootstrap)
        ...
        cluster.kill(2)
        cluster.start(2)
        cluster.wait_ready()

Each node, numbered from 1, is broker and controller, listens on 127.0.0.1 only, and keeps its data and its log in a
folder that is removed at the end, however the end comes. `python -m tests.kafka.cluster` runs one in the foreground.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.kafka import wire
from tests.kafka.guard import Guard
from tests.kafka.node import CONTROLLER, MTLS, PLAIN, SCRAM, Node, PortTakenError, free_ports, is_free
from tests.kafka.release import KafkaError, new_id, prepared, requirements
from tests.kafka.security import Security, make_certificates

__all__ = ["Cluster", "KafkaError", "Security", "main", "requirements"]

TRIES: Final = 5
READY_S: Final = 90.0
POLL_S: Final = 0.02
WATCH_S: Final = 0.5
SETTINGS: Final[Mapping[str, str | int]] = {
    "auto.create.topics.enable": "false",
    # What a test would only wait for.
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 500,
    "controller.quorum.election.timeout.ms": 500,
    "controller.quorum.election.backoff.max.ms": 250,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 500,
    "broker.heartbeat.interval.ms": 200,
    "broker.session.timeout.ms": 2_000,  # a killed node that starts again is let in only when its old session has ended
    # What is made in numbers for a data centre.
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.num.partitions": 4,
    "log.cleaner.dedupe.buffer.size": 2 << 20,
    "num.network.threads": 2,
    "num.io.threads": 4,
    "background.threads": 2,
}


class Cluster:
    """Nodes of one Kafka: started, and ready, on entering the context; gone on leaving it.

    folder: where to make the folder for data; the system's temporary one if None. settings: properties of the nodes,
    which win over those that are chosen here. security: listeners with passwords and certificates, and an authorizer.
    port: of the first node's plain listener, the next node's is one above; if None, ports that are free. jvm: further
    options of java. Raises KafkaError, with what the node's log says, where Kafka cannot be fetched or started.
    """

    def __init__(
        self,
        brokers: int = 1,
        folder: Path | None = None,
        settings: Mapping[str, str | int] | None = None,
        security: Security | None = None,
        *,
        port: int | None = None,
        jvm: Sequence[str] = (),
    ) -> None:
        self.brokers = brokers
        self._release = prepared()
        self.folder = Path(tempfile.mkdtemp(prefix="kafka-", dir=folder)).absolute()
        self._settings = dict(settings or {})
        self._security = security
        self._port = port
        self._guard = Guard(self.folder)
        identity = new_id()
        self._nodes = {
            number: Node(number, identity, self.folder / f"node-{number}", self._release, self._guard.group, jvm)
            for number in range(1, brokers + 1)
        }

    @property
    def bootstrap(self) -> str:
        """host:port of every node, for clients without encryption; they may do anything."""
        return self._addresses(PLAIN)

    @property
    def bootstrap_scram(self) -> str:
        """The same for SASL_SSL with SCRAM-SHA-512, where there is security."""
        return self._addresses(SCRAM)

    @property
    def bootstrap_mtls(self) -> str:
        """The same for SSL with a client's certificate, where there is security."""
        return self._addresses(MTLS)

    @property
    def certificates(self) -> Path:
        """The folder with the certificates that `Security` lists."""
        return self.folder / "certificates"

    def start(self, number: int) -> None:
        """Start a node that does not run; it is ready when `wait_ready` returns."""
        self._nodes[number].start()

    def stop(self, number: int) -> None:
        """Ask a node to end and wait until it has: it hands its leaderships over first."""
        self._nodes[number].stop()

    def kill(self, number: int) -> None:
        """End a node at once; what it has written is kept."""
        self._nodes[number].kill()

    def pause(self, number: int) -> None:
        """Hold a node still, as a frozen machine or a long garbage collection would; its connections stay open."""
        self._nodes[number].pause()

    def resume(self, number: int) -> None:
        """Let a paused node go on."""
        self._nodes[number].resume()

    def pid(self, number: int) -> int:
        """The process id of a node that runs."""
        return self._nodes[number].process.pid

    def log(self, number: int) -> Path:
        """The file that a node's messages go to."""
        return self._nodes[number].log

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Wait until each node that runs knows every other. Raises KafkaError if one ended by itself, or after that."""
        deadline = time.monotonic() + timeout_s
        nodes = self._expected()
        numbers = {node.number for node in nodes}
        for node in nodes:
            while not numbers <= node.known():
                self._check()
                if time.monotonic() > deadline:
                    raise node.late(timeout_s)
                time.sleep(POLL_S)

    def allow(self, user: str, operation: str, resource: str, name: str) -> None:
        """Let a user ("alice", "CN=client") do an operation ("read") on a resource ("topic") of a name, "*" for any."""
        self._obey(wire.Acl("allow", f"User:{user}", operation, resource, name))

    def deny(self, user: str, operation: str, resource: str, name: str) -> None:
        """Forbid that, whatever is allowed."""
        self._obey(wire.Acl("deny", f"User:{user}", operation, resource, name))

    def watch(self) -> None:
        """Wait for ever; raises KafkaError when a node ended by itself."""
        while True:
            self._check()
            time.sleep(WATCH_S)

    def close(self) -> None:
        """End all nodes at once and remove the folder."""
        self._guard.end()
        for node in self._nodes.values():
            node.forget()

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and (running := self._expected()) and not self._release.archive.exists():
            with suppress(KafkaError):  # the next cluster may bring it
                running[0].stop()
        self.close()

    def _begin(self) -> None:
        """Start all nodes and wait for them; with other ports where one has been taken in between."""
        for left in reversed(range(TRIES)):
            self._lay_out()
            try:
                for node in self._nodes.values():
                    node.start()
                self.wait_ready()
                return
            except PortTakenError:
                if self._port is not None or not left:
                    raise
                for node in self._expected():
                    with suppress(KafkaError):  # the one that has ended
                        node.kill()

    def _lay_out(self) -> None:
        """Choose ports, and write what the nodes start from."""
        names = (PLAIN, CONTROLLER) if self._security is None else (PLAIN, SCRAM, MTLS, CONTROLLER)
        if self._security is not None and not self.certificates.exists():
            make_certificates(self.certificates)
        users = None if self._security is None else self._security.format_options()
        ports = free_ports()
        for node in self._nodes.values():
            node.ports = {name: next(ports) for name in names}
            if self._port is not None:
                node.ports[PLAIN] = port = self._port + node.number - 1
                if not is_free(port):
                    raise PortTakenError(f"port {port} is taken: end what listens there, or name another")
        for node in self._nodes.values():
            node.lay_out(self._properties(node), users)

    def _expected(self) -> list[Node]:
        return [node for node in self._nodes.values() if node.expected]

    def _check(self) -> None:
        for node in self._nodes.values():
            node.check()

    def _properties(self, node: Node) -> dict[str, str | int]:
        replicas = min(3, len(self._nodes))
        listeners = [f"{name}://127.0.0.1:{port}" for name, port in node.ports.items()]
        voters = (f"{each.number}@127.0.0.1:{each.ports[CONTROLLER]}" for each in self._nodes.values())
        return {
            "process.roles": "broker,controller",
            "node.id": node.number,
            "controller.quorum.voters": ",".join(voters),
            "controller.listener.names": CONTROLLER,
            "inter.broker.listener.name": PLAIN,
            "listeners": ",".join(listeners),
            "advertised.listeners": ",".join(each for each in listeners if not each.startswith(CONTROLLER)),
            "listener.security.protocol.map": "PLAIN:PLAINTEXT,SCRAM:SASL_SSL,MTLS:SSL,CONTROLLER:PLAINTEXT",
            "log.dirs": str(node.data),
            "default.replication.factor": replicas,
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "min.insync.replicas": max(1, replicas - 1),
            "transaction.state.log.min.isr": max(1, replicas - 1),
            **SETTINGS,
            **(self._security.properties(self.certificates) if self._security else {}),
            **self._settings,
        }

    def _obey(self, acl: wire.Acl) -> None:
        """Have a rule stored, and wait until every node that runs knows it."""
        deadline = time.monotonic() + READY_S
        nodes = self._expected()
        wire.create_acl(nodes[0].ports[PLAIN], acl)
        for node in nodes:
            while not wire.obeys_acl(node.ports[PLAIN], acl):
                if time.monotonic() > deadline:
                    raise node.late(READY_S)
                time.sleep(POLL_S)

    def _addresses(self, listener: str) -> str:
        return ",".join(f"127.0.0.1:{node.ports[listener]}" for node in self._nodes.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a cluster until Ctrl-C; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.kafka.cluster", description="Apache Kafka in the foreground."
    )
    brokers = int(os.environ.get("BROKERS") or 1)
    parser.add_argument("--brokers", type=int, default=brokers, help="nodes, 1 or 3 (default: $BROKERS, or 1)")
    parser.add_argument("--port", type=int, default=9092, help="the first node's; 0 for any (default: 9092)")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Cluster(options.brokers, port=options.port or None) as cluster:
            sys.stdout.write(f"{cluster.bootstrap}\n")
            sys.stdout.flush()
            sys.stderr.write(f"Kafka runs; Ctrl-C stops it and removes what is in it ({cluster.folder})\n")
            with suppress(KeyboardInterrupt):
                cluster.watch()
    except KeyboardInterrupt:
        return 130
    except KafkaError as why:
        sys.stderr.write(f"{why}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
