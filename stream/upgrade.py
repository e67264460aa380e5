"""State that another version of the program wrote: what still fits goes on, what does not begins anew and is named.

Detectors come, go and change what they keep. One whose state is missing, or of another form, learns as in a new
deployment, and its evidence counts once it has learned for the warm-up. Everybody else goes on as if nothing had
happened. Marks are bits by detector, so they get the numbers that detectors have now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from detectors.base import ENTITY, Array, Columns, Detector
from detectors.fusion import Evidence
from stream.correlate import Saved
from stream.errors import TriplineError
from stream.incident import Incident
from stream.trace import ROW

Make = Callable[[str], Detector]
Parts = dict[str, Columns]


class Kept(NamedTuple):
    """What a snapshot gives to the detectors of now. parts: its arrays by what they are part of; anew: the ids of
    detectors that have to begin anew."""  # fmt: skip

    parts: Parts
    anew: list[str]
    evidence: list[Evidence]
    incidents: Saved


def kept(meta: Mapping[str, Any], arrays: Columns, detectors: Sequence[Detector], make: Make) -> Kept:
    """What of a snapshot can be used; make: a new detector by its id. TriplineError where nothing can."""
    parts: Parts = {}
    for name, array in arrays.items():
        part, _, column = name.partition("/")
        parts.setdefault(part, {})[column] = array
    _check(parts)
    anew = [d.id for d in detectors if not _fits(d, make, parts)]
    noted = [name.removeprefix("detector.") for name in parts if name.startswith("detector.")]
    numbers = Numbers(meta.get("detectors", noted), [d.id for d in detectors])
    rows = parts["trace"]["rows"].copy()
    rows["marks"] = numbers.marks(rows["marks"])
    parts["trace"]["rows"] = rows
    for detector in detectors:
        parts.setdefault(f"detector.{detector.id}", {})
    measures = {d.id: len(d.features) for d in detectors}
    evidence = [
        each
        for each in msgspec.convert(meta["evidence"], list[Evidence])
        if each.detector not in anew and each.feature < measures.get(each.detector, 0)
    ]
    saved = msgspec.convert(meta["correlator"], Saved)
    return Kept(parts, anew, evidence, _fitted(saved, numbers, measures))


def _check(parts: Parts) -> None:
    """Refuse what no detector owns where it has another form."""
    entities = [part["entities"].dtype for name, part in parts.items() if name.startswith("table.")]
    if any(dtype != ENTITY for dtype in entities) or parts["trace"]["rows"].dtype != ROW:
        raise TriplineError(
            "the state is of a version of Tripline that this one cannot read: use the version that wrote it, or begin "
            "anew with another state directory"
        )


def _fits(detector: Detector, make: Make, parts: Parts) -> bool:
    for kind, dtype in detector.columns.items():
        column = parts.get(f"table.{kind}", {}).get(f"columns.{detector.id}")
        if column is None or column.dtype != dtype:
            return False
    found, due = parts.get(f"detector.{detector.id}", {}), detector.save()
    if {n: (a.dtype, a.ndim) for n, a in found.items()} != {n: (a.dtype, a.ndim) for n, a in due.items()}:
        return False
    try:
        make(detector.id).load(found)
    except ValueError:  # of another shape
        return False
    return True


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
