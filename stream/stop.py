"""How a run is stopped from outside, so that nothing is left half done."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Ctrl-C and SIGTERM: stop between two chunks, at once while waiting for input, and hard at the second time."""

    def __init__(self) -> None:
        self.asked = False
        self._waiting = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Take the signals over, as long as this lasts."""
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what may block and leaves nothing half done."""
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked or self._waiting:
            self.asked = True
            raise KeyboardInterrupt
        self.asked = True
