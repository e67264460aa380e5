"""Access logs of AWS Application Load Balancers, one request a line.

Fields: time: when the answer was given (UTC). account: the client's address, so that an unnamed client is still
followed. source_ip: the client, without its port; behind a proxy that is the proxy. user_agent: as quoted. action,
resource, object, subject: of the request, as in `accesslog`. bytes: those sent, headers and all. outcome: a failure
from status 400 of the balancer on, or where there is no request.
Cannot tell: who asked (no user), credential and issuer, nor how many records a response held (records is 1); id: the
trace id is not one, because a client may send its own. The certificate of a client is in the connection log only.
"""

from __future__ import annotations

import re
from typing import Final

from stream.checks import shown
from stream.decode import Format
from stream.decode.accesslog import QUOTED, request
from stream.events import AccessEvent, BadRecord

_LINE: Final = re.compile(
    r"(?:https?|h2|grpcs|wss?) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z) \S++ (\S++) \S++ \S++ \S++ \S++ "
    rf"(\d{{3}}|-) \S++ \d{{1,19}} (\d{{1,19}}) {QUOTED} (?:{QUOTED}|\"\")",
    re.ASCII,
)


def _text(record: bytes) -> str:
    return record.decode(errors="backslashreplace")


def _decode(record: bytes) -> AccessEvent:
    found = _LINE.match(_text(record))
    if not found:
        raise BadRecord("unknown_format", f"not a line of a load balancer's access log: {shown(_text(record)[:80])}")
    at, client, status, sent, asked, agent = found.groups()
    action, resource, named, subject = request(asked)
    address = client.rpartition(":")[0].strip("[]") or client
    return AccessEvent(
        time=at,
        account=address,
        action=action,
        resource=resource,
        source_ip=address,
        user_agent="" if agent is None or agent == "-" else agent,
        object=named,
        subject=subject,
        bytes=int(sent),
        outcome="failure" if status >= "400" or resource == "-" else "success",
    )


def matches(record: bytes) -> bool:
    """Whether it is such a line."""
    return _LINE.match(_text(record)) is not None


def decode(record: bytes) -> list[AccessEvent]:
    """The one event; raises BadRecord."""
    return [_decode(record)]


FORMAT = Format("alb", matches, decode, fast=_decode)
