"""A webhook after the Standard Webhooks specification (standardwebhooks.com): the alert, signed, with a key of its own.

`webhook-id` and `Idempotency-Key` are the alert's id and revision: a repeat has the same. `webhook-signature` is "v1,"
and the base64 of HMAC-SHA256 over "{webhook-id}.{webhook-timestamp}.{body}" under the secret, which is base64 after
"whsec_", or else taken as its bytes. A receiver compares it in constant time and refuses timestamps that are minutes
old, so that nobody can repeat what they overheard.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from typing import Annotated, Final

from msgspec import Meta

from stream.alerts import Alert
from stream.config import Config
from stream.encode import alert_format
from stream.subscribers import Kind
from stream.subscribers._http import HttpSender, HttpSettings, Request, checked_url
from stream.subscribers._secret import Origin, secret


class Settings(HttpSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where to, in which format, and where the secret of the signature is."""

    url: Annotated[str, Meta(min_length=1, max_length=2_048)]
    secret_from: Origin
    format: str = "native"


def sender(settings: Settings, _config: Config) -> HttpSender:
    """A sender of signed requests."""
    encode = alert_format(settings.format).encode
    checked_url(settings, settings.url)

    def request(alert: Alert) -> Request:
        body, key, now_s = encode(alert), f"{alert.id}.{alert.revision}", int(time.time())
        signature = sign(secret(settings.secret_from, "secret_from"), key, now_s, body)
        return Request(
            settings.url, body,
            {"webhook-id": key, "webhook-timestamp": str(now_s), "webhook-signature": signature,
             "Idempotency-Key": key},
        )  # fmt: skip

    return HttpSender(settings, request)


def sign(key: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """The signature of a message.

    >>> sign("whsec_c2VjcmV0", "tl-1.1", 1_700_000_000, b"{}") == sign("secret", "tl-1.1", 1_700_000_000, b"{}")
    True
    """
    content = f"{message_id}.{timestamp_s}.".encode() + body
    digest = hmac.new(_bytes(key), content, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def _bytes(key: str) -> bytes:
    if key.startswith("whsec_"):
        try:
            return base64.b64decode(key.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            pass
    return key.encode()


KIND: Final = Kind(Settings, sender)
