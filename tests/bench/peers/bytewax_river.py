"""bytewax and River: one dataflow that groups by account and by address within the process, without recovery."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

from tests.bench.peers import job


def flow(bootstrap: str, access: str, alerts: str, progress: job.Progress) -> Any:
    """The dataflow, from the access topic to the alerts."""
    flow = Dataflow("bytewax")
    read = kop.input("access", flow, brokers=[bootstrap], topics=[access], batch_size=5_000)

    def decoded(messages: list[Any]) -> Iterable[tuple[str, Any]]:
        events = [orjson.loads(message.value) for message in messages]
        return [(event["account"], event) for event in events]

    def score(models: job.Models | None, event: Any) -> tuple[job.Models, Iterable[bytes]]:
        models = models or job.models()
        off = job.surprise(models, event["records"], event["bytes"])
        progress.events += 1
        return models, [job.account_alert(event, off)] if off > job.DEVIATIONS else ()

    def subjects_of(events: list[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
        return [(event["source_ip"], event) for _, event in events if "subject" in event]

    def spread(subjects: set[str] | None, event: Any) -> tuple[set[str], Iterable[bytes]]:
        subjects = subjects or set()
        progress.subjects += 1
        if job.is_new(subjects, event["subject"]):
            subjects.add(event["subject"])
            if len(subjects) == job.SUBJECTS_MAX:
                return subjects, [job.address_alert(event["source_ip"])]
        return subjects, ()

    events = op.flat_map_batch("decode", read.oks, decoded)
    strange = op.stateful_flat_map("score", events, score)
    crowds = op.stateful_flat_map("spread", op.flat_map_batch("subjects", events, subjects_of), spread)
    told = op.map("told", op.merge("alerts", strange, crowds), lambda found: KafkaSinkMessage(None, found[1]))
    kop.output("tell", told, brokers=[bootstrap], topic=alerts)
    return flow


def main(bootstrap: str, access: str, alerts: str, _folder: str) -> None:
    """Work for ever."""
    progress = job.Progress()
    progress.begin()
    cli_main(flow(bootstrap, access, alerts, progress), epoch_interval=timedelta(minutes=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
