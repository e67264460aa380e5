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


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    _add_alerts(commands)
    _add_explain(commands)
    _add_scope(commands)


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
    alerts = _command(commands, "alerts", "the alerts that were told: list, follow, show one, export", ALERTS_EPILOG)
    alerts.add_argument(
        "view", nargs="?", default="list", choices=("list", "follow", "show", "export"), help="default: list"
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
