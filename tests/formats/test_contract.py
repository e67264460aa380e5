"""What every decoder owes, asked of each format that discovery finds."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.decode import Format, decode_batch, detect, formats
from stream.events import REASONS, TEXT_FIELDS, AccessEvent, BadRecord, EventBlock

FIXTURES = Path(__file__).parent / "fixtures"
TIME_MS_MAX = 253_402_300_799_999
CANONICAL = (
    "time", "account", "credential", "issuer", "source_ip", "user_agent", "action", "resource", "object", "subject",
    "records", "bytes", "outcome", "id",
)  # fmt: skip
FAST_MAY_RAISE = (BadRecord, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

# None of these is a record of any format.
BAD = (
    b"", b" ", b"\0", b"{", b"}", b"[]", b"{}", b"null", b"NaN", b"1e999", b"18446744073709551616", b'"text"',
    b"\xff\xfe",
    b'{"a":NaN}', b'{"a":1e999}', b'{"a":18446744073709551616}', b'{"a":"\\ud800"}', b'{"a":"\xed\xa0\x80"}',
    b"[" * 1000 + b"]" * 1000, b"[" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b"a b c", b'"' * 5000,
    b"- - - [", b"x" * 70_000, b'{"class_uid":{}}', b'{"eventName":[],"eventSource":{}}', b'{"@timestamp":{}}',
)  # fmt: skip


def fixture(fmt: Format) -> list[bytes]:
    """The records of the format's fixture, one a line; a format without one is not done."""
    paths = [path for ending in (".jsonl", ".log") if (path := FIXTURES / (fmt.name + ending)).exists()]
    assert paths, f"{fmt.name}: no fixture in {FIXTURES}"
    return paths[0].read_bytes().splitlines()


def batch(
    fmt: Format, records: list[bytes], lines: list[int] | None = None
) -> tuple[EventBlock, list[tuple[int, str]]]:
    places = np.array(lines if lines is not None else range(1, len(records) + 1), np.int64)
    block, rejected = decode_batch(fmt, records, "t", places, TIME_MS_MAX)
    return block, [(r.index, r.reason) for r in rejected]


def rows(block: EventBlock) -> list[tuple[Any, ...]]:
    """The events of a block as tuples, every column in them."""
    names = ("line", "time", "action", "account_kind", "outcome", "records", "bytes", "asn")
    numbers = [getattr(block, name).tolist() for name in names]
    return list(zip(*numbers, *(block.text[name] for name in TEXT_FIELDS), strict=True))


def check(fmt: Format, record: bytes) -> None:
    """Of any record: matches answers, decode gives events or a reason, and fast agrees with decode."""
    assert fmt.matches(record) in (True, False)
    events: list[AccessEvent] | None = None
    try:
        events = fmt.decode(record)
    except BadRecord as why:
        assert why.reason in REASONS, why
    else:
        assert isinstance(events, list)
        assert all(isinstance(event, AccessEvent) for event in events)
    if fmt.fast:
        try:
            quick = fmt.fast(record)
        except FAST_MAY_RAISE:
            assert events is None or len(events) != 1
        else:
            assert [quick] == events
    rejected = batch(fmt, [record])[1]
    assert all(reason in REASONS for _, reason in rejected)


@pytest.fixture(params=list(formats().values()), ids=lambda fmt: fmt.name)
def fmt(request: pytest.FixtureRequest) -> Format:
    found: Format = request.param
    return found


def test_fixture_records_decode_without_rejects(fmt: Format) -> None:
    records = fixture(fmt)
    block, rejected = batch(fmt, records)
    assert rejected == []
    assert set(block.line.tolist()) == set(range(1, len(records) + 1))
    given = [name for name in block.text["id"] if name]
    assert len(set(given)) == len(given), "two events with one id are one event"


def test_only_the_format_itself_claims_its_records(fmt: Format) -> None:
    for record in fixture(fmt):
        assert [other.name for other in formats().values() if other.matches(record)] == [fmt.name]
        assert detect([b"", b"noise", record]) is fmt


def test_the_docstring_says_where_each_field_comes_from_and_what_is_unknown(fmt: Format) -> None:
    doc = importlib.import_module(f"stream.decode.{fmt.name}").__doc__ or ""
    assert "Cannot tell" in doc
    missing = [] if "as they are named" in doc else [name for name in CANONICAL if name not in doc]
    assert not missing, f"{fmt.name}: the docstring is silent on {missing}"


@pytest.mark.parametrize("record", BAD, ids=lambda record: repr(record[:24]))
def test_what_is_no_record_is_a_reason_and_claimed_by_nobody(fmt: Format, record: bytes) -> None:
    check(fmt, record)
    with pytest.raises(BadRecord):
        fmt.decode(record)
    assert not fmt.matches(record) or b'"' in record  # a marker alone may be enough to claim it


def test_a_record_cut_off_at_any_byte_is_events_or_a_reason(fmt: Format) -> None:
    for record in fixture(fmt):
        for end in range(len(record)):
            fmt.matches(record[:end])
            try:
                fmt.decode(record[:end])
            except BadRecord as why:
                assert why.reason in REASONS


# Each example is of one format, so that a new format does not make these slower.
ANY = st.sampled_from(list(formats().values()))


@settings(deadline=None, max_examples=300)
@given(ANY, st.binary(max_size=200))
def test_random_bytes_are_events_or_a_reason(fmt: Format, record: bytes) -> None:
    check(fmt, record)


@settings(deadline=None, max_examples=400)
@given(ANY, st.data())
def test_records_with_bytes_mutated_are_events_or_a_reason(fmt: Format, data: st.DataObject) -> None:
    record = bytearray(data.draw(st.sampled_from(fixture(fmt))))
    for place in data.draw(st.lists(st.integers(0, len(record) - 1), max_size=4)):
        record[place] = data.draw(st.integers(0, 255))
    check(fmt, bytes(record))
    check(fmt, bytes(record) * data.draw(st.integers(1, 3)))


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value in a JSON value but the outermost."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, key)
            yield from places(inner, (*path, key))


SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 + 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["", "-", "x" * 5000, "1e999", "\0", "/" * 300, "9" * 400, "2025-13-01T00:00:00Z"])
)  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=600)
@given(ANY, st.data())
def test_any_value_at_any_key_is_events_or_a_reason(fmt: Format, data: st.DataObject) -> None:
    record = data.draw(st.sampled_from(fixture(fmt)))
    try:
        value = json.loads(record)
    except json.JSONDecodeError:
        return  # the format is not JSON
    *way, last = data.draw(st.sampled_from(sorted(places(value), key=str)))
    holder = value
    for key in way:
        holder = holder[key]
    holder[last] = data.draw(JSON)
    check(fmt, json.dumps(value, ensure_ascii=False).encode())


@settings(deadline=None, max_examples=150)
@given(ANY, st.data())
def test_a_bad_record_never_costs_another(fmt: Format, data: st.DataObject) -> None:
    good = fixture(fmt)
    expected, _ = batch(fmt, good, list(range(len(good))))
    mixed = list(enumerate(good))
    for bad in data.draw(st.lists(st.sampled_from(BAD), max_size=6)):
        mixed.insert(data.draw(st.integers(0, len(mixed))), (-1, bad))
    block, rejected = batch(fmt, [record for _, record in mixed], [line for line, _ in mixed])
    assert rows(block) == rows(expected)
    assert [index for index, _ in rejected] == [index for index, (line, _) in enumerate(mixed) if line < 0]
    assert all(reason in REASONS for _, reason in rejected)


@settings(deadline=None, max_examples=60)
@given(ANY, st.integers(0, 20))
def test_where_a_batch_splits_changes_nothing(fmt: Format, split: int) -> None:
    records = fixture(fmt)
    whole, _ = batch(fmt, records)
    first, _ = batch(fmt, records[:split])
    second, _ = batch(fmt, records[split:], list(range(split + 1, len(records) + 1)))
    assert rows(whole) == rows(first) + rows(second)


def test_a_mixed_log_is_told_apart_record_by_record(fmt: Format) -> None:
    """As `--format auto` does with a topic that many systems write to: the format found first reads its own only."""
    order = [fmt, *(other for other in formats().values() if other is not fmt)]
    records = [(each, record) for each in order for record in fixture(each)[:4]]
    block, rejected = decode_batch(
        fmt, [record for _, record in records], "t", np.arange(len(records)), TIME_MS_MAX, mixed=True
    )
    assert rejected == []
    alone = [batch(each, [record], [line])[0] for line, (each, record) in enumerate(records)]
    assert rows(block) == [row for each in alone for row in rows(each)]
