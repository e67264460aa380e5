"""The rights that a worker needs of the brokers, all of them and no others; and which of them are missing.

The brokers are asked by requests that change nothing whatever they are answered: a fetch of no record, and joining
topics and offsets to a transaction of a producer that there is not, which is refused, but only after the rights are
looked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.transaction import AddOffsetsToTxnRequest, AddPartitionsToTxnRequest

from stream.config import Config, Kafka
from stream.security import connection

NO_PRODUCER: Final = 1 << 62
Ask = Callable[[Any], Awaitable[Any]]
TOPIC_REFUSED, GROUP_REFUSED, TRANSACTION_REFUSED = 29, 30, 53  # error codes of the protocol


class Right(NamedTuple):
    """An operation on a resource of the brokers: the name of a topic or group, or what transactional ids begin with."""

    operation: str
    resource: str
    name: str

    @property
    def is_prefix(self) -> bool:
        """Whether it is for every name that begins so."""
        return self.resource == "transactional-id"

    def command(self, servers: str, principal: str) -> str:
        """What an administrator does to grant it."""
        pattern = " --resource-pattern-type prefixed" if self.is_prefix else ""
        return (
            f"kafka-acls.sh --bootstrap-server {servers} --command-config ADMIN.properties --add "
            f"--allow-principal '{principal}' --operation {self.operation} --{self.resource} {self.name}{pattern}"
        )


def rights(config: Config, topics: Sequence[str]) -> list[Right]:
    """What a worker of this configuration needs; topics: those with access events. Each implies describing."""
    kafka, needed = config.kafka, []
    if "ingest" in config.worker.roles:
        needed += [Right("Read", "topic", topic) for topic in topics]
        needed += [Right("Write", "topic", kafka.observations), *_of_group(f"{kafka.group}-ingest")]
    if "detect" in config.worker.roles:
        needed += [Right("Read", "topic", kafka.observations), Right("Write", "topic", kafka.signals)]
        needed += _of_group(f"{kafka.group}-detect")
    return [*needed, Right("Write", "topic", kafka.dead_letters)]


def _of_group(group: str) -> list[Right]:
    return [Right("Read", "group", group), Right("Write", "transactional-id", f"{group}-")]


async def missing(config: Config, topics: Sequence[str]) -> list[Right]:
    """The rights that the user of this configuration lacks; KafkaConnectionError where no broker answers."""
    wanted = rights(config, topics)
    async with _broker(config.kafka) as ask:
        return [right for right in wanted if await _lacks(ask, right, wanted)]


async def hidden(kafka: Kafka, topics: Sequence[str]) -> set[str]:
    """The topics of which this user may not know whether they are there."""
    async with _broker(kafka) as ask:
        answer = await ask(MetadataRequest(list(topics), allow_auto_topic_creation=False))
    return {topic["topic"] for topic in answer.to_object()["topics"] if topic["error_code"] == TOPIC_REFUSED}


@asynccontextmanager
async def _broker(kafka: Kafka) -> AsyncIterator[Ask]:
    """One of the brokers that can be reached, to be asked: rights are the same at all."""
    client = AIOKafkaClient(**connection(kafka))
    try:
        await client.bootstrap()
        for broker in client.cluster.brokers():
            if await client.ready(broker.nodeId):
                node = broker.nodeId
                break
        else:
            raise KafkaConnectionError("no broker can be reached")

        async def ask(request: Any) -> Any:
            return await client.send(node, request)

        yield ask
    finally:
        await client.close()


async def _lacks(ask: Ask, right: Right, wanted: Sequence[Right]) -> bool:
    """Whether the broker refuses what takes this right."""
    transactions = [each.name for each in wanted if each.is_prefix]
    match right:
        case Right("Read", "topic"):
            request: Any = FetchRequest(0, 0, 1, 1, [(right.name, [(0, 0, 1)])])
            answer = await ask(request)
            return TOPIC_REFUSED in _codes(answer.topics)
        case Right("Write", "topic"):
            answers = [
                await ask(AddPartitionsToTxnRequest(f"{name}check", NO_PRODUCER, 0, [(right.name, [0])]))
                for name in transactions
            ]
            return any(TOPIC_REFUSED in _codes(answer.errors) for answer in answers)
        case Right("Read", "group"):
            request = AddOffsetsToTxnRequest(f"{right.name}-check", NO_PRODUCER, 0, right.name)
            return bool((await ask(request)).error_code == GROUP_REFUSED)
        case _:
            group = right.name.removesuffix("-")
            request = AddOffsetsToTxnRequest(f"{right.name}check", NO_PRODUCER, 0, group)
            return bool((await ask(request)).error_code == TRANSACTION_REFUSED)


def _codes(topics: Sequence[Any]) -> Iterator[int]:
    """The error codes of an answer's partitions, which come after the partition's number."""
    return (partition[1] for _, partitions in topics for partition in partitions)


def principal(config: Config) -> str:
    """Whom the rights are for, as the brokers call this configuration's user, as far as it tells."""
    kafka = config.kafka
    if kafka.security_protocol.startswith("SASL") and kafka.sasl_username:
        return f"User:{kafka.sasl_username}"
    if kafka.security_protocol == "SSL" and kafka.ssl_cert_file:
        return "User:SUBJECT OF THE CERTIFICATE"
    return "User:SUBJECT OF THE TOKEN" if kafka.security_protocol.startswith("SASL") else "User:ANONYMOUS"
