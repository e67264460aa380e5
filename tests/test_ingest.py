"""Records become observations, each on its account's partition, in messages that a broker takes."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import orjson
from hypothesis import given
from hypothesis import strategies as st

from stream import kafka, wire
from stream.batch import Batch
from stream.config import Config, Kafka
from stream.ingest import BLOCK_EVENTS, Ingest
from tests.kafka.deployment import Counts
from tests.streams import START_MS

PARTITIONS = 3
CONFIG = Config(format="native", kafka=Kafka(topics=("access",), partitions=PARTITIONS))


class Record(NamedTuple):
    offset: int
    value: bytes
    timestamp: int = START_MS + 10**9


def record(offset: int, account: str, second: int, **more: str) -> Record:
    event = {"time": START_MS + 1000 * second, "account": account, "action": "read", "resource": "r"} | more
    return Record(offset, orjson.dumps(event))


def sent(batches: list[list[Record]], more: bool = False) -> list[list[wire.Sent]]:
    """What each partition is sent."""
    stage = Ingest(CONFIG, "access", 0, Counts())
    found: list[list[wire.Sent]] = [[] for _ in range(PARTITIONS)]
    for batch in batches:
        for message in stage.take(Batch.of(batch), silent=False, more=more):
            assert message.partition is not None
            assert len(message.value) <= kafka.MESSAGE_BYTES_MAX
            found[message.partition].append(wire.decode(message.value))
    return found


def rows(parts: list[wire.Sent]) -> list[tuple[int, str, int]]:
    return [
        (int(part.block.line[i]), part.block.text["account"][i], int(part.block.time[i]))
        for part in parts
        for i in range(len(part.block))
    ]


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 99)), min_size=1, max_size=40), st.data())
def test_where_batches_split_changes_no_partition(events: list[tuple[str, int]], data: st.DataObject) -> None:
    """Each event is on one partition, those of an account on one, in their order, however the records came."""
    records = [record(i, account, second) for i, (account, second) in enumerate(events)]
    cuts = sorted({0, len(records), *data.draw(st.lists(st.integers(0, len(records)), max_size=5))})
    whole = list(map(rows, sent([records])))
    assert list(map(rows, sent([records[a:b] for a, b in pairwise(cuts)]))) == whole
    assert sorted(n for part in whole for n, _, _ in part) == list(range(len(records)))
    owners: dict[str, int] = {}
    for number, part in enumerate(whole):
        assert [n for n, _, _ in part] == sorted(n for n, _, _ in part)
        assert all(owners.setdefault(account, number) == number for _, account, _ in part)


def test_texts_as_long_as_they_may_be_come_in_more_messages() -> None:
    """A client that fills every field cannot make a message that the broker refuses, and so stop the partition."""
    long = {name: name[0] * 256 for name in ("group", "credential", "source_ip", "user_agent", "object", "subject")}
    records = [record(i, "ann", i, id=f"{i:0256}", **long) for i in range(2_000)]
    (parts,) = [part for part in sent([records]) if part]
    assert len(parts) > 1
    assert [n for n, _, _ in rows(parts)] == list(range(len(records)))


def test_only_the_last_message_of_a_batch_says_how_far_its_origin_is() -> None:
    """What comes before it speaks of events that have not arrived."""
    records = [record(i, "ann", i) for i in range(BLOCK_EVENTS + 1)]
    (parts,) = [part for part in sent([records]) if part]
    assert [(len(part.block), part.watermark_ms, part.more) for part in parts] == [
        (BLOCK_EVENTS, 0, True), (1, START_MS + 1000 * BLOCK_EVENTS, False)
    ]  # fmt: skip


def test_who_has_more_to_read_tells_every_partition() -> None:
    """One has the event, the others hear how far it is."""
    told = [
        [(len(p.block), p.watermark_ms, p.more) for p in parts] for parts in sent([[record(0, "ann", 5)]], more=True)
    ]
    assert sorted(told) == [*[[(0, START_MS + 5_000, True)]] * (PARTITIONS - 1), [(1, START_MS + 5_000, True)]]
