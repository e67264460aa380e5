"""Open Cybersecurity Schema Framework: what each attribute of an event becomes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.decode import ocsf
from stream.decode.accesslog import NO_REQUEST, request
from stream.events import AccessEvent, BadRecord

Attributes = dict[str, Any]
AUTHENTICATION, HTTP, WEB, API, WEB_ACCESS, DATASTORE, FILE = 3002, 4002, 6001, 6003, 6004, 6005, 6006
TIME_MS = 1_750_748_400_000
ROLE, SESSION = "arn:aws:iam::1:role/r", "arn:aws:sts::1:assumed-role/r/s"

# The least that an event of each class has: what it was about.
ABOUT: dict[int, Attributes] = {
    AUTHENTICATION: {"user": {"uid": "u-1"}, "service": {"name": "portal"}}, DATASTORE: {"table": {"name": "t"}},
    HTTP: {"http_request": {"url": {"path": "/x"}}}, WEB_ACCESS: {"http_request": {"url": {"path": "/x"}}},
    FILE: {"file": {"path": "/sales/q2.xlsx", "size": 9}}, WEB: {"web_resources": [{"type": "lead"}]},
    API: {"api": {"operation": "op", "service": {"name": "crm"}}},
}  # fmt: skip
METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE", "PATCH")  # by activity_id, from 1


def of(class_uid: int = API, activity_id: int = 0, **attributes: Any) -> AccessEvent:
    """The event of a record of that class with attributes changed; None takes one away."""
    record = {
        "class_uid": class_uid, "activity_id": activity_id, "time": TIME_MS, "metadata": {"version": "1.6.0"},
        "actor": {"user": {"uid": "u-1"}}, **ABOUT[class_uid], **attributes,
    }  # fmt: skip
    (event,) = ocsf.decode(orjson.dumps({key: value for key, value in record.items() if value is not None}))
    return event


def reason(class_uid: int, **attributes: Any) -> str:
    with pytest.raises(BadRecord) as caught:
        of(class_uid, **attributes)
    return caught.value.reason


def aws(operation: str, service: str = "s3", **api: Any) -> Attributes:
    return {"operation": operation, "service": {"name": f"{service}.amazonaws.com"}, **api}


@pytest.mark.parametrize(("class_uid", "actions"), [
    (AUTHENTICATION, "login login logout login login login login login"),
    (WEB, "read write read write delete list write export share"),
    (API, "read write read write delete"),
    (DATASTORE, "read read write login read write write delete list write read"),
    (FILE, "read write export write delete write export write write read write write share write read export write"),
])  # fmt: skip
def test_the_activity_says_the_action(class_uid: int, actions: str) -> None:
    """activity_id from 0 on; 99 is "other" and tells as little as 0, "unknown"."""
    expected = actions.split()
    assert [of(class_uid, number).action for number in range(len(expected))] == expected
    assert of(class_uid, 99).action == expected[0]


TARGETS = st.lists(st.sampled_from(["users", "17", "9fceb02d", "login", "logout", "a b"]), max_size=4).map("/".join)


@given(st.sampled_from(METHODS), TARGETS, st.sampled_from(["", "id=5&token=x", "page=2"]), st.booleans())
def test_a_request_is_what_an_access_log_would_make_of_it(method: str, target: str, query: str, whole: bool) -> None:
    """Whether the method is named or only numbered, and the URL in parts or whole."""
    path, asks = f"/{target}", f"?{query}" if query else ""
    url = {"url_string": f"https://h.example{path}{asks}#top"} if whole else {"path": path, "query_string": query}
    named = of(HTTP, 99, http_request={"http_method": method.lower(), "url": url})
    numbered = of(HTTP, METHODS.index(method) + 1, http_request={"url": url})
    asked = request(f"{method} {path}{asks} HTTP/1.1")
    assert named == numbered
    assert (named.action, named.resource, named.object, named.subject) == asked


@given(st.text(max_size=12).filter(lambda method: request(f"{method.upper()} /x") is NO_REQUEST))
def test_neither_an_invented_method_nor_a_missing_path_hides_a_request(method: str) -> None:
    assert of(HTTP, 99, http_request={"http_method": method, "url": {"path": "/users/17"}}).object == "/users/17"
    assert of(HTTP, 1, http_request={"url": {"hostname": "h.example"}}).resource == "h.example"


@pytest.mark.parametrize(("operation", "activity", "action"), [
    ("user.login", 1, "login"), ("SignOut", 1, "logout"), ("listShares", 2, "list"), ("customers.list", 2, "list"),
    ("describeExportTasks", 2, "list"), ("searchCustomers", 1, "list"), ("CustomerList", 2, "list"),
    ("startExport", 1, "export"), ("createBackup", 1, "export"), ("deleteBackup", 4, "delete"),
    ("repo.download_zip", 99, "export"), ("createShareLink", 1, "share"), ("getSharedFiles", 2, "read"),
    ("removeShare", 3, "write"), ("SharePointSync", 2, "read"), ("file.make_public", 3, "share"),
    ("git.push", 99, "write"), ("purge", 0, "delete"), ("createReport", 2, "read"), ("watch", 0, "read"),
])  # fmt: skip
def test_the_operation_of_a_call_says_more_than_its_activity(operation: str, activity: int, action: str) -> None:
    assert of(API, activity, api={"operation": operation}).action == action


def test_calls_of_aws_are_told_as_in_cloudtrail_and_others_at_last_by_the_method() -> None:
    put = {"http_method": "PUT", "url": {"path": "/x"}}
    assert [of(each, 99, http_request=put).action for each in (WEB, API, DATASTORE)] == ["write"] * 3
    assert of(API, 1, api=aws("CopyDBSnapshot", "rds")).action == "export"
    assert of(API, 3, api=aws("PutBucketPolicy")).action == "share"
    copied, made = {"x-amz-copy-source": "b/k/1", "bucketName": "mine"}, [{"uid": "arn:aws:s3:::mine/2"}]
    events = [of(API, 1, api=aws("CopyObject", request={"data": data}), resources=made) for data in (copied, None)]
    assert [(event.resource, event.object) for event in events] == [("s3:b", "k/1"), ("s3:mine", "2")]
    event = of(API, 2, api=aws("BatchGetSecretValue", "sm", request={"data": '{"secretIdList":["a","b"]}'}))
    assert (event.resource, event.subject, event.records) == ("sm:a", "sm:a", 2)
    assert of(API, 2, api=aws("Decrypt", "kms"), resources=[{"uid": "arn:aws:kms:x:1:key/7"}]).resource == "kms:7"
    assert reason(AUTHENTICATION, api=aws("CredentialChallenge", "signin")) == "not_an_access_event"


def test_the_account_is_the_first_name_there_is_and_at_last_the_address() -> None:
    """Of people it is not known who they are to the company; system and service users are services."""
    ways: list[tuple[Attributes, str]] = [
        ({"user": {"uid": "i", "name": "n", "email_addr": "e", "uid_alt": "a"}, "app_name": "app"}, "i"),
        ({"user": {"uid": "-", "name": "n", "email_addr": "e", "uid_alt": "a", "type_id": 2}}, "n"),
        ({"user": {"name": "", "email_addr": "e", "uid_alt": "a"}}, "e"),
        ({"user": {"uid_alt": "a"}, "session": {"uid_alt": SESSION}}, "a"),
        ({"session": {"uid_alt": SESSION}, "app_name": "app"}, SESSION),
        ({"invoked_by": "s", "app_uid": "17", "app_name": "app"}, "s"),
        ({"user": {"uid": "root", "type_id": 3}}, "root"), ({"user": {"uid": "bot", "type_id": 4}}, "bot"),
        ({"app_uid": 17, "app_name": "app"}, "17"), ({"app_name": "app"}, "app"), ({}, "192.0.2.1"),
    ]  # fmt: skip
    for actor, account in ways:
        event = of(actor=actor, src_endpoint={"ip": "192.0.2.1", "hostname": "h"})
        assert event.account == account
        assert event.account_kind == ("service" if account in ("s", "17", "app", "root", "bot") else "unknown")


def test_who_logs_in_is_the_user_and_not_who_asked_for_it() -> None:
    """The administrator's groups are not those of the user, either."""
    admin = {"user": {"uid": "admin", "groups": [{"name": "ops"}]}}
    events = [of(AUTHENTICATION, user=user, actor=admin) for user in ({"uid": "u", "org": {"ou_name": "sales"}}, {})]
    assert [(event.account, event.group) for event in events] == [("u", "sales"), ("admin", "ops")]


SESSIONS, PROVIDERS = (
    st.fixed_dictionaries({}, optional={name: st.just(f"{name} of it") for name in names})
    for names in (("uid", "credential_uid", "issuer"), ("uid", "issuer", "name"))
)


@given(SESSIONS, PROVIDERS, st.sampled_from([HTTP, WEB, API, WEB_ACCESS, DATASTORE]), st.booleans())
def test_a_login_issues_the_credential_that_its_session_is_then_used_with(
    session: Attributes, idp: Attributes, class_uid: int, of_the_actor: bool
) -> None:
    """Otherwise every session would look forged. Some producers write the session that was made into the actor."""
    actor = {"user": {"uid": "u-1"}, "session": session, "idp": idp}
    made = {"actor": actor} if of_the_actor else {"session": session, "actor": {"idp": idp}}
    login, use = of(AUTHENTICATION, 1, **made), of(class_uid, 2, actor=actor)
    assert login.credential == use.credential == session.get("credential_uid", session.get("uid", ""))
    named = [session.get("issuer"), idp.get("issuer"), idp.get("uid"), idp.get("name"), ""]
    assert login.issuer == use.issuer == next(name for name in named if name is not None)


@pytest.mark.parametrize("key", [{"credential_uid": "AKIA1"}, {"programmatic_credentials": [{}, {"uid": "AKIA1"}]}])
def test_a_users_key_is_a_credential_where_it_is_used_and_issued_by_no_login(key: Attributes) -> None:
    """A stolen or forged credential that is shown to a login page must not be made good by it."""
    actor = {"user": {"uid": "u-1", **key}, "session": {"issuer": "i-1"}}
    assert (of(actor=actor).credential, of(actor=actor).issuer) == ("AKIA1", "i-1")
    shown = {"user": actor["user"], "session": {"uid": "forged"}}
    page = {"http_method": "POST", "url": {"path": "/login"}}
    logins = [
        of(HTTP, 6, actor=shown, http_request=page), of(API, 1, actor=shown, api={"operation": "user.login"}),
        of(DATASTORE, 3, actor=shown), of(API, 1, actor=shown, api=aws("AssumeRole", "sts")),
        of(AUTHENTICATION, 1, actor=actor), of(AUTHENTICATION, 1, actor=shown, api=aws("AssumeRole", "sts")),
    ]  # fmt: skip
    assert [(event.action, event.credential) for event in logins] == [("login", "")] * len(logins)


ANSWER = {"assumedRoleUser": {"arn": SESSION}, "credentials": {"accessKeyId": "ASIA2"}}


@pytest.mark.parametrize("class_uid", [API, AUTHENTICATION])
@pytest.mark.parametrize("written", [lambda data: data, lambda data: orjson.dumps(data).decode()])
def test_an_assumed_role_is_a_login_of_the_session_that_the_answer_names(class_uid: int, written: Any) -> None:
    """Whether the producer keeps request and answer as objects or as text, in either class they are mapped to."""
    api = aws("AssumeRole", "sts", request={"data": written({"roleArn": ROLE})}, response={"data": written(ANSWER)})
    caller = {"user": {"uid": "caller", "credential_uid": "AKIA1"}, "session": {"issuer": "arn:aws:iam::1:role/other"}}
    login = of(class_uid, 1, actor=caller, api=api, user={"uid": ROLE, "name": "s"})
    assert (login.action, login.resource, login.account, login.credential) == ("login", ROLE, SESSION, "ASIA2")
    actor = {"user": {"uid": SESSION, "credential_uid": "ASIA2"}, "session": {"issuer": ROLE}}
    use = of(API, 2, actor=actor, api=aws("GetObject"))
    assert (use.account, use.credential, use.issuer) == (login.account, login.credential, login.issuer)


def test_a_session_named_by_its_arn_is_an_account_and_no_credential() -> None:
    made = {"uid": SESSION, "uid_alt": "AROA1:s", "credential_uid": "ASIA2"}
    login = of(AUTHENTICATION, 1, api=aws("AssumeRole", "sts"), session=made)
    assert (login.account, login.credential) == (SESSION, "ASIA2")
    assert of(AUTHENTICATION, 1, session={"uid": SESSION}).credential == ""


@pytest.mark.parametrize("data", ["", "null", "[1]", "{", '"x"', None, 17, [ANSWER], {"credentials": "ASIA2"}])
def test_an_answer_that_is_none_issues_nothing(data: object) -> None:
    login = of(API, 1, api=aws("AssumeRole", "sts", response={"data": data}))
    assert (login.account, login.credential) == ("u-1", "")


@pytest.mark.parametrize(("resources", "resource", "named", "records"), [
    ([{"uid": "arn:aws:s3:::b"}, {"uid": "arn:aws:s3:::b/k/1"}], "s3:b", "k/1", 1),
    ([{"uid": "arn:aws:s3:::b/k/1"}, {"uid": "arn:aws:s3:::b/2"}], "s3:b", "k/1", 2),
    ([{"name": "arn:aws:s3:::b"}], "s3:b", "", 1),
    ([{"type": "person", "uid": "17", "name": "J. Doe"}] * 40, "person", "17", 40), ([{"name": "n"}], "n", "n", 1),
    ([{"type": "secrets", "name": "db"}, {"type": "namespaces"}], "secrets", "db", 1),
    ([{"name": "acme/dynamite", "uid": "383"}], "acme/dynamite", "383", 1), ([{"type": "pods"}], "pods", "", 1),
    ([{"uid": "17"}], "crm:op", "17", 1), ([{"labels": ["x"]}, "x", None], "crm:op", "", 1), (None, "crm:op", "", 1),
])  # fmt: skip
def test_a_call_is_to_its_resources_and_else_to_itself(resources: Any, resource: str, named: str, records: int) -> None:
    event = of(API, 2, resources=resources)
    assert (event.resource, event.object, event.records) == (resource, named, records)
    assert event.subject == (resource if named == resource else f"{resource}/{named}" if named else "")
    assert of(API, 4, resources=resources).subject == ""  # nothing left


@pytest.mark.parametrize(("about", "resource", "named"), [
    ({"database": {"name": "sales"}, "table": {"name": "t"}}, "sales.t", ""),
    ({"database": {"uid": "d-1"}, "table": None}, "d-1", ""),
    ({"databucket": {"name": "b", "type_id": 1, "file": {"name": "1.csv", "path": "k/1.csv"}}}, "s3:b", "k/1.csv"),
    ({"databucket": {"uid": "arn:aws:s3:::b/k/1.csv"}}, "s3:b", "k/1.csv"),
    ({"databucket": {"name": "blobs", "type_id": 2, "file": {"uid": "f-1"}}}, "blobs", "f-1"),
])  # fmt: skip
def test_a_store_is_a_bucket_named_as_calls_name_it_or_a_table(about: Attributes, resource: str, named: str) -> None:
    assert (of(DATASTORE, 1, **about).resource, of(DATASTORE, 1, **about).object) == (resource, named)


def test_web_resources_are_counted_and_the_url_comes_before_their_type() -> None:
    listed = [{"type": "report", "uid": "r-1"}, {"type": "report", "uid": "r-2"}]
    event = of(WEB, 7, web_resources=listed)
    assert (event.resource, event.object, event.subject, event.records) == ("report", "r-1", "report/r-1", 2)
    assert of(WEB, 5, web_resources=listed, web_resources_result=[{"uid": "x"}] * 30, count=2).records == 60
    event = of(WEB, 7, web_resources=[{"type": "report", "uid": "r-1", "url_string": "https://h.example/reports/9"}])
    assert (event.resource, event.object, event.subject) == ("/reports/{id}", "r-1", "9")
    event = of(WEB_ACCESS, 1, web_resources=[{"name": "the whole portal"}])
    assert (event.resource, event.object, event.subject) == ("/x", "/x", "")


def preferred(class_uid: int, field: str, *parts: Attributes) -> list[Any]:
    """The field of the event that has all the parts, of the one without the first, and so on to the last."""
    seen = []
    for first in range(len(parts)):
        there: Attributes = {"service": {}}
        for part in reversed(parts[first:]):
            there |= {key: there.get(key, {}) | value for key, value in part.items()}
        seen.append(getattr(of(class_uid, **there), field))
    return seen


def test_a_login_is_to_the_service_before_the_endpoint_before_the_call() -> None:
    assert preferred(
        AUTHENTICATION, "resource", {"service": {"name": "portal"}}, {"dst_endpoint": {"hostname": "h.example"}},
        {"api": {"operation": "sso"}}, {"metadata": {"product": {"name": "idp"}}},
    ) == ["portal", "h.example", "sso", "idp"]  # fmt: skip


def test_bytes_are_of_the_query_before_the_body_before_the_response_before_the_flow() -> None:
    assert preferred(
        DATASTORE, "bytes", {"query_info": {"bytes": 1}}, {"http_response": {"body_length": 2}},
        {"http_response": {"length": 3}}, {"unmapped": {"additionalEventData.bytesTransferredOut": "4.0"}},
        {"traffic": {"bytes_in": 5}}, {"traffic": {"bytes_out": 6}}, {},
    ) == [1, 2, 3, 4, 5, 6, None]  # fmt: skip
    assert of(http_response={"length": 0}, traffic={"bytes_in": 5}).bytes == 0  # said to be none is not unknown


@pytest.mark.parametrize(("attributes", "outcome"), [
    ({}, "success"), ({"status_id": 1, "status": "Failure"}, "success"), ({"status_id": 2}, "failure"),
    ({"status_id": 99, "status": "failure"}, "failure"), ({"status": "Success", "action_id": 2}, "success"),
    ({"action_id": 2}, "failure"), ({"action_id": 1}, "success"), ({"status_id": 0, "http_status": 404}, "failure"),
    ({"http_response": {"code": 500}}, "failure"), ({"http_response": {"code": 399}}, "success"),
    ({"status_id": 1, "http_response": {"code": 500}}, "success"), ({"api": {"response": {"code": 403}}}, "failure"),
    ({"api": {"response": {"error": "NoSuchKey"}}}, "failure"), ({"api": {"response": {"code": 0}}}, "success"),
])  # fmt: skip
def test_the_outcome_is_as_said_or_else_of_denials_and_codes(attributes: Attributes, outcome: str) -> None:
    assert of(WEB, **attributes).outcome == outcome


def test_a_verdict_against_an_access_is_a_failure() -> None:
    assert [of(WEB_ACCESS, number).outcome for number in range(5)] == ["success"] * 2 + ["failure"] * 3
    assert of(WEB, 2).outcome == of(API, 4).outcome == "success"


def test_a_time_of_another_unit_gives_way_to_the_written_one() -> None:
    """Published mappings write seconds and microseconds where the schema wants milliseconds."""
    written = "2025-06-24T07:00:00Z"
    times = [TIME_MS, TIME_MS // 1000, TIME_MS * 1000, None, written]
    assert [of(time=time, time_dt=written).time for time in times] == [TIME_MS, written, written, written, written]
    assert of(time=TIME_MS // 1000).time == TIME_MS // 1000  # for `columns` to say what is wrong with it


def test_the_source_is_described_by_its_endpoint() -> None:
    assert of(src_endpoint={"ip": "-", "hostname": "h", "domain": "d"}).source_ip == "h"
    assert of(src_endpoint={"location": {"country": "se"}}).country == "SE"
    assert of(src_endpoint={"domain": "ec2.amazonaws.com"}).source_ip == "ec2.amazonaws.com"
    assert of(src_endpoint={"autonomous_system": {"number": 64500}}).asn == 64500


def test_what_is_not_about_access_or_names_nothing_is_said_to_be_so() -> None:
    for uid in (2004, 4001, 6002, 0, 2**64 - 1, -1, 6003.5, "6002"):
        with pytest.raises(BadRecord, match="not_an_access_event"):
            ocsf.decode(orjson.dumps({"class_uid": uid, "time": TIME_MS}))
    assert reason(API, actor=None) == reason(API, time=None) == reason(API, api=None) == "missing_field"
    assert reason(HTTP, http_request={"http_method": "GET"}) == reason(DATASTORE, table=None) == "missing_field"


@pytest.mark.parametrize(("attributes", "resource", "named", "subject"), [
    ({}, "/sales", "/sales/q2.xlsx", "/sales/q2.xlsx"),
    ({"file": {"path": "C:\\sales\\q2.xlsx"}}, "C:/sales", "C:\\sales\\q2.xlsx", "C:/sales/C:\\sales\\q2.xlsx"),
    ({"file": {"uid": "f-1", "name": "q2", "parent_folder": "p"}}, "p", "f-1", "p/f-1"),
    ({"file": {"name": "q2"}, "share": "team"}, "team", "q2", "team/q2"),
    ({"file": {"name": "q2"}, "metadata": {"product": {"name": "drive"}}}, "drive", "q2", "drive/q2"),
])  # fmt: skip
def test_a_hosted_file_lies_in_its_folder(attributes: Attributes, resource: str, named: str, subject: str) -> None:
    event = of(FILE, 2, **attributes)
    assert (event.resource, event.object, event.subject) == (resource, named, subject)


def test_the_size_of_a_hosted_file_left_where_it_was_exported_and_nothing_else_is_said() -> None:
    assert [of(FILE, number).bytes for number in (2, 15, 14, 1)] == [9, 9, None, None]
    assert of(FILE, 2, traffic={"bytes_out": 5}).bytes == 5
    assert reason(FILE, file=None) == "missing_field"
