"""One page to look at: what was found, since when, how sure, what had left; then how it is known, and who was read.

The page is a single file without scripts and without anything from elsewhere: its own policy forbids both.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from string import Template
from typing import Final

from detectors.base import number, size
from stream.alerts import Alert, chance
from stream.case import Case, Thread, threads_of
from stream.errors import TriplineError
from stream.markup import LINE_MAX, amount, duration, moment, name, people, plural, severity, text
from stream.record import Recorder
from stream.sections import baseline, course, evidence, others, reach, reading, run, traffic

HEADLINE_MAX: Final = 160
FALSE: Final = "false alerts"  # the fact that an operator asks for second


def write_report(
    path: Path | str, *, title: str, facts: Sequence[tuple[str, str]], alerts: Sequence[Alert], recorder: Recorder,
    truth: tuple[int, int] | None = None, found: Collection[str] | None = None,
) -> None:  # fmt: skip
    """Write the page, whole or not at all.

    facts: (label, value) of the run. alerts: every revision in the order it was told. truth: start and end of a
    replay's attack, epoch ms; found: ids of the alerts about it, by default those told in its time. Raises
    TriplineError where the file cannot be written.
    """
    case = Case(title, facts, recorder, threads_of(alerts, recorder), truth, found)
    write_whole(Path(path), page(case).encode("utf-8"))


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file by one that holds `data`, or leave it as it was; a pipe or a device is written as it is."""
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        target = path.resolve()
        part = target.with_name(f".{target.name[:64]}.{os.getpid()}.part")
        part.unlink(missing_ok=True)
        try:
            with part.open("xb") as file:
                file.write(data)
            part.replace(target)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
    except OSError as why:
        missing = isinstance(why, FileNotFoundError)
        remedy = f"make the directory {path.parent}" if missing else "free some space, or see to your rights there"
        raise TriplineError(
            f"--report {path} cannot be written: {why.strerror}; {remedy}, or name another file"
        ) from why


def page(case: Case) -> str:
    """The page as HTML."""
    lead = case.lead
    if lead is None:
        middle = [traffic(case)]
    else:
        middle = [baseline(case, lead), course(case, lead), reach(lead.last), evidence(case, lead.last)]
    return document(case.title, [head(case), *middle, others(case), run(case), reading(case)])


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page of these parts, each of them HTML, empty ones left out."""
    template = Template(Path(__file__).with_name("report.html").read_text("utf-8"))
    named = text(f"{title[:LINE_MAX]} - Tripline", LINE_MAX)
    return template.substitute(title=named, body="\n".join(filter(None, parts)))


def head(case: Case) -> str:
    """What happened, since when, how sure, what left."""
    if case.lead is None:
        headline, line = _quiet(case)
        told, figures = text(line, LINE_MAX), list(_counts(case))
    else:
        headline, last = case.lead.last.title, case.lead.last
        told = f"{severity(last)} {text(_told(case, case.lead), LINE_MAX)}"
        figures = [*_figures(case, case.lead), *_counts(case)]
    body = "".join(f"<div><dt>{text(label)}</dt><dd>{text(value)}</dd></div>" for value, label in figures)
    return (
        f'<header><p class="mast">Tripline · <b>{name(case.title, HEADLINE_MAX)}</b></p>'
        f'<h1>{name(headline, HEADLINE_MAX)}</h1><p class="told">{told}</p><dl class="figures">{body}</dl></header>'
    )


def _told(case: Case, lead: Thread) -> str:
    """When it was told, how long after, with how much gone, and whether it goes on."""
    line, begin, opened = f"Told {moment(lead.told_ms)} UTC", case.moments.begin, lead.opened
    if begin is not None:
        line += f", {duration(lead.told_ms - begin)} after {_beginning(case)}"
    if opened is not None:
        records = opened.impact.records
        line += f", when {plural(records, 'record')} had left" if records else ", before any record had left"
    ended = f"Closed {moment(lead.closed_ms)} UTC." if lead.closed_ms is not None else "Still open."
    return f"{line}. {ended}"


def _beginning(case: Case) -> str:
    return "the attack's first request" if case.attack else "its first access"


def _figures(case: Case, lead: Thread) -> Iterator[tuple[str, str]]:
    impact, begin, score = lead.last.impact, case.moments.begin, lead.last.score_bits
    if begin is not None:
        yield moment(begin, "%-d %b %H:%M"), f"UTC, since when: {_beginning(case)}"
        yield duration(lead.told_ms - begin), "from there to the alert"
    how = chance(score).removeprefix("by chance ")
    sure = "how sure" if how.startswith("not") else "how often chance alone shows such evidence"
    yield how, f"{sure}: score {amount(score)}"
    opened = lead.opened
    share = f", {opened.impact.records / impact.records:.1%} before the alert" if opened and impact.records else ""
    yield number(impact.records), f"records of {people(impact.subjects)} left ({size(impact.bytes)}){share}"


def _counts(case: Case) -> Iterator[tuple[str, str]]:
    for label, value in case.facts:
        if label == FALSE:
            figure, _, remark = value.partition(":")
            yield figure, f"{FALSE}:{remark}" if remark else FALSE
            return
    yield f"{len(case.threads):,}", "alert opened" if len(case.threads) == 1 else "alerts opened"


def _quiet(case: Case) -> tuple[str, str]:
    """The headline and the line below it, where there is no alert to lead with."""
    pipeline, learned = case.recorder.pipeline, case.moments.learned
    if case.attack:
        return "The attack was not found.", "What was told is about something else." if case.threads else ""
    if pipeline is None or not pipeline.now_ms:
        return "No event was read.", "There was nothing to judge."
    watched = f"{pipeline.events:,} events, from {moment(pipeline.began_ms)} to {moment(pipeline.now_ms)} UTC."
    if learned is not None and pipeline.now_ms < learned:
        return "Still learning.", f"{watched} Nothing is told in the first {pipeline.config.warmup_h:g} hours of data."
    return "Nothing was unusual enough to tell of.", watched
