"""Prometheus Alertmanager, API v2.

Alertmanager knows an alert by its labels, so these are what never changes of it, and the severity, by which it is
routed. Each revision therefore tells of all four severities: the alert's own fires until HOLD has passed, the others
have ended; once it is closed all have. What ended and never fired is told to nobody. Values of entities are
annotations and never labels.

Alertmanager keeps alerts in memory: one that is started again knows an open alert from its next revision on.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from stream.alerts import SEVERITIES, Alert
from stream.config import Config
from stream.subscribers import Kind
from stream.subscribers._http import HttpSender, Request, TokenSettings, checked_url, joined
from stream.subscribers._secret import secret

HOLD: Final = timedelta(days=7)  # an alert that is neither updated nor closed for so long is over
NAMES: Final = (*(name for name, _ in SEVERITIES), "low")


class Settings(TokenSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Its base URL; `token_from` where a bearer token is asked for."""


def sender(settings: Settings, _config: Config) -> HttpSender:
    """A sender of alerts."""
    checked_url(settings, settings.url)
    url = joined(settings.url, "/api/v2/alerts")

    def request(alert: Alert) -> Request:
        headers = {}
        if settings.token_from:
            headers["Authorization"] = f"Bearer {secret(settings.token_from, 'token_from')}"
        return Request(url, orjson.dumps(posted(alert, datetime.now(UTC))), headers)

    return HttpSender(settings, request)


def posted(alert: Alert, now: datetime) -> list[dict[str, Any]]:
    """What is posted: one for each severity."""
    return [_one(alert, severity, now) for severity in NAMES]


def _one(alert: Alert, severity: str, now: datetime) -> dict[str, Any]:
    fires = alert.status != "closed" and severity == alert.severity
    begins = min(datetime.fromisoformat(alert.window.start), now)
    one: dict[str, Any] = {
        "labels": {
            "alertname": "TriplineAlert", "alert_id": alert.id, "severity": severity, "entity_kind": alert.entity.kind,
        },
        "annotations": {
            "summary": alert.title, "description": alert.summary, "runbook_url": alert.runbook,
            "entity": alert.entity.value, "detectors": ", ".join(alert.detectors),
        },
        "startsAt": begins.isoformat(), "endsAt": (now + HOLD if fires else now).isoformat(),
    }  # fmt: skip
    return one


KIND: Final = Kind(Settings, sender)
