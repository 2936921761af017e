#!/usr/bin/python3
"""What a site gets besides the program: a repository that real apt takes without internet, a list of what the program consists of that a
parser nobody here wrote reads, and units for several gateways on one machine."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import north
from clouds_test import Stub
from testsite import BUILD, ROOT, Process, Site, free_port, wait_for

PACKAGING = ROOT / "packaging"


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="millrace-ship-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def run_it(self, *words, **more):
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120, **more)
        self.assertEqual(done.returncode, 0, f"{words}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
        return done.stdout


@unittest.skipUnless(shutil.which("dpkg-scanpackages") and shutil.which("apt-get"), "dpkg-dev and apt are not here")
class Repository(Folder):
    def setUp(self):
        super().setUp()
        self.site, self.apt = self.folder / "stick", self.folder / "apt"
        for part in ("state/lists/partial", "cache/archives/partial", "etc"):
            (self.apt / part).mkdir(parents=True)
        (self.apt / "state/status").touch()

    def package(self, version, arch=None):
        """A small one; the real ones take half an hour to build."""
        arch = arch or self.run_it("dpkg", "--print-architecture").strip()
        tree = self.folder / f"tree-{version}-{arch}"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(f"Package: millrace\nVersion: {version}\nArchitecture: {arch}\nMaintainer: Nobody <nobody@example.org>\nDescription: a stand-in\n")
        deb = self.folder / f"millrace_{version}_{arch}.deb"
        self.run_it("dpkg-deb", "--root-owner-group", "-b", tree, deb)
        return deb

    def apt_get(self, *words, options="trusted=yes", program="apt-get"):
        (self.apt / "etc/sources.list").write_text(f"deb [{options}] file://{self.site} stable main\n")
        return subprocess.run([program, "-o", f"Dir::State={self.apt}/state", "-o", f"Dir::State::status={self.apt}/state/status", "-o", f"Dir::Cache={self.apt}/cache",
                               "-o", f"Dir::Etc::sourcelist={self.apt}/etc/sources.list", "-o", "Dir::Etc::sourceparts=/dev/null", "-o", "Dir::Etc::trusted=/dev/null",
                               "-o", "Dir::Etc::trustedparts=/dev/null", "-o", "APT::Sandbox::User=root", *words],
                              capture_output=True, text=True, timeout=120, cwd=self.folder, env={**os.environ, "LC_ALL": "C"})

    def versions(self):
        return re.findall(r"^ {1,5}(?:\*\*\* )?(\d\S*) \d+$", self.apt_get("policy", "millrace", program="apt-cache").stdout, re.M)

    def test_apt_takes_it_without_a_key_and_sees_the_older_version(self):
        self.run_it(PACKAGING / "make-apt-repo.sh", self.site, self.package("0.1.0"), self.package("0.1.0", "armhf"))
        self.assertEqual(self.apt_get("update").returncode, 0)
        self.assertEqual(self.versions(), ["0.1.0"])
        self.run_it(PACKAGING / "make-apt-repo.sh", self.site, self.package("0.2.0"))
        self.assertEqual(self.apt_get("update").returncode, 0)
        self.assertEqual(self.versions(), ["0.2.0", "0.1.0"])
        done = self.apt_get("download", "millrace=0.1.0")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("binary-armhf/Packages", (self.site / "dists/stable/Release").read_text())

    def test_apt_verifies_the_signature_and_refuses_what_was_changed(self):
        home = self.folder / "gpg"
        home.mkdir(mode=0o700)
        env = {**os.environ, "GNUPGHOME": str(home)}
        self.addCleanup(subprocess.run, ["gpgconf", "--kill", "all"], env=env, capture_output=True)
        self.run_it("gpg", "--batch", "--passphrase", "", "--quick-gen-key", "site@example.org", "ed25519", "sign", "never", env=env)
        self.run_it(PACKAGING / "make-apt-repo.sh", self.site, "--key", "site@example.org", self.package("0.1.0"), env=env)
        signed = f"signed-by={self.site}/millrace.gpg"
        done = self.apt_get("update", options=signed)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.versions(), ["0.1.0"])
        release = self.site / "dists/stable/InRelease"
        release.write_text(release.read_text().replace("Label: Millrace", "Label: Mallory!"))
        (self.site / "dists/stable/Release").write_text(release.read_text())
        shutil.rmtree(self.apt / "state/lists")
        (self.apt / "state/lists/partial").mkdir(parents=True)
        done = self.apt_get("update", options=signed)
        self.assertRegex(done.stdout + done.stderr, "BADSIG|invalid|not signed")
        self.assertEqual(self.versions(), [])

    def test_what_is_no_package_is_said(self):
        (self.folder / "x.deb").write_text("none")
        done = subprocess.run([PACKAGING / "make-apt-repo.sh", self.site, self.folder / "x.deb"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 65, done.stderr)
        self.assertEqual(subprocess.run([PACKAGING / "make-apt-repo.sh"], capture_output=True).returncode, 64)


@unittest.skipUnless(shutil.which("ninja") and shutil.which("readelf") and shutil.which("dpkg-query"), "ninja, binutils and dpkg are not here")
class Consists(Folder):
    def test_the_list_of_parts_is_spdx_and_has_what_the_program_loads(self):
        made = self.folder / "millrace.spdx.json"
        made.write_text(self.run_it(sys.executable, PACKAGING / "sbom.py", "--build", BUILD, "--binary", BUILD / "millrace", "--name", "millrace-full", "--version", "0.1.0",
                                    env={**os.environ, "SOURCE_DATE_EPOCH": "1790000000"}))
        parts = json.loads(made.read_text())
        self.assertEqual(parts["creationInfo"]["created"], "2026-09-21T14:13:20Z")
        names = {one["relatedSpdxElement"]: one["relationshipType"] for one in parts["relationships"]}
        needed = re.findall(r"\(NEEDED\).*\[(\S+)\]", self.run_it("readelf", "-d", BUILD / "millrace"))
        self.assertEqual("libsqlite3.so.0" in needed, names.get("SPDXRef-deb-libsqlite3-0") == "DYNAMIC_LINK")
        self.assertEqual(names["SPDXRef-deb-libnanopb-dev"], "STATIC_LINK")
        self.assertEqual(names["SPDXRef-deb-rapidjson-dev"], "CONTAINS")
        for one in parts["packages"][1:]:
            self.assertRegex(one["externalRefs"][0]["referenceLocator"], r"^pkg:deb/debian/[^@]+@[^?]+\?arch=\w+&upstream=\S+$")
        python = north.venv("spdx", "spdx-tools==0.8.*")
        if not python:
            self.skipTest("spdx-tools cannot be had")
        words = """import sys
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
for wrong in validate_full_spdx_document(parse_file(sys.argv[1])): print(wrong.validation_message)"""
        self.assertEqual(self.run_it(python, "-c", words, made), "")


class Units(Folder):
    def test_the_unit_of_an_instance_is_that_of_the_first_gateway_but_for_its_folders(self):
        one, many = ((PACKAGING / name).read_text().splitlines() for name in ("millrace.service", "millrace@.service"))
        self.assertEqual(len(one), len(many))
        for here, there in zip(one, many):
            if here != there:
                self.assertIn("%i", there)
                self.assertRegex(there, "^(Description|ExecStart|RuntimeDirectory|StateDirectory)=|^# The inbox")
        self.assertIn("RuntimeDirectory=millrace/%i", many)
        self.assertIn("StateDirectory=millrace/%i", many)

    def test_systemd_finds_it_sound(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("systemd-analyze is not installed")
        program, unit = self.folder / "millrace", self.folder / "millrace@line2.service"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        unit.write_text((PACKAGING / "millrace@.service").read_text().replace("/usr/bin/millrace", str(program)))
        done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=18", str(unit)], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout[-500:])
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60)
        self.assertNotIn("millrace@", done.stderr)

    def test_every_message_id_has_its_page_in_the_catalog(self):
        ids = set(re.findall(r'"([0-9a-f]{32})"', (ROOT / "gateway/base/journal.cpp").read_text()))
        catalog = (PACKAGING / "millrace.catalog").read_text()
        self.assertEqual(ids, set(re.findall(r"(?m)^-- ([0-9a-f]{32})$", catalog)))
        if shutil.which("journalctl"):
            (self.folder / "usr/lib/systemd/catalog").mkdir(parents=True)
            (self.folder / "var/lib/systemd/catalog").mkdir(parents=True)
            shutil.copy(PACKAGING / "millrace.catalog", self.folder / "usr/lib/systemd/catalog")
            done = subprocess.run(["journalctl", "--update-catalog", f"--root={self.folder}"], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))


CONFIG = """
[log]
commit_interval = "100ms"
%s
[[inputs.mqtt_endpoint]]
name = "field"
listen = "127.0.0.1:%d"
anonymous = true
[[inputs.mqtt_endpoint.routes]]
topic = "field/{device}"
metrics = { value = "value" }
[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://127.0.0.1:%d"]
[observe]
listen = "127.0.0.1:%d"
"""


class Instances(Site):
    """In a name space of their own, where /etc, /run and /var/lib are the test's: two gateways on one machine that know nothing of each other."""

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
            self.skipTest("a mount name space needs root")
        for part in ("etc", "run", "lib"):
            (self.folder / part).mkdir()
        self.outside = self.folder / "go.sh"
        self.outside.write_text("#!/bin/sh\nset -e\nmkdir -p /etc/millrace\n" + "".join(
            f"mount --bind {self.folder}/{part} {where}\n" for part, where in (("etc", "/etc/millrace"), ("run", "/run"), ("lib", "/var/lib"))) + 'exec "$@"\n')
        self.outside.chmod(0o755)
        self.made_etc = not Path("/etc/millrace").exists()

    def tearDown(self):
        super().tearDown()
        if getattr(self, "made_etc", False):
            try:
                Path("/etc/millrace").rmdir()
            except OSError:
                pass

    def inside(self, *words):
        return ["unshare", "-m", str(self.outside), str(BUILD / "millrace"), *words]

    def ask(self, *words):
        return subprocess.run(self.inside(*words), capture_output=True, text=True, timeout=60)

    def configure_instance(self, name, more=""):
        ports = free_port(), free_port(), free_port()
        (self.folder / f"etc/{name}.toml").write_text(CONFIG % (more, *ports))
        return ports

    def run_instance(self, name):
        process = Process(self.inside("run", "--instance", name), self.folder / f"{name}.log")
        self.processes.append(process)
        wait_for(lambda: self.ask("--instance", name, "status", "--json").returncode == 0 or process.process.poll() is not None, f"{name} answers")
        self.assertIsNone(process.process.poll(), process.text())
        return process

    def test_two_on_one_machine_have_folders_and_readings_of_their_own(self):
        one, two = self.configure_instance("line1"), self.configure_instance("line2")
        self.run_instance("line1"), self.run_instance("line2")
        for name, ports, count in (("line1", one, 2), ("line2", two, 3)):
            for i in range(count):
                self.publish(ports[0], "field/press", json.dumps({"value": i}))
            status = json.loads(self.ask("status", "--json", f"--instance={name}").stdout)
            self.assertTrue(status["gateway"].endswith("-" + name), status["gateway"])
            # What is to be done is said for the one that is asked.
            self.assertEqual(status["instance"], name)
            self.assertIn(f": millrace --instance {name} check --online", {fault["id"]: fault for fault in status["faults"]}["uplink central"]["next"])
            self.assertEqual(status["inputs"][0]["records"], count)
            self.assertTrue((self.folder / f"lib/millrace/{name}/log/lock").exists())
            self.assertTrue((self.folder / f"run/millrace/{name}/control.sock").exists())
            self.assertEqual(len(self.ask("log", "cat", "--lane", "raw", "--instance", name).stdout.splitlines()), count)
        # A second one of the same name finds the first.
        again = subprocess.run(self.inside("run", "--instance", "line1"), capture_output=True, text=True, timeout=60)
        self.assertEqual(again.returncode, 69, again.stderr)

    def test_what_cannot_be_an_instance_is_said(self):
        for words, said in ((("--instance", "log"), 'begin with "log"'), (("--instance", "inbox2"), 'begin with "inbox"'), (("--instance", "millrace"), "without --instance"),
                            (("--instance", "../x"), "1 to 32 letters"), (("--instance",), "which one")):
            done = self.ask("check", *words)
            self.assertEqual(done.returncode, 64, done.stderr)
            self.assertIn(said, done.stderr)
        (self.folder / "etc/line1.toml").write_text((CONFIG % ("", 1, 2, 3)).split("[observe]")[0])
        done = self.ask("check", "--instance", "line1")
        self.assertEqual(done.returncode, 78)
        self.assertIn("an instance listens at an address of its own", done.stderr)


UPGRADED = """
[gateway]
name = "gw"
clock = "trust"
runtime_dir = "@run@"
[log]
path = "@log@"
[[inputs.mqtt_endpoint]]
name = "field"
listen = "127.0.0.1:@port@"
anonymous = true
liveness = false
[[inputs.mqtt_endpoint.routes]]
topic = "field/{device}"
metrics = { value = "value" }
[[inputs.serial]]                     # as files of the first trials spell it
name = "scale"
device = "/dev/serial/by-id/none"
line_max = "1KiB"
[inputs.serial.route]
device = "scale"
metrics = { weight = "0" }
[[uplinks.https]]
name = "central"
servers = ["@central@"]
format = "json"
[[uplinks.https]]
name = "cloud"
servers = ["@cloud@"]
format = "json"
[observe]
listen = "127.0.0.1:@observe@"
"""


class Numbers(Stub):
    """Takes JSON lines."""

    def judge(self, path, headers, body):
        self.records += [(line["epoch"], line["sequence"]) for line in map(json.loads, body.splitlines()) if line["kind"] == "reading"]
        return 204, ""


class Upgrade(Site):
    """A box of an earlier version gets today's: its log, as that version left it in a kill, and a configuration as it was written for it."""

    def go_on_with(self, log):
        central, cloud, self.port = Numbers(), Numbers(), free_port()
        self.addCleanup(central.end), self.addCleanup(cloud.end)
        shutil.copytree(ROOT / "tests/golden" / log, self.folder / "log")
        file = self.configure(UPGRADED, central=central.url, cloud=cloud.url, port=self.port)
        checked = self.command("check")
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.gateway(file)
        self.publish(self.port, "field/press", '{"value": 1}')
        wait_for(lambda: len(set(cloud.records)) >= 7001 and len(set(central.records)) >= 6301, "all that waited arrives", 60)
        wait_for(lambda: self.metric("millrace_uplink_backlog_records") == 0, "nothing waits any more")
        # What the earlier version had delivered is not sent again; each number is there once, and the new one is none of the old.
        old = sorted(number for _, number in central.records)
        self.assertEqual(old[:6300], list(range(701, 7001)))
        self.assertEqual(sorted(number for _, number in cloud.records)[:7000], list(range(1, 7001)))
        self.assertEqual((len(central.records), len(cloud.records)), (6301, 7001))
        self.assertGreater(old[-1], 7000)
        self.assertEqual(self.metric("millrace_log_lost_records_total"), 0)
        self.assertEqual(self.metric("millrace_ledger_settled_records", 'uplink="central",lane="raw",how="delivered"'), 7001)

    def test_with_a_log_of_format_1(self):
        self.go_on_with("log-1")

    def test_with_a_log_of_format_2(self):
        self.go_on_with("log-2")


if __name__ == "__main__":
    unittest.main(verbosity=2)
