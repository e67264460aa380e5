"""Microsoft 365's unified audit log: what each field of a record becomes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.decode.microsoft365 import THROTTLED
from tests.formats.records import event, fixture, reason

FORMAT = "microsoft365"
LOGIN, DOWNLOAD, OPENED, BIND, SYNC, THROTTLING, LINK, RULE = (fixture(FORMAT, place) for place in range(8))


@pytest.mark.parametrize(("operation", "action"), [
    ("UserLoggedIn", "login"), ("FileDownloaded", "export"), ("FileSyncDownloadedFull", "export"),
    ("FileAccessed", "read"), ("FilePreviewed", "read"), ("SearchQueryPerformed", "list"), ("FileUploaded", "write"),
    ("FileModified", "write"), ("FileRecycled", "delete"), ("FileDeleted", "delete"), ("SharingSet", "share"),
    ("SecureLinkCreated", "share"), ("AddedToSecureLink", "share"), ("Set-Mailbox", "admin"),
    ("New-InboxRule", "admin"),
    ("SearchExportDownloaded", "export"), ("Send", "write"), ("HardDelete", "delete"),
])  # fmt: skip
def test_the_operation_says_what_was_done(operation: str, action: str) -> None:
    assert event(FORMAT, OPENED, {"Operation": operation}).action == action


def test_the_directory_is_administered_and_what_is_unknown_is_said_to_be_so() -> None:
    assert event(FORMAT, LOGIN, {"Operation": "Add member to role."}).action == "admin"
    assert reason(FORMAT, OPENED, {"Operation": "TeamsSessionStarted"}) == "not_an_access_event"


@given(st.lists(st.integers(1, 9), max_size=5), st.booleans())
def test_the_messages_of_all_folders_are_counted_and_a_throttled_mailbox_for_as_many_as_throttle_it(
    folders: list[int], throttled: bool
) -> None:
    listed = [{"Path": "x", "FolderItems": [{"InternetMessageId": "m", "SizeInBytes": 10}] * size} for size in folders]
    flags = [{"Name": "MailAccessType", "Value": "Bind"}, {"Name": "IsThrottled", "Value": str(throttled)}]
    found = event(FORMAT, BIND, {"Folders": listed, "OperationProperties": flags, "OperationCount": 2})
    assert found.records == (THROTTLED if throttled else sum(folders) or 2)
    assert found.bytes == 10 * sum(folders)
    assert (found.action, found.resource, found.subject) == ("read", "mailbox:ines@corp.example", "ines@corp.example")


def test_a_synchronised_folder_is_an_export() -> None:
    found = event(FORMAT, SYNC)
    assert (found.action, found.object, found.subject) == ("export", "\\Inbox", "ines@corp.example")
    assert event(FORMAT, THROTTLING).records == THROTTLED


def test_a_session_is_the_same_at_its_login_in_a_site_and_in_a_mailbox() -> None:
    seen = [event(FORMAT, each) for each in (LOGIN, DOWNLOAD, BIND)]
    assert {(each.credential, each.issuer) for each in seen} == {("sess-7f21", "b662-north")}
    assert event(FORMAT, RULE).issuer == ""


def test_bytes_are_of_what_was_read_and_not_of_what_was_shared() -> None:
    assert event(FORMAT, DOWNLOAD).bytes == 482113
    assert event(FORMAT, DOWNLOAD, {"Operation": "FileUploaded"}).bytes == 0


@pytest.mark.parametrize("name", ["ForwardTo", "RedirectTo", "ForwardingSmtpAddress"])
def test_mail_that_is_forwarded_is_shared(name: str) -> None:
    rule = [{"Name": name, "Value": "me@elsewhere.example"}]
    assert event(FORMAT, RULE, {"Parameters": rule}).action == "share"
    assert event(FORMAT, RULE, {"Parameters": [{"Name": name, "Value": ""}]}).action == "admin"


@pytest.mark.parametrize(("written", "address"), [
    ("192.0.2.14", "192.0.2.14"), ("192.0.2.14:51544", "192.0.2.14"), ("[2001:db8::14]:443", "2001:db8::14"),
    ("2001:db8::14", "2001:db8::14"), ("<null>", "<null>"),
])  # fmt: skip
def test_an_address_comes_without_its_port(written: str, address: str) -> None:
    assert event(FORMAT, OPENED, {"ClientIP": written}).source_ip == address


@pytest.mark.parametrize(("changes", "kind"), [
    ({}, "employee"), ({"UserType": 2}, "employee"), ({"UserType": 5}, "service"), ({"UserType": 10}, "partner"),
    ({"UserId": "x_y.example#EXT#@north.example"}, "partner"), ({"UserType": 99}, "unknown"),
])  # fmt: skip
def test_the_kind_of_account_is_of_its_type(changes: dict[str, Any], kind: str) -> None:
    assert event(FORMAT, OPENED, changes).account_kind == kind


def test_failures_are_of_the_operation_or_its_result_and_nobody_is_missing() -> None:
    results = [event(FORMAT, OPENED, {"ResultStatus": each}).outcome for each in (None, "Failed", "True")]
    assert results == ["success", "failure", "success"]
    assert event(FORMAT, LOGIN, {"Operation": "UserLoginFailed"}).outcome == "failure"
    assert reason(FORMAT, OPENED, {"UserId": "", "ClientIP": ""}) == "missing_field"
