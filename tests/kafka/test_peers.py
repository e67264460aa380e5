"""The programs that the product is measured against do the job, on a real broker: a wrong one would prove nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from tests.bench import plane
from tests.bench.peers import __main__ as peers
from tests.bench.peers import job, streams
from tests.kafka.cluster import Cluster

NAMES: Final = [name for name in peers.PEERS if name != "faust_river"]  # it may lose what comes as it starts


def log() -> list[bytes]:
    """Two accounts of which one takes too much at last, and an address that reads of too many."""
    events: list[dict[str, Any]] = [
        {"account": account, "records": 1, "bytes": 500 + at % 7, "source_ip": account, "subject": account}
        for at in range(job.GRACE)
        for account in ("198.51.100.7", "203.0.113.4")
    ]
    events += [{"account": "203.0.113.4", "records": 1, "bytes": 90_000, "source_ip": "203.0.113.4"}]
    events += [
        {"account": f"x{n}", "records": 0, "bytes": 7, "source_ip": "192.0.2.1", "subject": f"{n % 11}"}
        for n in range(30)
    ]
    return [orjson.dumps({"time": at, "action": "read"} | event) for at, event in enumerate(events)]


@pytest.mark.parametrize("name", NAMES)
def test_a_peer_tells_what_the_job_should_give(
    name: str, cluster: Cluster, make_topic: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = peers.PEERS[name]
    if (why := peer.missing()) or (peer.missing == streams.missing and not streams.is_prepared()):
        pytest.skip(why or "Kafka Streams is not in the cache yet: make bench-peers fetches it")
    monkeypatch.setattr(plane, "IDLE_S", 2.0)
    lines = log()
    access, alerts = make_topic(cluster, partitions=job.PARTITIONS), make_topic(cluster)
    asyncio.run(peers.fill(cluster.bootstrap, access, lines))
    found = peers.watched(peers.begun(peer, cluster.bootstrap, access, alerts, str(tmp_path)), seconds=60.0)
    assert (found["events"], found["subjects"]) == (len(lines), 70)
    told = asyncio.run(peers.told(cluster.bootstrap, alerts))
    assert told == peers.due(lines) == {("203.0.113.4", 40), ("192.0.2.1", 10)}
