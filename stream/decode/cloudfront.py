"""Standard access logs of AWS CloudFront: tab-separated in the standard order of fields, or JSON under their names.

Fields: time: date and time (UTC), when the answer was given. account: c-ip, so that an unnamed client is still
followed. source_ip: c-ip. country, asn: c-country and asn, where they were chosen for the log. user_agent:
cs(User-Agent), percent signs undone. action, resource, object, subject: of cs-method, cs-uri-stem and cs-uri-query, as
in `accesslog`. bytes: sc-bytes. outcome: a failure from sc-status 400 on; 000, a client that left early, is none.
id: x-edge-request-id.
Cannot tell: who asked (no user); credential and issuer: cookies are secrets and are not looked at; how many records a
response held (records is 1). x-forwarded-for is not believed. Lines of fields in another order are refused: choose
JSON for those. The lines that begin with "#" name the fields and are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from stream.checks import shown
from stream.decode import Format
from stream.decode._json import load, number, peek, text
from stream.decode._typed import count
from stream.decode.accesslog import request
from stream.events import AccessEvent, BadRecord

_LINE: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)\t(\d\d:\d\d:\d\d)\t[A-Z]{3}[\w-]{1,20}\t(\d{1,19}|-)\t([^\t]++)\t"  # date to client
    r"([^\t]++)\t[^\t]*+\t([^\t]++)\t(\d{3}|-)\t[^\t]*+\t([^\t]*+)\t"  # to the agent
    r"([^\t]*+)\t[^\t]*+\t[^\t]*+\t([^\t]++)",  # to the id
    re.ASCII,
)
_KEYS: Final = (
    "date", "time", "sc-bytes", "c-ip", "cs-method", "cs-uri-stem", "sc-status", "cs(User-Agent)", "cs-uri-query",
    "x-edge-request-id",
)  # fmt: skip
_NEEDED: Final = ("date", "time", "c-ip", "cs-method", "cs-uri-stem")
_NOTHING: Final = ("", "-")
_unquoted = lru_cache(maxsize=4096)(unquote)


def _event(values: Sequence[str], asn: int = -1, country: str = "") -> AccessEvent:
    """The event of the values of _KEYS."""
    date, time, size, client, method, path, status, agent, query, request_id = values
    line = f"{method} {path} HTTP/1.1" if query in _NOTHING else f"{method} {path}?{query} HTTP/1.1"
    action, resource, named, subject = request(line)
    return AccessEvent(
        time=f"{date}T{time}Z",
        account=client,
        action=action,
        resource=resource,
        id="" if request_id in _NOTHING else request_id,
        source_ip=client,
        asn=asn,
        country=country,
        user_agent="" if agent in _NOTHING else _unquoted(agent),
        object=named,
        subject=subject,
        bytes=count(size),
        outcome="failure" if resource == "-" or (status.isdigit() and status >= "400") else "success",
    )


def _of_line(record: bytes) -> AccessEvent:
    found = _LINE.match(record.decode(errors="backslashreplace"))
    if not found:
        raise BadRecord("unknown_format", f"not the fields of a standard log in their order: {shown(record[:80])}")
    return _event(found.groups())


def _of_json(record: bytes) -> AccessEvent:
    loaded = load(record)
    missing = [key for key in _NEEDED if not text(loaded, key)]
    if missing:
        raise BadRecord("missing_field", f"{', '.join(missing)}: not in the record; choose these fields for the log")
    asn = number(loaded, "asn")
    country = text(loaded, "c-country").replace("-", "")
    return _event([text(loaded, key) for key in _KEYS], asn if isinstance(asn, int) else -1, country)


def matches(record: bytes) -> bool:
    """Whether it is a line in the standard order, the line that names the fields, or JSON with an edge location."""
    if record[:1] == b"{":
        return {"x-edge-location", "c-ip", "cs-uri-stem"} <= peek(record).keys()
    line = record.decode(errors="backslashreplace")
    return _LINE.match(line) is not None or (line.startswith("#Fields:") and "x-edge-location" in line)


def _decode(record: bytes) -> AccessEvent:
    return _of_json(record) if record[:1] == b"{" else _of_line(record)


def decode(record: bytes) -> list[AccessEvent]:
    """The one event, or none of a line of names; raises BadRecord."""
    return [] if record[:1] == b"#" else [_decode(record)]


FORMAT = Format("cloudfront", matches, decode, fast=_decode)
