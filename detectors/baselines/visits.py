"""What goes on between accounts and the people whose data they open: a visit is all of it within two hours.

Visits are held in order of time, beside an index of account and person, and are given back when they are over.
Memory: 40 bytes a visit, at most VISITS_MAX of them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from detectors.base import CLASSES, CUSTOMER, HOUR_MS, SERVICE, WORK, Array, Frame
from detectors.kernels import inline, kernel

VISIT_MS: Final = 2 * HOUR_MS
VISITS_MAX: Final = 1 << 18  # at once; beyond, a new one is not judged, and counted
TEAMS: Final = 1_024  # rows of groups, by hash: two may share one

VISIT: Final = np.dtype(
    [
        ("time", np.int64), ("whose", np.uint64), ("page", np.uint64),
        ("slot", np.int32), ("team", np.int16),  # -1: of no group
        ("klass", np.uint8), ("read", np.uint8), ("worked", np.uint8), ("further", np.uint8), ("suspect", np.uint8),
    ],
    align=True,
)  # fmt: skip


@inline
def _place(index: Array, visits: Array, slot: int, whose: Any) -> Any:
    """Where in the index this account's visit to this person is, or would be."""
    mask = np.uint64(len(index) - 1)
    h = (whose ^ (np.uint64(slot) * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xD6E8FEB86659FD93)
    at = (h >> np.uint64(32)) & mask
    while index[at] >= 0:
        v = visits[index[at]]
        if v["slot"] == slot and v["whose"] == whose:
            break
        at = (at + np.uint64(1)) & mask
    return np.int64(at)


@kernel
def _indexed(index: Array, visits: Array, count: int) -> None:
    """Index the visits anew; of one account's to one person the latest."""
    index[:] = -1
    for i in range(count):
        index[_place(index, visits, visits[i]["slot"], visits[i]["whose"])] = i


@kernel
def _follow(
    visits: Array, count: int, index: Array, touch: Array, h_group: Array, h_account: Array, h_subject: Array,
    h_resource: Array, klass: Array, action: Array, succeeded: Array, reads: Array, learn: Array, time: Array,
) -> int:  # fmt: skip
    """Add the events to their visits; how many visits there are, of which only what fits is kept."""
    for i in range(touch.shape[0]):
        slot = touch[i]["slot"]
        whose = h_subject[i]
        if klass[i] in (CUSTOMER, SERVICE) or slot <= 0 or whose == 0 or whose == h_account[i]:
            continue
        if not succeeded[i] or not learn[i]:
            continue
        work = False
        for each in WORK:
            work |= action[i] == each
        if not work and not reads[i]:
            continue
        at = _place(index, visits, slot, whose)
        if index[at] < 0 or time[i] - visits[index[at]]["time"] > VISIT_MS:
            if count >= visits.shape[0]:
                count += 1
                continue
            v = visits[count]
            v["time"] = time[i]
            v["whose"] = whose
            v["page"] = h_resource[i]
            v["slot"] = slot
            v["team"] = np.int64(h_group[i] >> np.uint64(48)) % TEAMS if h_group[i] != 0 else -1
            v["klass"] = klass[i]
            v["read"] = v["worked"] = v["further"] = 0
            index[at] = count
            count += 1
        v = visits[index[at]]
        v["suspect"] = touch[i]["suspect"]
        if work:
            v["worked"] = 1
        else:
            v["read"] = 1
        if h_resource[i] != v["page"]:
            v["further"] = 1
    return count


class Visits:
    """The visits that go on, of employees, partners and accounts whose kind nobody tells."""

    def __init__(self) -> None:
        self._held = np.zeros(0, VISIT)  # room for them, in order of time
        self._count = 0
        self._index = np.full(2, -1, np.int32)
        self.overflowed = 0

    def add(self, frame: Frame) -> None:
        """Add the events to their visits."""
        room = min(self._count + len(frame), VISITS_MAX)
        if room > len(self._held):
            self._hold(self._held[: self._count].copy(), min(max(2 * room, 1024), VISITS_MAX))
        touch, hashes = frame.touch, frame.hashes
        count = _follow(
            self._held, self._count, self._index, touch["account"], hashes["group"], hashes["account"],
            hashes["subject"], hashes["resource"], frame.klass, frame.action, frame.succeeded, frame.reads,
            frame.learn, frame.time,
        )  # fmt: skip
        self._count = min(count, len(self._held))
        self.overflowed += count - self._count

    def over(self, now_ms: int) -> Array:
        """Those that are over, in order of time; they are held no longer. VISIT rows."""
        over = int(np.searchsorted(self._held["time"][: self._count], now_ms - VISIT_MS, side="left"))
        ended: Array = self._held[:over].copy()
        if over:
            self._hold(self._held[over : self._count].copy())
        return ended

    def save(self) -> Array:
        """All of them."""
        held: Array = self._held[: self._count].copy()
        return held

    def load(self, saved: Array) -> None:
        """Continue from what `save` gave; ValueError where that is more than is held, or looks up what is not there."""
        visits = saved.astype(VISIT)
        if len(visits) > VISITS_MAX:
            raise ValueError(f"{len(visits)} visits, where at most {VISITS_MAX} are held")
        if visits["team"].max(initial=-1) >= TEAMS or visits["klass"].max(initial=0) >= CLASSES:
            raise ValueError(f"visits of groups beyond {TEAMS}, or of kinds of account beyond {CLASSES}")
        self._held = np.zeros(0, VISIT)
        self._hold(visits, len(visits))

    def _hold(self, visits: Array, room: int = 0) -> None:
        """Have these visits and no others."""
        if room > len(self._held):
            self._held = np.zeros(room, VISIT)
            self._index = np.empty(2 << (room - 1).bit_length(), np.int32)
        self._count = len(visits)
        self._held[: self._count] = visits
        _indexed(self._index, self._held, self._count)
