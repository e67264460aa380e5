"""How far a breach reaches: whose data was read, how much of it, when and from where, counted from the log itself.

For an alert the log is run through first, for the events that a detector marked as its evidence. Then three things are
counted: those events; everything done with the credentials seen in them; everything that touched the entity of the
alert. Where many share that entity, as an issuer or a page, a breach lies between the first and the third, and the
second says best what it was. The numbers are exact: distinct people by 64-bit keyed hash, nothing estimated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from stream.alerts import Alert, EntityRef, Impact, rfc3339
from stream.analyst.places import Places, within
from stream.analyst.relog import Log, Read, unusable
from stream.analyst.tally import I64, Counts, Named, Person, Tally, hashed, read_of
from stream.blocks import PackedBlock
from stream.config import Config
from stream.errors import UsageError
from stream.incident import ALONE
from stream.markup import epoch_ms
from stream.pipeline import FIELDS, Pipeline
from stream.siphash import U64, hash_column, hash_key
from stream.trace import TRACED

SCHEMA: Final = "tripline.scope/1"
CREDENTIALS_MAX: Final = 10_000_000
TOP: Final = 50  # names of each kind in the JSON
HOUR_MS: Final = 3_600_000
LOOK_BACK_MS: Final = HOUR_MS // 4  # a mark may come to stand so long after its event
Bool = npt.NDArray[np.bool_]
MEASURES: Final = ("evidence", "credentials", "entity")


class Use(msgspec.Struct):
    """A place, page or program that data went to or through, with how often and how much."""

    name: str
    reads: int
    records: float


class Scope(msgspec.Struct):
    """What a breach reached. `basis`: which of the measures `phases`, `people` and `uses` are counted of.

    window: from, to, of what is called "during" (RFC 3339). said: the impact in the alert, an estimate that was at
    hand at once. by_hour: start of the hour, reads and records of the basis.
    """

    schema: str
    about: EntityRef
    alert: str
    window: tuple[str, str]
    told: str
    said: Impact | None
    basis: str
    measures: list[Counts]
    phases: list[Counts]
    uses: dict[str, list[Use]]
    by_hour: list[tuple[str, int, float]]
    people_listed: int
    reproduced: bool
    events_read: int
    log_span: tuple[str, str]
    origins: list[str]
    unusable: str


@dataclass(frozen=True, slots=True)
class Scoped:
    """A scope, with everybody whose data was read, the most read first."""

    scope: Scope
    people: list[Person]


@dataclass(slots=True)
class Evidence:
    """What an alert rests on: places in the log, and the keyed hashes of the credentials seen there."""

    places: Places = field(default_factory=Places)
    credentials: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: about whom, and what is called "during"; the phases begin at these times (epoch ms)."""

    about: EntityRef
    start_ms: int
    end_ms: int
    alert: Alert | None = None

    @property
    def phases(self) -> list[tuple[str, int]]:
        """Names of the phases and when each begins."""
        told = epoch_ms(self.alert.time) if self.alert else None
        first = [("before", 0), ("during", self.start_ms), ("after", self.end_ms + 1)]
        if told is None or not self.start_ms < told <= self.end_ms:
            return first
        return [first[0], ("during, not yet told", self.start_ms), ("during, after it was told", told), first[2]]


def of_alert(alert: Alert) -> Question:
    """The question that an alert asks."""
    start, end = epoch_ms(alert.window.start), epoch_ms(alert.window.end)
    if start is None or end is None:
        raise UsageError(f"alert {alert.id}: its window has no times; ask with --entity, --from and --to")
    return Question(alert.entity, start, end, alert)


def evidence_of(alert: Alert, log: Log, config: Config, on_progress: Callable[[int, int], None]) -> Evidence:
    """Run the log through, and gather what the detectors mark of the alert's evidence while it lasts."""
    found, read = Evidence(), Read()
    start, end = epoch_ms(alert.window.start) or 0, epoch_ms(alert.window.end) or 0
    begin = start - int(1000 * max((item.window_s for item in alert.evidence), default=0.0))

    def look(now_ms: int) -> None:
        rows = pipeline.trace.rows
        since = int(np.searchsorted(rows["time"], max(now_ms - LOOK_BACK_MS, begin)))
        if now_ms < begin or now_ms > end + LOOK_BACK_MS or since == len(rows):
            return
        marked = _marked(alert, pipeline, since) & (rows["time"][since:] <= end)
        chosen = rows[since:][marked]
        found.places.add_rows(chosen, pipeline.correlator.origins)
        slots = chosen["slots"][:, TRACED.index("credential")]
        if len(found.credentials) < CREDENTIALS_MAX:
            found.credentials.update(pipeline.tables["credential"].index.owner[slots[slots > 0]].tolist())

    pipeline = Pipeline(config, lambda _alert: None, look)
    for block in log.blocks(read):
        pipeline.take(block)
        on_progress(read.events, pipeline.now_ms)
        if pipeline.now_ms > end + LOOK_BACK_MS:
            break
    else:
        pipeline.finish()
    return found


def _marked(alert: Alert, pipeline: Pipeline, since: int) -> Bool:
    """Which rows of the trace, from `since` on, carry the mark of a piece of evidence on its entity.

    That of all traffic together marks what is usual too: it is left out where there is other evidence.
    """
    bits = {d.id: bit for bit, d in enumerate(pipeline.detectors)}
    columns = {d.id: {k: pipeline.tables[k].columns[d.id] for k in d.columns} for d in pipeline.detectors}
    evidence = [item for item in alert.evidence if item.detector in bits and item.entity.kind in pipeline.tables]
    evidence = [item for item in evidence if item.entity.kind != "fleet"] or evidence
    found: Bool = np.zeros(len(pipeline.trace.rows) - since, np.bool_)
    for item in evidence:
        kind = item.entity.kind
        slot = 0 if kind == "fleet" else pipeline.tables[kind].slot(item.entity.value)
        if slot >= 0:
            mask = 1 << bits[item.detector]
            found |= pipeline.trace.of(kind, slot, mask, pipeline.detectors, columns, since)
    return found


def scope(
    question: Question, evidence: Evidence | None, log: Log, config: Config, on_progress: Callable[[int, int], None]
) -> Scoped:
    """Count the log. UsageError where nothing in it touches the entity."""
    key = hash_key(config.hash_key)
    counted = _Counted(question, evidence, key)
    read, first, last = Read(), 0, 0
    for block in log.blocks(read):
        if len(block):
            counted.take(block)
            first = min(first or int(block.time.min()), int(block.time.min()))
            last = max(last, int(block.time.max()))
        on_progress(read.events, last)
    measures = [tally.counts() for tally in counted.measures.values()]
    if not any(each.events for each in measures):
        raise UsageError(
            f"{question.about.kind} {question.about.value}: nothing in {', '.join(read.origins) or 'the log'} touches "
            "it; see that the name is written as in the log (or as [enrich] names it), and the log the right one"
        )
    people = sorted(counted.named.people.values(), key=lambda p: (-p.records, p.subject))
    alert = question.alert
    return Scoped(
        Scope(
            schema=SCHEMA, about=question.about, alert=alert.id if alert else "",
            window=(rfc3339(max(question.start_ms, first)), rfc3339(min(question.end_ms, last))),
            told=alert.time if alert else "", said=alert.impact if alert else None,
            basis=counted.basis, measures=measures,
            phases=[tally.counts() for tally in counted.phases],
            uses={kind: _top(names) for kind, names in counted.named.names.items()},
            by_hour=[(rfc3339(h * HOUR_MS), n, r) for h, (n, r) in sorted(counted.hours.items())],
            people_listed=len(people), reproduced=bool(evidence and evidence.places.count),
            events_read=read.events, log_span=(rfc3339(first), rfc3339(last)), origins=list(read.origins),
            unusable=unusable(read),
        ),
        people,
    )  # fmt: skip


class _Counted:
    """All counts of one pass over the log."""

    def __init__(self, question: Question, evidence: Evidence | None, key: U64) -> None:
        self._question, self._key = question, key
        self._places = evidence.places.settled() if evidence else {}
        self._credentials: U64 = np.array(sorted(evidence.credentials) if evidence else [], np.uint64)
        shared = question.about.kind not in ALONE
        self.basis = "credentials" if shared and len(self._credentials) else "entity"
        self.measures = {name: Tally(name) for name in (MEASURES if evidence and self._places else MEASURES[2:])}
        self.phases = [Tally(name) for name, _ in question.phases]
        self.named = Named(len(self.phases))
        self.hours: dict[int, tuple[int, float]] = {}
        self._starts = np.array([start for _, start in question.phases])
        self._name = hash_column([question.about.value], key)[0]

    def take(self, block: PackedBlock) -> None:
        hashes = hashed(block, self._key)
        chosen = {"entity": self._touching(block)}
        if self._places:
            chosen["evidence"] = within(block, self._places)
            chosen["credentials"] = np.isin(hashes["credential"], self._credentials) | chosen["evidence"]
        for name, tally in self.measures.items():
            tally.add(block, hashes, np.flatnonzero(chosen[name]))
        index = np.flatnonzero(chosen[self.basis])
        if not len(index):
            return
        phase: I64 = np.searchsorted(self._starts, block.time, side="right") - 1
        for number, tally in enumerate(self.phases):
            tally.add(block, hashes, index[phase[index] == number])
        marked = chosen.get("evidence", np.zeros(len(block), np.bool_)).astype(np.int64)
        self.named.add(block, hashes, index, phase, marked)
        self._by_hour(block, index)

    def _touching(self, block: PackedBlock) -> Bool:
        about = self._question.about
        if about.kind == "fleet":
            return np.ones(len(block), np.bool_)
        hashes = block.hashes([FIELDS[about.kind]], self._key)[0]
        mine = np.asarray(hashes == self._name, np.bool_)
        if about.kind == "subject":  # whoever is named, or reads their own
            own = block.hashes(["subject", "account"], self._key)
            mine = np.asarray(np.where(own[0] != 0, own[0], own[1]) == self._name, np.bool_)
        return mine

    def _by_hour(self, block: PackedBlock, index: I64) -> None:
        index = index[read_of(block)[index]]
        hours, which = np.unique(block.time[index] // HOUR_MS, return_inverse=True)
        reads = np.bincount(which, minlength=len(hours))
        records = np.bincount(which, block.records[index], len(hours))
        for i, hour in enumerate(hours.tolist()):
            known = self.hours.get(hour, (0, 0.0))
            self.hours[hour] = known[0] + int(reads[i]), known[1] + float(records[i])


def _top(names: dict[str, list[float]]) -> list[Use]:
    ranked: Sequence[tuple[str, list[float]]] = sorted(names.items(), key=lambda item: (-item[1][1], item[0]))
    return [Use(name, int(reads), records) for name, (reads, records) in ranked[:TOP]]
