"""The generator as a source: the same log for the same seed, in order, in bounded blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.events import ACCOUNT_KINDS, ACTIONS, COUNT_MAX, TEXT_BYTES_MAX, TEXT_FIELDS
from stream.incidents import BLOCK_EVENTS, Incident, generate, generate_labelled, load_incident

Columns = dict[str, npt.NDArray[Any]]
Log = Callable[..., Columns]
SMALL = {"accounts": 300, "days": 2.0}
NAMES = ["forged-token", "forged-token-residential"]


def same(left: Columns, right: Columns) -> bool:
    return all(np.array_equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_everything(log: Log, name: str) -> None:
    """The same seed gives the same log bit for bit, another seed another world."""
    incident = load_incident(name)
    first, again = log(incident, **SMALL, seed=5), log(incident, **SMALL, seed=5)
    other = log(incident, **SMALL, seed=6)
    assert same(first, again)
    assert first["time"][0] != other["time"][0]
    assert not set(first["credential"]) & set(other["credential"]) - {""}


@settings(max_examples=8, deadline=None)
@given(block_events=st.integers(1, 5_000))
def test_the_block_size_changes_nothing(log: Log, block_events: int) -> None:
    """Where blocks are cut is no property of the log."""
    incident = load_incident("forged-token")
    whole = log(incident, accounts=100, days=1.0, seed=3)
    cut = log(incident, accounts=100, days=1.0, seed=3, block_events=block_events)
    assert same(whole, cut)


@settings(max_examples=10, deadline=None)
@given(accounts=st.integers(1, 400), days=st.floats(0.01, 3.0), seed=st.integers(0, 2**63 - 1))
def test_any_scale_gives_valid_events(accounts: int, days: float, seed: int) -> None:
    """Every event is one that the pipeline accepts, inside its window, in a block that keeps its promises."""
    lines = 0
    for block in generate(load_incident("forged-token"), accounts=accounts, days=days, seed=seed):
        assert 0 < len(block) <= BLOCK_EVENTS
        assert block.line.tolist() == list(range(lines + 1, lines + len(block) + 1))
        lines += len(block)
        assert set(block.text) == set(TEXT_FIELDS)
        assert all(len(values) == len(block) for values in block.text.values())
        assert all(len(name.encode()) <= TEXT_BYTES_MAX for values in block.text.values() for name in set(values))
        assert all(block.text["account"])
        assert all(block.text["resource"])
        for counts in (block.records, block.bytes):
            assert ((counts >= 0) & (counts <= COUNT_MAX) & (counts == np.floor(counts))).all()
        assert set(block.outcome.tolist()) <= {0, 1}
        assert block.action.min() >= 0
        assert block.action.max() < len(ACTIONS)
        assert block.account_kind.min() >= 0
        assert block.account_kind.max() < len(ACCOUNT_KINDS)


def test_events_come_in_the_order_of_time(log: Log, figures: Callable[..., Incident]) -> None:
    """Only a login that is written late is out of order, and by no more than the figure says."""
    time = log(figures("customers", late_share=0.0), **SMALL, seed=2)["time"]
    assert (np.diff(time) >= 0).all()
    late = log(figures("customers", late_share=0.2, late_max_s=30.0), **SMALL, seed=2)
    behind = np.maximum.accumulate(late["time"]) - late["time"]
    assert set(late["action"][behind > 0].tolist()) == {ACTIONS.index("login")}
    assert 20_000 < behind.max() <= 30_000


def test_without_the_attack_the_rest_is_the_same(log: Log) -> None:
    """The campaign is added to the world and changes nothing in it, so a quiet run is the other's true background."""
    incident = load_incident("forged-token-residential")
    attacked, quiet = log(incident, **SMALL, seed=9), log(incident, **SMALL, seed=9, attack=False)
    assert attacked["attack"].any()
    assert not quiet["attack"].any()
    for name in set(quiet) - {"line"}:
        assert np.array_equal(attacked[name][~attacked["attack"]], quiet[name]), name


def test_labels_are_kept_out_of_the_blocks() -> None:
    """`generate` gives the blocks of `generate_labelled`, and nothing else."""
    incident = load_incident("forged-token")
    plain = list(generate(incident, **SMALL, seed=4))  # type: ignore[arg-type]
    labelled = list(generate_labelled(incident, **SMALL, seed=4))  # type: ignore[arg-type]
    assert [repr(block) for block in plain] == [repr(block) for block, _ in labelled]
    assert [block.text for block in plain] == [block.text for block, _ in labelled]
