#!/usr/bin/python3
"""The log of a real daemon, looked after from the command line; disks that go away, fill up and lose power."""
import csv
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import time
import unittest
from pathlib import Path

import paho.mqtt.client as mqtt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from testsite import BUILD, DiskSite, Neighbour, Site, free_port, scenario, wait_for


def set_format(head, number):
    """As if another version had written this segment."""
    crc = 0xFFFFFFFF
    for byte in b"format\0" + bytes([number]):  # CRC-32C
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    with sqlite3.connect(head) as db:
        db.execute("UPDATE state SET value=?, crc=? WHERE key='format'", (bytes([number]), crc ^ 0xFFFFFFFF))
    db.close()


class LogTools(Site):
    def fill(self, devices_port, count=3, per_device=50):
        for d in range(count):
            lines = "\n".join(f'{{"ts":{1700000000 + n},"value":{n + d / 10}}}' for n in range(per_device)) + "\n"
            subprocess.run(["mosquitto_pub", "-p", str(devices_port), "-t", f"plant/l1/d{d}/telemetry", "-q", "1", "-l"], input=lines, text=True, check=True, timeout=60)
        wait_for(lambda: self.metric("millrace_input_records_total") >= count * per_device, "all are taken")
        wait_for(lambda: self.metric("millrace_inbox_fill_ratio") == 0, "and committed")

    def run_log(self, *arguments, check=True):
        done = self.command(*arguments)
        if check:
            self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        return done

    def exported(self, *arguments):
        return [json.loads(line) for line in self.run_log("log", "export", *arguments).stdout.splitlines()]

    def site(self, central_port=None, **values):
        devices = self.broker()
        config = self.config(devices.port, central_port or free_port(), **values)
        gateway = self.gateway(config)
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up")
        return devices, config, gateway

    def test_looking_into_the_log_beside_the_daemon_and_stopped(self):
        devices, _, gateway = self.site()
        self.fill(devices.port)
        seen = []
        for running in (True, False):
            if not running:
                self.assertEqual(gateway.stop(), 0)
            listed = json.loads(self.run_log("log", "ls", "--json").stdout)
            self.assertEqual(sum(s.get("raw", {}).get("records", 0) for s in listed["segments"]), 150)
            stat = json.loads(self.run_log("log", "stat", "--json").stdout)
            self.assertEqual([(c["consumer"], c["unsettled"]) for c in stat["consumers"] if c["lane"] == "raw"], [("central", 150)])
            records = self.exported("--lane", "raw")
            self.assertEqual(len(records), 150)
            self.assertEqual({r["device"] for r in records}, {"d0", "d1", "d2"})
            self.assertEqual(sorted(r["value"] for r in records if r["device"] == "d1"), [n + 0.1 for n in range(50)])
            rows = list(csv.DictReader(io.StringIO(self.run_log("log", "export", "--format", "csv").stdout)))
            self.assertEqual([float(r["value"]) for r in rows], [r["value"] for r in records])
            self.assertEqual(len(self.run_log("log", "cat", "--from", "11", "--to", "20").stdout.splitlines()), 10)
            seen.append(records)
        self.assertEqual(seen[0], seen[1])
        done = self.run_log("log", "export", "--lane", "nonsense", check=False)
        self.assertEqual(done.returncode, 64)

    def test_where_there_is_neither_a_daemon_nor_a_log_it_is_said_where_to_look(self):
        self.config(free_port(), free_port())
        for words in (("log", "ls"), ("log", "cat"), ("log", "forget", "--device", "d1"), ("log", "backup", str(self.folder / "copy")), ("dlq", "ls"),
                      ("dlq", "show", "1"), ("dlq", "drop", "--all")):
            done = self.command(*words)
            self.assertEqual((done.returncode, done.stdout), (69, ""), words)
            self.assertRegex(done.stderr, r"^log\.path: open .*/log/lock: No such file or directory; no daemon answers at .*\n  next: systemctl status millrace; ")
        for words, why in ((("log", "forget", "--device", "d1", "--before", "yesterday"), '--before: "yesterday" is no time, like 2026-11-20'),
                           (("log", "cat", "--from", "9", "--to", "3"), "--from lies behind --to")):
            done = self.command(*words)
            self.assertEqual((done.returncode, done.stdout), (64, ""), words)
            self.assertIn(why, done.stderr)

    def test_what_is_no_place_for_a_copy_and_no_segment_is_told(self):
        devices, config, gateway = self.site()
        self.fill(devices.port)
        out, copy = self.folder / "out", self.folder / "piece"
        for words, why in ((("log", "export", "-o", str(out)), "the output cannot be written"), (("log", "backup", str(copy)), f"File too large; the copy in {copy} is not whole")):
            done = subprocess.run([BUILD / "millrace", *words, "-c", config], capture_output=True, text=True, restore_signals=False,
                                  preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)))
            self.assertEqual(done.returncode, 1)
            self.assertTrue(done.stderr.endswith(why + "\n"), done.stderr)
        self.assertFalse(out.exists())
        self.assertEqual(gateway.stop(), 0)
        log, none = self.folder / "log", self.folder / "none"
        (self.folder / "link").symlink_to(log)
        for copy in (log, log / "inner", log / "inner" / "more", self.folder / "link" / "inner"):
            done = self.command("log", "backup", str(copy))
            self.assertEqual((done.returncode, done.stderr), (64, f"{copy} lies in the log itself (log.path); a copy belongs elsewhere\n"))
        self.assertEqual([path.name for path in log.iterdir() if path.is_dir()], [])
        self.run_log("log", "backup", str(self.folder / "log-copy"))
        for out, why in ((config, "is there already"), (none / "x", "cannot be made: No such file or directory")):
            done = self.command("log", "export", "-o", str(out))
            self.assertEqual((done.returncode, done.stderr), (1, f"{out} {why}\n"))
        for file, code, why in ((config, 1, r"^0 whole records; is .* a segment of a log"), (none, 66, "is not there, or empty"), (log, 66, "is no file")):
            done = subprocess.run([str(BUILD / "millrace"), "log", "salvage", str(file)], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout), (code, ""))
            self.assertRegex(done.stderr, why)

    def test_dead_letters_are_shown_retried_and_dropped(self):
        central_port = free_port()
        devices, config, gateway = self.site(central_port)
        self.publish(devices.port, "plant/l1/d1/telemetry", '{"ts":1700000000,"value":')
        self.publish(devices.port, "plant/l1/d1/telemetry", '{"ts":"later","when":1700000001,"value":7}')
        wait_for(lambda: self.metric("millrace_dead_letters_total") == 2, "two dead letters")
        letters = wait_for(lambda: (lambda d: d if len(d) == 2 else None)(json.loads(self.run_log("dlq", "ls", "--json").stdout)["dead"]), "both are listed")
        newest = letters[0]["number"]
        self.assertIn("when", json.loads(self.run_log("dlq", "show", str(newest), "--json").stdout)["payload"])
        retried = json.loads(self.run_log("dlq", "retry", str(newest), "--json").stdout)
        self.assertEqual((retried["retried"], retried["still_dead"]), (0, 1))
        # The route learns where the time is; what was dead is decoded with it and goes to the far side.
        config.write_text(config.read_text().replace('time = "ts"', 'time = "when"'))
        self.run_log("reload")
        wait_for(lambda: gateway.text().count("input devices: connected") == 2, "the input has started anew")
        self.assertEqual(json.loads(self.run_log("dlq", "retry", "--all", "--json").stdout)["retried"], 1)
        self.assertEqual({json.loads(line)["lane"] for line in self.run_log("log", "cat").stdout.splitlines()}, {"raw", "dead"})  # all lanes, as its help says
        self.assertEqual([r["value"] for r in self.exported("--lane", "raw")], [7])
        left = json.loads(self.run_log("dlq", "ls", "--json").stdout)["dead"]
        self.assertEqual([d["number"] for d in left], [letters[1]["number"]])
        self.assertEqual(gateway.stop(), 0)
        self.assertIn("must run", self.run_log("dlq", "retry", "--all", check=False).stderr)
        self.run_log("dlq", "drop", str(letters[1]["number"]))
        self.assertEqual(json.loads(self.run_log("dlq", "ls", "--json").stdout)["dead"], [])
        self.assertEqual(self.run_log("dlq", "drop", check=False).returncode, 64)

    def letters(self, *arguments):
        return json.loads(self.run_log("dlq", "ls", "--json", *arguments).stdout)["dead"]

    def test_more_dead_letters_than_a_page_are_listed_and_retried(self):
        devices, config, gateway = self.site()
        lines = "".join(f'{{"ts":"later","when":{1700000000 + n},"value":{n}}}\n' for n in range(450))
        subprocess.run(["mosquitto_pub", "-p", str(devices.port), "-t", "plant/l1/d1/telemetry", "-q", "1", "-l"], input=lines, text=True, check=True, timeout=60)
        wait_for(lambda: len(self.letters("-n", "1000")) == 450, "every letter is listed")
        self.assertEqual(len(self.letters()), 20)
        numbers = [letter["number"] for letter in self.letters("-n", "430")]
        self.assertEqual(len(numbers), 430)
        self.assertEqual(numbers, sorted(set(numbers), reverse=True))
        config.write_text(config.read_text().replace('time = "ts"', 'time = "when"'))
        self.run_log("reload")
        wait_for(lambda: gateway.text().count("input devices: connected") == 2, "the input has started anew")
        self.assertEqual(json.loads(self.run_log("dlq", "retry", "--all", "--json").stdout), {"retried": 450, "still_dead": 0})
        self.assertEqual(sorted(r["value"] for r in self.exported("--lane", "raw")), list(range(450)))
        self.assertEqual(self.letters("-n", "1000"), [])
        self.assertEqual(gateway.stop(), 0)

    def test_letters_that_are_large_are_not_all_held_to_be_listed_or_retried(self):
        """A payload of a megabyte may take a hundred bytes of the log: a page of 200 of them was 200 MB."""
        devices, _, gateway = self.site()
        size, count = 900_000, 12
        for n in range(count):
            subprocess.run(["mosquitto_pub", "-p", str(devices.port), "-t", "plant/l1/d1/telemetry", "-q", "1", "-s"], input=b"x" + bytes([65 + n]) * size, check=True, timeout=20)
        wait_for(lambda: len(self.letters("-n", "100")) == count, "every letter is listed")
        pages, following = [], ""
        while following != "0":
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(10)
                s.connect(str(self.run_folder / "control.sock"))
                s.sendall(json.dumps({"command": "dlq.ls", "max": "200", "from": following}).encode() + b"\n")
                answer = json.loads(s.makefile().readline())
            following = str(answer["next"])
            pages.append(len(answer["lines"].splitlines()))
        self.assertEqual(sum(pages), count, pages)
        self.assertLessEqual(max(pages) * size, (4 << 20) + size, pages)
        self.assertEqual(json.loads(self.run_log("dlq", "retry", "--all", "--json").stdout)["still_dead"], count)
        self.assertEqual(gateway.stop(), 0)

    def test_text_that_no_record_may_have_hides_nothing_behind_it(self):
        devices, _, gateway = self.site(more="""[[inputs.mqtt.routes]]
topic = "plain/{device}"
format = "plain"
strict = true
metrics = { level = "" }
[[inputs.mqtt.routes]]
topic = "all/{device}"
""")
        hostile = [b"21.5 \xb0C", "\u20ac".encode() * 50 + b"x", bytes(range(256)), b"\xed\xb0\x80"]
        client = mqtt.Client(client_id="sender", protocol=mqtt.MQTTv311)
        client.connect("127.0.0.1", devices.port)
        client.loop_start()
        sent = [client.publish("plain/d1", payload, qos=1) for payload in hostile]
        sent += [client.publish("all/x", payload, qos=1) for payload in (b'{"\\udc00":1}', b'{"temp\\u0000C":1}', b'{"a":"\\ud800"}', b'{"a\\u009b":1}')]
        sent += [client.publish("all/boiler-1", b'{"temp":21.5,"text":"\\u20ac \\n"}', qos=1), client.publish("plain/d2", b"7", qos=1)]
        for message in sent:
            message.wait_for_publish(10)
        client.loop_stop()
        wait_for(lambda: self.metric("millrace_input_records_total") == 3 and self.metric("millrace_dead_letters_total") == 8, "all are taken")
        for running in (True, False):
            if not running:
                self.assertEqual(gateway.stop(), 0)
            wait_for(lambda: len(self.letters()) == 8, "the letters are listed")
            self.assertEqual(len(self.exported("--lane", "dead")), 8)
            self.assertEqual(len(self.run_log("log", "cat", "--lane", "dead").stdout.splitlines()), 8)
            self.assertEqual(len(list(csv.DictReader(io.StringIO(self.run_log("log", "export", "--format", "csv").stdout)))), 11)
            self.assertEqual({(r["device"], r["metric"]) for r in self.exported("--lane", "raw")}, {("boiler-1", "temp"), ("boiler-1", "text"), ("d2", "level")})
            reasons = "\n".join(letter["reason"] for letter in self.letters())
            self.assertIn("U+0000 at byte 4", reasons)
            self.assertIn("half of a surrogate pair", reasons)
        self.assertNotIn("\x9b", gateway.text())

    def test_a_device_is_forgotten(self):
        central_port = free_port()
        devices, _, gateway = self.site(central_port)
        self.fill(devices.port)
        before = {r["number"]: r for r in self.exported("--lane", "raw")}
        self.assertEqual(json.loads(self.run_log("log", "forget", "--device", "d1", "--before", "1970-01-01", "--json").stdout)["forgotten"], 0)
        self.assertEqual(json.loads(self.run_log("log", "forget", "--device", "d1", "--before", "2023-11-14T22:13:30Z", "--json").stdout)["forgotten"], 10)
        self.assertEqual(json.loads(self.run_log("log", "forget", "--device", "d1", "--json").stdout)["forgotten"], 40)
        after = {r["number"]: r for r in self.exported("--lane", "raw")}
        self.assertEqual(after, {n: r for n, r in before.items() if r["device"] != "d1"})
        losses = [r["loss"] for r in self.exported("--lane", "alarm")]
        self.assertEqual(sum(l["count"] for l in losses if l["reason"] == "forgotten"), 50)
        self.assertEqual(gateway.stop(), 0)
        for file in (self.folder / "log").iterdir():
            if file.name.startswith(("seg-", "aside-")):
                records = subprocess.run([str(BUILD / "millrace"), "log", "salvage", str(file)], capture_output=True, text=True).stdout
                self.assertNotIn('"device":"d1"', records, file)
        central = self.broker(central_port)
        self.gateway(self.folder / "millrace.toml")
        wait_for(lambda: self.metric("millrace_uplink_backlog_records") == 0 and self.metric("millrace_uplink_records_total") >= 100, "the others arrive")
        del central

    @unittest.skipUnless(os.geteuid() == 0, "only root can work in another's folder")
    def test_what_root_does_to_a_stopped_log_leaves_it_to_its_owner(self):
        devices, _, gateway = self.site()
        self.fill(devices.port)
        self.assertEqual(gateway.stop(), 0)
        log = self.folder / "log"
        shutil.copytree(log, self.folder / "copy")
        (self.folder / "copy").rename(log / "format-3")
        for path in (log, *log.rglob("*")):
            os.chown(path, 65534, 65534)
        (log / "roots.link").symlink_to(self.folder / "millrace.toml")
        self.addCleanup(os.umask, os.umask(0o077))
        for command in (("log", "ls"), ("log", "backup", str(self.folder / "backup")), ("log", "forget", "--device", "d1")):
            self.run_log(*command)
            owners = {str(path): path.stat().st_uid for path in log.rglob("*") if path.is_file() and not path.is_symlink()}
            self.assertEqual({path: uid for path, uid in owners.items() if uid != 65534}, {}, command)
        self.assertEqual((self.folder / "millrace.toml").stat().st_uid, 0)

    def test_a_daemon_that_hangs_keeps_nobody_waiting_for_ever(self):
        _, config, gateway = self.site()
        gateway.process.send_signal(signal.SIGSTOP)
        try:
            asked = [subprocess.Popen([BUILD / "millrace", *words, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                     for words in (("log", "ls"), ("log", "stat"), ("dlq", "ls"), ("dlq", "show", "1"), ("status",), ("top", "--once"), ("trace", "d1"), ("tap",), ("reload",))]
            for one in asked:
                self.assertEqual(one.communicate(timeout=50)[1], "the daemon does not answer\n  next: systemctl status millrace; journalctl -u millrace -n 50\n", one.args)
                self.assertEqual(one.returncode, 69, one.args)
        finally:
            gateway.process.send_signal(signal.SIGCONT)
            for one in asked:
                one.kill()
                one.wait()

    def test_a_device_is_forgotten_in_the_log_of_another_version_too(self):
        devices, config, gateway = self.site()
        self.fill(devices.port)
        self.assertEqual(gateway.stop(), 0)
        beside = self.folder / "log" / "format-3"
        shutil.copytree(self.folder / "log", self.folder / "copy")
        (self.folder / "copy").rename(beside)
        told = json.loads(self.run_log("log", "forget", "--device", "d1", "--json").stdout)
        self.assertEqual(told["forgotten"], 100)  # of a stopped log
        gateway = self.gateway(config)
        self.assertEqual(self.status()["log"]["leftovers"], 1)
        told = json.loads(self.run_log("log", "forget", "--device", "d2", "--json").stdout)
        self.assertEqual(told["forgotten"], 100)
        self.assertEqual(gateway.stop(), 0)
        for file in [*beside.glob("seg-*.db"), *(self.folder / "log").glob("seg-*.db")]:
            records = subprocess.run([str(BUILD / "millrace"), "log", "salvage", str(file)], capture_output=True, text=True).stdout
            self.assertNotRegex(records, r'"device":"d[12]"', file)

    def test_devices_are_forgotten_at_the_same_time(self):
        devices, config, gateway = self.site()
        for turn in range(12):  # a segment each
            self.fill(devices.port, per_device=200)
            self.run_log("log", "backup", str(self.folder / f"copy-{turn}"))
        asked = [subprocess.Popen([BUILD / "millrace", "log", "forget", "--json", "--device", device, "-c", config], stdout=subprocess.PIPE, text=True)
                 for device in ("d0", "d1")]
        told = [json.loads(one.communicate(timeout=60)[0])["forgotten"] for one in asked]
        self.assertEqual(told, [2400, 2400])
        self.assertEqual({r["device"] for r in self.exported("--lane", "raw")}, {"d2"})
        self.assertEqual(gateway.stop(), 0)

    def test_output_that_a_full_disk_does_not_take_is_told(self):
        devices, _, gateway = self.site()
        self.fill(devices.port)
        self.assertEqual(gateway.stop(), 0)
        segment = max((self.folder / "log").glob("seg-*.db"), key=lambda file: file.stat().st_size)
        helps = [("help",), ("--help",), ("--version",), ("help", "top"), ("log", "--help"), ("top", "--usage"), ("log", "cat", "-?")]
        helps += [(*name.split(), "--help") for name in re.findall(r"(?m)^  ([a-z]+(?: [a-z]+)?)[ \n]", subprocess.run([BUILD / "millrace", "help"], capture_output=True, text=True).stdout)]
        self.assertGreater(len(helps), 25)
        for words in (("log", "salvage", str(segment)), ("log", "cat"), ("log", "ls"), *helps):
            config = () if words in helps or "salvage" in words else ("-c", str(self.folder / "millrace.toml"))
            with open("/dev/full", "w") as full:
                done = subprocess.run([BUILD / "millrace", *words, *config], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
            self.assertEqual(done.returncode, 1, words)
            self.assertIn("the output cannot be written", done.stderr)

    def test_a_backup_is_a_log_of_its_own(self):
        central_port = free_port()
        devices, config, gateway = self.site(central_port)
        self.fill(devices.port)
        self.assertIn("1 segments", self.run_log("log", "backup", str(self.folder / "copy")).stdout)
        epoch = self.status()["epoch"]
        self.assertEqual(gateway.stop(), 0)
        config.write_text(config.read_text().replace(f'path = "{self.folder}/log"', f'path = "{self.folder}/copy"'))
        shutil.rmtree(self.run_folder)
        self.run_folder.mkdir()
        self.broker(central_port)
        self.gateway(config)
        wait_for(lambda: self.metric("millrace_uplink_records_total") >= 150, "all of the copy arrives")
        self.assertNotEqual(self.status()["epoch"], epoch)
        self.assertEqual(len(self.exported("--lane", "raw")), 150)

    def test_a_backup_has_what_waited_for_its_commit(self):
        devices = self.broker()
        config = self.config(devices.port, free_port())
        config.write_text(config.read_text().replace('commit_interval = "200ms"', 'commit_interval = "1min"'))
        gateway = self.gateway(config)
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up")
        self.publish(devices.port, "plant/l1/d1/telemetry", *(f'{{"ts":{1700000000 + n},"value":{n}}}' for n in range(5)))
        wait_for(lambda: self.metric("millrace_input_records_total") == 5, "all are taken")
        self.run_log("log", "backup", str(self.folder / "copy"))
        records = [json.loads(line) for file in (self.folder / "copy").glob("seg-*.db")
                   for line in subprocess.run([str(BUILD / "millrace"), "log", "salvage", str(file)], capture_output=True, text=True).stdout.splitlines()]
        self.assertEqual([r["value"] for r in records if r["lane"] == "raw"], [0, 1, 2, 3, 4])
        self.assertEqual(gateway.stop(), 0)

    def start_from(self, copy, config, central_port):
        """The folder of the log, and what the daemon had in memory, are gone: it starts on the copy, and the far side is there."""
        config.write_text(config.read_text().replace(f'path = "{self.folder}/log"', f'path = "{copy}"'))
        shutil.rmtree(self.folder / "log")
        shutil.rmtree(self.run_folder)
        self.run_folder.mkdir()
        self.broker(central_port)
        return self.gateway(config)

    def test_a_backup_has_what_the_log_of_another_version_has_not_sent(self):
        central_port = free_port()
        devices, config, gateway = self.site(central_port)
        self.fill(devices.port)
        self.assertEqual(gateway.stop(), 0)
        shutil.copytree(self.folder / "log", self.folder / "other")
        (self.folder / "other").rename(self.folder / "log" / "format-2")
        for running in (True, False):
            gateway = self.gateway(config) if running else gateway
            if running:
                self.assertEqual(self.metric("millrace_log_leftover_records"), 150)
            copy = self.folder / f"copy-{running}"
            told = self.run_log("log", "backup", str(copy)).stdout
            self.assertRegex(told, rf"^\d+ segments, \d+ bytes in {copy}$")
            self.assertTrue(list((copy / "format-2").glob("seg-*.db")), told)
            if running:
                self.assertEqual(gateway.stop(), 0)
        gateway = self.start_from(self.folder / "copy-True", config, central_port)
        wait_for(lambda: not (self.folder / "copy-True" / "format-2").exists(), "the copy of the other version's log is drained and gone")
        wait_for(lambda: self.metric("millrace_uplink_records_total") >= 301 and self.metric("millrace_uplink_backlog_records") == 0, "both logs arrive")
        self.assertEqual(self.metric("millrace_uplink_records_total"), 301)  # and that the inbox did not survive
        self.assertEqual(gateway.stop(), 0)

    def beside_a_later_version(self, central_port):
        """A gateway whose log a later version has written to, and whose readings lie beside that; the file
        of the later version, and what it wrote there."""
        devices, config, gateway = self.site(central_port)
        self.fill(devices.port, count=1)
        self.assertEqual(gateway.stop(), 0)
        head = sorted((self.folder / "log").glob("seg-*.db"))[-1]
        set_format(head, 9)
        written = head.read_bytes()
        gateway = self.gateway(config)
        self.assertTrue(self.status()["log"]["newer_format"])
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up")
        self.fill(devices.port, count=1)
        return devices, config, gateway, head, written

    def test_a_backup_has_the_log_of_a_later_version_beside_which_ours_lies(self):
        central_port = free_port()
        _, config, gateway, head, written = self.beside_a_later_version(central_port)
        copy = self.folder / "copy"
        self.run_log("log", "backup", str(copy))
        self.assertEqual((copy / head.name).read_bytes(), written)
        self.assertEqual(gateway.stop(), 0)
        set_format(copy / head.name, 3)  # the later version starts on it
        gateway = self.start_from(copy, config, central_port)
        wait_for(lambda: not (copy / "format-3").exists(), "ours is drained and gone")
        wait_for(lambda: self.metric("millrace_uplink_records_total") >= 100 and self.metric("millrace_uplink_backlog_records") == 0, "both logs arrive")
        self.assertEqual(self.metric("millrace_uplink_records_total"), 100)
        self.assertEqual(gateway.stop(), 0)

    def test_damage_on_a_stopped_log_is_mended_and_counted(self):
        central_port = free_port()
        devices, config, gateway = self.site(central_port, logmore='max_size = "1MiB"')
        self.fill(devices.port, per_device=400)
        self.run_log("log", "backup", str(self.folder / "copy"))  # seals the head
        self.assertEqual(gateway.stop(), 0)
        segment = sorted((self.folder / "log").glob("seg-*.db"))[0]
        content = bytearray(segment.read_bytes())
        with sqlite3.connect(f"file:{segment}?immutable=1", uri=True) as db:
            columns = db.execute("SELECT columns FROM rows ORDER BY first LIMIT 1 OFFSET 1").fetchone()[0]
        db.close()
        content[content.index(columns[:100]) + 50] ^= 0x10
        segment.write_bytes(content)
        mended = json.loads(self.run_log("log", "salvage", "--json").stdout)
        whole = len(self.exported("--lane", "raw"))
        self.assertLess(whole, 1200)
        self.assertGreater(whole, 0)
        self.assertEqual((mended["files_mended"], mended["lost_records"]), (1, 1200 - whole))
        self.assertTrue((self.folder / "log" / ("aside-" + segment.name)).exists())
        self.broker(central_port)
        self.gateway(config)
        wait_for(lambda: self.metric("millrace_uplink_backlog_records") == 0 and self.metric("millrace_uplink_up") == 1, "the rest arrives")
        self.assertEqual(self.metric("millrace_ledger_settled_records", 'lane="raw",how="delivered"'), whole)
        self.assertEqual(self.metric("millrace_ledger_settled_records", 'lane="raw",how="unreadable"'), 1200 - whole)

    def test_a_log_of_a_later_version_is_left_and_drained_when_that_comes_back(self):
        central_port = free_port()
        devices, config, gateway, head, untouched = self.beside_a_later_version(central_port)
        self.assertEqual(self.metric("millrace_log_newer_format"), 1)
        self.publish(devices.port, "plant/l1/d1/telemetry", "{")
        wait_for(lambda: self.metric("millrace_dead_letters_total") == 1, "a dead letter")
        self.assertEqual(gateway.stop(), 0)
        self.assertEqual(head.read_bytes(), untouched)
        beside = self.folder / "log" / "format-3"
        self.assertTrue(beside.is_dir())
        # The later version is back. Something keeps it from removing the folder, as if it ended just before.
        set_format(head, 3)
        going = beside.with_name("format-3.going")
        (going / "a").mkdir(parents=True)
        gateway = self.gateway(config)
        self.assertEqual(self.status()["log"]["leftovers"], 1)
        self.assertEqual(self.metric("millrace_log_leftover_records"), 50)
        self.broker(central_port)
        wait_for(lambda: "format-3: Directory not empty" in gateway.text(), "the folder stays")
        wait_for(lambda: self.metric("millrace_uplink_records_total") >= 100 and self.metric("millrace_uplink_backlog_records") == 0, "both logs have arrived")
        self.assertEqual(gateway.stop(), 0)
        (going / "a").rmdir()
        gateway = self.gateway(config)
        wait_for(lambda: not beside.exists() and not going.exists(), "the leftover is drained and gone")
        wait_for(lambda: self.status()["log"]["leftovers"] == 0, "it is no leftover any more")
        self.assertEqual(len(json.loads(self.run_log("dlq", "ls", "--json").stdout)["dead"]), 1)

    def test_withheld_commits_survive_a_kill_and_write_next_to_nothing(self):
        devices, central = self.broker(), self.broker()
        config = self.config(devices.port, central.port, logmore='commit = "when-unsent"')
        gateway = self.gateway(config)
        wait_for(lambda: self.metric("millrace_input_up") == 1 and self.metric("millrace_uplink_up") == 1, "both sides are up")
        sim = self.sim(scenario(devices.port, f'server = "mqtt://127.0.0.1:{central.port}"', rate=500, duration="8s"), wait=False)
        wait_for(lambda: self.metric("millrace_log_unwritten_records_total") > 500, "records that never touched flash")
        gateway.stop(signal.SIGKILL)
        gateway = self.gateway(config)
        account = self.account(sim)
        self.assertEqual({k: account[k] for k in ("lost", "doubled", "out_of_order")}, {"lost": 0, "doubled": 0, "out_of_order": 0}, account)
        self.assertEqual(gateway.stop(), 0)


ENDPOINT = """
[gateway]
name = "gw"
runtime_dir = "@run@"
[log]
path = "@log@"
commit_interval = "100ms"
[[inputs.mqtt_endpoint]]
name = "plant"
listen = "127.0.0.1:@devices@"
anonymous = true
  [[inputs.mqtt_endpoint.routes]]
  topic = "plant/{line}/telemetry"
  device = "dev-{client_id}"
  tags = ["property.site"]
  metrics = { value = "value" }
[[uplinks.mqtt]]
name = "plant"
servers = ["mqtt://127.0.0.1:@central@"]
initial_interval = "10s"
max_interval = "10s"
[observe]
listen = "127.0.0.1:@observe@"
"""


class RetriedLetters(Site):
    run_log, exported, letters = LogTools.run_log, LogTools.exported, LogTools.letters

    def endpoint(self):
        self.devices = free_port()
        config = self.configure(ENDPOINT, devices=self.devices, central=free_port())
        return config, self.gateway(config)

    def say(self, client, payload, site):
        subprocess.run(["mosquitto_pub", "-V", "5", "-p", str(self.devices), "-i", client, "-t", "plant/l1/telemetry", "-q", "1", "-s",
                        "-D", "publish", "user-property", "site", site], input=payload, check=True, timeout=20)

    def test_a_retry_writes_what_the_device_said_then(self):
        config, gateway = self.endpoint()
        self.say("press-1", b'{"wert":1}', "north")
        self.say("press-2", b'{"wert":2}', "south")
        letters = wait_for(lambda: (lambda found: found if len(found) == 2 else None)(self.letters()), "two letters")
        self.assertEqual({letter["source"] for letter in letters}, {"input"})
        config.write_text(config.read_text().replace('value = "value"', 'value = "wert"'))
        self.run_log("reload")
        wait_for(lambda: "inputs and uplinks changed" in gateway.text(), "the new route holds")
        self.assertEqual(json.loads(self.run_log("dlq", "retry", "--all", "--json").stdout), {"retried": 2, "still_dead": 0})
        found = {r["device"]: r for r in self.exported("--lane", "raw")}
        times = {letter["time"] for letter in letters}
        self.assertEqual(set(found), {"dev-press-1", "dev-press-2"})
        self.assertEqual({r["time"] for r in found.values()}, times)
        self.assertEqual(found["dev-press-1"]["tags"], {"property.site": "north"})
        self.assertEqual(found["dev-press-2"]["tags"], {"property.site": "south"})
        self.assertEqual(gateway.stop(), 0)

    def test_two_retries_at_once_double_nothing_and_what_is_struck_takes_one_range(self):
        config, gateway = self.endpoint()
        good = lambda n: n % 10 == 0
        lines = "".join(f'{{"{"value" if good(n) else "wert"}":{n}}}\n' for n in range(600))
        subprocess.run(["mosquitto_pub", "-V", "5", "-p", str(self.devices), "-i", "press-1", "-t", "plant/l1/telemetry", "-q", "1", "-l"], input=lines, text=True, check=True, timeout=60)
        wait_for(lambda: len(self.letters("-n", "1000")) == 540, "the letters")
        config.write_text(config.read_text().replace('value = "value"', 'value = "wert"'))
        self.run_log("reload")
        wait_for(lambda: "inputs and uplinks changed" in gateway.text(), "the new route holds")
        retries = [subprocess.Popen([str(BUILD / "millrace"), "dlq", "retry", "--all", "--json", "-c", str(config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        answers = [retry.communicate(timeout=60) for retry in retries]
        taken = sum(json.loads(out)["retried"] for out, _ in answers if out)
        self.assertEqual(taken, 540, answers)
        self.assertTrue(all(out or "a retry is under way" in told or "there are no dead letters" in told for out, told in answers), answers)
        values = [r["value"] for r in self.exported("--lane", "raw")]
        self.assertEqual(sorted(values), sorted(set(values)))
        self.assertEqual(len(values), 600)
        self.assertEqual(self.letters(), [])
        self.assertEqual(gateway.stop(), 0)
        # First and last of one range, 16 bytes at most: a range for each letter took 27 KB, and was bounded.
        head = sorted((self.folder / "log").glob("seg-*.db"))[-1]
        with sqlite3.connect(head) as db:
            (struck,) = db.execute("select value from state where key = 'struck'").fetchone()
        self.assertLess(len(struck), 17)

    def test_a_payload_is_not_taken_for_a_record_because_an_uplink_has_its_inputs_name(self):
        _, gateway = self.endpoint()
        forged = b"\x12\x06forged\x1a\x01m" + b"\x21" + struct.pack("<d", 7.0)  # a Record, proto/record.proto
        self.say("press-1", forged, "north")
        letters = wait_for(self.letters, "the letter")
        answer = json.loads(self.run_log("dlq", "retry", str(letters[0]["number"]), "--json").stdout)
        self.assertEqual((answer["retried"], answer["still_dead"]), (0, 1))
        self.assertIn("JSON", answer["reason"])
        self.assertEqual([letter["number"] for letter in self.letters()], [letters[0]["number"]])
        self.assertEqual(gateway.stop(), 0)


class Disks(DiskSite):
    """What a disk can do to a log."""

    def reading(self, port, n):
        self.publish(port, "plant/l1/d1/telemetry", f'{{"ts":{1700000000 + n},"value":{n}}}')

    def last_number(self):
        return json.loads(self.command("log", "stat", "--json").stdout)["last_number"]

    def test_a_read_only_disk_degrades_and_recovers(self):
        devices, central_port = self.broker(), free_port()
        gateway = self.gateway(self.on_disk(devices.port, central_port, logmore='max_size = "1MiB"'))
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up")
        self.reading(devices.port, 1)
        wait_for(lambda: self.metric("millrace_log_commits_total") >= 1 and self.metric("millrace_inbox_fill_ratio") == 0, "stored")
        # A read-only bind over the folder: new files are refused, as after errors=remount-ro. What is open is written on, so
        # that it shows when the next segment is wanted.
        subprocess.run(["mount", "--bind", str(self.mount / "log"), str(self.mount / "log")], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", str(self.mount / "log")], check=True)
        rng, sent = random.Random(1), 1
        try:
            while self.metric("millrace_log_degraded") == 0:
                self.assertLess(sent, 100, "a segment of 64 KiB is full by now")
                sent += 1
                self.publish(devices.port, "plant/l1/d1/telemetry", f'{{"ts":{1700000000 + sent},"value":"{rng.randbytes(4000).hex()}"}}')
            self.assertIn("log: ", self.http("/readyz"))
            self.assertIsNone(gateway.process.poll())
        finally:
            subprocess.run(["umount", str(self.mount / "log")], check=True)
        wait_for(lambda: self.metric("millrace_log_degraded") == 0, "recovers by itself", 60)
        self.broker(central_port)
        wait_for(lambda: self.metric("millrace_uplink_records_total") >= sent and self.metric("millrace_uplink_backlog_records") == 0, "all of them arrive")
        self.assertEqual(gateway.stop(), 0)

    def test_a_disk_that_goes_away_and_comes_back(self):
        devices, central_port = self.broker(), free_port()
        gateway = self.gateway(self.on_disk(devices.port, central_port))
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up")
        self.reading(devices.port, 1)
        wait_for(lambda: self.metric("millrace_log_commits_total") >= 1 and self.metric("millrace_inbox_fill_ratio") == 0, "stored")
        self.shut_down()  # as when a disk falls off its bus: everything is refused from one moment to the next
        self.reading(devices.port, 2)
        wait_for(lambda: self.metric("millrace_log_degraded") == 1, "degraded, and says so")
        self.reading(devices.port, 3)
        self.assertIsNone(gateway.process.poll())
        self.assertIn("log: ", self.http("/readyz"))
        self.assertGreater(self.metric("millrace_inbox_fill_ratio"), 0)
        # The disk is repaired and mounted again, under a daemon that never stopped.
        subprocess.run(["umount", "-l", str(self.mount)], check=True)
        self.mounted = False
        other = self.folder / "disk-2.img"  # it comes back as another device
        shutil.copy(self.image, other)
        self.image = other
        subprocess.run(["e2fsck", "-fy", str(self.image)], capture_output=True)
        self.mount_it()
        wait_for(lambda: self.metric("millrace_log_degraded") == 0, "recovers by itself", 60)
        self.broker(central_port)
        wait_for(lambda: self.metric("millrace_uplink_records_total") >= 3 and self.metric("millrace_uplink_backlog_records") == 0, "all three arrive")
        self.assertEqual(gateway.stop(), 0)

    def test_a_disk_that_others_fill_evicts_nothing(self):
        """With when_full = "evict", the default; the table of all faults is full_disk_test.py's."""
        devices, central_port = self.broker(), free_port()
        gateway = self.gateway(self.on_disk(devices.port, central_port, logmore='max_size = "1MiB"'))
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up")
        rng = random.Random(1)
        lines = "".join(f'{{"ts":{1700000000 + n},"value":"{rng.randbytes(2000).hex()}"}}\n' for n in range(150))
        subprocess.run(["mosquitto_pub", "-p", str(devices.port), "-t", "plant/l1/d1/telemetry", "-q", "1", "-l"], input=lines, text=True, check=True, timeout=60)
        wait_for(lambda: self.metric("millrace_log_records_total") >= 150 and self.metric("millrace_inbox_fill_ratio") == 0, "stored")
        neighbour = Neighbour(self.mount)
        sent = 150
        while self.metric("millrace_log_degraded") == 0:
            self.assertLess(sent, 400, "the disk is full by now")
            sent += 1
            self.publish(devices.port, "plant/l1/d1/telemetry", f'{{"ts":{1700000000 + sent},"value":"{rng.randbytes(2000).hex()}"}}')
        self.assertRegex(self.http("/readyz"), r"log: .*\(ext4\) has .* free of .*; something else takes .* and fills it; since 2")
        wait_for(lambda: self.metric("millrace_input_up") == 0, "the input pauses")
        self.broker(central_port)
        wait_for(lambda: self.metric("millrace_ledger_settled_records", 'lane="raw",how="delivered"') >= 150, "what is stored is delivered meanwhile")
        self.assertEqual((self.metric("millrace_log_degraded"), self.metric("millrace_log_evicted_records_total")), (1, 0))
        neighbour.leave()
        wait_for(lambda: self.metric("millrace_log_degraded") == 0, "goes on by itself", 60)
        wait_for(lambda: self.metric("millrace_ledger_settled_records", 'lane="raw",how="delivered"') == sent, "all of them arrive")
        self.assertEqual(self.metric("millrace_log_evicted_records_total"), 0)
        self.assertEqual(gateway.stop(), 0)

    def test_who_asks_for_a_change_hears_of_a_disk_that_takes_nothing(self):
        devices, central_port = self.broker(), free_port()
        config = self.on_disk(devices.port, central_port, logmore='max_size = "1MiB"')
        gateway = self.gateway(config)
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up")
        self.publish(devices.port, "plant/l1/d1/telemetry", "{")
        self.reading(devices.port, 1)
        wait_for(lambda: self.metric("millrace_dead_letters_total") == 1 and self.metric("millrace_log_records_total") >= 2 and self.metric("millrace_inbox_fill_ratio") == 0, "stored")
        asked = (("log", "forget", "--device", "d1"), ("log", "backup", str(self.folder / "copy")), ("dlq", "drop", "--all"))
        for running in (True, False):
            if running:
                neighbour = Neighbour(self.mount)
            for command in asked:
                done = subprocess.run([BUILD / "millrace", *command, "-c", config], capture_output=True, text=True, timeout=30)
                self.assertEqual(done.returncode, 1, (running, command, done.stdout))
                self.assertRegex(done.stderr, "the log cannot be written: .*free of.*; ask again when that is over", (running, command))
            gateway.stop()
        neighbour.leave()
        gateway = self.gateway(config)
        self.assertEqual(json.loads(self.command(*asked[0], "--json").stdout), {"forgotten": 1})
        self.assertEqual(self.command(*asked[2]).returncode, 0)
        self.assertEqual(gateway.stop(), 0)

    def test_power_cuts_of_a_real_file_system(self):
        """EXT4_IOC_SHUTDOWN: what was not flushed is gone. durability = "power": what the broker was told is there."""
        cuts = int(os.environ.get("MILLRACE_CUTS", "5"))
        rng = random.Random(int(os.environ.get("MILLRACE_SEED", "1")))
        devices, central_port = self.broker(), free_port()
        config = self.on_disk(devices.port, central_port, input='durability = "power"', gateway='inbox_size = "256KiB"')
        sent = 0
        publisher = mqtt.Client()
        publisher.max_queued_messages_set(0)
        publisher.connect("127.0.0.1", devices.port)
        publisher.loop_start()
        self.addCleanup(publisher.loop_stop)
        for _ in range(cuts):
            gateway = self.gateway(config)
            wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up")
            first = sent + 1
            sent += rng.randrange(20, 200)
            handed = [publisher.publish("plant/l1/d1/telemetry", f'{{"ts":{1700000000 + n},"value":{n}}}', qos=1) for n in range(first, sent + 1)]
            for one in handed:  # the broker has acknowledged them all
                one.wait_for_publish(60)
                self.assertTrue(one.is_published())
            time.sleep(rng.uniform(0, 0.2))  # the random moment is the point
            self.cut_power(gateway)
        self.gateway(config)
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up")
        # Everything is still in the log: the far side was never there. What the broker had left comes first, then this one.
        self.reading(devices.port, sent + 1)
        wait_for(lambda: '"value":%d,' % (sent + 1) in self.command("log", "cat", "--from", str(max(1, self.last_number() - 50))).stdout, "the last reading is in", 60)
        self.assertEqual(self.metric("millrace_log_vanished_records_total"), 0)
        values = [r["value"] for r in map(json.loads, self.command("log", "export", "--lane", "raw").stdout.splitlines())]
        missing = set(range(1, sent + 1)) - set(values)
        print(f"real power cuts: {cuts}, {sent} acknowledged by the broker, {len(missing)} missing, {len(values) - len(set(values))} came again after a cut")
        self.assertEqual(sorted(missing)[:20], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
