"""People of a company: who is there on a day, what they do, where from, and with which token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.incidents.company import Company, People
from stream.incidents.drafts import ACCOUNT_KIND, ACTION, FAILURE, Draft, draft, joined, names, refuse, take, texts
from stream.incidents.places import Places, keys
from stream.incidents.rows import I64, chance, mix, pick
from stream.incidents.timeline import DAY_MS, HOUR_MS

_STEPS_MAX: Final = 120
_HOLIDAY_SHARE: Final = 0.08  # of those who work in offices, at work on a holiday
_PART_H: Final = 4.0  # of a shift, after which one logs in again
_OBJECTS: Final = 3_000  # made a day; what is read is mostly of the last days


@dataclass(frozen=True, slots=True)
class Calendar:
    """When things happen. Days count from the stream's first; NEVER is a day beyond it."""

    company: Company
    start_ms: int
    days: int
    surge_day: int
    outage_ms: int
    release_day: float
    move_day: int

    def midnight(self, day: int) -> int:
        """Epoch ms at which a local day begins."""
        return self.start_ms + day * DAY_MS - int(self.company.utc_offset_h * HOUR_MS)

    def weekday(self, day: int) -> int:
        """0 is Monday."""
        return int((self.start_ms // DAY_MS + day + 3) % 7)

    def surge(self, group: str, day: int) -> float:
        """Times the usual work of a group on that day."""
        odd = self.company.oddities
        touched = odd.surge_group in ("*", group) and odd.surge_factor > 1
        return odd.surge_factor if touched and self.surge_day <= day < self.surge_day + odd.surge_days else 1.0


class Workforce:
    """One kind of people. Traits are drawn once; each day throws dice of its own."""

    def __init__(
        self, figures: People, calendar: Calendar, places: Places, scale: float, rng: np.random.Generator
    ) -> None:
        self._figures, self._calendar, self._places = figures, calendar, places
        self.count = n = max(2, round(figures.count * scale))
        self._salt = int(rng.integers(1 << 20))
        self._teams = max(1, min(figures.teams, n // 2))
        self.team = np.sort(rng.integers(0, self._teams, n))
        self.accounts = names(f"{figures.name}-", n)
        self._groups = texts(
            figures.group if self._teams == 1 else f"{figures.group}-{t + 1:03d}" for t in range(self._teams)
        )
        self._rate = figures.sessions_per_day * np.exp(figures.person_sigma * rng.standard_normal(n))
        self._habit = rng.dirichlet(np.full(len(figures.pages), 6.0), n) * len(figures.pages)  # each prefers some pages
        days = calendar.days
        self._first_day = np.where(rng.random(n) < figures.new_share, rng.integers(0, days, n), -1)
        self._off_from = np.where(rng.random(n) < figures.leave_share, rng.integers(-7, days, n), days + 1)
        self._off_days = rng.integers(4, 15, n)
        self._phase = rng.integers(0, 7, n)
        self._client = rng.integers(0, len(figures.clients), n)
        self._subjects = max(10, round(calendar.company.subjects * scale))
        self._epoch = np.full(n, -1, np.int64)
        self._size = np.exp(0.5 * rng.standard_normal(n))  # of what each exports
        self._pages = texts(page.resource for page in figures.pages)
        self._actions = np.array([ACTION[page.action] for page in figures.pages], np.int8)

    def day(self, day: int, rng: np.random.Generator) -> Draft:
        """All sessions that begin on a local day, and their logins."""
        people = self._at_work(day, rng)
        figures, calendar = self._figures, self._calendar
        weekday = calendar.company.weekdays[calendar.weekday(day)] if figures.hours == "any" else 1.0
        busy = np.exp(figures.day_sigma * rng.standard_normal(len(people)))
        factor = weekday * calendar.surge(figures.group, day)
        sessions = rng.poisson(self._rate[people] * busy * factor)
        person = np.repeat(people, sessions)
        if not len(person):
            return joined([])
        begins = calendar.midnight(day) + self._starts(person, day, rng)
        steps = np.clip(
            np.rint(figures.steps_median * np.exp(figures.steps_sigma * rng.standard_normal(len(person)))),
            1,
            _STEPS_MAX,
        ).astype(np.int64)
        session = np.repeat(np.arange(len(person)), steps)
        pause = rng.exponential(figures.pause_s * 1000, len(session))
        first = np.cumsum(steps) - steps
        elapsed = np.cumsum(pause) - np.repeat(np.cumsum(pause)[first] - pause[first], steps)
        time = begins[session] + elapsed.astype(np.int64)
        events = self._read(person, session, time, day, rng)
        self._come_from(events, person, session, day, rng)
        token = self._token(person, session, time, day)
        events["credential"] = keys(token, self._salt + 3)
        return joined([events, self._logins(events, token, person[session], rng)])

    def _at_work(self, day: int, rng: np.random.Generator) -> I64:
        figures, weekday = self._figures, self._calendar.weekday(day)
        there = (self._first_day <= day) & ~((day >= self._off_from) & (day < self._off_from + self._off_days))
        if figures.hours == "any":
            return np.flatnonzero(there)
        there &= rng.random(self.count) >= figures.sick_share
        if figures.hours == "rota":
            there &= (day + self._phase) % 7 < 5
        elif weekday >= 5:
            there &= rng.random(self.count) < 0.02  # someone has a deadline
        elif day in self._calendar.company.oddities.holidays:
            there &= rng.random(self.count) < _HOLIDAY_SHARE
        return np.flatnonzero(there)

    def _starts(self, person: I64, day: int, rng: np.random.Generator) -> I64:
        """Ms after midnight at which each session begins."""
        figures, n = self._figures, len(person)
        if figures.hours == "any":
            hours = np.cumsum(self._calendar.company.hours)
            return ((pick(hours / hours[-1], rng.random(n)) + rng.random(n)) * HOUR_MS).astype(np.int64)
        shifts = np.array(figures.begins_h)
        week = (day + self._phase[person]) // 7  # a rota changes its shift from week to week, an office does not
        which = mix(person + (week * 4_096 if figures.hours == "rota" else 0), self._salt) % np.uint64(len(shifts))
        late = (chance(person * 512 + day, self._salt + 1) - 0.5) * 0.8  # of an hour
        within = rng.random(n)
        within = np.where(np.abs(within - 0.5) < 0.05, within * 0.7, within)  # few work at noon
        starts: I64 = ((shifts[which] + late + within * figures.shift_h) * HOUR_MS).astype(np.int64)
        return starts

    def _read(self, person: I64, session: I64, time: I64, day: int, rng: np.random.Generator) -> Draft:
        """What is done, and whose data it is."""
        figures, who, n = self._figures, person[session], len(session)
        share = np.array([page.share for page in figures.pages]) * self._habit
        cumulated = np.cumsum(share, axis=1)
        chosen = (cumulated[who] < (rng.random(n) * cumulated[who, -1])[:, None]).sum(axis=1)
        page = np.minimum(chosen, len(figures.pages) - 1)
        column = {
            name: np.array([getattr(each, name) for each in figures.pages])
            for name in ("records_median", "records_sigma", "bytes_per_record", "object", "subject")
        }
        noise = column["records_sigma"][page]
        size = np.where(noise > 0.9, self._size[who], 1.0)
        records = np.ceil(column["records_median"][page] * size * np.exp(noise * rng.standard_normal(n)) - 1e-9)
        about = self._about(person, day, rng)[session]
        events = draft(
            time, account=self.accounts[who], account_kind=ACCOUNT_KIND[figures.kind],
            group=self._groups[self.team[who]], resource=self._pages[page], action=self._actions[page],
            records=records, bytes=np.rint(records * column["bytes_per_record"][page] * rng.uniform(0.6, 1.6, n)),
            issuer="sso" if figures.kind == "employee" else "login",
        )  # fmt: skip
        named = column["subject"][page] & (about != "")
        events["subject"][named] = about[named]
        with_object = np.flatnonzero(column["object"][page])
        number = (day + 400) * _OBJECTS + rng.integers(0, _OBJECTS, len(with_object))
        number -= (rng.exponential(2.0 * _OBJECTS, len(with_object))).astype(np.int64)
        events["object"][with_object] = texts(str(max(k, 0)) for k in number.tolist())
        refuse(events, rng.random(n) < figures.failed_share)
        return events

    def _about(self, person: I64, day: int, rng: np.random.Generator) -> npt.NDArray[Any]:
        """The subject of each session."""
        figures, n, prefix = self._figures, len(person), self._calendar.company.subject
        if figures.subjects == "none":
            return np.full(n, "", np.object_)
        if figures.subjects == "own":
            return self.accounts[person]
        anyone = rng.integers(0, self._subjects, n)
        if figures.subjects == "all":
            number = anyone
        else:
            share = self._subjects // self._teams  # a team's own part of all there are
            if figures.subjects == "panel":
                panel, turned = figures.panel, day * figures.panel * figures.panel_turnover
                mine = (turned + rng.integers(0, panel, n)).astype(np.int64)
            else:
                mine = (rng.random(n) ** 3 * share).astype(np.int64)
            number = np.where(
                rng.random(n) < figures.stranger_share if figures.subjects == "panel" else np.zeros(n, np.bool_),
                anyone, self.team[person] * share + mine % max(share, 1),
            )  # fmt: skip
        return texts(f"{prefix}{k:07d}" for k in number.tolist())

    def _come_from(self, events: Draft, person: I64, session: I64, day: int, rng: np.random.Generator) -> None:
        """Networks, addresses and clients."""
        figures, places, n = self._figures, self._places, len(person)
        home = places.choose("home", person, self._salt + 4)
        network, host = home.copy(), person.copy()
        if figures.site != "home":
            sites = places.networks["team" if figures.site == "team" else "company"]
            office = sites[self.team[person] % len(sites)]
            if self._calendar.company.oddities.moves and day >= self._calendar.move_day and figures.site == "company":
                office = np.where(office == sites[0], sites[-1], office)
            remote = chance(person * 512 + day, self._salt + 5) < figures.remote_share
            network = np.where(remote, home, office)
        carrier = places.choose("carrier", person, self._salt + 6)
        network, host = network[session], host[session]
        first = np.zeros(len(session), np.bool_)
        first[1:] = session[1:] == session[:-1]
        steps = np.bincount(session, minlength=n)
        place = np.arange(len(session)) - np.repeat(np.cumsum(steps) - steps, steps)
        roams = (rng.random(n) < figures.roam_share)[session] & (place >= steps[session] // 2)
        network = np.where(roams, carrier[session], network)
        places.put(events, network, host * 31 + self._salt)
        waits = chance(person, self._salt + 7) * self._calendar.company.oddities.release_days
        newer = (day >= self._calendar.release_day + waits).astype(np.int64)
        version = 120 + (self._client[person] * 3 + person) % 3
        agents = [f.replace("{v}", str(120 + v)) for f in figures.clients for v in range(6)]
        events["user_agent"] = texts(agents)[(self._client[person] * 6 + version - 120 + 3 * newer)[session]]

    def _token(self, person: I64, session: I64, time: I64, day: int) -> I64:
        """A number for each event's token."""
        who = person[session]
        if self._figures.login == "session":
            return (day * 4_000_000 + session) * 2 + 1
        if self._figures.login == "shift":
            part = ((time - self._calendar.midnight(day)) / HOUR_MS / _PART_H).astype(np.int64)
            return ((who * 512 + day) * 16 + part) * 2
        days = self._figures.token_days
        phase = mix(who, self._salt + 8) % np.uint64(max(int(days * 24), 1))
        return (who * 4_096 + ((day * 24 + phase.astype(np.int64)) / (days * 24)).astype(np.int64)) * 2

    def _logins(self, events: Draft, token: I64, who: I64, rng: np.random.Generator) -> Draft:
        """A login before each token's first use; some take a second attempt, and some never reach the log."""
        order = np.argsort(events["time"], kind="stable")
        _, at = np.unique(token[order], return_index=True)
        first = order[at]
        if self._figures.login == "app":
            epoch = token[first]
            fresh = self._epoch[who[first]] != epoch
            begun = self._epoch[who[first]] >= 0
            self._epoch[who[first]] = epoch
            first = first[fresh & (begun | (rng.random(len(first)) < 0.3))]  # most held one before the stream
        logins = take(events, first)
        logins["time"] = logins["arrival"] = logins["time"] - rng.integers(1_500, 20_000, len(first))
        logins |= {name: np.full(len(first), "", np.object_) for name in ("object", "subject")}
        logins["resource"] = np.full(len(first), "/login", np.object_)
        logins["action"] = np.full(len(first), ACTION["login"], np.int8)
        logins["records"], logins["bytes"] = np.zeros(len(first)), np.full(len(first), 800.0)
        logins["outcome"] = np.zeros(len(first), np.int8)
        failed = take(logins, rng.random(len(first)) < self._figures.failed_login_share)
        failed["time"] = failed["arrival"] = failed["time"] - rng.integers(3_000, 25_000, len(failed["time"]))
        failed["outcome"] = np.full(len(failed["time"]), FAILURE, np.int8)
        failed["credential"] = np.full(len(failed["time"]), "", np.object_)
        kept = take(logins, rng.random(len(first)) >= self._figures.lost_login_share)
        begin, span = self._calendar.outage_ms, self._calendar.company.oddities.outage_h * HOUR_MS
        missed = (kept["time"] >= begin) & (kept["time"] < begin + span)
        kept["arrival"] = np.where(missed, begin + int(span) + rng.integers(0, 120_000, len(missed)), kept["arrival"])
        return joined([kept, failed])
