"""ECS output: fields of the types that Elastic maps them to."""

from __future__ import annotations

import ipaddress

import orjson
from hypothesis import given, settings

from stream.alerts import Alert, EntityRef
from stream.encode import ecs
from tests.encode.alerts import alerts
from tests.pages import alert as made

# event.category and event.type take these values and no others, by the field reference.
CATEGORIES = {"intrusion_detection": {"allowed", "denied", "info"}}


@settings(max_examples=30)
@given(alert=alerts)
def test_fields_hold_what_elastic_maps_them_to(alert: Alert) -> None:
    """An address that is none would be refused, and the alert with it."""
    document = orjson.loads(ecs.encode(alert))
    for address in (*document["related"]["ip"], *([document["source"]["ip"]] if "source" in document else [])):
        ipaddress.ip_address(address)
    assert document["event"]["kind"] == "alert"
    for category in document["event"]["category"]:
        assert set(document["event"]["type"]) <= CATEGORIES[category]
    assert isinstance(document["event"]["severity"], int)
    assert document["@timestamp"] == alert.time


def test_whom_it_is_about_is_where_elastic_looks() -> None:
    account = orjson.loads(ecs.encode(made()))
    assert account["user"] == {"id": "ann"}
    assert account["related"]["user"] == ["ann"]
    address = orjson.loads(ecs.encode(made(entity=EntityRef("source", "2001:db8::1"))))
    assert address["source"] == {"ip": "2001:db8::1"}


def test_a_sub_technique_stands_below_its_technique() -> None:
    (found,) = orjson.loads(ecs.encode(made(techniques=("T1550.001",))))["threat"]["technique"]
    assert found["id"] == ["T1550"]
    assert found["subtechnique"] == {"id": ["T1550.001"], "name": ["Application Access Token"]}
