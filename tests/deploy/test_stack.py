"""From an event on a topic to a person: the processes, the configuration and the order of deploy/compose.yaml."""

from __future__ import annotations

import os
import subprocess
from urllib.request import urlopen

from tests.deploy.programs import program
from tests.deploy.stack import DEPLOY, TRIPLINE, Stack


def test_a_theft_is_found_told_measured_and_the_pager_called(stack: Stack) -> None:
    """The alert is on the topic, its metrics in Prometheus, and since it is late, somebody was called about that."""
    opened = {alert["id"]: alert for alert in stack.alerts() if alert["severity"] == "critical"}
    assert opened
    assert any("unissued" in a["detectors"] or "first_seen" in a["detectors"] for a in opened.values())
    (told,) = stack.query('sum(tripline_alerts_total{job="tripline-respond",severity="critical"})')
    assert float(told["value"][1]) >= len(opened)
    pages = [alert for page in stack.pager.pages for alert in page["alerts"]]
    assert "TriplineAlertsLate" in {page["labels"]["alertname"] for page in pages}
    assert {page["labels"]["severity"] for page in pages} == {"page"}


def test_the_metrics_of_processes_that_work_are_well_formed_and_name_nobody(stack: Stack) -> None:
    """No account, address, token or key of any event is in a label."""
    for name in ("worker", "respond"):
        with urlopen(f"{stack.url(name)}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        done = subprocess.run(
            [program("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        for alert in stack.alerts():
            for entity in (alert["entity"], *alert["related"]):
                assert entity["kind"] in ("fleet", "resource") or entity["value"] not in text


def test_an_incident_is_not_played_to_a_topic_that_is_not_there(stack: Stack) -> None:
    done = subprocess.run(
        [TRIPLINE, "replay", "--topic", "nowhere", "--accounts", "500", "--config", str(DEPLOY / "demo.toml")],
        env=os.environ | {"TRIPLINE_KAFKA__BOOTSTRAP_SERVERS": stack.bootstrap},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "topic nowhere is missing: create it, or name another with --topic" in done.stderr
