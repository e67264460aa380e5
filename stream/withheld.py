"""What was kept from being told, as a cluster says it: in the alert plane's log once a day, and on request.

The alert plane keeps its counts and the strongest of a day in the changelog of its table, where any process reads them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from detectors.base import DAY_MS
from stream.alerts import rfc3339
from stream.budget import REASONS, Spent
from stream.config import Kafka
from stream.console import Console, clean

TABLE: Final = "incidents"
BUDGET_KEY: Final = "budget"  # beside the incidents' ids, which all begin with "tl-"
WORDS: Final = {
    "budget": "beyond the day's budget (alerts_per_day_max)",
    "incidents_max": "beyond the incidents that may be open at once",
    "ranked": "of a kind that verdicts call false",
    "muted": "muted",
    "little": "of too little to matter",
}


class Reported(msgspec.Struct):
    """The latest report: its day, in days since 1970 of stream time (0: none yet), and the counts that it rests on."""

    day: int = 0
    counts: dict[str, int] = {}


def changelog(kafka: Kafka) -> str:
    """The topic that the alert plane's table is kept in, as Faust names it."""
    return f"{kafka.group}-respond-{TABLE}-changelog"


def latest(records: Iterable[Any]) -> Spent:
    """The budget as it stands at the end of that topic."""
    kept = deque((record.value for record in records if record.key == BUDGET_KEY.encode() and record.value), maxlen=1)
    return msgspec.json.decode(kept[0], type=Spent) if kept else Spent(tokens=0.0, reserve=0.0)


def due(spent: Spent, last: Reported, now_ms: int) -> tuple[Reported, str]:
    """The next report at the first signal of a day of stream time, and what it says; "" where there is nothing to."""
    day = now_ms // DAY_MS
    if day <= last.day:
        return last, ""
    grown = {reason: spent.held_back.get(reason, 0) - last.counts.get(reason, 0) for reason in REASONS}
    told = [f"{count:,} {WORDS[reason]}" for reason, count in grown.items() if count > 0]
    report = Reported(day, dict(spent.held_back))
    return report, f"held back since the last report: {', '.join(told)}" if told else ""


def show(spent: Spent, console: Console, name: Callable[[str, str], str]) -> None:
    """All counts, and the strongest of the last day with any. name: how the value of a kind is shown."""
    counts = [f"{spent.held_back[reason]:,} {WORDS[reason]}" for reason in REASONS if spent.held_back.get(reason)]
    console.line(f"held back so far: {', '.join(counts) or 'nothing'}")
    for held in spent.strongest:
        who = clean(name(held.kind, held.value), 120)
        console.line(f"  {rfc3339(held.time)[:16]}Z  {held.score:6.1f} bits  {held.kind} {who}")
