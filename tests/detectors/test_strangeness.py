"""strangeness: how strange a network is to an account, and how rare it is that a session goes to one."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.baselines.strangeness import (
    FAMILIAR,
    FIRST_LEVEL,
    KNOWN_FIELDS,
    STRANGENESS,
    begin_day,
    count_hour,
    count_move,
    remember,
    strange_bits,
    strangeness,
    unknown_levels,
)

ACCOUNT = np.dtype([*KNOWN_FIELDS])
ROW = np.dtype([("strange", np.uint8, (2,)), ("strangest", np.uint8)])


def naive(visits: list[tuple[int, int]]) -> list[bool]:
    """Whether the network of each visit (day, network) was known by then: from an earlier day, or the first of all."""
    known: list[int] = []
    today: list[int] = []
    out = []
    for i, (day, network) in enumerate(visits):
        if i and day != visits[i - 1][0]:
            for each in reversed(today):
                known = [*known, each] if len(known) < 4 else [*known[:3], each]
            today = []
        out.append(network in known)
        if i == 0:
            known = [network]
        elif network in known:
            at = known.index(network)
            known.insert(max(at - 1, 0), known.pop(at))
        elif network not in today:
            today = [network, *today][:2]
    return out


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 7)), max_size=40))
def test_what_an_account_knows_is_what_the_twin_says(drawn: list[tuple[bool, int]]) -> None:
    """Days that end at any visit, and more networks than are remembered."""
    row = np.zeros(1, ACCOUNT)[0]
    day, visits, found = 0, [], []
    for ends, network in drawn:
        day += ends
        visits.append((day, network))
        if len(visits) > 1 and ends:
            begin_day(row)
        found.append(strangeness(row, np.uint16(network), FIRST_LEVEL) == FAMILIAR)
        remember(row, np.uint16(network), len(visits) == 1)
    assert found == naive(visits)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1e6, width=32), max_size=9))
def test_the_fewer_go_there_the_stranger_it_is(drawn: list[float]) -> None:
    """Always above what is known, never beyond the last level, and what nobody went to yet strangest of all."""
    sessions = np.array(drawn, np.float32)
    levels, newcomer = unknown_levels(sessions)
    assert [int(levels[i]) for i in np.argsort(sessions)] == sorted(levels.tolist(), reverse=True)
    assert STRANGENESS > newcomer >= max(levels.tolist(), default=0)
    assert min([newcomer, *levels.tolist()]) > FAMILIAR


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, STRANGENESS - 1), max_size=4), min_size=1, max_size=60))
def test_a_level_is_worth_how_seldom_hours_reach_it(drawn: list[list[int]]) -> None:
    """The empirical survival function of each hour's highest; what everybody does costs nothing."""
    hours = np.zeros(STRANGENESS)
    for levels in drawn:
        row = np.zeros(1, ROW)[0]
        count_hour(hours)
        for level in levels:
            row["strange"][1] = level
            count_move(hours, row, True)
    row = np.zeros(1, ROW)[0]
    for level in range(1, STRANGENESS):
        row["strange"][0] = level
        reached = max(sum(max(levels, default=0) >= level for levels in drawn), 1)
        assert math.isclose(strange_bits(hours, row), math.log2(len(drawn) / reached), abs_tol=1e-9)
    row["strange"] = 0
    assert strange_bits(hours, row) == 0.0
