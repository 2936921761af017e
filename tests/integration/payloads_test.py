#!/usr/bin/python3
"""Payloads as devices really send them, through a broker, the daemon and a far side: what of them arrives, and what is told of the rest."""
import json
import random
import signal
import string
import subprocess
import sys
import unittest
from pathlib import Path

import paho.mqtt.client as mqtt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from testsite import BUILD, Site, wait_for

CONFIG = """
[gateway]
name = "gw"
runtime_dir = "@run@"
[log]
path = "@log@"
commit_interval = "100ms"
[[inputs.mqtt]]
name = "devices"
servers = ["mqtt://127.0.0.1:@devices@"]
[[inputs.mqtt.routes]]
topic = "list/{device}"
each = "r[]"
time = "t"
metrics = { v = { path = "v", type = "@type@" } }
[[inputs.mqtt.routes]]
topic = "csv/{device}"
format = "csv"
@csv@
[[inputs.mqtt.routes]]
topic = "whole/{device}"
on_error = "refuse"
[[inputs.mqtt.routes]]
topic = "homeassistant/#"
ignore = true
[[inputs.mqtt.routes]]
topic = "strict/{device}"
strict = true
[[inputs.mqtt.routes]]
topic = "any/{device}"
[[inputs.mqtt.routes]]
topic = "rtl_433/events"
device = "{.model}-{.id}"
fixed_tags = { channel = "{.channel}" }
time = "time"
[[inputs.mqtt.routes]]
topic = "esp/{device}/sensor/{metric}/state"
format = "plain"
metrics = { "{metric}" = {} }
[[inputs.mqtt.routes]]
topic = "declared/{device}"
expected = { t = { min = -50, max = 60 }, s = "text"@more@ }
[[inputs.mqtt.routes]]
topic = "wanted/{device}"
when = "kind == 'a'"
metrics = { t = "t", never = "nowhere" }
[[inputs.mqtt.routes]]
topic = "wanted/{device}"
schema = "learn"
[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://127.0.0.1:@central@"]
[observe]
listen = "127.0.0.1:@observe@"
"""


PROTO = """
syntax = "proto3";
package plant;
import "google/protobuf/timestamp.proto";
message Sample { google.protobuf.Timestamp at = 1; float v = 2; }
message Telemetry {
  enum State { IDLE = 0; RUN = 1; }
  string id = 1; double temperature = 2; sint32 count = 3; uint64 big = 4; bool on = 5; State state = 6;
  repeated Sample samples = 7; repeated int32 codes = 8; map<string, double> tags = 9; bytes raw = 10; optional int32 maybe = 11; float ratio = 12;
}
"""


class Payloads(Site):
    def start(self, config=CONFIG, **values):
        self.devices, self.central = self.broker(), self.broker()
        self.values = {"devices": self.devices.port, "central": self.central.port, "type": "integer", "more": "", "csv": "", **values}
        self.daemon = self.gateway(self.configure(config, **self.values))
        wait_for(lambda: self.metric("millrace_input_up") == 1 and self.metric("millrace_uplink_up") == 1, "both sides are up")

    def send(self, topic, *payloads):
        for payload in payloads:
            data = payload if isinstance(payload, bytes) else payload.encode()
            how = ["-s"] if data else ["-n"]
            subprocess.run(["mosquitto_pub", "-p", str(self.devices.port), "-t", topic, "-q", "1", *how], input=data, check=True, timeout=20)

    def readings(self, device=None):
        """What the log holds, in order: (metric, value) of each reading, and its whole record."""
        lines = [json.loads(line) for line in self.command("log", "cat", "--lane", "raw").stdout.splitlines()]
        return [(r["metric"], r["value"]) for r in lines if r["device"] == device or device is None]

    def letters(self):
        """The newest first."""
        return json.loads(self.command("dlq", "ls", "--json", "-n", "1000").stdout)["dead"]

    def arrive(self, count):
        wait_for(lambda: len(self.readings()) >= count, f"{count} readings")
        self.assertEqual(len(self.readings()), count, self.readings())

    def conserved(self):
        taken, *parts = (self.metric(f"millrace_{name}_total") for name in ("taken_records", "admitted_records", "filtered_records", "duplicates", "undecodable"))
        self.assertEqual(taken, sum(parts))

    def test_one_bad_value_costs_nothing_else_and_a_retry_gives_what_is_missing(self):
        self.start()
        payload = '{"r":[{"t":1700000000,"v":1},{"t":1700000001,"v":2.5},{"t":1700000002,"v":null},{"t":"soon","v":4},{"t":1700000004,"v":5}]}'
        self.send("list/d1", payload)
        self.send("list/d2", '{"r":[{"t":1700000000,"v":7}]}')  # a neighbour
        wait_for(lambda: len(self.readings()) == 3, "what is good of it, and the neighbour's")
        self.assertEqual(self.readings("d1"), [("v", 1), ("v", 5)])
        (letter,) = self.letters()
        self.assertEqual((letter["payload"], letter["partly"]), (payload, True), "whole, and said that the rest entered")
        self.assertIn("r[1].v", letter["reason"])
        self.assertIn('r[3]: not a time: "soon"', letter["reason"])
        self.assertEqual(self.metric("millrace_input_no_value_total"), 1)
        self.conserved()
        # The same configuration once more: nothing comes, the letter stays.
        self.assertEqual(json.loads(self.command("dlq", "retry", "--all", "--json").stdout)["still_dead"], 1)
        self.assertEqual(len(self.readings()), 3)
        # The type is mended: that value comes, and a new letter has the rest.
        self.configure(CONFIG, **{**self.values, "type": "number"})
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "reload: " in self.daemon.text(), "the reload")
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is back")
        self.assertEqual(json.loads(self.command("dlq", "retry", "--all", "--json").stdout), {"retried": 1, "still_dead": 0})
        wait_for(lambda: len(self.readings()) == 4, "the value that was missing")
        self.assertEqual(self.readings("d1"), [("v", 1), ("v", 5), ("v", 2.5)])
        (rest,) = self.letters()
        self.assertNotEqual(rest["number"], letter["number"])
        self.assertEqual((rest["payload"], rest["time"]), (payload, letter["time"]))
        self.assertNotIn("r[1]", rest["reason"])
        self.assertIn('r[3]: not a time: "soon"', rest["reason"])
        # Over a restart the letter knows what it knew.
        self.assertEqual(self.daemon.stop(), 0)
        self.daemon = self.gateway(self.folder / "millrace.toml")
        self.assertEqual(json.loads(self.command("dlq", "retry", "--all", "--json").stdout)["still_dead"], 1)
        self.assertEqual(len(self.readings()), 4)
        wait_for(lambda: self.metric("millrace_uplink_backlog_records") == 0, "all of it is at the far side")

    def test_a_payload_that_finds_no_room_in_the_dead_lane_is_said_to_be_kept_nowhere(self):
        self.start(CONFIG.replace("[log]", '[log]\nmax_size = "1MiB"'))
        self.central.stop()  # a segment whose letters are more than their share goes once its readings are delivered
        dice = random.Random(3)
        sent = 0
        while sent < 10 and self.metric("millrace_dead_full_total") == 0:  # ten lines are said in ten seconds
            self.send("list/d2", '{"r":[{"t":1700000000,"v":7}]}')
            wait_for(lambda: len(self.readings()) == sent + 1, "a reading beside it")
            commits = self.metric("millrace_log_commits_total")
            self.send("list/d1", '{"r":x' + "".join(dice.choices(string.ascii_letters + string.digits, k=30_000)))
            sent += 1
            wait_for(lambda: self.metric("millrace_undecodable_total") == sent and self.metric("millrace_log_commits_total") > commits, "it is committed")
        self.assertEqual(self.metric("millrace_dead_full_total"), 1)
        wait_for(lambda: "; not kept: the dead lane is full" in self.daemon.text(), "it is told")
        self.assertEqual(self.daemon.text().count("; kept in the dead lane"), sent - 1)
        self.assertEqual(self.metric("millrace_dead_letters_total"), sent - 1)

    def test_payloads_that_are_large_together_lie_whole_in_the_dead_lane(self):
        self.start()
        dice = random.Random(7)
        payloads = ["x" + "".join(dice.choices(string.ascii_letters, k=size)) for size in (200_000, 950_000) * 6]
        publisher = mqtt.Client()
        publisher.connect("127.0.0.1", self.devices.port)
        publisher.loop_start()
        try:
            for message in [publisher.publish("list/d1", payload, qos=1) for payload in payloads]:
                message.wait_for_publish(20)
        finally:
            publisher.disconnect()
            publisher.loop_stop()
        wait_for(lambda: self.metric("millrace_undecodable_total") == len(payloads), "all of them were looked at")
        commits = self.metric("millrace_log_commits_total")
        self.send("list/d2", '{"r":[{"t":1700000000,"v":7}]}')
        wait_for(lambda: self.metric("millrace_log_commits_total") > commits and self.readings(), "all of them are committed")
        self.assertEqual(self.metric("millrace_log_refused_records_total"), 0)
        self.assertEqual(sorted(int(letter["size"]) for letter in self.letters()), sorted(map(len, payloads)))

    def test_a_retry_waits_while_the_log_is_full(self):
        self.start(CONFIG.replace("[log]", '[log]\nmax_size = "1MiB"\nwhen_full = "block"'))
        self.central.stop()
        self.send("list/d1", '{"r":[{"t":1700000000,"v":2.5}]}')
        wait_for(lambda: len(self.letters()) == 1, "a letter")
        dice = random.Random(5)
        for _ in range(100):
            if self.metric("millrace_log_blocked") == 1:
                break
            self.send("any/d2", json.dumps({"text": "".join(dice.choices(string.ascii_letters + string.digits, k=30_000))}))
        wait_for(lambda: self.metric("millrace_log_blocked") == 1, "the log is full")
        answer = json.loads(self.command("dlq", "retry", "--all", "--json").stdout)
        self.assertEqual((answer["retried"], answer["still_dead"]), (0, 1))
        self.assertIn("the log is full", answer["reason"])
        self.assertEqual(len(self.letters()), 1)

    def test_a_retry_of_lines_gives_what_is_missing_whoever_names_the_columns_now(self):
        metrics = 'metrics = { a = "a", b = { path = "b", type = "number", max = %d } }'
        self.start(csv=metrics % 100)
        self.send("csv/d", "a,b\n1,10\n2,20\n3,999\n4,40\n")
        self.arrive(7)
        self.assertEqual(len(self.letters()), 1)
        self.configure(CONFIG, **{**self.values, "csv": 'skip_lines = 1\ncolumns = ["a", "b"]\n' + metrics % 1000})
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "reload: " in self.daemon.text(), "the reload")
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is back")
        self.assertEqual(json.loads(self.command("dlq", "retry", "--all", "--json").stdout), {"retried": 1, "still_dead": 0})
        self.arrive(8)
        self.assertEqual(self.readings()[-1], ("b", 999))
        self.assertEqual(self.letters(), [])

    def test_a_path_that_leads_to_something_else_is_told(self):
        self.start()
        self.send("list/d", '{"r":{"t":1700000000,"v":1}}', '{"r":[{"t":{"$date":"2026-01-01T00:00:00Z"},"v":1}]}', '{"r":[{"t":1700000000,"v":[1]}]}')
        wait_for(lambda: len(self.letters()) == 3, "a letter each")
        self.assertEqual([letter["reason"] for letter in self.letters()],
                         ['r[0].v: "v" is no value: an object or list', 'r[0]: not a time: "an object or list"', 'each = "r[]": an object, not a list'])
        self.assertEqual(self.readings(), [])
        self.conserved()

    def test_what_has_no_value_what_is_ignored_and_what_must_come_whole(self):
        self.start()
        self.send("any/d", '{"t":nan,"h":45.1}', '{"t":Infinity,"h":1}', '{"t":1e400,"h":2}', '{"t":null}', "")
        self.send("whole/d", '{"t":1e400,"h":3}')
        self.send("homeassistant/sensor/x/config", "whatever")
        self.send("strict/d", '{"t":nan,"h":4}', '{"h":5}')
        self.arrive(4)
        self.assertEqual(self.readings(), [("h", 45.1), ("h", 1), ("h", 2), ("h", 5)])
        wait_for(lambda: self.metric("millrace_input_payloads_total") == 9, "all of them are taken")
        self.assertEqual([(letter["channel"], letter.get("partly", False)) for letter in reversed(self.letters())],
                         [("any/d", True), ("whole/d", False), ("strict/d", False)])
        self.assertEqual(self.metric("millrace_input_ignored_total"), 1)
        self.assertEqual(self.metric("millrace_input_no_value_total"), 4)
        self.conserved()

    def test_what_stands_around_json(self):
        self.start()
        self.send("any/d", b'\xef\xbb\xbf{"a":1}', b'{"a":2}\0', b'{"a":3}\n{"a":4}\r\n', b'{"u":"\xb0C"}', '{"a.b":5,"a":{"b":6},"l":[7,{"v":8}]}')
        self.arrive(9)
        self.assertEqual(self.readings(), [("a", 1), ("a", 2), ("a", 3), ("a", 4), ("u", "\u00b0C"), ("'a.b'", 5), ("a.b", 6), ("l[0]", 7), ("l[1].v", 8)])
        self.assertEqual(self.metric("millrace_input_latin1_total"), 1)
        self.assertEqual(self.daemon.text().count("ISO 8859-1"), 1)
        self.assertEqual(self.letters(), [])

    def test_names_come_from_the_payload_and_from_levels_of_the_topic(self):
        self.start()
        self.send("rtl_433/events", '{"time":"2024-07-01 14:00:00","model":"Acurite-Tower","id":1234,"channel":"A","temperature_C":21.3}')
        self.send("esp/kitchen/sensor/humidity/state", "45.5 %")
        self.arrive(2)
        first, second = (json.loads(line) for line in self.command("log", "cat", "--lane", "raw").stdout.splitlines())
        self.assertEqual((first["device"], first["tags"], first["metric"]), ("Acurite-Tower-1234", {"channel": "A"}, "temperature_C"))
        self.assertEqual((second["device"], second["metric"], second["value"], second["unit"]), ("kitchen", "humidity", 45.5, "%"))

    def test_what_is_not_expected_is_counted_lies_in_the_dead_lane_and_enters_once_it_is(self):
        self.start()
        self.send("declared/d1", '{"t":21.5,"s":"run","x":7}', '{"t":99}')
        self.arrive(2)
        wait_for(lambda: len(self.letters()) == 2, "both letters")
        self.assertEqual(self.metric("millrace_input_schema_total", 'what="unexpected"'), 1)
        self.assertEqual(self.metric("millrace_input_schema_total", 'what="range"'), 1)
        self.assertIn('"x" is not expected', self.letters()[1]["reason"])
        (devices,) = self.status()["inputs"]
        self.assertEqual(devices["schemas"], [{"route": 'route "declared/{device}"', "unexpected": 1, "type": 0, "unit": 0, "range": 1, "absent_metrics": 0}])
        self.assertRegex(self.command("status").stdout, r'schema +devices, route "declared/\{device\}": 1 not expected, 1 out of range')
        # The route learns of it, the daemon reloads, and the letter gives what was missing.
        self.configure(CONFIG, **{**self.values, "more": ', x = "integer"'})
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "reload: 1 inputs" in self.daemon.text(), "the reload")
        wait_for(lambda: (self.command("dlq", "retry", "--all"), len(self.readings()))[1] >= 3, "the retry")
        self.assertEqual(sorted(self.readings("d1"), key=str), [("s", "run"), ("t", 21.5), ("x", 7)])
        # Messages of two kinds on one topic; of one of them a member never comes.
        self.send("wanted/d2", *['{"kind":"a","t":1}'] * 3, '{"kind":"b","u":2}')
        wait_for(lambda: len(self.readings("d2")) == 5, "three of one kind, two readings of the other")
        self.assertEqual(self.metric("millrace_input_absent_metrics"), 1)
        self.assertIn('route "wanted/{device}": 1 wanted member has never come', self.command("status").stdout)
        self.assertEqual(self.metric("millrace_format_memory", 'what="metrics"'), 2)
        self.conserved()

    def test_a_changed_route_is_tried_on_dead_letters_and_on_what_comes(self):
        self.start()
        self.send("list/d1", '{"r":[{"t":1700000000,"v":1},{"t":1700000001,"v":2.5}]}')
        self.send("strict/d2", '{"t":nan,"h":4}')
        wait_for(lambda: len(self.letters()) == 2, "both letters")
        # The file as it is: what is missing is still missing. Nothing of it is retried by that.
        code, said, _ = self.try_out("", "--dlq")
        self.assertEqual((code, said.count("letter "), said.count("FAILED")), (1, 2, 2), said)
        changed = self.folder / "changed.toml"
        changed.write_text((self.folder / "millrace.toml").read_text().replace('type = "integer"', 'type = "number"').replace("strict = true", ""))
        done = subprocess.run([str(BUILD / "millrace"), "test", "-c", str(changed), "--dlq", "--json"], capture_output=True, text=True, timeout=20)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual([(r["device"], r["metric"], r["value"], r["time"][:19]) for r in map(json.loads, done.stdout.splitlines()) if r["device"] == "d1"],
                         [("d1", "v", 2.5, "2023-11-14T22:13:21")])
        done = subprocess.run([str(BUILD / "millrace"), "test", "-c", str(changed), "--dlq", "--topic", "strict/+", "-n", "5"], capture_output=True, text=True, timeout=20)
        self.assertEqual((done.returncode, done.stdout.count("letter "), "d2  h = 4" in done.stdout), (0, 1, True), done.stdout + done.stderr)
        self.assertEqual((len(self.letters()), len(self.readings("d2"))), (2, 0), "nothing was retried")
        # As they come, by another route than the daemon's.
        watcher = subprocess.Popen([str(BUILD / "millrace"), "test", "-c", str(changed), "--live", "--topic", "strict/#", "-n", "2", "--json"], stdout=subprocess.PIPE, text=True)
        count = iter(range(1000))

        def lines():
            self.send("strict/d3", '{"h":nan,"n":%d}' % next(count))
            self.send("any/d4", '{"n":0}')
            return watcher.poll() is not None
        wait_for(lines, "two payloads were seen")
        seen = [json.loads(line) for line in watcher.stdout.read().splitlines()]
        watcher.stdout.close()
        self.assertEqual([(r["device"], r["metric"]) for r in seen], [("d3", "n")] * 2)
        self.assertEqual(seen[1]["value"], seen[0]["value"] + 1)
        for arguments in (("--dlq", "--live"), ("--dlq", "x.json")):
            self.assertEqual(self.try_out("", *arguments)[0], 64)
        self.daemon.stop()
        self.assertEqual(self.try_out("", "--live")[0], 69)
        code, said, _ = self.try_out("", "--dlq")  # of the stopped log
        self.assertEqual((code, "letter " in said), (1, True), said)

    def try_out(self, payload, *arguments):
        data = payload if isinstance(payload, bytes) else payload.encode()
        done = subprocess.run([str(BUILD / "millrace"), "test", "-c", str(self.folder / "millrace.toml"), *arguments], input=data, capture_output=True, timeout=20)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def test_a_route_is_tried_on_a_sample_without_a_daemon(self):
        serial = """
[[inputs.serial]]
name = "scale"
device = "/dev/serial/by-id/none"
[inputs.serial.route]
format = "plain"
metrics = { weight = {} }
"""
        self.configure(CONFIG.replace("[[uplinks.mqtt]]", serial + "[[uplinks.mqtt]]"), devices=1, central=2, type="integer", more="", csv="")
        code, said, _ = self.try_out('{"r":[{"t":1700000000,"v":1},{"t":1700000001,"v":2.5},{"t":1700000002,"v":null}]}', "--input", "devices", "--topic", "list/d1")
        self.assertEqual(code, 1)
        self.assertIn("  d1  v = 1 (integer)  2023-11-14T22:13:20", said)
        for words in ("1 reading\n", "1 value that is none", 'FAILED, the rest enters: r[1].v: "v" is not a whole number'):
            self.assertIn(words, said)
        self.assertEqual(self.try_out("offline", "--input", "devices", "--topic", "homeassistant/status"), (0, "ignored: the route says ignore = true\n", ""))
        code, said, _ = self.try_out("{}", "--input", "devices", "--topic", "no/route/here")
        self.assertEqual(code, 1)
        self.assertRegex(said, r"FAILED, nothing of it enters: no route for this topic\nroutes: .*homeassistant/.*, any/")
        code, said, _ = self.try_out(b"ST,GS,+  12.345kg\r\nnoise?\r12.5 kg", "--input", "scale")
        self.assertEqual((code, said.count("weight = "), said.count("FAILED")), (1, 2, 1), said)
        code, said, _ = self.try_out('{"v":1}', "--input", "devices", "--topic", "any/d", "--json")
        self.assertEqual((code, json.loads(said)["metric"]), (0, "v"))
        sample = self.folder / "sample"
        sample.write_text('{"v":1}')
        self.assertEqual(self.try_out("", "--input", "devices", "--topic", "any/d", str(sample))[0], 0)
        # What is missing of the command is asked for.
        for arguments, words in (((), "which input's routes? --input: devices, scale"), (("--input", "x"), 'no input "x"'), (("--input", "devices"), "--topic")):
            code, _, said = self.try_out("{}", *arguments)
            self.assertEqual((code, words in said), (64, True), said)

    def test_a_route_is_suggested_for_what_was_seen_and_reads_it(self):
        def suggest(given, *arguments):
            return subprocess.run([str(BUILD / "millrace"), "route", "suggest", *arguments], input=given.encode(), capture_output=True, text=False, timeout=20)

        seen = ('plant/l1/press-1/telemetry {"ts":1767225600,"temp":21.5,"on":true}\n'
                'plant/l2/press-2/telemetry {"ts":1767225601,"temp":22,"on":false}\n')
        done = suggest(seen, "--lines")
        self.assertEqual(done.returncode, 0, done.stderr)
        said = done.stdout.decode()
        self.assertIn('topic = "plant/{device}/{level2}/telemetry"', said)
        self.configure(CONFIG.replace("[[uplinks.mqtt]]", said + "[[uplinks.mqtt]]"), devices=1, central=2, type="integer", more="", csv="")
        code, said, complaint = self.try_out('{"ts":1767225600,"temp":21.5,"on":true}', "--input", "devices", "--topic", "plant/l1/press-1/telemetry", "--json")
        self.assertEqual((code, [(r["metric"], r["value"], r["time"][:10]) for r in map(json.loads, said.splitlines())]), (0, [("on", True, "2026-01-01"), ("temp", 21.5, "2026-01-01")]), complaint)
        # And so it does for what firmware sends with less care.
        for given, expected in (("21,5", [("value", 21.5)]), ("21.5\0", [("value", 21.5)]), ('"online"', [("value", "online")]), ('{"":1,"x":2}', [("__", 1), ("x", 2)])):
            with self.subTest(given=given):
                said = suggest(given, "-t", "plant/l1/press-1/telemetry").stdout.decode()
                self.configure(CONFIG.replace("[[uplinks.mqtt]]", said + "[[uplinks.mqtt]]"), devices=1, central=2, type="integer", more="", csv="")
                code, said, complaint = self.try_out(given, "--input", "devices", "--topic", "plant/l1/press-1/telemetry", "--json")
                self.assertEqual((code, [(r["metric"], r["value"]) for r in map(json.loads, said.splitlines())]), (0, expected), complaint)
        for given, arguments, code in (("", ("-t", "a/b"), 64), ("1", (), 64), ("\x01\x02", ("-t", "a/b"), 1)):
            self.assertEqual(suggest(given, *arguments).returncode, code)

    def test_protocol_buffers_as_protoc_and_somebody_elses_encoder_write_them(self):
        try:
            from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
        except ImportError:
            self.skipTest("python3-protobuf is not installed")
        (self.folder / "device.proto").write_text(PROTO)
        (self.folder / "google" / "protobuf").mkdir(parents=True)  # Debian has it in libprotobuf-dev
        (self.folder / "google" / "protobuf" / "timestamp.proto").write_text(
            'syntax = "proto3"; package google.protobuf; message Timestamp { int64 seconds = 1; int32 nanos = 2; }')
        subprocess.run(["protoc", "--include_imports", "--descriptor_set_out=device.desc", "device.proto"], cwd=self.folder, check=True, timeout=30)
        config = CONFIG.replace("[[uplinks.mqtt]]", f"""
[[inputs.mqtt.routes]]
topic = "pb/{{device}}"
format = "protobuf"
descriptor_set = "{self.folder}/device.desc"
message = "plant.Telemetry"
[[inputs.mqtt.routes]]
topic = "samples/{{device}}"
format = "protobuf"
descriptor_set = "{self.folder}/device.desc"
message = "plant.Telemetry"
each = "samples[]"
time = "at"
metrics = {{ v = "v" }}
[[uplinks.mqtt]]""")
        self.configure(config, devices=1, central=2, type="integer", more="", csv="")
        files = descriptor_pb2.FileDescriptorSet.FromString((self.folder / "device.desc").read_bytes())
        pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            pool.Add(file)
        Telemetry = message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName("plant.Telemetry"))
        sent = Telemetry(id="p1", temperature=21.5, count=-3, big=2**63, on=True, state=1, codes=[1, -2, 300], raw=b"\x01\xff", maybe=0, ratio=0.1)
        sent.tags["hall"] = 7.25
        for second, value in ((1767225600, 20.0), (1767225660, 0.0)):
            sample = sent.samples.add(v=value)
            sample.at.seconds, sample.at.nanos = second, 250_000_000
        payload = sent.SerializeToString()
        code, said, complaint = self.try_out(payload, "--input", "devices", "--topic", "pb/d", "--json")
        self.assertEqual(code, 0, said + complaint)
        got = {r["metric"]: r["value"] for r in map(json.loads, said.splitlines())}
        self.assertEqual(got, {"id": "p1", "temperature": 21.5, "count": -3, "big": 2**63, "on": True, "state": "RUN", "codes[0]": 1, "codes[1]": -2, "codes[2]": 300, "raw": "01ff",
                               "maybe": 0, "ratio": 0.1, "tags.hall": 7.25, "samples[0].at": 1767225600250000, "samples[0].v": 20, "samples[1].at": 1767225660250000, "samples[1].v": 0})
        code, said, _ = self.try_out(payload, "--input", "devices", "--topic", "samples/d", "--json")
        self.assertEqual([(r["value"], r["time"]) for r in map(json.loads, said.splitlines())], [(20, "2026-01-01T00:00:00.250000Z"), (0, "2026-01-01T00:01:00.250000Z")])
        code, said, _ = self.try_out(payload[:-3], "--input", "devices", "--topic", "pb/d")
        self.assertEqual((code, "FAILED, nothing of it enters: no plant.Telemetry: its bytes make no sense" in said), (1, True), said)

    def test_lines_of_influxdb_arrive_and_a_bad_one_costs_its_neighbours_nothing(self):
        route = '[[inputs.mqtt.routes]]\ntopic = "telegraf/#"\nformat = "influx"\ndevice = "{.tags.host}"\nfixed_tags = { core = "{.tags.cpu}" }\n%s'
        self.start(CONFIG.replace("[[uplinks.mqtt]]", route % "" + "[[uplinks.mqtt]]"))
        self.send("telegraf/a/cpu", "# Telegraf\ncpu,cpu=cpu0,host=a usage_idle=98.5,n=4i 1767268800000000000\ncpu,host=b usage_idle\ncpu,cpu=cpu1,host=b,rack=7 ok=t 1767268800\n")
        self.arrive(3)
        self.assertEqual((self.readings("a"), self.readings("b")), ([("cpu.usage_idle", 98.5), ("cpu.n", 4)], [("cpu.ok", True)]))
        lines = [json.loads(line) for line in self.command("log", "cat", "--lane", "raw").stdout.splitlines()]
        self.assertEqual([(r["tags"], r["time"][:19]) for r in lines], [({"core": "cpu0"}, "2026-01-01T12:00:00")] * 2 + [({"core": "cpu1", "rack": "7"}, "2026-01-01T12:00:00")])
        (letter,) = self.letters()
        self.assertEqual((letter["partly"], letter["reason"]), (True, "line 3: a field has no value"))
        self.conserved()

    def test_lines_as_influxdbs_own_client_writes_them(self):
        try:
            from influxdb.line_protocol import make_lines
        except ImportError:
            self.skipTest("python3-influxdb is not installed")
        self.configure(CONFIG.replace("[[uplinks.mqtt]]", '[[inputs.mqtt.routes]]\ntopic = "influx/{device}"\nformat = "influx"\n[[uplinks.mqtt]]'), devices=1, central=2, type="integer", more="",
                       csv="")
        points = [{"measurement": "power meter,1", "tags": {"room": "a=b, c", "floor": "1"}, "time": 1767268800000000000,
                   "fields": {"volt age": 230.5, "n": 7, "big": 2**53 + 1, "on": True, "off": False, "small": 1e-9, "text": 'say "x", y=1', "a,b=c": -1.5}},
                  {"measurement": "weather", "fields": {"t": 21.0}}]
        code, said, complaint = self.try_out(make_lines({"points": points}).encode(), "--input", "devices", "--topic", "influx/d", "--json")
        self.assertEqual(code, 0, said + complaint)
        got = [json.loads(line) for line in said.splitlines()]
        self.assertEqual({r["metric"]: r["value"] for r in got},
                         {**{"power meter,1." + name: value for name, value in points[0]["fields"].items()}, "weather.t": 21})
        self.assertEqual([(r.get("tags", {}), r["time_trust"]) for r in got if r["metric"] in ("power meter,1.n", "weather.t")],
                         [({"floor": "1", "room": "a=b, c"}, "device"), ({}, "gateway")])


if __name__ == "__main__":
    unittest.main(verbosity=2)
