"""Salesforce event log files: what each row becomes."""

from __future__ import annotations

import pytest

from tests.formats.records import event, fixture, reason

FORMAT = "salesforce"
LOGIN, WRONG, REPORT, EXPORT, PAGE, BULK, API, REST, FILE, LINK, SEARCH = (
    fixture(FORMAT, place) for place in range(11)
)


@pytest.mark.parametrize(("kind", "method", "action"), [
    ("Login", "", "login"), ("Logout", "", "logout"), ("Report", "", "read"), ("ReportExport", "", "export"),
    ("DataExport", "", "export"), ("BulkApi", "query", "export"), ("BulkApi", "insert", "write"),
    ("API", "query", "read"),
    ("API", "update", "write"), ("RestApi", "DELETE", "delete"), ("RestApi", "GET", "read"), ("Search", "", "list"),
    ("ContentTransfer", "VersionDownloadApi", "export"), ("ContentTransfer", "InsertVersion", "write"),
    ("ContentDistribution", "", "share"), ("SetupAuditTrail", "", "admin"),
])  # fmt: skip
def test_type_and_method_say_what_was_done(kind: str, method: str, action: str) -> None:
    assert event(FORMAT, SEARCH, {"EVENT_TYPE": kind, "METHOD_NAME": method}).action == action


@pytest.mark.parametrize("kind", ["ApexExecution", "ApexTrigger", "FlowExecution", "ApiTotalUsage"])
def test_rows_of_performance_are_no_access(kind: str) -> None:
    assert reason(FORMAT, LOGIN, {"EVENT_TYPE": kind}) == "not_an_access_event"


def test_what_left_is_counted_whether_as_text_or_number() -> None:
    assert [event(FORMAT, each).records for each in (REPORT, BULK, REST, LOGIN)] == [48210, 150000, 2000, 1]
    assert event(FORMAT, BULK, {"ROWS_PROCESSED": 7}).records == 7
    assert [event(FORMAT, each).bytes for each in (REST, FILE)] == [880000, 482113]


def test_records_of_one_entity_are_one_resource() -> None:
    other = {"URI": "/0030000000ADAM2/e", "URI_ID_DERIVED": "0030000000ADAM2AAA"}
    first, second = event(FORMAT, PAGE), event(FORMAT, PAGE, other)
    assert first.resource == second.resource == "URI:/003{id}/e"
    assert first.subject != second.subject
    assert event(FORMAT, BULK).resource == "BulkApi:Contact"


def test_a_session_is_known_from_its_login_on() -> None:
    login, use = event(FORMAT, LOGIN), event(FORMAT, EXPORT)
    assert (login.credential, login.issuer) == (use.credential, use.issuer) == ("GeJCsym5eyvtEK2I", "00D000000000NOR")
    assert event(FORMAT, EXPORT, {"LOGIN_KEY": ""}).credential == EXPORT["SESSION_KEY"]


@pytest.mark.parametrize(("kind", "account_kind"), [
    ("S", "employee"), ("C", "customer"), ("P", "partner"), ("A", "service"), ("G", "customer"), ("", "unknown"),
])  # fmt: skip
def test_the_kind_of_account_is_of_the_users_licence(kind: str, account_kind: str) -> None:
    assert event(FORMAT, EXPORT, {"USER_TYPE": kind}).account_kind == account_kind


def test_failures_are_of_the_login_the_request_or_its_status() -> None:
    assert event(FORMAT, WRONG).outcome == event(FORMAT, REST, {"STATUS_CODE": "403"}).outcome == "failure"
    assert event(FORMAT, API, {"REQUEST_STATUS": "U"}).outcome == "failure"
    assert event(FORMAT, LOGIN).outcome == event(FORMAT, REST).outcome == "success"


def test_salesforces_own_servers_have_no_address() -> None:
    assert event(FORMAT, SEARCH).source_ip == ""
    nobody = dict.fromkeys(("USER_ID", "USER_ID_DERIVED", "USER_NAME"), "")
    assert event(FORMAT, LOGIN, nobody).account == "192.0.2.14"
    assert reason(FORMAT, SEARCH, nobody) == "missing_field"


def test_the_time_that_is_written_out_comes_first() -> None:
    assert event(FORMAT, LOGIN).time == LOGIN["TIMESTAMP_DERIVED"]
    assert reason(FORMAT, LOGIN, {"TIMESTAMP_DERIVED": None, "TIMESTAMP": None}) == "missing_field"
