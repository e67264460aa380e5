"""First seen: an account where it never was or at an hour when it never worked, and crowds new to a place.

Remembers for each account the networks, clients, resources and countries it used, and of a machine the hosts (15-bit
fingerprints; a new one takes the last place and moves up as it is used again, so a burst of new ones does not push out
the old), and of an employee the hours of the day, and whether it works at week-ends. After a week of silence another
client is no novelty.

Statistic, for an account: the surprisal -log2 of how often an active hour of its class shows this pattern of novelty or
more (network, client, resource, country, host, hour, and a network that is new to everyone), less log2 of how much more
often than its peers this account shows any. For a network, client, issuer or what is read: the share of the accounts
arriving there whose network is new to them; within an hour by Chernoff's bound against its own share and its peers',
`detectors.baselines.share`, and over a day and a run of days, for crowds that come slowly, by that of
`detectors.baselines.daily_share`. Entities: account (services, whose networks hardly ever change, are a class of their
own), network, client, resource, issuer. Units: new places, accounts. Memory: 52 bytes an account, 72 bytes an entity of
the other kinds. Cold start: an account is judged from its fourth active hour on, its hours from its fortieth; a new
issuer or network is judged by its crowd, as its peers are; of the stream, the first two days teach. Evasion: working
from a network and client that the account already uses, at its hours; a stolen session replayed from home. Misses:
accounts that change place all the time, and a first visit of an account that was never seen before. ATT&CK: T1078 Valid
Accounts, T1550.001 Application Access Token, T1090 Proxy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from detectors.base import CLASSES, DAILY, DAY_MS, EMPLOYEE, FINDING, KINDS, SERVICE, WINDOWS_S, Array, Feature, Frame
from detectors.baselines.calibrated import parts_by_place
from detectors.baselines.calibration import LEVELS
from detectors.baselines.daily_share import SLOW_S, count, daily_share, trial, usual
from detectors.baselines.share import NOTHING, SHARE_FIELDS, SUSPECT_WEIGHT, TRIAL, YOUNG_MS, ShareDetector
from detectors.kernels import LN2, inline, kernel, level_of

NETWORK, CLIENT, RESOURCE, COUNTRY, NEW_TO_ALL, HOST, HOUR = (1 << bit for bit in range(7))
PATTERNS: Final = 128
WARM_HOURS: Final = 3.0
ROUTINE_HOURS: Final = 40.0  # a week's work, from which on a person is known to have hours
WEEKDAY, WEEKEND = 24, 25  # bits beside those of the hours
NEW_TO_ALL_H: Final = 24.0
UPDATED_MS: Final = 7 * DAY_MS  # of silence, after which a program has been updated meanwhile, and is no news
HOURS_MAX: Final = 1e6  # of a class, before old hours fade
PEERS_WEIGHT: Final = 20.0  # active hours that an account's own rate of novelty is shrunk by
ADDED_BITS: Final = 6.0  # below the gate of what may be found alone, an account's new places are still told
CROWDS: Final = ("network", "client", "resource", "issuer")

DAY: Final = daily_share(1)
CROWD: Final = np.dtype([*SHARE_FIELDS, ("day", DAY)], align=True)

PLACES: Final = np.dtype(
    [
        ("network", np.uint16, (5,)),
        ("client", np.uint16, (4,)),
        ("resource", np.uint16, (8,)),
        ("country", np.uint16, (2,)),
        ("host", np.uint16, (3,)),  # addresses, of machines: people's change
        ("hours", np.uint32),  # a bit for each hour of the day, and for each kind of day
        ("shown", np.uint16),  # pattern of the current hour
        ("novel", np.uint8),  # hours that were new in any way
        ("level", np.uint8),  # of the current hour
    ],
    align=True,
)


@inline
def _is_new(known: Array, h: int) -> bool:
    """Whether a value is new to this short list; it is in it afterwards."""
    if h == np.uint64(0):
        return False
    mark = np.uint16((h >> np.uint64(48)) | np.uint64(1))
    last = known.shape[0] - 1
    for p in range(last + 1):
        if known[p] == mark:
            if p > 0:
                known[p] = known[p - 1]
                known[p - 1] = mark
            return False
        if known[p] == 0:
            known[p] = mark
            return True
    known[last] = mark
    return True


@inline
def _is_new_hour(r: Array, now_s: int) -> bool:
    """Whether it never did anything at this hour or beside it, or on this kind of day; it has afterwards."""
    hour, day = now_s // 3600 % 24, WEEKEND if (now_s // 86_400 + 3) % 7 >= 5 else WEEKDAY
    present = np.uint32(1) << np.uint32(hour) | np.uint32(1) << np.uint32(day)
    beside = np.uint32(1) << np.uint32((hour + 1) % 24) | np.uint32(1) << np.uint32((hour + 23) % 24)
    new: bool = r["hours"] & present != present
    r["hours"] |= present | beside
    return new


@kernel
def _arrive(
    places: Array, accounts: Array, networks: Array, clients: Array, resources: Array, issuers: Array,
    h_network: Array, h_client: Array, h_resource: Array, h_country: Array, h_source: Array, succeeded: Array,
    reads: Array, time: Array, klass: Array, hours: Array, patterns: Array, survival: Array, gate: Array, kind: int,
    mark: Any, marks: Array, trials: Array, counts: Array, out: Array,
) -> int:  # fmt: skip
    found = 0
    for i in range(accounts.shape[0]):
        t = accounts[i]
        slot = t["slot"]
        if slot <= 0 or not succeeded[i]:
            continue
        r = places[slot]
        k = klass[i]
        pattern = 0
        if _is_new(r["network"], h_network[i]):
            pattern |= NETWORK
            if networks[i]["age_h"] < NEW_TO_ALL_H:
                pattern |= NEW_TO_ALL
        if _is_new(r["client"], h_client[i]) and time[i] - t["before"] < UPDATED_MS:
            pattern |= CLIENT
        if _is_new(r["resource"], h_resource[i]):
            pattern |= RESOURCE
        if _is_new(r["country"], h_country[i]):
            pattern |= COUNTRY
        if k >= SERVICE and _is_new(r["host"], h_source[i]):
            pattern |= HOST
        active = np.float64(t["active"][0])
        opens = t["opens"][0] == 1
        if opens:
            if _is_new_hour(r, time[i] // 1000) and active >= ROUTINE_HOURS and k == EMPLOYEE:
                pattern |= HOUR
            r["shown"] = r["level"] = 0
        if active < WARM_HOURS:
            continue
        if opens:
            hours[k] += 1.0
            if hours[k] > HOURS_MAX:
                hours[k] *= 0.5
                for p in range(PATTERNS):
                    patterns[k, p] *= 0.5
            if not t["suspect"]:
                survival[k, 0] += 1
        if opens or pattern & NETWORK:
            new = (pattern & NETWORK) != 0
            for c in range(4):
                if c == 0:
                    other = networks[i]
                elif c == 1:
                    other = clients[i]
                elif c == 2:
                    other = resources[i]
                else:
                    other = issuers[i]
                if other["slot"] < 0 or (c == 2 and not reads[i]):  # everybody arrives at a login page
                    continue
                w = trials[c, counts[c]]
                w["time"] = time[i]
                w["event"] = i
                w["slot"] = other["slot"]
                w["hit"] = new
                w["suspect"] = other["suspect"]
                w["excuse"] = np.float32(0.0)
                counts[c] += 1
        before = r["shown"]
        pattern |= int(before)
        if pattern == before:
            continue
        alike = 0.5
        any_novelty = 1.0
        for p in range(1, PATTERNS):
            any_novelty += patterns[k, p]
            if p & pattern == pattern:
                alike += patterns[k, p]
        total = hours[k] + 1.0
        usual = any_novelty / total
        own = (np.float64(r["novel"]) + PEERS_WEIGHT * usual) / (active + PEERS_WEIGHT)
        bits = -math.log(alike / total) / LN2 - max(math.log(own / usual) / LN2, 0.0)
        if not t["suspect"]:
            patterns[k, pattern] += 1.0
            if before:
                patterns[k, before] = max(patterns[k, before] - 1.0, 0.0)
            elif r["novel"] < 250:
                r["novel"] += 1
        r["shown"] = pattern
        reached = min(level_of(max(bits, 0.0)), LEVELS - 1)
        if reached <= r["level"]:
            continue
        if not t["suspect"]:
            for step in range(np.int64(r["level"]) + 1, reached + 1):
                survival[k, step] += 1
        r["level"] = reached
        if reached >= gate[k]:
            marks[i] |= mark
            o = out[found]
            o["event"] = i
            o["time"] = time[i]
            o["slot"] = slot
            o["kind"] = kind
            o["klass"] = k
            o["horizon"] = 0
            o["feature"] = 0
            o["bits"] = np.float32(bits)
            o["observed"] = np.float64(pattern)
            o["expected"] = alike / total
            found += 1
    return found


@kernel
def _gather(
    days: Array, trials: Array, klass: Array, learn: Array, young_until: int, kind: int, crowds: Array, pop: Array,
    survival: Array, gate: Array, mark: Any, marks: Array, crowd: Array, out: Array,
) -> int:  # fmt: skip
    """Take the arrivals at places of one kind into their days and runs of days; findings written. crowd: scratch."""
    found = 0
    for i in range(trials.shape[0]):
        t = trials[i]
        event = t["event"]
        k, hit, now = klass[event], int(t["hit"]), t["time"] // 1000
        count(crowds[k], now, hit, crowd)
        weight = SUSPECT_WEIGHT if t["suspect"] else 1.0
        r = days[t["slot"]]
        bits = trial(
            r, 0, now, hit, weight, learn[event], SLOW_S[0], t["time"] < young_until, pop[k], crowd, True,
            survival[k, DAILY, 0],
        )  # fmt: skip
        if hit and r["level"][0] >= gate[k, DAILY, 0]:
            marks[event] |= mark
            if bits > 0.0:
                o = out[found]
                o["event"] = event
                o["time"] = t["time"]
                o["slot"] = t["slot"]
                o["kind"] = kind
                o["klass"] = k
                o["horizon"] = DAILY
                o["feature"] = 1
                o["bits"] = np.float32(bits)
                o["observed"] = r["hits"][0]
                o["expected"] = np.float64(r["trials"][0]) * usual(r, 0, pop[k])
                found += 1
    return found


NAMES: Final = {
    NETWORK: "network", CLIENT: "client", RESOURCE: "resource", COUNTRY: "country", HOST: "host",
    HOUR: "hour of the day or week",
}  # fmt: skip


def _places(pattern: float) -> str:
    """The places that the bits of a pattern stand for."""
    shown = int(pattern)
    found = " and ".join(name for bit, name in NAMES.items() if shown & bit)
    return found + (" (a network new to everyone)" if shown & NEW_TO_ALL else "")


class FirstSeen(ShareDetector):
    """`first_seen`: new places of accounts, and crowds of newcomers."""

    id = "first_seen"
    title = "New places for {kind} {value}"
    weight = 0
    aspect = "place"
    techniques = ("T1078", "T1550.001", "T1090")
    features = (
        Feature(
            "new_places", "pattern",
            "used a {observed} that it never used before; {expected} of its peers' hours show that",
            observed=_places, expected="{:.2%}".format,
        ),
        Feature(
            "newcomers", "accounts",
            "{observed} accounts arrived in {window} from a network new to them, where {expected} are usual",
        ),
    )  # fmt: skip
    kinds = ("account", *CROWDS)
    cause: Mapping[str, str] = dict.fromkeys(("network", "client", "issuer"), "resource")  # what crowds come for
    columns: Mapping[str, np.dtype[Any]] = {"account": PLACES, **dict.fromkeys(CROWDS, CROWD)}

    def __init__(self, offset_bits: float) -> None:
        super().__init__(offset_bits, horizons=len(WINDOWS_S) - 1)
        self._hours = np.zeros(CLASSES)
        self._patterns = np.zeros((CLASSES, PATTERNS))
        self._arrivals = np.zeros((len(CROWDS), CLASSES, 2))  # at places of each kind: learned trials and hits
        self._lately = np.zeros((len(CROWDS), CLASSES, 3))  # s; decayed trials and hits
        self.state.update(
            hours=self._hours, patterns=self._patterns, arrivals=self._arrivals, lately=self._lately
        )  # fmt: skip

    def observe(self, frame: Frame, columns: Mapping[str, Array], bit: int) -> list[Array]:
        """Score the account of each event and the places where accounts arrive; FINDING rows."""
        touch, hashes, number = frame.touch, frame.hashes, KINDS.index("account")
        trials = np.empty((len(CROWDS), len(frame)), TRIAL)
        counts = np.zeros(len(CROWDS), np.int64)
        out = np.empty(len(frame), FINDING)
        found = _arrive(
            columns["account"], touch["account"], touch["network"], touch["client"], touch["resource"], touch["issuer"],
            hashes["network"], hashes["client"], hashes["resource"], hashes["country"], hashes["source"],
            frame.succeeded, frame.reads, frame.time, frame.klass, self._hours, self._patterns,
            self._survival.today[number, :, 0, 0], self._survival.gate[number, :, 0, 0], number, np.uint16(1 << bit),
            frame.marks, trials, counts, out,
        )  # fmt: skip
        arrived = [trials[c, : counts[c]] for c in range(len(CROWDS))]
        crowds = [
            self.settle(kind, columns[kind], each, 1, bit, frame.marks)
            for kind, each in zip(CROWDS, arrived, strict=True)
        ]
        return [out[:found], *crowds, *(self._of_days(c, each, frame, columns, bit) for c, each in enumerate(arrived))]

    def _of_days(self, c: int, arrived: Array, frame: Frame, columns: Mapping[str, Array], bit: int) -> Array:
        """Newcomers that are few an hour, and many in a day or day after day; FINDING rows."""
        if not len(arrived):
            return NOTHING
        kind = CROWDS[c]
        number = KINDS.index(kind)
        out = np.empty(len(arrived), FINDING)
        found = _gather(
            columns[kind]["day"], arrived, frame.klass, frame.learn, int(self._survival.clock[0]) + YOUNG_MS, number,
            self._lately[c], self._arrivals[c], self._survival.today[number], self._survival.gate[number],
            np.uint16(1 << bit), frame.marks, np.zeros(2), out,
        )  # fmt: skip
        return out[:found]

    def tick(self, now_ms: int, columns: Mapping[str, Array]) -> list[Array]:
        """Nothing of first sight is due by the clock but its upkeep."""
        if self.upkeep(now_ms):
            self._survival.listen(KINDS.index("account"), self._offset_bits - ADDED_BITS)
        return []

    def measures(self, kind: str) -> int:
        """New places of an account, newcomers of a place."""
        return 1

    def parts(self, kind: str, klass: int) -> float:
        """Larger where a machine is told of."""
        return parts_by_place(kind, klass)
