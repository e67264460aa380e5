"""first_seen: accounts where they never were, and crowds of newcomers."""

from __future__ import annotations

from stream.events import AccessEvent
from tests.detectors.scenes import WHEN, entities, judged, usual
from tests.streams import DAY_MS, HOUR_MS, START_MS, event


def test_a_crowd_of_accounts_new_to_one_network_is_found() -> None:
    """Thirty customers arrive within ten minutes from one network overseas that none of them ever used."""
    crowd = [
        event(WHEN + n * 20_000, f"user-{n}", credential=f"x-{n}", source_ip=f"203.0.113.{n}", asn=64_500, country="XX")
        for n in range(30)
    ]  # fmt: skip
    found = entities(judged("first_seen", usual() + crowd))
    assert ("network", "AS64500") in found


def test_travellers_are_not() -> None:
    """The benign twin: every day some customers turn up at places of their own."""
    away = [
        event(START_MS + day * DAY_MS + n * 7_000_000, f"user-{(31 * day + 7 * n) % 150}", credential=f"x-{day}-{n}",
              source_ip=f"203.{n + 10 * day}.113.7")
        for day in range(8) for n in range(8)
    ]  # fmt: skip
    assert judged("first_seen", usual() + away) == []


def test_a_page_where_everybody_logs_in_is_no_place() -> None:
    """A morning on which sixty work from homes of their own: nobody has anything in common but the page."""
    storm = [
        event(WHEN + n * 30_000 + step * 5_000, f"user-{n}", "read" if step else "login", "/api" if step else "/login",
              credential=f"x-{n}", source_ip=f"203.{n}.113.7", asn=65_000 + n)
        for n in range(60) for step in range(2)
    ]  # fmt: skip
    assert ("resource", "/login") not in {
        (a.entity.kind, a.entity.value) for a in judged("first_seen", usual() + storm)
    }


def test_a_new_version_of_the_app_accuses_no_one() -> None:
    """Everybody has a new client from one day on."""
    events = usual()
    for each in events:
        if int(each.time) >= WHEN - 11 * HOUR_MS and each.account.startswith("user-"):
            each.user_agent = "Mozilla/6.0"
    assert judged("first_seen", events) == []


def test_a_service_in_a_network_where_it_never_was_is_found() -> None:
    """Its key works from a hosting network; services do not travel."""
    common = {"account_kind": "service", "issuer": "iam", "subject": ""}
    events = [
        event(START_MS + hour * HOUR_MS + job * 20_000, f"job-{job}", "export", "warehouse", credential=f"key-{job}",
              source_ip=f"10.0.0.{job}", user_agent="batch/1", **common)
        for hour in range(8 * 24) for job in range(80)
    ]  # fmt: skip
    moved = [
        event(
            WHEN + i * 60_000, "job-3", "export", "warehouse", credential="key-3", source_ip="203.0.113.77",
            asn=64_501, user_agent="curl/8", country="XX", **common,
        )
        for i in range(5)
    ]  # fmt: skip
    assert ("account", "job-3") in entities(judged("first_seen", events + moved, budget=10.0))


def machines(moves: int = 0) -> list[AccessEvent]:
    """Eighty jobs that run every hour on hosts of one network; `moves` of them on another host every time."""
    return [
        event(
            START_MS + hour * HOUR_MS + job * 20_000, f"job-{job}", "export", "warehouse", account_kind="service",
            credential=f"key-{job}", issuer="iam", subject="", user_agent="batch/1",
            source_ip=f"10.0.{hour % 250 if job < moves else 0}.{job}", asn=64_501,
        )
        for hour in range(8 * 24) for job in range(80)
    ]  # fmt: skip


def elsewhere(job: int) -> list[AccessEvent]:
    """A job on a host where it never was, a few steps from its own."""
    return [
        event(
            WHEN + i * 60_000, f"job-{job}", "export", "warehouse", account_kind="service", credential=f"key-{job}",
            issuer="iam", subject="", user_agent="batch/1", source_ip="10.0.0.251", asn=64_501,
        )
        for i in range(5)
    ]  # fmt: skip


def test_a_machine_on_another_host_of_its_network_is_found() -> None:
    """Its key works from a host where it never was, with the same client."""
    assert ("account", "job-50") in entities(judged("first_seen", machines() + elsewhere(50), budget=10.0))


def test_a_machine_that_has_another_host_every_time_is_not() -> None:
    """The benign twin: jobs that run wherever there is room."""
    assert judged("first_seen", machines(moves=40) + elsewhere(7), budget=10.0) == []


def test_a_session_replayed_from_home_is_not_found() -> None:
    """The evasion that its docstring admits."""
    home = [
        event(WHEN + n * 20_000, f"user-{n}", credential=f"x-{n}", source_ip=f"198.51.{n}.{n + 1}") for n in range(30)
    ]  # fmt: skip
    assert judged("first_seen", usual() + home) == []
