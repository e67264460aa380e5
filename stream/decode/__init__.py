"""Decoders: one file a format, found by looking into this folder. A new format is one new file with a FORMAT in it.

A decoder turns one record (a line, or one object of a JSON document) into canonical access events and says BadRecord
where it cannot; what the values may be is checked afterwards, for every format alike, by `stream.events.columns`.
Modules whose names begin with an underscore hold what decoders share.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import msgspec
import numpy as np
import numpy.typing as npt

from stream.blocks import PackedBlock, joined, packed
from stream.errors import UsageError
from stream.events import AccessEvent, BadRecord, EventBlock, Rejected, columns
from stream.records import Records
from stream.siphash import I64

MAPPING = "mapping:"  # in front of the file that describes a house format


@dataclass(frozen=True, slots=True)
class Format:
    """How one kind of record is told apart and read.

    matches(record): whether it looks like this format; never raises. decode(record): its events, none or several;
    raises BadRecord and nothing else. fast(record): for a format where one record is mostly one event, that event
    without the care for errors: it may raise msgspec's, and the record then goes to `decode` for the reason or for
    its other events. quick(records, origin, lines, time_ms_max): the events of those records that are plain, as columns
    at once, and which records they are; what it takes must come out as `decode` would have it.
    """

    name: str
    matches: Callable[[bytes], bool]
    decode: Callable[[bytes], list[AccessEvent]]
    fast: Callable[[bytes], AccessEvent] | None = None
    quick: Callable[[Records, str, I64, int], tuple[PackedBlock, npt.NDArray[np.bool_]]] | None = None


@cache
def formats() -> dict[str, Format]:
    """Every format there is, by name."""
    found: dict[str, Format] = {}
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            fmt: Format = importlib.import_module(f"{__name__}.{module.name}").FORMAT
            found[fmt.name] = fmt
    return found


def format_named(name: str) -> Format:
    """The format of that name, or of "mapping:FILE" the one that the file describes; raises UsageError."""
    if name.startswith(MAPPING):
        mapping = importlib.import_module(f"{__name__}._mapping")
        found: Format = mapping.load_mapping(name.removeprefix(MAPPING))
        return found
    try:
        return formats()[name]
    except KeyError:
        raise UsageError(
            f"format {name!r} is not known; choose auto, mapping:FILE or one of {', '.join(formats())}"
        ) from None


def detect(records: Iterable[bytes]) -> Format | None:
    """The format of the first record that has one, or None."""
    for record in records:
        for fmt in formats().values():
            if fmt.matches(record):
                return fmt
    return None


def decode_packed(
    fmt: Format, records: Records, origin: str, lines: I64, time_ms_max: int, *, mixed: bool = False
) -> tuple[PackedBlock, list[Rejected]]:
    """As `decode_batch`, packed: what is plain goes the quick way where the format has one. `lines` must rise."""
    if fmt.quick is None:
        block, rejected = decode_batch(fmt, records, origin, lines, time_ms_max, mixed=mixed)
        return packed(block), rejected
    quick, taken = fmt.quick(records, origin, lines, time_ms_max)
    if taken.all():
        return quick, []
    left = np.flatnonzero(~taken)
    slow, rejected = decode_batch(fmt, records.take(left), origin, lines[left], time_ms_max, mixed=mixed)
    rejected = [Rejected(r.line, int(left[r.index]), r.reason, r.detail) for r in rejected]
    whole = joined([quick, packed(slow)])
    return whole.take(np.argsort(whole.line, kind="stable")), rejected


def decode_batch(
    fmt: Format,
    records: Sequence[bytes],
    origin: str,
    lines: npt.NDArray[np.int64],
    time_ms_max: int,
    *,
    mixed: bool = False,
) -> tuple[EventBlock, list[Rejected]]:
    """The events of the records as columns, and the records that gave none, in order; one never costs another.

    lines: int64[n], the place of each record in `origin`. time_ms_max: the latest time that is believed, epoch ms.
    mixed: offer a record that `fmt` cannot read to whichever other format recognises it. Rejected.index counts records.
    """
    events: list[AccessEvent] = []
    owner: list[int] = []
    rejected: list[Rejected] = []
    index = 0
    quick = map(fmt.fast, records) if fmt.fast else None
    while index < len(records):
        if quick is not None:
            before = len(events)
            with suppress(BadRecord, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                events.extend(quick)  # keeps what came before the record that raises; the map goes on behind it
            good = len(events) - before
            owner.extend(range(index, index + good))
            index += good
            if index == len(records):
                break
        try:
            found = _decode(fmt, records[index], mixed)
        except BadRecord as why:
            rejected.append(Rejected(int(lines[index]), index, why.reason, why.detail))
        else:
            events.extend(found)
            owner.extend([index] * len(found))
        index += 1
    owners = np.array(owner, np.int64)
    block, refused = columns(events, origin, lines[owners], time_ms_max)
    rejected += [Rejected(r.line, owner[r.index], r.reason, r.detail) for r in refused]
    return block, sorted(rejected, key=lambda r: r.index)


def _decode(fmt: Format, record: bytes, mixed: bool) -> list[AccessEvent]:
    try:
        return fmt.decode(record)
    except BadRecord:
        other = detect([record]) if mixed else None
        if other is None or other is fmt:
            raise
    return other.decode(record)
