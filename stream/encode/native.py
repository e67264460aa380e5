"""The native format, schema `tripline.alert/1`: every field of `stream.alerts.Alert` under its own name."""

from __future__ import annotations

from typing import Final

import msgspec

from stream.alerts import Alert
from stream.encode import AlertFormat


def encode(alert: Alert) -> bytes:
    """The alert as it is."""
    return msgspec.json.encode(alert)


FORMAT: Final = AlertFormat("native", encode)
