"""Faust as the alert plane runs it, and what of it is done otherwise."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

import faust
from faust.transport.drivers import aiokafka
from faust.types import TP
from mode.services import WaitResults

from stream.config import Config
from stream.kafka import MESSAGE_BYTES_MAX
from stream.metrics.respond import Monitor
from stream.security import connection

FETCH_WAIT_MS: Final = 100  # for a broker to answer that nothing has come
POLL_S: Final = 0.1  # what was fetched while no more could be held is looked for again after this
FETCH_BYTES_MAX: Final = 8 << 20  # of a partition at once: what came while a batch was worked on is the next batch


class Change(NamedTuple):
    """One record of a table's changelog, as a table takes it."""

    key: Any
    value: Any
    message: Any


class ConsumerThread(aiokafka.AIOKafkaConsumerThread):
    """Faust's, with less patience: while it holds signals it asks a broker for all else, and that holds up the next."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        made: Any = super()._create_worker_consumer(transport)
        made._fetch_max_wait_ms = FETCH_WAIT_MS  # Faust (0.15) says 1.5 s, and has no setting
        return made


class Consumer(aiokafka.Consumer):
    """Faust's, which loses nothing between reading its table back and going on with the stream.

    Having read the table back, Faust (0.15) lets the stream's partitions be fetched, goes back to what was committed,
    throws away what it was about to hand over, and lets the records flow. Whatever was fetched in between counts as
    read and is lost, and later commits cover it. What can be fetched then is more than was asked for: the set of
    partitions that a fetch under way was given becomes empty as the changelog's rest, and to aiokafka none is all.

    So here nothing is fetched of the stream until the records flow, and the way back waits for the fetch under way.
    Besides, aiokafka goes nowhere where nothing was committed yet, and a partition that was far ahead when it was taken
    away would be handed on while it should rest.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._due: set[TP] = set()  # to be fetched once the records flow
        self._fetching = asyncio.Lock()
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def wait_first(self, *waits: Any, timeout: Any = None) -> Any:
        """Faust's, but what can be done at once is done without four tasks to see what comes first.

        Of two it asks for each message, while it hands it on and watches for the end of the flow: half a millisecond.
        """
        if len(waits) != 2:
            return await super().wait_first(*waits, timeout=timeout)
        handing_on, ended = waits
        try:
            blocked = handing_on.send(None)
        except StopIteration:
            ended.close()
            return WaitResults([handing_on], [None], stopped=False)
        return await super().wait_first(_resumed(handing_on, blocked), ended, timeout=timeout)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """Faust's, but a table takes its changelog from here, all of it but the last record.

        Faust hands each on through a queue, with a timer and a task for it: nine times as long. The last goes that way,
        so that Faust sees that it has ended.
        """
        tables: Any = self.app.tables
        recovery = tables.recovery
        async for tp, message in super().getmany(min(timeout, POLL_S)):
            if recovery.in_recovery and tp in recovery.active_tps and message.offset < recovery.active_highwaters[tp]:
                if message.offset > recovery.active_offsets[tp]:
                    change = Change(message.key, message.value, message)
                    recovery.tp_to_table[tp].apply_changelog_batch([change])
                    recovery.active_offsets[tp] = message.offset
            else:
                yield tp, message

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        async with self._fetching:
            return await super()._getmany(active_partitions, timeout)

    async def perform_seek(self) -> None:
        """Go back to what was committed, once no fetch is under way that would go on from elsewhere."""
        async with self._fetching:
            await super().perform_seek()

    def pause_partitions(self, tps: Iterable[TP]) -> None:
        """Fetch nothing of these, whatever was asked before."""
        paused = set(tps)
        self._due -= paused
        self._buffered_partitions -= paused
        super().pause_partitions(paused)

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Fetch of these: at once of what a table is read back from, of the others once the records flow."""
        streams = {tp for tp in tps if tp.topic not in self.app.tables.changelog_topics}
        self._due |= streams
        super().resume_partitions(set(tps) - streams)

    def resume_flow(self) -> None:
        """Let the records flow."""
        super().resume_flow()
        super().resume_partitions(self._due)
        self._due = set()

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Go to what was committed of each partition, or to its beginning; what was committed."""
        committed: Mapping[TP, int] = await super().seek_to_committed()
        left = [tp for tp, at in committed.items() if not at and tp.topic not in self.app.tables.changelog_topics]
        if left:
            await self.seek_wait(await self.earliest_offsets(*left))
        return committed


async def _resumed(work: Any, blocked: Any) -> None:
    """Go on with what has begun and waits for something."""
    await _steps(work, blocked)


@types.coroutine
def _steps(work: Any, blocked: Any) -> Iterator[Any]:
    with suppress(StopIteration):
        while True:
            try:
                yield blocked
            except BaseException as why:  # noqa: BLE001 - it is handed on
                blocked = work.throw(why)
            else:
                blocked = work.send(None)


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
        broker_commit_every=10_000, broker_commit_interval=1.0, producer_acks=-1, loghandlers=[], Monitor=Monitor,
        consumer_max_fetch_size=FETCH_BYTES_MAX, producer_max_batch_size=MESSAGE_BYTES_MAX,
        producer_max_request_size=2 * MESSAGE_BYTES_MAX,
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
