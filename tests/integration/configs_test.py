#!/usr/bin/python3
"""Configurations that are broken or odd: `millrace check` tells what is wrong with each and where, soon, and never falls over. And
those that 0.1 took on its way load still, with every key that its millrace.toml told of then (tests/cases/configs).
`configs_test.py --show NUMBER` prints a file of the corpus."""
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from odd_toml import MUTATIONS, odd_toml, told_keys
from testsite import BUILD, ROOT

CONFIG = ROOT / "packaging" / "millrace.toml"
EXAMPLES = sorted((ROOT / "packaging" / "examples").glob("*.toml"))
SECONDS = 5


SERIAL = """[gateway]
name = "gw"
[[inputs.serial]]
name = "meters"
device = "/dev/ttyS9"
{}
[[inputs.serial.routes]]
{}
[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://127.0.0.1:1"]
"""
REQUESTS = r"framing = 'mbus'" "\n" r"requests = ['\x10\x7B\x01\x7C\x16', '\x10\x7B\x02\x7D\x16']"


def sources():
    installed = CONFIG.read_text()
    whole = [told_keys(installed), installed]
    return [one for example in EXAMPLES for one in (example.read_text(), whole[0])] + whole


def check(path):
    begin = time.monotonic()
    try:
        done = subprocess.run([BUILD / "millrace", "check", "-c", path], capture_output=True, timeout=60, cwd=Path(path).parent, env={**os.environ, "LC_ALL": "C.UTF-8"})
    except subprocess.TimeoutExpired:
        return None, "", 60
    return done.returncode, done.stderr.decode(errors="replace"), time.monotonic() - begin


def fault(path, data):
    """What is wrong with the answer to a file; empty: nothing. And its exit code."""
    path.write_bytes(data)
    code, said, seconds = check(path)
    lines = data.count(b"\n") + data.count(b"\r") + 1
    path.unlink()
    if code not in (0, 78):
        return f"exit {code}: {said[-2000:]}", code
    if seconds > SECONDS:
        return f"{seconds:.1f} s", code
    places = [int(line) for line in re.findall(rf"(?m)^{re.escape(str(path))}:(\d+):\d+: ", said)]
    if code == 78 and not places:
        return f"it names no line: {said[:2000]}", code
    if any(not 1 <= line <= lines for line in places):
        return f"line {max(places)} of {lines}: {said[:2000]}", code
    longest = max(map(len, said.split("\n")))
    if longest > 2000:
        return f"a line of {longest} characters: {said[:300]}", code
    if "\x1b" in said or "\0" in said:
        return f"control characters in what it says: {said[:2000]!r}", code
    return "", code


class Configs(unittest.TestCase):
    def ask(self, numbers):
        texts, codes, faults = sources(), Counter(), []
        with tempfile.TemporaryDirectory(prefix="millrace-configs-") as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            def one(number):
                return number, *fault(Path(folder) / f"{number}.toml", odd_toml(number, texts))
            for number, words, code in pool.map(one, numbers):
                codes[code] += 1
                if words:
                    faults.append(f"{number} ({MUTATIONS[number % len(MUTATIONS)].__name__}; --show {number}): {words}")
        self.assertEqual(faults, [], "\n".join(faults))
        self.assertGreater(codes[78], len(numbers) / 2, codes)
        self.assertGreater(codes[0], 0, codes)


class Old(unittest.TestCase):
    def test_what_was_taken_is_taken(self):
        olds = sorted((ROOT / "tests" / "cases" / "configs").glob("*.toml"))
        self.assertGreater(len(olds), 3)
        for old in olds:
            code, said, _ = check(old)
            self.assertEqual(code, 0, said)


class Serial(unittest.TestCase):
    def said(self, keys, route):
        with tempfile.TemporaryDirectory(prefix="millrace-configs-") as folder:
            path = Path(folder) / "serial.toml"
            path.write_text(SERIAL.format(keys, route))
            done = subprocess.run([BUILD / "millrace", "check", "-c", path], capture_output=True, text=True, timeout=60)
            return done.returncode, done.stdout + done.stderr  # warnings are on the one, errors on the other

    def test_what_can_never_be_read_or_answered(self):
        code, said = self.said('framing = "cobs"\nacknowledge = true', 'format = "json"')
        self.assertEqual(code, 78)
        self.assertIn('"acknowledge" needs format = "device"', said)
        code, said = self.said(REQUESTS.replace("x7D", "x7C"), 'topic = "{address}"\nformat = "mbus"')
        self.assertEqual(code, 78)
        self.assertIn('sum is wrong: the last byte but one of "107b027c16" must be 7d', said)

    def test_two_meters_that_would_be_one_device(self):
        code, said = self.said(REQUESTS, 'format = "mbus"')
        self.assertEqual(code, 0)
        self.assertIn('2 meters are asked, and a route without a "topic" makes one device, "meters"', said)
        code, said = self.said(REQUESTS, 'topic = "{address}"\ndevice = "meters-{address}"\nformat = "mbus"')
        self.assertEqual(code, 0)
        self.assertNotIn("meters are asked", said)
        self.assertNotIn("meters are asked", self.said("framing = 'mbus'\nrequest = '\\x10\\x7B\\x01\\x7C\\x16'", 'format = "mbus"')[1])
        selected = "framing = 'mbus'\nrequests = ['\\x10\\x7B\\xFD\\x78\\x16', '\\x10\\x7B\\xFD\\x78\\x16']"  # by numbers, in requests before them
        self.assertIn("2 meters are asked", self.said(selected, 'format = "mbus"')[1])


ONCE = """[gateway]
name = "gw"
[[inputs.mqtt]]
name = "a"
servers = ["mqtt://127.0.0.1:1"]
[[inputs.mqtt.routes]]
topic = "x/{device}"
metrics = { v = { path = "v", pattern = "(" } }
[[inputs.mqtt]]
name = "b"
servers = ["mqtt://127.0.0.1:1"]
qos = 7
[[inputs.mqtt.routes]]
topic = "y/#"
[[inputs.mqtt_endpoint]]
name = "c"
listen = "127.0.0.1:1883"
anonymous = true
[[inputs.mqtt_endpoint.routes]]
topic = "x/{device}"
[[inputs.mqtt_endpoint]]
name = "d"
listen = "127.0.0.1:1883"
anonymous = true
[[inputs.mqtt_endpoint.routes]]
topic = "x/{device}"
[[windows]]
name = "w"
size = "1 fortnight"
[[uplinks.mqtt]]
name = "e"
servers = ["mqtt://127.0.0.1:2"]
standby_of = "f"
[[uplinks.mqtt]]
name = "f"
servers = ["mqtt://127.0.0.1:3"]
lane = "raw"
[[uplinks.mqtt]]
name = "g"
servers = ["mqtt://127.0.0.1:4"]
standby_of = "h"
[observe]
listn = "127.0.0.1:9464"
"""


class Once(unittest.TestCase):
    def test_all_errors_are_told_at_once_and_no_other(self):
        """Those of keys beside those that only the whole can show, and nothing that follows from another: "f" is there."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "millrace.toml"
            path.write_text(ONCE)
            code, said, _ = check(path)
        self.assertEqual(code, 78)
        for line, words in ((6, 'metric "v"'), (12, '"qos"'), (21, "127.0.0.1:1883"), (29, '"size"'), (37, '"lane"'), (41, 'there is no uplink "h"'),
                            (43, 'did you mean "listen"')):
            with self.subTest(line):
                self.assertRegex(said, rf"(?m)^.*:{line}:\d+: .*{re.escape(words)}")
        self.assertRegex(said, r"\n7 errors\n$")


class Some(Configs):
    def test_what_is_wrong_is_told_with_its_line(self):
        self.ask(range(0, 3 * len(MUTATIONS) * 23, 23))


class All(Configs):
    def test_1_300_files(self):
        self.ask(range(1_300))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--show"]:
        sys.stdout.buffer.write(odd_toml(int(sys.argv[2]), sources()))
    else:
        unittest.main(verbosity=2)
