"""Secrets: named by where they are, `env:NAME` or `file:PATH`, read at each use, never printed.

What is read anew at each use may be renewed without a restart.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stream.errors import UsageError
from stream.secret import Origin
from stream.secret import secret as in_file

__all__ = ["Origin", "check_secrets", "secret"]


def secret(origin: str, setting: str, environ: Mapping[str, str] = os.environ) -> str:
    """The one line of a secret; UsageError where it cannot be had or everybody may read it.

    >>> secret("env:PAGER_KEY", "routing_key_from", {"PAGER_KEY": "k1"})
    'k1'
    """
    source, _, name = origin.partition(":")
    if source == "file":
        return in_file(Path(name))
    if source != "env":
        raise UsageError(f'{setting}: empty; say where the secret is: "env:NAME" or "file:PATH"')
    if not environ.get(name):
        raise UsageError(f"{setting} = {origin!r}: there is no such variable, or it is empty")
    return environ[name].strip()


def check_secrets(settings: Any) -> Iterator[str]:
    """What is wrong with the secrets that a subscriber's settings name."""
    for setting in settings.__struct_fields__:
        origin = getattr(settings, setting)
        if isinstance(origin, str) and origin.partition(":")[0] in ("env", "file") and setting.endswith("_from"):
            try:
                secret(origin, setting)
            except UsageError as why:
                yield f"subscriber {settings.name}: {why}"
