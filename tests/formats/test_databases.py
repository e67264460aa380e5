"""Audit logs of PostgreSQL and MySQL: who, by which session, did what to which table."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.decode import mysql_audit, pgaudit, postgresql_csvlog
from stream.decode._postgres import audited
from stream.events import AccessEvent, BadRecord

AUDIT = "AUDIT: SESSION,1,1,READ,SELECT,TABLE,public.t,select 1,<none>"
DATABASES = pytest.mark.parametrize(
    ("prefix", "user", "database", "client"),
    [
        (" [7] mara@sales ", "mara", "sales", ""),
        (" [7] ana@corp.example@sales ", "ana@corp.example", "sales", ""),
        (":192.0.2.1(55):mara@sales:[7]:", "mara", "sales", "192.0.2.1"),
        (":2001:db8::1(55):mara@sales:[7]:", "mara", "sales", "2001:db8::1"),
        (" mara sales [7]: ", "mara", "sales", ""),
        (" [7] user=mara,db=sales,app=psql,client=192.0.2.1 ", "mara", "sales", "192.0.2.1"),
        (" [7]: [1-1] user=mara,db=sales,client=[local] ", "mara", "sales", ""),
    ],
)


def audit_line(
    prefix: str = " mara@sales ", audit: str = AUDIT, at: str = "2025-06-24 07:00:00.123 UTC"
) -> AccessEvent:
    (event,) = pgaudit.decode(f"{at}{prefix}LOG:  {audit}".encode())
    return event


def csv_line(
    message: str = AUDIT, tag: str = "SELECT", severity: str = "LOG", state: str = "00000", **more: str
) -> Any:
    quoted = message.replace('"', '""')
    user, peer = more.get("user", "mara"), more.get("peer", "192.0.2.1:55")
    line = (
        f'2025-06-24 07:00:00.123 UTC,"{user}","sales",7,"{peer}",685a4b10.5570,3,"{tag}",'
        f'2025-06-24 07:00:00 UTC,3/1,0,{severity},{state},"{quoted}",,,,,,,,,"psql","client backend",,0'
    )
    (event,) = postgresql_csvlog.decode(line.encode())
    return event


def mysql(kind: str, event: str, **fields: Any) -> AccessEvent:
    base = {
        "timestamp": "2025-06-24 07:00:00", "id": 0, "class": kind, "event": event, "connection_id": 12,
        "account": {"user": "mara", "host": "h"}, "login": {"user": "mara", "ip": "192.0.2.1"},
    }  # fmt: skip
    (found,) = mysql_audit.decode(orjson.dumps(base | fields))
    return found


def statement(command: str, query: str = "", status: int = 0, **fields: Any) -> AccessEvent:
    done = {"command": "Query", "sql_command": command, "query": query, "status": status}
    return mysql("general", "status", general_data=done, **fields)


@DATABASES
def test_the_usual_prefixes_name_user_database_and_client(prefix: str, user: str, database: str, client: str) -> None:
    event = audit_line(prefix)
    assert (event.account, event.resource, event.source_ip) == (user, f"{database}.public.t", client)


def test_a_prefix_that_names_nobody_says_how_to_change_it() -> None:
    with pytest.raises(BadRecord, match=r"missing_field: no user in the prefix .* log_line_prefix"):
        audit_line(" [7] ")


AUDITED = [
    ("READ,SELECT", "read"), ("READ,COPY", "export"), ("WRITE,COPY", "write"), ("WRITE,INSERT", "write"),
    ("WRITE,DELETE", "delete"), ("WRITE,TRUNCATE TABLE", "delete"), ("DDL,ALTER TABLE", "admin"),
    ("ROLE,GRANT", "admin"), ("FUNCTION,DO", "read"), ("MISC,FETCH", "read"),
]  # fmt: skip


@pytest.mark.parametrize(("told", "action"), AUDITED)
def test_class_and_command_say_the_action_in_either_log(told: str, action: str) -> None:
    audit = f"AUDIT: SESSION,1,1,{told},TABLE,public.t,x,<none>"
    assert audit_line(audit=audit).action == csv_line(audit).action == action


def test_a_command_that_touches_no_data_is_said_to_be_so() -> None:
    audit = "AUDIT: SESSION,1,1,MISC,VACUUM,,,vacuum,<none>"
    for line in (lambda: audit_line(audit=audit), lambda: csv_line(audit), lambda: statement("set_option")):
        with pytest.raises(BadRecord, match="not_an_access_event"):
            line()


QUOTED = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=40).map(
    lambda text: '"' + text.replace('"', '""') + '"'
)


@given(query=QUOTED, parameters=QUOTED, rows=st.none() | st.integers(0, 10**12))
def test_rows_are_read_behind_any_statement(query: str, parameters: str, rows: int | None) -> None:
    tail = "" if rows is None else f",{rows}"
    got = audited(f"OBJECT,1,1,READ,SELECT,TABLE,public.t,{query},{parameters}{tail}")
    assert got == ("read", "public.t", 1 if rows is None else rows)


def test_a_parameter_is_not_taken_for_rows() -> None:
    assert audited("SESSION,1,1,READ,SELECT,TABLE,public.t,select $1,5").records == 1


def test_a_zone_that_may_mean_several_is_refused() -> None:
    assert audit_line(at="2025-06-24 09:00:00 +02").time == "2025-06-24 09:00:00+02:00"
    with pytest.raises(BadRecord, match=r"time_unreadable.*log_timezone"):
        audit_line(at="2025-06-24 09:00:00 IST")


def test_a_session_is_a_credential_that_a_connection_issues() -> None:
    told = [
        csv_line("connection authorized: user=mara database=sales"), csv_line(),
        csv_line("disconnection: session time: 0:00:01 user=mara"),
    ]  # fmt: skip
    assert [(event.action, event.credential) for event in told] == [
        ("login", "685a4b10.5570"), ("read", "685a4b10.5570"), ("logout", "685a4b10.5570"),
    ]  # fmt: skip
    told = [mysql("connection", "connect"), statement("select"), mysql("connection", "disconnect")]
    assert [(event.action, event.credential) for event in told] == [
        ("login", "mara/12"), ("read", "mara/12"), ("logout", "mara/12"),
    ]  # fmt: skip


def test_refusals_are_failures() -> None:
    refused = csv_line("permission denied for table t", severity="ERROR", state="42501")
    wrong = csv_line("password authentication failed", "authentication", "FATAL", "28P01")
    assert [(e.action, e.outcome) for e in (refused, wrong)] == [("read", "failure"), ("login", "failure")]
    assert statement("select", status=1142).outcome == "failure"
    assert mysql("connection", "connect", connection_data={"status": 1045}).outcome == "failure"


def test_a_statement_of_several_lines_is_told_by_its_first() -> None:
    line = b'2025-06-24 07:00:00.123 UTC [7] mara@sales LOG:  AUDIT: SESSION,1,1,READ,SELECT,TABLE,public.t,"select *'
    (event,) = pgaudit.decode(line)
    assert (event.resource, event.records) == ("sales.public.t", 1)
    for read in (pgaudit.decode, postgresql_csvlog.decode):
        with pytest.raises(BadRecord, match="unknown_format"):
            read(b'\tfrom customers",<none>')


@pytest.mark.parametrize(("message", "action"), [
    ("statement: copy t to stdout", "export"), ("statement: COPY t FROM STDIN", "write"),
    ("execute <unnamed>: copy t to program 'x'", "export"),
])  # fmt: skip
def test_a_copy_is_told_by_its_direction(message: str, action: str) -> None:
    assert csv_line(message, "COPY").action == action


def test_a_select_into_a_file_is_an_export_and_rows_are_counted() -> None:
    assert statement("select", "SELECT * INTO OUTFILE '/tmp/x' FROM t").action == "export"
    event = statement("select", query_statistics={"rows_sent": 250, "bytes_sent": 9})
    assert (event.records, event.bytes) == (250, 9)


def test_a_table_access_names_the_table_and_another_class_is_no_access() -> None:
    event = mysql("table_access", "insert", table_access_data={"db": "sales", "table": "t"})
    assert (event.action, event.resource, event.object) == ("write", "sales.t", "t")
    with pytest.raises(BadRecord, match="not_an_access_event"):
        mysql("audit", "startup")


def test_the_account_of_a_filter_that_writes_its_host_too_is_the_user() -> None:
    assert mysql("connection", "connect", account={"user": "root[root] @ localhost []"}).account == "root"
