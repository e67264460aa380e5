"""What an evaluation comes to: each theft over its seeds, the peers at the same false alerts, the sweep of pace."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median

import msgspec

from stream.evaluate.judge import Verdict
from stream.evaluate.peers import PEERS, settled
from stream.evaluate.suite import Played
from stream.incidents.theft import load_theft

SEVERITIES = ("critical", "high", "medium", "low")


class Row(msgspec.Struct, frozen=True):
    """One theft over its seeds. minutes, records_out, share_out: medians of those that were found; opened: alerts for
    each of them, on the mean. twins: how many benign twins there were, and how many of them were alerted on."""

    id: str
    title: str
    company: str
    found: int
    times: int
    minutes: float | None
    records_out: float | None
    share_out: float | None
    opened: float | None
    twins: int
    twins_alerted: int


class PeerRow(msgspec.Struct, frozen=True):
    """A peer with the threshold that gives it at most as many false alerts. minutes: the median of those found."""

    peer: str
    found: int
    times: int
    minutes: float | None
    false: int


class Sweep(msgspec.Struct, frozen=True):
    """A theft at a multiple of its pace; minutes: to its detection, None where it was not found."""

    id: str
    company: str
    pace: float
    minutes: float | None
    records_out: int
    share_out: float


class Severity(msgspec.Struct, frozen=True):
    """Opened alerts of a severity, and how many of them were about a theft."""

    severity: str
    right: int
    opened: int


class Results(msgspec.Struct, frozen=True):
    """All of it. false, watched_days: over all scenes at their own pace, thefts and twins; twins count as false."""

    rows: tuple[Row, ...]
    peers: tuple[PeerRow, ...]
    sweep: tuple[Sweep, ...]
    severities: tuple[Severity, ...]
    found: int
    times: int
    false: int
    watched_days: float
    minutes: float | None
    share_out: float | None

    @property
    def false_per_day(self) -> float:
        """False alerts opened, a day after the warm-up."""
        return self.false / self.watched_days if self.watched_days else 0.0

    @property
    def precision(self) -> float | None:
        """Opened alerts that were about a theft, of those in scenes with thefts and with twins."""
        right = sum(each.right for each in self.severities)
        return right / (right + self.false) if right + self.false else None


def summed(all_played: Sequence[Played]) -> Results:
    """What the scenes come to."""
    plain = [p for p in all_played if p.scene.pace == 1.0]
    attacks = [p for p in plain if not p.scene.twins]
    verdicts = [verdict for p in attacks for verdict in p.outcome.attacks]
    found = [verdict for verdict in verdicts if verdict.found]
    false = sum(len(p.outcome.false) for p in plain)
    return Results(
        rows=tuple(_rows(attacks, [p for p in plain if p.scene.twins])),
        peers=tuple(_peers([p for p in plain if p.candidates], max(false, 1))),
        sweep=tuple(sorted(_sweep(all_played), key=lambda each: (each.company, each.id, each.pace))),
        severities=tuple(_severity(plain, severity) for severity in SEVERITIES),
        found=len(found), times=len(verdicts), false=false, watched_days=sum(p.outcome.watched_days for p in plain),
        minutes=_median([v.minutes for v in found]), share_out=_median([v.share_out for v in found]),
    )  # fmt: skip


def _rows(attacks: Sequence[Played], twins: Sequence[Played]) -> list[Row]:
    by_theft: dict[tuple[str, str], list[Verdict]] = {}
    for p in attacks:
        for verdict in p.outcome.attacks:
            by_theft.setdefault((p.scene.company, verdict.id), []).append(verdict)
    rows = []
    for (company, name), verdicts in sorted(by_theft.items()):
        found = [verdict for verdict in verdicts if verdict.found]
        rows.append(
            Row(
                id=name, title=load_theft(name).title, company=company, found=len(found), times=len(verdicts),
                minutes=_median([v.minutes for v in found]), records_out=_median([v.records_out for v in found]),
                share_out=_median([v.share_out for v in found]),
                opened=fmean(v.opened for v in found) if found else None,
                twins=sum(name in p.twins for p in twins), twins_alerted=sum(name in p.alerted for p in twins),
            )
        )  # fmt: skip
    return rows


def _peers(scenes: Sequence[Played], false_max: int) -> list[PeerRow]:
    starts = {
        (p.scene.name, v.id): v.start_ms for p in scenes if not p.scene.twins for v in p.outcome.attacks
    }  # fmt: skip
    rows = []
    for peer in PEERS if scenes else ():
        result = settled(peer, {p.scene.name: p.candidates[peer] for p in scenes}, false_max)
        minutes = [(at - starts[key]) / 60_000 for key, at in result.found.items()]
        rows.append(PeerRow(peer, len(result.found), len(starts), _median(minutes), result.false))
    return rows


def _sweep(scenes: Sequence[Played]) -> list[Sweep]:
    swept = {p.scene.seed for p in scenes if p.scene.pace != 1.0}
    return [
        Sweep(v.id, p.scene.company, p.scene.pace, v.minutes, v.records_out, v.share_out)
        for p in scenes if p.scene.seed in swept and not p.scene.twins for v in p.outcome.attacks
    ]  # fmt: skip


def _severity(scenes: Sequence[Played], severity: str) -> Severity:
    right = sum(p.outcome.right.get(severity, 0) for p in scenes)
    false = sum(told.severity == severity for p in scenes for told in p.outcome.false)
    return Severity(severity, right, right + false)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
