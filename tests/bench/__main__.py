"""`make bench`: speed and memory of the embedded run, beside what a tutorial would write, on the same events.

Every piece of work has a process of its own on one core; runs of the two alternate; medians are told. The table goes
to stdout, everything to out/bench.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from detectors import catalog
from stream.incidents import generate, load_incident, write_jsonl
from tests.bench.work import CREDENTIALS_MAX

ORDER = ("source", "decode", "key", "resolve", *catalog.detector_ids(), "trace", "tick")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--accounts", type=int, default=240_000, help="customers; in a million events 100,000 appear")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--flat-events", type=int, default=10_000_000, help="of 100,000 customers; 0: leave out")
    parser.add_argument("--without", default="", metavar="IDS", help="detectors to switch off, by a comma between them")
    parser.add_argument("--out", type=Path, default=Path("out"))
    given = parser.parse_args()
    given.out.mkdir(exist_ok=True)
    log = given.out / f"bench-{given.events}-{given.accounts}.jsonl"
    if not log.exists():
        _write(log, given.events, given.accounts)
    ours: list[dict[str, Any]] = []
    peers: list[dict[str, Any]] = []
    _work("tripline", str(log), given.without)  # compiles what is not yet compiled
    for _ in range(given.runs):
        ours.append(_work("tripline", str(log), given.without))
        peers.append(_work("tutorial", str(log)))
    result = {
        "machine": _machine(), "event_bytes": log.stat().st_size / given.events, "tripline": ours, "tutorial": peers,
        "start_up_s": _start_up(given.out, given.runs),
        "flat": _work("flat", "100000", str(given.flat_events)) if given.flat_events else None,
    }  # fmt: skip
    (given.out / "bench.json").write_text(json.dumps(result, indent=1))
    print(_table(result))


def _write(log: Path, events: int, accounts: int) -> None:
    def some() -> Any:
        left = events
        for block in generate(load_incident("forged-token"), accounts=accounts, days=3.0, seed=1, attack=False):
            yield block.where(_first(len(block), left)) if len(block) > left else block
            left -= len(block)
            if left <= 0:
                return

    part = log.with_suffix(".part")
    write_jsonl(some(), part)
    part.rename(log)


def _first(n: int, keep: int) -> Any:
    import numpy as np

    return np.arange(n) < keep


def _work(*arguments: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "tests.bench.work", *arguments], capture_output=True, check=False)
    if done.returncode:
        sys.exit(done.stderr.decode())
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def _start_up(out: Path, runs: int) -> float:
    """Seconds from the command to the end of an empty input."""
    empty = out / "empty.jsonl"
    empty.write_bytes(b"")
    taken = []
    for _ in range(max(runs, 3)):
        began = time.perf_counter()
        command = [str(Path(sys.executable).with_name("tripline")), "run", "--quiet", "--input", str(empty)]
        subprocess.run(command, check=True)
        taken.append(time.perf_counter() - began)
    return median(taken)


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    return f"{names[0]}, {len(names)} cores, {memory:.0f} GiB, Python {platform.python_version()}"


def _table(result: dict[str, Any]) -> str:
    ours, peers = result["tripline"], result["tutorial"]
    rate = median(run["events"] / run["seconds"] for run in ours)
    peer_rate = median(run["events"] / run["seconds"] for run in peers)
    last, peer = ours[-1], peers[-1]
    entities, state = sum(last["entities"].values()), sum(last["state_bytes"].values())
    peer_entity = peer["peak_bytes"] / peer["entities"]
    lines = [
        f"{last['events']:,} events of {result['event_bytes']:.0f} B, medians of {len(ours)} runs, one core",
        result["machine"],
        "",
        f"{'':24}{'tripline':>14}{'tutorial':>14}{'ratio':>9}",
        f"{'events/s':24}{rate:>14,.0f}{peer_rate:>14,.0f}{rate / peer_rate:>8.1f}x",
        f"{'µs an event':24}{1e6 / rate:>14.2f}{1e6 / peer_rate:>14.2f}",
        f"{'peak memory, MB':24}{last['peak_bytes'] / 1e6:>14,.0f}{peer['peak_bytes'] / 1e6:>14,.0f}",
        f"{'entities':24}{entities:>14,}{peer['entities']:>14,}",
        f"{'bytes an entity':24}{state / entities:>14.0f}{peer_entity:>14,.0f}  (of the process)",
        f"{'start-up, s':24}{result['start_up_s']:>14.2f}",
        "",
        "µs an event by stage",
    ]
    stages = {name: median(run["stages"].get(name, 0.0) / run["events"] * 1e6 for run in ours) for name in ORDER}
    lines += [f"  {name:22}{value:>14.2f}" for name, value in stages.items()]
    lines += ["", "bytes an entity by kind (names included)"]
    lines += [
        f"  {kind:22}{last['state_bytes'][kind] / count:>14.0f}  x {count:,}"
        for kind, count in last["entities"].items()
    ]
    if result["flat"]:
        curve = ", ".join(f"{size / 1e6:.0f}" for _, size in result["flat"]["curve"])
        lines += ["", f"resident MB at each tenth of {result['flat']['curve'][-1][0]:,} events, all detectors, at most",
                  f"{CREDENTIALS_MAX:,} credentials: {curve}"]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
