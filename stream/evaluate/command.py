"""`tripline evaluate`: worlds on as many cores as are asked for, told in the order in which they were named."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from stream.config import Config
from stream.evaluate.foreign import evaluated, located
from stream.evaluate.judge import Outcome


def foreign(paths: Sequence[Path], config: Config, jobs: int, on_done: Callable[[int], None]) -> list[Outcome]:
    """The outcome of each world; `on_done` is told how many are. Raises TriplineError."""
    for path in paths:
        located(path)  # what is missing is said before an hour's work
    if len(paths) == 1 or jobs == 1:
        outcomes = []
        for path in paths:
            outcomes.append(evaluated(path, config))
            on_done(len(outcomes))
        return outcomes
    with ProcessPoolExecutor(min(jobs, len(paths)), multiprocessing.get_context("spawn")) as pool:
        outcomes = []
        for outcome in pool.map(evaluated, paths, [config] * len(paths)):
            outcomes.append(outcome)
            on_done(len(outcomes))
        return outcomes
