"""The suite: every theft, and apart from them every benign twin, laid over companies that differ by seed.

A scene is one company's log with its thefts one after another, in an order that the seed decides, or with their twins
instead. Beside the pipeline, on the same events, the peers of `stream.evaluate.peers` watch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from stream.alerts import Alert
from stream.config import Config
from stream.errors import UsageError
from stream.evaluate.judge import Ledger, Opened, Outcome, judged
from stream.evaluate.peers import Candidate, Peers
from stream.evaluate.truth import Attack
from stream.incidents.company import Company, load_company
from stream.incidents.intruder import Intruder
from stream.incidents.laid import laid_over
from stream.incidents.theft import Named, Theft, list_thefts, load_theft, varied
from stream.incidents.workday import DAYS_MAX, SCALE_MAX, calendar_of, workdays
from stream.incidents.workforce import Calendar
from stream.pipeline import Pipeline

LEFT_DAYS: Final = 3  # that a log goes on, at least, after the first theft has begun
LONG_H: Final = 120.0  # what takes longer begins first, so that it has the time
PACE_MAX: Final = 1_000.0
WEEKEND: Final = 5


class Scene(msgspec.Struct, frozen=True):
    """One stream. twins: their benign twins instead of the thefts. pace: times the thefts' own. first_day: of the first
    theft; what came before is what everybody learned from."""

    company: str
    seed: int
    days: int = 30
    scale: float = 0.35
    twins: bool = False
    pace: float = 1.0
    first_day: int = 9
    thefts: tuple[str, ...] = ()  # none: all that happen to this company
    peers: bool = True

    @property
    def name(self) -> str:
        """How it is called in tables."""
        faster = "" if self.pace == 1.0 else f", {self.pace:g} times the pace"
        return f"{self.company}, seed {self.seed}{', benign twins' if self.twins else ''}{faster}"


class Played(msgspec.Struct, frozen=True):
    """What came of a scene. alerted: names of the twins that an alert was opened about."""

    scene: Scene
    outcome: Outcome
    alerted: tuple[str, ...]
    twins: tuple[str, ...]
    candidates: dict[str, list[Candidate]]


def checked(scene: Scene) -> Scene:
    """The scene, if there is such a company, and time enough; UsageError."""
    load_company(scene.company)
    least = scene.first_day + LEFT_DAYS
    if not least <= scene.days <= DAYS_MAX:
        raise UsageError(
            f"--days {scene.days}: must be from {least} to {DAYS_MAX}: thefts begin on day {scene.first_day}"
        )
    if not 0 < scene.scale <= SCALE_MAX:
        raise UsageError(f"--scale {scene.scale}: must be above 0 and at most {SCALE_MAX:g}")
    if not 0 < scene.pace <= PACE_MAX:
        raise UsageError(f"--pace {scene.pace}: must be above 0 and at most {PACE_MAX:g}")
    return scene


def thefts_of(scene: Scene) -> list[Named]:
    """The thefts that happen there."""
    return [theft for theft in map(load_theft, scene.thefts or list_thefts()) if theft.world == scene.company]


def cast(scene: Scene, company: Company) -> list[Intruder]:
    """Who does what in a scene, and when: long ones first, the others evenly spread in an order of the seed's."""
    rng = np.random.default_rng([scene.seed, 31, int(scene.twins)])
    calendar = calendar_of(company, scene.days, scene.seed)
    acts = [(each.name, paced(each.twin if scene.twins else each.theft, scene.pace)) for each in thefts_of(scene)]
    long = [act for act in acts if act[1].duration_h >= LONG_H]
    short = [act for act in acts if act[1].duration_h < LONG_H]
    short = [short[i] for i in rng.permutation(len(short))]
    begins = [(act, scene.first_day + i) for i, act in enumerate(sorted(long, key=lambda act: -act[1].duration_h))]
    last = scene.days - 2
    days: npt.NDArray[np.float64] = np.linspace(scene.first_day + 1, last, len(short) + 1)[:-1]
    begins += [(act, int(day)) for act, day in zip(short, days, strict=True)]
    prefix = company.subject
    return [
        Intruder(name, theft, calendar.midnight(_working(calendar, day, theft)), scene.seed, prefix)
        for (name, theft), day in begins
    ]  # fmt: skip


def paced(theft: Theft, factor: float) -> Theft:
    """The theft at a multiple of its pace; an insider's is what exceeds their own."""
    own = 1.0 + (theft.own_pace - 1.0) * factor if theft.own_pace else 0.0
    return varied(theft, pace_per_hour=theft.pace_per_hour * factor, own_pace=own)


def _working(calendar: Calendar, day: int, theft: Theft) -> int:
    """The day, or the next working day for what people do at work."""
    holidays = calendar.company.oddities.holidays
    while theft.who == "employee" and (calendar.weekday(day) >= WEEKEND or day in holidays):
        day += 1
    return day


def played(scene: Scene, config: Config) -> Played:
    """The scene, watched by the pipeline and by the peers; a function of its arguments and of nothing else."""
    company = load_company(scene.company)
    intruders = cast(scene, company)
    opened: list[Opened] = []

    def emit(alert: Alert) -> None:
        if alert.status == "open":
            opened.append(Opened(alert, pipeline.tick_ms))

    planted = [intruder.honey for intruder in intruders]
    canary = msgspec.structs.replace(config.canary, subjects=(*config.canary.subjects, *planted))
    pipeline = Pipeline(msgspec.structs.replace(config, canary=canary), emit)
    peers = Peers(config.warmup_h) if scene.peers else None
    ledgers = {intruder.id: Ledger() for intruder in intruders}
    days = workdays(company, scale=scene.scale, days=scene.days, seed=scene.seed)
    for block, whose in laid_over(days, intruders):
        pipeline.process(block)
        if peers:
            peers.see(block)
        for at in np.flatnonzero(whose != "").tolist():
            ledgers[whose[at]].add(int(block.time[at]), float(block.records[at]))
    pipeline.finish()
    acts = [truth for intruder in intruders if (truth := intruder.truth())]
    attacks = () if scene.twins else tuple(_titled(act) for act in acts)
    outcome = judged(
        scene.name, attacks, opened, ledgers, events=pipeline.events, rejected={},
        span_ms=(pipeline.began_ms, pipeline.now_ms), warmup_h=config.warmup_h,
    )  # fmt: skip
    return Played(
        scene=scene, outcome=outcome, twins=tuple(act.id for act in acts) if scene.twins else (),
        alerted=tuple(act.id for act in acts if scene.twins and any(each.about(act) for each in opened)),
        candidates=peers.candidates(attacks) if peers else {},
    )  # fmt: skip


def _titled(act: Attack) -> Attack:
    return msgspec.structs.replace(act, name=load_theft(act.id).title)


def scenes(
    seeds: Sequence[int], companies: Sequence[str], paces: Sequence[float], *, scale: float, days: int
) -> list[Scene]:
    """The thefts and the twins of each company and seed; at other paces, of the first seed."""
    found = [
        Scene(company, seed, days, scale, twins=twins)
        for seed in seeds for company in companies for twins in (False, True)
    ]  # fmt: skip
    return found + [
        Scene(company, seeds[0], days, scale, pace=pace, peers=False)
        for pace in paces if pace != 1.0 for company in companies
    ]  # fmt: skip
