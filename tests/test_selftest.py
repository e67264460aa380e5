"""A theft of our own is found like any other, costs no budget, and nobody but who has the key can make one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.config import Config, SelfTest, fingerprint, load
from stream.errors import UsageError
from stream.pipeline import Pipeline
from stream.selftest import NAME, VALID_MS, Marks
from stream.selftest import SelfTest as Returned
from stream.signals import Signal
from tests.signals import signal
from tests.streams import HOUR_MS, START_MS, block, event

KEY = "0123456789abcdef0123456789abcdef"
CONFIG = Config(hash_key=KEY, selftest=SelfTest(topic="access"))
MARKS = Marks(KEY)
NOW_MS = START_MS + HOUR_MS
PRINTABLE = st.characters(min_codepoint=33, max_codepoint=0x2FF)


def told_of(account: str, config: Config = CONFIG) -> tuple[list[Signal], Pipeline]:
    """What a first hour comes to in which this account reads what self-tests read."""
    found: list[Signal] = []
    pipeline = Pipeline(config, lambda _alert: None, on_signal=found.append, partition=0)
    traffic = [event(START_MS + n * 60_000, f"user-{n % 9}") for n in range(90)]
    theft = event(NOW_MS, account, "export", NAME, object=NAME, credential=None, subject=None)
    pipeline.process(block([*traffic, theft]))
    return found, pipeline


def test_a_mark_is_found_at_once_and_costs_no_budget() -> None:
    (found,), pipeline = told_of(MARKS.made(NOW_MS))
    assert (found.kind, found.status) == ("account", "open")
    assert pipeline.correlator.budget.spent.tokens == CONFIG.alerts_per_day_max
    tests = Returned(CONFIG)
    assert tests.takes(found)
    assert tests.detected == 1
    assert not tests.takes(msgspec.structs.replace(found, value="user-3"))


def test_the_same_theft_by_anybody_else_is_paid_for_and_told() -> None:
    """The benign twin of hiding: another's mark, an old one, and none."""
    for account in (Marks(KEY[::-1]).made(NOW_MS), MARKS.made(NOW_MS - 2 * VALID_MS), "user-3"):
        (found,), pipeline = told_of(account)
        assert pipeline.correlator.budget.spent.tokens < CONFIG.alerts_per_day_max - 0.5
        assert not Returned(CONFIG).takes(found)


def test_without_a_topic_nothing_is_planted_and_nobody_is_kept_quiet() -> None:
    off = msgspec.structs.replace(CONFIG, selftest=SelfTest())
    assert told_of(MARKS.made(NOW_MS), off)[0] == []
    mine = signal(0, "account", MARKS.made(NOW_MS), at=NOW_MS)
    assert Returned(CONFIG).takes(msgspec.structs.replace(mine, crossed=NOW_MS))
    assert not Returned(off).takes(msgspec.structs.replace(mine, crossed=NOW_MS))
    assert fingerprint(off) == fingerprint(CONFIG)  # it may be turned on without learning anew


@given(place=st.integers(0, 63), put=PRINTABLE)
def test_no_letter_of_a_mark_can_be_changed(place: int, put: str) -> None:
    mark = MARKS.made(NOW_MS)
    at = place % len(mark)
    changed = mark[:at] + put + mark[at + 1 :]
    assert MARKS.known("account", changed, NOW_MS) == (changed == mark)
    assert not MARKS.known("client", mark, NOW_MS)


@given(st.text(PRINTABLE, max_size=80))
def test_whatever_a_name_is_it_is_a_mark_or_not(tail: str) -> None:
    assert not MARKS.known("account", f"{NAME}-{tail}", NOW_MS)


def test_a_detection_is_counted_once_whatever_becomes_of_the_incident() -> None:
    (found,), _ = told_of(MARKS.made(NOW_MS))
    tests = Returned(CONFIG)
    for revision, status in ((1, "open"), (2, "closed")):
        assert tests.takes(msgspec.structs.replace(found, revision=revision, status=status))
    assert (tests.detected, tests.delays.cumulative()[-1]) == (1, ("+Inf", 1))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "selftest.topic: needs a hash_key of your own, or anybody could mark a theft as a test"),
        ('[kafka]\ntopics = ["logins"]', "selftest.topic = 'access': is none of kafka.topics, so nobody would read it"),
        ('format = "okta"', "selftest.topic: self-tests are native; format = 'okta' forbids it"),
        ("[detectors]\ncanary = false", "detectors.canary = false forbids it"),
    ],
)
def test_a_self_test_that_could_not_work_is_a_mistake(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "tripline.toml"
    path.write_text(text)
    environ: dict[str, Any] = {"TRIPLINE_SELFTEST__TOPIC": "access"} | (
        {"TRIPLINE_HASH_KEY": f'"{KEY}"'} if text else {}
    )
    with pytest.raises(UsageError) as error:
        load(path, environ)
    assert says in str(error.value)
