"""Silence: a feed, or the logins of an issuer, that stops while everything else goes on.

Who stops a log, or the logins of one key's authority, blinds whatever else looks there. But feeds stop at night, at
week-ends and with the service behind them. So what counts is not time but what was due in it: in each look of five
minutes an hour's usual number of events, no more of it than the rest of the stream shows.

Statistic: with y = ln(1 + events of an hour), and bins b of 24 hours of working days and 24 of week-ends, in UTC,

    m_b <- m_b + (y - m_b) / min(n_b, 4);   v <- v + ((y - m_b)^2 - (e^m - 1) / e^2m - v) / 64
    due <- e^(-dt / 1 d) due + min over bins beside b of (e^m - 1) dt min(1, seen of the others / due of the others)
    raw bits = k log2(1 + due / k),  k = 1 / max(v, 1/4),   while nothing comes

v is the scatter of hours beyond Poisson's, and the bits are the surprise of no event where a negative binomial of mean
`due` and shape k is expected: a Poisson law whose rate is itself uncertain, so that bits grow with the logarithm of
what is missing. One event sets `due` back to 0. An event that is more than five minutes old counts as none: a feed that
lags is as silent as one that stopped. Calibrated by `detectors.baselines.calibration`, in which a silence counts when
it rises and not for each hour that it lasts.
Source: the zero term of Greenwood and Yule's law (1920), a Poisson rate with a gamma prior.
No bits are ever given that open an alert, or that, with an alert open, open another: outages are more frequent than
attackers. They add to what else is found, and `tripline_feeds_silent` counts who is silent.
Entities: issuer; fleet, for the feeds (a topic, or files of one name but for their digits), 64 of them. Unit: events.
Memory: 252 bytes an issuer or feed.
Cold start: three days of a feed or issuer are not judged, nor are week-ends before it has seen one.
Evasion: letting half of the events through; a feed that fades over days; stopping all feeds at once, in equal parts.
Misses: a feed of few events, or of less than three hours a day; a login feed of several issuers that loses one of
them, where the log names no issuer; a hole that is over within minutes.
ATT&CK: T1562.008 Disable or Modify Cloud Logs, T1562 Impair Defenses, T1070 Indicator Removal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from detectors.base import ACTION_LOGIN, DAY_MS, FINDING, HOUR_MS, HOURLY, KINDS, Array, Feature, Frame
from detectors.baselines.calibrated import Calibrated
from detectors.baselines.calibration import LEVELS
from detectors.kernels import LN2, inline, kernel

LOOK_MS: Final = 300_000
FEEDS: Final = 64  # that are followed; beyond, feeds are not told apart
ALL: Final = 0  # the row of the whole stream
EVENTS, LOGINS = range(2)
NOW, BEFORE = range(2)  # the hour before is learned an hour later, so that its silence does not excuse this one
DAYS: Final = 4  # that a bin remembers, about
SCATTER_STEP: Final = 1.0 / 64.0
SCATTER_MIN: Final = 0.25
SCATTER_FIRST: Final = 1.0
OFF_MAX: Final = 2.0  # nats that one hour teaches, so that a silence does not soon excuse itself
FADE_H: Final = 24.0  # who has been away for days is taken for retired
YOUNG_S: Final = 3 * 86_400
DUE_MIN: Final = 2.0  # events an hour; a series of fewer teaches no scatter
UNIT: Final = 1024.0  # of m, for each nat
BINS: Final = 24
SILENT_BITS: Final = 10.0  # raw, from which on the operator is told
# Below what opens an alert. Two bits is how far below the rest of an entity's evidence may lie that opens a second one.
BELOW_BITS: Final = 2.5
FLEET, ISSUER = KINDS.index("fleet"), KINDS.index("issuer")

SERIES: Final = np.dtype(
    [
        ("rate", np.uint16, (2, 2 * BINS)),  # m, in 1/1024
        ("hour", np.uint32, (2, 2)),  # events of this hour and of the one before
        ("look", np.uint32, (2,)),  # since the last look
        ("born", np.uint32, (2,)), ("seen", np.uint32, (2,)),  # s, of the first and the latest event
        ("scatter", np.float32, (2,)), ("due", np.float32, (2,)),
        ("level", np.uint8, (2,)),
    ],
    align=True,
)  # fmt: skip


@inline
def _see(r: Array, f: int, now_s: int) -> None:
    if r["born"][f] == 0:
        r["born"][f] = now_s
        r["scatter"][f] = np.float32(SCATTER_FIRST)
    r["seen"][f] = now_s
    r["hour"][f, NOW] += 1
    r["look"][f] += 1


@kernel
def _count(
    issuers: Array, touch: Array, feeds: Array, names: Array, feed: Array, action: Array, learn: Array, late: Array,
    time: Array,
) -> None:  # fmt: skip
    """Count the frame's events by feed and by issuer; names: uint64[FEEDS + 1], 0 where there is room."""
    row, last = ALL, np.uint64(0)
    for i in range(time.shape[0]):
        if learn[i] == 0 or late[i]:
            continue
        if feed[i] != last:
            row, last = ALL, feed[i]
            for n in range(FEEDS, 0, -1):
                if names[n] == last or names[n] == np.uint64(0):
                    row = n
            if row != ALL:
                names[row] = last
        now_s = time[i] // 1000
        slot = touch[i]["slot"]
        for f in range(2 if action[i] == ACTION_LOGIN else 1):
            _see(feeds[ALL], f, now_s)
            if row != ALL:
                _see(feeds[row], f, now_s)
            if slot > 0:
                _see(issuers[slot], f, now_s)


def _bin(ms: int) -> int:
    """The hour of a working day (0 to 23) or of a week-end (24 to 47)."""
    return ms // HOUR_MS % BINS + (BINS if (ms // DAY_MS + 3) % 7 >= 5 else 0)


class Silence(Calibrated):
    """`silence`: feeds and issuers of which nothing comes.

    opening_bits: what opens an alert, where there is one such test a day.
    """

    id = "silence"
    title = "Nothing comes of {kind} {value}"
    weight = -1
    aspect = "silence"
    cause: Mapping[str, str] = {}
    capped = True
    techniques: tuple[str, ...] = ("T1562.008", "T1562", "T1070")
    features: tuple[Feature, ...] = (
        Feature("events", "events", "none of about {expected} events came that were due"),
        Feature("logins", "events", "none of about {expected} logins came that were due"),
    )
    kinds: tuple[str, ...] = ("fleet", "issuer")
    columns: Mapping[str, np.dtype[Any]] = {"issuer": SERIES}

    def __init__(self, offset_bits: float, opening_bits: float = 0.0) -> None:
        super().__init__(offset_bits, len(self.features))
        self._bits_max = opening_bits - BELOW_BITS
        self._feeds = np.zeros(FEEDS + 1, SERIES)
        self._names = np.zeros(FEEDS + 1, np.uint64)
        self._clock = np.zeros(3, np.int64)  # ms, of the latest look; the hour that it was in, the hour before
        self._silent = np.zeros(2, np.int64)  # feeds and issuers, at the latest look
        self.state.update(feeds=self._feeds, names=self._names, look=self._clock, silent=self._silent)

    @property
    def silent(self) -> dict[str, float]:
        """How many feeds and issuers were silent at the latest look."""
        return {"feed": float(self._silent[0]), "issuer": float(self._silent[1])}

    def observe(self, frame: Frame, columns: Mapping[str, Array], bit: int) -> list[Array]:
        """Count; nothing is found by an event."""
        _count(
            columns["issuer"], frame.touch["issuer"], self._feeds, self._names, frame.feed, frame.action, frame.learn,
            frame.late, frame.time,
        )  # fmt: skip
        return []

    def tick(self, now_ms: int, columns: Mapping[str, Array]) -> list[Array]:
        """Look every five minutes; FINDING rows of who is silent."""
        looked, hour, before = self._clock.tolist()
        if looked and now_ms // LOOK_MS == looked // LOOK_MS:
            return []
        issuers = np.flatnonzero(columns["issuer"]["born"][:, EVENTS])
        parts = [(FLEET, self._feeds, np.flatnonzero(self._names)), (ISSUER, columns["issuer"], issuers)]
        found = [self._look(kind, rows, at, looked, now_ms) for kind, rows, at in parts] if looked else []
        turned = now_ms // HOUR_MS != hour
        for rows, at in ((self._feeds, np.array([ALL])), *((rows, at) for _, rows, at in parts)):
            rows["look"][at] = 0
            if turned:
                _learn(rows, at, before * HOUR_MS)
        if turned:
            self._survival.roll(now_ms)
            self._survival.refresh(now_ms, self._offset_bits)
            for kind, rows, at in parts:
                old = now_ms // 1000 - rows["born"][at].astype(np.int64) >= YOUNG_S
                judged = (rows["born"][at] > 0) & old & (rows["rate"][at][:, :, _bin(now_ms)] > 0)
                self._survival.today[kind, 0, 0, :, 0] += judged.sum(axis=0).astype(np.int32)
            self._clock[1:] = now_ms // HOUR_MS, hour
        self._clock[0] = now_ms
        return found

    def _look(self, kind: int, rows: Array, at: Any, looked: int, now_ms: int) -> Array:
        """Judge the series of one kind; FINDING rows."""
        r = rows[at]
        span_h = min(now_ms - looked, HOUR_MS) / HOUR_MS
        rate = r["rate"] / UNIT
        here = _bin(looked)
        day, hour = here // BINS * BINS, here % BINS
        beside = np.expm1(rate[:, :, [day + (hour + step) % BINS for step in (-1, 0, 1)]].min(axis=2))
        everyone = self._feeds[ALL]
        others = np.maximum(
            np.expm1(everyone["rate"][EVENTS, here] / UNIT) - np.expm1(rate[:, EVENTS, here]), 0.0
        )  # fmt: skip
        seen = everyone["look"][EVENTS].astype(np.float64) - r["look"][:, EVENTS]
        present = np.minimum(1.0, seen / np.maximum(others * span_h, 1.0))
        old = (r["born"] > 0) & (now_ms // 1000 - r["born"].astype(np.int64) >= YOUNG_S)
        due = r["due"] * math.exp(-(now_ms - looked) / (FADE_H * HOUR_MS)) + beside * span_h * present[:, None]
        due = np.where((r["look"] == 0) & old, due, 0.0)
        k = 1.0 / np.maximum(r["scatter"], SCATTER_MIN)
        raw = k * np.log1p(due / k) / LN2
        level = np.minimum(4.0 * np.sqrt(2.0 * LN2 * raw), LEVELS - 1).astype(np.int64)
        known = np.where(due > 0.0, r["level"], 0).astype(np.int64)
        told = []
        for f in range(len(self.features)):
            count = self._survival.today[kind, 0, 0, f]
            for before, after in zip(known[:, f], level[:, f], strict=True):
                count[before + 1 : after + 1] += 1
            told += [(int(n), f) for n in np.flatnonzero(level[:, f] >= self._survival.gate[kind, 0, 0, f])]
        rows["due"][at], rows["level"][at] = due, np.maximum(known, level)
        out = np.zeros(len(told), FINDING)
        for o, (n, f) in zip(out, told, strict=True):
            o["event"], o["time"], o["slot"], o["kind"] = -1, now_ms, 0 if kind == FLEET else at[n], kind
            o["horizon"], o["feature"], o["bits"], o["expected"] = HOURLY, f, raw[n, f], due[n, f]
        self._silent[int(kind == ISSUER)] = np.count_nonzero((raw >= SILENT_BITS).any(axis=1))
        return out

    def bits(self, finding: Any) -> tuple[float, float]:
        """Calibrated bits, but never as many as open an alert; and series-hours a day."""
        bits, per_day = super().bits(finding)
        return min(bits, self._bits_max + math.log2(max(per_day, 1.0))), per_day


def _learn(rows: Array, at: Any, hour_ms: int) -> None:
    """Learn the hour before, which a series has to have seen begin, and begin a new one."""
    r, here = rows[at], _bin(hour_ms)
    born = r["born"].astype(np.int64)
    whole = (born > 0) & (born * 1000 <= hour_ms)
    today, since = np.datetime64(hour_ms // DAY_MS, "D"), (born // 86_400).astype("datetime64[D]")
    days = np.busday_count(since, today)
    if here >= BINS:
        days = (today - since).astype(np.int64) - days
    y = np.log1p(r["hour"][:, :, BEFORE].astype(np.float64))
    m = r["rate"][:, :, here] / UNIT
    off, few = np.clip(y - m, -OFF_MAX, OFF_MAX), np.expm1(m) * np.exp(-2.0 * m)
    known = whole & (days > 1) & (np.expm1(m) >= DUE_MIN)
    r["scatter"] += np.where(known, SCATTER_STEP * (off * off - few - r["scatter"]), 0.0)
    m += (y - m) / np.clip(days, 1, DAYS)
    r["rate"][:, :, here] = np.where(whole, np.rint(m * UNIT), r["rate"][:, :, here])
    r["hour"][:, :, BEFORE] = r["hour"][:, :, NOW]
    r["hour"][:, :, NOW] = 0
    rows[at] = r
