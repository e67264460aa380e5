"""What people say is kept so that a change shows, mutes what it should for as long as it should, and is reviewed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import feedback
from stream.alerts import Alert, EntityRef, comparable, rfc3339
from stream.cli import main
from stream.desk import Desk
from stream.errors import TriplineError
from stream.feedback import SCHEMA, START, Entry, Mute, append, load, sealed, verified
from stream.feedback_topic import Chain
from stream.mutes import Active, covering, covers, mutes_of, reviewed
from stream.run import Options, Run
from tests.analyst.logs import CONFIG, Case, made
from tests.pages import alert
from tests.streams import DAY_MS, HOUR_MS, START_MS

ANN = EntityRef("account", "ann")


def said(**fields: Any) -> Entry:
    given: dict[str, Any] = {"schema": SCHEMA, "number": 0, "previous": "", "time_ms": START_MS, "who": "eve"}
    return Entry(**(given | fields))


def chain(*entries: Entry) -> list[Entry]:
    out: list[Entry] = []
    for entry in entries:
        out.append(sealed(entry, out))
    return out


def mute(*entities: EntityRef, detectors: tuple[str, ...] = (), start: int = START_MS, end: int = 2**45) -> Mute:
    return Mute(entities, detectors, start, end)


def verdict(about: Alert, what: str) -> Entry:
    return said(verdict=what, about=feedback.about(about, {}))


def test_what_was_appended_is_read_back_and_verified(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert load(path) == []
    entries = [append(path, said(note=f"note {n}")) for n in range(5)]
    assert load(path) == entries
    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5]
    for entry in entries:
        assert verified(entries, entry.hash) == entries[-1].hash
    assert verified([], None) == START


@given(st.lists(st.one_of(st.none(), st.binary(max_size=40), st.integers(0, 3)), max_size=12))
def test_of_a_topic_what_does_not_follow_is_left_out_and_the_rest_is_heard(records: list[int | bytes | None]) -> None:
    """None: the next entry. A number: an entry that was there once more. Bytes: anything."""
    taken, log = Chain(), [*chain(*(said(note=str(n)) for n in range(12)))]
    due = 0
    for record in records:
        line = (
            record if isinstance(record, bytes) else feedback.encode(log[due if record is None else min(record, due)])
        )
        follows = record is None or (isinstance(record, int) and record >= due)
        assert taken.add(line, "here") is follows
        due += follows
    assert taken.entries == log[:due]
    assert taken.refused == len(records) - due


@given(st.data())
def test_no_byte_can_be_changed_and_no_line_left_out_or_moved_unseen(data: st.DataObject) -> None:
    """But for a cut at the end, which whoever noted the latest hash sees."""
    entries = chain(*(said(note=f"note {n}", who=f"who {n}") for n in range(4)))
    lines = [msgspec.json.encode(entry, order="deterministic") for entry in entries]
    number = data.draw(st.integers(0, 3))
    match data.draw(st.sampled_from(["byte", "drop", "swap", "cut"])):
        case "byte":
            at = data.draw(st.integers(0, len(lines[number]) - 1))
            changed = data.draw(st.integers(32, 126).filter(lambda c: c != lines[number][at]))
            lines[number] = lines[number][:at] + bytes([changed]) + lines[number][at + 1 :]
        case "drop":
            del lines[min(number, 2)]
        case "swap":
            lines[number], lines[number - 1] = lines[number - 1], lines[number]
        case "cut":
            kept = list(feedback.chained(lines[:number], "log"))
            with pytest.raises(TriplineError, match="no entry has the hash"):
                verified(kept, entries[-1].hash)
            return
    with pytest.raises(TriplineError):
        list(feedback.chained(lines, "log"))


def test_two_who_speak_at_once_are_both_heard(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: append(path, said(note=str(n))), range(20)))
    assert sorted(int(entry.note) for entry in load(path)) == list(range(20))


def test_a_log_that_cannot_be_believed_takes_no_more(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append(path, said())
    path.write_bytes(path.read_bytes().replace(b"eve", b"bob"))
    for do in (lambda: load(path), lambda: append(path, said()), lambda: Desk(path)):
        with pytest.raises(TriplineError, match="was changed"):
            do()


@pytest.mark.parametrize(
    "given, of, covered",
    [
        (mute(ANN), alert("ann"), True),
        (mute(ANN), alert("bob"), False),
        (mute(ANN, EntityRef("source", "ann")), alert("ann"), True),
        (mute(ANN, EntityRef("source", "192.0.2.1")), alert("ann"), False),
        (mute(ANN), alert("ann", entity=EntityRef("network", "AS1")), True),  # the only account in it
        (mute(ANN), alert("ann", entity=EntityRef("network", "AS1"), related=(EntityRef("account", "bob"),)), False),
        (mute(EntityRef("client", "ann")), alert("ann"), False),  # a program is shared by others
        (mute(detectors=("volume",)), alert("ann"), True),
        (mute(detectors=("volume",)), alert("ann", detectors=("volume", "unissued")), False),
        (mute(detectors=("volume",)), alert("ann", severity="critical"), False),
        (mute(ANN, detectors=("volume",)), alert("ann", severity="critical"), True),
        (mute(ANN, detectors=("drip",)), alert("ann"), False),
        (mute(detectors=("canary",)), alert("ann", detectors=("canary",)), False),
        (mute(ANN), alert("ann", detectors=("canary",)), False),
        (mute(ANN, detectors=("canary",)), alert("ann", detectors=("canary",)), True),
        (mute(), alert("ann"), False),
    ],
)  # fmt: skip
def test_a_mute_covers_what_it_is_about_and_no_more(given: Mute, of: Alert, covered: bool) -> None:
    assert covers(given, of) is covered


def test_a_mute_holds_from_its_start_until_its_end_or_until_it_is_revoked() -> None:
    given = mute(ANN, start=START_MS, end=START_MS + DAY_MS)
    entries = chain(said(mute=given), said(time_ms=START_MS + HOUR_MS, revokes=1))
    for active, end in ((mutes_of(entries[:1]), START_MS + DAY_MS), (mutes_of(entries), START_MS + HOUR_MS)):
        assert covering(active, alert("ann"), START_MS - 1) is None
        assert covering(active, alert("ann"), START_MS) is not None
        assert covering(active, alert("ann"), end - 1) is not None
        assert covering(active, alert("ann"), end) is None


STEPS = st.lists(st.tuples(st.sampled_from(["open", "update", "closed"]), st.integers(0, 10)), max_size=12)


@given(STEPS, st.integers(0, 10), st.integers(0, 10))
def test_whatever_is_told_begins_with_an_opening_and_what_was_opened_is_closed(
    steps: list[tuple[str, int]], start: int, length: int
) -> None:
    """One incident's revisions at rising times, muted for some of it."""
    desk = Desk()
    desk.mutes = [Active(1, mute(ANN, start=start, end=start + length))]
    told, due = [], []
    opened = False
    for status, now in sorted(steps, key=lambda step: step[1]):
        status = ("update" if status == "open" else status) if opened else "open"  # noqa: PLW2901
        opened = status != "closed"
        due.append(status)
        out, _ = desk.decide(alert("ann", status=status), now)
        if out is not None:
            told.append(out.status)
            assert not start <= now < start + length or out.status == "closed"
    runs = "".join(status[0] for status in told).replace("u", "").split("c")
    assert all(run == "o" for run in runs[:-1]) and runs[-1] in ("", "o")
    if not length:
        assert told == due


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return made(tmp_path_factory.mktemp("feedback"))


def run_with(case: Case, folder: Path, log: Path | None, **more: Any) -> tuple[Run, list[bytes], list[bytes]]:
    told, muted = folder / "told", folder / "muted"
    run = Run(CONFIG, Options([str(case.log)], alerts=str(told), muted=str(muted), feedback=log, **more))
    run.go()
    return run, told.read_bytes().splitlines(), muted.read_bytes().splitlines()


def test_what_is_muted_is_scored_counted_and_kept_and_costs_no_budget(case: Case, tmp_path: Path) -> None:
    _, everything, none = run_with(case, tmp_path, None)
    assert none == [] and len(everything) > 2
    log = tmp_path / "log"
    append(log, said(mute=mute(case.last.entity, start=START_MS, end=START_MS + 30 * DAY_MS)))
    run, told, muted = run_with(case, tmp_path, log)
    assert run.pipeline.correlator.budget.held_back["muted"] == run.desk.muted == 1
    assert {comparable(line)["id"] for line in muted} == {case.last.id}
    assert case.last.id not in {comparable(line)["id"] for line in told}
    assert sorted(map(str, map(comparable, told + muted))) == sorted(map(str, map(comparable, everything)))


def test_a_run_that_is_cut_and_goes_on_mutes_as_one_that_is_not(case: Case, tmp_path: Path) -> None:
    """Alerts and muted alerts are both cut back to where the snapshot stands."""
    log = tmp_path / "log"
    crossed = case.last.time
    end = START_MS + 57 * HOUR_MS + 6 * 60_000
    append(log, said(mute=mute(case.last.entity, start=START_MS, end=end)))
    assert crossed < rfc3339(end), "the mute ends while the incident is open"
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    _, told, muted = run_with(case, whole, log)
    assert any(comparable(line)["id"] == case.last.id for line in told)
    state = cut / "state"
    first = Run(
        msgspec.structs.replace(CONFIG, snapshot_every_s=0.0),
        Options([str(case.log)], alerts=str(cut / "told"), muted=str(cut / "muted"), feedback=log, state=state),
    )
    first.stop.asked = True  # after one chunk
    first.go()
    _, again, kept = run_with(case, cut, log, state=state)
    assert list(map(comparable, again)) == list(map(comparable, told))
    assert list(map(comparable, kept)) == list(map(comparable, muted))


def test_a_mute_that_hid_or_would_have_hidden_what_was_confirmed_is_reported() -> None:
    then, later = alert("ann", id="tl-1", time=rfc3339(START_MS)), alert("ann", id="tl-2", time=rfc3339(2**45 + DAY_MS))
    entries = chain(
        said(mute=mute(ANN)), verdict(then, "true"), verdict(later, "true"), verdict(alert("bob", id="tl-3"), "true"),
        verdict(alert("ann", id="tl-4"), "false"),
    )  # fmt: skip
    assert [(h.mute, h.alert, h.hid) for h in reviewed(entries)] == [(1, "tl-1", True), (1, "tl-2", False)]
    assert reviewed(chain(*entries, verdict(then, "false")))[0].alert == "tl-2"


def test_the_command_writes_lists_verifies_and_reviews(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = str(tmp_path / "log")
    named = [case.last.id[:9], "--alerts", str(case.alerts), "--feedback", log, "--who", "eve"]
    muting = ["--mute", "2025-01-01..2025-01-31", "--note", "a job"]
    assert main(["feedback", named[0], "expected", *named[1:], *muting]) == 0
    head = load(Path(log))[-1].hash
    assert head in capsys.readouterr().out
    assert main(["feedback", "--list", "--feedback", log]) == 0
    text = capsys.readouterr().out
    assert "a job" in text and "eve" in text and "2025-01-31" in text
    assert main(["feedback", "--review", "--feedback", log]) == 0
    assert main(["feedback", named[0], "true", *named[1:]]) == 0
    assert "mute 1 hid" in capsys.readouterr().out
    assert main(["feedback", "--review", "--feedback", log]) == 1
    assert main(["feedback", "--verify", "--head", head, "--feedback", log]) == 0
    assert main(["feedback", "--verify", "--head", "f" * 64, "--feedback", log]) == 1
    assert main(["feedback", "--revoke", "1", "--feedback", log]) == 0
    assert load(Path(log))[-1].revokes == 1


@pytest.mark.parametrize(
    "arguments, part",
    [
        ([], "nothing was said"),
        (["--mute", "7d"], "of what"),
        (["--mute", "91d", "--detector", "volume"], "longer than 90 days"),
        (["--mute", "soon", "--detector", "volume"], "not a length"),
        (["--mute", "2025-02-01..2025-01-01", "--detector", "volume"], "ends before"),
        (["--mute", "1d", "--detector", "volum"], "volume"),
        (["--mute", "1d", "--entity", "ann"], "kind=value"),
        (["--revoke", "3"], "no entry of that number"),
    ],
)
def test_what_cannot_be_said_is_refused_and_not_written(
    arguments: list[str], part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    assert main(["feedback", "--feedback", str(log), *arguments]) == 2
    assert part in capsys.readouterr().err
    assert not log.exists()
