#!/usr/bin/env python3
"""Slow links, real brokers: what waited drains at the link's rate, nothing is sent twice for slowness, and the odd record a broker
hangs up on stays behind alone."""
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import kafka
from slow_link import SlowLink
from testsite import Site, free_port, wait_for

CONFIG = """
[gateway]
name = "gw"
runtime_dir = "@run@"
[log]
path = "@log@"
[[inputs.mqtt_endpoint]]
name = "devices"
listen = "127.0.0.1:@port@"
anonymous = true
liveness = false
  [[inputs.mqtt_endpoint.routes]]
  topic = "plant/{device}"
  time = "ts"
  metrics = { value = "value" }
[[uplinks.@kind@]]
name = "central"
@uplink@
[observe]
listen = "127.0.0.1:@observe@"
"""
LINKS = [(bits, round_trip) for bits in (2400, 9600, 64000) for round_trip in (0.3, 2.0)]


class LinkSite(Site):
    def start(self, kind, uplink):
        self.port = free_port()
        return self.gateway(self.configure(CONFIG, port=self.port, kind=kind, uplink=uplink))

    def backlog(self):
        return self.metric("millrace_uplink_backlog_records")

    def publish_noise(self, count, devices=5):
        """Readings as a sensor gives them: a walk in hundredths, a second apart. With QoS 0 nobody waits, so that they enter the log in
        few large rows, as when a gateway catches up."""
        dice, per_device = random.Random(1), count // devices
        for device in range(devices):
            value, lines = 20.0, []
            for n in range(per_device):
                value += dice.gauss(0, 0.3)
                lines.append(json.dumps({"ts": 1_790_000_000_000 + 1000 * n, "value": round(value, 2)}))
            subprocess.run(["mosquitto_pub", "-p", str(self.port), "-t", f"plant/dev-{device}", "-q", "0", "-l"], input="\n".join(lines) + "\n", text=True,
                           check=True, timeout=60)
        wait_for(lambda: self.backlog() == per_device * devices, "all of them are in the log", 30)
        return per_device * devices

    def drain(self, kind, link, far_port, uplink, bits, count):
        """The share of the link that was used, and how many bytes went over it for each byte of the rows."""
        gateway = self.start(kind, uplink)
        try:
            self.publish_noise(count)
            link.to_port = far_port
            begin = time.monotonic()
            wait_for(lambda: self.metric("millrace_uplink_up") == 1, "connected", 120)
            connected, before = time.monotonic(), link.sent
            wait_for(lambda: self.backlog() == 0, "everything is delivered", 1200)
            seconds, sent, data = time.monotonic() - connected, link.sent - before, self.metric("millrace_log_row_bytes_total")
            retries = self.metric("millrace_uplink_retries_total")
        finally:
            gateway.stop()
            shutil.rmtree(self.folder / "log", ignore_errors=True)
        print(f"   {kind}, {bits} bit/s, {2 * link.delay:.1f} s: connected in {connected - begin:.1f} s, {data:.0f} bytes of rows in {seconds:.0f} s, "
              f"{sent / seconds / link.rate:.0%} of the link, {sent / data:.2f} times the data, {retries:.0f} sent again", file=sys.stderr)
        self.assertGreater(seconds, 20, "enough to tell")
        return sent / seconds / link.rate, sent / data


def links():
    """Those that MILLRACE_LINKS names, like "2400:0.3 64000:2"; else all."""
    chosen = os.environ.get("MILLRACE_LINKS", "").split()
    return [(int(bits), float(trip)) for bits, trip in (word.split(":") for word in chosen)] or LINKS


def readings_for(bits, minutes=1):
    """What keeps the link busy for a minute or two."""
    return int(min(max(bits * 12, 20_000), 400_000)) * minutes // 5 * 5


class Mqtt(LinkSite):
    def test_slow_links_drain_at_their_rate(self):
        broker = self.broker()
        for bits, round_trip in links():
            for version in ("5", "3.1.1"):
                with self.subTest(bits=bits, round_trip=round_trip, version=version):
                    link = SlowLink(round_trip, bits / 8)
                    self.addCleanup(link.stop)
                    used, times = self.drain("mqtt", link, broker.port, f'servers = ["mqtt://127.0.0.1:{link.port}"]\nversion = "{version}"', bits, readings_for(bits))
                    self.assertGreater(used, 0.85)
                    self.assertLess(times, 1.3)


class Silence(LinkSite):
    def test_bytes_that_move_are_no_silence(self):
        broker, link = self.broker(), SlowLink(0.3, 4000)
        self.addCleanup(link.stop)
        gateway = self.start("mqtt", f'servers = ["mqtt://127.0.0.1:{link.port}"]\nsend_timeout = "2s"\nkeep_alive = "2s"')
        self.publish_noise(40_000)
        link.to_port = broker.port
        wait_for(lambda: self.backlog() == 0, "everything is delivered", 60)
        self.assertGreater(self.metric("millrace_uplink_bytes_total"), 6 * 4000, "longer than the timeout, whole")
        self.assertEqual(self.metric("millrace_uplink_retries_total"), 0)
        # Silence is: who takes it and says nothing is left.
        link.pause()
        self.publish_noise(5)
        wait_for(lambda: "no acknowledgement in time" in gateway.text() or "no answer to a ping" in gateway.text(), "it is given up", 20)


class Kafka(LinkSite):
    def setUp(self):
        if why := kafka.missing():
            self.skipTest(why)
        super().setUp()

    def test_slow_links_drain_at_their_rate(self):
        for bits, round_trip in links():
            with self.subTest(bits=bits, round_trip=round_trip):
                link = SlowLink(round_trip, bits / 8)
                self.addCleanup(link.stop)
                broker = kafka.Kafka(self.folder / f"kafka-{bits}-{round_trip}", through=link)
                self.addCleanup(broker.stop, signal.SIGKILL)
                broker.topic("millrace.raw")
                link.to_port = 0
                used, times = self.drain("kafka", link, broker.port, f'servers = ["127.0.0.1:{link.port}"]\nformat = "batch"', bits,
                                         readings_for(bits, 3))  # its library asks for five round trips before the first batch
                broker.stop()
                self.assertGreater(used, 0.85)
                self.assertLess(times, 1.3)


class HangUpBroker:
    """Takes QoS 1 publishes of MQTT 3.1.1 or 5 and ends the connection at one above `limit`, as soon as it sees its length; `say`: a
    DISCONNECT with this reason code first; `swallow`: it never answers it, and everything else; `deaf`: not even that. `got`: payload sizes
    it acknowledged."""

    def __init__(self, limit, say=None, packet_max=None, receive_max=None, swallow=False, deaf=False):
        self.limit, self.say, self.packet_max, self.receive_max, self.swallow, self.deaf, self.got, self.hung_up = limit, say, packet_max, receive_max, swallow, deaf, [], 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        stream = connection.makefile("rb")
        try:
            version = 4
            while True:
                first = stream.read(1)
                if not first:
                    return
                length = shift = 0
                while True:
                    byte = stream.read(1)[0]
                    length |= (byte & 0x7F) << shift
                    shift += 7
                    if byte < 0x80:
                        break
                kind = first[0] >> 4
                if kind == 3 and length > self.limit and (self.swallow or self.deaf):
                    self.hung_up += 1
                    while self.deaf and stream.read(1):
                        pass
                    stream.read(length)
                    continue
                if kind == 3 and length > self.limit:
                    self.hung_up += 1
                    if self.say is not None:
                        connection.sendall(bytes([0xE0, 2, self.say, 0]))
                    return
                body = stream.read(length)
                if kind == 1:
                    version = body[6]
                    properties = b"" if self.packet_max is None else b"\x27" + struct.pack(">I", self.packet_max)
                    properties += b"" if self.receive_max is None else b"\x21" + struct.pack(">H", self.receive_max)
                    connection.sendall(b"\x20\x02\x00\x00" if version == 4 else bytes([0x20, 3 + len(properties), 0, 0, len(properties)]) + properties)
                elif kind == 3:
                    topic = struct.unpack(">H", body[:2])[0]
                    self.got.append(length)
                    connection.sendall(b"\x40\x02" + body[2 + topic:4 + topic])
                elif kind == 12:
                    connection.sendall(b"\xd0\x00")
                elif kind == 14:
                    return
        except (OSError, IndexError):
            pass
        finally:
            connection.close()

    def stop(self):
        self.listener.close()


class HangingUp(LinkSite):
    """A broker with a limit that it does not announce."""

    def broker_with(self, *arguments, **more):
        broker = HangUpBroker(*arguments, **more)
        self.addCleanup(broker.stop)
        return broker

    @staticmethod
    def reading(text):
        return json.dumps({"ts": 1_790_000_000_000, "value": text})

    def say_something_large(self):
        """Of 37 KB, however it is compressed."""
        dice = random.Random(2)
        large = "".join(dice.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") for _ in range(50_000))
        subprocess.run(["mosquitto_pub", "-p", str(self.port), "-t", "plant/dev", "-q", "1", "-s"], input=self.reading(large), text=True, check=True)

    def say(self, text, count=1):
        for _ in range(count):
            self.publish(self.port, "plant/dev", self.reading(text))

    def test_the_record_a_broker_hangs_up_on_goes_to_the_dead_lane_and_the_rest_arrives(self):
        for version, say in (("3.1.1", None), ("5", 0x95)):
            with self.subTest(version=version):
                broker = self.broker_with(32 << 10, say)
                gateway = self.start("mqtt", f'servers = ["mqtt://127.0.0.1:{broker.port}"]\nversion = "{version}"')
                self.say("before", 3)
                self.say_something_large()
                self.say("after", 3)
                wait_for(lambda: self.backlog() == 0, "everything else is delivered", 90)
                self.assertEqual(self.metric("millrace_uplink_refused_records_total"), 1)
                letters = json.loads("[" + ",".join(self.command("dlq", "ls", "--json").stdout.splitlines()) + "]")
                self.assertEqual(len(letters), 1)
                self.assertIn("bytes", json.dumps(letters))
                self.assertGreater(self.metric("millrace_uplink_size_limit_bytes"), 32 << 10)
                self.assertIn("is suspected", json.dumps(self.status()["uplinks"]))
                self.assertIn("; it goes to the dead lane", gateway.text())
                gateway.stop()
                shutil.rmtree(self.folder / "log")

    def test_what_a_broker_swallows_goes_to_the_dead_lane_and_the_rest_arrives(self):
        for version, order in (("3.1.1", "oldest"), ("5", "newest")):
            with self.subTest(version=version):
                broker = self.broker_with(32 << 10, swallow=True)
                gateway = self.start("mqtt", f'servers = ["mqtt://127.0.0.1:{broker.port}"]\nversion = "{version}"\nsend_timeout = "2s"\ninitial_interval = "50ms"\n'
                                             f'max_interval = "1s"\ndrain = {{ order = "{order}" }}')
                self.say("before", 3)
                self.say_something_large()
                self.say("after", 3)

                def more():  # who speaks, goes on speaking
                    self.say("more")
                    return self.metric("millrace_uplink_refused_records_total")
                wait_for(more, "it is found", 150)
                wait_for(lambda: self.backlog() == 0, "everything else is delivered", 60)
                self.assertEqual(self.metric("millrace_uplink_refused_records_total"), 1)
                letters = json.loads("[" + ",".join(self.command("dlq", "ls", "--json").stdout.splitlines()) + "]")
                self.assertEqual(len(letters), 1)
                self.assertIn("never acknowledged: ", json.dumps(letters))
                self.assertGreaterEqual(broker.hung_up, 9)
                self.assertIn("the far side never answers something", gateway.text())
                gateway.stop()
                shutil.rmtree(self.folder / "log")

    def test_what_a_broker_swallows_is_found_where_one_message_may_be_on_its_way(self):
        broker = self.broker_with(32 << 10, swallow=True, receive_max=1)
        self.start("mqtt", f'servers = ["mqtt://127.0.0.1:{broker.port}"]\nsend_timeout = "2s"\ninitial_interval = "50ms"\nmax_interval = "1s"')
        self.say("before", 3)
        self.say_something_large()

        def more():
            self.say("more", 3)
            return self.metric("millrace_uplink_refused_records_total")
        wait_for(more, "it is found", 150)
        wait_for(lambda: self.backlog() == 0, "everything else is delivered", 60)

    def test_a_broker_that_goes_silent_altogether_is_a_dead_one_and_nothing_is_given_up(self):
        broker = self.broker_with(32 << 10, deaf=True)
        self.start("mqtt", f'servers = ["mqtt://127.0.0.1:{broker.port}"]\nsend_timeout = "1s"\ninitial_interval = "50ms"\nmax_interval = "1s"')
        self.say("before", 3)
        self.say_something_large()
        self.say("after", 3)
        wait_for(lambda: broker.hung_up > 15, "it is tried again and again", 120)
        self.assertEqual(self.metric("millrace_uplink_refused_records_total"), 0)

    def test_a_broker_that_takes_next_to_nothing_blocks_and_nothing_is_given_up(self):
        broker = self.broker_with(1 << 20, packet_max=40)
        self.start("mqtt", f'servers = ["mqtt://127.0.0.1:{broker.port}"]')
        self.say("a", 5)
        wait_for(lambda: self.metric("millrace_uplink_blocked") == 1, "somebody must act")
        self.assertIn("takes 40 bytes", json.dumps(self.status()["uplinks"]))
        self.assertEqual(self.metric("millrace_uplink_refused_records_total"), 0)
        self.assertEqual(self.backlog(), 5)

    def test_two_boxes_of_one_client_id_are_told(self):
        for version in ("5", "3.1.1"):  # mosquitto says nothing in either; for a broker that does: test_unit
            with self.subTest(version=version):
                broker = self.broker()
                gateway = self.start("mqtt", f'servers = ["mqtt://127.0.0.1:{broker.port}"]\nversion = "{version}"\nclient_id = "gw-up"\ninitial_interval = "50ms"\n'
                                             'max_interval = "1s"')
                stop = threading.Event()

                def take_over():
                    while not stop.wait(1):
                        wait_for(lambda: self.metric("millrace_uplink_up") == 1, "it is back", 10)
                        subprocess.run(["mosquitto_pub", "-p", str(broker.port), "-i", "gw-up", "-V", "311" if version != "5" else "5", "-t", "x", "-m", "x"], check=False,
                                       timeout=20)
                other = threading.Thread(target=take_over)
                other.start()
                try:
                    wait_for(lambda: 'another client may use the client id "gw-up"' in gateway.text(), "it is told", 60)
                finally:
                    stop.set()
                    other.join()
                gateway.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
