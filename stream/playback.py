"""A generated world played into an access topic as it would have come: a producer for a deployment to be watched with.

All times are shifted by as much as it takes for the campaign to have begun some minutes ago. What lies before now is
sent at once, as a backlog; what lies behind it is sent when its time comes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from stream import kafka, security
from stream.config import Config
from stream.errors import TriplineError
from stream.events import EventBlock
from stream.incidents.jsonl import lines_of

RUN: Final = 50  # events to one partition before the next has its turn
BESIDE: Final = 5_000  # events that are on their way at a time
STEP_MS: Final = 250  # between two looks at the clock


class Playback:
    """Plays blocks into a topic; `sent` counts the events."""

    def __init__(self, config: Config, topic: str, shift_ms: int, on_progress: Callable[[int], None]) -> None:
        self.sent = 0
        self._config = config
        self._topic = topic
        self._shift_ms = shift_ms
        self._on_progress = on_progress

    async def play(self, blocks: Iterable[EventBlock]) -> None:
        """Send everything, each event no earlier than its time; TriplineError where the broker refuses."""
        async with kafka.admin(self._config.kafka) as client:
            if self._topic not in await client.list_topics():
                raise TriplineError(f"topic {self._topic} is missing: create it, or name another with --topic")
        producer = AIOKafkaProducer(**security.connection(self._config.kafka), compression_type="lz4", linger_ms=20)
        await producer.start()
        try:
            count = len(await producer.partitions_for(self._topic))
            for block in blocks:
                await self._block(producer, count, block)
        except KafkaError as why:
            raise TriplineError(f"topic {self._topic} takes nothing: {type(why).__name__}: {why}") from why
        finally:
            await producer.stop()

    async def _block(self, producer: AIOKafkaProducer, count: int, block: EventBlock) -> None:
        block.time = block.time + self._shift_ms
        timed = zip((block.time // STEP_MS).tolist(), lines_of(block), strict=True)
        waiting = []
        for step, lines in groupby(timed, key=lambda each: each[0]):
            ahead_s = step * STEP_MS / 1000 - time.time()
            if ahead_s > 0:
                await asyncio.sleep(ahead_s)
            for _, line in lines:
                partition = self.sent // RUN % count
                waiting.append(await producer.send(self._topic, line.rstrip(), partition=partition))
                self.sent += 1
            if ahead_s > 0 or len(waiting) >= BESIDE:
                await asyncio.gather(*waiting)
                waiting.clear()
                self._on_progress(self.sent)
        await asyncio.gather(*waiting)
