"""The minimum job of every peer: moments of an account, distinct subjects of an address, alerts above thresholds.

An event's records and bytes are held against the mean and deviation of all before it of the same account, with River's
`Var` (its leanest model of that); and an address is told of once, when it has read the data of SUBJECTS_MAX people.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Sequence
from typing import Any, Final

import orjson
from river import stats

PARTITIONS: Final = 8  # of the access topic, and of those between two steps
GRACE: Final = 20  # events of an account before one of its is judged
DEVIATIONS: Final = 6.0
SUBJECTS_MAX: Final = 10
TOLD_S: Final = 0.1

Models = tuple[Any, Any]  # of records and of bytes; River has no types


def models() -> Models:
    """Those of an account that has done nothing yet."""
    return stats.Var(), stats.Var()


def surprise(of: Models, records: float, size: float) -> float:
    """By how many of its deviations the stranger of the two is off, as it was known before; then both are learnt."""
    worst = 0.0
    for model, value in zip(of, (records, size), strict=True):
        if model.n >= GRACE:
            worst = max(worst, abs(value - model.mean.get()) / max(math.sqrt(model.get()), 1.0))
        model.update(value)
    return worst


def account_alert(event: dict[str, Any], off: float) -> bytes:
    """What is told of an event that is off by so many deviations."""
    return orjson.dumps({"account": event["account"], "time": event["time"], "deviations": off})


def is_new(subjects: set[str] | list[str], subject: str) -> bool:
    """Whether to keep a subject of an address: it is new, and there are not yet too many."""
    return len(subjects) < SUBJECTS_MAX and subject not in subjects


def address_alert(address: str) -> bytes:
    """What is told of an address that has read the data of too many."""
    return orjson.dumps({"address": address, "subjects": SUBJECTS_MAX})


def as_list(of: Models) -> list[float]:
    """Models as a table or a store keeps them: how many, mean and variance of each."""
    return [number for model in of for number in (model.n, model.mean.get(), model.get())]


def of_list(kept: Sequence[float] | None) -> Models:
    """Models as they were kept; new ones of None."""
    if kept is None:
        return models()
    make: Any = stats.Var._from_state
    return make(*kept[:3]), make(*kept[3:])


class Progress:
    """How many events, and how many subjects of addresses, a program is through with; told on standard output."""

    events = 0
    subjects = 0

    def begin(self) -> None:
        """Tell it every TOLD_S from now on."""
        threading.Thread(target=self._tell, daemon=True).start()

    def _tell(self) -> None:
        pause = threading.Event()
        while not pause.wait(TOLD_S):
            sys.stdout.write(f"{self.events} {self.subjects}\n")
            sys.stdout.flush()
