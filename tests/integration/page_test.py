#!/usr/bin/python3
"""The web page: in a real browser (headless Chromium) every number on it is the one of /metrics, in an outage and at its end, nothing
breaks its policy, and a keyboard is enough; and what the HTTP side refuses. `Costs` (in `full`): 200 tabs, 5,000 devices, who does not
read. MILLRACE_SCREENSHOTS=FOLDER keeps pictures of it."""
import base64
import http.client
import json
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import browser
from testsite import BUILD, Site, free_port, wait_for

TRUSTED = 'clock = "trust"'
ENDPOINT = """
[[inputs.mqtt_endpoint]]
name = "field"
listen = "127.0.0.1:%d"
anonymous = true
[[inputs.mqtt_endpoint.routes]]
topic = "field/{device}"
metrics = { value = "value" }
"""


def series(text):
    """/metrics as a dictionary; families that have several series are in it as sums, too."""
    values = {}
    for line in text.splitlines():
        if line.startswith("#") or not line:
            continue
        name, value = line.rsplit(" ", 1)
        values[name] = float(value)
        family = "sum:" + name.split("{")[0]
        values[family] = values.get(family, 0) + float(value)
    return values


class Stream:
    """A reader of /events; or one that never reads."""

    def __init__(self, port, host="127.0.0.1", receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(f"GET /events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        self.bytes = b""

    def head(self):
        while b"\r\n\r\n" not in self.bytes:
            got = self.socket.recv(65536)
            if not got:
                raise AssertionError(f"the answer ended: {self.bytes!r}")
            self.bytes += got
        head, self.bytes = self.bytes.split(b"\r\n\r\n", 1)
        return head.decode()

    def event(self):
        """The next one's data; None: the stream ended."""
        while True:
            before, sep, rest = self.bytes.partition(b"\n\n")
            if sep:
                self.bytes = rest
                if before.startswith(b"event: state"):
                    return json.loads(before.split(b"data: ", 1)[1])
                continue
            got = self.socket.recv(65536)
            if not got:
                return None
            self.bytes += got

    def close(self):
        self.socket.close()


class OnTheWire(Site):
    """What the HTTP side answers, and whom."""

    def start(self, observe="", **values):
        self.south, self.north = self.broker(), self.broker()
        path = self.config(self.south.port, self.north.port, gateway=TRUSTED, **values)
        path.write_text(path.read_text() + observe)
        gateway = self.gateway(path)
        wait_for(lambda: self.status()["inputs"][0]["healthy"], "it has subscribed")
        return gateway

    def ask(self, path, host=None, method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.observe, timeout=10)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        if host != "":
            connection.putheader("Host", host or f"127.0.0.1:{self.observe}")
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.headers, body

    def test_who_is_answered(self):
        self.start()
        for host in ("127.0.0.1:9464", "localhost", "LOCALHOST:22222", "[::1]:9464", "127.0.0.2"):
            self.assertEqual(self.ask("/api/status", host)[0], 200, host)
        for host in ("evil.example", "evil.example:9464", "127.0.0.1.evil.example", "localhost.evil.example", "192.168.1.7:9464", "", "[::2]", "127.0.0.1:x", "0.0.0.0", "1.127.0.1"):
            for path in ("/", "/page.js", "/api/status", "/api/devices", "/api/letters", "/events"):
                status, _, body = self.ask(path, host, Accept_Encoding="gzip")
                self.assertEqual((status, b"ssh -L" in body), (421, True), f"{host} {path}")
        self.assertEqual(self.ask("/metrics", "prometheus.example")[0], 200)  # as ever
        for site in ("cross-site", "same-site"):
            self.assertEqual(self.ask("/api/status", Sec_Fetch_Site=site)[0], 403)
            self.assertEqual(self.ask("/events", Sec_Fetch_Site=site)[0], 403)
        self.assertEqual(self.ask("/", Sec_Fetch_Site="cross-site", Accept_Encoding="gzip")[0], 200)  # a link that was followed
        self.assertEqual(self.ask("/api/status", Sec_Fetch_Site="same-origin")[0], 200)
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
            status, headers, _ = self.ask("/api/status", method=method)
            self.assertEqual((status, headers["Allow"]), (405, "GET, HEAD"), method)
        with socket.create_connection(("127.0.0.1", self.observe)) as twice:
            twice.sendall(b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
            self.assertTrue(twice.recv(1000).startswith(b"HTTP/1.1 400 "))
        for wrong in (b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"x: " + b"y" * 9000 + b"\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", self.observe)) as stranger:
                stranger.sendall(wrong)
                self.assertTrue(stranger.recv(1000).startswith(b"HTTP/1.1 400 "), wrong[:20])

    def test_how_it_is_answered(self):
        self.start()
        for path in ("/", "/page.css", "/page.js", "/api/status", "/api/history", "/api/nothing"):
            _, headers, _ = self.ask(path, Accept_Encoding="gzip, br")
            self.assertIn("default-src 'none'; script-src 'self'", headers["Content-Security-Policy"], path)
            self.assertEqual((headers["X-Content-Type-Options"], headers["Cross-Origin-Resource-Policy"]), ("nosniff", "same-origin"))
        packed = sum(len(self.ask(path, Accept_Encoding="gzip")[2]) for path in ("/", "/page.css", "/page.js"))
        self.assertLess(packed, 40_000)
        self.assertEqual(self.ask("/")[0], 406)
        status, headers, body = self.ask("/", method="HEAD", Accept_Encoding="gzip")
        self.assertEqual((status, body), (200, b""))
        self.assertGreater(int(headers["Content-Length"]), 100)
        self.assertEqual(json.loads(self.ask("/api/status")[2])["gateway"], "gw")
        self.assertEqual(self.ask("/nothing")[0], 404)
        # What changes something is not asked for from here, whatever the words.
        for path in ("/api/reload", "/api/dlq.drop?all=true", "/api/log.forget?device=x"):
            self.assertEqual(self.ask(path)[0], 404)

    def test_devices_values_and_letters(self):
        self.start()
        for i in range(3):
            self.publish(self.south.port, f"tele/press-{i}/SENSOR", json.dumps({"value": 20 + i}))
        self.publish(self.south.port, "tele/<b>bold/SENSOR", '{"value": 7}')
        self.publish(self.south.port, "tele/press-1/SENSOR", "<script>alert(1)</script>")
        wait_for(lambda: self.metric("millrace_input_undecodable_total") == 1, "all came")
        got = lambda query: json.loads(self.ask("/api/devices?" + query)[2])
        wait_for(lambda: len(got("max=10")["values"]) == 4, "their values are in the log")
        everything = got("max=10&sort=name")
        self.assertEqual([d["name"] for d in everything["list"]["devices"]], ["<b>bold", "press-0", "press-1", "press-2"])
        self.assertEqual({v["device"]: v["value"] for v in everything["values"]}, {"<b>bold": 7, "press-0": 20, "press-1": 21, "press-2": 22})
        self.assertEqual([v["device"] for v in got("max=10&part=press%2D2")["values"]], ["press-2"])
        self.assertEqual(got("max=10&part=%3Cb%3E")["list"]["fitting"], 1)
        self.assertEqual((got("max=2")["list"]["fitting"], len(got("max=2")["list"]["devices"])), (4, 2))
        self.assertEqual(len(got("max=-1&part=%FF%00&sort=%")["list"]["devices"]), 4)  # what is no text asks for nothing
        wait_for(lambda: json.loads(self.ask("/api/letters?from=")[2])["lines"], "so is the letter")
        letters = json.loads(self.ask("/api/letters?from=")[2])
        self.assertIn("<script>", json.loads(letters["lines"])["payload"])
        self.assertIn("<script>", json.loads(self.ask(f"/api/letters?from={'9' * 400}")[2])["lines"])
        self.assertEqual(json.loads(self.ask("/api/letters?from=1")[2])["lines"], "")  # its number is higher

    def test_alarms_come_a_page_at_a_time_the_newest_first(self):
        port = free_port()
        self.start(more=ENDPOINT % port)
        for i in range(15):  # each connects and goes
            self.publish(port, "field/press-1", '{"value": 1}', extra=("-i", f"client-{i}"))
        got = lambda query: json.loads(self.ask("/api/alarms?" + query)[2])
        lines = lambda answer: [json.loads(line) for line in answer["lines"].splitlines()]

        def pages():
            found, at = [], ""
            while at != 0:
                page = got(f"from={at}")
                found.append([one["number"] for one in lines(page)])
                at = page["next"]
            return found
        cat = lambda: [json.loads(line)["number"] for line in reversed(self.command("log", "cat", "--lane", "alarm").stdout.splitlines())]
        wait_for(lambda: len(cat()) >= 20 and sum(pages(), []) == cat(), "pages hold what the lane holds, the newest first")
        self.assertEqual(len(pages()[0]), 20)
        self.assertEqual({one["lane"] for one in lines(got("from="))}, {"alarm"})
        self.assertEqual(got("from=0"), {"next": 0, "lines": ""})
        self.assertTrue(got(f"from={'9' * 400}")["lines"])

    def test_streams_have_places_and_go_on_through_a_reload(self):
        gateway = self.start(observe="page_streams = 3\n")
        streams = [Stream(self.observe) for _ in range(3)]
        for one in streams:
            self.assertIn("text/event-stream", one.head())
        self.assertEqual(self.metric("millrace_page_streams"), 3)
        self.assertTrue(Stream(self.observe).head().startswith("HTTP/1.1 503 "))
        wait_for(lambda: self.metric("millrace_page_streams_refused_total") == 1, "it is counted")
        streams.pop().close()
        wait_for(lambda: self.metric("millrace_page_streams") == 2, "it is gone")
        late = Stream(self.observe)
        self.assertTrue(late.head().startswith("HTTP/1.1 200 "))
        first = late.event()
        gateway.process.send_signal(signal.SIGHUP)
        self.publish(self.south.port, "tele/press-1/SENSOR", '{"value": 1}')
        wait_for(lambda: late.event()["log"]["records"] > first["log"]["records"], "it goes on")
        # Who says something more is no listener.
        late.socket.sendall(b"hello")
        wait_for(lambda: self.metric("millrace_page_streams") == 2, "it was closed")
        begin = time.monotonic()
        self.assertEqual(gateway.stop(), 0)
        self.assertLess(time.monotonic() - begin, 4)

    def test_elsewhere_by_tls_and_a_token(self):
        done = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "s.key", "-out", "s.pem", "-days", "9",
                               "-subj", "/CN=gw", "-addext", "subjectAltName=IP:127.0.0.1,DNS:gw.example"], cwd=self.folder, capture_output=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        token = self.folder / "token"
        token.write_text("0123456789abcdef\n")
        for secret in (token, self.folder / "s.key"):
            os.chmod(secret, 0o600)
        self.south, self.north = self.broker(), self.broker()
        path = self.config(self.south.port, self.north.port, gateway=TRUSTED)
        path.write_text(path.read_text().replace(f"127.0.0.1:{self.observe}", f"0.0.0.0:{self.observe}") +
                        f'tls_cert = "{self.folder}/s.pem"\ntls_key_file = "{self.folder}/s.key"\ntoken_file = "{token}"\npage = true\n')
        done = self.command("check")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        gateway = self.gateway(path, wait=False)
        trusted = ssl.create_default_context(cafile=self.folder / "s.pem")

        def ask(where, login=None, **more):
            request = urllib.request.Request(f"https://127.0.0.1:{self.observe}{where}", headers={**({"Authorization": login} if login else {}), **more})
            try:
                with urllib.request.urlopen(request, timeout=10, context=trusted) as answer:
                    return answer.status, answer.headers, answer.read() if where != "/events" else answer.readline() + answer.readline() + answer.readline()
            except urllib.error.HTTPError as error:
                return error.code, error.headers, error.read()
            except OSError:
                return None, None, None
        wait_for(lambda: ask("/healthz")[0] == 200 or gateway.process.poll() is not None, "it answers, and for health it wants nothing")
        basic = lambda password: "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()
        for login in (None, "Bearer", "Bearer ", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0", basic(""), basic("0123456789abcdeX"), "Basic !!!", "Digest x", "Bearer " + "x" * 5000):
            for where in ("/", "/metrics", "/api/status", "/events", "/page.js"):
                status, headers, body = ask(where, login, Accept_Encoding="gzip")
                self.assertEqual(status, 401, f"{login} {where}")
                self.assertIn("Basic realm", headers["WWW-Authenticate"])
                self.assertNotIn(b"gw", body)
        for login in ("Bearer 0123456789abcdef", basic("0123456789abcdef")):
            self.assertEqual(ask("/", login, **{"Accept-Encoding": "gzip", "Host": "gw.example"})[0], 200)
            self.assertEqual(json.loads(ask("/api/status", login)[2])["gateway"], "gw")
            self.assertIn(b"millrace_observe_refused_total 50", ask("/metrics", login)[2])
            self.assertIn(b"event: state", ask("/events", login)[2])
        token.write_text("another one, and longer\n")
        self.assertEqual((ask("/metrics", "Bearer 0123456789abcdef")[0], ask("/metrics", basic("another one, and longer"))[0]), (401, 200))
        token.write_text("short")
        self.assertEqual(ask("/metrics", "Bearer short")[0], 401)
        done = self.command("check")
        self.assertRegex(done.stdout + done.stderr, r"\[observe\]: token_file: .*16 characters")
        with socket.create_connection(("127.0.0.1", self.observe)) as plain:
            plain.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            plain.settimeout(10)
            self.assertNotIn(b"millrace", plain.recv(1000))
        self.assertIsNone(gateway.process.poll())

    def test_elsewhere_by_tls_and_a_login_of_the_users_file(self):
        tls, users = self.tls(), self.folder / "operators"

        def passwd(user, password, *more):
            done = subprocess.run([str(BUILD / "millrace"), "passwd", *more, str(users), user], input=password + "\n", text=True, capture_output=True, timeout=20)
            self.assertEqual(done.returncode, 0, done.stderr)
        passwd("anna", "geheim: mit Doppelpunkt")
        passwd("bert", "0123456789abcdef")
        before = users.read_text()
        done = subprocess.run([str(BUILD / "millrace"), "passwd", str(users), "carl"], input="sesame\n", text=True, capture_output=True, timeout=20, restore_signals=False,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16)))
        self.assertEqual((done.returncode, done.stderr), (74, f"write {users}.new: File too large\n"))
        self.assertEqual((users.read_text(), Path(f"{users}.new").exists()), (before, False))
        for user in ("a:b", "", "a\nb"):  # before the password is asked for
            done = subprocess.run([str(BUILD / "millrace"), "passwd", str(users), user], stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=20)
            self.assertEqual((done.returncode, done.stderr.split(" of")[0]), (64, "a user's name has 1 to 256 bytes"), user)
        self.south, self.north = self.broker(), self.broker()
        path = self.config(self.south.port, self.north.port, gateway=TRUSTED)
        plain = path.read_text()
        path.write_text(plain + f'users_file = "{users}"\n')  # on loopback, too
        done = self.command("check")
        self.assertEqual(done.returncode, 78, done.stdout)
        self.assertIn("a password in clear words can be read on the way", done.stdout + done.stderr)
        path.write_text(plain.replace(f"127.0.0.1:{self.observe}", f"0.0.0.0:{self.observe}") +
                        f'tls_cert = "{tls}/server.pem"\ntls_key_file = "{tls}/server.key"\nusers_file = "{users}"\npage = true\n')
        done = self.command("check")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        gateway = self.gateway(path, wait=False)
        trusted = ssl.create_default_context(cafile=tls / "ca.pem")

        def ask(where, user=None, password="", **more):
            login = {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()} if user is not None else {}
            try:
                with urllib.request.urlopen(urllib.request.Request(f"https://127.0.0.1:{self.observe}{where}", headers={**login, **more}), timeout=10, context=trusted) as answer:
                    return answer.status, answer.headers, answer.read()
            except urllib.error.HTTPError as error:
                return error.code, error.headers, error.read()
            except OSError:
                return None, None, None
        wait_for(lambda: ask("/healthz")[0] == 200 or gateway.process.poll() is not None, "it answers, and for health it wants nothing")
        status, headers, body = ask("/metrics")
        self.assertEqual((status, headers["WWW-Authenticate"]), (401, 'Basic realm="millrace", charset="UTF-8"'))
        self.assertEqual(ask("/metrics", Authorization="Bearer 0123456789abcdef")[0], 401)
        for user, password in (("anna", "geheim: mit Doppelpunkt"), ("bert", "0123456789abcdef")):
            for where in ("/", "/metrics", "/api/status", "/page.js"):
                self.assertEqual(ask(where, user, password, **{"Accept-Encoding": "gzip"})[0], 200, f"{user} {where}")
        begin = time.monotonic()
        for _ in range(20):
            self.assertEqual(ask("/api/status", "anna", "geheim: mit Doppelpunkt")[0], 200)
        self.assertLess(time.monotonic() - begin, 10)  # remembered: none of them waits for a check
        # Whoever guesses soon waits; who is remembered does not, though he comes from the same place.
        tries = [ask("/api/status", user, "wrong") for user in ("anna", "nobody", "", "bert") * 6]
        told = [status for status, _, _ in tries]
        self.assertEqual((set(told), told[:9]), ({401, 429}, [401] * 9))
        self.assertEqual({headers["Retry-After"] for status, headers, _ in tries if status == 429}, {"10"})
        self.assertEqual(ask("/api/status", "anna", "geheim: mit Doppelpunkt")[0], 200)
        self.assertIn('a wrong password, or no user: "nobody" from 127.0.0.1', gateway.text())
        self.assertNotIn("geheim", gateway.text())
        # Who is taken out is out at once.
        passwd("anna", "", "--delete")
        self.assertIn(ask("/api/status", "anna", "geheim: mit Doppelpunkt")[0], (401, 429))
        self.assertEqual(ask("/api/status", "bert", "0123456789abcdef")[0], 200)
        self.assertEqual(ask("/metrics", "bert", "0123456789abcdef")[2].count(b"\nmillrace_observe_refused_total "), 1)

    def test_where_there_is_no_page(self):
        self.start(observe="page = false\n")
        self.assertEqual(self.ask("/", Accept_Encoding="gzip")[0], 404)
        self.assertEqual((self.ask("/events")[0], self.ask("/api/status")[0], self.ask("/metrics")[0]), (404, 404, 200))
        text = (self.folder / "millrace.toml").read_text()
        elsewhere = self.folder / "elsewhere.toml"
        elsewhere.write_text(text.replace("127.0.0.1:" + str(self.observe), "0.0.0.0:" + str(self.observe)).replace("page = false", "page = true"))
        done = self.command("check", config=elsewhere)
        self.assertEqual(done.returncode, 78, done.stdout + done.stderr)
        self.assertRegex(done.stdout + done.stderr, r"elsewhere\.toml:\d+:\d+: .*beyond this machine it needs tls_cert.*ssh -L 9464:127\.0\.0\.1:9464 HOST")
        elsewhere.write_text(elsewhere.read_text().replace("page = true", ""))
        self.assertNotIn("beyond this machine", self.command("check", config=elsewhere).stderr)
        self.processes[-1].stop()
        self.gateway(elsewhere)
        self.assertEqual((self.ask("/", Accept_Encoding="gzip")[0], self.ask("/metrics")[0]), (404, 200))


class WithBrowser(Site):
    def setUp(self):
        super().setUp()
        self.browser = None

    def tearDown(self):
        if self.browser:
            self.browser.close()
        super().tearDown()

    def start(self, logmore="", more="", **looks):
        self.south, self.north = self.broker(), self.broker()
        self.file = self.config(self.south.port, self.north.port, gateway=TRUSTED, logmore=logmore, more=more)
        self.daemon = self.gateway(self.file)
        wait_for(lambda: self.status()["inputs"][0]["healthy"], "it has subscribed")
        self.browser = browser.Browser(**looks)
        self.browser.open(f"http://127.0.0.1:{self.observe}/")
        wait_for(lambda: self.browser.text("#link") == "live", "the page is live")

    def agree(self, what, at_least=16):
        """Every number on the page is the one of /metrics."""
        def differences():
            shown, there = self.browser.figures(), series(self.http("/metrics"))
            if len(shown) < at_least:
                return [("so few are shown", len(shown), at_least), *shown]
            return [(name, value, there.get(name)) for name, value in shown if value != there.get(name, 0)]
        try:
            wait_for(lambda: not differences(), what, 12)
        except AssertionError:
            self.fail(f"{what}: {differences()}")


@unittest.skipIf(browser.why_not(), browser.why_not())
class InABrowser(WithBrowser):
    def test_an_outage_and_its_end_number_by_number(self):
        self.start()
        b = self.browser
        wait_for(lambda: b.text("#verdict-words") == "All is well", "all is well")
        for i in range(20):
            self.publish(self.south.port, f"tele/press-{i % 4}/SENSOR", json.dumps({"value": i}))
        wait_for(lambda: self.metric("millrace_uplink_records_total") == 20, "delivered")
        self.agree("before the outage")
        self.north.stop(signal.SIGKILL)
        for i in range(15):
            self.publish(self.south.port, f"tele/press-{i % 4}/SENSOR", json.dumps({"value": i}))
        wait_for(lambda: b.text("#verdict-words") == "1 thing is wrong", "it is told")
        fault = b.text("#faults li")
        self.assertRegex(fault, r"uplink central: ")
        self.assertIn("Next: see that the other side runs", fault)
        self.assertRegex(fault, r"Since .*\(\d")
        wait_for(lambda: self.metric("millrace_uplink_backlog_records") == 15, "all waits")
        self.agree("in the outage")
        self.assertEqual(b.text("#tile-waiting .big"), "15")
        self.assertRegex(b.run("return document.title"), r"^\(1\) gw ")
        self.publish(self.south.port, "tele/press-1/SENSOR", '<img src=x onerror="window.errors.push(1)">{{')
        self.broker(self.north.port)
        wait_for(lambda: self.metric("millrace_uplink_backlog_records") == 0, "delivered", 30)
        wait_for(lambda: "could not be read" in b.text("#faults"), "the unreadable one is told")
        self.agree("at its end")
        b.run("document.getElementById('letters-card').scrollIntoView()")
        wait_for(lambda: "<img src=x onerror" in b.text("#letters"), "the dead letter is shown as text")
        self.assertEqual(b.run("return document.querySelectorAll('#letters img, #faults img').length"), 0)
        b.run("document.getElementById('devices-card').scrollIntoView()")
        wait_for(lambda: re.search(r"press-3\s.*value 11\b", b.text("#devices"), re.S), "latest values: " + b.text("#devices"))
        self.assertEqual(b.complaints(), [])
        # The notes would have told: what the policy forbids is forbidden, and seen.
        b.run("const i = document.createElement('img'); i.src = 'http://127.0.0.1:1/x.png'; document.body.append(i)")
        wait_for(lambda: any("img-src" in one for one in b.complaints()), "a violation is seen")

    def test_values_have_all_their_digits_and_devices_of_one_name_a_chip_each(self):
        self.start(more='''  [[inputs.mqtt.routes]]
  topic = "site/{place}/{device}"
  tags = ["place"]
  metrics = { energy = "energy", power = "power", a_name_that_its_vendor_made_long = "note" }
''')
        b = self.browser
        for place, payload in (("north", '{"energy": 123456789.12, "power": 21.299999237060547, "note": "a text of a certain length, which says something"}'), ("south", '{"energy": 9007199254740993, "power": -0.1}')):
            self.publish(self.south.port, f"site/{place}/meter", payload)
        b.run("document.getElementById('devices-card').scrollIntoView()")
        wait_for(lambda: b.text("#devices .chip") and len(b.run("return document.querySelectorAll('#devices .chip')")) == 5, "five values: " + b.text("#devices"))
        chips = b.run("return [...document.querySelectorAll('#devices .chip')].map(e => e.innerText)")
        self.assertEqual(sorted(chips)[1:], ["energy place=north 123456789.12", "energy place=south 9007199254740993", "power place=north 21.3", "power place=south -0.1"])
        for width in (1280, 390):
            b.look_like(width, 900, phone=width == 390)
            beyond = b.run("const card = document.querySelector('#devices').parentElement.getBoundingClientRect().right;"
                           "return [...document.querySelectorAll('#devices .chip')].filter(e => e.getBoundingClientRect().right > card + 1).length")
            self.assertEqual(beyond, 0, f"cut at {width}")
        self.assertEqual(b.complaints(), [])

    def test_alarms_are_there_and_no_name_turns_the_line_behind_it(self):
        port = free_port()
        self.start(more=ENDPOINT % port)
        b = self.browser
        self.publish(port, "field/press-1", '{"value": 1}', extra=("-i", "<i>press-1"))
        self.publish(self.south.port, "tele/abc\u202edef/SENSOR", '{"value": 1}')
        b.run("document.getElementById('alarms-card').scrollIntoView()")
        wait_for(lambda: "<i>press-1" in b.text("#alarms"), "who connected: " + b.text("#alarms"), 20)
        self.assertEqual(b.run("return document.querySelectorAll('#alarms i').length"), 0)
        self.assertIn("as far as it is still in the log", b.text("#alarms-more"))
        b.run("document.getElementById('devices-card').scrollIntoView()")
        wait_for(lambda: "abc\\u202edef" in b.text("#devices"), "its mark is seen: " + b.text("#devices"))
        self.assertNotIn("\u202e", b.run("return document.body.innerText"))
        self.assertEqual((b.unnamed(), b.complaints()), ([], []))

    def test_two_of_one_name_stay_two(self):
        """Certificates of one file may have one subject: the page shows each of them once, however long it is open."""
        old = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null", "-days", "1", "-subj", "/CN=old"],
                             cwd=self.folder, capture_output=True, text=True, check=True).stdout
        (self.folder / "cas.pem").write_text(old + old)
        self.start(more=f"""
[[uplinks.mqtt]]
name = "second"
servers = ["mqtts://127.0.0.1:{free_port()}"]
tls_ca = "{self.folder}/cas.pem"
""")
        b = self.browser
        shown = "return [...document.querySelectorAll('#faults li')].filter(e => e.innerText.includes('CN=old')).length"
        wait_for(lambda: b.run(shown) == 2, "both are told: " + b.text("#faults"), 20)
        for _ in range(3):
            at = b.run("return document.documentElement.dataset.at")
            wait_for(lambda: b.run("return document.documentElement.dataset.at") != at, "it looks again")
        self.assertEqual(b.run(shown), 2)

    def test_it_says_when_nobody_answers_and_comes_back(self):
        self.start()
        b = self.browser
        self.daemon.stop(signal.SIGKILL)
        wait_for(lambda: b.text("#link").startswith("no answer since"), "it is told", 15)
        self.assertIn("stale", b.run("return document.body.className"))
        self.gateway(self.file)
        wait_for(lambda: b.text("#link") == "live", "it is back", 20)
        self.agree("after a restart", 14)

    def test_two_tabs_have_one_stream_and_the_second_takes_over(self):
        self.start()
        b = self.browser
        first = b.new_tab()
        b.open(f"http://localhost:{self.observe}/")  # another origin: a stream of its own
        wait_for(lambda: self.metric("millrace_page_streams") == 2, "two origins, two streams")
        b.open(f"http://127.0.0.1:{self.observe}/")
        wait_for(lambda: b.text("#link") == "live", "it hears from the first")
        wait_for(lambda: self.metric("millrace_page_streams") == 1, "one stream for both")
        b.close_tab(first)
        before = b.run("return document.documentElement.dataset.at")
        wait_for(lambda: self.metric("millrace_page_streams") == 1 and b.run("return document.documentElement.dataset.at") > before, "it has the stream now", 15)
        self.assertEqual(b.complaints(), [])

    def test_a_keyboard_is_enough(self):
        from selenium.webdriver.common.keys import Keys
        self.start()
        b = self.browser
        for device in ("press-1", "press-2", "oven-1"):
            self.publish(self.south.port, f"tele/{device}/SENSOR", '{"value": 1}')
        focus = "const a = document.activeElement; return a.id || a.className || a.getAttribute('href') || a.tagName"
        seen = []
        for _ in range(20):
            b.press(Keys.TAB)
            seen.append(b.run(focus))
        for wanted in ("skip", "theme", "show-quarter", "show-day", "when", "part", "sort"):
            self.assertIn(wanted, seen)
        self.assertEqual(b.unnamed(), [])
        b.run("document.getElementById('theme').focus()")
        b.press("t")
        self.assertEqual(b.run("return document.documentElement.dataset.theme"), "light")
        b.press("t")
        self.assertEqual(b.run("return document.documentElement.dataset.theme"), "dark")
        b.press("/")
        self.assertEqual(b.run(focus), "part")
        b.press("oven")
        wait_for(lambda: "1 of 3" in b.text("#devices-more"), "one fits: " + b.text("#devices-more"))
        self.assertNotIn("press-1", b.text("#devices"))
        wait_for(lambda: b.text("#moment") != "", "the picture is there")
        b.run("document.getElementById('when').focus()")
        before = b.text("#moment")
        b.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
        self.assertNotEqual(b.text("#moment"), before)
        self.assertEqual(b.run("return document.getElementById('when').getAttribute('aria-valuetext')"), b.text("#moment"))
        b.run("document.getElementById('show-day').focus()")
        b.press(Keys.ENTER)
        self.assertEqual(b.run("return document.getElementById('show-day').getAttribute('aria-pressed')"), "true")
        self.assertEqual(b.complaints(), [])

    def test_on_a_phone_nothing_is_cut_off(self):
        self.start(width=360, height=740, phone=True, colours="dark")
        self.publish(self.south.port, "tele/press-with-a-very-long-name-0123456789-0123456789-0123456789/SENSOR", '{"value": 1}', "{{")
        b = self.browser
        b.run("document.getElementById('devices-card').scrollIntoView()")
        wait_for(lambda: "press-with" in b.text("#devices"), "it is there")
        self.assertLessEqual(b.run("return document.documentElement.scrollWidth"), 360)
        self.assertEqual(b.run("return getComputedStyle(document.body).backgroundColor"), "rgb(13, 19, 23)")
        self.assertEqual(b.complaints(), [])


PLANT = """
[gateway]
name = "pump-station-7"
runtime_dir = "@run@"
clock = "trust"
[log]
path = "@log@"
commit_interval = "200ms"
[[inputs.mqtt]]
name = "hall"
servers = ["mqtt://127.0.0.1:@devices@"]
[[inputs.mqtt.routes]]
topic = "plant/{line}/{device}/telemetry"
tags = ["line"]
metrics = { temperature = { path = "t", unit = "Cel" }, pressure = { path = "p", unit = "bar" } }
[[windows]]
name = "ten_seconds"
size = "10s"
[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://127.0.0.1:@central@"]
[[uplinks.mqtt]]
name = "history"
servers = ["mqtt://127.0.0.1:@history@"]
drain = { lanes = ["window", "alarm"] }
[observe]
listen = "127.0.0.1:@observe@"
silent_after = "20s"
"""


@unittest.skipUnless(os.environ.get("MILLRACE_SCREENSHOTS"), "MILLRACE_SCREENSHOTS=FOLDER")
class Pictures(WithBrowser):
    """Of a plant with a broker that is away and a device that is silent: light, dark, phone."""

    def test_light_dark_phone(self):
        import math
        import paho.mqtt.client as mqtt
        folder = Path(os.environ["MILLRACE_SCREENSHOTS"])
        south, north, history = self.broker(), self.broker(), self.broker()
        self.gateway(self.configure(PLANT, devices=south.port, central=north.port, history=history.port))
        client = mqtt.Client("plant", protocol=mqtt.MQTTv311)
        client.connect("127.0.0.1", south.port)
        client.loop_start()

        def go_on(seconds, silent=()):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                for i in range(12):
                    if i not in silent:
                        angle = time.monotonic() / 60 + i
                        client.publish(f"plant/{'ab'[i % 2]}/press-{i + 1}/telemetry", json.dumps({"t": round(61 + 4 * math.sin(angle), 2), "p": round(4 + math.cos(angle) / 3, 3)}), qos=1)
                time.sleep(0.25 + 0.05 * math.sin(time.monotonic() / 20))
        long = float(os.environ.get("MILLRACE_SCREENSHOT_SECONDS", 60))
        go_on(long)
        client.publish("plant/a/press-3/telemetry", '{"t": "sensor fault", "p": 4.1}', qos=1)
        north.stop(signal.SIGKILL)
        go_on(long / 2)
        north = self.broker(north.port)
        go_on(long, silent={6})
        north.stop(signal.SIGKILL)
        go_on(max(25, long / 2), silent={6})
        for name, look in {"light": (1180, 800, "light", False), "dark": (1180, 800, "dark", False), "phone": (390, 844, "light", True)}.items():
            self.browser = browser.Browser(*look)
            self.browser.open(f"http://127.0.0.1:{self.observe}/")
            wait_for(lambda: self.browser.text("#link") == "live", "live")
            for card in ("devices-card", "letters-card"):
                self.browser.run("document.getElementById(arguments[0]).scrollIntoView()", card)
                wait_for(lambda: len(self.browser.text(f"#{card} tbody")) > 20, card)
            self.browser.run("window.scrollTo(0, 0)")
            go_on(2, silent={6})
            self.browser.picture(folder / f"page-{name}.png", 1700 if name != "phone" else 1500)
            self.assertEqual(self.browser.complaints(), [])
            self.browser.close()
            self.browser = None
        client.loop_stop()


class Costs(OnTheWire):
    """In `full`: what it costs."""

    def cpu(self, gateway):
        fields = Path(f"/proc/{gateway.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def test_200_tabs_cost_less_than_a_hundredth_of_a_core(self):
        seconds = 20
        gateway = self.start(observe="page_streams = 200\n")
        begin = self.cpu(gateway)
        time.sleep(seconds)
        alone = self.cpu(gateway) - begin
        streams = []
        for _ in range(200):  # one after the other: more than 16 at once come again, as a browser does
            streams.append(Stream(self.observe))
            self.assertTrue(streams[-1].head().startswith("HTTP/1.1 200 "))
            self.assertTrue(streams[-1].event())
        self.assertEqual(self.metric("millrace_page_streams"), 200)
        import threading
        stop = threading.Event()
        counts = [0] * len(streams)

        def read_all():
            import selectors
            selector = selectors.DefaultSelector()
            for i, one in enumerate(streams):
                one.socket.setblocking(False)
                selector.register(one.socket, selectors.EVENT_READ, i)
            while not stop.is_set():
                for key, _ in selector.select(0.2):
                    counts[key.data] += key.fileobj.recv(1 << 20).count(b"event: state")
        reader = threading.Thread(target=read_all)
        reader.start()
        begin = self.cpu(gateway)
        time.sleep(seconds)
        share = (self.cpu(gateway) - begin - alone) / seconds
        stop.set()
        reader.join()
        self.assertGreater(min(counts), seconds / 2)  # each was served
        print(f"200 tabs: {100 * share:.2f} % of a core beyond {100 * alone / seconds:.2f} % without them", file=sys.stderr)
        self.assertLess(share, float(os.environ.get("MILLRACE_TABS_SHARE", 0.01)))

    def test_who_does_not_read_is_dropped_and_costs_nothing(self):
        gateway = self.start(observe="page_streams = 8\n")
        before = self.metric("process_resident_memory_bytes")
        deaf = [Stream(self.observe, receive_buffer=4096) for _ in range(7)]
        listener = Stream(self.observe)
        listener.head()
        wait_for(lambda: listener.event() and self.metric("millrace_page_streams_dropped") == 7, "they are dropped", 60)
        self.assertEqual(self.metric("millrace_page_streams"), 1)
        sanitized = b"san.so" in subprocess.run(["ldd", BUILD / "millrace"], capture_output=True).stdout  # it keeps what is freed
        self.assertLess(self.metric("process_resident_memory_bytes") - before, 64 << 20 if sanitized else 4 << 20)
        for one in deaf:
            one.close()
        self.assertIsNone(gateway.process.poll())

    def test_5000_devices(self):
        import paho.mqtt.client as mqtt
        self.start(observe="devices_max = 5000\n")
        client = mqtt.Client("many", protocol=mqtt.MQTTv311)
        client.max_inflight_messages_set(500)
        client.connect("127.0.0.1", self.south.port)
        client.loop_start()

        def speak(numbers):
            sent = self.metric("millrace_input_payloads_total")
            last = None
            for i in numbers:
                last = client.publish(f"tele/device-{i:05}/SENSOR", '{"value": 1}', qos=1)
            last.wait_for_publish(60)
            wait_for(lambda: self.metric("millrace_input_payloads_total") == sent + len(numbers), "all came", 60)

        def scrape():
            times = []
            for _ in range(9):
                begin = time.monotonic()
                text = self.http("/metrics")
                times.append(time.monotonic() - begin)
                time.sleep(0.02)  # a scrape is fresh for 10 ms
            return sorted(times)[4], len(text)
        speak(range(5000))
        self.assertEqual(self.metric("millrace_input_devices"), 5000)
        seconds, size = scrape()
        resident = self.metric("process_resident_memory_bytes")
        speak(range(5000, 15000))
        self.assertEqual((self.metric("millrace_input_devices"), self.metric("millrace_input_unwatched_messages")), (5000, 10000))
        seconds_beyond, size_beyond = scrape()
        grown = self.metric("process_resident_memory_bytes") - resident
        begin = time.monotonic()
        devices = json.loads(self.ask("/api/devices?max=500&sort=age")[2])
        listed = time.monotonic() - begin
        print(f"5,000 devices: a scrape {1000 * seconds:.1f} ms, {size} bytes; with 15,000 {1000 * seconds_beyond:.1f} ms, {size_beyond} bytes, "
              f"{grown / 1e6:.1f} MB more; 500 devices listed in {1000 * listed:.0f} ms", file=sys.stderr)
        self.assertLess(max(seconds, seconds_beyond), 0.05)
        self.assertLess(max(size, size_beyond), 1_000_000)
        self.assertLess(abs(size_beyond - size), 500)  # digits, not names
        self.assertEqual(devices["list"]["fitting"], 5000)
        client.loop_stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
