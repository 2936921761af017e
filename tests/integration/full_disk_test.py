#!/usr/bin/python3
"""What a disk can refuse, for both answers to a full log: what is stored, lost, told, and whether it goes on by itself. On file systems of
their own; prints the table of packaging/docs/disk-faults.md (MILLRACE_TABLE=FILE writes it)."""
import os
import random
import shutil
import subprocess
import sys
import time
import unittest
from pathlib import Path

import paho.mqtt.client as mqtt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from testsite import DiskSite, Neighbour, free_port, wait_for

ENDPOINT = """
[gateway]
name = "gw"
runtime_dir = "@run@"
[log]
path = "@log@"
commit_interval = "100ms"
max_size = "@max@"
when_full = "@when@"
[[inputs.mqtt_endpoint]]
name = "plant"
listen = "127.0.0.1:@devices@"
anonymous = true
  [[inputs.mqtt_endpoint.routes]]
  topic = "plant/{device}"
  metrics = { value = "value" }
[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://127.0.0.1:@central@"]
initial_interval = "100ms"
max_interval = "1s"
[observe]
listen = "127.0.0.1:@observe@"
"""
ROWS = []


def run(*command):
    subprocess.run(command, check=True, capture_output=True, text=True)


class Ext4Quota:
    """A project quota. Needs CONFIG_QFMT_V2 and the tools of the package quota."""
    kind, writes_in_place = "ext4, project", True

    def __init__(self, image, mount):
        self.mount = mount
        run("mkfs.ext4", "-q", "-F", "-O", "quota,project", "-E", "quotatype=prjquota", image)
        run("mount", "-o", "loop,prjquota", image, mount)
        (mount / "log").mkdir()
        run("chattr", "-p", "7", "+P", mount / "log")
        self.limit(0)

    def limit(self, size):
        run("setquota", "-P", "7", "0", str(size // 1024), "0", "0", self.mount)


class BtrfsQuota:
    """A subvolume's quota group. Needs btrfs-progs. Over its limit not even what is there can be written again."""
    kind, writes_in_place = "btrfs, subvolume", False

    def __init__(self, image, mount):
        self.folder = mount / "log"
        os.truncate(image, 256 << 20)
        run("mkfs.btrfs", "-q", "-f", image)
        run("mount", "-o", "loop", image, mount)
        run("btrfs", "quota", "enable", mount)
        run("btrfs", "subvolume", "create", self.folder)

    def limit(self, size):
        run("btrfs", "qgroup", "limit", str(size) if size else "none", self.folder)


class FullDisks(DiskSite):
    def start(self, when, max_size):
        self.devices, self.central = free_port(), free_port()
        self.acknowledged, self.sent, self.rng = 0, 0, random.Random(1)
        config = self.configure(ENDPOINT, devices=self.devices, central=self.central, when=when, max=max_size, log=self.mount / "log")
        process = self.gateway(config)
        self.client = mqtt.Client(client_id="press-1", protocol=mqtt.MQTTv311, clean_session=False)
        self.client.max_inflight_messages_set(50)
        self.client.on_publish = self.on_publish
        self.client.connect("127.0.0.1", self.devices)
        self.client.loop_start()
        self.addCleanup(self.client.loop_stop)
        return process

    def on_publish(self, *_):
        self.acknowledged += 1

    def publish_some(self, count):
        for _ in range(count):
            self.sent += 1
            self.client.publish("plant/press-1", '{"value":"%d-%s"}' % (self.sent, self.rng.randbytes(1500).hex()), qos=1)

    def fill(self, until, what):
        def more():
            if self.sent - self.acknowledged < 100:
                self.publish_some(100)
            return until()
        wait_for(more, what, 60)

    def ledger(self, how):
        return int(self.metric("millrace_ledger_settled_records", f'lane="raw",how="{how}"'))

    def evicted(self):
        return self.ledger("evicted")

    def lines(self, process, words):
        return [line for line in process.text().splitlines() if words in line]

    def line(self, process, words):
        return (self.lines(process, words) or [""])[0]

    def story(self, fault, when, max_size, begin, end, deliver_meanwhile=True, give_back=True):
        """Fills some of the log with the link down, lets the fault come, publishes on, opens the link, lets the fault go."""
        process = self.start(when, max_size)
        self.fill(lambda: self.metric("millrace_log_bytes") > 10 << 20, "ten megabytes are stored")
        self.assertEqual(self.evicted(), 0)
        begin()
        self.fill(lambda: self.metric("millrace_log_degraded") == 1, "the fault shows")  # what is open has room for a while
        time.sleep(0.5)  # acknowledgements that were on their way
        stored = self.acknowledged
        ready = self.http("/readyz")
        self.publish_some(200)
        time.sleep(3)  # nothing is acknowledged in this time: that is the point
        # But what a commit held that was faster than the neighbour, once: then that is said, too.
        self.assertTrue(self.acknowledged == stored or self.lines(process, "log: writing again"))
        self.assertIn("log: ", ready)
        self.assertIn("; since 2", ready)
        self.assertEqual(self.evicted(), 0)
        told = self.line(process, "log: cannot commit: ")
        self.assertIn("Nothing new is acknowledged", told)
        meanwhile, before = 0, self.metric("millrace_log_bytes")
        if deliver_meanwhile:
            self.broker(self.central)
            wait_for(lambda: self.ledger("delivered") >= stored, "what is stored is delivered meanwhile", 60)
            meanwhile = self.ledger("delivered")
            if give_back:
                wait_for(lambda: self.metric("millrace_log_bytes") < before / 2, "and given back", 30)
        end()
        wait_for(lambda: self.metric("millrace_log_degraded") == 0, "goes on by itself", 60)
        if not deliver_meanwhile:
            self.broker(self.central)
        wait_for(lambda: self.acknowledged == self.sent, "everything is acknowledged", 60)
        wait_for(lambda: self.ledger("delivered") == self.acknowledged, "and delivered", 60)
        self.assertEqual((self.evicted(), self.metric("millrace_log_lost_records_total")), (0, 0))
        self.assertEqual(self.http("/readyz"), "ready\n")
        begun, ended = self.lines(process, "log: cannot commit"), self.lines(process, "log: writing again")
        self.assertEqual(len(begun), len(ended), process.text())  # each told once
        self.assertTrue(begun)
        ROWS.append((fault, when, stored, 0, meanwhile or "after it", told.split("cannot commit: ")[1].split(". Nothing new")[0].replace(str(self.mount), "/data"), "yes"))
        self.assertEqual(process.stop(), 0)

    def own_bound(self, when):
        process = self.start(when, "4MiB")
        if when == "evict":
            self.fill(lambda: self.evicted() > 500, "the oldest make room")
        else:
            self.fill(lambda: self.metric("millrace_log_blocked") == 1, "inputs pause")
            self.assertIn("log: full", self.http("/readyz"))
        self.assertLessEqual(self.metric("millrace_log_bytes"), 4 << 20)
        stored = self.acknowledged
        told = "loss records, `millrace_log_evicted_records_total`" if when == "evict" else self.line(process, "log: full").split("log: ")[1]
        self.broker(self.central)
        wait_for(lambda: self.acknowledged == self.sent and self.ledger("delivered") + self.evicted() == self.acknowledged, "the rest is delivered", 60)
        lost = self.evicted()
        self.assertEqual(lost > 0, when == "evict")
        ROWS.append(("its own bound", when, stored, lost, "after it", told, "yes"))
        self.assertEqual(process.stop(), 0)

    def test_own_bound_evict(self):
        self.own_bound("evict")

    def test_own_bound_block(self):
        self.own_bound("block")

    def others(self, when):
        neighbours = []
        self.story("others fill the disk and take what is freed", when, "32MiB", lambda: neighbours.append(Neighbour(self.mount)), lambda: neighbours.pop().leave())

    def test_others_evict(self):
        self.others("evict")

    def test_others_block(self):
        self.others("block")

    def refuse_writes(self):
        log = str(self.mount / "log")
        wait_for(lambda: self.acknowledged == self.sent, "nothing is on its way")

        def refused():  # not while the gateway has just opened a file to write into it
            done = subprocess.run(["mount", "-o", "bind,ro", log, log], capture_output=True)
            if done.returncode != 0:
                subprocess.run(["umount", "-l", log], capture_output=True)
            return done.returncode == 0

        wait_for(refused, "the mount is read-only")
        # What is open is written on until the next segment is wanted.
        self.fill(lambda: self.metric("millrace_log_degraded") == 1, "a new file is refused")

    def read_only(self, when):
        self.story("mounted read-only", when, "32MiB", self.refuse_writes, lambda: subprocess.run(["umount", str(self.mount / "log")], check=True),
                   deliver_meanwhile=False)

    def test_read_only_evict(self):
        self.read_only("evict")

    def test_read_only_block(self):
        self.read_only("block")

    def repaired(self):
        subprocess.run(["umount", "-l", str(self.mount)], check=True)
        other = self.folder / "disk-2.img"  # it comes back as another device
        shutil.copy(self.image, other)
        self.image = other
        subprocess.run(["e2fsck", "-fy", str(self.image)], capture_output=True)
        self.mount_it()

    def failing(self, when):
        self.story("every access fails (EIO)", when, "32MiB", self.shut_down, self.repaired, deliver_meanwhile=False)

    def test_failing_evict(self):
        self.failing("evict")

    def test_failing_block(self):
        self.failing("block")

    def used_up(self, when):
        quota = self.quota()
        self.story(f"a quota is used up ({quota.kind})", when, "32MiB", lambda: quota.limit(int(self.metric("millrace_log_bytes")) + (4 << 20)), lambda: quota.limit(0),
                   give_back=quota.writes_in_place)
        self.assertIn("Disk quota exceeded", ROWS[-1][5])

    def test_quota_evict(self):
        self.used_up("evict")

    def test_quota_block(self):
        self.used_up("block")

    def quota(self):
        """One over the log's folder, on a file system that this kernel can do it with."""
        self.unmount()
        refused = []
        for kind in (Ext4Quota, BtrfsQuota):
            try:
                quota = kind(self.image, self.mount)
            except (OSError, subprocess.CalledProcessError) as error:
                said = (getattr(error, "stderr", None) or str(error)).strip()
                refused.append(f"{kind.kind}: {said.splitlines()[0]}")
                subprocess.run(["umount", str(self.mount)], capture_output=True)
                continue
            self.mounted = True
            return quota
        return self.skipTest("; ".join(refused))

    def test_a_start_on_a_full_disk(self):
        """Killed, and started again while others have the whole disk: it delivers, or says why not and is started again."""
        process = self.start("evict", "32MiB")
        self.fill(lambda: self.metric("millrace_log_bytes") > 4 << 20, "something is stored")
        wait_for(lambda: self.acknowledged == self.sent, "and acknowledged")
        self.client.loop_stop()
        process.stop(9)
        neighbour = Neighbour(self.mount)
        neighbour.stopping.set()  # it has all of it; what a start gives up and takes again at once is left to it
        neighbour.thread.join()
        process = self.gateway(self.folder / "millrace.toml")
        self.broker(self.central)
        wait_for(lambda: self.ledger("delivered") == self.acknowledged, "all of it is delivered", 60)
        neighbour.leave()
        wait_for(lambda: self.metric("millrace_log_degraded") == 0, "and it goes on by itself", 60)
        self.assertEqual(self.metric("millrace_log_lost_records_total"), 0)
        self.assertEqual(process.stop(), 0)

    @classmethod
    def tearDownClass(cls):
        head = ["| fault | `when_full` | stored (acknowledged) | lost | delivered meanwhile | told | goes on by itself |", "|---|---|---|---|---|---|---|"]
        table = "\n".join(head + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in ROWS])
        print(table)
        if os.environ.get("MILLRACE_TABLE"):
            Path(os.environ["MILLRACE_TABLE"]).write_text(table + "\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
