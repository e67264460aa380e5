"""A small writer of MaxMind DB files, by the specification and independent of what reads them."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from typing import Any

Node = list[Any]  # two children: a node, a value's number, or None


def control(kind: int, size: int) -> bytes:
    if size < 29:
        field, more = size, b""
    elif size < 285:
        field, more = 29, bytes([size - 29])
    elif size < 65_821:
        field, more = 30, (size - 285).to_bytes(2)
    else:
        field, more = 31, (size - 65_821).to_bytes(3)
    return (bytes([kind << 5 | field]) if kind <= 7 else bytes([field, kind - 7])) + more


def encoded(value: Any) -> bytes:
    if isinstance(value, bool):
        return control(14, int(value))
    if isinstance(value, str):
        return control(2, len(value.encode())) + value.encode()
    if isinstance(value, bytes):
        return control(4, len(value)) + value
    if isinstance(value, float):
        return control(3, 8) + struct.pack(">d", value)
    if isinstance(value, int):
        raw = value.to_bytes((value.bit_length() + 7) // 8) if value >= 0 else value.to_bytes(4, signed=True)
        return control(8 if value < 0 else 6 if len(raw) <= 4 else 9 if len(raw) <= 8 else 10, len(raw)) + raw
    if isinstance(value, Mapping):
        return control(7, len(value)) + b"".join(encoded(k) + encoded(v) for k, v in value.items())
    return control(11, len(value)) + b"".join(map(encoded, value))


def pointer(place: int) -> bytes:
    if place < 2_048:
        return bytes([1 << 5 | place >> 8, place & 255])
    place -= 2_048
    return bytes([1 << 5 | 1 << 3 | place >> 16]) + (place & 0xFFFF).to_bytes(2)


def file_of(networks: Mapping[str, Any], bits: int = 24, family: int = 6, kind: str = "Test", **about: Any) -> bytes:
    """A file with a value for each network; of networks one in the other, the smaller must come later."""
    root: Node = [None, None]
    values = list(networks.values())
    for number, written in enumerate(networks):
        network = ipaddress.ip_network(written)
        path = f"{int(network.network_address):0{network.max_prefixlen}b}"[: network.prefixlen]
        if network.version == 4 and family == 6:
            path = "0" * 96 + path
        node = root
        for bit in map(int, path[:-1]):
            if not isinstance(node[bit], list):
                node[bit] = [node[bit], node[bit]]
            node = node[bit]
        node[int(path[-1])] = number
    order: list[Node] = []
    waiting = [root]
    while waiting:
        order.append(node := waiting.pop())
        waiting += [child for child in node if isinstance(child, list)]
    index = {id(node): at for at, node in enumerate(order)}
    # Every value stands behind a pointer, as those of real files do that are shared.
    section, places = b"", []
    for value in values:
        place = len(section)
        section += encoded(value)
        places.append(len(section))
        section += pointer(place)
    tree = b""
    for node in order:
        left, right = (
            index[id(c)] if isinstance(c, list) else len(order) + (0 if c is None else 16 + places[c]) for c in node
        )
        if bits == 28:
            tree += (
                (left & 0xFFFFFF).to_bytes(3) + bytes([left >> 24 << 4 | right >> 24]) + (right & 0xFFFFFF).to_bytes(3)
            )
        else:
            tree += left.to_bytes(bits // 8) + right.to_bytes(bits // 8)
    described = {
        "node_count": len(order), "record_size": bits, "ip_version": family, "database_type": kind,
        "binary_format_major_version": 2, "binary_format_minor_version": 0, "build_epoch": 1_700_000_000,
        "languages": ["en"], "description": {"en": "made by a test"},
    }  # fmt: skip
    return tree + bytes(16) + section + b"\xab\xcd\xefMaxMind.com" + encoded(described | about)
