"""Azure Monitor logs as diagnostic settings export them: the activity log, Entra ID sign-ins, Blob Storage requests.

Fields: time: time. account: of a sign-in properties.userPrincipalName, userId or servicePrincipalId; of storage
identity.requester.upn or objectId; else of the token's claims the upn, name or appid, else evidence.principalId, else
the address. account_kind: service where an appid or service principal acts, else employee. credential: the token:
a sign-in's uniqueTokenIdentifier, the claim uti, or storage's identity.tokenHash. issuer: the claim iss; of a sign-in
the same for its tenantId; for storage identity.type (SAS, AccountKey, OAuth). source_ip: callerIpAddress without its
port. user_agent: properties.userAgent or userAgentHeader. action: of category and operationName: keys and shared access
that are listed are read, disks that are opened and snapshots exported. resource: type/name of resourceId from its
provider on; storage:account/container; of a sign-in what was signed in to. object: the blob's path, or the resource's
last name. subject: of what is read or exported, resource/object. bytes: responseBodySize of what storage read.
outcome: a failure for resultType Failure or an error code, or an HTTP status from 400 on. id: properties.id, else
correlationId with the time, for all steps of a request share it.
Cannot tell: records (1); whose data a blob holds; group; who used an account key or an anonymous container. The start
of an operation whose end is told, and the categories of other systems, are not_an_access_event.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from stream.decode._json import peek
from stream.decode._shape import Count, Table, Text, Time, about, address, reader, single, utc
from stream.decode._verbs import verb
from stream.events import AccessEvent, Action, BadRecord

_read = reader({
    "category": str, "time": Time, "operationName": Text, "resourceId": Text, "callerIpAddress": Text, "tenantId": Text,
    "resultType": Text, "correlationId": Text, "statusCode": Count,
    "identity": {"claims": Table, "type": Text, "tokenHash": Text, "requester": {"upn": Text, "objectId": Text},
                 "authorization": {"evidence": {"principalId": Text}}},
    "properties": {
        "id": Text, "userPrincipalName": Text, "userId": Text, "servicePrincipalId": Text, "ipAddress": Text,
        "uniqueTokenIdentifier": Text, "resourceDisplayName": Text, "appDisplayName": Text, "userAgent": Text,
        "userAgentHeader": Text, "objectKey": Text, "responseBodySize": Count, "accountName": Text,
        "autonomousSystemNumber": Count, "location": {"countryOrRegion": Text}, "status": {"errorCode": Count},
    },
})  # fmt: skip

_STORAGE: Final = {"StorageRead", "StorageWrite", "StorageDelete"}
_DONE: Final = {"Administrative", "Security", "Policy", "AuditEvent"} | _STORAGE
_SIGN_INS: Final = re.compile(r"(?:\w*User|ServicePrincipal|ManagedIdentity)?SignInLogs", re.ASCII)
_CLAIMS: Final = ("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn", "upn",
                  "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name", "name")  # fmt: skip
# In the order they are tried, against the operation in small letters.
_OPERATIONS: Final[tuple[tuple[Action, re.Pattern[str]], ...]] = (
    ("export", re.compile(r"begingetaccess|snapshots/write|export|restorepoint\w*/retrieve|copyblob|backup")),
    ("read", re.compile(r"list\w*(?:keys?|sas|secrets?|credentials?|strings)/action|/get\w*/action|secretget")),
    ("share", re.compile(r"set(?:blob|container)acl|generateaccountsas|sharedkey|publicaccess")),
    ("admin", re.compile(r"microsoft\.(?:authorization|aadiam|security|policyinsights|insights|management)/|elevate")),
    ("list", re.compile(r"^list")), ("read", re.compile(r"^get|/read$|^keyget")),
    ("delete", re.compile(r"/delete$|^del")), ("write", re.compile(r"/write$|/action$|^put|^append")),
)  # fmt: skip
_FAILED: Final = re.compile(r"fail\w*|[1-9]\d*|\w*error\w*|denied|forbidden|clienterror", re.IGNORECASE | re.ASCII)


@lru_cache(maxsize=4096)
def _action(operation: str) -> Action:
    lower = operation.lower()
    return next((action for action, known in _OPERATIONS if known.search(lower)), None) or verb(operation) or "write"


@lru_cache(maxsize=4096)
def _place(resource: str) -> tuple[str, str]:
    """Resource and object of a resource's id: what it is from its provider on, and its last name."""
    lower = resource.lower().rstrip("/")
    return lower.partition("/providers/")[2] or lower.lstrip("/"), lower.rpartition("/")[2]


def _first(claims: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((value for name in names if isinstance(value := claims.get(name), str) and value), "")


def _event(raw: bytes) -> AccessEvent:
    record = _read(raw)
    category, said, who, operation = record.category, record.properties, record.identity, record.operationName or ""
    claims, result, status = who.claims or {}, record.resultType or "", record.statusCode or 0
    if result in ("Start", "Started"):
        raise BadRecord("not_an_access_event", "an operation that begins; its end is another event")
    person = said.userPrincipalName or said.userId or who.requester.upn or _first(claims, _CLAIMS)
    program = "" if person else said.servicePrincipalId or _first(claims, ("appid",)) or who.requester.objectId
    source = address(record.callerIpAddress or said.ipAddress or "")
    if not (account := person or program or who.authorization.evidence.principalId or source):
        raise BadRecord("missing_field", "neither a sign-in's user, claims, requester nor callerIpAddress is named")
    event = AccessEvent(
        time=utc(record.time, "time"), account=account, action="login", resource="", source_ip=source,
        id=said.id or (f"{record.correlationId}@{record.time}" if record.correlationId else ""),
        account_kind="service" if program else "employee" if person else "unknown",
        credential=said.uniqueTokenIdentifier or _first(claims, ("uti",)) or who.tokenHash,
        issuer=_first(claims, ("iss",)) or who.type, asn=said.autonomousSystemNumber,
        country=said.location.countryOrRegion, user_agent=said.userAgent or said.userAgentHeader,
        outcome="failure" if _FAILED.fullmatch(result) or status >= 400 or said.status.errorCode else "success",
    )  # fmt: skip
    if _SIGN_INS.fullmatch(category):
        event.resource, event.object = said.resourceDisplayName or "entra", said.appDisplayName
        event.issuer = f"https://sts.windows.net/{record.tenantId}/" if record.tenantId else ""
        return event
    if category not in _DONE:
        raise BadRecord("not_an_access_event", f"category {category[:60]!r} is none of access")
    if not operation:
        raise BadRecord("missing_field", "operationName: nothing says what was done")
    event.action, (event.resource, event.object) = _action(operation[:256]), _place(record.resourceId or operation)
    if category in _STORAGE and said.objectKey:
        owner, container, event.object = [*said.objectKey.lstrip("/").split("/", 2), "", ""][:3]
        event.resource = f"storage:{owner}/{container}"
        event.bytes = said.responseBodySize if event.action == "read" else 0
    if event.action in ("read", "export"):
        event.subject = about(event.resource, event.object) if category in _STORAGE else event.resource
    return event


def matches(record: bytes) -> bool:
    """Whether it has a category and what the export of a log adds to each record."""
    names = {key.lower() for key in peek(record)}
    return {"time", "category"} <= names and not {"resourceid", "operationname", "tenantid"}.isdisjoint(names)


FORMAT = single("azure", matches, _event)
