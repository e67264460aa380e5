"""Each kind of subscriber over a real socket, against a server that fails, stalls, is busy and comes back."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import ssl
from collections.abc import Callable, Sequence
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from stream.alerts import Alert, EntityRef
from stream.config import Config
from stream.delivery.courier import Courier, Tally
from stream.errors import UsageError
from stream.subscribers import Failed, kinds, make, settings_by_kind
from stream.subscribers._secret import check_secrets
from tests.delivery.servers import RESET, STALL, Heard, http_server, smtp_server
from tests.pages import alert

SECRET = "s3cret-of-the-subscriber"
TROUBLE = (500, STALL, 429, RESET, 401, 503)
REVISIONS = [alert(revision=n, status=s) for n, s in enumerate(("open", "update", "closed"), 1)]


class Given:
    """A log of alerts that are all there."""

    def __init__(self, alerts: Sequence[Alert]) -> None:
        self._alerts = list(alerts)
        self.places: list[int] = []

    @property
    def waiting(self) -> int:
        return len(self._alerts) - len(self.places)

    async def next(self) -> tuple[int, Alert] | None:
        taken = len(self.places)
        return (taken, self._alerts[taken]) if taken < len(self._alerts) else None

    async def done(self, place: int) -> None:
        self.places.append(place)


@pytest.fixture
def secret_from(tmp_path: Path) -> str:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return f"file:{path}"


def settings(kind: str, heard: Heard, secret_from: str, **more: Any) -> Any:
    """What a configuration would say of a subscriber that is at `heard`."""
    own: dict[str, dict[str, Any]] = {
        "webhook": {"url": heard.url + "/hook", "secret_from": secret_from},
        "slack": {"url_from": secret_from},
        "pagerduty": {"url": heard.url + "/v2/enqueue", "routing_key_from": secret_from},
        "alertmanager": {"url": heard.url, "token_from": secret_from},
        "splunk_hec": {"url": heard.url, "token_from": secret_from},
        "email": {"host": "127.0.0.1", "port": heard.port, "security": "none", "sent_from": "tripline@example.com",
                  "sent_to": ("soc@example.com",)},
    }  # fmt: skip
    if kind == "slack":
        Path(secret_from.removeprefix("file:")).write_text(f"{heard.url}/services/{SECRET}")
    given = {"name": "soc", "kind": kind, "timeout_s": 10.0, "retry_first_s": 0.01, "retry_max_s": 0.02}
    return msgspec.convert(given | own[kind] | more, settings_by_kind()[kind])


async def delivered(given: Any, alerts: Sequence[Alert]) -> Tally:
    """Deliver; the places are kept for all, in order."""
    log = Given(alerts)
    courier = Courier(given, make(given, Config()), log)
    async with asyncio.timeout(60):
        await courier.run()
    assert log.places == list(range(len(alerts)))
    return courier.tally


def heard_by(kind: str, secret_from: str, steps: Sequence[int | str], alerts: Sequence[Alert]) -> tuple[Heard, Tally]:
    """What a server of this kind hears."""
    server = smtp_server if kind == "email" else http_server

    stalls = {"timeout_s": 0.5} if STALL in steps else {}

    async def play() -> tuple[Heard, Tally]:
        async with server(steps) as heard:
            return heard, await delivered(settings(kind, heard, secret_from, **stalls), alerts)

    return asyncio.run(play())


NETWORKED = ("webhook", "slack", "pagerduty", "alertmanager", "splunk_hec", "email")


@pytest.mark.parametrize("kind", NETWORKED)
def test_every_alert_arrives_whatever_happens_before(
    kind: str, secret_from: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In order; nothing that identifies anybody, and no secret, is in the log. More than once where time runs out."""
    steps = (450, STALL, RESET, 421) if kind == "email" else TROUBLE
    with caplog.at_level(logging.DEBUG):
        heard, tally = heard_by(kind, secret_from, steps, REVISIONS)
    assert len(heard.accepted) >= 3
    assert heard.asked >= 3 + len(steps)
    assert tally.results == {"delivered": 3}
    assert sum(tally.failures.values()) >= len(steps)
    said = "\n".join(record.getMessage() for record in caplog.records if record.name == "tripline")
    assert "soc" in said
    for hidden in ("ann", SECRET, "identity-in-an-answer", str(heard.port)):
        assert hidden not in said


@pytest.mark.parametrize(("kind", "status"), [("webhook", 422), ("email", 554)])
def test_an_alert_that_is_refused_for_good_does_not_hold_up_the_next(kind: str, status: int, secret_from: str) -> None:
    heard, tally = heard_by(kind, secret_from, (status,), REVISIONS)
    assert len(heard.accepted) == 2
    assert tally.results == {"refused": 1, "delivered": 2}


def test_a_webhook_can_be_verified_and_its_repeats_told(secret_from: str) -> None:
    """As Standard Webhooks has it, with nothing of ours but the secret."""
    heard, _ = heard_by("webhook", secret_from, (), REVISIONS[:2])
    for posted, given in zip(heard.accepted, REVISIONS, strict=False):
        content = f"{posted.headers['webhook-id']}.{posted.headers['webhook-timestamp']}.".encode() + posted.body
        digest = base64.b64encode(hmac.new(SECRET.encode(), content, hashlib.sha256).digest()).decode()
        assert posted.headers["webhook-signature"] == f"v1,{digest}"
        assert posted.headers["Idempotency-Key"] == posted.headers["webhook-id"] == f"tl-1.{given.revision}"
        assert msgspec.json.decode(posted.body, type=Alert) == given


def test_pagerduty_is_triggered_and_resolved_under_one_key(secret_from: str) -> None:
    heard, _ = heard_by("pagerduty", secret_from, (), REVISIONS)
    events = [orjson.loads(posted.body) for posted in heard.accepted]
    assert [event["event_action"] for event in events] == ["trigger", "trigger", "resolve"]
    assert {event["dedup_key"] for event in events} == {"tl-1"}
    assert {event["routing_key"] for event in events} == {SECRET}
    assert events[0]["payload"]["severity"] == "error"


def test_slack_is_not_made_to_call_a_channel_or_to_hide_a_link(secret_from: str) -> None:
    hostile = alert("<!channel> <https://evil.example|here>", runbook="https://runbook.example/")
    heard, _ = heard_by("slack", secret_from, (), [hostile])
    text = heard.accepted[0].body.decode()
    assert "<!" not in text
    assert "<https://evil" not in text
    assert "&lt;!channel&gt;" in text
    assert "<https://runbook.example/|runbook>" in text


def test_splunk_gets_an_event_at_the_time_of_its_evidence(secret_from: str) -> None:
    heard, _ = heard_by("splunk_hec", secret_from, (), REVISIONS[:1])
    (posted,) = heard.accepted
    event = orjson.loads(posted.body)
    assert (posted.path, posted.headers["Authorization"]) == ("/services/collector/event", f"Splunk {SECRET}")
    assert event["time"] == 1_735_693_200.0
    assert event["event"]["id"] == "tl-1"


def test_mail_of_one_alert_is_one_thread_and_a_name_adds_no_header(secret_from: str) -> None:
    told = [alert("ann\nBcc: all@example.com", revision=n, title="x\nBcc: all@example.com") for n in (1, 2)]
    heard, _ = heard_by("email", secret_from, (), told)
    first, second = (message_from_bytes(raw.removesuffix(b".\r\n"), policy=default) for raw in heard.accepted)
    assert (first["Message-ID"], second["In-Reply-To"]) == ("<tl-1.1@example.com>", "<tl-1.1@example.com>")
    assert first["Bcc"] is None
    assert first["Subject"] == "[high] x?Bcc: all@example.com"


def test_a_file_has_a_line_for_each_and_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "alerts.jsonl"
    given = kinds()["file"].settings(name="f", kind="file", path=str(path), format="ecs")
    asyncio.run(delivered(given, REVISIONS))
    assert [orjson.loads(line)["tripline"]["revision"] for line in path.read_bytes().splitlines()] == [1, 2, 3]
    assert path.stat().st_mode & 0o007 == 0


def test_certificates_are_verified(secret_from: str, tmp_path: Path, certificate: Callable[[Path], Path]) -> None:
    """A server that nobody vouches for is told nothing; with its certificate named it is."""
    path = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)

    async def play() -> None:
        async with http_server(tls=context) as heard:
            url = f"https://127.0.0.1:{heard.port}/"
            stranger = settings("webhook", heard, secret_from, url=url)
            with pytest.raises(Failed, match=r"^tls"):
                await attempt(stranger)
            assert heard.asked == 0
            await attempt(settings("webhook", heard, secret_from, url=url, ssl_ca_file=str(path)))
            assert len(heard.accepted) == 1

    asyncio.run(play())


async def attempt(given: Any) -> None:
    sender = make(given, Config())
    try:
        await sender.send(REVISIONS[0])
    finally:
        await sender.close()


def test_a_redirect_is_not_followed(secret_from: str) -> None:
    async def play() -> Heard:
        async with http_server((302,)) as heard:
            with pytest.raises(Failed, match="unexpected"):
                await attempt(settings("webhook", heard, secret_from))
            return heard

    assert asyncio.run(play()).asked == 1


@pytest.mark.parametrize("kind", ["webhook", "email"])
def test_alerts_are_not_sent_in_the_clear_to_another_host(kind: str, secret_from: str) -> None:
    more = {"url": "http://siem.example/"} if kind == "webhook" else {"host": "mail.example"}
    given = settings(kind, Heard(port=25), secret_from, **more)
    with pytest.raises(UsageError, match="in the clear"):
        make(given, Config())
    make(msgspec.structs.replace(given, plaintext_allowed=True), Config())


def test_what_cannot_be_had_of_a_secret_is_said_and_the_secret_is_not(secret_from: str) -> None:
    given = settings("webhook", Heard(port=9), secret_from)
    assert list(check_secrets(given)) == []
    assert SECRET not in repr(given)
    Path(secret_from.removeprefix("file:")).chmod(0o644)
    (said,) = check_secrets(given)
    assert "chmod o-r" in said
    assert SECRET not in said
    with pytest.raises(Failed, match=r"^secret"):
        asyncio.run(attempt(given))


def test_an_address_that_is_a_token_is_a_text_to_all(secret_from: str) -> None:
    """Nothing but names of their own choosing are needed of an alert."""
    odd = alert("\u202e\x00", entity=EntityRef("fleet", "fleet"), related=(), evidence=(), techniques=(), detectors=())
    for kind in NETWORKED:
        heard, _ = heard_by(kind, secret_from, (), [odd])
        assert len(heard.accepted) == 1
