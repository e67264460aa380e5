"""`python -m tests.bench.nab FOLDER`: the Numenta Anomaly Benchmark's series through the engine behind `volume`.

Each series is one account that reads so many records at each of its rows, through the pipeline with `volume` alone and
one setting for all. Its score is how many deviates the short horizon's sum is from what the engine expects, either way;
once told, the next day tells only what is further out, as an incident does. Values are put on 0 to 10,000 by the
series' least and greatest, which the benchmark gives to every detector. FOLDER holds data/, labels/ and nab_score.py,
which is the benchmark's scorer.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import math
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from detectors import catalog
from stream.config import Config
from stream.events import AccessEvent, columns
from stream.gauges import gauges
from stream.pipeline import Pipeline

THRESHOLD: Final = 5.0  # deviates, set before any series was looked at
TOP: Final = 10_000.0
DAY_MS: Final = 86_400_000
TICK_S: Final = 300


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.nab", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", metavar="TEXT", help="series whose path contains this")
    given = parser.parse_args()
    wanted = json.loads((given.folder / "labels" / "combined_windows.json").read_text())
    names = sorted(name for name in wanted if (given.folder / "data" / name).is_file() and given.only in name)
    scores = {name: scored(given.folder / "data" / name) for name in names}
    scorer = _scorer(given.folder)
    fixed = {name: [float(score >= THRESHOLD) for score in each] for name, each in scores.items()}
    for profile in scorer.PROFILES:
        at_best, threshold = scorer.score(scores, given.folder, profile)
        print(
            f"{profile:20} {scorer.score(fixed, given.folder, profile)[0]:6.1f} at {THRESHOLD:g} deviates, "
            f"{at_best:6.1f} at the best threshold, {threshold:.2f}"
        )


def scored(path: Path) -> list[float]:
    """A score for each row of a series."""
    with path.open() as file:
        rows = [(_epoch_ms(row["timestamp"]), float(row["value"])) for row in csv.DictReader(file)]
    values = np.array([value for _, value in rows])
    scaled = (values - values.min()) / max(values.max() - values.min(), 1e-9) * TOP
    events = [
        AccessEvent(time=time, account="series", action="read", resource="nab", records=float(value))
        for (time, _), value in zip(rows, scaled.round().tolist(), strict=True)
    ]
    block, rejected = columns(events, "nab", np.arange(len(events)), 2**60)
    assert not rejected
    deviates: dict[int, float] = {}

    def look(_now_ms: int) -> None:
        slot = int(table.entities["seen"].argmax())  # the only one
        seen = int(table.entities["seen"][slot])
        observed, expected, upper = gauge.read(table, slot, seen)[feature]
        low, high, now = math.log1p(expected), math.log1p(upper), math.log1p(observed)
        deviates[seen] = abs(now - low) / max((high - low) / 3.0, 1e-9) if not math.isnan(high) else 0.0

    only = {name: name == "volume" for name in catalog.detector_ids()}
    pipeline = Pipeline(Config(detectors=only, tick_s=TICK_S), lambda _alert: None, look)
    table = pipeline.tables["account"]
    (gauge,) = gauges(pipeline.detectors, "account")
    feature = next(i for i, each in enumerate(gauge.features) if each.name == "records")
    pipeline.process(block)
    pipeline.finish()
    return _once([(time, deviates.pop(time, 0.0)) for time, _ in rows])


def _once(course: list[tuple[int, float]]) -> list[float]:
    """Each score that is above all of the day before it, and 0 for the others.

    >>> _once([(0, 2.0), (300_000, 1.0), (600_000, 3.0), (90_000_000, 1.0)])
    [2.0, 0.0, 3.0, 1.0]
    """
    day: deque[tuple[int, float]] = deque()  # falling scores
    told = []
    for time, score in course:
        while day and day[0][0] < time - DAY_MS:
            day.popleft()
        told.append(score if not day or score > day[0][1] else 0.0)
        while day and day[-1][1] <= score:
            day.pop()
        day.append((time, score))
    return told


def _epoch_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def _scorer(folder: Path) -> Any:
    """The benchmark's own scorer, which lies beside its data."""
    spec = importlib.util.spec_from_file_location("nab_score", folder / "nab_score.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
