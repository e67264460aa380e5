"""What a sample of logs is good for: presence of fields, and detectors that go blind with what is not there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from detectors import catalog
from stream.cli import main
from stream.config import Config
from stream.logs.coverage import Verdict, verdicts
from stream.logs.sample import Sample, taken
from stream.pipeline import Pipeline

FULL: dict[str, Any] = {
    "account": "mara", "resource": "/customers", "credential": "t-1", "issuer": "kid-1", "source_ip": "192.0.2.1",
    "country": "SE", "user_agent": "a/1", "object": "/customers/17", "subject": "17", "records": 2, "bytes": 9,
    "group": "claims",
}  # fmt: skip


@pytest.fixture(scope="module")
def watchers() -> Sequence[Any]:
    return Pipeline(Config(), lambda _alert: None).detectors


def written(tmp_path: Path, **changed: Any) -> str:
    """A login, an export and 40 reads, one of which failed, with fields changed; None leaves one out."""
    fields = {name: value for name, value in (FULL | changed).items() if value is not None}
    rows = [fields | {"time": 1750748400000 + n, "action": "read"} for n in range(40)]
    rows[0]["action"] = changed.get("first", "login")
    rows[1]["outcome"] = "failure"
    rows.append(rows[2] | {"time": 1750748400040, "account_kind": "employee", "action": changed.get("last", "export")})
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    return str(path)


def judged(watchers: Sequence[Any], path: str) -> dict[str, Verdict]:
    return {each.detector: each for each in verdicts(watchers, taken(path, "auto", 1 << 20))}


def test_with_every_field_every_detector_works(tmp_path: Path, watchers: Sequence[Any]) -> None:
    told = judged(watchers, written(tmp_path))
    assert sorted(told) == sorted(catalog.detector_ids())
    assert {name: each.why for name, each in told.items() if each.state != "works"} == {}


@pytest.mark.parametrize(("changed", "detector", "state"), [
    ({"credential": None}, "unissued", "blind"), ({"first": "read"}, "unissued", "blind"),
    ({"last": "read"}, "exports", "in part"),
    ({"credential": None}, "volume", "in part"), ({"records": 1, "bytes": 0}, "volume", "in part"),
    ({"subject": None}, "fan_out", "in part"), ({"subject": None}, "browsing", "blind"),
    ({"object": None, "subject": None}, "enumeration", "blind"),
    ({"object": None, "subject": None}, "canary", "in part"),
        ({"object": "/me", "subject": "17"}, "enumeration", "in part"), ({"country": None}, "first_seen", "in part"),
    ({"source_ip": None, "user_agent": None}, "first_seen", "blind"), ({"issuer": None}, "drip", "in part"),
])  # fmt: skip
def test_what_is_not_there_blinds_who_needs_it(
    tmp_path: Path, watchers: Sequence[Any], changed: dict[str, Any], detector: str, state: str
) -> None:
    verdict = judged(watchers, written(tmp_path, **changed))[detector]
    assert verdict.state == state
    assert verdict.why


def test_without_events_all_are_blind(watchers: Sequence[Any]) -> None:
    assert {each.state for each in verdicts(watchers, Sample())} == {"blind"}


def test_the_command_shows_events_beside_records_and_counts_fields(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, country=None)
    with Path(path).open("ab") as file:
        file.write(b'\nnoise\n{"time":1750748400000,"account":"x","action":"steal","resource":"/"}\n')
    assert main(["check", "--sample", path]) == 0
    shown = capsys.readouterr().out
    for part in (
        "format native, 43 records, 41 events", "1 not_json", "1 unknown_action", "line 42: ", '{"account":"mara",',
        "country         0.0%", "credential    100.0%  1 different, such as t-1", "no country", "works",
    ):  # fmt: skip
        assert part in shown, part


def test_a_sample_of_nothing_known_is_a_failure_that_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.log"
    path.write_text("one two three\n")
    assert main(["check", "--sample", str(path)]) == 1
    assert f"`tripline infer {path}` proposes a mapping" in capsys.readouterr().out


def test_what_attackers_wrote_does_not_reach_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "--sample", written(tmp_path, user_agent="a\x1b[2Jb", account="\u202eeve")])
    assert not {"\x1b", "\u202e"} & set(capsys.readouterr().out)
