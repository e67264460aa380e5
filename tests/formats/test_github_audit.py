"""GitHub's audit log: what each field of an entry becomes."""

from __future__ import annotations

import pytest

from tests.formats.records import event, fixture, reason

FORMAT = "github_audit"
CLONE, FETCH, PUSH, ZIP, MEMBER, ACCESS, ADMIN, LOG, BOT, REFUSED = (fixture(FORMAT, place) for place in range(10))


@pytest.mark.parametrize(("name", "action"), [
    ("git.clone", "read"), ("git.fetch", "read"), ("git.push", "write"), ("repo.download_zip", "export"),
    ("org.audit_log_export", "export"), ("repo.add_member", "share"), ("repo.access", "share"),
    ("repo.transfer", "share"),
    ("team.add_repository", "share"), ("public_key.create", "share"), ("repo.create", "write"),
    ("repo.destroy", "delete"),
    ("user.login", "login"), ("user.failed_login", "login"), ("user.logout", "logout"), ("org.update_member", "admin"),
    ("hook.create", "admin"), ("protected_branch.destroy", "admin"), ("workflows.created_workflow_run", "write"),
])  # fmt: skip
def test_the_action_says_what_was_done(name: str, action: str) -> None:
    assert event(FORMAT, CLONE, {"action": name}).action == action


def test_a_clone_is_no_more_than_a_fetch_for_it_may_be_one() -> None:
    clone, fetch = event(FORMAT, CLONE), event(FORMAT, FETCH)
    assert (clone.action, clone.resource, clone.subject) == (fetch.action, fetch.resource, fetch.subject)
    assert (clone.resource, clone.subject, clone.records) == ("north-shop/crm", "north-shop/crm", 1)
    assert event(FORMAT, PUSH).subject == ""


def test_a_token_is_known_by_its_digest_else_its_number() -> None:
    assert event(FORMAT, CLONE).credential == "kZ1vC0PpM2u8h9wYx0e2"
    assert event(FORMAT, BOT).credential == "5002"
    assert (event(FORMAT, ZIP).credential, event(FORMAT, ZIP).issuer) == (None, "")


def test_a_bot_is_a_service_and_a_failed_login_fails() -> None:
    assert (event(FORMAT, BOT).account_kind, event(FORMAT, CLONE).account_kind) == ("service", "unknown")
    assert (event(FORMAT, REFUSED).outcome, event(FORMAT, CLONE).outcome) == ("failure", "success")


def test_without_a_repository_it_is_the_organisation_and_then_the_enterprise() -> None:
    found = event(FORMAT, ADMIN)
    assert (found.resource, found.object) == ("org:north-shop", "new-admin")
    assert event(FORMAT, ADMIN, {"org": None}).resource == "business:north"


def test_the_time_is_of_the_event_before_that_of_the_record() -> None:
    assert event(FORMAT, CLONE, {"created_at": 1}).time == CLONE["@timestamp"]
    assert event(FORMAT, CLONE, {"@timestamp": None}).time == CLONE["created_at"]
    assert reason(FORMAT, CLONE, {"@timestamp": None, "created_at": None}) == "missing_field"


def test_nobody_is_missing_and_webhooks_are_no_audit_log() -> None:
    assert event(FORMAT, CLONE, {"actor": None}).account == "192.0.2.14"
    assert reason(FORMAT, CLONE, {"actor": None, "actor_ip": None, "actor_id": None}) == "missing_field"
    assert reason(FORMAT, CLONE, {"action": "opened"}) == "not_an_access_event"
