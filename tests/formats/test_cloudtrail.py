"""AWS CloudTrail: what each part of a record becomes, and that a session's uses are those of the login that made it."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.decode import cloudtrail, decode_batch
from stream.decode._json import load
from stream.events import TEXT_BYTES_MAX, AccessEvent, BadRecord, EventBlock, Rejected

Fields = dict[str, Any]
ID = "210987654321"
USER = {"type": "IAMUser", "arn": f"arn:aws:iam::{ID}:user/mara", "accountId": ID, "accessKeyId": "AKIA1",
        "userName": "mara"}  # fmt: skip
BASE: Fields = {
    "eventTime": "2025-06-24T07:00:00Z",
    "eventSource": "s3.amazonaws.com",
    "eventName": "GetObject",
    "eventVersion": "1.10",
    "readOnly": True,
    "userIdentity": USER,
    "requestParameters": {"bucketName": "b", "key": "k"},
}
ROLE = f"arn:aws:iam::{ID}:role/Reader"
SESSION = f"arn:aws:sts::{ID}:assumed-role/Reader"


def decoded(*records: Fields) -> list[AccessEvent]:
    return [event for record in records for event in cloudtrail.decode(orjson.dumps(record))]


def record(**fields: Any) -> Fields:
    """BASE with fields changed; None takes one away."""
    return {key: value for key, value in (BASE | fields).items() if value is not None}


def of(**fields: Any) -> AccessEvent:
    (event,) = decoded(record(**fields))
    return event


def by(**who: Any) -> AccessEvent:
    return of(userIdentity=who)


def call(service: str, name: str, asked: Fields | None = None, **fields: Any) -> AccessEvent:
    """The event of a call of that name; readOnly is left to tell by the name."""
    return of(eventSource=f"{service}.amazonaws.com", eventName=name, readOnly=None, requestParameters=asked, **fields)


def reason(refused: Fields) -> str:
    with pytest.raises(BadRecord) as caught:
        decoded(refused)
    return caught.value.reason


def batch(records: list[bytes]) -> tuple[EventBlock, list[Rejected]]:
    return decode_batch(cloudtrail.FORMAT, records, "t", np.arange(len(records)), 4_102_444_800_000)


def role_session(arn: str, **context: Any) -> Fields:
    issuer = {"type": "Role", "arn": ROLE, "accountId": ID}
    return {"type": "AssumedRole", "arn": arn, "accountId": ID, "accessKeyId": "ASIA1",
            "sessionContext": {"sessionIssuer": issuer, **context}}  # fmt: skip


NAMES = st.from_regex(r"[\w+=,.@-]{2,64}", fullmatch=True, alphabet=st.characters(max_codepoint=126))


@given(role=NAMES, session=NAMES, path=st.sampled_from(["", "team/", "aws-reserved/sso.amazonaws.com/"]),
       told=st.booleans())  # fmt: skip
def test_what_a_session_does_has_the_account_the_credential_and_the_issuer_of_its_login(
    role: str, session: str, path: str, told: bool
) -> None:
    """A service is not told the ARN of the session it made; the login is joined all the same."""
    arn, made_of = f"arn:aws:sts::{ID}:assumed-role/{role}/{session}", f"arn:aws:iam::{ID}:role/{path}{role}"
    made: Fields = {"credentials": {"accessKeyId": "ASIA1"}} | ({"assumedRoleUser": {"arn": arn}} if told else {})
    login = call("sts", "AssumeRole", {"roleArn": made_of, "roleSessionName": session}, responseElements=made)
    use = by(type="AssumedRole", arn=arn, accessKeyId="ASIA1", sessionContext={"sessionIssuer": {"arn": made_of}})
    assert (login.action, login.outcome, login.resource, login.object) == ("login", "success", made_of, USER["arn"])
    assert (login.account, login.credential, login.issuer) == (use.account, use.credential, use.issuer)


def test_every_way_to_make_a_session_names_the_key_it_made() -> None:
    key, arn = {"credentials": {"accessKeyId": "ASIA1"}}, f"{SESSION}/s"
    asked, session = {"roleArn": ROLE}, {"assumedRoleUser": {"arn": arn}}
    logins = [
        call("sts", "AssumeRoleWithSAML", asked, responseElements=key | session),
        call("sts", "AssumeRoleWithWebIdentity", asked, responseElements=key | session),
        call("rolesanywhere", "CreateSession", asked, responseElements={"credentialSet": [key | session]}),
    ]
    for login in logins:
        assert (login.action, login.account, login.credential, login.issuer) == ("login", arn, "ASIA1", ROLE)
    token = call("sts", "GetSessionToken", responseElements=key)
    assert (token.account, token.credential) == (USER["arn"], "ASIA1")
    assert token.issuer == by(**USER | {"accessKeyId": "ASIA1"}).issuer == "sts.amazonaws.com"
    guest = f"arn:aws:sts::{ID}:federated-user/guest"
    federated = call("sts", "GetFederationToken", responseElements=key | {"federatedUser": {"arn": guest}})
    assert (federated.account, federated.credential, federated.issuer) == (guest, "ASIA1", USER["arn"])


def test_a_session_is_a_machines_where_a_service_or_a_workload_asked_for_it() -> None:
    """A service is told the key alone; role and session name say whose it is."""
    asked, key = {"roleArn": ROLE, "roleSessionName": "web"}, {"credentials": {"accessKeyId": "ASIA1"}}
    service = {"type": "AWSService", "invokedBy": "lambda.amazonaws.com"}
    pod = {"type": "WebIdentityUser", "userName": "p", "identityProvider": "arn:aws:iam::1:oidc-provider/oidc.eks.x/1"}
    for name, who in (("AssumeRole", service), ("AssumeRoleWithWebIdentity", pod)):
        login = call("sts", name, asked, userIdentity=who, responseElements=key)
        assert (login.account, login.account_kind) == (f"{SESSION}/web", "service")


def test_a_login_that_failed_is_the_callers_and_made_no_credential() -> None:
    event = call("sts", "AssumeRole", errorCode="AccessDenied")
    assert (event.action, event.outcome, event.account, event.credential) == ("login", "failure", USER["arn"], "")


def test_a_console_login_that_fails_is_of_the_account_that_succeeds() -> None:
    """A failed one has no ARN; guessing a password must be seen on the account that is guessed at."""
    failed = {"type": "IAMUser", "accountId": ID, "userName": "mara"}
    good = call("signin", "ConsoleLogin", responseElements={"ConsoleLogin": "Success"})
    bad = call("signin", "ConsoleLogin", userIdentity=failed, responseElements={"ConsoleLogin": "Failure"})
    assert (good.account, good.outcome) == (USER["arn"], "success")
    assert (bad.account, bad.outcome, bad.credential) == (USER["arn"], "failure", "")
    saml = call("signin", "ConsoleLogin", additionalEventData={"SamlProviderArn": "arn:aws:iam::1:saml-provider/P"})
    assert (good.issuer, saml.issuer) == ("signin.amazonaws.com", "arn:aws:iam::1:saml-provider/P")
    for region, partition in (("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("eu-north-1", "aws")):
        assert of(userIdentity=failed, awsRegion=region).account == f"arn:{partition}:iam::{ID}:user/mara"


def test_signing_in_to_the_identity_center_is_told_by_its_answer_and_not_by_the_question() -> None:
    person = {"userId": "c0ffee00-1111-7222-8333-444455556666", "identityStoreArn": "arn:aws:identitystore::1:x/d-1"}
    who = {"type": "Unknown", "accountId": ID, "principalId": ID, "userName": "mara", "onBehalfOf": person,
           "credentialId": "c-1"}  # fmt: skip
    wrong = call("signin", "CredentialVerification", userIdentity=who,
                 serviceEventDetails={"CredentialVerification": "Failure"})  # fmt: skip
    entered = call("signin", "UserAuthentication", userIdentity=who,
                   serviceEventDetails={"UserAuthentication": "Success"})  # fmt: skip
    assert [(e.action, e.outcome) for e in (wrong, entered)] == [("login", "failure"), ("login", "success")]
    later = {"type": "IdentityCenterUser", "accountId": ID, "onBehalfOf": person, "credentialId": "c-1"}
    use = call("sso", "ListApplications", userIdentity=later)
    assert (use.account, use.issuer) == (f"{ID}:{person['userId']}", person["identityStoreArn"])
    assert (entered.account, entered.credential, entered.account_kind) == (use.account, use.credential, "employee")
    assert reason(record(eventName="CredentialChallenge")) == "not_an_access_event"


MOMENTS = st.one_of(
    st.integers(10**9, 10**10 - 1).map(str), st.integers(10**12, 10**19).map(str), st.uuids().map(str),
    st.binary(min_size=10, max_size=20).map(bytes.hex),
)  # fmt: skip


@given(st.sampled_from(["", "botocore-session-", "AWSCodeBuild-", "deploy_"]), MOMENTS, MOMENTS)
def test_sessions_that_differ_in_what_changes_each_time_are_one_account(name: str, one: str, other: str) -> None:
    for start in (SESSION, f"arn:aws:sts::{ID}:federated-user"):
        accounts = {by(**role_session(f"{start}/{name}{part}")).account for part in (one, other)}
        assert accounts == {f"{start}/{name}*"}
    unnamed = {by(type="AWSAccount", accountId=ID, principalId=f"AROA1:{part}").account for part in (one, other)}
    assert unnamed == {f"{ID}:AROA1:*"}


@given(MOMENTS)
def test_users_keep_their_names_whatever_they_look_like(name: str) -> None:
    arn = f"arn:aws:iam::{ID}:user/{name}"
    assert by(type="IAMUser", arn=arn).account == by(type="IAMUser", accountId=ID, userName=name).account == arn
    assert by(type="IdentityCenterUser", accountId=ID, onBehalfOf={"userId": name}).account == f"{ID}:{name}"


@given(st.from_regex(r"i-([0-9a-f]{8}|[0-9a-f]{17}|[0-9]{17})", fullmatch=True),
       st.from_regex(r"[0-9]{12}", fullmatch=True))  # fmt: skip
def test_instances_and_account_ids_in_a_session_name_are_kept(instance: str, account: str) -> None:
    event = by(**role_session(f"{SESSION}/{instance}"))
    assert (event.account, event.account_kind) == (f"{SESSION}/{instance}", "service")
    assert by(**role_session(f"{SESSION}/audit_{account}")).account == f"{SESSION}/audit_{account}"


@pytest.mark.parametrize(("who", "account"), [
    ({"type": "Root", "arn": f"arn:aws:iam::{ID}:root", "accountId": ID}, f"arn:aws:iam::{ID}:root"),
    ({"type": "AWSService", "invokedBy": "ec2.amazonaws.com"}, "ec2.amazonaws.com"),
    ({"invokedBy": "AWS Internal", "accountId": ID}, "AWS Internal"),
    ({"type": "AWSAccount", "accountId": "ANONYMOUS_PRINCIPAL", "principalId": ""}, "ANONYMOUS_PRINCIPAL"),
    ({"type": "AWSAccount", "accountId": ID, "principalId": "AIDA1"}, f"{ID}:AIDA1"),
    ({"type": "Unknown", "accountId": ID, "principalId": ID, "arn": "", "userName": "mara"}, f"{ID}:mara"),
    ({"type": "Unknown", "accountId": ID, "principalId": ID}, ID),
    ({"type": "WebIdentityUser", "principalId": "p:aud:17", "identityProvider": "p", "userName": "17"}, "17"),
])  # fmt: skip
def test_without_an_arn_the_account_is_the_best_name_there_is(who: Fields, account: str) -> None:
    assert by(**who).account == account


@given(st.text(min_size=TEXT_BYTES_MAX, max_size=600), st.text(min_size=TEXT_BYTES_MAX, max_size=600))
def test_a_name_too_long_hides_nobody(one: str, other: str) -> None:
    """The path of a user may have 512 characters, and whoever makes the user chooses it."""
    records = [orjson.dumps(record(userIdentity={"type": "IAMUser", **field}))
               for path in (one, other)
               for field in ({"arn": f"arn:aws:iam::{ID}:user/{path}/x"}, {"userName": path})]  # fmt: skip
    block, rejected = batch(records)
    assert rejected == []
    assert len(set(block.text["account"])) == (2 if one == other else 4)


@pytest.mark.parametrize(("who", "kind"), [
    ({"type": "IAMUser", "arn": USER["arn"]}, "employee"),
    ({"type": "Root", "arn": f"arn:aws:iam::{ID}:root"}, "employee"),
    ({"type": "IdentityCenterUser", "accountId": ID, "onBehalfOf": {"userId": "u"}}, "employee"),
    (role_session(f"arn:aws:sts::{ID}:assumed-role/AWSReservedSSO_Ops_01/mara"), "employee"),
    (role_session(f"{SESSION}/mara@shop.example"), "employee"),
    (role_session(f"{SESSION}/mara"), "unknown"),
    ({"type": "FederatedUser", "arn": f"arn:aws:sts::{ID}:federated-user/guest"}, "unknown"),
    ({"type": "AWSAccount", "accountId": ID, "principalId": "AIDA1"}, "unknown"),
    ({"type": "AWSService", "invokedBy": "ec2.amazonaws.com"}, "service"),
    (role_session(f"{SESSION}/web", ec2RoleDelivery="2.0"), "service"),
    (role_session(f"{SESSION}/fn") | {"inScopeOf": {"issuerType": "AWS::Lambda::Function"}}, "service"),
    (role_session(f"{SESSION}/s", webIdFederationData={"federatedProvider": f"arn:aws:iam::{ID}:oidc-provider/"
                                                      "oidc.eks.eu-north-1.amazonaws.com/id/1"}), "service"),
    (role_session(f"{SESSION}/GitHubActions"), "service"),
    (role_session(f"arn:aws:sts::{ID}:assumed-role/AWSServiceRoleForConfig/x"), "service"),
])  # fmt: skip
def test_the_kind_of_an_account_is_told_by_the_identity(who: Fields, kind: str) -> None:
    assert by(**who).account_kind == kind


def test_a_console_session_is_a_persons_and_issued_by_the_console() -> None:
    """Its keys are logged nowhere when they are made: under the role's name they would look forged."""
    for said in (True, "true"):
        event = of(userIdentity=role_session(f"{SESSION}/mara"), sessionCredentialFromConsole=said)
        assert (event.account_kind, event.issuer, event.credential) == ("employee", "signin.amazonaws.com", "ASIA1")
    assert of(userIdentity=role_session(f"{SESSION}/mara"), sessionCredentialFromConsole="false").issuer == ROLE


@pytest.mark.parametrize(("changed", "issuer"), [
    ({}, ROLE), ({"invokedBy": "athena.amazonaws.com"}, "athena.amazonaws.com"),
    ({"sessionContext": {"webIdFederationData": {"federatedProvider": "p"}}}, "p"),
    ({"sessionContext": {}, "identityProvider": "q"}, "q"), ({"sessionContext": None}, "sts.amazonaws.com"),
    ({"sessionContext": None, "accessKeyId": "AKIA1"}, ID), ({"sessionContext": None, "accessKeyId": ""}, ""),
])  # fmt: skip
def test_the_issuer_is_who_made_the_credential(changed: Fields, issuer: str) -> None:
    assert by(**role_session(f"{SESSION}/s") | changed).issuer == issuer


def test_only_data_that_leaves_has_a_subject() -> None:
    assert of().subject == "s3:b/k"
    assert call("ec2", "CopySnapshot", {"sourceSnapshotId": "snap-1"}).subject == "ec2:snap-1"
    assert call("ssm", "GetParameter", {"name": "/shop/db/host"}).subject == "ssm:shop/db/host"
    assert call("s3", "GetObject", {"bucketName": "b"}).subject == ""
    for name in ("PutObject", "DeleteObject", "HeadObject", "GetObjectTagging", "PutObjectAcl"):
        assert call("s3", name, {"bucketName": "b", "key": "k"}).subject == ""


@pytest.mark.parametrize(("fields", "outcome"), [
    ({}, "success"), ({"errorCode": ""}, "success"), ({"errorCode": "AccessDenied"}, "failure"),
    ({"errorMessage": "Failed authentication"}, "failure"), ({"responseElements": {"GetObject": "Failure"}}, "failure"),
    ({"responseElements": {"GetObject": "Success"}}, "success"),
])  # fmt: skip
def test_an_error_or_the_word_of_a_login_is_a_failure(fields: Fields, outcome: str) -> None:
    assert of(**fields).outcome == outcome


@given(st.none() | st.integers(0, 2**53))
def test_bytes_are_those_sent_out(sent: int | None) -> None:
    for written in (sent, sent if sent is None else str(sent), sent if sent is None else float(sent)):
        assert of(additionalEventData={"bytesTransferredIn": 9, "bytesTransferredOut": written}).bytes == sent


@given(st.datetimes(datetime(2001, 1, 1), datetime(2098, 1, 1)), st.sampled_from("T "))
def test_a_time_without_a_zone_is_utc(at: datetime, between: str) -> None:
    plain = at.isoformat(between, timespec="milliseconds")
    times = ({"eventTime": f"{plain}Z"}, {"eventTime": plain}, {"eventTime": None, "@timestamp": plain})
    block, rejected = batch([orjson.dumps(record(**fields)) for fields in times])
    assert rejected == []
    assert len(set(block.time.tolist())) == 1


def test_a_list_is_its_events_in_order_without_what_is_no_access() -> None:
    insight = record(eventCategory="Insight")
    listed = [record(eventID="1"), insight, record(eventID="2")]
    assert decoded({"Records": listed}) == decoded(listed[0], listed[2])
    assert decoded({"Records": []}) == []
    assert reason({"Records": [insight]}) == "not_an_access_event"


def test_a_list_with_a_bad_record_is_refused_whole_and_not_halved_in_silence() -> None:
    assert reason({"Records": [record(), record(userIdentity=None)]}) == "missing_field"
    assert reason({"Records": [record(), 7]}) == "wrong_type"


@pytest.mark.parametrize(("fields", "why"), [
    ({"eventName": None}, "missing_field"), ({"eventSource": ""}, "missing_field"),
    ({"eventTime": None}, "missing_field"), ({"userIdentity": None}, "missing_field"),
    ({"userIdentity": []}, "missing_field"), ({"userIdentity": {"type": "Unknown"}}, "missing_field"),
    ({"eventCategory": "Insight"}, "not_an_access_event"), ({"insightDetails": {}}, "not_an_access_event"),
    ({"digestStartTime": "2025-06-24T07:00:00Z"}, "not_an_access_event"),
])  # fmt: skip
def test_a_record_that_is_no_event_says_why(fields: Fields, why: str) -> None:
    assert reason(record(**fields)) == why


FIXTURE = (Path(__file__).parent / "fixtures" / "cloudtrail.jsonl").read_bytes().splitlines()
VALUES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(["", "true", "Failure", "Insight", "x"])
    | st.just({}) | st.just([]) | st.just({"type": "AWSService", "invokedBy": "x.amazonaws.com"})
)  # fmt: skip


@given(st.data())
def test_a_record_read_in_passing_is_the_one_read_with_care(data: st.DataObject) -> None:
    """`_plain` skips what it does not need and remembers principals; `_event` does neither."""
    record = orjson.loads(data.draw(st.sampled_from(FIXTURE)))
    name = data.draw(st.sampled_from([*record, "errorCode", "readOnly", "sessionCredentialFromConsole", "Records"]))
    record[name] = data.draw(VALUES)
    raw = orjson.dumps(record)
    with suppress(*cloudtrail._UNREAD):
        if (plain := cloudtrail._plain(raw)) is not None:
            assert plain == cloudtrail._event(load(raw))


def test_text_that_is_none_is_found_where_it_is_skipped_at_first() -> None:
    raw = orjson.dumps(record()).replace(b'"k"', b'"\\ud800"')
    with pytest.raises(BadRecord, match="text_not_unicode"):
        cloudtrail.decode(raw)


def test_most_records_are_read_in_passing() -> None:
    read = 0
    for raw in FIXTURE:
        with suppress(*cloudtrail._UNREAD):
            read += cloudtrail._plain(raw) is not None
    assert read >= len(FIXTURE) * 3 // 4
