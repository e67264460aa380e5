"""`make bench-snapshot`: what a snapshot of a million entities writes, how long it takes and what waits meanwhile.

Half a million accounts with a credential each go through all detectors; then a share of them does something, one in ten
with a new credential, ticks pass, and a snapshot is taken as a worker takes it, beside a thread that is not to wait.
Each share is measured with deltas and without. Prints a table; times are by the clock, and of the processor where
that is said.
"""

from __future__ import annotations

import argparse
import shutil
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec
import numpy as np

from stream import checkpoint
from stream.changes import hashed
from stream.checkpoint import Saved, StateDirectory
from stream.config import Config
from stream.events import EventBlock
from stream.pipeline import Pipeline
from stream.snapshot import Snapshot
from tests.bench.__main__ import _machine
from tests.bench.work import _peak, _resident
from tests.streams import block, event

START_MS: Final = 1_735_689_600_000
SHARES: Final = (0.001, 0.06, 0.6)
STEP: Final = 50_000  # events taken in at a time
SECONDS: Final = 60.0  # of stream time that a share takes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench-snapshot", description=__doc__)
    parser.add_argument("--entities", type=int, default=1_000_000)
    parser.add_argument("--snapshots", type=int, default=3, help="of each share, medians are told")
    parser.add_argument("--out", type=Path, default=Path("out"))
    given = parser.parse_args()
    accounts = given.entities // 2
    pipeline = Pipeline(Config(), lambda _alert: None)
    clock = float(START_MS)
    began = time.perf_counter()
    for start in range(0, accounts, STEP):
        pipeline.process(_events(np.arange(start, min(start + STEP, accounts)), clock, pipeline.events))
        clock += 600_000.0
    entities = sum(len(table) for table in pipeline.tables.values())
    _, arrays = pipeline.save()
    nbytes = sum(array.nbytes for array in arrays.values())
    print(f"{entities:,} entities, {nbytes / 1e6:,.0f} MB, made in {time.perf_counter() - began:.0f} s; {_machine()}")
    before = time.perf_counter()
    hashes = hashed(arrays)
    took = time.perf_counter() - before
    print(
        f"hashing: {took / nbytes * 1e9:.2f} s a GB; hashes take {sum(h.nbytes for h in hashes.values()) / 1e6:.1f} MB"
    )
    rng = np.random.default_rng(1)
    folder = given.out / "bench-snapshot"
    print(f"{'changed':>8} {'kind':>6} {'MB written':>11} {'seconds':>8} {'CPU s':>6} {'longest wait beside, s':>23}")
    for share in SHARES:
        for deltas in (False, True):
            shutil.rmtree(folder, ignore_errors=True)
            checkpoint.DELTAS_FROM_BYTES = 0 if deltas else 1 << 62  # type: ignore[misc]
            checkpoint.DELTAS_SHARE = 99.0  # type: ignore[misc]
            rows: list[tuple[Saved, float, float, float]] = []
            with StateDirectory(folder, "bench") as directory:
                for n in range(given.snapshots + 1):
                    if n:
                        who = rng.choice(accounts, int(accounts * share), replace=False)
                        for part in np.array_split(who, -(-len(who) // STEP)):
                            pipeline.process(_events(part, clock, pipeline.events))
                        clock += SECONDS * 1000
                    row = _saved(directory, pipeline)
                    if n:
                        rows.append(row)
                kind = "delta" if deltas else "whole"
                print(
                    f"{share:8.1%} {kind:>6} {median(r[0].nbytes for r in rows) / 1e6:11.1f} "
                    f"{median(r[1] for r in rows):8.2f} {median(r[2] for r in rows):6.2f} "
                    f"{median(r[3] for r in rows):23.3f}",
                    flush=True,
                )
                read, loaded, cpu = _recovered(directory)
            print(
                f"{'':8} recovery of {rows[-1][0].chain_nbytes / 1e6:,.0f} MB in {len(rows) * deltas} deltas and "
                f"a whole one: read {read:.2f} s, with the pipeline {loaded:.2f} s ({cpu:.2f} CPU s)", flush=True,
            )  # fmt: skip
    shutil.rmtree(folder)
    print(f"resident {_resident() / 1e6:,.0f} MB, peak {_peak() / 1e6:,.0f} MB")


def _events(who: Any, clock: float, first: int) -> EventBlock:
    times = clock + np.linspace(0.0, SECONDS * 1000 - 1, len(who))
    return block(
        [
            event(
                time=int(at), id=f"e{first + n}", account=f"customer-{a}",
                credential=f"session-{a}" if n % 10 else f"session-{first}-{a}", issuer="key",
                resource=f"/orders/{a % 7}", subject=f"customer-{a}", object=f"order-{first + n}",
                account_kind="customer", source_ip=f"198.{a >> 15 & 63}.{a >> 7 & 255}.0", user_agent=f"agent-{a % 50}",
            )
            for n, (a, at) in enumerate(zip(who.tolist(), times.tolist(), strict=True))
        ]
    )  # fmt: skip


def _saved(directory: StateDirectory, pipeline: Pipeline) -> tuple[Saved, float, float, float]:
    """What was written, the seconds it took, those of the processor, and the longest that another thread waited."""
    waits, ended = [0.0], threading.Event()

    def beside() -> None:
        last = time.perf_counter()
        while not ended.wait(0.002):
            now = time.perf_counter()
            waits.append(now - last)
            last = now

    other = threading.Thread(target=beside)
    other.start()
    began, worked = time.perf_counter(), time.process_time()
    saved = directory.save(Snapshot(*pipeline.save()))
    took, worked = time.perf_counter() - began, time.process_time() - worked
    ended.set()
    other.join()
    return saved, took, worked, max(waits)


def _recovered(directory: StateDirectory) -> tuple[float, float, float]:
    """Seconds to read the newest snapshot, until a pipeline goes on from it, and of the processor until then."""
    began, worked = time.perf_counter(), time.process_time()
    snapshot, refused = directory.load()
    read = time.perf_counter() - began
    assert snapshot is not None
    assert not refused
    Pipeline(Config(), lambda _alert: None).load(
        msgspec.json.decode(msgspec.json.encode(snapshot.meta)), snapshot.arrays
    )
    return read, time.perf_counter() - began, time.process_time() - worked


if __name__ == "__main__":
    main()
