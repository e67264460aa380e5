"""Google Cloud audit logs: entries of Cloud Logging whose protoPayload is an AuditLog, one a record.

Fields of protoPayload, where not said otherwise: time: the entry's timestamp, else receiveTimestamp. account:
authenticationInfo.principalEmail or principalSubject, else callerIp: a public bucket is read by nobody in particular.
account_kind: service for service accounts and agents, employee for other addresses. credential: the key's id in
serviceAccountKeyName. issuer: the first of serviceAccountDelegationInfo (who made the token that was used), for a key
"iam.googleapis.com". source_ip: requestMetadata.callerIp. user_agent: callerSuppliedUserAgent. action: of methodName,
of a BigQuery job by its type; making another account's token is a login. resource: service:bucket for storage,
service:project.dataset.table for BigQuery, else service:collection in resourceName, without versions. object: the
stored object or the last name. subject: of data that is read or exported, resource/object: each object for one.
records: rows that a query put out, else numResponseItems. outcome: a failure where status has a code. id: insertId
with the time.
Cannot tell: bytes (0), users' credentials, the group. Data reads are logged only where Data Access logs are turned on,
and of a bucket that is open to all not even then. A long operation is told when it begins and when it ends.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from stream.decode._json import number, peek, walk
from stream.decode._shape import Count, Table, Text, Time, about, reader, single, utc
from stream.decode._verbs import verb
from stream.events import AccessEvent, Action, BadRecord

_read = reader({
    "insertId": Text, "timestamp": Time, "receiveTimestamp": Time,
    "protoPayload": {
        "methodName": Text, "serviceName": Text, "resourceName": Text, "numResponseItems": Time, "metadata": Table,
        "authenticationInfo": {"principalEmail": Text, "principalSubject": Text, "serviceAccountKeyName": Text,
                               "serviceAccountDelegationInfo": [{"firstPartyPrincipal": {"principalEmail": Text},
                                                                 "principalSubject": Text}]},
        "requestMetadata": {"callerIp": Text, "callerSuppliedUserAgent": Text}, "status": {"code": Count},
    },
})  # fmt: skip

_DATA: Final = {"storage", "bigquery", "secretmanager", "compute", "pubsub", "spanner", "artifactregistry", "cloudkms"}
_ADMIN: Final = {"iam", "cloudresourcemanager", "logging", "orgpolicy", "serviceusage", "apikeys", "iap", "admin",
                 "iamcredentials", "accesscontextmanager"}  # fmt: skip
# In the order they are tried; what a pattern does not know, the verb in the name says.
_METHODS: Final[tuple[tuple[Action, re.Pattern[str]], ...]] = (
    ("login", re.compile(r"Generate(?:Access|Id)Token\Z|Sign(?:Jwt|Blob)\Z")),
    ("export", re.compile(r"export|snapshots?\.(?:insert|create)|createsnapshot|extract|images\.insert|copy", re.I)),
    ("read", re.compile(r"accesssecretversion|readrows|tabledata|decrypt|getdata|pull\Z|executesql|streamread", re.I)),
    ("admin", re.compile(r"rbac|pods\.exec|setmetadata|setcommoninstancemetadata", re.I)),
)  # fmt: skip
_JOBS: Final[dict[object, Action]] = {"QUERY": "read", "EXPORT": "export", "EXTRACT": "export", "COPY": "export"}
_BUCKET: Final = re.compile(r"projects/[^/]*/buckets/([^/]+)(?:/objects/(.*))?", re.DOTALL)
_TABLE: Final = re.compile(r"projects/([^/]+)/datasets/([^/]+)(?:/tables/([^/]+))?")
_VERSION: Final = re.compile(r"/versions/[^/]*\Z")
_SERVICE: Final = re.compile(r".*gserviceaccount\.com\Z|system:|service-|serviceAccount:")


@lru_cache(maxsize=4096)
def _action(service: str, method: str) -> Action:
    if "SetIamPolicy" in method or "setIamPermissions" in method:
        return "share" if service in _DATA else "admin"
    said = next((action for action, pattern in _METHODS if pattern.search(method)), None)
    said = said or verb(method.rpartition(".")[2]) or verb(method) or "write"
    return "admin" if service in _ADMIN and said in ("write", "delete") else said


def _place(service: str, name: str) -> tuple[str, str]:
    """Resource and object of a resourceName."""
    if found := _BUCKET.fullmatch(name):
        return f"storage:{found[1]}", found[2] or ""
    if found := _TABLE.match(name):
        return f"bigquery:{'.'.join(filter(None, found.groups()))}", ""
    folder, _, last = _VERSION.sub("", name).rpartition("/")
    return (f"{service}:{folder}", last) if folder else (f"{service}:{last}", "")


def _job(metadata: object) -> tuple[Action | None, str, object]:
    """Of a BigQuery job what it did, the first table that it read, and the rows that it put out."""
    job = walk(metadata, "jobChange", "job") or walk(metadata, "jobInsertion", "job")
    query, kind = walk(job, "jobStats", "queryStats"), walk(job, "jobConfig", "type")
    tables = walk(query, "referencedTables")
    table = tables[0] if isinstance(tables, list) and tables else walk(job, "jobConfig", "extractConfig", "sourceTable")
    did = _JOBS.get(kind) if isinstance(kind, str) else None
    return did, table if isinstance(table, str) else "", walk(query, "outputRowCount")


def _event(raw: bytes) -> AccessEvent:
    record = _read(raw)
    call = record.protoPayload
    method, service, who = call.methodName, (call.serviceName or "").partition(".")[0], call.authenticationInfo
    source, key, made = call.requestMetadata.callerIp, who.serviceAccountKeyName, who.serviceAccountDelegationInfo
    if not method:
        raise BadRecord("missing_field", "protoPayload.methodName: nothing says what was called")
    if not (account := who.principalEmail or who.principalSubject or source):
        raise BadRecord("missing_field", "neither principalEmail, principalSubject nor callerIp: nobody is named")
    action, name, rows = _action(service, method[:256]), call.resourceName or method, call.numResponseItems
    if call.metadata and service == "bigquery":
        did, table, put_out = _job(call.metadata)
        action, name, rows = did or action, table or name, put_out or rows
    resource, named = _place(service, name)
    at = utc(record.timestamp or record.receiveTimestamp, "timestamp")
    return AccessEvent(
        time=at, account=account, action=action, resource=resource, object=named, source_ip=source,
        id=f"{record.insertId}@{at}" if record.insertId else "",
        account_kind="service" if _SERVICE.match(account) else "employee" if "@" in account else "unknown",
        credential=key and key.rpartition("/")[2],
        issuer=(made and (made[0].firstPartyPrincipal.principalEmail or made[0].principalSubject))
        or (key and "iam.googleapis.com") or "",
        user_agent=call.requestMetadata.callerSuppliedUserAgent,
        subject=about(resource, named) if action in ("read", "export") else "",
        records=number(rows),
        outcome="failure" if call.status.code else "success",
    )  # fmt: skip


def matches(record: bytes) -> bool:
    """Whether its payload is an AuditLog: a method, who called it, or the service."""
    names = {key.lower(): value for key, value in peek(record).items()}
    payload = names.get("protopayload")
    return isinstance(payload, dict) and not {"methodName", "authenticationInfo", "serviceName"}.isdisjoint(payload)


FORMAT = single("gcp_audit", matches, _event)
