"""Keyed state: a table for each entity kind, of fixed-dtype columns beside a bounded index.

A table has a limit. Near it, the entities with the least evidence (few active days, long unseen) are forgotten at a
tick; one that an incident is open on never is. A name that finds no room is counted on the overflow entity, so
nothing goes unscored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.base import DAY_MS, ENTITY, HORIZONS_S, HOUR_MS, TOUCH, Array, Columns
from detectors.kernels import AHEAD, inline, kernel, prefetch
from stream.errors import TriplineError
from stream.keys import Index, grown, resolve, taken
from stream.siphash import I64, U64
from stream.texts import Packed

FLEET: Final = "fleet"  # the kind of one entity without a name
FILL_MAX: Final = 0.95  # of the limit; beyond it a tick evicts
FILL_AFTER: Final = 0.85  # and leaves this much


@inline
def _touch(
    entities: Array, slots: npt.NDArray[np.int32], time: I64, rates: npt.NDArray[np.float64], out: Array
) -> None:
    for i in range(slots.shape[0]):
        if i + AHEAD < slots.shape[0]:
            prefetch(entities, slots[i + AHEAD])
        slot = slots[i]
        t = out[i]
        t["slot"] = slot
        if slot < 0:
            continue
        now = time[i]
        e = entities[slot]
        before = e["seen"]
        fresh = before == 0
        t["fresh"] = fresh
        t["suspect"] = e["suspect"]
        if fresh:
            before = now
            e["born"] = np.uint32(now // 1000)
            t["opens"][0] = 1
            t["opens"][1] = 1
            t["decay"][0] = np.float32(1.0)
            t["decay"][1] = np.float32(1.0)
        else:
            t["opens"][0] = now // HOUR_MS != before // HOUR_MS
            t["opens"][1] = now // DAY_MS != before // DAY_MS
            gap = np.float64(now - before)
            t["decay"][0] = np.float32(math.exp(-gap * rates[0]))
            t["decay"][1] = np.float32(math.exp(-gap * rates[1]))
        t["before"] = before
        t["age_h"] = np.float32((np.float64(now // 1000) - np.float64(e["born"])) / 3600.0)
        for h in range(2):
            if t["opens"][h] and not fresh and e["active"][h] < 65_535:
                e["active"][h] += 1
            t["active"][h] = np.float32(e["active"][h])
        e["events"] = e["events"] * t["decay"][1] + np.float32(1.0)
        e["seen"] = now


@kernel
def _touch_all(
    entities: tuple[Array, ...], slots: npt.NDArray[np.int32], time: I64, rates: npt.NDArray[np.float64], out: Array
) -> None:
    for k in range(slots.shape[0]):
        _touch(entities[k], slots[k], time, rates, out[k])


RATES_MS: Final = np.array([1.0 / (1000.0 * s) for s in HORIZONS_S])


class Table:
    """Entities of one kind: their names, what every detector needs to know of them, and the columns each detector owns.

    `limit` bounds the entities; a kind that needs no names (the fleet) has limit 0 and lives in slot 0.
    """

    def __init__(self, kind: str, limit: int, key: U64, columns: Mapping[str, np.dtype[Any]]) -> None:
        self.kind = kind
        self.index = Index(limit, key)
        self.entities: Array = np.zeros(self.index.capacity, ENTITY)
        self.columns: Columns = {name: np.zeros(self.index.capacity, dtype) for name, dtype in columns.items()}
        self.evicted = 0

    def __len__(self) -> int:
        return len(self.index)

    def slot(self, name: str) -> int:
        """The slot of an entity by name, ABSENT (-1) when it is not known."""
        return 0 if self.kind == FLEET else self.index.slot(name)

    def name(self, slot: int) -> str:
        """The name of the entity in a slot."""
        return FLEET if self.kind == FLEET else self.index.name(slot)

    def evict(self, now_ms: int) -> npt.NDArray[np.int32]:
        """Make room when the table is nearly full; the slots of the entities that were forgotten."""
        room = self.index.limit - 1
        if len(self) <= FILL_MAX * room or room == 0:
            return np.zeros(0, np.int32)
        live = np.flatnonzero(self.index.owner[: self.index.count])
        rows = self.entities[live]
        idle_d = (now_ms - rows["seen"]) / DAY_MS
        evidence = (1.0 + rows["active"][:, 0] + 8.0 * rows["active"][:, 1]) * np.exp2(-idle_d / 7.0)
        evidence[rows["suspect"] != 0] = np.inf
        surplus = len(self) - int(FILL_AFTER * room)
        order = np.argsort(evidence, kind="stable")[:surplus]
        victims = live[order[np.isfinite(evidence[order])]].astype(np.int32)
        self.entities[victims] = 0
        for column in self.columns.values():
            column[victims] = 0
        self.index.release(victims)
        self.evicted += len(victims)
        return victims

    def row_bytes(self) -> float:
        """Bytes of one entity when the table is full, without its name."""
        return self.index.row_bytes() + self.entities.itemsize + sum(c.itemsize for c in self.columns.values())

    def nbytes(self) -> int:
        """Bytes in use: room to grow is not memory before it is written to."""
        row = self.entities.itemsize + sum(c.itemsize for c in self.columns.values())
        return self.index.nbytes() + self.index.count * row

    def save(self) -> Columns:
        """The table as arrays, copied nowhere."""
        count = self.index.count
        out: Columns = {f"index.{name}": array for name, array in self.index.save().items()}
        out["entities"] = self.entities[:count]
        out["evicted"] = np.array([self.evicted], np.int64)
        out.update({f"columns.{name}": column[:count] for name, column in self.columns.items()})
        return out

    def load(self, arrays: Mapping[str, Array], anew: Sequence[str] = ()) -> None:
        """Become what `save` described, of arrays that nobody else uses from now on, with empty columns for the
        detectors that begin anew."""  # fmt: skip
        self.index.load({n.removeprefix("index."): a for n, a in arrays.items() if n.startswith("index.")})
        self.entities = taken(arrays["entities"], ENTITY)
        self.evicted = int(arrays["evicted"][0])
        self.columns = {
            name: np.zeros(len(self.entities), c.dtype) if name in anew else taken(arrays[f"columns.{name}"], c.dtype)
            for name, c in self.columns.items()
        }
        if any(array.shape != (self.index.count,) for array in (self.entities, *self.columns.values())):
            raise TriplineError("the snapshot's tables do not fit their index; start with a new state directory")

    def grow(self) -> None:
        """Room in every column for what the index has room for."""
        if self.index.capacity <= len(self.entities):
            return
        self.entities = grown(self.entities, self.index.capacity, self.index.capacity)
        self.columns = {n: grown(c, self.index.capacity, self.index.capacity) for n, c in self.columns.items()}


def touch(
    tables: Mapping[str, Table], hashes: U64, names: Sequence[Packed], time: I64, first: int = 0
) -> dict[str, Array]:
    """Find or make the entities of each event and say what was known of them: TOUCH[n] by kind.

    hashes: uint64[kinds, n], and names, those of these events from number `first` on, of every kind but the fleet,
    which has no names and is the last of the tables.
    """
    *named, fleet = tables.values()
    slots = np.zeros((len(tables), len(time)), np.int32)
    slots[:-1] = resolve([table.index for table in named], hashes, names, first)
    for table in named:
        table.grow()
    out = np.zeros(slots.shape, TOUCH)
    _touch_all(tuple(table.entities for table in (*named, fleet)), slots, time, RATES_MS, out)
    return dict(zip(tables, out, strict=True))
