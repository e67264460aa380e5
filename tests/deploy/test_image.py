"""The image and what compose makes of it: linted, locked, without rights, and of parts that exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from stream.security import connection
from tests.deploy.manifests import DEPLOY, command, documents, settings
from tests.deploy.programs import program

ROOT: Final = DEPLOY.parent
COMPOSE: Final = documents((DEPLOY / "compose.yaml").read_text())[0]
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
OURS: Final = [name for name, service in SERVICES.items() if service["image"] == "tripline"]


def locked(path: Path) -> dict[str, set[str]]:
    """Hashes by package and version."""
    found: dict[str, set[str]] = {}
    name = ""
    for line in path.read_text().splitlines():
        if match := re.match(r"([\w.-]+==[\w.]+)", line):
            name = match[1]
        elif hashed := re.search(r"--hash=(sha256:[0-9a-f]{64})", line):
            found.setdefault(name, set()).add(hashed[1])
    return found


def test_the_dockerfile_is_clean() -> None:
    done = subprocess.run(
        [program("hadolint"), DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


def test_the_dockerfile_ends_without_root_with_a_health_check_and_in_exec_form() -> None:
    last = (DEPLOY / "Dockerfile").read_text().split("\nFROM ")[-1]
    assert re.findall(r"^USER (.*)$", last, re.MULTILINE) == ["10001:10001"]
    for name in ("ENTRYPOINT", "CMD"):
        (form,) = re.findall(rf"^{name} (.*)$", last, re.MULTILINE)
        assert json.loads(form)
    assert "HEALTHCHECK" in last
    assert "--require-hashes" in (DEPLOY / "Dockerfile").read_text()


def test_what_is_in_the_image_is_what_is_tested() -> None:
    """The same versions with the same hashes; `make lock` writes both files."""
    image, all_of_it = locked(DEPLOY / "image.lock"), locked(ROOT / "requirements.lock")
    assert len(image) > 20
    for name, hashes in image.items():
        assert hashes == all_of_it.get(name), f"{name}: not as in requirements.lock; run make lock"


HIDE: Final = """
import sys
from importlib.metadata import packages_distributions
plain = lambda name: name.lower().replace("_", "-")
kept = set(map(plain, sys.argv[1:])) | {"tripline"}
absent = {module for module, owners in packages_distributions().items() if not set(map(plain, owners)) & kept}
class Rest:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Rest, sys.meta_path)
import stream.commands, stream.playback, stream.respond, stream.worker
print(len(absent))
"""


def test_the_product_starts_with_what_the_image_has() -> None:
    """With every package hidden that is not in image.lock."""
    names = [name.partition("==")[0] for name in locked(DEPLOY / "image.lock")]
    done = subprocess.run(
        [sys.executable, "-c", HIDE, *names], capture_output=True, text=True, check=False, cwd=ROOT
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5


@pytest.mark.parametrize("name", list(SERVICES))
def test_a_service_of_compose_has_no_right_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert not service.get("privileged")
    assert re.search(r":v?\d", service["image"]) or name in OURS, "no version"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert set(service.get("depends_on", ())) <= set(SERVICES)
    for volume in service.get("volumes", ()):
        source, _, _ = volume.partition(":")
        assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
        assert volume.endswith(":ro") or not source.startswith(".")
    if name != "access-topic":
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service.get("read_only") or name == "kafka"


@pytest.mark.parametrize("name", OURS)
def test_a_command_of_compose_is_one(name: str) -> None:
    given = command(SERVICES[name]["command"])
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES[name]["volumes"]}
    config = settings(DEPLOY / mounted[str(given.config)])
    assert connection(config.kafka)["bootstrap_servers"] == "kafka:9092"


def test_prometheus_scrapes_services_that_there_are() -> None:
    scraped = re.findall(r'\["(\S+):(\d+)"\]', (DEPLOY / "prometheus/prometheus.yml").read_text())
    assert {name for name, _ in scraped} == {"worker", "respond", "alertmanager"} <= set(SERVICES)
    given = settings(DEPLOY / "demo.toml")
    ports = {"worker": given.worker.metrics_port, "respond": given.respond.metrics_port}
    assert {name: int(number) for name, number in scraped if name in OURS} == ports
    checks = {"worker": (DEPLOY / "Dockerfile").read_text(), "respond": SERVICES["respond"]["healthcheck"]["test"][-1]}
    assert all(f"http://127.0.0.1:{port}/livez" in checks[name] for name, port in ports.items())
