"""Whatever a broker answers that has just become a group's coordinator, the worker asks until it knows."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError

from stream.offsets import ASK_AGAIN, COORDINATOR_GONE, STABLE_VERSION, StableOffsets

PLACE = TopicPartition("access", 3)


def answer(offset: int = -1, error: int = 0, of_all: int = 0, named: bool = True) -> Any:
    """As version 7 has it; named: whether the partition is in it, which it need not be where the whole is refused."""
    partitions: list[Any] = [(PLACE.partition, offset, -1, "", error, {})]
    topics: list[Any] = [(PLACE.topic, partitions, {})] if named else []
    return SimpleNamespace(topics=topics, error_code=of_all, API_VERSION=STABLE_VERSION)


class Coordinator:
    """A group's coordinator as a consumer knows it, which gives these answers."""

    group_id = "g"

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.deaths = 0

    async def ensure_coordinator_known(self) -> None: ...

    async def _send_req(self, _request: Any) -> Any:
        return self._answers.pop(0)

    def coordinator_dead(self) -> None:
        self.deaths += 1


def told(*answers: Any) -> tuple[int | None, int]:
    """What is told after these answers, and how often the coordinator was given up."""
    asking = StableOffsets()
    asking._coordinator = coordinator = Coordinator(*answers)
    return asyncio.run(asking.committed(PLACE)), coordinator.deaths


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.offsets.RETRY_S", 0.0)


@pytest.mark.parametrize("error", ASK_AGAIN)
def test_it_asks_again_whether_all_is_refused_or_the_partition(error: int) -> None:
    refusals = [answer(error=error), answer(of_all=error), answer(of_all=error, named=False)]
    assert told(*refusals, answer(7)) == (7, len(refusals) * (error in COORDINATOR_GONE))


def test_a_group_that_never_committed_has_no_offset() -> None:
    assert told(answer(-1)) == (None, 0)


@pytest.mark.parametrize("refusal", [answer(error=30), answer(of_all=30), answer(of_all=30, named=False)])
def test_who_may_not_know_is_told_so(refusal: Any) -> None:
    with pytest.raises(GroupAuthorizationFailedError):
        told(refusal)


@pytest.mark.parametrize(("said", "heard"), [(-1, 15), (0, 0), (25, 25)])
def test_a_coordinator_that_fails_without_a_reason_is_looked_for_anew(said: int, heard: int) -> None:
    """aiokafka ends a consumer that hears UNKNOWN_SERVER_ERROR; COORDINATOR_NOT_AVAILABLE it knows what to do about."""

    class Coordinator:
        async def _send_req(self, request: Any) -> Any:
            request.error_code = said
            return request

    class Started:
        async def start(self) -> None:
            self._coordinator = Coordinator()

    async def asked() -> Any:
        consumer: Any = type("Consumer", (StableOffsets, Started), {})()
        await consumer.start()
        return await consumer._coordinator._send_req(Coordinator())

    assert asyncio.run(asked()).error_code == heard


def test_a_consumer_of_no_group_has_no_coordinator_to_ask() -> None:
    class Alone:
        async def start(self) -> None:
            self._coordinator = object()

    asyncio.run(type("Consumer", (StableOffsets, Alone), {})().start())
