"""A Kafka topic beside Tripline's own, in another format: for a SIEM that reads OCSF or ECS. Key: the alert's id.

The brokers are those of [kafka], with its TLS and its credentials.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from stream.alerts import Alert
from stream.config import Config
from stream.encode import alert_format
from stream.errors import UsageError
from stream.subscribers import Common, Kind
from stream.subscribers._failure import Failed

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer


class Settings(Common, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which topic, in which format."""

    topic: Annotated[str, Meta(pattern="^[a-zA-Z0-9._-]{1,249}$")]
    format: str = "ocsf"


class Topic:
    """Writes to a topic, and waits until every replica in sync has it."""

    def __init__(self, settings: Settings, config: Config) -> None:
        if settings.topic == config.kafka.alerts:
            raise UsageError(
                f"subscriber {settings.name}: topic = {settings.topic!r} is Tripline's own, which is native and read "
                "back; name another"
            )
        self._settings = settings
        self._kafka = config.kafka
        self._encode = alert_format(settings.format).encode
        self._producer: AIOKafkaProducer | None = None

    async def send(self, alert: Alert) -> None:
        """One record."""
        from aiokafka import AIOKafkaProducer  # noqa: PLC0415 - what needs no broker starts without its client
        from aiokafka.errors import KafkaError  # noqa: PLC0415

        from stream import security  # noqa: PLC0415

        try:
            async with asyncio.timeout(self._settings.timeout_s):
                if self._producer is None:
                    made = AIOKafkaProducer(**security.connection(self._kafka), acks="all", enable_idempotence=True)
                    try:
                        await made.start()
                    except BaseException:
                        await made.stop()
                        raise
                    self._producer = made
                await self._producer.send_and_wait(self._settings.topic, self._encode(alert), alert.id.encode())
        except TimeoutError:
            raise Failed("timeout") from None
        except UsageError as why:
            raise Failed("secret", type(why).__name__) from why
        except (KafkaError, OSError) as why:
            raise Failed("broker", type(why).__name__) from None

    async def close(self) -> None:
        """Stop the producer."""
        if self._producer is not None:
            await self._producer.stop()


def sender(settings: Settings, config: Config) -> Topic:
    """A sender of records."""
    return Topic(settings, config)


KIND: Final = Kind(Settings, sender)
