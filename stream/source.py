"""Access logs as chunks of records: files, directories, compressed files, stdin, a file that grows.

The order is fixed: inputs as they are named, a directory's files sorted by path. A chunk is the records that end in
one block; its position says where to go on after it, exactly, in the unpacked bytes of its file. With format "auto"
it is told from the first record of the file that any format recognises; until then records are dead letters of reason
unknown_format.
"""

from __future__ import annotations

import io
import os
import stat
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from stream.bytestream import blocks, is_packed, plain
from stream.deadletters import RAW_BYTES_MAX, DeadLetter
from stream.decode import Format, detect, format_named
from stream.errors import TriplineError, UsageError
from stream.events import BadRecord
from stream.framing import LINES, UTF8_BOM, CsvFramer, DocumentFramer, Framed, LineFramer, framer, level_of
from stream.records import Records

RECORD_BYTES_MAX: Final = 1 << 20
BLOCK_BYTES: Final = 1 << 20  # some 2,500 events: what decodes fastest, since it still lies in the cache
POLL_S: Final = 0.5
STDIN: Final = "-"
TAIL_BYTES: Final = 4096  # what a file must still hold before the position, to be the one that was read


class Position(msgspec.Struct, frozen=True):
    """Where to go on: after `offset` unpacked bytes of `path`, whose next record has the place `line`.

    tail: digest of the last `tail_bytes` before the offset; before: how many files were read before this one. header:
    the first row of a CSV file.
    """

    path: str
    offset: int
    line: int
    level: int
    format: str
    tail_bytes: int
    tail: str
    before: int
    header: str = ""


@dataclass(slots=True)
class Chunk:
    """Records of one file in its order, with their places (int64[n]: lines, or ordinals in a JSON document).

    format is None only where there are no records. dead: what could not be handed over as a record. read_bytes: how
    much of the input this is, as it lies on the disk, for who shows progress.
    """

    origin: str
    format: Format | None
    records: Records
    lines: npt.NDArray[np.int64]
    position: Position
    dead: list[DeadLetter] = field(default_factory=list)
    read_bytes: int = 0


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return True


def inputs(paths: Sequence[str]) -> list[str]:
    """The files that the inputs stand for, in the order of reading; UsageError that lists every one that cannot be."""
    files: list[str] = []
    wrong: list[str] = []
    for path in paths:
        if path == STDIN:
            files.append(path)
        elif Path(path).is_dir():
            found = sorted(
                str(p) for p in Path(path).rglob("*") if p.is_file() and not _hidden(p.relative_to(path).parts)
            )
            if not found:
                wrong.append(f"{path}: no log file in this directory or below (hidden files are left out)")
            files += found
        else:
            files.append(path)
    wrong += [f"{file}: {why}" for file in files if file != STDIN and (why := _unreadable(file))]
    wrong += [f"{file}: named more than once" for file in dict.fromkeys(files) if files.count(file) > 1]
    if wrong:
        raise UsageError("\n".join(("these inputs cannot be read:", *(f"  {each}" for each in wrong))))
    return files


def open_source(
    files: Sequence[str],
    fmt: str = "auto",
    follow: bool = False,
    *,
    resume: Position | None = None,
    record_bytes_max: int = RECORD_BYTES_MAX,
    block_bytes: int = BLOCK_BYTES,
    say: Callable[[str], None] = lambda _message: None,
    wait: Callable[[float], bool] = _sleep,
) -> Iterator[Chunk]:
    """The chunks of the files that `inputs` gave; "-" is stdin.

    follow: when the last, a plain file, has been read, wait for it to grow, over rotation and truncation; `wait` is
    called with the seconds to wait and ends the reading by returning False. resume: the position of the last chunk
    that was dealt with. say: is told what a person should know, such as the format that was found. Raises UsageError
    or TriplineError before anything is read where the format cannot be used, where the last file cannot be followed,
    or where the files are not those that the position was taken from.
    """
    if follow and files[-1] != STDIN:
        with _opened(files[-1]) as last:
            if not stat.S_ISREG(os.fstat(last.fileno()).st_mode) or is_packed(last):
                raise UsageError(f"--follow {files[-1]}: not a plain file; only an uncompressed file can be followed")
    given = None if fmt == "auto" else format_named(fmt)
    start = _place(files, resume) if resume else 0
    if resume and start is None:
        say(f"{resume.path}, where the last run stopped, is not among the inputs; reading them from the beginning")
    source = _Source(list(files), given, follow, record_bytes_max, block_bytes, say, wait)
    return source.chunks(start or 0, None if start is None else resume)


@dataclass(slots=True)
class _Source:
    files: list[str]
    given: Format | None
    follow: bool
    record_bytes_max: int
    block_bytes: int
    say: Callable[[str], None]
    wait: Callable[[float], bool]

    def chunks(self, start: int, resume: Position | None) -> Iterator[Chunk]:
        for number in range(start, len(self.files)):
            path = self.files[number]
            here = resume if number == start else None
            follow = self.follow and number == len(self.files) - 1 and path != STDIN
            while True:
                with _opened(path) as file:
                    reading = _Reading(path, number, self, here)
                    yield from reading.read(file, blocks(file, self.block_bytes, reading.skip))
                    if follow and not (yield from self._followed(file, reading)):
                        return
                    yield from reading.end()
                if not follow:
                    break
                here = None
                self.say(f"{path}: rotated; reading the new file")

    def _followed(self, file: io.BufferedReader, reading: _Reading) -> Generator[Chunk, None, bool]:
        """Read what the file grows by; True when another file has taken its place, False when waiting has ended."""
        while self.wait(POLL_S):
            try:
                there = Path(reading.path).stat()
            except FileNotFoundError:  # between the two steps of a rotation
                continue
            here = os.fstat(file.fileno())
            rotated = (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)
            yield from reading.read(file, plain(file, self.block_bytes))
            if rotated or there.st_size < file.tell():
                return True
        return False


class _Reading:
    """A file being read: its framer, its format once that is told, and the last bytes gone through."""

    def __init__(self, path: str, before: int, source: _Source, resume: Position | None) -> None:
        self.path = path
        self._before = before
        self._source = source
        self._format = source.given
        self._framer: LineFramer | DocumentFramer | None = None
        self._held = b""  # unpacked, but not yet framed: too short to tell a document from lines
        self._mark = 0  # bytes of a byte order mark
        self._line = 1
        self._recent = b""  # the last TAIL_BYTES that were fed to the framer before this block
        self._fed = 0  # bytes fed to the framer, counted from the file's beginning
        self._tail = (0, "")
        self.skip = 0  # unpacked bytes that were read before
        if resume is not None:
            self._line = resume.line
            if path != STDIN:
                self._framer = framer(resume.level, source.record_bytes_max, resume.offset, resume.line, resume.header)
                self._fed = self.skip = resume.offset
                self._tail = (resume.tail_bytes, resume.tail)
            if self._format is None and resume.format:
                self._format = format_named(resume.format)

    def read(self, file: io.BufferedReader, parts: Iterator[bytes]) -> Iterator[Chunk]:
        """The chunks of these parts of the file."""
        at = file.tell() if file.seekable() else 0
        try:
            for block in parts:
                chunk = self._fed_chunk(block)
                now = file.tell() if file.seekable() else at + len(block)
                if chunk is not None:
                    chunk.read_bytes, at = now - at, now
                    yield chunk
        except BadRecord as why:
            dead = DeadLetter(
                self._unfinished(), len(self._unfinished()), self.path, self._next_line(), why.reason, why.detail
            )
            self._forget_unfinished()
            chunk = self._chunk(Framed())
            chunk.dead.append(dead)
            yield chunk

    def end(self) -> Iterator[Chunk]:
        """What was waiting for more, now that nothing more comes."""
        if self._framer is None:
            if not self._held:
                return
            yield self._chunk(self._start(b"", final=True))
        assert self._framer is not None  # noqa: S101 - made by _start
        before = self._framer.offset
        framed = self._framer.finish()
        if self._framer.offset > before:  # a last record that nothing ended: all that was fed is behind us
            self._tail = (len(self._recent), _digest(self._recent))
        chunk = self._chunk(framed)
        if left := self._framer.unfinished:
            detail = "the file ends in the middle of a JSON document"
            chunk.dead.append(
                DeadLetter(left[:RAW_BYTES_MAX], len(left), self.path, self._framer.line, "truncated_file", detail)
            )
        yield chunk

    def _fed_chunk(self, block: bytes) -> Chunk | None:
        if self._framer is not None:
            return self._chunk(self._feed(block))
        framed = self._start(block, final=False)
        return None if self._framer is None else self._chunk(framed)

    def _start(self, block: bytes, final: bool) -> Framed:
        self._held += block
        if self._held.startswith(UTF8_BOM):
            self._mark, self._held = len(UTF8_BOM), self._held.removeprefix(UTF8_BOM)
        level = level_of(self._held, final)
        if level is None:
            return Framed()
        self._framer = framer(level, self._source.record_bytes_max, 0, self._line)
        held, self._held = self._held, b""
        return self._feed(held)

    def _feed(self, block: bytes) -> Framed:
        assert self._framer is not None  # noqa: S101 - the callers made it
        framed = self._framer.feed(block)
        end = self._framer.offset - self._fed  # where the last whole record ends in this block
        if end > 0:
            tail = block[max(end - TAIL_BYTES, 0) : end]
            if end < TAIL_BYTES:
                tail = self._recent[len(self._recent) - (TAIL_BYTES - end) :] + tail if self._recent else tail
            self._tail = (len(tail), _digest(tail))
        self._recent = (self._recent + block)[-TAIL_BYTES:] if len(block) < TAIL_BYTES else block[-TAIL_BYTES:]
        self._fed += len(block)
        return framed

    def _chunk(self, framed: Framed) -> Chunk:
        dead = [
            DeadLetter(
                head, size, self.path, line, "record_too_long",
                f"{size} bytes, the limit is {self._source.record_bytes_max}; raise record_bytes_max if it is a record",
            )
            for line, head, size in framed.too_long
        ]  # fmt: skip
        records, lines = framed.records, framed.lines
        if records and self._format is None:
            self._format = detect(records)
            if self._format is not None:
                self._source.say(f"{self.path}: format {self._format.name}")
        if records and self._format is None:
            detail = "no format recognises it; name one with --format"
            dead += [
                DeadLetter(record[:RAW_BYTES_MAX], len(record), self.path, line, "unknown_format", detail)
                for record, line in zip(records, lines.tolist(), strict=True)
            ]
            records, lines = records[:0], lines[:0]
        return Chunk(self.path, self._format, records, lines, self._position(), dead)

    def _position(self) -> Position:
        framing = self._framer
        level = framing.level if framing is not None else LINES
        header = framing.header if isinstance(framing, CsvFramer) else ""
        offset = self._mark + framing.offset if framing is not None else 0
        name = self._format.name if self._format is not None else ""
        return Position(self.path, offset, self._next_line(), level, name, *self._tail, self._before, header)

    def _next_line(self) -> int:
        return self._framer.line if self._framer is not None else self._line

    def _unfinished(self) -> bytes:
        return (self._framer.unfinished if self._framer is not None else self._held)[:RAW_BYTES_MAX]

    def _forget_unfinished(self) -> None:
        """What has been told of in a dead letter is not told of again at the end."""
        self._held = b""
        if self._framer is not None:
            self._framer.forget()


def _place(files: Sequence[str], resume: Position) -> int | None:
    """The file to go on with: the one whose content is that of the position, whatever it is called now."""
    for number in sorted(range(len(files)), key=lambda n: files[n] != resume.path):
        if _holds(files[number], resume):
            if number > resume.before:
                raise TriplineError(
                    f"{files[number]}: {number} files come before it, and only {resume.before} did when it was read; "
                    "they would be left out: name new files after it, or start with a new state directory"
                )
            return number
    if resume.path in files:
        raise TriplineError(
            f"{resume.path}: not the file that was read up to line {resume.line - 1} (byte {resume.offset}); put that "
            "file back, name the rotated one before it, or start with a new state directory"
        )
    return None


def _holds(path: str, position: Position) -> bool:
    """Whether the file still has what was read of it; of stdin nobody can tell."""
    if STDIN in (path, position.path):
        return path == position.path
    if not Path(path).is_file():
        return False
    tail = b""
    with _opened(path) as file, suppress(BadRecord):
        for block in blocks(file, BLOCK_BYTES, position.offset - position.tail_bytes):
            tail += block
            if len(tail) >= position.tail_bytes:
                break
    tail = tail[: position.tail_bytes]
    return len(tail) == position.tail_bytes and (not tail or _digest(tail) == position.tail)


@contextmanager
def _opened(path: str) -> Iterator[io.BufferedReader]:
    if path == STDIN:
        yield sys.stdin.buffer  # type: ignore[misc]  # a BufferedReader where it is a file or a pipe
        return
    try:
        with Path(path).open("rb") as file:
            yield file
    except OSError as why:
        raise TriplineError(f"{path}: {why.strerror}; it could be read when the run began") from why


def _hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith(".") for part in parts)


def _unreadable(path: str) -> str:
    """Why the file cannot be read, or nothing."""
    try:
        if stat.S_ISFIFO(Path(path).stat().st_mode):
            return ""
        with Path(path).open("rb"):
            return ""
    except OSError as why:
        return f"{why.strerror}; check the name and that this user may read it"


def _digest(tail: bytes) -> str:
    return blake2b(tail, digest_size=8).hexdigest()
