"""HTTP servers on real sockets: one that answers as a test says, and the schema registry that is made of it."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, bytes]


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@contextmanager
def serving(answer: Callable[[Request], Reply], context: ssl.SSLContext | None = None, port: int = 0) -> Iterator[str]:
    """The URL of a server that answers like this, as long as it is needed."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, sent = answer(Request(self.command, self.path, dict(self.headers), body))
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(sent)))
                if status in (301, 302, 307):
                    self.send_header("Location", sent.decode())
                self.end_headers()
                self.wfile.write(sent)
            except OSError:
                return  # who asked has gone

        do_GET = do_POST = _answer  # noqa: N815 - as the library looks for them

        def log_message(self, *_args: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_args: Any) -> None:
            return  # a client that does not like the certificate

    server = Server(("127.0.0.1", port), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class RegistryApi:
    """The part of a schema registry's API that is used; `password` is what it wants of the user "reader"."""

    schemas: dict[int, dict[str, Any]] = field(default_factory=dict)
    subjects: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    password: str = ""
    down: Reply | None = None
    asked: list[str] = field(default_factory=list)

    def __call__(self, request: Request) -> Reply:
        self.asked.append(request.path)
        if self.down is not None:
            return self.down
        due = "Basic " + base64.b64encode(f"reader:{self.password}".encode()).decode()
        if self.password and request.headers.get("Authorization") != due:
            return 401, b'{"error_code":401,"message":"Unauthorized"}'
        path, _, query = request.path.partition("?")
        match path.strip("/").split("/"):
            case ["schemas", "types"]:
                return 200, b'["AVRO","JSON","PROTOBUF"]'
            case ["schemas", "ids", number]:
                found, code = self.schemas.get(int(number)), 40403
            case ["subjects", subject, "versions", version]:
                found, code = self.subjects.get((subject, int(version))), 40402
            case _:
                return 404, b"<html>no such page</html>"
        if found is None:
            return 404, json.dumps({"error_code": code, "message": "not found"}).encode()
        shown = {k: v for k, v in found.items() if k != "serialized"}
        if query == "format=serialized" and "serialized" in found:
            shown["schema"] = found["serialized"]
        return 200, json.dumps(shown).encode()
