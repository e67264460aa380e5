"""A worker that leaves in the middle of a rebalance leaves as at any other time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition

from stream.config import Config, Kafka
from stream.group import Group

PARTITIONS = [TopicPartition("access", n) for n in range(2)]


class Lane:
    """As much of a lane as leaving looks at; while one is closed, all partitions are taken away."""

    stage, position, committed, taken = None, 0, 0, 0

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
