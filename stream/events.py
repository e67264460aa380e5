"""The access event: one person's or machine's access to data, as every decoder yields it, and its columnar form.

`AccessEvent` is the canonical schema (JSON, one object a line). `EventBlock` is a batch of accepted events as columns,
which is what the pipeline and the detectors see. `columns` turns the one into the other and is the only place where
values are checked (how is in `checks`), so that every format is held to the same limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, Final, Literal, get_args

import msgspec
import numpy as np
import numpy.typing as npt

from stream.checks import (
    COUNT_MAX,
    REASONS,
    TEXT_BYTES_MAX,
    TIME_MS_MIN,
    BadRecord,
    asns,
    codes,
    counts,
    texts,
    times,
)

__all__ = [
    "ACCOUNT_KINDS", "ACTIONS", "COUNT_MAX", "OUTCOMES", "REASONS", "TEXT_BYTES_MAX", "TEXT_FIELDS", "TIME_MS_MIN",
    "AccessEvent", "BadRecord", "EventBlock", "Rejected", "columns",
]  # fmt: skip

# As literals the JSON decoder hands out one object for each, whose hash is known: looking it up costs a third.
Action = Literal["login", "logout", "read", "list", "export", "write", "delete", "share", "admin"]
AccountKind = Literal["unknown", "customer", "employee", "service", "partner"]
Outcome = Literal["success", "failure"]
ACTIONS: Final[tuple[str, ...]] = get_args(Action)
ACCOUNT_KINDS: Final[tuple[str, ...]] = get_args(AccountKind)
OUTCOMES: Final[tuple[str, ...]] = get_args(Outcome)

TEXT_FIELDS: Final = (
    "account", "resource", "id", "group", "credential", "issuer", "source_ip",
    "country", "user_agent", "object", "subject",
)  # fmt: skip
REQUIRED_TEXT: Final = ("account", "resource")


class AccessEvent(msgspec.Struct, gc=False):
    """One access, canonical. Times are epoch milliseconds or RFC 3339; text is at most 256 bytes of UTF-8.

    An optional field that is null is one that is absent; the defaults are what `columns` would put there.
    """

    time: int | float | str
    account: str
    action: Action
    resource: str
    id: str | None = ""
    account_kind: AccountKind | None = "unknown"
    group: str | None = ""
    credential: str | None = ""
    issuer: str | None = ""
    source_ip: str | None = ""
    asn: int | None = -1
    country: str | None = ""
    user_agent: str | None = ""
    object: str | None = ""
    subject: str | None = ""
    records: int | float | None = 1
    bytes: int | float | None = 0
    outcome: Outcome | None = "success"


@dataclass(frozen=True, slots=True)
class Rejected:
    """The record at `index` of its batch, on `line` of its origin, and why it was not used."""

    line: int
    index: int
    reason: str
    detail: str


@dataclass(slots=True)
class EventBlock:
    """n accepted events of one origin, in the order of the log.

    time: int64[n], epoch ms. action, account_kind, outcome: int8[n], indexes into ACTIONS, ACCOUNT_KINDS, OUTCOMES.
    records, bytes: float64[n] >= 0. asn: int64[n], -1 where unknown. text: one list[str] of length n for each of
    TEXT_FIELDS, "" where absent. line: int64[n], line or offset in `origin` (1-based for files).
    """

    origin: str
    line: npt.NDArray[np.int64]
    time: npt.NDArray[np.int64]
    action: npt.NDArray[np.int8]
    account_kind: npt.NDArray[np.int8]
    outcome: npt.NDArray[np.int8]
    records: npt.NDArray[np.float64]
    bytes: npt.NDArray[np.float64]
    asn: npt.NDArray[np.int64]
    text: dict[str, list[str]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.time)

    def where(self, keep: npt.NDArray[np.bool_]) -> EventBlock:
        """The events at which `keep` (bool[n]) holds, as a block of their own."""
        chosen = keep.tolist()
        return EventBlock(
            origin=self.origin, line=self.line[keep], time=self.time[keep], action=self.action[keep],
            account_kind=self.account_kind[keep], outcome=self.outcome[keep], records=self.records[keep],
            bytes=self.bytes[keep], asn=self.asn[keep],
            text={name: list(compress(column, chosen)) for name, column in self.text.items()},
        )  # fmt: skip


def columns(
    events: Sequence[AccessEvent], origin: str, lines: npt.NDArray[np.int64], time_ms_max: int
) -> tuple[EventBlock, list[Rejected]]:
    """The events as columns, and those that break the schema, by their index in `events`.

    lines: int64[n], the place of each event in `origin`, which stands for the id of one that has none. time_ms_max:
    the latest time that is believed, epoch ms. Text other than the account is shortened to TEXT_BYTES_MAX bytes, a
    digest at its end: clients choose their user agent and path, and a long one must not hide a read in the dead
    letters.
    """
    names = AccessEvent.__struct_fields__
    rows = zip(*map(msgspec.structs.astuple, events), strict=True) if events else ((),) * len(names)
    values: dict[str, tuple[Any, ...]] = dict(zip(names, rows, strict=True))
    bad: dict[int, BadRecord] = {}
    text = {name: texts(name, values[name], bad, required=name in REQUIRED_TEXT) for name in TEXT_FIELDS}
    block = EventBlock(
        origin=origin,
        line=np.asarray(lines, np.int64),
        time=times(values["time"], time_ms_max, bad),
        action=codes("action", values["action"], ACTIONS, bad),
        account_kind=codes("account_kind", values["account_kind"], ACCOUNT_KINDS, bad, optional=True),
        outcome=codes("outcome", values["outcome"], OUTCOMES, bad, optional=True),
        records=counts("records", values["records"], 1, bad),
        bytes=counts("bytes", values["bytes"], 0, bad),
        asn=asns(values["asn"], bad),
        text=text,
    )
    if not bad:
        return block, []
    keep = np.ones(len(events), np.bool_)
    keep[list(bad)] = False
    rejected = [Rejected(int(lines[i]), i, bad[i].reason, bad[i].detail) for i in sorted(bad)]
    return block.where(keep), rejected
