"""Miss rate: who asks for what is not there, or not theirs.

A miss is a request that failed, or a read that succeeded and gave nothing. Who guesses identifiers, tries stolen
passwords or scans misses often; who works does not. A miss of what the entity already missed this hour is a retry and
no trial: misses are counted by distinct target (HyperLogLog of 16 registers and martingale increments, as in
`fan_out`), so a job that asks for one lost file all night has missed once an hour.

Statistic: decayed counts (20 min) of trials n and misses k against the entity's share q over seven days, shrunk to its
class as in `detectors.baselines.share`, to which a finished hour adds no more misses than two deviations allow:

    raw bits = n / (1 + n / 500 + n q ln 2 / 16) KL(k / n || q + f / n (1 - q)) / ln 2

Chernoff's bound, with n cut for trials that are correlated by 1 / 500 (the design effect of Kish, "Survey Sampling",
1965: a busy place's share is never so steady as a coin's) and for the error of the sketch. f sums the excuses. What is
broken makes people miss who are known here: of accounts at addresses, both a day old and each counted once an hour,
the share that misses is compared with the usual one, by network, client, resource and fleet, leaving one account out.
The largest excess excuses a trial, and what was excused is learned as usual.
Entities: account, source, network, client, resource. Unit: requests.
Memory: 48 bytes an entity, another 48 a network, client, resource and the fleet.
Cold start: as its class does; nobody is judged before the class has 30 trials; nothing is excused on the first day.
Evasion: missing no more often than usual, as with a list of identifiers that are known to exist; missing for one target
again and again; spreading the misses over accounts and addresses that are long known here.
Misses: identifiers that are never wrong (`enumeration`, `volume`), logs that do not say what failed or how much came.
A job whose many inputs are all late looks like a scan.
ATT&CK: T1110.004 Credential Stuffing, T1595.003 Wordlist Scanning, T1087 Account Discovery.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from detectors.base import CLASSES, FINDING, HOUR_MS, KINDS, Array, Feature, Frame
from detectors.baselines.calibration import LEVELS
from detectors.baselines.share import (
    PRIOR_TRIALS,
    SLOW_MS,
    SUSPECT_WEIGHT,
    TRIALS_MIN,
    ShareDetector,
    _expected,
    _share,
)
from detectors.kernels import AHEAD, inline, kernel, level_of, prefetch, share_bits

REGISTERS: Final = 16
STEADY: Final = 500.0  # trials beyond which a share says no more: it drifts by itself
POPULATION_MAX: Final = 100_000.0  # trials of a class, before old ones fade
SKETCH: Final = math.log(2.0) / REGISTERS  # relative variance of the counted misses
KNOWN_H: Final = 24.0  # age of an account and of an address whose misses tell that something is broken
USUAL_KEEP: Final = 1.0 - 1.0 / 168.0  # of a place's usual share, each active hour: a week of them
USERS: Final = ("account", "source")
PLACES: Final = ("network", "client", "resource", "fleet")
SCORED: Final = (*USERS, *PLACES[:-1])
NUMBERS: Final = tuple(KINDS.index(kind) for kind in SCORED)

MISS_FIELDS: Final = (
    ("tries", np.float32), ("misses", np.float32), ("excused", np.float32),  # decayed over 20 min
    ("hour_tries", np.float32), ("hour_misses", np.float32),  # of the current hour
    ("long_tries", np.float32), ("long_misses", np.float32),  # decayed over seven days
    ("targets", np.uint8, (REGISTERS,)),  # missed this hour
    ("level", np.uint8),
)  # fmt: skip
PLACE_FIELDS: Final = (
    ("people", np.float32), ("missing", np.float32),  # known accounts, and those of them that miss, decayed over 20 min
    ("usual_people", np.float32), ("usual_missing", np.float32),
    ("seen", np.uint8, (2, REGISTERS)),  # which of them, this hour
)  # fmt: skip
ENTITY_MISSES: Final = np.dtype([*MISS_FIELDS], align=True)
PLACE: Final = np.dtype([*PLACE_FIELDS, *MISS_FIELDS], align=True)


@inline
def _new(registers: Array, h: int) -> float:
    """How many new values this one stands for: 1 / P(change) where it changes the sketch, else 0."""
    own = np.int64(h & np.uint64(REGISTERS - 1))
    rest = h >> np.uint64(4)
    rank = 1
    while rank < 58 and (rest & np.uint64(1)) == np.uint64(0):
        rest >>= np.uint64(1)
        rank += 1
    if rank <= registers[own]:
        return 0.0
    chance = 0.0
    for m in range(REGISTERS):
        chance += 2.0 ** -np.float64(registers[m])
    registers[own] = rank
    return REGISTERS / chance


@inline
def _excuse(places: Array, touch: Array, known: Array, people: Array, missed: Array, excuse: Array) -> None:
    """excuse[i] = at least the share of those known at the place of event i who miss now and usually would not."""
    for i in range(touch.shape[0]):
        t = touch[i]
        slot = t["slot"]
        if slot < 0:
            continue
        r = places[slot]
        if t["opens"][0]:
            r["usual_people"] = np.float32(USUAL_KEEP * (r["usual_people"] + r["people"]))
            r["usual_missing"] = np.float32(USUAL_KEEP * (r["usual_missing"] + r["missing"]))
            for half in range(2):
                for m in range(REGISTERS):
                    r["seen"][half, m] = 0
        r["people"] *= t["decay"][0]
        r["missing"] *= t["decay"][0]
        if known[i]:
            r["people"] += np.float32(_new(r["seen"][0], people[i]))
            if missed[i]:
                r["missing"] += np.float32(_new(r["seen"][1], people[i]))
        if r["missing"] <= 1.0:
            continue
        usual = min((r["usual_missing"] + 0.05) / (r["usual_people"] + 1.0), 0.99)
        present = min((r["missing"] - 1.0 + usual) / max(np.float64(r["people"]), 1.0), 1.0)
        if present > usual:
            excuse[i] = max(excuse[i], (present - usual) / (1.0 - usual))


@inline
def _usual(r: Array, pop: Array) -> float:
    """The share of misses to expect of the entity now."""
    share = _share(np.float64(r["long_tries"]), np.float64(r["long_misses"]), pop)
    return _expected(np.float64(r["tries"]), np.float64(r["excused"]), share)


@inline
def _bits(r: Array, share: float) -> float:
    """Raw bits of what the entity missed of late."""
    n = np.float64(r["tries"])
    return share_bits(np.float64(r["misses"]), n, share) / (1.0 + n / STEADY + n * share * SKETCH)


@inline
def _learn(r: Array, gap_ms: int, weight: float, pop: Array) -> None:
    """Close an hour of entity `r`: its trials, and no more misses than are believed, into its share and its class's."""
    n = np.float64(r["hour_tries"])
    q = _usual(r, pop)
    k = min(np.float64(r["hour_misses"]), n * q + 2.0 * math.sqrt(n * q * (1.0 - q)) + 0.5)
    fade = math.exp(-np.float64(max(gap_ms, HOUR_MS)) / SLOW_MS)
    r["long_tries"] = np.float32(fade * (r["long_tries"] + weight * n))
    r["long_misses"] = np.float32(fade * (r["long_misses"] + weight * k))
    if weight == 1.0 and n > 0.0:
        voice = min(1.0, PRIOR_TRIALS / n)  # the busy do not speak for their class
        bulk = min(1.0, POPULATION_MAX / (pop[0] + voice * n + 1.0))
        pop[0] = bulk * (pop[0] + voice * n)
        pop[1] = bulk * (pop[1] + voice * k)
    r["hour_tries"] = np.float32(0.0)
    r["hour_misses"] = np.float32(0.0)


@kernel
def _observe(
    users: Any, places: Any, user_touches: Any, place_touches: Any, time: Array, klass: Array, learn: Array,
    missed: Array, targets: Array, people: Array, known: Array, excuse: Array, population: Array, survival: Array,
    gate: Array, mark: Any, marks: Array, out: Array,
) -> int:  # fmt: skip
    """All kinds in one call, since frames are short: what excuses a miss first; findings written.

    places, place_touches: in the order of PLACES, of which the last excuses and is not scored.
    """
    accounts, sources = user_touches[0], user_touches[1]
    for i in range(known.shape[0]):  # an account and an address that are long known
        aged = sources[i]["slot"] < 0 or sources[i]["age_h"] >= KNOWN_H
        known[i] = (
            aged and accounts[i]["slot"] > 0 and accounts[i]["age_h"] >= KNOWN_H and learn[i] != 0
            and people[i] != np.uint64(0)
        )  # fmt: skip
    for j in range(len(places)):
        _excuse(places[j], place_touches[j], known, people, missed, excuse)
    rest = (time, klass, learn, missed, targets, excuse, population, survival, gate, mark, marks, out)
    found = 0
    for j in range(len(users)):
        found = _count(users[j], user_touches[j], NUMBERS[j], True, found, *rest)
    for j in range(len(places) - 1):
        found = _count(places[j], place_touches[j], NUMBERS[len(users) + j], False, found, *rest)
    return found


@inline
def _count(
    state: Array, touch: Array, number: int, whole: bool, found: int, time: Array, klass: Array, learn: Array,
    missed: Array, targets: Array, excuse: Array, population: Array, survival: Array, gate: Array, mark: Any,
    marks: Array, out: Array,
) -> int:  # fmt: skip
    """Count and score each event on its entity of one kind; findings written so far."""
    for i in range(touch.shape[0]):
        if i + AHEAD < touch.shape[0]:
            prefetch(state, touch[i + AHEAD]["slot"])
        t = touch[i]
        slot = t["slot"]
        if slot < 0:
            continue
        r = state[slot]
        k = klass[i]
        pop = population[number, k]
        opens = t["opens"][0] == 1
        if opens and not t["fresh"]:
            _learn(r, time[i] - t["before"], SUSPECT_WEIGHT if t["suspect"] else 1.0, pop)
        r["tries"] *= t["decay"][0]
        r["misses"] *= t["decay"][0]
        r["excused"] *= t["decay"][0]
        if opens:
            for m in range(REGISTERS):
                r["targets"][m] = 0
            if r["level"] > 0:  # what is left of the last hour's misses is no news
                share = _usual(r, pop)
                r["level"] = min(r["level"], level_of(_bits(r, share)))
            if not t["suspect"]:
                for step in range(r["level"] + 1):
                    survival[number, k, 0, 0, step] += 1
        x = np.float32(_new(r["targets"], targets[i]) if missed[i] else 1.0)
        r["tries"] += x
        r["excused"] += x * excuse[i]
        if learn[i]:
            r["hour_tries"] += x
        if missed[i] and x > 0.0:
            r["misses"] += x
            if learn[i]:
                r["hour_misses"] += x
            share = _usual(r, pop)
            if pop[0] >= TRIALS_MIN and r["misses"] > share * r["tries"]:
                bits = _bits(r, share)
                reached = min(level_of(bits), LEVELS - 1)
                if reached > r["level"]:
                    if not t["suspect"]:
                        for step in range(np.int64(r["level"]) + 1, reached + 1):
                            survival[number, k, 0, 0, step] += 1
                    r["level"] = reached
                    if reached >= gate[number, k, 0, 0]:
                        o = out[found]
                        o["event"] = i
                        o["time"] = time[i]
                        o["slot"] = slot
                        o["kind"] = number
                        o["klass"] = k
                        o["horizon"] = 0
                        o["feature"] = 0
                        o["bits"] = np.float32(bits)
                        o["observed"] = r["misses"]
                        o["expected"] = np.float64(r["tries"]) * share
                        found += 1
        if r["level"] >= gate[number, k, 0, 0] and (missed[i] or whole):
            marks[i] |= mark
    return found


class MissRate(ShareDetector):
    """`miss_rate`: requests that fail or give nothing, by entity."""

    id = "miss_rate"
    title = "Guessing or scanning by {kind} {value}"
    weight = 0
    aspect = "failure"
    techniques = ("T1110.004", "T1595.003", "T1087")
    features = (
        Feature(
            "misses", "requests",
            "{observed} requests for different things failed or gave nothing in {window}, where {expected} are usual",
        ),
    )  # fmt: skip
    kinds = SCORED
    cause: Mapping[str, str] = dict.fromkeys(kinds, "resource")  # many who guess on one page at one time are one
    columns: Mapping[str, np.dtype[Any]] = {
        "account": ENTITY_MISSES, "source": ENTITY_MISSES, **dict.fromkeys(PLACES, PLACE),
    }  # fmt: skip

    def __init__(self, offset_bits: float) -> None:
        super().__init__(offset_bits)
        self._classes = np.zeros((len(KINDS), CLASSES, 2))
        self.state["population"] = self._classes

    def observe(self, frame: Frame, columns: Mapping[str, Array], bit: int) -> list[Array]:
        """Excuse, count and score the misses of each entity of each event; FINDING rows."""
        n, missed = len(frame), frame.of(_missed)
        out = np.empty(len(SCORED) * np.count_nonzero(missed), FINDING)
        found = _observe(
            tuple(columns[kind] for kind in USERS), tuple(columns[kind] for kind in PLACES),
            tuple(frame.touch[kind] for kind in USERS), tuple(frame.touch[kind] for kind in PLACES), frame.time,
            frame.klass, frame.learn, missed, frame.of(_targets), frame.hashes["account"], np.empty(n, np.bool_),
            np.zeros(n, np.float32), self._classes, self._survival.today, self._survival.gate, np.uint16(1 << bit),
            frame.marks, out,
        )  # fmt: skip
        return [out[:found]]


def _missed(events: Frame) -> Array:
    missed: Array = ~events.succeeded | (events.reads & (events.records == 0))
    return missed


def _targets(events: Frame) -> Array:
    """What each miss was about; an odd factor keeps the hashes uniform."""
    named = ("account", "resource", "object", "subject")
    hashes = [events.hashes[name] * np.uint64(2 * factor + 1) for factor, name in enumerate(named)]
    return np.where(events.of(_missed), np.bitwise_xor.reduce(hashes), np.uint64(0))
