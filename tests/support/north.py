"""Real servers that records go to by HTTP, on loopback, in a folder of the test's own: InfluxDB, VictoriaMetrics, ClickHouse. Each says
which readings it holds, as {device: [value, ...]}."""
import json
import os
import shutil
import signal
import ssl
import urllib.error
import urllib.parse
import urllib.request

from testsite import Process, free_port, wait_for


def ask(url, body=None, headers=None, method=None, timeout=60):
    """(status, body, headers), whatever the status."""
    request = urllib.request.Request(url, data=body.encode() if isinstance(body, str) else body, headers=headers or {}, method=method)
    anybody = ssl._create_unverified_context()  # who verifies is the gateway
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=anybody) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


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
        from testsite import ROOT
        self.query((ROOT / "packaging" / "consumers" / "clickhouse_https.sql").read_text())

    def readings(self):
        devices = {}
        for line in self.query("SELECT device, value FROM readings FORMAT TSV").splitlines():
            device, value = line.split("\t")
            devices.setdefault(device, []).append(int(float(value)))
        return devices
