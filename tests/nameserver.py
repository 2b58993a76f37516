"""A name server of the test's own on loopback: the only one that tests ask.

    with NameServer({("hook.example.com", A): [V4]}) as names:
        resolver = Resolver([names.place])

Records are found by (name, type), then by name. A record is a list of packed addresses, a response
code, None for silence, an `Alias`, or a function without arguments that returns one of those (asked
anew each time: rebinding). What is not there does not exist.
"""

import socket
import struct
import threading
from dataclasses import dataclass

A, CNAME, AAAA = 1, 5, 28
NO_SUCH_NAME = 3


@dataclass
class Alias:
    """A CNAME with the addresses that it leads to."""

    target: str
    addresses: list[bytes]


class NameServer:
    def __init__(self, records, *, ttl=60):
        self.records = records
        self.ttl = ttl
        self.asked = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def __enter__(self):
        self.socket.bind(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *exc_info):
        self.socket.sendto(b"", self.address)
        self.thread.join()
        self.socket.close()

    @property
    def address(self):
        return self.socket.getsockname()

    @property
    def place(self):
        return f"127.0.0.1:{self.address[1]}"

    def serve(self):
        while True:
            query, client = self.socket.recvfrom(4096)
            if not query:
                return
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1"))
                at += 1 + query[at]
            name, kind = ".".join(labels), struct.unpack("!H", query[at + 1 : at + 3])[0]
            self.asked.append(name)
            found = self.records.get((name, kind), self.records.get(name, NO_SUCH_NAME))
            if callable(found):
                found = found()
            if found is None:
                continue
            code, answers = self.answers(found, kind)
            head = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(answers), 0, 0)
            self.socket.sendto(head + query[12 : at + 5] + b"".join(answers), client)

    def answers(self, found, kind):
        if isinstance(found, int):
            return found, []
        if isinstance(found, Alias):
            target = _labels(found.target)
            alias = self.record(b"\xc0\x0c", CNAME, target)
            return 0, [alias, *(self.record(target, kind, a) for a in found.addresses)]
        return 0, [self.record(b"\xc0\x0c", kind, address) for address in found]

    def record(self, name, kind, data):
        return name + struct.pack("!HHIH", kind, 1, self.ttl, len(data)) + data


def _labels(name):
    return b"".join(bytes([len(x)]) + x.encode() for x in name.split(".")) + b"\0"
