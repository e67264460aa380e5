"""GitHub's audit log of organisations and enterprises, as the API, its export and its streams write it.

Fields: time: @timestamp, else created_at. account: actor, else actor_id, a deploy key, or the address. account_kind:
service for a bot, otherwise unknown, for outsiders use public repositories. credential: hashed_token (a digest, not the
token), else token_id or the deploy key. issuer: programmatic_access_type, the kind of token. source_ip: actor_ip.
country: actor_location.country_code. user_agent. action: of action: git.clone and git.fetch are both read: GitHub
writes git.clone for fetches and pulls too, so a copy of everything and a morning's update look the same; git.push is
written; a repository or the log downloaded is exported; what opens a repository to others (members, visibility,
transfers, deploy keys) is shared; other changes are admin. resource: repo (owner/name), else org:name or
business:name. object: of a repository its name, else user or team. subject: of what is read or exported the resource.
outcome: a failure where the action says so (user.failed_login). id: _document_id.
Cannot tell: records (1) and bytes (0): a clone is one event whatever its size; what was refused; source_ip where the
organisation has not turned on addresses; reading files in a browser is not logged at all.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from stream.decode._json import peek
from stream.decode._shape import Flag, Text, Time, reader, single, utc
from stream.events import AccessEvent, Action, BadRecord

_read = reader({
    "action": str, "@timestamp": Time, "created_at": Time, "at_sign_timestamp": Time, "actor": Text, "actor_id": Time,
    "actor_ip": Text, "actor_is_bot": Flag, "actor_location": {"country_code": Text}, "_document_id": Text,
    "hashed_token": Text, "token_id": Time, "programmatic_access_type": Text, "deploy_key_fingerprint": Text,
    "repo": Text, "repository": Text, "org": Text, "business": Text, "user": Text, "team": Text, "user_agent": Text,
    "visibility": Text,
})  # fmt: skip

# In the order they are tried.
_ACTIONS: Final[tuple[tuple[Action, re.Pattern[str]], ...]] = (
    ("login", re.compile(r"(?:\w+\.)?(?:failed_)?login\Z|org\.sso_response|business\.sso_response|user\.sign_in|"
                         r"org_credential_authorization\.grant|personal_access_token\.access_granted")),
    ("logout", re.compile(r"user\.(?:logout|sign_out)")), ("read", re.compile(r"git\.(?:clone|fetch)\Z")),
    ("write", re.compile(r"git\.push\Z|pull_request\.|issue|workflows?\.|checks\.|discussion|repo\.create\Z")),
    ("export", re.compile(r"repo\.download_zip|\w+\.(?:audit_log|\w*export)\w*|migration\.|\w+\.download")),
    ("share", re.compile(r"repo\.(?:add_member|access|transfer|create_deploy_key)|public_key\.create|"
                         r"team\.add_repository|repo\.(?:update_member|actions_enabled)|private_repository_forking\.enable|gist\.\w*public")),
    ("delete", re.compile(r"repo\.destroy\Z")), ("admin", re.compile(r"\w+\.\w+")),
)  # fmt: skip


@lru_cache(maxsize=4096)
def _action(action: str) -> Action:
    for does, known in _ACTIONS:
        if known.match(action):
            return does
    raise BadRecord("not_an_access_event", f"action {action[:60]!r} is not of the audit log: category.what")


def _event(raw: bytes) -> AccessEvent:
    record = _read(raw)
    account = record.actor or record.deploy_key_fingerprint or record.actor_ip
    if not account and record.actor_id:
        account = str(record.actor_id)
    if not account:
        raise BadRecord("missing_field", "neither actor, actor_id nor actor_ip: nobody is named")
    action, repo = _action(record.action[:128]), record.repo or record.repository
    resource = repo or (record.org and f"org:{record.org}") or (record.business and f"business:{record.business}")
    key = record.hashed_token or (str(record.token_id) if record.token_id else record.deploy_key_fingerprint)
    at = record.timestamp or record.created_at or record.at_sign_timestamp
    return AccessEvent(
        time=utc(at, "@timestamp"), account=account, action=action, resource=resource or "github",
        id=record._document_id, credential=key, issuer=record.programmatic_access_type if key else "",
        account_kind="service" if record.actor_is_bot or account.endswith("[bot]") else "unknown",
        source_ip=record.actor_ip, country=record.actor_location.country_code, user_agent=record.user_agent,
        object=repo or record.user or record.team, subject=resource if action in ("read", "export") else "",
        outcome="failure" if "failed" in record.action else "success",
    )  # fmt: skip


def matches(record: bytes) -> bool:
    """Whether it names an action and an actor as the audit log does, and an organisation, enterprise or repository."""
    loaded = peek(record)
    return isinstance(loaded.get("action"), str) and "actor" in loaded and not _PLACES.isdisjoint(loaded)


_PLACES: Final = {"org", "business", "repo", "repository", "actor_location", "_document_id", "org_id"}
FORMAT = single("github_audit", matches, _event)
