"""What is known of an address: its country, and the name of the network that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, Final

import numpy as np

from stream.enrich.mmdb import Broken, Database, country_in, system_in
from stream.enrich.settings import Network
from stream.siphash import U8

_V4: Final = bytes(12)
_MAPPED: Final = bytes(10) + b"\xff\xff"  # ::ffff:192.0.2.1 is 192.0.2.1


class Atlas:
    """One property of addresses from one file; Broken where the file has none."""

    def __init__(self, data: bytes, what: str, read: Callable[[Any], str]) -> None:
        self.database = Database(data)
        self._read = read
        self._known: dict[int, str] = {}  # by leaf: a file has few, next to the addresses there are
        self.find(np.frombuffer(b"", np.uint8).reshape(0, 16), np.zeros(0, np.bool_))  # compiles what is not yet
        if not any(map(read, self.database.some())):
            raise Broken(f"nothing in it has {what} (it calls itself {self.database.kind!r}); name a file that has")

    @classmethod
    def of_countries(cls, data: bytes) -> Atlas:
        """A country (or city) database."""
        return cls(data, "a country", country_in)

    @classmethod
    def of_systems(cls, data: bytes) -> Atlas:
        """A database of autonomous systems."""
        return cls(data, "an autonomous system", system_in)

    def find(self, addresses: U8, is_v4: Any) -> list[str]:
        """What the file says of each address, "" where nothing; as `Database.find`."""
        known = self._known
        for leaf in set(leaves := self.database.find(addresses, is_v4).tolist()) - known.keys():
            known[leaf] = self._read(self.database.value(leaf)) if leaf >= 0 else ""
        return [known[leaf] for leaf in leaves]

    def __str__(self) -> str:
        return self.database.kind or "a MaxMind DB file"


class Places:
    """Addresses to countries and networks. A name from the settings goes before an autonomous system, and of two names
    that of the smaller range."""  # fmt: skip

    fields: Final = ("country", "named", "system")

    def __init__(self, named: Sequence[tuple[Network, str]], countries: Atlas | None, systems: Atlas | None) -> None:
        self._countries, self._systems = countries, systems
        by_length: dict[tuple[bool, int], dict[int, str]] = {}
        for network, name in named:
            kept = by_length.setdefault((network.version == 4, network.prefixlen), {})
            kept[int(network.network_address)] = name
        self._named = [
            (v4, (32 if v4 else 128) - length, by_length[v4, length])
            for v4, length in sorted(by_length, key=lambda each: -each[1])
        ]  # fmt: skip

    def find(self, texts: list[str]) -> list[list[str]]:
        """Of each address its country, the name of its network and its autonomous system, "" where nothing is known."""
        parsed = [_parsed(text) for text in texts]
        packed = np.frombuffer(b"".join(raw for raw, _, _ in parsed), np.uint8).reshape(-1, 16)
        v4 = np.array([is_v4 for _, is_v4, _ in parsed], np.bool_)
        known = [is_known for _, _, is_known in parsed]
        found = [
            [""] * len(texts) if atlas is None else atlas.find(packed, v4) for atlas in (self._countries, self._systems)
        ]
        countries, systems = (
            [value if sure else "" for value, sure in zip(column, known, strict=True)] for column in found
        )
        return [countries, [self._name(*each) for each in parsed], systems]

    def _name(self, raw: bytes, is_v4: bool, known: bool) -> str:
        if not known:
            return ""
        value = int.from_bytes(raw)
        for of_v4, host_bits, names in self._named:
            if of_v4 == is_v4 and (name := names.get(value >> host_bits << host_bits)):
                return name
        return ""


def _parsed(text: str) -> tuple[bytes, bool, bool]:
    """The 16 bytes of an address, whether it is IPv4, and whether it is one: a host's name or a service is none."""
    try:
        if ":" not in text:
            return _V4 + inet_pton(AF_INET, text), True, True
        raw = inet_pton(AF_INET6, text)
    except (OSError, ValueError):
        return bytes(16), False, False
    return (_V4 + raw[12:], True, True) if raw.startswith(_MAPPED) else (raw, False, True)
