#!/usr/bin/python3
"""The independent reader agrees with the encoder: every value of the golden batch, to the bit."""
import struct
import subprocess
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "packaging"))
import read_batch

T = 1_700_000_000_000_000
DESC = sys.argv.pop(1)


def bits(value):
    return struct.pack("<d", value)


class GoldenBatch(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.records = read_batch.records((HERE / "batch-1.bin").read_bytes(), read_batch.schema(DESC))

    def of(self, device, metric, kind="reading"):
        return [r for r in self.records if (r["device"], r["metric"], r["kind"]) == (device, metric, kind)]

    def test_decimals_and_times(self):
        got = self.of("press-1", "temperature")
        self.assertEqual([r["time_us"] for r in got], [T + i * 1_000_000 for i in range(20)])
        for i, record in enumerate(got):
            self.assertEqual(bits(record["value"]), bits(73.96732207 + i * 0.25))
            self.assertEqual(record["unit"], "C")

    def test_float_residue(self):
        for record in self.of("press-2", "temperature"):
            self.assertEqual(bits(record["value"]), bits(74.93588199999998))

    def test_other_types(self):
        self.assertEqual([r["value"] for r in self.of("press-1", "count")], [9007199254740993, -1])
        self.assertIs(self.of("press-1", "on")[0]["value"], True)
        self.assertEqual(self.of("press-1", "on")[0]["tags"], {"line": "l1"})
        self.assertEqual(self.of("press-1", "state")[0]["value"], "running")
        self.assertEqual(self.of("press-1", "raw")[0]["value"], b"\x00\xff")

    def test_exceptions_quality_and_trust(self):
        odd = self.of("press-3", "odd")
        self.assertEqual([bits(r["value"]) for r in odd], [bits(-0.0), bits(1e300)])
        self.assertEqual({r["quality"] for r in odd}, {"uncertain"})
        self.assertEqual(self.of("press-4", "float")[0]["time_trust"], "unsynced")
        self.assertEqual(bits(self.of("press-4", "float")[0]["value"]), bits(struct.unpack("<f", struct.pack("<f", 21.4))[0]))

    def test_windows_losses_and_dead_letters(self):
        window = self.of("press-1", "temperature", "window")[0]["window"]
        self.assertEqual((window["name"], window["count"], window["mean"], window["revision"], window["stats"]), ("1min", 20, 76.25, 1, {}))
        asked = read_batch.records((HERE / "batch-3.bin").read_bytes(), read_batch.schema(DESC))[0]["window"]
        self.assertEqual((asked["mean"], asked["stats"]), (76.25, {"stddev": 1.5, "last": 77.0}))
        self.assertEqual(self.of("", "raw", "loss")[0]["loss"]["count"], 100)
        self.assertEqual(self.of("", "", "dead")[0]["dead"]["payload"], b"{bad")

    def test_nothing_else(self):
        self.assertEqual(len(self.records), 51)


class NumberedByDevice(unittest.TestCase):
    def test_each_device_in_the_order_in_which_it_spoke(self):
        records = read_batch.records((HERE / "batch-2.bin").read_bytes(), read_batch.schema(DESC))
        press = [(r["metric"], r["value"]) for r in records if r["device"] == "press-1"]
        self.assertEqual(press, [entry for n in range(4) for entry in (("cmd", "start"), ("count", float(n)), ("cmd", "stop"))])
        for metric in "ab":
            self.assertEqual([r["value"] for r in records if r["device"] == "late" and r["metric"] == metric], [0.0, 1.0, 2.0, 3.0])
        boiler = [(r["metric"], r["unit"]) for r in records if r["device"] == "boiler-1"]
        self.assertEqual(boiler, [("temp", "C"), ("a\ufffd", "")])
        dead = records[-1]["dead"]
        self.assertEqual((dead["client_id"], dead["username"], dead["subject"], dead["content_type"], dead["whole_size"]), ("press-1", "anna", "press", "application/json", 4000))
        self.assertEqual(dead["properties"], [("site", "north"), ("site", "south")])


class Program(unittest.TestCase):
    def read(self, message, *options):
        return subprocess.run([sys.executable, read_batch.__file__, "--desc", DESC, *options, "-"], input=message, capture_output=True)

    def test_a_message_as_it_comes_and_one_of_the_other_form(self):
        import zstandard
        classes = read_batch.schema(DESC)
        plain = (HERE / "batch-1.bin").read_bytes()
        packed = zstandard.ZstdCompressor().compress(plain)
        wrapped = lambda batch, zstd: classes["Envelope"](gateway="g", epoch=7, first=1, count=51, batch=batch, zstd=zstd).SerializeToString()
        lines = self.read(plain).stdout
        self.assertEqual(len(lines.splitlines()), 51)
        for message, options in ((packed, ()), (wrapped(plain, False), ("--envelope",)), (wrapped(packed, True), ("--envelope",))):
            self.assertEqual(self.read(message, *options).stdout, lines)
        for message, options, hint in ((plain, ("--envelope",), b"without"), (packed, ("--envelope",), b"without"), (wrapped(plain, False), (), b"with")):
            done = self.read(message, *options)
            self.assertEqual((done.returncode, done.stdout), (1, b""))
            self.assertTrue(done.stderr.endswith(b"-: no record is in it; try it " + hint + b" --envelope\n"), done.stderr)


if __name__ == "__main__":
    unittest.main()
