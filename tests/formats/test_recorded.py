"""Cloud and SaaS logs that others wrote as test cases of rules, where someone has fetched them; skipped elsewhere."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import orjson
import pytest

from stream.decode import decode_batch, format_named, formats

SHARED = Path(__file__).parents[3] / "shared" / "data" / "panther_tests"
TIME_MS_MAX = 4_102_444_800_000
# How many of a format's test cases decode at least. The others are cut short by who wrote them: no time, nobody named.
DECODED = {
    "auth0": 55, "azure": 230, "gcp_audit": 120, "github_audit": 70, "google_workspace": 70, "microsoft365": 19,
    "okta": 48, "salesforce": 11, "snowflake": 18,
}  # fmt: skip
CUT_SHORT = {"missing_field", "time_unreadable", "not_an_access_event"}
pytestmark = pytest.mark.skipif(not SHARED.exists(), reason=f"no recorded events in {SHARED}")


@pytest.fixture(scope="module")
def logs() -> list[bytes]:
    (path,) = SHARED.glob("*.json.gz")
    return [orjson.dumps(case["log"]) for case in orjson.loads(gzip.decompress(path.read_bytes()))]


@pytest.mark.parametrize("name", DECODED)
def test_test_cases_of_rules_are_read_but_for_those_cut_short(logs: list[bytes], name: str) -> None:
    fmt = format_named(name)
    own = [log for log in logs if fmt.matches(log)]
    block, rejected = decode_batch(fmt, own, "recorded", np.arange(len(own)), TIME_MS_MAX)
    assert {each.reason for each in rejected} <= CUT_SHORT
    assert len(block) >= DECODED[name]
    assert not [other.name for other in formats().values() if other is not fmt and any(map(other.matches, own))]
