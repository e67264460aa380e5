"""Each control of the threat model has a test, and that test is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
ROWS: Final = [
    row for row in re.findall(r"^\| (.+) \|$", (DEPLOY / "SECURITY.md").read_text(), re.MULTILINE)
    if not row.startswith("who and how")
]  # fmt: skip


def test_there_is_a_threat_of_each_kind() -> None:
    titles = re.findall(r"^## (.+)$", (DEPLOY / "SECURITY.md").read_text(), re.MULTILINE)
    assert titles == ["Blind it", "Flood it", "Read from it", "Poison it", "Left open"]
    assert len(ROWS) >= 20


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split(" | ")[0])
def test_a_threat_has_a_control_and_a_test(row: str) -> None:
    _threat, control, tests = row.split(" | ")
    assert control
    path = None
    named = re.findall(r"\]\(([^)]+)\)|`(test_\w+)`", tests)
    assert any(name for _, name in named)
    for link, name in named:
        if link:
            path = DEPLOY / link
        else:
            assert path is not None
            assert f"def {name}(" in path.read_text(), f"{path.name} has no {name}"
