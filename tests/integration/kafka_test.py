#!/usr/bin/python3
"""The Kafka uplink against a real Apache Kafka: every form of value, keys and partitions, errors of each kind, SASL over TLS, and
exactly once across kills of the gateway and of the broker."""
import base64
import http.server
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "packaging"))
import kafka
import read_batch
from testsite import BUILD, Process, Site, free_port, wait_for

CONFIG = """
[gateway]
name = "gw"
runtime_dir = "@run@"
[log]
path = "@log@"
commit_interval = "100ms"
[[inputs.mqtt_endpoint]]
name = "devices"
listen = "127.0.0.1:@port@"
anonymous = true
liveness = false
  [[inputs.mqtt_endpoint.routes]]
  topic = "plant/{line}/{device}/telemetry"
  tags = ["line"]
  fixed_tags = { stream = "pumps" }
  time = "ts"
  metrics = { value = "value" }
[[uplinks.kafka]]
name = "central"
servers = ["@servers@"]
initial_interval = "100ms"
max_interval = "1s"
@uplink@
[observe]
listen = "127.0.0.1:@observe@"
"""


def setUpModule():
    if why := kafka.missing():
        raise unittest.SkipTest(why)


class KafkaSite(Site):
    settings, secure = "", False

    def setUp(self):
        super().setUp()
        self.certificates = self.tls() if self.secure else None
        self.kafka = kafka.Kafka(self.folder / "kafka", self.settings, (self.certificates, {"gw": "geheim"}) if self.secure else None)
        self.addCleanup(lambda: self.kafka.stop(signal.SIGKILL))

    def start(self, uplink="", servers=None, port=None):
        self.port = port or free_port()
        self.configure(CONFIG, port=self.port, servers=servers or self.kafka.server, uplink=uplink)
        return self.gateway(self.folder / "millrace.toml")

    def publish(self, count, *more):
        done = subprocess.run([str(BUILD / "tests" / "pipelined_publisher"), str(self.port), "--count", str(count), "--window", "100", *map(str, more)],
                              capture_output=True, text=True, timeout=120)
        self.assertEqual(json.loads(done.stdout.splitlines()[-1])["acknowledged"], count)

    def drained(self, seconds=60):
        wait_for(lambda: self.metric("millrace_uplink_backlog_records") == 0, "everything is delivered", seconds)


class Forms(KafkaSite):
    def test_json_is_keyed_by_device_and_partitioned_as_java_does(self):
        self.kafka.topic("millrace.raw", partitions=7)
        self.start('format = "json"\ncompression = "lz4"')
        self.publish(500, "--connections", 5)
        self.drained()
        messages = self.kafka.read("millrace.raw")
        self.assertEqual(len(messages), 500)
        # murmur2 of "dev-0" ... "dev-4", seed 0x9747b28c, as org.apache.kafka.common.utils.Utils has it.
        where = {m.key().decode(): m.partition() for m in messages}
        self.assertEqual(where, {device: murmur2(device.encode()) % 7 for device in where})
        self.assertEqual(len(where), 5)
        for device in where:
            values = [json.loads(m.value())["value"] for m in messages if m.key().decode() == device]
            self.assertEqual(values, list(range(1, 101)))
        one, headers = json.loads(messages[0].value()), dict(messages[0].headers())
        self.assertEqual({k: one[k] for k in ("gateway", "lane", "kind", "metric", "tags", "time_trust")},
                         {"gateway": "gw", "lane": "raw", "kind": "reading", "metric": "value", "tags": {"stream": "pumps", "line": "line-1"}, "time_trust": "device"})
        self.assertEqual(headers["identity"].decode(), f"gw/{one['epoch']}/{one['sequence']}")
        self.assertEqual((headers["lane"], headers["schema"]), (b"raw", b"json"))
        self.assertEqual(len({m.headers()[0] for m in messages}), 500)

    def test_records_are_read_with_the_installed_descriptor(self):
        self.kafka.topic("pumps-line-1-raw")
        self.start('topic = "{tag.stream}-{tag.line}-{lane}"\nkey = "{gateway}/{device}"')
        self.publish(100)
        self.drained()
        Record = read_batch.schema(BUILD / "generated" / "record.desc")["Record"]
        messages = self.kafka.read("pumps-line-1-raw")
        records = [Record.FromString(m.value()) for m in messages]
        self.assertEqual([r.number for r in records], list(range(1, 101)))
        self.assertEqual(messages[0].key(), b"gw/dev-0")
        self.assertEqual((records[0].device, records[0].gateway, records[0].tags[0].value, records[0].tags[1].value), ("dev-0", "gw", "pumps", "line-1"))
        self.assertEqual([r.sequence for r in records], sorted({r.sequence for r in records}))

    def test_a_batch_is_a_message_keyed_by_gateway(self):
        self.kafka.topic("millrace.raw", partitions=3)
        self.start('format = "batch"')
        self.publish(5000, "--connections", 10)
        self.drained()
        messages = self.kafka.read("millrace.raw")
        self.assertEqual({m.key() for m in messages}, {b"gw"})
        self.assertEqual(len({m.partition() for m in messages}), 1)
        self.assertEqual(sum(int(dict(m.headers())["count"]) for m in messages), 5000)
        classes = read_batch.schema(BUILD / "generated" / "record.desc")
        records = [record for m in messages for record in read_batch.records(m.value(), classes)]
        self.assertEqual(len(records), 5000)
        for device in range(10):
            values = [record["value"] for record in records if record["device"] == f"dev-{device}"]
            self.assertEqual(values, list(range(1, len(values) + 1)))


def murmur2(data):
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ len(data)) & mask
    for i in range(0, len(data) // 4 * 4, 4):
        k = int.from_bytes(data[i:i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    rest = data[len(data) // 4 * 4:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & 0x7FFFFFFF


class Faults(KafkaSite):
    def test_a_broker_that_is_away(self):
        self.kafka.topic("millrace.raw")
        self.kafka.stop(signal.SIGKILL)
        gateway = self.start('format = "json"')
        wait_for(lambda: "uplink central: cannot connect" in gateway.text(), "the reason is named")
        self.publish(100)
        self.kafka.start()
        self.drained()
        self.kafka.stop(signal.SIGKILL)
        wait_for(lambda: self.metric("millrace_uplink_up") == 0, "it is seen that the broker is gone")
        self.publish(100)
        self.kafka.start()
        self.drained()
        identities = [m.headers()[0] for m in self.kafka.read("millrace.raw")]
        self.assertEqual(len(set(identities)), 200)
        # Stopping does not wait for a Kafka that does not answer.
        gateway.stop()
        self.kafka.process.process.send_signal(signal.SIGSTOP)
        gateway = self.start('format = "json"\nexactly_once = true')
        time.sleep(2)
        begin = time.monotonic()
        self.assertEqual(gateway.stop(), 0)
        self.assertLess(time.monotonic() - begin, 10)

    def test_a_missing_topic_blocks_and_loses_nothing(self):
        gateway = self.start('format = "json"')
        self.publish(50)
        wait_for(lambda: self.metric("millrace_uplink_blocked") == 1, "blocked", 60)
        self.assertIn("somebody must act", gateway.text())
        self.assertEqual(self.metric("millrace_uplink_refused_records_total"), 0)
        self.kafka.topic("millrace.raw")
        self.drained(90)
        self.assertEqual(len({m.headers()[0] for m in self.kafka.read("millrace.raw")}), 50)
        gateway.stop()
        gateway = self.start('format = "json"\nexactly_once = true')
        self.publish(50, "--prefix", "once")
        wait_for(lambda: 'topic "millrace-markers": UNKNOWN_TOPIC_OR_PART' in gateway.text(), "the marker topic is named")
        self.kafka.topic("millrace-markers", cleanup_policy="compact")
        self.drained()
        self.assertEqual([m.key().decode() for m in self.kafka.read("millrace.raw")].count("once-0"), 50)

    def test_a_message_too_large_is_isolated_and_its_neighbours_go_through(self):
        for once in (False, True):
            topic = f"large-{once}"
            self.kafka.topic(topic, max_message_bytes="2000")
            if once:
                self.kafka.topic("millrace-markers", cleanup_policy="compact")
            gateway = self.start(f'format = "json"\ncompression = "none"\ntopic = "{topic}"\n' + ("exactly_once = true" if once else ""))
            self.publish(30)
            subprocess.run(["mosquitto_pub", "-p", str(self.port), "-q", "1", "-t", "plant/l/large/telemetry", "-m",
                            json.dumps({"ts": 1790000000, "value": "x" * 5000})], check=True)
            self.publish(30, "--prefix", "after")
            self.drained()
            self.assertEqual(self.metric("millrace_uplink_refused_records_total"), 1)
            wait_for(lambda: self.command("dlq", "ls").stdout.count("MSG_SIZE_TOO_LARGE") == 1 + once, "it lies in the dead lane with the reason")
            keys = [m.key().decode() for m in self.kafka.read(topic)]
            self.assertEqual((keys.count("dev-0"), keys.count("after-0"), keys.count("large")), (30, 30, 0))
            gateway.stop()


class RegistryStub(http.server.ThreadingHTTPServer):
    """Follows the public REST description of a schema registry: POST /subjects/NAME/versions registers, the same schema gets the
    same id."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            subject = self.path.split("/")[2]
            self.server.asked.append((subject, body["schemaType"], self.headers.get("Authorization")))
            status, answer = 200, {"id": self.server.ids.setdefault((subject, body["schema"]), 42 + len(self.server.ids))}
            if self.server.broken:
                status, answer = self.server.broken, {"error_code": self.server.broken, "message": "no"}
            answer = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    def __init__(self, port):
        super().__init__(("127.0.0.1", port), self.Handler)
        self.asked, self.ids, self.broken = [], {}, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def end(self):
        self.shutdown()
        self.server_close()


class Registry(KafkaSite):
    def test_ids_are_registered_once_and_kept_for_offline_starts(self):
        self.kafka.topic("millrace.raw")
        port, secret = free_port(), self.folder / "secret"
        secret.write_text("geheim\n")
        secret.chmod(0o600)
        settings = f'schema_registry = "http://localhost:{port}"\nschema_registry_username = "gw"\nschema_registry_password_file = "{secret}"'
        gateway = self.start(settings)
        self.publish(10)
        wait_for(lambda: "uplink central: schema registry: cannot connect" in gateway.text(), "the reason is named")
        registry = RegistryStub(port)
        registry.broken = 403
        wait_for(lambda: "schema registry: HTTP 403" in gateway.text() and "somebody must act" in gateway.text(), "a refusal is named")
        registry.broken = 0
        self.drained()
        self.assertEqual(set(registry.asked), {("millrace.Record", "PROTOBUF", "Basic " + base64.b64encode(b"gw:geheim").decode())})
        gateway.stop()
        registry.end()
        self.start(settings)
        self.publish(10)
        self.drained()
        for message in self.kafka.read("millrace.raw"):
            self.assertEqual(message.value()[:7], b"\x00\x00\x00\x00\x2a\x02\x02")


class Readers(KafkaSite):
    """The examples of packaging/consumers on the topics that the gateway filled."""

    def test_clickhouse(self):
        server, client = shutil.which("clickhouse-server") or "/usr/sbin/clickhouse-server", shutil.which("clickhouse-client")
        if not os.path.exists(server) or not client:
            self.skipTest("clickhouse-server and clickhouse-client are not installed")
        self.kafka.topic("millrace.raw", partitions=2)
        self.start('format = "json"\ncompression = "lz4"')  # Debian's ClickHouse of 2018 knows no zstd
        folder, port = self.folder / "clickhouse", free_port()
        folder.mkdir()
        (folder / "config.xml").write_text(f"""<yandex><logger><level>warning</level><console>1</console></logger><tcp_port>{port}</tcp_port>
            <listen_host>127.0.0.1</listen_host><path>{folder}/data/</path><tmp_path>{folder}/tmp/</tmp_path><users_config>{folder}/users.xml</users_config>
            <default_profile>default</default_profile><default_database>default</default_database><mark_cache_size>5368709</mark_cache_size></yandex>""")
        (folder / "users.xml").write_text("""<yandex><profiles><default><input_format_skip_unknown_fields>1</input_format_skip_unknown_fields></default></profiles>
            <users><default><password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota></default></users>
            <quotas><default></default></quotas></yandex>""")
        house = Process([server, f"--config-file={folder}/config.xml"], self.folder / "clickhouse.log")
        self.processes.append(house)

        def ask(query, must=False):
            done = subprocess.run([client, "--host", "127.0.0.1", "--port", str(port), "--multiquery"], input=query, capture_output=True, text=True, timeout=60)
            self.assertFalse(must and done.returncode, done.stderr[-1000:])
            return done.stdout.strip() if done.returncode == 0 else ""
        wait_for(lambda: ask("SELECT 1") == "1", "ClickHouse answers: " + house.text()[-500:])
        example = Path(__file__).resolve().parent.parent.parent / "packaging" / "consumers" / "clickhouse.sql"
        ask(example.read_text().replace("localhost:9092", self.kafka.server), must=True)

        def arrives():  # it begins with what comes after it has joined
            self.publish(1, "--prefix", "probe")
            time.sleep(12)  # and shows what it has every 7.5 s
            return ask("SELECT count() FROM millrace_readings") not in ("0", "")
        wait_for(arrives, "ClickHouse reads the topic", 90)
        self.publish(400, "--connections", 4)  # with a window of 100: 100 of each
        query = "SELECT device, count(), sum(value) FROM millrace_readings FINAL WHERE device LIKE 'dev-%' GROUP BY device ORDER BY device FORMAT CSV"
        wait_for(lambda: ask(query).splitlines() == [f'"dev-{n}",100,5050' for n in range(4)], "every reading is in the table, once", 60)


class SlowLink(Site):
    start, publish, drained = KafkaSite.start, KafkaSite.publish, KafkaSite.drained

    def test_a_link_of_300_ms_and_1_mbit_drains_at_its_rate(self):
        rate, readings = 125_000, 8000
        link = kafka.SlowLink(0.3, rate)
        broker = kafka.Kafka(self.folder / "kafka", through=link)
        self.addCleanup(lambda: (broker.stop(signal.SIGKILL), link.stop()))
        broker.topic("millrace-markers", cleanup_policy="compact")
        for once in (False, True):
            broker.topic(f"slow-{once}")
            link.to_port = 0  # away: a backlog builds up
            gateway = self.start(f'format = "json"\ncompression = "none"\ntopic = "slow-{once}"\n' + ("exactly_once = true" if once else ""),
                                 servers=f"127.0.0.1:{link.port}")
            self.publish(readings, "--connections", 4, "--prefix", f"slow-{once}")
            link.to_port = broker.port
            wait_for(lambda: self.metric("millrace_uplink_up") == 1, "connected", 60)
            begin, before = time.monotonic(), link.sent
            self.drained(240)
            seconds, sent = time.monotonic() - begin, link.sent - before
            used = sent / seconds / rate
            print(f"   exactly_once = {once}: {readings} readings in {seconds:.1f} s, {sent / readings:.0f} bytes a reading, {used:.0%} of the link", file=sys.stderr)
            self.assertGreater(sent, 8 * rate, "enough to tell")
            self.assertGreater(used, 0.7)
            gateway.stop()


class Secure(KafkaSite):
    secure = True

    def test_sasl_over_tls(self):
        self.kafka.topic("millrace.raw")
        secret = self.folder / "secret"
        secret.write_text("falsch\n")
        secret.chmod(0o600)
        for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
            secret.write_text("falsch\n")
            gateway = self.start(f'format = "json"\ntls_ca = "{self.certificates}/ca.pem"\nsasl_mechanism = "{mechanism}"\nusername = "gw"\n'
                                 f'password_file = "{secret}"', servers=f"127.0.0.1:{self.kafka.secure_port}")
            self.publish(10)
            wait_for(lambda: "uthentication" in gateway.text(), "the reason is named")
            self.assertEqual(self.metric("millrace_uplink_up"), 0)
            secret.write_text("geheim\n")
            self.drained()
            self.assertNotIn("geheim", gateway.text())
            gateway.stop()
        self.assertEqual(len(self.kafka.read("millrace.raw")), 30)
        # Another CA: nothing is sent.
        other = self.folder / "other"
        subprocess.run([Path(__file__).resolve().parent.parent.parent / "packaging" / "test-ca.sh", other], check=True, stdout=subprocess.DEVNULL)
        gateway = self.start(f'tls_ca = "{other}/ca.pem"\nsasl_mechanism = "PLAIN"\nusername = "gw"\npassword_file = "{secret}"',
                             servers=f"127.0.0.1:{self.kafka.secure_port}")
        self.publish(10)
        wait_for(lambda: "certificate" in gateway.text(), "the reason is named")
        self.assertEqual(self.metric("millrace_uplink_backlog_records"), 10)

    def test_a_password_that_is_another_while_it_runs(self):
        self.kafka.topic("millrace.raw")
        secret = self.folder / "secret"
        secret.write_text("geheim\n")
        secret.chmod(0o600)
        gateway = self.start(f'format = "json"\ntls_ca = "{self.certificates}/ca.pem"\nsasl_mechanism = "PLAIN"\nusername = "gw"\n'
                             f'password_file = "{secret}"', servers=f"127.0.0.1:{self.kafka.secure_port}")
        self.publish(10)
        self.drained()
        # Nothing is on its way while the broker learns the other one: no deadline makes the producer anew.
        properties = self.kafka.folder / "server.properties"
        self.kafka.stop()
        properties.write_text(properties.read_text().replace('user_gw="geheim"', 'user_gw="anders"'))
        self.kafka.start()
        wait_for(lambda: "uthentication" in gateway.text(), "the reason is named")
        self.publish(10)
        secret.write_text("anders\n")
        self.drained()
        self.assertEqual(len(self.kafka.read("millrace.raw")), 20)

    def test_oauthbearer_with_a_token_file(self):
        self.kafka.topic("millrace.raw")

        def token(lifetime):
            now = time.time()
            parts = {"alg": "none"}, {"sub": "gw", "iat": now, "exp": now + lifetime}
            return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."
        secret = self.folder / "token"
        secret.write_text(token(-3600) + "\n")
        secret.chmod(0o600)
        gateway = self.start(f'format = "json"\ntls_ca = "{self.certificates}/ca.pem"\nsasl_mechanism = "OAUTHBEARER"\ntoken_file = "{secret}"',
                             servers=f"127.0.0.1:{self.kafka.secure_port}")
        self.publish(10)
        wait_for(lambda: "uthentication" in gateway.text(), "the reason is named")
        self.assertEqual(self.metric("millrace_uplink_up"), 0)
        fresh = token(3600)
        secret.write_text(fresh + "\n")  # as who renews the file would
        self.drained(90)
        self.assertNotIn(fresh[:60], gateway.text())
        self.assertEqual(len(self.kafka.read("millrace.raw")), 10)


class Online(KafkaSite):
    """`millrace check --online` against a broker that gives rights one by one; in the end those that the README lists."""
    secure = True
    settings = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nsuper.users=User:ANONYMOUS\n"

    def check(self):
        done = self.command("check", "--online")
        return done.returncode, {line[6:].split(": ", 1)[1]: line[:4].strip() for line in done.stdout.splitlines() if line.startswith(("good  uplink", "?     uplink", "BAD   uplink"))}

    def test_each_missing_thing_is_named(self):
        secret = self.folder / "secret"
        secret.write_text("geheim\n")
        secret.chmod(0o600)
        self.port = free_port()
        self.configure(CONFIG, port=self.port, servers=f"127.0.0.1:{self.kafka.secure_port}",
                       uplink=f'exactly_once = true\ntls_ca = "{self.certificates}/ca.pem"\nsasl_mechanism = "SCRAM-SHA-256"\nusername = "gw"\npassword_file = "{secret}"')
        code, found = self.check()
        self.assertEqual(code, 69, found)
        self.assertIn("BAD", [state for what, state in found.items() if what.startswith("topic millrace.raw")])
        for topic in ("millrace.alarm", "millrace.window", "millrace.raw"):
            self.kafka.topic(topic)
        self.kafka.topic("millrace-markers")  # not compacted
        self.kafka.allow("gw", "--topic", "millrace.alarm", "--topic", "millrace.window", "--topic", "millrace-markers", "--operation", "Write")
        self.kafka.allow("gw", "--topic", "millrace.raw", "--operation", "Describe")
        self.kafka.allow("gw", "--topic", "millrace-markers", "--operation", "DescribeConfigs", "--operation", "Read")
        self.kafka.allow("gw", "--transactional-id", "millrace-gw-central", "--operation", "Write", "--operation", "Describe")
        code, found = self.check()
        self.assertEqual(code, 69, found)
        bad = [what for what, state in found.items() if state == "BAD"]
        self.assertEqual(len(bad), 2, found)
        self.assertIn('cleanup.policy: is "delete"', bad[0])
        self.assertIn("rights to write to millrace.raw: Failed to add partition(s)", bad[1])
        self.assertEqual(len(self.kafka.read("millrace.alarm", committed=False)), 0, "nothing was written, not even to be taken back")
        # What is missing of what the README lists.
        self.kafka.allow("gw", "--topic", "millrace.raw", "--operation", "Write")
        subprocess.run([*kafka.JAVA, "-cp", f"{kafka.JARS}/*", "kafka.admin.ConfigCommand", "--bootstrap-server", self.kafka.server, "--alter", "--entity-type", "topics",
                        "--entity-name", "millrace-markers", "--add-config", "cleanup.policy=compact"], check=True, capture_output=True, timeout=60)
        code, found = self.check()
        self.assertEqual((code, set(found.values())), (0, {"good"}), found)
        gateway = self.gateway(self.folder / "millrace.toml")
        self.publish(10)
        self.drained()
        self.assertEqual(len(self.kafka.read("millrace.raw")), 10)
        # Beside the daemon: it goes on, and is not fenced.
        code, found = self.check()
        self.assertEqual(code, 0, found)
        self.assertEqual([what.split(":")[0] for what, state in found.items() if state == "?"], ["rights to write"], found)
        self.publish(10, "--prefix", "more")
        self.drained()
        self.assertEqual(len(self.kafka.read("millrace.raw")), 20)
        self.assertNotIn("fenced", gateway.text())


class ExactlyOnce(KafkaSite):
    def prepare(self):
        self.kafka.topic("millrace.raw", partitions=4)
        self.kafka.topic("millrace-markers", cleanup_policy="compact")

    def check(self, through, doubles_allowed=False):
        """(how many, doubled) in the topic: nothing missing, each device in order."""
        devices, identities = {}, []
        for message in self.kafka.read("millrace.raw", seconds=300):
            devices.setdefault(message.key().decode(), []).append(json.loads(message.value())["value"])
            identities.append(message.headers()[0])
        doubled = 0
        for c, last in enumerate(through):
            values = devices.get(f"dev-{c}", [])
            firsts = list(dict.fromkeys(values))
            self.assertEqual(sorted(set(range(1, last + 1)) - set(values))[:10], [], f"dev-{c}: acknowledged and missing")
            self.assertEqual(firsts, sorted(firsts), f"dev-{c}: out of order")
            doubled += len(values) - len(firsts)
        self.assertEqual(len(identities) - len(set(identities)), doubled, "what came twice has its old identity")
        if not doubles_allowed:
            self.assertEqual(doubled, 0)
        return len(identities), doubled

    def kill_again_and_again(self, uplink, kills, seed):
        rng = random.Random(seed)
        self.prepare()
        gateway = self.start(f'format = "json"\n{uplink}')
        publisher = Process([str(BUILD / "tests" / "pipelined_publisher"), str(self.port), "--connections", "4", "--rate", "2000", "--qos", "2", "--window", "50",
                             "--persistent", "--patience", "120"], self.folder / "publisher.log")
        self.processes.append(publisher)
        killed = {"gateway": 0, "broker": 0}
        for _ in range(kills):
            time.sleep(rng.uniform(0.2, 3))
            who = rng.choice(("gateway", "gateway", "broker", "both"))
            if who != "broker":
                gateway.stop(signal.SIGKILL)
                killed["gateway"] += 1
            if who != "gateway":
                self.kafka.stop(signal.SIGKILL)
                killed["broker"] += 1
                time.sleep(rng.uniform(0, 1))
                self.kafka.start()
            if who != "broker":
                gateway = self.gateway(self.folder / "millrace.toml")
        publisher.process.send_signal(signal.SIGTERM)
        publisher.process.wait(150)
        answer = json.loads(publisher.text().splitlines()[-1])
        self.drained(120)
        found, doubled = self.check(answer["through"], doubles_allowed="exactly_once" not in uplink)
        print(f"   {killed['gateway']} kills of the gateway, {killed['broker']} of the broker (seed {seed}): {answer['acknowledged']} acknowledged, "
              f"{found} in the topic, 0 missing, 0 out of order, {doubled} doubled", file=sys.stderr)
        return doubled

    def test_kills_with_exactly_once(self):
        kills, seed = int(os.environ.get("MILLRACE_KILLS", "6")), int(os.environ.get("MILLRACE_SEED", time.time_ns() % 1_000_000))
        self.kill_again_and_again("exactly_once = true", kills, seed)

    def test_kills_without(self):
        kills, seed = int(os.environ.get("MILLRACE_KILLS", "4")), int(os.environ.get("MILLRACE_SEED", time.time_ns() % 1_000_000))
        self.kill_again_and_again("", kills, seed)

    def test_a_transaction_that_outlives_its_time_is_done_again(self):
        self.prepare()
        gateway = self.start('format = "json"\nexactly_once = true\ntransaction_timeout = "5s"\nsend_timeout = "60s"\nlinger = "2s"')
        self.publish(1, "--prefix", "first")
        self.drained()
        for round_ in range(2):
            self.publish(200, "--prefix", f"round-{round_}")
            time.sleep(0.4)
            gateway.process.send_signal(signal.SIGSTOP)  # in the middle of a transaction, longer than the broker waits
            time.sleep(12)
            gateway.process.send_signal(signal.SIGCONT)
        self.drained(120)
        self.assertIn("the producer is made anew", gateway.text())
        keys = [m.key().decode() for m in self.kafka.read("millrace.raw")]
        self.assertEqual({key: keys.count(key) for key in set(keys)}, {"first-0": 1, "round-0-0": 200, "round-1-0": 200})

    def test_the_older_of_two_with_one_name_is_fenced_and_says_so(self):
        self.prepare()
        first = self.start('format = "json"\nexactly_once = true')
        self.publish(10)
        self.drained()
        run, log = self.run_folder, self.folder / "log"
        self.run_folder = self.folder / "run-2"
        self.run_folder.mkdir()
        log.rename(self.folder / "log-1")
        old_port, self.observe = self.port, None
        (self.folder / "millrace.toml").rename(self.folder / "first.toml")
        second = self.start('format = "json"\nexactly_once = true')
        self.publish(10, "--prefix", "second")
        self.drained()
        second_port, self.port = self.port, old_port
        self.publish(10, "--prefix", "first")
        wait_for(lambda: "another gateway sends under the same name" in first.text(), "the older says so", 90)
        self.port = second_port
        self.publish(10, "--prefix", "second-more")
        self.drained(90)
        keys = [m.key().decode() for m in self.kafka.read("millrace.raw")]
        self.assertEqual({key: keys.count(key) for key in set(keys)}, {"dev-0": 10, "second-0": 10, "second-more-0": 10})
        second.stop()
        first.stop()
        self.run_folder = run

    def test_a_log_that_was_restored_or_replaced_is_noticed(self):
        self.prepare()
        uplink = 'format = "json"\nexactly_once = true\nstart = "oldest"'
        gateway = self.start(uplink)
        self.publish(100)
        self.drained()
        gateway.stop()
        subprocess.run(["cp", "-a", str(self.folder / "log"), str(self.folder / "backup")], check=True)
        gateway = self.start(uplink)
        self.publish(100, "--prefix", "later")
        self.drained()
        gateway.stop()
        subprocess.run(["rm", "-rf", str(self.folder / "log")], check=True)
        (self.folder / "backup").rename(self.folder / "log")  # what came later is not in this log any more; the topic has it
        gateway = self.start(uplink)
        self.publish(100, "--prefix", "restored")
        self.drained()
        self.assertIn("this log was replaced, copied or restored", gateway.text())
        gateway.stop()
        subprocess.run(["rm", "-rf", str(self.folder / "log")], check=True)
        gateway = self.start(uplink)
        self.publish(100, "--prefix", "fresh")
        self.drained()
        keys = [m.key().decode() for m in self.kafka.read("millrace.raw")]
        self.assertEqual({key: keys.count(key) for key in set(keys)}, {"dev-0": 100, "later-0": 100, "restored-0": 100, "fresh-0": 100})


if __name__ == "__main__":
    unittest.main(verbosity=2)
