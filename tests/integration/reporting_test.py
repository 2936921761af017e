#!/usr/bin/python3
"""Report by exception and liveness through the daemon: what leaves, what windows still see, what a reload and a restart remember; devices
that are alive, silent and back, over a restart, and what an uplink hears of it. The daemon's clocks jump, so that nobody need wait."""
import json
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from testsite import Site, free_port, wait_for

CONFIG = """
[gateway]
name = "gw"
runtime_dir = "@run@"
clock = "trust"
@gatewaymore@
[log]
path = "@log@"
commit_interval = "50ms"
[[inputs.mqtt_endpoint]]
name = "devices"
listen = "127.0.0.1:@port@"
anonymous = true
liveness = false
  [[inputs.mqtt_endpoint.routes]]
  topic = "tank/{device}"
  time = "ts"
  time_format = "s"
  metrics = { level = { path = "level" }, state = { path = "state" } }
  @ruled@
  [[inputs.mqtt_endpoint.routes]]
  topic = "plain/{device}"
  metrics = { level = { path = "level" } }
@more@
[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://127.0.0.1:1"]
[observe]
listen = "127.0.0.1:@observe@"
@observemore@
"""
RULES = """[inputs.mqtt_endpoint.routes.report]
  deadband = 0.5
  max_silence = "1h"
  deduplicate = true"""
WINDOW = '[[windows]]\nname = "hour"\nsize = "1h"\nidle_close = "1s"\nmetrics = ["level"]'


class Reporting(Site):
    def start(self, env=None, **values):
        self.port = getattr(self, "port", None) or free_port()
        plain = {"gatewaymore": "", "ruled": RULES, "more": "", "observemore": ""}
        self.path = self.configure(CONFIG, port=self.port, **{**plain, **values})
        return self.gateway(self.path, env=env)

    def say(self, topic, *readings):
        lines = "".join(json.dumps(one) + "\n" for one in readings).encode()
        subprocess.run(["mosquitto_pub", "-p", str(self.port), "-t", topic, "-q", "1", "-l"], input=lines, check=True, timeout=20)

    def lane(self, lane):
        return [json.loads(line) for line in self.command("log", "cat", "--lane", lane).stdout.splitlines()]

    def levels(self, lane="raw", device=None):
        return [r["value"] for r in self.lane(lane) if r["metric"] == "level" and device in (None, r["device"])]

    def test_what_leaves_and_what_windows_see(self):
        self.start(more=WINDOW)
        base = 1_790_000_000 // 3600 * 3600
        self.say("tank/1", *({"ts": base + i, "level": level} for i, level in enumerate((20, 20.1, 20.4, 20.6, 20.6, 20.2, 19.9))))
        self.say("tank/2", {"ts": base, "level": 20.1})
        self.say("plain/1", {"level": 5}, {"level": 5})
        wait_for(lambda: len(self.levels("held")) == 4, "what did not change is held")
        self.assertEqual(self.levels(device="1"), [20, 20.6, 19.9, 5, 5])
        self.assertEqual(self.levels("held"), [20.1, 20.4, 20.6, 20.2])
        self.assertEqual(self.metric("millrace_input_suppressed_records_total"), 4)
        self.assertEqual(self.metric("millrace_filtered_records_total"), 0)
        # The same again, with the times it had: nothing of it is new.
        self.say("tank/1", *({"ts": base + i, "level": level} for i, level in ((5, 20.2), (6, 19.9))))
        wait_for(lambda: self.metric("millrace_duplicates_total") == 2, "they are known")
        # A window closes: it has seen all seven.
        self.say("tank/1", {"ts": base + 3700, "level": 19.9})
        window = wait_for(lambda: [w for w in self.lane("window") if w["device"] == "1"], "the window")[0]["window"]
        self.assertEqual((window["count"], window["min"], window["max"]), (7, 19.9, 20.6))
        wait_for(lambda: self.levels(device="1")[-1] == 19.9, "more than an hour passed: max_silence")
        taken, rest = self.metric("millrace_taken_records_total"), ["admitted_records", "filtered_records", "duplicates", "undecodable"]
        self.assertEqual(taken, sum(self.metric(f"millrace_{one}_total") for one in rest))

    def test_without_a_window_it_is_not_stored_and_a_reload_remembers_where_a_restart_does_not(self):
        gateway = self.start()
        self.say("tank/1", {"ts": 1_790_000_000, "level": 20}, {"ts": 1_790_000_001, "level": 20.2})
        wait_for(lambda: self.metric("millrace_filtered_records_total") == 1, "it is counted")
        self.assertEqual((self.levels(), self.levels("held")), ([20], []))
        self.path.write_text(self.path.read_text().replace("deadband = 0.5", "deadband = 0.1"))
        self.assertEqual(self.command("reload").returncode, 0)
        self.say("tank/1", {"ts": 1_790_000_002, "level": 20.05}, {"ts": 1_790_000_003, "level": 20.2})
        wait_for(lambda: self.levels() == [20, 20.2], "by the new deadband, from the value that left last")
        gateway.stop(signal.SIGKILL)
        self.gateway(self.path)
        self.say("tank/1", {"ts": 1_790_000_004, "level": 20.2})
        wait_for(lambda: self.levels() == [20, 20.2, 20.2], "the first one after a start leaves")

    def test_check_tells_what_makes_no_sense(self):
        for rules, words in ((RULES.replace("0.5", "-1"), '"deadband" is less than 0'),
                             ('[inputs.mqtt_endpoint.routes.report]\n  on_change = false\n  deadband = 1', "contradicts"),
                             ('[inputs.mqtt_endpoint.routes.report]\n  max_silence = "1h"', '"max_silence" is of'),
                             ('[inputs.mqtt_endpoint.routes.report]\n  dead_band = 1', 'did you mean "deadband"')):
            self.port = free_port()
            path = self.configure(CONFIG, port=self.port, gatewaymore="", ruled=rules, more="", observemore="")
            done = self.command("check", config=path)
            self.assertEqual(done.returncode, 78, rules)
            self.assertIn(words, done.stdout + done.stderr)

    # ---- devices
    def jumping(self):
        self.clock = self.folder / "clock"
        self.at(0)
        return self.faked(FAKETIME_TIMESTAMP_FILE=str(self.clock), FAKETIME_NO_CACHE="1")

    def at(self, seconds):
        self.clock.write_text(f"+{seconds}\n")

    def events(self):
        return [(e["metric"], e.get("device", "")) for e in self.lane("alarm") if e["metric"] != "device_inventory"]

    def hear(self, seconds, *devices):
        before = self.metric("millrace_input_records_total")
        self.at(seconds)
        for device in devices:
            self.say(f"plain/{device}", {"level": 1})
        wait_for(lambda: self.metric("millrace_input_records_total") == before + len(devices), "they were heard")

    def test_devices_are_alive_silent_and_back_over_a_restart(self):
        env = self.jumping()
        gateway = self.start(env=env)
        for seconds in (0, 100, 200, 310):
            self.hear(seconds, "a", "b")
        self.at(325)
        wait_for(lambda: sorted(self.events()) == [("device_alive", "a"), ("device_alive", "b")], "both are there")
        for seconds in (400, 500, 600, 700, 800, 900):
            self.hear(seconds, "a")
        self.at(915)
        wait_for(lambda: ("device_silent", "b") in self.events(), "one is silent")
        self.assertNotIn(("device_silent", "a"), self.events())
        inventories = {e["device"]: json.loads(e["value"]) for e in self.lane("alarm") if e["metric"] == "device_inventory"}
        self.assertEqual(sorted(inventories), ["a", "b"])
        self.assertEqual(inventories["a"]["metrics"], ["level"])
        self.assertGreater(self.metric("millrace_device_last_seen_seconds", 'device="b"'), 600)
        gateway.stop()
        self.gateway(self.path, env=env)
        events = len(self.events())
        self.assertGreater(self.metric("millrace_device_last_seen_seconds", 'device="b"'), 600)
        self.hear(1000, "a", "b")
        self.at(1020)
        back = wait_for(lambda: [e for e in self.lane("alarm") if e["metric"] == "device_back"], "it is back")
        self.assertEqual((len(self.events()), len(back), back[0]["device"]), (events + 1, 1, "b"))
        self.assertAlmostEqual(back[0]["value"], 690, delta=30)

    def test_without_events(self):
        env = self.jumping()
        self.start(env=env, observemore='device_events = false\ninventory = "0s"\ndevice_series_max = 0')
        for seconds in (0, 100, 200, 310):
            self.hear(seconds, "a")
        self.at(400)
        wait_for(lambda: "millrace_device_series_left_out 1" in (self.http("/metrics") or ""), "it is known")
        self.assertEqual(self.lane("alarm"), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
