"""What a client is told of a broker: encrypted or refused, secrets from files, and never a secret in a message."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stream.config import Config, Kafka
from stream.errors import UsageError
from stream.kafka import own_topics
from stream.secret import secret
from stream.security import connection
from stream.worker import access_topics


@pytest.mark.parametrize("servers", ["127.0.0.1:9092", "localhost:9092,127.0.0.2:9092", "[::1]:9092"])
def test_this_host_is_spoken_to_in_the_clear(servers: str) -> None:
    assert connection(Kafka(bootstrap_servers=servers))["security_protocol"] == "PLAINTEXT"


@pytest.mark.parametrize("servers", ["kafka.example:9092", "127.0.0.1:9092,192.0.2.7:9092", "localhost.example:9092"])
@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SASL_PLAINTEXT"])
def test_another_is_not_unless_it_is_allowed_by_name(servers: str, protocol: str, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("hunter2\n")
    password.chmod(0o600)
    given = {"bootstrap_servers": servers, "security_protocol": protocol, "sasl_password_file": str(password)}
    with pytest.raises(UsageError, match="plaintext_allowed"):
        connection(Kafka(**given))  # type: ignore[arg-type]  # from parameters
    assert connection(Kafka(**given, plaintext_allowed=True))  # type: ignore[arg-type]  # the same


def test_a_secret_is_the_line_in_its_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("  hunter2\n")
    path.chmod(0o640)
    assert secret(path) == "hunter2"


@pytest.mark.parametrize("content, mode, part", [("hunter2", 0o644, "chmod"), ("", 0o600, "empty"), (None, 0, "read")])
def test_a_secret_that_cannot_be_one_is_refused_without_telling_it(
    content: str | None, mode: int, part: str, tmp_path: Path
) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with pytest.raises(UsageError, match=part) as error:
        secret(path)
    assert "hunter2" not in str(error.value)
    assert str(path) in str(error.value)


def test_certificates_that_are_none_are_refused_with_a_word(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    for path in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(UsageError, match="ssl_"):
            connection(Kafka(security_protocol="SSL", ssl_ca_file=str(path)))


def test_scram_takes_its_password_and_oauth_its_token_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("hunter2")
    path.chmod(0o600)
    scram = connection(
        Kafka(security_protocol="SASL_SSL", sasl_username="tripline", sasl_password_file=str(path))
    )  # fmt: skip
    assert (scram["sasl_plain_username"], scram["sasl_plain_password"]) == ("tripline", "hunter2")
    assert scram["ssl_context"].check_hostname
    oauth = connection(
        Kafka(security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER", sasl_token_file=str(path))
    )  # fmt: skip
    path.write_text("renewed")
    assert asyncio.run(oauth["sasl_oauth_token_provider"].token()) == "renewed"
    with pytest.raises(UsageError, match="sasl_password_file"):
        connection(Kafka(security_protocol="SASL_SSL", sasl_username="tripline"))


@pytest.mark.parametrize(
    "kafka, part",
    [
        (Kafka(), "one of the two"), (Kafka(topics=("a",), topics_pattern="b"), "one of the two"),
        (Kafka(topics=("tripline.alerts",)), "own topic"), (Kafka(topics_pattern="trip.*"), "own topic"),
        (Kafka(topics_pattern="("), "regular expression"),
    ],
)  # fmt: skip
def test_topics_are_named_one_way_and_none_is_our_own(kafka: Kafka, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        access_topics(Config(kafka=kafka))


def test_own_topics_are_told_apart() -> None:
    assert len(own_topics(Kafka())) == 5
