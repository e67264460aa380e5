"""What the tests of images and manifests share: YAML read, commands and settings tried on the product itself."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own

from detectors import catalog
from stream.cli import _parser
from stream.config import Config, load
from stream.decode import formats

DEPLOY: Final = Path(__file__).parents[2] / "deploy"


def documents(text: str) -> list[dict[str, Any]]:
    """Every document of a YAML stream."""
    return [document for document in yaml.safe_load_all(text) if document]


def command(arguments: list[str]) -> Namespace:
    """A tripline command as the product understands it; SystemExit where it does not."""
    return _parser().parse_args(arguments)


def settings(path: Path) -> Config:
    """A configuration as the product takes it; UsageError where it does not."""
    return load(path, {}, catalog.detector_ids(), list(formats()))
