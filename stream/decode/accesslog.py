r"""Access log lines of Apache and nginx: common and combined, with or without the virtual host in front.

Fields: time: the bracket, with its zone. account: the user, or where there is none the address of the client, so that
an unnamed client is still followed. source_ip: the first field, an address or the host name that the server looked up.
user_agent: the last quoted field of combined. action: of the method; a POST to a login path is a login. resource: the
path with identifiers folded (/users/17/mail is /users/{id}/mail), without the query. object: the path, and of the
query the parameters named like an id, if they hold a number: the rest may be secrets. subject: the identifier in the
object where there is exactly one. bytes: those sent. outcome: a failure from status 400 on.
Cannot tell: credential and issuer, nor how many records a response held (records is 1); id (file and line
stand in). A user of a failed request is who the client claimed to be. A form that answers a wrong password with status
200 looks like a login that succeeded.

Escapes (\x16, \") stay as the server wrote them, and bytes that are not UTF-8 are written the same way. A request line
that is none, empty or garbage such as a TLS greeting to a plain port, is a failed read of "-": nothing a client sends
hides what it did. What follows the fields of combined is not looked at.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Final, NamedTuple

from stream.checks import shown
from stream.decode import Format
from stream.events import AccessEvent, Action, BadRecord

# Every repetition is possessive or cannot cross the quote that ends it: one pass, whatever the line holds.
QUOTED: Final = r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
_LINE: Final = re.compile(
    r"(?!(?:\d{1,7} )?<\d|[A-Z][a-z]{2} [ \d]\d \d|\d{4}-\d\d-\d\dT)"  # a syslog header, not a client
    r"(?:[^\s:]++:\d{1,5} (?!- ))?"  # the virtual host and its port, in front of the client
    r'(\S++) \S++ (-|""|(?:[^"\\]|\\.)+?) \[([^\]]{17}):(\d\d) ([+-]\d{4})\] '
    + QUOTED
    + rf" (\d{{3}}) (\d{{1,19}}|-)(?: {QUOTED} {QUOTED}?)?",  # a line cut off in its user agent is a whole request
    re.ASCII,
)
_MINUTE: Final = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d)", re.ASCII)
_MONTHS: Final = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_METHOD: Final = re.compile(r"[A-Z_-]{3,20}", re.ASCII)
_ACTIONS: Final[dict[str, Action]] = {
    "POST": "write", "PUT": "write", "PATCH": "write", "MKCOL": "write", "COPY": "write", "MOVE": "write",
    "DELETE": "delete",
}  # fmt: skip
_LOGIN: Final = re.compile(
    r"(?:.*/)?(?:(?:wp-)?log-?_?[io]n|sign-?_?in|sessions?|authenticate|(?:oauth2?|auth|connect)(?:/v[\d.]+)?/token)"
    r"(?:\.[a-z]{1,4})?/?",
    re.ASCII | re.IGNORECASE,
)
_LOGOUT: Final = re.compile(r"(?:.*/)?(?:log|sign)-?_?(?:out|off)(?:\.[a-z]{1,4})?/?", re.ASCII | re.IGNORECASE)

_IDENTIFIER: Final = (
    r"\d+"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|(?=[a-f]*\d)[0-9a-f]{8,}"  # a digit in it: words such as "defaced" are folders
    r"|[^/@%]+(?:@|%40)[^/@%]+\.[a-z]+"
    r"|[^/]{65,}"  # nobody names a folder so
)
_SEGMENT: Final = re.compile(rf"/({_IDENTIFIER})(\.[a-z]\w{{0,4}})?(?=/|\Z)", re.ASCII | re.IGNORECASE)
_ID_PARAMETER: Final = re.compile(r"(?:\A|(?<=&))(\w{0,30}id)=(\d{1,20})(?=&|\Z)", re.ASCII | re.IGNORECASE)

_LOOKED_AT: Final = 1024  # characters of a request that are folded and kept in the cache; what follows is only named


class Request(NamedTuple):
    """What a request line says: fields of AccessEvent of the same names."""

    action: Action
    resource: str
    object: str
    subject: str


NO_REQUEST: Final = Request("read", "-", "", "")


def request(line: str) -> Request:
    """The request of a line such as "GET /users/17 HTTP/1.1"; NO_REQUEST where it is none.

    >>> request("GET /users/17/mail?token=x&msg_id=4 HTTP/1.1")
    Request(action='read', resource='/users/{id}/mail', object='/users/17/mail?msg_id=4', subject='')
    """
    return _short_request(line) if len(line) <= _LOOKED_AT else _request(line)


def _request(line: str) -> Request:
    method, _, rest = line.partition(" ")
    before, _, version = rest.rpartition(" ")
    target = before if version.startswith("HTTP/") else rest  # a target may hold blanks
    if not target or not _METHOD.fullmatch(method):
        return NO_REQUEST
    path, _, query = target.partition("?")
    if not path.startswith("/") and "://" in path:  # as a proxy is asked
        path = "/" + path.partition("://")[2].partition("/")[2]
    seen = path[:_LOOKED_AT]
    identifiers: list[str] = []

    def fold(segment: re.Match[str]) -> str:
        identifiers.append(segment[1])
        return "/{id}" + (segment[2] or "")

    resource = _SEGMENT.sub(fold, seen)
    named = path
    if parameters := _ID_PARAMETER.findall(query[:_LOOKED_AT]):
        named += "?" + "&".join(f"{key}={value}" for key, value in parameters)
        identifiers += [value for _, value in parameters]
    subject = identifiers[0] if len(identifiers) == 1 else ""
    return Request(_action(method, seen), resource, named, subject)


_short_request = lru_cache(maxsize=16_384)(_request)


def _action(method: str, path: str) -> Action:
    if method == "POST" and _LOGIN.fullmatch(path):
        return "login"
    return "logout" if _LOGOUT.fullmatch(path) else _ACTIONS.get(method, "read")


@lru_cache(maxsize=4096)
def _minute_ms(minute: str, zone: str) -> int:
    """Epoch ms of "17/May/2015:10:05" in the zone "+0000"; raises BadRecord."""
    found = _MINUTE.fullmatch(minute)
    try:
        if not found:
            raise ValueError("not of the form 17/May/2015:10:05:03 +0000")
        away = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
        day, month, year, hour, of_hour = found.groups()
        there = timezone(-away if zone[0] == "-" else away)
        at = datetime(int(year), _MONTHS.index(month), int(day), int(hour), int(of_hour), tzinfo=there)
    except ValueError as why:
        raise BadRecord("time_unreadable", f"time: {shown(minute)} {zone}: {why}") from None
    return int(at.timestamp()) * 1000


def time_ms(minute: str, second: str, zone: str) -> int:
    """Epoch ms of the parts of a log's time; a leap second counts as the next; raises BadRecord."""
    if second > "60":
        raise BadRecord("time_unreadable", f"time: {shown(minute)}:{second} has no such second")
    return _minute_ms(minute, zone) + int(second) * 1000


def _decode(record: bytes) -> AccessEvent:
    try:
        line = record.decode()
    except UnicodeDecodeError:
        line = record.decode(errors="backslashreplace")
    found = _LINE.match(line)
    if not found:
        raise BadRecord("unknown_format", f"not a line of the common or combined log: {shown(line[:80])}")
    client, user, minute, second, zone, asked, status, sent, _, agent = found.groups()
    action, resource, named, subject = request(asked)
    return AccessEvent(
        time=time_ms(minute, second, zone),
        account=client if user in ("-", '""') else user,
        action=action,
        resource=resource,
        source_ip=client,
        user_agent="" if agent is None or agent == "-" else agent,
        object=named,
        subject=subject,
        bytes=0 if sent == "-" else int(sent),
        outcome="failure" if status >= "400" or resource == "-" else "success",
    )


def matches(record: bytes) -> bool:
    """Whether it is such a line; its time may still be none."""
    return _LINE.match(record.decode(errors="backslashreplace")) is not None


def decode(record: bytes) -> list[AccessEvent]:
    """The one event; raises BadRecord."""
    return [_decode(record)]


FORMAT = Format("accesslog", matches, decode, fast=_decode)
