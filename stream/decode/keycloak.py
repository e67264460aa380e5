"""Keycloak's user and admin events as JSON objects, as event listeners send them and the Admin API gives them.

Fields: time: time, epoch milliseconds. account: of a user event userId, else details.username, else the client; of an
admin event authDetails.userId; else the address. account_kind: service for CLIENT_LOGIN and service accounts, else
unknown: a realm's users may be customers or employees. credential: sessionId. issuer: the realm (realmName, realmId).
source_ip: ipAddress. action: of type: logins, a code or a refresh token exchanged and an impersonation are logins, what
is asked of a token's owner is read, profiles and passwords changed are written; admin events are admin. resource:
client:clientId, of an admin event the realm and resourceType. object: of an admin event resourcePath, of an
impersonation who impersonates. subject: of USER_INFO_REQUEST the user. outcome: a failure for an error, and for types
that end in _ERROR. id: id.
Cannot tell: user_agent, records and bytes (1 and 0); reads in the admin console are not logged, so nobody sees users
being listed; what an application did with the session. E-mails sent and required actions are not_an_access_event.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from stream.decode._json import peek
from stream.decode._shape import Text, Time, reader, single, utc
from stream.events import AccessEvent, Action, BadRecord

_WHO: Final = {"userId": Text, "clientId": Text, "ipAddress": Text, "realmId": Text, "realmName": Text}
_read = reader({
    **_WHO, "time": Time, "type": Text, "id": Text, "sessionId": Text, "error": Text, "authDetails": _WHO,
    "details": {"username": Text, "impersonator": Text},
    "operationType": Text, "resourceType": Text, "resourcePath": Text,
})  # fmt: skip

_TYPES: Final[dict[Action, str]] = {
    "login": "LOGIN CODE_TO_TOKEN CLIENT_LOGIN REFRESH_TOKEN TOKEN_EXCHANGE IDENTITY_PROVIDER_LOGIN"
             " IDENTITY_PROVIDER_FIRST_LOGIN IMPERSONATE PERMISSION_TOKEN OAUTH2_DEVICE_AUTH"
             " OAUTH2_DEVICE_CODE_TO_TOKEN AUTHREQID_TO_TOKEN",
    "logout": "LOGOUT", "read": "USER_INFO_REQUEST INTROSPECT_TOKEN VALIDATE_ACCESS_TOKEN",
    "write": "REGISTER UPDATE_PROFILE UPDATE_EMAIL UPDATE_PASSWORD UPDATE_TOTP UPDATE_CREDENTIAL RESET_PASSWORD"
             " VERIFY_EMAIL CLIENT_REGISTER CLIENT_UPDATE",
    "delete": "DELETE_ACCOUNT CLIENT_DELETE", "share": "GRANT_CONSENT UPDATE_CONSENT",
    "admin": "REVOKE_GRANT REMOVE_TOTP REMOVE_CREDENTIAL FEDERATED_IDENTITY_LINK REMOVE_FEDERATED_IDENTITY"
             " FEDERATED_IDENTITY_OVERRIDE_LINK USER_DISABLED_BY_TEMPORARY_LOCKOUT USER_DISABLED_BY_PERMANENT_LOCKOUT",
}  # fmt: skip
_ACTIONS: Final = {kind: action for action, kinds in _TYPES.items() for kind in kinds.split()}


@lru_cache(maxsize=512)
def _action(kind: str) -> Action:
    if action := _ACTIONS.get(kind.removesuffix("_ERROR")):
        return action
    raise BadRecord("not_an_access_event", f"type {kind[:60]!r} is none of access")


def _event(raw: bytes) -> AccessEvent:
    record = _read(raw)
    managed, said = record.operationType, record.details
    who = record.authDetails if managed else record
    kind, client, realm = record.type or "", who.clientId, record.realmName or record.realmId or ""
    if not managed and not kind:
        raise BadRecord("missing_field", "type or operationType: nothing says what was done")
    if not (account := who.userId or said.username or client or who.ipAddress):
        raise BadRecord("missing_field", "neither userId, username, clientId nor ipAddress: nobody is named")
    action = "admin" if managed else _action(kind[:64])
    service = kind.startswith("CLIENT_LOGIN") or (said.username or "").startswith("service-account-")
    return AccessEvent(
        time=utc(record.time, "time"), account=account, action=action, id=record.id, source_ip=who.ipAddress,
        resource=f"realm:{realm}:{record.resourceType or ''}" if managed else f"client:{client}" if client else realm,
        account_kind="service" if service else "unknown", credential=record.sessionId,
        issuer=realm, object=record.resourcePath if managed else said.impersonator,
        subject=account if kind == "USER_INFO_REQUEST" else "",
        outcome="failure" if record.error or kind.endswith("_ERROR") else "success",
    )  # fmt: skip


def matches(record: bytes) -> bool:
    """Whether it is of a realm, and says as user or admin events do what happened."""
    loaded = peek(record)
    return "realmId" in loaded and ({"type", "time"} <= loaded.keys() or "operationType" in loaded)


FORMAT = single("keycloak", matches, _event)
