"""Times and entities as a person types them on a command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from detectors.base import KINDS
from stream.alerts import EntityRef
from stream.errors import UsageError

UNITS_MS: Final = {"s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_SPAN: Final = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*(s|min|h|d|w)")


def span_ms(text: str, option: str) -> int:
    """A length of time; UsageError where it is none.

    >>> span_ms("7d", "--mute"), span_ms("90 min", "--mute")
    (604800000, 5400000)
    """
    found = _SPAN.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise UsageError(f"{option} {text!r}: not a length of time; write a number and s, min, h, d or w, such as 7d")
    return round(float(found[1]) * UNITS_MS[found[2]])


def when_ms(text: str, option: str, now_ms: int) -> int:
    """A moment as epoch ms: a date, a date and time (UTC where it names no zone), or so long before now.

    >>> when_ms("2025-01-01", "--from", 0), when_ms("2025-01-01T00:00:01Z", "--from", 0), when_ms("1h", "--from", 0)
    (1735689600000, 1735689601000, -3600000)
    """
    if _SPAN.fullmatch(text.strip()):
        return now_ms - span_ms(text, option)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(
            f"{option} {text!r}: not a time; write 2025-06-01, 2025-06-01T14:30, or a length such as 24h or 7d for so "
            "long ago"
        ) from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def entity_named(text: str, option: str = "--entity") -> EntityRef:
    """An entity written as kind=value; UsageError where the kind is none.

    >>> entity_named("account=ann")
    EntityRef(kind='account', value='ann')
    """
    kind, equals, value = text.partition("=")
    if not equals or not value or kind not in KINDS:
        raise UsageError(f"{option} {text!r}: write kind=value, the kind one of: {', '.join(KINDS)}")
    return EntityRef(kind, value)
