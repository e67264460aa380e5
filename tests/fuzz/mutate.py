"""Mutations that keep JSON what it is: most random changes of bytes make a text that no parser lets through."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

from tests.formats.test_contract import places
from tests.fuzz.target import PART

LINE: Final = b"\n"
VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**64, 10**30, 0.5, -0.0, 1e308, 1e-320, "",
    "-", "0", "\0", "é", "\U0001f600", "x" * 300, "9" * 400, "1e999", "NaN", "/", "\\", '"', "%s{0}",
    "192.0.2.1", "::1", "2025-01-01T00:00:00Z", "2025-13-41T99:99:99Z", [], {}, [[]], [None], {"": {}},
    "service", "account", "fleet",
)  # fmt: skip


def mutated(data: bytes, bytes_max: int, seed: int, native: Callable[[bytes, int], bytes]) -> bytes:
    """Another input; native: changes bytes anyhow."""
    rng = Random(seed)  # a seed gives the same mutation again
    between = PART if PART in data else LINE
    pieces = data.split(between)
    at = rng.randrange(len(pieces))
    if rng.random() < 0.4 or not pieces[at].lstrip().startswith((b"{", b"[")):
        return native(data, bytes_max)
    try:
        value = json.loads(pieces[at])
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            value = _changed(value, rng, native)
        pieces[at] = json.dumps(value, ensure_ascii=rng.random() < 0.2).encode(errors="surrogatepass")
    except (ValueError, RecursionError):
        return native(data, bytes_max)
    made = between.join(pieces)
    return made if len(made) <= bytes_max else native(data, bytes_max)


def _changed(value: Any, rng: Random, native: Callable[[bytes, int], bytes]) -> Any:
    """The value with something else at one of its places."""
    found = list(places(value))
    if not found:
        return rng.choice(VALUES)
    *way, last = rng.choice(found)
    holder = value
    for key in way:
        holder = holder[key]
    kind = rng.randrange(6)
    if kind == 0:
        del holder[last]
    elif kind == 1:  # what stands elsewhere
        other = value
        for key in rng.choice(found):
            other = other[key]
        holder[last] = json.loads(json.dumps(other))
    elif kind == 2:
        holder[last] = [holder[last]] * rng.choice((1, 2, 70)) if rng.random() < 0.5 else {"a": holder[last]}
    elif kind == 3 and isinstance(holder[last], str):
        holder[last] = native(holder[last].encode(errors="replace") or b" ", 400).decode(errors="replace")
    elif kind == 3 and isinstance(holder[last], int | float):
        holder[last] += rng.choice((-1, 1, 1000, -1000, holder[last]))
    elif kind == 4 and isinstance(holder, dict):  # under another name
        holder[rng.choice([key for *_, key in found if isinstance(key, str)])] = holder.pop(last)
    else:
        holder[last] = rng.choice(VALUES)
    return value
