"""A worker that lost its disk goes on from the store as if it had not; what is damaged there is refused."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec  # type: ignore[import-untyped]
import msgspec
import numpy as np
import pytest

from stream import blocks, wire
from stream.batch import Batch
from stream.config import Config, Kafka, Worker
from stream.detect import Detect
from stream.errors import TriplineError, UsageError
from stream.store import KEPT, Store, StoreError
from tests.broker import Record
from tests.kafka.deployment import Counts
from tests.streams import block, regulars, state

Make = Callable[..., Detect]


@pytest.fixture(scope="module")
def log() -> list[Record]:
    """Observations of two days, an offset each for twenty-five of them."""
    events = sorted(regulars(2.0, 30, np.random.default_rng(3)), key=lambda e: e.time)
    parts = [events[i : i + 25] for i in range(0, len(events), 25)]
    return [
        Record(n, wire.encode(blocks.packed(block(part, "kafka:access/0", first=25 * n + 1))))
        for n, part in enumerate(parts)
    ]


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty store."""
    if request.param == "file":
        yield f"file://{tmp_path}/store"
    else:
        name = f"/{uuid4().hex}"
        yield f"memory:/{name}"
        if (files := fsspec.filesystem("memory")).exists(name):
            files.rm(name, recursive=True)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """make(disk, url): the stage of a worker with this disk, and what it said."""
    made: list[Detect] = []

    def stage(disk: str, url: str, said: list[str] | None = None, **changed: Any) -> Detect:
        worker = Worker(state=str(tmp_path / disk), store=url, store_every_s=1.0)
        config = msgspec.structs.replace(Config(kafka=Kafka(topics=("access",)), worker=worker), **changed)
        made.append(Detect(config, 0, Counts(), (said if said is not None else []).append))
        return made[-1]

    yield stage
    for each in made:
        each.close()


def taken(stage: Detect, log: Sequence[Record]) -> int:
    stage.take(Batch.of(log), silent=False, more=False)
    return log[-1].offset + 1


def saved(stage: Detect, offset: int) -> None:
    """A snapshot, and its copy in the store."""
    stage._copied_at = -1e9
    stage.save(offset)
    assert stage._store is not None
    stage._store.finish(60)
    assert stage._store.failed == ""


def goes_on(second: Detect, first: Detect, log: list[Record], at: int) -> Detect:
    """A second stage finds in the store what the first had come to, and both go on alike; the second."""
    assert second.recover(at, 0, len(log)) == at
    assert state(second.pipeline) == state(first.pipeline)
    for stage in (first, second):
        taken(stage, log[at:])
    assert state(second.pipeline) == state(first.pipeline)
    return second


def test_a_worker_without_its_disk_goes_on_where_it_was(make: Make, url: str, log: list[Record]) -> None:
    half = len(log) // 2
    first = make("first", url)
    first.recover(None, 0, len(log))
    saved(first, taken(first, log[:half]))
    goes_on(make("second", url), first, log, half)
    assert make("first", url).recover(half, 0, len(log)) == half


def damaged(files: Any, name: str, how: str) -> None:
    whole = files.cat_file(name)
    middle = len(whole) // 2
    files.pipe_file(
        name,
        {
            "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], "empty": b"",
            "truncated": whole[:middle], "foreign": b"PK" + whole[2:],
        }[how],
    )  # fmt: skip


@pytest.mark.parametrize("how", ["flipped", "truncated", "empty", "foreign"])
def test_a_damaged_copy_is_refused_with_its_reason_and_the_one_before_used(
    make: Make, url: str, log: list[Record], how: str
) -> None:
    first = make("first", url)
    first.recover(None, 0, len(log))
    for stop in (3, 6):
        saved(first, taken(first, log[stop - 3 : stop]))
    files, path = fsspec.core.url_to_fs(url)
    names = sorted(files.ls(f"{path}/partition-0", detail=False))
    damaged(files, names[-1], how)
    said: list[str] = []
    second = make("second", url, said)
    assert second.recover(6, 0, len(log)) == 3
    assert len(said) == 1
    assert "restore the file from a backup" in said[0]
    taken(second, log[3:6])
    assert state(second.pipeline) == state(first.pipeline)
    damaged(files, names[0], how)
    with pytest.raises(TriplineError, match="no snapshot can be used"):
        make("third", url).recover(6, 0, len(log))


def test_a_copy_that_is_ahead_or_of_another_configuration_is_not_used(make: Make, url: str, log: list[Record]) -> None:
    first = make("first", url)
    first.recover(None, 0, len(log))
    for stop in (3, 6):
        saved(first, taken(first, log[stop - 3 : stop]))
    assert make("second", url).recover(5, 0, len(log)) == 3
    with pytest.raises(TriplineError, match="another configuration"):
        make("third", url, warmup_h=1.0).recover(6, 0, len(log))


def test_no_more_is_kept_than_is_needed_and_nothing_is_left_behind(
    make: Make, url: str, log: list[Record], tmp_path: Path
) -> None:
    first = make("first", url)
    first.recover(None, 0, len(log))
    for n in range(5):
        saved(first, taken(first, log[n : n + 1]))
    assert first._store is not None
    assert [copy.offset for copy in first._store.copies()] == [5, 4]
    assert len(first._store.copies()) == KEPT
    second = make("second", url)
    second.recover(5, 0, len(log))
    assert not list(tmp_path.glob("*/partition-0/*.tmp"))


def test_a_store_that_does_not_answer_is_waited_for_only_without_a_snapshot(make: Make, log: list[Record]) -> None:
    nowhere = "http://127.0.0.1:9/store"
    first = make("first", "")
    first.recover(None, 0, len(log))
    first.save(taken(first, log[:3]))
    said: list[str] = []
    assert make("first", nowhere, said).recover(3, 0, len(log)) == 3
    assert "going on from the state directory" in said[0]
    with pytest.raises(StoreError, match=r"worker\.store"):
        make("second", nowhere).recover(3, 0, len(log))


def test_a_copy_that_fails_is_told_and_stops_nothing(make: Make, log: list[Record], tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file where a directory should be")
    said: list[str] = []
    stage = make("first", f"file://{tmp_path}/blocked", said)
    stage.recover(None, 0, len(log))
    for n in range(2):
        offset = taken(stage, log[n : n + 1])
        stage._copied_at = -1e9
        stage.save(offset)
        assert stage._store is not None
        stage._store.finish(60)
    assert "no copy of a snapshot: worker.store" in said[0]
    assert stage.recover(2, 0, len(log)) == 2


def test_what_a_killed_worker_left_is_swept(make: Make, tmp_path: Path, log: list[Record]) -> None:
    folder = tmp_path / "first" / "partition-0"
    folder.mkdir(parents=True)
    for name, age_s in (("snapshot-1.tripline.7.tmp", 9_999), ("held-1.tmp", 10)):
        (folder / name).touch()
        at = time.time() - age_s
        os.utime(folder / name, (at, at))
    make("first", "").recover(None, 0, len(log))
    assert [path.name for path in folder.glob("*.tmp")] == ["held-1.tmp"]


def test_a_store_that_cannot_be_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for url, part in (("s3://key:hunter2@bucket/x", "password"), ("nothing://x", "nothing")):
        with pytest.raises(UsageError, match=part) as error:
            Store(url, 0)
        assert "hunter2" not in str(error.value)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(UsageError, match=r"pip install 'tripline\[store\]'"):
        Store("s3://bucket", 0)


@pytest.fixture
def _deltas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of states that fit a test."""
    monkeypatch.setattr("stream.checkpoint.DELTAS_FROM_BYTES", 1)


def named(url: str) -> list[str]:
    """The objects of the store, by kind and number, the oldest first."""
    files, path = fsspec.core.url_to_fs(url)
    files.invalidate_cache()
    names = [name.rpartition("/")[2] for name in files.ls(f"{path}/partition-0", detail=False)]
    return [f"{name[0]}{int(name.split('-')[1])}" for name in sorted(names, key=lambda name: name.split("-")[1:])]


@pytest.mark.usefixtures("_deltas")
def test_what_a_snapshot_rests_on_is_copied_once_and_fetched_with_it(make: Make, url: str, log: list[Record]) -> None:
    half = len(log) // 2
    first = make("first", url)
    first.recover(None, 0, len(log))
    saved(first, taken(first, log[:3]))
    first.save(taken(first, log[3:5]))  # not copied yet
    saved(first, taken(first, log[5:half]))
    assert named(url) == ["s1", "d2", "d3"]
    second = goes_on(make("second", url), first, log, half)
    saved(second, len(log))  # a whole one, since it did not write what it fetched
    assert named(url) == ["s1", "d2", "d3", "s4"]
    assert make("second", url).recover(len(log), 0, len(log)) == len(log)


@pytest.mark.usefixtures("_deltas")
def test_who_finds_anothers_copy_in_between_copies_all_anew_and_old_chains_go(
    make: Make, url: str, log: list[Record]
) -> None:
    first, second = make("first", url), make("second", url)
    for stage in (first, second):
        stage.recover(None, 0, len(log))
    saved(first, taken(first, log[:3]))
    saved(second, taken(second, log[:2]))
    saved(first, taken(first, log[3:4]))
    assert named(url) == ["s2", "s3", "d4"]
    saved(second, taken(second, log[2:3]))
    assert named(url) == ["s3", "d4", "s5", "d6"]
    third = make("third", url)
    assert third.recover(4, 0, len(log)) == 4  # the better one, not the last
    assert state(third.pipeline) == state(first.pipeline)


@pytest.mark.usefixtures("_deltas")
@pytest.mark.parametrize("how", ["flipped", "truncated", "empty", "foreign", "gone"])
def test_a_copy_that_rests_on_a_damaged_one_is_refused_and_what_is_sound_used(
    make: Make, url: str, log: list[Record], how: str
) -> None:
    first = make("first", url)
    first.recover(None, 0, len(log))
    for stop in (3, 6, 9):
        saved(first, taken(first, log[stop - 3 : stop]))
    files, path = fsspec.core.url_to_fs(url)
    names = sorted(files.ls(f"{path}/partition-0", detail=False))  # delta 2, delta 3, snapshot 1
    if how == "gone":
        files.rm_file(names[0])
    else:
        damaged(files, names[0], how)
    said: list[str] = []
    second = make("second", url, said)
    assert second.recover(9, 0, len(log)) == 3
    assert any("restore the file from a backup" in each for each in said)
    if how == "gone":
        assert (
            f"a copy from the store is refused: {names[1].rpartition('/')[2]}: what it rests on is missing" in said[0]
        )
    taken(second, log[3:9])
    assert state(second.pipeline) == state(first.pipeline)
