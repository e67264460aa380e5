"""Auth0 tenant logs: what each field of an event becomes."""

from __future__ import annotations

import pytest

from tests.formats.records import event, fixture, reason

FORMAT = "auth0"
LOGIN, WRONG, TOKEN, OUT, CLIENT, READ_USER, EXPORT, CHANGE, DENIED, STREAMED = (fixture(FORMAT, i) for i in range(10))


@pytest.mark.parametrize(("kind", "action", "outcome"), [
    ("s", "login", "success"), ("f", "login", "failure"), ("fp", "login", "failure"), ("seacft", "login", "success"),
    ("feacft", "login", "failure"), ("pwd_leak", "login", "failure"), ("limit_wc", "login", "failure"),
    ("slo", "logout", "success"), ("ss", "write", "success"), ("scp", "write", "success"), ("du", "delete", "success"),
])  # fmt: skip
def test_the_type_says_what_was_done_and_whether_it_was(kind: str, action: str, outcome: str) -> None:
    found = event(FORMAT, LOGIN, {"type": kind})
    assert (found.action, found.outcome) == (action, outcome)


@pytest.mark.parametrize("kind", ["gd_send_pn", "cls", "api_limit", "depnote", "tomorrow"])
def test_what_is_no_access_is_said_to_be_so(kind: str) -> None:
    assert reason(FORMAT, LOGIN, {"type": kind}) == "not_an_access_event"


def test_a_call_of_the_management_api_is_told_by_its_request() -> None:
    found = event(FORMAT, READ_USER)
    assert (found.action, found.resource, found.subject) == ("read", "/api/v2/users/{id}", "auth0|7001")
    assert (found.account, found.credential, found.issuer) == ("google-oauth2|1155", "jti-9", "north.auth.example")
    assert (
        event(FORMAT, READ_USER, {"details.request.path": "/api/v2/users/x/roles"}).resource
        == "/api/v2/users/{id}/roles"
    )
    assert [event(FORMAT, each).action for each in (EXPORT, CHANGE, DENIED)] == ["export", "write", "read"]
    assert event(FORMAT, DENIED).outcome == "failure"
    assert event(FORMAT, CHANGE).subject == ""
    assert reason(FORMAT, READ_USER, {"details.request.path": None}) == "missing_field"


def test_a_login_and_its_tokens_are_of_one_session() -> None:
    seen = {(found.credential, found.issuer) for found in (event(FORMAT, LOGIN), event(FORMAT, TOKEN))}
    assert seen == {("sess-7f21", "north.auth.example")}


def test_an_application_alone_is_a_service_and_a_user_is_unknown() -> None:
    found = event(FORMAT, CLIENT)
    assert (found.account, found.account_kind, found.resource) == ("BbSync2", "service", "app:CRM sync")
    assert event(FORMAT, LOGIN).account_kind == "unknown"
    assert event(FORMAT, LOGIN, {"user_id": None}).account == "jana@example.com"
    nobody = {"user_id": None, "user_name": None, "client_id": None}
    assert event(FORMAT, LOGIN, nobody).account == "192.0.2.14"
    assert reason(FORMAT, LOGIN, nobody | {"ip": None}) == "missing_field"


def test_an_event_in_a_stream_is_the_event_alone() -> None:
    streamed = event(FORMAT, {"log_id": LOGIN["log_id"], "data": {k: v for k, v in LOGIN.items() if k != "log_id"}})
    assert streamed == event(FORMAT, LOGIN)
    assert event(FORMAT, STREAMED).action == "write"
    assert reason(FORMAT, {"log_id": "1", "data": {}}) == "missing_field"
