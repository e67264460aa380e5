"""Companies: the same for a seed, as messy as they say, and readable like any log."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from stream.decode import decode_batch, format_named
from stream.errors import UsageError
from stream.incidents.company import list_companies, load_company
from stream.incidents.drafts import ACCOUNT_KIND, ACTION, FAILURE, Draft, block_of, joined, take
from stream.incidents.jsonl import lines_of
from stream.incidents.timeline import DAY_MS, HOUR_MS
from stream.incidents.workday import workdays

DAYS, SCALE = 8, 0.06
LOGIN = ACTION["login"]


@cache
def log(company: str, seed: int = 3, days: int = DAYS) -> Draft:
    """All days of a small company."""
    return joined(day for _, day in workdays(load_company(company), scale=SCALE, days=days, seed=seed))


def test_there_are_other_kinds_of_company_than_a_retailer() -> None:
    assert set(list_companies()) >= {"hospital", "saas", "bank"}


@pytest.mark.parametrize("company", list_companies())
def test_a_log_is_the_same_for_a_seed_and_another_for_another(company: str) -> None:
    begun = [next(workdays(load_company(company), scale=SCALE, days=DAYS, seed=seed))[1] for seed in (3, 4)]
    whole = take(log(company), np.arange(len(begun[0]["time"])))
    assert all(np.array_equal(whole[name], column) for name, column in begun[0].items())
    assert set(begun[0]["source_ip"]) != set(begun[1]["source_ip"])


@pytest.mark.parametrize("company", list_companies())
def test_lines_are_written_in_order_and_every_one_can_be_read(company: str) -> None:
    whole = log(company)
    assert np.all(np.diff(whole["arrival"]) >= 0)
    assert np.all(whole["time"] <= whole["arrival"])
    some = take(whole, np.arange(3_000))
    lines = list(lines_of(block_of(some, 1)))
    block, rejected = decode_batch(format_named("native"), lines, "x", np.arange(1, len(lines) + 1), 2**60)
    assert not rejected
    assert block.text["subject"] == some["subject"].tolist()


@pytest.mark.parametrize("company", list_companies())
def test_most_tokens_were_issued_by_a_login_before_their_use(company: str) -> None:
    """Some logins are lost and some tokens are older than the log; machines have keys and never log in."""
    whole = log(company)
    people = whole["account_kind"] != ACCOUNT_KIND["service"]
    people &= whole["account_kind"] != ACCOUNT_KIND["partner"]
    issued = set(whole["credential"][whole["action"] == LOGIN])
    late = whole["arrival"] > whole["arrival"].min() + 6 * DAY_MS
    used = set(whole["credential"][people & late & (whole["action"] != LOGIN)])
    assert 0.8 < len(used & issued) / len(used) < 1.0


def test_panels_are_read_again_and_again_and_offices_rest() -> None:
    """Nurses see the same patients; billing is closed at the week-end; wards never are."""
    whole = log("hospital")
    nurses = take(whole, np.char.startswith(whole["account"].astype(str), "nurse") & (whole["subject"] != ""))
    _, counts = np.unique(nurses["subject"].astype(str), return_counts=True)
    assert np.median(counts) > 3
    day = (whole["time"] + HOUR_MS) // DAY_MS
    weekend = (day + 3) % 7 >= 5
    billing = np.char.startswith(whole["group"].astype(str), "billing")
    assert billing[weekend].mean() < 0.1 * billing[~weekend].mean()
    assert len(np.unique(day[np.char.startswith(whole["account"].astype(str), "nurse")])) >= DAYS


def test_exports_are_heavier_than_a_bell_curve() -> None:
    whole = log("bank")
    records = whole["records"][
        (whole["action"] == ACTION["export"]) & (whole["account_kind"] == ACCOUNT_KIND["employee"])
    ]
    assert records.max() > 20 * np.median(records)


def test_a_program_walks_its_pages_in_order_and_fails_now_and_then() -> None:
    whole = log("saas")
    walker = whole["account"] == "sync-000"
    numbers = [int(name.partition("-")[2]) for name in whole["object"][walker & (whole["outcome"] != FAILURE)]]
    assert len(numbers) > 50
    assert all(b == a + 1 for a, b in pairwise(numbers))
    assert (whole["outcome"] == FAILURE).any()


def test_an_outage_of_the_sign_ons_log_is_made_up_for_later() -> None:
    whole = log("bank", days=12)
    late = whole["arrival"] - whole["time"]
    assert late.max() > HOUR_MS
    assert set(whole["action"][late > HOUR_MS].tolist()) == {LOGIN}


def test_scale_is_the_number_of_people_and_arguments_have_limits() -> None:
    small, large = (
        joined(d for _, d in workdays(load_company("bank"), scale=s, days=1, seed=1)) for s in (0.05, 0.2)
    )  # fmt: skip
    assert len(np.unique(large["account"].astype(str))) > 2 * len(np.unique(small["account"].astype(str)))
    for wrong in ({"scale": 0.0}, {"days": 0}, {"seed": -1}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            next(workdays(load_company("bank"), **({"scale": 1.0, "days": 1, "seed": 1} | wrong)))
    with pytest.raises(UsageError, match="hospital"):
        load_company("hospitals")
    assert msgspec.structs.asdict(load_company("bank"))["title"]
