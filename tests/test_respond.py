"""What the alert plane is to write is written, all of it and in order, before a signal is acknowledged."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError
from faust.exceptions import ProducerSendError
from hypothesis import given
from hypothesis import strategies as st

from stream import respond
from stream.budget import Budget
from stream.desk import Desk
from stream.durations import BATCH_S, Durations
from stream.kafka import MESSAGE_BYTES_MAX
from stream.respond import Message, Respond
from stream.withheld import Reported

MESSAGES = [Message("alerts", b"a", b"1"), Message("alerts", b"b", b"2"), Message("alerts", b"a", b"3")]
FAULTS = {"refused": ProducerSendError("full"), "lost": KafkaTimeoutError(), "away": KafkaConnectionError()}


class Broker:
    """Takes what it is sent, or fails as it is told to: at once, or when the writing is waited for."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        self.written: list[bytes] = []

    async def send(self, _topic: str, _key: bytes, value: bytes, *_more: Any) -> asyncio.Future[None]:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "refused":
            raise FAULTS[fault]
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if fault:
            done.set_exception(FAULTS[fault])
        else:
            self.written.append(value)
            done.set_result(None)
        return done


@given(st.lists(st.sampled_from(["", *FAULTS]), max_size=12))
def test_what_a_broker_does_not_take_is_sent_again_with_all_that_goes_with_it(faults: list[str]) -> None:
    """The last that is there of each key is the newest, whatever failed in between."""
    broker = Broker(faults)
    monitor = SimpleNamespace(messages_sent_by_topic=Counter[str](), durations=defaultdict(lambda: Durations(BATCH_S)))
    stub: Any = SimpleNamespace(app=SimpleNamespace(producer=broker, monitor=monitor))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(respond, "RETRY_S", 0.0)
        asyncio.run(Respond._write(stub, MESSAGES))
    assert broker.written[-len(MESSAGES) :] == [message.value for message in MESSAGES]
    assert monitor.messages_sent_by_topic == {"alerts": len(MESSAGES)}


class Stream:
    """Events of numbers, the first handed on and the others in the queue; what was acknowledged."""

    def __init__(self, generations: list[int]) -> None:
        self.acknowledged: list[int] = []
        self.channel = SimpleNamespace(queue=asyncio.Queue())
        for number, generation in enumerate(generations):
            message = SimpleNamespace(tp=None, offset=number, generation_id=generation)
            self.channel.queue.put_nowait(SimpleNamespace(value=number, message=message))

    def noack(self) -> Stream:
        return self

    async def events(self) -> AsyncIterator[Any]:
        while not self.channel.queue.empty():
            yield self.channel.queue.get_nowait()

    async def ack(self, event: Any) -> None:
        self.acknowledged.append(event.value)


def responder(work: Callable[[list[int]], None]) -> Any:
    """One whose work is this, in the second generation of its application, without a broker."""
    made: Any = object.__new__(Respond)

    async def done(batch: list[Any]) -> None:
        work([event.value for event in batch])

    made._work, made._working = done, asyncio.Lock()
    made._broken = asyncio.get_running_loop().create_future()
    unheard = SimpleNamespace(track_message=lambda *_: None, on_stream_event_in=lambda *_: None)
    made.app = SimpleNamespace(consumer=unheard, sensors=unheard, consumer_generation_id=2)
    return made


def test_what_waits_is_one_batch_and_acknowledged_once_it_has_been_written() -> None:
    """All but what comes again, because the signals were another's in between."""

    async def promise() -> None:
        stream, batches = Stream([2, 2, 1, 2]), list[list[int]]()

        def work(batch: list[int]) -> None:
            assert stream.acknowledged == []
            batches.append(batch)

        async for _ in responder(work)._agent(stream):
            assert stream.acknowledged == [0, 1, 3]
        assert batches == [[0, 1, 3]]

    asyncio.run(promise())


def test_where_a_signal_cannot_be_taken_in_the_process_ends_and_acknowledges_none() -> None:
    async def promise() -> None:
        stream = Stream([2, 2])

        def work(_batch: list[int]) -> None:
            raise RuntimeError("broken")

        made = responder(work)
        with pytest.raises(RuntimeError, match="broken"):
            async for _ in made._agent(stream):
                pass
        assert stream.acknowledged == []
        with pytest.raises(RuntimeError, match="broken"):
            await made._failed()

    asyncio.run(promise())


def test_each_change_is_written_once_the_budget_last_and_what_is_too_large_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made: Any = object.__new__(Respond)
    changed = {b"tl-big": bytes(MESSAGE_BYTES_MAX + 1), b"tl-small": b"x", b"tl-gone": None}
    made.merger = SimpleNamespace(changes=lambda: changed, budget=Budget(5.0))
    made.desk, made.reported = Desk(), Reported()
    made._table = SimpleNamespace(data={}, changelog_topic_name="log")
    written = [(each.key, each.value) for each in made._changes()]
    assert written[:2] == [(b"tl-small", b"x"), (b"tl-gone", None)]
    assert [key for key, _ in written[2:]] == [b"desk", b"reported", b"budget"]
    assert "tl-big" in caplog.text
    changed.clear()
    assert made._changes() == []
