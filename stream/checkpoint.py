"""Snapshots on disk: what a run has learned, in files that are whole or refused.

A file is: magic, format version (u32), length of the header (u64), all little-endian; the header, which is JSON;
CRC-32 of everything so far; then the arrays in the order of the header's table, each at the next multiple of 64 bytes,
zeros between. There is one layout for a given header, so a reader works it out itself and refuses any other: no offset
is followed because a file says so.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Final, Self

import msgspec
import numpy as np
import numpy.typing as npt
import orjson
from numpy.lib.format import descr_to_dtype, dtype_to_descr

from stream.errors import TriplineError

MAGIC: Final = b"TRIPLINE"
VERSION: Final = 1
HEADER_BYTES_MAX: Final = 64 << 20
ALIGNMENT: Final = 64  # a cache line
KEPT: Final = 2  # snapshots: the newest, and the one before in case the newest turns out to be damaged
DTYPE_DEPTH_MAX: Final = 16  # structures in structures; ours have two

_PREFIX: Final = struct.Struct("<8sIQ")
_CHECKSUM: Final = struct.Struct("<I")
_NAME: Final = re.compile(r"snapshot-([0-9]{20})\.tripline")
_NUMBER_MAX: Final = 10**20 - 1
_TEMPORARY: Final = ".tmp"
# Only plain scalars reach numpy, whose own reader of dtype strings takes whole expressions.
_SCALAR: Final = re.compile(r"[<>|][biufcmMSUV][0-9]{1,9}(\[[0-9]{0,9}[A-Za-z]{1,7}\])?")

Array = npt.NDArray[Any]
_Count = Annotated[int, msgspec.Meta(ge=0)]


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
    nbytes: _Count
    crc32: _Count


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fingerprint: str
    meta: dict[str, Any]
    arrays: list[_Entry]


class _Refused(Exception):  # noqa: N818 - it is a verdict on a file
    """Why a file is not used, and what can be done about it."""

    def __init__(self, reason: str, remedy: str = "restore the file from a backup") -> None:
        super().__init__(f"{reason} ({remedy})")


class StateDirectory:
    """The snapshots of one configuration, held by one process at a time.

    fingerprint: identifies the configuration; a snapshot of another one is refused. exclusive: False where something
    else decides who may save, and one who is past it, frozen with the directory open, must not keep the other out.
    Raises TriplineError where the
    directory cannot be made or written, or another process holds it. The kernel lets go of the lock when we die.
    """

    def __init__(self, path: Path | str, fingerprint: str, exclusive: bool = True) -> None:
        self.path = Path(path)
        self.fingerprint = fingerprint
        self._refused: set[int] = set()  # numbers that the next snapshot makes up for
        self._lock = -1
        try:
            if not self.path.is_dir():
                self.path.mkdir(0o700, exist_ok=True)
                _sync_directory(self.path.parent)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            if exclusive:
                self._take_lock()
                for leftover in self.path.glob(f"snapshot-*{_TEMPORARY}"):
                    leftover.unlink()
        except OSError as why:
            self.close()
            raise TriplineError(
                f"state directory {self.path}: {why.strerror}; name a --state directory that can be written, in one "
                "that exists"
            ) from why
        except BaseException:
            self.close()
            raise

    def load(self, refuse: Callable[[Snapshot], str | None] = lambda _: None) -> tuple[Snapshot | None, list[str]]:
        """The newest snapshot that can be used, and a sentence for each newer file that cannot; None when new.

        refuse: says why a snapshot that is whole is not to be used all the same. Raises TriplineError when there are
        snapshots and none can be used: what was learned is never dropped silently.
        """
        sentences: list[str] = []
        numbers = self._numbers()[::-1]
        for at, number in enumerate(numbers):
            path = self._file(number)
            try:
                snapshot = _read(path, self.fingerprint)
                if why_not := refuse(snapshot):
                    raise _Refused(why_not, "use it where it belongs")
            except _Refused as why:
                sentences.append(f"{path}: {why}")
            except OSError as why:
                sentences.append(f"{path}: cannot be read: {why.strerror} (make it readable)")
            else:
                self._refused = set(numbers[:at])
                return snapshot, sentences
        if sentences:
            raise TriplineError(
                f"no snapshot can be used: {'; '.join(sentences)}; or begin anew with another --state directory"
            )
        return None, []

    def save(self, snapshot: Snapshot) -> int:
        """Write a snapshot that survives power loss, and drop those that are no longer needed; the bytes written.

        Raises TriplineError when the disk refuses (what was saved before stays), TypeError and ValueError for what a
        snapshot cannot hold.
        """
        if self._lock < 0:
            raise ValueError(f"state directory {self.path} is closed")
        number = max(self._numbers(), default=0) + 1
        if number > _NUMBER_MAX:
            raise TriplineError(f"{self._file(_NUMBER_MAX)}: no number left; remove the file, which no run wrote")
        path = self._file(number)
        temporary = path.with_name(f"{path.name}.{os.getpid()}{_TEMPORARY}")
        try:
            try:
                written = _write(temporary, _encode(snapshot, self.fingerprint))
                temporary.replace(path)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise
            _sync_directory(self.path)  # only then may the others go
            usable = [n for n in self._numbers() if n not in self._refused]
            for old in {*usable[:-KEPT], *self._refused}:
                self._file(old).unlink(missing_ok=True)
            self._refused.clear()
        except OSError as why:
            raise TriplineError(
                f"{path} cannot be written: {why.strerror}; free some space there, or move the directory to another "
                "disk and name it as --state; the snapshots before it are intact"
            ) from why
        return written

    def newest(self) -> Path | None:
        """The file of the newest snapshot."""
        numbers = self._numbers()
        return self._file(numbers[-1]) if numbers else None

    def adopt(self, path: Path) -> None:
        """Take a file of the same disk in as the newest snapshot; `load` says whether it is one."""
        path.replace(self._file(max(self._numbers(), default=0) + 1))
        _sync_directory(self.path)

    def close(self) -> None:
        """Let go of the directory."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as why:
            pid = os.read(self._lock, 20).strip()
            holder = f"process {pid.decode()}" if pid.isdigit() else "another process"
            raise TriplineError(
                f"state directory {self.path} is in use by {holder}; wait for it or stop it, or name another --state "
                "directory"
            ) from why
        os.ftruncate(self._lock, 0)
        os.write(self._lock, b"%d\n" % os.getpid())

    def _numbers(self) -> list[int]:
        try:
            names = [_NAME.fullmatch(path.name) for path in self.path.iterdir()]
        except OSError as why:
            raise TriplineError(f"state directory {self.path}: {why.strerror}; put it back as it was") from why
        return sorted(int(name[1]) for name in names if name)

    def _file(self, number: int) -> Path:
        return self.path / f"snapshot-{number:020}.tripline"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _sync_directory(path: Path) -> None:
    """Make the names in a directory survive power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _raw(array: Array) -> memoryview:
    """The bytes of a contiguous array, in place."""
    return array.reshape(-1).view(np.uint8).data


def _encode(snapshot: Snapshot, fingerprint: str) -> Iterator[bytes | memoryview]:
    """The bytes of a file, piece by piece: arrays are copied only where they are not contiguous."""
    table: list[dict[str, Any]] = []
    pieces: list[bytes | memoryview] = []
    end = 0
    for name, array in snapshot.arrays.items():
        descr = _descr(name, array.dtype)
        flat = _raw(np.array(array, order="C", copy=None))
        offset = _aligned(end)
        table.append(
            {"name": name, "dtype": descr, "shape": array.shape, "offset": offset,
             "nbytes": len(flat), "crc32": zlib.crc32(flat)}
        )  # fmt: skip
        pieces += [bytes(offset - end), flat]
        end = offset + len(flat)
    header = orjson.dumps({"fingerprint": fingerprint, "meta": snapshot.meta, "arrays": table})
    if len(header) > HEADER_BYTES_MAX:
        raise ValueError(f"meta and table of arrays take {len(header)} bytes, the limit is {HEADER_BYTES_MAX}")
    head = _PREFIX.pack(MAGIC, VERSION, len(header)) + header
    head += _CHECKSUM.pack(zlib.crc32(head))
    yield head + bytes(_aligned(len(head)) - len(head))
    yield from pieces


def _write(path: Path, pieces: Iterable[bytes | memoryview]) -> int:
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


def _read(path: Path, fingerprint: str) -> Snapshot:
    """The snapshot in a file; _Refused unless every byte of it is as `_encode` wrote it."""
    if not path.is_file():
        raise _Refused("not a regular file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        header = _read_header(file, size)
        if header.fingerprint != fingerprint:
            raise _Refused(
                f"of another configuration, {header.fingerprint[:16]!r} and not {fingerprint[:16]!r}",
                "use the configuration it was written with",
            )
        dtypes = _check_table(header.arrays, size - _aligned(file.tell()))
        arrays: dict[str, Array] = {}
        for entry, dtype in zip(header.arrays, dtypes, strict=True):
            _skip_padding(file)
            arrays[entry.name] = _read_array(file, entry, dtype)
        if not arrays:
            _skip_padding(file)
    return Snapshot(header.meta, arrays)


def _read_header(file: BufferedReader, size: int) -> _Header:
    prefix = file.read(_PREFIX.size)
    if prefix[: len(MAGIC)] != MAGIC:
        raise _Refused("not a snapshot")
    if len(prefix) < _PREFIX.size:
        raise _Refused("truncated")
    _, version, length = _PREFIX.unpack(prefix)
    if version != VERSION:
        raise _Refused(f"format version {version}, this program reads {VERSION}", "use the program that wrote it")
    if length > HEADER_BYTES_MAX:
        raise _Refused(f"a header of {length} bytes, the limit is {HEADER_BYTES_MAX}")
    if _PREFIX.size + length + _CHECKSUM.size > size:
        raise _Refused("truncated")
    header = file.read(length)
    if file.read(_CHECKSUM.size) != _CHECKSUM.pack(zlib.crc32(header, zlib.crc32(prefix))):
        raise _Refused("the checksum of the header does not match")
    try:
        return msgspec.convert(orjson.loads(header), _Header)
    except (ValueError, RecursionError) as why:  # both libraries' errors are ValueErrors
        raise _Refused(f"a header that is not one of a snapshot: {why}") from why


def _check_table(table: Sequence[_Entry], room: int) -> list[np.dtype[Any]]:
    """The dtypes of the arrays, once the table describes exactly the `room` bytes behind the header."""
    if len({entry.name for entry in table}) < len(table):
        raise _Refused("two arrays of one name")
    dtypes = [_dtype(entry.dtype) for entry in table]
    end = 0
    for entry, dtype in zip(table, dtypes, strict=True):
        if entry.offset != _aligned(end) or entry.nbytes != prod(entry.shape) * dtype.itemsize:
            raise _Refused(f"array {entry.name[:64]!r} is not where its dtype and shape put it")
        end = entry.offset + entry.nbytes
    if end > room:
        raise _Refused(f"truncated, {end - room} bytes are missing")
    if end < room:
        raise _Refused(f"{room - end} bytes too long")
    return dtypes


def _read_array(file: BufferedReader, entry: _Entry, dtype: np.dtype[Any]) -> Array:
    try:
        array = np.empty(entry.shape, dtype)
    except (ValueError, OverflowError, MemoryError) as why:  # no bytes in 2**62 columns is no array either
        raise _Refused(f"array {entry.name[:64]!r} cannot be made: {why}") from why
    flat = _raw(array)
    if file.readinto(flat) < len(flat):
        raise _Refused("truncated while it was read")
    if zlib.crc32(flat) != entry.crc32:
        raise _Refused(f"the checksum of array {entry.name[:64]!r} does not match")
    return array


def _skip_padding(file: BufferedReader) -> None:
    if any(file.read(_aligned(file.tell()) - file.tell())):
        raise _Refused("bytes between the arrays that are not zero")


def _descr(name: str, dtype: np.dtype[Any]) -> Any:
    """A dtype as JSON; TypeError where it could not be read back."""
    if not dtype.hasobject:
        with suppress(ValueError, _Refused):  # fields that overlap have no description
            descr = dtype_to_descr(dtype)
            if _dtype(orjson.loads(orjson.dumps(descr))) == dtype:
                return descr
    raise TypeError(f"array {name}: a snapshot cannot hold dtype {dtype}")


def _dtype(descr: Any) -> np.dtype[Any]:
    try:
        dtype = descr_to_dtype(_numpy_descr(descr))
    except (ValueError, TypeError, OverflowError, MemoryError) as why:
        raise _Refused("a dtype that is none") from why
    if dtype.hasobject or dtype.itemsize == 0:
        raise _Refused("a dtype that is not one of snapshots")
    return dtype


def _numpy_descr(descr: Any, depth: int = 0) -> Any:
    """What JSON made of a description, tuples turned into lists, as numpy takes it."""
    if isinstance(descr, str) and _SCALAR.fullmatch(descr):
        return descr
    if not isinstance(descr, list) or depth == DTYPE_DEPTH_MAX:
        raise _Refused("a dtype that is not one of snapshots")
    fields: list[tuple[Any, ...]] = []
    for field in descr:
        match field:
            case [str(name), form]:
                fields.append((name, _numpy_descr(form, depth + 1)))
            case [str(name), form, [*shape]] if all(type(n) is int and n >= 0 for n in shape):
                fields.append((name, _numpy_descr(form, depth + 1), tuple(shape)))
            case _:
                raise _Refused("a dtype that is not one of snapshots")
    return fields
