"""Common Event Format (ArcSight): "CEF:0|vendor|product|version|class|name|severity|key=value ...", one a line.

Fields: time: rt, else end or start: epoch ms, RFC 3339, or "Jun 24 2025 07:00:00"
with UTC or nothing behind it. account: suser or suid, else duser or duid, else the address src. source_ip: src, else
shost. user_agent: requestClientApplication. action: the verb in act, name, cat or the class id, else of requestMethod.
resource: the path of request with identifiers folded (as in `accesslog`), else filePath's folder,
destinationServiceName or the product. object: filePath, fname or the request's path. subject: duser where suser is
another, else the identifier in the path. records: cnt, how often it happened. bytes: out, else of an export fsize.
outcome: a failure if outcome or act says so (fail, deny, block, reject, drop).
Cannot tell: credential and issuer, how many records one event moved; id: externalId counts for each device anew.
A time without a year is refused: have the sender write rt in epoch ms.
What names no verb that is known, such as a port scan, is not_an_access_event.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from stream.checks import shown
from stream.decode import Format
from stream.decode._typed import count
from stream.decode._verbs import verb
from stream.decode.accesslog import NO_REQUEST, Request, request
from stream.events import AccessEvent, Action, BadRecord

_PART: Final = r"\|(?:[^|\\]|\\.)*+"
_KEPT: Final = r"\|((?:[^|\\]|\\.)*+)"
_HEADER: Final = re.compile(  # vendor, product, version, class, name, severity
    rf"CEF: ?[01]{_PART}{_KEPT}{_PART}{_KEPT}{_KEPT}{_PART}\|(.*)", re.DOTALL
)
_KEY: Final = re.compile(r"[A-Za-z][\w.\[\]-]{0,63}", re.ASCII)
_ESCAPE: Final = re.compile(r"\\([\\=|nr])")
_DATE: Final = re.compile(r"([A-Z][a-z]{2} \d\d? \d{4} \d\d:\d\d:\d\d)(\.\d{1,6})?(?: (?:UTC|GMT|Z))?", re.ASCII)
_FAILED: Final = re.compile(r"fail|den(?:y|ied)|block|reject|drop", re.IGNORECASE)
_TIMES: Final = ("rt", "end", "start")


def _plain(value: str) -> str:
    value = value.strip()
    return _ESCAPE.sub(lambda e: {"n": "\n", "r": "\r"}.get(e[1], e[1]), value) if "\\" in value else value


def _extension(text: str) -> dict[str, str]:
    """The values by their keys, the first of each; a value ends where " key=" begins."""
    first, *parts = text.split("=")
    found: dict[str, str] = {}
    key, value = first.strip(), ""
    for part in parts[:-1]:
        before, _, after = part.rpartition(" ")
        if _KEY.fullmatch(after) and before is not part:
            found.setdefault(key, value + before)
            key, value = after, ""
        else:  # the sign is in the value, escaped as it should be or not
            value += part + "="
    if parts:
        found.setdefault(key, value + parts[-1])
    return found


def _first(at: dict[str, str], *keys: str) -> str:
    return next((_plain(at[key]) for key in keys if at.get(key)), "")


@lru_cache(maxsize=4096)
def _second_ms(text: str) -> int:
    """Epoch ms of "Jun 24 2025 07:00:00"; raises BadRecord."""
    try:
        return int(datetime.strptime(text, "%b %d %Y %H:%M:%S").replace(tzinfo=UTC).timestamp()) * 1000
    except ValueError as why:
        raise BadRecord("time_unreadable", f"time: {shown(text)}: {why}") from None


def _time(fields: dict[str, str]) -> int | str:
    value = _first(fields, *_TIMES)
    if not value:
        raise BadRecord("missing_field", f"no time under {', '.join(_TIMES)}")
    if value.isascii() and value.isdigit() and len(value) <= 16:
        return int(value)
    if found := _DATE.fullmatch(value):
        return _second_ms(found[1]) + int(float(found[2] or 0) * 1000)
    return value  # RFC 3339, or `columns` says what is wrong with it


def _action(at: dict[str, str], name: str, class_id: str, asked: Request) -> Action | None:
    for words in (at.get("act", ""), name, at.get("cat", ""), class_id):
        if words and (said := verb(words[:256])):
            return said
    return asked.action if asked is not NO_REQUEST and at.get("requestMethod") else None


def _decode(record: bytes) -> AccessEvent:
    line = record.decode(errors="backslashreplace")
    found = _HEADER.match(line)
    if not found:
        raise BadRecord("unknown_format", f"not a CEF header of seven parts: {shown(line[:80])}")
    product, class_id, name, extension = found.groups()
    at = _extension(extension)
    path = _first(at, "request")
    asked = request(f"{at.get('requestMethod') or 'GET'} {path} HTTP/1.1") if path else NO_REQUEST
    action = _action(at, name, class_id, asked)
    if action is None:
        raise BadRecord("not_an_access_event", f"neither act, name {shown(name)} nor requestMethod says what was done")
    source, user, target = _first(at, "src", "shost"), _first(at, "suser", "suid"), _first(at, "duser", "duid")
    account = user or target or source
    if not account:
        raise BadRecord("missing_field", "neither suser, suid, duser nor src: nobody is named")
    file = _first(at, "filePath", "fname")
    place = file.replace("\\", "/").rpartition("/")[0] or _first(at, "destinationServiceName") or _plain(product)
    asked_for = place if asked is NO_REQUEST else asked.resource
    sent = at.get("out") or (at.get("fsize", "") if action == "export" else "")
    failed = _FAILED.search(at.get("outcome") or at.get("act", ""))
    return AccessEvent(
        time=_time(at), account=account, action=action, resource=asked_for, source_ip=source,
        user_agent=_first(at, "requestClientApplication"), object=file or asked.object,
        subject=(target if target != account else "") or asked.subject,
        records=count(at.get("cnt", "").strip()) or 1, bytes=count(sent.strip()),
        outcome="failure" if failed else "success",
    )  # fmt: skip


def matches(record: bytes) -> bool:
    """Whether it begins with a whole CEF header."""
    return record.startswith(b"CEF:") and _HEADER.match(record.decode(errors="backslashreplace")) is not None


def decode(record: bytes) -> list[AccessEvent]:
    """The one event; raises BadRecord."""
    return [_decode(record)]


FORMAT = Format("cef", matches, decode, fast=_decode)
