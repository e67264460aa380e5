"""A configuration is right, or every mistake in it is told at once with what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors import catalog
from stream.config import Canary, Config, EntitiesMax, Kafka, Registry, Respond, Worker, fingerprint, load
from stream.decode import formats
from stream.enrich.settings import Enrich
from stream.errors import UsageError
from stream.sensitivity import Sensitivity
from stream.subscribers import check_subscriber, settings_by_kind

SHIPPED = Path(__file__).parent.parent / "deploy" / "tripline.toml"


def loaded(text: str, tmp_path: Path, **environ: str) -> Config:
    path = tmp_path / "tripline.toml"
    path.write_text(text)
    return load(path, environ, catalog.detector_ids(), list(formats()))


def mistakes(text: str, tmp_path: Path, **environ: str) -> list[str]:
    with pytest.raises(UsageError) as error:
        loaded(text, tmp_path, **environ)
    return str(error.value).splitlines()


def test_the_file_that_is_shipped_is_the_defaults_and_names_every_setting() -> None:
    """What an operator copies changes nothing, and leaves nothing out."""
    config = load(SHIPPED, {}, catalog.detector_ids(), list(formats()))
    assert msgspec.structs.replace(config, detectors={}) == Config()
    assert set(config.detectors) == set(catalog.detector_ids())
    assert all(config.detectors.values())
    assert fingerprint(config) == fingerprint(Config())
    text = SHIPPED.read_text()
    tables = (Config, Canary, EntitiesMax, Enrich, Kafka, Registry, Sensitivity, Worker, Respond)
    for name in (field for table in tables for field in table.__struct_fields__):
        assert re.search(rf"^(\[{name}\]|{name} = |# \[\[{name}\]\])", text, re.MULTILINE), name


def test_nothing_given_is_the_defaults() -> None:
    assert load(None, {}) == Config()


def test_variables_override_the_file(tmp_path: Path) -> None:
    config = loaded(
        "alerts_per_day_max = 3\n[entities_max]\naccount = 10\nsource = 20", tmp_path,
        TRIPLINE_ALERTS_PER_DAY_MAX="7", TRIPLINE_ENTITIES_MAX__ACCOUNT="11", TRIPLINE_DETECTORS__VOLUME="false",
        TRIPLINE_RUNBOOK_URL="https://runbook.example/a", HOME="/x",
    )  # fmt: skip
    assert (config.alerts_per_day_max, config.entities_max.account, config.entities_max.source) == (7.0, 11, 20)
    assert config.detectors == {"volume": False}
    assert config.runbook_url == "https://runbook.example/a"


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """Field, value, limit and remedy; a misspelt name is answered with the nearest."""
    told = mistakes(
        """
alerts_per_day_max = 0
warmup_hours = 3
tick_s = 2.5
format = "cloudtrial"
hash_key = "short and secret"
detectors = { volumes = true, fan_out = 1 }
[entities_max]
account = 0
acount = 3
""",
        tmp_path,
        TRIPLINE_TICK_SECONDS="3",
    )
    text = "\n".join(told)
    for part in (
        "9 mistakes", "alerts_per_day_max = 0: must be a number from 0.01 to 10,000", "warmup_hours: no such setting",
        "did you mean warmup_h?", "tick_s = 2.5: must be a whole number from 1 to 3,600", "did you mean cloudtrail?",
        "hash_key = (hidden): must be 32 hexadecimal digits", "detectors", "entities_max.account = 0",
        "entities_max.acount: no such setting (did you mean account?)", "tick_seconds",
    ):  # fmt: skip
        assert part in text, part
    assert "short and secret" not in text


@pytest.mark.parametrize(
    "content, part",
    [
        (b"a = = 1", "not TOML"),
        (b"\xff\xfe", "not UTF-8"),
        (b"#" * (2 << 20), "more than 1048576 bytes"),
        (b"entities_max = 3", "is a table"),
        (b"alerts_per_day_max = nan", "must be a number"),
        (b"alerts_per_day_max = inf", "must be a number"),
        (b"[[entities_max]]", "is a table"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=part):
        load(path, {})


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / "none.toml", {})


@pytest.mark.parametrize("change", [{"alerts_per_day_max": 6.0}, {"tick_s": 31}, {"detectors": {"volume": False}}])
def test_what_changes_alerts_changes_the_version(change: dict[str, Any]) -> None:
    assert fingerprint(msgspec.structs.replace(Config(), **change)) != fingerprint(Config())


@pytest.mark.parametrize("change", [{"snapshot_every_s": 1.0}, {"format": "ecs"}, {"detectors": {"volume": True}}])
def test_what_does_not_change_alerts_does_not_change_the_version(change: dict[str, Any]) -> None:
    assert fingerprint(msgspec.structs.replace(Config(), **change)) == fingerprint(Config())


@given(
    name=st.sampled_from([n for n in Config.__struct_fields__ if n not in ("entities_max", "detectors")]),
    value=st.one_of(st.integers(), st.floats(), st.text(max_size=40), st.booleans()),
)
def test_whatever_a_variable_holds_it_is_taken_or_explained(name: str, value: object) -> None:
    """No traceback."""
    try:
        load(None, {f"TRIPLINE_{name.upper()}": str(value)}, catalog.detector_ids(), list(formats()))
    except UsageError as error:
        assert name in str(error)


def test_every_kind_of_subscriber_that_is_shipped_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples, without the marks before them, are a configuration."""
    text = re.sub(r"^# ?(\[\[subscribers\]\]|[a-z_]+ = )", r"\1", SHIPPED.read_text(), flags=re.MULTILINE)
    path = tmp_path / "tripline.toml"
    path.write_text(text)
    config = load(path, {}, catalog.detector_ids(), list(formats()), settings_by_kind)
    assert {subscriber.kind for subscriber in config.subscribers} == set(settings_by_kind())
    assert fingerprint(config) == fingerprint(Config())
    monkeypatch.setenv("SLACK_URL", "https://chat.example/services/x")
    said = [line for subscriber in config.subscribers for line in check_subscriber(subscriber, config)]
    assert len(said) == 4, said  # the secrets that this machine does not have
    assert all("the secret cannot be read" in line for line in said)


def test_mistakes_about_subscribers_are_told_at_once_and_no_secret_is(tmp_path: Path) -> None:
    path = tmp_path / "tripline.toml"
    path.write_text("""
[[subscribers]]
name = "soc"
kind = "webhok"
[[subscribers]]
name = "soc"
kind = "webhook"
secret_from = "hunter2"
severity_min = "hih"
[[subscribers]]
name = "x"
kind = "file"
path = "/tmp/x"
[[subscribers]]
name = "x"
kind = "file"
path = "/tmp/y"
""")
    with pytest.raises(UsageError) as error:
        load(path, {}, subscribers=settings_by_kind)
    said = str(error.value)
    for part in (
        "did you mean webhook?", "subscribers[soc].secret_from = (hidden)", "env:NAME", "one of low, medium, high",
        "subscribers[soc].url: missing", "two have the name x",
    ):  # fmt: skip
        assert part in said
    assert "hunter2" not in said


def test_identities_are_not_hidden_under_a_key_that_everybody_knows(tmp_path: Path) -> None:
    assert "hash_key of your own" in mistakes('identity_keys_file = "keys"', tmp_path)[1]
    environ = {"TRIPLINE_IDENTITY_KEYS_FILE": "keys", "TRIPLINE_HASH_KEY": "7f" * 16}
    assert load(None, environ).identity_keys_file == "keys"
