"""What msgspec knows of a type, before threads need it."""

from __future__ import annotations

import msgspec


def ready_for_threads(kind: type) -> None:
    """Let msgspec look at a type, and at those in it, that threads make values of; for where the type is defined.

    It looks when a type is first used, and two threads that are both the first end the process with a segmentation
    fault (0.22). Workers recover several partitions at a time.
    """
    msgspec.json.Decoder(kind)
