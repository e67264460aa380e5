"""A file: one line of JSON for each revision, on the disk before it counts as delivered.

The file is opened for each line, so that it may be rotated by being renamed; it is made for its owner and group alone.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

from stream.alerts import Alert
from stream.config import Config
from stream.encode import alert_format
from stream.subscribers import Common, Kind, Text
from stream.subscribers._failure import Failed


class Settings(Common, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which file, in which format."""

    path: Text
    format: str = "native"


class Lines:
    """Appends to a file."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.path
        self._encode = alert_format(settings.format).encode

    async def send(self, alert: Alert) -> None:
        """One line."""
        try:
            await asyncio.to_thread(self._append, self._encode(alert) + b"\n")
        except OSError as why:
            raise Failed("file", os.strerror(why.errno or 0)) from None

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            size = os.fstat(descriptor).st_size
            if os.write(descriptor, line) < len(line):  # the disk is full: no half of a line may stay
                os.ftruncate(descriptor, size)
                raise OSError(28, "no space")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    async def close(self) -> None:
        """Nothing is held."""


def sender(settings: Settings, _config: Config) -> Lines:
    """A sender of lines."""
    return Lines(settings)


KIND: Final = Kind(Settings, sender)
