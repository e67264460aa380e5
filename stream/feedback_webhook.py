"""Verdicts by webhook: whoever has the secret says of an alert what it was, and the topic of feedback keeps it.

    POST /feedback   {"alert": "tl-3f0c...", "verdict": "false", "who": "ann@soc", "note": "the monthly export",
                      "mute": {"entities": [{"kind": "account", "value": "svc-1"}], "for_s": 604800}}

Signed as alerts are (`stream.subscribers.webhook`): `webhook-id`, `webhook-timestamp`, `webhook-signature`, of which
several may stand there with spaces between them while a secret is renewed. A timestamp more than five minutes off is
refused, so that nobody can repeat what they overheard later; a repeat of an id is accepted and is no second entry. The
answer is JSON: the entry's `number` and `hash`, or the `error`, which names the value, the limit and what to do.
"""

from __future__ import annotations

import hmac
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from http import HTTPStatus
from threading import Lock
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from detectors import catalog
from detectors.base import KINDS
from stream import feedback_topic
from stream.alerts import Alert, EntityRef
from stream.analyst import topic
from stream.analyst.told import Told, Unread, decoded
from stream.config import Config, Kafka
from stream.errors import TriplineError, UsageError
from stream.feedback import MUTE_MAX_MS, SCHEMA, Entry, Mute, about
from stream.metrics.serve import listen, tls
from stream.ranking import features_of_alert
from stream.secret import is_loopback
from stream.subscribers._secret import secret
from stream.subscribers.webhook import sign

log = logging.getLogger("tripline")

PATH: Final = "/feedback"
SECRET: Final = "respond.feedback_secret_from"  # noqa: S105 - the setting that names it
BODY_BYTES_MAX: Final = 16_384
ID_CHARS_MAX: Final = 256
SKEW_MAX_S: Final = 300
SIGNATURES_MAX: Final = 8

Name = Annotated[str, Meta(min_length=1, max_length=256)]


class Muted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is not to be told, and for how long from now on; without entities and detectors, the alert's own entity."""

    for_s: Annotated[float, Meta(gt=0, le=MUTE_MAX_MS / 1000)]
    entities: Annotated[tuple[EntityRef, ...], Meta(max_length=8)] = ()
    detectors: Annotated[tuple[str, ...], Meta(max_length=32)] = ()


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the body of a request says."""

    alert: Name
    verdict: Literal["true", "false", "expected"]
    who: Name
    note: Annotated[str, Meta(max_length=2_048)] = ""
    mute: Muted | None = None


_decoder = msgspec.json.Decoder(Said)


class Refused(Exception):  # noqa: N818 - it is the sender's error, and the answer to it
    """A request that is answered by a status of 400 or more, and why."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class Webhook:
    """Takes requests in, one at a time beyond their signature.

    key: gives the secret, anew for each request. find: the alert of an id, UsageError where none was told.
    load, append: the log of feedback, TriplineError where it cannot be had. `answers` counts them by status.
    """

    def __init__(
        self, key: Callable[[], str], find: Callable[[str], Alert], load: Callable[[], list[Entry]],
        append: Callable[[Entry], Entry], clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.answers: Counter[int] = Counter()
        self._key, self._find, self._load, self._append, self._clock = key, find, load, append, clock
        self._one = Lock()

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The WSGI application."""
        status, answer, headers = HTTPStatus.OK, dict[str, Any](), [("Content-Type", "application/json")]
        try:
            entry = self._take(environ)
            answer = {"number": entry.number, "hash": entry.hash}
        except Refused as why:
            status, answer = why.status, {"error": str(why)}
            if status is HTTPStatus.METHOD_NOT_ALLOWED:
                headers.append(("Allow", "POST"))
        except TriplineError as why:
            status, answer = HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(why)}
            headers.append(("Retry-After", "5"))
        self.answers[status] += 1
        start_response(f"{status.value} {status.phrase}", headers)
        return [msgspec.json.encode(answer) + b"\n"]

    def _take(self, environ: Mapping[str, Any]) -> Entry:
        if environ.get("PATH_INFO") != PATH:
            raise Refused(HTTPStatus.NOT_FOUND, f"there is nothing here but {PATH}")
        if environ.get("REQUEST_METHOD") != "POST":
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{PATH} takes POST alone")
        body = _body(environ)
        request = self._signed(environ, body)
        try:
            said = _decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as why:
            raise Refused(HTTPStatus.BAD_REQUEST, f"the body: {why}") from None
        _check(said.mute)
        with self._one:
            return self._kept(request, said)

    def _signed(self, environ: Mapping[str, Any], body: bytes) -> str:
        """The id of a request whose signature is right."""
        request, timestamp = environ.get("HTTP_WEBHOOK_ID", ""), environ.get("HTTP_WEBHOOK_TIMESTAMP", "")
        if not 0 < len(request) <= ID_CHARS_MAX or not re.fullmatch("[0-9]{1,15}", timestamp):
            raise Refused(
                HTTPStatus.UNAUTHORIZED,
                f"webhook-id must have 1 to {ID_CHARS_MAX} characters, webhook-timestamp seconds since 1970",
            )
        off_s = abs(int(timestamp) - int(self._clock()))
        if off_s > SKEW_MAX_S:
            raise Refused(
                HTTPStatus.UNAUTHORIZED,
                f"webhook-timestamp is {off_s:,} s off this clock, the limit is {SKEW_MAX_S}; send it anew",
            )
        try:
            due = sign(self._key(), request, int(timestamp), body).encode()
        except UsageError as why:  # says where the secret is, which is nothing for strangers
            log.warning("a request to the webhook of feedback cannot be checked: %s", why)
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the secret cannot be had here; its log says why") from None
        given = environ.get("HTTP_WEBHOOK_SIGNATURE", "").split()[:SIGNATURES_MAX]
        if not any(hmac.compare_digest(each.encode("latin-1", "replace"), due) for each in given):
            raise Refused(
                HTTPStatus.UNAUTHORIZED,
                f"webhook-signature is not that of this id, timestamp and body under {SECRET}",
            )
        return str(request)

    def _kept(self, request: str, said: Said) -> Entry:
        for entry in self._load():
            if entry.request == request:
                return entry
        try:
            alert = self._find(said.alert)
        except UsageError as why:
            raise Refused(HTTPStatus.NOT_FOUND, str(why)) from None
        now_ms = int(self._clock() * 1000)
        entry = Entry(
            schema=SCHEMA, number=0, previous="", time_ms=now_ms, who=said.who, verdict=said.verdict, note=said.note,
            about=about(alert, features_of_alert(alert)), mute=_mute(said.mute, alert, now_ms), request=request,
        )  # fmt: skip
        return self._append(entry)


def _body(environ: Mapping[str, Any]) -> bytes:
    length = environ.get("CONTENT_LENGTH") or ""
    if not (length.isascii() and length.isdigit()):
        raise Refused(HTTPStatus.LENGTH_REQUIRED, "say how long the body is, in Content-Length")
    if len(length) > len(str(BODY_BYTES_MAX)) or int(length) > BODY_BYTES_MAX:
        raise Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body of {length[:20]} bytes, the limit is {BODY_BYTES_MAX:,}"
        )
    try:
        body: bytes = environ["wsgi.input"].read(int(length))
    except OSError:
        body = b""
    if len(body) < int(length):
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, f"the body ended, or rested, before its {length} bytes")
    return body


def _check(mute: Muted | None) -> None:
    """Refused where a mute names what there is not: it would hide nothing, and nobody would know."""
    for number, ref in enumerate(mute.entities if mute else ()):
        if ref.kind not in KINDS:
            raise Refused(HTTPStatus.BAD_REQUEST, f"mute.entities[{number}].kind = {ref.kind!r} is none of {KINDS}")
    known = catalog.detector_ids()
    for number, name in enumerate(mute.detectors if mute else ()):
        if name not in known:
            raise Refused(HTTPStatus.BAD_REQUEST, f"mute.detectors[{number}] = {name!r} is none of {tuple(known)}")


def _mute(mute: Muted | None, alert: Alert, now_ms: int) -> Mute | None:
    if mute is None:
        return None
    entities = mute.entities or (() if mute.detectors else (alert.entity,))
    return Mute(entities, mute.detectors, now_ms, now_ms + int(mute.for_s * 1000))


def found(kafka: Kafka, alert_id: str) -> Alert:
    """The alert of exactly this id on the topic, as it stands; UsageError where there is none."""
    told, unread = Told(), Unread()
    for alert in decoded(((r.topic, r.value or b"") for r in topic.records(kafka, kafka.alerts)), unread):
        if alert.id == alert_id:
            told.add(alert)
    return told.one(alert_id)


def webhook(config: Config) -> Webhook:
    """That of a deployment on Kafka."""
    key = partial(secret, config.respond.feedback_secret_from, SECRET)
    load, append = partial(feedback_topic.load, config.kafka), partial(feedback_topic.append, config.kafka)
    return Webhook(key, partial(found, config.kafka), load, append)


def serve(application: Webhook, config: Config) -> Callable[[], None]:
    """Serve it where [respond] says, until the returned function is called; UsageError where that is not safe."""
    port, address = config.respond.feedback_port, config.worker.metrics_address
    if port == 0:
        return lambda: None
    secret(config.respond.feedback_secret_from, SECRET)
    context = tls(config.worker)
    if not (is_loopback(address) or context or config.worker.metrics_plaintext_allowed):
        raise UsageError(
            f"respond.feedback_port = {port}: beyond this host (worker.metrics_address = {address!r}) what is said of "
            "alerts would pass in the clear; give worker.metrics_cert_file and metrics_key_file, or allow it by name "
            "with worker.metrics_plaintext_allowed = true"
        )
    return listen(application, port, address, setting="respond.feedback_port", context=context)
