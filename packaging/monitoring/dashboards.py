#!/usr/bin/env python3
"""Makes the Grafana dashboards of this folder (grafana-*.json), a line a panel. They need nothing but a data source: Prometheus (or
VictoriaMetrics) that scrapes the gateways under the job "millrace", or ClickHouse with the table of ../consumers/clickhouse_https.sql
and the views of clickhouse_views.sql. Grafana 9 and newer: Dashboards, New, Import.

usage: dashboards.py [FOLDER]      (default: this file's own; tests/integration/monitoring_test.py says when they are stale)"""
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROMETHEUS = {"type": "prometheus", "uid": "${source}"}
CLICKHOUSE = {"type": "grafana-clickhouse-datasource", "uid": "${source}"}
BAD_IS_RED = [{"color": "green", "value": None}, {"color": "red", "value": 1}]
ONE_IS_GOOD = [{"color": "red", "value": None}, {"color": "green", "value": 1}]
OF_A_WHOLE = [{"color": "green", "value": None}, {"color": "orange", "value": 0.5}, {"color": "red", "value": 0.8}]
PLAIN = [{"color": "blue", "value": None}]
WIDTH = 24


class Dashboard:
    """Panels stand side by side as far as they fit; row() begins anew below."""

    def __init__(self, uid, title, about, variables, source, tags=()):
        self.panels, self.x, self.y, self.below = [], 0, 0, 0
        self.source = source
        self.whole = {
            "uid": uid, "title": title, "description": about, "tags": ["millrace", *tags], "schemaVersion": 37, "version": 1, "editable": True,
            "time": {"from": "now-6h", "to": "now"}, "refresh": "30s", "timezone": "browser", "graphTooltip": 1, "panels": self.panels,
            "links": [{"type": "dashboards", "tags": ["millrace"], "title": "Millrace", "asDropdown": True, "keepTime": True, "includeVars": False}],
            "annotations": {"list": []},
            "templating": {"list": [
                {"name": "source", "label": "Data source", "type": "datasource", "query": source["type"], "current": {}, "hide": 0, "refresh": 1}, *variables]}}

    def place(self, width, height):
        if self.x + width > WIDTH:
            self.x, self.y = 0, self.below
        at = {"x": self.x, "y": self.y, "w": width, "h": height}
        self.x += width
        self.below = max(self.below, self.y + height)
        return at

    def row(self, title):
        self.x, self.y = 0, self.below
        self.panels.append({"id": len(self.panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": self.place(WIDTH, 1)})
        self.x, self.y = 0, self.below

    def panel(self, kind, title, about, targets, width, height, unit="short", steps=PLAIN, options=None, overrides=(), more=None, custom=None):
        self.panels.append({
            "id": len(self.panels) + 1, "type": kind, "title": title, "description": about, "datasource": self.source, "gridPos": self.place(width, height),
            "targets": [{"refId": chr(ord("A") + i), "datasource": self.source, **target} for i, target in enumerate(targets)],
            "fieldConfig": {"defaults": {"unit": unit, "thresholds": {"mode": "absolute", "steps": steps}, "custom": custom or {}}, "overrides": list(overrides)},
            "options": options or {}, **(more or {})})

    # ---- of Prometheus
    def number(self, title, about, expr, unit="short", steps=PLAIN, width=4):
        self.panel("stat", title, about, [{"expr": expr, "instant": True}], width, 4, unit, steps,
                   {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "graphMode": "none", "justifyMode": "center"})

    def lines(self, title, about, *exprs, unit="short", width=12, stacked=False, least=0):
        self.panel("timeseries", title, about, [{"expr": expr, "legendFormat": legend} for expr, legend in exprs], width, 8, unit,
                   options={"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
                   custom={"fillOpacity": 10, "lineWidth": 1, "showPoints": "never", **({"stacking": {"mode": "normal"}} if stacked else {})},
                   more={} if least is None else {"min": least})

    def table(self, title, about, columns, width=WIDTH, height=9, key="instance"):
        """columns: (heading, expression, unit, steps), joined by `key`."""
        targets = [{"expr": expr, "format": "table", "instant": True} for _, expr, _, _ in columns]
        names, overrides = {}, []
        for i, (heading, _, unit, steps) in enumerate(columns):
            value = f"Value #{chr(ord('A') + i)}"
            names[value] = heading
            overrides.append({"matcher": {"id": "byName", "options": heading}, "properties": [
                {"id": "unit", "value": unit}, {"id": "thresholds", "value": {"mode": "absolute", "steps": steps}},
                {"id": "custom.cellOptions", "value": {"type": "color-text" if steps is not PLAIN else "auto"}}]})
        hidden = {"Time": True, "__name__": True, "job": True, **{f"Time {i + 1}": True for i in range(len(columns))}}
        self.panel("table", title, about, targets, width, height, overrides=overrides, options={"showHeader": True}, more={"transformations": [
            {"id": "joinByField", "options": {"byField": key, "mode": "outer"}},
            {"id": "organize", "options": {"excludeByName": hidden, "renameByName": names}}]})

    # ---- of ClickHouse
    def sql(self, kind, title, about, words, width=12, height=8, unit="short", options=None, custom=None):
        self.panel(kind, title, about, [{"rawSql": words, "queryType": "sql", "editorType": "sql", "format": 0 if kind == "timeseries" else 1}],
                   width, height, unit, options=options, custom=custom)


def chosen(name, label, query, several=False):
    return {"name": name, "label": label, "type": "query", "datasource": PROMETHEUS, "query": {"query": query, "refId": "v"}, "definition": query,
            "refresh": 2, "sort": 1, "multi": several, "includeAll": several, "current": {}, **({"allValue": ".*"} if several else {})}


def overview():
    d = Dashboard("millrace-overview", "Millrace / Overview", "Is anything wrong, and how much moves", [], PROMETHEUS)
    d.number("Gateways up", "Those that answer Prometheus", 'sum(up{job="millrace"})', steps=ONE_IS_GOOD)
    d.number("Gateways down", "Those that do not", 'count(up{job="millrace"} == 0) or vector(0)', steps=BAD_IS_RED)
    d.number("Alerts, somebody must act", "Rules of severity critical that fire", 'count(ALERTS{alertname=~"Millrace.*", alertstate="firing", severity="critical"}) or vector(0)', steps=BAD_IS_RED)
    d.number("Alerts, to be looked at", "Rules of severity warning that fire", 'count(ALERTS{alertname=~"Millrace.*", alertstate="firing", severity="warning"}) or vector(0)',
             steps=[{"color": "green", "value": None}, {"color": "orange", "value": 1}])
    d.number("Records waiting", "Not yet acknowledged by the far sides", "sum(millrace_uplink_backlog_records)")
    d.number("Records lost in this hour", "Evicted, unreadable, expired or forgotten; each is told north", "sum(millrace:lost_records:increase1h) or vector(0)", steps=BAD_IS_RED)
    d.panel("table", "What is wrong", "Alerts of Millrace, pending and firing", [
        {"expr": 'ALERTS{alertname=~"Millrace.*"}', "format": "table", "instant": True}], WIDTH, 8, options={"showHeader": True},
        more={"transformations": [{"id": "organize", "options": {"excludeByName": {"Time": True, "__name__": True, "job": True, "Value": True}, "indexByName": {
            "severity": 0, "alertname": 1, "instance": 2, "input": 3, "uplink": 4, "alertstate": 5}}}]})
    d.row("What moves")
    d.lines("In", "Records a second, by gateway", ("sum by (instance) (rate(millrace_input_records_total[$__rate_interval]))", "{{instance}}"), unit="cps", stacked=True)
    d.lines("Out", "Records a second that far sides acknowledged, by gateway", ("sum by (instance) (rate(millrace_uplink_records_total[$__rate_interval]))", "{{instance}}"), unit="cps", stacked=True)
    d.lines("Waiting", "Records not yet acknowledged", ("sum by (instance) (millrace_uplink_backlog_records)", "{{instance}}"))
    d.lines("Lost", "Records within an hour, and why", ("sum by (instance, how) (millrace:lost_records:increase1h)", "{{instance}} {{how}}"))
    d.lines("Round trip, p99", "From sending a batch to its acknowledgement", ("max by (instance) (millrace:uplink_round_trip_seconds:p99_5m)", "{{instance}}"), unit="s")
    d.lines("Silent devices", "For longer than is usual for them", ("sum by (instance) (millrace_input_silent_devices)", "{{instance}}"))
    return d


def gateway():
    d = Dashboard("millrace-gateway", "Millrace / Gateway", "One gateway: inputs, log, uplinks, process",
                  [chosen("gateway", "Gateway", "label_values(millrace_inputs, instance)")], PROMETHEUS)
    of = 'instance="$gateway"'
    d.number("Up", "Whether it answers Prometheus", f'up{{job="millrace", {of}}}', steps=ONE_IS_GOOD)
    d.number("Clock trusted", "Else times are uncertain, and windows wait", f"millrace_clock_trusted{{{of}}}", steps=ONE_IS_GOOD)
    d.number("Log used", "Of max_size", f"max(millrace:log_used:ratio{{{of}}})", "percentunit", OF_A_WHOLE)
    d.number("Full in", "Where the log grows, at the rate of the last half hour", f"max(millrace:log_full_in:seconds{{{of}}}) or vector(Inf)", "s")
    d.number("Flash life used", "As the device tells, in steps of a tenth; empty: it does not tell", f"max(millrace_flash_life_used_ratio{{{of}}})", "percentunit", OF_A_WHOLE)
    d.number("Flash a day", "Bytes written to storage", f"sum(rate(millrace_flash_bytes_written_total{{{of}}}[1h])) * 86400", "bytes")
    d.row("Inputs")
    d.lines("Connected", "1: connected and subscribed", (f"millrace_input_up{{{of}}}", "{{input}}"), width=6)
    d.lines("Records in", "A second", (f"rate(millrace_input_records_total{{{of}}}[$__rate_interval])", "{{input}}"), unit="cps", width=6)
    d.lines("Could not be read", "Payloads that lie in the dead lane, an hour", (f"increase(millrace_input_undecodable_total{{{of}}}[1h])", "{{input}}"), width=6)
    d.lines("Devices", "That spoke within a day; and those that are silent for longer than is usual", (f"millrace_input_devices{{{of}}}", "{{input}}"),
            (f"millrace_input_silent_devices{{{of}}}", "{{input}} silent"), width=6)
    d.lines("Last payload", "Ago", (f"millrace_input_last_seen_seconds{{{of}}}", "{{input}}"), unit="s", width=6)
    d.lines("Pauses", "Because the inbox or the log was full, an hour", (f"increase(millrace_input_pauses_total{{{of}}}[1h])", "{{input}}"), width=6)
    d.lines("Inbox", "How full", (f"millrace_inbox_fill_ratio{{{of}}}", "inbox"), unit="percentunit", width=6)
    d.lines("Completeness", "Of the messages that devices' habits would have brought, how many came", (f"millrace_input_completeness_ratio{{{of}}}", "{{input}}"), unit="percentunit", width=6)
    d.lines("From arrival to commit", "p99 of a record, by lane",
            (f"histogram_quantile(0.99, sum by (lane, le) (rate(millrace_commit_seconds_bucket{{{of}}}[$__rate_interval])))", "{{lane}}"), unit="s", width=6)
    d.lines("Where records go", "Taken from inputs, a second", (f"rate(millrace_admitted_records_total{{{of}}}[$__rate_interval])", "to the log"),
            (f"rate(millrace_filtered_records_total{{{of}}}[$__rate_interval])", "wanted by nobody"),
            (f"rate(millrace_duplicates_total{{{of}}}[$__rate_interval])", "came twice"), (f"rate(millrace_undecodable_total{{{of}}}[$__rate_interval])", "unreadable"),
            unit="cps", width=6, stacked=True)
    d.row("Uplinks")
    d.lines("Reached", "1: the far side can be reached; blocked: somebody must act", (f"millrace_uplink_up{{{of}}}", "{{uplink}}"),
            (f"millrace_uplink_blocked{{{of}}}", "{{uplink}} blocked"), (f"millrace_uplink_breaker_open{{{of}}}", "{{uplink}} breaker open"), width=6)
    d.lines("Waiting", "Records not yet acknowledged", (f"millrace_uplink_backlog_records{{{of}}}", "{{uplink}}"), width=6)
    d.lines("Gone in", "Until the backlog is gone; nothing: it grows", (f"millrace_uplink_drain_eta_seconds{{{of}}} < Inf", "{{uplink}}"), unit="s", width=6)
    d.lines("Records out", "A second, acknowledged", (f"rate(millrace_uplink_records_total{{{of}}}[$__rate_interval])", "{{uplink}}"), unit="cps", width=6)
    d.lines("Round trip", "From sending a batch to its acknowledgement", *[
        (f"histogram_quantile({q}, sum by (uplink, le) (rate(millrace_uplink_round_trip_seconds_bucket{{{of}}}[$__rate_interval])))", "{{uplink}} p" + f"{q:.2f}"[2:]) for q in (0.5, 0.99)],
        unit="s", width=6)
    d.lines("From arrival to acknowledgement, live", "p99 of a record, by lane; what an outage held back is in the panel beside",
            (f'histogram_quantile(0.99, sum by (uplink, lane, le) (rate(millrace_uplink_latency_seconds_bucket{{traffic="live", {of}}}[$__rate_interval])))', "{{uplink}} {{lane}}"),
            unit="s", width=6)
    d.lines("From arrival to acknowledgement, backlog", "p99 of a record that waited for the far side",
            (f'histogram_quantile(0.99, sum by (uplink, lane, le) (rate(millrace_uplink_latency_seconds_bucket{{traffic="backlog", {of}}}[$__rate_interval])))', "{{uplink}} {{lane}}"),
            unit="s", width=6)
    d.lines("Payload bytes out", "A second", (f"rate(millrace_uplink_bytes_total{{{of}}}[$__rate_interval])", "{{uplink}}"), unit="Bps", width=6)
    d.lines("Sent again, refused", "Batches an hour; records refused for good", (f"increase(millrace_uplink_retries_total{{{of}}}[1h])", "{{uplink}} again"),
            (f"increase(millrace_uplink_refused_records_total{{{of}}}[1h])", "{{uplink}} refused"), width=6)
    d.lines("By lane", "Records not settled", (f"millrace_ledger_unsettled_records{{{of}}}", "{{uplink}} {{lane}}"), width=6)
    d.row("Log")
    d.lines("Size", "Of all files, beside its bound and what the disk has free", (f"millrace_log_bytes{{{of}}}", "log"), (f"millrace_log_max_bytes{{{of}}}", "max_size"),
            (f"millrace_log_disk_free_bytes{{{of}}}", "free on disk"), unit="bytes", width=8)
    d.lines("Cannot be written, full", "1: so it is, and inputs pause", (f"millrace_log_degraded{{{of}}}", "cannot be written"), (f"millrace_log_blocked{{{of}}}", "full"), width=8)
    d.lines("Lost", "Records within an hour, and why", (f"millrace:lost_records:increase1h{{{of}}}", "{{uplink}} {{lane}} {{how}}"), width=8)
    d.lines("Commits", "A second, and those that failed", (f"rate(millrace_log_commits_total{{{of}}}[$__rate_interval])", "commits"),
            (f"rate(millrace_log_commit_failures_total{{{of}}}[$__rate_interval])", "failed"), unit="ops", width=8)
    d.lines("State", "Windows, sessions, digests, beside their bound", (f"millrace_log_state_bytes{{{of}}}", "state"), (f"millrace_log_state_max_bytes{{{of}}}", "bound"), unit="bytes", width=8)
    d.lines("Flash", "Bytes written a record", (f"millrace_flash_bytes_per_record{{{of}}}", "since the start"), unit="bytes", width=8)
    d.row("Box, process and certificates")
    d.lines("Load", "Of the machine", (f"millrace_box_load{{{of}}}", "load"), width=6)
    d.lines("Memory left", "What programs can have without swapping, and all there is", (f"millrace_box_memory_left_bytes{{{of}}}", "left"), (f"millrace_box_memory_bytes{{{of}}}", "all"),
            unit="bytes", width=6)
    d.lines("Temperature", "The warmest zone; empty: the machine does not tell", (f"millrace_box_temperature_celsius{{{of}}}", "warmest"), unit="celsius", width=6, least=None)
    d.lines("CPU", "Of one core", (f'rate(process_cpu_seconds_total{{job="millrace", {of}}}[$__rate_interval])', "cpu"), unit="percentunit", width=6)
    d.lines("Memory", "Resident", (f'process_resident_memory_bytes{{job="millrace", {of}}}', "resident"), unit="bytes", width=6)
    d.lines("File descriptors", "Open, and how many there may be", (f'process_open_fds{{job="millrace", {of}}}', "open"), (f'process_max_fds{{job="millrace", {of}}}', "limit"), width=6)
    d.lines("Certificates", "Until they expire; negative: they have", (f"millrace_cert_expiry_seconds{{{of}}}", "{{key}} {{subject}}"),
            (f"millrace_peer_cert_expiry_seconds{{{of}}}", "{{host}} {{subject}}"), unit="s", width=6, least=None)
    return d


def fleet():
    d = Dashboard("millrace-fleet", "Millrace / Fleet", "All gateways side by side, the worst first", [], PROMETHEUS)
    d.table("Gateways", "A line each", [
        ("Up", 'sum by (instance) (up{job="millrace"})', "bool_yes_no", ONE_IS_GOOD),
        ("Version", "max by (instance, gateway, version, config) (millrace_info)", "none", PLAIN),
        ("Started", 'max by (instance) (process_start_time_seconds{job="millrace"} * 1000)', "dateTimeFromNow", PLAIN),
        ("Clock", "max by (instance) (millrace_clock_trusted)", "bool_yes_no", ONE_IS_GOOD),
        ("Inputs down", "sum by (instance) (millrace_input_up == bool 0)", "short", BAD_IS_RED),
        ("Uplinks down", "sum by (instance) (millrace_uplink_up == bool 0)", "short", BAD_IS_RED),
        ("Silent devices", "sum by (instance) (millrace_input_silent_devices)", "short", BAD_IS_RED),
        ("Waiting", "sum by (instance) (millrace_uplink_backlog_records)", "short", PLAIN),
        ("Lost, hour", "sum by (instance) (millrace:lost_records:increase1h)", "short", BAD_IS_RED),
        ("Log", "max by (instance) (millrace:log_used:ratio)", "percentunit", OF_A_WHOLE),
        ("Flash life", "max by (instance) (millrace_flash_life_used_ratio)", "percentunit", OF_A_WHOLE),
    ], height=14)
    d.lines("Versions", "How many gateways run which", ("count by (version) (millrace_info)", "{{version}}"), width=8, stacked=True)
    d.lines("Most behind", "Records waiting, the ten largest", ("topk(10, sum by (instance) (millrace_uplink_backlog_records))", "{{instance}}"), width=8)
    d.lines("Least room", "Of the log, the ten fullest", ("topk(10, max by (instance) (millrace:log_used:ratio))", "{{instance}}"), unit="percentunit", width=8)
    d.lines("Most flash a day", "The ten that write most", ("topk(10, sum by (instance) (rate(millrace_flash_bytes_written_total[1h])) * 86400)", "{{instance}}"), unit="bytes", width=8)
    d.lines("Most bytes on the link", "Payload, a second, the ten that send most", ("topk(10, sum by (instance) (rate(millrace_uplink_bytes_total[$__rate_interval])))", "{{instance}}"), unit="Bps", width=8)
    d.lines("Certificates that end first", "The ten next", ("bottomk(10, min by (instance, subject) (millrace_cert_expiry_seconds))", "{{instance}} {{subject}}"), unit="s", width=8, least=None)
    return d


def clickhouse():
    variables = [{"name": name, "label": label, "type": "query", "datasource": CLICKHOUSE, "query": query, "refresh": 2, "multi": False, "includeAll": False, "current": {}}
                 for name, label, query in (
                     ("device", "Device", "SELECT DISTINCT device FROM millrace_values ORDER BY device LIMIT 10000"),
                     ("metric", "Metric", "SELECT DISTINCT metric FROM millrace_values WHERE device = '${device}' ORDER BY metric"))]
    d = Dashboard("millrace-clickhouse", "Millrace / Readings in ClickHouse", "What the devices say, and what the gateways say of themselves", variables, CLICKHOUSE, ["clickhouse"])
    here = "$__timeFilter(time) AND device = '${device}' AND metric = '${metric}'"
    d.sql("timeseries", "${device}: ${metric}", "Mean, least and most of each interval",
          f"SELECT $__timeInterval(time) AS time, avg(value) AS mean, min(value) AS least, max(value) AS most FROM millrace_values WHERE {here} GROUP BY time ORDER BY time", width=16, height=9)
    d.sql("table", "Latest of ${device}", "Each metric's last value, and its age in seconds",
          "SELECT metric, value, text, unit, time, age_seconds FROM millrace_latest WHERE device = '${device}' ORDER BY metric", width=8, height=9)
    d.sql("timeseries", "Readings a gateway", "By the time of the reading",
          "SELECT $__timeInterval(time) AS time, gateway, count() AS readings FROM millrace_values WHERE $__timeFilter(time) GROUP BY time, gateway ORDER BY time")
    d.sql("table", "Devices silent longest", "That spoke within a week",
          "SELECT gateway, device, last_seen, age_seconds FROM millrace_devices WHERE age_seconds < 604800 ORDER BY age_seconds DESC LIMIT 20")
    d.row("The fleet, as it tells of itself (gateway.health_interval)")
    d.sql("table", "Gateways", "The last health record of each; late: two intervals and more without one",
          "SELECT gateway, late, heard, age_seconds, version, config, clock_trusted, faults, backlog, lost, flash_life_used_percent FROM millrace_fleet ORDER BY late DESC, lost DESC, backlog DESC", width=WIDTH)
    d.sql("table", "What was lost", "Loss records, the newest first",
          "SELECT time, gateway, lane, device, text, count FROM millrace_records WHERE kind = 'loss' AND $__timeFilter(time) ORDER BY time DESC LIMIT 200")
    d.sql("table", "Events", "Power cuts, devices that connect and go, wills",
          "SELECT time, gateway, device, metric, value, text FROM millrace_records WHERE kind = 'event' AND metric != 'health' AND $__timeFilter(time) ORDER BY time DESC LIMIT 200")
    return d


ALL = {"grafana-overview.json": overview, "grafana-gateway.json": gateway, "grafana-fleet.json": fleet, "grafana-clickhouse.json": clickhouse}


def texts():
    """{name of the file: its text}"""
    return {name: json.dumps(make().whole, indent=1, ensure_ascii=False) + "\n" for name, make in ALL.items()}


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    for name, words in texts().items():
        (folder / name).write_text(words)
