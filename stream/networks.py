"""The network an address belongs to: its autonomous system where the event names one, else its /24 or /48."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

import numpy as np
import numpy.typing as npt


@lru_cache(maxsize=65_536)
def network_of(address: str) -> str:
    """The network of an address; an address that is none (a host name, a service) is its own network.

    >>> network_of("203.0.113.9"), network_of("2001:db8:1:2::3"), network_of("cloudtrail.amazonaws.com"), network_of("")
    ('203.0.113.0/24', '2001:db8:1::/48', 'cloudtrail.amazonaws.com', '')
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False))


@lru_cache(maxsize=65_536)
def _as_name(asn: int) -> str:
    return f"AS{asn}"


def network_names(addresses: list[str], asns: npt.NDArray[np.int64]) -> list[str]:
    """The network of each event: n names, "" where neither an address nor a system is known."""
    return [
        _as_name(asn) if asn >= 0 else network_of(address)
        for asn, address in zip(asns.tolist(), addresses, strict=True)
    ]
