"""Alerts are read back as they were told: from a file that grows, is rotated, or holds other things as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from stream.alerts import Alert, EntityRef, encode, rfc3339
from stream.analyst.moments import entity_named, span_ms, when_ms
from stream.analyst.told import Told, Unread, Wanted, decoded, file_lines
from stream.errors import UsageError
from tests.pages import alert
from tests.streams import DAY_MS, START_MS


def read(path: Path, **how: object) -> tuple[list[Alert], Unread]:
    unread = Unread()
    return list(decoded(file_lines(str(path), **how), unread)), unread  # type: ignore[arg-type]


def test_the_latest_revision_stands_whatever_order_they_come_in() -> None:
    told = Told()
    for revision, status in ((1, "open"), (3, "closed"), (2, "update"), (3, "closed")):
        told.add(alert(revision=revision, status=status))
    assert [(a.revision, a.status) for a in told.those(lambda _: True)] == [(3, "closed")]


def test_what_is_no_alert_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "alerts"
    other = msgspec.json.encode(alert(schema="tripline.alert/9"))
    bad = [b"{", b"\xff", b"[" * 100_000, b"null", b'{"id": 1}', other]
    path.write_bytes(b"\n".join([encode(alert(id="tl-a")).strip(), *bad, b"", encode(alert(id="tl-b")).strip()]))
    found, unread = read(path)
    assert [a.id for a in found] == ["tl-a", "tl-b"]
    assert unread.count == len(bad)
    assert "line 2" in unread.first


def test_following_sees_what_is_appended_and_a_file_that_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "alerts"
    path.write_bytes(encode(alert(id="tl-a")) + encode(alert(id="tl-b"))[:40])

    def append() -> None:
        with path.open("ab") as file:
            file.write(encode(alert(id="tl-b"))[40:])

    def rotate() -> None:
        path.rename(tmp_path / "alerts.1")
        path.write_bytes(encode(alert(id="tl-c")))

    steps: list[Callable[[], None]] = [append, rotate]

    def wait(_seconds: float) -> bool:
        if not steps:
            return False
        steps.pop(0)()
        return True

    found, unread = read(path, follow=True, wait=wait)
    assert [a.id for a in found] == ["tl-a", "tl-b", "tl-c"]
    assert not unread.count


def test_one_is_found_by_the_beginning_of_its_id_where_that_is_only_its_own() -> None:
    told = Told()
    for name in ("tl-aa", "tl-ab", "tl-b", "tl-bb"):
        told.add(alert(id=name))
    assert told.one("tl-b").id == "tl-b"
    assert told.one("tl-aa").id == "tl-aa"
    for wrong in ("tl-a", "tl-c", ""):
        with pytest.raises(UsageError):
            told.one(wrong)


@pytest.mark.parametrize(
    "wanted, is_asked_for",
    [
        (Wanted(), True),
        (Wanted(severity="medium"), True),
        (Wanted(severity="critical"), False),
        (Wanted(detector="volume"), True),
        (Wanted(detector="drip"), False),
        (Wanted(entity=EntityRef("account", "ann")), True),
        (Wanted(entity=EntityRef("source", "ann")), True),
        (Wanted(entity=EntityRef("source", "bob")), False),
        (Wanted(statuses=frozenset({"open", "closed"})), True),
        (Wanted(statuses=frozenset({"closed"})), False),
        (Wanted(from_ms=START_MS, to_ms=START_MS + 1), True),
        (Wanted(from_ms=START_MS + 1), False),
        (Wanted(to_ms=START_MS), False),
    ],
)
def test_filters(wanted: Wanted, is_asked_for: bool) -> None:
    """An alert of severity high by `volume` on account ann, with a related source, open, told at START_MS."""
    assert wanted(alert("ann", time=rfc3339(START_MS))) is is_asked_for


def test_times_and_entities_are_read_as_they_are_typed() -> None:
    assert when_ms("2025-01-02", "--from", 0) == START_MS + DAY_MS
    assert when_ms("2025-01-01T02:00+02:00", "--from", 0) == START_MS
    assert when_ms("1 d", "--from", START_MS) == START_MS - DAY_MS
    assert entity_named("source=a=b") == EntityRef("source", "a=b")
    for wrong in ("", "7", "7x", "-1d", "0d", "1e9d"):
        with pytest.raises(UsageError):
            span_ms(wrong, "--mute")
    for wrong in ("yesterday", "2025-13-01", ""):
        with pytest.raises(UsageError):
            when_ms(wrong, "--from", 0)
    for wrong in ("ann", "person=ann", "account=", "=ann"):
        with pytest.raises(UsageError):
            entity_named(wrong)
