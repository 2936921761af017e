#!/usr/bin/python3
"""The gateway as an edge node of Sparkplug B: what a host hears, by an independent decoder (npm sparkplug-payload), by a real host (Eclipse
Tahu) and by our own host input; kills, brokers and hosts that go away, hosts that ask without end."""
import base64
import json
import shutil
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from sparkplug_test import BROUGHT, HERE, encoder_missing, tahu_missing
from testsite import BUILD, Process, Site, free_port, wait_for

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
  topic = "any/{device}/{metric}"
  time = "ts"
  time_format = "ms"
  metrics = { "{metric}" = "value" }
[[uplinks.mqtt]]
name = "scada"
servers = ["mqtt://127.0.0.1:@central@"]
format = "sparkplug"
group = "works"
initial_interval = "100ms"
max_interval = "1s"
drain = { replay_after = "2s" }
@uplink@
[observe]
listen = "127.0.0.1:@observe@"
"""
ASK = {"metrics": [{"name": "Node Control/Rebirth", "type": "Boolean", "value": True}]}


class Coder:
    """A line of something in, a line of something out."""

    def __init__(self, script):
        self.process = subprocess.Popen(["node", str(HERE / script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={"NODE_PATH": str(BROUGHT / "node_modules"), "PATH": "/usr/bin:/usr/local/bin:" + str(Path(shutil.which("node")).parent)})

    def __call__(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


class Host:
    """Hears everything, believes nothing that was not born, and counts; may be a primary host."""

    def __init__(self, port, decode, name=""):
        self.decode, self.name, self.heard, self.wrong = decode, name, [], []
        self.born, self.seq, self.session, self.dead, self.data, self.births = {}, None, None, [], [], 0
        self.client = paho.Client(client_id="host", clean_session=False)
        self.client.on_message = lambda client, data, message: self.heard.append((message.topic, message.payload))
        self.client.connect("127.0.0.1", port)
        self.client.subscribe("spBv1.0/works/#", qos=1)
        self.client.loop_start()

    def word(self, word):
        """As specification 2.2 has it."""
        self.client.publish(f"STATE/{self.name}", word, qos=1, retain=True).wait_for_publish(10)

    def state(self, online):
        payload = json.dumps({"online": online, "timestamp": int(time.time() * 1000)})
        self.client.publish(f"spBv1.0/STATE/{self.name}", payload, qos=1, retain=True).wait_for_publish(10)

    def read(self):
        """Takes in what was heard. The readings so far."""
        while self.heard:
            topic, payload = self.heard.pop(0)
            _, _, kind, node, *device = topic.split("/")
            if kind in ("NCMD", "STATE"):
                continue
            said = json.loads(self.decode(base64.b64encode(payload).decode()))
            self.take(kind, device[0] if device else "", said)
        return self.data

    def take(self, kind, device, said):
        if "error" in said or "timestamp" not in said:
            return self.wrong.append((kind, said))
        metrics = said.get("metrics", [])
        if kind == "NDEATH":
            self.dead.append(metrics[0]["value"])
            if "seq" in said:
                self.wrong.append("a death with a place in the sequence")
            self.born, self.seq = {}, None
            return
        if kind == "NBIRTH":
            self.births += 1
            self.born, self.seq = {"": {}}, 0
            self.session = next(m["value"] for m in metrics if m["name"] == "bdSeq")
        if said.get("seq") != self.seq:
            self.wrong.append(f"{kind} with seq {said.get('seq')} for {self.seq}")
        self.seq = None if self.seq is None else (self.seq + 1) % 256
        if kind.endswith("BIRTH"):
            self.born[device] = {m["alias"]: m for m in metrics if "alias" in m}
            return
        for metric in metrics:
            known = self.born.get(device, {}).get(metric.get("alias"))
            if not known or "name" in metric or metric["type"] != known["type"]:
                self.wrong.append((kind, device, metric, "not as it was born"))
                continue
            self.data.append((device, known["name"], metric["value"], metric["timestamp"], bool(metric.get("isHistorical"))))

    def end(self):
        self.client.loop_stop()
        self.client.disconnect()


class EdgeSite(Site):
    @classmethod
    def setUpClass(cls):
        if why := encoder_missing():
            raise unittest.SkipTest(why)

    def setUp(self):
        super().setUp()
        self.port, self.central, self.said = free_port(), None, []

    def begin(self, uplink="", host=""):
        self.decode = Coder("decode.js")
        self.addCleanup(self.decode.end)
        self.central = self.broker(name="central")
        self.host = Host(self.central.port, self.decode, host)
        self.addCleanup(self.host.end)
        config = self.configure(CONFIG, port=self.port, central=self.central.port, uplink=uplink)
        self.device = paho.Client(client_id="device", clean_session=False)
        daemon = self.gateway(config)
        wait_for(lambda: self.connects(), "the endpoint listens")
        self.device.loop_start()
        self.addCleanup(self.device.loop_stop)
        return daemon

    def connects(self):
        try:
            return self.device.connect("127.0.0.1", self.port) == 0
        except OSError:
            return False

    def say(self, device, metric, *values):
        for value in values:
            at = int(time.time() * 1000) + len(self.said)
            self.device.publish(f"any/{device}/{metric}", json.dumps({"ts": at, "value": value}), qos=1).wait_for_publish(20)
            self.said.append((device, metric, value))

    def arrived(self, doubles=0):
        """All that was said was heard, and how many more than once."""
        wait_for(lambda: {d[:3] for d in self.host.read()} >= set(self.said), "everything is heard")
        self.assertEqual(self.host.wrong, [])
        self.assertEqual({d[:3] for d in self.host.data}, set(self.said))
        self.assertLessEqual(len(self.host.data) - len(self.said), doubles)
        return len(self.host.data) - len(self.said)

    def scada(self):
        return next(one for one in self.status()["uplinks"] if one["name"] == "scada")


class Decoder(EdgeSite):
    def test_births_before_data_and_the_sequence_over_kills_of_everybody(self):
        daemon = self.begin()
        self.say("pump", "pressure", 1.5, 2, 2.5)
        self.say("pump", "words", "on", "off")
        self.say("fan", "on", True, False)
        self.arrived()
        types = {(device, m["name"]): m["type"] for device, metrics in self.host.born.items() for m in metrics.values()}
        self.assertEqual(types, {("pump", "pressure"): "Double", ("pump", "words"): "String", ("fan", "on"): "Boolean"})
        self.say("pump", "pressure", *[i / 4 for i in range(20, 320)])  # the sequence goes round
        self.arrived()
        session = self.host.session
        wait_for(lambda: (self.folder / "log" / "sparkplug-scada.metrics").exists(), "its names are written down")
        daemon.stop(signal.SIGKILL)
        wait_for(lambda: self.host.read() is not None and self.host.dead == [session], "the broker says its will")
        daemon = self.gateway(self.folder / "millrace.toml")
        wait_for(lambda: self.host.read() is not None and self.host.session == (session + 1) % 256, "the next session")
        self.assertEqual(set(self.host.born), {"", "pump", "fan"}, "devices that are silent are born, too")
        wait_for(self.connects, "the endpoint listens again")
        self.say("fan", "speed", 7)
        self.arrived(doubles=320)
        daemon.stop()
        wait_for(lambda: self.host.read() is not None and len(self.host.dead) == 2, "a death when it is stopped")
        self.gateway(self.folder / "millrace.toml")
        wait_for(self.connects, "the endpoint listens again")
        self.say("fan", "speed", 8)
        wait_for(lambda: ("fan", "speed", 8) in {d[:3] for d in self.host.read()}, "it goes on")
        births = self.host.births
        self.central.stop()
        self.central = self.broker(port=self.central.port, name="central")
        wait_for(lambda: self.host.read() is not None and self.host.births > births, "born again at the broker that came back", 60)
        self.say("fan", "speed", 9)
        wait_for(lambda: ("fan", "speed", 9) in {d[:3] for d in self.host.read()}, "it goes on")
        self.assertEqual(self.host.wrong, [])

    def test_a_host_that_asks_and_asks(self):
        encode = Coder("encode.js")
        self.addCleanup(encode.end)
        self.begin()
        self.say("pump", "pressure", 1.5)
        self.arrived()
        births = self.host.births
        ask = base64.b64decode(encode(json.dumps({"timestamp": 1, **ASK})))
        time.sleep(5.1)  # since the birth
        for _ in range(200):
            self.host.client.publish("spBv1.0/works/NCMD/gw", ask, qos=1)
        for garbage in (b"", b"\xff" * 40, bytes(200_000)):
            self.host.client.publish("spBv1.0/works/NCMD/gw", garbage, qos=1).wait_for_publish(10)
        wait_for(lambda: self.host.read() is not None and self.host.births > births, "born again")
        self.say("pump", "pressure", 2.5)
        self.arrived()
        self.assertEqual(self.host.births, births + 1)
        self.assertEqual([m["value"] for m in self.host.born["pump"].values()], [1.5], "a birth has the last value")
        wait_for(lambda: self.host.read() is not None and self.host.births == births + 2, "the second one, five seconds later")

    def test_nothing_while_the_primary_host_is_away(self):
        for qos in (1, 0):
            with self.subTest(qos=qos):
                self.afresh() if qos == 0 else None
                self.said, self.port = [], free_port()
                daemon = self.begin(f'primary_host = "scada-1"\nqos = {qos}', host="scada-1")
                self.say("pump", "pressure", *range(20))
                wait_for(lambda: self.scada()["state"] == "the primary host scada-1 is away", "it waits")
                self.assertEqual(self.scada()["backlog_records"], 20)
                time.sleep(2)
                self.assertEqual((self.host.read(), self.host.births), ([], 0))
                self.host.state(True)
                self.arrived()
                self.assertTrue(all(historical for *_, historical in self.host.data), "what waited is historical")
                self.say("pump", "pressure", 20.5)
                self.arrived()
                self.assertFalse(self.host.data[-1][-1], "what is live is not")
                self.host.state(False)
                wait_for(lambda: self.host.read() is not None and self.host.dead == [self.host.session], "it ends its session")
                self.say("pump", "pressure", 21.5)
                # A will of an earlier life is no news.
                self.host.state(True)
                self.arrived()
                self.host.client.publish("spBv1.0/STATE/scada-1", '{"online":false,"timestamp":5}', qos=1).wait_for_publish(10)
                self.say("pump", "pressure", 22.5)
                self.arrived()
                self.assertEqual(len(self.host.dead), 1)
                daemon.stop()

    def test_a_primary_host_of_the_specification_before(self):
        self.begin('primary_host = "scada-1"\nhost_state = "2.2"', host="scada-1")
        self.host.state(True)  # says nothing to who listens for words
        self.say("pump", "pressure", *range(20))
        wait_for(lambda: self.scada()["state"] == "the primary host scada-1 is away", "it waits")
        self.host.word("OFFLINE")
        self.assertEqual((self.host.read(), self.host.births), ([], 0))
        self.host.word("ONLINE")
        self.arrived()
        self.host.word("OFFLINE")
        wait_for(lambda: self.host.read() is not None and self.host.dead == [self.host.session], "it ends its session")
        self.say("pump", "pressure", 20.5)
        self.assertEqual(self.scada()["backlog_records"], 1)
        self.host.word("ONLINE")
        self.arrived()
        self.assertEqual((self.host.births, len(self.host.dead)), (2, 1))


class Readers(EdgeSite):
    def test_our_own_host_input_reads_every_value(self):
        self.begin()
        port, folder = free_port(), self.folder / "second"
        (folder / "run").mkdir(parents=True)
        config = folder / "second.toml"
        config.write_text(f"""
[gateway]
name = "second"
runtime_dir = "{folder}/run"
[log]
path = "{folder}/log"
commit_interval = "50ms"
[[inputs.mqtt]]
name = "plant"
servers = ["mqtt://127.0.0.1:{self.central.port}"]
[[inputs.mqtt.routes]]
topic = "spBv1.0/#"
format = "sparkplug"
births = "names"
stale = false
[[uplinks.mqtt]]
name = "nowhere"
servers = ["mqtt://127.0.0.1:{free_port()}"]
[observe]
listen = "127.0.0.1:{port}"
""")
        second = Process([str(BUILD / "millrace"), "run", "-c", str(config)], folder / "gateway.log")
        self.processes.append(second)
        wait_for(lambda: b"millrace_input_up{input=\"plant\"} 1" in self.metrics_of(port), "it is up")
        self.say("pump", "pressure", *[i / 8 for i in range(100)])
        self.say("a%b", "words", "x")
        self.arrived_raw = []

        def there():
            lines = self.command("log", "cat", "--lane", "raw", config=config).stdout.splitlines()
            self.arrived_raw = [(r["device"], r["metric"], r["value"]) for r in map(json.loads, lines)]
            return len(self.arrived_raw) >= 101
        wait_for(there, "it has them")
        self.assertEqual(self.arrived_raw, [("works/gw/pump", "pressure", i / 8) for i in range(100)] + [("works/gw/a%25b", "words", "x")])

    @staticmethod
    def metrics_of(port):
        import urllib.request
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2).read()
        except OSError:
            return b""

    def test_a_real_host_believes_what_it_is_told(self):
        if why := tahu_missing():
            self.skipTest(why)
        classes = BROUGHT / "classes"
        subprocess.run(["javac", "-d", classes, "-cp", f"{BROUGHT}/lib/*", HERE / "Host.java"], check=True, timeout=120, capture_output=True)
        daemon = self.begin('primary_host = "tahu-1"', host="")
        self.say("pump", "pressure", 1.5, 2)
        wait_for(lambda: "is away" in self.scada()["state"], "the host is not there yet")
        host = Process(["java", "-Xmx200m", "-cp", f"{classes}:{BROUGHT}/lib/*", "Host", str(self.central.port), "tahu-1"], self.folder / "host.log", stdin=subprocess.PIPE)
        self.processes.append(host)

        def values():
            return [line.split(" ", 1)[1] for line in host.text().splitlines() if line.startswith("data ")]
        wait_for(lambda: len(values()) >= 2, "it has what waited", 60)
        self.assertIn("born works/gw/pump", host.text())
        self.say("pump", "pressure", *[i / 2 for i in range(10, 300)])
        self.say("pump", "level", 7)
        wait_for(lambda: len(values()) >= 293, "it has everything", 60)
        pressures = [line for line in values() if line.startswith("works/gw/pump pressure Double ")]
        self.assertEqual([float(line.split()[3]) for line in pressures], [1.5, 2.0] + [i / 2 for i in range(10, 300)])
        daemon.stop(signal.SIGKILL)
        wait_for(lambda: "dead works/gw" in host.text(), "it knows that the node is gone", 30)
        self.gateway(self.folder / "millrace.toml")
        wait_for(lambda: host.text().count("born works/gw/pump") >= 2, "it is born again", 60)
        wait_for(self.connects, "the endpoint listens again")
        self.say("pump", "pressure", 1234.5)
        wait_for(lambda: any("pressure Double 1234.5" in line for line in values()), "it goes on", 60)


if __name__ == "__main__":
    unittest.main(verbosity=2)
