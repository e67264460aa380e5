"""`tripline evaluate`: worlds on as many cores as are asked for, told in the order in which they were named."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import TypeVar

from stream.config import Config
from stream.console import Console
from stream.errors import UsageError
from stream.evaluate import table
from stream.evaluate.foreign import evaluated, located
from stream.evaluate.judge import Outcome
from stream.evaluate.page import page
from stream.evaluate.results import summed
from stream.evaluate.suite import Played, Scene, checked, scenes
from stream.evaluate.suite import played as played_scene
from stream.incidents.company import list_companies
from stream.report import write_whole
from stream.sink import LineSink

W = TypeVar("W")
R = TypeVar("R")


def evaluate(arguments: argparse.Namespace, config: Config) -> int:
    """What the command line asked for: the worlds that it names, or else the suite."""
    for name, least in (("jobs", 1), ("seeds", 1)):
        if getattr(arguments, name) < least:
            raise UsageError(f"--{name} {getattr(arguments, name)}: must be at least {least}")
    if arguments.world:
        outcomes = foreign(arguments.world, config, arguments.jobs)
        if arguments.json != "-":
            table.show(outcomes, Console(sys.stdout))
        _write(arguments.json, table.as_json(outcomes))
        return 0
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    companies = arguments.company or list_companies()
    paces = arguments.pace or ()
    some = scenes(seeds, companies, paces, scale=arguments.scale, days=arguments.days)
    played = suite(some, config, arguments.jobs)
    results = summed(played)
    if arguments.json != "-":
        table.show_results(results, Console(sys.stdout))
    _write(arguments.json, table.results_json(results, played))
    if arguments.report:
        write_whole(arguments.report, page(results, played).encode())
    return 0


def _write(target: str | None, data: bytes) -> None:
    if target:
        with LineSink(target, "evaluation") as sink:
            sink.write(data)


def foreign(paths: Sequence[Path], config: Config, jobs: int) -> list[Outcome]:
    """The outcome of each world. Raises TriplineError."""
    for path in paths:
        located(path)  # what is missing is said before an hour's work
    return _each(evaluated, paths, config, jobs)


def suite(some: Sequence[Scene], config: Config, jobs: int) -> list[Played]:
    """What came of each scene. Raises TriplineError."""
    for scene in some:
        checked(scene)
    return _each(played_scene, some, config, jobs)


def _each(work: Callable[[W, Config], R], worlds: Sequence[W], config: Config, jobs: int) -> list[R]:
    """The work of each world, in their order, as many at a time as there are jobs; how far it is goes to stderr."""
    console, done = Console(sys.stderr), list[R]()

    def took(result: R) -> None:
        done.append(result)
        console.progress(len(done) / len(worlds), f"{len(done)} of {len(worlds)} worlds")

    if jobs == 1 or len(worlds) == 1:
        for world in worlds:
            took(work(world, config))
    else:
        with ProcessPoolExecutor(min(jobs, len(worlds)), multiprocessing.get_context("spawn")) as pool:
            for result in pool.map(work, worlds, repeat(config)):
                took(result)
    console.done()
    return done
