#!/usr/bin/python3
"""Where records go by HTTP into clouds and stores: objects of S3 (npm's s3rver, Go's gofakes3, and PyPI's moto, which checks signatures), Prometheus'
remote write, Google Pub/Sub and Azure Event Hubs. Of the last two no server can be had: they are stubs, which follow the public
descriptions of the services and check every word of a request, its signature first."""
import base64
import gzip
import hashlib
import hmac
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest
import urllib.parse
import urllib.request
import xml.etree.ElementTree
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "packaging"))
import north
import read_batch
from north import North
from testsite import BUILD, ROOT, Process, free_port, listening, wait_for


def secret(folder, name, words):
    path = folder / name
    path.write_text(words)
    path.chmod(0o600)
    return path


class S3rver(north.Server):
    """npm's s3rver: objects in a folder."""
    HOME = ROOT / "build" / "s3rver"

    @classmethod
    def missing(cls):
        return north.node(cls.HOME, "s3rver@3.7.1")

    def command(self):
        return ["node", str(self.HOME / "node_modules" / ".bin" / "s3rver"), "-d", str(self.folder / "data"), "-a", "127.0.0.1", "-p", str(self.port),
                "--configure-bucket", "plant"]

    def prepare(self):
        (self.folder / "data").mkdir(exist_ok=True)

    def start(self):
        self.process = Process(self.command(), self.folder / "server.log")
        wait_for(lambda: listening(self.port), "s3rver answers", 60)

    begin = start

    def objects(self):
        """{name: bytes} of what is whole."""
        found, root = {}, self.folder / "data" / "plant"
        for path in sorted(root.rglob("*._S3rver_object")):
            found[str(path.relative_to(root))[:-len("._S3rver_object")]] = path.read_bytes()
        return found


class GoFakeS3(north.Server):
    """Go's gofakes3: objects in a database that each is synced to. It looks at a request's time, but not at its signature."""
    MODULE, FOLDER = "github.com/johannesboyne/gofakes3/cmd/gofakes3@v1.2.0", ROOT / "build" / "gofakes3"

    @classmethod
    def missing(cls):
        if (cls.FOLDER / "gofakes3").exists():
            return ""
        if shutil.which("go") is None:
            return "no go is installed (1.24 or newer)"
        done = subprocess.run(["go", "install", cls.MODULE], capture_output=True, text=True, timeout=600, env={**os.environ, "GOBIN": str(cls.FOLDER)})
        return "" if done.returncode == 0 else "gofakes3 cannot be had (go 1.24 or newer is needed): " + done.stderr.strip()[-200:]

    def start(self):
        self.process = Process([str(self.FOLDER / "gofakes3"), "-host", f"127.0.0.1:{self.port}", "-backend", "bolt", "-bolt.db", str(self.folder / "objects"),
                                "-initialbucket", "plant", "-quiet"], self.folder / "server.log")
        wait_for(lambda: listening(self.port), "gofakes3 answers", 60)

    begin = start

    def objects(self):
        """{name: bytes} of what is whole."""
        names, more = [], ""
        while more is not None:
            found = xml.etree.ElementTree.fromstring(north.ask(f"{self.url}/plant?list-type=2{more}")[1])
            names += [one.text for one in found.iterfind("{*}Contents/{*}Key")]
            token = found.find("{*}NextContinuationToken")
            more = None if token is None else "&continuation-token=" + urllib.parse.quote(token.text, safe="")
        objects = {}
        for name in names:
            with urllib.request.urlopen(f"{self.url}/plant/{urllib.parse.quote(name)}", timeout=20) as answer:
                objects[name] = answer.read()
        return objects


class SignedMoto(north.Moto):
    """moto that wants every request signed by a user who may: one, with a bucket of his."""
    env = {"INITIAL_NO_AUTH_ACTION_COUNT": "4"}

    def ours(self, words):
        words = f"""import boto3, json, sys
def client(service, key, secret):
    return boto3.client(service, region_name="us-east-1", endpoint_url="{self.url}", aws_access_key_id=key, aws_secret_access_key=secret)
""" + words
        done = subprocess.run([self.PYTHON, "-c", words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr[-1000:]
        return json.loads(done.stdout)

    def begin(self):
        self.start()
        self.key_id, self.key = self.ours("""
iam = client("iam", "x", "y")
iam.create_user(UserName="gw")
iam.put_user_policy(UserName="gw", PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}))
key = iam.create_access_key(UserName="gw")["AccessKey"]
client("s3", "x", "y").create_bucket(Bucket="plant")
print(json.dumps([key["AccessKeyId"], key["SecretAccessKey"]]))""")

    def objects(self):
        """[(name, its word for how many records, storage class, bytes)]."""
        found = self.ours(f"""
import base64
s3, out = client("s3", "{self.key_id}", "{self.key}"), []
for one in s3.list_objects_v2(Bucket="plant").get("Contents", []):
    got = s3.get_object(Bucket="plant", Key=one["Key"])
    out.append([one["Key"], got["Metadata"]["records"], got.get("StorageClass", ""), base64.b64encode(got["Body"].read()).decode()])
print(json.dumps(out))""")
        return [(*rest, base64.b64decode(data)) for *rest, data in found]


class Objects(North):
    """Sealed batches as objects, read by a reader that shares no code with the gateway."""

    def config(self, more="", key_id="S3RVER", key="S3RVER"):
        file = secret(self.folder, "credentials", f"[default]\naws_access_key_id = {key_id}\naws_secret_access_key = {key}\n")
        return f'dialect = "s3"\nbucket = "plant"\nregion = "us-east-1"\nobject_interval = "300ms"\ncredentials_file = "{file}"\n{more}'

    def records(self, server):
        """By the reader as people run it; what is in no object whole is not there."""
        folder, files = self.folder / "fetched", []
        folder.mkdir(exist_ok=True)
        for name, data in server.objects().items():
            files.append(folder / name.replace("/", "-"))
            files[-1].write_bytes(data)
        done = subprocess.run([str(ROOT / "packaging" / "read_batch.py"), "--desc", str(BUILD / "generated" / "record.desc"), "--object", *map(str, files)],
                              capture_output=True, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_batches_are_objects_that_a_reader_reads(self):
        server = self.server(S3rver)
        gateway = self.start(server.url, self.config())
        self.publish(3000, "--connections", 3)
        self.drained()
        held = {}
        for record in self.records(server):
            self.assertEqual((record["gateway"], record["lane"], record["kind"]), ("gw", "raw", "reading"))
            held.setdefault(record["device"], []).append((record["sequence"], record["value"]))
        for n in range(3):
            self.assertEqual([value for _, value in sorted(held[f"dev-{n}"])], list(range(1, 1001)))
        for name in server.objects():
            self.assertRegex(name, r"^gateway=gw/lane=raw/date=20\d\d-\d\d-\d\d/\d{20}-\d{20}-\d{20}\.envelopes$")
        self.assertNotIn("S3RVER", gateway.text())

    def test_less_than_a_full_batch_waits(self):
        server = self.server(S3rver)
        self.start(server.url, self.config().replace('"300ms"', '"2s"'))
        for n in range(30):
            self.publish(10, "--prefix", f"p{n}")
            time.sleep(0.05)  # the pace of it is the point
        self.drained()
        self.assertEqual(len(self.records(server)), 300)
        self.assertLessEqual(len(server.objects()), 6)

    def test_an_outage_and_kills_leave_every_record(self):
        self.outage_and_kills(S3rver)

    def test_an_outage_and_kills_of_gofakes3(self):
        self.outage_and_kills(GoFakeS3)

    def outage_and_kills(self, kind):
        server, rng = self.server(kind), random.Random(1)
        gateway = self.start(server.url, self.config())
        publisher = self.pour_through_an_outage(server)
        self.kill_by_turns(gateway, server, int(os.environ.get("MILLRACE_KILLS", "5")), rng)
        answer = self.poured(publisher)
        self.drained(90)
        held = {}
        for record in self.records(server):
            held.setdefault(record["device"], []).append(record["value"])
        for c, last in enumerate(answer["through"]):
            values = held[f"dev-{c}"]
            self.assertEqual(set(range(1, last + 1)) - set(values), set(), "acknowledged and missing")
            self.assertEqual(len(values), len(set(values)), "the reader takes each identity once")
        print(f"   {kind.__name__}: {answer['acknowledged']} acknowledged, {sum(map(len, held.values()))} there in {len(server.objects())} objects", file=sys.stderr)

    def test_a_clock_of_ours_that_is_wrong(self):
        """It is three hours behind theirs: the first signature is too old, all others are by their clock, and nobody need act."""
        server = self.server(GoFakeS3)
        self.port = free_port()
        path = self.configure(north.CONFIG, port=self.port, server=server.url, uplink=self.config(), timeout="5s")
        gateway = self.gateway(path, env=self.faked(FAKETIME="-3h", FAKETIME_DONT_FAKE_MONOTONIC="1"))
        self.publish(100)
        self.drained(20)
        self.publish(100, "--prefix", "more")
        self.drained(20)
        self.assertEqual(sorted(record["sequence"] for record in self.records(server)), list(range(1, 201)))
        self.assertEqual(gateway.text().count("RequestTimeTooSkewed"), 1, gateway.text())
        self.assertNotIn("somebody must act", gateway.text())

    def test_lines_that_duckdb_reads(self):
        server = self.server(S3rver)
        self.start(server.url, self.config('format = "json"'))
        self.publish(600, "--connections", 3)
        self.drained()
        lines = [json.loads(line) for data in server.objects().values() for line in gzip.decompress(data).splitlines()]
        self.assertEqual(sorted(line["sequence"] for line in lines), list(range(1, 601)))
        python = north.venv("duckdb", "duckdb==1.*")
        if not python:
            self.skipTest("duckdb cannot be had")
        for name, data in server.objects().items():  # as a bucket has them
            path = self.folder / "bucket" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        words = re.search(r"```sql\n(-- DuckDB.*?)```", (ROOT / "packaging" / "docs" / "https.md").read_text(), re.S).group(1)
        words = words.replace("s3://plant", str(self.folder / "bucket"))
        done = subprocess.run([python, "-c", "import duckdb, json, sys; print(json.dumps(duckdb.sql(sys.stdin.read()).fetchall()))"], input=words, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr[-800:])
        self.assertEqual(json.loads(done.stdout), [[f"dev-{n}", 200, 1.0, 200.0] for n in range(3)])

    def test_no_bucket_blocks(self):
        for kind in (S3rver, GoFakeS3):
            with self.subTest(kind=kind.__name__):
                self.no_bucket(kind)
                self.afresh()

    def no_bucket(self, kind):
        server = self.server(kind)
        gateway = self.start(server.url, self.config().replace('"plant"', '"nowhere"'))
        self.publish(50)
        wait_for(lambda: self.metric("millrace_uplink_blocked") == 1, "blocked", 30)
        self.assertIn("NoSuchBucket", gateway.text())
        self.assertEqual(self.metric("millrace_uplink_refused_records_total"), 0)
        gateway.stop()
        self.start(server.url, self.config(), self.port)
        self.drained()
        self.assertEqual(len(self.records(server)), 50)

    def test_signatures_are_checked(self):
        """By moto, which computes each anew: a wrong key and a key of nobody block, the right one passes."""
        server = self.server(SignedMoto)
        more = 'format = "json"\nstorage_class = "STANDARD_IA"\nprefix = "of {gateway}/{lane}/{date}/"\n'  # moto reckons with no "=" in a name
        gateway = self.start(server.url, self.config(more, server.key_id, "falsch"))
        self.publish(200)
        wait_for(lambda: self.metric("millrace_uplink_blocked") == 1, "blocked", 30)
        self.assertIn("SignatureDoesNotMatch", gateway.text())
        gateway.stop()
        gateway = self.start(server.url, self.config(more, "AKIANOBODY", server.key), self.port)
        wait_for(lambda: self.metric("millrace_uplink_blocked") == 1, "blocked", 30)
        self.assertIn("InvalidAccessKeyId", gateway.text())
        self.assertEqual(self.metric("millrace_uplink_backlog_records"), 200)
        gateway.stop()
        self.start(server.url, self.config(more, server.key_id, server.key), self.port)
        self.drained()
        found = []
        for name, records, storage, data in server.objects():
            lines = gzip.decompress(data).splitlines()
            self.assertEqual((records, storage), (str(len(lines)), "STANDARD_IA"))
            found += [json.loads(line)["sequence"] for line in lines]
        self.assertEqual(sorted(found), list(range(1, 201)))


class Prometheus(north.Server):
    program, config = "prometheus", 'dialect = "remote_write"\n'

    def __init__(self, folder, late=""):
        self.late = late
        super().__init__(folder)

    def prepare(self):
        (self.folder / "prometheus.yml").write_text(f"global: {{}}\n{self.late}")

    def command(self):
        return [self.path(), f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data", f"--web.listen-address=127.0.0.1:{self.port}",
                "--storage.tsdb.retention.time=100y", *self.receiver]

    receiver = ["--web.enable-remote-write-receiver"]

    def start(self):
        self.process = Process(self.command(), self.folder / "server.log")
        wait_for(lambda: self.ready() or self.process.process.poll() is not None, "prometheus is ready", 60)
        assert self.process.process.poll() is None, self.process.text()[-2000:]

    begin = start

    def ready(self):
        try:
            return north.ask(self.url + "/-/ready", timeout=2)[0] == 200
        except OSError:
            return False

    def samples(self, series):
        """[(labels, [(time, value)])], all there is."""
        query = urllib.parse.urlencode({"query": series + "[100y]", "time": "2050000000"})
        status, body, _ = north.ask(self.url + "/api/v1/query?" + query)
        assert status == 200, body
        return [(one["metric"], one["values"]) for one in json.loads(body)["data"]["result"]]

    def readings(self):
        return {labels["device"]: [int(float(value)) for _, value in values] for labels, values in self.samples("value")}


class VictoriaMetrics(north.VictoriaMetrics):
    config = 'dialect = "remote_write"\n'

    def readings(self):
        north.ask(self.url + "/internal/force_flush")
        devices = {}
        for line in north.ask(self.url + "/api/v1/export?" + urllib.parse.urlencode({"match[]": "value"}))[1].splitlines():
            one = json.loads(line)
            devices.setdefault(one["metric"]["device"], []).extend(int(value) for value in one["values"])
        return devices


LATE = "storage:\n  tsdb:\n    out_of_order_time_window: 1000d\n"


class RemoteWrite(North):
    """Prometheus with its receiver on, and VictoriaMetrics."""

    def test_samples_and_what_a_server_refuses(self):
        server = self.server(Prometheus)
        # A loss is of today, and a Prometheus that takes nothing late takes no reading of the publisher's year behind it.
        self.start(server.url, server.config + '[uplinks.https.drain]\nlanes = ["raw"]\n')
        self.publish(900, "--connections", 3)
        self.say("d", "late", 1, ts=1790000010)
        self.say("d", "late", 2, ts=1790000005)   # before the one that is there
        self.say("d", "late", 1, ts=1790000010)   # the same again: no error
        self.say("d", "late", 3, ts=1790000010)   # another value for its time
        self.say("d", "words", "text")
        self.publish(300, "--connections", 3, "--prefix", "after")
        self.drained()
        for device, count in [*((f"dev-{n}", 300) for n in range(3)), *((f"after-{n}", 100) for n in range(3))]:
            self.assertEqual(server.readings()[device], list(range(1, count + 1)))
        (labels, values), = server.samples("late")
        self.assertEqual((labels, values), ({"__name__": "late", "device": "d", "gateway": "gw"}, [[1790000010, "1"]]))
        letters = self.command("dlq", "ls").stdout
        for words in ("out of order sample", "duplicate sample"):
            self.assertEqual(letters.count(words), 1, letters)
        self.assertEqual(self.metric("millrace_uplink_refused_records_total"), 2)
        self.assertEqual(self.metric("millrace_uplink_skipped_records_total"), 1)  # the text

    def test_late_ones_where_the_server_takes_them(self):
        server = self.server(Prometheus, LATE)
        self.start(server.url, server.config)
        self.say("d", "late", 1, ts=1790000010)
        self.say("d", "late", 2, ts=1790000005)
        self.drained()
        self.assertEqual(server.samples("late")[0][1], [[1790000005, "2"], [1790000010, "1"]])
        self.assertEqual(self.metric("millrace_uplink_refused_records_total"), 0)

    def test_a_receiver_that_is_off_blocks(self):
        server = self.server(type("Closed", (Prometheus,), {"receiver": []}))
        gateway = self.start(server.url, server.config)
        self.publish(20)
        wait_for(lambda: self.metric("millrace_uplink_blocked") == 1, "blocked", 30)
        self.assertIn("HTTP 404: remote write receiver needs to be enabled", gateway.text())
        self.assertEqual(self.metric("millrace_uplink_backlog_records"), 20)

    def kills(self, server, doubles):
        rng = random.Random(2)
        gateway = self.start(server.url, server.config)
        publisher = self.pouring()
        wait_for(lambda: self.metric("millrace_uplink_records_total") > 300, "readings are through")
        for _ in range(int(os.environ.get("MILLRACE_KILLS", "5"))):
            time.sleep(rng.uniform(0.1, 0.9))  # the random moment is the point
            gateway.stop(signal.SIGKILL)
            gateway = self.gateway(self.folder / "millrace.toml")
        answer = self.poured(publisher)
        self.drained(90)
        found, doubled = self.account(server, answer["through"], doubles)
        self.assertEqual(self.metric("millrace_uplink_refused_records_total"), 0)
        print(f"   {type(server).__name__}: {answer['acknowledged']} acknowledged, {found} there, 0 missing, {doubled} doubled", file=sys.stderr)

    def test_prometheus_after_kills(self):
        self.kills(self.server(Prometheus, LATE), 0)

    def test_victoria_metrics_after_kills(self):
        self.kills(self.server(VictoriaMetrics), 1_000_000)


class Stub(north.HttpStub):
    """A service of a cloud that cannot be had here. `judge` gives (status, body) for (path, headers, body); `odd` is what it says instead,
    while there is something in it; `cut` answers are kept back after all was stored."""
    more = ()

    class Handler(north.HttpStub.Handler):
        def do_POST(self):
            server, body = self.server, self.rfile.read(int(self.headers["Content-Length"]))
            with server.lock:
                server.asked += 1
                status, words = server.odd.pop(0) if server.odd else server.judge(self.path, self.headers, body)
                server.said.append((status, words))
                if server.cut > 0 and status < 300:
                    server.cut -= 1
                    self.close_connection = True
                    return
            words = words.encode()
            self.send_response_only(status)
            self.send_header("Date", self.date_time_string(time.time() + server.ahead))
            self.send_header("Content-Length", str(len(words)))
            for name, value in server.more:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(words)

        def do_GET(self):
            self.send_error(401)

    def __init__(self):
        self.lock, self.asked, self.odd, self.said, self.cut, self.ahead, self.records = threading.Lock(), 0, [], [], 0, 0, []
        super().__init__(self.Handler)


class PubsubStub(Stub):
    """projects.topics.publish as its REST reference has it: one known topic, service accounts by their public key."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.tokens = folder, {}
        subprocess.run(["openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", folder / "key.pem"], check=True)
        subprocess.run(["openssl", "pkey", "-in", folder / "key.pem", "-pubout", "-out", folder / "public.pem"], check=True)

    def account(self):
        return json.dumps({"type": "service_account", "project_id": "works", "private_key_id": "k1", "private_key": (self.folder / "key.pem").read_text(),
                           "client_email": "gw@works.example"}, indent=2)

    def error(self, code, status, words):
        return code, json.dumps({"error": {"code": code, "message": words, "status": status}})

    def fault_of(self, token):
        """Why a token is none; None: it is one."""
        def unpacked(part):
            return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        if token not in self.tokens:
            head, claims, signature = token.split(".")
            (self.folder / "signature").write_bytes(unpacked(signature))
            done = subprocess.run(["openssl", "dgst", "-sha256", "-verify", self.folder / "public.pem", "-signature", self.folder / "signature"],
                                  input=f"{head}.{claims}".encode(), capture_output=True)
            if done.returncode != 0 or json.loads(unpacked(head)) != {"alg": "RS256", "typ": "JWT", "kid": "k1"}:
                return "the signature is wrong"
            self.tokens[token] = json.loads(unpacked(claims))
        claims, now = self.tokens[token], time.time() + self.ahead
        if claims["iss"] != "gw@works.example" or claims["sub"] != claims["iss"] or claims["aud"] != "https://pubsub.googleapis.com/":
            return "it is somebody else's"
        if claims["exp"] - claims["iat"] > 3600 or not claims["iat"] - 300 <= now <= claims["exp"] + 300:
            return "its time is wrong"
        return None

    def judge(self, path, headers, body):
        if headers.get("Content-Type") != "application/json" or not headers.get("Authorization", "").startswith("Bearer "):
            return self.error(401, "UNAUTHENTICATED", "no token")
        if fault := self.fault_of(headers["Authorization"][7:]):
            return self.error(401, "UNAUTHENTICATED", fault)
        if path != "/v1/projects/works/topics/plant:publish":
            return self.error(404, "NOT_FOUND", f"Resource not found: {path}")
        asked = json.loads(body)
        if set(asked) != {"messages"} or not 1 <= len(asked["messages"]) <= 1000 or len(body) > 10_000_000:
            return self.error(400, "INVALID_ARGUMENT", "a request of another shape")
        for message in asked["messages"]:
            if not set(message) <= {"data", "attributes", "orderingKey"} or not all(isinstance(v, str) for v in message["attributes"].values()):
                return self.error(400, "INVALID_ARGUMENT", "a message of another shape")
        ids = []
        for message in asked["messages"]:
            self.records.append((message.get("orderingKey", ""), base64.b64decode(message["data"], validate=True)))
            ids.append(str(len(self.records)))
        return 200, json.dumps({"messageIds": ids})


class Pubsub(North):
    def stub(self):
        stub = PubsubStub(self.folder)
        self.addCleanup(stub.end)
        return stub

    def config(self, stub, more=""):
        return f'dialect = "pubsub"\nproject = "works"\ntopic = "plant"\ncredentials_file = "{secret(self.folder, "account.json", stub.account())}"\n{more}'

    def test_messages_by_key_and_one_token(self):
        stub = self.stub()
        gateway = self.start(stub.url, self.config(stub))
        self.publish(1200, "--connections", 4)
        self.drained()
        held = {}
        for key, data in stub.records:
            held.setdefault(key, []).append(json.loads(data)["value"])
        self.assertEqual(held, {f"dev-{n}": list(range(1, len(held[f"dev-{n}"]) + 1)) for n in range(4)})
        self.assertEqual(len(stub.records), 1200)
        self.assertEqual(len(stub.tokens), 1)
        self.assertEqual({status for status, _ in stub.said}, {200})
        self.assertNotIn("PRIVATE KEY", gateway.text())

    def test_batches_are_envelopes(self):
        stub = self.stub()
        self.start(stub.url, self.config(stub, 'format = "batch"'))
        self.publish(3000, "--connections", 3)
        self.drained()
        classes = read_batch.schema(BUILD / "generated" / "record.desc")
        envelopes = [classes["Envelope"].FromString(data) for _, data in stub.records]
        self.assertEqual((sum(e.count for e in envelopes), {key for key, _ in stub.records}), (3000, {"gw"}))

    def test_troubles_pass_or_block_and_nothing_is_lost(self):
        stub = self.stub()
        stub.odd = [stub.error(429, "RESOURCE_EXHAUSTED", "quota"), stub.error(503, "UNAVAILABLE", "busy"), (200, "{}"), (500, "no JSON")]
        stub.cut = 1
        gateway = self.start(stub.url, self.config(stub))
        self.publish(100)
        self.drained()
        found = [json.loads(data)["sequence"] for _, data in stub.records]
        self.assertEqual(set(found), set(range(1, 101)))
        self.assertLessEqual(len(found), 200)
        gateway.stop()
        gateway = self.start(stub.url, self.config(stub).replace('"plant"', '"nowhere"'), self.port)
        self.publish(10, "--prefix", "more")
        wait_for(lambda: self.metric("millrace_uplink_blocked") == 1, "blocked", 30)
        self.assertIn("NOT_FOUND", gateway.text())
        self.assertEqual(self.metric("millrace_uplink_backlog_records"), 10)

    def test_a_clock_of_ours_that_is_wrong(self):
        """Theirs is a day ahead: the first token is none, the next one is by their clock, and nobody need act."""
        stub = self.stub()
        stub.ahead = 86_400
        self.start(stub.url, self.config(stub))
        self.publish(100)
        self.drained(20)
        self.assertEqual([status for status, _ in stub.said][0], 401)
        self.assertEqual(sorted(json.loads(data)["sequence"] for _, data in stub.records), list(range(1, 101)))


class EventHubsStub(Stub):
    """"Send batch events" and "Send event" as their REST reference has them: one hub, one policy."""
    KEY = "c2VjcmV0+/="

    def judge(self, path, headers, body):
        if path != "/plant/messages?timeout=3&api-version=2014-01":  # less than our send_timeout
            return 404, "<Error><Code>404</Code><Detail>The messaging entity could not be found.</Detail></Error>"
        words = dict(part.split("=", 1) for part in headers["Authorization"].removeprefix("SharedAccessSignature ").split("&"))
        expected = base64.b64encode(hmac.new(self.KEY.encode(), f"{words['sr']}\n{words['se']}".encode(), hashlib.sha256).digest()).decode()
        where = urllib.parse.unquote(words["sr"])
        if urllib.parse.unquote(words["sig"]) != expected or words["skn"] != "send" or where != f"https://127.0.0.1:{self.server_address[1]}/plant":
            return 401, "<Error><Code>401</Code><Detail>InvalidSignature: The token has an invalid signature.</Detail></Error>"
        if int(words["se"]) < time.time() + self.ahead:
            return 401, "<Error><Code>401</Code><Detail>ExpiredToken: The token is expired.</Detail></Error>"
        if len(body) > 256 * 1024:
            return 413, "<Error><Code>413</Code><Detail>The request entity is too large.</Detail></Error>"
        if headers["Content-Type"] == "application/vnd.microsoft.servicebus.json":
            events = json.loads(body)
            keys = {event["BrokerProperties"]["PartitionKey"] for event in events}
            if len(keys) != 1 or not all(set(event) == {"Body", "BrokerProperties"} for event in events):
                return 400, "<Error><Code>400</Code><Detail>All messages must have the same PartitionKey.</Detail></Error>"
            self.records += [(keys.copy().pop(), event["Body"].encode()) for event in events]
        else:
            self.records.append((json.loads(headers["BrokerProperties"])["PartitionKey"], body))
        return 201, ""


class EventHubs(North):
    def stub(self):
        stub = EventHubsStub()
        self.addCleanup(stub.end)
        return stub

    def config(self, more="", key=EventHubsStub.KEY):
        file = secret(self.folder, "connection", f"Endpoint=sb://works.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey={key};EntityPath=plant\n")
        return f'dialect = "eventhubs"\nhub = "plant"\nconnection_string_file = "{file}"\n{more}'

    def test_events_and_envelopes(self):
        stub = self.stub()
        gateway = self.start(stub.url, self.config())
        self.publish(1500, "--connections", 3)
        self.drained()
        self.assertEqual([json.loads(data)["sequence"] for _, data in stub.records], list(range(1, 1501)))
        self.assertEqual({key for key, _ in stub.records}, {"gw"})
        self.assertNotIn(EventHubsStub.KEY, gateway.text())
        gateway.stop()
        self.start(stub.url, self.config('format = "batch"'), self.port)
        self.publish(3000, "--connections", 3, "--prefix", "batch")
        self.drained()
        classes = read_batch.schema(BUILD / "generated" / "record.desc")
        self.assertEqual(sum(classes["Envelope"].FromString(data).count for _, data in stub.records[1500:]), 3000)

    def test_troubles_pass_or_block_and_nothing_is_lost(self):
        stub = self.stub()
        stub.odd = [(503, "ServerBusy"), (200, ""), (403, "<Detail>The namespace is being throttled</Detail>"), (500, "no")]
        stub.cut, stub.ahead = 1, 7200  # and our clock is two hours behind
        gateway = self.start(stub.url, self.config())
        self.publish(100)
        self.drained()
        found = [json.loads(data)["sequence"] for _, data in stub.records]
        self.assertEqual(set(found), set(range(1, 101)))
        gateway.stop()
        gateway = self.start(stub.url, self.config(key="falsch"), self.port)
        self.publish(10, "--prefix", "more")
        wait_for(lambda: self.metric("millrace_uplink_blocked") == 1, "blocked", 30)
        self.assertIn("InvalidSignature", gateway.text())
        self.assertEqual(self.metric("millrace_uplink_backlog_records"), 10)


class Packed(North):
    """Bodies in gzip and zstd, rows of bytes, and records in words of the user's own."""

    def test_by_real_servers(self):
        for kind, config in ((north.Influx, 'compression = "gzip"\n'), (north.ClickHouse, 'compression = "gzip"\n'),
                             (north.ClickHouse, 'format = "rowbinary_plain"\n'), (north.ClickHouse, 'format = "rowbinary_plain"\ncompression = "gzip"\n')):
            with self.subTest(kind=kind.__name__, config=config):
                server = self.server(kind)
                gateway = self.start(server.url, kind.config + config)
                self.publish(3000, "--connections", 3)
                self.drained()
                self.account(server, [1000] * 3)
                self.assertEqual(self.metric("millrace_uplink_refused_records_total"), 0)
                self.assertEqual(gateway.stop(), 0)
                server.stop(signal.SIGKILL)
                self.afresh()

    def test_rows_of_bytes_have_every_value(self):
        server = self.server(north.ClickHouse)
        gateway = self.start(server.url, north.ClickHouse.config + 'format = "rowbinary_plain"\n')
        for metric, value in (("f", 1.5), ("i", 9007199254740993), ("b", True), ("t", "say \"a\\b\"\n\u00e9")):
            self.say("d", metric, value)
        self.drained()
        rows = [json.loads(line) for line in server.query("SELECT metric, value, toString(integer) AS integer, text, tag_keys, gateway, epoch, sequence, kind, lane, "
                                                          "quality, time_us, revision FROM readings ORDER BY sequence FORMAT JSONEachRow").splitlines()]
        self.assertEqual([(r["metric"], r["value"], r["integer"], r["text"]) for r in rows],
                         [("f", 1.5, "0", ""), ("i", 9007199254740992, "9007199254740993", ""), ("b", 1, "0", ""), ("t", 0, "0", "say \"a\\b\"\n\u00e9")])
        self.assertEqual({(r["gateway"], r["kind"], r["lane"], r["quality"], r["time_us"], r["revision"]) for r in rows}, {("gw", "reading", "raw", "good", "1790000000000000", 0)})
        server.query("ALTER TABLE readings DROP COLUMN text")
        self.say("d", "f", 2)
        wait_for(lambda: self.metric("millrace_uplink_blocked") == 1, "blocked", 30)
        self.assertIn("text", gateway.text())

    def weeks_to(self, judge):
        """Forty days of backlog, the value 13 of the fourteenth; what was stored, and {(number of the exception, of several rows)}."""
        class Table(Stub):
            more = (("X-ClickHouse-Summary", "{}"),)

            def __init__(self):
                super().__init__()
                self.answers, self.there = set(), False

            def judge(self, path, headers, body):
                if not self.there:
                    return 503, "busy"
                rows = [json.loads(line) for line in body.splitlines()]
                words = judge(body, rows)
                code = int(words[6:words.index(".")]) if words else 0
                self.answers.add((code, len(rows) > 1))
                if code == 0:
                    self.records += [row["value"] for row in rows if row["kind"] == "reading"]
                return (500, words) if code else (200, "")
        stub = Table()
        self.addCleanup(stub.end)
        self.start(stub.url, 'dialect = "clickhouse"\ntable = "readings"\n')
        for day in range(40):
            self.say("pump", "flow", day, ts=1_790_000_000 - 86_400 * (40 - day))
        stub.there = True
        self.drained()
        self.assertEqual(sorted(stub.records), [day for day in range(40) if day != 13])
        self.assertEqual(self.metric("millrace_uplink_refused_records_total"), 1)
        self.assertEqual({(252, True), (469, False), (0, True)} - stub.answers, set())
        self.assertIn("VIOLATED_CONSTRAINT", self.command("dlq", "ls").stdout)

    def test_a_table_with_rules_of_its_own_holds_up_nobody(self):
        """A stub with ClickHouse' words: a CONSTRAINT refuses one row, and a backlog of weeks has more partitions than an insert may have."""
        def judge(body, rows):
            if len({row["time_us"] // 86_400_000_000 for row in rows}) > 5:
                return "Code: 252. DB::Exception: Too many partitions for single INSERT block (more than 5). (TOO_MANY_PARTS)"
            if any(row.get("value") == 13 for row in rows):
                return "Code: 469. DB::Exception: Constraint `c` for table plant.readings is violated at row 1. (VIOLATED_CONSTRAINT)"
            return ""
        self.weeks_to(judge)

    def test_a_table_with_rules_of_its_own_by_a_newer_engine(self):
        """The same by PyPI's chdb, which is today's ClickHouse without a server: its own numbers and words."""
        python = north.venv("chdb", "chdb==3.*")
        if not python:
            self.skipTest("chdb cannot be had")
        words = """import sys, chdb.session
session = chdb.session.Session()
session.query("CREATE DATABASE plant")
table = open(sys.argv[1]).read().replace("TABLE readings (", "TABLE plant.readings ( CONSTRAINT c CHECK value != 13,")
session.query(table.replace("toYYYYMM(time)", "toDate(time)"))
for line in sys.stdin:
    try:
        session.query(f"INSERT INTO plant.readings FROM INFILE '{line.strip()}' SETTINGS max_partitions_per_insert_block = 5 FORMAT JSONEachRow")
        print("", flush=True)
    except Exception as error:
        print(str(error).replace("\\n", " "), flush=True)"""
        engine = subprocess.Popen([python, "-c", words, str(ROOT / "packaging" / "consumers" / "clickhouse_https.sql")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(engine.wait, 20)
        self.addCleanup(engine.stdout.close)
        self.addCleanup(engine.stdin.close)

        def judge(body, _):
            (self.folder / "rows.jsonl").write_bytes(body)
            engine.stdin.write(f"{self.folder}/rows.jsonl\n")
            engine.stdin.flush()
            return engine.stdout.readline().strip()
        self.weeks_to(judge)

    def test_rows_of_bytes_with_their_types_by_a_newer_engine(self):
        """PyPI's chdb is today's ClickHouse without a server: it takes the bodies as they come, and refuses those for another table."""
        python = north.venv("chdb", "chdb==3.*")
        if not python:
            self.skipTest("chdb cannot be had")

        class Keeper(Stub):
            more = (("X-ClickHouse-Summary", "{}"),)

            def judge(self, path, headers, body):
                self.records.append((urllib.parse.parse_qs(urllib.parse.urlsplit(path).query)["query"][0], body))
                return 200, ""
        stub = Keeper()
        self.addCleanup(stub.end)
        self.start(stub.url, 'dialect = "clickhouse"\ntable = "readings"\nformat = "rowbinary"\n')
        self.publish(300, "--connections", 3)
        self.say("d", "t", "say \"a\\b\"\n\u00e9")
        self.drained()
        for number, (query, body) in enumerate(stub.records):
            self.assertRegex(query, r"^INSERT INTO `readings` \(gateway,.*\) FORMAT RowBinaryWithNamesAndTypes$")
            (self.folder / f"{number}.rows").write_bytes(body)
        words = """import sys, chdb.session
session = chdb.session.Session()
table = open(sys.argv[1]).read()
for name in ("good", "other"):
    session.query(f"CREATE DATABASE {name}")
    session.query(table.replace("TABLE readings", f"TABLE {name}.readings").replace("value Float64", "value Float64" if name == "good" else "value Date"))
for file in sys.argv[2:]:
    rest = f"readings FROM INFILE '{file}' FORMAT RowBinaryWithNamesAndTypes"
    session.query("INSERT INTO good." + rest)
    try:
        session.query("INSERT INTO other." + rest)
        print("taken")
    except Exception as error:
        print("refused" if "type" in str(error).lower() else error, file=sys.stderr)
print(session.query("SELECT count(), sum(value), maxIf(text, metric = 't') FROM good.readings", "JSONCompactEachRow"))"""
        done = subprocess.run([python, "-c", words, str(ROOT / "packaging" / "consumers" / "clickhouse_https.sql"), *(str(self.folder / f"{n}.rows") for n in range(len(stub.records)))],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr[-1500:])
        self.assertNotIn("taken", done.stdout)
        self.assertEqual(set(done.stderr.split()), {"refused"})
        count, total, said = json.loads(done.stdout.strip().splitlines()[-1])
        self.assertEqual((int(count), total, said), (301, 3 * 5050, "say \"a\\b\"\n\u00e9"))

    def test_words_of_the_users_own(self):
        class Own(Stub):
            def judge(self, path, headers, body):
                self.headers = dict(headers)
                body = {"gzip": gzip.decompress, "zstd": read_batch.decompress}[headers["Content-Encoding"]](body)
                self.records += json.loads(body)
                return 204, ""
        for coding in ("gzip", "zstd"):
            with self.subTest(coding=coding):
                stub = Own()
                self.addCleanup(stub.end)
                gateway = self.start(stub.url, f'dialect = "generic"\nwrap = "array"\ncompression = "{coding}"\ntemplate = {{ id = "{{device}}/{{metric}}", '
                                               '"at.ms" = "{time_ms}", v = "{value}", n = "{sequence}", site = "plant 7" }\n')
                self.publish(300, "--connections", 3)
                self.say("d", "t", "say \"{value}\"")
                self.drained()
                self.assertEqual(sorted(r["n"] for r in stub.records), list(range(1, 302)))
                self.assertEqual(stub.records[-1], {"id": "d/t", "at": {"ms": 1790000000000}, "v": "say \"{value}\"", "n": 301, "site": "plant 7"})
                self.assertEqual(gateway.stop(), 0)
                self.afresh()

    def test_the_examples_load(self):
        examples = sorted((ROOT / "packaging" / "examples").glob("https-*.toml"))
        self.assertEqual(len(examples), 5)
        for example in examples:
            done = subprocess.run([str(BUILD / "millrace"), "check", "-c", str(example)], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, f"{example.name}: {done.stdout}{done.stderr}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
