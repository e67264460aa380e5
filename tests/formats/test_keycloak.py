"""Keycloak's events: what each field becomes."""

from __future__ import annotations

import pytest

from tests.formats.records import Json, event, fixture, reason

FORMAT = "keycloak"
LOGIN, CODE, REFRESH, WRONG, CLIENT, INFO = (fixture(FORMAT, place) for place in range(6))
MANAGED, IMPERSONATED = fixture(FORMAT, 9), fixture(FORMAT, 10)


@pytest.mark.parametrize(("kind", "action"), [
    ("LOGIN", "login"), ("CODE_TO_TOKEN", "login"), ("REFRESH_TOKEN", "login"), ("TOKEN_EXCHANGE", "login"),
    ("IMPERSONATE", "login"), ("LOGOUT", "logout"), ("USER_INFO_REQUEST", "read"), ("UPDATE_PASSWORD", "write"),
    ("REGISTER", "write"), ("DELETE_ACCOUNT", "delete"), ("GRANT_CONSENT", "share"), ("REMOVE_TOTP", "admin"),
])  # fmt: skip
def test_the_type_says_what_was_done_and_its_end_whether_it_failed(kind: str, action: str) -> None:
    for end, outcome in (("", "success"), ("_ERROR", "failure")):
        found = event(FORMAT, LOGIN, {"type": kind + end})
        assert (found.action, found.outcome) == (action, outcome)


@pytest.mark.parametrize("kind", ["SEND_VERIFY_EMAIL", "CUSTOM_REQUIRED_ACTION", "TOMORROW"])
def test_what_is_no_access_is_said_to_be_so(kind: str) -> None:
    assert reason(FORMAT, LOGIN, {"type": kind}) == "not_an_access_event"


def test_a_session_stays_one_from_login_to_the_last_refresh() -> None:
    seen = [event(FORMAT, each) for each in (LOGIN, CODE, REFRESH)]
    assert {(each.account, each.credential, each.issuer, each.resource) for each in seen} == {
        ("5f1d7c02-user-0001", "sess-7f21", "north", "client:portal"),
    }  # fmt: skip


def test_the_account_is_the_user_then_the_name_then_the_client() -> None:
    assert event(FORMAT, WRONG).account == "jana@example.com"
    assert event(FORMAT, WRONG, {"details": {}}).account == "portal"
    assert event(FORMAT, WRONG, {"details": {}, "clientId": None}).account == "192.0.2.14"
    nobody: Json = {"details": {}, "clientId": None, "ipAddress": None}
    assert reason(FORMAT, WRONG, nobody) == "missing_field"


def test_a_client_that_logs_in_for_itself_is_a_service() -> None:
    assert (event(FORMAT, CLIENT).account_kind, event(FORMAT, LOGIN).account_kind) == ("service", "unknown")


def test_an_admin_event_is_who_did_it_and_to_what() -> None:
    found = event(FORMAT, MANAGED)
    assert (found.action, found.account, found.source_ip) == ("admin", "admin-1", "192.0.2.20")
    assert (found.resource, found.object) == ("realm:north:USER", "users/5f1d7c02-user-0001")


def test_who_impersonates_is_named_and_whose_data_is_asked_for() -> None:
    assert event(FORMAT, IMPERSONATED).object == "admin"
    assert (event(FORMAT, INFO).subject, event(FORMAT, LOGIN).subject) == ("5f1d7c02-user-0001", "")


def test_no_type_and_no_time_are_missing() -> None:
    assert reason(FORMAT, LOGIN, {"type": None}) == reason(FORMAT, LOGIN, {"time": None}) == "missing_field"
