"""A name server on port 53 of an address of ours, by UDP (RFC 1035), in a thread: answers from a table, which a test changes."""
import socket
import struct
import threading

A, AAAA = 1, 28


class NameServer:
    """`names`: {"broker.test": ["127.0.0.1", "::1"]}; a name that is not there does not exist; None: no word about it.
    `silent_for`: types that it never answers for, as some do for AAAA."""

    def __init__(self, address="127.0.0.1", names=None, silent_for=()):
        self.names, self.silent_for, self.asked = names or {}, silent_for, []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                message, peer = self.socket.recvfrom(4096)
            except OSError:
                return
            if not message:  # closed
                return
            answer = self.answer(message)
            if answer:
                self.socket.sendto(answer, peer)

    def answer(self, message):
        labels, at = [], 12
        while message[at]:
            labels.append(message[at + 1:at + 1 + message[at]].decode())
            at += message[at] + 1
        name, kind = ".".join(labels).lower(), struct.unpack_from(">H", message, at + 1)[0]
        self.asked.append((name, kind))
        found = self.names.get(name, ())
        if found is None or kind in self.silent_for:
            return None
        family = {A: socket.AF_INET, AAAA: socket.AF_INET6}.get(kind)
        numbers = [socket.inet_pton(family, address) for address in found if family and (":" in address) == (kind == AAAA)]
        code = 0 if name in self.names else 3
        records = b"".join(struct.pack(">HHHIH", 0xC00C, kind, 1, 60, len(number)) + number for number in numbers)
        return message[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(numbers), 0, 0) + message[12:at + 5] + records

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        self.thread.join(5)
