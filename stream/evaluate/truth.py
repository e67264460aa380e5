"""What is known of a world's attacks, kept apart from its events: the pipeline never sees it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from detectors.base import KINDS
from stream.alerts import EntityRef
from stream.errors import UsageError

ENTITY_KINDS: Final = (*KINDS, "object")
FILE_BYTES_MAX: Final = 64 << 20
ATTACKS_MAX: Final = 10_000


class Attack(msgspec.Struct, frozen=True):
    """One attack: when it ran, epoch ms, and what an analyst must be led to, one of them at least."""

    id: str
    name: str
    start_ms: int
    end_ms: int
    entities: frozenset[EntityRef]


class _Line(msgspec.Struct):
    """An attack as the file tells it; what else it says is left alone."""

    id: Annotated[str, Meta(min_length=1, max_length=256)]
    start: int | float | str
    end: int | float | str
    entities: Annotated[list[EntityRef], Meta(min_length=1)]
    name: str = ""


def load(path: Path) -> tuple[Attack, ...]:
    """The attacks of a file: JSON lines, or one JSON array, each with id, name, start, end (RFC 3339 or epoch ms) and
    entities [{kind, value}]. No attack at all is a world in which every alert is false. Raises UsageError."""
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as why:
        raise UsageError(
            f"{path}: cannot be read ({why.strerror}); the truth of a world lies beside its events"
        ) from why
    if len(raw) > FILE_BYTES_MAX:
        raise UsageError(f"{path}: more than {FILE_BYTES_MAX >> 20} MB; it lists attacks, not events")
    try:
        if raw.lstrip().startswith(b"["):
            lines = msgspec.json.decode(raw, type=list[_Line])
        else:
            lines = [msgspec.json.decode(line, type=_Line) for line in raw.splitlines() if line.strip()]
        attacks = tuple(map(_attack, lines))
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as why:
        raise UsageError(
            f'{path}: {why}; each attack is {{"id", "name", "start", "end", "entities": [{{"kind", "value"}}]}}'
        ) from why
    if len(attacks) > ATTACKS_MAX:
        raise UsageError(f"{path}: {len(attacks):,} attacks; at most {ATTACKS_MAX:,}")
    if double := sorted({a.id for a in attacks if sum(b.id == a.id for b in attacks) > 1}):
        raise UsageError(f"{path}: id {double[0]!r} is there twice; each attack needs one of its own")
    return tuple(sorted(attacks, key=lambda attack: (attack.start_ms, attack.id)))


def _attack(line: _Line) -> Attack:
    start, end = _epoch_ms(line.start), _epoch_ms(line.end)
    if end < start:
        raise ValueError(f"attack {line.id!r} ends before it starts")
    for entity in line.entities:
        if entity.kind not in ENTITY_KINDS:
            raise ValueError(f"attack {line.id!r}: kind {entity.kind!r} is none of {', '.join(ENTITY_KINDS)}")
    return Attack(line.id, line.name or line.id, start, end, frozenset(line.entities))


def _epoch_ms(when: float | str) -> int:
    """Epoch ms of a time that is that already, or RFC 3339; ValueError."""
    if not isinstance(when, str):
        return round(when)
    parsed = datetime.fromisoformat(when)
    return round((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)
