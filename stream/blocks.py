"""Events as the pipeline takes them: columns of numbers and packed text.

A `PackedBlock` is an `EventBlock` whose text is bytes and places instead of Python strings: what is hashed, split by
account and sent without a loop over events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.events import TEXT_FIELDS, EventBlock
from stream.networks import network_names
from stream.rows import Rows
from stream.siphash import I64, U64, hash_texts
from stream.texts import TEXTS, Columns, Packed, Texts

NUMBERS: Final = (
    ("origin", "<u2"), ("line", "<i8"), ("time", "<i8"), ("action", "i1"), ("account_kind", "i1"), ("outcome", "i1"),
    ("records", "<f8"), ("bytes", "<f8"), ("trusted", "i1"),
)  # fmt: skip
ORIGIN_MAX: Final = 0xFFFF
EVENT_BYTES: Final = sum(np.dtype(dtype).itemsize for _, dtype in NUMBERS) + 2 * len(TEXTS)  # its texts come on top


@dataclass(slots=True)
class PackedBlock:
    """n accepted events, in the order of the log; columns as in `EventBlock`.

    origin: uint16[n], the place in `origins` of where each event came from. trusted: int8[n], 0 where the event's own
    time was not believed and `time` is that of its arrival: it is scored and not learned from. text: Packed[n] for
    each of TEXTS.
    """

    origins: tuple[str, ...]
    origin: npt.NDArray[np.uint16]
    line: npt.NDArray[np.int64]
    time: npt.NDArray[np.int64]
    action: npt.NDArray[np.int8]
    account_kind: npt.NDArray[np.int8]
    outcome: npt.NDArray[np.int8]
    records: npt.NDArray[np.float64]
    bytes: npt.NDArray[np.float64]
    trusted: npt.NDArray[np.int8]
    text: Texts = field(repr=False)

    def __len__(self) -> int:
        return len(self.time)

    def hashes(self, names: Sequence[str], key: U64) -> U64:
        """The keyed hash of each text of some columns, 0 where it is empty: uint64[names, n]."""
        columns = [self.text[name] for name in names]
        out: U64 = np.empty((len(columns), len(self)), np.uint64)
        hash_texts(
            tuple(c.buffer for c in columns),
            tuple(c.starts for c in columns),
            tuple(c.stops for c in columns),
            key,
            out,
        )
        return out

    def take(self, index: I64) -> PackedBlock:
        """The events at `index` (int64[m]), in its order."""
        numbers: dict[str, Any] = {name: getattr(self, name)[index] for name, _ in NUMBERS}
        return PackedBlock(self.origins, **numbers, text=self.text.take(index))

    def part(self, start: int, stop: int) -> PackedBlock:
        """The events from one place to another, in the memory of all."""
        numbers: dict[str, Any] = {name: getattr(self, name)[start:stop] for name, _ in NUMBERS}
        return PackedBlock(self.origins, **numbers, text=self.text.part(start, stop))

    def rows(self, order: I64 | None = None) -> PackedBlock:
        """The events at `order`, of all by default, their texts event by event in one piece."""
        chosen = slice(None) if order is None else order
        numbers: dict[str, Any] = {name: getattr(self, name)[chosen] for name, _ in NUMBERS}
        return PackedBlock(self.origins, **numbers, text=Rows.of(self.text, order).own())

    def sizes(self) -> I64:
        """Bytes that each event takes on the wire: int64[n]."""
        return Rows.of(self.text).sizes() + EVENT_BYTES

    def columns(self) -> PackedBlock:
        """The same events, with a place for each text."""
        return self if isinstance(self.text, Columns) else replace(self, text=self.text.columns())


def joined(parts: Sequence[PackedBlock]) -> PackedBlock:
    """Blocks one after the other; at least one. Beyond ORIGIN_MAX origins, which nobody has, they lose their names."""
    if len(parts) == 1:
        return parts[0]
    names = list(dict.fromkeys(name for part in parts for name in part.origins))
    place = {name: min(place, ORIGIN_MAX) for place, name in enumerate(names)}
    if len(names) > ORIGIN_MAX:
        names = [*names[:ORIGIN_MAX], ""]
    numbers: dict[str, Any] = {name: np.concatenate([getattr(p, name) for p in parts]) for name, _ in NUMBERS}
    places = [np.array([place[name] for name in part.origins], np.uint16)[part.origin] for part in parts]
    numbers["origin"] = np.concatenate(places)
    return PackedBlock(tuple(names), **numbers, text=Rows.joined([Rows.of(part.text) for part in parts]))


def none(origin: str) -> PackedBlock:
    """A block of no events, which only says how far its origin is."""
    numbers: dict[str, Any] = {name: np.zeros(0, dtype) for name, dtype in NUMBERS}
    return PackedBlock((origin,), **numbers, text=Columns.of({name: Packed.of([]) for name in TEXTS}))


def packed(block: EventBlock) -> PackedBlock:
    """A block of decoded events, packed, with the network of each; every time is trusted."""
    text = {name: Packed.of(block.text[name]) for name in TEXT_FIELDS}
    text["network"] = Packed.of(network_names(block.text["source_ip"], block.asn))
    return PackedBlock(
        (block.origin,), np.zeros(len(block), np.uint16), block.line, block.time, block.action, block.account_kind,
        block.outcome, block.records, block.bytes, np.ones(len(block), np.int8), Columns.of(text),
    )  # fmt: skip
