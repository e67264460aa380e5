"""The detectors, found by discovery: every class in this package with an `id` is one."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module
from typing import Any


def detector_ids() -> tuple[str, ...]:
    """Ids of every detector there is: the names of the files."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def make(detector_id: str, **settings: Any) -> Any:
    """The detector of this id, with those of `settings` that it asks for.

    >>> make("volume", offset_bits=0.0, join_grace_s=120.0).id
    'volume'
    """
    module = import_module(f"{__name__}.{detector_id}")
    (found,) = (
        c
        for _, c in inspect.getmembers(module, inspect.isclass)
        if c.__module__ == module.__name__ and hasattr(c, "id")
    )
    wanted = inspect.signature(found).parameters
    return found(**{name: value for name, value in settings.items() if name in wanted})
