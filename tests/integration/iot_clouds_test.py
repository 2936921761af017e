#!/usr/bin/python3
"""AWS IoT's and Azure IoT Hub's rules, as their public documents have them, in front of a real mosquitto: a gatekeeper (Python's ssl) that takes
only who asks for the right protocol with a good certificate; one that checks each signature and ends a connection when it is over."""
import base64
import hashlib
import hmac
import re
import socket
import ssl
import sys
import threading
import time
import unittest
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from north import North
from testsite import free_port, serve_each, wait_for

import paho.mqtt.client as paho

CONFIG = """
[gateway]
name = "gw"
runtime_dir = "@run@"
[log]
path = "@log@"
commit_interval = "50ms"
[[inputs.mqtt_endpoint]]
name = "devices"
listen = "127.0.0.1:@port@"
anonymous = true
liveness = false
  [[inputs.mqtt_endpoint.routes]]
  topic = "plant/{line}/{device}/telemetry"
  time = "ts"
  metrics = { value = "value" }
[[uplinks.mqtt]]
name = "cloud"
servers = ["mqtts://localhost:@gate@"]
tls_ca = "@tls@/ca.pem"
initial_interval = "100ms"
max_interval = "1s"
@uplink@
[observe]
listen = "127.0.0.1:@observe@"
"""
KEY = base64.b64encode(b"a device's key of thirty-two byte").decode()


def text_at(packet, at):
    size = int.from_bytes(packet[at:at + 2], "big")
    return packet[at + 2:at + 2 + size], at + 2 + size


def connect_of(packet):
    """(client id, user name, password) of a CONNECT without a will."""
    at = 2 if packet[1] < 0x80 else 3
    _, at = text_at(packet, at)
    level, flags = packet[at], packet[at + 1]
    at += 4 + (1 + packet[at + 4] if level == 5 else 0)
    client, at = text_at(packet, at)
    user, at = text_at(packet, at) if flags & 0x80 else (b"", at)
    password, at = text_at(packet, at) if flags & 0x40 else (b"", at)
    return client.decode(), user.decode(), password.decode()


class Gate:
    """TLS in front of a broker. `judge(connect)`: until when (monotonic) the connection may last; None: it is refused."""

    def __init__(self, tls, broker, judge, alpn=None, certificates=False):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(tls / "server.pem", tls / "server.key")
        if certificates:
            self.context.load_verify_locations(tls / "ca.pem")
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.alpn = alpn
        if alpn:
            self.context.set_alpn_protocols([alpn])
        self.broker, self.judge, self.spoken, self.connects, self.ended = broker, judge, [], [], 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        serve_each(self.listener, self.talk)

    def talk(self, raw):
        try:
            client = self.context.wrap_socket(raw, server_side=True)
            self.spoken.append(client.selected_alpn_protocol())
            if self.alpn and client.selected_alpn_protocol() != self.alpn:
                return client.close()
            packet = client.recv(4096)
            self.connects.append(connect_of(packet))
            until = self.judge(self.connects[-1])
            if until is None:
                client.sendall(b"\x20\x02\x00\x05")  # not authorised
                return client.close()
            server = socket.create_connection(("127.0.0.1", self.broker))
            server.sendall(packet)
            threading.Thread(target=self.pump, args=(server, client), daemon=True).start()
            client.settimeout(max(0.1, until - time.monotonic()))
            while data := client.recv(65536):
                server.sendall(data)
                client.settimeout(max(0.1, until - time.monotonic()))
            server.close()
        except socket.timeout:
            self.ended += 1  # its login is over
            client.close()
            server.close()
        except (OSError, ssl.SSLError):
            raw.close()

    @staticmethod
    def pump(server, client):
        try:
            while data := server.recv(65536):
                client.sendall(data)
        except OSError:
            pass

    def end(self):
        self.listener.close()


class IotSite(North):
    def begin(self, judge, uplink, **gate):
        self.port, central = free_port(), self.broker(name="central", extra="allow_anonymous true")
        self.gate = Gate(self.tls(), central.port, judge, **gate)
        self.addCleanup(self.gate.end)
        self.topics, listener = [], paho.Client(client_id="listener", clean_session=False)
        listener.on_message = lambda client, data, message: self.topics.append(message.topic)
        listener.connect("127.0.0.1", central.port)
        listener.subscribe("#", qos=1)
        listener.loop_start()
        self.addCleanup(listener.loop_stop)
        self.configure(CONFIG, port=self.port, gate=self.gate.port, tls=self.tls(), uplink=uplink)
        return self.gateway(self.folder / "millrace.toml")

    def state(self):
        return self.status()["uplinks"][0]["state"]


class Aws(IotSite):
    def test_the_protocol_and_the_certificate(self):
        folder = self.tls()
        keys = f'client_id = "plant-3"\ntls_cert = "{folder}/client.pem"\ntls_key_file = "{folder}/client.key"\n'
        self.begin(lambda connect: time.monotonic() + 3600, keys + 'tls_alpn = ["x-amzn-mqtt-ca"]', alpn="x-amzn-mqtt-ca", certificates=True)
        self.publish(100)
        self.drained()
        self.assertEqual(self.gate.spoken[0], "x-amzn-mqtt-ca")
        self.assertEqual(self.gate.connects[0][0], "plant-3")
        self.assertEqual(set(self.topics), {"millrace/gw/raw"})
        # Without it the same port is closed to us, and records wait.
        config = self.folder / "millrace.toml"
        config.write_text(config.read_text().replace('tls_alpn = ["x-amzn-mqtt-ca"]', ""))
        self.assertEqual(self.command("reload").returncode, 0)
        wait_for(lambda: None in self.gate.spoken, "a connection without it")
        self.publish(1)
        wait_for(lambda: self.state() != "up" and self.metric("millrace_uplink_backlog_records") == 1, "it waits")
        done = self.command("check")
        self.assertEqual(done.returncode, 0, done.stderr)
        config.write_text(config.read_text().replace("mqtts://localhost", "mqtt://localhost").replace("tls_", "# tls_") .replace('client_id', 'tls_alpn = ["mqtt"]\nclient_id'))
        done = self.command("check")
        self.assertIn("ALPN is of TLS", done.stdout + done.stderr)


class Azure(IotSite):
    """`life`: how long the hub takes a signature for good, whatever it says itself."""

    def judge(self, connect):
        client, user, password = connect
        found = re.fullmatch(r"SharedAccessSignature sr=([^&]+)&sig=([^&]+)&se=(\d+)", password)
        if client != "plant-3" or user != "hub/plant-3/?api-version=2021-04-12" or not found:
            return None
        resource, signature, until = found.groups()
        wanted = base64.b64encode(hmac.new(base64.b64decode(KEY), f"{resource}\n{until}".encode(), hashlib.sha256).digest()).decode()
        left = int(until) - time.time()
        if urllib.parse.unquote(signature) != wanted or urllib.parse.unquote(resource) != "localhost/devices/plant-3" or left <= 0:
            return None
        return time.monotonic() + left

    def keys(self, key=KEY, life="1h"):
        file = self.folder / "iothub.key"
        file.write_text(key + "\n")
        file.chmod(0o600)
        return (f'version = "3.1.1"\nclient_id = "plant-3"\nusername = "hub/plant-3/?api-version=2021-04-12"\nsas_key_file = "{file}"\nsas_life = "{life}"\n'
                'topic = "devices/plant-3/messages/events/lane={lane}"')

    def test_a_signature_its_topic_and_a_key_that_is_wrong(self):
        self.begin(self.judge, self.keys(key=base64.b64encode(b"another").decode()))
        self.publish(10)
        wait_for(lambda: self.status()["uplinks"][0]["blocked"], "somebody must act")
        self.keys()
        self.drained()
        self.assertEqual(set(self.topics), {"devices/plant-3/messages/events/lane=raw"})

    @unittest.skipUnless(__import__("os").environ.get("MILLRACE_KILLS"), "lasts two minutes: in full")
    def test_signatures_are_renewed_before_they_are_over_and_nothing_goes_twice(self):
        self.begin(self.judge, self.keys(life="1min"))
        began = time.monotonic()
        sent = 0
        while time.monotonic() - began < 115:
            self.publish(20)
            sent += 20
            time.sleep(0.2)
        self.drained()
        self.assertEqual(self.gate.ended, 0, "the hub never had to end one")
        self.assertEqual(len(self.gate.connects), 3)
        self.assertEqual(len({password for *_, password in self.gate.connects}), 3)
        self.assertEqual(self.metric("millrace_uplink_records_total"), sent)
        self.assertEqual(self.metric("millrace_uplink_retries_total"), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
