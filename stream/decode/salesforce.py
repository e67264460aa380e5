"""Salesforce event log files (EventLogFile): rows as JSON objects by their column names, or CSV with its header.

Fields: time: TIMESTAMP_DERIVED, else TIMESTAMP. account: USER_ID_DERIVED, else USER_ID, else USER_NAME, else the
address. account_kind: of USER_TYPE: employee for standard users, customer and partner for portals', service for
automated processes. credential: LOGIN_KEY, which ties a session's events to its login, else SESSION_KEY. issuer:
ORGANIZATION_ID. source_ip: CLIENT_IP, else SOURCE_IP, where it is an address. user_agent: USER_AGENT or BROWSER_TYPE,
a number by Salesforce's own list. action: of EVENT_TYPE: reports exported, bulk queries, files downloaded and weekly
exports are exports; pages, reports and queries are read; API calls by their method. resource: EVENT_TYPE:entity, else
EVENT_TYPE:path with identifiers folded (as in `accesslog`). object: the report, document or record (…_DERIVED), else
URI. subject: of what is read or exported, resource/object; Salesforce logs no customer of the customer. records:
ROWS_PROCESSED, ROW_COUNT, NUMBER_OF_RECORDS or ROWS_RETURNED. bytes: RESPONSE_SIZE, SIZE_BYTES. outcome: a failure
where LOGIN_STATUS is not LOGIN_NO_ERROR, REQUEST_STATUS is F, U or N, or STATUS_CODE is 400 or more. id: none that is
unique: REQUEST_ID is shared by all rows of a request.
Cannot tell: which records a report held; the names of users; what Salesforce's own servers did for one ("Salesforce.com
IP" is no address). Rows of performance (Apex, triggers, flows) are not_an_access_event.
"""

from __future__ import annotations

import re
from functools import lru_cache
from operator import attrgetter
from typing import Final

from stream.decode._json import number, peek
from stream.decode._shape import Text, Time, about, reader, single, utc
from stream.decode.accesslog import NO_REQUEST, request
from stream.events import AccessEvent, AccountKind, Action, BadRecord

_COUNTS: Final = ("ROWS_PROCESSED", "ROW_COUNT", "NUMBER_OF_RECORDS", "ROWS_RETURNED", "RECORDS_PROCESSED")
_OBJECTS: Final = ("REPORT_ID_DERIVED", "DOCUMENT_ID_DERIVED", "DASHBOARD_ID_DERIVED", "URI_ID_DERIVED", "REPORT_ID",
                   "DOCUMENT_ID", "JOB_ID", "URI")  # fmt: skip
_counts, _objects = attrgetter(*_COUNTS), attrgetter(*_OBJECTS)
_read = reader({
    "EVENT_TYPE": str, "TIMESTAMP_DERIVED": Time, "TIMESTAMP": Time, "USER_ID_DERIVED": Text, "USER_ID": Text,
    "USER_NAME": Text, "USER_TYPE": Text, "LOGIN_KEY": Text, "SESSION_KEY": Text, "ORGANIZATION_ID": Text,
    "CLIENT_IP": Text, "SOURCE_IP": Text, "USER_AGENT": Text, "BROWSER_TYPE": Text, "ENTITY_NAME": Text,
    "ENTITY_TYPE": Text, "METHOD_NAME": Text, "METHOD": Text, "OPERATION_TYPE": Text, "TRANSACTION_TYPE": Text,
    "LOGIN_STATUS": Text, "REQUEST_STATUS": Text, "STATUS_CODE": Time, "RESPONSE_SIZE": Time, "SIZE_BYTES": Time,
    **dict.fromkeys(_COUNTS, Time), **dict.fromkeys(_OBJECTS, Text),
})  # fmt: skip

_TYPES: Final[dict[Action, str]] = {
    "login": "Login LoginAs LoginEvent LoginAsEvent OneCommerceLogin", "logout": "Logout LogoutEvent",
    "export": "ReportExport DocumentAttachmentDownloads DataExport BulkApiResult BulkApiResultEventStore WaveDownload"
              " PlatformEncryptionExport ContentTransferDownload",
    "read": "Report ReportEvent Dashboard URI URIEvent VisualforceRequest LightningPageView LightningUriEvent Knowledge"
            " KnowledgeArticleView AuraRequest ApiEvent UniqueQuery WaveInteraction Sites ContentDocumentLink Console",
    "list": "Search SearchClick ListView ListViewEvent GroupMembership",
    "share": "ContentDistribution ExternalCrossOrgCallout", "write": "DataImport InsertUpdate ChangeSetOperation",
    "admin": "SetupAuditTrail PermissionSetEvent PermissionUpdate PackageInstall OAuthTokenRevoked ConnectedAppUsage",
}  # fmt: skip
_ACTIONS: Final = {kind: action for action, kinds in _TYPES.items() for kind in kinds.split()}
_APIS: Final = {"API", "RestApi", "BulkApi", "BulkApi2", "ContentTransfer", "AsyncReportRun", "RestApiQuery"}
_METHODS: Final[dict[str, Action]] = {
    "query": "read", "queryall": "export", "querymore": "read", "retrieve": "read", "get": "read", "search": "list",
    "describe": "list", "insert": "write", "update": "write", "upsert": "write", "create": "write", "post": "write",
    "patch": "write", "put": "write", "delete": "delete", "hard": "delete", "visit": "read",
    "versiondownloadaction": "export", "versiondownloadapi": "export", "insertversion": "write", "upload": "write",
}  # fmt: skip
_KINDS: Final[dict[str | None, AccountKind]] = {
    "S": "employee", "Standard": "employee", "X": "employee", "A": "service", "C": "customer", "b": "customer",
    "F": "customer", "G": "customer", "P": "partner", "p": "customer", "N": "partner",
}  # fmt: skip
_ID: Final = re.compile(r"/(\w{3})[A-Za-z0-9]{12}(?:[A-Z0-9]{3})?(?=/|\Z)", re.ASCII)  # its beginning tells the entity
_REFUSED: Final = {"F", "U", "N", "Failure", "FAILURE"}


@lru_cache(maxsize=4096)
def _action(kind: str, method: str) -> Action:
    if action := _ACTIONS.get(kind):
        return action
    if kind not in _APIS:
        raise BadRecord("not_an_access_event", f"EVENT_TYPE {kind[:60]!r} is none of access")
    did = _METHODS.get(method.lower(), "read")
    return "export" if kind.startswith("BulkApi") and did == "read" else did


def _event(raw: bytes) -> AccessEvent:
    row = _read(raw)
    kind, source = (
        row.EVENT_TYPE,
        next((each for each in (row.CLIENT_IP, row.SOURCE_IP) if each and " " not in each), ""),
    )
    method = row.METHOD_NAME or row.METHOD or row.OPERATION_TYPE or row.TRANSACTION_TYPE or ""
    action = _action(kind[:64], method[:64])
    if not (account := row.USER_ID_DERIVED or row.USER_ID or row.USER_NAME or source):
        raise BadRecord("missing_field", "neither USER_ID, USER_NAME nor CLIENT_IP: nobody is named")
    named = next(filter(None, _objects(row)), "")
    asked = request(f"GET {row.URI}") if row.URI else NO_REQUEST
    place = row.ENTITY_NAME or row.ENTITY_TYPE or _ID.sub(r"/\1{id}", "" if asked is NO_REQUEST else asked.resource)
    refused = row.REQUEST_STATUS in _REFUSED or (number(row.STATUS_CODE) or 0) >= 400
    resource = f"{kind}:{place}" if place else kind
    return AccessEvent(
        time=utc(row.TIMESTAMP_DERIVED or row.TIMESTAMP, "TIMESTAMP_DERIVED"), account=account, action=action,
        resource=resource, object=asked.object if named == row.URI else named, source_ip=source,
        account_kind=_KINDS.get(row.USER_TYPE, "unknown"), credential=row.LOGIN_KEY or row.SESSION_KEY,
        issuer=row.ORGANIZATION_ID, user_agent=row.USER_AGENT or row.BROWSER_TYPE,
        subject=about(resource, named.lstrip("/")) if action in ("read", "export") else "",
        records=next(filter(None, map(number, _counts(row))), 1),
        bytes=number(row.RESPONSE_SIZE or row.SIZE_BYTES),
        outcome="failure" if (row.LOGIN_STATUS or "LOGIN_NO_ERROR") != "LOGIN_NO_ERROR" or refused else "success",
    )  # fmt: skip


def matches(record: bytes) -> bool:
    """Whether it is a row of an event log file: its type, its time and its organisation or request."""
    names = {key.upper() for key in peek(record)}
    return {"EVENT_TYPE", "TIMESTAMP"} <= names and not {"ORGANIZATION_ID", "REQUEST_ID"}.isdisjoint(names)


FORMAT = single("salesforce", matches, _event)
