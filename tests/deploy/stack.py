"""`make stack`: what deploy/compose.yaml starts, in the same order and from the same files, without containers.

    Kafka ─▶ topics ─▶ worker, respond ─▶ Alertmanager, Prometheus ─▶ the incident generator as a producer

Kafka comes from Maven, Prometheus and Alertmanager from Debian. The theft that is played began an hour ago
and waits in the topic, as after an outage: it is found at once, the alert is late, and the rule that says so fires.
Everything listens on 127.0.0.1 only and is gone when the stack is left, however it is left.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Self
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.deploy.pager import Pager
from tests.deploy.pictures import Span, load, picture
from tests.kafka.cluster import Cluster, requirements
from tests.kafka.guard import Guard
from tests.kafka.node import free_ports
from tests.kafka.release import KafkaError

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
TRIPLINE: Final = str(Path(sys.executable).with_name("tripline"))
NEEDED: Final = {"prometheus": "prometheus", "prometheus-alertmanager": "prometheus-alertmanager"}
SERVERS: Final = ("alertmanager", "prometheus")
DASHBOARDS: Final = ("analyst", "operator")
PARTITIONS: Final = 2
WITHIN_S: Final = 400.0  # a machine that does other things as well
POLL_S: Final = 0.5
PLAYED: Final = ("replay", "forged-token", "--accounts", "500", "--days", "4", "--topic", "access", "--began", "60")


class StackError(Exception):
    """The stack did not come to where it should."""


def missing() -> str | None:
    """What has to be installed before the stack can run, or nothing."""
    absent = [package for name, package in NEEDED.items() if shutil.which(name) is None]
    return requirements() or (f"{', '.join(absent)}: apt-get install {' '.join(absent)}" if absent else None)


class Stack:
    """All processes: started on entering the context, gone on leaving it. `say` is told of each step."""

    def __init__(self, say: Callable[[str], None] = lambda _step: None) -> None:
        self._say = say
        self._began = time.monotonic()
        self._open = ExitStack()
        self._folder = Path(tempfile.mkdtemp(prefix="stack-"))
        self._guard = Guard(self._folder)
        self._open.callback(self._guard.end)
        ports = free_ports()
        names = ("worker", "respond", *SERVERS)
        self.ports = {name: next(ports) for name in names}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.bootstrap = ""
        self.pager = Pager()
        self._open.callback(self.pager.close)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._open.close()

    def url(self, name: str) -> str:
        """Where a process answers."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def _start(self) -> None:
        cluster = self._open.enter_context(Cluster())
        self.bootstrap = cluster.bootstrap
        self.step("Kafka is up")
        asyncio.run(_create_topic(self.bootstrap, "access", PARTITIONS))
        self._run("topics").wait()
        self._run("worker", TRIPLINE_WORKER__METRICS_PORT=str(self.ports["worker"]))
        self._run("respond", TRIPLINE_RESPOND__METRICS_PORT=str(self.ports["respond"]))
        self._alertmanager()
        self._prometheus()
        for name, path in (("worker", "readyz"), ("respond", "readyz"), *((n, "-/ready") for n in SERVERS)):
            self.wait(f"{name} is ready", partial(self.answers, f"{self.url(name)}/{path}"))
        self.wait("both processes are scraped", lambda: len(self.query("up == 1")) == len(("worker", "respond")))

    def play(self) -> None:
        """Have the incident sent to the access topic, after some records that nobody can read: no log is without."""
        asyncio.run(_write(self.bootstrap, "access", [b"{", b"\xff", b"null"]))
        self._run(*PLAYED)

    def _run(self, command: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a tripline process with the configuration of the demonstration, moved to this host."""
        moved = {
            "TRIPLINE_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap,
            "TRIPLINE_KAFKA__PLAINTEXT_ALLOWED": "false",
            "TRIPLINE_WORKER__METRICS_ADDRESS": "127.0.0.1",
            "TRIPLINE_WORKER__STATE": str(self._folder / "state"),
        }
        given = [TRIPLINE, command, *arguments, "--config", str(DEPLOY / "demo.toml")]
        return self._process(command, given, os.environ | moved | environment)

    def _process(
        self, name: str, command: list[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("wb") as log:
            started = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment,
                process_group=self._guard.group, cwd=self._folder,
            )  # fmt: skip
        self.processes[name] = started
        self._open.callback(started.wait)  # the guard ends it first
        self._open.callback(started.kill)
        return started

    def _alertmanager(self) -> None:
        given = (DEPLOY / "alertmanager/alertmanager.yml").read_text()
        path = self._folder / "alertmanager.yml"
        path.write_text(given.replace("http://127.0.0.1:9095/", f"http://127.0.0.1:{self.pager.port}/"))
        self._process("alertmanager", [
            "prometheus-alertmanager", f"--config.file={path}", f"--storage.path={self._folder / 'alerts'}",
            f"--web.listen-address=127.0.0.1:{self.ports['alertmanager']}", "--cluster.listen-address=",
        ])  # fmt: skip

    def _prometheus(self) -> None:
        given = (DEPLOY / "prometheus/prometheus.yml").read_text()
        for there, name in (("worker:9464", "worker"), ("respond:9465", "respond"), ("alertmanager:9093",) * 2):
            here = self.ports[name.removesuffix(":9093")]
            given = given.replace(there, f"127.0.0.1:{here}")
        path = self._folder / "prometheus.yml"
        path.write_text(given.replace("rules/*.yml", str(DEPLOY / "prometheus/rules/*.yml")))
        self._process("prometheus", [
            "prometheus", f"--config.file={path}", f"--storage.tsdb.path={self._folder / 'metrics'}",
            f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}",
        ])  # fmt: skip

    def step(self, what: str) -> None:
        """Say what has come about, and after how long."""
        self._say(f"{time.monotonic() - self._began:6.1f} s  {what}")

    def wait(self, what: str, until: Callable[[], Any]) -> Any:
        """What `until` gives, once it gives something; StackError where a process ends or it takes too long."""
        deadline = time.monotonic() + WITHIN_S
        while not (found := until()):
            for name, process in self.processes.items():
                if process.poll() not in (None, 0):
                    raise StackError(f"{name} ended with {process.returncode}; its log ends\n{self.log(name)}")
            if time.monotonic() > deadline:
                logs = "\n".join(f"{name}:\n{self.log(name)}" for name in self.processes)
                raise StackError(f"not within {WITHIN_S:g} s: {what}\n{logs}")
            time.sleep(POLL_S)
        self.step(what)
        return found

    def log(self, name: str) -> str:
        """How a process's log ends."""
        return (self._folder / f"{name}.log").read_text(errors="replace")[-2_000:]

    @staticmethod
    def answers(url: str) -> bool:
        """Whether it answers 200."""
        with suppress(URLError, OSError), urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def query(self, expression: str) -> list[Any]:
        """What Prometheus answers to an instant query; URLError where it refuses."""
        return self._asked("query", query=expression)

    def query_range(self, expression: str, span: Span, step: float) -> list[Any]:
        """What it answers to a query over a span, every `step` seconds of it."""
        return self._asked("query_range", query=expression, start=span.start, end=span.end, step=step)

    def pictures(self) -> dict[str, str]:
        """Both dashboards as they look now, as SVG by name."""
        now = time.time()
        span = Span(now - (time.monotonic() - self._began), now)
        files = {name: load(DEPLOY / f"grafana/{name}.json") for name in DASHBOARDS}
        return {name: picture(file, self.query, self.query_range, span) for name, file in files.items()}

    def _asked(self, call: str, **given: Any) -> list[Any]:
        with urlopen(f"{self.url('prometheus')}/api/v1/{call}?{urlencode(given)}", timeout=10) as answer:
            found: list[Any] = json.load(answer)["data"]["result"]
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """Every alert on the topic."""
        return asyncio.run(_read(self.bootstrap, "tripline.alerts"))

    def firing(self) -> set[str]:
        """Names of the rules that fire."""
        return {each["metric"]["alertname"] for each in self.query('ALERTS{alertstate="firing"}')}

    def watch(self) -> None:
        """From the alert on the topic to the page."""
        self.wait("a critical alert is on the topic", lambda: [a for a in self.alerts() if a["severity"] == "critical"])
        self.wait("its metrics are scraped", lambda: self.query('tripline_alerts_total{severity="critical"} > 0'))
        self.wait("the rule for late alerts fires", lambda: "TriplineAlertsLate" in self.firing())
        self.wait("the pager was called", lambda: self.pager.pages)


async def _create_topic(bootstrap: str, name: str, partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1)])
    finally:
        await admin.close()


async def _write(bootstrap: str, topic: str, records: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for record in records:
            await producer.send_and_wait(topic, record)


async def _read(bootstrap: str, topic: str) -> list[dict[str, Any]]:
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await reader.start()
    try:
        partition = TopicPartition(topic, 0)
        reader.assign([partition])
        end = (await reader.end_offsets([partition]))[partition]
        found: list[dict[str, Any]] = []
        while await reader.position(partition) < end:
            for records in (await reader.getmany(timeout_ms=200)).values():
                found += [orjson.loads(record.value) for record in records]
        return found
    finally:
        await reader.stop()


def main() -> int:
    """Run the stack until Ctrl-C, or with --once until the pager was called; the exit status."""
    parser = argparse.ArgumentParser(prog="make stack", description="The whole product on this machine.")
    parser.add_argument("--once", action="store_true", help="end when the pager was called")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the dashboards' pictures go")
    options = parser.parse_args()
    if lacking := missing():
        sys.stderr.write(f"make stack: {lacking}\n")
        return 1

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    try:
        with Stack(say) as stack:
            stack.play()
            stack.watch()
            for alert in stack.alerts():
                say(f"\n{alert['severity'].upper()} {alert['status']}: {alert['title']}\n  {alert['summary']}")
            for page in stack.pager.pages:
                say(f"\nPAGE {page['commonAnnotations']['summary']}\n  {page['commonAnnotations']['runbook_url']}")
            if options.once:
                return 0
            say("\n" + "".join(f"{name:13} {stack.url(name)}\n" for name in stack.ports) + "Ctrl-C ends it.")
            with suppress(KeyboardInterrupt):
                signal.pause()
            options.out.mkdir(exist_ok=True)
            for name, svg in stack.pictures().items():
                (options.out / f"{name}.svg").write_text(svg)
                say(f"{options.out}/{name}.svg shows the {name}'s dashboard as it was")
    except (StackError, KafkaError) as why:
        sys.stderr.write(f"{why}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
