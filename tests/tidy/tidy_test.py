#!/usr/bin/python3
"""The shape of the source is kept by a test: who may include whom, one home for each third-party header, banned calls."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# room -> rooms whose headers it may include (its own is always allowed). Data flows one way: driver, decode, pipeline, log,
# uplink; south and north meet only in the log.
MAY_INCLUDE = {
    "base": set(),
    "loop": {"base"},
    "config": {"base"},
    "record": {"base"},
    "ingest": {"record", "loop", "config", "net", "base"},
    "decode": {"ingest", "record", "base", "config"},
    "log": {"record", "loop", "base"},
    "windows": {"log", "record", "config", "loop", "base"},
    "pipeline": {"windows", "ingest", "decode", "log", "record", "config", "loop", "base"},
    "net": {"loop", "config", "base"},
    "mqtt": {"net", "loop", "config", "base"},
    "uplink": {"log", "record", "config", "loop", "base", "net", "mqtt"},
    "observe": {"loop", "base", "net"},
    "drivers": {"ingest", "decode", "record", "config", "loop", "base", "net", "mqtt", "cli"},
    "cli": None,  # everything
    "app": None,
}
ONLY_THE_INTERFACE = {("drivers", "cli"): {"cli/command.h", "cli/commands/daemon.h"},  # of commands that a kind contributes
                      ("windows", "log"): {"log/log.h"}, ("pipeline", "log"): {"log/log.h", "log/settled.h"}, ("uplink", "log"): {"log/log.h", "log/settled.h"}}

# third-party header -> the one folder that may include it
HOMES = {
    r"uv\.h": {"gateway/loop"},
    r"sqlite3\.h": {"gateway/log", "sim/world"},  # the simulated disk is an SQLite VFS
    r"pb(_\w+)?\.h|record\.pb\.h": {"gateway/record", "gateway/decode/formats/sparkplug"},
    r"sparkplug\.pb\.h": {"gateway/decode/formats/sparkplug"},
    r"zlib\.h": {"gateway/decode/formats/sparkplug", "gateway/net"},
    r"zstd\.h": {"gateway/record", "gateway/net", "tests/unit", "tests/bench"},
    r"rapidjson/.*": {"gateway/base"},
    r"toml\+\+/.*": {"gateway/config"},
    r"mqtt/async_client\.h|MQTTAsync\.h": {"gateway/mqtt/paho", "tests/bench"},
    r"mbedtls/.*": {"gateway/net", "tests/unit", "tests/bench"},  # its error numbers
    r"librdkafka/.*": {"gateway/uplink/kafka", "sim/fleet", "tests/unit", "tests/contract", "tests/bench"},
    r"http_parser\.h": {"gateway/net"},
    r"ares\.h": {"gateway/net"},
    r"modbus\.h": {"drivers/modbus"},
    r"CLI/.*": {"sim/fleet"},
    r"argp\.h": {"gateway/cli"},
    r"doctest/.*": {"tests"},
}
OUR_ROOTS = ("base", "loop", "config", "record", "ingest", "decode", "log", "windows", "pipeline", "net", "uplink", "observe", "cli")

BANNED = {
    r"\bstd::this_thread::sleep_for\b": {"sim/fleet/main.cpp"},  # its outage thread keeps the scenario's clock
    r"\b(sprintf|strcpy|strcat|gets|atoi|rand|srand|system)\s*\(": {"sim/fleet/main.cpp", "tests/support/main.cpp"},
    r"\btime\s*\(\s*(NULL|nullptr|0)\s*\)": set(),
    r"std::chrono::(system|steady|high_resolution)_clock": {"sim/fleet/main.cpp"},
    r"\busing namespace std;": set(),
    r"std::random_device|std::mt19937": set(),
    r"\bvolatile\b": {"sim/world/sim_disk.cpp", "gateway/log/wal_index_vfs.cpp"},  # SQLite's own signature
    # The core has no other way to pack than that of level 1 (without_parts() in CMakeLists.txt): what is not named here may ask for one,
    # and a unit test asks the library what level 1 is.
    r"\bZSTD_(?!(compressBound|(create|free)?[CD]Ctx|decompressDCtx|findFrameCompressedSize|getFrameContentSize|CONTENTSIZE_\w+|isError)\b|compress(CCtx)?\(.*, 1\);)": set(),
}


def sources(*folders):
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".h", ".cpp"):
                yield path, path.relative_to(ROOT).as_posix()


def includes(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
        if found:
            yield number, found.group(1)


def room_of(name):
    parts = name.split("/")
    if parts[0] == "gateway":
        return parts[1] if len(parts) > 2 else "app"
    return parts[0]


class Tidy(unittest.TestCase):
    def test_includes_follow_the_flow(self):
        faults = []
        for path, name in sources("gateway", "drivers"):
            room = room_of(name)
            allowed = MAY_INCLUDE[room]
            for number, header in includes(path):
                first = header.split("/")[0]
                if first in ("sim", "tests"):
                    faults.append(f"{name}:{number}: {room} includes {header}: the gateway never includes sim or tests")
                    continue
                if first == "drivers":
                    own = name.split("/")[1] if room == "drivers" else None
                    if allowed is not None and header.split("/")[1] != own:
                        faults.append(f"{name}:{number}: {room} must not include {header}")
                    continue
                mqtt_ours = first == "mqtt" and (ROOT / "gateway" / header).exists()
                if first not in OUR_ROOTS and not mqtt_ours:
                    continue
                if allowed is None or first == room:
                    continue
                if first not in allowed:
                    faults.append(f"{name}:{number}: {room} must not include {header}")
                interface = ONLY_THE_INTERFACE.get((room, first))
                if interface and header not in interface:
                    faults.append(f"{name}:{number}: {room} may include {sorted(interface)} only, not {header}")
        self.assertEqual(faults, [])

    def test_no_header_includes_itself_by_others(self):
        names = {name for _, name in sources("gateway", "drivers")}
        graph = {name: [h for h in ("gateway/" + header if "gateway/" + header in names else header for _, header in includes(path)) if h in names]
                 for path, name in sources("gateway", "drivers")}
        done, faults = set(), []

        def walk(name, way):
            if name in way:
                faults.append(" -> ".join(way[way.index(name):] + [name]))
            elif name not in done:
                for header in graph[name]:
                    walk(header, way + [name])
                done.add(name)

        for name in graph:
            walk(name, [])
        self.assertEqual(faults, [])

    def test_each_third_party_header_has_one_home(self):
        faults = []
        for path, name in sources("gateway", "drivers", "sim", "tests"):
            for number, header in includes(path):
                for pattern, homes in HOMES.items():
                    if re.fullmatch(pattern, header) and not any(name.startswith(home + "/") for home in homes):
                        faults.append(f"{name}:{number}: <{header}> belongs into {sorted(homes)}")
        self.assertEqual(faults, [])

    def test_nothing_banned_is_called(self):
        faults = []
        for path, name in sources("gateway", "drivers", "sim"):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                code = line.split("//")[0]
                for pattern, allowed in BANNED.items():
                    if re.search(pattern, code) and name not in allowed:
                        faults.append(f"{name}:{number}: {line.strip()}")
        self.assertEqual(faults, [])

    def test_every_header_teaches_first(self):
        faults = [name for path, name in sources("gateway", "drivers", "sim") if path.suffix == ".h" and not path.read_text().startswith("// ")]
        self.assertEqual(faults, [])

    def test_lines_are_of_a_readable_length(self):
        """110 columns; a text stays in one piece, so that it can be searched for, as long as it can be read."""
        faults = [f"{name}:{number}" for path, name in sources("gateway", "drivers", "sim", "tests") for number, line in enumerate(path.read_text().splitlines(), 1)
                  if len(line) > (180 if '"' in line else 110)]
        self.assertEqual(faults, [])

    def test_sources_are_formatted(self):
        tool = shutil.which("clang-format-14")
        if not tool:
            self.skipTest("needs clang-format-14")
        paths = [str(path) for path, _ in sources("gateway", "drivers", "sim", "tests", "proto")]
        done = subprocess.run([tool, "--dry-run", "-Werror", *paths], cwd=ROOT, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, f"clang-format-14 -i would change: {done.stderr[:2000]}")

    def test_files_named_in_comments_exist(self):
        known = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
        faults = []
        for path, name in sources("gateway", "drivers", "sim", "tests", "proto"):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                comment = line.split("//", 1)[1] if "//" in line and '"' not in line.split("//", 1)[0] else ""
                for named in re.findall(r"(?<![\w./<])[a-z_]+(?:/[a-z_]+)*\.(?:h|cpp|py|md|sh)\b", comment):
                    if named not in ("sysexits.h", "zlib.h") and not any(file == named or file.endswith("/" + named) for file in known):
                        faults.append(f"{name}:{number}: {named}")
        self.assertEqual(faults, [])

    def test_what_a_release_builds_for_speed_is_there(self):
        """CMake takes a name that is none without a word, and what every reading passes through would be built for size."""
        fast = re.search(r"MATCHES \"-Os\"\)\n(.*?)\nendif", (ROOT / "CMakeLists.txt").read_text(), re.S).group(1)
        lists = re.findall(r"foreach\(source ([^)]*)\)\s*list\(APPEND each_reading (\w+)/", fast)
        names = {f"{folder}/{source}.cpp" for sources, folder in lists for source in sources.split()}
        self.assertGreater(len(names), 20)
        self.assertEqual([name for name in sorted(names) if not (ROOT / name).is_file()], [])
        sources = {path.stem for path in (ROOT / "gateway").rglob("*.cpp")}
        self.assertLessEqual(set(re.search(r'"/\(([^)]*)\)', fast).group(1).split("|")), sources)
        self.assertEqual([name for name in re.findall(r"[\w/]+(?=/\*\.cpp)", fast) if not any((ROOT / name).glob("*.cpp"))], [])

    def test_lists_of_tests_agree(self):
        run = (ROOT / "tests" / "run.sh").read_text()
        names = [name for words in re.findall(r'(?m)^(?:computing|waiting|alone|slow)="([^"$]*)"', run) for name in words.split()]
        self.assertGreater(len(names), 60)
        self.assertEqual(len(names), len(set(names)))
        branches = {name for words in re.findall(r"(?m)^    ([a-z0-9_|]+)\)", run) for name in words.split("|")} - {"quick", "full"}
        self.assertEqual(set(names), branches, "each has a way to be run, and each way a name in a list")
        rows = re.findall(r"(?m)^\| (`[^|]*) \|", (ROOT / "tests" / "README.md").read_text())
        self.assertEqual(set(names), {name for row in rows for name in re.findall(r"`(\w+)`", row)}, "tests/README.md has a row for each")
        run_by_name = set(names) | set(re.findall(r"(\w+)_test\.py", run))
        there = {path.stem.removesuffix("_test") for path in (ROOT / "tests" / "integration").glob("*_test.py")}
        self.assertEqual(there - run_by_name, set(), "run.sh never runs these")

    def test_every_class_of_tests_is_run(self):
        """Where run.sh names classes of a file, a class that nobody named would never run."""
        run = (ROOT / "tests" / "run.sh").read_text()
        whole = {name for words in re.findall(r"(?m)^    ([a-z0-9_|]+)\) .*/\$\{name\}_test\.py", run) for name in words.split("|")}
        self.assertGreater(len(whole), 20)
        faults, seen = [], 0
        for path in sorted((ROOT / "tests" / "integration").glob("*_test.py")):
            asked = re.findall(rf"integration/{path.name}((?:[ \\\n]+[A-Z][\w.]*)*)", run)
            if path.stem.removesuffix("_test") in whole or not all(words.strip() for words in asked):
                continue
            named = " ".join(asked).split()
            source = path.read_text()
            for asks_for, name, body in re.findall(r"(?m)((?:^@.*\n)*)^class (\w+).*:\n((?:(?:[ ].*)?\n)*)", source):
                tests = re.findall(r"(?m)^    def (test_\w+)", body)
                seen += len(tests)
                if name not in named and "os.environ" not in asks_for:
                    faults += [f"{path.name}: {name}.{test}" for test in tests if f"{name}.{test}" not in named]
        self.assertGreater(seen, 50)
        self.assertEqual(faults, [], "no word of run.sh runs these")

    def test_every_program_of_doctests_is_run_everywhere(self):
        folders = re.findall(r"(?m)^millrace_test\(([\w/]+) ", (ROOT / "tests" / "CMakeLists.txt").read_text())
        programs = [folder.replace("/", "_") for folder in folders]
        with_tests = {path.parent.relative_to(ROOT / "tests").as_posix() for name in ("unit", "contract", "golden", "simulation") for path in (ROOT / "tests" / name).rglob("*.cpp")}
        self.assertEqual(with_tests, set(folders))
        run = (ROOT / "tests" / "run.sh").read_text()
        self.assertEqual(set(re.search(r"  unit\) echo (.*) ;;", run).group(1).split()), {program for program in programs if program.startswith("unit")})
        self.assertEqual(set(re.search(r"  contract\) echo (.*) ;;", run).group(1).split()), {program for program in programs if program.startswith("contract")})
        for script in ("packaging/build-arm.sh", "tests/integration/trixie.sh"):
            self.assertEqual(set(re.search(r'(?m)^tests="(.*)"$', (ROOT / script).read_text()).group(1).split()), set(programs) - {"simulation"}, script)

    def test_cases_that_are_named_are_there(self):
        """doctest is content where a name fits no case: it runs none."""
        asked = 0
        for document in [ROOT / "CONTRIBUTING.md", ROOT / "README.md", ROOT / "drivers" / "README.md", *(ROOT / "tests").glob("*.md"), ROOT / "tests" / "run.sh"]:
            for program, names in re.findall(r'(?:tests/|\btests"?/)test_(\w+)"? -tc="([^"]*)"', document.read_text()):
                folder = ROOT / "tests" / program.replace("_", "/", 1)
                cases = "\n".join(case for path in folder.glob("*.cpp") for case in re.findall(r'TEST_CASE\("([^"]*)', path.read_text()))
                for name in names.split(","):
                    asked += 1
                    self.assertTrue(re.search("(?m)^" + re.escape(name).replace(r"\*", ".*"), cases), f"{document.name}: test_{program} has no case {name}")
        self.assertGreater(asked, 2)

    def test_lists_of_fuzz_targets_agree(self):
        run = (ROOT / "tests" / "fuzz" / "run.sh").read_text()
        for words, source in (("payloads", "decoding.cpp"), ("parsers", "targets.cpp")):
            listed = re.search(rf'(?m)^{words}="([^"]*)"', run).group(1).split()
            built = re.findall(r'\{"(\w+)", \w+\}', (ROOT / "tests" / "fuzz" / source).read_text().split("FuzzTarget targets[]")[1])
            self.assertEqual(sorted(listed), sorted(built), f"tests/fuzz/run.sh and {source}")
        every = run.split('payloads="')[1].split('"')[0].split() + run.split('parsers="')[1].split('"')[0].split()
        self.assertEqual([folder.name for folder in (ROOT / "tests" / "fuzz" / "corpus").iterdir() if folder.name not in every], [])

    def test_every_file_of_commands_has_one(self):
        build = (ROOT / "CMakeLists.txt").read_text()
        commands = re.findall(r"(?m)^millrace_command\(\w+ (\w+)\)", build)
        helpers = re.findall(r"gateway/cli/commands/(\w+)\.cpp", re.search(r"add_library\(millrace_daemon OBJECT ([^)]*)\)", build).group(1))
        self.assertGreater(len(helpers), 2)
        self.assertEqual({path.stem for path in (ROOT / "gateway" / "cli" / "commands").glob("*.cpp")}, set(commands) | set(helpers))

    def test_each_exit_code_has_one_name_and_is_told(self):
        codes = dict(re.findall(r"(?m)^  (exit_\w+) = (\d+),", (ROOT / "gateway" / "cli" / "command.h").read_text()))
        self.assertGreater(len(codes), 6)
        code = "\n".join(path.read_text() for path, name in sources("gateway", "drivers") if name != "gateway/cli/command.h")
        self.assertEqual([name for name in codes if not re.search(rf"\b{name}\b", code)], [], "nothing ends with these")
        ours = "|".join(number for number in codes.values() if len(number) > 1 and number != "64")  # which is many a limit
        self.assertEqual(re.findall(rf"\bint (exit_\w+) *[={{]|\b_[Ee]xit\((\d+)\)|\bconstexpr int (?:\w+ = \d+, )*(\w+ = (?:{ours}))\b", code), [],
                         "gateway/cli/command.h has the names")
        for document, begins, ends in (("packaging/man/millrace.8.scd", "# EXIT STATUS", "\n# "), ("packaging/docs/operating.md", "Exit codes:", "\n\n"),
                                       ("gateway/cli/command_text.cpp", "Exit codes:", ";\n")):
            told = (ROOT / document).read_text().split(begins)[1].split(ends)[0]
            self.assertEqual([number for number in codes.values() if not re.search(rf"\b{number} [a-z]", told)], [], document)

    def test_every_document_is_linked_and_every_link_leads_somewhere(self):
        documents = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
        documents += [path for folder in ("packaging", "drivers", "gateway", "sim", "tests", "proto") for path in (ROOT / folder).rglob("*.md")]
        faults = []
        for document in documents:
            for link in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
                if "://" not in link and not (document.parent / link).exists():
                    faults.append(f"{document.relative_to(ROOT)}: {link}")
        readme = (ROOT / "README.md").read_text()
        faults += [f"README.md does not lead to {path.name}" for path in (ROOT / "packaging" / "docs").glob("*.md") if f"(packaging/docs/{path.name})" not in readme]
        self.assertEqual(faults, [])

    def test_skips_are_told(self):
        paths = (ROOT / "tests" / "integration").glob("*_test.py")
        faults = [path.name for path in sorted(paths) if "unittest.main(verbosity=2" not in path.read_text()]
        self.assertEqual(faults, [], "run.sh prints from that why a test is skipped")

    def test_what_shall_install_nothing_does_not(self):
        """tests/run.sh --no-install, in what it calls as well."""
        with tempfile.TemporaryDirectory() as folder:
            for name, does in (("dpkg-query", "exit 1"), ("apt-get", f"touch {folder}/asked"), ("sudo", f"touch {folder}/asked")):
                (Path(folder) / name).write_text(f"#!/bin/sh\n{does}\n")
                (Path(folder) / name).chmod(0o755)
            env = dict(os.environ, PATH=f"{folder}:{os.environ['PATH']}", MILLRACE_NO_INSTALL="yes")
            done = subprocess.run([ROOT / "packaging" / "install-deps.sh", "test"], env=env, capture_output=True, text=True)
            self.assertEqual((done.returncode, (Path(folder) / "asked").exists()), (0, False), done.stderr)
            self.assertRegex(done.stdout, "not installed, as asked:.* cmake .*mosquitto")
        asked = subprocess.run([ROOT / "tests" / "run.sh", "--no-install", "--no-build", "no_such_test"], capture_output=True, text=True)
        self.assertEqual((asked.returncode, asked.stderr), (64, "there is no test called no_such_test\n"))

    def test_scripts_are_sound(self):
        scripts = [p for folder in ("packaging", "tests") for p in (ROOT / folder).rglob("*.sh")] + [ROOT / ".ci" / "run"]
        for script in scripts:
            self.assertEqual(subprocess.run(["bash", "-n", script]).returncode, 0, script)


if __name__ == "__main__":
    unittest.main()
