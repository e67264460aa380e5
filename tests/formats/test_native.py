"""The native format: the fields of the event itself, checked by the decoder and then by `columns`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.decode import decode_batch, native
from stream.events import EventBlock

NOW_MS = 1_750_748_400_000
BASE = {"time": NOW_MS, "account": "mara", "action": "read", "resource": "/x"}


def batch(record: bytes) -> tuple[EventBlock, list[str]]:
    block, rejected = decode_batch(native.FORMAT, [record], "t", np.array([1]), NOW_MS + 300_000)
    return block, [r.reason for r in rejected]


def of(**fields: Any) -> tuple[EventBlock, list[str]]:
    return batch(orjson.dumps({**BASE, **fields}))


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        (-1, "time_out_of_range"),
        (0, "time_out_of_range"),
        (NOW_MS // 1000, "time_out_of_range"),
        (NOW_MS * 1000, "time_out_of_range"),
        (NOW_MS * 10**6, "time_out_of_range"),
        (1e300, "time_out_of_range"),
        (4_070_908_800_000, "time_in_future"),
        ("2099-01-01T00:00:00Z", "time_in_future"),
        ("1999-12-31T23:59:59Z", "time_out_of_range"),
        ("24/Jun/2025:07:00:00 +0000", "time_unreadable"),
        ("2025-06-24", "time_unreadable"),
        ("2025-06-24T07:00:00", "time_unreadable"),
        ("2025-02-30T07:00:00Z", "time_unreadable"),
        ("", "time_unreadable"),
        (None, "wrong_type"),
        (True, "wrong_type"),
        ([], "wrong_type"),
    ],
)
def test_a_time_that_cannot_be_is_a_reason(time: object, reason: str) -> None:
    block, reasons = of(time=time)
    assert (len(block), reasons) == (0, [reason])


@pytest.mark.parametrize("time", [NOW_MS, float(NOW_MS), "2025-06-24T07:00:00Z", "2025-06-24t07:00:00z",
                                  "2025-06-24 07:00:00.000+00:00", "2025-06-24T09:00:00+02:00",
                                  "2025-06-24T03:30:00.000000-03:30", "2025-06-24T07:00:00.000000999Z"])  # fmt: skip
def test_the_same_moment_in_any_form_is_one_time(time: object) -> None:
    block, reasons = of(time=time)
    assert (block.time.tolist(), reasons) == ([NOW_MS], [])


ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(2000, 1, 2), datetime(2025, 6, 24), timezones=ZONES))
def test_rfc3339_is_read_to_the_millisecond_below(at: datetime) -> None:
    block, _ = of(time=at.isoformat())
    assert block.time.tolist() == [(at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)]


def test_null_is_the_same_as_absent() -> None:
    names = ("id", "account_kind", "group", "credential", "issuer", "source_ip", "asn", "country", "user_agent",
             "object", "subject", "records", "bytes", "outcome")  # fmt: skip
    for nothing in ({}, dict.fromkeys(names)):
        block, reasons = of(**nothing)
        assert reasons == []
        assert (block.records[0], block.bytes[0], block.asn[0], block.outcome[0], block.account_kind[0]) == (
            1,
            0,
            -1,
            0,
            0,
        )
        assert {name: column[0] for name, column in block.text.items() if column[0]} == {
            "account": "mara",
            "resource": "/x",
        }


@pytest.mark.parametrize("name", BASE)
def test_a_required_field_that_is_absent_is_a_reason(name: str) -> None:
    record = orjson.dumps({key: value for key, value in BASE.items() if key != name})
    assert batch(record)[1] == ["missing_field"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"account": ""}, "empty_field"),
        ({"account": "x" * 257}, "text_too_long"),
        ({"account": 7}, "wrong_type"),
        ({"account": None}, "wrong_type"),
        ({"resource": ""}, "empty_field"),
        ({"action": "steal"}, "unknown_action"),
        ({"account_kind": "robot"}, "unknown_account_kind"),
        ({"outcome": "maybe"}, "unknown_outcome"),
        ({"records": -1}, "count_out_of_range"),
        ({"bytes": 1e300}, "count_out_of_range"),
        ({"records": True}, "wrong_type"),
        ({"asn": -2}, "asn_out_of_range"),
        ({"asn": 2**32}, "asn_out_of_range"),
        ({"asn": "AS64500"}, "wrong_type"),
    ],
)
def test_a_value_that_breaks_the_schema_is_a_reason(fields: dict[str, object], reason: str) -> None:
    assert of(**fields)[1] == [reason]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"[]", "wrong_type"),
        (b'{"time":NaN}', "not_json"),
        (b"[" * 100_000, "wrong_type"),
        (b'{"x":' * 100_000, "too_deep"),
        (b'{"time":1750748400000,"account":"\xff","action":"read","resource":"/"}', "not_utf8"),
        (b'{"time":1750748400000,"account":"\\ud800","action":"read","resource":"/"}', "text_not_unicode"),
    ],
)
def test_bytes_that_are_no_event_are_a_reason(record: bytes, reason: str) -> None:
    assert batch(record)[1] == [reason]
