"""What PostgreSQL's logs share: its times, its commands, and the line that pgAudit writes."""

from __future__ import annotations

import csv
import re
from functools import lru_cache
from typing import Final, NamedTuple

from stream.checks import shown
from stream.events import Action, BadRecord

LINE_CHARS_MAX: Final = 65_536  # of a line are looked at: what is told comes before the statement's text
_UTC: Final = ("UTC", "GMT", "Z")
_OFFSET: Final = re.compile(r"([+-]\d\d):?(\d\d)?", re.ASCII)
_COPY_OUT: Final = re.compile(r"\bto\s+(?:stdout|program\b|')", re.IGNORECASE)
_ACTIONS: Final[dict[str, Action]] = {
    "SELECT": "read", "FETCH": "read", "TABLE": "read", "VALUES": "read", "WITH": "read", "EXECUTE": "read",
    "CALL": "read", "DO": "read", "SHOW": "list", "INSERT": "write", "UPDATE": "write", "MERGE": "write",
    "DELETE": "delete", "TRUNCATE": "delete", "CREATE": "admin", "ALTER": "admin", "DROP": "admin", "GRANT": "admin",
    "REVOKE": "admin", "COMMENT": "admin", "SECURITY": "admin", "REASSIGN": "admin", "IMPORT": "admin",
}  # fmt: skip
_CLASSES: Final[dict[str, Action]] = {
    "READ": "read", "WRITE": "write", "FUNCTION": "read", "ROLE": "admin", "DDL": "admin",
}  # fmt: skip


_VALUE: Final = r'(?:"(?:[^"]|"")*+"|[^,"]*+)'
_AUDIT: Final = re.compile(  # kind, two numbers, class, command, object type, object name; statement, parameters, rows
    rf'(?:SESSION|OBJECT),\d+,\d+,(\w+),([^,"]*+),[^,"]*+,({_VALUE})(?:,{_VALUE},{_VALUE}(?:,(\d{{1,18}}))?\Z)?',
    re.ASCII,
)


class Audited(NamedTuple):
    """What an audit line tells: the action, the qualified name of what it was done to ("" where none), and the rows."""

    action: Action
    name: str
    records: int


@lru_cache(maxsize=64)
def _zone(name: str) -> str:
    if name in _UTC:
        return "Z"
    if found := _OFFSET.fullmatch(name):
        return f"{found[1]}:{found[2] or '00'}"
    raise BadRecord("time_unreadable", f"time: zone {shown(name)} may mean several; set log_timezone = 'UTC'")


def time(date: str, zone: str) -> str:
    """The time of a log, such as "2025-06-24 07:00:00.123" and "UTC", as RFC 3339; raises BadRecord."""
    return date + _zone(zone)


def fields(line: str) -> list[str]:
    """The comma-separated values of one line, also where a quote is left open; raises BadRecord."""
    try:
        return next(csv.reader((line[:LINE_CHARS_MAX],)), [])
    except csv.Error as why:
        raise BadRecord("unknown_format", f"not comma-separated values: {why}") from None


def command(tag: str, statement: str) -> Action:
    """What a command does; raises BadRecord where it touches no data, such as BEGIN."""
    word = tag.partition(" ")[0]
    if word == "COPY":
        return "export" if _COPY_OUT.search(statement[:LINE_CHARS_MAX]) else "write"
    try:
        return _ACTIONS[word]
    except KeyError:
        raise BadRecord("not_an_access_event", f"command {shown(tag)} touches no data") from None


def audited(payload: str) -> Audited:
    """What follows "AUDIT: "; raises BadRecord.

    >>> audited("SESSION,1,1,READ,SELECT,TABLE,public.customers,select 1,<none>,250")
    Audited(action='read', name='public.customers', records=250)
    """
    found = _AUDIT.match(payload[:LINE_CHARS_MAX])
    if not found:
        raise BadRecord("missing_field", f"class and command are not in the audit line {shown(payload[:60])}")
    kind, tag, name, rows = found.groups()
    if kind == "READ" and tag.startswith("COPY"):
        action: Action = "export"
    elif tag.startswith(("DELETE", "TRUNCATE")):
        action = "delete"
    elif kind in _CLASSES:
        action = _CLASSES[kind]
    else:
        action = command(tag, "")
    name = name[1:-1].replace('""', '"') if name.startswith('"') else name
    return Audited(action, name, int(rows) if rows else 1)
