"""Rhythm: a machine that is regular, and then is not: at another pace, hour or size than it ever was.

What runs on a clock repeats itself: the time between two requests, the hours and weekdays, the sizes of what it takes
from where. Each success of a machine answers three questions, and a *miss* is

    pace    a gap below half the median gap u:  u <- u + (1 / n + 1 / 50) sign(ln gap - u)
    size    a resource and size (within a tenth) that were not seen together for one to two months
    hour    an hour (or the one beside it) or a weekday in which it was never active in that time; asked once an hour

Statistic: S <- max(0, e^(-dt / 1 d) S + sum of log2 e),  e = q^(-1/2) for a miss, 1 / (1 + sqrt q) for none

q = (misses + 1/2) / (n + 1) over the machine's last n <= 500 answers to that question, Krichevsky and Trofimov's
estimate, is how often it misses anyway. e has mean one for any q, so S is Page's CUSUM of an e-process: where answers
are independent it stands at b bits by chance at one time in 2^b, and because they are not quite, it is calibrated by
`detectors.baselines.calibration`. Regularity has to be earned: a question counts while q <= 0.1, so that who answers as
it comes never shows anything. Sources: Page, "Continuous Inspection Schemes" (1954); Shin, Ramdas and Rinaldo,
"E-detectors" (2022); Krichevsky and Trofimov, "The Performance of Universal Encoding" (1981).

A machine that kept a pace and fell silent in hours in which it works catches up: what it left out is excused. Whatever
it has done once is known from then on, so a schedule that changed for good, or a release, is told once at most; while
an incident is open on it a tenth of that is learned.
Entities: account (of services and partners; all its keys are one machine). Unit: seconds, bytes, hours.
Memory: 80 bytes an account, none a session.
Cold start: a week an account, in which everything is learned and nothing counts. Failures are no uses.
Evasion: the same tables in the same sizes in the hours in which the machine works, no faster than it does; after an
outage, as much as that left out; missing seldom: S falls by log2(1 + sqrt q) an answer, and by half in 17 hours.
Misses: what has no rhythm: people, machines that people ask, many machines on one account; a copy taken in place of the
usual one, byte for byte. A rerun misses the hour at most, which is little by itself.
ATT&CK: T1029 Scheduled Transfer, T1078 Valid Accounts, T1119 Automated Collection, T1528 Steal Application Access
Token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from detectors.base import FINDING, HOURLY, KINDS, Array, Feature, Frame, size
from detectors.baselines.calibration import LEVELS
from detectors.baselines.share import ShareDetector
from detectors.kernels import LN2, inline, kernel, level_of

SERVICE: Final = 3  # the class from which on accounts are machines
WARM_H: Final = 168.0
MEMORY_S: Final = 28 * 86_400  # of a generation; there are two
ANSWERS: Final = 500.0  # that q remembers
EARNED: Final = 0.1005  # a tenth; none of 500 answers is a share of just this, so that no rounding decides
BITS_MAX: Final = 200.0  # so that it comes down again
FADE_S: Final = 86_400.0
STEP: Final = 0.02  # of the median gap's logarithm
WIDTH: Final = 0.2  # of a size's logarithm: a tenth more or less is the same
DAY_H: Final = 6  # hours of the day from which on a machine can be late; a nightly job cannot
EXCUSES_MAX: Final = 60_000
SUSPECT: Final = 0.1
PACE, SIZE, HOUR = range(3)
QUESTIONS: Final = 3

BEAT: Final = np.dtype(
    [
        ("sizes", np.uint64, (4,)),  # filters of what was taken from where: two of this generation, two of the last
        ("bits", np.float32),  # S
        ("gap", np.float32), ("usual", np.float32),  # ln s, median; ln bytes, mean
        ("share", np.float32, (QUESTIONS,)),  # q
        ("seen", np.uint32),  # s, its latest success
        ("hours", np.uint32, (2,)),  # 24 of the day, 7 of the week; of this generation and the last
        ("answers", np.uint16, (QUESTIONS,)),
        ("excused", np.uint16),
        ("generation", np.uint8),
        ("level", np.uint8),
    ],
    align=True,
)  # fmt: skip


@inline
def _spread(x: Any) -> Any:
    """A number's bits in disorder: the finaliser of MurmurHash3."""
    x ^= x >> np.uint64(33)
    x *= np.uint64(0xFF51AFD7ED558CCD)
    x ^= x >> np.uint64(33)
    x *= np.uint64(0xC4CEB9FE1A85EC53)
    return x ^ (x >> np.uint64(33))


@inline
def _cell(resource: Any, step: float) -> Any:
    """Which of 128 bits stands for a size, in steps, of a resource."""
    return np.int64(_spread(resource ^ np.uint64(np.int64(step))) >> np.uint64(57))


@inline
def _known(r: Array, cell: Any) -> bool:
    word, bit = cell >> 6, np.uint64(cell & 63)
    known: bool = ((r["sizes"][word] | r["sizes"][2 + word]) >> bit) & np.uint64(1) == np.uint64(1)
    return known


@inline
def _keep(r: Array, cell: Any) -> None:
    r["sizes"][cell >> 6] |= np.uint64(1) << np.uint64(cell & 63)


@inline
def _turn(r: Array, now_s: int) -> None:
    """Begin a new generation when it is due: what the last but one knew is forgotten."""
    turn = np.int64(now_s // MEMORY_S) & 255
    if turn == r["generation"]:
        return
    follows = (np.int64(r["generation"]) + 1) & 255 == turn
    for word in range(2):
        r["sizes"][2 + word] = r["sizes"][word] if follows else np.uint64(0)
        r["sizes"][word] = np.uint64(0)
    r["hours"][1] = r["hours"][0] if follows else np.uint32(0)
    r["hours"][0] = np.uint32(0)
    r["generation"] = np.uint8(turn)


@inline
def _active_s(hours: Any, since: Any, now: Any) -> float:
    """Seconds between two times, the last week at most, in hours in which it works; 0 where those are few."""
    known = hours & 0xFFFFFF
    known &= (known << 1 | known >> 23) & (known >> 1 | known << 23)  # without those that are only beside them
    count = 0
    for hour in range(24):
        count += known >> hour & 1
    if count < DAY_H:
        return 0.0
    total, start = 0.0, max(since, now - 7 * 86_400)
    while start < now:
        stop = min((start // 3600 + 1) * 3600, now)
        if known >> (start // 3600 % 24) & 1 and hours >> (24 + (start // 86_400 + 3) % 7) & 1:
            total += stop - start
        start = stop
    return total


@inline
def _answer(r: Array, question: int, missed: bool, weight: float) -> float:
    """log2 e of an answer by what was known before it; then learn it."""
    n = np.float64(r["answers"][question])
    q = max(np.float64(r["share"][question]) if n > 0.0 else 0.5, 0.5 / (ANSWERS + 1.0))
    bits = 0.0
    if q <= EARNED:
        bits = -0.5 * math.log(q) / LN2 if missed else -math.log(1.0 + math.sqrt(q)) / LN2
    r["share"][question] = np.float32(q + weight * ((1.0 if missed else 0.0) - q) / (n + 2.0))
    if n < ANSWERS:
        r["answers"][question] += 1
    return bits


@kernel
def _follow(
    beats: Array, touch: Array, h_resource: Array, succeeded: Array, reads: Array, taken: Array, records: Array,
    learn: Array, time: Array, klass: Array, survival: Array, gates: Array, mark: Any, marks: Array, out: Array,
) -> int:  # fmt: skip
    """Follow each machine through its successes; findings written."""
    found = 0
    for i in range(touch.shape[0]):
        k = klass[i]
        if k < SERVICE or not succeeded[i] or learn[i] == 0:
            continue
        a = touch[i]
        if a["slot"] <= 0:
            continue
        r = beats[a["slot"]]
        now = time[i] // 1000
        seen = np.int64(r["seen"])
        _turn(r, now)
        weight = SUSPECT if a["suspect"] else 1.0
        warm = a["age_h"] >= WARM_H
        opens = seen == 0 or now // 3600 != seen // 3600
        if opens and warm:
            r["level"] = min(r["level"], level_of(np.float64(r["bits"])))  # what is left of it is no news
            if weight == 1.0:
                survival[k, 0] += 1
        bits, best, question = 0.0, 0.0, PACE
        gap = float(now - seen)
        rushed, owes = False, r["excused"] > 0
        if seen > 0:
            usual = float(r["gap"])
            y = math.log(max(gap, 0.5))
            rushed = y < usual - LN2
            if y > usual + LN2 and r["answers"][PACE] > 0 and r["share"][PACE] <= EARNED:
                left_out = _active_s(np.int64(r["hours"][0] | r["hours"][1]), seen, now) / math.exp(usual) - 1.0
                r["excused"] = np.uint16(min(max(left_out, np.float64(r["excused"])), EXCUSES_MAX))
            if r["answers"][PACE] == 0 and usual == 0.0:
                r["gap"] = np.float32(y)
            elif not (rushed and owes):
                step = weight * (STEP + 1.0 / (float(r["answers"][PACE]) + 10.0))
                r["gap"] = np.float32(usual + (step if y > usual else -step))
        amount = taken[i] if taken[i] > 0.0 else records[i]
        y = math.log(1.0 + max(amount, 0.0))
        near = math.floor(y / WIDTH)
        other = near + (1.0 if y / WIDTH - near >= 0.5 else -1.0)
        cell = _cell(h_resource[i], near)
        strange = reads[i] and not _known(r, cell)
        excused = r["excused"] > 0
        if owes:
            r["excused"] = r["excused"] - 1 if rushed or strange else r["excused"] // 2
        if warm and seen > 0 and not excused:
            bits = best = _answer(r, PACE, rushed, weight)
            if reads[i]:
                more = _answer(r, SIZE, strange, weight)
                bits += more
                if more > best:
                    best, question = more, SIZE
        if opens:
            hour, day = now // 3600 % 24, (now // 86_400 + 3) % 7
            present = np.uint32(1) << np.uint32(hour) | np.uint32(1) << np.uint32(24 + day)
            missed = (r["hours"][0] | r["hours"][1]) & present != present
            if warm and seen > 0:
                more = _answer(r, HOUR, missed, weight)
                bits += more
                if more > best:
                    best, question = more, HOUR
            if weight == 1.0:
                beside = np.uint32(1) << np.uint32((hour + 1) % 24) | np.uint32(1) << np.uint32((hour + 23) % 24)
                r["hours"][0] |= present | beside
        if reads[i] and (weight == 1.0 or now % 10 == 0):
            _keep(r, cell)
            _keep(r, _cell(h_resource[i], other))
            r["usual"] += np.float32((y - r["usual"]) / (np.float64(r["answers"][SIZE]) + 1.0))
        r["seen"] = now
        r["bits"] = np.float32(min(max(r["bits"] * math.exp(-gap / FADE_S) + bits, 0.0), BITS_MAX))
        if best <= 0.0:
            continue
        reached = min(level_of(float(r["bits"])), LEVELS - 1)
        if reached > r["level"]:
            if weight == 1.0:
                for each in range(np.int64(r["level"]) + 1, reached + 1):
                    survival[k, each] += 1
            r["level"] = reached
            if reached >= gates[k]:
                o = out[found]
                o["event"] = i
                o["time"] = time[i]
                o["slot"] = a["slot"]
                o["kind"] = 0
                o["klass"] = k
                o["horizon"] = HOURLY
                o["feature"] = question
                o["bits"] = r["bits"]
                o["observed"] = gap if question == PACE else amount if question == SIZE else 1.0
                o["expected"] = (
                    math.exp(r["gap"]) if question == PACE
                    else math.exp(r["usual"]) if question == SIZE else r["share"][HOUR]
                )  # fmt: skip
                found += 1
        if reached >= gates[k]:
            marks[i] |= mark
    return found


class Rhythm(ShareDetector):
    """`rhythm`: machines that were regular and are not."""

    id = "rhythm"
    title = "A machine out of its rhythm: {kind} {value}"
    weight = 1
    aspect = "rhythm"
    cause: Mapping[str, str] = {}
    techniques = ("T1029", "T1078", "T1119", "T1528")
    features = (
        Feature("pace", "s", "was used {observed} s after its last use, where {expected} s are usual"),
        Feature("size", "bytes", "took {observed} at once, a size that it never takes; usual: {expected}", size, size),
        Feature("hour", "hours", "worked in {observed} hour of the day or week in which it never does"),
    )  # fmt: skip
    kinds = ("account",)
    columns: Mapping[str, np.dtype[Any]] = {"account": BEAT}

    def observe(self, frame: Frame, columns: Mapping[str, Array], bit: int) -> list[Array]:
        """Follow each machine; FINDING rows."""
        number = KINDS.index("account")
        out = np.empty(len(frame), FINDING)
        found = _follow(
            columns["account"], frame.touch["account"], frame.hashes["resource"], frame.succeeded, frame.reads,
            frame.bytes, frame.records, frame.learn, frame.time, frame.klass, self._survival.today[number, :, 0, 0],
            self._survival.gate[number, :, 0, 0], np.uint16(1 << bit), frame.marks, out,
        )  # fmt: skip
        return [out[:found]]

    def measures(self, kind: str) -> int:
        """One sum: its features are what added most to it."""
        return 1
