"""What a group has committed, once nothing is pending: what a lane goes on from.

aiokafka asks for committed offsets as brokers answered it before transactions: while a broker that has just become the
group's coordinator does not know yet that a transaction has ended, it gives the offset before, and what that
transaction took in would be taken in again. Asked for stable offsets (KIP-447, version 7 of the request, brokers from
2.5 on) it says that it cannot tell yet, and is asked again.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetFetchRequest_v3
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

STABLE_S: Final = 30.0  # how long what is pending is waited for
RETRY_S: Final = 0.05
COORDINATOR_GONE: Final = (15, 16)  # COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR
UNKNOWN: Final = -1  # UNKNOWN_SERVER_ERROR
ASK_AGAIN: Final = (*COORDINATOR_GONE, 14, 88)  # and COORDINATOR_LOAD_IN_PROGRESS, UNSTABLE_OFFSET_COMMIT
STABLE_VERSION: Final = 7


class _Fetched(Response):  # type: ignore[misc]
    API_KEY = 9
    API_VERSION = STABLE_VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32), ("offset", Int64), ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")), ("error_code", Int16), ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )  # fmt: skip


class _Fetch(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 9
    API_VERSION = STABLE_VERSION
    RESPONSE_TYPE = _Fetched
    SCHEMA = Schema(
        ("group", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class _StableOffset(Request[OffsetFetchRequest_v3 | _Fetch]):  # type: ignore[misc]
    """The committed offset of one partition; of a broker before 2.5 as it was before."""

    API_KEY: ClassVar[int] = 9

    def __init__(self, group: str, partition: TopicPartition) -> None:
        self._group, self._partition = group, partition

    def build(self, request_struct_class: Any) -> Any:
        topic, number = self._partition
        if request_struct_class is _Fetch:
            return _Fetch(self._group, [(topic, [number], {})], True, {})
        return request_struct_class(self._group, [(topic, [number])])


class StableOffsets:
    """Makes of one of aiokafka's consumers one that tells what its group has committed once nothing is pending."""

    _coordinator: Any

    async def start(self) -> None:
        """As aiokafka's, but a coordinator that answers UNKNOWN_SERVER_ERROR, as one does that is going, is looked for
        anew and does not end the consumer."""
        await super().start()  # type: ignore[misc]
        coordinator = self._coordinator
        ask = getattr(coordinator, "_send_req", None)
        if ask is None:  # it belongs to no group
            return

        async def asked(request: Any) -> Any:
            answer = await ask(request)
            if getattr(answer, "error_code", 0) == UNKNOWN:
                answer.error_code = COORDINATOR_GONE[0]
            return answer

        coordinator._send_req = asked

    async def committed(self, partition: TopicPartition) -> int | None:
        """The next offset of the partition for the group; None where nothing was committed.

        KafkaError where that is not settled within STABLE_S, or where nobody may or can tell.
        """
        coordinator, until = self._coordinator, time.monotonic() + STABLE_S
        while True:
            await coordinator.ensure_coordinator_known()
            answer = await coordinator._send_req(_StableOffset(coordinator.group_id, partition))
            error, offset = answer.error_code, -1
            if not error:  # else no partition may be named
                ((_, ((_, offset, *rest), *_), *_), *_) = answer.topics
                error = rest[-2 if answer.API_VERSION == STABLE_VERSION else -1]
            if not error:
                return None if offset < 0 else int(offset)
            if error not in ASK_AGAIN:
                raise for_code(error)(coordinator.group_id)
            if time.monotonic() > until:
                raise KafkaError(f"{partition}: what is committed is not settled within {STABLE_S:g} s ({error})")
            if error in COORDINATOR_GONE:
                coordinator.coordinator_dead()
            await asyncio.sleep(RETRY_S)
