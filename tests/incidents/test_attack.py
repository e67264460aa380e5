"""The campaign keeps the mechanism, spread and pace of its figures, and nothing but them tells it from the rest."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from stream.events import TEXT_FIELDS
from stream.incidents import Incident, generate_labelled, list_incidents, load_incident, truth

Columns = dict[str, npt.NDArray[Any]]
Replay = Callable[..., Columns]
Log = Callable[..., Columns]
Figures = Callable[..., Incident]
DAY_MS = 86_400_000


def split(log: Columns) -> tuple[Columns, Columns]:
    """The campaign's events and the others."""
    ours = log["attack"]
    return {k: v[ours] for k, v in log.items()}, {k: v[~ours] for k, v in log.items()}


@pytest.mark.parametrize("accounts", [500_000, 1_000_000])
def test_the_pace_is_scaled_to_the_population(accounts: int) -> None:
    """870,000 requests a day for 33.7 million customers, and as many for each of ours."""
    known = truth(load_incident("forged-token"), accounts, 1.0, 3)
    per_day = known.requests / (known.end_ms - known.start_ms) * DAY_MS
    assert per_day / accounts == pytest.approx(870_000 / 33.7e6, rel=0.05)


def test_views_have_the_shares_that_were_published() -> None:
    """Four to five views a token, four in five of them of the address list; a quarter of the tokens fits nobody."""
    known = truth(load_incident("forged-token"), 500_000, 1.0, 3)
    assert known.requests / len(known.credentials) == pytest.approx(4.4, abs=0.2)
    assert known.subjects / len(known.accounts) == pytest.approx(33.7 / 44, abs=0.03)


def test_pages_have_the_shares_that_were_published(log: Log, figures: Figures) -> None:
    """148 million views of the address list to 34 million of the profile's edit page."""
    ours, _ = split(log(figures("attack", requests_per_account_day=5.0), accounts=1_000, days=2.0, seed=1))
    shares = {page: float((ours["resource"] == page).mean()) for page in set(ours["resource"])}
    assert shares["/api/address-list"] == pytest.approx(0.814, abs=0.03)
    assert shares["/api/profile/edit"] == pytest.approx(0.185, abs=0.03)
    assert set(shares) <= set(load_incident("forged-token").attack.pages)


def test_each_address_stays_below_the_threshold(log: Log, figures: Figures) -> None:
    """The pace is spread over as many addresses as keep each near 376 requests a day, at least twenty, overseas."""
    few, _ = split(log(load_incident("forged-token"), accounts=2_000, days=2.0, seed=1))
    assert len(set(few["source_ip"])) == 23  # of 8,640 requests a day
    many = figures("attack", requests_per_account_day=40.0, duration_days=1.0, start_window=(0.3, 0.3))
    ours, _ = split(log(many, accounts=2_000, days=2.0, seed=1))
    campaign = ours["time"] >= truth(many, 2_000, 2.0, 1).start_ms
    _, counts = np.unique(ours["source_ip"][campaign], return_counts=True)
    assert len(counts) == pytest.approx(40 * 2_000 / 376, abs=1.5)
    assert counts.max() < 376 * 1.15
    assert "KR" not in set(ours["country"])


def test_a_home_asks_once_in_ninety_seconds(replay: Replay) -> None:
    """Addresses, networks and clients of the careful thief are the customers' own; no address hurries."""
    log = replay("forged-token-residential")
    ours, others = split(log)
    for field in ("asn", "country"):
        assert set(ours[field]) <= set(others[field])
    assert np.isin(ours["user_agent"], others["user_agent"]).mean() > 0.99
    start = truth(load_incident("forged-token-residential"), 2_000, 8, 11).start_ms
    for address in set(ours["source_ip"]):
        gaps = np.diff(ours["time"][(ours["source_ip"] == address) & (ours["time"] >= start)])
        if len(gaps):
            assert gaps.min() > 70_000
            assert np.median(gaps) == pytest.approx(90_000, rel=0.15)


@pytest.mark.parametrize("seed", range(5))
def test_the_key_is_the_one_that_was_stolen(replay: Replay, seed: int) -> None:
    """Retired: rotated out before the campaign, still accepted. Current: the one that logins use at the time."""
    for name, newest in (("forged-token", False), ("forged-token-residential", True)):
        ours, others = split(replay(name, seed))
        assert len(set(ours["issuer"])) == 1
        last = others["issuer"][others["action"] == 0]
        kid = [issuer for issuer in last if issuer.startswith("login-")][-1]
        assert (ours["issuer"][0] == kid) is newest
        assert ours["issuer"][0] in set(last)


def test_no_token_was_issued(replay: Replay) -> None:
    """Forged tokens never see a login, and are nobody else's."""
    for name in list_incidents():
        ours, others = split(replay(name))
        assert not set(ours["credential"]) & set(others["credential"])
        assert not (ours["action"] == 0).any()


@pytest.mark.parametrize("name", list_incidents())
def test_the_truth_agrees_with_the_events(replay: Replay, name: str) -> None:
    """Labels, counts, times and entities of `truth` are those of the log."""
    ours, _ = split(replay(name))
    known = truth(load_incident(name), 2_000, 8, 11)
    assert set(ours["credential"]) == known.credentials
    assert set(ours["account"]) == known.accounts
    assert len(ours["time"]) == known.requests
    assert ours["records"].sum() == known.records
    assert len(set(ours["account"][ours["outcome"] == 0])) == known.subjects
    assert known.start_ms in ours["time"]
    before = ours["time"] < known.start_ms
    assert len(set(ours["credential"][before])) == len(known.trials_ms) == 0
    assert ours["time"].max() < known.end_ms
    fields = {"issuer": "issuer", "resource": "resource", "client": "user_agent", "network": "asn"}
    for kind, value in known.entities:
        assert value.removeprefix("AS") in set(map(str, ours[fields[kind]])), (kind, value)
    for block, attack in generate_labelled(load_incident(name), accounts=300, days=2, seed=5):
        assert np.array_equal(truth(load_incident(name), 300, 2, 5).event_is_attack(block), attack)


@pytest.mark.parametrize("name", list_incidents())
def test_no_pattern_gives_the_campaign_away(replay: Replay, name: str) -> None:
    """Names look like the customers'; each value but credential, account, object and place is used by others."""
    ours, others = split(replay(name))
    for field in ("action", "account_kind", "outcome", "group", "issuer", "resource", "id"):
        assert set(ours[field]) <= set(others[field]), field
    for field in TEXT_FIELDS:
        shapes = [{re.sub("[0-9a-f]", "0", text) for text in set(part[field])} for part in (ours, others)]
        if field not in ("source_ip", "country"):
            assert shapes[0] <= shapes[1], field
    assert ours["records"].max() <= others["records"].max()
    odd = np.mean([int(credential, 16) % 2 for credential in ours["credential"]])
    assert odd == np.mean([int(credential, 16) % 2 for credential in others["credential"] if credential])


def test_every_member_is_visited_once_before_any_is_again(log: Log, figures: Figures) -> None:
    """The walk is a permutation: a campaign long enough reads everybody."""
    incident = figures("attack", duration_days=2.0, start_window=(0.1, 0.1))
    ours, others = split(log(incident, accounts=200, days=3.0, seed=8))
    visits = list(dict.fromkeys(zip(ours["credential"], ours["account"], strict=True)))
    everybody = {account for _, account in visits}
    first_round = [account for _, account in visits[: len(everybody)]]
    assert set(first_round) == everybody
    assert {a for a in others["account"] if a.startswith("M")} <= set(first_round)


def test_start_and_length_are_figures(figures: Figures) -> None:
    """A replay can be moved and shortened."""
    known = truth(figures("attack", start_window=(0.5, 0.5), duration_days=0.25), 1_000, 2.0, 1)
    later = truth(figures("attack", start_window=(0.75, 0.75), duration_days=0.25), 1_000, 2.0, 1)
    assert later.start_ms - known.start_ms == DAY_MS // 2
    assert known.end_ms - known.start_ms == DAY_MS // 4


def test_truth_cannot_be_changed() -> None:
    """A score is held against what was planned."""
    known = truth(load_incident("forged-token"), 100, 1.0, 1)
    with pytest.raises(AttributeError):
        known.requests = 0  # type: ignore[misc]
    assert isinstance(msgspec.structs.asdict(load_incident("forged-token")), dict)
