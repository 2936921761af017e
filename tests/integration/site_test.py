#!/usr/bin/python3
"""A whole site on serial lines by millrace-sim, every value numbered: Modbus slaves (one dead, one slow, one late, two that lie), a talker on
a track, a meter, a microcontroller, noise on all but the bus; a kill and a reload in the middle. What had to be taken arrives once, in order,
and nothing arrives that was never said."""
import os
import signal
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from testsite import Site, wait_for

SECONDS = float(os.environ.get("MILLRACE_SITE_SECONDS", "20"))
CONFIG = """
[gateway]
name = "gw"
runtime_dir = "@run@"
clock = "trust"
[log]
path = "@log@"
commit_interval = "50ms"

[[inputs.modbus]]
name = "bus"
device = "@folder@/bus"
baud = 115200
parity = "none"
interval = "200ms"
timeout = "300ms"
recovery_min = "1s"
failures_max = 8
  [[inputs.modbus.maps]]
  name = "numbered"
  registers = [ { name = "n", address = 0, type = "u32" } ]
@slaves@

[[inputs.serial]]
name = "ship"
device = "@folder@/gps"
framing = "nmea"
  [[inputs.serial.routes]]
  format = "nmea"

[[inputs.serial]]
name = "meter"
device = "@folder@/p1"
baud = 115200
framing = "telegram"
telegram_crc = "needed"
  [[inputs.serial.routes]]
  format = "obis"
  @report@

[[inputs.serial]]
name = "press"
device = "@folder@/mcu"
framing = "cobs"
acknowledge = true
  [[inputs.serial.routes]]
  format = "device"

[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://127.0.0.1:@central@"]
[observe]
listen = "127.0.0.1:@observe@"
"""
SCENARIO = """
duration = "{seconds}s"
drain_timeout = "6s"
[central]
server = "mqtt://127.0.0.1:{central}"
[[buses]]
link = "{folder}/bus"
name = "slave"
slaves = 16
dead = "3"
slow = "5"
slow_by = "60ms"
late = "6"
late_by = "450ms"
lying = "7-8"
[[talkers]]
link = "{folder}/gps"
name = "ship"
interval = "50ms"
noise = 0.05
[[meters]]
link = "{folder}/p1"
name = "meter"
interval = "200ms"
noise = 0.05
[[microcontrollers]]
link = "{folder}/mcu"
name = "press"
interval = "20ms"
noise = 0.05
"""


class Whole(Site):
    def play(self, middle=lambda gateway: None, lost=0):
        central = self.broker()
        slaves = "\n".join(f'  [[inputs.modbus.devices]]\n  name = "slave-{n}"\n  unit = {n}\n  map = "numbered"' for n in range(1, 17))
        path = self.configure(CONFIG, folder=self.folder, slaves=slaves, central=central.port, report="")
        sim = self.sim(SCENARIO.format(seconds=SECONDS, central=central.port, folder=self.folder), wait=False)
        wait_for(lambda: (self.folder / "mcu").is_symlink(), "the lines are there")
        gateway = self.gateway(path)
        middle(gateway)
        account = self.account(sim, seconds=SECONDS + 60)  # it begins when all lines were opened
        text = sim.text()
        self.assertEqual([account[k] for k in ("line_doubled", "line_out_of_order", "line_wrong")], [0, 0, 0], text)
        self.assertLessEqual(account["line_lost"], lost, text)
        self.assertEqual(account["line_unheard"], 1, text)  # slave-3, which is dead
        self.assertNotIn("press: lost", text.replace("press: lost 0", ""))
        # 12 slaves whose answers must be taken, a talker, a meter and a microcontroller.
        self.assertGreater(account["line_promised"], SECONDS * (12 * 0.5 + 20 * 0.8 + 5 * 0.8 + 50 * 0.8), text)
        self.assertGreater(account["line_delivered"], account["line_promised"])
        print(text.splitlines()[-2:])

    def test_every_promised_value_arrives_once(self):
        self.play()

    def test_and_over_a_kill_and_a_reload(self):
        def middle(gateway):
            time.sleep(SECONDS / 3)  # into the middle of it
            gateway.stop(signal.SIGKILL)
            self.gateway(self.folder / "millrace.toml")
            path = self.folder / "millrace.toml"
            path.write_text(path.read_text().replace('format = "obis"', 'format = "obis"\n  expected_interval = "5s"'))
            self.command("reload")

        # What had been read of a line and was no whole frame yet goes with the process; a microcontroller sends it again. The first answer of each
        # of the twelve slaves proves nothing, and is not taken.
        self.play(middle, lost=4 + 12)


if __name__ == "__main__":
    unittest.main(verbosity=2)
