"""quixstreams and River: state in RocksDB with changelog topics; a topic between shuffles by address."""

from __future__ import annotations

import sys
from typing import Any

from quixstreams import Application

from tests.bench.peers import job


def main(bootstrap: str, access: str, alerts: str, folder: str) -> None:
    """Work for ever."""
    progress = job.Progress()
    app = Application(
        bootstrap, consumer_group=alerts, auto_offset_reset="earliest", state_dir=folder,
        producer_extra_config={"linger.ms": 50, "compression.type": "lz4"}, loglevel="ERROR",
    )  # fmt: skip
    told = app.topic(alerts, value_serializer="bytes")

    def score(event: Any, state: Any) -> bytes | None:
        models = job.of_list(state.get("models"))
        off = job.surprise(models, event["records"], event["bytes"])
        state.set("models", job.as_list(models))
        progress.events += 1
        return job.account_alert(event, off) if off > job.DEVIATIONS else None

    def spread(event: Any, state: Any) -> bytes | None:
        progress.subjects += 1
        seen = state.get("subjects", [])
        if job.is_new(seen, event["subject"]):
            state.set("subjects", seen := [*seen, event["subject"]])
            if len(seen) == job.SUBJECTS_MAX:
                return job.address_alert(event["source_ip"])
        return None

    def is_told(alert: bytes | None) -> bool:
        return alert is not None

    def both(event: Any) -> dict[str, str]:
        return {"source_ip": event["source_ip"], "subject": event["subject"]}

    events = app.dataframe(app.topic(access, value_deserializer="json", key_deserializer="str"))
    events.apply(score, stateful=True).filter(is_told).to_topic(told)
    subjects = events.filter(lambda event: "subject" in event).apply(both)
    subjects.group_by("source_ip").apply(spread, stateful=True).filter(is_told).to_topic(told)
    progress.begin()
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
