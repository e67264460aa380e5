"""The signal: an incident as one partition of the events has it, as values that can be added up across partitions.

Counts add, the sketches of subjects and addresses merge, evidence on one entity joins. A run over files is one
partition, and its signals are its alerts; a cluster's are merged by `stream.merge` before anybody is told.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from detectors.fusion import AMOUNT_MAX, Entity, Evidence, Number
from stream.checks import COUNT_MAX, TIME_MS_END

SCHEMA: Final = "tripline.signal/1"
SKETCH: Final = 1024  # smallest hashes kept to count distinct ones: exact below, within 3 % beyond

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,256}\Z")]  # it becomes part of names and headers
Status = Annotated[str, Meta(pattern=r"^(open|update|closed)\Z")]
Ms = Annotated[int, Meta(ge=0, lt=2 * TIME_MS_END)]
Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
Line = Annotated[int, Meta(ge=-COUNT_MAX, le=COUNT_MAX)]
Amount = Annotated[float, Meta(ge=0.0, le=AMOUNT_MAX)]
Hashes = Annotated[list[Annotated[int, Meta(ge=1)]], Meta(max_length=SKETCH)]  # below 2**64, see `decode`


class Place(msgspec.Struct, frozen=True):
    """Where in the input the events are: first and last line, or offset, of an origin."""

    origin: str
    first: Line
    last: Line


class Related(msgspec.Struct, frozen=True):
    """An entity that the events have in common, and in how many of them it was seen."""

    kind: str
    value: str
    count: Count


class Signal(msgspec.Struct, frozen=True):
    """One revision of one partition's incident. Times are epoch ms; `told` is the stream time of the telling.

    subjects, sources: the SKETCH smallest keyed hashes of the distinct ones. score: as `detectors.fusion` has it.
    sensitivity: the highest level of the resources it touched. What a message may say has limits, so that nothing that
    is made of signals overflows: whoever writes to the topic must not stop the alerts.
    """

    schema: str
    id: Id
    partition: Annotated[int, Meta(ge=-1, lt=1 << 31)]
    revision: Count
    status: Status
    kind: str
    value: str
    score: Number
    crossed: Ms
    start: Ms
    last: Ms
    told: Ms
    records: Amount
    bytes: Amount
    subjects: Hashes
    sources: Hashes
    members: Annotated[list[Evidence], Meta(min_length=1)]
    related: list[Related]
    places: list[Place]
    sensitivity: str = ""

    @property
    def entity(self) -> Entity:
        """The entity that it is about."""
        return self.kind, self.value


_decoder = msgspec.json.Decoder(Signal)


def encode(signal: Signal) -> bytes:
    """One JSON message."""
    return msgspec.json.encode(signal)


def decode(message: bytes) -> Signal:
    """The signal in a message; msgspec.DecodeError where it is none."""
    signal = _decoder.decode(message)
    if max(max(signal.subjects, default=0), max(signal.sources, default=0)) >> 64:
        raise msgspec.ValidationError("a hash of more than 64 bits")
    return signal


def smallest(known: list[int], hashes: npt.NDArray[Any]) -> list[int]:
    """The SKETCH smallest of the distinct hashes so far, absent ones (0) left out (Bar-Yossef et al., 2002)."""
    merged = np.unique(np.concatenate([np.array(known, np.uint64), hashes[hashes != 0].astype(np.uint64)]))
    kept: list[int] = merged[:SKETCH].tolist()
    return kept


def distinct(sketch: list[int]) -> int:
    """How many distinct hashes there were.

    >>> distinct([3, 17, 90])
    3
    """
    if len(sketch) < SKETCH:
        return len(sketch)
    return round((SKETCH - 1) * 2.0**64 / sketch[-1])
