"""Customers: sessions that follow the season, tokens that a login issues, phones that roam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.incidents.rows import (
    CUSTOMER,
    FAILURE,
    I64,
    LOGIN,
    U64,
    Bool,
    Rows,
    at,
    chance,
    empty,
    mix,
    pick,
    refuse,
)
from stream.incidents.setting import Setting, Trait, cumulated_lognormal, secrets
from stream.incidents.timeline import DAY_MS, SECOND_MS

_PURPOSE: Final = 3
_LEASE_DAYS: Final = 30  # a home keeps its address for so long
_LOGIN_BYTES: Final = 900.0
_NO_TOKEN: Final = -1


@dataclass(slots=True)
class _Sessions:
    """Sessions of one step, sorted by customer and start. customer: int64[n], index. start: int64[n], ms."""

    customer: I64
    start: I64
    app: Bool
    fresh: Bool  # a login begins it
    credential: U64
    issuer: npt.NDArray[np.int16]


class Customers:
    """All customers. 24 bytes of memory each: a cumulated rate, and the app's present token and its key."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._figures = figures = setting.world.customers
        rng = setting.rng(_PURPOSE)
        self._activity = cumulated_lognormal(setting.accounts, figures.activity_sigma, rng)
        self._epoch = np.full(setting.accounts, _NO_TOKEN, np.int32)
        self._key = np.full(setting.accounts, setting.keys[1], np.int16)
        self._group = setting.vocabulary.code("group", "customers")
        self._login = setting.vocabulary.code("resource", "/login")
        self._refresh = setting.vocabulary.code("resource", "/oauth/refresh")
        self._token_ms = int(setting.world.keys.token_days * DAY_MS)
        for first in range(0, setting.accounts, 1 << 20):
            self._begin_before(np.arange(first, min(first + (1 << 20), setting.accounts)), rng)

    def rows(self, start_ms: int, stop_ms: int, rng: np.random.Generator) -> Rows:
        """Logins and views of the sessions that begin in [start_ms, stop_ms)."""
        sessions = self._sessions(start_ms, stop_ms, rng)
        profile = self._profile(sessions, rng)
        delay = np.where(
            sessions.fresh & (rng.random(len(profile)) < self._figures.failed_login_share),
            rng.uniform(4_000, 30_000, len(profile)),
            0.0,
        ).astype(np.int64)
        fresh = np.flatnonzero(sessions.fresh)
        return np.concatenate(
            [
                self._failures(profile.take(np.flatnonzero(delay)), rng),
                self._logins(profile.take(fresh), sessions.app[fresh], delay[fresh], rng),
                self._views(profile, sessions, delay, rng),
            ]
        )

    def _begin_before(self, customer: I64, rng: np.random.Generator) -> None:
        """Some phones hold a token from before the stream."""
        salt, begins = self._setting.salt, self._setting.timeline.start_ms
        holds = self._setting.uses_app(customer)
        holds &= chance(customer, salt + Trait.BEFORE) < self._figures.began_before_share
        holds &= self._joined_ms(customer) <= begins
        holders = customer[holds]
        self._epoch[holders] = self._epoch_of(holders, np.full(len(holders), begins))
        old = rng.random(len(holders)) < self._figures.began_before_rotation_share
        self._key[holders[old]] = self._setting.keys[0]

    def _epoch_of(self, customer: I64, time_ms: I64) -> npt.NDArray[np.int32]:
        """Which of its tokens, counted from the start, an app holds at that time."""
        phase = mix(customer, self._setting.salt + Trait.PHASE) % np.uint64(self._token_ms)
        since = time_ms - self._setting.timeline.start_ms
        return ((since + phase.astype(np.int64)) // self._token_ms).astype(np.int32)

    def _joined_ms(self, customer: I64) -> I64:
        """When each customer signed up: most before the stream."""
        timeline, salt = self._setting.timeline, self._setting.salt
        span = timeline.end_ms - timeline.start_ms
        new = chance(customer, salt + Trait.SIGN_UP) < self._figures.sign_up_share_per_day * span / DAY_MS
        joins = timeline.start_ms + chance(customer, salt + Trait.SIGN_UP_TIME) * span
        return np.where(new, joins, 0.0).astype(np.int64)

    def _sessions(self, start_ms: int, stop_ms: int, rng: np.random.Generator) -> _Sessions:
        setting = self._setting
        per_day = self._figures.sessions_per_account_day * setting.accounts
        start = setting.timeline.arrivals(per_day, start_ms, stop_ms, rng)
        customer = pick(self._activity, rng.random(len(start)))
        member = start >= self._joined_ms(customer)
        start, customer = start[member], customer[member]
        order = np.argsort(customer, kind="stable")
        start, customer = start[order], customer[order]
        app = setting.uses_app(customer)
        epoch = self._epoch_of(customer, start)
        # The app logs in when its token's time is over; a run is one customer's sessions with one token.
        n = len(start)
        begins = np.ones(n, np.bool_)
        begins[1:] = (customer[1:] != customer[:-1]) | (epoch[1:] != epoch[:-1])
        run = np.maximum.accumulate(np.where(begins, np.arange(n), 0)) if n else np.arange(0)
        renewed = epoch[run] != self._epoch[customer]
        issuer = setting.key_at(start)
        app_issuer = np.where(renewed, issuer[run], self._key[customer])
        self._epoch[customer[app]] = epoch[app]
        self._key[customer[app]] = app_issuer[app]
        token = secrets((customer << 20) + epoch, setting.salt + Trait.TOKEN)
        web = rng.integers(1, 2**64, n, dtype=np.uint64) | np.uint64(1)
        return _Sessions(
            customer=customer,
            start=start,
            app=app,
            fresh=~app | (begins & renewed),
            credential=np.where(app, token, web),
            issuer=np.where(app, app_issuer, issuer),
        )

    def _profile(self, sessions: _Sessions, rng: np.random.Generator) -> Rows:
        """One row a session with what all its events share."""
        setting, figures, customer = self._setting, self._figures, sessions.customer
        rows = at(empty(len(customer)), sessions.start)
        rows["account"] = setting.member(customer)
        rows["account_kind"] = CUSTOMER
        rows["group"] = self._group
        rows["credential"] = sessions.credential
        rows["issuer"] = sessions.issuer
        rows["user_agent"] = setting.clients.of(customer, sessions.app, sessions.start)
        networks, salt = setting.networks, setting.salt
        self._move_home(rows, customer)
        trip = (customer << 20) + (sessions.start // int(figures.trip_days * DAY_MS))
        away = chance(trip, salt + Trait.TRIP) < figures.traveller_share
        rows["network"][away] = networks.choose(networks.abroad, trip[away], salt + Trait.ABROAD)
        tunnel = chance(customer, salt + Trait.TUNNEL) < figures.tunnel_share
        rows["network"][tunnel] = networks.choose(networks.hosting, customer[tunnel], salt + Trait.SERVER)
        moved = away | tunnel
        rows["source_ip"][moved] = networks.address(
            rows["network"][moved].astype(np.int64), customer[moved], salt + Trait.HOST
        )
        roams = sessions.app & ~moved & (rng.random(len(rows)) < figures.roam_share)
        rows[roams] = self._roamed(rows[roams], customer[roams])
        return rows

    def _move_home(self, rows: Rows, customer: I64) -> None:
        """Puts each row on its customer's residential network."""
        setting = self._setting
        network = setting.home(customer)
        lease = (customer << 12) + rows["time"] // (_LEASE_DAYS * DAY_MS)
        rows["network"] = network
        rows["source_ip"] = setting.networks.address(network, lease, setting.salt + Trait.HOST)

    def _roamed(self, rows: Rows, customer: I64) -> Rows:
        """The rows on the customers' mobile carriers, behind one of the carrier's shared addresses."""
        networks, salt = self._setting.networks, self._setting.salt
        network = networks.choose(networks.carriers, customer, salt + Trait.CARRIER)
        day = (customer << 20) + rows["time"] // DAY_MS
        rows["network"] = network
        rows["source_ip"] = networks.address(network, day, salt + Trait.NAT)
        return rows

    def _failures(self, profile: Rows, rng: np.random.Generator) -> Rows:
        """The attempts before the logins that succeed at the second."""
        rows = self._as_logins(profile, rng)
        rows["outcome"] = FAILURE
        rows["credential"] = 0
        rows["issuer"] = 0
        rows["resource"] = self._login
        return rows

    def _logins(self, profile: Rows, app: Bool, delay_ms: I64, rng: np.random.Generator) -> Rows:
        rows = at(self._as_logins(profile, rng), profile["time"] + delay_ms)
        rows["resource"] = np.where(app, self._refresh, self._login)
        late = rng.random(len(rows)) < self._figures.late_share
        lag = rng.uniform(0, self._figures.late_max_s * SECOND_MS, len(rows))
        rows["arrival"] += (lag * late).astype(np.int64)
        return rows.take(np.flatnonzero(rng.random(len(rows)) >= self._figures.lost_login_share))

    def _as_logins(self, rows: Rows, rng: np.random.Generator) -> Rows:
        rows["action"] = LOGIN
        rows["records"] = 0.0
        rows["bytes"] = np.rint(_LOGIN_BYTES * rng.uniform(0.8, 1.2, len(rows)))
        return rows

    def _views(self, profile: Rows, sessions: _Sessions, delay_ms: I64, rng: np.random.Generator) -> Rows:
        figures = self._figures
        n = len(profile)
        pages = figures.pages_median * np.exp(figures.pages_sigma * rng.standard_normal(n))
        count = np.clip(np.rint(pages), 1, figures.pages_max).astype(np.int64)
        session = np.repeat(np.arange(n), count)
        first = np.cumsum(count) - count
        total = len(session)
        pause = np.exp(figures.pause_sigma * rng.standard_normal(total, np.float32))
        pause *= figures.pause_median_s * SECOND_MS
        pause[first] = rng.uniform(800, 4_000, n)  # the first page follows the login at once
        elapsed = np.cumsum(pause, dtype=np.float64)
        elapsed -= np.repeat(elapsed[first] - pause[first], count)
        within = np.flatnonzero(elapsed <= figures.session_max_s * SECOND_MS)
        session, elapsed = session[within], elapsed[within]
        rows = profile.take(session)
        at(rows, rows["time"] + delay_ms[session] + elapsed.astype(np.int64))
        midway = sessions.app & (rng.random(n) < figures.roam_midway_share)
        moving = np.flatnonzero(midway[session] & (within - first[session] >= count[session] // 2))
        self._change_network(rows, sessions.customer[session[moving]], moving)
        self._setting.pages.fill(rows, pick(self._setting.pages.cumulated, rng.random(len(rows))), rng)
        refuse(rows, rng.random(len(rows)) < figures.failed_view_share)
        return rows

    def _change_network(self, rows: Rows, customer: I64, moving: I64) -> None:
        """From home to the carrier, or from the carrier to home."""
        on_carrier = np.isin(rows["network"][moving], self._setting.networks.carriers)
        homeward, outward = moving[on_carrier], moving[~on_carrier]
        home = rows[homeward]
        self._move_home(home, customer[on_carrier])
        rows[homeward] = home
        rows[outward] = self._roamed(rows[outward], customer[~on_carrier])
