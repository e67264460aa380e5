"""What is said of alerts by webhook: heard once from whoever has the secret, and from nobody else."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import feedback, feedback_webhook
from stream.alerts import Alert, EntityRef
from stream.config import Config, Respond, Worker
from stream.errors import TriplineError, UsageError
from stream.feedback import Entry, Mute, sealed
from stream.feedback_webhook import BODY_BYTES_MAX, SKEW_MAX_S, Webhook
from stream.metrics.serve import listen
from stream.subscribers.webhook import sign
from tests import pages
from tests.kafka.node import free_ports

KEY, NOW_S = "whsec_c2VjcmV0", 1_760_000_000
ALERT = pages.alert()
SAID = {"alert": ALERT.id, "verdict": "false", "who": "ann@soc", "note": "the monthly export"}


class Log:
    """A log of feedback, and the one alert that was told."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.gone = ""  # why it cannot be had

    def find(self, alert_id: str) -> Alert:
        if alert_id != ALERT.id:
            raise UsageError(f"alert {alert_id}: there is none")
        return ALERT

    def load(self) -> list[Entry]:
        if self.gone:
            raise TriplineError(self.gone)
        return list(self.entries)

    def append(self, entry: Entry) -> Entry:
        self.entries.append(sealed(entry, self.entries))
        return self.entries[-1]


def webhook(log: Log, key: str = KEY) -> Webhook:
    return Webhook(lambda: key, log.find, log.load, log.append, lambda: NOW_S + 0.5)


@pytest.fixture
def served() -> Iterator[tuple[int, Log]]:
    port, log = next(free_ports()), Log()
    stop = listen(webhook(log), port, "127.0.0.1", setting="a port", context=None)
    yield port, log
    stop()


def body_of(said: Any) -> bytes:
    return said if isinstance(said, bytes) else json.dumps(said).encode()


def headers(body: bytes, request: str = "msg-1", at_s: int = NOW_S, key: str = KEY) -> dict[str, str]:
    signature = sign(key, request, at_s, body)
    return {"webhook-id": request, "webhook-timestamp": str(at_s), "webhook-signature": signature}


def post(
    port: int, said: Any, given: dict[str, str] | None = None, path: str = "/feedback", method: str = "POST"
) -> Any:
    """Status, answer."""
    body = body_of(said)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, body, headers(body) if given is None else given)
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def test_what_is_said_is_kept_with_who_said_it_and_of_what(served: tuple[int, Log]) -> None:
    port, log = served
    mute = {"for_s": 3600, "entities": [{"kind": "network", "value": "AS1"}], "detectors": ["volume"]}
    status, answer = post(port, SAID | {"mute": mute})
    (entry,) = log.entries
    assert (status, answer) == (200, {"number": 1, "hash": entry.hash})
    assert (entry.who, entry.verdict, entry.note) == ("ann@soc", "false", SAID["note"])
    assert entry.time_ms == NOW_S * 1000 + 500
    assert entry.about is not None
    assert (entry.about.id, entry.about.entity) == (ALERT.id, ALERT.entity)
    assert entry.mute == Mute(
        (EntityRef("network", "AS1"),), ("volume",), entry.time_ms, entry.time_ms + 3_600_000
    )  # fmt: skip
    assert list(feedback.chained([feedback.encode(entry)], "log")) == [entry]


def test_a_mute_that_names_nothing_is_of_what_the_alert_is_about(served: tuple[int, Log]) -> None:
    port, log = served
    post(port, SAID | {"mute": {"for_s": 60}})
    assert log.entries[0].mute is not None
    assert log.entries[0].mute.entities == (ALERT.entity,)


def test_a_repeat_is_answered_as_the_first_and_kept_once(served: tuple[int, Log]) -> None:
    port, log = served
    body = body_of(SAID)
    first, again, other = (post(port, body, headers(body, each, NOW_S + n)) for n, each in enumerate("aab"))
    assert first == again
    assert (first[1]["number"], other[1]["number"], len(log.entries)) == (1, 2, 2)


def test_while_a_secret_is_renewed_either_signature_will_do(served: tuple[int, Log]) -> None:
    port, _ = served
    given = headers(body_of(SAID))
    given["webhook-signature"] = f"v1,b2xk {given['webhook-signature']}"
    assert post(port, SAID, given)[0] == 200


@given(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "body", "key"]), st.data())
def test_whatever_else_is_signed_is_refused_and_nothing_kept(what: str, data: st.DataObject) -> None:
    log, body = Log(), body_of(SAID)
    given = headers(body, key="another" if what == "key" else KEY)
    if what == "body":
        body = data.draw(st.binary(max_size=200).filter(lambda other: other != body))
    elif what != "key":
        text = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=60)
        given[what] = data.draw(text.filter(lambda other: other != given[what]))
    assert asked(webhook(log), body, given)[0] == "401 Unauthorized"
    assert log.entries == []


def asked(hook: Webhook, body: bytes, given: dict[str, str], **environ: Any) -> tuple[str, dict[str, Any]]:
    """The answer without a socket."""

    class Input:
        def read(self, _length: int) -> bytes:
            return body

    told: list[str] = []
    asked = {
        "PATH_INFO": "/feedback", "REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(body)), "wsgi.input": Input(),
        **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in given.items()}, **environ,
    }  # fmt: skip
    (answer,) = hook(asked, lambda status, _headers: told.append(status))
    return told[0], json.loads(answer)


@pytest.mark.parametrize("off_s", [-SKEW_MAX_S - 1, -SKEW_MAX_S, SKEW_MAX_S, SKEW_MAX_S + 1])
def test_what_was_signed_more_than_five_minutes_off_is_refused(off_s: int) -> None:
    body = body_of(SAID)
    status, answer = asked(webhook(Log()), body, headers(body, at_s=NOW_S + off_s))
    assert status[:3] == ("200" if abs(off_s) <= SKEW_MAX_S else "401")
    assert abs(off_s) <= SKEW_MAX_S or "301 s off this clock, the limit is 300" in answer["error"]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"{", "the body: Input data was truncated"),
        (b"\xff", "the body: "),
        (b"[" * 10_000, "the body: "),
        (SAID | {"verdict": "maybe"}, "Invalid enum value 'maybe' - at `$.verdict`"),
        ({"alert": ALERT.id, "verdict": "true"}, "missing required field `who`"),
        (SAID | {"who": ""}, "`$.who`"),
        (SAID | {"note": "n" * 2_049}, "`$.note`"),
        (SAID | {"severity": "low"}, "unknown field `severity`"),
        (SAID | {"mute": {"for_s": 0}}, "`$.mute.for_s`"),
        (SAID | {"mute": {"for_s": 90 * 86_400 + 1}}, "`$.mute.for_s`"),
        (SAID | {"mute": {"for_s": 1, "detectors": ["volum"]}}, "mute.detectors[0] = 'volum' is none of"),
        (SAID | {"mute": {"for_s": 1, "entities": [{"kind": "acount", "value": "a"}]}}, "entities[0].kind = 'acount'"),
    ],
)  # fmt: skip
def test_a_body_that_says_nothing_is_refused_with_the_field(served: tuple[int, Log], said: Any, error: str) -> None:
    port, log = served
    status, answer = post(port, said)
    assert (status, log.entries) == (400, [])
    assert error in answer["error"]


def test_what_asks_for_something_else_is_told_so(served: tuple[int, Log]) -> None:
    port, log = served
    assert post(port, SAID, path="/metrics") == (404, {"error": "there is nothing here but /feedback"})
    assert post(port, b"", method="GET") == (405, {"error": "/feedback takes POST alone"})
    assert post(port, SAID | {"alert": "tl-none"}) == (404, {"error": "alert tl-none: there is none"})
    assert post(port, b" " * (BODY_BYTES_MAX + 1))[0] == 413
    assert log.entries == []


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /feedback HTTP/1.0\r\n\r\n", b"411"),
        (b"POST /feedback HTTP/1.0\r\nContent-Length: -1\r\n\r\n", b"411"),
        (b"POST /feedback HTTP/1.0\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n", b"413"),
        (b"POST /feedback HTTP/1.0\r\nContent-Length: 10\r\n\r\nshort", b"408"),
    ],
)
def test_a_body_of_another_length_than_is_said_is_not_waited_for(
    served: tuple[int, Log], head: bytes, status: bytes
) -> None:
    port, _ = served
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head)
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("rb").readline().split()[1] == status


def test_while_the_log_or_the_secret_cannot_be_had_it_is_to_be_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    log, body = Log(), body_of(SAID)
    log.gone = "no broker answers"
    hook = webhook(log)
    assert asked(hook, body, headers(body)) == ("503 Service Unavailable", {"error": "no broker answers"})

    def missing() -> str:
        raise UsageError("/run/secret: gone")

    told, answer = asked(Webhook(missing, log.find, log.load, log.append, lambda: NOW_S), body, headers(body))
    assert told == "503 Service Unavailable"
    assert "/run/secret" not in answer["error"]
    assert "/run/secret" in caplog.text
    assert hook.answers == {503: 1}


def test_it_is_not_served_without_a_secret_nor_in_the_clear_beyond_this_host(tmp_path: Path) -> None:
    port = next(free_ports())
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text(KEY)
    bare = Config(respond=Respond(feedback_port=port))
    with pytest.raises(UsageError, match=r"respond\.feedback_secret_from: empty"):
        feedback_webhook.serve(webhook(Log()), bare)
    given = Respond(feedback_port=port, feedback_secret_from=f"file:{key}")
    beyond = Config(respond=given, worker=Worker(metrics_address="0.0.0.0"))
    with pytest.raises(UsageError, match="would pass in the clear"):
        feedback_webhook.serve(webhook(Log()), beyond)
    feedback_webhook.serve(webhook(Log()), Config(respond=given))()
    feedback_webhook.serve(webhook(Log()), Config())()
