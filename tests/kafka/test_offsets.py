"""Offsets that a person or retention has moved: told, and never made up for by skipping."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.kafka.cluster import Cluster
from tests.kafka.deployment import Deployment
from tests.kafka.test_worker import CONFIG, ended, records

__all__ = ["records"]  # a fixture


def test_offsets_that_were_reset_are_told_or_made_good(cluster: Cluster, tmp_path: Path, records: list[bytes]) -> None:
    """Back: a state that is ahead of its offset is refused. Forward: what is skipped is learned, and told to nobody."""
    deployment = Deployment(cluster.bootstrap, tmp_path, CONFIG)
    deployment.produce(records[: len(records) // 2])
    try:
        first = deployment.start()
        deployment.wait_until_done()
        ended(deployment, first)
        topic, count = deployment.config.kafka.observations, deployment.config.kafka.partitions
        at = asyncio.run(deployment.committed("detect", topic, count))
        asyncio.run(deployment.reset("detect", topic, [offset // 2 for offset in at]))
        back = deployment.start(roles=["detect"])
        assert deployment.status(back) == 1
        assert "the offsets were reset" in deployment.log()
        asyncio.run(deployment.reset("detect", topic, at))
        again = deployment.start(roles=["ingest"])
        deployment.produce(records[len(records) // 2 :])
        deployment.wait_until_left(0)
        ended(deployment, again)
        told = len(deployment.signals())
        ends = [0] * count
        for record in deployment.read(topic):
            ends[record.partition] = record.offset + 1
        asyncio.run(deployment.reset("detect", topic, ends))
        forward = deployment.start(roles=["detect"])
        deployment.produce(records[:9])
        ingest = deployment.start(roles=["ingest"])
        deployment.wait_until_done()
        for worker in (forward, ingest):
            ended(deployment, worker)
        assert len(deployment.signals()) == told
        _, states = deployment.scored()
        assert {number: deployment.state(number) for number in states} == states
    finally:
        deployment.close()


@pytest.mark.parametrize("running", [False, True])
def test_retention_that_overtakes_ingest_is_told(
    cluster: Cluster, tmp_path: Path, records: list[bytes], running: bool
) -> None:
    """Whether the worker was away, or is there and slow: it ends with a word and skips nothing."""
    deployment = Deployment(cluster.bootstrap, tmp_path, CONFIG)
    few = [record for record in records[:600] if record]
    deployment.produce(few)
    try:
        worker = deployment.start(roles=["ingest"])
        deployment.wait_until_left(0)
        if running:
            worker.send_signal(signal.SIGSTOP)
            # A fetch may be with the broker: this answers it, and what comes later no fetch has asked for.
            deployment.produce([os.urandom(2 * deployment.config.kafka.fetch_bytes_max)])
        else:
            ended(deployment, worker)
        deployment.produce(few)
        ends = [0] * deployment.inputs
        for record in deployment.read(deployment.access):
            ends[record.partition] = record.offset + 1
        asyncio.run(deployment.forget(deployment.access, [end - 1 for end in ends]))
        if running:
            worker.send_signal(signal.SIGCONT)
        else:
            worker = deployment.start(roles=["ingest"])
        assert deployment.status(worker) == 1
        said = deployment.log()
        assert "overtaken" in said or "has nothing before" in said
        assert "reset the group's offsets" in said.lower()
    finally:
        deployment.close()
