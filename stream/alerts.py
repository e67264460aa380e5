"""The alert: what people are told, schema `tripline.alert/1`, and how it is worded."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from detectors.base import Detector, number
from detectors.fusion import Evidence
from stream.checks import COUNT_MAX, TIME_MS_END
from stream.origins import unstamped
from stream.signals import Place, Signal, distinct

SCHEMA: Final = "tripline.alert/1"
RUNBOOK: Final = "deploy/RUNBOOK-alerts.md"  # where `runbook_url` names no other page
STATUSES: Final = ("open", "update", "closed")
SEVERITIES: Final = (("critical", 20.0), ("high", 10.0), ("medium", 4.0))  # score_bits from which; else low


class EntityRef(msgspec.Struct, frozen=True, order=True):
    """One entity by kind and value."""

    kind: str
    value: str


class EvidenceItem(msgspec.Struct, frozen=True):
    """One finding: what was observed against what was expected; bits = -log2 p."""

    detector: str
    entity: EntityRef
    feature: str
    observed: float
    expected: float
    unit: str
    window_s: float
    bits: float


class Impact(msgspec.Struct, frozen=True):
    """What left: rows, bytes, and whose data, as far as the evidence goes."""

    records: int
    bytes: int
    subjects: int


class Window(msgspec.Struct, frozen=True):
    """First and last access that the alert rests on, RFC 3339."""

    start: str
    end: str


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the accesses are: lines of a file, or offsets of a topic's partition; and the version of `[enrich]`'s files
    that they were filled in from."""  # fmt: skip

    file: str | None = None
    first_line: int | None = None
    last_line: int | None = None
    topic: str | None = None
    partition: int | None = None
    first_offset: int | None = None
    last_offset: int | None = None
    enrichment: str | None = None

    def __str__(self) -> str:
        if self.topic is not None:
            return f"{self.topic}/{self.partition} offsets {self.first_offset:,} to {self.last_offset:,}"
        return f"{self.file} lines {self.first_line:,} to {self.last_line:,}"


class Alert(msgspec.Struct, frozen=True):
    """One revision of one incident; times are RFC 3339 UTC, `time` that of the evidence that crossed."""

    schema: str
    id: str
    revision: int
    status: str  # open, update, closed
    time: str
    emitted_at: str
    severity: str
    score_bits: float
    title: str
    summary: str
    entity: EntityRef
    related: tuple[EntityRef, ...]
    detectors: tuple[str, ...]
    techniques: tuple[str, ...]
    evidence: tuple[EvidenceItem, ...]
    impact: Impact
    window: Window
    source: tuple[Source, ...]
    runbook: str
    sensitivity: str = ""  # the highest level of what was touched, as [sensitivity] has it


def rfc3339(ms: int) -> str:
    """Epoch milliseconds as RFC 3339 UTC, which ends with the year 9999.

    >>> rfc3339(1_700_000_000_123), rfc3339(TIME_MS_END)[:19]
    ('2023-11-14T22:13:20.123Z', '9999-12-31T23:59:59')
    """
    ms = min(ms, TIME_MS_END - 1)  # a tick comes after the latest event
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def severity_of(score_bits: float) -> str:
    """The severity of a score: chance shows a critical once in 2^20 days."""
    return next((name for name, least in SEVERITIES if score_bits >= least), "low")


def chance(score_bits: float) -> str:
    """How long chance alone needs for a score, in words.

    >>> chance(12.0)
    'by chance once in 11 years'
    """
    days = 2.0 ** min(score_bits, 60.0)
    if days < 2:
        return "by chance about once a day"
    if days < 60:
        return f"by chance once in {days:.0f} days"
    years = days / 365.25
    return f"by chance once in {number(years)} years" if years < 10_000 else "not by chance"


def sentence(evidence: Evidence, detector: Detector) -> str:
    """What one detector found, as a sentence without its subject."""
    feature = detector.features[evidence.feature]
    return feature.sentence.format(
        observed=feature.observed(evidence.observed), expected=feature.expected(evidence.expected),
        window=evidence.window,
    )  # fmt: skip


def leading(evidence: Sequence[tuple[Evidence, Detector]]) -> Detector:
    """The detector that says most, then the one with the strongest evidence."""
    return min(evidence, key=lambda each: (-each[1].weight, -each[0].score))[1]


def runbook_of(page: str, detector: Detector) -> str:
    """Where an analyst finds what to do: the detector's section of the page (of RUNBOOK where none is given)."""
    return page if "#" in page else f"{page or RUNBOOK}#{detector.id}"


def title_of(detector: Detector, kind: str, value: str) -> str:
    """A title in the detector's words."""
    return detector.title.format(kind=kind, value=value if kind != "fleet" else "all traffic")


def alert_of(signal: Signal, detectors: Mapping[str, Detector], runbook: str) -> Alert:
    """The alert that tells of a signal; `detectors` by id, whose words are used.

    Where none of the evidence is known here, as with a worker that is newer, the alert says so in words of its own.
    """
    members = [e for e in signal.members if e.detector in detectors and e.feature < len(detectors[e.detector].features)]
    about = [e for e in members if (e.kind, e.value) == signal.entity] or members
    used = tuple(dict.fromkeys(e.detector for e in members or signal.members))
    subjects, sources = distinct(signal.subjects), distinct(signal.sources)
    found = "; ".join(sentence(e, detectors[e.detector]) for e in about[:3])
    found = found or f"found by {', '.join(used)}, of which this version knows no words: upgrade it"
    first = leading([(e, detectors[e.detector]) for e in about]) if about else None
    about_whom = "all traffic" if signal.kind == "fleet" else f"{signal.kind} {signal.value}"
    touched = f" Some of it is {signal.sensitivity}." if signal.sensitivity else ""
    summary = (
        f"{about_whom}: {found}. So far at least {_counted(signal.records, 'record')} of "
        f"{_counted(subjects, 'person', 'people')}, from {_counted(sources, 'address', 'addresses')}.{touched} "
        f"Evidence like this comes {chance(signal.score)}."
    )
    return Alert(
        schema=SCHEMA, id=signal.id, revision=signal.revision, status=signal.status, time=rfc3339(signal.crossed),
        emitted_at=rfc3339(int(time.time() * 1000)), severity=severity_of(signal.score),
        score_bits=round(signal.score, 2),
        title=title_of(first, signal.kind, signal.value) if first else f"Evidence about {about_whom}", summary=summary,
        entity=EntityRef(signal.kind, signal.value), related=tuple(EntityRef(r.kind, r.value) for r in signal.related),
        detectors=used, techniques=tuple(dict.fromkeys(t for e in members for t in detectors[e.detector].techniques)),
        evidence=tuple(evidence_item(e, detectors[e.detector]) for e in members),
        impact=Impact(_whole(signal.records), _whole(signal.bytes), subjects),
        window=Window(rfc3339(signal.start), rfc3339(signal.last)),
        source=tuple(_source(place) for place in signal.places),
        runbook=runbook_of(runbook, first) if first else runbook or RUNBOOK,
        sensitivity=signal.sensitivity,
    )  # fmt: skip


def _whole(amount: float) -> int:
    """An amount as an integer that every reader of JSON takes: sums of what events claim may be beyond.

    >>> _whole(2.5), _whole(1e30)
    (2, 9223372036854775807)
    """
    return int(min(amount, COUNT_MAX))


def _counted(count: float, one: str, many: str = "") -> str:
    """A count and its noun.

    >>> _counted(1.0, "record"), _counted(2300.0, "record"), _counted(0.0, "person", "people")
    ('1 record', '2,300 records', '0 people')
    """
    return f"{count:,.0f} {one if round(count) == 1 else many or one + 's'}"


def _source(place: Place) -> Source:
    origin, version = unstamped(place.origin)
    enrichment = version or None
    scheme, _, name = origin.partition(":")
    topic, _, partition = name.rpartition("/")
    if scheme == "kafka" and topic and partition.isdigit():
        return Source(
            topic=topic, partition=int(partition), first_offset=place.first, last_offset=place.last,
            enrichment=enrichment,
        )  # fmt: skip
    return Source(file=origin, first_line=place.first, last_line=place.last, enrichment=enrichment)


def encode(alert: Alert) -> bytes:
    """One JSON line."""
    return msgspec.json.encode(alert) + b"\n"


def evidence_item(evidence: Evidence, detector: Detector) -> EvidenceItem:
    """The public form of a finding."""
    feature = detector.features[evidence.feature]
    return EvidenceItem(
        detector=evidence.detector, entity=EntityRef(evidence.kind, evidence.value), feature=feature.name,
        observed=round(evidence.observed, 3), expected=round(evidence.expected, 6), unit=feature.unit,
        window_s=evidence.window_s, bits=round(evidence.bits, 2),
    )  # fmt: skip


def comparable(line: bytes) -> dict[str, Any]:
    """An encoded alert without the wall clock: what must not differ between two runs over one input."""
    alert: dict[str, Any] = msgspec.json.decode(line)
    alert.pop("emitted_at")
    return alert
