"""Who a thief is, or whose account it takes: drawn from what the log showed before."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.incidents.drafts import ACCOUNT_KIND, Draft, take, texts
from stream.incidents.theft import Theft
from stream.incidents.timeline import DAY_MS

_RECENT_MS: Final = 4 * DAY_MS
_DORMANT_MS: Final = 3 * DAY_MS
_RANKS: Final = {"typical": (0.35, 0.75), "quiet": (0.0, 0.3), "busy": (0.85, 1.0)}  # by how much they do


def chosen(
    theft: Theft, past: Draft, start_ms: int, present: set[str], taken: set[str], rng: np.random.Generator
) -> npt.NDArray[Any]:
    """Accounts of the past of those that the theft may use, by how much and how lately they did something.

    present: accounts that do something while it is on, on its first day. taken: those of other thefts; what is chosen
    is added to them.
    """
    if not len(past["time"]):
        return texts([])
    account, back, count = np.unique(past["account"].astype(str), return_inverse=True, return_counts=True)
    last = np.zeros(len(account), np.int64)
    np.maximum.at(last, back, past["time"])
    idle = start_ms - last
    free = np.array([name not in taken for name in account.tolist()])
    if theft.who == "victims":
        return texts(rng.permutation(account).tolist())
    wanted = max(theft.actors, round(theft.actors_share * len(account)))
    if theft.pick == "dormant":
        order = np.argsort(-idle, kind="stable")
        found = order[free[order] & ((idle[order] > _DORMANT_MS) | (idle[order] == idle[free].max(initial=0)))]
    else:
        if theft.own_pace or theft.hours == "own":  # who steals at work is there on the first day
            there = free & np.array([name in present for name in account.tolist()])
            free = there if there.any() else free
        recent = np.flatnonzero(free & (idle < max(_RECENT_MS, idle[free].min(initial=0) + 1)))
        ranked = recent[np.argsort(count[recent], kind="stable")]
        low, high = (int(share * len(ranked)) for share in _RANKS[theft.pick])
        some = ranked[low : max(high, low + 1)]
        found = rng.permutation(ranked if wanted > len(some) else some)
    names: list[str] = account[found[:wanted]].tolist()
    taken.update(names)
    return texts(names)


def by_account(past: Draft, accounts: npt.NDArray[Any]) -> dict[str, Draft]:
    """The past of each of these accounts."""
    wanted = set(accounts.tolist())
    own = take(past, np.fromiter((name in wanted for name in past["account"]), np.bool_, len(past["time"])))
    order = np.argsort(own["account"].astype(str), kind="stable")
    distinct, first = np.unique(own["account"][order].astype(str), return_index=True)
    parts = np.split(order, first[1:]) if len(first) else []
    return {name: take(own, part) for name, part in zip(distinct.tolist(), parts, strict=True)}


def in_group(groups: npt.NDArray[Any], wanted: str) -> npt.NDArray[np.bool_]:
    """Which of the groups are the wanted one, or a team of it."""
    names, back = np.unique(groups.astype(str), return_inverse=True)
    return np.array([name.startswith(wanted) for name in names.tolist()], np.bool_)[back] if len(names) else back > 0


def stem(past: Draft, kind: str) -> str:
    """How accounts of that kind are called, up to their number."""
    of_kind = past["account"][past["account_kind"] == ACCOUNT_KIND[kind]]
    return str(of_kind[0]).rpartition("-")[0] + "-" if len(of_kind) else "account-"
