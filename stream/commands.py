"""What the commands do: each puts the parts together, shows how it goes, and says how it went."""

from __future__ import annotations

import argparse
import asyncio
import io
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from detectors import catalog
from stream import config as configuration
from stream import summary
from stream.alerts import Alert, encode, rfc3339
from stream.config import Config
from stream.console import Console, rate_line
from stream.decode import formats
from stream.enrich.enricher import opened
from stream.enrich.settings import Enrich
from stream.errors import TriplineError, UsageError
from stream.incidents import Incident, generate, list_incidents, load_incident, truth, write_jsonl
from stream.logs.command import check_sample
from stream.pipeline import Pipeline
from stream.record import Recorder
from stream.replay import Replay
from stream.report import write_report
from stream.run import INTERRUPTED, Options, Run
from stream.sink import LineSink
from stream.subscribers import check_subscriber, settings_by_kind
from stream.veil import Keys


def _config(path: Path | None, look: Callable[[Enrich], list[str]] = lambda _settings: []) -> Config:

    return configuration.load(path, os.environ, catalog.detector_ids(), list(formats()), settings_by_kind, look)


def run(arguments: argparse.Namespace) -> int:

    config = _config(arguments.config)
    console = Console(sys.stderr)
    inputs = arguments.inputs or ["-"]
    if arguments.inputs is None and sys.stdin.isatty():
        raise UsageError("no --input: name a file or a directory, or pipe logs in; `tripline run --help` has examples")
    readable = arguments.alerts == "-" and sys.stdout.isatty()
    options = Options(
        paths=inputs, format=arguments.format or config.format, follow=arguments.follow,
        alerts=os.devnull if readable else arguments.alerts, alert_format=arguments.alert_format,
        dead_letters=arguments.dead_letters, state=arguments.state, metrics_file=arguments.metrics,
        metrics_port=arguments.metrics_port, feedback=arguments.feedback, muted=arguments.muted,
    )  # fmt: skip
    _writable(arguments.report)
    if arguments.report and config.identity_keys_file:
        raise UsageError("--report would show who is hidden in alerts (identity_keys_file): leave one of the two out")
    recorder = Recorder() if arguments.report else None
    shown = _shower(Console(sys.stdout) if readable else None, recorder)
    say = (lambda _message: None) if arguments.quiet else console.line
    run = Run(config, options, on_alert=shown, on_tick=recorder.tick if recorder else lambda _now_ms: None, say=say)
    if recorder:
        recorder.bind(run.pipeline)
    total = sum(Path(p).stat().st_size for p in inputs if Path(p).is_file())
    began = time.monotonic()

    def progress() -> None:
        if console.due() and not arguments.quiet:
            share = run.counts.source_bytes / total if total and not arguments.follow else None
            pipeline = run.pipeline
            opened = pipeline.correlator.opened
            console.progress(share, rate_line(pipeline.events, time.monotonic() - began, pipeline.now_ms, opened))

    ended = run.go(progress)
    console.done()
    seconds = time.monotonic() - began
    facts = summary.of_run(
        run.pipeline, run.counts.dead_letters, arguments.dead_letters, config.warmup_h, seconds
    )  # fmt: skip
    if not arguments.quiet:
        console.table(facts)
    if recorder:
        write_report(arguments.report, title=", ".join(inputs), facts=facts, alerts=recorder.alerts, recorder=recorder)
    if not ended:
        kept = f"; the state is in {options.state}: the same command goes on from here" if options.state else ""
        say(f"stopped{kept}")
    return 0 if ended else INTERRUPTED


def replay(arguments: argparse.Namespace) -> int:

    if arguments.list:
        for name in list_incidents():
            print(f"{name:28} {load_incident(name).title}")  # noqa: T201 - the data that was asked for
        return 0

    config = _config(arguments.config)
    incident = load_incident(arguments.name)
    console = Console(sys.stdout)
    size = {"accounts": arguments.accounts, "days": arguments.days, "seed": arguments.seed}
    if arguments.write:
        count = write_jsonl(generate(incident, **size, attack=not arguments.no_attack), arguments.write)
        console.line(f"{count:,} events written to {arguments.write}")
        return 0
    if arguments.topic:
        return _play(arguments, config, incident, size, console)
    _writable(arguments.report)
    recorder = Recorder() if arguments.report else None
    shown = _shower(console, recorder)
    replay = Replay(
        incident, config, **size, attack=not arguments.no_attack, on_alert=shown,
        on_tick=recorder.tick if recorder else lambda _now_ms: None,
    )  # fmt: skip
    if recorder:
        recorder.bind(replay.pipeline)
    pipeline = replay.pipeline
    console.line(f"{incident.title}: {arguments.accounts:,} customers, {arguments.days:g} days, seed {arguments.seed}")
    console.line(
        f"The first {config.warmup_h:g} hours teach; at most {config.alerts_per_day_max:g} alerts a day after."
    )
    console.line()
    began = time.monotonic()

    def progress(share: float) -> None:
        if console.due():
            opened = pipeline.correlator.opened
            console.progress(share, rate_line(pipeline.events, time.monotonic() - began, pipeline.now_ms, opened))

    score = replay.go(progress)
    console.done()
    console.line()
    console.table(summary.of_replay(score, console, pipeline, attack=not arguments.no_attack))
    if arguments.alerts:
        with LineSink(arguments.alerts, "alerts") as sink:
            for told in replay.told:
                sink.write(encode(told.alert))
    if recorder:
        truth = (score.truth.start_ms, score.truth.end_ms) if not arguments.no_attack else None
        facts = summary.of_replay(score, Console(io.StringIO()), pipeline, attack=not arguments.no_attack)
        write_report(
            arguments.report, title=incident.title, facts=facts, alerts=recorder.alerts, recorder=recorder, truth=truth,
            found={told.alert.id for told in score.found},
        )  # fmt: skip
        console.line(f"\n  the report: {arguments.report}")
    return 0


def evaluate(arguments: argparse.Namespace) -> int:

    from stream.evaluate import command  # noqa: PLC0415 - what compares with nothing starts without the peers

    _writable(arguments.report)
    return command.evaluate(arguments, _config(arguments.config))


def check(arguments: argparse.Namespace) -> int:

    config = _config(arguments.config, lambda settings: opened(settings)[1])
    console = Console(sys.stdout)
    pipeline = Pipeline(config, lambda _alert: None)
    if arguments.sample:
        return check_sample(arguments.sample, arguments.format or config.format, config, pipeline.detectors)
    console.line(f"{arguments.config or 'the built-in settings'}: no mistake")
    console.line()
    console.table(summary.of_configuration(config, pipeline))
    troubles = [trouble for settings in config.subscribers for trouble in check_subscriber(settings, config)]
    for trouble in troubles:
        console.line(f"  {trouble}")
    if not (config.kafka.topics or config.kafka.topics_pattern):
        return 1 if troubles else 0
    from stream import kafka  # noqa: PLC0415 - what needs no broker starts without its client

    problems = asyncio.run(kafka.check(config))
    if config.registry.url:
        from stream.registry import Registry  # noqa: PLC0415 - as above

        problems += [problem] if (problem := Registry(config).check()) else []
    console.line()
    for problem in problems or [f"{config.kafka.bootstrap_servers}: brokers and topics are as they should be"]:
        console.line(f"  {problem}")
    return 1 if problems or troubles else 0


def reveal(arguments: argparse.Namespace) -> int:

    path = arguments.keys or Path(_config(arguments.config).identity_keys_file or ".")
    if not path.is_file():
        raise UsageError("no keys: name their file with --keys, or in identity_keys_file of --config")
    keys = Keys(path)
    for line in arguments.tokens or sys.stdin:
        print(keys.reveal(line.rstrip("\n")))  # noqa: T201 - the data that was asked for
    return 0


def topics(arguments: argparse.Namespace) -> int:

    from stream import kafka  # noqa: PLC0415 - as above

    config = _config(arguments.config)
    made = asyncio.run(kafka.create_topics(config.kafka))
    console = Console(sys.stdout)
    for name in made:
        console.line(f"created {name}")
    if not made:
        console.line("every topic is there")
    return 0


def worker(arguments: argparse.Namespace) -> int:

    from stream.worker import Worker  # noqa: PLC0415 - as above

    config = _config(arguments.config)
    console = Console(sys.stderr)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("aiokafka").setLevel(logging.ERROR)

    async def work() -> None:
        await Worker(config, console.line).run()

    asyncio.run(work())
    return 0


def respond(arguments: argparse.Namespace) -> int:

    from stream.respond import Respond  # noqa: PLC0415 - as above

    config = _config(arguments.config)
    console = Console(sys.stderr)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    for noisy in ("aiokafka", "faust", "mode"):
        logging.getLogger(noisy).setLevel(logging.ERROR)

    async def work() -> None:
        await Respond(config, console.alert).run()

    asyncio.run(work())
    return 0


def _play(
    arguments: argparse.Namespace, config: Config, incident: Incident, size: Mapping[str, Any], console: Console
) -> int:
    """Send an incident's events to a topic, the past at once and the rest in their time."""
    from stream.playback import Playback  # noqa: PLC0415 - as above

    began_ms = int((time.time() - 60.0 * arguments.began) * 1000)
    shift_ms = began_ms - truth(incident, **size).start_ms
    console.line(f"{incident.title}: from {rfc3339(began_ms)}, to topic {arguments.topic}")

    def progress(sent: int) -> None:
        if console.due():
            console.progress(None, f"{sent:,} events")

    playback = Playback(config, arguments.topic, shift_ms, progress)
    asyncio.run(playback.play(generate(incident, **size, attack=not arguments.no_attack)))
    console.done()
    console.line(f"{playback.sent:,} events sent")
    return 0


def _writable(report: Path | None) -> None:
    """An hour's run must not end at a directory that is not there."""
    if report is not None and not (report.parent.is_dir() and os.access(report.parent, os.W_OK)):
        raise TriplineError(
            f"--report {report}: directory {report.parent} cannot be written to: make it, or name another"
        )


def _shower(console: Console | None, recorder: Recorder | None) -> Callable[[Alert], None]:
    """What is done with an alert beside writing it."""

    def show(alert: Alert) -> None:
        if console is not None:
            console.alert(alert)
        if recorder is not None:
            recorder.alert(alert)

    return show
