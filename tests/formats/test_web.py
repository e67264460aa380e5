"""Load balancers, edges, proxies and gateways: what of their lines becomes the event, and what is not believed."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.decode import alb, cloudfront, envoy, kong
from stream.decode._typed import host
from stream.events import AccessEvent, BadRecord

REQUESTS = [
    ("GET", "/users/17/mail", "read", "/users/{id}/mail", "17"),
    ("POST", "/login", "login", "/login", ""),
    ("DELETE", "/drafts/5", "delete", "/drafts/{id}", "5"),
]


def balanced(
    asked: str = "GET https://h.example:443/ HTTP/1.1",
    client: str = "192.0.2.1:5",
    status: str = "200",
    agent: str = "a",
) -> AccessEvent:
    line = (
        f"https 2025-06-24T07:00:00.000000Z app/x/1 {client} 10.0.0.1:80 0.0 0.0 0.0 {status} {status} 1 7 "
        f'"{asked}" "{agent}" - - arn "Root=1-a" "-" "-" 0 2025-06-24T07:00:00.000000Z "forward" "-" "-" "-" "-"'
    )
    (event,) = alb.decode(line.encode())
    return event


def at_edge(**changed: str) -> AccessEvent:
    fields = {
        "date": "2025-06-24", "time": "07:00:00", "edge": "ARN1-C1", "bytes": "7", "ip": "192.0.2.1", "method": "GET",
        "host": "d.cloudfront.net", "path": "/", "status": "200", "referer": "-", "agent": "a", "query": "-",
        "cookie": "secret=1", "result": "Hit", "id": "r-1", "rest": "h\thttps",
    }  # fmt: skip
    (event,) = cloudfront.decode("\t".join((fields | changed).values()).encode())
    return event


def proxied(**fields: Any) -> AccessEvent:
    base = {
        "start_time": "2025-06-24T07:00:00.000Z", "downstream_remote_address": "192.0.2.1:5", "response_flags": "-",
        "method": "GET", "path": "/", "response_code": 200, "bytes_sent": 7, "user_agent": "a",
    }  # fmt: skip
    (event,) = envoy.decode(orjson.dumps(base | fields))
    return event


def gated(**fields: Any) -> AccessEvent:
    base = {
        "started_at": 1750748400000, "latencies": {}, "request": {"method": "GET", "uri": "/", "headers": {}},
        "response": {"status": 200, "size": 7}, "client_ip": "192.0.2.1",
    }  # fmt: skip
    (event,) = kong.decode(orjson.dumps(base | fields))
    return event


@pytest.mark.parametrize(("method", "path", "action", "resource", "subject"), REQUESTS)
def test_one_request_is_one_event_whoever_logged_it(
    method: str, path: str, action: str, resource: str, subject: str
) -> None:
    for event in (
        balanced(f"{method} https://h.example:443{path} HTTP/1.1"),
        at_edge(method=method, path=path),
        proxied(method=method, path=path),
        gated(request={"method": method, "uri": path}),
    ):
        told = (event.account, event.source_ip, event.action, event.resource, event.object, event.subject, event.bytes)
        assert told == ("192.0.2.1", "192.0.2.1", action, resource, path, subject, 7)


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "success"), (304, "success"), (401, "failure"), (503, "failure")]
)
def test_a_status_from_400_on_is_a_failure(status: int, outcome: str) -> None:
    events = (
        balanced(status=str(status)), at_edge(status=str(status)), proxied(response_code=status),
        proxied(response_code=str(status)), gated(response={"status": status}),
    )  # fmt: skip
    assert [event.outcome for event in events] == [outcome] * 5


def test_who_leaves_before_the_answer_is_not_hidden_by_it() -> None:
    assert at_edge(status="000").outcome == "success"
    assert proxied(response_code=0, response_flags="UF").outcome == "failure"
    assert proxied(response_code=0, method=None, upstream_cluster="db").outcome == "success"


def test_ids_that_a_client_may_choose_are_none() -> None:
    """Repeats of an id are dropped: a thief who sends one id for every request would be seen once."""
    assert balanced().id == proxied(request_id="r-1", **{"x-request-id": "r-1"}).id == ""
    assert at_edge().id == "r-1"
    assert gated(request={"method": "GET", "uri": "/", "id": "r-1"}).id == "r-1"


def test_a_forwarded_for_is_not_believed() -> None:
    assert proxied(x_forwarded_for="198.51.100.9").source_ip == "192.0.2.1"
    assert gated(request={"method": "GET", "uri": "/", "headers": {"x-forwarded-for": "198.51.100.9"}}).source_ip == (
        "192.0.2.1"
    )


@given(st.ip_addresses(), st.integers(1, 65535))
def test_addresses_lose_their_ports(address: Any, port: int) -> None:
    shown = f"[{address}]" if address.version == 6 else str(address)
    assert host(f"{shown}:{port}") == host(str(address)) == host(f"{address}({port})") == str(address)
    assert balanced(client=f"{shown}:{port}").source_ip == str(address)


def test_a_request_line_that_is_none_is_a_failed_read() -> None:
    for event in (balanced("- http://h.example:443- -"), gated(request={"method": "", "uri": ""})):
        assert (event.resource, event.outcome) == ("-", "failure")


def test_a_quote_in_a_user_agent_does_not_end_it() -> None:
    assert balanced(agent=r"x\" 500 \"y").user_agent == r"x\" 500 \"y"
    assert at_edge(agent="Mozilla/5.0%20(X11)").user_agent == "Mozilla/5.0 (X11)"


def test_the_lines_that_name_the_fields_of_a_log_are_passed_over() -> None:
    names = b"#Fields: date time x-edge-location sc-bytes c-ip"
    assert cloudfront.matches(names)
    assert cloudfront.decode(names) == cloudfront.decode(b"#Version: 1.0") == []


def test_fields_in_another_order_are_refused_and_not_misread() -> None:
    with pytest.raises(BadRecord, match="not the fields of a standard log"):
        at_edge(edge="192.0.2.1", ip="ARN1-C1")


def test_a_mesh_names_the_peer_by_its_certificate() -> None:
    peer = {
        "downstream_peer_uri_san": "spiffe://a/b",
        "downstream_peer_serial": "7f",
        "downstream_peer_issuer": "CN=CA",
    }
    event = proxied(**peer)
    assert (event.account, event.account_kind, event.credential, event.issuer) == (
        "spiffe://a/b", "service", "7f", "CN=CA",
    )  # fmt: skip
    assert proxied(method="POST", path="/login", **peer).credential == ""  # it was shown to the page, not made by it


def test_a_consumer_is_named_before_the_credential_before_the_address() -> None:
    names: dict[str, Any] = {"consumer": {"username": "u", "custom_id": "c", "id": "i"}}
    entity = {"authenticated_entity": {"id": "k-1", "consumer_id": "e"}}
    seen = [gated(**names, **entity).account]
    for name in ("username", "custom_id", "id"):
        names["consumer"] = names["consumer"] | {name: None}
        seen.append(gated(**names, **entity).account)
    assert seen == ["u", "c", "i", "e"]
    assert gated(**entity).credential == "k-1"


@pytest.mark.parametrize("fields", [{"request": None}, {"request": {"uri": "/"}}, {"started_at": None}])
def test_what_a_gateway_left_out_is_a_reason(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRecord) as caught:
        gated(**fields)
    assert caught.value.reason in ("missing_field", "wrong_type")
