"""A run that is cut anywhere and started again writes what a run that was never cut writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from stream.alerts import comparable
from stream.checkpoint import StateDirectory
from stream.config import Config
from stream.errors import TriplineError
from stream.incidents import generate, load_incident, write_jsonl
from stream.pipeline import Pipeline
from stream.run import Options, Run
from stream.sink import LineSink

CONFIG = Config(warmup_h=12.0, session_lifetime_h=12.0, tick_s=300, snapshot_every_s=0.0)
SIZE: dict[str, Any] = {"accounts": 400, "days": 2.0, "seed": 4}


class Killed(BaseException):
    """Stands for a process that is no more."""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of a small retailer with a theft, a repeated line and a broken one."""
    path = tmp_path_factory.mktemp("log") / "access.jsonl"
    incident = load_incident("forged-token")
    incident = msgspec.structs.replace(
        incident, attack=msgspec.structs.replace(incident.attack, requests_per_day_min=40_000.0)
    )
    write_jsonl(generate(incident, **SIZE), path)
    lines = path.read_bytes().splitlines(keepends=True)
    named = orjson.dumps(orjson.loads(lines[5]) | {"id": "e-5"}) + b"\n"
    lines[4:6] = [b'{"time": "yesterday"}\n', named, named]
    path.write_bytes(b"".join(lines))
    return path


def options(log: Path, folder: Path) -> Options:
    return Options(
        paths=[str(log)], alerts=str(folder / "alerts"), dead_letters=str(folder / "dead"), state=folder / "state"
    )


def written(folder: Path) -> tuple[list[dict[str, Any]], bytes]:
    """What a run wrote: alerts without the wall clock, and dead letters."""
    alerts = [comparable(line) for line in (folder / "alerts").read_bytes().splitlines()]
    return alerts, (folder / "dead").read_bytes()


@pytest.fixture(scope="module")
def whole(log: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], bytes]:
    """What a run that was never cut writes."""
    folder = tmp_path_factory.mktemp("whole")
    assert Run(CONFIG, options(log, folder)).go()
    alerts, dead = written(folder)
    assert any(a["status"] == "open" for a in alerts)
    assert [orjson.loads(line)["reason"] for line in dead.splitlines()] == ["missing_field", "duplicate_id"]
    return alerts, dead


CUTS: list[tuple[Any, str]] = [
    (Pipeline, "take"),  # a block has been taken in, nothing written
    (LineSink, "write"),  # in the middle of a tick's alerts
    (LineSink, "sync"),  # alerts written, no snapshot of them
    (StateDirectory, "save"),
    (os, "fsync"),  # the snapshot is written under its temporary name
    (os, "replace"),  # ... and is about to get its own
]


@pytest.mark.parametrize("owner, name", CUTS, ids=[name for _, name in CUTS])
@pytest.mark.parametrize("nth", [1, 5])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_run_cut_anywhere_goes_on_as_if_it_had_not(
    log: Path,
    whole: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    nth: int,
    before: bool,
) -> None:  # fmt: skip
    """Cut at the nth call of what matters, before it or after."""
    calls = 0
    real = getattr(owner, name)

    def cut(*args: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if before and calls == nth:
            raise Killed
        result = real(*args, **named)
        if calls == nth:
            raise Killed
        return result

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, cut)
        try:
            Run(CONFIG, options(log, tmp_path)).go()
        except Killed:
            pass
        else:
            pytest.fail(f"{name} is not called {nth} times in this run: choose others")
    assert Run(CONFIG, options(log, tmp_path)).go()
    assert written(tmp_path) == whole


@pytest.mark.parametrize("nth", [4])
def test_kill_9(log: Path, whole: Any, tmp_path: Path, nth: int) -> None:
    """The same with a real process and the signal that no process sees."""
    code = f"""
import os, signal
from pathlib import Path
from stream.config import Config
from stream.pipeline import Pipeline
from stream.run import Options, Run
import msgspec
real, calls = Pipeline.take, 0
def take(self, block):
    global calls
    calls += 1
    if calls == {nth}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, block)
Pipeline.take = take
config = Config(warmup_h=12.0, session_lifetime_h=12.0, tick_s=300, snapshot_every_s=0.0)
folder = Path({str(tmp_path)!r})
Run(config, Options(paths=[{str(log)!r}], alerts=str(folder / "alerts"), dead_letters=str(folder / "dead"),
    state=folder / "state")).go()
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert Run(CONFIG, options(log, tmp_path)).go()
    assert written(tmp_path) == whole


def test_stopping_keeps_everything(log: Path, whole: Any, tmp_path: Path) -> None:
    """SIGTERM between two chunks: a snapshot, False, and the rest the next time."""
    first = Run(CONFIG, options(log, tmp_path))

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    assert first.go(stop) is False
    assert 0 < first.pipeline.events < 8_000
    assert Run(CONFIG, options(log, tmp_path)).go()
    assert written(tmp_path) == whole


def test_a_second_run_over_the_same_input_adds_nothing(log: Path, whole: Any, tmp_path: Path) -> None:
    for _ in range(2):
        assert Run(CONFIG, options(log, tmp_path)).go()
        assert written(tmp_path) == whole


def test_input_that_comes_in_two_parts_gives_the_alerts_of_one(log: Path, whole: Any, tmp_path: Path) -> None:
    """What was judged at the end of the first part is judged anew with what came after."""
    lines = log.read_bytes().splitlines(keepends=True)
    part = tmp_path / "access.jsonl"
    part.write_bytes(b"".join(lines[: len(lines) * 9 // 10]))
    assert Run(CONFIG, options(part, tmp_path)).go()
    part.write_bytes(b"".join(lines))
    assert Run(CONFIG, options(part, tmp_path)).go()
    found, expected = written(tmp_path)[0], whole[0]
    for alert in (*found, *expected):
        del alert["source"]
    assert found == expected


def test_another_configuration_does_not_take_the_state(log: Path, tmp_path: Path) -> None:
    """A refusal that says what to do, and not a silent new beginning."""
    assert Run(CONFIG, options(log, tmp_path)).go()
    other = msgspec.structs.replace(CONFIG, alerts_per_day_max=50.0)
    with pytest.raises(TriplineError, match="configuration"):
        Run(other, options(log, tmp_path)).go()


def test_alerts_that_were_taken_away_are_missed(log: Path, tmp_path: Path) -> None:
    assert Run(CONFIG, options(log, tmp_path)).go()
    (tmp_path / "alerts").unlink()
    with pytest.raises(TriplineError, match="alerts"):
        Run(CONFIG, options(log, tmp_path)).go()


def test_a_full_disk_is_said_and_the_state_stays(log: Path, tmp_path: Path) -> None:
    with pytest.raises(TriplineError, match=r"dead letters.*(No space|full)"):
        Run(CONFIG, replace(options(log, tmp_path), dead_letters="/dev/full")).go()


@pytest.fixture(autouse=True)
def _signals_are_given_back() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGTERM) is before
