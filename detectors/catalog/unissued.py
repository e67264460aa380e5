"""Unissued: credentials that are used although no login issued them.

A forged token works everywhere and was issued nowhere. Each credential's first use is one trial, settled after the
join grace (a login's record may arrive late): a hit when no successful login named the credential until then.

Statistic: Chernoff's bound for the share of hits among the first uses of an hour against the entity's own share and
its peers' (some logins never reach the log: unissued use is a rate), `detectors.baselines.share`; and, for who forges a
few an hour, of a day and of a run of days, `detectors.baselines.daily_share`: not of programs, and of those hits alone
that are more likely forged than lost.
Excuse: a login feed that falls silent is not an attack, for who forges does not keep others from logging in. Each
issuer's issued first uses I of an hour are compared with rho R, the number expected from the traffic R of credentials
already in use, of which no more counts than three times what a day's mean is; where more than 30 % are missing, or
where three and more were due by it since the latest, so many of its hits are excused, and all of them where seven were
that also the hour before the latest makes due. Coverage: an issuer is judged once 20 of its credentials were seen
issued, and while at least half of them are; what no login feed covers is not judged here.
Entities: issuer, network, client, fleet; the credential carries the state.
Unit: credentials. Memory: 1 byte a credential, 40 a client, 72 a network, 112 an issuer, 40 a first use that waits.
Cold start: credentials first seen within `session_lifetime_h` of the stream's start may be older than it and are not
judged. Evasion: replaying a credential that was issued (that is a matter of place and volume); forging fewer tokens
than logins go missing, or while the login feed is silent (`silence`). Misses: an attacker who can write to the login
feed; credentials that the log does not name.
ATT&CK: T1606 Forge Web Credentials, T1550.001 Application Access Token, T1528 Steal Application Access Token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.base import (
    ACTION_LOGIN,
    DAILY,
    DAY_MS,
    FINDING,
    HOUR_MS,
    KINDS,
    WINDOWS_S,
    Array,
    Columns,
    Feature,
    Frame,
)
from detectors.baselines.daily_share import SLOW_S, count, daily_share, take_back, trial, usual
from detectors.baselines.share import SHARE, SHARE_FIELDS, SUSPECT_WEIGHT, TRIAL, YOUNG_MS, ShareDetector
from detectors.kernels import AHEAD, inline, kernel, prefetch

UNSEEN, ISSUED, WAITING, WAITING_ISSUED, USED, UNISSUED, OLDER, EXCUSED = range(8)  # the last: unissued, and excused
CROWDS: Final = ("fleet", "issuer", "network", "client")
# Where they are gathered over days. Programs are not: how often one is used with a token of long ago is its own habit,
# and is another in the next version and on holidays.
DAILY_CROWDS: Final = CROWDS[:3]
SHARED: Final = ("network",)  # by so many that the rest of the crowd says what is usual now
COVERED_MIN: Final = 20.0
COVERED_SHARE: Final = 0.5
MISSING_MIN: Final = 0.3
EXPECTED_MIN: Final = 5.0  # issued first uses an hour; fewer do not tell a silence
HITS_MIN: Final = 4.5  # decayed: fewer than five are not worth a word
DUE_MIN: Final = 3.0  # issued first uses since the latest: one gap in twenty is so long
SILENT_MIN: Final = 7.0  # one in a thousand: there are no logins to compare with
FADED_MAX: Final = 50.0  # hours; what has faded for longer is nothing
EXCUSED_FROM: Final = 0.5  # a hit that may as well be a login that its feed lost is none of a day's
BUSY_MAX: Final = 3.0  # times a day's mean: nobody excuses his tokens by what else he reads
RATIO_MS: Final = 24.0 * HOUR_MS  # over which rho is learned
WAITING_MAX: Final = 1 << 20  # first uses that wait at once; beyond, they are not judged, and counted

CREDENTIAL: Final = np.dtype([("status", np.uint8)])
FIRST_USE: Final = np.dtype(
    [
        ("time", np.int64), ("credential", np.int32), ("slots", np.int32, (4,)),
        ("suspect", np.uint8, (4,)), ("reversal", np.uint8),
        ("left", np.float32),  # of a reversal: what the hit still counts in its day; 0 where it is of none
    ],
    align=True,
)  # fmt: skip
DAY: Final = daily_share(1)
NETWORK: Final = np.dtype([*SHARE_FIELDS, ("day", DAY)], align=True)
AUTHORITY: Final = np.dtype(
    [
        *SHARE_FIELDS, ("day", DAY),
        ("flow_seen", np.int64), ("issued_at", np.int64),  # ms
        ("issued", np.float32), ("traffic", np.float32),  # decayed over an hour
        ("day_issued", np.float32), ("day_traffic", np.float32),
        ("issued_ever", np.float32),
    ],
    align=True,
)  # fmt: skip


@kernel
def _follow(
    credentials: Array, fleet: Array, issuers: Array, touch: Array, touch_fleet: Array, touch_issuer: Array,
    touch_network: Array, touch_client: Array, action: Array, succeeded: Array, time: Array, judged_from: int,
    mark: Any, marks: Array, waiting: Array,
) -> int:  # fmt: skip
    """Follow each credential's life; first uses and reversals go to `waiting`, whose new length is returned."""
    count = 0
    n = touch.shape[0]
    for i in range(n):
        if i + AHEAD < n:
            prefetch(credentials, touch[i + AHEAD]["slot"])
        slot = touch[i]["slot"]
        if slot <= 0:  # absent, or in the overflow, where names are not told apart
            continue
        c = credentials[slot]
        status = c["status"]
        issuer = touch_issuer[i]["slot"]
        if action[i] == ACTION_LOGIN:
            if not succeeded[i]:
                continue
            if status == WAITING:
                c["status"] = WAITING_ISSUED
            elif status not in (WAITING_ISSUED, USED):
                c["status"] = ISSUED
            if status not in (UNISSUED, EXCUSED):
                continue
            c["status"] = USED  # its login came after the grace: take the hit back
        elif status == UNSEEN and time[i] < judged_from:
            c["status"] = OLDER
            continue
        elif status == UNSEEN:
            c["status"] = WAITING
            marks[i] |= mark
        elif status == ISSUED:
            c["status"] = WAITING_ISSUED
        else:
            if status in (WAITING, UNISSUED, EXCUSED):
                marks[i] |= mark
            else:
                _flow(issuers[issuer] if issuer >= 0 else fleet[0], time[i], 0.0, 1.0)
            continue
        w = waiting[count]
        w["reversal"] = status in (UNISSUED, EXCUSED)
        age_h = np.float64(touch[i]["age_h"])
        today = (time[i] - np.int64(age_h * HOUR_MS)) // DAY_MS == time[i] // DAY_MS
        w["left"] = np.float32(math.exp(-age_h / 24.0) if status == UNISSUED and today else 0.0)
        w["time"] = time[i]
        w["credential"] = slot
        w["slots"][0] = touch_fleet[i]["slot"]
        w["slots"][1] = issuer
        w["slots"][2] = touch_network[i]["slot"]
        w["slots"][3] = touch_client[i]["slot"]
        w["suspect"][0] = touch_fleet[i]["suspect"]
        w["suspect"][1] = touch_issuer[i]["suspect"]
        w["suspect"][2] = touch_network[i]["suspect"]
        w["suspect"][3] = touch_client[i]["suspect"]
        count += 1
    return count


@inline
def _flow(r: Array, now: int, issued: float, traffic: float) -> None:
    """Count issued first uses and the traffic of known credentials, over an hour and over a day."""
    gap = np.float64(now - r["flow_seen"]) if now > r["flow_seen"] else 0.0
    hour = math.exp(-gap / HOUR_MS)
    day = math.exp(-gap / RATIO_MS)
    r["flow_seen"] = max(now, r["flow_seen"])
    if issued > 0.0:
        r["issued_at"] = max(now, r["issued_at"])
    r["issued"] = np.float32(r["issued"] * hour + issued)
    r["traffic"] = np.float32(r["traffic"] * hour + traffic)
    r["day_issued"] = np.float32(r["day_issued"] * day + issued)
    r["day_traffic"] = np.float32(r["day_traffic"] * day + traffic)
    r["issued_ever"] = np.float32(r["issued_ever"] + issued)


@inline
def _excuse(r: Array, now: int) -> float:
    """The chance that a hit of this authority is a login that its feed lost."""
    if r["day_traffic"] <= 0.0:
        return 0.0
    traffic = min(np.float64(r["traffic"]), BUSY_MAX / 24.0 * r["day_traffic"])
    expected = r["day_issued"] / r["day_traffic"] * traffic
    missing = expected - r["issued"]
    if expected < EXPECTED_MIN or missing < MISSING_MIN * expected:
        missing = 0.0
    gap = (now - r["issued_at"]) / HOUR_MS
    faded = min((r["flow_seen"] - r["issued_at"]) / HOUR_MS, FADED_MAX)
    before = r["issued"] * math.exp(faded)  # of the hour until the latest
    by_traffic, by_hour = expected * min(gap, 1.0), before * (1.0 - math.exp(-gap))
    if min(by_traffic, by_hour) >= SILENT_MIN:
        return 1.0
    if by_traffic >= DUE_MIN:
        missing = max(missing, by_traffic)
    share: float = min(missing / (np.float64(r["hits"]) + 1.0), 1.0)
    return share


@kernel
def _due(
    waiting: Array, until: int, credentials: Array, fleet: Array, issuers: Array, shares: Array, grace: int,
    trials: Array,
) -> int:  # fmt: skip
    """Turn the first uses that have waited long enough into trials[4, n] of fleet, issuer, network and client."""
    count = 0
    for i in range(waiting.shape[0]):
        w = waiting[i]
        if w["time"] > until:
            break
        c = credentials[w["credential"]]
        for kind in range(4):
            trials[kind, i]["slot"] = -1
        count += 1
        status = c["status"]
        hit = 0
        if w["reversal"]:
            hit = -1
        elif status == WAITING:
            c["status"] = UNISSUED
            hit = 1
        elif status == WAITING_ISSUED:
            c["status"] = USED
        else:
            continue  # evicted while it waited
        named = w["slots"][1] >= 0
        authority = issuers[w["slots"][1]] if named else fleet[0]
        if hit == 0:
            _flow(authority, w["time"], 1.0, 1.0)
        if authority["issued_ever"] < COVERED_MIN or (named and shares[w["slots"][1]] > COVERED_SHARE):
            continue
        excuse = 1.0 - w["left"] if hit < 0 else _excuse(authority, w["time"])
        if hit > 0 and excuse > EXCUSED_FROM:
            c["status"] = EXCUSED
        for kind in range(4):
            t = trials[kind, i]
            t["time"] = w["time"] + grace
            t["event"] = -1
            t["slot"] = w["slots"][kind]
            t["hit"] = hit
            t["suspect"] = w["suspect"][kind]
            t["excuse"] = np.float32(excuse)
    return count


@kernel
def _of_days(
    days: Array, trials: Array, shared: bool, young_until: int, kind: int, lately: Array, pop: Array, survival: Array,
    gate: int, crowd: Array, out: Array,
) -> int:  # fmt: skip
    """Take the trials of entities of one kind into their days and runs of days; findings written. crowd: scratch."""
    found = 0
    for i in range(trials.shape[0]):
        t = trials[i]
        excused = t["excuse"] > EXCUSED_FROM if t["hit"] > 0 else t["hit"] < 0 and t["excuse"] >= 1.0
        if t["slot"] < 0 or excused:
            continue
        r = days[t["slot"]]
        if t["hit"] < 0:
            take_back(r, 0, 1.0 - np.float64(t["excuse"]), pop, lately, crowd, shared)
            continue
        now, hit = t["time"] // 1000, int(t["hit"])
        count(lately, now, hit, crowd)
        weight = SUSPECT_WEIGHT if t["suspect"] else 1.0
        bits = trial(r, 0, now, hit, weight, 1, SLOW_S[0], t["time"] < young_until, pop, crowd, shared, survival)
        if bits > 0.0 and r["level"][0] >= gate:
            o = out[found]
            o["event"] = t["event"]
            o["time"] = t["time"]
            o["slot"] = t["slot"]
            o["kind"] = kind
            o["klass"] = 0
            o["horizon"] = DAILY
            o["feature"] = 0
            o["bits"] = np.float32(bits)
            o["observed"] = r["hits"][0]
            o["expected"] = np.float64(r["trials"][0]) * usual(r, 0, pop)
            found += 1
    return found


class Unissued(ShareDetector):
    """`unissued`: credentials that no login issued, by what they share."""

    id = "unissued"
    title = "Tokens that no login issued are reading data: {kind} {value}"
    weight = 3
    aspect = "issuance"
    techniques = ("T1606", "T1550.001", "T1528")
    features = (
        Feature(
            "unissued",
            "credentials",
            "{observed} credentials used in {window} that no login issued, where {expected} are usual",
        ),
    )
    kinds = CROWDS
    cause: Mapping[str, str] = dict.fromkeys(kinds, "issuer")  # whoever forges, forges with an issuer's key
    columns: Mapping[str, np.dtype[Any]] = {
        "credential": CREDENTIAL, "fleet": AUTHORITY, "issuer": AUTHORITY, "network": NETWORK, "client": SHARE,
    }  # fmt: skip

    def __init__(self, offset_bits: float, join_grace_s: float, session_lifetime_h: float) -> None:
        super().__init__(offset_bits, horizons=len(WINDOWS_S) - 1)
        self._first_uses = np.zeros((len(DAILY_CROWDS), 2))  # of each kind of entity: learned trials and hits
        self._lately = np.zeros((len(DAILY_CROWDS), 3))  # s; decayed trials and hits
        self.state.update(first_uses=self._first_uses, lately=self._lately)
        self._grace_ms = int(join_grace_s * 1000)
        self._lifetime_ms = int(session_lifetime_h * HOUR_MS)
        self._waiting = np.zeros(0, FIRST_USE)
        self._judged_from = np.zeros(1, np.int64)
        self._overflowed = 0

    @property
    def overflowed(self) -> int:
        """First uses that found no room to wait."""
        return self._overflowed

    def observe(self, frame: Frame, columns: Mapping[str, Array], bit: int) -> list[Array]:
        """Follow the credentials; their first uses are judged at a later tick."""
        if self._judged_from[0] == 0 and len(frame):
            self._judged_from[0] = frame.time[0] + self._lifetime_ms
        touch = frame.touch
        new = np.zeros(len(frame), FIRST_USE)
        count = _follow(
            columns["credential"], columns["fleet"], columns["issuer"], touch["credential"], touch["fleet"],
            touch["issuer"], touch["network"], touch["client"], frame.action, frame.succeeded, frame.time,
            int(self._judged_from[0]), np.uint16(1 << bit), frame.marks, new,
        )  # fmt: skip
        room = WAITING_MAX - len(self._waiting)
        self._overflowed += max(count - room, 0)
        if count:
            self._waiting = _joined(self._waiting, new[: min(count, room)])
        return []

    def tick(self, now_ms: int, columns: Mapping[str, Array]) -> list[Array]:
        """Judge the first uses whose grace is over; FINDING rows."""
        self.upkeep(now_ms)
        until = now_ms - self._grace_ms
        if not len(self._waiting) or self._waiting[0]["time"] > until:
            return []
        trials = np.zeros((len(CROWDS), len(self._waiting)), TRIAL)
        shares = self.shares("issuer", columns["issuer"])
        count = _due(
            self._waiting, until, columns["credential"], columns["fleet"], columns["issuer"], shares, self._grace_ms,
            trials,
        )  # fmt: skip
        self._waiting = self._waiting[count:].copy()
        unmarked = np.zeros(0, np.uint16)
        found = [self.settle(kind, columns[kind], trials[k, :count], 0, 0, unmarked) for k, kind in enumerate(CROWDS)]
        found += [self._in_days(k, columns[kind], trials[k, :count]) for k, kind in enumerate(DAILY_CROWDS)]
        return [each[each["observed"] >= HITS_MIN] for each in found]

    def _in_days(self, c: int, state: Array, trials: Array) -> Array:
        """First uses that are few an hour, and many in a day or day after day; FINDING rows."""
        number = KINDS.index(CROWDS[c])
        out = np.empty(len(trials), FINDING)
        found = _of_days(
            state["day"], trials, CROWDS[c] in SHARED, int(self._survival.clock[0]) + YOUNG_MS, number,
            self._lately[c], self._first_uses[c], self._survival.today[number, 0, DAILY, 0],
            int(self._survival.gate[number, 0, DAILY, 0]), np.zeros(2), out,
        )  # fmt: skip
        return out[:found]

    def stands(self, credentials: npt.NDArray[np.int32], columns: Mapping[str, Array]) -> npt.NDArray[np.bool_]:
        """A first use that waited is a hit once its grace is over without a login."""
        status = columns["credential"]["status"][np.maximum(credentials, 0)]
        standing: npt.NDArray[np.bool_] = (credentials >= 0) & np.isin(status, (UNISSUED, EXCUSED, WAITING))
        return standing

    def save(self) -> Columns:
        """The base's, the first uses that wait, and from when credentials are judged."""
        return {**super().save(), "waiting": self._waiting, "judged_from": self._judged_from}

    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from what `save` gave."""
        super().load(state)
        self._waiting = state["waiting"].astype(FIRST_USE)
        self._judged_from[...] = state["judged_from"]

    def held_slots(self) -> Columns:
        """The slots of what waits, by kind of entity: what is loaded must lie within the tables."""
        slots = {kind: self._waiting["slots"][:, k] for k, kind in enumerate(("fleet", "issuer", "network", "client"))}
        return {"credential": self._waiting["credential"], **slots}


def _joined(first: Array, second: Array) -> Array:
    """Two arrays of one structured dtype, one after the other (numpy's concatenate compares dtypes field by field)."""
    out = np.empty(len(first) + len(second), first.dtype)
    out[: len(first)] = first
    out[len(first) :] = second
    return out
