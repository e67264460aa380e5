"""Events while a company is being generated: one array a field, names as objects, so that a choice is one indexing.

A draft also holds `arrival` (ms, when the line is written: the order of the log) and `attack` ("" or the id of one).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.events import ACCOUNT_KINDS, ACTIONS, OUTCOMES, TEXT_FIELDS, EventBlock

Draft = dict[str, npt.NDArray[Any]]

ORIGIN: Final = "synthetic"
ACTION: Final = {name: code for code, name in enumerate(ACTIONS)}
ACCOUNT_KIND: Final = {name: code for code, name in enumerate(ACCOUNT_KINDS)}
FAILURE: Final = OUTCOMES.index("failure")
NUMBERS: Final = {
    "arrival": np.int64, "time": np.int64, "action": np.int8, "account_kind": np.int8, "outcome": np.int8,
    "records": np.float64, "bytes": np.float64, "asn": np.int64,
}  # fmt: skip
TEXTS: Final = (*TEXT_FIELDS, "attack")
REFUSAL_BYTES: Final = 220.0


def draft(time_ms: npt.NDArray[np.int64], **fields: Any) -> Draft:
    """n events at these times, written as they happen; what is not given is absent, one record of no bytes."""
    n = len(time_ms)
    values: Draft = {name: np.zeros(n, kind) for name, kind in NUMBERS.items()}
    values["time"] = values["arrival"] = np.asarray(time_ms, np.int64)
    values["records"] = np.ones(n)
    values["asn"] = np.full(n, -1, np.int64)
    values |= {name: np.full(n, "", np.object_) for name in TEXTS}
    for name, value in fields.items():
        kind = NUMBERS.get(name, np.object_)
        values[name] = np.full(n, value, kind) if np.ndim(value) == 0 else np.asarray(value).astype(kind)
    return values


def take(given: Draft, index: npt.NDArray[Any]) -> Draft:
    """The events at `index`: numbers, or a mask."""
    return {name: column[index] for name, column in given.items()}


def joined(drafts: Iterable[Draft]) -> Draft:
    """All of them as one, in no order."""
    parts = [each for each in drafts if len(each["time"])]
    if not parts:
        return draft(np.zeros(0, np.int64))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def in_order(given: Draft) -> Draft:
    """In the order in which the lines are written."""
    return take(given, np.argsort(given["arrival"], kind="stable"))


def refuse(given: Draft, which: npt.NDArray[np.bool_]) -> None:
    """Makes those events requests that gave nothing."""
    given["outcome"][which] = FAILURE
    given["records"][which] = 0.0
    given["bytes"][which] = REFUSAL_BYTES


def block_of(given: Draft, first_line: int) -> EventBlock:
    """The events as a block."""
    n = len(given["time"])
    return EventBlock(
        origin=ORIGIN, line=np.arange(first_line, first_line + n, dtype=np.int64), time=given["time"],
        action=given["action"], account_kind=given["account_kind"], outcome=given["outcome"],
        records=given["records"], bytes=given["bytes"], asn=given["asn"],
        text={name: given[name].tolist() for name in TEXT_FIELDS},
    )  # fmt: skip


def names(prefix: str, count: int, digits: int = 4) -> npt.NDArray[np.object_]:
    """Numbered names."""
    return np.array([f"{prefix}{i:0{digits}d}" for i in range(count)], np.object_)


def texts(values: Iterable[str]) -> npt.NDArray[np.object_]:
    """Names as an array of objects."""
    return np.array(list(values), np.object_)
