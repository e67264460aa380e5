"""Identities in alerts: hidden from whoever reads them, and resolved by whoever has the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import catalog
from stream.alerts import alert_of, encode
from stream.config import Config
from stream.errors import UsageError
from stream.respond import words
from stream.signals import Signal
from stream.veil import Keys, veil_of
from tests.signals import found, signal

HEX = "0123456789abcdef" * 8
OTHER = "fedcba9876543210" * 8


def keys_file(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(keys_file(tmp_path_factory.mktemp("keys") / "keys", f"k1 {HEX}"))


names = st.one_of(st.text(), st.sampled_from(["", "\x00", "a\x00", "\x80", "tk-k1-aaaa", "x" * 256, "ann@example.com"]))


@given(name=names)
def test_a_token_resolves_to_what_it_hides_and_shows_nothing_of_it(keys: Keys, name: str) -> None:
    token = keys.token(name)
    assert keys.identity(token) == name
    assert keys.token(name) == token
    assert len(token) == len(keys.token("y" * len(name.encode())))
    assert keys.reveal(f"account {token}: 5 records") == f"account {name}: 5 records"


@given(name=names, at=st.integers(6, 40), letter=st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_what_was_changed_resolves_to_nothing(keys: Keys, name: str, at: int, letter: str) -> None:
    token = keys.token(name)
    changed = token[:at] + letter + token[at + 1 :]
    assert changed == token or keys.identity(changed) is None


def test_a_rotated_key_hides_what_is_new_and_still_resolves_what_is_old(tmp_path: Path) -> None:
    before = Keys(keys_file(tmp_path / "a", f"k1 {HEX}"))
    after = Keys(keys_file(tmp_path / "b", f"k2 {OTHER}", f"k1 {HEX}"))
    gone = Keys(keys_file(tmp_path / "c", f"k2 {OTHER}"))
    old, new = before.token("ann"), after.token("ann")
    assert old != new
    assert after.reveal(f"{old} {new}") == "ann ann"
    assert gone.reveal(f"{old} {new}") == f"{old} ann"


@pytest.mark.parametrize("line", ["", "k1", f"k1 {HEX[:-2]}", f"K 1 {HEX}", HEX])
def test_keys_that_are_none_are_said_and_not_shown(tmp_path: Path, line: str) -> None:
    with pytest.raises(UsageError) as error:
        Keys(keys_file(tmp_path / "keys", line))
    assert HEX[:20] not in str(error.value)


def config(tmp_path: Path, **more: Any) -> Config:
    return Config(identity_keys_file=str(keys_file(tmp_path / "keys", f"k1 {HEX}")), **more)


identities = st.text(alphabet="abcdefghijklmnop", min_size=12, max_size=30)


@settings(max_examples=30)
@given(people=st.lists(identities, min_size=4, max_size=4, unique=True))
def test_an_alert_names_nobody_and_says_everything_else(
    tmp_path_factory: pytest.TempPathFactory, people: list[str]
) -> None:
    """As bytes; and revealed it is the alert that it would have been."""
    folder = tmp_path_factory.mktemp("veil")
    about = given_signal(people)
    detectors = {d: words(Config(), d) for d in catalog.detector_ids()}
    plain = msgspec.structs.replace(alert_of(about, detectors, ""), emitted_at="")
    told = msgspec.structs.replace(alert_of(veil_of(config(folder))(about), detectors, ""), emitted_at="")
    line = encode(told).decode()
    assert not [name for name in people if name in line]
    assert "AS64500" in line
    assert orjson.loads(Keys(folder / "keys").reveal(line)) == orjson.loads(encode(plain))


def given_signal(people: list[str]) -> Signal:
    account, credential, source, other = people
    made = signal(
        0, "account", account, "tl-1", related=(("source", source), ("network", "AS64500"), ("account", other))
    )
    return msgspec.structs.replace(
        made, members=[found("account", account), found("credential", credential), found("network", "AS64500")]
    )


def test_without_keys_nothing_is_hidden() -> None:
    about = given_signal(["a", "b", "c", "d"])
    assert veil_of(Config())(about) == about
