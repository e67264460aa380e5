"""Snowflake's usage views: what each row becomes."""

from __future__ import annotations

import orjson
import pytest

from stream.decode import snowflake
from tests.formats.records import event, fixture, reason

FORMAT = "snowflake"
LOGIN, WRONG, BY_KEY, SELECT, UNLOAD, GET, SHOW, GRANT, FAILED, ACCESS, COPIED = (fixture(FORMAT, i) for i in range(11))


@pytest.mark.parametrize(("kind", "action"), [
    ("SELECT", "read"), ("UNLOAD", "export"), ("GET_FILES", "export"), ("SHOW", "list"), ("INSERT", "write"),
    ("COPY", "write"), ("DELETE", "delete"), ("TRUNCATE_TABLE", "delete"), ("GRANT", "admin"), ("CREATE_USER", "admin"),
    ("ALTER_SHARE", "share"), ("CREATE_SHARE", "share"),
])  # fmt: skip
def test_the_type_of_a_query_says_what_was_done(kind: str, action: str) -> None:
    assert event(FORMAT, SELECT, {"QUERY_TYPE": kind}).action == action


@pytest.mark.parametrize("kind", ["BEGIN_TRANSACTION", "COMMIT", "USE", "ALTER_SESSION", ""])
def test_what_only_sets_up_a_session_is_no_access(kind: str) -> None:
    assert reason(FORMAT, SELECT, {"QUERY_TYPE": kind}) == "not_an_access_event"


def test_rows_and_bytes_are_of_what_left() -> None:
    read, out, listed = event(FORMAT, SELECT), event(FORMAT, UNLOAD), event(FORMAT, SHOW)
    assert (read.records, read.bytes, read.subject) == (48210, 4821000, "CRM.PUBLIC")
    assert (out.records, out.bytes) == (48210, 4800000)
    assert (listed.records, listed.bytes, listed.subject) == (1, 0, "")
    assert event(FORMAT, UNLOAD, {"OUTBOUND_DATA_TRANSFER_BYTES": 0}).bytes == 4821000


def test_a_login_says_how_from_where_and_whether_it_worked() -> None:
    found = event(FORMAT, LOGIN)
    assert (found.action, found.issuer, found.source_ip) == ("login", "PASSWORD", "192.0.2.14")
    assert (found.user_agent, found.account_kind) == ("PYTHON_DRIVER 3.12.0", "unknown")
    assert event(FORMAT, WRONG).outcome == "failure"
    assert event(FORMAT, BY_KEY).account_kind == "service"


def test_an_access_is_an_event_for_each_table_under_ids_of_their_own() -> None:
    events = snowflake.decode(orjson.dumps(COPIED))
    assert [(each.action, each.resource) for each in events] == [
        ("read", "CRM.PUBLIC.CUSTOMERS"), ("read", "CRM.PUBLIC.ORDERS"), ("write", "CRM.WORK.COPY"),
    ]  # fmt: skip
    assert len({each.id for each in events}) == 3
    assert events[0].id == COPIED["QUERY_ID"]
    text = {key: orjson.dumps(COPIED[key]).decode() for key in ("BASE_OBJECTS_ACCESSED", "OBJECTS_MODIFIED")}
    assert snowflake.decode(orjson.dumps(COPIED | text)) == events
    assert reason(FORMAT, ACCESS, {"BASE_OBJECTS_ACCESSED": "[", "OBJECTS_MODIFIED": 17}) == "not_an_access_event"


def test_names_may_be_in_small_letters() -> None:
    small = {key.lower(): value for key, value in SELECT.items()}
    assert event(FORMAT, small) == event(FORMAT, SELECT)


def test_a_failed_query_is_a_failure_and_a_place_is_named_at_last_by_the_warehouse() -> None:
    assert event(FORMAT, FAILED).outcome == event(FORMAT, SELECT, {"ERROR_CODE": 2003}).outcome == "failure"
    assert event(FORMAT, GRANT).resource == "WH_S"
    assert event(FORMAT, SELECT).credential == "73014444"
    assert (
        reason(FORMAT, SELECT, {"USER_NAME": None}) == reason(FORMAT, SELECT, {"START_TIME": None}) == "missing_field"
    )
