"""Keyed state: what a touch says is what was known just before, and forgetting takes least evidence and no suspect."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import DAY_MS, HORIZONS_S, HOUR_MS, Array
from stream import state
from stream.keys import ABSENT, OVERFLOW
from stream.siphash import hash_column, hash_key
from stream.state import FILL_AFTER, FILL_MAX, Table
from stream.texts import Packed

KEY = hash_key("k")
START = 1_700_000_000_000
COLUMNS = {"volume": np.dtype([("sum", np.float32, (2, 2)), ("level", np.uint8)])}


def touch(table: Table, names: list[str], times: list[int]) -> Array:
    tables = {table.kind: table, "fleet": Table("fleet", 0, KEY, COLUMNS)}
    hashes, time = hash_column(names, KEY)[None], np.array(times, np.int64)
    return state.touch(tables, hashes, [Packed.of(names)], time)[table.kind]


def spread(table: Table, names: list[str], at: int = START) -> Array:
    return touch(table, names, [at] * len(names))


@dataclass
class Twin:
    """One entity, in plain Python."""

    seen: int = 0
    born: int = 0
    hours: int = 0
    days: int = 0
    events: float = 0.0

    def touch(self, now: int) -> dict[str, float]:
        """What was known before the event; then the event is learned."""
        fresh = self.seen == 0
        before = now if fresh else self.seen
        if fresh:
            self.born = now // 1000
        opens = [fresh or now // unit != before // unit for unit in (HOUR_MS, DAY_MS)]
        self.hours += opens[0] and not fresh
        self.days += opens[1] and not fresh
        decay = [math.exp(-(now - before) / 1000.0 / s) for s in HORIZONS_S]
        self.events = self.events * decay[1] + 1.0
        self.seen = now
        return {
            "before": before, "fresh": fresh, "opens0": opens[0], "opens1": opens[1], "decay0": decay[0],
            "decay1": decay[1], "active0": self.hours, "active1": self.days,
            "age_h": (now // 1000 - self.born) / 3600.0,
        }  # fmt: skip


GAPS = st.integers(0, 1_000) | st.integers(0, 3 * HOUR_MS) | st.integers(0, 20 * DAY_MS) | st.just(HOUR_MS)
EVENTS = st.lists(st.tuples(GAPS, st.integers(0, 6)), max_size=40)


@given(EVENTS, st.lists(st.integers(0, 40), max_size=4))
def test_a_touch_says_what_was_known_just_before(events: list[tuple[int, int]], cuts: list[int]) -> None:
    """As the twin on every event, wherever batches are cut and the table is saved and loaded; the last of six names
    finds no room and is the overflow entity, so that no event that names an entity is without one."""
    names = [f"e{e}" if e else "" for _, e in events]
    times = (START + np.cumsum([gap for gap, _ in events], dtype=np.int64)).tolist()
    table, twins = Table("account", 5, KEY, COLUMNS), dict[int, Twin]()
    edges = [0, *sorted(cuts), len(events)]
    for a, b in pairwise(edges):
        out = touch(table, names[a:b], times[a:b])
        for row, name, now in zip(out, names[a:b], times[a:b], strict=True):
            slot = int(row["slot"])
            assert slot == (table.slot(name) if name and table.slot(name) != ABSENT else OVERFLOW if name else ABSENT)
            if slot != ABSENT:
                for field, expected in twins.setdefault(slot, Twin()).touch(now).items():
                    got = row[field] if field in row.dtype.names else row[field[:-1]][int(field[-1])]
                    assert math.isclose(got, expected, rel_tol=1e-6, abs_tol=1e-37), field
        saved = {name: array.copy() for name, array in table.save().items()}
        table = Table("account", 5, KEY, COLUMNS)
        table.load(saved)
        assert len(table) <= 5
    for slot, twin in twins.items():
        entity = table.entities[slot]
        assert (entity["seen"], entity["born"], *entity["active"]) == (twin.seen, twin.born, twin.hours, twin.days)
        assert math.isclose(entity["events"], twin.events, rel_tol=1e-5)


def test_the_fleet_is_one_entity_that_needs_no_name() -> None:
    table, other = Table("fleet", 0, KEY, COLUMNS), Table("account", 9, KEY, COLUMNS)
    names = ["", "a", "b"]
    hashes, time = hash_column(names, KEY)[None], np.full(3, START)
    out = state.touch({"account": other, "fleet": table}, hashes, [Packed.of(names)], time)["fleet"]
    assert out["slot"].tolist() == [0, 0, 0]
    assert out["fresh"].tolist() == [1, 0, 0]
    assert (table.name(0), table.slot("anything")) == ("fleet", 0)
    assert table.evict(START).tolist() == []


def evidence(entity: np.void, now: int) -> float:
    """As the documentation has it: active hours and days, a day worth eight hours, halved by every idle week."""
    hours, days = entity["active"].tolist()
    return float((1.0 + hours + 8.0 * days) * 2.0 ** (-(now - int(entity["seen"])) / DAY_MS / 7.0))


@settings(max_examples=60)
@given(st.data())
def test_eviction_forgets_least_evidence_first_and_never_a_suspect(data: st.DataObject) -> None:
    limit = data.draw(st.integers(20, 60))
    table = Table("account", limit, KEY, COLUMNS)
    names = [f"n{i}" for i in range(data.draw(st.integers(1, limit + 10)))]
    slots = np.unique(spread(table, names)["slot"])
    slots = slots[slots != OVERFLOW]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    table.entities["active"][slots] = rng.integers(0, 30, (len(slots), 2))
    table.entities["seen"][slots] = START - rng.integers(0, 60 * DAY_MS, len(slots))
    table.entities["suspect"][slots] = rng.random(len(slots)) < data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    table.columns["volume"]["level"][slots] = 7
    before, kept_names = table.entities.copy(), {int(s): table.name(int(s)) for s in slots}
    now = START + DAY_MS
    victims = table.evict(now)
    kept = np.setdiff1d(slots, victims)
    if len(slots) <= FILL_MAX * limit:
        assert len(victims) == 0
    else:
        assert len(kept) == max(int(FILL_AFTER * limit), int((before["suspect"][slots] != 0).sum()))
    assert not before["suspect"][victims].any()
    spared = [evidence(before[s], now) for s in kept if not before[s]["suspect"]]
    assert max((evidence(before[s], now) for s in victims), default=0.0) <= min(spared, default=math.inf) * (1 + 1e-12)
    assert {int(s): table.name(int(s)) for s in kept} == {s: n for s, n in kept_names.items() if s in kept}
    assert all(table.slot(kept_names[int(s)]) == ABSENT for s in victims)
    assert (table.entities[victims] == np.zeros(1, table.entities.dtype)).all()
    assert not table.columns["volume"]["level"][victims].any()
    assert (table.columns["volume"]["level"][kept] == 7).all()
    assert (table.evicted, len(table)) == (len(victims), len(kept))


def test_a_slot_that_changes_hands_starts_anew() -> None:
    table = Table("account", 20, KEY, COLUMNS)
    spread(table, [f"n{i}" for i in range(20)])
    table.columns["volume"]["sum"][:] = 3.0
    victims = table.evict(START)
    out = spread(table, [f"m{i}" for i in range(len(victims))], START + HOUR_MS)
    assert set(out["slot"]) == set(victims)
    assert out["fresh"].all()
    assert not table.columns["volume"]["sum"][victims].any()


def test_the_limit_holds_and_what_finds_no_room_is_scored_as_overflow() -> None:
    table = Table("source", 10, KEY, COLUMNS)
    out = spread(table, [f"n{i}" for i in range(100)])
    assert (len(table), table.index.overflowed) == (10, 90)
    assert (out["slot"][10:] == OVERFLOW).all()
    assert len(table.entities) == table.index.capacity >= 11
    assert table.entities[OVERFLOW]["events"] == 90.0
    assert table.name(OVERFLOW) == "(overflow)"


def test_many_batches_keep_names_and_columns_in_step_and_the_size_as_stated() -> None:
    table = Table("account", 4_000, KEY, COLUMNS)
    for start in range(0, 4_000, 37):
        names = [f"user-{i}" for i in range(start, min(start + 37, 4_000))]
        slots = spread(table, names)["slot"]
        table.columns["volume"]["sum"][slots, 0, 0] = np.arange(start, start + len(names))
    for i in range(0, 4_000, 199):
        slot = table.slot(f"user-{i}")
        assert table.name(slot) == f"user-{i}"
        assert table.columns["volume"]["sum"][slot, 0, 0] == i
    names_kb = sum(len(f"user-{i}") for i in range(4_000))
    assert table.nbytes() <= 1.5 * (table.row_bytes() * 4_000 + names_kb) + 4_096


@pytest.mark.parametrize("writable", [True, False])
def test_what_is_loaded_is_taken_over_and_copied_only_where_it_cannot_be_written_to(writable: bool) -> None:
    """Or to go on from ten gigabytes would take twenty; and either way it goes on as the one that was saved."""
    first, second = (Table("account", 100, KEY, COLUMNS) for _ in range(2))
    spread(first, [f"user-{i}" for i in range(40)])
    arrays = {name: array.copy() for name, array in first.save().items()}
    for array in arrays.values():
        array.setflags(write=writable)
    second.load(arrays)
    big = ("entities", "columns.volume", "index.owner", "index.arena")
    shared = [np.shares_memory(arrays[name], held) for name, held in second.save().items() if name in big]
    assert shared == [writable] * len(big)
    for table in (first, second):
        spread(table, [f"user-{i}" for i in range(60)], START + 1)
    assert all(np.array_equal(array, second.save()[name]) for name, array in first.save().items())


def test_a_touch_of_nobody_and_an_empty_batch_leave_no_trace() -> None:
    table = Table("account", 5, KEY, COLUMNS)
    assert len(touch(table, [], [])) == 0
    out = spread(table, ["", ""])
    assert (out["slot"] == ABSENT).all()
    assert not out["opens"].any()
    assert not table.entities["seen"].any()


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_a_tiny_table_works_too(limit: int) -> None:
    table = Table("account", limit, KEY, COLUMNS)
    for i in range(40):
        spread(table, [f"n{i}"], START + i)
        table.evict(START + i)
        assert len(table) <= limit
