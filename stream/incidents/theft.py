"""The figures of a theft that may be laid over any company's log: who, how, how fast, whose data, from where.

One TOML file each, `theft_<name>.toml`: `[theft]` is the attack, `[twin]` what differs in its benign twin.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from stream.errors import UsageError
from stream.incidents.figures import Figures, Rate, Share, Sigma, Text, _folder, decode

PREFIX: Final = "theft_"
Count = Annotated[int, Meta(ge=1, le=100_000)]


class Theft(Figures, frozen=True):
    """who: an account of that kind that is there already, strangers (none that is known), or victims: another
    customer's account for each target. pick: which of them. actors: how many; of a group, actors_share of it.

    pace_per_hour: requests of all actors together, while it is on. own_pace: instead, times each actor's own pace.
    hours: all, own (between the actor's own accesses of the day), night. resource, action, records: "" and 0 for those
    of the actor's own past. targets: own (as in the actor's past), random, once (everybody once, in no order), walk (by
    number), unknown (guessed: hit_share of them exist), honey (a planted record, once, among the rest).
    identity: the actor's own sessions, a login of the thief's, a stolen session or key, a forged token, or none.
    place: the actor's own, server providers, homes, or abroad; `addresses` of it, on `networks`.
    client: "" for the actor's own, "common" for that of most customers.
    """

    who: Literal["employee", "customer", "service", "partner", "stranger", "victims"]
    duration_h: Annotated[float, Meta(gt=0, le=24 * 400)]
    group: str = ""
    pick: Literal["typical", "quiet", "busy", "dormant"] = "typical"
    actors: Count = 1
    actors_share: Share = 0.0
    start_h: Annotated[float, Meta(ge=0, le=24)] = 10.0
    pace_per_hour: Rate = 0.0
    own_pace: Annotated[float, Meta(ge=0, le=1_000)] = 0.0
    hours: Literal["all", "own", "night"] = "all"
    days: Literal["all", "week"] = "all"
    resource: str = ""
    resources: Count = 1  # {n} in `resource` counts so many
    action: Literal["", "read", "list", "export"] = ""
    records_median: Rate = 0.0
    records_sigma: Sigma = 0.0
    bytes_per_record: Rate = 600.0
    targets: Literal["own", "random", "once", "walk", "unknown", "honey"] = "own"
    target: Literal["subject", "object"] = "subject"
    hit_share: Share = 1.0
    per_account: Count = 1
    egress_records: Rate = 0.0  # that leave at last, in one go
    login_success: Share = 1.0  # of a thief's logins
    identity: Literal["own", "login", "stolen", "forged", "none"] = "own"
    place: Literal["own", "hosting", "home", "abroad"] = "own"
    networks: Count = 1
    addresses: Count = 1
    client: str = ""
    as_kind: Literal["unknown", "customer", "partner"] = "unknown"  # of strangers


class Named(msgspec.Struct, frozen=True):
    """A theft with its name, the company that it happens to, and its benign twin."""

    name: str
    title: str
    world: str
    theft: Theft
    twin_title: str
    twin: Theft


class _File(Figures, frozen=True):
    title: Text
    world: Text
    twin_title: Text
    theft: Theft
    twin: dict[str, Any]


def list_thefts() -> list[str]:
    """The names that `load_theft` knows, sorted."""
    found = (path.name for path in _folder().iterdir())
    return sorted(n.removeprefix(PREFIX)[:-5] for n in found if n.startswith(PREFIX) and n.endswith(".toml"))


def load_theft(name: str) -> Named:
    """The theft of that name; UsageError if there is none or a figure is out of its limits."""
    if name not in list_thefts():
        raise UsageError(f"no theft is called {name!r}; there are: {', '.join(list_thefts())}")
    where = f"{PREFIX}{name}.toml"
    file = decode(_folder().joinpath(where).read_bytes(), _File, where)
    return Named(name, file.title, file.world, file.theft, file.twin_title, varied(file.theft, **file.twin))


def varied(theft: Theft, **figures: Any) -> Theft:
    """The theft with other figures; UsageError where one is out of its limits."""
    try:
        return msgspec.convert(msgspec.to_builtins(theft) | figures, Theft)
    except msgspec.ValidationError as why:
        raise UsageError(
            f"{', '.join(f'{k} = {v!r}' for k, v in figures.items())}: {why}; correct the figure"
        ) from None
