"""What people said of alerts: an audit log of who, when and why, in which nothing can be changed without its showing.

Each entry holds the SHA-256 of itself and the hash of the one before (a hash chain: Haber and Stornetta, 1991). Whoever
notes the latest hash elsewhere can tell later whether anything up to it was changed, left out or put in; without such a
note, a log that was written anew from its beginning cannot be told from the first.

An entry has its effect from its own time on, in the time of the stream: alerts are a function of the access log and of
this one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from stream.alerts import Alert, EntityRef
from stream.errors import TriplineError, UsageError

SCHEMA: Final = "tripline.feedback/1"
START: Final = "0" * 64  # what the first entry follows
ENTRIES_MAX: Final = 100_000
LINE_BYTES_MAX: Final = 65_536
MUTE_MAX_MS: Final = 90 * 86_400_000  # a mute that is still wanted is said again

Verdict = Literal["true", "false", "expected", ""]
Ms = Annotated[int, Meta(ge=0)]


class About(msgspec.Struct, frozen=True):
    """The alert that a verdict is about, as far as the verdict must remember it. features: of its evidence."""

    id: str
    revision: int
    time: str
    severity: str
    entity: EntityRef
    detectors: tuple[str, ...]
    named: tuple[EntityRef, ...]
    features: dict[str, float]


class Mute(msgspec.Struct, frozen=True):
    """What is not to be told from `start_ms` to before `end_ms`, stream time: alerts of all these entities, by no other
    detectors than these (none named: by any)."""  # fmt: skip

    entities: Annotated[tuple[EntityRef, ...], Meta(max_length=8)]
    detectors: Annotated[tuple[str, ...], Meta(max_length=32)]
    start_ms: Ms
    end_ms: Ms


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was said. Besides a verdict and a mute: `revokes` ends the mute of an earlier entry, by its
    number; `reset_ms` forgets what verdicts taught since then (epoch ms). request: the id of the webhook's request that
    said it, of which a repeat is no second entry."""  # fmt: skip

    schema: str
    number: int
    time_ms: Ms
    who: Annotated[str, Meta(max_length=256)]
    previous: str
    verdict: Verdict = ""
    note: Annotated[str, Meta(max_length=2_048)] = ""
    about: About | None = None
    mute: Mute | None = None
    revokes: int = 0
    reset_ms: int = 0
    request: str = ""
    hash: str = ""


_decoder = msgspec.json.Decoder(Entry)


def hash_of(entry: Entry) -> str:
    """The SHA-256 of an entry without its own hash, as 64 hexadecimal digits."""
    plain = msgspec.json.encode(msgspec.structs.replace(entry, hash=""), order="deterministic")
    return hashlib.sha256(plain).hexdigest()


def sealed(entry: Entry, before: Sequence[Entry]) -> Entry:
    """The entry with its number and hashes, behind those before it."""
    previous = before[-1].hash if before else START
    chained = msgspec.structs.replace(entry, number=len(before) + 1, previous=previous)
    return msgspec.structs.replace(chained, hash=hash_of(chained))


def chained(lines: Iterable[bytes], where: str) -> Iterator[Entry]:
    """The entries of a log; TriplineError at the first that is none, or does not follow from the one before."""
    number, previous = 0, START
    for line in lines:
        if line.strip():
            number += 1
            entry = following(line, number, previous, f"{where} line {number}")
            previous = entry.hash
            yield entry


def following(line: bytes, number: int, previous: str, place: str) -> Entry:
    """The entry in a line that has to be of this number, behind the one of this hash; TriplineError where it is not."""
    if number > ENTRIES_MAX or len(line) > LINE_BYTES_MAX:
        raise TriplineError(f"{place}: more than {ENTRIES_MAX:,} entries or {LINE_BYTES_MAX:,} bytes")
    try:
        entry = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as why:
        raise TriplineError(f"{place}: not an entry of feedback: {why}") from None
    if entry.schema != SCHEMA or entry.number != number or entry.previous != previous:
        raise TriplineError(f"{place}: does not follow the entry before it: something was changed, left out or put in")
    if entry.hash != hash_of(entry):
        raise TriplineError(f"{place}: its hash is not that of what it says: it was changed")
    return entry


def load(path: Path) -> list[Entry]:
    """All entries of a file, verified; none where there is no file yet. TriplineError where it cannot be believed."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as why:
        raise TriplineError(f"--feedback {path}: {why.strerror}; name a file that can be read") from why
    return list(chained(data.splitlines(), str(path)))


def encode(entry: Entry) -> bytes:
    """An entry as it is written."""
    return msgspec.json.encode(entry, order="deterministic")


def append(path: Path, entry: Entry) -> Entry:
    """Put an entry at the end of the file, on the disk, one writer at a time; the entry as it stands there."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as why:
        raise TriplineError(f"--feedback {path}: {why.strerror}; name a file that can be written") from why
    with os.fdopen(descriptor, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        data = file.read()
        before = list(chained(data.splitlines(), str(path)))
        if len(before) >= ENTRIES_MAX:
            raise TriplineError(f"--feedback {path}: {ENTRIES_MAX:,} entries; begin another log")
        entry = sealed(entry, before)
        head = b"" if not data or data.endswith(b"\n") else b"\n"
        file.write(head + encode(entry) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return entry


def verified(entries: Sequence[Entry], head: str | None) -> str:
    """The hash of the latest entry; TriplineError where `head`, noted before, is that of none."""
    if head is not None and head not in {START, *(entry.hash for entry in entries)}:
        raise TriplineError(
            f"no entry has the hash {head[:64]}: the log was cut before it or written anew; ask who could write it"
        )
    return entries[-1].hash if entries else START


def revoked(entries: Sequence[Entry], number: int) -> Entry:
    """The entry whose mute is to end; UsageError where there is none of that number with a mute."""
    found = next((entry for entry in entries if entry.number == number and entry.mute is not None), None)
    if found is None:
        raise UsageError(f"--revoke {number}: no entry of that number has a mute; --list shows those that do")
    return found


def about(alert: Alert, features: dict[str, float]) -> About:
    """What a verdict remembers of an alert."""
    named = tuple(sorted({*alert.related, *(item.entity for item in alert.evidence)}))
    return About(
        alert.id, alert.revision, alert.time, alert.severity, alert.entity, alert.detectors, named[:64], features
    )
