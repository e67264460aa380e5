"""Kafka for the tests: one broker shared by all that only add topics to it, and clusters of one's own.

A test takes `cluster` and makes its topics with `make_topic`. One that stops a broker, or needs several or other
settings, takes `new_cluster` and calls it as it would call `Cluster`; what it gives is ready, and gone after the test.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.kafka.cluster import Cluster, requirements

_numbers = count(1)


@pytest.fixture(scope="session")
def kafka() -> None:
    """What Kafka needs is here; without it a test is skipped on a user's machine, and fails where CI=true."""
    if missing := requirements():
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)


@pytest.fixture(scope="session")
def cluster(kafka: None) -> Iterator[Cluster]:
    """One broker for all tests of the session: make your own topics in it, and stop nothing."""
    with Cluster() as shared:
        yield shared


@pytest.fixture
def new_cluster(kafka: None) -> Iterator[Callable[..., Cluster]]:
    """new_cluster(brokers=3, settings={...}, ...): a cluster of the test's own."""
    with ExitStack() as clusters:
        yield lambda *arguments, **options: clusters.enter_context(Cluster(*arguments, **options))


@pytest.fixture
def make_topic() -> Callable[..., str]:
    """make_topic(cluster, partitions=1, cleanup_policy="compact", ...): the name of a new topic, on up to 3 brokers."""

    def made(cluster: Cluster, partitions: int = 1, **config: str) -> str:
        name = f"topic-{next(_numbers)}"
        settings = {key.replace("_", "."): value for key, value in config.items()}
        asyncio.run(
            _create(cluster.bootstrap, NewTopic(name, partitions, min(3, cluster.brokers), topic_configs=settings))
        )
        return name

    return made


async def _create(bootstrap: str, topic: Any) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        answer = await admin.create_topics([topic])
    finally:
        await admin.close()
    assert [error for _, error, *_ in answer.topic_errors] == [0], answer
