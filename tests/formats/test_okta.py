"""Okta's System Log: what each field of an event becomes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.formats.records import Json, event, fixture, reason

START, SSO, GHOST, SHOWN, RESET, REPORT, TOKEN = (fixture("okta", place) for place in range(7))


@pytest.mark.parametrize(("kind", "action"), [
    ("user.session.start", "login"), ("user.authentication.auth_via_mfa", "login"), ("user.session.end", "logout"),
    ("app.oauth2.token.grant.refresh_token", "login"), ("user.session.impersonation.initiate", "login"),
    ("user.authentication.slo", "logout"), ("analytics.reports.export.download", "export"),
    ("application.user_membership.show_password", "read"), ("application.user_membership.add", "share"),
    ("user.account.privilege.grant", "admin"), ("policy.rule.update", "admin"), ("system.api_token.create", "admin"),
])  # fmt: skip
def test_the_type_of_an_event_says_what_was_done(kind: str, action: str) -> None:
    assert event("okta", START, {"eventType": kind}).action == action


@pytest.mark.parametrize("kind", [
    "policy.evaluate_sign_on", "system.org.rate_limit.warning", "security.threat.detected", "app.ad.agent.start",
    "tomorrow.news",
])  # fmt: skip
def test_what_nobody_did_to_data_is_said_to_be_so(kind: str) -> None:
    assert reason("okta", START, {"eventType": kind}) == "not_an_access_event"


def test_a_session_that_was_started_is_the_credential_that_is_used_later() -> None:
    login, use = event("okta", START), event("okta", SSO)
    assert (login.action, login.resource, use.resource) == ("login", "okta", "app:Customer Portal")
    assert (login.credential, login.issuer) == (use.credential, use.issuer) == ("trs-north-0001", "okta")
    assert event("okta", START, {"authenticationContext.issuer": {"id": "hub"}}).issuer == "hub"
    failed = event("okta", GHOST)
    assert (failed.account, failed.outcome, failed.credential) == ("ghost@corp.example", "failure", None)


def test_an_api_token_is_a_credential_of_a_service() -> None:
    found = event("okta", TOKEN)
    assert (found.account, found.account_kind, found.credential) == ("crm-sync", "service", "00T7f21")


@pytest.mark.parametrize(("changes", "account"), [
    ({}, "mara.lindqvist@corp.example"), ({"actor.alternateId": "unknown"}, "00uNORTH0001"),
    ({"actor.alternateId": None, "actor.id": None}, "192.0.2.14"),
])  # fmt: skip
def test_the_account_is_the_login_name_then_the_id_then_the_address(changes: dict[str, Any], account: str) -> None:
    assert event("okta", START, changes).account == account


def test_whose_password_is_shown_is_the_subject() -> None:
    found = event("okta", SHOWN)
    assert (found.resource, found.subject) == ("app:Customer Portal", "ines.ferrer@corp.example")
    assert event("okta", RESET).subject == ""


@pytest.mark.parametrize("result", ["FAILURE", "DENY", "RATE_LIMIT"])
def test_what_was_refused_is_a_failure(result: str) -> None:
    assert event("okta", START, {"outcome.result": result}).outcome == "failure"


def test_who_is_nobody_and_when_is_never_are_missing() -> None:
    nobody: Json = {"actor": {}, "client": {}}
    assert reason("okta", START, nobody) == reason("okta", START, {"published": None}) == "missing_field"
