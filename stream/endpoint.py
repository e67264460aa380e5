"""One HTTP endpoint that the product asks things of: a schema registry, a token endpoint.

Every request has a connection of its own, an end in time and a bound on the answer. Redirects are not followed: a
password goes where the configuration says, and nowhere else.
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from stream.errors import UsageError
from stream.secret import is_loopback, secret

ANSWER_BYTES_MAX: Final = 4 << 20
TIMEOUT_S: Final = 5.0


class NoAnswer(ConnectionError):  # noqa: N818 - what it says is worth trying again
    """The endpoint did not answer, or not as what it should be."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; status as in RFC 9110."""

    status: int
    body: bytes


class Endpoint:
    """Where to ask and as whom; thread-safe. UsageError for settings that cannot be used.

    setting: the name of the URL in the configuration, for messages. The password's file is read at every request, so
    it may be renewed.
    """

    def __init__(
        self, setting: str, url: str, *, username: str = "", password_file: str = "",
        context: ssl.SSLContext | None = None, plaintext_allowed: bool = False, timeout_s: float = TIMEOUT_S,
    ) -> None:  # fmt: skip
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port
        except ValueError as why:
            raise UsageError(f"{setting}: not an address: {why}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{setting}: expected https://HOST[:PORT][/PATH]")
        if parts.username is not None or parts.password is not None:
            raise UsageError(f"{setting}: has a name or password in it; they have settings and files of their own")
        if parts.query or parts.fragment:
            raise UsageError(f"{setting}: has a ? or # in it; leave that part out")
        if parts.scheme == "http" and not (plaintext_allowed or is_loopback(parts.hostname)):
            raise UsageError(
                f"{setting} = {url!r} would be spoken to in the clear; use https, or allow it by name with "
                "kafka.plaintext_allowed = true"
            )
        if username and not password_file:
            raise UsageError(f"{setting}: a user without a password's file")
        self._url = url
        self._host, self._port, self._path = parts.hostname, port, parts.path.rstrip("/")
        self._context = (context or ssl.create_default_context()) if parts.scheme == "https" else None
        self._username, self._password_file = username, password_file
        self._timeout_s = timeout_s

    def __str__(self) -> str:
        return self._url

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = MappingProxyType({})
    ) -> Answer:
        """The answer to a request below the URL; NoAnswer where there is none within the time, UsageError where the
        password cannot be read."""
        sent = {"Accept": "application/json", "Connection": "close", **headers}
        if self._username:
            pair = f"{self._username}:{secret(Path(self._password_file))}".encode()
            sent["Authorization"] = "Basic " + base64.b64encode(pair).decode()
        connection = self._connection()
        try:
            connection.connect()
            with _ended(connection.sock, self._timeout_s):
                connection.request(method, (self._path + path) or "/", body, sent)
                response = connection.getresponse()
                answer = Answer(response.status, response.read(ANSWER_BYTES_MAX + 1))
        except (OSError, http.client.HTTPException) as why:
            raise NoAnswer(f"{self._url}: no answer ({_said(why)}) within {self._timeout_s:g} s") from None
        finally:
            connection.close()
        if len(answer.body) > ANSWER_BYTES_MAX:
            raise NoAnswer(f"{self._url}: an answer of more than {ANSWER_BYTES_MAX} bytes")
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=self._context)


class _ended:  # noqa: N801 - a context, as suppress is
    """Shuts the socket after a time: what comes byte by byte stays within each wait for a byte."""

    def __init__(self, connected: socket.socket, after_s: float) -> None:
        self._timer = threading.Timer(after_s, self._shut, [connected])
        self._timer.daemon = True

    @staticmethod
    def _shut(connected: socket.socket) -> None:
        with suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()


def _said(why: BaseException) -> str:
    """Why, in words that hold nothing of what was sent."""
    if isinstance(why, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {why.verify_message}"
    if isinstance(why, OSError) and why.strerror:
        return why.strerror
    return type(why).__name__
