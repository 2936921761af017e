"""Real servers that records go to by HTTP, on loopback, in a folder of the test's own. Each says which readings it holds, as {device:
[value, ...]}. And North: a site with a gateway whose devices publish to it, and whose records go to one of them."""
import base64
import fcntl
import http.server
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from testsite import BUILD, ROOT, Process, Site, free_port, jars, listening, serve_each, wait_for


def ask(url, body=None, headers=None, method=None, timeout=60):
    """(status, body, headers), whatever the status."""
    request = urllib.request.Request(url, data=body.encode() if isinstance(body, str) else body, headers=headers or {}, method=method)
    anybody = ssl._create_unverified_context()  # who verifies is the gateway
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=anybody) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def venv(name, *packages):
    """The Python of a virtual environment below build/ that has these of PyPI; none: they cannot be had."""
    folder = ROOT / "build" / name
    folder.parent.mkdir(exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests that run side by side want the same
        if not (folder / "ready").exists():
            for command in (["/usr/bin/python3", "-m", "venv", str(folder)], [str(folder / "bin" / "pip"), "install", "-q", *packages]):
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode != 0:
                    print(f"{name}: {done.stderr[-300:].strip()}", file=sys.stderr)
                    shutil.rmtree(folder, ignore_errors=True)
                    return None
            (folder / "ready").touch()
    return str(folder / "bin" / "python")


def node(folder, package):
    """Why there is no such package of npm, named with its version, in this folder below build/; empty when there is."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node and npm are not installed"
    said = folder / "ready"
    if not said.exists() or said.read_text() != package:
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["npm", "install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix", str(folder), package], capture_output=True, text=True)
        if done.returncode != 0:
            return f"{package} cannot be had: " + done.stderr.strip()[-200:]
        said.write_text(package)
    return ""


class Server:
    program = ""

    @classmethod
    def missing(cls):
        return "" if cls.path() else f"{cls.program} is not installed (packaging/install-deps.sh north)"

    @classmethod
    def path(cls):
        return shutil.which(cls.program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin")

    def __init__(self, folder):
        self.folder, self.port, self.process = folder, free_port(), None
        folder.mkdir(exist_ok=True)
        self.prepare()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def prepare(self):
        pass

    def start(self):
        self.process = Process(self.command(), self.folder / "server.log")

        def answers():
            try:
                return ask(self.url + "/ping", timeout=2)[0] < 300
            except OSError:
                return self.process.process.poll() is not None
        wait_for(answers, f"{self.program} answers", 60)
        assert self.process.process.poll() is None, self.process.text()[-2000:]

    def stop(self, how=signal.SIGTERM):
        if self.process:
            self.process.stop(how, 30)


class Influx(Server):
    @property
    def url(self):
        return f"{'https' if 'https-enabled' in self.more else 'http'}://127.0.0.1:{self.port}"

    program, config = "influxd", 'dialect = "influxdb"\ndatabase = "plant"\nidentity = true\n'

    def __init__(self, folder, more=""):
        self.more = more
        super().__init__(folder)

    def prepare(self):
        (self.folder / "influx.conf").write_text(f"""reporting-disabled = true
bind-address = "127.0.0.1:{free_port()}"
[meta]
dir = "{self.folder}/meta"
[data]
dir = "{self.folder}/data"
wal-dir = "{self.folder}/wal"
index-version = "inmem"
{self.more if "series" in self.more else ""}
[http]
bind-address = "127.0.0.1:{self.port}"
{"" if "series" in self.more else self.more}
""")

    def command(self):
        return [self.path(), "-config", str(self.folder / "influx.conf")]

    def query(self, words, **more):
        status, body, _ = ask(self.url + "/query?" + urllib.parse.urlencode({"q": words, **more}), body="")
        assert status == 200 and '"error"' not in body, body
        return json.loads(body)

    def begin(self):
        self.start()
        if "auth-enabled" not in self.more:
            self.query("CREATE DATABASE plant")

    def readings(self):
        answer = self.query('SELECT value, "sequence", device, epoch FROM value', db="plant")
        devices = {}
        for series in answer["results"][0].get("series", []):
            for _, value, sequence, device, epoch in series["values"]:
                devices.setdefault(device, []).append(int(value))
        return devices


class VictoriaMetrics(Server):
    program, config = "victoria-metrics", 'dialect = "influxdb"\ndatabase = "plant"\n'

    def command(self):
        return [self.path(), f"-storageDataPath={self.folder}/data", f"-httpListenAddr=127.0.0.1:{self.port}", "-retentionPeriod=100y"]

    begin = Server.start

    def readings(self):
        ask(self.url + "/internal/force_flush")
        devices = {}
        for line in ask(self.url + "/api/v1/export?" + urllib.parse.urlencode({"match[]": "value_value"}))[1].splitlines():
            one = json.loads(line)
            devices.setdefault(one["metric"]["device"], []).extend(int(value) for value in one["values"])
        return devices


class QuestDb(Server):
    """QuestDB, from Maven's jar. What comes twice is one row: its table is made with the keys of a point."""
    config = Influx.config

    @classmethod
    def missing(cls):
        if shutil.which("java") is None or shutil.which("mvn") is None:
            return "java and maven are not installed"
        cls.jars, why = jars("questdb")
        return why

    def prepare(self):
        (self.folder / "data" / "conf").mkdir(parents=True, exist_ok=True)
        (self.folder / "tmp").mkdir(exist_ok=True)
        (self.folder / "data" / "conf" / "server.conf").write_text(f"""http.net.bind.to=127.0.0.1:{self.port}
http.min.enabled=false
pg.enabled=false
line.tcp.enabled=false
telemetry.enabled=false
""")

    def command(self):
        return ["java", "-Xmx300m", "-XX:+UseSerialGC", f"-Djava.io.tmpdir={self.folder}/tmp", "-cp", f"{self.jars}/*", "io.questdb.ServerMain", "-d", str(self.folder / "data")]

    def query(self, words):
        status, body, _ = ask(self.url + "/exec?" + urllib.parse.urlencode({"query": words}))
        assert status == 200, body
        return json.loads(body).get("dataset")

    def begin(self):
        self.start()
        self.query("CREATE TABLE value (timestamp TIMESTAMP, device SYMBOL, value DOUBLE) TIMESTAMP(timestamp) PARTITION BY DAY WAL DEDUP UPSERT KEYS(timestamp, device)")

    def readings(self):
        # What it says is stored is in its own log at first; a table that it gave up on would never have it.
        wait_for(lambda: all(applied == written and not given_up for given_up, applied, written in
                             self.query("SELECT suspended, writerTxn, sequencerTxn FROM wal_tables()")), "its tables have what is in its log", 60)
        devices = {}
        for device, value in self.query("SELECT device, value FROM value"):
            devices.setdefault(device, []).append(int(value))
        return devices


class ClickHouse(Server):
    program, config = "clickhouse-server", 'dialect = "clickhouse"\ntable = "readings"\n'

    def prepare(self):
        (self.folder / "config.xml").write_text(f"""<yandex><logger><level>warning</level><console>1</console></logger><http_port>{self.port}</http_port>
            <listen_host>127.0.0.1</listen_host><path>{self.folder}/data/</path><tmp_path>{self.folder}/tmp/</tmp_path>
            <users_config>{self.folder}/users.xml</users_config><default_profile>default</default_profile><default_database>default</default_database>
            <mark_cache_size>5368709</mark_cache_size></yandex>""")
        user = "<password>{}</password><networks><ip>::/0</ip></networks><profile>{}</profile><quota>default</quota>"
        (self.folder / "users.xml").write_text(f"""<yandex><profiles><default></default><reader><readonly>1</readonly></reader></profiles><users>
            <default>{user.format("", "default")}</default><gw>{user.format("geheim", "default")}</gw><reader>{user.format("lesen", "reader")}</reader></users>
            <quotas><default></default></quotas></yandex>""")

    def command(self):
        return [self.path(), f"--config-file={self.folder}/config.xml"]

    def query(self, words):
        status, body, _ = ask(self.url + "/", body=words)
        assert status == 200, body
        return body

    def begin(self):
        self.start()
        self.query((ROOT / "packaging" / "consumers" / "clickhouse_https.sql").read_text())

    def readings(self):
        devices = {}
        for line in self.query("SELECT device, value FROM readings FORMAT TSV").splitlines():
            device, value = line.split("\t")
            devices.setdefault(device, []).append(int(float(value)))
        return devices


class KinesisServer(Server):
    """A stream called plant, of three shards."""
    env = {}

    def start(self):
        self.process = Process(self.command(), self.folder / "server.log", self.env)
        wait_for(lambda: listening(self.port), f"{type(self).__name__} answers", 60)

    def call(self, target, **body):
        return ask(self.url, json.dumps(body), {
            "X-Amz-Target": "Kinesis_20131202." + target, "Content-Type": "application/x-amz-json-1.1", "X-Amz-Date": "20150830T123600Z",
            "Authorization": "AWS4-HMAC-SHA256 Credential=A/20150830/eu-central-1/kinesis/aws4_request, SignedHeaders=host, Signature=0"})[:2]

    def begin(self):
        self.start()
        self.call("CreateStream", StreamName="plant", ShardCount=3)
        wait_for(lambda: '"ACTIVE"' in self.call("DescribeStreamSummary", StreamName="plant")[1], "the stream is there")

    def records(self):
        """[(shard, key, data)] in the order of the stream."""
        found = []
        for shard in json.loads(self.call("ListShards", StreamName="plant")[1])["Shards"]:
            at = json.loads(self.call("GetShardIterator", StreamName="plant", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")[1])["ShardIterator"]
            while True:
                answer = json.loads(self.call("GetRecords", ShardIterator=at, Limit=10000)[1])
                if not answer["Records"]:
                    break
                found += [(shard["ShardId"], r["PartitionKey"], base64.b64decode(r["Data"])) for r in answer["Records"]]
                at = answer["NextShardIterator"]
        return found


class Moto(KinesisServer):
    """Kinesis as PyPI's moto has it, in a virtual environment below build/."""
    PYTHON = None

    @classmethod
    def missing(cls):
        cls.PYTHON = venv("moto", "moto[server]==5.1.*")
        return "" if cls.PYTHON else "moto cannot be had"

    def command(self):
        return [str(Path(self.PYTHON).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(self.port)]


class Kinesalite(KinesisServer):
    """Kinesis as npm's kinesalite has it: on disk, so that a kill -9 leaves what it said is stored."""
    HOME = ROOT / "build" / "kinesalite"

    @classmethod
    def missing(cls):
        return node(cls.HOME, "kinesalite@3.3.3")

    def command(self):  # its own program listens on every address
        words = f'require("{self.HOME}/node_modules/kinesalite")({{path: "{self.folder}/data", createStreamMs: 0}}).listen({self.port}, "127.0.0.1")'
        return ["node", "-e", words]


class Relay:
    """Between a client and a server: counts what each says, keeps the server's next `cut` answers to itself and closes."""

    def __init__(self, to):
        self.to, self.cut, self.up, self.down, self.listener = to, 0, 0, 0, socket.create_server(("127.0.0.1", 0))
        self.port, self.lock = self.listener.getsockname()[1], threading.Lock()
        serve_each(self.listener, self.relay)

    def relay(self, client):
        server = socket.create_connection(("127.0.0.1", self.to))
        threading.Thread(target=self.pump, args=(client, server, True), daemon=True).start()
        self.pump(server, client, False)

    def passes(self, size, up):
        """Counts it; False: it is kept back."""
        with self.lock:
            if up:
                self.up += size
            elif self.cut > 0:
                self.cut -= 1
                return False
            else:
                self.down += size
            return True

    def pump(self, source, to, up):
        try:
            while (data := source.recv(65536)) and self.passes(len(data), up):
                to.sendall(data)
        except OSError:
            pass
        for one in (source, to):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        source.close()

    def end(self):
        self.listener.close()


class HttpStub(http.server.ThreadingHTTPServer):
    """Answers by `handler` from a free port on; what the handler needs of its server is set before."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def end(self):
        self.shutdown()
        self.server_close()


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
  time = "ts"
  metrics = { value = "value" }
  [[inputs.mqtt_endpoint.routes]]
  topic = "any/{device}/{metric}"
  time = "ts"
  metrics = { "{metric}" = "value" }
[[uplinks.https]]
name = "history"
servers = ["@server@"]
initial_interval = "100ms"
max_interval = "1s"
send_timeout = "@timeout@"
@uplink@
[observe]
listen = "127.0.0.1:@observe@"
"""


class North(Site):
    def start(self, server, uplink="", port=None, timeout="5s", env=None):
        self.port = port or free_port()
        self.configure(CONFIG, port=self.port, server=server, uplink=uplink, timeout=timeout)
        return self.gateway(self.folder / "millrace.toml", env=env)

    def pouring(self):
        """A publisher at 2,000 a second, QoS 2, four connections that come back, until poured()."""
        publisher = Process([str(BUILD / "tests" / "pipelined_publisher"), str(self.port), "--connections", "4", "--rate", "2000", "--qos", "2", "--window", "50",
                             "--persistent", "--patience", "120", "--step", "1000"], self.folder / "publisher.log")
        self.processes.append(publisher)
        return publisher

    def poured(self, publisher):
        """It ends; what it says was acknowledged."""
        publisher.process.send_signal(signal.SIGTERM)
        publisher.process.wait(150)
        return json.loads(publisher.text().splitlines()[-1])

    def pour_through_an_outage(self, server, how=signal.SIGTERM):
        """A publisher that pours; meanwhile the server ended by this signal, and came back."""
        publisher = self.pouring()
        wait_for(lambda: self.metric("millrace_uplink_records_total") > 500, "readings are through")
        server.stop(how)
        wait_for(lambda: self.metric("millrace_uplink_backlog_records") > 1000, "a backlog")
        server.start()
        return publisher

    def kill_by_turns(self, gateway, server, kills, rng):
        for n in range(kills):
            time.sleep(rng.uniform(0.1, 1.2))  # the random moment is the point
            if n % 2:
                server.stop(signal.SIGKILL)
                server.start()
            else:
                gateway.stop(signal.SIGKILL)
                gateway = self.gateway(self.folder / "millrace.toml")

    def server(self, kind, *more):
        if why := kind.missing():
            self.skipTest(why)
        server = kind(self.folder / kind.__name__.lower(), *more)
        self.addCleanup(lambda: server.stop(signal.SIGKILL))
        server.begin()
        return server

    def publish(self, count, *more):
        done = subprocess.run([str(BUILD / "tests" / "pipelined_publisher"), str(self.port), "--count", str(count), "--window", "100", "--step", "1000",
                               *map(str, more)], capture_output=True, text=True, timeout=120)
        self.assertEqual(json.loads(done.stdout.splitlines()[-1])["acknowledged"], count)

    def say(self, device, metric, value, ts=1790000000):
        subprocess.run(["mosquitto_pub", "-p", str(self.port), "-q", "1", "-t", f"any/{device}/{metric}", "-m", json.dumps({"ts": ts, "value": value})],
                       check=True, timeout=20)

    def drained(self, seconds=60):
        wait_for(lambda: self.metric("millrace_uplink_backlog_records") == 0, "everything is delivered", seconds)

    def account(self, server, through, doubles=0):
        """Every acknowledged reading is there; how many more than once."""
        found, doubled = self.accounted(through, server.readings())
        self.assertLessEqual(doubled, doubles)
        return found, doubled

    def accounted(self, through, held):
        """(how many of {device: values} are there, how many of them more than once); none that was acknowledged is missing."""
        found, doubled = 0, 0
        for c, last in enumerate(through):
            values = held.get(f"dev-{c}", [])
            self.assertEqual(sorted(set(range(1, last + 1)) - set(values))[:10], [], f"dev-{c}: acknowledged and missing")
            doubled += len(values) - len(set(values))
            found += len(values)
        return found, doubled
