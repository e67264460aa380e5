"""CSV files: rows are records by the names in the first, wherever the file is cut, and are found again after a stop."""

from __future__ import annotations

import csv
import io
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.framing import CSV, LINES, CsvFramer, level_of
from stream.source import open_source

NAMES = ["EVENT_TYPE", "TIMESTAMP", "USER_ID", "QUERY"]
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
ROWS = st.lists(
    st.lists(VALUES | st.sampled_from(['"', "a\nb", "a\r\nb", ",", ""]), min_size=4, max_size=4), max_size=6
)


def written(rows: list[list[str]], ending: str = "\n") -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator=ending).writerows([NAMES, *rows])
    return out.getvalue().encode()


def framed(data: bytes, cuts: list[int], framer: CsvFramer) -> list[dict[str, str]]:
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    parts = [framer.feed(data[a:b]) for a, b in pairwise(bounds)] + [framer.finish()]
    return [orjson.loads(record) for part in parts for record in part.records]


@given(ROWS, st.sampled_from(["\n", "\r\n"]), st.lists(st.integers(0, 500), max_size=4), st.booleans())
def test_rows_are_records_by_their_names_wherever_the_file_is_cut(
    rows: list[list[str]], ending: str, cuts: list[int], ended: bool
) -> None:
    data = written(rows, ending)
    framer = CsvFramer(1 << 20)
    assert framed(data if ended else data.removesuffix(ending.encode()), cuts, framer) == [
        dict(zip(NAMES, row, strict=True)) for row in rows
    ]
    assert framer.offset == len(data) - (0 if ended else len(ending))


@given(ROWS, st.integers(0, 500))
def test_a_framer_goes_on_where_another_has_stopped(rows: list[list[str]], cut: int) -> None:
    data = written(rows)
    first = CsvFramer(1 << 20)
    seen = list(first.feed(data[: cut % (len(data) + 1)]).records)
    second = CsvFramer(1 << 20, first.offset, first.line, first.header)
    seen += second.feed(data[first.offset :]).records
    assert list(map(orjson.loads, seen)) == [dict(zip(NAMES, row, strict=True)) for row in rows]


def test_a_row_that_is_none_is_handed_over_as_it_is_and_costs_no_other() -> None:
    framer = CsvFramer(60)
    rows = framer.feed(b'A,B,C,D\n1,2,3\n"x"y,2,3,4\n\xff,2,3,4\n5,6,7,8\n"' + b"z" * 90 + b'",2,3,4\n9,9,9,9\n')
    assert list(rows.records) == [
        b"1,2,3", b'"x"y,2,3,4', b"\xff,2,3,4", b'{"A":"5","B":"6","C":"7","D":"8"}',
        b'{"A":"9","B":"9","C":"9","D":"9"}',
    ]  # fmt: skip
    assert [(line, size) for line, _, size in rows.too_long] == [(6, 98)]
    assert rows.lines.tolist() == [2, 3, 4, 5, 7]


def test_a_carriage_return_outside_of_quotes_ends_no_row_and_nothing_behind_it_is_lost() -> None:
    rows = CsvFramer(60).feed(b'A,B,C,D\n1,2,3,4\r5\n1,2,3,4\r5,6,7,8\n1,"2\r2",3,4\n')
    assert list(rows.records) == [b"1,2,3,4\r5", b"1,2,3,4\r5,6,7,8", b'{"A":"1","B":"2\\r2","C":"3","D":"4"}']


@pytest.mark.parametrize("header", [b"A,B,C,D\rE", b'A,B,C,D"\n"\r'])
def test_a_header_that_is_no_row_names_nothing(header: bytes) -> None:
    assert list(CsvFramer(60).feed(header + b"\n1,2,3,4\n").records) == [b"1,2,3,4"]


@pytest.mark.parametrize(("start", "level"), [
    (b'"EVENT_TYPE","TIMESTAMP","USER_ID","URI"\n', CSV), (b"a,b,c,d\r\n1,2,3,4", CSV), (b"a,b,c\n", LINES),
    (b"2025-06-24 07:00:00.000 UTC,mara,crm,1\n", LINES), (b"AUDIT: SESSION,1,1,READ\n", LINES), (b"word\n", LINES),
    (b'"EVENT_TYPE","TIMESTAMP","USER_ID","URI', None),
])  # fmt: skip
def test_a_header_is_names_and_nothing_else(start: bytes, level: int | None) -> None:
    assert level_of(start, final=False) == level


def test_an_event_log_file_is_told_by_its_header_and_gone_on_with_after_a_stop(tmp_path: Path) -> None:
    names = ["EVENT_TYPE", "TIMESTAMP", "REQUEST_ID", "ORGANIZATION_ID", "USER_ID", "TIMESTAMP_DERIVED"]
    times = [f"2025-06-24T07:00:{second:02}.000Z" for second in range(40)]
    rows = [["ReportExport", "20250624070000.000", f"r-{at}", "00D", f"005-{at}", at] for at in times]
    file = tmp_path / "export.csv"
    with file.open("w", newline="") as out:
        csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([names, *rows])
    chunks = list(open_source([str(file)], block_bytes=300))
    assert {chunk.format.name for chunk in chunks if chunk.format} == {"salesforce"}
    whole = [record for chunk in chunks for record in chunk.records]
    assert [orjson.loads(record)["USER_ID"] for record in whole] == [row[4] for row in rows]
    stopped = chunks[len(chunks) // 2].position
    before = sum(len(chunk.records) for chunk in chunks[: len(chunks) // 2 + 1])
    again = [record for chunk in open_source([str(file)], resume=stopped) for record in chunk.records]
    assert again == whole[before:]
    assert not [letter for chunk in chunks for letter in chunk.dead]
