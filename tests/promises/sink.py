"""A receiver that keeps account: what came, on which line, from when to when, was it answered.

A call ends with its answer, or when its line breaks: whoever was killed has nothing in flight any
more. So `overlap` shows two owners of one webhook, and `ended` what flew at a moment.
"""

import asyncio
import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter

import httptools
import psutil

from tests.waiting import PATIENCE
from webhooks_app.engine.http.bridge import new_event_loop

_ANSWER = b"HTTP/1.1 %d Said\r\nContent-Length: 2\r\n\r\n{}"


@dataclass(slots=True, eq=False)
class Call:
    path: str
    ident: str = ""
    stamp: float = 0.0  # the webhook-timestamp
    body: bytes = b""
    line: "Line | None" = None
    began: float = 0.0  # monotonic seconds, as all of these
    ended: float = float("inf")
    answered: bool = False

    @property
    def number(self) -> int:
        return int(json.loads(self.body)["n"])


class Sink:
    """`delay`: seconds before the answer; `status`: the answer. Both may be functions of a call."""

    def __init__(self, delay=0.0, status=200):
        self.delay, self.status = delay, status
        self.calls: list[Call] = []
        self.lines: list[Line] = []

    def __enter__(self):
        self._loop = new_event_loop()
        self._end = asyncio.Event()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(PATIENCE)
        return self

    def _run(self, started):
        async def serve():
            server = await self._loop.create_server(
                lambda: Line(self), "127.0.0.1", 0, backlog=1024
            )
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            await self._end.wait()
            server.close()
            for line in self.lines:
                line.transport.abort()
            await server.wait_closed()

        self._loop.run_until_complete(serve())
        self._loop.close()

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE)

    def url(self, path="/"):
        return f"http://127.0.0.1:{self.port}{path}"

    def after(self, call):
        delay = self.delay(call) if callable(self.delay) else self.delay
        status = self.status(call) if callable(self.status) else self.status
        self._loop.call_later(delay, call.line.answer, call, status)

    def answer(self, status=200):
        """Whatever is still to be answered is answered now."""
        for call in list(self.calls):
            if not call.answered:
                self._loop.call_soon_threadsafe(call.line.answer, call, status)

    def lines_of(self, pid):
        """The open lines of a process; one that waits to be accepted is waited for. It opens others
        meanwhile, unless it is stopped."""
        connections = psutil.Process(pid).net_connections("tcp4")
        ports = {c.laddr.port for c in connections if c.raddr and c.raddr.port == self.port}
        end = time.monotonic() + 10
        while not ports <= {line.port for line in list(self.lines)} and time.monotonic() < end:
            time.sleep(0.01)
        return [line for line in list(self.lines) if line.port in ports and line.is_open]

    # --- the account ----------------------------------------------------------------------------

    def by_path(self) -> dict[str, list[Call]]:
        found = defaultdict(list)
        for call in list(self.calls):
            found[call.path].append(call)
        return found

    def by_ident(self) -> dict[str, list[Call]]:
        found = defaultdict(list)
        for call in list(self.calls):
            found[call.ident].append(call)
        return found

    def duplicates(self) -> int:
        return sum(len(calls) - 1 for calls in self.by_ident().values())


def overlap(calls) -> int:
    """The most of these calls that were under way at once."""
    steps = sorted(
        [(call.began, 1) for call in calls]
        # A line broken from our side and the next call are seen in one turn of the loop.
        + [(max(call.began, call.ended - 0.001), -1) for call in calls]
    )
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


def disorder(calls, late=frozenset()) -> list[tuple[str, str]]:
    """Of the first arrivals, but those of `late` ids: each two that follow one another and whose
    numbers do not go upwards, as number, id and moment."""
    firsts = {call.number: call for call in reversed(calls) if call.ident not in late}
    seen = sorted(firsts.values(), key=attrgetter("began"))
    return [
        (_told(before), _told(after))
        for before, after in pairwise(seen)
        if before.number > after.number
    ]


def _told(call):
    return f"{call.number} {call.ident} {call.began:.3f}"


class Halt:
    """A worker that halted at a moment, killed or frozen, with these lines."""

    def __init__(self, sink, at, lines):
        self._sink, self.at, self.lines = sink, at, lines
        self._sent = [c for c in list(sink.calls) if c.line in lines and c.began > at - 1]

    def takeovers(self) -> list[float]:
        """Seconds until another sent for each webhook that it had sent for (inf: not yet)."""
        firsts = {call.path: float("inf") for call in self._sent}
        for call in reversed(list(self._sink.calls)):
            if call.began < self.at:
                break
            if call.path in firsts and call.line not in self.lines:
                firsts[call.path] = call.began - self.at
        return list(firsts.values())


class Line(asyncio.Protocol):
    """One connection."""

    def __init__(self, sink):
        self.sink = sink
        self.is_open = True
        self.call = None

    def connection_made(self, transport):
        self.transport = transport
        self.port = transport.get_extra_info("peername")[1]
        self.parser = httptools.HttpRequestParser(self)
        self.sink.lines.append(self)

    def data_received(self, data):
        self.parser.feed_data(data)

    def on_message_begin(self):
        self.call = Call("", line=self)

    def on_url(self, url):
        self.call.path += url.decode()

    def on_header(self, name, value):
        if name.lower() == b"webhook-id":
            self.call.ident = value.decode()
        elif name.lower() == b"webhook-timestamp":
            self.call.stamp = float(value)

    def on_body(self, data):
        self.call.body += data

    def on_message_complete(self):
        self.call.began = time.monotonic()
        self.sink.calls.append(self.call)
        self.sink.after(self.call)

    def answer(self, call, status):
        if not call.answered and call.ended == float("inf"):
            call.answered, call.ended = True, time.monotonic()
            self.transport.write(_ANSWER % status)

    def connection_lost(self, error):
        self.is_open = False
        if self.call is not None:
            self.call.ended = min(self.call.ended, time.monotonic())
