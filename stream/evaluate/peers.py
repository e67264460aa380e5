"""What a user would write by hand, on the same events: scores by account or address and hour.

Each peer gives candidates, an entity and the hour's end with a score; what alerts is settled afterwards, by the one
threshold that gives a peer as many false alerts as the pipeline had. That is kinder than life: nobody knows it before.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from river import anomaly

from detectors.base import DAY_MS, HOUR_MS
from stream.evaluate.judge import AFTER_MS
from stream.evaluate.truth import Attack
from stream.events import ACTIONS, EventBlock

KEPT: Final = 1_500  # candidates of a peer and scene, the highest
TREES_MAX: Final = 150  # accounts that have half-space trees of their own: staff and machines first, then customers
TREES: Final = {"n_trees": 5, "height": 6, "window_size": 48, "seed": 1}
SCALE: Final = 12.0  # logarithms of an hour's figures are below
LOGIN: Final = ACTIONS.index("login")
GAUSSIAN: Final = "Gaussian scorer for each account"
HALF_SPACE: Final = f"half-space trees for each of {TREES_MAX} accounts"
ACCOUNT: Final = "static threshold for each account, by kind"
ADDRESS: Final = "static threshold for each address, by kind"
DISTINCT: Final = "distinct accounts and people for each address"
PEERS: Final = (GAUSSIAN, HALF_SPACE, ACCOUNT, ADDRESS, DISTINCT)

_gaussian: Any = anomaly.GaussianScorer  # River has no types
_trees: Any = anomaly.HalfSpaceTrees


class Candidate(msgspec.Struct, frozen=True, array_like=True):
    """An entity that a peer might alert on. attacks: ids of those that it would be about."""

    score: float
    at_ms: int
    kind: str
    value: str
    attacks: tuple[str, ...]


@dataclass(slots=True)
class _Hour:
    """What one account or address did in an hour."""

    requests: int = 0
    records: float = 0.0
    kind: int = 0
    people: set[str] = field(default_factory=set)


class Peers:
    """All of them over one stream."""

    def __init__(self, warmup_h: float) -> None:
        self._warmup_ms = warmup_h * HOUR_MS
        self._began_ms = 0
        self._hour = 0
        self._accounts: dict[str, _Hour] = defaultdict(_Hour)
        self._addresses: dict[str, _Hour] = defaultdict(_Hour)
        self._gaussians: dict[str, tuple[Any, Any]] = {}
        self._forests: dict[str, Any] = {}
        self._usual: dict[
            int, float
        ] = {}  # the most records that an account of a kind, or an address, had in the warm-up
        self._found: dict[str, list[tuple[float, int, str, str]]] = {peer: [] for peer in PEERS}

    def see(self, block: EventBlock) -> None:
        """Events in the order of the log; an hour is judged when the next begins."""
        self._began_ms = self._began_ms or int(block.time[0])
        columns = (
            block.time.tolist(), block.action.tolist(), block.account_kind.tolist(), block.records.tolist(),
            block.text["account"], block.text["source_ip"], block.text["subject"],
        )  # fmt: skip
        for time, action, kind, records, account, address, subject in zip(*columns, strict=True):
            if time // HOUR_MS > self._hour:
                self._judge()
                self._hour = time // HOUR_MS
            hour = self._accounts[account]
            hour.requests += 1
            hour.records += records
            hour.kind = kind
            there = self._addresses[address]
            there.requests += 1
            there.records += records
            there.kind = kind
            if action != LOGIN:
                there.people.add(account)
                if subject:
                    there.people.add(subject)

    def candidates(self, attacks: Sequence[Attack]) -> dict[str, list[Candidate]]:
        """The highest of each peer, with what they would be about."""
        self._judge()
        named: dict[tuple[str, str], list[Attack]] = defaultdict(list)
        for attack in attacks:
            for e in attack.entities:
                named[e.kind, e.value].append(attack)
        return {
            peer: [
                Candidate(score, at, kind, value, tuple(
                    attack.id for attack in named.get((kind, value), ())
                    if attack.start_ms <= at <= attack.end_ms + AFTER_MS
                ))
                for score, at, kind, value in sorted(found, key=lambda each: (-each[0], each[1:]))[:KEPT]
            ]
            for peer, found in self._found.items()
        }  # fmt: skip

    def _judge(self) -> None:
        """Score the hour that is over, then learn from it."""
        at = (self._hour + 1) * HOUR_MS
        watching = at >= self._began_ms + self._warmup_ms
        if not watching:
            for hour in (*self._accounts.values(), *self._addresses.values()):
                self._usual[hour.kind] = max(self._usual.get(hour.kind, 1.0), hour.records)
        for account, hour in self._accounts.items():
            features = (math.log1p(hour.requests), math.log1p(hour.records))
            gaussian = self._gaussian_score(account, features)
            trees = self._trees_score(account, hour, features, at)
            if watching:
                self._found[GAUSSIAN].append((gaussian, at, "account", account))
                self._found[HALF_SPACE].append((trees, at, "account", account))
                self._found[ACCOUNT].append((hour.records / self._usual.get(hour.kind, 1.0), at, "account", account))
        if watching:
            for address, hour in self._addresses.items():
                self._found[ADDRESS].append((hour.records / self._usual.get(hour.kind, 1.0), at, "source", address))
                self._found[DISTINCT].append((float(len(hour.people)), at, "source", address))
        for peer, found in self._found.items():
            if len(found) > 8 * KEPT:
                self._found[peer] = sorted(found, key=lambda each: (-each[0], each[1:]))[:KEPT]
        self._accounts.clear()
        self._addresses.clear()

    def _gaussian_score(self, account: str, features: tuple[float, float]) -> float:
        """Deviates above the mean: the scorer's own probability is 1 for all that matters here."""
        scorers = self._gaussians.get(account)
        if scorers is None:
            scorers = self._gaussians[account] = (_gaussian(), _gaussian())
        score = 0.0
        for scorer, value in zip(scorers, features, strict=True):
            normal = scorer.gaussian
            if normal.n_samples >= 12:
                score = max(score, (value - normal.mu) / max(normal.sigma, 0.1))
            scorer.learn_one(None, value)
        return score

    def _trees_score(self, account: str, hour: _Hour, features: tuple[float, float], at: int) -> float:
        trees = self._forests.get(account)
        if trees is None:
            if hour.kind == 1 or len(self._forests) >= TREES_MAX:
                return 0.0
            trees = self._forests[account] = _trees(**TREES)
        of_day = at % DAY_MS / DAY_MS
        x = {"requests": features[0] / SCALE, "records": features[1] / SCALE, "hour": of_day}
        score = float(trees.score_one(x))
        trees.learn_one(x)
        return score


@dataclass(frozen=True, slots=True)
class PeerResult:
    """found: (scene, attack) -> when it would have been told, epoch ms."""

    peer: str
    threshold: float
    false: int
    found: dict[tuple[str, str], int]


def settled(peer: str, scenes: dict[str, list[Candidate]], false_max: int) -> PeerResult:
    """The lowest threshold that opens at most `false_max` false alerts; an entity alerts once a day."""
    pooled = sorted(
        ((c.score, scene, c) for scene, found in scenes.items() for c in found), key=lambda each: (-each[0], each[1])
    )
    false: set[tuple[str, str, int]] = set()
    found: dict[tuple[str, str], int] = {}
    threshold, at = math.inf, 0
    while at < len(pooled):
        level = pooled[at][0]
        stop = at
        while stop < len(pooled) and pooled[stop][0] == level:
            stop += 1
        new = {(scene, c.value, c.at_ms // DAY_MS) for _, scene, c in pooled[at:stop] if not c.attacks} - false
        if len(false) + len(new) > false_max:
            break
        false |= new
        for _, scene, c in pooled[at:stop]:
            for attack in c.attacks:
                found[scene, attack] = min(found.get((scene, attack), c.at_ms), c.at_ms)
        threshold, at = level, stop
    return PeerResult(peer, threshold, len(false), found)
