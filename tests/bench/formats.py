"""`python -m tests.bench.formats`: how fast each decoder is, from records to columns, beside a bare orjson parse.

The records of a format are its fixture's, over and over: a batch of them is decoded, packed as the pipeline packs it,
and parsed by orjson.loads alone, in turn, in one process. Times are CPU time of the process, the best of the rounds:
what else runs on the machine can only add to them. A format that is not JSON has no parse to stand beside.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson

from stream.decode import Format, decode_packed, formats
from stream.records import Records

FIXTURES = Path(__file__).parents[1] / "formats" / "fixtures"
TIME_MS_MAX = 4_102_444_800_000
WANTED_PER_S = 150_000
WANTED_RATIO = 1.5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.formats", description=__doc__)
    parser.add_argument("formats", nargs="*", help="all, if none is named")
    parser.add_argument("--records", type=int, default=2_500, help="in a batch, as many as the pipeline takes at once")
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    print("| format | bytes a record | events/s | µs an event | bare orjson, records/s | ratio | |")
    print("|---" * 7 + "|")
    for name, fmt in sorted(formats().items()):
        if not given.formats or name in given.formats:
            print(_row(fmt, given.records, given.rounds))


def _row(fmt: Format, count: int, rounds: int) -> str:
    fixture = next(FIXTURES.glob(f"{fmt.name}.*")).read_bytes().splitlines()
    plain = (fixture * (count // len(fixture) + 1))[:count]
    records = Records.of(plain)
    lines = np.arange(count, dtype=np.int64)
    block, rejected = decode_packed(fmt, records, "bench", lines, TIME_MS_MAX)
    if rejected:
        raise SystemExit(f"{fmt.name}: {rejected[0]}")
    ours, bare = _best(
        rounds,
        lambda: decode_packed(fmt, records, "bench", lines, TIME_MS_MAX),
        (lambda: [orjson.loads(record) for record in plain]) if plain[0].startswith(b"{") else None,
    )
    per_s = len(block) / ours
    size = sum(map(len, records)) / count
    row = f"| {fmt.name} | {size:.0f} | {per_s:,.0f} | {1e6 / per_s:.1f} |"
    if not bare:
        return f"{row} | | {'' if per_s >= WANTED_PER_S else 'slow'} |"
    slow = per_s < WANTED_PER_S and ours > WANTED_RATIO * bare
    return f"{row} {count / bare:,.0f} | {ours / bare:.2f} | {'slow' if slow else ''} |"


def _best(rounds: int, *works: Callable[[], object] | None) -> list[float]:
    """CPU seconds of the fastest round of each, 0 for none; they take turns, for the machine is not always as fast."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, times in zip(works, taken, strict=True):
            start = time.process_time()
            if work:
                work()
                times.append(time.process_time() - start)
    return [min(times, default=0.0) for times in taken]


if __name__ == "__main__":
    main()
