"""A worker with just the rights that are listed works, over each kind of security; with one fewer it says which."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from stream import kafka
from stream.config import Config
from stream.errors import TriplineError
from stream.rights import Right, rights
from tests.kafka.cluster import Cluster, Security
from tests.kafka.deployment import Deployment
from tests.streams import START_MS
from tests.webserver import Reply, Request, serving

SEED = int(os.environ.get("TEST_SEED", random.SystemRandom().randrange(10**6)))
LONG = os.environ.get("TEST_LONG") == "1"
RECORDS = [
    orjson.dumps({"time": START_MS + n, "account": f"user-{n % 9}", "action": "read", "resource": "/orders"})
    for n in range(60)
]
ACLS = Path(__file__).parents[2] / "deploy" / "kafka" / "ACLS.md"
COUNT = len(rights(Config(), ["access"]))
PASSWORD = "correct horse"


Make = Callable[[], Deployment]


@pytest.fixture(scope="module")
def secure(kafka: None) -> Iterator[Cluster]:
    users = dict.fromkeys(["all", *(f"without-{n}" for n in range(COUNT))], PASSWORD)
    with Cluster(security=Security(users=users)) as cluster:
        yield cluster


@pytest.fixture
def deploy(secure: Cluster, tmp_path: Path) -> Iterator[Make]:
    made: list[Deployment] = []

    def make() -> Deployment:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Deployment(secure.bootstrap, folder, Config(), inputs=2))
        made[-1].produce(RECORDS)
        return made[-1]

    yield make
    for deployment in made:
        deployment.close()


def grant(cluster: Cluster, deployment: Deployment, user: str, but: Right | None = None) -> None:
    """All the rights that are listed, or all but one."""
    for right in rights(deployment.config, [deployment.access]):
        if right != but:
            name = f"{right.name}*" if right.is_prefix else right.name
            cluster.allow(user, right.operation.lower(), right.resource.replace("-", "_"), name)


def file(folder: Path, text: str) -> str:
    path = folder / f"secret-{blake2b(text.encode(), digest_size=4).hexdigest()}"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def scram(cluster: Cluster, folder: Path, user: str = "all", password: str = PASSWORD) -> dict[str, Any]:
    return {
        "bootstrap_servers": cluster.bootstrap_scram, "security_protocol": "SASL_SSL", "sasl_username": user,
        "sasl_password_file": file(folder, password), "ssl_ca_file": str(cluster.certificates / "ca.pem"),
    }  # fmt: skip


def mtls(cluster: Cluster, name: str = "client") -> dict[str, Any]:
    return {
        "bootstrap_servers": cluster.bootstrap_mtls, "security_protocol": "SSL",
        "ssl_ca_file": str(cluster.certificates / "ca.pem"), "ssl_cert_file": str(cluster.certificates / f"{name}.pem"),
    }  # fmt: skip


def bearer(cluster: Cluster, folder: Path, url: str) -> dict[str, Any]:
    return {
        "bootstrap_servers": cluster.bootstrap_scram, "security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER",
        "sasl_token_url": f"{url}/token", "sasl_client_id": "worker", "sasl_client_secret_file": file(folder, PASSWORD),
        "sasl_scope": "kafka", "ssl_ca_file": str(cluster.certificates / "ca.pem"),
    }  # fmt: skip


def token_endpoint(request: Request) -> Reply:
    """A token without a signature, for who knows the secret."""
    due = "Basic " + base64.b64encode(f"worker:{PASSWORD}".encode()).decode()
    if request.body != b"grant_type=client_credentials&scope=kafka" or request.headers.get("Authorization") != due:
        return 401, b'{"error":"invalid_client"}'
    claims = {"sub": "bearer", "iat": int(time.time()) - 10, "exp": int(time.time()) + 600, "scope": "kafka"}
    parts = (base64.urlsafe_b64encode(orjson.dumps(p)).rstrip(b"=").decode() for p in ({"alg": "none"}, claims))
    return 200, orjson.dumps({"access_token": ".".join(parts) + ".", "token_type": "Bearer", "expires_in": 600})


def test_the_rights_that_are_listed_suffice_over_passwords_certificates_and_tokens(
    secure: Cluster, deploy: Make
) -> None:
    with serving(token_endpoint) as url:
        cases = [(deploy(), "all"), (deploy(), "CN=client"), (deploy(), "bearer")]
        changes = [scram(secure, cases[0][0].folder), mtls(secure), bearer(secure, cases[2][0].folder, url)]
        for (deployment, user), change in zip(cases, changes, strict=True):
            grant(secure, deployment, user)
            assert checked(deployment, change) == []
            deployment.start(**change)
        for deployment, _ in cases:
            deployment.wait_until_done()
            assert PASSWORD not in deployment.log()


def checked(deployment: Deployment, changes: dict[str, Any]) -> list[str]:
    """What `tripline check` finds."""
    changed = msgspec.structs.replace(deployment.config.kafka, **changes)
    return asyncio.run(kafka.check(msgspec.structs.replace(deployment.config, kafka=changed)))


def test_one_right_fewer_is_named_with_the_command_that_grants_it(secure: Cluster, deploy: Make) -> None:
    deployment = deploy()
    needed = rights(deployment.config, [deployment.access])
    rng = random.Random(SEED)
    for n in range(COUNT) if LONG else rng.sample(range(COUNT), 4):
        user, right = f"without-{n}", needed[n]
        grant(secure, deployment, user, but=right)
        (problem,) = checked(deployment, scram(secure, deployment.folder, user))
        command = right.command(secure.bootstrap_scram, f"User:{user}")
        assert command in problem, f"seed {SEED}"
        assert f"--operation {right.operation} --{right.resource} {right.name}" in command


def test_a_worker_without_a_right_ends_and_says_so(secure: Cluster, deploy: Make) -> None:
    """Whichever it is: at once, and not after minutes of trying or waiting."""
    rng = random.Random(SEED)
    cases = []
    for n in range(COUNT) if LONG else rng.sample(range(COUNT), 2):
        deployment = deploy()
        right = rights(deployment.config, [deployment.access])[n]
        grant(secure, deployment, f"without-{n}", but=right)
        process = deployment.start(**scram(secure, deployment.folder, f"without-{n}"))
        cases.append((deployment, process, right))
    for deployment, process, right in cases:
        assert deployment.status(process) == 1, f"{right}, seed {SEED}: {deployment.log()}"
        assert right.command("", "").rpartition("--add")[2].split("'")[-1] in deployment.log(), f"{right}, seed {SEED}"


def test_who_is_refused_is_told_without_a_secret(secure: Cluster, deploy: Make) -> None:
    """A wrong password, a certificate that has expired, one of nobody we know."""
    deployment = deploy()
    wrong = [
        scram(secure, deployment.folder, password="battery staple"), mtls(secure, "expired"), mtls(secure, "stranger"),
        scram(secure, deployment.folder) | {"ssl_ca_file": str(secure.certificates / "other-ca.pem")},
    ]  # fmt: skip
    for changes in wrong:
        with pytest.raises(TriplineError, match="the certificates and the password are those of the broker") as error:
            checked(deployment, changes)
        assert "staple" not in str(error.value)
    process = deployment.start(**wrong[0])
    assert deployment.status(process) == 1
    assert "no broker answers over SASL_SSL" in deployment.log()
    assert "staple" not in deployment.log()


def test_the_page_about_rights_lists_them() -> None:
    """Word for word what is checked for: with the default names, and an access topic called `access`."""
    page = ACLS.read_text()
    for right in rights(Config(), ["access"]):
        pattern = " (prefix)" if right.is_prefix else ""
        assert f"| {right.operation} | {right.resource} | `{right.name}`{pattern} |" in page
