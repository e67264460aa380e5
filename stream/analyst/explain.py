"""From an alert back to the log: the log is run through again, and each piece of evidence is found anew.

The alerts are a function of the log and the configuration, so the same revision of the same alert must come of it, bit
for bit. Where it does not, the explanation says so: another log, other settings or another version made the alert, and
the figures are then those of this log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from detectors.base import DAY_MS, HOUR_MS, Array
from stream.alerts import Alert, EntityRef, EvidenceItem
from stream.analyst.history import Histories, History
from stream.analyst.places import Event, Places, events_at, within
from stream.analyst.relog import Log, Read, unusable
from stream.config import Config
from stream.errors import UsageError
from stream.incident import Incident
from stream.markup import epoch_ms
from stream.pipeline import Pipeline
from stream.record import Recorder
from stream.siphash import hash_key

SCHEMA: Final = "tripline.explanation/1"
ENTITIES_MAX: Final = 8  # whose history is counted: the alert's own, then those of the strongest evidence
AFTER_MS: Final = DAY_MS  # the log is read so much beyond the alert's last event
SHOWN: Final = 4  # events that are first, largest and last of the evidence
NEAR: Final = 0.02  # of a figure: what differs by less is the same to a person


class Checked(msgspec.Struct):
    """A piece of evidence as it was told, and as it comes of the log now (None where it does not)."""

    told: EvidenceItem
    again: EvidenceItem | None
    agrees: bool


class Explanation(msgspec.Struct):
    """An alert, found again in the log. verdict: what that came to, in a sentence."""

    schema: str
    alert: Alert
    reproduced: bool
    verdict: str
    evidence: list[Checked]
    history: list[History]
    examples: list[Event]
    evidence_events: int
    events_read: int
    origins: list[str]
    unusable: str


@dataclass(frozen=True, slots=True)
class Explained:
    """The explanation, with what was recorded on the way, for pictures. `told`: the revisions that came of it."""

    explanation: Explanation
    recorder: Recorder
    told: tuple[Alert, ...]


class _Examples:
    """Of the events that an incident rests on, the first, the largest and the last."""

    def __init__(self, alert_id: str) -> None:
        self._id = alert_id
        self._kept: list[Array] = []
        self.count = 0

    def take(self, incident: Incident, rows: Array) -> None:
        """Look at what the incident has absorbed."""
        if incident.id != self._id or not len(rows):
            return
        self.count += len(rows)
        rows = np.concatenate([*self._kept, rows])
        largest = rows[np.argsort(-rows["records"], kind="stable")[:SHOWN]]
        self._kept = [rows[:SHOWN], largest, rows[-SHOWN:]]
        if len(rows) <= 3 * SHOWN:
            self._kept = [rows]

    def places(self, origins: dict[str, str]) -> Places:
        """Where they are."""
        places = Places()
        for rows in self._kept:
            places.add_rows(rows, origins)
        return places


def explain(alert: Alert, log: Log, config: Config, on_progress: Callable[[int, int], None]) -> Explained:
    """Run the log through and find the alert in it; `on_progress` is told events and stream time. UsageError where the
    log has none of the alert's time."""  # fmt: skip
    recorder = Recorder()
    pipeline = Pipeline(config, recorder.alert, recorder.tick)
    recorder.bind(pipeline)
    entities = _entities(alert)
    for ref in entities:
        recorder.follow(ref.kind, ref.value)
    histories = Histories(entities, hash_key(config.hash_key))
    examples, read = _Examples(alert.id), Read()
    pipeline.correlator.on_absorb = examples.take
    start, end = epoch_ms(alert.window.start) or 0, epoch_ms(alert.window.end) or 0
    for block in log.blocks(read):
        histories.take(block)
        pipeline.take(block)
        on_progress(read.events, pipeline.now_ms)
        if pipeline.now_ms > end + AFTER_MS and not _waiting(alert, recorder.alerts):
            break
        if pipeline.now_ms > end + 2 * AFTER_MS + int(1000 * config.close_after_s):
            break
    else:
        pipeline.finish()
    if not read.events or pipeline.now_ms < start or pipeline.began_ms > end:
        raise UsageError(
            f"{', '.join(read.origins) or 'the log'}: no event of {alert.window.start} to {alert.window.end}, when "
            f"alert {alert.id} happened; name the log that it came of with --input"
        )
    told = tuple(each for each in recorder.alerts if each.id == alert.id)
    again = next((each for each in told if each.revision == alert.revision), told[-1] if told else None)
    places = examples.places(pipeline.correlator.origins)
    found = _found(log, places) if examples.count else []
    checked = [_checked(item, again) for item in alert.evidence]
    explanation = Explanation(
        schema=SCHEMA, alert=alert, reproduced=_same(alert, again), verdict=_verdict(alert, again, checked),
        evidence=checked, history=histories.told(), examples=found, evidence_events=examples.count,
        events_read=read.events, origins=list(read.origins), unusable=unusable(read),
    )  # fmt: skip
    return Explained(explanation, recorder, told or (alert,))


def _entities(alert: Alert) -> list[EntityRef]:
    strongest = sorted(alert.evidence, key=lambda item: -item.bits)
    return list(dict.fromkeys([alert.entity, *(item.entity for item in strongest)]))[:ENTITIES_MAX]


def _waiting(alert: Alert, told: list[Alert]) -> bool:
    return not any((each.id, each.revision) == (alert.id, alert.revision) for each in told)


def _found(log: Log, places: Places) -> list[Event]:
    """The events at these places, read again."""
    wanted = places.settled()
    left = sum(map(len, wanted.values()))
    found: list[Event] = []
    for came, block in log.pairs(Read()):
        rows = np.flatnonzero(within(block, wanted))
        found += events_at(block, rows.tolist(), came)
        left -= len({(int(block.origin[i]), int(block.line[i])) for i in rows})
        if left <= 0:
            break
    return sorted(found, key=lambda event: event.time)


def _checked(item: EvidenceItem, again: Alert | None) -> Checked:
    same = (item.detector, item.entity, item.feature)
    found = [e for e in (again.evidence if again else ()) if (e.detector, e.entity, e.feature) == same]
    if not found:
        return Checked(item, None, agrees=False)
    best = min(found, key=lambda e: abs(e.observed - item.observed))
    return Checked(item, best, agrees=_near(item.observed, best.observed) and _near(item.bits, best.bits))


def _near(one: float, other: float) -> bool:
    return one == other or abs(one - other) <= NEAR * max(abs(one), abs(other))


def _same(alert: Alert, again: Alert | None) -> bool:
    """Whether the revision came out as it was told, but for the names of files and what the settings say beside it."""
    if again is None:
        return False
    given = msgspec.structs.replace(
        again, emitted_at=alert.emitted_at, source=alert.source, runbook=alert.runbook, sensitivity=alert.sensitivity,
        summary=again.summary if again.sensitivity == alert.sensitivity else alert.summary,
    )  # fmt: skip
    return given == alert


def _verdict(alert: Alert, again: Alert | None, checked: list[Checked]) -> str:
    if _same(alert, again):
        return f"Revision {alert.revision} came out of the log again exactly as it was told."
    if again is not None:
        agree = sum(each.agrees for each in checked)
        return (
            f"The alert came out of the log again, but not to the letter: {agree} of {len(checked)} pieces of evidence "
            f"agree within {NEAR:.0%}. Another version, or a log that is not the whole one, was read."
            + _enriched_otherwise(alert, again)
        )
    return (
        "The alert did not come out of this log with this configuration: its id depends on both. Name all files, in "
        "the order in which they were read, and the same --config; what follows is counted from this log all the same."
    )


def _enriched_otherwise(alert: Alert, again: Alert) -> str:
    then, now = ({source.enrichment for source in each.source} for each in (alert, again))
    return "" if then == now else " The files of [enrich] are others than they were then."


def hours_shown(alert: Alert) -> tuple[int, int]:
    """Until when, epoch ms, and how many hours back a history is shown: from two days before to six hours after."""
    start, end = epoch_ms(alert.window.start) or 0, epoch_ms(alert.window.end) or 0
    last = end + 6 * HOUR_MS
    return last, min(max((last - start) // HOUR_MS + 48, 72), 24 * 28)
