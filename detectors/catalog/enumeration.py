"""Enumeration: identifiers walked in order, and data of others read where one's own is the rule.

Measures two shares over 20 minutes. *Steps*: an entity keeps a few heads, the numbers in the names of what it read
last from each resource (a prefetcher's stream table: Jouppi, "Improving direct-mapped cache performance", 1990); a
read whose number is at most GAP beyond a head, onwards in the head's direction, is a step and moves that head. One
that was stepped on outlives the rest, so that a walk is followed through others' reads. *Foreign*: reads whose
subject is not the account itself, of accounts, credentials and sources. A repeat is no trial, nor is a number with
nothing to compare with. Statistic: Chernoff's bound for the share of hits among trials against own and class's share
(`detectors.baselines.share` has the recurrences); a trial is excused by the chance that a read of this resource by this
class is a hit anyway, after a hit and after none: pages of a list are numbered for everybody, and who leafs leafs on.
Each account teaches a resource eight reads an hour at most, so that nobody makes himself the custom. An hour's trials
are alike (a place is whoever is there now), so their hits scatter more than a binomial's: with c, the correlation of
two trials of an hour, learned for each kind and class from the hours of entities whose share is known,

    raw bits = n KL(k / n || q) / ln 2 / (1 + (n - 1) c)

(the design effect: Kish, "Survey Sampling", 1965; c by moments, each hour's distance clipped at three deviates).
Calibrated by `detectors.baselines.calibration`. Entities: account, credential, source, network, client, issuer,
resource: a walk shared out among many is one walk in what they share. Unit: identifiers, reads.
Memory: 100 bytes an account, credential or source, 196 a network, client or issuer, 276 a resource.
Cold start: an entity without a past has the share of its class, and so is judged as its peers are; a class is judged
once it has had 30 trials. Evasion: strides beyond GAP; shuffled identifiers; fewer than one in four minutes (`drip`);
a walk that is less than about a hundredth of what its resource and network see. Misses: identifiers without order
(`fan_out`); a job that always walked and now walks for somebody else (`volume`); those whose rule it is to read others'
data, agents and services. A resource that is new and numbered as it is used is one alert.
ATT&CK: T1119 Automated Collection, T1213 Data from Information Repositories, T1190 Exploit Public-Facing Application.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.base import CLASSES, FINDING, KINDS, Array, Feature, Frame
from detectors.baselines.calibrated import Calibrated
from detectors.baselines.calibration import LEVELS
from detectors.baselines.share import PRIOR_TRIALS, SUSPECT_WEIGHT, TRIALS_MIN
from detectors.kernels import AHEAD, inline, kernel, level_of, prefetch, share_bits

USERS: Final = ("account", "credential", "source")  # the account first: it tells what is usual of a resource
PLACES: Final = ("network", "client", "issuer")
NUMBERS: Final = tuple(KINDS.index(kind) for kind in (*USERS, *PLACES, "resource"))
ACCOUNT: Final = NUMBERS[0]
STEPS, FOREIGN = 0, 1
FEATURES: Final = 2
GAP: Final = 4  # identifiers; members who left make holes
REPEAT: Final = -1  # or nothing to compare with: no trial
NEW, UP, DOWN = 1, 2, 3  # the direction of a head
NUMBER_MASK: Final = (1 << 46) - 1  # a head is 15 bits of the resource, 46 of the number, 2 of the direction
FAST_S: Final = 1200.0
SLOW_S: Final = 7.0 * 86_400.0
HOUR_S: Final = 3600
SHARE_LEAST: Final = 0.01  # nothing is so rare in a log that one alone tells much
HITS_MIN: Final = 4.5  # decayed: fewer than five are not worth a word
POPULATION_TRIALS: Final = 100_000.0
CUSTOM_TRIALS: Final = 1000.0  # of a resource and class, before old ones fade
CUSTOM_PRIOR: Final = 30.0
ALIKE: Final = 0.01  # correlation of an hour's trials, until it is known
ALIKE_PRIOR: Final = 1000.0  # so much weight that has, in pairs of trials
ALIKE_MEMORY: Final = 1e7
KNOWN_TRIALS: Final = 100.0  # an entity's own share is known, so that an hour's distance from it is scatter
CLIP: Final = 3.0
TAUGHT_MAX: Final = 8.0  # trials of an account in an hour that a resource learns from
LOOKS: Final = np.array([a in (2, 3, 4, 7) for a in range(9)])  # read, list, export, share; also those that fail


def walk_dtype(heads: int) -> np.dtype[Any]:
    """An entity's state: 68 bytes and 8 a head."""
    shape = (FEATURES,)
    return np.dtype(
        [
            ("heads", np.int64, (heads,)),
            ("seen", np.uint32, shape),  # s, its latest trial
            ("trials", np.float32, shape), ("hits", np.float32, shape), ("excuse", np.float32, shape),  # over 20 min
            ("hour_trials", np.float32, shape), ("hour_hits", np.float32, shape),  # of the current hour
            ("long_trials", np.float32, shape), ("long_hits", np.float32, shape),  # over seven days
            ("level", np.uint8, shape),
            ("last", np.uint8, shape),  # whether its latest trial was a hit
        ]
    )  # fmt: skip


# Of a resource: trials and hits, by class, feature and whether the account's trial before was a hit.
CUSTOM: Final = ("custom", np.uint16, (CLASSES, FEATURES, 2, 2))


@inline
def step(heads: Array, key: Any, number: Any) -> int:
    """1 where `number` goes on from a head of this key, 0 where it does not, REPEAT where that cannot be said."""
    n = number & NUMBER_MASK
    found, way, known = -1, NEW, False
    for p in range(heads.shape[0]):
        head = heads[p]
        if head == 0 or head >> 48 != key:
            continue
        known = True
        gap = n - ((head >> 2) & NUMBER_MASK)
        if gap == 0:
            return REPEAT
        if found < 0 and -GAP <= gap <= GAP:
            towards = UP if gap > 0 else DOWN
            if head & 3 == NEW or head & 3 == towards:
                found, way = p, towards
    first = 0 if found >= 0 else heads.shape[0] // 2
    for p in range(found if found >= 0 else heads.shape[0] - 1, first, -1):
        heads[p] = heads[p - 1]
    heads[first] = (key << 48) | (n << 2) | way
    if found >= 0:
        return 1
    return 0 if known else REPEAT


@inline
def _share(r: Array, f: int, pop: Array) -> float:
    """The share of hits that is usual, of its own and of its peers."""
    base = (pop[1] + 0.5) / (pop[0] + 1.0)
    own: float = (r["long_hits"][f] + PRIOR_TRIALS * base) / (r["long_trials"][f] + PRIOR_TRIALS)
    return max(own, SHARE_LEAST)


@inline
def _expected(r: Array, f: int, pop: Array) -> float:
    """The same, and what the resources excuse."""
    share = _share(r, f, pop)
    excuse = min(np.float64(r["excuse"][f]) / r["trials"][f], 1.0) if r["trials"][f] > 0.0 else 0.0
    return share + excuse * (1.0 - share)


@inline
def _inflation(n: float, pop: Array) -> float:
    """How much wider than a binomial's the hits of n trials scatter: trials of one hour are alike."""
    alike: float = (max(pop[2], 0.0) + ALIKE * ALIKE_PRIOR) / (pop[3] + ALIKE_PRIOR)
    return 1.0 + max(n - 1.0, 0.0) * alike


@inline
def _bits(r: Array, f: int, pop: Array) -> float:
    n = np.float64(r["trials"][f])
    bits: float = share_bits(np.float64(r["hits"][f]), n, _expected(r, f, pop)) / _inflation(n, pop)
    return bits


@inline
def _close(r: Array, f: int, gap: float, weight: float, pop: Array) -> None:
    """Learn the finished hour, no more of its hits than its share and two deviations allow."""
    n = np.float64(r["hour_trials"][f])
    q = _share(r, f, pop)
    hits = np.float64(r["hour_hits"][f])
    variance = n * q * (1.0 - q)
    if weight == 1.0 and r["long_trials"][f] >= KNOWN_TRIALS:
        scatter = min((hits - n * q) ** 2, CLIP * CLIP * variance * _inflation(n, pop))
        keep = min(1.0, ALIKE_MEMORY / (pop[3] + 1.0))
        pop[2] = keep * pop[2] + scatter - variance
        pop[3] = keep * pop[3] + variance * (n - 1.0)
    k = min(hits, n * q + 2.0 * math.sqrt(variance) + 0.5)
    fade = math.exp(-max(gap, np.float64(HOUR_S)) / SLOW_S)
    r["long_trials"][f] = np.float32(fade * (r["long_trials"][f] + weight * n))
    r["long_hits"][f] = np.float32(fade * (r["long_hits"][f] + weight * k))
    r["hour_trials"][f], r["hour_hits"][f] = np.float32(0.0), np.float32(0.0)
    if weight == 1.0:
        bulk = min(1.0, POPULATION_TRIALS / (pop[0] + n + 1.0))
        pop[0] = bulk * (pop[0] + n)
        pop[1] = bulk * (pop[1] + k)


@inline
def _trial(
    r: Array, f: int, now: int, hit: int, excuse: float, weight: float, learn: int, pop: Array, survival: Array,
) -> float:  # fmt: skip
    """Take one trial of feature `f` in; raw bits where it lifts the hour to a new level, else 0."""
    before = np.int64(r["seen"][f])
    opens = now // HOUR_S != before // HOUR_S
    gap = np.float64(now - before)
    if before != 0 and opens:
        _close(r, f, gap, weight, pop)
    if gap > 0.0:
        fade = np.float32(math.exp(-gap / FAST_S)) if before != 0 else np.float32(0.0)
        r["trials"][f] *= fade
        r["hits"][f] *= fade
        r["excuse"][f] *= fade
        r["seen"][f] = np.uint32(now)
    if opens:
        if r["level"][f] > 0:  # what is left of the last hour's hits is no news
            r["level"][f] = min(r["level"][f], level_of(_bits(r, f, pop)))
        if weight == 1.0:
            for level in range(r["level"][f] + 1):
                survival[level] += 1
    r["last"][f] = hit
    r["trials"][f] += np.float32(1.0)
    r["hits"][f] += np.float32(hit)
    r["excuse"][f] += np.float32(excuse)
    if learn:
        r["hour_trials"][f] += np.float32(1.0)
        r["hour_hits"][f] += np.float32(hit)
    if hit == 0 or pop[0] < TRIALS_MIN or r["hits"][f] < HITS_MIN:
        return 0.0
    bits = _bits(r, f, pop)
    reached = min(level_of(bits), LEVELS - 1)
    if reached <= r["level"][f]:
        return 0.0
    if weight == 1.0:
        for level in range(np.int64(r["level"][f]) + 1, reached + 1):
            survival[level] += 1
    r["level"][f] = reached
    return bits


@inline
def _custom(counts: Array, hit: int, taught: bool) -> float:
    """The chance that a read here is a hit anyway, as it was before this one, which teaches it."""
    share = np.float64(counts[1]) / (np.float64(counts[0]) + CUSTOM_PRIOR)
    if taught:
        if counts[0] >= CUSTOM_TRIALS:
            counts[0] //= 2
            counts[1] //= 2
        counts[0] += 1
        counts[1] += hit
    return share


@inline
def _walk(
    state: Array, touch: Array, kind: int, features: int, found: int, resources: Array, at: Array, keys: Array,
    number: Array, subject: Array, account: Array, time: Array, klass: Array, learn: Array, looks: Array, excuse: Array,
    pop: Array, survival: Array, gate: Array, mark: Any, marks: Array, out: Array,
) -> int:  # fmt: skip
    """Take every look at something that is named into the entities of one kind; findings written so far."""
    for i in range(touch.shape[0]):
        if i + AHEAD < touch.shape[0]:
            prefetch(state, touch[i + AHEAD]["slot"])
        t = touch[i]
        if t["slot"] < 0 or not looks[i]:
            continue
        r = state[t["slot"]]
        k = klass[i]
        now = time[i] // 1000
        weight = SUSPECT_WEIGHT if t["suspect"] else 1.0
        for f in range(features):
            if f == STEPS:
                hit = step(r["heads"], np.int64(keys[i] >> np.uint64(49)), number[i]) if number[i] >= 0 else REPEAT
            else:
                hit = int(subject[i] != account[i]) if subject[i] != np.uint64(0) else REPEAT
            if hit == REPEAT:
                continue
            if kind == ACCOUNT and at[i]["slot"] >= 0:
                new = now // HOUR_S != np.int64(r["seen"][f]) // HOUR_S
                taught = (new or r["hour_trials"][f] < TAUGHT_MAX) and weight == 1.0 and learn[i] != 0
                excuse[i, f] = _custom(resources[at[i]["slot"]]["custom"][k, f, r["last"][f] & 1], hit, taught)
            peers = pop[kind, k, f]
            bits = _trial(r, f, now, hit, excuse[i, f], weight, learn[i], peers, survival[kind, k, 0, f])
            if hit and r["level"][f] >= gate[kind, k, 0, f]:
                marks[i] |= mark
                if bits > 0.0:
                    o = out[found]
                    o["event"], o["time"], o["slot"], o["kind"] = i, time[i], t["slot"], kind
                    o["klass"], o["horizon"], o["feature"], o["bits"] = k, 0, f, np.float32(bits)
                    o["observed"], o["expected"] = r["hits"][f], r["trials"][f] * _expected(r, f, peers)
                    found += 1
    return found


@kernel
def _observe(
    users: Any, places: Any, resources: Array, touches: Any, keys: Array, number: Array, subject: Array, account: Array,
    time: Array, klass: Array, learn: Array, looks: Array, excuse: Array, pop: Array, survival: Array, gate: Array,
    mark: Any, marks: Array, out: Array,
) -> int:  # fmt: skip
    """All kinds in one call, since frames are short; findings written. touches: one for each kind, in this order."""
    at = touches[len(users) + len(places)]
    rest = (
        resources, at, keys, number, subject, account, time, klass, learn, looks, excuse, pop, survival, gate, mark,
        marks, out,
    )  # fmt: skip
    found = 0
    for j in range(len(users)):
        found = _walk(users[j], touches[j], NUMBERS[j], FEATURES, found, *rest)
    for j in range(len(places)):
        found = _walk(places[j], touches[len(users) + j], NUMBERS[len(users) + j], 1, found, *rest)
    return _walk(resources, at, NUMBERS[len(users) + len(places)], 1, found, *rest)


class Enumeration(Calibrated):
    """`enumeration`: identifiers in order, and data of others, by entity."""

    id = "enumeration"
    title = "Identifiers of others walked by {kind} {value}"
    weight = 2
    aspect = "amount"
    techniques = ("T1119", "T1213", "T1190")
    features = (
        Feature("steps", "identifiers", "{observed} identifiers read in order in {window}, where {expected} are usual"),
        Feature("foreign", "reads", "{observed} reads of other people's data in {window}, where {expected} are usual"),
    )
    kinds = (*USERS, *PLACES, "resource")
    cause: Mapping[str, str] = dict.fromkeys(kinds, "resource")  # many who walk one page at one time are one
    columns: Mapping[str, np.dtype[Any]] = {
        **dict.fromkeys(USERS, walk_dtype(4)),
        **dict.fromkeys(PLACES, walk_dtype(16)),
        "resource": np.dtype([CUSTOM, *((n, walk_dtype(16)[n]) for n in walk_dtype(16).names or ())]),
    }

    def __init__(self, offset_bits: float) -> None:
        super().__init__(offset_bits, FEATURES)
        self._population: npt.NDArray[np.float64] = np.zeros((len(KINDS), CLASSES, FEATURES, 4))
        self.state.update(population=self._population, hour=self._hour)

    def observe(self, frame: Frame, columns: Mapping[str, Array], bit: int) -> list[Array]:
        """Score the entities of each look at something, the account first; FINDING rows."""
        out = np.empty(len(self.kinds) * FEATURES * len(frame), FINDING)
        found = _observe(
            tuple(columns[kind] for kind in USERS), tuple(columns[kind] for kind in PLACES), columns["resource"],
            tuple(frame.touch[kind] for kind in self.kinds), frame.hashes["resource"], frame.number,
            frame.hashes["subject"], frame.hashes["account"], frame.time, frame.klass, frame.learn,
            frame.of(_looks), np.zeros((len(frame), FEATURES)), self._population, self._survival.today,
            self._survival.gate, np.uint16(1 << bit), frame.marks, out,
        )  # fmt: skip
        return [out[:found]]

    def measures(self, kind: str) -> int:
        """Of what many share, steps alone."""
        return FEATURES if kind in USERS else 1


def _looks(events: Frame) -> Array:
    looks: Array = LOOKS[events.action]
    return looks
