"""Snapshots beside those on the worker's disk: in anything that fsspec reaches, for who takes over without that disk.

The directory is the cache and the store is behind it: every snapshot is written to the directory, one in a while is
copied to the store with what it rests on and is not there yet, and a worker that finds nothing better in its directory
fetches the newest that it may use. What is fetched becomes files of the directory, and is refused or believed there
like any other.

A name says whether the snapshot is whole or a delta on the one numbered one less; the number of the copy, which says
what came later; and the offset that the snapshot stands at, which says what may be used without fetching it.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from stream.errors import UsageError

KEPT: Final = 2  # whole ones, with all deltas on them
_NAME: Final = re.compile(r"(snapshot|delta)-([0-9]{20})-([0-9]{1,19})\.tripline")


class StoreError(ConnectionError):
    """The store does not answer, or refuses; worth trying again."""


class Copy(NamedTuple):
    """A snapshot in the store."""

    number: int
    offset: int
    whole: bool = True

    @property
    def name(self) -> str:
        """Of its object."""
        return f"{'snapshot' if self.whole else 'delta'}-{self.number:020}-{self.offset}.tripline"


class Sent(NamedTuple):
    """A snapshot of the directory, to be copied: its file, and the offset that it stands at."""

    path: Path
    offset: int


def chain(copy: Copy, copies: Sequence[Copy]) -> list[Copy]:
    """A copy behind all that it rests on; where something is missing no whole one is in front."""
    by_number = {each.number: each for each in copies}
    found = [copy]
    while not found[0].whole and (before := by_number.get(found[0].number - 1)) is not None:
        found.insert(0, before)
    return found


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
        self._there: list[Sent] = []  # of what this process copied, the latest and what it rests on
        self._last = 0  # its number
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
        return sorted((Copy(int(each[2]), int(each[3]), each[1] == "snapshot") for each in found if each), reverse=True)

    def fetch(self, copies: Sequence[Copy], into: Path) -> list[Path]:
        """Copies as files in a directory, which whoever asked takes away; StoreError."""
        paths = [into / f"fetched-{uuid.uuid4().hex}.tmp" for _ in copies]
        try:
            for copy, path in zip(copies, paths, strict=True):
                self._files.get_file(f"{self._path}/{copy.name}", str(path))
        except Exception as why:  # as above
            for path in paths:
                path.unlink(missing_ok=True)
            raise self._error(why) from why
        return paths

    def put(self, sent: Sequence[Sent], files: Sequence[Path]) -> None:
        """Copy a snapshot there with what it rests on, a whole one first; let go of what is no longer needed.

        files: where they are meanwhile. What this process copied before, and nothing came after, is not copied again.
        Raises StoreError.
        """
        try:
            there = self.copies()
            last = there[0].number if there else 0
            if last != self._last or list(sent[: len(self._there)]) != self._there:
                self._there = []
            self._files.makedirs(self._path, exist_ok=True)
            for n in range(len(self._there), len(sent)):
                last += 1
                there.insert(0, Copy(last, sent[n].offset, n == 0))
                self._files.put_file(str(files[n]), f"{self._path}/{there[0].name}")
                self._there, self._last = list(sent[: n + 1]), last
            whole = [copy.number for copy in there if copy.whole]
            for old in there:
                if len(whole) >= KEPT and old.number < whole[KEPT - 1]:
                    with suppress(FileNotFoundError):
                        self._files.rm_file(f"{self._path}/{old.name}")
        except Exception as why:  # as above
            raise self._error(why) from why

    def begin(self, sent: Sequence[Sent]) -> bool:
        """Copy a snapshot there in a thread of its own; False while the one before is still on its way."""
        if self._copying is not None and self._copying.is_alive():
            return False
        # They stay while the directory lets go of the files' names.
        held = [each.path.with_name(f"held-{uuid.uuid4().hex}.tmp") for each in sent]

        def let_go() -> None:
            for path in held:
                path.unlink(missing_ok=True)

        def copy() -> None:
            try:
                self.put(sent, held)
                self.failed = ""
            except StoreError as why:
                self.failed = str(why)
            finally:
                let_go()

        try:
            for each, path in zip(sent, held, strict=True):
                path.hardlink_to(each.path)
        except OSError:
            let_go()
            raise
        self._copying = threading.Thread(target=copy, name="snapshot copy", daemon=True)
        self._copying.start()
        return True

    def finish(self, within_s: float) -> None:
        """Wait for a copy that is on its way."""
        if self._copying is not None:
            self._copying.join(within_s)

    def _error(self, why: Any) -> StoreError:
        return StoreError(f"worker.store = {self._url!r}: {type(why).__name__}: {str(why)[:200]}")
