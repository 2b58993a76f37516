"""One connection to a receiver, and the one exchange at a time that runs on it.

Everything from a receiver is hostile: bytes are counted before they are kept, nothing is inflated,
and what comes unasked ends the connection.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, cast

import httptools

from ...rules import failures
from ...rules.failures import Failure

ANSWER_LIMIT = 102_400  # bytes of an answer's body; past it the exchange has failed
HEAD_LIMIT = 32_768  # bytes of head, the informational answers before it included
HEADERS_LIMIT = 200  # trailers included
INFORMATIONAL_LIMIT = 20  # answers 1xx before the real one
WIRE_LIMIT = HEAD_LIMIT + 8 * ANSWER_LIMIT  # all bytes of one answer: chunks have their overhead

# Account, scheme, host, port, and what TLS shows and trusts of a webhook's own ("" for nothing).
# Who shares a host with others may write on a connection whatever he likes, also where the next
# answer is expected: a connection serves one account alone.
Origin = tuple[int, str, str, int, str]


@dataclass(slots=True)
class Answer:
    """What came back. Moments are `perf_counter` seconds; `first_at` is 0 without any byte."""

    sent_at: float
    first_at: float = 0.0
    ended_at: float = 0.0
    status: int | None = None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    failure: Failure | None = None


class _Enough(Exception):
    """Tells the parser that nothing more is wanted of what it was given: each header of a quarter
    of a MiB of them would cost."""


async def open_socket(ip: str, port: int) -> socket.socket:
    """A socket connected to that very address. Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (ip, port))
    except BaseException:
        sock.close()
        raise
    return sock


class Connection(asyncio.Protocol):
    """An open connection. `on_lost` hears of its end while no exchange runs."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        origin: Origin,
        address: str,
        policy: object,
        on_lost: Callable[["Connection"], None],
        *,
        identified: bool = False,
    ) -> None:
        self.origin = origin
        self.address = address
        self.policy = policy  # the settings in force when the guard let it through
        self.tls_version: str | None = None  # once the handshake is done
        self.opened_at = perf_counter()
        self.idle_since = 0.0
        self.reusable = False
        self._loop = loop
        self._on_lost = on_lost
        self._identified = identified  # a client certificate was shown
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[Answer] | None = None
        self._answer: Answer | None = None
        self._timer: asyncio.TimerHandle | None = None  # armed until it fires, see `_watch`
        self._deadline = self._looks_at = 0.0
        self._timeout = 0.0
        self._fresh = True  # nothing was asked on it yet
        self._early = b""  # what came all the same
        self._lost_by = failures.hang_up()

    # What the sender does with it

    def exchange(
        self, head: bytes, body: bytes, *, until: float, timeout: float
    ) -> asyncio.Future[Answer]:
        """Send, and wait for the whole answer at most until then, in `perf_counter` seconds;
        `timeout` is how many were given, to be told. The future never fails.

        It is written after all else that is ready to run, together with what others send: a write
        wakes the receiver, and one that is near is woken once for all of them.
        """
        self.reusable = False
        self._deadline, self._timeout = until, timeout
        self._waiter = waiter = self._loop.create_future()
        self._loop.call_soon(self._ask, head + body)
        return waiter

    def _ask(self, request: bytes) -> None:
        self._head_done = self._complete = self._keep = self._fresh = False
        self._fields = 0
        self._wire = self._head_bytes = self._fields_bytes = self._informational = 0
        now = perf_counter()
        self._answer = Answer(now)
        if self._transport is not None:
            if self._timer is None or self._deadline < self._looks_at:
                self._watch(now)
            self._transport.write(request)
        early, self._early = self._early, b""
        if early:
            # Before the first request it can be nothing but the answer (busy, banned), or the
            # greeting of an SSH or mail server.
            self.data_received(early)
        if self._transport is None:  # lost since the handshake, or since the last answer
            self.eof_received()
            self._finish(self._lost_by)
            self._parser = None

    def drop(self) -> None:
        """Close at once, whatever is under way."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            if not self._fresh or len(self._early) > HEAD_LIMIT:
                # Nobody asked: whatever it is, it is not the answer to the next request.
                self.drop()
            else:
                self._early += data
            return
        if not answer.first_at:
            answer.first_at = perf_counter()
            if data[:1] != b"H":  # the parser also takes RTSP and ICE
                self._finish(failures.not_http())
                return
        self._wire += len(data)
        if not self._head_done:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # After a complete answer it is junk: the answer stands, the connection does not.
            self._keep = False
            if not self._complete and answer.failure is None:
                answer.failure = failures.not_http(str(error))
        if answer.failure is not None or self._complete:
            self._finish(answer.failure)
        elif not self._head_done and self._head_bytes > HEAD_LIMIT:
            self._finish(failures.not_http("Header overflow"))
        elif self._wire > WIRE_LIMIT:
            self._finish(failures.too_big(ANSWER_LIMIT))

    def eof_received(self) -> None:
        if self._answer is not None and self._head_done and self._ends_by_close():
            self._finish(self._answer.failure)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        if isinstance(exc, ssl.SSLError):
            self._lost_by = failures.of_tls(exc.reason or "", identified=self._identified)
        if self._answer is None:
            self._on_lost(self)
        else:
            self._finish(self._lost_by)
        if not self._fresh:
            self._parser = None  # it holds us, we hold it

    # What the parser calls; after a complete answer all of it is junk

    def on_message_begin(self) -> None:
        if self._complete:
            raise _Enough

    def on_header(self, name: bytes, value: bytes) -> None:
        answer = self._answer
        if answer is None:
            return
        self._fields += 1
        if self._wire > HEAD_LIMIT:  # of less there cannot be too much
            self._fields_bytes += len(name) + len(value) + 4
        if self._fields > HEADERS_LIMIT or self._fields_bytes > HEAD_LIMIT:
            answer.failure = failures.not_http("Header overflow")
            raise _Enough
        if not self._head_done:  # later ones are trailers
            answer.headers.append((name, value))

    def on_headers_complete(self) -> None:
        answer = self._answer
        if answer is None:
            return
        status = self._parser.get_status_code()
        if not 100 <= status <= 599:
            answer.failure = failures.not_http("Invalid status code")
        elif status == 101 or status >= 200:
            answer.status = status
            self._head_done = True

    def on_body(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            return
        room = ANSWER_LIMIT - len(answer.body)
        answer.body += data[:room]
        if len(data) > room:
            answer.failure = failures.too_big(ANSWER_LIMIT)
            raise _Enough

    def on_message_complete(self) -> None:
        answer = self._answer
        if answer is None:
            return
        if self._head_done:
            self._complete = True
            self._keep = self._parser.should_keep_alive()
            return
        answer.headers.clear()
        self._informational += 1
        if self._informational > INFORMATIONAL_LIMIT and answer.failure is None:
            answer.failure = failures.not_http("Too many informational answers")
            raise _Enough

    # The end of an exchange

    def _ends_by_close(self) -> bool:
        assert self._answer is not None
        coding = b""
        for name, value in self._answer.headers:
            match name.lower():
                case b"content-length":
                    return False
                case b"transfer-encoding":
                    coding = value
        return coding.rpartition(b",")[2].strip().lower() != b"chunked"

    def _watch(self, now: float) -> None:
        """Look at the time at the deadline. One timer goes on through many exchanges: to set and to
        cancel one for each costs more than all else that is done here."""
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at = self._deadline
        self._timer = self._loop.call_later(max(self._deadline - now, 0), self._look_at_time)

    def _look_at_time(self) -> None:
        self._timer = None
        if self._answer is None:
            return
        now = perf_counter()
        if now < self._deadline:
            self._watch(now)
        else:
            self._finish(failures.timeout(round(self._timeout * 1000), connecting=False))

    def _finish(self, failure: Failure | None) -> None:
        answer, waiter, transport = self._answer, self._waiter, self._transport
        if answer is None or waiter is None:
            return
        self._answer = self._waiter = None
        answer.failure = failure
        answer.ended_at = perf_counter()
        # An answer that came before all of the request was written says that it was not read.
        self.reusable = (
            failure is None
            and self._keep
            and transport is not None
            and not transport.is_closing()
            and transport.get_write_buffer_size() == 0
        )
        if not self.reusable and transport is not None:
            transport.abort()
        if not waiter.done():
            waiter.set_result(answer)
