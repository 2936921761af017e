#!/usr/bin/python3
"""Reloads in the middle of things: whatever is added, changed, renamed, removed and brought back while load runs, nothing
that was acknowledged is lost, every acknowledgement comes, nobody is there twice, and the last configuration is in force.

MILLRACE_RELOADS sets how many reloads the random test makes (200), MILLRACE_SEED which."""
import collections
import json
import os
import pty
import random
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import tty
import unittest
from pathlib import Path

import paho.mqtt.client as mqtt

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
sys.path.insert(0, str(HERE.parent.parent / "packaging"))
import read_batch
from testsite import BUILD, Site, free_port, listening, wait_for


def mqtt_text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(value)) + value


def packet(first, body=b""):
    length, n = b"", len(body)
    while True:
        length += bytes([n & 0x7F | (0x80 if n > 0x7F else 0)])
        n >>= 7
        if not n:
            return bytes([first]) + length + body


class Packets:
    """A socket that speaks packets; None where the other side has closed it."""

    def __init__(self, connected):
        self.socket, self.bytes = connected, b""
        self.socket.settimeout(10)

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass

    def take(self):
        """The next packet that is here whole: (first byte, body)."""
        length, at = 0, 1
        while at < len(self.bytes) and at < 5:
            length |= (self.bytes[at] & 0x7F) << 7 * (at - 1)
            at += 1
            if not self.bytes[at - 1] & 0x80:
                if len(self.bytes) < at + length:
                    return None
                got = self.bytes[0], self.bytes[at:at + length]
                self.bytes = self.bytes[at + length:]
                return got
        return None

    def more(self, seconds):
        """Waits for bytes; False at the end of the connection."""
        if not select.select([self.socket], [], [], seconds)[0]:
            return True
        try:
            got = self.socket.recv(65536)
        except OSError:
            got = b""
        self.bytes += got
        return bool(got)


class Device(threading.Thread):
    """Publishes numbered readings at one QoS from one session, over whatever connections it takes. A number counts as
    acknowledged with PUBACK or PUBCOMP; what is not is sent again as its standard says (section 4.4)."""

    def __init__(self, port, name, version, qos, every=0.02):
        super().__init__(daemon=True)
        self.port, self.name, self.version, self.qos, self.every = port, name, version, qos, every
        self.flying = {}  # packet id: (number, whether PUBREC has come)
        self.acknowledged, self.refused = set(), []
        self.number, self.connects = 0, 0
        self.publishing, self.running = True, True

    def packet_of(self, id, again):
        number, received = self.flying[id]
        if received:
            return packet(0x62, struct.pack(">H", id))
        payload = json.dumps({"ts": int(time.time() * 1000), "value": number}).encode()
        head = mqtt_text(f"plant/l1/{self.name}/telemetry") + struct.pack(">H", id) + (b"\0" if self.version == 5 else b"")
        return packet(0x30 | self.qos << 1 | (8 if again else 0), head + payload)

    def run(self):
        while self.running:
            try:
                link = Packets(socket.create_connection(("127.0.0.1", self.port), 5))
            except OSError:
                time.sleep(0.03)  # nobody listens at the moment
                continue
            with link.socket:
                self.talk(link)
            time.sleep(0.01)

    def talk(self, link):
        properties = b"\x05\x11" + struct.pack(">I", 3600) if self.version == 5 else b""
        link.send(packet(0x10, mqtt_text("MQTT") + bytes([self.version, 0]) + struct.pack(">H", 60) + properties + mqtt_text(self.name)))
        welcome = None
        deadline = time.monotonic() + 10
        while not welcome and time.monotonic() < deadline:
            if not link.more(0.2):
                return
            welcome = link.take()
        if not welcome or welcome[0] != 0x20 or welcome[1][1] != 0:
            return
        self.connects += 1
        for id in sorted(self.flying, key=lambda i: self.flying[i][0]):
            link.send(self.packet_of(id, again=True))
        due = time.monotonic()
        while self.running:
            now = time.monotonic()
            if self.publishing and now >= due and len(self.flying) < 8:
                self.number += 1
                id = next(i for i in range(1, 20) if i not in self.flying)
                self.flying[id] = (self.number, False)
                link.send(self.packet_of(id, again=False))
                due = now + self.every
            if not link.more(self.every / 2):
                return
            while got := link.take():
                self.hear(link, *got)

    def hear(self, link, first, body):
        if first >> 4 not in (4, 5, 7):
            return
        id = struct.unpack(">H", body[:2])[0]
        reason = body[2] if len(body) > 2 else 0
        if id not in self.flying:
            return
        if first >> 4 == 5 and reason < 128:
            self.flying[id] = (self.flying[id][0], True)
            return link.send(self.packet_of(id, again=True))
        number, _ = self.flying.pop(id)
        # PUBCOMP with 0x92: a session that knows nothing of the message (MQTT 5, section 3.7.2.1); PUBREC was the promise.
        if reason < 128 or (first >> 4 == 7 and reason == 0x92):
            self.acknowledged.add(number)
        else:
            self.refused.append((number, reason))


class Collector:
    """Reads what uplinks send to the central broker: which numbers of which device came under which uplink's topics."""

    def __init__(self, port, topics):
        self.schema = read_batch.schema(BUILD / "generated" / "record.desc")
        self.lock = threading.Lock()
        self.came = collections.defaultdict(collections.Counter)  # (uplink, device): number: times
        self.versions = collections.Counter()                     # (uplink, version of its configuration): records
        self.connects = 0
        self.client = mqtt.Client(client_id="collector", clean_session=False)  # what comes while it is away waits for it
        self.client.on_message = self.on_message
        self.client.on_connect = lambda client, *rest: self.on_connect(topics)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def on_connect(self, topics):
        self.connects += 1
        self.client.subscribe(topics, 1)

    def on_message(self, client, data, message):
        _, uplink, version, lane = message.topic.split("/")
        if lane != "raw":
            return
        with self.lock:
            for record in self.records(message.payload):
                self.came[uplink, record["device"]][int(record["value"])] += 1
                self.versions[uplink, int(version)] += 1

    def records(self, payload):
        envelope = self.schema["Envelope"].FromString(payload)  # the uplinks speak MQTT 3.1.1
        batch = envelope.batch
        if envelope.zstd:
            import zstandard
            batch = zstandard.ZstdDecompressor().decompressobj().decompress(batch)
        return read_batch.records(batch, self.schema)

    def missing(self, uplink, device, numbers):
        with self.lock:
            return sorted(set(numbers) - set(self.came[uplink, device]))

    def stop(self):
        self.client.disconnect()
        self.client.loop_stop()

    def count(self, uplink, version):
        with self.lock:
            return self.versions[uplink, version]


class FieldDevice:
    """Publishes numbered readings to a broker at QoS 1."""

    def __init__(self, port, name, topic, every=0.03):
        self.name, self.topic, self.every = name, topic, every
        self.acknowledged, self.flying, self.number = set(), {}, 0
        self.publishing = True
        self.client = mqtt.Client(client_id=name)
        self.client.max_inflight_messages_set(1000)
        self.client.on_publish = lambda client, data, mid: self.acknowledged.add(mid)  # paho numbers a connection's messages from 1
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.thread = threading.Thread(target=self.publish, daemon=True)
        self.thread.start()

    def publish(self):
        while self.publishing:
            self.number += 1
            self.client.publish(self.topic, json.dumps({"ts": int(time.time() * 1000), "value": self.number}), qos=1)
            time.sleep(self.every)

    def stop(self):
        self.publishing = False
        self.thread.join()
        wait_for(lambda: len(self.acknowledged) == self.number, f"the broker has what {self.name} sent")
        self.client.disconnect()
        self.client.loop_stop()


class DeafBroker(threading.Thread):
    """Takes connections and what they publish, and never acknowledges a message. Who is there at the same time is what it is
    asked."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.links, self.clients = {}, {}
        self.publishes, self.connects, self.most = 0, 0, 0
        self.start()

    def run(self):
        while True:
            ready = select.select([self.listener, *self.links], [], [])[0]
            # Who has left comes first: a connection that is made after another's end is no second one.
            for connected in ready:
                if connected is not self.listener:
                    self.hear(connected)
            if self.listener in ready:
                connected = self.listener.accept()[0]
                self.links[connected] = Packets(connected)

    def hear(self, connected):
        link = self.links[connected]
        if not link.more(0):
            del self.links[connected]
            self.clients.pop(connected, None)
            return connected.close()
        while got := link.take():
            if got[0] >> 4 == 1:
                version = got[1][6]
                at = 10 + (1 + got[1][10] if version == 5 else 0)
                self.clients[connected] = got[1][at + 2:at + 2 + struct.unpack(">H", got[1][at:at + 2])[0]].decode()
                self.connects += 1
                self.most = max(self.most, collections.Counter(self.clients.values()).most_common(1)[0][1])
                link.send(packet(0x20, b"\0\0\0" if version == 5 else b"\0\0"))
            elif got[0] >> 4 == 3:
                self.publishes += 1
            elif got[0] >> 4 == 12:
                link.send(packet(0xD0))


HEAD = """
[gateway]
name = "gw"
runtime_dir = "@run@"
[log]
path = "@log@"
commit_interval = "100ms"
[observe]
listen = "127.0.0.1:@observe@"
"""

WINDOWS = """
[[windows]]
name = "10s"
size = "10s"
[[windows]]
name = "1min"
size = "%s"
allowed_lateness = "10s"
"""

ENDPOINT = """
[[inputs.mqtt_endpoint]]
name = "%(name)s"
listen = "127.0.0.1:%(port)d"
anonymous = true
receive_maximum = %(value)d
ack_interval = "%(value)dms"
  [[inputs.mqtt_endpoint.routes]]
  topic = "plant/{line}/{device}/telemetry"
  tags = ["line"]
  time = "ts"
  metrics = { value = "value" }
  [[inputs.mqtt_endpoint.routes]]
  topic = "plant/{line}/{device}/state"
  time = "ts"
  metrics = { state = "value" }
"""

INPUT = """
[[inputs.mqtt]]
name = "%(name)s"
servers = ["mqtt://127.0.0.1:%(port)d"]
version = "%(version)s"
client_id = "%(client)s"
keep_alive = "%(value)ds"
reconnect_min = "100ms"
reconnect_max = "1s"
  [[inputs.mqtt.routes]]
  topic = "%(client)s/{device}/telemetry"
  time = "ts"
  metrics = { value = "value" }
  [[inputs.mqtt.routes]]
  topic = "%(client)s/{device}/state"
  time = "ts"
  metrics = { state = "value" }
"""

SERIAL = """
[[inputs.serial]]
name = "%(name)s"
device = "%(tty)s"
reopen_min = "100ms"
reopen_max = "%(value)ds"
[inputs.serial.route]
format = "plain"
metrics = { weight = { unit = "kg" } }
"""

UPLINK = """
[[uplinks.mqtt]]
name = "%(name)s"
servers = ["mqtt://127.0.0.1:%(port)d"]
version = "3.1.1"
client_id = "%(client)s"
topic = "up/%(name)s/%(value)d/{lane}"
initial_interval = "50ms"
max_interval = "1s"
"""


class ReloadSite(Site):
    def write(self, *parts, windows=""):
        self.configure(HEAD + windows + "".join(parts))

    def reload(self, gateway):
        gateway.process.send_signal(signal.SIGHUP)

    def reloads(self, gateway):
        return gateway.text().count("reload: ")

    def device(self, *arguments, **more):
        device = Device(*arguments, **more)
        device.start()
        self.addCleanup(lambda: setattr(device, "running", False))
        return device

    def endpoint(self, name, port, value=50):
        return ENDPOINT % {"name": name, "port": port, "value": value}

    def uplink(self, name, port, value=1, client=None):
        return UPLINK % {"name": name, "port": port, "value": value, "client": client or "up-" + name}


class Reloads(ReloadSite):
    """One change at a time, each with a story."""

    def test_an_endpoint_that_is_changed_still_acknowledges_and_so_does_its_neighbour(self):
        a, b, nowhere = free_port(), free_port(), free_port()
        self.write(self.endpoint("a", a), self.endpoint("b", b), self.uplink("central", nowhere))
        gateway = self.gateway(self.folder / "millrace.toml")
        devices = [self.device(port, f"d{port}-{version}-{qos}", version, qos) for port in (a, b) for version in (4, 5) for qos in (1, 2)]
        wait_for(lambda: all(len(d.acknowledged) > 5 for d in devices), "everybody hears acknowledgements")
        for value in (20, 21, 22):
            before = [len(d.acknowledged) for d in devices]
            self.write(self.endpoint("a", a, value), self.endpoint("b", b), self.uplink("central", nowhere))
            self.reload(gateway)
            wait_for(lambda: all(len(d.acknowledged) > n + 5 for d, n in zip(devices, before)), "and goes on hearing them after the reload")
        # Renamed on the same port: the new one listens when the old one has gone.
        before = [len(d.acknowledged) for d in devices]
        self.write(self.endpoint("renamed", a), self.endpoint("b", b), self.uplink("central", nowhere))
        self.reload(gateway)
        wait_for(lambda: all(len(d.acknowledged) > n + 5 for d, n in zip(devices, before)), "and after a renaming")
        self.assertNotIn("will keep trying", gateway.text().replace("uplink central: cannot connect", "").split("is ready")[0])
        self.assertNotIn("address already in use", gateway.text())
        self.assertEqual([d.refused for d in devices], [[]] * len(devices))
        self.assertEqual(gateway.stop(), 0)

    def test_an_address_that_changes_hands_late_has_the_sessions_of_that_moment(self):
        """What waits for a file goes on as it was: who wants its address must not come with the sessions of today, when it gets that
        tomorrow. It took new messages at QoS 2 for those that the old sessions held."""
        a, b, c, nowhere = free_port(), free_port(), free_port(), free_port()
        tls = self.tls()
        (tls / "server.key").rename(tls / "later.key")
        self.write(self.endpoint("a", a), self.endpoint("b", b), self.uplink("central", nowhere))
        gateway = self.gateway(self.folder / "millrace.toml")
        device = self.device(a, "d", 4, 2, every=0.001)
        wait_for(lambda: len(device.acknowledged) > 20, "the device is served by a")
        secure = f'anonymous = true\ntls_cert = "{tls}/server.pem"\ntls_key_file = "{tls}/server.key"'
        self.write(self.endpoint("a", c).replace("anonymous = true", secure), self.endpoint("b", a), self.uplink("central", nowhere))
        self.reload(gateway)
        wait_for(lambda: "input a: waiting for" in gateway.text(), "a waits for its key, and goes on where it was")
        reached = len(device.acknowledged)
        wait_for(lambda: len(device.acknowledged) > reached + 200, "the device is served by a")
        (tls / "later.key").rename(tls / "server.key")
        wait_for(lambda: listening(c), "a has moved", 40)
        reached = len(device.acknowledged)
        wait_for(lambda: len(device.acknowledged) > reached + 200, "the device is served by b", 40)
        device.publishing = False
        wait_for(lambda: not device.flying, "every acknowledgement arrives")
        stored = [int(json.loads(line)["value"]) for line in self.command("log", "export", "--lane", "raw").stdout.splitlines()]
        self.assertEqual(sorted(device.acknowledged - set(stored)), [])
        self.assertEqual(len(stored), len(set(stored)))

    def test_what_only_one_can_have_is_given_to_one(self):
        a, b = free_port(), free_port()
        tty = '[[inputs.serial]]\nname = "%s"\ndevice = "/dev/ttyS7"\n[inputs.serial.route]\nformat = "plain"\nmetrics = { w = {} }\n'
        self.write(self.endpoint("a", a), self.endpoint("b", a), tty % "s1", tty % "s2", self.uplink("u1", b, client="one"), self.uplink("u2", b, client="one"),
                   self.uplink("u3", b, client="one").replace("127.0.0.1", "LocalHost"))
        checked = self.command("check")
        self.assertEqual(checked.returncode, 78)
        for words in (f'input "b": "listen 127.0.0.1:{a}" can be had once, and input "a" has it', 'input "s2": "tty /dev/ttyS7" can be had once',
                      f'uplink "u2": "mqtt mqtt://127.0.0.1:{b} one" can be had once, and uplink "u1" has it',
                      f'uplink "u3": "mqtt mqtt://127.0.0.1:{b} one" can be had once, and uplink "u1" has it'):
            self.assertIn(words, checked.stdout + checked.stderr)

    def test_reloads_while_an_uplink_stops_leave_one_connection_to_the_last_broker(self):
        """The far side never acknowledges, so that the old half takes two seconds to stop."""
        brokers = [DeafBroker() for _ in range(3)]
        port = free_port()
        steady = DeafBroker()

        def write(*uplinks):
            self.write(self.endpoint("devices", port), self.uplink("steady", steady.port), *uplinks)

        write(self.uplink("moving", brokers[0].port, client="one"))
        gateway = self.gateway(self.folder / "millrace.toml")
        self.device(port, "d1", 5, 1)
        wait_for(lambda: brokers[0].publishes and steady.publishes, "something is on its way to both")
        for broker in (1, 2):  # A, B, C: C counts
            write(self.uplink("moving", brokers[broker].port, client="one"))
            self.reload(gateway)
            wait_for(lambda: self.reloads(gateway) == broker, "the reload is taken")
        wait_for(lambda: brokers[2].clients, "the last configuration is in force")
        self.assertEqual((len(brokers[0].clients), brokers[1].connects, len(brokers[2].clients)), (0, 0, 1))
        # Changed, and removed while it stops for that: it does not come back.
        write(self.uplink("moving", brokers[1].port, client="one"))
        self.reload(gateway)
        wait_for(lambda: self.reloads(gateway) == 3, "the reload is taken")
        write()
        self.reload(gateway)
        wait_for(lambda: [u["name"] for u in self.status()["uplinks"]] == ["steady"], "it is gone")
        self.assertEqual((len(brokers[2].clients), brokers[1].connects), (0, 0))
        # Renamed, under the same client identifier at the same broker: the new name waits for the old one.
        write(self.uplink("first", brokers[0].port, client="one"))
        self.reload(gateway)
        wait_for(lambda: len(brokers[0].clients) == 1, "it is there")
        write(self.uplink("second", brokers[0].port, client="one"))
        self.reload(gateway)
        wait_for(lambda: [u["name"] for u in self.status()["uplinks"] if u["healthy"]] == ["second", "steady"], "the new name is up")
        self.assertEqual([b.most for b in (*brokers, steady)], [1, 0, 1, 1])
        self.assertEqual(steady.connects, 1)
        self.assertEqual(gateway.stop(), 0)

    def test_sigterm_in_the_middle_of_reloads_waits_for_those_that_are_stopping(self):
        deaf, port = DeafBroker(), free_port()
        self.write(self.endpoint("devices", port), self.uplink("one", deaf.port), self.uplink("two", deaf.port))
        gateway = self.gateway(self.folder / "millrace.toml")
        device = self.device(port, "d1", 5, 2)
        wait_for(lambda: len(device.acknowledged) > 5 and deaf.publishes, "something is on its way")
        self.write(self.endpoint("devices", port, 60), self.uplink("one", deaf.port, 2))
        self.reload(gateway)
        wait_for(lambda: self.reloads(gateway) == 1, "the reload is taken")
        began = time.monotonic()
        self.assertEqual(gateway.stop(seconds=12), 0)
        self.assertLess(time.monotonic() - began, 10)
        self.assertTrue(gateway.text().rstrip().endswith("stopped"), gateway.text()[-500:])

    def test_a_reload_while_it_starts_is_not_forgotten(self):
        port = free_port()
        self.write(self.endpoint("devices", port), self.uplink("central", free_port()), windows=WINDOWS % "1min")
        gateway = self.gateway(self.folder / "millrace.toml", wait=False)
        wait_for(lambda: (self.run_folder / "lock").exists(), "it is starting")
        self.write(self.endpoint("devices", port), self.endpoint("more", free_port()), self.uplink("central", free_port()), windows=WINDOWS % "1min")
        self.reload(gateway)
        wait_for(lambda: "is ready" in gateway.text() or gateway.process.poll() is not None, "it has started")
        wait_for(lambda: [i["name"] for i in self.status()["inputs"]] == ["devices", "more"], "the second input is there")

    def early(self, *signals):
        """A start whose first instruction has the signals waiting, and whose stderr nobody reads."""
        def hold():
            signal.pthread_sigmask(signal.SIG_BLOCK, signals)
            for one in signals:
                os.kill(os.getpid(), one)
        reader, writer = os.pipe()
        os.close(reader)
        process = subprocess.Popen([BUILD / "millrace", "run", "-c", self.folder / "millrace.toml"], stderr=writer, preexec_fn=hold)
        os.close(writer)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_signals_that_come_with_the_start_do_what_they_do_later(self):
        port = free_port()
        self.write(self.endpoint("devices", port), self.uplink("central", free_port()))
        for stop in (signal.SIGTERM, signal.SIGINT):
            self.assertEqual(self.early(stop).wait(10), 0, "it ends in good order")
            self.assertEqual(self.early(signal.SIGHUP, stop).wait(10), 0)
        process = self.early(signal.SIGHUP)
        wait_for(lambda: process.poll() is not None or self.http("/readyz") is not None, "it starts, though nobody reads its warnings")
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(15), 0)

    def test_an_uplink_that_left_with_a_backlog_is_told_and_counted(self):
        port, nowhere = free_port(), free_port()
        self.write(self.endpoint("devices", port), self.uplink("old", nowhere), self.uplink("stays", nowhere))
        gateway = self.gateway(self.folder / "millrace.toml")
        device = self.device(port, "d1", 5, 1)
        wait_for(lambda: len(device.acknowledged) >= 50, "readings come")
        device.publishing = False
        wait_for(lambda: not device.flying, "all are acknowledged")
        held = len(device.acknowledged)
        self.write(self.endpoint("devices", port), self.uplink("new", nowhere), self.uplink("stays", nowhere))
        self.reload(gateway)
        wait_for(lambda: self.status()["absent_uplinks"], "it is absent")
        absent = self.status()["absent_uplinks"][0]
        self.assertEqual((absent["name"], absent["records"] >= held), ("old", True))
        line = wait_for(lambda: re.search(r"uplink old: not in the configuration; the log keeps (\d+) records \(about [^)]+\) for it until ", gateway.text()), "a line says so")
        self.assertEqual(int(line.group(1)), absent["records"])
        self.assertEqual(self.metric("millrace_absent_uplink_records", 'uplink="old"'), absent["records"])
        scraped = [l for l in self.http("/metrics").splitlines() if 'uplink="old"' in l]
        self.assertEqual([l.split("{")[0] for l in scraped], [f"millrace_absent_uplink_{what}" for what in ("bytes", "forgotten_timestamp_seconds", "records")])  # nothing of it is frozen
        self.assertIn("uplink old left the configuration", self.command("check").stdout)
        self.assertGreater(absent["bytes"], held)
        # At the next start it is said again; back under its name it has them all.
        self.assertEqual(gateway.stop(), 0)
        self.assertIn(f"uplink old left the configuration: the log keeps {absent['records']} records for it", self.command("check").stdout)  # beside a stopped log
        gateway = self.gateway(self.folder / "millrace.toml")
        wait_for(lambda: gateway.text().count("uplink old: not in the configuration") == 2, "said at the start")
        self.write(self.endpoint("devices", port), self.uplink("old", nowhere), self.uplink("stays", nowhere))
        self.reload(gateway)
        wait_for(lambda: self.metric("millrace_uplink_backlog_records", 'uplink="old"') >= absent["records"], "its records are its own again")
        self.assertEqual(self.metric("millrace_absent_uplink_records", 'uplink="old"'), 0)
        # Gone for good, and its files with it; who is there or only absent keeps his.
        kept = ["schema-id-new", "sparkplug-stays.metrics", "sparkplug-old.text"]
        lost = ["schema-id-old", "sparkplug-old.bdseq", "sparkplug-old.metrics", "sparkplug-older.metrics"]
        for name in kept + lost:
            (self.folder / "log" / name).write_text("x")
        self.write(self.endpoint("devices", port), self.uplink("stays", nowhere))
        self.reload(gateway)
        wait_for(lambda: [a["name"] for a in self.status()["absent_uplinks"]] == ["new", "old"], "both are absent")
        self.assertEqual(self.command("uplink", "forget", "old").returncode, 0)
        self.assertEqual([a["name"] for a in self.status()["absent_uplinks"]], ["new"])
        self.assertEqual(self.command("uplink", "forget", "older").returncode, 0)  # which has files alone
        done = self.command("uplink", "forget", "odl")
        self.assertEqual((done.returncode, done.stderr), (1, 'nothing is kept for an uplink "odl"\n'))
        done = self.command("uplink", "forget", "stays")
        self.assertEqual((done.returncode, done.stderr), (1, 'uplink "stays" is in the configuration; remove it there first\n'))
        self.assertEqual([(self.folder / "log" / name).exists() for name in kept + lost], [True] * len(kept) + [False] * len(lost))
        self.assertNotIn('uplink="old"', self.http("/metrics"))


class Attacks(ReloadSite):
    """What should not be asked of a reload, while a device at QoS 2 goes on at each of two endpoints."""

    def go_on(self, why, more=15):
        before = [len(d.acknowledged) for d in self.devices]
        wait_for(lambda: all(len(d.acknowledged) > n + more for d, n in zip(self.devices, before)), "everybody goes on " + why)

    def set_up_two(self, *more):
        self.a, self.b, self.central = free_port(), free_port(), self.broker()
        self.write(self.endpoint("a", self.a), self.endpoint("b", self.b), *more)
        self.gateway_ = self.gateway(self.folder / "millrace.toml")
        self.devices = [self.device(port, f"d{n}", 4, 2, every=0.002) for n, port in enumerate((self.a, self.b))]
        self.go_on("at first")

    def reloaded(self, words):
        before = self.gateway_.text().count(words)
        self.reload(self.gateway_)
        wait_for(lambda: self.gateway_.text().count(words) > before, "the gateway says: " + words)

    def check_once(self):
        for device in self.devices:
            device.publishing = False
        wait_for(lambda: not any(d.flying for d in self.devices), "every acknowledgement arrives")
        stored = collections.defaultdict(list)
        for line in self.command("log", "export", "--lane", "raw", config=self.start_config).stdout.splitlines():
            record = json.loads(line)
            stored[record["device"]].append(int(record["value"]))
        for device in self.devices:
            self.assertEqual(sorted(device.acknowledged - set(stored[device.name])), [])
            self.assertEqual(len(stored[device.name]), len(set(stored[device.name])), "QoS 2 is stored once")

    def setUp(self):
        super().setUp()
        self.start_config = self.folder / "start.toml"

    def test_broken_files_change_nothing_and_the_good_one_after_them_counts(self):
        self.set_up_two(self.uplink("central", free_port()))
        path = self.folder / "millrace.toml"
        good = path.read_text()
        self.start_config.write_text(good)
        for broken in (good[:len(good) // 2] + "[[", "", good.replace("receive_maximum", "receive_maximun"), good + "\x00", "[gateway]\nname = \"gw\"\n[log]\npath = 5\n"):
            path.write_text(broken)
            self.reloaded("reload: nothing was changed")
            self.go_on("after a broken file")
        path.unlink()
        self.reloaded("reload: nothing was changed")
        path.mkdir()
        self.reloaded("reload: nothing was changed")
        path.rmdir()
        self.go_on("without a file")
        self.write(self.endpoint("a", self.a, 20), self.endpoint("b", self.b, 21), self.uplink("central", free_port()))
        self.reloaded("reload: 3 inputs and uplinks changed")
        self.go_on("with the good file")
        self.check_once()

    def test_what_cannot_change_stays_with_all_that_follows_from_it(self):
        mqtt_input = INPUT % {"name": "in", "port": 1, "version": "5", "client": "x", "value": 30}
        self.set_up_two(mqtt_input.replace('client_id = "x"\n', ""), self.uplink("central", free_port()).replace('client_id = "up-central"\n', ""))
        path, elsewhere = self.folder / "millrace.toml", self.folder / "elsewhere"
        good = path.read_text()
        self.start_config.write_text(good)
        for old, new, words in (('name = "gw"', 'name = "other"', "[gateway]"), (f'path = "{self.folder}/log"', f'path = "{elsewhere}"', "[log]"),
                                ("commit_interval", 'max_size = "16MiB"\ncommit_interval', "[log]"), ("[observe]", '[[windows]]\nname = "w"\n[observe]', "[[windows]]")):
            self.assertIn(old, good)
            path.write_text(good.replace(old, new))
            self.reloaded(f"reload: {words} cannot change at run time")
            wait_for(lambda: self.gateway_.text().rstrip().endswith("reload: 0 inputs and uplinks changed"), "nobody else is disturbed")
            self.go_on("as it was")
        done = self.command("reload")  # who asks is told, too; not each time: the journal takes ten such lines at once
        told = "reload: [[windows]] cannot change at run time; left as it was until the next start"
        self.assertEqual(done.returncode, 0)
        self.assertIn(told, json.loads(done.stdout)["warnings"])
        self.assertIn(f"warning: {told}\n", done.stderr)
        self.assertFalse(elsewhere.exists())
        # Sessions for which there is room beside the file's log, and none beside the one that runs.
        path.write_text(good.replace("commit_interval", 'max_size = "4GiB"\ncommit_interval') + f'''
[[inputs.mqtt_endpoint]]
name = "many"
listen = "127.0.0.1:{free_port()}"
anonymous = true
sessions_max = 60000
[[inputs.mqtt_endpoint.routes]]
topic = "{{device}}/#"
''')
        self.assertEqual(self.command("check").returncode, 0)
        self.reloaded("good for a start, but not beside [log] as it runs, which cannot change at run time: restart the gateway")
        self.go_on("as it was")
        path.write_text(good)
        self.assertEqual(self.status()["gateway"], "gw")
        self.check_once()

    def test_swaps_old_names_and_signals_on_each_others_heels(self):
        self.set_up_two(self.uplink("central", free_port()))
        self.start_config.write_text((self.folder / "millrace.toml").read_text())
        nowhere = self.uplink("central", free_port())
        for step in range(6):
            self.write(self.endpoint("a", self.b), self.endpoint("b", self.a), nowhere)
            self.reload(self.gateway_)
            if step % 2:
                self.go_on("after a swap", 5)
            self.write(self.endpoint("b", self.b), self.endpoint("c", self.a), nowhere)  # b's name goes to the other place, a's is gone
            self.reload(self.gateway_)
            if step % 3:
                self.go_on("under other names", 5)
            self.write(self.endpoint("a", self.a), self.endpoint("b", self.b), nowhere)
            for _ in range(20):
                self.reload(self.gateway_)
        self.go_on("at last")
        wait_for(lambda: [i["name"] for i in self.status()["inputs"]] == ["a", "b"], "the last configuration is in force")
        self.check_once()
        self.assertEqual(self.metric("millrace_dead_letters_total"), 0)
        self.assertEqual(self.gateway_.stop(), 0)


class UnderLoad(ReloadSite):
    def setUp(self):
        super().setUp()
        self.count = int(os.environ.get("MILLRACE_RELOADS", "200"))
        self.seed = int(os.environ.get("MILLRACE_SEED", "1"))
        self.rng = random.Random(self.seed)

    def original(self):
        return [
            {"name": "in5", "form": INPUT, "port": self.field.port, "version": "5", "client": "field5", "value": 30},
            {"name": "in4", "form": INPUT, "port": self.field.port, "version": "3.1.1", "client": "field4", "value": 30},
            {"name": "ep1", "form": ENDPOINT, "port": self.ports[0], "value": 30},
            {"name": "ep2", "form": ENDPOINT, "port": self.ports[1], "value": 30},
            {"name": "scale", "form": SERIAL, "tty": self.tty, "value": 1},
            {"name": "steady", "form": UPLINK, "port": self.central.port, "client": "up-steady", "value": 1},
            {"name": "second", "form": UPLINK, "port": self.central.port, "client": "up-second", "value": 1},
        ]

    def one_change(self, parts, step):
        """Adds, changes, renames, removes, brings back or swaps; `parts` is what the configuration says."""
        here = {part["name"] for part in parts}
        gone = [part for part in self.original() if part["name"] not in here and not any(p.get("was") == part["name"] for p in parts)]
        fresh = [part for part in parts if part["name"] != "steady"]
        what = self.rng.choice(["change", "change", "rename", "remove", "return", "return", "add", "swap", "windows"])
        listened = {part["port"] for part in parts if part["form"] is ENDPOINT}
        gone = [part for part in gone if part["form"] is not ENDPOINT or part["port"] not in listened]
        if what == "return" and gone:
            parts.append(self.rng.choice(gone))
        elif what == "remove" and len(fresh) > 2:
            parts.remove(self.rng.choice(fresh))
        elif what == "rename" and fresh:
            part = self.rng.choice(fresh)
            part.update(was=part.get("was", part["name"]), name=f"{part.get('was', part['name'])}-{step}")
        elif what == "add" and len(parts) < 10:
            kind = self.rng.choice([{"form": ENDPOINT, "port": self.ports[2 + step % 20]},
                                    {"form": UPLINK, "port": self.central.port, "client": f"up-more-{step}"},
                                    {"form": INPUT, "port": self.field.port, "version": "5", "client": f"more{step}"}])
            if not any(p.get("port") == kind["port"] and p["form"] is ENDPOINT for p in parts):
                parts.append({"name": f"more{step}", "value": 30, **kind})
        elif what == "swap":
            endpoints = [p for p in parts if p["form"] is ENDPOINT]
            if len(endpoints) > 1:
                a, b = self.rng.sample(endpoints, 2)
                a["port"], b["port"] = b["port"], a["port"]
        elif what == "windows":
            self.window = self.rng.choice(["30s", "1min", "2min"])
        else:
            part = self.rng.choice(parts)
            part["value"] = 10 + step if part["form"] is not SERIAL else 1 + step % 20
        self.rng.shuffle(parts)

    def where_is_what_is_missing(self, collector, uplink, device, gateway):
        """In words: which numbers, whether others have them, whether the log and its dead letters do, and how they were settled."""
        missing = collector.missing(uplink, device.name, device.acknowledged)
        lines = [f"{uplink}: {len(missing)} of {len(device.acknowledged)} acknowledged by {device.name} are missing: {missing[:40]}"]
        with collector.lock:
            for (other, name), numbers in collector.came.items():
                if name == device.name:
                    lines.append(f"  {other} brought {sum(n in numbers for n in missing)} of them")
        stored = collections.defaultdict(list)
        for line in self.command("log", "export", "--lane", "raw").stdout.splitlines():
            record = json.loads(line)
            if record["device"] == device.name:
                stored[int(record["value"])].append(record["sequence"])
        lines += [f"  in the log, with their sequences: { {n: stored[n] for n in missing[:40] if n in stored} }",
                  f"  their neighbours in the log: { {n: stored.get(n) for m in missing[:5] for n in (m - 1, m + 1)} }",
                  "  dead letters: " + self.command("dlq", "ls", "--json").stdout[:2000]]
        lines += [line for line in self.http("/metrics").splitlines() if "millrace_ledger" in line and f'uplink="{uplink}"' in line]
        lines += [line for line in gateway.text().splitlines() if " WARN " in line or " ERROR " in line][-60:]
        lines.append(f"  the collector connected {collector.connects} times")
        return "\n".join(lines)

    def write_parts(self, parts):
        text = HEAD + WINDOWS % self.window + "".join(part["form"] % part for part in parts)
        for key, value in (("run", self.run_folder), ("log", self.folder / "log"), ("observe", self.observe)):
            text = text.replace("@" + key + "@", str(value))
        (self.folder / "next.toml").write_text(text)
        os.replace(self.folder / "next.toml", self.folder / "millrace.toml")  # a reload never reads half of it

    def receive_maximum(self, port):
        """What an endpoint says it takes: the value of its configuration."""
        with socket.create_connection(("127.0.0.1", port), 5) as connected:
            link = Packets(connected)
            link.send(packet(0x10, mqtt_text("MQTT") + bytes([5, 2]) + struct.pack(">H", 60) + b"\0" + mqtt_text("probe")))
            while not (got := link.take()):
                if not link.more(5):
                    return None
        properties = got[1][3:]
        sizes = {0x21: 2, 0x11: 4, 0x13: 2, 0x22: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1}
        while properties:
            if properties[0] == 0x21:
                return struct.unpack(">H", properties[1:3])[0]
            size = sizes.get(properties[0]) or 2 + struct.unpack(">H", properties[1:3])[0]
            properties = properties[1 + size:]
        return 65535

    def in_force(self, parts):
        status = self.status()
        everybody = status["inputs"] + status["uplinks"]
        return sorted(one["name"] for one in everybody) == sorted(part["name"] for part in parts) and all(one["healthy"] for one in everybody)

    def test_random_reloads_lose_nothing_that_was_acknowledged(self):
        self.field, self.central = self.broker(), self.broker()
        self.ports = [free_port() for _ in range(22)]
        master, slave = pty.openpty()
        tty.setraw(slave)
        self.addCleanup(os.close, master), self.addCleanup(os.close, slave)
        self.tty, self.window = os.ttyname(slave), "1min"
        self.observe = free_port()
        collector = Collector(self.central.port, "up/#")
        self.addCleanup(collector.stop)
        parts = self.original()
        self.write_parts(parts)
        gateway = self.gateway(self.folder / "millrace.toml")
        wait_for(lambda: self.in_force(parts), "everybody is up")
        before = len(os.listdir(f"/proc/{gateway.process.pid}/fd"))
        devices = [self.device(port, f"{'ab'[i]}{version}q{qos}", version, qos) for i, port in enumerate(self.ports[:2]) for version in (4, 5) for qos in (1, 2)]
        field = [FieldDevice(self.field.port, f"{client}-{n}", f"{client}/{client}-{n}/telemetry") for client in ("field4", "field5") for n in (1, 2)]

        for step in range(1, self.count + 1):
            self.one_change(parts, step)
            self.write_parts(parts)
            self.reload(gateway)
            os.write(master, b"%d\n" % step) if step % 10 == 0 else None
            time.sleep(self.rng.uniform(0, 0.4))
            self.assertIsNone(gateway.process.poll(), f"seed {self.seed}, reload {step}:\n" + gateway.text()[-3000:])
        # The last one, while others may still be stopping: everybody under the old name, with values of their own.
        parts = self.original()
        for i, part in enumerate(parts):
            part["value"] = 31 + i if part["form"] is not SERIAL else 2
            if part["form"] is UPLINK:
                part["value"] += self.count + 100
        self.write_parts(parts)
        self.reload(gateway)

        said = f"seed {self.seed}: "
        wait_for(lambda: self.in_force(parts), said + "the last configuration is in force, and everybody is up", 60)
        reached = [len(device.acknowledged) for device in devices]
        wait_for(lambda: all(len(d.acknowledged) > n + 5 for d, n in zip(devices, reached)), said + "every client hears acknowledgements", 60)
        for one in field:
            one.stop()
        for device in devices:
            device.publishing = False
        wait_for(lambda: not any(d.flying for d in devices), said + "every acknowledgement arrives", 60)
        os.write(master, b"4711\n")
        by_name = {part["name"]: part for part in parts}
        for uplink in ("steady", "second"):
            wait_for(lambda: collector.count(uplink, by_name[uplink]["value"]), said + f"{uplink} sends as configured last", 60)
            wait_for(lambda: not collector.missing(uplink, "scale", [4711]), said + f"{uplink}: the last line of the scale", 60)
            for one in devices + field:
                try:
                    wait_for(lambda: not collector.missing(uplink, one.name, one.acknowledged), "", 60)
                except AssertionError:
                    self.fail(said + self.where_is_what_is_missing(collector, uplink, one, gateway))
        self.assertEqual([d.refused for d in devices], [[]] * len(devices))
        self.assertEqual(self.metric("millrace_dead_letters_total"), 0)
        # Nobody was there twice, and each is there as configured last.
        for broker in (self.field, self.central):
            self.assertNotIn("already connected", broker.text())
        for name in ("in4", "in5"):
            keeps = re.findall(rf" as {by_name[name]['client']} \(p\d, c\d, k(\d+)", self.field.text())
            self.assertEqual(int(keeps[-1]), by_name[name]["value"])
        for name in ("ep1", "ep2"):
            self.assertEqual(self.receive_maximum(by_name[name]["port"]), by_name[name]["value"])
        wait_for(lambda: len(os.listdir(f"/proc/{gateway.process.pid}/fd")) <= before + len(devices) + 4, said + "no descriptor stays behind")
        print(f"{self.count} reloads, seed {self.seed}: {sum(len(d.acknowledged) for d in devices)} readings acknowledged by endpoints over "
              f"{sum(d.connects for d in devices)} connections, {sum(len(d.acknowledged) for d in field)} by the broker; "
              f"{sum(n - 1 for key, numbers in collector.came.items() if key[0] == 'steady' for n in numbers.values())} came twice")
        self.assertEqual(gateway.stop(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
