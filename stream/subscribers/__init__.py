"""Subscribers: who is told of alerts. One file a kind, found by looking into this folder, with a KIND in it.

A kind has its settings, a struct that adds to `Common` what it needs, and a way to make a sender of them. A sender
gives one alert to one system in one attempt and raises `Failed` where that did not succeed; when it is tried again, and
what is sent to whom, is not its business but that of `stream.delivery`. Modules whose names begin with an underscore
hold what kinds share.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta

from stream.alerts import Alert
from stream.config import Config
from stream.errors import UsageError
from stream.subscribers._failure import Failed
from stream.subscribers._secret import check_secrets

__all__ = ["Common", "Failed", "Kind", "Sender", "Texts", "check_subscriber", "kinds", "make", "settings_by_kind"]

Text = Annotated[str, Meta(min_length=1, max_length=2_048)]
Texts = Annotated[tuple[Text, ...], Meta(max_length=1_000)]


class Common(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every subscriber has: its name, what it is told of (all, where nothing is said), and how it is tried.

    An alert goes to it that is of `severity_min` or above, rests on one of the `detectors`, is about an entity of one
    of the `entity_kinds`, and names one of the peer `groups`.
    """

    name: Annotated[str, Meta(pattern="^[a-zA-Z0-9._-]{1,100}$")]
    kind: Text
    severity_min: Literal["low", "medium", "high", "critical"] = "low"
    detectors: Texts = ()
    entity_kinds: Texts = ()
    groups: Texts = ()
    timeout_s: Annotated[float, Meta(ge=0.1, le=300)] = 10.0
    retry_first_s: Annotated[float, Meta(ge=0.01, le=3_600)] = 1.0
    retry_max_s: Annotated[float, Meta(ge=0.01, le=86_400)] = 300.0


class Sender(Protocol):
    """One connection to one system."""

    async def send(self, alert: Alert) -> None:
        """Give it the alert; returns once it is accepted, raises Failed where it is not."""
        ...

    async def close(self) -> None:
        """Let go of what it holds."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """settings: a subclass of Common. make(settings, config): a sender; UsageError where they cannot be used."""

    settings: type[Any]
    make: Callable[[Any, Config], Sender]


@cache
def kinds() -> dict[str, Kind]:
    """Every kind there is, by name: the names of the files."""
    return {
        module.name: importlib.import_module(f"{__name__}.{module.name}").KIND
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_")
    }


def settings_by_kind() -> Mapping[str, type[Any]]:
    """What a configuration may say of each kind."""
    return {name: kind.settings for name, kind in kinds().items()}


def make(settings: Common, config: Config) -> Sender:
    """The sender of a subscriber as it was configured; UsageError where the settings cannot be used."""
    return kinds()[settings.kind].make(settings, config)


def check_subscriber(settings: Common, config: Config) -> list[str]:
    """What is wrong with a subscriber, as far as that shows without telling it anything."""
    try:
        make(settings, config)
    except UsageError as why:
        return [str(why)]
    return list(check_secrets(settings))
