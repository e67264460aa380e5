"""Origins that are read at different paces are scored in the order of time, and nothing is lost or held for ever."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.align import Aligner
from stream.blocks import PackedBlock, none, packed
from tests.streams import START_MS, block, event

Sent = tuple[str, PackedBlock, int, bool]


def of(origin: str, times: list[int], first: int = 1) -> PackedBlock:
    """Events of one origin at these seconds, numbered in their order."""
    return packed(block([event(START_MS + 1000 * t, "a") for t in times], origin=origin, first=first))


def places(blocks: list[PackedBlock]) -> list[tuple[str, int]]:
    return [(b.origins[o], n) for b in blocks for o, n in zip(b.origin.tolist(), b.line.tolist(), strict=True)]


def times(blocks: list[PackedBlock]) -> list[int]:
    return [t for b in blocks for t in b.time.tolist()]


def backlog(logs: dict[str, list[int]], cuts: st.DataObject) -> list[Sent]:
    """What is sent of some logs that wait to be read: a word of each, then batches, those of different logs mixed."""
    sent: list[Sent] = [(name, none(name), 0, bool(log)) for name, log in logs.items()]
    left = {name: 0 for name, log in logs.items() if log}
    while left:
        name = cuts.draw(st.sampled_from(sorted(left)))
        at, log = left[name], logs[name]
        size = cuts.draw(st.integers(1, len(log) - at))
        part = of(name, log[at : at + size], at + 1)
        left[name] = at + size
        more = at + size < len(log)
        if not more:
            del left[name]
        sent.append((name, part, max(part.time.tolist()), more))
    return sent


LOGS = st.dictionaries(st.sampled_from(["p0", "p1", "p2", "p3"]), st.lists(st.integers(0, 10_000)).map(sorted))


@given(LOGS, st.data())
def test_a_backlog_comes_out_in_the_order_of_time_whatever_is_read_first(
    logs: dict[str, list[int]], data: st.DataObject
) -> None:
    aligner, out = Aligner(), []
    for origin, part, watermark, more in backlog(logs, data):
        out += aligner.add(part, origin, watermark, more)
    assert times(out) == sorted(times(out))
    assert sorted(places(out)) == sorted((name, i + 1) for name, log in logs.items() for i in range(len(log)))
    assert aligner.held == aligner.forced == 0


@given(LOGS, st.data(), st.integers(1, 20))
def test_what_is_held_is_bounded_and_nothing_is_lost_by_it(
    logs: dict[str, list[int]], data: st.DataObject, held_max: int
) -> None:
    aligner, out = Aligner(held_max), []
    for origin, part, watermark, more in backlog(logs, data):
        out += aligner.add(part, origin, watermark, more)
        assert aligner.held <= held_max
    assert sorted(places(out)) == sorted((name, i + 1) for name, log in logs.items() for i in range(len(log)))


@given(LOGS, st.data())
def test_saved_and_loaded_it_goes_on_as_if_nothing_had_happened(
    logs: dict[str, list[int]], data: st.DataObject
) -> None:
    sent = backlog(logs, data)
    at = data.draw(st.integers(0, len(sent)))
    whole, first = Aligner(30), Aligner(30)
    expected = [places(whole.add(part, origin, w, more)) for origin, part, w, more in sent]
    found = [places(first.add(part, origin, w, more)) for origin, part, w, more in sent[:at]]
    second = Aligner(30)
    watermarks, held = first.save()
    second.load(watermarks, {name: array.copy() for name, array in held.items()})
    found += [places(second.add(part, origin, w, more)) for origin, part, w, more in sent[at:]]
    assert found == expected


def test_who_is_read_to_the_end_holds_nobody_back() -> None:
    """Live traffic passes at once, whatever the others do; one that is caught up with holds back what is later."""
    aligner = Aligner()
    assert places(aligner.add(of("p0", [50]), "p0", START_MS + 50_000, False)) == [("p0", 1)]
    assert places(aligner.add(of("p1", [10, 20]), "p1", START_MS + 20_000, True)) == [("p1", 1), ("p1", 2)]
    assert aligner.add(of("p0", [60], 2), "p0", START_MS + 60_000, False) == []
    last = aligner.add(of("p1", [30, 70], 3), "p1", START_MS + 70_000, False)
    assert places(last) == [("p1", 3), ("p0", 2), ("p1", 4)]


def test_of_events_at_one_time_the_one_that_came_first_stays_first() -> None:
    aligner = Aligner()
    aligner.add(none("p1"), "p1", 0, True)
    for i in range(5):
        assert aligner.add(of("p0", [7], i + 1), "p0", START_MS + 7_000, False) == []
    released = aligner.add(none("p1"), "p1", START_MS + 9_000, True)
    assert places(released) == [("p0", i + 1) for i in range(5)]
    assert np.diff(times(released)).tolist() == [0] * 4
