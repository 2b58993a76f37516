"""A port on which one process tells its own numbers, in Prometheus' text format: what no other
process can tell for it. The site's /metrics tells what the database knows.

The n-th process of a machine takes the n-th port from WEBHOOKS_METRICS_PORT on, and keeps it. It
asks for the same token as /metrics. Nothing that goes wrong here stops the process.
"""

import asyncio
import errno
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.utils.crypto import constant_time_compare

from .. import conf
from ..rules.client_address import client_address
from . import faults, timings

log = logging.getLogger("webhooks")

PORTS = 256  # that are tried
HEAD_MOST = 16 * 1024  # bytes of a request
HEAD_WITHIN = 5.0  # seconds that it may take
WRONG_WITHIN = 900.0  # seconds within which wrong tokens of an address are counted
ADDRESSES_MOST = 10_000  # of which they are

_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}
_REASONS |= {405: "Method Not Allowed", 429: "Too Many Requests"}


def open_port() -> int | None:
    """Serve in a thread of its own for as long as this process lives; not before a fork. Returns
    the port; None where there is none, which the log explains if one was asked for."""
    first, address = conf.settings.metrics_port, conf.settings.metrics_address
    if not first:
        return None
    if not conf.settings.metrics_token:
        log.warning("no port for metrics: WEBHOOKS_METRICS_TOKEN is not set")
        return None
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        log.warning("no port for metrics: prometheus-client is not installed (the extra metrics)")
        return None
    listening = _bound(address, first)
    if listening is None:
        return None
    port = int(listening.getsockname()[1])
    words = "the metrics of this process are at port %d"
    if port > first:
        log.warning(f"{words}; those from %d on are taken", port, first)
    else:
        log.info(words, port)
    timings.kept = True
    work = threading.Thread(target=_serve, args=[listening], name="webhooks-metrics", daemon=True)
    work.start()
    return port


def _bound(address: str, first: int) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in range(first, min(first + PORTS, 65536)):
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((address, port))
            listening.listen(16)
        except OSError as error:
            listening.close()
            if error.errno != errno.EADDRINUSE:
                log.warning("no port for metrics: %s port %d: %s", address, port, error.strerror)
                return None
        else:
            return listening
    log.warning("no port for metrics: all from %d on are taken", first)
    return None


def _serve(listening: socket.socket) -> None:
    door = Door()

    async def serve() -> None:
        server = await asyncio.start_server(door.answer, sock=listening, limit=HEAD_MOST)
        await server.serve_forever()

    with asyncio.Runner() as runner:
        runner.run(serve())


class Door:
    """Answers one request a connection."""

    def __init__(self) -> None:
        self._wrong: Counter[str] = Counter()  # tokens, by address
        self._since = time.monotonic()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_WITHIN):
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.LimitOverrunError:
                    head = b""
                address = str((writer.get_extra_info("peername") or ("",))[0])
                writer.write(self.respond(head, address))
                await writer.drain()
        except (TimeoutError, OSError, EOFError):
            pass  # whoever asked is gone, or says nothing
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def respond(self, head: bytes, address: str) -> bytes:
        """The whole answer to the head of a request."""
        status, body = self._judge(head, address)
        kind = "text/plain; version=0.0.4; charset=utf-8"
        lines = [f"HTTP/1.1 {status} {_REASONS[status]}", f"Content-Type: {kind}"]
        lines += [f"Content-Length: {len(body)}", "Connection: close"]
        if status == 401:
            lines.append("WWW-Authenticate: Bearer")
        start = "\r\n".join(lines).encode() + b"\r\n\r\n"
        return start if head.startswith(b"HEAD ") else start + body

    def _judge(self, head: bytes, address: str) -> tuple[int, bytes]:
        line, *fields = head.decode("latin-1").split("\r\n")
        method, _, rest = line.partition(" ")
        if not rest:
            return 400, b""
        if method not in ("GET", "HEAD"):
            return 405, b""
        if rest.partition(" ")[0].partition("?")[0] != "/metrics":
            return 404, b""
        if time.monotonic() - self._since > WRONG_WITHIN or len(self._wrong) > ADDRESSES_MOST:
            self._wrong.clear()
            self._since = time.monotonic()
        most, whom = conf.settings.failed_authentications, client_address(address, "", 0)
        if most and self._wrong[whom] >= most:
            return 429, b""
        if not constant_time_compare(_token(fields), conf.settings.metrics_token):
            self._wrong[whom] += 1
            return 401, b"Send WEBHOOKS_METRICS_TOKEN: Authorization: Bearer <its value>.\n"
        return 200, exposition()


def _token(fields: list[str]) -> str:
    for field in fields:
        name, _, value = field.partition(":")
        if name.lower() == "authorization":
            scheme, _, token = value.strip().partition(" ")
            return token.strip() if scheme.lower() == "bearer" else ""
    return ""


def exposition() -> bytes:
    """The numbers of this process."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(namespace="webhooks", registry=registry)
    registry.register(Own())
    return bytes(generate_latest(registry))


class Own:
    """The figures that this process has counted since it began."""

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        attempts = HistogramMetricFamily(
            "webhooks_attempt_seconds",
            "How long exchanges with receivers took, by kind.",
            labels=["kind"],
        )
        for kind, histogram in timings.exchanges.items():
            attempts.add_metric([kind], *histogram.read())
        yield attempts
        buckets, total = timings.first_calls.read()
        yield HistogramMetricFamily(
            "webhooks_first_call_seconds",
            "How long after a delivery was accepted, or due, its first call began.",
            buckets=buckets,
            sum_value=total,
        )
        yield CounterMetricFamily(
            "webhooks_process_database_errors",
            "Times that this process found the database away or in its way.",
            value=faults.seen,
        )
