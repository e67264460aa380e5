"""The feedback log of a cluster: the entries of its topic, in the order of the topic.

Who writes reads what is there, puts an entry behind it and sees whether it came to stand there: of two who write at
once the later tries again. A record that does not follow from the entries before it is no part of the log, whoever
wrote it: it is counted and left out, and those that follow from the log as it was are still heard.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from stream.analyst import topic
from stream.config import Kafka
from stream.errors import TriplineError
from stream.feedback import ENTRIES_MAX, START, Entry, encode, following, sealed
from stream.security import connection

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

log = logging.getLogger("tripline")

TRIES: Final = 10  # of who writes while others do
RETRY_S: Final = 5.0  # of who reads while the brokers do not answer


class Chain:
    """Entries as they come: those that follow from one another, and how many records are none of them."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.refused = 0
        self.why = ""  # the latest was

    def add(self, line: bytes, place: str) -> bool:
        """Take a record in; whether it is an entry of the log."""
        previous = self.entries[-1].hash if self.entries else START
        try:
            self.entries.append(following(line, len(self.entries) + 1, previous, place))
        except TriplineError as why:
            self.refused += 1
            self.why = str(why)
            return False
        return True


def load(settings: Kafka) -> list[Entry]:
    """All entries of the topic; TriplineError where no broker answers or there is no such topic."""
    chain = Chain()
    for record in topic.records(settings, settings.feedback):
        chain.add(record.value or b"", _place(record))
    return chain.entries


def append(settings: Kafka, entry: Entry) -> Entry:
    """Put an entry at the end of the topic, on every replica; the entry as it stands there. TriplineError as `load`."""
    for _ in range(TRIES):
        before = load(settings)
        if len(before) >= ENTRIES_MAX:
            raise TriplineError(f"{settings.feedback}: {ENTRIES_MAX:,} entries; name another topic, kafka.feedback")
        made = sealed(entry, before)
        asyncio.run(_send(settings, encode(made)))
        if made in load(settings):
            return made
    raise TriplineError(f"{settings.feedback}: others write all the time; nothing was written, try again")


async def _send(settings: Kafka, line: bytes) -> None:
    producer = AIOKafkaProducer(**connection(settings), acks="all", enable_idempotence=True)
    try:
        await producer.start()
        await producer.send_and_wait(settings.feedback, line, partition=0)
    except (KafkaError, OSError) as why:
        raise TriplineError(f"{settings.feedback}: not written: {type(why).__name__}: {why}") from why
    finally:
        await producer.stop()


class Follower:
    """The topic as it grows, for a process that heeds it. `begin` before anything else."""

    def __init__(self, settings: Kafka) -> None:
        self.chain = Chain()
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None

    async def begin(self) -> None:
        """Read what is there; TriplineError where there is no such topic, or it may not be read."""
        self._consumer = consumer = await topic.started(self._settings)
        try:
            for partition, end in (await topic.placed(consumer, self._settings.feedback)).items():
                while await consumer.position(partition) < end:
                    await self._read()
        except KafkaError as why:
            raise TriplineError(f"{self._settings.feedback}: cannot be read: {type(why).__name__}: {why}") from why

    async def run(self) -> None:
        """Read on, for ever."""
        while True:
            try:
                await self._read()
            except KafkaError as why:
                log.warning("%s: %s; trying again", self._settings.feedback, type(why).__name__)
                await asyncio.sleep(RETRY_S)

    async def stop(self) -> None:
        """Let go of the connection."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def _read(self) -> None:
        assert self._consumer is not None  # noqa: S101 - `begin` came first
        before = self.chain.refused
        for batch in (await self._consumer.getmany(timeout_ms=topic.POLL_MS)).values():
            for record in batch:
                self.chain.add(record.value or b"", _place(record))
        if self.chain.refused > before:
            log.warning("%s; it is left out, as %d were so far", self.chain.why, self.chain.refused)


def _place(record: Any) -> str:
    return f"{record.topic}/{record.partition} offset {record.offset}"
