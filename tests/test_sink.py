"""Lines arrive whole and in order, a resumed file is cut to what was recorded, and every failure is told in words."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import TriplineError
from stream.sink import BUFFER_BYTES, ClosedPipe, LineSink

LINES = st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"") + b"\n"), max_size=8)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("sink") / "alerts.jsonl")


@given(recorded=LINES, lost=LINES, after=LINES)
def test_a_run_that_goes_on_replaces_what_was_not_recorded(
    path: str, recorded: list[bytes], lost: list[bytes], after: list[bytes]
) -> None:
    with LineSink(path, "alerts") as sink:
        for line in recorded:
            sink.write(line)
        position = sink.position()
        assert position == Path(path).stat().st_size == len(b"".join(recorded))
        for line in lost:
            sink.write(line)
    with LineSink(path, "alerts", position) as sink:
        assert sink.position() == position
        for line in after:
            sink.write(line)
        assert sink.position() == position + len(b"".join(after))
    assert Path(path).read_bytes() == b"".join(recorded + after)


def test_a_new_run_overwrites_a_file_as_shells_do(tmp_path: Path) -> None:
    file = tmp_path / "alerts"
    file.write_bytes(b"of an earlier run\n")
    with LineSink(str(file), "alerts") as sink:
        sink.write(b"new\n")
    assert file.read_bytes() == b"new\n"


def test_flushed_lines_can_be_read_and_synced_ones_too(tmp_path: Path) -> None:
    file = tmp_path / "alerts"
    with LineSink(str(file), "alerts") as sink:
        sink.write(b"one\n")
        sink.flush()
        assert file.read_bytes() == b"one\n"
        sink.write(b"two\n")
        sink.sync()
        assert file.read_bytes() == b"one\ntwo\n"


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    sink = LineSink(str(tmp_path / "alerts"), "alerts")
    sink.close()
    sink.close()


def test_a_file_that_is_missing_is_missed_and_not_made(tmp_path: Path) -> None:
    file = tmp_path / "alerts"
    with pytest.raises(TriplineError, match=r"alerts: .* is missing, but 7 bytes .*; put the file back, or begin anew"):
        LineSink(str(file), "alerts", 7)
    assert not file.exists()


def test_a_file_of_which_nothing_was_recorded_may_be_missing(tmp_path: Path) -> None:
    with LineSink(str(tmp_path / "alerts"), "alerts", 0) as sink:
        assert sink.position() == 0


def test_a_file_that_became_shorter_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "alerts"
    file.write_bytes(b"123\n")
    with pytest.raises(TriplineError, match=r"has 4 bytes, but 5 were written before; put the file back"):
        LineSink(str(file), "alerts", 5)
    assert file.read_bytes() == b"123\n"


@pytest.mark.parametrize("position", [None, 0, 3])
def test_a_target_that_cannot_be_opened_says_what_to_name(tmp_path: Path, position: int | None) -> None:
    with pytest.raises(TriplineError, match=r"dead letters: .* cannot be opened: Is a directory; name a file"):
        LineSink(str(tmp_path), "dead letters", position)


def test_a_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        TriplineError, match=r"absent/alerts cannot be opened: No such file .* in a directory that exists"
    ):
        LineSink(str(tmp_path / "absent" / "alerts"), "alerts")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(TriplineError, match=r"cannot be opened: Permission denied"):
        LineSink(str(tmp_path / "alerts"), "alerts")


@pytest.mark.parametrize("act", [LineSink.flush, LineSink.position, LineSink.sync, LineSink.close])
def test_a_full_disk_is_told_once_wherever_it_shows(act: object) -> None:
    assert callable(act)
    sink = LineSink("/dev/full", "alerts")
    sink.write(b"line\n")
    with pytest.raises(TriplineError, match=r"alerts: /dev/full cannot be written: No space left .*; free some space"):
        act(sink)
    sink.close()


def test_a_sink_that_failed_stays_failed() -> None:
    sink = LineSink("/dev/full", "alerts")
    with pytest.raises(TriplineError, match="No space left"):
        sink.write(bytes(2 * BUFFER_BYTES))
    for act in (sink.flush, sink.sync, sink.position, lambda: sink.write(b"behind a gap\n")):
        with pytest.raises(TriplineError, match="No space left"):
            act()
    sink.close()


def test_another_failure_is_not_hidden_by_that_of_closing() -> None:
    with pytest.raises(ZeroDivisionError), LineSink("/dev/full", "alerts") as sink:
        sink.write(b"line\n")
        raise ZeroDivisionError


@pytest.mark.parametrize("position", [None, 0, 5])
def test_a_device_is_written_and_never_cut(position: int | None) -> None:
    with LineSink("/dev/null", "alerts", position) as sink:
        sink.write(b"line\n")
        sink.sync()
        assert sink.position() == 0


@pytest.mark.parametrize("position", [None, 0, 5])
def test_a_named_pipe_is_written_and_has_no_position(tmp_path: Path, position: int | None) -> None:
    fifo = tmp_path / "alerts"
    os.mkfifo(fifo)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    with LineSink(str(fifo), "alerts", position) as sink:
        sink.write(b"line\n")
        assert sink.position() == 0
        sink.sync()
    reader.join()
    assert got == [b"line\n"]


@pytest.mark.parametrize("act", [LineSink.flush, LineSink.position, LineSink.sync, LineSink.close])
def test_a_pipe_without_reader_is_an_error_of_its_own(act: object) -> None:
    assert callable(act)
    reader, writer = os.pipe()
    sink = LineSink(f"/dev/fd/{writer}", "alerts")
    os.close(writer)
    os.close(reader)
    sink.write(b"line\n")
    with pytest.raises(ClosedPipe, match=r"alerts: nobody reads /dev/fd/[0-9]+ any more; start its reader again"):
        act(sink)
    sink.close()


WRITE = """
import sys
from stream.sink import ClosedPipe, LineSink
print("printed before")
sink = LineSink(sys.argv[1], "alerts", 3)
sink.write(b"line\\n")
print(sink.position(), file=sys.stderr)
sink.close()
print("printed after")
"""

READER_GONE = """
import sys
from stream.sink import ClosedPipe, LineSink
sys.stdin.read()  # until there is no reader
sink = LineSink("-", "alerts")
sink.write(b"line\\n")
try:
    getattr(sink, sys.argv[1])()
except ClosedPipe as why:
    print(why, file=sys.stderr)
    print("too late")
"""


@pytest.mark.parametrize("target", ["-", "/dev/stdout"])
def test_standard_output_is_a_pipe_between_what_is_printed(target: str) -> None:
    done = subprocess.run([sys.executable, "-c", WRITE, target], capture_output=True, check=True)
    assert done.stdout == b"printed before\nline\nprinted after\n"
    assert done.stderr == b"0\n"


@pytest.mark.parametrize("target", ["-", "/dev/stdout"])
def test_standard_output_that_appends_to_a_file_keeps_the_file(target: str, tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_bytes(b"earlier\n")
    with file.open("ab") as out:
        subprocess.run([sys.executable, "-c", WRITE, target], stdout=out, stderr=subprocess.PIPE, check=True)
    assert file.read_bytes() == b"earlier\nprinted before\nline\nprinted after\n"


@pytest.mark.parametrize("act", ["flush", "position", "close"])
def test_a_reader_that_left_makes_no_noise_at_exit(act: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", READER_GONE, act], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b"alerts: nobody reads standard output any more; start its reader again\n"
        assert process.wait() == 0


def test_standard_output_that_is_closed_is_an_error_in_words() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -c "$1" - >&-', sys.executable, WRITE], capture_output=True, check=False
    )
    assert done.stderr.endswith(
        b"alerts: standard output cannot be opened: Bad file descriptor; name a file that can be written, in a "
        b"directory that exists\n"
    )
