"""`columns` and the checks behind it: what is accepted, what is refused and why, and that one never costs another."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.checks import ASN_MAX, shortened, shown
from stream.events import (
    ACCOUNT_KINDS,
    ACTIONS,
    COUNT_MAX,
    OUTCOMES,
    REASONS,
    TEXT_BYTES_MAX,
    TEXT_FIELDS,
    TIME_MS_MIN,
    AccessEvent,
    BadRecord,
    EventBlock,
    Rejected,
    columns,
)

TIME_MS_MAX = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
NUMBERS = ("line", "time", "action", "account_kind", "outcome", "records", "bytes", "asn")


def block_of(events: list[AccessEvent], lines: list[int] | None = None) -> tuple[EventBlock, list[Rejected]]:
    return columns(events, "t", np.array(range(len(events)) if lines is None else lines, np.int64), TIME_MS_MAX)


def event(**fields: Any) -> AccessEvent:
    base: dict[str, Any] = {"time": 1_750_748_400_000, "account": "mara", "action": "read", "resource": "/x"}
    return AccessEvent(**(base | fields))


def rows(block: EventBlock) -> list[tuple[Any, ...]]:
    numbers = [getattr(block, name).tolist() for name in NUMBERS]
    return list(zip(*numbers, *(block.text[name] for name in TEXT_FIELDS), strict=True))


short = st.text(max_size=TEXT_BYTES_MAX // 4)
count = st.none() | st.integers(0, COUNT_MAX) | st.floats(0, 1e18)
OPTIONAL_TEXT = [name for name in TEXT_FIELDS if name not in ("account", "resource")]
good_events = st.builds(
    AccessEvent,
    time=st.integers(TIME_MS_MIN, TIME_MS_MAX),
    account=short.filter(bool),
    action=st.sampled_from(ACTIONS),
    resource=short.filter(bool),
    account_kind=st.none() | st.sampled_from(ACCOUNT_KINDS),
    outcome=st.none() | st.sampled_from(OUTCOMES),
    asn=st.none() | st.integers(-1, ASN_MAX),
    records=count,
    bytes=count,
    **{name: st.none() | short for name in OPTIONAL_TEXT},
)

# What a decoder may hand over at all: the declared types, and values far outside the limits.
any_text = st.none() | st.text(max_size=300) | st.sampled_from(["", "\ud800", "\0", "x" * 257, "é" * 129])
# Between COUNT_MAX and the next float above it, a column and a single value may disagree about the last bit.
any_number = (
    st.none()
    | st.integers(-(10**30), 10**30).filter(lambda n: not COUNT_MAX < n < 2**64)
    | st.floats().filter(lambda x: x != 2.0**63)
)
any_events = st.builds(
    AccessEvent,
    time=st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=30) | st.integers(TIME_MS_MIN, TIME_MS_MAX),
    account=any_text,
    action=st.sampled_from([*ACTIONS, "steal", ""]),
    resource=any_text,
    account_kind=st.none() | st.sampled_from([*ACCOUNT_KINDS, "robot"]),
    outcome=st.none() | st.sampled_from([*OUTCOMES, "maybe"]),
    asn=st.none() | st.integers(-(2**70), 2**70),
    records=any_number,
    bytes=any_number,
    **dict.fromkeys(OPTIONAL_TEXT, any_text),
)


@settings(deadline=None)
@given(st.lists(good_events, max_size=8))
def test_good_events_arrive_whole_and_null_is_the_default(events: list[AccessEvent]) -> None:
    block, rejected = block_of(events)
    assert rejected == []
    assert len(block) == len(events)
    for i, given_event in enumerate(events):
        assert block.time[i] == given_event.time
        assert ACTIONS[block.action[i]] == given_event.action
        assert ACCOUNT_KINDS[block.account_kind[i]] == (given_event.account_kind or "unknown")
        assert OUTCOMES[block.outcome[i]] == (given_event.outcome or "success")
        assert block.asn[i] == (-1 if given_event.asn is None else given_event.asn)
        assert block.records[i] == float(1 if given_event.records is None else given_event.records)
        assert block.bytes[i] == float(given_event.bytes or 0)
        for name in TEXT_FIELDS:
            assert block.text[name][i] == (getattr(given_event, name) or "")


@settings(deadline=None)
@given(st.lists(any_events, max_size=6))
def test_whatever_comes_is_accepted_within_the_limits_or_refused_for_a_reason(events: list[AccessEvent]) -> None:
    block, rejected = block_of(events)
    assert len(block) + len(rejected) == len(events)
    assert [r.index for r in rejected] == sorted({r.index for r in rejected})
    assert {r.reason for r in rejected} <= set(REASONS)
    assert all(r.detail and "\n" not in r.detail for r in rejected)
    assert ((block.time >= TIME_MS_MIN) & (block.time <= TIME_MS_MAX)).all()
    assert ((block.asn >= -1) & (block.asn <= ASN_MAX)).all()
    for amounts in (block.records, block.bytes):
        assert ((amounts >= 0) & (amounts <= COUNT_MAX)).all()
    assert all(len(text.encode()) <= TEXT_BYTES_MAX for column in block.text.values() for text in column)
    assert all(block.text["account"])
    assert all(block.text["resource"])


@settings(deadline=None)
@given(st.lists(any_events, max_size=6))
def test_an_event_is_judged_by_itself_and_not_by_its_batch(events: list[AccessEvent]) -> None:
    block, rejected = block_of(events)
    alone = [columns([each], "t", np.array([line]), TIME_MS_MAX) for line, each in enumerate(events)]
    assert rows(block) == [row for one, _ in alone for row in rows(one)]
    assert [(r.line, r.reason, r.detail) for r in rejected] == [
        (r.line, r.reason, r.detail) for _, bad in alone for r in bad
    ]


@settings(deadline=None)
@given(st.lists(good_events, min_size=1, max_size=8), st.data())
def test_where_keeps_what_holds_in_order(events: list[AccessEvent], data: st.DataObject) -> None:
    block, _ = block_of(events)
    keep = data.draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events)))
    assert rows(block.where(np.array(keep, np.bool_))) == [
        row for row, kept in zip(rows(block), keep, strict=True) if kept
    ]


def test_no_events_are_an_empty_block() -> None:
    block, rejected = block_of([])
    assert (len(block), rejected) == (0, [])
    assert all(getattr(block, name).shape == (0,) for name in NUMBERS)
    assert block.text == {name: [] for name in TEXT_FIELDS}


@pytest.mark.parametrize("name", [name for name in TEXT_FIELDS if name != "account"])
def test_long_text_is_shortened_and_hides_nothing(name: str) -> None:
    (block, rejected), (other, _) = (block_of([event(**{name: "é" * 4000 + end})]) for end in "ab")
    assert rejected == []
    assert block.text[name][0].startswith("é" * 100)
    assert block.text[name] != other.text[name]


def test_an_account_that_is_too_long_is_refused_since_a_cut_one_is_another() -> None:
    assert block_of([event(account="x" * TEXT_BYTES_MAX)])[1] == []
    assert block_of([event(account="x" * (TEXT_BYTES_MAX + 1))])[1][0].reason == "text_too_long"


@given(st.text(max_size=400))
def test_shortened_fits_and_leaves_alone_what_fits(text: str) -> None:
    short_text = shortened(text)
    assert len(short_text.encode()) <= TEXT_BYTES_MAX
    assert (short_text == text) == (len(text.encode()) <= TEXT_BYTES_MAX)


@pytest.mark.parametrize(
    ("time", "hint"),
    [
        (1_750_748_400, "seconds"),
        (1_750_748_400_000_000, "microseconds"),
        (1_750_748_400_000_000_000, "nanoseconds"),
    ],
)
def test_a_time_in_the_wrong_unit_is_told_its_unit(time: int, hint: str) -> None:
    (why,) = block_of([event(time=time)])[1]
    assert why.reason == "time_out_of_range"
    assert f"looks like {hint}" in why.detail


def test_the_latest_time_believed_is_believed_and_no_later_one() -> None:
    assert block_of([event(time=TIME_MS_MAX)])[1] == []
    assert block_of([event(time=TIME_MS_MAX + 1)])[1][0].reason == "time_in_future"


@pytest.mark.parametrize(
    "value",
    [None, True, 1.5, float("nan"), "x" * 100_000, 10**4000, 1 << 100_000, [1] * 1000, {"a\nb": 1}],
    ids=lambda value: type(value).__name__,
)
def test_a_value_in_a_message_is_short_and_of_one_line(value: object) -> None:
    assert len(shown(value)) <= 60
    assert "\n" not in shown(value)


def test_a_value_nested_deep_is_still_shown() -> None:
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    assert len(shown(value)) <= 60


def test_reasons_are_words_for_metrics_and_each_is_there_once() -> None:
    assert len(set(REASONS)) == len(REASONS)
    assert all(reason.replace("_", "").isalnum() and reason == reason.lower() for reason in REASONS)
    assert str(BadRecord("wrong_type", "why")) == "wrong_type: why"


def test_the_schema_survives_a_round_trip_through_json() -> None:
    sent = event(bytes=5, subject="é", asn=64500)
    assert msgspec.json.decode(msgspec.json.encode(sent), type=AccessEvent) == sent
