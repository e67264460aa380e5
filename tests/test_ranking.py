"""Verdicts teach which kinds of evidence are worth it, and cannot teach to look away from what matters."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.alerts import EntityRef, severity_of
from stream.budget import Budget
from stream.feedback import SCHEMA, About, Entry
from stream.ranking import DEMOTE_BITS, PROMOTE_BITS, Piece, Ranking, counted, features_of, features_of_alert
from tests.pages import alert
from tests.streams import DAY_MS, START_MS

FALSE: list[list[Piece]] = [
    [("first_seen", "resource", 3600.0)],
    [("first_seen", "client", 3600.0), ("first_seen", "network", 3600.0)],
    [("volume", "account", 86_400.0)],
    [("miss_rate", "source", 1200.0)],
]
TRUE: list[list[Piece]] = [
    [("unissued", "issuer", 3600.0), ("first_seen", "network", 3600.0)],
    [("fan_out", "account", 1200.0), ("volume", "account", 1200.0)],
    [("enumeration", "credential", 1200.0)],
]


def said(number: int, pieces: list[Piece], real: bool, day: float, **more: Any) -> Entry:
    about = About(f"tl-{number}", 1, "", "high", EntityRef("account", "a"), (), (), features_of(pieces))
    return Entry(
        schema=SCHEMA, number=number, time_ms=START_MS + int(day * DAY_MS), who="eve", previous="",
        verdict="true" if real else "false", about=about, **more,
    )  # fmt: skip


def lessons(count: int = 60) -> list[Entry]:
    rng = np.random.default_rng(3)
    return [said(n, [*(TRUE, FALSE)[n % 2]][rng.integers(3)], n % 2 == 0, n / 3) for n in range(1, count)]


def month(seed: int, teach: bool, wrong: float = 0.1) -> Counter[str]:
    """Thirty days of incidents before a budget of five a day; verdicts come a day later, some of them wrong."""
    rng = np.random.default_rng(seed)
    budget, ranking = Budget(5.0), Ranking()
    entries: list[Entry] = []
    out: Counter[str] = Counter()
    times = np.sort(rng.uniform(0, 30, 200))
    for number, day in enumerate(times.tolist(), 1):
        now = START_MS + int(day * DAY_MS)
        real = bool(rng.random() < 0.12)
        kinds = TRUE if real else FALSE
        pieces = kinds[rng.integers(len(kinds))]
        score = float(4.0 + rng.exponential(3.5 if real else 2.5))
        flipped = bool(rng.random() < wrong)
        budget.refill(now)
        if teach:
            ranking.learn(entries, now)
        if score >= budget.least() and budget.afford(("account", f"a{number}"), score, ranking.bits(pieces)):
            out["found" if real else "false"] += 1
            entries.append(said(number, pieces, real != flipped, day + 1.0))
    return out


def test_over_a_month_there_are_far_fewer_false_alerts_and_no_fewer_finds_though_a_tenth_of_verdicts_is_wrong() -> None:
    taught, plain = Counter[str](), Counter[str]()
    for seed in range(6):
        taught += month(seed, teach=True)
        plain += month(seed, teach=False)
    assert taught["found"] >= plain["found"]
    assert taught["false"] <= 0.7 * plain["false"]


@given(st.lists(st.tuples(st.sampled_from(TRUE + FALSE), st.booleans()), max_size=40), st.sampled_from(TRUE + FALSE))
def test_a_rank_is_bounded_and_nothing_untaught_is_judged(
    taught: list[tuple[list[Piece], bool]], pieces: list[Piece]
) -> None:
    ranking = Ranking()
    ranking.learn([said(n, p, real, n) for n, (p, real) in enumerate(taught, 1)], 2**60)
    assert -DEMOTE_BITS <= ranking.bits(pieces) <= PROMOTE_BITS
    assert ranking.bits([("silence", "group", 60.0)]) == pytest.approx(0.0, abs=DEMOTE_BITS / 3)


def test_no_teaching_demotes_a_critical_or_a_planted_record() -> None:
    canary: list[Piece] = [("canary", "subject", 1.0)]
    ranking = Ranking()
    ranking.learn([said(n, pieces, False, n / 9) for n in range(1, 300) for pieces in (canary, FALSE[0])], 2**60)
    assert ranking.bits(canary) == 0.0
    assert ranking.bits(FALSE[0]) < -4.0
    for score in (20.0, 25.0, 60.0):
        assert severity_of(score) == "critical"
        assert Budget(1.0).afford(("account", "a"), score, -DEMOTE_BITS)
    budget = Budget(5.0)
    assert not budget.afford(("account", "a"), 5.0, -DEMOTE_BITS)
    assert budget.held_back == {"ranked": 1}
    assert budget.afford(("account", "b"), budget.least() + DEMOTE_BITS, -DEMOTE_BITS), "strong evidence opens anyway"


def test_identity_teaches_nothing() -> None:
    """Alerts about two different accounts with the same evidence are one and the same lesson."""
    one, other = features_of_alert(alert("ann")), features_of_alert(alert("bob"))
    assert one == other
    assert not any("ann" in name for name in one)


def test_what_was_taught_is_a_function_of_the_log_and_the_moment() -> None:
    """Learning bit by bit, from the start at any moment, or back in time: the same ranks."""
    entries = lessons()
    steps, probes = Ranking(), TRUE + FALSE
    for day in range(25):
        now = START_MS + day * DAY_MS
        steps.learn(entries[: 10 + 9 * day], now)
        fresh = Ranking()
        fresh.learn(entries, now)
        assert [steps.bits(p) for p in probes] == [fresh.bits(p) for p in probes]
    assert any(abs(steps.bits(p)) > 0.5 for p in probes)
    steps.learn(entries, START_MS + 2 * DAY_MS)
    early = Ranking()
    early.learn(entries, START_MS + 2 * DAY_MS)
    assert [steps.bits(p) for p in probes] == [early.bits(p) for p in probes]


def test_a_reset_forgets_the_days_since_and_nothing_else() -> None:
    entries = lessons()
    cut = START_MS + 8 * DAY_MS
    reset = Entry(schema=SCHEMA, number=99, time_ms=START_MS + 30 * DAY_MS, who="eve", previous="", reset_ms=cut)
    after, before = Ranking(), Ranking()
    after.learn([*entries, reset], 2**60)
    before.learn([entry for entry in entries if entry.time_ms < cut], 2**60)
    assert [after.bits(p) for p in TRUE + FALSE] == [before.bits(p) for p in TRUE + FALSE]
    assert 0 < after.taught < len(entries)


def test_of_one_alert_the_last_word_counts() -> None:
    entries = [said(1, TRUE[0], False, 1), said(2, TRUE[1], True, 2), said(1, TRUE[0], True, 3)]
    assert [(e.about.id, e.verdict) for e in counted(entries) if e.about] == [("tl-2", "true"), ("tl-1", "true")]
