"""Access logs that nginx (log_format with escape=json) or Apache (LogFormat) writes as flat JSON, under the usual keys.

Fields, each the first key present of those in `KEYS` (case, "_" and "-" in a key do not matter): time: ISO 8601, the
time of the common log, or epoch seconds or milliseconds. account: the user, or where there is none the address of the
client. source_ip: the peer's address, not X-Forwarded-For, which any client can write. country: GeoIP's, where logged.
user_agent: as it is named. action, resource, object, subject: of the request, as in `accesslog`, whether it is one
line or method, path and query apart. bytes: those sent. outcome: a failure from status 400 on. id: of the request.
Cannot tell: credential and issuer, nor how many records a response held (records is 1). Whether a form
took the password. Without a status the request is taken to have succeeded, so that it is not overlooked.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from stream.decode import Format
from stream.decode._json import Record, load, number, peek, text
from stream.decode.accesslog import request, time_ms
from stream.events import AccessEvent, BadRecord

KEYS: Final = {
    "time": ("timeiso8601", "@timestamp", "timestamp", "timelocal", "time", "datetime", "date", "msec", "ts"),
    "client": ("remoteaddr", "remoteip", "clientip", "client", "remotehost", "clientaddr", "ip", "realip", "addr"),
    "user": ("remoteuser", "user", "username", "authuser"),
    "line": ("request", "requestline", "requestfirstline"),
    "method": ("requestmethod", "method", "verb", "httpmethod"),
    "path": ("requesturi", "uri", "url", "path", "requestpath", "requesturl"),
    "query": ("querystring", "query", "args", "requestquery"),
    "status": ("status", "response", "statuscode", "responsecode", "responsestatus", "httpstatus"),
    "bytes": ("bodybytessent", "bytessent", "bytes", "size", "responsesize", "bodybytes", "bytesout"),
    "user_agent": ("httpuseragent", "useragent", "agent", "ua"),
    "country": ("geoipcountrycode", "geoip2countrycode", "geoip2datacountrycode", "countrycode", "country"),
    "id": ("requestid", "xrequestid", "reqid", "uniqueid"),
}
_FOREIGN: Final = {"class_uid", "eventSource", "response_flags", "EVENT_TYPE"}  # no web server's log has these
_NOT_OURS: Final = _FOREIGN | {"account", "action", "eventName", "ecs", "event", "ecs.version"}

_LOG_TIME: Final = re.compile(r"\[?(\d\d/[A-Za-z]{3}/\d{4}:\d\d:\d\d):(\d\d) ([+-]\d{4})\]?", re.ASCII)
_SECONDS_MAX: Final = 100_000_000_000  # as seconds the year 5138, as milliseconds 1973
_EPOCH: Final = re.compile(r"\d{9,16}(?:\.\d{1,9})?", re.ASCII)


@lru_cache(maxsize=1024)
def _plain(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "")


def _fields(record: Record) -> Record:
    """The record's values that are text or numbers and not empty, by their plain keys."""
    return {
        _plain(key) if len(key) <= 64 else key: value
        for key, value in record.items()
        if value not in ("", "-") and isinstance(value, str | int | float)
    }


def _first(fields: Record, name: str) -> str:
    for key in KEYS[name]:
        if value := text(fields, key):
            return value
    return ""


def _count(fields: Record, name: str) -> int | float | None:
    for key in KEYS[name]:
        value = number(fields, key)
        if value is not None:
            return value
    return None


def _time(fields: Record) -> int | str:
    for key in KEYS["time"]:
        value = text(fields, key)
        if not value:
            continue
        if local := _LOG_TIME.fullmatch(value):
            return time_ms(*local.groups())
        if _EPOCH.fullmatch(value):
            epoch = float(value)
            return round(epoch * 1000 if epoch < _SECONDS_MAX else epoch)
        return value
    raise BadRecord("missing_field", f"no time under any of {', '.join(KEYS['time'])}")


def _line(fields: Record) -> str:
    """The request line, put together where it is logged in parts; "" where there is none."""
    line = _first(fields, "line")
    if line and not line.startswith("/"):
        return line
    path = line or _first(fields, "path")  # Apache's examples call the path the request
    query = _first(fields, "query").lstrip("?")
    if query and "?" not in path:
        path += "?" + query
    return f"{_first(fields, 'method').upper() or 'GET'} {path}" if path else ""


def matches(record: bytes) -> bool:
    """Whether client, request and status lie flat under usual keys, and nothing marks another format."""
    loaded = peek(record)
    if _NOT_OURS & loaded.keys():
        return False
    fields = _fields(loaded)
    return bool(_first(fields, "client") and _line(fields) and _first(fields, "status"))


def decode(record: bytes) -> list[AccessEvent]:
    """The one event; raises BadRecord."""
    loaded = load(record)
    if foreign := _FOREIGN & loaded.keys():
        raise BadRecord("unknown_format", f"{', '.join(sorted(foreign))}: of another format")
    fields = _fields(loaded)
    client = _first(fields, "client")
    account = _first(fields, "user") or client
    if not account:
        raise BadRecord("missing_field", f"neither a user nor an address: none of {', '.join(KEYS['client'])}")
    line = _line(fields)
    status = _count(fields, "status")
    if not line and status is None:
        raise BadRecord("missing_field", "neither a request nor a status: not an access log")
    action, resource, named, subject = request(line)
    failed = resource == "-" or (status is not None and status >= 400)
    return [
        AccessEvent(
            time=_time(fields),
            account=account,
            action=action,
            resource=resource,
            id=_first(fields, "id"),
            source_ip=client,
            country=_first(fields, "country"),
            user_agent=_first(fields, "user_agent"),
            object=named,
            subject=subject,
            bytes=_count(fields, "bytes") or 0,
            outcome="failure" if failed else "success",
        )
    ]


FORMAT = Format("accesslog_json", matches, decode)
