"""House formats: a TOML file instead of a decoder, and patterns that strangers' input cannot make slow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.decode import Format, decode_batch, format_named
from stream.errors import UsageError
from stream.events import REASONS, AccessEvent, BadRecord
from stream.patterns import CHARS_MAX, compiled
from stream.source import inputs, open_source

HOUSE = """
when = { path = "kind", values = ["access", "true"] }
[fields]
time = { path = "ts", type = "seconds" }
account = { paths = ["user.mail", "user.id"], lower = true }
action = { path = "op", values = { GET = "read", DL = "export" }, default = "list" }
resource = { path = "url", type = "path" }
subject = { path = "url", pattern = "/users/(\\\\d+)" }
object = "items.0.name"
records = { path = "items", type = "length" }
bytes = "size"
account_kind = { constant = "employee" }
credential = "session\\\\.id"
"""
BASE = {
    "kind": "access", "ts": 1750748400.25, "user": {"mail": "Mara@Example.com", "id": 7}, "op": "DL",
    "url": "/users/17/mail?x=1", "items": [{"name": "a"}, {"name": "b"}], "size": "512", "session.id": "s-1",
}  # fmt: skip


def mapping(tmp_path: Path, text: str = HOUSE) -> Format:
    path = tmp_path / "house.toml"
    path.write_text(text)
    return format_named(f"mapping:{path}")


def of(fmt: Format, record: bytes | None = None, **changed: Any) -> AccessEvent:
    (event,) = fmt.decode(orjson.dumps(BASE | changed) if record is None else record)
    return event


def test_paths_constants_tables_patterns_and_types_make_an_event(tmp_path: Path) -> None:
    assert of(mapping(tmp_path)) == AccessEvent(
        time=1750748400250, account="mara@example.com", action="export", resource="/users/{id}/mail", subject="17",
        object="a", records=2, bytes=512, account_kind="employee", credential="s-1",
    )  # fmt: skip


def test_the_next_path_and_the_default_stand_in(tmp_path: Path) -> None:
    fmt = mapping(tmp_path)
    assert of(fmt, user={"mail": None, "id": 7}).account == "7"
    assert of(fmt, op="HEAD").action == "list"
    event = of(fmt, url="/health", items=None, size="many")
    assert (event.subject, event.records, event.bytes, event.object) == ("", 1, 0, "")


@pytest.mark.parametrize(("changed", "reason"), [
    ({"user": {}}, "missing_field"), ({"ts": None}, "missing_field"), ({"url": None}, "missing_field"),
    ({"kind": "metric"}, "not_an_access_event"), ({"kind": None}, "not_an_access_event"),
])  # fmt: skip
def test_what_is_not_there_is_a_reason(tmp_path: Path, changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRecord) as caught:
        of(mapping(tmp_path), **changed)
    assert caught.value.reason == reason


@pytest.mark.parametrize("value", [1e308, -1e308, 1e300, -(2**63)])
@pytest.mark.parametrize("kind", ["seconds", "milliseconds", "microseconds", "nanoseconds"])
def test_a_time_beyond_all_times_is_a_reason(tmp_path: Path, kind: str, value: Any) -> None:
    fmt = mapping(tmp_path, HOUSE.replace('"seconds"', f'"{kind}"'))
    block, rejected = decode_batch(fmt, [orjson.dumps(BASE | {"ts": value})], "t", np.array([1]), 2**60)
    assert len(block) == 0
    assert [each.reason in REASONS for each in rejected] == [True]


@pytest.mark.parametrize(("kind", "value"), [
    ("seconds", 1750748400), ("seconds", "1750748400.000"), ("milliseconds", 1750748400000),
    ("microseconds", 1750748400000999), ("nanoseconds", 1750748400000999999), ("rfc3339", "2025-06-24T07:00:00Z"),
    ("utc", "2025-06-24 07:00:00"), ("utc", "2025-06-24 07:00:00,000"), ("log", "[24/Jun/2025:09:00:00 +0200]"),
])  # fmt: skip
def test_one_moment_in_any_unit(tmp_path: Path, kind: str, value: object) -> None:
    fmt = mapping(tmp_path, HOUSE.replace('"seconds"', f'"{kind}"'))
    block, rejected = decode_batch(fmt, [orjson.dumps(BASE | {"ts": value})], "t", np.array([1]), 2**42)
    assert (block.time.tolist(), rejected) == ([1750748400000], [])


LINE = """
record = "line"
line = '(?P<at>[^ ]+ [^ ]+) (?P<who>[^ ]+) (?P<verb>[^ ]+) (?P<what>.+)'
[fields]
time = { path = "at", type = "utc" }
account = "who"
action = { path = "verb", type = "verb" }
resource = "what"
"""
PAIRS = LINE.replace('"line"', '"pairs"').replace("line =", "# line =")
CSV = PAIRS.replace('"pairs"', '"csv"\ncolumns = ["at", "who", "verb", "what"]\nseparator = ";"')


@pytest.mark.parametrize(("text", "record"), [
    (LINE, b"2025-06-24 07:00:00 mara file-downloaded /finance/q2.xlsx"),
    (PAIRS, b'level=info at="2025-06-24 07:00:00" who=mara verb=download what=/finance/q2.xlsx who=eve'),
    (CSV, b"2025-06-24 07:00:00;mara;downloaded;/finance/q2.xlsx"),
])  # fmt: skip
def test_lines_pairs_and_separated_values_are_read_alike(tmp_path: Path, text: str, record: bytes) -> None:
    event = of(mapping(tmp_path, text), record)
    assert (event.time, event.account, event.action) == ("2025-06-24 07:00:00Z", "mara", "export")
    assert event.resource == "/finance/q2.xlsx"
    with pytest.raises(BadRecord):
        mapping(tmp_path, text).decode(b"noise")


def test_the_line_that_names_the_columns_is_passed_over(tmp_path: Path) -> None:
    assert mapping(tmp_path, CSV).decode(b"at;who;verb;what") == []


@pytest.mark.parametrize(("text", "said"), [
    ("", "fields"), ("[fields]\n", r"fields\.time: missing.*\n.*fields\.account: missing"), ("x = ", "not TOML"),
    (HOUSE + "colour = 'ts'\n", r"fields\.colour: no field of an access event"),
    (HOUSE.replace('"DL"', "DL").replace('"export"', '"steal"'), r"'steal' is none of login"),
    (HOUSE.replace("constant =", "path = 'x', constant ="), "either path"),
    (HOUSE.replace("(\\\\d+)", "((\\\\d+)+)x"), r"fields\.subject\.pattern: .* could take for ever"),
    (HOUSE.replace("(\\\\d+)", "("), r"fields\.subject\.pattern: .* is no pattern"),
    (HOUSE.replace("default", "standard"), "standard"),
    (HOUSE.replace('"length"', '"size"'), "Invalid enum value 'size'"),
    (LINE.replace("line =", "lines ="), "lines"), (LINE.replace("?P<at>", "").replace("?P<who>", "")
     .replace("?P<verb>", "").replace("?P<what>", ""), "named groups"), (CSV.replace("columns", "names"), "names"),
])  # fmt: skip
def test_a_mistake_in_a_mapping_says_what_to_write(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=rf"(?s)house\.toml: .*{said}"):
        mapping(tmp_path, text)


def test_a_mapping_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: cannot be read"):
        format_named(f"mapping:{tmp_path}/none.toml")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(sorted(BASE)), VALUES))
def test_any_record_is_an_event_or_a_reason(tmp_path_factory: pytest.TempPathFactory, changed: dict[str, Any]) -> None:
    fmt = mapping(tmp_path_factory.getbasetemp())
    block, rejected = decode_batch(fmt, [orjson.dumps(BASE | changed)], "t", np.array([1]), 2**42)
    assert len(block) + len(rejected) == 1
    assert all(each.reason in REASONS for each in rejected)


def test_a_run_stops_and_goes_on_with_a_mapping(tmp_path: Path) -> None:
    fmt = mapping(tmp_path)
    log = tmp_path / "a.jsonl"
    log.write_bytes(b"\n".join(orjson.dumps(BASE | {"size": n}) for n in range(40)))
    whole = [each for chunk in open_source(inputs([str(log)]), fmt.name, block_bytes=700) for each in chunk.records]
    first = next(iter(open_source(inputs([str(log)]), fmt.name, block_bytes=700)))
    rest = list(open_source(inputs([str(log)]), resume=first.position, block_bytes=700))
    assert all(chunk.format is not None and chunk.format.name == fmt.name for chunk in rest)
    assert list(first.records) + [each for chunk in rest for each in chunk.records] == whole


SLOW = [
    r"(a+)+b", r"(ab|ab)*b", r"(a*)*b", r"(\w+\s?)*$", r"(a?){30}a{30}", r".*.*.*x", r"(x+x+)+y", r"([a-z]+)*!",
    r"(?i)(sx|ſy)*t", r"(?:ab|[a-c]d)*c", r"(\d+\.?)+x", r"(?=a)", r"(a)\1", r"(a)?(?(1)b|c)", "(", "a" * 1001,
    r"(a{1,9}){1,9}b",
]  # fmt: skip
QUICK = [
    r"/users/(\d+)", r".*id=(\d+)", r"[^@]+@([^@]+)", r'(\S+) "([^"]*)"', r"(\w+,)*\w+", r'(?:[^"\\]|\\.)*"',
    r"GET|POST", r"(?:/[^/]+){2}/(.+)", r"(a++)+b", r"(?>ab|cd)+c",
]  # fmt: skip


@pytest.mark.parametrize("pattern", SLOW)
def test_a_pattern_that_may_be_slow_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"slow|for ever|may not have|is no pattern|the limit"):
        compiled(pattern)


@pytest.mark.parametrize("pattern", QUICK)
def test_a_pattern_that_is_quick_is_taken(pattern: str) -> None:
    assert compiled(pattern).pattern == pattern


ATOMS = st.sampled_from(["a", "b", ".", r"\w", r"\d", "[^a]", "[ab]", " ", "é", r"\b"])
REPEATS = st.sampled_from(["", "*", "+", "?", "{2}", "{1,3}", "*?", "++"])
PATTERNS = st.recursive(
    st.tuples(ATOMS, REPEATS).map("".join),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map("".join)
        | st.tuples(st.lists(inner, min_size=1, max_size=3).map("|".join), REPEATS).map(lambda p: f"({p[0]}){p[1]}")
    ),
    max_leaves=6,
)


@given(PATTERNS, st.sampled_from(["a", "ab", "b a", "1", "é", " ", "aab"]), st.sampled_from(["", "!", "b", "1"]))
def test_what_is_taken_comes_back_from_any_text(pattern: str, piece: str, end: str) -> None:
    """A pattern with two choices within each other would not, in any lifetime."""
    try:
        taken = compiled(pattern + "!")
    except (ValueError, re.error):
        return
    taken.match((piece * CHARS_MAX)[:CHARS_MAX] + end)
