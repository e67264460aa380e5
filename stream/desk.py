"""The desk between incidents and people: what is muted is scored, kept and counted, and not told; verdicts teach.

It reads the feedback log as it grows. An entry counts from its own time on, so what comes of an access log and a
feedback log is the same however often and in whatever pieces they are read. An incident that was open before a mute
began is still closed; one whose mute ends while it is open is opened then.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from stream import feedback
from stream.alerts import Alert
from stream.feedback import Entry
from stream.mutes import Active, covering, mutes_of
from stream.ranking import Ranking

HELD_MAX: Final = 10_000  # muted incidents that are open; beyond, the oldest is told when its mute ends as an update


class Saved(msgspec.Struct):
    """The desk between two runs: muted incidents that nobody was told of, with the mute's number; counts by mute."""

    held: dict[str, int] = {}
    muted: dict[int, int] = {}


class Desk:
    """Decides whether an alert is told. path: the feedback log, or None where there is none."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self.entries: list[Entry] = []
        self.mutes: list[Active] = []
        self.saved = Saved()
        self.ranking = Ranking()
        self.refresh()

    @property
    def muted(self) -> int:
        """Incidents that were muted so far."""
        return sum(self.saved.muted.values())

    def refresh(self) -> bool:
        """Read the log again if it has changed; True where it had. TriplineError where it cannot be believed."""
        if self._path is None:
            return False
        stamp = None
        with suppress(FileNotFoundError):
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        self.take(feedback.load(self._path))
        return True

    def tick(self, now_ms: int) -> None:
        """Know what was said up to this stream time."""
        self.refresh()
        self.ranking.learn(self.entries, now_ms)

    def take(self, entries: Sequence[Entry]) -> None:
        """Know these entries, all there are."""
        self.entries = list(entries)
        self.mutes = mutes_of(self.entries)

    def decide(self, alert: Alert, now_ms: int) -> tuple[Alert | None, bool]:
        """What to tell at this stream time, if anything; and whether this is the first that is not told of it."""
        held = self.saved.held
        mute = covering(self.mutes, alert, now_ms)
        if mute is not None:
            first = alert.status == "open" and alert.id not in held
            if first:
                self.saved.muted[mute.number] = self.saved.muted.get(mute.number, 0) + 1
                held[alert.id] = mute.number
                if len(held) > HELD_MAX:
                    del held[next(iter(held))]
            elif alert.status == "closed" and held.pop(alert.id, None) is None:
                return alert, False  # it was told before the mute began
            return None, first
        if alert.id not in held:
            return alert, False
        if alert.status == "closed":
            del held[alert.id]
            return None, False
        del held[alert.id]
        return msgspec.structs.replace(alert, status="open"), False
