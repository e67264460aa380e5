"""CEF, CloudEvents and syslog: what carries an event, and what of it is believed."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.decode import cef, cloudevents, detect, formats, syslog
from stream.events import AccessEvent, BadRecord
from tests.formats.test_contract import fixture

WEBLOGS = Path(__file__).parents[3] / "shared" / "data" / "weblogs_elastic"
PLAIN = [(name, record) for name, fmt in formats().items() if name not in ("syslog", "cloudevents")
         for record in fixture(fmt)]  # fmt: skip
HEADERS = (
    b"<134>1 2025-06-24T07:00:00Z host app 1 - - ",
    b'<134>1 2025-06-24T07:00:00Z host app 1 ID [a@1 k="x \\" \\] y"][b@1] \xef\xbb\xbf',
    b"<13>Jun 24 07:00:00 host app[17]: ",
    b"<13>Jun  4 07:00:00 host app: ",
    b"Jun 24 07:00:00 host app[17]: ",
    b"2025-06-24T07:00:00.123456+02:00 host app: ",
    b"211 <134>1 2025-06-24T07:00:00Z host app - - - ",
)


def of_cef(extension: str, name: str = "File read", product: str = "P") -> AccessEvent:
    (event,) = cef.decode(f"CEF:0|V|{product}|1|7|{name}|3|rt=1750748400000 {extension}".encode())
    return event


def cloud(**fields: Any) -> AccessEvent:
    base: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    (event,) = cloudevents.decode(orjson.dumps(base | fields))
    return event


@pytest.mark.parametrize("header", HEADERS)
def test_syslog_changes_nothing_of_what_it_carries(header: bytes) -> None:
    for name, record in PLAIN:
        fmt = formats()[name]
        assert syslog.decode(header + record) == fmt.decode(record)
        assert detect([header + record]) is syslog.FORMAT


def test_cloudevents_change_nothing_but_an_id_that_is_missing() -> None:
    for name, record in PLAIN:
        base: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
        for held in ({"data": record.decode()}, {"data_base64": base64.b64encode(record).decode()}):
            got, expected = cloudevents.decode(orjson.dumps(base | held)), formats()[name].decode(record)
            if len(expected) == 1:
                expected[0].id = expected[0].id or "/s/1"
            assert got == expected


def test_the_envelopes_time_stands_in_for_that_of_a_native_record() -> None:
    data = {"account": "mara", "action": "read", "resource": "orders"}
    assert cloud(time="2025-06-24T07:00:00Z", data=data).time == "2025-06-24T07:00:00Z"
    assert cloud(time="2025-06-24T07:00:00Z", data=data | {"time": 1750748400001}).time == 1750748400001


def test_envelopes_in_envelopes_end() -> None:
    """Each opens one level; a record made of nothing but headers must not open a thousand."""
    for read, record in ((syslog.decode, HEADERS[0] * 20_000), (syslog.decode, HEADERS[4] * 20_000)):
        with pytest.raises(BadRecord, match="unknown_format"):
            read(record)
    held = b"{}"
    for _ in range(200):
        held = orjson.dumps(
            {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": held.decode()[:50_000]}
        )
    with pytest.raises(BadRecord, match="unknown_format"):
        cloudevents.decode(held)


@pytest.mark.parametrize("fields", [{}, {"data": None}, {"data": 7}, {"data_base64": "?"}, {"data_base64": 7},
                                    {"data": "\ud83d"[:0]}, {"data": {"x": 1}}])  # fmt: skip
def test_an_envelope_without_a_record_is_a_reason(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRecord):
        cloud(**fields)


@pytest.mark.parametrize(("name", "extension", "action"), [
    ("File downloaded", "suser=a", "export"), ("Login failed", "duser=a", "login"),
    ("x", "suser=a act=deleted", "delete"),
    ("x", "suser=a requestMethod=PUT request=/p", "write"), ("x", "suser=a cat=FileShared", "share"),
])  # fmt: skip
def test_a_verb_says_the_action_of_a_cef_event(name: str, extension: str, action: str) -> None:
    assert of_cef(extension, name).action == action


def test_what_names_no_verb_is_no_access() -> None:
    with pytest.raises(BadRecord, match="not_an_access_event"):
        of_cef("src=192.0.2.1 dpt=22", "Port scan")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=20))
def test_values_are_read_back_as_they_were_before_escaping(value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace("=", "\\=")
    event = of_cef(f"suser=mara filePath={escaped} x fname=f out=5")
    assert (event.object, event.account, event.bytes) == (f"{value} x", "mara", 5)
    product = value.replace("\\", "\\\\").replace("|", "\\|")
    assert of_cef("suser=mara", product=product).resource == value


def test_an_unescaped_sign_in_a_url_does_not_forge_a_key() -> None:
    event = of_cef("suser=mara requestMethod=GET request=https://h/x?suser=admin&id=5 out=5 suser=root", "x")
    assert (event.account, event.object, event.bytes) == ("mara", "/x?id=5", 5)


@pytest.mark.parametrize(("rt", "time"), [
    ("1750748400123", 1750748400123), ("Jun 24 2025 07:00:00", 1750748400000),
    ("Jun 24 2025 07:00:00.250 UTC", 1750748400250), ("2025-06-24T07:00:00Z", "2025-06-24T07:00:00Z"),
])  # fmt: skip
def test_cef_times_of_each_kind(rt: str, time: int | str) -> None:
    (event,) = cef.decode(f"CEF:0|V|P|1|7|read|3|suser=a rt={rt}".encode())
    assert event.time == time


def test_outcome_subject_and_count_of_a_cef_event() -> None:
    assert of_cef("suser=a outcome=Failure").outcome == of_cef("suser=a act=blocked").outcome == "failure"
    assert of_cef("suser=a outcome=success act=blocked").outcome == "success"
    assert (of_cef("suser=a duser=b cnt=7").subject, of_cef("suser=a duser=b cnt=7").records) == ("b", 7)
    assert of_cef("suser=a duser=a").subject == ""


@given(st.sampled_from([b"[", b'k="', b"\\", b" ", b"=", b"|", b"<1>1 ", b"CEF:0|", b"x "]), st.integers(1, 3000))
def test_lines_made_to_be_slow_are_read_in_one_pass(piece: bytes, times: int) -> None:
    for start in (b"", b"<1>1 - - - - - ", b"<1>1 - - - - - [a@1 ", b"CEF:0|a|b|c|d|e|f|", b"Jun 24 07:00:00 "):
        syslog.matches(start + piece * times)
        cef.matches(start + piece * times)


@pytest.mark.skipif(not WEBLOGS.exists(), reason=f"the public logs are not there: {WEBLOGS}")
def test_a_public_log_of_logins_is_syslog_around_nothing_that_is_known() -> None:
    lines = gzip.decompress((WEBLOGS / "auth.log.gz").read_bytes()).splitlines()
    assert not any(map(syslog.matches, lines))
    web = gzip.decompress((WEBLOGS / "apache_logs.gz").read_bytes()).splitlines()[:500]
    for raw in web:
        assert syslog.decode(HEADERS[4] + raw) == formats()["accesslog"].decode(raw)
