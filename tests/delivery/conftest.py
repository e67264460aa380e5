"""A certificate of one's own, for servers that nobody vouches for."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def certificate() -> Callable[[Path], Path]:
    """certificate(folder): a file with a key and a certificate for 127.0.0.1 that it has signed itself."""

    def made(folder: Path) -> Path:
        path = folder / "server.pem"
        key, crt = folder / "key.pem", folder / "crt.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(crt)],
            check=True, capture_output=True,
        )  # fmt: skip
        path.write_text(key.read_text() + crt.read_text())
        return path

    return made
