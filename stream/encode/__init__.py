"""Alert formats: one file a format, found by looking into this folder. A new one is one new file with a FORMAT in it.

What is written is always one JSON object of one line; the words are those of `stream.alerts`, and nothing is left out
that the format has a place for. Modules whose names begin with an underscore hold what formats share.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from stream.alerts import Alert
from stream.errors import UsageError


@dataclass(frozen=True, slots=True)
class AlertFormat:
    """encode(alert): one JSON object as UTF-8 on one line, without the newline."""

    name: str
    encode: Callable[[Alert], bytes]


@cache
def alert_formats() -> dict[str, AlertFormat]:
    """Every format there is, by name: the names of the files."""
    found: dict[str, AlertFormat] = {}
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            fmt: AlertFormat = importlib.import_module(f"{__name__}.{module.name}").FORMAT
            found[fmt.name] = fmt
    return found


def alert_format(name: str) -> AlertFormat:
    """The format of that name; UsageError for one that is not known.

    >>> sorted(alert_formats()), alert_format("ecs").name
    (['ecs', 'native', 'ocsf'], 'ecs')
    """
    try:
        return alert_formats()[name]
    except KeyError:
        raise UsageError(f"alert format {name!r} is not known; choose one of {', '.join(alert_formats())}") from None
