"""Every decoder that discovery finds, and formats that a TOML file describes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import orjson

from stream.blocks import packed
from stream.decode import Format, decode_batch, decode_packed, formats
from stream.decode._mapping import load_mapping
from stream.errors import UsageError
from stream.events import BadRecord
from stream.records import Records
from tests.formats.test_contract import TIME_MS_MAX, check, fixture
from tests.formats.test_mapping import BASE, HOUSE
from tests.fuzz.target import PART, Target, parts
from tests.test_blocks import rows

RECORDS_MAX: Final = 8  # of an input: more are only slower


def decoded(fmt: Format, data: bytes) -> None:
    """Each line by itself does what the contract of decoders says, and all of them together come to the same."""
    records = data.split(b"\n")[:RECORDS_MAX]
    for record in records:
        check(fmt, record)
    lines = np.arange(1, len(records) + 1)
    block, refused = decode_batch(fmt, records, "t", lines, TIME_MS_MAX)
    told = {*block.line.tolist(), *(each.line for each in refused)}
    for line, record in enumerate(records, 1):
        assert line in told or _nothing(fmt, record), f"{record[:80]!r} is neither an event nor a dead letter"
    found, rejected = decode_packed(fmt, Records.of(records), "t", lines, TIME_MS_MAX)
    assert rows(found) == rows(packed(block))
    assert rejected == refused


def _nothing(fmt: Format, record: bytes) -> bool:
    """Whether the decoder says that there is no event in it and nothing wrong with it, as in a line of comments."""
    try:
        return fmt.decode(record) == []
    except BadRecord:
        return False


def of_fixture(fmt: Format) -> list[bytes]:
    """Its records one by one, and the first few together."""
    records = fixture(fmt)
    return [*records, b"\n".join(records[:3])]


def mapped(data: bytes) -> None:
    """A mapping is a format or a mistake, whatever stands in it; the format keeps the contract of decoders."""
    described, record = parts(data, 2)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "house.toml"
        path.write_bytes(described)
        try:
            fmt = load_mapping(str(path))
        except UsageError:
            return
    for each in record.split(b"\n")[:RECORDS_MAX]:
        check(fmt, each)


def mappings() -> list[bytes]:
    """House formats of each kind of record, with a record."""
    rest = "[fields]\ntime = 't'\naccount = 'u'\naction = { path = 'v', type = 'verb' }\nresource = 'p'\n"
    line = "record = 'line'\nline = '(?P<t>[^ ]+) (?P<u>[^ ]+) (?P<v>[A-Z]+) (?P<p>.*)'\n" + rest
    comma = "record = 'csv'\ncolumns = ['t', 'u', 'v', 'p']\nseparator = ';'\n" + rest
    described = [
        (HOUSE, orjson.dumps(BASE)),
        (line, b"2025-01-01T00:00:00Z ann GET /a"),
        (comma, b"2025-01-01T00:00:00Z;ann;GET;/a"),
        ("record = 'pairs'\n" + rest, b't=2025-01-01T00:00:00Z u=ann v=GET p="/a b"'),
    ]
    return [text.encode() + PART + record for text, record in described]


TARGETS: Final = [
    *(
        Target(f"decode.{name}", partial(decoded, fmt), partial(of_fixture, fmt), compiled=fmt.quick is not None)
        for name, fmt in formats().items()
    ),
    Target("mapping", mapped, mappings),
]
