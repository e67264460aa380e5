"""What verdicts teach: which kinds of evidence, in this company, are usually worth an analyst's time.

An online logistic regression (River; stochastic gradient descent on the log loss) over what the evidence is made of:
detectors, kinds of entities, windows, how many of them. Never over who it is about: no name is a feature, so nobody can
be taught to be harmless. It has no intercept, so what it has never seen it does not judge.

    rank = clip(GAIN * w.x / ln 2, -DEMOTE_BITS, PROMOTE_BITS) * n / (n + SLOW)      n: verdicts so far

are bits that are added to an incident's score when the day's budget is spent. Evidence DEMOTE_BITS above the threshold
opens whatever was taught; a critical, or a planted record that was read, is never demoted.

The weights are nothing but a function of the feedback log up to a moment of stream time: they are never stored, and a
reset to an earlier day, itself an entry of the log, is the same log read with the days in between left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

from stream.alerts import Alert
from stream.feedback import Entry

DEMOTE_BITS: Final = 6.0
PROMOTE_BITS: Final = 2.0
GAIN: Final = 2.0  # people err: a tenth of wrong verdicts keeps the odds within 3 bits, and twice that is DEMOTE_BITS
SLOW: Final = 10.0  # verdicts until what was taught counts half
RATE: Final = 0.3  # of learning
DECAY: Final = 0.002  # L2: what is not confirmed again fades
SHARED: Final = 0.3  # weight of features that all kinds of evidence share
CANARY: Final = "canary"

Piece = tuple[str, str, float]  # detector, kind of entity, seconds of its window


def features_of(pieces: Iterable[Piece]) -> dict[str, float]:
    """What evidence is made of, as numbers by name.

    >>> features_of([("volume", "account", 1200.0)])
    {'volume on account': 1.0, 'volume': 1.0, 'account': 0.3, 'window 1200 s': 0.3, 'alone': 0.3}
    """
    found = list(dict.fromkeys(pieces))
    detectors = dict.fromkeys(detector for detector, _, _ in found)
    out = {f"{detector} on {kind}": 1.0 for detector, kind, _ in found}
    out |= dict.fromkeys(detectors, 1.0)
    out |= {kind: SHARED for _, kind, _ in found}
    out |= {f"window {window:.0f} s": SHARED for _, _, window in found}
    out["alone" if len(detectors) == 1 else "several"] = SHARED
    return out


def features_of_alert(alert: Alert) -> dict[str, float]:
    """The same of the evidence in an alert."""
    return features_of((item.detector, item.entity.kind, item.window_s) for item in alert.evidence)


class Ranking:
    """What was taught up to a moment; `bits` judges evidence by it."""

    def __init__(self) -> None:
        self.taught = 0  # verdicts that count
        self._model: Any = None
        self._seen = 0  # entries gone through
        self._alerts: set[str] = set()

    def learn(self, entries: Sequence[Entry], now_ms: int) -> None:
        """Go on, or back, to this stream time. An entry of `entries`, all there are, counts once those before it do."""
        due = next((n for n, entry in enumerate(entries) if entry.time_ms > now_ms), len(entries))
        fresh = entries[self._seen : due]
        again = any(entry.reset_ms or (entry.about is not None and entry.about.id in self._alerts) for entry in fresh)
        if due < self._seen or again:
            self._forget()
            fresh = entries[:due]
        self._seen = due
        for entry in counted(fresh):
            if entry.about is not None and entry.about.features:
                self._alerts.add(entry.about.id)
                self._teach(entry.about.features, entry.verdict == "true")

    def bits(self, pieces: Sequence[Piece]) -> float:
        """Bits to add to the score of such evidence, negative where it was mostly a false alarm."""
        if self._model is None:
            return 0.0
        weights = self._model.weights
        known = sum(value * float(weights[name]) for name, value in features_of(pieces).items() if name in weights)
        rank = min(max(GAIN * known / math.log(2.0), -DEMOTE_BITS), PROMOTE_BITS) * self.taught / (self.taught + SLOW)
        return max(rank, 0.0) if any(detector == CANARY for detector, _, _ in pieces) else rank

    def _forget(self) -> None:
        self._model, self.taught, self._seen = None, 0, 0
        self._alerts.clear()

    def _teach(self, features: dict[str, float], real: bool) -> None:
        if self._model is None:
            from river import linear_model, optim  # noqa: PLC0415 - half a second, for those who have feedback

            self._model = linear_model.LogisticRegression(optimizer=optim.SGD(RATE), l2=DECAY, intercept_lr=0.0)
        self._model.learn_one(features, real)
        self.taught += 1


def counted(entries: Sequence[Entry]) -> list[Entry]:
    """The verdicts that teach: of each alert the last one, and none that was reset."""
    verdicts: dict[str, Entry] = {}
    for entry in entries:
        if entry.reset_ms:
            verdicts = {name: each for name, each in verdicts.items() if each.time_ms < entry.reset_ms}
        elif entry.verdict and entry.about is not None:
            verdicts.pop(entry.about.id, None)
            verdicts[entry.about.id] = entry
    return list(verdicts.values())
