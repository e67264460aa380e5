"""Access logs of Envoy as JSON, under the names that Istio and Envoy Gateway give them.

Fields: time: start_time. account: the peer of a mesh (downstream_peer_uri_san or _subject, kind service), where there
is none the client's address, so that an unnamed client is still followed. credential, issuer: downstream_peer_serial
or _fingerprint_256, and downstream_peer_issuer, of its certificate. source_ip: downstream_remote_address without its
port. user_agent: user_agent or user-agent. action, resource, object, subject: of method and path, as in `accesslog`;
of a TCP connection a read of the server's name or the cluster. bytes: bytes_sent. outcome: a failure from
response_code 400 on, or without an answer where response_flags say why.
Cannot tell: the user behind a token; how many records a response held (records is 1). id: x-request-id is not one,
because a client may send its own. x-forwarded-for is not believed beyond what Envoy's trusted hops make of it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stream.decode import Format
from stream.decode._json import peek
from stream.decode._typed import Number, count, host, parsed
from stream.decode.accesslog import NO_REQUEST, request
from stream.events import AccessEvent, BadRecord

_RENAMED: Final = {"user_agent_header": "user-agent", "origin_path": "x-envoy-origin-path"}
_TCP: Final = (None, "", "-")
_Text = str | None


class _Entry(msgspec.Struct, rename=_RENAMED, gc=False):
    start_time: int | float | str
    downstream_remote_address: str
    method: _Text = None
    path: _Text = None
    origin_path: _Text = None
    response_code: Number = None
    response_flags: _Text = None
    bytes_sent: Number = None
    user_agent: _Text = None
    user_agent_header: _Text = None
    requested_server_name: _Text = None
    upstream_cluster: _Text = None
    downstream_peer_uri_san: _Text = None
    downstream_peer_subject: _Text = None
    downstream_peer_issuer: _Text = None
    downstream_peer_serial: _Text = None
    downstream_peer_fingerprint_256: _Text = None


_read: Final = msgspec.json.Decoder(_Entry).decode


def _first(*values: str | None) -> str:
    return next((value for value in values if value and value != "-"), "")


def _decode(record: bytes) -> AccessEvent:
    entry = parsed(_read, record)
    code, tcp = count(entry.response_code), entry.method in _TCP
    asked = NO_REQUEST if tcp else request(f"{entry.method} {_first(entry.origin_path, entry.path)} HTTP/1.1")
    peer = _first(entry.downstream_peer_uri_san, entry.downstream_peer_subject)
    source = host(entry.downstream_remote_address)
    resource = _first(entry.requested_server_name, entry.upstream_cluster) if tcp else asked.resource
    if not resource:
        raise BadRecord("missing_field", "neither method, requested_server_name nor upstream_cluster: no resource")
    if asked.action == "login":  # the certificate was shown to it, and not made by it
        entry.downstream_peer_serial = entry.downstream_peer_fingerprint_256 = entry.downstream_peer_issuer = None
    unanswered = code == 0 and bool(_first(entry.response_flags))
    return AccessEvent(
        time=entry.start_time,
        account=peer or source,
        action=asked.action,
        resource=resource,
        account_kind="service" if peer else "unknown",
        credential=_first(entry.downstream_peer_serial, entry.downstream_peer_fingerprint_256),
        issuer=_first(entry.downstream_peer_issuer),
        source_ip=source,
        user_agent=_first(entry.user_agent, entry.user_agent_header),
        object=asked.object,
        subject=asked.subject,
        bytes=count(entry.bytes_sent),
        outcome="failure" if code >= 400 or unanswered or resource == "-" else "success",
    )


def matches(record: bytes) -> bool:
    """Whether it has what only Envoy calls so."""
    return {"start_time", "downstream_remote_address", "response_flags"} <= peek(record).keys()


def decode(record: bytes) -> list[AccessEvent]:
    """The one event; raises BadRecord."""
    return [_decode(record)]


FORMAT = Format("envoy", matches, decode, fast=_decode)
