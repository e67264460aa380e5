"""Microsoft 365 unified audit log (Office 365 Management Activity API): SharePoint, OneDrive, Exchange, Entra ID.

Fields: time: CreationTime, which is UTC. account: UserId, else the address. account_kind: of UserType: employee,
partner for guests, service for applications and the system. credential: AppAccessContext.AADSessionId, else SessionId,
else the SessionId in DeviceProperties, which a login carries too. issuer: of such a session the tenant, OrganizationId.
source_ip: ClientIP, ClientIPAddress or ActorIpAddress, without a port. user_agent: UserAgent, else ClientInfoString,
else of the ExtendedProperties. action: of Operation: FileDownloaded and what a sync client fetches are exports, a
MailItemsAccessed of type Bind is read and of type Sync exported, links and invitations are shared, and so is mail that
a rule forwards; other cmdlets and directory changes are admin. resource: SiteUrl; mailbox:owner; else the workload.
object: ObjectId; of mail the first InternetMessageId. subject: of what is read or exported the file's ObjectId, or the
mailbox's owner. records: the messages listed, else OperationCount or ItemCount. bytes: FileSizeBytes, or the messages'
SizeInBytes. outcome: a failure for ResultStatus Failed or False, and for UserLoginFailed. id: Id.
A mailbox with more than 1,000 Bind records in a day is throttled (IsThrottled): what is read in the next is not logged.
Such a record counts 1,000, for at least as much can have gone.
Cannot tell: what was read while throttled; what a Sync fetched; who opened a link that needs no sign-in.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from stream.decode._json import peek
from stream.decode._shape import Count, Text, Time, address, reader, single, utc
from stream.decode._verbs import verb
from stream.events import AccessEvent, AccountKind, Action, BadRecord

_PAIRS: Final = [{"Name": Text, "Value": Text}]
_read = reader({
    "Operation": str, "CreationTime": Time, "Id": Text, "UserId": Text, "UserType": Count, "Workload": Text,
    "ClientIP": Text, "ClientIPAddress": Text, "ActorIpAddress": Text, "ObjectId": Text, "OrganizationId": Text,
    "ResultStatus": Text, "UserAgent": Text, "ClientInfoString": Text, "SessionId": Text, "SiteUrl": Text,
    "AppAccessContext": {"AADSessionId": Text}, "FileSizeBytes": Count, "MailboxOwnerUPN": Text,
    "OperationCount": Count, "ItemCount": Count, "OperationProperties": _PAIRS, "ExtendedProperties": _PAIRS,
    "DeviceProperties": _PAIRS, "Parameters": _PAIRS,
    "Folders": [{"Path": Text, "FolderItems": [{"InternetMessageId": Text, "SizeInBytes": Count}]}],
})  # fmt: skip

THROTTLED: Final = 1_000  # Bind records of a mailbox in 24 hours, from which on Exchange logs none
_EMPLOYEES, _GUESTS, _SYSTEM = (0, 2), (9, 10), range(3, 9)  # of UserType
_NAMES: Final[dict[Action, str]] = {
    "login": "UserLoggedIn UserLoginFailed MailboxLogin", "logout": "UserSignedOut",
    "export": "FileDownloaded FileSyncDownloadedFull FileSyncDownloadedPartial FileCopied SearchExportDownloaded",
    "read": "FileAccessed FileAccessedExtended FilePreviewed FileCheckedOut PageViewed PageViewedExtended MessageBind",
    "list": "FolderBind SearchQueryPerformed SearchQueryInitiatedExchange SearchQueryInitiatedSharePoint",
    "delete": "FileRecycled HardDelete SoftDelete MoveToDeletedItems", "write": "Send SendAs SendOnBehalf Create",
}  # fmt: skip
_ACTIONS: Final = {name: action for action, names in _NAMES.items() for name in names.split()}
_SHARE: Final = re.compile(r"Sharing|Shared|LinkCreated|AddedTo(?:Secure|Sharing)Link|AddFolderPermissions")
_CMDLET: Final = re.compile(r"(?:New|Set|Add|Remove|Enable|Disable|Update|Grant|Revoke|Start|Stop)-")
_FORWARDS: Final = {"ForwardTo", "RedirectTo", "ForwardAsAttachmentTo", "ForwardingSmtpAddress", "ForwardingAddress"}
_FAILED: Final = {"Failed", "False", "Failure", "failed", "false", "failure"}


@lru_cache(maxsize=4096)
def _action(operation: str, workload: str) -> Action:
    known: Action | None = _ACTIONS.get(operation) or ("share" if _SHARE.search(operation) else None)
    if not known and (_CMDLET.match(operation) or workload == "AzureActiveDirectory"):
        known = "admin"
    if known := known or verb(operation):
        return known
    raise BadRecord("not_an_access_event", f"Operation {operation[:60]!r} of {workload[:40]} is none of access")


@lru_cache(maxsize=4096)
def _kind(account: str, kind: int | None) -> AccountKind:
    if kind in _GUESTS or "#ext#" in account.lower():
        return "partner"
    return "employee" if kind in _EMPLOYEES else "service" if kind in _SYSTEM else "unknown"


def _value(pairs: Any, name: str) -> str:
    return next((pair.Value or "" for pair in pairs if pair.Name == name), "")


def _mail(event: AccessEvent, record: Any) -> AccessEvent:
    """The event with what a MailItemsAccessed says of the messages."""
    mails = [mail for folder in record.Folders for mail in folder.FolderItems]
    event.object = mails[0].InternetMessageId if mails else record.Folders[0].Path if record.Folders else ""
    event.bytes = sum(mail.SizeInBytes or 0 for mail in mails)
    event.records = len(mails) or record.OperationCount or record.ItemCount
    if event.action == "read" and _value(record.OperationProperties, "IsThrottled").lower() == "true":
        event.records = max(event.records or 1, THROTTLED)
    return event


def _event(raw: bytes) -> AccessEvent:
    record = _read(raw)
    operation, mailbox = record.Operation, record.MailboxOwnerUPN
    source = address(record.ClientIP or record.ClientIPAddress or record.ActorIpAddress or "")
    if not (account := record.UserId or source):
        raise BadRecord("missing_field", "neither UserId nor ClientIP: nobody is named")
    if mail := operation == "MailItemsAccessed":
        action: Action = "export" if _value(record.OperationProperties, "MailAccessType") == "Sync" else "read"
    else:
        action = _action(operation[:128], (record.Workload or "")[:64])
        if action == "admin" and any(each.Name in _FORWARDS and each.Value for each in record.Parameters):
            action = "share"
    session = record.AppAccessContext.AADSessionId or record.SessionId or _value(record.DeviceProperties, "SessionId")
    read = action in ("read", "export")
    event = AccessEvent(
        account=account, action=action, id=record.Id, source_ip=source, credential=session, object=record.ObjectId,
        time=utc(record.CreationTime, "CreationTime"),
        resource=record.SiteUrl or (f"mailbox:{mailbox}" if mailbox else record.Workload or operation),
        account_kind=_kind(account, record.UserType), issuer=record.OrganizationId if session else "",
        user_agent=record.UserAgent or record.ClientInfoString or _value(record.ExtendedProperties, "UserAgent"),
        subject=(mailbox or record.ObjectId or record.SiteUrl) if read else "",
        records=record.OperationCount or record.ItemCount, bytes=record.FileSizeBytes if read else 0,
        outcome="failure" if operation == "UserLoginFailed" or record.ResultStatus in _FAILED else "success",
    )  # fmt: skip
    return _mail(event, record) if mail else event


def matches(record: bytes) -> bool:
    """Whether it names an operation in a tenant, and when it was."""
    return {"operation", "creationtime", "organizationid"} <= {key.lower() for key in peek(record)}


FORMAT = single("microsoft365", matches, _event)
