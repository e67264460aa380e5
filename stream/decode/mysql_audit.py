"""MySQL Enterprise Audit and Percona's audit log filter with audit_log_format = JSON, one object a record.

Fields: time: timestamp (UTC). account: account.user, else login.user. credential: the user and the connection's
number, which a connect issues and a disconnect ends. source_ip: login.ip. action: of sql_command, of the event of a
table access, or of a connect and disconnect; a SELECT ... INTO OUTFILE is an export. resource: database and table of a
table access, the database of a connect, else "mysql". object: the table, where one is named. records, bytes:
rows_sent and bytes_sent of query_statistics, where those are logged, else 1 and 0. outcome: a failure if the status
is not 0.
Cannot tell: issuer; user_agent; subject and the single rows; id: theirs are unique only within a second of one server.
A table access names the table and a general event the rows: where both are logged, one statement is two events.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stream.checks import shown
from stream.decode import Format
from stream.decode._json import peek
from stream.decode._typed import Number, count, parsed
from stream.events import AccessEvent, Action, BadRecord

_CLASSES: Final = {"audit", "connection", "general", "table_access", "command", "query", "message"}
_ACTIONS: Final[dict[str, Action]] = {
    "select": "read", "call": "read", "ha": "read", "show": "list", "insert": "write", "update": "write",
    "replace": "write", "load": "write", "delete": "delete", "truncate": "delete", "create": "admin", "alter": "admin",
    "drop": "admin", "grant": "admin", "revoke": "admin", "rename": "admin",
}  # fmt: skip
_TABLE: Final[dict[str, Action]] = {"read": "read", "insert": "write", "update": "write", "delete": "delete"}
_SESSION: Final[dict[str, Action]] = {"connect": "login", "disconnect": "logout", "change_user": "login"}


class _Who(msgspec.Struct):
    user: str | None = None
    ip: str | None = None


class _Done(msgspec.Struct):
    status: Number = None
    sql_command: str | None = None
    query: str | None = None
    db: str | None = None
    table: str | None = None


class _Statistics(msgspec.Struct):
    rows_sent: Number = None
    bytes_sent: Number = None


class _Entry(msgspec.Struct, rename={"kind": "class"}):
    timestamp: str
    kind: str
    event: str = ""
    account: _Who | None = None
    login: _Who | None = None
    connection_id: Number = None
    general_data: _Done | None = None
    table_access_data: _Done | None = None
    connection_data: _Done | None = None
    query_statistics: _Statistics | None = None


_read: Final = msgspec.json.Decoder(_Entry).decode
_NOBODY: Final = _Who()
_NOTHING: Final = _Done()


def _action(entry: _Entry) -> tuple[Action | None, _Done]:
    """What was done and to what; None where it is about no access."""
    if entry.kind == "connection":
        return _SESSION.get(entry.event), entry.connection_data or _NOTHING
    if entry.kind == "table_access":
        return _TABLE.get(entry.event), entry.table_access_data or _NOTHING
    done = entry.general_data or _NOTHING
    if entry.kind != "general" or entry.event != "status":  # each statement has one such event
        return None, done
    action = _ACTIONS.get((done.sql_command or "").partition("_")[0])
    return "export" if action == "read" and " into outfile " in (done.query or "").lower() else action, done


def _decode(record: bytes) -> AccessEvent:
    entry = parsed(_read, record)
    action, done = _action(entry)
    if action is None:
        raise BadRecord(
            "not_an_access_event", f"{shown(entry.kind)}, {shown(done.sql_command or entry.event)}: no data"
        )
    login = entry.login or _NOBODY
    user = ((entry.account or _NOBODY).user or login.user or "").partition("[")[0]
    if not user:
        raise BadRecord("missing_field", "neither account.user nor login.user: nobody is named")
    sent = entry.query_statistics
    return AccessEvent(
        time=entry.timestamp.replace(" UTC", "") + "Z", account=user, action=action,
        resource=".".join(filter(None, (done.db, done.table))) or "mysql",
        credential=f"{user}/{entry.connection_id}" if entry.connection_id is not None else "",
        source_ip=login.ip, object=done.table,
        records=1 if sent is None else count(sent.rows_sent), bytes=0 if sent is None else count(sent.bytes_sent),
        outcome="failure" if count(done.status) != 0 else "success",
    )  # fmt: skip


def matches(record: bytes) -> bool:
    """Whether it has the audit log's keys and one of its classes."""
    loaded = peek(record)
    kind = loaded.get("class")
    return {"timestamp", "id", "class"} <= loaded.keys() and isinstance(kind, str) and kind in _CLASSES


def decode(record: bytes) -> list[AccessEvent]:
    """The one event; raises BadRecord."""
    return [_decode(record)]


FORMAT = Format("mysql_audit", matches, decode, fast=_decode)
