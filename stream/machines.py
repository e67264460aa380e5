"""Which accounts are machines, where the log does not say: people sleep."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.base import SERVICE, Array

UNKNOWN: Final = 0  # the place of "unknown" in stream.events.ACCOUNT_KINDS
AWAKE_DAYS: Final = 3.0  # active days after which ...
AWAKE_H: Final = 16.0  # ... so many active hours in each tell a machine


def kinds_of(given: npt.NDArray[np.int8], accounts: Array) -> npt.NDArray[np.int8]:
    """The kind of account of each event: what the log says, int8[n], and of an unknown one that never rests a machine.

    accounts: TOUCH[n], what is known of each account just before the event.
    """
    hours, days = accounts["active"][:, 0], accounts["active"][:, 1]
    restless = (days >= AWAKE_DAYS) & (hours >= AWAKE_H * (days + 1.0))  # today is no full day yet
    machine = restless & (given == UNKNOWN) & (accounts["slot"] > 0)
    return np.where(machine, np.int8(SERVICE), given)
