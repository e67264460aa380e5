"""Alerts held against the attacks that are known: found or not, how long after, how much was out, at what price."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from detectors.base import DAY_MS, HOUR_MS
from stream.alerts import Alert, EntityRef
from stream.evaluate.truth import Attack

AFTER_MS: Final = HOUR_MS  # an alert told this much after an attack's last request may still be about it


@dataclass(frozen=True, slots=True)
class Opened:
    """An opened alert and the stream time at which it was told, epoch ms."""

    alert: Alert
    at_ms: int

    def about(self, attack: Attack) -> bool:
        """Whether it was told in the attack's time and names, as its entity or a related one, who is behind it."""
        alert = self.alert
        in_time = attack.start_ms <= self.at_ms <= attack.end_ms + AFTER_MS
        return in_time and not attack.entities.isdisjoint((alert.entity, *alert.related))


class Told(msgspec.Struct, frozen=True):
    """An opened alert in short."""

    at_ms: int
    id: str
    severity: str
    score_bits: float
    title: str
    entity: EntityRef
    detectors: tuple[str, ...]


class Verdict(msgspec.Struct, frozen=True):
    """What came of one attack. minutes: from its start to the first alert about it, None where there was none.

    records_out: read by then, or in all; share_out: of all its records. opened: alerts about it.
    """

    id: str
    name: str
    start_ms: int
    found: bool
    minutes: float | None
    records_out: int
    records: int
    share_out: float
    opened: int
    first: Told | None


class Outcome(msgspec.Struct, frozen=True):
    """What came of one world. rejected: records that could not be used, and why. days: of the stream; watched_days:
    those after the warm-up. false: alerts about nothing that was an attack."""  # fmt: skip

    world: str
    events: int
    rejected: int
    days: float
    watched_days: float
    attacks: tuple[Verdict, ...]
    false: tuple[Told, ...]
    right: dict[str, int] = {}  # alerts about an attack, by severity
    rejected_by: dict[str, int] = {}  # reason

    @property
    def found(self) -> int:
        """How many of the attacks."""
        return sum(verdict.found for verdict in self.attacks)

    @property
    def false_per_day(self) -> float:
        """False alerts opened, a day after the warm-up."""
        return len(self.false) / self.watched_days if self.watched_days > 0 else float(len(self.false))


class Ledger:
    """The records that each attack reads, in the order of time."""

    def __init__(self) -> None:
        self._times: list[int] = []
        self._sums: list[float] = [0.0]

    def add(self, time_ms: int, records: float) -> None:
        """So many records left; times that run back are put to the latest."""
        self._times.append(max(time_ms, self._times[-1]) if self._times else time_ms)
        self._sums.append(self._sums[-1] + records)

    def until(self, time_ms: int | None) -> int:
        """Records up to and with that time; all of them for None."""
        return int(self._sums[-1] if time_ms is None else self._sums[bisect_right(self._times, time_ms)])


def judged(
    world: str, attacks: Sequence[Attack], opened: Sequence[Opened], ledgers: Mapping[str, Ledger], *,
    events: int, rejected: Mapping[str, int], span_ms: tuple[int, int], warmup_h: float,
) -> Outcome:  # fmt: skip
    """The outcome; `opened` in the order of telling, `ledgers` by the attack's id. An alert may be about several."""
    about = {attack.id: [each for each in opened if each.about(attack)] for attack in attacks}
    right = {id(each) for found in about.values() for each in found}
    days = (span_ms[1] - span_ms[0]) / DAY_MS
    severities = Counter(each.alert.severity for each in opened if id(each) in right)
    return Outcome(
        world=world, events=events, rejected=sum(rejected.values()), days=days,
        watched_days=max(days - warmup_h / 24, 0.0),
        attacks=tuple(_verdict(attack, about[attack.id], ledgers[attack.id]) for attack in attacks),
        false=tuple(_told(each) for each in opened if id(each) not in right), right=dict(sorted(severities.items())),
        rejected_by=dict(sorted(rejected.items())),
    )  # fmt: skip


def _verdict(attack: Attack, found: Sequence[Opened], ledger: Ledger) -> Verdict:
    at_ms = found[0].at_ms if found else None
    out, records = ledger.until(at_ms), ledger.until(None)
    return Verdict(
        id=attack.id, name=attack.name, start_ms=attack.start_ms, found=bool(found),
        minutes=None if at_ms is None else (at_ms - attack.start_ms) / 60_000,
        records_out=out, records=records, share_out=out / records if records else 0.0, opened=len(found),
        first=_told(found[0]) if found else None,
    )  # fmt: skip


def _told(each: Opened) -> Told:
    alert = each.alert
    return Told(
        each.at_ms, alert.id, alert.severity, alert.score_bits, alert.title, alert.entity, alert.detectors
    )  # fmt: skip
