"""Secrets from files, and the one host that may be told things in the clear."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta

from stream.errors import UsageError

SECRET_BYTES_MAX: Final = 16_384
# Where a secret is: a variable of the environment or a file; empty: there is none.
Origin = Annotated[str, Meta(pattern="^((env:[A-Za-z_][A-Za-z0-9_]*|file:.+))?$", max_length=2_048)]


def private(path: Path) -> None:
    """UsageError where a file cannot be had or everybody may read it."""
    try:
        mode = path.stat().st_mode
    except OSError as why:
        raise UsageError(f"{path}: the secret cannot be read ({why.strerror})") from why
    if mode & 0o004:
        raise UsageError(f"{path}: everybody on this host may read this secret; chmod o-r it")


def secret(path: Path) -> str:
    """The one line in a secret's file; UsageError where it cannot be had or everybody may read it."""
    private(path)
    try:
        text = path.read_bytes()[:SECRET_BYTES_MAX].decode().strip()
    except OSError as why:
        raise UsageError(f"{path}: the secret cannot be read ({why.strerror})") from why
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not a text") from None
    if not text:
        raise UsageError(f"{path}: empty; a secret is expected in it")
    return text


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this host's own.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("localhost.example")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
