"""One target in a process of its own: python -m tests.fuzz.engine MODULE TARGET SECONDS [libFuzzer's arguments].

It runs in one of three forms, by numba's variables: as Python, so that the branches of kernels are counted
(NUMBA_DISABLE_JIT); compiled so that an index outside of an array is an error (NUMBA_BOUNDSCHECK); and as the product
does, where such an index is a crash, or nothing that shows.
"""

from __future__ import annotations

import time

BEGAN = time.monotonic()

import gc  # noqa: E402 - what is imported is part of the seconds
import importlib  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from types import FunctionType  # noqa: E402
from typing import Any, Final  # noqa: E402

OURS: Final = ("stream.", "detectors.")


def fuzz(module: str, name: str, seconds: float, arguments: list[str]) -> None:
    """Fuzz until libFuzzer ends the process."""
    atheris: Any = importlib.import_module("atheris")
    as_python()
    target = next(each for each in importlib.import_module("tests.fuzz.target").listed(module) if each.name == name)
    for seed in target.seeds():  # whatever is imported, made or compiled late
        target.check(seed)
    instrument(atheris)
    mutated = importlib.import_module("tests.fuzz.mutate").mutated

    def mutator(data: bytes, bytes_max: int, seed: int) -> bytes:
        return bytes(mutated(data, bytes_max, seed, atheris.Mutate))

    left_s = max(1, int(seconds - (time.monotonic() - BEGAN)))
    atheris.Setup([sys.argv[0], f"-max_total_time={left_s}", *arguments], target.check, custom_mutator=mutator)
    atheris.Fuzz()


def as_python() -> None:
    """Before all else that is imported: leave out what is no Python, where kernels are run as Python."""
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        kernels: Any = importlib.import_module("detectors.kernels")
        kernels.prefetch = lambda _array, _index: None
        kernels.word = lambda array, p: array[int(p) : int(p) + 8].view("<u8")[0]


def instrument(atheris: Any) -> None:
    """Count the branches of all functions of the product that there are, but for what is compiled from Python.

    Not as they are imported: numba would read the counting, and could not compile it.
    """
    dispatcher = importlib.import_module("numba.core.dispatcher").Dispatcher
    everything = gc.get_objects()
    compiled = {each.py_func for each in everything if isinstance(each, dispatcher)}
    done: dict[Any, Any] = {}
    for each in everything:
        if isinstance(each, FunctionType) and f"{each.__module__}.".startswith(OURS) and each not in compiled:
            before = each.__code__
            if before not in done:
                done[before] = atheris.instrument_func(each).__code__
            each.__code__ = done[before]


if __name__ == "__main__":
    fuzz(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:])
