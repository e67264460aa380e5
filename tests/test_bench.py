"""What the benches compute: the job that every peer does, rates and tables, and what counts as a change."""

from __future__ import annotations

import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench import compare, scale
from tests.bench.peers import __main__ as peers
from tests.bench.peers import job

EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "account": st.sampled_from("ab"), "records": st.integers(0, 3),
            "bytes": st.sampled_from([500, 510, 520, 90_000]), "source_ip": st.sampled_from(["192.0.2.1", "192.0.2.2"]),
        },
        optional={"subject": st.sampled_from("0123456789xyz")},
    ),
    max_size=120,
)  # fmt: skip

CALM: list[dict[str, Any]] = [  # one event short of being judged, and just enough
    {"account": account, "records": 1, "bytes": 500 + at % 3, "source_ip": "192.0.2.3"}
    for account, count in (("a", 19), ("b", 20))
    for at in range(count)
]


def naive(events: list[dict[str, Any]]) -> set[tuple[str, int]]:
    """The alerts, each event judged by the whole history before it."""
    told: set[tuple[str, int]] = set()
    for at, event in enumerate(events):
        before = [each for each in events[:at] if each["account"] == event["account"]]
        for name in ("records", "bytes"):
            values = [each[name] for each in before]
            if len(values) >= 20:
                deviation = max(statistics.stdev(values), 1.0)
                if abs(event[name] - statistics.fmean(values)) / deviation > 6.0:
                    told.add((event["account"], at))
    subjects: defaultdict[str, set[str]] = defaultdict(set)
    for event in events:
        subjects[event["source_ip"]] |= {event["subject"]} if "subject" in event else set()
    return told | {(address, 10) for address, seen in subjects.items() if len(seen) >= 10}


@given(EVENTS)
def test_the_job_tells_what_its_naive_twin_tells(events: list[dict[str, Any]]) -> None:
    history = CALM + events
    lines = [orjson.dumps(event | {"time": at}) for at, event in enumerate(history)]
    assert peers.due(lines) == naive(history)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10**9)), max_size=30), st.integers(0, 10**9))
def test_models_that_were_kept_as_numbers_say_the_same(history: list[tuple[int, int]], last: int) -> None:
    kept: list[float] | None = None
    whole = job.models()
    for values in history:
        models = job.of_list(kept)
        job.surprise(models, *values)
        kept = job.as_list(models)
        job.surprise(whole, *values)
    assert job.surprise(job.of_list(kept), 1, last) == pytest.approx(job.surprise(whole, 1, last))


def test_an_address_keeps_so_many_subjects_and_none_twice() -> None:
    seen: list[str] = []
    for subject in "aabcdefghhijklm":
        if job.is_new(seen, subject):
            seen.append(subject)
    assert seen == list("abcdefghij")


RUN = {"events": 100, "cpu_s": 2.0, "peak_bytes": 5e6, "curve": [[10, 1.0], [50, 1.5], [100, 2.0]]}


def test_a_rate_is_of_all_events_or_of_those_after_half_of_them() -> None:
    assert peers.rate(RUN) == 50.0
    assert peers.rate(RUN, half=True) == 100.0


def test_the_table_holds_everything_against_the_worker_and_says_what_is_missing_or_wrong() -> None:
    slow = RUN | {"events": 80, "cpu_s": 12.0, "curve": [[40, 4.0], [80, 12.0]], "wrong": 3}
    rows = {"worker": [RUN], "by_hand": [slow]}
    told = peers.table({"machine": "m", "events": 100, "missing": {"quix_river": "no venv"}, "rows": rows}).splitlines()
    (worker,) = [line for line in told if line.startswith("Tripline")]
    assert worker.split()[-7:] == ["50", "100", "100", "to", "100", "1.0x", "5"]
    (by_hand,) = [line for line in told if line.startswith("aiokafka")]
    assert by_hand.endswith("20.0x        5  80 of 100 in the time;  3 alerts are not as they should be")
    assert any(line.startswith("quixstreams") and line.endswith("left out: no venv") for line in told)
    assert not any(line.startswith("Faust") for line in told)


def run(us: float, decode_us: float) -> dict[str, Any]:
    return {"events": 1_000_000, "cpu_s": us, "stages": {"decode": decode_us}, "peak_bytes": 1e6}


def test_a_change_is_one_where_no_runs_of_the_two_overlap() -> None:
    changes = compare.compared(
        {"base": [run(10, 4), run(12, 5), run(11, 6)], "here": [run(9, 5), run(8, 4), run(7, 6)]}
    )
    assert tuple(changes["all"]) == ((11, 10, 12), (8, 7, 9))
    assert changes["all"].is_apart
    assert changes["all"].ratio == pytest.approx(8 / 11)
    assert not changes["decode"].is_apart
    assert changes["outside stages"].base[0] == pytest.approx(6.0)
    assert changes["peak MB"].here == (1, 1, 1)


def test_a_stage_that_only_one_of_the_two_has_is_told_too() -> None:
    new = run(10, 4) | {"stages": {"align": 2.0}}
    changes = compare.compared({"base": [run(10, 4)], "here": [new]})
    assert (changes["decode"].ratio, changes["align"].ratio) == (0.0, float("inf"))
    told = compare.table("embedded", "main~3", changes)
    assert [line.split()[-1] for line in told.splitlines() if line.startswith(("decode", "align"))] == [
        "-100%",
        "+inf%",
    ]
    assert [line.split()[-1] for line in told.splitlines() if line.startswith("all")] == ["~"]


def test_a_flood_of_names_forgets_no_one_who_is_watched() -> None:
    """`make bench-scale` in small: the table stays within its limit, and every event is told apart from the others."""
    flood = scale.flooded(keys=900_000, limit=700_000, detectors="four")
    assert flood["kept"] == flood["watched"] == 1_000
    assert flood["overflowed"] == 0
    assert flood["left"] <= flood["limit"] + 2 * scale.STEP
    assert flood["left"] + flood["evicted"] == flood["keys"] + flood["watched"]


def test_what_is_kept_of_many_is_what_goes_on(tmp_path: Path) -> None:
    """`make bench-scale` in small; it refuses to measure a snapshot that is not what was kept."""
    row = scale.grown(10_000, 15_000, 12_000, "four", tmp_path / "state")
    assert row["entities"]["account"] == 10_000
    assert row["entities"]["source"] == 3_000
    assert row["snapshot_bytes"] > 10_000 * 200
