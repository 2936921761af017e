#!/usr/bin/python3
"""A real Spark job and a real Flink job on topics that the gateway filled: the examples of packaging/consumers, counted to the
reading. Heavy: Maven and PyPI bring some 700 MB, kept under build/."""
import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import kafka
from kafka_test import KafkaSite
from testsite import ROOT, jars

CONSUMERS = ROOT / "packaging" / "consumers"
DESCRIPTOR = ROOT / "build" / "dev" / "generated" / "record.desc"
DEVICES, EACH, BASE = 4, 600, 1_790_000_000


def minutes(each, base):
    """What the publisher's readings, one a second with values 1 to `each`, come to a minute: {start: (readings, total)}."""
    out = {}
    for n in range(1, each + 1):
        start = (base + n) // 60 * 60
        readings, total = out.get(start, (0, 0))
        out[start] = readings + 1, total + n
    return out


def setUpModule():
    if why := kafka.missing():
        raise unittest.SkipTest(why)


class StreamJobs(KafkaSite):
    def fill(self, form):
        self.kafka.topic("millrace.raw", partitions=3)
        self.start(f'format = "{form}"\nexactly_once = true')
        self.kafka.topic("millrace-markers", cleanup_policy="compact")
        self.publish(DEVICES * EACH, "--connections", DEVICES, "--step", 1_000_000, "--rate", 800)  # paced: event time passes for all alike
        self.drained()
        return {(start, f"dev-{d}"): sums for d in range(DEVICES) for start, sums in minutes(EACH, BASE).items()}

    def test_flink_reads_json_with_event_time(self):
        if not shutil.which("javac"):
            self.skipTest("javac is not installed (default-jdk-headless)")
        folder, why = jars("flink")
        if why:
            self.skipTest(why)
        expected = self.fill("json")
        sql = (CONSUMERS / "flink.sql").read_text().replace("localhost:9092", self.kafka.server)
        # The example never ends; here it reads what is there.
        sql = sql.replace("'scan.startup.mode'", "'scan.bounded.mode' = 'latest-offset',\n  'scan.startup.mode'")
        (self.folder / "job.sql").write_text(sql)
        subprocess.run(["javac", "-cp", f"{folder}/*", "-d", str(self.folder), str(ROOT / "tests/integration/flink/RunSql.java")], check=True, timeout=120)
        done = subprocess.run(["java", "-Xmx900m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", f"{self.folder}:{folder}/*", "RunSql", str(self.folder / "job.sql")],
                              capture_output=True, text=True, timeout=300, env={**os.environ, "TZ": "UTC"})
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        found = {}
        for line in done.stdout.splitlines():
            if line.startswith("row "):
                start, device, metric, readings, mean, total = line[line.index("[") + 1:-1].split(", ")
                seconds = int(subprocess.run(["date", "-u", "-d", start.replace("T", " "), "+%s"], capture_output=True, text=True, check=True).stdout)
                self.assertNotIn((seconds, device), found, "a window came twice")
                found[seconds, device] = int(readings), float(total)
                self.assertAlmostEqual(float(mean), float(total) / int(readings))
        self.assertEqual(found, expected)

    def spark(self, expected, jar_folder, *arguments):
        venv = ROOT / "build" / "spark" / "venv"
        done = subprocess.run([str(venv / "bin" / "spark-submit"), "--master", "local[1]", "--driver-memory", "900m", "--jars",
                               ",".join(str(j) for j in sorted(jar_folder.glob("*.jar"))), "--conf", "spark.sql.shuffle.partitions=2", "--conf", "spark.ui.enabled=false",
                               str(CONSUMERS / "spark_reader.py"), *arguments, "--once", self.kafka.server, "millrace.raw", str(DESCRIPTOR)],
                              capture_output=True, text=True, timeout=400, env={**os.environ, "PYSPARK_PYTHON": str(venv / "bin" / "python3"), "TZ": "UTC", "SPARK_LOCAL_IP": "127.0.0.1"})
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        rows = [line.split(",") for line in done.stdout.splitlines() if line.count(",") == 5]
        self.assertEqual({(int(r[0]), r[1]): (int(r[3]), float(r[5])) for r in rows}, expected)
        self.assertEqual(len(rows), len(expected), "each window once")

    def pyspark(self):
        folder, why = jars("spark")
        venv = ROOT / "build" / "spark" / "venv"
        if not why and not (venv / "bin" / "spark-submit").exists():
            for command in (["/usr/bin/python3", "-m", "venv", str(venv)],
                            [str(venv / "bin" / "pip"), "install", "-q", "-r", str(ROOT / "tests/integration/spark/requirements.txt")]):
                done = subprocess.run(command, capture_output=True, text=True, timeout=900)
                if done.returncode != 0:
                    why = "PyPI could not bring pyspark: " + (done.stderr.strip().splitlines() or ["?"])[-1][:200]
                    break
        if why:
            self.skipTest(why)
        return folder

    def test_spark_reads_json_with_event_time(self):
        folder = self.pyspark()
        self.spark(self.fill("json"), folder, "--json")

    def test_spark_reads_records_with_the_installed_descriptor(self):
        folder = self.pyspark()
        protobuf, why = jars("spark_protobuf")
        if why:
            self.skipTest(why)
        for jar in protobuf.glob("*.jar"):
            if not (folder / jar.name).exists():
                shutil.copy(jar, folder)
        self.spark(self.fill("record"), folder)


if __name__ == "__main__":
    unittest.main(verbosity=2)
