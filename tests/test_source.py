"""A source hands over every record once, in order, wherever its bytes are cut, and says what it could not hand over."""

from __future__ import annotations

import gzip
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.errors import TriplineError, UsageError
from stream.source import Chunk, Position, inputs, open_source

LINES = [
    orjson.dumps({"time": 1_700_000_000_000 + i, "account": f"a{i}", "action": "read", "resource": "r"})
    for i in range(40)
]
PACKERS: dict[str, Callable[[bytes], bytes]] = {"plain": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}


def text(lines: list[bytes], end: bytes = b"\n") -> bytes:
    return end.join(lines) + end


def read(*paths: Path | str, **options: Any) -> list[Chunk]:
    return list(open_source(inputs([str(p) for p in paths]), **options))


def records(chunks: list[Chunk]) -> list[tuple[str, int, bytes]]:
    """(file, line, record) of everything handed over."""
    return [(c.origin, int(n), r) for c in chunks for n, r in zip(c.lines, c.records, strict=True)]


def dead(chunks: list[Chunk]) -> list[tuple[str, int]]:
    return [(d.reason, d.line) for c in chunks for d in c.dead]


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("block", [1, 7, 100, 4096, 1 << 20])
def test_where_blocks_are_cut_changes_nothing(tmp_path: Path, packed: str, block: int) -> None:
    """Lines keep their numbers, empty lines are counted and skipped, \\r\\n ends a line, the last needs no end."""
    path = tmp_path / "log"
    path.write_bytes(PACKERS[packed](b"\n" + LINES[0] + b"\r\n\n" + b"\n".join(LINES[1:])))
    expected = [(str(path), 2, LINES[0])] + [(str(path), 4 + i, line) for i, line in enumerate(LINES[1:])]
    assert records(read(path, block_bytes=block)) == expected


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("document", [False, True])
def test_resuming_after_any_chunk_is_as_if_nothing_had_stopped(tmp_path: Path, packed: str, document: bool) -> None:
    """Over several files, a byte order mark, plain and packed, lines and documents."""
    first, second = tmp_path / "1.log", tmp_path / "2.log"
    body = b'{"Records": [' + b",\n ".join(LINES) + b"]}" if document else b"\xef\xbb\xbf" + text(LINES)
    first.write_bytes(PACKERS[packed](body))
    second.write_bytes(PACKERS[packed](text(LINES[:5])))
    whole = read(first, second, fmt="native", block_bytes=300)
    assert len(whole) >= 4
    for at, chunk in enumerate(whole):
        position = msgpack(chunk.position)
        rest = read(first, second, fmt="native", block_bytes=300, resume=position)
        assert records(rest) == records(whole[at + 1 :]), at
        assert not dead(rest)


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("block", [7, 1 << 20])
@pytest.mark.parametrize(
    "rows", [text(LINES[:3])[:-1], LINES[0], b"time,account,action,resource\n1,a,read,r\n2,b,read,r"]
)
def test_a_file_whose_last_line_nothing_ends_is_known_again(
    tmp_path: Path, packed: str, block: int, rows: bytes
) -> None:
    path = tmp_path / "log"
    path.write_bytes(PACKERS[packed](rows))
    position = read(path, fmt="native", block_bytes=block)[-1].position
    assert records(read(path, resume=position)) == []
    path.write_bytes(PACKERS[packed](rows + b"\n" + LINES[3]))
    assert [raw for _, _, raw in records(read(path, resume=position))][-1:] != []
    path.write_bytes(PACKERS[packed](rows[:-1] + b"?"))
    with pytest.raises(TriplineError, match="not the file that was read"):
        read(path, resume=position)


def msgpack(position: Position) -> Position:
    """Through JSON and back, as a snapshot keeps it."""
    import msgspec

    return msgspec.json.decode(msgspec.json.encode(position), type=Position)


def test_a_file_that_grew_is_read_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(text(LINES[:3]))
    before = read(path)
    path.write_bytes(text(LINES[:7]))
    assert [r for _, _, r in records(read(path, resume=before[-1].position))] == LINES[3:7]


def test_a_rotated_file_is_found_by_its_content(tmp_path: Path) -> None:
    """Named before the new one, the old file is read to its end and the new one from its beginning."""
    path = tmp_path / "log"
    path.write_bytes(text(LINES[:3]))
    position = read(path)[-1].position
    path.write_bytes(text(LINES[:5]))
    rotated = path.rename(tmp_path / "log.1")
    path.write_bytes(text(LINES[5:8]))
    assert [r for _, _, r in records(read(rotated, path, resume=position))] == LINES[3:8]


def test_another_file_under_the_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(text(LINES[:3]))
    position = read(path)[-1].position
    for other in (text(LINES[3:7]), text(LINES[:2]), b""):
        path.write_bytes(other)
        with pytest.raises(TriplineError, match=r"not the file that was read up to line 3 .*rotated.*state directory"):
            read(path, resume=position)


def test_a_file_that_would_be_left_out_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(text(LINES[:3]))
    position = read(tmp_path)[-1].position
    (tmp_path / "a").write_bytes(text(LINES[:3]))
    with pytest.raises(TriplineError, match="1 files come before it"):
        read(tmp_path, resume=position)
    (tmp_path / "a").rename(tmp_path / "c")
    assert records(read(tmp_path, resume=position))[0][0].endswith("c")


def test_other_inputs_are_read_from_the_beginning_and_said(tmp_path: Path) -> None:
    """Last month's logs warm the state up; this month's follow under other names."""
    june, july = tmp_path / "june", tmp_path / "july"
    june.write_bytes(text(LINES[:3]))
    july.write_bytes(text(LINES[3:5]))
    said: list[str] = []
    chunks = read(july, resume=read(june)[-1].position, say=said.append)
    assert [r for _, _, r in records(chunks)] == LINES[3:5]
    assert "is not among the inputs" in said[0]


def test_a_directory_is_its_files_sorted_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.log", "a/z.log", "a/.hidden", ".git/x", "c.log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(LINES[0])
    assert [Path(f).name for f in inputs([str(tmp_path)])] == ["z.log", "b.log", "c.log"]


def test_every_input_that_cannot_be_read_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "log").write_bytes(LINES[0])
    names = [str(tmp_path / n) for n in ("missing", "empty", "log", "log")]
    with pytest.raises(UsageError) as error:
        inputs(names)
    for part in ("missing: No such file", "empty: no log file", "log: named more than once"):
        assert part in str(error.value)


@pytest.mark.parametrize("packed", ["gzip", "zstd"])
def test_what_comes_before_a_cut_is_used(tmp_path: Path, packed: str) -> None:
    """A truncated file gives its whole records and one dead letter that says so."""
    path = tmp_path / "log"
    rng = np.random.default_rng(1)
    lines = [orjson.dumps({"time": 1, "noise": rng.bytes(200).hex()}) for _ in range(200)]
    data = PACKERS[packed](text(lines))
    path.write_bytes(data[: len(data) // 2])
    chunks = read(path, fmt="native", block_bytes=4096)
    found = [r for _, _, r in records(chunks)]
    assert found == lines[: len(found)]
    assert (len(found) > 20) if packed == "gzip" else True
    assert [reason for reason, _ in dead(chunks)] == ["truncated_file"]


def test_damage_is_a_dead_letter_and_the_next_file_is_read(tmp_path: Path) -> None:
    broken, whole = tmp_path / "1", tmp_path / "2"
    data = bytearray(gzip.compress(text(LINES)))
    data[30] ^= 0xFF
    broken.write_bytes(data)
    whole.write_bytes(text(LINES[:2]))
    chunks = read(broken, whole, fmt="native")
    assert [reason for reason, _ in dead(chunks)] == ["corrupt_file"]
    assert [r for o, _, r in records(chunks) if o == str(whole)] == LINES[:2]


@pytest.mark.parametrize("block", [1000, 1 << 16])
def test_a_record_that_is_too_long_is_never_held(tmp_path: Path, block: int) -> None:
    """Its beginning and length are told; its neighbours are handed over."""
    path = tmp_path / "log"
    path.write_bytes(text([LINES[0], b"x" * 3_000_000, LINES[1]]))
    chunks = read(path, block_bytes=block, record_bytes_max=10_000)
    assert [r for _, _, r in records(chunks)] == LINES[:2]
    (letter,) = [d for c in chunks for d in c.dead]
    assert (letter.reason, letter.line, letter.raw_bytes, len(letter.raw)) == ("record_too_long", 2, 3_000_000, 4096)


def test_a_document_that_is_not_closed_says_so(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"Records": [' + LINES[0] + b"," + LINES[1][:20])
    chunks = read(path, fmt="native")
    assert [r for _, _, r in records(chunks)] == LINES[:1]
    assert dead(chunks) == [("truncated_file", 2)]


def test_what_no_format_recognises_is_dead_letters_until_one_does(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(text([b"# a comment", b"what?", *LINES[:3]]))
    said: list[str] = []
    chunks = read(path, block_bytes=14, say=said.append)
    assert dead(chunks) == [("unknown_format", 1), ("unknown_format", 2)]
    assert [r for _, _, r in records(chunks)] == LINES[:3]
    assert said == [f"{path}: format native"]


@pytest.mark.parametrize("content", [b"", b"\n\n", gzip.compress(b"", mtime=0), b"\xef\xbb\xbf"])
def test_an_empty_file_is_no_record_and_no_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    chunks = read(path)
    assert records(chunks) == []
    assert dead(chunks) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.lists(st.one_of(st.binary(max_size=30), st.sampled_from(LINES)), max_size=12),
    block=st.integers(1, 200),
    limit=st.integers(20, 200),
)
def test_no_byte_is_lost(tmp_path: Path, data: list[bytes], block: int, limit: int) -> None:
    """Every line that is not empty is a record or a dead letter, in lines and whatever else they hold."""
    path = tmp_path / "log"
    path.write_bytes(b"0" * 70 + b"\n" + b"\n".join(data))
    chunks = read(path, fmt="native", block_bytes=block, record_bytes_max=limit)
    lines = path.read_bytes().split(b"\n")
    expected = [n for n, line in enumerate(lines, 1) if line.removesuffix(b"\r")]
    assert sorted([n for _, n, _ in records(chunks)] + [n for _, n in dead(chunks)]) == expected


class Script:
    """Stands in for waiting: does the next thing each time, and ends the reading when there is none."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)

    def __call__(self, seconds: float) -> bool:
        if not self.steps:
            return False
        self.steps.pop(0)()
        return True


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_a_growing_file_is_followed_over_rotation_and_truncation(tmp_path: Path) -> None:
    """A line counts once it is ended; rotated and truncated files are read on without loss."""
    path = tmp_path / "log"
    path.write_bytes(text(LINES[:2]))

    def rotate() -> None:
        append(path, text(LINES[4:5]))
        path.rename(tmp_path / "log.1")

    steps = Script(
        lambda: append(path, LINES[2][:10]), lambda: append(path, LINES[2][10:] + b"\n" + LINES[3] + b"\n"), rotate,
        lambda: path.write_bytes(text(LINES[5:7])), lambda: None, lambda: path.write_bytes(text(LINES[7:8])),
        lambda: None, lambda: append(path, text(LINES[8:9])), lambda: append(path, LINES[9][:5]),
    )  # fmt: skip
    said: list[str] = []
    chunks = read(path, follow=True, wait=steps, say=said.append)
    assert [r for _, _, r in records(chunks)] == LINES[:9]
    assert not dead(chunks)
    assert [s for s in said if "rotated" in s]


def test_only_a_plain_file_can_be_followed(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(text(LINES)))
    with pytest.raises(UsageError, match="only an uncompressed file can be followed"):
        open_source([str(path)], follow=True)


def test_stdin_is_a_source_and_its_lines_go_on_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    def piped(data: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))

    piped(text(LINES[:2]))
    first = read("-")
    piped(text(LINES[2:4]))
    second = read("-", resume=first[-1].position)
    assert [n for _, n, _ in records(first + second)] == [1, 2, 3, 4]


def test_a_pipe_with_a_name_is_a_source(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(text(LINES[:4]),))
    writer.start()
    assert [r for _, _, r in records(read(path))] == LINES[:4]
    writer.join()


@pytest.fixture(autouse=True)
def no_leak() -> Iterator[None]:
    """Files are closed when a source is left."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
