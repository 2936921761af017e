#!/usr/bin/python3
"""One policy for certificates, whichever library speaks TLS: each case is tried on every client against `openssl s_server`, and
what is refused is told as what it is. The policy is in packaging/docs/tls.md."""
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from testsite import Process, Site, free_port, listening, wait_for

# A client joins by one line: its section, with a server, a CA and what else there is.
CLIENTS = {
    "uplinks.mqtt": 'servers = ["mqtts://@host@:@port@"]',
    "uplinks.https": 'servers = ["https://@host@:@port@"]',
    "uplinks.kafka": 'servers = ["@host@:@port@"]\ntls = true',
    "inputs.modbus": 'mode = "tls"\nserver = "@host@:@port@"\ntimeout = "10ms"\n[[inputs.modbus.devices]]\nname = "d"\nregisters = [ { name = "r", address = 0 } ]',
    "inputs.mqtt": 'servers = ["mqtts://@host@:@port@"]\n[[inputs.mqtt.routes]]\ntopic = "a/{device}"',
}
OPENSSL = {"uplinks.kafka"}  # those that do not speak by mbedTLS

SAN_IP, SAN_HOST = "subjectAltName=IP:127.0.0.1", "subjectAltName=DNS:localhost"
# name: host, key, extensions of the leaf, what is different; whether it is good; what the clients of mbedTLS say
CASES = {
    "an address among the names": ("127.0.0.1", "ec", SAN_IP, {}, True, ""),
    "a name among the names": ("localhost", "ec", SAN_HOST, {}, True, ""),
    "RSA of 2048 bits": ("127.0.0.1", "rsa:2048", SAN_IP, {}, True, ""),
    "serverAuth": ("127.0.0.1", "ec", SAN_IP + "\nextendedKeyUsage=serverAuth", {}, True, ""),
    "both uses": ("127.0.0.1", "ec", SAN_IP + "\nextendedKeyUsage=clientAuth,serverAuth", {}, True, ""),
    "the address as a name": ("127.0.0.1", "ec", "subjectAltName=DNS:127.0.0.1", {}, False, "it is for DNS:127.0.0.1, not for 127.0.0.1"),
    "a wildcard for an address": ("127.0.0.1", "ec", "subjectAltName=DNS:*.0.0.1", {}, False, "it is for DNS:*.0.0.1, not for 127.0.0.1"),
    "a common name alone, for an address": ("127.0.0.1", "ec", "", {"cn": "127.0.0.1"}, False, "no subject alternative name"),
    "a common name alone, for a name": ("localhost", "ec", "", {"cn": "localhost"}, False, "no subject alternative name"),
    "another host's": ("localhost", "ec", "subjectAltName=DNS:elsewhere.example,IP:127.0.0.1", {}, False, "it is for DNS:elsewhere.example, IP:127.0.0.1, not for localhost"),
    "RSA of 1024 bits": ("127.0.0.1", "rsa:1024", SAN_IP, {}, False, "1024 bits"),
    "clientAuth alone": ("127.0.0.1", "ec", SAN_IP + "\nextendedKeyUsage=clientAuth", {}, False, "serverAuth"),
    "any use": ("127.0.0.1", "ec", SAN_IP + "\nextendedKeyUsage=anyExtendedKeyUsage", {}, False, "serverAuth"),
    "expired": ("127.0.0.1", "ec", SAN_IP, {"days": -1}, False, "it expired on "),
    "of another CA": ("127.0.0.1", "ec", SAN_IP, {"ca": "other"}, False, 'its issuer "CN=other" is no CA of '),
}

CA, MAY_SIGN = "basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"
# name: the extensions of each CA between ours and the server's, the topmost first, and what is different; whether it is good; what the
# clients of mbedTLS say
CHAINS = {
    "a CA in between": ([CA + "\n" + MAY_SIGN], {}, True, ""),
    "two CAs in between": ([CA, CA], {}, True, ""),
    "a CA in between that is not shown": ([CA], {"shown": False}, False, 'its issuer "CN=sub'),
    "one in between that is no CA": (["basicConstraints=critical,CA:FALSE"], {}, False, ""),
    "one in between that may not sign": ([CA + "\nkeyUsage=critical,digitalSignature"], {}, False, ""),
    "one more in between than is allowed": ([CA + ",pathlen:0", CA], {}, False, ""),
    "a CA in between that has expired": ([CA], {"ca_days": -1}, False, "expired on "),
    "signed with SHA-1": ([], {"hash": "-sha1"}, False, ""),
    "its own issuer": ([], {"itself": True}, False, ""),
    "not good yet": ([], {"later": True}, False, ""),
}


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=30)


class Tls(Site):
    def setUp(self):
        super().setUp()
        self.pki = self.folder / "pki"
        self.pki.mkdir()
        for ca in ("ca", "other"):
            self.ca(ca)

    def ca(self, name, more=()):
        openssl(self.pki, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem",
                "-days", "90", "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign", *more)

    def certify(self, name, key, extensions, cn="server", ca="ca", days=90):
        kind = ["-newkey", key] if key.startswith("rsa") or key == "ed25519" else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        openssl(self.pki, "req", *kind, "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={cn}")
        (self.pki / f"{name}.ext").write_text("basicConstraints=CA:FALSE\n" + extensions + "\n")
        openssl(self.pki, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", str(days), "-extfile",
                f"{name}.ext", "-out", f"{name}.pem")

    def server(self, name, *more):
        port = free_port()
        process = Process(["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", f"{self.pki}/{name}.pem", "-key", f"{self.pki}/{name}.key", "-cipher",
                           "DEFAULT@SECLEVEL=0", *more], self.folder / f"server-{port}.log", stdin=subprocess.PIPE)  # at the end of its input it ends
        process.port = port
        self.processes.append(process)
        wait_for(lambda: listening(port) or process.process.poll() is not None, f"{name} listens")
        return process

    def check_online(self, client, host, port, more=""):
        """What `check --online` says of this one client."""
        done = self.checked(client, host, port, f'tls_ca = "{self.pki}/ca.pem"\n' + more)
        self.assertIn("The configuration is good", done.stdout, done.stderr)
        return [line for line in done.stdout.splitlines() if line.startswith(("BAD", "?", "good"))]

    def checked(self, client, host, port, more):
        section = CLIENTS[client].replace("@host@", host).replace("@port@", str(port))
        side, kind = client.split(".")
        extra = 'connect_timeout = "4s"\n' + more
        first, _, rest = section.partition("\n[[")
        path = self.folder / f"{kind}-{port}.toml"
        path.write_text(f'[gateway]\nruntime_dir = "{self.run_folder}"\n[log]\npath = "{self.folder}/log"\n[[{client}]]\nname = "it"\n{first}\n{extra}\n'
                        + (f"[[{rest}\n" if rest else ""))
        return self.command("check", "--online", config=path)

    def test_one_policy(self):
        for number, (name, (host, key, extensions, different, good, words)) in enumerate(CASES.items()):
            self.certify(f"case{number}", key, extensions, **different)

        def attempt(job):
            number, client = job
            host = list(CASES.values())[number][0]
            server = self.server(f"case{number}")
            said = self.check_online(client, host, server.port)
            server.stop()
            return "CIPHER is" in server.text(), said

        jobs = [(number, client) for number in range(len(CASES)) for client in CLIENTS]
        with ThreadPoolExecutor(4) as pool:
            outcomes = dict(zip(jobs, pool.map(attempt, jobs)))
        for number, (name, (host, key, extensions, different, good, words)) in enumerate(CASES.items()):
            for client in CLIENTS:
                with self.subTest(case=name, client=client):
                    taken, said = outcomes[(number, client)]
                    self.assertEqual(taken, good, said)
                    if not good and client not in OPENSSL:
                        self.assertIn("TLS: certificate: ", said[0])
                        self.assertIn(words, said[0])

    def certify_below(self, number, between, different):
        """A chain below "ca"; what a server shows of it."""
        name, issuer = f"chain{number}", "ca"
        for depth, extensions in enumerate(between):
            sub = f"sub{number}-{depth}"
            self.certify(sub, "ec", "", cn=sub)  # for its key and its request
            (self.pki / f"{sub}.ext").write_text(extensions + "\n")
            openssl(self.pki, "x509", "-req", "-in", f"{sub}.csr", "-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key", "-CAcreateserial", "-days",
                    str(different.get("ca_days", 60)), "-extfile", f"{sub}.ext", "-out", f"{sub}.pem")
            issuer = sub
        self.certify(name, "ec", SAN_IP, ca=issuer)
        sign = ["x509", "-req", "-in", f"{name}.csr", "-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key", "-CAcreateserial", "-extfile", f"{name}.ext", "-out", f"{name}.pem"]
        if different.get("hash"):
            openssl(self.pki, *sign, different["hash"])
        if different.get("itself"):
            openssl(self.pki, "x509", "-req", "-in", f"{name}.csr", "-signkey", f"{name}.key", "-extfile", f"{name}.ext", "-out", f"{name}.pem")
        if different.get("later"):
            later = self.faked(program=shutil.which("openssl"), FAKETIME="+10d")
            subprocess.run(["openssl", *sign], cwd=self.pki, check=True, capture_output=True, timeout=30, env={**os.environ, **later})
        shown = self.pki / f"{name}.chain"
        shown.write_text("".join((self.pki / f"sub{number}-{depth}.pem").read_text() for depth in reversed(range(len(between)))))
        return [name, *(["-cert_chain", str(shown)] if between and different.get("shown", True) else [])]

    def test_chains(self):
        servers = [self.certify_below(number, between, different) for number, (between, different, _, _) in enumerate(CHAINS.values())]

        def attempt(job):
            number, client = job
            server = self.server(*servers[number])
            said = self.check_online(client, "127.0.0.1", server.port)
            server.stop()
            return "CIPHER is" in server.text(), said

        jobs = [(number, client) for number in range(len(CHAINS)) for client in CLIENTS]
        with ThreadPoolExecutor(4) as pool:
            outcomes = dict(zip(jobs, pool.map(attempt, jobs)))
        for number, (name, (_, _, good, words)) in enumerate(CHAINS.items()):
            for client in CLIENTS:
                with self.subTest(case=name, client=client):
                    taken, said = outcomes[(number, client)]
                    self.assertEqual(taken, good, said)
                    if not good and client not in OPENSSL:
                        self.assertIn("TLS: certificate: ", said[0])
                        self.assertIn(words, said[0])

    def uplink_says(self, server, more=""):
        return " ".join(self.check_online("uplinks.mqtt", "127.0.0.1", server.port, more))

    def test_what_a_server_refuses_is_told_as_what_it_is(self):
        self.certify("server", "ec", SAN_IP)
        self.certify("ed", "ed25519", SAN_IP)
        self.certify("client", "ec", "extendedKeyUsage=clientAuth", cn="client")
        self.certify("stranger", "ec", "extendedKeyUsage=clientAuth", cn="client", ca="other")
        for name in ("client", "stranger"):
            (self.pki / f"{name}.key").chmod(0o600)
        demand = ("-Verify", "1", "-verify_return_error", "-CAfile", f"{self.pki}/ca.pem", "-tls1_2")
        said = self.uplink_says(self.server("server", "-tls1_3"))
        self.assertTrue("speaks only TLS 1.3, this build up to 1.2" in said or "no CONNACK in time" in said, said)  # by the library
        said = self.uplink_says(self.server("ed", "-tls1_2"))
        self.assertIn("not Ed25519", said)
        self.assertNotIn("our certificate", said)
        self.assertIn("demands a client certificate, and none is configured", self.uplink_says(self.server("server", *demand)))
        shown = 'tls_cert = "{0}/{1}.pem"\ntls_key_file = "{0}/{1}.key"'
        said = self.uplink_says(self.server("server", *demand), shown.format(self.pki, "stranger"))
        self.assertIn("refused our certificate (tls_cert)", said)
        self.assertIn("no CONNACK in time", self.uplink_says(self.server("server", *demand), shown.format(self.pki, "client")))

    def test_what_a_server_makes_of_the_protocol_it_is_asked_for(self):
        """ALPN (RFC 7301): a server may choose one, have no word for it, or refuse the connection; `check` and the daemon ask alike."""
        self.certify("server", "ec", SAN_IP)
        aws = ["x-amzn-mqtt-ca", "mqtt"], 'tls_alpn = ["x-amzn-mqtt-ca", "mqtt"]\n'
        asks = {"inputs.mqtt": aws, "uplinks.mqtt": aws}

        def attempt(job):
            client, speaks = job
            server = self.server("server", *(["-alpn", speaks] if speaks else []))
            said = self.check_online(client, "127.0.0.1", server.port, asks[client][1])
            server.stop()
            return server.text(), said[0]

        jobs = [(client, speaks) for client, (names, _) in asks.items() for speaks in (f"other,{names[-1]}", "", "h2,other")]
        with ThreadPoolExecutor(4) as pool:
            outcomes = dict(zip(jobs, pool.map(attempt, jobs)))
        for (client, speaks), (server, said) in outcomes.items():
            with self.subTest(client=client, speaks=speaks):
                names = asks[client][0]
                if speaks == "h2,other":
                    self.assertNotIn("CIPHER is", server)
                    self.assertIn("TLS: on this port the server does not speak " + ", ".join(f'"{name}"' for name in names) + " (ALPN; alert no_application_protocol)", said)
                else:
                    self.assertIn("CIPHER is", server, said)
                    heard = f"ALPN protocols advertised by the client: {', '.join(names)}\nALPN protocols selected: {names[-1]}\n"
                    self.assertEqual(heard in server, speaks != "", server)
                    self.assertNotIn("TLS", said)
        # The uplink of HTTP names nothing, which keeps its handshakes small, and is let in; a port of gRPC alone is told to who pushes by OTLP.
        server = self.server("server", "-alpn", "h2,other")
        said = self.check_online("uplinks.https", "127.0.0.1", server.port,
                                 f'[observe.otlp]\nendpoint = "https://127.0.0.1:{server.port}"\ntimeout = "4s"\ntls_ca = "{self.pki}/ca.pem"\n')
        pushed = [line for line in said if "observe.otlp" in line]
        self.assertIn('TLS: on this port the server does not speak "http/1.1" (ALPN; alert no_application_protocol)', pushed[0])
        self.assertNotIn("TLS", "".join(line for line in said if line not in pushed))
        self.assertEqual(server.text().count("CIPHER is"), 1)

        def alert(listener):
            """Refuses who names no protocol, as AWS IoT's port 443 does; s_server and Python's ssl cannot."""
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                client.recv(65536)
                client.sendall(b"\x15\x03\x03\x00\x02\x02\x78")
                client.close()
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        threading.Thread(target=alert, args=(listener,), daemon=True).start()
        said = self.check_online("uplinks.mqtt", "127.0.0.1", listener.getsockname()[1])
        self.assertIn("TLS: the server wants to be asked for a protocol by its name, and none was (ALPN: tls_alpn)", said[0])
        server = self.server("server", "-alpn", "h2,other")
        keys = f'tls_ca = "{self.pki}/ca.pem"\ntls_alpn = ["mqtt"]'
        config = self.config(server.port, server.port, scheme="mqtts", uplink=keys, input=keys)
        config.write_text(config.read_text().replace('"mqtt://', '"mqtts://'))
        gateway = self.gateway(config)
        for who in ("input devices", "uplink central"):
            wait_for(lambda: who + ': TLS: on this port the server does not speak "mqtt"' in gateway.text(), "the reason is in the journal")
        self.assertEqual(self.metric("millrace_uplink_blocked"), 1)

    def sub_ca(self, extensions, days=90):
        """A CA below ours, "sub", issued a year ago, and "leaf" of it, for 127.0.0.1; what a server shows of them."""
        openssl(self.pki, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "sub.key", "-out", "sub.csr", "-subj", "/CN=sub")
        (self.pki / "sub.ext").write_text(f"basicConstraints=critical,CA:TRUE\n{extensions}\n")
        (self.pki / "issue.conf").write_text("[ca]\ndefault_ca=d\n[d]\ndatabase=index\nrand_serial=yes\nnew_certs_dir=.\npolicy=p\nunique_subject=no\n"
                                             "[p]\ncommonName=supplied\n")
        (self.pki / "index").touch()
        dates = [time.strftime("%y%m%d%H%M%SZ", time.gmtime(time.time() + 86400 * day)) for day in (-365, days)]
        openssl(self.pki, "ca", "-batch", "-config", "issue.conf", "-md", "sha256", "-notext", "-in", "sub.csr", "-cert", "ca.pem", "-keyfile", "ca.key",
                "-startdate", dates[0], "-enddate", dates[1], "-extfile", "sub.ext", "-out", "sub.pem")
        self.certify("leaf", "ec", SAN_IP, ca="sub")
        return "leaf", "-cert_chain", f"{self.pki}/sub.pem"

    def test_name_constraints(self):
        """A CA below ours may certify some names only. It is held to that; what mbedTLS refuses to read is refused, with the reason."""
        said = self.uplink_says(self.server(*self.sub_ca("nameConstraints=critical,permitted;IP:127.0.0.0/255.0.0.0"), "-tls1_2"))
        self.assertIn("BAD", said)
        self.assertIn("name constraints?", said)
        for allowed, constraints in ((True, "permitted;IP:127.0.0.0/255.0.0.0"), (False, "permitted;IP:10.0.0.0/255.0.0.0"),
                                     (False, "excluded;IP:127.0.0.1/255.255.255.255"), (True, "excluded;DNS:example.org")):
            with self.subTest(constraints=constraints):
                said = self.uplink_says(self.server(*self.sub_ca(f"nameConstraints={constraints}"), "-tls1_2"))
                if allowed:
                    self.assertNotIn("certificate", said)
                else:
                    self.assertIn("a CA above it may not certify IP:127.0.0.1 (name constraints)", said)

    def test_a_servers_chain_is_watched(self):
        """The server's own certificate is good for months, the CA between it and ours ends in days."""
        server = self.server(*self.sub_ca("", days=5), "-tls1_2")
        gateway = self.gateway(self.config(free_port(), server.port, scheme="mqtts", gateway='clock = "trust"',
                                           uplink=f'tls_ca = "{self.pki}/ca.pem"\nconnect_timeout = "1s"'))
        wait_for(lambda: 'uplink central: servers: of the certificates that 127.0.0.1 showed last, "CN=sub" expires on ' in gateway.text(), "it is told", 30)
        self.assertEqual(gateway.text().count("showed last"), 1)
        left = self.metric("millrace_peer_cert_expiry_seconds", 'uplink="central",key="servers",host="127.0.0.1",subject="CN=sub"')
        self.assertTrue(4 * 86400 < left < 5 * 86400, left)

    def test_a_person_must_act_is_said_and_measured(self):
        """An endless wait for a better certificate is not "connection lost": status, journal and metric say who must act."""
        self.certify("server", "ec", SAN_IP, days=-1)
        server = self.server("server", "-tls1_2")
        gateway = self.gateway(self.config(free_port(), server.port, scheme="mqtts", uplink=f'tls_ca = "{self.pki}/ca.pem"'))
        wait_for(lambda: "uplink central: TLS: certificate: it expired on" in gateway.text(), "the reason is in the journal")
        self.assertIn("(somebody must act)", gateway.text())
        self.assertIn("somebody must act", next(u["state"] for u in self.status()["uplinks"] if u["name"] == "central"))
        self.assertEqual(self.metric("millrace_uplink_blocked"), 1)

    def test_an_uplink_that_does_not_verify_says_so_each_time(self):
        """By insecure_skip_verify an uplink takes what every line of the policy refuses; it is told, and nobody else has the key."""
        self.certify("stranger", "ec", "subjectAltName=DNS:elsewhere.example\nextendedKeyUsage=clientAuth", cn="stranger", ca="other", days=-1)
        insecure = "insecure_skip_verify = true\n"
        for client in CLIENTS:
            with self.subTest(client=client):
                server = self.server("stranger")
                done = self.checked(client, "127.0.0.1", server.port, insecure)
                if not client.startswith("uplinks."):
                    self.assertIn("insecure_skip_verify", done.stdout + done.stderr)
                    self.assertNotEqual(done.returncode, 0)
                    continue
                server.stop()
                self.assertIn("CIPHER is", server.text(), done.stdout)
                self.assertIn('warning: uplink "it": insecure_skip_verify: its server is not verified', done.stdout)
                done = self.checked(client, "127.0.0.1", server.port, f'tls_ca = "{self.pki}/ca.pem"\n' + insecure)
                self.assertIn("one of the two", done.stdout + done.stderr)
        server = self.server("stranger")
        path = self.config(free_port(), server.port, scheme="mqtts", uplink=insecure)
        for _ in range(2):
            gateway = self.gateway(path)
            wait_for(lambda: "CIPHER is" in server.text(), "it is taken", 20)
            self.assertIn('uplink "central": insecure_skip_verify: its server is not verified', gateway.text())
            self.assertIn("uplink central: its server is not verified (insecure_skip_verify)", [fault["what"] for fault in self.status()["faults"]])
            self.assertTrue(next(u for u in self.status()["uplinks"] if u["name"] == "central")["unverified"])
            self.assertEqual(gateway.stop(), 0)

    def test_certificates_are_watched(self):
        """One of ours that ends soon is told and measured; garbage in its place is told without waiting for a device, and costs none."""
        self.certify("server", "ec", SAN_IP, days=6)
        (self.pki / "server.key").chmod(0o600)
        port = free_port()
        endpoint = (f'[[inputs.mqtt_endpoint]]\nname = "door"\nlisten = "127.0.0.1:{port}"\nanonymous = true\ntls_cert = "{self.pki}/server.pem"\n'
                    f'tls_key_file = "{self.pki}/server.key"\n[[inputs.mqtt_endpoint.routes]]\ntopic = "a/{{device}}"\n')
        gateway = self.gateway(self.config(free_port(), free_port(), gateway='clock = "trust"', more=endpoint))
        wait_for(lambda: 'input door: tls_cert: ' in gateway.text() and 'the certificate "CN=server" expires on ' in gateway.text(), "it is told")
        left = self.metric("millrace_cert_expiry_seconds", 'input="door",key="tls_cert"')
        self.assertTrue(5 * 86400 < left < 6 * 86400, left)
        (self.pki / "server.pem").write_text("-----BEGIN CERTIFICATE-----\nno such thing")
        wait_for(lambda: "input door: tls_cert: the file changed and cannot be used" in gateway.text(), "garbage is told", 20)
        subprocess.run(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "--cafile", f"{self.pki}/ca.pem", "-q", "1", "-t", "a/d1", "-m", '{"v":1}'], check=True, timeout=20)
        self.certify("server", "ec", SAN_IP, days=90)
        wait_for(lambda: self.metric("millrace_cert_expiry_seconds", 'input="door",key="tls_cert"') > 80 * 86400, "the new one is seen", 20)


if __name__ == "__main__":
    unittest.main(verbosity=2)
