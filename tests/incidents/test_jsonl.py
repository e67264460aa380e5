"""A generated log as a file is a native log like any other."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from stream.events import ACTIONS, OUTCOMES, TEXT_FIELDS, AccessEvent
from stream.incidents import generate, load_incident, write_jsonl


def test_every_line_is_a_native_event(tmp_path: Path) -> None:
    """Each line decodes strictly, and gives back what the block held; absent fields are left out."""
    incident = load_incident("forged-token")
    blocks = list(generate(incident, accounts=200, days=1.0, seed=6))
    path = tmp_path / "log.jsonl"
    assert write_jsonl(blocks, path) == sum(map(len, blocks))
    events = msgspec.json.Decoder(AccessEvent).decode_lines(path.read_bytes())
    assert [event.time for event in events] == [time for block in blocks for time in block.time.tolist()]
    assert [event.asn for event in events] == [asn for block in blocks for asn in block.asn.tolist()]
    assert [event.action for event in events] == [ACTIONS[code] for block in blocks for code in block.action]
    assert [event.outcome for event in events] == [OUTCOMES[code] for block in blocks for code in block.outcome]
    assert [event.records for event in events] == [count for block in blocks for count in block.records]
    assert [event.bytes for event in events] == [count for block in blocks for count in block.bytes]
    for field in TEXT_FIELDS:
        written = [getattr(event, field) or "" for event in events]
        assert written == [text for block in blocks for text in block.text[field]]
    assert b'""' not in path.read_bytes()


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """Nothing is lost in silence."""
    with pytest.raises(OSError, match="absent"):
        write_jsonl([], tmp_path / "absent" / "log.jsonl")
