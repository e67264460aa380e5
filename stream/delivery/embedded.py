"""Delivery beside a run: the couriers work in a thread of their own, over the run's outbox."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from stream.alerts import Alert
from stream.config import Config
from stream.delivery.courier import Courier
from stream.delivery.outbox import Outbox, OutboxLog
from stream.errors import TriplineError
from stream.subscribers import make

FOLDER: Final = "outbox"  # in the state directory
DRAIN_S: Final = 30.0  # at the end of the input, for what has not been accepted yet
STOP_S: Final = 2.0  # the same where somebody waits for the process to end


class Deliveries:
    """The subscribers of a configuration; none is fine. `patient`: at the end, wait for what is on its way."""

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        self._config = config
        self._say = say
        self.patient = False
        self.couriers: Sequence[Courier] = ()
        self._outbox: Outbox | None = None
        self._logs: list[OutboxLog] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._errors: list[Exception] = []

    @contextmanager
    def started(self, state: Path | None, position: int | None) -> Iterator[None]:
        """Deliver for as long as this lasts, and then say what has not arrived.

        state: where the outbox is kept; without one it lasts as long as the run, and what has not arrived is lost: a
        TriplineError. position: bytes of the outbox to keep. UsageError for settings that cannot be used.
        """
        subscribers = self._config.subscribers
        if not subscribers:
            yield
            return
        senders = [make(settings, self._config) for settings in subscribers]
        with ExitStack() as stack:
            folder = state / FOLDER if state else Path(stack.enter_context(TemporaryDirectory(prefix="tripline-")))
            self._outbox = Outbox(folder, position)
            stack.callback(self._outbox.close)
            self._logs = [OutboxLog(self._outbox, settings.name) for settings in subscribers]
            self.couriers = [Courier(*each) for each in zip(subscribers, senders, self._logs, strict=True)]
            self._loop, self._ending = asyncio.new_event_loop(), asyncio.Event()
            thread = threading.Thread(target=self._work, args=(self._loop, self._ending), name="delivery", daemon=True)
            thread.start()
            try:
                yield
            finally:
                self._loop.call_soon_threadsafe(self._end)
                thread.join()
                for log in self._logs:
                    log.close()
            self._tell(kept=state is not None)

    def put(self, alert: Alert) -> None:
        """Write the alert to the outbox, and wake the couriers."""
        if self._outbox is not None and self._loop is not None:
            self._outbox.append(alert)
            self._loop.call_soon_threadsafe(self._wake)

    def sync(self) -> int:
        """Wait until the outbox is on the disk; its bytes, for a snapshot."""
        return self._outbox.sync() if self._outbox is not None else 0

    def _work(self, loop: asyncio.AbstractEventLoop, ending: asyncio.Event) -> None:
        """The thread: a loop of its own, until the end."""
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._couriers(ending))

    async def _couriers(self, ending: asyncio.Event) -> None:
        tasks = [asyncio.create_task(courier.run()) for courier in self.couriers]
        await ending.wait()
        _, late = await asyncio.wait(tasks, timeout=DRAIN_S if self.patient else STOP_S)
        for task in late:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        self._errors = [error for error in done if isinstance(error, Exception)]

    def _wake(self) -> None:
        for log in self._logs:
            log.woken.set()

    def _end(self) -> None:
        for log in self._logs:
            log.ended = True
        self._wake()
        if self._ending is not None:
            self._ending.set()

    def _tell(self, *, kept: bool) -> None:
        for error in self._errors:
            raise error
        left = [f"{c.name} has not had {c.log.waiting:,} of the alerts" for c in self.couriers if c.log.waiting]
        if left and not kept:
            raise TriplineError(
                f"{'; '.join(left)}: send them by hand, or run with --state, which keeps them for later"
            )
        for sentence in left:
            self._say(f"{sentence}; it is told them the next time")
