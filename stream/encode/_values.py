"""What formats ask of an alert in the same way: times, addresses, entities by kind."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from datetime import datetime

from stream.alerts import Alert, EntityRef


def epoch_ms(rfc3339: str) -> int:
    """Epoch ms of a time as alerts have it.

    >>> epoch_ms("2023-11-14T22:13:20.123Z")
    1700000000123
    """
    return round(datetime.fromisoformat(rfc3339).timestamp() * 1000)


def is_address(value: str) -> bool:
    """Whether the value is an IP address: a token in the place of one is not."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def entities(alert: Alert) -> Iterator[EntityRef]:
    """Whom the alert is about and who is related, each once."""
    yield from dict.fromkeys((alert.entity, *alert.related))
