"""Ends a cluster's processes and removes its folder when its owner is gone, however it went.

A process of its own that waits for the end of a pipe, which the operating system closes also for an owner that was
killed. Processes that join the guard's process group end with it: unlike a signal at the parent's death this also works
when the thread that started them has ended, and nothing outlives it whose id could mean another process by then.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

END_S: Final = 30.0

WATCH: Final = """
import os, shutil, signal, sys
sys.stdin.read()
if os.fork():
    signal.pause()  # until killed with the rest
os.setsid()
os.killpg(os.getppid(), signal.SIGKILL)
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


class Guard:
    """Guards `folder` and every process that is started with process_group=guard.group."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", WATCH, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0,
        )  # fmt: skip

    @property
    def group(self) -> int:
        """The process group to join."""
        return self._process.pid

    def end(self) -> None:
        """Kill the group and remove the folder; returns when that is done."""
        self._process.communicate(timeout=END_S)
