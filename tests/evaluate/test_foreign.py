"""A world of somebody else: what is found, when, and what is false, as its truth says."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import orjson
import pytest

from stream.cli import main
from stream.errors import UsageError
from stream.evaluate.foreign import evaluated
from stream.evaluate.truth import load
from stream.incidents import generate_labelled, load_incident, truth
from stream.incidents.jsonl import lines_of
from tests.pages import CONFIG

ACCOUNTS, DAYS = 300, 3.0


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Forged tokens at a small retailer: labelled, and the same without labels."""
    incident = load_incident("forged-token")
    known = truth(incident, ACCOUNTS, DAYS, 1)
    labelled, plain = tmp_path_factory.mktemp("labelled"), tmp_path_factory.mktemp("plain")
    with (labelled / "events.jsonl").open("wb") as a, (plain / "events.jsonl").open("wb") as b:
        for block, mine in generate_labelled(incident, accounts=ACCOUNTS, days=DAYS, seed=1):
            for line, attack in zip(lines_of(block), mine.tolist(), strict=True):
                b.write(line)
                a.write(orjson.dumps(orjson.loads(line) | {"attack": "forged"}) + b"\n" if attack else line)
    entities = [{"kind": kind, "value": value} for kind, value in known.entities if kind == "issuer"]
    told = {"id": "forged", "name": "Forged", "start": known.start_ms, "end": known.end_ms, "entities": entities}
    (labelled / "truth.jsonl").write_bytes(orjson.dumps(told))
    (plain / "truth.json").write_bytes(orjson.dumps([told]))
    return [labelled, plain]


@pytest.fixture(scope="module")
def shown(worlds: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """Both, side by side, as the command tells them; one is named by its folder, one by its file."""
    out = tmp_path_factory.mktemp("out") / "evaluation.json"
    config = out.with_name("fast.toml")
    config.write_text("warmup_h = 24\nsession_lifetime_h = 12\ntick_s = 120\n")
    arguments = ["--config", str(config), "--jobs", "2", "--json", str(out)]
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen):
        assert (
            main(["evaluate", "--world", str(worlds[0]), "--world", str(worlds[1] / "events.jsonl"), *arguments]) == 0
        )
    return screen.getvalue(), orjson.loads(out.read_bytes())


@pytest.fixture
def told(shown: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """The JSON of it."""
    return shown[1]


def test_an_attack_is_found_with_what_was_out_by_then(told: dict[str, Any]) -> None:
    """Minutes and records of the labelled world are those of the campaign itself."""
    known = truth(load_incident("forged-token"), ACCOUNTS, DAYS, 1)
    (verdict,) = told["worlds"][0]["attacks"]
    assert verdict["found"]
    assert 0 < verdict["minutes"] < 60
    assert verdict["records"] == known.records
    assert 0 < verdict["records_out"] < 0.2 * known.records
    assert verdict["share_out"] == pytest.approx(verdict["records_out"] / verdict["records"])


def test_without_labels_records_are_counted_by_entity(told: dict[str, Any]) -> None:
    """The old signing key has some honest users, too: what it read is at least what the campaign read."""
    labelled, plain = (world["attacks"][0] for world in told["worlds"])
    assert labelled["records"] <= plain["records"] <= 1.5 * labelled["records"]
    assert labelled["records_out"] <= plain["records_out"] <= 1.5 * labelled["records_out"]
    assert {**plain, "records": 0, "records_out": 0, "share_out": 0} == {
        **labelled, "records": 0, "records_out": 0, "share_out": 0,
    }  # fmt: skip


def test_a_world_alone_is_the_same_and_without_its_truth_all_alerts_are_false(
    worlds: list[Path], told: dict[str, Any], tmp_path: Path
) -> None:
    """The same events under a truth that knows no attack tell the same alerts."""
    (tmp_path / "events.jsonl").symlink_to(worlds[0].resolve() / "events.jsonl")
    (tmp_path / "truth.jsonl").write_bytes(b"")
    attacked, innocent = told["worlds"][0], evaluated(tmp_path, CONFIG)
    assert innocent.attacks == ()
    assert {told.id for told in innocent.false} > {told["id"] for told in attacked["false"]}
    assert attacked["attacks"][0]["first"]["id"] in {told.id for told in innocent.false}
    assert len(innocent.false) == len(attacked["false"]) + attacked["attacks"][0]["opened"]
    assert innocent.false_per_day == len(innocent.false) / innocent.watched_days


@pytest.mark.parametrize(
    ("line", "part"),
    [
        (b'{"id": "a", "start": 1, "end": 2, "entities": []}', "length >= 1"),
        (b'{"id": "a", "start": 2, "end": 1, "entities": [{"kind": "account", "value": "x"}]}', "before it starts"),
        (b'{"id": "a", "start": 1, "end": 2, "entities": [{"kind": "acount", "value": "x"}]}', "acount"),
        (b'{"id": "a", "start": "yesterday", "end": 2, "entities": [{"kind": "account", "value": "x"}]}', "yesterday"),
        (b'{"id": "a", "start": 1, "end": 2, "entities": [{"kind": "account", "value": "x"}]}\n' * 2, "twice"),
        (b"\xff", "truth.jsonl"),
    ],
)
def test_a_truth_that_cannot_be_used_says_why(line: bytes, part: str, tmp_path: Path) -> None:
    (tmp_path / "truth.jsonl").write_bytes(line)
    with pytest.raises(UsageError, match=part):
        load(tmp_path / "truth.jsonl")


def test_times_may_be_written_out(tmp_path: Path) -> None:
    entity = b'"entities": [{"kind": "object", "value": "x"}]'
    (tmp_path / "t").write_bytes(
        b'{"id": "a", "start": "2025-06-10T02:00:00Z", "end": "2025-06-10T02:00:01+00:00", %s}' % entity
    )
    (attack,) = load(tmp_path / "t")
    assert (attack.start_ms, attack.end_ms - attack.start_ms) == (1_749_520_800_000, 1_000)


def test_a_world_of_days_to_come_is_taken_and_what_cannot_be_is_told_by_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who makes a world up writes any year; a run would take no record from beyond its own clock."""
    event = {"time": "2031-02-03T04:05:06Z", "account": "ann", "action": "read", "resource": "/orders"}
    lines = [orjson.dumps(event), orjson.dumps({**event, "action": "guess"}), b"{"]
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    (tmp_path / "truth.jsonl").write_bytes(b"")
    outcome = evaluated(tmp_path, CONFIG)
    assert (outcome.events, outcome.rejected) == (1, 2)
    assert outcome.rejected_by == {"not_json": 1, "unknown_action": 1}
    assert main(["evaluate", "--world", str(tmp_path)]) == 0
    assert "1 records not used: not_json" in capsys.readouterr().out


def test_a_world_without_its_truth_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"")
    assert main(["evaluate", "--world", str(tmp_path)]) == 2
    assert "truth.jsonl" in capsys.readouterr().err
    assert main(["evaluate", "--world", str(tmp_path), "--jobs", "0"]) == 2


def test_the_table_names_what_was_found_and_what_was_false(shown: tuple[str, dict[str, Any]]) -> None:
    out, _ = shown
    for words in ("found 1 of 1", "2 of 2", "a day", "records out", "plain"):
        assert words in out, words
