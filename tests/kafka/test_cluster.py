"""The Kafka that the tests run against is a real one: it keeps what it is told, commits, fences and fails over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced

from stream.config import Kafka
from stream.kafka import consumer as reader
from tests.kafka import wire
from tests.kafka.clients import consumer, producer, read, run
from tests.kafka.cluster import Cluster


@pytest.mark.parametrize("compression", [None, "gzip", "lz4", "snappy", "zstd"])
def test_what_is_produced_is_consumed(
    cluster: Cluster, make_topic: Callable[..., str], compression: str | None
) -> None:
    """In order, and also where it is compressed."""
    topic, values = make_topic(cluster), [b"%d " % n * 500 for n in range(50)]

    async def work() -> list[bytes]:
        async with producer(cluster, compression_type=compression, linger_ms=50) as sending:
            await asyncio.gather(*[await sending.send(topic, value) for value in values])
        return await read(cluster, topic, len(values))

    assert run(work()) == values


def test_a_transaction_holds_outputs_and_offsets(cluster: Cluster, make_topic: Callable[..., str]) -> None:
    """Committed they are there together; aborted, neither is, for who reads what is committed."""
    source, target, group = make_topic(cluster), make_topic(cluster), "transaction"
    place = TopicPartition(source, 0)

    async def work() -> None:
        async with (
            consumer(cluster, group_id=group) as asking, producer(cluster, transactional_id=target) as sending
        ):  # fmt: skip
            await sending.begin_transaction()
            await sending.send_and_wait(target, b"aborted")
            await sending.send_offsets_to_transaction({place: 7}, group)
            await sending.abort_transaction()
            assert await asking.committed(place) is None
            async with sending.transaction():
                await sending.send_and_wait(target, b"committed")
                await sending.send_offsets_to_transaction({place: 3}, group)
            async with producer(cluster, transactional_id=target):  # its start waits until the commit is all written
                assert await asking.committed(place) == 3
        assert await read(cluster, target, 1) == [b"committed"]
        assert await read(cluster, target, 2, isolation_level="read_uncommitted") == [b"aborted", b"committed"]

    run(work())


def test_a_committed_offset_is_told_when_nothing_is_pending(
    cluster: Cluster, make_topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, whoever asks would go on from the offset before, and take in twice what is about to be committed."""
    source, group = make_topic(cluster), make_topic(cluster)
    place = TopicPartition(source, 0)

    async def work() -> None:
        stable = reader(Kafka(bootstrap_servers=cluster.bootstrap), group)
        async with (
            stable, consumer(cluster, group_id=group) as plain, producer(cluster, transactional_id=group) as sending
        ):  # fmt: skip
            assert await stable.committed(place) is None
            async with sending.transaction():
                await sending.send_offsets_to_transaction({place: 3}, group)
            assert await stable.committed(place) == 3
            await sending.begin_transaction()
            await sending.send_offsets_to_transaction({place: 7}, group)
            assert await plain.committed(place) == 3
            with monkeypatch.context() as hurried:
                hurried.setattr("stream.offsets.STABLE_S", 0.0)
                with pytest.raises(KafkaError, match="not settled"):
                    await stable.committed(place)
            waiting = asyncio.create_task(stable.committed(place))
            await sending.commit_transaction()
            assert await waiting == 7

    run(work())


def test_a_zombie_is_fenced(cluster: Cluster, make_topic: Callable[..., str]) -> None:
    """A second producer of the same transactional id takes over; what the first had begun is never seen."""
    topic = make_topic(cluster)

    async def work() -> None:
        async with producer(cluster, transactional_id=topic) as zombie:
            await zombie.begin_transaction()
            await zombie.send_and_wait(topic, b"zombie")
            async with producer(cluster, transactional_id=topic) as heir, heir.transaction():
                await heir.send_and_wait(topic, b"heir")
            with pytest.raises(ProducerFenced):
                await zombie.send_and_wait(topic, b"too late")
            with pytest.raises(ProducerFenced):
                await zombie.commit_transaction()
        assert await read(cluster, topic, 1) == [b"heir"]

    run(work())


def test_a_static_member_comes_back_to_its_partitions(cluster: Cluster, make_topic: Callable[..., str]) -> None:
    """The other member keeps its own and is not disturbed."""
    topic = make_topic(cluster, partitions=4)

    async def member(name: str) -> Any:
        joining = consumer(cluster, topic, group_id="static", group_instance_id=name, session_timeout_ms=30_000)
        await joining.start()
        return joining

    async def work() -> None:
        one, other = await asyncio.gather(member("one"), member("other"))
        while len(one.assignment()) != 2 or len(other.assignment()) != 2:
            await one.getmany(timeout_ms=10)
            await other.getmany(timeout_ms=10)
        mine, theirs, generation = one.assignment(), other.assignment(), other._coordinator.generation
        await one.stop()
        one = await member("one")
        assert one.assignment() == mine
        assert other.assignment() == theirs
        assert other._coordinator.generation == one._coordinator.generation == generation
        await one.stop()
        await other.stop()

    run(work())


def test_a_node_keeps_what_it_was_told_over_any_end(new_cluster: Callable[..., Cluster], make_topic: Any) -> None:
    """Paused, killed or stopped it answers nobody; when it is back, a transaction that was open is committed."""
    cluster = new_cluster()
    topic = make_topic(cluster)
    port = int(cluster.bootstrap.split(":")[1])

    async def over(end: Callable[[int], None], again: Callable[[int], None]) -> None:
        async with producer(cluster, transactional_id=topic, request_timeout_ms=2_000) as sending:
            await sending.begin_transaction()
            await sending.send_and_wait(topic, end.__name__.encode())
            end(1)
            with pytest.raises(OSError, match=r"refused|timed out"):
                wire.metadata(port)
            commit = asyncio.create_task(sending.commit_transaction())
            again(1)
            await asyncio.to_thread(cluster.wait_ready)
            await commit

    run(over(cluster.pause, cluster.resume))
    run(over(cluster.kill, cluster.start))
    run(over(cluster.stop, cluster.start))
    assert run(read(cluster, topic, 3)) == [b"pause", b"kill", b"stop"]


def test_three_nodes_do_without_any_one(new_cluster: Callable[..., Cluster], make_topic: Any) -> None:
    """A transaction over all partitions, each led by another node, goes on when a node is killed within it."""
    cluster = new_cluster(brokers=3)
    topic = make_topic(cluster, partitions=3)

    async def work() -> list[bytes]:
        async with (
            producer(cluster, transactional_id=topic, request_timeout_ms=2_000) as sending, sending.transaction()
        ):  # fmt: skip
            for partition in range(3):
                await sending.send_and_wait(topic, b"before", partition=partition)
            cluster.kill(2)
            for partition in range(3):
                await sending.send_and_wait(topic, b"after", partition=partition)
        return await read(cluster, topic, 6)

    assert sorted(run(work())) == [b"after"] * 3 + [b"before"] * 3
