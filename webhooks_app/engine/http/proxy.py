"""The egress proxy (WEBHOOKS_PROXY): a tunnel to an address that the guard has let through.

The proxy is told the address that was judged, never the name, which it would look up anew. Its own
address was chosen by the operator and is not judged. Proxies of the environment are never read.
"""

import asyncio
import errno
import socket
from collections.abc import Sequence
from time import monotonic

import httptools

from ...conf import Proxy
from ...rules import failures
from ...rules.failures import Failure
from .connection import open_socket

REPLY_LIMIT = 16_384  # bytes of the proxy's answer to CONNECT


class ProxyFailure(Exception):
    """There is no tunnel; `failure` says whose fault that is."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


async def open_tunnel(
    proxy: Proxy, proxy_addresses: Sequence[str], address: str, *, seconds: float
) -> socket.socket:
    """A socket that leads through the proxy to `address` ("ip:port").

    Half of `seconds` is for reaching the proxy itself. Raises ProxyFailure.
    """
    sock = await _reach(proxy, proxy_addresses, seconds / 2)
    try:
        lines = [f"CONNECT {address} HTTP/1.1", f"Host: {address}"]
        if proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        head = "\r\n".join([*lines, "", ""]).encode("ascii")
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(sock, head)
            reply = await _reply(sock)
        except OSError:
            raise ProxyFailure(failures.proxy_fault("it closed the connection")) from None
        if reply.status == 407:
            raise ProxyFailure(failures.proxy_fault("it refuses our user name and password (407)"))
        if not 200 <= reply.status <= 299:
            raise ProxyFailure(failures.proxy_refused(address, reply.status))
        if reply.more:
            # Nobody was asked yet: a server that greets, as SSH and mail servers do.
            raise ProxyFailure(failures.not_http())
    except BaseException:
        sock.close()
        raise
    return sock


async def _reach(proxy: Proxy, addresses: Sequence[str], seconds: float) -> socket.socket:
    """A socket to the first address that accepts. One that drops packets gets its share of the
    time, not all of it."""
    place, name, until = proxy.host, "ENOTFOUND", monotonic() + seconds
    for number, ip in enumerate(addresses):
        place = f"[{ip}]:{proxy.port}" if ":" in ip else f"{ip}:{proxy.port}"
        try:
            async with asyncio.timeout((until - monotonic()) / (len(addresses) - number)):
                return await open_socket(ip, proxy.port)
        except OSError as error:  # without a number it is our own timeout
            name = errno.errorcode.get(error.errno or errno.ETIMEDOUT, "EIO")
    raise ProxyFailure(failures.proxy_fault(f"connect {name} {place}"))


class _Reply:
    """What the parser finds: the status, and whether anything came after the head."""

    status = 0
    more = False

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status >= 200 and not self.status:
            self.status = status

    def on_body(self, data: bytes) -> None:
        self.more = True


async def _reply(sock: socket.socket) -> _Reply:
    reply, size = _Reply(), 0
    while not reply.status:
        data = await asyncio.get_running_loop().sock_recv(sock, 4096)
        size += len(data)
        if not data:
            raise ProxyFailure(failures.proxy_fault("it closed the connection"))
        try:
            reply.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not reply.status:
                raise ProxyFailure(failures.proxy_fault("it does not speak HTTP")) from None
            reply.more = True
        if size > REPLY_LIMIT:
            raise ProxyFailure(failures.proxy_fault("its answer is too long"))
    del reply.parser  # it holds the reply, the reply holds it
    return reply
