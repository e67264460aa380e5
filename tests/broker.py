"""A broker in memory: one log, one group, transactions with fencing, and faults wherever a call may fail."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced

from stream.transact import Message

PARTITION = TopicPartition("log", 0)


class Record(NamedTuple):
    """What a consumer hands over, as far as lanes look at it."""

    offset: int
    value: bytes
    timestamp: int = 0


class Crash(BaseException):
    """The process is no more."""


@dataclass
class Broker:
    """What survives every process: the log, what was committed, and who may write.

    fault: chance that a call fails, before or after it had its effect; crash: that the process ends there.
    """

    log: list[Record]
    random: random.Random
    fault: float = 0.0
    crash: float = 0.0
    committed: int | None = None
    written: list[Message] = field(default_factory=list)
    epoch: int = 0

    def disturb(self) -> None:
        """Maybe fail, maybe end the process."""
        if self.random.random() < self.crash:
            raise Crash
        if self.random.random() < self.fault:
            raise KafkaError("a fault")


class Consumer:
    """The calls that a lane makes of its consumer."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.at = 0

    async def committed(self, _partition: TopicPartition) -> int | None:
        self._broker.disturb()
        return self._broker.committed

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {partition: len(self._broker.log) for partition in partitions}

    def highwater(self, _partition: TopicPartition) -> int:
        return len(self._broker.log)

    def seek(self, _partition: TopicPartition, offset: int) -> None:
        self.at = offset

    def fetch(self) -> list[Record]:
        """The next few records; sometimes some that were handed over before, as after a seek elsewhere."""
        size = self._broker.random.randint(1, 4)
        found = self._broker.log[self.at : self.at + size]
        self.at += len(found)
        return found


class Producer:
    """A transactional producer of this broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._epoch = -1
        self._pending: list[Message] = []
        self._offset: int | None = None

    async def start(self) -> None:
        self._broker.disturb()
        self._broker.epoch += 1
        self._epoch = self._broker.epoch
        self._broker.disturb()

    async def stop(self) -> None:
        self._pending.clear()

    async def begin_transaction(self) -> None:
        self._pending, self._offset = [], None

    async def send(self, topic: str, value: bytes, key: bytes | None = None, partition: int | None = None) -> Any:
        self._check()
        self._pending.append(Message(topic, value, key, partition))

        async def acknowledged() -> None:
            self._broker.disturb()

        return acknowledged()

    async def send_offsets_to_transaction(self, offsets: dict[TopicPartition, int], _group: str) -> None:
        self._check()
        self._offset = offsets[PARTITION]
        self._broker.disturb()

    async def commit_transaction(self) -> None:
        self._check()
        self._broker.disturb()
        self._broker.written += self._pending
        if self._offset is not None:
            self._broker.committed = self._offset
        self._broker.disturb()  # done, and nobody hears of it

    def _check(self) -> None:
        if self._epoch != self._broker.epoch:
            raise ProducerFenced
