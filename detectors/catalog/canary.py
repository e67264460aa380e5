"""Canary: a record, a person or a folder that was planted, and that nobody has reason to read.

Statistic: none. Names of objects, subjects and resources are planted by configuration (`[canary]`); an access that
succeeds and names one of them is evidence by itself, at the first event, also while everything else is still learning.
It is matched by its keyed hash, the one that every event has anyway; accounts that plant and check are exempt by name.
Nothing is learned, so there is nothing to drag. Source: Spitzner, "Honeytokens: The Other Honeypot" (2003).
Entities: account. Unit: reads. Memory: 8 bytes a planted name, none an entity, and no work where none is planted.
Cold start: none. Evasion: knowing which records are planted; reading none of them: the chance to miss all of m among N
records is about (1 - m / N)^n for n that are read.
Misses: names that are read by everybody's rule, such as a whole-table export that names no object; a name must be
written as the log has it. A backup or crawler that reads everything has to be exempt, or it is an alert each time.
ATT&CK: T1213 Data from Information Repositories, T1530 Data from Cloud Storage, T1083 File and Directory Discovery.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.base import ACTION_LOGIN, ACTION_LOGOUT, AT_ONCE, FINDING, KINDS, Array, Columns, Feature, Frame

U64 = npt.NDArray[np.uint64]
NOTHING: Final[Mapping[str, U64]] = MappingProxyType({})
NOBODY: Final[U64] = np.zeros(0, np.uint64)
ACCOUNT: Final = KINDS.index("account")
CERTAIN_BITS: Final = 40.0  # above what opens an alert: always critical


class Canary:
    """`canary`: reads of what was planted.

    opening_bits: what opens an alert, where there is one such test a day. planted: uint64 hashes by "object",
    "subject", "resource". exempt: those of accounts that may read it.
    """

    id = "canary"
    title = "A planted record was read by {kind} {value}"
    weight = 4
    aspect = "planted"
    cause: Mapping[str, str] = {}
    techniques = ("T1213", "T1530", "T1083")
    features = (Feature("planted", "reads", "read what was planted and nobody has reason to read"),)
    kinds = ("account",)
    columns: Mapping[str, np.dtype[Any]] = {}

    def __init__(self, opening_bits: float = 0.0, planted: Mapping[str, U64] = NOTHING, exempt: U64 = NOBODY) -> None:
        self._bits = opening_bits + CERTAIN_BITS
        self._planted = {name: hashes for name, hashes in planted.items() if len(hashes)}
        self._exempt = exempt
        self._reads = np.zeros(1, np.int64)

    def observe(self, frame: Frame, columns: Mapping[str, Array], bit: int) -> list[Array]:
        """Whoever names what was planted; FINDING rows, the latest of each account."""
        if not self._planted:
            return []
        hit = np.zeros(len(frame), np.bool_)
        for name, hashes in self._planted.items():
            hit |= np.isin(frame.hashes[name], hashes)
        if not hit.any():
            return []
        hit &= frame.succeeded & (frame.action != ACTION_LOGIN) & (frame.action != ACTION_LOGOUT)
        hit &= ~np.isin(frame.hashes["account"], self._exempt)
        at = np.flatnonzero(hit)
        frame.marks[at] |= np.uint16(1 << bit)
        self._reads += len(at)
        slots, latest = np.unique(frame.touch["account"]["slot"][at][::-1], return_index=True)
        out = np.zeros(len(slots), FINDING)
        out["event"] = at[::-1][latest]
        out["time"], out["slot"], out["kind"] = frame.time[out["event"]], slots, ACCOUNT
        out["horizon"], out["bits"], out["observed"] = AT_ONCE, self._bits, 1.0
        return [out]

    def tick(self, now_ms: int, columns: Mapping[str, Array]) -> list[Array]:
        """Nothing is due by the clock."""
        return []

    def stands(self, credentials: npt.NDArray[np.int32], columns: Mapping[str, Array]) -> npt.NDArray[np.bool_]:
        """What was read once stays so."""
        return np.ones(len(credentials), np.bool_)

    def bits(self, finding: Any) -> tuple[float, float]:
        """Certain."""
        return float(finding["bits"]), 1.0

    def save(self) -> Columns:
        """How often anything planted was read."""
        return {"reads": self._reads}

    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from what `save` gave."""
        self._reads[...] = state["reads"]

    def measures(self, kind: str) -> int:
        """One."""
        return 1

    def parts(self, kind: str, klass: int) -> float:
        """One: what is planted is found without chance."""
        return 1.0
