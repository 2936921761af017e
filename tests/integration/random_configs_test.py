#!/usr/bin/python3
"""Configurations that nobody wrote, made from the schema and the examples, and payloads that nobody sent: what `check` lets through
runs, is reloaded and stops, acknowledges what it is sent, and nothing of it ends the daemon or is reported by a sanitizer."""
import importlib.util
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import tomllib
import tty
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from honest import packet, text
from testsite import BUILD, ROOT, Site, free_port, listening, wait_for

SEED = int(os.environ.get("MILLRACE_SEED", "1"))
ROUNDS = int(os.environ.get("MILLRACE_CONFIGS", "20"))
WORDS = {
    "topic": ["#", "+/+/#", "a/{device}", "a/{line}/{device}", "a/+/{device}", "a/b/c", "{x}/{y}/{device}", "a/{device}/#"],
    "device": ["{device}", "{client_id}", "{id}", "{a.b}", "{.id}-{^.x}", "{@key}", "{line}-{device}", "pump", "{property.p}", "{.n}"],
    "time": ["ts", "t", "$.ts", "Time", "a.b", "r[0].t"], "time_of_day": ["tod", "t"], "quality": ["q", "quality", "$.q"],
    "time_format": ["auto", "iso8601", "s", "s+ns", "ms", "us", "ns", "s2000", "filetime", "ticks", "excel", "uptime", "%d.%m.%Y %H:%M:%S", "%s"],
    "time_zone": ["local", "+02:00", "Europe/Berlin", "-11:30", "UTC"], "time_missing": ["arrival", "refuse"],
    "past_limit": ["2010-01-01", "1970-01-01", "none", "1h"], "future_limit": ["1d", "0s", "none", "1000d"],
    "each": ["r", "r[]", "sensors.*", "a.b", "r[].s.*", "$", "*"], "when": ["type == 'T'", "a.b > 3", "v != null", "s ~ '^x.*y$'", "q >= 2 and type == 'data'", "v == 1 or not x == 2"],
    "path": ["v", "a.b", "a.b[1]", "@", "$.w", "r[0].v", "'x.y'.z", "s"], "pattern": ["(?<value>-?[0-9.]+) *(?<unit>[a-z]*)", "(?<a>x*)(?<b>.*)", "^(?<value>.*)$", "((a|b)*c)+(?<value>d)"],
    "unit": ["kg", "{.unit}", "{.u}", "m3/h"], "inside": ["data", "a.b", "r[0]"], "columns": ["ts", "v", "device", "q", "@", "x"], "separator": [",", ";", "\\t", "|"],
    "decimal": [".", ","], "tags": ["line", "device", "x", "y"], "content_type": ["application/json", "text/plain"], "users": ["*", "a*"], "clients": ["{username}", "*", "c-1"],
    "publish": ["#", "a/#", "{client_id}/#", "+/{username}/x"], "size": ["100ms", "1s", "10s", "1min"], "by": ["device", "tag:line", "metric"], "fields": ["u16 @ 0", "f32", "u8", "i16"],
}
KEYS = ["v", "a", "b", "r", "s", "ts", "t", "q", "id", "x", "type", "unit", "data", "sensors", "Time", "value", "n", "device", "temp.in", "", "äöü", "w"]


def examples():
    """What the examples say under each key, and their routes; and what such devices send."""
    words, routes = {}, []

    def walk(value, key):
        if isinstance(value, dict):
            for k, v in value.items():
                walk(v, k)
        elif isinstance(value, list):
            for v in value:
                walk(v, key)
        elif isinstance(value, str):
            words.setdefault(key, []).append(value)
    for path in sorted((ROOT / "packaging" / "examples").glob("*.toml")):
        parsed = tomllib.loads(path.read_text())
        walk(parsed, "")
        for kind in parsed.get("inputs", {}).values():
            for one in kind:
                routes += one.get("routes", [])
    spec = importlib.util.spec_from_file_location("examples_test", ROOT / "tests" / "integration" / "examples_test.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sent = [(topic, payload if isinstance(payload, bytes) else payload.encode()) for family in module.SENT.values() for topic, payload, *_ in family]
    return words, routes, sent


class Maker:
    """Configurations and payloads of a seed."""

    def __init__(self, schema, words, routes, sent, rng):
        self.schema, self.words, self.sample_routes, self.sent, self.rng = schema["properties"], words, routes, sent, rng

    def value(self, schema, key, often=0.25):
        rng = self.rng
        if "anyOf" in schema:
            return self.value(rng.choice([one for one in schema["anyOf"] if one.get("pattern") != r"\$\{"]), key, often)
        if "enum" in schema:
            return rng.choice(schema["enum"])
        kind = schema.get("type", "string")
        kind = rng.choice(kind) if isinstance(kind, list) else kind
        if kind == "boolean":
            return rng.random() < 0.5
        if kind in ("integer", "number"):
            low, high = schema.get("minimum", -1000), schema.get("maximum", 1_000_000)
            some = rng.choice([low, high, schema.get("default", low), rng.randint(int(low), int(min(high, low + 100)))])
            return some if kind == "integer" or rng.random() < 0.5 else float(some) + rng.choice([0, 0.5, 0.001])
        if kind == "array":
            return [self.value(schema["items"], key, often) for _ in range(rng.randint(1, 3))]
        if kind == "object":
            if isinstance(schema.get("additionalProperties"), dict):
                return {rng.choice(["m1", "m2", "{.n}", "{device}", "a.b", "v", "x y"]): self.value(schema["additionalProperties"], key, often) for _ in range(rng.randint(1, 3))}
            return self.table(schema, often)
        pattern = schema.get("pattern", "")
        if "(ns|us|ms" in pattern:
            return rng.choice(["0s", "1ns", "1ms", "100ms", "1s", "10s", "1min", "1h", "1d", "365d", schema.get("default", "5s")])
        if "KMG" in pattern:
            return rng.choice(["0B", "1B", "1KiB", "64KiB", "1MiB", "100MiB", "1GiB", schema.get("default", "1MiB")])
        own = WORDS.get(key, []) + self.words.get(key, [])
        return rng.choice(own) if own else schema.get("default") or rng.choice(["x", "{device}", "v"])

    def table(self, schema, often=0.25, without=()):
        return {key: self.value(one, key, often) for key, one in schema["properties"].items()
                if not key.endswith("_file") and not key.startswith(("tls_", "insecure_")) and key not in without and (key in schema["required"] or self.rng.random() < often)}

    def route(self):
        schema = self.schema["inputs"]["properties"]["mqtt_endpoint"]["items"]["properties"]["routes"]["items"]
        route = dict(self.rng.choice(self.sample_routes)) if self.rng.random() < 0.5 else {}
        route.update(self.table(schema, self.rng.choice([0.03, 0.1, 0.2]), ("descriptor_set", "message")))
        if self.rng.random() < 0.5:
            route["topic"] = self.rng.choice(WORDS["topic"])
        return route

    def other_inputs(self, central, tty, liar):
        """Each of them now and then; what they hear is noise."""
        rng, kinds, more = self.rng, self.schema["inputs"]["properties"], {}
        if rng.random() < 0.4:
            one = self.table(kinds["mqtt"]["items"], 0.15, ("username", "topics"))
            more["mqtt"] = [{**one, "name": "broker", "servers": [f"mqtt://127.0.0.1:{central}"], "routes": [{**self.route(), "topic": rng.choice(["in/#", "in/{device}", "in/+/x"])} for _ in range(rng.randint(1, 3))]}]
        if rng.random() < 0.5:
            one = self.table(kinds["serial"]["items"], 0.15, ("rs485", "routes", "route"))
            more["serial"] = [{**one, "name": "line", "device": tty, "routes": [{k: v for k, v in self.route().items() if k != "topic"} for _ in range(rng.randint(1, 3))]}]
        if rng.random() < 0.4:
            one = self.table(kinds["modbus"]["items"], 0.15, ("rs485", "device", "mode", "maps", "baud", "parity", "stop_bits"))
            register = kinds["modbus"]["items"]["properties"]["devices"]["items"]["properties"]["registers"]["items"]
            devices = [{"name": f"m{i}", "unit": i, "registers": [{**self.table(register, 0.2, ("reference", "bits")), "name": f"r{j}", "address": rng.choice([0, 1, 100, 65535, rng.randint(0, 200)])}
                                                                 for j in range(rng.randint(1, 5))]} for i in range(1, rng.randint(2, 4))]
            more["modbus"] = [{**one, "name": "bus", "mode": rng.choice(["tcp", "rtu_over_tcp"]), "server": f"127.0.0.1:{liar}", "interval": "100ms", "devices": devices}]
        return more

    def other_uplinks(self, liar):
        rng, kinds, more = self.rng, self.schema["uplinks"]["properties"], {}
        if rng.random() < 0.6:
            one = self.table(kinds["https"]["items"], 0.15, ("", "proxy", "username", "standby_of"))
            more["https"] = [{**one, "name": "liar", "servers": [f"http://127.0.0.1:{liar}"]}]
        if rng.random() < 0.2:
            more["kafka"] = [{**self.table(kinds["kafka"]["items"], 0.1, ("schema_registry", "sasl_mechanism", "username", "tls", "standby_of")), "name": "dead", "servers": [f"127.0.0.1:{liar}"]}]
        return more

    def config(self, ports, central, fixed, tty, liar):
        rng, made = self.rng, dict(fixed)
        made["inputs"] = {"mqtt_endpoint": [], **self.other_inputs(central, tty, liar)}
        inputs = self.schema["inputs"]["properties"]["mqtt_endpoint"]["items"]
        for i, port in enumerate(ports):
            one = self.table(inputs, 0.1, ("acl", "users_file", "client_certificates", "connections_max", "connect_timeout", "packet_max"))
            one.update(name=f"in-{i}", listen=f"127.0.0.1:{port}", anonymous=True, routes=[self.route() for _ in range(rng.randint(1, 6))])
            made["inputs"]["mqtt_endpoint"].append(one)
        made["windows"] = [{**self.table(self.schema["windows"]["items"], 0.3), "name": f"w{i}"} for i in range(rng.randint(0, 3))]
        uplink = self.table(self.schema["uplinks"]["properties"]["mqtt"]["items"], 0.15, ("standby_of", "form", "aws_iot", "azure_iot"))
        made["uplinks"] = {**self.other_uplinks(liar), "mqtt": [{**uplink, "name": f"up-{i}", "servers": [f"mqtt://127.0.0.1:{central}"]} for i in range(rng.randint(1, 2))]}
        made["observe"].update({k: v for k, v in self.table(self.schema["observe"], 0.2, ("listen", "token_file")).items() if k not in made["observe"] and not isinstance(v, dict)})
        return made

    def scalar(self):
        rng = self.rng
        return rng.choice(["0", "1", "-1", "21.5", "1e400", "-0.0", "9223372036854775807", "1e-310", "null", "true", "false", "NaN", "-Infinity", '"x"', '"21,5 kg"', '"12.345 kg"',
                           '"ON"', '""', '"2026-01-01T12:00:00"', '"x\\u0000y"', '"\\ud800"', "1700000000", "1700000000000", "[]", "{}", '"' + "é" * 300 + '"', '"0x1F"', "{", '"T"', '"data"'])

    def document(self, depth=0):
        rng = self.rng
        form = rng.random()
        if depth > 3 or form < 0.4:
            return self.scalar()
        if form < 0.8:
            return "{" + ",".join(f"{json.dumps(rng.choice(KEYS))}:{self.document(depth + 1)}" for _ in range(rng.randint(0, 5))) + "}"
        return "[" + ",".join(self.document(depth + 1) for _ in range(rng.randint(0, 4))) + "]"

    def message(self):
        rng = self.rng
        if rng.random() < 0.4:
            topic, payload = rng.choice(self.sent)
        else:
            topic = rng.choice(["a/d1", "a/l1/d1", "a/b/c", "a/d2/x/y", "x/y/z", "d/e", "$q/a", "a//b", "plant/1/pump/telemetry", "a/" + "n" * 300])
            payload = "{" + ",".join(f"{json.dumps(rng.choice(KEYS))}:{self.document()}" for _ in range(rng.randint(1, 8))) + "}" if rng.random() < 0.6 else self.document(0)
            if rng.random() < 0.2:
                payload = rng.choice(["ts,v,x\n1700000000,1,2\n1700000001,x,3\n", "1,2,3", "21.5 C", "x\ny\n\n", "$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47", "/ISk5\r\n\r\n1-0:1.8.0(000123.4*kWh)\r\n!\r\n", ""])
            payload = payload.encode()
        if rng.random() < 0.15 and payload:
            payload = bytearray(payload)
            for _ in range(rng.randint(1, 4)):
                payload[rng.randrange(len(payload))] = rng.randrange(256)
        return topic, bytes(payload)


def toml(made):
    def inline(value):
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{json.dumps(k)} = {inline(v)}" for k, v in value.items()) + " }"
        if isinstance(value, list):
            return "[" + ", ".join(inline(v) for v in value) + "]"
        return json.dumps(value) if not isinstance(value, float) else repr(value)
    lines = []

    def table(name, value):
        lines.extend(f"{key} = {inline(v)}" for key, v in value.items() if key != "routes")
        for route in value.get("routes", []):
            lines.append(f"[[{name}.routes]]")
            table(f"{name}.routes", route)
    for name, value in made.items():
        if name in ("inputs", "uplinks"):
            for kind, parts in value.items():
                for part in parts:
                    lines.append(f"[[{name}.{kind}]]")
                    table(f"{name}.{kind}", part)
        elif isinstance(value, list):
            for part in value:
                lines.append(f"[[{name}]]")
                table(name, part)
        else:
            lines.append(f"[{name}]")
            table(name, value)
    return "\n".join(lines) + "\n"


class Client:
    """MQTT 5, QoS 1: sends all and counts what is acknowledged, whatever it is acknowledged with."""

    def __init__(self, port, name):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.sendall(packet(0x10, text("MQTT") + bytes([5, 2]) + struct.pack(">H", 0) + b"\0" + text(name)))
        self.bytes, self.acknowledged, self.sent, self.closed = b"", set(), 0, ""
        self.window = 20

    def send(self, topic, payload, rng, patience=20):
        self.sent += 1
        properties = rng.choice([b"", b"\x03" + text("application/json"), b"\x26" + text("p") + text("press-1"), b"\x03" + text("text/plain")])
        try:
            self.socket.sendall(packet(0x32, text(topic) + struct.pack(">H", self.sent) + bytes([len(properties)]) + properties + payload))
        except ConnectionError as error:  # it was over while we spoke; what it said first is there to be read
            self.hear(self.sent, patience)
            self.closed = self.closed or str(error)
        self.hear(self.sent - self.window, patience)

    def hear(self, through, patience=20):
        """Until all to `through` is acknowledged."""
        until = time.monotonic() + patience
        while len(self.acknowledged) < through and not self.closed and time.monotonic() < until:
            self.socket.settimeout(max(0.01, until - time.monotonic()))
            try:
                got = self.socket.recv(65536)
            except TimeoutError:
                break
            except ConnectionError as error:
                self.closed = str(error)
                break
            if not got:
                self.closed = "the gateway closed the connection"
            self.bytes += got
            while len(self.bytes) >= 2 and len(self.bytes) >= 2 + self.bytes[1]:  # what a publisher is answered is short
                kind, body, self.bytes = self.bytes[0], self.bytes[2:2 + self.bytes[1]], self.bytes[2 + self.bytes[1]:]
                if kind == 0x40:
                    self.acknowledged.add(struct.unpack(">H", body[:2])[0])
                elif kind == 0xE0:
                    self.closed = f"DISCONNECT {body.hex()}"


class Liar(threading.Thread):
    """Takes connections and answers what nobody asked: HTTP of all kinds, Modbus, noise, or nothing."""

    def __init__(self, seed):
        super().__init__(daemon=True)
        self.rng, self.listener = random.Random(seed), socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                peer = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.lie, args=(peer,), daemon=True).start()

    def answer(self, asked):
        rng = self.rng
        if asked[:4] in (b"POST", b"PUT ", b"GET "):
            body = rng.choice([b"", b"{}", b"null", b"[]", b'{"FailedRecordCount":1,"Records":[{"ErrorCode":"x"}]}', b'{"messageIds":["1"]}', b"\xff" * 100, b"<Error><Code>SlowDown</Code></Error>",
                               b'{"error":"partial write: field type conflict dropped=1"}', b"x" * 100_000])
            status = rng.choice([200, 200, 201, 204, 206, 301, 400, 401, 403, 404, 408, 409, 413, 429, 500, 503, 599, 0, 99999])
            heads = rng.choice([b"", b"Retry-After: 1\r\n", b"Retry-After: 99999999999\r\n", b"Retry-After: soon\r\n", b"Location: http://127.0.0.1:1/\r\n", b"Connection: close\r\n"])
            length = rng.choice([b"Content-Length: %d\r\n" % len(body)] * 6 + [b"Content-Length: 5000000000\r\n", b"Transfer-Encoding: chunked\r\n", b""])
            return b"HTTP/1.1 %d Said\r\n" % status + heads + length + b"\r\n" + body
        if len(asked) >= 12 and asked[2:4] == b"\0\0" and rng.random() < 0.8:  # Modbus TCP
            count = asked[11]
            data = bytes([asked[7], 2 * count & 255]) + rng.randbytes(2 * count) if rng.random() < 0.7 else bytes([asked[7] | 0x80, rng.randint(0, 20)])
            return asked[:4] + struct.pack(">H", len(data) + 1) + asked[6:7] + data
        return rng.randbytes(rng.randint(0, 300))

    def lie(self, peer):
        try:
            peer.settimeout(30)
            while True:
                asked = peer.recv(65536)
                if not asked or self.rng.random() < 0.05:
                    break
                if self.rng.random() < 0.1:
                    time.sleep(self.rng.random())
                peer.sendall(self.answer(asked))
        except OSError:
            pass
        peer.close()


class Line(threading.Thread):
    """A serial line on which somebody talks: lines, telegrams, noise."""

    def __init__(self, seed):
        super().__init__(daemon=True)
        self.rng, self.stopping = random.Random(seed), False
        self.ours, self.theirs = os.openpty()
        tty.setraw(self.theirs)
        os.set_blocking(self.ours, False)
        self.name = os.ttyname(self.theirs)
        self.start()

    def run(self):
        rng = self.rng
        while not self.stopping:
            said = rng.choice([b"21.5\n", b'{"v":1,"ts":1700000000}\n', b"\x02ST,GS,+0012.5kg\x03", b"$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\r\n", rng.randbytes(rng.randint(1, 200)),
                               b"/ISk5\\2MT382-1000\r\n\r\n1-0:1.8.0(000123.4*kWh)\r\n!\r\n", b"\x68\x0b\x0b\x68\x08\x01\x72\x00\x00\x00\x00\x00\x00\x00\x00\x7b\x16", b"\0" * 50, b"x" * 3000])
            try:
                os.write(self.ours, said)
                os.read(self.ours, 4096)
            except (BlockingIOError, OSError):
                pass
            time.sleep(0.02)
        os.close(self.ours)
        os.close(self.theirs)


class RandomConfigs(Site):
    def good(self, maker, *others):
        """A configuration that `check` lets through: what it finds fault with is taken out, line by line."""
        while True:
            lines = toml(maker.config(*others)).splitlines()
            for _ in range(12):
                path = self.folder / "candidate.toml"
                path.write_text("\n".join(lines) + "\n")
                done = subprocess.run([BUILD / "millrace", "check", "-c", path], capture_output=True, text=True, timeout=60)
                self.assertIn(done.returncode, (0, 78), done.stdout + done.stderr)
                if done.returncode == 0:
                    return path.read_text()
                wrong = {int(n) for n in re.findall(r"^[^\n]*\.toml:(\d+):", done.stdout + done.stderr, re.M)}
                self.assertTrue(wrong, done.stdout + done.stderr)
                if any(lines[n - 1].startswith("[[inputs") and not lines[n - 1].endswith("routes]]") for n in wrong if n <= len(lines)):
                    break
                for n in sorted(wrong, reverse=True):
                    end = n
                    if n <= len(lines) and lines[n - 1].startswith("["):  # a table as a whole
                        while end < len(lines) and not lines[end].startswith("["):
                            end += 1
                    del lines[n - 1:end]

    def test_what_check_lets_through_runs(self):
        schema = json.loads(subprocess.run([BUILD / "millrace", "config", "--schema"], capture_output=True, text=True, check=True).stdout)
        words, routes, sent = examples()
        for number in range(SEED, SEED + ROUNDS):
            with self.subTest(MILLRACE_SEED=number, MILLRACE_CONFIGS=1):
                rng = random.Random(number)
                maker = Maker(schema, words, routes, sent, rng)
                central = self.broker()
                self.observe, ports, liar, line = free_port(), [free_port(), free_port()], Liar(number), Line(number)
                fixed = {"gateway": {"name": "g", "runtime_dir": str(self.run_folder)},
                         "log": {"path": str(self.folder / "log"), "max_size": rng.choice(["64MiB", "512MiB"])}, "observe": {"listen": f"127.0.0.1:{self.observe}"}}
                # Two with the same log: the second comes by a reload.
                first, second = (self.good(maker, ports, central.port, fixed, line.name, liar.port) for _ in range(2))
                path = self.folder / "millrace.toml"
                path.write_text(first)
                gateway = self.gateway(path)
                try:
                    self.play(maker, gateway, ports, central.port, rng, path, second)
                except AssertionError:
                    print(f"--- MILLRACE_SEED={number}\n{first}\n--- and then\n{second}")
                    raise
                finally:
                    self.afresh()
                    line.stopping = True
                    liar.listener.close()
                    line.join()

    def play(self, maker, gateway, ports, central, rng, path, second):
        for life in range(2):
            for port in ports:
                wait_for(lambda: gateway.process.poll() is not None or listening(port), f"port {port} opens")
                self.assertIsNone(gateway.process.poll(), gateway.text()[-6000:])
                client = Client(port, f"c-{life}")
                for _ in range(150):
                    client.send(*maker.message(), rng)
                    if client.closed:  # it said why; the device comes again
                        break
                client.hear(client.sent)
                self.assertIsNone(gateway.process.poll(), gateway.text()[-6000:])
                if not client.closed:
                    self.assertEqual(len(client.acknowledged), client.sent, gateway.text()[-3000:])
                client.socket.close()
            if "[[inputs.mqtt]]" in path.read_text():
                self.publish(central, "in/d1", *(payload.decode("latin-1").replace("\0", "") for _, payload in (maker.message() for _ in range(10))))
            for face in ("/metrics", "/readyz", "/healthz", "/api/status", "/api/devices"):
                self.assertIsNotNone(self.http(face), face)
            for words in (("status",), ("status", "--json"), ("top", "--once", "--json"), ("dlq", "ls", "--json"), ("trace", "d1")):
                done = subprocess.run([BUILD / "millrace", *words, "-c", path], capture_output=True, timeout=60)
                self.assertNotIn(b"Sanitizer", done.stderr, words)
                self.assertGreaterEqual(done.returncode, 0, words)
            if life == 0:
                path.write_text(second)
                gateway.process.send_signal(signal.SIGHUP)
                wait_for(lambda: re.search(r"reload: (nothing|\d+ inputs)", gateway.text()) or gateway.process.poll() is not None, "the reload")
                if "nothing was changed" in gateway.text():  # beside what cannot change at run time it does not fit
                    self.assertIn("good for a start, but not beside [", gateway.text())
                    self.assertEqual(gateway.stop(), 0, gateway.text()[-6000:])
                    self.assertNotIn("Sanitizer", gateway.text())
                    gateway = self.gateway(path)
        self.assertEqual(gateway.stop(), 0, gateway.text()[-6000:])
        self.assertNotIn("Sanitizer", gateway.text())
        log = subprocess.run([BUILD / "millrace", "log", "stat", "-c", path], capture_output=True, text=True, timeout=120)
        self.assertEqual(log.returncode, 0, log.stdout + log.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
