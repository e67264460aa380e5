"""The page is written whole or not at all, where the user wants it and for whom."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.errors import TriplineError
from stream.report import write_report
from tests.pages import alert, told


def write(path: Path) -> None:
    write_report(path, title="log", facts=[("events", "0")], alerts=[alert()], recorder=told("ann", [alert()]))


def test_a_page_replaces_the_one_before_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    write(path)
    assert path.read_text().endswith("</html>\n")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_is_interrupted_leaves_the_old_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    """By a full disk or by Ctrl-C, before the new page takes the name of the old."""
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(*_: Any) -> None:
        raise failure

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(
        (TriplineError, KeyboardInterrupt), match=r"^$|report.html .*No space left on device; free some"
    ):
        write(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_that_cannot_be_written_names_the_path_and_what_to_do(tmp_path: Path) -> None:
    missing = tmp_path / "absent" / "report.html"
    with pytest.raises(
        TriplineError, match=rf"--report {missing} .*No such file.*; make the directory {missing.parent}"
    ):
        write(missing)
    with pytest.raises(TriplineError, match=rf"--report {tmp_path} .*Is a directory; .*, or name another file"):
        write(tmp_path)


def test_a_pipe_is_written_and_not_replaced(tmp_path: Path) -> None:
    fifo = tmp_path / "report"
    os.mkfifo(fifo)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_text()))
    reader.start()
    write(fifo)
    reader.join()
    assert got[0].startswith("<!doctype html>")
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").write_text("old")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text().startswith("<!doctype html>")


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_a_page_is_as_private_as_the_user_wants_files_to_be(tmp_path: Path) -> None:
    """It names people: where the umask says so, nobody else reads it."""
    write(tmp_path / "report.html")
    assert stat.S_IMODE((tmp_path / "report.html").stat().st_mode) == 0o600
