"""What is kept of every incident: bytes, of which the few that are being worked on are decoded.

As bytes an incident takes much less than as objects, and the same bytes are what the changelog holds.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Final

import msgspec
import zstandard

from stream.signals import Signal

LIVE_MAX: Final = 2_000  # decoded ones that stay after a batch
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
GROUP_BYTES_MAX: Final = 1 << 28  # of PARTS_MAX parts with all that each may hold, some 200 MB


class BadGroup(Exception):  # noqa: N818 - it is a verdict on what was kept
    """What is no incident as it was kept, and why."""


class Group(msgspec.Struct):
    """Signals that are one incident, and what was told of it. `opened`: whether anybody was told.

    The sketches of its parts are kept once, merged: a part's only ever grow, so the union is that of the latest.
    """

    id: str
    parts: dict[str, Signal] = {}
    opened: bool = False
    revision: int = 0
    told_score: float | None = None  # until it is told: JSON has no infinity
    told_at: int = 0
    told_records: float = 0.0
    told_accused: int = 0
    status: str = "open"
    turn: int = 0  # number of the signal that it last took, of all signals
    subjects: set[int] = set()
    sources: set[int] = set()

    @property
    def first(self) -> int:
        """Time of its first event, ms."""
        return min(part.start for part in self.parts.values())

    @property
    def last(self) -> int:
        """Time of its latest event, ms."""
        return max(part.last for part in self.parts.values())

    @property
    def is_open(self) -> bool:
        """Whether people were told of it and not of its end."""
        return self.opened and self.status != "closed"


_decoder, _text_decoder = msgspec.msgpack.Decoder(Group), msgspec.json.Decoder(Group)
_zip, _unzip = zstandard.ZstdCompressor(level=1), zstandard.ZstdDecompressor()


def pack(group: Group) -> bytes:
    """A group as it is kept."""
    # What the compressor gives takes as much memory as it might have needed at worst; a copy takes what it has.
    return bytes(memoryview(_zip.compress(msgspec.msgpack.encode(group))))


def unpack(value: bytes) -> Group:
    """A group as it was kept, by this version or those before, in JSON, compressed or not; raises BadGroup."""
    try:
        if value.startswith(ZSTD_MAGIC):
            size = zstandard.frame_content_size(value)  # so much is taken at once, whatever comes of it
            if size > GROUP_BYTES_MAX:
                raise BadGroup(f"{size} bytes, the limit is {GROUP_BYTES_MAX}")
            value = _unzip.decompress(value)
        return (_text_decoder if value.startswith(b"{") else _decoder).decode(value)
    except (zstandard.ZstdError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as why:
        raise BadGroup(f"no incident as it was kept: {why}") from None


class Kept:
    """Groups by id, over a mapping that holds them as bytes. `changes` after each batch."""

    def __init__(self, encoded: MutableMapping[bytes, bytes]) -> None:
        self._encoded = encoded
        self._live: dict[str, Group] = {}
        self._changed: dict[str, None] = {}
        self._turns: dict[str, None] = {}  # all, that which took a signal last at the end

    def __len__(self) -> int:
        return len(self._turns)

    def __contains__(self, group_id: str) -> bool:
        return group_id in self._turns

    def __iter__(self) -> Iterator[str]:
        return iter(self._turns)

    def __getitem__(self, group_id: str) -> Group:
        """The group, to look at; KeyError where there is none."""
        group = self._live.get(group_id)
        if group is None:
            group = self._live[group_id] = unpack(self._encoded[group_id.encode()])
        return group

    def values(self) -> Iterator[Group]:
        """All of them, decoded one by one."""
        return (self[group_id] for group_id in list(self._turns))

    def touch(self, group: Group) -> None:
        """It is new, or takes a signal, and changes."""
        self._live[group.id] = group
        self._changed[group.id] = None
        self._turns.pop(group.id, None)
        self._turns[group.id] = None

    def known(self, group_id: str) -> None:
        """It is among the bytes; in the order of their turns."""
        self._turns[group_id] = None

    def quietest(self) -> Group:
        """The one that has taken no signal for longest."""
        return self[next(iter(self._turns))]

    def forget(self, group_id: str) -> None:
        """Keep it no longer."""
        del self._turns[group_id], self._live[group_id]
        self._changed[group_id] = None

    def changes(self) -> dict[bytes, bytes | None]:
        """What has changed since the last time, as it is to be written; None: it is kept no longer."""
        changed: dict[bytes, bytes | None] = {}
        for group_id in self._changed:
            key = group_id.encode()
            if group_id in self._turns:
                changed[key] = self._encoded[key] = pack(self._live[group_id])
            else:
                changed[key] = None
                self._encoded.pop(key, None)
        self._changed.clear()
        if len(self._live) > LIVE_MAX:
            self._live.clear()
        return changed
