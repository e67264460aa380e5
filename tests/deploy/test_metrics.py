"""What every process exposes: well named, explained, bounded, and counters that never go back."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from detectors import catalog
from stream.config import Config, Kafka
from stream.config import Worker as WorkerSettings
from stream.metrics import registry_of
from stream.metrics.families import Growth
from stream.metrics.process import memory_limit_bytes
from stream.metrics.respond import respond_registry
from stream.metrics.worker import worker_registry
from stream.pipeline import Pipeline
from stream.respond import Respond
from stream.run import Counts
from stream.worker import Worker
from tests.deploy.programs import program
from tests.streams import DAY_MS, START_MS, block, event

LABELS = {
    "reason", "stage", "kind", "detector", "severity", "status", "group", "feed", "partition", "topic", "of", "le",
    "below_bits", "version", "configuration", "subscriber", "result",
}  # fmt: skip


def run_registry() -> CollectorRegistry:
    counts = Counts()
    counts.dead_letters["not_json"] = 1
    counts.alerts["open", "high"] = 1
    counts.detected["volume", "high"] = 1
    pipeline = Pipeline(Config(), lambda _alert: None)
    pipeline.process(block(event(START_MS + n * DAY_MS // 40, f"user-{n % 7}") for n in range(120)))
    return registry_of(pipeline, counts)


async def started(process: str) -> str:
    """What a process exposes that has just started and has no broker."""
    config = Config(kafka=Kafka(topics=("access",)), worker=WorkerSettings(metrics_port=0))
    if process == "respond":
        return generate_latest(respond_registry(Respond(config))).decode()
    worker = Worker(config, lambda _message: None)
    worker.ingested["access"] += 3
    exposed = generate_latest(worker_registry(worker)).decode()
    for group in worker.groups:
        await group.consumer.stop()
    return exposed


def exposed(process: str) -> str:
    if process == "run":
        return generate_latest(run_registry()).decode()
    if process == "worker":
        return asyncio.run(started("worker"))
    return apart("started('respond')")


def apart(call: str) -> str:
    """What a coroutine of this file gives in an interpreter of its own: Faust leaves some behind where it was made."""
    ask = f"import asyncio; from tests.deploy import test_metrics as here; print(asyncio.run(here.{call}))"
    return subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    ).stdout


async def scraped_before_its_start() -> bool:
    """Whether Faust still has the loop that it runs in, also what asks whether it is ready."""
    respond = Respond(Config(kafka=Kafka(topics=("access",)), worker=WorkerSettings(metrics_port=0)))
    respond.app._started.set()  # as it is while Faust still starts
    await asyncio.to_thread(generate_latest, respond_registry(respond))
    await asyncio.to_thread(respond._ready)
    here = asyncio.get_running_loop()
    return all(service.loop is here for service in (respond.app, respond.app.tables.recovery))


@pytest.mark.parametrize("process", ["run", "worker", "respond"])
def test_names_and_texts_are_as_prometheus_wants_them(process: str) -> None:
    """`promtool check metrics` has nothing to say, and no label is one that could name somebody."""
    text = exposed(process)
    assert "tripline_build_info" in text
    assert set(re.findall(r'[{,](\w+)="', text)) <= LABELS
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_scrape_before_faust_has_started_leaves_it_its_loop() -> None:
    assert apart("scraped_before_its_start()") == "True\n"


def test_counts_by_topic_begin_at_nothing() -> None:
    """Of a series that begins with its first message, no rate tells."""
    text = exposed("respond")
    assert 'tripline_faust_messages_received_total{topic="tripline.signals"} 0.0' in text
    assert 'tripline_faust_messages_sent_total{topic="tripline.alerts"} 0.0' in text


def test_a_detector_that_learns_says_so() -> None:
    text = generate_latest(run_registry()).decode()
    learned = dict(re.findall(r'tripline_learned_windows_total\{detector="(\w+)"\} (\S+)', text))
    assert set(learned) <= set(catalog.detector_ids())
    assert float(learned["volume"]) > 0


def test_what_a_detector_has_no_room_for_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two visits at once, where there is room for one."""
    monkeypatch.setattr("detectors.baselines.visits.VISITS_MAX", 1)
    pipeline = Pipeline(Config(), lambda _alert: None)
    pipeline.process(block(event(START_MS, "clerk-1", subject=f"user-{n}", account_kind="employee") for n in range(2)))
    pipeline.finish()
    text = generate_latest(registry_of(pipeline, Counts())).decode()
    counted = dict(re.findall(r'tripline_detector_overflowed_total\{detector="(\w+)"\} (\S+)', text))
    assert counted["browsing"] == "1.0"
    assert counted["volume"] == "0.0"


class Owner:
    """Something with counts in its state."""

    def __init__(self, count: int, resumed: bool) -> None:
        self.count = count
        self.resumed = resumed


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["add", "leave", "read back"]), st.integers(1, 9))))
def test_a_counter_of_kept_counts_never_falls_and_counts_what_was_added(steps: list[tuple[int, str, int]]) -> None:
    """Partitions grow, leave, and come back as an older state; a look after each step."""
    growth: Growth[Owner] = Growth(lambda owner: owner.resumed)
    owners: dict[int, Owner] = {}
    added = 0
    for number, what, amount in steps:
        if what == "leave":
            owners.pop(number, None)
        elif what == "read back":
            owners[number] = Owner(100 * amount, resumed=True)
        elif number in owners:
            owners[number].count += amount
            added += amount
        else:
            owners[number] = Owner(amount, resumed=False)
            added += amount
        told = growth("events", owners.values(), lambda owner: {(): owner.count})
        assert told.get((), 0) == added


def test_the_memory_limit_is_no_more_than_the_machine_has() -> None:
    assert 0 < memory_limit_bytes() <= 2**50
