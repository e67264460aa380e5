"""A worker leaves in the middle of a rebalance as at any other time, and knows when it has read all there is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import TopicPartition

from stream import wire
from stream.config import Config, Kafka
from stream.errors import TriplineError
from stream.group import AHEAD_MS, RECORDS_MAX, Group
from stream.ingest import Ingest
from stream.transact import OWED_S
from stream.transact import Lane as RealLane
from tests.broker import PARTITION, Broker, Producer, Record
from tests.kafka.deployment import Counts
from tests.test_transact import Clock, Disk, Totals

Batches = dict[TopicPartition, list[Record]]
PARTITIONS = [TopicPartition("access", n) for n in range(2)]


class Lane:
    """As much of a lane as leaving looks at; while one is closed, all partitions are taken away."""

    stage, position, committed, taken, overdue = None, 0, 0, 0, False

    def __init__(self, group: Group, rebalances: list[asyncio.Task[None]]) -> None:
        self._group, self._rebalances = group, rebalances
        self.closed = 0

    async def close(self) -> None:
        self.closed += 1
        self._rebalances.append(asyncio.create_task(self._group.on_partitions_revoked(set(PARTITIONS))))
        self._rebalances.append(asyncio.create_task(self._group.on_partitions_assigned(set(PARTITIONS))))
        for _ in range(5):
            await asyncio.sleep(0)


def test_a_rebalance_while_it_leaves_is_no_error_and_opens_nothing() -> None:
    def stage(_partition: TopicPartition) -> Any:
        pytest.fail("opened by who has left")

    async def work() -> None:
        config = Config(kafka=Kafka(topics=("access",)))
        group = Group("ingest", config, ["access"], "", stage, asyncio.Event())
        rebalances: list[asyncio.Task[None]] = []
        lanes = {tp: Lane(group, rebalances) for tp in PARTITIONS}
        group.lanes = dict(lanes)
        await group._leave()
        await asyncio.gather(*rebalances)
        assert group._failed is None
        assert [lane.closed for lane in lanes.values()] == [1, 1]

    asyncio.run(work())


async def given(group: Group, batches: Batches) -> None:
    """Hand out the batches, and wait until they are worked on."""
    await group._hand_out(batches)
    await group._done()


class Consumer:
    """A partition with one record, behind which a transaction ends: an offset that is no record."""

    def __init__(self, given: Record) -> None:
        self.given = given
        self.at = 0

    async def committed(self, _partition: TopicPartition) -> None:
        return None

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 2)

    def highwater(self, _partition: TopicPartition) -> int:
        return 2

    def seek(self, _partition: TopicPartition, offset: int) -> None:
        self.at = offset

    async def position(self, _partition: TopicPartition) -> int:
        return self.at

    def paused(self) -> set[TopicPartition]:
        return set()

    def pause(self, *_partitions: TopicPartition) -> None:
        pass

    resume = pause


def test_where_a_transaction_ends_behind_the_last_record_nothing_is_waited_for() -> None:
    """It is no lag, so the worker does not end itself for standing still; and the other partitions hear that there is
    nothing more to come, so none is held back for ever."""
    written = b'{"time": 1735689600000, "account": "ann", "action": "read", "resource": "r"}'

    async def work() -> None:
        config = Config(format="native", kafka=Kafka(topics=("access",), partitions=2))
        group = Group("ingest", config, ["access"], "", lambda _tp: pytest.fail("no partition is new"), asyncio.Event())
        broker = Broker([], random.Random(1))
        consumer = Consumer(Record(0, written))
        lane = RealLane(consumer, PARTITION, "g", Ingest(config, "access", 0, Counts()), lambda _id: Producer(broker))
        await group.consumer.stop()  # never started
        group.consumer, group.lanes = consumer, {PARTITION: lane}
        await lane.open()
        await given(group, {})
        assert group.lag(lane) == 2
        consumer.at = 1
        await given(group, {PARTITION: [consumer.given]})
        assert group.lag(lane) == 1
        consumer.at = 2
        await given(group, {})
        await given(group, {})
        assert group.lag(lane) == 0
        told: list[list[tuple[int, bool]]] = [[], []]
        for message in broker.written:
            assert message.partition is not None
            sent = wire.decode(message.value)
            told[message.partition].append((len(sent.block), sent.more))
        assert sorted(told) == [[(0, True), (0, True), (0, False)], [(0, True), (1, True), (0, False)]]

    asyncio.run(work())


class Paced(Consumer):
    """Two partitions, of which those that are paused are remembered; `ends` is how far each goes."""

    def __init__(self) -> None:
        super().__init__(Record(0, b"1"))
        self.halted: set[TopicPartition] = set()
        self.ends = dict.fromkeys(PARTITIONS, 1)

    async def position(self, _partition: TopicPartition) -> int:
        return self.at

    def highwater(self, partition: TopicPartition) -> int:
        return self.ends[partition]

    def paused(self) -> set[TopicPartition]:
        return set(self.halted)

    def pause(self, *partitions: TopicPartition) -> None:
        self.halted |= set(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self.halted -= set(partitions)


def test_who_waits_for_the_end_of_a_transaction_does_not_wait_for_ever() -> None:
    """One partition is hours ahead of another, of which nothing is left but an offset that is no record."""

    async def work() -> None:
        config = Config(format="native", kafka=Kafka(topics=("access",)))
        group = Group("ingest", config, ["access"], "", lambda _tp: pytest.fail("no partition is new"), asyncio.Event())
        broker, consumer = Broker([], random.Random(1)), Paced()
        await group.consumer.stop()  # never started
        stages = [Ingest(config, "access", tp.partition, Counts()) for tp in PARTITIONS]
        stages[0].watermark_ms, stages[1].watermark_ms = 10 * AHEAD_MS, AHEAD_MS
        group.lanes = {
            tp: RealLane(consumer, tp, "g", stage, lambda _id: Producer(broker))
            for tp, stage in zip(PARTITIONS, stages, strict=True)
        }
        group.consumer = consumer
        await given(group, {})
        assert consumer.halted == {PARTITIONS[0]}
        consumer.at = 1  # the broker says that there was no record
        await given(group, {})
        assert consumer.halted == set()

    asyncio.run(work())


def test_an_offset_that_is_owed_is_committed_though_nothing_more_comes() -> None:
    async def work() -> None:
        group = Group("detect", Config(), ["observations"], "", lambda _tp: pytest.fail("none is new"), asyncio.Event())
        record, broker, clock = Record(0, b"1"), Broker([], random.Random(1)), Clock()
        consumer = Consumer(record)
        lane = RealLane(consumer, PARTITION, "g", Totals(Disk(), 5), lambda _id: Producer(broker), clock)
        await group.consumer.stop()  # never started
        group.consumer, group.lanes = consumer, {PARTITION: lane}
        await lane.open()
        await given(group, {PARTITION: [record]})
        await given(group, {})
        assert (lane.position, broker.committed) == (1, None)
        clock.now += OWED_S
        await given(group, {})
        assert broker.committed == 1
        assert group.batches.cumulative()[-1] == ("+Inf", 1)

    asyncio.run(work())


@pytest.mark.parametrize(("name", "expected"), [("detect", [20, 32, 96, 500, 32]), ("ingest", [64, 64, 96, 500, 64])])
def test_the_fewer_partitions_the_sooner_they_are_told_of(
    name: str, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within limits: a batch costs the same for few records as for many, for each partition that is read or written."""

    async def opened(_lane: RealLane) -> None:
        pass

    async def work() -> None:
        config = Config(kafka=Kafka(partitions=16))
        group = Group(name, config, ["access"], "", lambda _tp: Totals(Disk(), 5), asyncio.Event())
        await group.consumer.stop()  # never started
        waits: list[int] = []
        monkeypatch.setattr(RealLane, "open", opened)
        monkeypatch.setattr("stream.group.gather", lambda _consumer, ms: waits.append(ms))
        for count in (1, 8, 24, 500, 8):
            await group.on_partitions_assigned({TopicPartition("access", n) for n in range(count)})
        assert group._failed is None
        assert waits == expected

    asyncio.run(work())


class Flood(Consumer):
    """A topic that always has more, as fast as one asks for it."""

    handed = peak = 0

    async def start(self) -> None:
        pass

    def subscribe(self, _topics: list[str], listener: Group) -> None:
        pass

    async def getmany(self, *_of: TopicPartition, timeout_ms: int, max_records: int) -> Batches:
        self.handed += max_records
        self.peak = max(self.peak, self.handed)
        return {PARTITION: [self.given] * max_records}

    async def stop(self) -> None:
        pass


class Slow(Lane):
    """Takes its time."""

    partition, reached, batches, overdue = PARTITION, 0, 0, False

    def __init__(self, flood: Flood, stopping: asyncio.Event) -> None:
        self._flood, self._stopping = flood, stopping

    async def take(self, records: list[Record]) -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        self._flood.handed -= len(records)
        self.batches += 1
        if self.batches == 10:
            self._stopping.set()

    async def settle(self) -> None:
        pass

    async def close(self) -> None:
        pass


def test_however_much_comes_one_batch_is_held_and_the_rest_waits_at_the_broker() -> None:
    async def work() -> None:
        flood, stopping = Flood(Record(0, b"{}")), asyncio.Event()
        group = Group("ingest", Config(kafka=Kafka(topics=("access",))), ["access"], "", lambda _tp: None, stopping)  # type: ignore[arg-type,return-value]
        await group.consumer.stop()  # never started
        group.consumer = flood
        slow = Slow(flood, stopping)
        group.lanes = {PARTITION: slow}  # type: ignore[dict-item]
        await asyncio.wait_for(group.run(), 60)
        assert slow.batches == 10
        assert 0 < flood.peak <= RECORDS_MAX

    asyncio.run(work())


class Feed(Flood):
    """Two partitions with as much as one asks of them; where nothing is asked for, none answers."""

    async def getmany(self, *of: TopicPartition, timeout_ms: int, max_records: int) -> Batches:
        await asyncio.sleep(0)
        return {tp: [self.given] for tp in of[:max_records]}


class Counting:
    """A lane that counts its batches, and works as long as it is told to."""

    stage, position, reached, committed, taken, overdue = None, 0, 0, 0, 0, False

    def __init__(self, partition: TopicPartition, goes_on: asyncio.Event) -> None:
        self.partition, self._goes_on = partition, goes_on
        self.batches = 0
        self.closed = False

    async def take(self, _records: list[Record]) -> None:
        await self._goes_on.wait()
        assert not self.closed
        self.batches += 1

    async def settle(self) -> None:
        pass

    async def close(self) -> None:
        self.closed = True


async def fed(stuck: asyncio.Event, stopping: asyncio.Event) -> tuple[Group, Counting, Counting]:
    """A group of two lanes, of which one waits; both have as much to read as they want."""
    group = Group("ingest", Config(kafka=Kafka(topics=("access",))), ["access"], "", lambda _tp: None, stopping)  # type: ignore[arg-type,return-value]
    await group.consumer.stop()  # never started
    group.consumer = Feed(Record(0, b"{}"))
    free = asyncio.Event()
    free.set()
    slow, quick = Counting(PARTITIONS[0], stuck), Counting(PARTITIONS[1], free)
    group.lanes = {slow.partition: slow, quick.partition: quick}  # type: ignore[dict-item]
    return group, slow, quick


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0)


def test_a_lane_that_takes_long_holds_up_no_other() -> None:
    """It commits, keeps a snapshot, or recovers: its own partition waits, and gets one batch at a time."""

    async def work() -> None:
        stuck, stopping = asyncio.Event(), asyncio.Event()
        group, slow, quick = await fed(stuck, stopping)
        running = asyncio.create_task(group.run())
        await until(lambda: quick.batches >= 20)
        assert slow.batches == 0
        stuck.set()
        await until(lambda: slow.batches >= 5)
        stopping.set()
        await asyncio.wait_for(running, 60)
        assert slow.closed and quick.closed

    asyncio.run(work())


def test_a_partition_goes_away_behind_the_batch_that_is_at_work() -> None:
    """And no lane begins with another meanwhile."""

    async def work() -> None:
        stuck, stopping = asyncio.Event(), asyncio.Event()
        group, slow, quick = await fed(stuck, stopping)
        running = asyncio.create_task(group.run())
        await until(lambda: quick.batches >= 3)
        revoked = asyncio.create_task(group.on_partitions_revoked(set(PARTITIONS)))
        await until(lambda: group._busy.locked() and list(group._working) == [slow.partition])
        before = quick.batches
        for _ in range(50):
            await asyncio.sleep(0)
        assert (slow.closed, quick.batches) == (False, before)
        stuck.set()
        await asyncio.wait_for(revoked, 60)
        assert slow.closed and quick.closed
        assert (slow.batches, group.lanes) == (1, {})
        stopping.set()
        await asyncio.wait_for(running, 60)

    asyncio.run(work())


def test_what_a_person_has_to_see_to_ends_the_group_whichever_lane_meets_it() -> None:
    class Broken(Counting):
        async def take(self, _records: list[Record]) -> None:
            raise TriplineError("retention has overtaken it")

    async def work() -> None:
        group, slow, quick = await fed(asyncio.Event(), asyncio.Event())
        slow._goes_on.set()
        group.lanes[quick.partition] = Broken(quick.partition, slow._goes_on)  # type: ignore[assignment]
        with pytest.raises(TriplineError, match="overtaken"):
            await asyncio.wait_for(group.run(), 60)
        assert slow.closed

    asyncio.run(work())
