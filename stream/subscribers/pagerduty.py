"""PagerDuty Events API v2: an alert that opens or is updated triggers, one that closes resolves.

The dedup key is the alert's id, so revisions and repeats are one incident. Source: developer.pagerduty.com, "Send an
Alert Event": severity is critical, error, warning or info; the summary has at most 1,024 characters.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import orjson

from stream.alerts import Alert
from stream.config import Config
from stream.console import clean
from stream.subscribers import Kind
from stream.subscribers._http import HttpSender, HttpSettings, Request, checked_url
from stream.subscribers._secret import Origin, secret

EVENTS_URL: Final = "https://events.pagerduty.com/v2/enqueue"
SEVERITIES: Final = {"critical": "critical", "high": "error", "medium": "warning", "low": "info"}


class Settings(HttpSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the integration's key is; the URL is PagerDuty's own unless it is said."""

    url: str = EVENTS_URL
    routing_key_from: Origin


def sender(settings: Settings, _config: Config) -> HttpSender:
    """A sender of events."""
    checked_url(settings, settings.url)

    def request(alert: Alert) -> Request:
        key = secret(settings.routing_key_from, "routing_key_from")
        return Request(settings.url, orjson.dumps(event(alert, key)))

    return HttpSender(settings, request)


def event(alert: Alert, routing_key: str) -> dict[str, Any]:
    """The event that tells of an alert."""
    made: dict[str, Any] = {"routing_key": routing_key, "dedup_key": alert.id}
    if alert.status == "closed":
        return made | {"event_action": "resolve"}
    made |= {
        "event_action": "trigger", "client": "Tripline",
        "payload": {
            "summary": clean(alert.title, 1_024), "source": "tripline", "severity": SEVERITIES[alert.severity],
            "timestamp": alert.time, "component": alert.entity.kind, "class": ", ".join(alert.detectors),
            "custom_details": {
                "summary": alert.summary, "revision": alert.revision, "score_bits": alert.score_bits,
                "impact": msgspec.to_builtins(alert.impact), "window": msgspec.to_builtins(alert.window),
                "entity": msgspec.to_builtins(alert.entity), "related": msgspec.to_builtins(alert.related),
                "techniques": alert.techniques,
            },
        },
    }  # fmt: skip
    if alert.runbook:
        made["links"] = [{"href": alert.runbook, "text": "Runbook"}]
    return made


KIND: Final = Kind(Settings, sender)
