"""How the suite runs: no test is judged by how long an example takes, and what starts a broker runs in one process."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("tripline", deadline=None)
settings.load_profile("tripline")

TOGETHER: Final = {  # in one process each: what shares brokers, a stack of processes, or the same replays
    "brokers": ("tests/kafka/",),
    "stack": ("tests/deploy/", "tests/delivery/"),
    "replays": ("tests/test_replay.py",),
}


class Together(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """One after the other where processes are started and memory is what is short; the rest as cores are free."""

    def _split_scope(self, nodeid: str) -> str:
        """The group that is run in one process; a test by itself is its own."""
        return next((name for name, begins in TOGETHER.items() if nodeid.startswith(begins)), nodeid)


@pytest.hookimpl(optionalhook=True)  # where the suite is run without xdist, nothing is to be scheduled
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Together:
    """In place of --dist loadgroup, which this pytest's node ids leave without effect."""
    return Together(config, log)
