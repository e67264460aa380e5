"""The command line of who brings logs: `infer` and `dead-letters`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

MODULE: Final = "stream.logs.command"
Commands = argparse._SubParsersAction

INFER_EPILOG: Final = """\
examples:
  tripline infer app.jsonl > house.toml                      a proposal: read it, and mend it
  tripline check --sample app.jsonl --format mapping:house.toml
  tripline run --input app.jsonl --format mapping:house.toml

For JSON, key=value, and separated values below a line of names; lines of another kind need a pattern of your own.
"""
LETTERS_EPILOG: Final = """\
examples:
  tripline dead-letters list dead.jsonl                      how many, and why
  tripline dead-letters show dead.jsonl --reason missing_field --number 3
  tripline dead-letters replay dead.jsonl --format mapping:house.toml --output mended.jsonl --left still-dead.jsonl
  tripline run --input mended.jsonl

The records of the topic tripline.dead-letters are such lines too: write them to a file with a console consumer.
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    infer = commands.add_parser(
        "infer", help="a mapping for logs of your own, proposed from a sample",
        description="Proposes where the fields of an access event lie in the records of a file.",
        epilog=INFER_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    infer.add_argument("file", metavar="FILE", help="a log, .gz and .zst too")
    infer.add_argument("--config", type=Path, metavar="FILE", help="TOML file; see deploy/tripline.toml")
    infer.set_defaults(command="infer", module=MODULE)
    dead = commands.add_parser(
        "dead-letters", help="records that could not be used: count, show, give them to a decoder again",
        description="Reads what --dead-letters kept.", epilog=LETTERS_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    dead.add_argument("view", choices=("list", "show", "replay"), help="what to do")
    dead.add_argument("file", metavar="FILE", help="dead letters, or - for stdin")
    dead.add_argument("--reason", metavar="NAME", help="only those of this reason")
    dead.add_argument("--number", type=int, default=1, metavar="N", help="show: how many (default: 1)")
    dead.add_argument("--format", default="auto", metavar="NAME", help="replay: name, mapping:FILE or auto (default)")
    dead.add_argument("--output", default="-", metavar="PATH", help="replay: native events (default: stdout)")
    dead.add_argument("--left", default=os.devnull, metavar="FILE", help="replay: keep the letters that stay dead")
    dead.set_defaults(command="dead_letters", module=MODULE)
