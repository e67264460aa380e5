"""Google Cloud audit logs: what each field of an entry becomes."""

from __future__ import annotations

import pytest

from tests.formats.records import event, fixture, reason

GET, LIST, BY_KEY, OPEN, ACL, SECRET, QUERY, EXPORT, TOKEN = (fixture("gcp_audit", place) for place in range(9))
FORMAT = "gcp_audit"


@pytest.mark.parametrize(("service", "method", "action"), [
    ("storage", "storage.objects.get", "read"), ("storage", "storage.objects.list", "list"),
    ("storage", "storage.objects.create", "write"), ("storage", "storage.objects.delete", "delete"),
    ("storage", "storage.setIamPermissions", "share"), ("cloudresourcemanager", "SetIamPolicy", "admin"),
    ("secretmanager", "google.cloud.secretmanager.v1.SecretManagerService.AccessSecretVersion", "read"),
    ("iamcredentials", "GenerateAccessToken", "login"), ("iamcredentials", "SignJwt", "login"),
    ("compute", "v1.compute.snapshots.insert", "export"), ("cloudsql", "cloudsql.instances.export", "export"),
    ("bigquery", "google.cloud.bigquery.v2.TableDataService.List", "read"),
    ("bigquery", "google.cloud.bigquery.storage.v1.BigQueryRead.ReadRows", "read"),
    ("iam", "google.iam.admin.v1.CreateServiceAccountKey", "admin"), ("iam", "google.iam.admin.v1.GetRole", "read"),
    ("logging", "google.logging.v2.ConfigServiceV2.DeleteSink", "admin"),
    ("k8s", "io.k8s.core.v1.secrets.list", "list"),
    ("k8s", "io.k8s.core.v1.pods.exec.create", "admin"), ("compute", "v1.compute.instances.insert", "write"),
])  # fmt: skip
def test_service_and_method_say_what_was_done(service: str, method: str, action: str) -> None:
    changes = {"protoPayload.serviceName": f"{service}.googleapis.com", "protoPayload.methodName": method}
    assert event(FORMAT, GET, changes).action == action


@pytest.mark.parametrize(("name", "resource", "named"), [
    ("projects/_/buckets/b", "storage:b", ""), ("projects/_/buckets/b/objects/k/1.csv", "storage:b", "k/1.csv"),
    ("projects/p/datasets/d/tables/t", "bigquery:p.d.t", ""), ("projects/p/datasets/d", "bigquery:p.d", ""),
    ("projects/p/secrets/s/versions/3", "storage:projects/p/secrets", "s"), ("thing", "storage:thing", ""),
    (None, "storage:storage.objects.get", ""),
])  # fmt: skip
def test_a_resource_is_its_bucket_its_table_or_its_collection(name: str, resource: str, named: str) -> None:
    found = event(FORMAT, GET, {"protoPayload.resourceName": name})
    assert (found.resource, found.object) == (resource, named)
    assert found.subject == (f"{resource}/{named}" if named else resource)


def test_a_key_and_who_made_a_token_are_told() -> None:
    found = event(FORMAT, BY_KEY)
    assert (found.account_kind, found.credential, found.issuer) == ("service", "4f9a17c2", "iam.googleapis.com")
    found = event(FORMAT, SECRET)
    assert (found.account_kind, found.credential, found.issuer) == ("service", None, "mara@corp.example")
    assert (event(FORMAT, GET).account_kind, event(FORMAT, GET).issuer) == ("employee", "")


def test_nobody_in_particular_is_their_address() -> None:
    assert event(FORMAT, OPEN).account == "198.51.100.9"
    assert reason(FORMAT, OPEN, {"protoPayload.requestMetadata": None}) == "missing_field"


def test_a_job_of_bigquery_is_told_by_its_type_its_table_and_its_rows() -> None:
    found = event(FORMAT, QUERY)
    assert (found.action, found.resource, found.records) == ("read", "bigquery:north-shop.crm.customers", 48210)
    found = event(FORMAT, EXPORT)
    assert (found.action, found.resource) == ("export", "bigquery:north-shop.crm.customers")
    assert event(FORMAT, QUERY, {"protoPayload.metadata": {"jobChange": []}}).action == "write"


def test_an_entry_is_told_from_another_by_its_time_too() -> None:
    assert event(FORMAT, GET).id != event(FORMAT, GET, {"timestamp": "2025-06-24T07:00:09Z"}).id
    assert event(FORMAT, GET, {"timestamp": None}).time == GET["receiveTimestamp"]


def test_a_status_with_a_code_is_a_failure() -> None:
    codes = (event(FORMAT, GET, {"protoPayload.status": {"code": code}}).outcome for code in (0, 7))
    assert list(codes) == ["success", "failure"]


def test_no_method_and_no_time_are_missing() -> None:
    assert reason(FORMAT, GET, {"protoPayload.methodName": None}) == "missing_field"
    assert reason(FORMAT, GET, {"timestamp": None, "receiveTimestamp": None}) == "missing_field"
