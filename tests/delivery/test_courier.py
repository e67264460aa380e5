"""The courier: every alert arrives in its order, and how it waits in between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.alerts import Alert, EntityRef
from stream.delivery.courier import BREAKER_FAILURES, Courier
from stream.delivery.route import wanted
from stream.subscribers import Common, Failed
from tests.delivery.test_subscribers import Given
from tests.encode.alerts import alerts
from tests.pages import alert

FIRST_S, MAX_S = 1.0, 300.0
Attempt = Failed | None


class Scripted:
    """A sender that fails as it is told."""

    def __init__(self, script: Sequence[Attempt]) -> None:
        self._script = list(script)
        self.accepted: list[int] = []

    async def send(self, alert: Alert) -> None:
        if self._script and (failure := self._script.pop(0)) is not None:
            raise failure
        self.accepted.append(alert.revision)

    async def close(self) -> None:
        pass


def played(script: Sequence[Attempt], count: int) -> tuple[Courier, list[int], list[float]]:
    """Deliver so many alerts; who accepted them, and the waits between."""
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    sender = Scripted(script)
    log = Given([alert(revision=n) for n in range(count)])
    common = Common(name="soc", kind="test", retry_first_s=FIRST_S, retry_max_s=MAX_S)
    courier = Courier(common, sender, log, pause=pause)
    asyncio.run(courier.run())
    assert log.places == list(range(count))
    return courier, sender.accepted, waits


failures = st.sampled_from(["timeout", "connection", "server_error", "denied"]).map(Failed)
refusals = st.builds(Failed, st.just("refused"), final=st.just(True))


@settings(max_examples=50)
@given(st.lists(st.one_of(failures, refusals, st.none()), max_size=30), st.integers(0, 8))
def test_each_is_accepted_once_in_order_or_refused_for_good(script: list[Attempt], count: int) -> None:
    courier, accepted, _ = played(script, count)
    assert accepted == sorted(set(accepted))
    assert len(accepted) + courier.tally.results["refused"] == count
    assert courier.tally.results["delivered"] == len(accepted)


@settings(max_examples=50)
@given(st.integers(1, 20))
def test_it_waits_longer_each_time_and_not_for_ever(count: int) -> None:
    """Between a half and the whole of a time that doubles, and of the longest once the circuit is open."""
    courier, accepted, waits = played([Failed("timeout")] * count, 1)
    assert accepted == [0]
    for n, seconds in enumerate(waits, 1):
        longest = MAX_S if n >= BREAKER_FAILURES else FIRST_S * 2 ** (n - 1)
        assert longest / 2 <= seconds <= longest
    assert not courier.tally.broken


def test_couriers_do_not_come_back_at_once() -> None:
    assert len({played([Failed("timeout")], 1)[2][0] for _ in range(20)}) > 10


def test_who_asks_for_time_is_given_it() -> None:
    _, _, waits = played([Failed("busy", after_s=77.0)], 1)
    assert waits == [77.0]


def test_the_circuit_is_open_until_an_attempt_succeeds() -> None:
    seen = []

    async def play() -> None:
        script = [Failed("timeout")] * (BREAKER_FAILURES + 1)
        courier = Courier(
            Common(name="soc", kind="test"), Scripted(script), Given([alert()]), pause=lambda _s: look(),
        )  # fmt: skip

        async def look() -> None:
            seen.append(courier.tally.broken)

        await courier.run()
        seen.append(courier.tally.broken)

    asyncio.run(play())
    assert seen == [False] * (BREAKER_FAILURES - 1) + [True, True, False]


# Routes


def common(**fields: object) -> Common:
    return msgspec.convert({"name": "soc", "kind": "test"} | fields, Common)


@settings(max_examples=50)
@given(alerts)
def test_without_a_route_everything_is_for_everybody(alert: Alert) -> None:
    assert wanted(common(), alert)


def test_a_route_is_by_severity_detector_kind_of_entity_and_group() -> None:
    told = alert(related=(EntityRef("group", "support"),))
    for fields, expected in (
        ({"severity_min": "high"}, True),
        ({"severity_min": "critical"}, False),
        ({"detectors": ("drip", "volume")}, True),
        ({"detectors": ("drip",)}, False),
        ({"entity_kinds": ("account",)}, True),
        ({"entity_kinds": ("source",)}, False),
        ({"groups": ("support",)}, True),
        ({"groups": ("sales",)}, False),
        ({"severity_min": "high", "detectors": ("drip",)}, False),
    ):
        assert wanted(common(**fields), told) == expected, fields


def test_what_goes_elsewhere_is_passed_over() -> None:
    log = Given([alert(severity="low"), alert(severity="critical", revision=2)])
    sender = Scripted([])
    courier = Courier(common(severity_min="high"), sender, log)
    asyncio.run(courier.run())
    assert sender.accepted == [2]
    assert courier.tally.results == {"elsewhere": 1, "delivered": 1}
