"""A scope to be read: on the terminal, as a table of people, and as one page that can be handed on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from detectors.base import HOUR_MS, number, size
from stream.alerts import rfc3339
from stream.analyst.listing import csv_of, heading, rows_of
from stream.analyst.scope import Scope, Scoped, Use
from stream.analyst.tally import Counts, Person
from stream.cells import cells, fitted, padded, widths, wrapped
from stream.console import Console
from stream.markup import amount, entity, epoch_ms, moment, name, note, people, plural, section, table, text, who
from stream.plot import Plot, steps
from stream.report import document

MEANING: Final = {
    "evidence": "the events that a detector marked as evidence of the alert",
    "credentials": "everything done with the credentials seen in the evidence",
    "entity": "everything that touched {about}",
}
LABELS: Final = {"evidence": "the evidence", "credentials": "its credentials", "entity": "all of {about}"}
HEADINGS: Final = ("", "people", "records", "bytes", "accounts", "resources", "addresses", "networks", "first", "last")
KINDS: Final = {
    "resource": "What was read", "network": "Networks", "country": "Countries", "source": "Addresses",
    "client": "Programs", "account": "Accounts that read",
}  # fmt: skip
ROWS: Final = 15
SHOWN: Final = 6  # on the terminal
LOG_FROM: Final = 50.0  # the top of a scale over its median, from which it is logarithmic
PEOPLE: Final = 100  # on the page; the CSV has all


def show(scoped: Scoped, console: Console, width: int) -> None:
    """The scope on a terminal."""
    scope = scoped.scope
    console.line(console.paint(fitted(_headline(scope), width), "bold"))
    for line in wrapped(" ".join(_remarks(scope)), width - 2):
        console.line(console.paint(f"  {line}", "dim"))
    heading(console, "how far it reaches")
    about = scope.about.kind
    _table(console, [(LABELS[each.name].format(about=about), each) for each in scope.measures], width)
    for each in scope.measures:
        label = padded(LABELS[each.name].format(about=about) + ":", 24)
        console.line(console.paint(fitted(f"  {label} {_meaning(scope, each)}", width), "dim"))
    heading(console, f"when: {LABELS[scope.basis].format(about=about)}")
    _table(console, [(each.name, each) for each in scope.phases], width)
    for kind, words in KINDS.items():
        uses = scope.uses[kind]
        if uses and kind != "account":
            heading(console, words)
            rows = [(fitted(use.name, width - 40), _used(use)) for use in uses[:SHOWN]]
            rows_of(console, rows, width - 2)
    heading(console, "what was counted")
    rows_of(console, [(label, value) for label, value in _read(scope) if value], width - 2)


def _table(console: Console, rows: Sequence[tuple[str, Counts]], width: int) -> None:
    shown = [HEADINGS, *((label, *_cells(each)) for label, each in rows)]
    most = [max(map(cells, column)) for column in zip(*shown, strict=True)]
    room = widths([(most[0], 20, True), *((m, m, False) for m in most[1:])], width - 2)
    for i, row in enumerate(shown):
        line = "  ".join(padded(cell, room[k], right=k > 0) for k, cell in enumerate(row) if room[k]).rstrip()
        console.line("  " + (console.paint(line, "dim") if i == 0 else line))


def _cells(each: Counts) -> tuple[str, ...]:
    return (
        f"{each.subjects:,}", f"{each.records:,.0f}", size(each.bytes), f"{each.accounts:,}", f"{each.resources:,}",
        f"{each.sources:,}", f"{each.networks:,}", _short(each.first), _short(each.last),
    )  # fmt: skip


def _short(when: str) -> str:
    return when[2:16].replace("T", " ") if when else "-"


def _basis(scope: Scope) -> Counts:
    return next(each for each in scope.measures if each.name == scope.basis)


def _meaning(scope: Scope, each: Counts) -> str:
    return MEANING[each.name].format(about=f"{scope.about.kind} {who(scope.about)}")


def _headline(scope: Scope) -> str:
    counts = _basis(scope)
    read = f"{people(counts.subjects)} was read: {plural(round(counts.records), 'record')}"
    return f"Data of {read} in {plural(counts.reads, 'read')}, from {plural(counts.sources, 'address')}"


def _remarks(scope: Scope) -> Iterator[str]:
    """What must be known to read the numbers."""
    least = next((each for each in scope.measures if each.name == "evidence"), None)
    if least is not None and scope.basis != "evidence":
        yield f"The evidence itself shows {people(least.subjects)}."
    if scope.said is not None:
        said = f"{people(scope.said.subjects)} and {plural(scope.said.records, 'record')}"
        yield f"The alert itself had estimated {said} when it was told last."
        if not scope.reproduced:
            yield (
                "The alert did not come out of this log again, so what follows is everything that touched its entity: "
                "name the whole log and the same --config."
            )
    if scope.unusable:
        yield f"{scope.unusable}: the true numbers may be higher."


def _used(use: Use) -> str:
    return f"{plural(round(use.records), 'record')}, {plural(use.reads, 'read')}"


def _read(scope: Scope) -> Iterator[tuple[str, str]]:
    yield "events", f"{scope.events_read:,}"
    yield "of the time", f"{_short(scope.log_span[0])} to {_short(scope.log_span[1])} UTC"
    yield "from", ", ".join(scope.origins[:ROWS]) + (" ..." if len(scope.origins) > ROWS else "")
    yield "during", f"{scope.window[0][:19].replace('T', ' ')} to {scope.window[1][:19].replace('T', ' ')} UTC"
    yield "not used", scope.unusable
    yield "counted", "successful reads, lists, exports and shares; data without a named subject is the account's own"


def csv_table(scoped: Scoped) -> bytes:
    """Everybody whose data was read, one a row, the most read first."""
    phases = [each.name for each in scoped.scope.phases]
    header = ("subject", "reads", "records", "bytes", "first", "last", *(f"reads {p}" for p in phases), "evidence")
    rows = (
        (p.subject, p.reads, round(p.records), round(p.bytes), rfc3339(p.first_ms), rfc3339(p.last_ms), *p.phases,
         p.evidence)
        for p in scoped.people
    )  # fmt: skip
    return csv_of(header, rows)


def page(scoped: Scoped) -> str:
    """The scope as a page."""
    scope = scoped.scope
    counts = _basis(scope)
    figures = (
        (f"{counts.subjects:,}", "people whose data was read"), (number(counts.records), "records"),
        (size(counts.bytes), "handed out"), (f"{counts.sources:,}", "addresses that it went to"),
        (_short(counts.first) or "-", "first read, UTC"), (_short(counts.last) or "-", "last read, UTC"),
    )  # fmt: skip
    body = "".join(f"<div><dt>{text(label)}</dt><dd>{text(value)}</dd></div>" for value, label in figures)
    told = f"alert {scope.alert}, told {_short(scope.told)} UTC" if scope.alert else "as it was asked for"
    head = (
        f'<header><p class="mast">Tripline · <b>{name(told)}</b></p><h1>{text(_headline(scope))}</h1>'
        f'<p class="told">{entity(scope.about)}, {text(_short(scope.window[0]))} to {text(_short(scope.window[1]))} '
        f'UTC</p><dl class="figures">{body}</dl></header>'
    )
    parts = [head]
    if remarks := " ".join(_remarks(scope)):
        parts.append(section("What is certain and what is not", note(remarks)))
    parts += [
        section("How far it reaches", _rows((_meaning(scope, each), each) for each in scope.measures)),
        section("When", note(f"Of {_meaning(scope, counts)}."), _picture(scope),
                _rows((each.name, each) for each in scope.phases)),
        *_uses(scope), _people(scoped), _method(scope),
    ]  # fmt: skip
    return document(f"Scope of {scope.alert or who(scope.about)}", parts)


def _rows(rows: Iterator[tuple[str, Counts]]) -> str:
    columns = [("name", HEADINGS[0]), *(("n", each) for each in HEADINGS[1:])]
    return table(
        columns,
        (f'<td class="name">{name(label)}</td>' + "".join(f'<td class="n">{text(c)}</td>' for c in _cells(each))
         for label, each in rows),
    )  # fmt: skip


def _picture(scope: Scope) -> str:
    """Records by hour."""
    if len(scope.by_hour) < 2:
        return ""
    known = {(epoch_ms(start) or 0) // HOUR_MS: records for start, _, records in scope.by_hour}
    hours = np.arange(min(known), max(known) + 2)
    step = max(len(hours) // 2_000, 1)  # a page is about so many pixels wide
    values = np.array([sum(known.get(h + k, 0.0) for k in range(step)) for h in hours[::step].tolist()])
    times = (hours[::step] * HOUR_MS).astype(np.float64)
    most = float(values.max())
    plot = Plot(
        (times[0], times[-1]), max(most, 1.0) * 1.1, 220, logarithmic=most > 50 * max(float(np.median(values)), 1)
    )
    at, heights = steps(times, values)
    plot.area(at, np.zeros(len(at)), heights)
    plot.line(at, heights, "seen")
    plot.upright(epoch_ms(scope.window[0]), "begin", "begins", row=0)
    if scope.told:
        plot.upright(epoch_ms(scope.told), "told", "alert", row=1)
    label = f"records in {plural(step, 'hour')}, at most {number(most)}"
    return f"<figure><figcaption>{text(label)}</figcaption>{plot.svg(label)}</figure>"


def _uses(scope: Scope) -> Iterator[str]:
    for kind, words in KINDS.items():
        uses = scope.uses[kind]
        if uses:
            rows = (
                f'<td class="name">{name(use.name)}</td><td class="n">{amount(float(use.reads))}</td>'
                f'<td class="n">{amount(use.records)}</td>'
                for use in uses[:ROWS]
            )
            yield section(words, table((("name", ""), ("n", "reads"), ("n", "records")), rows))


def _people(scoped: Scoped) -> str:
    shown: Sequence[Person] = scoped.people[:PEOPLE]
    if not shown:
        return ""
    rows = (
        f'<td class="name">{name(p.subject)}</td><td class="n">{p.reads:,}</td><td class="n">{amount(p.records)}</td>'
        f'<td class="n">{moment(p.first_ms)}</td><td class="n">{moment(p.last_ms)}</td>'
        for p in shown
    )
    left = _basis(scoped.scope).subjects - len(shown)
    more = note(f"{left:,} more are in the table that --csv writes.") if left > 0 else ""
    columns = (("name", ""), ("n", "reads"), ("n", "records"), ("n", "first, UTC"), ("n", "last, UTC"))
    return section("Whose data was read", table(columns, rows), more)


def _method(scope: Scope) -> str:
    rows = "".join(f"<dt>{text(label)}</dt><dd>{name(value, 2000)}</dd>" for label, value in _read(scope) if value)
    sentence = (
        "Every number was counted from the log named here, event by event; people, accounts and addresses are told "
        "apart by a keyed hash of 64 bits, which among 100 million names takes any two for one with a chance below "
        "0.03 %. What the log does not record is not in it."
    )
    return section("What was counted, and how", f'<dl class="facts">{rows}</dl>', note(sentence))
