"""What the fields of an access event are called in other people's logs, and what their values look like."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from stream.checks import TIME_MS_MIN
from stream.decode._values import READERS
from stream.decode._verbs import verb

_TIMES: Final = ("rfc3339", "utc", "log", "milliseconds", "seconds", "microseconds", "nanoseconds")
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_METHODS: Final = {"GET": "read", "HEAD": "read", "POST": "write", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
_GOOD: Final = {"success", "succeeded", "successful", "ok", "true", "allow", "allowed", "granted", "pass", "passed"}
_BAD: Final = {"failure", "failed", "fail", "error", "false", "deny", "denied", "blocked", "rejected", "unauthorized"}
_KINDS: Final = {
    "customer": "customer", "employee": "employee", "staff": "employee", "service": "service", "partner": "partner",
    "service_account": "service", "bot": "service", "system": "service",
}  # fmt: skip
_YEAR_MS: Final = 31_536_000_000
_LATEST_MS: Final = 3_000_000_000_000  # 2065


def time_type(values: list[Any]) -> str:
    """The type of a mapping that reads most of the values as times; "" where none does."""
    for kind in _TIMES:
        if sum(_is_time(kind, value) for value in values) > 0.8 * len(values):
            return kind
    return ""


def _is_time(kind: str, value: Any) -> bool:
    made = READERS[kind](value)
    if isinstance(made, str):
        return _RFC3339.fullmatch(made) is not None
    if made is None or kind == "rfc3339":
        return False
    return TIME_MS_MIN + _YEAR_MS <= made < _LATEST_MS  # not in the first year that there may be: a counter is no time


def _address(value: Any) -> bool:
    try:
        ipaddress.ip_address(value if isinstance(value, str) else "")
    except ValueError:
        return False
    return True


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 256 and not _address(value) and not _is_time("rfc3339", value)


def _name(value: Any) -> bool:
    return (_text(value) and " " not in value.strip()) or (isinstance(value, int) and not isinstance(value, bool))


def _count(value: Any) -> bool:
    made = READERS["number"](value)
    return isinstance(value, list) or (isinstance(made, int | float) and made >= 0)


def _kind(value: str) -> str:
    return _KINDS.get(value.lower(), "")


def _action(value: str) -> str:
    return _METHODS.get(value.upper(), "") or verb(value[:256]) or ""


def _outcome(value: str) -> str:
    word = value.lower()
    if value.isdecimal() and len(value) == 3:
        return "failure" if value >= "400" else "success"
    return "success" if word in _GOOD else "failure" if word in _BAD else ""


@dataclass(frozen=True, slots=True)
class Rule:
    """How a field is told. names: words of a path, the likeliest first; never: words that speak against it."""

    field: str
    names: tuple[str, ...]
    like: Callable[[list[Any]], bool]  # whether all values together are
    never: tuple[str, ...] = ()
    code: Callable[[str], str] = lambda _value: ""
    default: str = ""
    by_value: bool = False  # the values alone are enough

    def score(self, path: str, values: list[Any]) -> float:
        """How much the path is like the field, 0 for not at all."""
        if not self.like(values):
            return 0.0
        words = [word.lower() for word in _WORD.findall(path.replace("\\.", "."))]
        if any(word in self.never for word in words):
            return 0.0
        called = max((self._called(word, words) for word in self.names), default=0.0)
        return called or (0.1 if self.by_value else 0.0)

    def _called(self, name: str, words: list[str]) -> float:
        """A name of one word or of several, worth most at the path's end and at the head of the list."""
        parts = name.split()
        for start in range(len(words) - len(parts), -1, -1):
            if words[start : start + len(parts)] == parts or "".join(parts) == words[start]:
                behind = len(words) - start - len(parts)
                return 1.0 + len(parts) + (1 - self.names.index(name) / len(self.names)) - 0.6 * min(behind, 2)
        return 0.0


def _of(field: str, names: str, like: Callable[[Any], bool], never: str = "", *, fit: float = 0.8, **more: Any) -> Rule:
    """A rule by a look at each value; fit: the share of them that must be like it."""
    return Rule(
        field, _apart(names), lambda values: sum(map(like, values)) >= fit * len(values), tuple(never.split()), **more
    )


def _apart(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(","))


# In the order in which they choose: the surest first.
RULES: Final = (
    Rule("time",
         _apart("timestamp, time, created at, occurred at, event time, date, ts, at, when, published, created"),
         lambda values: bool(time_type(values)),  # of one type, for a mapping names one
         ("expires", "expiry", "updated", "birth"), by_value=True),
    _of("source_ip", "client ip, source ip, remote ip, remote addr, src ip, ip address, ip, client address, address",
        _address, "dest destination dst server local forwarded target", by_value=True),
    _of("user_agent", "user agent, useragent, agent, ua, client", lambda value: isinstance(value, str) and "/" in value,
        "url uri path"),
    _of("credential", "session id, token id, credential id, api key id, access key id, session, jti, token, sid",
        _name, "type kind name"),
    _of("issuer", "issuer, iss, kid, identity provider, idp", _name),
    _of("account", "actor email, user email, user name, username, user id, userid, actor id, actor name, principal, "
        "account, actor, user, login, email, who, employee, operator", _name,
        "agent type kind ip role group target customer"),
    _of("account_kind", "user type, actor type, account type, account kind, user kind, actor kind",
        lambda value: bool(_kind(str(value))), code=_kind, default="unknown"),
    _of("action", "action, event name, event type, operation name, operation, op, event, method, verb, type",
        lambda value: bool(_action(str(value))), "object target user", code=_action, default="read", fit=0.3),
    _of("outcome", "outcome, result, success, status code, status, response code, http status, allowed, code",
        lambda value: bool(_outcome(str(value))), code=_outcome, default="success", fit=0.3),
    _of("records", "record count, row count, rows, records, items, count, hits, results", _count, "error retry id"),
    _of("bytes", "bytes sent, bytes out, response size, response bytes, bytes, size, content length, length",
        lambda value: _count(value) and not isinstance(value, list), "in request received"),
    _of("subject", "customer id, subject id, patient id, member id, customer, subject, patient, data subject, owner id",
        _name, "type"),
    _of("resource", "resource, endpoint, url path, path, url, uri, route, table, dataset, collection, bucket, service, "
        "application, object type, module", _text, "referer referrer id ip"),
    _of("object", "object id, record id, document id, file name, filename, object, file, document, item, target id",
        _name, "type kind"),
    _of("country", "country code, country", lambda value: re.fullmatch("[A-Za-z]{2}", str(value)) is not None),
    _of("asn", "asn, as number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    _of("group", "department, team, group, org unit", _text, "id"),
)  # fmt: skip
