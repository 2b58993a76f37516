"""Real HTTP receivers on loopback, good and evil.

    with Receiver(answer={"responses": []}) as receiver:
        ...  # call receiver.url
    assert receiver.requests[0].json == {...}

`answer` is one of
    200, 503 …             a status without a body
    "text", {...}, [...]   200 with that text, or that value as JSON (a dict or a list)
    Answer(...)            everything chosen
    Raw(...)               bytes that need not be HTTP
    function(request)      called in the receiver's thread, returns one of the above
    Each(a, b, c)          one after the other; the last is repeated
and may be changed while the receiver runs: `receiver.answer = 500`.

`challenge=True` passes verification: a GET with ?challenge= echoes it (401 when `token` is given
and another came). `tls="good"` (expired, future, wrong-host, self-signed, incomplete, demanding)
speaks TLS with a certificate of tests/certificates.py, whose `client_context()` trusts the good
one.
`receiver.requests` is what arrived, `receiver.connections` how many connections were opened.
"""

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.db import connections

from tests.certificates import server_context
from tests.waiting import PATIENCE
from webhooks_app.engine.http.resolver import NameFailure
from webhooks_app.rules.failures import Failure


@dataclass
class Received:
    """One request as it came; `headers` in order, names as spelled, text read as UTF-8."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case."""
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)


@dataclass
class Answer:
    """`body`: bytes, text or a JSON value. `delay`: seconds before it. `close`: then hang up."""

    status: int = 200
    body: Any = b""
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0
    close: bool = False


class Raw:
    """Bytes sent as they are; a number is a pause in seconds. Then the connection is closed:
    end="close" by FIN, "reset" by RST, "hold" not until the receiver or the caller ends."""

    def __init__(self, *parts: bytes | float, end: str = "close") -> None:
        self.parts = parts
        self.end = end


class Each:
    """One answer after the other; the last is repeated."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self._lock = threading.Lock()

    def next(self) -> Any:
        with self._lock:
            return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


class Receiver:
    def __init__(
        self,
        answer: Any = 200,
        *,
        challenge: bool = False,
        token: str = "",
        tls: str = "",
        host: str = "127.0.0.1",
        path: str = "/hook",
    ) -> None:
        self.answer = answer
        self.challenge = challenge
        self.token = token
        self.requests: list[Received] = []
        self.connections = 0
        self.host, self.path, self.tls = host, path, tls
        self.closing = threading.Event()
        self._server: _Server | None = None

    def __enter__(self) -> "Receiver":
        self._server = _Server(self)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.closing.set()
        assert self._server
        self._server.shutdown()
        self._server.close_all()
        self._server.server_close()

    @property
    def url(self) -> str:
        return self.url_for(f"[{self.host}]" if ":" in self.host else self.host)

    def url_for(self, host: str) -> str:
        """Its URL under another name; let a `StubResolver` lead that name here."""
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.path}"

    def wait(self, count: int = 1, timeout: float = PATIENCE) -> list[Received]:
        """The requests, once there are `count`; AssertionError after `timeout` seconds."""
        end = time.monotonic() + timeout
        while len(self.requests) < count:
            assert time.monotonic() < end, f"{len(self.requests)} of {count} requests came"
            time.sleep(0.005)
        return self.requests

    def answer_for(self, request: Received) -> Any:
        challenge = request.query.get("challenge")
        if self.challenge and request.method == "GET" and challenge:
            if self.token and request.query.get("token") != [self.token]:
                return 401
            return Answer(body=challenge[0], headers=(("Content-Type", "text/plain"),))
        answer = self.answer
        while callable(answer) or isinstance(answer, Each):
            answer = answer.next() if isinstance(answer, Each) else called(answer, request)
        return answer


def called(answer: Callable[[Received], Any], request: Received) -> Any:
    """What a function answers, which may ask the database: in this thread, that soon ends."""
    try:
        return answer(request)
    finally:
        connections.close_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.context = server_context(receiver.tls) if receiver.tls else None
        self.address_family = socket.AF_INET6 if ":" in receiver.host else socket.AF_INET
        self._open: set[socket.socket] = set()
        super().__init__((receiver.host, 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.receiver.connections += 1
        self._open.add(request)
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.context is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(20)
        with suppress(OSError), self.context.wrap_socket(request, server_side=True) as secure:
            self._open.add(secure)
            with suppress(KeyError):
                super().finish_request(secure, client_address)
            self._open.discard(secure)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up is part of the play."""

    def close_all(self) -> None:
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle_call(self) -> None:
        receiver = self.server.receiver
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = [(n, v.encode("latin-1").decode("utf-8", "replace")) for n, v in self._pairs()]
        request = Received(self.command, self.path, headers, body)
        receiver.requests.append(request)
        answer = receiver.answer_for(request)
        if isinstance(answer, Raw):
            self._send_raw(answer)
            return
        if isinstance(answer, int):
            answer = Answer(answer)
        elif not isinstance(answer, Answer):
            answer = Answer(body=answer)
        receiver.closing.wait(answer.delay)
        payload, content_type = _encoded(answer.body)
        names = {name.lower() for name, _ in answer.headers}
        self.send_response(answer.status)
        if content_type and "content-type" not in names:
            self.send_header("Content-Type", content_type)
        if not names & {"content-length", "transfer-encoding"}:
            self.send_header("Content-Length", str(len(payload)))
        for name, value in answer.headers:
            self.send_header(name, value)
        if answer.close:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = do_PUT = handle_call

    def _pairs(self) -> list[tuple[str, str]]:
        return [(name, str(value)) for name, value in self.headers.raw_items()]

    def _send_raw(self, raw: Raw) -> None:
        self.close_connection = True
        for part in raw.parts:
            if isinstance(part, bytes):
                self.wfile.write(part)
            else:
                self.server.receiver.closing.wait(part)
        if raw.end == "hold":
            with suppress(OSError):
                self.connection.recv(1)
        elif raw.end == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            os.close(self.connection.detach())

    def log_message(self, *args: object) -> None:
        pass


def _encoded(body: Any) -> tuple[bytes, str]:
    if isinstance(body, bytes):
        return body, ""
    if isinstance(body, str):
        return body.encode(), "text/html; charset=utf-8"
    return json.dumps(body).encode(), "application/json"


@contextmanager
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 where nothing listens and nothing else can start to."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


class StubResolver:
    """Names of a test: {"hook.example.com": ["127.0.0.1"]}; every other name does not exist.

    A value may also be an exception to raise or a function to await.
    """

    def __init__(self, names: dict[str, list[str] | Exception | Callable[[], Any]]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def resolve(self, host: str) -> list[str]:
        self.asked.append(host)
        found = self.names.get(host)
        if callable(found):
            found = await found()
        if isinstance(found, Exception):
            raise found
        if found is None:
            raise NameFailure(Failure("dns", f"getaddrinfo ENOTFOUND {host}"))
        return found


class Listener:
    """A port of 127.0.0.1 (or another place) where every connection is played by `play(socket)`, in
    its own thread."""

    def __init__(
        self, play: Callable[[socket.socket], Any], *, at: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        self._play = play
        self._server = socket.create_server(at, backlog=256)
        self._open: set[socket.socket] = set()
        self.port: int = self._server.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> "Listener":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for end in (self._server, *self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection = self._server.accept()[0]
                self._open.add(connection)
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError), connection:
            self._play(connection)
        self._open.discard(connection)


class ConnectProxy(Listener):
    """An HTTP proxy that knows CONNECT alone. `asked` is what it was asked for, head by head.

    `answer`: None opens the tunnel; bytes are sent instead, then it hangs up.
    """

    def __init__(
        self, answer: bytes | None = None, *, credentials: str = "", **options: Any
    ) -> None:
        super().__init__(self._tunnel, **options)
        self.answer = answer
        self.asked: list[list[str]] = []
        self.url = f"http://{credentials}{'@' if credentials else ''}127.0.0.1:{self.port}"

    def _tunnel(self, client: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = client.recv(4096)
            if not piece:
                return
            head += piece
        self.asked.append(head.decode("ascii").rstrip().split("\r\n"))
        if self.answer is not None:
            client.sendall(self.answer)
            return
        host, _, port = self.asked[-1][0].split(" ")[1].rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), PATIENCE) as receiver:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pass_on, args=(receiver, client), daemon=True)
            back.start()
            _pass_on(client, receiver)
            back.join(5)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
