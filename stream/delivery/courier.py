"""The courier of one subscriber: takes alerts from the log in their order and tries each until it is accepted.

Between two attempts it waits, for twice as long each time and at random between a half and the whole of it, so that
many couriers do not come back at once; and at least as long as the system asked for. After BREAKER_FAILURES failures in
a row the circuit is open: one attempt every `retry_max_s`, until one succeeds. An alert that is refused for good is
counted and passed over; that is the one way in which the place moves on without an acceptance.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from stream.alerts import Alert
from stream.delivery.route import wanted
from stream.durations import DELAY_S, Durations
from stream.encode._values import epoch_ms
from stream.subscribers import Common, Failed, Sender

log = logging.getLogger("tripline")

BREAKER_FAILURES: Final = 5


class Log(Protocol):
    """Alerts in their order, and the place of one subscriber among them."""

    async def next(self) -> tuple[int, Alert] | None:
        """The next alert and its place, when there is one; None where there will be no more."""
        ...

    async def done(self, place: int) -> None:
        """Keep that everything up to and including this place has been dealt with."""
        ...

    @property
    def waiting(self) -> int:
        """How many alerts there are that have not been dealt with, about."""
        ...


@dataclass(slots=True)
class Tally:
    """What became of a subscriber's alerts, since the process started. Labels of metrics, none of them an identity."""

    results: Counter[str] = field(default_factory=Counter)  # delivered, refused, elsewhere
    failures: Counter[str] = field(default_factory=Counter)  # by reason
    broken: bool = False  # whether the circuit is open
    delays: Durations = field(default_factory=lambda: Durations(DELAY_S))


class Courier:
    """Bounded by one alert in hand."""

    def __init__(
        self, settings: Common, sender: Sender, log_: Log, *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.tally = Tally()
        self.log = log_
        self._sender = sender
        self._pause = pause
        self._failed = 0  # attempts in a row
        self._random = random.Random()  # noqa: S311 - spreads load, guards nothing

    async def run(self) -> None:
        """Until the log ends or the task is cancelled."""
        try:
            while (taken := await self.log.next()) is not None:
                place, alert = taken
                if wanted(self.settings, alert):
                    result = await self._deliver(alert)
                else:
                    result = "elsewhere"
                self.tally.results[result] += 1
                await self.log.done(place)
        finally:
            await self._sender.close()

    async def _deliver(self, alert: Alert) -> str:
        while True:
            try:
                await self._sender.send(alert)
            except Failed as why:
                self.tally.failures[why.reason] += 1
                if why.final:
                    log.warning("subscriber %s: alert %s revision %d: %s", self.name, alert.id, alert.revision, why)
                    return "refused"
                await self._pause(self._wait_s(why))
            else:
                self._succeeded()
                self.tally.delays.add(time.time() - epoch_ms(alert.emitted_at) / 1000)
                return "delivered"

    def _wait_s(self, why: Failed) -> float:
        """How long to wait after a failure."""
        settings = self.settings
        self._failed += 1
        if self._failed == 1:
            log.warning("subscriber %s: %s; trying again", self.name, why)
        if self._failed == BREAKER_FAILURES:
            self.tally.broken = True
            log.error("subscriber %s: %s, %d times in a row; trying every %g s", self.name, why, self._failed,
                      settings.retry_max_s)  # fmt: skip
        doubled = settings.retry_first_s * 2.0 ** min(self._failed - 1, BREAKER_FAILURES)
        longest = settings.retry_max_s if self.tally.broken else min(doubled, settings.retry_max_s)
        return max(self._random.uniform(longest / 2, longest), why.after_s)

    def _succeeded(self) -> None:
        if self.tally.broken:
            log.warning("subscriber %s: accepts again; %d alerts wait", self.name, self.log.waiting)
        self._failed, self.tally.broken = 0, False
