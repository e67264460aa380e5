"""River's half-space trees, one forest a cohort, with state as arrays that load exactly.

The trees split each coordinate of [0, 1] at random places that depend on a seed alone; what is learned are masses, two
counts a node: those of the last window of vectors, by which scores are told, and those of the window that is going on.
A score is 1 where nobody was and falls with the mass around it. Memory: 15 kB in a snapshot, 1 MB while it works.
Source: Tan, Ting and Liu, "Fast Anomaly Detection for Streaming Data" (2011); river.anomaly.HalfSpaceTrees.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final

import numpy as np

from detectors.base import Array

TREES: Final = 30
HEIGHT: Final = 6
WINDOW: Final = 256  # vectors
NODES: Final = 2 ** (HEIGHT + 1) - 1
SEED: Final = 1
MASS: Final = np.dtype([("last", np.uint16), ("now", np.uint16)])  # of a node


def _half_space_trees() -> Any:
    """River's class by itself: the packages around it import scipy's statistics for others, which takes a second."""
    root = importlib.import_module("river").__path__[0]
    names = [name for name in ("anomaly", "tree") if f"river.{name}" not in sys.modules]
    for name in names:
        package = ModuleType(f"river.{name}")
        package.__path__ = [f"{root}/{name}"]
        sys.modules[package.__name__] = package
    try:
        return importlib.import_module("river.anomaly.hst").HalfSpaceTrees
    finally:
        for name in names:
            del sys.modules[f"river.{name}"]


class Forest:
    """Half-space trees over vectors of `size` coordinates within [0, 1].

    >>> forest = Forest(2)
    >>> for n in range(WINDOW):
    ...     forest.learn([0.5 + n % 7 / 100, 0.5])
    >>> forest.score([0.5, 0.5]) < forest.score([0.02, 0.97]) <= 1.0
    True
    """

    def __init__(self, size: int, learned: int = 0, masses: Array | None = None) -> None:
        """learned: how many vectors made `masses`, MASS[TREES, NODES] as `masses` gave them."""
        self._model = _half_space_trees()(n_trees=TREES, height=HEIGHT, window_size=WINDOW, seed=SEED)
        self._model.learn_one(dict.fromkeys(range(size), 0.5))  # which makes the trees
        self._nodes = [list(tree.iter_dfs()) for tree in self._model.trees]
        self.learned = learned
        self._model.counter = learned % WINDOW
        self._model._first_window = learned < WINDOW  # there is no other way to tell it
        before = np.zeros((TREES, NODES), MASS) if masses is None else masses
        for nodes, row in zip(self._nodes, before, strict=True):
            for node, last, now in zip(nodes, row["last"].tolist(), row["now"].tolist(), strict=True):
                node.r_mass, node.l_mass = last, now

    @property
    def tells(self) -> bool:
        """Whether it has seen a window, before which every score is 0."""
        return self.learned >= WINDOW

    def score(self, x: Sequence[float]) -> float:
        """How empty it is around x: from 0 to 1."""
        return float(self._model.score_one(dict(enumerate(x))))

    def learn(self, x: Sequence[float]) -> None:
        """Count x."""
        self._model.learn_one(dict(enumerate(x)))
        self.learned += 1

    def masses(self) -> Any:
        """All that was learned: MASS[TREES, NODES]."""
        out = np.zeros((TREES, NODES), MASS)
        for row, nodes in zip(out, self._nodes, strict=True):
            row["last"] = [node.r_mass for node in nodes]
            row["now"] = [node.l_mass for node in nodes]
        return out
