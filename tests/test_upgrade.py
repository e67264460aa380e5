"""State of another version: what fits goes on, what does not begins anew, and nothing is misread."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors import catalog
from detectors.base import Columns
from stream.errors import TriplineError
from stream.pipeline import Pipeline
from stream.upgrade import ROW_BEFORE, Numbers
from tests.streams import part, plain, run, state
from tests.test_pipeline import CONFIG, retailer, whole_run

NAMES = [f"d{n}" for n in range(16)]


def without(name: str) -> Any:
    return msgspec.structs.replace(CONFIG, detectors={name: False})


def saved(config: Any, share: float) -> tuple[dict[str, Any], Columns, int, list[Any]]:
    """What a program of these detectors had on the disk after a share of the log, and had told."""
    at = int(len(retailer()) * share)
    pipeline, alerts = run([part(retailer(), 0, at)], config, finish=False)
    meta, arrays = pipeline.save()
    return msgspec.json.decode(msgspec.json.encode(meta)), {n: a.copy() for n, a in arrays.items()}, at, alerts


def gone_on(meta: dict[str, Any], arrays: Columns, at: int, config: Any = CONFIG) -> tuple[Pipeline, list[Any]]:
    alerts: list[Any] = []
    pipeline = Pipeline(config, alerts.append)
    pipeline.load(meta, arrays)
    pipeline.process(part(retailer(), at, len(retailer())))
    pipeline.finish()
    return pipeline, alerts


def opened(alerts: list[Any]) -> list[Any]:
    return [a["entity"] for a in plain(alerts) if a["status"] == "open"]


@pytest.mark.parametrize("name", ["drip", "enumeration"])  # their bits move those of all that come after
def test_a_detector_that_is_new_begins_anew_and_the_others_go_on(name: str) -> None:
    """In the middle of a theft, which is told of, and nothing that the old program would not have told of.

    What is weak may be left out: with more detectors each has a smaller part of what chance may spend.
    """
    meta, arrays, at, before = saved(without(name), 0.72)
    assert before
    pipeline, alerts = gone_on(meta, arrays, at)
    assert pipeline.anew == [name]
    _, expected = run([retailer()], without(name))
    told = opened(before + alerts)
    assert opened(expected)[0] in told
    assert all(entity in opened(expected) for entity in told)


def test_a_detector_that_is_gone_takes_its_evidence_with_it() -> None:
    meta, arrays, at, _ = saved(CONFIG, 0.75)
    pipeline, alerts = gone_on(meta, arrays, at, without("unissued"))
    assert pipeline.anew == []
    assert all("unissued" not in alert.detectors for alert in alerts)


@pytest.mark.parametrize("change", ["columns", "shape", "missing", "type"])
def test_a_detector_that_keeps_something_else_begins_anew(change: str) -> None:
    meta, arrays, at, _ = saved(CONFIG, 0.3)
    own = next(name for name in arrays if name.startswith("detector.volume/"))
    match change:
        case "columns":
            arrays["table.account/columns.volume"] = np.zeros(len(arrays["table.account/entities"]), np.int64)
        case "shape":
            arrays[own] = np.zeros((*arrays[own].shape[:-1], arrays[own].shape[-1] + 1), arrays[own].dtype)
        case "missing":
            del arrays[own]
        case "type":
            arrays[own] = arrays[own].astype(np.complex64)
    pipeline, _ = gone_on(meta, arrays, at)
    assert pipeline.anew == ["volume"]


def test_what_the_next_tick_tells_anew_may_be_missing() -> None:
    """As in the snapshots of versions that did not keep it."""
    meta, arrays, at, before = saved(CONFIG, 0.72)
    retold = ["detector.volume/fleet", "detector.volume/users", "detector.fan_out/fleet", "detector.fan_out/users"]
    for name in retold:
        del arrays[name]
    pipeline, alerts = gone_on(meta, arrays, at)
    assert pipeline.anew == []
    assert opened(before + alerts) == opened(whole_run()[1])


def test_what_no_version_can_do_without_is_refused() -> None:
    meta, arrays, _, _ = saved(CONFIG, 0.1)
    arrays["table.account/entities"] = np.zeros(3, np.int64)
    with pytest.raises(TriplineError, match="use the version that wrote it"):
        Pipeline(CONFIG, lambda _alert: None).load(meta, arrays)


FORGED: dict[str, Any] = {
    "nothing": lambda meta, _: meta.clear(),
    "a count that is none": lambda meta, _: meta.update(events="7"),
    "a tick before all": lambda meta, _: meta.update(tick=-2),
    "a kind that there is not": lambda meta, _: meta["evidence"].append(EVIDENCE | {"kind": "planet"}),
    "a horizon that there is not": lambda meta, _: meta["evidence"].append(EVIDENCE | {"horizon": 4}),
    "no clock": lambda _, arrays: arrays.pop("clock"),
    "a clock of another form": lambda _, arrays: arrays.update(clock=np.zeros((2, 4), np.int64)),
    "a table without its names": lambda _, arrays: arrays.pop("table.account/index.arena"),
    "a column that is too short": lambda _, arrays: shorten(arrays, "table.account/columns.volume"),
    "entities that are too few": lambda _, arrays: shorten(arrays, "table.account/entities"),
    "a name at the end of the world": lambda _, arrays: arrays["table.account/index.name_start"].fill(2**63 - 1),
    "a generation of ids without room": lambda _, arrays: arrays["ids/tables"].fill(7),
    "ids of another number": lambda _, arrays: arrays["ids/used"].fill(-(2**62)),
}
EVIDENCE: dict[str, Any] = {
    "detector": "volume", "kind": "account", "value": "ann", "feature": 0, "horizon": 0, "time": 1, "bits": 1.0,
    "score": 1.0, "observed": 1.0, "expected": 1.0,
}  # fmt: skip


def shorten(arrays: Columns, name: str) -> None:
    arrays[name] = arrays[name][:-1]


@cache
def early() -> tuple[dict[str, Any], Columns]:
    meta, arrays, _, _ = saved(CONFIG, 0.05)
    return meta, arrays


@pytest.mark.parametrize("forge", FORGED.values(), ids=list(FORGED))
def test_what_a_forger_wrote_is_refused_before_a_compiled_loop_runs_over_it(forge: Any) -> None:
    meta, arrays = copy.deepcopy(early())
    forge(meta, arrays)
    with pytest.raises(TriplineError, match=r"the state is of a version|start with a new state directory"):
        Pipeline(CONFIG, lambda _alert: None).load(meta, arrays)


BEYOND: dict[str, tuple[str, str, int]] = {  # a field of an array of a detector's, and what no loop may look up
    "concurrency": ("table.account/columns.concurrency", "level", 96),
    "volume": ("table.account/columns.volume", "level", 255),
    "drip": ("table.client/columns.drip", "klass", 5),
    "browsing": ("detector.browsing/visits", "slot", 2**31 - 1),
    "unissued": ("detector.unissued/waiting", "slots", 2**31 - 1),
    "exports": ("detector.exports/exporters", "new", 3),
}


@pytest.mark.parametrize("detector", BEYOND)
def test_a_detector_whose_state_points_beyond_its_arrays_begins_anew(detector: str) -> None:
    meta, arrays = copy.deepcopy(early())
    name, field, value = BEYOND[detector]
    if not len(arrays[name]):
        arrays[name] = np.zeros(1, arrays[name].dtype)
    arrays[name][field][-1] = value
    pipeline = Pipeline(CONFIG, lambda _alert: None)
    pipeline.load(meta, arrays)
    assert pipeline.anew == [detector]
    pipeline.finish()


def test_an_incident_of_an_origin_that_there_is_not_is_refused() -> None:
    meta, arrays, _, _ = saved(CONFIG, 0.75)
    incidents = meta["correlator"]["open"] + meta["correlator"]["closed"]
    assert incidents
    incidents[0]["lines"]["9"] = [1, 2]
    with pytest.raises(TriplineError, match="no origins"):
        Pipeline(CONFIG, lambda _alert: None).load(meta, arrays)


def test_a_snapshot_from_before_detectors_were_noted_is_read_as_it_was() -> None:
    meta, arrays, at, before = saved(CONFIG, 0.75)
    del meta["detectors"], meta["since"]
    pipeline, alerts = gone_on(meta, arrays, at)
    expected, told = whole_run()
    assert plain(before + alerts) == told
    assert state(pipeline) == expected


@given(st.lists(st.sampled_from(NAMES), unique=True), st.lists(st.sampled_from(NAMES), unique=True), st.integers(0))
def test_bits_follow_their_detectors(before: list[str], now: list[str], mask: int) -> None:
    mask &= (1 << len(before)) - 1
    moved = Numbers(before, now).mask(mask)
    named = {name for n, name in enumerate(before) if mask >> n & 1}
    assert {name for n, name in enumerate(now) if moved >> n & 1} == named & set(now)
    assert Numbers(before, now).marks(np.array([mask, 0], np.uint16)).tolist() == [moved, 0]


def test_there_are_bits_for_all() -> None:
    assert len(catalog.detector_ids()) <= 16


def test_rows_of_a_trace_that_kept_no_group_are_known() -> None:
    """As the version before kept them; all else of them stays what it was."""
    meta, arrays, *_ = saved(CONFIG, 0.72)
    rows = arrays["trace/rows"]
    before = np.zeros(len(rows), ROW_BEFORE)
    for name in ROW_BEFORE.names or ():
        before[name] = rows[name]
    assert len(before)
    pipeline = Pipeline(CONFIG, lambda _alert: None)
    pipeline.load(meta, {**arrays, "trace/rows": before})
    now = pipeline.trace.rows
    assert all(np.array_equal(now[name], rows[name]) for name in ROW_BEFORE.names or ())
    assert not now["group"].any()
