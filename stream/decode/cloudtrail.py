"""AWS CloudTrail: management, data and network activity events, one record each or a {"Records": [...]} in one line.

Fields: time: eventTime, else @timestamp; UTC where no zone is written. account: the ARN of the principal, of a role
with its session, where the part of a session name that changes each time (a time, a UUID) is "*"; without an ARN that
of the IAM user named, else the service (invokedBy), else accountId:userId, userName or principalId. account_kind:
employee for users, root and sessions of the console or of single sign-on; service for AWS services and sessions of
instances, functions, workflows and service roles. credential: accessKeyId, else credentialId. issuer: the service that
acts for the principal (invokedBy) or made its console session ("signin.amazonaws.com"), else the role's ARN, else the
identity provider or store, else for an IAM user's temporary key "sts.amazonaws.com" and for a lasting one the account
id. source_ip: an address or a service's name. user_agent. action: of eventName, eventSource, readOnly (`_aws.action`).
resource: service:name of the bucket, table, snapshot, secret …, of a parameter its folder, of a login the role's ARN,
else service:eventName. object: S3 key, item key, parameter, or the same name. subject: of data that is read or
exported, resource/object: CloudTrail knows no people, so each object stands for one, and the first of several for all.
records: how many names or items the call lists. bytes: bytesTransferredOut. outcome: a failure where there is an
errorCode or errorMessage, or a login says so. id: eventID.

AssumeRole and its like are logins of the session that they make, with its new key as credential and its role as issuer,
as later events show them; object is then the caller. A failed one is the caller's.
Cannot tell: the keys of console sessions, of single sign-on and of services acting for someone are logged nowhere when
they are made, so their issuers are kept apart from the roles'. A session's name is what its maker chose. The path of an
IAM user whose login failed. Rows of a query. Tables, functions … of one name in two accounts or regions count as one
resource.
Insight events, digests and credential challenges (the question, not its answer) are not_an_access_event.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import msgspec
import orjson

from stream.checks import shortened, shown
from stream.decode._aws import action, place, service_of
from stream.decode._json import Record, items, load, number, peek, text, time, walk
from stream.decode._shape import Part, Text, mostly_single, strict
from stream.events import AccessEvent, AccountKind, BadRecord

_OWN: Final = ("userIdentity", "eventVersion", "awsRegion", "sourceIPAddress")
_CONSOLE: Final = "signin.amazonaws.com"
# A twelve-digit number is an account's; an instance's name has hexadecimal digits of its own and is no time.
_ROTATING: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|(?<![0-9A-Za-z])(?<!\bi-)(?:[0-9a-f]{20,}|\d{10,11}|\d{13,})(?!\w)",
    re.ASCII,
)
_PERSON: Final = re.compile(r"AWSReservedSSO_|/[^/]*@")
_MACHINE: Final = re.compile(r"/i-[0-9a-f]{8,17}\Z|assumed-role/AWSServiceRoleFor|/GitHubActions\Z|/AWSCodeBuild-")
_WORKLOAD: Final = re.compile(r"/oidc\.eks\.|/token\.actions\.githubusercontent\.com")
_NO_ZONE: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?", re.ASCII)


def matches(record: bytes) -> bool:
    """Whether it names an event, the service it was sent to, and one more field that only CloudTrail has."""
    loaded = peek(record)
    first = next(items(loaded, "Records"), loaded)
    return {"eventName", "eventSource"} <= first.keys() and not first.keys().isdisjoint(_OWN)


_read = strict({
    "eventName": str, "eventSource": str, "eventTime": str, "userIdentity": Part, "readOnly": bool | None,
    "eventID": Text, "sourceIPAddress": Text, "userAgent": Text, "errorCode": Text, "errorMessage": Text,
    "awsRegion": Text, "eventCategory": Text, "requestParameters": Part, "resources": Part,
    "additionalEventData": {"bytesTransferredOut": Any, "SamlProviderArn": Any}, "sessionCredentialFromConsole": Any,
    "responseElements": Part, "insightDetails": Part, "digestStartTime": Part, "Records": Part,
})  # fmt: skip
_UNREAD: Final = (BadRecord, msgspec.MsgspecError, orjson.JSONDecodeError, UnicodeDecodeError, RecursionError)


def _plain(record: bytes) -> AccessEvent | None:
    """As `_event`, of a record that is as most are, without reading all of it; for others None, or one of _UNREAD."""
    call = _read(record)
    name, source, at = call.eventName, call.eventSource, call.eventTime
    odd = bytes(call.insightDetails) or bytes(call.digestStartTime) or bytes(call.Records) or b'"Failure"' in record
    odd = odd or call.eventCategory == "Insight" or name == "CredentialChallenge"
    if odd or not (name and source and at) or at[-1] != "Z":
        return None
    console, told = call.sessionCredentialFromConsole in (True, "true"), call.additionalEventData
    who, account, kind, credential, issuer = _principal(bytes(call.userIdentity), call.awsRegion or "", console)
    parts: Record = {"requestParameters": _part(call.requestParameters)}
    done = action(source[:256], name[:256], call.readOnly is True)
    event = AccessEvent(
        time=at, account=account, action=done, resource="", id=call.eventID or "", account_kind=kind,
        credential=credential, issuer=issuer, source_ip=call.sourceIPAddress or "", user_agent=call.userAgent or "",
        bytes=number(told.bytesTransferredOut), outcome="failure" if call.errorCode or call.errorMessage else "success",
    )  # fmt: skip
    if done == "login":
        parts |= {"responseElements": _part(call.responseElements), "sessionCredentialFromConsole": console}
        parts["additionalEventData"] = {"SamlProviderArn": told.SamlProviderArn}
        _login(event, parts, who, source, name)
    else:
        found = place(parts, service_of(source), name)
        if not found.object:
            parts["resources"] = _part(call.resources)
            found = place(parts, service_of(source), name)
        event.resource, event.object, event.records = found
        _concern(event)
    return event


def _part(written: msgspec.Raw) -> object:
    return orjson.loads(bytes(written) or b"null")


@lru_cache(maxsize=4096)
def _principal(written: bytes, region: str, console: bool) -> tuple[Record, str, AccountKind, str, str]:
    """A userIdentity, its account, kind, credential and issuer, once: a session's records repeat it to the letter."""
    who = load(written or b"null")
    record: Record = {"awsRegion": region, "sessionCredentialFromConsole": console}
    account, credential = _account(record, who), text(who, "accessKeyId") or text(who, "credentialId")
    return who, account, _kind(record, who, account), credential, _issuer(record, who, credential)


def _concern(event: AccessEvent) -> None:
    """Set whose data it is: each object that is read or exported stands for one."""
    if event.action in ("read", "export") and event.object:
        itself = event.resource.endswith(f":{event.object}")
        event.subject = event.resource if itself else f"{event.resource}/{event.object}"


def decode(record: bytes) -> list[AccessEvent]:
    """The event, or the events of a list, in which what is no access is passed over; raises BadRecord."""
    try:
        if plain := _plain(record):
            return [plain]
    except _UNREAD:
        pass  # what is wrong, if anything is, is found with care
    loaded = load(record)
    listed = loaded.get("Records")
    if not isinstance(listed, list):
        return [_event(loaded)]
    events = []
    skipped: BadRecord | None = None
    for one in listed:
        if not isinstance(one, dict):
            raise BadRecord("wrong_type", f"Records: expected objects, got {shown(one)}")
        try:
            events.append(_event(one))
        except BadRecord as why:
            if why.reason != "not_an_access_event":
                raise
            skipped = why
    if skipped and not events:
        raise skipped
    return events


def _event(record: Record) -> AccessEvent:
    name, source = text(record, "eventName"), text(record, "eventSource")
    if text(record, "eventCategory") == "Insight" or "insightDetails" in record or "digestStartTime" in record:
        raise BadRecord("not_an_access_event", "an Insight event or a digest of log files")
    if name == "CredentialChallenge":  # a success from anywhere would count as having been there
        raise BadRecord("not_an_access_event", "a credential was asked for; whether it was given is another event")
    if not name or not source:
        raise BadRecord("missing_field", "eventName or eventSource: nothing says what was called")
    who = record.get("userIdentity")
    if not isinstance(who, dict):
        raise BadRecord("missing_field", f"userIdentity: expected an object, got {shown(who)}")
    credential = text(who, "accessKeyId") or text(who, "credentialId")
    account = _account(record, who)
    event = AccessEvent(
        time=_time(record),
        account=account,
        action=action(source[:256], name[:256], _says(record, "readOnly")),
        resource="",
        id=text(record, "eventID"),
        account_kind=_kind(record, who, account),
        credential=credential,
        issuer=_issuer(record, who, credential),
        source_ip=text(record, "sourceIPAddress"),
        user_agent=text(record, "userAgent"),
        bytes=number(record, "additionalEventData", "bytesTransferredOut"),
        outcome="failure" if _failed(record, name) else "success",
    )
    if event.action == "login":
        _login(event, record, who, source, name)
    else:
        event.resource, event.object, event.records = place(record, service_of(source), name)
        _concern(event)
    return event


def _login(event: AccessEvent, record: Record, who: Record, source: str, name: str) -> None:
    """Make the event the one of the session that is made, not of the credential that was shown for it."""
    caller, role = event.account, text(record, "requestParameters", "roleArn")
    event.resource, event.object = role or f"{service_of(source)}:{name}", caller
    account, credential = _session_made(record)
    event.credential = credential or text(who, "credentialId")
    if account:
        event.account = account
        if event.account_kind != "service":
            event.account_kind = _kind_of_role(record, who, account)
    provider = text(record, "additionalEventData", "SamlProviderArn")
    event.issuer = role or provider or (text(who, "arn") if name == "GetFederationToken" else source)


def _session_made(record: Record) -> tuple[str, str]:
    """Account and credential of the session that a login made; "" where it made none."""
    made = walk(record, "responseElements")
    credential = text(made, "credentials", "accessKeyId")
    account = text(made, "assumedRoleUser", "arn") or text(made, "federatedUser", "arn")
    for found in items(made, "credentialSet"):
        credential = credential or text(found, "credentials", "accessKeyId")
        account = account or text(found, "assumedRoleUser", "arn")
    asked = walk(record, "requestParameters")
    role, session = text(asked, "roleArn"), text(asked, "roleSessionName")
    if credential and not account and role and session:  # as services are answered
        start, _, path = role.replace(":iam:", ":sts:", 1).partition(":role/")
        account = f"{start}:assumed-role/{path.rpartition('/')[2]}/{session}"
    return _stable(account), credential


def _account(record: Record, who: Record) -> str:
    """The principal that acted, shortened where its path is too long; raises BadRecord where nobody is named."""
    if arn := text(who, "arn"):
        return _stable(arn)
    kind, service, owner = text(who, "type"), text(who, "invokedBy"), text(who, "accountId")
    if service and kind in ("", "AWSService"):
        return service
    user, principal = text(who, "userName"), text(who, "principalId")
    if kind == "IAMUser" and owner and user:  # a login that failed: as the ones that do not
        return _stable(f"arn:{_partition(record)}:iam::{owner}:user/{user}")
    if principal.startswith("AROA"):
        principal = _ROTATING.sub("*", principal)
    names = (text(who, "onBehalfOf", "userId"), user, principal)
    name = next((name for name in names if name and name != owner), "")
    if account := ":".join(filter(None, (owner, name))) or service:
        return shortened(account)
    raise BadRecord("missing_field", "userIdentity: neither arn, principalId, userName, accountId nor invokedBy")


def _stable(arn: str) -> str:
    """A principal's ARN in which what changes from session to session is "*"."""
    start, slash, session = arn.rpartition("/")
    if ":assumed-role/" in start or start.endswith(":federated-user"):
        arn = start + slash + _ROTATING.sub("*", session)
    return shortened(arn)


def _partition(record: Record) -> str:
    region = text(record, "awsRegion")
    return "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"


def _kind(record: Record, who: Record, account: str) -> AccountKind:
    kind = text(who, "type")
    if kind == "AWSService" or (not kind and text(who, "invokedBy")):
        return "service"
    if kind in ("IAMUser", "Root", "SAMLUser", "IdentityCenterUser") and ":federated-user/" not in account:
        return "employee"
    if kind == "Unknown" and "onBehalfOf" in who:  # signing in to the Identity Center
        return "employee"
    return _kind_of_role(record, who, account)


def _kind_of_role(record: Record, who: Record, account: str) -> AccountKind:
    if _says(record, "sessionCredentialFromConsole") or _PERSON.search(account):
        return "employee"
    session = walk(who, "sessionContext")
    provider = text(session, "webIdFederationData", "federatedProvider") or text(who, "identityProvider")
    delivered = text(session, "ec2RoleDelivery") or text(who, "inScopeOf", "issuerType")
    return "service" if delivered or _WORKLOAD.search(provider) or _MACHINE.search(account) else "unknown"


def _issuer(record: Record, who: Record, credential: str) -> str:
    if _says(record, "sessionCredentialFromConsole"):
        return _CONSOLE
    session = walk(who, "sessionContext")
    issuer = (
        text(who, "invokedBy")
        or text(session, "sessionIssuer", "arn")
        or text(session, "webIdFederationData", "federatedProvider")
        or text(who, "identityProvider")
        or text(who, "onBehalfOf", "identityStoreArn")
    )
    if issuer or not credential:
        return issuer
    return "sts.amazonaws.com" if credential.startswith("ASIA") else text(who, "accountId")


def _says(record: Record, key: str) -> bool:
    """Whether the field is true; older records write it as text."""
    return record.get(key) in (True, "true")


def _failed(record: Record, name: str) -> bool:
    if text(record, "errorCode") or text(record, "errorMessage"):
        return True
    return "Failure" in (text(record, "responseElements", name), text(record, "serviceEventDetails", name))


def _time(record: Record) -> int | float | str:
    at = time(record, "eventTime" if record.get("eventTime") else "@timestamp")
    return f"{at}Z" if isinstance(at, str) and _NO_ZONE.fullmatch(at) else at


FORMAT = mostly_single("cloudtrail", matches, decode)
