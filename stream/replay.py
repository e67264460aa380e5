"""`tripline replay`: a named incident on a synthetic company, watched as it would have been, and scored.

The generator is a source like any other: its blocks go through the same pipeline as a log's. What the campaign did is
known only to the scoring, which comes after.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.alerts import Alert
from stream.config import Config
from stream.incidents import Incident, Truth, generate_labelled, truth
from stream.pipeline import Pipeline

DAY_MS: Final = 86_400_000
AFTER_MS: Final = 3_600_000  # an alert may be told this much after the campaign's last request and still be about it
FORGED_MIN: Final = 0.25  # of the credentials that an alert names, for it to be about the campaign


@dataclass(frozen=True, slots=True)
class Told:
    """An alert and the stream time at which it was told, epoch ms."""

    alert: Alert
    at_ms: int


@dataclass(frozen=True, slots=True)
class Score:
    """How a replay went.

    found: the opened alerts about the campaign, false: the opened alerts about anything else. watched_days: after the
    warm-up. requests_out, records_out: the campaign's, when the first alert was told, or in all where none was.
    """

    truth: Truth
    found: tuple[Told, ...]
    false: tuple[Told, ...]
    revisions: int
    watched_days: float
    requests_out: int
    records_out: int
    events: int
    seconds: float

    @property
    def minutes(self) -> float | None:
        """From the first forged token to the first alert; None where it was not found."""
        return (self.found[0].at_ms - self.truth.start_ms) / 60_000 if self.found else None

    @property
    def false_per_day(self) -> float:
        """False alerts opened, a day."""
        return len(self.false) / self.watched_days if self.watched_days > 0 else 0.0


class Replay:
    """One incident through a pipeline of its own."""

    def __init__(
        self, incident: Incident, config: Config, *, accounts: int, days: float, seed: int, attack: bool = True,
        on_alert: Callable[[Alert], None] = lambda _alert: None, on_tick: Callable[[int], None] = lambda _now_ms: None,
    ) -> None:  # fmt: skip
        self.truth = truth(incident, accounts, days, seed)
        self.told: list[Told] = []
        self.pipeline = Pipeline(config, self._emit, on_tick)
        self._incident, self._warmup_days = incident, config.warmup_h / 24
        self._accounts, self._days, self._seed, self._attack = accounts, days, seed, attack
        self._on_alert = on_alert

    def go(self, on_progress: Callable[[float], None] = lambda _share: None) -> Score:
        """Run it; `on_progress` is told the share that is done. UsageError where an argument is out of its limits."""
        began = time.perf_counter()
        times: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
        records: list[npt.NDArray[np.float64]] = [np.zeros(0)]
        start_ms = 0
        for block, mine in generate_labelled(
            self._incident, accounts=self._accounts, days=self._days, seed=self._seed, attack=self._attack
        ):
            start_ms = start_ms or int(block.time[0])
            self.pipeline.process(block)
            times.append(block.time[mine])
            records.append(block.records[mine])
            on_progress((int(block.time[-1]) - start_ms) / (self._days * DAY_MS))
        self.pipeline.finish()
        return self._score(np.concatenate(times), np.concatenate(records), time.perf_counter() - began)

    def _emit(self, alert: Alert) -> None:
        self.told.append(Told(alert, self.pipeline.tick_ms))
        self._on_alert(alert)

    def _score(self, times: npt.NDArray[np.int64], records: npt.NDArray[np.float64], seconds: float) -> Score:
        opened = [told for told in self.told if told.alert.status == "open"]
        found = [told for told in opened if self._attack and self._about_campaign(told)]
        names = {told.alert.id for told in found}
        out = times <= found[0].at_ms if found else np.ones(len(times), np.bool_)
        return Score(
            truth=self.truth, found=tuple(found), false=tuple(told for told in opened if told not in found),
            revisions=sum(told.alert.id in names for told in self.told),
            watched_days=max(self._days - self._warmup_days, 0.0), requests_out=int(out.sum()),
            records_out=int(records[out].sum()), events=self.pipeline.events, seconds=seconds,
        )  # fmt: skip

    def _about_campaign(self, told: Told) -> bool:
        """Whether an analyst who follows the alert comes upon the campaign."""
        known, alert = self.truth, told.alert
        if not known.start_ms <= told.at_ms <= known.end_ms + AFTER_MS:
            return False
        if (alert.entity.kind, alert.entity.value) in known.entities:
            return True
        named = [entity.value in known.credentials for entity in alert.related if entity.kind == "credential"]
        return bool(named) and sum(named) >= FORGED_MIN * len(named)
