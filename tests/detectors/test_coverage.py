"""coverage: whose data is read, against whom the group, and everybody, reads anyway."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import catalog
from detectors.base import KINDS
from detectors.catalog.coverage import STRANGER, Coverage
from stream.alerts import Alert
from stream.config import Config
from stream.events import AccessEvent
from tests.detectors.scenes import entities
from tests.streams import DAY_MS, HOUR_MS, START_MS, block, event, part, run, state

DAYS, WARDS, STAFF, BEDS = 26, 8, 8, 40
SINCE = 16
PEOPLE = 4_000  # whom the house knows; a ward has BEDS of them at a time
THIEF, SERVICE = ("account", "nurse-3-3"), "portal"
ONLY = Config(detectors={d: d == "coverage" for d in catalog.detector_ids()}, warmup_h=72.0, tick_s=3_600,
              alerts_per_day_max=3.0)  # fmt: skip


def staff(
    day: int, ward: int, who: int, people: list[int], start_h: float = 7.0, apart_s: int = 600
) -> list[AccessEvent]:
    """What one reads on a day, one person after the other."""
    at = START_MS + day * DAY_MS + int(start_h * HOUR_MS) + who * 60_000
    return [
        event(
            at + n * apart_s * 1_000, f"nurse-{ward}-{who}", resource="/chart", account_kind="employee",
            group=f"ward-{ward}", credential=f"s-{ward}-{who}-{day}", issuer="sso", source_ip=f"10.0.{ward}.{who}",
            subject=f"p-{person}",
        )
        for n, person in enumerate(people)
    ]  # fmt: skip


def house(
    seed: int, days: int = DAYS, absent: tuple[int, int] = (0, 0), others: float = 0.03
) -> list[AccessEvent]:  # fmt: skip
    """Wards whose staff read about fifteen of their own patients a day, two of whom change daily, and seldom others;
    customers who read their own, half of them often, and a service that looks each visitor up. absent: days on which
    half of the customers stay away. others: share of readings that are of anyone."""
    rng = np.random.default_rng(seed)
    events = []
    for day in range(days):
        for ward in range(WARDS):
            for who in range(STAFF):
                if rng.random() < 0.3:
                    continue
                n = int(rng.poisson(15)) + 1
                own = ward * 400 + (day * 2 + rng.integers(0, BEDS, n)) % 400
                anyone = rng.integers(0, PEOPLE, n)
                events += staff(day, ward, who, np.where(rng.random(n) < others, anyone, own).tolist())
        for customer in np.flatnonzero(rng.random(300) < 0.3).tolist():
            if customer % 2 and absent[0] <= day < absent[1]:
                continue
            at = START_MS + day * DAY_MS + int(rng.uniform(8, 20) * HOUR_MS)
            events.append(event(at, f"user-{customer}", resource="/mine"))
            events.append(looked_up(at + 1_000, f"user-{customer}"))
    return events


def looked_up(at: int, subject: str) -> AccessEvent:
    return event(
        at, SERVICE, resource="/profile", account_kind="service", group="platform", credential="key-p", issuer="iam",
        source_ip="10.1.0.1", user_agent="portal/3", subject=subject,
    )  # fmt: skip


def theft(n: int, days: range = range(SINCE, SINCE + 1)) -> list[AccessEvent]:
    """The thief reads n people of all wards on each of these days, in the afternoon."""
    rng = np.random.default_rng(9)
    return [e for day in days for e in staff(day, 3, 3, rng.choice(PEOPLE, n, replace=False).tolist(), 15.0, 300)]


def opened(events: list[AccessEvent]) -> list[Alert]:
    """The alerts that it opens alone."""
    _, alerts = run([block(events)], ONLY)
    return [alert for alert in alerts if alert.status == "open"]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_quiet_house_opens_nothing(seed: int) -> None:
    """Calibration: where three alerts a day are allowed."""
    assert opened(house(seed)) == []


@pytest.mark.parametrize("seed", [1, 2])
def test_a_quiet_house_opens_nothing_beside_those_who_tell_how_much(seed: int) -> None:
    """Whose data is read and how much are joined as two sides."""
    amounts = {d: d in ("coverage", "volume", "fan_out", "drip") for d in catalog.detector_ids()}
    _, alerts = run([block(house(seed))], msgspec.structs.replace(ONLY, detectors=amounts))
    assert [alert for alert in alerts if alert.status == "open"] == []


def test_a_day_of_others_patients_is_found_the_same_day_and_nobody_else_is_accused() -> None:
    (alert,) = opened(house(1) + theft(30))
    assert (alert.entity.kind, alert.entity.value) == THIEF
    assert alert.time < str(np.datetime64(START_MS + (SINCE + 1) * DAY_MS, "ms"))


def test_a_few_every_day_are_found_within_days() -> None:
    """A third more than the own work, where a day alone tells little."""
    assert THIEF in entities(opened(house(1) + theft(5, range(SINCE, SINCE + 9))))


def test_twice_the_own_work_with_the_own_patients_is_not_found() -> None:
    """The evasion that its docstring admits: `drip` and `volume` have to."""
    events = house(1)
    for day in range(SINCE, SINCE + 9):
        events += staff(day, 3, 3, [3 * 400 + (day * 2 + k) % 400 for k in range(0, BEDS, 2)], 15.0, 300)
    assert opened(events) == []


def test_a_ward_that_takes_over_anothers_patients_is_excused() -> None:
    """The benign twin: all of its staff read people who are new to them."""
    events = house(1)
    for day in range(SINCE, SINCE + 4):
        for who in range(STAFF):
            events += staff(day, 3, who, [5 * 400 + (day * 2 + who * 5 + k) % 400 for k in range(8)], 15.0, 300)
    assert opened(events) == []


def test_who_is_new_is_not_judged_in_the_first_days() -> None:
    """The cold start: an account without a group, to which everybody is new."""
    rng, events = np.random.default_rng(3), house(1)
    for day in range(SINCE, DAYS):
        events += [
            event(
                START_MS + day * DAY_MS + (8 * 60 + 20 * n) * 60_000, "new-1", resource="/chart",
                account_kind="employee", credential=f"n-{day}", issuer="sso", subject=f"p-{person}",
            )
            for n, person in enumerate(rng.integers(0, PEOPLE, 20).tolist())
        ]  # fmt: skip
    assert ("account", "new-1") not in entities(opened(events))


def test_a_pass_over_everybody_by_a_service_is_found_by_whom_it_wakes() -> None:
    """Four hundred people whom nobody has asked for in weeks, each once, by the account that reads most."""
    at = START_MS + SINCE * DAY_MS
    walk = [looked_up(at + n * 432_000, f"user-{1_000 + n}") for n in range(400)]
    assert ("account", SERVICE) in entities(opened(house(1) + walk))


def test_customers_who_come_back_all_at_once_accuse_no_one() -> None:
    """The benign twin: half of them stayed away, until a mailing."""
    assert opened(house(1, days=42, absent=(5, 36))) == []


def test_where_the_stream_is_cut_changes_nothing() -> None:
    """Alerts and state, bit for bit."""
    whole = block(house(1, days=20) + theft(30))
    cuts = [0, 1, 777, 3_001, 9_000, len(whole)]
    one, alerts = run([whole], ONLY)
    two, others = run([part(whole, a, b) for a, b in pairwise(cuts)], ONLY)
    assert THIEF in entities(alerts)
    assert [a.id for a in alerts] == [a.id for a in others]
    assert state(one)[1] == state(two)[1]


def test_bits_are_no_more_than_the_frequency_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibration on a quiet house: of all account-days no more than 2^-b show b bits, and some do."""
    shown: list[float] = []
    bits = Coverage.bits

    def noted(self: Coverage, finding: Any) -> tuple[float, float]:
        found = bits(self, finding)
        if finding["kind"] == KINDS.index("account") and finding["feature"] == STRANGER:
            shown.append(found[0])
        return found

    monkeypatch.setattr(Coverage, "bits", noted)
    pipeline, _ = run([block(house(5, others=0.2))], msgspec.structs.replace(ONLY, alerts_per_day_max=1_000.0))
    (detector,) = pipeline.detectors
    windows = detector.save()["days"][:, KINDS.index("account"), :, 0, STRANGER, 0].sum()
    assert windows > 500
    assert shown
    for b in (6.0, 7.0, 8.0):
        assert np.mean(np.array(shown) >= b) * len(shown) / windows <= 2.0 * 2.0**-b + 3.0 / windows


DAY = st.tuples(st.integers(1, 3), st.lists(st.booleans(), min_size=1, max_size=8))


@settings(max_examples=10)
@given(st.lists(DAY, min_size=1, max_size=9))
def test_counts_and_run_are_as_a_plain_twin_has_them(days: list[tuple[int, list[bool]]]) -> None:
    """(days since the last, whether each of the day's readings is of somebody new), one account of one group."""
    twin, at, people = Twin(), START_MS + HOUR_MS, 0
    events: list[AccessEvent] = []
    for active, (gap, readings) in enumerate(days):
        at += gap * DAY_MS
        for n, new in enumerate([True, True, *readings]):
            people += new
            time = at + n * 1_800_000
            latest = f"p-{people}"  # who is known is one of two, and not the one read last
            person = latest if new or events[-1].subject != latest else f"p-{people - 1}"
            events.append(event(time, "a", account_kind="employee", group="g", subject=person))
            twin.take(time // 1_000, new, active < 5)
    pipeline, _ = run([block(events)], msgspec.structs.replace(ONLY, clock_jump_max_s=604_800.0))
    table = pipeline.tables["account"]
    row = table.columns["coverage"][table.slot("a")]
    for name in ("trials", "hits", "day_trials", "day_hits", "long_trials", "long_hits", "run"):
        assert math.isclose(row[name][STRANGER], getattr(twin, name), rel_tol=1e-3, abs_tol=1e-4), name


@dataclass
class Twin:
    """One account without peers, in plain floats."""

    seen: int = 0
    trials: float = 0.0
    hits: float = 0.0
    day_trials: float = 0.0
    day_hits: float = 0.0
    long_trials: float = 0.0
    long_hits: float = 0.0
    run: float = 0.0
    population: tuple[float, float] = (0.0, 0.0)

    def close(self, gap: float, young: bool) -> None:
        n, k = self.day_trials, self.day_hits
        base = (self.population[1] + 0.5) / (self.population[0] + 1.0)
        q = max((self.long_hits + 3.0 * base) / (self.long_trials + 3.0), 0.01)
        expected = min(q + math.sqrt(q * (1.0 - q) / (self.long_trials + 3.0)), 1.0 - 1e-9)
        odds = 3.0 * expected / (1.0 - expected)
        other = odds / (1.0 + odds)  # the share at three times the odds
        gain = k * math.log(other / expected) + (n - k) * math.log((1.0 - other) / (1.0 - expected))
        self.run = 0.0 if young else max(self.run + min(gain / (1.0 + n / 200.0), 3.0), 0.0)
        k = k if young else min(k, n * q + math.sqrt(n * q * (1.0 - q) * (1.0 + n / 200.0)) + 0.5)
        fade = math.exp(-max(gap / 86_400.0, 1.0) / 7.0)
        self.long_trials, self.long_hits = fade * (self.long_trials + n), fade * (self.long_hits + k)
        self.population = (self.population[0] + n, self.population[1] + k)
        self.day_trials = self.day_hits = 0.0

    def take(self, now: int, hit: bool, young: bool) -> None:
        if self.seen and now // 86_400 != self.seen // 86_400:
            self.close(float(now - self.seen), young)
        fade = math.exp(-(now - self.seen) / 86_400.0) if self.seen else 0.0
        self.trials, self.hits, self.seen = fade * self.trials + 1.0, fade * self.hits + hit, now
        self.day_trials, self.day_hits = self.day_trials + 1.0, self.day_hits + hit
