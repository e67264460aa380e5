"""CloudTrail records that others wrote, where someone has fetched them beside the repository; skipped elsewhere."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from stream.decode import cloudtrail, decode_batch

SHARED = Path(__file__).parents[3] / "shared" / "data"
TIME_MS_MAX = 4_102_444_800_000
Record = dict[str, Any]
pytestmark = pytest.mark.skipif(not SHARED.exists(), reason=f"no recorded events in {SHARED}")


def recorded() -> Iterator[tuple[str, list[Record]]]:
    """CloudTrail records by where they come from: attacks replayed, and test cases of rules."""
    for path in sorted((SHARED / "cloudtrail_stratus").glob("*.json")):
        yield path.stem, orjson.loads(path.read_bytes())
    for path in sorted((SHARED / "cloudtrail_otrf").glob("*.jsonl")):
        yield path.stem, [orjson.loads(line) for line in path.read_bytes().splitlines()]
    for path in (SHARED / "panther_tests").glob("*.json.gz"):
        logs = [case["log"] for case in orjson.loads(gzip.decompress(path.read_bytes()))]
        yield "panther", [log for log in logs if cloudtrail.matches(orjson.dumps(log))]


def cut_short(record: Record) -> bool:
    """Whether it lacks what every real record has, as test cases of rules may: an identity, or a time."""
    return "userIdentity" not in record or not str(record.get("eventTime", ""))[:4].isdigit()


def test_recorded_events_are_read_but_for_those_cut_short() -> None:
    for origin, records in recorded():
        lines = np.arange(len(records))
        raw = [orjson.dumps(record) for record in records]
        block, rejected = decode_batch(cloudtrail.FORMAT, raw, origin, lines, TIME_MS_MAX)
        assert not [(r.reason, r.detail) for r in rejected if not cut_short(records[r.index])], origin
        assert len(block) + len(rejected) == len(records)
        assert not rejected or origin == "panther", origin


def test_recorded_sessions_are_joined_to_their_logins() -> None:
    """Of every key that a recorded login made, each recorded use has the login's account and issuer."""
    joined = 0
    for origin, records in recorded():
        if origin == "panther":
            continue  # its keys are placeholders that many share
        events = [event for record in records for event in cloudtrail.decode(orjson.dumps(record))]
        made = {e.credential: (e.account, e.issuer) for e in events if e.action == "login" and e.credential}
        uses = [(e.credential, (e.account, e.issuer)) for e in events if e.action != "login" and e.credential in made]
        assert [(credential, made[credential]) for credential, _ in uses] == uses, origin
        joined += len(uses)
    assert joined >= 50
