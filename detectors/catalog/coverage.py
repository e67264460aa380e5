"""Coverage: data of people whom nobody of the reader's group, or nobody at all, has read for weeks.

Whoever works reads the same people again, their own and their colleagues'; whoever takes a population reads each once,
those too whom nobody asks for. A reading is a trial where the account's last, today, was not of the same person.
*Strangers*: a hit where no account of the reader's group (of none: not the account itself) has read that person for 28
days; services, who read whom their callers ask for, are left out. *Sleepers*: a hit where nobody has.
`detectors.baselines.memory` knows what was read when.

Statistic: decayed counts (1 day) of trials n and hits k against the entity's share q, and for what a day is too short
to tell a run of evidence over days for odds three times the usual, of n_d trials and k_d hits a day:

    raw bits = max(n KL(k / n || max(q, p)) / (1 + n / 200), S) / ln 2

Chernoff's bound with a design effect, and a CUSUM S of likelihood ratios where one odd day is no run; formulas and
sources are those of `detectors.baselines.daily_share`. q is shrunk to the class by three trials and remembers a week,
four once memory is full; a finished day adds no more hits to it than one deviation allows. p is the share of the
others then, shrunk to q: of its group for strangers, of its class for sleepers, so a team that takes over another's
work excuses its members, and a mailing that wakes customers excuses all; a place that is most of its class has no
others, and is compared with the class as it is.
Calibrated by `detectors.baselines.calibration`, where a run counts when it rises and not for each day that it lasts:
a thief at work for weeks does not make himself usual.
Entities: account, but not for its own data; sleepers also of network, client, issuer, resource. Unit: subjects.
Memory: 68 bytes an account, 33 a place; 6 MiB in all for what was read.
Cold start: five active days of an entity teach and are not judged; shares fall until memory is 28 days old.
Evasion: reading those whom the group reads anyway (`drip`, `volume`); a share of strangers that grows slower than q
follows. Misses: events that name no subject; accounts whose rule it is to read anybody, as in a call centre; a small
population that is read by somebody all the time; whoever is read for the first time because they are new.
ATT&CK: T1213 Data from Information Repositories, T1119 Automated Collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from detectors.base import CLASSES, DAY_MS, FINDING, KINDS, Array, Feature, Frame
from detectors.baselines.calibrated import Calibrated
from detectors.baselines.daily_share import SLOW_S, count, daily_share, trial, usual
from detectors.baselines.memory import DAYS, NEW, TODAY, UNSEEN, cells, recall
from detectors.baselines.share import SUSPECT_WEIGHT
from detectors.kernels import AHEAD, inline, kernel, prefetch

STRANGER, SLEEPER = 0, 1
FEATURES: Final = 2
NO_TRIAL: Final = -1
SERVICE: Final = 3  # the place of "service" in stream.events.ACCOUNT_KINDS
PLACES: Final = ("network", "client", "issuer", "resource")
ACCOUNT: Final = KINDS.index("account")
NUMBERS: Final = np.array([KINDS.index(kind) for kind in PLACES])
YOUNG_DAYS: Final = 5
GROUPS: Final = 4096  # whose latest share is kept, by hash


@inline
def _judge(
    state: Array, touch: Array, kind: int, f: int, at: int, found: int, trials: Array, crowd: Array, own: Array,
    time: Array, klass: Array, learn: Array, full_ms: int, pop: Array, survival: Array, gate: Array, mark: Any,
    marks: Array, out: Array,
) -> int:  # fmt: skip
    """Take feature f of every reading into the entities of one kind, where it stands at `at`; findings so far."""
    n = touch.shape[0]
    for i in range(n):
        if i + AHEAD < n and trials[f, i + AHEAD] != NO_TRIAL:
            prefetch(state, touch[i + AHEAD]["slot"])
        t = touch[i]
        if trials[f, i] == NO_TRIAL or t["slot"] <= 0 or (kind == ACCOUNT and own[i]):
            continue
        r = state[t["slot"]]
        k = klass[i]
        weight = SUSPECT_WEIGHT if t["suspect"] else 1.0
        bits = trial(
            r, at, time[i] // 1000, trials[f, i], weight, learn[i], SLOW_S[int(time[i] >= full_ms)],
            t["active"][1] < YOUNG_DAYS, pop[kind, k, f], crowd[f, i], kind != ACCOUNT, survival[kind, k, 0, f],
        )  # fmt: skip
        if trials[f, i] and r["level"][at] >= gate[kind, k, 0, f]:
            marks[i] |= mark
            if bits > 0.0:
                o = out[found]
                o["event"] = i
                o["time"] = time[i]
                o["slot"] = t["slot"]
                o["kind"] = kind
                o["klass"] = k
                o["horizon"] = 1
                o["feature"] = f
                o["bits"] = np.float32(bits)
                o["observed"] = r["hits"][at]
                o["expected"] = np.float64(r["trials"][at]) * usual(r, at, pop[kind, k, f])
                found += 1
    return found


@kernel
def _observe(
    accounts: Array, places: tuple[Array, ...], touches: tuple[Array, ...], subject: Array, account: Array,
    group: Array, reads: Array, pairs: Array, pairs_lost: Array, subjects: Array, subjects_lost: Array, groups: Array,
    classes: Array, trials: Array, crowd: Array, own: Array, time: Array, klass: Array, learn: Array, full_ms: int,
    pop: Array, survival: Array, gate: Array, mark: Any, marks: Array, out: Array,
) -> int:  # fmt: skip
    """trials[f, i], whether event i is a hit; then what that says of whom. touches: account, places. Findings."""
    n = time.shape[0]
    for i in range(n):
        if i + AHEAD < n:
            prefetch(accounts, touches[0][i + AHEAD]["slot"])
        trials[STRANGER, i] = trials[SLEEPER, i] = NO_TRIAL
        slot = touches[0][i]["slot"]
        if not reads[i] or slot <= 0:
            continue
        victim = subject[i] if subject[i] != np.uint64(0) else account[i]
        own[i] = victim == account[i]
        last = np.uint16(victim >> np.uint64(48))
        again = accounts[slot]["last"] == last
        accounts[slot]["last"] = last
        k, now, day = klass[i], time[i] // 1000, time[i] // DAY_MS
        known = recall(subjects[0], subjects_lost[0], np.uint64(0), victim, day)
        if again and known == TODAY:
            continue
        if known != UNSEEN:
            trials[SLEEPER, i] = known == NEW
            count(classes[k], now, trials[SLEEPER, i], crowd[SLEEPER, i])
        if own[i] or k == SERVICE:
            continue
        reader = group[i] if group[i] != np.uint64(0) else account[i]
        known = recall(pairs[k], pairs_lost[k], reader, victim, day)
        if known != UNSEEN:
            trials[STRANGER, i] = known == NEW
            peers = groups[np.int64(reader & np.uint64(GROUPS - 1))]
            count(peers, now, trials[STRANGER, i], crowd[STRANGER, i])
    rest = (trials, crowd, own, time, klass, learn, full_ms, pop, survival, gate, mark, marks, out)
    found = _judge(accounts, touches[0], ACCOUNT, STRANGER, STRANGER, 0, *rest)
    found = _judge(accounts, touches[0], ACCOUNT, SLEEPER, SLEEPER, found, *rest)
    for j in range(len(places)):
        found = _judge(places[j], touches[j + 1], NUMBERS[j], SLEEPER, 0, found, *rest)
    return found


class Coverage(Calibrated):
    """`coverage`: subjects that are not usually read, by entity."""

    id = "coverage"
    title = "Data of people whom nobody here usually reads: {kind} {value}"
    weight = 2
    aspect = "whom"  # of so many, how many are strangers: that is no matter of how many
    cause: Mapping[str, str] = {}
    techniques = ("T1213", "T1119")
    features = (
        Feature(
            "strangers", "subjects",
            "data of {observed} people whom its group had not read for weeks, in {window}, where {expected} are usual",
        ),
        Feature(
            "sleepers", "subjects",
            "data of {observed} people whom nobody had read for weeks, in {window}, where {expected} are usual",
        ),
    )  # fmt: skip
    kinds = ("account", *PLACES)
    columns: Mapping[str, np.dtype[Any]] = {
        "account": np.dtype(
            [("last", np.uint16), *((n, daily_share(2)[n]) for n in daily_share(2).names or ())]
        ),  # whom it read
        **dict.fromkeys(PLACES, daily_share(1)),
    }

    def __init__(self, offset_bits: float) -> None:
        super().__init__(offset_bits, FEATURES)
        self._population = np.zeros((len(KINDS), CLASSES, FEATURES, 2))
        self._pairs, self._pairs_lost = cells(CLASSES)
        self._subjects, self._subjects_lost = cells(1)
        self._groups, self._classes = np.zeros((GROUPS, 3)), np.zeros((CLASSES, 3))  # s; decayed trials and hits
        self.state.update(
            population=self._population, hour=self._hour, pairs=self._pairs, pairs_lost=self._pairs_lost,
            subjects=self._subjects, subjects_lost=self._subjects_lost, groups=self._groups, classes=self._classes,
        )  # fmt: skip

    def observe(self, frame: Frame, columns: Mapping[str, Array], bit: int) -> list[Array]:
        """Score who reads whose data, then learn; FINDING rows."""
        n = len(frame)
        out = np.empty((FEATURES + len(PLACES)) * n, FINDING)
        found = _observe(
            columns["account"], tuple(columns[kind] for kind in PLACES),
            tuple(frame.touch[kind] for kind in self.kinds), frame.hashes["subject"], frame.hashes["account"],
            frame.hashes["group"], frame.reads, self._pairs, self._pairs_lost, self._subjects, self._subjects_lost,
            self._groups, self._classes, np.empty((FEATURES, n), np.int8), np.empty((FEATURES, n, 2)),
            np.zeros(n, np.bool_), frame.time, frame.klass, frame.learn,
            int(self._survival.clock[0]) + DAYS * DAY_MS, self._population, self._survival.today, self._survival.gate,
            np.uint16(1 << bit), frame.marks, out,
        )  # fmt: skip
        return [out[:found]]

    def measures(self, kind: str) -> int:
        """Of a place, sleepers alone."""
        return FEATURES if kind == "account" else 1
