#!/usr/bin/python3
"""The push of the gateway's metrics by OTLP: what OpenTelemetry's own classes read of it is what /metrics says; a collector that is away,
silent, slow, full or strict costs nothing but what status tells; and the configuration changes it while it runs."""
import gzip
import json
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import north
from testsite import ROOT, Site, free_port, wait_for

DECODER = ROOT / "tests" / "support" / "otlp_decoder.py"
CONFIG = """
[gateway]
name = "gw-7"
runtime_dir = "@run@"
clock = "@clock@"
[log]
path = "@log@"
commit_interval = "100ms"
[[inputs.mqtt_endpoint]]
name = "devices"
listen = "127.0.0.1:@port@"
anonymous = true
  [[inputs.mqtt_endpoint.routes]]
  topic = 'plant/{device}'
  metrics = { value = "value" }
[[uplinks.https]]
name = "central"
servers = ["http://127.0.0.1:@nobody@"]
[observe]
listen = "127.0.0.1:@observe@"
@otlp@
"""


def partial(rejected, message):
    """An ExportMetricsServiceResponse, by hand."""
    inner = bytes([0x08, rejected, 0x12, len(message)]) + message.encode()
    return bytes([0x0A, len(inner)]) + inner


class Collector(north.HttpStub):
    """Takes what comes. `odd`: what it says instead, while there is something in it: (status, body, headers); `silent`: it says nothing."""

    class Handler(north.HttpStub.Handler):
        def do_POST(self):
            server = self.server
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with server.lock:
                server.asked.append((time.monotonic(), self.path, dict(self.headers), gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body, len(body)))
                status, answer, headers = server.odd.pop(0) if server.odd else (200, b"", {"Content-Type": "application/x-protobuf"})
            if server.silent:
                server.release.wait(30)
                self.close_connection = True
                return
            self.send_response_only(status)
            if server.dated:
                self.send_header("Date", self.date_time_string())
            for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

    def __init__(self, tls=None, silent=False, dated=True):
        self.lock, self.asked, self.odd, self.silent, self.dated, self.release = threading.Lock(), [], [], silent, dated, threading.Event()
        self.scheme = "https" if tls else "http"
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(tls / "server.pem", tls / "server.key")
        super().__init__(self.Handler)

    def get_request(self):
        client, address = super().get_request()
        if not self.context:
            return client, address
        client.settimeout(10)
        return self.context.wrap_socket(client, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, *_):
        pass  # who does not trust us, or has left

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    def end(self):
        self.release.set()
        super().end()


def series_of(text):
    """{(name, labels): value} of the text format, with what a histogram is made of under its own names."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = re.fullmatch(r"([a-z_0-9]+)(?:\{(.*)\})? (\S+)", line).groups()
        pairs = re.findall(r'([a-z_0-9]+)="((?:[^"\\]|\\.)*)"', labels or "")
        found[name, tuple(sorted((key, re.sub(r"\\(.)", r"\1", what)) for key, what in pairs))] = float(value)
    return found


def series_of_otlp(metrics):
    found = {}
    for name, metric in metrics.items():
        for point in metric["points"]:
            labels = point["labels"].items()
            if metric["type"] != "histogram":
                found[name, tuple(sorted(labels))] = point["value"]
                continue
            found[name + "_count", tuple(sorted(labels))] = point["count"]
            found[name + "_sum", tuple(sorted(labels))] = point["sum"]
            upto = 0
            for bound, count in zip([*point["bounds"], "+Inf"], point["buckets"]):
                upto += count
                found[name + "_bucket", tuple(sorted([*labels, ("le", bound if bound == "+Inf" else repr(bound))]))] = upto
    return found


class Otlp(Site):
    def begin(self, otlp, clock="trust", **more):
        self.port = free_port()
        self.values = {"port": self.port, "nobody": free_port(), "clock": clock}
        self.configure(CONFIG, otlp=otlp, **self.values)
        return self.gateway(self.folder / "millrace.toml", **more)

    def reload(self, gateway, otlp):
        self.configure(CONFIG, otlp=otlp, **self.values)
        gateway.process.send_signal(signal.SIGHUP)

    def collector(self, **how):
        collector = Collector(**how)
        self.addCleanup(collector.end)
        return collector

    def decode(self, body):
        python = north.venv("otlp", "opentelemetry-proto==1.*")
        if python is None:
            self.skipTest("opentelemetry-proto cannot be had from PyPI")
        done = subprocess.run([python, str(DECODER)], input=body, capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return json.loads(done.stdout)

    def say(self, *values):
        for value in values:
            subprocess.run(["mosquitto_pub", "-p", str(self.port), "-q", "1", "-t", "plant/d1", "-m", json.dumps({"value": value})], check=True, timeout=20)

    def faults(self):
        return {fault["id"]: fault for fault in self.status()["faults"]}

    def told(self, collector, more=1, seconds=20):
        """The next requests that come."""
        before = len(collector.asked)
        wait_for(lambda: len(collector.asked) >= before + more, "a push comes", seconds)
        return collector.asked[before:]


class Told(Otlp):
    def test_a_collector_is_told_what_metrics_says(self):
        tls = self.tls()
        collector = self.collector(tls=tls)
        token = self.folder / "token"
        token.write_text("geheim-geheim\n")
        token.chmod(0o600)
        self.begin(f'[observe.otlp]\nendpoint = "{collector.url}/otlp"\ninterval = "1s"\ntls_ca = "{tls}/ca.pem"\ntoken_file = "{token}"\n'
                   'resource_attributes = ["deployment.environment.name=plant-3", "note="]')
        self.say(1, 2, 3)
        wait_for(lambda: self.metric("millrace_input_records_total") == 3 and self.metric("millrace_otlp_pushes_total") >= 2, "it is counted")
        # Between two pushes that say the same of what we ask for, nothing changed.
        at, path, headers, body, packed = self.told(collector)[-1]
        text = self.http("/metrics")
        self.assertEqual((path, headers["Content-Type"], headers["Content-Encoding"], headers["Authorization"]),
                         ("/otlp/v1/metrics", "application/x-protobuf", "gzip", "Bearer geheim-geheim"))
        self.assertTrue(headers["User-Agent"].startswith("millrace/"))
        told = self.decode(body)
        resource = told["resource"]
        self.assertEqual((resource["service.name"], resource["service.instance.id"], resource["deployment.environment.name"], resource["note"]),
                         ("millrace", "gw-7", "plant-3", ""))
        self.assertEqual(told["scope"], ["millrace", resource["service.version"]])
        ours, theirs = series_of(text), series_of_otlp(told["metrics"])
        self.assertEqual(set(ours), set(theirs))
        self.assertGreater(len(ours), 150)
        moving = ("process_", "millrace_otlp_", "_seconds", "_seconds_sum", "millrace_flash", "millrace_box", "millrace_log_bytes", "millrace_log_disk", "millrace_uplink_wire")
        still = {key for key in ours if not any(word in key[0] for word in moving)}
        self.assertGreater(len(still), 80)
        differ = {key: (ours[key], theirs[key]) for key in still if ours[key] != theirs[key]}
        self.assertLessEqual(len(differ), 5, differ)  # the uplink tries again and again
        self.assertEqual(theirs["millrace_input_records_total", (("input", "devices"),)], 3)
        self.assertEqual(told["metrics"]["millrace_input_records_total"]["type"], "sum")
        self.assertTrue(told["metrics"]["millrace_input_records_total"]["points"][0]["integer"])
        self.assertEqual(told["metrics"]["millrace_uplink_wire_sent_bytes_total"]["unit"], "By")
        self.assertEqual(told["metrics"]["process_resident_memory_bytes"]["type"], "gauge")
        self.assertEqual(told["metrics"]["process_cpu_seconds_total"]["type"], "sum")
        types = {line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE")}
        helps = {line.split()[2]: line.split(" ", 3)[3] for line in text.splitlines() if line.startswith("# HELP")}
        self.assertEqual({name: {"counter": "sum"}.get(kind, kind) for name, kind in types.items()}, {name: metric["type"] for name, metric in told["metrics"].items()})
        self.assertEqual(helps, {name: metric["help"] for name, metric in told["metrics"].items()})
        # Sums have one start, before all points; a later request has the same one.
        points = [point for metric in told["metrics"].values() if metric["type"] != "gauge" for point in metric["points"]]
        [start], [moment] = {point["start"] for point in points}, {point["time"] for point in points}
        self.assertLess(abs(moment / 1e9 - time.time()), 60)
        self.assertTrue(0 < start < moment)
        later = self.decode(self.told(collector)[-1][3])
        self.assertEqual(later["metrics"]["millrace_input_records_total"]["points"][0]["start"], start)
        self.assertGreater(later["metrics"]["millrace_input_records_total"]["points"][0]["time"], moment)
        print(f"a push of {len(theirs)} series: {len(body)} bytes, {packed} packed")
        status = self.status()["otlp"]
        self.assertEqual((status["healthy"], status["state"], status["failures"]), (True, "up", 0))
        self.assertIn("pushed to " + collector.url, self.command("status").stdout)
        self.assertIn("observe otlp", {one["of"] for one in self.status()["certificates"]})
        self.assertEqual({headers["Connection"] for _, _, headers, _, _ in collector.asked if "Connection" in headers}, set())

    def test_bytes_of_the_push_are_counted_as_the_link_carries_them(self):
        tls = self.tls()
        collector = self.collector(tls=tls)
        relay = north.Relay(collector.server_address[1])
        self.addCleanup(relay.end)
        gateway = self.begin(f'[observe.otlp]\nendpoint = "https://127.0.0.1:{relay.port}"\ninterval = "1s"\ntls_ca = "{tls}/ca.pem"')
        self.told(collector, 3)
        # It goes on counting: what stands still is looked at when nothing more is pushed.
        self.reload(gateway, f'[observe.otlp]\nendpoint = "https://127.0.0.1:{relay.port}"\ninterval = "1h"\ntls_ca = "{tls}/ca.pem"')
        wait_for(lambda: "pushed to" in gateway.text() and (self.metric("millrace_otlp_wire_sent_bytes_total"), self.metric("millrace_otlp_wire_received_bytes_total"))
                 == (relay.up, relay.down) and relay.up > 5000, "both counts agree", 30)


class Links(Site):
    def test_bytes_of_an_mqtt_uplink_are_counted_as_the_link_carries_them(self):
        tls = self.tls()
        south, broker = self.broker(), self.broker(tls=tls)
        relay = north.Relay(broker.port)
        self.addCleanup(relay.end)
        self.gateway(self.config(south.port, relay.port, scheme="mqtts", uplink=f'tls_ca = "{tls}/ca.pem"'))
        wait_for(lambda: self.metric("millrace_input_up") == 1, "it hears")
        self.publish(south.port, "tele/d1/SENSOR", *[json.dumps({"value": value}) for value in range(60)])
        wait_for(lambda: self.metric("millrace_uplink_records_total") >= 60, "they are there")
        counts = lambda: (self.metric("millrace_uplink_wire_sent_bytes_total"), self.metric("millrace_uplink_wire_received_bytes_total"))
        wait_for(lambda: counts() == (relay.up, relay.down) and relay.up > 500, "both counts agree")
        [uplink] = self.status()["uplinks"]
        self.assertGreaterEqual((uplink["wire_sent_bytes"], uplink["wire_received_bytes"]), (500, 500))
        said = self.command("status").stdout
        self.assertRegex(said, r"(?m)^ *uplink +kind +waiting +a second +done in +sent")
        self.assertRegex(said, r"(?m)^ *central .* [\d.]+ [KM]?i?B  up$")


class Faults(Otlp):
    def test_who_takes_nothing(self):
        """Each in turn, and readings go on."""
        collector = self.collector()
        status_message = b"\x08\x03\x12\x0dbad\nmetric \xffx"  # a google.rpc.Status
        protobuf = {"Content-Type": "application/x-protobuf"}
        gateway = self.begin(f'[observe.otlp]\nendpoint = "{collector.url}"\ninterval = "1s"\ntimeout = "1s"')
        wait_for(lambda: self.metric("millrace_otlp_pushes_total") >= 1, "the first is taken")
        self.assertEqual(self.metric("millrace_otlp_up"), 1)
        for odd, words in (((400, status_message, protobuf), "it says 400: bad"), ((401, b"who are you?", {}), "it says 401: it wants a login, or another one: who are you?"),
                           ((404, b"404 page not found\n", {}), "nothing takes metrics at this path: 404 page"), ((503, b"", {}), "it says 503"),
                           ((200, b"<html>sign in</html>", {"Content-Type": "text/html"}), "that is no collector"), ((302, b"", {"Location": "/"}), "it says 302")):
            with self.subTest(odd=odd):
                failures = self.metric("millrace_otlp_failures_total")
                with collector.lock:
                    collector.odd += [odd] * 2
                wait_for(lambda: self.metric("millrace_otlp_failures_total") > failures, "it is counted")
                fault = self.faults().get("otlp")
                if fault:  # it may be over by now
                    self.assertIn(words, fault["what"])
                    self.assertFalse(fault["somebody_must_act"])
                wait_for(lambda: self.metric("millrace_otlp_up") == 1, "it is taken again")
                self.assertIn(words, gateway.text())
                self.assertNotIn("otlp", self.faults())
        # Retry-After counts, whatever the interval.
        with collector.lock:
            collector.odd.append((429, b"", {"Retry-After": "3"}))
            before = len(collector.asked)
        wait_for(lambda: len(collector.asked) >= before + 2, "it comes again")
        self.assertGreaterEqual(collector.asked[before + 1][0] - collector.asked[before][0], 2.9)
        self.say(1, 2)
        wait_for(lambda: self.metric("millrace_input_records_total") == 2, "readings went on")

    def test_points_that_are_rejected(self):
        collector = self.collector()
        gateway = self.begin(f'[observe.otlp]\nendpoint = "{collector.url}"\ninterval = "1s"\n')
        self.told(collector)
        with collector.lock:
            collector.odd += [(200, partial(7, "too old"), {"Content-Type": "application/x-protobuf"}),
                              (200, b"\x0a\xff\xff\xff", {"Content-Type": "application/x-protobuf"}),  # a length that lies
                              (200, partial(0, "slow down"), {"Content-Type": "application/x-protobuf"})]
        wait_for(lambda: "slow down" in gateway.text(), "the warning is told")
        self.assertEqual(self.metric("millrace_otlp_rejected_points_total"), 7)
        self.assertEqual(self.metric("millrace_otlp_failures_total"), 0)
        self.assertIn("rejected 7 points", self.faults()["otlp rejected"]["what"])
        self.assertEqual(self.status()["otlp"]["rejected_points"], 7)

    def test_who_is_silent_or_away(self):
        silent = self.collector(silent=True)
        gateway = self.begin(f'[observe.otlp]\nendpoint = "{silent.url}"\ninterval = "1s"\ntimeout = "500ms"\n')
        wait_for(lambda: self.metric("millrace_otlp_failures_total") >= 2, "silence is counted")
        self.assertIn("no answer in time", self.faults()["otlp"]["what"])
        self.say(*range(20))
        wait_for(lambda: self.metric("millrace_input_records_total") == 20, "readings go on")
        self.reload(gateway, f'[observe.otlp]\nendpoint = "http://127.0.0.1:{free_port()}"\ninterval = "1s"\ntimeout = "500ms"\n')
        wait_for(lambda: "cannot connect" in (self.faults().get("otlp") or {"what": ""})["what"], "it is away")
        self.assertEqual(self.metric("millrace_otlp_failures_total", silent.url), 0)  # who left is not shown
        begin = time.monotonic()
        self.assertEqual(gateway.stop(), 0)
        self.assertLess(time.monotonic() - begin, 5)

    def test_a_file_that_is_not_there_yet(self):
        collector = self.collector()
        token = self.folder / "token"
        gateway = self.begin(f'[observe.otlp]\nendpoint = "{collector.url}"\ninterval = "1s"\ntoken_file = "{token}"\n')
        wait_for(lambda: "token_file: " in gateway.text(), "it is missing")
        self.assertIn("[observe.otlp]: token_file: ", self.command("check").stdout)
        self.assertEqual(collector.asked, [])
        token.write_text("geheim\n")
        token.chmod(0o600)
        wait_for(lambda: collector.asked, "it is there", 70)
        self.assertEqual(collector.asked[0][2]["Authorization"], "Bearer geheim")

    def test_a_server_whose_certificate_is_not_vouched_for(self):
        collector = self.collector(tls=self.tls())
        self.begin(f'[observe.otlp]\nendpoint = "{collector.url}"\ninterval = "1s"\n')
        wait_for(lambda: "certificate" in (self.faults().get("otlp") or {"what": ""})["what"], "it is refused")
        self.assertEqual(collector.asked, [])


class Clock(Otlp):
    def long_ago(self):
        clock = self.folder / "clock"
        clock.write_text("-631152000\n")  # twenty years ago
        return self.faked(FAKETIME_TIMESTAMP_FILE=str(clock), FAKETIME_NO_CACHE="1", DONT_FAKE_MONOTONIC="1")

    def test_a_clock_that_is_not_believed_gives_way_to_the_collectors(self):
        collector = self.collector()
        self.begin(f'[observe.otlp]\nendpoint = "{collector.url}"\ninterval = "1s"\n', clock="rtc", env=self.long_ago())
        requests = self.told(collector, 3)
        self.assertFalse(self.status()["clock_trusted"])
        self.assertEqual(requests[0][3], b"")  # it asks for the time
        told = self.decode(requests[1][3])
        point = told["metrics"]["millrace_clock_trusted"]["points"][0]
        self.assertEqual(point["value"], 0)
        self.assertLess(abs(point["time"] / 1e9 - time.time()), 30)
        self.assertLess(abs(told["metrics"]["millrace_log_commits_total"]["points"][0]["start"] / 1e9 - time.time()), 60)

    def test_a_collector_that_tells_no_time(self):
        collector = self.collector(dated=False)
        gateway = self.begin(f'[observe.otlp]\nendpoint = "{collector.url}"\ninterval = "1s"\n', clock="rtc", env=self.long_ago())
        wait_for(lambda: "our clock is not believed, and its answers have no Date" in gateway.text(), "it is told")
        self.assertEqual({body for _, _, _, body, _ in collector.asked}, {b""})


class Changing(Otlp):
    def test_reloads_change_it_and_take_it_away(self):
        first, second = self.collector(), self.collector(silent=True)
        gateway = self.begin("")
        self.assertNotIn("otlp", self.status())
        self.reload(gateway, f'[observe.otlp]\nendpoint = "{first.url}"\ninterval = "1s"\n')
        self.told(first)
        self.reload(gateway, f'[observe.otlp]\nendpoint = "{second.url}"\ninterval = "1s"\n')
        self.told(second)  # and is under way there
        self.reload(gateway, f'[observe.otlp]\nendpoint = "{first.url}"\ninterval = "1s"\nservice_name = "pumps"\ncompression = "none"\n')
        body = self.told(first)[-1]
        self.assertNotIn("Content-Encoding", body[2])
        self.assertEqual(self.decode(body[3])["resource"]["service.name"], "pumps")
        self.reload(gateway, '[observe.otlp]\nendpoint = "ftp://x"\n')
        wait_for(lambda: "nothing was changed" in gateway.text(), "what is wrong changes nothing")
        self.told(first)
        self.reload(gateway, "")
        wait_for(lambda: "otlp" not in self.status(), "it is gone")
        self.assertNotIn("millrace_otlp_", self.http("/metrics"))
        asked = len(first.asked)
        time.sleep(2.5)  # two intervals and a half
        self.assertEqual(len(first.asked), asked)
        self.assertNotIn("observe] cannot change", gateway.text())

    def test_check(self):
        def words(otlp):
            self.observe = free_port()
            self.configure(CONFIG, otlp=otlp, port=free_port(), nobody=free_port(), clock="trust")
            done = self.command("check")
            return done.returncode, done.stdout + done.stderr
        for otlp, what in (('interval = "10s"', "endpoint"), ('endpoint = "collector:4318"', "must start with http:// or https://"),
                           ('endpoint = "https://c.example"\nheaders = { a = "b" }', "headers"), ('endpoint = "https://c.example"\ntoken = "x"', "token_file"),
                           ('endpoint = "http://c.example"\ntoken_file = "/x"', "a login in clear words"), ('endpoint = "http://c.example"\ntls_ca = "/x"', "TLS is off"),
                           ('endpoint = "https://c.example"\nresource_attributes = ["a"]', "is not NAME=VALUE"),
                           ('endpoint = "https://c.example"\nresource_attributes = ["a=1", "a=2"]', "is there twice"),
                           ('endpoint = "https://c.example"\nresource_attributes = ["service.name=2"]', "is said already"),
                           ('endpoint = "https://c.example"\ninterval = "10ms"', "interval"), ('endpoint = "https://c.example"\nproxy = "socks://x"', '"socks://x" must start with http')):
            with self.subTest(otlp=otlp):
                code, said = words("[observe.otlp]\n" + otlp)
                self.assertEqual(code, 78, said)
                self.assertIn(what, said)
        code, said = words('[observe.otlp]\nendpoint = "http://c.example:4318"\n')
        self.assertEqual(code, 0, said)
        self.assertIn("without TLS everybody on the way can read the metrics", said)
        self.assertNotIn("without TLS everybody", words('[observe.otlp]\nendpoint = "http://localhost:4318"\n')[1])

    def test_check_online(self):
        good, bad = self.collector(), self.collector()
        bad.odd += [(401, b"", {})] * 9
        for url, mark, what in ((good.url, "good", "takes metrics from us"), (bad.url, "BAD", "it says 401: it wants a login"), (f"http://127.0.0.1:{free_port()}", "BAD", "cannot connect")):
            self.observe = free_port()
            self.configure(CONFIG, otlp=f'[observe.otlp]\nendpoint = "{url}"\n', port=free_port(), nobody=free_port(), clock="trust")
            [line] = [line for line in self.command("check", "--online").stdout.splitlines() if "observe.otlp" in line]
            self.assertTrue(line.startswith(mark) and what in line, line)
        self.assertEqual({body for _, _, _, body, _ in good.asked}, {b""})


if __name__ == "__main__":
    unittest.main(verbosity=2)
