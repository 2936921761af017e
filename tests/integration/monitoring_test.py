#!/usr/bin/python3
"""The dashboards and rules of packaging/monitoring beside real servers: every expression is run by a Prometheus that scrapes a daemon and
names nothing that the daemon does not export; the rules fire on what was recorded of an outage; the views and the dashboard for
ClickHouse are run by an old one and by today's, on rows that a gateway wrote."""
import json
import re
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import north
import prometheus
from prometheus import MONITORING, RULES, Prometheus, labels_in, metrics_in, promtool
from testsite import ROOT, Site, free_port, wait_for

# What a daemon exports only beside hardware that no test has, or after an hour.
RARE = {name: "gateway/observe/state_metrics.cpp" for name in ("millrace_flash_life_used_ratio", "millrace_box_temperature_celsius", "millrace_input_completeness_ratio")}
MORE = """
[[inputs.mqtt_endpoint]]
name = "field"
listen = "127.0.0.1:@endpoint@"
anonymous = true
tls_cert = "@tls@/server.pem"
tls_key_file = "@tls@/server.key"
[[inputs.mqtt_endpoint.routes]]
topic = "field/{device}"
metrics = { value = "value" }
[[inputs.modbus]]
name = "bus"
mode = "tcp"
server = "127.0.0.1:@nobody@"
[[inputs.modbus.devices]]
name = "pump"
unit = 1
registers = [{ name = "speed", address = 0 }]
[[windows]]
name = "10s"
size = "10s"
"""
GOING = """
[[uplinks.mqtt]]
name = "going"
servers = ["mqtt://127.0.0.1:@nobody@"]
start = "oldest"
"""


def dashboards(kind="prometheus"):
    """(file, panel's title, expression) of each target, whatever data source it has."""
    for path in sorted(MONITORING.glob("grafana-*.json")):
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                if target["datasource"]["type"] == kind:
                    yield path.name, panel["title"], target.get("expr") or target.get("rawSql")


class Files(unittest.TestCase):
    def test_dashboards_are_those_of_the_script(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, MONITORING / "dashboards.py", folder], check=True)
            for made in Path(folder).iterdir():
                self.assertEqual((MONITORING / made.name).read_text(), made.read_text(), f"{made.name} is stale: packaging/monitoring/dashboards.py")
            self.assertEqual({p.name for p in Path(folder).iterdir()}, {p.name for p in MONITORING.glob("grafana-*.json")})

    def test_panels_lie_beside_each_other_and_say_what_they_show(self):
        uids = set()
        for path in MONITORING.glob("grafana-*.json"):
            board = json.loads(path.read_text())
            uids.add(board["uid"])
            self.assertEqual(len({panel["id"] for panel in board["panels"]}), len(board["panels"]))
            taken = set()
            for panel in board["panels"]:
                at = panel["gridPos"]
                cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
                self.assertFalse(cells & taken, f"{path.name}: {panel['title']} lies on another")
                self.assertLessEqual(at["x"] + at["w"], 24)
                taken |= cells
                if panel["type"] != "row":
                    self.assertTrue(panel["description"] and panel["targets"], f"{path.name}: {panel['title']}")
        self.assertEqual(len(uids), 4)


@unittest.skipIf(prometheus.why_not(), prometheus.why_not())
class OnPrometheus(Site):
    def test_promtool_finds_the_rules_good(self):
        done = promtool("check", "rules", RULES)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_what_was_recorded_of_an_outage_fires_and_clears(self):
        recorded = sorted((ROOT / "tests" / "monitoring").glob("*.yml"))
        self.assertTrue(recorded)
        done = promtool("test", "rules", *recorded)
        self.assertEqual(done.returncode, 0, done.stdout[-3000:] + done.stderr[-2000:])

    def whole_site(self):
        """A daemon with a part of each kind, of which an uplink has left and its records are kept."""
        tls = self.tls()
        south, north_side = self.broker(), self.broker(tls=tls)
        words = {"scheme": "mqtts", "uplink": f'tls_ca = "{tls}/ca.pem"', "gateway": 'clock = "trust"'}
        more = MORE.replace("@endpoint@", str(free_port())).replace("@tls@", str(tls)).replace("@nobody@", str(free_port()))
        file = self.config(south.port, north_side.port, more=more + GOING.replace("@nobody@", str(free_port())), **words)
        gateway = self.gateway(file)
        wait_for(lambda: self.metric("millrace_input_up", 'input="devices"') == 1, "the input is up")
        for i in range(5):
            self.publish(south.port, "tele/press-1/SENSOR", json.dumps({"value": i}))
        wait_for(lambda: self.metric("millrace_uplink_records_total", 'uplink="central"') >= 5, "readings go north")
        before = self.info()
        self.config(south.port, north_side.port, more=more, **words)
        self.assertEqual(self.command("reload").returncode, 0)
        self.assertNotEqual(self.info(), before, "another configuration")
        wait_for(lambda: self.metric("millrace_absent_uplink_records") > 0, "what the other uplink leaves is kept")
        wait_for(lambda: "millrace_peer_cert_expiry_seconds" in self.http("/metrics"), "the broker's certificate is known")
        return south

    def info(self):
        line, = [line for line in self.http("/metrics").splitlines() if line.startswith("millrace_info{")]
        return re.search(r'config="(\w+)"', line)[1]

    def test_every_expression_is_sound_and_names_what_the_daemon_exports(self):
        south = self.whole_site()
        server = Prometheus(self.folder / "prometheus", [self.observe], RULES.read_text(), "500ms").start()
        self.processes.append(server.process)
        wait_for(lambda: server.query("count_over_time(millrace_info[1m]) >= 4"), "it was scraped", 60)
        self.publish(south.port, "tele/press-1/SENSOR", '{"value": 7}')
        rules = [rule for group in server.ask("/api/v1/rules")["data"]["groups"] for rule in group["rules"]]
        recorded = {rule["name"] for rule in rules if rule["type"] == "recording"}
        self.assertEqual([rule["name"] for rule in rules if rule.get("lastError")], [])
        known, labels = server.names() | recorded | {"ALERTS"}, server.labels() | {"severity", "alertname", "alertstate"}
        for metric, source in RARE.items():
            self.assertIn(f'"{metric}"', (ROOT / source).read_text())
        asked = [("rules", rule["name"], rule["query"]) for rule in rules] + list(dashboards())
        self.assertGreater(len(asked), 80)
        for where, what, expression in asked:
            with self.subTest(where=where, what=what):
                expression = expression.replace("$gateway", f"127.0.0.1:{self.observe}").replace("$__rate_interval", "1m")
                self.assertNotIn("$", expression)
                named = metrics_in(expression)
                self.assertTrue(named, expression)
                self.assertEqual(named - known - set(RARE), set(), f"the daemon does not export these: {expression}")
                self.assertEqual(labels_in(expression) - labels, set(), f"no series has these labels: {expression}")
                seen = server.query(expression)
                may_be_nothing = where == "rules" or named & (set(RARE) | {"ALERTS", "millrace:log_full_in:seconds", "millrace:uplink_round_trip_seconds:p99_5m", "millrace_uplink_latency_seconds_bucket"})
                self.assertTrue(seen or may_be_nothing, f"nothing is seen by {expression}")

    def test_variables_of_the_dashboards_find_the_gateway(self):
        self.config(free_port(), free_port(), gateway='clock = "trust"')
        self.gateway(self.folder / "millrace.toml")
        server = Prometheus(self.folder / "prometheus", [self.observe], every="500ms").start()
        self.processes.append(server.process)
        wait_for(lambda: server.query("millrace_info"), "it was scraped", 60)
        for path in MONITORING.glob("grafana-*.json"):
            for variable in json.loads(path.read_text())["templating"]["list"]:
                found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable.get("definition", ""))
                if found:
                    self.assertEqual(server.ask(f"/api/v1/label/{found[2]}/values", **{"match[]": found[1]})["data"], [f"127.0.0.1:{self.observe}"])
        (labels, _), = server.query("millrace_info")
        self.assertEqual(labels["gateway"], "gw")
        self.assertRegex(labels["config"], "^[0-9a-f]{16}$")
        (_, started), = server.query("process_start_time_seconds")
        self.assertLess(abs(float(started) - time.time()), 120)


def grafana(words, device="dev-0", metric="value"):
    """As the plugin sends it: macros and variables filled in."""
    words = words.replace("$__timeFilter(time)", "time >= toDateTime(1) AND time <= now()")
    words = words.replace("$__timeInterval(time)", "toStartOfMinute(time)")
    return words.replace("${device}", device).replace("${metric}", metric)


class OnClickHouse(north.North):
    def statements(self):
        bare = re.sub(r"(?m)--.*$", "", (MONITORING / "clickhouse_views.sql").read_text())
        return [one.strip() for one in bare.split(";") if one.strip()]

    def fill(self, server_url, uplink):
        self.start(server_url, uplink)
        text = (self.folder / "millrace.toml").read_text()
        self.processes[-1].stop()
        (self.folder / "millrace.toml").write_text(text.replace('name = "gw"', 'name = "gw"\nclock = "trust"\nhealth_interval = "10s"', 1))
        self.gateway(self.folder / "millrace.toml")
        self.publish(30)
        self.say("dev-0", "text", "open", int(time.time()))

    def test_views_and_dashboard_on_debians_server(self):
        server = self.server(north.ClickHouse)
        for statement in self.statements():
            server.query(statement)
        self.fill(server.url, server.config)
        wait_for(lambda: server.query("SELECT count() FROM millrace_fleet").strip() == "1", "the gateway told how it is", 40)
        for where, what, words in dashboards("grafana-clickhouse-datasource"):
            with self.subTest(what=what):
                rows = server.query(grafana(words) + " FORMAT JSONEachRow")
                if "lost" not in what and what != "Events":
                    self.assertTrue(rows.strip(), words)
        fleet = json.loads(server.query("SELECT * FROM millrace_fleet FORMAT JSONEachRow"))
        self.assertEqual((fleet["gateway"], fleet["late"], fleet["clock_trusted"], int(fleet["lost"])), ("gw", 0, 1, 0))
        self.assertRegex(fleet["version"], r"^\d+\.\d+")
        self.assertEqual(fleet["config"], re.search(r'millrace_info\{.*config="(\w+)"', self.http("/metrics"))[1])
        latest = json.loads(server.query("SELECT * FROM millrace_latest WHERE device = 'dev-0' AND metric = 'text' FORMAT JSONEachRow"))
        self.assertEqual(latest["text"], "open")

    def test_views_and_dashboard_on_todays_engine(self):
        python = north.venv("chdb", "chdb==3.*")
        if not python:
            self.skipTest("chdb cannot be had")
        table = (ROOT / "packaging" / "consumers" / "clickhouse_https.sql").read_text()
        said = json.dumps({"version": "0.1.0", "config": "0123456789abcdef", "interval_seconds": 300, "uptime_seconds": 7, "clock_trusted": True, "faults": 1, "must_act": 0,
                           "worst": "uplink central: \"no\" route", "backlog": 12, "lost": 3, "dead": 0}, separators=(",", ":"))
        old = int((time.time() - 3600) * 1e6)
        rows = [{"gateway": "gw-1", "epoch": 1, "sequence": n, "lane": "raw", "kind": "reading", "time_us": old + n, "device": "dev-0", "metric": "value", "value": n} for n in (1, 2, 2)]
        rows.append({"gateway": "gw-1", "epoch": 1, "sequence": 9, "lane": "alarm", "kind": "event", "time_us": old, "metric": "health", "text": said})
        (self.folder / "rows.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
        questions = [grafana(words) for _, _, words in dashboards("grafana-clickhouse-datasource")]
        questions.append("SELECT gateway, late, version, lost, backlog, worst, clock_trusted FROM millrace_fleet")
        questions.append("SELECT count() FROM millrace_values")
        words = f"""import json, sys, chdb.session
session = chdb.session.Session()
session.query("CREATE DATABASE plant"); session.query("USE plant")
job = json.load(sys.stdin)
for statement in job["statements"]: session.query(statement)
session.query("INSERT INTO readings FROM INFILE '" + job["rows"] + "' FORMAT JSONEachRow")
print(json.dumps([str(session.query(question, "JSONCompactEachRow")) for question in job["questions"]]))"""
        done = subprocess.run([python, "-c", words], input=json.dumps({"statements": [re.sub(r"(?m)--.*$", "", table).strip().rstrip(";"), *self.statements()],
                                                                      "rows": str(self.folder / "rows.json"), "questions": questions}), capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        answers = json.loads(done.stdout)
        self.assertEqual(json.loads(answers[-2]), ["gw-1", 1, "0.1.0", 3, 12, 'uplink central: "no" route', 1])
        self.assertEqual(json.loads(answers[-1]), [2] if isinstance(json.loads(answers[-1])[0], int) else ["2"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
