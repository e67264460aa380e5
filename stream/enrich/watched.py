"""A file that is read, and read again when it has changed: as it is now, or as it last was when it could be read."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final, Generic, TypeVar

from stream.enrich.mmdb import Broken

FILE_BYTES_MAX: Final = 1 << 30
T = TypeVar("T")
Signature = tuple[int, int, int]


class _Torn(Broken):
    """It was written to while it was read."""


class Watched(Generic[T]):
    """What `read` makes of a file's bytes; Broken, with the setting and the file in it, where it cannot be read."""

    def __init__(self, setting: str, path: str, read: Callable[[bytes], T]) -> None:
        self._setting, self._path, self._read = setting, Path(path), read
        self._seen: Signature | None = None
        self.value, self.digest = self._taken()

    def refreshed(self) -> bool:
        """Look whether the file is another, and whether what it says is; Broken, once a change, where it is of no
        use: the value is then what it was."""  # fmt: skip
        if self._signature() == self._seen:
            return False
        before = self.digest
        try:
            self.value, self.digest = self._taken()
        except _Torn:
            self._seen = None  # whoever writes it is not done: it is looked at again
            return False
        return self.digest != before

    def _taken(self) -> tuple[T, bytes]:
        self._seen = seen = self._signature()
        try:
            size = self._path.stat().st_size
            if not self._path.is_file() or size > FILE_BYTES_MAX:
                raise Broken(f"{size:,} bytes, the limit is {FILE_BYTES_MAX:,}, of a regular file; name a smaller one")
            data = self._path.read_bytes()
            if self._signature() != seen:
                raise _Torn("it was written to while it was read; write it beside and rename it")
            return self._read(data), blake2b(data, digest_size=16).digest()
        except OSError as why:
            raise Broken(
                f"{self}: cannot be read ({why.strerror}); correct the name, or let this user read it"
            ) from why
        except Broken as why:
            raise type(why)(f"{self}: {why}") from None

    def _signature(self) -> Signature | None:
        try:
            found = self._path.stat()
        except OSError:
            return (0, 0, 0)  # that it is gone is said once
        return found.st_mtime_ns, found.st_size, found.st_ino

    def __str__(self) -> str:
        return f"enrich.{self._setting} = {str(self._path)!r}"
