"""Faust as the alert plane runs it, and what of it is done otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import faust
from faust.transport.drivers import aiokafka
from faust.types import TP

from stream.config import Config
from stream.metrics.respond import Monitor
from stream.security import connection


class Consumer(aiokafka.Consumer):
    """Faust's, which goes back to the first record of a topic, too.

    Having read a table back, Faust returns to what was committed, and counts on that: what it had fetched by then it
    has dropped. aiokafka does not go anywhere where that is offset 0, or nothing was committed yet.
    """

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Go to what was committed of each partition, or to its beginning; what was committed."""
        committed: Mapping[TP, int] = await super().seek_to_committed()
        left = [tp for tp, at in committed.items() if not at and tp.topic not in self.app.tables.changelog_topics]
        if left:
            await self.seek_wait(await self.earliest_offsets(*left))
        return committed


class Transport(aiokafka.Transport):
    """Faust's, with that consumer."""

    Consumer = Consumer


class App(faust.App):
    """Faust's, with that consumer, and without the folders that it makes wherever it is started."""

    def _create_directories(self) -> None:
        """None: the table is kept in memory and its topic, and the file system may be read-only."""

    def _new_transport(self) -> Any:
        return Transport(self.conf.broker_consumer, self)


def app_of(config: Config) -> Any:
    """Faust's application for a configuration."""
    settings = config.kafka
    servers = [f"kafka://{server.strip()}" for server in settings.bootstrap_servers.split(",")]
    return App(
        f"{settings.group}-respond", broker=servers, broker_credentials=_credentials(config), store="memory://",
        web_enabled=False, autodiscover=False, topic_partitions=1, topic_replication_factor=settings.replication,
        topic_allow_declare=True, consumer_auto_offset_reset="earliest", stream_wait_empty=False,
        broker_session_timeout=settings.session_timeout_s, broker_heartbeat_interval=settings.session_timeout_s / 5,
        broker_commit_every=100, broker_commit_interval=1.0, producer_acks=-1, loghandlers=[], Monitor=Monitor,
        consumer_group_instance_id=f"{settings.instance_id}-respond" if settings.instance_id else None,
    )  # fmt: skip


def _credentials(config: Config) -> Any:
    given = connection(config.kafka)
    context = given.get("ssl_context")
    if config.kafka.security_protocol.startswith("SASL"):
        if config.kafka.sasl_mechanism == "OAUTHBEARER":
            return faust.OAuthCredentials(oauth_cb=given["sasl_oauth_token_provider"], ssl_context=context)
        return faust.SASLCredentials(
            username=given["sasl_plain_username"], password=given["sasl_plain_password"],
            mechanism=config.kafka.sasl_mechanism, ssl_context=context,
        )  # fmt: skip
    return faust.SSLCredentials(context) if context is not None else None
