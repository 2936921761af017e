#!/usr/bin/python3
"""The packages in a Debian chroot of their own: installed, started with the unit's command line, upgraded, exchanged for the full
profile, removed, purged. packaging/build-deb.sh makes what is installed here."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "packaging"))
import debs
import footprint
from testsite import ROOT, wait_for


def setUpModule():
    if os.geteuid() != 0:
        raise unittest.SkipTest("a chroot needs root")
    if debs.why_not():
        raise unittest.SkipTest(debs.why_not())


class Packages(unittest.TestCase):
    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="millrace-chroot-"))
        self.daemon = None
        self.log = tempfile.NamedTemporaryFile("a", prefix="millrace-daemon-")
        self.addCleanup(self.log.close)
        self.addCleanup(self.clean)
        self.mounted = []
        made = subprocess.run(["mmdebstrap", "--quiet", "--variant=apt", "--include=adduser,ca-certificates", "bookworm", str(self.root)], capture_output=True, text=True, timeout=300)
        if made.returncode != 0:
            self.skipTest("mmdebstrap: " + made.stderr.strip().splitlines()[-1])
        (self.root / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
        (self.root / "usr/sbin/policy-rc.d").chmod(0o755)
        for name in ("resolv.conf", "hosts"):
            shutil.copy(f"/etc/{name}", self.root / "etc" / name)
        for kind, where in (("proc", "proc"), ("tmpfs", "run")):
            subprocess.run(["mount", "-t", kind, kind, str(self.root / where)], check=True)
            self.mounted.append(self.root / where)
        self.apt("update")
        debs.bring(self.root)
        self.version = debs.version()

    def clean(self):
        self.stop(signal.SIGKILL)
        for where in reversed(self.mounted):
            subprocess.run(["umount", "-l", str(where)])
        shutil.rmtree(self.root, ignore_errors=True)

    def inside(self, *command, **more):
        return subprocess.run(["chroot", str(self.root), *command], capture_output=True, text=True, timeout=300,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}, **more)

    def apt(self, *words):
        done = self.inside("apt-get", "-y", "-q", "--no-install-recommends", *words)
        self.assertEqual(done.returncode, 0, done.stdout[-2000:] + done.stderr[-2000:])

    # ---- the daemon, as the unit would run it: its command line, user and folders
    def unit(self):
        words = {}
        for line in (self.root / "lib/systemd/system/millrace.service").read_text().splitlines():
            key, _, value = line.partition("=")
            words.setdefault(key, value)
        return words

    def start(self):
        unit = self.unit()
        self.assertEqual(unit["RuntimeDirectoryPreserve"], "yes")
        for where in ("run/millrace", "var/lib/millrace"):  # what RuntimeDirectory= and StateDirectory= do
            folder = self.root / where
            folder.mkdir(exist_ok=True)
            self.inside("chown", f"{unit['User']}:{unit['Group']}", "/" + where)
            folder.chmod(0o750)
        self.daemon = subprocess.Popen(["chroot", f"--userspec={unit['User']}:{unit['Group']}", str(self.root), *unit["ExecStart"].split()],
                                       stderr=self.log, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        wait_for(lambda: self.status() is not None or self.daemon.poll() is not None, "the daemon answers")
        self.assertIsNone(self.daemon.poll(), Path(self.log.name).read_text())

    def status(self):
        done = self.inside("/usr/bin/millrace", "status", "--json")
        return done.stdout if done.returncode == 0 else None

    def stop(self, how=signal.SIGTERM):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.send_signal(how)
            self.assertIsNotNone(self.daemon.wait(20))
        self.daemon = None

    def records(self):
        return len(self.inside("/usr/bin/millrace", "log", "cat", "--lane", "raw").stdout.splitlines())

    def publish(self, count):
        done = subprocess.run([str(ROOT / "build/dev/tests/pipelined_publisher"), "1883", "--count", str(count)], capture_output=True, text=True, timeout=60)
        self.assertIn(f'"acknowledged":{count}', done.stdout, done.stderr)

    def test_installed_started_upgraded_exchanged_removed_purged(self):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", 1883)) == 0:
                self.skipTest("port 1883, which the packaged configuration listens on, is taken on this machine")
        packages = [f"/debs/millrace_{self.version}_amd64.deb", f"/debs/millrace-common_{self.version}_all.deb"]
        self.apt("install", *packages)
        self.assertEqual(self.inside("/usr/bin/millrace", "check").returncode, 0)
        self.assertIn("core", self.inside("/usr/bin/millrace", "version").stdout)
        self.assertIn("dialout", self.inside("id", "-nG", "millrace").stdout)
        self.assertEqual(self.inside("stat", "-c", "%U:%G %a", "/etc/millrace").stdout.strip(), "root:millrace 750")
        # What this profile lacks is an error that says so.
        config = self.root / "etc/millrace/millrace.toml"
        packaged = config.read_text()
        config.write_text(packaged + '\n[[uplinks.kafka]]\nname = "stream"\nservers = ["127.0.0.1:9092"]\n')
        refused = self.inside("/usr/bin/millrace", "check")
        self.assertEqual(refused.returncode, 78)
        self.assertIn(f"millrace.toml:{packaged.count(chr(10)) + 2}:1: this millrace was built without [[uplinks.kafka]]", refused.stderr)
        config.write_text(packaged + '# a line of this site\n')
        self.start()
        self.publish(500)
        self.assertEqual(self.records(), 500)
        # An upgrade: new binaries while the daemon runs, then its restart. A changed configuration is kept.
        debs.bring_newer(self.root, self.version)
        self.apt("install", "/newer/millrace.deb", "/newer/millrace-common.deb")
        self.stop()
        inbox = (self.root / "run/millrace/inbox").stat().st_ino
        self.start()
        self.assertEqual((self.root / "run/millrace/inbox").stat().st_ino, inbox)
        self.publish(100)
        self.assertEqual(self.records(), 600)
        self.assertIn("a line of this site", config.read_text())
        self.stop()
        # The full profile instead: the same log.
        self.apt("install", "--allow-downgrades", f"/debs/millrace-full_{self.version}_amd64.deb", f"/debs/millrace-common_{self.version}_all.deb")
        self.assertIn("full", self.inside("/usr/bin/millrace", "version").stdout)
        self.assertNotIn("ii  millrace ", self.inside("dpkg", "-l").stdout)
        self.start()
        self.publish(50)
        self.assertEqual(self.records(), 650)
        self.stop()
        # Removed: the data stay. Purged: they are gone.
        self.apt("remove", "millrace-full", "millrace-common")
        self.assertFalse((self.root / "usr/bin/millrace").exists())
        self.assertTrue(list((self.root / "var/lib/millrace/log").glob("seg-*.db")))
        self.apt("install", *packages)
        self.assertEqual(self.records(), 650)
        self.apt("purge", "millrace", "millrace-common")
        self.assertFalse((self.root / "var/lib/millrace").exists())
        self.assertFalse((self.root / "etc/millrace/millrace.toml").exists())


class Sizes(unittest.TestCase):
    def test_the_core_binary_keeps_its_budget(self):
        for arch, budget in (("amd64", 4_000_000), ("arm64", 4_000_000), ("armhf", 2_800_000)):
            with self.subTest(arch=arch):
                found = [row for row in footprint.packages(debs.DEBS) if (row["package"], row["architecture"]) == ("millrace", arch)]
                if not found:
                    self.skipTest(f"build/deb has no package for {arch}: packaging/build-arm.sh")
                self.assertLessEqual(found[0]["binary_bytes"], budget)


class Unit(unittest.TestCase):
    def test_the_unit_is_sound(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("systemd-analyze is not installed")
        with tempfile.TemporaryDirectory() as folder:
            program, unit = Path(folder) / "millrace", Path(folder) / "millrace.service"
            program.write_text("#!/bin/sh\n")
            program.chmod(0o755)
            unit.write_text((ROOT / "packaging" / "millrace.service").read_text().replace("/usr/bin/millrace", str(program)))
            done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=18", str(unit)], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stdout[-500:])
            print(done.stdout.strip().splitlines()[-1], file=sys.stderr)
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60)
            self.assertNotIn("millrace.service", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
