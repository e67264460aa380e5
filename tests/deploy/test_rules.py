"""Every alerting rule fires where a person has to come and stays silent where none has, and has its runbook."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.deploy.programs import program

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
RULES: Final = DEPLOY / "prometheus/rules/tripline.yml"

Series = dict[str, str]


@dataclass(frozen=True)
class Case:
    """Series under which an alert fires `at` some minutes with these labels, and its twin under which it does not.

    Series are in promtool's notation: "0+300x60" is 0, 300, 600, ... at one a minute.
    """

    fires: Series
    silent: Series
    at: int
    labels: Series = field(default_factory=dict)


WORKER: Final = 'job="tripline-worker",instance="w"'
RESPOND: Final = 'job="tripline-respond",instance="r"'
EVENTS: Final = {f"tripline_events_total{{{WORKER}}}": "0+6000x2000"}
STREAM: Final = f"tripline_stream_time_seconds{{{WORKER}}}"
LAG: Final = f'tripline_lag_records{{{WORKER},group="ingest"}}'
FEED: Final = f'tripline_feed_record_timestamp_seconds{{{WORKER},feed="logins"}}'
SNAPSHOT: Final = f'tripline_snapshot_age_seconds{{{WORKER},partition="3"}}'
DETECTED: Final = {f'tripline_records_total{{{WORKER},group="detect"}}': "0+60x60"}
INGESTED: Final = {f'tripline_records_total{{{WORKER},group="ingest"}}': "0+1000x60"}
DEAD: Final = f'tripline_dead_letters_total{{{WORKER},reason="not_json"}}'
REPEATS: Final = f'tripline_dead_letters_total{{{WORKER},reason="duplicate_id"}}'
RSS, LIMIT = (f"tripline_{name}_bytes{{{WORKER}}}" for name in ("process_resident_memory", "memory_limit"))
HELD: Final = f'tripline_alerts_held_back_total{{{RESPOND},reason="budget"}}'
FOUND, EVERY = (
    f"tripline_selftest_{name}_seconds{{{RESPOND}}}" for name in ("detected_timestamp", "interval")
)  # fmt: skip
LEARNED: Final = f'tripline_learned_windows_total{{{WORKER},detector="drip"}}'
OVERFLOWED: Final = f'tripline_entities_overflowed_total{{{WORKER},kind="account"}}'
REBALANCES: Final = f'tripline_rebalances_total{{{WORKER},group="detect"}}'


def delays(within_300_s: str, all_of_them: str) -> Series:
    """Of the histogram of delays two bounds, which is all that the question needs."""
    bucket = f"tripline_alert_delay_seconds_bucket{{{RESPOND},le="
    return {
        f'{bucket}"300.0"}}': within_300_s, f'{bucket}"1800.0"}}': all_of_them, f'{bucket}"+Inf"}}': all_of_them
    }  # fmt: skip


CASES: Final[dict[str, Case]] = {
    "TriplineDown": Case(
        fires={f"up{{{WORKER}}}": "1x5 0x30"}, silent={f"up{{{WORKER}}}": "1x5 0x1 1x30"}, at=12,
        labels={"job": "tripline-worker", "instance": "w"},
    ),
    "TriplineNobodyResponds": Case(
        fires={f"up{{{RESPOND}}}": "0x20"}, silent={f"up{{{RESPOND}}}": "0x20", 'up{job="tripline-respond"}': "1x20"},
        at=10,
    ),
    "TriplineAlertsLate": Case(  # nine of ten in time are too few, and all of them are enough
        fires=delays("0+9x60", "0+10x60"), silent=delays("0+10x60", "0+10x60"), at=60
    ),
    "TriplineStreamBehind": Case(  # by eight minutes; a night without events is no backlog
        fires={STREAM: "-480+60x60", **EVENTS}, silent={STREAM: "-480+60x60", **dict.fromkeys(EVENTS, "0x60")}, at=30
    ),
    "TriplineLagGrowing": Case(  # one that is worked off is none
        fires={LAG: "20000+900x60"}, silent={LAG: "200000-900x60"}, at=40, labels={"group": "ingest"}
    ),
    "TriplineFeedSilent": Case(  # a worker that was started again has no series of a feed that says nothing
        fires={FEED: "0+60x30 _x60"}, silent={FEED: "0+60x90"}, at=50, labels={"feed": "logins"}
    ),
    "TriplineDeadLetters": Case(  # repeats are left out by design, and are no loss
        fires={DEAD: "0+20x60", **INGESTED}, silent={DEAD: "0+5x60", REPEATS: "0+500x60", **INGESTED}, at=30
    ),
    "TriplineSnapshotOld": Case(  # nothing new, nothing to keep
        fires={SNAPSHOT: "0+60x60", **DETECTED}, silent={SNAPSHOT: "0+60x60", **dict.fromkeys(DETECTED, "5x60")},
        at=40, labels={"partition": "3", "job": "tripline-worker", "instance": "w"},
    ),
    "TriplineMemoryNearLimit": Case(
        fires={RSS: "90x60", LIMIT: "100x60"}, silent={RSS: "80x60", LIMIT: "100x60"}, at=30,
        labels={"job": "tripline-worker", "instance": "w"},
    ),
    "TriplineEntitiesFull": Case(
        fires={OVERFLOWED: "0x10 1+1x60"}, silent={OVERFLOWED: "7x70"}, at=40, labels={"kind": "account"}
    ),
    "TriplineSelfTestUnseen": Case(  # without self-tests there is none to see
        fires={FOUND: "0+60x10 600x60", EVERY: "900x60"}, silent={FOUND: "0x60", EVERY: "0x60"}, at=59
    ),
    "TriplineBudgetExhausted": Case(
        fires={HELD: "4x10 5x60"}, silent={HELD: "4x70", HELD.replace("respond", "worker"): "0+1x70"}, at=30
    ),
    "TriplineModelStoppedLearning": Case(  # day by day is learning too
        fires={LEARNED: "0+10x60 600x2000", **EVENTS}, silent={LEARNED: "0x1439 900x600", **EVENTS}, at=1740,
        labels={"detector": "drip"},
    ),
    "TriplineRebalancing": Case(
        fires={REBALANCES: "0+1x60"}, silent={REBALANCES: "0x10 2x50"}, at=40,
        labels={"instance": "w", "group": "detect"},
    ),
}  # fmt: skip


def alerts() -> dict[str, str]:
    """Each alert of the rules and its severity."""
    found = re.findall(r"- alert: (\w+)\n(?:.*\n)*?\s+labels: \{severity: (\w+)\}", RULES.read_text())
    return dict(found)


def test_every_alert_has_a_case_and_a_section_in_the_runbook() -> None:
    named = set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    assert named == set(alerts()) == set(CASES)
    assert set(alerts().values()) == {"page", "ticket"}
    assert set(re.findall(r"^## (\w+)$", (DEPLOY / "RUNBOOK.md").read_text(), re.MULTILINE)) == named
    assert re.findall(r"runbook_url: (\S+)", RULES.read_text()) == [
        f"deploy/RUNBOOK.md#{name.lower()}" for name in alerts()
    ]


def unit(name: str, case: Case, fires: bool) -> dict[str, Any]:
    """One test in promtool's form; annotations are not compared: promtool wants all of them or none."""
    series = case.fires if fires else case.silent
    at = f"{case.at}m"
    labels = {"severity": alerts()[name], "alertname": name, **case.labels}
    inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
    asked = f'count by ({",".join(labels)}) (ALERTS{{alertstate="firing",alertname="{name}"}})'
    return {
        "interval": "1m",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "promql_expr_test": [
            {"expr": asked, "eval_time": at, "exp_samples": [{"labels": f"{{{inside}}}", "value": 1}] if fires else []}
        ],
    }


@pytest.mark.parametrize("fires", [True, False], ids=["fires", "silent"])
def test_alerts_fire_and_stay_silent(tmp_path: Path, fires: bool) -> None:
    units = [unit(name, case, fires) for name, case in CASES.items()]
    path = tmp_path / "unit.yml"  # JSON is YAML
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": units}))
    done = subprocess.run([program("promtool"), "test", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_and_alertmanager_take_the_configuration() -> None:
    for command in (
        ("promtool", "check", "config", "deploy/prometheus/prometheus.yml"),
        ("amtool", "check-config", "deploy/alertmanager/alertmanager.yml"),
    ):
        done = subprocess.run(
            [program(command[0]), *command[1:]], capture_output=True, text=True, check=False, cwd=DEPLOY.parent
        )
        assert done.returncode == 0, done.stdout + done.stderr
