"""Snapshots beside those on the worker's disk: in anything that fsspec reaches, for who takes over without that disk.

The directory is the cache and the store is behind it: every snapshot is written to the directory, one in a while is
copied to the store, and a worker that finds nothing better in its directory fetches the newest that it may use. What is
fetched becomes a file of the directory, and is refused or believed there like any other.

A name holds the number of the copy, which says what came later, and the offset that the snapshot stands at, which says
what may be used without fetching it.
"""

from __future__ import annotations

import re
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from stream.errors import UsageError

KEPT: Final = 2
_NAME: Final = re.compile(r"snapshot-([0-9]{20})-([0-9]{1,19})\.tripline")


class StoreError(ConnectionError):
    """The store does not answer, or refuses; worth trying again."""


class Copy(NamedTuple):
    """A snapshot in the store."""

    number: int
    offset: int

    @property
    def name(self) -> str:
        """Of its object."""
        return f"snapshot-{self.number:020}-{self.offset}.tripline"


class Store:
    """The copies of one partition's snapshots under a URL, such as s3://bucket/tripline; UsageError where it is none.

    Who may write there is told by what the protocol's own library finds in the environment.
    """

    def __init__(self, url: str, partition: int) -> None:
        if urlsplit(url).password is not None:
            raise UsageError("worker.store: has a password in it; its library takes secrets from the environment")
        try:
            from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # noqa: PLC0415 - where it is needed
        except ModuleNotFoundError as why:
            raise UsageError("worker.store: what reaches it is not installed: pip install 'tripline[store]'") from why
        try:
            self._files, path = url_to_fs(url)
        except (ImportError, ValueError) as why:
            raise UsageError(f"worker.store = {url!r}: {why}") from why
        self._url = url
        self._path = f"{path.rstrip('/')}/partition-{partition}"
        self._copying: threading.Thread | None = None
        self.failed = ""  # why the latest copy is not there, or nothing

    def copies(self) -> list[Copy]:
        """What is there, the newest first; StoreError."""
        try:
            self._files.invalidate_cache()
            names = self._files.ls(self._path, detail=False)
        except FileNotFoundError:
            return []
        except Exception as why:  # every protocol has errors of its own
            raise self._error(why) from why
        found = [_NAME.fullmatch(name.rpartition("/")[2]) for name in names]
        return sorted((Copy(int(each[1]), int(each[2])) for each in found if each), reverse=True)

    def fetch(self, copy: Copy, into: Path) -> Path:
        """A copy as a file in a directory, which whoever asked takes away; StoreError."""
        path = into / f"fetched-{uuid.uuid4().hex}.tmp"
        try:
            self._files.get_file(f"{self._path}/{copy.name}", str(path))
        except Exception as why:  # as above
            path.unlink(missing_ok=True)
            raise self._error(why) from why
        return path

    def put(self, path: Path, offset: int) -> None:
        """Copy a snapshot there, and let go of those that are no longer needed; StoreError."""
        try:
            there = self.copies()
            copy = Copy(there[0].number + 1 if there else 1, offset)
            self._files.makedirs(self._path, exist_ok=True)
            self._files.put_file(str(path), f"{self._path}/{copy.name}")
            for old in there[KEPT - 1 :]:
                with suppress(FileNotFoundError):
                    self._files.rm_file(f"{self._path}/{old.name}")
        except Exception as why:  # as above
            raise self._error(why) from why

    def begin(self, path: Path, offset: int) -> bool:
        """Copy a snapshot there in a thread of its own; False while the one before is still on its way."""
        if self._copying is not None and self._copying.is_alive():
            return False
        held = path.with_name(f"held-{uuid.uuid4().hex}.tmp")  # stays while the directory lets go of the file's name
        held.hardlink_to(path)

        def copy() -> None:
            try:
                self.put(held, offset)
                self.failed = ""
            except StoreError as why:
                self.failed = str(why)
            finally:
                held.unlink(missing_ok=True)

        self._copying = threading.Thread(target=copy, name="snapshot copy", daemon=True)
        self._copying.start()
        return True

    def finish(self, within_s: float) -> None:
        """Wait for a copy that is on its way."""
        if self._copying is not None:
            self._copying.join(within_s)

    def _error(self, why: Any) -> StoreError:
        return StoreError(f"worker.store = {self._url!r}: {type(why).__name__}: {str(why)[:200]}")
