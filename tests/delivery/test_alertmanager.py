"""Alertmanager itself takes what it is sent, and shows an alert for as long as it is open."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from stream.config import Config
from stream.subscribers import kinds, make
from tests.deploy.programs import program
from tests.pages import alert

READY_S = 30.0


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[str]:
    """The URL of one that runs."""
    binary = program("prometheus-alertmanager")
    settings = tmp_path / "alertmanager.yml"
    settings.write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [binary, f"--config.file={settings}", f"--storage.path={tmp_path / 'data'}",
             f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="],
            stdout=out, stderr=out,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + READY_S
        while not _answers(url + "/-/ready"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def shown(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(url + "/api/v2/alerts", timeout=5) as answer:
        found: list[dict[str, Any]] = orjson.loads(answer.read())
        return found


def test_it_shows_an_alert_with_its_severity_until_it_is_closed(alertmanager: str) -> None:
    given = kinds()["alertmanager"].settings(name="am", kind="alertmanager", url=alertmanager)
    sender = make(given, Config())
    seen = []

    async def play() -> None:
        for revision, status, severity in ((1, "open", "medium"), (2, "update", "critical"), (3, "closed", "critical")):
            await sender.send(alert(revision=revision, status=status, severity=severity))
            seen.append([(a["labels"]["alert_id"], a["labels"]["severity"]) for a in shown(alertmanager)])
        await sender.close()

    asyncio.run(play())
    assert seen == [[("tl-1", "medium")], [("tl-1", "critical")], []]


def test_names_are_in_annotations_and_in_no_label(alertmanager: str) -> None:
    sender = make(kinds()["alertmanager"].settings(name="am", kind="alertmanager", url=alertmanager), Config())

    async def play() -> None:
        await sender.send(alert("mallory"))
        await sender.close()

    asyncio.run(play())
    (found,) = shown(alertmanager)
    assert found["annotations"]["entity"] == "mallory"
    assert "mallory" not in str(found["labels"])
