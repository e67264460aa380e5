"""The servers of these tests leave nothing behind that a test after them would be blamed for."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from tests.delivery.servers import http_server, smtp_server


@pytest.mark.parametrize("server", [http_server, smtp_server])
@pytest.mark.parametrize("turns", range(5))
def test_who_connects_while_it_closes_leaves_no_socket_open(server: Callable[..., Any], turns: int) -> None:
    """However far the loop has come with the connection, and whether or not the client still waits."""

    async def play(client: socket.socket) -> None:
        async with server() as heard:
            client.connect(("127.0.0.1", heard.port))
            for _ in range(turns):
                await asyncio.sleep(0)

    gc.collect()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        with socket.socket() as client:
            asyncio.run(play(client))
        gc.collect()
    assert [str(each.message) for each in told] == []
