"""The log of a cluster: the alerts' topic, read by a consumer group for each subscriber.

Of several processes one has the topic's partition in each group, and when it ends another goes on from what was
committed. The topic is compacted: who was away for long is told the latest revision of each alert.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from stream import kafka
from stream.alerts import Alert
from stream.config import Config, Kafka
from stream.delivery.courier import Courier
from stream.subscribers import make

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

log = logging.getLogger("tripline")
_decoder = msgspec.json.Decoder(Alert)
FOREVER_MS = 2**31 - 1  # a subscriber may be down for long: that is no reason to leave the group


class TopicLog:
    """One subscriber's place in the alerts' topic. `begin` before anything else."""

    def __init__(self, settings: Kafka, name: str) -> None:
        self._settings = settings
        self._group = f"{settings.group}-deliver-{name}"
        self._partition = TopicPartition(settings.alerts, 0)
        self._consumer: AIOKafkaConsumer | None = None
        self._next = 0  # offset that is due
        self.unreadable = 0

    async def begin(self) -> None:
        """Of a new subscriber, keep that it begins with what comes from now on; KafkaError where no broker answers."""
        reader = kafka.consumer(self._settings, self._group)
        await reader.start()
        try:
            reader.assign([self._partition])
            at = await reader.committed(self._partition)
            if at is None:
                ends = await reader.end_offsets([self._partition])
                await reader.commit(ends)
                at = ends[self._partition]
            self._next = at
        finally:
            await reader.stop()
        self._consumer = kafka.consumer(
            self._settings, self._group, self._settings.instance_id, auto_offset_reset="earliest",
            max_poll_interval_ms=FOREVER_MS,
        )  # fmt: skip
        self._consumer.subscribe([self._partition.topic])
        await self._consumer.start()

    @property
    def waiting(self) -> int:
        """Records of the topic that have not been dealt with; 0 where another process has the partition."""
        consumer = self._consumer
        if consumer is None or self._partition not in consumer.assignment():
            return 0
        return max((consumer.highwater(self._partition) or 0) - self._next, 0)

    async def next(self) -> tuple[int, Alert] | None:
        """The next alert, whenever there is one."""
        assert self._consumer is not None  # noqa: S101 - `begin` came first
        while True:
            record = await self._consumer.getone()
            self._next = record.offset
            try:
                return record.offset, _decoder.decode(record.value or b"")
            except (msgspec.DecodeError, UnicodeDecodeError):
                self.unreadable += record.value is not None

    async def done(self, place: int) -> None:
        """Commit; what cannot be committed is told again, and later commits cover it."""
        assert self._consumer is not None  # noqa: S101 - as above
        self._next = place + 1
        try:
            await self._consumer.commit({self._partition: place + 1})
        except KafkaError as why:
            log.warning("%s: %s at a commit; what was delivered may be told again", self._group, type(why).__name__)

    async def close(self) -> None:
        """Leave the group."""
        if self._consumer is not None:
            await self._consumer.stop()


class Deliveries:
    """The subscribers of a configuration, each a task over its own group. UsageError for settings of no use."""

    def __init__(self, config: Config) -> None:
        self._logs = [TopicLog(config.kafka, settings.name) for settings in config.subscribers]
        self.couriers: Sequence[Courier] = [
            Courier(settings, make(settings, config), log_)
            for settings, log_ in zip(config.subscribers, self._logs, strict=True)
        ]
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take every subscriber's place in the log, then work. Before the first alert is written, or it is missed."""
        for log_ in self._logs:
            await log_.begin()
        self._tasks = [asyncio.create_task(courier.run(), name=courier.name) for courier in self.couriers]

    async def failed(self) -> None:
        """Return when a courier has ended, which none does by itself; for ever where there is none."""
        if not self._tasks:
            await asyncio.Event().wait()
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def stop(self) -> None:
        """Stop at once: what was not accepted is told by whoever goes on. Raises what a courier has ended with."""
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        for log_ in self._logs:
            await log_.close()
        for error in ended:
            if isinstance(error, Exception):
                raise error
