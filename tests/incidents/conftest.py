"""Worlds for the tests: made once, shared by all that only look."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from stream.events import TEXT_FIELDS, EventBlock
from stream.incidents import Incident, generate_labelled, load_incident

Columns = dict[str, npt.NDArray[Any]]
NUMBERS = ("line", "time", "action", "account_kind", "outcome", "records", "bytes", "asn")


def _columns(labelled: Iterable[tuple[EventBlock, npt.NDArray[np.bool_]]]) -> Columns:
    pairs = list(labelled)
    columns: Columns = {name: np.concatenate([getattr(block, name) for block, _ in pairs]) for name in NUMBERS}
    for name in TEXT_FIELDS:
        columns[name] = np.array([text for block, _ in pairs for text in block.text[name]], np.object_)
    columns["attack"] = np.concatenate([attack for _, attack in pairs])
    return columns


@pytest.fixture(scope="session")
def log() -> Callable[..., Columns]:
    """log(incident, accounts=..., days=..., seed=...): the whole log as one array a field, and `attack`."""

    def whole(incident: Incident, **arguments: Any) -> Columns:
        return _columns(generate_labelled(incident, **arguments))

    return whole


@pytest.fixture(scope="session")
def replay() -> Callable[..., Columns]:
    """replay(name): a campaign among 2,000 customers over eight days, made once; seed 11 unless told."""

    @cache
    def whole(name: str, seed: int = 11) -> Columns:
        return _columns(generate_labelled(load_incident(name), accounts=2_000, days=8, seed=seed))

    return whole


@pytest.fixture(scope="session")
def figures() -> Callable[..., Incident]:
    """figures(section, name=value, ...): the forged-token incident, some figures of one section changed."""

    def changed(section: str, **values: Any) -> Incident:
        incident = load_incident("forged-token")
        if section == "attack":
            return msgspec.structs.replace(incident, attack=msgspec.structs.replace(incident.attack, **values))
        part = msgspec.structs.replace(getattr(incident.world, section), **values)
        return msgspec.structs.replace(incident, world=msgspec.structs.replace(incident.world, **{section: part}))

    return changed
