"""The quick way takes what it can and nothing else: what it says of a record is what the slow way says."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.blocks import packed
from stream.decode import decode_batch, decode_packed, formats
from stream.events import ACTIONS
from stream.records import Records
from tests.formats.test_contract import TIME_MS_MAX, fixture
from tests.test_blocks import rows

NATIVE = formats()["native"]
PLAIN: dict[str, Any] = {
    "time": 1_735_689_600_000, "account": "ann", "action": "read", "resource": "/r", "source_ip": "192.0.2.7",
    "user_agent": "curl/8", "records": 3, "bytes": 12, "asn": 64_500, "outcome": "success", "id": "e-1",
}  # fmt: skip
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 2**65), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from(
        [*ACTIONS, "customer", "failure", "", "\\", '"', "é", "\x7f", "a" * 256, "a" * 257, "2025-01-01T00:00:00Z",
         10**15, 10**14, 946_684_800_000, 946_684_799_999, TIME_MS_MAX, TIME_MS_MAX + 1, 2**32 - 1, 2**32, [], {},
         {"a": 1}]
    ),
)  # fmt: skip
ADDRESSES = st.one_of(
    st.sampled_from(
        ["192.0.2.7", "1.2.3", "01.2.3.4", "1.2.3.4.5", "256.1.1.1", "::ffff:192.0.2.1", "2001:db8::1", "x", "1..2.3"]
    ),
    st.ip_addresses().map(str), st.text("0123456789.", max_size=16),
)  # fmt: skip
KEYS = st.one_of(
    st.sampled_from([*PLAIN, "group", "credential", "issuer", "country", "object", "subject"]), st.text(max_size=5)
)
BLANKS = st.sampled_from(["", " ", "\t", "  \r"])


def same(records: list[bytes]) -> None:
    lines = np.arange(1, len(records) + 1)
    expected, refused = decode_batch(NATIVE, records, "t", lines, TIME_MS_MAX)
    found, rejected = decode_packed(NATIVE, Records.of(records), "t", lines, TIME_MS_MAX)
    assert rows(found) == rows(packed(expected))
    assert rejected == refused


@settings(max_examples=400)
@given(st.lists(st.tuples(st.dictionaries(KEYS, VALUES, max_size=4), ADDRESSES), min_size=1, max_size=5))
def test_any_fields_come_out_the_same_either_way(changes: list[tuple[dict[str, Any], str]]) -> None:
    same(
        [
            orjson.dumps(PLAIN | {"source_ip": ip} | fields, option=orjson.OPT_NON_STR_KEYS)
            for fields, ip in changes
            if _fits(fields)
        ]
    )


def _fits(fields: dict[str, Any]) -> bool:
    try:
        orjson.dumps(fields)
    except (TypeError, orjson.JSONEncodeError):
        return False
    return True


@settings(max_examples=300)
@given(st.data())
def test_any_bytes_changed_come_out_the_same_either_way(data: st.DataObject) -> None:
    records = []
    for _ in range(data.draw(st.integers(1, 4))):
        record = bytearray(data.draw(st.sampled_from([*fixture(NATIVE), orjson.dumps(PLAIN)])))
        for place in data.draw(st.lists(st.integers(0, len(record) - 1), max_size=3)):
            record[place] = data.draw(st.integers(0, 255))
        records.append(bytes(record))
    same(records)


@given(st.lists(BLANKS, min_size=30, max_size=30), st.permutations(sorted(PLAIN)), st.integers(0, 12))
def test_blanks_order_and_repeats_of_fields_do_not_matter(blanks: list[str], order: list[str], twice: int) -> None:
    space = iter(blanks * 4)
    names = [*order, *order[:twice]]
    fields = ",".join(
        f'{next(space)}"{name}"{next(space)}:{next(space)}{orjson.dumps(PLAIN[name]).decode()}{next(space)}'
        for name in names
    )
    same([f"{next(space)}{{{fields}}}{next(space)}".encode()])


@pytest.mark.parametrize(
    "record",
    [
        b"", b"{}", b"{", b'{"', b'{"time', b'{"time":', b'{"time":1', b'{"a":1,}', b'{"time":01}', b"[]",
        b'{"time":1}x', b'{"a" 1}', b'{,}', b'{"a":"b"', b'{"a":-1}', b'{"a":1.5}', b'{"a":1e3}',
        b'{"a":tru}', b"\x00", b'{"a":"\x01"}',
    ],
)  # fmt: skip
def test_what_is_cut_off_or_wrong_is_left_to_the_slow_way(record: bytes) -> None:
    same([orjson.dumps(PLAIN), record, orjson.dumps(PLAIN | {"id": "e-2"})])


@pytest.mark.parametrize("odd", ["\\", '"', "\n", "\x7f", "é", "\t", "\x00"])
def test_what_is_not_plain_is_seen_wherever_it_stands(odd: str) -> None:
    """In names and in values, at every place of the eight bytes that are looked at together."""
    for at in range(18):
        text = "a" * at + odd + "b" * (17 - at)
        records = [orjson.dumps(PLAIN | {"account": text}), orjson.dumps(PLAIN | {text: "x"}), orjson.dumps(PLAIN)]
        raw = records[0].replace(b"b" * 4, b"bb\x01b")  # what JSON does not allow
        same([*records, raw])


def test_what_is_as_most_are_goes_the_quick_way() -> None:
    assert NATIVE.quick is not None
    records = Records.of([orjson.dumps(PLAIN | {"unknown": "x", "more": 7})] * 3)
    assert NATIVE.quick(records, "t", np.arange(3), TIME_MS_MAX)[1].all()
    other = Records.of([orjson.dumps(PLAIN | {"account": "ånn"})])
    assert not NATIVE.quick(other, "t", np.arange(1), TIME_MS_MAX)[1].any()
