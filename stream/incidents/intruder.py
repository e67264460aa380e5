"""Whoever carries a theft out: knows what the log showed before, and adds requests to each of its days.

The cast is drawn from the past: the insider is somebody who works there, the stolen key is one in use, the addresses of
homes lie among those of customers. So a theft can be laid over any log.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.alerts import EntityRef
from stream.evaluate.truth import Attack
from stream.incidents.cast import by_account, chosen, in_group, stem
from stream.incidents.drafts import ACCOUNT_KIND, ACTION, FAILURE, Draft, draft, joined, refuse, take, texts
from stream.incidents.places import COUNTRIES, addresses, keys
from stream.incidents.rows import I64
from stream.incidents.theft import Theft
from stream.incidents.timeline import DAY_MS, HOUR_MS

_ASN_BASE: Final = 4_200_200_000  # of networks that nobody here was seen on before
_ADDRESS_BASE: Final = 248 << 24
_NIGHT: Final = (0.5, 5.0)  # local hours
_LOGIN: Final = ACTION["login"]
_PARTS: Final = 5  # in which what was gathered is carried out
_NAMED_MAX: Final = 5_000  # victims in a truth


class Intruder:
    """One theft, from its start on. start_ms, end_ms: epoch ms; the last request may be earlier."""

    def __init__(self, name: str, theft: Theft, begin_ms: int, seed: int, prefix: str) -> None:
        self.id, self.theft = name, theft
        self.start_ms = begin_ms + int(theft.start_h * HOUR_MS)
        self.end_ms = self.start_ms + int(theft.duration_h * HOUR_MS)
        self.honey = f"{prefix}9{zlib.crc32(name.encode()) % 10**6:06d}"
        self._prefix = prefix
        self._rng = np.random.default_rng([seed, 21, zlib.crc32(name.encode())])
        self._actors: npt.NDArray[Any] = texts([])
        self._past: dict[str, Draft] = {}  # what each of the actors did
        self.ready = False
        self._done = 0  # requests so far: where the walk and the list of victims stand
        self._first_ms, self._last_ms = self.end_ms, self.start_ms
        self._seen: set[EntityRef] = set()

    def active(self, begin_ms: int) -> bool:
        """Whether it has anything to do on the day that begins then."""
        return self.start_ms < begin_ms + DAY_MS and begin_ms < self.end_ms

    def day(self, begin_ms: int, today: Draft, history: Draft, taken: set[str]) -> Draft:
        """What is added to a local day, whose other events are `today`. `taken`: accounts that others have taken."""
        start, end = max(self.start_ms, begin_ms), min(self.end_ms, begin_ms + DAY_MS)
        if start >= end:
            return joined([])
        if not self.ready:
            before = take(today, today["time"] < self.start_ms)
            present = set(today["account"][(today["time"] >= start) & (today["time"] < end)].tolist())
            self._prepare(joined([history, before]), present, taken)
        weekday = (begin_ms + 12 * HOUR_MS) // DAY_MS % 7  # day 0 was a Thursday
        if not len(self._actors) or (self.theft.days == "week" and weekday in (2, 3)):
            return joined([])
        rows = joined([self._rows(begin_ms, start, end, today), self._carried_out(begin_ms)])
        if not len(rows["time"]):
            return rows
        self._done += len(rows["time"])
        rows["arrival"] = rows["time"].copy()
        rows["attack"] = np.full(len(rows["time"]), self.id, np.object_)
        self._note(rows)
        return rows

    def truth(self) -> Attack | None:
        """What an analyst must be led to; None where nothing was done."""
        if not self._seen:
            return None
        return Attack(self.id, self.id, self._first_ms, self._last_ms, frozenset(self._seen))

    def _prepare(self, history: Draft, present: set[str], taken: set[str]) -> None:
        """Who it is, whose data there is, where from."""
        theft, rng = self.theft, self._rng
        self.ready = True
        done = history["action"] != _LOGIN
        past = take(history, done)
        self._universe = np.unique(past[theft.target][past[theft.target] != ""].astype(str))
        customers = past["account_kind"] == ACCOUNT_KIND["customer"]
        if theft.who == "stranger":
            name = "anonymous" if theft.identity == "none" else f"{stem(past, theft.as_kind)}9"
            count = theft.actors
            self._actors = texts([name] if count == 1 and theft.identity == "none" else
                                 [f"{name}{int(rng.integers(10**4)):04d}{i}" for i in range(count)])  # fmt: skip
            self._past = {}
        else:
            kind = "customer" if theft.who == "victims" else theft.who
            known = (past["account_kind"] == ACCOUNT_KIND[kind]) & in_group(past["group"], theft.group)
            self._actors = chosen(theft, take(past, known), self.start_ms, present, taken, rng)
            self._past = by_account(past, self._actors)
        agents, count_by = np.unique(past["user_agent"][customers].astype(str), return_counts=True)
        self._common = str(agents[count_by.argmax()]) if len(agents) else "Mozilla/5.0"
        self._choose_places(take(past, customers))
        if theft.targets in ("once", "random"):
            self._universe = rng.permutation(self._universe)

    def _choose_places(self, customers: Draft) -> None:
        """asn, country and address of each of the thief's addresses."""
        theft, rng, n = self.theft, self._rng, self.theft.addresses
        if theft.place == "home" and len(customers["time"]):
            at = rng.integers(0, len(customers["time"]), n)
            self._asn, self._country = customers["asn"][at], customers["country"][at]
            self._address = texts(
                f"{ip.rpartition('.')[0]}.{int(k)}"
                for ip, k in zip(customers["source_ip"][at].tolist(), rng.integers(1, 255, n).tolist(), strict=True)
            )
            return
        network = np.arange(n) % max(theft.networks, 1)
        asns = _ASN_BASE + rng.choice(100_000, max(theft.networks, 1), replace=False)
        self._asn = asns[network]
        self._country = rng.choice(np.array(COUNTRIES, np.object_), max(theft.networks, 1))[network]
        self._address = addresses((_ADDRESS_BASE + rng.integers(0, 1 << 26, n)).astype(np.uint64))

    def _rows(self, begin_ms: int, start: int, end: int, today: Draft) -> Draft:
        theft, rng = self.theft, self._rng
        if theft.own_pace or theft.hours == "own":
            return self._beside_own_work(start, end, today)
        if theft.hours == "night":
            start, end = max(start, begin_ms + int(_NIGHT[0] * HOUR_MS)), min(end, begin_ms + int(_NIGHT[1] * HOUR_MS))
        n = rng.poisson(max(theft.pace_per_hour * (end - start) / HOUR_MS, 0.0)) if end > start else 0
        time = np.sort(start + (rng.random(n) * (end - start)).astype(np.int64))
        which = (self._done + np.arange(n)) // theft.per_account
        if theft.who == "victims":
            which = which[which < len(self._actors)]  # everybody once
            time, n = time[: len(which)], len(which)
        actor = self._actors[which % len(self._actors)]
        base = self._as_before(actor, time)
        return self._dressed(base, begin_ms, which)

    def _carried_out(self, begin_ms: int) -> Draft:
        """What was gathered leaves in a few parts on the last day."""
        theft = self.theft
        if not theft.egress_records or not begin_ms <= self.end_ms - HOUR_MS < begin_ms + DAY_MS:
            return joined([])
        time = self.end_ms - HOUR_MS + np.arange(_PARTS, dtype=np.int64) * 240_000
        rows = self._as_before(np.repeat(self._actors[:1], _PARTS), time)
        rows["resource"] = np.full(_PARTS, "share/archive", np.object_)
        rows["action"], rows["outcome"] = np.full(_PARTS, ACTION["export"], np.int8), np.zeros(_PARTS, np.int8)
        rows["records"] = np.full(_PARTS, np.ceil(theft.egress_records / _PARTS))
        rows["bytes"] = rows["records"] * theft.bytes_per_record
        return rows

    def _beside_own_work(self, start: int, end: int, today: Draft) -> Draft:
        """Requests between the actor's own of the day: what is theirs anyway is as it is there."""
        theft, rng = self.theft, self._rng
        mine = np.flatnonzero(
            np.isin(today["account"].astype(str), self._actors.astype(str)) & (today["action"] != _LOGIN)
            & (today["time"] >= start) & (today["time"] < end)
        )  # fmt: skip
        if not len(mine):
            return joined([])
        mere_work = theft.targets == theft.place == theft.identity == "own" and not (theft.resource or theft.action)
        if theft.own_pace and mere_work:
            return self._more_work(take(today, mine))
        if theft.own_pace:
            n = rng.poisson(max(theft.own_pace - 1.0, 0.0) * len(mine))
        else:
            active_h = len(np.unique(today["time"][mine] // HOUR_MS))
            n = rng.poisson(theft.pace_per_hour * active_h)
        host = np.sort(rng.choice(mine, n))
        base = take(today, host)
        base["time"] = base["time"] + rng.integers(4_000, 240_000, n)
        return self._dressed(base, start, np.arange(n))

    def _more_work(self, done: Draft) -> Draft:
        """More of the day's work, as it was done: pieces of it, all that was about somebody, for others known to the
        actor, within the hour. What was about nobody is a piece by itself."""  # fmt: skip
        theft, rng = self.theft, self._rng
        whose = done["account"].astype(str) + "\0" + done["subject"].astype(str)
        alone = done["subject"] == ""
        whose[alone] = np.flatnonzero(alone).astype(str)
        _, first, piece = np.unique(whose, return_index=True, return_inverse=True)
        again = rng.integers(0, len(first), rng.poisson(max(theft.own_pace - 1.0, 0.0) * len(first)))
        rows = [np.flatnonzero(piece == p) for p in again.tolist()]
        more = take(done, np.concatenate([np.zeros(0, np.int64), *rows]))
        of = np.repeat(np.arange(len(again)), [len(each) for each in rows])
        more["time"] = more["time"] + rng.integers(240_000, HOUR_MS, len(again))[of]
        for n, account in enumerate(done["account"][first[again]].tolist()):
            known = self._past[account]["subject"]
            others = (of == n) & (more["subject"] != "") & (more["subject"] != account)
            more["subject"][others] = rng.choice(known[known != ""]) if others.any() and (known != "").any() else ""
        return take(more, more["time"] < self.end_ms)

    def _as_before(self, actor: npt.NDArray[Any], time: I64) -> Draft:
        """One row for each time, as the actor's latest was."""
        theft = self.theft
        if theft.who == "stranger":
            issuer = "" if theft.identity == "none" else "login"
            group = {"customer": "customers", "partner": "partners"}.get(theft.as_kind, "")
            kind = ACCOUNT_KIND[theft.as_kind]
            return draft(time, account=actor, account_kind=kind, issuer=issuer, group=group, action=ACTION["read"])
        if not len(actor):
            return joined([])
        rows = joined([take(self._past[name], np.array([-1])) for name in actor.tolist()])
        rows["time"] = time
        return rows

    def _dressed(self, rows: Draft, begin_ms: int, which: I64) -> Draft:
        """What is read, whose, with which token, from where."""
        theft, n = self.theft, len(rows["time"])
        if not n:
            return rows
        if theft.resource:
            turn = (self._done + np.arange(n)) % theft.resources
            rows["resource"] = texts(theft.resource.replace("{n}", f"{k:03d}") for k in turn.tolist())
            rows["object"] = np.full(n, "", np.object_)
        elif self._past:
            self._as_usual(rows)
        if theft.action:
            rows["action"] = np.full(n, ACTION[theft.action], np.int8)
        if theft.records_median:
            noise = np.exp(theft.records_sigma * self._rng.standard_normal(n))
            rows["records"] = np.ceil(theft.records_median * noise - 1e-9)
            rows["bytes"] = np.rint(rows["records"] * theft.bytes_per_record * self._rng.uniform(0.8, 1.2, n))
        rows["outcome"] = np.zeros(n, np.int8)
        self._aim(rows)
        self._come_from(rows, which)
        return joined([rows, self._identify(rows, begin_ms)])

    def _as_usual(self, rows: Draft) -> None:
        """Resource, action and size of some request of the actor's past."""
        for name in np.unique(rows["account"].astype(str)).tolist():
            past, at = self._past.get(name), np.flatnonzero(rows["account"] == name)
            if past is None or not len(past["time"]):
                continue
            chosen = self._rng.integers(0, len(past["time"]), len(at))
            for field in ("resource", "action", "records", "bytes", "object", "subject"):
                rows[field][at] = past[field][chosen]

    def _aim(self, rows: Draft) -> None:
        theft, rng, n, all_of_them = self.theft, self._rng, len(rows["time"]), self._universe
        if theft.who == "victims":
            rows["subject"] = rows["account"].copy()
            refuse(rows, rng.random(n) >= theft.hit_share)
            return
        if theft.targets in ("own", "honey") or not len(all_of_them):
            if theft.targets == "honey" and self._done <= n // 2:
                rows["subject"][n // 2] = self.honey
            return
        turn = self._done + np.arange(n)
        if theft.targets == "random":
            aimed = all_of_them[rng.integers(0, len(all_of_them), n)].astype(np.object_)
        else:
            aimed = all_of_them[turn % len(all_of_them)].astype(np.object_)
        missed = np.zeros(n, np.bool_)
        if theft.targets == "unknown":
            missed = rng.random(n) >= theft.hit_share
            aimed[missed] = texts(f"{self._prefix}8{k:06d}" for k in rng.integers(0, 10**6, int(missed.sum())).tolist())
        rows[theft.target] = aimed
        refuse(rows, missed)

    def _come_from(self, rows: Draft, which: I64) -> None:
        theft, n = self.theft, len(rows["time"])
        if theft.place != "own":
            at = which % len(self._address)
            rows["asn"], rows["country"], rows["source_ip"] = self._asn[at], self._country[at], self._address[at]
        if theft.client:
            rows["user_agent"] = np.full(n, self._common if theft.client == "common" else theft.client, np.object_)

    def _identify(self, rows: Draft, begin_ms: int) -> Draft:
        """Sets the tokens; the logins that the thief makes."""
        theft, n = self.theft, len(rows["time"])
        at_work = theft.own_pace or theft.hours == "own"
        if theft.identity == "stolen" or (theft.identity == "own" and at_work):
            return joined([])
        if theft.identity == "none":
            rows["credential"] = rows["issuer"] = np.full(n, "", np.object_)
            return joined([])
        number = np.array([zlib.crc32(name.encode()) for name in rows["account"].tolist()], np.int64)
        if theft.who != "victims":
            number = number * 512 + begin_ms // DAY_MS % 512
        rows["credential"] = keys(number, zlib.crc32(self.id.encode()))
        if theft.identity == "forged":
            return joined([])
        _, first = np.unique(number, return_index=True)
        logins = take(rows, np.sort(first))
        m = len(logins["time"])
        failed = self._rng.random(m) >= theft.login_success
        logins["time"] = logins["time"] - self._rng.integers(900, 4_000, m)
        logins |= {name: np.full(m, "", np.object_) for name in ("object", "subject")}
        logins["resource"], logins["action"] = np.full(m, "/login", np.object_), np.full(m, _LOGIN, np.int8)
        logins["records"], logins["bytes"] = np.zeros(m), np.full(m, 700.0)
        logins["outcome"] = np.where(failed, FAILURE, 0).astype(np.int8)
        out = np.isin(rows["credential"].astype(str), logins["credential"][failed].astype(str))
        for name, column in take(rows, ~out).items():  # who did not get in reads nothing
            rows[name] = column
        logins["credential"] = np.where(failed, "", logins["credential"])
        return logins

    def _note(self, rows: Draft) -> None:
        """What of these requests leads to the thief."""
        theft = self.theft
        self._first_ms = min(self._first_ms, int(rows["time"].min()))
        self._last_ms = max(self._last_ms, int(rows["time"].max()))
        kinds: dict[str, str] = {"account": "account"}
        if theft.place != "own":
            kinds["source"] = "source_ip"
            if theft.place != "home":
                kinds["network"] = "asn"
        if theft.identity in ("stolen", "forged", "login"):
            kinds["credential"] = "credential"
        if theft.identity == "forged":
            kinds["issuer"] = "issuer"
        if theft.client and theft.client != "common":
            kinds["client"] = "user_agent"
        if theft.resource and theft.who not in ("employee",):
            kinds["resource"] = "resource"
        if theft.actors_share:
            kinds["group"] = "group"
        for kind, field in kinds.items():
            if len(self._seen) > _NAMED_MAX:
                return
            for value in np.unique(rows[field].astype(str)).tolist():
                if value and value != "/login":
                    self._seen.add(EntityRef(kind, f"AS{value}" if kind == "network" else value))
        if theft.targets == "honey":
            self._seen.add(EntityRef("subject", self.honey))
