"""Streams.java, compiled, and its jars: fetched with Maven once and kept in the cache, as the broker's are."""

from __future__ import annotations

import shutil
import tempfile
from hashlib import blake2b
from pathlib import Path
from typing import Final

from tests.kafka import release

POM: Final = Path(__file__).with_name("pom.xml")
SOURCE: Final = Path(__file__).with_name("Streams.java")
COMPILE_S: Final = 120.0
OPTIONS: Final = (
    "-Xmx2g", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
)  # fmt: skip


def missing() -> str | None:
    """What this machine lacks to run it, in a sentence that says what to do; None where it lacks nothing."""
    if not is_prepared() and shutil.which("javac") is None:
        return "javac is missing: on Debian, apt-get install openjdk-17-jdk-headless"
    return release.requirements()


def is_prepared() -> bool:
    """Whether it is in the cache."""
    return _folder().exists()


def command(*arguments: str) -> list[str]:
    """The command that runs it. Raises KafkaError where it cannot be fetched or compiled."""
    folder = _folder()
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent) as part:
            _make(Path(part, "made"))
            Path(part, "made").rename(folder)
    return ["java", *OPTIONS, "-cp", f"{folder}/classes:{folder}/jars/*", "Streams", *arguments]


def _make(folder: Path) -> None:
    jars = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}/jars")
    version = f"-Dkafka.version={release._version()}"
    release._run(
        ["mvn", "-q", "-B", "-f", str(POM), version, *jars], release.FETCH_S, "Kafka Streams cannot be fetched"
    )
    compiler = ["javac", "-cp", f"{folder}/jars/*", "-d", f"{folder}/classes", str(SOURCE)]
    release._run(compiler, COMPILE_S, f"{SOURCE.name} cannot be compiled")


def _folder() -> Path:
    made_of = POM.read_bytes() + SOURCE.read_bytes() + release._folder().name.encode()
    return release._folder().with_name(f"streams-{blake2b(made_of, digest_size=4).hexdigest()}")
