#!/usr/bin/python3
"""The HTTPS uplink on real servers: InfluxDB, VictoriaMetrics and ClickHouse through outages, kills and every sort of refusal; TLS
with a CA of the test's own; and a server that lies in every way there is."""
import json
import os
import random
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import north
from testsite import BUILD, Process, Site, free_port, wait_for

CONFIG = """
[gateway]
name = "gw"
runtime_dir = "@run@"
[log]
path = "@log@"
commit_interval = "100ms"
[[inputs.mqtt_endpoint]]
name = "devices"
listen = "127.0.0.1:@port@"
anonymous = true
liveness = false
  [[inputs.mqtt_endpoint.routes]]
  topic = "plant/{line}/{device}/telemetry"
  tags = ["line"]
  time = "ts"
  metrics = { value = "value" }
  [[inputs.mqtt_endpoint.routes]]
  topic = "any/{device}/{metric}"
  time = "ts"
  metrics = { "{metric}" = "value" }
[[uplinks.https]]
name = "history"
servers = ["@server@"]
initial_interval = "100ms"
max_interval = "1s"
send_timeout = "5s"
@uplink@
[observe]
listen = "127.0.0.1:@observe@"
"""


class North(Site):
    def start(self, server, uplink="", port=None):
        self.port = port or free_port()
        self.configure(CONFIG, port=self.port, server=server, uplink=uplink)
        return self.gateway(self.folder / "millrace.toml")

    def server(self, kind, *more):
        if why := kind.missing():
            self.skipTest(why)
        server = kind(self.folder / kind.__name__.lower(), *more)
        self.addCleanup(lambda: server.stop(signal.SIGKILL))
        server.begin()
        return server

    def publish(self, count, *more):
        done = subprocess.run([str(BUILD / "tests" / "pipelined_publisher"), str(self.port), "--count", str(count), "--window", "100", "--step", "1000",
                               *map(str, more)], capture_output=True, text=True, timeout=120)
        self.assertEqual(json.loads(done.stdout.splitlines()[-1])["acknowledged"], count)

    def say(self, device, metric, value, ts=1790000000):
        subprocess.run(["mosquitto_pub", "-p", str(self.port), "-q", "1", "-t", f"any/{device}/{metric}", "-m", json.dumps({"ts": ts, "value": value})],
                       check=True, timeout=20)

    def drained(self, seconds=60):
        wait_for(lambda: self.metric("millrace_uplink_backlog_records") == 0, "everything is delivered", seconds)

    def account(self, server, through, doubles=0):
        """Every acknowledged reading is there; how many more than once."""
        held, doubled, found = server.readings(), 0, 0
        for c, last in enumerate(through):
            values = held.get(f"dev-{c}", [])
            self.assertEqual(sorted(set(range(1, last + 1)) - set(values))[:10], [], f"dev-{c}: acknowledged and missing")
            doubled += len(values) - len(set(values))
            found += len(values)
        self.assertLessEqual(doubled, doubles)
        return found, doubled


class Stored(North):
    """An outage and kills -9 of the gateway and the server, under load: every reading accounted for at the far side."""

    def outage_and_kills(self, kind, kills_of_server=True, doubles=0):
        kills, seed = int(os.environ.get("MILLRACE_KILLS", "6")), int(os.environ.get("MILLRACE_SEED", time.time_ns() % 1_000_000))
        rng = random.Random(seed)
        server = self.server(kind)
        gateway = self.start(server.url, kind.config)
        publisher = Process([str(BUILD / "tests" / "pipelined_publisher"), str(self.port), "--connections", "4", "--rate", "2000", "--qos", "2", "--window",
                             "50", "--persistent", "--patience", "120", "--step", "1000"], self.folder / "publisher.log")
        self.processes.append(publisher)
        wait_for(lambda: self.metric("millrace_uplink_records_total") > 500, "readings are through")
        server.stop()
        wait_for(lambda: self.metric("millrace_uplink_backlog_records") > 1000, "a backlog")
        server.start()
        killed = {"gateway": 0, "server": 0}
        for _ in range(kills):
            time.sleep(rng.uniform(0.1, 1.2))  # the random moment is the point
            who = rng.choice(("gateway", "gateway", "server", "both")) if kills_of_server else "gateway"
            if who != "server":
                gateway.stop(signal.SIGKILL)
                killed["gateway"] += 1
            if who != "gateway":
                server.stop(signal.SIGKILL)
                killed["server"] += 1
                server.start()
            if who != "server":
                gateway = self.gateway(self.folder / "millrace.toml")
        publisher.process.send_signal(signal.SIGTERM)
        publisher.process.wait(150)
        answer = json.loads(publisher.text().splitlines()[-1])
        self.drained(120)
        found, doubled = self.account(server, answer["through"], doubles)
        print(f"   {kind.__name__}: an outage, {killed['gateway']} kills of the gateway, {killed['server']} of the server (seed {seed}): "
              f"{answer['acknowledged']} acknowledged, {found} there, 0 missing, {doubled} doubled", file=sys.stderr)

    def test_influxdb(self):
        self.outage_and_kills(north.Influx)

    def test_victoria_metrics(self):
        # It answers before its own disk has it: what a kill of it loses is its own.
        self.outage_and_kills(north.VictoriaMetrics, kills_of_server=False, doubles=1_000_000)

    def test_clickhouse(self):
        self.outage_and_kills(north.ClickHouse, doubles=1_000_000)


if __name__ == "__main__":
    unittest.main()
