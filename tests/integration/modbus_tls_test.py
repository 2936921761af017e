#!/usr/bin/python3
"""Modbus over TLS (Modbus/TCP Security) against pymodbus' server, which shows a certificate and wants one: values, who is refused and in
which words, a server that falls silent in the handshake and in an answer, an outage, reloads, and the commands."""
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from modbus_test import FRAME, Bus, pymodbus, pymodbus_rows
from testsite import BUILD, ROOT, Process, free_port, listening, wait_for

ROWS, WANT = pymodbus_rows()
MAP = '[[inputs.modbus.maps]]\nname = "all"\nregisters = [\n' + ",\n".join(ROWS) + "\n]\n"


class Between:
    """A wire that can be pulled, or held up behind so many bytes of the server."""

    def __init__(self, to):
        self.to, self.allowed, self.passed, self.pairs, self.pulled = to, None, 0, [], False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.to))
            self.pairs += [near, far]
            threading.Thread(target=self.carry, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self.carry, args=(far, near, True), daemon=True).start()

    def carry(self, source, sink, of_server):
        try:
            while piece := source.recv(4096):
                if of_server and self.allowed is not None:
                    piece = piece[: max(self.allowed - self.passed, 0)]
                    self.passed += len(piece)
                sink.sendall(piece)
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def hold(self, behind):
        """From now on so many bytes more, and then nothing; None: as it was."""
        self.passed, self.allowed = 0, behind

    def close(self):
        self.listener.close()
        for one in self.pairs:
            one.close()


class OverTls(Bus):
    def setUp(self):
        super().setUp()
        self.python = pymodbus()
        if self.python is None:
            self.skipTest("PyPI's pymodbus cannot be had")
        self.pki = self.tls()
        self.port = free_port()
        self.server = self.serve()

    def serve(self, certificate="server", port=None, client_ca=True):
        port = port or self.port
        more = [f"{self.pki}/ca.pem"] if client_ca else []
        server = Process([self.python, str(ROOT / "tests/support/pymodbus_slave.py"), str(port), f"{self.pki}/{certificate}.pem", f"{self.pki}/{certificate}.key", *more],
                         self.folder / f"pymodbus-{len(self.processes)}.log")
        self.processes.append(server)
        wait_for(lambda: listening(port) or server.process.poll() is not None, "pymodbus listens")
        self.assertIsNone(server.process.poll(), server.text())
        return server

    def bus(self, port=None, host="127.0.0.1", ca="ca", client="client", more='interval = "50ms"\n', name="bus", devices=None):
        ours = f'tls_cert = "{self.pki}/{client}.pem"\ntls_key_file = "{self.pki}/{client}.key"\n' if client else ""
        return (f'[[inputs.modbus]]\nname = "{name}"\nmode = "tls"\nserver = "{host}:{port or self.port}"\ntls_ca = "{self.pki}/{ca}.pem"\n{ours}'
                f'reopen_min = "50ms"\nreopen_max = "500ms"\n{more}{MAP}{devices or self.device("p-1", 1)}')

    def right(self):
        return [r for r in self.raw() if r["value"] is not None and r["value"] != WANT[r["metric"]]] == []

    def goes_on(self, what, many=3):
        before = len(self.raw())
        wait_for(lambda: len(self.raw()) >= before + many * len(WANT), what)
        self.assertTrue(self.right())


class Values(OverTls):
    def test_every_kind_of_number_is_right_and_the_certificates_are_watched(self):
        self.start(self.bus())
        self.whole("p-1", WANT)
        self.goes_on("many reads", 50)
        self.assertEqual(self.metric("millrace_modbus_opens_total"), 1)
        for key in ("tls_ca", "tls_cert"):
            self.assertGreater(self.metric("millrace_cert_expiry_seconds", f'input="bus",key="{key}"'), 300 * 86400)
        wait_for(lambda: self.metric("millrace_peer_cert_expiry_seconds", 'input="bus",key="server",host="127.0.0.1"') > 300 * 86400, "the server's is watched")

    def test_the_role_in_our_certificate_reaches_the_server(self):
        """By the command of packaging/docs/modbus.md."""
        extension = re.search(r"<\(echo '(.*)'\)", (ROOT / "packaging/docs/modbus.md").read_text()).group(1)
        (self.pki / "role.ext").write_text(extension + "\n")
        for command in (["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "role.key", "-out", "role.csr", "-subj", "/CN=gateway"],
                        ["x509", "-req", "-in", "role.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "role.ext", "-out", "role.pem"]):
            subprocess.run(["openssl", *command], cwd=self.pki, check=True, capture_output=True, timeout=30)
        (self.pki / "role.key").chmod(0o600)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pki / "server.pem", self.pki / "server.key")
        context.load_verify_locations(self.pki / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.start(self.bus(listener.getsockname()[1], client="role"))
            listener.settimeout(20)
            with context.wrap_socket(listener.accept()[0], server_side=True) as peer:
                shown = peer.getpeercert(binary_form=True)
                self.assertEqual(len(peer.recv(64)), 12)  # a question
        role = bytes.fromhex("060b2b0601040183890c8622" + "01")  # 1.3.6.1.4.1.50316.802.1
        self.assertIn(b"Operator", shown)
        self.assertIn(role, shown)

    def test_by_its_name(self):
        self.start(self.bus(host="localhost"))
        self.whole("p-1", WANT)


class Refused(OverTls):
    def told(self, inputs, words, act=True):
        daemon = self.start(inputs)
        wait_for(lambda: re.search(words, daemon.text()), words)
        line = next(line for line in daemon.text().splitlines() if re.search(words, line))
        self.assertEqual("somebody must act" in line, act, line)
        self.assertRegex(json.dumps(self.status()), words.replace('"', '.."'))
        self.assertEqual((self.raw(), self.metric("millrace_modbus_polls_total"), self.metric("millrace_input_up")), ([], 0, 0))
        daemon.stop()
        return line

    def test_another_ca(self):
        subprocess.run([ROOT / "packaging/test-ca.sh", self.folder / "other"], check=True, stdout=subprocess.DEVNULL)
        (self.pki / "other.pem").write_bytes((self.folder / "other/ca.pem").read_bytes())
        self.told(self.bus(ca="other"), r"TLS: certificate: its issuer .* is no CA of .*other\.pem|certificate verif")

    def test_another_name(self):
        self.told(self.bus(host="127.0.0.2"), r"cannot connect|127\.0\.0\.2.*Connection refused", act=False)
        port = free_port()
        socat = Process(["socat", "-d", "-d", f"tcp-listen:{port},bind=127.0.0.3,reuseaddr,fork", f"tcp:127.0.0.1:{self.port}"], self.folder / "socat.log")
        self.processes.append(socat)
        wait_for(lambda: "listening" in socat.text(), "socat listens")
        (self.folder / "gateway.log").unlink()
        self.told(self.bus(host="127.0.0.3", port=port), r"TLS: certificate: it is for DNS:localhost, IP:127\.0\.0\.1, not for 127\.0\.0\.3")

    def test_none_of_ours(self):
        daemon = self.start(self.bus(client=""))
        # By TLS 1.3 a server says so behind the handshake.
        wait_for(lambda: "demands a client certificate, and none is configured" in daemon.text(), "it is told")
        self.assertEqual(self.raw(), [])

    def test_no_tls_at_all(self):
        port = free_port()
        plain = Process([self.python, str(ROOT / "tests/support/pymodbus_slave.py"), str(port)], self.folder / "plain.log")
        self.processes.append(plain)
        wait_for(lambda: listening(port), "it listens")
        daemon = self.start(self.bus(port=port, more='connect_timeout = "500ms"\n'))
        wait_for(lambda: re.search(r"TLS: (no answer in time|the connection was closed in the handshake|what the server sent is no TLS)", daemon.text()), "it is told")
        self.assertEqual(self.raw(), [])


class Silent(OverTls):
    def setUp(self):
        super().setUp()
        self.wire = Between(self.port)
        self.addCleanup(self.wire.close)

    def test_in_the_handshake(self):
        self.wire.hold(100)  # of its first words
        daemon = self.start(self.bus(self.wire.port, more='connect_timeout = "300ms"\ninterval = "50ms"\n'))
        wait_for(lambda: "TLS: no answer in time" in daemon.text(), "it is told")
        self.wire.hold(None)
        self.whole("p-1", WANT)

    def test_in_the_handshake_and_we_are_to_stop(self):
        self.wire.hold(100)
        daemon = self.start(self.bus(self.wire.port, more='connect_timeout = "60s"\n'))
        wait_for(lambda: self.wire.passed == 100, "the handshake hangs")
        begin = time.monotonic()
        daemon.process.send_signal(signal.SIGHUP)  # a reload that changes nothing waits for nobody
        self.configure(FRAME, inputs=self.bus(self.port))
        daemon.process.send_signal(signal.SIGHUP)
        self.whole("p-1", WANT)
        daemon.stop()
        self.assertLess(time.monotonic() - begin, 10)

    def test_in_an_answer(self):
        self.start(self.bus(self.wire.port, more='interval = "50ms"\ntimeout = "200ms"\n'))
        self.goes_on("it is polled")
        opens = self.metric("millrace_modbus_opens_total")
        self.wire.hold(11)  # a record's head, and some of it
        wait_for(lambda: self.metric("millrace_modbus_timeouts_total") >= 3, "silence is seen")
        wait_for(lambda: "nothing is answered" in json.dumps(self.status()) or self.metric("millrace_input_up") == 0, "and told")
        self.wire.hold(None)
        self.goes_on("it goes on", 5)
        self.assertGreater(self.metric("millrace_modbus_opens_total"), opens)

    def test_the_plug_is_pulled_and_back(self):
        daemon = self.start(self.bus())
        self.goes_on("it is polled")
        self.server.stop(signal.SIGKILL)
        wait_for(lambda: self.metric("millrace_input_up") == 0, "the connection is lost")
        spent = lambda: sum(int(x) for x in Path(f"/proc/{daemon.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13])
        before = spent()
        time.sleep(1)
        self.assertLess(spent() - before, 20)  # hundredths of a second: nothing spins
        self.server = self.serve()
        self.goes_on("and it goes on")

    def test_a_peer_of_tls_that_lies(self):
        """Halves of answers, other lengths and other units within TLS, each on a connection of its own; then a good one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pki / "server.pem", self.pki / "server.key")
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        good = lambda head: head + bytes([0, 0, 0, 5, 1, 3, 2, 0x12, 0x34])
        lies = [lambda h: good(h)[:9], lambda h: h + b"\0\0\0\x05\x02\x03\x02\x12\x34", lambda h: h + b"\0\0\xff\xff\x01\x03\x02\x12\x34", lambda h: h + b"\0\1\0\x05\x01\x03\x02\x12\x34",
                lambda h: h + b"\0\0\0\x07\x01\x03\x04\x12\x34\x56\x78", lambda h: b"", good]
        seen = []

        def serve():
            while True:
                try:
                    raw, _ = listener.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(raw, server_side=True) as peer:
                        lie = lies[min(len(seen), len(lies) - 1)]
                        seen.append(lie)
                        while (question := peer.recv(64)) and (answer := lie(question[:2])):
                            peer.sendall(answer)
                except OSError:
                    pass

        threading.Thread(target=serve, daemon=True).start()
        device = '[[inputs.modbus.devices]]\nname = "d"\nunit = 1\nregisters = [ { name = "x", address = 0 } ]\n'
        self.start(self.bus(listener.getsockname()[1], more='interval = "50ms"\ntimeout = "200ms"\nretries = 0\nfailures_max = 50\n', devices=device).replace(MAP, ""))
        wait_for(lambda: len([r for r in self.raw() if r["value"] is not None]) > 5, "the good one is read")
        self.assertEqual({r["value"] for r in self.raw() if r["value"] is not None}, {0x1234})
        self.assertGreaterEqual(self.metric("millrace_modbus_damaged_total"), 5)


class Reloads(OverTls):
    def test_two_buses_and_certificates_that_rotate(self):
        other = free_port()
        self.serve(port=other)
        two = self.bus(other, name="other", devices=self.device("q-1", 1))
        daemon = self.start(self.bus() + two)
        seen = lambda device: sum(1 for r in self.raw() if r["device"] == device)
        for device in ("p-1", "q-1"):
            wait_for(lambda: seen(device) > 50, f"{device} is polled")
        # one gets a device more, the other goes and comes back
        more = self.device("p-1", 1) + self.device("p-2", 1)
        for inputs in (self.bus(devices=more), self.bus(devices=more) + two):
            self.configure(FRAME, inputs=inputs)
            daemon.process.send_signal(signal.SIGHUP)
            many = seen("p-2")
            wait_for(lambda: seen("p-2") > many + 50, "the new device is polled")
        many = seen("q-1")
        wait_for(lambda: seen("q-1") > many + 50, "and the bus that came back")
        # The server comes back with certificates of another CA: it is refused until ours are there, too. Nothing is restarted.
        self.server.stop(signal.SIGKILL)
        subprocess.run([ROOT / "packaging/test-ca.sh", self.folder / "new"], check=True, stdout=subprocess.DEVNULL)
        for name in ("server.pem", "server.key"):
            (self.pki / name).write_bytes((self.folder / "new" / name).read_bytes())
        (self.folder / "old-ca.pem").write_bytes((self.pki / "ca.pem").read_bytes())
        self.server = self.serve(client_ca=False)
        wait_for(lambda: "TLS: certificate: its issuer" in daemon.text() or "TLS: certificate: " in daemon.text(), "the new one is refused")
        (self.pki / "ca.pem").write_bytes((self.folder / "new/ca.pem").read_bytes())
        many = seen("p-1")
        wait_for(lambda: seen("p-1") > many + 50, "and taken once its CA is there")
        self.assertTrue(self.right())

    def test_a_certificate_that_is_not_there_yet(self):
        (self.pki / "client.key").rename(self.pki / "away.key")
        daemon = self.start(self.bus())
        wait_for(lambda: self.metric("millrace_input_waiting") == 1, "it waits")
        self.assertIn("tls_key_file", json.dumps(self.status()))
        (self.pki / "away.key").rename(self.pki / "client.key")
        self.whole("p-1", WANT)
        daemon.stop()


class Commands(OverTls):
    def millrace(self, *arguments):
        return subprocess.run([str(BUILD / "millrace"), *arguments, "-c", str(self.folder / "millrace.toml")], capture_output=True, text=True, timeout=60, cwd=self.pki)

    def test_check(self):
        done = self.command("check", config=self.configure(FRAME, inputs=self.bus(client="")))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('input "bus": no tls_cert: a server that keeps to Modbus/TCP Security takes nobody without a certificate', done.stdout + done.stderr)
        done = self.command("check", config=self.configure(FRAME, inputs=self.bus().replace('mode = "tls"', 'mode = "tcp"')))
        self.assertEqual(done.returncode, 78)
        self.assertIn("TLS keys are given, but TLS is off", done.stderr)

    def test_check_online_shows_each_value_or_why_not(self):
        done = self.command("check", "--online", config=self.configure(FRAME, inputs=self.bus()))
        self.assertRegex(done.stdout, r"good  input bus: 127\.0\.0\.1:\d+: connects, and its certificate is good")
        self.assertRegex(done.stdout, r"good  input bus: p-1 \(unit 1\): .*u16-ABCD = 65000.*f64-CDAB = 3\.14159.*\(.*[mu]s\)")
        done = self.command("check", "--online", config=self.configure(FRAME, inputs=self.bus(host="127.0.0.1", ca="client")))
        self.assertRegex(done.stdout, r"BAD   input bus: 127\.0\.0\.1:\d+: .*TLS: certificate: ")

    def test_read_and_scan(self):
        self.configure(FRAME, inputs=self.bus())
        keys = ("--mode", "tls", "--tls-ca", "ca.pem", "--tls-cert", "client.pem", "--tls-key-file", "client.key")
        done = self.millrace("read", "modbus", "--port", f"127.0.0.1:{self.port}", "--address", "0", "--count", "2", *keys)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("65000", done.stdout)
        toml = done.stdout[done.stdout.index("[[inputs.modbus]]"):]
        self.assertIn(f'mode = "tls"\nserver = "127.0.0.1:{self.port}"\ntls_ca = "{self.pki}/ca.pem"\ntls_cert = "{self.pki}/client.pem"\ntls_key_file = "{self.pki}/client.key"\n', toml)
        self.assertEqual(self.command("check", config=self.configure(FRAME, inputs=toml)).returncode, 0)
        done = self.millrace("scan", "modbus", "--port", f"127.0.0.1:{self.port}", "--unit", "1-3", *keys)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"\(tls\): unit 1 answers in ")
        toml = done.stdout[done.stdout.index("[[inputs.modbus]]"):]
        self.start(toml.replace('name = "bus"\n', 'name = "bus"\ninterval = "1s"\n'))
        wait_for(lambda: self.values("device-1") == {"register-0": 65000}, "what was printed is read")
        done = self.millrace("scan", "modbus", "--port", f"127.0.0.1:{self.port}", *keys)
        self.assertEqual(done.returncode, 69)
        self.assertIn('is held by the running daemon (input "bus")', done.stderr)
        for wrong, words in ((["--tls-cert", "client.pem", "--mode", "tls"], "go together"), (["--tls-ca", "ca.pem"], "are of --mode tls")):
            done = self.millrace("read", "modbus", "--port", "127.0.0.1:1", *wrong)
            self.assertEqual(done.returncode, 64)
            self.assertIn(words, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
