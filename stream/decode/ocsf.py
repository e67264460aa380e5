"""Events of the Open Cybersecurity Schema Framework, versions 1.1 to 1.6: HTTP Activity (4002), Web Resources Activity
(6001), API Activity (6003), Web Resource Access Activity (6004), Datastore Activity (6005), File Hosting Activity
(6006) and Authentication (3002).

Fields: time: time; time_dt where that is missing or not in milliseconds. account: actor.user (of an authentication,
user first) by uid, name, email_addr or uid_alt, else the session's ARN, else the service (actor.invoked_by, app_uid,
app_name), else the client's address, so that an unnamed client is still followed. account_kind: service for system and
service users. group: the user's organisational unit, else the first of the groups. credential: the session's
credential_uid or uid, else the user's key. issuer: of the session, else the identity provider. source_ip, asn, country:
src_endpoint. user_agent: http_request. action: of the HTTP method, else of activity_id by class, made finer by
api.operation. resource: bucket, table or database, the file's folder, the URL's path with identifiers folded (as in
`accesslog`), the type of what was called for, or where it has none its name, else service:operation. object: file, S3
key, uid, name or path. subject: the identifier in the path where there is exactly one, else of what is read or exported
resource/object, once where they are the same. records: the web resources found or named, or the resources like the
first, times count. bytes: of the query, the response or the S3 object, else traffic.bytes_in (which in this schema the
server sent), else traffic.bytes_out, of a hosted file that is exported at last its size. outcome: status_id, else
status, else a denial, an error or an HTTP status from 400 on. id: metadata.uid. Calls to AWS: action, resource, object
and records as in `cloudtrail`.

A login's credential is that of the session it made (session, of an authentication actor.session too), never what it was
asked with: a forged token that is shown to a login page is not issued by it. AssumeRole and its like are logins of the
session that their answer names, where the log holds it, with the role as issuer and the caller as object.
Cannot tell: the credential of other logins; rows of a query; who shares an address that stands for an account. Other
classes are not_an_access_event.
"""

from __future__ import annotations

import re
from typing import Final

from stream.checks import TIME_MS_END, TIME_MS_MIN
from stream.decode import Format
from stream.decode._aws import Place, service_of
from stream.decode._aws import action as aws_action
from stream.decode._aws import place as aws_place
from stream.decode._json import Record, items, load, number, peek, text
from stream.decode._json import time as time_of
from stream.decode._verbs import called
from stream.decode.accesslog import NO_REQUEST, Request, request
from stream.events import AccessEvent, Action, BadRecord

_AUTHENTICATION, _HTTP, _WEB, _API, _WEB_ACCESS, _DATASTORE, _FILE = 3002, 4002, 6001, 6003, 6004, 6005, 6006

_METHODS: Final = ("", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE", "PATCH")
_ACTIVITIES: Final[dict[int, dict[int, Action]]] = {
    _AUTHENTICATION: {2: "logout"},  # every other is a step of a login
    _HTTP: {}, _WEB_ACCESS: {},  # there it is the method, here the verdict
    _WEB: {1: "write", 2: "read", 3: "write", 4: "delete", 5: "list", 6: "write", 7: "export", 8: "share"},
    _API: {1: "write", 2: "read", 3: "write", 4: "delete"},
    _DATASTORE: {1: "read", 2: "write", 3: "login", 4: "read", 5: "write", 6: "write", 7: "delete", 8: "list",
                 9: "write", 10: "read"},
    _FILE: {1: "write", 2: "export", 3: "write", 4: "delete", 5: "write", 6: "export", 7: "write", 8: "write",
            9: "read", 10: "write", 11: "write", 12: "share", 13: "write", 14: "read", 15: "export", 16: "write"},
}  # fmt: skip
_DENIED: Final = {2, 3, 4}  # verdicts of Web Resource Access Activity: deny, revoke, error

_SIZES: Final = (
    ("query_info", "bytes"), ("http_response", "body_length"), ("http_response", "length"),
    ("unmapped", "additionalEventData.bytesTransferredOut"),  # as mappings keep the rest of CloudTrail
    ("traffic", "bytes_in"), ("traffic", "bytes_out"),
)  # fmt: skip
_AWS: Final = ".amazonaws.com"
_S3: Final = re.compile(r"arn:[a-z-]+:s3:::([^/]+)/?(.*)", re.DOTALL)
_USER: Final = ("uid", "name", "email_addr", "uid_alt")
_NOTHING: Final[Record] = {}


def _object(record: Record, *path: str) -> Record:
    """The object at the path, an empty one where there is none."""
    for key in path:
        value = record.get(key)
        if not isinstance(value, dict):
            return _NOTHING
        record = value
    return record


def _first(record: Record, *names: str) -> str:
    """The first of the names that holds a text or a number; "" where none does; "-" is how some write that."""
    for name in names:
        value = record.get(name)
        if value is not None and (found := value if isinstance(value, str) else text(value)) not in ("", "-"):
            return found
    return ""


def _class(record: Record) -> tuple[int, int]:
    """class_uid and activity_id; raises BadRecord for a class that is none of access."""
    uid, activity = number(record, "class_uid"), number(record, "activity_id")
    if uid is None:
        raise BadRecord("missing_field", "class_uid: no class there")
    if uid not in _ACTIVITIES:
        name = text(record, "class_name")[:60] or "unnamed"
        raise BadRecord("not_an_access_event", f"class_uid {str(uid)[:20]} ({name}) is none of access")
    return int(uid), activity if isinstance(activity, int) else 0


def _time(record: Record) -> int | float | str:
    at = record.get("time")
    usable = isinstance(at, str) or (isinstance(at, int | float) and TIME_MS_MIN <= at < TIME_MS_END)
    return time_of(record, "time" if usable or not record.get("time_dt") else "time_dt")


def _identify(event: AccessEvent, record: Record, uid: int, aws: str) -> None:
    """Set who acted and with what; `aws`: the call, if it is one of AWS; raises BadRecord where nobody is named."""
    actor, login = _object(record, "actor"), event.action == "login"
    user = _object(record, "user")
    if uid != _AUTHENTICATION or not _first(user, *_USER):
        user = _object(actor, "user")
    shown = _object(actor, "session")  # of an AWS login or of one by a request, the session that asked
    session = _object(record, "session") or (_NOTHING if login and (aws or uid != _AUTHENTICATION) else shown)
    arn = next((name for key in ("uid_alt", "uid") if (name := _first(session, key)).startswith("arn:")), "")
    event.account = _first(user, *_USER) or arn
    event.account_kind = "service" if number(user, "type_id") in (3, 4) else "unknown"
    event.credential = _first(session, "credential_uid", *(() if arn else ("uid",)))  # a session's ARN is its name
    event.issuer = _first(session, "issuer")
    if login and aws:
        made, asked = _data(record, "response"), _data(record, "request")
        event.resource, event.object = _first(asked, "roleArn") or aws, event.account
        event.account = _first(_object(made, "assumedRoleUser"), "arn") or arn or event.account
        event.credential = event.credential or _first(_object(made, "credentials"), "accessKeyId")
        event.issuer = event.issuer or _first(asked, "roleArn")
    elif not login and not event.credential:
        keys = (_first(key, "uid") for key in items(user, "programmatic_credentials"))
        event.credential = _first(user, "credential_uid") or next(filter(None, keys), "")
    event.issuer = event.issuer or _first(_object(actor, "idp"), "issuer", "uid", "name")
    groups = (_first(group, "name", "uid") for group in items(user, "groups"))
    event.group = _first(_object(user, "org"), "ou_name") or next(filter(None, groups), "")
    if not event.account:
        event.account = _first(actor, "invoked_by", "app_uid", "app_name")
        event.account_kind = "service" if event.account else "unknown"
    event.account = event.account or event.source_ip or ""
    if not event.account:
        raise BadRecord("missing_field", "neither actor.user, actor.app_name nor src_endpoint.ip: nobody is named")


def _data(record: Record, side: str) -> Record:
    """What an API call was asked or answered, which producers write as an object or as JSON in a string."""
    data = _object(record, "api", side).get("data")
    return peek(data.encode()) if isinstance(data, str) else data if isinstance(data, dict) else _NOTHING


def _asked(record: Record, uid: int, activity: int) -> Request:
    http = _object(record, "http_request")
    url = _object(http, "url")
    named = (_first(each, "url_string") for each in items(record, "web_resources"))
    path = _first(url, "path", "url_string") or next(filter(None, named), "")
    if not path and uid == _HTTP:
        path = _first(url, "hostname")  # all that CONNECT asks for
    if not path:
        return NO_REQUEST
    path = path.partition("#")[0]
    if "?" not in path:
        path += "?" + _first(url, "query_string")
    method = _METHODS[activity] if uid == _HTTP and 0 < activity < len(_METHODS) else "GET"
    asked = request(f"{_first(http, 'http_method').upper() or method} {path}")
    return request(f"GET {path}") if asked is NO_REQUEST else asked  # a client may invent a method


def _action(uid: int, activity: int, asked: Request, service: str, operation: str) -> Action:
    by_activity = _ACTIVITIES[uid].get(activity)
    if operation == "CredentialChallenge":  # a success from anywhere would count as having been there
        raise BadRecord("not_an_access_event", "a credential was asked for; whether it was given is another event")
    if uid == _AUTHENTICATION:
        return by_activity or "login"
    if uid in (_HTTP, _WEB_ACCESS):
        return asked.action
    if operation and service.endswith(_AWS):
        return aws_action(service, operation, by_activity == "read")
    verb = called(operation)
    if by_activity and (uid != _API or verb in ("delete", "write")):
        return by_activity  # nothing finer is said
    return verb or by_activity or asked.action


def _stored(record: Record) -> Place:
    """Bucket, table or database of Datastore Activity, and the file in a bucket."""
    bucket = _object(record, "databucket")
    name, key = _first(bucket, "name", "uid"), _first(_object(bucket, "file"), "path", "name", "uid")
    if found := _S3.fullmatch(name):
        return Place(f"s3:{found[1]}", key or found[2], 1)
    if name:
        return Place(f"s3:{name}" if number(bucket, "type_id") == 1 else name, key, 1)
    parts = (_first(_object(record, part), "name", "uid") for part in ("database", "table"))
    return Place(".".join(filter(None, parts)), "", 1)


def _called(record: Record, service: str, operation: str) -> Place:
    """What an API call was about, for AWS as in `cloudtrail`; else the call itself."""
    resources, aws = list(items(record, "resources")), operation and service.endswith(_AWS)
    found = [match for each in resources if (match := _S3.fullmatch(_first(each, "uid", "name")))]
    asked = _data(record, "request") if aws else _NOTHING
    if aws and (asked or not found):
        named = [{"ARN": _first(each, "uid", "name")} for each in resources]
        return aws_place({"requestParameters": asked, "resources": named}, service_of(service), operation)
    if found:
        objects = [match for match in found if match[2]]
        return Place(f"s3:{(objects or found)[0][1]}", (objects or found)[0][2], len(objects) or 1)
    call = ":".join(filter(None, (service, operation)))
    for each in resources:
        kind, name, key = _first(each, "type"), _first(each, "name"), _first(each, "uid", "name")
        if kind or key:
            return Place(kind or name or call or key, key, sum(_first(other, "type") == kind for other in resources))
    return Place(call, "", 1)


def _place(record: Record, uid: int, asked: Request, service: str, operation: str) -> Place:
    """Where the access went; raises BadRecord where nothing is named."""
    place = Place("", "", 1)
    if uid == _AUTHENTICATION:
        endpoint = _first(_object(record, "dst_endpoint"), "svc_name", "hostname", "name", "uid", "ip")
        product = "" if operation else _first(_object(record, "metadata", "product"), "name")
        place = Place(_first(_object(record, "service"), "name", "uid") or endpoint or product, "", 1)
    elif uid == _DATASTORE:
        place = _stored(record)
    elif uid == _FILE:
        file = _object(record, "file")
        path, name = _first(file, "path"), _first(file, "uid", "name")
        folder = _first(file, "parent_folder") or path.replace("\\", "/").rpartition("/")[0] or _first(record, "share")
        place = Place(folder or _first(_object(record, "metadata", "product"), "name"), path or name, 1)
    elif uid in (_WEB, _WEB_ACCESS):
        named, found = list(items(record, "web_resources")), list(items(record, "web_resources_result"))
        first = next(iter(named), _NOTHING)
        place = Place(_first(first, "type", "name", "uid"), _first(first, "uid", "name"), len(found or named) or 1)
    if asked is not NO_REQUEST and uid in (_HTTP, _WEB, _WEB_ACCESS):
        place = place._replace(resource=asked.resource, object=place.object if uid == _WEB else "")
    if not place.resource:
        place = _called(record, service, operation)
    if not place.resource:
        raise BadRecord("missing_field", "neither resources, a URL, a data store, a service nor api.operation is named")
    return place


def _bytes(record: Record, file_left: bool) -> int | float | None:
    for part, name in (*_SIZES, ("file", "size")) if file_left else _SIZES:
        size = _object(record, part).get(name)
        if (read := number(size.removesuffix(".0") if isinstance(size, str) else size)) is not None:
            return read
    return None


def _failed(record: Record, uid: int, activity: int) -> bool:
    status, said = number(record, "status_id"), text(record, "status").lower()
    if status in (1, 2) or said in ("success", "failure"):
        return status == 2 or (status != 1 and said == "failure")
    if (uid == _WEB_ACCESS and activity in _DENIED) or number(record, "action_id") == 2:
        return True
    answer = _object(record, "api", "response")
    codes = (number(_object(record, "http_response"), "code"), number(record, "http_status"), number(answer, "code"))
    return bool(_first(answer, "error", "error_message")) or max(code or 0 for code in codes) >= 400


def matches(record: bytes) -> bool:
    """Whether it has a class and the metadata that the schema requires."""
    loaded = peek(record)
    return "class_uid" in loaded and ("metadata" in loaded or "category_uid" in loaded)


def decode(record: bytes) -> list[AccessEvent]:
    """The one event; raises BadRecord."""
    loaded = load(record)
    uid, activity = _class(loaded)
    service, operation = text(loaded, "api", "service", "name")[:256], text(loaded, "api", "operation")[:256]
    source = _object(loaded, "src_endpoint")
    asn = number(source, "autonomous_system", "number")
    asked = _asked(loaded, uid, activity)
    place = _place(loaded, uid, asked, service, operation)
    event = AccessEvent(
        time=_time(loaded),
        account="",
        action=_action(uid, activity, asked, service, operation),
        resource=place.resource,
        id=_first(_object(loaded, "metadata"), "uid"),
        source_ip=_first(source, "ip", "hostname", "svc_name", "name", "domain"),
        asn=asn if isinstance(asn, int) else None,
        country=_first(_object(source, "location"), "country").upper(),
        user_agent=_first(_object(loaded, "http_request"), "user_agent"),
        object=place.object or asked.object,
        subject=asked.subject,
        records=place.records * max(1, number(loaded, "count") or 1),
        bytes=_bytes(loaded, uid == _FILE and _ACTIVITIES[uid].get(activity) == "export"),
        outcome="failure" if _failed(loaded, uid, activity) else "success",
    )
    if not event.subject and place.object and event.action in ("read", "export"):
        itself = event.resource in (place.object, f"{service_of(service)}:{place.object}")
        whole = place.object.startswith(f"{event.resource}/")  # a file by its path
        event.subject = event.resource if itself else place.object if whole else f"{event.resource}/{place.object}"
    _identify(event, loaded, uid, f"{service_of(service)}:{operation}" if operation and service.endswith(_AWS) else "")
    return [event]


FORMAT = Format("ocsf", matches, decode)
