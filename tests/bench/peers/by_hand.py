"""aiokafka, orjson and River by hand: one process that keeps everything in dictionaries and loses it when it ends."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.bench.peers import job


async def main(bootstrap: str, access: str, alerts: str, _folder: str) -> None:
    """Work for ever."""
    accounts: defaultdict[str, job.Models] = defaultdict(job.models)
    addresses: defaultdict[str, set[str]] = defaultdict(set)
    progress = job.Progress()
    consumer = AIOKafkaConsumer(
        access, bootstrap_servers=bootstrap, group_id=alerts, auto_offset_reset="earliest",
        max_partition_fetch_bytes=2 << 20,
    )  # fmt: skip
    async with consumer, AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=50) as producer:
        progress.begin()
        while True:
            for records in (await consumer.getmany(timeout_ms=100, max_records=10_000)).values():
                for record in records:
                    event = orjson.loads(record.value)
                    off = job.surprise(accounts[event["account"]], event["records"], event["bytes"])
                    if off > job.DEVIATIONS:
                        await producer.send(alerts, job.account_alert(event, off))
                    if subject := event.get("subject"):
                        subjects = addresses[event["source_ip"]]
                        if job.is_new(subjects, subject):
                            subjects.add(subject)
                            if len(subjects) == job.SUBJECTS_MAX:
                                await producer.send(alerts, job.address_alert(event["source_ip"]))
                        progress.subjects += 1
                    progress.events += 1


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
