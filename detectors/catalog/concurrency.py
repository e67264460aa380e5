"""Concurrency: one credential, or one account, used from two places at the same time.

A place is a network and a client. Phones roam, so that a session changes its network is common; that it goes back and
forth between two places that have neither in common is not. A *return* is an event at the place before the last one,
left at most ten minutes ago, whose network and client both differ; of machines, which do not roam, whose network does,
for who has stolen a key can call himself what the key's owner does. Two people hold the session, or one person has two
devices: two devices take turns as often as a thief and the owner do, so how often says little, and where says more.

Statistic: returns k, decayed over 20 minutes, against a Poisson rate mu an active hour of this account,

    raw bits = min((k ln(k / mu) - k + mu) / ln 2, 12),  mu = max((n m + 10 q) / (n + 10), 0.01)

(Chernoff's bound: Boucheron, Lugosi, Massart, "Concentration Inequalities", 2013, section 2.2), calibrated by
`detectors.baselines.calibration`, no rarer than once in all that was seen, and no rarer than it is among the hours of
the class that go to another network at all. By Fisher's method they are joined with how rare it is to go to a network
so strange to the account, `detectors.baselines.strangeness`. m is the account's mean over its last n active hours, at
most 168, of what would explain a return: of people, returns to another client (an app that calls itself two names; a
telephone beside a desk); of machines also those to another network (a new release on the hosts of a cluster). q is the
mean of m over its class. For a network or a client: the share of people's sessions that appear there while they are in
use at one place that has neither in common, `detectors.baselines.share`; min(mu, 1) excuses each.
Entities: credential, account (employees, services, partners: customers share theirs), network, client.
Unit: returns, sessions. Memory: 20 bytes a credential, 40 an account, 48 a network or client.
Cold start: machines, and accounts as such, are judged from their ninth active hour on and learn freely until then, so
a key that many hosts share is one from the start; later an hour teaches at most two deviations. People's sessions are
judged at once, as their class is. Evasion: using a session only while its owner does not, or from its owner's network
or with its client, or from a network that the owner's peers roam to; three places in turn; being there alone a day
before. Misses: who shares a session all the time already; credentials that the log does not name. A person who begins
to run a program of their own elsewhere is an alert until it is known.
ATT&CK: T1539 Steal Web Session Cookie, T1550.004 Web Session Cookie, T1078 Valid Accounts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from detectors.base import CLASSES, EMPLOYEE, FINDING, KINDS, SERVICE, Array, Feature, Frame
from detectors.baselines.calibrated import parts_by_place
from detectors.baselines.calibration import LEVELS, NOTHING
from detectors.baselines.places import APPEARS, BOTH, CLIENT, NETWORK, PLACE_FIELDS, RETURNS, STAYS, move_to, place_of
from detectors.baselines.share import SHARE, SHARE_FIELDS, SUSPECT_WEIGHT, TRIAL, ShareDetector
from detectors.baselines.strangeness import (
    FIRST_LEVEL,
    KNOWN_FIELDS,
    STRANGENESS,
    begin_day,
    count_hour,
    count_move,
    remember,
    strange_bits,
    strangeness,
    unknown_levels,
)  # fmt: skip
from detectors.fusion import fisher_bits
from detectors.kernels import AHEAD, LN2, inline, kernel, level_of, prefetch

RATE_LEAST: Final = 0.01  # returns an active hour; nobody is known better than that
DOUBLE_BITS: Final = 12.0  # one in 4,096 hours: two devices of one person are never taken to be rarer
PRIOR_HOURS: Final = 10.0
HOURS: Final = 168.0  # active ones that an account's mean remembers
CLASS_HOURS: Final = 100_000.0
WARM_HOURS: Final = 8.0
RETURNS_MAX: Final = 250  # counted in an hour
SESSION, PERSON = 0, 1  # the two habits of an account: within one credential, and across all of them
ACCOUNT, CREDENTIAL = KINDS.index("account"), KINDS.index("credential")
CROWDS: Final = ("network", "client")
CROWD_MIN: Final = 2.5  # decayed: fewer than three are no crowd

PLACES: Final = np.dtype([*PLACE_FIELDS], align=True)
NETWORKS: Final = np.dtype([*SHARE_FIELDS, ("strange", np.uint8)], align=True)
HABITS: Final = np.dtype(
    [("usual", np.float32, (2,)), *PLACE_FIELDS, ("hour", np.uint8, (2,)), *KNOWN_FIELDS], align=True
)


@inline
def _rate(home: Array, habit: int, hours: float, usual: float) -> float:
    """Returns to expect in an active hour; usual: of the class."""
    n = min(hours, HOURS)
    rate: float = max((n * home["usual"][habit] + PRIOR_HOURS * usual) / (n + PRIOR_HOURS), RATE_LEAST)
    return rate


@inline
def _bits(k: float, rate: float) -> float:
    return min((k * math.log(k / rate) - k + rate) / LN2, DOUBLE_BITS) if k > rate else 0.0


@inline
def _learn(home: Array, hours: float, weight: float, classes: Array, k: int) -> None:
    """Close an active hour of an account: what would explain returns, into its two habits and its class's."""
    for habit in range(2):
        x = float(home["hour"][habit])
        if hours > WARM_HOURS:
            rate = _rate(home, habit, hours, classes[k, habit, 1])
            x = min(x, rate + 2.0 * math.sqrt(rate) + 1.0)
        home["usual"][habit] += np.float32(weight * (x - home["usual"][habit]) / max(min(hours, HOURS), 1.0))
        if weight == 1.0:
            classes[k, habit, 0] = min(classes[k, habit, 0] + 1.0, CLASS_HOURS)
            classes[k, habit, 1] += (x - classes[k, habit, 1]) / classes[k, habit, 0]
        home["hour"][habit] = 0


@inline
def _judge(
    r: Array, home: Array, habit: int, kind: int, k: int, hours: float, moved: int, differs: int, opens: bool,
    teaches: bool, learns: bool, judged: Any, classes: Array, moves: Array, survival: Array,
) -> float:  # fmt: skip
    """An hour that begins or a move of credential or account `r`: raw bits where it reaches a new level, else 0."""
    explains = differs if k >= SERVICE else differs & CLIENT
    if moved == RETURNS and explains and teaches and home["hour"][habit] < RETURNS_MAX:
        home["hour"][habit] += 1
    if not judged:
        return 0.0
    rate = _rate(home, habit, hours, classes[k, habit, 1])
    if opens:
        if r["level"] > 0:  # what is left of the last hour's returns is no news
            r["level"] = min(r["level"], level_of(_bits(np.float64(r["returns"]), rate)))
        if learns:
            for step in range(r["level"] + 1):
                survival[kind, k, step] += 1
        r["strangest"] = 0
        if learns:
            count_hour(moves[k, habit])
    if differs & NETWORK:
        count_move(moves[k, habit], r, learns and teaches)
    if moved == RETURNS and (differs == BOTH or (k >= SERVICE and differs & NETWORK)):
        r["returns"] += np.float32(1.0)
        bits = _bits(np.float64(r["returns"]), rate)
        reached = min(level_of(bits), LEVELS - 1)
        if reached > r["level"]:
            if learns:
                for step in range(np.int64(r["level"]) + 1, reached + 1):
                    survival[kind, k, step] += 1
            r["level"] = reached
            return bits
    return 0.0


@inline
def _found(
    o: Array, event: int, now: int, slot: int, kind: int, klass: int, bits: float, k: float, rate: float
) -> None:
    o["event"] = event
    o["time"] = now
    o["slot"] = slot
    o["kind"] = kind
    o["klass"] = klass
    o["horizon"] = 0
    o["feature"] = 0
    o["bits"] = np.float32(bits)
    o["observed"] = k
    o["expected"] = rate


@kernel
def _follow(
    accounts: Array, credentials: Array, networks: Array, touch_account: Array, touch_credential: Array,
    touch_network: Array, touch_client: Array, h_network: Array, h_client: Array, succeeded: Array, learn: Array,
    time: Array, klass: Array, classes: Array, moves: Array, newcomer: Any, survival: Array, worth: Array, mark: Any,
    marks: Array, trials: Array, counts: Array, out: Array,
) -> int:  # fmt: skip
    """Follow each event's account and credential from place to place; findings written, arrivals to `trials`."""
    found = 0
    for i in range(touch_account.shape[0]):
        if i + AHEAD < touch_account.shape[0]:
            prefetch(accounts, touch_account[i + AHEAD]["slot"])
            prefetch(credentials, touch_credential[i + AHEAD]["slot"])
        a = touch_account[i]
        k = klass[i]
        machine = k >= SERVICE
        if a["slot"] <= 0 or not succeeded[i] or h_network[i] == 0 or (h_client[i] == 0 and not machine):
            continue
        place = place_of(h_network[i], h_client[i])
        home = accounts[a["slot"]]
        hours = np.float64(a["active"][0])
        warm = hours >= WARM_HOURS
        if a["opens"][1] and not a["suspect"]:
            begin_day(home)
        c = touch_credential[i]
        level = 0
        if a["fresh"] or home["here"] != place or (c["slot"] > 0 and credentials[c["slot"]]["here"] != place):
            n = touch_network[i]["slot"]
            counted = n > 0 and networks[n]["strange"] > 0
            unknown = networks[n]["strange"] if counted else newcomer
            level = strangeness(home, np.uint16(place >> 16), unknown)
        if a["opens"][0] and not a["fresh"]:
            _learn(home, hours, SUSPECT_WEIGHT if a["suspect"] else 1.0, classes, k)
        if c["slot"] > 0:
            r = credentials[c["slot"]]
            moved, differs = move_to(r, c["fresh"] == 1, time[i] // 1000 - c["before"] // 1000, place, level)
            r["returns"] *= c["decay"][0]
            if moved != STAYS or c["opens"][0]:
                bits = _judge(
                    r, home, SESSION, CREDENTIAL, k, hours, moved, differs, c["opens"][0] == 1, learn[i] == 1,
                    not c["suspect"], warm or not machine, classes, moves, survival,
                )  # fmt: skip
                strange = strange_bits(moves[k, SESSION], r)
                if bits > 0.0 and worth[SESSION, k, r["level"]] + strange >= 0.0:
                    rate = _rate(home, SESSION, hours, classes[k, SESSION, 1])
                    _found(out[found], i, time[i], c["slot"], CREDENTIAL, k, strange, r["returns"], rate)
                    found += 1
                if not machine and (moved == APPEARS or c["opens"][0]):
                    rate = _rate(home, SESSION, hours, classes[k, SESSION, 1])
                    for crowd in range(2):
                        other = touch_network[i] if crowd == 0 else touch_client[i]
                        w = trials[crowd, counts[crowd]]
                        w["time"] = time[i]
                        w["event"] = i
                        w["slot"] = other["slot"]
                        w["hit"] = moved == APPEARS and differs == BOTH
                        w["suspect"] = other["suspect"]
                        w["excuse"] = np.float32(min(rate, 1.0))
                        counts[crowd] += 1
            if r["level"] > 0 and worth[SESSION, k, r["level"]] + strange_bits(moves[k, SESSION], r) >= 0.0:
                marks[i] |= mark
        moved, differs = move_to(home, a["fresh"] == 1, time[i] // 1000 - a["before"] // 1000, place, level)
        home["returns"] *= a["decay"][0]
        if moved != STAYS or a["opens"][0]:
            bits = _judge(
                home, home, PERSON, ACCOUNT, k, hours, moved, differs, a["opens"][0] == 1, learn[i] == 1,
                not a["suspect"], warm and k >= EMPLOYEE, classes, moves, survival,
            )  # fmt: skip
            remember(home, np.uint16(place >> 16), a["fresh"] == 1)
            strange = strange_bits(moves[k, PERSON], home)
            if bits > 0.0 and worth[PERSON, k, home["level"]] + strange >= 0.0:
                rate = _rate(home, PERSON, hours, classes[k, PERSON, 1])
                _found(out[found], i, time[i], a["slot"], ACCOUNT, k, strange, home["returns"], rate)
                found += 1
        if home["level"] > 0 and worth[PERSON, k, home["level"]] + strange_bits(moves[k, PERSON], home) >= 0.0:
            marks[i] |= mark
    return found


class Concurrency(ShareDetector):
    """`concurrency`: credentials and accounts that go back and forth between places, and where such sessions arrive."""

    id = "concurrency"
    title = "Used from two places at the same time: {kind} {value}"
    weight = 1
    aspect = "place"
    cause: Mapping[str, str] = {}
    techniques = ("T1539", "T1550.004", "T1078")
    features = (
        Feature(
            "returns", "returns",
            "went back and forth {observed} times in {window} between two places, where {expected} an hour are usual",
        ),
        Feature(
            "arrivals", "sessions",
            "{observed} sessions appeared in {window} while they were in use elsewhere with another client, "
            "where {expected} are usual",
        ),
    )  # fmt: skip
    kinds = ("account", "credential", *CROWDS)
    columns: Mapping[str, np.dtype[Any]] = {
        "account": HABITS, "credential": PLACES, "network": NETWORKS, "client": SHARE,
    }  # fmt: skip

    def __init__(self, offset_bits: float) -> None:
        super().__init__(offset_bits)
        self._classes = np.zeros((CLASSES, 2, 2))  # of each class and habit: active hours, and the mean of one
        self._worth = np.full((2, CLASSES, LEVELS), NOTHING)  # calibrated bits by habit and level, less what is wanted
        self._moves = np.zeros((CLASSES, 2, STRANGENESS))  # hours that reached each level, of each class and habit
        self._moved = np.zeros((CLASSES, 2, 2))  # hours of each class and habit, and those that went elsewhere: hourly
        self._newcomer = np.full(1, FIRST_LEVEL, np.uint8)  # level of a network that came within the hour
        self.state.update(
            classes=self._classes, moves=self._moves, moved=self._moved, newcomer=self._newcomer, worth=self._worth,
        )  # fmt: skip

    def observe(self, frame: Frame, columns: Mapping[str, Array], bit: int) -> list[Array]:
        """Follow accounts and credentials from place to place, then the places where sessions arrive; FINDING rows."""
        touch = frame.touch
        trials = np.empty((len(CROWDS), len(frame)), TRIAL)
        counts = np.zeros(len(CROWDS), np.int64)
        out = np.empty(2 * len(frame), FINDING)
        found = _follow(
            columns["account"], columns["credential"], columns["network"], touch["account"], touch["credential"],
            touch["network"], touch["client"], frame.hashes["network"], frame.hashes["client"], frame.succeeded,
            frame.learn, frame.time, frame.klass, self._classes, self._moves, self._newcomer[0],
            self._survival.today[:, :, 0, 0], self._worth, np.uint16(1 << bit), frame.marks, trials, counts, out,
        )  # fmt: skip
        crowds = [
            self.settle(kind, columns[kind], trials[c, : counts[c]], 1, bit, frame.marks)
            for c, kind in enumerate(CROWDS)
        ]
        return [out[:found], *(crowd[crowd["observed"] >= CROWD_MIN] for crowd in crowds if len(crowd))]

    def tick(self, now_ms: int, columns: Mapping[str, Array]) -> list[Array]:
        """Nothing of places is due by the clock but its upkeep."""
        if self.upkeep(now_ms):
            networks = columns["network"]
            levels, self._newcomer[0] = unknown_levels(networks["long_trials"])
            networks["strange"] = np.where(networks["seen"] > 0, levels, 0)
            self._moved[...] = self._moves[..., :2]
            for habit, kind in ((SESSION, CREDENTIAL), (PERSON, ACCOUNT)):
                for k in range(CLASSES):
                    self._worth[habit, k] = self._survival.worth((kind, k, 0, 0), self._offset_bits)
        return []

    def bits(self, finding: Any) -> tuple[float, float]:
        """Of sessions and accounts the bits of double use and those of where; of crowds the base's."""
        if KINDS[int(finding["kind"])] in CROWDS:
            return super().bits(finding)
        kind, k = int(finding["kind"]), int(finding["klass"])
        family, raw = (kind, k, 0, 0), _bits(float(finding["observed"]), float(finding["expected"]))
        hours, moved = self._moved[k, SESSION if kind == CREDENTIAL else PERSON] + 1.0
        # Who is in two places has moved: where that is what moves mostly are, double use is no second surprise.
        given_move = (self._survival.share(family, raw) * hours + 1.0 / hours) / moved
        double = min(self._survival.seen_bits(family, raw), max(-math.log2(given_move), 0.0))
        return fisher_bits([double, float(finding["bits"])]), self._survival.per_day(family)

    def measures(self, kind: str) -> int:
        """Returns of who acts, arrivals at a place."""
        return 1

    def parts(self, kind: str, klass: int) -> float:
        """Larger where a machine is told of."""
        return parts_by_place(kind, klass)
