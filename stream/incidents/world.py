"""A world and a campaign in it as one log: populations make rows, a calendar puts them in order, blocks leave.

Memory does not grow with the length of the simulation: a step ahead is generated at a time, and only what its sessions
leave for later steps is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.errors import UsageError
from stream.events import EventBlock
from stream.incidents.attack import Campaign
from stream.incidents.customers import Customers
from stream.incidents.figures import ACCOUNTS_MAX, DAYS_MAX, Incident, checked
from stream.incidents.rows import SUCCESS, Bool, Namer, Population, Rows, credential_names, empty
from stream.incidents.services import Crawlers, Partners, Services
from stream.incidents.setting import Setting, make_setting
from stream.incidents.staff import Staff

BLOCK_EVENTS: Final = 16_384
ORIGIN: Final = "synthetic"
_NO_STEP: Final = -1  # outside the stream
_STEP_EVENTS: Final = 60_000  # in a step of the mean day: large enough for numpy, small enough for the cache

_EVENTS_PER_ACCOUNT_DAY: Final = 10.0
_STEPS_S: Final = (86_400, 43_200, 21_600, 10_800, 3_600, 1_800, 900, 600, 300, 150, 60)


@dataclass(frozen=True, slots=True)
class Truth:
    """What happened, for scoring alerts. Times are epoch ms.

    entities: (kind, value) that the campaign cannot help using. credentials: its tokens. accounts: the members that it
    visited, in use or not. requests, records: in all, until the stream ends; subjects: customers whose data was read.
    """

    start_ms: int
    end_ms: int
    trials_ms: tuple[int, ...]
    entities: tuple[tuple[str, str], ...]
    credentials: frozenset[str]
    accounts: frozenset[str]
    requests: int
    records: int
    subjects: int

    def event_is_attack(self, block: EventBlock) -> Bool:
        """bool[n]: which events of the block carry a forged token."""
        forged = self.credentials
        return np.fromiter((name in forged for name in block.text["credential"]), np.bool_, len(block))


class _Calendar:
    """Rows that wait for their step. They leave in the order of the log."""

    def __init__(self, start_ms: int, end_ms: int, step_ms: int) -> None:
        self._start_ms, self._end_ms, self._step_ms = start_ms, end_ms, step_ms
        self._waiting: dict[int, list[Rows]] = {}

    def put(self, rows: Rows) -> None:
        """Keeps what falls into the stream."""
        arrival = np.ascontiguousarray(rows["arrival"])
        step = (arrival - self._start_ms) // self._step_ms
        step[(arrival < self._start_ms) | (arrival >= self._end_ms)] = _NO_STEP
        order = np.argsort(step.astype(np.int32), kind="stable")
        steps, first = np.unique(step[order], return_index=True)
        for number, part in zip(steps.tolist(), np.split(order, first[1:]), strict=False):
            if number != _NO_STEP:
                self._waiting.setdefault(number, []).append(rows.take(part))

    def take(self, step: int) -> Rows:
        """All rows of the step."""
        rows = np.concatenate([empty(0), *self._waiting.pop(step, [])])
        return rows.take(np.argsort(np.ascontiguousarray(rows["arrival"]), kind="stable"))


def generate(
    incident: Incident, *, accounts: int, days: float, seed: int, attack: bool = True, block_events: int = BLOCK_EVENTS
) -> Iterator[EventBlock]:
    """The log of `days` of the incident's world with that many customers, in blocks of at most `block_events`.

    Events come in the order in which their lines are written: by time, but for logins that are written late. The same
    arguments give the same events, bit for bit, whatever the size of the blocks. UsageError if a figure or an argument
    is out of its limits.
    """
    labelled = generate_labelled(
        incident, accounts=accounts, days=days, seed=seed, attack=attack, block_events=block_events
    )
    return (block for block, _ in labelled)


def generate_labelled(
    incident: Incident, *, accounts: int, days: float, seed: int, attack: bool = True, block_events: int = BLOCK_EVENTS
) -> Iterator[tuple[EventBlock, Bool]]:
    """The blocks of `generate`, each with bool[n]: which events are the campaign's."""
    incident = _valid(incident, accounts, days, seed)
    if block_events < 1:
        raise UsageError(f"block_events = {block_events}: must be at least 1")
    setting = make_setting(incident.world, accounts, days, seed)
    populations: list[Population] = [kind(setting) for kind in (Customers, Staff, Services, Partners, Crawlers)]
    if attack:
        populations.append(Campaign(setting, incident.attack))
    return _blocks(_steps(setting, populations), _namer(setting), block_events)


def truth(incident: Incident, accounts: int, days: float, seed: int) -> Truth:
    """What the campaign of `generate` with these arguments does."""
    incident = _valid(incident, accounts, days, seed)
    setting = make_setting(incident.world, accounts, days, seed)
    campaign = Campaign(setting, incident.attack)
    requests, records = 0, 0.0
    tokens: set[str] = set()
    members: list[npt.NDArray[np.int64]] = []
    read: list[npt.NDArray[np.int64]] = []
    used: set[int] = set()
    for rows in _steps(setting, [campaign]):
        requests += len(rows)
        records += float(rows["records"].sum())
        tokens.update(credential_names(rows["credential"]))
        used.update(rows["network"].tolist())
        members.append(np.unique(rows["account"]))
        read.append(np.unique(rows["account"][rows["outcome"] == SUCCESS]))
    accounts_read = np.unique(np.concatenate(read))
    visited = np.unique(np.concatenate(members))
    return Truth(
        start_ms=campaign.start_ms,
        end_ms=campaign.end_ms,
        trials_ms=tuple(campaign.trials_ms.tolist()),
        entities=_entities(setting, campaign, incident, sorted(used)),
        credentials=frozenset(tokens),
        accounts=frozenset(_namer(setting).accounts(visited).tolist()),
        requests=requests,
        records=int(records),
        subjects=len(accounts_read),
    )


def _entities(
    setting: Setting, campaign: Campaign, incident: Incident, networks: list[int]
) -> tuple[tuple[str, str], ...]:
    """The signing key, the page most read, and the clients and networks that are not borrowed from customers."""
    pages = incident.attack.pages
    found = [
        ("issuer", str(setting.vocabulary.table("issuer")[campaign.issuer])),
        ("resource", max(pages, key=lambda page: pages[page])),
    ]
    found += [("client", name) for name in incident.attack.user_agents]
    if incident.attack.network_kind == "hosting":
        found += [("network", f"AS{asn}") for asn in setting.networks.asn[networks].tolist()]
    return tuple(found)


def _namer(setting: Setting) -> Namer:
    networks = setting.networks
    return Namer(setting.vocabulary, networks.asn, networks.country, setting.members)


def _steps(setting: Setting, populations: list[Population]) -> Iterator[Rows]:
    """The rows of one step after the other, in the order of the log."""
    timeline = setting.timeline
    step_ms = _step_ms(setting.accounts)
    calendar = _Calendar(timeline.start_ms, timeline.end_ms, step_ms)
    for step, start_ms in enumerate(range(timeline.start_ms, timeline.end_ms, step_ms)):
        stop_ms = min(start_ms + step_ms, timeline.end_ms)
        for population in populations:
            calendar.put(population.rows(start_ms, stop_ms, setting.rng(*_dice(population), step)))
        yield calendar.take(step)


def _dice(population: Population) -> bytes:
    """Each population throws its own dice: another one beside it changes nothing."""
    return type(population).__name__.encode()


def _step_ms(accounts: int) -> int:
    per_second = accounts * _EVENTS_PER_ACCOUNT_DAY / _STEPS_S[0]
    return 1_000 * next((s for s in _STEPS_S if s * per_second <= _STEP_EVENTS), _STEPS_S[-1])


def _blocks(steps: Iterator[Rows], namer: Namer, block_events: int) -> Iterator[tuple[EventBlock, Bool]]:
    """Full blocks, and what is left at the end."""
    line, rest = 1, empty(0)
    for rows in steps:
        rest = np.concatenate([rest, rows])
        while len(rest) >= block_events:
            yield namer.block(rest[:block_events], line, ORIGIN), rest["attack"][:block_events].copy()
            line, rest = line + block_events, rest[block_events:]
    if len(rest):
        yield namer.block(rest, line, ORIGIN), rest["attack"].copy()


def _valid(incident: Incident, accounts: int, days: float, seed: int) -> Incident:
    if not 1 <= accounts <= ACCOUNTS_MAX:
        raise UsageError(f"accounts = {accounts}: must be from 1 to {ACCOUNTS_MAX:,}")
    if not 0 < days <= DAYS_MAX:
        raise UsageError(f"days = {days}: must be above 0 and at most {DAYS_MAX:g}")
    if not 0 <= seed < 2**63:
        raise UsageError(f"seed = {seed}: must be from 0 to 2^63 - 1")
    return checked(incident)
