"""What is said of alerts by topic: heard by the alert plane, written by several at once, and not to be forged."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from stream import feedback, feedback_topic, signals
from stream.alerts import EntityRef
from stream.cli import main
from stream.errors import TriplineError
from stream.feedback import Entry, Mute
from tests.kafka.cluster import Cluster
from tests.kafka.deployment import Deployment
from tests.kafka.node import free_ports
from tests.kafka.test_respond import CONFIG, send, wait_until_told
from tests.streams import DAY_MS, START_MS
from tests.test_merge import signal


@pytest.fixture
def deployment(cluster: Cluster, tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(cluster.bootstrap, tmp_path, CONFIG, partitions=4)
    yield made
    made.close()


def entry(number: int = 0, mute: Mute | None = None) -> Entry:
    return Entry(feedback.SCHEMA, 0, START_MS + number, f"ann {number}", "", mute=mute, note="n")


def forge(deployment: Deployment, lines: list[bytes]) -> None:
    async def sent() -> None:
        async with AIOKafkaProducer(bootstrap_servers=deployment.config.kafka.bootstrap_servers) as producer:
            for line in lines:
                await producer.send_and_wait(deployment.config.kafka.feedback, line)

    asyncio.run(sent())


def metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def test_a_mute_said_by_topic_is_heeded_and_what_is_forged_is_not(deployment: Deployment) -> None:
    """Said before the process begins, and while it runs; a record that does not follow from the log mutes nobody."""
    kafka = deployment.config.kafka
    whole = START_MS, START_MS + DAY_MS

    def about(network: str) -> Entry:
        return entry(mute=Mute((EntityRef("network", network),), (), *whole))

    feedback_topic.append(kafka, about("AS1"))
    forged = [b"{", feedback.encode(feedback.sealed(about("AS3"), [])), feedback.encode(about("AS3"))]
    forge(deployment, forged)
    port = next(free_ports())
    deployment.start("respond", metrics_port=port)
    send(deployment, [signals.encode(signal(0, "network", name, score=20.0)) for name in ("AS1", "AS2", "AS3")])
    told = wait_until_told(deployment, 2)
    assert {alert["entity"]["value"] for alert in told} == {"AS2", "AS3"}
    feedback_topic.append(kafka, about("AS4"))
    deployment.wait_until(lambda: "tripline_feedback_entries_total 2.0" in metrics(port))
    send(deployment, [signals.encode(signal(0, "network", name, score=20.0)) for name in ("AS4", "AS5")])
    told = wait_until_told(deployment, 3)
    assert {alert["entity"]["value"] for alert in told} == {"AS2", "AS3", "AS5"}
    assert f"tripline_feedback_refused_total {len(forged)}.0" in metrics(port)
    assert 'tripline_alerts_held_back_total{reason="muted"} 2.0' in metrics(port)


def test_of_several_who_write_at_once_nobody_is_lost(deployment: Deployment) -> None:
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda n: feedback_topic.append(deployment.config.kafka, entry(n)), range(3)))
    log = feedback_topic.load(deployment.config.kafka)
    assert sorted(each.number for each in log) == [1, 2, 3]
    assert {each.hash for each in made} == {each.hash for each in log}
    assert {each.who for each in log} == {"ann 0", "ann 1", "ann 2"}


def test_the_command_takes_the_topic_of_a_configuration(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment.start("topics").wait()
    config = str(next(deployment.folder.glob("topics-*.toml")))
    assert main(["feedback", "--mute", "2d", "--entity", "account=ann", "--note", "moving", "--config", config]) == 0
    assert main(["feedback", "--list", "--config", config]) == 0
    assert capsys.readouterr().out.count("muted account ann") == 2
    there = msgspec.structs.replace(deployment.config.kafka, feedback="nowhere")
    with pytest.raises(TriplineError, match="topic nowhere is missing"):
        feedback_topic.load(there)
