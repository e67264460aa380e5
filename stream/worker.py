"""`tripline worker`: the data plane. Access topics are ingested, their observations are scored, each exactly once.

    access topics ─▶ ingest ─▶ observations ─▶ detect ─▶ signals          one consumer group for each of the two
                        └──────────┴─▶ dead letters                       one lane for each partition of either

A group's partitions come and go with the rebalances of its consumer. On revocation its lanes stop after the batch they
are in; on assignment they are opened, which fences their former owner. State of a partition that went away is kept in
memory until somebody else has it, so a rebalance that changes nothing costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from stream import kafka
from stream.config import Config
from stream.detect import Detect
from stream.durations import BATCH_S, Durations
from stream.errors import TriplineError, UsageError
from stream.ingest import Ingest
from stream.transact import FAILURES, RETRY_S, Fenced, Lane, Stage, quietly, retried
from stream.watch import Watch

log = logging.getLogger("tripline")

POLL_MS: Final = 100
RECORDS_MAX: Final = 20_000
AHEAD_MS: Final = 600_000
LEAVE_S: Final = 10.0


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
        self._busy = asyncio.Lock()  # held while a batch is worked on: partitions do not go away under it
        self._generation = 0  # of the assignment: records that were fetched under another are not taken in
        self._changed = asyncio.Event()
        self._failed: BaseException | None = None
        self.consumer: AIOKafkaConsumer = kafka.consumer(
            config.kafka, f"{config.kafka.group}-{name}", config.kafka.instance_id
        )

    @property
    def taken(self) -> int:
        """Records taken in."""
        return self._taken + sum(lane.taken for lane in list(self.lanes.values()))

    def lag(self, lane: Lane) -> int:
        """Records that are there and not taken in, as far as the last fetch tells."""
        try:
            highwater = self.consumer.highwater(lane.partition)
        except (KeyError, AssertionError, ValueError):  # between two assignments
            return 0
        return max((highwater or 0) - lane.position, 0)

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
                batches = await self._fetched()
                async with self._busy:
                    if generation == self._generation:  # else the lanes are others, and were sought anew
                        await self._batch(batches)
        finally:
            await self._leave()

    async def _fetched(self) -> dict[TopicPartition, list[Any]]:
        """The next records; none when it is time to stop. Without partitions aiokafka waits for ever."""
        if self._failed is not None:
            raise self._failed
        fetch = asyncio.ensure_future(self.consumer.getmany(timeout_ms=POLL_MS, max_records=RECORDS_MAX))
        waits = [asyncio.ensure_future(event.wait()) for event in (self._stopping, self._changed)]
        try:
            await asyncio.wait([fetch, *waits], return_when=asyncio.FIRST_COMPLETED)
            self._changed.clear()
            return await fetch if fetch.done() else {}
        except NoOffsetForPartitionError:  # of a group that never committed, before its lane is opened and sought
            return {}
        except OffsetOutOfRangeError as why:
            raise TriplineError(
                f"group {self.name}: offsets {why.args[0]} are no longer in the log: retention has overtaken them; "
                "nothing is skipped by itself. Reset the group's offsets to go on with what is left"
            ) from why
        except KafkaError as why:
            if not why.retriable:
                raise
            log.warning("%s: %s; trying again", self.name, type(why).__name__)
            await asyncio.sleep(RETRY_S[0])
            return {}
        finally:
            for each in (fetch, *waits):
                each.cancel()

    async def _batch(self, batches: dict[TopicPartition, list[Any]]) -> None:
        began = time.monotonic()
        await asyncio.gather(*(self._take(self.lanes[tp], batch) for tp, batch in batches.items() if tp in self.lanes))
        if batches:
            self.batches.add(time.monotonic() - began)
            self._keep_pace()

    def _keep_pace(self) -> None:
        """Let input partitions that are ahead in time wait for those that are behind and have more to read."""
        stages = {tp: lane.stage for tp, lane in self.lanes.items() if isinstance(lane.stage, Ingest)}
        behind = [s.watermark_ms for tp, s in stages.items() if self.lag(self.lanes[tp]) and s.watermark_ms]
        least = min(behind, default=0)
        ahead = {tp for tp, s in stages.items() if behind and s.watermark_ms > least + AHEAD_MS}
        paused = self.consumer.paused() & set(stages)
        with suppress(*FAILURES):  # of partitions that have just gone
            self.consumer.pause(*(ahead - paused))
            self.consumer.resume(*(paused - ahead))

    async def _take(self, lane: Lane, records: list[Any]) -> None:
        try:
            await lane.take(records)
        except Fenced:
            await self._lost(lane)
        except FAILURES as why:
            self.recoveries += 1
            log.warning("%s %s: %s; recovering", self.name, lane.partition, type(why).__name__)
            if isinstance(lane.stage, Detect):
                lane.stage.forget()
            if not await retried(f"{self.name} {lane.partition}", lane.open, self._stopping):
                await self._lost(lane)

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
            for tp in revoked:
                lane = self.lanes.pop(tp, None)
                if lane is not None:
                    self._taken += lane.taken
                    await lane.close()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Called after a rebalance: open what is ours, let go of what is not."""
        self.rebalances += 1
        self.opening = True
        async with self._busy:
            try:
                for tp in [tp for tp in self._stages if tp not in assigned]:
                    await self._drop(tp)
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
        """Keep what was learned, stop writing, and leave the group."""
        for tp, lane in list(self.lanes.items()):
            if isinstance(lane.stage, Detect) and lane.position == lane.committed:
                await asyncio.to_thread(lane.stage.save, lane.committed)
            await lane.close()
            del self.lanes[tp]
        for tp in list(self._stages):
            await self._drop(tp)
        await quietly(self.consumer.stop)


class Worker:
    """One process of the data plane. It counts what its stages do, since it started."""

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        self.config = config
        self.stopping = asyncio.Event()
        self.dead_letters: Counter[str] = Counter()
        self.alerts: Counter[tuple[str, str]] = Counter()  # revisions of signals, by status and severity
        self.ingested: Counter[str] = Counter()  # events by topic
        self.future = 0
        self.stage_s: dict[str, float] = {}  # of ingest
        self._say = say
        self.groups: list[Group] = []
        if "ingest" in config.worker.roles:
            topics, pattern = access_topics(config)
            self.groups.append(Group("ingest", config, topics, pattern, self._ingest, self.stopping))
        if "detect" in config.worker.roles:
            self.groups.append(Group("detect", config, [config.kafka.observations], "", self._detect, self.stopping))

    async def run(self) -> None:
        """Work until SIGTERM or Ctrl-C; raises TriplineError for what a person has to see to."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        watch = Watch(self)
        tasks = [asyncio.create_task(group.run()) for group in self.groups]
        tasks.append(asyncio.create_task(watch.run()))
        try:
            with watch.served():
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
        except KafkaConnectionError as why:
            raise TriplineError(kafka.unreachable(self.config.kafka, why)) from why
        except KafkaError as why:
            raise TriplineError(f"the brokers refuse: {type(why).__name__}: {why}; see `tripline check`") from why
        finally:
            self.stopping.set()
            await asyncio.wait(tasks, timeout=LEAVE_S)

    def detecting(self) -> list[Detect]:
        """The partitions of the observations that are worked on."""
        stages = [lane.stage for group in self.groups for lane in list(group.lanes.values())]
        return [stage for stage in stages if isinstance(stage, Detect)]

    def _ingest(self, tp: TopicPartition) -> Stage:
        return Ingest(self.config, tp.topic, tp.partition, self)

    def _detect(self, tp: TopicPartition) -> Stage:
        return Detect(self.config, tp.partition, self, self._say)


def access_topics(config: Config) -> tuple[list[str], str]:
    """The topics to read, by name or by pattern; UsageError where neither or both are given."""
    topics, pattern = list(config.kafka.topics), config.kafka.topics_pattern
    if bool(topics) == bool(pattern):
        raise UsageError("kafka.topics or kafka.topics_pattern: one of the two must say where access events are")
    own = set(kafka.own_topics(config.kafka))
    if mine := own & set(topics):
        raise UsageError(f"kafka.topics: {sorted(mine)[0]} is Tripline's own topic; it has no access events")
    try:
        compiled = re.compile(pattern)
    except re.error as why:
        raise UsageError(f"kafka.topics_pattern = {pattern!r}: not a regular expression: {why}") from why
    if pattern and (mine := {name for name in own if compiled.match(name)}):
        raise UsageError(f"kafka.topics_pattern = {pattern!r}: matches {sorted(mine)[0]}, Tripline's own topic")
    return topics, pattern
