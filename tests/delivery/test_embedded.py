"""Delivery beside a run: what was told is told once, what was not is told later, and nobody waits for another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from stream.alerts import Alert
from stream.config import Config
from stream.delivery import embedded
from stream.delivery.embedded import Deliveries
from stream.errors import TriplineError
from stream.incidents import generate, load_incident, write_jsonl
from stream.run import Options, Run
from stream.subscribers import kinds
from stream.veil import Keys
from tests.pages import alert

FAST = {"timeout_s": 1.0, "retry_first_s": 0.01, "retry_max_s": 0.02}


def to_file(path: Path, name: str = "f") -> Any:
    return kinds()["file"].settings(name=name, kind="file", path=str(path), **FAST)


def told(path: Path) -> list[tuple[str, int]]:
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [(a["id"], a["revision"]) for a in map(orjson.loads, lines)]


def deliver(
    config: Config, state: Path | None, alerts: list[Alert], position: int | None = None
) -> tuple[int, list[str]]:
    """A run that tells of these; where its outbox ends, and what it says."""
    said: list[str] = []
    deliveries = Deliveries(config, said.append)
    with deliveries.started(state, position):
        for each in alerts:
            deliveries.put(each)
        at = deliveries.sync()
        deliveries.patient = True
    return at, said


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "DRAIN_S", 0.5)


def test_one_that_is_down_delays_nobody_and_is_told_when_it_is_back(tmp_path: Path) -> None:
    config = Config(subscribers=(to_file(tmp_path / "gone" / "a", "down"), to_file(tmp_path / "b", "up")))
    first = [alert(revision=n) for n in (1, 2, 3)]
    at, said = deliver(config, tmp_path / "state", first)
    assert told(tmp_path / "b") == [("tl-1", n) for n in (1, 2, 3)]
    assert said == ["down has not had 3 of the alerts; it is told them the next time"]
    (tmp_path / "gone").mkdir()
    _, said = deliver(config, tmp_path / "state", [alert(revision=4)], at)
    assert told(tmp_path / "gone" / "a") == told(tmp_path / "b") == [("tl-1", n) for n in (1, 2, 3, 4)]
    assert said == []


def test_a_run_that_is_cut_and_tells_the_same_again_tells_it_once(tmp_path: Path) -> None:
    """The outbox is cut back to the snapshot; what comes out otherwise then is told."""
    config = Config(subscribers=(to_file(tmp_path / "a"),))
    at, _ = deliver(config, tmp_path / "state", [alert(revision=1)])
    deliver(config, tmp_path / "state", [alert(revision=2), alert(revision=3, status="closed")], at)
    again = [alert(revision=2, emitted_at="2030-01-01T00:00:00.000Z"), alert(revision=3, status="update")]
    deliver(config, tmp_path / "state", again, at)
    assert told(tmp_path / "a") == [("tl-1", n) for n in (1, 2, 3, 3)]


def test_a_new_subscriber_begins_with_what_comes(tmp_path: Path) -> None:
    at, _ = deliver(Config(subscribers=(to_file(tmp_path / "a", "old"),)), tmp_path / "state", [alert(revision=1)])
    both = Config(subscribers=(to_file(tmp_path / "a", "old"), to_file(tmp_path / "b", "new")))
    deliver(both, tmp_path / "state", [alert(revision=2)], at)
    assert told(tmp_path / "b") == [("tl-1", 2)]


def test_what_is_lost_without_a_state_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TriplineError, match="down has not had 1 of the alerts"):
        deliver(Config(subscribers=(to_file(tmp_path / "gone" / "a", "down"),)), None, [alert()])


def test_a_run_delivers_what_it_writes_and_names_nobody_who_is_to_be_hidden(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    keys = tmp_path / "keys"
    keys.write_text(f"k1 {'0123456789abcdef' * 8}\n")
    keys.chmod(0o600)
    write_jsonl(generate(load_incident("forged-token"), accounts=300, days=3.0, seed=1), log)
    config = Config(
        warmup_h=24.0, session_lifetime_h=12.0, tick_s=300, subscribers=(to_file(tmp_path / "delivered"),),
        identity_keys_file=str(keys),
    )  # fmt: skip
    run = Run(config, Options([str(log)], alerts=str(tmp_path / "alerts"), state=tmp_path / "state"))
    assert run.go()
    assert told(tmp_path / "delivered") == told(tmp_path / "alerts") != []
    hidden = [
        ref["value"]
        for line in (tmp_path / "delivered").read_bytes().splitlines()
        for ref in (orjson.loads(line)["entity"], *orjson.loads(line)["related"])
        if ref["kind"] in config.identity_kinds
    ]
    assert len(hidden) > 5
    assert all(token.startswith("tk-k1-") for token in hidden)
    text = log.read_text()
    assert all(f'"{Keys(keys).identity(token)}"' in text for token in hidden)
