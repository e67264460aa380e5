"""Whoever writes to the signals' topic or to the changelog of incidents cannot stop the alerts."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import zstandard

from detectors import catalog
from stream import signals
from stream.alerts import Alert, alert_of, encode
from stream.checks import COUNT_MAX, TIME_MS_END
from stream.config import Config
from stream.kept import GROUP_BYTES_MAX, BadGroup, Group, pack, unpack
from stream.respond import Respond, words
from stream.signals import Signal
from tests.signals import found, signal

WORDS = {name: words(Config(), name) for name in catalog.detector_ids()}


def changed(**fields: Any) -> bytes:
    """A signal as a message, with other values."""
    return msgspec.json.encode(msgspec.to_builtins(signal(0)) | fields)


def evidence(**fields: Any) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(found("issuer", "key-7")) | fields]


@pytest.mark.parametrize(
    "fields",
    [
        {"id": ""}, {"id": "tl-1\n"}, {"id": "a b"}, {"status": "opened"},
        {"members": []}, {"members": evidence(feature=-1)}, {"members": evidence(horizon=9)},
        {"members": evidence(bits=1e300)}, {"members": evidence(tests=0.0)}, {"members": evidence(time=-1)},
        {"subjects": [2**64 - 1, 2**64]}, {"subjects": [0]}, {"sources": [-1]}, {"subjects": [1] * 1025},
        {"crossed": 2**60}, {"start": -1}, {"records": 1e300}, {"bytes": -1.0}, {"score": 1e300}, {"revision": 2**63},
        {"places": [{"origin": "o", "first": 2**63, "last": 1}]},
        {"related": [{"kind": "client", "value": "c", "count": 2**63}]},
    ],
    ids=str,
)  # fmt: skip
def test_what_would_overflow_later_is_no_signal(fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.DecodeError):
        signals.decode(changed(**fields))


def test_what_is_at_the_limits_is_told_and_kept() -> None:
    """As events may claim, of which there are many: an alert is JSON for every reader, and ends with the year 9999."""
    most = changed(
        records=2.0**100, bytes=2.0**70, score=2.0**100, crossed=TIME_MS_END, last=TIME_MS_END + 60_000,
        subjects=[2**64 - 1] * 1024, members=evidence(bits=2.0**100, observed=2.0**100, expected=-(2.0**100)),
    )  # fmt: skip
    given = signals.decode(most)
    alert = told(given)
    assert alert.impact.records == alert.impact.bytes == COUNT_MAX
    assert alert.window.end == alert.time
    assert alert.time.startswith("9999-12-31T23:59:59.")
    assert unpack(pack(Group(id=given.id, parts={given.id: given}))).parts == {given.id: given}


def told(given: Signal) -> Alert:
    """The alert, through the message that it is."""
    return msgspec.json.decode(encode(alert_of(given, WORDS, "")), type=Alert)


@pytest.mark.parametrize("new", [{"detector": "later"}, {"feature": 200}], ids=str)
def test_evidence_of_a_newer_worker_is_told_in_words_of_its_own(new: dict[str, Any]) -> None:
    """Alone; beside evidence that is known it is left out."""
    unknown = msgspec.structs.replace(found("issuer", "key-7"), **new)
    alert = told(msgspec.structs.replace(signal(0), members=[unknown]))
    assert alert.title == "Evidence about issuer key-7"
    assert f"found by {unknown.detector}, of which this version knows no words: upgrade it" in alert.summary
    assert alert.detectors == (unknown.detector,)
    both = told(msgspec.structs.replace(signal(0), members=[unknown, found("issuer", "key-7")]))
    assert [item.detector for item in both.evidence] == ["unissued"]
    assert both.title == told(signal(0)).title


def bomb(size: int) -> bytes:
    """A frame of Zstandard that says it holds so much: an 8-byte size, and no block."""
    return b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little")


BROKEN = [b"", b"{}", b"\xff", b"[" * 100_000, pack(Group(id="a"))[:-1], zstandard.compress(b"{"), bomb(2**62)]


@pytest.mark.parametrize("value", BROKEN, ids=lambda value: repr(value[:20]))
def test_what_is_no_incident_is_refused(value: bytes) -> None:
    with pytest.raises(BadGroup):
        unpack(value)


def test_nothing_is_unpacked_beyond_what_an_incident_may_take() -> None:
    with pytest.raises(BadGroup, match=f"{GROUP_BYTES_MAX + 1} bytes, the limit is {GROUP_BYTES_MAX}"):
        unpack(bomb(GROUP_BYTES_MAX + 1))


def test_an_incident_that_cannot_be_read_back_costs_no_other_and_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    held = {b"tl-1": pack(Group(id="tl-1")), b"tl-\xff": b"?", b"tl-2": pack(Group(id="tl-2"))}
    stub: Any = SimpleNamespace()
    with caplog.at_level(logging.WARNING):
        assert [group.id for group in Respond._readable(stub, held)] == ["tl-1", "tl-2"]
    assert "incident b'tl-\\xff' cannot be read back and is forgotten" in caplog.text
