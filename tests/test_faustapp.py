"""A table is read back as it was, and between that and going on with the stream Faust loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.config import Config
from stream.faustapp import app_of

STREAM = TP("signals", 0)
CHANGELOG = TP("incidents-changelog", 0)


class Thread:
    """What stands for the thread of aiokafka: fetches that end when they are told to, and seeks."""

    def __init__(self, committed: Mapping[TP, int | None]) -> None:
        self.done: list[str] = []
        self.fetched = asyncio.Event()
        self.records: dict[TP, list[Any]] = {}
        self._committed = committed

    async def getmany(self, _partitions: Any, _timeout: float) -> dict[TP, list[Any]]:
        await self.fetched.wait()
        self.done.append("fetched")
        return self.records

    def highwater(self, _tp: TP) -> int:
        return 0

    async def seek_to_committed(self) -> Mapping[TP, int | None]:
        self.done.append("back to what was committed")
        return self._committed

    async def earliest_offsets(self, *partitions: TP) -> dict[TP, int]:
        return dict.fromkeys(partitions, 3)

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        self.done.append(f"to {partitions}")


def with_consumer(
    promise: Callable[[Any, Thread], Coroutine[Any, Any, None]], committed: Mapping[TP, int | None] | None = None
) -> None:
    """Hold the promise against the consumer of an application, with the table's changelog, that no broker answers."""

    async def held() -> None:
        app = app_of(Config())
        app.tables._changelogs[CHANGELOG.topic] = object()
        thread = Thread(committed or {})
        app.consumer._thread.thread_loop.close()
        app.consumer._thread = thread
        await promise(app.consumer, thread)

    asyncio.run(held())


def test_the_way_back_waits_for_the_fetch_under_way() -> None:
    """Else that would go on from where it was, and its records would count as read."""

    async def promise(consumer: Any, thread: Thread) -> None:
        fetch = asyncio.create_task(consumer._getmany({STREAM}, 1.0))
        back = asyncio.create_task(consumer.perform_seek())
        for _ in range(10):
            await asyncio.sleep(0)
        assert thread.done == []
        thread.fetched.set()
        await asyncio.gather(fetch, back)
        assert thread.done == ["fetched", "back to what was committed"]

    with_consumer(promise)


def test_nothing_of_the_stream_is_fetched_until_the_records_flow() -> None:
    async def promise(consumer: Any, _thread: Thread) -> None:
        active = consumer._get_active_partitions()
        consumer.resume_partitions({CHANGELOG, STREAM})
        assert active == {CHANGELOG}
        consumer.resume_flow()
        assert active == {CHANGELOG, STREAM}

    with_consumer(promise)


def test_what_was_taken_away_meanwhile_is_not_fetched_when_the_records_flow() -> None:
    async def promise(consumer: Any, _thread: Thread) -> None:
        consumer.resume_partitions({STREAM})
        consumer.on_buffer_full(STREAM)
        consumer.pause_partitions({STREAM})
        consumer.resume_flow()
        assert not consumer._get_active_partitions() | consumer._buffered_partitions

    with_consumer(promise)


def test_where_nothing_was_committed_the_way_back_is_to_the_first_record() -> None:
    """aiokafka stays where it is. A changelog has its own way back."""

    async def promise(consumer: Any, thread: Thread) -> None:
        await consumer.perform_seek()
        assert thread.done == ["back to what was committed", f"to { {STREAM: 3} }"]

    with_consumer(promise, {STREAM: None, CHANGELOG: None, TP("signals", 1): 7})


def test_what_can_be_handed_on_at_once_is_and_what_cannot_is_waited_for() -> None:
    """And given up when the flow ends first: the message comes again."""

    async def promise(consumer: Any, _thread: Thread) -> None:
        room, over = asyncio.Event(), asyncio.Event()
        handed: list[str] = []

        async def hand_on(name: str, room: asyncio.Event | None = None) -> None:
            try:
                if room is not None:
                    await room.wait()
                    await asyncio.sleep(0)
                handed.append(name)
            except asyncio.CancelledError:
                handed.append(f"not {name}")
                raise

        await consumer.wait_first(hand_on("a"), over.wait())
        assert handed == ["a"]
        waiting = asyncio.create_task(consumer.wait_first(hand_on("b", room), over.wait()))
        await asyncio.sleep(0)
        assert handed == ["a"]
        room.set()
        await waiting
        assert handed == ["a", "b"]
        waiting = asyncio.create_task(consumer.wait_first(hand_on("c", asyncio.Event()), over.wait()))
        await asyncio.sleep(0)
        over.set()
        await waiting
        await asyncio.sleep(0)
        assert handed == ["a", "b", "not c"]

    with_consumer(promise)


class Record(NamedTuple):
    """As aiokafka has it."""

    topic: str
    offset: int
    key: bytes
    value: bytes | None
    partition: int = 0
    timestamp: int = 0
    timestamp_type: int = 0
    headers: tuple[()] = ()
    checksum: None = None
    serialized_key_size: int = 0
    serialized_value_size: int = 0


VALUES = st.none() | st.binary(min_size=1, max_size=2)
CHANGES = st.tuples(st.integers(1, 3), st.sampled_from([b"a", b"b", b"c"]), VALUES)


@settings(max_examples=50)
@given(changes=st.lists(CHANGES, min_size=1, max_size=20), seen=st.integers(-1, 10), cut=st.integers(0, 20))
def test_a_table_takes_its_changelog_in_order_and_once(
    changes: list[tuple[int, bytes, bytes | None]], seen: int, cut: int
) -> None:
    """None is for what is no more. Only the last record, which Faust waits for, and what is no changelog go on."""
    offsets = list(accumulate(step for step, _, _ in changes))  # a compacted topic leaves some out
    read = [Record(CHANGELOG.topic, at, key, value) for at, (_, key, value) in zip(offsets, changes, strict=True)]
    naive = {record.key: record.value for record in read[:-1] if record.offset > seen}

    async def promise(consumer: Any, thread: Thread) -> None:
        app = consumer.app
        table = app.Table("incidents", partitions=1, key_type=bytes, value_type=bytes)
        recovery = app.tables.recovery
        recovery.in_recovery = True
        recovery.active_tps.add(CHANGELOG)
        recovery.tp_to_table[CHANGELOG] = table
        recovery.active_offsets[CHANGELOG], recovery.active_highwaters[CHANGELOG] = seen, offsets[-1]
        consumer._get_active_partitions().update({CHANGELOG, STREAM})
        thread.fetched.set()
        handed: list[tuple[str, int]] = []
        for chunk in (read[:cut], read[cut:], read[:-1]):  # the last: what it went back to
            thread.records = {CHANGELOG: chunk, STREAM: [Record(STREAM.topic, 7, b"", b"")]}
            async for tp, message in consumer.getmany(1.0):
                assert tp == (message.topic, message.partition)
                handed.append((message.topic, message.offset))
        assert sorted(handed) == sorted([(CHANGELOG.topic, offsets[-1]), *[(STREAM.topic, 7)] * 3])
        assert dict(table.data.items()) == {key: value for key, value in naive.items() if value is not None}
        assert recovery.active_offsets[CHANGELOG] == max([seen, *offsets[:-1]])

    with_consumer(promise)
