"""The suite on a small hospital: thefts and twins are told apart, peers are held to the same price, twice is once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.cli import main
from stream.config import Config
from stream.errors import UsageError
from stream.evaluate.page import page
from stream.evaluate.peers import PEERS, Candidate, settled
from stream.evaluate.results import Results, summed
from stream.evaluate.suite import Played, Scene, checked, paced, played
from stream.evaluate.table import results_json
from stream.incidents.theft import load_theft
from tests.pages import Reader

CONFIG = Config(tick_s=3_600)
SCENE = Scene("hospital", 2, days=7, first_day=3, scale=0.04, thefts=("web-shell", "relatives", "sequential"))


@pytest.fixture(scope="module")
def scenes() -> list[Played]:
    """The thefts, and their twins."""
    return [played(scene, CONFIG) for scene in (SCENE, msgspec.structs.replace(SCENE, twins=True))]


@pytest.fixture(scope="module")
def results(scenes: list[Played]) -> Results:
    """What they come to."""
    return summed(scenes)


def test_a_theft_in_the_open_is_found(scenes: list[Played]) -> None:
    """Thousands of records in minutes through a path nobody knew, hundreds of lists, identifiers one by one."""
    thefts, twins = scenes
    found = {verdict.id: verdict for verdict in thefts.outcome.attacks}
    assert set(found) == set(SCENE.thefts)
    assert thefts.outcome.found >= 1
    assert found["web-shell"].records > 10_000
    for verdict in found.values():
        assert verdict.found == (verdict.opened > 0) == (verdict.minutes is not None)
        assert verdict.found or verdict.share_out == 1.0
    assert not twins.outcome.attacks
    assert set(twins.twins) == set(SCENE.thefts)
    assert set(twins.alerted) <= set(twins.twins)


def test_figures_add_up_over_scenes(scenes: list[Played], results: Results) -> None:
    thefts, twins = scenes
    assert (results.found, results.times) == (thefts.outcome.found, 3)
    assert results.false == len(thefts.outcome.false) + len(twins.outcome.false)
    assert results.watched_days == pytest.approx(2 * 5, abs=0.1)
    assert sum(each.opened for each in results.severities) == results.false + sum(thefts.outcome.right.values())
    assert {row.id: row.twins for row in results.rows} == dict.fromkeys(SCENE.thefts, 1)
    assert results.sweep == ()


def test_pace_is_that_of_what_is_more_than_usual() -> None:
    theft = load_theft("slow-insider-2x").theft
    assert paced(theft, 0.3).own_pace == pytest.approx(1.3)
    assert paced(load_theft("sequential").theft, 4.0).pace_per_hour == 4 * load_theft("sequential").theft.pace_per_hour


def test_peers_have_no_more_false_alerts_than_the_pipeline(results: Results) -> None:
    assert [row.peer for row in results.peers] == list(PEERS)
    for row in results.peers:
        assert row.false <= max(results.false, 1)
        assert row.times == 3


def test_the_same_scene_again_is_the_same(scenes: list[Played], results: Results) -> None:
    """Also in the bytes that are written."""
    again = msgspec.json.decode(msgspec.json.encode(scenes), type=list[Played])
    assert results_json(summed(again), again) == results_json(results, scenes)
    small = msgspec.structs.replace(SCENE, days=5, scale=0.02, first_day=2, thefts=("web-shell",))
    assert played(small, CONFIG) == played(small, CONFIG)


def test_the_page_is_whole_and_names_every_theft(scenes: list[Played], results: Results) -> None:
    faster = [
        msgspec.structs.replace(scenes[0], scene=msgspec.structs.replace(SCENE, pace=pace)) for pace in (0.5, 4.0)
    ]  # fmt: skip
    whole = page(summed([*scenes, *faster]), scenes)
    words = " ".join(Reader(whole).words)
    for row in results.rows:
        assert row.title in words
    for part in ("thefts were found", "Where detection ends", "False alerts", PEERS[0], "x0.5", "x4"):
        assert part in words, part


def candidate(score: float, attacks: tuple[str, ...] = (), value: str = "a", day: int = 1) -> Candidate:
    return Candidate(score, day * 86_400_000, "account", value, attacks)


@pytest.mark.parametrize(("false_max", "found", "false"), [(0, {"x"}, 0), (1, {"x", "y"}, 1), (2, {"x", "y", "z"}, 2)])
def test_a_peer_gets_the_lowest_threshold_that_keeps_to_the_price(false_max: int, found: set[str], false: int) -> None:
    """An entity alerts once a day, and what has the same score stands or falls together."""
    some = [
        candidate(9.0, ("x",)), candidate(8.0), candidate(7.0), candidate(6.0, ("y",)), candidate(5.0, value="b"),
        candidate(5.0, ("z",), value="c"), candidate(1.0, value="d"), candidate(1.0, value="e"),
    ]  # fmt: skip
    result = settled("peer", {"scene": some}, false_max)
    assert {attack for _, attack in result.found} == found
    assert result.false == false


def test_what_the_command_cannot_do_it_says(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments: list[tuple[list[str], Any]] = [
        (["--company", "shop"], "hospital"), (["--days", "3"], "--days 3"), (["--scale", "0"], "--scale 0"),
        (["--pace", "0"], "--pace 0"), (["--seeds", "0"], "--seeds 0"),
    ]  # fmt: skip
    for given, part in arguments:
        assert main(["evaluate", *given]) == 2
        assert part in capsys.readouterr().err
    with pytest.raises(UsageError, match="day 9"):
        checked(Scene("bank", 1, days=10))
    assert main(["evaluate", "--report", str(tmp_path / "nowhere" / "x.html")]) == 1
