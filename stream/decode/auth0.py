"""Auth0 tenant logs: events of logins, tokens and the Management API, bare or in a log stream's {"log_id", "data"}.

Fields: time: date. account: user_id, else user_name; of the Management API details.request.auth.user; else client_id,
else the address. account_kind: service where only a client acts, else unknown: users may be customers or employees.
credential: of the Management API the token's id (credentials.jti), else session_id in the details. issuer: hostname or
tenant_name. source_ip: ip. country: location_info.country_code. user_agent. action: of type: logins and exchanges for a
token are logins, "slo" is a logout; of the Management API of the request's method and path, where exports of users are
exports. resource: the API's path with users and other identifiers folded (as in `accesslog`), else app:client_name or
client_id. object: the path. subject: the user or the identifier in a path that is read, where there is one. outcome: a
failure for types that begin with "f", blocked and leaked passwords, and a status from 400 on. id: log_id.
Cannot tell: records and bytes (1 and 0); what an application showed to a user; the session that a login made, where the
details do not name it. Codes and e-mails sent, warnings and limits are not_an_access_event.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

from stream.decode._json import peek
from stream.decode._shape import Count, Text, Time, reader, single, utc
from stream.decode.accesslog import request
from stream.events import AccessEvent, Action, BadRecord

_LOG: Final[dict[str, Any]] = {
    "type": Text, "date": Time, "log_id": Text, "ip": Text, "user_id": Text, "user_name": Text, "client_id": Text,
    "client_name": Text, "hostname": Text, "tenant_name": Text, "user_agent": Text,
    "location_info": {"country_code": Text},
    "details": {"session_id": Text, "response": {"statusCode": Count},
                "request": {"method": Text, "path": Text,
                            "auth": {"user": {"user_id": Text, "email": Text}, "credentials": {"jti": Text}}}},
}  # fmt: skip
_read = reader({**_LOG, "data": _LOG})

_USER: Final = re.compile(r"/api/v2/users/([^/?]+)([^?]*)")
_API: Final = {"sapi", "fapi", "mgmt_api_read", "admin_update_launch"}
_TYPES: Final[dict[Action, str]] = {
    "login": "s f fp fu fc fco fcoa ssa fsa sens fens w pwd_leak limit_wc limit_mu gd_auth_succeed gd_auth_failed"
             " gd_auth_rejected seacft feacft seccft feccft sepft fepft sertft fertft sedeccft fedeccft seoobft feoobft"
             " seotpft feotpft sercft fercft scoa ferrt sede fede ss_sso_success ss_sso_failure si sd fd slosuc",
    "logout": "slo flo oidc_backchannel_logout_succeeded",
    "write": "ss fs scp fcp sce fce scu fcu scpn fcpn scpr fcpr sv fv svr fvr signup_pwd_leak gd_enrollment_complete"
             " ublkdu",
    "delete": "du sdu fdu", "admin": "gd_unenroll gd_user_delete gd_update_device_account gd_tenant_update srrt",
}  # fmt: skip
_ACTIONS: Final = {kind: action for action, kinds in _TYPES.items() for kind in kinds.split()}
_FAILURES: Final = {"pwd_leak", "limit_wc", "limit_mu", "signup_pwd_leak", "gd_auth_failed", "gd_auth_rejected",
                    "ss_sso_failure"}  # fmt: skip


@lru_cache(maxsize=512)
def _action(kind: str) -> Action:
    if action := _ACTIONS.get(kind):
        return action
    raise BadRecord("not_an_access_event", f"type {kind[:40]!r} is none of access")


def _event(raw: bytes) -> AccessEvent:
    record = _read(raw)
    outer = record.log_id
    if record.data.type:
        record = record.data
    kind, asked = record.type, record.details.request
    if not kind:
        raise BadRecord("missing_field", "type: nothing says what was done")
    person = record.user_id or record.user_name or asked.auth.user.user_id or asked.auth.user.email
    if not (account := person or record.client_id or record.ip):
        raise BadRecord("missing_field", "neither user_id, user_name, client_id nor ip: nobody is named")
    app, status = record.client_name or record.client_id, record.details.response.statusCode or 0
    named = subject = ""
    if kind in _API:
        if not asked.path:
            raise BadRecord("missing_field", "details.request.path: nothing says what was called")
        action, resource, named, subject = request(f"{(asked.method or 'GET').upper()} {asked.path}")
        if found := _USER.match(asked.path):
            resource, subject = f"/api/v2/users/{{id}}{found[2]}", unquote(found[1])
        elif "users-exports" in resource:
            action = "export"
    else:
        action, resource = _action(kind[:64]), f"app:{app}" if app else "auth0"
    return AccessEvent(
        time=utc(record.date, "date"), account=account, action=action, resource=resource, object=named,
        id=record.log_id or outer, account_kind="unknown" if person or account == record.ip else "service",
        credential=asked.auth.credentials.jti if kind in _API else record.details.session_id,
        issuer=record.hostname or record.tenant_name,
        source_ip=record.ip, country=record.location_info.country_code, user_agent=record.user_agent,
        subject=subject if action in ("read", "export") else "",
        outcome="failure" if (kind[0] == "f" or kind in _FAILURES or status >= 400) else "success",
    )  # fmt: skip


def matches(record: bytes) -> bool:
    """Whether it, or the data in it, has a type, a date and a number of the log."""
    loaded = peek(record)
    inner = loaded.get("data")
    log = inner if isinstance(inner, dict) else loaded
    return {"type", "date"} <= log.keys() and ("log_id" in log or "log_id" in loaded)


FORMAT = single("auth0", matches, _event)
