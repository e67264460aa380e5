"""A lane: one input partition read, transformed and written, exactly once.

For each batch, in this order:

    1. the stage takes the records in (its state moves on) and gives the messages to write
    2. a transaction begins; the messages are sent in it
    3. the offset behind the batch is sent in the same transaction, for the group that reads
    4. the transaction is committed: messages and offset become true together, or not at all
    5. only then may the stage keep a snapshot, which names that offset

Where a batch gives nothing to write, as most do that are scored, there is nothing that its offset would have to become
true with: it is owed, and goes into the next transaction, or into one of its own after OWED_S. Whoever takes such a
batch in again writes nothing again.

Each lane has a transactional id of its own, made of the group and the partition: whoever opens the lane next fences
whoever had it before, and a fenced lane stays closed until the partition is assigned to this worker again. Whatever
fails, the remedy is the same: the producer is started anew, which ends the transaction that hangs; what was committed
is read back from the broker; the stage recovers to just there. So a commit whose outcome nobody knows is no case of
its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalOperation,
    KafkaError,
    ProducerFenced,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from stream.batch import Batch
from stream.errors import TriplineError

log = logging.getLogger("tripline")

# One thread computes for all lanes of a process: several would wait for each other at the interpreter's lock, and in
# their caches, while this one leaves the event loop free to fetch, to commit and to say that the worker lives.
COMPUTING: Final = ThreadPoolExecutor(1, "compute")

OWED_S: Final = 1.0  # the broker hears that often how far a lane is, at least
PAY_S, STOP_S = 2.0, 5.0  # what is given to the last commit of a lane, and to whatever else is to stop
COMMIT_S: Final = 30.0  # how long an answer to a commit is waited for
RETRY_S: Final = (0.1, 0.5, 2.0, 5.0)
RETRIES_MAX: Final = 60
# What aiokafka raises when a broker fails it: its own errors, the socket's, and assertions about states that it did not
# think possible. The remedy is one: a new producer, and what the broker says was committed.
FAILURES: Final = (KafkaError, OSError, AssertionError, IllegalOperation)
# What no new producer mends: a right that is missing, or was taken away.
REFUSALS: Final = (
    TopicAuthorizationFailedError, GroupAuthorizationFailedError, ClusterAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Message:
    """What a stage wants written: to a topic, and there to a partition or wherever the key falls."""

    topic: str
    value: bytes
    key: bytes | None = None
    partition: int | None = None
    reason: str = ""  # of a dead letter


class Stage(Protocol):
    """What a lane does. `take` runs in the thread that computes, the others in any, never two of a lane at a time.

    stateless: an offset is all that it needs to go on.
    """

    stateless: bool

    def recover(self, committed: int | None, beginning: int, end: int) -> int:
        """Become the state at some offset not behind `committed`, and say from which offset to read on.

        committed: None where the group never committed. beginning, end: offsets that the broker has.
        """
        ...

    def announced(self, more: bool) -> list[Message]:
        """What is to be written where nothing is taken in; more: there is something to read."""
        ...

    def take(self, records: Batch, silent: bool, more: bool) -> list[Message]:
        """Take records in; what is to be written, which nobody looks at when `silent`. more: others wait behind.

        Raises NotNow where something else has to answer first.
        """
        ...

    def committed(self, offset: int) -> None:
        """Everything before this offset is committed."""
        ...

    def close(self) -> None:
        """Let go of what is held."""
        ...


class NotNow(Exception):  # noqa: N818 - it is no error: the records wait
    """A stage cannot take these records in yet, has taken in none of them, and says what it waits for."""


class Fenced(Exception):  # noqa: N818 - it is no error: the partition is another's now
    """Another worker has opened this lane."""


class Lane:
    """One partition of one group, from assignment to revocation.

    Public for metrics: `position` (next offset to take in), `reached` (next offset to read: what lies between was no
    record, but a transaction's end, or taken back), `committed` (offset of the group), `progress_at` (monotonic seconds
    when records were taken in last), `append_ms` (append time of the newest record taken in).
    """

    def __init__(
        self, consumer: AIOKafkaConsumer, partition: TopicPartition, group: str, stage: Stage,
        make_producer: Callable[[str], AIOKafkaProducer], clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.partition = partition
        self.stage = stage
        self.position = 0
        self.reached = 0
        self.committed = 0
        self.append_ms = 0
        self.taken = 0
        self.progress_at = time.monotonic()
        self.recovery_s = 0.0
        self._consumer = consumer
        self._group = group
        self._make_producer = make_producer
        self._producer: AIOKafkaProducer | None = None
        self._clock = clock
        self._owed: int | None = None  # the offset behind batches that gave nothing to write, until it is committed
        self._committed_at = clock()

    @property
    def overdue(self) -> bool:
        """Whether an offset is owed for long enough: the next batch, an empty one too, commits it."""
        return self._owed is not None and self._clock() - self._committed_at >= OWED_S

    @property
    def transactional_id(self) -> str:
        """Of this group and partition, whoever works on it."""
        return f"{self._group}-{self.partition.topic}-{self.partition.partition}"

    async def open(self) -> None:
        """Fence whoever was here before, recover the stage, and read on from where it stands."""
        began = time.monotonic()
        self._owed = None  # the stage may be another's by now
        await self._stop_producer()
        self._producer = self._make_producer(self.transactional_id)
        await self._producer.start()  # ends any transaction of this id: what is committed now stays so
        committed = await self._consumer.committed(self.partition)
        if committed is not None and committed < self.committed:  # by this very lane: a broker that is behind
            raise KafkaError(f"{self.partition}: offset {committed} is said to be committed, and {self.committed} is")
        beginning = (await self._consumer.beginning_offsets([self.partition]))[self.partition]
        end = (await self._consumer.end_offsets([self.partition]))[self.partition]
        self.position = await asyncio.to_thread(self.stage.recover, committed, beginning, end)
        self.committed = self.position if committed is None else committed
        # Where a group begins that never committed has to hold from now on: the end is another when it is asked again.
        start = self.position if committed is None and self.stage.stateless else None
        messages = self.stage.announced(end > self.position)
        if messages or start is not None:
            await self._commit(messages, start)
        self._consumer.seek(self.partition, self.position)
        self.reached = self.position
        self.recovery_s = time.monotonic() - began
        self.progress_at = time.monotonic()

    async def take(self, records: Sequence[Any]) -> None:
        """Take a batch in, and commit it where it gives something to write or an offset is overdue; Fenced where the
        lane is another's, one of FAILURES where it must reopen, NotNow where the batch has to be read again later."""
        batch = Batch.of(records)
        fresh = batch[batch.before(self.position) :]
        replayed = fresh[: fresh.before(self.committed)]
        if replayed:
            await self._taken(replayed, True, True)
            self.position = replayed[-1].offset + 1
        live = fresh[len(replayed) :]
        messages: list[Message] = []
        if live:
            more = (self._consumer.highwater(self.partition) or 0) > live[-1].offset + 1
            messages = await self._taken(live, False, more)
            self.position = self._owed = live[-1].offset + 1
            self.append_ms = max(self.append_ms, live[-1].timestamp)
        if messages or self.overdue:
            await self._paid(messages)
        self.taken += len(fresh)
        self.progress_at = time.monotonic()

    async def settle(self) -> None:
        """There was nothing more to read: say so, where something else was said; raises what `take` raises."""
        if messages := self.stage.announced(False):
            await self._paid(messages)

    async def _paid(self, messages: Sequence[Message]) -> None:
        """Commit messages, and with them the offset that is owed.

        Where that fails it is owed no longer: the messages are not written, and only who opens the lane anew knows.
        """
        offset, self._owed = self._owed, None
        await self._commit(messages, offset)
        self._committed_at = self._clock()
        if offset is not None:
            self.committed = offset
            await asyncio.to_thread(self.stage.committed, offset)

    async def _taken(self, records: Batch, silent: bool, more: bool) -> list[Message]:
        return await asyncio.get_running_loop().run_in_executor(COMPUTING, self.stage.take, records, silent, more)

    async def _commit(self, messages: Sequence[Message], offset: int | None) -> None:
        producer = self._producer
        if producer is None:
            raise Fenced
        try:
            await asyncio.wait_for(self._transaction(producer, messages, offset), COMMIT_S)
        except ProducerFenced as why:
            await self._stop_producer()
            raise Fenced from why
        except TimeoutError as why:
            raise KafkaError(f"no answer to a transaction within {COMMIT_S:g} s") from why

    async def _transaction(self, producer: AIOKafkaProducer, messages: Sequence[Message], offset: int | None) -> None:
        await producer.begin_transaction()
        sent = [await producer.send(m.topic, m.value, key=m.key, partition=m.partition) for m in messages]
        if offset is not None:
            sent.append(producer.send_offsets_to_transaction({self.partition: offset}, self._group))
        await asyncio.gather(*sent)
        await producer.commit_transaction()

    async def close(self) -> None:
        """Commit what is owed, where that can be done, and stop writing; the stage keeps its state until it is closed
        itself."""
        offset, self._owed = self._owed, None
        if offset is not None:
            await quietly(lambda: self._told(offset), PAY_S)
        await self._stop_producer()

    async def _told(self, offset: int) -> None:
        """Commit an offset alone. The stage does not hear of it, for it might begin something that outlasts a limit."""
        await self._commit((), offset)
        self.committed = offset

    async def _stop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await quietly(producer.stop)


def refused(what: str, why: BaseException) -> TriplineError:
    """The error for one of REFUSALS."""
    return TriplineError(
        f"{what}: the brokers refuse it: {type(why).__name__}; `tripline check` names the right to grant"
    )


async def quietly(stop: Callable[[], Awaitable[None]], within_s: float = STOP_S) -> None:
    """Stop something that may be past stopping; what it says is logged."""
    try:
        await asyncio.wait_for(stop(), within_s)
    except (*FAILURES, Fenced, TimeoutError) as why:
        log.info("stopping: %s", type(why).__name__)


async def retried(what: str, act: Callable[[], Awaitable[None]], stopping: asyncio.Event) -> bool:
    """Do something that a broker may not be ready for; False where it was fenced or the worker is stopping."""
    for attempt in range(RETRIES_MAX):
        try:
            await act()
        except (Fenced, ProducerFenced):
            return False
        except REFUSALS as why:
            raise refused(what, why) from why
        except FAILURES as why:
            if stopping.is_set():
                return False
            log.warning("%s: %s; trying again", what, type(why).__name__)
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
        else:
            return True
    raise TriplineError(f"{what}: no success in {RETRIES_MAX} attempts; see that the brokers are well")
