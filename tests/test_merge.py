"""Signals of all partitions become incidents that are told once, whatever partition found what."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from detectors.fusion import fisher_bits
from stream.config import Config, Kafka, Respond
from stream.kept import unpack
from stream.merge import Merger, merge
from stream.signals import Signal
from tests.signals import found, signal
from tests.streams import DAY_MS, START_MS


def config(partitions: int, budget: float = 5.0, incidents_max: int = 1_000) -> Config:
    return Config(
        alerts_per_day_max=budget, kafka=Kafka(partitions=partitions), respond=Respond(incidents_max=incidents_max)
    )  # fmt: skip


@given(st.lists(st.floats(0.1, 60.0), min_size=1, max_size=8))
def test_bits_are_joined_as_fisher_joins_p_values(bits: list[float]) -> None:
    """-log2 of the chi-squared tail of -2 sum ln p with 2k degrees of freedom."""
    tail = stats.chi2.logsf(2.0 * math.log(2.0) * sum(bits), 2 * len(bits)) / math.log(2.0)
    assert fisher_bits(bits) == pytest.approx(-tail, abs=1e-6)


def test_chance_alone_is_not_joined_into_evidence() -> None:
    """Bits of independent chance are exponential: joined, they reach b bits no more often than 2^-b."""
    rng = np.random.default_rng(1)
    joined = [fisher_bits(rng.exponential(1.0 / math.log(2.0), 4).tolist()) for _ in range(20_000)]
    for b in (2.0, 5.0, 8.0):
        assert np.mean(np.array(joined) >= b) <= 1.2 * 2.0**-b + 1e-4


def test_with_one_partition_signals_pass_as_they_are() -> None:
    merger = Merger(config(1))
    for revision, status in ((1, "open"), (2, "update"), (3, "closed")):
        given = signal(0, revision=revision, status=status)
        assert merger.take(given)[1] == given


def test_what_all_partitions_find_of_one_key_is_one_alert_and_its_counts_add_up() -> None:
    merger = Merger(config(4))
    told = [merger.take(signal(n))[1] for n in range(4)]
    opened = [t for t in told if t is not None and t.status == "open"]
    assert len(opened) == 1
    (group,) = merger.groups.values()
    whole = merge(group, 4)
    assert (whole.records, whole.bytes, len(whole.subjects)) == (40.0, 400.0, 4)
    assert [place.origin for place in whole.places] == [f"kafka:access/{n}" for n in range(4)]
    assert whole.members[0].observed == 32.0


def test_evidence_of_several_partitions_weighs_more_than_any_and_less_than_the_sum() -> None:
    merger = Merger(config(4))
    for n in range(4):
        merger.take(signal(n))
    (group,) = merger.groups.values()
    alone, whole = signal(0).members[0], merge(group, 4).members[0]
    assert alone.bits < whole.bits < 4 * alone.bits
    assert whole.score - whole.bits == pytest.approx(alone.score - alone.bits)


def test_a_partition_alone_pays_for_the_others_that_might_have_found_it() -> None:
    merger = Merger(config(8))
    group, _ = merger.take(signal(3, score=12.0))
    assert merge(group, 8).score == 12.0 - 3.0


def test_signals_that_name_each_other_are_one_and_those_that_do_not_are_not() -> None:
    merger = Merger(config(4))
    merger.take(signal(0, "issuer", "key-7", related=(("network", "AS64500"),)))
    merger.take(signal(1, "network", "AS64500", related=(("issuer", "key-7"),)))
    merger.take(signal(2, "network", "AS64501", related=(("client", "curl"),)))
    merger.take(signal(3, "fleet", "fleet"))
    merger.take(signal(2, "fleet", "fleet"))
    assert sorted(len(g.parts) for g in merger.groups.values()) == [1, 1, 1, 2]


def test_a_day_after_its_end_the_same_entity_is_another_incident() -> None:
    merger = Merger(config(2))
    merger.take(signal(0))
    merger.take(signal(0, name="tl-later", at=START_MS + 3 * DAY_MS))
    assert len(merger.groups) == 2


def test_it_is_closed_once_every_partition_has_closed_and_told_once() -> None:
    merger = Merger(config(2))
    for n in range(2):
        merger.take(signal(n))
    assert merger.take(signal(0, revision=2, status="closed"))[1] is None
    last = merger.take(signal(1, revision=2, status="closed"))[1]
    assert last is not None and last.status == "closed"
    assert merger.take(signal(1, revision=2, status="closed"))[1] is None


@given(st.lists(st.lists(st.integers(1, 40), max_size=8), max_size=6))
def test_of_all_sketches_the_smallest_are_kept_and_no_more(sketches: list[list[int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stream.merge.SKETCH", 8)
        merger = Merger(config(2))
        for n, each in enumerate(sketches):
            given = signal(n % 2, revision=n + 1, subjects=(9,))
            merger.take(msgspec.structs.replace(given, subjects=sorted(set(each)), sources=sorted(set(each))))
        for group in merger.groups.values():
            naive = sorted({x for each in sketches for x in each})[:8]
            assert (sorted(group.subjects), sorted(group.sources)) == (naive, naive)
            assert (merge(group, 2).subjects, merge(group, 2).sources) == (naive, naive)


@pytest.mark.parametrize(("named", "after_s", "told"), [(3, 900, False), (4, 900, True), (4, 899, False)])
def test_it_is_told_again_once_many_more_are_named(named: int, after_s: int, told: bool) -> None:
    """Those who are blocked one by one; and not more often than is asked for."""
    merger = Merger(config(2))
    opened = merger.take(signal(0))[1]
    assert opened is not None
    more = [found("account", f"a-{n}", 12.0) for n in range(named)]
    given = signal(0, revision=2, status="update")
    given = msgspec.structs.replace(given, members=[*given.members, *more], told=given.told + after_s * 1000)
    update = merger.take(given)[1]
    assert (update is not None and update.status == "update") == told


def test_what_is_delivered_again_is_told_no_more() -> None:
    merger = Merger(config(4))
    for _ in range(3):
        told = [merger.take(signal(n))[1] for n in range(4)]
    assert told == [None] * 4


def test_the_budget_holds_over_all_partitions_and_what_is_held_back_is_counted() -> None:
    merger = Merger(config(8, budget=2.0))
    told = [merger.take(signal(n % 8, "network", f"AS{n}", score=13.0))[1] for n in range(50)]
    assert sum(t is not None and t.status == "open" for t in told) == 2
    assert merger.budget.held_back == {"budget": 48}


def changelog(merger: Merger, signals: list[Signal], batch: int, written: dict[bytes, bytes]) -> list[Signal | None]:
    """Take signals in by batches; what was told. written: what a table's changelog holds then."""
    told = []
    for at in range(0, len(signals), batch):
        told += [merger.take(s)[1] for s in signals[at : at + batch]]
        for key, value in merger.changes().items():
            if value is None:
                written.pop(key, None)
            else:
                written[key] = value
    return told


def restored(settings: Config, written: dict[bytes, bytes]) -> Merger:
    merger = Merger(settings, dict(written))
    merger.put(map(unpack, written.values()))
    return merger


@given(st.permutations(range(8)), st.integers(1, 7), st.integers(1, 4), st.sampled_from([5.0, 1.0]))
def test_started_again_from_what_was_kept_it_goes_on(order: list[int], at: int, batch: int, budget: float) -> None:
    """Groups, told or held back, and budget through the table, at any point: the same is told afterwards."""
    signals = [signal(n % 4, "network", f"AS{n // 4}", score=9.0 + n) for n in order]
    whole, first = (Merger(config(4, budget)) for _ in range(2))
    expected = [whole.take(s)[1] for s in signals]
    written: dict[bytes, bytes] = {}
    told = changelog(first, signals[:at], batch, written)
    second = restored(config(4, budget), written)
    second.budget.spent = msgspec.json.decode(msgspec.json.encode(first.budget.spent), type=type(first.budget.spent))
    told += [second.take(s)[1] for s in signals[at:]]
    assert told == expected


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 5), st.integers(0, 40))
def test_beyond_the_limit_the_quietest_is_forgotten_in_memory_and_in_the_table(
    values: list[int], batch: int, cut: int
) -> None:
    """Also by a process that took over at any batch, which has to know the order that they fell silent in."""
    signals = [signal(n % 2, "network", f"AS{value}", revision=n + 1) for n, value in enumerate(values)]
    written: dict[bytes, bytes] = {}
    for some in (signals[:cut], signals[cut:]):
        merger = restored(config(4, incidents_max=3), written)
        changelog(merger, some, batch, written)
    groups = list(merger.groups.values())
    latest = list(dict.fromkeys(f"AS{value}" for value in reversed(values)))[:3]
    assert [group.id.rpartition("-")[2] for group in groups] == latest[::-1]
    assert {key.decode() for key in written} == set(merger.groups)
    assert set(merger.open) <= set(merger.groups)
    assert set(merger._of) == {part for group in groups for part in group.parts} - set(merger.groups)
    assert {group for groups in merger._about.values() for group in groups} == set(merger.groups)


def test_what_is_about_all_traffic_is_known_by_its_id_alone() -> None:
    """It names nothing that another signal could share."""
    merger = Merger(config(4))
    told = [merger.take(signal(0, "fleet", "fleet", revision=n, status=s))[1] for n, s in ((1, "open"), (2, "closed"))]
    assert [each and each.status for each in told] == ["open", "closed"]


@pytest.mark.parametrize("kept", [bytes, zstandard.compress])
def test_incidents_as_versions_before_kept_them_are_known(kept: Callable[[bytes], bytes]) -> None:
    """In JSON, with each part's own sketches."""
    part = signal(1, subjects=(5, 9))
    before = {"id": part.id, "parts": {part.id: msgspec.to_builtins(part)}, "opened": True, "told_score": 10.0}
    merger = restored(config(4), {part.id.encode(): kept(msgspec.json.encode(before))})
    group, _ = merger.take(signal(2, subjects=(5, 7)))
    assert merge(group, 4).subjects == [5, 7, 9]
    assert merger.open == {part.id}


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(1, 60), max_size=5)), min_size=1, max_size=12))
def test_distinct_people_are_those_of_the_latest_signals_of_all_partitions(steps: list[tuple[int, list[int]]]) -> None:
    """A partition's sketch only grows."""
    merger, known, group = Merger(config(4)), dict[int, set[int]](), None
    for revision, (partition, more) in enumerate(steps, 1):
        known[partition] = known.get(partition, {100 + partition}) | set(more)
        group, _ = merger.take(signal(partition, revision=revision, subjects=tuple(sorted(known[partition]))))
    assert group is not None
    assert merge(group, 4).subjects == sorted(set().union(*known.values()))


@pytest.mark.parametrize("n", range(8))
def test_of_incidents_that_a_signal_belongs_to_it_joins_the_one_that_began_first(n: int) -> None:
    """Whatever order they are known in: another process may have read them back."""
    names = f"AS{n}2", f"AS{n}1"
    early, late = signal(0, "network", names[0], at=START_MS), signal(1, "network", names[1], at=START_MS + 1)
    both = msgspec.structs.replace(signal(2), members=[found("network", name) for name in names])
    for order in ((early, late), (late, early)):
        merger = Merger(config(4))
        for each in order:
            merger.take(each)
        assert merger.take(both)[0].id == early.id
