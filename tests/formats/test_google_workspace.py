"""Google Workspace activities: what each event in them becomes."""

from __future__ import annotations

import orjson
import pytest

from stream.decode import google_workspace
from tests.formats.records import event, fixture, reason

FORMAT = "google_workspace"
LOGIN, FAILED, VIEW, DOWNLOAD, SHARED, USED, GRANTED = (fixture(FORMAT, place) for place in range(7))


@pytest.mark.parametrize(("app", "name", "action"), [
    ("login", "login_success", "login"), ("saml", "login_failure", "login"), ("login", "logout", "logout"),
    ("token", "authorize", "login"), ("token", "activity", "read"), ("drive", "view", "read"),
    ("drive", "download", "export"), ("drive", "copy", "export"), ("drive", "print", "export"),
    ("drive", "edit", "write"),
    ("drive", "trash", "delete"), ("drive", "change_document_visibility", "share"), ("gmail", "download", "export"),
    ("calendar", "change_calendar_acls", "share"), ("admin", "CREATE_USER", "admin"),
    ("admin", "CUSTOMER_TAKEOUT_CREATED", "export"), ("takeout", "takeout_download", "export"),
    ("user_accounts", "2sv_disable", "admin"), ("user_accounts", "email_forwarding_out_of_domain", "share"),
])  # fmt: skip
def test_application_and_name_say_what_was_done(app: str, name: str, action: str) -> None:
    changes = {"id.applicationName": app, "events.0.name": name, "events.0.type": "x"}
    assert event(FORMAT, VIEW, changes).action == action


@pytest.mark.parametrize(("app", "name"), [("login", "login_challenge"), ("gmail", "delivery"), ("rules", "rule_match"),
                                           ("mobile", "DEVICE_SYNC_EVENT"), ("drive", "tomorrow")])  # fmt: skip
def test_what_is_no_access_is_said_to_be_so(app: str, name: str) -> None:
    changes = {"id.applicationName": app, "events.0.name": name}
    assert reason(FORMAT, VIEW, changes) == "not_an_access_event"


def test_a_document_lies_in_its_shared_drive_or_with_its_owner() -> None:
    assert event(FORMAT, VIEW).subject == "drive:sales@corp.example/1AbC"
    found = event(FORMAT, DOWNLOAD)
    assert (found.resource, found.object, found.subject) == ("drive:0DRIVE", "1AbC", "drive:0DRIVE/1AbC")


def test_each_event_of_an_activity_is_one_and_what_is_none_is_passed_over() -> None:
    events = google_workspace.decode(orjson.dumps(SHARED))
    assert [each.action for each in events] == ["share", "share"]
    assert events[0].id != events[1].id
    other = {"name": "delivery", "type": "x"}
    assert len(google_workspace.decode(orjson.dumps(SHARED | {"events": [other, *SHARED["events"]]}))) == 2
    assert reason(FORMAT, SHARED | {"events": [other, other]}) == "not_an_access_event"
    assert reason(FORMAT, SHARED, {"events": []}) == "missing_field"


def test_an_application_with_a_persons_token_is_told_by_its_client() -> None:
    use, grant = event(FORMAT, USED), event(FORMAT, GRANTED)
    assert (use.credential, use.issuer) == (grant.credential, grant.issuer) == ("77.apps.example", "oauth")
    assert (use.bytes, grant.action) == (48211, "login")


def test_a_wrong_password_is_a_failure() -> None:
    assert (event(FORMAT, FAILED).outcome, event(FORMAT, LOGIN).outcome) == ("failure", "success")


def test_the_account_is_the_address_at_last() -> None:
    assert event(FORMAT, VIEW, {"actor": {"profileId": "11"}}).account == "11"
    assert event(FORMAT, VIEW, {"actor": {"key": "k"}}).account_kind == "service"
    assert event(FORMAT, VIEW, {"actor": {}}).account == "192.0.2.14"
    assert reason(FORMAT, VIEW, {"actor": {}, "ipAddress": None}) == "missing_field"
    assert (
        reason(FORMAT, VIEW, {"id.time": None}) == reason(FORMAT, VIEW, {"id.applicationName": ""}) == "missing_field"
    )
