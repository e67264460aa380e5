"""The requests of Kafka's protocol that a cluster's keeper needs, so that it needs no client library.

Layouts as published at kafka.apache.org/protocol. They go to a listener on 127.0.0.1 without encryption; each raises
OSError where the broker does not answer or refuses.
"""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple

TIMEOUT_S: Final = 2.0
METADATA, DESCRIBE_ACLS, CREATE_ACLS = (3, 2), (29, 1), (30, 1)  # key and version
RESOURCES: Final = {"topic": 2, "group": 3, "cluster": 4, "transactional_id": 5}
OPERATIONS: Final = {
    "all": 2, "read": 3, "write": 4, "create": 5, "delete": 6, "alter": 7, "describe": 8, "idempotent_write": 12
}  # fmt: skip
PERMISSIONS: Final = {"deny": 2, "allow": 3}
LITERAL, PREFIXED = 3, 4


class Acl(NamedTuple):
    """Whether who may do what, from any host; KeyError on use where a word means nothing.

    name: "*" for any, "begin*" for all that begin so.
    """

    permission: str
    principal: str
    operation: str
    resource: str
    name: str

    def packed(self) -> bytes:
        """As it is created, and as a filter that describes just it."""
        prefixed = len(self.name) > 1 and self.name.endswith("*")
        name, pattern = (self.name[:-1], PREFIXED) if prefixed else (self.name, LITERAL)
        resource = struct.pack(">b", RESOURCES[self.resource]) + _text(name) + struct.pack(">b", pattern)
        rights = struct.pack(">bb", OPERATIONS[self.operation], PERMISSIONS[self.permission])
        return resource + _text(self.principal) + _text("*") + rights


class Metadata(NamedTuple):
    """What a broker knows: the live brokers' ids, and which cluster they are."""

    brokers: set[int]
    cluster: str


def metadata(port: int) -> Metadata:
    """What the broker at this port knows."""
    answer = _ask(port, METADATA, struct.pack(">i", 0))
    (count,) = struct.unpack_from(">i", answer)
    found, at = set(), 4
    for _ in range(count):
        node, host_bytes = struct.unpack_from(">ih", answer, at)
        at += 6 + host_bytes + 4
        (rack_bytes,) = struct.unpack_from(">h", answer, at)
        at += 2 + max(rack_bytes, 0)
        found.add(node)
    (length,) = struct.unpack_from(">h", answer, at)
    return Metadata(found, answer[at + 2 : at + 2 + length].decode())


def create_acl(port: int, acl: Acl) -> None:
    """Have it stored; brokers obey it a moment later."""
    answer = _ask(port, CREATE_ACLS, struct.pack(">i", 1) + acl.packed())
    _refused(answer, 8)


def obeys_acl(port: int, acl: Acl) -> bool:
    """Whether this broker knows of it."""
    answer = _ask(port, DESCRIBE_ACLS, acl.packed())
    (count,) = struct.unpack_from(">i", answer, _refused(answer, 4))
    return bool(count)


def _refused(answer: bytes, at: int) -> int:
    """Raise the error that stands there, if one does; where the answer goes on."""
    error, length = struct.unpack_from(">hh", answer, at)
    end: int = at + 4 + max(length, 0)
    if error:
        raise OSError(f"error {error} of the broker: {answer[at + 4 : end].decode()}")
    return end


def _ask(port: int, request: tuple[int, int], body: bytes) -> bytes:
    """The answer, without its header."""
    message = struct.pack(">hhi", *request, 0) + _text("tripline-tests") + body
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        connection.sendall(struct.pack(">i", len(message)) + message)
        (length,) = struct.unpack(">i", _received(connection, 4))
        return _received(connection, length)[4:]


def _received(connection: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        part = connection.recv(count - len(got))
        if not part:
            raise ConnectionError("the broker closed the connection")
        got += part
    return got


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack(">h", len(encoded)) + encoded
