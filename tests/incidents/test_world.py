"""Every benign oddity is there when its figure says so, and gone when the figure is zero."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from stream.events import ACCOUNT_KINDS, ACTIONS
from stream.incidents import Incident, load_incident

Columns = dict[str, npt.NDArray[Any]]
Replay = Callable[[str], Columns]
Figures = Callable[..., Incident]
Log = Callable[..., Columns]
QUIET = {"accounts": 1_500, "days": 4.0, "seed": 21, "attack": False}
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LOGIN = ACTIONS.index("login")


def chosen(log: Columns, mask: npt.NDArray[np.bool_]) -> Columns:
    return {name: column[mask] for name, column in log.items()}


def customers(log: Columns) -> Columns:
    """The benign events of customers."""
    return chosen(log, (log["account_kind"] == ACCOUNT_KINDS.index("customer")) & ~log["attack"])


def named(log: Columns, prefix: str) -> Columns:
    return chosen(log, np.array([account.startswith(prefix) for account in log["account"]], np.bool_))


def sets(keys: npt.NDArray[Any], values: npt.NDArray[Any]) -> dict[Any, set[Any]]:
    found: dict[Any, set[Any]] = defaultdict(set)
    for key, value in zip(keys, values, strict=True):
        found[key].add(value)
    return found


def test_most_customers_are_light_and_a_few_are_heavy(replay: Replay) -> None:
    """About ten events an account and day; the median far below; one customer in a hundred has a tenth."""
    log = replay("forged-token")
    assert 8 < len(log["time"]) / 2_000 / 8 < 12
    _, counts = np.unique(customers(log)["account"], return_counts=True)
    counts.sort()
    assert np.median(counts) < counts.mean() / 1.7
    assert counts[-20:].sum() > 0.1 * counts.sum()


def test_days_and_nights_follow_the_figures(log: Log, figures: Figures) -> None:
    """Hours of the wall clock have the shares that the world file gives them."""
    incident = figures("sale", factor=1.0)
    local = customers(log(incident, **QUIET))["time"] + int(incident.world.utc_offset_h * HOUR_MS)
    counts = np.bincount(local // HOUR_MS % 24, minlength=24)
    assert np.corrcoef(counts, incident.world.hours)[0, 1] > 0.97


def test_a_sale_lifts_everybody_within_hours(log: Log, figures: Figures) -> None:
    """On the sale day customers do what the factor says; without it no day is like that."""

    def busiest(factor: float) -> float:
        time = customers(log(figures("sale", factor=factor), **QUIET))["time"]
        per_day = np.convolve(np.bincount((time - time[0]) // HOUR_MS), np.ones(24), "valid")
        return float(per_day.max() / np.median(per_day))

    assert busiest(1.0) < 1.4
    assert busiest(3.0) > busiest(1.0) * 1.4


def test_a_key_is_rotated_and_the_old_one_dies_out(log: Log, figures: Figures) -> None:
    """New tokens carry the new key from one moment on; the old key's are gone when the last token has been replaced."""
    quiet = customers(log(figures("keys", rotation=True, token_days=1.0), **QUIET))
    logins = chosen(quiet, (quiet["action"] == LOGIN) & (quiet["issuer"] != ""))
    old, new = dict.fromkeys(logins["issuer"])
    rotated = logins["time"][logins["issuer"] == new].min()
    assert logins["time"][logins["issuer"] == old].max() <= rotated
    assert rotated < quiet["time"][quiet["issuer"] == old].max() < rotated + 1.1 * DAY_MS
    still = customers(log(figures("keys", rotation=False), **QUIET))
    assert len(set(still["issuer"][still["action"] == LOGIN]) - {""}) == 1


def test_hundreds_share_a_carriers_address(log: Log, figures: Figures) -> None:
    """Phones roam behind few addresses; without roaming only a household shares one."""

    def most_shared(**values: float) -> int:
        events = customers(log(figures("customers", **values), **QUIET))
        return max(map(len, sets(events["source_ip"], events["account"]).values()))

    assert most_shared() > 100
    assert most_shared(roam_share=0.0, roam_midway_share=0.0) < 5


def test_a_session_changes_networks_midway(log: Log, figures: Figures) -> None:
    """One credential on two networks is a phone that moved; switched off, each credential has one network."""

    def moved(midway: float) -> int:
        incident = figures("customers", roam_share=0.0, roam_midway_share=midway, traveller_share=0.0)
        events = customers(log(incident, **QUIET))
        used = events["credential"] != ""
        return sum(len(networks) > 1 for networks in sets(events["credential"][used], events["asn"][used]).values())

    assert moved(0.2) > 50
    assert moved(0.0) == 0


def test_travellers_are_abroad(log: Log, figures: Figures) -> None:
    """A few customers come from elsewhere, at home before or after; none does without travellers and tunnels."""

    def abroad(**values: float) -> float:
        events = customers(log(figures("customers", tunnel_share=0.0, **values), **QUIET))
        return len(set(events["account"][events["country"] != "KR"])) / len(set(events["account"]))

    assert 0.01 < abroad(traveller_share=0.03) < 0.12
    assert abroad(traveller_share=0.0) == 0


def test_some_logins_never_reach_the_log(log: Log, figures: Figures) -> None:
    """Credentials that no login issued: the lost share, or none at all."""

    def unissued(lost: float) -> float:
        incident = figures("customers", lost_login_share=lost, began_before_share=0.0, late_share=0.0)
        events = customers(log(incident, **QUIET))
        used = set(events["credential"][events["action"] != LOGIN])
        return len(used - set(events["credential"][events["action"] == LOGIN])) / len(used)

    assert 0.02 < unissued(0.04) < 0.06
    assert unissued(0.0) == 0


def test_some_sessions_began_before_the_stream(log: Log, figures: Figures) -> None:
    """Phones hold tokens whose login nobody saw, and they are replaced in time."""
    incident = figures("customers", lost_login_share=0.0, began_before_share=0.9)
    events = customers(log(incident, **QUIET))
    issued = set(events["credential"][events["action"] == LOGIN])
    unseen = np.array([credential not in issued for credential in events["credential"]])
    unseen &= events["credential"] != ""
    assert len(set(events["credential"][unseen])) > 100
    assert events["time"][unseen].max() < events["time"][0] + 2.2 * DAY_MS


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_failures_have_the_share_of_the_figures(log: Log, figures: Figures, share: float) -> None:
    """Logins take a second attempt, views give nothing, as often as the world file says."""
    incident = figures("customers", failed_login_share=share, failed_view_share=share, lost_login_share=0.0)
    events = customers(log(incident, **QUIET))
    login, failed = events["action"] == LOGIN, events["outcome"] == 1
    assert failed[login].sum() / (login & ~failed).sum() == pytest.approx(share, abs=0.02)
    assert failed[~login].mean() == pytest.approx(share, abs=0.01)
    assert not events["records"][failed].any()


def test_a_release_reaches_one_phone_after_another(log: Log, figures: Figures) -> None:
    """The new version's share of the app's use rises from nothing; without a release nobody has it."""
    events = customers(log(figures("release", version="9.9.9", days=1.0), **QUIET))
    app = np.array(["ShopApp" in name for name in events["user_agent"]])
    new = np.array(["9.9.9" in name for name in events["user_agent"][app]])
    quarters = [part.mean() for part in np.array_split(new, 8)]
    assert quarters[0] == 0
    assert quarters[-1] == 1
    assert any(0.1 < part < 0.9 for part in quarters)
    none = log(figures("release", version=""), **QUIET)
    assert not any("9.9.9" in name for name in set(none["user_agent"]))


def test_agents_work_shifts_and_read_customers(replay: Replay) -> None:
    """Support names other people as subject, mostly from the office, and every agent has days off."""
    agents = chosen(replay("forged-token"), replay("forged-token")["group"] == "support")
    reads = chosen(agents, agents["action"] == ACTIONS.index("read"))
    assert len(set(reads["subject"])) > 300
    assert all(subject.startswith("M") for subject in set(reads["subject"]))
    local_days = (agents["time"] + 9 * HOUR_MS) // DAY_MS
    assert all(len(days) < 8 for days in sets(agents["account"], local_days).values())


def test_exports_are_heavy_tailed(log: Log) -> None:
    """The largest of the analysts' exports is far above the median: a bell curve on records would cry every week."""
    events = log(load_incident("forged-token"), accounts=1_500, days=30.0, seed=2, attack=False)
    records = events["records"][events["group"] == "analytics"]
    assert records.max() > 15 * np.median(records[records > 0])


def test_backups_run_each_night_and_some_again(log: Log, figures: Figures) -> None:
    """One run of all tables a night and backup; with a rerun on every night, two."""
    once = named(log(figures("services", rerun_share=0.0), **QUIET), "svc-backup")
    twice = named(log(figures("services", rerun_share=1.0), **QUIET), "svc-backup")
    assert len(once["time"]) == 4 * 2 * 14
    assert len(twice["time"]) == 2 * len(once["time"])


def test_a_new_service_starts_during_the_window(log: Log, figures: Figures) -> None:
    """It is not there at first, and then regular."""
    events = named(log(load_incident("forged-token"), **QUIET), "svc-recommend")
    start = log(load_incident("forged-token"), **QUIET)["time"][0]
    assert 0.25 < (events["time"][0] - start) / DAY_MS / QUIET["days"] < 0.7
    assert np.abs(np.diff(events["time"]) - 300_000).max() <= 2_000
    assert not len(named(log(figures("services", new_services=0), **QUIET), "svc-recommend")["time"])


@pytest.mark.parametrize(
    ("section", "values", "prefix"),
    [
        ("services", {"backups": 0}, "svc-backup"),
        ("services", {"batch_jobs": 0}, "svc-batch"),
        ("services", {"crawlers": 0}, "svc-crawler"),
        ("services", {"partners_min": 0, "partners_per_account": 0.0}, "partner"),
        ("staff", {"support_agents_min": 0, "support_agents_per_account": 0.0, "analysts_min": 0}, "emp-"),
    ],
)
def test_whoever_is_switched_off_is_gone(
    log: Log, replay: Replay, figures: Figures, section: str, values: dict[str, float], prefix: str
) -> None:
    """Machines and staff are there by default, and not when the figures leave them out."""
    assert len(named(replay("forged-token"), prefix)["time"]) > 50
    incident = figures(section, **values)
    assert not len(named(log(incident, **QUIET), prefix)["time"])


def test_worlds_differ_by_seed(log: Log) -> None:
    """Networks, their number, the weekday of the start: no detector can learn one world by heart."""
    worlds = [log(load_incident("forged-token"), **{**QUIET, "seed": seed, "days": 0.5}) for seed in range(6)]
    assert len({len(set(world["asn"])) for world in worlds}) > 2
    assert len({world["time"][0] // DAY_MS for world in worlds}) > 2
