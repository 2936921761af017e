#!/usr/bin/python3
"""A fleet tells the centre how it is (gateway.health_interval), and the queries of packaging/consumers find in what was really forwarded
which gateways are late and which lost something. (The view for ClickHouse: monitoring_test.py.)"""
import json
import random
import re
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import north
from clouds_test import Stub
from north import North
from testsite import BUILD, ROOT, Process, free_port, wait_for

CONFIG = """
[gateway]
name = "@name@"
clock = "trust"
runtime_dir = "@run@"
health_interval = "@every@"
[log]
path = "@log@"
commit_interval = "100ms"
max_size = "1MiB"
[[inputs.mqtt_endpoint]]
name = "devices"
listen = "127.0.0.1:@port@"
anonymous = true
liveness = false
  [[inputs.mqtt_endpoint.routes]]
  topic = "plant/{line}/{device}/telemetry"
  metrics = { value = "value" }
[[uplinks.https]]
name = "centre"
servers = ["@server@"]
initial_interval = "100ms"
max_interval = "1s"
@form@
@more@
[observe]
listen = "127.0.0.1:@observe@"
"""
GONE = """
[[uplinks.https]]
name = "gone"
servers = ["http://127.0.0.1:%d"]
start = "oldest"
"""


class Centre(Stub):
    """Keeps bodies as a bucket keeps objects."""

    def judge(self, path, headers, body):
        self.records.append(body)
        return 204, ""

    def lines(self):
        return [json.loads(line) for body in list(self.records) for line in body.splitlines()]

    def health(self, gateway):
        return [json.loads(one["value"]) for one in self.lines() if (one["gateway"], one["kind"], one["metric"]) == (gateway, "event", "health")]


class Fleet(North):
    def begin(self, name, centre, form='format = "json"', more="", every="10s"):
        self.port, self.observe = free_port(), free_port()
        folder = self.run_folder / name
        folder.mkdir(exist_ok=True)
        self.configure(CONFIG, name=name, run=folder, log=self.folder / f"log-{name}", port=self.port, server=centre.url, form=form, more=more, every=every)
        return self.gateway(self.folder / "millrace.toml")

    def centre(self):
        centre = Centre()
        self.addCleanup(centre.end)
        return centre

    def test_who_is_late_and_who_lost_something_is_found_in_what_was_forwarded(self):
        python = north.venv("duckdb", "duckdb==1.*")
        if not python:
            self.skipTest("duckdb cannot be had")
        centre = self.centre()
        self.begin("gw-good", centre)
        self.publish(20)
        wait_for(lambda: centre.health("gw-good"), "the first one told how it is", 30)
        self.begin("gw-loser", centre, more=GONE % free_port())
        (self.folder / "lines").write_text("".join(f'{{"value": {random.random()}}}\n' for _ in range(150_000)))
        for i in range(2):
            with open(self.folder / "lines") as lines:
                self.processes.append(Process(["mosquitto_pub", "-p", str(self.port), "-t", f"plant/l/press-{i}/telemetry", "-q", "0", "-l"], self.folder / "filling.log", stdin=lines))
        wait_for(lambda: self.metric("millrace_log_evicted_records_total") > 0, "the log evicts", 90)
        wait_for(lambda: any(health["lost"] > 0 for health in centre.health("gw-loser")), "it says that it lost something", 40)
        last = centre.health("gw-loser")[-1]
        self.assertEqual((last["uplinks"], last["uplinks_down"], last["inputs"], last["inputs_down"], last["interval_seconds"]), (2, 1, 1, 0, 10))
        self.assertTrue(last["worst"])
        self.assertEqual(last["config"], re.search(r'millrace_info\{.*config="(\w+)"', self.http("/metrics"))[1])
        self.assertLess(len(json.dumps(last)), 1024)
        (self.folder / "records").mkdir()
        for number, body in enumerate(list(centre.records)):
            (self.folder / f"records/{number}.json").write_bytes(body)
        words = (ROOT / "packaging/consumers/fleet_duckdb.sql").read_text().replace("records/*", f"{self.folder}/records/*")
        self.assertEqual(self.ask(python, words), [[], ["gw-loser"]])
        # An hour later, with nothing more said, both are late.
        later = words.replace("(now() AT TIME ZONE 'UTC')::TIMESTAMP", "((now() AT TIME ZONE 'UTC')::TIMESTAMP + INTERVAL 1 HOUR)")
        self.assertNotEqual(later, words)
        self.assertEqual(sorted(self.ask(python, later)[0]), ["gw-good", "gw-loser"])

    def ask(self, python, words):
        script = """import duckdb, json, sys
answers = [[row[0] for row in duckdb.sql(one).fetchall()] if one.lstrip().startswith("SELECT") else duckdb.execute(one) and None
           for one in (part.strip() for part in sys.stdin.read().split(";")) if one]
print(json.dumps([answer for answer in answers if answer is not None]))"""
        done = subprocess.run([python, "-c", script], input=re.sub(r"(?m)--.*$", "", words), capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr[-1500:])
        return json.loads(done.stdout.splitlines()[-1])

    def test_it_is_off_unless_it_is_wanted_and_restarts_are_seen(self):
        centre = self.centre()
        gateway = self.begin("gw", centre, every="0s")
        self.publish(10)
        self.drained()
        gateway.stop()
        self.assertEqual(centre.health("gw"), [])
        for _ in range(2):
            before = len(centre.health("gw"))
            gateway = self.begin("gw", centre, every="24h")
            wait_for(lambda: len(centre.health("gw")) > before, "the start is told", 30)
            self.assertLess(centre.health("gw")[-1]["uptime_seconds"], 20)
            gateway.stop()
        text = (self.folder / "millrace.toml").read_text()
        (self.folder / "millrace.toml").write_text(text.replace('"24h"', '"2s"'))
        refused = self.command("check")
        self.assertEqual(refused.returncode, 78)
        self.assertIn("0s or at least 10s", refused.stderr)

    def test_todays_readers_of_batches_read_it(self):
        centre = self.centre()
        self.begin("gw", centre, form='format = "batch"')
        self.publish(10)
        desc = BUILD / "generated" / "record.desc"

        def read():
            for number, body in enumerate(list(centre.records)):
                (self.folder / f"{number}.batch").write_bytes(body)
            done = subprocess.run(["/usr/bin/python3", ROOT / "packaging/read_batch.py", "--desc", desc, "--object", *(self.folder / f"{n}.batch" for n in range(len(centre.records)))],
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr[-800:])
            return [json.loads(line) for line in done.stdout.splitlines()]
        event = wait_for(lambda: centre.records and next((one for one in read() if one["metric"] == "health"), None), "the event is there", 30)
        self.assertEqual(event["gateway"], "gw")
        said = json.loads(event["value"])
        self.assertEqual(said["interval_seconds"], 10)
        bodies = [len(body) for body in centre.records]
        print(f"   a health record: {len(event['value'])} bytes of JSON; objects of {bodies} bytes", file=sys.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
