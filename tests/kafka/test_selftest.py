"""A self-test goes the whole way on a real broker, is measured, and no analyst hears of it."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from urllib.request import urlopen

import msgspec

from stream.config import Config, SelfTest
from stream.selftest import PREFIX
from tests.kafka.cluster import Cluster
from tests.kafka.deployment import READY_S, Deployment
from tests.kafka.node import free_ports

CONFIG = Config(hash_key="0123456789abcdef0123456789abcdef", tick_s=1)


def test_a_theft_of_our_own_is_found_measured_and_told_to_nobody(cluster: Cluster, tmp_path: Path) -> None:
    deployment = Deployment(cluster.bootstrap, tmp_path, CONFIG, partitions=2, inputs=1)
    deployment.config = msgspec.structs.replace(
        deployment.config, selftest=SelfTest(topic=deployment.access, every_s=1.0)
    )
    port = next(free_ports())
    deployment.start("worker")
    deployment.start("respond", metrics_port=port)
    ended = threading.Event()

    def live() -> None:
        """Traffic, without which stream time stands still."""
        while not ended.wait(0.5):
            now_ms = int(time.time() * 1000)
            event = '{"time":%d,"account":"user-%d","action":"read","resource":"/"}'
            deployment.produce([(event % (now_ms, n)).encode() for n in range(16)])

    def count(what: str) -> float:
        try:
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                found = re.search(rf"^tripline_selftest{what} (\S+)$", answer.read().decode(), re.MULTILINE)
        except OSError:
            return 0.0
        assert found
        return float(found[1])

    traffic = threading.Thread(target=live)
    traffic.start()
    try:
        deadline = time.monotonic() + READY_S
        while count("s_detected_total") < 2:
            assert all(p.poll() is None for p in deployment.processes), deployment.log()[-4000:]
            assert time.monotonic() < deadline, deployment.log()[-4000:]
            ended.wait(0.2)
        assert 2 <= count("s_detected_total") <= count("s_sent_total")
        assert count("_detection_seconds_count") >= 2
    finally:
        ended.set()
        traffic.join()
        deployment.close()
    assert any(found.value.startswith(PREFIX) for found in deployment.signals())
    assert deployment.read(deployment.config.kafka.alerts) == []
