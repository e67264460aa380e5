"""The Apache Kafka that deploy/kafka/pom.xml names: fetched with Maven once, kept in a cache, run with java.

A folder in the cache holds the jars, the checkpoint that formatting puts into a node's storage (the same for all that
have no users of their own) and, once a cluster has been left, an archive of the classes that a broker loads, with which
it starts in half the time. The folder's name changes with the POM and with java; it appears whole or not at all.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

POM: Final = Path(__file__).parents[2] / "deploy" / "kafka" / "pom.xml"
JAVA_MIN: Final = 17  # what the servers of Kafka 4 need
FETCH_S: Final = 900.0
FORMAT_S: Final = 120.0
QUICK_START: Final = (
    "-Xms32m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:-UsePerfData",
    "-XX:TieredStopAtLevel=1",  # compiling for peak speed would take more of a test's time than it gives back
    "-Dlog4j2.loggerContextFactory=org.apache.logging.log4j.simple.SimpleLoggerContextFactory",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.showShortLogName=true",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config.AbstractConfig=warn",  # it lists every setting
)  # fmt: skip


class KafkaError(Exception):
    """Kafka cannot be fetched, started or stopped; the message says what to do, or what the broker's log says."""


class Release(NamedTuple):
    """A prepared folder of the cache."""

    folder: Path

    @property
    def checkpoint(self) -> Path:
        """What formatted storage begins with, for nodes without users."""
        return self.folder / "bootstrap.checkpoint"

    @property
    def archive(self) -> Path:
        """Classes ready to be mapped; may be missing."""
        return self.folder / "classes.jsa"

    def command(self, main: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        """The command that runs a class of Kafka's."""
        jars = ":".join(sorted(str(jar) for jar in (self.folder / "jars").iterdir()))
        return ["java", *QUICK_START, *options, "-cp", jars, main, *arguments]

    def format(self, properties: Path, cluster: str, *arguments: str) -> None:
        """Format the storage that a node's properties name. Raises KafkaError with what StorageTool says."""
        command = self.command("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties), *arguments)
        _run(command, FORMAT_S, "Kafka's storage cannot be formatted")

    def keep_archive(self, written: Path) -> None:
        """Take over the archive that a broker wrote when it ended, if it did."""
        if written.exists():
            part = self.folder / f"classes.{os.getpid()}"
            shutil.copyfile(written, part)
            part.replace(self.archive)


def requirements() -> str | None:
    """What this machine lacks to run Kafka, in a sentence that says what to do; None where it lacks nothing."""
    java = _java()
    if java is None:
        return f"java is missing: install Java {JAVA_MIN} or newer (on Debian, apt-get install openjdk-17-jre-headless)"
    if java[0] < JAVA_MIN:
        return f"java is version {java[1]}: Kafka needs Java {JAVA_MIN} or newer, first in PATH"
    if not _folder().exists() and shutil.which("mvn") is None:
        return "mvn is missing: install Maven, which fetches Kafka once (on Debian, apt-get install maven)"
    return None


def new_id() -> str:
    """An id for a cluster: 16 bytes in base 64, of which the first must not be taken for an option."""
    return urlsafe_b64encode(b"tripline" + os.urandom(8)).decode().rstrip("=")


def prepared() -> Release:
    """The release, fetched if it is not in the cache. Raises KafkaError where that cannot be done."""
    if missing := requirements():
        raise KafkaError(missing)
    folder = _folder()
    if not folder.exists():
        _fetch(folder)
    return Release(folder)


def _fetch(folder: Path) -> None:
    """Prepare a folder beside the one that is wanted, then give it the name; another process may have been first."""
    sys.stderr.write(f"fetching Apache Kafka {_version()} into {folder} (once; about a minute)\n")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent) as part:
        release = Release(Path(part, "release"))
        jars = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={release.folder}/jars")
        _run(["mvn", "-q", "-B", "-f", str(POM), *jars], FETCH_S, "Kafka's jars cannot be fetched")
        properties = Path(part, "server.properties")
        properties.write_text(
            f"process.roles=broker,controller\nnode.id=1\nlog.dirs={part}/data\n"
            "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n"
            "controller.listener.names=CONTROLLER\ncontroller.quorum.voters=1@127.0.0.1:9093\n"
        )
        release.format(properties, new_id())
        Path(part, "data", release.checkpoint.name).rename(release.checkpoint)
        try:
            release.folder.rename(folder)
        except OSError:  # a folder that is there and not empty is the other process's, and as good
            if not folder.exists():
                raise


def _run(command: Sequence[str], timeout_s: float, what: str) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as why:
        raise KafkaError(f"{what}: {command[0]} has not ended within {timeout_s:.0f} s") from why
    if done.returncode:
        raise KafkaError(f"{what}: {command[0]} says\n{done.stdout}{done.stderr}")


def _folder() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    java = _java()
    made_of = POM.read_bytes() + (java[1] if java else "").encode()
    return home / "tripline" / f"kafka-{_version()}-{blake2b(made_of, digest_size=4).hexdigest()}"


def _version() -> str:
    found = re.search(r"<kafka\.version>(.+?)</", POM.read_text())
    return found[1] if found else "of an unknown version"


@cache
def _java() -> tuple[int, str] | None:
    """Major and full version of the java in PATH; None where there is none that runs."""
    if shutil.which("java") is None:
        return None
    told = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "((\d+)[^"]*)"', told)
    return (int(found[2]), found[1]) if found else None
