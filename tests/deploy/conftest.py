"""The whole product, started once for all tests that look at it while it works."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.deploy.stack import Stack, missing


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Every process of deploy/compose.yaml, with a theft played into it and found: look, and stop nothing."""
    if lacking := missing():
        if os.environ.get("CI") == "true":
            pytest.fail(lacking)
        pytest.skip(lacking)
    with Stack() as started:
        started.play()
        started.watch()
        yield started
