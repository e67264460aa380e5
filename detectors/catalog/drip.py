"""Drip: a little more than its own pace, day after day.

Measures requests, records and bytes of each day on which an entity reads anything (days off do not count).

Statistic: y = ln(1 + day's sum) against a frozen reference r, less what the day did to its peers,

    z = (y - r - common) / s - 1 / sqrt(n), at most 4;  s^2 = (4 w0 + n v) / (4 + n) + Poisson's scatter of few

summed up by the e-detectors of `detectors.baselines.sequential`, calibrated by `detectors.baselines.calibration`. r is
the mean of the first 14 active days; then it stands still for 28 active days at a time and moves at the end of each
to their mean, by at most ln 2. 1 / sqrt(n) is the standard error of r, which a long run would add up. `common` is the
median of y - r over the day's peers (same kind and class, eight or more), else how far the traffic of its class
without this entity is from its usual. A day is judged when it closes, and at once when it alone is enough, at most one
time a day, behind what the class has risen so far.
Average run length: chance opens one alert of a detector's share of the budget; nominally 2^bits days an entity.
Entities: account, credential (from a day old on), client, issuer, resource. Units: requests, records, bytes.
Memory: 90 bytes an entity.
Cold start: accounts and credentials are judged after seven active days, what many use after 21;
scatter is the population's until an entity has its own.
Evasion: growing by less than a doubling in 28 active days; stealing from the first day on; a new account a week.
Pace, measured on 60 employees whose days scatter by 0.15: twice the own pace is found in two to five working days,
1.3 times in two weeks or not at all.
Misses: a single large day (`volume`); theft smaller than the scatter of days; an entity that is most of its class's
traffic and has no peers; feeds that are read again late.
ATT&CK: T1213 Data from Information Repositories, T1030 Data Transfer Size Limits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.base import CLASSES, DAY_MS, FINDING, HOUR_MS, KINDS, Array, Feature, Frame, size
from detectors.baselines.calibrated import Calibrated
from detectors.baselines.calibration import GATE_NONE, LEVELS
from detectors.baselines.frozen import (
    BLOCK_DAYS,
    CLIP,
    DAILY,
    FIRED,
    FIRST_DAYS,
    SUSPECT_WEIGHT,
    UNIT,
    add,
    learn,
    lift_of,
)
from detectors.baselines.sequential import F64, LAMBDAS, Z_MAX, bits, fold, grown, needed, psi
from detectors.kernels import LN2

JUDGED_DAYS: Final = 7
SHARED_DAYS: Final = 21  # of what many use: a new client version or page is still being adopted
PEER_DAYS: Final = 3  # of a peer, before it has a say in what is common
PEERS_MIN: Final = 8
PRIOR_DAYS: Final = 4.0
SPREAD_MIN: Final = 0.15  # of s, as in `volume`
SPREAD_FIRST: Final = 0.5  # of a population that has shown none yet, as PRIOR_DAYS of its days
STEPS: Final = 5_000.0  # entity-days that a population remembers
Y_MAX: Final = 31.0
OWN_MAX: Final = 0.5  # of its class's traffic: beyond, the rest says nothing of the day
CREDENTIAL_H: Final = 24.0  # sessions end before; what lives longer has days
DRIPPING: Final = ("account", "credential", "client", "issuer", "resource")
NUMBERS: Final = np.array([KINDS.index(kind) for kind in DRIPPING])
AGES_MIN_H: Final = np.array([CREDENTIAL_H if kind == "credential" else 0.0 for kind in DRIPPING])


class Drip(Calibrated):
    """`drip`: daily requests, records and bytes against a frozen reference.

    Shared state: 6 numbers and 60 bytes x 96 of survival counts for each kind, class and feature.
    """

    id = "drip"
    title = "More than its usual pace, day after day: {kind} {value}"
    weight = 1
    aspect = "amount"
    cause: Mapping[str, str] = {}
    capped = True  # few days do not teach a tail
    techniques = ("T1213", "T1030")
    features = (
        Feature(
            "daily_requests", "requests", "for days above its pace: {observed} requests, where {expected} are usual"
        ),
        Feature(
            "daily_records", "records", "for days above its pace: {observed} records read, where {expected} are usual"
        ),
        Feature(
            "daily_bytes", "bytes", "for days above its pace: {observed} read, where {expected} is usual", size, size
        ),
    )
    kinds = DRIPPING
    columns: Mapping[str, np.dtype[Any]] = dict.fromkeys(kinds, DAILY)

    def __init__(self, offset_bits: float) -> None:
        super().__init__(offset_bits, features=3)
        shape = (len(KINDS), CLASSES, 3)
        self._scatter = np.zeros((*shape, 2))  # variance within an entity, and of how many days
        self._scatter[...] = SPREAD_FIRST**2, PRIOR_DAYS
        self._moments = np.zeros((*shape, len(LAMBDAS)))
        self._moment_days = np.zeros(shape)
        self._totals = np.zeros((CLASSES, 3))  # of the day, by class
        self._usual = np.zeros((CLASSES, 3))  # ln(1 + total) of a usual day
        self._usual_days = np.zeros(CLASSES)
        self._clock = np.zeros(2, np.int64)  # day, hour
        self.state.update(
            scatter=self._scatter, moments=self._moments, moment_days=self._moment_days, totals=self._totals,
            usual=self._usual, usual_days=self._usual_days, drip_clock=self._clock,
        )  # fmt: skip

    def observe(self, frame: Frame, columns: Mapping[str, Array], bit: int) -> list[Array]:
        """Add the events to their entities' days; FINDING rows of the days that are enough already."""
        counts, x = frame.of(_counts), frame.of(_increments)
        lift = np.ones((len(frame), 3))
        lift_of(frame.klass, counts, x, self._totals, self._usual, lift)
        out = np.empty(3 * len(self.kinds) * len(frame), FINDING)
        found = add(
            tuple(columns[kind] for kind in self.kinds), tuple(frame.touch[kind] for kind in self.kinds), NUMBERS,
            AGES_MIN_H, frame.klass, counts, x, lift, frame.time, np.uint16(1 << bit), frame.marks, out,
        )  # fmt: skip
        return [out[:found]]

    def tick(self, now_ms: int, columns: Mapping[str, Array]) -> list[Array]:
        """Close the day when it is over; its counts are read from the next hour on. FINDING rows."""
        day, hour = now_ms // DAY_MS, now_ms // HOUR_MS
        found: list[Array] = []
        if day != self._clock[0] and self._clock[0]:
            found = [self._close(kind, columns[kind], now_ms) for kind in self.kinds]
            self._learn_totals()
        elif hour != self._clock[1] and self._survival.today.any():
            self._survival.roll(now_ms)
            self._survival.refresh(now_ms, self._offset_bits)
        self._clock[...] = day, hour
        return found

    def _close(self, kind: str, state: Array, now_ms: int) -> Array:
        """Judge, then learn, the day of every entity of a kind that was active."""
        slots = np.flatnonzero(state["active"])
        rows = state[slots]
        self._survival.roll(int(self._clock[0]) * DAY_MS)
        found = [self._feature(KINDS.index(kind), rows, slots, f, now_ms) for f in range(3)]
        rows["warm"] = (rows["limit"] > 0.0).any(axis=1) if kind in ("account", "credential") else rows["warm"]
        rows["block"] = np.where(rows["days"] < FIRST_DAYS, 0, (rows["block"] + 1) % BLOCK_DAYS)
        rows["days"] = np.minimum(rows["days"].astype(np.int64) + 1, 250)
        rows["sum"] = 0.0
        rows["active"] = rows["suspect"] = 0
        state[slots] = rows
        return np.concatenate(found)

    def _feature(self, number: int, rows: Array, slots: npt.NDArray[np.intp], f: int, now_ms: int) -> Array:
        klass, n = rows["klass"].astype(np.intp), rows["days"].astype(np.float64)
        trusted = rows["suspect"] == 0
        y = np.minimum(np.log1p(rows["sum"][:, f]), Y_MAX)
        ref = rows["ref"][:, f] / UNIT
        common = self._common(klass, n, rows["sum"][:, f], y, ref, f)
        e = np.where(n > 0.0, y - ref - common, 0.0)
        held = np.minimum(n, BLOCK_DAYS)
        var = (PRIOR_DAYS * self._scatter[number, klass, f, 0] + held * rows["var"][:, f]) / (PRIOR_DAYS + held)
        rate = np.exp(np.clip(ref + common, 0.0, 60.0))
        s = np.sqrt(np.maximum(var, SPREAD_MIN**2) + (rate - 0.5) / rate**2)
        error = 1.0 / np.sqrt(np.maximum(held, 1.0))
        z = np.clip(e / s - error, -Z_MAX, Z_MAX)

        judged = n >= (JUDGED_DAYS if KINDS[number] in ("account", "credential") else SHARED_DAYS)
        cost = psi(self._moments[number, klass, f])
        log = np.where(judged[:, None], grown(rows["log"][:, f] / UNIT, z, cost), 0.0)
        raw = bits(log)
        level = np.minimum(4.0 * np.sqrt(2.0 * LN2 * raw), LEVELS - 1).astype(np.int64)
        gate = self._survival.gate[number, klass, 0, f].astype(np.int64)
        told = np.where(rows["limit"][:, f] == FIRED, rows["target"][:, f], rows["level"][:, f]).astype(np.int64)
        out = _findings(
            np.flatnonzero((level > told) & (level >= gate)), rows, slots, number, f, now_ms, raw, ref + common
        )

        shown = np.maximum(level, np.where(rows["limit"][:, f] == FIRED, rows["target"][:, f], 0))
        for k in np.unique(klass):
            mine = trusted & judged & (klass == k)
            reached = np.bincount(shown[mine], minlength=LEVELS)[::-1].cumsum()[::-1]
            self._survival.today[number, k, 0, f] += reached.astype(np.int32)
            moments, days = self._moments[number, k, f], self._moment_days[number, k, f]
            self._moments[number, k, f], self._moment_days[number, k, f] = fold(
                moments, days, np.exp(z[mine, None] * LAMBDAS), STEPS
            )
            within = trusted & (n >= 1.0) & (klass == k)
            sample = np.clip(e, -CLIP * s, CLIP * s)[within] ** 2 * (held / (held + 1.0))[within]
            self._scatter[number, k, f] = fold(
                self._scatter[number, k, f, 0], self._scatter[number, k, f, 1], sample, STEPS
            )

        weight = np.where(trusted, 1.0, SUSPECT_WEIGHT)
        ref = learn(rows, f, y - common, ref, e, s, n, weight)
        target = np.maximum(gate, level + 1)
        wanted = (target / 4.0) ** 2 / (2.0 * LN2)
        open_ = np.flatnonzero(judged & (target < LEVELS) & (gate < GATE_NONE))
        limit = np.zeros(len(rows))
        z_needed = needed(log[open_], cost[open_], wanted[open_])
        limit[open_] = np.where(
            np.isfinite(z_needed), np.expm1(ref[open_] + s[open_] * (np.minimum(z_needed, Z_MAX) + error[open_])), 0.0
        )
        rows["limit"][:, f], rows["target"][:, f] = np.maximum(limit, 0.0), np.minimum(target, LEVELS)
        rows["log"][:, f], rows["level"][:, f] = np.rint(log * UNIT), level
        return out

    def _common(self, klass: Any, n: F64, x: F64, y: F64, ref: F64, f: int) -> F64:
        """What the day did to the peers of each, in nats."""
        common = np.zeros(len(y))
        for k in np.unique(klass):
            mine = klass == k
            known = mine & (n >= PEER_DAYS)
            if np.count_nonzero(known) >= PEERS_MIN:
                common[mine] = np.median((y - ref)[known])
            elif self._usual_days[k] > 0.0:
                total, usual, own = self._totals[k, f], math.expm1(self._usual[k, f]), np.expm1(ref[mine])
                rest = np.log((1.0 + np.maximum(total - x[mine], 0.0)) / (1.0 + np.maximum(usual - own, 0.0)))
                common[mine] = np.where(own > OWN_MAX * usual, math.log1p(total) - self._usual[k, f], rest)
        return common

    def _learn_totals(self) -> None:
        seen = self._totals[:, 0] > 0.0
        step = np.log1p(self._totals) - self._usual
        step = np.where(self._usual_days[:, None] < PEER_DAYS, step, np.clip(step, -LN2, LN2))
        self._usual[seen] += (step / (np.minimum(self._usual_days, BLOCK_DAYS - 1) + 1.0)[:, None])[seen]
        self._usual_days[seen] += 1.0
        self._totals[:] = 0.0


def _counts(events: Frame) -> Array:
    counts: Array = events.reads & (events.learn != 0)
    return counts


def _increments(events: Frame) -> Array:
    return np.column_stack([np.ones(len(events)), events.records, events.bytes])


def _findings(
    at: npt.NDArray[np.intp], rows: Array, slots: npt.NDArray[np.intp], number: int, f: int, now_ms: int, raw: F64,
    expected: F64,
) -> Array:  # fmt: skip
    out = np.zeros(len(at), FINDING)
    out["event"], out["time"], out["slot"] = -1, now_ms, slots[at]
    out["kind"], out["klass"], out["horizon"], out["feature"] = number, rows["klass"][at], 1, f
    out["bits"], out["observed"], out["expected"] = raw[at], rows["sum"][at, f], np.expm1(np.maximum(expected[at], 0.0))
    return out
