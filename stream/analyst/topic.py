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

Spans = Mapping[int, tuple[int, int]]  # partition -> first and last offset


def records(settings: Kafka, topic: str, *, follow: bool = False, spans: Spans | None = None) -> Iterator[Any]:
    """The records of a topic, of each partition in its order; `spans`: only these partitions and offsets.

    Raises TriplineError where no broker answers, the topic is missing, or offsets of a span are not kept any more.
    """
    with asyncio.Runner() as loop:
        consumer = loop.run(_started(settings))
        try:
            ends = loop.run(_placed(consumer, topic, spans))
            while follow or any(loop.run(consumer.position(p)) < end for p, end in ends.items()):
                batch = loop.run(consumer.getmany(timeout_ms=POLL_MS))
                for partition, found in batch.items():
                    for record in found:
                        if follow or record.offset < ends[partition]:
                            yield record
        finally:
            loop.run(consumer.stop())


async def _started(settings: Kafka) -> AIOKafkaConsumer:
    consumer = kafka.consumer(settings, "", group_id=None)
    try:
        await asyncio.wait_for(consumer.start(), kafka.CONNECT_S)
    except (KafkaError, OSError, TimeoutError) as why:
        await consumer.stop()
        raise TriplineError(kafka.unreachable(settings, why)) from why
    return consumer


async def _placed(consumer: AIOKafkaConsumer, topic: str, spans: Spans | None) -> dict[TopicPartition, int]:
    """Put the consumer at the beginning; where it has to stop, by partition."""
    there = (await consumer._client.fetch_all_metadata()).partitions_for_topic(topic)
    if not there:
        raise TriplineError(f"topic {topic} is missing; see that the configuration names the right one")
    partitions = [TopicPartition(topic, number) for number in sorted(there) if spans is None or number in spans]
    if spans is not None and len(partitions) < len(spans):
        raise TriplineError(f"topic {topic} has {len(there)} partitions, and not {sorted(spans)} that are asked for")
    consumer.assign(partitions)
    first = await consumer.beginning_offsets(partitions)
    last = await consumer.end_offsets(partitions)
    for partition in partitions:
        begin, end = first[partition], last[partition]
        if spans is not None:
            wanted, until = spans[partition.partition]
            if wanted < begin:
                raise TriplineError(
                    f"{topic}/{partition.partition}: offset {wanted} is not kept any more, the first one is {begin}; "
                    "read an archive of the topic with --input"
                )
            begin, end = wanted, min(until + 1, end)
        consumer.seek(partition, begin)
        last[partition] = end
    return {partition: last[partition] for partition in partitions}
