"""`tripline respond`: the alert plane. Signals are merged into incidents, and what is worth telling goes to the alerts.

Faust keeps the incidents in a table whose changelog is a topic, so another process goes on where one was cut. Signals
are taken in batches of what has come, one where little comes, in this order:

    1. the merger takes one signal after the other in and says what is worth telling; verdicts of the feedback topic
       rank it, and a mute of that topic holds it back
    2. the alerts are written in that order, and the writing of all waited for
    3. each incident that has changed is written to the table as it stands after the batch, and that waited for
    4. only then are the signals acknowledged

A process that is cut between 2 and 4 takes the same signals in again and tells the same revisions of the same alerts:
they are repeated and not lost, and subscribers tell a repeat by id and revision. What cannot be written is tried again
until it can; what cannot be read is a dead letter.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka.errors import KafkaError
from faust.exceptions import ProducerSendError

from detectors import catalog
from detectors.base import Detector
from stream import feedback_webhook, kafka, metrics, signals
from stream.alerts import Alert, alert_of, encode
from stream.config import Config
from stream.delivery.topic import Deliveries
from stream.desk import Desk
from stream.durations import DELAY_S, Durations
from stream.faustapp import app_of
from stream.feedback_topic import Follower
from stream.ingest import letter
from stream.kafka import MESSAGE_BYTES_MAX
from stream.kept import BadGroup, Group, unpack
from stream.merge import Merger
from stream.metrics.respond import respond_registry
from stream.selftest import SelfTest
from stream.signals import Signal
from stream.veil import veil_of
from stream.withheld import BUDGET_KEY, TABLE, Reported, due

log = logging.getLogger("tripline")

DESK_KEY: Final = "desk"
REPORTED_KEY: Final = "reported"
BATCH_MAX: Final = 4_000  # signals; as many as Faust holds ready
MANY: Final = 100  # that wait: more are worth waiting for, since most of many are about the same incidents
GATHER_S: Final = 0.25
LOOK_S: Final = 0.01  # between two looks at how many have come
RETRY_S: Final = 1.0  # between two attempts to write
# A changelog is read back whole by whoever takes over, and what is rewritten all the time is dropped from it only in
# segments that are full: they are a gigabyte unless somebody says otherwise.
CHANGELOG: Final = {"segment.bytes": 64 << 20, "min.cleanable.dirty.ratio": 0.1}


class Message(NamedTuple):
    """What is to be written before the signals are acknowledged; the alert if it is one, with when it crossed, ms."""

    topic: str
    key: bytes | None
    value: bytes | None
    alert: Alert | None = None
    crossed: int = 0


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
        self.webhook = feedback_webhook.webhook(config)
        self.desk = Desk()
        self.reported = Reported()
        self.deliveries = Deliveries(config)
        self.selftest = SelfTest(config)
        self.app = app_of(config)
        self.app.on_partitions_revoked.connect(self._revoked)
        # Made here, in this loop: who first asks whether it is ready asks from a thread whose loop never runs.
        self._recovery = self.app.tables.recovery
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._working = asyncio.Lock()
        self._restored = False
        self._on_alert = on_alert
        self._veil = veil_of(config)
        self._detectors: dict[str, Detector] = {d: words(config, d) for d in catalog.detector_ids()}
        raw = {"key_serializer": "raw", "value_serializer": "raw", "key_type": bytes, "value_type": bytes}
        self._table: Any = self.app.Table(
            TABLE, partitions=1, key_type=bytes, value_type=bytes, extra_topic_configs=CHANGELOG
        )
        self.merger = self._merger()
        self.app.agent(self.app.topic(config.kafka.signals, **raw), concurrency=1, name="respond")(self._agent)

    async def run(self) -> None:
        """Work until SIGTERM or Ctrl-C; TriplineError where no broker answers."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        async with kafka.admin(self.config.kafka):
            pass  # Faust would try for ever, and say little
        with ExitStack() as served:
            served.callback(self._served())
            served.callback(feedback_webhook.serve(self.webhook, self.config))
            await self._worked()

    async def _worked(self) -> None:
        try:
            await self._until_stopped(self._begin())
            if not self.stopping.is_set():
                tests = (self._send_selftests(),) if self.selftest.every_s else ()
                await self._until_stopped(self.said.run(), self.deliveries.failed(), self._failed(), *tests)
        finally:
            await self.app.stop()
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

    async def _failed(self) -> None:
        """Raise what a signal could not be taken in for: Faust would go on with the next."""
        await self._broken

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
        unacknowledged = stream.noack()
        queue = unacknowledged.channel.queue
        async for event in unacknowledged.events():  # none comes before the table has been read back
            async with self._working:
                gathered = time.monotonic() + GATHER_S
                while MANY <= queue.qsize() < BATCH_MAX and time.monotonic() < gathered:
                    await asyncio.sleep(LOOK_S)
                batch = [event, *self._ready_in(queue, unacknowledged)]
                try:
                    await self._work(batch)
                except Exception as why:
                    if not self._broken.done():
                        self._broken.set_exception(why)
                    raise
                for each in batch:
                    await unacknowledged.ack(each)
            yield

    def _ready_in(self, queue: Any, stream: Any) -> list[Any]:
        """What has come of this assignment, without a turn of the loop for each as Faust has it."""
        ready: list[Any] = []
        while len(ready) < BATCH_MAX - 1 and not queue.empty():
            event = queue.get_nowait()
            message = event.message
            if message.generation_id == self.app.consumer_generation_id:
                self.app.consumer.track_message(message)
                self.app.sensors.on_stream_event_in(message.tp, message.offset, stream, event)
                ready.append(event)
        return ready

    async def _revoked(self, _app: Any, revoked: Any, **_more: Any) -> None:
        """The signals may be another's for a while, and the table with them; once the batch has ended."""
        del revoked
        async with self._working:
            self._restored = False

    def _merger(self) -> Merger:
        made = Merger(self.config, self._table.data)
        made.rank = self.desk.ranking.bits
        return made

    def _restore(self) -> None:
        """Know again what the table holds."""
        self.merger = self._merger()
        held = dict(self._table.items())
        if spent := held.pop(BUDGET_KEY.encode(), None):
            self.merger.budget.spent = msgspec.json.decode(spent, type=type(self.merger.budget.spent))
        if saved := held.pop(DESK_KEY.encode(), None):
            self.desk.saved = msgspec.json.decode(saved, type=type(self.desk.saved), strict=False)
        if reported := held.pop(REPORTED_KEY.encode(), None):
            self.reported = msgspec.json.decode(reported, type=Reported)
        self.merger.put(self._readable(held))
        self._restored = True

    def _readable(self, held: Mapping[bytes, bytes]) -> Iterator[Group]:
        """The incidents of the table; one that cannot be read is told of, and must not keep the others from being."""
        for key, value in held.items():
            try:
                yield unpack(value)
            except BadGroup as why:
                log.warning("incident %.80r cannot be read back and is forgotten: %s", key, why)

    async def _work(self, batch: Sequence[Any]) -> None:
        """Take signals in, and return when all that comes of them has been written."""
        if not self._restored:
            self._restore()
        began = time.monotonic()
        taken = [self._take(event.value, event.message.offset) for event in batch]
        messages = [message for message in taken if message is not None]
        await self._write(messages)
        await self._write(self._changes())
        self.signals += len(batch)
        for message in messages:
            if message.alert is None:
                self.dead_letters["bad_signal"] += 1
                self.signals -= 1
            else:
                self._count(message.alert, message.crossed)
        self.app.monitor.durations["event"].add(time.monotonic() - began)

    def _take(self, message: bytes, offset: int) -> Message | None:
        """Take one signal in; what is to be written of it, if anything."""
        try:
            given = signals.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as why:
            return self._dead_letter(message, offset, str(why))
        if self.selftest.takes(given):
            return None
        if len(self.desk.entries) < len(self.said.chain.entries):
            self.desk.take(self.said.chain.entries)
        self.desk.tick(given.told)
        self._report(given.told)
        _, told = self.merger.take(given)
        return self._told(told) if told is not None else None

    async def _write(self, messages: Sequence[Message]) -> None:
        """Write them, in their order, and again until all of them have been."""
        producer, began = self.app.producer, time.monotonic()
        while True:
            try:
                sent = [await producer.send(each.topic, each.key, each.value, None, None, None) for each in messages]
                await asyncio.gather(*sent)
            except (KafkaError, OSError, ProducerSendError) as why:
                log.warning("what %d messages say was not written: %s; trying again", len(messages), why)
                await asyncio.sleep(RETRY_S)
            else:
                self.app.monitor.messages_sent_by_topic.update(each.topic for each in messages)
                self.app.monitor.durations["send"].add(time.monotonic() - began)
                return

    def _changes(self) -> list[Message]:
        """What of the table is to be written, each once, the budget last: who looks for it reads from the end."""
        changed: dict[bytes, bytes | None] = {}
        for key, value in self.merger.changes().items():
            if value is not None and len(value) > MESSAGE_BYTES_MAX:
                log.warning(
                    "incident %s takes %d bytes, and %d can be written: if this process ends, what was told of it "
                    "last may be told again", key.decode(), len(value), MESSAGE_BYTES_MAX,
                )  # fmt: skip
            else:
                changed[key] = value
        for name, kept in (
            (DESK_KEY, self.desk.saved), (REPORTED_KEY, self.reported), (BUDGET_KEY, self.merger.budget.spent),
        ):  # fmt: skip
            key, value = name.encode(), msgspec.json.encode(kept)
            if value != self._table.data.get(key):
                changed[key] = self._table.data[key] = value
        return [Message(self._table.changelog_topic_name, key, value) for key, value in changed.items()]

    def _report(self, now_ms: int) -> None:
        """Say once a day what of the day before was kept from being told."""
        self.reported, text = due(self.merger.budget.spent, self.reported, now_ms)
        if text:
            log.warning("%s; `tripline alerts held --config FILE` lists the strongest", text)

    def _told(self, told: Signal) -> Message | None:
        """The alert, unless it is muted."""
        scored = alert_of(self._veil(told), self._detectors, self.config.runbook_url)
        alert, first = self.desk.decide(scored, told.told)
        if first:
            self.merger.budget.refund((told.kind, told.value))
        if alert is None:
            return None
        return Message(self.config.kafka.alerts, alert.id.encode(), encode(alert).rstrip(), alert, told.crossed)

    def _count(self, alert: Alert, crossed: int) -> None:
        self.alerts[alert.status, alert.severity] += 1
        if alert.status == "open":
            self.detected.update((d, alert.severity) for d in alert.detectors if d in self._detectors)
            self.delays.add(time.time() - crossed / 1000)
        self._on_alert(alert)

    def _dead_letter(self, message: bytes, offset: int, detail: str) -> Message:
        topic = self.config.kafka
        made = letter(topic.dead_letters, f"kafka:{topic.signals}/0", offset, "bad_signal", detail, message)
        return Message(made.topic, made.key, made.value)

    def _served(self) -> Callable[[], None]:
        return metrics.serve_worker(
            respond_registry(self), self.config.worker, {"/livez": lambda: "", "/readyz": self._ready},
            self.config.respond.metrics_port, "respond.metrics_port",
        )  # fmt: skip

    def _ready(self) -> str:
        ready = self.app.started and self._recovery.completed.is_set()
        return "" if ready else "starting: the incidents are being read back"


def words(config: Config, detector_id: str) -> Detector:
    """A detector for its words and techniques; it scores nothing here."""
    made: Detector = catalog.make(
        detector_id, offset_bits=0.0, join_grace_s=config.join_grace_s, session_lifetime_h=config.session_lifetime_h
    )
    return made
