#!/usr/bin/python3
"""Measures the budgets of Millrace, each beside a limit or peer in the same run.

usage: run.sh [--json FILE] [id ...]      ids: all of those in BUDGETS when none are named
       run.sh forms                       bytes a reading of the real series in all forms

Absolute times mean little on shared machines: look at CPU per reading and at the ratio to what stood beside it.
"""
import atexit
import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tty
from pathlib import Path

import paho.mqtt.client as paho
import zstandard

ROOT = Path(__file__).resolve().parent.parent.parent
os.environ.setdefault("MILLRACE_BUILD", str(ROOT / "build" / "release"))
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "packaging")]
import footprint
from https_bench import CORE, HttpsBench
from testsite import BUILD, MOSQUITTO, Process, Site, free_port, scenario, wait_for

BUDGETS = {  # id: (budget, unit)
    "mqtt_cpu": (0.6, "us/reading above the null subscriber"), "mqtt_to_far_cpu": (None, "us/reading above the null subscriber"),
    "bytes_real": (5.3, "bytes/reading"), "bytes_grid": (1.0, "bytes/reading"), "bytes_stamped": (3.3, "bytes/reading"),
    "encode_cpu": (60, "ns/reading"), "decode_cpu": (25, "ns/reading"),
    **{f"decode_{what}": (budget, "ns/reading") for what, budget in (("json", 250), ("json_named", 250), ("json_lenient", 300), ("cbor", 200), ("senml", 250),
                                                                     ("sparkplug", 200), ("csv", 150), ("influx", None), ("text", None), ("binary", None))},
    "rss_full_idle": (18, "MB"), "rss_full_load": (24, "MB"),
    "size_core": (4.0, "MB, stripped, amd64"), "rss_core_idle": (8, "MB"), "rss_core_load": (12, "MB"), "rss_core_bus": (12, "MB, one Modbus bus of 32 devices, polled for a minute"), "wakes_core": (3, "wake-ups/s"),
    "wakes_full": (8, "wake-ups/s"),
    "latency_p99": (0.25, "s"), "latency_alarm_p99": (0.03, "s"), "start_empty": (0.05, "s"),
    "log_cpu": (0.5, "us/reading"), "inbox_cpu": (100, "ns/payload"), "drain_depth": (1.2, "times, last tenth to first"),
    "window_cpu": (120, "ns/reading"), "window_bytes": (200, "bytes of state an open window"), "start_windows": (1, "s, 100,000 open windows"),
    "flash_endpoint": (60, "bytes/reading"), "flash_200ms": (60, "bytes/reading"), "flash_1s": (25, "bytes/reading"), "flash_unsent": (1, "bytes/reading"),
    "endpoint_cpu": (0.45, "us/reading"), "endpoint_rate": (2_500_000, "acknowledged/s, at least"), "endpoint_singles_cpu": (3.5, "us/reading"),
    "endpoint_idle_cpu": (3, "% of a core"), "endpoint_latency": (8, "ms, p99 at 20,000/s"), "endpoint_rss": (3, "KB an idle connection"),
    "endpoint_many_cpu": (10, "us/reading over 2,000 connections"),
    "serial_cpu": (2, "us/reading, lines at 115200 baud"),
    "modbus_cpu": (1.5, "times a bare libmodbus loop, a register over TCP"), "modbus_bus_use": (0.95, "of a bare libmodbus loop's polls on a line, at least"),
    "kafka_record_cpu": (0.8, "us/reading above librdkafka's loop"), "kafka_batch_cpu": (0.02, "us/reading"),
    "https_cpu": (0.05, "us/reading, columnar batches over TLS"), "influx_cpu": (None, "us/reading"), "clickhouse_cpu": (None, "us/reading"),
    "https_connections": (None, "readings/s by four connections to a server 50 ms away"), "https_handshake_bytes": (3.5, "KB, a full handshake"), "rss_core_https": (12, "MB at 5,000/s"),
    "rss_kafka": (8, "MB more than with an MQTT uplink"),
    "rss_backlog": (10, "% more with 1 GB"), "start_backlog": (0.5, "s"),
}
ENDPOINT = """
[gateway]
name = "gw"
clock = "trust"
runtime_dir = "@run@"
[log]
path = "@log@"
max_size = "4GiB"
[[inputs.mqtt_endpoint]]
name = "devices"
listen = "127.0.0.1:@port@"
anonymous = true
@input@
  [[inputs.mqtt_endpoint.routes]]
  topic = "plant/{line}/{device}/telemetry"
  time = "ts"
  metrics = { value = "value" }
[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://127.0.0.1:1"]
[observe]
listen = "127.0.0.1:@observe@"
"""
SERIAL = """
[gateway]
name = "gw"
runtime_dir = "@run@"
[log]
path = "@log@"
[[inputs.serial]]
name = "line"
device = "@tty@"
baud = 115200
[inputs.serial.route]
format = "plain"
metrics = { v = {} }
[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://127.0.0.1:1"]
[observe]
listen = "127.0.0.1:@observe@"
"""
MODBUS = """
[gateway]
name = "gw"
runtime_dir = "@run@"
[log]
path = "@log@"
[[inputs.modbus]]
name = "bus"
@line@
interval = "@interval@"
  [[inputs.modbus.maps]]
  name = "all"
  registers = [ @rows@ ]
@devices@
[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://127.0.0.1:1"]
[observe]
listen = "127.0.0.1:@observe@"
"""
KAFKA = ENDPOINT[:ENDPOINT.index("[[uplinks.mqtt]]")] + """
[[uplinks.kafka]]
name = "central"
servers = ["@central@"]
start = "oldest"
initial_interval = "50ms"
@uplink@
[observe]
listen = "127.0.0.1:@observe@"
"""
LOG_BENCH = [str(BUILD / "tests" / "log_bench")]
SERIES = str(ROOT / "sim" / "data")
READINGS = 200_000


def cpu_of(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_of(pid):
    return next(int(line.split()[1]) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")) / 1000


class Bench(HttpsBench, Site):
    cpu_of, rss_of = staticmethod(cpu_of), staticmethod(rss_of)

    def runTest(self):
        pass

    def forget_state(self):
        """The next run begins with an empty log and inbox."""
        subprocess.run(["rm", "-rf", str(self.folder / "log"), *map(str, self.run_folder.iterdir())])

    def source(self):
        process = subprocess.Popen([str(BUILD / "tests" / "broker_source"), str(READINGS), "500"], stdout=subprocess.PIPE, text=True)
        self.sources.append(process)
        return process, int(process.stdout.readline())

    def null_cpu(self):
        source, port = self.source()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subscriber = subprocess.Popen([str(BUILD / "tests" / "null_subscriber"), str(port), str(READINGS)])
        seconds = float(source.stdout.readline())
        _, _, usage = os.wait4(subscriber.pid, 0)
        source.wait(10)
        return (usage.ru_utime + usage.ru_stime) / READINGS * 1e6, seconds

    def gateway_cpu(self, central):
        """CPU per reading from the source to committed, and (with a central side) acknowledged there."""
        source, port = self.source()
        self.observe = None
        gateway = self.gateway(self.config(port, central, logmore=""))
        seconds = float(source.stdout.readline())
        wait_for(lambda: self.metric("millrace_log_records_total") >= READINGS, "everything is in the log", 60)
        if central != 1:
            wait_for(lambda: self.metric("millrace_uplink_records_total") >= READINGS, "everything is at the far side", 60)
        cpu = cpu_of(gateway.process.pid)
        source.kill()
        source.wait()
        gateway.stop(signal.SIGKILL)
        self.forget_state()
        return cpu / READINGS * 1e6, seconds

    def mqtt(self, to_far):
        runs = []
        for _ in range(3):
            null, _ = self.null_cpu()
            central = self.broker().port if to_far else 1
            ours, _ = self.gateway_cpu(central)
            runs.append((ours - null, null))
        value, beside = sorted(runs)[1]
        return value, "null Paho subscriber, us/message", beside, 3

    def mqtt_cpu(self):
        return self.mqtt(False)

    def mqtt_to_far_cpu(self):
        return self.mqtt(True)

    RESULTS = {}  # of a program that measures several: a run each

    def codec(self, name):
        program = "decode_bench" if name.startswith("decode_") and name != "decode_cpu" else "codec_bench"
        if program not in Bench.RESULTS:
            lines = [subprocess.run([str(BUILD / "tests" / program), *([str(ROOT / "sim" / "data")] if program == "codec_bench" else [])], capture_output=True, text=True,
                                    check=True).stdout for _ in range(3)]
            Bench.RESULTS[program] = [{r["id"]: r for r in map(json.loads, text.splitlines())} for text in lines]
        runs = [r[name] for r in Bench.RESULTS[program]]
        middle = sorted(runs, key=lambda r: r["value"])[1]
        return middle["value"], middle["beside"], middle["beside_value"], 3

    def rss(self, rate):
        values, peers = [], []
        for _ in range(3):
            devices, central = self.broker(), self.broker()
            self.observe = None
            gateway = self.gateway(self.config(devices.port, central.port))
            wait_for(lambda: self.metric("millrace_uplink_up") == 1 and self.metric("millrace_input_up") == 1, "up")
            if rate:
                account = self.sim(scenario(devices.port, f'server = "mqtt://127.0.0.1:{central.port}"', devices=200, rate=rate, duration="8s"))
                if account["lost"]:
                    raise AssertionError(account)
            else:
                time.sleep(1)
            values.append(rss_of(gateway.process.pid))
            peers.append(rss_of(devices.process.pid))
            gateway.stop()
            devices.stop(), central.stop()
            self.forget_state()
        return statistics.median(values), "mosquitto for the devices, same load, MB", statistics.median(peers), 3

    def rss_full_idle(self):
        return self.rss(0)

    def rss_full_load(self):
        return self.rss(5000)

    # ---- size and cost of the profiles, by the script that users have for it
    def footprint(self, profile, figure, rate=1000):
        """The medians of a figure for a profile and for mosquitto, under the same load."""
        binary = CORE if profile == "core" else BUILD / "millrace"
        runs = [(footprint.millrace(str(binary), rate, 10), footprint.mosquitto(MOSQUITTO, rate, 10)) for _ in range(3)]
        return statistics.median(ours[figure] for ours, _ in runs), statistics.median(peer[figure] for _, peer in runs)

    def size_core(self):
        size = footprint.stripped_size(str(CORE)) / 1e6
        for row in footprint.packages(ROOT / "build" / "deb"):
            if row["package"] in ("millrace", "millrace-full"):
                print(f"   {row['package']}, {row['architecture']}: binary {row['binary_bytes'] / 1e6:.2f} MB, package {row['package_bytes'] / 1e6:.2f} MB", flush=True)
        return size, "mosquitto, MB (its libraries are shared)", footprint.stripped_size(MOSQUITTO) / 1e6, 1

    def rss_core_idle(self):
        ours, peer = self.footprint("core", "rss_idle_kb")
        return ours / 1000, "mosquitto, MB", peer / 1000, 3

    def rss_core_load(self):
        ours, peer = self.footprint("core", "rss_load_kb", 5000)
        return ours / 1000, "mosquitto, same load, MB", peer / 1000, 3

    def wakes_core(self):
        ours, peer = self.footprint("core", "wakes_per_second")
        return ours, "mosquitto, wake-ups/s", peer, 3

    def wakes_full(self):
        ours, peer = self.footprint("full", "wakes_per_second")
        return ours, "mosquitto, wake-ups/s", peer, 3

    def latency_p99(self):
        ours, peers = [], []
        for _ in range(3):
            devices, central = self.broker(), self.broker()
            self.observe = None
            gateway = self.gateway(self.config(devices.port, central.port))
            wait_for(lambda: self.metric("millrace_uplink_up") == 1 and self.metric("millrace_input_up") == 1, "up")
            account = self.sim(scenario(devices.port, f'server = "mqtt://127.0.0.1:{central.port}"', devices=200, rate=1000, duration="10s"))
            ours.append(account["live_p99_s"])
            gateway.stop()
            devices.stop(), central.stop()
            self.forget_state()
            begin = time.monotonic()
            probe = self.broker()
            for _ in range(20):
                self.publish(probe.port, "x", "1")
            peers.append((time.monotonic() - begin) / 20)
            probe.stop()
        return statistics.median(ours), "one mosquitto_pub at QoS 1 from start to end, s", statistics.median(peers), 3

    def latency_alarm_p99(self):
        """A device connects every 250 ms (ten alarms a second are no storm) beside 1,000 readings a second: until the event is at the central broker. Beside it: until one hears
        another's message through a broker that takes the same load."""
        return self.alarm_p99(True), "broker alone, s", self.alarm_p99(False), 3

    def alarm_p99(self, ours):
        runs = []
        for _ in range(3):
            central, port = self.broker(), free_port()
            if ours:
                self.observe = None
                config = self.configure(ENDPOINT.replace("mqtt://127.0.0.1:1", f"mqtt://127.0.0.1:{central.port}"), port=port, input="connect_rate = 100")
                server = self.gateway(config)
                wait_for(lambda: self.metric("millrace_uplink_up") == 1, "up")
            else:
                server = self.broker(port)
            load = Process([str(BUILD / "tests" / "pipelined_publisher"), str(port), "--connections", "10", "--rate", "1000", "--count", "28000"], self.folder / "load.log")
            self.processes.append(load)
            runs.append(self.alarms(port, central.port if ours else port))
            load.stop()
            server.stop()
            central.stop()
            self.forget_state()
        return statistics.median(runs)

    def alarms(self, port, far, count=100):
        sent, times = {}, []

        def on_message(client, user, message):
            plain, frame, rest = message.payload.partition(b"\x28\xb5\x2f\xfd")  # of zstd
            if frame:
                plain = zstandard.ZstdDecompressor().decompressobj().decompress(frame + rest)
            for name in re.findall(rb"probe-\d+-end", plain):
                if name in sent:
                    times.append(time.monotonic() - sent.pop(name))
        heard = paho.Client(protocol=paho.MQTTv5)
        heard.on_message = on_message
        heard.connect("127.0.0.1", far)
        heard.subscribe("#", qos=1)
        heard.loop_start()
        time.sleep(1)
        probes = []
        for number in range(count):
            name = f"probe-{number}-end"
            probe = paho.Client(client_id=name, protocol=paho.MQTTv5)
            sent[name.encode()] = time.monotonic()
            probe.connect("127.0.0.1", port)
            if port == far:
                probe.publish("alarms", name, qos=1)
            probe.loop_start()
            probes.append(probe)
            time.sleep(0.25)
        wait_for(lambda: len(times) == count, f"{count} alarms arrive", 20)
        for probe in probes:
            probe.disconnect()
            probe.loop_stop()
        heard.loop_stop()
        return statistics.quantiles(times, n=100)[-1]

    # ---- the endpoint, beside mosquitto with persistence taking the same load
    def at_endpoint(self, arguments, input="", port=None):
        """(CPU seconds of the server, what the publisher says, resident KB before and after)."""
        if port is None:
            port = free_port()
            self.observe = None
            self.configure(ENDPOINT, port=port, input=input)
            server = self.gateway(self.folder / "millrace.toml")
            wait_for(lambda: self.metric("millrace_input_up") == 1, "the endpoint listens")
        else:
            server = self.broker(port, extra="autosave_interval 1\n")
        before, rss = cpu_of(server.process.pid), rss_of(server.process.pid)
        publisher = Process([str(BUILD / "tests" / "pipelined_publisher"), str(port), *map(str, arguments)], self.folder / "publisher.log")
        if "--idle" in arguments:
            wait_for(lambda: "connected" in publisher.text(), "all are connected", 60)
            time.sleep(2)
            answer = None
        else:
            publisher.process.wait(300)
            answer = json.loads(publisher.text().splitlines()[-1])
        used, rss_after = cpu_of(server.process.pid) - before, rss_of(server.process.pid)
        publisher.stop()
        publisher.log.unlink()
        server.stop(signal.SIGKILL)
        self.forget_state()
        return used, answer, (rss_after - rss) * 1000

    def endpoint(self, arguments, figure, input=""):
        """The medians of `figure(cpu seconds, answer, KB)` for us and for mosquitto."""
        ours = [figure(*self.at_endpoint(arguments, input)) for _ in range(3)]
        peers = [figure(*self.at_endpoint(arguments, port=free_port())) for _ in range(3)]
        return statistics.median(ours), statistics.median(peers)

    def endpoint_cpu(self):
        value, peer = self.endpoint(["--window", 1000, "--count", 1_000_000], lambda cpu, a, _: cpu / a["acknowledged"] * 1e6)
        return value, "mosquitto with persistence, us/message", peer, 3

    def endpoint_rate(self):
        value, peer = self.endpoint(["--window", 1000, "--connections", 10, "--count", 2_000_000], lambda cpu, a, _: a["acknowledged"] / a["seconds"])
        return value, "mosquitto with persistence, acknowledged/s", peer, 3

    def endpoint_singles_cpu(self):
        value, peer = self.endpoint(["--window", 100, "--connections", 200, "--rate", 100_000, "--count", 500_000], lambda cpu, a, _: cpu / a["acknowledged"] * 1e6)
        return value, "mosquitto with persistence, us/message", peer, 3

    def endpoint_many_cpu(self):
        value, peer = self.endpoint(["--window", 10, "--connections", 2000, "--rate", 20_000, "--count", 100_000], lambda cpu, a, _: cpu / a["acknowledged"] * 1e6, "connect_rate = 2000")
        return value, "mosquitto with persistence, us/message", peer, 3

    def endpoint_idle_cpu(self):
        value, peer = self.endpoint(["--connections", 10, "--rate", 1000, "--count", 10_000], lambda cpu, a, _: cpu / a["seconds"] * 100, 'ack_interval = "20ms"')
        return value, "mosquitto with persistence, % of a core", peer, 3

    def endpoint_latency(self):
        for rate in (1000, 20_000):
            value, peer = self.endpoint(["--connections", 10, "--rate", rate, "--count", 5 * rate], lambda cpu, a, _: a["p99_ms"], 'ack_interval = "20ms"')
            print(f"   p99 at {rate}/s: {value:.2f} ms, mosquitto {peer:.2f} ms", flush=True)
        return value, "mosquitto with persistence, ms", peer, 3

    def endpoint_rss(self):
        value, peer = self.endpoint(["--connections", 2000, "--idle"], lambda cpu, a, kb: kb / 2000, "connect_rate = 2000\nliveness = false")
        return value, "mosquitto, KB an idle connection", peer, 3

    # ---- serial lines
    def serial_run(self, start, seconds=15):
        """Lines as a line at 115200 baud brings them (11,520 bytes a second), on a pty: CPU microseconds a line of who reads them."""
        far, near = os.openpty()
        tty.setraw(near)
        pid = start(os.ttyname(near))

        def run_time():
            return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1000
        wait_for(lambda: any(os.path.realpath(fd) == os.ttyname(near) for fd in Path(f"/proc/{pid}/fd").iterdir()), "the port is open")
        lines, before, begin = 0, run_time(), time.monotonic()
        while time.monotonic() - begin < seconds:
            os.write(far, b"".join(b"%.3f\r\n" % (20 + (lines + i) % 1000 / 100) for i in range(13)))  # 8 bytes each
            lines += 13
            time.sleep(max(0, lines * 8 / 11520 - (time.monotonic() - begin)))
        used = (run_time() - before) / lines
        os.close(far)
        os.close(near)
        return used, lines

    def serial_cpu(self):
        def gateway(name):
            self.observe = None
            return self.gateway(self.configure(SERIAL, tty=name)).process.pid

        def cat(name):
            process = subprocess.Popen(["cat", name], stdout=subprocess.DEVNULL)
            self.sources.append(process)
            return process.pid
        ours, lines = self.serial_run(gateway)
        taken = self.metric("millrace_serial_lines_total")
        if taken < 0.99 * lines:  # the last ones go with the port
            raise RuntimeError(f"{taken:.0f} of {lines} lines were taken")
        peer, _ = self.serial_run(cat)
        return ours, f"cat, us/line ({lines} lines)", peer, 1

    # ---- Modbus
    def modbus_bus(self, line, interval, registers, devices, program=BUILD / "millrace"):
        """A gateway that polls so many devices of one bus."""
        rows = ", ".join(f'{{ name = "r{i}", address = {i} }}' for i in range(registers))
        units = "\n".join(f'[[inputs.modbus.devices]]\nname = "d{unit}"\nunit = {unit}\nmap = "all"' for unit in range(1, devices + 1))
        self.observe = None
        return self.gateway(self.configure(MODBUS, line=line, interval=interval, rows=rows, devices=units), program=program)

    def modbus_gateway(self, line, interval, registers, devices=1, seconds=10):
        """Polls in so many seconds, and CPU microseconds a register; what was answered is in the log."""
        gateway = self.modbus_bus(line, interval, registers, devices)
        wait_for(lambda: self.metric("millrace_modbus_polls_total") > 10, "it is polled")

        def run_time():
            return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{gateway.process.pid}/task").iterdir()) / 1000
        read = self.metric("millrace_admitted_records_total")
        polls, before, begin = self.metric("millrace_modbus_polls_total"), run_time(), time.monotonic()
        time.sleep(seconds)
        used, polls = run_time() - before, self.metric("millrace_modbus_polls_total") - polls
        took = time.monotonic() - begin
        read = self.metric("millrace_admitted_records_total") - read
        if read < 0.95 * polls * registers:
            raise RuntimeError(f"{polls:.0f} polls of {registers} registers, and {read:.0f} readings")
        gateway.stop()
        self.forget_state()
        return polls / took * seconds, used / polls / registers

    def modbus_slave(self, *arguments):
        slave = subprocess.Popen([str(BUILD / "tests" / "modbus_slave"), *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.sources.append(slave)
        slave.stdout.readline()

    def modbus_loop(self, *arguments):
        out = subprocess.run([str(BUILD / "tests" / "modbus_loop"), *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        return int(out[0]), float(out[1])

    def modbus_cpu(self):
        """A hundred polls a second, of ten devices each 100 ms; of one each 10 ms, whose values are decoded one by one as they come, they are shown."""
        port, registers = free_port(), 100
        line = f'mode = "tcp"\nserver = "127.0.0.1:{port}"'
        self.modbus_slave("tcp", port)
        print(f"   one device each 10 ms: {self.modbus_gateway(line, '10ms', registers)[1]:.3f} us/register", flush=True)
        ours, peers = [], []
        for _ in range(3):
            ours.append(self.modbus_gateway(line, "100ms", registers, devices=10)[1])
            peers.append(self.modbus_loop("tcp", port, registers, 10, 10)[1])
        a, b = sorted(ours)[1], sorted(peers)[1]
        return a / b, f"libmodbus loop, us/register (ours {a:.3f}; decoded and committed)", b, 3

    def modbus_bus_use(self):
        """A pty has no speed: the slave answers after the 20 ms that a question and 100 registers take at 115200 baud, and each asks again as soon as
        it may: after the 1.75 ms between frames that the standard asks for (MODBUS over Serial Line V1.02, 2.5.1.1)."""
        far, near = self.folder / "far", self.folder / "near"
        self.processes.append(Process(["socat", f"pty,raw,echo=0,link={far}", f"pty,raw,echo=0,link={near}"], self.folder / "socat.log"))
        wait_for(lambda: far.exists() and near.exists(), "the line is there")
        self.modbus_slave("rtu", far, "slow=1:20")
        ours, peers = [], []
        for _ in range(3):
            ours.append(self.modbus_gateway(f'device = "{near}"\nbaud = 115200\nparity = "none"', "10ms", 100)[0])
            peers.append(self.modbus_loop("rtu", near, 115200, 100, 0, 10, 1.75)[0])
        return sorted(ours)[1] / sorted(peers)[1], "libmodbus loop, polls in 10 s", sorted(peers)[1], 3

    def rss_core_bus(self):
        """Ten registers of 32 devices each second, over TCP; beside it the same program with one device."""
        ours, peers = [], []
        port = free_port()
        self.modbus_slave("tcp", port)
        for _ in range(3):
            for devices, into in ((32, ours), (1, peers)):
                gateway = self.modbus_bus(f'mode = "tcp"\nserver = "127.0.0.1:{port}"', "1s", 10, devices, CORE)
                time.sleep(60)
                if self.metric("millrace_admitted_records_total") < 50 * 10 * devices:
                    raise RuntimeError("the bus was not polled each second")
                into.append(rss_of(gateway.process.pid))
                gateway.stop()
                self.forget_state()
        return statistics.median(ours), "one device, MB", statistics.median(peers), 3

    # ---- Kafka
    def kafka_drain(self, server, form, readings):
        """CPU seconds and seconds from the log to acknowledged by a real broker, for readings of 10 devices."""
        self.observe = None
        port = free_port()
        self.configure(KAFKA, port=port, input="liveness = false", central="127.0.0.1:1", uplink=form)
        gateway = self.gateway(self.folder / "millrace.toml")
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the endpoint listens")
        subprocess.run([str(BUILD / "tests" / "pipelined_publisher"), str(port), "--connections", "10", "--window", "500", "--count", str(readings)], check=True,
                       capture_output=True)
        gateway.stop()
        self.configure(KAFKA, port=port, input="liveness = false", central=server, uplink=form)
        begin = time.monotonic()
        gateway = self.gateway(self.folder / "millrace.toml")
        wait_for(lambda: self.metric("millrace_uplink_records_total") >= readings and self.metric("millrace_uplink_backlog_records") == 0, "all is delivered", 120)
        used, seconds = cpu_of(gateway.process.pid), time.monotonic() - begin
        gateway.stop(signal.SIGKILL)
        self.forget_state()
        return used, seconds

    def kafka(self, form, readings):
        sys.path.insert(0, str(ROOT / "tests" / "support"))
        import kafka
        if why := kafka.missing():
            raise RuntimeError(why)
        broker = kafka.Kafka(self.folder / "kafka")
        runs = []
        try:
            for n, compression in enumerate(["zstd", "zstd", "zstd", "lz4", "none"]):
                topic, copy = f"from-{form}-{n}", f"to-{form}-{n}"
                broker.topic(topic), broker.topic(copy)
                used, seconds = self.kafka_drain(broker.server, f'format = "{form}"\ntopic = "{topic}"\ncompression = "{compression}"', readings)
                loop = json.loads(subprocess.run([str(BUILD / "tests" / "produce_loop"), broker.server, topic, copy, compression], check=True, capture_output=True,
                                                 text=True).stdout)
                stored = sum(f.stat().st_size for f in (self.folder / "kafka" / "logs" / f"{topic}-0").glob("*.log"))
                print(f"   {form}, {compression}: {used / readings * 1e6:.3f} us/reading, {readings / seconds:.0f} readings/s, {stored / readings:.2f} bytes/reading as "
                      f"sent; librdkafka's loop with the same keys and values: {loop['messages']} messages of {loop['bytes'] / loop['messages']:.0f} bytes, "
                      f"{loop['cpu_seconds'] / readings * 1e6:.3f} us/reading", flush=True)
                if compression == "zstd":
                    runs.append((used / readings * 1e6, loop["cpu_seconds"] / readings * 1e6))
        finally:
            broker.stop(signal.SIGKILL)
        return statistics.median(run[0] for run in runs), statistics.median(run[1] for run in runs), statistics.median(run[0] - run[1] for run in runs)

    def rss_kafka(self):
        sys.path.insert(0, str(ROOT / "tests" / "support"))
        import kafka
        if why := kafka.missing():
            raise RuntimeError(why)
        broker = kafka.Kafka(self.folder / "kafka")
        more, plain = [], []
        try:
            broker.topic("millrace.raw")
            for _ in range(3):
                resident = {}
                for kind in ("mqtt", "kafka"):
                    port, central = free_port(), self.broker() if kind == "mqtt" else None
                    self.observe = None
                    config = ENDPOINT.replace("mqtt://127.0.0.1:1", f"mqtt://127.0.0.1:{central.port}") if central else KAFKA
                    self.configure(config, port=port, input="liveness = false", central=broker.server, uplink="")
                    gateway = self.gateway(self.folder / "millrace.toml")
                    wait_for(lambda: self.metric("millrace_uplink_up") == 1, "connected", 60)
                    subprocess.run([str(BUILD / "tests" / "pipelined_publisher"), str(port), "--connections", "10", "--rate", "5000", "--count", "50000"], check=True,
                                   capture_output=True)
                    wait_for(lambda: self.metric("millrace_uplink_backlog_records") == 0, "all is delivered")
                    resident[kind] = rss_of(gateway.process.pid)
                    gateway.stop(signal.SIGKILL)
                    if central:
                        central.stop()
                    self.forget_state()
                more.append(resident["kafka"] - resident["mqtt"])
                plain.append(resident["mqtt"])
        finally:
            broker.stop(signal.SIGKILL)
        return statistics.median(more), "the same load with an MQTT uplink, MB", statistics.median(plain), 3

    def kafka_record_cpu(self):
        _, loop, above = self.kafka("record", 500_000)
        return above, "rd_kafka_produce loop, same messages, us/message", loop, 3

    def kafka_batch_cpu(self):
        ours, loop, _ = self.kafka("batch", 2_000_000)
        return ours, "rd_kafka_produce loop, same messages, us/reading", loop, 3

    # ---- the log
    def log_program(self, *arguments):
        runs = []
        for _ in range(3):
            folder = self.folder / "log-bench"
            folder.mkdir()
            words = [w if w != "FOLDER" else str(folder) for w in arguments]
            runs.append(json.loads(subprocess.run([*LOG_BENCH, *words], capture_output=True, text=True, check=True).stdout.splitlines()[-1]))
            shutil.rmtree(folder)
        return sorted(runs, key=lambda r: r["value"])[1]

    def log_cpu(self):
        run = self.log_program("cpu", "FOLDER", SERIES)
        return run["value"], run["beside"], run["beside_value"], 3

    def inbox_cpu(self):
        run = self.log_program("inbox")
        return run["value"], run["beside"], run["beside_value"], 3

    def window_cpu(self):
        return self.windows(0)

    def window_bytes(self):
        return self.windows(1)

    def windows(self, line):
        runs = [json.loads(subprocess.run([*LOG_BENCH, "windows"], capture_output=True, text=True, check=True).stdout.splitlines()[line]) for _ in range(3)]
        run = sorted(runs, key=lambda r: r["value"])[1]
        return run["value"], run["beside"], run["beside_value"], 3

    def start_windows(self):
        """From exec to ready behind a kill, with a window open for each of 100,000 keys; and with an empty log."""
        port = free_port()
        self.observe = None
        config = self.configure(ENDPOINT.replace('  time = "ts"\n  metrics = { value = "value" }\n', "")
                                .replace("[observe]", '[[windows]]\nname = "hour"\nsize = "1h"\nkeys_max = 200_000\nstate_max = "64MiB"\n[observe]'), port=port, input="")
        process = self.gateway(config)
        device = paho.Client(protocol=paho.MQTTv5)
        device.connect("127.0.0.1", port)
        device.loop_start()
        for number in range(1000):
            payload = json.dumps({f"m{i}": i for i in range(100)})
            device.publish(f"plant/l/d{number}/telemetry", payload, qos=1).wait_for_publish(20)
        device.loop_stop()
        wait_for(lambda: self.metric("millrace_window_keys") == 100_000, "all are open")
        times, empty = [], []
        for _ in range(3):
            process.stop(signal.SIGKILL)
            (self.folder / "gateway.log").unlink()
            begin = time.monotonic()
            process = self.gateway(config, wait=False)
            wait_for(lambda: "is ready" in process.text(), "ready", 60)
            times.append(time.monotonic() - begin)
            wait_for(lambda: self.metric("millrace_window_keys") == 100_000, "all are open again")
        process.stop(signal.SIGKILL)
        for _ in range(3):
            self.forget_state()
            (self.folder / "gateway.log").unlink()
            begin = time.monotonic()
            process = self.gateway(config, wait=False)
            wait_for(lambda: "is ready" in process.text(), "ready")
            empty.append(time.monotonic() - begin)
            process.stop(signal.SIGKILL)
        return statistics.median(times), "an empty log, s", statistics.median(empty), 3

    def drain_depth(self):
        run = self.log_program("drain", "FOLDER", SERIES, "10")
        return run["beside_value"] / run["value"], "10 million readings: the first tenth, us/reading", run["value"], 3

    def at_device(self, write):
        """Bytes a reading that reach the block device under a file system of its own, by the kernel's count, of what `write` writes there."""
        image, mount = self.folder / "disk.img", self.folder / "disk"
        mount.mkdir(exist_ok=True)
        with open(image, "wb") as file:
            file.truncate(1 << 30)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
        try:
            device = subprocess.run(["findmnt", "-no", "SOURCE", str(mount)], capture_output=True, text=True, check=True).stdout.strip()
            stat = Path("/sys/block") / Path(device).name / "stat"
            subprocess.run(["sync", "-f", str(mount)], check=True)
            before = int(stat.read_text().split()[6])
            readings = write(mount)
            subprocess.run(["sync", "-f", str(mount)], check=True)
            return (int(stat.read_text().split()[6]) - before) * 512 / readings
        finally:
            subprocess.run(["umount", str(mount)], check=True)

    def flash_program(self, interval, kind):
        return lambda mount: int(subprocess.run([*LOG_BENCH, "flash", str(mount), SERIES, str(interval), kind], capture_output=True, text=True, check=True).stdout)

    def beside_append(self, write, interval):
        ours = statistics.median(self.at_device(write) for _ in range(3))
        plain = statistics.median(self.at_device(self.flash_program(interval, "append")) for _ in range(3))
        return ours, "append file with the same cadence, bytes/reading", plain, 3

    def flash(self, interval, kind):
        return self.beside_append(self.flash_program(interval, kind), interval)

    def flash_endpoint(self):
        def write(mount):
            port, count = free_port(), 60_000
            self.observe = None
            config = self.configure(ENDPOINT.replace("@log@", f"{mount}/log"), port=port, input='ack_interval = "50ms"')
            server = self.gateway(config)
            wait_for(lambda: self.metric("millrace_input_up") == 1, "the endpoint listens")
            subprocess.run([str(BUILD / "tests" / "pipelined_publisher"), str(port), "--connections", "10", "--rate", "1000", "--count", str(count)],
                           capture_output=True, check=True, timeout=300)
            server.stop()
            self.forget_state()
            return count
        return self.beside_append(write, 50)

    def flash_200ms(self):
        return self.flash(200, "log")

    def flash_1s(self):
        return self.flash(1000, "log")

    def flash_unsent(self):
        return self.flash(1000, "unsent")

    def big_log(self):
        if not hasattr(Bench, "backlog"):
            Bench.backlog = Path(tempfile.mkdtemp(prefix="millrace-backlog-"))
            atexit.register(shutil.rmtree, Bench.backlog, True)
            subprocess.run([*LOG_BENCH, "fill", str(Bench.backlog), "1"], check=True, capture_output=True)
        return Bench.backlog

    def with_log(self, log, central):
        self.observe = None
        config = self.config(1, central, logmore='max_size = "4GiB"')
        if log:
            config.write_text(config.read_text().replace(f'path = "{self.folder}/log"', f'path = "{log}"'))
        begin = time.monotonic()
        process = self.gateway(config, wait=False)
        wait_for(lambda: "is ready" in process.text(), "ready")
        return process, time.monotonic() - begin

    def start_backlog(self):
        ours, empty = [], []
        for _ in range(3):
            for log, times in ((self.big_log(), ours), (None, empty)):
                process, seconds = self.with_log(log, 1)
                times.append(seconds)
                process.stop(signal.SIGKILL)
                (self.folder / "gateway.log").unlink()
        return statistics.median(ours), "an empty log, s", statistics.median(empty), 3

    def rss_with(self, log, draining):
        central = self.broker() if draining else None
        copy = self.folder / "copy"
        if log:
            subprocess.run(["cp", "-r", str(log), str(copy)], check=True)
        process, _ = self.with_log(copy if log else None, central.port if central else 1)
        if draining:
            wait_for(lambda: self.metric("millrace_uplink_records_total") > 1e5, "it drains", 60)
        seen = []
        while len(seen) < 30 and (not draining or self.metric("millrace_uplink_backlog_records") > 0):
            seen.append(rss_of(process.process.pid))
            time.sleep(0.05)
        if len(seen) < 5:
            raise AssertionError("drained before it was measured")
        process.stop(signal.SIGKILL)
        if central:
            central.stop()
        shutil.rmtree(copy, ignore_errors=True)
        self.forget_state()
        (self.folder / "gateway.log").unlink()
        return max(seen)

    def rss_backlog(self):
        """At rest beside an empty log, and draining beside a backlog of a third: what a batch in flight takes is not the backlog's."""
        growth, base = [], []
        for _ in range(3):
            small = self.folder / "small"
            small.mkdir(exist_ok=True)
            if not any(small.iterdir()):
                subprocess.run([*LOG_BENCH, "fill", str(small), "0.3"], check=True, capture_output=True)
            base.append(self.rss_with(None, False))
            rest = self.rss_with(self.big_log(), False) / base[-1]
            drains = self.rss_with(self.big_log(), True), self.rss_with(small, True)
            print(f"   at rest {rest * base[-1]:.2f} beside {base[-1]:.2f} MB, draining 1 GB {drains[0]:.2f}, draining 0.3 GB {drains[1]:.2f} MB", flush=True)
            growth.append((max(rest, drains[0] / drains[1]) - 1) * 100)
        return statistics.median(growth), "at rest without a backlog, MB", statistics.median(base), 3

    def start_empty(self):
        ours, peers = [], []
        for _ in range(5):
            self.observe = None
            config = self.config(1, 1)
            begin = time.monotonic()
            process = Process([str(BUILD / "millrace"), "run", "-c", str(config)], self.folder / "start.log")
            wait_for(lambda: "is ready" in process.text(), "ready")
            ours.append(time.monotonic() - begin)
            process.stop()
            subprocess.run(["rm", "-rf", str(self.folder / "log"), str(self.folder / "start.log"), *map(str, self.run_folder.iterdir())])
            begin = time.monotonic()
            self.broker().stop()
            peers.append(time.monotonic() - begin)
        return statistics.median(ours), "mosquitto to listening and stopped, s", statistics.median(peers), 5


def main(arguments):
    out, ids = None, []
    arguments = iter(arguments)
    for argument in arguments:
        if argument == "--json":
            out = next(arguments)
        elif argument == "forms":
            return subprocess.run([str(BUILD / "tests" / "codec_bench"), str(ROOT / "sim" / "data"), "forms"]).returncode
        elif argument in BUDGETS:
            ids.append(argument)
        else:
            print(f"there is no bench called {argument}; there are: {' '.join(BUDGETS)}", file=sys.stderr)
            return 64
    results = []
    for name in ids or BUDGETS:
        budget, unit = BUDGETS[name]
        bench = Bench()
        bench._outcome = type("Outcome", (), {"result": None})()
        bench.setUp()
        bench.sources = []
        try:
            measure = getattr(bench, name, None)
            value, beside, beside_value, runs = measure() if measure else bench.codec(name)
        finally:
            bench.tearDown()
            for process in bench.sources:
                process.kill()
                process.wait()
        met = None if budget is None else value >= budget if "at least" in unit else value <= budget
        results.append({"id": name, "value": round(value, 4), "unit": unit, "budget": budget, "met": met, "beside": beside, "beside_value": round(beside_value, 4), "runs": runs})
        verdict = "" if met is None else "met" if met else "NOT MET"
        print(f"{name:16} {value:9.3f} {unit:38} budget {budget if budget is not None else '-':>5} {verdict:8} beside {beside}: {beside_value:.3f}", flush=True)
    if out:
        Path(out).write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
