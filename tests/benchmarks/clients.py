"""`python -m tests.benchmarks.clients PORT METHOD PATH CLIENTS SECONDS TOKEN`: clients of a site.

Each keeps its connection and asks again as soon as it is answered; a POST carries 1 KiB. Prints
requests a second and how long they took. One costs the client about 0.1 ms.
"""

import asyncio
import sys
import time
from collections import Counter

import uvloop

from .load import BODY


class Client(asyncio.Protocol):
    def __init__(self, request, end, times, statuses):
        self.request, self.end, self.times, self.statuses = request, end, times, statuses
        self.done = asyncio.get_running_loop().create_future()
        self.received = b""

    def connection_made(self, transport):
        self.transport = transport
        self.ask()

    def ask(self):
        self.asked = time.perf_counter()
        if self.asked > self.end:
            self.transport.close()
        else:
            self.transport.write(self.request)

    def data_received(self, data):
        self.received += data
        head, mark, body = self.received.partition(b"\r\n\r\n")
        if not mark:
            return
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        if len(body) < int(length):
            return
        self.times.append(time.perf_counter() - self.asked)
        self.statuses[int(head.split(maxsplit=2)[1])] += 1
        self.received = b""
        self.ask()

    def connection_lost(self, error):
        self.done.set_result(None)


async def main(port, method, path, clients, seconds, token):
    body = BODY if method == "POST" else b""
    request = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    times, statuses, loop = [], Counter(), asyncio.get_running_loop()
    started = time.perf_counter()
    lines = [
        await loop.create_connection(
            lambda: Client(request, started + float(seconds), times, statuses), "127.0.0.1", port
        )
        for _ in range(int(clients))
    ]
    await asyncio.gather(*[client.done for _, client in lines])
    rate = len(times) / (time.perf_counter() - started)
    times.sort()
    p50, p99 = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99))
    print(f"{rate:,.0f}/s, p50 {p50:.1f} ms, p99 {p99:.0f} ms, {dict(statuses)}")


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
