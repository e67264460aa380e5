"""An alert says how sensitive what its events touched is; neither its score nor whether it is told depends on that."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import orjson
import pytest

from stream.alerts import Alert
from stream.analyst.explain import explain
from stream.analyst.relog import FileLog
from stream.cli import main
from stream.config import Config, fingerprint
from stream.kept import Group
from stream.merge import merge
from stream.record import Recorder
from stream.run import Options, Run
from stream.sensitivity import Sensitivity
from stream.signals import Signal
from tests.signals import signal
from tests.streams import START_MS

LEVELS = Sensitivity(restricted=("s3:pay*",), confidential=("/people/?", "s3:*"), internal=("*",))


def log(folder: Path, resources: list[str]) -> Path:
    """Somebody reads what was planted, once in each of the resources; then the day goes on until that is closed."""
    rows = [
        {"time": START_MS + n * 60_000, "account": "ann" if each else "bob", "action": "read",
         "resource": each or "/wiki", "object": "planted" if each else "page"}
        for n, each in enumerate([*resources, *[""] * 200])
    ]  # fmt: skip
    path = folder / "log.jsonl"
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def told(path: Path, levels: Sensitivity) -> list[Alert]:
    config = msgspec.convert({"sensitivity": levels, "canary": {"objects": ["planted"]}}, Config)
    alerts: list[Alert] = []
    Run(config, Options([str(path)], alerts=os.devnull), on_alert=alerts.append).go()
    assert fingerprint(config) == fingerprint(Config())  # it may be changed at any time
    return alerts


@pytest.mark.parametrize(
    ("resources", "level"),
    [
        (["/wiki", "s3:pictures", "s3:payroll"], "restricted"), (["/people/7", "/wiki"], "confidential"),
        (["/people/17"], "internal"),
    ],
)  # fmt: skip
def test_it_is_the_highest_of_what_was_touched_and_changes_nothing_else(
    tmp_path: Path, resources: list[str], level: str
) -> None:
    path = log(tmp_path, resources)
    known, plain = told(path, LEVELS), told(path, Sensitivity())
    assert known[-1].sensitivity == level
    assert f" Some of it is {level}. " in known[-1].summary
    assert {each.sensitivity for each in plain} == {""}
    apart = {"sensitivity": "", "summary": "", "emitted_at": ""}
    assert [msgspec.structs.replace(each, **apart) for each in known] == [
        msgspec.structs.replace(each, **apart) for each in plain
    ]


def test_of_several_partitions_the_highest_is_told() -> None:
    parts = [
        msgspec.structs.replace(signal(n, kind="issuer", value="key"), sensitivity=level)
        for n, level in enumerate(["internal", "", "confidential"])
    ]
    assert merge(Group(id="g", parts={str(n): each for n, each in enumerate(parts)}), 3).sensitivity == "confidential"


def test_a_signal_of_a_worker_that_knows_none_has_none() -> None:
    written = orjson.loads(msgspec.json.encode(signal(0, kind="issuer", value="key")))
    del written["sensitivity"]
    assert msgspec.convert(written, Signal).sensitivity == ""


def test_an_alert_is_explained_alike_when_the_settings_have_become_others(tmp_path: Path) -> None:
    path = log(tmp_path, ["s3:payroll"])
    config = msgspec.convert({"canary": {"objects": ["planted"]}}, Config)
    again = FileLog([str(path)], "auto", config, print)
    assert explain(told(path, LEVELS)[-1], again, config, lambda _events, _ms: None).explanation.reproduced


def test_a_report_shows_the_alert_as_it_stands(tmp_path: Path) -> None:
    config = msgspec.convert({"sensitivity": LEVELS, "canary": {"objects": ["planted"]}}, Config)
    recorder = Recorder()
    run = Run(config, Options([str(log(tmp_path, ["s3:payroll"]))], alerts=os.devnull), on_alert=recorder.alert)
    recorder.bind(run.pipeline)
    run.go()
    assert recorder.standing(recorder.alerts[-1]).sensitivity == "restricted"


def test_a_pattern_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tripline.toml"
    path.write_text('[sensitivity]\nsecret = ["x"]\nrestricted = [3]\n')
    assert main(["check", "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert "sensitivity.secret: no such setting" in said
    assert "sensitivity.restricted = [3]: must be a list; each a text" in said
