#!/usr/bin/python3
"""Records what a daemon's /metrics say before, in and after an outage of its far side that outlasts the log's bound, and writes it as
outage.yml, a test of packaging/monitoring/prometheus-rules.yml for `promtool test rules`. A sample is taken a second and stands for a
minute. By hand, after metrics or rules changed: MILLRACE_BUILD=build/fast tests/monitoring/record_outage.py"""
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import prometheus
from testsite import Site, free_port, wait_for

BEFORE, DURING, AFTER = 15, 40, 75  # samples; the last are long enough for what tells of an hour to be over
RATE = 1500                         # readings a second
OTHERS = ("millrace_log_evicted_records_total",)
EXPECTED = """# Made by record_outage.py from a running daemon: a sample a second, each stands for a minute.
rule_files: [../../packaging/monitoring/prometheus-rules.yml]
evaluation_interval: 1m
tests:
  - name: an outage that outlasts the log, and its end
    interval: 1m
    input_series:
%s
    alert_rule_test:
%s
    promql_expr_test:
%s
"""


class Recording(Site):
    def samples(self, count, into):
        for _ in range(count):
            began = time.monotonic()
            seen = {}
            for line in self.http("/metrics").splitlines():
                series, _, value = line.rpartition(" ")
                name = series.split("{")[0]
                if name in self.wanted and name in line and not line.startswith("#"):
                    seen[series] = value
            into.append(seen)
            time.sleep(max(0, 1 - (time.monotonic() - began)))

    def publishing(self, port):
        return subprocess.Popen([sys.executable, "-c", "import random, time\nwhile True:\n  print('\\n'.join('{\"value\": %r}' % random.random() for _ in range("
                                 + str(RATE // 10) + ")), flush=True)\n  time.sleep(0.1)"], stdout=subprocess.PIPE), port

    def runTest(self):
        rules = prometheus.RULES.read_text()
        self.wanted = {name for name in prometheus.metrics_in(" ".join(line for line in rules.splitlines() if "_" in line and "summary" not in line and "description" not in line))
                       if not name.startswith("millrace:")} | set(OTHERS)
        south, far = self.broker(), self.broker()
        self.config(south.port, far.port, gateway='clock = "trust"', logmore='max_size = "1MiB"\nwhen_full = "evict"')
        self.gateway(self.folder / "millrace.toml")
        wait_for(lambda: self.metric("millrace_input_up") == 1 and self.metric("millrace_uplink_up") == 1, "all is up")
        lines, _ = self.publishing(south.port)
        sender = subprocess.Popen(["mosquitto_pub", "-p", str(south.port), "-t", "tele/press-1/SENSOR", "-q", "0", "-l"], stdin=lines.stdout)
        taken = []
        try:
            self.samples(BEFORE, taken)
            far.stop(signal.SIGKILL)
            self.samples(DURING, taken)
            self.assertGreater(self.metric("millrace_log_evicted_records_total"), 0, "the outage outlasted the log")
            self.broker(far.port)
            self.samples(AFTER, taken)
        finally:
            lines.kill()
            sender.kill()
            lines.stdout.close()
            lines.wait()
            sender.wait()
        self.write(taken)

    def write(self, taken):
        names = sorted({series for seen in taken for series in seen})
        text = []
        for series in names:
            name, _, labels = series.partition("{")
            full = name + "{" + (labels[:-1] + "," if labels else "") + 'job="millrace",instance="box"}'
            text.append(f"      - series: '{full}'\n        values: '{shortened([seen.get(series, '_') for seen in taken])}'")
        text.append("      - series: 'up{job=\"millrace\",instance=\"box\"}'\n        values: '1x%d'" % (len(taken) - 1))
        down = [minute for minute, seen in enumerate(taken) if seen.get('millrace_uplink_up{uplink="central"}') == "0"]
        evicted = [minute for minute, seen in enumerate(taken) if float(seen.get("millrace_log_evicted_records_total", 0)) > 0][0]
        alerts, values = [], []

        def alert(name, minute, fires, **labels):
            if not fires:
                return alerts.append(f"      - {{eval_time: {minute}m, alertname: {name}, exp_alerts: []}}")
            words = ", ".join(f'{key}="{value}"' for key, value in {"alertname": name, "alertstate": "firing", "job": "millrace", "instance": "box", **labels}.items())
            values.append(f"      - {{expr: 'ALERTS{{alertname=\"{name}\"}}', eval_time: {minute}m, exp_samples: [{{labels: 'ALERTS{{{words}}}', value: 1}}]}}")
        alert("MillraceUplinkDown", down[0] + 4, False)
        alert("MillraceUplinkDown", down[0] + 6, True, severity="warning", uplink="central")
        alert("MillraceUplinkDown", down[-1] + 2, False)
        for name in ("MillraceGatewayDown", "MillraceLogCannotBeWritten", "MillraceLogFull", "MillraceInputDown", "MillraceLedgerDoesNotAddUp", "MillraceUplinkBlocked",
                     "MillraceClockNotTrusted", "MillracePayloadsUnreadable", "MillraceStorageLost"):
            alert(name, down[-1], False)
        last = [key for key in taken[-1] if key.startswith("millrace_uplink_backlog_records")][0]
        values.append(f"      - {{expr: 'sum(millrace:lost_records:increase1h{{how=\"evicted\"}}) > bool 0', eval_time: {evicted + 3}m, exp_samples: [{{labels: '{{}}', value: 1}}]}}")
        values.append(f"      - {{expr: 'count(ALERTS{{alertname=\"MillraceRecordsLost\",alertstate=\"firing\"}}) > bool 0', eval_time: {evicted + 3}m, exp_samples: [{{labels: '{{}}', value: 1}}]}}")
        values.append(f"      - {{expr: 'ALERTS{{alertname=\"MillraceRecordsLost\"}}', eval_time: {len(taken) - 1}m, exp_samples: []}}")
        values.append(f"      - {{expr: 'millrace:log_used:ratio > bool 1', eval_time: {down[-1]}m, exp_samples: [{{labels: '{{job=\"millrace\",instance=\"box\"}}', value: 0}}]}}")
        values.append(f"      - {{expr: '{last.split('{')[0]} < bool 10000', eval_time: {len(taken) - 1}m, exp_samples: [{{labels: '{{job=\"millrace\",instance=\"box\",uplink=\"central\"}}', value: 1}}]}}")
        (Path(__file__).resolve().parent / "outage.yml").write_text(EXPECTED % ("\n".join(text), "\n".join(alerts), "\n".join(values)))


def shortened(values):
    """promtool's spelling: what repeats is said once."""
    out, i = [], 0
    while i < len(values):
        run = 1
        while i + run < len(values) and values[i + run] == values[i]:
            run += 1
        out.append(values[i] if run == 1 else f"{values[i]}x{run - 1}")
        i += run
    return " ".join(out)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "Recording"])
