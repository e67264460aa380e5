"""What envelopes share: which format lies in one. An envelope may hold a format, and syslog an envelope, no more."""

from __future__ import annotations

from functools import cache
from typing import Final

from stream.decode import Format, formats

_ENVELOPES: Final = ("syslog", "cloudevents")  # from the outermost in
_COSTLY: Final = "accesslog_json"  # is asked last: it has no mark of its own and looks at every field


@cache
def _inside(envelope: str) -> tuple[Format, ...]:
    outer = _ENVELOPES[: _ENVELOPES.index(envelope) + 1]
    found = [fmt for name, fmt in formats().items() if name not in outer]
    return tuple(sorted(found, key=lambda fmt: fmt.name == _COSTLY))


def inner(envelope: str, record: bytes) -> Format | None:
    """The format of what this envelope holds, None where none recognises it."""
    return next((fmt for fmt in _inside(envelope) if fmt.matches(record)), None)
