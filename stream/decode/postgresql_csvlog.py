"""PostgreSQL's log_destination = csvlog: sessions (log_connections), pgAudit's lines, statements (log_statement).

Fields: time: log_time. account: user_name. credential: session_id, which a connection issues and a disconnection ends.
source_ip: connection_from without its port; local sockets have none. user_agent: application_name, which the client
chooses. action: of pgAudit's class and command, else of command_tag; a COPY to the client is an export. resource: the
database and, where pgAudit names it, the qualified table. object: the table, where it is named. records: pgAudit's
rows, else 1. outcome: a failure for severity ERROR and above; a refused password is a failed login. id: session_id and
session_line_num.
Cannot tell: issuer, subject and the single rows, bytes; without pgAudit the table (a statement's text is not trusted
for that). A statement of several lines is told by its first, the others are dead letters. Zones other than UTC and
offsets are refused: set log_timezone.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from stream.checks import shown
from stream.decode import Format
from stream.decode._postgres import audited, command, fields, time
from stream.decode._typed import host
from stream.events import AccessEvent, Action, BadRecord

_LINE: Final = re.compile(
    r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})? (?:[A-Z]{1,5}|[+-]\d\d(?::?\d\d)?),(?:"[^"]*+"|),(?:"[^"]*+"|),\d*,',
    re.ASCII,
)
_STATEMENT: Final = re.compile(r"(?:duration: [\d.]{1,20} ms  )?(?:statement|execute [^:]{1,80}|parse [^:]{1,80}): ")
_FAILED: Final = ("ERROR", "FATAL", "PANIC")
_LOGIN_STATES: Final = ("28000", "28P01")


class _Told(NamedTuple):
    action: Action
    name: str = ""
    records: int = 1


def _told(message: str, tag: str, severity: str, state: str) -> _Told:
    """What a message says was done; raises BadRecord where it is about no access."""
    if message.startswith("AUDIT: "):
        return _Told(*audited(message.removeprefix("AUDIT: ")))
    if message.startswith("connection authorized:") or (severity == "FATAL" and state in _LOGIN_STATES):
        return _Told("login")
    if message.startswith("disconnection:"):
        return _Told("logout")
    if severity in _FAILED or _STATEMENT.match(message):
        return _Told(command(tag, message))
    raise BadRecord("not_an_access_event", f"message {shown(message[:60])}")


def _decode(record: bytes) -> AccessEvent:
    line = record.decode(errors="backslashreplace")
    if not _LINE.match(line):
        raise BadRecord("unknown_format", f"not a line of csvlog: {shown(line[:80])}")
    told = fields(line)
    if len(told) < 14:
        raise BadRecord("missing_field", f"{len(told)} values, csvlog has 23 or more: the line is cut off")
    user, database, session, severity = told[1], told[2], told[5], told[11]
    action, name, records = _told(told[13], told[7], severity, told[12])
    if not user:
        raise BadRecord("missing_field", "user_name is empty: a process of the server itself")
    date, _, zone = told[0].rpartition(" ")
    return AccessEvent(
        time=time(date, zone),
        account=user,
        action=action,
        resource=".".join(filter(None, (database, name))) or "postgresql",
        id=f"{session}:{told[6]}" if session and told[6] else "",
        credential=session,
        source_ip=host(told[4]) if told[4] != "[local]" else "",
        user_agent=told[22] if len(told) > 22 else "",
        object=name,
        records=records,
        outcome="failure" if severity in _FAILED else "success",
    )


def matches(record: bytes) -> bool:
    """Whether it begins as such a line does: time, user, database, process."""
    return _LINE.match(record.decode(errors="backslashreplace")) is not None


def decode(record: bytes) -> list[AccessEvent]:
    """The one event; raises BadRecord."""
    return [_decode(record)]


FORMAT = Format("postgresql_csvlog", matches, decode, fast=_decode)
