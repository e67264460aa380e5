"""What was held back is reported once a day, all of it, by number and not by name."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from stream.budget import REASONS, Budget
from stream.withheld import WORDS, Reported, due
from tests.streams import DAY_MS, START_MS

STEPS = st.lists(st.tuples(st.integers(0, DAY_MS), st.sampled_from(REASONS), st.integers(0, 3)), max_size=30)


@given(STEPS)
def test_reports_add_up_to_what_was_held_back_and_no_day_has_two(steps: list[tuple[int, str, int]]) -> None:
    """Ended by a day on which nothing more comes."""
    budget, last, now, days = Budget(5.0), Reported(), START_MS, []
    sums = dict.fromkeys(REASONS, 0)
    for n, (later, reason, count) in enumerate([*steps, (DAY_MS, "budget", 0)]):
        now += later
        last, text = due(budget.spent, last, now)
        days += [now // DAY_MS] * bool(text)
        for each in REASONS:
            sums[each] += sum(int(found) for found in re.findall(rf"(\d+) {re.escape(WORDS[each])}", text))
        assert "user-" not in text
        for k in range(count):
            budget.hold_back(("account", f"user-{n}-{k}"), reason)
    assert {reason: count for reason, count in sums.items() if count} == budget.held_back
    assert len(days) == len(set(days))
