"""Dormant: an account, or a machine's key, that was silent for long, wakes up and reads.

A *wake-up* is a success after a week or more of silence that is long for this account: with d active days in a life of
L days before the gap, and m active days a day of those in its class who come again, a gap of G days has the surprise

    g = (d + 7 m) log2(1 + G / (L + 7)) bits

(an exponential hazard with a gamma prior), and four bits make it long. People come back from leave and customers in
season, so that alone it says no more than how often that is seen here; where it woke up and what it then reads in its
first three active hours is added:

Statistic: raw bits = log2((N + 1) / (W + 4)) + n + r

N: active days of this class, W: its wake-ups, both fading over 60 days.
n = -log2 P(a wake-up of this class is at a network, a client or both that are neither of its last two places), shrunk
to one in four for people, who come back with new devices, and to what is seen of any day for machines.
r = 2 log2(x / (e^s X)), x the records of an hour, X those of its usual hour, s the class's standard deviation of its
logarithm: a power law of index two, heavier than the lognormal that such hours follow. No more is believed than what
was seen: where k of n days reached this raw bits, at most log2(n / k). Where that is not enough to be told alone, the
return itself is evidence for others to add to, log2((N + 1) / (W + 4)) bits without where and how much. Cohort: for a
network or a client, the share of wake-ups among the accounts that arrive there in an hour, `detectors.baselines.share`,
of which the rise of that share everywhere else is excused: a sale wakes customers up at all places. Where most arrive
anyway nobody is judged.
Source: for the hazard, Lomax, "Business failures" (1954); Cox and Oakes, "Analysis of Survival Data" (1984).
Entities: account, credential (of services and partners), network, client. Unit: records, accounts.
Memory: 24 bytes an account, 8 a credential, 64 a network or client.
Cold start: nothing is dormant in a log younger than ten days, and no crowd before three weeks; the first eight days
teach nothing, as no absence fits in them. How often people come back is learned from absences that fit into the log:
while it is young it has seen no leave of a fortnight, and the first one is rarer by its count than it is.
Evasion: a success a week; waking up where the owner was last and reading as much as the owner did.
Misses: a return that reads nothing; accounts that were never seen in the log before they fell silent.
ATT&CK: T1078 Valid Accounts, T1078.004 Cloud Accounts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from detectors.base import (
    CLASSES,
    DAILY,
    DAY_MS,
    FINDING,
    HOUR_MS,
    HOURLY,
    KINDS,
    NEAR_MISS_BITS,
    Array,
    Feature,
    Frame,
)
from detectors.baselines.absence import (
    CROWD,
    KEY,
    LIFE,
    UNIT,
    arrive,
    elsewhere,
    excuse,
    gap_bits,
    learn_hour,
    pace_of,
    read_bits,
    woken,
)
from detectors.baselines.calibration import LEVELS
from detectors.baselines.places import place_of
from detectors.baselines.share import TRIAL, ShareDetector
from detectors.kernels import AHEAD, inline, kernel, level_of, prefetch

TEACHES_FROM_MS: Final = 8 * DAY_MS  # of the stream; before, no absence has had the time to end
JUDGES_FROM_MS: Final = 10 * DAY_MS
CROWDS_FROM_MS: Final = 21 * DAY_MS
ADDED_BITS: Final = 6.0  # below the gate of what may be found alone, a return is still told
FADE: Final = 1.0 - 1.0 / 60.0  # of what a class remembers, a day
AWAKE_HOURS: Final = 3
SERVICE: Final = 3  # the class from which on accounts are machines
ACCOUNT, CREDENTIAL = KINDS.index("account"), KINDS.index("credential")
CROWDS: Final = ("network", "client")
WOKEN, RETURNED = 0, 2  # features; between them, that of the crowds
CROWD_MIN: Final = 2.5  # decayed: fewer than three are no crowd


@inline
def _score(r: Array, reads: float, survival: Array, kind: int, k: int, learns: bool) -> float:
    """Raw bits of an account or key that woke up, where they reach a new level; else 0."""
    bits = float(r["base"]) / UNIT + reads
    reached = min(level_of(bits), LEVELS - 1)
    if reached <= r["level"]:
        return 0.0
    if learns:
        for step in range(np.int64(r["level"]) + 1, reached + 1):
            survival[kind, k, step] += 1
    r["level"] = reached
    return bits


@inline
def _found(
    o: Array, event: int, now: int, slot: int, kind: int, k: int, feature: int, bits: float, x: float, usual: float
) -> None:  # fmt: skip
    o["event"] = event
    o["time"] = now
    o["slot"] = slot
    o["kind"] = kind
    o["klass"] = k
    o["horizon"] = HOURLY if feature == WOKEN else DAILY
    o["feature"] = feature
    o["bits"] = np.float32(bits)
    o["observed"] = x
    o["expected"] = usual


@kernel
def _follow(
    lives: Array, keys: Array, networks: Array, clients: Array, touch_account: Array, touch_credential: Array,
    touch_network: Array, touch_client: Array, h_network: Array, h_client: Array, succeeded: Array, reads: Array,
    records: Array, learn: Array, time: Array, klass: Array, began: int, paces: Array, active: Array, wakes: Array,
    days: Array, moved: Array, law: Array, fleet: Array, wanted: Array, survival: Array, mark: Any,
    marks: Array, trials: Array, counts: Array, out: Array,
) -> int:  # fmt: skip
    """Follow each account and machine's key through its silences; findings written, arrivals to `trials`."""
    found = 0
    n = touch_account.shape[0]
    for i in range(n):
        if i + AHEAD < n:
            prefetch(lives, touch_account[i + AHEAD]["slot"])
        a = touch_account[i]
        if a["slot"] <= 0 or not succeeded[i]:
            continue
        r = lives[a["slot"]]
        now = time[i] // 1000
        seen = np.int64(r["seen"])
        k = klass[i]
        machine = k >= SERVICE
        learns = learn[i] == 1 and not a["suspect"]
        teaches = learns and time[i] >= began + TEACHES_FROM_MS
        judged = time[i] >= began + JUDGES_FROM_MS
        opens = now // 3600 != seen // 3600
        place = place_of(h_network[i], h_client[i])
        pattern = elsewhere(r, place) if seen > 0 and (place != r["here"]) else 0
        hours = np.float64(a["active"][0])
        woke = 0.0
        if opens:
            if seen > 0 and learns:
                learn_hour(r, hours, law[k])
            r["records"] = np.float32(0.0)
            if r["awake"] > 0:
                r["awake"] -= 1
            if now // 86_400 != seen // 86_400:
                survival[ACCOUNT, k, 0] += 1
                if seen > 0:
                    r["days"] = min(r["days"] + 1, 65_000)
                    gap_d = (now - seen) / 86_400.0
                    woke = gap_bits(np.float64(r["days"]), a["age_h"] / 24.0 - gap_d, gap_d, pace_of(paces[0, k]))
                    if woke > 0.0:
                        base = woken(active[0, k], wakes[0, k], days[k], moved[k], pattern, machine)
                        r["base"], r["level"], r["awake"] = np.uint16(min(base, 60.0) * UNIT), 0, AWAKE_HOURS
                        rare = woken(active[0, k], wakes[0, k], days[k], moved[k], 0, machine)
                        if judged and rare >= wanted[0, k] - ADDED_BITS:
                            usual = (a["age_h"] / 24.0 - gap_d) / r["days"]
                            _found(out[found], i, time[i], a["slot"], ACCOUNT, k, RETURNED, rare, gap_d, usual)
                            found += 1
                            marks[i] |= mark
                    if learns:
                        paces[0, k, 0] += gap_d
                        paces[0, k, 1] += 1.0
                    if teaches:
                        active[0, k] += 1.0
                        days[k, pattern] += 1.0
                        if woke > 0.0:
                            wakes[0, k] += 1.0
                            moved[k, pattern] += 1.0
            if time[i] >= began + CROWDS_FROM_MS:
                hit = 1.0 if woke > 0.0 else 0.0
                arrive(fleet, time[i], hit)
                for crowd in range(2):
                    other = touch_network[i] if crowd == 0 else touch_client[i]
                    w = trials[crowd, counts[crowd]]
                    w["time"] = time[i]
                    w["event"] = i
                    w["slot"] = other["slot"]
                    w["hit"] = woke > 0.0
                    w["suspect"] = other["suspect"]
                    w["excuse"] = np.float32(0.0)
                    if other["slot"] >= 0:
                        there = networks[other["slot"]] if crowd == 0 else clients[other["slot"]]
                        share = excuse(fleet, there, time[i], hit)
                        w["excuse"] = np.float32(share)
                        if share < 0.0:
                            w["slot"] = -1
                    counts[crowd] += 1
        if reads[i]:
            r["records"] += np.float32(records[i])
            if r["awake"] > 0:
                x = np.float64(r["records"])
                more = read_bits(x, r["usual"] / UNIT, hours, law[k])
                bits = _score(r, more, survival, ACCOUNT, k, learns) if judged else 0.0
                if bits >= wanted[0, k] + NEAR_MISS_BITS and bits > 0.0:
                    usual = math.exp(r["usual"] / UNIT) - 1.0
                    _found(out[found], i, time[i], a["slot"], ACCOUNT, k, WOKEN, bits, x, usual)
                    found += 1
                if r["base"] / UNIT + more >= wanted[0, k]:
                    marks[i] |= mark
        c = touch_credential[i]
        if machine and c["slot"] > 0:
            key = keys[c["slot"]]
            if c["opens"][0]:
                key["records"] = np.float32(0.0)
                if key["awake"] > 0:
                    key["awake"] -= 1
            if c["opens"][1]:
                survival[CREDENTIAL, k, 0] += 1
                gap_d = np.float64(time[i] - c["before"]) / DAY_MS
                life_d = c["age_h"] / 24.0 - gap_d
                silent = gap_bits(np.float64(c["active"][1]), life_d, gap_d, pace_of(paces[1, k]))
                if learns and not c["fresh"]:
                    paces[1, k, 0] += gap_d
                    paces[1, k, 1] += 1.0
                if silent > 0.0 and r["awake"] == 0:  # its account was not silent
                    base = woken(active[1, k], wakes[1, k], days[k], moved[k], pattern, machine)
                    key["base"], key["level"], key["awake"] = np.uint16(min(base, 60.0) * UNIT), 0, AWAKE_HOURS
                    rare = woken(active[1, k], wakes[1, k], days[k], moved[k], 0, machine)
                    if judged and rare >= wanted[1, k] - ADDED_BITS:
                        usual = life_d / max(c["active"][1], 1.0)
                        _found(out[found], i, time[i], c["slot"], CREDENTIAL, k, RETURNED, rare, gap_d, usual)
                        found += 1
                        marks[i] |= mark
                if teaches:
                    active[1, k] += 1.0
                    if silent > 0.0:
                        wakes[1, k] += 1.0
            if reads[i]:
                key["records"] += np.float32(records[i])
                if key["awake"] > 0:
                    x = np.float64(key["records"])
                    more = read_bits(x, r["usual"] / UNIT, hours, law[k])
                    bits = _score(key, more, survival, CREDENTIAL, k, learns) if judged else 0.0
                    if bits >= wanted[1, k] + NEAR_MISS_BITS and bits > 0.0:
                        usual = math.exp(r["usual"] / UNIT) - 1.0
                        _found(out[found], i, time[i], c["slot"], CREDENTIAL, k, WOKEN, bits, x, usual)
                        found += 1
                    if key["base"] / UNIT + more >= wanted[1, k]:
                        marks[i] |= mark
        if seen == 0:
            r["before"] = place
            r["here"] = place
        elif place != r["here"]:
            r["before"] = r["here"]
            r["here"] = place
        r["seen"] = now
    return found


class Dormant(ShareDetector):
    """`dormant`: accounts and keys that wake up and read, and places where many wake up."""

    id = "dormant"
    title = "Silent for long, and now reading: {kind} {value}"
    weight = 1
    aspect = "place"
    cause: Mapping[str, str] = {}
    techniques = ("T1078", "T1078.004")
    features = (
        Feature(
            "woken", "records", "woke up after a long silence and read {observed} records, where {expected} are usual"
        ),
        Feature(
            "wake_ups", "accounts",
            "{observed} accounts that were silent for long came back in {window}, where {expected} are usual",
        ),
        Feature("returned", "days", "came back after {observed} days, where one in {expected} days is usual"),
    )  # fmt: skip
    kinds = ("account", "credential", *CROWDS)
    columns: Mapping[str, np.dtype[Any]] = {"account": LIFE, "credential": KEY, **dict.fromkeys(CROWDS, CROWD)}

    def __init__(self, offset_bits: float) -> None:
        super().__init__(offset_bits)
        self._began = np.zeros(2, np.int64)  # ms, of the stream; the current day
        self._paces = np.zeros((2, CLASSES, 2))  # of accounts and of keys, as `pace_of` takes them
        self._active = np.zeros((2, CLASSES))  # N, of accounts and of keys
        self._wakes = np.zeros((2, CLASSES))  # W
        self._days = np.zeros((CLASSES, 4))  # active days by what of their place was new
        self._moved = np.zeros((CLASSES, 4))  # wake-ups by it
        self._law = np.zeros((CLASSES, 3))  # active hours: how many, mean and variance within of ln(1 + records)
        self._fleet = np.zeros((3, 2))  # arrivals and wake-ups of an hour, of a week; when
        self._wanted = np.full((2, CLASSES), np.inf)  # raw bits from which a finding is worth reporting
        self.state.update(
            began=self._began, paces=self._paces, active=self._active, wakes=self._wakes, usual_moved=self._days,
            moved=self._moved, law=self._law, fleet=self._fleet, wanted=self._wanted,
        )  # fmt: skip

    def observe(self, frame: Frame, columns: Mapping[str, Array], bit: int) -> list[Array]:
        """Follow accounts and keys through their silences, then the places where they wake up; FINDING rows."""
        if self._began[0] == 0 and len(frame):
            self._began[0] = frame.time[0]
        touch = frame.touch
        trials = np.empty((len(CROWDS), len(frame)), TRIAL)
        counts = np.zeros(len(CROWDS), np.int64)
        out = np.empty(4 * len(frame), FINDING)
        found = _follow(
            columns["account"], columns["credential"], columns["network"], columns["client"], touch["account"],
            touch["credential"], touch["network"], touch["client"], frame.hashes["network"], frame.hashes["client"],
            frame.succeeded, frame.reads, frame.records, frame.learn, frame.time, frame.klass, int(self._began[0]),
            self._paces, self._active, self._wakes, self._days, self._moved, self._law, self._fleet,
            self._wanted, self._survival.today[:, :, 0, 0], np.uint16(1 << bit), frame.marks, trials, counts, out,
        )  # fmt: skip
        crowds = [
            self.settle(kind, columns[kind], trials[c, : counts[c]], 1, bit, frame.marks)
            for c, kind in enumerate(CROWDS)
        ]
        return [out[:found], *(crowd[crowd["observed"] >= CROWD_MIN] for crowd in crowds if len(crowd))]

    def tick(self, now_ms: int, columns: Mapping[str, Array]) -> list[Array]:
        """Hourly: upkeep, and from which bits on a finding is worth reporting; daily: fade."""
        if now_ms // HOUR_MS != self._hour[0]:
            self.upkeep(now_ms)
            for n, number in enumerate((ACCOUNT, CREDENTIAL)):
                per_day = [self._survival.per_day((number, k, 0, 0)) for k in range(CLASSES)]
                self._wanted[n] = self._offset_bits + np.log2(np.maximum(per_day, 1.0))
            if now_ms // DAY_MS != self._began[1]:
                self._began[1] = now_ms // DAY_MS
                for memory in (self._active, self._wakes, self._days, self._moved, self._paces):
                    np.multiply(memory, FADE, out=memory)
        return []

    def bits(self, finding: Any) -> tuple[float, float]:
        """Of a wake-up, its raw bits, but no more than was seen; of a place, calibrated. And how many tests a day."""
        if int(finding["kind"]) not in (ACCOUNT, CREDENTIAL):
            return super().bits(finding)
        family = int(finding["kind"]), int(finding["klass"]), 0, 0
        counts = self._survival.counts[family]
        raw = float(finding["bits"])
        reached = counts[min(level_of(raw), LEVELS - 1)]
        seen = math.log2(counts[0] / reached) if reached > 0.0 else raw
        return min(raw, seen), self._survival.per_day(family)

    def measures(self, kind: str) -> int:
        """Wake-ups at a place; of who acts, what it reads and that it is back."""
        return 1 if kind in CROWDS else 2
