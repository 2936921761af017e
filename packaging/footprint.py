#!/usr/bin/python3
"""Size and cost of a Millrace gateway on this machine: binary, start-up, memory, threads, wake-ups, processor time.

usage: millrace-footprint [--millrace PATH]... [--rate N] [--seconds N] [--json] [--packages FOLDER | --parts MAP]

Each gateway runs in a temporary folder on free ports of the loopback: MQTT endpoint in, MQTT uplink out to a far side that this script
plays. mosquitto, where it is installed, is measured beside it under the same load. --packages: sizes of .deb files, and of the binary in
each, instead. --parts: what each library takes of a binary, by the map that its linker wrote (-Wl,-Map=MAP), instead.
"""
import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

CONFIG = """[gateway]
name = "footprint"
runtime_dir = "{run}"
[log]
path = "{log}"
[[inputs.mqtt_endpoint]]
name = "devices"
listen = "127.0.0.1:{port}"
anonymous = true
liveness = false
  [[inputs.mqtt_endpoint.routes]]
  topic = "plant/{{line}}/{{device}}/telemetry"
  time = "ts"
  metrics = {{ value = "value" }}
[[uplinks.mqtt]]
name = "central"
servers = ["mqtt://127.0.0.1:{central}"]
[observe]
listen = "127.0.0.1:{observe}"
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---- MQTT 3.1.1, as little as is needed ---------------------------------------------------------------------------------

def packet(kind, body):
    size, length = len(body), b""
    while True:
        size, byte = divmod(size, 128)
        length += bytes([byte | (128 if size else 0)])
        if not size:
            return bytes([kind]) + length + body


def text(value):
    return len(value).to_bytes(2, "big") + value.encode()


def packets(stream):
    """(first byte, body) of each packet, to the end of the stream."""
    while True:
        first = stream.read(1)
        if not first:
            return
        size, shift = 0, 0
        while True:
            byte = stream.read(1)[0]
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        yield first[0], stream.read(size)


class FarSide:
    """Takes every message at QoS 1 and forgets it, as a broker without subscribers; speaks MQTT 3.1.1 and, to who asks, 5."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    @staticmethod
    def serve(connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for first, body in packets(connection.makefile("rb")):
                if first >> 4 == 1:
                    connection.sendall(packet(0x20, b"\0\0\0" if body[6] == 5 else b"\0\0"))
                elif first >> 4 == 3 and first & 6:
                    at = 2 + int.from_bytes(body[:2], "big")
                    connection.sendall(packet(0x40, body[at:at + 2]))
                elif first >> 4 == 12:
                    connection.sendall(packet(0xD0, b""))
        except OSError:
            pass


class Device:
    """Publishes {"ts":...,"value":n} at QoS 1, `rate` a second, for `seconds`, and waits for every acknowledgement."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(30)
        self.socket.sendall(packet(0x10, text("MQTT") + b"\x04\x02\0\0" + text("footprint-device")))
        self.stream = packets(self.socket.makefile("rb"))
        first, body = next(self.stream)
        if first != 0x20 or body[1] != 0:
            raise RuntimeError(f"the connection was refused: {body!r}")

    def publish(self, rate, seconds):
        count, acknowledged = int(rate * seconds), threading.Semaphore(0)

        def take():
            for _ in range(count):
                next(self.stream)
                acknowledged.release()
        threading.Thread(target=take, daemon=True).start()
        begin, sent = time.monotonic(), 0
        while sent < count:
            due = min(count, int((time.monotonic() - begin) * rate) + 1)
            out = b""
            for n in range(sent, due):
                body = text("plant/line-1/device-%d/telemetry" % (n % 10)) + (n % 65535 + 1).to_bytes(2, "big")
                out += packet(0x32, body + b'{"ts":%.3f,"value":%.2f}' % (time.time(), n / 7))
            self.socket.sendall(out)
            sent = due
            time.sleep(0.02)
        for _ in range(count):
            if not acknowledged.acquire(timeout=30):
                raise RuntimeError("an acknowledgement did not come")


# ---- looking at a process ------------------------------------------------------------------------------------------------

def status(pid, name):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return 0


def wakes(pid):
    return sum(int(line.split()[1]) for task in Path(f"/proc/{pid}/task").iterdir() for line in (task / "status").read_text().splitlines()
               if line.startswith("voluntary_ctxt_switches"))


def cpu(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stripped_size(path):
    """Of the binary as a package would have it."""
    with tempfile.NamedTemporaryFile() as copy:
        done = subprocess.run(["strip", "-o", copy.name, path], capture_output=True) if shutil.which("strip") else None
        return os.path.getsize(copy.name) if done and done.returncode == 0 else os.path.getsize(path)


def measure(pid, port, rate, seconds):
    time.sleep(2)  # what starting has begun comes to rest
    before = wakes(pid)
    time.sleep(seconds)
    out = {"rss_idle_kb": status(pid, "VmRSS"), "threads": status(pid, "Threads"), "wakes_per_second": round((wakes(pid) - before) / seconds, 2)}
    device, used = Device(port), cpu(pid)
    device.publish(rate, seconds)
    out |= {"rss_load_kb": status(pid, "VmRSS"), "cpu_us_per_reading": round((cpu(pid) - used) / (rate * seconds) * 1e6, 1)}
    return out


def millrace(binary, rate, seconds):
    version = subprocess.run([binary, "version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    with tempfile.TemporaryDirectory() as folder:
        port, central = free_port(), FarSide()
        run = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else folder))
        config = Path(folder) / "millrace.toml"
        config.write_text(CONFIG.format(run=run, log=f"{folder}/log", port=port, central=central.port, observe=free_port()))
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ready.bind(f"{folder}/notify")
        ready.settimeout(60)
        begin = time.monotonic()
        with open(f"{folder}/err", "w") as err:
            process = subprocess.Popen([binary, "run", "-c", str(config)], env={**os.environ, "NOTIFY_SOCKET": f"{folder}/notify"}, stderr=err)
        try:
            while b"READY=1" not in ready.recv(4096):
                pass
            started = time.monotonic() - begin
            return {"what": version, "binary_bytes": stripped_size(binary), "start_ms": round(started * 1000, 1)} | measure(process.pid, port, rate, seconds)
        except Exception:
            sys.stderr.write(Path(f"{folder}/err").read_text())
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
            central.listener.close()
            shutil.rmtree(run, ignore_errors=True)


def mosquitto(binary, rate, seconds):
    version = subprocess.run([binary, "-h"], capture_output=True, text=True).stdout.splitlines()[0]
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        user = f"user {os.environ.get('USER', 'root')}\n" if os.geteuid() == 0 else ""
        Path(f"{folder}/conf").write_text(f"{user}listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {folder}/\n")
        begin = time.monotonic()
        process = subprocess.Popen([binary, "-c", f"{folder}/conf"], stderr=subprocess.DEVNULL)
        try:
            while True:
                with socket.socket() as s:
                    if s.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.001)
            started = time.monotonic() - begin
            return {"what": version, "binary_bytes": stripped_size(binary), "start_ms": round(started * 1000, 1)} | measure(process.pid, port, rate, seconds)
        finally:
            process.terminate()
            process.wait(20)


def packages(folder):
    rows = []
    for deb in sorted(Path(folder).glob("*.deb")):
        fields = subprocess.run(["dpkg-deb", "-f", str(deb), "Package", "Version", "Architecture", "Installed-Size"], capture_output=True, text=True, check=True).stdout
        values = dict(line.split(": ", 1) for line in fields.splitlines())
        listing = subprocess.run(["dpkg-deb", "-c", str(deb)], capture_output=True, text=True, check=True).stdout
        binary = [int(line.split()[2]) for line in listing.splitlines() if line.endswith(("./usr/bin/millrace", "./usr/bin/millrace-sim"))]
        rows.append({"package": values["Package"], "architecture": values["Architecture"], "package_bytes": deb.stat().st_size,
                     "installed_kb": int(values["Installed-Size"]), "binary_bytes": binary[0] if binary else None})
    return rows


PARTS = (("unwinding_bytes", (".eh_frame", ".gcc_except_table")), ("relocation_bytes", (".rela", ".dyn", ".gnu.hash")), ("code_bytes", (".text", ".init", ".fini", ".plt")),
         ("data_bytes", (".rodata", ".data", ".tdata", ".init_array", ".fini_array", ".got")))


def parts(map_file):
    """Of what lies in the file: what is only reserved in memory (.bss) and what a package strips are not counted."""
    sizes = {}
    merged = Path(map_file).read_text().split("Linker script and memory map", 1)[1]
    for section, size, source in re.findall(r"^ (\.\S+)\s+0x[0-9a-f]{16}\s+0x([0-9a-f]+) (\S.*)$", merged, re.M):
        column = next((name for name, starts in PARTS if section.startswith(starts)), None)
        if column:
            archive = re.search(r"([^/]+)\.a\(", source)
            row = sizes.setdefault(archive[1] if archive else "program, C start", dict.fromkeys((name for name, _ in PARTS), 0))
            row[column] += int(size, 16)
    rows = [{"part": part, "bytes": sum(row.values())} | row for part, row in sizes.items()]
    return sorted((row for row in rows if row["bytes"]), key=lambda row: -row["bytes"])


def table(rows):
    names = list(rows[0])
    widths = [max(len(name), *(len(str(row[name])) for row in rows)) for name in names]
    for line in [dict(zip(names, names))] + rows:
        print("  ".join(str(line[name] if line[name] is not None else "").ljust(width) for name, width in zip(names, widths)).rstrip())


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--millrace", action="append")
    words.add_argument("--rate", type=int, default=1000)
    words.add_argument("--seconds", type=int, default=20)
    words.add_argument("--json", action="store_true")
    words.add_argument("--packages")
    words.add_argument("--parts")
    asked = words.parse_args()
    if asked.packages:
        rows = packages(asked.packages)
    elif asked.parts:
        rows = parts(asked.parts)
    else:
        binaries = asked.millrace or [shutil.which("millrace")]
        if not binaries[0]:
            sys.exit("there is no millrace in the path: --millrace PATH")
        rows = [millrace(binary, asked.rate, asked.seconds) for binary in binaries]
        beside = shutil.which("mosquitto") or (os.path.exists("/usr/sbin/mosquitto") and "/usr/sbin/mosquitto")
        if beside:
            rows.append(mosquitto(beside, asked.rate, asked.seconds))
    if asked.json:
        print(json.dumps(rows))
    elif rows:
        table(rows)


if __name__ == "__main__":
    main()
