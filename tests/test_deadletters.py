"""Every record that was not used is counted, and written with its place, its reason and the beginning of its bytes."""

from __future__ import annotations

import base64
from collections import Counter
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.deadletters import RAW_BYTES_MAX, DeadLetter, DeadLetters, letters
from stream.errors import TriplineError
from stream.events import Rejected

LETTERS = st.lists(
    st.builds(
        DeadLetter,
        raw=st.binary(max_size=30) | st.text(max_size=10).map(str.encode),
        raw_bytes=st.integers(0, 2**40),
        origin=st.text(max_size=10),
        line=st.integers(1, 2**40),
        reason=st.sampled_from(["not_json", "not_utf8", "missing_field"]),
        detail=st.text(max_size=20),
    ),
    max_size=5,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("dead") / "letters.jsonl")


def parsed(path: str) -> list[DeadLetter]:
    fields = [orjson.loads(line) for line in Path(path).read_bytes().splitlines()]
    for f in fields:
        f["raw"] = base64.b64decode(f.pop("raw_base64")) if "raw_base64" in f else f["raw"].encode()
    return [DeadLetter(**f) for f in fields]


@given(batches=st.lists(LETTERS, max_size=4))
def test_every_letter_is_counted_and_can_be_read_back_exactly(path: str, batches: list[list[DeadLetter]]) -> None:
    every = [letter for batch in batches for letter in batch]
    with DeadLetters(path) as dead, DeadLetters() as counted:
        for batch in batches:
            dead.add(batch)
            counted.add(batch)
        assert dead.position() == Path(path).stat().st_size
        assert counted.position() == 0
        counted.sync()
        assert dead.counts == counted.counts == Counter(letter.reason for letter in every)
    assert parsed(path) == every


@given(recorded=LETTERS, lost=LETTERS, after=LETTERS)
def test_a_run_that_goes_on_writes_no_letter_twice(
    path: str, recorded: list[DeadLetter], lost: list[DeadLetter], after: list[DeadLetter]
) -> None:
    with DeadLetters(path) as dead:
        dead.add(recorded)
        dead.sync()
        position = dead.position()
        dead.add(lost)
    with DeadLetters(path, position) as dead:
        dead.add(after)
    assert parsed(path) == recorded + after


def test_letters_of_a_batch_hold_no_more_than_the_beginning_of_a_record() -> None:
    long = b"x" * (RAW_BYTES_MAX + 1)
    rejected = [Rejected(7, 1, "not_json", "no"), Rejected(9, 2, "missing_field", "account")]
    assert letters(rejected, [b"good", b"bad", long], "a.log") == [
        DeadLetter(b"bad", 3, "a.log", 7, "not_json", "no"),
        DeadLetter(long[:-1], len(long), "a.log", 9, "missing_field", "account"),
    ]


def test_a_full_disk_is_told_and_the_letters_are_counted_all_the_same() -> None:
    dead = DeadLetters("/dev/full")
    dead.add([DeadLetter(b"raw", 3, "a.log", 1, "not_json", "no")])
    with pytest.raises(TriplineError, match=r"dead letters: /dev/full cannot be written: No space left"):
        dead.close()
    assert dead.counts == {"not_json": 1}


def test_a_file_that_is_shorter_than_before_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "letters"
    file.write_bytes(b"{}\n")
    with pytest.raises(TriplineError, match=r"dead letters: .* has 3 bytes, but 4 were written before"):
        DeadLetters(str(file), 4)
