"""Stream time: the data's own clock, which no single record can move far.

The clock is the latest accepted time; the first record sets it. A record more than `jump_max` ahead of it does not move
it until a second one agrees, within `jump_max` of the first and before the clock itself has gone on by as much; until
then it is scored at the clock's time and not learned from. A record behind the clock is scored at the clock's time, and
counted as late when it is more than five minutes behind.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.kernels import kernel

LATE_MS: Final = 300_000


@kernel
def _advance(
    time: npt.NDArray[np.int64], clock: npt.NDArray[np.int64], jump: int,
    stream: npt.NDArray[np.int64], learn: npt.NDArray[np.int8],
) -> int:  # fmt: skip
    late = 0
    for i in range(time.shape[0]):
        t = time[i]
        learn[i] = 1
        if clock[0] == 0:
            clock[0] = t
        elif t <= clock[0] + jump:
            if t < clock[0] - LATE_MS:
                late += 1
            clock[0] = max(clock[0], t)
        elif clock[1] != 0 and abs(t - clock[1]) <= jump and clock[0] <= clock[3] + jump:
            clock[0] = t
            clock[1] = 0
        else:
            clock[1] = t
            clock[3] = clock[0]
            learn[i] = 0
        stream[i] = clock[0]
    return late


class StreamClock:
    """Accepted time; `late` counts records that came more than five minutes behind it."""

    def __init__(self, jump_max_s: float) -> None:
        self._jump_ms = int(jump_max_s * 1000)
        self.state: npt.NDArray[np.int64] = np.zeros(4, np.int64)  # now, a jump that waits, late, since when it waits

    @property
    def now_ms(self) -> int:
        """Stream time, 0 before the first record."""
        return int(self.state[0])

    @property
    def late(self) -> int:
        """Records that came late."""
        return int(self.state[2])

    def advance(self, time: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
        """The stream time of each record, never falling, and whether its own time is to be learned from."""
        stream = np.empty(len(time), np.int64)
        learn = np.empty(len(time), np.int8)
        self.state[2] += _advance(time, self.state, self._jump_ms, stream, learn)
        return stream, learn
