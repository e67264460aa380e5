"""Metrics and health over HTTP, or metrics to a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from socketserver import ThreadingMixIn
from threading import Thread
from types import MappingProxyType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app, write_to_textfile

from stream.errors import TriplineError


def serve(
    registry: CollectorRegistry, port: int, address: str = "127.0.0.1", *, setting: str = "--metrics-port",
    health: Mapping[str, Callable[[], str]] = MappingProxyType({}),
) -> Callable[[], None]:  # fmt: skip
    """Serve /metrics over HTTP until the returned function is called; TriplineError when the port cannot be had.

    health: by path, what says why the answer is 503, or nothing for 200.
    """
    exposition = make_wsgi_app(registry)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            return exposition(environ, start_response)
        answer = health.get(path)
        reason = answer() if answer else "metrics are at /metrics"
        status = "404 Not Found" if answer is None else "503 Service Unavailable" if reason else "200 OK"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{reason or 'ok'}\n".encode()]

    try:
        server = make_server(address, port, application, _Server, _Silent)
    except OSError as error:
        raise TriplineError(f"{setting} {port}: {error.strerror}; choose a port that is free") from error
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


class _Server(ThreadingMixIn, WSGIServer):
    """A scrape that stalls does not hold up the next."""

    daemon_threads = True


class _Silent(WSGIRequestHandler):
    """No line on stderr for each scrape, and no connection that lasts for ever."""

    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def write(registry: CollectorRegistry, path: Path) -> None:
    """Write the metrics to a file for node_exporter's textfile collector, atomically."""
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        raise TriplineError(
            f"{path}: metrics cannot be written ({error.strerror}); name a file in a writable directory"
        ) from error
