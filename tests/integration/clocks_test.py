#!/usr/bin/python3
"""The daemon while its wall clock is set (libfaketime; the monotonic clock runs on): time that jumped is not time that passed."""
import calendar
import json
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from north import HttpStub
from testsite import Site, free_port, listening, wait_for

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


# Readings go to a server of our own, as JSON, and to a broker: what waits, waits in front of both.
WAITING = """
[gateway]
name = "gw"
runtime_dir = "@run@"
clock = "@clock@"
clock_wait = "@wait@s"
health_interval = "10s"
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
name = "2s"
size = "2s"
[[uplinks.https]]
name = "history"
servers = ["@server@"]
initial_interval = "100ms"
[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://127.0.0.1:@central@"]
initial_interval = "100ms"
[observe]
listen = "127.0.0.1:@observe@"
"""


class History(HttpStub):
    """Keeps the records it is sent."""

    class Handler(HttpStub.Handler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.records += [json.loads(line) for line in body.splitlines()]
            self.send_response(204)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def __init__(self):
        self.records = []
        super().__init__(self.Handler)

    def readings(self):
        return [record for record in self.records if record["kind"] == "reading"]

    def events(self, metric):
        return [record for record in self.records if record["kind"] == "event" and record["metric"] == metric]


def since_boot():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def seconds(moment):
    """A time of a record, in seconds since 1970."""
    whole, fraction = moment.rstrip("Z").split(".") if "." in moment else (moment.rstrip("Z"), "0")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float("0." + fraction)


class Clocks(Site):
    def setUp(self):
        super().setUp()
        self.clock = self.folder / "clock"
        self.env = self.faked(FAKETIME_TIMESTAMP_FILE=str(self.clock), FAKETIME_NO_CACHE="1", DONT_FAKE_MONOTONIC="1")

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

    def waiting_site(self, wait, clock="rtc"):
        """A gateway that has just booted into 1970, and waits until so many seconds from now."""
        self.history = History()
        self.addCleanup(self.history.end)
        self.port, self.central = free_port(), self.broker()
        self.set_clock(-int(time.time()) + 5)
        return self.gateway(self.waiting_config(wait, clock), env=self.env)

    def waiting_config(self, wait, clock="rtc"):
        wait = int(since_boot() + wait) if wait else 0
        return self.configure(WAITING, devices=self.port, central=self.central.port, server=self.history.url, wait=wait, clock=clock)

    def say(self, *values):
        """Publishes these; when each was said, by the right clock and by the monotonic one."""
        said = getattr(self, "said", {})
        self.said = said
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the endpoint listens")  # it answers before that
        for value in values:
            said[value] = time.time(), since_boot()
            self.publish(self.port, "plant/d1", json.dumps({"value": value}))

    def waits(self, uplink):
        return self.metric("millrace_uplink_waits_for_clock", f'uplink="{uplink}"')

    def test_what_was_stamped_in_1970_waits_for_the_clock_and_has_the_time_it_had(self):
        gateway = self.waiting_site(wait=300)
        self.say(*range(20))
        wait_for(lambda: self.waits("history") and self.waits("central"), "both wait")
        shown = self.command("status")
        self.assertEqual(shown.returncode, 2)
        self.assertIn("waits for the clock to be set", shown.stdout)
        self.assertIn("kept back", shown.stdout)
        self.assertGreater(self.status()["clock_wait_seconds"], 200)
        # What must not wait does not: how the gateway is, an event of the alarm lane.
        told = wait_for(lambda: self.history.events("health"), "an event")[0]
        self.assertEqual(told["time_trust"], "unsynced")
        self.assertGreater(int(told["boot_id"]), 0)
        gateway.stop(signal.SIGKILL)
        gateway = self.gateway(self.folder / "millrace.toml", env=self.env)
        self.say(*range(20, 30))
        self.publish(self.port, "plant/d1", "oops {")
        refused = time.time()
        wait_for(lambda: self.waits("history") and self.waits("central"), "they wait again")
        self.assertEqual(self.history.readings(), [])
        self.set_clock(0)
        wait_for(lambda: "clock: trusted: a battery clock" in gateway.text(), "it is believed")
        wait_for(lambda: len({r["value"] for r in self.history.readings()}) == 30, "all of them came")
        wait_for(lambda: self.metric("millrace_uplink_backlog_records") == 0, "and to the broker")
        for record in self.history.readings():
            self.assertEqual(record["time_trust"], "gateway")
            self.assertNotIn("boot_id", record)
            self.assertAlmostEqual(seconds(record["time"]), self.said[int(record["value"])][0], delta=0.7)
        for uplink in ("history", "central"):
            self.assertGreaterEqual(self.metric("millrace_uplink_corrected_records_total", f'uplink="{uplink}"'), 30)
            self.assertEqual(self.waits(uplink), 0)
        # The centre is told what time it was in this boot.
        event = wait_for(lambda: self.history.events("clock_set"), "it is told")[-1]
        self.assertAlmostEqual(seconds(event["time"]) - event["monotonic_us"] / 1e6, time.time() - since_boot(), delta=0.5)
        self.assertEqual(event["boot_id"], told["boot_id"])
        # The log shows what was sent, and windows are of those times, whole.
        lines = [json.loads(line) for line in self.command("log", "cat", "--lane", "raw").stdout.splitlines()]
        self.assertEqual({line["time_trust"] for line in lines}, {"gateway"})
        # So do those who look for a device, and its dead letters, before a retry and in what one would give.
        for record in json.loads(self.command("trace", "d1", "--json").stdout)["records"]:
            self.assertEqual(record["time_trust"], "gateway")
            self.assertAlmostEqual(seconds(record["time"]), self.said[int(record["value"])][0], delta=0.7)
        letter = json.loads(self.command("dlq", "ls", "--json").stdout)["dead"][0]
        self.assertAlmostEqual(seconds(letter["time"]), refused, delta=0.7)
        wait_for(lambda: sum(w[2] for w in self.windows(time.time()) if w[1] == 0) >= 28, "windows")

    def test_a_clock_that_is_never_set_is_waited_for_once(self):
        gateway = self.waiting_site(wait=12, clock="kernel")
        if "clock: trusted" in gateway.text():
            self.skipTest("the kernel says that this machine's clock is synchronised")
        ends = since_boot() + 12
        self.say(1, 2, 3)
        wait_for(lambda: self.waits("history"), "it waits")
        gateway.stop(signal.SIGKILL)
        gateway = self.gateway(self.folder / "millrace.toml", env=self.env)
        wait_for(lambda: listening(self.port), "devices are heard again")
        self.say(4)
        wait_for(lambda: len(self.history.readings()) >= 4, "it waits no longer")
        self.assertGreater(since_boot(), ends - 1.5)
        self.assertLess(since_boot(), ends + 5)
        for record in self.history.readings():
            self.assertEqual(record["time_trust"], "unsynced")
            self.assertAlmostEqual(record["monotonic_us"] / 1e6, self.said[int(record["value"])][1], delta=0.7)
        self.assertIn("marked as unsynced", self.command("status").stdout)
        # From here on nothing waits; a reload has it wait again, and another ends that.
        self.say(5)
        wait_for(lambda: any(r["value"] == 5 for r in self.history.readings()), "at once", 3)
        for wait in (300, 0):
            self.waiting_config(wait, clock="kernel")
            reloads = gateway.text().count("reload: ")
            gateway.process.send_signal(signal.SIGHUP)
            wait_for(lambda: gateway.text().count("reload: ") > reloads, "reloaded")
            self.assertNotIn("cannot change at run time", gateway.text())
            self.say(6 if wait else 7)
            if wait:
                wait_for(lambda: self.waits("history"), "it waits again")
        wait_for(lambda: {6, 7} <= {r["value"] for r in self.history.readings()}, "no more")
        self.assertIn("would not be believed here and now", self.command("check").stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
