"""Dead letters: the records that could not be used, each with its place, its reason and the beginning of its bytes."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import orjson

from stream.events import Rejected
from stream.sink import LineSink

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
    """Counts dead letters by reason and, given a path, writes them there, one JSON object a line.

    path and position are those of `LineSink`, and so are the errors.
    """

    def __init__(self, path: str | None = None, position: int | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._sink = None if path is None else LineSink(path, "dead letters", position)

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Count the letters and write them."""
        self.counts.update(letter.reason for letter in letters)
        if self._sink is not None and letters:
            self._sink.write(b"".join(map(encoded, letters)))

    def sync(self) -> None:
        """Wait until what was written is on the disk: a snapshot must not know of more than the file holds."""
        if self._sink is not None:
            self._sink.sync()

    def position(self) -> int:
        """Bytes of the file that are safely with the operating system; 0 without a file."""
        return 0 if self._sink is None else self._sink.position()

    def close(self) -> None:
        """Write what is held back, and close the file."""
        if self._sink is not None:
            self._sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sink is not None:
            self._sink.__exit__(kind, error, trace)


def encoded(letter: DeadLetter) -> bytes:
    """The letter as a line of JSON."""
    try:
        raw = {"raw": letter.raw.decode()}
    except UnicodeDecodeError:
        raw = {"raw_base64": base64.b64encode(letter.raw).decode()}
    fields = {"origin": letter.origin, "line": letter.line, "reason": letter.reason, "detail": letter.detail}
    return orjson.dumps(fields | {"raw_bytes": letter.raw_bytes} | raw, option=orjson.OPT_APPEND_NEWLINE)
