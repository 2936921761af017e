#!/usr/bin/python3
"""The daemon while its wall clock is set (libfaketime; the monotonic clock runs on): time that jumped is not time that passed."""
import calendar
import glob
import json
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from testsite import BUILD, Site, free_port, wait_for

CONFIG = """
[gateway]
name = "gw"
runtime_dir = "@run@"
clock = "trust"
[log]
path = "@log@"
commit_interval = "200ms"
[[inputs.mqtt_endpoint]]
name = "devices"
listen = "127.0.0.1:@devices@"
anonymous = true
  [[inputs.mqtt_endpoint.routes]]
  topic = "plant/{device}"
  metrics = { value = "value" }
[[windows]]
name = "1s"
size = "1s"
allowed_lateness = "0s"
idle_close = "10s"
future_max = "2h"
[[uplinks.mqtt]]
name = "@uplink@"
servers = ["mqtt://127.0.0.1:@central@"]
[[uplinks.mqtt]]
name = "stays"
servers = ["mqtt://127.0.0.1:@central@"]
[observe]
listen = "127.0.0.1:@observe@"
"""


class Clocks(Site):
    def setUp(self):
        super().setUp()
        found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        if not found:
            self.skipTest("libfaketime is not here")
        self.clock = self.folder / "clock"
        self.env = {"LD_PRELOAD": found[0], "FAKETIME_TIMESTAMP_FILE": str(self.clock), "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1"}
        # A sanitizer's runtime wants to be first.
        asan = subprocess.run(["sh", "-c", f"ldd {BUILD}/millrace | awk '/lib[at]san/ {{print $3}}'"], capture_output=True, text=True).stdout.split()
        self.env["LD_PRELOAD"] = ":".join([*asan, found[0]])

    def set_clock(self, seconds_off):
        fresh = self.clock.with_suffix(".new")
        fresh.write_text(f"{seconds_off:+d}\n")
        fresh.rename(self.clock)

    def publish_for(self, port, seconds):
        """A device that says something every 100 ms."""
        process = subprocess.Popen(["mosquitto_pub", "-p", str(port), "-t", "plant/d1", "-q", "1", "-l"], stdin=subprocess.PIPE, text=True)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            process.stdin.write('{"value":1}\n')
            process.stdin.flush()
            time.sleep(0.1)  # its rate
        process.stdin.close()
        self.assertEqual(process.wait(20), 0)

    def windows(self, around):
        """(seconds since 1970, revision, count) of those that begin within a minute of this."""
        told = [json.loads(line) for line in self.command("log", "cat", "--lane", "window").stdout.splitlines()]
        all_of_them = [(calendar.timegm(time.strptime(w["time"][:19], "%Y-%m-%dT%H:%M:%S")), w["window"]["revision"], w["window"]["count"]) for w in told]
        return [w for w in all_of_them if abs(w[0] - around) < 60]

    def test_a_clock_that_was_an_hour_ahead_and_an_uplink_that_left_before_a_boot_in_1970(self):
        port, nowhere = free_port(), free_port()
        self.set_clock(3600)
        config = self.configure(CONFIG, devices=port, central=nowhere, uplink="old")
        gateway = self.gateway(config, env=self.env)
        self.publish_for(port, 3)
        self.set_clock(0)
        self.publish_for(port, 6)
        wait_for(lambda: self.metric("millrace_taken_records_total") >= 60, "all are taken")
        now = time.time()
        wait_for(lambda: sum(1 for start, revision, count in self.windows(now) if revision == 0 and count >= 8) >= 3, "windows of the right time, whole")
        self.assertTrue(self.windows(now + 3600), "windows of the wrong hour, as far as they got")
        self.assertEqual(self.metric("millrace_window_too_late_total"), 0)
        wait_for(lambda: "clock: it was set back by 60.0min" in gateway.text(), "a line says so")
        self.assertEqual(self.metric("millrace_clock_steps"), 1)

        # The uplink is renamed, the box boots in 1970, and NTP sets it: what the old one has not sent is kept.
        self.assertEqual(gateway.stop(), 0)
        self.set_clock(-int(time.time()) + 5)
        gateway = self.gateway(self.configure(CONFIG, devices=port, central=nowhere, uplink="new"), env=self.env)
        held = wait_for(lambda: self.status()["absent_uplinks"], "the old one is absent")[0]
        self.assertGreaterEqual(held["records"], 60)
        self.set_clock(0)
        wait_for(lambda: "clock: it was set forward by" in gateway.text(), "it is right")  # the same look would have forgotten it
        absent = self.status()["absent_uplinks"]
        self.assertEqual([(a["name"], a["records"] >= held["records"]) for a in absent], [("old", True)])
        left = calendar.timegm(time.strptime(absent[0]["forgotten_after"][:19], "%Y-%m-%dT%H:%M:%S")) - time.time()
        self.assertAlmostEqual(left / 86400, 7, delta=0.1)
        self.assertNotIn("forgotten\n", gateway.text().split("is ready")[-1])


if __name__ == "__main__":
    unittest.main(verbosity=2)
