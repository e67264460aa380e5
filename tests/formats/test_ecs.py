"""Elastic Common Schema: what each field of a document becomes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.decode import ecs
from stream.events import AccessEvent, BadRecord

Document = dict[str, Any]
BASE: Document = {
    "@timestamp": "2025-06-24T07:00:00.000Z",
    "event.category": "web",
    "user.id": "u-1",
    "source.ip": "192.0.2.1",
    "url.path": "/x",
}


def decoded(document: Document) -> AccessEvent:
    (event,) = ecs.decode(orjson.dumps(document))
    return event


def of(**fields: Any) -> AccessEvent:
    """The event of BASE with fields changed, "__" for a dot; None takes one away."""
    changed = {key.replace("__", "."): value for key, value in fields.items()}
    return decoded({key: value for key, value in (BASE | changed).items() if value is not None})


def reason(**fields: Any) -> str:
    with pytest.raises(BadRecord) as caught:
        of(**fields)
    return caught.value.reason


FULL: Document = BASE | {
    "event.category": ["web"], "event.type": ["access"], "event.id": "e-1", "event.outcome": "success",
    "user.name": "mara", "source.as.number": 64500, "source.geo.country_iso_code": "SE",
    "user_agent.original": "curl/8", "http.request.method": "PUT", "http.response.body.bytes": 12, "session.id": "s-1",
    "user.group.name": "claims", "user.target.id": "u-9", "url.path": "/users/17",
}  # fmt: skip


@given(st.lists(st.booleans(), min_size=64, max_size=64))
def test_nested_and_dotted_spellings_are_one_event(nest: list[bool]) -> None:
    choice = iter(nest)
    document: Document = {}
    for key, value in FULL.items():
        holder, parts = document, key.split(".")
        name = parts[0]
        for part in parts[1:]:
            if next(choice) and isinstance(holder.setdefault(name, {}), dict):
                holder, name = holder[name], part
            else:
                name = f"{name}.{part}"
        holder[name] = value
    event = decoded(document)
    assert event == decoded(FULL)
    assert event == AccessEvent(
        time=BASE["@timestamp"], account="u-1", action="write", resource="/users/{id}", id="e-1", group="claims",
        credential="s-1", source_ip="192.0.2.1", asn=64500, country="SE", user_agent="curl/8", object="/users/17",
        subject="u-9", bytes=12,
    )  # fmt: skip


def test_the_account_is_the_first_name_there_is_and_at_last_the_address() -> None:
    names = {"user__id": "i", "user__name": "n", "user__email": "e", "client__user__name": "c", "source__user__id": "s",
             "service__origin__name": "o"}  # fmt: skip
    accounts = []
    while names:
        accounts.append(of(**{"user__id": None, **names}).account)
        names.pop(next(iter(names)))
    assert accounts == ["i", "n", "e", "c", "s", "o"]
    assert of(user__id=None).account == "192.0.2.1"
    assert reason(user__id=None, source__ip=None) == "missing_field"


@pytest.mark.parametrize(("name", "kind"), [
    ("system:serviceaccount:prod:web", "service"), ("HOST7$", "service"), ("r@p.iam.gserviceaccount.com", "service"),
    ("mara", "unknown"),
])  # fmt: skip
def test_service_accounts_are_told_by_their_names(name: str, kind: str) -> None:
    assert of(user__id="7", user__name=name).account_kind == kind
    assert of(user__id=None, user__name=name).account_kind == kind


@pytest.mark.parametrize(
    ("fields", "action"),
    [
        ({"event__category": ["authentication"], "event__type": ["start"]}, "login"),
        ({"event__category": ["authentication"], "event__action": "logged-out"}, "logout"),
        ({"event__category": "session", "event__type": "end"}, "logout"),
        ({"event__category": ["iam"], "event__type": ["user", "deletion"]}, "admin"),
        ({"event__category": ["configuration"], "event__type": "change"}, "admin"),
        ({"event__category": ["file"], "event__type": ["deletion"]}, "delete"),
        ({"event__category": ["file"], "event__type": ["creation"]}, "write"),
        ({"event__category": ["file"], "event__action": "FileDownloaded"}, "export"),
        ({"event__category": ["file"], "event__action": "link-shared"}, "share"),
        ({"event__category": ["api"], "event__action": "ListBuckets"}, "list"),
        ({"event__category": ["database"]}, "read"),
        ({"event__category": ["network", "web"]}, "read"),
        ({"http__request__method": "delete"}, "delete"),
        ({"http__request__method": "POST", "event__type": "access"}, "write"),
        ({"http__request__method": "POST", "url__path": "/login"}, "login"),
        ({"event__category": None}, "read"),
    ],
)
def test_category_verb_type_and_method_say_the_action(fields: Document, action: str) -> None:
    assert of(**fields).action == action


@pytest.mark.parametrize("fields", [{"event__kind": "metric"}, {"event__kind": "alert"}, {"event__kind": "state"},
                                    {"event__category": ["process"]}, {"event__category": ["host", "driver"]},
                                    {"event__category": None, "url__path": None, "event__dataset": "x"}])  # fmt: skip
def test_what_is_not_about_access_is_said_to_be_so(fields: Document) -> None:
    assert reason(**fields) == "not_an_access_event"


def test_no_resource_or_time_is_a_missing_field() -> None:
    assert reason(url__path=None) == "missing_field"
    assert reason(**{"@timestamp": None}) == "missing_field"


def test_files_lie_in_folders_of_either_slash() -> None:
    event = of(url__path=None, event__category="file", file__path="C:\\audit\\q2.xlsx")
    assert (event.resource, event.object) == ("C:/audit", "C:\\audit\\q2.xlsx")


@pytest.mark.parametrize(("fields", "outcome"), [
    ({}, "success"), ({"event__outcome": "failure"}, "failure"), ({"event__type": ["access", "denied"]}, "failure"),
    ({"http__response__status_code": 403}, "failure"), ({"http__response__status_code": "200"}, "success"),
    ({"event__outcome": "unknown", "http__response__status_code": 500}, "failure"),
    ({"event__outcome": "success", "http__response__status_code": 500}, "success"),
])  # fmt: skip
def test_the_outcome_is_as_said_or_else_of_the_status(fields: Document, outcome: str) -> None:
    assert of(**fields).outcome == outcome


def test_bytes_are_of_the_body_before_the_whole_response_before_the_flow() -> None:
    sizes = {"http__response__body__bytes": 1, "http__response__bytes": 2, "server__bytes": 3, "destination__bytes": 4}
    seen = []
    while sizes:
        seen.append(of(**sizes).bytes)
        sizes.pop(next(iter(sizes)))
    assert seen == [1, 2, 3, 4]
    assert of(file__size=9).bytes == 0  # opened is not sent
    assert of(file__size=9, event__action="download").bytes == 9


def test_a_request_id_is_no_credential() -> None:
    assert of(http__request__id="r-1", trace__id="t-1", transaction__id="x-1").credential == ""


def test_a_client_certificate_is_a_credential_and_names_its_issuer() -> None:
    event = of(tls__client__x509__serial_number="55FB", tls__client__issuer="CN=Mesh CA")
    assert (event.credential, event.issuer) == ("55FB", "CN=Mesh CA")
    assert of(tls__client__issuer="CN=Mesh CA").issuer == ""
