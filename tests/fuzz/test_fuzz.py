"""What is fuzzed is all that there is, and each target takes the inputs that it begins from; without a fuzzer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stream.decode import formats
from tests.fuzz.__main__ import Row, table
from tests.fuzz.mutate import mutated
from tests.fuzz.target import PART, Target, modules, targets


@pytest.mark.parametrize("target", targets().values(), ids=lambda target: target.name)
def test_a_target_takes_the_inputs_that_it_begins_from(target: Target) -> None:
    seeds = target.seeds()
    assert seeds
    for seed in seeds:
        target.check(seed)


@pytest.mark.parametrize("target", targets().values(), ids=lambda target: target.name)
def test_a_target_takes_what_is_nothing_or_no_text(target: Target) -> None:
    for data in (b"", b"\0", b"\n", PART, PART * 3, b"\xff" * 9, b"+" + PART, b"{}"):
        target.check(data)


def test_every_decoder_is_fuzzed() -> None:
    assert {f"decode.{name}" for name in formats()} <= targets().keys()


def test_every_file_of_targets_is_found() -> None:
    there = {path.stem for path in Path(__file__).parent.glob("of_*.py")}
    assert there == set(modules())
    assert len(targets()) > len(formats()) + len(there)


def test_loops_that_are_compiled_are_fuzzed_as_they_are() -> None:
    """Whatever reads bytes in a kernel: a decoder with a quick way, and what else is known to have one."""
    compiled = {target.name for target in targets().values() if target.compiled}
    assert {f"decode.{name}" for name, fmt in formats().items() if fmt.quick} <= compiled
    assert {"source", "places", "fetch", "ingest", "blocks", "snapshot.state"} <= compiled


@pytest.mark.parametrize(
    "data", [b'{"a": [1, "x", {"b": null}]}\n{"c": 2}', b"[1]" + PART + b"\xff", b"{", b"", b"plain"]
)
def test_a_mutation_is_another_input_within_its_limit_and_repeats_by_its_seed(data: bytes) -> None:
    def native(given: bytes, most: int) -> bytes:
        return (given + b"!")[:most]

    made = [mutated(data, 60, seed, native) for seed in range(200)]
    assert made == [mutated(data, 60, seed, native) for seed in range(200)]
    assert all(len(each) <= 60 for each in made)
    if data.startswith(b"{") and len(data) > 1:
        texts = {each for each in made if not each.endswith(b"!")}
        assert len(texts) > 20
        for text in texts:
            for line in text.split(b"\n"):
                json.loads(line)


def test_what_came_of_it_is_a_line_for_each_target() -> None:
    rows = [Row("blocks", 5_000, 10.0, 77, 0.0), Row("source", 10, 10.0, 5, 1.0, [Path("out/fuzz/source/crash-1")])]
    head, blocks, source, total = table(rows).splitlines()
    assert head.split()[0] == "target"
    assert blocks.split() == ["blocks", "5,000", "500", "77", "0", "10", "-"]
    assert source.endswith("crash-1")
    assert total.split() == ["all", "5,010", "20"]
