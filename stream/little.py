"""What is not worth a word, however rare it is: a little more than usual, the same few people again, nothing at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from detectors.base import DAILY, Detector
from detectors.fusion import ACTORS, Entity, Evidence
from stream.state import Table

# What is found by how much was read is told only of so much; what adds up over days is found by its days.
LEAST: Final = {"requests": 10.0, "records": 10.0, "subjects": 10.0, "bytes": 1e6}
FEW: Final = 16.0  # people, decayed over a day: ten that are read every day
AGAIN: Final = 10.0  # requests for each of them
ROUTINE: Final = 50.0  # requests, decayed over a day
NOTHING: Final = 1e-3  # decayed over a day: one a week ago
# Of what looks at these sides; who guesses, has no login, or looks at people without a reason is never little.
MANNER: Final = ("amount", "whom", "place", "rhythm")
BULK: Final = 2.0  # records a request, from which on it is no single person's


class Little:
    """Looks at what evidence says, and at what `volume` and `fan_out` know of its entity."""

    def __init__(self, detectors: Sequence[Detector], tables: Mapping[str, Table]) -> None:
        self._tables = tables
        self._manner = {d.id for d in detectors if d.aspect in MANNER}
        self._amounts = {
            d.id: [LEAST.get(f.unit, 0.0) for f in d.features]
            for d in detectors if d.aspect == "amount" and not getattr(d, "capped", False)
        }  # fmt: skip
        kinds = {d.id: set(d.columns) for d in detectors}
        self._counted = kinds.get("volume", set()) & kinds.get("fan_out", set())
        self._requests = {(d.id, n) for d in detectors for n, f in enumerate(d.features) if f.unit == "requests"}

    def is_much(self, evidence: Evidence) -> bool:
        """Whether it says more than that a little is more than usual."""
        least = self._amounts.get(evidence.detector)
        return least is None or evidence.observed >= least[evidence.feature]

    def routine(self, entity: Entity, evidence: Sequence[Evidence]) -> bool:
        """Whether all that comes of this is that a few people are read again and again, or that much is asked and
        nothing read, as by what probes a service.

        A thief who does so has what he came for at the first reading; whoever reads others goes beyond few at once.
        """
        kind, value = entity
        if kind not in self._counted or not all(e.detector in self._manner for e in evidence):
            return False
        table = self._tables[kind]
        slot = table.slot(value)
        if slot < 0:
            return False
        people = float(table.columns["fan_out"][slot]["sum"][DAILY, 0])
        requests, records, size = table.columns["volume"][slot]["sum"][DAILY].tolist()
        if kind in ACTORS and max(people, records, size) < NOTHING:
            return all((e.detector, e.feature) in self._requests for e in evidence)
        often = requests >= max(ROUTINE, AGAIN * people)
        return 0.0 < people <= FEW and often and records <= BULK * requests
