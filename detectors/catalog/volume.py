"""Volume: how much an entity reads, against its own past, its peers and everyone's present.

Measures requests, records and bytes of every entity over 20 minutes and a day.

Statistic: Student's tail of the log of a decayed sum against a shrunken, seasonal, slew-limited baseline; the formula
is in `detectors.baselines.level`, the calibration to bits in `detectors.baselines.calibration`.
Entities: account, credential, issuer, source, network, client, resource, fleet.
Units: requests, records, bytes. Memory: 120 bytes an entity.
Cold start: judged as its population is (Student's t with 4 degrees of freedom about the peers' mean) until it has
samples of its own; no one is judged before the population has 30 samples.
Evasion: growing by less than ln 2 a week and staying within 1.5 of the reference drags the baseline along (a doubling
costs seven days); spreading over many entities keeps each one normal, and then what they share is loud.
Misses: a slow insider below a few standard deviations (`drip`), a whole-population pass (`coverage`), anything during
a sale that is no larger than the sale.
ATT&CK: T1530 Data from Cloud Storage, T1213 Data from Information Repositories, T1020 Automated Exfiltration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from detectors.base import Array, Feature, Frame, size
from detectors.baselines.buckets import level_dtype
from detectors.baselines.level import LevelDetector


class Volume(LevelDetector):
    """`volume`: requests, records and bytes by entity."""

    id = "volume"
    title = "Unusual volume read by {kind} {value}"
    weight = 1
    aspect = "amount"
    cause: Mapping[str, str] = {}
    techniques = ("T1530", "T1213", "T1020")
    features = (
        Feature(
            "requests",
            "requests",
            "{observed} requests in {window}, where {expected} are usual",
            by_ones="of employees",
        ),
        Feature("records", "records", "{observed} records read in {window}, where {expected} are usual"),
        Feature("bytes", "bytes", "{observed} read in {window}, where {expected} is usual", size, size),
    )
    kinds = ("fleet", "account", "credential", "issuer", "source", "network", "client", "resource")

    def __init__(self, offset_bits: float) -> None:
        super().__init__(offset_bits)
        self.columns: Mapping[str, np.dtype[Any]] = dict.fromkeys(self.kinds, level_dtype(len(self.features)))

    def observe(self, frame: Frame, columns: Mapping[str, Array], bit: int) -> list[Array]:
        """Score each entity of each event, the fleet first; FINDING rows."""
        return [self.score(frame, columns, frame.of(_increments)[None], bit)]


def _increments(events: Frame) -> Array:
    read = [np.where(events.reads, amount, 0.0) for amount in (events.records, events.bytes)]
    return np.column_stack([np.ones(len(events)), *read])
