"""Elastic Common Schema 8.17, an alert (`event.kind: alert`) of the category intrusion_detection.

`event.id` tells revisions apart and `tripline.id` does not; `event.severity` and `event.risk_score` are Elastic's 21,
47, 73 and 99. Accounts are in `related.user`, addresses in `related.ip`; a token in the place of an address is in
neither. All that ECS has no field for is under `tripline`, by its native name. Source: the field reference of ECS.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import orjson

from stream.alerts import Alert
from stream.encode import AlertFormat
from stream.encode._attack import name_of, parts
from stream.encode._values import entities, is_address

ECS_VERSION: Final = "8.17.0"
SEVERITIES: Final = {"low": 21, "medium": 47, "high": 73, "critical": 99}
ACTIONS: Final = {"open": "alert-opened", "update": "alert-updated", "closed": "alert-closed"}
KEPT: Final = ("schema", "id", "revision", "status", "severity", "score_bits", "entity", "related", "evidence",
               "impact", "window", "source")  # fmt: skip


def encode(alert: Alert) -> bytes:
    """The alert as an ECS document."""
    severity = SEVERITIES[alert.severity]
    document: dict[str, Any] = {
        "@timestamp": alert.time, "ecs": {"version": ECS_VERSION}, "message": alert.summary, "tags": ["tripline"],
        "event": {
            "kind": "alert", "category": ["intrusion_detection"], "type": ["info"], "action": ACTIONS[alert.status],
            "id": f"{alert.id}-{alert.revision}", "severity": severity, "risk_score": severity, "module": "tripline",
            "dataset": "tripline.alert", "created": alert.emitted_at, "start": alert.window.start,
            "end": alert.window.end, "reason": alert.title,
        },
        "observer": {"vendor": "Tripline", "product": "Tripline", "type": "ids"},
        "rule": {"name": alert.title, "id": alert.detectors[0] if alert.detectors else "tripline",
                 "category": "exfiltration", "ruleset": "tripline"},
        "related": {
            "user": [e.value for e in entities(alert) if e.kind == "account"],
            "ip": [e.value for e in entities(alert) if e.kind == "source" and is_address(e.value)],
        },
        "tripline": {name: msgspec.to_builtins(getattr(alert, name)) for name in KEPT}
        | {"detectors": alert.detectors},
    }  # fmt: skip
    if alert.techniques:
        document["threat"] = {"framework": "MITRE ATT&CK", "technique": [_technique(t) for t in alert.techniques]}
    if alert.entity.kind == "account":
        document["user"] = {"id": alert.entity.value}
    elif alert.entity.kind == "source" and is_address(alert.entity.value):
        document["source"] = {"ip": alert.entity.value}
    if alert.runbook:
        document["event"]["reference"] = document["rule"]["reference"] = alert.runbook
    return orjson.dumps(document)


def _technique(technique: str) -> dict[str, Any]:
    parent, sub = parts(technique)
    found: dict[str, Any] = {"id": [parent], "name": [name_of(parent)]}
    if sub:
        found["subtechnique"] = {"id": [sub], "name": [name_of(sub)]}
    return found


FORMAT: Final = AlertFormat("ecs", encode)
