"""The first records of a log, decoded as a run would, and how often each field of an event is there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from stream.blocks import packed
from stream.checks import TIME_MS_END
from stream.decode import decode_batch
from stream.enrich.enricher import Enricher
from stream.events import ACCOUNT_KINDS, ACTIONS, OUTCOMES, TEXT_FIELDS, AccessEvent, EventBlock
from stream.networks import network_names
from stream.source import inputs, open_source

RECORDS_MAX: Final = 10_000
SHOWN: Final = 3
FIELDS: Final = AccessEvent.__struct_fields__

Event = dict[str, str | int | float]


@dataclass(slots=True)
class Sample:
    """Of one file: its format ("" for none), records read, and what came of them.

    shown: the first events, each beside its record and what it was before it was filled in. present: events in which
    the field says something, by field.
    values: those of a text field; example: one of them. dead: records by reason; why: one detail of each.
    """

    format: str = ""
    records: int = 0
    events: int = 0
    shown: list[tuple[bytes, Event, Event]] = field(default_factory=list)
    present: Counter[str] = field(default_factory=Counter)
    values: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in TEXT_FIELDS})
    example: dict[str, str] = field(default_factory=dict)
    issued: int = 0  # successful logins that name a credential
    exported: int = 0  # what employees exported or shared
    numbered: int = 0  # events whose object ends in a number
    empty: int = 0  # failures, and reads that gave nothing
    unnamed: int = 0  # events whose account is only the address
    dead: Counter[str] = field(default_factory=Counter)
    why: dict[str, tuple[int, str]] = field(default_factory=dict)

    def share(self, name: str) -> float:
        """The share of events in which the field says something."""
        return self.present[name] / self.events if self.events else 0.0


def taken(path: str, fmt: str, record_bytes_max: int, enricher: Enricher | None = None) -> Sample:
    """The first RECORDS_MAX records of the file; raises UsageError and TriplineError as reading does."""
    sample = Sample()
    for chunk in open_source(inputs([path]), fmt, record_bytes_max=record_bytes_max):
        for letter in chunk.dead:
            _bury(sample, letter.reason, letter.line, letter.detail)
        sample.records += len(chunk.dead)
        if chunk.format is not None:
            sample.format = chunk.format.name
            left = RECORDS_MAX - sample.records
            records, lines = list(chunk.records[:left]), chunk.lines[:left]
            block, rejected = decode_batch(chunk.format, records, path, lines, TIME_MS_END - 1, mixed=fmt == "auto")
            sample.records += len(records)
            for each in rejected:
                _bury(sample, each.reason, each.line, each.detail)
            came, block = block, _enriched(block, enricher) if enricher is not None else block
            _count(sample, block)
            _show(sample, came, block, dict(zip(lines.tolist(), records, strict=True)))
        if sample.records >= RECORDS_MAX:
            break
    return sample


def _bury(sample: Sample, reason: str, line: int, detail: str) -> None:
    sample.dead[reason] += 1
    sample.why.setdefault(reason, (line, detail))


def _enriched(block: EventBlock, enricher: Enricher) -> EventBlock:
    filled = enricher.fill(packed(block))
    return replace(block, account_kind=filled.account_kind, text={n: c.texts() for n, c in filled.text.items()})


def _show(sample: Sample, came: EventBlock, block: EventBlock, records: dict[int, bytes]) -> None:
    for index in range(min(len(block), SHOWN - len(sample.shown))):
        before, after = event(came, index), event(block, index)
        if "network" in block.text:  # it is no field of a record, but a name may have been given to it
            names = network_names(came.text["source_ip"][index : index + 1], came.asn[index : index + 1])
            before["network"], after["network"] = names[0], block.text["network"][index]
        sample.shown.append((records[int(block.line[index])], before, after))


def event(block: EventBlock, index: int) -> Event:
    """The event at the index: the fields that say something, in the order of the schema."""
    row: Event = {"time": int(block.time[index])}
    for name in FIELDS[1:]:
        if name in TEXT_FIELDS:
            row[name] = block.text[name][index]
        elif name == "action":
            row[name] = ACTIONS[block.action[index]]
        elif name in ("account_kind", "outcome"):
            row[name] = (ACCOUNT_KINDS if name == "account_kind" else OUTCOMES)[getattr(block, name)[index]]
        else:
            row[name] = getattr(block, name)[index].item()
    plain = {"account_kind": "unknown", "asn": -1, "records": 1, "bytes": 0, "outcome": "success"}
    return {name: value for name, value in row.items() if value not in ("", plain.get(name))}


def _count(sample: Sample, block: EventBlock) -> None:
    sample.events += len(block)
    numbers = {
        "time": len(block), "action": len(block), "account_kind": int((block.account_kind != 0).sum()),
        "asn": int((block.asn >= 0).sum()), "records": int((block.records != 1).sum()),
        "bytes": int((block.bytes > 0).sum()), "outcome": int((block.outcome != 0).sum()),
    }  # fmt: skip
    for name, count in numbers.items():
        sample.present[name] += count
    for name, column in ((name, block.text[name]) for name in TEXT_FIELDS):
        said = [value for value in column if value]
        sample.present[name] += len(said)
        sample.values[name].update(said)
        if said:
            sample.example.setdefault(name, said[0])
    text = block.text
    out = np.isin(block.action, (ACTIONS.index("export"), ACTIONS.index("share"))) & (block.outcome == 0)
    sample.exported += int((out & (block.account_kind == ACCOUNT_KINDS.index("employee"))).sum())
    login = (block.action == 0) & (block.outcome == 0)
    sample.issued += int((login & np.array([bool(each) for each in text["credential"]], np.bool_)).sum())
    sample.numbered += sum(any(map(str.isdecimal, each[-40:])) for each in text["object"])
    sample.empty += int(((block.outcome != 0) | (block.records == 0)).sum())
    sample.unnamed += sum(map(str.__eq__, text["account"], text["source_ip"]))
