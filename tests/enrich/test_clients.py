"""A client goes by its family, which its next version does not change; the log's own text is what is shown."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.alerts import Alert
from stream.analyst.explain import explain
from stream.analyst.relog import FileLog
from stream.blocks import packed
from stream.checks import TEXT_BYTES_MAX
from stream.config import Config, fingerprint
from stream.enrich.clients import families, family
from stream.enrich.enricher import Enricher
from stream.enrich.settings import Enrich
from stream.run import Options, Run
from tests.streams import START_MS, block, event

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
WINDOWS = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT}"
AGENTS = {
    WINDOWS + " Chrome/128.0.0.0 Safari/537.36": "Chrome on Windows",
    WINDOWS + " Chrome/129.0.6668.58 Safari/537.36": "Chrome on Windows",
    WINDOWS + " Chrome/128.0.0.0 Safari/537.36 Edg/128.0.2739.42": "Edge on Windows",
    WINDOWS + " Slack/4.39.95 Chrome/126.0.6478.127 Electron/31.1.0 Safari/537.36": "Slack on Windows",
    WINDOWS + " HeadlessChrome/128.0.0.0 Safari/537.36": "HeadlessChrome on Windows",
    f"Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/UP1A) {WEBKIT} Chrome/128.0.0.0 Mobile Safari/537.36":
        "Chrome on Android",
    f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/128.0.0.0 Safari/537.36": "Chrome on ChromeOS",
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0": "Firefox on Linux",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1 (KHTML, like Gecko) Version/17.6 Safari/605.1":
        "Safari on macOS",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/128.0 "
    "Mobile/15E148 Safari/604.1": "Chrome on iOS",
    "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko": "MSIE on Windows",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": "Googlebot",
    f"Mozilla/5.0 {WEBKIT[:-1]}; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/116.0 Safari/537.36":
        "bingbot",
    "Mozilla/5.0": "Mozilla",
    "aws-cli/2.17.0 md/awscrt#0.20.11 ua/2.0 os/linux#5.10.0 lang/python#3.11.8": "aws-cli on Linux",
    "[aws-cli/1.18.136 Python/3.8.5 Darwin/19.5.0 botocore/1.17.59]": "aws-cli on macOS",
    "APN/1.0 HashiCorp/1.0 Terraform/1.9.5 (+https://www.terraform.io) terraform-provider-aws/5.64.0": "Terraform",
    "Boto3/1.34.0 Python/3.11 Windows/10 Botocore/1.34.0": "Boto3 on Windows",
    "python-requests/2.31.0": "python-requests", "curl/8.4.0": "curl",
    "kubectl/v1.30.1 (linux/amd64)": "kubectl on Linux",
    "BankApp/5.3.1 (Android 14)": "BankApp on Android", "Chef Client/18.5": "Chef Client",
}  # fmt: skip
NAMES = (
    "", "-", "Chrome on Windows", "psql", "nightly export", "signin.amazonaws.com", "AWS Internal", "/usr/bin/app/1",
    "pgAdmin 4 - DB:shop", "claims/desk", "wärm/1.0", "a" * 80 + "/1",
)  # fmt: skip


def test_an_agent_is_its_family_and_a_name_is_itself() -> None:
    assert {agent: family(agent) for agent in AGENTS} == AGENTS
    assert [family(name) for name in NAMES] == list(NAMES)


@given(
    st.one_of(
        st.sampled_from([*AGENTS, *NAMES]), st.text(max_size=64), st.from_regex(r"\A\w+/\d[^\n]{,50}", fullmatch=True)
    )
)
@example("APN/1 win32-" + "a" * 242 + "/1")
def test_a_family_is_a_name_that_fits_its_field(agent: str) -> None:
    found = family(agent)
    assert len(found.encode()) <= TEXT_BYTES_MAX
    assert bool(found) == bool(agent)


def test_what_stays_is_not_filled_in() -> None:
    assert families([*NAMES, "curl/8.4.0"]) == [[""] * len(NAMES) + ["curl"]]


def test_it_is_a_choice_and_part_of_what_alerts_are_a_function_of() -> None:
    came = packed(block([event(START_MS, "ann", user_agent=agent) for agent in (*AGENTS, *NAMES)]))
    told = {True: [*AGENTS.values(), *NAMES], False: [*AGENTS, *NAMES]}
    for chosen, names in told.items():
        settings = Enrich(networks={"office": "192.0.2.0/24"}, client_families=chosen)
        assert Enricher(settings, "key", print).fill(came).text["user_agent"].texts() == names
    assert fingerprint(Config(enrich=Enrich(client_families=True))) != fingerprint(Config())


@pytest.mark.parametrize("chosen", [True, False])
def test_an_explanation_shows_the_text_that_the_log_has(tmp_path: Path, chosen: bool) -> None:
    rows = [
        {"time": START_MS + n * 1000, "account": "ann", "action": "read", "resource": "/r", "object": f"o-{n}",
         "user_agent": f"curl/8.{n}"} for n in range(9)
    ]  # fmt: skip
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    enrich = Enrich(client_families=chosen)
    config = msgspec.convert({"enrich": enrich, "canary": {"objects": ["o-4"]}}, Config)
    told: list[Alert] = []
    run = Run(config, Options([str(path)], alerts=os.devnull), on_alert=told.append)
    run.go()
    assert len(run.pipeline.tables["client"].index) == (1 if chosen else 9)
    found = explain(told[-1], FileLog([str(path)], "auto", config, print), config, lambda _events, _ms: None)
    assert [each.user_agent for each in found.explanation.examples] == ["curl/8.4"]
