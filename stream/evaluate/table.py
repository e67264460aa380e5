"""What an evaluation found, to be read on a terminal and by programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, Final

import msgspec

from detectors.base import number
from stream.alerts import rfc3339
from stream.console import Console, clean
from stream.evaluate.judge import Outcome, Told, Verdict
from stream.evaluate.results import Results
from stream.evaluate.suite import Played

SCHEMA: Final = "tripline.evaluation/1"
FALSE_SHOWN: Final = 12
NAME_WIDTH: Final = 44
HEADINGS: Final = ("attack", "found", "minutes", "records out", "share out", "alerts", "by")


def show(outcomes: Sequence[Outcome], console: Console) -> None:
    """A table for each world, and a line over all of them."""
    for outcome in outcomes:
        console.line(
            f"{clean(outcome.world)}: {outcome.events:,} events, {outcome.days:.1f} days, "
            f"{outcome.watched_days:.1f} of them after the warm-up"
            + "".join(f"; {count:,} records not used: {reason}" for reason, count in outcome.rejected_by.items())
        )
        console.line()
        grid(console, HEADINGS, [_cells(verdict) for verdict in outcome.attacks])
        for told in outcome.false[:FALSE_SHOWN]:
            console.line(f"  {console.paint('false', 'dim')}  {_in_short(told)}")
        if len(outcome.false) > FALSE_SHOWN:
            console.line(f"  {console.paint('false', 'dim')}  and {len(outcome.false) - FALSE_SHOWN:,} more")
        console.line(
            f"  found {outcome.found} of {len(outcome.attacks)}; false alerts {outcome.false_per_day:.2g} a day: "
            f"{len(outcome.false)} in {outcome.watched_days:.1f} days"
        )
        console.line()
    if len(outcomes) > 1:
        console.table(totals(outcomes))


def totals(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    """Over all worlds."""
    verdicts = [verdict for outcome in outcomes for verdict in outcome.attacks]
    found = [verdict for verdict in verdicts if verdict.found]
    days, false = sum(o.watched_days for o in outcomes), sum(len(o.false) for o in outcomes)
    right = sum(verdict.opened for verdict in verdicts)
    rows = [("found", f"{len(found)} of {len(verdicts)}")]
    if found:
        minutes = median(verdict.minutes or 0.0 for verdict in found)
        share = median(verdict.share_out for verdict in found)
        rows.append(("in the median", f"after {number(minutes)} minutes, {share:.2%} of the records out"))
        rows.append(("alerts", f"{right / len(found):.1f} for each that was found"))
    rows.append(("false alerts", f"{false / max(days, 1e-9):.2g} a day: {false} in {days:.1f} days"))
    rows.append(("precision", f"{right / (right + false):.2f}" if right + false else "no alert"))
    return rows


def grid(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows under headings: the first and the last column begin, the others end where theirs does."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for cells in (headings, *rows):
        parts = [
            cell.ljust(width) if i in (0, len(widths) - 1) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        text = "  ".join(parts).rstrip()
        console.line("  " + (console.paint(text, "dim") if cells is headings else text))
    console.line()


def _cells(verdict: Verdict) -> tuple[str, ...]:
    by = f"{verdict.first.entity.kind} ({', '.join(verdict.first.detectors)})" if verdict.first else ""
    return (
        clean(verdict.name, NAME_WIDTH), "yes" if verdict.found else "no",
        f"{verdict.minutes:,.1f}" if verdict.minutes is not None else "",
        f"{verdict.records_out:,}", f"{verdict.share_out:.2%}", str(verdict.opened), by,
    )  # fmt: skip


def _in_short(told: Told) -> str:
    when = rfc3339(told.at_ms)[:16].replace("T", " ")
    return f"{when}Z  {told.severity:8}  {clean(told.title, 80)}  ({', '.join(told.detectors)})"


def show_results(results: Results, console: Console) -> None:
    """The suite: each theft, the peers, the sweep."""
    rows = [
        (
            clean(row.title, NAME_WIDTH + 12), row.company, f"{row.found} of {row.times}", _figure(row.minutes),
            _figure(row.records_out), "" if row.share_out is None else f"{row.share_out:.2%}",
            "" if row.opened is None else f"{row.opened:.1f}", f"{row.twins_alerted} of {row.twins}",
        )
        for row in results.rows
    ]  # fmt: skip
    headings = ("theft", "company", "found", "minutes", "records out", "share out", "alerts", "twins alerted")
    grid(console, headings, rows)
    console.table(facts(results))
    console.line()
    if results.peers:
        console.line("At the same number of false alerts, on the same events:")
        console.line()
        ours = ("tripline", f"{results.found} of {results.times}", _figure(results.minutes), str(results.false))
        peers = [(p.peer, f"{p.found} of {p.times}", _figure(p.minutes), str(p.false)) for p in results.peers]
        grid(console, ("", "found", "minutes", "false"), [ours, *peers])
    if paces := sorted({each.pace for each in results.sweep}):
        console.line("Minutes to detection at a multiple of the pace; - where it was not found:")
        console.line()
        grid(console, ("theft", *(f"x{pace:g}" for pace in paces), ""), list(_swept(results, paces)))


def facts(results: Results) -> list[tuple[str, str]]:
    """The figures over all thefts."""
    rows = [("found", f"{results.found} of {results.times}")]
    if results.minutes is not None and results.share_out is not None:
        rows.append(
            ("in the median", f"after {number(results.minutes)} minutes, {results.share_out:.2%} of the records out")
        )
    false = f"{results.false_per_day:.2g} a day: {results.false} in {results.watched_days:.0f} days"
    rows.append(("false alerts", f"{false}, benign twins among them"))
    if results.precision is not None:
        rows.append(("precision", f"{results.precision:.2f}"))
    told = [f"{each.severity} {each.right} of {each.opened}" for each in results.severities if each.opened]
    rows.append(("right, by severity", ", ".join(told) or "no alert"))
    return rows


def _swept(results: Results, paces: Sequence[float]) -> Iterator[tuple[str, ...]]:
    minutes = {(each.id, each.pace): each.minutes for each in results.sweep}
    for name in dict.fromkeys(each.id for each in results.sweep):
        cells = [_figure(minutes.get((name, pace))) or "-" for pace in paces]
        yield (name, *cells, "")


def _figure(value: float | None) -> str:
    return "" if value is None else number(value)


def results_json(results: Results, played: Sequence[Played]) -> bytes:
    """The results and every scene's outcome as JSON, indented; the same for the same scenes and settings."""
    scenes = [
        msgspec.to_builtins(each.outcome) | {"scene": msgspec.to_builtins(each.scene), "twins_alerted": each.alerted}
        for each in played
    ]  # fmt: skip
    built = {"schema": SCHEMA} | msgspec.to_builtins(results) | {"scenes": scenes}
    return msgspec.json.format(msgspec.json.encode(built), indent=1) + b"\n"


def as_json(outcomes: Sequence[Outcome]) -> bytes:
    """The outcomes as JSON, indented; the same for the same worlds and settings."""
    worlds: list[dict[str, Any]] = []
    for outcome in outcomes:
        built = msgspec.to_builtins(outcome)
        built["found"], built["false_per_day"] = outcome.found, outcome.false_per_day
        worlds.append(built)
    return msgspec.json.format(msgspec.json.encode({"schema": SCHEMA, "worlds": worlds}), indent=1) + b"\n"
