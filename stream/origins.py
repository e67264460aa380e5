"""Where a block's events came from: a file or a partition, and which version of `[enrich]`'s files they were filled in
from, so that an alert can say so of each place it names."""

from __future__ import annotations

import re
from typing import Final

STAMP: Final = "\x1f"  # the unit separator, which no topic has in its name


def stamped(origin: str, version: str) -> str:
    """The origin with the version, "" for none."""
    return f"{unstamped(origin)[0]}{STAMP}{version}" if version else origin


def unstamped(origin: str) -> tuple[str, str]:
    """The origin by itself, and the version.

    >>> unstamped(stamped("kafka:access/0", "3fa29c01")), unstamped("app.jsonl")
    (('kafka:access/0', '3fa29c01'), ('app.jsonl', ''))
    """
    place, _, version = origin.rpartition(STAMP)
    return (place, version) if place else (origin, "")


def feed_of(origin: str) -> str:
    """What the events of an origin come by: its topic, or its file, whose digits are days and turns.

    >>> feed_of("kafka:access/3"), feed_of(stamped("/var/log/2025-01-02/app.log.1", "3fa29c01"))
    ('kafka:access', '/var/log/#-#-#/app.log.#')
    """
    place = unstamped(origin)[0]
    return place.rpartition("/")[0] if place.startswith("kafka:") else re.sub("[0-9]+", "#", place)
