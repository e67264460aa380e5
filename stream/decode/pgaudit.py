"""Lines of PostgreSQL's text log that pgAudit wrote ("... LOG:  AUDIT: SESSION,1,1,READ,SELECT,TABLE,...").

Fields: time: %m or %t, which must come first in log_line_prefix. account: the user in the prefix: user=%u,db=%d, or
%u@%d, or %u %d. source_ip: client=%h, or %r as in %t:%r:%u@%d:[%p]: - where it is in the prefix. user_agent: app=%a.
action: by class and command; COPY to the client is an export, other roles and definitions are administration.
resource: database and qualified table, else the database. object: the same where a table is named. records: the rows,
where pgaudit.log_rows is on, else 1. outcome: always success: that a statement failed is told by another line.
Cannot tell: credential, issuer and logins (choose csvlog for those), subject and the single rows; bytes; id (file and
line stand in). Without pgaudit.log_relation only some statements name their table. A statement of several lines is
told by its first, the others are dead letters. Zones other than UTC and offsets are refused: set log_timezone.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from stream.checks import shown
from stream.decode import Format
from stream.decode._postgres import audited, time
from stream.decode._typed import host
from stream.events import AccessEvent, BadRecord

_LINE: Final = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?) ([A-Z]{1,5}|[+-]\d\d(?::?\d\d)?)(?![,\w])(.*)",
    re.ASCII | re.DOTALL,
)
_SEVERITY: Final = re.compile(r"(?:LOG|INFO|NOTICE|WARNING|DEBUG\d?): *\Z", re.ASCII)
_PREFIX_CHARS_MAX: Final = 1024
_NAMED: Final = re.compile(r"\b(user|db|app|client)=([^,\s]+)", re.ASCII)
_ADDRESS: Final = re.compile(r"(?:\A:?|\s)([0-9a-fA-F.:]{2,45}\(\d{1,5}\))", re.ASCII)
_PID: Final = re.compile(r"\[[^\]]{0,64}\]:?", re.ASCII)


class Session(NamedTuple):
    """Who a prefix names."""

    user: str
    database: str
    client: str
    application: str


@lru_cache(maxsize=4096)
def session(prefix: str) -> Session:
    """What a prefix without its time and process says; user is "" where it names nobody.

    >>> session(":192.0.2.7(5432):mara@sales:")
    Session(user='mara', database='sales', client='192.0.2.7', application='')
    """
    named = dict(_NAMED.findall(prefix))
    if "user" in named:
        client = named.get("client", "").removeprefix("[local]")
        return Session(named["user"], named.get("db", ""), host(client), named.get("app", ""))
    address = _ADDRESS.search(prefix)
    client = host(address[1]) if address else ""
    rest = prefix.replace(address[1], " ") if address else prefix
    words = [word for word in rest.replace(":", " ").split() if word not in ("-", "")]
    for word in words:
        user, at, database = word.rpartition("@")
        if at and user and database:
            return Session(user, database, client, "")
    return Session(words[0], words[1], client, "") if len(words) == 2 else Session("", "", "", "")


def _decode(record: bytes) -> AccessEvent:
    line = record.decode(errors="backslashreplace")
    found = _LINE.match(line)
    prefix, audit, payload = found[3].partition("AUDIT: ") if found else ("", "", "")
    severity = _SEVERITY.search(prefix[-_PREFIX_CHARS_MAX:])
    if not found or not severity:
        why = "not_an_access_event" if found and not audit else "unknown_format"
        raise BadRecord(why, f"no line of pgAudit: {shown(line[:80])}")
    before = prefix[:_PREFIX_CHARS_MAX].removesuffix(severity[0])
    who = session(_PID.sub(" ", before))
    if not who.user:
        raise BadRecord(
            "missing_field", f"no user in the prefix {shown(before)}: set log_line_prefix = '%m %u@%d [%p] '"
        )
    action, name, records = audited(payload)
    return AccessEvent(
        time=time(found[1], found[2]),
        account=who.user,
        action=action,
        resource=".".join(filter(None, (who.database, name))) or "postgresql",
        source_ip=who.client,
        user_agent=who.application,
        object=name,
        records=records,
    )


def matches(record: bytes) -> bool:
    """Whether pgAudit wrote it, behind a time."""
    if b"AUDIT: " not in record:
        return False
    found = _LINE.match(record.decode(errors="backslashreplace"))
    return found is not None and _SEVERITY.search(found[3].partition("AUDIT: ")[0][-_PREFIX_CHARS_MAX:]) is not None


def decode(record: bytes) -> list[AccessEvent]:
    """The one event; raises BadRecord."""
    return [_decode(record)]


FORMAT = Format("pgaudit", matches, decode, fast=_decode)
