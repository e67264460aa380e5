"""The broker's side of things: consumers and producers, topics, and what `tripline check` asks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError

from stream import rights
from stream.config import Config, Kafka
from stream.errors import TriplineError
from stream.offsets import StableOffsets
from stream.security import connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONNECT_S: Final = 10.0
FETCH_WAIT_MS: Final = 200
MESSAGE_BYTES_MAX: Final = 900_000  # a broker's default limit is 1 MiB, its own framing included


def consumer(
    kafka: Kafka, group: str, instance: str = "", kind: type[AIOKafkaConsumer] = AIOKafkaConsumer, **more: Any
) -> AIOKafkaConsumer:
    """A consumer of committed records that commits nothing by itself, never resets an offset by itself, and tells what
    was committed once nothing is pending.

    The broker answers when there is a lot or some time is over, which a group says again when it knows how many
    partitions it has: so the size of a transaction is a matter of time.
    """
    settings = connection(kafka) | {
        "group_id": group, "group_instance_id": f"{instance}-{group}" if instance else None,
        "enable_auto_commit": False, "auto_offset_reset": "none", "isolation_level": "read_committed",
        "fetch_max_wait_ms": FETCH_WAIT_MS, "fetch_min_bytes": kafka.fetch_bytes_max,
        "max_partition_fetch_bytes": kafka.fetch_bytes_max, "fetch_max_bytes": 16 * kafka.fetch_bytes_max,
        "session_timeout_ms": int(kafka.session_timeout_s * 1000),
        "heartbeat_interval_ms": int(kafka.session_timeout_s * 1000 / 5), "metadata_max_age_ms": 30_000,
    }  # fmt: skip
    stable: Any = type("Consumer", (StableOffsets, kind), {})
    return stable(**(settings | more))


def producer(kafka: Kafka, transactional_id: str, **more: Any) -> AIOKafkaProducer:
    """A transactional producer; starting it fences whoever held the id before.

    Snappy, because aiokafka's lz4 is at its highest level: 8 µs an event and not 0.3, for a fifth less.
    """
    settings = connection(kafka) | {
        "transactional_id": transactional_id, "transaction_timeout_ms": int(kafka.transaction_timeout_s * 1000),
        "compression_type": "snappy", "max_request_size": 2 * MESSAGE_BYTES_MAX, "max_batch_size": MESSAGE_BYTES_MAX,
        "linger_ms": 0, "request_timeout_ms": 15_000,
    }  # fmt: skip
    return AIOKafkaProducer(**(settings | more))


@asynccontextmanager
async def admin(kafka: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client; TriplineError where no broker answers."""
    client = AIOKafkaAdminClient(**connection(kafka))
    try:
        await asyncio.wait_for(client.start(), CONNECT_S)
    except (KafkaError, OSError, TimeoutError) as why:
        await client.close()
        raise TriplineError(unreachable(kafka, why)) from why
    try:
        yield client
    finally:
        await client.close()


def unreachable(kafka: Kafka, why: BaseException) -> str:
    """What to say where no broker answers."""
    reason = "no broker answers" if isinstance(why, KafkaConnectionError | TimeoutError) else f"{type(why).__name__}"
    return (
        f"kafka.bootstrap_servers = {kafka.bootstrap_servers!r}: {reason} over {kafka.security_protocol}; see that the "
        "address is right, the port open, and the certificates and the password are those of the broker"
    )


def own_topics(kafka: Kafka) -> dict[str, tuple[int, dict[str, str]]]:
    """The topics that Tripline writes: partitions and settings of each."""
    forever = {"cleanup.policy": "compact"}
    days = {"retention.ms": str(int(kafka.observations_retention_h * 3_600_000))}
    return {
        kafka.observations: (kafka.partitions, days),
        kafka.signals: (1, {"retention.ms": "604800000"}),
        kafka.alerts: (1, forever),
        kafka.feedback: (1, {"retention.ms": "-1"}),
        kafka.dead_letters: (1, {"retention.ms": "1209600000"}),
    }


async def create_topics(kafka: Kafka) -> list[str]:
    """Create what is missing; the names of what was created. TriplineError where the broker refuses."""
    async with admin(kafka) as client:
        there = set(await client.list_topics())
        made = []
        for name, (partitions, settings) in own_topics(kafka).items():
            if name in there:
                continue
            topic = NewTopic(name, partitions, kafka.replication, topic_configs=settings)
            try:
                answer = await client.create_topics([topic])
            except TopicAlreadyExistsError:
                continue
            except KafkaError as why:
                raise TriplineError(f"topic {name} cannot be created: {type(why).__name__}: {why}") from why
            errors = [error for error in answer.topic_errors if error[1] not in (0, 36)]
            if errors:
                raise TriplineError(f"topic {name} cannot be created: {errors[0][2] or errors[0][1]}")
            made.append(name)
        return made


def refusal(config: Config, right: rights.Right) -> str:
    """What to say of a right that is missing."""
    command = right.command(config.kafka.bootstrap_servers, rights.principal(config))
    return f"no right to {right.operation.lower()} {right.resource} {right.name}: `{command}`"


async def check(config: Config) -> list[str]:
    """What is wrong with the brokers, topics and rights, each with the command that mends it; [] where all is well."""
    kafka = config.kafka
    own = own_topics(kafka)
    async with admin(kafka) as client:
        described = await client.describe_topics()
    there = {topic["topic"]: len(topic["partitions"]) for topic in described}
    hidden = await rights.hidden(kafka, [*own, *kafka.topics])
    pattern = re.compile(kafka.topics_pattern) if kafka.topics_pattern else None
    topics = list(kafka.topics) or [name for name in there if pattern and pattern.match(name)]
    problems = [refusal(config, right) for right in await rights.missing(config, topics)]
    problems += [
        f"topic {name} is missing: kafka.topics expects access events there"
        for name in kafka.topics
        if name not in there and name not in hidden
    ]
    if pattern and not topics:
        problems.append(
            f"kafka.topics_pattern = {kafka.topics_pattern!r}: no topic that it matches is seen; see that there is "
            "one, and that this user may read it"
        )
    for name, (partitions, _) in own.items():
        if name not in there and name not in hidden:
            problems.append(f"topic {name} is missing: `tripline topics --config FILE` creates it")
        elif name == kafka.observations and there.get(name, partitions) != partitions:
            problems.append(
                f"topic {name} has {there[name]} partitions, kafka.partitions says {partitions}: set it to "
                f"{there[name]}; the number cannot be changed while there is state"
            )
    return problems


async def beginning(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """The first offset that the broker still has of each partition."""
    offsets: dict[TopicPartition, int] = await consumer.beginning_offsets(list(partitions))
    return offsets
