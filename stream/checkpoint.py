"""The directory of a state: its snapshots on disk, of which a run goes on from the newest that is sound.

A snapshot is written whole, or as a delta: what changed since the one before it, where this process wrote that one and
so knows. A delta is a file like any other and rests on the file numbered one less. A whole one is written again once
the deltas come to as much as it, or are many: reading the newest snapshot back is to read at most twice the state.

KEPT whole ones stay, with all that rests on them: whatever file is damaged, an earlier snapshot does not need it.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import numpy as np

from stream.changes import Array, Changes, Form, changed, hashed
from stream.errors import TriplineError
from stream.siphash import U64
from stream.snapshot import File, Refused, Snapshot, encoded, is_delta, write

KEPT: Final = 2  # whole snapshots: the newest, and the one before in case the newest turns out to be damaged
DELTAS_FROM_BYTES: Final = 64 << 20  # a state that is smaller is always written whole: it takes a tenth of a second
DELTAS_SHARE: Final = 1.0  # of a whole snapshot that the deltas on it may come to
DELTAS_MAX: Final = 32  # on a whole snapshot: each is one more file that must be sound

_NAME: Final = re.compile(r"snapshot-([0-9]{20})\.tripline")
_NUMBER_MAX: Final = 10**20 - 1
_TEMPORARY: Final = ".tmp"


class Saved(NamedTuple):
    """A snapshot that was written: its file, the bytes of it, and of it and all that it rests on."""

    path: Path
    nbytes: int
    chain_nbytes: int
    whole: bool


class _Last(NamedTuple):
    """What the next delta can rest on. nbytes: of the arrays of the whole snapshot; since: of the deltas on it."""

    number: int
    checksum: int
    hashes: dict[Form, U64]
    nbytes: int
    since: int
    deltas: int
    chain_nbytes: int


class StateDirectory:
    """The snapshots of one configuration, held by one process at a time.

    fingerprint: identifies the configuration; a snapshot of another one is refused. exclusive: False where something
    else decides who may save, and one who is past it, frozen with the directory open, must not keep the other out.
    Raises TriplineError where the directory cannot be made or written, or another process holds it.
    The kernel lets go of the lock when we die.
    """

    def __init__(self, path: Path | str, fingerprint: str, exclusive: bool = True) -> None:
        self.path = Path(path)
        self.fingerprint = fingerprint
        self._refused: set[int] = set()  # numbers that the next snapshot makes up for
        self._last: _Last | None = None
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

    def load(
        self, refuse: Callable[[dict[str, Any]], str | None] = lambda _: None
    ) -> tuple[Snapshot | None, list[str]]:
        """The newest snapshot that can be used, and a sentence for each newer file that cannot; None when new.

        refuse: says by its meta why a snapshot that is sound is not to be used all the same. Raises TriplineError when
        there are snapshots and none can be used: what was learned is never dropped silently.
        """
        self._last = None  # it may not be what is loaded
        sentences: list[str] = []
        numbers = self._numbers()[::-1]
        damaged: dict[int, Refused] = {}
        for at, number in enumerate(numbers):
            path = self._file(number)
            try:
                snapshot = self._read(number, refuse, damaged)
            except Refused as why:
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

    def save(self, snapshot: Snapshot) -> Saved:
        """Write a snapshot that survives power loss, and drop those that are no longer needed.

        Raises TriplineError when the disk refuses (what was saved before stays), TypeError and ValueError for what a
        snapshot cannot hold.
        """
        if self._lock < 0:
            raise ValueError(f"state directory {self.path} is closed")
        number = max(self._numbers(), default=0) + 1
        if number > _NUMBER_MAX:
            raise TriplineError(f"{self._file(_NUMBER_MAX)}: no number left; remove the file, which no run wrote")
        snapshot = Snapshot(snapshot.meta, {n: np.array(a, order="C", copy=None) for n, a in snapshot.arrays.items()})
        nbytes = sum(array.nbytes for array in snapshot.arrays.values())
        hashes = hashed(snapshot.arrays) if nbytes >= DELTAS_FROM_BYTES else {}
        last, changes, size = self._rests_on(number, hashes, snapshot.arrays)
        base = None if last is None else last.checksum
        checksum, pieces = encoded(snapshot, self.fingerprint, base, changes)
        path = self._file(number)
        temporary = path.with_name(f"{path.name}.{os.getpid()}{_TEMPORARY}")
        try:
            try:
                written = write(temporary, pieces)
                temporary.replace(path)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise
            _sync_directory(self.path)  # only then may the others go
            self._drop_old()
        except OSError as why:
            raise TriplineError(
                f"{path} cannot be written: {why.strerror}; free some space there, or move the directory to another "
                "disk and name it as --state; the snapshots before it are intact"
            ) from why
        if last is None:
            self._last = _Last(number, checksum, hashes, nbytes, 0, 0, written) if hashes else None
        else:
            self._last = _Last(
                number, checksum, hashes, last.nbytes, last.since + size, last.deltas + 1, last.chain_nbytes + written
            )
        return Saved(path, written, written if last is None else last.chain_nbytes + written, last is None)

    def _rests_on(
        self, number: int, hashes: dict[Form, U64], arrays: dict[str, Array]
    ) -> tuple[_Last | None, list[Changes], int]:
        """The snapshot that the next one rests on, with what changed since and its bytes; None: it is to be whole."""
        last = self._last
        if last is None or last.number != number - 1 or last.deltas == DELTAS_MAX or not hashes:
            return None, [], 0
        if not set(range(last.number - last.deltas, number)) <= set(self._numbers()):
            return None, [], 0  # somebody removed one
        changes, size = changed(last.hashes, hashes, arrays)
        return (last, changes, size) if last.since + size <= DELTAS_SHARE * last.nbytes else (None, [], 0)

    def _drop_old(self) -> None:
        """Remove what was refused, and all below the whole snapshots that are kept."""
        usable = [n for n in self._numbers() if n not in self._refused]
        whole = [n for n in usable if not is_delta(self._file(n))]
        first = whole[-KEPT] if len(whole) >= KEPT else 0
        for old in sorted({*(n for n in usable if n < first), *self._refused}):
            self._file(old).unlink(missing_ok=True)
        self._refused.clear()

    def _read(
        self, number: int, refuse: Callable[[dict[str, Any]], str | None], damaged: dict[int, Refused]
    ) -> Snapshot:
        """A snapshot, with all that it rests on; Refused. damaged: files whose arrays were found to be."""
        with ExitStack() as opened:
            files = [opened.enter_context(File(self._file(number), self.fingerprint))]
            if why_not := refuse(files[0].meta):
                raise Refused(why_not, "use it where it belongs")
            while (base := files[-1].base) is not None:
                number -= 1
                with _resting_on(self._file(number)):
                    if number in damaged:
                        raise damaged[number]
                    files.append(opened.enter_context(File(self._file(number), self.fingerprint)))
                    if files[-1].checksum != base:
                        raise Refused("not the file that was there then")
            arrays: dict[str, Array] = {}
            room: Counter[str] = Counter()  # an array grows by no more than what is there of it
            for file in files:
                room.update(file.sizes())
            for at, file in zip(range(number, number + len(files)), files[::-1], strict=True):
                if file is files[0]:
                    arrays = file.arrays(arrays, room)
                    continue
                with _resting_on(file.path):
                    try:
                        arrays = file.arrays(arrays, room)
                    except Refused as why:
                        damaged[at] = why
                        raise
            return Snapshot(files[0].meta, arrays)

    def adopt(self, paths: Sequence[Path]) -> None:
        """Take files of the same disk in as the newest snapshot and what it rests on; `load` says what they are."""
        for path in paths:
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


@contextmanager
def _resting_on(path: Path) -> Iterator[None]:
    try:
        yield
    except Refused as why:
        raise Refused(f"rests on {path.name}, which is of no use: {why.reason}", why.remedy) from why
    except OSError as why:
        raise Refused(f"rests on {path.name}, which cannot be read: {why.strerror}", "make it readable") from why
