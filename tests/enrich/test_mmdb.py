"""A MaxMind DB file is read as its specification says, and one that is broken costs nothing but its answers."""

from __future__ import annotations

import ipaddress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.enrich.mmdb import Broken, Database, country_in, system_in
from stream.enrich.places import Atlas, Places
from tests.enrich.mmdb_file import control, encoded, file_of

COUNTRIES = {
    "198.51.0.0/16": {"country": {"iso_code": "DE"}}, "198.51.100.0/24": {"country": {"iso_code": "SE"}},
    "2001:db8::/32": {"country": {"iso_code": "NO"}}, "203.0.113.7/32": {"country_code": "FI"},
}  # fmt: skip
_v4 = st.builds(
    lambda n, bits: ipaddress.ip_network((n, bits), strict=False), st.integers(0, 2**32 - 1), st.integers(1, 32)
)
_v6 = st.builds(
    lambda n, bits: ipaddress.ip_network((n, bits), strict=False), st.integers(2**96, 2**128 - 1), st.integers(40, 128)
)
_scalars: st.SearchStrategy[Any] = (
    st.booleans() | st.text(max_size=40) | st.binary(max_size=300) | st.floats(allow_nan=False)
    | st.integers(0, 2**128 - 1) | st.integers(-(2**31), -1)
)  # fmt: skip
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def found(data: bytes, addresses: list[str]) -> list[str]:
    return Places([], Atlas.of_countries(data), None).find(addresses)[0]


@given(st.lists(_v4 | _v6, min_size=1, max_size=12), st.sampled_from([24, 28, 32]), st.data())
def test_an_address_has_the_country_of_the_smallest_range_around_it(networks: list[Any], bits: int, data: Any) -> None:
    """Against a search through all ranges, inside, at the edges of and around each."""
    ordered = sorted(dict.fromkeys(networks), key=lambda n: n.prefixlen - n.max_prefixlen + 128)
    codes = {network: f"{chr(65 + i)}X" for i, network in enumerate(ordered)}
    file = file_of({str(n): {"country": {"iso_code": code}} for n, code in codes.items()}, bits)
    near = [int(n.network_address) + shift for n in ordered for shift in (-1, 0, n.num_addresses - 1, n.num_addresses)]
    asked = [
        str(ipaddress.IPv6Address(n) if n >= 2**96 else ipaddress.IPv4Address(n))
        for n in near if 0 <= n < 2**32 or 2**96 <= n < 2**128
    ]  # fmt: skip
    asked += [str(ipaddress.IPv4Address(data.draw(st.integers(0, 2**32 - 1))))]

    def naive(text: str) -> str:
        address = ipaddress.ip_address(text)
        around = [n for n in ordered if n.version == address.version and address in n]
        return codes[max(around, key=lambda n: n.prefixlen)] if around else ""

    assert found(file, asked) == [naive(text) for text in asked]


@pytest.mark.parametrize("bits", [24, 28, 32])
def test_a_file_of_ipv4_knows_no_other_and_what_is_no_address_is_nowhere(bits: int) -> None:
    v4 = {name: value for name, value in COUNTRIES.items() if ":" not in name}
    asked = [
        "198.51.100.9", "198.51.7.9", "203.0.113.7", "203.0.113.8", "::ffff:198.51.100.9", "2001:db8::1",
        "::198.51.100.9", "s3.amazonaws.com", "", "198.51.100.09", "fe80::1%eth0", "AS64500",
    ]  # fmt: skip
    assert found(file_of(v4, bits, 4), asked) == ["SE", "DE", "FI", "", "SE", *[""] * 7]
    assert found(file_of(COUNTRIES, bits), asked)[:6] == ["SE", "DE", "FI", "", "SE", "NO"]


@given(_values)
def test_every_type_of_value_is_read(value: Any) -> None:
    database = Database(file_of({"192.0.2.0/24": value}))
    assert database.some() == [value]
    assert database.unread == 0


@given(st.data())
def test_a_damaged_file_is_refused_or_says_less(data: Any) -> None:
    """Whatever is changed or cut off, nothing but Broken is raised, by the file and by an address."""
    file = bytearray(file_of(COUNTRIES, data.draw(st.sampled_from([24, 28, 32]))))
    for at in data.draw(st.lists(st.integers(0, len(file) - 1), max_size=8)):
        file[at] = data.draw(st.integers(0, 255))
    file = file[: data.draw(st.integers(0, len(file)) | st.just(len(file)))]
    try:
        atlas = Atlas.of_countries(bytes(file))
    except Broken:
        return
    answers = Places([], atlas, atlas).find([f"198.51.{n}.{n}" for n in range(256)] + ["2001:db8::1", "::"])
    assert all(len(code) in (0, 2) for code in answers[0])


def test_a_value_that_holds_itself_says_nothing() -> None:
    """A pointer to itself, and lists in lists beyond any depth that a file has."""
    loop = file_of({"192.0.2.0/24": "x" * 200})
    at = loop.index(encoded("x" * 200))
    for evil in (bytes([1 << 5, 0]), control(11, 1) * 19, control(7, 28) + encoded("k")):
        data = loop[:at] + evil + loop[at + len(evil) :]
        database = Database(data)
        leaf = int(
            database.find(np.frombuffer(bytes(12) + bytes([192, 0, 2, 1]), np.uint8).reshape(1, 16), np.ones(1, bool))[
                0
            ]
        )
        assert database.value(leaf) is None
        assert database.unread == 1


@pytest.mark.parametrize(("data", "why"), [
    (b"", "cut short"), (b"not a database at all", "cut short"),
    (file_of(COUNTRIES)[:-200], "cut short"), (file_of(COUNTRIES, binary_format_major_version=3), "format version 3"),
    (file_of(COUNTRIES, node_count=10**9), "do not fit"), (file_of(COUNTRIES, record_size=26), "of 26 bits"),
    (file_of({"198.51.100.0/24": {"autonomous_system_number": 64500}}, kind="Systems"), "it calls itself 'Systems'"),
])  # fmt: skip
def test_a_file_that_is_of_no_use_is_told_why(data: bytes, why: str) -> None:
    with pytest.raises(Broken, match=why):
        Atlas.of_countries(data)


@given(_values)
def test_nothing_that_a_leaf_holds_is_taken_for_more_than_it_is(value: Any) -> None:
    for told in (value, {"country": value}, {"country": {"iso_code": value}}, {"asn": value}):
        code, system = country_in(told), system_in(told)
        assert code == "" or (len(code) == 2 and code.isascii())
        assert system == "" or 0 <= int(system.removeprefix("AS")) < 2**32
