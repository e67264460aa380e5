"""Mutes: what people asked not to be told of for a while, and what that did or would have hidden.

A mute that names entities covers an alert that is about each of them: one it is about by name, or the only account,
credential or address in it. One that names detectors covers alerts with no other detector's evidence. A mute of
detectors alone never covers a critical, and what read a planted record is covered only by a mute that names `canary`
and an entity.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from stream.alerts import Alert, EntityRef
from stream.feedback import About, Entry, Mute
from stream.incident import ALONE, RELATED_MAX
from stream.markup import epoch_ms

CANARY: Final = "canary"


class Active(msgspec.Struct, frozen=True):
    """A mute and the entry that it comes of; its end is earlier than it was asked for where it was revoked."""

    number: int
    mute: Mute


def mutes_of(entries: Iterable[Entry]) -> list[Active]:
    """Every mute that was ever said, each with the times between which it holds."""
    found: dict[int, Active] = {}
    for entry in entries:
        if entry.mute is not None:
            found[entry.number] = Active(entry.number, entry.mute)
        if entry.revokes in found:
            mute = found[entry.revokes].mute
            ended = msgspec.structs.replace(mute, end_ms=max(min(mute.end_ms, entry.time_ms), mute.start_ms))
            found[entry.revokes] = Active(entry.revokes, ended)
    return list(found.values())


def covering(mutes: Sequence[Active], alert: Alert, now_ms: int) -> Active | None:
    """The mute that keeps this alert from being told now, or None."""
    return next((m for m in mutes if m.mute.start_ms <= now_ms < m.mute.end_ms and covers(m.mute, alert)), None)


def covers(mute: Mute, alert: Alert | About) -> bool:
    """Whether the alert is what the mute is about, whenever that was."""
    if not mute.entities and not mute.detectors:
        return False
    detectors = set(alert.detectors)
    if CANARY in detectors and not (mute.entities and CANARY in mute.detectors):
        return False
    if not mute.entities and alert.severity == "critical":
        return False
    if mute.detectors and not detectors <= set(mute.detectors):
        return False
    named = _named(alert)
    return all(_is_about(alert.entity, named, ref) for ref in mute.entities)


def _named(alert: Alert | About) -> set[EntityRef]:
    if isinstance(alert, About):
        return {alert.entity, *alert.named}
    return {alert.entity, *alert.related, *(item.entity for item in alert.evidence)}


def _is_about(entity: EntityRef, named: set[EntityRef], ref: EntityRef) -> bool:
    if entity == ref:
        return True
    alike = {each for each in named if each.kind == ref.kind}
    return ref.kind in ALONE and alike == {ref} and len(alike) < RELATED_MAX


class Hidden(msgspec.Struct, frozen=True):
    """A mute and an incident that was confirmed. hid: it was muted; else it would have been, at another time."""

    mute: int
    alert: str
    time: str
    hid: bool


def reviewed(entries: Sequence[Entry]) -> list[Hidden]:
    """Confirmed incidents that a mute hid or, had it held then, would have hidden: mutes to think again about."""
    verdicts: dict[str, Entry] = {e.about.id: e for e in entries if e.about is not None and e.verdict}
    out = []
    for active in mutes_of(entries):
        for entry in verdicts.values():
            alert = entry.about
            if entry.verdict == "true" and alert is not None and covers(active.mute, alert):
                told = epoch_ms(alert.time) or 0
                hid = active.mute.start_ms <= told < active.mute.end_ms
                out.append(Hidden(active.number, alert.id, alert.time, hid))
    return out
