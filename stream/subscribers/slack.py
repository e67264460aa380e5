"""Slack's incoming webhooks, and what takes the same body (Mattermost, Rocket.Chat, Discord under /slack).

Such a URL is a secret itself: whoever has it can write to the channel. Names in alerts are chosen by whoever sent the
requests, so `&`, `<` and `>` are escaped as Slack asks, or a name could call a channel or hide a link.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from detectors.base import size
from stream.alerts import Alert
from stream.config import Config
from stream.console import clean
from stream.subscribers import Kind
from stream.subscribers._http import HttpSender, HttpSettings, Request
from stream.subscribers._secret import Origin, secret

MARKS: Final = {"critical": "🟥", "high": "🟧", "medium": "🟨", "low": "🟦"}
WORDS: Final = {"open": "", "update": " · update", "closed": " · closed"}
TEXT_MAX: Final = 2_800  # a section holds 3,000 characters


class Settings(HttpSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the secret URL is."""

    url_from: Origin


def sender(settings: Settings, _config: Config) -> HttpSender:
    """A sender of messages."""

    def request(alert: Alert) -> Request:
        return Request(secret(settings.url_from, "url_from"), orjson.dumps(message(alert)))

    return HttpSender(settings, request)


def message(alert: Alert) -> dict[str, Any]:
    """The message that tells of an alert."""
    head = f"{MARKS[alert.severity]} *{_safe(alert.title, 200)}*{WORDS[alert.status]}"
    impact = alert.impact
    foot = (
        f"{alert.severity} · {alert.score_bits:g} bits · {impact.records:,} records ({size(impact.bytes)}) of "
        f"{impact.subjects:,} people · {', '.join(alert.detectors)} · `{alert.id}` revision {alert.revision}"
    )
    if alert.runbook:
        foot += f" · <{_safe(alert.runbook, 500)}|runbook>"
    body = _safe(alert.summary, TEXT_MAX)
    return {
        "text": f"{alert.severity}: {_safe(alert.title, 200)}",  # where blocks are not shown: notifications
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": f"{head}\n{body}"[: TEXT_MAX + 199]}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": foot}]},
        ],
    }


def _safe(text: str, width: int) -> str:
    """On one line, without what Slack would act on.

    >>> _safe("<!channel> a&b", 99)
    '&lt;!channel&gt; a&amp;b'
    """
    return clean(text, width).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


KIND: Final = Kind(Settings, sender)
