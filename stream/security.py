"""Who we are and whom we believe: secrets from files, TLS, tokens, and the settings that a Kafka client is given.

Secrets stand alone in files that not everybody may read, and are never part of a message. What is not encrypted goes to
this host only, unless the configuration allows more by name.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import urllib.parse
from pathlib import Path
from typing import Any, Final

import msgspec
from aiokafka.abc import AbstractTokenProvider

from stream.config import Kafka
from stream.endpoint import Endpoint, NoAnswer
from stream.errors import UsageError
from stream.secret import is_loopback, private, secret

TOKEN_LIFE: Final = 0.8  # of what a token lasts: the part after which a new one is asked for
TOKEN_S_MIN: Final = 5.0


class _TokenFile(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """OAUTHBEARER: a token that something else renews in a file; read anew at every connection."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def token(self) -> str:
        """The token as it stands in the file now."""
        return secret(self._path)


class _Granted(msgspec.Struct):
    """What a token endpoint answers (RFC 6749, section 5.1), as far as it is used."""

    access_token: str
    expires_in: float = 0.0


class TokenEndpoint(AbstractTokenProvider):  # type: ignore[misc]  # as above
    """OAUTHBEARER: tokens for a client's id and secret (RFC 6749, section 4.4), kept for most of their life."""

    def __init__(self, endpoint: Endpoint, scope: str) -> None:
        self._endpoint = endpoint
        form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
        self._form = urllib.parse.urlencode(form).encode()
        self._token = ""
        self._until = 0.0  # monotonic
        self._asking = asyncio.Lock()

    async def token(self) -> str:
        """A token that is good for a while; NoAnswer, which is an OSError, where there is none to be had now."""
        async with self._asking:
            if time.monotonic() >= self._until:
                granted = await asyncio.to_thread(self._ask)
                self._token = granted.access_token
                self._until = time.monotonic() + max(TOKEN_LIFE * granted.expires_in, TOKEN_S_MIN)
        return self._token

    def _ask(self) -> _Granted:
        answer = self._endpoint.ask("POST", "", self._form, {"Content-Type": "application/x-www-form-urlencoded"})
        if answer.status != 200:
            raise NoAnswer(
                f"{self._endpoint}: answers {answer.status} and no token; see kafka.sasl_client_id, the secret's file "
                "and kafka.sasl_scope"
            )
        try:
            return msgspec.json.decode(answer.body, type=_Granted)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise NoAnswer(f"{self._endpoint}: no token in its answer; see kafka.sasl_token_url") from None


def connection(kafka: Kafka) -> dict[str, Any]:
    """What every aiokafka client is given; UsageError where the settings cannot be used."""
    settings: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers, "security_protocol": kafka.security_protocol,
        "client_id": kafka.group,
    }  # fmt: skip
    if kafka.security_protocol in ("PLAINTEXT", "SASL_PLAINTEXT") and not kafka.plaintext_allowed:
        far = [server for server in kafka.bootstrap_servers.split(",") if not _loopback(server)]
        if far:
            raise UsageError(
                f"kafka.security_protocol = {kafka.security_protocol!r} would send events in the clear to {far[0]}; "
                "use SSL or SASL_SSL, or allow it by name with kafka.plaintext_allowed = true"
            )
    if kafka.security_protocol in ("SSL", "SASL_SSL"):
        settings["ssl_context"] = tls("kafka.ssl_*", kafka.ssl_ca_file, kafka.ssl_cert_file, kafka.ssl_key_file)
    if kafka.security_protocol.startswith("SASL"):
        settings["sasl_mechanism"] = kafka.sasl_mechanism
        if kafka.sasl_mechanism == "OAUTHBEARER":
            settings["sasl_oauth_token_provider"] = _tokens(kafka)
        else:
            settings["sasl_plain_username"] = kafka.sasl_username
            settings["sasl_plain_password"] = secret(_named(kafka.sasl_password_file, "sasl_password_file"))
    return settings


def tls(setting: str, ca_file: str, cert_file: str = "", key_file: str = "") -> ssl.SSLContext:
    """A context that checks names and certificates; UsageError, which names the setting, where it cannot be made."""
    if cert_file:
        private(Path(key_file or cert_file))
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
        if cert_file:
            context.load_cert_chain(cert_file, key_file or None)
    except (OSError, ssl.SSLError) as why:
        raise UsageError(f"{setting}: the certificates cannot be used: {why}") from why
    return context


def _tokens(kafka: Kafka) -> AbstractTokenProvider:
    if not kafka.sasl_token_url:
        return _TokenFile(_named(kafka.sasl_token_file, "sasl_token_file"))
    endpoint = Endpoint(
        "kafka.sasl_token_url", kafka.sasl_token_url, username=_given(kafka.sasl_client_id, "sasl_client_id"),
        password_file=str(_named(kafka.sasl_client_secret_file, "sasl_client_secret_file")),
        context=tls("kafka.sasl_token_ca_file", kafka.sasl_token_ca_file), plaintext_allowed=kafka.plaintext_allowed,
    )  # fmt: skip
    return TokenEndpoint(endpoint, kafka.sasl_scope)


def _given(value: str, field: str) -> str:
    if not value:
        raise UsageError(f"kafka.{field}: empty; this mechanism needs it")
    return value


def _named(path: str, field: str) -> Path:
    if not path:
        raise UsageError(f"kafka.{field}: empty; this mechanism needs a file there")
    return Path(path)


def _loopback(server: str) -> bool:
    return is_loopback(server.strip().rpartition(":")[0].strip("[]") or server.strip())
