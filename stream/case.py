"""What a report is about: the alerts of a run, the one to lead with, and when it happened."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from detectors.base import HOUR_MS
from stream.alerts import Alert
from stream.markup import epoch_ms
from stream.pictures import Moments
from stream.record import Recorder

AFTER_MS: Final = HOUR_MS  # an alert so soon after an attack is still about it


@dataclass(frozen=True)
class Thread:
    """The revisions of one alert: the first that was told in this run, and the latest, as it stands now."""

    first: Alert
    last: Alert
    told_ms: int  # stream time at which it was opened, or about when, if that was before this run
    closed_ms: int | None

    @property
    def opened(self) -> Alert | None:
        """Its opening; None where that was before this run."""
        return self.first if self.first.revision == 1 else None


@dataclass(frozen=True)
class Case:
    """A run and its alerts. attack: start and end, epoch ms, where a replay knows it; about: ids of its alerts."""

    title: str
    facts: Sequence[tuple[str, str]]
    recorder: Recorder
    threads: tuple[Thread, ...]
    attack: tuple[int, int] | None = None
    about: Collection[str] | None = None

    @cached_property
    def lead(self) -> Thread | None:
        """The strongest alert; where the attack is known, the first one that was told of it."""
        if self.attack is None:
            return max(self.threads, key=lambda thread: thread.last.score_bits, default=None)
        return min(filter(self._of_attack, self.threads), key=lambda thread: thread.told_ms, default=None)

    @cached_property
    def moments(self) -> Moments:
        """When it happened."""
        pipeline, lead = self.recorder.pipeline, self.lead
        return Moments(
            learned=pipeline.began_ms + pipeline.config.warmup_h * HOUR_MS if pipeline and pipeline.began_ms else None,
            first=epoch_ms(lead.last.window.start) if lead else None, told=lead.told_ms if lead else None,
            attack=self.attack,
        )  # fmt: skip

    def _of_attack(self, thread: Thread) -> bool:
        if self.about is not None:
            return thread.first.id in self.about
        return self.attack is not None and self.attack[0] <= thread.told_ms <= self.attack[1] + AFTER_MS


def threads_of(alerts: Sequence[Alert], recorder: Recorder) -> tuple[Thread, ...]:
    """Revisions, in the order in which they were told, by the alert that they are of."""
    told: dict[str, list[Alert]] = {}
    for alert in alerts:
        told.setdefault(alert.id, []).append(alert)
    return tuple(_thread(revisions, recorder) for revisions in told.values())


def _thread(revisions: list[Alert], recorder: Recorder) -> Thread:
    first, last = revisions[0], revisions[-1]
    told = recorder.told_ms(first) if first.revision == 1 else None
    return Thread(
        first=first, last=recorder.standing(last), told_ms=told if told is not None else epoch_ms(first.time) or 0,
        closed_ms=recorder.told_ms(last) if last.status == "closed" else None,
    )  # fmt: skip
