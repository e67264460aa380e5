"""How strange a network is to an account, and how rare it is among its peers that a session goes to one so strange.

An account knows the networks where it was on earlier days (four, as 16 bits of their hash; one that is used again
moves up), and of today's new ones the last two, which it knows from tomorrow on. The level of a network n is

    1                                      where the account knows it
    2 + floor(-log2((N_n + 1) / (N + 1)))  else: N_n of N sessions of the last seven days appeared there

and 0 stands for staying where one is. N is counted anew each hour; a network that came since then has N_n = 0. Of each
class the hours in which a session, while in use, went to another network are counted by the level of the stranger of
the two; going between networks of level s is then worth

    bits = -log2(hours that reached s / hours).

So what peers do every day (a telephone that leaves home, a tunnel that goes on and off) costs next to nothing, and
what nobody did is worth as much as there were hours to see it in. Units: levels, bits. Memory: 12 bytes an account.
Cold start: the first network of an account is known at once; without hours there are no bits. Evasion: a network that
the account already uses, or was used from alone on an earlier day; a network of its peers is worth as little as they
make it. Source: the empirical survival function.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.base import Array
from detectors.kernels import LN2, inline

KNOWN: Final = 4
KNOWN_FIELDS: Final = (("known", np.uint16, (KNOWN,)), ("today", np.uint16, (2,)))
STAYED, FAMILIAR, FIRST_LEVEL = 0, 1, 2
STRANGENESS: Final = 24  # levels
HOURS_MAX: Final = 1e6  # of a class, before old hours fade


def unknown_levels(sessions: npt.NDArray[Any]) -> tuple[npt.NDArray[np.uint8], int]:
    """Of the sessions that appeared in each network: its level to an account that does not know it; a newcomer's."""
    everywhere = sessions.sum(dtype=np.float64) + 1.0
    rare = np.log2(everywhere / np.append(np.minimum(sessions, everywhere - 1.0) + 1.0, 1.0))
    levels = np.minimum(FIRST_LEVEL + rare, STRANGENESS - 1).astype(np.uint8)
    return levels[:-1], int(levels[-1])


@inline
def strangeness(account: Array, network: Any, unknown: Any) -> int:
    """The level of a network (16 bits) to an account; `unknown` to one that does not know it."""
    for p in range(KNOWN):
        if account["known"][p] == network:
            return FAMILIAR
    return int(unknown)


@inline
def remember(account: Array, network: Any, fresh: bool) -> None:
    """The account was at this network."""
    known, today = account["known"], account["today"]
    if fresh:
        known[0] = network
        return
    for p in range(KNOWN):
        if known[p] == network:
            if p > 0:
                known[p] = known[p - 1]
                known[p - 1] = network
            return
    if network not in (today[0], today[1]):
        today[1] = today[0]
        today[0] = network


@inline
def begin_day(account: Array) -> None:
    """What was new is known from now on: in the first free place, or the last."""
    known, today = account["known"], account["today"]
    for t in range(1, -1, -1):
        if today[t] != 0:
            place = 0
            while place < KNOWN - 1 and known[place] != 0:
                place += 1
            known[place] = today[t]
            today[t] = 0


@inline
def count_hour(hours: Array) -> None:
    """One hour more of a class; hours[0] counts them all, hours[s] those that reached level s."""
    hours[0] += 1.0
    if hours[0] > HOURS_MAX:
        for s in range(STRANGENESS):
            hours[s] *= 0.5


@inline
def count_move(hours: Array, r: Array, learns: Any) -> None:
    """What `r` is now between, two networks of r["strange"], is what its hour reached."""
    level = max(r["strange"][0], r["strange"][1])
    if level > r["strangest"]:
        if learns:
            for s in range(np.int64(r["strangest"]) + 1, level + 1):
                hours[s] += 1.0
        r["strangest"] = level


@inline
def strange_bits(hours: Array, r: Array) -> float:
    """How rare it is that an hour goes between networks as strange as the two of r["strange"]."""
    level = max(r["strange"][0], r["strange"][1])
    bits: float = 0.0
    if level != STAYED and hours[0] >= 1.0:
        bits = max(math.log(hours[0] / max(hours[level], 1.0)) / LN2, 0.0)
    return bits
