"""Signals for tests, as partitions tell of what they found."""

from __future__ import annotations

from detectors.fusion import Evidence
from stream.signals import SCHEMA, Place, Related, Signal
from tests.streams import HOUR_MS, START_MS


def found(kind: str, value: str, score: float = 12.0, bits: float = 24.0, detector: str = "unissued") -> Evidence:
    return Evidence(detector, kind, value, 0, 0, START_MS, bits, score, 8.0, 0.1)


def signal(
    partition: int, kind: str = "issuer", value: str = "key-7", name: str = "", revision: int = 1, status: str = "open",
    related: tuple[tuple[str, str], ...] = (), records: float = 10.0, score: float = 12.0, at: int = START_MS,
    subjects: tuple[int, ...] = (),
) -> Signal:  # fmt: skip
    return Signal(
        schema=SCHEMA, id=name or f"tl-{partition}-{value}", partition=partition, revision=revision, status=status,
        kind=kind, value=value, score=score, crossed=at, start=at, last=at + HOUR_MS, told=at + HOUR_MS,
        records=records, bytes=100.0, subjects=list(subjects) or [partition + 1], sources=[7],
        members=[found(kind, value, score)], related=[Related(*each, 3) for each in related],
        places=[Place(f"kafka:access/{partition}", 5, 9)],
    )  # fmt: skip
