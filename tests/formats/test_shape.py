"""Shapes: what is read with care is what the parser reads, and what does not fit is absent."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.decode._shape import Count, Flag, Table, Text, Time, fitted, reader, shape, utc
from stream.events import BadRecord

FIELDS: dict[str, Any] = {
    "id": str, "@at": Time, "n": Count, "yes": Flag, "rest": Table, "who": {"name": Text, "org": {"id": Text}},
    "targets": [{"id": Text}], "words": [str],
}  # fmt: skip
SHAPE = shape(FIELDS)
read = reader(FIELDS)

TEXTS = st.none() | st.text(max_size=5)
FITTING = st.fixed_dictionaries(
    {"id": st.text(min_size=1, max_size=5)},
    optional={
        "@at": st.none() | st.integers(0, 2**53) | st.text(min_size=1, max_size=5),
        "n": st.none() | st.integers(0, 2**53),
        "yes": st.none() | st.booleans(),
        "rest": st.none() | st.dictionaries(st.text(max_size=3), TEXTS, max_size=2),
        "who": st.none() | st.fixed_dictionaries({}, optional={
            "name": TEXTS, "org": st.none() | st.fixed_dictionaries({}, optional={"id": TEXTS}),
        }),
        "targets": st.none() | st.lists(st.fixed_dictionaries({}, optional={"id": TEXTS}), max_size=3),
        "words": st.none() | st.lists(st.text(min_size=1, max_size=3), max_size=3),
        "unknown": st.integers(0, 2**53),
    },
)  # fmt: skip


def plain(value: Any) -> Any:
    """A struct as text, empty text the same as none."""
    return repr(value).replace("=''", "=None")


@given(FITTING)
def test_what_is_read_with_care_is_what_the_parser_reads(record: dict[str, Any]) -> None:
    assert plain(fitted(SHAPE, record)) == plain(read(orjson.dumps(record)))


@given(FITTING)
def test_names_in_another_case_are_the_same_record(record: dict[str, Any]) -> None:
    upper = {key.upper(): value for key, value in record.items()}
    assert plain(read(orjson.dumps(upper))) == plain(read(orjson.dumps(record)))


def test_null_is_absent_at_any_depth() -> None:
    found = read(b'{"id": "x", "who": {"org": null}, "targets": null}')
    assert (found.who.org.id, found.targets) == (None, ())
    assert read(b'{"id": "x", "who": null}').who.org.id is None


def test_what_can_be_understood_is_and_the_rest_is_absent() -> None:
    found = read(
        b'{"id": 17, "n": "12", "yes": "True", "who": {"name": 3.5}, "targets": {"id": "t"}, "words": [1, {}]}'
    )
    assert (found.id, found.n, found.yes, found.who.name, found.targets[0].id, found.words) == (
        "17", 12, True, "3.5", "t", ("1",),
    )  # fmt: skip
    found = read(b'{"id": "x", "@at": [1], "n": 1.5, "yes": 7, "rest": [], "who": "mara", "targets": "t"}')
    assert (found.at, found.n, found.yes, found.rest, found.who.name, found.targets) == (*(None,) * 5, ())


@pytest.mark.parametrize("record", [b"{}", b'{"id": null}', b'{"id": {}}'])
def test_a_required_field_is_missed_by_name(record: bytes) -> None:
    with pytest.raises(BadRecord, match="missing_field: id"):
        read(record)


@pytest.mark.parametrize(("written", "read_as"), [
    ("2025-06-24T07:00:00Z", "2025-06-24T07:00:00Z"), ("2025-06-24 07:00:00.5", "2025-06-24 07:00:00.5Z"),
    ("2025-06-24 07:00:00.123 -0730", "2025-06-24 07:00:00.123-07:30"),
    ("2025-06-24 07:00:00 UTC", "2025-06-24 07:00:00Z"),
    ("2025-06-24T07:00:00+02:00", "2025-06-24T07:00:00+02:00"), (1750748400000, 1750748400000), ("soon", "soon"),
])  # fmt: skip
def test_a_time_without_a_zone_is_utc(written: int | str, read_as: int | str) -> None:
    assert utc(written, "at") == read_as
