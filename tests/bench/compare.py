"""`make bench-compare BASE=revision`: what is faster and what slower since a revision of the product, by stage.

The revision is checked out into a folder that is removed again; it and the working tree do the same work in turn, each
with its own code, every run in a process of its own on one core. The time is that of the processor. A change counts as
one where the runs of the two do not overlap. The table goes to stdout, everything to out/bench-compare.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from detectors import catalog
from stream.config import Config
from tests.bench.__main__ import _machine, _write
from tests.bench.kafka import FOUR, Bench, Result
from tests.kafka.cluster import Cluster

ROOT: Final = Path(__file__).parents[2]
SHOWN_US: Final = 0.005  # an event: a stage that takes less in both is left out

Runs = Mapping[str, Sequence[Result]]


class Change(NamedTuple):
    """Runs of the two on one thing: median, lowest and highest of each."""

    base: tuple[float, float, float]
    here: tuple[float, float, float]

    @property
    def ratio(self) -> float:
        """Of the medians: 0.9 is a tenth less than the revision."""
        return self.here[0] / self.base[0] if self.base[0] else float("inf")

    @property
    def is_apart(self) -> bool:
        """Whether every run of one is above every run of the other."""
        return self.here[1] > self.base[2] or self.here[2] < self.base[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench-compare", description=__doc__)
    parser.add_argument("base", metavar="REVISION")
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--accounts", type=int, default=240_000)
    parser.add_argument("--runs", type=int, default=3, help="of each")
    parser.add_argument("--detectors", default="all", metavar="IDS", help="by a comma between them, four or all")
    parser.add_argument(
        "--kafka", action="store_true", help="one worker on a real broker too (needs Java 17 and Maven)"
    )
    parser.add_argument("--out", type=Path, default=Path("out"))
    given = parser.parse_args()
    given.out.mkdir(exist_ok=True)
    log = (given.out / f"bench-{given.events}-{given.accounts}.jsonl").absolute()
    if not log.exists():
        _write(log, given.events, given.accounts)
    every = catalog.detector_ids()
    named = {"all": every, "four": FOUR}
    chosen = named.get(given.detectors) or given.detectors.split(",")
    with checked_out(given.base) as tree:
        trees = {"base": tree, "here": ROOT}
        found = {"embedded": embedded(trees, log, [each for each in every if each not in chosen], given.runs)}
        if given.kafka:
            config = Config(format="native", detectors={each: each in chosen for each in every})
            found["worker"] = worker(trees, config, log, given.runs)
    changes = {name: compared(runs) for name, runs in found.items()}
    told = {"machine": _machine(), "base": given.base, "detectors": chosen, "events": given.events}
    (given.out / "bench-compare.json").write_text(json.dumps(told | {"runs": found, "changes": changes}, indent=1))
    print(f"{given.events:,} events, {given.detectors} detectors, {given.runs} runs of each in turn, one core")
    print(_machine())
    for name, rows in changes.items():
        print(f"\n{table(name, given.base, rows)}")


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A folder with that revision of the product in it, for as long as the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "base")
        git = ["git", "-C", str(ROOT), "worktree"]
        done = subprocess.run([*git, "add", "--detach", tree, revision], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"BASE={revision}: {done.stderr.strip()}")
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", tree], check=True)


def embedded(trees: Mapping[str, Path], log: Path, without: Sequence[str], count: int) -> Runs:
    """`tripline run` over a file in each of the trees, in turn; without the first run of each, which compiles."""
    core = str(max(os.sched_getaffinity(0)))
    runs: dict[str, list[Result]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "bench.toml")
        config.write_text('format = "native"\n[detectors]\n' + "".join(f"{each} = false\n" for each in without))
        for turn in range(count + 1):
            for name, tree in trees.items():
                command = [sys.executable, "-m", "tests.bench.plane", "embedded", str(config), core, str(log)]
                done = subprocess.run(
                    command, cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)}, capture_output=True, check=False
                )
                if done.returncode:
                    sys.exit(f"{name}: {done.stderr.decode()}")
                if turn:
                    runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    return runs


def worker(trees: Mapping[str, Path], config: Config, log: Path, count: int) -> Runs:
    """One worker of each of the trees on the same broker and topic, in turn."""
    runs: dict[str, list[Result]] = {name: [] for name in trees}
    with Cluster(settings={"broker.session.timeout.ms": 30_000}, jvm=("-XX:TieredStopAtLevel=4", "-Xmx1g")) as cluster:
        bench = Bench(cluster.bootstrap, config, log, 8)
        for _ in range(count):
            for name, tree in trees.items():
                bench.tree = tree
                runs[name].append(bench.piece("worker"))
    return runs


def compared(runs: Runs) -> dict[str, Change]:
    """By name, in µs an event: all, each stage, what is in none; and the highest memory in MB."""
    names = dict.fromkeys(stage for found in runs.values() for run in found for stage in run["stages"])
    of: dict[str, Any] = {"all": lambda run: run["cpu_s"] / run["events"] * 1e6}
    of |= {name: lambda run, name=name: run["stages"].get(name, 0.0) / run["events"] * 1e6 for name in names}
    of["outside stages"] = lambda run: (run["cpu_s"] - sum(run["stages"].values())) / run["events"] * 1e6
    of["peak MB"] = lambda run: run["peak_bytes"] / 1e6
    return {
        name: Change(*(_spread([measure(run) for run in runs[side]]) for side in ("base", "here")))
        for name, measure in of.items()
    }


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return median(values), min(values), max(values)


def table(title: str, base: str, changes: Mapping[str, Change]) -> str:
    """What changed, as text; what is within the spread says so."""
    lines = [f"{f'{title}, µs an event':24}{base[:24]:>26}{'working tree':>26}{'change':>12}"]
    for name, change in changes.items():
        if max(change.base[0], change.here[0]) >= SHOWN_US:
            sides = "".join(f"{f'{m:,.2f} ({low:,.2f} to {high:,.2f})':>26}" for m, low, high in change)
            by = f"{change.ratio - 1:+.0%}" if change.is_apart else "~"
            lines.append(f"{name:24}{sides}{by:>12}")
    return "\n".join([*lines, "(median, lowest to highest; ~ where the two overlap)"])


if __name__ == "__main__":
    main()
