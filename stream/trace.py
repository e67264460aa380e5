"""The trace: the latest events that evidence rests on, so that an alert can name what was read, by whom and from where.

Only events that a detector marked are kept, in a ring of fixed size; slots are those of the entity tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.base import Array, Detector, Frame

TRACED: Final = ("account", "credential", "issuer", "source", "network", "client", "resource", "fleet")
ROWS: Final = 65_536
ROW: Final = np.dtype(
    [
        ("time", np.int64), ("origin", np.uint32), ("line", np.int64), ("subject", np.uint64), ("group", np.uint64),
        ("records", np.float64), ("bytes", np.float64), ("slots", np.int32, (len(TRACED),)), ("marks", np.uint16),
    ],
    align=True,
)  # fmt: skip


class Trace:
    """A ring of marked events, oldest first in `rows`. Memory: 104 bytes a row, room for 2 x 65,536 rows."""

    def __init__(self) -> None:
        self._buffer: Array = np.zeros(2 * ROWS, ROW)
        self._start = 0
        self._stop = 0
        self.fresh = 0  # rows added since the last tick, at the end

    @property
    def rows(self) -> Array:
        """The rows there are, oldest first."""
        return self._buffer[self._start : self._stop]

    def add(self, frame: Frame, origin: npt.NDArray[np.uint32], line: npt.NDArray[np.int64]) -> None:
        """Keep the frame's marked events; origin, line: where each event of the frame comes from."""
        marked = np.flatnonzero(frame.marks)[-ROWS:]
        if not len(marked):
            return
        if self._stop + len(marked) > len(self._buffer):
            kept = self.rows.copy()
            self._buffer[: len(kept)] = kept
            self._start, self._stop = 0, len(kept)
        rows = self._buffer[self._stop : self._stop + len(marked)]
        rows["time"] = frame.time[marked]
        rows["origin"] = origin[marked]
        rows["line"] = line[marked]
        rows["group"] = frame.hashes["group"][marked]
        reads, subject = frame.reads[marked], frame.hashes["subject"][marked]
        whose = np.where(subject != 0, subject, frame.hashes["account"][marked])
        rows["subject"] = np.where(reads, whose, np.uint64(0))  # of whom nothing was read, nothing left
        rows["records"] = np.where(reads, frame.records[marked], 0.0)
        rows["bytes"] = np.where(reads, frame.bytes[marked], 0.0)
        rows["marks"] = frame.marks[marked]
        for k, kind in enumerate(TRACED):
            rows["slots"][:, k] = frame.touch[kind]["slot"][marked]
        self._stop += len(marked)
        self._start = max(self._start, self._stop - ROWS)
        self.fresh += len(marked)

    def forget(self, kind: str, slots: npt.NDArray[np.int32]) -> None:
        """Entities were evicted: their slots mean nothing any more."""
        if kind in TRACED and len(slots):
            column = self.rows["slots"][:, TRACED.index(kind)]
            column[np.isin(column, slots)] = -1

    def touching(self, kind: str, slot: int) -> npt.NDArray[np.bool_]:
        """Which rows touch this entity, for whatever reason they are kept: bool[rows]."""
        found: npt.NDArray[np.bool_] = self.rows["slots"][:, TRACED.index(kind)] == slot
        return found

    def of(
        self, kind: str, slot: int, mask: int, detectors: list[Detector], columns: Mapping[str, Mapping[str, Array]],
        start: int,
    ) -> npt.NDArray[np.bool_]:  # fmt: skip
        """Which rows from `start` on touch this entity and carry a mark, that still stands, of a detector in `mask`."""
        rows = self.rows[start:]
        touched = rows["slots"][:, TRACED.index(kind)] == slot
        found: npt.NDArray[np.bool_] = np.zeros(len(rows), np.bool_)
        credentials = rows["slots"][:, TRACED.index("credential")]
        for bit, detector in enumerate(detectors):
            if mask >> bit & 1:
                marked = touched & ((rows["marks"] >> bit & 1) != 0)
                marked[marked] = detector.stands(credentials[marked], columns[detector.id])
                found |= marked
        return found

    def save(self) -> dict[str, Array]:
        """The rows, and how many are new since the last tick."""
        return {"rows": self.rows, "fresh": np.array([self.fresh], np.int64)}

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Continue from what `save` gave."""
        rows = arrays["rows"]
        self._start, self._stop = 0, len(rows)
        self._buffer[: len(rows)] = rows.astype(ROW)
        self.fresh = int(arrays["fresh"][0])
