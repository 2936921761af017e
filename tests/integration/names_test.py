#!/usr/bin/python3
"""Names, and name servers that are dead, late, or leave half of a question without an answer: their peer waits, nobody else."""
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import private_network
from name_server import AAAA, NameServer
from testsite import Site, wait_for

FAR = """
[[uplinks.mqtt]]
name = "@name@"
servers = ["mqtt://@server@"]
initial_interval = "100ms"
max_interval = "1s"
connect_timeout = "4s"
"""


class Names(Site):
    def setUp(self):
        if not private_network.inside():
            self.skipTest("it takes a network and an /etc of its own, which needs root and namespaces")
        super().setUp()
        self.name_servers = []

    def tearDown(self):
        for server in self.name_servers:
            server.close()
        super().tearDown()

    def name_server(self, **what):
        self.name_servers.append(NameServer(**what))
        return self.name_servers[-1]

    def up(self, uplink="central"):
        return self.metric("millrace_uplink_up", f'uplink="{uplink}"') == 1

    def test_dead_name_servers_are_their_own_peers_business(self):
        self.name_servers.append(private_network.dead_name_servers())
        devices, central = self.broker(), self.broker()
        far = "".join(FAR.replace("@name@", f"far{i}").replace("@server@", f"broker{i}.far.test") for i in range(3))
        begun = time.monotonic()
        gateway = self.gateway(self.config(devices.port, central.port, more=far))
        wait_for(lambda: self.up() and self.metric("millrace_input_up") == 1, "the healthy ones are there at once", 4)
        self.publish(devices.port, "plant/l1/d1/telemetry", '{"ts":1700000000,"value":1}')
        wait_for(lambda: self.metric("millrace_uplink_records_total", 'uplink="central"') == 1, "the reading passes", 4)
        self.assertLess(time.monotonic() - begun, 8)
        said = "cannot resolve broker2.far.test: no answer within 4s (name servers asked: 192.0.2.1, 192.0.2.2)"
        wait_for(lambda: "uplink far2: cannot connect: " + said in gateway.text(), "what is wrong is said", 15)
        begun = time.monotonic()
        self.assertEqual(gateway.stop(), 0)
        self.assertLess(time.monotonic() - begun, 3)

    def test_a_box_whose_network_comes_late(self):
        private_network.resolv_conf(None)
        devices, central = self.broker(), self.broker()
        gateway = self.gateway(self.config(devices.port, central.port, more=FAR.replace("@name@", "far").replace("@server@", f"broker:{central.port}")))
        wait_for(lambda: "cannot resolve broker: " in gateway.text(), "what is wrong is said")
        self.assertIn("(name servers asked: 127.0.0.1, as /etc/resolv.conf names none)", gateway.text())
        server = self.name_server(address=private_network.ADDRESS, names={"broker.plant.test": ["127.0.0.1"]})
        private_network.resolv_conf(f"nameserver {private_network.ADDRESS}\nsearch company.test plant.test\n")
        wait_for(lambda: self.up("far"), "it works once there is a resolv.conf", 10)
        self.assertIn("broker.company.test", [name for name, _ in server.asked])
        # Other name servers, and another address: asked anew at each connection.
        server.names = {}
        self.name_server(names={"broker": ["127.0.0.2", "127.0.0.1"]})
        private_network.resolv_conf("nameserver 127.0.0.1\n")
        central.stop()
        self.broker(central.port, name="again")
        wait_for(lambda: self.up("far") and self.up(), "and with other ones", 20)

    def test_a_name_server_that_never_answers_for_ipv6(self):
        devices, central = self.broker(), self.broker()
        self.name_server(names={"broker.test": ["127.0.0.1"]}, silent_for=(AAAA,))
        private_network.resolv_conf("nameserver 127.0.0.1\n")
        self.gateway(self.config(devices.port, central.port, more=FAR.replace("@name@", "far").replace("@server@", f"broker.test:{central.port}")))
        wait_for(lambda: self.up("far"), "the address that is known is used", 4)


if __name__ == "__main__":
    private_network.enter()
    unittest.main()
