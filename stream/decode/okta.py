"""Okta's System Log: one event a record, as the API and its log streams deliver it.

Fields: time: published; UTC where no zone is written. account: actor.alternateId (a login name), else actor.id, else
the address; of an impersonation the one who impersonates. account_kind: service for actors that are no User; whether a
user is an employee or a customer the log does not say. credential: authenticationContext.externalSessionId, which the
session's start carries too, else transaction.detail.requestApiTokenId. issuer: authenticationContext.issuer.id, else
"okta" for sessions. source_ip: client.ipAddress. asn: securityContext.asNumber. user_agent: client.userAgent.
action: of eventType: a session's start, an authentication and a token granted are logins, a session's end is a logout;
reports that are downloaded are exports, a password that is shown is read, granted access is shared, and the rest of
what is done to users, groups, applications and policies is admin. resource: the application or else the type of the
first target, "okta" where there is none. object: the target's alternateId or id. subject: of what is read or exported,
the user among the targets, else resource/object. outcome: a failure for FAILURE, DENY and a rate limit. id: uuid.
Cannot tell: records and bytes (1 and 0): Okta knows who was let into an application, not what was read there. The
country is a name and not a code, so it is left to the address. The token that an application got.
Evaluations of a policy, challenges, rate limits and what Okta does by itself are not_an_access_event.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from stream.decode._json import peek
from stream.decode._shape import Count, Text, Time, about, reader, single, utc
from stream.events import AccessEvent, Action, BadRecord

_LOGINS: Final = ("user.session.start", "user.authentication.", "app.oauth2.token.grant", "app.oauth2.as.token.grant",
                  "user.session.impersonation.initiate", "app.oauth2.authorize", "app.oauth2.as.authorize",
                  "app.generic.unauth_app_access_attempt", "user.session.access_admin_app")  # fmt: skip
_LOGOUTS: Final = ("user.session.end", "user.session.impersonation.end", "user.authentication.slo")
_EXPORTS: Final = ("analytics.reports.export", "analytics.feedback.export", "system.csv.export", "support.org.export")
_READS: Final = ("application.user_membership.show_password", "app.access_request.report")
_SHARES: Final = ("application.user_membership.add", "group.application_assignment.add")
_ADMIN: Final = ("user.", "group.", "application.", "app.", "policy.", "system.", "zone.", "iam.", "device.", "org.",
                 "core.", "oauth2.", "support.", "event_hook.", "inline_hook.", "workflow.", "access.")  # fmt: skip
_OTHERS: Final = ("policy.evaluate_sign_on", "rate_limit", "security.", "system.agent.", "system.import.", "user.risk.",
                  "system.sms.", "system.email.", "system.voice.", "system.push.", "app.realtimesync", "app.ad.",
                  "app.ldap.", "app.inbound")  # fmt: skip
_FAILURES: Final = ("FAILURE", "DENY", "RATE_LIMIT")
_NONE: Final = ("unknown", "", None)


_ENTITY: Final = {"id": Text, "type": Text, "alternateId": Text}
_read = reader({
    "eventType": str, "uuid": Text, "published": Time, "actor": _ENTITY, "target": [_ENTITY],
    "client": {"ipAddress": Text, "userAgent": {"rawUserAgent": Text}},
    "authenticationContext": {"externalSessionId": Text, "issuer": {"id": Text}}, "outcome": {"result": Text},
    "securityContext": {"asNumber": Count}, "transaction": {"detail": {"requestApiTokenId": Text}},
})  # fmt: skip


@lru_cache(maxsize=4096)
def _action(event: str) -> Action:
    if any(part in event for part in _OTHERS):
        raise BadRecord("not_an_access_event", f"eventType {event[:60]!r} is none of access")
    table: tuple[tuple[Action, tuple[str, ...]], ...] = (
        ("logout", _LOGOUTS), ("login", _LOGINS), ("export", _EXPORTS), ("read", _READS), ("share", _SHARES),
        ("admin", _ADMIN),
    )  # fmt: skip
    for action, prefixes in table:
        if event.startswith(prefixes):
            return action
    raise BadRecord("not_an_access_event", f"eventType {event[:60]!r} is not known")


def _event(raw: bytes) -> AccessEvent:
    record = _read(raw)
    actor, source, context = record.actor, record.client.ipAddress, record.authenticationContext
    account = actor.id if actor.alternateId in _NONE else actor.alternateId
    if not (account := account or source):
        raise BadRecord("missing_field", "neither actor.alternateId, actor.id nor client.ipAddress: nobody is named")
    action = _action(record.eventType)
    session, issuer = context.externalSessionId, context.issuer.id
    if session in _NONE:
        session = record.transaction.detail.requestApiTokenId
    elif not issuer:
        issuer = "okta"
    resource, named, user = "okta", "", ""
    for target in record.target:
        name = target.alternateId or target.id or ""
        if target.type == "User":
            user = user or name
        if target.type == "AppInstance":
            resource, named = f"app:{name}", name
        elif resource == "okta" and target.type:
            resource, named = target.type, name
    return AccessEvent(
        time=utc(record.published, "published"),
        account=account,
        action=action,
        resource=resource,
        id=record.uuid,
        account_kind="unknown" if actor.type in ("User", None) else "service",
        credential=session,
        issuer=issuer,
        source_ip=source,
        asn=record.securityContext.asNumber,
        user_agent=record.client.userAgent.rawUserAgent,
        object=named,
        subject=(user or about(resource, named)) if action in ("read", "export") else "",
        outcome="failure" if record.outcome.result in _FAILURES else "success",
    )


def matches(record: bytes) -> bool:
    """Whether it names an event's type, an actor and when it was published."""
    return {"eventtype", "actor", "published", "uuid"} <= {key.lower() for key in peek(record)}


FORMAT = single("okta", matches, _event)
