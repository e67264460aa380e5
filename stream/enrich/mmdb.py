"""Files in the MaxMind DB format (version 2.0, https://maxmind.github.io/MaxMind-DB/): a binary search tree over the
bits of an address, whose leaves point into a section of typed values, and a description at the end.

The file is read whole, never mapped: one that is replaced in place must not change under a running process. It is not
trusted: the tree is walked within its bounds, a value has a limit of depth and of size, and a leaf whose value cannot
be read says nothing.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np

from detectors.kernels import inline, kernel
from stream.checks import ASN_MAX
from stream.siphash import I64, U8

MARK: Final = b"\xab\xcd\xefMaxMind.com"
DESCRIPTION_BYTES_MAX: Final = 128 * 1024  # of the format: how far from the end the mark may be
SEPARATOR: Final = 16  # zero bytes between the tree and the values
RECORD_BITS: Final = (24, 28, 32)
DEPTH_MAX: Final = 16
VALUES_MAX: Final = 4_096  # within one leaf's; a city's has about 100
PROBED_NODES: Final = 65_536
PROBED_LEAVES: Final = 1_000

_POINTER, _TEXT, _DOUBLE, _BYTES, _MAP, _INT32, _ARRAY, _BOOLEAN, _FLOAT = 1, 2, 3, 4, 7, 8, 11, 14, 15
_UNSIGNED: Final = {5: 2, 6: 4, 9: 8, 10: 16}  # type to bytes at most


class Broken(Exception):  # noqa: N818 - it is a verdict on a file
    """A file that is not what its name in the settings says, why, and what to do."""


@inline
def _word(tree: U8, p: int) -> Any:
    """Three bytes."""
    return (np.int64(tree[p]) << 16) | (np.int64(tree[p + 1]) << 8) | np.int64(tree[p + 2])


@inline
def _child(tree: U8, node: Any, bit: Any, size: int) -> Any:
    if size == 24:
        return _word(tree, node * 6 + 3 * bit)
    if size == 28:
        middle = np.int64(tree[node * 7 + 3])
        high = middle & 15 if bit == 1 else middle >> 4
        return (high << 24) | _word(tree, node * 7 + 4 * bit)
    p = node * 8 + 4 * bit
    return (np.int64(tree[p]) << 24) | _word(tree, p + 1)


@kernel
def _walk(tree: U8, nodes: int, size: int, addresses: U8, first_bit: int, out: I64) -> None:
    for i in range(addresses.shape[0]):
        node = 0
        for b in range(first_bit, 128):
            bit = (np.int64(addresses[i, b >> 3]) >> (7 - (b & 7))) & 1
            node = _child(tree, node, bit, size)
            if node >= nodes:
                break
        out[i] = node - nodes - SEPARATOR


@kernel
def _leaves(tree: U8, nodes: int, size: int, out: I64) -> None:
    for node in range(out.shape[0] // 2):
        for bit in range(2):
            out[2 * node + bit] = _child(tree, node, bit, size) - nodes - SEPARATOR


class Database:
    """One file. `unread` counts leaves whose values could not be read."""

    def __init__(self, data: bytes) -> None:
        mark = data.rfind(MARK, max(0, len(data) - DESCRIPTION_BYTES_MAX))
        if mark < 0:
            raise Broken("it has no description at its end: not a MaxMind DB file, or cut short; download it again")
        try:
            about = _Values(data, mark + len(MARK), len(data)).at(0)
        except Broken as why:
            raise Broken(f"its description cannot be read ({why}); download it again") from None
        about = about if isinstance(about, dict) else {}
        self.kind = str(about.get("database_type", ""))[:64]
        version, nodes = about.get("binary_format_major_version"), about.get("node_count")
        bits, family = about.get("record_size"), about.get("ip_version")
        if version != 2:
            raise Broken(f"format version {version!r}, this program reads 2; get the file in that version")
        if not isinstance(nodes, int) or nodes < 1 or bits not in RECORD_BITS or family not in (4, 6):
            raise Broken(f"it describes {nodes!r} nodes of {bits!r} bits for IPv{family!r}; download it again")
        end = nodes * bits // 4
        if end + SEPARATOR > mark or any(data[end : end + SEPARATOR]):
            raise Broken(f"{nodes:,} nodes of {bits} bits do not fit into its {len(data):,} bytes; download it again")
        self.unread = 0
        self._nodes, self._bits, self._family = nodes, bits, family
        self._tree = np.frombuffer(data, np.uint8, end)
        self._values = _Values(data, end + SEPARATOR, mark)

    def find(self, addresses: U8, is_v4: Any) -> I64:
        """The leaf of each address, below 0 for none: int64[n]. addresses: uint8[n, 16], IPv4 in the last four bytes of
        zeros; is_v4: bool[n]."""  # fmt: skip
        out = np.empty(len(addresses), np.int64)
        _walk(self._tree, self._nodes, self._bits, addresses, 96 if self._family == 4 else 0, out)
        return out if self._family == 6 else np.where(is_v4, out, -1)

    def value(self, leaf: int) -> Any:
        """The value of a leaf, None where it cannot be read."""
        try:
            return self._values.at(leaf)
        except Broken:
            self.unread += 1
            return None

    def some(self) -> list[Any]:
        """The values of some leaves that are there, to see what it is a file of."""
        out = np.empty(2 * min(self._nodes, PROBED_NODES), np.int64)
        _leaves(self._tree, self._nodes, self._bits, out)
        leaves = np.unique(out[out >= 0])[:PROBED_LEAVES]
        return [self.value(leaf) for leaf in leaves.tolist()]


class _Values:
    """Typed values between two places of the file."""

    def __init__(self, data: bytes, start: int, stop: int) -> None:
        self._data, self._start, self._stop = data, start, stop
        self._left = 0

    def at(self, place: int) -> Any:
        """The value that begins there; raises Broken."""
        self._left = VALUES_MAX
        return self._value(self._start + place, 0)[0]

    def _bytes(self, at: int, count: int) -> bytes:
        if not self._start <= at <= at + count <= self._stop:
            raise Broken("a value lies outside of its section")
        return self._data[at : at + count]

    def _value(self, at: int, depth: int) -> tuple[Any, int]:
        self._left -= 1
        if depth > DEPTH_MAX or self._left < 0:
            raise Broken("a value is deeper or longer than any should be")
        control = self._bytes(at, 1)[0]
        kind, size, at = control >> 5, control & 31, at + 1
        if kind == _POINTER:
            return self._pointed(control, at, depth)
        if kind == 0:
            kind, at = self._bytes(at, 1)[0] + 7, at + 1
        if size >= 29:
            more = size - 28
            size = (29, 285, 65_821)[more - 1] + int.from_bytes(self._bytes(at, more))
            at += more
        if kind == _MAP:
            table: dict[Any, Any] = {}
            for _ in range(size):
                key, at = self._value(at, depth + 1)
                table[key if isinstance(key, str) else None], at = self._value(at, depth + 1)
            return table, at
        if kind == _ARRAY:
            row: list[Any] = []
            for _ in range(size):
                item, at = self._value(at, depth + 1)
                row.append(item)
            return row, at
        return (size != 0, at) if kind == _BOOLEAN else (_scalar(kind, self._bytes(at, size)), at + size)

    def _pointed(self, control: int, at: int, depth: int) -> tuple[Any, int]:
        count = ((control >> 3) & 3) + 1
        place = int.from_bytes(self._bytes(at, count))
        if count < 4:
            place += ((control & 7) << (8 * count)) + (0, 2_048, 526_336)[count - 1]
        return self._value(self._start + place, depth + 1)[0], at + count


def _scalar(kind: int, raw: bytes) -> Any:
    if kind == _TEXT:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise Broken("a text is not UTF-8") from None
    if kind == _BYTES:
        return raw
    if kind in _UNSIGNED and len(raw) <= _UNSIGNED[kind]:
        return int.from_bytes(raw)
    if kind == _INT32 and len(raw) <= 4:
        return int.from_bytes(raw.rjust(4, b"\0"), signed=True)
    if (kind, len(raw)) in ((_DOUBLE, 8), (_FLOAT, 4)):
        return struct.unpack(">d" if kind == _DOUBLE else ">f", raw)[0]
    raise Broken(f"a value of type {kind} and {len(raw)} bytes, which the format does not know")


def country_in(value: Any) -> str:
    """The ISO 3166 code in a leaf's value, "" for none.

    >>> country_in({"country": {"iso_code": "SE"}}), country_in({"country_code": "SE"}), country_in({"continent": {}})
    ('SE', 'SE', '')
    """
    told = value if isinstance(value, dict) else {}
    country = told.get("country", told.get("country_code"))
    code = country.get("iso_code") if isinstance(country, dict) else country
    return code if isinstance(code, str) and len(code) == 2 and code.isascii() and code.isalpha() else ""


def system_in(value: Any) -> str:
    """The autonomous system in a leaf's value as a network's name, "" for none.

    >>> system_in({"autonomous_system_number": 64500}), system_in({"asn": "AS64500"}), system_in(None)
    ('AS64500', 'AS64500', '')
    """
    told = value if isinstance(value, dict) else {}
    number = told.get("autonomous_system_number", told.get("asn"))
    digits = number.removeprefix("AS") if isinstance(number, str) else str(number) if isinstance(number, int) else ""
    known = len(digits) <= 10 and digits.isascii() and digits.isdigit() and int(digits) <= ASN_MAX
    return f"AS{int(digits)}" if known else ""
