"""A real Prometheus on loopback, in a folder of the test's own, that scrapes gateways with the rules of packaging/monitoring; and what
can be read off rules and dashboards without it."""
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

from testsite import ROOT, Process, free_port, wait_for

MONITORING = ROOT / "packaging" / "monitoring"
RULES = MONITORING / "prometheus-rules.yml"
DURATION = re.compile(r"(?<![\w.])(\d+)(ms|s|m|h|d|w)(?![\w])")
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def why_not():
    return "" if shutil.which("prometheus") and shutil.which("promtool") else "prometheus is not installed (packaging/install-deps.sh north)"


def faster(rules, times):
    """The same rules for a site that lives so many times as fast: every range, offset and `for` is shorter by that."""
    return DURATION.sub(lambda m: f"{max(1, round(int(m[1]) * UNITS[m[2]] * 1000 / times))}ms", rules)


def metrics_in(expression):
    """Names of metrics, recorded ones too; not of labels, functions, or what stands in quotes."""
    plain = re.sub(r'"[^"]*"', '""', expression)
    plain = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", plain)
    plain = re.sub(r"\{[^}]*\}", " ", plain)
    return {name for name in re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", plain) if name in ("up", "ALERTS") or name.startswith(("millrace", "process_"))}


def labels_in(expression):
    plain = re.sub(r'"[^"]*"', '""', expression)
    found = {name for names in re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", plain) for name in re.findall(r"\w+", names)}
    return found | {name for inside in re.findall(r"\{([^}]*)\}", plain) for name in re.findall(r"(\w+)\s*(?:=|!)", inside)}


class Prometheus:
    def __init__(self, folder, targets, rules=None, every="1s"):
        """`targets`: ports of gateways' /metrics."""
        folder.mkdir(exist_ok=True)
        self.folder, self.port = folder, free_port()
        files = ""
        if rules is not None:
            (folder / "rules.yml").write_text(rules)
            files = f"rule_files: ['{folder}/rules.yml']"
        hosts = ", ".join(f"'127.0.0.1:{port}'" for port in targets)
        (folder / "prometheus.yml").write_text(f"""global: {{scrape_interval: {every}, scrape_timeout: {every}, evaluation_interval: {every}}}
{files}
scrape_configs:
  - job_name: millrace
    static_configs: [{{targets: [{hosts}]}}]
""")

    def start(self):
        self.process = Process(["prometheus", f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data",
                                f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"], self.folder / "prometheus.log", {"GOMAXPROCS": "1"})
        wait_for(lambda: self.answers("/-/ready") or self.process.process.poll() is not None, "prometheus is ready", 60)
        assert self.process.process.poll() is None, self.process.text()[-2000:]
        return self

    def answers(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode() if error.code in (400, 422) else None
        except OSError:
            return None

    def ask(self, path, **words):
        return json.loads(self.answers(path + "?" + urllib.parse.urlencode(words)) or '{"status": "error", "error": "no answer"}')

    def query(self, expression):
        """[(labels, value)]; an assertion where it is none."""
        answer = self.ask("/api/v1/query", query=expression)
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        result = answer["data"]["result"]
        if answer["data"]["resultType"] in ("scalar", "string"):
            return [({}, result[1])]
        return [(one["metric"], one["value"][1]) for one in result]

    def names(self):
        return set(self.ask("/api/v1/label/__name__/values")["data"])

    def labels(self):
        return set(self.ask("/api/v1/labels")["data"])

    def firing(self):
        """[labels] of the alerts that fire."""
        return [alert["labels"] | {"summary": alert["annotations"]["summary"]} for alert in self.ask("/api/v1/alerts")["data"]["alerts"] if alert["state"] == "firing"]

    def stop(self):
        self.process.stop()


def promtool(*words):
    return subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, timeout=120)
