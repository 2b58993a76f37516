"""`python -m tests.benchmarks.clients PORT METHOD PATH CLIENTS SECONDS TOKEN [PACE]`: clients of a
site.

Each keeps its connection and asks again as soon as it is answered; a POST carries 1 KiB, one to
`…/bulk:100` so many deliveries or events of it. Prints requests a second and how long they took.
One costs the client some 0.1 ms. With a PACE they ask so often a second, all together; then it
prints when each was answered, by the id in the answer.
"""

import asyncio
import json
import sys
import time
from collections import Counter

import uvloop

from .load import BODY


class Client(asyncio.Protocol):
    """Asks when it is told to; `answered` is told what came."""

    def __init__(self, request, answered):
        self.request, self.answered = request, answered
        self.done = asyncio.get_running_loop().create_future()
        self.received = b""

    def connection_made(self, transport):
        self.transport = transport

    def ask(self):
        self.asked = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data):
        self.received += data
        head, mark, body = self.received.partition(b"\r\n\r\n")
        if not mark:
            return
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        if len(body) < int(length):
            return
        self.received = b""
        self.answered(self, int(head.split(maxsplit=2)[1]), body)

    def connection_lost(self, error):
        self.done.set_result(None)


async def connected(number, port, request, answered):
    loop = asyncio.get_running_loop()
    lines = [
        await loop.create_connection(lambda: Client(request, answered), "127.0.0.1", port)
        for _ in range(number)
    ]
    return [client for _, client in lines]


async def closed(clients):
    for client in clients:
        client.transport.close()
    await asyncio.gather(*[client.done for client in clients])


async def at_once(number, port, request, seconds):
    times, statuses, waiting = [], Counter(), set()

    def answered(client, status, body):
        now = time.perf_counter()
        times.append(now - client.asked)
        statuses[status] += 1
        if now < end:
            client.ask()
        else:
            waiting.discard(client)

    clients = await connected(number, port, request, answered)
    started = time.perf_counter()
    end = started + seconds
    waiting.update(clients)
    for client in clients:
        client.ask()
    while waiting:
        await asyncio.sleep(0.001)
    rate = len(times) / (time.perf_counter() - started)
    await closed(clients)
    times.sort()
    p50, p99 = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99))
    return f"{rate:,.0f}/s, p50 {p50:.1f} ms, p99 {p99:.0f} ms, {dict(statuses)}"


async def paced(number, port, request, seconds, pace):
    times, free = {}, asyncio.Queue()

    def answered(client, status, body):
        assert status == 202, body
        times[json.loads(body)["id"]] = time.time()
        free.put_nowait(client)

    clients = await connected(number, port, request, answered)
    for client in clients:
        free.put_nowait(client)
    started = time.perf_counter()
    for n in range(int(pace * seconds)):
        await asyncio.sleep(max(0.0, started + n / pace - time.perf_counter()))
        (await free.get()).ask()
    for _ in clients:
        await free.get()
    await closed(clients)
    return json.dumps(times)


async def main(port, method, path, clients, seconds, token, pace=None):
    path, _, number = path.partition(":")
    event = b'{"type": "order.created", "payload": %b}' % BODY
    body = BODY if method == "POST" else b""
    if path == "/events":
        body = event
    elif path == "/events/bulk":
        body = b'{"events": [%b]}' % b", ".join([event] * int(number))
    elif number:
        items = b", ".join([b'{"payload": %b}' % BODY] * int(number))
        body = b'{"deliveries": [%b]}' % items
    request = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    if pace is None:
        print(await at_once(int(clients), port, request, float(seconds)))
    else:
        print(await paced(int(clients), port, request, float(seconds), float(pace)))


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
