"""The campaign: one forged token for each member number, a few views with it, from many addresses, at an even pace.

Visit v reads one member's pages; its account, token, client and addresses are computed from v alone, so the campaign
needs no memory and is the same however the simulation is cut into steps. Visits below zero are the trials before it.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from stream.incidents.figures import Attack
from stream.incidents.rows import CUSTOMER, I64, Bool, Rows, at, chance, empty, mix, pick, refuse
from stream.incidents.setting import Setting, Trait, secrets
from stream.incidents.timeline import DAY_MS, HOUR_MS, SECOND_MS

_PURPOSE: Final = 5
_CYCLE: Final = 1_000  # visits after which the numbers of views repeat
_JITTER: Final = 0.3  # of the time between two requests


class Campaign:
    """What the thief decided before the start. Times are epoch ms; networks: indexes; issuer, user_agents: codes."""

    def __init__(self, setting: Setting, attack: Attack) -> None:
        self._setting, self._attack = setting, attack
        rng, timeline = setting.rng(_PURPOSE), setting.timeline
        span = timeline.end_ms - timeline.start_ms
        first, last = sorted(attack.start_window)
        self.start_ms: Final = timeline.start_ms + int(rng.uniform(first, last) * span)
        self._numbers = setting.members if attack.ghosts else setting.accounts
        per_day = max(attack.requests_per_account_day * setting.accounts, attack.requests_per_day_min)
        once = self._numbers * attack.views_per_account / per_day
        self.end_ms: Final = min(timeline.end_ms, self.start_ms + int((attack.duration_days or once) * DAY_MS))
        self._gap_ms = DAY_MS / per_day
        spread = math.ceil(per_day / attack.requests_per_address_day - 1e-6)
        self.addresses: Final = max(attack.addresses_min, spread)
        key = 1 + int(self.start_ms >= timeline.rotation_ms) - (attack.key == "retired")
        self.issuer: Final = int(setting.keys[key])
        self.networks: Final = self._choose_networks(rng)
        self.user_agents: Final = np.array([setting.vocabulary.code("user_agent", name) for name in attack.user_agents])
        self._before = np.append(0, np.cumsum(1 + rng.poisson(attack.views_per_account - 1, _CYCLE)))
        self._group = setting.vocabulary.code("group", "customers")
        self._stride, self._offset = _shuffle(self._numbers, rng)
        shares = np.array([attack.pages.get(resource, 0.0) for resource in setting.pages.resources])
        self._page_shares = np.cumsum(shares) / shares.sum()
        earliest = max(timeline.start_ms, self.start_ms - int(attack.trial_days * DAY_MS))
        self.trials_ms: Final = np.sort(rng.integers(earliest, max(earliest + 1, self.start_ms), attack.trials))

    def rows(self, start_ms: int, stop_ms: int, rng: np.random.Generator) -> Rows:
        """Requests of the visits that begin in [start_ms, stop_ms)."""
        trial = np.flatnonzero((self.trials_ms >= start_ms) & (self.trials_ms < stop_ms))
        first = self._visit_from(self._turn(start_ms))
        visit = np.arange(first, max(first, self._visit_from(self._turn(stop_ms))))
        visits = np.append(-1 - trial, visit)
        begins = self.start_ms + self._requests_before(visit) * self._gap_ms
        return self._requests(visits, np.append(self.trials_ms[trial], begins.astype(np.int64)), rng)

    def _turn(self, time_ms: int) -> int:
        """The first request whose turn is not before that time."""
        within = min(max(time_ms, self.start_ms), self.end_ms) - self.start_ms
        return math.ceil(within / self._gap_ms)

    def _visit_from(self, request: int) -> int:
        """The first visit that begins with that request or a later one."""
        cycles, rest = divmod(request, int(self._before[-1]))
        return cycles * _CYCLE + int(np.searchsorted(self._before, rest))

    def _requests_before(self, visit: I64) -> I64:
        requests: I64 = visit // _CYCLE * self._before[-1] + self._before[visit % _CYCLE]
        return requests

    def _requests(self, visits: I64, begins_ms: I64, rng: np.random.Generator) -> Rows:
        setting, attack = self._setting, self._attack
        views = self._before[visits % _CYCLE + 1] - self._before[visits % _CYCLE]
        visit = np.repeat(visits, views)
        view = np.arange(len(visit)) - np.repeat(np.cumsum(views) - views, views)
        request = self._requests_before(visit) + view
        step_ms = self._gap_ms if attack.rotate == "request" else min(self._gap_ms, attack.view_gap_s * SECOND_MS)
        late = chance(request, setting.salt + Trait.PACE) * _JITTER * step_ms * (request > 0)
        rows = at(empty(len(visit)), (np.repeat(begins_ms, views) + view * step_ms + late).astype(np.int64))
        number = (visit * self._stride + self._offset) % self._numbers
        rows["account"] = number if attack.ghosts else setting.member(number)
        rows["account_kind"] = CUSTOMER
        rows["group"] = self._group
        rows["credential"] = secrets(visit, setting.salt + Trait.FORGED)
        rows["issuer"] = self.issuer
        rows["user_agent"] = self._clients(visit, rows["time"])
        self._place(rows, visit if attack.rotate == "visit" else request)
        setting.pages.fill(rows, pick(self._page_shares, rng.random(len(rows))), rng)
        ghost = ~self._in_use(rows["account"])
        refuse(rows, ghost)
        rows["attack"] = True
        return rows[rows["time"] < self.end_ms]

    def _place(self, rows: Rows, turn: I64) -> None:
        """Each turn comes from the next address; a home is given up after some hours."""
        setting, slot = self._setting, turn % self.addresses
        tenancy = slot << 20
        if self._attack.address_hours > 0:
            kept_ms = max(1, int(self._attack.address_hours * HOUR_MS))
            phase = (mix(slot, setting.salt + Trait.ADDRESS) % np.uint64(kept_ms)).astype(np.int64)
            tenancy = tenancy + (rows["time"] - setting.timeline.start_ms + phase) // kept_ms
        network = setting.networks.choose(self.networks, tenancy, setting.salt + Trait.FORGED)
        rows["network"] = network
        rows["source_ip"] = setting.networks.address(network, tenancy, setting.salt + Trait.HOST)

    def _clients(self, visit: I64, time_ms: I64) -> I64:
        if len(self.user_agents):
            return self.user_agents[visit % len(self.user_agents)]
        number = (mix(visit, self._setting.salt + Trait.FORGED) >> np.uint64(1)).astype(np.int64)
        return self._setting.clients.of(number, self._setting.uses_app(number), time_ms).astype(np.int64)

    def _in_use(self, member: I64) -> Bool:
        """Whether each member number is a customer's."""
        below = (member / self._setting.world.customers.member_gap).astype(np.int64)
        in_use: Bool = (self._setting.member(below) == member) | (self._setting.member(below + 1) == member)
        return in_use

    def _choose_networks(self, rng: np.random.Generator) -> I64:
        networks = self._setting.networks
        if self._attack.network_kind == "home":
            return networks.home[: self._attack.networks]
        overseas = networks.country[networks.hosting] != self._setting.world.networks.home_country
        return rng.permutation(networks.hosting[overseas])[: self._attack.networks]


def _shuffle(n: int, rng: np.random.Generator) -> tuple[int, int]:
    """stride, offset: i·stride + offset (mod n) visits every number once, in no order that a neighbour betrays."""
    stride = int(rng.integers(n // 3, 2 * n // 3 + 1)) | 1
    while math.gcd(stride, n) != 1:
        stride += 1
    return stride, int(rng.integers(n))
