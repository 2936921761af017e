#!/usr/bin/python3
"""What the daemon says to a real systemd-journald, by its own protocol: fields that can be asked for, ids that `journalctl -x` explains. It
runs in a name space of its own, where /run is the test's."""
import json
import os
import shutil
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from testsite import BUILD, ROOT, Process, Site, free_port, wait_for

JOURNALD = Path("/lib/systemd/systemd-journald")
# The journal, then the daemon with its stderr as a service has it: JOURNAL_STREAM names the device and inode of what it writes to.
SCRIPT = """#!/usr/bin/python3
import os, subprocess, sys, time
folder, program, config = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
os.makedirs("/run/systemd/journal"), os.makedirs("/run/log/journal")
journal = subprocess.Popen(["@journald@"], stdout=subprocess.DEVNULL, stderr=open(folder + "/journald.log", "w"))
for _ in range(200):
    if os.path.exists("/run/systemd/journal/socket"): break
    time.sleep(0.05)
stderr = open(folder + "/stderr.log", "w")
is_at = os.fstat(stderr.fileno())
daemon = subprocess.Popen([program, "run", "-c", config], stderr=stderr, env={**os.environ, "JOURNAL_STREAM": f"{is_at.st_dev}:{is_at.st_ino}"})
open(folder + "/daemon.pid", "w").write(str(daemon.pid))
daemon.wait()
time.sleep(1)
journal.terminate()
journal.wait()
subprocess.run(["cp", "-r", "/run/log/journal", folder + "/journal"], check=True)
"""


class Journal(Site):
    def setUp(self):
        super().setUp()
        if os.geteuid() != 0 or not JOURNALD.exists() or not shutil.which("journalctl"):
            self.skipTest("systemd-journald is not installed, or this is not root")
        if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
            self.skipTest("a mount name space is not allowed here")

    def test_a_real_journald_has_fields_and_explains_them(self):
        south, north = self.broker(), self.broker()
        config = self.config(south.port, north.port, gateway='clock = "trust"')
        script = self.folder / "go.py"
        script.write_text(SCRIPT.replace("@journald@", str(JOURNALD)))
        whole = Process(["unshare", "-m", "/usr/bin/python3", str(script), str(self.folder), str(BUILD / "millrace"), str(config)], self.folder / "whole.log")
        self.processes.append(whole)
        wait_for(lambda: self.http("/healthz") or whole.process.poll() is not None, "the gateway answers")
        wait_for(lambda: self.metric("millrace_uplink_up") == 1, "it is connected")
        north.stop(signal.SIGKILL)
        wait_for(lambda: self.metric("millrace_uplink_up") == 0, "the far side is missed")
        os.kill(int((self.folder / "daemon.pid").read_text()), signal.SIGTERM)
        self.assertEqual(whole.process.wait(30), 0, whole.text())

        def ask(*words):
            done = subprocess.run(["journalctl", "-D", str(self.folder / "journal"), "--no-pager", *words], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout
        lines = [json.loads(line) for line in ask("-o", "json", "SYSLOG_IDENTIFIER=millrace").splitlines()]
        if not lines and not ask("-o", "json", "_TRANSPORT=driver"):  # of its own it always says something
            self.skipTest("systemd-journald does not run here: " + (self.folder / "journald.log").read_text()[-300:])
        self.assertTrue(any(line["MESSAGE"].startswith("millrace ") and line["PRIORITY"] == "6" for line in lines), lines)
        of_uplink = [json.loads(line) for line in ask("-o", "json", "MILLRACE_UPLINK=central").splitlines()]
        self.assertTrue(any("connection lost" in line["MESSAGE"] or "cannot connect" in line["MESSAGE"] for line in of_uplink))
        self.assertEqual({line["MESSAGE_ID"] for line in of_uplink}, {"b14e9fb79e0d4321a8d1ae5078566609"})
        self.assertEqual({line["PRIORITY"] for line in of_uplink if "connection lost" in line["MESSAGE"]}, {"4"})
        self.assertNotIn("<6>", "".join(line["MESSAGE"] for line in lines))
        self.assertEqual((self.folder / "stderr.log").read_text(), "", "nothing is said twice")

    def test_without_a_journal_it_is_said_on_stderr(self):
        south = self.broker()
        config = self.config(south.port, free_port(), gateway='clock = "trust"')
        with open(self.folder / "gateway.log", "ab") as log:
            is_at = os.fstat(log.fileno())
        wrapper = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "sh"]
        gateway = self.gateway(config, env={"JOURNAL_STREAM": f"{is_at.st_dev}:{is_at.st_ino}"}, wrapper=wrapper)
        wait_for(lambda: "<6>millrace " in gateway.text(), "it speaks")


if __name__ == "__main__":
    unittest.main(verbosity=2)
