"""Metrics and health over HTTP, or metrics to a file.

On loopback in the clear. Beyond it only with TLS, and /metrics for whoever has the token, unless the configuration
allows otherwise by name; /livez and /readyz say nothing that an attacker could use, and kubelets have no token.
"""

from __future__ import annotations

import hmac
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from socketserver import ThreadingMixIn
from threading import Thread
from types import MappingProxyType
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app, write_to_textfile

from stream.config import Worker
from stream.errors import TriplineError, UsageError
from stream.secret import is_loopback, private, secret

LOOPBACK: Final = "127.0.0.1"


def serve(
    registry: CollectorRegistry, port: int, address: str = LOOPBACK, *, setting: str = "--metrics-port",
    health: Mapping[str, Callable[[], str]] = MappingProxyType({}), token: str = "",
    context: ssl.SSLContext | None = None,
) -> Callable[[], None]:  # fmt: skip
    """Serve /metrics over HTTP until the returned function is called; TriplineError when the port cannot be had.

    health: by path, what says why the answer is 503, or nothing for 200. token: what /metrics wants to be shown, if
    anything. context: for TLS.
    """
    exposition = make_wsgi_app(registry)
    wanted = f"Bearer {token}".encode()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path = environ.get("PATH_INFO", "/")
        shown = environ.get("HTTP_AUTHORIZATION", "").encode("latin-1", "replace")
        answer = health.get(path)
        if path == "/metrics" and token and not hmac.compare_digest(shown, wanted):
            status, reason = "401 Unauthorized", "metrics are for whoever shows the token"
        elif path == "/metrics":
            return exposition(environ, start_response)
        else:
            reason = answer() if answer else "metrics are at /metrics"
            status = "404 Not Found" if answer is None else "503 Service Unavailable" if reason else "200 OK"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{reason or 'ok'}\n".encode()]

    return listen(application, port, address, setting=setting, context=context)


def listen(
    application: Callable[..., Any], port: int, address: str, *, setting: str, context: ssl.SSLContext | None
) -> Callable[[], None]:
    """Serve a WSGI application until the returned function is called; TriplineError when the port cannot be had."""
    try:
        server = make_server(address, port, application, _Server, _Silent)
    except OSError as error:
        raise TriplineError(f"{setting} {port}: {error.strerror}; choose a port that is free") from error
    if context is not None:  # the handshake is the request's thread's, which has a time limit
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


def serve_worker(
    registry: CollectorRegistry, worker: Worker, health: Mapping[str, Callable[[], str]],
    port: int | None = None, setting: str = "worker.metrics_port",
) -> Callable[[], None]:  # fmt: skip
    """Serve as [worker] says, or on another port, of this setting; UsageError where whoever asks would see metrics."""
    port = worker.metrics_port if port is None else port
    if port == 0:
        return lambda: None
    context = tls(worker)
    token = secret(Path(worker.metrics_token_file)) if worker.metrics_token_file else ""
    guarded = context is not None and token
    if not (is_loopback(worker.metrics_address) or guarded or worker.metrics_plaintext_allowed):
        raise UsageError(
            f"worker.metrics_address = {worker.metrics_address!r} would show metrics to whoever asks; give "
            "worker.metrics_cert_file, metrics_key_file and metrics_token_file, or allow it by name with "
            "worker.metrics_plaintext_allowed = true"
        )
    return serve(
        registry, port, worker.metrics_address, setting=setting, health=health, token=token, context=context,
    )  # fmt: skip


def tls(worker: Worker) -> ssl.SSLContext | None:
    """What [worker] says of TLS, None where it says nothing; UsageError where it is of no use."""
    cert_file, key_file = worker.metrics_cert_file, worker.metrics_key_file
    if not cert_file:
        return None
    private(Path(key_file or cert_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert_file, key_file or None)
    except (OSError, ssl.SSLError) as why:
        raise UsageError(f"worker.metrics_cert_file = {cert_file!r}: cannot be used: {why}") from why
    return context


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
