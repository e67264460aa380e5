"""What a tutorial would write: orjson, a River GaussianScorer for each account and feature, a threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from river import anomaly

THRESHOLD = 0.9999
FEATURES = 3

_scorer: Any = anomaly.GaussianScorer  # River has no types


def detect(path: Path) -> tuple[int, int, int]:
    """Events, accounts and alerts of a log: records, bytes and gap of each event against its account's Gaussians."""
    scorers: dict[str, tuple[Any, ...]] = {}
    seen: dict[str, int] = {}
    events = alerts = 0
    with path.open("rb") as file:
        for line in file:
            event = orjson.loads(line)
            account, time = event["account"], event["time"]
            models = scorers.get(account)
            if models is None:
                models = scorers[account] = tuple(_scorer() for _ in range(FEATURES))
            values = (event["records"], event["bytes"], time - seen.get(account, time))
            seen[account] = time
            score = 0.0
            for model, value in zip(models, values, strict=True):
                score = max(score, model.score_one(None, value))
                model.learn_one(None, value)
            alerts += score > THRESHOLD
            events += 1
    return events, len(scorers), alerts
