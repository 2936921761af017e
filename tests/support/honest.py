#!/usr/bin/python3
"""Honest devices, in a process of their own so that whoever plays the attackers does not slow them down: each publishes numbered
readings at a steady pace, keeps a window of them unacknowledged, comes back when its connection breaks and sends again what was
not acknowledged (MQTT 5, section 4.4), on a session that outlives the connection.

usage: honest.py PLAN OUTPUT      PLAN: [{"port", "client", "qos", "tls": CA or null, "user", "password", "rate"}, ...] as JSON

OUTPUT gets a line "monotonic-time client n seconds" for each acknowledgement; on SIGTERM everything that is outstanding is waited
for, and the last line is JSON: {client: {"through": N, "reconnects": N, "in_doubt": N}}."""
import json
import select
import signal
import socket
import ssl
import struct
import sys
import threading
import time

WINDOW = 50
stopping = threading.Event()


def text(value):
    return struct.pack(">H", len(value)) + value.encode()


def packet(first, body):
    length, n = b"", len(body)
    while True:
        length += bytes([n & 0x7F | (0x80 if n > 0x7F else 0)])
        n >>= 7
        if not n:
            return bytes([first]) + length + body


class Device(threading.Thread):
    def __init__(self, plan, output):
        super().__init__()
        self.plan, self.output = plan, output
        self.n, self.reconnects = 0, -1
        self.waiting = {}   # packet identifier: [n, first sent, PUBREC came]
        self.through = 0

    def identifier(self):
        return (self.n - 1) % 60000 + 1

    def publish(self, identifier, n, again=False):
        payload = json.dumps({"ts": 1_790_000_000 + n, "value": n}).encode()
        body = text(f"plant/honest/{self.plan['client']}/telemetry") + struct.pack(">H", identifier) + b"\0" + payload
        return packet(0x30 | self.plan["qos"] << 1 | (8 if again else 0), body)

    def dial(self):
        self.reconnects += 1
        raw = socket.create_connection(("127.0.0.1", self.plan["port"]), 10)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.plan["tls"]:
            context = ssl.create_default_context(cafile=self.plan["tls"])
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            raw = context.wrap_socket(raw, server_hostname="localhost")
        flags = 0xC0 if self.plan["user"] else 0
        body = text("MQTT") + bytes([5, flags]) + struct.pack(">H", 60) + b"\x05\x11" + struct.pack(">I", 3600) + text(self.plan["client"])
        if flags:
            body += text(self.plan["user"]) + text(self.plan["password"])
        raw.sendall(packet(0x10, body))
        raw.settimeout(60)
        self.socket, self.bytes = raw, b""
        first, answer = self.next_packet()
        if first != 0x20 or answer[1] != 0:
            raise OSError(f"CONNACK {answer.hex()}")
        if not answer[0] & 1 and self.reconnects > 0:
            self.output.write(f"session of {self.plan['client']} is gone\n")
        for identifier, entry in sorted(self.waiting.items(), key=lambda item: item[1][0]):
            raw.sendall(packet(0x62, struct.pack(">H", identifier)) if entry[2] else self.publish(identifier, entry[0], True))

    def next_packet(self):
        while True:
            if len(self.bytes) >= 2 and len(self.bytes) >= 2 + self.bytes[1]:  # answers to a publisher are short
                end = 2 + self.bytes[1]
                got, self.bytes = (self.bytes[0], self.bytes[2:end]), self.bytes[end:]
                return got
            more = self.socket.recv(65536)
            if not more:
                raise OSError("closed")
            self.bytes += more

    def take(self, first, body):
        identifier = struct.unpack(">H", body[:2])[0]
        reason = body[2] if len(body) > 2 else 0
        if first == 0x50 and reason < 0x80:
            self.waiting[identifier][2] = True
            self.socket.sendall(packet(0x62, body[:2]))
        elif first in (0x40, 0x70):
            n, sent, _ = self.waiting.pop(identifier)
            self.through = max(self.through, n)
            self.output.write(f"{time.monotonic():.6f} {self.plan['client']} {n} {time.monotonic() - sent:.6f}\n")
            if first == 0x40 and reason >= 0x80:
                self.output.write(f"{self.plan['client']} {n} was refused: {reason}\n")
        else:
            raise OSError(f"unexpected {first:#x} {body.hex()}")

    def run(self):
        due = time.monotonic()
        while not (stopping.is_set() and not self.waiting):
            try:
                self.dial()
                heard = time.monotonic()
                while not (stopping.is_set() and not self.waiting):
                    now = time.monotonic()
                    if not stopping.is_set() and now >= due and len(self.waiting) < WINDOW:
                        self.n += 1
                        self.waiting[self.identifier()] = [self.n, now, False]
                        self.socket.sendall(self.publish(self.identifier(), self.n))
                        due = max(due + 1 / self.plan["rate"], now - 1)
                    pending = len(self.bytes) >= 2 or getattr(self.socket, "pending", lambda: 0)()
                    if pending or select.select([self.socket], [], [], max(0.0, min(0.2, due - time.monotonic())))[0]:
                        self.take(*self.next_packet())
                        heard = time.monotonic()
                    elif self.waiting and time.monotonic() - heard > 60:
                        raise OSError("no acknowledgement for a minute")
            except OSError as error:
                self.output.write(f"{self.plan['client']}: {error}\n")
                if stopping.is_set() and not self.waiting:
                    return
                time.sleep(0.2)
        self.socket.close()


def main(plan, output):
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with open(output, "w", buffering=1) as file:
        devices = [Device(one, file) for one in json.loads(plan)]
        for device in devices:
            device.daemon = True
            device.start()
        while not stopping.wait(0.5):
            pass
        deadline = time.monotonic() + 30
        for device in devices:
            device.join(max(0.0, deadline - time.monotonic()))
        file.write(json.dumps({d.plan["client"]: {"through": d.through, "reconnects": d.reconnects, "in_doubt": len(d.waiting)} for d in devices}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
