"""Whatever fails, and whenever, what a lane has written is what a lane that never failed would have written."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from stream.transact import OWED_S, Fenced, Lane, Message, retried
from tests.broker import PARTITION, Broker, Consumer, Crash, Producer, Record


@dataclass
class Disk:
    """Snapshots that survive the process: (offset, total)."""

    kept: list[tuple[int, int]] = field(default_factory=list)


class Totals:
    """A stage whose every output depends on everything before: a gap or a repeat cannot hide."""

    stateless = False

    def __init__(self, disk: Disk, every: int) -> None:
        self._disk = disk
        self._every = every
        self._state = (-1, 0)

    def recover(self, committed: int | None, beginning: int, end: int) -> int:
        wanted = beginning if committed is None else committed
        if not 0 <= self._state[0] <= wanted:
            usable = [state for state in self._disk.kept if state[0] <= wanted]
            self._state = max(usable, default=(beginning, 0))
        return self._state[0]

    def announced(self, more: bool) -> list[Message]:
        return []

    def take(self, records: Sequence[Any], silent: bool, more: bool) -> list[Message]:
        _, total = self._state
        out = []
        for record in records:
            total = total * 31 + int(record.value)
            if int(record.value) % 3 == 0:
                out.append(Message("out", b"%d %d" % (record.offset, total % 1_000_003)))
        self._state = (records[-1].offset + 1, total)
        return out

    def committed(self, offset: int) -> None:
        if offset % self._every == 0:
            assert self._state[0] == offset
            self._disk.kept.append(self._state)

    def forget(self) -> None:
        self._state = (-1, 0)

    def close(self) -> None:
        pass


class Clock:
    """Which jumps now and then by more than an offset may be owed, and stands still for who does not say how."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self.random, self.now = rng, 0.0

    def __call__(self) -> float:
        if self.random is not None and self.random.random() < 0.3:
            self.now += 2 * OWED_S
        return self.now


def lane(broker: Broker, disk: Disk, clock: Clock | None = None) -> Lane:
    return Lane(Consumer(broker), PARTITION, "g", Totals(disk, 5), lambda _id: Producer(broker), clock or Clock())


async def work(broker: Broker, disk: Disk) -> None:
    """A process, from its start to the end of the log or to its own."""
    it, stopping = lane(broker, disk, Clock(broker.random)), asyncio.Event()
    stage, consumer = it.stage, it._consumer
    assert isinstance(stage, Totals)
    if not await retried("open", it.open, stopping):
        return
    while it.position < len(broker.log):
        try:
            await it.take(consumer.fetch())
        except KafkaError:
            stage.forget()
            if not await retried("open", it.open, stopping):
                return
        except Fenced:
            return
    await it.close()


def history(seed: int, fault: float, crash: float) -> Broker:
    """A log worked on by one process after another until it is done."""
    rng = random.Random(seed)
    offsets = [n for n in range(rng.randint(0, 40)) if rng.random() < 0.9]  # markers of transactions leave gaps
    broker = Broker([], rng, fault, crash)
    broker.log = [Record(n, b"%d" % rng.randint(0, 99)) for n in range(len(offsets))]
    disk = Disk()
    while broker.log and (broker.committed or 0) < len(broker.log):
        try:
            asyncio.run(work(broker, disk))
        except Crash:
            continue
    return broker


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once."""
    monkeypatch.setattr("stream.transact.RETRY_S", (0.0,))


@pytest.mark.parametrize("fault, crash", [(0.0, 0.0), (0.1, 0.0), (0.0, 0.1), (0.05, 0.05), (0.2, 0.02)])
def test_what_is_written_is_what_was_due(fault: float, crash: float) -> None:
    """Hundreds of histories; the seed is in the message."""
    for seed in range(60):
        broker = history(seed, fault, crash)
        calm = Totals(Disk(), 1000)
        calm.recover(None, 0, 0)
        due = [m.value for record in broker.log for m in calm.take([record], silent=False, more=False)]
        assert [m.value for m in broker.written] == due, f"seed {seed}"
        assert (broker.committed or 0) == len(broker.log), f"seed {seed}"


def test_who_was_fenced_writes_nothing_and_does_not_come_back() -> None:
    """A process that stood still while another took over finds itself fenced, at whatever step it was."""

    async def scene() -> None:
        broker = Broker([Record(n, b"3") for n in range(10)], random.Random(1))
        disk = Disk()
        old, new = lane(broker, disk), lane(broker, disk)
        await old.open()
        await old.take(broker.log[:4])
        await new.open()
        assert (new.position, new.committed) == (0, 4)  # there is no snapshot: it takes in again, without a word
        with pytest.raises(Fenced):
            await old.take(broker.log[4:6])
        await new.take(broker.log[0:10])
        with pytest.raises(Fenced):
            await old.take(broker.log[6:8])
        assert [m.value.split()[0] for m in broker.written] == [b"%d" % n for n in range(10)]

    asyncio.run(scene())


def test_an_offset_with_nothing_to_write_waits_for_the_next_transaction() -> None:
    """Or until it is overdue, or the lane is closed: no batch of that kind costs a transaction of its own."""

    async def scene() -> None:
        broker, clock = (
            Broker([Record(n, b"%d" % v) for n, v in enumerate([1, 2, 3, 4, 5, 7])], random.Random(1)),
            Clock(),
        )
        it = lane(broker, Disk(), clock)
        await it.open()
        await it.take(broker.log[:2])
        assert (it.position, it.committed, broker.committed, it.overdue) == (2, 0, None, False)
        await it.take(broker.log[2:3])  # 3 is written
        assert (it.committed, broker.committed, len(broker.written)) == (3, 3, 1)
        await it.take(broker.log[3:4])
        clock.now += OWED_S
        assert it.overdue
        await it.take([])
        assert (it.committed, broker.committed, it.overdue) == (4, 4, False)
        await it.take(broker.log[4:5])
        await it.close()
        assert (it.committed, broker.committed, len(broker.written)) == (5, 5, 1)

    asyncio.run(scene())


def test_what_could_not_be_written_is_not_passed_over_when_the_lane_is_closed() -> None:
    """Its offset is not committed without it."""

    async def scene() -> None:
        broker = Broker([Record(n, b"%d" % v) for n, v in enumerate([1, 3, 1])], random.Random(1))
        it = lane(broker, Disk())
        await it.open()
        await it.take(broker.log[:1])
        broker.fault = 1.0
        with pytest.raises(KafkaError):
            await it.take(broker.log[1:2])
        broker.fault = 0.0
        await it.close()
        assert (broker.committed, broker.written) == (None, [])

    asyncio.run(scene())


class Copies:
    """A stage without a state, which begins at the end of the log."""

    stateless = True

    def recover(self, committed: int | None, beginning: int, end: int) -> int:
        return end if committed is None else committed

    def announced(self, more: bool) -> list[Message]:
        return []

    def take(self, records: Sequence[Any], silent: bool, more: bool) -> list[Message]:
        return [Message("out", record.value) for record in records]

    def committed(self, offset: int) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("there", [0, 3])
def test_who_begins_at_the_end_begins_there_whatever_comes_before_the_first_commit(there: int) -> None:
    """A worker that ends before it has taken anything in does not leave out what came meanwhile."""

    async def scene() -> None:
        broker = Broker([Record(n, b"before") for n in range(there)], random.Random(1))
        for _ in range(2):
            it = Lane(Consumer(broker), PARTITION, "g", Copies(), lambda _id: Producer(broker))
            await it.open()
            broker.log.append(Record(len(broker.log), b"after"))
        await it.take(broker.log[it.position :])
        assert [each.value for each in broker.written] == [b"after"] * 2

    asyncio.run(scene())


def test_a_lane_that_is_closed_does_not_wait_for_what_its_stage_would_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot may take long, and nobody else may have the stage meanwhile: what is owed is committed without it."""

    async def scene() -> None:
        broker, stage = Broker([Record(0, b"1")], random.Random(1)), Totals(Disk(), 1)
        it = Lane(Consumer(broker), PARTITION, "g", stage, lambda _id: Producer(broker), Clock())
        await it.open()
        await it.take(broker.log)
        monkeypatch.setattr(stage, "committed", lambda _offset: pytest.fail("the stage heard of it"))
        await it.close()
        assert (broker.committed, it.committed) == (1, 1)

    asyncio.run(scene())


def test_who_was_fenced_owing_an_offset_commits_nothing() -> None:
    async def scene() -> None:
        broker, disk = Broker([Record(n, b"1") for n in range(4)], random.Random(1)), Disk()
        old, new = lane(broker, disk), lane(broker, disk)
        await old.open()
        await old.take(broker.log[:3])
        await new.open()
        await old.close()
        assert broker.committed is None
        await new.take(broker.log[:2])
        await new.close()
        assert broker.committed == 2

    asyncio.run(scene())


def test_records_that_were_taken_in_before_are_left_out() -> None:
    async def scene() -> None:
        broker = Broker([Record(n, b"3") for n in range(6)], random.Random(1))
        it = lane(broker, Disk())
        await it.open()
        await it.take(broker.log[:4])
        await it.take(broker.log[2:6])
        await it.take(broker.log[:6])
        assert len(broker.written) == 6

    asyncio.run(scene())


def test_an_empty_log_and_an_empty_batch_write_nothing() -> None:
    async def scene() -> None:
        broker = Broker([], random.Random(1))
        it = lane(broker, Disk())
        await it.open()
        await it.take([])
        assert broker.written == []
        assert broker.committed is None

    asyncio.run(scene())


def test_a_lane_does_not_go_back_behind_what_it_committed() -> None:
    """A broker that has just become the group's coordinator tells of the commit before; soon it knows better."""

    async def scene() -> None:
        broker = Broker([Record(n, b"3") for n in range(10)], random.Random(1))
        it = lane(broker, Disk())
        await it.open()
        await it.take(broker.log[:4])
        await it.take(broker.log[4:6])
        broker.committed = 4
        with pytest.raises(KafkaError, match="offset 4 is said to be committed, and 6 is"):
            await it.open()
        broker.committed = 6
        await it.open()
        await it.take(broker.log[0:10])
        assert [m.value.split()[0] for m in broker.written] == [b"%d" % n for n in range(10)]

    asyncio.run(scene())
