"""OCSF output against a model that somebody else wrote, and against what class 2004 requires."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from py_ocsf_models.events.findings.detection_finding import DetectionFinding  # type: ignore[import-untyped]

from stream.alerts import Alert, EntityRef
from stream.encode import ocsf
from tests.encode.alerts import alerts
from tests.pages import alert as made

# Required by the schema, version 1.5.0: of the class, and of the objects that the model above does not know.
REQUIRED = ("activity_id", "category_uid", "class_uid", "finding_info", "metadata", "severity_id", "time", "type_uid")
REQUIRED_OF_ANALYSIS = ("analysis_targets", "anomalies")
REQUIRED_OF_MEASURE = ("observation_parameter", "observations")


@settings(max_examples=30)
@given(alert=alerts)
def test_it_is_a_detection_finding_to_an_independent_model(alert: Alert) -> None:
    document = orjson.loads(ocsf.encode(alert))
    finding = DetectionFinding.model_validate(document)
    assert (finding.class_uid, finding.category_uid) == (2004, 2)
    assert finding.type_uid == 2004 * 100 + finding.activity_id
    assert finding.finding_info.uid == alert.id
    assert finding.metadata.version == "1.5.0"


@settings(max_examples=30)
@given(alert=alerts)
def test_what_the_class_requires_is_there(alert: Alert) -> None:
    document = orjson.loads(ocsf.encode(alert))
    assert set(REQUIRED) <= set(document)
    assert {"version", "product"} <= set(document["metadata"])
    assert {"uid", "title"} <= set(document["finding_info"])
    for analysis in document["anomaly_analyses"]:
        assert set(REQUIRED_OF_ANALYSIS) <= set(analysis)
        assert all("name" in target for target in analysis["analysis_targets"])
        for measure in (*analysis["anomalies"], *analysis["baselines"]):
            assert set(REQUIRED_OF_MEASURE) <= set(measure)
            assert all("value" in each for each in measure["observations"])
    assert all({"name", "type_id"} <= set(each) for each in document["observables"])


def finding(**fields: Any) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(ocsf.encode(made(**fields)))
    return document


def test_an_analyst_sees_what_was_observed_beside_what_was_expected() -> None:
    (analysis,) = finding()["anomaly_analyses"]
    assert analysis["analysis_targets"] == [{"name": "ann", "type": "account"}]
    (anomaly,), (baseline,) = analysis["anomalies"], analysis["baselines"]
    assert anomaly["observations"][0]["value"] == "5000"
    assert baseline["observations"][0]["value"] == "12.5"
    assert anomaly["observation_parameter"] == baseline["observation_parameter"] == "volume.records (records)"
    assert anomaly["observed_pattern"] == "SURGE"
    span = anomaly["observations"][0]["timespan"]
    assert span["end_time"] - span["start_time"] == 1_200_000


def test_revisions_are_one_finding_that_is_created_updated_and_closed() -> None:
    told = [finding(status=s, revision=n) for n, s in enumerate(("open", "update", "closed"), 1)]
    assert [(f["activity_name"], f["type_uid"], f["is_alert"]) for f in told] == [
        ("Create", 200401, True), ("Update", 200402, True), ("Close", 200403, False),
    ]  # fmt: skip
    assert len({f["finding_info"]["uid"] for f in told}) == 1
    assert len({f["metadata"]["uid"] for f in told}) == 3


def test_addresses_and_accounts_are_observables_that_can_be_pivoted_on() -> None:
    related = (EntityRef("source", "198.51.100.7"), EntityRef("source", "not-an-address"))
    kinds = {o["value"]: o["type"] for o in finding(related=related)["observables"]}
    assert kinds == {"ann": "User Name", "198.51.100.7": "IP Address", "not-an-address": "Other"}
