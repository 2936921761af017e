"""A site for tests on real parts: brokers, gateway and simulator on loopback, on free ports, in a temporary folder, each
stopped by pid by whoever started it. Everything waits for events, never for luck: wait_for() polls a condition to a deadline."""
import collections
import fcntl
import glob
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("MILLRACE_BUILD", ROOT / "build" / "dev"))
os.environ.setdefault("LSAN_OPTIONS", f"print_suppressions=0:suppressions={ROOT}/tests/support/lsan.supp")
MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


# The plainest site: one broker's devices in, one broker out. The @words@ are filled in by Site.config().
CONFIG = """
[gateway]
name = "gw"
runtime_dir = "@run@"
@gateway@
[log]
path = "@log@"
commit_interval = "200ms"
@logmore@
[[inputs.mqtt]]
name = "devices"
servers = ["mqtt://127.0.0.1:@devices@"]
version = "@inversion@"
reconnect_min = "100ms"
reconnect_max = "1s"
@input@
[[inputs.mqtt.routes]]
topic = "plant/{line}/{device}/telemetry"
tags = ["line"]
time = "ts"
metrics = { value = "value" }
[[inputs.mqtt.routes]]
topic = "tele/{device}/SENSOR"
metrics = { value = "value" }
@more@
[[uplinks.mqtt]]
name = "central"
servers = ["@scheme@://127.0.0.1:@central@"]
version = "@upversion@"
initial_interval = "100ms"
max_interval = "1s"
@uplink@
[observe]
listen = "127.0.0.1:@observe@"
"""


handed_out = collections.deque(maxlen=500)


def free_port():
    """Below those that the kernel gives to whoever connects: between this and a server's bind() nobody takes it."""
    while True:
        port = random.SystemRandom().randrange(10000, 32768)
        if port in handed_out:
            continue
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        handed_out.append(port)
        return port


def serve_each(listener, talk):
    """A server of a test: each connection is `talk`'s, in a thread of its own, until the listener is closed."""
    def accept():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(client,), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()


def wait_for(condition, what, seconds=30):
    deadline = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.02)


def listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def jars(name):
    """The folder below build/ with the jars of tests/integration/NAME/pom.xml, and why there are none."""
    pom, folder = ROOT / "tests" / "integration" / name / "pom.xml", ROOT / "build" / name
    complete = folder / "complete"
    if not complete.exists() or complete.read_text() != pom.read_text():
        shutil.rmtree(folder, ignore_errors=True)
        done = subprocess.run(["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"],
                              capture_output=True, text=True, timeout=900)
        if done.returncode != 0:
            return None, "Maven could not bring " + (re.findall(r"[\w.\-]+:[\w.\-]+:jar:[\w.\-]+", done.stdout + done.stderr) or [f"the jars of {name}"])[0]
        complete.write_text(pom.read_text())
    return folder, ""


class Process:
    def __init__(self, arguments, log, env=None, stdin=None):
        self.log = Path(log)
        self.file = open(self.log, "ab")
        self.process = subprocess.Popen(arguments, stdout=self.file, stderr=subprocess.STDOUT, stdin=stdin,
                                        env={**os.environ, **(env or {})})

    def stop(self, how=signal.SIGTERM, seconds=15):
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.file.close()
        if self.process.stdin:
            self.process.stdin.close()
        return self.process.returncode

    def text(self):
        return self.log.read_text(errors="replace")


class Site(unittest.TestCase):
    """A test case with a temporary folder and processes that are gone afterwards."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="millrace-test-"))
        shm = Path("/dev/shm")
        self.run_folder = Path(tempfile.mkdtemp(prefix="millrace-test-", dir=shm if os.access(shm, os.W_OK) else None))
        self.processes = []

    def tearDown(self):
        for process in reversed(self.processes):
            process.stop(signal.SIGKILL)
        result = self._outcome.result
        if any(test is self for test, _ in getattr(result, "failures", []) + getattr(result, "errors", [])) and (self.folder / "gateway.log").exists():
            print("the gateway's last words:", *(self.folder / "gateway.log").read_text(errors="replace").splitlines()[-25:], sep="\n  ")
        if os.environ.get("MILLRACE_KEEP"):
            print("kept:", self.folder, self.run_folder)
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.run_folder, ignore_errors=True)

    def afresh(self):
        """A folder and processes of its own for what comes next in the same test."""
        self.tearDown()
        self.setUp()
        del self.observe

    # ---- brokers
    def broker(self, port=None, tls=None, name=None, extra=""):
        port = port or free_port()
        name = name or f"broker-{port}"
        config = self.folder / f"{name}.conf"
        lines = [f"user {os.environ.get('USER', 'root')}" if os.geteuid() == 0 else "", f"listener {port} 127.0.0.1", "persistence true",
                 f"persistence_location {self.folder}/", f"persistence_file {name}.db", "max_queued_messages 0", "max_inflight_messages 1000"]
        if "allow_anonymous" not in extra:
            lines.append("allow_anonymous true")
        if tls:
            lines += [f"cafile {tls}/ca.pem", f"certfile {tls}/server.pem", f"keyfile {tls}/server.key"]
        config.write_text("\n".join(lines) + "\n" + extra + "\n")
        process = Process([MOSQUITTO, "-c", str(config)], self.folder / f"{name}.log")
        process.port = port
        self.processes.append(process)
        wait_for(lambda: listening(port) or process.process.poll() is not None, f"broker on {port}")
        self.assertIsNone(process.process.poll(), process.text())
        return process

    def tls(self):
        folder = self.folder / "tls"
        if not folder.exists():
            subprocess.run([ROOT / "packaging" / "test-ca.sh", folder], check=True, stdout=subprocess.DEVNULL)
        return folder

    # ---- the gateway
    def configure(self, text, **values):
        self.observe = getattr(self, "observe", None) or free_port()
        values = {"run": self.run_folder, "log": self.folder / "log", "observe": self.observe, **values}
        path = self.folder / "millrace.toml"
        for key, value in values.items():
            text = text.replace("@" + key + "@", str(value))
        path.write_text(text)
        return path

    def config(self, devices, central, **values):
        """CONFIG between two ports; `values` set what its other @words@ say."""
        plain = {"gateway": "", "logmore": "", "inversion": "5", "input": "", "more": "", "scheme": "mqtt", "upversion": "5", "uplink": ""}
        return self.configure(CONFIG, devices=devices, central=central, **{**plain, **values})

    def gateway(self, config, wait=True, env=None, wrapper=(), program=BUILD / "millrace"):
        process = Process([*wrapper, str(program), "run", "-c", str(config)], self.folder / "gateway.log", env)
        self.processes.append(process)
        if wait:
            wait_for(lambda: self.http("/healthz") is not None or process.process.poll() is not None, "the gateway answers")
            self.assertIsNone(process.process.poll(), process.text())
        return process

    def faked(self, program=BUILD / "millrace", **how):
        """What makes `program` believe another time, `how` being libfaketime's own words."""
        found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        if not found:
            self.skipTest("libfaketime is not here")
        # It ends a process that finds what another of its number left in /dev/shm when it was killed.
        for left in glob.glob("/dev/shm/*faketime_s[eh]m_*"):
            if not Path("/proc", left.rsplit("_", 1)[1]).exists():
                Path(left).unlink(missing_ok=True)
        # A sanitizer's runtime wants to be first.
        asan = subprocess.run(["sh", "-c", f"ldd {program} | awk '/lib[at]san/ {{print $3}}'"], capture_output=True, text=True).stdout.split()
        return {"LD_PRELOAD": ":".join([*asan, found[0]]), **how}

    def http(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.observe}{path}", timeout=5) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            return None

    def metric(self, name, labels=""):
        text = self.http("/metrics") or ""
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name and labels in line)

    def command(self, *arguments, config=None):
        return subprocess.run([str(BUILD / "millrace"), *arguments, "-c", str(config or self.folder / "millrace.toml")], capture_output=True, text=True, timeout=60)

    def status(self):
        return json.loads(self.command("status", "--json").stdout)

    # ---- devices and the far side
    def publish(self, port, topic, *payloads, qos=1, extra=()):
        for payload in payloads:
            subprocess.run(["mosquitto_pub", "-p", str(port), "-t", topic, "-q", str(qos), "-m", payload, *extra], check=True, timeout=20)

    def sim(self, scenario, wait=True, seconds=300):
        path = self.folder / "scenario.toml"
        path.write_text(scenario)
        process = Process([str(BUILD / "millrace-sim"), "run", str(path), "--json", str(self.folder / "account.json")], self.folder / "sim.log")
        self.processes.append(process)
        return self.account(process, seconds) if wait else process

    def account(self, process, seconds=300):
        process.process.wait(seconds)
        self.assertTrue((self.folder / "account.json").exists(), process.text())
        account = json.loads((self.folder / "account.json").read_text())
        account["exit"] = process.process.returncode
        return account


class Neighbour:
    """Somebody else on the file system: fills it, and takes whatever is freed."""

    def __init__(self, folder):
        self.path, self.stopping = Path(folder) / "somebody-elses", threading.Event()
        self.file = open(self.path, "wb", buffering=0)
        self.take(1 << 20)
        self.thread = threading.Thread(target=self.go_on, daemon=True)
        self.thread.start()

    def take(self, piece):
        while piece >= 1:
            try:
                self.file.write(b"x" * piece)
            except OSError:
                piece //= 2

    def go_on(self):
        while not self.stopping.wait(0.002):
            self.take(4096)

    def leave(self):
        self.stopping.set()
        self.thread.join()
        self.file.close()
        self.path.unlink()


EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2


class DiskSite(Site):
    """On a file system of its own, in a loop-mounted file: it can go read-only, away, or lose power."""

    def setUp(self):
        super().setUp()
        self.mounted = False
        if os.geteuid() != 0:
            self.skipTest("mounting needs root")
        image, self.mount = self.folder / "disk.img", self.folder / "disk"
        self.mount.mkdir()
        with open(image, "wb") as file:
            file.truncate(64 << 20)
        made = subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], capture_output=True, text=True)
        if made.returncode != 0:
            self.skipTest("mkfs.ext4: " + made.stderr.strip())
        self.image = image
        self.mount_it()

    def mount_it(self):
        done = subprocess.run(["mount", "-o", "loop", str(self.image), str(self.mount)], capture_output=True, text=True)
        if done.returncode != 0:
            self.skipTest("mount -o loop is not allowed here: " + done.stderr.strip())
        self.mounted = True

    def unmount(self):
        subprocess.run(["umount", str(self.mount)], check=False, capture_output=True)
        self.mounted = False

    def cut_power(self, gateway):
        """The machine dies, and its disk comes back. The processor stops first: an fsync that is under way while the journal
        is aborted may return success, which no power cut does, and the gateway would acknowledge for it."""
        gateway.process.send_signal(signal.SIGSTOP)
        self.shut_down()
        gateway.stop(signal.SIGKILL)
        for entry in self.run_folder.iterdir():  # memory is gone, too
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self.unmount()
        self.mount_it()

    def tearDown(self):
        for process in reversed(self.processes):
            process.stop(signal.SIGKILL)
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.mount)], capture_output=True)
        super().tearDown()

    def on_disk(self, devices_port, central_port, **values):
        config = self.config(devices_port, central_port, **values)
        config.write_text(config.read_text().replace(f'path = "{self.folder}/log"', f'path = "{self.mount}/log"'))
        return config

    def shut_down(self):
        """The file system refuses everything from now on, and what was not flushed is gone."""
        fd = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH.to_bytes(4, "little"))
        except OSError as error:
            self.skipTest(f"EXT4_IOC_SHUTDOWN: {error}")
        finally:
            os.close(fd)


def scenario(devices_port, central, *, devices=20, rate=500, duration="4s", more="", fleet="", drain="60s"):
    return f"""
drain_timeout = "{drain}"
[fleet]
server = "mqtt://127.0.0.1:{devices_port}"
devices = {devices}
connections = 5
rate = {rate}
duration = "{duration}"
series = "walk"
{fleet}
[central]
{central}
{more}
"""
