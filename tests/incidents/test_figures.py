"""A figure that is wrong is refused with its name, its value and its limit; one that is right is kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stream.errors import UsageError
from stream.incidents import Attack, Incident, World, checked, generate, list_incidents, load_incident
from stream.incidents.figures import decode


@pytest.mark.parametrize("name", list_incidents())
def test_every_incident_loads(name: str) -> None:
    """Each file of figures is within its limits and names its world."""
    incident = load_incident(name)
    assert incident.name == name
    assert checked(incident) == incident


@pytest.mark.parametrize("name", ["", "forged", "../forged-token", "world_retailer", "forged-token.toml"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    """A name is never a path."""
    with pytest.raises(UsageError, match="forged-token, forged-token-residential"):
        load_incident(name)


@pytest.mark.parametrize(
    ("section", "field", "value", "limit"),
    [
        ("customers", "app_share", 1.5, "<= 1.0"),
        ("customers", "member_gap", 0.5, ">= 1.0"),
        ("customers", "late_max_s", -1.0, ">= 0.0"),
        ("customers", "app_share", float("nan"), "app_share"),
        ("networks", "home", 0, ">= 1"),
        ("networks", "home_country", "Korea", "regex"),
        ("services", "batch_interval_s", 1.0, ">= 10.0"),
        ("attack", "requests_per_account_day", 0.0, "> 0.0"),
        ("attack", "key", "another", "another"),
        ("attack", "pages", {"/nowhere": 1.0}, "/nowhere"),
    ],
)
def test_an_override_is_held_to_the_limits(
    figures: Callable[..., Incident], section: str, field: str, value: object, limit: str
) -> None:
    """`replace` checks nothing, so `generate` does, before the first event is asked for."""
    with pytest.raises(UsageError) as caught:
        generate(figures(section, **{field: value}), accounts=100, days=1, seed=1)
    assert field in str(caught.value)
    assert limit in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"first_day = ", "not TOML"),
        (b"\xff\xfe", "not TOML"),
        (b"[" * 50_000, "not TOML"),
        (b"a = " + b"[" * 50_000, "not TOML"),
        (b"", "first_day"),
        (b"utc_offset_h = 99.0\nfirst_day = '2025-01-01'", "utc_offset_h = 99.0"),
        (b"first_day = 'soon'", "first_day = 'soon'"),
        (b"hourly = 1\n", "hourly"),
    ],
)
def test_a_bad_file_gives_one_clear_message(text: bytes, told: str) -> None:
    """The message names the file and the field, and the limit where a value is beyond it."""
    with pytest.raises(UsageError) as caught:
        decode(text, World, "world_test.toml")
    assert str(caught.value).startswith("world_test.toml: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_misspelt_figure_is_not_ignored() -> None:
    """A field that nothing reads is a mistake, not a comment."""
    with pytest.raises(UsageError, match="trails"):
        decode(b'key = "retired"\ntrails = 3\n', Attack, "forged.toml")


@pytest.mark.parametrize(
    ("accounts", "days", "seed", "told"),
    [(0, 1.0, 1, "accounts = 0"), (10**9, 1.0, 1, "50,000,000"), (10, 0.0, 1, "days = 0"), (10, 1e6, 1, "400"),
     (10, float("nan"), 1, "days = nan"), (10, 1.0, -1, "seed = -1")],
)  # fmt: skip
def test_a_wrong_scale_is_refused(accounts: int, days: float, seed: int, told: str) -> None:
    """Scale, length and seed have limits too."""
    with pytest.raises(UsageError, match=told):
        generate(load_incident("forged-token"), accounts=accounts, days=days, seed=seed)
