"""The network of an address: one name for all addresses of a network, and different names for different ones."""

from __future__ import annotations

import ipaddress

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.networks import network_names, network_of


@given(st.integers(0, 2**32 - 1), st.integers(0, 255))
def test_addresses_of_one_slash_24_share_a_network(value: int, other: int) -> None:
    network = network_of(str(ipaddress.IPv4Address(value)))
    assert network == network_of(str(ipaddress.IPv4Address(value & ~255 | other)))
    assert ipaddress.IPv4Address(value) in ipaddress.ip_network(network)
    assert network.endswith("/24")


@given(st.integers(2**125, 2**128 - 1), st.integers(0, 2**80 - 1))
def test_addresses_of_one_slash_48_share_a_network_however_they_are_written(value: int, other: int) -> None:
    address = ipaddress.IPv6Address(value)
    network = network_of(address.exploded.upper())
    assert network == network_of(str(address))
    assert network == network_of(str(ipaddress.IPv6Address(value >> 80 << 80 | other)))
    assert ipaddress.ip_network(network).prefixlen == 48


@given(st.text(max_size=50))
def test_any_text_has_a_network_and_what_is_no_address_is_its_own(text: str) -> None:
    network = network_of(text)
    try:
        ipaddress.ip_address(text)
    except ValueError:
        assert network == text
    else:
        assert network in {str(n) for p in (24, 48) for n in [ipaddress.ip_network(network)] if n.prefixlen == p}


@given(st.lists(st.tuples(st.sampled_from(["203.0.113.7", "host.example", ""]), st.integers(-1, 70_000)), max_size=9))
def test_the_autonomous_system_goes_before_the_address(rows: list[tuple[str, int]]) -> None:
    names = network_names([a for a, _ in rows], np.array([n for _, n in rows], np.int64))
    assert names == [f"AS{n}" if n >= 0 else network_of(a) for a, n in rows]


def test_the_caches_are_bounded() -> None:
    assert network_of.cache_info().maxsize is not None


def test_an_ipv4_address_is_in_its_network_also_when_written_as_ipv6() -> None:
    assert network_of("::ffff:203.0.113.9") == network_of("203.0.113.9")
    assert network_of("::ffff:203.0.113.9") != network_of("::ffff:198.51.100.9")
