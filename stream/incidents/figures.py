"""The figures that a replay is built from: one TOML file for a world and one for each incident, strictly validated.

A new incident is one file: `load_incident` finds it by its name. Every figure can be overridden with
`msgspec.structs.replace`; `checked` holds the result to the same limits again.
"""

from __future__ import annotations

import re
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from stream.errors import UsageError

Share = Annotated[float, Meta(ge=0, le=1)]
Rate = Annotated[float, Meta(ge=0, le=1e9)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]
Sigma = Annotated[float, Meta(ge=0, le=3)]
Exponent = Annotated[float, Meta(ge=0, le=3)]
Count = Annotated[int, Meta(ge=0, le=1_000)]
Text = Annotated[str, Meta(min_length=1, max_length=256)]
Country = Annotated[str, Meta(pattern="^[A-Z]{2}$")]
Texts = Annotated[tuple[Text, ...], Meta(min_length=1, max_length=100)]
Window = tuple[Share, Share]
T = TypeVar("T")

ACCOUNTS_MAX: Final = 50_000_000
DAYS_MAX: Final = 400.0
WORLD_PREFIX: Final = "world_"


class Figures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every section: immutable, and a misspelt field is an error."""


class Sale(Figures, frozen=True):
    factor: Annotated[float, Meta(ge=1, le=100)]
    duration_h: Positive
    ramp_h: Positive
    window: Window


class Keys(Figures, frozen=True):
    rotation: bool
    window: Window
    token_days: Annotated[float, Meta(ge=0.05, le=400)]


class NetworkFigures(Figures, frozen=True):
    home: Annotated[int, Meta(ge=1, le=100)]
    carriers: Annotated[int, Meta(ge=1, le=20)]
    abroad: Annotated[int, Meta(ge=1, le=150)]
    hosting: Annotated[int, Meta(ge=1, le=100)]
    popularity_exponent: Exponent
    accounts_per_nat_address: Positive
    home_country: Country
    countries: Annotated[tuple[Country, ...], Meta(min_length=1, max_length=100)]


class CustomerFigures(Figures, frozen=True):
    sessions_per_account_day: Rate
    activity_sigma: Sigma
    pages_median: Positive
    pages_sigma: Sigma
    pages_max: Annotated[int, Meta(ge=1, le=10_000)]
    pause_median_s: Positive
    pause_sigma: Sigma
    session_max_s: Annotated[float, Meta(gt=0, le=86_400)]
    member_gap: Annotated[float, Meta(ge=1, le=10)]
    app_share: Share
    began_before_share: Share
    began_before_rotation_share: Share
    roam_share: Share
    roam_midway_share: Share
    traveller_share: Share
    trip_days: Positive
    tunnel_share: Share
    sign_up_share_per_day: Share
    lost_login_share: Share
    late_share: Share
    late_max_s: Annotated[float, Meta(ge=0, le=3600)]
    failed_login_share: Share
    failed_view_share: Share


class Clients(Figures, frozen=True):
    popularity_exponent: Exponent
    browsers: Texts
    browser_versions: Texts
    apps: Texts
    app_versions: Texts


class Release(Figures, frozen=True):
    version: Annotated[str, Meta(max_length=64)]
    window: Window
    days: Positive


class StaffFigures(Figures, frozen=True):
    support_agents_per_account: Share
    support_agents_min: Count
    tickets_median: Positive
    tickets_sigma: Sigma
    analysts_per_account: Share
    analysts_min: Count
    exports_per_day: Annotated[float, Meta(ge=0, le=1_000)]
    export_records_median: Positive
    export_records_sigma: Sigma
    shift_h: Annotated[float, Meta(gt=0, le=14)]
    leave_share: Share
    remote_share: Share
    new_hire_share: Share


class ServiceFigures(Figures, frozen=True):
    backups: Count
    backup_tables: Count
    backup_records_per_account: Rate
    rerun_share: Share
    batch_jobs: Count
    batch_interval_s: Annotated[float, Meta(ge=10, le=86_400)]
    jitter_s: Annotated[float, Meta(ge=0, le=600)]
    new_services: Count
    new_service_window: Window
    partners_per_account: Share
    partners_min: Count
    partner_requests_per_day: Annotated[float, Meta(ge=0, le=1_000_000)]
    partner_sigma: Sigma
    crawlers: Count
    crawler_requests_per_account_day: Annotated[float, Meta(ge=0, le=10)]


class Page(Figures, frozen=True):
    """One kind of page: its share of the customers' views, and what leaves with one view of it."""

    resource: Text
    share: Share
    bytes_median: Positive
    action: Literal["read", "list", "write"] = "read"
    own: bool = False
    object: bool = False
    records_mean: Annotated[float, Meta(ge=1, le=10_000)] = 1.0


class World(Figures, frozen=True):
    """A retailer without any attack."""

    first_day: Annotated[str, Meta(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8]|30|31)$")]
    utc_offset_h: Annotated[float, Meta(ge=-12, le=14)]
    hours: Annotated[tuple[Positive, ...], Meta(min_length=24, max_length=24)]
    weekdays: Annotated[tuple[Positive, ...], Meta(min_length=7, max_length=7)]
    sale: Sale
    keys: Keys
    networks: NetworkFigures
    customers: CustomerFigures
    clients: Clients
    release: Release
    staff: StaffFigures
    services: ServiceFigures
    pages: Annotated[tuple[Page, ...], Meta(min_length=1, max_length=1_000)]


class Attack(Figures, frozen=True):
    """A campaign that forges one token for each member number and reads that member's pages with it."""

    key: Literal["retired", "current"]
    requests_per_account_day: Annotated[float, Meta(gt=0, le=1_000)]
    requests_per_day_min: Rate
    views_per_account: Annotated[float, Meta(ge=1, le=1_000)]
    view_gap_s: Annotated[float, Meta(gt=0, le=3600)]
    requests_per_address_day: Positive
    addresses_min: Annotated[int, Meta(ge=1, le=1_000_000)]
    networks: Annotated[int, Meta(ge=1, le=1_000)]
    network_kind: Literal["hosting", "home"]
    address_hours: Annotated[float, Meta(ge=0, le=100_000)]
    rotate: Literal["visit", "request"]
    user_agents: Annotated[tuple[Text, ...], Meta(max_length=100)]
    ghosts: bool
    start_window: Window
    duration_days: Annotated[float, Meta(ge=0, le=DAYS_MAX)]
    trials: Count
    trial_days: Annotated[float, Meta(ge=0, le=DAYS_MAX)]
    pages: Annotated[dict[Text, Positive], Meta(min_length=1, max_length=100)]


class Incident(msgspec.Struct, frozen=True):
    """A campaign in its world. Scale, length and seed are arguments of `generate`, not figures."""

    name: str
    title: Text
    world: World
    attack: Attack


class _IncidentFile(Figures, frozen=True):
    title: Text
    world: Text
    attack: Attack


def _folder() -> Traversable:
    return resources.files("stream.incidents")


def list_incidents() -> list[str]:
    """The names that `load_incident` knows, sorted."""
    names = (path.name for path in _folder().iterdir())
    return sorted(name[:-5] for name in names if name.endswith(".toml") and "_" not in name)


def load_incident(name: str) -> Incident:
    """The incident of that name and its world. UsageError if there is none or a figure is out of its limits."""
    if name not in list_incidents():
        raise UsageError(f"no incident is called {name!r}; there are: {', '.join(list_incidents())}")
    file = decode(_folder().joinpath(f"{name}.toml").read_bytes(), _IncidentFile, f"{name}.toml")
    world_name = f"{WORLD_PREFIX}{file.world}.toml"
    world_path = _folder().joinpath(world_name)
    if not re.fullmatch("[a-z0-9-]+", file.world) or not world_path.is_file():
        raise UsageError(f"{name}.toml: there is no world {file.world!r}; `world` names a file world_<name>.toml")
    world = decode(world_path.read_bytes(), World, world_name)
    return checked(Incident(name, file.title, world, file.attack))


def checked(incident: Incident) -> Incident:
    """The same incident if all its figures are within their limits and fit each other, else UsageError."""
    raw = msgspec.to_builtins(incident)
    try:
        incident = msgspec.convert(raw, Incident)
    except msgspec.ValidationError as error:
        raise UsageError(_message(incident.name, raw, error)) from None
    served = {page.resource for page in incident.world.pages}
    for resource in incident.attack.pages:
        if resource not in served:
            raise UsageError(
                f"{incident.name}: attack.pages names {resource!r}, which the world does not serve; it has: "
                + ", ".join(sorted(served))
            )
    if sum(page.share for page in incident.world.pages) <= 0:
        raise UsageError(f"{incident.name}: the shares of world.pages sum to 0; at least one must be above 0")
    return incident


def decode(text: bytes, into: type[T], where: str) -> T:
    """`text` as TOML into the struct `into`; `where` names the file in the one UsageError that a mistake gives."""
    try:
        raw = msgspec.toml.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not TOML: {error}; correct the line named") from None
    try:
        return msgspec.convert(raw, into)
    except msgspec.ValidationError as error:
        raise UsageError(_message(where, raw, error)) from None


def _message(where: str, raw: object, error: msgspec.ValidationError) -> str:
    """msgspec names the limit and the field; the operator also wants the value."""
    limit, _, path = str(error).partition(" - at `$")
    value: Any = raw
    for step in re.findall(r"[^.\[\]`]+", path):
        try:
            value = value[int(step) if isinstance(value, list | tuple) else step]
        except (KeyError, IndexError, ValueError, TypeError):
            return f"{where}: {path.strip('.`') or 'file'}: {limit[:1].lower()}{limit[1:]}; correct the file"
    shown = "" if isinstance(value, dict | list | tuple) else f" = {value!r}"
    return f"{where}: {path.strip('.`') or 'file'}{shown}: {limit[:1].lower()}{limit[1:]}; correct the file"
