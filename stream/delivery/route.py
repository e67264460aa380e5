"""Which alerts are for a subscriber."""

from __future__ import annotations

from typing import Final

from stream.alerts import SEVERITIES, Alert
from stream.subscribers import Common

RANK: Final = {name: rank for rank, name in enumerate(("low", *(name for name, _ in reversed(SEVERITIES))))}


def wanted(settings: Common, alert: Alert) -> bool:
    """Whether the alert goes to this subscriber. What closes an alert goes wherever the alert may have gone."""
    groups = {e.value for e in (alert.entity, *alert.related, *(i.entity for i in alert.evidence)) if e.kind == "group"}
    kinds = {alert.entity.kind, *(item.entity.kind for item in alert.evidence)}
    return (
        RANK[alert.severity] >= RANK[settings.severity_min]
        and _any(settings.detectors, alert.detectors)
        and _any(settings.entity_kinds, kinds)
        and _any(settings.groups, groups)
    )


def _any(asked: tuple[str, ...], there: set[str] | tuple[str, ...]) -> bool:
    return not asked or not set(asked).isdisjoint(there)
