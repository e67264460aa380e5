"""How much memory incidents take that are kept as the alert plane keeps them, in a process of its own.

Arguments: how many. Prints a line of JSON: by how much the resident memory grew, and the bytes of a signal.
"""

from __future__ import annotations

import json
import sys
from typing import Final

from stream import signals
from stream.config import Config, Kafka, Respond
from stream.merge import Merger
from tests.bench.respond import AT, PARTITIONS, alone, made
from tests.bench.work import _resident

BATCH: Final = 4_000


def main(count: int) -> None:
    """Keep that many incidents of one signal each."""
    kept: dict[bytes, bytes] = {}
    config = Config(
        alerts_per_day_max=10_000.0, kafka=Kafka(partitions=PARTITIONS), respond=Respond(incidents_max=count)
    )
    merger = Merger(config, kept)
    before = _resident()
    for at in range(0, count, BATCH):
        for signal in alone(f"{at}-", min(BATCH, count - at), 9.0, AT + at):
            merger.take(signal)
        merger.changes()
    size = len(signals.encode(made("AS", 0, 1, AT)))
    sys.stdout.write(json.dumps({"incidents": len(kept), "bytes": _resident() - before, "signal_bytes": size}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
