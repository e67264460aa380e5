"""`make bench-scale`: as many accounts, sessions and addresses as the incident had, in one process.

For each size in a process of its own: every account comes once, with 1.5 sessions and 0.3 addresses to each, as a day
of the retailer had, and sessions beyond a limit are forgotten again; then a million events of accounts that chance
names, so that no cache helps; then a snapshot, and what it takes to go on from it. Last a flood of keys at a full
table: what an incident is open on must be there after it. The events are made as columns and cost no decoder: what is
told is the pipeline alone. The table goes to stdout, everything to out/bench-scale.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from detectors import catalog
from stream.blocks import PackedBlock
from stream.checkpoint import StateDirectory
from stream.config import Config
from stream.events import ACCOUNT_KINDS, ACTIONS
from stream.pipeline import Pipeline
from stream.rows import Rows
from stream.snapshot import Snapshot
from stream.state import FILL_AFTER, FILL_MAX
from stream.texts import TEXTS
from tests.bench.__main__ import _machine
from tests.bench.kafka import FOUR
from tests.bench.work import _peak, _resident

START_MS: Final = 1_735_689_600_000
STEP: Final = 65_536  # events taken in at a time
SPACING_MS: Final = 1.0  # of the stream's time between two events: 1,000 a second
SESSIONS: Final = 1.5  # of an account
SESSIONS_MAX: Final = 12.0  # millions: what a memory of 24 GiB has room for beside the accounts
ADDRESSES: Final = 0.3
BUSY: Final = 1_000_000  # events of accounts that are known
WATCHED: Final = 1_000  # entities that an incident is open on, in the flood
LIMIT: Final = 1_000_000  # of the table that is flooded
FLOOD: Final = 10_000_000

Numbers = npt.NDArray[np.int64]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench-scale", description=__doc__)
    parser.add_argument("--millions", default="0.1,1,10,33.7", help="accounts, by a comma between them")
    parser.add_argument("--sessions", type=float, default=SESSIONS, help="of each account")
    parser.add_argument("--sessions-max", type=float, default=SESSIONS_MAX, help="millions that are kept")
    parser.add_argument("--detectors", choices=("four", "all"), default="four")
    parser.add_argument("--flood", type=int, default=FLOOD, help="keys; 0: none")
    parser.add_argument("--out", type=Path, default=Path("out"))
    given = parser.parse_args()
    given.out.mkdir(exist_ok=True)
    sizes = [int(float(m) * 1e6) for m in given.millions.split(",") if m]
    folder = str(given.out / "bench-scale")
    result: dict[str, Any] = {"machine": _machine(), "detectors": given.detectors, "sizes": []}
    print(f"{result['machine']}; {given.detectors} detectors\n\n{HEAD}", flush=True)
    for size in sizes:
        sessions = max(int(size * given.sessions), size)
        row = _apart("grown", str(size), str(sessions), str(int(given.sessions_max * 1e6)), given.detectors, folder)
        result["sizes"].append(row)
        print(_line(row), flush=True)
    if given.flood:
        result["flood"] = flood = _apart("flooded", str(given.flood), str(LIMIT), given.detectors)
        print(
            f"\n{flood['keys']:,} new addresses at a table of {flood['limit']:,}: {flood['events_s']:,.0f} events/s, "
            f"{flood['evicted']:,} forgotten, {flood['kept']:,} of {flood['watched']:,} watched ones kept, "
            f"{flood['overflowed']:,} found no room"
        )
    (given.out / "bench-scale.json").write_text(json.dumps(result, indent=1))


def grown(accounts: int, count: int, sessions_max: int, detectors: str, folder: Path) -> dict[str, Any]:
    """A pipeline that learns so many accounts by `count` events, of a session each; what it takes, and what a snapshot
    of it takes."""  # fmt: skip
    addresses = max(int(accounts * ADDRESSES), 1)
    pipeline = _pipeline(detectors, account=accounts, credential=min(count, sessions_max), source=addresses)
    before, began = _resident(), time.perf_counter()
    for start in range(0, count, STEP):
        session = np.arange(start, min(start + STEP, count))
        who = session % accounts  # everybody once, then some once more
        pipeline.take(events(who, session, who % addresses, start))
    filled = time.perf_counter() - began
    resident = _resident() - before
    rng, kept = np.random.default_rng(1), int(FILL_AFTER * min(count, sessions_max))
    busy = min(BUSY, 10 * accounts)
    began = time.perf_counter()
    for start in range(count, count + busy, STEP):
        who = rng.integers(0, accounts, min(STEP, count + busy - start))
        session = count - 1 - who % kept  # one that is not forgotten yet
        pipeline.take(events(who, session, who % addresses, start))
    worked = time.perf_counter() - began
    tables = {kind: (len(table), table.nbytes()) for kind, table in pipeline.tables.items() if len(table)}
    shutil.rmtree(folder, ignore_errors=True)
    began = time.perf_counter()
    with StateDirectory(folder, "scale") as directory:
        saved = directory.save(Snapshot(*pipeline.save()))
    wrote, state = time.perf_counter() - began, msgspec.json.encode(pipeline.save()[0])
    limits, peak = pipeline.config, _peak()
    del pipeline
    began = time.perf_counter()
    with StateDirectory(folder, "scale") as directory:
        snapshot, refused = directory.load()
        assert snapshot is not None, refused
        again = Pipeline(limits, lambda _alert: None)
        again.load(snapshot.meta, snapshot.arrays)
    recovered = time.perf_counter() - began
    assert msgspec.json.encode(again.save()[0]) == state, "what was read back is not what was kept"
    shutil.rmtree(folder)
    return {
        "accounts": accounts, "fill_events_s": count / filled, "busy_events_s": busy / worked,
        "resident_bytes": resident, "peak_bytes": peak, "entities": {kind: n for kind, (n, _) in tables.items()},
        "state_bytes": {kind: size for kind, (_, size) in tables.items()}, "snapshot_bytes": saved.nbytes,
        "snapshot_s": wrote, "recovery_s": recovered,
    }  # fmt: skip


def flooded(keys: int, limit: int, detectors: str) -> dict[str, Any]:
    """New addresses without end at a table of some size, in which some are watched."""
    pipeline = _pipeline(detectors, account=WATCHED, credential=WATCHED, source=limit)
    table = pipeline.tables["source"]
    watched = np.arange(WATCHED)
    pipeline.take(events(watched, watched, watched, 0))
    names = [f"s{n:011d}" for n in watched]
    table.entities["suspect"][[table.slot(name) for name in names]] = 1
    began = time.perf_counter()
    for start in range(WATCHED, WATCHED + keys, STEP):
        new = np.arange(start, min(start + STEP, WATCHED + keys))
        pipeline.take(events(new % WATCHED, new % WATCHED, new, start))
    seconds = time.perf_counter() - began
    return {
        "keys": keys, "limit": limit, "events_s": keys / seconds, "evicted": table.evicted, "watched": WATCHED,
        "kept": sum(table.slot(name) > 0 for name in names), "overflowed": table.index.overflowed, "left": len(table),
    }  # fmt: skip


def _pipeline(detectors: str, **most: int) -> Pipeline:
    limits = {kind: int(limit / FILL_MAX) + STEP for kind, limit in most.items()}  # from there on it forgets
    off = [] if detectors == "all" else [d for d in catalog.detector_ids() if d not in FOUR]
    config = Config(
        entities_max=msgspec.structs.replace(Config().entities_max, **limits), detectors=dict.fromkeys(off, False)
    )
    return Pipeline(config, lambda _alert: None)


def events(who: Numbers, session: Numbers, address: Numbers, first: int) -> PackedBlock:
    """Reads of their own data by accounts, numbered from `first` on, with those sessions and addresses."""
    n = len(who)
    number = np.arange(first, first + n)
    shown = {
        "account": _named("c", who), "resource": _named("/orders/", who % 7, 1), "id": _named("e", number),
        "group": _named("", who, 0), "credential": _named("t", session), "issuer": _named("key-", who % 3, 1),
        "source_ip": _named("s", address), "country": _named("", who, 0), "user_agent": _named("agent-", who % 50, 2),
        "object": _named("o", number), "subject": _named("c", who), "network": _named("AS", address % 5_000, 4),
    }  # fmt: skip
    lengths = np.tile(np.array([shown[name].shape[1] for name in TEXTS], np.uint16), (n, 1))
    buffer = np.concatenate([shown[name] for name in TEXTS], axis=1).ravel()
    buffer.setflags(write=False)
    return PackedBlock(
        ("scale",), np.zeros(n, np.uint16), number, (START_MS + number * SPACING_MS).astype(np.int64),
        np.full(n, ACTIONS.index("read"), np.int8), np.full(n, ACCOUNT_KINDS.index("customer"), np.int8),
        np.zeros(n, np.int8), np.ones(n), np.full(n, 500.0), np.ones(n, np.int8), Rows.filling(buffer, 0, lengths),
    )  # fmt: skip


def _named(prefix: str, numbers: Numbers, digits: int = 11) -> npt.NDArray[np.uint8]:
    """The prefix and each number, as the bytes of text: uint8[n, length]."""
    out = np.empty((len(numbers), len(prefix) + digits), np.uint8)
    out[:, : len(prefix)] = np.frombuffer(prefix.encode(), np.uint8)
    left = numbers.copy()
    for place in range(out.shape[1] - 1, len(prefix) - 1, -1):
        out[:, place] = 48 + left % 10
        left //= 10
    return out


HEAD: Final = (
    f"{'accounts':>12}{'sessions':>12}{'GB':>8}{'B an account':>14}{'B a session':>13}{'new/s':>10}{'known/s':>10}"
    f"{'snapshot':>16}{'recovered':>11}"
)


def _line(row: dict[str, Any]) -> str:
    each = {kind: row["state_bytes"][kind] / count for kind, count in row["entities"].items()}
    return (
        f"{row['accounts']:>12,}{row['entities']['credential']:>12,}{row['resident_bytes'] / 1e9:>8.2f}"
        f"{each['account']:>14,.0f}{each['credential']:>13,.0f}{row['fill_events_s']:>10,.0f}"
        f"{row['busy_events_s']:>10,.0f}{row['snapshot_bytes'] / 1e9:>7.2f} GB{row['snapshot_s']:>5.1f} s"
        f"{row['recovery_s']:>9.1f} s"
    )


def _apart(*command: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "tests.bench.scale", *command], capture_output=True, check=False)
    if done.returncode:
        killed = f"killed by signal {-done.returncode}: it takes more memory than there is"
        sys.exit(done.stderr.decode() or killed)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["grown", accounts, count, most, which, path]:
            print(json.dumps(grown(int(accounts), int(count), int(most), which, Path(path))))
        case ["flooded", keys, most, which]:
            print(json.dumps(flooded(int(keys), int(most), which)))
        case _:
            main()
