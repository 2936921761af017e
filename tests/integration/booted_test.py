#!/usr/bin/python3
"""The packages in a Debian that boots: a real systemd runs the unit with all its restrictions. Installed, readings come and
windows of them, upgraded, rebooted, power cut, removed, purged. The machine is a systemd-nspawn container whose whole root lies
on a file system of its own, with a network of its own; packaging/build-deb.sh makes what is installed here."""
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import debs
from testsite import EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH, ROOT, wait_for

PUBLISHER = ROOT / "build" / "dev" / "tests" / "pipelined_publisher"
# What the unit needs of a machine, and nothing that a small box would not have.
INSIDE = "systemd,systemd-sysv,dbus,adduser,ca-certificates"
CONFIG = """
[gateway]
clock = "trust"                   # a container has no clock of its own to synchronise
[log]
[[inputs.mqtt_endpoint]]
name = "devices"
listen = "127.0.0.1:1883"
anonymous = true
  [[inputs.mqtt_endpoint.routes]]
  topic = "plant/{line}/{device}/telemetry"
  tags = ["line"]
  metrics = { value = "value" }   # no time: that of arrival counts
[[windows]]
name = "1s"
size = "1s"
idle_close = "1s"
[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://127.0.0.1:1884"]
[observe]
"""


def setUpModule():
    why = debs.why_not()
    if os.geteuid() != 0:
        why = "booting needs root"
    elif not shutil.which("systemd-nspawn"):
        why = "systemd-nspawn is not installed: packaging/install-deps.sh package"
    elif not PUBLISHER.exists():
        why = "build/dev has no publisher: tests/run.sh builds it"
    if why:
        raise unittest.SkipTest(why)


class Machine:
    """A Debian on a disk of its own, that can be booted, and whose power can be cut."""

    def __init__(self, folder):
        self.image, self.root, self.console = folder / "disk.img", folder / "root", folder / "console"
        self.container = None
        self.root.mkdir()
        with open(self.image, "wb") as file:
            file.truncate(1500 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self.image)], check=True)
        self.mount()
        made = subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={INSIDE}", "bookworm", str(self.root)],
                              capture_output=True, text=True, timeout=600)
        if made.returncode != 0:
            raise unittest.SkipTest("mmdebstrap: " + (made.stderr.strip().splitlines() or ["?"])[-1])

    def mount(self):
        done = subprocess.run(["mount", "-o", "loop", str(self.image), str(self.root)], capture_output=True, text=True)
        if done.returncode != 0:
            raise unittest.SkipTest("mount -o loop is not allowed here: " + done.stderr.strip())

    def boot(self):
        with open(self.console, "ab") as console:
            self.container = subprocess.Popen(
                ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--system-call-filter=@clock",
                 "-D", str(self.root), "--boot", "--console=pipe"], stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self.wait_booted()

    def wait_booted(self):
        def state():
            if self.container.poll() is not None:
                raise AssertionError("systemd-nspawn: " + self.console.read_text(errors="replace")[-500:])
            return self.leader() and self.inside("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")
        wait_for(state, "the machine is up", 60)

    def leader(self):
        """Its process 1, seen from outside."""
        path = Path(f"/proc/{self.container.pid}/task/{self.container.pid}/children")
        children = path.read_text().split() if path.exists() else []
        for child in children:
            if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                return child
        return None

    def inside(self, *command, network_only=False):
        leader = self.leader()
        if not leader:
            return subprocess.CompletedProcess(command, 1, "", "not running")
        where = ["-n"] if network_only else ["-m", "-u", "-i", "-n", "-p", "-r", "-w"]
        return subprocess.run(["nsenter", "-t", leader, *where, "--", *command], capture_output=True, text=True, timeout=120,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"})

    def reboot(self):
        self.inside("systemctl", "reboot")
        self.container.wait(60)  # systemd-nspawn leaves it to whoever started it
        self.off()  # the disk was left read-only, as a shutdown does
        self.mount()
        self.boot()

    def cut_power(self):
        """Its processors stop, its disk forgets what was not flushed, its memory is gone; then the power is back."""
        leader = self.leader()
        pids = [leader, *self.below(leader)]
        for pid in pids:
            try:
                os.kill(int(pid), signal.SIGSTOP)
            except ProcessLookupError:
                pass
        fd = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH.to_bytes(4, "little"))
        except OSError as error:
            raise unittest.SkipTest(f"EXT4_IOC_SHUTDOWN: {error}")
        finally:
            os.close(fd)
        self.off()
        self.mount()
        self.boot()

    def below(self, pid):
        """All processes of it."""
        path = Path(f"/proc/{pid}/task/{pid}/children")
        children = path.read_text().split() if path.exists() else []
        return children + [deeper for child in children for deeper in self.below(child)]

    def off(self):
        if self.container and self.container.poll() is None:
            leader = self.leader()
            if leader:
                os.kill(int(leader), signal.SIGKILL)
            try:
                self.container.wait(20)
            except subprocess.TimeoutExpired:
                self.container.kill()
                self.container.wait()
        wait_for(lambda: subprocess.run(["umount", str(self.root)], capture_output=True).returncode == 0, "its disk is free", 20)


class Booted(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="millrace-booted-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.machine = Machine(self.folder)
        self.addCleanup(self.machine.off)
        debs.bring(self.machine.root)
        self.version = debs.version()
        debs.bring_newer(self.machine.root, self.version)
        self.machine.boot()

    def tearDown(self):
        result = self._outcome.result
        if any(test is self for test, _ in result.failures + result.errors):
            print(self.machine.inside("journalctl", "-u", "millrace", "-u", "millrace@*", "-n", "40", "--no-pager").stdout)

    def inside(self, *command):
        done = self.machine.inside(*command)
        self.assertEqual(done.returncode, 0, f"{command}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
        return done.stdout

    def show(self, name, unit="millrace"):
        return self.inside("systemctl", "show", "-P", name, unit).strip()

    def ready(self):
        wait_for(lambda: self.machine.inside("millrace", "status", "--json").returncode == 0, "the daemon answers", 60)
        self.assertEqual(self.show("ActiveState"), "active", "READY=1 came")

    def status(self):
        return json.loads(self.inside("millrace", "status", "--json"))

    def lane(self, lane):
        return self.inside("millrace", "log", "cat", f"--lane={lane}").splitlines()

    def publish(self, count):
        done = self.machine.inside(str(PUBLISHER), "1883", "--count", str(count), network_only=True)
        self.assertIn(f'"acknowledged":{count}', done.stdout, done.stderr)
        self.published = getattr(self, "published", 0) + count

    def nothing_is_missing(self):
        self.assertEqual(len(self.lane("raw")), self.published)

    def test_a_life(self):
        packages = [f"/debs/millrace_{self.version}_amd64.deb", f"/debs/millrace-common_{self.version}_all.deb"]
        self.inside("dpkg", "-i", *packages)
        self.inside("sh", "-c", "cat > /etc/millrace/millrace.toml <<'END'\n" + CONFIG + "END")
        self.inside("millrace", "check")
        self.inside("systemctl", "restart", "millrace")
        self.ready()

        # It runs with what the unit takes from it, and can still tell its clock and its boot.
        pid = self.show("MainPID")
        self.assertEqual(self.inside("stat", "-c", "%U", f"/proc/{pid}").strip(), "millrace")
        facts = dict(line.split(":", 1) for line in self.inside("cat", f"/proc/{pid}/status").splitlines() if ":" in line)
        self.assertEqual((facts["CapEff"].strip(), facts["NoNewPrivs"].strip(), facts["Seccomp"].strip()), ("0" * 16, "1", "2"))
        self.assertNotIn("cannot be told", self.inside("journalctl", "-u", "millrace", "--no-pager"))
        self.publish(500)
        self.nothing_is_missing()
        wait_for(lambda: self.lane("window"), "windows of readings without a time of their own")

        # An upgrade restarts it; nobody loses anything, and the configuration is the site's.
        self.inside("dpkg", "-i", "/newer/millrace.deb", "/newer/millrace-common.deb")
        self.ready()
        self.assertNotEqual(self.show("MainPID"), pid)
        self.nothing_is_missing()
        self.publish(100)

        # A reload by systemctl; then it dies and comes back by itself.
        self.inside("systemctl", "reload", "millrace")
        pid = self.show("MainPID")
        self.inside("systemctl", "kill", "--signal=KILL", "millrace")
        wait_for(lambda: self.machine.inside("systemctl", "show", "-P", "MainPID", "millrace").stdout.strip() not in ("0", pid), "back")
        self.ready()
        self.nothing_is_missing()

        self.inside("systemctl", "enable", "millrace")
        self.machine.reboot()
        self.ready()
        self.nothing_is_missing()
        self.publish(100)

        for _ in range(3):
            self.machine.cut_power()
            self.ready()
            self.nothing_is_missing()
            self.publish(100)

        # Removed: it stops, the data stay. Purged: they are gone.
        begin = time.monotonic()
        self.inside("dpkg", "--remove", "millrace", "millrace-common")
        self.assertLess(time.monotonic() - begin, 20)
        self.assertNotEqual(self.machine.inside("systemctl", "is-active", "millrace").stdout.strip(), "active")
        self.inside("sh", "-c", "ls /var/lib/millrace/log/seg-*.db")
        self.inside("dpkg", "-i", *packages)
        self.ready()
        self.nothing_is_missing()
        self.inside("dpkg", "--purge", "millrace", "millrace-common")
        self.inside("sh", "-c", "! test -e /var/lib/millrace && ! test -e /etc/millrace/millrace.toml")

    def test_several_on_one_machine(self):
        """millrace@NAME beside millrace: each with its own log and inbox, none disturbed by what befalls another."""
        packages = [f"/debs/millrace_{self.version}_amd64.deb", f"/debs/millrace-common_{self.version}_all.deb"]
        self.inside("dpkg", "-i", *packages)
        ports = {"": "1883", "line2": "1885", "line3": "1887"}
        for name, port in ports.items():
            text = CONFIG.replace("1883", port).replace("[observe]", f'[observe]\nlisten = "127.0.0.1:1{port}"')
            self.inside("sh", "-c", f"cat > /etc/millrace/{name or 'millrace'}.toml <<'END'\n{text}END")
            self.inside("millrace", "check", *self.of(name))
        self.inside("systemctl", "enable", "--now", "millrace@line2", "millrace@line3")
        self.inside("systemctl", "enable", "millrace")
        self.inside("systemctl", "restart", "millrace")
        sent = dict.fromkeys(ports, 0)

        def each_has_its_own(count):
            for name, port in ports.items():
                wait_for(lambda: self.machine.inside("millrace", "status", "--json", *self.of(name)).returncode == 0, f"millrace@{name} answers", 60)
                wait_for(lambda: self.show("ActiveState", self.unit(name)) == "active", f"READY=1 of millrace@{name} came", 60)
                self.assertEqual(len(self.inside("millrace", "log", "cat", "--lane=raw", *self.of(name)).splitlines()), sent[name], name)
            for name, port in ports.items():
                more = count * (1 + len(name))  # not the same in any two
                done = self.machine.inside(str(PUBLISHER), port, "--count", str(more), network_only=True)
                self.assertIn(f'"acknowledged":{more}', done.stdout, done.stderr)
                sent[name] += more
        each_has_its_own(40)
        host = self.inside("cat", "/proc/sys/kernel/hostname").strip()
        self.assertEqual(json.loads(self.inside("millrace", "status", "--json", "--instance", "line2"))["gateway"], f"{host}-line2")
        self.inside("sh", "-c", "ls /var/lib/millrace/line2/log/seg-*.db /var/lib/millrace/line3/log/seg-*.db /run/millrace/line2/inbox*")

        # One dies and comes back; one is wrong and stays away; the others are not asked.
        pids = {name: self.show("MainPID", self.unit(name)) for name in ports}
        self.inside("systemctl", "kill", "--signal=KILL", "millrace@line2")
        wait_for(lambda: self.show("MainPID", "millrace@line2") not in ("0", pids["line2"]), "line2 is back")
        self.inside("sh", "-c", "sed -i 's/^listen/lisen/' /etc/millrace/line3.toml")
        self.machine.inside("systemctl", "restart", "millrace@line3")
        wait_for(lambda: self.show("ActiveState", "millrace@line3") == "failed", "line3 is for a person")
        self.assertEqual(self.show("ExecMainStatus", "millrace@line3"), "78")
        self.assertIn("lisen", self.inside("journalctl", "-u", "millrace@line3", "-n", "20", "--no-pager"))
        self.assertEqual(self.show("MainPID"), pids[""])
        self.inside("sh", "-c", "sed -i 's/^lisen/listen/' /etc/millrace/line3.toml")
        self.inside("systemctl", "start", "millrace@line3")
        each_has_its_own(10)

        # A new package restarts all of them; so does a reboot, and a power cut.
        pids = {name: self.show("MainPID", self.unit(name)) for name in ports}
        self.inside("dpkg", "-i", "/newer/millrace.deb", "/newer/millrace-common.deb")
        each_has_its_own(10)
        for name, pid in pids.items():
            self.assertNotEqual(self.show("MainPID", self.unit(name)), pid, name)
        self.machine.reboot()
        each_has_its_own(10)
        self.machine.cut_power()
        each_has_its_own(10)

        self.inside("dpkg", "--remove", "millrace", "millrace-common")
        for name in ports:
            self.assertNotEqual(self.machine.inside("systemctl", "is-active", self.unit(name)).stdout.strip(), "active", name)
        self.inside("dpkg", "-i", *packages)
        self.inside("systemctl", "start", "millrace@line2", "millrace@line3")
        each_has_its_own(1)

    def of(self, name):
        return ["--instance", name] if name else []

    def unit(self, name):
        return f"millrace@{name}" if name else "millrace"


if __name__ == "__main__":
    unittest.main(verbosity=2)
