"""The log of a run: a file of alerts, and beside it, for each subscriber, its place and what it was told lately.

A run that is cut and goes on cuts the outbox back to where its snapshot stands and writes most of the same alerts
again: all of them, where it was cut in the middle; those of an input's end may come out otherwise once there is more
input. So places go back with the outbox, and what comes again word for word is left out by its digest.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import orjson

from stream.alerts import Alert, comparable, encode
from stream.errors import TriplineError
from stream.sink import LineSink

OUTBOX: Final = "outbox.jsonl"
TOLD_MAX: Final = 1_000  # alerts between two snapshots: the budget allows a few a day
_decoder = msgspec.json.Decoder(Alert)


class Kept(msgspec.Struct):
    """What is kept of a subscriber: how many alerts it has had, and digests of the last of them."""

    place: int
    told: list[str] = []


class Outbox:
    """The alerts of a run in a folder. `position`: bytes to keep, None to begin anew; TriplineError as LineSink has."""

    def __init__(self, folder: Path, position: int | None) -> None:
        folder.mkdir(0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.path = folder / OUTBOX
        self._sink = LineSink(str(self.path), "outbox", position)
        self.alerts = self.path.read_bytes().count(b"\n")

    def append(self, alert: Alert) -> None:
        """Write an alert where every subscriber will find it."""
        self._sink.write(encode(alert))
        self._sink.flush()
        self.alerts += 1

    def sync(self) -> int:
        """Wait until it is on the disk; the bytes of it."""
        self._sink.sync()
        return self._sink.position()

    def close(self) -> None:
        """Close the file; what is written stays."""
        self._sink.close()


class OutboxLog:
    """One subscriber's place in an outbox. `woken` is set when there may be more, `ended` when there will be none."""

    def __init__(self, outbox: Outbox, name: str) -> None:
        self._outbox = outbox
        self._path = outbox.folder / f"{name}.delivered"
        self._file: BinaryIO | None = None
        self.ended = False
        self.woken = asyncio.Event()
        self._kept = self._read()
        self._told = dict.fromkeys(self._kept.told)
        self._taken = self._kept.place
        self._digest = ""

    @property
    def waiting(self) -> int:
        """Alerts that it has not had."""
        return max(self._outbox.alerts - self._kept.place, 0)

    async def next(self) -> tuple[int, Alert] | None:
        """The next alert that it was not told; None at the end of a log that has ended."""
        while True:
            self.woken.clear()
            if line := self._line():
                self._taken += 1
                self._digest = _digest(line)
                if self._digest in self._told:
                    await self.done(self._taken)
                    continue
                return self._taken, _decoder.decode(line)
            if self.ended:
                return None
            await self.woken.wait()

    async def done(self, place: int) -> None:
        """Keep the place."""
        self._told[self._digest] = None
        while len(self._told) > TOLD_MAX:
            del self._told[next(iter(self._told))]
        self._write(Kept(place, list(self._told)))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _line(self) -> bytes:
        """The next whole line, or nothing."""
        if self._taken >= self._outbox.alerts:
            return b""
        if self._file is None:
            self._file = self._outbox.path.open("rb")
            for _ in range(self._taken):
                self._file.readline()
        return self._file.readline()

    def _read(self) -> Kept:
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=Kept)
        except FileNotFoundError:  # a new subscriber: it begins with what comes
            kept = Kept(self._outbox.alerts)
        except msgspec.DecodeError as why:
            raise TriplineError(
                f"{self._path}: not what is kept of a subscriber ({why}); without the file it begins with new alerts"
            ) from why
        kept.place = min(kept.place, self._outbox.alerts)
        self._write(kept)
        return kept

    def _write(self, kept: Kept) -> None:
        self._kept = kept
        made = self._path.with_suffix(".new")
        made.write_bytes(msgspec.json.encode(kept))
        made.replace(self._path)


def _digest(line: bytes) -> str:
    words = orjson.dumps(comparable(line), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(words, digest_size=8).hexdigest()
