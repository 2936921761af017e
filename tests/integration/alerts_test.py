#!/usr/bin/python3
"""The drill of status_test.py for who is not at the box: the same faults, one by one, and a real Prometheus beside the daemon, with the
rules of packaging/monitoring in a time that runs 600 times as fast (an hour is six seconds): the alert for each fires, no other of
severity critical does, and it clears when the fault is mended."""
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import prometheus
import status_test
from prometheus import RULES, Prometheus, faster
from testsite import Site, wait_for

FASTER, EVERY = 600, "100ms"
# What the drill calls a fault: the alert that stands for it.
ALERTS = {"uplink central": "MillraceUplinkDown", "! input field: tls_cert": "MillraceCertificateExpired", "input devices: 1 payload": "MillracePayloadsUnreadable",
          "- input devices: silent": "MillraceDevicesSilent", "! clock": "MillraceClockNotTrusted", "! log: full": "MillraceLogFull",
          "! log: cannot be written": "MillraceLogCannotBeWritten", "! uplink central: tls_ca": "MillraceCertificateExpired",
          "! input devices: not authorised": "MillraceInputDown", r"! observe\.listen": "MillraceGatewayDown"}
# Of what the drill calls a fault, what the alert of another stands for as well.
NO_ALERT = "- input devices: nothing has come"
# These come with others, and are good company: an outage that fills the log loses records, a full disk is short.
BESIDE = {"MillraceDiskShort", "MillraceLogFullSoon", "MillraceBacklogGrows", "MillraceInputSilent", "MillraceUplinkDown", "MillraceInputDown", "MillraceClockSet",
          "MillraceDescriptorsShort", "MillracePayloadsUnreadable", "MillraceGatewayRestarts"}


class Watched:
    """A Prometheus beside the drill, that is asked wherever a person looks at the status."""

    def watch(self):
        if not hasattr(self, "server"):
            self.server = Prometheus(self.folder / "prometheus", [self.observe], faster(RULES.read_text(), FASTER), EVERY).start()
            self.processes.append(self.server.process)
            self.asked = set()
        return self.server

    def alerts(self):
        return {alert["alertname"] for alert in self.watch().firing()}

    def named(self, what, step, code, seconds=30):
        super().named(what, step, code, seconds)
        alert = next((alert for words, alert in ALERTS.items() if what.startswith(words)), None)
        self.assertTrue(alert or what.startswith(NO_ALERT), f"which alert stands for this? {what}")
        if alert:
            self.watch()
            wait_for(lambda: alert in self.alerts(), f"{alert} fires", 20)
            self.asked.add(alert)
            self.assertEqual(self.alerts() - BESIDE - {alert}, set(), "nothing else is cried")

    def well(self, seconds=30):
        super().well(seconds)
        self.watch()
        wait_for(lambda: self.server.query("count(millrace_info)"), "it was scraped", 20)
        self.cleared()

    def cleared(self):
        if self.asked:
            wait_for(lambda: not self.alerts() & self.asked, f"{sorted(self.asked)} clear", 30)


@unittest.skipIf(prometheus.why_not(), prometheus.why_not())
class Drill(Watched, status_test.Drill):
    test_a_program_gets_json_and_a_pipe_no_colours = None  # of the page alone
    test_a_full_log = None                                 # is below, and ends

    def test_a_poison_payload(self):
        super().test_a_poison_payload()
        self.cleared()  # an hour later

    def test_a_full_log_that_empties(self):
        super_test = status_test.Drill.test_a_full_log
        super_test(self)
        for process in list(self.processes):
            if "filling" in process.log.name:
                process.stop()
        far = next(line.split(":")[-1].strip('"]') for line in self.file.read_text().split("[[uplinks.mqtt]]")[1].splitlines() if line.startswith("servers"))
        self.broker(int(far))
        self.cleared()

    def test_a_wrong_clock(self):
        clock = self.folder / "clock"
        clock.write_text("@2001-01-01 00:00:00\n")
        faked = self.faked(FAKETIME_TIMESTAMP_FILE=str(clock), FAKETIME_NO_CACHE="1", DONT_FAKE_MONOTONIC="1")
        self.south, self.north = self.broker(), self.broker()
        self.file = self.config(self.south.port, self.north.port, gateway='clock = "rtc"')
        self.gateway(self.file, env=faked)
        self.named(r"! clock: not trusted, it says 2001-01-01T.*: the battery clock says 2001", r"next: set the time, and let something keep it: timedatectl", 2)
        clock.write_text("+0\n")
        self.well(30)


@unittest.skipIf(prometheus.why_not(), prometheus.why_not())
class FullDisk(Watched, status_test.FullDisk):
    pass


@unittest.skipIf(prometheus.why_not(), prometheus.why_not())
class Gone(Watched, Site):
    def test_a_daemon_that_is_gone(self):
        self.config(self.broker().port, self.broker().port, gateway='clock = "trust"')
        gateway = self.gateway(self.folder / "millrace.toml")
        self.watch()
        wait_for(lambda: self.server.query("up == 1"), "it was scraped", 20)
        gateway.stop()
        wait_for(lambda: "MillraceGatewayDown" in self.alerts(), "it is missed", 20)
        self.gateway(self.folder / "millrace.toml")
        wait_for(lambda: "MillraceGatewayDown" not in self.alerts(), "it is back", 20)


if __name__ == "__main__":
    unittest.main(verbosity=2)
