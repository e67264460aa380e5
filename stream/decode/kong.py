"""Requests as the logging plugins of the Kong gateway write them (file-log, http-log, tcp-log, udp-log): JSON objects.

Fields: time: started_at. account: the consumer's username, custom_id or id, else the consumer of the credential, else
the client's address, so that an unnamed client is still followed. credential: authenticated_entity.id, which names the
key or token and is not the secret. source_ip: client_ip. user_agent: of the request's headers. action, resource,
object, subject: of method and uri, as in `accesslog`. bytes: response.size, headers and all. outcome: a failure from
response.status 400 on. id: request.id, which Kong makes.
Cannot tell: issuer, nor how many records a response held (records is 1). A login at the services behind is seen as a
request to its path, and not which token it gave. Connections of streams, which have a session and no request, are not
read: they name neither a consumer nor a path.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from stream.decode import Format
from stream.decode._json import peek
from stream.decode._typed import Number, count, parsed
from stream.decode.accesslog import request
from stream.events import AccessEvent, BadRecord

_Id = str | int | None


class _Headers(msgspec.Struct, rename={"user_agent": "user-agent"}):
    user_agent: Any = None


class _Request(msgspec.Struct):
    method: str
    uri: str
    id: str | None = None
    headers: _Headers | None = None


class _Response(msgspec.Struct):
    status: Number = None
    size: Number = None


class _Consumer(msgspec.Struct):
    username: _Id = None
    custom_id: _Id = None
    id: _Id = None


class _Entity(msgspec.Struct):
    id: _Id = None
    consumer_id: _Id = None


class _Entry(msgspec.Struct):
    started_at: int | float | str
    request: _Request
    response: _Response | None = None
    client_ip: str | None = None
    consumer: _Consumer | None = None
    authenticated_entity: _Entity | None = None


_read: Final = msgspec.json.Decoder(_Entry).decode
_NOBODY: Final = _Consumer()
_NO_ENTITY: Final = _Entity()
_NO_RESPONSE: Final = _Response()


def _decode(record: bytes) -> AccessEvent:
    entry = parsed(_read, record)
    consumer, entity = entry.consumer or _NOBODY, entry.authenticated_entity or _NO_ENTITY
    response = entry.response or _NO_RESPONSE
    account = consumer.username or consumer.custom_id or consumer.id or entity.consumer_id or entry.client_ip
    if not account:
        raise BadRecord("missing_field", "neither consumer, authenticated_entity nor client_ip: nobody is named")
    action, resource, named, subject = request(f"{entry.request.method} {entry.request.uri} HTTP/1.1")
    agent = entry.request.headers.user_agent if entry.request.headers else None
    if isinstance(agent, list):  # a header that was sent more than once
        agent = agent[0] if agent else None
    return AccessEvent(
        time=entry.started_at,
        account=str(account),
        action=action,
        resource=resource,
        id=entry.request.id,
        credential="" if entity.id is None or action == "login" else str(entity.id),  # a login page makes another
        source_ip=entry.client_ip,
        user_agent=agent if isinstance(agent, str) else "",
        object=named,
        subject=subject,
        bytes=count(response.size),
        outcome="failure" if count(response.status) >= 400 or resource == "-" else "success",
    )


def matches(record: bytes) -> bool:
    """Whether it has what Kong alone has side by side."""
    loaded = peek(record)
    return {"started_at", "latencies"} <= loaded.keys() and isinstance(loaded.get("request"), dict)


def decode(record: bytes) -> list[AccessEvent]:
    """The one event; raises BadRecord."""
    return [_decode(record)]


FORMAT = Format("kong", matches, decode, fast=_decode)
