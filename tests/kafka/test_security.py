"""A secured cluster refuses whom it should: a wrong password, a missing right, an expired or foreign certificate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from aiokafka.helpers import create_ssl_context

from tests.kafka.clients import producer, read, run
from tests.kafka.cluster import Cluster, Security


@pytest.fixture(scope="module")
def secure(kafka: None) -> Iterator[Cluster]:
    with Cluster(security=Security(users={"alice": "right"})) as cluster:
        yield cluster


def scram(cluster: Cluster, password: str) -> Any:
    context = create_ssl_context(cafile=str(cluster.certificates / "ca.pem"))
    return producer(
        cluster, bootstrap_servers=cluster.bootstrap_scram, security_protocol="SASL_SSL", ssl_context=context,
        sasl_mechanism="SCRAM-SHA-512", sasl_plain_username="alice", sasl_plain_password=password,
    )  # fmt: skip


def mtls(cluster: Cluster, name: str) -> Any:
    pem = str(cluster.certificates / f"{name}.pem")
    context = create_ssl_context(cafile=str(cluster.certificates / "ca.pem"), certfile=pem, keyfile=pem)
    return producer(
        cluster, bootstrap_servers=cluster.bootstrap_mtls, security_protocol="SSL", ssl_context=context
    )  # fmt: skip


async def refused(client: Callable[[Cluster, str], Any], cluster: Cluster, shown: str) -> None:
    """aiokafka says only that it cannot connect; the reason it logs."""
    refusing = client(cluster, shown)
    with pytest.raises(KafkaConnectionError, match="Unable to bootstrap"):
        await refusing.start()
    await refusing.stop()


def test_a_user_needs_the_password_and_the_right(
    secure: Cluster, make_topic: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """A right that was given counts at once, and one that was taken away too."""
    topic = make_topic(secure)

    async def work() -> None:
        await refused(scram, secure, "wrong")
        assert "SaslAuthenticationFailed" in caplog.text
        async with scram(secure, "right") as alice:
            with pytest.raises(TopicAuthorizationFailedError):
                await alice.send_and_wait(topic, b"too early")
            secure.allow("alice", "write", "topic", topic)
            await alice.send_and_wait(topic, b"allowed")
            secure.deny("alice", "write", "topic", topic)
            with pytest.raises(TopicAuthorizationFailedError):
                await alice.send_and_wait(topic, b"too late")
        assert await read(secure, topic, 1) == [b"allowed"]

    run(work())


def test_a_client_needs_a_valid_certificate_and_the_right(secure: Cluster, make_topic: Callable[..., str]) -> None:
    topic = make_topic(secure)
    secure.allow("CN=client", "write", "topic", topic)

    async def work() -> None:
        for name in ("expired", "stranger"):
            await refused(mtls, secure, name)
        async with mtls(secure, "client") as client:
            await client.send_and_wait(topic, b"allowed")
        assert await read(secure, topic, 1) == [b"allowed"]

    run(work())


def test_nodes_can_show_an_expired_certificate(
    new_cluster: Callable[..., Cluster], caplog: pytest.LogCaptureFixture
) -> None:
    """So that a client can be tested to refuse them."""
    cluster = new_cluster(security=Security(users={"alice": "right"}, presents="expired"))
    run(refused(scram, cluster, "right"))
    assert "certificate has expired" in caplog.text
