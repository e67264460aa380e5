"""Replays for tests, two at a time: `python -m tests.replays NAME SEED ATTACK` prints what came of one as JSON."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import msgspec

from stream.config import Config
from stream.incidents import load_incident
from stream.replay import Replay

ACCOUNTS, DAYS = 1_500, 4.0


class Job(NamedTuple):
    """Which incident, in which world, or the world without it."""

    name: str
    seed: int
    attack: bool


class Result(NamedTuple):
    """What came of it: minutes to the first alert, alerts about the campaign and about anything else."""

    minutes: float | None
    found: int
    false: int
    watched_days: float
    records_out: int
    records: int
    ids: tuple[str, ...]


def replayed(job: Job) -> Result:
    """The replay with default settings."""
    score = Replay(
        load_incident(job.name), Config(), accounts=ACCOUNTS, days=DAYS, seed=job.seed, attack=job.attack
    ).go()
    return Result(
        score.minutes, len(score.found), len(score.false), score.watched_days, score.records_out, score.truth.records,
        tuple(told.alert.id for told in (*score.found, *score.false)),
    )  # fmt: skip


def replay_all(jobs: Sequence[Job]) -> list[Result]:
    """Each in a process of its own."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(_apart, jobs))


def _apart(job: Job) -> Result:
    command = [sys.executable, "-m", "tests.replays", job.name, str(job.seed), str(int(job.attack))]
    done = subprocess.run(command, capture_output=True, check=True, cwd=Path(__file__).parent.parent)
    return msgspec.json.decode(done.stdout, type=Result)


if __name__ == "__main__":
    given = Job(sys.argv[1], int(sys.argv[2]), attack=sys.argv[3] == "1")
    sys.stdout.buffer.write(msgspec.json.encode(replayed(given)))
