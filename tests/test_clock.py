"""Stream time: never falls, not moved far by one record, the same wherever a batch is cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.clock import LATE_MS, StreamClock

START = 1_700_000_000_000
HOUR = 3_600_000
FAR = 1_000 * HOUR
OFFSETS = (
    st.integers(-3 * HOUR, 3 * HOUR) | st.integers(-FAR, FAR) | st.sampled_from([0, HOUR, HOUR + 1, 2 * HOUR, FAR])
)
TIMES = st.lists(OFFSETS.map(lambda offset: START + offset), max_size=40)


def advance(clock: StreamClock, times: list[int]) -> tuple[list[int], list[int]]:
    stream, learn = clock.advance(np.array(times, np.int64))
    return stream.tolist(), learn.tolist()


@given(TIMES)
def test_stream_time_never_falls_and_never_passes_what_was_accepted(times: list[int]) -> None:
    clock = StreamClock(3_600.0)
    stream, learn = advance(clock, times)
    assert stream == sorted(stream)
    assert all(now <= max(times[: i + 1]) for i, now in enumerate(stream))
    assert set(learn) <= {0, 1}
    assert clock.now_ms == (stream[-1] if times else 0)


@given(TIMES, st.lists(st.integers(0, 40), max_size=5))
def test_where_a_batch_is_cut_changes_nothing(times: list[int], cuts: list[int]) -> None:
    whole, parts = StreamClock(3_600.0), StreamClock(3_600.0)
    edges = [0, *sorted(cuts), len(times)]
    pieces = [advance(parts, times[a:b]) for a, b in pairwise(edges)]
    assert advance(whole, times) == ([t for p in pieces for t in p[0]], [n for p in pieces for n in p[1]])
    assert whole.late == parts.late
    assert (whole.state == parts.state).all()


@given(st.integers(1, 10**6), st.integers(HOUR + 1, FAR), st.lists(st.integers(0, 1_000), min_size=1, max_size=20))
def test_one_record_from_the_future_does_not_move_the_clock(step: int, ahead: int, steps: list[int]) -> None:
    """It is scored at the clock's time and not learned from, and the records after it are as if it were not there."""
    with_it, without = StreamClock(3_600.0), StreamClock(3_600.0)
    after = (START + np.cumsum(steps)).tolist()
    stream, learn = advance(with_it, [START, START + ahead, *after])
    assert (stream[1], learn[1]) == (START, 0)
    expected, _ = advance(without, [START, *after])
    assert stream[2:] == expected[1:]
    assert learn[2:] == [1] * len(after)
    assert with_it.late == 0


@given(st.integers(2 * HOUR + 1, FAR), st.integers(-HOUR, HOUR))
def test_two_records_that_agree_move_the_clock(ahead: int, apart: int) -> None:
    """To what both of them have reached, or on to the second when that is an ordinary step."""
    clock = StreamClock(3_600.0)
    stream, learn = advance(clock, [START, START + ahead, START + ahead + apart])
    assert stream == [START, START, START + ahead + apart]
    assert learn == [1, 0, 1]
    assert advance(clock, [START + ahead + apart + HOUR])[0] == [START + ahead + apart + HOUR]


@given(st.lists(st.integers(-FAR, HOUR), max_size=30))
def test_late_is_what_came_more_than_five_minutes_behind(offsets: list[int]) -> None:
    clock = StreamClock(3_600.0)
    latest, late = START, 0
    advance(clock, [START])
    for offset in offsets:
        advance(clock, [latest + offset])
        late += offset < -LATE_MS
        latest = max(latest, latest + offset)
        assert (clock.now_ms, clock.late) == (latest, late)


def test_an_ordinary_step_is_taken_up_to_the_jump_itself() -> None:
    clock = StreamClock(60.0)
    assert advance(clock, [START, START + 60_000, START + 120_001]) == (
        [START, START + 60_000, START + 60_000],
        [1, 1, 0],
    )


def test_two_records_years_apart_do_not_agree() -> None:
    clock = StreamClock(3_600.0)
    advance(clock, [START, START + FAR, START + 1_000, START + 50 * FAR])
    assert clock.now_ms == START + 1_000


def test_a_record_whose_time_is_not_believed_is_not_learned_from() -> None:
    clock = StreamClock(3_600.0)
    walk = [START + i * HOUR // 2 for i in range(8)]  # the clock passes the jump that waits, which stays
    stream, learn = advance(clock, [START, START + 2 * HOUR, *walk, START + FAR])
    assert stream[-1] == walk[-1]
    assert learn[-1] == 0
