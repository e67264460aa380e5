"""Access log lines, as text and as JSON: what each part of a line becomes."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.decode import accesslog, accesslog_json
from stream.decode.accesslog import NO_REQUEST, request
from stream.events import ACTIONS, AccessEvent, BadRecord

AGENT = "Mozilla/5.0 (X11; Linux x86_64)"
WEBLOGS = Path(__file__).parents[3] / "shared" / "data" / "weblogs_elastic"


def line(
    client: str = "192.0.2.1", user: str = "-", at: str = "24/Jun/2025:07:00:00 +0000",
    asked: str = "GET / HTTP/1.1", status: int = 200, sent: str = "7", tail: str = f' "-" "{AGENT}"',
) -> AccessEvent:  # fmt: skip
    (event,) = accesslog.decode(f'{client} - {user} [{at}] "{asked}" {status} {sent}{tail}'.encode())
    return event


def of_json(**fields: Any) -> AccessEvent:
    base = {
        "time_iso8601": "2025-06-24T07:00:00Z",
        "remote_addr": "192.0.2.1",
        "request": "GET / HTTP/1.1",
        "status": 200,
    }
    (event,) = accesslog_json.decode(orjson.dumps({**base, **fields}))
    return event


@pytest.mark.parametrize(
    ("asked", "action", "resource", "named", "subject"),
    [
        ("GET /users/17/mail HTTP/1.1", "read", "/users/{id}/mail", "/users/17/mail", "17"),
        ("HEAD /a?b=c HTTP/2.0", "read", "/a", "/a", ""),
        ("GET /a/1/b/2 HTTP/1.1", "read", "/a/{id}/b/{id}", "/a/1/b/2", ""),
        ("GET /f/0D4F7BB2-98c1-4c5e-9a0d-6f3f2f5f6a11/x HTTP/1.1", "read", "/f/{id}/x", None, None),
        ("GET /c/9fceb02d HTTP/1.1", "read", "/c/{id}", "/c/9fceb02d", "9fceb02d"),
        ("GET /c/defaced1/deadbeef/v2/1.2.3 HTTP/1.1", "read", "/c/{id}/deadbeef/v2/1.2.3", None, "defaced1"),
        ("GET /u/jana@example.com HTTP/1.1", "read", "/u/{id}", None, "jana@example.com"),
        ("GET /u/jana%40example.com/x HTTP/1.1", "read", "/u/{id}/x", None, "jana%40example.com"),
        ("GET /invoices/88.pdf HTTP/1.1", "read", "/invoices/{id}.pdf", "/invoices/88.pdf", "88"),
        ("GET /x?user_id=5&token=s3cret&sid=abc HTTP/1.1", "read", "/x", "/x?user_id=5", "5"),
        ("GET /x/1?id=5 HTTP/1.1", "read", "/x/{id}", "/x/1?id=5", ""),
        (f"GET /k/{'Q' * 65} HTTP/1.1", "read", "/k/{id}", None, "Q" * 65),
        ("GET http://shop.example/users/17 HTTP/1.1", "read", "/users/{id}", "/users/17", "17"),
        ("GET / HTTP/1.1", "read", "/", "/", ""),
        ("GET /old", "read", "/old", "/old", ""),
        ("GET /a b c HTTP/1.0", "read", "/a b c", "/a b c", ""),
        ("OPTIONS * HTTP/1.1", "read", "*", "*", ""),
        ("POST /orders HTTP/1.1", "write", "/orders", "/orders", ""),
        ("PUT /orders/3 HTTP/1.1", "write", "/orders/{id}", None, "3"),
        ("PATCH /o HTTP/1.1", "write", "/o", "/o", ""),
        ("DELETE /o HTTP/1.1", "delete", "/o", "/o", ""),
        ("POST /Login?next=/ HTTP/1.1", "login", "/Login", "/Login", ""),
        ("POST /api/v1/sign-in HTTP/1.1", "login", "/api/v1/sign-in", None, ""),
        ("POST /signin/ HTTP/1.1", "login", "/signin/", None, ""),
        ("POST /wp-login.php HTTP/1.1", "login", "/wp-login.php", None, ""),
        ("POST /session HTTP/1.1", "login", "/session", None, ""),
        ("POST /oauth/token HTTP/1.1", "login", "/oauth/token", None, ""),
        ("POST /oauth2/v1/token HTTP/1.1", "login", "/oauth2/v1/token", None, ""),
        ("POST /token HTTP/1.1", "write", "/token", None, ""),
        ("GET /login HTTP/1.1", "read", "/login", None, ""),
        ("GET /logout HTTP/1.1", "logout", "/logout", None, ""),
        ("POST /blogin HTTP/1.1", "write", "/blogin", None, ""),
    ],
)
def test_a_request_line_says_action_resource_object_and_subject(
    asked: str, action: str, resource: str, named: str | None, subject: str | None
) -> None:
    got = request(asked)
    assert (got.action, got.resource) == (action, resource)
    assert named in (None, got.object)
    assert subject in (None, got.subject)


@pytest.mark.parametrize("asked", ["", "-", r"\x16\x03\x01", "GET", "GET ", "get /x HTTP/1.1", "t3 12.1.2"])
def test_garbage_for_a_request_is_a_failed_read_and_not_hidden(asked: str) -> None:
    assert request(asked) is NO_REQUEST
    for event in (line(asked=asked, status=400), line(asked=asked, status=200), of_json(request=asked, status=200)):
        assert (event.account, event.action, event.resource, event.outcome) == ("192.0.2.1", "read", "-", "failure")


@given(st.text(max_size=3000))
def test_any_request_line_gives_a_request(asked: str) -> None:
    got = request(asked)
    assert got.action in ACTIONS
    assert got.resource


@given(st.lists(st.integers(0, 10**12) | st.uuids(), min_size=1, max_size=5))
def test_paths_that_differ_in_identifiers_only_are_one_resource(identifiers: list[object]) -> None:
    got = request("GET " + "".join(f"/part/{each}" for each in identifiers) + " HTTP/1.1")
    assert got.resource == "/part/{id}" * len(identifiers)
    assert got.subject == (str(identifiers[0]) if len(identifiers) == 1 else "")


ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(
    st.datetimes(datetime(2000, 1, 2), datetime(2099, 1, 1), timezones=ZONES).map(lambda at: at.replace(microsecond=0))
)
def test_times_are_read_with_their_zone(at: datetime) -> None:
    text = at.strftime("%d/%b/%Y:%H:%M:%S %z")
    expected = round(at.timestamp() * 1000)
    assert line(at=text).time == expected
    assert of_json(time_iso8601="", time_local=text).time == expected
    assert of_json(time_iso8601="", time=f"[{text}]").time == expected


@pytest.mark.parametrize("at", [
    "31/Feb/2025:07:00:00 +0000", "24/Xyz/2025:07:00:00 +0000", "24/Jun/2025:24:00:00 +0000",
    "24/Jun/2025:07:60:00 +0000", "24/Jun/2025:07:00:61 +0000", "24/Jun/0000:07:00:00 +0000",
    "24/Jun/2025:07:00:00 +2400", "24-Jun-2025:07:00:00 +0000",
])  # fmt: skip
def test_a_time_that_is_none_is_said_to_be_unreadable(at: str) -> None:
    with pytest.raises(BadRecord) as caught:
        line(at=at)
    assert caught.value.reason == "time_unreadable"


def test_a_leap_second_is_the_next_second() -> None:
    assert line(at="31/Dec/2016:23:59:60 +0000").time == datetime(2017, 1, 1, tzinfo=UTC).timestamp() * 1000


@pytest.mark.parametrize(("user", "account"), [
    ("-", "192.0.2.1"), ('""', "192.0.2.1"), ("mara", "mara"), ("a b", "a b"), (r"a\"b", r"a\"b"), ("x] [y", "x] [y"),
    ("jürgen", "jürgen"),
])  # fmt: skip
def test_the_account_is_the_user_or_else_the_address(user: str, account: str) -> None:
    assert line(user=user).account == account


def test_a_user_cannot_forge_the_rest_of_the_line() -> None:
    forged = r"eve [24/Jun/2025:07:00:00 +0000] \"GET /ok HTTP/1.1\" 200 1"
    event = line(user=forged, asked="GET /secret HTTP/1.1", status=401)
    assert (event.object, event.outcome) == ("/secret", "failure")


@pytest.mark.parametrize("client", ["192.0.2.1", "2001:db8::1", "::1", "host-7.isp.example", "unix:"])
def test_the_client_is_an_address_of_either_kind_or_a_name(client: str) -> None:
    event = line(client=client)
    assert (event.source_ip, event.account) == (client, client)


def test_a_virtual_host_in_front_is_passed_over() -> None:
    event = line(client="shop.example:443 192.0.2.1", user="mara")
    assert (event.source_ip, event.account) == ("192.0.2.1", "mara")


@pytest.mark.parametrize(("status", "outcome"), [(101, "success"), (200, "success"), (304, "success"), (399, "success"),
                                                 (400, "failure"), (499, "failure"), (503, "failure")])  # fmt: skip
def test_a_status_from_400_on_is_a_failure(status: int, outcome: str) -> None:
    assert (
        line(status=status).outcome == of_json(status=status).outcome == of_json(status=str(status)).outcome == outcome
    )


@pytest.mark.parametrize(("tail", "agent"), [("", ""), (' "-" "-"', ""), (' "-" "a \\"b\\" c"', 'a \\"b\\" c'),
                                             (' "r" "curl/8" "198.51.100.1" rt=0.1', "curl/8"),
                                             (' "-" "Bot/2.1; +http', "Bot/2.1; +http")])  # fmt: skip
def test_the_user_agent_is_the_last_field_of_combined(tail: str, agent: str) -> None:
    assert line(tail=tail).user_agent == agent


def test_bytes_are_those_sent_and_a_dash_is_none() -> None:
    assert [line(sent=sent).bytes for sent in ("-", "0", "73400320")] == [0, 0, 73400320]
    assert [of_json(bytes_sent=sent).bytes for sent in ("-", "0", 73400320)] == [0, 0, 73400320]


def test_bytes_that_are_not_utf8_are_written_as_servers_write_them() -> None:
    (event,) = accesslog.decode(b'192.0.2.1 - - [24/Jun/2025:07:00:00 +0000] "GET /caf\xe9 HTTP/1.1" 200 1')
    assert event.object == r"/caf\xe9"


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["a", " ", '"', "\\", "[", "] ", '] "', " - ", "[24/Jun/2025:07:00:00 +0000] "]),
    st.integers(1, 20_000),
)
def test_a_line_made_to_be_slow_is_read_in_one_pass(piece: str, times: int) -> None:
    """A quadratic pattern would never come back from this length."""
    for record in (piece * times, f"a - {piece * times}", f'a - - [24/Jun/2025:07:00:00 +0000] "{piece * times}'):
        accesslog.matches(record.encode())
        request(f"GET /{piece * times} HTTP/1.1")


@pytest.mark.parametrize("fields", [
    {"remote_addr": None, "clientip": "192.0.2.1"},
    {"remote_addr": None, "Client-IP": "192.0.2.1"},
    {"request": None, "request_method": "GET", "request_uri": "/"},
    {"request": None, "uri": "/"},
    {"request": "/", "method": "get"},
    {"time_iso8601": None, "msec": "1750748400.000"},
    {"time_iso8601": None, "ts": 1750748400.0},
    {"time_iso8601": None, "timestamp": 1750748400000},
    {"remote_user": "-"},
    {"a_key_of_tomorrow": [1, {"x": None}]},
])  # fmt: skip
def test_keys_vary_and_the_event_does_not(fields: dict[str, object]) -> None:
    event, plain = of_json(**fields), of_json()
    event.time = plain.time if event.time == 1750748400000 else event.time
    assert event == plain


def test_the_peer_is_believed_and_not_a_forwarded_for() -> None:
    assert of_json(http_x_forwarded_for="198.51.100.9").source_ip == "192.0.2.1"


def test_without_a_status_a_request_is_not_overlooked() -> None:
    assert of_json(status=None).outcome == "success"


@pytest.mark.parametrize(("fields", "reason"), [
    ({"time_iso8601": None}, "missing_field"),
    ({"remote_addr": None}, "missing_field"), ({"EVENT_TYPE": "URI"}, "unknown_format"),
    ({"request": None, "status": None}, "missing_field"),
    ({"time_iso8601": None, "time_local": "99/Jun/2025:07:00:00 +0000"}, "time_unreadable"),
])  # fmt: skip
def test_json_without_what_an_event_needs_is_a_reason(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(BadRecord) as caught:
        of_json(**fields)
    assert caught.value.reason == reason


@pytest.mark.skipif(not WEBLOGS.exists(), reason=f"the public web logs are not there: {WEBLOGS}")
def test_a_public_web_log_is_read_as_splitting_at_its_quotes_reads_it() -> None:
    """10,000 lines of an Apache that anyone could reach; none is lost, and a log of logins is not taken for one."""
    lines = gzip.decompress((WEBLOGS / "apache_logs.gz").read_bytes()).splitlines()
    plain = 0
    for raw in lines:
        (event,) = accesslog.decode(raw)
        quoted = raw.decode().split('"')
        client, _, user, day, zone = quoted[0].split()
        status, sent = quoted[2].split()
        assert event.time == datetime.strptime(f"{day} {zone}", "[%d/%b/%Y:%H:%M:%S %z]").timestamp() * 1000
        assert (event.source_ip, event.account, user) == (client, client, "-")
        assert event.bytes == int(sent.replace("-", "0"))
        assert event.outcome == ("failure" if status >= "400" else "success")
        assert (event.object or "").startswith(quoted[1].split()[1].partition("?")[0])
        if len(quoted) == 7:  # one line is cut off in its user agent
            assert event.user_agent == quoted[5].removeprefix("-")
            plain += 1
    assert (len(lines), plain) == (10_000, 9_999)
    other = gzip.decompress((WEBLOGS / "auth.log.gz").read_bytes()).splitlines()
    assert not any(map(accesslog.matches, other))
