"""Faust and River: an agent for accounts, one for addresses, a table each; a topic between them shuffles by address."""

from __future__ import annotations

import logging
import sys
from typing import Any

import faust
import orjson

from tests.bench.peers import job


def main(bootstrap: str, access: str, alerts: str, folder: str) -> None:
    """Work for ever."""
    app: Any = faust.App(
        alerts, broker=f"aiokafka://{bootstrap}", store="memory://", topic_partitions=job.PARTITIONS,
        topic_replication_factor=1, datadir=folder, web_enabled=False, consumer_auto_offset_reset="earliest",
        producer_linger=0.2, producer_max_batch_size=256 << 10,
        stream_buffer_maxsize=16_384, broker_max_poll_records=10_000, stream_wait_empty=False,
    )  # fmt: skip
    raw = {"key_type": str, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    subjects_of = app.topic(f"{alerts}-subjects", internal=True, **raw)
    told = app.topic(alerts, **raw)
    accounts, addresses = app.Table("accounts"), app.Table("addresses")
    progress = job.Progress()

    @app.agent(app.topic(access, **raw))  # type: ignore[untyped-decorator]  # Faust has no types
    async def score(events: Any) -> None:
        async for value in events:
            event = orjson.loads(value)
            models = job.of_list(accounts.get(event["account"]))
            off = job.surprise(models, event["records"], event["bytes"])
            accounts[event["account"]] = job.as_list(models)
            if off > job.DEVIATIONS:
                await told.send(value=job.account_alert(event, off))
            if subject := event.get("subject"):
                await subjects_of.send(key=event["source_ip"], value=subject.encode())
            progress.events += 1

    @app.agent(subjects_of)  # type: ignore[untyped-decorator]
    async def spread(subjects: Any) -> None:
        async for address, value in subjects.items():
            seen, subject = addresses.get(address) or [], value.decode()
            if job.is_new(seen, subject):
                addresses[address] = seen = [*seen, subject]
                if len(seen) == job.SUBJECTS_MAX:
                    await told.send(value=job.address_alert(address))
            progress.subjects += 1

    logging.disable(logging.WARNING)  # what Faust would otherwise compose for nobody, of each message
    progress.begin()
    app.finalize()
    faust.Worker(app, stdout=sys.stderr, loglevel="ERROR", redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main(*sys.argv[1:])
