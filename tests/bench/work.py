"""One measured piece of work in a process of its own, pinned to one core; prints a line of JSON."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from stream.config import Config
from stream.events import EventBlock
from stream.incidents import generate, load_incident
from stream.pipeline import Pipeline
from stream.run import Options, Run
from tests.bench.peer import detect

CREDENTIALS_MAX = 150_000  # of the run whose memory is watched


def tripline(log: str, without: str = "") -> dict[str, Any]:
    """`tripline run` from the file to the alerts; without some detectors, by a comma between them."""
    config = Config(detectors=dict.fromkeys(filter(None, without.split(",")), False))
    run = Run(config, Options(paths=[log], alerts=os.devnull))
    began = time.perf_counter()
    run.go()
    seconds = time.perf_counter() - began
    stages = run.counts.stage_s | run.pipeline.stage_s
    return {"events": run.pipeline.events, "seconds": seconds, "stages": stages} | _memory(run.pipeline)


def tutorial(log: str) -> dict[str, Any]:
    """The peer, from the same file."""
    began = time.perf_counter()
    events, accounts, _alerts = detect(Path(log))
    seconds = time.perf_counter() - began
    return {"events": events, "seconds": seconds, "entities": accounts, "peak_bytes": _peak()}


def flat(accounts: str, events: str) -> dict[str, Any]:
    """Resident memory as events go by, from the generator straight into the pipeline.

    Sessions are new every day, so the credentials have a limit that they come to within the first quarter.
    """
    limits = msgspec.structs.replace(Config().entities_max, credential=CREDENTIALS_MAX)
    pipeline = Pipeline(Config(entities_max=limits), lambda _alert: None)
    wanted, step = int(events), int(events) // 10
    curve: list[tuple[int, int]] = []
    for block in _blocks(int(accounts)):
        pipeline.process(block)
        if pipeline.events >= step * (len(curve) + 1):
            curve.append((pipeline.events, _resident()))
        if pipeline.events >= wanted:
            break
    return {"curve": curve} | _memory(pipeline)


def _blocks(accounts: int) -> Iterator[EventBlock]:
    return generate(load_incident("forged-token"), accounts=accounts, days=12.0, seed=1, attack=False)


def _memory(pipeline: Pipeline) -> dict[str, Any]:
    entities = {kind: len(table) for kind, table in pipeline.tables.items() if len(table)}
    kinds = {kind: pipeline.tables[kind].nbytes() for kind in entities}
    return {"entities": entities, "state_bytes": kinds, "peak_bytes": _peak()}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    works: dict[str, Callable[..., dict[str, Any]]] = {"tripline": tripline, "tutorial": tutorial, "flat": flat}
    print(json.dumps(works[sys.argv[1]](*sys.argv[2:])))
