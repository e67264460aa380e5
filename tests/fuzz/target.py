"""What is fuzzed: checks of one input, each with inputs to begin from, found by looking into this folder."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

PACKAGE: Final = __name__.rpartition(".")[0]
PART: Final = b"\x1e"  # between the parts of an input, such as a schema and a value of it: no text has it


@dataclass(frozen=True, slots=True)
class Target:
    """check: raises where an input does what none may do. seeds: inputs to begin from, which do not. compiled: loops
    that numba compiles read what it is given."""  # fmt: skip

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    compiled: bool = False


def modules() -> list[str]:
    """The files that list targets."""
    return [m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if m.name.startswith("of_")]


def listed(module: str) -> list[Target]:
    """The targets of one file of this folder."""
    found: list[Target] = importlib.import_module(f"{PACKAGE}.{module}").TARGETS
    return found


@cache
def targets() -> dict[str, Target]:
    """Every target there is, by name."""
    return {each.name: each for module in modules() for each in listed(module)}


@cache
def homes() -> dict[str, str]:
    """The file of each target: who needs one imports no more than that, which takes longer than many an input."""
    return {each.name: module for module in modules() for each in listed(module)}


def parts(data: bytes, count: int) -> list[bytes]:
    """The parts of an input, empty where there are fewer; the last may hold any byte.

    >>> parts(b"schema", 2), parts(b"a\\x1eb\\x1ec", 2)
    ([b'schema', b''], [b'a', b'b\\x1ec'])
    """
    found = data.split(PART, count - 1)
    return found + [b""] * (count - len(found))
