"""Dead letters: counted, shown, and decoded once more, without one of them being lost on the way."""

from __future__ import annotations

import gzip
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.cli import main
from stream.deadletters import RAW_BYTES_MAX, DeadLetter, DeadLetters
from stream.errors import TriplineError
from stream.ingest import letter as topic_letter
from stream.logs import letters

HOUSE = b'{"at":1750748400000,"who":"mara","what":"/x"}'
MAPPING = '[fields]\ntime = "at"\naccount = "who"\naction = { constant = "read" }\nresource = "what"\n'
RAW = st.binary(max_size=30) | st.just(HOUSE) | st.text(max_size=10).map(str.encode)
LETTERS = st.lists(
    st.builds(lambda raw, line, why: DeadLetter(raw, len(raw), "a.log", line, why, "no"), RAW, st.integers(1, 2**40),
              st.sampled_from(["not_json", "unknown_format"])), max_size=8,
)  # fmt: skip


def kept(path: Path, found: list[DeadLetter]) -> str:
    path.unlink(missing_ok=True)
    with DeadLetters(str(path)) as dead:
        dead.add(found)
    return str(path)


@settings(max_examples=30)
@given(LETTERS)
def test_letters_are_read_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, found: list[DeadLetter]
) -> None:
    path = kept(tmp_path_factory.getbasetemp() / "dead.jsonl", found)
    assert [
        (each.raw, each.raw_bytes, each.origin, each.at, each.reason, each.detail) for each in letters.read(path)
    ] == [(e.raw, e.raw_bytes, e.origin, e.line, e.reason, e.detail) for e in found]
    assert sum(row[0] for row in letters.counted(letters.read(path))) == len(found)
    assert all(each.reason == "not_json" for each in letters.read(path, "not_json"))


@settings(max_examples=20)
@given(LETTERS)
def test_a_letter_becomes_an_event_or_stays_a_letter(
    tmp_path_factory: pytest.TempPathFactory, found: list[DeadLetter]
) -> None:
    base = tmp_path_factory.getbasetemp()
    (base / "house.toml").write_text(MAPPING)
    output, left = base / "events.jsonl", base / "left.jsonl"
    for path in (output, left):
        path.unlink(missing_ok=True)
    arguments = ["dead-letters", "replay", kept(base / "dead.jsonl", found), "--format", f"mapping:{base}/house.toml"]
    assert main([*arguments, "--output", str(output), "--left", str(left)]) == 0
    mended = [each for each in found if each.raw == HOUSE]
    events = [orjson.loads(line) for line in output.read_bytes().splitlines()]
    assert [event["id"] for event in events] == [f"a.log:{each.line}" for each in mended]
    assert all(event["account"] == "mara" for event in events)
    assert [each.raw for each in letters.read(str(left))] == [each.raw for each in found if each.raw != HOUSE]


def test_a_letter_that_holds_only_a_beginning_is_not_mended_but_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = b'192.0.2.1 - - [24/Jun/2025:07:00:00 +0000] "GET /' + b"a" * RAW_BYTES_MAX
    cut = DeadLetter(line[:RAW_BYTES_MAX], len(line), "a.log", 7, "unknown_format", "no")
    path, left = kept(tmp_path / "dead.jsonl", [cut]), tmp_path / "left.jsonl"
    assert main(["dead-letters", "replay", path, "--left", str(left)]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "1 of these hold only the beginning" in told.err
    assert left.read_bytes() == (tmp_path / "dead.jsonl").read_bytes()


def test_letters_of_a_topic_are_read_too(tmp_path: Path) -> None:
    message = topic_letter("dead", "kafka:t/0", 17, "not_json", "no", b"\xff")
    path = tmp_path / "dead.jsonl.gz"
    path.write_bytes(gzip.compress(message.value + b"\n"))
    (found,) = letters.read(str(path))
    assert (found.place, found.raw, found.whole) == ("kafka:t/0:17", b"\xff", True)


def test_list_and_show_say_how_many_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = [
        DeadLetter(b"\x1b[2J%d" % n, 5, "a.log", n, "not_json" if n else "missing_field", f"why {n}") for n in range(4)
    ]
    path = kept(tmp_path / "dead.jsonl", found)
    assert main(["dead-letters", "list", path]) == 0
    assert capsys.readouterr().out == "  3 not_json       a.log:1: why 1\n  1 missing_field  a.log:0: why 0\n"
    assert main(["dead-letters", "show", path, "--reason", "not_json", "--number", "2"]) == 0
    assert capsys.readouterr().out == "a.log:1  not_json: why 1\n  ?[2J1\na.log:2  not_json: why 2\n  ?[2J2\n"


@pytest.mark.parametrize(
    "line",
    [
        b"{}", b"noise", b'{"origin":"a","reason":"b","detail":"c","raw_bytes":1,"raw_base64":"?"}',
        *(b'{"origin":"a","reason":"b","detail":"c","raw_bytes":%s}' % number for number in (b"-1", b"1" + b"0" * 30)),
        b'{"origin":"a","reason":"b","detail":"c","raw_bytes":1,"line":9223372036854775808}',
    ],
)  # fmt: skip
def test_what_is_no_letter_is_said_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: bytes
) -> None:
    path = tmp_path / "dead.jsonl"
    path.write_bytes(line + b"\n")
    assert main(["dead-letters", "list", str(path)]) == 1
    assert "line 1 is no dead letter" in capsys.readouterr().err
    assert main(["dead-letters", "list", str(tmp_path / "none")]) == 2


def test_a_packed_file_of_letters_that_breaks_off_is_a_mistake_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"origin":"a"}')[:-4])
    with pytest.raises(TriplineError, match=r"dead.jsonl.gz: (line 1|what is packed breaks off)"):
        list(letters.read(str(path)))
    path.write_bytes(b"\x28\xb5\x2f\xfd" + b"?" * 20)
    with pytest.raises(TriplineError, match=r"dead.jsonl.gz: what is packed breaks off: zstd"):
        list(letters.read(str(path)))
