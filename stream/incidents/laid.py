"""Thefts laid over a company's log: each is added to the days on which it happens, and the days leave as blocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.events import EventBlock
from stream.incidents.drafts import Draft, block_of, in_order, joined, take
from stream.incidents.intruder import Intruder

PAST_DAYS: Final = 14  # of the log, which an intruder has seen
BLOCK_EVENTS: Final = 16_384


def laid_over(
    days: Iterable[tuple[int, Draft]], intruders: Sequence[Intruder]
) -> Iterator[tuple[EventBlock, npt.NDArray[Any]]]:
    """The blocks in the order of the log, each with object[n]: whose theft each event is part of, "" for none."""
    past: deque[Draft] = deque(maxlen=PAST_DAYS)
    taken: set[str] = set()
    line = 1
    for begin_ms, today in days:
        active = [each for each in intruders if each.active(begin_ms)]
        history = joined(past) if any(not each.ready for each in active) else joined([])
        whole = in_order(joined([today, *(each.day(begin_ms, today, history, taken) for each in active)]))
        past.append(today)
        for first in range(0, len(whole["time"]), BLOCK_EVENTS):
            part = take(whole, np.arange(first, min(first + BLOCK_EVENTS, len(whole["time"]))))
            yield block_of(part, line), part["attack"]
            line += len(part["time"])
