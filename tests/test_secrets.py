"""Secrets are in files that not everybody may read, and metrics are shown to whoever may see them."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from prometheus_client import CollectorRegistry

from stream.config import Config, Worker, fingerprint, load
from stream.errors import UsageError
from stream.metrics import serve_worker
from stream.security import tls
from tests.kafka.node import free_ports
from tests.kafka.security import make_certificates

KEY = "0123456789abcdef0123456789abcdef"


def written(path: Path, text: str, mode: int) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_key_of_ones_own_is_not_in_a_file_for_everybody(tmp_path: Path) -> None:
    """The default key is no secret; a variable is in no file."""
    path = tmp_path / "tripline.toml"
    with pytest.raises(UsageError, match=r"hash_key: everybody .* chmod o-r it, or name a file with hash_key_file"):
        load(written(path, f'hash_key = "{KEY}"', 0o644), {})
    assert load(written(path, f'hash_key = "{KEY}"', 0o640), {}).hash_key == KEY
    assert load(written(path, f'hash_key = "{Config().hash_key}"', 0o644), {}) == Config()


def test_a_key_from_a_file_is_the_same_key(tmp_path: Path) -> None:
    """Where it comes from changes no alert."""
    kept = written(tmp_path / "key", f"{KEY}\n", 0o400)
    path = written(tmp_path / "tripline.toml", f'hash_key_file = "{kept}"', 0o644)
    assert load(path, {}).hash_key == KEY
    assert fingerprint(load(path, {})) == fingerprint(Config(hash_key=KEY))


@pytest.mark.parametrize(
    ("text", "mode", "more", "says"),
    [
        (KEY, 0o444, "", "everybody on this host may read this secret; chmod o-r it"),
        ("hunter2", 0o400, "", "what is in it must be 32 hexadecimal digits"),
        ("", 0o400, "", "empty; a secret is expected in it"),
        (KEY, 0o400, f'hash_key = "{KEY[::-1]}"\n', "there is a hash_key as well; keep one of the two"),
    ],
)
def test_a_key_file_that_cannot_be_used_is_said_and_not_shown(
    tmp_path: Path, text: str, mode: int, more: str, says: str
) -> None:
    kept = written(tmp_path / "key", text, mode)
    path = written(tmp_path / "tripline.toml", f'{more}hash_key_file = "{kept}"', 0o600)
    with pytest.raises(UsageError, match=says) as error:
        load(path, {})
    assert not text or text not in str(error.value)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates") / "made"
    make_certificates(folder)
    return folder


def test_a_private_key_that_everybody_may_read_is_refused(certificates: Path, tmp_path: Path) -> None:
    """In a file of its own, or together with its certificate."""
    both = written(tmp_path / "both.pem", (certificates / "client.pem").read_text(), 0o644)
    key = written(tmp_path / "client.key", (certificates / "client.key").read_text(), 0o644)
    for cert_file, key_file in ((both, ""), (certificates / "client.crt", key)):
        with pytest.raises(UsageError, match="everybody on this host may read"):
            tls("kafka.ssl_*", "", str(cert_file), str(key_file))
    tls("kafka.ssl_*", "", str(certificates / "client.pem"))


@pytest.fixture
def served(certificates: Path, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """served(**settings of [worker]): the address where that is served, until the test ends."""
    stops = []

    def start(**settings: Any) -> str:
        worker = Worker(metrics_port=next(free_ports()), **settings)
        stops.append(serve_worker(CollectorRegistry(), worker, {"/livez": lambda: ""}))
        return f"{'https' if worker.metrics_cert_file else 'http'}://127.0.0.1:{worker.metrics_port}"

    yield start
    for stop in stops:
        stop()


def test_beyond_this_host_metrics_need_tls_and_a_token(served: Callable[..., str], certificates: Path) -> None:
    """Half of that is not enough."""
    token = str(written(certificates / "token", "let me see", 0o400))
    pair = {
        "metrics_cert_file": str(certificates / "broker.crt"), "metrics_key_file": str(certificates / "broker.key")
    }  # fmt: skip
    for given in ({}, pair, {"metrics_token_file": token}):
        with pytest.raises(UsageError, match=r"would show metrics to whoever asks; give .*metrics_plaintext_allowed"):
            served(metrics_address="0.0.0.0", **given)
    with urlopen(served(metrics_address="0.0.0.0", metrics_plaintext_allowed=True) + "/metrics", timeout=5) as answer:
        assert answer.status == 200


def test_with_tls_and_a_token_only_who_shows_it_is_answered(served: Callable[..., str], certificates: Path) -> None:
    token = str(written(certificates / "another", "let me see", 0o400))
    address = served(
        metrics_address="0.0.0.0", metrics_cert_file=str(certificates / "broker.pem"), metrics_token_file=token
    )
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))

    def asked(path: str, shown: str = "") -> int:
        request = Request(f"{address}{path}", headers={"Authorization": shown} if shown else {})
        try:
            with urlopen(request, timeout=5, context=context) as answer:
                return int(answer.status)
        except HTTPError as why:
            return why.code

    assert asked("/metrics", "Bearer let me see") == 200
    for wrong in ("", "Bearer let me", "Bearer", "Basic let me see", "Bearer let me see\xff"):
        assert asked("/metrics", wrong) == 401
    assert asked("/livez") == 200  # a kubelet has no token
    with pytest.raises((URLError, OSError)):
        urlopen(address.replace("https", "http") + "/livez", timeout=5)
