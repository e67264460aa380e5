"""How the suite runs: no test is judged by how long an example takes, and what starts a broker runs in one process."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("tripline", deadline=None)
settings.load_profile("tripline")

TOGETHER = {  # in one process each: what starts brokers, and what shares the same replays
    "brokers": ("tests/kafka/", "tests/deploy/", "tests/delivery/"),
    "replays": ("tests/test_replay.py",),
}


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One after the other where processes are started and memory is what is short; the rest as cores are free."""
    for item in items:
        for name, beginnings in TOGETHER.items():
            if item.nodeid.startswith(beginnings):
                item.add_marker(pytest.mark.xdist_group(name))
