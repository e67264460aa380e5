"""An explanation to be read: on the terminal, and as one page that shares its parts with the report of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from detectors.base import HOUR_MS, number, size
from stream.alerts import Alert
from stream.analyst.explain import Checked, Explained, hours_shown
from stream.analyst.history import History, by_hour, spark
from stream.analyst.listing import Features, heading, rows_of
from stream.analyst.places import Event
from stream.case import Case, threads_of
from stream.cells import cells, ending, fitted, padded, wrapped
from stream.console import Console
from stream.markup import LINE_MAX, amount, entity, epoch_ms, moment, name, note, section, table, text, who
from stream.plot import Plot, steps
from stream.report import document, head
from stream.sections import baseline, course, finding, reach, reading

SPARK: Final = 72  # hours of a history on the terminal
LOG_FROM: Final = 12.0  # the top of a scale over its median, from which it is logarithmic
TOP: Final = 0.5


def show(explained: Explained, console: Console, width: int, features: Features) -> None:
    """The explanation on a terminal."""
    given, inner = explained.explanation, width - 2
    alert = given.alert
    console.line(
        console.paint(alert.severity.upper(), alert.severity) + " "
        + console.paint(fitted(alert.title, inner - len(alert.severity)), "bold")
    )  # fmt: skip
    console.line(console.paint(f"  {alert.id}  revision {alert.revision}", "dim"))
    for line in wrapped(given.verdict, inner):
        console.line("  " + console.paint(line, "good" if given.reproduced else "medium"))
    heading(console, "evidence, as it was told and as the log has it")
    for each in given.evidence:
        item = each.told
        about = fitted(f"{item.entity.kind} {who(item.entity)}", max(inner - len(item.detector) - 6, 8))
        mark = console.paint("=", "good") if each.agrees else console.paint("≠", "high")
        console.line(f"  {mark} {console.paint(item.detector, 'bold')}  {about}")
        for line in wrapped(finding(item, features.get((item.detector, item.feature))), inner - 4):
            console.line(f"      {line}")
        for line in wrapped(_figures(each), inner - 4):
            console.line(console.paint(f"      {line}", "dim"))
    heading(console, "what they did before: requests an hour, the alert at the end")
    for history in given.history:
        _show_history(history, alert, console, inner)
    _show_examples(explained, console, inner)
    heading(console, "what was read")
    rows = [("events", f"{given.events_read:,}"), ("from", ", ".join(given.origins)), ("not used", given.unusable)]
    rows_of(console, [row for row in rows if row[1]], inner)


def _figures(each: Checked) -> str:
    told = f"told {amount(each.told.observed)} of {amount(each.told.expected)} expected, {each.told.bits:.1f} bits"
    if each.again is None:
        return f"{told}; not found in this log"
    again = each.again
    return f"{told}; again {amount(again.observed)} of {amount(again.expected)}, {again.bits:.1f} bits"


def _show_history(history: History, alert: Alert, console: Console, width: int) -> None:
    last, hours = hours_shown(alert)
    hours = min(hours, SPARK, width - 4)
    values = by_hour(history, "requests", last, hours)
    start = epoch_ms(alert.window.start) or 0
    before = [hour for hour in history.hours if (epoch_ms(hour.start) or 0) + HOUR_MS <= start]
    most = max((hour.requests for hour in before), default=0)
    console.line("  " + fitted(f"{history.entity.kind} {who(history.entity)}", width))
    console.line("    " + console.paint(spark(values), "low"))
    told = (
        f"up to {number(max(values, default=0.0))} an hour here; before the alert at most {number(most)} in "
        f"{len(before):,} active hours"
    )
    console.line(console.paint("    " + fitted(told, width - 4), "dim"))


def _show_examples(explained: Explained, console: Console, width: int) -> None:
    given = explained.explanation
    heading(console, f"events that it rests on: first, largest and last of {given.evidence_events:,}")
    if not given.examples:
        console.line("  none was found in this log")
    room = max((cells(event.place) for event in given.examples), default=0)
    room = min(room, width // 3)
    for event in given.examples:
        about = f"{_who(event)} {event.action} {event.resource}" + (f" of {event.subject}" if event.subject else "")
        what = f"{number(event.records)} rec." if event.outcome == "success" else "failed"
        left = f"  {padded(ending(event.place, room), room)}  {event.time[5:19].replace('T', ' ')}  "
        console.line(left + padded(about, max(width - cells(left) - 10, 10)) + padded(what, 10, right=True))


def page(explained: Explained, features: Features) -> str:
    """The explanation as a page."""
    given, recorder = explained.explanation, explained.recorder
    alert = given.alert
    case = Case(f"alert {alert.id}", (), recorder, threads_of(explained.told, recorder))
    lead = case.lead
    again = section(
        "Found again in the log", note(given.verdict),
        note(f"{given.events_read:,} events were read from {', '.join(given.origins)}. {given.unusable}"),
    )  # fmt: skip
    pictures = [baseline(case, lead), course(case, lead)] if lead else []
    return document(
        f"Alert {alert.id}, explained",
        [head(case), again, *pictures, _evidence(given.evidence, features), _histories(given.history, alert),
         _examples(given.examples, given.evidence_events), reach(alert), reading(case)],
    )  # fmt: skip


def _evidence(checked: list[Checked], features: Features) -> str:
    columns = (("n", "bits"), ("name", "finding"), ("", "detector"), ("name", "told, and found again"))
    rows = (
        f'<td class="n">{amount(each.told.bits)}</td><td class="name">{entity(each.told.entity)}'
        f"<p>{text(finding(each.told, features.get((each.told.detector, each.told.feature))), LINE_MAX)}</p></td>"
        f"<td>{text(each.told.detector)}</td>"
        f'<td class="name">{"the same" if each.agrees else "<b>not the same</b>"}<p>{text(_figures(each))}</p></td>'
        for each in checked
    )
    return section("The evidence, recomputed", table(columns, rows))


def _histories(histories: list[History], alert: Alert) -> str:
    pictures = [picture for history in histories if (picture := _picture(history, alert))]
    if not pictures:
        return ""
    remark = note("Counted plainly from the log, hour by hour: nothing is weighted, nothing is forgotten.")
    return section("What they did before and after", remark, *pictures)


def _picture(history: History, alert: Alert) -> str:
    """Requests of an entity by hour, around the alert."""
    last, hours = hours_shown(alert)
    values = np.array(by_hour(history, "requests", last, hours))
    times = np.array([(last // HOUR_MS - back) * HOUR_MS for back in reversed(range(hours))], np.float64)
    if not values.any():
        return ""
    most, usual = float(values.max()), float(np.quantile(values[values > 0], TOP))
    plot = Plot((times[0], times[-1] + HOUR_MS), most * 1.1, 190, logarithmic=most > LOG_FROM * usual)
    at, heights = steps(np.append(times, times[-1] + HOUR_MS), np.append(values, values[-1]))
    plot.area(at, np.zeros(len(at)), heights)
    plot.line(at, heights, "seen")
    plot.upright(epoch_ms(alert.window.start), "begin", "first access", row=0)
    plot.upright(epoch_ms(alert.time), "told", "alert", row=1)
    known = {hour.start: hour for hour in history.hours}
    records = sum(hour.records for hour in known.values())
    what = f"requests an hour; {number(records)} records in all ({size(sum(h.bytes for h in known.values()))})"
    label = f"{history.entity.kind} {who(history.entity)}: {what}, at most {number(most)} an hour"
    caption = f'{entity(history.entity)} <span class="kind">· {text(what)}</span>'
    return f"<figure><figcaption>{caption}</figcaption>{plot.svg(label)}</figure>"


def _examples(examples: list[Event], count: int) -> str:
    columns = (
        ("name", "place in the log"), ("n", "time, UTC"), ("name", "account"), ("name", "what"), ("name", "from"),
        ("n", "records"),
    )  # fmt: skip
    rows = (
        f'<td class="name">{name(e.place)}</td><td class="n">{moment(epoch_ms(e.time) or 0, "%-d %b %H:%M:%S")}</td>'
        f'<td class="name">{name(_who(e))}</td><td class="name">{name(" ".join(_what(e)))}</td>'
        f'<td class="name">{name(f"{e.source_ip} {e.network}")}</td><td class="n">{amount(e.records)}</td>'
        for e in examples
    )
    remark = note(f"The first, the largest and the last of {count:,} events that a detector marked as evidence.")
    return section("Events that it rests on", remark, table(columns, rows)) if examples else ""


def _who(event: Event) -> str:
    return f"{event.account} ({event.written})" if event.written else event.account


def _what(event: Event) -> Iterator[str]:
    yield f"{event.action} {event.resource}"
    if event.object:
        yield event.object
    if event.subject:
        yield f"of {event.subject}"
    if event.outcome != "success":
        yield f"({event.outcome})"
