"""A consumer group's share of a worker: its consumer, and a lane for each partition that it has been assigned.

Each lane works on a batch of its own, and gets the next when it is done with it: one that commits, keeps a snapshot or
recovers holds up no other. On revocation the lanes stop after the batch they are in; on assignment they are opened,
which fences their former owner. State of a partition that went away is kept in memory until somebody else has it, so a
rebalance that changes nothing costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from stream import kafka
from stream.config import Config
from stream.detect import Detect
from stream.durations import BATCH_S, Durations
from stream.errors import TriplineError
from stream.fetch import consumer_of, gather
from stream.ingest import Ingest
from stream.transact import FAILURES, REFUSALS, RETRY_S, Fenced, Lane, NotNow, Stage, quietly, refused, retried

log = logging.getLogger("tripline")

POLL_MS: Final = 100
RECORDS_MAX: Final = 60_000  # a transaction and a block for each partition cost the same for few records as for many
AHEAD_MS: Final = 600_000
# How long the brokers let records come together. Whatever a batch holds, it costs about a millisecond for each lane and
# each partition that it writes to: so that is one share of a core for few and for many, and the few are told sooner.
GATHER_MS: Final = 4  # for each
GATHER_LEAST_MS, GATHER_MOST_MS = 20, 500
WAIT_S: Final = 1.0  # until records that could not be taken in are tried again


class Group(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """One consumer and its lanes."""

    def __init__(
        self, name: str, config: Config, topics: Iterable[str], pattern: str,
        make_stage: Callable[[TopicPartition], Stage], stopping: asyncio.Event,
    ) -> None:  # fmt: skip
        self.name = name
        self.lanes: dict[TopicPartition, Lane] = {}
        self.rebalances = 0
        self.opening = False
        self.recoveries = 0
        self.batches = Durations(BATCH_S)
        self._taken = 0
        self._config = config
        self._topics, self._pattern = list(topics), pattern
        self._make_stage = make_stage
        self._stages: dict[TopicPartition, Stage] = {}
        self._stopping = stopping
        self._working: dict[TopicPartition, asyncio.Task[None]] = {}  # lanes with a batch: they do not go away under it
        self._busy = asyncio.Lock()  # held while lanes come and go, and while they are given batches
        self._left = False
        self._generation = 0  # of the assignment: records that were fetched under another are not taken in
        self._changed = asyncio.Event()
        self._failed: BaseException | None = None
        self._until: dict[TopicPartition, float] = {}  # monotonic, of partitions that wait for something else
        self.waiting_for = ""
        self.consumer: AIOKafkaConsumer = kafka.consumer(
            config.kafka, f"{config.kafka.group}-{name}", config.kafka.instance_id, consumer_of()
        )

    @property
    def taken(self) -> int:
        """Records taken in."""
        return self._taken + sum(lane.taken for lane in list(self.lanes.values()))

    @property
    def waiting(self) -> int:
        """Partitions whose records could not be taken in yet."""
        return len(self._until)

    def _gather_ms(self, lanes: int) -> int:
        wide = max(lanes, self._config.kafka.partitions) if self.name == "ingest" else lanes
        return min(max(GATHER_MS * wide, GATHER_LEAST_MS), GATHER_MOST_MS)

    def lag(self, lane: Lane) -> int:
        """Records that are there and not taken in, as far as the last fetch tells."""
        try:
            highwater = self.consumer.highwater(lane.partition)
        except (KeyError, AssertionError, ValueError):  # between two assignments
            return 0
        return max((highwater or 0) - max(lane.position, lane.reached), 0)

    async def run(self) -> None:
        """Read until asked to stop; raises TriplineError for what a person has to see to."""
        await self.consumer.start()
        try:
            if self._pattern:
                self.consumer.subscribe(pattern=self._pattern, listener=self)
            else:
                self.consumer.subscribe(self._topics, listener=self)
            while not self._stopping.is_set():
                generation = self._generation
                self._try_again()
                batches = await self._fetched()
                async with self._busy:
                    if generation == self._generation:  # else the lanes are others, and were sought anew
                        await self._hand_out(batches)
        finally:
            await self._leave()

    async def _fetched(self) -> dict[TopicPartition, Sequence[Any]]:
        """The next records of lanes without a batch; none when it is time to stop, or when there is another such lane.

        Without partitions aiokafka waits for ever.
        """
        if self._failed is not None:
            raise self._failed
        idle = [tp for tp in self.lanes if tp not in self._working]
        waits: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(event.wait()) for event in (self._stopping, self._changed)
        ]
        fetch: asyncio.Future[Any] | None = None
        if idle or not self.lanes:
            fetch = asyncio.ensure_future(self.consumer.getmany(*idle, timeout_ms=POLL_MS, max_records=RECORDS_MAX))
            waits.append(fetch)
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            self._changed.clear()
            return await fetch if fetch is not None and fetch.done() else {}
        except NoOffsetForPartitionError:  # of a group that never committed, before its lane is opened and sought
            return {}
        except OffsetOutOfRangeError as why:
            raise TriplineError(
                f"group {self.name}: offsets {why.args[0]} are no longer in the log: retention has overtaken them; "
                "nothing is skipped by itself. Reset the group's offsets to go on with what is left"
            ) from why
        except REFUSALS as why:
            raise refused(self.name, why) from why
        except KafkaError as why:
            if not why.retriable:
                raise
            log.warning("%s: %s; trying again", self.name, type(why).__name__)
            await asyncio.sleep(RETRY_S[0])
            return {}
        finally:
            for each in waits:
                each.cancel()

    async def _hand_out(self, batches: Mapping[TopicPartition, Sequence[Any]]) -> None:
        """Let each lane begin with its batch, or with none where it has to commit, and see how far the others read."""
        for tp, batch in batches.items():
            if (lane := self.lanes.get(tp)) is not None:
                self._working[tp] = asyncio.create_task(self._work(lane, batch))
        for tp, lane in list(self.lanes.items()):
            if tp in self._working:
                continue
            if lane.overdue:
                self._working[tp] = asyncio.create_task(self._work(lane, ()))
            else:
                await self._reached(lane)
        self._keep_pace()  # also where nobody took anything in: behind may have been the end of a transaction alone

    async def _work(self, lane: Lane, batch: Sequence[Any]) -> None:
        began = time.monotonic()
        try:
            await self._take(lane, batch)
            if len(batch):
                self.batches.add(time.monotonic() - began)
            self._keep_pace()
            await self._reached(lane)
        except Exception as why:  # noqa: BLE001 - nobody waits for this task; `_fetched` raises it
            self._failed = why
        finally:
            del self._working[lane.partition]
            self._changed.set()

    async def _done(self) -> None:
        """Wait until no lane works on anything; none begins meanwhile, for who waits is `_busy`."""
        while self._working:
            await asyncio.wait(self._working.values())

    async def _reached(self, lane: Lane) -> None:
        """See how far the lane has read, for not all that has an offset is a record; at the end, let its stage know."""
        with suppress(*FAILURES):  # of a partition that has just gone
            lane.reached = await self.consumer.position(lane.partition)
            if lane.partition not in self._until and self.lag(lane) == 0:
                await self._guarded(lane, lane.settle())

    def _keep_pace(self) -> None:
        """Let input partitions that are ahead in time wait for those that are behind and have more to read."""
        stages = {tp: lane.stage for tp, lane in self.lanes.items() if isinstance(lane.stage, Ingest)}
        behind = [s.watermark_ms for tp, s in stages.items() if self.lag(self.lanes[tp]) and s.watermark_ms]
        least = min(behind, default=0)
        ahead = {tp for tp, s in stages.items() if behind and s.watermark_ms > least + AHEAD_MS}
        paused = self.consumer.paused() & set(stages) - set(self._until)
        with suppress(*FAILURES):  # of partitions that have just gone
            self.consumer.pause(*(ahead - paused))
            self.consumer.resume(*(paused - ahead))

    async def _take(self, lane: Lane, records: Sequence[Any]) -> None:
        await self._guarded(lane, lane.take(records))
        if not self._until:
            self.waiting_for = ""

    async def _guarded(self, lane: Lane, work: Coroutine[Any, Any, None]) -> None:
        """Do the lane's work, and what has to be done where it fails."""
        try:
            await work
        except NotNow as why:
            self._wait(lane, str(why))
        except Fenced:
            await self._lost(lane)
        except REFUSALS as why:
            raise refused(f"{self.name} {lane.partition.topic}/{lane.partition.partition}", why) from why
        except FAILURES as why:
            self.recoveries += 1
            log.warning("%s %s: %s; recovering", self.name, lane.partition, type(why).__name__)
            if isinstance(lane.stage, Detect):
                lane.stage.forget()
            if not await retried(f"{self.name} {lane.partition}", lane.open, self._stopping):
                await self._lost(lane)

    def _wait(self, lane: Lane, what: str) -> None:
        """Read the same records again in a while. It is no standing still: another worker would wait as well."""
        if what != self.waiting_for:
            log.warning("%s %s: waiting: %s", self.name, lane.partition, what)
        self.waiting_for = what
        self._until[lane.partition] = time.monotonic() + WAIT_S
        lane.progress_at = time.monotonic()
        with suppress(*FAILURES, ValueError):  # of a partition that has just gone
            self.consumer.pause(lane.partition)
            self.consumer.seek(lane.partition, lane.position)

    def _try_again(self) -> None:
        """Go on with partitions that have waited long enough."""
        now = time.monotonic()
        for tp in [tp for tp, until in self._until.items() if until <= now]:
            del self._until[tp]
            with suppress(*FAILURES, ValueError):
                self.consumer.resume(tp)

    async def _lost(self, lane: Lane) -> None:
        """The partition is another worker's: keep off until it is assigned again."""
        log.warning("%s %s: fenced by another worker; waiting to be assigned again", self.name, lane.partition)
        self.lanes.pop(lane.partition, None)
        with suppress(*FAILURES, ValueError):
            self.consumer.pause(lane.partition)
        await self._drop(lane.partition)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Called before a rebalance: stop writing, keep the state."""
        async with self._busy:
            self._generation += 1
            await self._done()
            for tp in revoked:
                self._until.pop(tp, None)
            gone = [self.lanes.pop(tp) for tp in revoked if tp in self.lanes]
            self._taken += sum(lane.taken for lane in gone)
            await asyncio.gather(*(lane.close() for lane in gone))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Called after a rebalance: open what is ours, let go of what is not."""
        self.rebalances += 1
        self.opening = True
        async with self._busy:
            if self._left:
                return
            try:
                for tp in [tp for tp in self._stages if tp not in assigned]:
                    await self._drop(tp)
                gather(self.consumer, self._gather_ms(len(assigned)))
                await asyncio.gather(*(self._open(tp) for tp in sorted(assigned)))
            except Exception as why:  # noqa: BLE001 - aiokafka only logs what a listener raises; `_fetched` raises it
                self._failed = why
            else:
                self.opening = False
            self._generation += 1
            self._changed.set()

    async def _open(self, tp: TopicPartition) -> None:
        stage = self._stages.get(tp) or self._make_stage(tp)
        self._stages[tp] = stage
        lane = Lane(
            self.consumer, tp, f"{self._config.kafka.group}-{self.name}", stage,
            lambda transactional_id: kafka.producer(self._config.kafka, transactional_id),
        )  # fmt: skip
        if await retried(f"{self.name} {tp.topic}/{tp.partition}", lane.open, self._stopping):
            self.lanes[tp] = lane
            if tp in self.consumer.paused():
                self.consumer.resume(tp)

    async def _drop(self, tp: TopicPartition) -> None:
        stage = self._stages.pop(tp, None)
        if stage is not None:
            await asyncio.to_thread(stage.close)

    async def _leave(self) -> None:
        """Keep what was learned, stop writing, and leave the group; a rebalance that comes meanwhile waits for it."""
        async with self._busy:
            self._left = True
            await self._done()
            await asyncio.gather(*(lane.close() for lane in list(self.lanes.values())))
            for tp, lane in list(self.lanes.items()):
                if isinstance(lane.stage, Detect) and lane.position == lane.committed:
                    await asyncio.to_thread(lane.stage.save, lane.committed)
                del self.lanes[tp]
            for tp in list(self._stages):
                await self._drop(tp)
        await quietly(self.consumer.stop)
