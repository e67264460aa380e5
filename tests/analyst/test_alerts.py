"""`tripline alerts`: a table that fits, one alert in full, and data where nobody looks."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.alerts import Alert, EntityRef, encode, rfc3339
from stream.analyst.listing import csv_document, show_one, show_table
from stream.cells import cells
from stream.cli import main
from stream.console import Console
from tests.pages import alert
from tests.streams import DAY_MS, START_MS

NAMES = st.text(max_size=40)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three alerts: one that was closed, one that is open, one of a day later."""
    told = [
        alert("ann", id="tl-aaa1"),
        alert("bob", id="tl-bbb1", severity="critical", detectors=("unissued", "volume")),
        alert("ann", id="tl-aaa1", revision=2, status="closed", title="Closed now"),
        alert("eve", id="tl-ccc1", severity="low", time=rfc3339(START_MS + DAY_MS)),
    ]
    out = tmp_path / "alerts.jsonl"
    out.write_bytes(b"".join(map(encode, told)))
    return out


def shown(given: list[Alert], width: int) -> list[str]:
    out = io.StringIO()
    show_table(given, Console(out), width, {"tl-1": "expected"})
    return out.getvalue().splitlines()


@given(st.lists(NAMES, min_size=1, max_size=6), st.integers(60, 160))
def test_no_line_is_wider_than_the_terminal_and_columns_stand_below_each_other(names: list[str], width: int) -> None:
    lines = shown([alert(name, title=f"Volume of {name}") for name in names], width)
    assert all(cells(line) <= width for line in lines)
    columns = [cells(line[: line.index("HIGH")]) for line in lines[1 : 1 + len(names)]]
    assert set(columns) == {cells(lines[0][: lines[0].index("severity")])}


@given(NAMES, st.integers(60, 160))
def test_one_alert_in_full_stays_within_its_width_too(name: str, width: int) -> None:
    out = io.StringIO()
    show_one(alert(name, related=tuple(EntityRef("account", f"{name}{n}") for n in range(9))), Console(out), width, {})
    assert all(cells(line) <= width for line in out.getvalue().splitlines())


def test_colours_are_for_terminals_and_change_nothing_else() -> None:
    plain, terminal = io.StringIO(), Terminal()
    for out in (plain, terminal):
        show_table([alert(severity=s) for s in ("low", "critical")], Console(out), 100, {})
        show_one(alert(), Console(out), 100, {})
    assert "\x1b" not in plain.getvalue()
    assert "\x1b[1;97;41mCRITICAL\x1b[0m" in terminal.getvalue()
    assert re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()) == plain.getvalue()


def test_names_that_move_the_cursor_do_not() -> None:
    out = Terminal()
    show_table([alert("\x1b[2J\u202e", title="\x1b[2Jx")], Console(out), 100, {})
    show_one(alert("\x1b[2J\u202e", title="\x1b[2Jx", summary="\x1b[2J"), Console(out), 100, {})
    assert "\x1b[2J" not in out.getvalue()
    assert "\u202e" not in out.getvalue()


def test_into_a_pipe_go_json_lines_of_alerts_as_they_stand(
    path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["alerts", "--alerts", str(path)]) == 0
    found = [msgspec.json.decode(line, type=Alert) for line in capfdbinary.readouterr().out.splitlines()]
    assert [(a.id, a.revision) for a in found] == [("tl-aaa1", 2), ("tl-bbb1", 1), ("tl-ccc1", 1)]


@pytest.mark.parametrize(
    "options, ids",
    [
        (["--severity", "high"], ["tl-aaa1", "tl-bbb1"]),
        (["--detector", "unissued"], ["tl-bbb1"]),
        (["--entity", "account=eve"], ["tl-ccc1"]),
        (["--status", "open"], ["tl-bbb1", "tl-ccc1"]),
        (["--from", "2025-01-02"], ["tl-ccc1"]),
        (["--to", "2025-01-02"], ["tl-aaa1", "tl-bbb1"]),
    ],
)
def test_filters_of_the_command(
    path: Path, options: list[str], ids: list[str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["alerts", "--alerts", str(path), *options]) == 0
    assert [orjson.loads(line)["id"] for line in capfdbinary.readouterr().out.splitlines()] == ids


def test_show_gives_one_and_export_all_as_a_document_or_a_table(
    path: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["alerts", "show", "tl-a", "--alerts", str(path)]) == 0
    assert orjson.loads(capfdbinary.readouterr().out)["title"] == "Closed now"
    assert main(["alerts", "show", "tl-a", "--alerts", str(path), "--format", "text"]) == 0
    text = capfdbinary.readouterr().out.decode()
    assert "Closed now" in text and "5,000 records" in text
    out = tmp_path / "out"
    assert main(["alerts", "export", "--alerts", str(path), "--format", "json", "--output", str(out)]) == 0
    assert [a["id"] for a in orjson.loads(out.read_bytes())] == ["tl-aaa1", "tl-bbb1", "tl-ccc1"]
    assert main(["alerts", "export", "--alerts", str(path), "--format", "csv", "--output", str(out)]) == 0
    rows = list(csv.DictReader(io.StringIO(out.read_bytes().decode(), newline="")))
    assert [(r["id"], r["severity"], r["records"]) for r in rows][1] == ("tl-bbb1", "critical", "5000")


def test_verdicts_stand_beside_the_alerts(
    path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    log = str(tmp_path / "feedback")
    named = ["--alerts", str(path), "--feedback", log]
    assert main(["feedback", "tl-b", "true", *named]) == 0
    assert main(["feedback", "tl-b", "expected", *named]) == 0
    capfd.readouterr()
    assert main(["alerts", "--format", "text", *named]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.endswith("expected") for line in lines[1:4]] == [False, True, False]
    assert main(["alerts", "show", "tl-b", "--format", "text", *named]) == 0
    assert "expected" in capfd.readouterr().out


@given(st.text(max_size=30))
def test_a_spreadsheet_runs_nothing_and_loses_nothing(name: str) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_document([alert(name, title=name)]).decode(), newline=""))
    assert row["title"][:1] not in ("=", "+", "-", "@", "\t", "\r", "|")
    expected = name.encode("utf-8", "replace").decode()
    assert row["title"] in (expected, f"'{expected}")


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["alerts"], "--alerts FILE"),
        (["alerts", "--alerts", "/nowhere"], "/nowhere"),
        (["alerts", "show", "--alerts", "-"], "which one"),
        (["alerts", "list", "tl-1", "--alerts", "-"], "takes no id"),
        (["alerts", "--alerts", "-", "--entity", "ann"], "kind=value"),
        (["alerts", "--alerts", "-", "--from", "soon"], "not a time"),
        (["alerts", "--alerts", "-", "--detector", "volum"], "volume"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert part in capsys.readouterr().err
