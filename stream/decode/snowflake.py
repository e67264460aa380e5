"""Snowflake's account usage views as JSON rows: QUERY_HISTORY, ACCESS_HISTORY and LOGIN_HISTORY; names in either case.

Fields: time: START_TIME, QUERY_START_TIME or EVENT_TIMESTAMP. account: USER_NAME. account_kind: service for SYSTEM and
for logins by key pair or OAuth client, else unknown. group: ROLE_NAME. credential: SESSION_ID. issuer: of a login
FIRST_AUTHENTICATION_FACTOR. source_ip: CLIENT_IP. user_agent: REPORTED_CLIENT_TYPE with its version. action: of
QUERY_TYPE: SELECT is read, UNLOAD (COPY INTO a stage) and GET_FILES are exports, shares granted are shared, users,
roles and grants are admin. An access is a write where objects were modified, else read. resource: the first of
base_objects_accessed, else DATABASE_NAME.SCHEMA_NAME, else the warehouse. object: the table, or the query's tag.
subject: of what is read or exported the resource. records: ROWS_UNLOADED or ROWS_PRODUCED. bytes: of an export
OUTBOUND_DATA_TRANSFER_BYTES or BYTES_WRITTEN, of a read BYTES_WRITTEN_TO_RESULT. outcome: a failure for an
EXECUTION_STATUS of FAIL or INCIDENT, an ERROR_CODE, or IS_SUCCESS NO. id: QUERY_ID, EVENT_ID; of the second and further
tables of an access with its number.
Cannot tell: which rows, and so whose data; the address of a query, which only its login has; the login of a session.
Both views tell of one query under one id, so the one that comes first counts: query history knows rows and bytes,
access history the tables. What only sets up a session is not_an_access_event.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from stream.decode._json import items, peek, text
from stream.decode._shape import Count, Text, Time, mostly_single, reader, utc
from stream.events import AccessEvent, Action, BadRecord

_read = reader({
    "USER_NAME": str, "QUERY_ID": Text, "START_TIME": Time, "QUERY_START_TIME": Time, "QUERY_TYPE": Text,
    "ROLE_NAME": Text, "SESSION_ID": Time, "DATABASE_NAME": Text, "SCHEMA_NAME": Text, "WAREHOUSE_NAME": Text,
    "EXECUTION_STATUS": Text, "ERROR_CODE": Time, "ROWS_PRODUCED": Count, "ROWS_UNLOADED": Count,
    "BYTES_WRITTEN": Count, "BYTES_WRITTEN_TO_RESULT": Count, "OUTBOUND_DATA_TRANSFER_BYTES": Count,
    "BASE_OBJECTS_ACCESSED": Any, "OBJECTS_MODIFIED": Any, "EVENT_ID": Time, "EVENT_TIMESTAMP": Time,
    "EVENT_TYPE": Text, "CLIENT_IP": Text, "REPORTED_CLIENT_TYPE": Text, "REPORTED_CLIENT_VERSION": Text,
    "IS_SUCCESS": Text, "FIRST_AUTHENTICATION_FACTOR": Text,
})  # fmt: skip

_TYPES: Final[dict[Action, str]] = {
    "read": "SELECT CALL MULTI_STATEMENT WITH", "export": "UNLOAD GET_FILES CREATE_EXTERNAL_TABLE",
    "list": "SHOW DESCRIBE LIST_FILES DESCRIBE_QUERY",
    "write": "INSERT UPDATE MERGE COPY PUT_FILES CREATE_TABLE CREATE_TABLE_AS_SELECT CREATE_VIEW RENAME_TABLE CLONE",
    "delete": "DELETE TRUNCATE_TABLE REMOVE_FILES",
}  # fmt: skip
_ACTIONS: Final = {kind: action for action, kinds in _TYPES.items() for kind in kinds.split()}
_SESSION: Final = ("BEGIN", "COMMIT", "ROLLBACK", "USE", "SET", "UNSET", "ALTER_SESSION", "EXPLAIN")
_SERVICE_FACTORS: Final = {"RSA_KEYPAIR", "OAUTH_ACCESS_TOKEN", "PROGRAMMATIC_ACCESS_TOKEN", "WORKLOAD_IDENTITY"}


@lru_cache(maxsize=1024)
def _action(kind: str) -> Action:
    if kind in _ACTIONS:
        return _ACTIONS[kind]
    if kind.startswith(_SESSION) or not kind:
        raise BadRecord("not_an_access_event", f"QUERY_TYPE {kind[:60]!r} touches no data")
    if "SHARE" in kind or "LISTING" in kind:
        return "share"
    return "delete" if kind.startswith("DROP_TABLE") else "admin"


def _objects(value: Any) -> list[str]:
    """The names of the objects of an access, which some exports write as JSON in a string."""
    if isinstance(value, str):
        value = peek(b'{"all":%b}' % value.encode(errors="replace")).get("all")
    return list(dict.fromkeys(filter(None, (text(each, "objectName") for each in items(value)))))


def _event(record: Any, action: Action, at: Any, **others: Any) -> AccessEvent:
    return AccessEvent(
        time=utc(at, "START_TIME"), account=record.USER_NAME, action=action,
        account_kind="service" if record.USER_NAME == "SYSTEM" else "unknown", group=record.ROLE_NAME,
        credential=text(record.SESSION_ID), source_ip=record.CLIENT_IP, **others,
    )  # fmt: skip


def decode(raw: bytes) -> list[AccessEvent]:
    """The event of a query or a login, the events of an access: one a table; raises BadRecord."""
    record = _read(raw)
    if record.EVENT_TYPE:
        client = " ".join(filter(None, (record.REPORTED_CLIENT_TYPE, record.REPORTED_CLIENT_VERSION)))
        failed = (record.IS_SUCCESS or "").upper() in ("NO", "FALSE")
        login = _event(record, "login", record.EVENT_TIMESTAMP, resource="snowflake", id=text(record.EVENT_ID),
                       issuer=record.FIRST_AUTHENTICATION_FACTOR, user_agent=client,
                       outcome="failure" if failed else "success")  # fmt: skip
        if record.FIRST_AUTHENTICATION_FACTOR in _SERVICE_FACTORS:
            login.account_kind = "service"
        return [login]
    tables = _objects(record.BASE_OBJECTS_ACCESSED)
    if record.QUERY_TYPE is None:
        written = _objects(record.OBJECTS_MODIFIED)
        if not tables and not written:
            raise BadRecord("not_an_access_event", "an access that touches no object")
        return [
            _event(record, "write" if table in written else "read", record.QUERY_START_TIME, resource=table,
                   object=table, subject="" if table in written else table,
                   id=record.QUERY_ID and (f"{record.QUERY_ID}:{place}" if place else record.QUERY_ID))
            for place, table in enumerate(dict.fromkeys(tables + written))
        ]  # fmt: skip
    action = _action(record.QUERY_TYPE[:64])
    schema, out = ".".join(filter(None, (record.DATABASE_NAME, record.SCHEMA_NAME))), action in ("read", "export")
    resource = tables[0] if tables else schema or record.WAREHOUSE_NAME or "snowflake"
    sent = record.BYTES_WRITTEN_TO_RESULT
    if action == "export":
        sent = record.OUTBOUND_DATA_TRANSFER_BYTES or record.BYTES_WRITTEN or sent
    failed = record.ERROR_CODE or (record.EXECUTION_STATUS or "").upper().startswith(("FAIL", "INCIDENT"))
    return [_event(record, action, record.START_TIME, resource=resource, id=record.QUERY_ID,
                   subject=resource if out else "", bytes=sent if out else 0,
                   records=(record.ROWS_UNLOADED or record.ROWS_PRODUCED) if out else 1,
                   outcome="failure" if failed else "success")]  # fmt: skip


_MARKS: Final = {"query_type", "base_objects_accessed", "reported_client_type"}


def matches(record: bytes) -> bool:
    """Whether it is a row of one of the views: a user, and what only that view has."""
    names = {key.lower() for key in peek(record)}
    return "user_name" in names and not _MARKS.isdisjoint(names)


FORMAT = mostly_single("snowflake", matches, decode)
