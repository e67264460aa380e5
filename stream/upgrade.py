"""State that another version of the program wrote: what still fits goes on, what does not begins anew and is named.

Detectors come, go and change what they keep. One whose state is missing, or of another form, learns as in a new
deployment, and its evidence counts once it has learned for the warm-up. Everybody else goes on as if nothing had
happened. Marks are bits by detector, so they get the numbers that detectors have now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from detectors.base import CLASSES, ENTITY, KINDS, Array, Columns, Detector
from detectors.baselines.calibration import LEVELS
from detectors.baselines.export_days import EXPORTERS
from detectors.baselines.strangeness import STRANGENESS
from detectors.catalog.first_seen import PATTERNS
from detectors.catalog.peers import STAFF
from detectors.fusion import Evidence
from stream.correlate import Saved
from stream.errors import TriplineError
from stream.incident import Incident
from stream.signals import Count, Ms
from stream.trace import ROW
from stream.typeinfo import ready_for_threads

# Fields of detectors' columns that are places in arrays of theirs, and how long those are.
INDEXES: Final = {
    "klass": CLASSES, "level": LEVELS, "strange": STRANGENESS, "strangest": STRANGENESS, "row": STAFF,
    "shown": PATTERNS, "exporter": EXPORTERS,
}  # fmt: skip
ROW_BEFORE: Final = np.dtype(
    [(name, ROW[name].base, ROW[name].shape) for name in ROW.names or () if name != "group"], align=True
)
UNFIT: Final = (
    "the state is of a version of Tripline that this one cannot read: use the version that wrote it, or begin anew "
    "with another state directory"
)

Make = Callable[[str], Detector]
Parts = dict[str, Columns]


class Values(msgspec.Struct):
    """What a snapshot says beside its arrays. detectors: by the places of their bits, None in one from before they were
    noted; since: when those began that came later, ms."""  # fmt: skip

    events: Count
    duplicates: Count
    tick: Annotated[int, Meta(ge=-1, le=1 << 53)]
    began_ms: Ms
    origins: dict[str, Count]
    evidence: list[Evidence]
    correlator: Saved
    detectors: list[str] | None = None
    since: dict[str, Ms] = {}


ready_for_threads(Values)


class Kept(NamedTuple):
    """What a snapshot gives to the detectors of now. values: with what of the evidence and the incidents fits; parts:
    its arrays by what they are part of; anew: the ids of detectors that have to begin anew."""  # fmt: skip

    values: Values
    parts: Parts
    anew: list[str]


@contextmanager
def refusing() -> Iterator[None]:
    """What is made of a snapshot in here is made, or TriplineError says that it is none of ours: its checksums tell
    damage, and not who wrote it."""  # fmt: skip
    try:
        yield
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as why:
        raise TriplineError(f"{UNFIT} ({type(why).__name__}: {why!s:.200})") from why


def kept(meta: Mapping[str, Any], arrays: Columns, detectors: Sequence[Detector], make: Make) -> Kept:
    """What of a snapshot can be used; make: a new detector by its id. Within `refusing`."""
    values = msgspec.convert(meta, Values)
    parts: Parts = {}
    for name, array in arrays.items():
        part, _, column = name.partition("/")
        parts.setdefault(part, {})[column] = array
    _check(parts)
    anew = [d.id for d in detectors if not _fits(d, make, parts)]
    noted = [name.removeprefix("detector.") for name in parts if name.startswith("detector.")]
    numbers = Numbers(noted if values.detectors is None else values.detectors, [d.id for d in detectors])
    rows = _rows(parts["trace"]["rows"])
    rows["marks"] = numbers.marks(rows["marks"])
    parts["trace"]["rows"] = rows
    for detector in detectors:
        parts.setdefault(f"detector.{detector.id}", {})
    measures = {d.id: len(d.features) for d in detectors}
    values.evidence = [
        each for each in values.evidence if each.detector not in anew and each.feature < measures.get(each.detector, 0)
    ]
    values.correlator = _fitted(values.correlator, numbers, measures)
    _check_names(values)
    return Kept(values, parts, anew)


def _check(parts: Parts) -> None:
    """Refuse what no detector owns where it has another form."""
    entities = [part["entities"].dtype for name, part in parts.items() if name.startswith("table.")]
    if any(dtype != ENTITY for dtype in entities) or parts["trace"]["rows"].dtype not in (ROW, ROW_BEFORE):
        raise ValueError("a table or the trace of another form")


def _rows(rows: Array) -> Array:
    """A copy of the rows of a trace, as they are now: once, nobody kept the group of an event."""
    if rows.dtype == ROW:
        return rows.copy()
    out = np.zeros(len(rows), ROW)
    for name in ROW_BEFORE.names or ():
        out[name] = rows[name]
    return out


def _check_names(values: Values) -> None:
    """Refuse what names a kind of entity or an origin that there is not: it would be looked up much later."""
    incidents = [*values.correlator.open, *values.correlator.closed]
    named: list[Iterable[str]] = [(e.kind for e in values.evidence), (i.kind for i in incidents)]
    named += [(e.kind for e in i.members.values()) for i in incidents] + [i.related for i in incidents]
    if wrong := {kind for kinds in named for kind in kinds} - set(KINDS):
        raise ValueError(f"no kinds of entity: {sorted(wrong)}")
    if wrong := {name for i in incidents for name in i.lines} - set(map(str, values.origins.values())):
        raise ValueError(f"no origins: {sorted(wrong)}")


def _fits(detector: Detector, make: Make, parts: Parts) -> bool:
    for kind, dtype in detector.columns.items():
        column = parts.get(f"table.{kind}", {}).get(f"columns.{detector.id}")
        if column is None or column.dtype != dtype or not _within(column):
            return False
    due = detector.save()
    # What the next tick tells anew, an older version need not have kept.
    found = {name: due[name] for name in getattr(detector, "retold", ())} | parts.get(f"detector.{detector.id}", {})
    if {n: (a.dtype, a.ndim) for n, a in found.items()} != {n: (a.dtype, a.ndim) for n, a in due.items()}:
        return False
    try:
        made = make(detector.id)
        made.load(found)
    except ValueError:  # of another shape
        return False
    held: Columns = getattr(made, "held_slots", dict)()
    parts[f"detector.{detector.id}"] = found
    return all(_below(slots, len(parts[f"table.{kind}"]["entities"])) for kind, slots in held.items())


def _within(column: Array) -> bool:
    """Whether what loops look things up by is within its bounds, of which compiled ones know nothing."""
    names = set(column.dtype.names or ()) & INDEXES.keys()
    return all(_below(column[name], INDEXES[name]) for name in names)


def _below(values: Array, limit: int) -> bool:
    return not values.size or (int(values.min()) >= -1 and int(values.max()) < limit)


class Numbers:
    """From the numbers of detectors in a snapshot to those of now; who is gone has none."""

    def __init__(self, before: Sequence[str], now: Sequence[str]) -> None:
        self._moves = [(old, now.index(name)) for old, name in enumerate(before) if name in now]

    def mask(self, mask: int) -> int:
        """A set of detectors as bits.

        >>> Numbers(["a", "c"], ["a", "b", "c"]).mask(0b10)
        4
        """
        return sum(1 << new for old, new in self._moves if mask >> old & 1)

    def marks(self, marks: Array) -> Array:
        """The same of many events: uint16[n]."""
        out = marks * 0
        for old, new in self._moves:
            out |= (marks >> old & 1) << new
        return out


def _fitted(saved: Saved, numbers: Numbers, measures: Mapping[str, int]) -> Saved:
    """The incidents with what is still known of them; one of whose evidence nothing is left is dropped."""

    def fitted(incident: Incident) -> Incident:
        members = {n: e for n, e in incident.members.items() if e.feature < measures.get(e.detector, 0)}
        return msgspec.structs.replace(incident, mask=numbers.mask(incident.mask), members=members)

    def left(incidents: Sequence[Incident]) -> list[Incident]:
        return [each for each in map(fitted, incidents) if each.members]

    return msgspec.structs.replace(saved, open=left(saved.open), closed=left(saved.closed))
