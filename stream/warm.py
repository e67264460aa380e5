"""Kernels are compiled and loaded before there is work: a worker that compiles within a batch keeps its partitions
waiting, and does not hear that it should leave.

A made-up day goes the way that records go, through both stages and a snapshot, and is forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
import orjson
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from stream import wire
from stream.align import Aligner
from stream.batch import Batch, Record
from stream.changes import GROUP_BYTES_MIN, hashed
from stream.config import Config
from stream.fetch import HEAD, Head, decompressed, unpacked
from stream.ingest import Ingest
from stream.pipeline import Pipeline

START_MS: Final = 1_735_689_600_000
ACCOUNTS: Final = 40
STEP_MS: Final = 97_000
EVENTS: Final = 1_200


@dataclass
class _Counts:
    dead_letters: Counter[str] = field(default_factory=Counter)
    alerts: Counter[tuple[str, str]] = field(default_factory=Counter)
    ingested: Counter[str] = field(default_factory=Counter)
    future: int = 0
    stage_s: dict[str, float] = field(default_factory=dict)


def warm(config: Config) -> None:
    """Take a made-up day in, and go on with half of it from a snapshot."""
    config = msgspec.structs.replace(
        config, format="native", kafka=msgspec.structs.replace(config.kafka, partitions=2)
    )  # fmt: skip
    ingest = Ingest(config, "warm", 0, _Counts())
    records = _sent(list(_records()))
    pipeline, aligner = _pipeline(config), Aligner()
    for start in range(0, len(records), len(records) // 4):
        for message in ingest.take(records[start : start + len(records) // 4], silent=False, more=start == 0):
            if message.topic == config.kafka.observations:
                sent = wire.decode(message.value)
                for block in aligner.add(sent.block, sent.origin, sent.watermark_ms, sent.more):
                    pipeline.take(block)
        meta, arrays = pipeline.save()
        hashed({"": np.zeros(GROUP_BYTES_MIN, np.uint8)})
        again = _pipeline(config)
        again.load(msgspec.json.decode(msgspec.json.encode(meta)), arrays)
        pipeline = again


def _pipeline(config: Config) -> Pipeline:
    return Pipeline(config, lambda _alert: None, partition=0)


def _sent(records: Sequence[Record]) -> Batch:
    """The records as a consumer unpacks them."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for record in records:
        builder.append(record.offset, record.timestamp, None, record.value, [])
    raw = memoryview(bytes(builder.build()))
    return unpacked([decompressed(Head(*HEAD.unpack_from(raw)), raw)], 0)


def _records() -> Iterator[Record]:
    """Some that are plain and some that are not, of accounts that log in and read, and of one that walks."""
    for i in range(EVENTS):
        account, at = i % ACCOUNTS, START_MS + i * STEP_MS
        event = {
            "time": at, "account": f"user-{account}", "action": "login" if i < ACCOUNTS else "read",
            "account_kind": "customer", "resource": f"/orders/{i % 3}", "credential": f"token-{account % 30}",
            "issuer": "key", "source_ip": f"198.51.100.{account}", "user_agent": "warm" if i % 7 else "wärm",
            "object": f"order-{i}", "subject": f"user-{account if account else i}", "bytes": 500 + i,
            "outcome": "success" if i % 5 else "failure",
        }  # fmt: skip
        if account == 1:
            event |= {"action": "export", "account_kind": "employee"}
        yield Record(i, at, orjson.dumps(event) if i % 11 else b"{}")
