"""An evaluation as one page, made of the parts of a run's report: no script, nothing from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import Final

import stream
from detectors.base import number
from stream.evaluate.results import Results, Row
from stream.evaluate.suite import Played
from stream.evaluate.table import facts
from stream.markup import amount, moment, name, note, pairs, section, table, text

WIDTH: Final = 1040
HEIGHT: Final = 320
LEFT: Final = 58
BOTTOM: Final = 30
MINUTES: Final = (1, 10, 60, 1_440, 10_080)  # at the axis
LABELS: Final = ("1 min", "10 min", "1 h", "1 d", "7 d")
FALSE_MAX: Final = 200


def page(results: Results, played: Sequence[Played]) -> str:
    """The page as HTML."""
    body = "\n".join(
        (_head(results), _thefts(results), _peers(results), _sweep(results), _false(played), _reading())
    )  # fmt: skip
    template = Template((Path(stream.__file__).parent / "report.html").read_text("utf-8"))
    return template.substitute(title="Evaluation - Tripline", body=body)


def _head(results: Results) -> str:
    figures = [
        (f"{results.found} of {results.times}", "thefts found"),
        (f"{results.false_per_day:.2g}", "false alerts a day, benign twins among them"),
    ]
    if results.minutes is not None and results.share_out is not None:
        figures.append((f"{number(results.minutes)} min", "from the first request to the alert, in the median"))
        figures.append((f"{results.share_out:.2%}", "of the records out by then, in the median"))
    body = "".join(f"<div><dt>{text(label)}</dt><dd>{text(value)}</dd></div>" for value, label in figures)
    return (
        '<header><p class="mast">Tripline · <b>evaluation</b></p>'
        f"<h1>{results.found} of {results.times} thefts were found.</h1>"
        f'<dl class="figures">{body}</dl>{pairs(facts(results))}</header>'
    )


def _thefts(results: Results) -> str:
    columns = (
        ("name", "theft"), ("", "company"), ("n", "found"), ("n", "minutes"), ("n", "records out"), ("n", "share out"),
        ("n", "alerts"), ("n", "twins alerted"),
    )  # fmt: skip
    return section("Each theft", table(columns, map(_row, results.rows)))


def _row(row: Row) -> str:
    share = "" if row.share_out is None else f"{row.share_out:.2%}"
    alerts = "" if row.opened is None else f"{row.opened:.1f}"
    cells = (f"{row.found} of {row.times}", _figure(row.minutes), _figure(row.records_out), share, alerts,
             f"{row.twins_alerted} of {row.twins}")  # fmt: skip
    return f'<td class="name">{text(row.title)}</td><td>{text(row.company)}</td>' + _numbers(cells)


def _peers(results: Results) -> str:
    if not results.peers:
        return ""
    rows = [("tripline", f"{results.found} of {results.times}", _figure(results.minutes), str(results.false))]
    rows += [(p.peer, f"{p.found} of {p.times}", _figure(p.minutes), str(p.false)) for p in results.peers]
    cells = (f'<td class="name">{text(first)}</td>' + _numbers(rest) for first, *rest in rows)
    columns = (("name", "on the same events"), ("n", "found"), ("n", "minutes"), ("n", "false alerts"))
    return section(
        "Beside what one would write by hand",
        note("Each peer has the one threshold, found afterwards, that gives it as many false alerts as Tripline had."),
        table(columns, cells),
    )


def _sweep(results: Results) -> str:
    paces = sorted({each.pace for each in results.sweep})
    if len(paces) < 2:
        return ""
    found = [each for each in results.sweep if each.minutes is not None]
    share = {
        pace: sum(e.minutes is not None for e in results.sweep if e.pace == pace)
        / max(sum(e.pace == pace for e in results.sweep), 1)
        for pace in paces
    }  # fmt: skip
    low, high = math.log2(paces[0]), math.log2(paces[-1])
    top = math.log10(MINUTES[-1] * 3)

    def x(pace: float) -> float:
        return LEFT + 60 + (math.log2(pace) - low) / max(high - low, 1e-9) * (WIDTH - LEFT - 120)

    def y(minutes: float) -> float:
        return HEIGHT - BOTTOM - math.log10(min(max(minutes, 1.0), 10**top)) / top * (HEIGHT - BOTTOM - 12)

    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y(m):.1f}" y2="{y(m):.1f}"/>'
        f'<text x="{LEFT - 8}" y="{y(m) + 4:.1f}" text-anchor="end">{label}</text>'
        for m, label in zip(MINUTES, LABELS, strict=True)
    ]  # fmt: skip
    parts += [
        f'<text x="{x(p):.1f}" y="{HEIGHT - 8}" text-anchor="middle">x{p:g}: {share[p]:.0%} found</text>' for p in paces
    ]
    for each in dict.fromkeys(e.id for e in results.sweep):
        points = sorted((e.pace, e.minutes) for e in found if e.id == each and e.minutes is not None)
        if points:
            path = "L".join(f"{x(p):.1f} {y(m):.1f}" for p, m in points)
            parts.append(f'<path class="expect" d="M{path}"/>')
    companies = list(dict.fromkeys(e.company for e in results.sweep))
    parts += [
        f'<path class="k{companies.index(e.company) % 6}" d="M{x(e.pace):.1f} {y(e.minutes or 1):.1f}'
        'm-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z">'
        f"<title>{text(f'{e.id} at {e.pace:g} times its pace: {number(e.minutes or 0)} minutes')}</title></path>"
        for e in found
    ]
    label = "Minutes to detection against the pace of each theft; a mark for each that was found."
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(label)}">{"".join(parts)}</svg>'
    columns = [("name", "theft"), *(("n", f"x{pace:g}") for pace in paces)]
    return section(
        "Where detection ends", note(label), f"<figure>{svg}</figure>",
        table(columns, _swept(results, paces)),
    )  # fmt: skip


def _swept(results: Results, paces: Sequence[float]) -> Iterable[str]:
    minutes = {(each.id, each.pace): each.minutes for each in results.sweep}
    for each in dict.fromkeys(e.id for e in results.sweep):
        cells = [_figure(minutes.get((each, pace))) or "not found" for pace in paces]
        yield f'<td class="name">{text(each)}</td>' + _numbers(cells)


def _false(played: Sequence[Played]) -> str:
    rows = [
        f'<td class="n">{moment(told.at_ms)}</td>'
        f'<td><b class="sev {text(told.severity)}">{text(told.severity)}</b></td>'
        f'<td class="name">{name(told.title)}</td><td>{text(", ".join(told.detectors))}</td>'
        f"<td>{text(each.scene.name)}</td>"
        for each in played if each.scene.pace == 1.0 for told in each.outcome.false
    ]  # fmt: skip
    columns = (("n", "told, UTC"), ("", "severity"), ("name", "alert"), ("", "detectors"), ("", "world"))
    more = note(f"{len(rows) - FALSE_MAX:,} more are not on this page.") if len(rows) > FALSE_MAX else ""
    return section("False alerts", table(columns, rows[:FALSE_MAX]) if rows else note("None."), more)


def _reading() -> str:
    return section(
        "How to read this",
        note(
            "A theft is found by an alert that opens from its start to an hour after its end and names one of those "
            "behind it. Every other alert is false, those about benign twins too. Figures are medians over the seeds "
            "on which a theft was found; alerts are those opened for one theft, on the mean."
        ),
    )


def _numbers(cells: Iterable[str]) -> str:
    return "".join(f'<td class="n">{text(cell)}</td>' for cell in cells)


def _figure(value: float | None) -> str:
    return "" if value is None else amount(value)
