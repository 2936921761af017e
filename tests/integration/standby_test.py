#!/usr/bin/python3
"""An uplink and its standby on real servers: outages and kills of everybody, reloads in the middle; every acknowledged reading is at one
of the two, and nothing is sent twice but what was on its way when somebody died."""
import json
import os
import random
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import kafka
import north
from north import North
from testsite import wait_for

SPARE = """
[[uplinks.https]]
name = "spare"
servers = ["{server}"]
initial_interval = "100ms"
max_interval = "1s"
standby_of = "{of}"
standby_after = "{after}"
{config}
"""


def together(*held):
    """{device: values} of several servers."""
    all_of = {}
    for readings in held:
        for device, values in readings.items():
            all_of.setdefault(device, []).extend(values)
    return all_of


class Standby(North):
    def on_duty(self):
        return [name for name in ("history", "central", "spare") if self.metric("millrace_uplink_on_duty", f'uplink="{name}"') == 1]

    def uplink(self, name):
        return next(one for one in self.status()["uplinks"] if one["name"] == name)


class Https(Standby):
    """InfluxDB, and VictoriaMetrics for when it is down."""

    def begin(self, after="1s"):
        self.first, self.second = self.server(north.Influx), self.server(north.VictoriaMetrics)
        spare = SPARE.format(server=self.second.url, of="history", after=after, config=north.VictoriaMetrics.config)
        return self.start(self.first.url, north.Influx.config + spare)

    def test_an_outage_goes_to_the_spare_side_and_nothing_twice(self):
        self.begin()
        wait_for(lambda: self.uplink("spare")["state"] == "stands by for history", "the standby is there")
        self.publish(200)
        self.drained()
        self.assertEqual(self.on_duty(), ["history"])
        self.assertEqual(sum(map(len, self.second.readings().values())), 0)
        self.first.stop()
        self.publish(300, "--prefix", "out")
        wait_for(lambda: self.on_duty() == ["spare"], "the standby sends")
        self.drained()
        self.assertIn("spare sends instead", self.uplink("history")["state"])
        self.assertEqual(self.uplink("spare")["state"], "up, sends instead of history")
        self.assertEqual((self.uplink("spare")["standby_of"], self.uplink("history")["on_duty"]), ("history", False))
        wait_for(lambda: sum(map(len, self.second.readings().values())) == 300, "all of the outage is there")
        self.first.start()
        wait_for(lambda: self.on_duty() == ["history"], "the first sends again")
        self.publish(100, "--prefix", "back")
        self.drained()
        values = together(self.first.readings(), self.second.readings())
        self.assertEqual(sorted(map(len, values.values())), sorted([200, 300, 100]))
        for device, got in values.items():
            self.assertEqual(len(got), len(set(got)), device)
        # The standby leaves by a reload while it has the duty: the first has what is left.
        self.first.stop()
        self.publish(10, "--prefix", "gone")  # an idle connection that ends is no outage
        wait_for(lambda: self.on_duty() == ["spare"], "the standby sends again")
        config = self.folder / "millrace.toml"
        config.write_text(config.read_text().replace('standby_of = "history"\nstandby_after = "1s"\n', ""))
        self.assertEqual(self.command("reload").returncode, 0)
        self.publish(50, "--prefix", "later")
        self.first.start()
        self.drained()
        self.assertEqual(len(together(self.first.readings())["later-0"]), 50)

    def test_both_fail_and_everybody_is_killed(self):
        kills, seed = int(os.environ.get("MILLRACE_KILLS", "6")), int(os.environ.get("MILLRACE_SEED", time.time_ns() % 1_000_000))
        rng, gateway = random.Random(seed), self.begin("1s")
        publisher = self.pouring()
        config, done = self.folder / "millrace.toml", {"gateway": 0, "first": 0, "standby": 0, "reload": 0}
        up = {"first": self.first, "standby": self.second}
        down = set()
        for _ in range(kills):
            time.sleep(rng.uniform(0.3, 3))  # the random moment is the point
            who = rng.choice((*done, "first", "first"))
            done[who] += 1
            if who == "gateway":
                gateway.stop(signal.SIGKILL)
                gateway = self.gateway(config)
            elif who == "reload":
                text = config.read_text()
                value = f'max_interval = "{rng.randint(1, 9)}s"'
                parts = text.split("[[uplinks.https]]")
                at = rng.choice((1, 2))
                parts[at] = parts[at].replace(parts[at][parts[at].index("max_interval"):].split("\n")[0], value)
                config.write_text("[[uplinks.https]]".join(parts))
                self.assertEqual(self.command("reload").returncode, 0)
            elif who in down:
                up[who].start()
                down.discard(who)
            else:
                # VictoriaMetrics answers before its own disk has it: what a kill of it loses is its own.
                up[who].stop(signal.SIGKILL if who == "first" else signal.SIGTERM)
                down.add(who)
        answer = self.poured(publisher)
        for who in down:
            up[who].start()
        self.drained(120)
        found, doubled = self.accounted(answer["through"], together(self.first.readings(), self.second.readings()))
        there = [sum(map(len, server.readings().values())) for server in (self.first, self.second)]
        print(f"   {done} (seed {seed}): {answer['acknowledged']} acknowledged, {found} there ({there[0]} at the first, {there[1]} at the standby), "
              f"0 missing, {doubled} doubled", file=sys.stderr)
        self.assertGreater(there[0], 0)
        self.assertLess(doubled, answer["acknowledged"] / 10, "what was on its way, not everything at both")
        if kills >= 30:  # by then the first was away for longer than standby_after, whatever the seed
            self.assertGreater(there[1], 0)


class Kafka(Standby):
    """Apache Kafka with exactly once, and InfluxDB for when it is down."""

    def test_kafka_goes_and_comes_back(self):
        if why := kafka.missing():
            self.skipTest(why)
        broker = kafka.Kafka(self.folder / "kafka")
        self.addCleanup(lambda: broker.stop(signal.SIGKILL))
        broker.topic("millrace.raw", partitions=2)
        broker.topic("millrace-markers", cleanup_policy="compact")
        second = self.server(north.Influx)
        first = f'\n[[uplinks.kafka]]\nname = "central"\nservers = ["{broker.server}"]\nformat = "json"\nexactly_once = true\ninitial_interval = "100ms"\nmax_interval = "1s"\nsend_timeout = "5s"\n'
        gateway = self.start(second.url, north.Influx.config + 'standby_of = "central"\nstandby_after = "2s"\n' + first)
        publisher = self.pouring()
        wait_for(lambda: self.metric("millrace_uplink_records_total", 'uplink="central"') > 500, "readings are through", 60)
        kills = int(os.environ.get("MILLRACE_KILLS", "4"))
        for n in range(kills):
            broker.stop(signal.SIGKILL)
            sent = self.metric("millrace_uplink_records_total", 'uplink="history"')
            wait_for(lambda: self.metric("millrace_uplink_records_total", 'uplink="history"') > sent, "the standby sends", 60)
            if n % 2:
                gateway.stop(signal.SIGKILL)
                gateway = self.gateway(self.folder / "millrace.toml")
            broker.start()
            sent = self.metric("millrace_uplink_records_total", 'uplink="central"')
            wait_for(lambda: self.metric("millrace_uplink_records_total", 'uplink="central"') > sent, "Kafka is sent to again", 90)
        answer = self.poured(publisher)
        self.drained(120)
        by_kafka = {}
        for message in broker.read("millrace.raw", seconds=300):
            by_kafka.setdefault(message.key().decode(), []).append(json.loads(message.value())["value"])
        for device, values in by_kafka.items():
            self.assertEqual(len(values), len(set(values)), f"{device}: in Kafka nothing is twice")
        found, doubled = self.accounted(answer["through"], together(by_kafka, second.readings()))
        there = sum(map(len, by_kafka.values()))
        print(f"   {kills} kills of Kafka, {kills // 2} of the gateway: {answer['acknowledged']} acknowledged, {there} in Kafka, {found - there} at the standby, "
              f"0 missing, {doubled} doubled", file=sys.stderr)
        self.assertLess(doubled, answer["acknowledged"] / 10)


if __name__ == "__main__":
    unittest.main(verbosity=2)
