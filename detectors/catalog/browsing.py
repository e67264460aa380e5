"""Browsing: whose data an account looks at as no work of its needs it.

A *visit* is what an account does with one person's data within two hours of the first event. Who works on a case leaves
more than a read behind: something is written down, another page is opened.
Who looks around, or lets a program read person after person, does not.

Statistic: each visit with a read is a trial of two kinds, *idle* (nothing was written, deleted or changed) and *bare*
(one page and no other). Against the account's own share q of 28 days, shrunk to its group's and that to its class's, a
standard error above, and as much higher as the rest of its group is these hours beyond a standard error of theirs,

    M <- max(M, 1) (q1 / q on a hit, (1 - q1) / (1 - q) else),   q1 / (1 - q1) = theta q / (1 - q),   theta = 2, 6, 20

summed up as CUSUMs of e-values, the mean over theta (Shin, Ramdas and Rinaldo, "E-detectors", 2023): while hits are no
more frequent than q, b bits come by chance at most once in 2^b visits. Visits of a day resemble each other, so M is
calibrated by `detectors.baselines.calibration`, and no more is told than M itself. Source of the idea: Fabbri and
LeFevre, "Explanation-based auditing" (2011), who ask of each access in a hospital what explains it.
Entities: account, of employees, partners and where no kind is told. Units: people.
Memory: 56 bytes an account, 40 a visit of the latest two hours, of which there are at most 262,144; 28 kB of groups.
Cold start: peers stand in for history: a newcomer is judged by its group, a group by its class, each from the first
visit on, once its class has shown 300.
Evasion: writing a note on everyone who is read, and opening a second page; looking at few among many cases of one's
own. Of whom 30 visits are known, a tenth is learned while there is doubt, from 3 bits on.
Misses: work that leaves no trace in the log (then everything is idle, and that says nothing); machines that always read
one page.
ATT&CK: T1213 Data from Information Repositories, T1119 Automated Collection, T1078 Valid Accounts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from detectors.base import CLASSES, FINDING, KINDS, Array, Columns, Feature, Frame
from detectors.baselines.calibrated import NEAR_LEVELS, Calibrated
from detectors.baselines.calibration import LEVELS
from detectors.baselines.visits import TEAMS, VISIT_MS, Visits
from detectors.kernels import LN2, inline, kernel, level_of

IDLE, BARE = 0, 1
THETAS: Final = np.array([2.0, 6.0, 20.0])  # odds ratios that are looked for
RECENT_S: Final = 43_200.0
LONG_S: Final = 28 * 86_400.0
DAY_S: Final = 86_400
PRIOR: Final = 10.0  # visits of its group's share that an account begins with
GROUP_PRIOR: Final = 30.0
CERTAIN: Final = 64.0  # visits of one account that are worth as many; more of them resemble each other
CLASS_MIN: Final = 300.0
CLASS_VISITS: Final = 50_000.0  # that a class remembers
REST_MIN: Final = 5.0  # recent visits of a group's others, before they say what is common
COMMON_MAX: Final = 0.1  # where more is common to its group, an account is not in doubt
HITS_MIN: Final = 10  # fewer people are not worth a word
KNOWN_MIN: Final = 30.0  # visits of its own, from which on an account that is in doubt learns less
DOUBT_BITS: Final = 3.0
DOUBT_WEIGHT: Final = 0.1
LOG_MAX: Final = 63.0  # of ln M
UNIT: Final = 1024.0
ACCOUNT: Final = KINDS.index("account")

# visits, idle ones, bare ones: decayed over twelve hours and over 28 days
_SHARES: Final = (("seen", np.uint32), ("recent", np.float32, (3,)), ("long", np.float32, (3,)))
LOOKER: Final = np.dtype(
    [
        *_SHARES,
        ("log", np.uint16, (2, len(THETAS))),  # ln M, in 1/1024
        ("due", np.float32, (2,)), ("hits", np.uint16, (2,)),  # since M was last 1: hits to expect, and there were
        ("level", np.uint8, (2,)),
    ],
    align=True,
)  # fmt: skip
TEAM: Final = np.dtype([*_SHARES], align=True)


@kernel
def _mark(lookers: Array, touch: Array, klass: Array, gate: Array, mark: Any, marks: Array) -> None:
    """Mark the events of who is nearly told of, so that an alert has some to show."""
    for i in range(touch.shape[0]):
        slot = touch[i]["slot"]
        for f in range(2 if slot > 0 else 0):
            if lookers[slot]["level"][f] > 0 and lookers[slot]["level"][f] + NEAR_LEVELS >= gate[klass[i], f]:
                marks[i] |= mark


@inline
def _fade(recent: Array, long: Array, gap_s: float) -> None:
    for j in range(3):
        recent[j] *= np.float32(math.exp(-gap_s / RECENT_S))
        long[j] *= np.float32(math.exp(-gap_s / LONG_S))


@inline
def _expected(r: Array, team: Array, grouped: bool, population: Array, f: int) -> tuple[float, float]:
    """The share of visits that are hits of kind f, at most to be expected now, and what the group's hours add to it."""
    share = (population[1 + f] + 0.5) / (population[0] + 1.0)
    common = 0.0
    if grouped:
        share = (team["long"][1 + f] + GROUP_PRIOR * share) / (team["long"][0] + GROUP_PRIOR)
        rest, usual = np.float64(team["recent"][0] - r["recent"][0]), np.float64(team["long"][0] - r["long"][0])
        if rest >= REST_MIN and usual >= REST_MIN:
            now = np.float64(team["recent"][1 + f] - r["recent"][1 + f]) / rest
            then = min(max(np.float64(team["long"][1 + f] - r["long"][1 + f]) / usual, 0.01), 0.99)
            common = max(now - then - math.sqrt(then * (1.0 - then) / rest), 0.0)
    n = np.float64(r["long"][0])
    own = min(max((np.float64(r["long"][1 + f]) + PRIOR * share) / (n + PRIOR), 0.01), 1.0)
    error = math.sqrt(own * (1.0 - own) / (min(n, CERTAIN) + PRIOR))
    return min(own + error + common, 1.0), common  # who does nothing else can do no more of it


@inline
def _bits(r: Array, f: int) -> float:
    """log2 of the mean over the odds ratios of M, or of 1 where that is more."""
    total = 0.0
    for j in range(len(THETAS)):
        total += math.exp(r["log"][f, j] / UNIT)
    return math.log(total / len(THETAS)) / LN2


@inline
def _grow(r: Array, f: int, q: float, hit: bool) -> None:
    for j in range(len(THETAS)):
        total = 1.0 - q + THETAS[j] * q  # of odds that are theta times as high, over those that are not
        step = -math.log(total) + (math.log(THETAS[j]) if hit else 0.0)
        r["log"][f, j] = np.uint16(min(max(r["log"][f, j] / UNIT + step, 0.0), LOG_MAX) * UNIT + 0.5)


@kernel
def _settle(
    visits: Array, lookers: Array, teams: Array, classes: Array, survival: Array, gate: Array, out: Array
) -> int:
    """Judge, then learn, visits that are over; findings written."""
    found = 0
    for i in range(visits.shape[0]):
        v = visits[i]
        if not v["read"]:
            continue
        now_s = v["time"] // 1000
        k = v["klass"]
        r = lookers[v["slot"]]
        grouped = v["team"] >= 0
        team = teams[max(v["team"], 0)]
        opens = now_s // DAY_S != np.int64(r["seen"]) // DAY_S
        _fade(r["recent"], r["long"], np.float64(now_s - np.int64(r["seen"])))
        r["seen"] = now_s
        if grouped:
            _fade(team["recent"], team["long"], np.float64(now_s - np.int64(team["seen"])))
            team["seen"] = now_s
        judged = classes[k, 0] >= CLASS_MIN
        doubt = v["suspect"] != 0
        for f in range(2):
            hit = v["worked"] == 0 if f == IDLE else v["further"] == 0
            if opens:
                r["level"][f] = min(r["level"][f], level_of(_bits(r, f)))  # what is left of it is no news
                if not v["suspect"] and judged:
                    survival[k, 0, f, 0] += 1
            if not judged:
                continue
            q, common = _expected(r, team, grouped, classes[k], f)
            _grow(r, f, q, hit)
            bits = _bits(r, f)
            doubt |= bits >= DOUBT_BITS and common <= COMMON_MAX
            reached = min(level_of(bits), LEVELS - 1)
            r["due"][f] = r["due"][f] + np.float32(q) if bits > 0.0 else np.float32(0.0)
            r["hits"][f] = min(r["hits"][f] + hit, 65_000) if bits > 0.0 else 0
            rose = reached > r["level"][f]
            if rose:
                if not v["suspect"]:
                    for step in range(np.int64(r["level"][f]) + 1, reached + 1):
                        survival[k, 0, f, step] += 1
                r["level"][f] = reached
            told = rose or (hit and r["hits"][f] == HITS_MIN)
            if told and r["hits"][f] >= HITS_MIN and reached >= gate[k, 0, f]:
                o = out[found]
                o["event"] = -1
                o["time"] = v["time"] + VISIT_MS
                o["slot"] = v["slot"]
                o["kind"] = ACCOUNT
                o["klass"] = k
                o["horizon"] = 1
                o["feature"] = f
                o["bits"] = np.float32(bits)
                o["observed"] = r["hits"][f]
                o["expected"] = r["due"][f]
                found += 1
        known = r["long"][0] >= KNOWN_MIN  # before, doubt of an account is doubt of what it is taken for
        weight = DOUBT_WEIGHT if doubt and (known or v["suspect"]) else 1.0
        keep = min(1.0, CLASS_VISITS / (classes[k, 0] + 1.0))
        for j in range(3):
            classes[k, j] *= keep
            x = 1.0
            if j > 0 and (v["worked"] if j == 1 + IDLE else v["further"]):
                x = 0.0
            r["recent"][j] += np.float32(x)
            r["long"][j] += np.float32(weight * x)
            classes[k, j] += weight * x
            if grouped:
                team["recent"][j] += np.float32(x)
                team["long"][j] += np.float32((DOUBT_WEIGHT if v["suspect"] else 1.0) * x)
    return found


class Browsing(Calibrated):
    """`browsing`: accounts that look at people without the traces that work leaves."""

    id = "browsing"
    title = "Looks at people without working on them: {kind} {value}"
    weight = 1
    aspect = "purpose"
    cause: Mapping[str, str] = {}
    capped = True
    techniques: tuple[str, ...] = ("T1213", "T1119", "T1078")
    features: tuple[Feature, ...] = (
        Feature(
            "idle", "people",
            "for days, looked at {observed} people with nothing written or changed, where {expected} are usual",
        ),
        Feature(
            "bare", "people",
            "for days, opened one page of {observed} people and no other, where {expected} are usual",
        ),
    )  # fmt: skip
    kinds: tuple[str, ...] = ("account",)
    columns: Mapping[str, np.dtype[Any]] = {"account": LOOKER}

    def __init__(self, offset_bits: float) -> None:
        super().__init__(offset_bits, features=2)
        self._classes = np.zeros((CLASSES, 3))  # visits, idle and bare ones
        self._teams = np.zeros(TEAMS, TEAM)
        self._visits = Visits()
        self.state.update(classes=self._classes, teams=self._teams, browsing_hour=self._hour)

    @property
    def overflowed(self) -> int:
        """Visits that found no room."""
        return self._visits.overflowed

    def observe(self, frame: Frame, columns: Mapping[str, Array], bit: int) -> list[Array]:
        """Add the events to their visits, which are judged when they are over."""
        self._visits.add(frame)
        gate = self._survival.gate[ACCOUNT, :, 0]
        _mark(columns["account"], frame.touch["account"], frame.klass, gate, np.uint16(1 << bit), frame.marks)
        return []

    def tick(self, now_ms: int, columns: Mapping[str, Array]) -> list[Array]:
        """Judge the visits that are over; FINDING rows."""
        self.upkeep(now_ms)
        over = self._visits.over(now_ms)
        out = np.zeros(2 * len(over), FINDING)
        found = _settle(
            over, columns["account"], self._teams, self._classes, self._survival.today[ACCOUNT],
            self._survival.gate[ACCOUNT], out,
        )  # fmt: skip
        return [out[:found]]

    def save(self) -> Columns:
        """Shares of the classes, survival counts, and the visits that go on."""
        return {**super().save(), "visits": self._visits.save()}

    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from what `save` gave; ValueError where that looks up what is not there."""
        self._visits.load(state["visits"])
        super().load(state)

    def held_slots(self) -> Columns:
        """The slots of visits that go on: what is loaded must lie within the table."""
        return {"account": self._visits.save()["slot"]}
