"""The sections of a report, below its head: each a heading, pictures or a table, as HTML."""

from __future__ import annotations

import math
from typing import Final

from detectors import techniques
from detectors.base import Feature, number, size
from stream.alerts import Alert, EntityRef, EvidenceItem
from stream.case import Case, Thread
from stream.incident import RELATED_MAX
from stream.markup import (
    LINE_MAX,
    amount,
    chips,
    duration,
    entity,
    moment,
    name,
    note,
    pairs,
    people,
    plural,
    section,
    severity,
    table,
    text,
)  # fmt: skip
from stream.pictures import Gauged, band_legend, band_picture, records_picture, score_picture
from stream.record import Recorder

ROWS_MAX: Final = 500  # of a table
PICTURES_MAX: Final = 3  # of entities against their bands
ALL: Final = EntityRef("fleet", "fleet")
VOLUME: Final = (("volume", "requests"), ("volume", "records"))
WORDS: Final = {"source": "address", "client": "user agent"}  # what people call them


def traffic(case: Case) -> str:
    """All traffic, where there is nothing else to show."""
    gauged = [each for which in VOLUME if (each := _gauged(case.recorder, ALL, which))]
    if not gauged:
        return section("All traffic", note("Too little data for a picture."))
    return _bands(case, "All traffic", gauged)


def baseline(case: Case, lead: Thread) -> str:
    """The alert's entity, or else one of its evidence, against its band; and what a look at volume would have seen."""
    last = lead.last
    strongest = sorted(last.evidence, key=lambda item: -item.bits)
    found = [(item.entity, (item.detector, item.feature)) for item in strongest]
    own = [each for each in found if each[0] == last.entity]
    seen = [each for each in own or found if _gauged(case.recorder, *each)][: PICTURES_MAX - 1 if own else 1]
    volume = next(((ref, VOLUME[1]) for ref in (last.entity, ALL) if _gauged(case.recorder, ref, VOLUME[1])), None)
    chosen = dict.fromkeys([*seen, volume] if volume else seen)
    gauged = [each for which in chosen if (each := _gauged(case.recorder, *which))]
    return _bands(case, "Against what is usual", gauged) if gauged else traffic(case)


def _bands(case: Case, heading: str, gauged: list[Gauged]) -> str:
    pictures = (band_picture(each, case.moments) for each in gauged)
    return section(heading, *pictures, band_legend(gauged, case.moments))


def _gauged(recorder: Recorder, ref: EntityRef, which: tuple[str, str]) -> Gauged | None:
    """What was recorded of an entity by a detector's feature, where that is enough for a picture."""
    recorded = recorder.figures(ref.kind, ref.value).get(which)
    if recorded is None or len(recorded[2]) < 2:
        return None
    return Gauged(ref, *recorded)


def course(case: Case, lead: Thread) -> str:
    """How the evidence added up, and what left meanwhile."""
    story = case.recorder.stories.get(lead.last.id)
    if story is None or not len(story.course):
        return ""
    return section(
        "How the evidence added up",
        note("Each mark is a finding of one detector on one entity, the line is the score of the alert: log₂ of the "
             "days that chance alone needs to show as much."),
        score_picture(story, case.moments, case.recorder.threshold),
        "<h3>What left meanwhile: records</h3>",
        records_picture(story, lead.opened, case.moments),
    )  # fmt: skip


def reach(alert: Alert) -> str:
    """Who was read, and by what."""
    impact, window = alert.impact, alert.window
    rows = (
        ("read", f"{number(impact.records)} records ({size(impact.bytes)}) of {people(impact.subjects)}"),
        ("from, to", f"{window.start[:19].replace('T', ' ')}, {window.end[:19].replace('T', ' ')} UTC"),
        ("in the log", "; ".join(map(str, alert.source))),
        ("techniques", ", ".join(map(techniques.named, alert.techniques))),
        ("runbook", alert.runbook),
    )
    by_kind: dict[str, list[str]] = {}
    for each in alert.related:
        by_kind.setdefault(each.kind, []).append(each.value)
    lists = (f"<h3>{text(_named(kind, len(names)))}</h3>{chips(names)}" for kind, names in by_kind.items())
    return section("Who was read, and by what", pairs(rows), *lists)


def _named(kind: str, count: int) -> str:
    words = plural(count, WORDS.get(kind, kind))
    return f"{words}, those seen most" if count >= RELATED_MAX else words


def evidence(case: Case, alert: Alert) -> str:
    """Each finding in words, with its strength."""
    most = max((item.bits for item in alert.evidence if math.isfinite(item.bits)), default=1.0)
    rows = (
        f'<td class="n">{amount(item.bits)}</td><td class="bar">{_bar(item.bits / max(most, 1.0))}</td>'
        f'<td class="name">{entity(item.entity)}<p>{text(finding(item, _feature(case, item)), LINE_MAX)}</p></td>'
        f"<td>{text(item.detector)}</td>"
        for item in alert.evidence[:ROWS_MAX]
    )
    columns = (("n", "bits"), ("bar", ""), ("name", "finding"), ("", "detector"))
    return section("The evidence", note(alert.summary), table(columns, rows))


def _bar(share: float) -> str:
    return f'<i style="width:{100 * min(max(share, 0.0), 1.0) if math.isfinite(share) else 100:.0f}%"></i>'


def _feature(case: Case, item: EvidenceItem) -> Feature | None:
    return case.recorder.features.get((item.detector, item.feature))


def finding(item: EvidenceItem, feature: Feature | None) -> str:
    """A finding as its detector words it; as plain figures where it does not."""
    window = duration(item.window_s * 1000)
    if feature is None or not math.isfinite(item.observed) or not math.isfinite(item.expected):
        seen, usual = (amount(value, item.unit) for value in (item.observed, item.expected))
        return f"{item.feature} in {window}: {seen}, where {usual} expected"
    return feature.sentence.format(
        observed=feature.observed(item.observed), expected=feature.expected(item.expected), window=window
    )


def others(case: Case) -> str:
    """The alerts that the page does not lead with; nothing where none was told at all."""
    rest = [thread for thread in case.threads if thread is not case.lead]
    if not rest:
        return section("Other alerts", note("None.")) if case.lead else ""
    columns = (
        ("n", "told, UTC"), ("", "severity"), ("name", "alert"), ("", "detectors"), ("n", "score"), ("n", "records"),
        ("", "status"),
    )  # fmt: skip
    left = len(rest) - ROWS_MAX
    more = note(f"{left:,} more are not on this page.") if left > 0 else ""
    return section("Other alerts" if case.lead else "Alerts", table(columns, map(_row, rest[:ROWS_MAX])), more)


def _row(thread: Thread) -> str:
    last = thread.last
    return (
        f'<td class="n">{moment(thread.told_ms)}</td>'
        f'<td>{severity(last)}</td><td class="name">{name(last.title)}</td><td>{text(", ".join(last.detectors))}</td>'
        f'<td class="n">{amount(last.score_bits)}</td><td class="n">{number(last.impact.records)}</td>'
        f"<td>{text(last.status)}</td>"
    )


def run(case: Case) -> str:
    """What the run says of itself."""
    dropped = case.recorder.dropped
    rows = [*case.facts, ("left out", f"{plural(dropped, 'later revision')} of alerts" if dropped else "")]
    return section("The replay, which knows the attack" if case.attack else "The run", pairs(rows))


def reading(case: Case) -> str:
    """How to read the page."""
    sentences = [
        "Everything is judged against its own past, against its peers and against what everyone does at that hour. "
        "The pale band is what these allow: three deviates, beyond which about one in a thousand goes.",
        "One bit halves the odds of chance: ten are one in a thousand, twenty one in a million. A score is what is "
        "left of the bits when the number of looks a day is taken off, and an alert opens once chance alone would "
        f"need {amount(2.0**case.recorder.threshold)} days to show as much.",
        "An alert says that something left its usual course, and what left with it. Whether that was meant to be is "
        "for a person to say, who begins with the names above.",
    ]
    return section("How to read this", *(f"<p>{text(each, LINE_MAX)}</p>" for each in sentences))
