"""unissued: tokens that are used and that no login issued."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from msgspec.structs import replace

from detectors import catalog
from detectors.base import FINDING
from detectors.baselines.calibration import LEVELS
from detectors.baselines.share import TRIAL
from detectors.catalog.unissued import NETWORK, _of_days
from stream.config import Config
from stream.events import AccessEvent
from tests.detectors.scenes import WHEN, entities, judged, usual
from tests.streams import DAY_MS, HOUR_MS, START_MS, block, event, run

ALONE = Config(detectors={each: each == "unissued" for each in catalog.detector_ids()}, warmup_h=72.0)


def tokens(count: int, prefix: str = "forged", gap_ms: int = 20_000) -> list[AccessEvent]:
    """Accounts read with a token each, from as many addresses."""
    return [
        event(WHEN + n * gap_ms + view * 2_000, f"user-{n}", credential=f"{prefix}-{n}", source_ip=f"203.0.{n}.9")
        for n in range(count) for view in range(4)
    ]  # fmt: skip


def slow(prefix: str = "slow") -> list[AccessEvent]:
    """One in forty minutes for a day and a half, from a few addresses of one network."""
    return [
        event(WHEN - 30 * HOUR_MS + n * 2_400_000 + view * 2_000, f"user-{n}", credential=f"{prefix}-{n}",
              source_ip=f"203.0.113.{n % 5}", asn=64_500)
        for n in range(54) for view in range(3)
    ]  # fmt: skip


def logins(reads: Iterable[AccessEvent], late_ms: int) -> list[AccessEvent]:
    """A login for each token, so much after its first use."""
    first: dict[str, AccessEvent] = {}
    for each in reads:
        first.setdefault(str(each.credential), each)
    return [
        event(int(e.time) + late_ms, e.account, "login", "/login", credential=name, source_ip=e.source_ip, asn=e.asn,
              records=0)
        for name, e in first.items()
    ]  # fmt: skip


def test_forged_tokens_are_found_by_the_key_that_they_share() -> None:
    """Each account and address is normal: four pages. The issuer is not."""
    alerts = judged("unissued", usual() + tokens(30))
    assert alerts
    assert ("issuer", "key-1") in entities(alerts)
    assert "no login issued" in alerts[0].title


def test_tokens_that_a_login_issued_are_not() -> None:
    """The benign twin: as many new tokens at the same pace, each issued just before."""
    reads = tokens(30)
    assert judged("unissued", usual() + reads + logins(reads, -1_000)) == []


def test_a_few_an_hour_are_found_by_the_day() -> None:
    """No hour has five of them; the network that they come from has no others."""
    alerts = judged("unissued", usual() + slow())
    assert ("network", "AS64500") in entities(alerts)
    assert {each.window_s for alert in alerts for each in alert.evidence} == {86_400.0}


def test_as_many_new_users_of_a_network_are_not() -> None:
    """The benign twin: each has logged in, one in ten without the log's knowing."""
    reads = slow()
    known = [e for e in reads if int(str(e.credential).partition("-")[2]) % 10]
    assert judged("unissued", usual() + reads + logins(known, -1_000)) == []


def test_a_login_after_the_grace_takes_its_token_back() -> None:
    """From the day's count too: a feed that is an hour late is no forger."""
    reads = slow()
    assert judged("unissued", usual() + reads + logins(reads, 200_000)) == []


def test_logins_that_came_late_hide_nobody() -> None:
    """Twenty of the same network are taken back on that morning; who forges all day is found as without them."""
    late = [
        event(WHEN - 29 * HOUR_MS + n * 120_000, f"user-{n}", credential=f"late-{n}", source_ip="203.0.113.9",
              asn=64_500)
        for n in range(20)
    ]  # fmt: skip
    alerts = judged("unissued", usual() + slow() + late + logins(late, 600_000))
    assert ("network", "AS64500") in entities(alerts)


def test_logins_that_are_written_late_are_waited_for() -> None:
    """A minute late is within the grace of two."""
    reads = tokens(30)
    assert judged("unissued", usual() + reads + logins(reads, 60_000)) == []


def without_logins(events: list[AccessEvent]) -> list[AccessEvent]:
    """For three hours none reaches the log."""
    return [e for e in events if not (e.action == "login" and WHEN - 3 * HOUR_MS <= int(e.time) < WHEN)]


def app(n: int, at: int, version: int = 0) -> list[AccessEvent]:
    """The login of an app, which keeps its token, and a look every third hour of the day after."""
    token = {"credential": f"app-{n}-{version}", "source_ip": f"198.18.{n % 100}.{n % 250}"}
    looks = [event(at + hour * HOUR_MS + 5_000, f"app-user-{n}", **token) for hour in range(0, 24, 3)]
    return [event(at, f"app-user-{n}", "login", "/login", records=0, **token), *looks]


def test_a_login_feed_that_falls_silent_is_no_alert() -> None:
    """Apps log in all day, thirty an hour, so that the feed is soon missed."""
    apps = [e for day in range(8) for n in range(720) for e in app(n, START_MS + day * DAY_MS + n * 120_000, day)]
    assert judged("unissued", without_logins(usual() + apps)) == []


def test_a_feed_that_is_delivered_after_all_takes_no_forged_token_with_it() -> None:
    """Its first uses were excused, and count nothing in the day; neither does it that their logins come in the end."""
    apps = [e for day in range(8) for n in range(720) for e in app(n, START_MS + day * DAY_MS + n * 120_000, day)]
    feed = [e for e in apps if e.action == "login" and WHEN - 3 * HOUR_MS <= int(e.time) < WHEN]
    late = [replace(e, time=int(e.time) + 3 * HOUR_MS) for e in feed]
    days = []
    for delivered in ([], late):
        events = [*without_logins([*usual(), *apps]), *slow(), *delivered]
        pipeline, _ = run([block([e for e in events if int(e.time) < WHEN + 3 * HOUR_MS])], ALONE)
        issuers = pipeline.tables["issuer"]
        days.append(float(issuers.columns["unissued"][issuers.slot("key-1")]["day"]["day_hits"][0]))
    before, after = days
    assert len(late) > 60
    assert 15.0 <= after <= before


def test_a_login_feed_of_few_that_falls_silent_is_one_weak_alert_at_most() -> None:
    """In the hours of most logins; before three are due by what a day has, five tokens without one may have come."""
    apps = [e for day in range(8) for n in range(300) for e in app(n, START_MS + day * DAY_MS + n * 1_000)]
    alerts = judged("unissued", without_logins(usual() + apps))
    assert len(alerts) <= 1
    assert all(alert.severity in ("low", "medium") for alert in alerts)


def test_forged_tokens_are_not_excused_by_what_else_the_forger_reads() -> None:
    """With a session of his own he makes the traffic look as if many logins were due."""
    reads = [event(WHEN - HOUR_MS + n * 500, "forger") for n in range(12_000)]
    alerts = judged("unissued", usual() + logins(reads, -1_000) + reads + tokens(30))
    assert ("issuer", "key-1") in entities(alerts)


def test_what_no_login_covers_is_not_judged() -> None:
    """Services use keys that were made long ago: nobody saw them issued, and nobody calls them forged."""
    keys = [
        event(int(e.time), e.account, credential=f"new-{e.credential}", issuer="iam-2", account_kind="service")
        for e in tokens(30)
    ]  # fmt: skip
    assert ("issuer", "iam-2") not in entities(judged("unissued", usual() + keys))


def test_before_credentials_can_be_known_none_is_judged() -> None:
    """The cold start: within a session's lifetime of the beginning, a token may be older than the log."""
    early = [
        event(int(e.time) - WHEN + START_MS + 12 * HOUR_MS, e.account, credential=e.credential)
        for e in tokens(30)
    ]  # fmt: skip
    assert judged("unissued", usual() + early, warmup_h=0.0) == []


def test_a_stolen_session_is_not_found_here() -> None:
    """The evasion that its docstring admits: a token that was issued, used by another."""
    stolen = [
        event(WHEN + n * 20_000, f"user-{n}", credential=f"t-{n}-5", source_ip=f"203.0.{n}.9") for n in range(30)
    ]  # fmt: skip
    assert judged("unissued", usual() + stolen) == []


def forged_after(lost: list[tuple[int, float]]) -> float:
    """The most bits of a day with forty forged tokens, behind ten clean ones of two hundred first uses each; lost:
    hits of that morning, with their excuses, and what takes them back. One key has all of them."""
    clean = [(day * DAY_MS + n * 400_000, 0, 0.0) for day in range(10) for n in range(200)]
    morning = 10 * DAY_MS
    early = [(morning + n * 60_000, hit, excuse) for n, (hit, excuse) in enumerate(lost)]
    forged = [(morning + 4 * HOUR_MS + n * 1_200_000, 1, 0.0) for n in range(40)]
    trials = np.zeros(len(clean) + len(early) + len(forged), TRIAL)
    for row, (at, hit, excuse) in zip(trials, [*clean, *early, *forged], strict=True):
        row["time"], row["hit"], row["excuse"], row["event"] = START_MS + at, hit, excuse, -1
    out = np.zeros(len(trials), FINDING)
    found = _of_days(
        np.zeros(1, NETWORK)["day"], trials, False, START_MS + 2 * DAY_MS, 2, np.zeros(3), np.zeros(2),
        np.zeros(LEVELS, np.int64), 0, np.zeros(2), out,
    )  # fmt: skip
    return float(out[:found]["bits"].max(initial=0.0))


@pytest.mark.parametrize(("lost", "instead"), [
    ([(1, 0.0)] * 30 + [(-1, 0.0)] * 30, [(0, 0.0)] * 30),  # late logins: as if they had come in time
    ([(1, 0.9)] * 30 + [(-1, 1.0)] * 30, []),  # a feed that was silent, and is delivered after all: they never counted
])  # fmt: skip
def test_what_was_taken_back_leaves_the_day_as_it_was(
    lost: list[tuple[int, float]], instead: list[tuple[int, float]]
) -> None:
    """Of the key, and of what its peers show."""
    assert abs(forged_after(lost) - forged_after(instead)) < 1.0 < forged_after(instead)
