"""Evidence adds up: by union on what many share, by Fisher's method over the sides of an actor, never for chance."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors import catalog
from detectors.fusion import ACTORS, HOLD_MS, Evidence, Fusion, score_of

SIDES = {"much": "amount", "many": "amount", "where": "place"}
TESTS = 512.0
FAMILIES = 64


def detectors() -> list[Any]:
    return [
        SimpleNamespace(id=name, aspect=aspect, kinds=("account", "network"), measures=lambda _kind: 1)
        for name, aspect in SIDES.items()
    ]


def found(detector: str, bits: float, kind: str = "account", time: int = 0, value: str = "ann") -> Evidence:
    score = score_of(bits, TESTS, FAMILIES)
    return Evidence(detector, kind, value, 0, 0, time, bits, score, 1.0, 1.0, TESTS)


def test_sides_of_an_actor_add_up_and_measures_of_one_side_do_not() -> None:
    fusion = Fusion(detectors())
    alone = fusion.joint([found("much", 14.0)])
    twice = fusion.joint([found("much", 14.0), found("many", 14.0)])
    sides = fusion.joint([found("much", 14.0), found("where", 12.0)])
    assert alone == pytest.approx(14.0 - 9.0 - 6.0)
    assert twice == pytest.approx(alone + 1.0)
    x = 14.0 - 1.0 + 12.0  # one bit, for there are two measures of how much
    assert sides == pytest.approx(x - math.log2(1.0 + x * math.log(2.0)) - 1.0 - 9.0)


def test_what_many_share_is_only_as_rare_as_its_rarest_side() -> None:
    """A new service changes all sides of a network at once."""
    evidence = [found("much", 14.0, "network"), found("where", 12.0, "network")]
    assert Fusion(detectors()).joint(evidence) < found("much", 14.0).score + 1.0
    assert "network" not in ACTORS


@given(st.lists(st.tuples(st.sampled_from(sorted(SIDES)), st.floats(0.0, 60.0)), min_size=1, max_size=6))
def test_more_evidence_is_never_less(rows: list[tuple[str, float]]) -> None:
    fusion = Fusion(detectors())
    before = -math.inf
    for name, bits in rows:
        fusion.add(found(name, bits))
        assert fusion.score(("account", "ann")) >= before - 1e-9
        before = fusion.score(("account", "ann"))


def test_chance_reaches_a_joint_score_no_more_often_than_it_says() -> None:
    """A day of windows in which both sides are ordinary draws: so many days in 2^score reach the score."""
    rng, fusion, days = np.random.default_rng(1), Fusion(detectors()), 400
    bits = rng.exponential(1.0 / math.log(2.0), (days, int(TESTS), 2))
    best = np.array([max(fusion.joint([found("much", a), found("where", b)]) for a, b in day) for day in bits[:40]])
    assert np.count_nonzero(best >= 0.0) <= 40 * 0.8  # once a day at most, and a bit is kept for what is held
    assert np.count_nonzero(best >= 3.0) <= 40 * 2.0**-3 + 3.0 * math.sqrt(40 * 2.0**-3)


@given(st.lists(st.tuples(st.sampled_from(sorted(SIDES)), st.sampled_from("ab"), st.integers(0, 9), st.floats(1, 40))))
def test_evidence_is_forgotten_when_it_is_old(rows: list[tuple[str, str, int, float]]) -> None:
    """As if all that is held were looked at each time."""
    step = HOLD_MS[0] // 4
    fusion = Fusion(detectors())
    held: dict[tuple[str, str], Evidence] = {}
    now = 0
    for name, value, ahead, bits in rows:
        now += ahead * step
        fusion.expire(now)
        held = {key: each for key, each in held.items() if each.until >= now}
        each = found(name, bits, time=now, value=value)
        known = held.get((value, name))
        held[value, name] = each if known is None or each.score >= known.score else known
        fusion.add(each)
    for value in "ab":
        expected = [each for key, each in held.items() if key[0] == value]
        assert sorted(fusion.evidence(("account", value)), key=repr) == sorted(expected, key=repr)
        assert fusion.score(("account", value)) == pytest.approx(fusion.joint(expected))
    again = Fusion(detectors())
    again.load(fusion.save())
    assert again.above(-99.0) == fusion.above(-99.0)


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(SIDES)), st.sampled_from(["ann", "bob"]), st.floats(0.0, 60.0)), max_size=9
    )
)
def test_in_whatever_order_detectors_are_heard_the_sum_is_the_same_to_the_last_bit(
    rows: list[tuple[str, str, float]],
) -> None:
    """As batches of one hear them: event by event, and not detector by detector."""
    heard = [found(name, bits, value=value, time=n) for n, (name, value, bits) in enumerate(rows)]
    kept = []
    for order in (
        heard,
        sorted(heard, key=lambda e: e.detector),
        sorted(heard, key=lambda e: e.detector, reverse=True),
    ):
        fusion = Fusion(detectors())
        for each in order:
            fusion.add(each)
        kept.append((fusion.save(), fusion.above(-math.inf), [fusion.score(("account", v)) for v in ("ann", "bob")]))
    assert kept[0] == kept[1] == kept[2]


def made() -> list[Any]:
    return [
        catalog.make(name, offset_bits=0.0, join_grace_s=1.0, session_lifetime_h=1.0) for name in catalog.detector_ids()
    ]


def test_every_detector_says_what_it_looks_at() -> None:
    assert all(detector.aspect for detector in made())


def test_how_much_and_whose_are_two_sides() -> None:
    """Who reads a fifth more, and of people whom nobody has read for weeks, is found by both and by neither alone."""
    fusion = Fusion(made())
    amounts = [fusion.joint([found(name, 15.0)]) for name in ("volume", "coverage")]
    assert fusion.joint([found("volume", 15.0), found("coverage", 15.0)]) > max(amounts) + 4.0
    assert fusion.joint([found("volume", 15.0), found("fan_out", 15.0)]) == pytest.approx(max(amounts) + 1.0)
