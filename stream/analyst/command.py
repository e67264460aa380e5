"""What the analyst's commands do: each reads what it is about, and shows it to a person or hands it on as data."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from detectors import catalog
from stream import config as configuration
from stream import feedback, withheld
from stream.alerts import Alert
from stream.analyst import explain as explaining
from stream.analyst import explain_views, listing, scope_views
from stream.analyst import scope as scoping
from stream.analyst.moments import entity_named, when_ms
from stream.analyst.relog import log_of
from stream.analyst.told import Told, Unread, Wanted, decoded, file_lines
from stream.checks import TIME_MS_END
from stream.config import Config
from stream.console import WIDTH_MAX, Console, rate_line
from stream.decode import formats
from stream.errors import UsageError
from stream.pipeline import Pipeline
from stream.report import write_whole
from stream.sink import LineSink
from stream.veil import name_of


def alerts(arguments: argparse.Namespace) -> int:
    """`tripline alerts`."""
    config, messages = configured(arguments.config), Console(sys.stderr)
    if arguments.view == "held":
        _held(arguments, config)
        return 0
    if arguments.view == "show" and not arguments.id:
        raise UsageError("tripline alerts show: which one? Give an id, or how it begins; `tripline alerts` lists them")
    if arguments.view != "show" and arguments.id:
        raise UsageError(f"tripline alerts {arguments.view}: takes no id; `show {arguments.id}` shows one alert")
    wanted = _wanted(arguments)
    unread = Unread()
    if arguments.view == "follow":
        _follow(arguments, config, wanted, unread)
        return 0
    told = told_alerts(arguments, config, messages)
    entries = feedback.load(arguments.feedback) if arguments.feedback else []
    verdicts = {entry.about.id: str(entry.verdict) for entry in entries if entry.about is not None and entry.verdict}
    text = arguments.format == "text" or (arguments.format is None and sys.stdout.isatty())
    if arguments.view == "show":
        alert = told.one(arguments.id)
        _show(alert, text, arguments.format, verdicts.get(alert.id, ""))
    elif arguments.view == "list" and text:
        listing.show_table(told.those(wanted), Console(sys.stdout), _width(), verdicts)
    else:
        _export(told.those(wanted), arguments)
    return 0


def explain(arguments: argparse.Namespace) -> int:
    """`tripline explain`."""
    config, messages = configured(arguments.config), Console(sys.stderr)
    alert = told_alerts(arguments, config, messages).one(arguments.id)
    log = log_of(alert, arguments.inputs, arguments.input_format, config, messages.line)
    explained = explaining.explain(alert, log, config, _progress(messages))
    messages.done()
    words = features(config)
    if arguments.json:
        with LineSink(arguments.json, "explanation") as sink:
            sink.write(msgspec.json.encode(explained.explanation) + b"\n")
    if arguments.json != "-":
        explain_views.show(explained, Console(sys.stdout), _width(), words)
    if arguments.report:
        write_whole(arguments.report, explain_views.page(explained, words).encode())
        messages.line(f"the page: {arguments.report}")
    return 0


def scope(arguments: argparse.Namespace) -> int:
    """`tripline scope`."""
    config, messages = configured(arguments.config), Console(sys.stderr)
    if (arguments.id is None) == (arguments.entity is None):
        raise UsageError("tripline scope: of what? Give an alert's id, or --entity kind=value with --from and --to")
    outputs = [path for path in (arguments.csv, arguments.json) if path]
    if outputs.count("-") > 1:
        raise UsageError("--csv - and --json -: only one of them can go to stdout")
    alert = evidence = None
    if arguments.id is not None:
        if arguments.since or arguments.until:
            raise UsageError("--from and --to go with --entity: an alert has a time of its own")
        alert = told_alerts(arguments, config, messages).one(arguments.id)
        question = scoping.of_alert(alert)
    else:
        now_ms = int(time.time() * 1000)
        start = when_ms(arguments.since, "--from", now_ms) if arguments.since else 0
        end = when_ms(arguments.until, "--to", now_ms) - 1 if arguments.until else TIME_MS_END - 1
        if start > end:
            raise UsageError(f"--from {arguments.since} --to {arguments.until}: ends before it begins")
        question = scoping.Question(entity_named(arguments.entity), start, end)
    log = log_of(alert, arguments.inputs, arguments.input_format, config, messages.line)
    if alert is not None:
        evidence = scoping.evidence_of(alert, log, config, _progress(messages))
    scoped = scoping.scope(question, evidence, log, config, _progress(messages))
    messages.done()
    _write_scope(arguments, scoped)
    if "-" not in outputs:
        scope_views.show(scoped, Console(sys.stdout), _width())
    return 0


def _write_scope(arguments: argparse.Namespace, scoped: scoping.Scoped) -> None:
    if arguments.csv:
        with LineSink(arguments.csv, "people") as sink:
            sink.write(scope_views.csv_table(scoped))
    if arguments.json:
        with LineSink(arguments.json, "scope") as sink:
            sink.write(msgspec.json.encode(scoped.scope) + b"\n")
    if arguments.report:
        write_whole(arguments.report, scope_views.page(scoped).encode())


def _progress(console: Console) -> Callable[[int, int], None]:
    began = time.monotonic()

    def show(events: int, now_ms: int) -> None:
        if console.due():
            console.progress(None, rate_line(events, time.monotonic() - began, now_ms))

    return show


def told_alerts(arguments: argparse.Namespace, config: Config, messages: Console) -> Told:
    """Every alert that is to be had, as it stands now; what could not be read is said."""
    unread, told = Unread(), Told()
    for alert in decoded(_lines(arguments, config, follow=False), unread):
        told.add(alert)
    if unread.count:
        messages.line(str(unread))
    if told.dropped:
        messages.line(f"{told.dropped:,} of the oldest alerts left out: no more are kept at once")
    return told


def _lines(arguments: argparse.Namespace, config: Config, *, follow: bool) -> Iterator[tuple[str, bytes]]:
    if arguments.alerts is not None:
        return file_lines(arguments.alerts, follow=follow)
    if arguments.config is None:
        raise UsageError(
            "no alerts: name the file that `tripline run --alerts FILE` wrote with --alerts FILE, or the configuration "
            "of a deployment on Kafka with --config FILE"
        )
    from stream.analyst import topic  # noqa: PLC0415 - what needs no broker starts without its client

    records = topic.records(config.kafka, config.kafka.alerts, follow=follow)
    return ((f"{r.topic}/{r.partition} offset {r.offset}", r.value or b"") for r in records)


def _held(arguments: argparse.Namespace, config: Config) -> None:
    """What nobody was told of, by the alert plane of a cluster; a run says it when it ends."""
    if arguments.alerts is not None or arguments.config is None or arguments.id is not None:
        raise UsageError(
            "tripline alerts held: is of a deployment on Kafka; give --config FILE and nothing else. `tripline run` "
            "says when it ends what it held back"
        )
    if config.kafka.partitions == 1:
        raise UsageError(
            "tripline alerts held: kafka.partitions = 1, where nothing is merged and the worker keeps to the budget; "
            "its metric tripline_alerts_held_back_total says how much it held back"
        )
    from stream.analyst import topic  # noqa: PLC0415 - as above

    spent = withheld.latest(topic.records(config.kafka, withheld.changelog(config.kafka)))
    withheld.show(spent, Console(sys.stdout), name_of(config))


def _follow(arguments: argparse.Namespace, config: Config, wanted: Wanted, unread: Unread) -> None:
    """Tell of each revision as it comes, until Ctrl-C."""
    text = arguments.format == "text" or (arguments.format is None and sys.stdout.isatty())
    console = Console(sys.stdout)
    with LineSink("-", "alerts") as sink:
        for alert in decoded(_lines(arguments, config, follow=True), unread):
            if wanted(alert) and text:
                console.alert(alert)
            elif wanted(alert):
                sink.write(next(listing.json_lines([alert])))
                sink.flush()


def _show(alert: Alert, text: bool, form: str | None, verdict: str) -> None:
    if text:
        listing.show_one(alert, Console(sys.stdout), _width(), features(Config()), verdict)
        return
    with LineSink("-", "alert") as sink:
        sink.write(listing.csv_document([alert]) if form == "csv" else next(listing.json_lines([alert])))


def _export(found: list[Alert], arguments: argparse.Namespace) -> None:
    if arguments.format == "text":
        raise UsageError("tripline alerts export --format text: export is for machines; use json or csv, or list")
    with LineSink(arguments.output, "alerts") as sink:
        if arguments.format == "csv":
            sink.write(listing.csv_document(found))
        elif arguments.format == "json" and arguments.view == "export":
            sink.write(listing.json_document(found))
        else:
            for line in listing.json_lines(found):
                sink.write(line)


def _wanted(arguments: argparse.Namespace) -> Wanted:
    now_ms = int(time.time() * 1000)
    known = catalog.detector_ids()
    if arguments.detector is not None and arguments.detector not in known:
        raise UsageError(f"--detector {arguments.detector}: there is no such detector; there are: {', '.join(known)}")
    return Wanted(
        severity=arguments.severity, detector=arguments.detector,
        entity=entity_named(arguments.entity) if arguments.entity else None,
        statuses=frozenset(arguments.status or ()),
        from_ms=when_ms(arguments.since, "--from", now_ms) if arguments.since else None,
        to_ms=when_ms(arguments.until, "--to", now_ms) if arguments.until else None,
    )  # fmt: skip


def features(config: Config) -> listing.Features:
    """What detectors measure, by detector and name, for its words."""
    detectors = Pipeline(config, lambda _alert: None).detectors
    return {(d.id, feature.name): feature for d in detectors for feature in d.features}


def configured(path: Path | None) -> Config:
    """The configuration of a file, or the built-in one."""
    return configuration.load(path, os.environ, catalog.detector_ids(), list(formats()))


def _width() -> int:
    """Cells of the terminal; what is piped or very wide is kept to what reads well."""
    return min(max(shutil.get_terminal_size((WIDTH_MAX, 40)).columns, 40), 200)
