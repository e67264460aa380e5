"""`tripline respond`: the alert plane. Signals are merged into incidents, and what is worth telling goes to the alerts.

Faust keeps the incidents in a table whose changelog is a topic, so another process goes on where one was cut. Signals
are taken one at a time, in this order:

    1. the merger takes the signal in and says what is worth telling; verdicts of the feedback topic rank it
    2. the alert is written, and its writing waited for, unless a mute of that topic holds
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
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final

import msgspec
from aiokafka.errors import KafkaError
from faust.exceptions import ProducerSendError

from detectors import catalog
from detectors.base import Detector
from stream import kafka, metrics, signals
from stream.alerts import Alert, alert_of, encode
from stream.config import Config
from stream.delivery.topic import Deliveries
from stream.desk import Desk
from stream.durations import DELAY_S, Durations
from stream.faustapp import app_of
from stream.feedback_topic import Follower
from stream.ingest import letter
from stream.merge import Group, Merger
from stream.metrics.respond import respond_registry
from stream.selftest import SelfTest
from stream.signals import Signal
from stream.veil import veil_of
from stream.withheld import BUDGET_KEY, TABLE, Reported, due

log = logging.getLogger("tripline")

DESK_KEY: Final = "desk"
REPORTED_KEY: Final = "reported"


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
        self.said = Follower(config.kafka)
        self.desk = Desk()
        self.reported = Reported()
        self.merger = self._merger()
        self.deliveries = Deliveries(config)
        self.selftest = SelfTest(config)
        self.app = app_of(config)
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
        try:
            await self._until_stopped(self._begin())
            if not self.stopping.is_set():
                tests = (self._send_selftests(),) if self.selftest.every_s else ()
                await self._until_stopped(self.said.run(), self.deliveries.failed(), *tests)
        finally:
            await self.app.stop()
            stop()
            await self.deliveries.stop()
            await self.said.stop()

    async def _begin(self) -> None:
        """Faust last: what was said of alerts and who is told of them is known before it takes a signal."""
        await self.said.begin()
        await self.deliveries.start()
        await self.app.start()

    async def _until_stopped(self, *works: Coroutine[Any, Any, None]) -> None:
        """Return when one of these has ended or the process is to stop, with none of them left; raises what one did."""
        tasks = [asyncio.create_task(work) for work in (self._stopped(), *works)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _stopped(self) -> None:
        await self.stopping.wait()

    async def _send_selftests(self) -> None:
        """Send one every so often, while the signals are this process's."""
        topic = self.app.topic(self.selftest.topic, value_serializer="raw", value_type=bytes)
        while True:
            await asyncio.sleep(self.selftest.every_s)
            if not any(tp.topic == self.config.kafka.signals for tp in self.app.consumer.assignment()):
                continue
            try:
                await (await topic.send(value=self.selftest.event(int(time.time() * 1000))))
            except (KafkaError, OSError, ProducerSendError) as why:
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

    def _merger(self) -> Merger:
        made = Merger(self.config)
        made.rank = self.desk.ranking.bits
        return made

    def _restore(self) -> None:
        """Know again what the table holds."""
        self.merger = self._merger()
        for key, value in sorted(self._table.items()):
            if key == BUDGET_KEY.encode():
                self.merger.budget.spent = msgspec.json.decode(value, type=type(self.merger.budget.spent))
            elif key == DESK_KEY.encode():
                self.desk.saved = msgspec.json.decode(value, type=type(self.desk.saved), strict=False)
            elif key == REPORTED_KEY.encode():
                self.reported = msgspec.json.decode(value, type=Reported)
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
        if len(self.desk.entries) < len(self.said.chain.entries):
            self.desk.take(self.said.chain.entries)
        self.desk.tick(given.told)
        self._report(given.told)
        group, told = self.merger.take(given)
        if told is not None:
            await self._tell(told)
        self._table[group.id.encode()] = msgspec.json.encode(group)
        # Faust acknowledges the signal whether or not the changelog has the incident. Its records go in order, so once
        # the last one is known to have arrived, all have.
        self._keep(DESK_KEY, self.desk.saved)
        self._keep(REPORTED_KEY, self.reported)
        spent = msgspec.json.encode(self.merger.budget.spent)
        self._table.data[BUDGET_KEY.encode()] = spent  # for when the signals go and come back within this process
        await self._table.send_changelog(0, BUDGET_KEY.encode(), spent)

    def _keep(self, key: str, value: msgspec.Struct) -> None:
        """Write it to the table if it has changed."""
        encoded = msgspec.json.encode(value)
        if encoded != self._table.get(key.encode()):
            self._table[key.encode()] = encoded

    def _report(self, now_ms: int) -> None:
        """Say once a day what of the day before was kept from being told."""
        self.reported, text = due(self.merger.budget.spent, self.reported, now_ms)
        if text:
            log.warning("%s; `tripline alerts held --config FILE` lists the strongest", text)

    async def _tell(self, told: Signal) -> None:
        scored = alert_of(self._veil(told), self._detectors, self.config.runbook_url)
        alert, first = self.desk.decide(scored, told.told)
        if first:
            self.merger.budget.refund((told.kind, told.value))
        if alert is None:
            return
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
        ready = self.app.started and self.app.tables.recovery.completed.is_set()
        return "" if ready else "starting: the incidents are being read back"


def words(config: Config, detector_id: str) -> Detector:
    """A detector for its words and techniques; it scores nothing here."""
    made: Detector = catalog.make(
        detector_id, offset_bits=0.0, join_grace_s=config.join_grace_s, session_lifetime_h=config.session_lifetime_h
    )
    return made
