"""Times of a column read at once are those that the standard library reads one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.checks import times
from stream.events import BadRecord
from stream.rfc3339 import utc_ms

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))


def twin(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)


@given(st.lists(st.tuples(MOMENTS, st.sampled_from("T "), st.integers(0, 9)), min_size=1, max_size=20))
def test_a_column_is_read_as_its_values_are(moments: list[tuple[datetime, str, int]]) -> None:
    texts = []
    for at, middle, digits in moments:
        fraction = f".{at.microsecond:06}000"[: digits + 1] if digits else ""
        texts.append(f"{at:%Y}".zfill(4) + f"{at:-%m-%d}{middle}{at:%H:%M:%S}{fraction}Z")
    read = utc_ms(texts)
    assert read is not None
    assert read.tolist() == [twin(text) for text in texts]


GOOD = "2024-02-29T23:59:59.999Z"


@pytest.mark.parametrize("bad", [
    "", "Z", "2023-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "2024-00-01T00:00:00Z",
    "2024-01-00T00:00:00Z", "2024-04-31T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T00:60:00Z",
    "2024-01-01T00:00:60Z", "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00.1234567890Z", "2024-01-01T00:00:00+01:00",
    "2024-01-01T00:00:00", "2024/01/01T00:00:00Z", "2024-01-01T00-00:00Z", "2024-01-01X00:00:00Z",
    "0000-01-01T00:00:00Z",
    "2024-01-01T00:00:0aZ", "2024-01-01T00:00:00Z\0", "2024-01-01T00:00:00\0\0Z", "2024-01-01T00:00:00,12Z",
    "2024-01-01T00:00:00.1\0Z", "２024-01-01T00:00:00Z", 17, None, b"2024-01-01T00:00:00Z", [GOOD],
])  # fmt: skip
def test_one_of_another_form_leaves_the_column_to_be_read_value_by_value(bad: object) -> None:
    assert utc_ms([GOOD, bad]) is None
    wrong: dict[int, BadRecord] = {}
    assert times([GOOD, bad], 2**53, wrong)[0] == twin(GOOD)


@given(st.lists(st.text(max_size=32) | st.from_regex(r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z\Z"), max_size=3))
def test_what_is_taken_is_a_time(texts: list[str]) -> None:
    read = utc_ms(texts)
    if read is not None:
        assert read.tolist() == [twin(text) for text in texts]
