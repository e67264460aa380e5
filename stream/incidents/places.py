"""Where a company's people and machines are: networks with their countries, and addresses in them.

240.0.0.0/4 and the 32-bit private AS numbers belong to nobody, so no figure here can name a real provider.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.incidents.drafts import Draft
from stream.incidents.rows import I64, chance, mix, pick, zipf

COUNTS: Final = {"home": 20, "carrier": 3, "hosting": 24, "abroad": 30}
COUNTRIES: Final = ("US", "DE", "NL", "FR", "GB", "IE", "SG", "PL", "IN", "CA", "SE", "RO", "UA", "VN", "BR", "TR")
_ASN_BASE: Final = 4_200_100_000
_ASN_COUNT: Final = 90_000
_BLOCK_BITS: Final = 18  # addresses of a network
_NAT_ADDRESSES: Final = 3  # of an office


class Places:
    """Networks of this seed. `networks[kind]`: their numbers; offices have few addresses, carriers share theirs."""

    def __init__(self, offices: int, teams: int, country: str, rng: np.random.Generator) -> None:
        counts = COUNTS | {"company": offices, "team": teams}
        total = sum(counts.values())
        first = np.cumsum([0, *counts.values()])
        self.networks = {
            kind: np.arange(first[i], first[i + 1], dtype=np.int64) for i, kind in enumerate(counts)
        }  # fmt: skip
        self.asn = _ASN_BASE + rng.choice(_ASN_COUNT, total, replace=False).astype(np.int64)
        self.country = np.full(total, country, np.object_)
        elsewhere = [c for c in COUNTRIES if c != country]
        for kind in ("hosting", "abroad"):
            self.country[self.networks[kind]] = rng.choice(np.array(elsewhere, np.object_), counts[kind])
        self._hosts = np.full(total, 1 << _BLOCK_BITS, np.uint64)
        self._hosts[np.concatenate([self.networks["company"], self.networks["team"]])] = _NAT_ADDRESSES
        self._hosts[self.networks["carrier"]] = 60

    def choose(self, kind: str, numbers: I64, salt: int) -> I64:
        """A network for each number, popular ones more often, always the same one."""
        choices = self.networks[kind]
        return choices[pick(zipf(len(choices), 1.0), chance(numbers, salt))]

    def put(self, given: Draft, network: I64, host: I64) -> None:
        """Sets where the events come from: a network each, and which of its users it is."""
        number = mix(host * 977 + network, 5) % self._hosts[network]
        block = (np.uint64(240 << 24) + (network.astype(np.uint64) << np.uint64(_BLOCK_BITS))) + number * np.uint64(
            37
        ) % (np.uint64(1 << _BLOCK_BITS))
        given["asn"] = self.asn[network]
        given["country"] = self.country[network]
        given["source_ip"] = addresses(block)


def addresses(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[Any]:
    """Dotted quads."""
    distinct, back = np.unique(numbers, return_inverse=True)
    written = [f"{n >> 24}.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in distinct.tolist()]
    return np.array(written, np.object_)[back] if written else np.zeros(0, np.object_)


def keys(numbers: npt.NDArray[Any], salt: int) -> npt.NDArray[Any]:
    """Sixteen hexadecimal digits for each number, the same for the same."""
    distinct, back = np.unique(numbers, return_inverse=True)
    written = [f"{n:016x}" for n in mix(distinct, salt).tolist()]
    return np.array(written, np.object_)[back] if written else np.zeros(0, np.object_)
