"""Subscribers over HTTP: what they share. A kind says what request an alert is; this says whether it was accepted.

Any 2xx is. 400, 413 and 422 are final: the same request would be refused again. All else is tried again: 429 and 503
when they ask for it (Retry-After), 401, 403, 404 and redirects because an operator can mend a token or an address, and
nothing is to be lost until then. Redirects are not followed, for they would carry a secret elsewhere. Certificates are
verified; without TLS only this host is spoken to, unless the settings allow it by name.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from stream.alerts import Alert
from stream.errors import UsageError
from stream.secret import is_loopback
from stream.subscribers import Common, Text
from stream.subscribers._failure import Failed
from stream.subscribers._secret import Origin

FINAL: Final = (400, 413, 422)
DENIED: Final = (401, 403, 404, 407)
BUSY: Final = (429, 503)
AFTER_MAX_S: Final = 3_600.0  # of what a server may ask to wait


class HttpSettings(Common, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where it is, and whom to trust: the system's certificates, or those of a file."""

    url: Text = ""
    ssl_ca_file: str = ""
    plaintext_allowed: bool = False


class TokenSettings(HttpSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """HTTP with a secret: `token_from` says where it is."""

    token_from: Origin = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A POST of a body that is JSON unless a header says otherwise. `url` and `headers` may be secrets."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class HttpSender:
    """Sends what `request` makes of an alert. `request` raises UsageError where a secret cannot be had."""

    def __init__(self, settings: HttpSettings, request: Callable[[Alert], Request]) -> None:
        self._settings = settings
        self._request = request
        self._tls = tls(settings.name, settings.ssl_ca_file)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, alert: Alert) -> None:
        """One attempt."""
        try:
            request = self._request(alert)
            checked_url(self._settings, request.url)
        except UsageError as why:
            raise Failed("secret", type(why).__name__) from why
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s)
            self._session = aiohttp.ClientSession(timeout=timeout, trust_env=True, cookie_jar=aiohttp.DummyCookieJar())
        headers = {"Content-Type": "application/json", "User-Agent": "tripline"} | dict(request.headers)
        try:
            async with self._session.post(
                request.url, data=request.body, headers=headers, ssl=self._tls, allow_redirects=False
            ) as answer:
                judge(answer.status, answer.headers)
        except TimeoutError:
            raise Failed("timeout") from None
        except (aiohttp.ClientSSLError, ssl.SSLError) as why:
            raise Failed("tls", type(why).__name__) from None
        except (aiohttp.ClientError, OSError, ValueError) as why:  # their texts may hold the URL, which may be a secret
            raise Failed("connection", type(why).__name__) from None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


def judge(status: int, headers: Mapping[str, str]) -> None:
    """Return where the answer says accepted; raise Failed where it does not."""
    if 200 <= status < 300:
        return
    detail = f"status {status}"
    if status in FINAL:
        raise Failed("refused", detail, final=True)
    if status in BUSY:
        raise Failed("busy", detail, after_s=asked_s(headers.get("Retry-After", "")))
    reason = "denied" if status in DENIED else "server_error" if status >= 500 else "unexpected"
    raise Failed(reason, detail)


def asked_s(retry_after: str, now_s: float | None = None) -> float:
    """Seconds that a Retry-After asks for, as a number or a date, at most AFTER_MAX_S; 0 for what is neither.

    >>> asked_s("7"), asked_s("Thu, 01 Jan 1970 00:01:40 GMT", 40.0), asked_s("soon"), asked_s("9" * 9)
    (7.0, 60.0, 0.0, 3600.0)
    """
    text = retry_after.strip()
    if text.isascii() and text.isdigit() and len(text) < 20:
        seconds = float(text)
    else:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - (time.time() if now_s is None else now_s)
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), AFTER_MAX_S)


def checked_url(settings: HttpSettings, url: str) -> None:
    """UsageError for what is not an URL to send alerts to; the message does not hold it."""
    parts = urlsplit(url)
    where = f"subscriber {settings.name}: its URL"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{where} is none; write https://HOST/PATH")
    if parts.scheme == "http" and not settings.plaintext_allowed and not is_loopback(parts.hostname):
        raise UsageError(
            f"{where} would send alerts in the clear; use https://, or allow it by name with plaintext_allowed = true"
        )


def tls(name: str, ca_file: str) -> ssl.SSLContext:
    """A context that verifies; UsageError where the certificates cannot be used."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as why:
        raise UsageError(f"subscriber {name}: ssl_ca_file = {ca_file!r} cannot be used: {why}") from why


def joined(url: str, path: str) -> str:
    """The URL of a path below a base.

    >>> joined("https://a.example/am/", "/api/v2/alerts")
    'https://a.example/am/api/v2/alerts'
    """
    return url.rstrip("/") + path
