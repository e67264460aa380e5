"""The commands of who brings logs: each shows on the terminal what it found, and gives data on stdout or in files."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from detectors import catalog
from stream import config as configuration
from stream.alerts import rfc3339
from stream.config import Config
from stream.console import WIDTH_MAX, Console, clean
from stream.decode import formats
from stream.enrich.enricher import enricher_of
from stream.logs import letters, propose
from stream.logs.coverage import Watcher, verdicts
from stream.logs.sample import FIELDS, Event, Sample, taken
from stream.sink import LineSink

_MARKS: Final = {"works": "good", "in part": "medium", "blind": "high"}


def settings(path: Path | None) -> Config:
    """The configuration of a file, or the built-in one."""
    return configuration.load(path, os.environ, catalog.detector_ids(), list(formats()))


def check_sample(path: str, fmt: str, config: Config, detectors: Sequence[Watcher]) -> int:
    """`tripline check --sample FILE`; 1 where nothing could be decoded."""
    sample, console = taken(path, fmt, config.record_bytes_max, enricher_of(config)), Console(sys.stdout)
    console.line(f"{path}: format {sample.format or 'unknown'}, {sample.records:,} records, {sample.events:,} events")
    if sample.dead:
        console.line()
        rows = []
        for reason, count in sample.dead.most_common():
            line, detail = sample.why[reason]
            rows.append((f"{count:,} {reason}", clean(f"line {line}: {detail}", WIDTH_MAX)))
        console.table(rows)
    if not sample.events:
        console.line()
        console.line(f"  nothing to go by: `tripline infer {path}` proposes a mapping")
        return 1
    for raw, came, event in sample.shown:
        console.line()
        console.line("  " + console.paint(clean(raw.decode(errors="backslashreplace"), WIDTH_MAX), "dim"))
        console.table([(name, _said(name, value) + _filled(came, name, value)) for name, value in event.items()])
    console.line()
    console.table([(name, _presence(sample, name)) for name in FIELDS])
    console.line()
    for detector, state, why in verdicts(detectors, sample):
        console.line(f"  {console.paint(f'{state:8}', _MARKS[state])}{detector:14}{why}")
    if sample.unnamed == sample.events:
        console.line()
        console.line("  nobody is named in these events: each account is the address of a client")
    return 0


def _said(name: str, value: Event | str | float) -> str:
    return rfc3339(int(value)) if name == "time" and isinstance(value, int) else clean(str(value), WIDTH_MAX)


def _filled(came: Event, name: str, value: str | float) -> str:
    """What the event came with, where enrichment made another of it."""
    if came.get(name) == value:
        return ""
    return f"  (filled in; it came with {clean(str(came[name]), 60)})" if name in came else "  (filled in)"


def _presence(sample: Sample, name: str) -> str:
    text = f"{sample.share(name):6.1%}"
    if name in sample.values and sample.present[name]:
        text += f"  {len(sample.values[name]):,} different, such as {clean(sample.example[name], 60)}"
    return text


def infer(arguments: argparse.Namespace) -> int:
    """`tripline infer`: a mapping on stdout, what to make of it on stderr."""
    proposal = propose.proposed(arguments.file, settings(arguments.config).record_bytes_max)
    sys.stdout.write(proposal.text)
    console = Console(sys.stderr)
    for remark in proposal.remarks:
        console.line(f"tripline: {remark}")
    return 0


def dead_letters(arguments: argparse.Namespace) -> int:
    """`tripline dead-letters list|show|replay`."""
    console = Console(sys.stdout)
    found = letters.read(arguments.file, arguments.reason)
    if arguments.view == "list":
        rows = letters.counted(found)
        console.table(
            [(f"{n:,} {reason}", clean(f"{where}: {detail}", WIDTH_MAX)) for n, reason, where, detail in rows]
            or [("none", "no dead letter")]
        )
        return 0
    if arguments.view == "show":
        for letter in letters.first(found, arguments.number):
            console.line(f"{letter.place}  {letter.reason}: {clean(letter.detail, WIDTH_MAX)}")
            cut = "" if letter.whole else f"  (the first {len(letter.raw):,} of {letter.raw_bytes:,} bytes)"
            console.line(f"  {clean(letter.raw.decode(errors='backslashreplace'), letters.SHOWN_CHARS_MAX)}{cut}")
        return 0
    with LineSink(arguments.output, "events") as sink, LineSink(arguments.left, "dead letters") as left:
        told = letters.replayed(found, arguments.format, sink, left)
    messages = Console(sys.stderr)
    messages.line(f"{told.events:,} events of {told.read:,} letters; {told.dead:,} are dead still, in {arguments.left}")
    if told.cut:
        messages.line(
            f"{told.cut:,} of these hold only the beginning of a record: read them again where they were written"
        )
    return 0
