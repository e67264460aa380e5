"""Servers on real sockets that misbehave as told: each request takes the next step of the script, then all is well."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

STALL, RESET = "stall", "reset"
TURNS = 3  # of the loop, in which a connection that was accepted is made and told to its handler
Step = int | str  # a status, STALL (no answer at all), RESET (the connection is cut)


@dataclass
class Heard:
    """What a server was told, and what it accepted of that."""

    port: int = 0
    steps: list[Step] = field(default_factory=list)
    asked: int = 0
    accepted: list[Any] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def step(self) -> Step:
        self.asked += 1
        return self.steps.pop(0) if self.steps else 200


@dataclass
class Posted:
    """A request that was accepted."""

    path: str
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def http_server(steps: Sequence[Step] = (), tls: Any = None, retry_after: str = "0") -> AsyncIterator[Heard]:
    """An HTTP server."""
    heard = Heard(steps=list(steps))

    async def answer(request: web.Request) -> web.StreamResponse:
        body, step = await request.read(), heard.step()
        if step == STALL:
            await asyncio.Event().wait()
        if step == RESET:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if step == 200:
            heard.accepted.append(Posted(request.path, dict(request.headers), body))
        headers = {"Retry-After": retry_after} if step in (429, 503) else {}
        if step == 302:
            headers["Location"] = "/elsewhere"
        return web.Response(status=int(step), text="identity-in-an-answer", headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening, ssl_context=tls).start()
    heard.port = runner.addresses[0][1]
    try:
        yield heard
    finally:
        await stop_accepting(listening)
        await runner.cleanup()


async def stop_accepting(*listening: Any) -> None:
    """Before a server is closed: who connects while it closes would be accepted and left, its socket open for ever."""
    for each in listening:
        asyncio.get_running_loop().remove_reader(each.fileno())
    for _ in range(TURNS):
        await asyncio.sleep(0)


@asynccontextmanager
async def smtp_server(steps: Sequence[Step] = ()) -> AsyncIterator[Heard]:
    """A mail server, as far as sending goes (RFC 5321). A status is what it says to the message, 200 is 250."""
    heard = Heard(steps=list(steps))
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await talk(reader, writer, heard)
        except ConnectionError:
            pass
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    heard.port = server.sockets[0].getsockname()[1]
    try:
        yield heard
    finally:
        await stop_accepting(*server.sockets)
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Heard) -> None:
    step = heard.step()
    if step == STALL:
        await asyncio.Event().wait()
    if step == RESET:
        writer.transport.abort()
        return
    status = 250 if step == 200 else int(step)
    writer.write(b"220 test\r\n")
    while line := await reader.readline():
        word = line.split()[0].upper()
        if word == b"DATA":
            writer.write(b"354 go on\r\n")
            message = await reader.readuntil(b"\r\n.\r\n")
            if status == 250:
                heard.accepted.append(message)
            writer.write(f"{status} so\r\n".encode())
        elif word == b"QUIT":
            writer.write(b"221 bye\r\n")
            return
        else:
            writer.write(b"250 ok\r\n")
        await writer.drain()
