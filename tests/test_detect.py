"""One partition of the observations: scored the same however it was fetched; what is no block is told, and kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors import catalog
from stream import align, detect, wire
from stream.batch import Batch
from stream.blocks import packed
from stream.config import Config, Kafka, Worker
from stream.detect import Detect
from stream.errors import TriplineError
from stream.transact import Message
from tests.broker import Record
from tests.kafka.deployment import Counts
from tests.streams import START_MS, block, event, regulars, state
from tests.test_blocks import texts


@pytest.fixture(scope="module")
def log() -> list[Record]:
    """Half a day of three origins that are read one after the other, with repeats, in blocks of ten."""
    records: list[Record] = []
    for origin in range(3):
        events = sorted(regulars(0.5, 12, np.random.default_rng(origin)), key=lambda e: e.time)
        events = [msgspec.structs.replace(e, id=f"{origin}-{n % 60}") for n, e in enumerate(events)]
        for n in range(0, len(events), 10):
            part = packed(block(events[n : n + 10], f"kafka:access/{origin}", first=n + 1))
            more = n + 10 < len(events)
            records.append(Record(len(records), wire.encode(part, int(part.time.max()), more)))
    return records


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[list[Detect]]:
    """Stages to close."""
    made: list[Detect] = []
    yield made
    for each in made:
        each.close()


def stage(tmp_path: Path) -> Detect:
    config = Config(
        kafka=Kafka(topics=("access",)), worker=Worker(state=str(tmp_path / "state")),
        detectors={each: each == "volume" for each in catalog.detector_ids()},
    )  # fmt: skip
    return Detect(config, 0, Counts(), print)


def taken(made: Detect, log: Sequence[Record]) -> list[Message]:
    return made.take(Batch.of(log), silent=False, more=False)


def letters(messages: Sequence[Message]) -> list[tuple[str, str, int]]:
    told = [orjson.loads(m.value) for m in messages if m.reason]
    return [(letter["reason"], letter["origin"], letter["offset"]) for letter in told]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10, deadline=None)
@given(st.sets(st.integers(1, 20), max_size=6), st.sampled_from([1, 50, 10**6]), st.sampled_from([0, 10**9]))
def test_how_the_log_was_fetched_changes_nothing(
    log: list[Record], tmp_path: Path, stages: list[Detect], cuts: set[int], at_once: int, kept: int
) -> None:
    """Neither where a batch ends, nor where a pass over the detectors does, nor whether memory was let go of."""
    whole, apart = stage(tmp_path / "whole"), stage(tmp_path / "apart")
    stages += [whole, apart]
    once = taken(whole, log)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detect, "TAKEN_EVENTS", at_once)
        patch.setattr(align, "KEPT_BYTES_MAX", kept)
        bits = [taken(apart, log[a:b]) for a, b in pairwise([0, *sorted(cuts), len(log)])]
    assert letters([m for each in bits for m in each]) == letters(once)
    assert len(letters(once)) > 3
    assert state(apart.pipeline) == state(whole.pipeline)
    assert apart.aligner.save()[0] == whole.aligner.save()[0]


def test_what_is_no_block_is_told_with_its_place_and_the_rest_is_scored(
    log: list[Record], tmp_path: Path, stages: list[Detect]
) -> None:
    made = stage(tmp_path)
    stages.append(made)
    bad = [log[0], Record(1, b"no block"), *(Record(r.offset + 1, r.value) for r in log[1:])]
    told = letters(taken(made, bad))
    assert told[0] == ("bad_block", "kafka:tripline.observations/0", 1)
    whole = stage(tmp_path / "whole")
    stages.append(whole)
    taken(whole, log)
    assert state(made.pipeline) == state(whole.pipeline)


def test_a_block_of_a_newer_version_stops_the_worker(tmp_path: Path, stages: list[Detect]) -> None:
    """In the middle of an upgrade an old worker must not turn a new one's events into dead letters."""
    made = stage(tmp_path)
    stages.append(made)
    with pytest.raises(TriplineError, match=r"observations/0: offset 7: wire version 3, .*upgrade this worker"):
        taken(made, [Record(7, newer())])


def test_a_state_that_was_left_in_the_middle_of_a_batch_is_not_kept(
    log: list[Record], tmp_path: Path, stages: list[Detect], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the state at the batch's begin it would be: who goes on from it would take the batch in twice."""
    monkeypatch.setattr(detect, "TAKEN_EVENTS", 1)
    made = stage(tmp_path)
    stages.append(made)
    taken(made, log[:3])
    with pytest.raises(TriplineError, match="upgrade this worker"):
        taken(made, [*log[3:9], Record(9, newer())])
    made.save(3)
    assert not list(tmp_path.rglob("*.tripline"))
    assert made.recover(3, 0, 10) == 0


def newer() -> bytes:
    """A message of the next version of the wire."""
    fields = msgspec.msgpack.decode(wire.encode(packed(block([event(START_MS, "ann")]))))
    return msgspec.msgpack.encode([wire.VERSION + 1, *fields[1:]])


def test_memory_of_what_was_fetched_is_let_go_of(
    log: list[Record], tmp_path: Path, stages: list[Detect], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a fetch that waits in part for others, only what waits is kept, where that is little."""
    made = stage(tmp_path)
    stages.append(made)
    monkeypatch.setattr(align, "KEPT_BYTES_MAX", 2_000)
    behind = Record(0, wire.encode(packed(block([event(START_MS, "a")], "kafka:access/9")), START_MS, True))
    taken(made, [behind, *(Record(r.offset + 1, r.value) for r in log[:2])])
    assert made.aligner.held
    held = [texts(each) for each in made.aligner._held]
    assert sum({id(each.buffer): len(each.buffer) for each in held}.values()) == sum(
        each.sizes().sum() for each in held
    )
