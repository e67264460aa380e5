"""Threads that are the first to make values of a type do not end the process."""

from __future__ import annotations

import subprocess
import sys

# In a process of its own, where nobody has made one yet; the switches between threads are as close as they can be.
RACE = """
import sys, threading
import msgspec
from stream.upgrade import Values
sys.setswitchinterval(1e-6)
together = threading.Barrier(16)
def make():
    together.wait()
    msgspec.convert({value}, Values)
threads = [threading.Thread(target=make) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
SNAPSHOT = {
    "events": 0, "duplicates": 0, "tick": -1, "began_ms": 0, "origins": {}, "evidence": [],
    "correlator": {"open": [], "closed": [], "opened": 0, "spent": {"tokens": 5.0, "reserve": 5.0}},
}  # fmt: skip


def test_partitions_may_be_recovered_in_threads_of_a_new_process() -> None:
    ended = [subprocess.Popen([sys.executable, "-c", RACE.format(value=repr(SNAPSHOT))]) for _ in range(8)]
    assert [process.wait() for process in ended] == [0] * 8
