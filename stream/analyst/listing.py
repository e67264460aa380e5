"""Alerts for the eyes: a table that fits its terminal, one alert in full, and the same as JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from detectors import techniques
from detectors.base import Feature, number, size
from stream.alerts import Alert, chance
from stream.cells import cells, clean, fitted, padded, widths, wrapped
from stream.console import Console
from stream.markup import epoch_ms, moment, people, plural, who
from stream.sections import finding

MARKS: Final = {"open": "●", "update": "↑", "closed": "○"}
SHORT_ID: Final = 11  # "tl-" and eight digits tell alerts apart; `show` takes any beginning
BAR: Final = 12
NAMES_SHOWN: Final = 6
INDENT: Final = 2
HEADINGS: Final = ("", "told, UTC", "id", "severity", "alert", "by", "records", "people", "verdict")
CSV_FIELDS: Final = (
    "id", "revision", "status", "severity", "time", "start", "end", "score_bits", "entity_kind", "entity_value",
    "title", "detectors", "techniques", "records", "bytes", "subjects", "source", "runbook", "summary",
)  # fmt: skip

Features = Mapping[tuple[str, str], Feature]  # by detector and name


def show_table(alerts: Sequence[Alert], console: Console, width: int, verdicts: Mapping[str, str]) -> None:
    """One line an alert, the earliest first, in at most `width` cells; and what it comes to."""
    if not alerts:
        console.line("no alert is like that")
        return
    rows = [_row(alert, verdicts) for alert in alerts]
    most = [max(cells(clean(text)) for text in column) for column in zip(HEADINGS, *rows, strict=True)]
    most[-1] *= any(row[-1] for row in rows)
    shrinks = {HEADINGS.index("alert"): 24}
    room = widths([(most[i], min(most[i], shrinks.get(i, most[i])), i in shrinks) for i in range(len(most))], width - 1)
    console.line(console.paint(_joined(HEADINGS, room), "dim"))
    for alert, row in zip(alerts, rows, strict=True):
        line = _joined(row, room)
        severity = padded(row[3], room[3])
        at = sum(room[:3]) + 2 * sum(r > 0 for r in room[:3])  # ids and times are plain: a cell a character
        painted = console.paint(severity.rstrip(), alert.severity) + severity[len(severity.rstrip()) :]
        console.line(line[:at] + painted + line[at + len(severity) :] if room[3] else line)
    console.line()
    console.line(console.paint(fitted(_sum(alerts), width), "dim"))


def _row(alert: Alert, verdicts: Mapping[str, str]) -> tuple[str, ...]:
    return (
        MARKS.get(alert.status, "?"), moment(epoch_ms(alert.time) or 0, "%d %b %y %H:%M"), alert.id[:SHORT_ID],
        alert.severity.upper(), alert.title, _by(alert), number(alert.impact.records),
        number(alert.impact.subjects), verdicts.get(alert.id, ""),
    )  # fmt: skip


def _by(alert: Alert) -> str:
    """The detector with the strongest evidence, and how many more there are."""
    more = len(alert.detectors) - 1
    return "".join(alert.detectors[:1]) + (f" +{more}" if more > 0 else "")


def _joined(row: Sequence[str], room: Sequence[int]) -> str:
    right = (HEADINGS.index("records"), HEADINGS.index("people"))
    shown = (padded(text, room[i], right=i in right) for i, text in enumerate(row) if room[i])
    return "  ".join(shown).rstrip()


def _sum(alerts: Sequence[Alert]) -> str:
    by = Counter(alert.severity for alert in alerts)
    words = [f"{by[name]} {name}" for name in ("critical", "high", "medium", "low") if by[name]]
    still = sum(alert.status != "closed" for alert in alerts)
    return f"{plural(len(alerts), 'alert')}: {', '.join(words)}; {still} still open"


def show_one(alert: Alert, console: Console, width: int, features: Features, verdict: str = "") -> None:
    """Everything that an alert says, for a person."""
    inner = width - INDENT
    console.line(
        console.paint(f"{MARKS.get(alert.status, '?')} {alert.severity.upper()}", alert.severity)
        + " " + console.paint(fitted(alert.title, inner - len(alert.severity) - 3), "bold")
    )  # fmt: skip
    told = f"{alert.id}  revision {alert.revision}, {alert.status}  score {alert.score_bits:.1f}"
    console.line(console.paint(f"  {fitted(f'{told}, {chance(alert.score_bits)}', inner)}", "dim"))
    console.line()
    for text in wrapped(alert.summary, inner):
        console.line(f"  {text}")
    heading(console, "evidence")
    most = max((item.bits for item in alert.evidence), default=1.0)
    for item in alert.evidence:
        bar = "█" * max(round(BAR * min(item.bits / max(most, 1.0), 1.0)), 1)
        console.line(
            f"  {item.bits:6.1f} bits {padded(bar, BAR)} {console.paint(item.detector, 'bold')}  "
            + fitted(f"{item.entity.kind} {who(item.entity)}", max(inner - 28 - len(item.detector), 8))
        )
        for text in wrapped(finding(item, features.get((item.detector, item.feature))), inner - 12 - BAR):
            console.line(" " * (INDENT + 12 + BAR) + text)
    heading(console, "what left")
    impact, window = alert.impact, alert.window
    rows = [
        ("read", f"{number(impact.records)} records ({size(impact.bytes)}) of {people(impact.subjects)}"),
        ("from, to", f"{window.start[:19].replace('T', ' ')}, {window.end[:19].replace('T', ' ')} UTC"),
        *((f"in the log{' ' * bool(i)}", str(source)) for i, source in enumerate(alert.source)),
    ]
    rows_of(console, rows, inner)
    if alert.related:
        heading(console, "with")
        rows_of(console, list(_related(alert)), inner)
    heading(console, "what to do")
    next_steps = [("techniques", ", ".join(map(techniques.named, alert.techniques))), ("runbook", alert.runbook)]
    next_steps.append(("verdict", verdict))
    next_steps.append(("evidence", f"tripline explain {alert.id} --input LOGS"))
    next_steps.append(("who was read", f"tripline scope {alert.id} --input LOGS"))
    next_steps.append(("your verdict", f"tripline feedback {alert.id} true|false|expected --feedback FILE"))
    rows_of(console, next_steps, inner)


def heading(console: Console, words: str) -> None:
    """A heading on the terminal."""
    console.line()
    console.line(f"  {console.paint(words.upper(), 'dim')}")


def rows_of(console: Console, rows: Sequence[tuple[str, str]], width: int) -> None:
    """Labels, and what there is to say beside each."""
    label = max(cells(name) for name, _ in rows)
    for name, value in rows:
        if value:
            for i, text in enumerate(wrapped(value, width - label - 2)):
                console.line(f"  {console.paint(padded('' if i else name, label), 'dim')}  {text}")


def _related(alert: Alert) -> Iterator[tuple[str, str]]:
    kinds: dict[str, list[str]] = {}
    for entity in alert.related:
        kinds.setdefault(entity.kind, []).append(clean(entity.value, 64))
    for kind, values in kinds.items():
        more = len(values) - NAMES_SHOWN
        yield kind, ", ".join(values[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def json_lines(alerts: Iterable[Alert]) -> Iterator[bytes]:
    """One alert a line, as it was told."""
    return (msgspec.json.encode(alert) + b"\n" for alert in alerts)


def json_document(alerts: Sequence[Alert]) -> bytes:
    """All alerts as one JSON array."""
    return msgspec.json.format(msgspec.json.encode(list(alerts)), indent=1) + b"\n"


def csv_document(alerts: Iterable[Alert]) -> bytes:
    """A table for a spreadsheet: UTF-8, one alert a row; no cell is a formula."""
    rows = (
        (
            a.id, a.revision, a.status, a.severity, a.time, a.window.start, a.window.end, a.score_bits, a.entity.kind,
            a.entity.value, a.title, " ".join(a.detectors), " ".join(a.techniques), a.impact.records, a.impact.bytes,
            a.impact.subjects, "; ".join(map(str, a.source)), a.runbook, a.summary,
        )
        for a in alerts
    )  # fmt: skip
    return csv_of(CSV_FIELDS, rows)


def csv_of(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """RFC 4180, its lines ended by CR LF. Text that a spreadsheet would run is led by an apostrophe."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(header)
    writer.writerows([harmless(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return out.getvalue().encode("utf-8", "replace")


def harmless(text: str) -> str:
    """Text that a spreadsheet shows and does not run (OWASP, "CSV Injection").

    >>> harmless("=HYPERLINK(1)"), harmless("ann")
    ("'=HYPERLINK(1)", 'ann')
    """
    return f"'{text}" if text.lstrip(" ")[:1] in ("=", "+", "-", "@", "\t", "\r", "\n", "|") else text
