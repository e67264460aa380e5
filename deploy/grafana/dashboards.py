"""The two dashboards, one line a panel; run it to write analyst.json and operator.json beside it.

    python deploy/grafana/dashboards.py

A panel is its title, the kind of picture, the unit, and queries with their legends. Widths are of 24 columns; panels of
a row stand side by side.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WORKER, RESPOND = 'job="tripline-worker"', 'job="tripline-respond"'
OPENED = f'tripline_alerts_total{{{RESPOND},status="open"}}'
RED, AMBER, GREEN = "red", "orange", "green"


@dataclass(frozen=True)
class Panel:
    """limits: values from which it is amber and red; falling where they are reached from above."""

    title: str
    says: str  # what a person is to read from it
    queries: tuple[tuple[str, str], ...]  # legend, expression
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    limits: tuple[float, float] | None = None


def stat(title: str, says: str, query: str, unit: str = "short", limits: tuple[float, float] | None = None) -> Panel:
    """One number now."""
    return Panel(title, says, (("", query),), unit, "stat", 4, limits)


def graph(title: str, says: str, *queries: tuple[str, str], unit: str = "short", width: int = 8) -> Panel:
    """Lines over time."""
    return Panel(title, says, queries, unit, "timeseries", width)


def bars(title: str, says: str, *queries: tuple[str, str], unit: str = "short", width: int = 8) -> Panel:
    """One bar for each, now."""
    return Panel(title, says, queries, unit, "bargauge", width)


def quantiles(metric: str, by: str, labels: str = "") -> tuple[tuple[str, str], ...]:
    """Median and 95th percentile of a histogram."""
    legend = f" {{{{{by}}}}}" if by else ""
    grouped = f"le, {by}" if by else "le"
    return tuple(
        (
            f"{name}{legend}",
            f"histogram_quantile({q}, sum by ({grouped}) (rate({metric}_bucket{labels}[$__rate_interval])))",
        )
        for name, q in (("half within", 0.5), ("95 % within", 0.95))
    )  # fmt: skip


ANALYST: dict[str, list[Panel]] = {
    "Alerts": [
        stat("Opened", "Incidents that were told in the time shown.", f"sum(increase({OPENED}[$__range]))"),
        stat("Open now", "Incidents that are not closed.", f"sum(tripline_incidents_open{{{RESPOND}}})"),
        stat("Left of the budget", "Alerts that may be opened now; a day fills it to alerts_per_day_max.",
             f"min(tripline_alert_budget_left{{{RESPOND}}})", limits=(2, 1)),
        stat("Told to nobody", "Incidents held back in the time shown: the budget was spent.",
             f'sum(increase(tripline_alerts_held_back_total{{{RESPOND}}}[$__range]))', limits=(1, 10)),
        stat("Told within", "95 in 100 alerts of the last hour came within this time of the access.",
             "tripline:alert_delay_seconds:p95_1h or vector(0)", "s", (120, 300)),
        stat("Warm-up left", "Until this much of the log has gone by, no alert is opened.",
             "max(tripline_warmup_seconds_left)", "s", (1, 86_400)),
        graph("Opened by severity", "Alerts opened in the hour before.",
              ("{{severity}}", f"sum by (severity) (increase({OPENED}[1h]))")),
        bars("Opened by detector", "Alerts that rest on a finding of the detector, in the time shown.",
             ("{{detector}}", f"sum by (detector) (increase(tripline_detector_alerts_total{{{RESPOND}}}[$__range]))")),
        graph("Evidence near the threshold",
              "Entities whose strongest evidence is this many bits below the threshold, or less.",
              ("within {{below_bits}} bits", "sum by (below_bits) (tripline_evidence_entities)")),
        graph("What it takes to open an alert", "Rises as the budget is spent: log2 of the days that chance needs.",
              ("threshold", f"max(tripline_alert_threshold_score{{{RESPOND}}})")),
        graph("Held back", "Incidents of a partition, and merged ones, that opened no alert, in the hour before.",
              ("{{job}} {{reason}}", "sum by (job, reason) (increase(tripline_alerts_held_back_total[1h]))")),
        graph("Self-tests", "Marked thefts of our own in the hour before: each that is sent should be found.",
              ("sent", "sum(increase(tripline_selftests_sent_total[1h]))"),
              ("found", "sum(increase(tripline_selftests_detected_total[1h]))")),
        graph("Time to detection of the self-test", "What a thief would have had, at least.",
              *quantiles("tripline_selftest_detection_seconds", ""), unit="s"),
        graph("From access to alert", "How long after the access that it rests on an alert is told.",
              *quantiles("tripline_alert_delay_seconds", "", f"{{{RESPOND}}}"), unit="s"),
    ],
    "What is watched": [
        graph("Events by feed", "A feed that falls to nothing is not watched.",
              ("{{feed}}", "sum by (feed) (rate(tripline_ingested_events_total[$__rate_interval]))"), unit="eps"),
        graph("Silence by feed", "Time since the newest record of the feed.",
              ("{{feed}}", "tripline:feed_silence_seconds"), unit="s"),
        graph("Age of the newest event by feed", "A feed may speak and yet tell only of the past.",
              ("{{feed}}", "time() - max by (feed) (tripline_feed_event_timestamp_seconds)"), unit="s"),
    ],
    "What is known": [
        bars("Families that can judge", "Kinds of entities and windows with enough history, by detector.",
             ("{{detector}}", "sum by (detector) (tripline_calibrated_families)")),
        graph("Learned", "Windows an hour that enter a detector's idea of what is usual.",
              ("{{detector}}", "sum by (detector) (rate(tripline_learned_windows_total[$__rate_interval])) * 3600")),
        graph("Entities known", "Newcomers are cold starts: judged by their peers until they have a past.",
              ("{{kind}}", 'sum by (kind) (tripline_entities{kind!="fleet"})')),
    ],
}  # fmt: skip

OPERATOR: dict[str, list[Panel]] = {
    "Is it well": [
        stat("Processes up", "Of those that Prometheus knows.", 'sum(up{job=~"tripline-.+"})'),
        stat("Rules that fire", "Each has a section in the runbook.",
             'count(ALERTS{alertstate="firing",alertname=~"Tripline.+"}) or vector(0)', limits=(1, 3)),
        stat("Events", "Scored a second.", "tripline:events:rate5m", "eps"),
        stat("Behind", "What is scored now happened this long ago.", "max(tripline:stream_lag_seconds)", "s",
             (120, 300)),
        stat("Lag", "Records that wait, of all partitions.", "sum(tripline:lag_records)", limits=(10_000, 100_000)),
        stat("Memory", "Of the limit, of the process closest to it.", "max(tripline:memory:ratio)", "percentunit",
             (0.7, 0.85)),
    ],
    "Throughput": [
        graph("Ingested and scored", "The two go together, but for a moment.",
              ("ingested", "sum(rate(tripline_ingested_events_total[$__rate_interval]))"),
              ("scored", "sum(rate(tripline_events_total[$__rate_interval]))"), unit="eps"),
        graph("Lag by group", "Records that wait.", ("{{group}}", "tripline:lag_records")),
        graph("Lag in time by group", "Age of the newest record taken in while more wait.",
              ("{{group}}", "max by (group) (tripline_lag_seconds)"), unit="s"),
        graph("Time by stage", "Seconds of work a second; one is a core.",
              ("{{stage}}", "sum by (stage) (rate(tripline_stage_seconds_total[$__rate_interval]))"), unit="s"),
        graph("Batch time", "Transaction included.", *quantiles("tripline_batch_seconds", "group"), unit="s"),
        graph("Stream lag", "How far the partition farthest behind is behind the wall clock.",
              ("behind", "tripline:stream_lag_seconds"), unit="s"),
    ],
    "Records": [
        graph("Dead letters by reason", "What cannot be read is not watched.",
              ("{{reason}}", "sum by (reason) (rate(tripline_dead_letters_total[$__rate_interval]))"), unit="cps"),
        graph("Late, repeated, ahead of time", "Counted, never dropped without a word.",
              ("late", "sum(rate(tripline_late_events_total[$__rate_interval]))"),
              ("repeated", "sum(rate(tripline_duplicates_total[$__rate_interval]))"),
              ("ahead", "sum(rate(tripline_future_events_total[$__rate_interval]))"), unit="eps"),
        graph("Signals", "From the partitions to the alert plane.",
              ("sent", "sum(rate(tripline_signals_sent_total[$__rate_interval]))"),
              ("taken in", "sum(rate(tripline_signals_total[$__rate_interval]))"), unit="cps"),
    ],
    "Partitions and state": [
        graph("Partitions by worker", "Who works on how many.",
              ("{{instance}} {{group}}", "sum by (instance, group) (tripline_partitions)")),
        graph("Rebalances and recoveries", "In the hour before.",
              ("rebalances {{group}}", "sum by (group) (increase(tripline_rebalances_total[1h]))"),
              ("recoveries {{group}}", "sum by (group) (increase(tripline_recoveries_total[1h]))")),
        graph("Recovery", "Time to open the partition that took longest.",
              ("{{group}}", "max by (group) (tripline_recovery_seconds)"), unit="s"),
        graph("Snapshot age", "What a restart would have to read back.",
              ("partition {{partition}}", "max by (partition) (tripline_snapshot_age_seconds)"), unit="s"),
        graph("Snapshot size", "The latest file, and all that a restart would read; of that twice as much is on disk.",
              ("partition {{partition}}", "max by (partition) (tripline_snapshot_bytes)"),
              ("all of {{partition}}", "max by (partition) (tripline_snapshot_chain_bytes)"), unit="bytes"),
        graph("Snapshot time", "How long the latest one took.",
              ("partition {{partition}}", "max by (partition) (tripline_snapshot_seconds)"), unit="s"),
    ],
    "Memory": [
        graph("Memory by process", "Resident, and the limit.",
              ("{{job}} {{instance}}", "tripline_process_resident_memory_bytes"),
              ("limit", "min(tripline_memory_limit_bytes)"), unit="bytes"),
        graph("State by kind", "Bytes of keyed state in use.",
              ("{{kind}}", "sum by (kind) (tripline_state_bytes)"), unit="bytes"),
        graph("Room for entities", "Share of the limit that is taken.",
              ("{{kind}}", "sum by (kind) (tripline_entities) / (sum by (kind) (tripline_entities_max) > 0)"),
              unit="percentunit"),
        graph("Entities by kind", "That are kept.", ("{{kind}}", "sum by (kind) (tripline_entities)")),
        graph("Forgotten", "Evicted for want of room, a second.",
              ("{{kind}}", "sum by (kind) (rate(tripline_entities_evicted_total[$__rate_interval]))"), unit="cps"),
        graph("Found no room", "Events of entities that share one baseline; what a detector did not judge; a second.",
              ("{{kind}}", "sum by (kind) (rate(tripline_entities_overflowed_total[$__rate_interval]))"),
              ("{{detector}}", "sum by (detector) (rate(tripline_detector_overflowed_total[$__rate_interval]))"),
              unit="eps"),
    ],
    "Alert plane": [
        graph("Faust's messages", "Received and sent, by topic.",
              ("from {{topic}}", "sum by (topic) (rate(tripline_faust_messages_received_total[$__rate_interval]))"),
              ("to {{topic}}", "sum by (topic) (rate(tripline_faust_messages_sent_total[$__rate_interval]))"),
              unit="cps"),
        graph("Faust's durations", "Of an event, a commit, a send and a rebalance.",
              *quantiles("tripline_faust_duration_seconds", "of"), unit="s"),
        graph("Incidents kept", "In the table, and of them open.",
              ("kept", "sum(tripline_incidents)"), ("open", f"sum(tripline_incidents_open{{{RESPOND}}})")),
    ],
}  # fmt: skip


def steps(limits: tuple[float, float]) -> list[dict[str, Any]]:
    """Colours by value: better below, or, where the second limit is the lesser, better above."""
    amber, red = limits
    if amber < red:
        return [{"color": GREEN, "value": None}, {"color": AMBER, "value": amber}, {"color": RED, "value": red}]
    return [{"color": RED, "value": None}, {"color": AMBER, "value": red}, {"color": GREEN, "value": amber}]


def panel(number: int, given: Panel, x: int, y: int, height: int) -> dict[str, Any]:
    """A panel in Grafana's form."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    defaults: dict[str, Any] = {"unit": given.unit, "min": 0, "noValue": "nothing"}
    if given.limits:
        defaults["thresholds"] = {"mode": "absolute", "steps": steps(given.limits)}
    else:
        defaults["color"] = {"mode": "palette-classic"}
    if given.kind == "timeseries":
        defaults["custom"] = {"fillOpacity": 10, "lineWidth": 1, "showPoints": "never", "spanNulls": 60_000}
    options: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    if given.kind != "timeseries":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "orientation": "horizontal"}
    return {
        "id": number, "title": given.title, "description": given.says, "type": given.kind, "datasource": source,
        "gridPos": {"x": x, "y": y, "w": given.width, "h": height},
        "fieldConfig": {"defaults": defaults, "overrides": []}, "options": options,
        "targets": [
            {"refId": chr(65 + n), "datasource": source, "expr": query, "legendFormat": legend or "__auto",
             "instant": given.kind != "timeseries", "range": given.kind == "timeseries"}
            for n, (legend, query) in enumerate(given.queries)
        ],
    }  # fmt: skip


def dashboard(name: str, title: str, rows: dict[str, list[Panel]], since: str) -> dict[str, Any]:
    """A dashboard in Grafana's form: panels from left to right, row after row."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row, given in rows.items():
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": row, "collapsed": False, "panels": [],
             "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}
        )  # fmt: skip
        x, y, height = 0, y + 1, 0
        for each in given:
            if x + each.width > 24:
                x, y = 0, y + height
            height = 4 if each.kind == "stat" else 8
            panels.append(panel(len(panels) + 1, each, x, y, height))
            x += each.width
        y += height
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return {
        "uid": f"tripline-{name}", "title": f"Tripline: {title}", "tags": ["tripline"], "schemaVersion": 39,
        "version": 1, "editable": True, "refresh": "10s", "timezone": "browser", "time": {"from": since, "to": "now"},
        "templating": {"list": [source]}, "annotations": {"list": []}, "panels": panels,
        "links": [{"title": "Tripline", "type": "dashboards", "tags": ["tripline"], "asDropdown": False}],
    }  # fmt: skip


DASHBOARDS = {
    "analyst": dashboard("analyst", "what was found and what is watched", ANALYST, "now-24h"),
    "operator": dashboard("operator", "is it well", OPERATOR, "now-1h"),
}


def text(name: str) -> str:
    """A dashboard as its file has it."""
    return json.dumps(DASHBOARDS[name], indent=1) + "\n"


if __name__ == "__main__":
    for each in DASHBOARDS:
        (HERE / f"{each}.json").write_text(text(each))
