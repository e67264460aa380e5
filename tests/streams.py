"""Blocks of events for tests, made at the front of the product: what a decoder would hand over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from detectors.base import Array
from stream.alerts import Alert
from stream.config import Config
from stream.events import AccessEvent, EventBlock, columns
from stream.pipeline import Pipeline

START_MS = 1_735_689_600_000  # 2025-01-01, a Wednesday
HOUR_MS = 3_600_000
DAY_MS = 86_400_000


def event(time: int, account: str, action: Any = "read", resource: str = "/api", **fields: Any) -> AccessEvent:
    """One event with what a retailer's log would have."""
    given: dict[str, Any] = {
        "credential": f"t-{account}", "issuer": "key-1", "source_ip": "198.51.100.7", "user_agent": "Mozilla/5.0",
        "account_kind": "customer", "subject": account, "bytes": 500,
    }  # fmt: skip
    return AccessEvent(time=time, account=account, action=action, resource=resource, **(given | fields))


def block(events: Iterable[AccessEvent], origin: str = "log", first: int = 1) -> EventBlock:
    """The events in the order of their time."""
    ordered = sorted(events, key=lambda e: e.time)
    made, rejected = columns(ordered, origin, np.arange(first, first + len(ordered)), 2**60)
    assert not rejected, rejected
    return made


def part(given: EventBlock, start: int, stop: int) -> EventBlock:
    """Events start to stop of a block."""
    keep = np.zeros(len(given), np.bool_)
    keep[start:stop] = True
    return given.where(keep)


def run(
    blocks: Iterable[EventBlock], config: Config | None = None, finish: bool = True
) -> tuple[Pipeline, list[Alert]]:
    """The pipeline after the blocks, and every alert."""
    alerts: list[Alert] = []
    pipeline = Pipeline(config or Config(), alerts.append)
    for each in blocks:
        pipeline.process(each)
    if finish:
        pipeline.finish()
    return pipeline, alerts


def plain(alerts: Sequence[Alert]) -> list[dict[str, Any]]:
    """Alerts without the wall clock."""
    return [{k: v for k, v in msgspec.to_builtins(a).items() if k != "emitted_at"} for a in alerts]


def state(pipeline: Pipeline) -> tuple[Any, dict[str, bytes]]:
    """Everything that the next event depends on, comparable bit for bit."""
    meta, arrays = pipeline.save()
    return msgspec.json.decode(msgspec.json.encode(meta)), {name: raw(array) for name, array in arrays.items()}


def raw(array: Array) -> bytes:
    """The values of an array without what lies between its fields."""
    if array.dtype.names:
        return b"".join(raw(array[name]) for name in array.dtype.names)
    return np.ascontiguousarray(array).tobytes()


def regulars(
    days: float, accounts: int, rng: np.random.Generator, make: Callable[[int, int], AccessEvent] | None = None
) -> list[AccessEvent]:
    """Accounts that log in every day about nine and read some pages of their own."""
    events: list[AccessEvent] = []
    for day in range(int(np.ceil(days))):
        for account in range(accounts):
            at = START_MS + day * DAY_MS + int(rng.normal(9, 2) % 24 * HOUR_MS)
            name, token = f"user-{account}", f"t-{account}-{day}"
            address = f"198.51.{account % 100}.{account % 250 + 1}"
            common = {"credential": token, "source_ip": address}
            events.append(event(at, name, "login", "/login", records=0, **common))
            views = int(rng.poisson(4)) + 1
            events += [event(at + 5_000 * (view + 1), name, **common) for view in range(views)]
    end = START_MS + days * DAY_MS
    return [e for e in events if isinstance(e.time, int) and e.time < end]
