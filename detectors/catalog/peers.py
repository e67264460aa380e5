"""Peers: an employee who works unlike everybody of their group, in a combination that no single figure shows.

An hour of an employee is a vector of requests, records, bytes, distinct subjects, resources and networks, and failures,
each y = ln(1 + count), told as u = 1 / (1 + e^-(y - c) / s): c is the median of those of the group who work in the same
hour, eight or more, so that a busy hour accuses no one; else, with s, what the group's last 500 vectors were. The
group's half-space trees (`detectors.models.half_space`) say how empty it is around u.

Statistic: by rank among the group's last n <= 512 scores, of which every member's are a part, ties against it,

    p = (1 + how many are as high) / (n + 1);   log2 e = -log2(p) / 2 - 1
    S <- max(0, e^(-dt / 3 d) S + log2 e - max(m, 0)),   m the account's mean of log2 e over 100 hours and eight of 0

Where hours can be exchanged p is uniform or larger and e, its calibrator p^-(1/2) / 2, has a mean of at most one: S is
the CUSUM of an e-process, so b bits come by chance at most once in 2^b hours, and no hour has more than the sample is
worth, (log2 513) / 2 - 1 = 3.5 bits. m takes out what sets a specialist apart every day. Because hours of a day are not
independent, S is calibrated by `detectors.baselines.calibration`, and no more is told than S itself.
Sources: Tan, Ting and Liu (2011) for the trees; Vovk and Wang, "E-values" (2021) for the calibrator; Laxhammar and
Falkman, "Conformal prediction for distribution-independent anomaly detection" (2010) for ranks.
Entities: account, of employees with a group. Unit: hours.
Memory: 2 bytes an account, 80 an employee (16,383 of them), 18 kB a group (64 of them), in memory 1 MB more.
Cold start: a group is judged after 768 of its hours, a new member of it at once: peers stand in for history.
Evasion: being as busy as the group's busiest, or unlike the others by a little every day; getting into a group whose
work looks like theft. Misses: groups of one or two, who are half of their own sample; theft that is over within two
hours (`volume`); accounts without a group, and of groups beyond the first 64.
ATT&CK: T1078 Valid Accounts, T1213 Data from Information Repositories, T1119 Automated Collection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.base import DAY_MS, EMPLOYEE, FINDING, HOUR_MS, KINDS, Array, Columns, Feature, Frame
from detectors.baselines.calibrated import NEAR_LEVELS, Calibrated
from detectors.baselines.calibration import LEVELS
from detectors.kernels import inline, kernel, level_of
from detectors.models.half_space import MASS, NODES, TREES, Forest

STAFF: Final = 16_384  # rows; row 0 is nobody's
GROUPS: Final = 64
SCORES: Final = 512
OWN_MIN: Final = 64  # scores, from which on m is learned; evidence needs SCORES
VECTORS: Final = 500.0  # that means and scatter remember
LEARNED_MAX: Final = 256  # vectors of a group in an hour
TOGETHER_MIN: Final = 8
SPREAD_MIN: Final = 0.25
OWN_HOURS: Final = 100.0
PRIOR_HOURS: Final = 8.0  # of m, in which nothing sets an account apart
ODD: Final = 0.05
FADE_S: Final = 3 * 86_400.0
FORGET_S: Final = 28 * 86_400
BITS_MAX: Final = 200.0
DOUBT_BITS: Final = 6.0  # of S, from which on an account teaches its group a tenth
ACCOUNT: Final = KINDS.index("account")
FAMILY: Final = (ACCOUNT, EMPLOYEE, 0, 0)

PLACE: Final = np.dtype([("row", np.uint16)])
MEMBER: Final = np.dtype(
    [
        ("name", np.uint64),  # hash of the group
        ("subjects", np.uint64), ("resources", np.uint64), ("networks", np.uint64),  # one bit each, by hash
        ("requests", np.float32), ("records", np.float32), ("bytes", np.float32), ("failures", np.float32),
        ("slot", np.int32), ("seen", np.uint32),  # s, its latest hour
        ("bits", np.float32), ("own", np.float32),  # S, m
        ("hours", np.uint16), ("run", np.uint16), ("odd", np.uint16),  # of its life; since S was 0, unlike its peers
        ("group", np.uint8), ("level", np.uint8), ("lit", np.uint8), ("suspect", np.uint8),
    ],
    align=True,
)  # fmt: skip
COUNTS: Final = ("requests", "records", "bytes", "failures")
KINDS_SEEN: Final = ("subjects", "resources", "networks")
SIZE: Final = len(COUNTS) + len(KINDS_SEEN)
GROUP: Final = np.dtype(
    [
        ("name", np.uint64), ("learned", np.int64), ("seen", np.int64),  # vectors; the latest hour, s
        ("mean", np.float64, (SIZE,)), ("var", np.float64, (SIZE,)),
        ("scores", np.float32, (SCORES,)), ("scored", np.int64),
        ("mass", MASS, (TREES, NODES)),
    ],
    align=True,
)  # fmt: skip


@inline
def _bit(h: Any) -> Any:
    return np.uint64(1) << (h >> np.uint64(58)) if h != np.uint64(0) else np.uint64(0)


@kernel
def _gather(
    places: Array, touch: Array, staff: Array, free: Array, left: Array, klass: Array, learn: Array, group: Array,
    subject: Array, resource: Array, network: Array, thing: Array, succeeded: Array, reads: Array, records: Array,
    taken: Array, mark: Any, marks: Array,
) -> None:  # fmt: skip
    """Add the events to their employees' hours. left: how many rows are free, how often there was none."""
    for i in range(klass.shape[0]):
        if klass[i] != EMPLOYEE or group[i] == np.uint64(0) or learn[i] == 0 or touch[i]["slot"] <= 0:
            continue
        slot = touch[i]["slot"]
        row = places[slot]["row"]
        if row == 0:
            if left[0] == 0:
                left[1] += 1
                continue
            left[0] -= 1
            row = free[left[0]]
            places[slot]["row"] = row
            staff[row]["slot"] = slot
        r = staff[row]
        if r["name"] != group[i]:  # a new member begins as its peers do
            r["name"] = group[i]
            r["bits"] = r["own"] = np.float32(0.0)
            r["group"] = r["hours"] = r["run"] = r["odd"] = r["level"] = r["lit"] = 0
        r["suspect"] = touch[i]["suspect"]
        r["requests"] += np.float32(1.0)
        r["resources"] |= _bit(resource[i])
        r["networks"] |= _bit(network[i])
        if not succeeded[i]:
            r["failures"] += np.float32(1.0)
        if reads[i]:
            r["records"] += np.float32(records[i])
            r["bytes"] += np.float32(taken[i])
            r["subjects"] |= _bit(subject[i] if subject[i] != np.uint64(0) else thing[i])
        if r["lit"]:
            marks[i] |= mark


def worth(p: float) -> float:
    """log2 of the e-value p^(-1/2) / 2, whose mean over uniform p is one.

    >>> round(worth(1 / 513), 1), sum(2.0 ** worth(n / 512) for n in range(1, 513)) / 512 <= 1.0
    (3.5, True)
    """
    return -0.5 * math.log2(p) - 1.0


class Peers(Calibrated):
    """`peers`: employees against their group, hour by hour."""

    id = "peers"
    title = "Works unlike all of its group: {kind} {value}"
    weight = 1
    aspect = "amount"  # what it sees is what `volume` and `fan_out` see, of the same hours
    cause: Mapping[str, str] = {}
    capped = True
    techniques: tuple[str, ...] = ("T1078", "T1213", "T1119")
    features: tuple[Feature, ...] = (
        Feature(
            "odd_hours", "hours", "{observed} hours unlike nearly all of its group's, where {expected} are usual"
        ),
    )  # fmt: skip
    kinds: tuple[str, ...] = ("account",)
    columns: Mapping[str, np.dtype[Any]] = {"account": PLACE}

    def __init__(self, offset_bits: float) -> None:
        super().__init__(offset_bits)
        self._staff = np.zeros(STAFF, MEMBER)
        self._groups = np.zeros(GROUPS + 1, GROUP)
        self._free = np.zeros(STAFF, np.uint16)  # a stack
        self._free[:-1] = np.arange(STAFF - 1, 0, -1)
        self._left = np.array([STAFF - 1, 0], np.int64)
        self._clock = np.zeros(2, np.int64)  # hour, day
        self._forests: dict[int, Forest] = {}
        self.state.update(
            staff=self._staff, groups=self._groups, free=self._free, left=self._left, peers_clock=self._clock
        )

    @property
    def overflowed(self) -> int:
        """Events of employees for whom there was no row."""
        return int(self._left[1])

    def observe(self, frame: Frame, columns: Mapping[str, Array], bit: int) -> list[Array]:
        """Add the events to their hours; an hour is judged when it is over."""
        _gather(
            columns["account"], frame.touch["account"], self._staff, self._free, self._left, frame.klass, frame.learn,
            frame.hashes["group"], frame.hashes["subject"], frame.hashes["resource"], frame.hashes["network"],
            frame.hashes["object"], frame.succeeded, frame.reads, frame.records, frame.bytes, np.uint16(1 << bit),
            frame.marks,
        )  # fmt: skip
        return []

    def tick(self, now_ms: int, columns: Mapping[str, Array]) -> list[Array]:
        """Hourly: judge, then learn, the hour of everybody who worked in it; FINDING rows."""
        hour, day = now_ms // HOUR_MS, now_ms // DAY_MS
        if hour == self._clock[0]:
            return []
        self._survival.roll(now_ms)
        self._survival.refresh(now_ms, self._offset_bits)
        if day != self._clock[1]:
            self._forget(now_ms // 1000, columns["account"])
        self._clock[:] = hour, day
        working = np.flatnonzero(self._staff["requests"])
        owned = columns["account"]["row"][self._staff["slot"][working]] == working
        groups = self._staff["name"][working]
        found = [
            self._close(name, working[owned & (groups == name)], now_ms) for name in np.unique(groups[owned])
        ]  # fmt: skip
        for name in (*COUNTS, *KINDS_SEEN):
            self._staff[name][working] = 0
        return found

    def _close(self, name: Any, rows: npt.NDArray[np.intp], now_ms: int) -> Array:
        """The hour of one group, whose members that worked are `rows`."""
        now_s = now_ms // 1000
        at = self._place(name, now_s)
        if at == 0:
            return np.zeros(0, FINDING)
        forest = self._forests.get(at)
        group, members = self._groups[at : at + 1], self._staff[rows]
        if forest is None:
            forest = Forest(SIZE, int(group["learned"][0]), group["mass"][0])
            self._forests[at] = forest
        seen = np.column_stack([np.bitwise_count(members[each]).astype(np.float64) for each in KINDS_SEEN])
        distinct = -64.0 * np.log1p(-np.minimum(seen, 63.0) / 64.0)  # linear counting
        y = np.log1p(np.column_stack([*(members[each].astype(np.float64) for each in COUNTS), distinct]))
        centre = np.median(y, axis=0) if len(y) >= TOGETHER_MIN else group["mean"][0]
        scale = np.sqrt(np.maximum(group["var"][0], SPREAD_MIN**2))
        u = (1.0 / (1.0 + np.exp(np.clip((centre - y) / scale, -30.0, 30.0)))).tolist()
        out = np.zeros(0, FINDING)
        tells = forest.tells
        if tells:
            scores = np.array([forest.score(x) for x in u], np.float32)
            known = group["scores"][0][: min(int(group["scored"][0]), SCORES)]
            if len(known) >= OWN_MIN:
                p = (1.0 + len(known) - np.searchsorted(np.sort(known), scores)) / (len(known) + 1.0)
                out = self._judge(members, p, len(known) == SCORES, now_ms)
        doubted = (members["suspect"] != 0) | (members["bits"] >= DOUBT_BITS)
        for n in np.flatnonzero(~doubted | (members["hours"] % 10 == 0))[:LEARNED_MAX]:
            if tells:
                group["scores"][0, int(group["scored"][0]) % SCORES] = scores[n]
                group["scored"] += 1
            forest.learn(u[n])
            step = 1.0 / min(forest.learned, VECTORS)
            off = y[n] - group["mean"][0]
            group["mean"] += step * off
            group["var"] = (1.0 - step) * (group["var"] + step * off * off)
        group["learned"], group["mass"] = forest.learned, forest.masses()
        members["seen"] = now_s
        self._staff[rows] = members
        return out

    def _judge(self, members: Array, p: npt.NDArray[np.floating[Any]], judged: bool, now_ms: int) -> Array:
        """Take an hour's p into the evidence of each, where there is enough to judge by; FINDING rows."""
        gate, counts = int(self._survival.gate[FAMILY]), self._survival.today[FAMILY]
        told = []
        for n in range(len(members)):
            r = members[n]
            gap_s = now_ms // 1000 - int(r["seen"]) if r["seen"] else 0
            gained, own = worth(float(p[n])), max(float(r["own"]), 0.0)
            r["hours"] = min(int(r["hours"]) + 1, 65_000)
            r["own"] += (gained - r["own"]) / (min(float(r["hours"]), OWN_HOURS) + PRIOR_HOURS)
            if not judged:
                continue
            held = float(r["bits"]) * math.exp(-gap_s / FADE_S)
            if now_ms // DAY_MS != int(r["seen"]) * 1000 // DAY_MS:
                r["level"] = min(int(r["level"]), level_of(held))  # what is left of it is no news
                if not r["suspect"]:
                    counts[: int(r["level"]) + 1] += 1
            bits = min(max(held + gained - own, 0.0), BITS_MAX)
            r["run"] = min(int(r["run"]) + 1, 65_000) if bits > 0.0 else 0
            r["odd"] = min(int(r["odd"]) + int(p[n] <= ODD), 65_000) if bits > 0.0 else 0
            r["bits"] = bits
            reached = min(level_of(bits), LEVELS - 1)
            r["lit"] = reached + NEAR_LEVELS >= gate
            if reached > r["level"]:
                if not r["suspect"]:
                    counts[int(r["level"]) + 1 : reached + 1] += 1
                r["level"] = reached
                if reached >= gate:
                    told.append(n)
        out = np.zeros(len(told), FINDING)
        out["event"], out["time"], out["slot"], out["kind"] = -1, now_ms, members["slot"][told], ACCOUNT
        out["klass"], out["horizon"], out["bits"] = EMPLOYEE, 1, members["bits"][told]
        out["observed"], out["expected"] = members["odd"][told], ODD * members["run"][told]
        return out

    def _place(self, name: Any, now_s: int) -> int:
        """Where a group is, from now on; 0 where there is no room for one more."""
        known = np.flatnonzero(self._groups["name"] == name)
        at = int(known[0]) if len(known) else 0
        if at == 0:
            room = 1 + np.flatnonzero(self._groups["seen"][1:] < now_s - FORGET_S)
            if not len(room):
                return 0
            at = int(room[0])
            self._groups[at] = np.zeros((), GROUP)
            self._groups["name"][at] = name
            self._forests.pop(at, None)
        self._groups["seen"][at] = now_s
        return at

    def _forget(self, now_s: int, places: Array) -> None:
        """Daily: rows of accounts that were forgotten, or are gone, are free again."""
        taken = np.ones(STAFF, np.bool_)
        taken[self._free[: self._left[0]]] = taken[0] = False
        rows = np.flatnonzero(taken)
        slots, idle = self._staff["slot"][rows], now_s - self._staff["seen"][rows].astype(np.int64) > FORGET_S
        ours = places["row"][slots] == rows
        gone = (idle & (self._staff["requests"][rows] == 0)) | ~ours
        places["row"][slots[gone & ours]] = 0
        self._staff[rows[gone]] = np.zeros((), MEMBER)
        count = int(np.count_nonzero(gone))
        self._free[self._left[0] : self._left[0] + count] = rows[gone]
        self._left[0] += count

    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from what `save` gave; ValueError where that looks up what is not there."""
        if int(state["left"][0]) >= STAFF or int(state["free"].max(initial=0)) >= STAFF:
            raise ValueError("rows of employees beyond those that there are")
        super().load(state)
        self._forests.clear()

    def held_slots(self) -> Columns:
        """The slots of employees: what is loaded must lie within the table."""
        return {"account": self._staff["slot"]}
