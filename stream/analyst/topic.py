"""A topic read from its beginning, to its end as it is now or for ever. Nothing is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream import kafka
from stream.config import Kafka
from stream.errors import TriplineError

POLL_MS: Final = 500


def records(
    settings: Kafka, topic: str, *, follow: bool = False, needed: Mapping[int, int] | None = None
) -> Iterator[Any]:
    """The records of a topic, of each partition in its order.

    needed: read only these partitions, and only if the broker still has this offset of each. Raises TriplineError where
    no broker answers, the topic is missing, or what is needed is not kept any more.
    """
    with asyncio.Runner() as loop:
        consumer = loop.run(started(settings))
        try:
            ends = loop.run(placed(consumer, topic, needed))
            while follow or any(loop.run(consumer.position(p)) < end for p, end in ends.items()):
                batch = loop.run(consumer.getmany(timeout_ms=POLL_MS))
                for partition, found in batch.items():
                    for record in found:
                        if follow or record.offset < ends[partition]:
                            yield record
        finally:
            loop.run(consumer.stop())


async def started(settings: Kafka) -> AIOKafkaConsumer:
    """A consumer of no group; TriplineError where no broker answers."""
    consumer = kafka.consumer(settings, "", group_id=None)
    try:
        await asyncio.wait_for(consumer.start(), kafka.CONNECT_S)
    except (KafkaError, OSError, TimeoutError) as why:
        await consumer.stop()
        raise TriplineError(kafka.unreachable(settings, why)) from why
    return consumer


async def placed(
    consumer: AIOKafkaConsumer, topic: str, needed: Mapping[int, int] | None = None
) -> dict[TopicPartition, int]:
    """Put the consumer at the beginning; where the end is now, by partition. TriplineError as `records`."""
    there = (await consumer._client.fetch_all_metadata()).partitions_for_topic(topic)
    if not there:
        raise TriplineError(f"topic {topic} is missing; see that the configuration names the right one")
    partitions = [TopicPartition(topic, number) for number in sorted(there) if needed is None or number in needed]
    if needed is not None and len(partitions) < len(needed):
        raise TriplineError(f"topic {topic} has {len(there)} partitions, and not {sorted(needed)}, which are asked for")
    consumer.assign(partitions)
    first = await consumer.beginning_offsets(partitions)
    last: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    for partition in partitions:
        if needed is not None and needed[partition.partition] < first[partition]:
            raise TriplineError(
                f"{topic}/{partition.partition}: offset {needed[partition.partition]} is not kept any more, the first "
                f"one is {first[partition]}; read an archive of the topic with --input"
            )
        consumer.seek(partition, first[partition])
    return last
