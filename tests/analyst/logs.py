"""A small company's log in a file, with a theft in it, and the alerts that a run makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from stream.alerts import Alert
from stream.config import Config
from stream.events import AccessEvent
from stream.run import Options, Run
from tests.pages import theft

CONFIG = Config(warmup_h=24.0, session_lifetime_h=12.0, tick_s=120)
SETTINGS = "warmup_h = 24\nsession_lifetime_h = 12\ntick_s = 120\n"


@dataclass(frozen=True)
class Case:
    """Where log, alerts and settings are, and what is in them."""

    log: Path
    alerts: Path
    settings: Path
    events: list[AccessEvent]
    told: list[Alert]

    @property
    def last(self) -> Alert:
        """The strongest alert as it was told last."""
        best = max(self.told, key=lambda a: a.score_bits)
        return max((a for a in self.told if a.id == best.id), key=lambda a: a.revision)

    def command(self, name: str, *options: str) -> list[str]:
        """A command line about this case."""
        log, alerts, settings = map(str, (self.log, self.alerts, self.settings))
        return [name, *options, "--alerts", alerts, "--config", settings, "--input", log]


def made(folder: Path, events: list[AccessEvent] | None = None) -> Case:
    """The case, in a folder of its own."""
    ordered = sorted(theft() if events is None else events, key=lambda e: e.time)
    log, alerts, settings = folder / "access.jsonl", folder / "alerts.jsonl", folder / "tripline.toml"
    log.write_bytes(b"".join(msgspec.json.encode(e) + b"\n" for e in ordered))
    settings.write_text(SETTINGS)
    told: list[Alert] = []
    Run(CONFIG, Options([str(log)], alerts=str(alerts)), on_alert=told.append).go()
    return Case(log, alerts, settings, ordered, told)
