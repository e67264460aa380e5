"""What the AWS formats share: what a call does, told by its name, and what it is about, told by its parameters."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote

from stream.decode._json import Record, items, text, walk
from stream.events import Action

_LOGINS: Final = {
    "ConsoleLogin", "AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "AssumeRoot", "GetSessionToken",
    "GetFederationToken", "GetCredentialsForIdentity", "GetRoleCredentials", "GetSigninToken", "SwitchRole",
    "UserAuthentication", "CredentialVerification", "ExternalIdPDirectoryLogin", "Authenticate", "Federate",
}  # fmt: skip
_LOGINS_OF: Final = {
    ("rolesanywhere", "CreateSession"), ("sso", "CreateToken"), ("sso-oauth", "CreateToken"),
    ("sso-oauth", "CreateTokenWithIAM"),
}  # fmt: skip
_LOGOUTS: Final = {"Logout", "SignOut", "ExitRole"}
_SHARES: Final = {
    "ModifySnapshotAttribute", "ModifyImageAttribute", "ModifyDBSnapshotAttribute", "ModifyDBClusterSnapshotAttribute",
    "ModifyDocumentPermission", "AuthorizeSnapshotAccess", "AuthorizeDataShare", "AddPermission",
    "AddLayerVersionPermission", "CreateResourceShare", "AssociateResourceShare", "PutBucketPolicy", "PutBucketAcl",
    "PutObjectAcl", "PutBucketReplication", "PutAccessPointPolicy", "PutResourcePolicy", "PutFileSystemPolicy",
    "SetRepositoryPolicy", "DeleteBucketPublicAccessBlock", "DeletePublicAccessBlock", "UpdateProjectVisibility",
    "CreateFunctionUrlConfig", "UpdateFunctionUrlConfig",
}  # fmt: skip
_ADMIN_SERVICES: Final = {
    "access-analyzer", "account", "cloudtrail", "config", "guardduty", "iam", "identitystore", "macie", "macie2",
    "organizations", "rolesanywhere", "securityhub", "signin", "sso", "sso-directory", "wafv2",
}  # fmt: skip
# In the order they are tried, each against the beginning of the name.
_EXPORT: Final = re.compile(
    r"(?:Start)?Export(?!.*Settings)|Copy|UploadPartCopy|StoreImage|Start(?:Backup|Copy)Job"
    r"|Create(?:\w*Snapshots?|Image|Backup|\w*ExportTask|StoreImageTask)\Z"
)
# An instance's attributes hold its user data, an object's are not the object.
_LIST: Final = re.compile(
    r"List|Describe(?!InstanceAttribute)|Head|Search|Lookup|GetObject(?:Acl|Attributes|LegalHold|Retention|Tagging)"
    r"|Get(?:Bucket|Account|CallerIdentity)(?!\w*Authorization)"
)
_READ: Final = re.compile(
    r"Get|BatchGet|DescribeInstanceAttribute|Select|Query|Scan|Download|StartQuery|ExecuteStatement"
    r"|BatchExecuteStatement"
)
_DELETE: Final = re.compile(r"BatchDelete|Delete(?!Bucket\w)|Terminate|Purge|Schedule\w*Deletion")
_ADMIN: Final = re.compile(
    r"Attach|Detach|Associate|Disassociate|Authorize|Revoke|Enable|Disable|AddRole|RemoveRole|RemovePermission"
    r"|Put(?:Bucket|PublicAccess)|DeleteBucket|CreateGrant|RetireGrant|(?:Put|Set|Create|Update)\w*Polic(?:y|ies)\Z"
)
_VERSION: Final = re.compile(r"\d{4}_?\d\d_?\d\d(?:v\d+)?\Z")  # AddPermission20150331v2 is AddPermission

# Parameters that name what a call is about, the one the data comes from before the one it goes to.
_NAMES: Final = (
    "tableName", "secretId", "sourceDBSnapshotIdentifier", "sourceDBClusterSnapshotIdentifier",
    "sourceSnapshotIdentifier", "dBSnapshotIdentifier", "dBClusterSnapshotIdentifier", "snapshotIdentifier",
    "dBInstanceIdentifier", "dBClusterIdentifier", "clusterIdentifier", "sourceSnapshotId", "snapshotId",
    "sourceImageId", "imageId", "volumeId", "instanceId", "functionName", "queueUrl", "topicArn", "streamName",
    "repositoryName", "logGroupName", "userPoolId", "keyId", "roleName", "userName", "groupName", "modelId",
    "recoveryPointArn", "tableArn", "sourceArn", "resourceArn", "trailName", "name", "target", "bucketName", "path",
)  # fmt: skip
_RANK: Final = {name: rank for rank, name in enumerate(_NAMES)}
_MADE: Final = {  # here it names the new snapshot, and the data comes from elsewhere
    "CreateDBSnapshot": "dBSnapshotIdentifier", "CreateDBClusterSnapshot": "dBClusterSnapshotIdentifier",
    "CreateClusterSnapshot": "snapshotIdentifier",
}  # fmt: skip
_LISTED: Final = ("names", "secretIdList")
_HIDDEN: Final = "HIDDEN_DUE_TO_SECURITY_REASONS"
_SECRET_SUFFIX: Final = re.compile(r"-[A-Za-z0-9]{6}\Z")


class Place(NamedTuple):
    """What a call is about: the object in the resource, "" where none is named, and how many it asks for."""

    resource: str
    object: str
    records: int


@lru_cache(maxsize=4096)
def action(source: str, name: str, read_only: bool) -> Action:
    """What a call of that eventSource and eventName does; `read_only` where the name does not tell.

    >>> action("s3.amazonaws.com", "GetObject", True), action("rds.amazonaws.com", "CopyDBSnapshot", False)
    ('read', 'export')
    >>> action("cloudtrail.amazonaws.com", "StopLogging", False), action("ec2.amazonaws.com", "RunInstances", False)
    ('admin', 'write')
    """
    name, service = _VERSION.sub("", name), service_of(source)
    if name in _LOGINS or (service, name) in _LOGINS_OF:
        return "login"
    if name in _LOGOUTS:
        return "logout"
    if name in _SHARES:
        return "share"
    if _EXPORT.match(name):
        return "export"
    if _LIST.match(name):
        return "list"
    if _READ.match(name) or read_only:
        return "read"
    if service in _ADMIN_SERVICES:
        return "admin"
    if _DELETE.match(name):
        return "delete"
    return "admin" if _ADMIN.match(name) else "write"


def service_of(source: str) -> str:
    """The service's name in an eventSource.

    >>> service_of("s3.amazonaws.com")
    's3'
    """
    return source.partition(".")[0]


def place(record: Record, service: str, name: str) -> Place:
    """What the record's call is about, by its requestParameters and else its resources."""
    asked = walk(record, "requestParameters")
    if not isinstance(asked, dict):
        asked = {}
    if service.startswith("s3") and (stored := _stored(asked)):
        return stored
    listed = [value for key in _LISTED if key in asked for value in _values(asked, key)]
    made, ranked = _MADE.get(name), [key for key in asked if key in _RANK]
    ranked.sort(key=_RANK.__getitem__)
    named = next((value for key in ranked if key != made and (value := text(asked, key)) and value != _HIDDEN), "")
    named = named or next(iter(listed), "")
    if not named:
        named = next((arn for r in items(record, "resources") if (arn := text(r, "ARN") or text(r, "arn"))), "")
    named = _short(service, named)
    if not named:
        return Place(f"{service}:{name}", "", 1)
    records = max(1, len(listed) or _batched(asked))
    if service == "ssm" and "/" in named and name != "GetParametersByPath":
        folder, _, leaf = named.rpartition("/")
        return Place(f"ssm:{folder}", leaf, records)
    return Place(f"{service}:{named}", _item_key(asked) or named, records)


def _stored(asked: Record) -> Place | None:
    """The bucket and the object that S3 was asked for, of a copy those it is made from."""
    source = text(asked, "x-amz-copy-source")
    if source:  # a header, written as in a URL
        source = unquote(source.partition("?versionId=")[0]).lstrip("/")
        bucket, _, key = source.partition("/object/" if source.startswith("arn:") else "/")
    else:
        bucket, key = text(asked, "bucketName"), text(asked, "key")
    return Place(f"s3:{_short('s3', bucket)}", key, 1) if bucket else None


def _short(service: str, value: str) -> str:
    """The name in an ARN or a URL; any other value as it is."""
    if value.startswith("https://"):
        return value.rpartition("/")[2]
    if value.startswith("arn:"):
        value = value.split(":", 5)[-1]
        if service == "s3":
            return value.removeprefix("accesspoint/").partition("/")[0]
        cut = min((at for at in (value.find(":"), value.find("/")) if at >= 0), default=-1)
        value = value[cut + 1 :]
        if service == "secretsmanager":
            value = _SECRET_SUFFIX.sub("", value)
    return value.lstrip("/")


def _values(asked: Record, key: str) -> list[str]:
    value = asked.get(key)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _batched(asked: Record) -> int:
    """How many items a batch asks a table for: a list of requests, or their keys by table."""
    batch = asked.get("requestItems")
    batch = list(batch.values()) if isinstance(batch, dict) else batch
    keys = [walk(one, "keys") for one in batch] if isinstance(batch, list) else []
    return sum(len(each) if isinstance(each, list) else 1 for each in keys)


def _item_key(asked: Record) -> str:
    """The primary key of a table's item, whether its values are typed ({"S": "17"}) or plain."""
    key = asked.get("key")
    values = key.values() if isinstance(key, dict) else ()
    return "/".join(filter(None, (text(v) or text(v, "S") or text(v, "N") for v in values)))
