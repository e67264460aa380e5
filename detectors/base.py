"""What a detector is, what it is given and what it gives back.

A detector sees *frames*: a run of events between two ticks of the stream clock, as columns, with the slot of every
entity that each event touches. It owns columns of state beside the entity tables and reports *findings*. Everything it
does is a function of the events in their order; the cuts between frames come from the clock and never from the batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

KINDS: Final = (
    "account", "credential", "issuer", "source", "network", "client", "resource", "subject", "group", "fleet",
)  # fmt: skip
CLASSES: Final = 5  # account kinds: each has its own population, also among the places that it uses
CUSTOMER: Final = 1  # the places of these kinds in stream.events.ACCOUNT_KINDS
EMPLOYEE: Final = 2
SERVICE: Final = 3
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000

Array = npt.NDArray[Any]
Columns = dict[str, Array]

# One row for each entity, owned by its table.
ENTITY: Final = np.dtype(
    [
        ("seen", np.int64),  # ms, stream time of its latest event
        ("born", np.uint32),  # s, stream time of its first event
        ("active", np.uint16, (2,)),  # hours and days in which it did anything, before the current ones
        ("events", np.float32),  # decayed over a day
        ("suspect", np.uint8),  # 1 while an incident is open on it: it learns a tenth and is not evicted
    ],
    align=True,
)

# One row for each event and entity kind: what the table knew of the entity just before the event.
TOUCH: Final = np.dtype(
    [
        ("before", np.int64),  # ms, its previous event; the event's own time when it is fresh
        ("decay", np.float32, (2,)),  # of the short and the long horizon since then
        ("active", np.float32, (2,)),
        ("age_h", np.float32),
        ("slot", np.int32),  # -1: the event names no entity of this kind
        ("fresh", np.uint8),  # 1 on its first event
        ("opens", np.uint8, (2,)),  # 1 when the event is its first of an hour, of a day
        ("suspect", np.uint8),
    ],
    align=True,
)

ACTION_LOGIN: Final = 0  # the place of "login" in stream.events.ACTIONS
ACTION_LOGOUT: Final = 1
NEAR_MISS_BITS: Final = 6.0  # findings so far below what opens an alert are still reported, for others to add to
WORK: Final = (5, 6, 8)  # those of "write", "delete" and "admin": what changes something

HORIZONS_S: Final = (1200.0, 86_400.0)  # time constants of the short and the long horizon
# What a finding's figure covers, by its horizon: the two of levels, the hour of shares, and a single event. The last
# needs no past: it is told while everything else is still learning.
WINDOWS_S: Final = (*HORIZONS_S, 3600.0, 0.0)
WINDOW_NAMES: Final = ("20 min", "1 d", "1 h", "one event")
DAILY: Final = 1
HOURLY: Final = 2
AT_ONCE: Final = 3

# One row for each finding: an entity crossed a level of raw surprise that is worth calibrating.
FINDING: Final = np.dtype(
    [
        ("event", np.int64),  # index in the frame
        ("time", np.int64),  # ms
        ("slot", np.int32),
        ("kind", np.uint8),
        ("klass", np.uint8),
        ("horizon", np.uint8),
        ("feature", np.uint8),
        ("bits", np.float32),  # raw
        ("observed", np.float64),
        ("expected", np.float64),
    ],
    align=True,
)


@dataclass(slots=True)
class Frame:
    """n events between two ticks.

    start: number of the first event in the stream. time: int64[n], stream time in ms, never falling. klass: int8[n],
    the account kind. reads: bool[n], where data was handed out. learn: int8[n], 0 where the time is not trusted.
    touch: TOUCH[n] and hashes: uint64[n] (0 where absent), each by entity kind; hashes also of "country", "object" and
    "group". number: int64[n], the last digits in the name of what was read, -1 where there are none. marks: uint16[n],
    bit d set by detector d on the events that its findings rest on. late: bool[n], where the event's own time is more
    than five minutes behind. feed: uint64[n], the hash of what it came by: a topic, or files of one name. whole, at:
    of which frame it is a part, and where in it; derived: what `of` has worked out.
    """

    start: int
    time: npt.NDArray[np.int64]
    action: npt.NDArray[np.int8]
    klass: npt.NDArray[np.int8]
    succeeded: npt.NDArray[np.bool_]
    reads: npt.NDArray[np.bool_]
    records: npt.NDArray[np.float64]
    bytes: npt.NDArray[np.float64]
    learn: npt.NDArray[np.int8]
    touch: dict[str, Array]
    hashes: dict[str, npt.NDArray[np.uint64]]
    number: npt.NDArray[np.int64]
    marks: npt.NDArray[np.uint16]
    late: npt.NDArray[np.bool_]
    feed: npt.NDArray[np.uint64]
    whole: Frame | None = None  # of which it is a part
    at: int = 0  # where in that
    derived: dict[Callable[[Frame], Array], Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.time)

    def of(self, derive: Callable[[Frame], Array]) -> Array:
        """What `derive` makes of each event by nothing but its own columns: an array of n rows.

        It is worked out once for all that came together, since frames are short where little happens, and shared by
        all who ask: nobody writes to it.
        """
        if self.whole is not None:
            return self.whole.of(derive)[self.at : self.at + len(self.time)]
        if derive not in self.derived:
            self.derived[derive] = derive(self)
        return self.derived[derive]

    def part(self, start: int, stop: int, touch: dict[str, Array]) -> Frame:
        """The events from one place to another, in the memory of all, with what was known of their entities."""
        cut = slice(start, stop)
        return Frame(
            self.start + start, self.time[cut], self.action[cut], self.klass[cut], self.succeeded[cut],
            self.reads[cut], self.records[cut], self.bytes[cut], self.learn[cut], touch,
            {name: column[cut] for name, column in self.hashes.items()}, self.number[cut], self.marks[cut],
            self.late[cut], self.feed[cut], self, start,
        )  # fmt: skip


def number(value: float) -> str:
    """A count as a person would write it.

    >>> number(1234567.0), number(2.345), number(0.04)
    ('1,234,567', '2.3', '0.04')
    """
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.1f}".removesuffix(".0") if value >= 1 else f"{value:.2g}"


def whole(value: float) -> str:
    """Something that was counted: a decayed sum is rounded, and is at least one.

    >>> whole(0.7), whole(1.9), whole(1234.4)
    ('1', '2', '1,234')
    """
    return f"{max(value, 1.0):,.0f}"


def size(value: float) -> str:
    """Bytes in decimal units.

    >>> size(999.0), size(1_234_567.0)
    ('999 B', '1.23 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000.0:
            return f"{value:.3g} {unit}"
        value /= 1000.0
    return f"{value:,.3g} TB"


ByOnes = Literal["never", "of employees", "always"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that a detector measures: its name in the evidence, its unit, and how a sentence says it."""

    name: str
    unit: str
    sentence: str  # format string of {observed} {expected} {window}
    observed: Callable[[float], str] = whole
    expected: Callable[[float], str] = number
    by_ones: ByOnes = "never"  # of whom it comes one by one, so that few of them scatter as Poisson's law says


class Detector(Protocol):
    """The contract; `tests/test_contract.py` holds every detector in the catalog to it."""

    id: str
    title: str  # of an alert that it alone would raise: format string of {kind} {value}
    weight: int  # the detector that says most about what happened words the title; below 0: opens no alert
    aspect: str  # what it looks at: findings of different aspects on one actor are not the same twice
    cause: Mapping[str, str]  # by kind that it reports on, the kind that has to be behind: what shares it is one thing
    features: tuple[Feature, ...]
    kinds: tuple[str, ...]  # that it reports on
    techniques: tuple[str, ...]  # ATT&CK
    columns: Mapping[str, np.dtype[Any]]  # by entity kind: one row of its state

    def save(self) -> Columns:
        """What it keeps that belongs to no entity."""
        ...

    def load(self, state: Mapping[str, Array]) -> None:
        """Become what `save` described."""
        ...

    def observe(self, frame: Frame, columns: Mapping[str, Array], bit: int) -> list[Array]:
        """Score the frame's events, then learn from them; arrays of FINDING of what crossed its gate."""
        ...

    def tick(self, now_ms: int, columns: Mapping[str, Array]) -> list[Array]:
        """What is due by the clock and not by an event; arrays of FINDING."""
        ...

    def stands(self, credentials: npt.NDArray[np.int32], columns: Mapping[str, Array]) -> npt.NDArray[np.bool_]:
        """Which of its marks still stand, given the credential slots of the marked events (-1 where there is none)."""
        ...

    def bits(self, finding: Any) -> tuple[float, float]:
        """Calibrated bits of a finding, -log2 p, and how many such tests a day there are."""
        ...

    def measures(self, kind: str) -> int:
        """How many different things it looks at of this kind of entity: at most its features."""
        ...

    def parts(self, kind: str, klass: int) -> float:
        """Of what chance may spend, how many parts each of them has for this kind of account; mostly 1."""
        ...
