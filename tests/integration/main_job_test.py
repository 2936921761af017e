#!/usr/bin/python3
"""The main job on real brokers: readings go through; outages, kills and full logs lose none."""
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from testsite import Site, free_port, scenario, wait_for

class MainJob(Site):
    def verdict(self, account, redelivered=False):
        self.assertEqual({k: account[k] for k in ("lost", "doubled", "out_of_order", "corrupted")},
                         {"lost": 0, "doubled": 0, "out_of_order": 0, "corrupted": 0}, account)
        self.assertEqual(account["delivered"], account["sent"], account)
        if not redelivered:
            self.assertEqual(account["redelivered"], 0, account)

    def test_readings_go_through_in_every_version_and_qos(self):
        for inversion, upversion, qos in (("5", "5", 1), ("3.1.1", "3.1.1", 1), ("5", "3.1.1", 2), ("3.1.1", "5", 2)):
            with self.subTest(inversion=inversion, upversion=upversion, qos=qos):
                devices, central = self.broker(), self.broker()
                gateway = self.gateway(self.config(devices.port, central.port, inversion=inversion, upversion=upversion, input=f"qos = {qos}"))
                wait_for(lambda: self.metric("millrace_input_up") == 1 and self.metric("millrace_uplink_up") == 1, "both sides up")
                account = self.sim(scenario(devices.port, f'server = "mqtt://127.0.0.1:{central.port}"\nversion = "{upversion}"', duration="2s",
                                            fleet=f'qos = {qos}\nversion = "{inversion}"'))
                self.verdict(account)
                self.assertEqual(gateway.stop(), 0)
                self.afresh()

    def test_an_outage_of_the_central_side_loses_nothing(self):
        devices, central_port, tls = self.broker(), free_port(), self.tls()
        central = self.broker(central_port, tls, name="central")
        self.gateway(self.config(devices.port, central_port, scheme="mqtts", uplink=f'tls_ca = "{tls}/ca.pem"',
                                 more='[[windows]]\nname = "1s"\nsize = "1s"\nidle_close = "1s"'))
        sim = self.sim(scenario(devices.port, f'server = "mqtts://127.0.0.1:{central_port}"\ntls_ca = "{tls}/ca.pem"', duration="8s",
                                fleet="malformed = 0.01"), wait=False)
        wait_for(lambda: self.metric("millrace_uplink_records_total") > 200, "the first readings are through")
        central.stop()
        wait_for(lambda: self.metric("millrace_uplink_backlog_records") > 500, "a backlog")
        self.broker(central_port, tls, name="central")
        account = self.account(sim)
        self.verdict(account, redelivered=True)
        self.assertGreater(account["windows"], 20)
        self.assertEqual(self.metric("millrace_dead_letters_total"), account["malformed"])
        self.assertGreater(account["malformed"], 0)

    def test_what_an_outage_held_up_is_not_in_the_live_figures_of_the_account(self):
        """Three seconds: too short for the gateway to mark anything as replay."""
        devices, central = self.broker(), self.broker()
        self.gateway(self.config(devices.port, central.port))
        wait_for(lambda: self.metric("millrace_input_up") == 1 and self.metric("millrace_uplink_up") == 1, "both sides up")
        pid = central.process.pid
        account = self.sim(scenario(devices.port, f'server = "mqtt://127.0.0.1:{central.port}"', duration="9s",
                                    more=f'[[outages]]\nafter = "3s"\nlasts = "3s"\ndown = "kill -STOP {pid}"\nup = "kill -CONT {pid}"'))
        self.verdict(account, redelivered=True)
        self.assertEqual(account["live"] + account["backlog"], account["delivered"])
        self.assertGreater(account["backlog"], 1400, account)
        self.assertGreater(account["live"], 2000, account)
        self.assertGreater(account["backlog_p99_s"], 2.5, account)
        self.assertLess(account["live_p99_s"], 1.5, account)

    def test_kill_9_at_random_moments_loses_nothing(self):
        self.kill_9(1)

    def kill_9(self, qos, version="5"):
        kills = int(os.environ.get("MILLRACE_KILLS", "4"))
        seed = int(os.environ.get("MILLRACE_SEED", "1"))
        rng = random.Random(seed)
        devices, central = self.broker(), self.broker()
        config = self.config(devices.port, central.port, input=f"qos = {qos}", inversion=version)
        gateway = self.gateway(config)
        sim = self.sim(scenario(devices.port, f'server = "mqtt://127.0.0.1:{central.port}"', rate=1000, duration=f"{2 + kills}s", fleet=f"qos = {qos}"), wait=False)
        for _ in range(kills):
            wait_for(lambda: self.metric("millrace_input_records_total") > 50, "readings flow")
            time.sleep(rng.uniform(0, 0.8))  # the random moment is the point
            gateway.stop(signal.SIGKILL)
            gateway = self.gateway(config)
        account = self.account(sim)
        print(f"kill -9, {kills} times, MQTT {version}, QoS {qos}: {account}")
        self.verdict(account, redelivered=True)
        self.assertEqual(gateway.stop(), 0)

    def test_kill_9_with_qos_2(self):
        self.kill_9(2)

    def test_kill_9_with_qos_2_of_mqtt_3_1_1(self):
        self.kill_9(2, "3.1.1")

    def full_log(self, durability, rate, seconds, devices_count):
        devices, central_port = self.broker(), free_port()
        gateway = self.gateway(self.config(devices.port, central_port, gateway='inbox_size = "512KiB"', input=f'durability = "{durability}"',
                                           logmore='max_size = "1MiB"\nwhen_full = "block"'))
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up")
        central = self.broker(central_port, name="central")
        sim = self.sim(scenario(devices.port, f'server = "mqtt://127.0.0.1:{central_port}"', rate=rate, duration=f"{seconds}s", devices=devices_count, drain="120s",
                                fleet="unacknowledged = 20"), wait=False)
        wait_for(lambda: self.metric("millrace_uplink_records_total") > 0, "the first readings are through")
        central.stop()
        wait_for(lambda: "log: full" in self.http("/readyz") and self.metric("millrace_input_up") == 0, "the log is full and the input pauses", 60)
        self.assertLessEqual(self.status()["log"]["bytes_used"], 1 << 20)
        self.broker(central_port, name="central")
        account = self.account(sim)
        print(f"full log, {durability}: {account}")
        self.verdict(account, redelivered=True)
        self.assertIsNone(gateway.process.poll(), gateway.text())
        self.assertEqual(gateway.stop(), 0)

    def test_a_full_log_blocks_the_input_and_drains_when_the_uplink_is_back(self):
        self.full_log("crash", 6000, 15, 3000)  # many devices: two readings of each second compress little

    def test_a_full_log_blocks_the_input_with_power_durability_too(self):
        self.full_log("power", 1000, 12, 200)

    def test_the_second_server_takes_over(self):
        devices, central, dead = self.broker(), self.broker(), free_port()
        config = self.config(devices.port, central.port)
        config.write_text(config.read_text().replace(f'["mqtt://127.0.0.1:{central.port}"]', f'["mqtt://127.0.0.1:{dead}", "mqtt://127.0.0.1:{central.port}"]'))
        self.gateway(config)
        self.verdict(self.sim(scenario(devices.port, f'server = "mqtt://127.0.0.1:{central.port}"', duration="1s")))

    def test_retained_messages_count_once_per_value(self):
        devices, central = self.broker(), self.broker()
        self.publish(devices.port, "plant/l1/d1/telemetry", '{"ts":1700000000,"value":1}', extra=["-r"])
        config = self.config(devices.port, central.port, inversion="3.1.1")
        gateway = self.gateway(config)
        wait_for(lambda: self.metric("millrace_input_records_total") == 1, "the retained message")
        self.assertEqual(gateway.stop(), 0)
        gateway = self.gateway(config)
        wait_for(lambda: self.metric("millrace_input_retained_dropped_total") == 1, "the same again")
        self.assertEqual(self.metric("millrace_input_records_total"), 0)

    def test_a_retained_message_that_came_while_subscribed_is_not_counted_again(self):
        devices, central = self.broker(), self.broker()
        say = lambda value, more=["-r"]: self.publish(devices.port, "plant/l1/d1/telemetry", f'{{"ts":1700000000,"value":{value}}}', extra=more)
        say(1)
        config = self.config(devices.port, central.port, inversion="3.1.1")
        gateway = self.gateway(config)
        for value in (2, 3):
            wait_for(lambda: self.metric("millrace_input_records_total") == value - 1, "what was before")
            say(value)
        wait_for(lambda: self.metric("millrace_input_records_total") == 3, "live ones")
        self.assertEqual(self.metric("millrace_input_retained_topics"), 1)
        self.assertEqual(gateway.stop(), 0)  # at which it is saved
        gateway = self.gateway(config)
        wait_for(lambda: self.metric("millrace_input_retained_dropped_total") == 1, "the same again")
        self.assertEqual(self.metric("millrace_input_records_total"), 0)
        self.assertEqual(gateway.stop(), 0)
        say(1)  # another value, while nobody was there: a value it has had before
        self.gateway(config)
        wait_for(lambda: self.metric("millrace_input_records_total") == 1, "it is taken")

    def test_windows_that_left_the_configuration_hold_nothing_back(self):
        devices, central = self.broker(), self.broker()
        windows = '[[windows]]\nname = "1min"\nsize = "1min"\n'
        config = self.config(devices.port, central.port, more=windows)
        gateway = self.gateway(config)
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up")
        for n in range(5):
            self.publish(devices.port, f"plant/l1/d{n}/telemetry", '{"ts":1700000000,"value":1}')
        wait_for(lambda: self.metric("millrace_uplink_records_total") >= 5, "all is delivered")
        self.assertEqual(gateway.stop(), 0)
        stat = lambda: {c["consumer"] for c in json.loads(self.command("log", "stat", "--json").stdout)["consumers"]}
        self.assertIn("@windows", stat())
        gateway = self.gateway(self.config(devices.port, central.port))
        wait_for(lambda: "@windows" not in stat(), "their cursor is gone")
        self.assertEqual(json.loads(self.command("status", "--json").stdout)["absent_uplinks"], [])
        self.assertEqual(gateway.stop(), 0)
        gateway = self.gateway(self.config(devices.port, central.port, more=windows))  # and may come back
        self.publish(devices.port, "plant/l1/d1/telemetry", '{"ts":1700000000,"value":2}')
        wait_for(lambda: self.metric("millrace_window_keys") == 1, "they begin anew")
        self.assertEqual(gateway.stop(), 0)

    def test_an_input_that_is_renamed_says_where_its_session_stays(self):
        devices, central = self.broker(), self.broker()
        config = self.config(devices.port, central.port)
        gateway = self.gateway(config)
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up")
        good = config.read_text()
        config.write_text(good.replace('name = "devices"', 'name = "renamed"'))
        self.command("reload")
        words = 'of input devices at mqtt://127.0.0.1:%d has no reader any more' % devices.port
        wait_for(lambda: words in gateway.text(), "it is told", 30)
        client = re.search(r'an input with client_id = "(\S+)" there reads it', gateway.text()).group(1)
        config.write_text(good.replace('name = "devices"', f'name = "renamed"\nclient_id = "{client}"'))
        self.command("reload")
        wait_for(lambda: "(session resumed)" in gateway.text(), "the session is read")
        wait_for(lambda: json.loads(self.command("status", "--json").stdout)["left_sessions"] == [], "it has a reader", 30)
        self.assertEqual(gateway.stop(), 0)

    def test_a_reload_changes_what_changed_and_loses_nothing(self):
        devices, central = self.broker(), self.broker()
        config = self.config(devices.port, central.port)
        gateway = self.gateway(config)
        sim = self.sim(scenario(devices.port, f'server = "mqtt://127.0.0.1:{central.port}"', duration="6s"), wait=False)
        wait_for(lambda: self.metric("millrace_uplink_records_total") > 100, "readings flow")
        good = config.read_text()
        config.write_text(good.replace("[observe]", "[obsrve]"))
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "nothing was changed" in gateway.text(), "the bad file is refused")
        self.assertIn('did you mean "observe"?', gateway.text())
        config.write_text(good.replace('name = "central"', 'name = "central"\nwindow = 8').replace("qos = 1", "").replace('name = "devices"', 'name = "devices"\nkeep_alive = "20s"'))
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "reload: 2 inputs and uplinks changed" in gateway.text(), "the good file is taken")
        self.verdict(self.account(sim), redelivered=True)

    def test_check_online_says_what_answers_and_what_does_not(self):
        devices, dead, held = self.broker(), free_port(), free_port()
        tls = self.tls()
        central = self.broker(tls=tls)
        endpoint = f'[[inputs.mqtt_endpoint]]\nname = "direct"\nlisten = "127.0.0.1:{held}"\nanonymous = true\n[[inputs.mqtt_endpoint.routes]]\ntopic = "x/{{device}}"\n'
        serial = f'[[inputs.serial]]\nname = "meter"\ndevice = "{self.folder}/no-such-port"\n[inputs.serial.route]\ndevice = "meter"\nmetrics = {{ value = "" }}\nformat = "plain"\n'
        config = self.config(devices.port, central.port, scheme="mqtts", uplink=f'tls_ca = "{tls}/ca.pem"', more=endpoint)
        good = config.read_text()

        def check():
            done = self.command("check", "--online")
            return done.returncode, [line for line in done.stdout.splitlines() if line[:6] in ("good  ", "?     ", "BAD   ")]
        code, found = check()
        self.assertEqual((code, [line[:4].strip() for line in found]), (0, ["good"] * 3 + ["?"]), found)
        self.assertIn("not tried, that would write to it", found[3], "whether the topic is allowed")
        config.write_text(good.replace("[observe]", serial + "[observe]").replace(f"mqtt://127.0.0.1:{devices.port}", f"mqtt://127.0.0.1:{dead}").replace(f'tls_ca = "{tls}/ca.pem"', ""))
        code, found = check()
        self.assertEqual((code, [line[:4].strip() for line in found]), (69, ["good", "BAD", "BAD", "BAD", "?"]), found)
        for line, word in zip((found[1], found[2], found[3]), ("refused", "No such file", "certificate")):
            self.assertIn(word, line)
        config.write_text(good)
        gateway = self.gateway(config)
        wait_for(lambda: self.metric("millrace_input_up") == 2, "both inputs are up")
        code, found = check()
        self.assertEqual((code, [line[:1] for line in found]), (0, ["?", "g", "g", "?"]), found)
        self.assertEqual(gateway.text().count("connected to"), 1, "the daemon keeps its session")

    def test_dead_letters_can_be_looked_at(self):
        devices, central = self.broker(), self.broker()
        self.gateway(self.config(devices.port, central.port))
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up")
        self.publish(devices.port, "plant/l1/d1/telemetry", '{"ts":"yesterday","value":1}')
        wait_for(lambda: "yesterday" in self.command("dlq", "ls").stdout, "the dead letter")
        self.assertIn("not a time", self.command("dlq", "ls").stdout)
        self.assertEqual(self.metric("millrace_input_undecodable_total"), 1)

    def test_sigterm_drains_and_stops_in_time_with_the_central_side_away(self):
        devices = self.broker()
        config = self.config(devices.port, free_port())
        gateway = self.gateway(config)
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the input is up")
        for n in range(20):
            self.publish(devices.port, "plant/l1/d1/telemetry", f'{{"ts":{1700000000 + n},"value":{n}}}')
        begin = time.monotonic()
        self.assertEqual(gateway.stop(), 0)
        self.assertLess(time.monotonic() - begin, 10)
        gateway = self.gateway(config)
        # What the broker had not yet handed over waits in our session there.
        wait_for(lambda: self.metric("millrace_uplink_backlog_records") == 20, "all of them are in the log")


class Several(Site):
    """Two of everything: brokers of two versions with an input each, two routes each, two windows, two uplinks to two far sides."""
    INPUT = """
[[inputs.mqtt]]
name = "@name@"
servers = ["mqtt://127.0.0.1:@port@"]
version = "@version@"
reconnect_min = "100ms"
reconnect_max = "1s"
@routes@
"""
    ROUTE = '[[inputs.mqtt.routes]]\ntopic = "%s"\ntags = [%s]\ntime = "ts"\nmetrics = { value = "value" }\n'
    UPLINK = '[[uplinks.mqtt]]\nname = "%s"\nservers = ["mqtt://127.0.0.1:%d"]\ninitial_interval = "100ms"\nmax_interval = "1s"\n'
    WINDOW = '[[windows]]\nname = "%s"\nsize = "%s"\nidle_close = "1s"\n'
    ROUTES = ("plant/{line}/{device}/telemetry", "tele/{device}/SENSOR")

    def several(self, routes):
        inputs = ""
        for name, version in (("five", "5"), ("three", "3.1.1")):
            made = "".join(self.ROUTE % (route, '"line"' if "{line}" in route else "") for route in routes)
            for key, value in (("name", name), ("port", self.brokers[name].port), ("version", version), ("routes", made)):
                inputs += "" if key != "name" else self.INPUT
                inputs = inputs.replace("@" + key + "@", str(value))
        return self.configure('[gateway]\nname = "gw"\nruntime_dir = "@run@"\n[log]\npath = "@log@"\ncommit_interval = "100ms"\n' + inputs +
                              self.WINDOW % ("short", "1s") + self.WINDOW % ("long", "10s") +
                              self.UPLINK % ("north", self.brokers["north"].port) + self.UPLINK % ("south", self.brokers["south"].port) +
                              '[observe]\nlisten = "127.0.0.1:@observe@"\n')

    def start(self):
        self.brokers = {name: self.broker() for name in ("five", "three", "north", "south")}
        gateway = self.gateway(self.several(self.ROUTES))
        self.both_sides_up()
        return gateway

    def both_sides_up(self):
        wait_for(lambda: self.metric("millrace_input_up") == 2 and self.metric("millrace_uplink_up") == 2, "both inputs and both uplinks")

    def readings(self, topics, ts=1700000000):
        before = self.metric("millrace_input_records_total")
        for name in ("five", "three"):
            for topic in topics:
                self.publish(self.brokers[name].port, topic, f'{{"ts":{ts},"value":1}}')
        expected = 2 * len(topics)
        wait_for(lambda: self.metric("millrace_input_records_total") == before + expected, f"{expected} more readings")
        for uplink in ("north", "south"):
            wait_for(lambda: self.metric("millrace_uplink_backlog_records", f'uplink="{uplink}"') == 0, f"all is at {uplink}")

    def test_every_route_of_every_input_reaches_every_far_side_and_a_reload_adds_routes(self):
        gateway = self.start()
        self.readings(["plant/l1/d1/telemetry", "tele/d2/SENSOR"])
        self.several((*self.ROUTES, "more/{device}/a", "more/{device}/b"))
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "reload: " in gateway.text(), "the reload")
        self.both_sides_up()
        self.readings(["plant/l1/d1/telemetry", "tele/d2/SENSOR", "more/d3/a", "more/d4/b"], 1700000001)
        self.assertEqual(gateway.stop(), 0)

    def test_a_message_larger_than_the_inbox_is_a_dead_letter_and_everything_else_goes_on(self):
        gateway = self.start()
        giant = self.folder / "giant"
        giant.write_bytes(b'{"value":"' + b"x" * (5 << 20) + b'"}')
        for name in ("five", "three"):
            subprocess.run(["mosquitto_pub", "-p", str(self.brokers[name].port), "-t", "tele/big/SENSOR", "-q", "1", "-f", str(giant)], check=True, timeout=60)
        # Mosquitto keeps from an MQTT 5 client what is above the Maximum Packet Size it announced; 3.1.1 has no such thing.
        wait_for(lambda: self.metric("millrace_dead_letters_total") == 1, "the dead letter")
        letters = wait_for(lambda: (lambda said: said if "too large" in said else None)(self.command("dlq", "ls").stdout), "it is committed")
        self.assertIn("too large: 5242892 bytes", letters)
        self.assertIn("gateway.inbox_size", letters)
        self.assertIn("tele/big/SENSOR", letters)
        self.readings(["plant/l1/d1/telemetry", "tele/d2/SENSOR"])
        self.assertEqual(gateway.stop(), 0)

    def test_a_broker_that_goes_and_comes_back_costs_its_own_input_a_pause(self):
        self.start()
        for name in ("five", "three"):
            port = self.brokers[name].port
            self.brokers[name].stop()
            wait_for(lambda: self.metric("millrace_input_up", f'input="{name}"') == 0, "it is seen that it is gone")
            self.assertEqual(self.metric("millrace_input_up"), 1)
            self.brokers[name] = self.broker(port, name=f"again-{name}")
            self.both_sides_up()
            self.readings(["plant/l1/d1/telemetry", "tele/d2/SENSOR"], 1700000100)


if __name__ == "__main__":
    unittest.main(verbosity=2)
