"""`tripline respond`: the alert plane. Signals are merged into incidents, and what is worth telling goes to the alerts.

Faust keeps the incidents in a table whose changelog is a topic, so another process goes on where one was cut. Signals
are taken one at a time, in this order:

    1. the merger takes the signal in and says what is worth telling
    2. the alert is written, and its writing waited for
    3. the incident as it stands now is written to the table, and that waited for
    4. only then is the signal acknowledged

A process that is cut between 2 and 4 tells the same revision of the same alert again: it is repeated and not lost,
and subscribers tell a repeat by id and revision. Faust acknowledges what an agent raised on, so nothing may be raised:
what cannot be read is a dead letter.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import faust
import msgspec
from aiokafka.errors import KafkaError

from detectors import catalog
from detectors.base import Detector
from stream import kafka, metrics, signals
from stream.alerts import Alert, alert_of, encode
from stream.config import Config
from stream.delivery.topic import Deliveries
from stream.durations import DELAY_S, Durations
from stream.ingest import letter
from stream.merge import Group, Merger
from stream.metrics.respond import Monitor, respond_registry
from stream.security import connection
from stream.selftest import SelfTest
from stream.signals import Signal
from stream.veil import veil_of

log = logging.getLogger("tripline")

TABLE: Final = "incidents"
BUDGET_KEY: Final = "budget"  # beside the incidents' ids, which all begin with "tl-"


class Respond:
    """One process of the alert plane; of several, one works and the others stand by."""

    def __init__(self, config: Config, on_alert: Callable[[Alert], None] = lambda _alert: None) -> None:
        self.config = config
        self.alerts: Counter[tuple[str, str]] = Counter()
        self.detected: Counter[tuple[str, str]] = Counter()
        self.delays = Durations(DELAY_S)
        self.dead_letters: Counter[str] = Counter()
        self.signals = 0
        self.stopping = asyncio.Event()
        self.merger = Merger(config)
        self.deliveries = Deliveries(config)
        self.selftest = SelfTest(config)
        self.app = _app(config)
        self.app.on_partitions_revoked.connect(self._revoked)
        self._restored = False
        self._on_alert = on_alert
        self._veil = veil_of(config)
        self._detectors: dict[str, Detector] = {d: words(config, d) for d in catalog.detector_ids()}
        raw = {"key_serializer": "raw", "value_serializer": "raw", "key_type": bytes, "value_type": bytes}
        self._out = self.app.topic(config.kafka.alerts, **raw)
        self._dead = self.app.topic(config.kafka.dead_letters, **raw)
        self._table: Any = self.app.Table(TABLE, partitions=1, key_type=bytes, value_type=bytes)
        self.app.agent(self.app.topic(config.kafka.signals, **raw), concurrency=1, name="respond")(self._agent)

    async def run(self) -> None:
        """Work until SIGTERM or Ctrl-C; TriplineError where no broker answers."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        async with kafka.admin(self.config.kafka):
            pass  # Faust would try for ever, and say little
        stop = self._served()
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(self.stopping.wait())]
        tests = asyncio.create_task(self._send_selftests())
        try:
            await self.deliveries.start()
            await self.app.start()
            waits.append(asyncio.create_task(self.deliveries.failed()))
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in (*waits, tests):
                wait.cancel()
            await self.app.stop()
            stop()
            await self.deliveries.stop()

    async def _send_selftests(self) -> None:
        """Send one every so often, while the signals are this process's."""
        topic = self.app.topic(self.selftest.topic, value_serializer="raw", value_type=bytes)
        while self.selftest.every_s:
            await asyncio.sleep(self.selftest.every_s)
            if not any(tp.topic == self.config.kafka.signals for tp in self.app.consumer.assignment()):
                continue
            try:
                await (await topic.send(value=self.selftest.event(int(time.time() * 1000))))
            except (KafkaError, OSError) as why:
                log.warning("the self-test was not sent: %s", type(why).__name__)
            else:
                self.selftest.sent += 1

    async def _agent(self, stream: Any) -> AsyncIterator[None]:
        async for event in stream.events():  # none comes before the table has been read back
            if not self._restored:
                self._restore()
            await self._take(event.value, event.message.offset)
            yield

    async def _revoked(self, _app: Any, revoked: Any, **_more: Any) -> None:
        """The signals may be another's for a while, and the table with them."""
        del revoked
        self._restored = False

    def _restore(self) -> None:
        """Know again what the table holds."""
        self.merger = Merger(self.config)
        for key, value in sorted(self._table.items()):
            if key == BUDGET_KEY.encode():
                self.merger.budget.spent = msgspec.json.decode(value, type=type(self.merger.budget.spent))
            else:
                self.merger.put(msgspec.json.decode(value, type=Group))
        self._restored = True

    async def _take(self, message: bytes, offset: int) -> None:
        try:
            given = signals.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as why:
            await self._dead_letter(message, offset, str(why))
            return
        self.signals += 1
        if self.selftest.takes(given):
            return
        group, told = self.merger.take(given)
        if told is not None:
            await self._tell(told)
        self._table[group.id.encode()] = msgspec.json.encode(group)
        # Faust acknowledges the signal whether or not the changelog has the incident. Its records go in order, so once
        # the last one is known to have arrived, all have.
        spent = msgspec.json.encode(self.merger.budget.spent)
        await self._table.send_changelog(0, BUDGET_KEY.encode(), spent)

    async def _tell(self, told: Signal) -> None:
        alert = alert_of(self._veil(told), self._detectors, self.config.runbook_url)
        await (await self._out.send(key=alert.id.encode(), value=encode(alert).rstrip()))
        self.alerts[alert.status, alert.severity] += 1
        if alert.status == "open":
            self.detected.update((detector, alert.severity) for detector in alert.detectors)
            self.delays.add(time.time() - told.crossed / 1000)
        self._on_alert(alert)

    async def _dead_letter(self, message: bytes, offset: int, detail: str) -> None:
        topic = self.config.kafka
        made = letter(topic.dead_letters, f"kafka:{topic.signals}/0", offset, "bad_signal", detail, message)
        await (await self._dead.send(key=made.key, value=made.value))
        self.dead_letters["bad_signal"] += 1

    def _served(self) -> Callable[[], None]:
        return metrics.serve_worker(
            respond_registry(self), self.config.worker, {"/livez": lambda: "", "/readyz": self._ready},
            self.config.respond.metrics_port, "respond.metrics_port",
        )  # fmt: skip

    def _ready(self) -> str:
        return "" if self.app.started else "starting"


def words(config: Config, detector_id: str) -> Detector:
    """A detector for its words and techniques; it scores nothing here."""
    made: Detector = catalog.make(
        detector_id, offset_bits=0.0, join_grace_s=config.join_grace_s, session_lifetime_h=config.session_lifetime_h
    )
    return made


class App(faust.App):
    """Faust's, without the folders that it makes wherever it is started: the table is kept in memory and its topic."""

    def _create_directories(self) -> None:
        """None: nothing is kept in files, and the file system may be read-only."""


def _app(config: Config) -> Any:
    settings = config.kafka
    servers = [f"kafka://{server.strip()}" for server in settings.bootstrap_servers.split(",")]
    return App(
        f"{settings.group}-respond", broker=servers, broker_credentials=_credentials(config), store="memory://",
        web_enabled=False, autodiscover=False, topic_partitions=1, topic_replication_factor=settings.replication,
        topic_allow_declare=True, consumer_auto_offset_reset="earliest", stream_wait_empty=False,
        broker_session_timeout=settings.session_timeout_s, broker_heartbeat_interval=settings.session_timeout_s / 5,
        broker_commit_every=100, broker_commit_interval=1.0, producer_acks=-1, loghandlers=[], Monitor=Monitor,
        consumer_group_instance_id=f"{settings.instance_id}-respond" if settings.instance_id else None,
    )  # fmt: skip


def _credentials(config: Config) -> Any:
    given = connection(config.kafka)
    context = given.get("ssl_context")
    if config.kafka.security_protocol.startswith("SASL"):
        if config.kafka.sasl_mechanism == "OAUTHBEARER":
            return faust.OAuthCredentials(oauth_cb=given["sasl_oauth_token_provider"], ssl_context=context)
        return faust.SASLCredentials(
            username=given["sasl_plain_username"], password=given["sasl_plain_password"],
            mechanism=config.kafka.sasl_mechanism, ssl_context=context,
        )  # fmt: skip
    return faust.SSLCredentials(context) if context is not None else None
