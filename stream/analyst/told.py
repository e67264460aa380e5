"""The alerts that were told, read back from a file or the alert topic: every revision, or each alert as it stands."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from stream.alerts import SCHEMA, SEVERITIES, Alert, EntityRef
from stream.errors import TriplineError, UsageError
from stream.markup import epoch_ms

BLOCK_BYTES: Final = 1 << 20
LINE_BYTES_MAX: Final = 1 << 22  # an alert with all its names and evidence is some 50 kB
ALERTS_MAX: Final = 200_000  # kept at once, about 2 GB; beyond, the oldest is let go and counted
POLL_S: Final = 0.5
RANKS: Final = {name: rank for rank, name in enumerate(["low", *(name for name, _ in reversed(SEVERITIES))])}

_decoder = msgspec.json.Decoder(Alert)


@dataclass(slots=True)
class Unread:
    """Lines that are no alerts: how many, and where and why the first one is none."""

    count: int = 0
    first: str = ""

    def note(self, place: str, why: str) -> None:
        """Count one."""
        self.count += 1
        self.first = self.first or f"{place}: {why}"

    def __str__(self) -> str:
        return f"{self.count:,} line{'' if self.count == 1 else 's'} left out as no alerts ({self.first})"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which alerts are asked for; what is None or empty asks for nothing. Times in epoch ms, `to_ms` not included."""

    severity: str | None = None  # this or worse
    detector: str | None = None
    entity: EntityRef | None = None  # that it is about, or that it names
    statuses: frozenset[str] = frozenset()
    from_ms: int | None = None
    to_ms: int | None = None

    def __call__(self, alert: Alert) -> bool:
        """Whether this alert is."""
        told = epoch_ms(alert.time) or 0
        return (
            (self.severity is None or RANKS.get(alert.severity, 0) >= RANKS[self.severity])
            and (self.detector is None or self.detector in alert.detectors)
            and (self.entity is None or self.entity in named(alert))
            and (not self.statuses or alert.status in self.statuses)
            and (self.from_ms is None or told >= self.from_ms)
            and (self.to_ms is None or told < self.to_ms)
        )


@dataclass(slots=True)
class Told:
    """Alerts by id, each as it stood last, in the order of their time; `dropped` were let go for want of room."""

    latest: dict[str, Alert] = field(default_factory=dict)
    dropped: int = 0

    def add(self, alert: Alert) -> None:
        """Know this revision, unless a later one is known."""
        known = self.latest.get(alert.id)
        if known is None or alert.revision >= known.revision:
            self.latest[alert.id] = alert
        if len(self.latest) > ALERTS_MAX:
            del self.latest[next(iter(self.latest))]
            self.dropped += 1

    def those(self, wanted: Callable[[Alert], bool]) -> list[Alert]:
        """The alerts that are asked for, the earliest first."""
        return sorted(filter(wanted, self.latest.values()), key=lambda a: (epoch_ms(a.time) or 0, a.id))

    def one(self, name: str) -> Alert:
        """The alert of this id, or of the only id that begins so; UsageError where there is none or several."""
        found = (
            [self.latest[name]] if name in self.latest else [a for i, a in self.latest.items() if i.startswith(name)]
        )
        if len(found) == 1 and name:
            return found[0]
        if not found:
            raise UsageError(
                f"alert {name}: not among the {len(self.latest):,} that were read; `tripline alerts` lists them"
            )
        some = ", ".join(a.id for a in found[:3])
        raise UsageError(f"alert {name}: {len(found):,} ids begin so ({some}, ...); give more of it")


def named(alert: Alert) -> set[EntityRef]:
    """Every entity that an alert is about, has evidence of, or names as related."""
    return {alert.entity, *alert.related, *(item.entity for item in alert.evidence)}


def decoded(lines: Iterable[tuple[str, bytes]], unread: Unread) -> Iterator[Alert]:
    """The alerts of (place, line); what is none is noted."""
    for place, line in lines:
        if not line.strip():
            continue
        try:
            alert = _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as why:
            unread.note(place, str(why))
            continue
        if alert.schema == SCHEMA:
            yield alert
        else:
            unread.note(place, f"schema {alert.schema[:64]!r}, this program reads {SCHEMA}")


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return True


def file_lines(
    path: str, *, follow: bool = False, wait: Callable[[float], bool] = _sleep
) -> Iterator[tuple[str, bytes]]:
    """Lines of a file or of stdin ("-") with their places; `follow` waits for more, over rotation and truncation.

    `wait` is called with the seconds to wait and ends the following by returning False. Raises TriplineError.
    """
    while True:
        with _opened(path) as file:
            yield from _lines(file, path, follow, wait)
            if not follow or not _replaced(file, path):
                return


def _lines(file: BinaryIO, path: str, follow: bool, wait: Callable[[float], bool]) -> Iterator[tuple[str, bytes]]:
    number, rest = 0, b""
    while True:
        while block := file.read(BLOCK_BYTES):
            *whole, rest = (rest + block).split(b"\n")
            for line in whole:
                number += 1
                yield f"{path} line {number}", line
            if len(rest) > LINE_BYTES_MAX:
                raise TriplineError(
                    f"{path} line {number + 1}: more than {LINE_BYTES_MAX} bytes; alerts are lines of some kilobytes"
                )
        if not follow or _replaced(file, path) or not wait(POLL_S):
            break
    if rest:
        yield f"{path} line {number + 1}", rest


def _replaced(file: BinaryIO, path: str) -> bool:
    """Whether another file has this name now, or the file was cut."""
    with suppress(OSError):
        here, there = os.fstat(file.fileno()), Path(path).stat()
        return (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino) or there.st_size < file.tell()
    return False


def _opened(path: str) -> BinaryIO:
    if path == "-":
        return sys.stdin.buffer
    try:
        return Path(path).open("rb")
    except OSError as why:
        raise UsageError(
            f"--alerts {path}: {why.strerror}; name the file that `tripline run --alerts FILE` wrote, or --config FILE "
            "for the alert topic"
        ) from why
