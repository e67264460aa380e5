"""Dead letters: the records that could not be used, each with its place, its reason and the beginning of its bytes."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import orjson

from stream.errors import TriplineError
from stream.events import Rejected

RAW_BYTES_MAX: Final = 4096  # enough to see what it was; a 10 MB line must not fill the disk


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record not used. raw: its first RAW_BYTES_MAX bytes at most; raw_bytes: how many there were."""

    raw: bytes
    raw_bytes: int
    origin: str
    line: int
    reason: str
    detail: str


def letters(rejected: Sequence[Rejected], records: Sequence[bytes], origin: str) -> list[DeadLetter]:
    """Dead letters for what `decode_batch` rejected of `records`."""
    return [
        DeadLetter(records[r.index][:RAW_BYTES_MAX], len(records[r.index]), origin, r.line, r.reason, r.detail)
        for r in rejected
    ]


class DeadLetters:
    """Counts dead letters by reason and, given a path, appends them to that file, one JSON object a line.

    position: bytes of the file to keep; what is behind them was written by a run that did not get to record it, and is
    cut off. Raises TriplineError where the file cannot be opened or written.
    """

    def __init__(self, path: Path | str | None = None, position: int = 0) -> None:
        self.counts: Counter[str] = Counter()
        self._path = path
        self._file = None
        if path is None:
            return
        try:
            self._file = Path(path).open("r+b" if position else "wb")  # noqa: SIM115 - it is open as long as the run
            size = self._file.seek(0, 2)
            if size < position:
                self._file.close()
                raise TriplineError(
                    f"dead letters {path}: {size} bytes, but {position} were written before; put the file back, or "
                    "start with a new state directory"
                )
            self._file.truncate(position)
            self._file.seek(position)
        except OSError as why:
            raise TriplineError(f"dead letters {path}: {why.strerror}; name a file that can be written") from why

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Count the letters and write them."""
        self.counts.update(letter.reason for letter in letters)
        if self._file is None or not letters:
            return
        try:
            self._file.writelines(map(_line, letters))
        except OSError as why:
            raise self._failed(why) from why

    def position(self) -> int:
        """Bytes of the file that are safely with the operating system; 0 without a file."""
        if self._file is None:
            return 0
        try:
            self._file.flush()
        except OSError as why:
            raise self._failed(why) from why
        return self._file.tell()

    def close(self) -> None:
        """Write what is held back, and close the file."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as why:
                raise self._failed(why) from why

    def _failed(self, why: OSError) -> TriplineError:
        return TriplineError(f"dead letters {self._path}: {why.strerror}; free some space or name another file")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _line(letter: DeadLetter) -> bytes:
    try:
        raw = {"raw": letter.raw.decode()}
    except UnicodeDecodeError:
        raw = {"raw_base64": base64.b64encode(letter.raw).decode()}
    fields = {"origin": letter.origin, "line": letter.line, "reason": letter.reason, "detail": letter.detail}
    return orjson.dumps(fields | {"raw_bytes": letter.raw_bytes} | raw, option=orjson.OPT_APPEND_NEWLINE)
