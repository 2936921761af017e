#!/usr/bin/python3
"""How the HTTPS uplink gets there: through a proxy (Debian's tinyproxy, with and without a login), counted to the byte, and no faster
than it may."""
import json
import shutil
import signal
import socket
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import north
from clouds_test import Stub, secret
from north import North
from testsite import Process, free_port, listening, wait_for


class Lines(Stub):
    """Takes JSON lines."""

    def judge(self, path, headers, body):
        self.records += [(time.monotonic(), json.loads(line)["sequence"]) for line in body.splitlines()]
        return 204, ""


class Proxies(North):
    def proxy(self, *lines, allow):
        program = shutil.which("tinyproxy", path="/usr/bin:/usr/sbin")
        if program is None:
            self.skipTest("tinyproxy is not installed (packaging/install-deps.sh north)")
        port, number = free_port(), len(self.processes)
        config = self.folder / f"tinyproxy-{number}.conf"
        config.write_text("\n".join([f"Port {port}", "Listen 127.0.0.1", "Timeout 600", "MaxClients 20", f"ConnectPort {allow}", *lines]) + "\n")
        process = Process([program, "-d", "-c", str(config)], self.folder / f"tinyproxy-{number}.log")
        self.processes.append(process)
        wait_for(lambda: listening(port), "tinyproxy listens")
        process.port = port
        return process

    def test_tls_through_a_proxy_with_a_login(self):
        tls = self.tls()
        server = self.server(north.Influx, f'https-enabled = true\nhttps-certificate = "{tls}/server.pem"\nhttps-private-key = "{tls}/server.key"')
        proxy = self.proxy("BasicAuth gw7 geheim", allow=server.port)
        config = f'tls_ca = "{tls}/ca.pem"\nproxy = "http://127.0.0.1:{proxy.port}"\n' + server.config
        gateway = self.start(server.url, config)
        self.publish(100)
        wait_for(lambda: "407: it wants a login" in gateway.text() and "somebody must act" in gateway.text(), "the login is missing", 20)
        gateway.stop()
        for word, good in (("falsch", False), ("geheim", True)):
            file = secret(self.folder, "proxy", word + "\n")
            gateway = self.start(server.url, f'proxy_username = "gw7"\nproxy_password_file = "{file}"\n' + config, self.port)
            if good:
                self.drained()
            else:
                wait_for(lambda: self.metric("millrace_uplink_up") == 0 and "says 401: it wants a login, or another one" in gateway.text(), "the login is wrong", 20)
                self.assertEqual(self.metric("millrace_uplink_backlog_records"), 100)
            self.assertNotIn("geheim", gateway.text())
            if not good:
                gateway.stop()
        self.assertEqual(sorted(server.readings()["dev-0"]), list(range(1, 101)))
        # It goes, and comes back: the log waits.
        proxy.stop(signal.SIGKILL)
        self.publish(100, "--prefix", "after")
        wait_for(lambda: self.metric("millrace_uplink_up") == 0, "it is seen that it is gone", 30)
        again = Process([shutil.which("tinyproxy", path="/usr/bin:/usr/sbin"), "-d", "-c", str(next(self.folder.glob("tinyproxy-*.conf")))], self.folder / "again.log")
        self.processes.append(again)
        self.drained()
        self.assertEqual(sorted(server.readings()["after-0"]), list(range(1, 101)))

    def test_a_port_that_the_proxy_does_not_allow(self):
        stub = Lines()
        self.addCleanup(stub.end)
        proxy = self.proxy(allow=1)
        gateway = self.start(stub.url, f'dialect = "generic"\nproxy = "http://127.0.0.1:{proxy.port}"\n')
        self.publish(20)
        wait_for(lambda: "403: it does not let us through" in gateway.text(), "the refusal is told", 20)
        self.assertEqual(self.metric("millrace_uplink_backlog_records"), 20)
        gateway.stop()
        proxy = self.proxy(allow=stub.server_address[1])
        self.start(stub.url, f'dialect = "generic"\nproxy = "http://127.0.0.1:{proxy.port}"\n', self.port)
        self.drained()
        self.assertEqual([number for _, number in stub.records], list(range(1, 21)))

    def test_a_proxy_that_lies(self):
        """A success with more behind it, half an answer, mail, silence: no byte of a reading goes there."""
        for answer in (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 200", b"220 mail.example ESMTP\r\n", b"", b"HTTP/1.1 503 Busy\r\n\r\n"):
            with self.subTest(answer=answer):
                heard, listener = [], socket.create_server(("127.0.0.1", 0))

                def serve(listener=listener, answer=answer, heard=heard):
                    while True:
                        try:
                            client, _ = listener.accept()
                        except OSError:
                            return
                        heard.append(client.recv(65536))
                        client.sendall(answer)
                        client.settimeout(1)
                        try:
                            heard.append(client.recv(65536))
                        except OSError:
                            pass
                        client.close()
                threading.Thread(target=serve, daemon=True).start()
                gateway = self.start("http://127.0.0.1:1", f'dialect = "generic"\nconnect_timeout = "1s"\nproxy = "http://127.0.0.1:{listener.getsockname()[1]}"\n')
                self.publish(20)
                wait_for(lambda: "the proxy 127.0.0.1" in gateway.text(), "the proxy is named", 20)
                self.assertTrue(all(words == b"" or words.startswith(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n") for words in heard), heard)
                self.assertEqual(self.metric("millrace_uplink_backlog_records"), 20)
                listener.close()
                self.assertEqual(gateway.stop(), 0)
                self.afresh()


class Bytes(North):
    def test_bytes_are_counted_with_tls_and_heads(self):
        tls = self.tls()
        server = self.server(north.Influx, f'https-enabled = true\nhttps-certificate = "{tls}/server.pem"\nhttps-private-key = "{tls}/server.key"')
        relay = north.Relay(server.port)
        self.addCleanup(relay.end)
        self.start(f"https://127.0.0.1:{relay.port}", f'tls_ca = "{tls}/ca.pem"\n' + server.config)
        self.publish(3000, "--connections", 3)
        self.drained()
        wait_for(lambda: (self.metric("millrace_uplink_wire_sent_bytes_total"), self.metric("millrace_uplink_wire_received_bytes_total")) == (relay.up, relay.down),
                 "both counts agree", 10)
        self.assertGreater(relay.up, 100_000)

    def test_no_faster_than_it_may(self):
        for connections in (1, 4):
            with self.subTest(connections=connections):
                stub = Lines()
                self.addCleanup(stub.end)
                relay = north.Relay(stub.server_address[1])
                self.addCleanup(relay.end)
                self.start(f"http://127.0.0.1:{relay.port}", f'dialect = "generic"\nupload_max = "64KiB"\nconnections = {connections}\n')
                begin = time.monotonic()
                self.publish(1500)
                self.drained()
                took = time.monotonic() - begin
                self.assertEqual(sorted(number for _, number in stub.records), list(range(1, 1501)))
                rate = relay.up / took
                self.assertLess(rate, 66 << 10)
                self.assertEqual(self.metric("millrace_uplink_retries_total"), 0)
                self.afresh()


if __name__ == "__main__":
    unittest.main(verbosity=2)
