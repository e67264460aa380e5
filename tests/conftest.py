"""How the suite runs: no test is judged by how long an example takes, and what starts a broker runs in one process."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("tripline", deadline=None)
settings.load_profile("tripline")

BROKERS = ("tests/kafka/", "tests/deploy/", "tests/delivery/")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One after the other where processes are started and memory is what is short; the rest as cores are free."""
    for item in items:
        if item.nodeid.startswith(BROKERS):
            item.add_marker(pytest.mark.xdist_group("brokers"))
