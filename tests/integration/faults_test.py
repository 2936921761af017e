#!/usr/bin/python3
"""What can be wrong at a site, each with a clear message, the documented exit code or degraded state, and nothing lost."""
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from honest import packet, text
from testsite import BUILD, Site, free_port, listening, wait_for


class Faults(Site):
    def reading(self, port, n):
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input has subscribed")
        self.publish(port, "plant/l1/d1/telemetry", f'{{"ts":{1700000000 + n},"value":{n}}}')

    def certify(self, tls, names, days, subject="/CN=elsewhere"):
        """A new certificate for the broker."""
        subprocess.run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "server.key", "-out", "x.csr",
                        "-subj", subject], cwd=tls, check=True, capture_output=True)
        (tls / "x.ext").write_text(f"subjectAltName={names}" if names else "")
        subprocess.run(["openssl", "x509", "-req", "-in", "x.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", str(days), "-extfile",
                        "x.ext", "-out", "server.pem"], cwd=tls, check=True, capture_output=True)

    def test_a_broker_that_is_down_at_the_start(self):
        devices_port, central_port = free_port(), free_port()
        gateway = self.gateway(self.config(devices_port, central_port))
        wait_for(lambda: "input devices: cannot connect" in gateway.text() and "uplink central: cannot connect" in gateway.text(), "both are named")
        self.assertEqual(self.http("/readyz"), "ready\n")
        self.broker(devices_port), self.broker(central_port)
        wait_for(lambda: self.metric("millrace_input_up") == 1 and self.metric("millrace_uplink_up") == 1, "both sides come up by themselves")
        self.reading(devices_port, 1)
        wait_for(lambda: self.metric("millrace_uplink_records_total") == 1, "the reading arrives")

    def hanging(self):
        """A file while which is there no fsync comes to an end, and what a gateway's environment must have for that."""
        source, shim, hung = self.folder / "hang.c", self.folder / "hang.so", self.folder / "hung"
        body = "{ while (access(getenv(\"HUNG\"), F_OK) == 0) usleep(10000); return (int)syscall(%s, fd); }"
        source.write_text("#define _GNU_SOURCE\n#include <stdlib.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n" +
                          "".join(f"int {call}(int fd) {body % ('SYS_' + call)}\n" for call in ("fsync", "fdatasync")))
        subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, source], check=True)
        return hung, {"LD_PRELOAD": str(shim), "HUNG": str(hung), "ASAN_OPTIONS": "verify_asan_link_order=0"}

    def test_a_disk_that_does_not_answer_holds_up_no_device(self):
        """The first handshake makes keys of tickets, which are kept beside the log: whoever comes is let in and answered while they are not."""
        hung, env = self.hanging()
        tls, port, central = self.tls(), free_port(), self.broker()
        gateway = self.gateway(self.config(free_port(), central.port, more=f"""
[[inputs.mqtt_endpoint]]
name = "direct"
listen = "127.0.0.1:{port}"
anonymous = true
tls_cert = "{tls}/server.pem"
tls_key_file = "{tls}/server.key"
[[inputs.mqtt_endpoint.routes]]
topic = "plant/{{line}}/{{device}}/telemetry"
"""), env=env)
        wait_for(lambda: listening(port), "the endpoint listens")
        hung.touch()
        context = ssl.create_default_context(cafile=tls / "ca.pem")
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        for client in ("one", "two"):
            with socket.create_connection(("127.0.0.1", port), 10) as raw, context.wrap_socket(raw, server_hostname="localhost") as s:
                s.sendall(packet(0x10, text("MQTT") + b"\x04\x02\0\x3c" + text(client)) + b"\xc0\0")
                answer = b""
                while len(answer) < 6:
                    answer += s.recv(100)
                self.assertEqual(answer, b"\x20\x02\0\0\xd0\0", client)
        self.assertIsNotNone(self.http("/healthz"))
        keys = self.folder / "log" / "tls-tickets-direct"
        self.assertFalse(keys.exists())
        hung.unlink()
        wait_for(keys.exists, "the keys are kept once the disk answers")
        self.assertEqual(gateway.stop(), 0)

    def test_a_disk_that_does_not_answer_while_stopping(self):
        """The log cannot be closed then: the process ends all the same, says so, and has lost nothing."""
        hung, env = self.hanging()
        devices, central = self.broker(), self.broker()
        config = self.config(devices.port, central.port)
        gateway = self.gateway(config, env=env)
        self.reading(devices.port, 1)
        wait_for(lambda: self.metric("millrace_uplink_records_total") == 1, "a reading passes")
        hung.touch()
        central.stop()
        self.publish(devices.port, "plant/l1/d1/telemetry", '{"ts":1700000002,"value":2}')
        wait_for(lambda: self.metric("millrace_input_payloads_total") == 2, "the next one is in the inbox")
        begun = time.monotonic()
        self.assertEqual(gateway.stop(), 74)
        self.assertLess(time.monotonic() - begun, 10)
        self.assertIn("the log was not closed within 8s", gateway.text())
        self.assertIn("Still at work: log", gateway.text())
        hung.unlink()
        self.broker(central.port, name="again")
        self.gateway(config)
        wait_for(lambda: self.metric("millrace_uplink_records_total") == 1, "it is delivered by the next process")

    def test_peers_that_hang_do_not_hold_up_the_stop(self):
        """Who takes the connection and says nothing, in each role and each step; and a broker that stops reading."""
        mute = socket.create_server(("127.0.0.1", 0), backlog=64)
        port = mute.getsockname()[1]
        more = f"""
[[inputs.mqtt]]
name = "mute-devices"
servers = ["mqtt://127.0.0.1:{port}"]
[[inputs.mqtt.routes]]
topic = "plant/{{device}}"
metrics = {{ value = "value" }}
"""
        for name, kind, server, extra in (("no-connack", "mqtt", f"mqtt://127.0.0.1:{port}", ""), ("no-handshake", "mqtt", f"mqtts://127.0.0.1:{port}", ""),
                                          ("no-kafka", "kafka", f"127.0.0.1:{port}", ""), ("no-kafka-once", "kafka", f"127.0.0.1:{port}", "exactly_once = true"),
                                          ("no-kafka-tls", "kafka", f"127.0.0.1:{port}", "tls = true")):
            more += f'[[uplinks.{kind}]]\nname = "{name}"\nservers = ["{server}"]\n{extra}\n'
        devices, central = self.broker(), self.broker()
        gateway = self.gateway(self.config(devices.port, central.port, more=more))
        self.reading(devices.port, 1)
        wait_for(lambda: self.metric("millrace_uplink_records_total", 'uplink="central"') == 1, "the healthy ones go on")
        central.process.send_signal(signal.SIGSTOP)
        try:
            self.reading(devices.port, 2)
            begun = time.monotonic()
            self.assertEqual(gateway.stop(), 0)
            self.assertLess(time.monotonic() - begun, 10)
            self.assertIn("stopped", gateway.text())
        finally:
            central.process.send_signal(signal.SIGCONT)
            mute.close()

    def test_a_wrong_password(self):
        passwords, wrong = self.folder / "passwords", self.folder / "wrong"
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "gw", "right"], check=True, capture_output=True)
        passwords.chmod(0o644)
        wrong.write_text("wrong\n")
        wrong.chmod(0o600)
        devices, central = self.broker(), self.broker(extra=f"allow_anonymous false\npassword_file {passwords}")
        for version in ("5", "3.1.1"):
            wrong.write_text("wrong\n")
            gateway = self.gateway(self.config(devices.port, central.port, upversion=version, uplink=f'username = "gw"\npassword_file = "{wrong}"'))
            wait_for(lambda: "uplink central: not authorised (somebody must act)" in gateway.text().split("is ready")[-1], "the reason is named")
            self.assertEqual(self.metric("millrace_uplink_blocked"), 1)
            self.reading(devices.port, 1)
            wait_for(lambda: self.metric("millrace_uplink_backlog_records") >= 1, "the reading waits")
            wrong.write_text("right\n")  # the file is read at each try: no restart
            wait_for(lambda: self.metric("millrace_uplink_backlog_records") == 0, "it arrives once the password is right")
            self.assertEqual(self.metric("millrace_uplink_blocked"), 0)
            self.assertEqual(gateway.stop(), 0)

    def test_files_that_are_not_there_yet(self):
        """A password and a CA that come later are waited for, with collection going on; at a reload who runs goes on until then."""
        tls, ca, password, other = self.tls(), self.folder / "later-ca.pem", self.folder / "later-password", self.folder / "other-password"
        passwords = self.folder / "passwords"
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "gw", "right"], check=True, capture_output=True)
        passwords.chmod(0o644)
        devices, central = self.broker(), self.broker(tls=tls, extra=f"allow_anonymous false\npassword_file {passwords}")
        login = f'tls_ca = "{ca}"\nusername = "gw"\npassword_file = "@password@"'
        config = self.config(devices.port, central.port, scheme="mqtts", uplink=login.replace("@password@", str(password)))
        checked = self.command("check")
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.assertRegex(checked.stdout, r'warning: .*millrace.toml:\d+:\d+: uplink "central": tls_ca: .*No such file or directory; this uplink will wait')
        gateway = self.gateway(config)

        def uplink_state():
            return self.status()["uplinks"][0]["state"]

        self.reading(devices.port, 1)
        wait_for(lambda: self.metric("millrace_uplink_backlog_records") == 1, "the reading is collected")
        self.assertTrue(uplink_state().startswith("waiting for password_file: "), uplink_state())
        self.assertEqual(self.metric("millrace_uplink_waiting"), 1)
        self.assertEqual(self.metric("millrace_input_waiting"), 0)
        password.touch(0o600)  # as an editor leaves it for a moment
        shutil.copy(tls / "ca.pem", ca)
        wait_for(lambda: "password: it is empty" in uplink_state(), "what is still missing is told", 15)
        password.write_text("right\n")
        wait_for(lambda: self.metric("millrace_uplink_records_total") == 1, "the reading arrives, without a restart", 15)
        self.assertEqual(gateway.text().count("waiting for password_file: " + str(password) + ": No such"), 1)
        self.assertEqual(self.metric("millrace_uplink_waiting"), 0)
        config.write_text(config.read_text().replace(str(password), str(other)))
        self.assertEqual(self.command("reload").returncode, 0)
        self.assertIn("the new configuration is waiting for password_file: ", uplink_state())
        self.reading(devices.port, 2)
        wait_for(lambda: self.metric("millrace_uplink_records_total") == 2, "who runs goes on")
        other.touch(0o600)
        other.write_text("right\n")
        wait_for(lambda: "waiting" not in uplink_state() and "uplink central: what it waited for is there" in gateway.text().split("goes on as it was")[-1], "exchanged", 15)
        self.reading(devices.port, 3)
        wait_for(lambda: self.metric("millrace_uplink_records_total") >= 1 and self.metric("millrace_uplink_backlog_records") == 0, "and sends")
        self.assertEqual(gateway.stop(), 0)

    def test_ports_and_sockets_that_cannot_be_had_yet(self):
        """A port that is taken, an address that is not there, a control socket that cannot be made: the rest runs, and they come by themselves."""
        devices = self.broker()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            endpoint = '[[inputs.mqtt_endpoint]]\nname = "{}"\nlisten = "{}"\nanonymous = true\n[[inputs.mqtt_endpoint.routes]]\ntopic = "a/{{device}}"\n'
            (self.run_folder / "control.sock").mkdir()
            gateway = self.gateway(self.config(devices.port, free_port(), more=endpoint.format("door", f"127.0.0.1:{port}") + endpoint.format("far", "198.51.100.7:1883")))
            for words in ("input door: bind ", "input far: bind 198.51.100.7:1883: Cannot assign requested address", "control socket: "):
                wait_for(lambda: words in gateway.text(), words)
            wait_for(lambda: self.metric("millrace_input_up", 'input="devices"') == 1, "the others run")
            self.publish(devices.port, "plant/l1/d1/telemetry", '{"ts":1700000001,"value":1}')
            wait_for(lambda: self.metric("millrace_taken_records_total") == 1, "a reading is collected")
        (self.run_folder / "control.sock").rmdir()
        wait_for(lambda: f"input door: listening on 127.0.0.1:{port}" in gateway.text(), "the port is had when it is free", 60)
        wait_for(lambda: self.command("status", "--json").returncode == 0, "the gateway can be talked to")
        self.assertEqual(gateway.stop(), 0)

    def test_check_tells_what_will_hurt(self):
        """Certificates that end soon or do not fit, files that all can read, an endpoint for everybody: with line, key and words."""
        tls = self.tls()
        openssl = lambda *arguments: subprocess.run(["openssl", *arguments], cwd=tls, check=True, capture_output=True)
        for name, days, extension in (("bare", 400, "extendedKeyUsage=clientAuth"), ("soon", 6, "subjectAltName=DNS:gw")):
            openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
            (tls / "x.ext").write_text(extension)
            openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", str(days), "-extfile", "x.ext", "-out", f"{name}.pem")
        (tls / "server.key").chmod(0o644)
        endpoint = '''[[inputs.mqtt_endpoint]]
name = "@name@"
listen = "@listen@"
anonymous = true
tls_cert = "@tls@/@cert@.pem"
tls_key_file = "@tls@/@key@.key"
[[inputs.mqtt_endpoint.routes]]
topic = "a/{device}"
'''
        make = lambda name, listen, cert, key: endpoint.replace("@name@", name).replace("@listen@", listen).replace("@cert@", cert).replace("@key@", key).replace("@tls@", str(tls))
        more = make("open", "0.0.0.0:0", "server", "server") + make("bare", "127.0.0.1:0", "bare", "bare") + make("soon", "127.0.0.1:0", "soon", "bare")
        self.config(free_port(), free_port(), more=more)
        checked = self.command("check")
        self.assertEqual(checked.returncode, 0, checked.stderr)
        for words in (r'input "open": anonymous: everybody who reaches 0\.0\.0\.0:0', r'input "open": tls_key_file: .* can be read by everybody; chmod 600',
                      r'input "bare": tls_cert: .*"CN=bare" has no subject alternative name', r'input "bare": tls_cert: .* is not for servers',
                      r'input "soon": tls_cert: .*"CN=soon" expires on .*, in 5 days', r'input "soon": tls_key_file: .*bare.key is not the key of .*soon.pem'):
            self.assertRegex(checked.stdout, r"warning: \S*millrace.toml:\d+:\d+: " + words)

    def test_certificates(self):
        tls = self.tls()
        other = self.folder / "other-ca"
        subprocess.run([Path(__file__).resolve().parent.parent.parent / "packaging" / "test-ca.sh", other], check=True, stdout=subprocess.DEVNULL)
        devices, central = self.broker(), self.broker(tls=tls, extra="require_certificate true")
        # The broker's certificate is not of the CA we trust: nothing is sent.
        client = f'tls_cert = "{tls}/client.pem"\ntls_key_file = "{tls}/client.key"'
        gateway = self.gateway(self.config(devices.port, central.port, scheme="mqtts", uplink=f'tls_ca = "{other}/ca.pem"\n{client}'))
        wait_for(lambda: "uplink central: TLS" in gateway.text() and "certificate" in gateway.text(), "the reason is named")
        self.reading(devices.port, 1)
        wait_for(lambda: self.metric("millrace_uplink_backlog_records") == 1, "the reading waits")
        self.assertEqual(self.metric("millrace_uplink_records_total"), 0)
        self.assertEqual(gateway.stop(), 0)
        # Our certificate is missing: the broker refuses. Then all is right.
        gateway = self.gateway(self.config(devices.port, central.port, scheme="mqtts", uplink=f'tls_ca = "{tls}/ca.pem"'))
        wait_for(lambda: self.metric("millrace_uplink_up") == 0 and "uplink central: " in gateway.text().split("is ready")[-1], "refused")
        self.assertEqual(gateway.stop(), 0)
        gateway = self.gateway(self.config(devices.port, central.port, scheme="mqtts", uplink=f'tls_ca = "{tls}/ca.pem"\n{client}'))
        wait_for(lambda: self.metric("millrace_uplink_records_total") == 1, "the reading arrives")

    def test_certificates_for_another_host_and_of_another_time(self):
        """Refused with the reason, nothing sent; and one that names the address is good."""
        tls = self.tls()

        devices = self.broker()
        for names, days, reason in (("DNS:elsewhere", 2, "it is for DNS:elsewhere, not for 127.0.0.1"), ("IP:127.0.0.2", 2, "it is for IP:127.0.0.2, not for"),
                                    ("IP:127.0.0.1", -1, "it expired on"),
                                    ("DNS:elsewhere,IP:127.0.0.1", 2, None)):
            self.certify(tls, names, days)
            central = self.broker(tls=tls)
            gateway = self.gateway(self.config(devices.port, central.port, scheme="mqtts", uplink=f'tls_ca = "{tls}/ca.pem"'))
            self.reading(devices.port, 1)
            if reason:
                wait_for(lambda: "uplink central: TLS: certificate: " in gateway.text() and reason in gateway.text(), f"{names}, {days} days: refused")
                wait_for(lambda: self.metric("millrace_uplink_backlog_records") >= 1, "the reading waits")
                self.assertEqual(self.metric("millrace_uplink_up"), 0)
                self.assertEqual(self.metric("millrace_uplink_records_total"), 0)
            else:
                wait_for(lambda: self.metric("millrace_uplink_backlog_records") == 0, "the readings arrive")
            self.assertEqual(gateway.stop(), 0)
            central.stop()

    def test_an_input_over_tls(self):
        """The policy is the uplinks': a certificate of another host, of another time or without our address among its names, and a
        password that is wrong, are named, somebody must act, nothing is heard. What is right is taken up without a restart."""
        tls, central = self.tls(), self.broker()
        passwords, secret = self.folder / "passwords", self.folder / "secret"
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "gw", "right"], check=True, capture_output=True)
        passwords.chmod(0o644)
        secret.write_text("wrong\n")
        secret.chmod(0o600)
        port = free_port()
        config = self.config(port, central.port, input=f'tls_ca = "{tls}/ca.pem"\nusername = "gw"\npassword_file = "{secret}"')
        config.write_text(config.read_text().replace(f"mqtt://127.0.0.1:{port}", f"mqtts://127.0.0.1:{port}"))
        gateway = self.gateway(config)
        said = 0
        for names, days, subject, reason in (("DNS:elsewhere", 2, "/CN=elsewhere", "it is for DNS:elsewhere, not for 127.0.0.1"), ("DNS:127.0.0.1", 2, "/CN=127.0.0.1", "it is for DNS:127.0.0.1, not for 127"),
                                             (None, 2, "/CN=127.0.0.1", "no subject alternative name"), ("DNS:*.0.0.1", 2, "/CN=x", "it is for DNS:*.0.0.1, not for"),
                                             ("IP:127.0.0.1", -1, "/CN=x", "it expired on"), ("IP:127.0.0.1", 2, "/CN=x", "not authorised")):
            self.certify(tls, names, days, subject)
            devices = self.broker(port, tls=tls, extra=f"allow_anonymous false\npassword_file {passwords}")
            wait_for(lambda: reason in gateway.text()[said:], f"{names}, {days} days: {reason}")
            line = [line for line in gateway.text()[said:].splitlines() if reason in line][-1]
            self.assertIn("input devices: ", line)
            self.assertIn("somebody must act", line)
            self.assertEqual(self.metric("millrace_input_up"), 0)
            said = len(gateway.text())
            if reason != "not authorised":
                devices.stop()
                wait_for(lambda: "refused" in gateway.text()[said:], "it is away")
                said = len(gateway.text())
        secret.write_text("right\n")
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input has subscribed")
        self.publish(port, "plant/l1/d1/telemetry", '{"ts":1700000001,"value":1}', extra=("-h", "127.0.0.1", "--cafile", f"{tls}/ca.pem", "-u", "gw", "-P", "right"))
        wait_for(lambda: self.metric("millrace_uplink_records_total") == 1, "the reading arrives")
        self.assertEqual(gateway.stop(), 0)

    def test_an_unwritable_log_folder(self):
        (self.folder / "file").write_text("")
        config = self.config(free_port(), free_port())
        config.write_text(config.read_text().replace(f'path = "{self.folder}/log"', f'path = "{self.folder}/file/log"'))
        gateway = self.gateway(config, wait=False)
        self.assertEqual(gateway.process.wait(10), 74)
        self.assertIn("log folder: create folder", gateway.text())
        self.assertIn("(log.path)", gateway.text())

    def test_a_second_instance(self):
        config = self.config(free_port(), free_port())
        self.gateway(config)
        second = self.gateway(config, wait=False)
        self.assertEqual(second.process.wait(10), 69)
        self.assertIn("/log/lock is held by another millrace (log.path); each gateway has a log.path", second.text())
        config.write_text(config.read_text().replace(f'path = "{self.folder}/log"', f'path = "{self.folder}/other"'))
        third = self.gateway(config, wait=False)
        self.assertEqual(third.process.wait(10), 69)
        self.assertIn("/lock is held by another millrace (gateway.runtime_dir)", third.text().split("(log.path)")[-1])

    def test_a_path_that_is_not_whole_is_warned_of_wherever_one_checks(self):
        (self.folder / "north.password").write_text("sesame")
        (self.folder / "north.password").chmod(0o600)
        config = self.config(free_port(), free_port(), uplink='username = "gw"\npassword_file = "north.password"')
        for folder, missing in ((self.folder, 0), ("/", 1)):
            done = subprocess.run([BUILD / "millrace", "check", "-c", config], cwd=folder, capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stdout.count('uplink "central": password_file: north.password is no whole path'), 1, done.stdout)
            self.assertEqual(done.stdout.count("will wait for it"), missing, done.stdout)

    def test_a_configuration_with_errors(self):
        config = self.config(free_port(), free_port(), input="qos = 7")
        gateway = self.gateway(config, wait=False)
        self.assertEqual(gateway.process.wait(10), 78)
        self.assertIn('"qos" is 7; it can be 0 to 2', gateway.text())
        checked = self.command("check")
        self.assertEqual(checked.returncode, 78)
        self.assertIn('"qos" is 7', checked.stderr)

    def test_an_input_that_would_hear_our_own_uplink(self):
        port = free_port()
        config = self.config(port, port)
        config.write_text(config.read_text().replace('topic = "plant/{line}/{device}/telemetry"', 'topic = "{a}/{line}/{device}"'))
        checked = self.command("check")
        self.assertEqual(checked.returncode, 78)
        self.assertIn("would hear what uplink", checked.stderr)

    def test_a_full_disk(self):
        if os.geteuid() != 0:
            self.skipTest("mounting a small tmpfs needs root")
        small = self.folder / "small"
        small.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=1000", "tmpfs", str(small)], capture_output=True, text=True)
        if mounted.returncode != 0:
            self.skipTest("mount is not allowed here: " + mounted.stderr.strip())
        self.addCleanup(lambda: subprocess.run(["umount", "-l", str(small)]))
        devices, central_port = self.broker(), free_port()
        config = self.config(devices.port, central_port, logmore='when_full = "block"')
        config.write_text(config.read_text().replace(f'path = "{self.folder}/log"', f'path = "{small}/log"'))
        gateway = self.gateway(config)
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up")
        self.reading(devices.port, 1)
        wait_for(lambda: self.metric("millrace_log_records_total") >= 1, "the first reading is stored")
        filler = small / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        for n in range(2, 30):  # the broker keeps them once the input pauses
            self.publish(devices.port, "plant/l1/d1/telemetry", f'{{"ts":{1700000000 + n},"value":{n}}}')
        wait_for(lambda: self.metric("millrace_log_degraded") == 1 or self.metric("millrace_log_records_total") >= 29, "the disk is full")
        for n in range(30, 36):
            if self.metric("millrace_log_degraded") == 1:
                break
            self.publish(devices.port, "plant/l1/d1/telemetry", f'{{"ts":{1700000000 + n},"value":"{"x" * 100000}"}}')
        wait_for(lambda: self.metric("millrace_log_degraded") == 1, "degraded, and says so")
        self.assertIn("log: ", self.http("/readyz"))
        self.assertIn("cannot commit", gateway.text())
        filler.unlink()
        wait_for(lambda: self.metric("millrace_log_degraded") == 0, "recovers by itself")
        self.broker(central_port)
        wait_for(lambda: self.metric("millrace_uplink_records_total") >= 29 and self.metric("millrace_uplink_backlog_records") == 0, "everything arrives")

    def test_faces_survive_bad_callers(self):
        self.gateway(self.config(free_port(), free_port()))
        for request in (b"POST /metrics HTTP/1.1\r\n\r\n", b"\x00\xff" * 50, b"GET /" + b"x" * 20000, b"GET /nothing HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", self.observe), timeout=5) as s:
                s.sendall(request)
                s.recv(1000)
        idle = [socket.create_connection(("127.0.0.1", self.observe)) for _ in range(40)]
        for s in idle:
            s.close()
        wait_for(lambda: self.http("/healthz") == "ok\n", "still there")
        path = str(self.run_folder / "control.sock")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o660)
        for request in (b"nonsense\n", b'{"command":"format c"}\n', b"{" * 3000 + b"\n", b"x" * 10000):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(5)
                s.connect(path)
                s.sendall(request)
                try:
                    s.recv(1000)
                except ConnectionResetError:
                    pass
        self.assertTrue(self.status()["ready"])

    def test_systemd_hears_ready_and_the_watchdog(self):
        path = str(self.run_folder / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(path)
            s.settimeout(10)
            gateway = self.gateway(self.config(free_port(), free_port()), wait=False, env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"})
            heard = [s.recv(200).decode() for _ in range(4)]
            self.assertIn("READY=1", heard)
            self.assertGreaterEqual(heard.count("WATCHDOG=1"), 2)
            gateway.process.send_signal(signal.SIGTERM)
            while "STOPPING=1" not in heard:
                heard.append(s.recv(200).decode())
            self.assertEqual(gateway.process.wait(10), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
