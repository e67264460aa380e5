"""How sensitive what an incident touched is, by the names of resources: an alert says it, and is scored as ever."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Final

import msgspec
from msgspec import Meta

Patterns = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(max_length=1_000)]


class Sensitivity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Patterns of resources by level, at most 1,000 each: * stands for any text, ? for a character, [ab] for one of
    these. The level of a resource is the highest that has a pattern for it."""  # fmt: skip

    restricted: Patterns = ()
    confidential: Patterns = ()
    internal: Patterns = ()


LEVELS: Final = Sensitivity.__struct_fields__  # the highest first


def level_of(settings: Sensitivity, resources: Iterable[str]) -> str:
    """The highest level among the resources, "" where none has one.

    >>> settings = Sensitivity(restricted=("s3:payroll*",), internal=("/wiki/*",))
    >>> [level_of(settings, names) for names in (["/wiki/start", "s3:payroll-2025"], ["/wiki/start"], [])]
    ['restricted', 'internal', '']
    """
    names = list(resources)
    return next((each for each in LEVELS if any(fnmatchcase(n, p) for p in getattr(settings, each) for n in names)), "")


def highest(levels: Iterable[str]) -> str:
    """The highest of some levels, "" for none; what is no level is none.

    >>> highest(["internal", "", "restricted"]), highest([])
    ('restricted', '')
    """
    known = set(levels)
    return next((each for each in LEVELS if each in known), "")
