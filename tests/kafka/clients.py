"""Producers and consumers as the tests make them: careful ones, with what a test says otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.kafka.cluster import Cluster

WITHIN_S = 60.0


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Its result; TimeoutError rather than a test that hangs."""
    return asyncio.run(asyncio.wait_for(work, WITHIN_S))


def producer(cluster: Cluster, **options: Any) -> Any:
    """A producer whose records all in-sync replicas have; not started."""
    return AIOKafkaProducer(**{"bootstrap_servers": cluster.bootstrap, "acks": "all"} | options)


def consumer(cluster: Cluster, *topics: str, **options: Any) -> Any:
    """A consumer of committed records from the beginning, which commits nothing by itself; not started."""
    chosen = {
        "bootstrap_servers": cluster.bootstrap, "auto_offset_reset": "earliest", "enable_auto_commit": False,
        "isolation_level": "read_committed",
    }  # fmt: skip
    return AIOKafkaConsumer(*topics, **chosen | options)


async def read(cluster: Cluster, topic: str, count: int, **options: Any) -> list[bytes]:
    """The values of a topic's first records."""
    async with consumer(cluster, topic, **options) as reading:
        return [(await reading.getone()).value for _ in range(count)]
