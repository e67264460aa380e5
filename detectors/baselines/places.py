"""A place: a network and a client, as 32 bits that say which of the two differ; and how one moves between places."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from detectors.base import Array
from detectors.kernels import inline

NETWORK, CLIENT = 1, 2
BOTH: Final = NETWORK + CLIENT
TOGETHER_S: Final = 600  # two places used within so long are used at the same time
AWAY_MAX: Final = 65_535  # s
STAYS, MOVES, RETURNS, APPEARS = range(4)
PLACE_FIELDS: Final = (
    ("returns", np.float32),  # decayed over 20 min
    ("here", np.uint32), ("before", np.uint32),  # the latest place and the other: 16 bits of the network, of the client
    ("away", np.uint16),  # s since the one before was used
    ("level", np.uint8),
    ("strange", np.uint8, (2,)),  # levels of the two places' networks
    ("strangest", np.uint8),  # of the moves of this hour
)  # fmt: skip
_NETWORK_BITS, _CLIENT_BITS = np.uint32(0xFFFF0000), np.uint32(0x0000FFFF)


@inline
def place_of(network: Any, client: Any) -> Any:
    """16 bits of the hash of each: two of a kind share them once in 65,536."""
    return np.uint32(((network >> np.uint64(32)) & np.uint64(0xFFFF0000)) | (client >> np.uint64(48)))


@inline
def difference(one: Any, other: Any) -> int:
    """What of two places differs: NETWORK, CLIENT, BOTH or 0."""
    apart = one ^ other
    what: int = NETWORK * ((apart & _NETWORK_BITS) != 0) + CLIENT * ((apart & _CLIENT_BITS) != 0)
    return what


@inline
def move_to(r: Array, fresh: bool, gap_s: Any, place: Any, strange: Any) -> tuple[int, int]:
    """Follow an entity to where it is now: how it moves, and what differs from where it was."""
    here = r["here"]
    if fresh or gap_s > TOGETHER_S:
        r["away"] = AWAY_MAX
        if not fresh and here == place:
            return STAYS, 0
        r["here"] = place
        r["strange"][0] = strange
        return APPEARS, 0
    away = min(r["away"] + gap_s, AWAY_MAX)
    if here == place:
        r["away"] = away
        return STAYS, 0
    move, before = APPEARS, r["strange"][1]
    if away <= TOGETHER_S:
        move = RETURNS if r["before"] == place else MOVES
    r["before"] = here
    r["here"] = place
    r["away"] = gap_s
    r["strange"][1] = r["strange"][0]
    r["strange"][0] = before if move == RETURNS else strange
    return move, difference(here, place)
