"""Splunk's HTTP Event Collector: the alert as an event of sourcetype tripline:alert, at the time of its evidence."""

from __future__ import annotations

from typing import Any, Final

import orjson

from stream.alerts import Alert
from stream.config import Config
from stream.encode import alert_format
from stream.encode._values import epoch_ms
from stream.subscribers import Kind
from stream.subscribers._http import HttpSender, Request, TokenSettings, checked_url, joined
from stream.subscribers._secret import Origin, secret


class Settings(TokenSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The collector's base URL, where its token is, and the index, where it is not the token's."""

    token_from: Origin
    index: str = ""
    format: str = "native"


def sender(settings: Settings, _config: Config) -> HttpSender:
    """A sender of events."""
    encode = alert_format(settings.format).encode
    checked_url(settings, settings.url)
    url = joined(settings.url, "/services/collector/event")

    def request(alert: Alert) -> Request:
        event: dict[str, Any] = {
            "time": epoch_ms(alert.time) / 1000, "source": "tripline", "sourcetype": f"tripline:{settings.format}",
            "event": orjson.Fragment(encode(alert)),
        }  # fmt: skip
        if settings.index:
            event["index"] = settings.index
        headers = {"Authorization": f"Splunk {secret(settings.token_from, 'token_from')}"}
        return Request(url, orjson.dumps(event), headers)

    return HttpSender(settings, request)


KIND: Final = Kind(Settings, sender)
