"""E-mail by SMTP: one message a revision, revisions of one alert in one thread.

The message's id is made of the alert's and the revision, so a repeat is dropped where mail is deduplicated. STARTTLS or
TLS from the start, both verified; without either only this host is spoken to, unless the settings allow it by name.
A refusal of the message itself (5xx to DATA) is final; of a sender, a recipient or a password it is not, for an
operator can mend those.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from typing import Annotated, Final, Literal

from msgspec import Meta

from detectors.base import size
from stream.alerts import Alert
from stream.config import Config
from stream.console import clean
from stream.errors import UsageError
from stream.secret import is_loopback
from stream.subscribers import Common, Kind, Text
from stream.subscribers._failure import Failed
from stream.subscribers._http import tls
from stream.subscribers._secret import Origin, secret

Address = Annotated[str, Meta(pattern=r"^[^@\s<>,]+@[^@\s<>,]+$", max_length=320)]


class Settings(Common, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The mail server, from whom and to whom."""

    host: Text
    port: Annotated[int, Meta(ge=1, le=65_535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    plaintext_allowed: bool = False
    ssl_ca_file: str = ""
    username: str = ""
    password_from: Origin = ""
    sent_from: Address
    sent_to: Annotated[tuple[Address, ...], Meta(min_length=1, max_length=100)]


class Mail:
    """A connection for each message: alerts are few, and mail servers close what is idle."""

    def __init__(self, settings: Settings) -> None:
        if settings.security == "none" and not settings.plaintext_allowed and not is_loopback(settings.host):
            raise UsageError(
                f"subscriber {settings.name}: security = 'none' would send alerts in the clear to another host; use "
                "starttls or tls, or allow it by name with plaintext_allowed = true"
            )
        self._settings = settings
        self._tls = tls(settings.name, settings.ssl_ca_file)

    async def send(self, alert: Alert) -> None:
        """One attempt, in a thread of its own, within the time-out."""
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await asyncio.to_thread(self._send, written(alert, self._settings))
        except TimeoutError:
            raise Failed("timeout") from None
        except ssl.SSLError as why:
            raise Failed("tls", type(why).__name__) from None
        except UsageError as why:
            raise Failed("secret", type(why).__name__) from why
        except smtplib.SMTPDataError as why:
            if why.smtp_code >= 500:
                raise Failed("refused", f"status {why.smtp_code}", final=True) from None
            raise Failed("busy", f"status {why.smtp_code}") from None
        except smtplib.SMTPAuthenticationError as why:
            raise Failed("denied", f"status {why.smtp_code}") from None
        except smtplib.SMTPResponseException as why:
            raise Failed("busy" if why.smtp_code < 500 else "denied", f"status {why.smtp_code}") from None
        except smtplib.SMTPRecipientsRefused:
            raise Failed("denied", "every recipient") from None
        except (smtplib.SMTPException, OSError) as why:
            raise Failed("connection", type(why).__name__) from None

    def _send(self, message: EmailMessage) -> None:
        settings = self._settings
        at = settings.host, settings.port
        server: smtplib.SMTP
        if settings.security == "tls":
            server = smtplib.SMTP_SSL(*at, timeout=settings.timeout_s, context=self._tls)
        else:
            server = smtplib.SMTP(*at, timeout=settings.timeout_s)
        with server:
            if settings.security == "starttls":
                server.starttls(context=self._tls)
            if settings.username:
                server.login(settings.username, secret(settings.password_from, "password_from"))
            server.send_message(message)

    async def close(self) -> None:
        """Nothing is held."""


def written(alert: Alert, settings: Settings) -> EmailMessage:
    """The message that tells of an alert."""
    message = EmailMessage()
    domain = settings.sent_from.rpartition("@")[2]
    state = "" if alert.status == "open" else f" ({alert.status})"
    message["From"], message["To"] = settings.sent_from, ", ".join(settings.sent_to)
    message["Subject"] = clean(f"[{alert.severity}] {alert.title}{state}", 200)
    message["Message-ID"] = f"<{alert.id}.{alert.revision}@{domain}>"
    if alert.revision > 1:
        message["In-Reply-To"] = message["References"] = f"<{alert.id}.1@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    impact = alert.impact
    lines = [
        alert.summary, "",
        f"What left: {impact.records:,} records ({size(impact.bytes)}) of {impact.subjects:,} people",
        f"Between: {alert.window.start} and {alert.window.end}",
        f"Techniques: {', '.join(alert.techniques)}",
        *(f"With {entity.kind}: {entity.value}" for entity in alert.related),
        f"Where: {'; '.join(map(str, alert.source))}",
        f"Alert {alert.id}, revision {alert.revision}, {alert.status}",
        *([f"Runbook: {alert.runbook}"] if alert.runbook else []),
    ]  # fmt: skip
    message.set_content("\n".join(clean(line, 4_000) for line in lines) + "\n")
    return message


def sender(settings: Settings, _config: Config) -> Mail:
    """A sender of mail."""
    return Mail(settings)


KIND: Final = Kind(Settings, sender)
