"""Dead letters, read back: counted by reason, shown, and given to a decoder once more."""

from __future__ import annotations

import base64
import binascii
import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, cast

import msgspec
import numpy as np
import orjson

from stream.bytestream import blocks
from stream.checks import TIME_MS_END
from stream.deadletters import DeadLetter, encoded
from stream.decode import Format, decode_batch, detect, format_named
from stream.errors import TriplineError, UsageError
from stream.events import BadRecord
from stream.framing import LINES, framer
from stream.logs.sample import event
from stream.sink import LineSink

SHOWN_CHARS_MAX: Final = 2_000
LETTER_BYTES_MAX: Final = 1 << 16
BLOCK_BYTES: Final = 1 << 20
I64_MAX: Final = (1 << 63) - 1


class Letter(msgspec.Struct):
    """A dead letter as `tripline run` (line) and `tripline worker` (offset) write it."""

    origin: str
    reason: str
    detail: str
    raw_bytes: Annotated[int, msgspec.Meta(ge=0, le=I64_MAX)]
    line: Annotated[int, msgspec.Meta(ge=-1, le=I64_MAX)] = -1
    offset: Annotated[int, msgspec.Meta(ge=-1, le=I64_MAX)] = -1
    raw_text: str | None = msgspec.field(default=None, name="raw")
    raw_base64: str | None = None

    @property
    def raw(self) -> bytes:
        """The record, or how it begins."""
        return (
            base64.b64decode(self.raw_base64, validate=True)
            if self.raw_base64 is not None
            else (self.raw_text or "").encode()
        )

    @property
    def whole(self) -> bool:
        """Whether all of the record is here."""
        return len(self.raw) == self.raw_bytes

    @property
    def at(self) -> int:
        """The line, or the offset."""
        return self.line if self.line >= 0 else self.offset

    @property
    def place(self) -> str:
        """Where the record was."""
        return f"{self.origin}:{self.at}"


@dataclass(slots=True)
class Told:
    """What a replay came to."""

    read: int = 0
    events: int = 0
    dead: int = 0
    cut: int = 0


_read = msgspec.json.Decoder(Letter).decode


def read(path: str, reason: str | None = None) -> Iterator[Letter]:
    """The letters of a file ("-": stdin), of one reason where one is named; TriplineError for what is no letter."""
    framing = framer(LINES, LETTER_BYTES_MAX)
    try:
        with nullcontext(sys.stdin.buffer) if path == "-" else Path(path).open("rb") as file:
            for block in blocks(cast("io.BufferedReader", file), BLOCK_BYTES):
                yield from _those(framing.feed(block), path, reason)
            yield from _those(framing.finish(), path, reason)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name a file of --dead-letters") from error
    except BadRecord as why:
        raise TriplineError(f"{path}: what is packed breaks off: {why.detail}") from None


def _those(framed: Any, path: str, reason: str | None) -> Iterator[Letter]:
    for line, raw in zip(framed.lines.tolist(), framed.records, strict=True):
        try:
            letter = _read(raw)
            letter.raw  # noqa: B018 - base64 that is none is found here
        except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error, ValueError) as why:
            raise TriplineError(f"{path}: line {line} is no dead letter: {why}") from None
        if reason is None or letter.reason == reason:
            yield letter


def counted(letters: Iterable[Letter]) -> list[tuple[int, str, str, str]]:
    """How many there are of each reason, the most first, with the place and the detail of its first."""
    counts: dict[str, list[Any]] = {}
    for letter in letters:
        counts.setdefault(letter.reason, [0, letter.place, letter.detail])[0] += 1
    return sorted(
        ((n, reason, where, why) for reason, (n, where, why) in counts.items()), key=lambda row: (-row[0], row[1])
    )


def first(letters: Iterable[Letter], number: int) -> Iterator[Letter]:
    """The first `number` of them."""
    for index, letter in enumerate(letters):
        if index >= number:
            return
        yield letter


def replayed(letters: Iterable[Letter], fmt: str, events: LineSink, left: LineSink) -> Told:
    """Decode each letter once more: native events to the one, letters that stay dead to the other.

    An event without an id of its own gets the place of its record, so that a second replay repeats it and no more.
    """
    given = None if fmt == "auto" else format_named(fmt)
    told = Told()
    for letter in letters:
        told.read += 1
        found = given or detect([letter.raw])
        if not letter.whole or found is None:
            told.cut += not letter.whole
            told.dead += 1
            left.write(encoded(_dead(letter, letter.reason, letter.detail)))
            continue
        _again(letter, found, told, events, left)
    return told


def _again(letter: Letter, fmt: Format, told: Told, events: LineSink, left: LineSink) -> None:
    block, rejected = decode_batch(fmt, [letter.raw], letter.origin, np.array([letter.at]), TIME_MS_END - 1)
    for index in range(len(block)):
        row = event(block, index)
        row.setdefault("id", letter.place if len(block) == 1 else f"{letter.place}/{index}")
        events.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    told.events += len(block)
    told.dead += len(rejected)
    for each in rejected:
        left.write(encoded(_dead(letter, each.reason, each.detail)))


def _dead(letter: Letter, reason: str, detail: str) -> DeadLetter:
    return DeadLetter(letter.raw, letter.raw_bytes, letter.origin, letter.at, reason, detail)
