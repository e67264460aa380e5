"""`tripline explain`: the evidence comes out of the log again, or it is said that it does not."""

from __future__ import annotations

import operator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.base import HOUR_MS
from stream.alerts import EntityRef, rfc3339
from stream.analyst.explain import Explanation, explain
from stream.analyst.explain_views import page
from stream.analyst.history import Histories
from stream.analyst.places import Places, place_of, within
from stream.analyst.relog import FileLog, Log, in_order
from stream.blocks import joined, packed
from stream.cli import main
from stream.config import Config
from stream.errors import UsageError
from stream.siphash import hash_key
from tests.analyst.logs import CONFIG, Case, made
from tests.pages import Reader, theft
from tests.streams import START_MS, block, event


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return made(tmp_path_factory.mktemp("explain"))


@pytest.fixture(scope="module")
def found(case: Case) -> Explanation:
    return explained(case)


def log_of(path: Path, config: Config = CONFIG) -> Log:
    return FileLog([str(path)], "auto", config, lambda _message: None)


def explained(case: Case, path: Path | None = None, config: Config = CONFIG) -> Explanation:
    return explain(case.last, log_of(path or case.log), config, lambda _events, _ms: None).explanation


def test_the_alert_comes_out_of_the_log_again_to_the_last_bit(case: Case, found: Explanation) -> None:
    assert found.reproduced
    assert all(each.agrees and each.again == each.told for each in found.evidence)
    assert len(found.evidence) == len(case.last.evidence) > 0


def test_its_examples_are_lines_of_the_log_and_are_its_evidence(case: Case, found: Explanation) -> None:
    lines = case.log.read_bytes().splitlines()
    assert found.evidence_events > len(found.examples) > 3
    for example in found.examples:
        number = int(example.place.rpartition(" ")[2])
        there = msgspec.json.decode(lines[number - 1])
        assert (there["account"], there["subject"]) == (example.account, example.subject)
        assert example.account == "user-7", "of the theft"


def test_a_history_is_what_plain_counting_gives(case: Case, found: Explanation) -> None:
    (mine,) = (h for h in found.history if h.entity == EntityRef("account", "user-7"))
    events = [e for e in case.events if e.account == "user-7"]
    assert sum(h.requests for h in mine.hours) == len(events)
    for hour in mine.hours:
        here = [e for e in events if rfc3339(int(e.time) // HOUR_MS * HOUR_MS) == hour.start]
        reads = [e for e in here if e.action == "read"]
        assert (hour.requests, hour.reads) == (len(here), len(reads))
        assert hour.records == sum(float(e.records or 0) for e in reads)
        assert hour.people == len({e.subject for e in reads})


def test_other_settings_or_another_log_are_told_from_the_one_that_made_it(case: Case, tmp_path: Path) -> None:
    other = explained(case, config=msgspec.structs.replace(CONFIG, tick_s=60))
    assert not other.reproduced
    assert "did not come out" in other.verdict
    lines = case.log.read_bytes().splitlines(keepends=True)
    tampered = tmp_path / "access.jsonl"
    tampered.write_bytes(b"".join(line for n, line in enumerate(lines) if b'"user-7"' not in line or n % 7))
    again = explained(case, tampered)
    assert not again.reproduced
    assert not all(each.agrees for each in again.evidence)


def test_a_log_of_another_time_is_refused(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_bytes(msgspec.json.encode(event(START_MS - 10**9, "ann")))
    with pytest.raises(UsageError, match="no event of"):
        explained(case, path)


def test_the_command_gives_text_json_and_a_page(case: Case, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out, html = tmp_path / "out.json", tmp_path / "page.html"
    identity = case.last.id[:8]
    assert main(case.command("explain", identity, "--json", str(out), "--report", str(html))) == 0
    text = capfd.readouterr().out
    for part in ("exactly as it was told", "EVENTS THAT IT RESTS ON", "access.jsonl line", "account user-7", "▁"):
        assert part in text
    assert msgspec.json.decode(out.read_bytes(), type=Explanation).reproduced
    read = Reader(html.read_text())
    for part in (
        "exactly as it was told",
        "The evidence, recomputed",
        "Events that it rests on",
        "user-7",
        "Who was read",
    ):
        assert part in read.text


def test_names_that_others_choose_are_only_words_on_the_page(tmp_path: Path) -> None:
    there = made(tmp_path, theft("=<i>\u202e&\"'"))
    done = explain(there.last, log_of(there.log), CONFIG, lambda _events, _ms: None)
    html = page(done, done.recorder.features)
    assert "=&lt;i&gt;" in html
    assert "=<i>" not in html and "\u202e" not in html
    assert "Events that it rests on" in Reader(html).text


def test_what_is_missing_is_said(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    command = case.command("explain", case.last.id)
    for changed, part in (
        ([*command[:-1], "-"], "only once"),
        ([*command[:-1], "/nowhere"], "/nowhere"),
        (["explain", "tl-none", *command[2:]], "tl-none"),
    ):
        assert main(changed) == 2
        assert part in capsys.readouterr().err


STREAMS = st.lists(st.lists(st.lists(st.integers(0, 50), max_size=5), max_size=4), min_size=1, max_size=4)


@given(STREAMS)
def test_partitions_are_put_in_the_order_of_time_each_in_its_own(streams: list[list[list[int]]]) -> None:
    """As a stable sort by the latest time that each origin has come to."""
    parts, expected = [], []
    for number, blocks in enumerate(streams):
        made_of, line, top = [], 0, 0
        for times in blocks:
            events = [event(START_MS + t, f"a{number}") for t in times]
            if not events:
                continue
            one = packed(block(events, f"log-{number}", line + 1))
            one.time = np.array([START_MS + t for t in times])
            line += len(times)
            made_of.append(one)
            for t in times:
                top = max(top, t)
                expected.append((top, number))
        parts.append(iter(made_of))
    got = list(in_order(parts))
    order = [block_.origins[o] for block_ in got for o in block_.origin.tolist()]
    lines = [
        (o, n) for b in got for o, n in zip([b.origins[k] for k in b.origin.tolist()], b.line.tolist(), strict=True)
    ]
    for number in range(len(streams)):
        mine = [n for o, n in lines if o == f"log-{number}"]
        assert mine == sorted(mine)
    assert len(order) == len(expected)
    tops: dict[str, int] = {}
    reached = []
    for one in got:
        for o, t in zip(one.origin.tolist(), one.time.tolist(), strict=True):
            tops[one.origins[o]] = max(tops.get(one.origins[o], 0), t)
            reached.append(tops[one.origins[o]])
    assert reached == sorted(reached)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30)), max_size=30))
def test_places_are_found_again_and_nothing_else(wanted: list[tuple[int, int]]) -> None:
    blocks = [packed(block([event(START_MS + n, "a") for n in range(20)], f"log-{k}", 1)) for k in range(2)]
    places = Places()
    for origin, line in wanted:
        places.add(f"log-{origin}", np.array([line]))
    whole = joined(blocks)
    found = within(whole, places.settled()).tolist()
    known = {(f"log-{origin}", line) for origin, line in wanted}
    assert found == [
        (whole.origins[o], n) in known for o, n in zip(whole.origin.tolist(), whole.line.tolist(), strict=True)
    ]


def test_the_histories_of_several_entities_are_those_of_each() -> None:
    events = [event(START_MS + n * 600_000, f"u{n % 3}", subject=f"s{n % 5}") for n in range(30)]
    refs = [EntityRef("account", "u1"), EntityRef("fleet", "fleet"), EntityRef("issuer", "key-1")]
    histories = Histories(refs, hash_key("k"))
    histories.take(packed(block(events)))
    counts = list(map(operator.attrgetter("hours"), histories.told()))
    assert [sum(h.requests for h in hours) for hours in counts] == [10, 30, 30]
    assert place_of("a.log", 3) == "a.log line 3"


def test_what_an_employee_reads_is_counted_by_things_where_nobody_is_named() -> None:
    """As the evidence counts it; a customer's own things stay the customer's."""
    files = [
        event(START_MS + k, name, account_kind=kind, subject="", object=f"file-{k % 7}")
        for k in range(20) for name, kind in (("emp", "employee"), ("user", "customer"))
    ]  # fmt: skip
    refs = [EntityRef("account", "emp"), EntityRef("account", "user"), EntityRef("resource", "/api")]
    histories = Histories(refs, hash_key("k"))
    histories.take(packed(block(files)))
    assert [told.hours[0].people for told in histories.told()] == [7, 1, 2]
