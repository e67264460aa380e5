"""Google Workspace audit activities (Admin SDK Reports API): one activity a record, with one or several events in it.

Fields: time: id.time. account: actor.email, else actor.key or actor.profileId, else the address. account_kind: service
for a key or a service account, else employee. source_ip: ipAddress. action: by id.applicationName and the event's name:
views are read, downloads, copies, prints and takeouts exported, changes of who may see something are shared, what
administrators do is admin. resource: drive:shared drive or owner, calendar:id, else the application. object: doc_id,
an e-mail's message id, or what the parameters name otherwise. subject: of what is read or exported, resource/object,
each document for one. bytes: num_response_bytes of an application's use of an API. credential: client_id of an
application that uses a person's token. issuer: of a login its login_type, of such a token "oauth". outcome: a failure
for login_failure and its like. id: uniqueQualifier, with the event's number from the second on.
Cannot tell: user_agent, records (1): a view of a document is not a count of what it holds; the session of a person.
A synchronised folder is downloaded without a word where the desktop client does it. Alerts, devices, e-mail that was
delivered and challenges are not_an_access_event. An event that lies in the activity itself is read too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from stream.decode._json import number, peek, walk
from stream.decode._shape import Text, Time, about, mostly_single, reader, utc
from stream.decode._verbs import verb
from stream.events import AccessEvent, Action, BadRecord

_EVENT: Final = {"type": Text, "name": Text, "parameters": [{"name": Text, "value": Text, "intValue": Text}]}
_read = reader({
    "id": {"time": Time, "uniqueQualifier": Text, "applicationName": Text}, "ipAddress": Text, "events": [_EVENT],
    "actor": {"email": Text, "profileId": Text, "callerType": Text, "key": Text}, **_EVENT,
})  # fmt: skip

_NAMES: Final[dict[str, Action]] = {
    "view": "read", "preview": "read", "copy": "export", "download": "export", "print": "export", "export": "export",
    "source_copy": "export", "sheets_import_range": "export", "login_success": "login", "login_failure": "login",
    "suspicious_login": "login", "risky_sensitive_action_allowed": "login", "logout": "logout", "authorize": "login",
    "activity": "read", "edit": "write", "create": "write", "upload": "write", "rename": "write", "move": "write",
    "delete": "delete", "trash": "delete", "untrash": "write", "email_forwarding_out_of_domain": "share",
    "revoke": "admin", "send": "write",
}  # fmt: skip
_SHARES: Final = ("change_user_access", "change_document", "change_acl", "change_calendar_acls", "change_owner",
                  "shared_drive_membership", "team_drive_membership", "publish", "create_shared_link")  # fmt: skip
_DATA_APPS: Final = {"drive", "gmail", "calendar", "chat", "keep", "meet", "data_studio", "groups", "takeout", "vault"}
_LOGIN_APPS: Final = {"login", "saml", "token", "logout"}
_ADMIN_APPS: Final = {"admin", "user_accounts", "groups_enterprise", "context_aware_access"}
_OBJECTS: Final = ("doc_id", "message_id", "event_id", "calendar_id", "USER_EMAIL", "GROUP_EMAIL", "app_name",
                   "application_name", "target_user", "SETTING_NAME")  # fmt: skip
_FOLDERS: Final = ("shared_drive_id", "team_drive_id", "owner", "calendar_id")
_UNLOGGED: Final = {"login_challenge", "login_verification", "delivery", "gov_attack_warning"}
_FAILED: Final = {"login_failure", "suspicious_login", "account_disabled_password_leak"}


@lru_cache(maxsize=4096)
def _action(app: str, kind: str, name: str) -> Action:
    """What an event of that application, type and name does; raises BadRecord for what is no access."""
    if "takeout" in name.lower() or (app == "admin" and "DOWNLOAD" in name) or (app == "vault" and "export" in name):
        return "export"
    if name.startswith(_SHARES) or kind == "acl_change":
        return "share"
    if app in _ADMIN_APPS and name not in _NAMES:
        return "admin"
    if name not in _UNLOGGED and app in _DATA_APPS | _LOGIN_APPS | _ADMIN_APPS:
        action = _NAMES.get(name) or (verb(name) if app in _DATA_APPS else None)
        if action:
            return action
    raise BadRecord("not_an_access_event", f"{app[:40]} {name[:60]}: none of access")


def decode(record: bytes) -> list[AccessEvent]:
    """The events, in which what is no access is passed over; raises BadRecord."""
    loaded = _read(record)
    if len(loaded.events) < 2:
        return [_event(loaded, loaded.events[0] if loaded.events else loaded, "")]
    events = []
    skipped = None
    for place, each in enumerate(loaded.events):
        try:
            events.append(_event(loaded, each, f":{place}" if place else ""))
        except BadRecord as why:
            if why.reason != "not_an_access_event":
                raise
            skipped = why
    if skipped and not events:
        raise skipped
    return events


def _event(record: Any, each: Any, place: str) -> AccessEvent:
    app, name, actor = record.id.applicationName or "", (each.name or "").strip(), record.actor
    if not app or not name:
        raise BadRecord("missing_field", "id.applicationName or the event's name: nothing says what was done")
    action = _action(app[:64], (each.type or "")[:64], name[:128])
    asked = {one.name: one.value or one.intValue for one in each.parameters}
    account = actor.email or actor.key or actor.profileId or record.ipAddress
    if not account:
        raise BadRecord("missing_field", "neither actor.email, actor.profileId nor ipAddress: nobody is named")
    folder = next(filter(None, map(asked.get, _FOLDERS)), "")
    named = next(filter(None, map(asked.get, _OBJECTS)), "")
    resource = f"{app}:{folder}" if folder else app
    client = asked.get("client_id") if app == "token" else ""
    qualifier = record.id.uniqueQualifier
    return AccessEvent(
        account=account, action=action, resource=resource, object=named, source_ip=record.ipAddress, credential=client,
        time=utc(record.id.time, "id.time"),
        id=f"{qualifier}{place}" if qualifier else "",
        account_kind="service" if actor.key or account.endswith("gserviceaccount.com") else "employee",
        issuer="oauth" if client else asked.get("login_type") if action == "login" else "",
        subject=about(resource, named) if action in ("read", "export") else "",
        bytes=number(sent) if (sent := asked.get("num_response_bytes")) else 0,
        outcome="failure" if name in _FAILED else "success",
    )  # fmt: skip


def matches(record: bytes) -> bool:
    """Whether it names an application's activity and who acted."""
    loaded = peek(record)
    return isinstance(walk(loaded, "id", "applicationName"), str) and isinstance(loaded.get("actor"), dict)


FORMAT = mostly_single("google_workspace", matches, decode)
