"""What a person sees on the terminal: progress on stderr, alerts that can be read, tables.

Names in alerts are chosen by whoever sent the requests, so everything printed here is stripped of control characters.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from typing import Final, TextIO

from detectors.base import number, size
from stream.alerts import Alert, rfc3339
from stream.cells import clean, wrapped

__all__ = ["COLOURS", "WIDTH_MAX", "Console", "clean", "rate_line", "wrapped"]

COLOURS: Final = {
    "critical": "1;97;41", "high": "1;91", "medium": "1;93", "low": "1;94", "dim": "2", "good": "1;92",
    "bold": "1",
}  # fmt: skip
PLAIN_EVERY_S: Final = 10.0
BAR_EVERY_S: Final = 0.1
RELATED_SHOWN: Final = 3
WIDTH_MAX: Final = 110


class Console:
    """One stream to write to: colours and a moving line on a terminal, plain lines elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.terminal = stream.isatty()
        self._moving = False
        self._shown = time.monotonic()

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour where there are colours."""
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self.terminal else text

    def line(self, text: str = "") -> None:
        """A line that stays."""
        if self._moving:
            self._stream.write("\r\x1b[K")
            self._moving = False
        self._stream.write(text + "\n")
        self._stream.flush()

    def due(self) -> bool:
        """Whether progress should be shown again."""
        return time.monotonic() - self._shown >= (BAR_EVERY_S if self.terminal else PLAIN_EVERY_S)

    def progress(self, share: float | None, text: str) -> None:
        """Show how far it is: `share` of the whole where that is known."""
        self._shown = time.monotonic()
        if share is not None:
            share = min(max(share, 0.0), 1.0)
        if not self.terminal:
            self.line(f"{share:4.0%}  {text}" if share is not None else text)
            return
        bar = ""
        if share is not None:
            cells = round(24 * share)
            bar = "█" * cells + self.paint("·" * (24 - cells), "dim") + f" {share:4.0%}  "
        self._stream.write(f"\r\x1b[K{bar}{text[: shutil.get_terminal_size().columns - 34]}")
        self._stream.flush()
        self._moving = True

    def done(self) -> None:
        """Take the moving line away."""
        if self._moving:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._moving = False

    def alert(self, alert: Alert) -> None:
        """One revision of an incident, to be read by a person."""
        mark = {"open": "●", "update": "↑", "closed": "○"}[alert.status]
        when = alert.time[:19].replace("T", " ")
        self.line(
            self.paint(f"{mark} {alert.severity.upper():8}", alert.severity) + f" {clean(alert.title, WIDTH_MAX)}"
        )
        self.line(self.paint(f"  {when}Z  {alert.id}  {alert.status} (revision {alert.revision})", "dim"))
        if alert.status == "open":
            for text in wrapped(alert.summary, WIDTH_MAX - 2):
                self.line(f"  {text}")
            if related := _related(alert):
                self.line(f"  {self.paint('with', 'dim')}  {related}")
        else:
            impact = alert.impact
            told = f"{impact.records:,} records ({size(impact.bytes)}) of {impact.subjects:,} people"
            self.line(f"  so far {told}; evidence by {', '.join(alert.detectors)}")

    def table(self, rows: Sequence[tuple[str, str]]) -> None:
        """Two columns: what, and its value."""
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            self.line(f"  {self.paint(name.ljust(width), 'dim')}  {value}")


def _related(alert: Alert) -> str:
    kinds: dict[str, list[str]] = {}
    for entity in alert.related:
        kinds.setdefault(entity.kind, []).append(clean(entity.value, 32))
    parts = []
    for kind, values in kinds.items():
        more = len(values) - RELATED_SHOWN
        parts.append(f"{kind} {', '.join(values[:RELATED_SHOWN])}" + (f" (+{more})" if more > 0 else ""))
    return " · ".join(parts)


def rate_line(events: int, seconds: float, now_ms: int, alerts: int | None = None) -> str:
    """Where a run stands, for the progress line."""
    rate = number(events / seconds) if seconds > 0 else "0"
    when = rfc3339(now_ms)[:16].replace("T", " ") if now_ms else "no event yet"
    opened = f"  {alerts} alert{'' if alerts == 1 else 's'} opened" if alerts is not None else ""
    return f"{events:,} events  {rate}/s  {when}{opened}"
