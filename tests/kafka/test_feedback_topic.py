"""What is said of alerts by topic: heard by the alert plane, written by several at once, and not to be forged."""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from stream import feedback, feedback_topic, kafka, signals
from stream.alerts import EntityRef
from stream.cli import main
from stream.config import SelfTest
from stream.errors import TriplineError
from stream.feedback import Entry, Mute
from tests.kafka.cluster import Cluster
from tests.kafka.deployment import Deployment
from tests.kafka.node import free_ports
from tests.kafka.test_respond import CONFIG, send, wait_until_told
from tests.signals import signal
from tests.streams import DAY_MS, START_MS
from tests.test_feedback_webhook import body_of, headers, post


@pytest.fixture
def deployment(cluster: Cluster, tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(cluster.bootstrap, tmp_path, CONFIG, partitions=4)
    yield made
    made.close()


def entry(number: int = 0, mute: Mute | None = None) -> Entry:
    return Entry(feedback.SCHEMA, 0, START_MS + number, f"ann {number}", "", mute=mute, note="n")


def muting(network: str) -> Entry:
    return entry(mute=Mute((EntityRef("network", network),), (), START_MS, START_MS + DAY_MS))


def found(network: str, revision: int = 1, status: str = "open") -> bytes:
    return signals.encode(signal(0, "network", network, revision=revision, status=status, score=20.0))


def forge(deployment: Deployment, lines: list[bytes], *, abort: bool = False) -> None:
    """In a transaction, whose end has an offset and is no record."""

    async def sent() -> None:
        async with kafka.producer(deployment.config.kafka, "forger") as producer:
            await producer.begin_transaction()
            for line in lines:
                await producer.send_and_wait(deployment.config.kafka.feedback, line)
            await (producer.abort_transaction() if abort else producer.commit_transaction())

    asyncio.run(sent())


def metrics(port: int) -> str:
    """What a process exposes, "" where it does not yet. It is asked from its start on, as Prometheus asks."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
    except OSError:
        return ""
    return text


def names(told: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(alert["entity"]["value"], alert["status"]) for alert in told]


def test_a_mute_said_by_topic_is_heeded_and_what_is_forged_is_not(deployment: Deployment) -> None:
    """Said before the process begins, and while it runs; a record that does not follow from the log mutes nobody."""
    settings = deployment.config.kafka
    first = feedback_topic.append(settings, muting("AS1"))
    changed = msgspec.structs.replace(feedback.sealed(muting("AS3"), [first]), who="mallory")
    forged = [b"{", *map(feedback.encode, (feedback.sealed(muting("AS3"), []), muting("AS3"), changed))]
    forge(deployment, forged)
    forge(deployment, [feedback.encode(feedback.sealed(muting("AS3"), [first]))], abort=True)
    port = next(free_ports())
    deployment.start("respond", metrics_port=port)
    send(deployment, [found(name) for name in ("AS1", "AS2", "AS3")])
    assert names(wait_until_told(deployment, 2)) == [("AS2", "open"), ("AS3", "open")]
    feedback_topic.append(settings, muting("AS4"))
    deployment.wait_until(lambda: "tripline_feedback_entries_total 2.0" in metrics(port))
    send(deployment, [found(name) for name in ("AS4", "AS5")])
    assert names(wait_until_told(deployment, 3))[2:] == [("AS5", "open")]
    assert f"tripline_feedback_refused_total {len(forged)}.0" in metrics(port)
    assert 'tripline_alerts_held_back_total{reason="muted"} 2.0' in metrics(port)


def test_what_is_muted_stays_so_in_the_next_process(deployment: Deployment) -> None:
    """Whoever goes on knows what nobody was told of, and what was said while nobody was there."""
    feedback_topic.append(deployment.config.kafka, muting("AS1"))
    process = deployment.start("respond", instance_id="r")
    send(deployment, [found("AS1"), found("AS2")])
    wait_until_told(deployment, 1)
    process.kill()
    process.wait()
    feedback_topic.append(deployment.config.kafka, muting("AS3"))
    closed = [found(name, 2, "closed") for name in ("AS1", "AS2")]
    send(deployment, [*closed, found("AS3"), found("AS4")])
    deployment.start("respond", instance_id="r")
    told = dict.fromkeys(names(wait_until_told(deployment, 3)))  # a kill may repeat one
    assert list(told) == [("AS2", "open"), ("AS2", "closed"), ("AS4", "open")]


def test_self_tests_are_sent_and_found_beside_it(deployment: Deployment) -> None:
    """The worker is played: each access event of a self-test is a signal."""
    deployment.config = msgspec.structs.replace(
        deployment.config, hash_key="0123456789abcdef" * 2, selftest=SelfTest(deployment.access, every_s=1.0)
    )
    feedback_topic.append(deployment.config.kafka, muting("AS1"))
    port = next(free_ports())
    deployment.start("respond", metrics_port=port)
    deployment.wait_until(lambda: bool(re.search(r"tripline_selftests_sent_total [1-9]", metrics(port))))
    events = [orjson.loads(record.value) for record in deployment.read(deployment.access)]
    marked = [signals.encode(signal(0, "account", e["account"], at=e["time"], score=20.0)) for e in events]
    send(deployment, [found("AS1"), *marked, found("AS2")])
    assert names(wait_until_told(deployment, 1)) == [("AS2", "open")]
    assert f"tripline_selftests_detected_total {len(marked)}.0" in metrics(port)
    assert 'tripline_alerts_held_back_total{reason="muted"} 1.0' in metrics(port)


def test_what_a_webhook_says_is_on_the_topic_once_and_heeded(deployment: Deployment) -> None:
    """Of an alert that was told, with a mute; sent twice, as whoever waits in vain for an answer does."""
    key = deployment.folder / "key"
    key.touch(0o600)
    key.write_text("whsec_c2VjcmV0")
    port, said_port = islice(free_ports(), 2)
    deployment.start("respond", metrics_port=port, feedback_port=said_port, feedback_secret_from=f"file:{key}")
    send(deployment, [found("AS1")])
    (told,) = wait_until_told(deployment, 1)
    said = {"alert": told["id"], "verdict": "expected", "who": "ann", "mute": {"for_s": 86_400}}
    answers = [post(said_port, said, headers(body_of(said), at_s=int(time.time()), key=key.read_text())) for _ in "ab"]
    (entry,) = feedback_topic.load(deployment.config.kafka)
    assert answers == [(200, {"number": 1, "hash": entry.hash})] * 2
    assert entry.mute is not None
    assert (entry.verdict, entry.mute.entities) == ("expected", (EntityRef("network", "AS1"),))
    assert 'tripline_feedback_requests_total{status="200"} 2.0' in metrics(port)
    assert post(said_port, said | {"alert": "tl-none"}, headers(b"", key="another"))[0] == 401
    deployment.wait_until(lambda: "tripline_feedback_entries_total 1.0" in metrics(port))


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
