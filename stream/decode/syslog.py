"""Syslog around any other format: RFC 5424, RFC 3164 (BSD), and the files that rsyslog writes of either.

Fields: account, credential, issuer, source_ip, user_agent, action, resource, object, subject, records, bytes, outcome,
id and time are those of the message, read by the decoder of its format.
Cannot tell: anything that the message does not. The header's time, host and program are not taken for the event's: the
old header has neither year nor zone, and the host is the one that logged. A message whose own time is left to syslog,
as some logs do by default, is not read: turn the time on there.

The header may stand behind an octet count (RFC 6587) and the message behind a byte order mark, "@cee:", or the
counter that PostgreSQL puts there.
"""

from __future__ import annotations

import re
from typing import Final

from stream.checks import shown
from stream.decode import Format
from stream.decode._envelope import inner
from stream.events import AccessEvent, BadRecord

# Each repetition is possessive or bounded: one pass, whatever the line holds.
_HEADER: Final = re.compile(
    rb"(?:\d{1,7} )?(?:"
    # 1 time host app process message-id structured data
    rb'<\d{1,3}>1 \S++ \S++ \S++ \S++ \S++ (?:-|(?:\[[^\s\]"]++(?: [^\s="\]]++="(?:[^"\\]|\\.)*+")*+\])++)(?: |\Z)'
    # Jun 24 07:00:00 host program[17]: - or the time as RFC 3339; in a file without the priority
    rb"|(?:<\d{1,3}>)?"
    rb"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)) "
    rb"(?:(?!CEF:)[\w.:/-]{1,255} )?(?:(?!CEF:)[\w./()-]{1,64}(?:\[\d{1,10}\])?: ?)?"
    rb")(?:\xef\xbb\xbf)?(?:@cee: ?)?(?:\[\d{1,10}-\d{1,10}\] )?",
)


def _message(record: bytes) -> bytes:
    """What stands behind the header; b"" where there is no header."""
    found = _HEADER.match(record)
    return record[found.end() :] if found else b""


def matches(record: bytes) -> bool:
    """Whether it has a header and, behind it, a format that is known."""
    message = _message(record)
    return bool(message) and inner("syslog", message) is not None


def decode(record: bytes) -> list[AccessEvent]:
    """The events of the message; raises BadRecord."""
    message = _message(record)
    fmt = inner("syslog", message) if message else None
    if fmt is None:
        what = "behind its header no format is recognised" if message else "not a syslog header"
        raise BadRecord("unknown_format", f"{what}: {shown(record[:80])}")
    return fmt.decode(message)


FORMAT = Format("syslog", matches, decode)
