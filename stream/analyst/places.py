"""Events by their place in the log: kept as numbers while the pipeline runs, found again when the log is read anew."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.base import Array
from stream.alerts import rfc3339
from stream.blocks import PackedBlock
from stream.events import ACTIONS, OUTCOMES
from stream.origins import unstamped

PLACES_MAX: Final = 50_000_000  # 16 bytes each while they come in


class Event(msgspec.Struct):
    """One access with its place: file and line, or topic/partition and offset.

    written: the account as the log has it, "" where that is what it is called. user_agent: as the log has it.
    """

    place: str
    time: str
    account: str
    action: str
    resource: str
    object: str
    subject: str
    credential: str
    source_ip: str
    network: str
    user_agent: str
    records: float
    bytes: float
    outcome: str
    written: str = ""


class Places:
    """Lines by origin, each once."""

    def __init__(self) -> None:
        self._parts: dict[str, list[npt.NDArray[np.int64]]] = {}
        self.count = 0
        self.full = False

    def add(self, origin: str, lines: npt.NDArray[np.int64]) -> None:
        """Know these lines of an origin, whatever its events were filled in from."""
        origin = unstamped(origin)[0]
        if self.count >= PLACES_MAX:
            self.full = True
            return
        self._parts.setdefault(origin, []).append(np.unique(lines))
        self.count += len(lines)

    def add_rows(self, rows: Array, origins: dict[str, str]) -> None:
        """Know rows of a trace, whose origins are numbers that `origins` names."""
        for number in np.unique(rows["origin"]).tolist():
            self.add(origins[str(number)], rows["line"][rows["origin"] == number])

    def settled(self) -> dict[str, npt.NDArray[np.int64]]:
        """The lines of each origin, rising, each once."""
        for origin, parts in self._parts.items():
            self._parts[origin] = [np.unique(np.concatenate(parts))]
        return {origin: parts[0] for origin, parts in self._parts.items()}


def within(block: PackedBlock, places: dict[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.bool_]:
    """Which events of a block are at one of these places: bool[n]; `places` as `Places.settled` gives them."""
    found = np.zeros(len(block), np.bool_)
    for number, origin in enumerate(block.origins):
        lines = places.get(unstamped(origin)[0])
        if lines is not None and len(lines):
            at = np.searchsorted(lines, block.line)
            known = lines[np.minimum(at, len(lines) - 1)] == block.line
            found |= known & (block.origin == number)
    return found


def events_at(block: PackedBlock, index: Iterable[int], came: PackedBlock) -> list[Event]:
    """Events of a block, in words; came: what they were before they were filled in."""
    texts = {name: block.text[name] for name in (
        "account", "resource", "object", "subject", "credential", "source_ip", "network",
    )}  # fmt: skip
    written, agents = came.text["account"], came.text["user_agent"]
    return [
        Event(
            place=place_of(block.origins[int(block.origin[i])], int(block.line[i])), time=rfc3339(int(block.time[i])),
            action=ACTIONS[int(block.action[i])], outcome=OUTCOMES[int(block.outcome[i])],
            records=float(block.records[i]), bytes=float(block.bytes[i]), user_agent=agents[i],
            written="" if written[i] == texts["account"][i] else written[i],
            **{name: column[i] for name, column in texts.items()},
        )
        for i in index
    ]  # fmt: skip


def place_of(origin: str, line: int) -> str:
    """A place in words.

    >>> place_of("access.log", 12), place_of("kafka:access/3", 99)
    ('access.log line 12', 'access/3 offset 99')
    """
    origin = unstamped(origin)[0]
    if origin.startswith("kafka:"):
        return f"{origin.removeprefix('kafka:')} offset {line}"
    return f"{origin} line {line}"
