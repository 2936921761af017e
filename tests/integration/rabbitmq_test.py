#!/usr/bin/python3
"""MQTT 3.1.1 to Debian's RabbitMQ with its MQTT plugin: a broker of another family takes what we send. The identity is inside
the record there. Needs the package rabbitmq-server; installs it as root when it can."""
import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from testsite import Process, Site, free_port, listening, scenario, wait_for

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"


class RabbitMq(Site):
    def setUp(self):
        super().setUp()
        if not os.path.exists(SERVER):
            got = subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "rabbitmq-server"], capture_output=True, text=True,
                                 env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}) if os.geteuid() == 0 and shutil.which("apt-get") else None
            if not os.path.exists(SERVER):
                self.skipTest("rabbitmq-server is not installed" + (": " + got.stderr.strip()[-200:] if got else ""))

    def rabbit(self):
        port, dist, epmd = free_port(), free_port(), free_port()
        home = self.folder / "rabbit"
        home.mkdir()
        (home / "plugins").write_text("[rabbitmq_mqtt].\n")
        (home / "rabbit.conf").write_text(f"listeners.tcp = none\nmqtt.listeners.tcp.1 = 127.0.0.1:{port}\nmqtt.allow_anonymous = true\nmqtt.prefetch = 100\n")
        env = {"RABBITMQ_NODENAME": f"test{port}@localhost", "RABBITMQ_MNESIA_BASE": str(home / "mnesia"), "RABBITMQ_LOG_BASE": str(home / "log"),
               "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"), "RABBITMQ_CONFIG_FILE": str(home / "rabbit.conf"), "RABBITMQ_DIST_PORT": str(dist),
               "ERL_EPMD_PORT": str(epmd), "ERL_EPMD_ADDRESS": "127.0.0.1", "HOME": str(home)}
        process = Process([SERVER], self.folder / "rabbit.log", env)
        self.processes.append(process)
        wait_for(lambda: listening(port) or process.process.poll() is not None, "RabbitMQ listens", 90)
        self.assertIsNone(process.process.poll(), process.text())
        self.addCleanup(lambda: self.stop_epmd(epmd))
        return port

    def stop_epmd(self, port):
        # The server leaves its port mapper behind: stopped by the pid that listens on the port it was given.
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if (entry / "comm").read_text().strip() == "epmd" and f"ERL_EPMD_PORT={port}" in (entry / "environ").read_bytes().decode(errors="replace"):
                        os.kill(int(entry.name), 15)
                except OSError:
                    pass

    def test_readings_reach_rabbitmq(self):
        devices, port = self.broker(), self.rabbit()
        self.gateway(self.config(devices.port, port, upversion="3.1.1"))
        account = self.sim(scenario(devices.port, f'server = "mqtt://127.0.0.1:{port}"\nversion = "3.1.1"', duration="3s"))
        print(account)
        self.assertEqual((account["lost"], account["doubled"], account["out_of_order"], account["corrupted"]), (0, 0, 0, 0))
        self.assertEqual(account["delivered"], account["sent"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
