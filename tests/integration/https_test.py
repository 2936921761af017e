#!/usr/bin/python3
"""The HTTPS uplink on real servers: InfluxDB, VictoriaMetrics, QuestDB, ClickHouse and kinesalite through outages, kills and every sort of refusal; TLS
with a CA of the test's own; and a server that lies in every way there is."""
import gzip
import json
import os
import random
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
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "packaging"))
import north
import read_batch
import zstandard
from north import North
from testsite import BUILD, ROOT, Process, serve_each, wait_for


class Outages(North):
    """An outage and kills -9 of the gateway and the server, under load: every reading accounted for at the far side."""

    def outage_and_kills(self, kind, kills_of_server=True, doubles=0):
        kills, seed = int(os.environ.get("MILLRACE_KILLS", "6")), int(os.environ.get("MILLRACE_SEED", time.time_ns() % 1_000_000))
        rng = random.Random(seed)
        server = self.server(kind)
        gateway = self.start(server.url, kind.config)
        publisher = self.pour_through_an_outage(server)
        killed = {"gateway": 0, "server": 0}
        for _ in range(kills):
            time.sleep(rng.uniform(0.1, 1.2))  # the random moment is the point
            who = rng.choice(("gateway", "gateway", "server", "both")) if kills_of_server else "gateway"
            if who != "server":
                gateway.stop(signal.SIGKILL)
                killed["gateway"] += 1
            if who != "gateway":
                server.stop(signal.SIGKILL)
                killed["server"] += 1
                server.start()
            if who != "server":
                gateway = self.gateway(self.folder / "millrace.toml")
        answer = self.poured(publisher)
        self.drained(120)
        found, doubled = self.account(server, answer["through"], doubles)
        print(f"   {kind.__name__}: an outage, {killed['gateway']} kills of the gateway, {killed['server']} of the server (seed {seed}): "
              f"{answer['acknowledged']} acknowledged, {found} there, 0 missing, {doubled} doubled", file=sys.stderr)


class Stored(Outages):
    def test_influxdb(self):
        self.outage_and_kills(north.Influx)

    def test_victoria_metrics(self):
        # It answers before its own disk has it: what a kill of it loses is its own.
        self.outage_and_kills(north.VictoriaMetrics, kills_of_server=False, doubles=1_000_000)

    def test_clickhouse(self):
        self.outage_and_kills(north.ClickHouse, doubles=1_000_000)


class StoredMore(Outages):
    def test_questdb(self):
        self.outage_and_kills(north.QuestDb)


class Answers(North):
    """What a real server refuses, and what happens: the table of packaging/docs/https.md."""

    def blocked(self, words):
        wait_for(lambda: self.metric("millrace_uplink_blocked") == 1, "blocked", 30)
        wait_for(lambda: words in (self.folder / "gateway.log").read_text(), f"{words!r} is said", 10)
        self.assertEqual(self.metric("millrace_uplink_refused_records_total"), 0)

    def refused(self, count, words):
        self.drained()
        self.assertEqual(self.metric("millrace_uplink_refused_records_total"), count)
        wait_for(lambda: self.command("dlq", "ls").stdout.count(words) == count, f"{words!r} in the dead lane", 20)

    def test_influxdb_a_line_of_another_type(self):
        server = self.server(north.Influx)
        server.query("ALTER RETENTION POLICY autogen ON plant DURATION 17520h")
        ask = north.ask(server.url + "/write?db=plant", body='odd,device=d,gateway=gw value="text" 1790000000000000000')
        self.assertEqual(ask[0], 204)
        self.start(server.url, north.Influx.config)
        self.publish(300, "--connections", 3)
        self.say("d", "odd", 1)        # the field is a text there
        self.say("old", "value", 7, ts=1700000000)  # beyond the retention policy
        self.publish(300, "--connections", 3, "--prefix", "after")
        self.drained()
        self.assertEqual(self.metric("millrace_uplink_refused_records_total"), 2)
        letters = self.command("dlq", "ls").stdout
        self.assertIn("field type conflict", letters)
        self.assertIn("retention policy", letters)
        held = server.readings()
        for device in ("dev-0", "dev-1", "dev-2", "after-0", "after-1", "after-2"):
            self.assertEqual(sorted(held[device]), list(range(1, 101)))

    def test_influxdb_no_database_and_rights(self):
        server = self.server(north.Influx, "auth-enabled = true")
        # With authentication on, the first user is made without.
        north.ask(server.url + "/query?q=" + north.urllib.parse.quote("CREATE USER gw WITH PASSWORD 'geheim' WITH ALL PRIVILEGES"), body="")
        secret = self.folder / "secret"
        secret.write_text("falsch\n")
        secret.chmod(0o600)
        login = f'username = "gw"\npassword_file = "{secret}"\n'
        gateway = self.start(server.url, login + north.Influx.config.replace('"plant"', '"nowhere"'))
        self.publish(50)
        self.blocked("authorization failed")
        secret.write_text("geheim\n")  # read anew for each request; a restart saves the half minute of the breaker
        gateway.stop()
        gateway = self.gateway(self.folder / "millrace.toml")
        self.blocked("database not found")
        self.assertEqual(self.metric("millrace_uplink_backlog_records"), 50)
        self.assertNotIn("geheim", gateway.text())
        north.ask(server.url + "/query?u=gw&p=geheim&q=CREATE%20DATABASE%20nowhere", body="")
        self.drained(60)

    def test_influxdb_a_request_too_large(self):
        server = self.server(north.Influx, "max-body-size = 3000")
        self.start(server.url, north.Influx.config)
        self.publish(2000)
        self.say("d", "large", "x" * 4000)
        self.publish(100, "--prefix", "after")
        self.refused(1, "Too Large")
        held = server.readings()
        self.assertEqual((sorted(held["dev-0"]), sorted(held["after-0"])), (list(range(1, 2001)), list(range(1, 101))))

    def test_questdb_a_line_of_another_type(self):
        """It takes a request whole or not at all, and says which line it does not take."""
        server = self.server(north.QuestDb)
        server.query("CREATE TABLE odd (timestamp TIMESTAMP, device SYMBOL, value BOOLEAN) TIMESTAMP(timestamp) PARTITION BY DAY WAL")
        gateway = self.start(server.url, 'dialect = "influxdb"\norg = "works"\nbucket = "plant"\n')  # it speaks as version 2, too
        self.publish(300, "--connections", 3)
        self.say("d", "odd", 1)
        self.publish(300, "--connections", 3, "--prefix", "after")
        self.refused(1, "cast error")
        self.assertEqual(server.readings(), {f"{who}-{n}": list(range(1, 101)) for who in ("dev", "after") for n in range(3)})
        gateway.stop()
        # A table of another type altogether: nothing of what we have is at fault.
        self.start(server.url, server.config + 'measurement = "odd"\n', self.port)
        self.publish(50, "--prefix", "more")
        self.blocked("takes no record of lane raw")
        self.assertEqual(self.metric("millrace_uplink_backlog_records"), 50)

    def test_influxdb_a_full_database_blocks(self):
        server = self.server(north.Influx, "max-series-per-database = 3")
        self.start(server.url, north.Influx.config)
        self.publish(50, "--connections", 5)
        self.blocked("max-series-per-database limit exceeded")

    def test_clickhouse_a_row_that_is_none(self):
        server = self.server(north.ClickHouse)
        server.query("ALTER TABLE readings MODIFY COLUMN text Date")  # an honest text is no date
        self.start(server.url, north.ClickHouse.config)
        self.publish(300, "--connections", 3)
        self.say("d", "words", "no date")
        self.publish(300, "--connections", 3, "--prefix", "after")
        self.refused(2, "HTTP 500: Code: ")  # and the record that tells of the loss, which has words, too
        held = server.readings()
        for device in ("dev-0", "dev-1", "dev-2", "after-0", "after-1", "after-2"):
            self.assertEqual(sorted(held[device]), list(range(1, 101)))

    def test_clickhouse_values_of_every_sort(self):
        server = self.server(north.ClickHouse)
        self.start(server.url, north.ClickHouse.config)
        for metric, value in (("f", 1.5), ("i", 9007199254740993), ("b", True), ("t", "say \"a\\b\"\n\u00e9")):
            self.say("d", metric, value)
        self.drained()
        rows = [json.loads(line) for line in server.query("SELECT metric, value, toString(integer) AS integer, text, tag_keys, gateway, epoch, sequence, kind, lane, "
                                                          "quality, time_us FROM readings ORDER BY sequence FORMAT JSONEachRow").splitlines()]
        self.assertEqual([(r["metric"], r["value"], r["integer"], r["text"]) for r in rows],
                         [("f", 1.5, "0", ""), ("i", 9007199254740992, "9007199254740993", ""), ("b", 1, "0", ""), ("t", 0, "0", "say \"a\\b\"\n\u00e9")])
        self.assertEqual({(r["gateway"], r["kind"], r["lane"], r["quality"], r["time_us"]) for r in rows}, {("gw", "reading", "raw", "good", "1790000000000000")})

    def test_clickhouse_no_table_no_column_and_rights(self):
        server = self.server(north.ClickHouse)
        secret = self.folder / "secret"
        secret.write_text("falsch\n")
        secret.chmod(0o600)
        gateway = self.start(server.url, f'username = "gw"\npassword_file = "{secret}"\n' + north.ClickHouse.config.replace('"readings"', '"nowhere"'))
        self.publish(50)
        self.blocked("Code: 193")
        for change, words in ((lambda: secret.write_text("geheim\n"), "Code: 60"),
                              (lambda: server.query("CREATE TABLE nowhere (gateway String, sequence UInt64) ENGINE = MergeTree() ORDER BY sequence"),
                               "Unknown field")):
            gateway.stop()
            change()
            gateway = self.gateway(self.folder / "millrace.toml")
            self.blocked(words)
        server.query("DROP TABLE nowhere")
        server.query("CREATE TABLE nowhere AS readings")
        self.drained(60)
        self.assertEqual(server.query("SELECT count(), uniq(sequence) FROM nowhere"), "50\t50\n")
        gateway.stop()
        secret.write_text("lesen\n")
        self.start(server.url, f'username = "reader"\npassword_file = "{secret}"\n' + north.ClickHouse.config, self.port)
        self.publish(50)
        self.blocked("Code: 164")
        self.assertEqual(self.metric("millrace_uplink_backlog_records"), 50)

    def test_an_answer_that_is_cut_off_after_it_was_stored(self):
        """A proxy hands the request on and keeps the answer: all of it comes again. InfluxDB and QuestDB have each point once, ClickHouse's FINAL each row."""
        for kind, count in ((north.Influx, lambda s: sum(map(len, s.readings().values()))), (north.QuestDb, lambda s: sum(map(len, s.readings().values()))),
                            (north.ClickHouse, lambda s: int(s.query("SELECT count() FROM readings FINAL")))):
            with self.subTest(kind=kind.__name__):
                server = self.server(kind)
                proxy = north.Relay(server.port)
                self.addCleanup(proxy.end)
                gateway = self.start(f"http://127.0.0.1:{proxy.port}", kind.config)
                proxy.cut = 3
                self.publish(400, "--connections", 4)
                self.drained()
                self.assertEqual(proxy.cut, 0)
                self.assertEqual(count(server), 400)
                self.assertEqual(self.metric("millrace_uplink_refused_records_total"), 0)
                gateway.stop()
                self.afresh()


class Liar:
    """A server that answers as `self.say` does: a function of the socket and what came of the request. It is a fake because no real one
    does these things."""

    def __init__(self, buffer=0):
        self.listener, self.say, self.requests, self.stored = socket.create_server(("127.0.0.1", 0)), self.honest, 0, set()
        if buffer:  # of the kernel, for what is not read
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.port = self.listener.getsockname()[1]
        serve_each(self.listener, self.talk)

    def talk(self, client):
        try:
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    more = client.recv(65536)
                    if not more:
                        return
                    head += more
                self.requests += 1
                head, body = head.split(b"\r\n\r\n", 1)
                size = int(re.search(rb"Content-Length: (\d+)", head).group(1)) if b"Content-Length" in head else 0
                if self.say(client, head, body, size) is False:
                    return
        except OSError:
            pass
        finally:
            client.close()

    @staticmethod
    def rest(client, body, size):
        while len(body) < size:
            more = client.recv(1 << 20)
            if not more:
                raise OSError
            body += more
        return body

    def honest(self, client, head, body, size):
        for line in self.rest(client, body, size).splitlines():
            self.stored.add(json.loads(line)["sequence"])
        client.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    def end(self):
        self.listener.close()


class Lies(North):
    """Only an unambiguous success moves the cursor, whatever a server says, and no lie costs memory or another uplink's time."""

    # The sanitizer keeps what was freed, else.
    SPARING = {"ASAN_OPTIONS": "quarantine_size_mb=4:thread_local_quarantine_size_kb=64"}

    def lie(self, name, say, words, seconds=4, uplink="", count=200, buffer=0):
        with self.subTest(lie=name):
            liar = Liar(buffer)
            self.addCleanup(liar.end)
            liar.say = say
            gateway = self.start(f"http://127.0.0.1:{liar.port}", 'dialect = "generic"\n' + uplink, timeout="1s", env=self.SPARING)
            before = self.rss(gateway)
            self.publish(count)
            wait_for(lambda: re.search(words, gateway.text()), f"{words!r}: {gateway.text()[-1500:]}", 30)
            time.sleep(seconds if liar.requests == 0 else 0.5)
            self.assertEqual(self.metric("millrace_uplink_records_total"), 0, name)
            self.assertEqual(self.metric("millrace_uplink_backlog_records"), count, name)
            self.assertEqual(self.metric("millrace_uplink_refused_records_total"), 0, name)
            self.assertLess(self.rss(gateway) - before, 16 << 20, name)
            liar.say = liar.honest
            self.drained(90)
            self.assertEqual(len(liar.stored), count)
            self.assertEqual(gateway.stop(), 0)
            self.afresh()

    @staticmethod
    def rss(gateway):
        pages = Path(f"/proc/{gateway.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def test_what_is_no_success(self):
        def answer(head, rest=b"", ends=False):
            def say(client, _head, body, size):
                Liar.rest(client, body, size)
                client.sendall(head + b"\r\n\r\n" + rest)
                return False if ends else None
            return say

        def mail(client, head, body, size):
            client.sendall(b"220 mail.example ESMTP\r\n")
            return False
        def storm(client, head, body, size):
            Liar.rest(client, body, size)
            while True:
                client.sendall(b"HTTP/1.1 102 Processing\r\n\r\n" * 50)
        for name, say, words in (
            ("a page for people", answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13", b"<html></html>"), "captive portal"),
            ("a redirect", answer(b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\nContent-Length: 0"), "redirects are not followed"),
            ("cut short", answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100", b"{}", ends=True), "closed within the answer|not HTTP"),
            ("without an end", answer(b"HTTP/1.0 200 OK", b"ok", ends=True), "no end of its own"),
            ("two answers", answer(b"HTTP/1.1 204 No Content", b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), "more came than one answer"),
            ("two lengths", answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n", ends=True), "the answer is not HTTP"),
            ("no HTTP", mail, "the answer is not HTTP"),
            ("400 to everything", answer(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2", b"no"), "takes no record of lane raw.*HTTP 400: no"),
            ("413 to everything", answer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0"), "takes no record of lane raw"),
            ("207", answer(b"HTTP/1.1 207 Multi-Status\r\nContent-Length: 2", b"{}"), "not believed: HTTP 207"),
            ("longer than it says", answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2", b"{}{}"), "more came than one answer"),
            ("cut short within its trailers", answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", b"2\r\n{}\r\n0\r\nX: y\r\n", ends=True), "closed within the answer"),
            ("a storm of interim answers", storm, "interim answers without an end"),
            ("429 and nonsense", answer(b"HTTP/1.1 429 Too Many\r\nRetry-After: tomorrow\r\nContent-Length: 0"), "HTTP 429"),
        ):
            self.lie(name, say, words)

    def test_what_is_a_success_in_an_odd_form(self):
        """Each record is there once: nothing of it is asked again, and no body is unpacked that nobody wanted packed."""
        bomb = gzip.compress(bytes(1 << 27))
        for name, before, after, ends in (
            ("chunks and trailers", b"", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2\r\n{}\r\n0\r\nX: y\r\n\r\n", False),
            ("100 and 103 before it", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", False),
            ("closed behind each", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", True),
            ("a bomb", b"", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb, False),
        ):
            with self.subTest(answer=name):
                liar, taken = Liar(), []
                self.addCleanup(liar.end)

                def say(client, head, body, size):
                    client.sendall(before)
                    taken.extend(json.loads(line)["sequence"] for line in Liar.rest(client, body, size).splitlines())
                    client.sendall(after)
                    return False if ends else None
                liar.say = say
                gateway = self.start(f"http://127.0.0.1:{liar.port}", 'dialect = "generic"\n', env=self.SPARING)
                had = self.rss(gateway)
                for batch in range(5):
                    self.publish(40, "--prefix", f"b{batch}")
                    self.drained(30)
                self.assertEqual((len(taken), len(set(taken))), (200, 200))
                self.assertGreater(liar.requests, 4)
                self.assertLess(self.rss(gateway) - had, 16 << 20)
                self.assertEqual(gateway.stop(), 0)
                self.afresh()

    def test_an_answer_before_the_request(self):
        def early(client, head, body, size):
            client.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            time.sleep(0.3)
            return False

        def unasked(client, head, body, size):
            Liar.rest(client, body, size)
            client.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
            time.sleep(0.05)
            client.sendall(b"HTTP/1.1 204 No Content\r\n\r\n" * 10)
        # What a kernel has taken is the server's: more than that is needed to tell.
        self.lie("early", early, "before the request was there", count=3000, buffer=4096)
        self.lie("unasked", unasked, "HTTP 503")

    def test_a_server_that_floods_or_trickles_or_says_nothing(self):
        def heads(client, head, body, size):
            Liar.rest(client, body, size)
            client.sendall(b"HTTP/1.1 200 OK\r\n")
            line = b"X-More: " + b"x" * 8000 + b"\r\n"
            for _ in range(1 << 17):  # a gigabyte, as far as it is taken
                client.sendall(line)

        def body_(client, head, body, size):
            Liar.rest(client, body, size)
            client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(1 << 14):
                client.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")

        def trickle(client, head, body, size):
            Liar.rest(client, body, size)
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
                client.sendall(bytes([byte]))
                time.sleep(0.2)

        def silent(client, head, body, size):
            Liar.rest(client, body, size)
            time.sleep(60)
        self.lie("a gigabyte of heads", heads, "head is too large")
        self.lie("a gigabyte of body", body_, "answer is too large")
        self.lie("a byte each 200 ms", trickle, "did not end in time", uplink='connect_timeout = "2s"')
        self.lie("nothing", silent, "no answer in time")


class Together(North):
    """Two of it beside each other, TLS, and reloads in the middle."""

    def test_tls_with_a_ca_of_our_own(self):
        tls = self.tls()
        server = self.server(north.Influx, f'https-enabled = true\nhttps-certificate = "{tls}/server.pem"\nhttps-private-key = "{tls}/server.key"')
        other = self.folder / "other"
        subprocess.run([ROOT / "packaging" / "test-ca.sh", other], check=True, stdout=subprocess.DEVNULL)
        for ca in ("", f'tls_ca = "{other}/ca.pem"\n'):
            gateway = self.start(server.url, ca + server.config)
            self.publish(20, "--prefix", "refused" if ca else "system")
            wait_for(lambda: "certificate" in gateway.text() and "somebody must act" in gateway.text(), "the reason is named", 20)
            self.assertEqual(self.metric("millrace_uplink_records_total"), 0)
            gateway.stop()
        gateway = self.start(server.url, f'tls_ca = "{tls}/ca.pem"\n' + server.config)
        self.publish(300, "--connections", 3)
        self.drained()
        server.stop(signal.SIGKILL)
        wait_for(lambda: self.publish(10, "--prefix", f"away-{time.monotonic_ns()}") or self.metric("millrace_uplink_up") == 0, "it is seen that it is gone")
        server.start()
        self.drained()
        held = server.readings()
        for n in range(3):
            self.assertEqual(sorted(held[f"dev-{n}"]), list(range(1, 101)))
        self.assertEqual((len(held["system-0"]), len(held["refused-0"])), (20, 20))

    def test_two_uplinks_of_one_host_are_two_people(self):
        """Certificates, tokens and sessions that are resumed are each uplink's own, though all three go to one address."""
        tls, other = self.tls(), self.folder / "other"
        subprocess.run([ROOT / "packaging" / "test-ca.sh", other], check=True, stdout=subprocess.DEVNULL)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls / "server.pem", tls / "server.key")
        context.verify_mode = ssl.CERT_OPTIONAL
        for folder in (tls, other):
            context.load_verify_locations(folder / "ca.pem")
        seen, resumed, taken = set(), set(), {}

        class Server(Liar):
            def talk(self, client):
                try:
                    super().talk(context.wrap_socket(client, server_side=True))
                except OSError:
                    client.close()

        def say(client, head, body, size):
            token = re.search(rb"Authorization: Bearer (\w+)", head).group(1).decode()
            shown = client.getpeercert()
            seen.add((token, shown["serialNumber"] if shown else None))
            if client.session_reused:
                resumed.add(token)
            taken.setdefault(token, []).extend(json.loads(line)["sequence"] for line in Liar.rest(client, body, size).splitlines())
            client.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            return False

        server = Server()
        self.addCleanup(server.end)
        server.say = say
        blocks = []
        for token, folder in (("first", tls), ("second", other), ("third", None)):
            (self.folder / token).write_text(token)
            (self.folder / token).chmod(0o600)
            own = f'tls_cert = "{folder}/client.pem"\ntls_key_file = "{folder}/client.key"\n' if folder else ""
            blocks.append(f'dialect = "generic"\ntls_ca = "{tls}/ca.pem"\ntoken_file = "{self.folder}/{token}"\n{own}')
        head = f'[[uplinks.https]]\nservers = ["https://localhost:{server.port}"]\ninitial_interval = "100ms"\nmax_interval = "1s"\n'
        self.start(f"https://localhost:{server.port}", blocks[0] + "".join(head + f'name = "more{n}"\n' + block for n, block in enumerate(blocks[1:])))
        for batch in range(4):
            self.publish(20, "--prefix", f"b{batch}")
            wait_for(lambda: all(len(set(taken.get(token, []))) == 20 * (batch + 1) for token in ("first", "second", "third")), "all three have it", 30)

        def serial(folder):
            return subprocess.run(["openssl", "x509", "-in", folder / "client.pem", "-noout", "-serial"], check=True, capture_output=True, text=True).stdout.strip().split("=")[1]
        self.assertEqual(seen, {("first", serial(tls)), ("second", serial(other)), ("third", None)})
        self.assertEqual(resumed, {"first", "second", "third"})

    def test_two_uplinks_and_reloads_under_load(self):
        influx, house = self.server(north.Influx), self.server(north.ClickHouse)
        second = f'[[uplinks.https]]\nname = "rows"\nservers = ["{house.url}"]\ninitial_interval = "100ms"\nmax_interval = "1s"\n{house.config}'
        gateway = self.start(influx.url, influx.config + second)
        publisher = Process([str(BUILD / "tests" / "pipelined_publisher"), str(self.port), "--connections", "4", "--rate", "3000", "--count", "24000", "--step",
                             "1000"], self.folder / "publisher.log")
        self.processes.append(publisher)
        good = (self.folder / "millrace.toml").read_text()
        for n in range(8):
            time.sleep(0.7)
            if n == 3:
                house.process.process.send_signal(signal.SIGSTOP)
            if n == 5:
                house.process.process.send_signal(signal.SIGCONT)
            changed = good.replace('send_timeout = "5s"', f'send_timeout = "{5 + n % 3}s"').replace('max_interval = "1s"\ndialect = "clickhouse"', f'max_interval = "{1 + n % 2}s"\ndialect = "clickhouse"')
            (self.folder / "millrace.toml").write_text(changed)
            gateway.process.send_signal(signal.SIGHUP)
        publisher.process.wait(120)
        self.assertEqual(json.loads(publisher.text().splitlines()[-1])["acknowledged"], 24000)
        self.drained(120)
        self.account(influx, [6000] * 4)
        rows = int(house.query("SELECT uniq(gateway, epoch, sequence) FROM readings"))
        self.assertEqual(rows, 24000)
        self.assertEqual(gateway.stop(), 0)
        self.assertNotIn("ERROR", gateway.text())

    def test_a_silent_server_disturbs_nobody(self):
        influx = self.server(north.Influx)
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        second = f'[[uplinks.https]]\nname = "silent"\nservers = ["http://127.0.0.1:{silent.getsockname()[1]}"]\n'
        gateway = self.start(influx.url, influx.config + second)
        self.publish(5000, "--connections", 5)
        wait_for(lambda: self.metric("millrace_uplink_backlog_records", 'uplink="history"') == 0, "the other goes on", 30)
        self.account(influx, [1000] * 5)
        begin = time.monotonic()
        self.assertEqual(gateway.stop(), 0)
        self.assertLess(time.monotonic() - begin, 8)


class FarStub(north.HttpStub):
    """Takes JSON lines a long way off: `delay` seconds before a request is judged, and as long again before its answer is there. Counts how many it has
    at a time; refuses one with `refused` in it; keeps half of one answer to itself, with the connection, once it has several (`halve`); ends without
    a word for any (`dies`)."""

    class Handler(north.HttpStub.Handler):
        def do_HEAD(self):
            self.send_response_only(204)
            self.end_headers()

        def do_POST(self):
            server, body = self.server, self.rfile.read(int(self.headers["Content-Length"]))
            with server.lock:
                server.now += 1
                server.most = max(server.most, server.now)
            try:
                self.judge(server, body)
            except OSError:
                self.close_connection = True  # the gateway was killed
            finally:
                with server.lock:
                    server.now -= 1

        def judge(self, server, body):
            server.open.wait(60)
            if server.dies:
                raise OSError("it is dead")
            time.sleep(server.delay)
            records = [record for record in map(json.loads, body.splitlines()) if record["kind"] == "reading"]
            with server.lock:
                refused = server.refused is not None and server.refused in body
                if not refused:
                    server.records += [(time.monotonic(), record) for record in records]
                half, server.halve = server.halve and server.now >= 3, server.halve and server.now < 3
                if half:
                    server.halved = [record["sequence"] for record in records]
            time.sleep(server.delay)
            if half:
                self.wfile.write(b"HTTP/1.1 20")
                self.close_connection = True
                return
            words = b"not this" if refused else b""
            self.send_response_only(400 if refused else 200)
            self.send_header("Content-Length", str(len(words)))
            self.end_headers()
            self.wfile.write(words)
            if not refused:
                with server.lock:
                    server.answered += [(time.monotonic(), record["sequence"]) for record in records]

    def __init__(self, delay=0.1):
        self.lock, self.open, self.delay, self.now, self.most = threading.Lock(), threading.Event(), delay, 0, 0
        self.refused, self.halve, self.halved, self.records, self.answered, self.dies = None, False, None, [], [], False
        super().__init__(self.Handler)

    def numbers(self):
        with self.lock:
            return [record["sequence"] for _, record in self.records]

    def readings(self):
        held = {}
        with self.lock:
            for _, record in self.records:
                held.setdefault(record["device"], []).append(int(record["value"]))
        return held

    def answered_before(self, moment):
        """All numbers up to this one were answered by then."""
        with self.lock:
            known = {number for when, number in self.answered if when < moment}
        return next(number for number in range(1, len(known) + 2) if number not in known) - 1


class Encrypted(Liar):
    """By TLS, to whoever has a certificate of one of these CAs, or none. Knows of each connection whether its session was resumed and the number of
    the certificate it was shown; answers while `gate` is open; lets in `room` at a time, after a third of a second where that is few, and turns the rest
    away at once."""

    def __init__(self, folder, *cas, room=None):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / "server.pem", folder / "server.key")
        self.context.verify_mode = ssl.CERT_OPTIONAL
        for ca in (folder, *cas):
            self.context.load_verify_locations(ca / "ca.pem")
        self.room, self.turned_away, self.shaken, self.open, self.lock = room, 0, [], set(), threading.Lock()
        self.now, self.most, self.closes, self.gate = 0, 0, False, threading.Event()
        self.gate.set()
        super().__init__()
        self.say = self.late

    def talk(self, client):
        with self.lock:
            full = self.room is not None and len(self.open) >= self.room
            if full:
                self.turned_away += 1
            else:
                self.open.add(client)
        if full:
            return client.close()
        try:
            if self.room is not None:
                time.sleep(0.3)
                client.settimeout(1)  # who rests longer is closed
            inside = self.context.wrap_socket(client, server_side=True)
            with self.lock:
                self.open = self.open - {client} | {inside}
                self.shaken.append((inside.session_reused, (inside.getpeercert() or {}).get("serialNumber")))
            client = inside
            super().talk(inside)
        except OSError:
            client.close()
        finally:
            with self.lock:
                self.open.discard(client)

    def late(self, client, _head, body, size):
        body = self.rest(client, body, size)
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.gate.wait(60)
        time.sleep(0.1)
        with self.lock:
            self.now -= 1
            self.stored |= {json.loads(line)["sequence"] for line in body.splitlines()}
        client.sendall(b"HTTP/1.1 204 No Content\r\n" + (b"Connection: close\r\n" if self.closes else b"") + b"\r\n")
        return False if self.closes else None

    def hang_up(self):
        for one in list(self.open):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Tunnels:
    """A proxy that lets everybody through (CONNECT), and counts them."""

    def __init__(self):
        self.listener, self.asked = socket.create_server(("127.0.0.1", 0)), 0
        self.port = self.listener.getsockname()[1]
        serve_each(self.listener, self.let_through)

    def let_through(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(65536)
        host, port = re.match(rb"CONNECT ([^ :]+):(\d+) ", head).groups()
        server = socket.create_connection((host.decode(), int(port)))
        self.asked += 1
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        back = threading.Thread(target=self.pump, args=(server, client), daemon=True)
        back.start()
        self.pump(client, server)
        back.join()
        client.close()
        server.close()

    @staticmethod
    def pump(source, to):
        try:
            while data := source.recv(65536):
                to.sendall(data)
        except OSError:
            pass
        for one in (source, to):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Connections(North):
    """Several requests on their way at a time, each on a connection of its own."""
    COUNT, MANY = 30_000, ("--connections", 50, "--window", 4)  # small rows: a dozen requests

    def far(self, connections, **how):
        stub = FarStub(**how)
        self.addCleanup(stub.end)
        self.start(stub.url, f'dialect = "generic"\nbatch_size = "4KiB"\nconnections = {connections}\n', timeout="30s")
        return stub

    def gateway_log(self):
        return (self.folder / "gateway.log").read_text()

    def test_as_many_requests_as_connections(self):
        for connections in (1, 4):
            with self.subTest(connections=connections):
                stub = self.far(connections)
                self.publish(self.COUNT, *self.MANY)
                stub.open.set()
                self.drained()
                self.assertEqual(stub.most, connections)
                self.assertEqual(self.metric("millrace_uplink_connections"), connections)
                numbers = stub.numbers()
                self.assertEqual(sorted(numbers), list(range(1, self.COUNT + 1)))
                if connections == 1:
                    self.assertEqual(numbers, sorted(numbers))
                self.assertEqual(self.metric("millrace_uplink_retries_total"), 0)
                self.afresh()

    def test_a_row_that_is_refused_beside_others(self):
        stub = self.far(4)
        stub.refused = b'"odd"'
        self.publish(self.COUNT // 2, *self.MANY)
        self.say("d", "odd", 1)
        self.publish(self.COUNT // 2, *self.MANY, "--prefix", "after")
        stub.open.set()
        self.drained()
        self.assertGreaterEqual(stub.most, 3)
        self.assertEqual(self.metric("millrace_uplink_refused_records_total"), 1)
        self.assertIn("not this", self.command("dlq", "ls").stdout)
        odd = self.COUNT // 2 + 1
        self.assertEqual(sorted(stub.numbers()), [number for number in range(1, self.COUNT + 2) if number != odd])

    def test_one_that_is_cut_in_the_middle_of_an_answer(self):
        stub = self.far(4)
        stub.halve = True
        self.publish(self.COUNT, *self.MANY)
        stub.open.set()
        self.drained()
        numbers = stub.numbers()
        self.assertEqual(sorted(set(numbers)), list(range(1, self.COUNT + 1)))
        doubled = sorted(number for number in set(numbers) if numbers.count(number) > 1)
        self.assertEqual(doubled, sorted(stub.halved))  # it, and none of those beside it
        self.assertEqual(self.metric("millrace_uplink_retries_total"), 1)
        self.assertNotIn("records wait in the log", self.gateway_log())  # no outage

    def test_a_server_that_dies_with_four_on_their_way(self):
        """All four go to the next server, once, and none goes back."""
        first, second = FarStub(), FarStub()
        for stub in (first, second):
            self.addCleanup(stub.end)
        self.start(f'{first.url}", "{second.url}', 'dialect = "generic"\nbatch_size = "4KiB"\nconnections = 4\n', timeout="30s")
        first.open.set()
        self.publish(self.COUNT, *self.MANY)
        self.drained()  # the link is known
        there = self.COUNT
        first.open.clear()
        self.publish(self.COUNT, *self.MANY, "--prefix", "more")
        wait_for(lambda: first.now == 4, "four are on their way")
        first.dies = True
        first.shutdown()
        first.socket.close()
        second.open.set()
        first.open.set()
        self.drained()
        self.assertEqual(sorted(first.numbers()), list(range(1, there + 1)))
        self.assertEqual(sorted(second.numbers()), list(range(there + 1, there + self.COUNT + 1)))
        self.assertGreaterEqual(second.most, 3)
        self.assertEqual(self.gateway_log().count("records wait in the log"), 1)

    def test_reloads_and_an_end_with_four_on_their_way(self):
        """What is on its way has its answers first: nothing is missing, nothing comes twice; and a server that says nothing holds nobody up."""
        stub = self.far(4, delay=0.2)
        gateway, config = self.processes[-1], self.folder / "millrace.toml"
        several = config.read_text()
        alone = several.replace("connections = 4", "connections = 1")
        begin, rest = several.index("[[uplinks.https]]"), several.index("[observe]")
        none = several[:begin] + several[rest:]
        stub.open.set()
        sent = 0

        def on_their_way(prefix):
            self.publish(self.COUNT, *self.MANY, "--prefix", prefix)
            wait_for(lambda: stub.now >= 3, "several are on their way")

        def reload(text):
            config.write_text(text)
            gateway.process.send_signal(signal.SIGHUP)
        on_their_way("one")
        reload(alone)
        self.drained()
        sent += self.COUNT
        self.assertEqual(sorted(stub.numbers()), list(range(1, sent + 1)))
        stub.most = 0
        self.publish(self.COUNT, *self.MANY, "--prefix", "two")
        self.drained()
        sent += self.COUNT
        self.assertEqual(stub.most, 1)
        reload(several)
        on_their_way("three")
        self.assertEqual(gateway.stop(), 0)
        gateway = self.gateway(config)
        self.drained()
        sent += self.COUNT
        self.assertEqual(sorted(stub.numbers()), list(range(1, sent + 1)))
        # The uplink goes while nobody answers; what it left is sent when it is back.
        stub.open.clear()
        on_their_way("four")
        reload(none)
        wait_for(lambda: self.metric("millrace_uplink_connections") == 0, "it is gone", 20)
        stub.dies = True
        stub.open.set()
        wait_for(lambda: stub.now == 0, "they are dealt with")
        stub.dies = False
        reload(several)
        wait_for(lambda: self.metric("millrace_uplink_up") == 1, "it is back")
        self.drained()
        sent += self.COUNT
        self.assertEqual(sorted(stub.numbers()), list(range(1, sent + 1)))
        stub.open.clear()
        on_their_way("five")
        begin = time.monotonic()
        self.assertEqual(gateway.stop(), 0)
        self.assertLess(time.monotonic() - begin, 8)
        self.assertNotIn("ERROR", gateway.text())

    def encrypted(self, *cas, more="", **how):
        server = Encrypted(self.tls(), *cas, **how)
        self.addCleanup(server.end)
        self.start(f"https://localhost:{server.port}", f'tls_ca = "{self.tls()}/ca.pem"\nbatch_size = "4KiB"\nconnections = 4\n{more}', timeout="30s")
        return server

    def test_sessions_of_four_connections(self):
        """Of the four the first shakes hands in full; each other one, and each that comes later, resumes that session: also where the server ends each
        connection with its answer, and through a proxy. Another certificate is shown from the next connection on, and begins a session of its own."""
        tls, other, shown, proxy = self.tls(), self.folder / "other", self.folder / "shown", Tunnels()
        self.addCleanup(proxy.listener.close)
        subprocess.run([ROOT / "packaging" / "test-ca.sh", other], check=True, stdout=subprocess.DEVNULL)
        shown.mkdir()

        def show(folder):
            for name in ("client.key", "client.pem"):
                (shown / "next").write_bytes((folder / name).read_bytes())
                (shown / "next").chmod(0o600)
                (shown / "next").rename(shown / name)

        def serial(folder):
            return subprocess.run(["openssl", "x509", "-in", folder / "client.pem", "-noout", "-serial"], check=True, capture_output=True, text=True).stdout.strip().split("=")[1]
        show(tls)
        server = self.encrypted(other, more=f'tls_cert = "{shown}/client.pem"\ntls_key_file = "{shown}/client.key"\nproxy = "http://127.0.0.1:{proxy.port}"\n')
        sent = 0

        def send(prefix):
            nonlocal sent
            before = len(server.shaken)
            server.gate.clear()
            self.publish(self.COUNT, *self.MANY, "--prefix", prefix)
            server.gate.set()
            self.drained()
            sent += self.COUNT
            self.assertEqual(server.stored, set(range(1, sent + 1)))
            return server.shaken[before:]

        # The first has shaken hands before there is anything to be sent.
        wait_for(lambda: len(server.shaken) == 1, "it is connected")
        self.assertEqual(send("a"), [(True, serial(tls))] * 3)
        self.assertEqual(server.shaken[0], (False, serial(tls)))
        self.assertEqual(server.most, 4)
        self.assertEqual(proxy.asked, 4)
        server.closes = True
        ended = send("b")
        self.assertGreater(len(ended), 8)
        self.assertEqual(set(ended), {(True, serial(tls))})
        self.assertEqual(server.most, 4)
        server.closes = False
        send("c")
        show(other)
        self.assertEqual({number for _, number in send("d")} - {serial(tls)}, set())  # those that stand go on
        server.hang_up()
        wait_for(lambda: not server.open and self.metric("millrace_uplink_connections") == 0, "all are closed")
        anew = send("e")
        self.assertEqual({number for _, number in anew}, {serial(other)})
        self.assertEqual([resumed for resumed, _ in anew].count(False), 1)
        self.assertNotIn("records wait in the log", self.gateway_log())

    def test_a_server_that_lets_one_in_at_a_time(self):
        """It closes what rests; then one connection is made first, and others only beside it: who is turned away there is no outage."""
        server = self.encrypted(room=1)
        for turn in range(3):
            self.publish(self.COUNT, *self.MANY, "--prefix", f"t{turn}")
            self.drained()
            wait_for(lambda: self.metric("millrace_uplink_connections") == 0, "what rests is closed")
        self.assertEqual(server.stored, set(range(1, 3 * self.COUNT + 1)))
        self.assertGreater(server.turned_away, 0)
        self.assertNotIn("records wait in the log", self.gateway_log())

    def test_kills(self):
        """Nothing is missing; nothing comes again that was answered, with all before it, and settled a second before a kill."""
        rng = random.Random(seed := int(os.environ.get("MILLRACE_SEED", time.time_ns() % 1_000_000)))
        stub = self.far(4, delay=0.2)
        stub.open.set()
        gateway, publisher, sure, kills = self.processes[-1], self.pouring(), [], int(os.environ.get("MILLRACE_KILLS", "6"))
        for _ in range(kills):
            time.sleep(rng.uniform(1.5, 3))  # the random moment is the point
            gateway.stop(signal.SIGKILL)
            killed = time.monotonic()
            sure.append((killed, stub.answered_before(killed - 1)))
            gateway = self.gateway(self.folder / "millrace.toml")
        answer = self.poured(publisher)
        self.drained(120)
        self.assertGreaterEqual(stub.most, 3)
        found, doubled = self.accounted(answer["through"], stub.readings())
        for killed, through in sure:
            # What was on its way when it was killed may still be judged in the next moment.
            again = [record["sequence"] for when, record in stub.records if when > killed + 2 * stub.delay + 0.1 and record["sequence"] <= through]
            self.assertEqual(again, [], f"settled through {through}")
        print(f"   connections: {kills} kills (seed {seed}): {answer['acknowledged']} acknowledged, {found} there, 0 missing, {doubled} doubled", file=sys.stderr)


class Throttling(north.HttpStub):
    """Before a real one: hands on some of the records of each PutRecords, and says of the others what Kinesis says when a shard is full;
    every sixth answer it keeps to itself after all was stored."""

    class Handler(north.HttpStub.Handler):
        def do_POST(self):
            server, body = self.server, json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked += 1
            keep = [i for i in range(len(body["Records"])) if server.rng.random() < server.share]
            answers = [{"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"} for _ in body["Records"]]
            if keep:
                stored = json.loads(server.moto.call("PutRecords", StreamName=body["StreamName"], Records=[body["Records"][i] for i in keep])[1])
                for i, one in zip(keep, stored["Records"]):
                    answers[i] = one
            if server.cut and server.asked % 6 == 0:
                server.kept += len(keep)
                self.close_connection = True
                return
            answer = json.dumps({"FailedRecordCount": len(answers) - len(keep), "Records": answers}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    def __init__(self, moto, share, cut):
        self.moto, self.share, self.cut, self.asked, self.kept, self.rng = moto, share, cut, 0, 0, random.Random(1)
        super().__init__(self.Handler)


class Kinesis(North):
    def config(self, more=""):
        secret = self.folder / "credentials"
        secret.write_text("[default]\naws_access_key_id = AKID\naws_secret_access_key = geheim\n")
        secret.chmod(0o600)
        return f'dialect = "kinesis"\nstream = "plant"\nregion = "eu-central-1"\ncredentials_file = "{secret}"\n{more}'

    def sequences(self, moto):
        return [json.loads(data)["sequence"] for _, _, data in moto.records()]

    def test_records_by_key_and_order(self):
        moto = self.server(north.Moto)
        gateway = self.start(moto.url, self.config())
        self.publish(1200, "--connections", 4)
        self.drained()
        held, shards = {}, {}
        for shard, key, data in moto.records():
            held.setdefault(key, []).append(json.loads(data)["value"])
            shards.setdefault(key, set()).add(shard)
        self.assertEqual({key: len(where) for key, where in shards.items()}, {f"dev-{n}": 1 for n in range(4)})
        for values in held.values():
            self.assertEqual(values, list(range(1, 301)))
        self.assertNotIn("geheim", gateway.text())

    def test_what_fails_inside_a_200_goes_again_and_nothing_else_does(self):
        moto = self.server(north.Moto)
        throttle = Throttling(moto, 0.6, False)
        self.addCleanup(throttle.end)
        self.start(throttle.url, self.config())
        self.publish(400, "--connections", 4)
        self.drained(120)
        found = self.sequences(moto)
        self.assertEqual((len(found), len(set(found))), (400, 400), "0 lost, 0 doubled")

    def test_an_answer_that_is_cut_off_doubles_what_was_in_it_and_no_more(self):
        moto = self.server(north.Moto)
        throttle = Throttling(moto, 0.9, True)
        self.addCleanup(throttle.end)
        self.start(throttle.url, self.config())
        self.publish(400, "--connections", 4)
        self.drained(120)
        found = self.sequences(moto)
        self.assertEqual(len(set(found)), 400)
        self.assertLessEqual(len(found) - 400, throttle.kept)

    def test_an_outage_and_kills(self):
        """By kinesalite, whose stream is on disk: what comes twice is what was on its way at a kill, and each device's order holds."""
        kills, seed = int(os.environ.get("MILLRACE_KILLS", "6")), int(os.environ.get("MILLRACE_SEED", time.time_ns() % 1_000_000))
        rng, server = random.Random(seed), self.server(north.Kinesalite)
        gateway = self.start(server.url, self.config())
        publisher = self.pour_through_an_outage(server, signal.SIGKILL)
        self.kill_by_turns(gateway, server, kills, rng)
        answer = self.poured(publisher)
        self.drained(120)
        held, seen, doubled = {}, set(), 0
        for _, key, data in server.records():
            record = json.loads(data)
            identity = (record["gateway"], record["epoch"], record["sequence"])
            if identity in seen:
                doubled += 1
            else:
                seen.add(identity)
                held.setdefault(key, []).append(record["value"])
        found, _ = self.accounted(answer["through"], held)
        for values in held.values():
            self.assertEqual(values, sorted(set(values)), "in order, each value under one identity")
        self.assertLessEqual(doubled, 500 * (kills + 1))
        print(f"   Kinesalite: an outage, {kills} kills of one side or the other (seed {seed}): {answer['acknowledged']} acknowledged, {found} there, 0 missing, "
              f"{doubled} came twice", file=sys.stderr)

    def test_a_stream_that_is_not_there_blocks(self):
        for kind in (north.Moto, north.Kinesalite):
            with self.subTest(kind=kind.__name__):
                self.no_stream(kind)
                self.afresh()

    def no_stream(self, kind):
        moto = self.server(kind)
        self.start(moto.url, self.config().replace('"plant"', '"nowhere"'))
        self.publish(50)
        wait_for(lambda: self.metric("millrace_uplink_blocked") == 1, "blocked", 30)
        self.assertIn("ResourceNotFoundException", (self.folder / "gateway.log").read_text())
        self.assertEqual(self.metric("millrace_uplink_backlog_records"), 50)

    def test_batches_are_envelopes(self):
        moto = self.server(north.Moto)
        self.start(moto.url, self.config('format = "batch"'))
        self.publish(3000, "--connections", 3)
        self.drained()
        classes, count = read_batch.schema(BUILD / "generated" / "record.desc"), 0
        for _, key, data in moto.records():
            envelope = classes["Envelope"].FromString(data)
            batch = zstandard.decompress(envelope.batch, 16 << 20) if envelope.zstd else envelope.batch
            count += len(list(read_batch.records(batch, classes)))
            self.assertEqual((key, envelope.gateway), ("gw", "gw"))
        self.assertEqual(count, 3000)


if __name__ == "__main__":
    unittest.main(verbosity=2)
