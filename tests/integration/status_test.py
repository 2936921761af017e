#!/usr/bin/python3
"""What a technician sees: `millrace status` names each of six faults in its first three lines with the right next step, and says that all
is well when it is over; `top` in a real terminal (tmux), `tap`, `trace` and `diag` beside a daemon."""
import json
import os
import pty
import random
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from testsite import BUILD, DiskSite, Neighbour, Process, Site, free_port, wait_for

TRUSTED = 'clock = "trust"'
ENDPOINT = """
[[inputs.mqtt_endpoint]]
name = "field"
listen = "127.0.0.1:@port@"
anonymous = true
tls_cert = "@pem@"
tls_key_file = "@key@"
[[inputs.mqtt_endpoint.routes]]
topic = "field/{device}"
metrics = { value = "value" }
"""


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


class Seen:
    """A site whose status is looked at as a person does."""

    def fill(self, qos="1"):
        """A log of a MiB is full of it."""
        lines = self.folder / "lines"
        lines.write_text("".join(f'{{"value": {random.random()}}}\n' for _ in range(100_000)))
        for i in (1, 2, 3):
            with open(lines) as stdin:
                self.processes.append(Process(["mosquitto_pub", "-p", str(self.south.port), "-t", f"tele/press-{i}/SENSOR", "-q", qos, "-l"], self.folder / "filling.log", stdin=stdin))

    def look(self):
        done = self.command("status")
        return done.returncode, done.stdout.splitlines()

    def named(self, what, step, code, seconds=30):
        """Within the first three lines, in a line and the one below it."""
        def there():
            got, lines = self.look()
            head = lines[:3]
            return got == code and any(re.search(what, line) and re.search(step, below) for line, below in zip(head, head[1:]))
        try:
            wait_for(there, what, seconds)
        except AssertionError:
            self.fail("\n".join(self.look()[1][:8]) + f"\n\n{what} / {step} with code {code} is not there; it ends with {self.look()[0]}")

    def well(self, seconds=30):
        wait_for(lambda: self.look()[0] == 0, "all is well", seconds)
        self.assertRegex(self.look()[1][0], r"^gw: all is well \(millrace ")


class Drill(Seen, Site):
    def start(self, **values):
        self.south, self.north = self.broker(), self.broker()
        self.file = self.config(self.south.port, values.pop("central", self.north.port), gateway=TRUSTED, **values)
        return self.gateway(self.file)

    def test_a_dead_broker(self):
        self.start()
        self.well()
        self.north.stop(signal.SIGKILL)
        self.named(r"uplink central: .*since 20\d\d-.* UTC \(", r"next: see that the other side runs", 1)
        self.publish(self.south.port, "tele/press-1/SENSOR", '{"value": 1}')
        self.named("uplink central", r"Nothing is lost: 1 records wait", 1)
        fault = self.status()["faults"][0]
        self.assertEqual((fault["id"], fault["somebody_must_act"]), ("uplink central", False))
        self.broker(self.north.port)
        self.well()
        self.assertIn("last error", self.command("status").stdout)

    def test_who_was_started_without_standard_streams_writes_nothing_elsewhere(self):
        """Their numbers were those of the first pipes and files that were opened."""
        self.south, self.north = self.broker(), self.broker()
        self.file = self.config(self.south.port, self.north.port, gateway=TRUSTED)
        gateway = self.gateway(self.file, wrapper=("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"))
        self.assertEqual([os.readlink(f"/proc/{gateway.process.pid}/fd/{stream}") for stream in (0, 1, 2)], ["/dev/null"] * 3)

        def entered():  # it cannot say when it is ready
            self.publish(self.south.port, "tele/press-1/SENSOR", '{"value": 1}')
            return "press-1" in self.command("log", "cat").stdout
        wait_for(entered, "a reading is committed")
        self.north.stop(signal.SIGKILL)  # that is told, to nobody
        self.named("uplink central", "next: see that the other side runs", 1)
        for words in (("log", "cat"), ("check",), ("log", "ls")):
            done = subprocess.run([BUILD / "millrace", *words, "-c", self.file], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60, preexec_fn=lambda: os.close(1))
            self.assertEqual(done.returncode, 1, (words, done.stderr))
            self.assertIn("the output cannot be written", done.stderr, words)
        self.assertEqual(gateway.stop(), 0)

    def test_an_address_that_another_program_has(self):
        self.observe = free_port()
        with socket.create_server(("127.0.0.1", self.observe)):
            self.south, self.north = self.broker(), self.broker()
            self.gateway(self.config(self.south.port, self.north.port, gateway=TRUSTED), wait=False)
            self.named(r"! observe\.listen: bind 127\.0\.0\.1:\d+: Address already in use; metrics and health cannot be asked for",
                       r"next: another program has that address \(ss -ltnp\)", 2)
        self.well()
        self.assertIsNotNone(self.http("/healthz"))

    def test_nobody_answers(self):
        self.config(free_port(), free_port(), gateway=TRUSTED)
        for words, unit in (((), "millrace"), (("--instance", "line2"), "millrace@line2")):
            done = self.command("status", *words)
            self.assertEqual((done.returncode, done.stdout), (69, ""))
            self.assertRegex(done.stderr, rf"^no daemon answers at .*\n  next: systemctl status {unit}; journalctl -u {unit} -n 50\n$")
        for words in (("top", "--once"), ("top", "--once", "--json"), ("tap",), ("trace", "press-1"), ("reload",), ("uplink", "forget", "old")):
            done = self.command(*words)
            self.assertEqual((done.returncode, done.stdout), (69, ""), words)
            self.assertRegex(done.stderr, r"^no daemon answers at .*\n  next: systemctl status millrace; journalctl -u millrace -n 50\n$")
        done = self.command("status", config=self.folder / "none.toml")
        self.assertEqual((done.returncode, done.stdout), (78, ""))
        self.assertIn("No such file or directory\n1 error; -c FILE names another one, millrace config prints one", done.stderr)

    def test_a_daemon_that_hangs_and_one_that_was_killed(self):
        daemon = self.start()
        self.well()
        daemon.process.send_signal(signal.SIGSTOP)
        path, waiting = str(self.run_folder / "control.sock"), []
        self.addCleanup(lambda: [one.close() for one in waiting])
        for _ in range(5000):  # as who asks a hung daemon each minute leaves them there, until it accepts no more
            one = socket.socket(socket.AF_UNIX)
            waiting.append(one)
            one.setblocking(False)
            try:
                one.connect(path)
            except BlockingIOError:
                break
        else:
            self.fail("there is always room for one more")
        begin = time.monotonic()
        done = self.command("status")
        self.assertEqual((done.returncode, done.stdout), (69, ""))
        self.assertRegex(done.stderr, r"^the daemon does not answer\n  next: systemctl status millrace; journalctl -u millrace -n 50\n$")
        self.assertLess(time.monotonic() - begin, 20)
        for one in waiting:
            one.close()
        daemon.process.send_signal(signal.SIGCONT)
        self.well()
        daemon.stop(signal.SIGKILL)
        self.assertTrue(Path(path).exists())  # nobody's
        done = self.command("status")
        self.assertEqual((done.returncode, done.stderr.split("\n")[0]), (69, f"no daemon answers at {path}: Connection refused"))

    def test_ready_is_who_takes_readings_and_healthy_who_answers(self):
        daemon = self.start(logmore='max_size = "1MiB"\nwhen_full = "block"')
        self.well()

        def answers(path):
            done = subprocess.run(["curl", "-s", "-m", "5", "-w", "%{http_code}", f"http://127.0.0.1:{self.observe}{path}"], capture_output=True, text=True)
            return int(done.stdout[-3:]), done.stdout[:-3]
        self.assertEqual((answers("/healthz"), answers("/readyz")), ((200, "ok\n"), (200, "ready\n")))
        # Whom it sends to, and who sends to it, may be away: it takes what comes.
        self.north.stop(signal.SIGKILL)
        wait_for(lambda: self.look()[0] == 1, "the far side is missed")
        self.assertEqual(answers("/readyz"), (200, "ready\n"))
        self.fill()
        wait_for(lambda: answers("/readyz") == (503, "log: full, inputs pause\n"), "it takes no more", 60)
        self.assertEqual(answers("/healthz"), (200, "ok\n"))
        for _ in range(3):
            self.processes.pop().stop(signal.SIGKILL)
        self.north = self.broker(self.north.port)
        wait_for(lambda: answers("/readyz") == (200, "ready\n"), "it takes readings again", 60)
        self.south.stop(signal.SIGKILL)
        wait_for(lambda: self.metric("millrace_input_up") == 0, "the input is down")
        self.assertEqual(answers("/readyz"), (200, "ready\n"))
        self.south = self.broker(self.south.port)
        wait_for(lambda: all(self.metric(name) == value for name, value in (("millrace_input_up", 1), ("millrace_inbox_fill_ratio", 0),
                                                                              ("millrace_uplink_backlog_records", 0))), "all is delivered", 60)
        # What is on its way when it is stopped is waited for, three seconds long.
        self.north.process.send_signal(signal.SIGSTOP)
        self.publish(self.south.port, "tele/press-2/SENSOR", '{"value": 1}')
        wait_for(lambda: self.metric("millrace_uplink_backlog_records") == 1, "it is on its way")
        daemon.process.send_signal(signal.SIGTERM)
        wait_for(lambda: answers("/readyz") == (503, "stopping\n") or daemon.process.poll() is not None, "it stops")
        self.assertIsNone(daemon.process.poll())
        self.assertEqual(answers("/healthz"), (200, "ok\n"))

    def test_a_gateway_of_another_version(self):
        """One that knows less says that it does not; one that knows more says more, and one that is none is told as that."""
        self.config(free_port(), free_port(), gateway=TRUSTED)
        answers = {"status": '{"gateway":"gw","version":"9.9","ready":true,"faults":[],"of_tomorrow":[{"x":1}]}'}
        server = socket.socket(socket.AF_UNIX)
        self.addCleanup(server.close)
        server.bind(str(self.run_folder / "control.sock"))
        server.listen()

        def serve():
            while True:
                try:
                    asked, _ = server.accept()
                except OSError:
                    return
                with asked, asked.makefile("rw") as lines:
                    lines.write(answers.get(json.loads(lines.readline())["command"], '{"error":"unknown command"}') + "\n")
        threading.Thread(target=serve, daemon=True).start()
        done = self.command("status")
        self.assertEqual((done.returncode, done.stdout.splitlines()[0]), (0, "gw: all is well (millrace 9.9, up 0.0 s)"))
        done = self.command("top", "--once")
        self.assertEqual((done.returncode, done.stderr), (69, "the gateway that runs is of another version, which does not know this; restart it: systemctl restart millrace\n"))
        for answers["status"] in ("hello", '{"gateway"', "[]", "\x00"):
            done = self.command("status")
            self.assertEqual((done.returncode, done.stdout), (69, ""), answers)
            self.assertIn("next: systemctl status millrace", done.stderr)

    @unittest.skipUnless(os.geteuid() == 0, "only root can be somebody else")
    def test_who_may_not_ask_is_told_who_may(self):
        self.start()
        asked = lambda: subprocess.run([BUILD / "millrace", "status", "-c", self.file], capture_output=True, text=True, user=65534, group=65534, extra_groups=[])
        hint = "ask as root, or as a user of the group millrace\n"
        done = asked()
        self.assertEqual((done.returncode, done.stdout), (78, ""))
        self.assertTrue(done.stderr.endswith(f"Permission denied\n1 error; {hint}"), done.stderr)
        self.folder.chmod(0o755)
        done = asked()
        self.assertEqual((done.returncode, done.stdout), (69, ""))
        self.assertTrue(done.stderr.endswith(f"Permission denied\n  next: {hint}"), done.stderr)

    def test_an_expired_certificate(self):
        openssl(self.folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "s.key", "-out", "old.pem",
                "-days", "90", "-subj", "/CN=field")
        os.chmod(self.folder / "s.key", 0o600)
        openssl(self.folder, "req", "-new", "-key", "s.key", "-subj", "/CN=field", "-out", "s.csr")
        openssl(self.folder, "x509", "-req", "-in", "s.csr", "-signkey", "s.key", "-days", "-1", "-out", "s.pem")
        self.start(more=ENDPOINT.replace("@port@", str(free_port())).replace("@pem@", str(self.folder / "s.pem")).replace("@key@", str(self.folder / "s.key")))
        self.named(r'! input field: tls_cert: the certificate "CN=field" of .*/s\.pem expired on 20', r"next: put a new one in its place; it is read by itself", 2)
        os.replace(self.folder / "old.pem", self.folder / "s.pem")
        self.well(40)

    def test_an_old_ca_beside_its_successor_is_nobodys_to_renew(self):
        tls = self.tls()
        openssl(self.folder, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "o.key", "-subj", "/CN=old", "-out", "o.csr")
        openssl(self.folder, "x509", "-req", "-in", "o.csr", "-signkey", "o.key", "-days", "-1", "-out", "o.pem")
        old, new = (self.folder / "o.pem").read_text(), (tls / "ca.pem").read_text()
        (self.folder / "cas.pem").write_text(old + new)
        self.south, self.north = self.broker(), self.broker(tls=tls)
        self.gateway(self.config(self.south.port, self.north.port, gateway=TRUSTED, scheme="mqtts", uplink=f'tls_ca = "{self.folder}/cas.pem"'))
        self.well()
        self.assertIn("millrace_cert_expiry_seconds{", self.http("/metrics"))
        self.assertNotIn("CN=old", self.http("/metrics"))
        (self.folder / "cas.pem").write_text(old)  # where there is no other it is told
        self.named(r'! uplink central: tls_ca: the certificate "CN=old" of .*/cas\.pem expired on 20', r"next: put a new one in its place", 2, 60)
        (self.folder / "cas.pem").write_text(old + new)
        self.well(60)
        self.assertNotIn("CN=old", self.http("/metrics"))

    def test_a_wrong_password_of_an_input(self):
        users, password = self.folder / "users", self.folder / "password"
        subprocess.run(["mosquitto_passwd", "-c", "-b", str(users), "gw", "right"], check=True, capture_output=True)
        os.chmod(self.folder, 0o755), os.chmod(users, 0o644)
        password.write_text("wrong\n")
        password.chmod(0o600)
        self.south, self.north = self.broker(extra=f"allow_anonymous false\npassword_file {users}"), self.broker()
        self.gateway(self.config(self.south.port, self.north.port, gateway=TRUSTED, input=f'username = "gw"\npassword_file = "{password}"'))
        self.named(r"! input devices: not authorised", r"next: correct the user name or password \(password_file is read anew at each try\)", 2)
        password.write_text("right\n")
        self.well()

    def test_a_poison_payload(self):
        self.start()
        self.well()
        self.publish(self.south.port, "tele/press-1/SENSOR", 'oops {')
        self.named(r'input devices: 1 payload could not be read, the last on tele/press-1/SENSOR: ', r"next: they are kept: millrace dlq ls; mend the route", 1)
        wait_for(lambda: "tele/press-1/SENSOR" in self.command("dlq", "ls").stdout, "it is kept")

    def test_a_full_log(self):
        gateway = self.start(central=free_port(), logmore='max_size = "1MiB"\nwhen_full = "block"')
        self.fill()
        self.named(r"! log: full \(.*\): inputs pause", r"next: bring the uplinks back, they empty it; or raise log.max_size", 2, 60)
        self.assertIsNone(gateway.process.poll())

    def test_a_silent_device_and_then_a_silent_input(self):
        """The daemon's clocks, the monotonic one, too, jump six minutes, so that nobody need wait."""
        clock = self.folder / "clock"
        clock.write_text("+0\n")
        faked = self.faked(FAKETIME_TIMESTAMP_FILE=str(clock), FAKETIME_NO_CACHE="1")
        self.south, self.north = self.broker(), self.broker()
        self.file = self.config(self.south.port, self.north.port, gateway=TRUSTED)
        self.gateway(self.file, env=faked)
        self.well()
        for i in range(4):  # what comes within a second is heard once
            clock.write_text(f"+{2 * i}\n")
            self.publish(self.south.port, "tele/press-1/SENSOR", '{"value": 1}')
            self.publish(self.south.port, "tele/press-2/SENSOR", '{"value": 1}')
            wait_for(lambda: self.status()["inputs"][0]["records"] == 2 * i + 2, "both were heard")
        clock.write_text("+370\n")
        self.named(r"- input devices: nothing has come for 6 min \(as a rule every [23]\.\d s\), though it is connected", r"next: look at the devices and at what lies between", 1)
        self.publish(self.south.port, "tele/press-2/SENSOR", '{"value": 1}')
        self.named(r"- input devices: silent: press-1 \(for 6 min, as a rule every [23]\.\d s\); since", r"next: look at their power and their way here; what came last: millrace trace DEVICE", 1)
        self.assertEqual(self.metric("millrace_input_silent_devices"), 1)
        self.publish(self.south.port, "tele/press-1/SENSOR", '{"value": 1}')
        self.well()

    def test_a_wrong_clock(self):
        faked = self.faked(FAKETIME="@2001-01-01 00:00:00", DONT_FAKE_MONOTONIC="1")
        self.south, self.north = self.broker(), self.broker()
        self.file = self.config(self.south.port, self.north.port, gateway='clock = "rtc"')
        self.gateway(self.file, env=faked)
        self.named(r"! clock: not trusted, it says 2001-01-01T.*: the battery clock says 2001", r"next: set the time, and let something keep it: timedatectl", 2)

    def test_a_program_gets_json_and_a_pipe_no_colours(self):
        self.start()
        self.well()
        status = self.status()
        self.assertEqual(status["faults"], [])
        self.assertEqual([one["kind"] for one in status["inputs"] + status["uplinks"]], ["mqtt", "mqtt"])
        self.assertNotIn("\033", self.command("status").stdout)
        for no_colour, colours in (("", True), ("1", False)):
            env = {**os.environ, "TERM": "xterm", "NO_COLOR": no_colour}
            shown = subprocess.run(["script", "-qec", f"{BUILD}/millrace status -c {self.file}", "/dev/null"], capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL)
            self.assertEqual("\033[" in shown.stdout, colours, shown.stdout)
        self.processes[-1].stop()
        self.assertEqual(self.command("status").returncode, 69)


class FullDisk(Seen, DiskSite):
    def test_a_full_disk(self):
        south, north = self.broker(), self.broker()
        self.config(south.port, north.port, gateway=TRUSTED, log=self.mount / "log", logmore='max_size = "16MiB"')
        self.gateway(self.folder / "millrace.toml")
        self.well()
        neighbour = Neighbour(self.mount)
        try:
            def full():
                self.publish(south.port, "tele/press-1/SENSOR", '{"value": 1}', qos=0)
                return self.look()[0] == 2
            wait_for(full, "the disk is full", 60)
            self.named(r"! log: cannot be written: ", rf"next: (make room on the file system of|look at the disk under) {self.mount}/log", 2)
        finally:
            neighbour.leave()
        self.well(60)


class Live(Seen, Site):
    def setUp(self):
        super().setUp()
        self.south, self.north = self.broker(), self.broker()
        self.file = self.config(self.south.port, self.north.port, gateway=TRUSTED)
        self.gateway(self.file)
        self.well()

    def tearDown(self):
        if hasattr(self, "screen"):
            self.tmux("kill-server")
        super().tearDown()

    def speak(self, *devices):
        for i, device in enumerate(devices):
            self.publish(self.south.port, f"tele/{device}/SENSOR", json.dumps({"value": i}))

    # ---- top
    def tmux(self, *arguments):
        return subprocess.run(["tmux", "-L", self.screen, *arguments], capture_output=True, text=True).stdout

    def top(self, columns, rows):
        if not shutil.which("tmux"):
            self.skipTest("tmux is not here")
        self.screen = f"millrace-test-{os.getpid()}-{self.observe}"
        self.tmux("-u", "-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), f"{BUILD}/millrace top -c {self.file} --every 200ms; sleep 60")

    def shows(self, pattern, seconds=20):
        def there():
            self.seen = self.tmux("capture-pane", "-p")
            return re.search(pattern, self.seen)
        try:
            return wait_for(there, pattern, seconds)
        except AssertionError:
            self.fail(f"{pattern} is not on the screen:\n{self.seen}")

    def test_top_on_a_screen_of_80_by_24(self):
        self.speak(*[f"press-{i:02}" for i in range(30)])
        self.top(80, 24)
        self.shows(r"^gw: all is well")
        self.shows(r"(?ms)^  30 devices by name.*q: quit")
        lines = self.seen.splitlines()
        self.assertLessEqual(len(lines), 24)
        self.assertTrue(all(len(line) <= 80 for line in lines), lines)
        self.assertRegex(lines[-1], "q: quit")
        known = self.status()
        self.shows(rf"(?m)^  central +{known['uplinks'][0]['backlog_records']} +[\d.]+ +0\.0 s +[\d.]+ [KM]?i?B  up$")
        self.shows(rf"(?m)^  devices +{known['inputs'][0]['devices']} ")
        self.shows(r"(?m)^  >press-00 ")
        self.tmux("send-keys", "Down")
        self.shows(r"(?m)^  >press-01 ")
        self.tmux("send-keys", "-l", "/pü")
        self.shows(r'(?m)^  0 devices with "pü_" by name')
        self.tmux("send-keys", "BSpace")
        self.shows(r'(?m)^  30 devices with "p_" by name')
        self.tmux("send-keys", "BSpace", "BSpace", "2", "9", "Enter")
        self.shows(r'(?m)^  1 devices with "29" by name')
        self.shows(r"(?m)^  >press-29 ")
        self.tmux("send-keys", "Enter")
        self.shows(r"(?m)^  press-29: what came last")
        self.shows(r"(?m)^  value +29 +[\d.]+ s ago")
        self.shows(r"(?m)^  number \d+ at uplink central: acknowledged")
        self.tmux("send-keys", "Escape")
        self.shows(r'(?m)^  1 devices with "29"')
        self.tmux("send-keys", "s")
        self.shows(r"by age")
        self.north.stop(signal.SIGKILL)
        self.shows(r"^gw: 1 thing is wrong")
        self.shows(r"(?m)^ - [\d.]+ s: uplink central: ")
        self.tmux("send-keys", "q")
        wait_for(lambda: "thing is wrong" not in self.tmux("capture-pane", "-p"), "the screen is given back")

    def test_top_on_a_screen_of_200_by_60_goes_on_when_the_daemon_comes_back(self):
        self.speak(*[f"press-{i:02}" for i in range(70)])
        self.top(200, 60)
        self.shows(r"(?ms)^  70 devices by name.*q: quit")
        wait_for(lambda: sum("press-" in line for line in self.tmux("capture-pane", "-p").splitlines()) > 35, "more than the smaller screen holds")
        self.tmux("resize-window", "-x", "80", "-y", "24")
        wait_for(lambda: len(self.tmux("capture-pane", "-p").splitlines()) <= 24 and "q: quit" in self.tmux("capture-pane", "-p"), "it fits the smaller one")
        self.processes[-1].stop()
        self.shows(r"^no daemon answers at ")
        self.gateway(self.file)
        self.shows(r"^gw: all is well")

    def test_top_leaves_the_terminal_to_whoever_stops_it(self):
        child, terminal = pty.fork()
        if child == 0:
            os.execv(BUILD / "millrace", ["millrace", "top", "-c", str(self.file)])
        self.addCleanup(os.close, terminal)
        self.addCleanup(lambda: os.waitpid(child, 0))
        self.addCleanup(os.kill, child, signal.SIGKILL)
        heard = b""
        def says(words):
            nonlocal heard
            if select.select([terminal], [], [], 0)[0]:
                heard += os.read(terminal, 65536)
            return words in heard
        def in_lines():
            return termios.tcgetattr(terminal)[3] & termios.ICANON != 0
        wait_for(lambda: says(b"q: quit"), "it draws")
        self.assertFalse(in_lines())
        heard = b""
        os.write(terminal, b"\x1a")
        wait_for(lambda: os.waitpid(child, os.WNOHANG | os.WUNTRACED)[0] == child, "it stops")
        wait_for(lambda: says(b"\x1b[?25h\x1b[?1049l"), "the screen and the cursor are as they were")
        self.assertTrue(in_lines())
        heard = b""
        os.kill(child, signal.SIGCONT)
        wait_for(lambda: says(b"\x1b[?1049h") and b"q: quit" in heard, "it draws all of it anew")
        self.assertFalse(in_lines())

    def test_top_once(self):
        self.speak("press-1")
        wait_for(lambda: self.status()["inputs"][0]["devices"] == 1, "it was heard")
        answer = json.loads(self.command("top", "--once", "--json").stdout)
        self.assertEqual(answer["status"]["gateway"], "gw")
        self.assertEqual([device["name"] for device in answer["devices"]["devices"]], ["press-1"])
        plain = self.command("top", "--once").stdout
        self.assertRegex(plain, r"(?m)^  >press-1 +devices ")
        self.assertEqual(self.command("top", "--json").returncode, 64)
        self.assertEqual(self.command("top").returncode, 64)  # no terminal
        done = self.command("top", "--every", "1ms")
        self.assertEqual((done.returncode, done.stderr), (64, "--every: at least 100ms\n"))

    def on_terminal(self, *arguments, **environment):
        """What a terminal gets of it, and its exit code."""
        words = " ".join([f"{BUILD}/millrace", *arguments, "-c", str(self.file)])
        done = subprocess.run(["script", "-qec", words, "/dev/null"], capture_output=True, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, timeout=60)
        return done.returncode, done.stdout

    def test_a_terminal_without_a_screen_is_not_drawn_on(self):
        code, shown = self.on_terminal("top", TERM="dumb")
        self.assertEqual((code, shown), (64, b"this terminal has no screen (TERM=dumb); --once prints it once\r\n"))
        code, shown = self.on_terminal("top", "--once", TERM="dumb")
        self.assertEqual((code, b"\033" in shown), (0, False))
        self.assertIn(b"gw: all is well", shown)

    def test_a_terminal_of_another_character_set_gets_no_utf8(self):
        """U+00DB has 0x9B in it, which begins an order on a terminal of eight bits."""
        self.speak("k\u00dbhler")
        wait_for(lambda: self.status()["inputs"][0]["devices"] == 1, "it was heard")
        self.assertIn("k\u00dbhler".encode(), self.on_terminal("top", "--once", LC_ALL="", LC_CTYPE="", LANG="")[1])
        self.assertIn("k\u00dbhler".encode(), self.on_terminal("top", "--once", LC_ALL="C.UTF-8")[1])
        for locale in ("de_DE.ISO-8859-1", "C"):
            code, shown = self.on_terminal("top", "--once", LC_ALL=locale)
            self.assertEqual(code, 0)
            self.assertRegex(shown.decode("ascii"), r"(?m)^  >k\?hler +devices ")
            self.assertIn('"device":"k?hler"', self.on_terminal("log", "cat", LC_ALL=locale)[1].decode("ascii"))
        self.assertIn("k\u00dbhler", subprocess.run([BUILD / "millrace", "top", "--once", "-c", self.file], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"},
                                                    encoding="utf-8").stdout)  # a pipe gets what there is

    # ---- tap, trace
    def test_tap_shows_what_fits_as_it_enters(self):
        tapping = subprocess.Popen([BUILD / "millrace", "tap", "-c", self.file, "-n", "2", "press-*/val?e"], stdout=subprocess.PIPE, text=True)
        as_json = subprocess.Popen([BUILD / "millrace", "tap", "-c", self.file, "-n", "1", "--json", "--lane", "raw"], stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)
        self.speak("pump-1", "press-1", "press-2")
        lines = tapping.communicate(timeout=30)[0].splitlines()
        self.assertEqual([re.sub(r"^[\d:.]+  raw     \d+  ", "", line) for line in lines], ["press-1  value = 1", "press-2  value = 2"])
        self.assertEqual(json.loads(as_json.communicate(timeout=30)[0])["device"], "pump-1")
        tapping = subprocess.Popen([BUILD / "millrace", "tap", "-c", self.file, "-n", "1"], stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)
        self.publish(self.south.port, "plant/2/press-1/telemetry", '{"value": 3}')  # another press-1, at its place
        self.assertRegex(tapping.communicate(timeout=30)[0], r"press-1  value line=2 = 3\n$")
        tapping = subprocess.Popen([BUILD / "millrace", "tap", "-c", self.file], stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)
        tapping.send_signal(signal.SIGINT)
        self.assertEqual(tapping.wait(10), 0)
        # Who reads it has enough (`| head -1`).
        tapping = subprocess.Popen([BUILD / "millrace", "tap", "-c", self.file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(0.5)
        self.speak("press-1")
        self.assertIn("press-1", tapping.stdout.readline())
        tapping.stdout.close()
        self.speak("press-2", "press-2")
        self.assertEqual((tapping.wait(10), tapping.stderr.read()), (0, ""))
        tapping.stderr.close()

    def test_trace_says_where_a_reading_is(self):
        self.assertEqual(self.command("trace", "press-1").returncode, 1)
        self.speak("press-1")
        wait_for(lambda: "uplink central: acknowledged" in self.command("trace", "press-1").stdout, "it is delivered")
        said = self.command("trace", "press-1").stdout
        self.assertRegex(said, r"(?m)^  \d+  raw  value  0  20\d\d-.*\(when it arrived\)$")
        self.assertRegex(said, r"number \d+: committed \(the log is at \d+\)")
        following = subprocess.Popen([BUILD / "millrace", "trace", "-c", self.file, "--next", "press-1"], stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)
        self.speak("press-1")
        said = following.communicate(timeout=30)[0]
        self.assertEqual(following.returncode, 0, said)
        self.assertRegex(said, r"(?m)^  committed     number \d+, lane raw: value = 0, its time 20")
        self.assertRegex(said, r"(?m)^  acknowledged  by uplink central, \d+\.\d s after it was committed$")
        self.north.stop(signal.SIGKILL)
        wait_for(lambda: self.look()[0] == 1, "the far side is missed")
        self.speak("press-1")
        wait_for(lambda: "uplink central: waiting, 0 before it" in self.command("trace", "press-1").stdout, "it waits")
        self.assertEqual(self.command("trace", "--next", "--wait", "300ms", "press-1").returncode, 1)
        self.assertEqual(self.command("trace", "").returncode, 64)

    def test_trace_of_a_name_with_blanks_and_other_letters_with_two_uplinks_of_which_one_is_dead_and_after_a_restart(self):
        name = "Halle 3 \u2013 Ofen \u706b \u0645"
        self.file.write_text(self.file.read_text() + f'[[uplinks.mqtt]]\nname = "second"\nservers = ["mqtt://127.0.0.1:{free_port()}"]\n')
        self.assertEqual(self.command("reload").returncode, 0)
        wait_for(lambda: len(self.status()["uplinks"]) == 2, "there are two")
        self.speak(name)
        wait_for(lambda: "uplink central: acknowledged" in self.command("trace", name).stdout, "one has it")
        self.assertEqual(self.processes[-1].stop(), 0)
        self.gateway(self.file)
        said = self.command("trace", name).stdout
        self.assertTrue(said.startswith(f"{name}: what came last"), said)
        self.assertRegex(said, r"(?m)^  uplink central: acknowledged$")
        self.assertRegex(said, r"(?m)^  uplink second: waiting, 0 before it$")
        done = subprocess.run([BUILD / "millrace", "trace", "-c", self.file, "--", "-x"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (1, "nothing of -x is in the log; what was delivered is given back\n"))
        self.assertIn("\\x1b[2J", self.command("trace", "\033[2J").stdout)

    def test_trace_of_what_was_evicted_says_that_not_all_was_delivered(self):
        self.assertNotIn("not all was delivered", self.command("trace", "press-0").stdout)
        self.north.stop(signal.SIGKILL)
        text = self.file.read_text()
        self.file.write_text(text.replace("commit_interval", 'max_size = "1MiB"\ncommit_interval'))
        self.assertEqual(self.processes[-1].stop(), 0)
        self.gateway(self.file)
        wait_for(lambda: self.status()["inputs"][0]["healthy"], "it has subscribed")
        self.speak("press-0")
        wait_for(lambda: self.command("trace", "press-0").returncode == 0, "it is there")
        self.fill("0")
        wait_for(lambda: self.metric("millrace_ledger_settled_records", 'how="evicted"') > 0, "the log evicts", 90)
        wait_for(lambda: self.command("trace", "press-0").returncode == 1, "its reading is gone")
        said = self.command("trace", "press-0").stdout
        self.assertRegex(said, r"(?m)^  uplink central, lane raw: [\d,]+ evicted$")
        self.assertRegex(said, r"the records of kind loss \(millrace log cat --lane alarm")

    def test_trace_tells_devices_of_one_name_apart(self):
        for line in (1, 2):
            self.publish(self.south.port, f"plant/{line}/press-1/telemetry", json.dumps({"value": 10 * line}))
        wait_for(lambda: self.command("trace", "press-1").stdout.count("when it arrived") == 2, "both are there")
        said = self.command("trace", "press-1").stdout
        for line in (1, 2):
            self.assertRegex(said, rf"(?m)^  +\d+  raw  value line={line}  {10 * line}  20")

    def test_trace_finds_a_window_whose_readings_are_gone(self):
        self.north.stop(signal.SIGKILL)
        self.file.write_text(self.file.read_text() + '[[windows]]\nname = "w"\nsize = "3s"\nidle_close = "1s"\n')
        self.assertEqual(self.processes[-1].stop(), 0)
        self.gateway(self.file)
        wait_for(lambda: self.status()["inputs"][0]["healthy"], "it has subscribed")
        self.speak("pump-0", "press-1")
        wait_for(lambda: self.command("trace", "press-1").returncode == 0, "it is there")
        self.assertIn('"forgotten": 1', self.command("log", "forget", "--device", "press-1").stdout)
        wait_for(lambda: self.command("trace", "press-1").returncode == 0, "its window is there")
        said = self.command("trace", "press-1").stdout
        self.assertRegex(said, r"(?m)^  \d+  window  value  mean 1 of 1  20")
        self.assertRegex(said, r"(?m)^  uplink central: waiting, \d+ before it$")

    # ---- diag
    def test_diag_is_shown_before_it_is_written_and_has_no_secrets(self):
        text = self.file.read_text()
        self.file.write_text("# the password is hunter2\n" + text)
        bundle = self.folder / "bundle.txt"
        shown = self.command("diag", "-o", str(bundle))
        self.assertEqual(shown.returncode, 1)
        self.assertFalse(bundle.exists())
        done = self.command("diag", "-o", str(bundle), "--yes")
        self.assertEqual(done.returncode, 0, done.stderr)
        for part in ("==== versions ====\nmillrace ", "millrace status --json", "millrace_log_records_total", "==== time ====", "[[inputs.mqtt]]", "==== millrace log ls"):
            self.assertIn(part, bundle.read_text())
            self.assertIn(part, shown.stdout)
        self.assertNotIn("hunter2", bundle.read_text())
        again = self.command("diag", "-o", str(bundle), "--yes")
        self.assertEqual((again.returncode, again.stderr), (1, f"{bundle} is there already\n"))
        # A disk that takes a piece of it: nothing is left in the way of who asks again.
        piece = self.folder / "piece.txt"
        done = subprocess.run([BUILD / "millrace", "diag", "-c", self.file, "-o", piece, "--yes"], capture_output=True, text=True, restore_signals=False,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)))
        self.assertEqual((done.returncode, done.stderr), (1, f"{piece} cannot be written: File too large\n"))
        self.assertFalse(piece.exists())
        self.processes[-1].stop()
        alone = self.command("diag")
        self.assertEqual(alone.returncode, 0)
        self.assertIn("no daemon answers", alone.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
