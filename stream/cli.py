"""The `tripline` command. Data goes to stdout or files, messages to stderr; 0 fine, 1 failed, 2 wrong usage."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Final

from stream.analyst import options as analyst
from stream.errors import TriplineError
from stream.logs import options as logs

DESCRIPTION: Final = (
    "Reads who accessed whose data, keeps a baseline for everyone, and alerts when data is carried out."
)
EPILOG: Final = """\
begin with:
  tripline replay                          watch a theft being caught on a synthetic retailer
  tripline run --input access.log.gz       your own logs: alerts on the terminal
  tripline run --input logs/ --state state/ --alerts alerts.jsonl
                                           ... in a file, resumed exactly the next time
  tripline alerts --alerts alerts.jsonl    what was told, as a table
  tripline check --sample access.log.gz    what becomes of them: fields, detectors that work
  tripline COMMAND --help                  what each option does
"""
RUN_EPILOG: Final = """\
examples:
  zcat access.log.*.gz | tripline run --input - --alerts alerts.jsonl
  tripline run --input /var/log/app.jsonl --follow --state /var/lib/tripline --alerts alerts.jsonl
  tripline run --input trail/ --format cloudtrail --dead-letters dead.jsonl --report report.html

The first warmup_h hours of the data (48 by default) teach and do not alert: run last month's logs first, with --state,
and then this month's with the same --state.
"""
REPLAY_EPILOG: Final = """\
examples:
  tripline replay                                  the theft that this product was made for
  tripline replay forged-token-residential --seed 3 --report out/replay.html
  tripline replay forged-token --accounts 1000 --days 4 --write events.jsonl
                                                   the events only, as `tripline run` reads them
  tripline replay forged-token --accounts 1000 --days 4 --topic access
                                                   to a broker, for `tripline worker` to find it there
"""
EVALUATE_EPILOG: Final = """\
examples:
  tripline evaluate --json out/evaluation.json --report out/evaluation.html
                                                   every theft and its benign twin, three seeds each (an hour)
  tripline evaluate --company bank --seeds 1 --scale 0.2
  tripline evaluate --company saas --seeds 1 --pace 0.25 --pace 4
                                                   ... and the first seed at other paces
  tripline evaluate --world retailer/ --world hospital/ --jobs 2

A world is a folder with events.jsonl (native format, in the order of time) and truth.jsonl, one attack a line:
  {"id": "a1", "name": "stolen key", "start": "2025-06-10T02:00:00Z", "end": "2025-06-12T04:00:00Z",
   "entities": [{"kind": "credential", "value": "key-7"}]}
An attack is found by an alert that opens from its start to an hour after its end and names one of its entities.
"""
WORKER_EPILOG: Final = """\
begin with:
  tripline check --config tripline.toml      brokers, topics, rights: what is wrong and what to do
  tripline topics --config tripline.toml     create what is missing
  tripline worker --config tripline.toml     as many as there are partitions; each may be killed at any time

Health is at http://127.0.0.1:9464/livez and /readyz, metrics at /metrics (worker.metrics_port); of `respond` the same
on port 9465 (respond.metrics_port).
"""
ACCOUNTS: Final = 10_000
DAYS: Final = 8.0
BEGAN_MIN: Final = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = getattr(_commands(arguments.module), arguments.command)(arguments)
        sys.stdout.flush()
    except TriplineError as error:
        if type(error).__name__ == "ClosedPipe":  # whoever read the alerts has seen enough
            return 0
        print(f"tripline: {error}", file=sys.stderr)  # noqa: T201 - this is where messages are printed
        return error.exit_status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("tripline: stopped", file=sys.stderr)  # noqa: T201
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tripline", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"tripline {_version()}")
    parser.set_defaults(module="stream.commands")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)
    analyst.add(commands)
    _add_replay(commands)
    _add_evaluate(commands)
    worker = commands.add_parser(
        "worker", help="Kafka: read access topics, write signals",
        description="Reads access topics, scores, and writes signals, each event exactly once. Stops on SIGTERM.",
        epilog=WORKER_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    worker.add_argument("--config", type=Path, metavar="FILE", help="TOML file; see [kafka] in deploy/tripline.toml")
    worker.set_defaults(command="worker")
    respond = commands.add_parser(
        "respond", help="Kafka: merge signals, write alerts",
        description="Reads signals, merges what is one incident, writes alerts within the budget. Stops on SIGTERM.",
    )  # fmt: skip
    respond.add_argument("--config", type=Path, metavar="FILE", help="TOML file; see [kafka] in deploy/tripline.toml")
    respond.set_defaults(command="respond")
    topics = commands.add_parser("topics", help="Kafka: create the topics that Tripline writes, where they are missing")
    topics.add_argument("--config", type=Path, metavar="FILE", help="TOML file; see [kafka] in deploy/tripline.toml")
    topics.set_defaults(command="topics")
    reveal = commands.add_parser(
        "reveal", help="resolve the tokens that stand for identities in alerts",
        description="Resolves tokens in arguments, or in lines from stdin; what no key resolves is left as it is.",
    )  # fmt: skip
    reveal.add_argument("tokens", nargs="*", metavar="TOKEN", help="tokens, or texts with some (default: stdin)")
    reveal.add_argument("--keys", type=Path, metavar="FILE", help="the keys (default: identity_keys_file)")
    reveal.add_argument("--config", type=Path, metavar="FILE", help="TOML file; see deploy/tripline.toml")
    reveal.set_defaults(command="reveal")
    check = commands.add_parser("check", help="a configuration: what is wrong with it, or what it means")
    check.add_argument("--config", type=Path, metavar="FILE", help="TOML file (default: the built-in settings)")
    check.add_argument("--sample", metavar="FILE", help="what becomes of a log: events, fields, detectors")
    check.add_argument("--format", metavar="NAME", help="of the sample: name, mapping:FILE or auto")
    check.set_defaults(command="check")
    logs.add(commands)
    return parser


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        "run", help="access logs in, alerts out", description="Reads access logs, writes alerts, one JSON line each.",
        epilog=RUN_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    run.add_argument(
        "--input", action="append", metavar="PATH", dest="inputs",
        help="file, directory, .gz, .zst, or - for stdin (the default); may be given several times",
    )  # fmt: skip
    run.add_argument(
        "--format", default=None, metavar="NAME", help="name, mapping:FILE or auto (default), told by file"
    )
    run.add_argument("--follow", action="store_true", help="at the end of the last file, wait for it to grow")
    run.add_argument(
        "--alerts", default="-", metavar="PATH",
        help="where alerts go as JSON lines (default: stdout; on a terminal they are shown to be read)",
    )  # fmt: skip
    run.add_argument(
        "--alert-format", default="native", metavar="NAME",
        help="format of the alerts written: native (the default), ocsf (Detection Finding, 2004) or ecs",
    )  # fmt: skip
    run.add_argument("--dead-letters", metavar="FILE", help="keep records that cannot be used, with place and reason")
    run.add_argument("--state", type=Path, metavar="DIR", help="keep what was learned, and resume where it stopped")
    run.add_argument(
        "--feedback", type=Path, metavar="FILE", help="what `tripline feedback` wrote: mutes hold, verdicts teach"
    )
    run.add_argument("--muted", metavar="PATH", help="keep the alerts that are muted, as JSON lines")
    run.add_argument("--config", type=Path, metavar="FILE", help="TOML file; see deploy/tripline.toml")
    run.add_argument("--report", type=Path, metavar="FILE.html", help="write one page to look at")
    run.add_argument("--metrics", type=Path, metavar="FILE.prom", help="write Prometheus metrics to a file")
    run.add_argument("--metrics-port", type=int, metavar="PORT", help="serve Prometheus metrics on 127.0.0.1")
    run.add_argument("--quiet", action="store_true", help="no progress and no summary")
    run.set_defaults(command="run")


def _add_replay(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    replay = commands.add_parser(
        "replay", help="a named incident on a synthetic company, watched and scored",
        description="Generates a company's accesses with an incident among them, and watches.",
        epilog=REPLAY_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    replay.add_argument("name", nargs="?", default="forged-token", metavar="NAME", help="default: forged-token")
    replay.add_argument("--list", action="store_true", help="the incidents there are")
    replay.add_argument(
        "--accounts", type=int, default=ACCOUNTS, metavar="N", help=f"customers (default: {ACCOUNTS:,})"
    )
    replay.add_argument("--days", type=float, default=DAYS, metavar="N", help=f"length (default: {DAYS:g})")
    replay.add_argument("--seed", type=int, default=1, metavar="N", help="another seed, another company (default: 1)")
    replay.add_argument("--no-attack", action="store_true", help="the same company without the incident")
    replay.add_argument("--config", type=Path, metavar="FILE", help="TOML file; see deploy/tripline.toml")
    replay.add_argument("--alerts", metavar="PATH", help="write the alerts as JSON lines too")
    replay.add_argument("--report", type=Path, metavar="FILE.html", help="write one page to look at")
    replay.add_argument(
        "--topic", metavar="TOPIC", help="send the events to this access topic, as they would come, instead"
    )  # fmt: skip
    replay.add_argument(
        "--began", type=float, default=BEGAN_MIN, metavar="MIN",
        help=f"with --topic: minutes ago that the incident began (default: {BEGAN_MIN:g})",
    )  # fmt: skip
    replay.add_argument("--write", metavar="FILE", help="write the events as JSON lines instead of watching them")
    replay.set_defaults(command="replay")


def _add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    evaluate = commands.add_parser(
        "evaluate", help="many thefts, or a world of yours: what is found, when, at what price",
        description="Lays thefts and their benign twins over other kinds of company, or runs worlds whose attacks are "
        "known: what was found, when, how much was out by then, and how many alerts were false.",
        epilog=EVALUATE_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    evaluate.add_argument(
        "--world", type=Path, action="append", metavar="PATH",
        help="instead of the suite: folder with events.jsonl and truth.jsonl; may be given several times",
    )  # fmt: skip
    evaluate.add_argument(
        "--company", action="append", metavar="NAME", help="of the suite; may be given several times (default: all)"
    )
    evaluate.add_argument("--seeds", type=int, default=3, metavar="N", help="how many (default: 3)")
    evaluate.add_argument("--seed", type=int, default=1, metavar="N", help="the first of them (default: 1)")
    evaluate.add_argument(
        "--scale", type=float, default=0.35, metavar="X", help="size of the companies (default: 0.35)"
    )
    evaluate.add_argument("--days", type=int, default=30, metavar="N", help="length of each log (default: 30)")
    evaluate.add_argument(
        "--pace", type=float, action="append", metavar="X",
        help="also at this multiple of the thefts' pace, on the first seed; may be given several times",
    )  # fmt: skip
    evaluate.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="worlds at a time")
    evaluate.add_argument("--config", type=Path, metavar="FILE", help="TOML file; see deploy/tripline.toml")
    evaluate.add_argument("--json", metavar="PATH", help="write all of it as JSON; - for stdout instead of the table")
    evaluate.add_argument("--report", type=Path, metavar="FILE.html", help="write one page to look at (of the suite)")
    evaluate.set_defaults(command="evaluate")


def _version() -> str:
    return version("tripline")


def _commands(module: str) -> ModuleType:
    """What does the work, imported only when there is some, and without the garbage collector walking over it."""
    gc.disable()
    try:
        return import_module(module)
    finally:
        gc.enable()
        gc.freeze()
