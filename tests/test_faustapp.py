"""Between reading its table back and going on with the stream, Faust loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from faust.types import TP

from stream.config import Config
from stream.faustapp import app_of

STREAM = TP("signals", 0)
CHANGELOG = TP("incidents-changelog", 0)


class Thread:
    """What stands for the thread of aiokafka: fetches that end when they are told to, and seeks."""

    def __init__(self, committed: Mapping[TP, int | None]) -> None:
        self.done: list[str] = []
        self.fetched = asyncio.Event()
        self._committed = committed

    async def getmany(self, _partitions: Any, _timeout: float) -> dict[TP, list[Any]]:
        await self.fetched.wait()
        self.done.append("fetched")
        return {}

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
