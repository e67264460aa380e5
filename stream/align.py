"""Events of several input partitions in the order of their time, although each partition is read at its own pace.

Every block says of its origin whether more was waiting behind it. An origin that has been read to its end holds nobody
back: its events are taken as they come. One that is still being caught up with holds the others back to its own
watermark, the latest time that it has come to, so that hours of backlog do not arrive as if they were one minute.
What is held is bounded: beyond `held_max` events the slowest no longer counts.

All of this is a function of the blocks in their order, and what is held is part of the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from detectors.base import Array
from stream import wire
from stream.blocks import PackedBlock, joined
from stream.rows import Rows

HELD_MAX: Final = 1 << 18
KEPT_BYTES_MAX: Final = 64 << 20


class Aligner:
    """Blocks in, blocks in the order of time out."""

    def __init__(self, held_max: int = HELD_MAX) -> None:
        self._held_max = held_max
        self._watermarks: dict[str, int] = {}  # ms, of each origin that is being caught up with
        self._held: list[PackedBlock] = []
        self.held = 0
        self.forced = 0  # events let go before their turn, for want of room

    def add(self, block: PackedBlock, origin: str, watermark_ms: int, more: bool) -> list[PackedBlock]:
        """Take a block of one origin; what may be scored now, in the order of time."""
        if more:
            self._watermarks[origin] = max(watermark_ms, self._watermarks.get(origin, 0))
        else:
            self._watermarks.pop(origin, None)
        if len(block):
            self._held.append(_in_order(block))
            self.held += len(block)
        if not self._held:
            return []
        if not self._watermarks:
            return self._release(None)
        out = self._release(min(self._watermarks.values()))
        if self.held > self._held_max:
            times = np.sort(np.concatenate([each.time for each in self._held]))
            until = int(times[self.held - self._held_max // 2 - 1])  # half of the room is free after
            before = self.held
            out += self._release(until)
            self.forced += before - self.held
        return out

    def settle(self) -> None:
        """Let go of what the blocks were read from, where it is much: a few events that are held keep all of it."""
        rows = [Rows.of(each.text) for each in self._held]
        if sum({id(each.buffer): len(each.buffer) for each in rows}.values()) > KEPT_BYTES_MAX:
            self._held = [replace(each, text=text.own()) for each, text in zip(self._held, rows, strict=True)]

    def save(self) -> tuple[dict[str, int], dict[str, Array]]:
        """Watermarks, and the blocks that are held as they were sent."""
        return dict(self._watermarks), {
            str(i): np.frombuffer(wire.encode(each), np.uint8) for i, each in enumerate(self._held)
        }

    def load(self, watermarks: Mapping[str, int], held: Mapping[str, Array]) -> None:
        """Continue from what `save` gave."""
        self._watermarks = dict(watermarks)
        self._held = [wire.decode(held[str(i)].tobytes()).block for i in range(len(held))]
        self.held = sum(map(len, self._held))

    def _release(self, until: int | None) -> list[PackedBlock]:
        """The events until then, as one block in the order of time; None: all of them."""
        ready, left = [], []
        for each in self._held:
            due = len(each) if until is None else int(np.searchsorted(each.time, until, "right"))
            if due:
                ready.append(each.part(0, due) if due < len(each) else each)
            if due < len(each):
                left.append(each.part(due, len(each)) if due else each)
        self._held = left
        self.held = sum(map(len, left))
        return [_in_order(joined(ready))] if ready else []


def _in_order(block: PackedBlock) -> PackedBlock:
    """The events in the order of time; those of one time stay in theirs."""
    if (block.time[1:] >= block.time[:-1]).all():
        return block
    return block.take(np.argsort(block.time, kind="stable"))
