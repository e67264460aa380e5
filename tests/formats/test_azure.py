"""Azure Monitor logs: what each field of a record becomes."""

from __future__ import annotations

import pytest

from tests.formats.records import event, fixture, reason

FORMAT = "azure"
SIGN_IN, REFUSED, KEYS, DISK, SNAPSHOT, ROLE, DELETED, BLOB, LISTED, BY_SAS = (fixture(FORMAT, i) for i in range(10))


@pytest.mark.parametrize(("operation", "action"), [
    ("Microsoft.Storage/storageAccounts/listKeys/action", "read"), ("Microsoft.Storage/storageAccounts/read", "read"),
    ("Microsoft.Storage/storageAccounts/write", "write"), ("MICROSOFT.STORAGE/STORAGEACCOUNTS/DELETE", "delete"),
    ("Microsoft.Compute/disks/beginGetAccess/action", "export"), ("Microsoft.Compute/snapshots/write", "export"),
    ("Microsoft.Sql/servers/databases/export/action", "export"),
    ("Microsoft.Compute/virtualMachines/start/action", "write"),
    ("Microsoft.Authorization/roleAssignments/write", "admin"), ("Microsoft.Authorization/locks/delete", "admin"),
])  # fmt: skip
def test_the_operation_says_what_was_done(operation: str, action: str) -> None:
    assert event(FORMAT, KEYS, {"operationName": operation}).action == action


@pytest.mark.parametrize(("operation", "action"), [
    ("GetBlob", "read"), ("GetBlobProperties", "read"), ("ListBlobs", "list"), ("PutBlob", "write"),
    ("DeleteBlob", "delete"), ("CopyBlob", "export"), ("SetContainerACL", "share"),
])  # fmt: skip
def test_a_request_to_storage_is_told_by_its_name(operation: str, action: str) -> None:
    assert event(FORMAT, BLOB, {"operationName": operation}).action == action


def test_a_blob_lies_in_its_container_and_what_was_sent_is_counted_of_reads_only() -> None:
    found = event(FORMAT, BLOB)
    assert (found.resource, found.object) == ("storage:northdata/customers", "2025/06/customers-17.csv")
    assert (found.subject, found.bytes) == ("storage:northdata/customers/2025/06/customers-17.csv", 482113)
    assert (event(FORMAT, LISTED).resource, event(FORMAT, LISTED).bytes) == ("storage:northdata/customers", 0)
    assert event(FORMAT, BLOB, {"properties.objectKey": None}).resource.startswith("microsoft.storage/")


def test_a_token_is_known_from_its_sign_in() -> None:
    login, use = event(FORMAT, SIGN_IN), event(FORMAT, KEYS)
    assert login.action == "login"
    assert (login.account, login.credential, login.issuer) == (use.account, use.credential, use.issuer)
    assert (login.country, login.asn) == ("SE", 64500)


def test_who_acted_is_a_person_a_program_or_an_address() -> None:
    events = [event(FORMAT, each) for each in (BLOB, SNAPSHOT, BY_SAS)]
    seen = [(found.account, found.account_kind) for found in events]
    assert seen == [("mara@corp.example", "employee"), ("9a1e-exporter", "service"), ("192.0.2.14", "unknown")]
    assert event(FORMAT, KEYS, {"identity.claims": None}).account == "p-1"
    assert reason(FORMAT, BY_SAS, {"callerIpAddress": None}) == "missing_field"


def test_results_codes_and_statuses_say_what_failed() -> None:
    failed = [event(FORMAT, each).outcome for each in (REFUSED, DELETED)]
    failed += [event(FORMAT, BLOB, {"statusCode": 403}).outcome, event(FORMAT, KEYS, {"resultType": "Failed"}).outcome]
    assert set(failed) == {"failure"}
    fine = [event(FORMAT, each).outcome for each in (SIGN_IN, KEYS, BLOB)]
    fine.append(event(FORMAT, KEYS, {"resultType": "Accept"}).outcome)
    assert set(fine) == {"success"}


def test_a_beginning_and_another_systems_category_are_no_access() -> None:
    assert reason(FORMAT, KEYS, {"resultType": "Start"}) == "not_an_access_event"
    assert reason(FORMAT, KEYS, {"category": "kube-audit"}) == "not_an_access_event"
    assert reason(FORMAT, KEYS, {"operationName": None}) == reason(FORMAT, KEYS, {"time": None}) == "missing_field"


def test_steps_of_one_request_are_events_of_their_own() -> None:
    assert event(FORMAT, KEYS).id != event(FORMAT, KEYS, {"time": "2025-06-24T07:00:09Z"}).id
