"""A place: a network and a client, as 32 bits that say which of the two differ."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from detectors.kernels import inline

NETWORK, CLIENT = 1, 2
BOTH: Final = NETWORK + CLIENT
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
