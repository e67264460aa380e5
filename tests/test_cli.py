"""The command as a user meets it: help that teaches, messages that say what to do, statuses to rely on."""

from __future__ import annotations

import gzip
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from stream.alerts import Alert
from stream.cli import main
from stream.incidents import generate, load_incident, write_jsonl
from stream.veil import Keys

TRIPLINE = str(Path(sys.executable).with_name("tripline"))
SMALL = ["--accounts", "300", "--days", "3", "--seed", "1"]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "access.jsonl"
    write_jsonl(generate(load_incident("forged-token"), accounts=300, days=3.0, seed=1), path)
    return path


@pytest.fixture
def fast(tmp_path: Path) -> list[str]:
    """A configuration that has learned enough after a day."""
    path = tmp_path / "fast.toml"
    path.write_text("warmup_h = 24\nsession_lifetime_h = 12\ntick_s = 300\n")
    return ["--config", str(path)]


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command has a line, examples that are whole commands, and every option a sentence."""
    for command, parts in {
        (): ("run", "replay", "check", "begin with:"),
        ("run",): ("--input", "--follow", "--state", "examples:", "warmup_h"),
        ("replay",): ("--list", "--accounts", "--seed", "--report", "examples:"),
        ("check",): ("--config",),
    }.items():
        with pytest.raises(SystemExit) as status:
            main([*command, "--help"])
        assert status.value.code == 0
        text = capsys.readouterr().out
        for part in parts:
            assert part in text, (command, part)


@pytest.mark.parametrize("arguments", [[], ["walk"], ["run", "--inputs", "x"], ["replay", "--accounts", "many"]])
def test_wrong_usage_is_two(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as status:
        main(arguments)
    assert status.value.code == 2


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["run", "--input", "/nowhere/x.log"], "No such file"),
        (["run", "--input", "/dev/null", "--format", "syslogg"], "syslogg"),
        (["run", "--input", "/dev/null", "--alert-format", "cef"], "ecs, native, ocsf"),
        (["run", "--input", "/dev/null", "--config", "/nowhere.toml"], "cannot be read"),
        (["replay", "nothing"], "forged-token"),
        (["replay", "--accounts", "0"], "accounts = 0"),
        (["replay", "--days", "-1"], "days"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_two(
    arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("tripline: ")
    assert part in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["--alerts", "/nowhere/alerts"], ["--dead-letters", "/nowhere/dead"], ["--state", "/nowhere/state"],
        ["--report", "/nowhere/report.html"], ["--metrics", "/nowhere/metrics"],
    ],
)  # fmt: skip
def test_what_fails_is_one(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").write_bytes(b"")
    assert main(["run", "--input", str(tmp_path / "log"), *arguments]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("tripline: ")
    assert "/nowhere" in error


def test_a_run_writes_alerts_and_says_what_it_did(
    log: Path, fast: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alerts of the schema in the file, a page, metrics, and a summary on stderr; nothing on stdout."""
    out, page, metrics = tmp_path / "alerts", tmp_path / "page.html", tmp_path / "metrics.prom"
    arguments = [
        "run",
        "--input",
        str(log),
        *fast,
        "--alerts",
        str(out),
        "--report",
        str(page),
        "--metrics",
        str(metrics),
    ]
    assert main(arguments) == 0
    alerts = [msgspec.json.decode(line, type=Alert) for line in out.read_bytes().splitlines()]
    assert any(alert.status == "open" for alert in alerts)
    said = capsys.readouterr()
    assert said.out == ""
    for part in ("format native", "events", "entities", "opened", "dead letters", "none"):
        assert part in said.err
    assert "<svg" in page.read_text()
    exposed = metrics.read_text()
    names = re.findall(r"^# TYPE (\S+)", exposed, re.MULTILINE)
    assert all(name.startswith("tripline_") for name in names)
    for name in ("tripline_events_total", "tripline_alerts_total", "tripline_entities", "tripline_dead_letters"):
        assert name in exposed
    assert not re.search(r"M0000|login-|10\.\d+\.", exposed), "an identity in a label"


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [([], "schema", "tripline.alert/1"), (["--alert-format", "ocsf"], "class_uid", 2004)],
)
def test_alerts_to_a_pipe_are_json_lines(
    options: list[str], field: str, value: object, log: Path, fast: list[str], capfdbinary: Any
) -> None:
    assert main(["run", "--input", str(log), *fast, "--quiet", *options]) == 0
    lines = capfdbinary.readouterr().out.splitlines()
    assert lines
    assert all(orjson.loads(line)[field] == value for line in lines)


def test_what_cannot_be_read_is_counted_by_reason_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is wrong in every way: each line is an event or a dead letter, and the run is fine."""
    good = b'{"time": 1735689600000, "account": "a", "action": "read", "resource": "r"}'
    bad = {
        b"\xff\xfe": "not_utf8",
        b'{"time": 1735689600000': "not_json",
        b'{"a":' * 100_000: "too_deep",
        good.replace(b"1735689600000", b"NaN"): "not_json",
        good.replace(b"1735689600000", b"1e999"): "time_out_of_range",
        good.replace(b"1735689600000", b"18446744073709551616"): "time_out_of_range",
        good.replace(b"1735689600000", b"-1735689600000"): "time_out_of_range",
        good.replace(b"1735689600000", b"1735689600"): "time_out_of_range",
        good.replace(b"1735689600000", b'"2099-01-01T00:00:00Z"'): "time_in_future",
        good.replace(b'"a"', b'""'): "empty_field",
        good.replace(b'"a"', b'"\\ud800"'): "text_not_unicode",
        good.replace(b"read", b"fly"): "unknown_action",
        b"x" * 10_000_000: "record_too_long",
    }
    path, dead = tmp_path / "log", tmp_path / "dead"
    path.write_bytes(b"\n".join([good, *bad, good]))
    assert main(["run", "--input", str(path), "--dead-letters", str(dead)]) == 0
    letters = [orjson.loads(line) for line in dead.read_bytes().splitlines()]
    found = {letter["line"]: letter["reason"] for letter in letters}
    expected = dict(enumerate(bad.values(), 2))
    assert {n: (found.get(n), reason) for n, reason in expected.items() if found.get(n) != reason} == {}
    error = capsys.readouterr().err
    assert re.search(r"events +2 in", error)
    assert f"dead letters  {len(bad)}:" in error
    seconds = next(letter for letter in letters if "seconds" in letter["detail"])
    assert "milliseconds" in seconds["detail"]


def test_a_mix_of_formats_is_read_record_by_record(tmp_path: Path) -> None:
    native = b'{"time": 1735689600000, "account": "a", "action": "read", "resource": "r"}'
    line = b'203.0.113.9 - ann [01/Jan/2025:00:00:01 +0000] "GET /x HTTP/1.1" 200 5 "-" "curl/8"'
    (tmp_path / "log").write_bytes(b"\n".join([native, line, native, b"neither", line]))
    dead = tmp_path / "dead"
    assert main(["run", "--input", str(tmp_path / "log"), "--dead-letters", str(dead), "--alerts", os.devnull]) == 0
    (letter,) = dead.read_bytes().splitlines()
    assert orjson.loads(letter)["line"] == 4


def test_stdin_is_the_default(log: Path, fast: list[str]) -> None:
    data = log.read_bytes()
    done = subprocess.run([TRIPLINE, "run", *fast], input=data, capture_output=True, check=True)
    assert b"-: format native" in done.stderr
    assert done.stdout
    packed = log.parent / "packed.gz"
    packed.write_bytes(gzip.compress(data, 1))
    again = subprocess.run([TRIPLINE, "run", *fast, "--input", str(packed)], capture_output=True, check=True)
    assert [orjson.loads(a)["title"] for a in again.stdout.splitlines()] == [
        orjson.loads(a)["title"] for a in done.stdout.splitlines()
    ]


def test_a_closed_pipe_is_no_error(log: Path, fast: list[str]) -> None:
    """`tripline run ... | head -1`: no traceback, and fine."""
    command = [TRIPLINE, "run", *fast, "--input", str(log), "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_ctrl_c_stops_keeps_the_state_and_goes_on(log: Path, fast: list[str], tmp_path: Path) -> None:
    """While it follows a file: 130, a word about the state, and the next run goes on there."""
    growing = tmp_path / "growing.jsonl"
    growing.write_bytes(log.read_bytes())
    state, alerts = tmp_path / "state", tmp_path / "alerts"
    command = [
        TRIPLINE, "run", *fast, "--input", str(growing), "--follow", "--state", str(state), "--alerts", str(alerts)
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while (not alerts.exists() or not alerts.stat().st_size) and time.monotonic() < deadline:
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"the same command goes on from here" in error
    assert b"Traceback" not in error
    finishing = [argument for argument in command if argument != "--follow"]
    again = subprocess.run(finishing, capture_output=True, check=True)
    assert b"resuming after" in again.stderr


def test_two_runs_do_not_share_a_state(log: Path, tmp_path: Path) -> None:
    from stream.checkpoint import StateDirectory
    from stream.config import Config, fingerprint

    with StateDirectory(tmp_path / "state", fingerprint(Config())):
        done = subprocess.run(
            [TRIPLINE, "run", "--input", str(log), "--state", str(tmp_path / "state")], capture_output=True, check=False
        )
    assert done.returncode == 1
    assert str(os.getpid()).encode() in done.stderr


def test_a_replay_shows_the_theft_and_scores_itself(
    tmp_path: Path, fast: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    page, alerts = tmp_path / "replay.html", tmp_path / "alerts"
    arguments = ["replay", "forged-token", *SMALL, *fast, "--report", str(page), "--alerts", str(alerts)]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    for part in ("Forged login tokens", "●", "minutes from the first forged token", "out by then", "false alerts"):
        assert part in text
    assert page.read_text().startswith("<!doctype html>")
    assert orjson.loads(alerts.read_bytes().splitlines()[0])["status"] == "open"


def test_a_replay_without_the_theft_finds_none(fast: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "forged-token", *SMALL, *fast, "--no-attack"]) == 0
    assert "first forged token" not in capsys.readouterr().out


def test_the_incidents_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--list"]) == 0
    assert "forged-token-residential" in capsys.readouterr().out


def test_events_of_a_replay_can_be_written_and_run(tmp_path: Path, fast: list[str]) -> None:
    """What `--write` writes gives in `run` the alerts of the replay."""
    events, first, second = tmp_path / "events.jsonl", tmp_path / "first", tmp_path / "second"
    assert main(["replay", "forged-token", *SMALL, "--write", str(events)]) == 0
    assert main(["run", "--input", str(events), *fast, "--alerts", str(first), "--quiet"]) == 0
    assert main(["replay", "forged-token", *SMALL, *fast, "--alerts", str(second)]) == 0
    told = [
        [{k: v for k, v in orjson.loads(a).items() if k not in ("emitted_at", "source")} for a in lines.splitlines()]
        for lines in (first.read_bytes(), second.read_bytes())
    ]
    assert told[0] == told[1]


def test_check_says_what_a_configuration_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.toml"
    path.write_text("alerts_per_day_max = 2\n[detectors]\nvolume = false\n")
    assert main(["check", "--config", str(path)]) == 0
    text = capsys.readouterr().out
    assert "at most 2 a day" in text
    assert "volume" not in text
    path.write_text("alerts_per_day = 2\ntick_s = 0\n")
    assert main(["check", "--config", str(path)]) == 2
    assert "2 mistakes" in capsys.readouterr().err


def test_progress_is_plain_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from stream.console import Console

    written = io.StringIO()
    console = Console(written)
    console.progress(0.5, "half")
    console.done()
    assert written.getvalue() == " 50%  half\n"


def test_tokens_are_revealed_to_who_has_the_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys"
    path.write_text("k1 " + "ab" * 64)
    path.chmod(0o600)
    token = Keys(path).token('ann "x"')
    assert main(["reveal", "--keys", str(path), token, f'{{"entity": "{token}"}}', "nobody"]) == 0
    assert capsys.readouterr().out == 'ann "x"\n{"entity":"ann \\"x\\""}\nnobody\n'
    assert main(["reveal", token]) == 2
    assert "identity_keys_file" in capsys.readouterr().err
