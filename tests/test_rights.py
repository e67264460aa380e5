"""Rights are asked for while a broker is down."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from stream.config import Kafka
from stream.rights import _broker


@pytest.mark.parametrize(("down", "asked"), [((), 1), ((1,), 2), ((1, 2), 3), ((1, 2, 3), None)])
def test_one_that_can_be_reached_is_asked(down: tuple[int, ...], asked: int | None, monkeypatch: Any) -> None:
    class Client:
        """Of three brokers, of which some are down."""

        cluster = SimpleNamespace(brokers=lambda: [SimpleNamespace(nodeId=n) for n in (1, 2, 3)])
        closed = False

        def __init__(self, **_settings: Any) -> None: ...

        async def bootstrap(self) -> None: ...

        async def ready(self, node: int) -> bool:
            return node not in down

        async def send(self, node: int, _request: Any) -> int:
            return node

        async def close(self) -> None:
            Client.closed = True

    async def ask() -> Any:
        async with _broker(Kafka()) as asking:
            return await asking("anything")

    monkeypatch.setattr("stream.rights.AIOKafkaClient", Client)
    if asked is None:
        with pytest.raises(KafkaConnectionError, match="no broker can be reached"):
            asyncio.run(ask())
    else:
        assert asyncio.run(ask()) == asked
    assert Client.closed
