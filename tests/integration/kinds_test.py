#!/usr/bin/python3
"""A kind of each sort, each one file and one line of the build (tests/support/sample_kinds): all that millrace tells of kinds has
them, and they work."""
import http.server
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from testsite import BUILD, ROOT, Process, Site, wait_for

SAMPLED = BUILD / "tests" / "millrace-sampled"
CONFIG = """
[gateway]
name = "gw"
runtime_dir = "@run@"
[log]
path = "@log@"
commit_interval = "50ms"
[[inputs.sample]]
name = "one"
word = "21.5"
every = "20ms"
[inputs.sample.route]
format = "plain"
device = "one"
metrics = { word = {} }
@more@
[[uplinks.sample]]
name = "tally"
file = "@tally@"
[observe]
listen = "127.0.0.1:@observe@"
"""


def told(*arguments):
    return subprocess.run([SAMPLED, *arguments], capture_output=True, text=True, timeout=60, check=True).stdout


class Told(unittest.TestCase):
    def test_config_has_the_sample_kinds(self):
        self.assertIn("inputs.sample\n", told("config", "--kinds"))
        self.assertIn("uplinks.sample\n", told("config", "--kinds"))
        one = told("config", "inputs.sample")
        self.assertRegex(one, r'(?m)^# A word, over and over\n\[\[inputs\.sample\]\]\nname = "one"\n# word = "tick" +# What is read$')
        self.assertRegex(one, r'(?m)^# mood = "calm" +# "calm" or "hasty": How it is read$')
        self.assertRegex(one, r'(?m)^# every = "1s" +# Between two of it; 10ms to 1h$')
        self.assertEqual(tomllib.loads(one)["inputs"]["sample"][0]["name"], "one")
        both = told("config", "sample")
        self.assertIn("[[inputs.sample]]", both)
        self.assertIn('file = "/tmp/tally"', both)
        self.assertIn("# [[inputs.sample]]", told("config"))
        wrong = subprocess.run([SAMPLED, "config", "inputs.sampl"], capture_output=True, text=True)
        self.assertEqual(wrong.returncode, 64)
        self.assertIn("did you mean inputs.sample", wrong.stderr)

    def test_the_schema_has_them(self):
        schema = json.loads(told("config", "--schema"))
        item = schema["properties"]["inputs"]["properties"]["sample"]["items"]
        self.assertEqual(item["required"], ["name"])
        self.assertFalse(item["additionalProperties"])
        self.assertEqual(item["properties"]["word"], {"description": "What is read", "default": "tick", "type": "string"})
        self.assertEqual(item["properties"]["mood"]["anyOf"][0], {"enum": ["calm", "hasty"]})
        uplink = schema["properties"]["uplinks"]["properties"]["sample"]["items"]
        self.assertEqual(uplink["required"], ["name", "file"])
        self.assertEqual((uplink["properties"]["window"]["minimum"], uplink["properties"]["window"]["maximum"]), (1, 64))

    def test_a_format_is_told_with_keys_of_its_own(self):
        one = told("config", "inputs.sample")
        self.assertIn('"sparkplug" or "sample": Of a plain', " ".join(line.strip("# ") for line in one.splitlines()))
        self.assertRegex(one, r'(?m)^# With format = "sample": words, counted\n#   word_separator = " " +# What stands between words$')
        route = json.loads(told("config", "--schema"))["properties"]["inputs"]["properties"]["sample"]["items"]["properties"]["route"]["properties"]
        self.assertIn("sample", route["format"]["anyOf"][0]["enum"])
        self.assertEqual(route["words_max"]["maximum"], 100000)

    def test_what_is_told_of_a_kind_is_what_the_schema_takes(self):
        def take(value, schema, where):
            choices = schema.get("anyOf", [schema])
            self.assertTrue(any(fits(value, one, where) for one in choices), where)

        def fits(value, schema, where):
            if "anyOf" in schema:
                return any(fits(value, one, where) for one in schema["anyOf"])
            if "enum" in schema:
                return value in schema["enum"]
            kind = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}[type(value)]
            if kind not in schema["type"] and not (kind == "integer" and "number" in schema["type"]):
                return False
            if kind == "object":
                for key, inner in value.items():
                    known = schema.get("properties", {}).get(key, schema["additionalProperties"])
                    self.assertTrue(known, f"{where}.{key} is in no schema")
                    take(inner, known, f"{where}.{key}")
            for inner in value if kind == "array" else []:
                take(inner, schema["items"], where)
            return kind != "string" or re.search(schema.get("pattern", ""), value) is not None

        schema = json.loads(told("config", "--schema"))
        for name in told("config", "--kinds").split():
            text = told("config", name)
            take(tomllib.loads(text), schema, name)
            commented = "\n".join(line.strip().removeprefix("# ") for line in text.splitlines() if re.match(r"\s*(# )?(\[|[a-z_]+ = )", line))
            take(tomllib.loads(commented), schema, name)

    def test_what_the_documents_show_has_no_key_that_no_row_knows(self):
        blocks = 0
        for document in [ROOT / "README.md", *sorted((ROOT / "packaging" / "docs").glob("*.md"))]:
            for block in re.findall(r"(?ms)^```toml\n(.*?)^```", document.read_text()):
                blocks += 1
                checked = subprocess.run([SAMPLED, "check", "-c", "/dev/stdin"], input=block, capture_output=True, text=True)
                self.assertNotRegex(checked.stderr, "nothing is called|must be|it can be", f"{document}:\n{block}")
        self.assertGreater(blocks, 1)

    def test_a_framer_is_one_of_the_choices_and_its_keys_stand_beside_it(self):
        self.assertIn('"telegram" or "sample": How frames', " ".join(line.strip("# ") for line in told("config", "inputs.serial").splitlines()))
        self.assertRegex(told("config", "inputs.serial"), r'(?m)^# With framing = "sample": words\n#   shout = false +# Only words in capitals$')
        serial = json.loads(told("config", "--schema"))["properties"]["inputs"]["properties"]["serial"]["items"]["properties"]
        self.assertIn("sample", serial["framing"]["anyOf"][0]["enum"])
        self.assertEqual(serial["shout"], {"description": "Only words in capitals", "default": False, "type": "boolean"})

    def test_an_aggregate_is_one_of_the_words_that_a_window_takes(self):
        self.assertIn('"last" or "sample": What is made of', " ".join(line.strip("# ") for line in told("config", "windows").splitlines()))
        window = json.loads(told("config", "--schema"))["properties"]["windows"]["items"]["properties"]
        self.assertIn("sample", window["aggregates"]["items"]["anyOf"][0]["enum"])

    def test_a_form_is_one_of_the_choices_of_an_uplink(self):
        self.assertIn('"batch" or "sample": A message', " ".join(line.strip("# ") for line in told("config", "uplinks.kafka").splitlines()))
        kafka = json.loads(told("config", "--schema"))["properties"]["uplinks"]["properties"]["kafka"]["items"]["properties"]
        self.assertEqual(kafka["format"]["anyOf"][0]["enum"], ["record", "json", "batch", "sample"])

    def test_a_dialect_is_one_of_the_choices_and_its_keys_stand_beside_it(self):
        https = told("config", "uplinks.https")
        self.assertRegex(" ".join(line.strip("# ") for line in https.splitlines()), r'"s3"( or|,) "sample"')
        self.assertRegex(https, r'(?m)^# With dialect = "sample": lines, counted aloud\n#   ledger = "/lines" +# Where lines are written down\n#   lines_max = 100 +# Of a request; 1 to 1000$')
        uplink = json.loads(told("config", "--schema"))["properties"]["uplinks"]["properties"]["https"]["items"]["properties"]
        self.assertIn("sample", uplink["dialect"]["anyOf"][0]["enum"])
        self.assertEqual((uplink["lines_max"]["minimum"], uplink["lines_max"]["maximum"]), (1, 1000))
        # The forms are those of Kafka, where a dialect takes them.
        self.assertIn("sample", uplink["format"]["anyOf"][0]["enum"])

    @unittest.skipUnless(shutil.which("scdoc"), "scdoc is not here")
    def test_the_manual_pages_have_them(self):
        with tempfile.TemporaryDirectory() as folder:
            packaging = Path(folder) / "packaging"
            shutil.copytree(ROOT / "packaging" / "man", packaging / "man")
            (packaging / "millrace.toml").write_text(told("config"))
            (packaging / "man" / "commands.scd").write_text(told("help", "--man"))
            subprocess.run([packaging / "man" / "build.sh", Path(folder) / "out"], check=True, timeout=60)
            pages = {page.name: page.read_text().replace("\\&", "").replace("\\", "") for page in (Path(folder) / "out").iterdir()}
        for words in ("[[inputs.sample]]", "[[uplinks.sample]]", 'With framing = "sample"', 'With format = "sample"', "words_max", 'With dialect = "sample"', "lines_max", '"last" or "sample"'):
            self.assertIn(words, pages["millrace.toml.5"])
        self.assertRegex(pages["millrace.8"], r"sample.*mood")

    def completed(self, *words, program=SAMPLED):
        script = (f'source <({program} help --completion); COMP_WORDS=({program} {" ".join(repr(word) for word in words)}); COMP_CWORD={len(words)}; _millrace; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        return sorted(subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split())

    def test_completion_offers_them(self):
        self.assertEqual(self.completed("config", "inputs.s"), ["inputs.sample", "inputs.serial"])
        self.assertEqual(self.completed("sa"), ["sample"])
        self.assertEqual(self.completed("sample", "--"), ["--mood", "--times"])
        self.assertEqual(self.completed("sample", "--mood", ""), ["calm", "hasty"])
        self.assertEqual(self.completed("sample", "--times", ""), [])

    def test_completion_knows_words_options_choices_and_files(self):
        self.assertEqual(self.completed("lo"), ["log"])
        self.assertEqual(self.completed("log", ""), ["backup", "cat", "export", "forget", "ls", "salvage", "stat"])
        self.assertEqual(self.completed("log", "cat", "--"), ["--config", "--from", "--lane", "--to"])
        self.assertEqual(self.completed("log", "cat", "--lane", "h"), ["held"])
        self.assertEqual(self.completed("status", "-c", "READ"), ["README.md"])
        self.assertEqual(self.completed("log", "salvage", "READ"), ["README.md"])

    def test_a_command_is_told_and_works(self):
        self.assertRegex(told("help"), r"(?m)^  sample WORD +Say a word$")
        self.assertRegex(told("sample", "--help"), r"(?s)Usage: millrace sample .*--mood=MOOD +How it is said.*-n, --times=N")
        self.assertEqual(told("help", "sample"), told("sample", "--help"))
        self.assertIn("*sample* [*--mood* _mood_] [*--times* _n_] _word_\n\tSay a word. It says nothing else.\n", told("help", "--man"))
        self.assertEqual(told("sample", "-n", "2", "--mood=hasty", "ho"), "ho!\nho!\n")
        for arguments, words in ((["sample"], "it needs WORD"), (["sample", "a", "b"], '"b" is too much'), (["sample", "--times", "10", "a"], '--times: "10" is not a number from 1 to 9'),
                                 (["sample", "--mood", "clam", "a"], 'there is no "clam"; did you mean calm?'), (["sampel"], 'did you mean "sample"?'),
                                 (["log"], "millrace log: which one? ls, stat"), (["log", "lst"], 'there is no "lst"; there are ls, stat'), (["log", "forget"], "it needs --device"),
                                 (["-c", "x.toml", "check"], "the command comes first, its options behind it: millrace COMMAND -c ..."),
                                 (["check", "x.toml"], '"x.toml" is too much; the configuration is named by -c'),
                                 (["config", "inputs.seriel"], 'millrace config: there is no "inputs.seriel"; did you mean inputs.serial?')):
            wrong = subprocess.run([SAMPLED, *arguments], capture_output=True, text=True)
            self.assertEqual(wrong.returncode, 64, arguments)
            self.assertIn(words, wrong.stderr)

    def test_what_is_made_from_the_rows_of_commands_is_what_is_kept(self):
        for way, kept in (("--man", "packaging/man/commands.scd"), ("--completion", "packaging/millrace.bash-completion")):
            made = subprocess.run([BUILD / "millrace", "help", way], capture_output=True, text=True, check=True).stdout
            self.assertEqual(made, (ROOT / kept).read_text(), f"write it anew: millrace help {way} > {kept}")

    def test_documents_name_only_commands_and_options_that_there_are(self):
        overview = told("help")
        commands = [line.strip() for line in re.findall(r"(?m)^  ([a-z]+(?: [a-z]+)?)(?= |$)", overview)]
        firsts = {command.split()[0] for command in commands}
        for document in [ROOT / "README.md", *sorted((ROOT / "packaging" / "docs").glob("*.md"))]:
            for words in re.findall(r"`millrace ([a-z]+)", document.read_text()):
                self.assertIn(words, firsts, document)


class Working(Site):
    def check(self, config):
        return subprocess.run([SAMPLED, "check", "-c", config], capture_output=True, text=True)

    def test_check_finds_what_is_wrong_with_them(self):
        config = self.configure(CONFIG, tally=self.folder / "tally", more='[[inputs.sample]]\nname = "one"\nmod = "hasty"\nevery = "2h"\nword = ""\n')
        wrong = self.check(config)
        self.assertEqual(wrong.returncode, 78)
        line = config.read_text().splitlines().index('mod = "hasty"') + 1
        for words in (f'millrace.toml:{line}:1: [[inputs.sample]] "one": nothing is called "mod" here; did you mean "mood"?',
                      f'millrace.toml:{line + 1}:9: [[inputs.sample]] "one": "every" is 2h; it can be 10.0ms to 60.0min'.replace(".0ms", "ms"),
                      f'millrace.toml:{line + 2}:8: [[inputs.sample]] "one": a word has letters', 'the name "one" is taken already'):
            self.assertIn(words, wrong.stderr)
        serial = '[[inputs.serial]]\nname = "s"\ndevice = "/dev/ttyS9"\nframing = "sample"\nshout = true\n%s[[inputs.serial.routes]]\nformat = "plain"\nmetrics = { w = {} }\n'
        config = self.configure(CONFIG, tally=self.folder / "tally", more=serial % 'bcc = "xor"\n')
        wrong = self.check(config)
        line = config.read_text().splitlines().index('bcc = "xor"') + 1
        self.assertIn(f'millrace.toml:{line}:1: [[inputs.serial]] "s": "bcc" is of framing = "stx_etx"', wrong.stderr)
        config = self.configure(CONFIG, tally=self.folder / "tally", more=serial % "")
        words = subprocess.run([SAMPLED, "test", "-c", config, "--input", "s", "-"], input="12 no 13\n", capture_output=True, text=True)
        self.assertEqual(re.findall(r"(?m)^  s  w = (\d+) ", words.stdout), ["12", "13"], words.stdout + words.stderr)
        good = self.check(self.configure(CONFIG, tally=self.folder / "tally", more=""))
        self.assertEqual(good.returncode, 0, good.stderr)
        self.assertIn("1 inputs, 0 windows, 1 uplinks", good.stdout)

    def test_check_knows_the_forms_and_what_a_schema_registry_has_of_them(self):
        kafka = '[[uplinks.kafka]]\nname = "k"\nservers = ["127.0.0.1:1"]\nformat = "%s"\n%s'
        for form, more, words in (("sampel", "", 'it can be "record", "json", "batch", "sample"'),
                                  ("sample", 'schema_registry = "http://127.0.0.1:1"\n', 'format = "sample" has no schema there')):
            wrong = self.check(self.configure(CONFIG, tally=self.folder / "tally", more=kafka % (form, more)))
            self.assertEqual(wrong.returncode, 78, form)
            self.assertIn(words, wrong.stderr)
        good = self.check(self.configure(CONFIG, tally=self.folder / "tally", more=kafka % ("sample", "")))
        self.assertEqual(good.returncode, 0, good.stderr)

    HTTPS = '[[uplinks.https]]\nname = "h"\nservers = ["http://127.0.0.1:%s"]\ninitial_interval = "100ms"\n%s'

    def test_check_knows_the_keys_of_a_dialect_and_whose_they_are(self):
        for keys, words in (('dialect = "sampel"\n', 'it can be .*"sample"'), ('dialect = "sample"\nleger = "/x"\n', 'nothing is called "leger" here; did you mean "ledger"?'),
                            ('dialect = "sample"\nledger = "x"\n', "a ledger begins with /"), ('dialect = "sample"\nlines_max = 0\n', "it can be 1 to 1000"),
                            # A key that two of them include.
                            ('dialect = "generic"\ncredentials_file = "/x"\n', '"credentials_file" is of dialect = "kinesis"'),
                            ('dialect = "generic"\nlines_max = 3\n', '"lines_max" is of dialect = "sample"'), ('dialect = "sample"\nexpect = "x"\n', '"expect" is of dialect = "generic"'),
                            ('dialect = "generic"\nformat = "sample"\nwrap = "array"\n', 'a list is of format = "json"')):
            wrong = self.check(self.configure(CONFIG, tally=self.folder / "tally", more=self.HTTPS % (1, keys)))
            self.assertEqual(wrong.returncode, 78, keys)
            self.assertRegex(wrong.stderr, r"millrace\.toml:\d+:\d+: .*" + words.replace("?", r"\?"))
        for keys in ('dialect = "sample"\nlines_max = 7\n', 'dialect = "generic"\nformat = "sample"\n'):
            good = self.check(self.configure(CONFIG, tally=self.folder / "tally", more=self.HTTPS % (1, keys)))
            self.assertEqual(good.returncode, 0, good.stderr)

    def test_a_dialect_and_a_form_reach_a_server(self):
        heard = []

        class Server(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.answer(b"")

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                heard.append((self.path, self.headers["Content-Type"], body.splitlines()))
                # The first is not believed: it comes again.
                self.answer(b"noted %d" % (len(body.splitlines()) if len(heard) > 1 or self.path != "/book" else 0))

            do_HEAD = do_GET

            def answer(self, body):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        for keys, where, form, line in (('dialect = "sample"\nledger = "/book"\nlines_max = 3\n', "/book", "text/plain", r"gw/\d+/(\d+) one word 21.5"),
                                        ('dialect = "generic"\nformat = "sample"\npath = "/any"\n', "/any", "text/plain", r"gw (\d+) raw one word 21.5")):
            with self.subTest(keys):
                heard.clear()
                server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
                threading.Thread(target=server.serve_forever, daemon=True).start()
                self.addCleanup(server.server_close)
                self.addCleanup(server.shutdown)
                config = self.configure(CONFIG, tally=self.folder / "tally", more=self.HTTPS % (server.server_port, keys))
                gateway = Process([SAMPLED, "run", "-c", config], self.folder / "gateway.log")
                self.processes.append(gateway)
                wait_for(lambda: sum(len(lines) for _, _, lines in heard) > 12, "lines come")
                self.assertEqual(gateway.stop(), 0)
                self.assertEqual({(path, type_) for path, type_, _ in heard}, {(where, form)})
                numbers = [int(re.fullmatch(line, one).group(1)) for _, _, lines in heard for one in lines]
                self.assertTrue(set(range(min(numbers), max(numbers) + 1)) <= set(numbers), numbers)
                if where == "/book":
                    self.assertLessEqual(max(len(lines) for _, _, lines in heard), 3)
                    self.assertGreater(len(numbers), len(set(numbers)))
                self.afresh()

    def test_an_aggregate_goes_the_whole_way(self):
        window = '[[windows]]\nname = "short"\nsize = "1s"\nidle_close = "1s"\naggregates = [%s]\n'
        nobody = '[[uplinks.mqtt]]\nname = "nobody"\nservers = ["mqtt://127.0.0.1:1"]\n'
        for words, told in (('"sampel"', '"aggregates" has "sampel"; it can have'), ('"sample", "sum", "sample"', '"aggregates" has "sample" twice')):
            wrong = self.check(self.configure(CONFIG, tally=self.folder / "tally", more=window % words))
            self.assertEqual(wrong.returncode, 78, words)
            self.assertRegex(wrong.stderr, r"millrace\.toml:\d+:\d+: \[\[windows\]\] \"short\": " + told)
        config = self.configure(CONFIG.replace('name = "gw"', 'name = "gw"\nclock = "trust"'), tally=self.folder / "tally",
                                more=window % '"sample", "sum"' + nobody)
        self.assertRegex(self.check(config).stdout, r'Window "short" has room for about \d+ devices\' metrics, of 296 bytes each.*state_max = "\d+ KiB" keeps')
        gateway = Process([SAMPLED, "run", "-c", config], self.folder / "gateway.log")
        self.processes.append(gateway)
        wait_for(lambda: "is ready" in gateway.text(), "it has its log")  # before a command looks into it

        def windows():
            lines = subprocess.run([SAMPLED, "log", "cat", "--lane", "window", "-c", config], capture_output=True, text=True).stdout.splitlines()
            return [json.loads(line)["window"] for line in lines]
        wait_for(lambda: len(windows()) > 2, "windows are given")
        for one in windows():
            self.assertEqual((one["mean"], one["sum"], one["reach"], one["turns"]), (21.5, 21.5 * one["count"], 0, 0))
        self.assertEqual(gateway.stop(), 0)

    FORMAT = CONFIG.replace('format = "plain"', 'format = "sample"\n@keys@').replace("metrics = { word = {} }\n", "")

    def test_check_knows_the_keys_of_a_format_and_whose_they_are(self):
        for keys, words in (("word_max = 3", 'nothing is called "word_max" here; did you mean "words_max"?'), ("words_max = 0", "it can be 1 to 100000"),
                            ('word_separator = "ab"', "word_separator is one character"), ("stale = false", '"stale" is of format = "sparkplug"')):
            wrong = self.check(self.configure(self.FORMAT, tally=self.folder / "tally", more="", keys=keys))
            self.assertEqual(wrong.returncode, 78, keys)
            self.assertIn(words, wrong.stderr)
        unknown = self.check(self.configure(self.FORMAT.replace('"sample"\n', '"sampel"\n'), tally=self.folder / "tally", more="", keys=""))
        self.assertRegex(unknown.stderr, r'"format" .*sample')

    def test_what_a_format_remembers_outlives_kills_and_is_never_behind_its_readings(self):
        # An uplink that nobody answers: so that the log keeps them.
        nobody = '[[uplinks.mqtt]]\nname = "nobody"\nservers = ["mqtt://127.0.0.1:1"]\n[[uplinks.sample]]'
        config = self.configure(self.FORMAT.replace('word = "21.5"', 'word = "two words"').replace("[[uplinks.sample]]", nobody),
                                tally=self.folder / "tally", more="", keys='word_separator = " "')
        for _ in range(3):
            gateway = Process([SAMPLED, "run", "-c", config], self.folder / "gateway.log")
            self.processes.append(gateway)
            wait_for(lambda: self.metric("millrace_input_records_total") > 5, "words are counted")
            self.assertGreater(self.metric("millrace_format_memory", 'what="words"'), 10)
            time.sleep(0.3)
            gateway.stop(signal.SIGKILL)
        lines = subprocess.run([SAMPLED, "log", "cat", "--lane", "raw", "-c", config], capture_output=True, text=True, check=True).stdout.splitlines()
        counted = [json.loads(line)["value"] for line in lines]
        self.assertGreater(len(counted), 15)
        self.assertEqual(counted, list(range(2, 2 * len(counted) + 2, 2)))

    def test_readings_go_through_and_a_changed_key_starts_one_of_them_anew(self):
        tally = self.folder / "tally"
        config = self.configure(CONFIG, tally=tally, more="")
        gateway = Process([SAMPLED, "run", "-c", config], self.folder / "gateway.log")
        self.processes.append(gateway)
        wait_for(lambda: tally.exists() and int(tally.read_text() or 0) > 3, "rows are counted")
        before = self.metric("millrace_input_records_total")
        self.assertGreater(before, 3)
        config.write_text(config.read_text().replace('every = "20ms"', 'every = "30ms"'))
        changed = subprocess.run([SAMPLED, "reload", "-c", config], capture_output=True, text=True, check=True)
        self.assertIn("reload: 1 inputs and uplinks changed", gateway.text(), changed.stdout)
        wait_for(lambda: self.metric("millrace_input_records_total") > before + 3, "it reads on")
        self.assertEqual(gateway.stop(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
