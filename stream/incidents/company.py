"""The figures of a company: people who work or look after their own, machines, and what is odd and yet innocent.

One TOML file a company, `company_<name>.toml`. `stream.incidents.workday` makes events of them.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from stream.errors import UsageError
from stream.incidents.figures import (
    Country,
    Figures,
    Positive,
    Rate,
    Share,
    Sigma,
    Text,
    Texts,
    Window,
    _folder,
    decode,
)

PREFIX: Final = "company_"
Size = Annotated[int, Meta(ge=1, le=1_000_000)]
Hours = Annotated[tuple[float, ...], Meta(min_length=1, max_length=24)]


class Page(Figures, frozen=True):
    """One thing that is done in a session: its share of the steps and what leaves with it (records: lognormal)."""

    resource: Text
    share: Share
    action: Literal["read", "list", "export", "write", "delete", "share", "admin"] = "read"
    records_median: Positive = 1.0
    records_sigma: Sigma = 0.0
    bytes_per_record: Positive = 900.0
    object: bool = False
    subject: bool = True  # false: about nobody, whatever the session is about


class People(Figures, frozen=True):
    """Persons of one kind. count: at scale 1. A session is about one subject and has a few steps.

    hours: office (Monday to Friday), rota (five days of seven, early, late or night), any (by the hours of the day).
    site: where they sit: the company's offices, their team's own, or at home. subjects: whom a session is about: all
    subjects there are, the team's panel (those in its care, which change from day to day), the team's own records, the
    person, or nobody. login: at each session, each part of a shift, or when an app's token runs out.
    """

    name: Text
    group: Text
    kind: Literal["employee", "customer", "partner"]
    count: Size
    hours: Literal["office", "rota", "any"]
    site: Literal["company", "team", "home"]
    subjects: Literal["all", "panel", "team", "own", "none"]
    login: Literal["session", "shift", "app"]
    sessions_per_day: Rate
    clients: Texts
    pages: Annotated[tuple[Page, ...], Meta(min_length=1, max_length=100)]
    teams: Size = 1
    begins_h: Hours = (8.0,)
    shift_h: Annotated[float, Meta(gt=0, le=14)] = 8.5
    person_sigma: Sigma = 0.4  # of the rates of two persons
    day_sigma: Sigma = 0.25  # of one person's days
    steps_median: Positive = 3.0
    steps_sigma: Sigma = 0.6
    pause_s: Positive = 25.0
    panel: Size = 25
    panel_turnover: Share = 0.22  # of a panel, a day
    stranger_share: Share = 0.05  # sessions about somebody outside the panel: a consultation, a transfer
    remote_share: Share = 0.1  # days at home
    roam_share: Share = 0.02  # sessions that change to a carrier's network midway
    lost_login_share: Share = 0.01
    failed_login_share: Share = 0.05
    failed_share: Share = 0.01
    sick_share: Share = 0.04
    leave_share: Share = 0.3  # of the persons, who have a week or two off during the stream
    new_share: Share = 0.06  # of the persons, who begin during the stream
    token_days: Positive = 7.0


class Machines(Figures, frozen=True):
    """Programs of one kind. schedule: every so often; nightly, so many calls one after the other; poll, so many a day
    by the hours of the day; once, a migration that goes through everything there is."""

    name: Text
    group: Text
    resource: Text  # {n}: the number of the call within a night's run
    schedule: Literal["interval", "nightly", "poll", "once"]
    client: Text
    count: Size = 1
    kind: Literal["service", "partner"] = "service"
    action: Literal["read", "list", "export", "write"] = "export"
    place: Literal["inside", "outside"] = "inside"
    interval_s: Annotated[float, Meta(ge=10, le=86_400)] = 900.0
    jitter_s: Annotated[float, Meta(ge=0, le=3_600)] = 20.0
    at_h: Annotated[float, Meta(ge=0, le=24)] = 2.0
    calls: Rate = 12.0  # in a night's run, or a day
    gap_s: Positive = 90.0
    records_median: Positive = 1_000.0
    records_sigma: Sigma = 1.0  # between tables, or calls of a poll
    size_sigma: Sigma = 0.8  # between programs that poll
    bytes_per_record: Positive = 240.0
    walk: bool = False  # names what it reads by number, in order
    rerun_share: Share = 0.04
    skip_share: Share = 0.015  # nights on which it does not run
    retry_share: Share = 0.02  # days with an hour in which it fails and tries again
    rotation: bool = False  # its key is replaced during the stream
    start: Window = (0.0, 0.0)  # of the stream, when it comes into being


class Oddities(Figures, frozen=True):
    """What happens to everybody. Windows are shares of the stream."""

    holidays: Annotated[tuple[int, ...], Meta(max_length=50)] = ()  # days of the stream
    surge_group: str = ""
    surge_factor: Annotated[float, Meta(ge=1, le=20)] = 1.0
    surge_days: Positive = 3.0
    surge: Window = (0.4, 0.5)
    outage_h: Annotated[float, Meta(ge=0, le=48)] = 0.0  # in which logins are not written; they come afterwards
    outage: Window = (0.5, 0.8)
    release: Window = (0.3, 0.7)  # when clients get another version, within days
    release_days: Positive = 4.0
    move: Window = (0.5, 0.9)  # when one office gets another provider
    moves: bool = False


class Company(Figures, frozen=True):
    """A company without any attack."""

    title: Text
    first_day: Annotated[str, Meta(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$")]
    utc_offset_h: Annotated[float, Meta(ge=-12, le=14)]
    country: Country
    subject: Text  # prefix of the names of those whose data it is
    subjects: Size  # at scale 1
    offices: Size
    hours: Annotated[tuple[Positive, ...], Meta(min_length=24, max_length=24)]
    weekdays: Annotated[tuple[Positive, ...], Meta(min_length=7, max_length=7)]
    oddities: Oddities
    people: Annotated[tuple[People, ...], Meta(min_length=1, max_length=50)]
    machines: Annotated[tuple[Machines, ...], Meta(max_length=50)] = ()


def list_companies() -> list[str]:
    """The names that `load_company` knows, sorted."""
    found = (path.name for path in _folder().iterdir())
    return sorted(n.removeprefix(PREFIX)[:-5] for n in found if n.startswith(PREFIX) and n.endswith(".toml"))


def load_company(name: str) -> Company:
    """The company of that name; UsageError if there is none or a figure is out of its limits."""
    if name not in list_companies():
        raise UsageError(f"no company is called {name!r}; there are: {', '.join(list_companies())}")
    file = f"{PREFIX}{name}.toml"
    return decode(_folder().joinpath(file).read_bytes(), Company, file)
