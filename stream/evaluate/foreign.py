"""A world that somebody else wrote: its events through the pipeline of `tripline run`, its truth beside them.

A world is a folder with `events.jsonl` (native format, in the order of time; `.gz` and `.zst` too) and `truth.jsonl` or
`truth.json`, or the path of an events file that lies beside its truth. It may be made up of any days, also of days to
come. Where events carry the id of their attack as a field `attack`, which no decoder reads, its records are counted by
that; else what its entities read in its time is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import orjson

from stream.alerts import Alert
from stream.blocks import PackedBlock
from stream.checks import TIME_MS_END
from stream.config import Config
from stream.decode import decode_packed
from stream.enrich.enricher import enricher_of
from stream.errors import UsageError
from stream.evaluate.judge import Ledger, Opened, Outcome, judged
from stream.evaluate.truth import Attack, load
from stream.pipeline import FIELDS, Pipeline
from stream.source import inputs, open_source

EVENTS: Final = ("events.jsonl", "events.jsonl.gz", "events.jsonl.zst")
TRUTHS: Final = ("truth.jsonl", "truth.json")
LABEL: Final = b'"attack"'


def located(path: Path) -> tuple[Path, Path]:
    """The events and the truth of a world; UsageError where one is missing."""
    folder = path if path.is_dir() else path.parent
    events = path if path.is_file() else _first(folder, EVENTS)
    truth = _first(folder, TRUTHS)
    if events is None or truth is None:
        missing = EVENTS[0] if events is None else TRUTHS[0]
        raise UsageError(f"--world {path}: there is no {missing} in {folder}; a world is a folder with both")
    return events, truth


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def evaluated(path: Path, config: Config) -> Outcome:
    """What comes of a world with these settings; a function of its files and of nothing else. Raises TriplineError."""
    events, truth = located(path)
    attacks = load(truth)
    watch = Watch(attacks)
    opened: list[Opened] = []

    def emit(alert: Alert) -> None:
        if alert.status == "open":
            opened.append(Opened(alert, pipeline.tick_ms))

    pipeline, enricher = Pipeline(config, emit), enricher_of(config)
    source = open_source(
        inputs([str(events)]), config.format, record_bytes_max=config.record_bytes_max
    )  # fmt: skip
    rejected: Counter[str] = Counter()
    for chunk in source:
        rejected.update(letter.reason for letter in chunk.dead)
        if chunk.format is None or not chunk.records:
            continue
        block, bad = decode_packed(chunk.format, chunk.records, chunk.origin, chunk.lines, TIME_MS_END)
        rejected.update(each.reason for each in bad)
        if enricher is not None:
            block = enricher.fill(block)
        pipeline.take(block)
        watch.see(block, chunk.records, chunk.lines)
    pipeline.finish()
    name = events.resolve().parent.name if events.name in EVENTS else events.name
    return judged(
        name, attacks, opened, watch.ledgers, events=pipeline.events, rejected=rejected,
        span_ms=(pipeline.began_ms, pipeline.now_ms), warmup_h=config.warmup_h,
    )  # fmt: skip


class Watch:
    """Counts the records of each attack beside the pipeline: by label where there are labels, else by entity."""

    def __init__(self, attacks: Sequence[Attack]) -> None:
        self._attacks = {attack.id: attack for attack in attacks}
        self._labelled = {attack.id: Ledger() for attack in attacks}
        self._named = {attack.id: Ledger() for attack in attacks}
        self._any_label = False

    @property
    def ledgers(self) -> dict[str, Ledger]:
        """By the attack's id."""
        return self._labelled if self._any_label else self._named

    def see(self, block: PackedBlock, records: Sequence[bytes], lines: npt.NDArray[np.int64]) -> None:
        """Events of one chunk; `records` and `lines` are what they were decoded from."""
        labels = {int(line): record for line, record in zip(lines.tolist(), records, strict=True) if LABEL in record}
        if labels:
            self._any_label = True
            for at in np.flatnonzero(np.isin(block.line, list(labels))).tolist():
                name = orjson.loads(labels[int(block.line[at])]).get("attack")
                if isinstance(name, str) and name in self._labelled:
                    self._labelled[name].add(int(block.time[at]), float(block.records[at]))
        if self._any_label:
            return
        for attack in self._attacks.values():
            inside = np.flatnonzero((block.time >= attack.start_ms) & (block.time <= attack.end_ms))
            if len(inside):
                self._count(attack, block.take(inside))

    def _count(self, attack: Attack, block: PackedBlock) -> None:
        mine = np.zeros(len(block), np.bool_)
        for kind in {entity.kind for entity in attack.entities}:
            if kind in FIELDS:
                values = {entity.value for entity in attack.entities if entity.kind == kind}
                mine |= np.fromiter((t in values for t in block.text[FIELDS[kind]].texts()), np.bool_, len(block))
        for at in np.flatnonzero(mine).tolist():
            self._named[attack.id].add(int(block.time[at]), float(block.records[at]))
