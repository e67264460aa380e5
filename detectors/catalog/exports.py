"""Exports: data taken out in bulk, and of what was never taken out before.

Measures what an employee exports or shares in a day, in records and bytes: all of it, what the account had not exported
before today, and what nobody had. Reading is an analyst's work, and what is read scatters over powers of ten; what
leaves is less, and mostly the same few reports. So who collects for days in a table of his own is seen when that goes
out.

Statistic: with y = ln(1 + day's sum of what is so new) and E, its spread and n as `detectors.baselines.buckets` tells
them of the sums of all exports on days on which there were any, shrunk to the class's,

    amount  = -log2 P(T > (y - E) / spread),  T of max(4 + n, min(N / 2, 24)) degrees of freedom; 0 below 1.5 spreads
    novelty = -log2 of the share of days of export on which there was something so new
    raw bits = the most, over records and bytes, of amount for all exports
               and of amount + novelty - log2(1 + ln 2 (amount + novelty)) for what is new

The last is Fisher's method for two that are independent ("Statistical Methods for Research Workers", 1925). N is how
many days are known; novelty is counted from the thirtieth on, because at first everything is new. Calibrated by
`detectors.baselines.calibration`; while too few export for a tail to be seen, up to four bits more of raw are believed.
Each day teaches its account once, when the next one begins.
Entities: account, of employees. Units: records, bytes.
Memory: 2 bytes an account, 8 a resource; 124 bytes for each of the 16,383 accounts that exported of late.
Cold start: a newcomer is judged as all employees are, and they once 30 days of their exports are known.
Evasion: taking it out in pieces that are usual, day after day (`drip`); an export that is made before in small; logs
that name no such action: then it is reading (`volume`).
Misses: who exports as much as others do of what they do; a resource that has a new name every day is never news. What
is made once a month is news each time. Of who exports more than eight things by turns the oldest is new again; what was
exported in another partition of a topic is new in this one.
ATT&CK: T1567 Exfiltration Over Web Service, T1530 Data from Cloud Storage, T1074 Data Staged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from detectors.base import (
    CLASSES,
    DAILY,
    DAY_MS,
    EMPLOYEE,
    FINDING,
    KINDS,
    Array,
    Columns,
    Feature,
    Frame,
    size,
)
from detectors.baselines.buckets import YOUNG_H
from detectors.baselines.calibrated import NEAR_LEVELS, Calibrated
from detectors.baselines.calibration import LEVELS
from detectors.baselines.export_days import (
    AMOUNTS,
    EXPORTER,
    EXPORTERS,
    FIRST,
    NOVELTY,
    PLACE,
    close_day,
    count_day,
    novelty,
    row_of,
    score,
)
from detectors.kernels import kernel, level_of

ACCOUNT: Final = KINDS.index("account")
EXPORTS: Final = np.array([a in (4, 7) for a in range(9)])  # export, share
FILL_MAX: Final = 0.9  # of the rows; beyond it those of whom least is known are used again too
FILL_AFTER: Final = 0.7
IDLE_D: Final = 60  # days without an export, after which a row may be used for somebody else
UNSEEN_BITS: Final = 4.0


@kernel
def _observe(
    places: Array, resources: Array, touch: Array, at: Array, exported: Array, names: Array, records: Array,
    volume: Array, time: Array, klass: Array, learn: Array, rows: Array, count: Array, pop: Array, days: Array,
    survival: Array, gate: Array, mark: Any, marks: Array, out: Array,
) -> int:  # fmt: skip
    """Add each export to its account's day, and score the day; findings written."""
    found = 0
    for i in range(touch.shape[0]):
        slot = touch[i]["slot"]
        if not exported[i] or not learn[i] or slot <= 0:
            continue
        p = row_of(places, rows, count, slot)
        if p == 0:
            continue
        r = rows[p]
        k = klass[i]
        day = time[i] // DAY_MS
        weight = 0.1 if touch[i]["suspect"] else 1.0
        if r["day"] != day:
            if r["day"] != 0:
                close_day(r, time[i], touch[i]["age_h"] < YOUNG_H, weight, pop[k])
            r["day"] = day
            if weight == 1.0:
                survival[k, 0] += 1
                count_day(days[k], 0, pop[k])
        name = np.uint16(names[i] >> np.uint64(48)) | np.uint16(1)
        new = novelty(r, resources, at[i]["slot"], slot, day, name)
        if weight == 1.0:
            for c in range(np.int64(r["new"]) + 1, new + 1):
                count_day(days[k], c, pop[k])
        r["new"] = max(np.int64(r["new"]), new)
        for c in range(new + 1):
            r["sum"][c, 0] += np.float32(records[i])
            r["sum"][c, 1] += np.float32(volume[i])
        most, expected, what = 0.0, 0.0, 0
        for f in range(AMOUNTS):
            for c in range(np.int64(r["new"]) + 1):
                bits, usual = score(r, f, c, pop[k], days[k])
                if bits > most:
                    most, expected, what = bits, usual, AMOUNTS * c + f
        reached = min(level_of(most), LEVELS - 1)
        if reached > r["seen"]:
            if weight == 1.0:
                for step in range(np.int64(r["seen"]) + 1, reached + 1):
                    survival[k, step] += 1
            r["seen"] = reached
            if reached >= gate[k]:
                o = out[found]
                o["event"], o["time"], o["slot"], o["kind"] = i, time[i], slot, ACCOUNT
                o["klass"], o["horizon"], o["feature"], o["bits"] = k, DAILY, what, np.float32(most)
                o["observed"], o["expected"] = r["sum"][what // AMOUNTS, what % AMOUNTS], expected
                found += 1
        if r["seen"] > 0 and np.int64(r["seen"]) + NEAR_LEVELS >= gate[k]:
            marks[i] |= mark
    return found


def _features() -> tuple[Feature, ...]:
    made = []
    for name, what, of in (
        ("exported", "", ""),
        ("first_exports", " of what it had not exported before", " of all"),
        ("nobodys_exports", " of what nobody here had exported before", " of all"),
    ):
        said = f"{{observed}} records exported in {{window}}{what}, where {{expected}}{of} are usual"
        made.append(Feature(f"{name}_records", "records", said))
        said = f"{{observed}} exported in {{window}}{what}, where {{expected}}{of} is usual"
        made.append(Feature(f"{name}_bytes", "bytes", said, size, size))
    return tuple(made)


class Exports(Calibrated):
    """`exports`: what accounts take out in a day."""

    id = "exports"
    title = "Data taken out in bulk by {kind} {value}"
    weight = 3
    aspect = "amount"
    cause: Mapping[str, str] = {}
    techniques: tuple[str, ...] = ("T1567", "T1530", "T1074")
    features = _features()
    kinds: tuple[str, ...] = ("account",)
    columns: Mapping[str, np.dtype[Any]] = {"account": PLACE, "resource": FIRST}

    def __init__(self, offset_bits: float) -> None:
        super().__init__(offset_bits)
        self._rows = np.zeros(EXPORTERS, EXPORTER)
        self._count = np.zeros(2, np.int64)  # rows in use; exports for which there was none
        self._population = np.zeros((CLASSES, 2, AMOUNTS, 5))  # as of `detectors.baselines.buckets`
        self._days = np.zeros((CLASSES, NOVELTY))  # days of export, those with something new to the account, to all
        self.state.update(
            exporters=self._rows, exporting=self._count, population=self._population, export_days=self._days,
            export_hour=self._hour,
        )  # fmt: skip

    @property
    def overflowed(self) -> int:
        """Exports of accounts for which there was no row."""
        return int(self._count[1])

    def observe(self, frame: Frame, columns: Mapping[str, Array], bit: int) -> list[Array]:
        """Add the exports to their accounts' days; FINDING rows."""
        exported = frame.of(_exported)
        count = np.count_nonzero(exported)
        if not count:
            return []
        out = np.empty(count, FINDING)
        found = _observe(
            columns["account"], columns["resource"], frame.touch["account"], frame.touch["resource"], exported,
            frame.hashes["resource"], frame.records, frame.bytes, frame.time, frame.klass, frame.learn, self._rows,
            self._count, self._population, self._days, self._survival.today[ACCOUNT, :, 0, 0],
            self._survival.gate[ACCOUNT, :, 0, 0], np.uint16(1 << bit), frame.marks, out,
        )  # fmt: skip
        return [out[:found]]

    def tick(self, now_ms: int, columns: Mapping[str, Array]) -> list[Array]:
        """Hourly upkeep, and room where rows run out."""
        if self.upkeep(now_ms):
            self._survival.listen(ACCOUNT, self._offset_bits - UNSEEN_BITS)
            if self._count[0] > FILL_MAX * EXPORTERS:
                self._forget(now_ms // DAY_MS, columns["account"]["exporter"])
        return []

    def _forget(self, day: int, places: Array) -> None:
        """Rows of accounts that are gone or idle are free again; where all are busy, of whom least is known."""
        used = self._rows[1 : int(self._count[0]) + 1]
        owned = places[used["slot"]] == np.arange(1, len(used) + 1)
        kept = np.flatnonzero(owned & (used["day"].astype(np.int64) >= day - IDLE_D))
        if len(kept) > FILL_MAX * EXPORTERS:
            known = (1.0 + used["n"][kept, DAILY].max(axis=1)) * np.exp2((used["day"][kept] - float(day)) / 7.0)
            kept = np.sort(kept[np.argsort(known, kind="stable")[-int(FILL_AFTER * EXPORTERS) :]])
        places[used["slot"][owned]] = 0
        rows = used[kept]
        self._rows[1:] = np.zeros((), EXPORTER)
        self._rows[1 : len(rows) + 1] = rows
        places[rows["slot"]] = np.arange(1, len(rows) + 1)
        self._count[0] = len(rows)

    def bits(self, finding: Any) -> tuple[float, float]:
        """Calibrated bits, and up to UNSEEN_BITS more of its own while too few export for a tail to be seen."""
        family, raw = (ACCOUNT, int(finding["klass"]), 0, 0), float(finding["bits"])
        bits = self._survival.bits(family, raw)
        if bits > 0.0 and not self._survival.has_tail(family):
            bits = max(bits, min(raw, bits + UNSEEN_BITS))
        return bits, self._survival.per_day(family)

    def measures(self, kind: str) -> int:
        """One day's exports: its features are what of them was most surprising."""
        return 1

    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from what `save` gave; ValueError where that looks up what is not there."""
        rows = state["exporters"]
        if (
            not 0 <= int(state["exporting"][0]) < EXPORTERS
            or rows["seen"].max() >= LEVELS
            or rows["new"].max() >= NOVELTY
        ):
            raise ValueError("rows of exports, or levels, beyond those that there are")
        super().load(state)

    def held_slots(self) -> Columns:
        """The slots of who exported: what is loaded must lie within the table."""
        return {"account": self._rows["slot"]}


def _exported(events: Frame) -> Array:
    """What employees take out: customers take out their own, and machines what they are made for."""
    exported: Array = events.succeeded & EXPORTS[events.action] & (events.klass == EMPLOYEE)
    return exported
