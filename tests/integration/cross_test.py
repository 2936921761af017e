#!/usr/bin/python3
"""The daemons of the ARM packages under qemu-user: devices publish to the endpoint, a meter talks on a serial port, the central broker goes away and
comes back, the daemon is killed, and every reading arrives. packaging/build-arm.sh builds what runs here."""
import os
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
import read_batch
from testsite import BUILD, ROOT, Process, Site, free_port, wait_for

CONFIG = """
[gateway]
name = "gw"
runtime_dir = "@run@"
[log]
path = "@log@"
commit_interval = "200ms"
[[inputs.mqtt_endpoint]]
name = "devices"
listen = "127.0.0.1:@port@"
anonymous = true
liveness = false
  [[inputs.mqtt_endpoint.routes]]
  topic = "plant/{line}/{device}/telemetry"
  time = "ts"
  metrics = { value = "value" }
[[inputs.serial]]
name = "meter"
device = "@serial@"
baud = 115200
reopen_min = "100ms"
  [inputs.serial.route]
  format = "plain"
  device = "meter"
  metrics = { value = {} }
[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://127.0.0.1:@central@"]
version = "3.1.1"
initial_interval = "100ms"
max_interval = "1s"
[observe]
listen = "127.0.0.1:@observe@"
"""
EMULATORS = {"arm64": "qemu-aarch64-static", "armhf": "qemu-arm-static"}


class Central:
    """Subscribes to everything with a session that lasts, and keeps what it hears: {(device, epoch, number): value}."""

    def __init__(self, port):
        import paho.mqtt.client as mqtt
        self.classes = read_batch.schema(BUILD / "generated" / "record.desc")
        self.heard, self.lock = {}, threading.Lock()
        self.client = mqtt.Client(client_id="central", clean_session=False, protocol=mqtt.MQTTv311)
        self.client.on_connect = lambda client, *_: client.subscribe("millrace/#", 1)
        self.client.on_message = self.take
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def take(self, client, data, message):
        envelope = self.classes["Envelope"].FromString(message.payload)
        batch = read_batch.decompress(envelope.batch) if envelope.zstd else envelope.batch
        with self.lock:
            for n, record in enumerate(read_batch.records(batch, self.classes)):
                if record["kind"] == "reading":
                    self.heard[record["device"], envelope.epoch, envelope.first + n] = record["value"]

    def values(self, device):
        with self.lock:
            return [value for (who, _, _), value in sorted(self.heard.items()) if who == device]


class Cross(Site):
    def scenario(self, arch, profile):
        emulator = EMULATORS[arch]
        package = ("millrace" if profile == "core" else "millrace-full") + f"_*_{arch}.deb"
        found = sorted((ROOT / "build" / "deb").glob(package))
        if not shutil.which(emulator):
            self.skipTest(f"{emulator} is not installed")
        if not found:
            self.skipTest(f"build/deb/{package} is not there: packaging/build-arm.sh")
        subprocess.run(["dpkg-deb", "-x", str(found[-1]), str(self.folder / "package")], check=True)
        binary = self.folder / "package" / "usr" / "bin" / "millrace"
        central_port, port = free_port(), free_port()
        broker = self.broker(central_port, name="central")
        central = Central(central_port)
        self.addCleanup(lambda: (central.client.disconnect(), central.client.loop_stop()))
        master, slave = os.openpty()
        config = self.configure(CONFIG, port=port, central=central_port, serial=os.ttyname(slave))

        def start():
            process = Process([emulator, "-L", str(ROOT / "build" / "sysroot" / arch), str(binary), "run", "-c", str(config)], self.folder / "gateway.log")
            self.processes.append(process)
            wait_for(lambda: self.metric("millrace_input_up") >= 1 and "is open" in process.text(), "the gateway is ready", 60)
            return process
        gateway = start()
        publisher = Process([str(BUILD / "tests" / "pipelined_publisher"), str(port), "--connections", "4", "--count", "4000", "--rate", "250", "--window", "50"],
                            self.folder / "publisher.log")
        self.processes.append(publisher)
        lines = 0

        def talk(seconds):
            nonlocal lines
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                lines += 1
                os.write(master, b"%d\r\n" % lines)
                time.sleep(0.02)
        talk(3)
        wait_for(lambda: len(central.values("meter")) > 0 and len(central.values("dev-0")) > 0, "the first readings are through")
        broker.stop()
        talk(4)
        wait_for(lambda: self.metric("millrace_uplink_backlog_records") > 200, "a backlog")
        # What the serial port said and nobody had taken is gone with a process: let it be taken first. Devices on MQTT send again.
        wait_for(lambda: self.metric("millrace_input_records_total", 'input="meter"') >= lines, "the serial lines are taken")
        gateway.stop(signal.SIGKILL)
        gateway = start()
        self.broker(central_port, name="central")
        talk(3)
        self.assertEqual(publisher.process.wait(60), 0, publisher.text())
        wait_for(lambda: len(central.values("meter")) >= lines, f"{lines} lines of the meter", 60)
        self.assertEqual(central.values("meter"), [float(n) for n in range(1, lines + 1)])
        for n in range(4):
            wait_for(lambda: len(central.values(f"dev-{n}")) >= 1000, f"all of dev-{n}", 60)
            values = central.values(f"dev-{n}")
            self.assertEqual(sorted(set(values)), [float(v) for v in range(1, 1001)])
            self.assertEqual(sorted(values), values, "in order")
            print(f"   {arch}, {profile}: dev-{n}: {len(values)} records of 1000 readings; meter: {lines} of {lines}", file=sys.stderr) if n == 3 else None
        self.assertEqual(gateway.stop(), 0)

    def test_arm64_core(self):
        self.scenario("arm64", "core")

    def test_armhf_core(self):
        self.scenario("armhf", "core")

    def test_arm64_full(self):
        self.scenario("arm64", "full")

    def test_armhf_full(self):
        self.scenario("armhf", "full")


if __name__ == "__main__":
    unittest.main(verbosity=2)
