#!/usr/bin/python3
"""Sparkplug B through a broker: payloads of an independent encoder (npm sparkplug-payload) and a real edge node (Eclipse Tahu); restarts,
reloads, gaps and garbage. What is in the log is what was said."""
import base64
import json
import queue
import shutil
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from testsite import ROOT, Site, free_port, wait_for

import paho.mqtt.client as paho

HERE = ROOT / "tests" / "integration" / "sparkplug"
BROUGHT = ROOT / "build" / "sparkplug"
CONFIG = """
[gateway]
name = "gw"
runtime_dir = "@run@"
[log]
path = "@log@"
commit_interval = "100ms"
[[inputs.mqtt]]
name = "plant"
servers = ["mqtt://127.0.0.1:@devices@"]
[[inputs.mqtt.routes]]
topic = "spBv1.0/#"
format = "sparkplug"
rebirth_min = "1s"
@route@
[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://127.0.0.1:@devices@"]
[observe]
listen = "127.0.0.1:@observe@"
"""


def bring(file, command, done):
    """Why what the test stands on is not here; empty when it is."""
    BROUGHT.mkdir(parents=True, exist_ok=True)
    said, wanted = BROUGHT / (file + ".complete"), (HERE / file).read_text()
    if said.exists() and said.read_text() == wanted and done.exists():
        return ""
    if not shutil.which(command[0]):
        return f"{command[0]} is not installed"
    shutil.copy(HERE / file, BROUGHT / file)
    brought = subprocess.run(command, cwd=BROUGHT, capture_output=True, text=True, timeout=300)
    if brought.returncode != 0 or not done.exists():
        return f"{command[0]} could not bring it: " + (brought.stdout + brought.stderr).strip()[:200]
    said.write_text(wanted)
    return ""


def encoder_missing():
    if not shutil.which("node"):
        return "node is not installed"
    return bring("package.json", ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], BROUGHT / "node_modules" / "sparkplug-payload")


def tahu_missing():
    for command in ("javac", "java"):
        if not shutil.which(command):
            return f"{command} is not installed"
    jars = BROUGHT / "lib"
    return bring("pom.xml", ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={jars}"], jars)


class SparkplugSite(Site):
    def start(self, route=""):
        self.devices = self.broker()
        self.config_path = self.configure(CONFIG, devices=self.devices.port, route=route)
        self.daemon = self.gateway(self.config_path)
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up")

    def readings(self):
        lines = [json.loads(line) for line in self.command("log", "cat", "--lane", "raw").stdout.splitlines()]
        return [(r["device"], r["metric"], r.get("value")) for r in lines], lines

    def events(self):
        lines = [json.loads(line) for line in self.command("log", "cat", "--lane", "alarm").stdout.splitlines()]
        return [(r["device"], r["value"]) for r in lines if r["kind"] == "event" and r["metric"] == "connected"]

    def letters(self):
        return json.loads(self.command("dlq", "ls", "--json", "-n", "1000").stdout)["dead"]

    def arrive(self, count):
        wait_for(lambda: len(self.readings()[0]) >= count, f"{count} readings")
        self.assertEqual(len(self.readings()[0]), count, self.readings()[0])
        return self.readings()[0]

    def restart(self):
        self.daemon.stop(signal.SIGKILL)
        self.daemon = self.gateway(self.config_path)
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up again")


class PrimaryHost(Site):
    """STATE of the host application that edge nodes wait for."""

    def said(self):
        return [json.loads(payload) for payload in self.states]

    def test_birth_will_stop_and_somebody_who_says_that_we_are_gone(self):
        broker = self.broker()
        self.states, topic = [], "spBv1.0/STATE/scada-1"
        node = paho.Client(client_id="node", protocol=paho.MQTTv5)
        node.on_message = lambda client, data, message: self.states.append(message.payload.decode())
        node.connect("127.0.0.1", broker.port)
        node.subscribe(topic, qos=1)
        node.loop_start()
        self.addCleanup(node.loop_stop)
        for version in ("5", "3.1.1"):
            with self.subTest(version=version):
                del self.states[:]
                config = self.configure(CONFIG.replace("[[inputs.mqtt.routes]]", f'primary_host = "scada-1"\nversion = "{version}"\n[[inputs.mqtt.routes]]', 1), devices=broker.port, route="")
                daemon = self.gateway(config)
                wait_for(lambda: self.said() and self.said()[-1]["online"], "the birth")
                born = self.said()[-1]
                self.assertLess(abs(born["timestamp"] / 1000 - time.time()), 60)
                # Somebody says that we are gone: we are not.
                del self.states[:]
                node.publish(topic, '{"online":false,"timestamp":1}', qos=1, retain=True)
                wait_for(lambda: self.said() and self.said()[-1]["online"], "the birth again")
                # Nobody's payload: neither a reading nor a letter.
                self.assertEqual(json.loads(self.command("dlq", "ls", "--json").stdout)["dead"], [])
                daemon.stop(signal.SIGKILL)
                wait_for(lambda: self.said()[-1] == {"online": False, "timestamp": born["timestamp"]}, "the will, of the same time")
                daemon = self.gateway(config)
                wait_for(lambda: self.said()[-1]["online"], "the birth of the next life")
                self.assertGreaterEqual(self.said()[-1]["timestamp"], born["timestamp"])
                later = self.said()[-1]["timestamp"]
                daemon.stop()
                wait_for(lambda: self.said()[-1] == {"online": False, "timestamp": later}, "the end, said politely")
        kept = subprocess.run(["mosquitto_sub", "-p", str(broker.port), "-t", topic, "-C", "1", "-W", "5"], capture_output=True, text=True)
        self.assertFalse(json.loads(kept.stdout)["online"], "it is retained")


class AtTheEndpoint(Site):
    """An edge node that publishes straight to the gateway: what it did not say it is asked for, there as at a broker."""

    CONFIG = CONFIG.replace('[[inputs.mqtt]]\nname = "plant"\nservers = ["mqtt://127.0.0.1:@devices@"]\n',
                            '[[inputs.mqtt_endpoint]]\nname = "plant"\nlisten = "127.0.0.1:@port@"\nanonymous = true\n[[inputs.mqtt_endpoint.acl]]\n'
                            'publish = ["spBv1.0/plant/+/{client_id}/#"]\n').replace("[[inputs.mqtt.routes]]", "[[inputs.mqtt_endpoint.routes]]")
    # Of sequence 5: the metric "t", a float, 21.5.
    DATA = bytes.fromhex("12 0a 0a0174 2009 650000ac41 1805")

    def node(self, name, port, version):
        node = paho.Client(client_id=name, protocol=version)
        node.heard, node.granted = queue.Queue(), queue.Queue()
        node.on_message = lambda client, data, message: node.heard.put((message.topic, message.payload))
        if version == paho.MQTTv5:
            node.on_subscribe = lambda client, data, mid, codes, properties: node.granted.put([code.value for code in codes])
        else:
            node.on_subscribe = lambda client, data, mid, codes: node.granted.put(list(codes))
        node.connect("127.0.0.1", port)
        node.loop_start()
        self.addCleanup(node.loop_stop)
        return node

    def test_a_node_that_was_not_born_is_asked_to_be_and_hears_of_itself_alone(self):
        broker, port = self.broker(), free_port()
        self.gateway(self.configure(self.CONFIG, devices=broker.port, port=port, route=""))
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up")
        # As Tahu asks for it, and as one of MQTT 5 may: CONNACK said that there are no wildcards.
        old, new = self.node("pump-1", port, paho.MQTTv311), self.node("pump-2", port, paho.MQTTv5)
        old.subscribe([("spBv1.0/plant/NCMD/pump-1/#", 0), ("spBv1.0/plant/DCMD/pump-1/#", 0), ("spBv1.0/plant/NCMD/pump-2/#", 0), ("spBv1.0/plant/NCMD/+", 0), ("#", 0)])
        self.assertEqual(old.granted.get(timeout=10), [0, 0, 128, 128, 128])
        new.subscribe([("spBv1.0/plant/NCMD/pump-2", 1), ("spBv1.0/plant/NCMD/pump-2/#", 0), ("spBv1.0/plant/NCMD/pump-1", 0)])
        self.assertEqual(new.granted.get(timeout=10), [1, 0xA2, 0x87])
        for name, node, other in (("pump-1", old, new), ("pump-2", new, old)):
            node.publish(f"spBv1.0/plant/NDATA/{name}", self.DATA, qos=1)
            topic, payload = node.heard.get(timeout=10)
            self.assertEqual(topic, f"spBv1.0/plant/NCMD/{name}")
            self.assertIn(b"Node Control/Rebirth", payload)
            self.assertTrue(other.heard.empty())
        wait_for(lambda: self.metric("millrace_input_replies_total") == 2, "both are counted")
        # Who does not listen any more is not told, and that is counted.
        new.on_unsubscribe = lambda *of: new.granted.put("gone")
        new.unsubscribe("spBv1.0/plant/NCMD/pump-2")
        self.assertEqual(new.granted.get(timeout=10), "gone")
        time.sleep(1.1)  # rebirth_min
        new.publish("spBv1.0/plant/NDATA/pump-2", self.DATA, qos=1)
        wait_for(lambda: self.metric("millrace_input_replies_dropped_total") == 1, "nobody listens")
        self.assertTrue(new.heard.empty())


class Encoder(SparkplugSite):
    """Edge nodes that the test plays; their bytes are the independent encoder's."""

    @classmethod
    def setUpClass(cls):
        if why := encoder_missing():
            raise unittest.SkipTest(why)
        cls.encoder = subprocess.Popen(["node", str(HERE / "encode.js")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                       env={"NODE_PATH": str(BROUGHT / "node_modules"), "PATH": "/usr/bin:/usr/local/bin:" + str(Path(shutil.which("node")).parent)})

    @classmethod
    def tearDownClass(cls):
        cls.encoder.stdin.close()
        cls.encoder.stdout.close()
        cls.encoder.wait(10)

    def encoded(self, metrics, seq=None, at=None):
        at = at or int(time.time() * 1000)
        payload = {"timestamp": at, "metrics": [{"timestamp": at, **metric} for metric in metrics]}
        if seq is not None:
            payload["seq"] = seq
        self.encoder.stdin.write(json.dumps(payload) + "\n")
        self.encoder.stdin.flush()
        return base64.b64decode(self.encoder.stdout.readline())

    def connect(self):
        self.commands = queue.Queue()
        self.client = paho.Client(client_id="edges")
        self.client.on_message = lambda client, data, message: self.commands.put(message.topic)
        self.client.connect("127.0.0.1", self.devices.port)
        self.client.subscribe("spBv1.0/+/NCMD/#")
        self.client.loop_start()
        self.addCleanup(self.client.loop_stop)
        self.addCleanup(self.client.disconnect)

    def say(self, kind, metrics, seq=None, node="n", device=None):
        self.client.publish(f"spBv1.0/g/{kind}/{node}" + (f"/{device}" if device else ""), self.encoded(metrics, seq), qos=1).wait_for_publish(10)

    def born(self, node="n", alias=1, value=0, session=0):
        self.say("NBIRTH", [{"name": "bdSeq", "type": "Int64", "value": session}, {"name": "level", "alias": alias, "type": "Int32", "value": value}], 0, node)

    def test_exact_values_two_nodes_a_gap_and_a_rebirth(self):
        self.start()
        self.connect()
        at = int(time.time() * 1000)
        self.say("NBIRTH", [{"name": "bdSeq", "type": "Int64", "value": 0}, {"name": "i8", "alias": 1, "type": "Int8", "value": -5},
                            {"name": "u32", "alias": 2, "type": "UInt32", "value": 4000000000},
                            {"name": "d", "alias": 3, "type": "Double", "value": 0.1, "properties": {"engUnit": {"type": "String", "value": "bar"}}},
                            {"name": "f", "alias": 4, "type": "Float", "value": 21.5}, {"name": "s", "alias": 5, "type": "String", "value": "ön"},
                            {"name": "none", "alias": 6, "type": "Int32", "value": None}], 0, "a")
        self.say("NBIRTH", [{"name": "bdSeq", "type": "Int64", "value": 0}, {"name": "level", "alias": 1, "type": "Int64", "value": -2**40}], 0, "b")
        self.say("DBIRTH", [{"name": "t", "alias": 9, "type": "Double", "value": 1.25}], 1, "b", "pump")
        first = self.arrive(7)
        self.assertEqual(first, [("g/a", "i8", -5), ("g/a", "u32", 4000000000), ("g/a", "d", 0.1), ("g/a", "f", 21.5), ("g/a", "s", "ön"),
                                 ("g/b", "level", -2**40), ("g/b/pump", "t", 1.25)])
        self.assertEqual(self.readings()[1][2]["unit"], "bar")
        self.assertGreaterEqual(int(time.time() * 1000) + 60_000, at)
        self.say("NDATA", [{"alias": 3, "type": "Double", "value": 0.2}], 1, "a")
        self.say("DDATA", [{"alias": 9, "type": "Double", "value": 2.5}], 2, "b", "pump")
        self.assertEqual(self.arrive(9)[7:], [("g/a", "d", 0.2), ("g/b/pump", "t", 2.5)])
        self.assertTrue(self.commands.empty())
        self.say("NDATA", [{"alias": 1, "type": "Int8", "value": 9}], 5, "a")  # 2, 3 and 4 are missing
        self.assertEqual(self.commands.get(timeout=10), "spBv1.0/g/NCMD/a")
        self.arrive(10)
        self.assertEqual(self.readings()[1][9]["quality"], "uncertain")
        self.say("NDEATH", [{"name": "bdSeq", "type": "Int64", "value": 0}], None, "b")
        self.assertEqual(self.arrive(12)[10:], [("g/b", "level", -2**40), ("g/b/pump", "t", 2.5)])
        self.assertEqual({r["quality"] for r in self.readings()[1][10:]}, {"bad"})
        self.assertEqual(self.events(), [("g/a", True), ("g/b", True), ("g/b/pump", True), ("g/b", False), ("g/b/pump", False)])
        self.assertEqual(self.letters(), [])
        self.assertEqual(self.metric("millrace_input_no_value_total"), 1)
        self.assertEqual(self.metric("millrace_format_notes_total", 'what="sequence_gap"'), 1)
        self.assertEqual(self.metric("millrace_input_replies_total"), 1)

    def test_data_before_a_birth_is_kept_asked_for_and_given_by_retry(self):
        self.start()
        self.connect()
        self.say("NDATA", [{"alias": 1, "type": "Int32", "value": 7}], 33)
        self.assertEqual(self.commands.get(timeout=10), "spBv1.0/g/NCMD/n")
        wait_for(lambda: len(self.letters()) == 1, "a dead letter")
        self.born(value=8)
        self.arrive(1)
        self.assertEqual(self.command("dlq", "retry", "--all").returncode, 0)
        self.assertEqual(sorted(self.arrive(2)), [("g/n", "level", 7), ("g/n", "level", 8)])
        for garbage in (b"\xff\xff\xff", b"", b"\x12\x05hello", b"{\"json\": 1}", bytes(1000)):
            self.client.publish("spBv1.0/g/NDATA/n", garbage, qos=1).wait_for_publish(10)
        self.client.publish("spBv1.0/g/WHAT/n", b"x", qos=1).wait_for_publish(10)
        self.say("NDATA", [{"alias": 1, "type": "Int32", "value": 9}], 1)
        wait_for(lambda: ("g/n", "level", 9) in self.readings()[0], "it goes on")
        self.assertGreaterEqual(self.metric("millrace_input_undecodable_total"), 3)

    def test_kill_9_and_reload_aliases_stay_known_and_nothing_is_lost(self):
        self.start()
        self.connect()
        self.born("one", alias=1)
        self.born("two", alias=7)
        self.arrive(2)
        said = [("g/one", "level", 0), ("g/two", "level", 0)]
        seq = 0
        for round in range(6):
            for i in range(10):
                seq = (seq + 1) % 256
                value = round * 10 + i + 1
                self.say("NDATA", [{"alias": 1, "type": "Int32", "value": value}], seq, "one")
                self.say("NDATA", [{"alias": 7, "type": "Int32", "value": value}], seq, "two")
                said += [("g/one", "level", value), ("g/two", "level", value)]
                if i == 5 and round % 2 == 0:
                    self.restart()
                elif i == 5:
                    self.config_path.write_text(self.config_path.read_text().replace('format = "sparkplug"', 'format = "sparkplug"\nstale = false', 1)
                                                if round == 1 else self.config_path.read_text().replace("stale = false", "stale = true"))
                    self.assertEqual(self.command("reload").returncode, 0)
        self.assertEqual(sorted(self.arrive(len(said))), sorted(said))
        self.assertEqual({r.get("quality", "good") for r in self.readings()[1]}, {"good"})
        self.assertEqual(self.letters(), [])
        self.assertTrue(self.commands.empty())
        # A node that comes back with other aliases.
        self.born("one", alias=70, session=1)
        self.say("NDATA", [{"alias": 70, "type": "Int32", "value": 1000}], 1, "one")
        self.assertEqual(self.arrive(len(said) + 2)[-1], ("g/one", "level", 1000))
        # Without the route nothing is remembered any more.
        self.daemon.stop()
        said, rest = self.config_path.read_text().split("[[uplinks")
        self.config_path.write_text(said[:said.index('format = "sparkplug"')] + "ignore = true\n[[uplinks" + rest)
        self.daemon = self.gateway(self.config_path)
        self.daemon.stop()
        self.configure(CONFIG, devices=self.devices.port, route="")
        self.daemon = self.gateway(self.config_path)
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up again")
        self.say("NDATA", [{"alias": 70, "type": "Int32", "value": 1001}], 2, "one")
        self.assertEqual(self.commands.get(timeout=10), "spBv1.0/g/NCMD/one")


class Tahu(SparkplugSite):
    """A real edge node."""

    def setUp(self):
        super().setUp()
        if why := tahu_missing():
            self.skipTest(why)
        classes = BROUGHT / "classes"
        subprocess.run(["javac", "-d", classes, "-cp", f"{BROUGHT}/lib/*", HERE / "Edge.java"], check=True, timeout=120, capture_output=True)
        self.classes = f"{classes}:{BROUGHT}/lib/*"

    def edge(self):
        with open(self.folder / "edge.log", "a") as log:
            process = subprocess.Popen(["java", "-Xmx200m", "-cp", self.classes, "Edge", str(self.devices.port)], stdin=subprocess.PIPE,
                                       stdout=log, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(process.stdin.close)
        self.addCleanup(process.wait, 10)
        self.addCleanup(process.kill)
        return process

    def births(self):
        return (self.folder / "edge.log").read_text().count("born ")

    def test_births_data_rebirth_and_death_of_a_real_node(self):
        self.start()
        edge = self.edge()
        wait_for(lambda: self.births() == 1, "it is born", 60)
        self.assertEqual(self.arrive(4), [("tahu/edge", "small", -7), ("tahu/edge", "wide", 4000000000), ("tahu/edge", "words", "on"),
                                          ("tahu/edge/pump", "Line/pressure", 1.5)])
        edge.stdin.write("2.5\n0.1\n")
        edge.stdin.flush()
        self.assertEqual([value for _, _, value in self.arrive(6)[4:]], [2.5, 0.1])
        self.assertEqual(self.readings()[1][5]["unit"], "bar")
        # The gateway forgets everything: what comes is kept, the node is asked, and is born again.
        self.daemon.stop()
        shutil.rmtree(self.folder / "log")
        self.daemon = self.gateway(self.config_path)
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up again")
        edge.stdin.write("7.5\n")
        edge.stdin.flush()
        wait_for(lambda: self.births() == 2, "it is born again", 60)
        self.arrive(4)
        self.assertEqual(len(self.letters()), 1)
        self.assertEqual(self.command("dlq", "retry", "--all").returncode, 0)
        self.assertIn(("tahu/edge/pump", "Line/pressure", 7.5), self.arrive(5))
        edge.kill()  # the broker sends its will
        wait_for(lambda: ("tahu/edge", False) in self.events(), "it is gone", 60)
        wait_for(lambda: len(self.readings()[0]) == 9, "its metrics are stale")
        self.assertEqual({r["quality"] for r in self.readings()[1][5:]}, {"bad"})

    def test_a_real_node_straight_at_the_gateway_is_asked_and_born_again(self):
        broker, port = self.broker(), free_port()
        config = AtTheEndpoint.CONFIG.replace('publish = ["spBv1.0/plant/+/{client_id}/#"]', 'publish = ["spBv1.0/#"]')
        self.gateway(self.configure(config, devices=broker.port, port=port, route=""))
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up")
        self.devices = broker
        self.devices.port = port
        self.edge()
        wait_for(lambda: self.births() == 1, "it is born", 60)
        self.arrive(4)
        # Somebody speaks for it: its sequence has a gap.
        stranger = paho.Client(client_id="stranger")
        stranger.connect("127.0.0.1", port)
        stranger.loop_start()
        self.addCleanup(stranger.loop_stop)
        stranger.publish("spBv1.0/tahu/NDATA/edge", AtTheEndpoint.DATA[:-1] + b"\x4d", qos=1)
        wait_for(lambda: self.births() == 2, "it is born again", 60)
        wait_for(lambda: self.metric("millrace_input_replies_total") == 1, "it is counted")


if __name__ == "__main__":
    unittest.main(verbosity=2)
