"""Snapshot files: what a run has learned, whole or as what changed since the snapshot before.

A file is: magic, format version (u32), length of the header (u64), all little-endian; the header, which is JSON;
CRC-32 of everything so far; then the arrays in the order of the header's table, each at the next multiple of 64 bytes,
zeros between. There is one layout for a given header, so a reader works it out itself and refuses any other: no offset
is followed because a file says so.

Version 1 is whole. Version 2 is a delta: it names the file that it rests on, the one numbered one less, by the CRC-32
of that one's header, in which there are the checksums of its arrays. Before the arrays there are indexes: which pieces,
of a number of rows each, changed. An array that has an index is there with these pieces alone.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Final, Self

import msgspec
import numpy as np
import orjson

from stream.changes import PIECE_BYTES, ROW_BYTES_MAX, Array, Changes, gathered, raw, row_bytes, scattered
from stream.dtypes import NoDtype, described, dtype_of
from stream.typeinfo import ready_for_threads

MAGIC: Final = b"TRIPLINE"
WHOLE, DELTA = 1, 2  # format versions
HEADER_BYTES_MAX: Final = 64 << 20
ALIGNMENT: Final = 64  # a cache line

_PREFIX: Final = struct.Struct("<8sIQ")
_CHECKSUM: Final = struct.Struct("<I")

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Body = Callable[[], Iterator[memoryview]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """meta: what JSON can hold (finite numbers, integers of 64 bits, names that are text); tuples come back as lists.

    arrays: any shape, any dtype without Python objects.
    """

    meta: dict[str, Any]
    arrays: dict[str, Array]


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    dtype: Any
    shape: Annotated[tuple[_Count, ...], msgspec.Meta(max_length=64)]  # numpy's limit
    offset: _Count
    nbytes: _Count  # in the file
    crc32: _Count
    index: _Count | None = None  # of `indexes`; None: all of the array is there


class _Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pieces of `together` rows that changed: an array of int64[n], ascending."""

    together: Annotated[int, msgspec.Meta(ge=1, le=PIECE_BYTES)]
    array: _Entry


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fingerprint: str
    meta: dict[str, Any]
    arrays: list[_Entry]
    base: _Count | None = None
    indexes: list[_Index] = []


ready_for_threads(_Header)


class Refused(Exception):  # noqa: N818 - it is a verdict on a file
    """Why a file is not used, and what can be done about it."""

    def __init__(self, reason: str, remedy: str = "restore the file from a backup") -> None:
        super().__init__(f"{reason} ({remedy})")
        self.reason, self.remedy = reason, remedy


def encoded(
    snapshot: Snapshot, fingerprint: str, base: int | None = None, changes: Sequence[Changes] = ()
) -> tuple[int, Iterator[bytes | memoryview]]:
    """A file of arrays that are contiguous: the checksum of its header, and its bytes piece by piece, copied nowhere.

    base: the checksum of the file that a delta rests on. TypeError and ValueError for what a file cannot hold.
    """
    table = _Table()
    indexes = [
        {"together": each.together, "array": table.add("index", each.pieces, _all(each.pieces))} for each in changes
    ]
    ordinals = {name: n for n, each in enumerate(changes) for name in each.names}
    arrays: list[dict[str, Any]] = []
    for name, array in snapshot.arrays.items():
        ordinal = ordinals.get(name)
        if ordinal is None:
            arrays.append(table.add(name, array, _all(array)))
        else:
            arrays.append(table.add(name, array, _some(array, changes[ordinal])) | {"index": ordinal})
    named: dict[str, Any] = {"fingerprint": fingerprint, "meta": snapshot.meta, "arrays": arrays}
    if base is not None:
        named |= {"base": base, "indexes": indexes}
    header = orjson.dumps(named)
    if len(header) > HEADER_BYTES_MAX:
        raise ValueError(f"meta and table of arrays take {len(header)} bytes, the limit is {HEADER_BYTES_MAX}")
    head = _PREFIX.pack(MAGIC, WHOLE if base is None else DELTA, len(header)) + header
    checksum = zlib.crc32(head)
    head += _CHECKSUM.pack(checksum)
    return checksum, chain([head, bytes(_aligned(len(head)) - len(head))], table.bodies())


class _Table:
    """Arrays, each at its place behind the header."""

    def __init__(self) -> None:
        self._bodies: list[tuple[int, _Body]] = []
        self._end = 0

    def add(self, name: str, array: Array, body: _Body) -> dict[str, Any]:
        """Place what `body` gives of an array at the end; its entry."""
        descr = described(name, array.dtype)
        offset, nbytes, checksum = _aligned(self._end), 0, 0
        for piece in body():
            nbytes, checksum = nbytes + len(piece), zlib.crc32(piece, checksum)
        self._bodies.append((offset - self._end, body))
        self._end = offset + nbytes
        return {
            "name": name, "dtype": descr, "shape": array.shape, "offset": offset, "nbytes": nbytes, "crc32": checksum,
        }  # fmt: skip

    def bodies(self) -> Iterator[bytes | memoryview]:
        """All of them, with the padding before each."""
        for padding, body in self._bodies:
            yield bytes(padding)
            yield from body()


def write(path: Path, pieces: Iterable[bytes | memoryview]) -> int:
    """Write a file and wait until it is on the disk; its bytes."""
    written = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        for piece in pieces:
            left = memoryview(piece)
            written += len(left)
            while left:
                left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return written


def is_delta(path: Path) -> bool:
    """Whether a file says that it is one; of a file that says nothing, no."""
    try:
        with path.open("rb") as file:
            return file.read(12) == _PREFIX.pack(MAGIC, DELTA, 0)[:12]
    except OSError:
        return False


class File:
    """A snapshot file that is open, with a header and a length as `encoded` gives them; Refused where it has others."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        if not path.is_file():
            raise Refused("not a regular file" if path.exists() else "missing")
        self.path = path
        self._file = path.open("rb")
        try:
            size = os.fstat(self._file.fileno()).st_size
            self._header = self._read_header(size)
            if self._header.fingerprint != fingerprint:
                raise Refused(
                    f"of another configuration, {self._header.fingerprint[:16]!r} and not {fingerprint[:16]!r}",
                    "use the configuration it was written with",
                )
            self._dtypes = _check_table(self._header, size - _aligned(self._file.tell()))
        except BaseException:
            self._file.close()
            raise

    @property
    def meta(self) -> dict[str, Any]:
        """The snapshot's."""
        return self._header.meta

    @property
    def base(self) -> int | None:
        """The checksum of the header of the file that this one rests on; None: it is whole."""
        return self._header.base

    def sizes(self) -> dict[str, int]:
        """How many bytes of each array there are in the file."""
        return {entry.name: entry.nbytes for entry in self._header.arrays}

    def arrays(self, before: dict[str, Array], room: Mapping[str, int]) -> dict[str, Array]:
        """The snapshot's arrays, given those of the file that it rests on, which are used up; once.

        room: bytes that an array may come to in files that rest on this one, so that it does not move when it grows.
        Refused unless every byte is as `encoded` gives it.
        """
        indexes = [self._index(each.array) for each in self._header.indexes]
        arrays: dict[str, Array] = {}
        for entry, dtype in zip(self._header.arrays, self._dtypes, strict=True):
            if entry.index is None:
                arrays[entry.name] = self._whole(entry, dtype, room.get(entry.name, 0))
            else:
                together = self._header.indexes[entry.index].together
                arrays[entry.name] = self._changed(
                    entry, dtype, before.pop(entry.name, None), together, indexes[entry.index]
                )
        if not arrays:
            self._skip_padding()
        return arrays

    def _read_header(self, size: int) -> _Header:
        prefix = self._file.read(_PREFIX.size)
        if prefix[: len(MAGIC)] != MAGIC:
            raise Refused("not a snapshot")
        if len(prefix) < _PREFIX.size:
            raise Refused("truncated")
        _, version, length = _PREFIX.unpack(prefix)
        if version not in (WHOLE, DELTA):
            raise Refused(
                f"format version {version}, this program reads {WHOLE} and {DELTA}", "use the program that wrote it"
            )
        if length > HEADER_BYTES_MAX:
            raise Refused(f"a header of {length} bytes, the limit is {HEADER_BYTES_MAX}")
        if _PREFIX.size + length + _CHECKSUM.size > size:
            raise Refused("truncated")
        text = self._file.read(length)
        self.checksum = zlib.crc32(text, zlib.crc32(prefix))
        if self._file.read(_CHECKSUM.size) != _CHECKSUM.pack(self.checksum):
            raise Refused("the checksum of the header does not match")
        try:
            header = msgspec.convert(orjson.loads(text), _Header)
        except (ValueError, RecursionError) as why:  # both libraries' errors are ValueErrors
            raise Refused(f"a header that is not one of a snapshot: {why}") from why
        if (header.base is not None) != (version == DELTA) or (header.indexes and version == WHOLE):
            raise Refused(f"a header that is not one of format version {version}")
        return header

    def _whole(self, entry: _Entry, dtype: np.dtype[Any], room: int = 0) -> Array:
        try:
            memory = np.empty(max(entry.nbytes, room), np.uint8)
            array = memory[: entry.nbytes].view(dtype).reshape(entry.shape)
        except (ValueError, OverflowError, MemoryError) as why:  # no bytes in 2**62 columns is no array either
            raise Refused(f"array {entry.name[:64]!r} cannot be made: {why}") from why
        self._read_into(raw(array).data, entry)
        return array

    def _index(self, entry: _Entry) -> Array:
        index = self._whole(entry, np.dtype("<i8"))
        if len(index) and not (index[0] >= 0 and (index[1:] > index[:-1]).all()):
            raise Refused("an index that does not ascend")
        return index

    def _changed(
        self, entry: _Entry, dtype: np.dtype[Any], array: Array | None, together: int, index: Array
    ) -> Array:  # fmt: skip
        """The array before, with what changed, in place."""
        if array is None or array.dtype != dtype or array.shape[1:] != entry.shape[1:]:
            raise Refused(f"array {entry.name[:64]!r} has another form in the snapshot that it rests on")
        size = together * row_bytes(dtype, entry.shape)
        before, after = array.nbytes, prod(entry.shape) * dtype.itemsize
        pieces = -(-after // size)
        grown = pieces - before // size if after > before else 0  # pieces that are new, or have new rows
        if (len(index) and index[-1] >= pieces) or np.count_nonzero(index >= pieces - grown) != grown:
            raise Refused(f"array {entry.name[:64]!r} has an index that does not fit it")
        if array.shape != entry.shape:
            assert array.base is not None  # noqa: S101 - the memory that `_whole` made, with room
            array = array.base[:after].view(dtype).reshape(entry.shape)
        some = np.empty(entry.nbytes, np.uint8)
        self._read_into(some.data, entry)
        scattered(raw(array), size, index, some)
        return array

    def _read_into(self, flat: memoryview, entry: _Entry) -> None:
        self._skip_padding()
        if self._file.readinto(flat) < len(flat):
            raise Refused("truncated while it was read")
        if zlib.crc32(flat) != entry.crc32:
            raise Refused(f"the checksum of array {entry.name[:64]!r} does not match")

    def _skip_padding(self) -> None:
        if any(self._file.read(_aligned(self._file.tell()) - self._file.tell())):
            raise Refused("bytes between the arrays that are not zero")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _all(array: Array) -> _Body:
    return lambda: iter((raw(array).data,))


def _some(array: Array, changes: Changes) -> _Body:
    size = changes.together * row_bytes(array.dtype, array.shape)
    return lambda: gathered(raw(array), size, changes.pieces)


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _check_table(header: _Header, room: int) -> list[np.dtype[Any]]:
    """The dtypes of the arrays, once the table describes exactly the `room` bytes behind the header."""
    if len({entry.name for entry in header.arrays}) < len(header.arrays):
        raise Refused("two arrays of one name")
    for each in header.indexes:
        if each.array.dtype != "<i8" or len(each.array.shape) != 1 or each.array.index is not None:
            raise Refused("an index that is none")
    dtypes = [_dtype(entry.dtype) for entry in header.arrays]
    end = 0
    for entry, dtype in zip(
        [*(each.array for each in header.indexes), *header.arrays], [np.dtype("<i8")] * len(header.indexes) + dtypes,
        strict=True,
    ):  # fmt: skip
        if entry.offset != _aligned(end) or entry.nbytes != _stored(entry, dtype, header.indexes):
            raise Refused(f"array {entry.name[:64]!r} is not where its dtype and shape put it")
        end = entry.offset + entry.nbytes
    if end > room:
        raise Refused(f"truncated, {end - room} bytes are missing")
    if end < room:
        raise Refused(f"{room - end} bytes too long")
    return dtypes


def _stored(entry: _Entry, dtype: np.dtype[Any], indexes: Sequence[_Index]) -> int:
    """The bytes of an array in the file."""
    if entry.index is None:
        return prod(entry.shape) * dtype.itemsize
    if entry.index >= len(indexes):
        raise Refused(f"array {entry.name[:64]!r} has an index that is none")
    if not 0 < (row := row_bytes(dtype, entry.shape)) <= ROW_BYTES_MAX:
        raise Refused(f"array {entry.name[:64]!r} has rows of {row} bytes, and an index")
    index = indexes[entry.index]
    return index.array.shape[0] * index.together * row


def _dtype(descr: Any) -> np.dtype[Any]:
    try:
        return dtype_of(descr)
    except NoDtype as why:
        raise Refused(str(why)) from why
