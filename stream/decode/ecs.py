"""Elastic Common Schema documents, nested ({"source": {"ip": …}}), dotted ("source.ip") or both at once.

Fields: time: @timestamp. account: user.id, name or email, else client.user or source.user, else the service a call
came from (service.origin, kind service), else the client's address, so that an unnamed client is still followed.
credential: session.id, an API key's id, or the client certificate's serial number or hash; with a certificate, issuer
is who signed it. source_ip, asn, country: of source, else of client. user_agent: user_agent.original. action: from
event.category for logins and administration, else the verb in event.action, else the HTTP method, else event.type.
resource: url.path with identifiers folded (as in `accesslog`), else the file's folder, the database, the service, the
data set. object: url.path or file.path. subject: user.target, else the identifier in the path where there is exactly
one. bytes: of the response, else what the server sent, else of an exported file its size. outcome: event.outcome; where
that is unknown, a failure if the HTTP status is 400 or more or event.type is "denied". id: event.id. group: user.group.
Cannot tell: how many records left (records is 1); a credential where the source logs none: http.request.id, trace.id
and the like name a request, not a right. An address as account mixes all who come from it.

A document of metrics, alerts or states, or only of processes, hosts and the like, is not_an_access_event.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from stream.decode import Format
from stream.decode._json import Record, load, number, peek, text, time
from stream.decode._verbs import verb
from stream.decode.accesslog import NO_REQUEST, Request, request
from stream.events import AccessEvent, AccountKind, Action, BadRecord, Outcome

_PATH_CHARS_MAX: Final = 64
_ROOTS: Final = ("ecs", "event", "user", "source", "client", "url", "http")

_LOGINS: Final = {"authentication", "session"}
_ADMIN: Final = {"iam", "configuration"}
_DATA: Final = {"api", "database", "email", "file", "web"}
_BY_TYPE: Final[dict[str, Action]] = {
    "access": "read", "admin": "admin", "change": "write", "creation": "write", "deletion": "delete",
    "start": "login", "end": "logout",
}  # fmt: skip
_SERVICE: Final = re.compile(r"system:serviceaccount:.*|.*\.gserviceaccount\.com|.*\$", re.DOTALL)


def _flatten(record: Record, prefix: str, flat: Record) -> Record:
    """Every value that is no object, by its dotted path; longer paths than the schema's are left out, hence shallow."""
    for key, value in record.items():
        path = prefix + key
        if isinstance(value, dict):
            if len(path) < _PATH_CHARS_MAX:
                _flatten(value, path + ".", flat)
        elif value is not None:
            flat.setdefault(path, value)
    return flat


def _text(record: Record, *paths: str) -> str:
    """The first of the paths that holds a text or a number; "" where none does."""
    for path in paths:
        if path in record and (value := text(record, path)):
            return value
    return ""


def _number(record: Record, *paths: str) -> int | float | None:
    for path in paths:
        if path in record and (value := number(record, path)) is not None:
            return value
    return None


def _words(record: Record, path: str) -> set[str]:
    """The keywords at the path, which ECS writes as one or as a list."""
    value = record.get(path)
    return {item.lower() for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)}


def _account(record: Record, source_ip: str) -> tuple[str, AccountKind]:
    """The account and its kind; raises BadRecord where nobody is named."""
    for user in ("user", "client.user", "source.user"):
        account = _text(record, f"{user}.id", f"{user}.name", f"{user}.email")
        if account:
            names = (account, _text(record, f"{user}.name"))
            return account, "service" if any(map(_SERVICE.fullmatch, names)) else "unknown"
    service = _text(record, "service.origin.id", "service.origin.name")
    if service:
        return service, "service"
    if source_ip:
        return source_ip, "unknown"
    raise BadRecord("missing_field", "neither user.id, user.name, user.email nor source.ip: nobody is named")


def _credential(record: Record) -> tuple[str, str]:
    """The credential and its issuer, "" where the document names none."""
    credential = _text(record, "session.id", "user.session.id", "apikey.id", "api_key.id")
    if credential:
        return credential, ""
    certificate = _text(record, "tls.client.x509.serial_number", "tls.client.hash.sha256", "tls.client.hash.sha1")
    issuer = _text(record, "tls.client.x509.issuer.distinguished_name", "tls.client.issuer") if certificate else ""
    return certificate, issuer


def _action(record: Record, asked: Request) -> Action:
    """The action; raises BadRecord where the event is none of access."""
    kind = _text(record, "event.kind") or "event"
    if kind != "event":
        raise BadRecord("not_an_access_event", f"event.kind is {kind[:40]!r}")
    categories, types = _words(record, "event.category"), _words(record, "event.type")
    said = verb(_text(record, "event.action")[:256])
    if categories & _ADMIN:
        return "admin"
    if categories & _LOGINS:
        return "logout" if said == "logout" or (said != "login" and "end" in types) else "login"
    if categories and not categories & _DATA:
        raise BadRecord("not_an_access_event", f"event.category is {', '.join(sorted(categories))[:80]!r}")
    if asked.action in ("login", "logout"):
        return asked.action
    by_type = next((_BY_TYPE[name] for name in sorted(types) if name in _BY_TYPE), None)
    by_request = asked.action if asked is not NO_REQUEST else None
    if _text(record, "http.request.method") and by_request:  # web servers' modules call every method "access"
        by_type = by_request
    action = said or by_type or by_request
    if not action and not categories:
        raise BadRecord("not_an_access_event", "neither event.category, action, type nor a request says what was done")
    return action or "read"


def _candidates(record: Record, asked: Request) -> Iterator[str]:
    yield asked.resource if asked is not NO_REQUEST else ""
    yield _text(record, "file.directory") or _text(record, "file.path").replace("\\", "/").rpartition("/")[0]
    yield _text(record, "db.name", "database.name", "service.name", "event.dataset", "event.provider", "event.module")


def _asked(record: Record) -> Request:
    path = _text(record, "url.path") or _text(record, "url.original", "url.full").partition("#")[0]
    query = _text(record, "url.query")
    if query and "?" not in path:
        path += "?" + query
    return request(f"{_text(record, 'http.request.method').upper() or 'GET'} {path}")


def matches(record: bytes) -> bool:
    """Whether it has @timestamp and one of the schema's own groups of fields."""
    loaded = peek(record)
    return "@timestamp" in loaded and any(
        isinstance(loaded.get(root), dict) or any(key.startswith(f"{root}.") for key in loaded) for root in _ROOTS
    )


def decode(record: bytes) -> list[AccessEvent]:
    """The one event; raises BadRecord."""
    loaded = _flatten(load(record), "", {})
    at = time(loaded, "@timestamp")
    asked = _asked(loaded)
    action = _action(loaded, asked)
    source_ip = _text(loaded, "source.ip", "client.ip", "source.address", "client.address")
    account, kind = _account(loaded, source_ip)
    resource = next(filter(None, _candidates(loaded, asked)), "")
    if not resource:
        raise BadRecord("missing_field", "neither url.path, file.path, service.name nor event.dataset: no resource")
    credential, issuer = _credential(loaded)
    if action == "login" and not _words(loaded, "event.category") & {"authentication", "session", "iam"}:
        credential = issuer = ""  # a page that is called login: the session was shown to it, and not made by it
    sent = _number(loaded, "http.response.body.bytes", "http.response.bytes", "server.bytes", "destination.bytes")
    if sent is None and action == "export":
        sent = _number(loaded, "file.size")
    asn = _number(loaded, "source.as.number", "client.as.number")
    return [
        AccessEvent(
            time=at,
            account=account,
            action=action,
            resource=resource,
            id=_text(loaded, "event.id"),
            account_kind=kind,
            group=_text(loaded, "user.group.name", "user.group.id"),
            credential=credential,
            issuer=issuer,
            source_ip=source_ip,
            asn=asn if isinstance(asn, int) else -1,
            country=_text(loaded, "source.geo.country_iso_code", "client.geo.country_iso_code"),
            user_agent=_text(loaded, "user_agent.original"),
            object=asked.object or _text(loaded, "file.path", "file.name"),
            subject=_text(loaded, "user.target.id", "user.target.name", "user.target.email") or asked.subject,
            bytes=0 if sent is None else sent,
            outcome=_outcome(loaded),
        )
    ]


def _outcome(record: Record) -> Outcome:
    said = _text(record, "event.outcome").lower()
    status = _number(record, "http.response.status_code")
    denied = (status is not None and status >= 400) or "denied" in _words(record, "event.type")
    return "failure" if said == "failure" or (said != "success" and denied) else "success"


FORMAT = Format("ecs", matches, decode)
