"""The closing tables: what a run did, how a replay went, what a configuration means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from detectors.base import DAY_MS, number, size
from stream.alerts import chance, rfc3339
from stream.budget import Held
from stream.config import Config
from stream.console import Console, clean
from stream.pipeline import Pipeline
from stream.replay import Score

HELD_SHOWN: Final = 5
Rows = list[tuple[str, str]]
KINDS: Final = ("account", "credential", "issuer", "source", "network", "client", "resource")


def of_run(pipeline: Pipeline, dead: Mapping[str, int], dead_path: str | None, warmup_h: float, seconds: float) -> Rows:
    """What was read, what was not, and what came of it."""
    rows = [("events", f"{pipeline.events:,} in {seconds:.1f} s ({number(pipeline.events / max(seconds, 1e-9))}/s)")]
    if pipeline.now_ms:
        rows.append(("time", f"{rfc3339(pipeline.began_ms)[:16]}Z to {rfc3339(pipeline.now_ms)[:16]}Z"))
    rows.append(("entities", ", ".join(f"{len(pipeline.tables[kind]):,} {_plural(kind)}" for kind in KINDS)))
    rows.append(("alerts", _alerts(pipeline, warmup_h)))
    held = pipeline.correlator.budget.held_back
    if beyond := held.get("budget", 0) + held.get("incidents_max", 0):
        rows.append(("held back", f"{beyond:,} findings beyond the day's budget (alerts_per_day_max)"))
        if not pipeline.config.identity_keys_file:
            rows += [("", f"{h.score:.1f} bits  {h.kind} {clean(h.value, 60)}") for h in _strongest(pipeline)]
    if held.get("ranked"):
        rows.append(("ranked low", f"{held['ranked']:,} findings of a kind that verdicts call false (--feedback)"))
    if held.get("muted"):
        rows.append(("muted", f"{held['muted']:,} incident{_s(held['muted'])}; --muted FILE keeps what is muted"))
    if pipeline.late:
        rows.append(("late", f"{pipeline.late:,} events more than five minutes behind the others; scored all the same"))
    lost = sum(dead.values())
    where = f", kept in {dead_path}" if dead_path else "; --dead-letters FILE keeps them"
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(dead.items(), key=lambda item: -item[1]))
    rows.append(("dead letters", f"{lost:,}: {reasons}{where}" if lost else "none"))
    return rows


def _strongest(pipeline: Pipeline) -> list[Held]:
    """What was held back on the last day that anything was, strongest first."""
    return pipeline.correlator.budget.spent.strongest[:HELD_SHOWN]


def of_replay(score: Score, console: Console, pipeline: Pipeline, *, attack: bool) -> Rows:
    """Found or not, when, how much was out by then, and at what price in false alerts."""
    known, rows = score.truth, Rows()
    if attack and score.found:
        first = score.found[0].alert
        by = f"{first.entity.kind} {clean(first.entity.value, 60)} ({', '.join(first.detectors)})"
        rows.append(("found", f"{console.paint('yes', 'good')}, by {by}"))
        rows.append(("after", f"{score.minutes:.1f} minutes from the first forged token, {_when(known.start_ms)}"))
        rows.append(("told in", f"{len(score.found)} alert{_s(len(score.found))}, {score.revisions} revisions"))
    elif attack:
        rows.append(("found", f"{console.paint('no', 'high')}; it began {_when(known.start_ms)}"))
    if attack:
        share = score.records_out / max(known.records, 1)
        out = f"{score.records_out:,} of {known.records:,} records ({share:.2%}), {score.requests_out:,} requests"
        rows.append(("out by then", out))
    count = len(score.false)
    false = f"{score.false_per_day:.2g} a day: {count} in {score.watched_days:g} days after the warm-up"
    rows.append(("false alerts", false))
    kept = size(pipeline.nbytes())
    rate = number(score.events / max(score.seconds, 1e-9))
    rows.append(
        ("events", f"{score.events:,} in {score.seconds:.1f} s ({rate}/s with generating them), {kept} of state")
    )
    return rows


def of_configuration(config: Config, pipeline: Pipeline) -> Rows:
    """What the settings come to."""
    rows = [
        (
            "alerts",
            f"at most {config.alerts_per_day_max:g} a day, after {config.warmup_h:g} h of data to learn from",
        ),
        (
            "an alert opens",
            f"when chance shows its evidence {chance(pipeline.correlator.budget.threshold())[10:]}, or seldomer",
        ),
        ("detectors", ", ".join(d.id for d in pipeline.detectors) or "none: nothing will be found"),
        ("format", config.format),
    ]
    full = 0.0
    for kind, table in pipeline.tables.items():
        if kind != "fleet":
            limit = getattr(config.entities_max, kind)
            full += limit * table.row_bytes()
            rows.append((f"at most {limit:,}", f"{_plural(kind)} of {table.row_bytes():.0f} bytes and the name"))
    rows.append(("memory", f"{size(full)} and the names, when all tables are full"))
    return rows


def _alerts(pipeline: Pipeline, warmup_h: float) -> str:
    if not pipeline.events:
        return "none: there was no event to learn from"
    opened = pipeline.correlator.opened
    days = max((pipeline.now_ms - pipeline.began_ms) / DAY_MS - warmup_h / 24, 0.0)
    text = f"{opened} opened, {len(pipeline.correlator.open)} still open"
    if days == 0:
        left = warmup_h - (pipeline.now_ms - pipeline.began_ms) / 3_600_000
        return f"{text}: still learning, for {left:.0f} h of the data more (warmup_h = {warmup_h:g})"
    return f"{text} ({opened / days:.2g} a day)" if days >= 1 else text


def _plural(kind: str) -> str:
    return kind + "s"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _when(ms: int) -> str:
    return rfc3339(ms)[:19].replace("T", " ") + "Z"
