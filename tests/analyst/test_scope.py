"""`tripline scope`: whose data was read is what plain counting of the log gives, to the last person."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.alerts import Alert, EntityRef
from stream.analyst.relog import FileLog
from stream.analyst.scope import Question, Scope, evidence_of, of_alert, scope
from stream.analyst.scope_views import csv_table, page
from stream.analyst.tally import Distinct
from stream.cli import main
from stream.config import Config
from stream.events import AccessEvent
from stream.incidents import generate, load_incident, truth, write_jsonl
from stream.run import Options, Run
from tests.analyst.logs import CONFIG, Case, made
from tests.pages import Reader
from tests.streams import DAY_MS, HOUR_MS, START_MS, event

READS = ("read", "list", "export", "share")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return made(tmp_path_factory.mktemp("scope"))


def log_of(path: Path) -> FileLog:
    return FileLog([str(path)], "auto", CONFIG, lambda _message: None)


def quiet(_events: int, _ms: int) -> None:
    """Say nothing."""


def counted(events: list[AccessEvent], mine: Callable[[AccessEvent], bool]) -> tuple[int, int, float, int]:
    """People, reads, records and addresses, by plain counting."""
    reads = [e for e in events if e.action in READS and e.outcome == "success" and mine(e)]
    return (
        len({e.subject or e.account for e in reads}), len(reads), sum(float(e.records or 0) for e in reads),
        len({e.source_ip for e in reads}),
    )  # fmt: skip


def test_an_alerts_scope_is_what_plain_counting_gives(case: Case) -> None:
    """All that the account did, by phase: before the alert's first access, until it was told, and after."""
    question = of_alert(case.last)
    found = scope(question, evidence_of(case.last, log_of(case.log), CONFIG, quiet), log_of(case.log), CONFIG, quiet)
    whole = next(m for m in found.scope.measures if m.name == "entity")
    mine = [e for e in case.events if e.account == "user-7"]
    assert case.last.entity == EntityRef("account", "user-7")
    assert (whole.subjects, whole.reads, whole.records, whole.sources) == counted(mine, lambda _: True)
    bounds = [start for _, start in question.phases] + [2**62]
    for phase, start, stop in zip(found.scope.phases, bounds[:-1], bounds[1:], strict=True):
        plain = counted(mine, lambda e: start <= int(e.time) < stop)  # noqa: B023 - called at once
        assert (phase.subjects, phase.reads, phase.records, phase.sources) == plain
    assert sum(phase.reads for phase in found.scope.phases) == whole.reads


def test_everybody_is_in_the_table_with_what_was_read_of_them(case: Case) -> None:
    evidence = evidence_of(case.last, log_of(case.log), CONFIG, quiet)
    found = scope(of_alert(case.last), evidence, log_of(case.log), CONFIG, quiet)
    rows = {r["subject"]: r for r in csv.DictReader(io.StringIO(csv_table(found).decode(), newline=""))}
    reads = [e for e in case.events if e.account == "user-7" and e.action in READS]
    assert set(rows) == {e.subject for e in reads}
    for name, row in rows.items():
        theirs = [e for e in reads if e.subject == name]
        assert int(row["reads"]) == len(theirs)
        assert float(row["records"]) == sum(float(e.records or 0) for e in theirs)
        assert int(row["reads"]) == sum(int(v) for k, v in row.items() if k.startswith("reads "))
    marked = [case.events[n - 1] for lines in evidence.places.settled().values() for n in lines.tolist()]
    assert sum(int(row["evidence"]) for row in rows.values()) == sum(e in reads for e in marked) > 100


def test_a_forgers_scope_is_nearly_all_that_the_forger_read_and_next_to_nothing_else(tmp_path: Path) -> None:
    """The alert is about something that many share, and yet only what the forged tokens did is counted."""
    size = {"accounts": 300, "days": 3.0, "seed": 1}
    incident = load_incident("forged-token")
    log = tmp_path / "log.jsonl"
    alerts: list[Alert] = []
    write_jsonl(generate(incident, **size), log)  # type: ignore[arg-type]
    config = Config(warmup_h=24.0, session_lifetime_h=12.0, tick_s=300)
    Run(config, Options([str(log)], alerts="/dev/null"), on_alert=alerts.append).go()
    first = min((a for a in alerts if "unissued" in a.detectors), key=lambda a: (a.time, -a.revision))
    forged = truth(incident, 300, 3.0, 1).credentials
    again = FileLog([str(log)], "auto", config, lambda _message: None)
    found = scope(of_alert(first), evidence_of(first, again, config, quiet), again, config, quiet).scope
    assert found.basis == "credentials"
    events = [msgspec.json.decode(line, type=AccessEvent) for line in log.read_bytes().splitlines()]
    people, _, records, _ = counted(events, lambda e: e.credential in forged)
    theirs = next(m for m in found.measures if m.name == "credentials")
    least, most = found.measures[0], found.measures[2]
    assert 0.9 * records <= theirs.records <= 1.02 * records
    assert 0.7 * people <= theirs.subjects <= 1.02 * people
    said = found.said
    assert said is not None and 0.7 * people <= said.subjects <= 1.02 * people, "not whom they asked for in vain"
    assert least.reads <= theirs.reads and least.subjects <= theirs.subjects < most.subjects


def test_an_entitys_scope_needs_no_alert(case: Case) -> None:
    """Of a person: who read their data; of an address, from when to when; of all traffic."""
    for ref, mine in (
        (EntityRef("subject", "user-3"), lambda e: (e.subject or e.account) == "user-3"),
        (EntityRef("issuer", "key-1"), lambda e: e.issuer == "key-1"),
        (EntityRef("fleet", "fleet"), lambda _: True),
    ):
        found = scope(
            Question(ref, START_MS + DAY_MS, START_MS + 2 * DAY_MS - 1), None, log_of(case.log), CONFIG, quiet
        )
        (whole,) = found.scope.measures
        assert (whole.subjects, whole.reads, whole.records, whole.sources) == counted(case.events, mine)
        during = next(p for p in found.scope.phases if p.name == "during")
        plain = counted(case.events, lambda e: mine(e) and START_MS + DAY_MS <= int(e.time) < START_MS + 2 * DAY_MS)  # noqa: B023
        assert (during.subjects, during.reads, during.records, during.sources) == plain


def test_failures_and_writes_hand_nothing_out(tmp_path: Path) -> None:
    events = [
        event(START_MS + 1, "ann", subject="s1"), event(START_MS + 2, "ann", subject="s2", outcome="failure"),
        event(START_MS + 3, "ann", "write", subject="s3"), event(START_MS + 4, "ann", subject=""),
    ]  # fmt: skip
    log = tmp_path / "log"
    log.write_bytes(b"\n".join(map(msgspec.json.encode, events)))
    found = scope(Question(EntityRef("account", "ann"), 0, START_MS + HOUR_MS), None, log_of(log), CONFIG, quiet)
    (whole,) = found.scope.measures
    assert (whole.events, whole.reads, whole.failures) == (4, 2, 1)
    assert {p.subject for p in found.people} == {"s1", "ann"}


def test_the_command_gives_text_a_table_json_and_a_page(
    case: Case, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table, data, html = tmp_path / "people.csv", tmp_path / "scope.json", tmp_path / "scope.html"
    command = case.command("scope", case.last.id, "--csv", str(table), "--json", str(data), "--report", str(html))
    assert main(command) == 0
    text = capfd.readouterr().out
    whole = next(m for m in msgspec.json.decode(data.read_bytes(), type=Scope).measures if m.name == "entity")
    for part in (f"Data of {whole.subjects} people was read", "HOW FAR IT REACHES", "access.jsonl", "the evidence"):
        assert part in text
    assert len(table.read_bytes().splitlines()) == whole.subjects + 1
    read = Reader(html.read_text())
    for part in (f"Data of {whole.subjects} people was read", "What was counted, and how", "user-7", "Networks"):
        assert part in read.text


def test_names_that_others_choose_are_only_words_on_the_page(tmp_path: Path) -> None:
    name = "=<i>\u202e&\"'"
    log = tmp_path / "log"
    log.write_bytes(b"\n".join(msgspec.json.encode(event(START_MS + n, name, resource=f"/{name}")) for n in range(3)))
    found = scope(Question(EntityRef("account", name), 0, START_MS + HOUR_MS), None, log_of(log), CONFIG, quiet)
    html = page(found)
    assert Reader(html).text
    assert "<i>\u202e" not in html
    assert csv_table(found).decode().splitlines()[1].startswith(("'=", "\"'="))


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["scope"], "of what"),
        (["scope", "tl-1", "--entity", "account=a"], "of what"),
        (["scope", "--entity", "account=a"], "--input"),
        (["scope", "--entity", "account=a", "--from", "2025-02-01", "--to", "2025-01-01"], "ends before"),
        (["scope", "--entity", "account=nobody", "--input", "LOG"], "nothing in"),
        (["scope", "--entity", "account=a", "--csv", "-", "--json", "-"], "only one"),
    ],
)
def test_what_cannot_be_done_is_said(
    case: Case, arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(case.log) if a == "LOG" else a for a in arguments]) == 2
    assert part in capsys.readouterr().err


@given(st.lists(st.lists(st.integers(0, 40), max_size=20), max_size=8))
def test_distinct_is_the_size_of_the_set(parts: list[list[int]]) -> None:
    distinct = Distinct()
    for part in parts:
        distinct.add(np.array(part, np.uint64))
    assert len(distinct) == len({n for part in parts for n in part} - {0})
