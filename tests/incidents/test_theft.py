"""Thefts do what their figures say, in any company: labelled, in their time, with the identity that they claim."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from stream.errors import UsageError
from stream.evaluate.truth import Attack
from stream.incidents.company import list_companies, load_company
from stream.incidents.drafts import ACTION, Draft, joined, take
from stream.incidents.intruder import Intruder
from stream.incidents.laid import laid_over
from stream.incidents.theft import Theft, list_thefts, load_theft, varied
from stream.incidents.timeline import DAY_MS
from stream.incidents.workday import calendar_of, workdays

DAYS, SCALE, BEGINS = 7, 0.12, 4
LOGIN = ACTION["login"]


class Done(NamedTuple):
    """A log with one theft in it."""

    before: Draft
    mine: Draft
    others: Draft
    truth: Attack | None
    intruder: Intruder


@cache
def days(company: str) -> list[tuple[int, Draft]]:
    return list(workdays(load_company(company), scale=SCALE, days=DAYS, seed=5))


@cache
def done(name: str, twin: bool = False) -> Done:
    """The theft over a small company."""
    named = load_theft(name)
    return done_with(named.world, named.twin if twin else named.theft, name)


def done_with(company: str, theft: Theft, name: str = "x") -> Done:
    calendar = calendar_of(load_company(company), DAYS, 5)
    day = BEGINS
    while calendar.weekday(day) >= 5:
        day -= 1
    intruder = Intruder(name, theft, calendar.midnight(day), 5, load_company(company).subject)
    before: list[Draft] = []
    mine, others = [], []
    taken: set[str] = set()
    for begin, today in days(company):
        added = intruder.day(begin, today, joined(before[-14:]), taken)
        before.append(today)
        mine.append(added)
        others.append(today)
    whole = joined(others)
    return Done(take(whole, whole["time"] < intruder.start_ms), joined(mine), whole, intruder.truth(), intruder)


def reads(given: Draft) -> Draft:
    return take(given, given["action"] != LOGIN)


def names(column: npt.NDArray[Any]) -> set[str]:
    return set(column.tolist()) - {""}


@pytest.mark.parametrize("name", list_thefts())
def test_every_theft_and_every_twin_happens_within_its_time(name: str) -> None:
    for twin in (False, True):
        it = done(name, twin)
        assert len(it.mine["time"]), (name, twin)
        assert names(it.mine["attack"]) == {name}
        assert it.truth is not None
        assert it.truth.start_ms >= it.intruder.start_ms - 5_000
        assert it.truth.end_ms <= it.intruder.end_ms + 240_000
        kinds = {entity.kind for entity in it.truth.entities}
        assert kinds, name


def test_there_are_enough_of_them_for_every_company() -> None:
    worlds = [load_theft(name).world for name in list_thefts()]
    assert len(worlds) >= 25
    assert set(worlds) <= set(list_companies())
    assert min(worlds.count(company) for company in list_companies()) >= 8


def test_forged_tokens_were_never_issued_and_a_thiefs_logins_were() -> None:
    forged = done("forged-tokens")
    assert not names(forged.mine["credential"]) & names(forged.others["credential"])
    assert LOGIN not in forged.mine["action"]
    stuffed = done("credential-stuffing").mine
    issued = names(stuffed["credential"][stuffed["action"] == LOGIN])
    assert names(reads(stuffed)["credential"]) <= issued
    assert (stuffed["outcome"] != 0).sum() > len(issued)


def test_one_read_an_account_from_addresses_among_the_customers() -> None:
    it = done("credential-stuffing")
    _, count = np.unique(reads(it.mine)["account"].astype(str), return_counts=True)
    assert count.max() == 1
    assert set(it.mine["asn"].tolist()) <= set(it.before["asn"].tolist())


def test_what_is_stolen_was_in_use_and_what_is_at_home_is_where_it_was() -> None:
    replayed = done("session-replay")
    assert names(replayed.mine["credential"]) <= names(replayed.before["credential"])
    assert not set(replayed.mine["asn"].tolist()) & set(replayed.before["asn"].tolist())
    server = done("subscriber-store")
    (account,) = names(server.mine["account"])
    assert names(server.mine["source_ip"]) <= names(server.before["source_ip"][server.before["account"] == account])


def test_an_insider_reads_beside_their_own_work_at_a_multiple_of_it() -> None:
    it = done("slow-insider-2x")
    (account,) = names(it.mine["account"])
    own = take(it.others, (it.others["account"] == account) & (it.others["time"] >= it.intruder.start_ms))
    assert len(it.mine["time"]) == pytest.approx(len(reads(own)["time"]), rel=0.35)
    assert names(it.mine["credential"]) <= names(own["credential"])


def test_a_walk_goes_in_order_and_everybody_once_is_once() -> None:
    walked = done("dormant-endpoint").mine["subject"].tolist()
    assert sum(b < a for a, b in pairwise(walked)) == (len(walked) - 1) // len(set(walked))
    subjects = reads(done("colluding").mine)["subject"].tolist()
    assert len(set(subjects)) == len(subjects)


def test_guesses_miss_as_often_as_they_should() -> None:
    guessed = reads(done("fake-partners").mine)
    assert (guessed["outcome"] == 0).mean() == pytest.approx(0.32, abs=0.03)
    hit = names(guessed["subject"][guessed["outcome"] == 0])
    assert hit <= names(done("fake-partners").before["subject"])


def test_who_is_dormant_slept() -> None:
    it = done("dormant-account")
    (account,) = names(it.mine["account"])
    last = it.before["time"][it.before["account"] == account].max()
    everybody = [
        it.before["time"][it.before["account"] == name].max()
        for name in names(it.before["account"][np.char.startswith(it.before["account"].astype(str), "doctor")])
    ]
    assert last == min(everybody) or it.intruder.start_ms - last > 3 * DAY_MS


def test_a_planted_record_is_nobodys() -> None:
    it = done("honey-record")
    assert it.intruder.honey in names(it.mine["subject"])
    assert it.intruder.honey not in names(it.others["subject"])
    assert ("subject", it.intruder.honey) in {(e.kind, e.value) for e in (it.truth.entities if it.truth else ())}
    assert it.intruder.honey not in names(done("honey-record", twin=True).mine["subject"])


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_pace_is_a_parameter(factor: float) -> None:
    theft = load_theft("fake-partners").theft
    base = len(reads(done("fake-partners").mine)["time"])
    other = done_with("bank", varied(theft, pace_per_hour=theft.pace_per_hour * factor))
    assert len(reads(other.mine)["time"]) == pytest.approx(base * factor, rel=0.1)


def test_laid_over_a_log_it_leaves_everything_else_alone() -> None:
    company = load_company("hospital")
    calendar = calendar_of(company, DAYS, 5)
    plain = list(laid_over(days("hospital"), []))
    intruder = Intruder("x", load_theft("web-shell").theft, calendar.midnight(BEGINS), 5, company.subject)
    with_it = list(laid_over(days("hospital"), [intruder]))
    assert all((whose == "").all() for _, whose in plain)
    assert np.all(np.diff(np.concatenate([block.line for block, _ in with_it])) == 1)
    kept = [t for block, whose in with_it for t, w in zip(block.time.tolist(), whose, strict=True) if not w]
    assert kept == [t for block, _ in plain for t in block.time.tolist()]
    assert sum((whose != "").sum() for _, whose in with_it) > 10


def test_figures_are_held_to_their_limits() -> None:
    with pytest.raises(UsageError, match="no theft"):
        load_theft("nothing")
    with pytest.raises(UsageError, match="hit_share"):
        varied(load_theft("fake-partners").theft, hit_share=2.0)
    with pytest.raises(UsageError, match="paces"):
        varied(load_theft("fake-partners").theft, paces=1)
    assert msgspec.structs.asdict(load_theft("fake-partners").twin)["actors"] == 1
