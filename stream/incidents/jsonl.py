"""A generated world as a file in the native format, so that it can be read like any other log."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import orjson

from stream.events import ACCOUNT_KINDS, ACTIONS, OUTCOMES, TEXT_FIELDS, EventBlock


def write_jsonl(blocks: Iterable[EventBlock], path: Path | str) -> int:
    """Writes one JSON object a line, absent fields left out; returns the number of events. Raises OSError."""
    written = 0
    with Path(path).open("wb") as file:
        for block in blocks:
            file.writelines(lines_of(block))
            written += len(block)
    return written


def lines_of(block: EventBlock) -> Iterable[bytes]:
    """Each event of a block as one line."""
    texts = [block.text[name] for name in TEXT_FIELDS]
    numbers = [
        block.time.tolist(),
        block.action.tolist(),
        block.account_kind.tolist(),
        block.outcome.tolist(),
        block.records.astype("int64").tolist(),
        block.bytes.astype("int64").tolist(),
        block.asn.tolist(),
    ]
    for time, action, kind, outcome, records, size, asn, *names in zip(*numbers, *texts, strict=True):
        event = {"time": time, "action": ACTIONS[action], "account_kind": ACCOUNT_KINDS[kind]}
        event |= {field: name for field, name in zip(TEXT_FIELDS, names, strict=True) if name}
        event |= {"outcome": OUTCOMES[outcome], "records": records, "bytes": size}
        if asn >= 0:
            event["asn"] = asn
        yield orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)
