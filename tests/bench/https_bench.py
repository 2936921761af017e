"""What the HTTPS uplink costs. The far sides of https_cpu and of the handshakes answer and keep nothing; those of influx_cpu and clickhouse_cpu
are the real servers, of which only the gateway's own CPU counts."""
import json
import re
import signal
import socket
import ssl
import statistics
import subprocess
import threading
import time

import north
from testsite import BUILD, ROOT, Process, free_port, wait_for

CORE = ROOT / "build" / "core" / "millrace"

CONFIG = """
[gateway]
name = "gw"
runtime_dir = "@run@"
[log]
path = "@log@"
max_size = "4GiB"
[[inputs.mqtt_endpoint]]
name = "devices"
listen = "127.0.0.1:@port@"
anonymous = true
liveness = false
  [[inputs.mqtt_endpoint.routes]]
  topic = "plant/{line}/{device}/telemetry"
  time = "ts"
  metrics = { value = "value" }
[[uplinks.@kind@]]
name = "central"
servers = ["@server@"]
initial_interval = "50ms"
max_interval = "1s"
@uplink@
[observe]
listen = "127.0.0.1:@observe@"
"""


class Sink:
    """Takes each request over TLS 1.2 and answers 204, `delay` seconds after it has all of it. `bodies` keeps the first ones, to be sent again by curl;
    `handshakes` has bytes of both directions and whether a session was resumed; `most` is how many requests waited for their answer at a time."""

    def __init__(self, tls, keep=0, delay=0):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(tls / "server.pem", tls / "server.key")
        self.context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.keep, self.bodies, self.requests, self.bytes, self.handshakes, self.cipher, self.open = keep, [], 0, 0, [], None, set()
        self.delay, self.lock, self.now, self.most = delay, threading.Lock(), 0, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.open.add(peer)
            threading.Thread(target=self.talk, args=(peer,), daemon=True).start()

    def talk(self, peer):
        try:
            self.answer(peer)
        except (OSError, EOFError):
            pass
        self.open.discard(peer)
        peer.close()

    def answer(self, peer):
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls, moved = self.context.wrap_bio(into, out, server_side=True), 0

        def more():
            data = peer.recv(1 << 18)
            if not data:
                raise EOFError
            into.write(data)
            return len(data)

        def flush():
            data = out.read()
            peer.sendall(data)
            return len(data)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                moved += flush() + more()
        self.handshakes.append((moved + flush() - into.pending, tls.session_reused))  # a request may stand behind it already
        self.cipher = tls.cipher()[0]
        pending = bytearray()
        while True:
            try:
                while chunk := tls.read(1 << 18):
                    pending += chunk
            except ssl.SSLWantReadError:
                pass
            while (end := pending.find(b"\r\n\r\n")) >= 0:
                length = re.search(rb"(?i)content-length: *(\d+)", pending[:end])
                whole = end + 4 + (int(length[1]) if length else 0)
                if len(pending) < whole:
                    break
                if len(self.bodies) < self.keep and length:
                    self.bodies.append(bytes(pending[end + 4:whole]))
                self.requests, self.bytes = self.requests + 1, self.bytes + whole - end - 4
                del pending[:whole]
                if self.delay:
                    self.wait()
                tls.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
                flush()
            more()

    def wait(self):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.delay)
        with self.lock:
            self.now -= 1

    def hang_up(self):
        for peer in list(self.open):
            try:
                peer.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def end(self):
        self.listener.close()
        self.hang_up()


class HttpsBench:
    """Beside Bench (bench.py), which brings the site, `cpu_of` and `rss_of`."""

    def at_https(self, server, uplink, binary=BUILD / "millrace", kind="https"):
        self.observe, port = None, free_port()
        config = self.configure(CONFIG, port=port, server=server, uplink=uplink, kind=kind)
        gateway = self.gateway(config, program=binary)
        wait_for(lambda: self.metric("millrace_input_up") == 1, "the endpoint listens")
        return gateway, port

    def https_drain(self, server, uplink, readings, devices=10, window=500):
        """CPU microseconds a reading, from the log to the answer of the far side, for readings of so many devices; what it costs to start with
        an empty log, and to connect, is taken off. And readings a second, from the start on."""
        connected = uplink.replace("@tls@", f'tls_ca = "{self.tls()}/ca.pem"')
        gateway, _ = self.at_https(server, connected)
        wait_for(lambda: self.metric("millrace_uplink_up") == 1, "connected")
        start = self.cpu_of(gateway.process.pid)
        gateway.stop()
        self.forget_state()
        gateway, port = self.at_https("http://127.0.0.1:1", uplink.replace("@tls@", ""))
        subprocess.run([str(BUILD / "tests" / "pipelined_publisher"), str(port), "--connections", str(devices), "--window", str(window), "--count", str(readings)],
                       check=True, capture_output=True)
        gateway.stop()
        gateway, _ = self.at_https(server, connected)
        begin = time.monotonic()
        wait_for(lambda: self.metric("millrace_uplink_records_total") >= readings and self.metric("millrace_uplink_backlog_records") == 0, "all is delivered", 300)
        used, took = self.cpu_of(gateway.process.pid) - start, time.monotonic() - begin
        gateway.stop(signal.SIGKILL)
        self.forget_state()
        return used / readings * 1e6, readings / took

    def north_alone(self, *arguments):
        return json.loads(subprocess.run([str(BUILD / "tests" / "north_bench"), *arguments], capture_output=True, text=True, check=True).stdout)

    def https_cpu(self):
        readings, ours, curls, rates = 5_000_000, [], [], self.north_alone("tls")
        for _ in range(3):
            sink = Sink(self.tls(), keep=1 << 20)
            used, rate = self.https_drain(sink.url, 'format = "batch"\n@tls@', readings)
            bulk = rates["beside_value"] if "CHACHA" in sink.cipher else rates["value"]
            bodies, sent = list(sink.bodies), sink.bytes
            sink.end()
            # The same bodies by curl, one connection; what it costs to start it once is taken off.
            again = Sink(self.tls())
            lines = [f'cacert = "{self.tls()}/ca.pem"', "silent"]
            for n, body in enumerate(bodies):
                (self.folder / f"body{n}").write_bytes(body)
                lines += ["next" if n else "", f'cacert = "{self.tls()}/ca.pem"', f'url = "{again.url}/"', f'data-binary = "@{self.folder}/body{n}"']
            (self.folder / "curl.conf").write_text("\n".join(lines) + "\n")
            curls.append((self.cpu_of_child(["curl", "-K", str(self.folder / "curl.conf")]) - self.cpu_of_child(["curl", "--version"])) / readings * 1e6)
            if again.bytes != sent:
                raise AssertionError(f"curl sent {again.bytes} bytes, not {sent}")
            again.end()
            ours.append(used)
            print(f"   {used:.4f} us/reading, {rate:.0f} readings/s, {sent / readings:.3f} bytes/reading in {len(bodies)} requests by {sink.cipher}; "
                  f"mbedTLS' own rate for these bytes {bulk * sent / readings / 1000:.4f}, curl with the same bodies {curls[-1]:.4f} us/reading", flush=True)
        return statistics.median(ours), "curl with the same bodies, us/reading", statistics.median(curls), 3

    def cpu_of_child(self, command):
        import resource
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def real_server(self, kind):
        if why := kind.missing():
            raise RuntimeError(why)
        server = kind(self.folder / kind.__name__.lower())
        server.begin()
        return server

    def to_server(self, kind, readings, alone):
        ours = []
        for _ in range(3):
            server = self.real_server(kind)
            try:
                ours.append(self.https_drain(server.url, kind.config, readings)[0])
            finally:
                server.stop(signal.SIGKILL)
                subprocess.run(["rm", "-rf", str(server.folder)])
        encoding = self.north_alone(*alone)
        return statistics.median(ours), f"the encoding alone, us/reading ({encoding['beside_value']:.0f} bytes a reading)", encoding["value"] / 1000, 3

    def influx_cpu(self):
        return self.to_server(north.Influx, 300_000, ["influxdb"])

    def clickhouse_cpu(self):
        form = re.search(r'format = "(\w+)"', north.ClickHouse.config)
        return self.to_server(north.ClickHouse, 300_000, ["clickhouse", form[1] if form else "json"])

    def https_connections(self):
        """Readings a second of a backlog, as JSON lines over TLS, to a server whose answers take 50 ms, by so many connections."""
        readings, rates = 200_000, {}
        for connections in (1, 2, 4, 8):
            some = []
            for _ in range(3):
                sink = Sink(self.tls(), delay=0.05)
                # small batches of small rows: the readings of the publisher count up, and pack better than any real ones
                used, rate = self.https_drain(sink.url, f'connections = {connections}\nbatch_size = "4KiB"\n@tls@', readings, 50, 4)
                sink.end()
                some.append(rate)
                print(f"   {connections} connections: {rate:.0f} readings/s in {sink.requests} requests, {sink.most} of them at a time; {used:.3f} us/reading",
                      flush=True)
                if sink.most != connections:
                    raise AssertionError(f"{sink.most} requests at a time by {connections} connections")
            rates[connections] = statistics.median(some)
        return rates[4], f"readings/s by one connection ({rates[2]:.0f} by two, {rates[8]:.0f} by eight)", rates[1], 3

    def https_handshake_bytes(self):
        """Bytes of both directions until the server is done; the resumed one comes after the server hung up."""
        sink = Sink(self.tls())
        gateway, port = self.at_https(sink.url, f'format = "batch"\ntls_ca = "{self.tls()}/ca.pem"')
        wait_for(lambda: self.metric("millrace_uplink_up") == 1, "connected")
        while len(sink.handshakes) < 4:
            seen = len(sink.handshakes)
            sink.hang_up()
            subprocess.run([str(BUILD / "tests" / "pipelined_publisher"), str(port), "--count", "10"], check=True, capture_output=True)
            wait_for(lambda: len(sink.handshakes) > seen, "it comes back")
        gateway.stop()
        self.forget_state()
        sink.end()
        full = [size for size, resumed in sink.handshakes if not resumed]
        resumed = [size for size, resumed in sink.handshakes if resumed]
        if not resumed:
            raise AssertionError(f"no session was resumed: {sink.handshakes}")
        return statistics.median(full) / 1000, f"resumed, KB ({len(resumed)} of {len(sink.handshakes)})", statistics.median(resumed) / 1000, 1

    def rss_core_https(self):
        values, plain = [], []
        for _ in range(3):
            sink = Sink(self.tls())
            central = self.broker()
            for server, uplink, kind, into in ((sink.url, f'format = "batch"\ntls_ca = "{self.tls()}/ca.pem"', "https", values),
                                               (f"mqtt://127.0.0.1:{central.port}", "", "mqtt", plain)):
                gateway, port = self.at_https(server, uplink, CORE, kind)
                wait_for(lambda: self.metric("millrace_uplink_up") == 1, "connected")
                subprocess.run([str(BUILD / "tests" / "pipelined_publisher"), str(port), "--connections", "10", "--rate", "5000", "--count", "50000"], check=True,
                               capture_output=True)
                wait_for(lambda: self.metric("millrace_uplink_backlog_records") == 0, "all is delivered")
                into.append(self.rss_of(gateway.process.pid))
                gateway.stop(signal.SIGKILL)
                self.forget_state()
            sink.end()
            central.stop()
        return statistics.median(values), "the same load by MQTT in clear, MB", statistics.median(plain), 3
