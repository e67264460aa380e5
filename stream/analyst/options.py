"""The command line of what an analyst does: `alerts` and what follows from one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

MODULE: Final = "stream.analyst.command"
Commands = argparse._SubParsersAction

ALERTS_EPILOG: Final = """\
examples:
  tripline alerts --alerts alerts.jsonl                      a table: one line an alert
  tripline alerts show tl-3f9a --alerts alerts.jsonl         one of them in full; the beginning of an id will do
  tripline alerts follow --config tripline.toml              from the alert topic, as they come
  tripline alerts --alerts alerts.jsonl --severity high --entity account=ann --from 7d
  tripline alerts export --alerts alerts.jsonl --format csv --output alerts.csv
  tripline alerts held --config tripline.toml                how much nobody was told of, why, and the strongest of it

On a terminal alerts are shown to be read; into a pipe they go as JSON lines, one alert each as it stands now.
"""

EXPLAIN_EPILOG: Final = """\
examples:
  tripline explain tl-3f9a --alerts alerts.jsonl --input logs/            the evidence again, on the terminal
  tripline explain tl-3f9a --alerts alerts.jsonl --input logs/ --report explained.html
  tripline explain tl-3f9a --config tripline.toml                         from the alert topic and the access topics

The log is run through from its beginning, with the same configuration: it takes as long as the run took. Without
--input the files or topics are read in which the alert says its events are.
"""

SCOPE_EPILOG: Final = """\
examples:
  tripline scope tl-3f9a --alerts alerts.jsonl --input logs/ --csv people.csv --report scope.html
  tripline scope --entity account=ann --from 2025-06-01 --to 2025-06-03 --input logs/
  tripline scope --entity subject=customer-12 --input logs/               who read this person's data, and when

For an alert the log is read twice: for its evidence, then for everything that its credentials and its entity did.
Numbers are exact. With --csv - or --json - the data goes to stdout instead of the text.
"""

FEEDBACK_EPILOG: Final = """\
examples:
  tripline feedback tl-3f9a false --note "monthly export" --alerts alerts.jsonl --feedback feedback.jsonl
  tripline feedback tl-3f9a expected --mute 7d --entity account=backup --alerts alerts.jsonl --feedback feedback.jsonl
  tripline feedback --mute 2025-11-28..2025-12-01 --detector volume --note "the sale" --feedback feedback.jsonl
  tripline feedback --list --feedback feedback.jsonl       what was said; --review: which mutes hid what was confirmed
  tripline feedback --verify --head HASH --feedback feedback.jsonl
                                                           nothing was changed since that hash was noted
  tripline feedback --reset 2025-06-01 --note "wrong shift" --feedback feedback.jsonl

With --config instead of --feedback the log is the deployment's feedback topic:
  tripline feedback tl-3f9a false --note "monthly export" --config tripline.toml

`tripline run --feedback FILE` heeds the file, `tripline respond` the topic: what is muted is scored and counted (`run`
keeps it: --muted FILE) and not told; verdicts rank evidence by its kind. A mute ends by itself, after 90 days at most.
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    _add_alerts(commands)
    _add_explain(commands)
    _add_scope(commands)
    _add_feedback(commands)


def _add_feedback(commands: Commands[argparse.ArgumentParser]) -> None:
    feedback = _command(commands, "feedback", "say what an alert was, or mute its like for a while", FEEDBACK_EPILOG)
    feedback.set_defaults(module=f"{MODULE}_feedback")
    feedback.add_argument("id", nargs="?", metavar="ALERT_ID", help="the alert's id, or how it begins")
    feedback.add_argument(
        "verdict", nargs="?", choices=("true", "false", "expected"),
        help="a theft, a false alarm, or something known and wanted",
    )  # fmt: skip
    _add_told(feedback)
    feedback.add_argument(
        "--feedback", type=Path, metavar="FILE", help="the log of what was said (default: the topic of --config)"
    )
    feedback.add_argument("--note", default="", metavar="TEXT", help="why")
    feedback.add_argument("--who", metavar="NAME", help="who says so (default: this user)")
    feedback.add_argument("--mute", metavar="7d|FROM..TO", help="for so long from now, or between two times")
    feedback.add_argument(
        "--entity", action="append", default=[], metavar="KIND=VALUE",
        help="mute alerts about it; several: about all of them (default: what the alert is about)",
    )  # fmt: skip
    feedback.add_argument(
        "--detector", action="append", default=[], metavar="ID", help="mute alerts by no others than these"
    )
    feedback.add_argument("--revoke", type=int, metavar="NUMBER", help="end the mute of this entry now")
    feedback.add_argument("--reset", metavar="TIME", help="forget what verdicts have taught since then")
    feedback.add_argument("--list", action="store_true", help="show what was said")
    feedback.add_argument(
        "--review", action="store_true", help="show which mutes hid, or would have, what was confirmed"
    )
    feedback.add_argument(
        "--verify", action="store_true", help="see that nothing was changed, and print the latest hash"
    )
    feedback.add_argument("--head", metavar="HASH", help="for --verify: a hash that was noted before")


def _add_explain(commands: Commands[argparse.ArgumentParser]) -> None:
    explain = _command(commands, "explain", "the evidence of an alert again, recomputed from the log", EXPLAIN_EPILOG)
    explain.add_argument("id", metavar="ALERT_ID", help="the alert's id, or how it begins")
    _add_told(explain)
    _add_log(explain)
    explain.add_argument("--json", metavar="PATH", help="write all of it as JSON; - for stdout instead of the text")
    explain.add_argument("--report", type=Path, metavar="FILE.html", help="write one page to look at")


def _add_scope(commands: Commands[argparse.ArgumentParser]) -> None:
    scope = _command(commands, "scope", "whose data was read, how much, when and from where", SCOPE_EPILOG)
    scope.add_argument("id", nargs="?", metavar="ALERT_ID", help="of this alert: its id, or how it begins")
    scope.add_argument("--entity", metavar="KIND=VALUE", help="of this entity, instead of an alert")
    _add_span(scope, "what is called during:")
    _add_told(scope)
    _add_log(scope)
    scope.add_argument("--csv", metavar="PATH", help="write everybody whose data was read as a table")
    scope.add_argument("--json", metavar="PATH", help="write all numbers as JSON")
    scope.add_argument("--report", type=Path, metavar="FILE.html", help="write one page that can be handed on")


def _add_log(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input", action="append", metavar="PATH", dest="inputs",
        help="the log: files or directories, as they were given to `tripline run`; may be given several times",
    )  # fmt: skip
    parser.add_argument("--input-format", metavar="NAME", help="format of the log (default: that of the configuration)")


def _add_alerts(commands: Commands[argparse.ArgumentParser]) -> None:
    does = "the alerts that were told: list, follow, show one, export; and what was held back"
    alerts = _command(commands, "alerts", does, ALERTS_EPILOG)
    alerts.add_argument(
        "view", nargs="?", default="list", choices=("list", "follow", "show", "export", "held"), help="default: list"
    )
    alerts.add_argument("id", nargs="?", metavar="ID", help="for show: the alert's id, or how it begins")
    _add_told(alerts)
    alerts.add_argument("--severity", choices=("low", "medium", "high", "critical"), help="this severity or worse")
    alerts.add_argument("--detector", metavar="ID", help="with evidence by this detector")
    alerts.add_argument("--entity", metavar="KIND=VALUE", help="about this entity, or naming it")
    alerts.add_argument(
        "--status", action="append", choices=("open", "update", "closed"), help="as it stands now; may be repeated"
    )
    _add_span(alerts, "told")
    alerts.add_argument("--feedback", type=Path, metavar="FILE", help="show the verdicts that are in this log, too")
    alerts.add_argument(
        "--format", choices=("text", "json", "csv"),
        help="default: text on a terminal, JSON lines elsewhere; for export: json (one document) or csv",
    )  # fmt: skip
    alerts.add_argument("--output", default="-", metavar="FILE", help="for export: where to (default: stdout)")


def _command(commands: Commands[argparse.ArgumentParser], name: str, does: str, epilog: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=does, description=does[0].upper() + does[1:] + ".", epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(command=name, module=MODULE)
    return parser


def _add_told(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--alerts", metavar="FILE", help="the file that `tripline run --alerts` writes; - for stdin")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file; without --alerts: read its alert topic")


def _add_span(parser: argparse.ArgumentParser, what: str) -> None:
    form = "a date, a date and time (UTC), or a length such as 7d for so long ago"
    parser.add_argument("--from", dest="since", metavar="TIME", help=f"{what} from then on: {form}")
    parser.add_argument("--to", dest="until", metavar="TIME", help=f"{what} before then")
