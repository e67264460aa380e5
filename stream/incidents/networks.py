"""Networks, their countries and addresses: where people, machines and thieves come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.incidents.figures import World
from stream.incidents.rows import F64, I64, U64, Objects, chance, mix, pick, zipf

# 240.0.0.0/4 and the 32-bit private AS numbers belong to nobody, so no figure here can name a real provider.
_ADDRESS_BASE: Final = 240 << 24
_ADDRESS_BITS: Final = 19  # a network's own block: 512 networks
_ASN_BASE: Final = 4_200_000_000
_ASN_COUNT: Final = 90_000
_NETWORKS_MAX: Final = 1 << (28 - _ADDRESS_BITS)
_OFFICES: Final = 2
_HOSTED_AT_HOME: Final = 0.2  # of the server providers


@dataclass(frozen=True, slots=True)
class Networks:
    """One row a network. asn: int64[n]. country: object[n], str. size: int64[n], addresses in use. Kinds: indexes."""

    asn: I64
    country: Objects
    size: I64
    home: I64
    carriers: I64
    abroad: I64
    hosting: I64
    offices: I64
    _popularity: float

    def choose(self, kind: I64, numbers: I64 | U64, salt: int) -> I64:
        """A network of that kind for each number, popular ones more often, always the same one."""
        return kind[pick(zipf(len(kind), self._popularity), chance(numbers, salt))]

    def address(self, network: I64, numbers: I64 | U64, salt: int) -> npt.NDArray[np.uint32]:
        """An address in the network for each number, always the same one."""
        host = mix(numbers, salt) % self.size[network].astype(np.uint64)
        # Scattered over the block, so that neighbours in it are not neighbours in use.
        spread = host * np.uint64(0x9E3779B1) % np.uint64(1 << _ADDRESS_BITS)
        return (np.uint64(_ADDRESS_BASE) + (network.astype(np.uint64) << np.uint64(_ADDRESS_BITS)) + spread).astype(
            np.uint32
        )


def make_networks(world: World, accounts: int, seed: int) -> Networks:
    """The networks of this seed; their numbers vary by a quarter."""
    figures = world.networks
    rng = np.random.default_rng([seed, 2])

    def about(count: int) -> int:
        return max(1, round(count * rng.uniform(0.75, 1.25)))

    counts = [about(figures.home), about(figures.carriers), about(figures.abroad), about(figures.hosting), _OFFICES]
    n = sum(counts)
    if n > _NETWORKS_MAX:
        raise AssertionError(f"{n} networks do not fit {_NETWORKS_MAX} blocks; the limits of the figures are too wide")
    home, carriers, abroad, hosting, offices = np.split(rng.permutation(n), np.cumsum(counts)[:-1])
    country = np.full(n, figures.home_country, np.object_)
    elsewhere = np.array(figures.countries, np.object_)
    country[abroad] = rng.choice(elsewhere, len(abroad))
    country[hosting] = np.where(
        rng.random(len(hosting)) < 0.2, figures.home_country, rng.choice(elsewhere, len(hosting))
    )
    country[hosting[0]] = elsewhere[0]  # there is always a server overseas
    size = np.full(n, 1 << _ADDRESS_BITS, np.int64)
    roaming = accounts * world.customers.app_share * shares(len(carriers), figures.popularity_exponent)
    size[carriers] = np.maximum(1, np.round(roaming / figures.accounts_per_nat_address))
    size[offices] = 2
    return Networks(
        asn=_ASN_BASE + rng.choice(_ASN_COUNT, n, replace=False).astype(np.int64),
        country=country,
        size=size,
        home=home,
        carriers=carriers,
        abroad=abroad,
        hosting=hosting,
        offices=offices,
        _popularity=figures.popularity_exponent,
    )


def shares(n: int, exponent: float) -> F64:
    """Zipf shares of n choices, summing to 1."""
    return np.diff(zipf(n, exponent), prepend=0.0)
