"""The budget holds against chance and against whoever floods it."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.budget import LISTED_MAX, OUTSTANDING_BITS, Budget, Spent
from tests.streams import DAY_MS, START_MS

PER_DAY = 5.0


def flooded(score: float, count: int = 1_000) -> tuple[Budget, int]:
    """A budget after so many false alerts within an hour, and how many of them were opened."""
    budget = Budget(PER_DAY)
    opened = 0
    for n in range(count):
        budget.refill(START_MS + n * 3_600)
        opened += budget.afford(("source", f"bot-{n}"), score)
    return budget, opened


@settings(max_examples=15)
@given(st.floats(10.0, 40.0))
def test_a_thousand_false_alerts_do_not_hide_a_true_one_that_is_stronger(score: float) -> None:
    """Whatever they pretend to be: high, or critical, whose reserve they empty too."""
    budget, opened = flooded(score)
    assert opened <= 2 * PER_DAY
    assert budget.afford(("issuer", "stolen"), score + OUTSTANDING_BITS)
    assert budget.held_back == {"budget": 1_000 - opened}


def test_a_thousand_high_ones_leave_the_reserve_to_a_critical() -> None:
    budget, opened = flooded(19.0)
    assert opened <= PER_DAY
    assert budget.afford(("issuer", "stolen"), 20.5)


def test_a_true_one_that_is_no_stronger_is_held_back_by_name_at_the_head_of_the_list() -> None:
    budget, _ = flooded(14.0)
    assert not budget.afford(("issuer", "stolen"), 15.0)
    assert (budget.spent.strongest[0].kind, budget.spent.strongest[0].value) == ("issuer", "stolen")
    assert len(budget.spent.strongest) == LISTED_MAX


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0.0, 60.0), st.integers(0, DAY_MS // 8)), max_size=300))
def test_whatever_comes_a_day_has_a_bounded_number_of_alerts(steps: list[tuple[float, int]]) -> None:
    """Twice what two buckets hold in a day, and a handful that stand out: 60 bits by 6, and one more a day."""
    budget, now, times = Budget(PER_DAY), START_MS, []
    for n, (score, later) in enumerate(steps):
        now += later
        budget.refill(now)
        if budget.afford(("account", str(n)), score):
            times.append(now)
    for start in times:
        within = sum(start <= t < start + DAY_MS for t in times)
        assert within <= 4 * PER_DAY + 60.0 / OUTSTANDING_BITS + 2


@settings(max_examples=15)
@given(st.floats(10.0, 30.0))
def test_it_goes_on_from_what_was_kept(score: float) -> None:
    budget, _ = flooded(score, 50)
    again = Budget(PER_DAY)
    again.spent = msgspec.json.decode(msgspec.json.encode(budget.spent), type=Spent)
    for each in (score, score + OUTSTANDING_BITS, score + 1.0):
        assert again.afford(("account", "a"), each) == budget.afford(("account", "a"), each)
    assert again.spent == budget.spent
