#!/usr/bin/python3
"""The push of the gateway's metrics to OpenTelemetry's own Collector, made of its public modules by Go: what it says came is what
/metrics says, over TLS and gzip, also after it was away; what it refuses is told."""
import filecmp
import re
import shutil
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from otlp_test import Otlp, series_of
from testsite import ROOT, Process, free_port, listening, wait_for

VERSION = "v0.165.0"
FOLDER = ROOT / "build" / "otlp_collector"


def why_not():
    """Builds it once below build/; what is in the way, otherwise."""
    go = shutil.which("go")
    if not go:
        return "no go is installed (1.26 or newer)"
    source = Path(__file__).parent / "otlp_collector" / "main.go"
    FOLDER.mkdir(parents=True, exist_ok=True)
    if (FOLDER / "collector").exists() and filecmp.cmp(source, FOLDER / "main.go", shallow=False):
        return ""
    (FOLDER / "collector").unlink(missing_ok=True)
    shutil.copy(source, FOLDER)
    for command in (["mod", "init", "collector"], ["get", f"go.opentelemetry.io/collector/otelcol@{VERSION}"], ["mod", "tidy"], ["build", "-o", "collector", "."]):
        if command[1] == "init" and (FOLDER / "go.mod").exists():
            continue
        try:
            done = subprocess.run([go, *command], cwd=FOLDER, capture_output=True, text=True, timeout=600)
        except subprocess.TimeoutExpired:
            return f"go {command[0]} did not end in 10 minutes"
        if done.returncode != 0:  # Debian 12's go (1.19) is too old for the collector
            return f"go {command[0]} (1.26 or newer is needed, and the modules): {done.stderr.strip()[-300:]}"
    return ""


class RealCollector(Otlp):
    @classmethod
    def setUpClass(cls):
        if why := why_not():
            raise unittest.SkipTest(why)

    def start_collector(self):
        tls = self.tls()
        (self.folder / "collector.yaml").write_text(f"""
receivers:
  otlp:
    protocols:
      http: {{ endpoint: "127.0.0.1:{self.at}", tls: {{ cert_file: "{tls}/server.pem", key_file: "{tls}/server.key" }} }}
exporters:
  debug: {{ verbosity: detailed, use_internal_logger: false }}
service:
  telemetry: {{ metrics: {{ level: none }} }}
  pipelines:
    metrics: {{ receivers: [otlp], exporters: [debug] }}
""")
        collector = Process([str(FOLDER / "collector"), "--config", str(self.folder / "collector.yaml")], self.folder / "collector.log")
        self.processes.append(collector)
        wait_for(lambda: listening(self.at) or collector.process.poll() is not None, "the collector listens", 60)
        self.assertIsNone(collector.process.poll(), collector.text())
        return collector

    def pushes(self, collector):
        """What came, whole requests only: a list of {(name, labels): value}, histograms by their parts."""
        found = []
        for request in collector.text().split("ResourceMetrics #")[1:]:
            series = {}
            for metric in re.split(r"\nMetric #\d+\n", request)[1:]:
                name = re.search(r"-> Name: (\S+)", metric)[1]
                for point in re.split(r"\n?(?:NumberDataPoints|HistogramDataPoints) #\d+\n", metric)[1:]:
                    labels = tuple(sorted(re.findall(r"-> ([a-z_0-9]+): Str\((.*)\)", point)))
                    if value := re.search(r"(?m)^Value: (\S+)", point):
                        series[name, labels] = float(value[1])
                    else:
                        series[name + "_count", labels] = float(re.search(r"(?m)^Count: (\d+)", point)[1])
            found.append(series)
        return found

    def test_what_came_is_what_metrics_says(self):
        self.at = free_port()
        collector = self.start_collector()
        gateway = self.begin(f'[observe.otlp]\nendpoint = "https://127.0.0.1:{self.at}"\ninterval = "1s"\ntls_ca = "{self.tls()}/ca.pem"\n'
                             'resource_attributes = ["deployment.environment.name=plant-3"]')
        self.say(1, 2, 3)
        records = ("millrace_input_records_total", (("input", "devices"),))
        wait_for(lambda: any(push.get(records) == 3 for push in self.pushes(collector)[:-1]), "they are told", 30)
        self.assertRegex(collector.text(), r"-> service\.instance\.id: Str\(gw-7\)")
        self.assertRegex(collector.text(), r"-> deployment\.environment\.name: Str\(plant-3\)")
        self.assertRegex(collector.text(), r"-> Name: millrace_input_records_total\n(?:.*\n)*?.*DataType: Sum\n.*IsMonotonic: true\n.*AggregationTemporality: Cumulative")
        theirs = self.pushes(collector)[-2]
        ours = {key: value for key, value in series_of(self.http("/metrics")).items()
                if not key[0].endswith("_bucket") and not (key[0].endswith("_sum") and (key[0][:-4] + "_count", key[1]) in theirs)}
        self.assertEqual(set(ours), set(theirs))
        self.assertEqual({key: theirs[key] for key in ours if "input" in dict(key[1]) and key[0].endswith("records_total")},
                         {key: value for key, value in ours.items() if "input" in dict(key[1]) and key[0].endswith("records_total")})

        # It goes away in the middle and comes back: status names it, and then no longer.
        collector.stop(signal.SIGKILL)
        wait_for(lambda: "cannot connect" in (self.faults().get("otlp") or {"what": ""})["what"], "it is away", 30)
        self.say(4)
        (self.folder / "collector.log").unlink()
        collector = self.start_collector()
        wait_for(lambda: any(push.get(records) == 4 for push in self.pushes(collector)[:-1]), "it is told again", 60)
        wait_for(lambda: "otlp" not in self.faults(), "all is well")
        self.assertEqual(self.metric("millrace_otlp_rejected_points_total"), 0)
        self.assertEqual(gateway.stop(), 0)

    def test_a_path_that_it_does_not_have(self):
        self.at = free_port()
        self.start_collector()
        self.begin(f'[observe.otlp]\nendpoint = "https://127.0.0.1:{self.at}/elsewhere"\ninterval = "1s"\ntls_ca = "{self.tls()}/ca.pem"')
        wait_for(lambda: "nothing takes metrics at this path: 404 page not found" in (self.faults().get("otlp") or {"what": ""})["what"], "it is told", 30)


if __name__ == "__main__":
    unittest.main(verbosity=2)
