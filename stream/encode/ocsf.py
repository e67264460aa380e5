"""OCSF 1.5.0, class 2004 Detection Finding, with `anomaly_analyses`. Source: schema.ocsf.io, April 2025.

A revision is a finding activity: open is Create, update Update, closed Close. `finding_info.uid` is the alert's id, the
same in all its revisions, and `metadata.uid` tells the revisions apart. Each finding of a detector is an anomaly beside
the baseline that it was measured against. `time` is that of the evidence that crossed. What the class has no place for
is under `unmapped` by its native name.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

import msgspec
import orjson

from stream.alerts import Alert, EntityRef, EvidenceItem
from stream.encode import AlertFormat
from stream.encode._attack import VERSION, name_of, parts
from stream.encode._values import entities, epoch_ms, is_address

OCSF_VERSION: Final = "1.5.0"
ACTIVITIES: Final = {"open": (1, "Create"), "update": (2, "Update"), "closed": (3, "Close")}
STATUSES: Final = {"open": (1, "New"), "update": (1, "New"), "closed": (4, "Resolved")}
SEVERITIES: Final = {"low": (2, "Low"), "medium": (3, "Medium"), "high": (4, "High"), "critical": (5, "Critical")}
IP_ADDRESS, USER_NAME, OTHER = (2, "IP Address"), (4, "User Name"), (99, "Other")
STATISTICAL: Final = (3, "Statistical")  # type of an analytic


def encode(alert: Alert) -> bytes:
    """The alert as a Detection Finding."""
    activity_id, activity = ACTIVITIES[alert.status]
    status_id, status = STATUSES[alert.status]
    severity_id, severity = SEVERITIES[alert.severity]
    start, end = epoch_ms(alert.window.start), epoch_ms(alert.window.end)
    finding: dict[str, Any] = {
        "activity_id": activity_id, "activity_name": activity, "category_uid": 2, "category_name": "Findings",
        "class_uid": 2004, "class_name": "Detection Finding", "type_uid": 200400 + activity_id,
        "type_name": f"Detection Finding: {activity}", "time": epoch_ms(alert.time), "start_time": start,
        "end_time": end, "severity_id": severity_id, "severity": severity, "status_id": status_id, "status": status,
        "is_alert": alert.status != "closed", "message": alert.summary,
        "metadata": {
            "version": OCSF_VERSION, "uid": f"{alert.id}-{alert.revision}", "correlation_uid": alert.id,
            "logged_time": epoch_ms(alert.emitted_at),
            "product": {"name": "Tripline", "vendor_name": "Tripline", "version": version("tripline")},
        },
        "finding_info": _finding_info(alert, start, end),
        "anomaly_analyses": _analyses(alert, end),
        "observables": [_observable(entity) for entity in entities(alert)],
        "evidences": [{"data": {"source": place}} for place in _native(alert, "source")],
        "unmapped": {
            "schema": alert.schema, "revision": alert.revision, "score_bits": alert.score_bits,
            "impact": _native(alert, "impact"), "detectors": alert.detectors, "evidence": _native(alert, "evidence"),
        },
    }  # fmt: skip
    if alert.runbook:
        finding["remediation"] = {"desc": "The runbook.", "references": [alert.runbook]}
    return orjson.dumps(finding)


def _finding_info(alert: Alert, start: int, end: int) -> dict[str, Any]:
    analytics = [
        {"name": d, "uid": d, "type_id": STATISTICAL[0], "type": STATISTICAL[1], "version": version("tripline")}
        for d in alert.detectors
    ]
    info: dict[str, Any] = {
        "uid": alert.id, "title": alert.title, "desc": alert.summary, "created_time": epoch_ms(alert.time),
        "modified_time": epoch_ms(alert.emitted_at), "first_seen_time": start, "last_seen_time": end,
        "types": list(alert.detectors), "attacks": [_attack(technique) for technique in alert.techniques],
        "related_analytics": analytics[1:],
    }  # fmt: skip
    if analytics:
        info["analytic"] = analytics[0]
    return info


def _attack(technique: str) -> dict[str, Any]:
    parent, sub = parts(technique)
    attack: dict[str, Any] = {"version": VERSION, "technique": {"uid": parent, "name": name_of(parent)}}
    if sub:
        attack["sub_technique"] = {"uid": sub, "name": name_of(sub)}
    return attack


def _analyses(alert: Alert, end: int) -> list[dict[str, Any]]:
    """One analysis for each entity: what was observed of it, and what was expected."""
    found: dict[EntityRef, list[EvidenceItem]] = {}
    for item in alert.evidence:
        found.setdefault(item.entity, []).append(item)
    return [
        {
            "analysis_targets": [{"name": entity.value, "type": entity.kind}],
            "anomalies": [_measured(item, item.observed, end) | {"observed_pattern": _pattern(item)} for item in items],
            "baselines": [_measured(item, item.expected, end) | {"observed_pattern": "EXPECTED"} for item in items],
        }
        for entity, items in found.items()
    ]


def _pattern(item: EvidenceItem) -> str:
    return "UNSEEN" if item.expected <= 0.0 else "SURGE" if item.observed >= item.expected else "DROP"


def _measured(item: EvidenceItem, value: float, end: int) -> dict[str, Any]:
    span = {"type_id": 9, "type": "Time Interval", "start_time": end - int(item.window_s * 1000), "end_time": end}
    return {
        "observation_parameter": f"{item.detector}.{item.feature} ({item.unit})", "observation_type": item.detector,
        "observations": [{"value": f"{value:g}", "timespan": span}],
    }  # fmt: skip


def _observable(entity: EntityRef) -> dict[str, Any]:
    type_id, kind = OTHER
    if entity.kind == "account":
        type_id, kind = USER_NAME
    elif is_address(entity.value):
        type_id, kind = IP_ADDRESS
    return {"name": entity.kind, "type_id": type_id, "type": kind, "value": entity.value}


def _native(alert: Alert, field: str) -> Any:
    return msgspec.to_builtins(getattr(alert, field))


FORMAT: Final = AlertFormat("ocsf", encode)
