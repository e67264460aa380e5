"""Fan-out: how many different people's data an entity reaches.

Measures distinct subjects over 20 minutes and a day. Where an event names no subject, places count the account itself,
and an employee's account the thing that it reads: a file, a repository.

Statistic: each entity keeps a HyperLogLog of 32 registers of one day; an event that changes it stands for 1 /
P(change) new subjects (the martingale estimator: Ting, "Streamed approximate counting of distinct elements", 2014;
standard error 15 %), and these increments go through the level baseline of `detectors.baselines.level`, calibrated by
`detectors.baselines.calibration`. Entities: account, credential, issuer, source, network, client, fleet.
Unit: subjects. Memory: 72 bytes an entity.
Cold start: as its population, so a new address that reaches many is loud at once if few addresses do.
Evasion: one subject an address and hour; then issuer, client, network and fleet still add up. Registers are keyed with
the deployment's hash key: nobody can choose subjects that do not count.
Misses: someone who reads the same few people again and again (`volume`), and growth at the pace of the reference.
ATT&CK: T1213 Data from Information Repositories, T1550.001 Application Access Token, T1119 Automated Collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from detectors.base import EMPLOYEE, Array, Feature, Frame
from detectors.baselines.buckets import level_dtype
from detectors.baselines.level import LevelDetector
from detectors.kernels import AHEAD, inline, kernel, prefetch

REGISTERS: Final = 32
REGISTER_BITS: Final = 5
CHANCE: Final = 2.0 ** -np.arange(64.0)  # of a rank above, by register


@kernel
def _new_subjects(states: tuple[Array, ...], touches: tuple[Array, ...], subjects: tuple[Array, ...], x: Array) -> None:
    """x[k, i, 0] = how many new subjects of the day the event stands for, by kind; the sketches learn them."""
    for k in range(x.shape[0]):
        _count(states[k], touches[k], subjects[k], x[k])


@inline
def _count(state: Array, touch: Array, hashes: Array, x: Array) -> None:
    for i in range(touch.shape[0]):
        if i + AHEAD < touch.shape[0]:
            prefetch(state, touch[i + AHEAD]["slot"])
        x[i, 0] = 0.0
        t = touch[i]
        slot = t["slot"]
        if slot < 0:
            continue
        registers = state[slot]["registers"]
        if t["opens"][1]:
            for j in range(REGISTERS):
                registers[j] = 0
        h = hashes[i]
        if h == np.uint64(0):
            continue
        own = np.int64(h & np.uint64(REGISTERS - 1))
        rest = h >> np.uint64(REGISTER_BITS)
        rank = 1
        while rank < 58 and (rest & np.uint64(1)) == np.uint64(0):
            rest >>= np.uint64(1)
            rank += 1
        if rank > registers[own]:
            chance = 0.0
            for m in range(REGISTERS):
                chance += CHANCE[registers[m]]
            x[i, 0] = REGISTERS / chance
            registers[own] = rank


def _dtype() -> np.dtype[Any]:
    return np.dtype(
        [*((name, level_dtype(1)[name]) for name in level_dtype(1).names or ()), ("registers", np.uint8, (REGISTERS,))]
    )


class FanOut(LevelDetector):
    """`fan_out`: distinct subjects by entity."""

    id = "fan_out"
    title = "Many people's data read by {kind} {value}"
    weight = 2
    aspect = "amount"
    cause: Mapping[str, str] = {}
    techniques = ("T1213", "T1550.001", "T1119")
    features = (
        Feature(
            "subjects",
            "subjects",
            "data of {observed} different people or things read in {window}, where {expected} are usual",
            by_ones="always",
        ),
    )
    kinds = ("fleet", "account", "credential", "issuer", "source", "network", "client")

    def __init__(self, offset_bits: float) -> None:
        super().__init__(offset_bits)
        self.columns: Mapping[str, np.dtype[Any]] = dict.fromkeys(self.kinds, _dtype())

    def observe(self, frame: Frame, columns: Mapping[str, Array], bit: int) -> list[Array]:
        """Count and score the subjects of each entity of each event, the fleet first; FINDING rows."""
        x = np.empty((len(self.kinds), len(frame), 1))
        _new_subjects(
            tuple(columns[kind] for kind in self.kinds), tuple(frame.touch[kind] for kind in self.kinds),
            tuple(frame.of(_things if kind == "account" else _victims) for kind in self.kinds), x,
        )  # fmt: skip
        return [self.score(frame, columns, x, bit)]


def _subjects(events: Frame) -> Array:
    return np.where(events.reads, events.hashes["subject"], np.uint64(0))


def _victims(events: Frame) -> Array:
    """Whose data it is: the account's own where no subject is named."""
    subjects = events.of(_subjects)
    return np.where(events.reads & (subjects == 0), events.hashes["account"], subjects)


def _things(events: Frame) -> Array:
    """What an employee's account reads where no subject is named: files, repositories."""
    subjects = events.of(_subjects)
    unnamed = events.reads & (subjects == 0) & (events.klass == EMPLOYEE)
    return np.where(unnamed, events.hashes["object"], subjects)
