#!/usr/bin/python3
"""Devices publish straight to the gateway: real clients, the errors of both standards by section, logins and rights, TLS, and
that what was acknowledged is in the log after kills and real power cuts."""
import errno
import json
import os
import random
import re
import resource
import selectors
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
import unittest
from pathlib import Path

import paho.mqtt.client as mqtt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from testsite import BUILD, DiskSite, Process, Site, free_port, wait_for

CONFIG = """
[gateway]
name = "gw"
runtime_dir = "@run@"
[log]
path = "@log@"
commit_interval = "200ms"
@logmore@
[[inputs.mqtt_endpoint]]
name = "devices"
listen = "127.0.0.1:@port@"
@input@
  [[inputs.mqtt_endpoint.routes]]
  topic = "plant/{line}/{device}/telemetry"
  tags = ["line"]
  time = "ts"
  metrics = { value = "value" }
  @route@
@more@
[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://127.0.0.1:1"]
initial_interval = "10s"
max_interval = "10s"
[observe]
listen = "127.0.0.1:@observe@"
"""


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(value)) + value


def packet(first, body=b""):
    length, n = b"", len(body)
    while True:
        length += bytes([n & 0x7F | (0x80 if n > 0x7F else 0)])
        n >>= 7
        if not n:
            return bytes([first]) + length + body


def connect(version=5, client="c1", flags=2, keep_alive=60, properties=b"", payload=b"", name="MQTT"):
    body = text(name) + bytes([version, flags]) + struct.pack(">H", keep_alive)
    if version == 5:
        body += bytes([len(properties)]) + properties
    return packet(0x10, body + text(client) + payload)


def publish(topic="plant/l1/d1/telemetry", payload=b'{"ts":1700000000,"value":1}', qos=1, id=1, version=5, properties=b"", flags=0):
    body = text(topic) + (struct.pack(">H", id) if qos else b"") + (bytes([len(properties)]) + properties if version == 5 else b"") + payload
    return packet(0x30 | qos << 1 | flags, body)


def cost_of(pid):
    """(CPU seconds, resident KB) of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1000


class Raw:
    """A socket that speaks packets."""

    def __init__(self, port, *packets):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.settimeout(10)
        self.bytes = b""
        self.send(*packets)

    def send(self, *packets):
        try:
            self.socket.sendall(b"".join(packets))
        except OSError:
            pass

    def packet(self):
        """(first byte, body) of the next packet; None at the end."""
        while True:
            if len(self.bytes) >= 2:
                length, at, shift = 0, 1, 0
                while at < len(self.bytes):
                    length |= (self.bytes[at] & 0x7F) << shift
                    at, shift = at + 1, shift + 7
                    if not self.bytes[at - 1] & 0x80:
                        break
                if len(self.bytes) >= at + length:
                    got = self.bytes[0], self.bytes[at:at + length]
                    self.bytes = self.bytes[at + length:]
                    return got
            try:
                more = self.socket.recv(65536)
            except ConnectionError:
                more = b""
            if not more:
                return None
            self.bytes += more

    def all(self):
        packets = []
        while (one := self.packet()) is not None:
            packets.append(one)
        self.socket.close()
        return packets


class Endpoint(Site):
    def endpoint(self, start=True, **values):
        self.port = free_port()
        plain = {"logmore": "", "input": "anonymous = true", "route": "", "more": ""}
        config = self.configure(CONFIG, port=self.port, **{**plain, **values})
        return self.start(config) if start else config

    def start(self, config=None):
        gateway = self.gateway(config or self.folder / "millrace.toml")
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the endpoint listens")
        return gateway

    def records(self, lane="raw"):
        """What is in the log, once what was taken is committed."""
        return [json.loads(line) for line in self.command("log", "export", "--lane", lane).stdout.splitlines()]

    def publisher(self, *arguments):
        self.publishers = getattr(self, "publishers", 0) + 1
        process = Process([str(BUILD / "tests" / "pipelined_publisher"), str(self.port), *map(str, arguments)], self.folder / f"publisher-{self.publishers}.log")
        self.addCleanup(process.stop, signal.SIGKILL)
        return process

    def answer_of(self, publisher):
        publisher.stop(signal.SIGTERM)
        return json.loads(publisher.text().splitlines()[-1])

    def reload(self, old, new):
        config = self.folder / "millrace.toml"
        config.write_text(config.read_text().replace(old, new))
        before = self.processes[-1].text().count("reload: ")
        self.processes[-1].process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.processes[-1].text().count("reload: ") > before, "it was reloaded")


class Clients(Endpoint):
    def test_clients_people_use_publish_unmodified(self):
        self.endpoint()
        sent = 0
        for version in ("311", "5"):
            for qos in (0, 1, 2):
                sent += 1
                subprocess.run(["mosquitto_pub", "-V", f"mqttv{version}", "-p", str(self.port), "-q", str(qos), "-t", "plant/l1/d1/telemetry",
                                "-m", f'{{"ts":{1700000000 + sent},"value":{sent}}}'], check=True, timeout=20)
        for protocol in (mqtt.MQTTv311, mqtt.MQTTv5):
            client = mqtt.Client(client_id="paho", protocol=protocol)
            client.connect("127.0.0.1", self.port)
            granted = []
            client.on_subscribe = lambda c, u, mid, codes, *rest: granted.append(codes)
            client.loop_start()
            client.subscribe("commands/#")
            for qos in (0, 1, 2):
                for _ in range(50):
                    sent += 1
                    client.publish("plant/l1/d2/telemetry", f'{{"ts":{1700000000 + sent},"value":{sent}}}', qos=qos)
            wait_for(lambda: not client._out_messages and granted, "everything is acknowledged, the subscription refused")
            client.disconnect()
            client.loop_stop()
        wait_for(lambda: self.metric("millrace_admitted_records_total") >= sent, "all is taken")
        wait_for(lambda: len(self.records()) == sent, "all is in the log")
        self.assertEqual(sorted(r["value"] for r in self.records()), list(range(1, sent + 1)))

    def test_the_npm_client(self):
        if not shutil.which("npm") or not shutil.which("node"):
            self.skipTest("neither node nor npm here")
        if subprocess.run(["npm", "install", "--silent", "--prefix", str(self.folder), "mqtt@5"], capture_output=True, timeout=180).returncode != 0:
            self.skipTest("npm cannot install the mqtt package here")
        self.endpoint()
        script = self.folder / "publish.js"
        script.write_text("""
const mqtt = require('mqtt');
const one = (version, from) => new Promise((done, failed) => {
  const client = mqtt.connect('mqtt://127.0.0.1:%d', {protocolVersion: version, clientId: 'npm' + version});
  client.on('error', failed);
  client.on('connect', async () => {
    for (let i = 0; i < 30; ++i) await client.publishAsync('plant/l1/n1/telemetry', JSON.stringify({ts: 1700000000 + from + i, value: from + i}), {qos: i %% 3});
    client.end(false, {}, done);
  });
});
one(4, 0).then(() => one(5, 30)).then(() => process.exit(0), error => { console.error(error); process.exit(1); });
""" % self.port)
        done = subprocess.run(["node", str(script)], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        wait_for(lambda: len(self.records()) == 60, "all is in the log")

    def test_user_properties_content_type_and_client_id_are_used_by_routes(self):
        self.endpoint(route='device = "{client_id}-{device}"\n  content_type = "application/json"', more="""
  [[inputs.mqtt_endpoint.routes]]
  topic = "plant/{line}/{device}/telemetry"
  device = "{property.unit}"
  format = "plain"
  metrics = { level = {} }
""")
        subprocess.run(["mosquitto_pub", "-V", "mqttv5", "-i", "box7", "-p", str(self.port), "-q", "1", "-t", "plant/l1/d1/telemetry", "-m", '{"ts":1700000001,"value":5}',
                        "-D", "publish", "content-type", "application/json"], check=True, timeout=20)
        subprocess.run(["mosquitto_pub", "-V", "mqttv5", "-i", "box8", "-p", str(self.port), "-q", "1", "-t", "plant/l1/d1/telemetry", "-m", "7.5",
                        "-D", "publish", "user-property", "unit", "tank-3"], check=True, timeout=20)
        wait_for(lambda: len(self.records()) == 2, "both are in the log")
        self.assertEqual([(r["device"], r["metric"], r["value"]) for r in self.records()], [("box7-d1", "value", 5), ("tank-3", "level", 7.5)])

    def test_coming_going_and_a_will_are_events(self):
        self.endpoint()
        will = b"\x00" + text("plant/l1/d1/status") + text("gone")
        raw = Raw(self.port, connect(client="d1", flags=2 | 4, payload=will))
        self.assertEqual(raw.packet()[0], 0x20)
        raw.socket.close()  # without a farewell
        raw = Raw(self.port, connect(client="d2", flags=2 | 4, payload=will), packet(0xE0))
        raw.all()
        wait_for(lambda: len(self.records("alarm")) == 5, "five events")
        events = [(r["device"], r["metric"], r["value"]) for r in self.records("alarm")]
        self.assertEqual(sorted(map(str, events)), sorted(map(str, [("d1", "connected", True), ("d1", "connected", False), ("d1", "will", "gone"),
                                                                    ("d2", "connected", True), ("d2", "connected", False)])))

    def test_who_comes_and_goes_without_end_has_a_share_of_the_events(self):
        self.endpoint()
        for _ in range(150):
            raw = Raw(self.port, connect(client="mad"), packet(0xE0))
            self.assertEqual(raw.packet()[0], 0x20)
            raw.all()
        calm = Raw(self.port, connect(client="calm"))
        self.assertEqual(calm.packet()[0], 0x20)
        last = Raw(self.port, connect(client="mad"))  # it stays
        self.assertEqual(last.packet()[0], 0x20)
        wait_for(lambda: any(r["device"] == "calm" for r in self.records("alarm")), "another is told at once")
        wait_for(lambda: self.metric("millrace_endpoint_events_left_out_total") == 301 - 21, "what was left out is told with the next event", 60)
        events = [r for r in self.records("alarm") if r["device"] == "mad"]
        self.assertEqual(len(events), 21)
        self.assertEqual((events[-1]["value"], events[-1]["tags"]["left_out"]), (True, "280"))

    def test_who_takes_a_new_identifier_each_time_has_the_share_of_his_address(self):
        self.endpoint(input="anonymous = true\nconnections_max = 20")
        for i in range(60):
            raw = Raw(self.port, connect(client=f"random-{i}"), packet(0xE0))
            self.assertEqual(raw.packet()[0], 0x20)
            raw.all()
        known = Raw(self.port, connect(client="random-0"))
        self.assertEqual(known.packet()[0], 0x20)
        wait_for(lambda: [r["device"] for r in self.records("alarm")].count("random-0") == 3, "who is known is told of at once")
        self.assertEqual(len(self.records("alarm")), 2 * 20 + 1)

    def test_a_will_that_is_cut_says_so(self):
        gateway = self.endpoint()
        for client, payload in (("w1", "é" * 3000), ("w2", b"\xff" * 6000), ("w3", "y" * 4096)):
            Raw(self.port, connect(version=4, client=client, flags=2 | 4, payload=text("plant/l1/w1/status") + text(payload))).packet()
        wills = lambda: {r["device"]: r for r in self.records("alarm") if r["metric"] == "will"}
        found = wait_for(lambda: (lambda w: w if len(w) == 3 else None)(wills()), "their wills")
        self.assertEqual((found["w1"]["value"], found["w1"]["tags"]["whole_size"]), ("é" * 2048, "6000"))
        self.assertEqual(found["w2"]["tags"]["whole_size"], "6000")
        self.assertEqual(found["w3"]["value"], "y" * 4096)
        self.assertNotIn("whole_size", found["w3"]["tags"])
        self.assertEqual(len(re.findall(r"the will of w[12] for plant/l1/w1/status has 6000 bytes, of which 4096 are kept", gateway.text())), 2)

    def test_connections_that_keep_no_session_take_nobodys_place(self):
        gateway = self.endpoint(input="anonymous = true\nsessions_max = 2")
        clean = [Raw(self.port, connect(client=f"clean-{n}")) for n in range(3)]
        for raw in clean:
            raw.packet()
        expiry = b"\x11" + struct.pack(">I", 3600)
        kept = [Raw(self.port, connect(client=f"kept-{n}", flags=0, properties=expiry)) for n in range(4)]
        granted = [raw.packet()[1] for raw in kept]
        self.assertEqual([b"\x11\0\0\0\0" in body for body in granted], [False, False, True, True])
        wait_for(lambda: self.metric("millrace_endpoint_sessions") == 2, "two are kept")
        self.assertEqual(self.metric("millrace_endpoint_sessions_refused_total"), 2)
        lines = [line for line in gateway.text().splitlines() if "no session is kept" in line]
        self.assertEqual(len(lines), 1, "one a minute")
        self.assertIn("kept-2: no session is kept: sessions_max is 2", lines[0])

    def test_who_may_not_publish_is_told_once(self):
        gateway = self.endpoint(input='anonymous = true\n  [[inputs.mqtt_endpoint.acl]]\n  publish = ["plant/l1/#"]')
        for version, qos in ((4, 0), (5, 1), (4, 1)):
            for again in range(2):
                raw = Raw(self.port, connect(version=version, client=f"dev-{version}-{qos}"), publish(topic="plant/l2/d1/telemetry", version=version, qos=qos), packet(0xC0))
                raw.packet()
                raw.packet()
        wait_for(lambda: self.metric("millrace_endpoint_denied_total") == 6, "six were denied")
        for client in ("dev-4-0", "dev-5-1"):
            self.assertEqual(gateway.text().count(f'{client}: may not publish to "plant/l2/d1/telemetry" ([[inputs'), 1, gateway.text())
        self.assertNotIn('dev-4-1: may not publish to "plant/l2/d1/telemetry" ([[inputs', gateway.text())  # its connection ended, and that is told


class Conformance(Endpoint):
    """Errors of MQTT 5 (and 3.1.1) by section number."""

    def reason_after(self, *packets):
        """The reason of the DISCONNECT that ends the connection; -1 when it just ends."""
        got = Raw(self.port, connect(), *packets).all()
        self.assertEqual(got[0][0], 0x20)
        return got[-1][1][0] if got[-1][0] == 0xE0 and got[-1][1] else -1

    def test_errors_of_both_standards(self):
        self.endpoint(input='anonymous = true\npacket_max = "1KiB"\nreceive_maximum = 10\nack_interval = "200ms"')
        cases = {
            "1.5.4 a topic that is not UTF-8": (0x81, publish(topic=b"plant/\xff")),
            "1.5.4 a topic with U+0000": (0x81, publish(topic=b"plant/\x00x")),
            "1.5.4 a surrogate": (0x81, publish(topic=b"plant/\xed\xa0\x80")),
            "1.5.5 a length of five bytes": (0x81, b"\x30\xff\xff\xff\xff\x01"),
            "2.1.3 reserved flags of PUBREL": (0x81, packet(0x60, b"\x00\x01")),
            "2.2.1 packet identifier 0": (0x82, publish(id=0)),
            "2.2.2 an unknown property": (0x81, publish(properties=b"\x7f\x00")),
            "2.2.2 a property of another packet": (0x81, publish(properties=b"\x21\x00\x05")),
            "2.2.2 a property given twice": (0x82, publish(properties=b"\x01\x00\x01\x00")),
            "2.2.2 properties longer than the packet": (0x81, packet(0x32, text("a") + b"\x00\x01\x7f")),
            "3.1.0 a second CONNECT": (0x82, connect()),
            "3.1.2.11.4 a message too large to be read to its end": (0x95, b"\x32\xff\xff\xff\x7f"),
            "3.1.2.11.4 another packet above the maximum size": (0x95, packet(0x82, b"\x00\x01\x00" + text("a" * 1100) + b"\x00")),
            "3.3.1.1 DUP with QoS 0": (0x81, publish(qos=0, flags=8)),
            "3.3.1.2 QoS 3": (0x81, publish(qos=3)),
            "3.3.2.1 a wildcard in a topic": (0x81, publish(topic="plant/+/d1")),
            "3.3.2.1 no topic and no alias": (0x82, publish(topic="")),
            "3.3.2.3.4 topic alias 0": (0x94, publish(properties=b"\x23\x00\x00")),
            "3.3.2.3.4 a topic alias above the maximum": (0x94, publish(properties=b"\x23\xff\x00")),
            "3.3.2.3.4 a topic alias that was not set": (0x82, publish(topic="", properties=b"\x23\x00\x03")),
            "3.3.2.3.2 a payload format that is neither": (0x82, publish(properties=b"\x01\x02")),
            "3.3.4 more than the receive maximum": (0x93, *(publish(id=i) for i in range(1, 13))),
            "3.3.4 a subscription identifier from a client": (0x82, publish(properties=b"\x0b\x01")),
            "3.4 PUBACK that is cut off": (0x81, packet(0x40, b"\x00")),
            "3.6.2.1 PUBREL for a reason that it does not have": (0x82, packet(0x62, b"\x00\x01\xff")),
            "3.8.1 SUBSCRIBE without its flags": (0x81, packet(0x80, b"\x00\x01\x00" + text("a") + b"\x00")),
            "3.8.3 SUBSCRIBE without a filter": (0x82, packet(0x82, b"\x00\x01\x00")),
            "3.12 PINGREQ with a body": (0x81, packet(0xC0, b"x")),
            "3.14.2.2.2 a session expiry that CONNECT did not ask for": (0x82, packet(0xE0, b"\x00\x05\x11\x00\x00\x00\x09")),
            "3.15 AUTH without extended authentication": (0x82, packet(0xF0, b"\x18\x00")),
            "2.1.2 packet type 0": (0x82, packet(0x00)),
            "3.2 CONNACK from a client": (0x82, packet(0x20, b"\x00\x00\x00")),
        }
        for name, (reason, *packets) in cases.items():
            with self.subTest(name):
                self.assertEqual(self.reason_after(*packets), reason)
        self.assertEqual(self.http("/readyz"), "ready\n")

    def test_who_is_sent_away_is_heard_out(self):
        """4.13: a client that goes on sending while it is told why it has to go does not meet a closed socket."""
        self.endpoint(input="anonymous = true\nreceive_maximum = 10")
        raw = Raw(self.port, connect(), *(publish(id=i, qos=2) for i in range(1, 13)))
        time.sleep(1)
        for i in range(1, 11):
            raw.socket.sendall(packet(0x62, struct.pack(">H", i)))  # fails where the connection was reset
            time.sleep(0.05)
        self.assertEqual(raw.all()[-1], (0xE0, b"\x93"))
        raw.socket.close()
        wait_for(lambda: self.metric("millrace_endpoint_connections") == 0, "the connection is over")

    def connack_of(self, *packets):
        got = Raw(self.port, *packets).all()
        return got[0][1][1] if got and got[0][0] == 0x20 else None

    def test_errors_of_connect(self):
        self.endpoint()
        cases = {
            "3.1 the first packet is no CONNECT": (None, publish()),
            "3.1.2.1 another protocol name": (None, connect(name="MQXX", version=4)),
            "3.1.2.2 version 3 under the name of version 4": (1, connect(version=3)),
            "2.1.3 reserved flags of CONNECT": (None, b"\x11" + connect(version=4)[1:]),
            "3.1.1: 3.1.2.3 the reserved flag": (None, connect(version=4, flags=3)),
            "3.1.2.2 version 6": (0x84, connect(version=6)),
            "3.1.2.3 the reserved flag": (0x81, connect(flags=3)),
            "3.1.2.6 will QoS without a will": (0x81, connect(flags=2 | 8)),
            "3.1.2.6 will QoS 3": (0x81, connect(flags=2 | 4 | 0x18, payload=b"\x00" + text("a") + text("b"))),
            "3.1.2.11.3 receive maximum 0": (0x82, connect(properties=b"\x21\x00\x00")),
            "3.1.2.11.9 an authentication method": (0x8C, connect(properties=b"\x15" + text("SCRAM"))),
            "3.1.2.11.10 authentication data without a method": (0x82, connect(properties=b"\x16" + text("x"))),
            "3.1.3 bytes behind the end": (0x81, connect(payload=b"x")),
            "3.1.3.3 a will topic with a wildcard": (0x82, connect(flags=2 | 4, payload=b"\x00" + text("a/#") + text("b"))),
            "3.1.1: 3.1.3.1 no identifier and no clean session": (2, connect(version=4, client="", flags=0)),
            "3.1.1: 3.1.2.9 a password without a user": (None, connect(version=4, flags=2 | 0x40, payload=text("x"))),
        }
        for name, (reason, *packets) in cases.items():
            with self.subTest(name):
                self.assertEqual(self.connack_of(*packets), reason)

    def test_what_must_work(self):
        self.endpoint()
        raw = Raw(self.port, connect(client="", properties=b"\x11\x00\x00\x00\x3c"))
        first, body = raw.packet()
        self.assertEqual((first, body[1]), (0x20, 0))
        self.assertIn(b"\x12", body)  # 3.2.2.3.7 an assigned identifier
        raw.send(publish(properties=b"\x23\x00\x02"), publish(topic="", id=2, properties=b"\x23\x00\x02"))  # 3.3.2.3.4
        self.assertEqual([raw.packet() for _ in range(2)], [(0x40, b"\x00\x01"), (0x40, b"\x00\x02")])
        raw.send(packet(0x82, b"\x00\x09\x00" + text("a/#") + b"\x01" + text("b") + b"\x00"), packet(0xA2, b"\x00\x0a\x00" + text("a/#")), packet(0xC0))
        self.assertEqual([raw.packet() for _ in range(3)], [(0x90, b"\x00\x09\x00\xa2\x87"), (0xB0, b"\x00\x0a\x00\x11"), (0xD0, b"")])
        old = Raw(self.port, connect(version=4, client="old"), packet(0x82, b"\x00\x09" + text("a/#") + b"\x01"))
        self.assertEqual([old.packet() for _ in range(2)], [(0x20, b"\x00\x00"), (0x90, b"\x00\x09\x80")])
        # 3.1.4-3: another connection takes the identifier over
        again = Raw(self.port, connect(client="same"))
        self.assertEqual(again.packet()[0], 0x20)
        other = Raw(self.port, connect(client="same"))
        self.assertEqual(again.all()[-1], (0xE0, b"\x8e"))
        self.assertEqual(other.packet()[0], 0x20)

    def test_silence_and_slowness_are_bounded(self):
        self.endpoint(input='anonymous = true\nconnect_timeout = "1s"\nconnections_max = 5')
        mute = Raw(self.port)
        quiet = Raw(self.port, connect(keep_alive=1))
        self.assertEqual(quiet.all()[-1], (0xE0, b"\x8d"))  # 3.1.2.10
        self.assertEqual(mute.all(), [])
        for one in (quiet, mute):
            one.socket.close()
        wait_for(lambda: self.metric("millrace_endpoint_connections") == 0, "both are gone")
        held = [Raw(self.port, connect(client=f"h{i}")) for i in range(5)]
        for one in held:
            self.assertEqual(one.packet()[0], 0x20)
        self.assertEqual(Raw(self.port, connect(client="h6")).all(), [])
        wait_for(lambda: self.metric("millrace_endpoint_over_limit_total") == 1, "it is counted")

    def test_whoever_speaks_another_protocol_is_let_go_and_told_apart(self):
        """On a port in clear and on one for TLS, beside a device each that goes on."""
        tls, with_tls = self.tls(), free_port()
        config = self.endpoint(start=False, more=f'''[[inputs.mqtt_endpoint]]
name = "safe"
listen = "127.0.0.1:{with_tls}"
anonymous = true
tls_cert = "{tls}/server.pem"
tls_key_file = "{tls}/server.key"
  [[inputs.mqtt_endpoint.routes]]
  topic = "plant/{{line}}/{{device}}/telemetry"
''')
        gateway = self.gateway(config)
        wait_for(lambda: self.metric("millrace_input_up") == 2, "both listen")
        context = ssl.create_default_context(cafile=f"{tls}/ca.pem")
        device = Raw(self.port, connect(client="in-clear"))
        safe = Raw(with_tls)
        safe.socket = context.wrap_socket(safe.socket, server_hostname="localhost")
        safe.send(connect(client="by-tls"))
        for one in (device, safe):
            self.assertEqual(one.packet()[0], 0x20)

        def hello(port):
            with self.assertRaises(OSError), socket.create_connection(("127.0.0.1", port), 10) as raw:
                context.wrap_socket(raw, server_hostname="localhost")
        request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        for name, port, speak, words, advice in (
                ("devices", self.port, lambda: hello(self.port), "what came is TLS, and this port takes MQTT without it", "let the device connect without TLS"),
                ("devices", self.port, lambda: self.assertEqual(Raw(self.port, request).all(), []), "what came is HTTP, and this port takes MQTT", r"at \[observe\] listen"),
                ("safe", with_tls, lambda: self.assertEqual(Raw(with_tls, request).all(), []), "TLS: what came is HTTP, and not by TLS", r"at \[observe\] listen"),
                ("safe", with_tls, lambda: self.assertEqual(Raw(with_tls, connect()).all(), []), "TLS: what came is MQTT without TLS", "let the device connect by TLS"),
                ("safe", with_tls, lambda: self.assertEqual(Raw(with_tls, connect(version=3, name="MQIsdp")).all(), []), "TLS: what came is MQTT without TLS", "let the device connect by TLS")):
            with self.subTest(words, port=port):
                speak()
                wait_for(lambda: f"input {name}: a connection from 127.0.0.1: {words}\n" in gateway.text(), "it is told")
                self.assertRegex(self.command("status").stdout, rf"{name}: a device, from 127\.0\.0\.1: {words}; .*\n +next: .*{advice}")
        for one in (device, safe):
            one.send(publish())
            self.assertEqual(one.packet()[0], 0x40)
            one.socket.close()


class OddClients(Endpoint):
    """Old, large and misbehaving clients: each is served or told, and its neighbours do not notice."""

    def lines(self, words):
        return [line for line in (self.folder / "gateway.log").read_text().splitlines() if words in line]

    def test_mqtt_3_1_is_taken(self):
        self.endpoint()
        for qos in (0, 1, 2):
            subprocess.run(["mosquitto_pub", "-V", "mqttv31", "-p", str(self.port), "-q", str(qos), "-t", "plant/l1/d1/telemetry",
                            "-m", f'{{"ts":{1700000000 + qos},"value":{qos}}}'], check=True, timeout=20)
        wait_for(lambda: [r["value"] for r in self.records()] == [0, 1, 2], "all are in the log")

    def test_stock_mosquitto_bridges_connect_and_deliver(self):
        self.endpoint()
        bridges = ""
        for name, version in (("one", ""), ("two", "bridge_protocol_version mqttv31"), ("three", "bridge_protocol_version mqttv50")):
            bridges += f"connection {name}\naddress 127.0.0.1:{self.port}\n{version}\ntopic plant/{name}/# out 1\n"
        broker = self.broker(extra=bridges)
        wait_for(lambda: self.metric("millrace_endpoint_connects_total") >= 3, "the bridges are in")
        for name in ("one", "two", "three"):
            self.publish(broker.port, f"plant/{name}/d1/telemetry", '{"ts":1700000001,"value":7}')
        wait_for(lambda: len(self.records()) == 3, "what they bring is in the log")
        self.assertEqual(self.metric("millrace_endpoint_connects_total"), 3)

    def test_qos_2_of_3_1_1_with_more_under_way_than_the_receive_maximum(self):
        self.endpoint(input='anonymous = true\nreceive_maximum = 10')
        publishers = []
        for name in ("d1", "d2"):
            publisher = subprocess.Popen(["mosquitto_pub", "-V", "mqttv311", "-p", str(self.port), "-q", "2", "-l", "-t", f"plant/l1/{name}/telemetry"],
                                         stdin=subprocess.PIPE, text=True)
            self.addCleanup(publisher.kill)
            publisher.stdin.write("".join(f'{{"ts":{1700000000 + n},"value":{n}}}\n' for n in range(200)))
            publisher.stdin.close()
            publishers.append(publisher)
        for publisher in publishers:
            self.assertEqual(publisher.wait(30), 0)
        wait_for(lambda: len(self.records()) == 400, "all are in the log")
        for name in ("d1", "d2"):
            self.assertEqual(sorted(r["value"] for r in self.records() if r["device"] == name), list(range(200)))

    def test_whoever_was_held_back_for_answers_that_need_no_commit_goes_on(self):
        self.endpoint(input='anonymous = true\nreceive_maximum = 10')
        for version in (4, 5):
            raw = Raw(self.port, connect(client=f"c{version}", version=version))
            self.assertEqual(raw.packet()[0], 0x20)
            count = 20 if version == 4 else 10
            raw.send(*(publish(qos=2, id=n, version=version) for n in range(1, count + 1)))
            self.assertEqual([raw.packet()[0] for _ in range(count)], [0x50] * count)
            # All at once: releases, which a session that ends with the connection saves nowhere, and a message behind them.
            # MQTT 5 may send the message when it has heard the first PUBCOMP (section 4.9), 3.1.1 whenever it likes.
            behind = publish(qos=1, id=999, version=4) if version == 4 else packet(0xC0)
            raw.send(b"".join(packet(0x62, struct.pack(">H", n)) for n in range(1, count + 1)) + behind)
            answers = [raw.packet()[0] for _ in range(count + 1)]
            self.assertEqual(answers.count(0x70), count)
            raw.send(b"".join(packet(0x62, struct.pack(">H", n)) for n in range(1, 1001)) + packet(0xC0))
            answers = [raw.packet()[0] for _ in range(1001)]
            self.assertEqual((answers.count(0x70), answers.count(0xD0)), (1000, 1))

    def test_what_is_too_large_is_told_and_what_is_behind_it_flows(self):
        self.endpoint()
        honest = Raw(self.port, connect(client="honest"))
        self.assertEqual(honest.packet()[0], 0x20)
        for n, version in enumerate((4, 5)):
            client, topic = f"camera-{version}", f"plant/l1/camera-{version}/telemetry"
            raw = Raw(self.port, connect(client=client, version=version), publish(topic, b"[" + b"7" * 70_000, 1, 1, version),
                      publish(topic, b"[" + b"7" * 70_000, 2, 2, version), publish(topic, id=3, version=version))
            answers = [raw.packet() for _ in range(4)]
            self.assertEqual([first for first, _ in answers], [0x20, 0x40, 0x50, 0x40])
            self.assertEqual(answers[3][1], b"\x00\x03")
            if version == 5:  # the reason, and in words the size and the limit
                self.assertEqual((answers[1][1][2], answers[2][1][2]), (0x97, 0x97))
                self.assertRegex(answers[1][1], b"7\\d{4} bytes is larger than packet_max, 65536 bytes")
            else:
                self.assertEqual((answers[1][1], answers[2][1]), (b"\x00\x01", b"\x00\x02"))
            wait_for(lambda: self.metric("millrace_endpoint_too_large_total") == 2 * n + 2, "they are counted")
            told = self.lines(client + ":")
            self.assertEqual(len(told), 2)
            for words in ("70001 bytes", "packet_max", "65536", topic):
                self.assertIn(words, told[0])
            honest.send(publish(id=n + 1))
            self.assertEqual(honest.packet(), (0x40, bytes([0, n + 1])))
        wait_for(lambda: len(self.records()) == 4, "what is not too large is in the log")
        letters = self.records("dead")
        self.assertEqual(len(letters), 4)
        self.assertIn("70001 bytes", json.dumps(letters[0]))
        wait_for(lambda: self.metric("millrace_undecodable_total") == 4, "they are in the ledger")

    def test_sockets_of_devices_have_tcp_keep_alive(self):
        gateway = self.endpoint()
        raws = [Raw(self.port, connect(version=version, client=f"c{version}", keep_alive=0)) for version in (4, 5)]
        for raw in raws:
            self.assertEqual(raw.packet()[0], 0x20)
        shown = subprocess.run(["ss", "-tnoH", "sport", "=", f":{self.port}"], capture_output=True, text=True)
        if shown.returncode != 0:
            self.skipTest("no ss here")
        self.assertEqual(shown.stdout.count("timer:(keepalive"), 2, shown.stdout)
        self.assertIsNone(gateway.process.poll())

    def test_all_together_hold_no_more_than_they_may_and_who_holds_most_goes_first(self):
        self.endpoint(input='anonymous = true\npacket_max = "1MiB"')
        honest = Raw(self.port, connect(client="honest"), publish())
        self.assertEqual([honest.packet()[0] for _ in range(2)], [0x20, 0x40])
        half = publish(payload=b"x" * 1_000_000)[:900_000]  # never the rest
        hoarders = [Raw(self.port, connect(client=f"hoarder-{n}"), half) for n in range(100)]
        wait_for(lambda: self.metric("millrace_endpoint_faults_total") >= 10, "some had to go")
        self.assertLess(self.metric("millrace_endpoint_memory_bytes"), 65 << 20)
        self.assertTrue(self.lines("this one most of it"))
        honest.send(publish(id=2))
        self.assertEqual(honest.packet(), (0x40, b"\x00\x02"))
        for hoarder in hoarders:
            hoarder.socket.close()
        wait_for(lambda: self.metric("millrace_endpoint_memory_bytes") < 1 << 20, "what they held is free again")

    def test_releases_without_end_take_no_memory_and_harm_nobody(self):
        gateway = self.endpoint(input='anonymous = true\nack_interval = "10s"')
        before = cost_of(gateway.process.pid)[1]
        flood = Raw(self.port, connect(client="flood"), publish())  # its PUBACK waits, and all that follows with it
        flood.socket.setblocking(False)
        chunk, sent = b"".join(packet(0x62, struct.pack(">H", n + 1)) for n in range(16_000)), 0
        deadline = time.monotonic() + 60
        while sent < 64 << 20 and time.monotonic() < deadline:
            try:
                sent += flood.socket.send(chunk)
            except BlockingIOError:
                break  # nobody reads it any more
        honest = Raw(self.port, connect(client="honest"), packet(0xC0))
        self.assertEqual([honest.packet()[0] for _ in range(2)], [0x20, 0xD0])
        self.assertLess(cost_of(gateway.process.pid)[1] - before, 20_000)


class Access(Endpoint):
    def add_user(self, name, password):
        done = subprocess.run([str(BUILD / "millrace"), "passwd", str(self.folder / "users"), name], input=password + "\n", text=True, capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)

    def publish_as(self, *extra, topic="plant/line-1/d1/telemetry", version="mqttv5", payload='{"ts":1700000001,"value":1}'):
        return subprocess.run(["mosquitto_pub", "-V", version, "-p", str(self.port), "-q", "1", "-t", topic, "-m", payload, *extra], capture_output=True, text=True, timeout=60)

    def test_users_and_what_they_may_publish(self):
        self.add_user("line-1", "sesame")
        self.add_user("line-2", "other")
        self.endpoint(input=f'users_file = "{self.folder}/users"', more='  [[inputs.mqtt_endpoint.acl]]\n  users = ["line-*"]\n  publish = ["plant/{username}/#"]\n')
        self.assertEqual(self.publish_as("-u", "line-1", "-P", "sesame").returncode, 0)
        self.assertNotEqual(self.publish_as("-u", "line-1", "-P", "wrong").returncode, 0)
        self.assertNotEqual(self.publish_as("-u", "nobody", "-P", "sesame").returncode, 0)
        self.assertNotEqual(self.publish_as().returncode, 0)
        # MQTT 5 is told that the topic is not his; 3.1.1 has no word for it and is sent away.
        raw = Raw(self.port, connect(client="x", flags=2 | 0xC0, payload=text("line-2") + text("other")), publish(topic="plant/line-1/d1/telemetry"))
        self.assertEqual([raw.packet()[0], raw.packet()], [0x20, (0x40, b"\x00\x01\x87")])
        self.assertEqual(self.metric("millrace_endpoint_denied_total"), 1)
        self.add_user("line-3", "fresh")  # counts without a restart
        self.assertEqual(self.publish_as("-u", "line-3", "-P", "fresh", topic="plant/line-3/d1/telemetry").returncode, 0)
        wait_for(lambda: len(self.records()) == 2, "two were let through")
        self.assertNotIn("sesame", (self.folder / "gateway.log").read_text() + (self.http("/metrics") or ""))

    def refused(self):
        return [(one["client"], one["user"], one["topic"], one["reason"]) for one in self.status()["inputs"][0]["refused"]]

    def test_who_is_refused_is_told_by_status_and_trace(self):
        self.add_user("line-1", "sesame")
        self.endpoint(input=f'users_file = "{self.folder}/users"', more='  [[inputs.mqtt_endpoint.acl]]\n  users = ["line-*"]\n  publish = ["plant/{username}/#"]\n')
        self.assertEqual(self.refused(), [])
        self.assertNotEqual(self.publish_as("-i", "press-7", "-u", "line-1", "-P", "wrong").returncode, 0)
        wait_for(lambda: self.refused() == [("press-7", "line-1", "", "wrong user name or password")], "it is told")
        one = self.status()["inputs"][0]["refused"][0]
        self.assertEqual(one["from"], "127.0.0.1")
        self.assertEqual(one["next"], f"let the device and users_file say the same: millrace passwd {self.folder}/users USER")
        page = self.command("status").stdout
        self.assertRegex(page, r"(?m)^  refused       devices: press-7, user line-1, from 127\.0\.0\.1: wrong user name or password; .* ago$")
        traced = self.command("trace", "press-7").stdout
        self.assertRegex(traced, r"(?m)^nothing of press-7 is in the log.*\nrefused by input devices: press-7, user line-1, .*: wrong user name or password; .* ago\n  next: let the device")
        self.assertNotIn("refused", self.command("trace", "press-8").stdout)
        # It may come in now, and publishes where it may not: by its topic it is d9.
        self.assertEqual(self.publish_as("-i", "press-7", "-u", "line-1", "-P", "sesame").returncode, 0)
        wait_for(lambda: self.refused() == [], "what kept it out is over")
        raw = Raw(self.port, connect(client="press-7", flags=2 | 0xC0, payload=text("line-1") + text("sesame")), publish(topic="plant/line-2/d9/telemetry"))
        self.assertEqual([raw.packet()[0], raw.packet()], [0x20, (0x40, b"\x00\x01\x87")])
        self.assertEqual(self.refused(), [("press-7", "line-1", "plant/line-2/d9/telemetry", "may not publish to this topic")])
        self.assertIn("may not publish to this topic (plant/line-2/d9/telemetry)", self.command("trace", "d9").stdout)
        raw.socket.close()
        # However many names somebody makes up: the last few, and the one that was there before.
        for n in range(40):
            Raw(self.port, connect(client=f"made-up-{n}", flags=2 | 0xC0, payload=text("nobody\x1b[2J") + text("x"))).all()
        self.assertEqual(len(self.refused()), 8)
        self.assertNotIn("\x1b", self.command("status").stdout + self.command("status", "--json").stdout)

    def test_a_pipe_in_the_place_of_a_file_stops_nobody(self):
        # Reading one waits for whoever writes there, and everything would wait with it.
        self.add_user("line-1", "sesame")
        tls = self.tls()
        ca = self.folder / "ca.pem"
        shutil.copy(tls / "ca.pem", ca)
        users = self.folder / "users"
        gateway = self.endpoint(input=f'users_file = "{users}"\ntls_cert = "{tls}/server.pem"\ntls_key_file = "{tls}/server.key"\ntls_ca = "{ca}"')
        secure = ("--cafile", tls / "ca.pem", "-u", "line-1", "-P", "sesame")
        self.assertEqual(self.publish_as(*secure).returncode, 0)
        for file in (users, ca):
            file.unlink()
            os.mkfifo(file, 0o600)
        wait_for(lambda: f"{users} is no file; the users stay as they were" in gateway.text(), "that is told")
        self.assertEqual(self.publish_as(*secure).returncode, 0)
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "reload: " in gateway.text(), "it is still there")
        self.assertEqual(self.http("/healthz"), "ok\n")
        config, kept = self.folder / "millrace.toml", self.folder / "kept.toml"
        config.rename(kept)
        os.mkfifo(config)
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda: f"{config}: it is no file, and not read again" in gateway.text(), "nor is the configuration waited for")
        self.assertEqual(self.http("/healthz"), "ok\n")
        kept.rename(config)
        gateway.stop()
        gateway = self.gateway(self.folder / "millrace.toml")
        wait_for(lambda: f"waiting for users_file: {users} is no file; tls_ca: {ca} is no file" in gateway.text(), "what a start waits for")

    def test_check_names_what_nobody_could_use(self):
        config = self.endpoint(start=False, input="")
        self.assertIn("nobody can connect", self.command("check").stderr)
        config = self.endpoint(start=False, input=f'users_file = "{self.folder}/users"')
        (self.folder / "users").write_text("line-1:plain\n")
        (self.folder / "users").chmod(0o600)
        checked = self.command("check")
        self.assertEqual(checked.returncode, 0, checked.stderr)  # a users file is waited for
        self.assertRegex(checked.stdout, r"warning: \S+:\d+:\d+: .*users_file: no line of it is a user: \S*users:1:")
        acl = "\n  [[inputs.mqtt_endpoint.acl]]\n  "
        for input, words in ((f'users_file = "{self.folder}/users"' + acl + 'clients = ["{client_id}"]\n  publish = ["plant/#"]', '"{client_id}": known are {username} and {subject}'),
                             (f'users_file = "{self.folder}/users"' + acl + 'users = ["{username}"]\n  publish = ["plant/#"]', '"{username}": no name can be used here'),
                             (f'users_file = "{self.folder}/users"' + acl + 'publish = ["plant/{subject}/#"]', "no subjects without client_certificates"),
                             ("anonymous = true" + acl + 'clients = ["{username}-*"]\n  publish = ["plant/#"]', "no users without users_file")):
            self.endpoint(start=False, input=input)
            self.assertIn(words, self.command("check").stderr)
        self.endpoint(start=False, input="anonymous = true" + acl + 'clients = ["{12345678-ABCD}", "\\\\{word}"]\n  publish = ["other/#"]')
        checked = self.command("check")
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.assertIn('no route takes what an [[acl]] lets publish ("other/#")', checked.stdout)
        self.assertIn('no [[acl]] lets anybody publish to the route "plant/+/+/telemetry"', checked.stdout)
        for listen, refused in (("0.0.0.0", True), ("[::]", True), ("127.0.0.2", False), ("[::1]", False)):
            config = self.endpoint(start=False)
            config.write_text(config.read_text() + f'[[inputs.mqtt_endpoint]]\nname = "b"\nlisten = "{listen}:{self.port}"\nanonymous = true\n'
                              '  [[inputs.mqtt_endpoint.routes]]\n  topic = "a/{device}"\n')
            self.assertEqual("can be had once" in self.command("check").stderr, refused, listen)
        config = self.endpoint(start=False, input=f'users_file = "{self.folder}/users"')
        config.write_text(config.read_text().replace("users_file", "user_file"))
        self.assertIn("users_file", self.command("check").stderr)

    def test_a_device_that_refuses_our_certificate_is_told_as_that(self):
        """Whether or not it is to show one of its own."""
        tls = self.tls()
        server = f'anonymous = true\ntls_cert = "{tls}/server.pem"\ntls_key_file = "{tls}/server.key"\n'
        for more in ("", f'tls_ca = "{tls}/ca.pem"\nclient_certificates = "optional"\n'):
            gateway = self.endpoint(input=server + more)
            for name, reason in (("localhost", r"it does not know the CA that issued it \(unknown_ca\)"), ("other.example", r"it is not good \(bad_certificate\)")):
                trusted = ssl.create_default_context(cafile=f"{tls}/ca.pem" if name == "other.example" else None)
                with self.subTest(name, more=more), self.assertRaises(ssl.SSLCertVerificationError), socket.create_connection(("127.0.0.1", self.port), 10) as raw:
                    trusted.wrap_socket(raw, server_hostname=name)
                words = rf"TLS: the device refused our certificate \(tls_cert\): {reason}"
                wait_for(lambda: re.search(rf"input devices: a connection from 127\.0\.0\.1: {words}\n", gateway.text()), "it is told")
                self.assertRegex(self.command("status").stdout, words + r"; .*\n +next: give the device the CA that issued tls_cert")
            gateway.stop()

    def test_tls_and_client_certificates(self):
        tls = self.tls()
        self.endpoint(input=f'tls_cert = "{tls}/server.pem"\ntls_key_file = "{tls}/server.key"\ntls_ca = "{tls}/ca.pem"\nclient_certificates = "required"',
                      more='  [[inputs.mqtt_endpoint.acl]]\n  subjects = ["millrace-client"]\n  publish = ["plant/{subject}/#"]\n')
        with_cert = ("--cafile", f"{tls}/ca.pem", "--cert", f"{tls}/client.pem", "--key", f"{tls}/client.key")
        done = self.publish_as(*with_cert, topic="plant/millrace-client/d1/telemetry")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotEqual(self.publish_as("--cafile", f"{tls}/ca.pem", topic="plant/millrace-client/d1/telemetry").returncode, 0)
        self.assertNotEqual(self.publish_as(topic="plant/millrace-client/d1/telemetry").returncode, 0)
        big = '{"ts":1700000002,"value":2,"pad":"%s"}' % ("x" * 50_000)  # several records of TLS, several reads
        self.assertEqual(self.publish_as(*with_cert, topic="plant/millrace-client/d1/telemetry", payload=big).returncode, 0)
        wait_for(lambda: len(self.records()) == 2, "both are in the log")
        server = f'tls_cert = "{tls}/server.pem"\ntls_key_file = "{tls}/server.key"\ntls_ca = "{tls}/ca.pem"\n'
        for asked, told in (("", True), ('client_certificates = "optional"', False)):
            self.endpoint(start=False, input="anonymous = true\n" + server + asked)
            checked = self.command("check")
            self.assertEqual(checked.returncode, 0, checked.stderr)
            self.assertEqual('input "devices": tls_ca: nobody is asked for a certificate' in checked.stdout, told, checked.stdout)
        self.endpoint(start=False, input='anonymous = true\nsessions_max = 0\nsession_expiry_max = "1d"')
        self.assertIn("session_expiry_max: it does nothing: sessions_max = 0", self.command("check").stdout)

    def test_tls_sessions_are_resumed_also_after_a_restart(self):
        tls = self.tls()
        gateway = self.endpoint(input=f'anonymous = true\ntls_cert = "{tls}/server.pem"\ntls_key_file = "{tls}/server.key"')
        context = ssl.create_default_context(cafile=f"{tls}/ca.pem")
        context.maximum_version = ssl.TLSVersion.TLSv1_2

        def visit(session=None):
            with socket.create_connection(("127.0.0.1", self.port), 10) as raw, context.wrap_socket(raw, server_hostname="localhost", session=session) as s:
                s.sendall(connect())
                self.assertEqual(s.recv(100)[0], 0x20)
                return s.session, s.session_reused

        session, reused = visit()
        self.assertFalse(reused)
        self.assertTrue(visit(session)[1])
        keys = self.folder / "log" / "tls-tickets-devices"
        wait_for(keys.exists, "the keys are kept")
        gateway.stop(signal.SIGKILL)
        self.start()
        self.assertTrue(visit(session)[1])
        self.assertEqual(keys.stat().st_mode & 0o777, 0o600)
        # Without TLS nobody has a use for them.
        self.reload(f'tls_cert = "{tls}/server.pem"\ntls_key_file = "{tls}/server.key"', "")
        wait_for(lambda: not keys.exists(), "the keys are gone")


    # ---- principals
    def issue(self, name, subject, patch=None, ca="ca"):
        """A client certificate; `patch` replaces bytes of it, and it is signed again: names that openssl itself would not write."""
        tls = self.tls()
        run = lambda *command, **more: subprocess.run(command, check=True, capture_output=True, cwd=tls, **more).stdout
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-utf8", "-subj", f"/CN={subject}")
        run("openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", "3", "-out", f"{name}.pem")
        if patch:
            def element(at):  # (start of the content, end) of the DER element at `at`
                size, at = der[at + 1], at + 2
                if size & 0x80:
                    count = size & 0x7F
                    size, at = int.from_bytes(der[at:at + count], "big"), at + count
                return at, at + size

            def sized(tag, content):
                length = len(content)
                return bytes([tag]) + (bytes([length]) if length < 0x80 else b"\x82" + struct.pack(">H", length)) + content

            der = run("openssl", "x509", "-in", f"{name}.pem", "-outform", "DER")
            begin = element(0)[0]
            signed, algorithm = der[begin:element(begin)[1]], der[element(begin)[1]:element(element(begin)[1])[1]]
            self.assertIn(patch[0], signed)
            signed = signed.replace(*patch)
            (tls / "signed").write_bytes(signed)
            signature = run("openssl", "dgst", "-sha256", "-sign", f"{ca}.key", "signed")
            run("openssl", "x509", "-inform", "DER", "-out", f"{name}.pem", input=sized(0x30, signed + algorithm + sized(0x03, b"\0" + signature)))
        return tls / f"{name}.pem", tls / f"{name}.key"

    def secure(self, certificate, *packets, session=None):
        """A Raw over TLS, with a client certificate where one is given."""
        context = ssl.create_default_context(cafile=f"{self.tls()}/ca.pem")
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        if certificate:
            context.load_cert_chain(*certificate)
        raw = Raw(self.port)
        raw.context = context
        raw.socket = context.wrap_socket(raw.socket, server_hostname="localhost", session=session)
        raw.send(*packets)
        return raw

    def endpoint_with_tls(self, certificates, more="", extra="", start=True):
        tls = self.tls()
        return self.endpoint(start, input=f'tls_cert = "{tls}/server.pem"\ntls_key_file = "{tls}/server.key"\ntls_ca = "{tls}/ca.pem"\nclient_certificates = "{certificates}"\n{extra}', more=more)

    def test_a_session_is_its_principals_whatever_its_client_is_called(self):
        acl = '  [[inputs.mqtt_endpoint.acl]]\n  subjects = ["press-*"]\n  publish = ["plant/{subject}/#"]\n'
        gateway = self.endpoint_with_tls("required", acl)
        press_1, press_2 = self.issue("press-1", "press-1"), self.issue("press-2", "press-2")
        lasting = b"\x11" + struct.pack(">I", 3600)
        came = connect(client="press-1", flags=0, properties=lasting)
        first = self.secure(press_1, came)
        self.assertEqual(first.packet()[1][:2], b"\0\0")
        other = self.secure(press_2, came, *[publish(topic="plant/press-2/d/telemetry", qos=2, id=i) for i in range(1, 101)])
        self.assertEqual(other.packet()[1][:2], b"\0\0")  # a session of its own, begun anew
        for i in range(1, 101):
            self.assertEqual(other.packet()[0], 0x50)
        other.socket.close()
        # The one whose name was used is still connected, and what it says is stored, before and after a kill of the gateway.
        first.send(*[publish(topic="plant/press-1/d/telemetry", qos=2, id=i) for i in range(1, 6)])
        for i in range(1, 6):
            first.send(packet(0x62, struct.pack(">H", i)))
        answers = [first.packet()[0] for _ in range(10)]
        self.assertEqual((answers.count(0x50), answers.count(0x70)), (5, 5))
        gateway.stop(signal.SIGKILL)
        self.start()
        again = self.secure(press_2, came, publish(topic="plant/press-2/d/telemetry", qos=2, id=7, flags=8))
        self.assertEqual((again.packet()[1][:2], again.packet()[0]), (b"\1\0", 0x50))  # it holds 7: stored once
        wait_for(lambda: len(self.records()) == 105, "100 and 5 are in the log")
        self.assertEqual(sum(r["tags"].get("line") == "press-1" for r in self.records()), 5)

    def test_a_will_passes_the_access_list_and_names_its_principal(self):
        for name in ("press-1", "press-2"):
            self.add_user(name, "sesame")
        gateway = self.endpoint(input=f'users_file = "{self.folder}/users"', more='  [[inputs.mqtt_endpoint.acl]]\n  users = ["*"]\n  publish = ["plant/{username}/#"]\n')

        def come(version, user, topic, client="boiler-9", delay=0):
            properties = (b"\x05\x18" + struct.pack(">I", delay) if delay else b"\0") if version == 5 else b""
            mine = b"\x11" + struct.pack(">I", 600) if delay else b""
            payload = properties + text(topic) + text("gone") + text(user) + text("sesame")
            return Raw(self.port, connect(version, client, flags=(0 if delay else 2) | 4 | 0xC0, properties=mine, payload=payload))

        self.assertEqual(come(5, "press-1", "plant/boiler-9/state").packet()[1][:2], b"\0\x87")
        self.assertEqual(come(4, "press-1", "plant/boiler-9/state").packet()[1], b"\0\5")
        # As stock bridges have it, behind an access list: who, and which topic.
        self.assertEqual(come(4, "press-1", "$SYS/broker/connection/gw/state", "gw").packet()[1], b"\0\5")
        wait_for(lambda: 'its will is for "$SYS/broker/connection/gw/state", where gw may not publish' in gateway.text(), "that is told")
        good = come(5, "press-1", "plant/press-1/state")
        self.assertEqual(good.packet()[1][:2], b"\0\0")
        good.socket.close()
        wills = lambda: [r for r in self.records("alarm") if r["metric"] == "will"]
        wait_for(lambda: len(wills()) == 1, "the one will that was allowed")
        self.assertEqual({k: wills()[0]["tags"].get(k) for k in ("username", "input", "topic")}, {"username": "press-1", "input": "devices", "topic": "plant/press-1/state"})
        # The will of a user who is removed meanwhile, and his connections, end with him; another user's go on.
        late, stays = come(5, "press-2", "plant/press-2/state", "a", delay=4), come(5, "press-1", "plant/press-1/state", "b")
        self.assertEqual((late.packet()[1][:2], stays.packet()[1][:2]), (b"\0\0", b"\0\0"))
        there = come(5, "press-2", "plant/press-2/state", "c")
        self.assertEqual(there.packet()[1][:2], b"\0\0")
        late.socket.close()
        done = subprocess.run([str(BUILD / "millrace"), "passwd", "--delete", str(self.folder / "users"), "press-2"], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(there.packet(), (0xE0, b"\x87"))
        wait_for(lambda: "where it may not publish any more" in (self.folder / "gateway.log").read_text(), "the late will is not published")
        stays.send(packet(0xC0))
        self.assertEqual(stays.packet()[0], 0xD0)
        self.assertEqual(len(wills()), 1)

    def test_every_user_is_no_word_for_nobody(self):
        self.add_user("anna", "sesame")
        self.endpoint(input=f'anonymous = true\nusers_file = "{self.folder}/users"', more='  [[inputs.mqtt_endpoint.acl]]\n  users = ["*"]\n  publish = ["plant/#"]\n')
        raw = Raw(self.port, connect(), publish())
        self.assertEqual([raw.packet()[0], raw.packet()], [0x20, (0x40, b"\0\1\x87")])
        self.assertEqual(self.publish_as("-u", "anna", "-P", "sesame").returncode, 0)

    def test_a_common_name_is_taken_exactly_or_not_at_all(self):
        self.endpoint_with_tls("required", '  [[inputs.mqtt_endpoint.acl]]\n  subjects = ["device-1", "größe-\u00df"]\n  publish = ["#"]\n')
        utf8 = b"\x0c\x0d"
        for name, subject, patch in (("nul", "device-1-evil", (utf8 + b"device-1-evil", utf8 + b"device-1\0evil")), ("line", "device-1-evil", (utf8 + b"device-1-evil", utf8 + b"device-1\nevil")),
                                     ("bytes", "device-1-evil", (utf8 + b"device-1-evil", b"\x13\x0d" + b"device-1\xffevil")), ("t61", "device-1-evil", (utf8 + b"device-1-evil", b"\x14\x0d" + b"device-1\xfcevil"))):
            raw = self.secure(self.issue(name, subject, patch), connect(), publish())
            answer = raw.packet()
            self.assertEqual(answer[1][:2], b"\0\x87", name)
            self.assertIn(b"common name", answer[1])
        # A BMPString is the text that it spells.
        for name, subject, patch, right in (("exact", "device-1", None, 0), ("bmp", "device-1device-1", (b"\x0c\x10device-1device-1", b"\x1e\x10" + "device-1".encode("utf-16-be")), 0), ("other", "device-2", None, 0x87)):
            raw = self.secure(self.issue(name, subject, patch), connect(), publish())
            self.assertEqual(raw.packet()[1][:2], b"\0\0", name)
            self.assertEqual(raw.packet()[1][2:3] or b"\0", bytes([right]), name)

    def test_a_ticket_ends_with_the_policy_it_was_issued_under(self):
        tls = self.tls()
        gateway = self.endpoint_with_tls("optional", extra="anonymous = true")
        config = self.folder / "millrace.toml"

        def visit(certificate=None, session=None, context=None):
            """(session, whether it was resumed), or None where the handshake was refused."""
            try:
                context = context or ssl.create_default_context(cafile=f"{tls}/ca.pem")
                context.maximum_version = ssl.TLSVersion.TLSv1_2
                if certificate:
                    context.load_cert_chain(*certificate)
                with socket.create_connection(("127.0.0.1", self.port), 10) as raw, context.wrap_socket(raw, server_hostname="localhost", session=session) as s:
                    s.sendall(connect())
                    if s.recv(100)[:1] != b"\x20":
                        return None
                    return s.session, s.session_reused, context
            except (ssl.SSLError, ConnectionError):
                return None

        certificate = (f"{tls}/client.pem", f"{tls}/client.key")
        nobody, _, nobodys = visit()
        known, _, knowns = visit(certificate)
        self.assertTrue(visit(session=nobody, context=nobodys)[1])
        self.assertTrue(visit(session=known, context=knowns)[1])
        gateway.stop(signal.SIGTERM)
        config.write_text(config.read_text().replace('"optional"', '"required"'))
        gateway = self.start()
        self.assertIsNone(visit(session=nobody, context=nobodys))
        self.assertFalse(visit(session=known, context=knowns)[1])  # a full handshake, and in
        known, _, knowns = visit(certificate)
        self.assertTrue(visit(session=known, context=knowns)[1])
        # Other certificates are trusted from now on; the file is replaced, nothing is restarted.
        shutil.copytree(tls, self.folder / "old-tls")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "ca2.key", "-out", "ca2.pem", "-days", "3", "-subj", "/CN=Another CA",
                        "-addext", "basicConstraints=critical,CA:TRUE"], cwd=tls, check=True, capture_output=True)
        client = self.issue("new", "new", ca="ca2")
        os.replace(tls / "ca.pem", tls / "own-ca.pem")
        shutil.copy(tls / "ca2.pem", tls / "ca.pem")
        trusting = lambda: ssl.create_default_context(cafile=f"{tls}/own-ca.pem")
        self.assertIsNone(visit(session=known, context=knowns))
        self.assertFalse(visit(client, context=trusting())[1])
        gateway.stop(signal.SIGKILL)
        self.start()
        self.assertIsNone(visit(session=known, context=knowns))
        fresh, _, freshs = visit(client, context=trusting())
        self.assertTrue(visit(session=fresh, context=freshs)[1])

    def test_made_up_names_do_not_lock_the_users_out(self):
        self.add_user("anna", "sesame")
        self.endpoint(input=f'users_file = "{self.folder}/users"')
        login = lambda user, password, version=5: connect(version, client=user, flags=2 | 0xC0, payload=text(user) + text(password))
        crowd = [Raw(self.port, login(f"made-up-{i}", "x", 5 if i % 2 else 4)) for i in range(150)]
        honest = Raw(self.port, login("anna", "sesame"))
        self.assertEqual(honest.packet()[1][:2], b"\0\0")
        told = {raw.packet()[1][1] for raw in crowd}
        self.assertLessEqual({0x89, 3}, told)         # busy, in the words of both versions
        self.assertLessEqual(told, {0x89, 3, 0x86, 4})

    def test_more_users_than_a_small_file_holds(self):
        self.add_user("press-0", "sesame")
        users = self.folder / "users"
        stored = users.read_text().split(":", 1)[1]
        users.write_text("".join(f"press-{i}:{stored}" for i in range(700)))
        self.add_user("fresh", "new")
        self.endpoint(input=f'users_file = "{users}"')
        self.assertEqual(self.publish_as("-u", "fresh", "-P", "new").returncode, 0)
        self.assertEqual(self.publish_as("-u", "press-699", "-P", "sesame").returncode, 0)
        done = subprocess.run([str(BUILD / "millrace"), "passwd", "--delete", str(users), "press-699"], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotEqual(self.publish_as("-u", "press-699", "-P", "sesame").returncode, 0)
        users.write_text(users.read_text() + "half a li")  # a line that is none keeps nobody out
        self.assertEqual(self.publish_as("-u", "press-1", "-P", "sesame").returncode, 0)
        self.assertEqual(self.command("check").returncode, 0)


class Away(Endpoint):
    """What is kept of devices that are gone: their wills, their sessions, and when that ends."""

    def come(self, client, delay=0, expiry=600, keep_alive=60, flags=0, word="gone"):
        properties = b"\x05\x18" + struct.pack(">I", delay) if delay else b"\0"
        raw = Raw(self.port, connect(5, client, flags=flags | 4, keep_alive=keep_alive, properties=b"\x11" + struct.pack(">I", expiry),
                                     payload=properties + text(f"plant/{client}/state") + text(word)))
        self.assertEqual(raw.packet()[0], 0x20)
        return raw

    def wills(self):
        return sorted((r["device"], r["value"]) for r in self.records("alarm") if r["metric"] == "will")

    def test_a_will_that_waits_outlives_a_kill_a_stop_and_a_reload(self):
        self.endpoint(input='anonymous = true\nack_interval = "20ms"')
        expected = []
        for n, how in enumerate(("kill", "stop", "reload")):
            there, lost, back, clean = (self.come(f"{name}-{how}", delay=5) for name in ("there", "lost", "back", "clean"))
            lost.socket.close()
            clean.send(packet(0xE0))
            clean.all()
            wait_for(lambda: self.metric("millrace_endpoint_connections") == 2, "two are gone")
            there.send(publish())  # what is acknowledged is committed, and so is what came before it
            self.assertEqual(there.packet()[0], 0x40)
            if how == "reload":
                self.reload(f'ack_interval = "20ms"', f'ack_interval = "30ms"')
                wait_for(lambda: there.packet() is None, "the endpoint started anew")
            else:
                self.processes[-1].stop(signal.SIGKILL if how == "kill" else signal.SIGTERM)
                self.start()
            again = self.come(f"back-{how}", delay=500)
            self.assertEqual(self.wills(), sorted(expected))  # none before its time
            expected += [(f"there-{how}", "gone"), (f"lost-{how}", "gone")]
            wait_for(lambda: self.wills() == sorted(expected), f"after a {how} both wills that were due came, and no other", 15)
            again.send(packet(0xE0))
            again.all()
        # Over yet another start none of them comes again.
        self.processes[-1].stop()
        self.start()
        time.sleep(2.5)
        self.assertEqual(self.wills(), sorted(expected))

    def test_who_takes_no_answer_leaves_his_session_and_his_will_as_they_were(self):
        self.endpoint(input='anonymous = true\nack_interval = "20ms"')
        device = self.come("d1", delay=4)
        device.send(publish())
        self.assertEqual(device.packet()[0], 0x40)
        device.socket.close()
        wait_for(lambda: self.metric("millrace_endpoint_connections") == 0, "it is gone")
        # MQTT 5, 3.1.2.11.4: what is larger than the client's Maximum Packet Size is not sent, and CONNACK is.
        Raw(self.port, connect(5, "d1", flags=0, properties=b"\x27" + struct.pack(">I", 4))).all()
        wait_for(lambda: "it takes no packet larger than 4 bytes" in self.processes[-1].text(), "it is refused")
        wait_for(lambda: self.metric("millrace_endpoint_connections") == 0, "it is gone again")
        time.sleep(1.5)  # a sweep later all is committed
        self.assertEqual(self.wills(), [])
        self.processes[-1].stop(signal.SIGKILL)
        self.start()
        wait_for(lambda: self.wills() == [("d1", "gone")], "his will", 15)
        came = [r["value"] for r in self.records("alarm") if r["metric"] == "connected" and r["device"] == "d1"]
        self.assertEqual(came, [True, False])
        # Who is there is sent away by him, and that is told.
        device = self.come("d2", delay=0)
        Raw(self.port, connect(5, "d2", flags=0, properties=b"\x27" + struct.pack(">I", 4))).all()
        wait_for(lambda: self.metric("millrace_endpoint_connections") == 0, "both are gone")
        wait_for(lambda: [r["value"] for r in self.records("alarm") if r["metric"] == "connected" and r["device"] == "d2"] == [True, False], "and told")
        device.socket.close()
        again = Raw(self.port, connect(5, "d1", flags=0, properties=b"\x11" + struct.pack(">I", 600)))
        first, body = again.packet()
        self.assertEqual((first, body[:2]), (0x20, b"\1\0"))  # session present
        again.socket.close()

    def test_a_will_that_came_due_while_nobody_was_there_comes_at_once_and_by_the_access_list_of_today(self):
        acl = '  [[inputs.mqtt_endpoint.acl]]\n  publish = ["plant/#"]\n'
        self.endpoint(more=acl)
        self.come("a", delay=1).socket.close()
        self.come("b", delay=1).socket.close()
        wait_for(lambda: self.metric("millrace_endpoint_connections") == 0, "both are gone")
        self.processes[-1].stop()
        time.sleep(1)
        config = self.folder / "millrace.toml"
        config.write_text(config.read_text().replace('["plant/#"]', '["plant/a/#"]'))
        self.start()
        wait_for(lambda: self.wills() == [("a", "gone")], "the will that may still be published")
        self.assertIn("the will of b for plant/b/state, where it may not publish any more, is not published", self.processes[-1].text())

    def test_a_will_that_disconnect_makes_due_is_said_once_and_takes_no_room_any_more(self):
        # Section 3.14.2.2.2: the session ends with the connection, and with the session the will's delay.
        leaves_with_will = packet(0xE0, b"\x04\x05\x11" + struct.pack(">I", 0))
        self.endpoint(input="anonymous = true\nsessions_max = 1")
        for i in range(20):  # more than there is room for, each with 4 KiB
            raw = self.come(f"w{i:02}", delay=500, word="x" * 4096)
            raw.send(leaves_with_will)
            raw.all()
        expected = [(f"w{i:02}", "x" * 4096) for i in range(20)]
        wait_for(lambda: self.wills() == expected, "each is published")
        last = self.come("last", delay=1, word="y" * 4096)
        time.sleep(1.5)  # a sweep later all is committed
        self.processes[-1].stop(signal.SIGKILL)
        last.socket.close()
        self.start()
        wait_for(lambda: ("last", "y" * 4096) in self.wills(), "what is kept had room, and is due", 15)
        self.assertEqual(self.wills(), sorted([*expected, ("last", "y" * 4096)]))

    def test_sessions_of_an_address_where_nobody_listens_are_shown_and_go_in_their_time(self):
        self.endpoint(input='anonymous = true\nsession_expiry_max = "10min"')
        old, second = self.port, free_port()
        self.come("short", delay=60, expiry=8).socket.close()
        self.come("long", delay=60, expiry=500).socket.close()
        there = self.come("there", delay=60, expiry=500)
        wait_for(lambda: self.metric("millrace_endpoint_connections") == 1, "two are gone")
        self.reload(f"127.0.0.1:{old}", f"127.0.0.1:{second}")
        place = f"127.0.0.1:{old}"
        left = lambda: {one["place"]: one["sessions"] for one in self.status()["left_sessions"]}
        wait_for(lambda: there.packet() is None, "the endpoint has moved")
        wait_for(lambda: left().get(place) in (2, 3), "they are shown", 15)
        wait_for(lambda: left() == {place: 2}, "the short one is over", 25)
        self.assertEqual(self.metric("millrace_left_sessions", f'place="{place}"'), 2)
        self.assertIn(f"sessions of {place}, where no input listens", self.processes[-1].text())
        wait_for(lambda: "/short is not published: its session is over" in self.processes[-1].text(), "its will is told", 15)
        # Who comes back to the address finds his own.
        self.reload(f"127.0.0.1:{second}", place)
        self.port = old
        wait_for(lambda: self.metric("millrace_input_up") == 1, "it listens")
        again = Raw(old, connect(5, "long", flags=0, properties=b"\x11" + struct.pack(">I", 500)))
        self.assertEqual(again.packet()[1][:2], b"\1\0")
        wait_for(lambda: left() == {}, "nothing is left over", 15)

    def test_an_expiry_that_disconnect_raises_holds_over_a_restart_and_a_lower_sessions_max_drops_the_oldest(self):
        self.endpoint(input='anonymous = true\nsessions_max = 20')
        for i in range(6):
            raw = self.come(f"c{i}", expiry=2)
            raw.send(packet(0xE0, b"\0\x05\x11" + struct.pack(">I", 300)))
            raw.all()
            wait_for(lambda: self.metric("millrace_endpoint_connections") == 0, "it is gone")
        time.sleep(3)
        self.processes[-1].stop(signal.SIGKILL)
        config = self.folder / "millrace.toml"
        config.write_text(config.read_text().replace("sessions_max = 20", "sessions_max = 4"))
        self.start()
        self.assertIn("2 sessions of devices that are away are given up, those that left first: sessions_max is 4", self.processes[-1].text())
        self.assertEqual(self.metric("millrace_endpoint_sessions_dropped_total"), 2)
        present = [Raw(self.port, connect(5, f"c{i}", flags=0, properties=b"\x11" + struct.pack(">I", 300))).packet()[1][0] for i in (5, 4, 3, 2)]
        self.assertEqual(present, [1, 1, 1, 1])

    def test_the_dead_are_noticed_while_nobody_is_read(self):
        self.endpoint(logmore='max_size = "1MiB"\nwhen_full = "block"')
        silent, alive, broken = (self.come(name, keep_alive=3, expiry=0) for name in ("silent", "alive", "broken"))
        filler, sent = Raw(self.port, connect(client="filler")), 0
        filler.packet()
        filler.socket.settimeout(0.2)

        def full():
            nonlocal sent
            for raw in (silent, alive, broken):
                raw.send(packet(0xC0))
            for _ in range(20):
                sent += 1
                filler.send(publish(payload=json.dumps({"ts": 1700000000 + sent, "value": os.urandom(1000).hex()}).encode(), qos=0))
            return self.metric("millrace_log_blocked") == 1
        wait_for(full, "the log is full", 120)
        for raw in (silent, alive, broken):
            raw.send(publish(topic="plant/l1/x/telemetry"), packet(0xC0))  # which nobody takes: from here on it is not read
        broken.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        broken.socket.close()  # a reset
        said = lambda words: words in self.processes[-1].text()
        wait_for(lambda: said("broken: its connection broke while it was not read"), "the reset is noticed")

        def pinged():
            alive.send(packet(0xC0))
            time.sleep(0.3)
            return said("silent: no sign of life")
        wait_for(pinged, "so is silence", 20)
        for _ in range(15):
            pinged()
        self.assertFalse(said("alive: no sign of life"))


class Storm(Endpoint):
    """A fleet over TLS comes back at once after the gateway was cut off. MILLRACE_DEVICES sets its size."""

    def come(self, context, sessions):
        """All devices connect at once, publish one reading, and hear its PUBACK: (seconds, how many resumed, sessions)."""
        begun, selector, waiting, resumed = time.monotonic(), selectors.DefaultSelector(), {}, 0
        for n, session in enumerate(sessions):
            raw = socket.socket()
            raw.setblocking(False)
            raw.connect_ex(("127.0.0.1", self.port))
            waiting[n] = [context.wrap_socket(raw, server_hostname="localhost", session=session, do_handshake_on_connect=False), False, b""]
            selector.register(waiting[n][0], selectors.EVENT_WRITE, n)
        done = []
        while waiting:
            self.assertLess(time.monotonic() - begun, 240, f"{len(waiting)} devices are still waiting")
            for key, _ in selector.select(5):
                device = waiting[key.data]
                try:
                    if not device[1]:
                        device[0].do_handshake()
                        device[1] = True
                        device[0].send(connect(client=f"dev-{key.data}") + publish(f"plant/l1/dev-{key.data}/telemetry"))
                        selector.modify(device[0], selectors.EVENT_READ, key.data)
                    chunk = device[0].recv(4096)
                    self.assertTrue(chunk, "the gateway closed the connection")
                    device[2] += chunk
                except ssl.SSLWantReadError:
                    selector.modify(device[0], selectors.EVENT_READ, key.data)
                    continue
                except (ssl.SSLWantWriteError, BlockingIOError):
                    continue
                except OSError as error:
                    self.assertEqual(error.errno, errno.ENOTCONN, error)  # not connected yet
                    continue
                if b"\x40\x02\x00\x01" in device[2]:  # the PUBACK of packet 1
                    resumed += device[0].session_reused
                    done.append((device[0], device[0].session))
                    selector.unregister(device[0])
                    del waiting[key.data]
        return time.monotonic() - begun, resumed, done

    def test_a_fleet_over_tls_comes_back_at_once(self):
        devices = int(os.environ.get("MILLRACE_DEVICES", "200"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(20_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
        tls = self.tls()
        gateway = self.endpoint(input=f'anonymous = true\ntls_cert = "{tls}/server.pem"\ntls_key_file = "{tls}/server.key"\n'
                                      f'connections_max = {devices + 10}\nconnect_rate = {devices + 10}\nliveness = false')
        context = ssl.create_default_context(cafile=f"{tls}/ca.pem")
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        sessions = [None] * devices
        for round_, resumes in (("first", 0), ("after kill -9", devices)):
            before = cost_of(gateway.process.pid)
            seconds, resumed, done = self.come(context, sessions)
            after = cost_of(gateway.process.pid)
            self.assertEqual(resumed, resumes)
            print(f"   {devices} devices over TLS, {round_}: all served in {seconds:.1f} s, {(after[0] - before[0]) / devices * 1000:.2f} ms CPU and "
                  f"{(after[1] - before[1]) / devices:.1f} KB each", file=sys.stderr)
            sessions = [session for _, session in done]
            gateway.stop(signal.SIGKILL)
            for device, _ in done:
                device.close()
            gateway = self.start()
        self.assertEqual(len(self.records()), 2 * devices)


class Durable(Endpoint):
    def check_log(self, through, qos, prefix="dev"):
        """Every acknowledged message is in the log, in order for each device, and with QoS 2 once."""
        devices = {}
        for record in self.records():
            devices.setdefault(record["device"], []).append(record["value"])
        doubled = 0
        for c, last in enumerate(through):
            values = devices.get(f"{prefix}-{c}", [])
            self.assertEqual(sorted(set(range(1, last + 1)) - set(values))[:10], [], f"{prefix}-{c}: acknowledged and missing")
            doubled += len(values) - len(set(values))
            firsts = list(dict.fromkeys(values))
            self.assertEqual(firsts, sorted(firsts), f"{prefix}-{c}: out of order")
        if qos == 2:
            self.assertEqual(doubled, 0, "QoS 2 stored twice")
        return doubled

    def kill_again_and_again(self, qos, kills):
        self.endpoint(logmore='max_size = "4GiB"')
        rng = random.Random(int(os.environ.get("MILLRACE_SEED", "1")))
        publisher = self.publisher("--connections", 4, "--window", 200, "--qos", qos, "--persistent", "--rate", 4000)
        for _ in range(kills):
            gateway = self.processes[-1]
            before = self.metric("millrace_endpoint_publishes_total")
            wait_for(lambda: self.metric("millrace_endpoint_publishes_total") > before, "messages flow")
            time.sleep(rng.uniform(0, 0.3))  # the random moment is the point
            gateway.stop(signal.SIGKILL)
            self.start()
        answer = self.answer_of(publisher)
        self.assertEqual(answer["out_of_order"], 0)
        self.assertGreaterEqual(answer["reconnects"], kills)
        self.processes[-1].stop()
        doubled = self.check_log(answer["through"], qos)
        print(f"kills: {kills} at QoS {qos}, {answer['acknowledged']} acknowledged: 0 missing, 0 out of order, {doubled} doubled")

    def test_kill_9_loses_nothing_that_was_acknowledged(self):
        self.kill_again_and_again(1, int(os.environ.get("MILLRACE_KILLS", "4")))

    def test_kill_9_stores_qos_2_exactly_once(self):
        self.kill_again_and_again(2, int(os.environ.get("MILLRACE_KILLS", "4")))

    def test_a_full_log_holds_devices_back_and_goes_on(self):
        self.endpoint(logmore='max_size = "1MiB"\nwhen_full = "block"', more="")
        publisher = self.publisher("--connections", 2, "--window", 500, "--seconds", 300, "--patience", 300)
        wait_for(lambda: self.metric("millrace_log_blocked") == 1, "the log is full", 120)
        taken = self.metric("millrace_endpoint_publishes_total")
        answer = self.answer_of(publisher)
        self.assertGreater(taken, 0)
        self.assertIn("millrace_log_evicted_records_total 0\n", self.http("/metrics"))  # asked while there is one to answer
        self.processes[-1].stop()
        self.check_log(answer["through"], 1)


    def test_a_bad_payload_larger_than_a_row_of_a_small_log_leaves_its_head(self):
        self.endpoint(logmore='max_size = "1MiB"', input='anonymous = true\npacket_max = "1MiB"')
        raw = Raw(self.port, connect())
        self.assertEqual(raw.packet()[0], 0x20)
        properties = b"\x26" + text("p") + text("x" * 60)
        for n, size in enumerate((60_000, 132_000, 900_000)):
            raw.send(publish(f"plant/l1/d{n}/telemetry", b"{" + b"g" * (size - 1), id=n + 1, properties=properties))
            self.assertEqual(raw.packet(), (0x40, struct.pack(">H", n + 1)))
        letters = lambda: {one["channel"]: (one["size"], one.get("whole_size")) for one in json.loads(self.command("dlq", "ls", "--json").stdout)["dead"]}
        wait_for(lambda: len(letters()) == 3, "each has a letter")
        kept = [letters()[f"plant/l1/d{n}/telemetry"] for n in range(3)]
        self.assertEqual(kept, [(60_000, None), (4096, 132_000), (4096, 900_000)])
        self.assertEqual([r for r in self.records("alarm") if r["kind"] == "loss"], [])
        self.assertIn("bytes were kept", self.command("dlq", "retry", "--all", "--json").stdout)

    def test_what_formats_remember_takes_no_room_from_windows(self):
        # A small log that blocks when it is full: were the windows' state not stored, their cursor would keep it full for good.
        def number(n):
            return bytes([n & 0x7F | 0x80]) + number(n >> 7) if n > 0x7F else bytes([n])

        def field(key, value):
            return number(key << 3 | 2) + number(len(value)) + value if isinstance(value, bytes) else number(key << 3) + number(value)

        port = self.broker().port
        config = self.endpoint(start=False, logmore='max_size = "2MiB"\nwhen_full = "block"', input="anonymous = true\nliveness = false",
                               more='[[inputs.mqtt_endpoint.routes]]\ntopic = "spBv1.0/#"\nformat = "sparkplug"\nbirths = "names"\n'
                                    '[[windows]]\nname = "1min"\nsize = "1min"\n')
        config.write_text(config.read_text().replace("127.0.0.1:1\"", f"127.0.0.1:{port}\""))
        gateway = self.start(config)
        raw = Raw(self.port, connect())
        self.assertEqual(raw.packet()[0], 0x20)
        for node in range(16):
            metrics = b"".join(field(2, field(1, f"Line/Area/Machine/Temperature/sensor-{node * 1000 + k:06}".encode()) + field(2, node * 1000 + k + 1) + field(4, 10))
                               for k in range(600))
            raw.send(publish(f"spBv1.0/g/NBIRTH/node{node}", field(1, 1700000000000) + metrics + field(3, 0), id=node + 1))
            self.assertEqual(raw.packet()[0], 0x40)
        rng = random.Random(1)
        for k in range(0, 15000, 50):
            for i in range(k, k + 50):
                raw.send(publish(f"plant/l1/dev-with-a-long-name-{i % 600:06}/telemetry", json.dumps({"ts": 1700000000 + i // 600, "value": rng.random()}).encode(), id=i + 100))
            for _ in range(50):
                self.assertEqual(raw.packet()[0], 0x40)
        wait_for(lambda: self.metric("millrace_window_keys") == 600, "each device has a window")
        self.assertNotIn("their state cannot be stored", gateway.text())
        self.assertLessEqual(sum(f.stat().st_size for f in (self.folder / "log").iterdir()), 2 << 20)


class PowerCuts(DiskSite):
    start, endpoint, records, publisher, answer_of, check_log = (Endpoint.start, Endpoint.endpoint, Endpoint.records, Endpoint.publisher, Endpoint.answer_of,
                                                                 Durable.check_log)

    def test_what_was_acknowledged_is_there_after_each_cut(self):
        cuts = int(os.environ.get("MILLRACE_CUTS", "3"))
        rng = random.Random(int(os.environ.get("MILLRACE_SEED", "1")))
        config = self.endpoint(start=False, logmore='max_size = "48MiB"')
        config.write_text(config.read_text().replace(f'path = "{self.folder}/log"', f'path = "{self.mount}/log"'))
        publishers = [self.publisher("--connections", 2, "--window", 50, "--qos", qos, "--persistent", "--rate", 500, "--prefix", f"q{qos}", "--patience", 1e6)
                      for qos in (1, 2)]
        for _ in range(cuts):
            gateway = self.start(config)
            before = self.metric("millrace_endpoint_publishes_total")
            wait_for(lambda: self.metric("millrace_endpoint_publishes_total") > before, "messages flow")
            time.sleep(rng.uniform(0, 0.3))  # the random moment is the point
            self.cut_power(gateway)
        answers = [self.answer_of(publisher) for publisher in publishers]
        self.start(config).stop()
        for qos, answer in zip((1, 2), answers):
            self.assertEqual(answer["out_of_order"], 0)
            doubled = self.check_log(answer["through"], qos, f"q{qos}")
            print(f"real power cuts: {cuts} at QoS {qos}, {answer['acknowledged']} acknowledged: 0 missing, 0 out of order, {doubled} doubled")


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
